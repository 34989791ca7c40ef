"""Pairwise-complete covariance: each entry from the dates that its pair shares."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix
from engine.covariance._check import column_name, labelled, table
from engine.covariance._nearest import nearest_correlation
from engine.covariance._sample import correlation_to_covariance, cross_product, split
from engine.errors import DataError, ModelError, UsageError

_SPARSE = 0.1
"""Share of missing cells up to which they are handled one by one."""


def pairwise(
    X: Any,
    *,
    min_overlap: int = 2,
    repair: Literal["nearest", "raise"] | None = "nearest",
) -> Any:
    """Covariance from the dates that each pair shares, as ``pandas.DataFrame.cov``.

    For a pair, over its n common dates: ``sum (x - mean x)(y - mean y) / (n - 1)`` with
    the means of those dates. Unbiased entry by entry where values are missing at
    random; as a matrix it need not be positive semi-definite.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; NaN where there is none.
    min_overlap : int, default 2
        Fewest dates any pair must share.
    repair : {"nearest", "raise", None}
        What to do where the matrix is not positive semi-definite: keep the variances
        and take the nearest correlation (the default), raise a `ModelError`, or return
        it as it is, for those who repair it themselves.

    Returns
    -------
    (N, N) array or DataFrame

    Raises
    ------
    ModelError
        A pair shares too few dates (both are named); the matrix is not positive
        semi-definite under ``repair="raise"``, or a column never moves where the
        correlation has to be repaired.
    DataError
        An infinite value, or a column without any.

    Notes
    -----
    With Z the table centred by column with zeros where values are missing, and W the
    missing cells: ``n_ij = T - m_i - m_j + (W'W)_ij``, and the sums over common dates
    are ``Z'1 - Z'W``. One symmetric product and sparse corrections, where few cells
    are missing.
    """
    if repair not in ("nearest", "raise", None):
        raise UsageError(
            "unknown repair", received=repr(repair), expected="nearest, raise or None"
        )
    if isinstance(min_overlap, bool) or not int(min_overlap) == min_overlap >= 2:
        raise UsageError("min_overlap is a number from 2", received=min_overlap)
    values, labels = table(X)
    missing = np.isnan(values)
    T, N = values.shape
    counts = T - missing.sum(axis=0)
    if (counts < 2).any():
        raise DataError(
            "a column has fewer than two values",
            asset=column_name(labels, int(np.argmax(counts < 2))),
            received=int(counts.min()),
        )
    _check_infinite(values, labels)
    if counts.min() == T:
        Z = values - values.mean(axis=0)
        if min_overlap > T:
            _too_few(np.full((N, N), T), min_overlap, labels)
        C = cross_product(Z)
        C /= T - 1
        return labelled(C, labels)
    Z = np.where(missing, 0.0, values)
    Z -= Z.sum(axis=0) / counts
    Z[missing] = 0.0
    few = counts.sum() >= (1.0 - _SPARSE) * T * N
    n, sums = (_sparse if few else _dense)(Z, missing, counts)
    if n.min() < min_overlap:
        _too_few(n, min_overlap, labels)
    C = cross_product(Z)
    sums *= sums.T
    sums /= n
    C -= sums
    n -= 1.0
    C /= n
    C = 0.5 * (C + C.T)
    return labelled(_repaired(C, repair, labels), labels)


def _sparse(Z: Matrix, missing: Matrix, counts: np.ndarray) -> tuple[Matrix, Matrix]:
    """Common dates (N, N), and sums of Z over them: ``sums[i, j]`` of i where j is."""
    from scipy.sparse import csr_matrix

    W = csr_matrix(missing, dtype=np.float64)
    lost = Z.shape[0] - counts.astype(np.float64)
    n = np.asarray((W.T @ W).toarray())
    n += Z.shape[0] - lost[:, None] - lost[None, :]
    sums = Z.sum(axis=0)[:, None] - np.asarray(W.T @ Z).T
    return n, np.ascontiguousarray(sums)


def _dense(Z: Matrix, missing: Matrix, counts: np.ndarray) -> tuple[Matrix, Matrix]:
    # Counts below 2^24 are exact in single precision.
    kind = np.float32 if Z.shape[0] < 2**24 else np.float64
    there = np.logical_not(missing).astype(kind)
    n = (there.T @ there).astype(np.float64)
    return n, Z.T @ there.astype(np.float64)


def _repaired(C: Matrix, repair: str | None, labels: Any) -> Matrix:
    """The matrix, positive semi-definite unless the caller wants it raw."""
    if repair is None:
        return C
    variance = np.diagonal(C)
    still = variance <= 0
    moving = np.flatnonzero(~still)
    if still.any() and np.abs(C[still]).max() > 0:
        raise ModelError(
            "a column never moves, and its pairs do",
            asset=column_name(labels, int(np.argmax(still))),
            fix="Leave the column out.",
        )
    if not moving.size:
        return C
    block = np.ix_(moving, moving)
    sigma, R = split(C[block])
    try:
        np.linalg.cholesky(R + 1e-12 * len(R) * np.eye(len(R)))
        return C
    except np.linalg.LinAlgError:
        pass
    if repair == "raise":
        raise ModelError(
            "the pairwise covariance is not positive semi-definite",
            received=f"smallest eigenvalue {np.linalg.eigvalsh(R)[0]:.2e} of the "
            "correlation",
            fix="Use repair='nearest', or fill or drop what is missing.",
        )
    C = C.copy()
    C[block] = correlation_to_covariance(nearest_correlation(R), sigma)
    return C


def _too_few(n: Matrix, wanted: int, labels: Any) -> None:
    i, j = (int(v) for v in np.unravel_index(n.argmin(), n.shape))
    raise ModelError(
        "two columns share too few dates",
        asset=f"{column_name(labels, i)} and {column_name(labels, j)}",
        received=int(n[i, j]),
        expected=f"at least {wanted}",
        fix="Leave one out, or lower min_overlap.",
    )


def _check_infinite(values: Matrix, labels: Any) -> None:
    with np.errstate(invalid="ignore"):
        largest = np.nanmax(np.abs(values), axis=0)
    for bad, what in (
        (np.isinf(largest), "an observation is infinite"),
        (largest > 1e150, "the square of an observation overflows"),
        ((largest < 1e-150) & (largest > 0), "the square of an observation underflows"),
    ):
        if bad.any():
            i = int(np.argmax(bad))
            kind = DataError if np.isinf(largest[i]) else ModelError
            raise kind(what, asset=column_name(labels, i), received=largest[i])
