"""`simulate_sweep`: many rules for the same prices, in one pass over them.

The accounting of `simulate_weights` for every combination of target weights, costs,
calendar and drift band. Books that share a date share its prices, so that a thousand of
them are read from memory sixty times, not a thousand; no table of weights is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from backtests._simulate import _numbers, check_payable, no_trade, priced, rates
from backtests.metrics import deflated_sharpe_ratio
from engine._base import Value
from engine.errors import DataError, ModelError, UsageError
from engine.parallel import blocks, map_ordered, resolve_jobs

_BLOCK = 16
"""Cells in a block: their books stay in the fastest cache beside a date's prices."""


class Band(NamedTuple):
    """When drift is worth a trade, and how far back it is brought.

    Attributes
    ----------
    width : float
        Half-width around the target weight, a decimal; cash has a band too. The first
        purchase is made in any case.
    to : {"edge", "centre"}
        ``edge`` brings what has left its band to the edge and shares what that frees
        or needs over the others in proportion to their room, as
        `strategies.DriftBand`; ``centre`` trades to the target.
    relative : bool
        The width is a fraction of the absolute target weight.
    """

    width: float
    to: str = "edge"
    relative: bool = False


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
        label: _table(table, label, T, N)
        for label, table in _axis(targets, "targets", one=_is_table).items()
    }
    rate = {label: rates(value, N) for label, value in _axis(costs, "costs").items()}
    if dates is None and hasattr(prices, "columns"):
        dates = prices.index
    due = {
        label: _due(value, T, dates)
        for label, value in _axis(schedules, "schedules", one=_is_rows).items()
    }
    band = {
        label: _band(value)
        for label, value in _axis(bands, "bands", one=_is_band).items()
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


# ----------------------------------------------------------------------------- the axes


def _axis(values: Any, name: str, one: Any = np.isscalar) -> dict[str, Any]:
    """Values of an axis by label."""
    if isinstance(values, Mapping):
        out = {str(label): value for label, value in values.items()}
        if len(out) < len(values):
            raise UsageError(f"two entries of {name} carry one label")
    elif one(values):
        out = {"targets" if name == "targets" else _label(values, name): values}
    else:
        try:
            items = list(values)
        except TypeError as error:
            raise UsageError(
                f"{name} is neither a value, a list nor a mapping",
                received=type(values).__name__,
            ) from error
        out = {}
        for i, item in enumerate(items):
            label = _label(item, name)
            # What has no name of its own is called by its place.
            out[f"{name} {i}" if label in out or not label else label] = item
    if not out:
        raise DataError(f"{name} is empty", expected="one value or more")
    return out


def _label(value: Any, name: str) -> str:
    if name == "bands" and value is not None:
        value = _band(value)
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, Band):
        unit = " of the weight" if value.relative else ""
        return f"{value.width:g}{unit} to the {value.to}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"every {value}" if value else "0"
    if isinstance(value, (float, np.floating)):
        return f"{value:g}"
    return ""


def _is_table(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return bool(values) and np.isscalar(values[0])
    return hasattr(values, "shape") and len(values.shape) < 3


def _is_rows(values: Any) -> bool:
    return np.isscalar(values) or getattr(values, "dtype", None) == np.dtype(bool)


def _is_band(values: Any) -> bool:
    return values is None or np.isscalar(values) or isinstance(values, Band)


def _table(table: Any, label: str, T: int, N: int) -> np.ndarray:
    W = _numbers(table, f"targets {label!r}")
    if W.shape not in ((N,), (T, N)):
        raise DataError(
            "targets do not match prices",
            received=f"shape {W.shape} of {label!r}",
            expected=f"({T}, {N}) or ({N},)",
            fix="Give several sets of targets as a mapping label -> table.",
        )
    return W.reshape(-1, N)


def _due(value: Any, T: int, dates: Any) -> np.ndarray:
    """(T,) bool rows of one schedule."""
    if isinstance(value, str):
        from strategies.schedules import is_decision

        if value in ("daily", "once"):
            return np.full(T, True) if value == "daily" else np.arange(T) == 0
        try:
            days = np.asarray(dates).astype("datetime64[D]")
        except (TypeError, ValueError) as error:
            raise DataError(
                "dates are not dates", received=type(dates).__name__
            ) from error
        if dates is None or days.shape != (T,) or not (np.diff(days) > 0).all():
            raise DataError(
                f"the schedule {value!r} needs the dates of the rows",
                received="none" if dates is None else f"{days.size} dates for {T} rows",
                expected="one date per row, increasing",
                fix="Give dates=, or prices as a DataFrame indexed by date.",
            )
        due = is_decision(days, value)
        due[0] = True
        return due
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if value < 1:
            raise UsageError("a schedule of every k rows needs k >= 1", received=value)
        return np.arange(T) % int(value) == 0
    rows = np.asarray(value)
    if rows.dtype != bool or rows.shape != (T,):
        raise DataError(
            "a schedule does not match prices",
            received=f"{rows.dtype} of shape {rows.shape}",
            expected=f"a name, a whole number, or bool of shape ({T},)",
        )
    return rows


def _band(value: Any) -> Band | None:
    if value is None:
        return None
    band = value if isinstance(value, Band) else Band(value)
    try:
        good = bool(0.0 <= band.width < np.inf)
    except TypeError:
        good = False
    if not good or isinstance(band.width, bool):
        raise UsageError(
            "a band is a half-width that is not negative", received=repr(band.width)
        )
    if band.to not in ("edge", "centre"):
        raise UsageError(
            "a band is left to its edge or its centre", received=repr(band.to)
        )
    return band._replace(width=float(band.width))
