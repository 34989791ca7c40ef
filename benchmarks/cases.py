"""The table of cases: the same work by us, by peers, and by the limit.

A case builds its inputs for a size, lists candidates by name, and says how close their
answers must be. ``ours`` is always there; ``limit`` is the least work that any
implementation must do (one BLAS call, one pass over memory), without an answer.
"""

from __future__ import annotations

import numpy as np

from benchmarks import montecarlo_cases, portfolio_cases
from benchmarks.case import Case, Thunk, returns


def _sample(T: int, N: int) -> dict[str, Thunk]:
    from scipy.linalg import blas

    from engine.covariance import sample

    X = returns(T, N)
    centred = np.ascontiguousarray(X - X.mean(axis=0))
    return {
        "ours": lambda: sample(X),
        "numpy.cov": lambda: np.cov(X.T),
        "limit": lambda: blas.dsyrk(1.0 / (T - 1), centred.T, lower=0),
    }


def _ewma(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.covariance import ewma

    X = returns(T, N)
    weights = 0.94 ** np.arange(T - 1, -1, -1.0)
    weights /= weights.sum()
    frame = pd.DataFrame(X)

    def pandas_last():
        # pandas centres; the uncentred moment is its covariance plus the mean's square.
        last = frame.ewm(alpha=0.06).cov(bias=True).iloc[-N:].to_numpy()
        m = frame.ewm(alpha=0.06).mean().iloc[-1].to_numpy()
        return last + np.outer(m, m)

    candidates: dict[str, Thunk] = {
        "ours": lambda: ewma(X),
        "weighted product": lambda: (X * weights[:, None]).T @ X,
    }
    if N <= 20:  # pandas takes seconds beyond
        candidates["pandas.ewm"] = pandas_last
    return candidates


def _ledoit_wolf(T: int, N: int) -> dict[str, Thunk]:
    from scipy.linalg import blas
    from sklearn.covariance import ledoit_wolf as peer

    from engine.covariance import ledoit_wolf

    X = returns(T, N)
    return {
        "ours": lambda: ledoit_wolf(X),
        "scikit-learn": lambda: peer(X)[0],
        "limit": lambda: blas.dsyrk(1.0, X.T, lower=0),
    }


def _nearest(N: int) -> dict[str, Thunk]:
    from engine.covariance import nearest_correlation

    rng = np.random.default_rng(3)
    A = np.corrcoef(returns(4 * N, N).T)
    noise = rng.uniform(-0.35, 0.35, size=(N, N))
    A = np.clip(A + np.triu(noise, 1) + np.triu(noise, 1).T, -1.0, 1.0)
    np.fill_diagonal(A, 1.0)
    return {
        "ours": lambda: nearest_correlation(A, eigenvalue_floor=0.0),
        "Higham 2002": lambda: alternating_projections(A),
        "limit": lambda: np.linalg.eigh(A),
    }


def alternating_projections(A: np.ndarray, tolerance: float = 1e-11) -> np.ndarray:
    """Nearest correlation by Higham's projections with Dykstra's correction (2002)."""
    Y, correction = A.copy(), np.zeros_like(A)
    for _ in range(20_000):
        R = Y - correction
        values, vectors = np.linalg.eigh(R)
        X = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = X - R
        new = X.copy()
        np.fill_diagonal(new, 1.0)
        if np.linalg.norm(new - Y) <= tolerance * np.linalg.norm(new):
            return new
        Y = new
    raise RuntimeError("alternating projections did not converge")


CASES = (
    Case(
        "sample covariance",
        {
            "small": {"T": 60, "N": 8},
            "T 2520, N 100": {"T": 2520, "N": 100},
            "T 2520, N 500": {"T": 2520, "N": 500},
        },
        _sample,
    ),
    Case(
        "EWMA covariance, last matrix",
        {
            "small": {"T": 120, "N": 6},
            "T 2520, N 100": {"T": 2520, "N": 100},
        },
        _ewma,
        1e-9,
    ),
    Case(
        "Ledoit-Wolf, identity target",
        {
            "small": {"T": 60, "N": 8},
            "T 2520, N 500": {"T": 2520, "N": 500},
        },
        _ledoit_wolf,
    ),
    Case(
        "nearest correlation",
        {"small": {"N": 12}, "N 100": {"N": 100}},
        _nearest,
        1e-6,
    ),
    *montecarlo_cases.CASES,
    *portfolio_cases.CASES,
)
