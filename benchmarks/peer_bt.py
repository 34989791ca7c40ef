"""bt (its own environment): a book rebalanced to fixed weights at every close."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Thunk


def rebalance(prices: np.ndarray, target: np.ndarray) -> Thunk:
    """Value of the book at each close, from one; fractional units, no costs."""
    import bt  # pyright: ignore[reportMissingImports]
    import pandas as pd

    names = [f"A{i}" for i in range(prices.shape[1])]
    dates = pd.bdate_range("2010-01-04", periods=len(prices))
    frame = pd.DataFrame(prices, index=dates, columns=names)
    weights = dict(zip(names, target.tolist(), strict=True))

    def run() -> np.ndarray:
        algorithms = [
            bt.algos.RunDaily(run_on_first_date=True),
            bt.algos.SelectAll(),
            bt.algos.WeighSpecified(**weights),
            bt.algos.Rebalance(),
        ]
        test = bt.Backtest(
            bt.Strategy("fixed weights", algorithms),
            frame,
            initial_capital=1e6,
            integer_positions=False,
            progress_bar=False,
        )
        test.run()
        # bt puts its capital on a day of its own before the first close.
        return test.strategy.values.to_numpy()[1:] / 1e6

    return run
