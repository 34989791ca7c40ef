"""Near-optimal proposals against brute force, and what each is said to cost."""

import itertools
import warnings

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proposal_cases import CAP, W0, Fixed, book, random_set

from engine import Constraints, Costs, StressCap, UsageError, alternatives

COSTS = Costs(half_spread_bps=20.0)
ROOM = {"upper": 0.4, "minimum_trade": 1e-6}  # above what solvers leave


def found(objective="cost_and_active_risk", seed=0, tolerance=0.05, **limits):
    return alternatives(
        book(W0),
        random_set(seed),
        Constraints(**({"stress_caps": CAP} | ROOM | limits)),
        COSTS,
        objective=objective,
        tolerance=tolerance,
    )


def textbook(allowed, *, seed=0, cap=0.12, aversion=1.0, goal=None, ceiling=None):
    """The same problem written down again, trading only some of the six assets."""
    scenarios = random_set(seed)
    n, rates = 7, COSTS.rates(scenarios.assets)
    b, s = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
    w = W0 + b - s
    cost = rates @ (b + s)
    nav = 1 - cost
    loss = -CAP.shock.draws[0]
    X = scenarios.returns - scenarios.returns.mean(axis=0)
    X = X * np.sqrt(12 / len(scenarios))
    value = cost + aversion * cp.sum_squares(X @ (w - W0 * nav))
    rows = [
        cp.sum(w) == nav,
        loss @ w <= cap * nav,
        w >= 0,
        w[:6] <= 0.4 * nav,
        w[6] >= 0.04 * nav,
        w[6] <= 0.06 * nav,
    ]
    rows += [b[i] + s[i] == 0 for i in range(6) if i not in allowed]
    if ceiling is not None:
        rows.append(value <= ceiling)
    problem = cp.Problem(cp.Minimize(value if goal is None else goal(b, s, w)), rows)
    with warnings.catch_warnings():
        # On the ceiling Clarabel stops at 1e-6: enough for what is compared here.
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        problem.solve(solver="CLARABEL")
    return problem.value if problem.status.startswith("optimal") else np.inf


@pytest.mark.parametrize(
    ("seed", "tolerance"), [(0, 0.05), (1, 0.5), (2, 0.2), (3, 0.5)]
)
def test_fewest_trades_is_what_brute_force_finds(seed, tolerance):
    best = textbook(range(6), seed=seed)
    ceiling = best * (1 + tolerance)
    sizes = [
        len(c)
        for k in range(7)
        for c in itertools.combinations(range(6), k)
        if textbook(c, seed=seed) <= ceiling * (1 + 1e-6)
    ]
    other = found(seed=seed, tolerance=tolerance)["fewest_trades"]
    assert len(other.proposal.trades) == min(sizes)
    assert other.proved
    assert best + other.extra <= ceiling * (1 + 1e-5)


def test_least_turnover_is_the_convex_optimum():
    best = textbook(range(6))
    least = textbook(
        range(6), goal=lambda b, s, w: 0.5 * cp.sum(b + s), ceiling=1.1 * best
    )
    got = found(tolerance=0.1)
    other = got["least_turnover"]
    moved = 0.5 * np.abs(other.proposal.target * (1 - other.proposal.cost) - W0).sum()
    assert moved == pytest.approx(least, abs=1e-5)
    assert other.proposal.turnover < got.best.turnover
    assert other.extra == pytest.approx(0.1 * best, rel=1e-3)


def test_most_different_is_farther_than_any_single_direction():
    """Each of 64 sign patterns is a linear problem: none goes farther."""
    got = found(tolerance=0.5)
    best = textbook(range(6))
    h = got.best.target * (1 - got.best.cost)
    reached = -min(
        textbook(
            range(6),
            goal=lambda b, s, w, d=d: -(np.array(d) @ (w - h)),
            ceiling=1.5 * best,
        )
        for d in itertools.product([-1.0, 1.0], repeat=7)
    )
    other = got["most_different"]
    away = other.proposal.target * (1 - other.proposal.cost) - h
    assert np.abs(away).sum() >= 0.95 * reached
    assert np.abs(away).sum() <= reached * (1 + 1e-4) + 1e-5
    assert other.distance > got["fewest_trades"].distance


@pytest.mark.parametrize("objective", ["cost_and_active_risk", "minimum_variance"])
def test_every_alternative_holds_every_limit(objective):
    severities = np.linspace(0.2, 1.8, 801)[:, None] * CAP.shock.draws
    got = found(
        objective,
        stress_caps=StressCap(Fixed(severities), 0.15, 0.9),
        turnover=0.4,
        es_cap=0.12,
        minimum_trade=1e-4,
    )
    assert len(got.others) == 3
    for other in got.others:
        assert all(c.satisfied for c in other.proposal.limits), other.kind
        assert other.proposal.objective == objective
        assert set(other.proposal.objective_parts) == set(got.best.objective_parts)
    frame = got.to_frame().set_index("kind")
    assert frame.loc["fewest_trades", "trades"] <= frame.loc["best", "trades"]
    # The turnover is of the rounded target, where trades below 1 bp are dropped.
    assert frame["turnover"].min() >= frame.loc["least_turnover", "turnover"] - 1e-3


@pytest.mark.slow
@given(tolerance=st.floats(0.0, 0.3), seed=st.integers(0, 20))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_the_objective_stays_below_the_ceiling(tolerance, seed):
    got = found(seed=seed, tolerance=tolerance)
    value = sum(got.best.objective_parts.values())
    for other in got.others:
        assert other.extra <= tolerance * value + 2e-7
        assert other.extra >= -1e-7


def test_sentences_say_what_each_costs():
    got = found(tolerance=0.3)
    first, second, third = got.sentences()
    trades = len(got["fewest_trades"].proposal.trades)
    assert first.startswith(
        f"Fewest trades: {trades} trades instead of {len(got.best.trades)}, and fewer "
        "will not do, for "
    )
    assert first.endswith("bp more of cost and active risk.")
    assert second.startswith("Least turnover: turnover ")
    assert third.startswith("Most different: ")


def test_a_book_within_its_limits_has_no_alternatives():
    got = found(stress_caps=())
    assert got.others == ()
    assert "nothing to choose" in got.sentences()[0]
    with pytest.raises(UsageError, match="no such alternative; received 'best'"):
        got["best"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tolerance": -0.1}, "tolerance must not be negative"),
        ({"tolerance": float("nan")}, "tolerance must not be negative"),
        ({"kinds": ("cheapest",)}, "unknown kind of alternative; received 'cheapest'"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(UsageError, match=words):
        alternatives(book(W0), random_set(), Constraints(), COSTS, **options)
