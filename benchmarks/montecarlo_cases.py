"""Cases of simulation and of risk measures on what was simulated."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case, Thunk, returns
from benchmarks.models import model_of


def _normals(n: int) -> dict[str, Thunk]:
    from engine.kernels.random import fill_normals

    out = np.empty(n)
    key = np.uint64(1), np.uint64(0)
    pcg, philox = np.random.default_rng(1), np.random.Generator(np.random.Philox(1))

    def ours():
        fill_normals(*key, np.uint64(0), out)
        return out

    return {
        "ours": ours,
        "NumPy PCG64": lambda: pcg.standard_normal(out=out),
        "NumPy Philox": lambda: philox.standard_normal(out=out),
        "limit": lambda: out.fill(0.0),
    }


def _monte_carlo(
    S: int, N: int, horizon: int, dof: float, n_jobs: int = 1
) -> dict[str, Thunk]:
    from engine.montecarlo import simulate

    X = returns(1000, N)
    C = np.cov(X.T)
    model = model_of(C, dof=dof)
    L = np.linalg.cholesky(C)
    rng = np.random.default_rng(1)

    def numpy_daily():
        growth = np.zeros((S, N))
        for _ in range(horizon):
            step = rng.standard_normal((S, N)) @ L.T
            if np.isfinite(dof):
                mixing = (dof - 2.0) / rng.chisquare(dof, size=(S, 1))
                step *= np.sqrt(mixing)
            growth += step
        return np.expm1(growth)

    def numpy_at_once():
        # The sum of the sessions is normal given the sum of their mixing variables.
        variance = np.full((S, 1), float(horizon))
        if np.isfinite(dof):
            mixing = (dof - 2.0) / rng.chisquare(dof, size=(S, horizon))
            variance = mixing.sum(axis=1, keepdims=True)
        growth = rng.standard_normal((S, N)) @ L.T
        growth *= np.sqrt(variance)
        return np.expm1(growth, out=growth)

    def ours():
        drawn = simulate(model, S, horizon=horizon, seed=1, n_jobs=n_jobs)
        return drawn.returns[:, :N]

    return {
        "ours": ours,
        "NumPy, day by day": numpy_daily,
        "NumPy, one draw": numpy_at_once,
    }


def _tail(S: int) -> dict[str, Thunk]:
    from engine.risk import tail

    losses = np.random.default_rng(2).standard_t(4, size=S)
    k = S - int(0.05 * S)

    def numpy_partition():
        part = np.partition(losses, k - 1)
        return np.array([part[k - 1], part[k:].mean()])

    p = np.full(S, 1.0 / S)
    return {
        "ours": lambda: np.array(tail(losses, level=0.95)),
        "ours, weighted": lambda: np.array(tail(losses, level=0.95, p=p)),
        "np.partition": numpy_partition,
    }


CASES = (
    Case(
        "standard normals",
        {"small": {"n": 64}, "16384": {"n": 1 << 14}},
        _normals,
        float("nan"),
    ),
    Case(
        "Gaussian scenarios over 21 sessions",
        {
            "small": {"S": 500, "N": 4, "horizon": 21, "dof": float("inf")},
            "102400 x N 50": {
                "S": 102_400,
                "N": 50,
                "horizon": 21,
                "dof": float("inf"),
            },
        },
        _monte_carlo,
        float("nan"),
        threads="all",
    ),
    Case(
        "Student-t scenarios over 21 sessions",
        {
            "small": {"S": 500, "N": 4, "horizon": 21, "dof": 5.0},
            "102400 x N 50": {"S": 102_400, "N": 50, "horizon": 21, "dof": 5.0},
        },
        _monte_carlo,
        float("nan"),
        threads="all",
    ),
    Case(
        "VaR and ES of one vector",
        {"small": {"S": 2000}, "10^6": {"S": 1_000_000}},
        _tail,
        1e-9,
    ),
)
