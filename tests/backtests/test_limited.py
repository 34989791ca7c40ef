"""Several shocks of any kind limited at once, each by its own limit."""

from dataclasses import replace

import numpy as np
import pytest

from backtests.job import Settings, prepare, rules, run_job
from backtests.limited import (
    constraints_of,
    found_shocks,
    on_prices,
    propose_within,
    shock_limit,
    shock_limits,
    shocks_of,
)
from engine import CheapModelShock, Portfolio, UsageError, load_panel, stress
from engine.constraints import StressCap
from engine.optimize.problem import stress_measure
from engine.shocks import Replay, from_toml, worst_case
from strategies import HoldWithCash, ShockAware

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "EFA", "EWJ", "TLT", "SPY")
BOOK = {"NVDA": 0.3, "AVGO": 0.25, "ANET": 0.2, "VST": 0.2, "CASH:USD": 0.05}
FILE = """
[[shock]]
kind = "cheap-model"
name = "cheap"

[[shock]]
kind = "replay"
episode = "deepseek-monday"

[[shock]]
kind = "conditional"
name = "drop"
moves = {ai_basket = -0.15}

[[shock]]
kind = "entropy"
name = "views"
views = ["mean(NVDA) <= -0.06", "mean(PG) >= -0.01"]

[[shock]]
kind = "worst-case"
radius = 4.0
systematic = false

[[shock]]
kind = "reverse"
loss = 0.3

[[shock]]
kind = "mix"
name = "states"
probabilities = {a = 0.4}
states = {a = "drop"}
"""


@pytest.fixture(scope="module")
def panel():
    return load_panel("reference", NAMES)


@pytest.fixture(scope="module")
def case(panel):
    chosen = Settings(
        shocks=from_toml(FILE),
        own_limits={"cheap": 0.1},
        window=252,
        n_scenarios=2000,
        upper=0.5,
        hindsight_parameters=True,
    )
    book = Portfolio.from_weights(BOOK, 1e6, "USD")
    view, book, scenarios = prepare(book, panel, chosen)
    return view, book, scenarios, on_prices(chosen, panel)


def measured(shock, scenarios, weights):
    cap = StressCap(shock, 1.0)
    measure = stress_measure(cap, scenarios, cap.moves(scenarios))
    return measure.value(scenarios.align(weights))


def test_limits_are_the_shocks_own_the_common_one_or_half_the_loss(case):
    _, book, scenarios, chosen = case
    shocks = found_shocks(book, scenarios, chosen)
    assert isinstance(shocks[1], Replay) and shocks[1].tickers  # prices of the panel
    half = {s.name: measured(s, scenarios, book) / 2 for s in shocks}
    limits = shock_limits(book, scenarios, chosen)
    assert limits == pytest.approx(half | {"cheap": 0.1})
    assert shock_limit(book, scenarios, chosen) == 0.1
    given = shock_limits(book, scenarios, replace(chosen, limit=0.05))
    assert given == {s.name: 0.05 for s in shocks} | {"cheap": 0.1}
    with pytest.raises(UsageError, match=r"a limit names no shock; received chap"):
        shock_limits(book, scenarios, replace(chosen, own_limits={"chap": 0.1}))


def test_a_proposal_meets_every_limit_as_stress_measures_it(case):
    view, book, scenarios, chosen = case
    limits = shock_limits(book, scenarios, chosen)
    proposal = propose_within(book, scenarios, chosen, limits, view)
    before = stress(book, scenarios, shocks_of(chosen), hindsight_parameters=True)
    same = found_shocks(book, scenarios, chosen)  # found for the book as it was
    after = stress(proposal.weights, scenarios, same, hindsight_parameters=True)
    rows = {r.name: r for r in proposal.limits}
    for name, limit in limits.items():
        row = rows[f"stress:{name}"]
        assert row.before == pytest.approx(before[name].severe, abs=1e-9), name
        assert row.after == pytest.approx(after[name].severe, abs=1e-9), name
        assert row.after <= limit + 1e-6, name
    assert not any("exceeds the limit" in w for w in proposal.warnings)


def test_the_worst_case_of_the_book_proposed_is_limited_too(case):
    view, book, scenarios, chosen = case
    search = next(s for s in chosen.shocks if s.name == "worst-case")
    only = replace(chosen, shocks=(search,), own_limits={"worst-case": 0.03})
    limits = shock_limits(book, scenarios, only)
    constraints = constraints_of(book, scenarios, only, limits, view)
    assert [c.shock.name for c in constraints.stress_caps] == ["worst-case"]
    proposal = propose_within(book, scenarios, only, limits, view)
    found = worst_case(scenarios.model, proposal.weights, radius=4.0, systematic=False)
    assert measured(found, scenarios, proposal.weights) <= 0.03 + 1e-4 + 1e-6
    # Limiting today's worst case alone would not have done: there is a second cap.
    assert any(r.name == "stress:worst-case 2" for r in proposal.limits)


def test_rule_and_foil_keep_within_every_limit(panel, case):
    view, _, scenarios, chosen = case
    limits = {s.name: 0.08 for s in chosen.shocks} | {"drop": 0.03}
    walked = replace(chosen, start="2025-03-03", shocks=from_toml(FILE))
    _, foil, rule, _ = rules(BOOK, walked, limits, panel)
    cash = Portfolio.from_weights({"CASH:USD": 1.0}, 1e6, "USD").priced(view)
    assert isinstance(foil, HoldWithCash) and isinstance(rule, ShockAware)
    shares = {}
    for strategy in (foil, rule):
        made = strategy.propose(view, cash)
        weights = made.weights
        for name in ("cheap", "replay:deepseek-monday", "drop"):
            shock = next(s for s in chosen.shocks if s.name == name)
            # Cash return over the horizon is part of the measure: a third of a point.
            loss = measured(shock, scenarios, weights)
            assert loss <= limits[name] + 4e-3, (strategy.name, name)
        shares[strategy.name] = 1.0 - weights["CASH:USD"]
    assert any("under drop" in note for note in made.notes) or foil.own_limits == limits
    alone = replace(foil, shock=CheapModelShock(name="cheap"), own_limits={})
    assert alone.propose(view, cash).weights["CASH:USD"] < 1 - shares["hold + cash"]


def test_the_job_limits_them_all(panel, case):
    *_, chosen = case
    settings = replace(chosen, shocks=from_toml(FILE), limit=0.08, n_scenarios=1000)
    job = run_job(Portfolio.from_weights(BOOK, 1e6, "USD"), panel, settings)
    names = [s.name for s in settings.shocks]
    assert [r.name for r in job.stress.results] == names
    assert {f"stress:{n}" for n in names} <= {r.name for r in job.proposal.limits}
    assert job.limit == 0.1
    text = job.report.provenance["limit on the severe loss"]
    assert text.startswith("0.1000 (cheap); 0.0800 (replay:deepseek-monday)")
    assert np.isnan(job.stress["views"].band).all()
