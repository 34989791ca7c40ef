"""Cases of simulation: factor models, streamed books, a rebalanced book."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case, Thunk
from benchmarks.models import factor_model


def _factor(S: int, N: int, K: int, horizon: int) -> dict[str, Thunk]:
    from engine.montecarlo import simulate

    model = factor_model(N, K, "log")
    B, L = model.covariance.loadings, np.linalg.cholesky(model.covariance.dense())
    rng = np.random.default_rng(1)

    def dense():
        total = np.zeros((S, N))
        for _ in range(horizon):
            total += rng.standard_normal((S, N)) @ L.T
        return np.expm1(total)

    def factor():
        total = np.zeros((S, N))
        for _ in range(horizon):
            total += rng.standard_normal((S, K)) @ B.T
            total += 0.01 * rng.standard_normal((S, N))
        return np.expm1(total)

    return {
        "ours": lambda: simulate(model, S, horizon=horizon, seed=1).returns[:, :N],
        "NumPy, dense": dense,
        "NumPy, factors": factor,
    }


def _dense(S: int, N: int, K: int, horizon: int) -> dict[str, Thunk]:
    from dataclasses import replace

    from engine.montecarlo import simulate

    model = factor_model(N, K, "log")
    model = replace(model, covariance=model.covariance.dense())
    L = np.linalg.cholesky(model.covariance)
    rng = np.random.default_rng(1)

    def numpy_daily():
        total = np.zeros((S, N))
        for _ in range(horizon):
            total += rng.standard_normal((S, N)) @ L.T
        return np.expm1(total)

    return {
        "ours": lambda: simulate(model, S, horizon=horizon, seed=1).returns[:, :N],
        "NumPy, day by day": numpy_daily,
        "NumPy, one draw": lambda: np.expm1(
            np.sqrt(horizon) * (rng.standard_normal((S, N)) @ L.T)
        ),
    }


def _matrix(S: int, N: int, K: int) -> dict[str, Thunk]:
    from engine.montecarlo import simulate

    model = factor_model(N, K, "log")
    B = model.covariance.loadings
    rng = np.random.default_rng(1)

    def numpy_factor():
        total = rng.standard_normal((S, K)) @ B.T
        total += 0.01 * rng.standard_normal((S, N))
        return np.expm1(total, out=total)

    return {
        "ours": lambda: simulate(model, S, horizon=1, seed=1).returns[:, :N],
        "ours, 2 workers": lambda: simulate(
            model, S, horizon=1, seed=1, n_jobs=2
        ).returns[:, :N],
        "NumPy, factors": numpy_factor,
        "limit": lambda: np.empty((S, N + 1)).fill(0.0),
    }


def _book(S: int, horizon: int) -> dict[str, Thunk]:
    from engine.montecarlo import rebalanced_book

    N = 20
    model = factor_model(N, 2, "simple")
    w = np.append(np.full(N, 1.0 / N), 0.0)
    deviation = float(np.sqrt(w[:-1] @ (model.covariance @ w[:-1])))
    rng = np.random.default_rng(1)

    def numpy_law():
        value = np.ones(S)
        for _ in range(horizon):
            value *= 1.0 + deviation * rng.standard_normal(S)
        return 1.0 - value

    return {
        "ours": lambda: rebalanced_book(model, S, weights=w, horizon=horizon, seed=1),
        "ours, 2 workers": lambda: rebalanced_book(
            model, S, weights=w, horizon=horizon, seed=1, n_jobs=2
        ),
        "NumPy": numpy_law,
    }


CASES = (
    Case(
        "factor model scenarios over 21 sessions",
        {
            "small": {"S": 1500, "N": 6, "K": 2, "horizon": 21},
            "20480 x N 500": {"S": 20_480, "N": 500, "K": 20, "horizon": 21},
        },
        _factor,
        float("nan"),
    ),
    Case(
        "dense model scenarios over 21 sessions",
        {
            "small": {"S": 1500, "N": 6, "K": 2, "horizon": 21},
            "20480 x N 500": {"S": 20_480, "N": 500, "K": 20, "horizon": 21},
        },
        _dense,
        float("nan"),
    ),
    Case(
        "full scenario matrix of a factor model",
        {
            "small": {"S": 1500, "N": 6, "K": 2},
            "100000 x N 500": {"S": 100_000, "N": 500, "K": 20},
        },
        _matrix,
        float("nan"),
    ),
    Case(
        "own law of a daily-rebalanced book",
        {
            "small": {"S": 3000, "horizon": 21},
            "10^6": {"S": 1_000_000, "horizon": 21},
        },
        _book,
        float("nan"),
    ),
)
