"""Limits in whole numbers, against every choice of names there is."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from proposal_cases import FREE, Fixed, book, random_set

from engine import Constraints, Costs, InfeasibleError, StressCap, propose

N = 8
W0 = np.array([0.16, 0.14, 0.13, 0.12, 0.12, 0.11, 0.10, 0.10, 0.02])
SCENARIOS = random_set(4, S=300, n=N)
COSTS = Costs(half_spread_bps={f"A{i}": 5.0 + 3.0 * i for i in range(N)})
SHOCK = Fixed(np.append(-0.05 * np.arange(N), 0.0))
CAP = StressCap(SHOCK, 0.14, quantile="central")
OPTIONS = {"minimum_trade": 0.0, "cash": (0.0, 0.05)}


def solve(objective="cost_and_active_risk", w0=W0, costs=COSTS, gap=1e-4, **limits):
    return propose(
        book(w0), SCENARIOS, Constraints(**(OPTIONS | limits)), costs,
        objective=objective, gap=gap,
    )  # fmt: skip


def objective_of(proposal, objective):
    """The figure that was minimised, recomputed from the proposal alone."""
    if objective == "minimum_cost":
        return proposal.cost
    R = SCENARIOS.returns
    C = np.cov(R.T, ddof=0) * 252 / 21
    x = proposal.target - (proposal.current if objective.startswith("cost") else 0.0)
    return proposal.cost + float(x @ C @ x) * (1 - proposal.cost) ** 2


def names_of(proposal):
    return int((np.abs(proposal.target[:-1]) > 1e-9).sum())


def enumerate_names(k, objective, **limits):
    """Best over all supports of k names; the rest is fixed at zero by its bound."""
    best = np.inf
    for size in range(1, k + 1):
        for chosen in combinations(range(N), size):
            out = {f"A{i}": 0.0 for i in range(N) if i not in chosen}
            try:
                got = solve(objective, upper={"default": 1.0} | out, **limits)
            except InfeasibleError:
                continue
            best = min(best, objective_of(got, objective))
    return best


@pytest.mark.parametrize(
    ("objective", "k", "limits"),
    [
        ("cost_and_active_risk", 3, {}),
        ("cost_and_active_risk", 2, {"stress_caps": CAP}),
        ("minimum_cost", 3, {"stress_caps": CAP}),
        ("minimum_variance", 3, {"turnover": 0.8}),
        ("cost_and_active_risk", 2, {"es_cap": 0.065}),
    ],
)
def test_the_best_of_all_choices_of_names(objective, k, limits):
    got = solve(objective, max_names=k, **limits)
    assert names_of(got) <= k
    best = enumerate_names(k, objective, **limits)
    assert objective_of(got, objective) == pytest.approx(best, rel=2e-3, abs=1e-7)
    assert all(c.satisfied for c in got.limits)
    note = next(n for n in got.notes if "names chosen" in n)
    assert "continuous problem, fixed support" in note
    assert any("choices of names" in line for line in got.solve_path)
    check = next(c for c in got.limits if c.name == "names")
    assert (check.after, check.limit) == (names_of(got), k)
