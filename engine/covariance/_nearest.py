"""Nearest correlation matrix: semismooth Newton, and the eigenvalue floor after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.covariance._check import labelled
from engine.errors import DataError, SolverError


def nearest_correlation(
    A: Any, *, tolerance: float = 1e-10, eigenvalue_floor: float = 1e-8
) -> Any:
    """Nearest correlation matrix in the Frobenius norm.

    Solves ``min ||X - A||_F`` over positive semi-definite X with unit diagonal by
    Newton's method on the dual (Qi and Sun 2006, SIAM J. Matrix Anal. Appl. 28): the
    dual gradient is ``diag((A + Diag(y))_+) - 1``, and the Newton system is solved by
    conjugate gradients with the exact generalised Jacobian. Higham's alternating
    projections (2002) converge to the same matrix, linearly; the tests compare both.

    Parameters
    ----------
    A : (N, N) array_like or DataFrame
        Any symmetric finite matrix; it is not rescaled first. Its diagonal may differ
        from one: the diagonal of the result does not depend on it.
    tolerance : float, default 1e-10
        Largest departure of the diagonal from one, relative to sqrt(N), before the
        final rescaling.
    eigenvalue_floor : float, default 1e-8
        Eigenvalues are raised to at least this and the diagonal rescaled to one, so
        that a Cholesky factor exists. 0 keeps the exact projection.

    Returns
    -------
    (N, N) array or DataFrame
        Symmetric, unit diagonal, smallest eigenvalue at least about the floor.

    Raises
    ------
    DataError
        Not square, not symmetric, or not finite.
    SolverError
        No convergence, which the theory excludes but rounding may not.
    """
    labels = getattr(A, "columns", None)
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
        raise DataError(
            "the matrix holds NaN or infinity",
            received=f"at {tuple(int(v) for v in np.argwhere(~np.isfinite(G))[0])}",
        )
    asymmetry = np.abs(G - G.T)
    if asymmetry.max() > 1e-8 * max(1.0, np.abs(G).max()):
        i, j = (int(v) for v in np.unravel_index(asymmetry.argmax(), G.shape))
        raise DataError(
            "the matrix is not symmetric",
            received=f"{G[i, j]} at ({i}, {j}) and {G[j, i]} at ({j}, {i})",
        )
    G = 0.5 * (G + G.T)
    N = G.shape[0]
    if N == 1:
        return labelled(np.ones((1, 1)), labels)
    X = _newton(G, tolerance)
    if eigenvalue_floor > 0:
        X = floor_eigenvalues(X, eigenvalue_floor)
    return labelled(X, labels)


def floor_eigenvalues(R: np.ndarray, floor: float = 1e-8) -> np.ndarray:
    """Raise small eigenvalues to ``floor`` and rescale to a unit diagonal.

    A repair for nearly singular matrices, not a projection: clipping alone is not the
    nearest matrix.
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


def _newton(G: np.ndarray, tolerance: float) -> np.ndarray:
    N = G.shape[0]
    y = 1.0 - np.diagonal(G).copy()
    values, vectors = np.linalg.eigh(G + np.diag(y))
    objective = 0.5 * float((np.maximum(values, 0.0) ** 2).sum()) - float(y.sum())
    for _ in range(200):
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        gradient = (root**2).sum(axis=1) - 1.0
        if np.linalg.norm(gradient) <= tolerance * np.sqrt(N):
            break
        step = _newton_step(values, vectors, -gradient)
        slope = float(gradient @ step)
        if slope >= 0:
            step, slope = -gradient, -float(gradient @ gradient)
        length = 1.0
        while True:
            trial = y + length * step
            new_values, new_vectors = np.linalg.eigh(G + np.diag(trial))
            new_objective = 0.5 * float(
                (np.maximum(new_values, 0.0) ** 2).sum()
            ) - float(trial.sum())
            # The slack is the rounding error of the objective itself.
            slack = 1e-15 * max(1.0, abs(objective)) * N
            if new_objective <= objective + 1e-4 * length * slope + slack:
                break
            length *= 0.5
            if length < 1e-12:
                raise SolverError(
                    "nearest correlation did not converge",
                    received=f"gradient norm {np.linalg.norm(gradient):.2e}",
                )
        y, values, vectors, objective = trial, new_values, new_vectors, new_objective
    else:
        raise SolverError("nearest correlation did not converge in 200 steps")
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    X = root @ root.T
    scale = 1.0 / np.sqrt(np.diagonal(X))
    X *= np.outer(scale, scale)
    X = 0.5 * (X + X.T)
    np.fill_diagonal(X, 1.0)
    return X


def _newton_step(values, vectors, rhs) -> np.ndarray:
    """Solve V d = rhs by conjugate gradients, V the generalised Jacobian of diag(X+).

    ``V d = diag(P (Omega o (P' Diag(d) P)) P')``, worked on the smaller of the two
    eigenvalue blocks.
    """
    positive = values > 0
    P1, P2 = vectors[:, positive], vectors[:, ~positive]
    w1, w2 = values[positive], values[~positive]
    omega = w1[:, None] / (w1[:, None] - w2[None, :])
    few_positive = w1.size <= w2.size
    squares = vectors**2

    def jacobian(d):
        cross = P1.T @ (d[:, None] * P2)
        if few_positive:
            H = P1.T @ (d[:, None] * P1)
            left = P1 @ H + 2.0 * (P2 @ (omega * cross).T)
            return (left * P1).sum(axis=1)
        # All ones minus the complement: 1 - omega on the cross block, 1 on negatives.
        H = P2.T @ (d[:, None] * P2)
        left = P2 @ H + 2.0 * (P1 @ ((1.0 - omega) * cross))
        return d - (left * P2).sum(axis=1)

    # Diagonal of the Jacobian as preconditioner.
    full = np.zeros((values.size, values.size))
    full[np.ix_(positive, positive)] = 1.0
    full[np.ix_(positive, ~positive)] = omega
    full[np.ix_(~positive, positive)] = omega.T
    diagonal = np.maximum(((squares @ full) * squares).sum(axis=1), 1e-8)
    target = min(0.1, float(np.linalg.norm(rhs))) * 1e-2
    d = np.zeros_like(rhs)
    r = rhs.copy()
    z = r / diagonal
    q = z.copy()
    rz = float(r @ z)
    stop = target * float(np.linalg.norm(rhs))
    for _ in range(200):
        Aq = jacobian(q) + 1e-12 * q
        alpha = rz / float(q @ Aq)
        d += alpha * q
        r -= alpha * Aq
        if np.linalg.norm(r) <= stop:
            break
        z = r / diagonal
        new = float(r @ z)
        q = z + (new / rz) * q
        rz = new
    return d
