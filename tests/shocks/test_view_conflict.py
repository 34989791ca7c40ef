"""Feasibility of views on a few scenarios against the programme on all of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SolverError
from engine.shocks import _view_conflict
from engine.shocks._entropy import EQUAL, LOWER, UPPER
from engine.shocks._view_conflict import Feasibility
from engine.shocks._view_rows import Row


def all_at_once(rows, p):
    """Least total slack by interior point on every scenario, written out again."""
    import cvxpy

    cp: Any = cvxpy
    q = cp.Variable(int((p > 0).sum()), nonneg=True)
    total, limits = 0.0, [cp.sum(q) == 1]
    for r in rows:
        a = r.a[p > 0]
        spread = np.sqrt(p @ r.a**2 - (p @ r.a) ** 2)
        miss = (q @ a - r.b) / spread
        if r.view < 0:
            limits += [cp.abs(miss) <= 1e-8]
        elif r.kind == EQUAL:
            total += cp.abs(miss)
        else:
            total += cp.pos(miss if r.kind == UPPER else -miss)
    problem: Any = cp.Problem(cp.Minimize(total), limits)
    return problem.solve(solver=cp.CLARABEL)


def rows_of(seed, n, size):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(size)) * (rng.uniform(size=size) > 0.1)
    p /= p.sum()
    rows = []
    for k in range(n):
        a = rng.standard_t(4, size) * 10.0 ** rng.integers(-3, 2)
        kind = (EQUAL, LOWER, UPPER)[int(rng.integers(3))]
        rows.append(Row(a, float(rng.uniform(-1.5, 1.5) * a.std()), kind, k, f"v{k}"))
    held = rng.standard_normal(size)
    rows.append(Row(held, float(p @ held), EQUAL, -1, "held"))
    return rows, p


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([60, 3000]))
def test_the_least_slack_is_that_of_all_scenarios(seed, n, size):
    rows, p = rows_of(seed, n, size)
    slack = Feasibility(rows, p).least_slack()
    # CLARABEL's accuracy, and the reduced cost at which columns stop coming.
    assert sum(slack.values()) == pytest.approx(all_at_once(rows, p), abs=2e-6)
    assert min(slack.values()) >= 0.0 and set(slack) == set(range(n))


def test_some_of_the_views_alone():
    rows, p = rows_of(3, 6, 500)
    programme = Feasibility(rows, p)
    whole = programme.least_slack()
    for some in ({0, 1}, {2, 4, 5}, set()):
        mine = [r for r in rows if r.view < 0 or r.view in some]
        found = programme.least_slack(some)
        assert set(found) == some
        fresh = Feasibility(mine, p).least_slack()
        assert sum(found.values()) == pytest.approx(sum(fresh.values()), abs=1e-8)
        assert sum(found.values()) <= sum(whole.values()) + 1e-8


def test_moments_at_the_edge_of_the_scenarios_cannot_be_held():
    rows, p = rows_of(4, 1, 100)
    rows[-1] = rows[-1]._replace(b=float(rows[-1].a.max()) + 1.0)
    with pytest.raises(SolverError, match="moments held"):
        Feasibility(rows, p).least_slack()


def test_no_end_of_rounds_is_an_error(monkeypatch):
    rows, p = rows_of(5, 5, 3000)
    monkeypatch.setattr(_view_conflict, "_ROUNDS", 3)
    monkeypatch.setattr(_view_conflict, "_PRICE", -1e9)  # every scenario seems to help
    with pytest.raises(SolverError, match="rounds"):
        Feasibility(rows, p).least_slack()
