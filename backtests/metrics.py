"""Performance figures with their errors.

Sharpe ratios are per period unless a name says otherwise; kurtosis is raw (3 for a
normal law). Moments divide by T, the standard deviation of a Sharpe ratio by T - 1.

References: Lo (2002), Mertens (2002); Bailey, Lopez de Prado (2012, 2014); Lopez de
Prado, Lipton, Zoonekynd (2025), whose variant of the probabilistic Sharpe ratio takes
the variance under the benchmark.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from backtests._moments import Moments as Moments
from backtests._moments import (
    _kurtosis,
    _periods,
    _returns,
    _sharpe_variance,
    _standardised,
)
from backtests._moments import moments as moments
from backtests._sharpe_evidence import (
    deflated_sharpe_ratio as deflated_sharpe_ratio,
)
from backtests._sharpe_evidence import (
    expected_maximum_sharpe as expected_maximum_sharpe,
)
from backtests._sharpe_evidence import (
    minimum_track_record_length as minimum_track_record_length,
)
from backtests._sharpe_evidence import (
    probabilistic_sharpe_ratio as probabilistic_sharpe_ratio,
)
from backtests.overfitting import pbo as pbo
from engine._base import frozen_array
from engine.errors import DataError, ModelError, UsageError


class Drawdown(NamedTuple):
    """The worst fall below an earlier high.

    Attributes
    ----------
    depth : float
        Positive decimal; zero if the value never fell.
    peak, trough : int or datetime64[D]
        Positions, or dates when they were given.
    recovery : int, datetime64[D] or None
        First time back at the peak's value; None while below it.
    """

    depth: float
    peak: Any
    trough: Any
    recovery: Any


def total_return(returns: Any) -> float:
    """Compounded simple return over all periods; ``returns`` (T,), no NaN.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per period, no NaN.

    Returns
    -------
    float
        Decimal.

    Examples
    --------
    >>> round(total_return([0.1, -0.1]), 6)
    -0.01
    """
    return float(np.prod(1.0 + _returns(returns, least=1)) - 1.0)


def annual_return(returns: Any, *, periods_per_year: float) -> float:
    """Compounded return per year (geometric).

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per period, no NaN.
    periods_per_year : float
        Carried by the data.

    Returns
    -------
    float
        Decimal per year.
    """
    values = _returns(returns, least=1)
    growth = 1.0 + total_return(values)
    if growth <= 0.0:
        return -1.0
    return float(growth ** (_periods(periods_per_year) / values.size) - 1.0)


def volatility(returns: Any, *, periods_per_year: float) -> float:
    """Standard deviation per year: sample deviation times root periods per year.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per period, no NaN.
    periods_per_year : float
        Carried by the data.

    Returns
    -------
    float
        Decimal per year.
    """
    values = _returns(returns)
    return float(values.std(ddof=1) * math.sqrt(_periods(periods_per_year)))


def volatility_standard_error(returns: Any, *, periods_per_year: float) -> float:
    """Delta-method error of `volatility`: sigma sqrt((g4 - 1) / 4T).

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per period, no NaN.
    periods_per_year : float
        Carried by the data.

    Returns
    -------
    float
        Decimal per year.
    """
    values = _returns(returns)
    g4 = _kurtosis(values)
    sigma = volatility(values, periods_per_year=periods_per_year)
    return float(sigma * math.sqrt((g4 - 1.0) / (4.0 * values.size)))


def sharpe_ratio(
    returns: Any, *, periods_per_year: float, risk_free: Any = 0.0
) -> float:
    """Sharpe ratio per year: mean over standard deviation, times root periods.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns, no NaN.
    periods_per_year : float
        Carried by the data; 1 gives the per-period ratio.
    risk_free : float or (T,) float64, default 0
        Simple return of cash *per period*.

    Returns
    -------
    float
        Per year.

    Raises
    ------
    DataError
        Constant returns, or fewer than two.
    """
    scale = math.sqrt(_periods(periods_per_year))
    return moments(returns, risk_free=risk_free).sharpe * scale


def sharpe_standard_error(
    returns: Any,
    *,
    periods_per_year: float,
    risk_free: Any = 0.0,
    method: Literal["mertens", "normal", "hac"] = "mertens",
    lags: int | None = None,
) -> float:
    """Standard error of `sharpe_ratio`, in the same (annual) unit.

    Parameters
    ----------
    returns, periods_per_year, risk_free
        As for `sharpe_ratio`.
    method : {"mertens", "normal", "hac"}
        ``normal``: sqrt((1 + SR^2/2) / T), Lo (2002) for independent normal returns.
        ``mertens`` (default): adds -g3 SR + (g4 - 3)/4 SR^2, Mertens (2002), because
        daily returns are skewed and fat-tailed. ``hac``: delta method with the
        Newey-West (1987) long-run variance, for returns that are autocorrelated.
    lags : int, optional
        Bartlett lags of ``hac``; floor(4 (T/100)^(2/9)) by default.

    Returns
    -------
    float
        Per year.
    """
    m = moments(returns, risk_free=risk_free)
    scale = math.sqrt(_periods(periods_per_year))
    if method == "normal":
        variance = 1.0 + 0.5 * m.sharpe**2
    elif method == "mertens":
        variance = _sharpe_variance(m.sharpe, m.skew, m.kurtosis)
    elif method == "hac":
        z = _standardised(_returns(returns) - np.asarray(risk_free))
        influence = z - 0.5 * m.sharpe * (z**2 - 1.0)
        if lags is None:
            lags = int(4.0 * (m.n / 100.0) ** (2.0 / 9.0))
        variance = _long_run_variance(influence, lags)
    else:
        raise UsageError(
            "unknown method", received=repr(method), expected="mertens, normal or hac"
        )
    return scale * math.sqrt(variance / m.n)


def _long_run_variance(x: np.ndarray, lags: int) -> float:
    """Newey-West (1987) variance with Bartlett weights; ``x`` has mean zero."""
    total = float(x @ x)
    for lag in range(1, min(lags, x.size - 1) + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(x[lag:] @ x[:-lag])
    return total / x.size


def max_drawdown(value: Any, dates: Any = None) -> Drawdown:
    """The worst fall of a value from an earlier high.

    Parameters
    ----------
    value : (T,) float64
        Positive; a net asset value, not returns.
    dates : (T,) datetime64[D], optional
        Positions become dates.

    Returns
    -------
    Drawdown

    Examples
    --------
    >>> round(max_drawdown([1.0, 2.0, 1.5]).depth, 6)
    0.25
    """
    v = frozen_array(value, name="value", ndim=1)
    if not v.size or not (v > 0).all():
        raise DataError("a value series must be positive", received=v[~(v > 0)][:1])
    high = np.maximum.accumulate(v)
    depth = 1.0 - v / high
    trough = int(np.argmax(depth))
    peak = int(np.argmax(v[: trough + 1] == high[trough]))
    back = np.flatnonzero(v[trough:] >= high[trough])
    recovery = trough + int(back[0]) if back.size else None
    if dates is None:
        return Drawdown(float(depth[trough]), peak, trough, recovery)
    d = np.asarray(dates)
    return Drawdown(
        float(depth[trough]),
        d[peak],
        d[trough],
        None if recovery is None else d[recovery],
    )


def expected_shortfall(returns: Any, *, level: float = 0.95) -> float:
    """Mean loss per period beyond ``level``: `engine.risk` on the negated returns.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per period, no NaN.
    level : float, default 0.95

    Returns
    -------
    float
        Loss positive, decimal per period.
    """
    from engine.risk import expected_shortfall as of_losses

    return float(of_losses(-_returns(returns, least=1), level=level))


def expected_shortfall_standard_error(returns: Any, *, level: float = 0.95) -> float:
    """Standard error of `expected_shortfall` for independent returns.

    NaN when fewer than ten returns lie beyond the value at risk.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns per period, no NaN.
    level : float, default 0.95

    Returns
    -------
    float
        Decimal per period.
    """
    from engine.risk import expected_shortfall_error

    try:
        return float(expected_shortfall_error(-_returns(returns), level=level))
    except ModelError:
        return math.nan


def summary(
    result: Any, *, periods_per_year: float | None = None, risk_free: Any = 0.0
) -> dict[str, Any]:
    """Figures of a `BacktestResult` or of returns, each estimate with its error.

    Parameters
    ----------
    result : BacktestResult or (T,) float64
        Simple returns, no NaN. A result brings its own periods per year and cash
        returns; the other two parameters are for plain returns.
    periods_per_year : float
        Required for plain returns.
    risk_free : float or (T,) float64
        Per period.

    Returns
    -------
    dict
        Annual figures in decimals; ``*_se`` is the standard error of the entry it is
        named after. The Sharpe ratio is over cash; its error is Mertens (2002), and
        Newey-West in ``sharpe_hac_se``. ``minimum_track_record`` is in periods, at
        95%; ``drawdown_sessions`` run from peak to trough, ``recovery_sessions`` from
        there back to the peak (NaN while below it). Exposure is the sum of absolute
        positions over value, cash aside, after the first session. A figure that is
        not defined (constant returns) is NaN.
    """
    from backtests.result import BacktestResult

    extra: dict[str, Any] = {}
    if isinstance(result, BacktestResult):
        values, periods = result.returns(), result.periods_per_year
        risk_free = result.cash_return[1:]
        path, dates = result.value, result.dates
        compounded = float(result.value[-1] / result.initial_value - 1.0)
        years = values.size / periods if values.size else math.nan
        exposure = _gross_exposure(result)
        extra = {
            "turnover_per_year": float(result.turnover.sum() / years),
            "costs": float(result.costs.sum()),
            "cost_per_year": float((result.costs / result.value).sum() / years),
            "taxes": float(result.taxes.sum()),
            "average_exposure": float(exposure.mean()),
            "worst_exposure": float(exposure.max()),
            "decisions": len(result.decisions),
            "held_decisions": sum(d.proposal is None for d in result.decisions),
        }
    else:
        if periods_per_year is None:
            raise UsageError(
                "periods_per_year is required for plain returns",
                fix="Say how many of these returns make a year.",
            )
        values, periods, dates = _returns(result), periods_per_year, None
        path = np.concatenate([[1.0], np.cumprod(1.0 + values)])
        compounded = float(path[-1] - 1.0)
    figures: dict[str, Any] = {"periods": values.size, "total_return": compounded}
    if values.size < 2:
        return figures | extra
    fall, at = max_drawdown(path, dates), max_drawdown(path)
    mean = float((values - risk_free).mean())
    spread = float((values - risk_free).std(ddof=1))
    figures |= {
        "annual_return": float((1.0 + compounded) ** (periods / values.size) - 1.0),
        "mean_excess_return": mean * periods,
        "mean_excess_return_se": spread * periods / math.sqrt(values.size),
        "volatility": volatility(values, periods_per_year=periods),
        "volatility_se": volatility_standard_error(values, periods_per_year=periods),
        "max_drawdown": fall.depth,
        "max_drawdown_peak": fall.peak,
        "max_drawdown_trough": fall.trough,
        "max_drawdown_recovery": fall.recovery,
        "drawdown_sessions": at.trough - at.peak,
        "recovery_sessions": math.nan
        if at.recovery is None
        else at.recovery - at.trough,
        "expected_shortfall_95": expected_shortfall(values),
        "expected_shortfall_95_se": expected_shortfall_standard_error(values),
    }
    try:
        m = moments(values, risk_free=risk_free)
    except DataError:
        names = (
            "sharpe",
            "sharpe_se",
            "sharpe_hac_se",
            "probabilistic_sharpe",
            "minimum_track_record",
            "skew",
            "kurtosis",
        )
        return figures | dict.fromkeys(names, math.nan) | extra
    figures |= {
        "sharpe": m.sharpe * math.sqrt(periods),
        "sharpe_se": math.sqrt(
            _sharpe_variance(m.sharpe, m.skew, m.kurtosis) / m.n * periods
        ),
        "sharpe_hac_se": sharpe_standard_error(
            values, periods_per_year=periods, risk_free=risk_free, method="hac"
        ),
        "minimum_track_record": minimum_track_record_length(
            sharpe=m.sharpe, skew=m.skew, kurtosis=m.kurtosis
        ),
        "probabilistic_sharpe": probabilistic_sharpe_ratio(
            sharpe=m.sharpe, n=m.n, skew=m.skew, kurtosis=m.kurtosis
        ),
        "skew": m.skew,
        "kurtosis": m.kurtosis,
    }
    return figures | extra


def _gross_exposure(result: Any) -> np.ndarray:
    """(T - 1,) sum of absolute positions over value; the first session is before."""
    from engine.data.portfolio import CASH_PREFIX

    risky = [not a.startswith(CASH_PREFIX) for a in result.labels]
    gross = np.abs(result.money[:, risky]).sum(axis=1) / result.value
    return gross[1:] if gross.size > 1 else gross
