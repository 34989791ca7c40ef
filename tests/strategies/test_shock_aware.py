"""The rule and its foil: same limit, same measure, cash that stays cash."""

import numpy as np
import pytest

from engine import CheapModelShock, DataError, LookAheadError, Portfolio, load_panel
from engine.constraints import StressCap
from engine.optimize.problem import stress_measure
from strategies import HoldWithCash, ShockAware
from strategies.estimation import scenarios_for
from strategies.shock_aware import book_at, cash_of

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "EFA", "EWJ", "TLT", "SPY")
BOOK = {"NVDA": 0.4, "AVGO": 0.2, "ANET": 0.2, "VST": 0.1}  # a tenth is cash
LIMIT = 0.08


@pytest.fixture(scope="module")
def view():
    panel = load_panel("reference", NAMES)
    return panel.as_of("2024-12-02", hindsight_parameters=True)


@pytest.fixture(scope="module")
def cash(view):
    return Portfolio.from_weights({"CASH:USD": 1.0}, 1e6, "USD").priced(view)


def severe_loss(view, strategy, weights):
    model = strategy.estimate(view)
    scenarios = scenarios_for(
        model, Portfolio.from_weights({"CASH:USD": 1.0}, 1.0, "USD").priced(view)
    )
    cap = StressCap(CheapModelShock(), LIMIT)
    measure = stress_measure(cap, scenarios, cap.moves(scenarios))
    return measure.value(scenarios.align(weights))


def test_rule_and_foil_meet_the_same_limit_by_the_same_measure(view, cash):
    for strategy in (ShockAware(BOOK, LIMIT, upper=0.5, window=252),
                     HoldWithCash(BOOK, LIMIT, window=252)):  # fmt: skip
        made = strategy.propose(view, cash)
        loss = severe_loss(view, strategy, made.weights)
        # The cash return of the horizon is part of both; it is a third of a point.
        assert loss == pytest.approx(LIMIT, abs=4e-3), strategy.name
        assert loss <= LIMIT + 1e-6
        assert sum(made.weights.values()) == pytest.approx(1.0)


def test_the_foil_keeps_the_proportions_of_the_book(view, cash):
    made = HoldWithCash(BOOK, LIMIT, window=252).propose(view, cash).weights
    held = np.array([made[k] for k in BOOK])
    np.testing.assert_allclose(held / held.sum(), np.array([*BOOK.values()]) / 0.9)


def test_a_limit_out_of_reach_leaves_the_book_as_it_is_cash_included(view, cash):
    made = ShockAware(BOOK, 0.9, upper=0.5, window=252).propose(view, cash).weights
    # Coming from cash, buying stops where half a point of it is not worth the spread.
    for name, weight in BOOK.items():
        assert made[name] == pytest.approx(weight, abs=8e-3)
    assert made["CASH:USD"] == pytest.approx(0.1, abs=8e-3)
    held = HoldWithCash(BOOK, 0.9, window=252).propose(view, cash).weights
    assert held["CASH:USD"] == pytest.approx(0.1)


def test_money_goes_to_what_loses_less(view, cash):
    rule = ShockAware(BOOK, LIMIT, upper=0.5, window=252)
    made = rule.propose(view, cash).weights
    assert sum(made[k] for k in BOOK) < 0.9
    assert sum(made[k] for k in ("JPM", "PG", "EFA", "EWJ", "TLT", "SPY")) > 0.1
    assert made["CASH:USD"] <= 0.11 + 1e-6  # not to cash


def test_a_missing_name_leaves_its_share_to_the_others_and_cash_alone():
    assert book_at(BOOK, ("NVDA", "AVGO")) == pytest.approx({"NVDA": 0.6, "AVGO": 0.3})
    assert book_at(BOOK, ("TLT",)) == {}
    assert cash_of(BOOK) == pytest.approx(0.1)
    with pytest.raises(DataError, match=r"exceed one; received 1\.2"):
        cash_of({"NVDA": 0.7, "AVGO": 0.5})


def test_undated_roles_are_refused_in_the_past_without_hindsight(cash):
    panel = load_panel("reference", NAMES)
    for strategy in (ShockAware(BOOK, window=252), HoldWithCash(BOOK, window=252)):
        with pytest.raises(LookAheadError, match="undated AI role"):
            strategy.estimate(panel.as_of("2024-12-02"))


def test_a_holding_too_young_for_the_window_is_named(view):
    panel = load_panel("reference", [*NAMES, "GEV"])
    recent = panel.as_of("2024-12-02", hindsight_parameters=True)
    book = Portfolio.from_weights({"GEV": 1.0}, 1e6, "USD").priced(recent)
    with pytest.raises(DataError, match=r"too short a history.*GEV"):
        ShockAware(BOOK, window=252).propose(recent, book)
