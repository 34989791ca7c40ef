"""vectorbt: books rebalanced to fixed weights, with proportional costs."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Thunk


def rebalance(prices: np.ndarray, every: np.ndarray, costs: float) -> Thunk:
    """Last value of each book, from one.

    Parameters
    ----------
    prices : (T, N) float64
    every : (G,) int64
        Sessions between the rebalances of each book, equal weights.
    costs : float
        One-way, on traded value. Its orders of a day are sized before any cost is
        paid, so that it holds a little less cash than it should and differs from an
        exact book by the costs' own square.
    """
    import pandas as pd
    import vectorbt as vbt  # pyright: ignore[reportMissingImports]

    T, N = prices.shape
    G = every.size
    columns = pd.MultiIndex.from_product([range(G), range(N)], names=["book", "asset"])

    def run() -> np.ndarray:
        size = np.full((T, G, N), np.nan)
        for g, step in enumerate(every.tolist()):
            size[::step, g] = 1.0 / N
        book = vbt.Portfolio.from_orders(
            pd.DataFrame(np.tile(prices, G), columns=columns),
            size=pd.DataFrame(size.reshape(T, G * N), columns=columns),
            size_type="targetpercent",
            fees=costs,
            group_by="book",
            cash_sharing=True,
            call_seq="auto",
            init_cash=1.0,
            freq="D",
        )
        return np.asarray(book.final_value())

    return run
