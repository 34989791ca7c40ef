"""Cases of the quadratic optimisers: risk budgets, mean-variance, the frontier."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, installed, returns


def _risk_budgeting(N: int) -> dict[str, Thunk]:
    """Equal contributions. Candidates answer with their weights."""
    import pandas as pd
    import skfolio.optimization as skfolio
    from skfolio import RiskMeasure

    from engine.optimize import risk_budgeting

    X = returns(2 * N + 100, N) * np.linspace(0.6, 1.6, N)
    C = np.cov(X.T)
    frame = pd.DataFrame(X)

    def from_skfolio():
        made = skfolio.RiskBudgeting(risk_measure=RiskMeasure.VARIANCE)
        return made.fit(X).weights_

    def from_riskfolio():
        import riskfolio

        book: Any = riskfolio.Portfolio(returns=frame)
        book.assets_stats(method_mu="hist", method_cov="hist")
        weights = book.rp_optimization(model="Classic", rm="MV", hist=True)
        if weights is None:
            raise RuntimeError("riskfolio-lib found no solution")
        return weights.to_numpy()[:, 0]

    w = risk_budgeting(C)
    shares = w * (C @ w)
    if np.abs(shares / shares.sum() * N - 1.0).max() > 1e-9:
        raise AssertionError("contributions are not equal")
    return {
        "ours": lambda: risk_budgeting(C),
        "skfolio": from_skfolio,
        "riskfolio-lib": from_riskfolio,
        "limit": lambda: [C @ w for _ in range(5)],
    }


def _market(N: int, K: int) -> tuple[Any, np.ndarray]:
    """Factor covariance and means of daily size."""
    from engine.covariance import FactorCovariance

    rng = np.random.default_rng(11)
    B = 0.01 * (rng.standard_normal((N, K)) / np.sqrt(K) + (np.arange(K) == 0))
    F = FactorCovariance(B, np.eye(K), rng.uniform(1e-4, 4e-4, N))
    return F, 3e-4 * rng.standard_normal(N)


def _mean_variance(N: int, K: int) -> dict[str, Thunk]:
    """Long only, with a factor covariance that dense candidates get as a matrix."""
    import cvxpy as cp

    from engine.optimize import mean_variance

    F, mu = _market(N, K)
    dense, gamma = F.dense(), 5.0
    A, s = F.sampling_factor()

    def goal(w: Any) -> float:
        w = np.asarray(w, dtype=np.float64)
        return float(gamma / 2 * F.quadratic(w) - mu @ w)

    def ours():
        solved = mean_variance(mu, F, risk_aversion=gamma)
        if not solved.gap < 1e-12:
            raise AssertionError(f"a gap of {solved.gap}")
        return goal(solved.weights)

    def factor_form():
        w, f = cp.Variable(N), cp.Variable(K)
        risk = cp.sum_squares(f) + cp.sum_squares(cp.multiply(s, w))
        # In units of 1e-4, so that its tolerances mean something.
        target = cp.Minimize(1e4 * (gamma / 2 * risk - mu @ w))
        limits: list[Any] = [f == A.T @ w, cp.sum(w) == 1, w >= 0]
        cp.Problem(target, limits).solve("CLARABEL")
        return goal(w.value)

    def matrix(solver: str, **options: Any):
        w = cp.Variable(N)
        risk = cp.quad_form(w, cp.psd_wrap(dense))
        target = cp.Minimize(1e4 * (gamma / 2 * risk - mu @ w))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limits: list[Any] = [cp.sum(w) == 1, w >= 0]
            cp.Problem(target, limits).solve(solver, **options)
        return goal(w.value)

    candidates: dict[str, Thunk] = {
        "ours": ours,
        "cvxpy, factors (Clarabel)": factor_form,
        "cvxpy, dense (Clarabel)": lambda: matrix("CLARABEL"),
        "cvxpy, dense (OSQP)": lambda: matrix(
            "OSQP", eps_abs=1e-7, eps_rel=1e-7, max_iter=100_000
        ),
        "limit": lambda: (A / s[:, None] ** 2).T @ A,
    }
    if installed("pypfopt"):
        from pypfopt import (  # pyright: ignore[reportMissingImports]
            EfficientFrontier,
        )

        def from_pypfopt():
            found = EfficientFrontier(1e4 * mu, 1e4 * dense, solver="CLARABEL")
            options: dict[str, Any] = {"risk_aversion": gamma}  # typed as an int there
            found.max_quadratic_utility(**options)
            return goal(found.weights)

        candidates["PyPortfolioOpt (Clarabel)"] = from_pypfopt
    return candidates


def _frontier(N: int, points: int) -> dict[str, Thunk]:
    """Least variance at evenly spaced means; candidates answer with volatilities."""
    import cvxpy as cp

    from engine.optimize import efficient_frontier

    F, mu = _market(N, min(20, N))
    dense = F.dense()
    targets = efficient_frontier(mu, dense, n_points=points).expected_returns
    room = 1e-9 * np.abs(mu).max()

    def volatility(w: Any) -> float:
        w = np.asarray(w, dtype=np.float64)
        return float(np.sqrt(w @ dense @ w))

    def rebuilt():
        out = []
        for target in targets:
            w = cp.Variable(N)
            risk = cp.quad_form(w, cp.psd_wrap(1e4 * dense))
            means = (1e4 * mu) @ w >= 1e4 * (target - room)
            limits: list[Any] = [cp.sum(w) == 1, w >= 0, means]
            problem = cp.Problem(cp.Minimize(risk), limits)
            problem.solve("CLARABEL")
            out.append(volatility(w.value))
        return np.array(out)

    L = np.linalg.cholesky(dense)
    w, level = cp.Variable(N), cp.Parameter()
    limits: list[Any] = [cp.sum(w) == 1, w >= 0, (1e4 * mu) @ w >= level]
    compiled = cp.Problem(cp.Minimize(1e4 * cp.sum_squares(L.T @ w)), limits)

    def parametric():
        out = []
        for target in targets:
            level.value = 1e4 * (target - room)
            compiled.solve("CLARABEL")
            out.append(volatility(w.value))
        return np.array(out)

    return {
        "ours": lambda: efficient_frontier(mu, dense, n_points=points).volatilities,
        "cvxpy, rebuilt (Clarabel)": rebuilt,
        "cvxpy, compiled once (Clarabel)": parametric,
    }


CASES = (
    Case(
        "risk budgeting",
        {"small": {"N": 8}, "N 100": {"N": 100}, "N 500": {"N": 500}},
        _risk_budgeting,
        2e-2,  # of a weight; both peers' contributions are off by 1e-5 to 1e-4
        apart=("riskfolio-lib",),
    ),
    Case(
        "mean-variance, factor covariance",
        {
            "small": {"N": 20, "K": 3},
            "N 500": {"N": 500, "K": 20},
            "N 2000": {"N": 2000, "K": 20},
        },
        _mean_variance,
        1e-4,  # of the objective; the solvers stop at their own tolerances
        optional={"PyPortfolioOpt (Clarabel)": "pypfopt"},
    ),
    Case(
        "efficient frontier",
        {
            "small": {"N": 10, "points": 5},
            "N 100, 50 points": {"N": 100, "points": 50},
            "N 500, 50 points": {"N": 500, "points": 50},
        },
        _frontier,
        1e-3,  # of a volatility
    ),
)
