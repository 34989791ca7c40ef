"""The accounting kernel against a plain loop, closed forms and the backtester."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests._simulate import simulate_weights
from engine.errors import DataError, ModelError

nan = np.nan


def reference(prices, targets, costs, impact=0.0):
    """The same, by bisection on the value after costs and one date at a time."""
    T, N = prices.shape
    c = np.broadcast_to(costs, (N,))
    money, cash = np.zeros(N), 1.0
    value, turnover, cost, weights = [], [], [], []
    for t in range(T):
        if t:
            money = money * prices[t] / prices[t - 1]
        before = after = money.sum() + cash
        w = targets[t]
        if not np.isnan(w).any():
            low, high = 0.0, before
            for _ in range(200):
                middle = 0.5 * (low + high)
                size = np.abs(w * middle - money)
                k = np.broadcast_to(impact, prices.shape)[t]
                paid = (c * size + k * size**1.5).sum()
                low, high = (middle, high) if middle + paid < before else (low, middle)
            after = 0.5 * (low + high)
            trade = w * after - money
            turnover.append(0.5 * (np.abs(trade).sum() + abs(trade.sum())) / before)
            money, cash = w * after, after * (1 - w.sum())
        else:
            turnover.append(0.0)
        value.append(after)
        cost.append(before - after)
        weights.append(money / after)
    return map(np.array, (value, turnover, cost, weights))


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    T, N = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    prices = np.exp(np.cumsum(rng.normal(0, 0.1, (T, N)), axis=0))
    targets = rng.dirichlet(np.ones(N + 1), T)[:, :N]
    if draw(st.booleans()):
        targets = targets * 1.4 - 0.1  # some short, some leverage
    targets[rng.random(T) < 0.4] = nan
    costs = rng.uniform(0, draw(st.sampled_from([0.0, 0.001, 0.05])), N)
    return prices, targets, costs


@settings(deadline=None, derandomize=True, max_examples=100)
@given(problems())
def test_matches_a_plain_loop(problem):
    prices, targets, costs = problem
    got = simulate_weights(prices, targets, costs)
    for a, b in zip(got, reference(prices, targets, costs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_kernel_agrees_with_its_python():
    from engine.kernels.accounting import rebalance_path

    rng = np.random.default_rng(3)
    prices = np.exp(np.cumsum(rng.normal(0, 0.02, (40, 5)), axis=0))
    targets = rng.dirichlet(np.ones(5), 40)
    rows = np.where(np.arange(40) % 3 == 0, np.arange(40), -1)

    def run(function):
        outs = [np.empty(40), np.empty(40), np.empty(40), np.empty((40, 5))]
        costs = np.full(5, 0.002)
        status = function(
            prices, targets, rows, costs, np.empty((0, 5)), *outs,
            np.zeros(1, dtype=np.int64),
        )  # fmt: skip
        return status, outs

    (s1, compiled), (s2, plain) = run(rebalance_path), run(rebalance_path.py_func)
    assert s1 == s2 == 0
    for a, b in zip(compiled, plain, strict=True):
        # Sums of five numbers in another order.
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-16)


def test_first_purchase_at_constant_prices_costs_its_closed_form():
    T, c = 5, 0.01
    r = simulate_weights(np.ones((T, 2)), [0.5, 0.5], c)
    # V' + c V' = 1, and afterwards nothing has drifted, so nothing is traded.
    np.testing.assert_allclose(r.value, np.full(T, 1 / (1 + c)), rtol=1e-14)
    np.testing.assert_allclose(r.cost[1:], 0.0, atol=1e-15)
    assert r.turnover[0] == pytest.approx(1 / (1 + c))


def test_switching_at_constant_prices_decays_geometrically():
    T, c = 6, 0.002
    targets = np.array([[1.0, 0.0], [0.0, 1.0]] * (T // 2))
    r = simulate_weights(np.ones((T, 2)), targets, c)
    # Selling V and buying V' costs c (V + V'): V' = V (1 - c) / (1 + c).
    expected = (1 / (1 + c)) * ((1 - c) / (1 + c)) ** np.arange(T)
    np.testing.assert_allclose(r.value, expected, rtol=1e-13)


def test_buy_and_hold_equals_the_price_ratio():
    rng = np.random.default_rng(1)
    prices = np.exp(np.cumsum(rng.normal(0, 0.02, (50, 3)), axis=0))
    targets = np.full((50, 3), nan)
    targets[0] = [0.2, 0.3, 0.4]
    r = simulate_weights(prices, targets)
    expected = 0.1 + (targets[0] * prices / prices[0]).sum(axis=1)
    np.testing.assert_allclose(r.value, expected, rtol=1e-13)


def test_weights_after_trading_are_the_targets_exactly():
    rng = np.random.default_rng(2)
    prices = np.exp(np.cumsum(rng.normal(0, 0.02, (20, 3)), axis=0))
    targets = rng.dirichlet(np.ones(3), 20)
    r = simulate_weights(prices, targets, 0.003)
    np.testing.assert_array_equal(r.weights, targets)
    np.testing.assert_allclose(r.value[0] + r.cost[0], 1.0, rtol=1e-15)


def test_a_frame_counts_by_its_values_and_one_row_means_every_day():
    rng = np.random.default_rng(2)
    prices = np.exp(np.cumsum(rng.normal(0, 0.02, (20, 2)), axis=0))
    a = simulate_weights(pd.DataFrame(prices, columns=["A", "B"]), [0.5, 0.5], 0.001)
    b = simulate_weights(prices, np.full((20, 2), 0.5), [0.001, 0.001])
    np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize(
    ("prices", "targets", "costs", "error", "words"),
    [
        ([1.0, 2.0], [1.0], 0.0, DataError, "table"),
        ([[1.0], [nan]], [1.0], 0.0, DataError, "row 1, column 0"),
        ([[1.0], [-2.0]], [1.0], 0.0, DataError, "positive"),
        ([["a"]], [1.0], 0.0, DataError, "not numeric"),
        ([[1.0, 1.0]], [1.0], 0.0, DataError, "do not match"),
        ([[1.0, 1.0]], [[1.0, nan]], 0.0, DataError, "partly"),
        ([[1.0, 1.0]], [[1.0, np.inf]], 0.0, DataError, "partly"),
        ([[1.0]], [1.0], 1.0, DataError, "decimal"),
        ([[1.0]], [1.0], -0.1, DataError, "decimal"),
        ([[1.0]], [1.0], [0.1, 0.1], DataError, "costs do not match"),
        ([[1.0]], [20.0], 0.1, ModelError, "more to trade"),
        ([[1.0], [0.4]], [[2.0], [nan]], 0.0, ModelError, "lost everything"),
    ],
)
def test_bad_input_is_refused(prices, targets, costs, error, words):
    with pytest.raises(error, match=words):
        simulate_weights(prices, targets, costs)


# ----------------------------------------------------------------------------- impact


@settings(deadline=None, derandomize=True, max_examples=100)
@given(problems(), st.floats(0.0, 0.2), st.booleans())
def test_impact_matches_a_plain_loop(problem, k, by_date):
    prices, targets, costs = problem
    rng = np.random.default_rng(prices.shape[0])
    impact = k * rng.uniform(0, 1, prices.shape if by_date else prices.shape[1])
    got = simulate_weights(prices, targets, costs, impact=impact)
    expected = reference(prices, targets, costs, impact)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(problems())
def test_no_impact_is_the_same_book(problem):
    prices, targets, costs = problem
    plain = simulate_weights(prices, targets, costs)
    with_none = simulate_weights(prices, targets, costs, impact=0.0)
    for a, b in zip(plain, with_none, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_impact_of_the_first_purchase_solves_its_cubic():
    """V' + k V'^(3/2) = 1: with k = 1 the root of u^3 + u^2 = 1, u^2 = V'."""
    r = simulate_weights(np.ones((1, 1)), [1.0], impact=1.0)
    u = np.sqrt(r.value[0])
    assert u**3 + u**2 == pytest.approx(1.0, rel=1e-14)


def test_the_kernel_with_impact_agrees_with_its_python():
    from engine.kernels.accounting import rebalance_path

    rng = np.random.default_rng(3)
    prices = np.exp(np.cumsum(rng.normal(0, 0.02, (30, 4)), axis=0))
    targets = rng.dirichlet(np.ones(4), 30)

    def run(function):
        outs = [np.empty(30), np.empty(30), np.empty(30), np.empty((30, 4))]
        rows, impact = np.arange(30), np.full((1, 4), 0.05)
        status = function(
            prices, targets, rows, np.full(4, 0.001), impact, *outs,
            np.zeros(1, dtype=np.int64),
        )  # fmt: skip
        return status, outs

    (s1, compiled), (s2, plain) = run(rebalance_path), run(rebalance_path.py_func)
    assert s1 == s2 == 0
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_impact_is_that_of_the_cost_object():
    """One purchase at the close: the kernel charges what `Costs` charges."""
    from engine import Costs, PricePanel, Universe

    rng = np.random.default_rng(5)
    prices = 30 * np.exp(np.cumsum(rng.normal(0, 0.02, (40, 2)), axis=0))
    names, value = ("A", "B"), 2e6
    panel = PricePanel(
        dates=np.datetime64("2024-01-01") + np.arange(40),
        prices=prices,
        volume=rng.uniform(1e5, 2e5, (40, 2)),
        universe=Universe(names, quote_currency=("USD", "USD")),
        price_basis="total_return",
        base_currency="USD",
    )
    costs = Costs(5.0, impact=1.0, impact_window=30).at(panel)
    k = costs.impact_coefficients(names) * np.sqrt(value)
    r = simulate_weights(prices[-1:], [0.6, 0.3], costs.rates(names), impact=k)
    traded = np.array([0.6, 0.3]) * r.value[0] * value
    assert r.cost[0] * value == pytest.approx(costs.charge(names, traded), rel=1e-12)


@pytest.mark.parametrize(
    ("impact", "words"),
    [
        (-0.1, "not negative; received -0.1"),
        ([0.1, nan], "finite"),
        ([0.1, 0.1, 0.1], "does not match"),
        ([[0.1, 0.1]], "does not match"),
        ("deep", "not numeric"),
    ],
)
def test_an_impact_that_cannot_be_is_refused(impact, words):
    with pytest.raises(DataError, match=words):
        simulate_weights(np.ones((2, 2)), [0.5, 0.5], impact=impact)


def test_a_calendar_is_a_table_of_targets_with_gaps():
    rng = np.random.default_rng(2)
    prices = np.exp(np.cumsum(rng.normal(0, 0.02, (30, 3)), axis=0))
    when = np.arange(30) % 7 == 0
    table = np.where(when[:, None], [0.5, 0.2, 0.2], nan)
    for impact in (None, 0.01):
        a = simulate_weights(prices, [0.5, 0.2, 0.2], 1e-3, impact=impact, when=when)
        b = simulate_weights(prices, table, 1e-3, impact=impact)
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)
    for bad in (when[:-1], when.astype(int), [when]):
        with pytest.raises(DataError, match="when does not match prices"):
            simulate_weights(prices, [0.5, 0.2, 0.2], when=bad)
