"""Covariances that follow the regime: two half-lives, a multiplier, blends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.covariance._check import column_name, labelled, observations
from engine.covariance._factor import FactorCovariance
from engine.covariance._named import checked, one, resolve
from engine.covariance._sample import correlation_to_covariance, cross_product
from engine.errors import DataError, ModelError, UsageError

WINSOR = 4.2
"""Standardised returns beyond this count as this, as in Johansson et al. (2023)."""


def ewma_split(
    X: Any,
    *,
    vol_half_life: float = 84.0,
    corr_half_life: float = 504.0,
    iterated: bool = False,
) -> Any:
    """Exponentially weighted volatilities and correlations with their own half-lives.

    ``D R D``: D from squared returns with ``vol_half_life``, R from products with
    ``corr_half_life``. Volatility moves faster than correlation, and N (N - 1)/2
    correlations need more dates than N volatilities.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first, mean taken as zero; no NaN.
    vol_half_life, corr_half_life : float, default 84 and 504 periods
        The values of Barra's USE4S for daily data (Menchero, Orr, Wang 2011).
    iterated : bool, default False
        Estimate R on returns divided by the volatility forecast of the day before, so
        that a turbulent month does not dominate it: the iterated EWMA of Johansson,
        Ogut, Pelger, Schmelzer and Boyd (2023), winsorised at 4.2 as there; Engle's
        (2002) DCC with an EWMA in both places.

    Returns
    -------
    (N, N) array or DataFrame
        Symmetric positive semi-definite, per period.

    Raises
    ------
    ModelError
        A series that never moves.
    """
    for name, value in (
        ("vol_half_life", vol_half_life),
        ("corr_half_life", corr_half_life),
    ):
        if not 0.0 < value < np.inf:
            raise UsageError(f"{name} must be positive", received=value)
    values, labels = observations(X, minimum=2)
    still = ~(values != 0).any(axis=0)
    if still.any():
        raise ModelError(
            "a series never moves: it has no correlation",
            asset=column_name(labels, int(np.argmax(still))),
            fix="Leave the asset out, or hold it as cash.",
        )
    variance = _weights(values.shape[0], vol_half_life) @ values**2
    Z = values
    if iterated:
        Z = np.clip(values[1:] / _volatility_before(values, vol_half_life), -WINSOR,
                    WINSOR)  # fmt: skip
    S = cross_product(Z * np.sqrt(_weights(Z.shape[0], corr_half_life))[:, None])
    scale = np.diagonal(S)
    if (scale <= 0).any():
        raise ModelError(
            "a series does not move within the half-life of the correlations",
            asset=column_name(labels, int(np.argmax(scale <= 0))),
            fix="Lengthen corr_half_life, or leave the asset out.",
        )
    root = 1.0 / np.sqrt(scale)
    R = S * np.outer(root, root)
    np.fill_diagonal(R, 1.0)
    return labelled(correlation_to_covariance(R, np.sqrt(variance)), labels)


def _weights(T: int, half_life: float) -> np.ndarray:
    """(T,) exponential weights that sum to one, newest last."""
    w = 0.5 ** (np.arange(T - 1, -1, -1.0) / half_life)
    return w / w.sum()


def _volatility_before(values: np.ndarray, half_life: float) -> np.ndarray:
    """(T - 1, N) volatility of rows 1.., each from the rows before it only.

    A start in which a series does not move yet has no forecast: infinity, so that
    the standardised return is zero.
    """
    from scipy.signal import lfilter

    decay = 0.5 ** (1.0 / half_life)
    total = np.asarray(lfilter([1.0], [1.0, -decay], values[:-1] ** 2, axis=0))
    count = np.asarray(lfilter([1.0], [1.0, -decay], np.ones(values.shape[0] - 1)))
    variance = total / count[:, None]
    return np.where(variance > 0, np.sqrt(variance), np.inf)


def regime_multiplier(
    X: Any,
    base: Any = "ewma_split",
    *,
    half_life: float = 42.0,
    step: int = 5,
    history: int | None = None,
) -> float:
    """Volatility regime multiplier: how much forecasts fall short of late.

    Let ``b_t^2 = (1/N) sum_i (r_it / sigma_it)^2`` compare the returns of date t with
    the volatilities ``base`` forecast from the dates before t: the cross-sectional
    bias statistic. The multiplier is ``sqrt(sum_t w_t b_t^2)`` with exponential
    weights that sum to one: the volatility regime adjustment of Menchero, Orr and
    Wang (2011, "The Barra US equity model (USE4)"). All names moving more than
    forecast says that the regime has changed long before any one name can.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first, mean taken as zero; no NaN.
    base : str or callable (T, N) -> (N, N), default "ewma_split"
    half_life : float, default 42 periods
        Of the weights; USE4S, daily data.
    step : int, default 5
        The forecast is made anew every ``step`` dates.
    history : int, optional
        Dates compared, counted back from the last: by default four half-lives (94% of
        the weight), at most half of the dates.

    Returns
    -------
    float
        1 where forecasts have been right on average.

    Raises
    ------
    UsageError, ModelError
        Too short a history, or a forecast that fails.
    """
    if not 0.0 < half_life < np.inf:
        raise UsageError("half_life must be positive", received=half_life)
    for name, value in (("step", step), ("history", history)):
        if value is not None and (
            isinstance(value, bool) or int(value) != value or value < 1
        ):
            raise UsageError(f"{name} must be a whole number from 1", received=value)
    values, labels = observations(X, minimum=4)
    T, N = values.shape
    n = min(int(np.ceil(4 * half_life)), T // 2) if history is None else int(history)
    if T - n < 2:
        raise ModelError(
            "too few dates before those compared",
            received=f"{T} dates, history {n}",
            expected=f"history of at most {T - 2}",
        )
    estimator = one(base)
    bias = np.empty(n)
    for start in range(T - n, T, step):
        rows = slice(start, min(start + step, T))
        variance = np.diagonal(checked(estimator(values[:start].copy()), N))
        if not (variance > 0).all():
            raise ModelError(
                "the base estimator forecasts no variance",
                asset=column_name(labels, int(np.argmin(variance))),
                received=variance.min(),
            )
        bias[rows.start - T + n : rows.stop - T + n] = (
            values[rows] ** 2 / variance
        ).mean(axis=1)
    return float(np.sqrt(_weights(n, half_life) @ bias))


def regime_adjusted(
    X: Any,
    base: Any = "ewma_split",
    *,
    half_life: float = 42.0,
    step: int = 5,
    history: int | None = None,
) -> Any:
    """Covariance of ``base`` times the square of its volatility regime multiplier.

    Correlations are those of ``base``. Parameters as in `regime_multiplier`.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first.
    base, half_life, step, history
        As in `regime_multiplier`.

    Returns
    -------
    (N, N) array or DataFrame, or FactorCovariance
        The kind that ``base`` returns for X.
    """
    square = (
        regime_multiplier(X, base, half_life=half_life, step=step, history=history) ** 2
    )
    estimator = one(base)
    matrix = estimator(X)
    if isinstance(matrix, FactorCovariance):
        return FactorCovariance(
            matrix.loadings,
            square * matrix.factor_covariance,
            square * matrix.specific_variance,
        )
    return matrix * square


def blend(matrices: Sequence[Any], *, weights: Any = None) -> Any:
    """Convex combination ``sum_k w_k S_k`` of covariance matrices.

    Parameters
    ----------
    matrices : sequence of (N, N) array_like, DataFrame or FactorCovariance
        Positive semi-definite, per the same period. DataFrames must carry the same
        labels in the same order.
    weights : (K,) array_like, optional
        Not negative, sum one; equal by default.

    Returns
    -------
    (N, N) array, or DataFrame where any matrix is one
        Positive semi-definite, as every convex combination of such matrices is.
    """
    parts = list(matrices)
    if not parts:
        raise UsageError("give at least one matrix to blend")
    w = _convex(weights, len(parts))
    labels = None
    for S in parts:
        own = getattr(S, "columns", None)
        if own is not None and list(S.index) != list(own):
            raise DataError("the rows and columns of a covariance differ in labels")
        if labels is not None and own is not None and list(own) != list(labels):
            raise DataError(
                "the matrices to blend list different assets",
                received=f"{own[0]!s}, ... and {labels[0]!s}, ...",
                fix="Reorder them by the same labels.",
            )
        labels = own if labels is None else labels
    N = parts[0].shape[0] if hasattr(parts[0], "shape") else len(parts[0])
    dense = [checked(S, N) for S in parts]
    total = np.zeros((N, N))
    for k, S in enumerate(dense):
        smallest = float(np.linalg.eigvalsh(S)[0])
        if smallest < -1e-8 * max(float(np.abs(S).max()), np.finfo(float).tiny):
            raise ModelError(
                "a matrix to blend is not positive semi-definite",
                received=f"number {k}, smallest eigenvalue {smallest:.3e}",
                fix="Repair it with nearest_correlation.",
            )
        total += w[k] * S
    return labelled(total, labels)


def blended(X: Any, estimators: Any, *, weights: Any = None) -> Any:
    """Estimate by each of several estimators and `blend` the matrices.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
    estimators : sequence of names or callables, or mapping
        As in `compare`.
    weights : (K,) array_like, optional
        Not negative, sum one; equal by default. For weights on evidence see
        `combined`.

    Returns
    -------
    (N, N) array or DataFrame
    """
    values, labels = observations(X)
    found = resolve(estimators)
    w = _convex(weights, len(found))
    matrices = [estimator(values.copy()) for estimator in found.values()]
    N = values.shape[1]
    return labelled(blend([checked(S, N) for S in matrices], weights=w), labels)


def _convex(weights: Any, K: int) -> np.ndarray:
    if weights is None:
        return np.full(K, 1.0 / K)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (K,):
        raise UsageError(
            "one weight per matrix is needed", received=w.shape, expected=K
        )
    if not (np.isfinite(w) & (w >= 0)).all() or abs(w.sum() - 1.0) > 1e-9:
        raise UsageError(
            "weights must not be negative and must sum to one",
            received=f"{w.tolist()}, sum {w.sum():.6g}",
        )
    return w
