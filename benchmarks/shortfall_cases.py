"""Cases of minimum expected shortfall: one portfolio, shock caps, a walk-forward."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, returns

LEVEL = 0.95
PEERS_UP_TO = 5_000_000
"""Returns (S times N) beyond which the textbook form is stopped, or out of memory."""


def _market(S: int, N: int, seed: int = 1) -> np.ndarray:
    """Returns of assets from calm to wild, each with its own premium."""
    spread = np.linspace(0.6, 1.6, N)
    return returns(S, N, seed) * spread + 2e-4 * spread


def _shortfall(R: np.ndarray, w: Any) -> float:
    from engine.risk import expected_shortfall

    return expected_shortfall(-(R @ np.asarray(w, dtype=np.float64)), level=LEVEL)


def _textbook(R: np.ndarray) -> np.ndarray:
    """The program as users write it (Rockafellar and Uryasev 2000)."""
    import cvxpy as cp

    S, N = R.shape
    w, u, a = cp.Variable(N), cp.Variable(S, nonneg=True), cp.Variable()
    limits: list[Any] = [cp.sum(w) == 1, w >= 0, u >= -R @ w - a]
    goal = cp.Minimize(a + cp.sum(u) / ((1.0 - LEVEL) * S))
    cp.Problem(goal, limits).solve(solver="CLARABEL")
    return np.asarray(w.value, dtype=np.float64)


def _riskfolio(frame: Any) -> np.ndarray:
    import riskfolio

    book: Any = riskfolio.Portfolio(returns=frame, alpha=1.0 - LEVEL)
    book.assets_stats(method_mu="hist", method_cov="hist")
    weights = book.optimization(model="Classic", rm="CVaR", obj="MinRisk", hist=True)
    if weights is None:
        raise RuntimeError("riskfolio-lib found no solution")
    return weights.to_numpy()[:, 0]


def _skfolio(R: np.ndarray) -> np.ndarray:
    import skfolio.optimization as skfolio
    from skfolio import RiskMeasure

    least = skfolio.MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=LEVEL)
    return np.asarray(least.fit(R).weights_)


def _minimum(S: int, N: int) -> dict[str, Thunk]:
    """Long only, fully invested."""
    import pandas as pd

    from engine.optimize import ShortfallProblem, minimum_shortfall

    R = _market(S, N)
    problem = ShortfallProblem(R, level=LEVEL)
    frame = pd.DataFrame(R, columns=[f"A{i}" for i in range(N)])
    candidates: dict[str, Thunk] = {
        "ours": lambda: _shortfall(R, minimum_shortfall(problem).weights),
        "HiGHS on the dual": lambda: _shortfall(
            R, minimum_shortfall(problem, method="dual_linear").weights
        ),
    }
    if S * N <= PEERS_UP_TO:
        candidates |= {
            "textbook in cvxpy (Clarabel)": lambda: _shortfall(R, _textbook(R)),
            "riskfolio-lib": lambda: _shortfall(R, _riskfolio(frame)),
            "skfolio": lambda: _shortfall(R, _skfolio(R)),
        }
    return candidates


def _capped(S: int, N: int) -> dict[str, Thunk]:
    """Caps on the loss under five shocks, at what a bolder book would lose."""
    import cvxpy as cp

    from engine.optimize import ShortfallProblem, minimum_shortfall

    R = _market(S, N)
    rng = np.random.default_rng(7)
    # The calmest names, which a minimum holds, lose most.
    moves = -np.abs(rng.normal(size=(5, N))) * np.linspace(0.30, 0.05, N)
    bold = np.linspace(0.5, 1.5, N) / N
    caps = -moves @ bold
    upper = max(0.05, 4.0 / N)
    problem = ShortfallProblem(
        R,
        level=LEVEL,
        upper=upper,
        A_ub=-moves,
        b_ub=caps,
        row_names=tuple(f"shock {i}" for i in range(5)),
    )

    def textbook():
        w, u, a = cp.Variable(N), cp.Variable(S, nonneg=True), cp.Variable()
        limits: list[Any] = [
            cp.sum(w) == 1,
            w >= 0,
            w <= upper,
            u >= -R @ w - a,
            -moves @ w <= caps,
        ]
        goal = cp.Minimize(a + cp.sum(u) / ((1.0 - LEVEL) * S))
        cp.Problem(goal, limits).solve(solver="CLARABEL")
        return _shortfall(R, w.value)

    candidates: dict[str, Thunk] = {
        "ours": lambda: _shortfall(R, minimum_shortfall(problem).weights),
        "HiGHS on the dual": lambda: _shortfall(
            R, minimum_shortfall(problem, method="dual_linear").weights
        ),
    }
    if S * N <= PEERS_UP_TO:
        candidates["textbook in cvxpy (Clarabel)"] = textbook
    return candidates


def _walk_forward(solves: int, S: int, N: int) -> dict[str, Thunk]:
    """A window of S sessions, 21 sessions on at a time: the shortfall of each solve."""
    import pandas as pd

    from engine.optimize import ShortfallProblem, minimum_shortfall

    R = _market(S + 21 * solves, N)
    frame = pd.DataFrame(R, columns=[f"A{i}" for i in range(N)])
    starts = [21 * i for i in range(solves)]

    def walk(solve: Any):
        return lambda: np.array([_shortfall(R[t : t + S], solve(t)) for t in starts])

    def ours():
        found, w = [], None
        for t in starts:
            problem = ShortfallProblem(R[t : t + S], level=LEVEL)
            w = minimum_shortfall(problem, start=w).weights
            found.append(_shortfall(R[t : t + S], w))
        return np.array(found)

    def dual(t: int) -> np.ndarray:
        problem = ShortfallProblem(R[t : t + S], level=LEVEL)
        return minimum_shortfall(problem, method="dual_linear").weights

    return {
        "ours": ours,
        "HiGHS on the dual": walk(dual),
        "textbook in cvxpy (Clarabel)": walk(lambda t: _textbook(R[t : t + S])),
        "riskfolio-lib": walk(lambda t: _riskfolio(frame.iloc[t : t + S])),
        "skfolio": walk(lambda t: _skfolio(R[t : t + S])),
    }


PEERS = ("textbook in cvxpy (Clarabel)", "riskfolio-lib", "skfolio")
TOLERANCE = 1e-6

CASES = (
    Case(
        "minimum expected shortfall",
        {
            "small": {"S": 200, "N": 6},
            "S 1,000, N 50": {"S": 1_000, "N": 50},
            "S 10,000, N 100": {"S": 10_000, "N": 100},
            "S 10,000, N 500": {"S": 10_000, "N": 500},
            "S 50,000, N 100": {"S": 50_000, "N": 100},
            "S 50,000, N 500": {"S": 50_000, "N": 500},
        },
        _minimum,
        TOLERANCE,
        apart=("HiGHS on the dual", *PEERS),
    ),
    Case(
        "minimum expected shortfall with shock caps",
        {
            "small": {"S": 200, "N": 6},
            "S 10,000, N 100": {"S": 10_000, "N": 100},
            "S 100,000, N 500": {"S": 100_000, "N": 500},
        },
        _capped,
        TOLERANCE,
        apart=("HiGHS on the dual", PEERS[0]),
    ),
    Case(
        "monthly walk-forward, minimum expected shortfall",
        {
            "small": {"solves": 3, "S": 100, "N": 6},
            "108 solves, S 252, N 50": {"solves": 108, "S": 252, "N": 50},
        },
        _walk_forward,
        TOLERANCE,
        apart=("riskfolio-lib",),
    ),
)
