"""vectorbt: books rebalanced to fixed weights at every close, costs from cash.

It runs in a process of its own: its import takes seconds and its first call compiles.
Orders are sized by the value before costs (`tests/backtests/test_vectorbt_agreement.py`
says what follows); the answers agree to the cost of the cost.
"""

from __future__ import annotations

import numpy as np

from benchmarks.case import Partial, Thunk


def _values(prices: np.ndarray, target: np.ndarray, costs: np.ndarray) -> Thunk:
    """(T, G) values of one book per cost."""
    import pandas as pd
    import vectorbt as vbt

    T, N = prices.shape
    G = costs.size
    close = pd.DataFrame(np.tile(prices, (1, G)))
    size = pd.DataFrame(np.tile(target, (T, G)))
    groups, fees = np.repeat(np.arange(G), N), np.repeat(costs, N)[None, :]

    def run():
        book = vbt.Portfolio.from_orders(
            close,
            size=size,
            size_type="targetpercent",
            group_by=groups,
            cash_sharing=True,
            call_seq="auto",
            fees=fees,
            init_cash=1.0,
            freq="D",
        )

        return book.value().to_numpy()

    return run


def _warm(prices: np.ndarray, target: np.ndarray) -> None:
    """Compile before anything is timed."""
    _values(prices[:3], target, np.array([1e-3, 2e-3]))()
    _values(prices[:3], target, np.array([1e-3]))()


def rebalance(prices: np.ndarray, target: np.ndarray) -> Thunk:
    """Value of one book at each close, 10 basis points."""
    _warm(prices, target)
    run = _values(prices, target, np.array([1e-3]))
    return lambda: run().ravel()


def ten_books(prices: np.ndarray, target: np.ndarray, costs: np.ndarray) -> Thunk:
    """Last value of the first ten books, one per cost."""
    return _some(prices, target, costs, 10)


def fifty_books(prices: np.ndarray, target: np.ndarray, costs: np.ndarray) -> Thunk:
    """Last value of the first fifty books, one per cost."""
    return _some(prices, target, costs, 50)


def _some(prices: np.ndarray, target: np.ndarray, costs: np.ndarray, n: int) -> Thunk:
    n = min(n, costs.size)
    _warm(prices, target)
    run = _values(prices, target, costs[:n])
    return Partial(lambda: run()[-1], costs.size / n)
