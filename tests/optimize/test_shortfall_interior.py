import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize.shortfall import _screening
from engine.optimize.shortfall._bound import feasible_tail, lower_bound
from engine.optimize.shortfall._core import centred
from engine.optimize.shortfall._interior import solve_interior
from engine.optimize.shortfall._problem import ShortfallProblem
from engine.optimize.shortfall._reduction import Duals, implied_bounds, reduce


def student_returns(s, n, seed=0, k=3):
    rng = np.random.default_rng(seed)
    loadings = 0.005 * rng.standard_normal((n, k)) + 0.004
    normal = rng.standard_normal((s, k)) @ loadings.T
    normal += 0.01 * rng.standard_normal((s, n))
    return normal / np.sqrt(rng.chisquare(5, s) / 5.0)[:, None]


def by_cvxpy(p):
    """The textbook form, in percent so that the solver's tolerances bite."""
    import cvxpy as cp

    s, n = p.returns.shape
    w, a = cp.Variable(n), cp.Variable()
    mass = np.full(s, 1.0 / s) if p.p is None else p.p
    excess = cp.pos(-p.returns @ w - a)
    f = p.shortfall_weight * (a + (mass / (1.0 - p.level)) @ excess)
    limits = [p.A_eq @ w == p.b_eq]
    low, high = np.isfinite(p.lower), np.isfinite(p.upper)
    limits += [w[low] >= p.lower[low]] if low.any() else []
    limits += [w[high] <= p.upper[high]] if high.any() else []
    if p.linear is not None:
        f += p.linear @ w
    if p.A_ub is not None:
        limits.append(p.A_ub @ w <= p.b_ub)
    if p.current is not None:
        z = w - p.current
        f += 0 if p.buy is None else p.buy @ cp.pos(z)
        f += 0 if p.sell is None else p.sell @ cp.pos(-z)
        if p.turnover is not None:
            limits.append(cp.norm1(z) / 2 <= p.turnover)
    if p.root is not None:
        y = p.root.T @ (w - (0.0 if p.benchmark is None else p.benchmark))
        if p.risk_aversion:
            f += p.risk_aversion * cp.sum_squares(y)
        if p.tracking_error is not None:
            limits.append(cp.norm(y) <= p.tracking_error)
    problem = cp.Problem(cp.Minimize(100.0 * f), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what counts is the status
        problem.solve(
            solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
        )
    value = None if problem.value is None else float(problem.value) / 100.0
    return problem.status, value


def by_linprog(p):
    """Rockafellar and Uryasev's linear program, budget and bounds only."""
    s, n = p.returns.shape
    mass = np.full(s, 1.0 / s) if p.p is None else p.p
    cost = np.concatenate([np.zeros(n), [1.0], mass / (1.0 - p.level)])
    A = np.hstack([-p.returns, -np.ones((s, 1)), -np.eye(s)])
    budget = np.concatenate([np.ones(n), np.zeros(s + 1)])[None, :]
    bounds = [*zip(p.lower, p.upper, strict=True), (None, None), *[(0, None)] * s]
    out = linprog(cost, A, np.zeros(s), budget, [1.0], bounds)
    assert out.status == 0
    return out.fun


def check(p, solution, tolerance=1e-7):
    """Feasible, worth what it says, bounded as proven, priced with the right sign."""
    size = max(abs(solution.objective), p.shortfall_weight * abs(p.returns).mean())
    assert solution.violation <= 1e-8
    assert p.violation(solution.weights) <= 1e-8
    assert solution.objective == p.objective(solution.weights)
    assert 0.0 <= solution.gap <= tolerance * 1.01 * size
    for name in (*p.row_names, "turnover", "tracking error"):
        assert solution.prices.get(name, 0.0) >= 0.0


def random_problem(seed):
    rng = np.random.default_rng(seed)
    s, n = int(rng.integers(2, 300)), int(rng.integers(1, 16))

    def chance(x):
        return rng.random() < x

    R = student_returns(s, n, seed, k=2)
    if chance(0.3):
        R = R[rng.integers(0, s, s)]
    if chance(0.2) and n > 2:
        R[:, 1] = R[:, 0]
    if chance(0.2):
        R[:, 0] = 0.0
    more = {"level": float(rng.choice([0.5, 0.75, 0.9, 0.95, 0.99, 0.999]))}
    if chance(0.5):
        mass = rng.random(s) ** 3 * 10.0 ** rng.uniform(-rng.integers(0, 8), 0, s)
        mass[1:][rng.random(s - 1) < 0.2] = 0.0
        more["p"] = mass / mass.sum()
    if chance(0.3):
        more["shortfall_weight"] = float(10.0 ** rng.uniform(-2, 2))
    if chance(0.5):
        more["linear"] = 0.002 * rng.standard_normal(n)
    kind = rng.integers(0, 4)
    if kind == 1:
        more["upper"] = max(0.3, 1.5 / n)
    elif kind == 2:
        more["lower"] = -0.5
    elif kind == 3 and n > 1:
        low, high = np.zeros(n), np.ones(n)
        low[0] = high[0] = 0.3
        more |= {"lower": low, "upper": high}
    if chance(0.4):
        m = int(rng.integers(1, 5))
        A = rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-2, 1, (m, 1))
        room = np.abs(A).mean(axis=1) * rng.uniform(0.05, 0.5, m)
        more |= {"A_ub": A, "b_ub": A.mean(axis=1) + room}
    if chance(0.2) and n > 4:
        E = np.vstack([np.ones(n), rng.standard_normal(n)])
        more |= {"A_eq": E, "b_eq": E.mean(axis=1)}
    if chance(0.5):
        more["current"] = rng.dirichlet(np.ones(n)) * (1.4 if chance(0.2) else 1.0)
        if chance(0.6):
            more["buy"] = 0.001 * np.abs(rng.standard_normal(n))
        if chance(0.6):
            more["sell"] = (
                0.001 * np.abs(rng.standard_normal(n)) * (rng.random(n) < 0.7)
            )
        if chance(0.6):
            more["turnover"] = float(rng.uniform(0.05, 0.8))
    if chance(0.4):
        root = 0.01 * rng.standard_normal((n, int(rng.integers(1, 2 * n + 1))))
        more["root"] = root
        if chance(0.5):
            more["benchmark"] = rng.dirichlet(np.ones(n))
        if chance(0.5):
            more["risk_aversion"] = float(10.0 ** rng.uniform(-1, 2))
        if chance(0.5):
            size = float(np.linalg.norm(root)) / np.sqrt(n)
            more["tracking_error"] = size * float(rng.uniform(0.1, 0.5))
    return ShortfallProblem(R, **more)


@settings(deadline=None, derandomize=True, max_examples=120)
@given(seed=st.integers(0, 100_000))
def test_every_combination_agrees_with_the_textbook_form(seed):
    p = random_problem(seed)
    status, value = by_cvxpy(p)
    try:
        solution = solve_interior(p)
    except InfeasibleError:
        assert status not in ("optimal",)
        return
    check(p, solution)
    if status == "optimal":
        # Clarabel's own tolerance, on an objective in percent.
        size = max(abs(value), 1e-3 * p.shortfall_weight)
        assert abs(solution.objective - value) <= 1e-6 * size
        assert solution.bound <= value + 1e-6 * size


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 100_000))
def test_screening_never_gives_a_wrong_answer(seed):
    p = random_problem(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_screening, "_SMALL", 10)
        try:
            solution = solve_interior(p)
        except InfeasibleError:
            assert by_cvxpy(p)[0] not in ("optimal",)
            return
        except SolverError:  # another path answers; a wrong answer would not be seen
            return
    check(p, solution)
    assert solution.objective == pytest.approx(
        solve_interior(p).objective, rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("shape", [(400, 10), (15, 40), (1, 5), (2, 1)])
def test_linear_programs_agree_to_eight_digits(level, shape):
    p = ShortfallProblem(student_returns(*shape, seed=3), level=level)
    solution = solve_interior(p, tolerance=1e-9)
    check(p, solution)
    assert solution.expected_shortfall == pytest.approx(by_linprog(p), rel=1e-8)


def test_a_screened_problem_is_exact_and_uses_a_tail():
    p = ShortfallProblem(student_returns(6000, 15, seed=5))
    solution = solve_interior(p)
    check(p, solution)
    assert solution.scenarios_used < 2000
    whole = ShortfallProblem(p.returns[:2500])
    assert solve_interior(whole).expected_shortfall == pytest.approx(
        by_linprog(whole), rel=1e-7
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_screening, "_SMALL", 10_000)
        full = solve_interior(p)
    assert full.scenarios_used == 6000
    assert solution.expected_shortfall == pytest.approx(
        full.expected_shortfall, rel=1e-7
    )


def test_repeated_scenarios_are_one_with_their_probabilities_added():
    R = student_returns(150, 8, seed=7)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 150, 5000)
    p = ShortfallProblem(R[drawn])
    count = np.bincount(drawn, minlength=150)
    merged = ShortfallProblem(R[count > 0], p=count[count > 0] / 5000)
    reduced = reduce(p)
    assert reduced.mass.size == (count > 0).sum()
    assert reduced.mass.sum() == pytest.approx(1.0)
    ours, theirs = solve_interior(p), solve_interior(merged)
    check(p, ours)
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-9)


def test_probability_zero_is_as_if_it_were_not_there():
    R = student_returns(300, 6, seed=8)
    mass = np.full(300, 1.0 / 200)
    mass[200:] = 0.0
    R[200:] *= -50.0
    ours = solve_interior(ShortfallProblem(R, p=mass))
    theirs = solve_interior(ShortfallProblem(R[:200]))
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-9)


def test_a_start_changes_the_way_and_not_the_answer():
    p = ShortfallProblem(student_returns(8000, 12, seed=9))
    cold = solve_interior(p)
    warm = solve_interior(p, start=cold)
    assert warm.objective == pytest.approx(cold.objective, rel=1e-7)
    outside = np.full(12, 3.0)
    far = solve_interior(p, start=outside)
    assert far.objective == pytest.approx(cold.objective, rel=1e-7)


@pytest.mark.parametrize("row", ["cap", "budget", "turnover", "tracking error"])
def test_prices_are_slopes_of_the_optimum(row):
    R = student_returns(600, 6, seed=10)
    rng = np.random.default_rng(2)
    current = np.array([0.9, 0.1, 0.0, 0.0, 0.0, 0.0])
    cap = np.zeros((1, 6))
    cap[0, :2] = 1.0
    root = np.linalg.cholesky(np.cov(R.T))
    benchmark = rng.dirichlet(np.ones(6))

    def solve(h):
        more = {}
        if row == "cap":
            more = {"A_ub": -cap, "b_ub": np.array([-0.6 + h]), "row_names": ("cap",)}
        elif row == "budget":
            more = {
                "A_eq": np.ones((1, 6)),
                "b_eq": np.array([1.0 + h]),
                "equality_names": ("budget",),
            }
        elif row == "turnover":
            more = {"current": current, "turnover": 0.2 + h}
        else:
            more = {"root": root, "benchmark": benchmark, "tracking_error": 1e-3 + h}
        return solve_interior(ShortfallProblem(R, **more), tolerance=1e-9)

    h = 1e-6 if row == "tracking error" else 1e-4
    slope = (solve(h).objective - solve(-h).objective) / (2.0 * h)
    price = solve(0.0).prices[row]
    assert abs(price) > 1e-4
    # A piecewise linear optimum has a kink somewhere in 2h: percents, not digits.
    assert -slope == pytest.approx(price, rel=0.05)


def test_the_bound_holds_for_any_multipliers():
    rng = np.random.default_rng(4)
    for seed in range(20):
        p = random_problem(seed + 500)
        try:
            best = solve_interior(p)
        except InfeasibleError:
            continue
        s = p.returns.shape[0]
        duals = Duals(
            np.arange(s),
            rng.random(s),
            rng.standard_normal(0 if p.b_ub is None else p.b_ub.size),
            rng.standard_normal(p.b_eq.size) * 0.01,
            float(rng.standard_normal()) * 0.01,
            float(rng.standard_normal()) * 0.01,
        )
        mass = np.full(s, 1.0 / s) if p.p is None else p.p
        w = rng.dirichlet(np.ones(p.lower.size))
        assert lower_bound(p, duals, mass, w) <= best.objective + 1e-12


def test_centred_duals_solve_their_equation():
    pi = np.array([0.1, 0.2, 1e-6, 0.5])
    excess = np.array([0.5, -3.0, 0.0, 1e3])
    mu = 0.01
    q, u = centred(excess, pi, pi.mean() / (2.0 * mu))
    np.testing.assert_allclose(q + u, pi, rtol=1e-12)
    mus = mu * pi / pi.mean()
    np.testing.assert_allclose(mus / u - mus / q, excess, rtol=1e-9, atol=1e-9)


def test_a_tail_is_moved_into_its_set():
    top = np.array([0.4, 0.4, 0.4, 0.4])
    for q in ([0.9, -1.0, 0.1, 0.1], [5.0] * 4, [0.0] * 4):
        moved = feasible_tail(np.array(q), top, 1.0)
        assert moved.sum() == pytest.approx(1.0, abs=1e-14)
        assert (moved >= 0).all() and (moved <= top + 1e-15).all()


def test_a_budget_bounds_what_has_no_bound():
    p = ShortfallProblem(student_returns(50, 3), upper=np.inf)
    low, high = implied_bounds(p)
    np.testing.assert_allclose(high, 1.0)
    np.testing.assert_allclose(low, 0.0)
    check(p, solve_interior(p))


def test_one_possible_portfolio_is_returned():
    R = student_returns(100, 4)
    held = np.array([0.1, 0.2, 0.3, 0.4])
    for more in ({"lower": held, "upper": held}, {"current": held, "turnover": 0.0}):
        solution = solve_interior(ShortfallProblem(R, **more))
        np.testing.assert_allclose(solution.weights, held, atol=1e-12)
        assert solution.gap == 0.0


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"upper": 0.1}, "bounds"),
        ({"A_ub": [[-1.0, 0, 0, 0]], "b_ub": [-2.0]}, "row 0"),
        ({"A_ub": [[0.0, 0, 0, 0]], "b_ub": [-1.0]}, "row 0"),
        (
            {"current": [1.0, 0, 0, 0], "turnover": 0.1, "upper": 0.5},
            "turnover",
        ),
        (
            {"current": [1.0, 0, 0, 0], "turnover": 0.0, "upper": 0.5},
            "turnover",
        ),
        (
            {"root": 0.1 * np.eye(4), "tracking_error": 1e-3},
            "track",
        ),
        (
            {"lower": [0.5, 0.5, 0, 0], "upper": [0.5, 0.6, 1, 1], "b_eq": [0.9],
             "A_eq": np.ones((1, 4))},
            "bounds",
        ),
    ],
)  # fmt: skip
def test_limits_nobody_meets_are_named(more, named):
    more = {k: v if np.isscalar(v) else np.asarray(v) for k, v in more.items()}
    with pytest.raises(InfeasibleError) as error:
        solve_interior(ShortfallProblem(student_returns(200, 4), **more))
    assert named in str(error.value) + " ".join(error.value.conflict)


def test_an_objective_without_end_is_named():
    p = ShortfallProblem(
        student_returns(200, 4),
        lower=-np.inf,
        upper=np.inf,
        linear=np.array([1.0, -1.0, 0.0, 0.0]),
    )
    with pytest.raises(UsageError, match="without end"):
        solve_interior(p)


def test_failures_are_errors_and_not_weights():
    p = ShortfallProblem(student_returns(400, 6))
    with pytest.raises(SolverError, match="relative gap"):
        solve_interior(p, max_iterations=2)
    with pytest.raises(SolverError):
        solve_interior(p, time_limit=0.0)
    with pytest.raises(SolverError, match="no room"):
        solve_interior(ShortfallProblem(p.returns, root=np.eye(6), tracking_error=0.0))
    with pytest.raises(UsageError, match="tolerance"):
        solve_interior(p, tolerance=0.0)
    with pytest.raises(UsageError, match="infinity"):
        solve_interior(ShortfallProblem(p.returns, lower=np.inf, upper=np.inf))


def test_no_weight_on_shortfall_is_a_linear_or_quadratic_program():
    linear = np.array([0.3, 0.1, 0.2, 0.4])
    R = student_returns(100, 4)
    p = ShortfallProblem(R, shortfall_weight=0.0, linear=linear, upper=0.6)
    solution = solve_interior(p)
    np.testing.assert_allclose(solution.weights, [0, 0.6, 0.4, 0], atol=1e-6)
    check(p, solution)
