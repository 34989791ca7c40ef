"""Cases of risk measures and contributions against their peers."""

from __future__ import annotations

import warnings

import numpy as np

from benchmarks.case import Case, Thunk, returns


def _entropic(T: int) -> dict[str, Thunk]:
    from riskfolio.src.RiskFunctions import EVaR_Hist

    from engine.risk import entropic_value_at_risk

    x = returns(T, 1)[:, 0]

    def peer():
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            return EVaR_Hist(x, alpha=0.05)[0]

    return {
        "ours": lambda: entropic_value_at_risk(-x, level=0.95),
        "riskfolio": peer,
    }


def _drawdown(T: int) -> dict[str, Thunk]:
    from riskfolio.src.RiskFunctions import CDaR_Rel

    from engine.risk import conditional_drawdown_at_risk

    x = returns(T, 1)[:, 0]
    return {
        "ours": lambda: conditional_drawdown_at_risk(x, level=0.95),
        "riskfolio": lambda: CDaR_Rel(x, alpha=0.05),
    }


def _contributions(S: int, N: int) -> dict[str, Thunk]:
    from engine.data.universe import Universe
    from engine.risk import contributions
    from engine.scenarios import ScenarioSet

    assets = tuple(f"A{i}" for i in range(N))
    R = np.maximum(returns(S, N), -0.9)
    w = np.full(N, 1.0 / N)
    scenarios = ScenarioSet(
        assets=assets,
        returns=R,
        p=np.full(S, 1.0 / S),
        horizon=1,
        universe=Universe(assets),
        base_currency="USD",
        periods_per_year=252.0,
    )

    def sort_and_loop():
        losses = -(R @ w)
        worst = np.argsort(losses)[::-1]
        left, out = 0.05, np.zeros(N)
        for s in worst:
            take = min(left, 1.0 / S)
            out -= take * R[s] * w
            left -= take
            if left <= 1e-15:
                return out / 0.05
        return out

    return {
        "ours": lambda: contributions(scenarios, w, level=0.95).values,
        "NumPy sort and loop": sort_and_loop,
        "limit": lambda: R @ w,
    }


def _weighted_tail(S: int) -> dict[str, Thunk]:
    from engine.risk import tail

    rng = np.random.default_rng(2)
    losses = rng.standard_t(4, size=S)
    p = rng.exponential(size=S)
    p /= p.sum()

    def sort():
        order = np.argsort(losses)
        x, q = losses[order], p[order]
        reached = np.cumsum(q)
        k = int(np.searchsorted(reached, 0.95))
        beyond = q[k + 1 :]
        rest = 0.05 - beyond.sum()
        return np.array([x[k], (beyond @ x[k + 1 :] + rest * x[k]) / 0.05])

    return {
        "ours": lambda: np.array(tail(losses, level=0.95, p=p)),
        "NumPy sort": sort,
        "limit": lambda: np.partition(losses, S - S // 20),
    }


CASES = (
    Case(
        "entropic value at risk",
        {"small": {"T": 300}, "T 2520": {"T": 2520}, "T 10^5": {"T": 100_000}},
        _entropic,
        1e-6,
    ),
    Case(
        "conditional drawdown at risk",
        {"small": {"T": 300}, "T 2520": {"T": 2520}, "T 10^5": {"T": 100_000}},
        _drawdown,
        1e-9,
    ),
    Case(
        "contributions to expected shortfall, with errors",
        {
            "small": {"S": 500, "N": 4},
            "S 10^5, N 50": {"S": 100_000, "N": 50},
            "S 10^5, N 500": {"S": 100_000, "N": 500},
        },
        _contributions,
        1e-9,
    ),
    Case(
        "VaR and ES of one weighted vector",
        {"small": {"S": 2000}, "10^6": {"S": 1_000_000}},
        _weighted_tail,
        1e-9,
    ),
)
