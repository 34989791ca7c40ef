"""Each objective against a second formulation, a closed form, or random portfolios."""

from dataclasses import replace

import numpy as np
import pytest
from proposal_cases import CAP, FREE, W0, Fixed, book, draws_of, random_set
from scipy.optimize import linprog

from engine import (
    Constraints,
    Costs,
    ModelError,
    ReturnModel,
    StressCap,
    Universe,
    UsageError,
    objective,
    propose,
    simulate,
)
from engine.risk import entropic_value_at_risk, expected_shortfall

CASH = 0.05
LIMITS = {"cash": (CASH, CASH), "minimum_trade": 0.0, "upper": 0.5}
NAMES = tuple(f"A{i}" for i in range(6))


def solved(goal, scenarios=None, costs=FREE, held=W0, **limits):
    return propose(
        book(held),
        random_set() if scenarios is None else scenarios,
        Constraints(**(LIMITS | limits)),
        costs,
        objective=goal,
    )


def value(proposal):
    return sum(proposal.objective_parts.values())


def portfolios(n=300, seed=0):
    """Random feasible books: 5% cash, nothing above a half."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(6), 4 * n) * (1 - CASH)
    w = w[(w <= 0.5).all(axis=1)][:n]
    return np.column_stack([w, np.full(len(w), CASH)])


def feasible(rows, b):
    """linprog over (w, t): the last column is the epigraph."""
    bounds = [(0, 0.5)] * 6 + [(CASH, CASH), (None, None)]
    got = linprog(
        np.r_[np.zeros(7), 1.0], A_ub=rows, b_ub=b, bounds=bounds,
        A_eq=[[1.0] * 7 + [0.0]], b_eq=[1.0],
    )  # fmt: skip
    assert got.status == 0
    return got.fun


def model(mean=None, cash=0.03, kind="simple"):
    rng = np.random.default_rng(1)
    B = rng.normal(0.008, 0.003, (6, 1))
    return ReturnModel(
        assets=NAMES,
        mean=np.full(6, cash / 252) if mean is None else np.asarray(mean) / 252,
        covariance=B @ B.T + np.diag(rng.uniform(0.5, 2.0, 6) * 1e-4),
        tail_dof=np.inf,
        return_kind=kind,
        periods_per_year=252.0,
        cash_rate=cash,
        mean_kind="zero_excess" if mean is None else "given",
        universe=Universe(NAMES, quote_currency=("USD",) * 6),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )


MEANS = np.array([0.05, 0.06, 0.07, 0.08, 0.09, 0.10])


@pytest.fixture(scope="module")
def market():
    return simulate(model(MEANS), 500, horizon=21, seed=0)


# Tails ------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_minimum_shortfall_is_that_of_a_second_program(level):
    """Means of tails as cuts, added where the last portfolio's is missing."""
    scenarios = random_set()
    got = solved(objective("minimum_shortfall", level=level), scenarios)
    S = len(scenarios)
    cuts, w = [], W0
    for _ in range(200):
        losses = -(scenarios.returns @ w)
        tail = np.argsort(-losses)[: round((1 - level) * S)]
        cuts.append(np.r_[-scenarios.returns[tail].mean(axis=0), -1.0])
        bounds = [(0, 0.5)] * 6 + [(CASH, CASH), (None, None)]
        found = linprog(
            np.r_[np.zeros(7), 1.0], A_ub=cuts, b_ub=np.zeros(len(cuts)),
            bounds=bounds, A_eq=[[1.0] * 7 + [0.0]], b_eq=[1.0],
        )  # fmt: skip
        w = found.x[:7]
        if expected_shortfall(-(scenarios.returns @ w), level=level) - found.fun < 1e-8:
            break
    risk = expected_shortfall(scenarios.losses(got.target), level=level)
    assert risk == pytest.approx(found.fun, abs=1e-7)
    assert value(got) == pytest.approx(risk, abs=1e-7)


def test_probabilities_count():
    """A pooled set whose mass lies on half of the rows is that half."""
    scenarios = random_set(S=200)
    p = np.r_[np.full(100, 0.01), np.zeros(100)]
    half = replace(
        scenarios, returns=scenarios.returns[:100], p=p[:100], leg=np.empty(0)
    )
    a = solved("minimum_shortfall", scenarios.reweight(p))
    b = solved("minimum_shortfall", half)
    assert value(a) == pytest.approx(value(b), abs=1e-8)
    c = solved("minimum_shortfall", scenarios)
    assert abs(value(a) - value(c)) > 1e-4


def test_minimum_entropic_is_the_entropic_value_at_risk_and_no_book_has_less():
    scenarios = random_set(S=100)
    got = solved("minimum_entropic", scenarios)
    risk = entropic_value_at_risk(scenarios.losses(got.target))
    assert value(got) == pytest.approx(risk, rel=1e-4)
    others = [entropic_value_at_risk(scenarios.losses(w)) for w in portfolios(200)]
    assert min(others) >= risk - 1e-6
    near = [
        entropic_value_at_risk(scenarios.losses(0.98 * got.target + 0.02 * w))
        for w in portfolios(200)
    ]
    assert min(near) >= risk - 1e-6


def test_a_ball_without_radius_is_the_mean_and_a_large_one_the_worst_loss():
    scenarios = draws_of(random_set(S=50).returns[:, :6] + np.linspace(0, 0.02, 6))
    mean = solved(objective("minimum_entropic", radius=0.0), scenarios)
    best = np.sort(scenarios.returns.mean(axis=0)[:6])
    assert value(mean) == pytest.approx(-(0.5 * best[-1] + 0.45 * best[-2]), abs=1e-5)
    worst = solved(objective("minimum_entropic", radius=np.log(50)), scenarios)
    R = scenarios.returns
    rows = np.column_stack([-R, -np.ones(50)])
    assert value(worst) == pytest.approx(feasible(rows, np.zeros(50)), abs=1e-5)


def test_minimum_drawdown_is_recomputed_from_the_paths():
    scenarios = simulate(model(MEANS), 120, horizon=10, seed=3, paths=True)
    got = solved(objective("minimum_drawdown", level=0.9), scenarios)

    def risk(w):
        v = np.column_stack([np.zeros(120), scenarios.paths @ w])
        fall = (np.maximum.accumulate(v, axis=1) - v).max(axis=1)
        return expected_shortfall(fall, level=0.9)

    assert value(got) == pytest.approx(risk(got.target), abs=1e-7)
    assert min(risk(w) for w in portfolios()) >= risk(got.target) - 1e-8
    near = [risk(0.98 * got.target + 0.02 * w) for w in portfolios()]
    assert min(near) >= risk(got.target) - 1e-8
    with pytest.raises(UsageError, match=r"needs paths.*paths=True"):
        solved("minimum_drawdown")


def test_worst_case_is_the_minimax_over_shocks():
    rng = np.random.default_rng(4)
    shocks = [
        Fixed(np.r_[rng.uniform(-0.4, 0.1, 6), 0.0], name=f"s{k}") for k in range(4)
    ]
    got = solved(objective("worst_case", shocks=shocks))
    rows = np.array([np.r_[-s.draws[0], -1.0] for s in shocks])
    assert value(got) == pytest.approx(feasible(rows, np.zeros(4)), abs=1e-7)
    assert max(-(s.draws[0] @ got.target) for s in shocks) == pytest.approx(value(got))
    with pytest.raises(UsageError, match="worst_case needs shocks"):
        solved("worst_case")


# Means ------------------------------------------------------------------------


def test_maximum_return_fills_the_best_assets(market):
    got = solved("maximum_return", market)
    np.testing.assert_allclose(got.target, [0, 0, 0, 0, 0.45, 0.5, CASH], atol=1e-6)
    parts = got.objective_parts
    mean = 0.45 * 0.09 + 0.5 * 0.10 + CASH * 0.03
    assert -parts["mean return, negated"] == pytest.approx(mean, abs=1e-6)


def test_maximum_utility_meets_its_first_order_condition(market):
    """Interior: mu - gamma Sigma w is one number for every asset held."""
    gamma = 8.0
    got = solved(objective("maximum_utility", risk_aversion=gamma), market)
    w = got.target[:6]
    gradient = MEANS - gamma * (market.model.dense_covariance() * 252) @ w
    held = (w > 1e-4) & (w < 0.5 - 1e-4)
    assert held.sum() >= 3
    assert np.ptp(gradient[held]) < 1e-4
    assert (gradient[w < 1e-4] <= gradient[held].min() + 1e-4).all()


def test_maximum_ratio_is_the_tangency_portfolio():
    """Means that make a given portfolio the tangency one (reverse optimisation)."""
    tangency = np.array([0.1, 0.25, 0.05, 0.3, 0.2, 0.1])
    Sigma = model().dense_covariance() * 252
    means = 0.03 + 3.0 * Sigma @ tangency
    market = simulate(model(means), 100, horizon=21, seed=0)
    got = solved("maximum_ratio", market, cash=(0.0, 0.0), held=[0.2] * 5 + [0, 0])
    np.testing.assert_allclose(got.target[:6], tangency, atol=2e-4)
    # At the best ratio the parts cancel.
    assert value(got) == pytest.approx(0.0, abs=1e-7)


def test_a_robust_mean_lies_between_the_best_mean_and_the_least_variance(market):
    least = solved("minimum_variance", market)
    none = solved(objective("maximum_return", uncertainty=0.0), market)
    some = solved(objective("maximum_return", uncertainty=0.5, years=4.0), market)
    huge = solved(objective("maximum_return", uncertainty=1e4), market)
    np.testing.assert_allclose(huge.target, least.target, atol=2e-3)
    Sigma = market.model.dense_covariance() * 252

    def risk(got):
        return np.sqrt(got.target[:6] @ Sigma @ got.target[:6])

    assert risk(least) < risk(some) < risk(none)
    lowest = MEANS @ some.target[:6] - 0.5 * risk(some) / 2.0
    for w in portfolios():
        other = MEANS @ w[:6] - 0.25 * np.sqrt(w[:6] @ Sigma @ w[:6])
        assert other <= lowest + 1e-6


def test_tracking_error_stays_where_it_is_unless_a_limit_says_otherwise():
    assert solved("tracking_error").trades == ()
    got = solved("tracking_error", stress_caps=CAP)
    X = random_set().returns - random_set().returns.mean(axis=0)
    active = got.target - W0
    assert got.objective_parts["tracking error"] == pytest.approx(
        (X @ active).std() * np.sqrt(12), rel=1e-4
    )
    # Minimising a norm is minimising its square.
    squared = solved("cost_and_active_risk", stress_caps=CAP)
    np.testing.assert_allclose(got.target, squared.target, atol=1e-4)


def test_log_means_become_arithmetic_ones(market):
    log = model(MEANS, kind="log")
    got = solved("maximum_return", simulate(log, 100, horizon=21, seed=0))
    variance = np.diagonal(log.dense_covariance()) * 252
    means = np.expm1(MEANS + 0.5 * variance)
    expected = means @ got.target[:6] + 0.03 * got.target[6]
    assert -value(got) == pytest.approx(expected, rel=1e-6)


# Guards -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["maximum_return", "maximum_utility"])
def test_equal_means_are_refused(name):
    scenarios = simulate(model(), 100, horizon=21, seed=0)
    with pytest.raises(ModelError, match=f"{name} needs means"):
        solved(name, scenarios)


def test_a_ratio_below_the_risk_free_rate_is_refused():
    low = simulate(model(MEANS - 0.08), 100, horizon=21, seed=0)
    with pytest.raises(ModelError, match=r"needs a mean above the risk-free rate.*-1"):
        solved("maximum_ratio", low)
    few = simulate(model(np.r_[np.full(5, 0.0), 0.031]), 100, horizon=21, seed=0)
    with pytest.raises(ModelError, match="earns more than cash after costs"):
        solved("maximum_ratio", few, Costs(half_spread_bps=50.0), cash=(0.0, 0.05))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("least_risk", {}, "unknown objective; received 'least_risk'; expected cost_"),
        ("minimum_cost", {"level": 0.9}, "minimum_cost has no such option"),
        ("minimum_shortfall", {"levle": 0.9}, "no such option; received levle; exp"),
    ],
)
def test_names_and_options(name, options, words):
    with pytest.raises(UsageError, match=words):
        objective(name, **options)


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (objective("minimum_shortfall", level=95), "level"),
        (objective("minimum_entropic", radius=-1.0), "radius of relative entropy"),
    ],
)
def test_bad_options(goal, words):
    with pytest.raises(UsageError, match=words):
        solved(goal)


# All of them ------------------------------------------------------------------


@pytest.mark.parametrize(
    "goal",
    [
        objective("minimum_shortfall"),
        objective("minimum_entropic"),
        objective("worst_case", shocks=[CAP.shock]),
        objective("tracking_error"),
        objective("maximum_return"),
        objective("maximum_utility"),
    ],
    ids=lambda g: g.name,
)
def test_limits_hold_and_their_price_is_the_slope(goal):
    scenarios = draws_of(random_set(S=80).returns[:, :6] + np.linspace(0, 0.02, 6))
    h = 1e-4

    def at(limit):
        cap = StressCap(CAP.shock, limit, "central")
        return solved(goal, scenarios, Costs(half_spread_bps=20.0), stress_caps=cap)

    low, mid, high = (at(0.10 + x) for x in (-h, 0.0, h))
    assert all(c.satisfied for c in mid.limits)
    assert mid.objective == goal.name
    steeper, flatter = (value(low) - value(mid)) / h, (value(mid) - value(high)) / h
    # The stress of an optimum may be below the limit, and its price then nothing.
    slack = 2e-2 * abs(steeper) + 2e-3
    assert flatter - slack <= mid.prices["stress:fixed"] <= steeper + slack
    assert all(t.reason for t in mid.trades)
