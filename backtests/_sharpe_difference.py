"""Is one Sharpe ratio better than another, or luck? Ledoit and Wolf (2008)."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from backtests._moments import _periods, _returns
from engine._typing import Matrix, Vector
from engine.errors import DataError, UsageError
from engine.parallel import BlockStream
from engine.risk._measures import check_level

_STREAM = 2**63 + 11
_CHUNK = 200  # resamples at a time; does not enter the numbers
_LARGEST_ROOT = 0.97
Method = Literal["bootstrap", "hac_prewhitened", "hac", "jobson_korkie"]


class SharpeDifference(NamedTuple):
    """Two Sharpe ratios and the test that they are equal.

    Attributes
    ----------
    first, second, difference : float
        Sharpe ratios in the unit asked for, and first less second.
    standard_error, p_value : float
        Two-sided.
    low, high : float
        Confidence interval of the difference.
    method : str
    block : int
        Length of the bootstrap's blocks; 0 where none are used.
    """

    first: float
    second: float
    difference: float
    standard_error: float
    p_value: float
    low: float
    high: float
    method: str
    block: int


def sharpe_difference(
    first: Any,
    second: Any,
    *,
    periods_per_year: float | None = None,
    method: Method = "bootstrap",
    confidence: float = 0.95,
    n: int = 4999,
    block: int | None = None,
    seed: int = 0,
) -> SharpeDifference:
    """Test whether two Sharpe ratios are equal, on returns of the same dates.

    Parameters
    ----------
    first, second : BacktestResult or (T,) float64
        Two results of the same dates, or returns over cash, date by date. No NaN.
    periods_per_year : float
        Required for plain returns; 1 gives per-period ratios. Results bring their own.
    method : {"bootstrap", "hac_prewhitened", "hac", "jobson_korkie"}
        ``bootstrap`` (default): studentised circular block bootstrap, Ledoit and Wolf
        (2008, section 3.2.2), whose level is right for fat tails and dependence.
        ``hac`` and ``hac_prewhitened``: delta method with the Parzen kernel and the
        automatic bandwidth of Andrews (1991), prewhitened as Andrews and Monahan
        (1992); too liberal in small samples. ``jobson_korkie``: Jobson and Korkie
        (1981) as corrected by Memmel (2003), for independent normal returns only.
    confidence : float, default 0.95
    n : int, default 4999
        Resamples.
    block : int, optional
        By default that of Patton, Politis and White (2009) for the influence of each
        date on the difference, at least one.
    seed : int, default 0

    Returns
    -------
    SharpeDifference

    Raises
    ------
    DataError
        Fewer than ten dates, series of different length, a constant series, or two
        that differ on so few dates that resamples often hold none of them.
    """
    (a, dates, own), (b, other, _) = _excess(first), _excess(second)
    periods_per_year = own if periods_per_year is None else periods_per_year
    if periods_per_year is None:
        raise UsageError(
            "periods_per_year is required for plain returns",
            fix="Say how many of these returns make a year; 1 for per-period ratios.",
        )
    if dates is not None and other is not None and not np.array_equal(dates, other):
        raise DataError("the two results are not of the same dates")
    if a.size != b.size:
        raise DataError(
            "the two series are not of the same dates",
            received=f"{a.size} and {b.size} returns",
        )
    for name, x in (("first", a), ("second", b)):
        if x.std() <= 1e-14 * max(1.0, np.abs(x).max()):
            raise DataError(f"the {name} series is constant: no Sharpe ratio")
    check_level(confidence)
    scale = math.sqrt(_periods(periods_per_year))
    both = np.column_stack([a, b])
    difference = float(_differences(both[None])[0])
    used = 0
    # The same returns, or one a multiple of the other: one ratio, whatever happens.
    if np.abs(a / a.std() - b / b.std()).max() <= 1e-9:
        ratio = float(a.mean() / a.std(ddof=1) * scale)
        return SharpeDifference(ratio, ratio, 0.0, 0.0, 1.0, 0.0, 0.0, method, 0)
    if method == "bootstrap":
        error = _hac_error(both, prewhiten=True)
        used = _block(both, block)
        d, quantile = _studentised(both, difference, used, n, seed, confidence)
        p_value = float((1 + np.sum(d >= abs(difference) / error)) / (n + 1))
        half = quantile * error
    else:
        from scipy.stats import norm

        if method == "jobson_korkie":
            error = _jobson_korkie(both)
        elif method in ("hac", "hac_prewhitened"):
            error = _hac_error(both, prewhiten=method != "hac")
        else:
            raise UsageError(
                "unknown method",
                received=repr(method),
                expected="bootstrap, hac_prewhitened, hac or jobson_korkie",
            )
        p_value = float(2.0 * norm.sf(abs(difference) / error))
        half = float(norm.isf((1.0 - confidence) / 2.0)) * error
    ratios = both.mean(axis=0) / both.std(axis=0, ddof=1) * scale
    shown = difference * scale
    return SharpeDifference(
        float(ratios[0]),
        float(ratios[1]),
        shown,
        error * scale,
        p_value,
        shown - half * scale,
        shown + half * scale,
        method,
        used,
    )


def _excess(given: Any) -> tuple[Vector, Any, float | None]:
    """Returns over cash, and where a result brings them its dates and periods."""
    from backtests.result import BacktestResult

    if isinstance(given, BacktestResult):
        values = _returns(given.excess_returns(), least=10)
        return values, given.dates, given.periods_per_year
    return _returns(given, least=10), None, None


def _differences(x: np.ndarray) -> Vector:
    """(M,) differences of the Sharpe ratios of (M, T, 2) returns."""
    ratio = x.mean(axis=1) / x.std(axis=1, ddof=1)
    return ratio[:, 0] - ratio[:, 1]


def _gradient(mean: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(..., 4) of the difference in means and uncentred second moments (eq. 3)."""
    cube = (second - mean**2) ** 1.5
    g = np.concatenate([second / cube, -0.5 * mean / cube], axis=-1)
    return g * np.array([1.0, -1.0, 1.0, -1.0])


def _influence(x: Matrix) -> tuple[Matrix, Vector]:
    """(T, 4) centred moments and (4,) gradient."""
    square = x**2
    moments = np.concatenate([x - x.mean(axis=0), square - square.mean(axis=0)], axis=1)
    return moments, _gradient(x.mean(axis=0), square.mean(axis=0))


def _hac_error(x: Matrix, *, prewhiten: bool) -> float:
    V, gradient = _influence(x)
    T = V.shape[0]
    if not prewhiten:
        return math.sqrt(float(gradient @ _parzen(V) @ gradient) / T)
    lagged, now = V[:-1], V[1:]
    A = np.linalg.lstsq(lagged, now, rcond=None)[0].T
    U, singular, Wt = np.linalg.svd(A)
    # A root near one would divide by almost nothing (Andrews and Monahan 1992).
    A = U @ np.diag(np.minimum(singular, _LARGEST_ROOT)) @ Wt
    colour = np.linalg.inv(np.eye(4) - A)
    long_run = colour @ _parzen(now - lagged @ A.T) @ colour.T
    return math.sqrt(float(gradient @ long_run @ gradient) / T)


def _parzen(V: Matrix) -> Matrix:
    """Long-run covariance, Parzen kernel, bandwidth of Andrews (1991, eq. 6.4)."""
    T, k = V.shape
    top = bottom = 0.0
    for v in V.T:
        rho, variance = _autoregression(v)
        top += 4.0 * rho**2 * variance**2 / (1.0 - rho) ** 8
        bottom += variance**2 / (1.0 - rho) ** 4
    width = min(2.6614 * (top / bottom * T) ** 0.2, T - 1.0)
    total = V.T @ V / T
    for lag in range(1, math.ceil(width)):
        weight = _parzen_weight(lag / width)
        gamma = V[lag:].T @ V[:-lag] / T
        total += weight * (gamma + gamma.T)
    return total * (T / (T - k))


def _parzen_weight(x: float) -> float:
    if x <= 0.5:
        return 1.0 - 6.0 * x**2 + 6.0 * x**3
    return 2.0 * (1.0 - x) ** 3 if x <= 1.0 else 0.0


def _autoregression(v: Vector) -> tuple[float, float]:
    """Slope and residual variance of v on its own past and a constant."""
    x, y = v[:-1] - v[:-1].mean(), v[1:] - v[1:].mean()
    rho = float(x @ y / (x @ x))
    residual = y - rho * x
    rho = min(max(rho, -_LARGEST_ROOT), _LARGEST_ROOT)
    return rho, float(residual @ residual) / y.size


def _jobson_korkie(x: Matrix) -> float:
    """Memmel (2003) standard error."""
    ra, rb = x.mean(axis=0) / x.std(axis=0, ddof=1)
    rho = float(np.corrcoef(x[:, 0], x[:, 1]).item(1))
    inside = 2.0 - 2.0 * rho + 0.5 * (ra**2 + rb**2 - 2.0 * ra * rb * rho**2)
    return math.sqrt(inside / x.shape[0])


def _block(x: Matrix, block: int | None) -> int:
    T = x.shape[0]
    if block is None:
        from arch.bootstrap import optimal_block_length

        V, gradient = _influence(x)
        length = float(optimal_block_length(V @ gradient)["circular"].iloc[0])
        if not math.isfinite(length):  # no dependence to estimate a length from
            return 1
        return int(min(max(1, math.ceil(length)), T // 10 or 1))
    if isinstance(block, bool) or not 1 <= block <= T // 2:
        raise UsageError(
            "a block is between one date and half of them",
            received=block,
            expected=f"1 to {T // 2}",
        )
    return int(block)


def _studentised(
    x: Matrix, difference: float, block: int, n: int, seed: int, confidence: float
) -> tuple[Vector, float]:
    """(n,) studentised absolute deviations and their quantile."""
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 99:
        raise UsageError("n is a number of resamples, 99 or more", received=repr(n))
    T = x.shape[0]
    count = T // block
    random = BlockStream(seed, _STREAM)
    deviations = np.empty(n)
    for number, first in enumerate(range(0, n, _CHUNK)):
        m = min(_CHUNK, n - first)
        u = random.uniforms(number, m * count).reshape(m, count)
        starts = np.minimum((u * T).astype(np.int64), T - 1)
        rows = (starts[:, :, None] + np.arange(block)) % T
        drawn = x[rows.reshape(m, -1)]
        mean, second = drawn.mean(axis=1), (drawn**2).mean(axis=1)
        centred = np.concatenate(
            [drawn - mean[:, None], drawn**2 - second[:, None]], axis=2
        )
        # Natural variance of independent blocks (Goetze and Kuensch 1996).
        influence = np.einsum("mtk,mk->mt", centred, _gradient(mean, second))
        sums = influence.reshape(m, count, block).sum(axis=2)
        error = np.sqrt((sums**2).sum(axis=1) / (count * block)) / math.sqrt(T)
        # A resample without one date on which the two differ has no error at all.
        away = np.abs(_differences(drawn) - difference)
        deviations[first : first + m] = np.divide(
            away, error, out=np.full(m, np.inf), where=error > 0.0
        )
    with np.errstate(invalid="ignore"):
        quantile = float(np.quantile(deviations, confidence))
    if not np.isfinite(quantile):
        raise DataError(
            "the two series differ on too few dates for a test",
            received=f"{int((x[:, 0] != x[:, 1]).sum())} of {T} dates",
            fix="Compare records that part more often, or method='hac'.",
        )
    return deviations, quantile
