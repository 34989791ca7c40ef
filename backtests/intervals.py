"""Bootstrap intervals of every performance figure, with time kept in order."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from backtests._moments import _periods, _returns
from engine._typing import Matrix, Vector
from engine.errors import DataError, UsageError
from engine.parallel import BlockStream
from engine.risk._measures import check_level

_STREAM = 2**63 + 12
_CHUNK = 100  # resamples at a time; does not enter the numbers
EVENT_RISK = (
    "intervals resample the dates of the record: they hold no shock that is not in it"
)


class Interval(NamedTuple):
    """A figure with its percentile interval and standard error."""

    estimate: float
    low: float
    high: float
    standard_error: float


def metric_intervals(
    returns: Any,
    *,
    periods_per_year: float | None = None,
    risk_free: Any = 0.0,
    reference: Any = None,
    confidence: float = 0.95,
    n: int = 2000,
    block: float | None = None,
    seed: int = 0,
) -> dict[str, Interval]:
    """Stationary-bootstrap intervals of the usual figures (Politis and Romano 1994).

    Parameters
    ----------
    returns : BacktestResult or (T,) float64
        Simple returns, no NaN. A result brings its periods per year and cash returns.
    periods_per_year : float
        Required for plain returns.
    risk_free : float or (T,) float64, default 0
        Per period.
    reference : BacktestResult or (T,) float64, optional
        Another record of the same dates, resampled on the same rows: adds the
        differences ``..._difference``, this one less the reference.
    confidence : float, default 0.95
    n : int, default 2000
    block : float, optional
        Mean block length; that of Patton, Politis and White (2009) by default.
    seed : int, default 0

    Returns
    -------
    dict of str to Interval
        annual_return, mean_excess_return, volatility, sharpe, max_drawdown,
        expected_shortfall_95, calmar. They exclude event risk: `EVENT_RISK`.

    Raises
    ------
    DataError
        Fewer than twenty returns, or a reference of other dates.
    """
    x, cash, periods, dates = _series(returns, periods_per_year, risk_free)
    columns = [x]
    if reference is not None:
        other, _, _, other_dates = _series(reference, periods, cash)
        if other.size != x.size or (
            dates is not None
            and other_dates is not None
            and not np.array_equal(dates, other_dates)
        ):
            raise DataError("the reference is not of the same dates")
        columns.append(other)
    check_level(confidence)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 100:
        raise UsageError("n is a number of resamples, 100 or more", received=repr(n))
    T = x.size
    length = _length(x - cash, block)
    stream = BlockStream(seed, _STREAM)
    everything = np.arange(T)[None]
    estimates = [_figures(c[everything], cash[everything], periods) for c in columns]
    drawn: list[list[dict[str, Vector]]] = []
    for number, first in enumerate(range(0, n, _CHUNK)):
        m = min(_CHUNK, n - first)
        rows = _stationary_rows(stream, number, m, T, length)
        drawn.append([_figures(c[rows], cash[rows], periods) for c in columns])
    out: dict[str, Interval] = {}
    for name in estimates[0]:
        values = [
            np.concatenate([d[j][name] for d in drawn]) for j in range(len(columns))
        ]
        out[name] = _interval(float(estimates[0][name][0]), values[0], confidence)
        if reference is not None:
            gap = float(estimates[0][name][0] - estimates[1][name][0])
            out[f"{name}_difference"] = _interval(
                gap, values[0] - values[1], confidence
            )
    return out


def _interval(estimate: float, values: Vector, confidence: float) -> Interval:
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high), float(np.nanstd(values, ddof=1)))


def _series(given: Any, periods_per_year: float | None, risk_free: Any):
    from backtests.result import BacktestResult

    if isinstance(given, BacktestResult):
        return (
            given.returns(),
            np.asarray(given.cash_return[1:]),
            given.periods_per_year,
            given.dates,
        )
    if periods_per_year is None:
        raise UsageError(
            "periods_per_year is required for plain returns",
            fix="Say how many of these returns make a year.",
        )
    x = _returns(given, least=20)
    cash = np.asarray(risk_free, dtype=np.float64)
    if cash.ndim and cash.shape != x.shape:
        raise DataError(
            "returns, cash and reference are not of the same dates",
            received=f"{x.size} and {cash.size} returns",
        )
    cash = np.broadcast_to(cash, x.shape)
    return x, cash, _periods(periods_per_year), None


def _length(x: Vector, block: float | None) -> float:
    if block is None:
        from arch.bootstrap import optimal_block_length

        found = float(optimal_block_length(x)["stationary"].iloc[0])
        return min(max(1.0, found), x.size / 5.0)
    if not 1.0 <= block <= x.size:
        raise UsageError(
            "a mean block is between one date and all of them", received=block
        )
    return float(block)


def _stationary_rows(
    stream: BlockStream, number: int, m: int, T: int, length: float
) -> np.ndarray:
    """(m, T) row numbers: blocks of geometric length, wrapped around."""
    u = stream.uniforms(number, 2 * m * T).reshape(2, m, T)
    start = np.minimum((u[0] * T).astype(np.int64), T - 1)
    fresh = u[1] < 1.0 / length
    fresh[:, 0] = True
    began = np.maximum.accumulate(np.where(fresh, np.arange(T), 0), axis=1)
    origin = np.take_along_axis(start, began, axis=1)
    return (origin + np.arange(T) - began) % T


def _figures(x: Matrix, cash: Matrix, periods: float) -> dict[str, Vector]:
    """Figures of each row of (m, T) returns."""
    T = x.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        path = np.cumprod(1.0 + x, axis=1)
        high = np.maximum.accumulate(np.maximum(path, 1.0), axis=1)
        depth = (1.0 - path / high).max(axis=1)
        annual = path[:, -1] ** (periods / T) - 1.0
        excess = x - cash
        mean, spread = excess.mean(axis=1), excess.std(axis=1, ddof=1)
        ordered = np.sort(-x, axis=1)[:, ::-1]
        beyond = 0.05 * T
        whole = math.floor(beyond + 1e-9)
        tail = ordered[:, :whole].sum(axis=1)
        if whole < T:
            tail = tail + (beyond - whole) * ordered[:, whole]
        return {
            "annual_return": annual,
            "mean_excess_return": mean * periods,
            "volatility": x.std(axis=1, ddof=1) * math.sqrt(periods),
            "sharpe": mean / spread * math.sqrt(periods),
            "max_drawdown": depth,
            "expected_shortfall_95": tail / beyond,
            "calmar": annual / depth,
        }
