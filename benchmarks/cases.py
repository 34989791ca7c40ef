"""The table of cases: the same work by us, by peers, and by the limit.

A case builds its inputs for a size, lists candidates by name, and says how close their
answers must be. ``ours`` is always there; ``limit`` is the least work that any
implementation must do (one BLAS call, one pass over memory), without an answer.
"""

from __future__ import annotations

import numpy as np

from benchmarks import (
    covariance_cases,
    data_cases,
    scoring_cases,
    simulation_cases,
)
from benchmarks.case import Case, Thunk, returns
from benchmarks.montecarlo_cases import CASES as MONTE_CARLO
from benchmarks.portfolio_cases import CASES as PORTFOLIO


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
    *covariance_cases.CASES,
    Case(
        "nearest correlation",
        {"small": {"N": 12}, "N 100": {"N": 100}},
        _nearest,
        1e-6,
    ),
    *data_cases.CASES,
    *scoring_cases.CASES,
    *simulation_cases.CASES,
    *MONTE_CARLO,
    *PORTFOLIO,
)
