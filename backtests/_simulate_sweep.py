"""`simulate_sweep`: many rules for the same prices, in one pass over them.

The accounting of `simulate_weights` for every combination of target weights, costs,
calendar and drift band. Books that share a date share its prices, so that a thousand of
them are read from memory sixty times, not a thousand; no table of weights is kept.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from backtests._simulate import check_payable, no_trade, priced, rates
from backtests._sweep_axes import (
    axis,
    band_of,
    due_rows,
    is_band,
    is_rows,
    is_table,
    table_of,
)
from backtests.metrics import deflated_sharpe_ratio
from engine._base import Value
from engine.errors import ModelError
from engine.parallel import blocks, map_ordered, resolve_jobs

_BLOCK = 16
"""Cells in a block: their books stay in the fastest cache beside a date's prices."""


@dataclass(frozen=True, slots=True, eq=False)
class SweepArrays(Value):
    """Figures of each cell of `simulate_sweep`; cells in the order of the grid.

    Attributes
    ----------
    labels : tuple of (targets, costs, schedule, band)
        One per cell.
    final_value : (C,) float64
        At the last close, from one before the first trade.
    mean, volatility, sharpe : (C,) float64
        Of the T returns from close to close, the first from the initial value to the
        first close; per period, volatility with T - 1, no cash rate deducted.
    skew, kurtosis : (C,) float64
        Of the same returns; kurtosis is raw.
    max_drawdown : (C,) float64
        Worst fall below an earlier high, the initial value counting as one.
    turnover, cost : (C,) float64
        Sums over the dates: half the absolute trades, cash included, over the value
        before trading; costs in units of the initial value.
    trades : (C,) int64
        Dates with a trade.
    outcome : tuple of str
        ``done``, or why the book ended and at which row; its figures are NaN then.
    n_periods : int
        T.
    value : (C, T) float64 or None
        Where ``paths`` was asked for.
    """

    labels: tuple[tuple[str, str, str, str], ...]
    final_value: np.ndarray
    mean: np.ndarray
    volatility: np.ndarray
    sharpe: np.ndarray
    skew: np.ndarray
    kurtosis: np.ndarray
    max_drawdown: np.ndarray
    turnover: np.ndarray
    cost: np.ndarray
    trades: np.ndarray
    outcome: tuple[str, ...]
    n_periods: int
    value: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in (*_FIGURES, "trades", "value"):
            array = getattr(self, name)
            if array is not None:
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)

    def best(self) -> int:
        """Position of the highest Sharpe ratio.

        Raises
        ------
        ModelError
            No cell has one: all failed, or none ever moved.
        """
        if np.isnan(self.sharpe).all():
            raise ModelError(
                "no cell of the sweep has a Sharpe ratio", received=self.outcome[0]
            )
        return int(np.nanargmax(self.sharpe))

    def deflated_sharpe(self, *, n_trials: float | None = None) -> float:
        """Probability that the best cell's true Sharpe ratio is positive.

        Parameters
        ----------
        n_trials : float, optional
            Effective number of independent trials; by default every cell counts as
            one, which is hard on a grid whose cells are alike.
        """
        i = self.best()
        good = self.sharpe[~np.isnan(self.sharpe)]
        return deflated_sharpe_ratio(
            sharpe=float(self.sharpe[i]),
            n=self.n_periods,
            skew=float(self.skew[i]),
            kurtosis=float(self.kurtosis[i]),
            n_trials=len(self) if n_trials is None else n_trials,
            variance_of_sharpes=float(good.var(ddof=1)) if good.size > 1 else 0.0,
        )

    def to_frame(self):
        """Return one row per cell: what it was, and its figures."""
        import pandas as pd

        what = pd.DataFrame(
            self.labels, columns=["targets", "costs", "schedule", "band"]
        )
        figures = {name: getattr(self, name) for name in (*_FIGURES, "trades")}
        return what.assign(**figures, outcome=self.outcome)

    def __repr__(self) -> str:
        failed = sum(text != "done" for text in self.outcome)
        return f"SweepArrays({len(self)} cells, {self.n_periods} closes" + (
            f", {failed} failed)" if failed else ")"
        )


_FIGURES = (
    "final_value",
    "mean",
    "volatility",
    "sharpe",
    "skew",
    "kurtosis",
    "max_drawdown",
    "turnover",
    "cost",
)


class _Grid(NamedTuple):
    growth: np.ndarray
    targets: np.ndarray
    empty: np.ndarray
    costs: np.ndarray
    due: np.ndarray
    choice: np.ndarray
    bands: np.ndarray


def simulate_sweep(
    prices: Any,
    targets: Any,
    *,
    costs: Any = 0.0,
    schedules: Any = "daily",
    bands: Any = None,
    dates: Any = None,
    paths: bool = False,
    n_jobs: int = 1,
) -> SweepArrays:
    """Value of every combination of targets, costs, calendar and band.

    The books are those of `simulate_weights`: weights drift, costs are paid from the
    book, what the weights leave over is cash that earns nothing, and trading at the
    close that made the decision is same-bar execution (shift targets by one row).
    Cells are the product ``targets x costs x schedules x bands``, the last axis
    fastest. An axis is one value, a sequence of values, or a mapping label -> value.

    Parameters
    ----------
    prices : (T, N) array or DataFrame
        Positive and finite, in one currency.
    targets : (N,) or (T, N) array or DataFrame, or mapping label -> such a table
        A row of NaN means no trade at that close.
    costs : float, sequence of floats, or mapping label -> float or (N,)
        Proportional one-way costs as decimals.
    schedules : str, int, (T,) bool, a sequence or a mapping of them
        When a trade is considered: a name of `strategies.schedules.SCHEDULES` (the
        first session of each period and the first row), every k-th row from the first,
        or exactly the rows named.
    bands : None, float, Band, a sequence or a mapping of them
        None trades at every date of the schedule; a float is ``Band(width)``.
    dates : (T,) dates, optional
        Of the rows, for named schedules; a DataFrame brings them in its index.
    paths : bool, default False
        Keep the value of every cell at every close, C x T numbers.
    n_jobs : int, default 1
        Threads; -1 for one per core. The figures do not depend on it, bit for bit.

    Returns
    -------
    SweepArrays
        A book that loses everything has its outcome recorded; the others go on.

    Raises
    ------
    DataError
        As `simulate_weights`; an axis without values; dates that do not match.
    ModelError
        Weights that cost more to trade than they are worth.
    UsageError
        An unknown schedule or band.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> prices = np.exp(np.cumsum(rng.normal(0, 0.01, (60, 2)), axis=0))
    >>> grid = simulate_sweep(
    ...     prices, [0.5, 0.5], costs=[0.0, 0.001], schedules=[1, 5], bands=[None, 0.1]
    ... )
    >>> len(grid), grid.labels[3]
    (8, ('targets', '0', 'every 5', '0.1 to the edge'))
    """
    P = priced(prices)
    T, N = P.shape
    tables = {
        label: table_of(table, label, T, N)
        for label, table in axis(targets, "targets", one=is_table).items()
    }
    rate = {label: rates(value, N) for label, value in axis(costs, "costs").items()}
    if dates is None and hasattr(prices, "columns"):
        dates = prices.index
    due = {
        label: due_rows(value, T, dates)
        for label, value in axis(schedules, "schedules", one=is_rows).items()
    }
    band = {
        label: band_of(value)
        for label, value in axis(bands, "bands", one=is_band).items()
    }
    W = np.concatenate(list(tables.values()))
    empty = no_trade(W)
    for c in rate.values():
        check_payable(W, empty, c)
    first = np.cumsum([0, *(len(table) for table in tables.values())])
    sets = [
        (int(start), int(len(table) > 1))
        for start, table in zip(first[:-1], tables.values(), strict=True)
    ]
    choice, widths = [], []
    for (start, step), q, d, b in itertools.product(
        sets, range(len(rate)), range(len(due)), band.values()
    ):
        choice.append((start, step, q, d, int(b is not None and b.to == "centre")))
        widths.append((-1.0, 0.0) if b is None else (b.width, float(b.relative)))
    growth = np.ones((T, N))
    np.divide(P[1:], P[:-1], out=growth[1:])
    grid = _Grid(
        growth,
        W,
        empty,
        np.array(list(rate.values())),
        np.array(list(due.values())),
        np.array(choice, dtype=np.int64),
        np.array(widths),
    )
    return _run(grid, tables, rate, due, band, paths=paths, n_jobs=n_jobs)


def _run(grid: _Grid, *axes: Any, paths: bool, n_jobs: int) -> SweepArrays:
    pieces = blocks(len(grid.choice), _BLOCK)
    n_jobs = min(resolve_jobs(n_jobs), len(pieces))
    done = list(
        map_ordered(
            partial(_cells, grid, paths), pieces, executor="threads", n_jobs=n_jobs
        )
    )
    figures = {name: np.concatenate([part[name] for part in done]) for name in done[0]}
    status, row = figures.pop("status"), figures.pop("row")
    return SweepArrays(
        labels=tuple(itertools.product(*axes)),
        outcome=tuple(
            _outcome(int(s), int(r)) for s, r in zip(status, row, strict=True)
        ),
        n_periods=len(grid.growth),
        **figures,
    )


def _cells(grid: _Grid, paths: bool, piece: tuple[int, int, int]) -> dict[str, Any]:
    """Figures of one block of cells."""
    from engine.kernels.accounting import rebalance_cells

    _, start, stop = piece
    value = np.empty((stop - start, len(grid.growth)))
    sums = np.empty((stop - start, 5))
    rebalance_cells(
        *grid[:5], grid.choice[start:stop], grid.bands[start:stop], value, sums
    )
    out = _figures(value)
    lost = sums[:, 3] != 0
    sums[lost, :2] = np.nan
    out |= {
        "turnover": sums[:, 0].copy(),
        "cost": sums[:, 1].copy(),
        "trades": sums[:, 2].astype(np.int64),
        "status": sums[:, 3].astype(np.int64),
        "row": sums[:, 4].astype(np.int64),
    }
    return out | ({"value": value} if paths else {})


def _figures(value: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of paths (C, T) from one; NaN where a path ended."""
    C, T = value.shape
    before = np.concatenate([np.ones((C, 1)), value[:, :-1]], axis=1)
    x = value / before - 1.0
    mean = x.mean(axis=1)
    x -= mean[:, None]
    x2 = x * x
    variance = x2.mean(axis=1)
    # A path that never moves has no Sharpe ratio, and no shape.
    moves = np.sqrt(variance) > 1e-15
    scale = np.where(moves, variance, np.nan)
    volatility = np.sqrt(variance * T / (T - 1)) if T > 1 else np.full(C, np.nan)
    high = np.maximum(np.maximum.accumulate(value, axis=1), 1.0)
    return {
        "final_value": value[:, -1].copy(),
        "mean": mean,
        "volatility": volatility,
        "sharpe": mean / np.where(moves, volatility, np.nan),
        "skew": (x2 * x).mean(axis=1) / scale**1.5,
        "kurtosis": (x2 * x2).mean(axis=1) / scale**2,
        "max_drawdown": 1.0 - (value / high).min(axis=1),
    }


def _outcome(status: int, row: int) -> str:
    from engine.kernels.accounting import CONVERGED, RUINED

    if status == CONVERGED:
        return "done"
    if status == RUINED:
        return f"the book lost everything at row {row}"
    return f"the cost equation did not converge at row {row}"
