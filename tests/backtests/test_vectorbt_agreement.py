"""The array simulator against vectorbt, which solves these problems correctly.

vectorbt sizes a rebalance by the value *before* costs and takes the fee from cash
afterwards: it buys ``t V - h`` and is left with ``V' = V - c sum |t V - h|``. We solve
for the value after costs, so that the weights after trading are the targets. Without
costs the two are one. With costs they trade amounts that differ by the cost of the
cost; given vectorbt's own weights after trading as targets, the two are one again.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

from backtests import simulate_sweep, simulate_weights

pytestmark = pytest.mark.slow  # its import and first compilation take half a minute


@pytest.fixture(scope="module")
def orders():
    """Portfolio of one book rebalanced to targets, as vectorbt makes it."""
    pytest.importorskip("vectorbt", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own dependencies
        import vectorbt as vbt

    def made(prices, targets, fees):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = vbt.Portfolio.from_orders(
                pd.DataFrame(prices),
                size=pd.DataFrame(np.broadcast_to(targets, prices.shape)),
                size_type="targetpercent",
                group_by=True,
                cash_sharing=True,
                call_seq="auto",
                fees=fees,
                init_cash=1.0,
                freq="D",
            )
            return book.value().to_numpy().ravel(), book.assets().to_numpy() * prices

    return made


def _market(seed, T=250, N=8):
    rng = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    return prices, rng.dirichlet(np.ones(N), T)


@pytest.mark.parametrize("seed", range(3))
def test_path_and_final_wealth_without_costs(orders, seed):
    prices, targets = _market(seed)
    targets[np.arange(250) % 7 != 0] = np.nan
    value, _ = orders(prices, targets, 0.0)
    ours = simulate_weights(prices, targets)
    np.testing.assert_allclose(ours.value, value, rtol=1e-9)
    swept = simulate_sweep(prices, targets, paths=True)
    assert swept.value is not None
    np.testing.assert_allclose(swept.value[0], value, rtol=1e-9)


@pytest.mark.parametrize("invested", [1.0, 0.97])
def test_path_and_final_wealth_of_its_own_trades_with_costs(orders, invested):
    prices, targets = _market(5)
    value, money = orders(prices, invested * targets, 0.001)
    ours = simulate_weights(prices, money / value[:, None], 0.001)
    np.testing.assert_allclose(ours.value, value, rtol=1e-9)


def test_the_same_targets_with_costs_differ_by_the_cost_of_the_cost(orders):
    prices, targets = _market(5)
    for cost in (0.001, 0.002):
        value, _ = orders(prices, 0.97 * targets, cost)
        ours = simulate_weights(prices, 0.97 * targets, cost)
        # 250 rebalances, each moving half the book or so: c^2 of it, not c.
        apart = np.abs(ours.value / value - 1.0).max()
        assert 0.0 < apart < 250 * 2 * cost**2
