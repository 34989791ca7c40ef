"""Random expected-shortfall problems with every feature, for all ways to solve them."""

import numpy as np
from hypothesis import strategies as st

from engine.optimize import ShortfallProblem


def market(S, N, seed=0):
    """Fat-tailed daily returns with a common factor."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(S, 1)) * 0.008
    return common + rng.standard_t(5, size=(S, N)) * np.linspace(0.006, 0.02, N)


@st.composite
def problems(draw, quadratic=True):
    """Problem that the equal book satisfies, each feature on or off."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    S, N = draw(st.integers(20, 150)), draw(st.integers(2, 8))
    R = market(S, N, seed=int(rng.integers(1 << 30)))
    # An expected shortfall below zero, or of many equal losses, is a case too.
    R = R + draw(st.sampled_from([0.0, 0.0, 0.05]))
    if draw(st.booleans()):
        R = R[rng.integers(0, max(1, S // 4), size=S)]
    equal = np.full(N, 1.0 / N)
    k: dict = {"level": draw(st.sampled_from([0.5, 0.9, 0.95, 0.99]))}
    if draw(st.booleans()):
        p = rng.dirichlet(np.ones(S)) * (rng.random(S) < 0.8)
        k["p"] = p / p.sum() if p.sum() > 0 else None
    k["shortfall_weight"] = draw(st.sampled_from([0.0, 0.3, 1.0, 5.0]))
    if draw(st.booleans()):
        k["linear"] = rng.normal(size=N) * 1e-3
    k["lower"] = draw(st.sampled_from([0.0, -0.5, 0.5 / N]))
    k["upper"] = draw(st.sampled_from([1.0, 1.5 / N]))
    if draw(st.booleans()):
        A = rng.normal(size=(2, N)) * np.array([[1.0], [1e6]])
        slack = rng.random(2) * 0.2 * np.abs(A).max(axis=1)
        k |= {"A_ub": A, "b_ub": A @ equal + slack, "row_names": ("one", "two")}
    if draw(st.booleans()):
        E = np.vstack([np.ones(N), rng.normal(size=N)])
        k |= {"A_eq": E, "b_eq": E @ equal, "equality_names": ("budget", "beta")}
    if draw(st.booleans()):
        k["current"] = 0.5 * equal + 0.5 * rng.dirichlet(np.ones(N))
        if draw(st.booleans()):
            k["turnover"] = 0.5 * np.abs(equal - k["current"]).sum() * 1.3 + 1e-3
        if draw(st.booleans()):
            k |= {"buy": rng.random(N) * 2e-3, "sell": rng.random(N) * 2e-3}
    if quadratic and draw(st.booleans()):
        k["root"] = rng.normal(size=(N, int(rng.integers(1, N + 1)))) * 0.01
        k["benchmark"] = equal
        kind = draw(st.sampled_from(["variance", "tracking", "both"]))
        if kind != "tracking":
            k["risk_aversion"] = draw(st.sampled_from([0.5, 20.0]))
        if kind != "variance":
            k["tracking_error"] = draw(st.sampled_from([5e-4, 5e-3]))
    return ShortfallProblem(R, **k)
