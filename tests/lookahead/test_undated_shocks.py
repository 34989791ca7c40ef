"""A view without a date decides at no past date, unless hindsight is admitted."""

from dataclasses import replace

import numpy as np
import pytest

from backtests import backtest
from backtests._lookahead import assert_no_lookahead
from backtests.job import Settings, prepare
from engine import CheapModelShock, LookAheadError, Portfolio, load_panel, simulate
from engine._stress import check_undated, stress
from engine.data.universe import Universe
from engine.shocks import conditional, entropy_pool, from_toml, mix, worst_case
from strategies import HoldWithCash, ShockAware
from strategies.estimation import estimate_model

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "EFA", "TLT", "SPY")
BOOK = {"NVDA": 0.4, "AVGO": 0.3, "ANET": 0.2}
MOVES = {"ai_basket": -0.15}


@pytest.fixture(scope="module")
def panel():
    """The reference market, its roles known from the start."""
    panel = load_panel("reference", NAMES).between("2023-06-01", "2025-06-30")
    universe: Universe = panel.universe
    known = np.full(len(universe), np.datetime64("2015-01-01"))
    return replace(panel, universe=replace(universe, role_known_from=known))


def cash(view):
    return Portfolio.from_weights({"CASH:USD": 1.0}, 1e6, "USD").priced(view)


UNDATED = {
    "views": entropy_pool("mean(NVDA) <= -0.05"),
    "moves": conditional(MOVES),
    "states": mix({"cheap": 0.3}, {"cheap": conditional(MOVES)}),
    "file": from_toml(
        '[[shock]]\nkind = "worst-case"\nradius = 3.0\n[[shock]]\nkind = "mix"\n'
        'probabilities = {a = 0.5}\nstates = {a = "worst-case"}\n'
    ),
}


@pytest.mark.parametrize("shock", UNDATED.values(), ids=list(UNDATED))
@pytest.mark.parametrize("rule", [ShockAware, HoldWithCash])
def test_strategies_refuse_it_at_a_past_date_and_stamp_the_admission(
    panel, rule, shock
):
    strategy = rule(BOOK, 0.05, shock, window=252)
    past = panel.as_of("2025-03-03")
    with pytest.raises(LookAheadError, match="has no date: nothing says") as caught:
        strategy.propose(past, cash(past))
    assert caught.value.date == "2025-03-03"
    dates = {"start": "2025-03-03", "end": "2025-04-30"}
    with pytest.raises(LookAheadError, match="has no date: nothing says"):
        backtest(strategy, panel, **dates)
    result = backtest(strategy, panel, **dates, hindsight_parameters=True)
    assert "hindsight parameters" in result.stamps


@pytest.mark.parametrize("rule", [ShockAware, HoldWithCash])
def test_a_dated_view_is_used_from_its_date_on(panel, rule):
    shock = conditional(MOVES, known_from="2025-03-01")
    strategy = rule(BOOK, 0.12, shock, window=252)
    late = panel.as_of("2025-03-03")
    strategy.propose(late, cash(late))
    early = panel.as_of("2025-02-28")
    with pytest.raises(LookAheadError, match="was not known at the date of the model"):
        strategy.propose(early, cash(early))


def test_the_date_of_a_mixture_does_not_hide_that_of_its_shocks(panel):
    model = estimate_model(panel.as_of("2025-01-24"), None, window=252)
    scenarios = simulate(model, 200, seed=0)
    book = {"NVDA": 0.9, "CASH:USD": 0.1}
    (states,) = from_toml(
        '[[shock]]\nkind = "cheap-model"\nalone = false\n[[shock]]\nkind = "mix"\n'
        "known_from = 2024-01-01\nprobabilities = {a = 0.5}\n"
        'states = {a = "cheap-model:market_view"}\n'
    )
    check_undated([states], "2025-01-24", False)
    with pytest.raises(LookAheadError, match="market_view was not known"):
        stress(book, scenarios, states)
    report = stress(book, scenarios, states, hindsight_parameters=True)
    assert any("known from 2025-01-27" in s for s in report.stamps)


def test_asking_what_a_view_would_cost_needs_no_date_and_hindsight_is_stamped(panel):
    model = estimate_model(panel.as_of("2025-03-03"), None, window=252)
    scenarios = simulate(model, 500, seed=0)
    book = {"NVDA": 0.9, "CASH:USD": 0.1}
    shock = conditional(MOVES, name="drop")
    assert not any("HINDSIGHT" in s for s in stress(book, scenarios, shock).stamps)
    stamps = stress(book, scenarios, shock, hindsight_parameters=True).stamps
    assert any("drop does not say when it was first held" in s for s in stamps)
    # A search has nothing of the world in it: known from the date of the model.
    (search,) = from_toml('shock = {kind = "worst-case", radius = 3.0}')
    check_undated([search, CheapModelShock()], "2025-03-03", False)
    found = worst_case(model, book, radius=3.0)
    assert found.known_from == model.as_of


def test_a_decision_before_the_end_of_the_prices_is_past(panel):
    book = Portfolio.from_weights({"NVDA": 0.9, "CASH:USD": 0.1}, 1e6, "USD")
    settings = Settings(
        as_of="2025-03-03", shocks=(UNDATED["moves"],), window=252, n_scenarios=200
    )
    with pytest.raises(LookAheadError, match="conditional has no date"):
        prepare(book, panel, settings)
    prepare(book, panel, replace(settings, as_of=None))
    prepare(book, panel, replace(settings, hindsight_parameters=True))


FILE = """
[[shock]]
kind = "worst-case"
radius = 4.0
[[shock]]
kind = "replay"
episode = "deepseek-monday"
[[shock]]
kind = "conditional"
name = "drop"
known_from = 2025-03-01
moves = {ai_basket = -0.15}
"""


def test_searches_and_replays_see_nothing_later(panel):
    """Whatever the future holds, the worst case and the replay of a date stay."""
    rule = ShockAware(BOOK, 0.06, from_toml(FILE), window=252, upper=0.5)
    dates = ["2025-03-03", "2025-04-01"]
    assert_no_lookahead(rule, panel, dates=dates)
