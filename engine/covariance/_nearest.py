"""Nearest correlation matrix: weighted, with fixed entries, above an eigenvalue floor.

All variants are one problem in other variables. With ``W = Diag(w)``, ``D = W^(1/2)``
and a floor e, put ``Z = D (X - e I) D``: the W-norm of X - A is the Frobenius norm of
``Z - D (A - e I) D``; X has eigenvalues of at least e where Z is positive
semi-definite, a unit diagonal where ``Z_ii = w_i (1 - e)``, and a fixed entry where Z
has one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.covariance._check import column_name, labelled
from engine.covariance._nearest_solvers import (
    Target,
    alternating_projections,
    newton,
)
from engine.covariance._rolling_input import asset_labels, whole_number
from engine.errors import DataError, InfeasibleError, UsageError

_LARGEST = 1e8
"""Entries beyond leave too few digits for the ones that X must have."""


def nearest_correlation(
    A: Any,
    *,
    tolerance: float = 1e-10,
    eigenvalue_floor: float = 1e-8,
    weights: Any = None,
    fixed: Any = None,
    method: Literal["newton", "alternating_projections"] = "newton",
    acceleration: int = 0,
) -> Any:
    """Nearest correlation matrix in the Frobenius norm, or a weighted one.

    Solves ``min ||W^(1/2) (X - A) W^(1/2)||_F`` over X with unit diagonal and
    eigenvalues of at least ``eigenvalue_floor`` by Newton's method on the dual (Qi and
    Sun 2006, SIAM J. Matrix Anal. Appl. 28; Borsdorf and Higham 2010, IMA J. Numer.
    Anal. 30), which converges quadratically.

    Parameters
    ----------
    A : (N, N) array_like or DataFrame
        Any symmetric finite matrix; it is not rescaled first. Its diagonal may differ
        from one: the diagonal of the result does not depend on it.
    tolerance : float, default 1e-10
        Largest departure of the diagonal (and of fixed entries) from what they must
        be, relative to sqrt(N), before they are set exactly.
    eigenvalue_floor : float, default 1e-8
        Smallest eigenvalue allowed, in [0, 1), so that a Cholesky factor exists: a
        constraint of the problem, not a repair afterwards. 0 allows singular matrices.
    weights : (N,) array_like or Series, optional
        w, positive: the error in entry (i, j) counts ``w_i w_j``. A large weight holds
        the correlations of an asset that is trusted. Their scale does not matter.
    fixed : (N, N) bool array_like or DataFrame, optional
        Symmetric; True where the entry of A must stay exactly as it is. The diagonal
        plays no part. Setting them exactly moves the eigenvalues by at most about
        ``tolerance`` N.
    method : {"newton", "alternating_projections"}, default "newton"
        Higham's projections (2002, IMA J. Numer. Anal. 22) solve the same problem,
        linearly, tens of times slower: an independent check.
    acceleration : int, default 0
        Earlier projections to extrapolate from (Anderson; Higham and Strabic 2016,
        Numer. Algorithms 72): 2 to 5 is usual. Only with alternating projections.

    Returns
    -------
    (N, N) array or DataFrame
        Symmetric, unit diagonal, smallest eigenvalue at least the floor up to rounding.

    Raises
    ------
    DataError
        Not square, not symmetric, not finite, labels that differ, a fixed entry
        beyond one.
    InfeasibleError
        No correlation matrix above the floor has these fixed entries; ``conflict``
        lists those at fault.
    SolverError
        No convergence: rounding, or fixed entries that leave no interior.

    Notes
    -----
    General weights h_ij (a Hadamard-weighted norm) are not offered: the problem then
    has no projection in closed form, and majorisation converges too slowly to be sure
    of its answer. ``fixed`` and ``weights`` cover the usual reasons for wanting them.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.covariance import nearest_correlation
    >>> A = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    >>> nearest_correlation(A).round(4)[0]
    array([1.    , 0.7607, 0.1573])
    """
    labels = getattr(A, "columns", None)
    G = _symmetric(A, labels)
    if not 0.0 <= eigenvalue_floor < 1.0:
        raise UsageError(
            "eigenvalue_floor must lie in [0, 1): the eigenvalues average one",
            received=eigenvalue_floor,
        )
    if not 0.0 < tolerance < 1.0:
        raise UsageError("tolerance must lie in (0, 1)", received=tolerance)
    if method not in ("newton", "alternating_projections"):
        raise UsageError(
            "unknown method",
            received=repr(method),
            expected="newton or alternating_projections",
        )
    memory = whole_number(acceleration, "acceleration", least=0)
    if memory and method == "newton":
        raise UsageError("acceleration is for alternating projections")
    N = G.shape[0]
    w = _weights(weights, N, labels)
    held = _fixed(fixed, G, labels, eigenvalue_floor)
    if N == 1:
        return labelled(np.ones((1, 1)), labels)
    d = np.sqrt(w / w.mean())
    scale = np.outer(d, d)
    C = G * scale
    b = d**2 * (1.0 - eigenvalue_floor)
    np.fill_diagonal(C, b)
    pairs = np.array(np.nonzero(np.tril(held, -1)))
    facts = tuple(_fact(labels, G, int(i), int(j)) for i, j in pairs.T)
    target = Target(C=C, diagonal=b, pairs=pairs, facts=facts)
    if method == "newton":
        Z = newton(target, tolerance)
    else:
        Z = alternating_projections(target, tolerance, memory)
    X = Z / scale
    X = np.where(held, G, X)
    np.fill_diagonal(X, 1.0)
    return labelled(X, labels)


def floor_eigenvalues(R: np.ndarray, floor: float = 1e-8) -> np.ndarray:
    """Raise small eigenvalues to ``floor`` and rescale to a unit diagonal.

    A repair for nearly singular matrices, not a projection: clipping alone is not the
    nearest matrix.

    Parameters
    ----------
    R : (N, N) float64
        Symmetric, unit diagonal.
    floor : float, default 1e-8
        Far above rounding, far below any eigenvalue that a history can show.

    Returns
    -------
    (N, N) float64
    """
    values, vectors = np.linalg.eigh(R)
    if values[0] >= floor:
        return R
    X = (vectors * np.maximum(values, floor)) @ vectors.T
    scale = 1.0 / np.sqrt(np.diagonal(X))
    X *= np.outer(scale, scale)
    X = 0.5 * (X + X.T)
    np.fill_diagonal(X, 1.0)
    return X


def _symmetric(A: Any, labels: Any) -> np.ndarray:
    if labels is not None and list(A.index) != list(labels):
        raise DataError(
            "the rows and columns of a correlation matrix carry different labels",
            fix="Reorder one by the other.",
        )
    try:
        G = np.array(A, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the matrix is not numeric: {error}") from error
    if G.ndim != 2 or G.shape[0] != G.shape[1] or not G.size:
        raise DataError("a correlation matrix is square", received=f"shape {G.shape}")
    if not np.isfinite(G).all():
        i, j = (int(v) for v in np.argwhere(~np.isfinite(G))[0])
        raise DataError(
            "the matrix holds NaN or infinity",
            asset=None if labels is None else _pair(labels, i, j),
            received=f"{G[i, j]} at ({i}, {j})",
        )
    with np.errstate(over="ignore"):
        asymmetry = np.abs(G - G.T)
    if asymmetry.max() > 1e-8 * max(1.0, np.abs(G).max()):
        i, j = (int(v) for v in np.unravel_index(asymmetry.argmax(), G.shape))
        raise DataError(
            "the matrix is not symmetric",
            received=f"{G[i, j]} at ({i}, {j}) and {G[j, i]} at ({j}, {i})",
        )
    np.fill_diagonal(G, 1.0)
    G = 0.5 * (G + G.T)
    if np.abs(G).max() > _LARGEST:
        i, j = (int(v) for v in np.unravel_index(np.abs(G).argmax(), G.shape))
        raise DataError(
            "an entry is far beyond any correlation",
            asset=_pair(labels, i, j),
            received=G[i, j],
            expected=f"at most {_LARGEST:.0e}",
            fix="Divide a covariance by its volatilities first.",
        )
    return G


def _weights(weights: Any, N: int, labels: Any) -> np.ndarray:
    if weights is None:
        return np.ones(N)
    own = asset_labels(weights)
    if own is not None and labels is not None and list(own) != list(labels):
        raise DataError(
            "the weights carry other labels than the matrix",
            fix="Reorder them to the columns.",
        )
    try:
        w = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"weights are not numeric: {error}") from error
    if w.shape != (N,):
        raise DataError(
            "weights do not match the matrix",
            received=f"shape {w.shape}",
            expected=f"({N},), one per asset",
        )
    bad = ~((w > 0) & np.isfinite(w))
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            "a weight must be positive and finite",
            asset=column_name(labels, i),
            received=w[i],
        )
    if w.max() > 1e8 * w.min():
        raise DataError(
            "the weights are too far apart for double precision",
            received=f"from {w.min():.3g} to {w.max():.3g}",
            expected="a ratio of at most 1e8",
            fix="Hold what must not move with fixed=.",
        )
    return w


def _fixed(fixed: Any, G: np.ndarray, labels: Any, floor: float) -> np.ndarray:
    """Symmetric mask (N, N) of the entries kept, off the diagonal."""
    if fixed is None:
        return np.zeros(G.shape, dtype=bool)
    own = getattr(fixed, "columns", None)
    if (
        own is not None
        and labels is not None
        and not (list(own) == list(labels) == list(fixed.index))
    ):
        raise DataError(
            "the mask of fixed entries carries other labels than the matrix",
            fix="Reorder its rows and columns.",
        )
    mask = np.asarray(fixed)
    if mask.dtype != np.bool_ or mask.shape != G.shape:
        raise DataError(
            "fixed must be a mask of the shape of the matrix",
            received=f"{mask.dtype} of shape {mask.shape}",
            expected=f"bool of shape {G.shape}",
        )
    if (mask != mask.T).any():
        i, j = (int(v) for v in np.argwhere(mask != mask.T)[0])
        raise DataError(
            "the mask of fixed entries is not symmetric",
            received=f"{mask[i, j]} at ({i}, {j}) and {mask[j, i]} at ({j}, {i})",
        )
    mask = mask.copy()
    np.fill_diagonal(mask, False)
    beyond = mask & (np.abs(G) > 1.0 - floor)
    if beyond.any():
        i, j = (int(v) for v in np.argwhere(beyond)[0])
        raise InfeasibleError(
            "no correlation matrix has this fixed entry",
            conflict=(_fact(labels, G, i, j),),
            asset=_pair(labels, i, j),
            received=G[i, j],
            expected=f"at most 1 - eigenvalue_floor = {1.0 - floor:.10g} in size",
            fix="Free it, or lower eigenvalue_floor.",
        )
    return mask


def _pair(labels: Any, i: int, j: int) -> str:
    return f"{column_name(labels, i)} and {column_name(labels, j)}"


def _fact(labels: Any, G: np.ndarray, i: int, j: int) -> str:
    return f"{_pair(labels, i, j)} = {G[i, j]:.6g}"
