"""Cases of simulation: factor models, streamed books, a rebalanced book."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case, Thunk


def _model(N: int, K: int, kind: str):
    from engine.covariance import FactorCovariance
    from engine.data.universe import Universe
    from engine.model import ReturnModel

    rng = np.random.default_rng(3)
    covariance = FactorCovariance(
        0.005 * rng.standard_normal((N, K)) + 0.004, np.eye(K), np.full(N, 1e-4)
    )
    assets = tuple(f"A{i}" for i in range(N))
    return ReturnModel(
        assets=assets,
        mean=np.zeros(N),
        covariance=covariance,
        tail_dof=float("inf"),
        return_kind=kind,
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="given",
        universe=Universe(assets),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )


def _factor(S: int, N: int, K: int, horizon: int) -> dict[str, Thunk]:
    from engine.montecarlo import simulate

    model = _model(N, K, "log")
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


def _book(S: int, horizon: int) -> dict[str, Thunk]:
    from engine.montecarlo import rebalanced_book

    N = 20
    model = _model(N, 2, "simple")
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
        "own law of a daily-rebalanced book",
        {
            "small": {"S": 3000, "horizon": 21},
            "10^6": {"S": 1_000_000, "horizon": 21},
        },
        _book,
        float("nan"),
    ),
)
