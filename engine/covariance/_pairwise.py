"""Pairwise-complete covariance: each entry from the dates that its pair shares."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix
from engine.covariance._check import (
    LARGEST,
    SMALLEST,
    centred,
    column_name,
    labelled,
    table,
)
from engine.covariance._nearest import nearest_correlation
from engine.covariance._sample import correlation_to_covariance, cross_product, split
from engine.errors import DataError, ModelError, UsageError

_SPARSE = 0.1
"""Share of missing cells up to which they are handled one by one."""
_MANY = 256
"""Columns from which that pays: below, three products take a few milliseconds."""


def pairwise(
    X: Any,
    *,
    min_overlap: int = 2,
    repair: Literal["nearest", "raise"] | None = "nearest",
) -> Any:
    """Covariance from the dates that each pair shares, as pandas has it.

    For a pair, over its n common dates: ``sum (x - mean x)(y - mean y) / (n - 1)`` with
    the means of those dates. Unbiased entry by entry where values are missing at
    random; as a matrix it need not be positive semi-definite, and is repaired, unless
    told otherwise, where it is not.

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
        Symmetric; positive semi-definite unless ``repair=None``. A column that never
        moves has zeros.

    Raises
    ------
    ModelError
        A pair shares too few dates (both are named); the matrix is not positive
        semi-definite under ``repair="raise"``; a square overflows or vanishes.
    DataError
        An infinite value, or a column without any.

    Notes
    -----
    With Z the table centred by column with zeros where values are missing, and W the
    missing cells: ``n_ij = T - m_i - m_j + (W'W)_ij``, and the sums over common dates
    are ``Z'1 - Z'W``: where few cells are missing, one symmetric product, and
    corrections cell by cell.
    """
    if repair not in ("nearest", "raise", None):
        raise UsageError(
            "unknown repair", received=repr(repair), expected="nearest, raise or None"
        )
    whole = isinstance(min_overlap, (int, np.integer))
    if isinstance(min_overlap, bool) or not whole or min_overlap < 2:
        raise UsageError(
            "min_overlap is a whole number from 2", received=repr(min_overlap)
        )
    values, labels = table(X)
    T, N = values.shape
    dates, columns = np.nonzero(np.isnan(values))
    counts = T - np.bincount(columns, minlength=N)
    if (counts < 2).any():
        i = int(np.argmax(counts < 2))
        raise DataError(
            "a column has fewer than two values",
            asset=column_name(labels, i),
            received=int(counts[i]),
            fix="Leave the column out.",
        )
    still = _check_range(values, labels)
    if not columns.size:
        if min_overlap > T:
            _too_few(T, (0, N - 1), min_overlap, labels)
        C = cross_product(centred(values))
        C /= T - 1
        return labelled(C, labels)
    Z = values.copy()
    Z[dates, columns] = 0.0
    Z -= Z.sum(axis=0) / counts
    Z[dates, columns] = 0.0
    Z[:, still] = 0.0
    few = columns.size <= _SPARSE * T * N and N >= _MANY
    by = _by_missing_cells if few else _by_products
    C, n, pair = by(Z, dates, columns)
    if n < min_overlap:
        _too_few(n, pair, min_overlap, labels)
    return labelled(_repaired(C, repair, labels), labels)


def _by_missing_cells(
    Z: Matrix, dates: np.ndarray, columns: np.ndarray
) -> tuple[Matrix, int, tuple[int, int]]:
    """Covariances, the fewest dates that a pair shares, and which pair that is."""
    from engine.kernels.pairwise import (
        both_missing,
        pairwise_covariance,
        sums_where_missing,
    )

    T, N = Z.shape
    both = np.zeros((N, N), dtype=np.int32)
    both_missing(columns, _starts(dates, T), both)
    lost = np.empty((N, N))
    by_column = np.ascontiguousarray(dates[np.argsort(columns, kind="stable")])
    sums_where_missing(Z, by_column, _starts(columns, N), lost)
    C = cross_product(Z)
    gone, fewest = np.bincount(columns, minlength=N), np.zeros(3, dtype=np.int64)
    pairwise_covariance(C, lost, both, gone, Z.sum(axis=0), T, fewest)
    return C, int(fewest[0]), (int(fewest[1]), int(fewest[2]))


def _starts(group: np.ndarray, n: int) -> np.ndarray:
    """Where each of n groups begins in a list sorted by group, and where it ends."""
    return np.append(0, np.cumsum(np.bincount(group, minlength=n)))


def _by_products(
    Z: Matrix, dates: np.ndarray, columns: np.ndarray
) -> tuple[Matrix, int, tuple[int, int]]:
    """The same by three products: for many missing cells, or a small table."""
    T = Z.shape[0]
    # Counts below 2^24 are exact in single precision.
    there = np.ones(Z.shape, dtype=np.float32 if T < 2**24 else np.float64)
    there[dates, columns] = 0.0
    n = (there.T @ there).astype(np.float64)
    shared = n + np.where(
        np.eye(len(n), dtype=bool), 0.5, 0.0
    )  # a pair before a column
    i, j = (int(v) for v in np.unravel_index(shared.argmin(), n.shape))
    if n[i, j] < 2:
        return n, int(n[i, j]), (i, j)
    sums = Z.T @ there.astype(np.float64)
    C = cross_product(Z)
    C -= sums * sums.T / n
    C /= n - 1.0
    return 0.5 * (C + C.T), int(n[i, j]), (i, j)


def _repaired(C: Matrix, repair: str | None, labels: Any) -> Matrix:
    """The matrix, positive semi-definite unless the caller wants it raw."""
    if repair is None:
        return C
    still = np.diagonal(C) <= 0
    if still.all():
        return C
    block = np.ix_(~still, ~still) if still.any() else (slice(None), slice(None))
    sigma, R = split(C[block])
    if _semi_definite(R):
        return C
    if repair == "raise":
        raise ModelError(
            "the pairwise covariance is not positive semi-definite",
            received=f"smallest eigenvalue {np.linalg.eigvalsh(R)[0]:.2e} of the "
            "correlation",
            fix="Use repair='nearest', or fill or drop what is missing.",
        )
    C[block] = correlation_to_covariance(nearest_correlation(R), sigma)
    return C


def _semi_definite(R: Matrix) -> bool:
    """Whether a correlation has a Cholesky factor, rounding of its entries aside."""
    lifted = R.copy()
    lifted.flat[:: len(R) + 1] += 1e-14 * len(R)
    try:
        np.linalg.cholesky(lifted)
    except np.linalg.LinAlgError:
        return False
    return True


def _too_few(n: int, pair: tuple[int, int], wanted: int, labels: Any) -> None:
    i, j = pair
    one = i == j
    raise ModelError(
        "a column has too few dates" if one else "two columns share too few dates",
        asset=column_name(labels, i)
        if one
        else f"{column_name(labels, i)} and {column_name(labels, j)}",
        received=n,
        expected=f"at least {wanted}",
        fix="Leave one out, or lower min_overlap.",
    )


def _check_range(values: Matrix, labels: Any) -> np.ndarray:
    """Refuse what is infinite or has no square; return the columns that never move."""
    high, low = np.fmax.reduce(values, axis=0), np.fmin.reduce(values, axis=0)
    largest = np.maximum(high, -low)
    for bad, what in (
        (np.isinf(largest), "an observation is infinite"),
        (largest > LARGEST, "the square of an observation overflows"),
        (
            (largest < SMALLEST) & (largest > 0),
            "the square of an observation underflows",
        ),
    ):
        if bad.any():
            i = int(np.argmax(bad))
            kind = DataError if np.isinf(largest[i]) else ModelError
            raise kind(
                what,
                asset=column_name(labels, i),
                received=largest[i],
                fix="Rescale: returns are decimals.",
            )
    return np.flatnonzero(high == low)
