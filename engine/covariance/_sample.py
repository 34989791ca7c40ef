"""Sample covariance, and the split into volatilities and correlation."""

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
    S = cross_product(values if assume_centered else values - values.mean(axis=0))
    S /= T if assume_centered else T - ddof
    return labelled(S, labels)


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
