"""Cases of factor models and of weights on evidence, against their peers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, returns


def _factors(T: int, N: int, K: int, seed: int = 4) -> np.ndarray:
    """Returns with K factors, (T, N)."""
    rng = np.random.default_rng(seed)
    B = 0.01 * rng.normal(size=(N, K))
    return rng.normal(size=(T, K)) @ B.T + returns(T, N, seed)


def _principal_components(T: int, N: int, K: int) -> dict[str, Thunk]:
    from scipy.linalg import blas
    from sklearn.decomposition import PCA

    from engine.covariance import factor

    X = _factors(T, N, K)
    short = np.asfortranarray(X - X.mean(axis=0))
    short = short if N <= T else np.asfortranarray(short.T)

    def from_components(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
        systematic = (vectors.T * values) @ vectors
        own = X.var(axis=0, ddof=1) - np.diagonal(systematic)
        return systematic + np.diag(own)

    def peer():
        fitted: Any = PCA(K, svd_solver="full").fit(X)
        return from_components(fitted.components_, fitted.explained_variance_)

    def svd():
        _, s, V = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
        return from_components(V[:K], s[:K] ** 2 / (T - 1))

    return {
        "ours": lambda: factor(X, K, specific_floor=0.0).dense(),
        "scikit-learn PCA": peer,
        "numpy.linalg.svd": svd,
        "limit": lambda: blas.dsyrk(1.0, short, trans=1),
    }


def _maximum_likelihood(T: int, N: int, K: int) -> dict[str, Thunk]:
    from sklearn.decomposition import FactorAnalysis

    from engine.covariance import factor

    X = _factors(T, N, K)

    def peer():
        # Its default tolerance of 1e-2 stops before the third digit.
        fitted = FactorAnalysis(K, tol=1e-8, max_iter=20_000, svd_method="lapack")
        return fitted.fit(X).get_covariance()

    return {
        "ours": lambda: factor(X, K, method="maximum_likelihood", ddof=0).dense(),
        "scikit-learn FactorAnalysis": peer,
    }


def _evidence(M: int, K: int) -> dict[str, Thunk]:
    import cvxpy as cp

    from engine.covariance import evidence_weights

    rng = np.random.default_rng(6)
    C = np.exp(0.3 * rng.normal(size=(M, K)) + 0.3 * rng.normal(size=K))
    A = rng.normal(size=(M, K)) * np.exp(0.3 * rng.normal(size=K))

    def value(w: np.ndarray) -> float:
        w = np.maximum(w, 0.0) / np.maximum(w, 0.0).sum()
        return float(np.log(C @ w).mean() - 0.5 * ((A @ w) ** 2).sum() / M)

    def textbook():
        w = cp.Variable(K, nonneg=True)
        root = np.linalg.cholesky(A.T @ A / M)
        goal = cp.sum(cp.log(C @ w)) / M - 0.5 * cp.sum_squares(root.T @ w)
        limits: list[Any] = [cp.sum(w) == 1]
        cp.Problem(cp.Maximize(goal), limits).solve(solver="CLARABEL")
        return value(np.asarray(w.value))

    return {
        "ours": lambda: value(evidence_weights(C, A)),
        "cvxpy (Clarabel)": textbook,
    }


CASES = (
    Case(
        "factor model, principal components",
        {
            "small": {"T": 60, "N": 12, "K": 2},
            "T 2520, N 500": {"T": 2520, "N": 500, "K": 10},
            "T 252, N 2000": {"T": 252, "N": 2000, "K": 10},
        },
        _principal_components,
        1e-8,
    ),
    Case(
        "factor model, maximum likelihood",
        {
            "small": {"T": 200, "N": 12, "K": 2},
            "T 2520, N 500": {"T": 2520, "N": 500, "K": 5},
        },
        _maximum_likelihood,
        1e-5,
    ),
    Case(
        "weights of a combined forecast",
        {"small": {"M": 60, "K": 3}, "600 x 5": {"M": 600, "K": 5}},
        _evidence,
        1e-6,
    ),
)
