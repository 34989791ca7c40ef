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

from backtests.overfitting import pbo as pbo
from engine._base import frozen_array
from engine.errors import DataError, ModelError, UsageError

EULER_GAMMA = 0.5772156649015329


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


class Moments(NamedTuple):
    """Per-period moments of returns: Sharpe ratio, skewness, raw kurtosis, count.

    Attributes
    ----------
    sharpe, skew, kurtosis : float
    n : int
    """

    sharpe: float
    skew: float
    kurtosis: float
    n: int


def _returns(returns: Any, *, least: int = 2) -> np.ndarray:
    values = frozen_array(returns, name="returns", ndim=1)
    if values.size < least:
        raise DataError(
            "too few returns", received=values.size, expected=f"{least} or more"
        )
    return values


def _periods(periods_per_year: float) -> float:
    if not (np.isfinite(periods_per_year) and periods_per_year > 0):
        raise UsageError(
            "periods_per_year must be positive",
            received=periods_per_year,
            fix="Use the one carried by the data (BacktestResult.periods_per_year).",
        )
    return float(periods_per_year)


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


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    spread = values.std()
    # Constant returns leave rounding noise, whose moments would look like data.
    if spread <= 1e-14 * max(1e-300, float(np.abs(values).max(initial=0.0))):
        return np.zeros(values.size)
    return centred / spread


def _skew(values: np.ndarray) -> float:
    return float((_standardised(values) ** 3).mean())


def _kurtosis(values: np.ndarray) -> float:
    z = _standardised(values)
    return float((z**4).mean()) if z.any() else 3.0


def moments(returns: Any, *, risk_free: Any = 0.0) -> Moments:
    """Per-period Sharpe ratio, skewness and raw kurtosis of excess returns.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns, no NaN.
    risk_free : float or (T,) float64
        Simple return of cash *per period*.

    Returns
    -------
    Moments
    """
    values = _returns(returns)
    rate = np.asarray(risk_free, dtype=np.float64)
    if rate.shape not in ((), values.shape):
        raise DataError(
            "risk_free does not match the returns",
            received=rate.shape,
            expected=f"a number or {values.shape}",
        )
    excess = _returns(values - rate)
    sigma = excess.std(ddof=1)
    if not _standardised(excess).any():
        raise DataError(
            "a Sharpe ratio of constant returns is not defined",
            received=f"standard deviation {sigma:.3g}",
        )
    sharpe = float(excess.mean() / sigma)
    return Moments(sharpe, _skew(excess), _kurtosis(excess), excess.size)


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


def _sharpe_variance(sharpe: float, skew: float, kurtosis: float) -> float:
    """T times the variance of an estimated Sharpe ratio, Mertens (2002)."""
    variance = 1.0 - skew * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2
    if not variance > 0.0:
        raise DataError(
            "these moments belong to no distribution",
            received=f"skew {skew}, raw kurtosis {kurtosis}",
            expected="kurtosis >= 1 + skew^2 (3 for a normal law)",
        )
    return variance


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


def _moments_of(
    returns: Any, sharpe: Any, n: Any, skew: Any, kurtosis: Any, risk_free: Any = 0.0
) -> Moments:
    """Moments of returns, or those given; one of the two."""
    if returns is not None:
        if any(v is not None for v in (sharpe, n, skew, kurtosis)):
            raise UsageError("give either returns or their moments, not both")
        return moments(returns, risk_free=risk_free)
    if sharpe is None or n is None:
        raise UsageError(
            "a probabilistic Sharpe ratio needs returns, or sharpe and n",
            fix="sharpe is per period; skew and raw kurtosis default to 0 and 3.",
        )
    if n < 2:
        raise DataError("too few returns", received=n, expected="2 or more")
    return Moments(
        float(sharpe),
        0.0 if skew is None else float(skew),
        3.0 if kurtosis is None else float(kurtosis),
        int(n),
    )


def probabilistic_sharpe_ratio(
    returns: Any = None,
    *,
    sharpe: float | None = None,
    n: int | None = None,
    skew: float | None = None,
    kurtosis: float | None = None,
    benchmark: float = 0.0,
    version: Literal["2012", "2025"] = "2012",
) -> float:
    """Probability that the true Sharpe ratio exceeds ``benchmark``.

    Phi[(SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)].

    Parameters
    ----------
    returns : (T,) float64, optional
        Excess returns; or the four moments below.
    sharpe : float
        *Per period*, not annual.
    n : int
        Number of returns.
    skew, kurtosis : float
        Kurtosis is raw: 3 for a normal law. Defaults 0 and 3.
    benchmark : float, default 0
        Per-period Sharpe ratio to beat.
    version : {"2012", "2025"}
        ``2012``: Bailey, Lopez de Prado, the variance at the estimate. ``2025``:
        Lopez de Prado, Lipton, Zoonekynd, the variance at the benchmark and T in
        place of T - 1. They differ materially: 0.913 against 0.987 on the published
        fund (SR 0.456, T 24, skew -2.448, kurtosis 10.164).

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> round(probabilistic_sharpe_ratio(
    ...     sharpe=0.456, n=24, skew=-2.448, kurtosis=10.164), 3)
    0.913
    """
    from scipy.stats import norm

    m = _moments_of(returns, sharpe, n, skew, kurtosis)
    if version == "2012":
        at, count = m.sharpe, m.n - 1
    elif version == "2025":
        at, count = benchmark, m.n
    else:
        raise UsageError("unknown version", received=version, expected="2012 or 2025")
    error = math.sqrt(_sharpe_variance(at, m.skew, m.kurtosis) / count)
    return float(norm.cdf((m.sharpe - benchmark) / error))


def minimum_track_record_length(
    returns: Any = None,
    *,
    sharpe: float | None = None,
    n: int | None = None,
    skew: float | None = None,
    kurtosis: float | None = None,
    benchmark: float = 0.0,
    level: float = 0.95,
) -> float:
    """Periods needed before the Sharpe ratio beats ``benchmark`` at ``level``.

    1 + [1 - g3 SR + (g4 - 1)/4 SR^2] (z / (SR - SR*))^2 (Bailey, Lopez de Prado 2012);
    infinite when the estimate does not exceed the benchmark. Parameters as for
    `probabilistic_sharpe_ratio`; ``n`` plays no part when moments are given.

    Parameters
    ----------
    returns, sharpe, n, skew, kurtosis, benchmark
        As for `probabilistic_sharpe_ratio`.
    level : float, default 0.95
        Probability that is asked for.

    Returns
    -------
    float
        Periods.
    """
    from scipy.stats import norm

    if not 0.5 < level < 1.0:
        raise UsageError("level must lie between 0.5 and 1", received=level)
    if returns is None and n is None:
        n = 2
    m = _moments_of(returns, sharpe, n, skew, kurtosis)
    if m.sharpe <= benchmark:
        return math.inf
    ratio = float(norm.ppf(level)) / (m.sharpe - benchmark)
    return 1.0 + _sharpe_variance(m.sharpe, m.skew, m.kurtosis) * ratio**2


def expected_maximum_sharpe(variance_of_sharpes: float, n_trials: float) -> float:
    """Sharpe ratio that the best of ``n_trials`` worthless trials is expected to show.

    sqrt(V) [(1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e))], g Euler's constant
    (Bailey, Lopez de Prado 2014, equation 1); zero for a single trial.

    Parameters
    ----------
    variance_of_sharpes : float
        Across trials, of the Sharpe ratio in the unit wanted back.
    n_trials : float
        Effective number of independent trials, 1 or more.

    Returns
    -------
    float
        In the unit of the root of the variance.
    """
    from scipy.stats import norm

    if not n_trials >= 1:
        raise UsageError("n_trials must be 1 or more", received=n_trials)
    if not variance_of_sharpes >= 0.0:
        raise UsageError(
            "a variance must not be negative", received=variance_of_sharpes
        )
    if n_trials == 1:
        return 0.0
    g = EULER_GAMMA
    best = float(norm.ppf(1.0 - 1.0 / n_trials))
    beyond = float(norm.ppf(1.0 - 1.0 / (n_trials * math.e)))
    # With barely more than one trial the formula falls below the single-trial zero.
    expected = (1.0 - g) * best + g * beyond
    return math.sqrt(variance_of_sharpes) * max(0.0, expected)


def deflated_sharpe_ratio(
    returns: Any = None,
    *,
    n_trials: float,
    variance_of_sharpes: float,
    sharpe: float | None = None,
    n: int | None = None,
    skew: float | None = None,
    kurtosis: float | None = None,
    version: Literal["2012", "2025"] = "2012",
) -> float:
    """Probability that the true Sharpe ratio is positive, given how many were tried.

    The probabilistic Sharpe ratio against `expected_maximum_sharpe` (Bailey, Lopez de
    Prado 2014).

    Parameters
    ----------
    returns
        As for `probabilistic_sharpe_ratio`.
    n_trials : float
        Effective number of trials behind the choice of this one.
    variance_of_sharpes : float
        Of the *per-period* Sharpe ratio across trials.
    sharpe, n, skew, kurtosis, version
        As for `probabilistic_sharpe_ratio`.

    Returns
    -------
    float
        In [0, 1].
    """
    return probabilistic_sharpe_ratio(
        returns,
        sharpe=sharpe,
        n=n,
        skew=skew,
        kurtosis=kurtosis,
        benchmark=expected_maximum_sharpe(variance_of_sharpes, n_trials),
        version=version,
    )


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
