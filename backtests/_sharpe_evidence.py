"""Is a Sharpe ratio evidence: probabilistic, deflated, and the record it needs."""

from __future__ import annotations

import math
from typing import Any, Literal

from backtests._moments import (
    Moments,
    _sharpe_variance,
    moments,
)
from engine.errors import DataError, UsageError

EULER_GAMMA = 0.5772156649015329


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
