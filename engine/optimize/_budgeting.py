"""Portfolios made from the covariance alone: budgeted risk and its relatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import DataError, ModelError
from engine.optimize._inputs import Risk, read_covariance, read_vector
from engine.parallel import thread_limits

TOLERANCE = 1e-9
"""Largest relative difference of a risk contribution from its budget."""
_COMMON = 12
_SWEEPS = 100
_NEWTON = 100
_SUM = 1e-9


def risk_budgeting(covariance: Any, budgets: Any = None) -> Any:
    """Long-only weights whose contributions to volatility are in given proportions.

    The one portfolio with ``w_i (Sigma w)_i / w'Sigma w = b_i``: equal risk
    contribution (Maillard, Roncalli, Teiletche 2010) for equal budgets. Newton steps on
    a common factor, then, where those do not do, cyclical coordinate descent
    (Griveau-Billion, Richard, Roncalli 2013), then Newton's method in full on the same
    strictly convex problem (Spinu 2013).

    Parameters
    ----------
    covariance : (N, N) array_like, DataFrame or FactorCovariance
        Any period; no NaN. Positive semi-definite, every variance positive.
    budgets : (N,) array_like, Series or mapping, optional
        Shares of risk, positive, sum one; equal by default. By name where labelled.

    Returns
    -------
    (N,) float64 or Series
        Positive, sum one. Each contribution is within 1e-9 of its budget, relatively.

    Raises
    ------
    DataError
        Malformed input, or budgets that are not positive or do not sum to one.
    ModelError
        A zero variance, a covariance that is not positive semi-definite, or one under
        which a long-only book carries no risk: then no budget can be met.

    Examples
    --------
    >>> import numpy as np
    >>> risk_budgeting(np.diag([0.04, 0.01])).round(4).tolist()
    [0.3333, 0.6667]
    """
    with thread_limits(1):
        risk = read_covariance(covariance, moving=True)
        b = _budgets(budgets, risk)
        sigma = np.sqrt(risk.variances)
        x, error = _common_factor(risk, b, np.sqrt(b) / sigma)
        for tolerance in (TOLERANCE, 0.01 * TOLERANCE):
            if not error <= TOLERANCE:
                x = _descend(risk, b, x, tolerance)
                error = _error(risk, b, x)
        if not error <= TOLERANCE:
            x = _newton(risk, b, x)
            error = _error(risk, b, x)
    if not error <= TOLERANCE:
        raise ModelError(
            "no long-only book meets the risk budgets within 1e-9",
            received=f"a relative error of {error:.1e}",
            expected="a covariance under which every long-only book has risk",
            fix="Shrink the covariance: engine.covariance.ledoit_wolf.",
        )
    return risk.labelled(x / x.sum())


def _budgets(budgets: Any, risk: Risk) -> Vector:
    if budgets is None:
        return np.full(risk.n, 1.0 / risk.n)
    b = read_vector(budgets, risk, "budgets")
    if (b <= 0).any():
        i = int(np.argmin(b))
        raise DataError(
            "a risk budget is not positive",
            asset=risk.name(i),
            received=b[i],
            fix="Leave an asset without risk out of the covariance.",
        )
    if abs(b.sum() - 1.0) > _SUM:
        raise DataError("risk budgets do not sum to one", received=b.sum(), expected=1)
    return b


def _error(risk: Risk, b: Vector, x: Vector) -> float:
    """Largest relative difference of a contribution from its budget."""
    contribution = x * (risk @ x)
    total = contribution.sum()
    if not (np.isfinite(total) and total > 0):
        return np.inf
    return float(np.abs(contribution / total / b - 1.0).max())


def _common_factor(risk: Risk, b: Vector, x: Vector) -> tuple[Vector, float]:
    """Newton steps that read the covariance as one common factor and a diagonal.

    Returns the best point and its error. One product with the covariance a step; on
    most markets five steps are enough, and elsewhere coordinate descent goes on.
    """
    Qx = risk @ x
    variance = float(x @ Qx)
    if not variance > 0:
        return x, np.inf
    scale = 1.0 / np.sqrt(variance)  # contributions sum to one
    x, Qx = scale * x, scale * Qx
    v = Qx
    own = np.maximum(risk.variances - v * v, 0.1 * risk.variances)
    error = float(np.abs(x * Qx / b - 1.0).max())
    for _ in range(_COMMON):
        g, d = Qx - b / x, own + b / x**2
        a, u = g / d, v / d
        new = x - a + u * (float(v @ a) / (1.0 + float(v @ u)))
        if not new.min() > 0:
            break
        Qx = risk @ new
        change = float(np.abs(new * Qx / b - 1.0).max())
        if not change < 0.5 * error:
            break
        x, error = new, change
        if error <= TOLERANCE:
            total = float(x @ Qx)
            return x, float(np.abs(x * Qx / total / b - 1.0).max())
    return x, error


def _descend(risk: Risk, b: Vector, x: Vector, tolerance: float) -> Vector:
    from engine.kernels.budgeting import budget_dense, budget_factor

    if risk.dense is not None:
        budget_dense(risk.dense, b, x, tolerance, _SWEEPS)
    else:
        budget_factor(*risk.parts(), b, x, tolerance, 20 * _SWEEPS)
    return x


def _newton(risk: Risk, b: Vector, x: Vector) -> Vector:
    """Damped Newton in units of volatility; the best point, converged or not."""
    from scipy import linalg

    sigma = np.sqrt(risk.variances)
    C = risk.matrix() / np.outer(sigma, sigma)
    x = x * sigma

    def value(x: Vector) -> float:
        return 0.5 * float(x @ (C @ x)) - float(b @ np.log(x))

    for _ in range(_NEWTON):
        g = C @ x - b / x
        H: Matrix = C.copy()
        H[np.diag_indices_from(H)] += b / x**2
        try:
            step = -linalg.cho_solve(linalg.cho_factor(H, overwrite_a=True), g)
        except linalg.LinAlgError:
            break
        slope = float(g @ step)
        if not np.isfinite(slope):
            break
        down = step < 0
        t = min(1.0, 0.95 * float(np.min(-x[down] / step[down], initial=np.inf)))
        here = value(x)
        while t > 1e-12 and value(x + t * step) > here + 1e-4 * t * slope + 1e-15:
            t *= 0.5
        x = x + t * step
        if -slope < 1e-26:
            break
    return x / sigma


def inverse_volatility(covariance: Any) -> Any:
    """Weights in proportion to one over volatility.

    Equal risk contribution where all correlations are equal; in general it ignores
    correlation.

    Parameters
    ----------
    covariance : (N, N) array_like, DataFrame or FactorCovariance
        As in `risk_budgeting`.

    Returns
    -------
    (N,) float64 or Series
        Positive, sum one.
    """
    with thread_limits(1):
        risk = read_covariance(covariance, moving=True)
    w = 1.0 / np.sqrt(risk.variances)
    return risk.labelled(w / w.sum())


def minimum_variance(
    covariance: Any, *, lower: Any = 0.0, upper: Any = 1.0, **limits: Any
) -> Any:
    """Weights of least variance (Markowitz 1952).

    Parameters
    ----------
    covariance : (N, N) array_like, DataFrame or FactorCovariance
        Positive semi-definite; no NaN.
    lower, upper : float, (N,) array_like, Series or mapping, default 0 and 1
        May be infinite: ``-inf`` and ``inf`` give ``Sigma^-1 1 / 1'Sigma^-1 1``.
    **limits
        ``A_ub``, ``b_ub``, ``A_eq``, ``b_eq`` and their names, as in
        `engine.optimize.mean_variance`, which also gives the bound and the prices.

    Returns
    -------
    (N,) float64 or Series
        Sum one.

    Raises
    ------
    DataError, ModelError, InfeasibleError, SolverError
        As `engine.optimize.mean_variance`.

    Examples
    --------
    >>> import numpy as np
    >>> minimum_variance(np.diag([0.04, 0.01])).round(6).tolist()
    [0.2, 0.8]
    """
    from engine.optimize._mean_variance import mean_variance

    solution = mean_variance(
        0.0, covariance, risk_aversion=1.0, lower=lower, upper=upper, **limits
    )
    return solution.labelled()


def maximum_diversification(covariance: Any, *, upper: Any = 1.0) -> Any:
    """Long-only weights of the largest diversification ratio ``w'sigma / volatility``.

    Choueifaty and Coignard (2008). Without a bound that binds it is the minimum of
    ``x'Cx`` with C the correlation, divided by volatility and normalised; with one it
    is the maximum ratio of "means" sigma.

    Parameters
    ----------
    covariance : (N, N) array_like, DataFrame or FactorCovariance
        As in `risk_budgeting`.
    upper : float, (N,) array_like, Series or mapping, default 1

    Returns
    -------
    (N,) float64 or Series
        Not negative, sum one.

    Raises
    ------
    DataError, ModelError, InfeasibleError, SolverError
        As `engine.optimize.maximum_ratio`.
    """
    from engine.optimize._mean_variance import mean_variance
    from engine.optimize._ratio import maximum_ratio

    with thread_limits(1):
        risk = read_covariance(covariance, moving=True)
    cap = read_vector(upper, risk, "upper", finite=False)
    sigma = np.sqrt(risk.variances)
    if risk.dense is not None:
        correlation: Any = risk.dense / np.outer(sigma, sigma)
    else:
        correlation = covariance.correlation()
    x = np.asarray(mean_variance(0.0, correlation, risk_aversion=1.0).weights) / sigma
    w = np.maximum(x, 0.0) / np.maximum(x, 0.0).sum()
    if (w > cap).any():
        plain = covariance if risk.dense is None else risk.dense
        w = np.asarray(maximum_ratio(sigma, plain, upper=cap).weights)
    return risk.labelled(w)
