"""Scores of one covariance forecast, and the error of an average over time.

``S`` is the forecast per period, ``r`` a later return with mean taken as zero,
``d^2 = r'S^-1 r``, and C the mean of ``r r'`` over the horizon. A score is proper when
the true covariance has the best expected value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.covariance._named import cholesky


class Score(NamedTuple):
    """What a score is."""

    text: str
    better: str
    """``high`` or ``low`` for proper scores; ``one`` or ``0.05``: the right value."""


SCORES = {
    "log_likelihood": Score(
        "Gaussian log-likelihood per date, -(N ln 2 pi + ln|S| + d^2)/2", "high"
    ),
    "t_log_likelihood": Score(
        "Student-t log-likelihood per date, scale matrix S (nu - 2)/nu", "high"
    ),
    "qlike": Score(
        "(ln|S| + tr(S^-1 C))/N (Patton and Sheppard 2009), Stein's loss up to a term "
        "without S; equal to -2 log_likelihood / N - ln 2 pi",
        "low",
    ),
    "variance_qlike": Score(
        "Mean over assets of ln s_i^2 + c_ii / s_i^2 (Patton 2011): volatilities alone",
        "low",
    ),
    "min_variance": Score(
        "Realised volatility per period of the forecast's minimum-variance portfolio, "
        "about zero",
        "low",
    ),
    "min_variance_bias": Score(
        "Its realised over its forecast variance: above one, risk was promised away",
        "one",
    ),
    "calibration": Score("d^2 / N: above one, risk was understated", "one"),
    "beyond_95": Score(
        "Share of dates with d^2 beyond its 95% quantile, chi-square(N)", "0.05"
    ),
}
"""Scores by name, in the order of tables."""


def score(
    S: np.ndarray, rows: np.ndarray, dof: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of one forecast on the returns after it.

    Parameters
    ----------
    S : (N, N) float64
        Symmetric; a ModelError where it has no inverse.
    rows : (h, N) float64
        Returns after the forecast.
    dof : float or None
        Degrees of freedom of the Student-t score; None leaves it NaN.

    Returns
    -------
    (C,) and (h,) float64
        One value per entry of `SCORES`, averaged over the rows (``min_variance`` as a
        variance), and ``d^2 / N`` of each row.
    """
    from scipy.linalg import solve_triangular
    from scipy.special import gammaln
    from scipy.stats import chi2, f

    N = S.shape[0]
    L = cholesky(S)
    d2 = (solve_triangular(L, rows.T, lower=True) ** 2).sum(axis=0)
    log_det = 2.0 * float(np.log(np.diagonal(L)).sum())
    likelihood = -0.5 * (N * np.log(2.0 * np.pi) + log_det + d2)
    student = np.nan
    limit = chi2.ppf(0.95, N)
    if dof is not None:
        spread = dof - 2.0  # of the scale matrix: nu S_scale = (nu - 2) S
        constant = gammaln((dof + N) / 2) - gammaln(dof / 2)
        constant -= 0.5 * (N * np.log(spread * np.pi) + log_det)
        student = float((constant - 0.5 * (dof + N) * np.log1p(d2 / spread)).mean())
        limit = N * spread / dof * f.ppf(0.95, N, dof)
    variance = np.diagonal(S)
    half = solve_triangular(L, np.ones(N), lower=True)
    forecast = 1.0 / float(half @ half)
    w = solve_triangular(L, half, lower=True, trans="T") * forecast
    realised = float(((rows @ w) ** 2).mean())
    values = {
        "log_likelihood": float(likelihood.mean()),
        "t_log_likelihood": student,
        "qlike": (log_det + float(d2.mean())) / N,
        "variance_qlike": float(
            (np.log(variance) + (rows**2).mean(axis=0) / variance).mean()
        ),
        "min_variance": realised,
        "min_variance_bias": realised / forecast,
        "calibration": float(d2.mean()) / N,
        "beyond_95": float((d2 > limit).mean()),
    }
    return np.array([values[name] for name in SCORES]), d2 / N


def lags_for(n: int, horizon: int, step: int) -> int:
    """Lags of the Newey-West error of n forecasts.

    ``4 (n/100)^(2/9)`` rounded down (Newey and West 1994), and at least as many as
    forecasts share returns with the next ones.
    """
    shared = -(-horizon // step) - 1
    return min(n - 1, max(int(4.0 * (n / 100.0) ** (2.0 / 9.0)), shared))


def standard_error(x: np.ndarray, lags: int) -> float:
    """Newey-West (1987) standard error of the mean of ``x`` (n,); NaN below n = 3.

    Bartlett weights on ``lags`` autocovariances, with the factor n / (n - 1).
    """
    n = x.size
    if n < 3:
        return float("nan")
    e = x - x.mean()
    total = float(e @ e)
    for j in range(1, min(lags, n - 1) + 1):
        total += 2.0 * (1.0 - j / (lags + 1.0)) * float(e[j:] @ e[:-j])
    return float(np.sqrt(max(total, 0.0) / (n - 1) / n))
