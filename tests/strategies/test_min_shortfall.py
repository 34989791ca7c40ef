"""The strategy of minimum expected shortfall: its scenarios, its book, its walk."""

import pickle

import numpy as np
import pandas as pd
import pytest

from backtests import backtest
from backtests._lookahead import assert_no_lookahead
from engine.costs import Costs
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.data.universe import Universe
from engine.errors import DataError, InfeasibleError, UsageError
from engine.optimize import ShortfallProblem, minimum_shortfall
from engine.proposal import Outcome
from strategies import MinimumShortfall, Strategy


def make_panel(T=200, N=6, seed=0, venue=None):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2022-01-03", periods=T).to_numpy().astype("datetime64[D]")
    moves = rng.standard_t(5, size=(T, N)) * np.linspace(0.005, 0.02, N) + 3e-4
    return PricePanel(
        dates=dates,
        prices=100 * np.exp(np.cumsum(moves, axis=0)),
        universe=Universe(
            tuple("ABCDEFGHIJ"[:N]),
            quote_currency=("USD",) * N,
            **({} if venue is None else {"venue": venue}),
        ),
        price_basis="total_return",
        base_currency="USD",
        cash_currencies=("USD",),
        cash_rates=np.full((T, 1), 0.04),
    )


PANEL = make_panel()
SMALL = MinimumShortfall(window=100, upper=0.5, level=0.9)


def cash_book(view):
    return Portfolio.from_weights({"CASH:USD": 1.0}, 1e6, "USD").priced(view)


def test_scenarios_are_the_last_returns_centred_at_cash():
    view = PANEL.as_of(PANEL.dates[150])
    made = SMALL.estimate(view)
    prices = PANEL.prices[50:151]
    R = prices[1:] / prices[:-1] - 1
    assert made.returns.shape == (100, 6)
    np.testing.assert_allclose(
        made.returns - made.returns.mean(axis=0), R - R.mean(axis=0), atol=1e-12
    )
    np.testing.assert_allclose(
        made.returns.mean(axis=0), 0.04 / made.periods_per_year, atol=1e-12
    )
    sample = MinimumShortfall(window=100, mean="sample").estimate(view)
    np.testing.assert_allclose(sample.returns, R, atol=1e-12)
    assert "SAMPLE MEAN" in sample.notes[0]


def test_markets_that_close_apart_are_seen_through_five_sessions():
    panel = make_panel(venue=("NYSE",) * 3 + ("KRX",) * 3)
    made = SMALL.estimate(panel.as_of("2022-09-01T23:00"))
    assert made.horizon == 5
    assert 45 < made.periods_per_year < 55


def test_the_book_is_the_least_of_the_problem_it_states():
    view = PANEL.as_of(PANEL.dates[150])
    strategy = MinimumShortfall(window=100, upper=0.5, level=0.9, costs=Costs(0.0))
    made = strategy.propose(view, cash_book(view))
    R = strategy.estimate(view).returns
    least = minimum_shortfall(
        ShortfallProblem(R, level=0.9, upper=0.5), method="textbook"
    )
    w = np.array([made.weights.get(a, 0.0) for a in "ABCDEF"])
    problem = ShortfallProblem(R, level=0.9, upper=0.5)
    assert problem.shortfall(w) == pytest.approx(least.expected_shortfall, rel=1e-6)
    assert w.sum() == pytest.approx(1.0, abs=1e-9) and made.weights["CASH:USD"] == 0
    assert made.outcome is Outcome.OPTIMAL
    assert made.solve_path and "expected shortfall" in made.notes[0]
    assert all(t.reason == "lowers expected shortfall" for t in made.trades)


def test_costs_keep_a_book_that_is_nearly_as_good():
    view = PANEL.as_of(PANEL.dates[150])
    best = SMALL.propose(view, cash_book(view)).weights
    near = {a: best.get(a, 0.0) for a in "ABCDEF"}
    near["A"] -= 0.01
    near["F"] += 0.01
    book = Portfolio.from_weights(near, 1e6, "USD").priced(view)
    dear = MinimumShortfall(window=100, upper=0.5, level=0.9, costs=Costs(500.0))
    assert dear.propose(view, book).turnover == 0.0
    free = MinimumShortfall(window=100, upper=0.5, level=0.9, costs=Costs(0.0))
    assert free.propose(view, book).turnover > 1e-3


def test_monthly_walk_and_no_lookahead():
    result = backtest(SMALL, PANEL, start=PANEL.dates[110], schedule="monthly")
    assert len(result.decisions) >= 4
    outcomes = {d.outcome for d in result.decisions}
    assert outcomes == {"OPTIMAL"}
    assert_no_lookahead(SMALL, PANEL, dates=[PANEL.dates[120], PANEL.dates[160]])


def test_estimate_and_propose_are_pure():
    view = PANEL.as_of(PANEL.dates[150])
    book = cash_book(view)
    one = SMALL.propose(view, book, SMALL.estimate(view))
    SMALL.propose(PANEL.as_of(PANEL.dates[120]), cash_book(PANEL.as_of("2022-06-01")))
    two = SMALL.propose(view, book)
    assert one.weights == two.weights
    assert isinstance(SMALL, Strategy)
    assert repr(pickle.loads(pickle.dumps(SMALL))) == repr(SMALL)


def test_what_cannot_be_done_is_said():
    view = PANEL.as_of(PANEL.dates[150])
    with pytest.raises(InfeasibleError, match="upper bounds"):
        MinimumShortfall(window=100).propose(view, cash_book(view))
    with pytest.raises(UsageError, match="unknown mean"):
        MinimumShortfall(mean="median")
    with pytest.raises(DataError, match="full estimation window"):
        SMALL.estimate(PANEL.as_of(PANEL.dates[50]))
    narrow = MinimumShortfall(tickers=("A", "B", "C"), window=100, upper=0.5)
    book = Portfolio.from_weights({"F": 1.0}, 1e6, "USD").priced(view)
    with pytest.raises(DataError, match=r"too short a history.*F"):
        narrow.propose(view, book)
