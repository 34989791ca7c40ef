"""Three ways to minimum expected shortfall give one answer, or say why they cannot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import qmc

import engine
from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize import (
    ShortfallProblem,
    minimum_shortfall,
    shortfall_frontier,
)
from engine.optimize.shortfall import _choose, _dual_linear, _textbook
from engine.optimize.shortfall._certificate import (
    Multipliers,
    largest_violation,
    lower_bound,
)
from engine.optimize.shortfall._conflict import feasible, limit_names
from engine.optimize.solve import Solved
from engine.risk import tail_weights
from tests.optimize.shortfall_cases import market, problems


def size_of(problem, solution):
    """What six digits are six digits of: terms may cancel, and leave rounding."""
    typical = problem.shortfall_weight * float(np.abs(problem.returns).mean())
    for rate in (problem.linear, problem.buy, problem.sell):
        typical += 0.0 if rate is None else float(np.abs(rate).max())
    if problem.root is not None:
        typical += problem.risk_aversion * float((problem.root**2).sum(axis=1).max())
    if typical == 0.0:  # nothing to minimise
        return 1.0
    return max(abs(solution.objective), typical)


def check(problem, solution, tolerance=1e-6):
    size = size_of(problem, solution)
    assert largest_violation(problem, solution.weights) <= 1e-7
    assert -tolerance * size <= solution.gap <= tolerance * size
    assert solution.objective == problem.objective(solution.weights)


@settings(max_examples=60)
@given(problems(quadratic=False))
def test_dual_program_and_textbook_agree(problem):
    book = minimum_shortfall(problem, method="textbook")
    dual = minimum_shortfall(problem, method="dual_linear")
    check(problem, book)
    check(problem, dual)
    assert abs(book.objective - dual.objective) <= 1e-6 * size_of(problem, book)


@settings(max_examples=60)
@given(problems())
def test_the_chosen_way_agrees_with_the_textbook(problem):
    book = minimum_shortfall(problem, method="textbook")
    auto = minimum_shortfall(problem)
    check(problem, book)
    check(problem, auto)
    assert abs(book.objective - auto.objective) <= 1e-6 * size_of(problem, book)


@settings(max_examples=60)
@given(problems())
def test_interior_point_and_textbook_agree(problem):
    book = minimum_shortfall(problem, method="textbook")
    inner = minimum_shortfall(problem, method="interior_point")
    check(problem, inner)
    assert abs(book.objective - inner.objective) <= 1e-6 * size_of(problem, book)


@settings(max_examples=30)
@given(problems())
def test_no_portfolio_is_below_the_bound(problem):
    """The bound holds for any multipliers, not for those of a solver alone."""
    book = minimum_shortfall(problem, method="textbook")
    rng = np.random.default_rng(0)
    m = 0 if problem.A_ub is None else problem.b_ub.size
    k = 1 if problem.root is None else problem.root.shape[1]
    for _ in range(5):
        prices = Multipliers(
            scenarios=rng.random(problem.returns.shape[0]),
            rows=rng.normal(size=m) * 1e-3,
            equalities=rng.normal(size=problem.b_eq.size) * 1e-2,
            turnover=float(rng.normal()) * 1e-2,
            tracking=rng.normal(size=k) * 0.1,
        )
        anywhere = rng.normal(size=book.weights.size)
        size = size_of(problem, book)
        assert lower_bound(problem, anywhere, prices) <= book.objective + 1e-9 * size


def test_atoms_and_zero_probabilities_count_as_given():
    """Doubling a scenario is the same as doubling its probability."""
    R = market(60, 4)
    p = np.full(60, 1 / 80)
    p[:20] *= 2
    doubled = np.vstack([R, R[:20]])
    for method in ("textbook", "dual_linear"):
        one = minimum_shortfall(ShortfallProblem(R, p=p, level=0.9), method=method)
        two = minimum_shortfall(ShortfallProblem(doubled, level=0.9), method=method)
        np.testing.assert_allclose(one.objective, two.objective, rtol=1e-9)


def test_two_assets_against_a_fine_grid():
    problem = ShortfallProblem(market(400, 2, seed=3))
    grid = np.linspace(0, 1, 20_001)
    losses = -(np.outer(grid, problem.returns[:, 0] - problem.returns[:, 1]))
    losses -= problem.returns[:, 1]
    worst = -np.sort(-losses, axis=1)[:, :20].mean(axis=1)
    for method in ("textbook", "dual_linear", "auto"):
        found = minimum_shortfall(problem, method=method)
        # The grid is 5e-5 apart and the objective has a kink.
        assert found.objective <= worst.min() + 1e-12
        np.testing.assert_allclose(found.objective, worst.min(), rtol=5e-6)
        np.testing.assert_allclose(found.weights[0], grid[worst.argmin()], atol=2e-4)


def test_the_normal_example_of_rockafellar_and_uryasev():
    """The published portfolio: S&P 500, government bonds, small caps (tables 1 to 5).

    Under normality the portfolio of least CVaR with a required mean is that of least
    variance, whatever the level. Scenarios converge to it.
    """
    mean = np.array([0.0101110, 0.0043532, 0.0137058])
    C = np.array(
        [
            [0.00324625, 0.00022983, 0.00420395],
            [0.00022983, 0.00049937, 0.00019247],
            [0.00420395, 0.00019247, 0.00764097],
        ]
    )
    published = np.array([0.452013, 0.115573, 0.432414])
    published_risk = {
        0.90: (0.067847, 0.096975),
        0.95: (0.090200, 0.115908),
        0.99: (0.132128, 0.152977),
    }
    L = np.linalg.cholesky(C)
    for level, (var, cvar) in published_risk.items():
        for m in (10, 13):
            u = qmc.Sobol(3, rng=1).random_base2(m)
            z = ndtri(np.clip(u, 1e-12, 1 - 1e-12))
            z = z - z.mean(axis=0)
            z = np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T
            problem = ShortfallProblem(
                mean + z @ L.T,
                level=level,
                A_eq=np.vstack([np.ones(3), mean]),
                b_eq=np.array([1.0, 0.011]),
                equality_names=("budget", "mean"),
            )
            found = minimum_shortfall(problem, method="dual_linear")
            # The tail holds (1 - level) S scenarios: a tenth of the Monte Carlo error
            # of that many, which quasi-random points beat.
            miss = abs(found.expected_shortfall / cvar - 1)
            assert miss < 0.1 / np.sqrt((1 - level) * 2**m)
        assert found.value_at_risk == pytest.approx(var, rel=0.02)
        if level < 0.99:
            np.testing.assert_allclose(found.weights, published, atol=0.03)


def test_prices_are_slopes_of_the_objective():
    problem = ShortfallProblem(
        market(200, 5, seed=5),
        A_ub=np.array([[1.0, 1.0, 0, 0, 0]]),
        b_ub=np.array([0.3]),
        row_names=("first two",),
        current=np.full(5, 0.2),
        turnover=0.15,
        root=np.diag(np.full(5, 0.01)),
        benchmark=np.full(5, 0.2),
        tracking_error=0.002,
    )
    changes = {
        "first two": {"b_ub": np.array([0.3 + 1e-5])},
        "turnover": {"turnover": 0.15 + 1e-5},
        "tracking error": {"tracking_error": 0.002 + 1e-6},
        "budget": {"b_eq": np.array([1 + 1e-5]), "A_eq": np.ones((1, 5))},
    }
    here = minimum_shortfall(problem, method="textbook")
    for name, change in changes.items():
        step = 1e-6 if name == "tracking error" else 1e-5
        there = minimum_shortfall(replace(problem, **change), method="textbook")
        slope = (here.objective - there.objective) / step
        assert here.prices[name] == pytest.approx(slope, abs=2e-4), name


# ---------------------------------------------------------------- what cannot hold


def conflict_of(problem, method="auto"):
    with pytest.raises(InfeasibleError) as caught:
        minimum_shortfall(problem, method=method)
    return caught.value


@pytest.mark.parametrize("method", ["auto", "dual_linear", "textbook"])
def test_an_infeasible_problem_names_an_irreducible_conflict(method):
    problem = ShortfallProblem(
        market(100, 4),
        A_ub=np.array([[1.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0]]),
        b_ub=np.array([0.1, -0.3, 0.9]),
        row_names=("first two at most", "first at least", "third at most"),
        upper=0.9,
    )
    error = conflict_of(problem, method)
    assert set(error.conflict) == {
        "first two at most",
        "first at least",
        "lower bounds",
    }
    assert "at most 0.1" in str(error)
    for name in error.conflict:
        rest = [other for other in limit_names(problem) if other != name]
        assert feasible(problem, rest)
    assert error.relaxation


@pytest.mark.slow
@settings(max_examples=15)
@given(problems(), st.integers(0, 1000))
def test_random_conflicts_are_irreducible(problem, seed):
    """A row that no weights within the bounds and budget can meet, or nearly none."""
    rng = np.random.default_rng(seed)
    n = problem.lower.size
    row = rng.normal(size=n)
    least = float(np.minimum(row * problem.lower, row * problem.upper).sum())
    middle = float(row.mean())
    right = least + rng.uniform(-0.5, 0.9) * (middle - least)
    rows = np.zeros((0, n)) if problem.A_ub is None else problem.A_ub
    bounds = np.zeros(0) if problem.b_ub is None else problem.b_ub
    harder = replace(
        problem,
        A_ub=np.vstack([rows, row]),
        b_ub=np.append(bounds, right),
        row_names=(*problem.row_names, "new"),
    )
    possible = feasible(harder)
    for method in ("auto", "interior_point", "textbook"):
        if possible:
            assert minimum_shortfall(harder, method=method).violation < np.inf
            continue
        error = conflict_of(harder, method)
        assert "new" in error.conflict
        assert not feasible(harder, error.conflict)
        for name in error.conflict:
            assert feasible(harder, [k for k in error.conflict if k != name])


def test_turnover_and_tracking_error_appear_in_conflicts():
    start = np.array([1.0, 0, 0, 0])
    common = {"A_ub": np.array([[1.0, 0, 0, 0]]), "b_ub": np.array([0.5])}
    turnover = ShortfallProblem(
        market(50, 4), **common, row_names=("cap",), current=start, turnover=0.1
    )
    error = conflict_of(turnover)
    assert set(error.conflict) == {"cap", "turnover"}
    assert "turnover at most 0.1" in str(error)
    tracking = ShortfallProblem(
        market(50, 4),
        **common,
        row_names=("cap",),
        root=np.eye(4) * 0.1,
        benchmark=start,
        tracking_error=0.01,
    )
    assert set(conflict_of(tracking).conflict) == {"cap", "tracking error"}


def test_bounds_that_leave_no_budget():
    error = conflict_of(ShortfallProblem(market(50, 4), upper=0.2))
    assert set(error.conflict) == {"budget", "upper bounds"}
    assert "equal to 1" in str(error)


@pytest.mark.parametrize("method", ["auto", "dual_linear", "textbook"])
def test_an_objective_without_a_least_value(method):
    problem = ShortfallProblem(
        market(50, 3),
        shortfall_weight=0.0,
        linear=np.array([1.0, 2.0, 3.0]),
        lower=-np.inf,
        upper=np.inf,
    )
    with pytest.raises(UsageError, match="falls without end"):
        minimum_shortfall(problem, method=method)


# ------------------------------------------------------------- solvers that let down


def test_quadratic_terms_are_refused_by_the_dual_program_and_go_elsewhere():
    problem = ShortfallProblem(market(60, 3), root=np.eye(3) * 0.01, risk_aversion=1.0)
    with pytest.raises(UsageError, match="cannot express"):
        minimum_shortfall(problem, method="dual_linear")
    assert minimum_shortfall(problem).path in ("interior point", "textbook")


@pytest.mark.parametrize("method", ["dual_linear", "textbook", "auto"])
def test_a_time_limit_ends_in_an_error_not_in_weights(method):
    problem = ShortfallProblem(market(3000, 30))
    with pytest.raises(SolverError, match=r"[Tt]ime"):
        minimum_shortfall(problem, method=method, time_limit=1e-6)


def dies(*args, **options):
    raise SolverError("the solver died")


def returns_rubbish(problem, *args, **options):
    good = _textbook.solve_textbook(problem)
    return replace(good, weights=np.full(good.weights.size, 0.9))


def breaks_down(*args, **options):
    raise FloatingPointError("overflow")


@pytest.mark.parametrize("failure", [dies, returns_rubbish, breaks_down])
def test_a_failed_attempt_is_recorded_and_the_next_is_tried(failure, monkeypatch):
    monkeypatch.setattr(_choose, "_interior", failure)
    monkeypatch.setattr(_choose, "solve_dual_linear", failure)
    found = minimum_shortfall(ShortfallProblem(market(60, 3)))
    assert found.path == "textbook"
    assert [note.split(":")[0] for note in found.notes[:2]] == [
        "dual_linear",
        "interior_point",
    ]
    assert "residual" in found.notes[-1] or "violation" in found.notes[-1]


@pytest.mark.parametrize("failure", [dies, returns_rubbish, breaks_down])
def test_when_every_attempt_fails_there_are_no_weights(failure, monkeypatch):
    textbook = _textbook.solve_textbook
    for name in ("_interior", "solve_dual_linear", "solve_textbook"):
        monkeypatch.setattr(_choose, name, failure)
    problem = ShortfallProblem(market(60, 3))
    with pytest.raises(SolverError, match="no acceptable solution") as caught:
        minimum_shortfall(problem)
    for way in ("interior_point", "dual_linear", "textbook"):
        assert way in str(caught.value.received)
    assert textbook(problem).path == "textbook"


def test_the_order_follows_size_and_structure():
    small, large = market(100, 4), market(30_000, 4)
    root = {"root": np.eye(4) * 0.01, "risk_aversion": 1.0}
    order = _choose._order
    every = {"interior_point", "dual_linear", "textbook"}
    assert order(ShortfallProblem(small))[0] == "dual_linear"
    assert order(ShortfallProblem(large))[0] == "interior_point"
    assert order(ShortfallProblem(large, shortfall_weight=0.0))[0] == "dual_linear"
    assert order(ShortfallProblem(small, **root)) == ("interior_point", "textbook")
    assert set(order(ShortfallProblem(small))) == every
    assert minimum_shortfall(ShortfallProblem(large)).path == "interior point"


def test_a_named_method_never_becomes_another(monkeypatch):
    monkeypatch.setattr(_choose, "solve_dual_linear", dies)
    with pytest.raises(SolverError, match="the solver died"):
        minimum_shortfall(ShortfallProblem(market(60, 3)), method="dual_linear")


def test_a_false_cry_of_infeasible_is_checked(monkeypatch):
    def cries(*args, **options):
        raise InfeasibleError("nothing fits")

    monkeypatch.setattr(_choose, "solve_dual_linear", cries)
    found = minimum_shortfall(ShortfallProblem(market(60, 3)))
    assert found.path == "interior point"
    assert "they are not" in found.notes[0]


def test_an_unproven_answer_is_refused(monkeypatch):
    """The right weights with a bound far below are not accepted as optimal."""

    def loose(problem, **options):
        good = _dual_linear.solve_dual_linear(problem)
        return replace(good, bound=good.bound - 1e-4)

    monkeypatch.setattr(_choose, "solve_textbook", loose)
    with pytest.raises(SolverError, match="duality gap"):
        minimum_shortfall(ShortfallProblem(market(60, 3)), method="textbook")


def test_highs_status_other_than_optimal_is_an_error(monkeypatch):
    import highspy

    kinds = highspy.HighsModelStatus
    monkeypatch.setattr(highspy.Highs, "getModelStatus", lambda self: kinds.kSolveError)
    with pytest.raises(SolverError, match="without an optimum"):
        _dual_linear.solve_dual_linear(ShortfallProblem(market(60, 3)))


def test_not_a_number_from_a_solver_is_an_error(monkeypatch):
    def nothing(program, **options):
        for v in program.variables():
            v.save_value(np.full(v.shape, np.nan))
        for c in program.constraints:
            for d in c.dual_variables:
                d.save_value(np.zeros(d.shape))
        return Solved(True, 0.0, ("made up",))

    monkeypatch.setattr(_textbook, "solve", nothing)
    with pytest.raises(SolverError, match="not numbers"):
        _textbook.solve_textbook(ShortfallProblem(market(60, 3)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "simplex"}, "unknown method"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"time_limit": -1.0}, "time_limit must be positive"),
        ({"start": np.ones(2)}, "start has the wrong shape"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        minimum_shortfall(ShortfallProblem(market(20, 3)), **options)


# ------------------------------------------------------------------------ frontier


def test_frontier_is_convex_and_its_slopes_are_the_prices():
    R = market(300, 6, seed=9) + np.linspace(0, 2e-3, 6)
    mean = R.mean(axis=0)
    problem = ShortfallProblem(R, upper=0.5)
    frontier = shortfall_frontier(problem, mean, points=9)
    es, required = frontier.expected_shortfall, frontier.required
    assert (np.diff(required) > 0).all() and (np.diff(es) >= -1e-9).all()
    slopes = np.diff(es) / np.diff(required)
    assert (np.diff(slopes) >= -1e-5).all()
    assert (frontier.means >= required - 1e-9).all()
    prices = frontier.to_frame()["slope"].to_numpy()
    assert (prices[:-1] <= slopes + 1e-5).all() and (slopes <= prices[1:] + 1e-5).all()
    book = shortfall_frontier(problem, mean, points=required[3:5], method="textbook")
    np.testing.assert_allclose(book.expected_shortfall, es[3:5], rtol=1e-6)
    assert "9 points" in repr(frontier)


def test_frontier_says_what_cannot_be_reached():
    R = market(100, 3)
    problem = ShortfallProblem(R)
    with pytest.raises(InfeasibleError) as caught:
        shortfall_frontier(problem, R.mean(axis=0), points=[1.0])
    assert "required mean" in caught.value.conflict
    with pytest.raises(UsageError, match="two points"):
        shortfall_frontier(problem, R.mean(axis=0), points=1)


def test_weights_of_the_tail_reproduce_the_reported_shortfall():
    problem = ShortfallProblem(market(500, 6))
    found = minimum_shortfall(problem)
    losses = -(problem.returns @ found.weights)
    q = tail_weights(losses, level=0.95)
    assert found.expected_shortfall == pytest.approx(q @ losses, rel=1e-12)
    assert engine.optimize.minimum_shortfall is minimum_shortfall
