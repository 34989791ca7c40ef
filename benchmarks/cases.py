"""The table of cases: the same work by us, by peers, and by the limit.

A case builds its inputs for a size, lists candidates by name, and says how close their
answers must be. ``ours`` is always there; ``limit`` is the least work that any
implementation must do (one BLAS call, one pass over memory), without an answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import sampling_cases
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


def _monte_carlo(S: int, N: int, horizon: int, dof: float) -> dict[str, Thunk]:
    from engine.data.universe import Universe
    from engine.model import ReturnModel
    from engine.montecarlo import simulate

    X = returns(1000, N)
    C = np.cov(X.T)
    assets = tuple(f"A{i}" for i in range(N))
    model = ReturnModel(
        assets=assets,
        mean=np.zeros(N),
        covariance=C,
        tail_dof=dof,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="given",
        universe=Universe(assets),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )
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

    return {
        "ours": lambda: simulate(model, S, horizon=horizon, seed=1).returns[:, :N],
        "NumPy, day by day": numpy_daily,
    }


def _tail(S: int) -> dict[str, Thunk]:
    from engine.risk import expected_shortfall, value_at_risk

    losses = np.random.default_rng(2).standard_t(4, size=S)
    k = S - int(0.05 * S)

    def numpy_partition():
        part = np.partition(losses, k - 1)
        return np.array([part[k - 1], part[k:].mean()])

    def ours():
        return np.array(
            [value_at_risk(losses, level=0.95), expected_shortfall(losses, level=0.95)]
        )

    return {"ours": ours, "np.partition": numpy_partition}


def _rebalance(T: int, N: int) -> dict[str, Thunk]:
    from backtests import simulate_weights

    prices = 100.0 * np.exp(np.cumsum(returns(T, N), axis=0))
    target = np.full(N, 1.0 / N)

    def numpy_loop():
        value, money = 1.0, np.zeros(N)
        path = np.empty(T)
        for t in range(T):
            if t:
                money = money * (prices[t] / prices[t - 1])
            value = money.sum() if t else 1.0
            after = value
            for _ in range(60):  # costs are paid from the book: fixed point
                after = value - 1e-3 * np.abs(target * after - money).sum()
            money, path[t] = target * after, after
        return path

    return {
        "ours": lambda: simulate_weights(prices, target, 1e-3).value,
        "NumPy loop": numpy_loop,
    }


def _proposal(S: int, N: int) -> dict[str, Thunk]:
    """Least cost and active risk under an ES cap: ours by cuts, textbook in cvxpy."""
    import cvxpy as cp

    from engine.constraints import Constraints
    from engine.costs import Costs
    from engine.data.portfolio import Portfolio
    from engine.data.universe import Universe
    from engine.optimize._propose import _risk_root, propose
    from engine.risk import expected_shortfall
    from engine.scenarios import ScenarioSet

    rng = np.random.default_rng(5)
    sigma = np.linspace(0.03, 0.12, N)
    R = (rng.standard_t(5, size=(S, 1)) * 0.6 + rng.standard_t(5, size=(S, N))) * sigma
    R = np.maximum(np.column_stack([R - R.mean(axis=0), np.zeros(S)]), -0.9)
    assets = (*(f"A{i}" for i in range(N)), "CASH:USD")
    scenarios = ScenarioSet(
        assets=assets,
        returns=R,
        p=np.full(S, 1.0 / S),
        horizon=21,
        universe=Universe(assets),
        base_currency="USD",
        periods_per_year=252.0,
    )
    w0 = np.append(sigma / sigma.sum() * 0.99, 0.01)
    book = Portfolio.from_weights(dict(zip(assets, w0, strict=True)), 1e6, "USD")
    cap = 0.7 * expected_shortfall(-(R @ w0), level=0.95)
    constraints = Constraints(es_cap=cap, minimum_trade=0.0)
    costs = Costs(5.0)
    root = _risk_root(scenarios)
    rates = costs.rates(assets)

    def objective(w: np.ndarray, cost: float) -> float:
        return cost + float(((root.T @ (w - w0)) ** 2).sum())

    def ours():
        made = propose(book, scenarios, constraints, costs)
        return objective(made.target, made.cost)

    def textbook():
        w, b, s = (
            cp.Variable(N + 1),
            cp.Variable(N + 1, nonneg=True),
            cp.Variable(N + 1, nonneg=True),
        )
        u, t, nav = cp.Variable(S, nonneg=True), cp.Variable(), cp.Variable()
        cost = rates @ (b + s)
        limits: list[Any] = [
            w - w0 == b - s,
            nav + cost == 1,
            cp.sum(w) == nav,
            w >= 0,
            w[-1] <= 0.02 * nav,
            u >= -R @ w - t,
            t + cp.sum(u) / (0.05 * S) <= cap * nav,
        ]
        goal = cp.Minimize(cost + cp.sum_squares(root.T @ (w - nav * w0)))
        cp.Problem(goal, limits).solve(solver="CLARABEL")
        after, left = np.asarray(w.value), float(np.asarray(nav.value))
        return objective(after / left, 1.0 - left)

    return {"ours": ours, "textbook in cvxpy (Clarabel)": textbook}


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
    Case("standard normals", {"small": {"n": 64}, "16384": {"n": 1 << 14}}, _normals,
         float("nan")),
    Case(
        "Gaussian scenarios over 21 sessions",
        {
            "small": {"S": 500, "N": 4, "horizon": 21, "dof": float("inf")},
            "102400 x N 50": {"S": 102_400, "N": 50, "horizon": 21,
                              "dof": float("inf")},
        },
        _monte_carlo,
        float("nan"),
    ),
    Case(
        "Student-t scenarios over 21 sessions",
        {
            "small": {"S": 500, "N": 4, "horizon": 21, "dof": 5.0},
            "102400 x N 50": {"S": 102_400, "N": 50, "horizon": 21, "dof": 5.0},
        },
        _monte_carlo,
        float("nan"),
    ),
    Case(
        "VaR and ES of one vector",
        {"small": {"S": 2000}, "10^6": {"S": 1_000_000}},
        _tail,
        1e-9,
    ),
    Case(
        "daily rebalance with costs",
        {"small": {"T": 40, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _rebalance,
        1e-9,
    ),
    Case(
        "proposal under an ES cap",
        {"small": {"S": 300, "N": 6}, "S 5000, N 50": {"S": 5000, "N": 50}},
        _proposal,
        1e-5,
    ),
    *sampling_cases.CASES,
)  # fmt: skip
