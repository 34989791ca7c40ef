"""Sample covariance, and the split into volatilities and correlation."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Matrix
from engine.covariance._check import (
    centred,
    column_name,
    enough,
    labelled,
    observations,
    scaled,
    table,
)
from engine.errors import DataError, ModelError, UsageError

_ORDINARY = (2.0**-100, 2.0**100)
"""Sums of squares of a column within which no power up to the sixth is in danger."""


def cross_product(X: np.ndarray) -> np.ndarray:
    """``X.T @ X``, exactly symmetric.

    NumPy recognises a product of a matrix with its own transpose and makes it one
    symmetric rank-k update, half the work of a product.
    """
    return X.T @ X


def products(
    X: Any, *, minimum: int, about_zero: bool
) -> tuple[Matrix, Matrix, float, Any]:
    """Observations about their mean Y, ``Y'Y``, the unit of Y, and labels.

    The unit is a power of two, one for ordinary numbers, in which sixth powers neither
    overflow nor vanish. The checks are those of `observations`, made on the diagonal of
    the product, where what is missing, infinite or too large shows, so that the table
    is read once less; a column that never moves proves nothing and is checked itself.
    """
    values, labels = table(X)
    enough(values, X, labels, minimum)
    with np.errstate(invalid="ignore", over="ignore"):
        Y = values if about_zero else centred(values)
        S = cross_product(Y)
    sums = np.diagonal(S)
    if ((sums > _ORDINARY[0]) & (sums < _ORDINARY[1])).all():
        return Y, S, 1.0, labels
    values, labels = observations(X, minimum=minimum)
    values, unit = scaled(values)
    Y = values if about_zero else centred(values)
    return Y, cross_product(Y), unit, labels


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

    Examples
    --------
    >>> sample([[0.01, 0.02], [-0.01, 0.00]]).round(6).tolist()
    [[0.0002, 0.0002], [0.0002, 0.0002]]
    """
    if ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=ddof)
    least = 1 if assume_centered else ddof + 1
    Y, S, unit, labels = products(X, minimum=least, about_zero=assume_centered)
    S *= unit * unit / (Y.shape[0] - (0 if assume_centered else ddof))
    return labelled(S, labels)


def split(covariance: np.ndarray, labels: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return volatilities (N,) and correlation (N, N); zero variance is an error.

    ``labels`` are names for the message.

    Parameters
    ----------
    covariance : (N, N) float64
    labels : sequence of str, optional
        Names for the message.

    Returns
    -------
    volatility : (N,) float64
    correlation : (N, N) float64
    """
    variance = np.diagonal(covariance)
    if (variance <= 0).any():
        raise ModelError(
            "a variance is zero: the series never moves, its correlation is undefined",
            asset=column_name(labels, int(np.argmax(variance <= 0))),
            fix="Leave the asset out, or hold it as cash.",
        )
    sigma = np.sqrt(variance)
    correlation = covariance / np.outer(sigma, sigma)
    np.fill_diagonal(correlation, 1.0)
    return sigma, correlation


def correlation_to_covariance(
    correlation: np.ndarray, volatility: np.ndarray
) -> np.ndarray:
    """``diag(s) R diag(s)`` for volatilities (N,) and a correlation (N, N).

    Parameters
    ----------
    correlation : (N, N) float64
        No NaN.
    volatility : (N,) float64
        Standard deviations, decimals per period.

    Returns
    -------
    (N, N) float64
    """
    return correlation * np.outer(volatility, volatility)


def correlation(covariance: Any) -> Any:
    """Correlation of a covariance, ``S_ij / sqrt(S_ii S_jj)``, labels kept.

    Parameters
    ----------
    covariance : (N, N) array_like or DataFrame
        Symmetric, of any estimator; no NaN.

    Returns
    -------
    (N, N) array or DataFrame
        Unit diagonal, exactly; as semi-definite as the covariance is.

    Raises
    ------
    DataError
        Not a square table of finite numbers.
    ModelError
        A variance that is zero or negative: the asset is named.
    """
    labels = getattr(covariance, "columns", None)
    try:
        S = np.asarray(covariance, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the covariance is not numeric: {error}") from error
    if S.ndim != 2 or S.shape[0] != S.shape[1] or not S.size:
        raise DataError("a covariance is square", received=f"shape {S.shape}")
    if not np.isfinite(S).all():
        i, j = (int(v) for v in np.argwhere(~np.isfinite(S))[0])
        raise DataError(
            "the covariance holds NaN or infinity",
            asset=f"{column_name(labels, i)} and {column_name(labels, j)}",
            received=S[i, j],
        )
    return labelled(split(S, labels)[1], labels)
