"""Bands are left to the edge at the least turnover; a stress trigger measures today."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from backtests import assert_no_lookahead, backtest
from engine import CheapModelShock, Portfolio, UsageError, load_panel
from engine.constraints import StressCap
from engine.optimize.problem import stress_measure
from engine.proposal import Outcome, Proposal
from strategies import DriftBand, Hold, NoTradeRegion, ShockAware, StressTriggered
from strategies.bands import no_trade_half_width, to_edge
from strategies.estimation import scenarios_for

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "EFA", "TLT")
BOOK = {"NVDA": 0.5, "AVGO": 0.3, "ANET": 0.2}


class Fixed:
    """Always the same target."""

    name = "fixed"

    def __init__(self, weights):
        self.weights = weights

    def estimate(self, view):
        return None

    def propose(self, view, portfolio, estimate=None):
        return Proposal.from_weights(portfolio, self.weights)


@pytest.fixture(scope="module")
def panel():
    return load_panel("reference", NAMES)


@pytest.fixture(scope="module")
def view(panel):
    return panel.as_of("2024-12-02", hindsight_parameters=True)


def held(view, weights):
    return Portfolio.from_weights(weights, 1e6, "USD").priced(view)


@given(st.integers(2, 6), st.integers(0, 10_000))
def test_to_edge_is_inside_and_trades_least(n, seed):
    rng = np.random.default_rng(seed)
    current, target = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
    width = rng.uniform(0.005, 0.1, n)
    made = to_edge(current, target, width)
    assert made.sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.abs(made - target) <= width + 1e-12).all()
    # The linear programme that defines it: least sum of absolute trades in the band.
    eye = np.eye(n)
    least = linprog(
        np.r_[np.zeros(n), np.ones(n)],
        A_ub=np.block([[eye, -eye], [-eye, -eye]]),
        b_ub=np.r_[current, -current],
        A_eq=np.r_[np.ones(n), np.zeros(n)][None],
        b_eq=[1.0],
        bounds=[*zip(target - width, target + width, strict=True), *[(0, None)] * n],
    )
    assert np.abs(made - current).sum() == pytest.approx(least.fun, abs=1e-9)


def test_a_band_stands_still_inside_and_moves_to_edge_or_centre(view):
    target = {"JPM": 0.5, "PG": 0.3, "CASH:USD": 0.2}
    rule = Fixed(target)
    inside = held(view, {"JPM": 0.53, "PG": 0.28, "CASH:USD": 0.19})
    outside = held(view, {"JPM": 0.60, "PG": 0.22, "CASH:USD": 0.18})
    edge, centre = DriftBand(rule, 0.05), DriftBand(rule, 0.05, to="centre")
    assert edge.propose(view, inside).outcome is Outcome.NO_TRADE
    made = edge.propose(view, outside).weights
    assert made["JPM"] == pytest.approx(0.55)
    # 0.03 below for PG: the five points freed go where there is room.
    assert made["PG"] >= 0.25 - 1e-12
    assert edge.propose(view, outside).turnover == pytest.approx(0.05)
    assert centre.propose(view, outside).weights == pytest.approx(target)
    first = edge.propose(view, held(view, {"CASH:USD": 1.0})).weights
    assert first == pytest.approx(target)


def test_relative_bands_scale_with_the_weight(view):
    rule = Fixed({"JPM": 0.9, "PG": 0.1})
    book = held(view, {"JPM": 0.87, "PG": 0.13})
    assert DriftBand(rule, 0.05).propose(view, book).outcome is Outcome.NO_TRADE
    made = DriftBand(rule, 0.05, relative=True).propose(view, book)
    assert made.weights["PG"] == pytest.approx(0.105)


def test_fewer_trades_and_less_turnover_than_a_calendar(panel):
    target = {"NVDA": 0.25, "AVGO": 0.25, "JPM": 0.25, "PG": 0.25}
    start, end = "2023-01-03", "2024-12-31"
    daily = backtest(Fixed(target), panel, start=start, end=end, schedule="daily")
    edge, centre = (
        backtest(
            DriftBand(Fixed(target), 0.03, to=to),
            panel,
            start=start,
            end=end,
            schedule="daily",
        )
        for to in ("edge", "centre")
    )
    assert edge.turnover[1:].sum() < centre.turnover[1:].sum()
    assert centre.turnover[1:].sum() < daily.turnover[1:].sum()
    # One session of drift between decision and fill may leave the band again.
    weights = edge.weights()[5:, :]
    names = [edge.labels.index(k) for k in target]
    assert np.abs(weights[:, names] - 0.25).max() < 0.03 + 0.04


def test_no_trade_half_width_is_the_published_expansion():
    # Shreve and Soner (1994): (3 c / (2 g) w^2 (1 - w)^2)^(1/3).
    got = no_trade_half_width(0.4, 0.01, 2.0)
    assert got == pytest.approx((1.5 * 0.01 / 2.0 * 0.4**2 * 0.6**2) ** (1 / 3))
    # It scales with the cube root of cost.
    assert no_trade_half_width(0.4, 0.08, 2.0) == pytest.approx(2 * got)
    assert no_trade_half_width(0.4, 0.0, 2.0) == 0.0
    with pytest.raises(UsageError, match="positive risk aversion"):
        no_trade_half_width(0.4, 0.01, 0.0)


def test_no_trade_region_leaves_cash_to_take_the_rest(view):
    rule = NoTradeRegion(Fixed({"JPM": 0.5, "PG": 0.3, "CASH:USD": 0.2}), 10.0)
    width = float(no_trade_half_width(0.5, 10e-4, 3.0))
    made = rule.propose(
        view, held(view, {"JPM": 0.7, "PG": 0.3, "CASH:USD": 0.0})
    ).weights
    assert made["JPM"] == pytest.approx(0.5 + width)
    assert made["PG"] == pytest.approx(0.3)
    assert made["CASH:USD"] == pytest.approx(0.2 - width)


def test_the_trigger_measures_the_book_of_the_day(view):
    inner = ShockAware(BOOK, 0.06, upper=0.5, window=252)
    rule = StressTriggered(inner, 0.08, window=252)
    model, shared = rule.estimate(view)
    assert shared is model  # one fit serves both
    calm = held(view, {"JPM": 0.5, "PG": 0.5})
    assert rule.propose(view, calm).outcome is Outcome.NO_TRADE
    concentrated = held(view, BOOK)
    made = rule.propose(view, concentrated)
    scenarios = scenarios_for(model, concentrated)
    cap = StressCap(CheapModelShock(), 0.06)
    measure = stress_measure(cap, scenarios, cap.moves(scenarios))
    assert measure.value(scenarios.align(BOOK)) > 0.08
    assert measure.value(scenarios.align(made.weights)) <= 0.06 + 1e-6


@pytest.mark.parametrize(
    "rule",
    [
        DriftBand(Hold({"NVDA": 0.5, "JPM": 0.5}), 0.02),
        NoTradeRegion(Fixed({"NVDA": 0.5, "JPM": 0.5})),
        StressTriggered(
            ShockAware(BOOK, 0.06, upper=0.5, window=126), 0.08, window=126
        ),
    ],
    ids=lambda r: type(r).__name__,
)
def test_no_lookahead(rule, panel):
    part = load_panel("reference", NAMES, start="2024-01-02", end="2024-12-31")
    assert_no_lookahead(rule, part, hindsight_parameters=True)


def test_bad_bands():
    with pytest.raises(UsageError, match="positive half-width"):
        DriftBand(Fixed({}), 0.0)
    with pytest.raises(UsageError, match="edge or its centre"):
        DriftBand(Fixed({}), 0.1, to="middle")
    with pytest.raises(UsageError):
        StressTriggered(Fixed({}), float("nan"))
