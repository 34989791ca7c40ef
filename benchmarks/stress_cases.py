"""Cases of stress: many books under many shocks, worst case, KL ball."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case, Thunk
from benchmarks.models import factor_model


def _books(B: int, N: int, S: int, M: int, n_jobs: int = 1) -> dict[str, Thunk]:
    from engine import simulate, stress_books
    from engine.shocks import worst_case

    model = factor_model(N, 5)
    scenarios = simulate(model, S, horizon=1, seed=1)
    W = np.random.default_rng(1).dirichlet(np.ones(N + 1), B)
    shocks = [worst_case(model, W[0], radius=1.0 + i, name=f"s{i}") for i in range(M)]
    x = [s.moves(scenarios.universe).central for s in shocks]
    R, tail = scenarios.returns, S - int(np.ceil(0.95 * S))

    def numpy_loop():
        out = np.empty((B, M))
        for k in range(M):
            losses = -(((1.0 + R) * (1.0 + x[k]) - 1.0) @ W.T)
            top = np.partition(losses, S - tail, axis=0)[S - tail :]
            out[:, k] = top.mean(axis=0)
        return out

    def product():
        """Only the products: no mean, no tail."""
        for k in range(M):
            for start in range(0, B, 600):
                np.matmul(W[start : start + 600] * (1.0 + x[k]), R.T)

    return {
        "ours": lambda: (
            stress_books(W, scenarios, shocks, n_jobs=n_jobs).expected_shortfall
        ),
        "NumPy, shock by shock": numpy_loop,
        "limit": product,
    }


def _worst(N: int, K: int) -> dict[str, Thunk]:
    from engine.shocks import worst_case

    model = factor_model(N, K)
    w = np.append(np.full(N, 1.0 / N), 0.0)
    C, k = model.covariance.dense(), 4.0

    def dense():
        s = np.sqrt(w[:-1] @ C @ w[:-1])
        z = w[:-1] @ model.covariance.sampling_factor()[0]
        return k * np.linalg.norm(z) + 0.0 * s

    return {
        "ours": lambda: worst_case(model, w, radius=k).loss,
        "NumPy, dense product": dense,
    }


CASES = (
    Case(
        "stress of many books under many shocks",
        {
            "small": {"B": 7, "N": 12, "S": 400, "M": 3},
            "1000 x 500 x 10^4 x 20": {"B": 1000, "N": 500, "S": 10_000, "M": 20},
        },
        _books,
        threads="all",
    ),
    Case(
        "worst case on systematic factors",
        {"small": {"N": 20, "K": 3}, "N 2000": {"N": 2000, "K": 20}},
        _worst,
    ),
)
