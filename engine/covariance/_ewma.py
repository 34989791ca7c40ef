"""Exponentially weighted covariance: plain, and with a score-driven update."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix
from engine.covariance._check import (
    column_name,
    labelled,
    observations,
    scaled,
    singular_column,
)
from engine.covariance._sample import cross_product
from engine.errors import ModelError, UsageError

_NEGLIGIBLE = 1e-18
"""Weight below which a day is left out, if what it holds cannot be seen either."""
_REFRESH = 64
"""Days between exact inversions: the error of the running inverse stays at rounding."""


def ewma(
    X: Any,
    *,
    decay: float | None = None,
    half_life: float | None = None,
    assume_centered: bool = True,
    update: Literal["plain", "student_t"] = "plain",
    dof: float = 5.0,
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
    update : {"plain", "student_t"}
        ``student_t``: the score of a multivariate t drives the update (Creal, Koopman,
        Lucas 2011, J. Business & Economic Statistics 29, with scaling by the inverse
        information up to a constant),

            ``O_t = l O_{t-1} + (1 - l) w_t r_t r_t'``,
            ``w_t = (nu + N) / (nu + r_t' O_{t-1}^-1 r_t)``,

        so that one shock day cannot dominate: however large, it moves O by at most
        ``(1 - l)(nu + N)`` times its own direction. O is the scale matrix, ``w_t r r'``
        has it as its mean, and ``nu / (nu - 2) O`` is returned. It starts from the
        zero-mean sample of the first ``max(2 N, 60)`` days, which must be fewer than T.
    dof : float, default 5
        ``nu`` of the t update, above 2.

    Returns
    -------
    (N, N) array or DataFrame
        Symmetric positive semi-definite, per period.

    Raises
    ------
    ModelError
        The t update needs more days than ``max(2 N, 60)``, and columns that move.

    Examples
    --------
    >>> import numpy as np
    >>> ewma(np.array([[0.01], [0.02]]), decay=0.5).shape
    (1, 1)
    """
    decay = decay_rate(decay, half_life)
    if update not in ("plain", "student_t"):
        raise UsageError(
            "unknown update", received=repr(update), expected="plain or student_t"
        )
    if update == "student_t":
        if not assume_centered:
            raise UsageError("the t update takes the mean to be zero")
        return _student_t(X, decay, dof)
    values, labels = observations(X, minimum=1 if assume_centered else 2)
    T = values.shape[0]
    if not assume_centered:
        weights = decay ** np.arange(T - 1, -1, -1.0)
        weights /= weights.sum()
        centred = values - weights @ values
        return labelled(cross_product(centred * np.sqrt(weights)[:, None]), labels)
    recent = min(T, int(np.ceil(np.log(_NEGLIGIBLE) / np.log(decay))))
    S = _weighted(values, decay, recent)
    if recent < T and not _invisible(values[: T - recent], decay, recent, S):
        S = _weighted(values, decay, T)
    return labelled(S, labels)


def decay_rate(decay: float | None, half_life: float | None) -> float:
    """Return the decay of either option, checked; 0.94 without any."""
    if decay is not None and half_life is not None:
        raise UsageError("give decay or half_life, not both")
    if half_life is not None:
        if not half_life > 0:
            raise UsageError("half_life must be positive", received=half_life)
        decay = 0.5 ** (1.0 / half_life)
    decay = 0.94 if decay is None else float(decay)
    if not 0.0 < decay < 1.0:
        raise UsageError("decay must lie in (0, 1)", received=decay)
    return decay


def _weighted(values: Matrix, decay: float, recent: int) -> Matrix:
    """Weighted second moment of the last ``recent`` rows, weights of all T."""
    T = values.shape[0]
    root = np.sqrt(decay ** np.arange(recent - 1, -1, -1.0))
    S = cross_product(values[T - recent :] * root[:, None])
    S *= (1.0 - decay) / -np.expm1(T * np.log(decay))
    return S


def _invisible(old: Matrix, decay: float, recent: int, S: Matrix) -> bool:
    """Whether the days left out are below rounding in every variance."""
    largest = np.maximum(old.max(axis=0), -old.min(axis=0))
    most = decay**recent * largest**2  # sum of weights (1 - l) l^k over k >= recent
    return bool((most <= 1e-15 * np.diagonal(S)).all())


def _student_t(X: Any, decay: float, dof: float) -> Any:
    from engine.kernels.covariance import student_t_updates

    if not 2.0 < dof < np.inf:
        raise UsageError(
            "dof of the t update must exceed 2 and be finite", received=dof
        )
    values, labels = observations(X, minimum=1)
    T, N = values.shape
    start = max(2 * N, 60)
    if T <= start:
        raise ModelError(
            "too few observations for the t update",
            received=T,
            expected=f"more than {start}: max(2 N, 60) days to start from",
        )
    values, unit = scaled(values)
    scale = cross_product(values[:start]) * ((dof - 2.0) / (dof * start))
    weights, product = np.empty(_REFRESH), np.empty(N)
    for lo in range(start, T, _REFRESH):
        rows = values[lo : lo + _REFRESH]
        inverse = _inverse(scale, labels)
        student_t_updates(
            np.ascontiguousarray(rows),
            decay,
            float(dof),
            scale,
            inverse,
            weights[: len(rows)],
            product,
        )
    scale = 0.5 * (scale + scale.T)
    return labelled(scale * (dof / (dof - 2.0)) * unit**2, labels)


def _inverse(scale: Matrix, labels: Any) -> Matrix:
    """Inverse of a positive definite matrix; a singular one names its column."""
    sigma = np.sqrt(np.maximum(np.diagonal(scale), np.finfo(float).tiny))
    R = scale / np.outer(sigma, sigma)
    if not np.linalg.eigvalsh(R)[0] > len(R) * np.finfo(float).eps:
        i, why = singular_column(scale)
        raise ModelError(
            "the t update needs a matrix that can be inverted",
            asset=column_name(labels, i),
            received=why,
            fix="Leave the column out, or use update='plain'.",
        )
    P = np.linalg.inv(R)
    P = 0.5 * (P + P.T)
    return np.ascontiguousarray(P / np.outer(sigma, sigma))
