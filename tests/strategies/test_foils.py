"""Every foil meets the same limit by the same measure, with the least it can do."""

from __future__ import annotations

import pytest

from engine import CheapModelShock, DataError, Portfolio, load_panel
from engine.constraints import StressCap
from engine.optimize.problem import stress_measure
from strategies import HoldWithCash, HoldWithShort, HoldWithSwap, ShockAware
from strategies.estimation import scenarios_for

NAMES = ("NVDA", "AVGO", "ANET", "VST", "SMH", "RSP", "EFA", "SPY", "PG")
BOOK = {"NVDA": 0.4, "AVGO": 0.3, "ANET": 0.3}
LIMIT = 0.09


@pytest.fixture(scope="module")
def view():
    panel = load_panel("reference", NAMES)
    return panel.as_of("2024-12-02", hindsight_parameters=True)


def held(view, weights):
    return Portfolio.from_weights(weights, 1e6, "USD").priced(view)


def loss_of(view, foil, weights):
    model = foil.estimate(view)
    scenarios = scenarios_for(model, held(view, {"CASH:USD": 1.0}))
    cap = StressCap(CheapModelShock(), LIMIT)
    measure = stress_measure(cap, scenarios, cap.moves(scenarios))
    return measure.value(scenarios.align({k: v for k, v in weights.items() if v}))


FOILS = (
    HoldWithCash(BOOK, LIMIT, window=252),
    HoldWithSwap(BOOK, LIMIT, window=252, into="RSP"),
    HoldWithSwap(BOOK, LIMIT, window=252, into="EFA"),
    HoldWithShort(BOOK, LIMIT, window=252, short="SMH", most=3.0),
)


@pytest.mark.parametrize("foil", FOILS, ids=lambda f: f.name)
def test_the_limit_is_met_exactly_and_proportions_are_kept(view, foil):
    made = foil.propose(view, held(view, BOOK)).weights
    assert loss_of(view, foil, BOOK) > LIMIT
    assert loss_of(view, foil, made) == pytest.approx(LIMIT, abs=1e-9)
    assert sum(made.values()) == pytest.approx(1.0, abs=1e-12)
    for name, weight in BOOK.items():
        assert made[name] / made["NVDA"] == pytest.approx(weight / BOOK["NVDA"])


def test_each_foil_does_what_it_is_called(view):
    cash, rsp, efa, short = (f.propose(view, held(view, BOOK)).weights for f in FOILS)
    assert cash["CASH:USD"] > 0.1
    assert rsp["RSP"] > 0.1
    assert rsp["CASH:USD"] == pytest.approx(0.0, abs=1e-12)
    assert efa["EFA"] > 0.1
    # A fund that loses too has to take more of the book than cash does.
    assert rsp["RSP"] >= cash["CASH:USD"]
    assert short["SMH"] < -0.05
    assert short["NVDA"] == pytest.approx(0.4)
    assert short["CASH:USD"] == pytest.approx(-short["SMH"])


def test_a_book_within_the_limit_is_left_whole(view):
    calm = HoldWithSwap(BOOK, 0.9, window=252).propose(view, held(view, BOOK))
    assert calm.turnover == pytest.approx(0.0, abs=1e-12)


def test_a_fund_that_cannot_reach_the_limit_says_so(view):
    foil = HoldWithSwap(BOOK, 0.01, window=252, into="SMH")
    made = foil.propose(view, held(view, BOOK))
    assert any("out of reach" in note for note in made.notes)


def test_turnover_budget_binds_rule_and_foil_alike(view):
    book = held(view, BOOK)
    foil = HoldWithCash(BOOK, LIMIT, window=252, turnover=0.05).propose(view, book)
    assert foil.turnover == pytest.approx(0.05)
    assert any("turnover budget" in note for note in foil.notes)
    rule = ShockAware(BOOK, 0.21, upper=0.5, window=252, turnover=0.25)
    assert rule.propose(view, book).turnover <= 0.25 + 1e-6
    # The first purchase is not a rebalance.
    bought = HoldWithCash(BOOK, LIMIT, window=252, turnover=0.05).propose(
        view, held(view, {"CASH:USD": 1.0})
    )
    assert bought.turnover > 0.3


def test_an_unknown_fund_is_an_error(view):
    with pytest.raises(DataError, match="no full estimation window") as caught:
        HoldWithSwap(BOOK, LIMIT, window=252, into="XYZ").propose(
            view, held(view, BOOK)
        )
    assert caught.value.asset == "XYZ"
