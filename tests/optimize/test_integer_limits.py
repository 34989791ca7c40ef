"""Limits in whole numbers, against every choice of names there is."""

from itertools import combinations

import numpy as np
import pytest
from proposal_cases import FREE, Fixed, book, random_set

from engine import (
    Constraints,
    Costs,
    InfeasibleError,
    SolverError,
    StressCap,
    UsageError,
    propose,
)
from engine.optimize.master import _largest_diagonal

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
    for chosen in combinations(range(N), k):  # weights of zero leave fewer
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


def test_continuous_answers_within_the_limits_need_no_search():
    free = solve(stress_caps=CAP)
    got = solve(stress_caps=CAP, max_names=N)
    np.testing.assert_allclose(got.target, free.target, atol=1e-6)


def test_minimum_position_and_number_of_trades():
    got = solve("minimum_variance", minimum_position=0.15, w0=W0)
    sizes = got.target[:-1][got.target[:-1] > 1e-9]
    assert sizes.min() >= 0.15 - 1e-6
    loose = solve("minimum_variance")
    assert objective_of(got, "minimum_variance") >= objective_of(
        loose, "minimum_variance"
    )
    few = solve(stress_caps=CAP, max_trades=3)
    assert sum(not t.ticker.startswith("CASH") for t in few.trades) <= 3
    assert few.stress_after["fixed"] <= 0.14 + 1e-6
    best = np.inf
    for chosen in combinations(range(N), 3):
        locked = tuple(f"A{i}" for i in range(N) if i not in chosen)
        try:
            one = solve(stress_caps=CAP, locked=locked)
        except InfeasibleError:
            continue
        best = min(best, objective_of(one, "cost_and_active_risk"))
    assert objective_of(few, "cost_and_active_risk") == pytest.approx(best, rel=2e-3)


def test_least_number_of_names():
    cheap = {"costs": FREE, "objective": "minimum_variance"}
    free, wanted = solve(**cheap), 8
    assert (free.target[:-1] >= 0.1).sum() < wanted
    got = solve(**cheap, min_names=wanted, minimum_position=0.1)
    assert (got.target[:-1] >= 0.1 - 1e-6).sum() >= wanted
    check = next(c for c in got.limits if c.name == "names (least)")
    assert check.satisfied and check.limit == wanted


def test_short_positions_have_a_smallest_size_too():
    got = solve(
        "minimum_variance", costs=FREE, lower=-0.5, gross=1.4, minimum_position=0.05,
        max_names=5, gap=0.01,
    )  # fmt: skip
    sizes = np.abs(got.target[:-1])
    assert sizes[sizes > 1e-9].min() >= 0.05 - 1e-6
    assert names_of(got) <= 5


def test_too_few_names_for_the_bounds_is_a_conflict_with_a_way_out():
    with pytest.raises(InfeasibleError) as caught:
        solve(max_names=3, upper=0.2)
    error = caught.value
    assert set(error.conflict) >= {"names", "upper bounds"}
    assert "names at most 3" in str(error)
    old, new = error.relaxed["names"]
    assert (old, new) == (3, 5)
    assert "raise names from 3 to 5" in error.relaxation
    assert names_of(solve(max_names=new, upper=0.2)) <= 5
    with pytest.raises(InfeasibleError) as caught:
        solve(minimum_position=0.3, min_names=4)
    assert set(caught.value.conflict) >= {"names", "minimum position"}


def test_integer_limits_as_text_are_the_same():
    words = solve(limits=["names <= 3", "minimum position >= 5%"], stress_caps=CAP)
    fields = solve(max_names=3, minimum_position=0.05, stress_caps=CAP)
    np.testing.assert_allclose(words.target, fields.target, atol=1e-6)


def test_a_passed_time_limit_never_gives_weights():
    with pytest.raises(SolverError):
        propose(
            book(W0), SCENARIOS, Constraints(stress_caps=CAP, max_names=3), COSTS,
            time_limit=1e-9,
        )  # fmt: skip
    with pytest.raises(UsageError, match="time_limit must be positive"):
        propose(book(W0), SCENARIOS, Constraints(), COSTS, time_limit=0.0)
    with pytest.raises(UsageError, match="gap lies in"):
        propose(book(W0), SCENARIOS, Constraints(), COSTS, gap=-0.1)


@pytest.mark.parametrize(
    "bad",
    [{"max_names": -1}, {"max_names": 2.5}, {"max_names": 2, "min_names": 3},
     {"minimum_position": -0.1}, {"max_trades": float("nan")}],
)  # fmt: skip
def test_bad_integer_limits(bad):
    with pytest.raises(UsageError):
        Constraints(**bad)


def test_the_diagonal_split_is_valid_and_large():
    rng = np.random.default_rng(0)
    B, d = rng.normal(size=(20, 3)), rng.uniform(0.5, 2.0, 20)
    C = B @ B.T + np.diag(d)
    size = np.sqrt(np.diagonal(C))
    found = _largest_diagonal(C / np.outer(size, size)) * size**2
    assert (found >= 0).all()
    assert np.linalg.eigvalsh(C - np.diag(found))[0] >= -1e-9
    assert found.sum() >= 0.99 * d.sum()  # the model's own diagonal is feasible
