"""Sample and exponentially weighted covariance, and the split into correlation."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.covariance._check import labelled, observations
from engine.errors import ModelError, UsageError


def cross_product(X: np.ndarray) -> np.ndarray:
    """``X.T @ X``, exactly symmetric.

    NumPy recognises a product of a matrix with its own transpose and makes it one
    symmetric rank-k update, half the work of a product.
    """
    return X.T @ X


def sample(X: Any, *, ddof: int = 1, assume_centered: bool = False) -> Any:
    """Sample covariance ``(X - m)'(X - m) / (T - ddof)``.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN.
    ddof : {1, 0}, default 1
        Divisor ``T - ddof``: 1 is unbiased (NumPy, pandas), 0 is the maximum
        likelihood estimator (scikit-learn).
    assume_centered : bool, default False
        Take the mean to be zero; the divisor is then ``T``.

    Returns
    -------
    (N, N) array or DataFrame
        Symmetric positive semi-definite, per period.
    """
    if ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=ddof)
    values, labels = observations(X, minimum=1 if assume_centered else ddof + 1)
    T = values.shape[0]
    if assume_centered:
        return labelled(cross_product(values) / T, labels)
    return labelled(cross_product(values - values.mean(axis=0)) / (T - ddof), labels)


def ewma(
    X: Any,
    *,
    decay: float | None = None,
    half_life: float | None = None,
    assume_centered: bool = True,
) -> Any:
    """Exponentially weighted covariance (RiskMetrics 1996, eq. 5.3).

    ``S = sum_k l^k r_{T-k} r_{T-k}' / sum_k l^k``: the recursion
    ``S_t = l S_{t-1} + (1 - l) r_t r_t'`` normalised for the finite sample.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, oldest first; no NaN.
    decay : float, default 0.94
        ``l`` in (0, 1); 0.94 is the RiskMetrics value for daily data. One day then
        has weight 0.06, and 74 days hold 99% of it.
    half_life : float, optional
        In periods; gives ``decay = 0.5 ** (1 / half_life)``. Not with ``decay``.
    assume_centered : bool, default True
        RiskMetrics takes the mean as zero; False removes the weighted mean.

    Returns
    -------
    (N, N) array or DataFrame
    """
    if decay is not None and half_life is not None:
        raise UsageError("give decay or half_life, not both")
    if half_life is not None:
        if not half_life > 0:
            raise UsageError("half_life must be positive", received=half_life)
        decay = 0.5 ** (1.0 / half_life)
    decay = 0.94 if decay is None else decay
    if not 0.0 < decay < 1.0:
        raise UsageError("decay must lie in (0, 1)", received=decay)
    values, labels = observations(X, minimum=1 if assume_centered else 2)
    weights = decay ** np.arange(values.shape[0] - 1, -1, -1.0)
    weights /= weights.sum()
    if not assume_centered:
        values = values - weights @ values
    return labelled(cross_product(values * np.sqrt(weights)[:, None]), labels)


def split(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return volatilities (N,) and correlation (N, N); zero variance is an error."""
    variance = np.diagonal(covariance)
    if (variance <= 0).any():
        raise ModelError(
            "a variance is zero: the series never moves",
            asset=f"column {int(np.argmax(variance <= 0))}",
            fix="Leave the asset out, or hold it as cash.",
        )
    sigma = np.sqrt(variance)
    correlation = covariance / np.outer(sigma, sigma)
    np.fill_diagonal(correlation, 1.0)
    return sigma, correlation


def correlation_to_covariance(
    correlation: np.ndarray, volatility: np.ndarray
) -> np.ndarray:
    """``diag(s) R diag(s)`` for volatilities (N,) and a correlation (N, N)."""
    return correlation * np.outer(volatility, volatility)
