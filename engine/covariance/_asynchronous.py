"""Covariance of daily returns that were not measured at the same hour.

Joined by date, New York and Tokyo share a fraction ``f`` of each day; the rest of a
common move shows one day later in the market that closes first. Same-date correlation
is then ``rho f`` instead of ``rho``. Write ``G_j = E[r_t r_{t-j}']``; all methods use
the lagged covariances in ``G_1``, ``G_2``, ... to bring the missing part back.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.covariance._check import column_name, labelled, observations
from engine.covariance._nearest import nearest_correlation
from engine.errors import ModelError, UsageError

Method = Literal["overlapping", "newey_west", "lag_sum", "burns_engle_mezrich"]
_DEFAULT_LAGS = {
    "overlapping": 4,
    "newey_west": 5,
    "lag_sum": 1,
    "burns_engle_mezrich": 1,
}


def asynchronous(
    X: Any,
    *,
    method: Method = "overlapping",
    lags: int | None = None,
    normalise: Literal["lag_sum", "one_day"] = "lag_sum",
    volatility: Literal["daily", "long_run"] = "daily",
    later: Any = None,
    iterations: int = 1,
) -> Any:
    """Covariance of markets that close at different hours.

    Each method gives a matrix V whose correlations R = V_ij / sqrt(V_ii V_jj) include
    what arrives late; the result is ``D R D`` with daily volatilities D (sample
    standard deviations), so that it can stand in for a daily covariance. Below,
    two markets share a fraction f of their day and have correlation rho otherwise
    free of autocorrelation.

    ``overlapping``
        Covariance of overlapping sums over ``k = lags + 1`` days. Known bias: the
        correlation is ``rho (k - 1 + f) / k``; k = 5 keeps at least 80% of it. The
        default: no choice of a lag structure, positive semi-definite by construction.
    ``newey_west``
        ``G_0 + sum_{j<=m} (1 - j/(m+1)) (G_j + G_j')`` with m = ``lags`` (Newey and
        West 1987, eq. 5): up to edge effects the overlapping estimate with
        k = m + 1, so the same known bias, ``rho (1 - (1 - f)/(m + 1))``.
    ``lag_sum``
        ``G_0 + sum_{j<=m} (G_j + G_j')``, unweighted (Scholes and Williams 1977; Lo
        and MacKinlay 1990). No bias from asynchrony, the widest error of the three,
        and it need not be positive semi-definite. ``normalise`` states what divides
        it: ``"lag_sum"``, the lag-summed variances (consistent: negative
        autocorrelation of an index, such as the S&P 500's, lowers them and raises
        the correlation), or ``"one_day"``, the daily variances.
    ``burns_engle_mezrich``
        Fit ``r_t = M e_{t-1} + e_t`` and take the covariance of the synchronised
        returns ``(I + M) e_t`` (Burns, Engle and Mezrich 1998). Row i of M is
        regressed on yesterday's value of i itself and of the markets that close later
        than i; a market with none later has a zero row, so that its own
        autocorrelation is left alone. The entry of i itself cannot be dropped: in the
        moving average of an asynchronous pair it is not zero. With the true M,
        ``V = G_0 + G_1 + G_1'`` and there is no bias. One iteration puts r for e on
        the right-hand side; the correlation is then too low by at most 2.5% of itself
        for ``|rho| <= 0.7`` and 4.2% for ``|rho| <= 0.8`` (worst over f; 8% at 0.95).

    On 1,000 simulated days with rho = 0.6 and f = 0.25 the standard deviation of the
    correlation is 0.034 (same date), 0.042 (overlapping), 0.045 (newey_west), 0.044
    (lag_sum; 0.053 over one-day variances) and 0.030 (burns_engle_mezrich).

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Daily log returns by local date, decimals, oldest first; no NaN.
    method : str
        As above.
    lags : int, optional
        By default 4 (five-day sums) for ``overlapping``, 5 for ``newey_west``, 1 for
        the others; ``burns_engle_mezrich`` has one lag only.
    normalise : {"lag_sum", "one_day"}
        For ``lag_sum`` only.
    volatility : {"daily", "long_run"}, default "daily"
        ``long_run`` scales R by the square roots of V's own diagonal, per day.
    later : (N,) array_like or (N, N) bool
        For ``burns_engle_mezrich``, and required there: closing times in any ordered
        unit (UTC minutes), or a matrix that is True at (i, j) where j closes later
        than i. All True is the unrestricted fit.
    iterations : int, default 1
        For ``burns_engle_mezrich``: times that M is fitted, each on the residuals of
        the fit before. 1 is a linear regression on yesterday's returns, which always
        exists; 10 reach conditional least squares of the moving average, free of its
        bias with the same error, if the fit can be inverted.

    Returns
    -------
    (N, N) array or DataFrame
        Symmetric positive semi-definite, per day. Where R is not, the nearest
        correlation matrix takes its place (Qi and Sun 2006).

    Raises
    ------
    UsageError
        Unknown method, or an option that the method does not have.
    ModelError
        Too few observations, a long-run variance that is not positive, or a moving
        average that cannot be inverted.
    """
    m = _check_options(method, lags, normalise, volatility, later, iterations)
    values, labels = observations(X, minimum=2 * (m + 1) + 1)
    R0 = values - values.mean(axis=0)
    T, N = R0.shape
    if method == "overlapping":
        total = np.cumsum(np.vstack([np.zeros((1, N)), R0]), axis=0)
        windows = total[m + 1 :] - total[: -(m + 1)]
        V = np.cov(windows, rowvar=False, ddof=1).reshape(N, N) / (m + 1)
    elif method == "burns_engle_mezrich":
        allowed = _allowed(later, N)
        synchronised = _synchronise(R0, allowed, iterations, labels)
        V = np.cov(synchronised, rowvar=False, ddof=1).reshape(N, N)
    else:
        V = R0.T @ R0 / T
        for j in range(1, m + 1):
            weight = 1.0 - j / (m + 1) if method == "newey_west" else 1.0
            G = R0[j:].T @ R0[:-j] / T
            V += weight * (G + G.T)
    daily = values.var(axis=0, ddof=1)
    long_run = np.diagonal(V).copy()
    bad = (long_run <= 0) & (daily > 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise ModelError(
            f"the {method} variance is not positive",
            asset=column_name(labels, i),
            received=long_run[i],
            fix="Use fewer lags, or method='overlapping'.",
        )
    scale = daily if normalise == "one_day" else long_run
    R = _correlation(V, scale)
    D = np.sqrt(daily if volatility == "daily" else np.maximum(long_run, 0.0))
    return labelled(R * np.outer(D, D), labels)


def _check_options(method, lags, normalise, volatility, later, iterations) -> int:
    """Return the number of lags; refuse what the method does not have."""
    if method not in _DEFAULT_LAGS:
        raise UsageError(
            "unknown method for asynchronous closes",
            received=repr(method),
            expected=", ".join(_DEFAULT_LAGS),
        )
    for name, value, known in (
        ("normalise", normalise, ("lag_sum", "one_day")),
        ("volatility", volatility, ("daily", "long_run")),
    ):
        if value not in known:
            raise UsageError(
                f"unknown {name}", received=repr(value), expected=" or ".join(known)
            )
    if normalise == "one_day" and method != "lag_sum":
        raise UsageError("normalise='one_day' belongs to method='lag_sum'")
    synchronises = method == "burns_engle_mezrich"
    if synchronises and later is None:
        raise UsageError(
            "burns_engle_mezrich needs to know which market closes later",
            fix="Pass later=, the closing times; unrestricted, the fit absorbs each "
            "market's own autocorrelation.",
        )
    if not synchronises and (later is not None or iterations != 1):
        raise UsageError("later and iterations belong to burns_engle_mezrich")
    m = _DEFAULT_LAGS[method] if lags is None else lags
    for name, value in (("lags", m), ("iterations", iterations)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise UsageError(f"{name} must be at least 1", received=value)
    if synchronises and m != 1:
        raise UsageError("burns_engle_mezrich has one lag", received=m)
    return int(m)


def _correlation(V: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """V divided by variances, unit diagonal, repaired where not semi-definite."""
    root = np.sqrt(np.where(scale > 0, scale, 1.0))
    R = V / np.outer(root, root)
    R[scale <= 0] = 0.0  # a constant return is correlated with nothing
    R[:, scale <= 0] = 0.0
    R = 0.5 * (R + R.T)
    np.fill_diagonal(R, 1.0)
    # Rounding leaves eigenvalues of about -1e-15 N when there are more assets than
    # dates; only a matrix that is really indefinite is replaced.
    if np.linalg.eigvalsh(R)[0] < -1e-10:
        return nearest_correlation(R)
    return R


def _allowed(later: Any, N: int) -> np.ndarray:
    """(N, N) bool: entries of M that are fitted."""
    given = np.asarray(later)
    if given.shape == (N,):
        if given.dtype.kind not in "fiumM" or np.any(given != given):
            raise UsageError(
                "closing times must be numbers or times", received=given.dtype
            )
        closes_later = np.greater(given[None, :], given[:, None])
    elif given.shape == (N, N) and given.dtype == np.bool_:
        closes_later = given
    else:
        raise UsageError(
            "later must hold a closing time per asset, or a table of truth values",
            received=f"{given.dtype}, shape {given.shape}",
            expected=f"({N},) numbers or ({N}, {N}) bool",
        )
    own = np.eye(N, dtype=bool) & np.logical_or.reduce(closes_later, axis=1)[:, None]
    return closes_later | own


def _synchronise(
    r: np.ndarray, allowed: np.ndarray, iterations: int, labels: Any
) -> np.ndarray:
    """Return ``(I + M) e_t`` of the fitted ``r_t = M e_{t-1} + e_t``; (T - 1, N)."""
    T, N = r.shape
    widest = int(allowed.sum(axis=1).max())
    if T - 1 < 2 * widest + 2:
        raise ModelError(
            "too few observations for the synchronising regression",
            received=f"{T} dates for {widest} regressors",
            expected=f"at least {2 * widest + 3}",
            fix="Synchronise on market indices, or use method='overlapping'.",
        )
    M = np.zeros((N, N))
    e = r
    for step in range(iterations):
        for i in range(N):
            columns = np.flatnonzero(allowed[i])
            if columns.size:
                M[i, columns] = np.linalg.lstsq(e[:-1, columns], r[1:, i])[0]
        if iterations == 1:
            e = np.vstack([r[:1], r[1:] - r[:-1] @ M.T])
            break
        radius = float(np.abs(np.linalg.eigvals(M)).max())
        if radius >= 1.0:
            i = int(np.argmax(np.abs(M).sum(axis=1)))
            raise ModelError(
                "the moving average of yesterday's shocks cannot be inverted",
                asset=column_name(labels, i),
                received=f"spectral radius {radius:.3g} in iteration {step + 1}",
                fix="Use iterations=1 or method='overlapping'.",
            )
        e = r.copy()
        for t in range(1, T):
            e[t] -= M @ e[t - 1]
    return e[1:] + e[1:] @ M.T
