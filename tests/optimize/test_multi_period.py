"""Plans: closed forms, the single-period problem, caps at every step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proposal_cases import CAP, W0, book, market_of, random_set

from engine import (
    Constraints,
    Costs,
    DataError,
    InfeasibleError,
    UsageError,
    propose,
)
from engine.optimize._cost_terms import CostRates
from engine.optimize._multi_period import PlanAhead, plan

NONE = np.zeros(3)


def market(seed=0, n=3):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, 2 * n))
    return A @ A.T / (2 * n) * 0.04, rng.normal(0, 0.01, n), rng.normal(0, 0.3, n)


def trading_rate(g, lam, rho):
    """``a`` of Garleanu and Pedersen 2013, proposition 3; a / lam is traded."""
    b = g * (1 - rho) + lam * rho
    return (-b + np.sqrt(b**2 + 4 * g * lam * (1 - rho) ** 2)) / (2 * (1 - rho))


# ----------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("rho", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("lam", [0.5, 5.0, 40.0])
def test_a_fixed_fraction_of_the_way_to_the_aim(lam, rho):
    """Garleanu and Pedersen 2013, propositions 3 and 4: costs lam Sigma, decaying f.

    The horizon ends what the closed form goes on with; it is long enough for the
    neglected steps to weigh less than the solver's tolerance.
    """
    g, H = 4.0, 70
    Sigma, f, x = market()
    phi = np.array([0.05, 0.2, 0.7])
    a = trading_rate(g, lam, rho)
    aim = np.linalg.solve(g * Sigma, f / (1 + a * phi / g))
    expected = x + a / lam * (aim - x)
    alpha = (1 - phi) ** np.arange(H)[:, None] * f
    made = plan(
        x, alpha, Sigma, steps=H, aversion=g, quadratic_cost=lam * Sigma, discount=rho,
        budget=False,
    )  # fmt: skip
    np.testing.assert_allclose(made.weights[0], expected, atol=2e-6)


def test_the_rate_is_the_root_of_its_own_recursion():
    """The value function's matrix solves A = keep (g + ...): an independent check."""
    g, lam, rho = 3.0, 7.0, 0.05
    keep = 1 - rho
    # V = -1/2 a x^2 per unit of Sigma: backwards to its fixed point. A step costs
    # lam/2 z^2 now and is worth keep (g/2 x^2 + A/2 x^2) at its end.
    A = 0.0
    for _ in range(2000):
        weight = keep * (g + A)
        A = lam * weight / (lam + weight)
    assert trading_rate(g, lam, rho) == pytest.approx(A, rel=1e-12)


def test_many_steps_are_a_linear_system():
    """Against the normal equations of the unconstrained problem, any horizon."""
    Sigma, f, x = market(3)
    Q = np.diag([0.2, 0.1, 0.4])
    g, rho, H, n = 2.0, 0.1, 4, 3
    keep = 1 - rho
    K, rhs = np.zeros((H * n, H * n)), np.zeros(H * n)
    for h in range(H):
        here = slice(h * n, (h + 1) * n)
        K[here, here] += keep ** (h + 1) * g * Sigma + keep**h * Q
        rhs[here] += keep ** (h + 1) * 0.5**h * f
        if h:
            last = slice((h - 1) * n, h * n)
            K[last, last] += keep**h * Q
            K[here, last] -= keep**h * Q
            K[last, here] -= keep**h * Q
        else:
            rhs[here] += Q @ x
    alpha = 0.5 ** np.arange(H)[:, None] * f
    made = plan(
        x, alpha, Sigma, steps=H, aversion=g, quadratic_cost=Q, discount=rho,
        budget=False,
    )  # fmt: skip
    np.testing.assert_allclose(made.weights.ravel(), np.linalg.solve(K, rhs), atol=1e-6)


def test_without_costs_each_step_is_the_mean_variance_book():
    Sigma, f, x = market(1)
    alpha = np.array([f, 0.3 * f, -f])
    made = plan(x, alpha, Sigma, steps=3, aversion=2.0, budget=False)
    expected = np.linalg.solve(2.0 * Sigma, alpha.T).T
    np.testing.assert_allclose(made.weights, expected, atol=1e-6)


def test_a_forecast_below_the_round_trip_is_not_traded():
    """An alpha of one step has to pay for in and out; a lasting one for in alone."""
    rates = CostRates(np.array([0.004]), np.zeros(1), np.zeros(1), np.zeros(1))
    options = {"steps": 6, "aversion": 1e-3, "costs": rates, "budget": False,
               "lower": 0.0, "upper": 1.0}  # fmt: skip
    short = plan([0.0], np.array([[0.006]] + [[-0.006]] * 5), [[1e-4]], **options)
    lasting = plan([0.0], np.full((6, 1), 0.006), [[1e-4]], **options)
    assert abs(short.weights[0, 0]) < 1e-6
    assert lasting.weights[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert lasting.cost == pytest.approx(0.004, rel=1e-5)


def test_impact_spreads_a_trade_over_the_steps():
    """|z|^(3/2) is convex: with nothing to lose by waiting, in equal parts."""
    H, k = 4, 0.1
    rates = CostRates(np.zeros(1), np.zeros(1), np.array([k]), np.zeros(1))
    moves = np.array([-0.5])
    made = plan(
        [0.8], [0.0], [[0.0]], steps=H, aversion=0.0, costs=rates, budget=False,
        stress={"cap": (moves, np.array([1.0, 1.0, 1.0, 0.1]))},
    )  # fmt: skip
    np.testing.assert_allclose(made.trades[:, 0], -0.15, atol=1e-5)
    assert made.weights[-1, 0] == pytest.approx(0.2, abs=1e-6)
    assert made.duals[:3].max() < 1e-6 < made.duals[3, 0]


# ----------------------------------------------------------------- one step, and more


IMPACT = Costs(5.0, impact=1.0, adv={f"A{i}": 3e6 for i in range(6)}, impact_window=3)
LIMITS = {
    "stress cap": {"stress_caps": CAP},
    "expected shortfall": {"es_cap": 0.08},
    "bounds and turnover": {"upper": 0.25, "turnover": 0.4, "cash": (0.0, 0.3)},
    "tracking error": {"stress_caps": CAP, "tracking_error": 0.2, "cash": (0.0, 1.0)},
    "no sale": {"no_sell": ("A4",), "stress_caps": CAP},
}


def facts_of(costs):
    from dataclasses import replace

    from engine.costs import TradingFacts

    names = tuple(f"A{i}" for i in range(6))
    facts = TradingFacts(names, ("",) * 6, np.full(6, 0.02), np.full(6, np.nan))
    return replace(costs, facts=facts)


@pytest.mark.parametrize("costs", [Costs(), facts_of(IMPACT)], ids=["linear", "impact"])
@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_one_step_is_the_single_period_proposal(limits, costs):
    constraints = Constraints(**({"minimum_trade": 0.0} | limits))
    once = propose(book(W0), random_set(), constraints, costs)
    ahead = propose(
        book(W0), random_set(), constraints, costs, ahead=PlanAhead(steps=1)
    )
    assert once.turnover > 0.01
    np.testing.assert_allclose(ahead.target, once.target, atol=2e-4)
    assert ahead.cost == pytest.approx(once.cost, abs=1e-6)
    assert {c.name for c in ahead.limits} == {c.name for c in once.limits}
    assert all(c.satisfied for c in ahead.limits)


def test_without_forecast_or_impact_waiting_gains_nothing():
    """Linear costs and a constant cap: everything that is traded is traded now."""
    constraints = Constraints(stress_caps=CAP, minimum_trade=0.0)
    once = propose(book(W0), random_set(), constraints, Costs())
    many = propose(
        book(W0), random_set(), constraints, Costs(), ahead=PlanAhead(steps=4)
    )
    np.testing.assert_allclose(many.target, once.target, atol=2e-4)


def test_a_fast_forecast_is_traded_less_than_a_lasting_one():
    traded = []
    for decay in (1.0, 0.5, 0.0):
        made = propose(
            book(W0),
            random_set(),
            Constraints(minimum_trade=0.0),
            Costs(20.0),
            ahead=PlanAhead(steps=6, alpha={"A1": 0.004}, decay=decay),
        )
        traded.append(made.target[1] - W0[1])
    assert traded[0] > traded[1] + 1e-3 > traded[2] > -1e-6


def test_units_and_whole_shares_follow_as_for_one_period():
    prices = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    panel = market_of(prices)
    held = W0 * 1e6
    from engine import Portfolio

    portfolio = Portfolio(
        assets=tuple(f"A{i}" for i in range(6)),
        units=np.floor(held[:6] / prices),
        money=np.full(6, np.nan),
        cash=(("USD", 50_000.0),),
    ).priced(panel)
    made = propose(
        portfolio,
        random_set(),
        Constraints(stress_caps=CAP),
        Costs(),
        market=panel,
        ahead=PlanAhead(steps=3),
    )
    assert made.trades and all(t.units == round(t.units) for t in made.trades)
    assert all(c.satisfied for c in made.limits)


# ------------------------------------------------------------------------- properties


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_every_step_keeps_budget_bounds_and_cap(seed, H, with_impact):
    rng = np.random.default_rng(seed)
    n = 4
    Sigma, f, _ = market(seed, n)
    w0 = rng.dirichlet(np.ones(n))
    k = np.full(n, 0.02 if with_impact else 0.0)
    rates = CostRates(rng.uniform(0, 0.002, n), np.zeros(n), k, np.zeros(n))
    moves = -rng.uniform(0, 0.4, n)
    moves[0] = 0.0
    made = plan(
        w0, f, Sigma, steps=H, aversion=3.0, costs=rates, lower=0.0,
        stress={"cap": (moves, 0.1)},
    )  # fmt: skip
    left = 1.0
    for w, z in zip(made.weights, made.trades, strict=True):
        size = np.abs(z)
        left -= float(rates.rates @ size + k @ size**1.5)
        assert w.sum() == pytest.approx(left, abs=1e-6)
        assert w.min() > -1e-6
        assert -moves @ w <= 0.1 * left + 1e-6
    np.testing.assert_allclose(np.cumsum(made.trades, axis=0) + w0, made.weights)


@settings(deadline=None, derandomize=True, max_examples=10)
@given(st.integers(0, 10**6))
def test_the_order_of_the_assets_means_nothing(seed):
    Sigma, f, x = market(seed)
    order = np.random.default_rng(seed).permutation(3)
    options = {"steps": 3, "aversion": 2.0, "budget": False}
    one = plan(x, f, Sigma, quadratic_cost=Sigma, **options)
    other = plan(
        x[order], f[order], Sigma[np.ix_(order, order)],
        quadratic_cost=Sigma[np.ix_(order, order)], **options,
    )  # fmt: skip
    np.testing.assert_allclose(other.weights, one.weights[:, order], atol=1e-5)


# -------------------------------------------------------------------------- bad input


GOOD = {"current": NONE, "alpha": NONE, "covariance": np.eye(3)}


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"steps": 0}, UsageError, "steps must be a positive integer"),
        ({"steps": 2.0}, UsageError, "steps must be a positive integer"),
        ({"discount": 1.0}, UsageError, "discount must lie"),
        ({"aversion": -1.0}, UsageError, "aversion must not be negative"),
        ({"alpha": np.zeros((3, 3))}, DataError, "alpha does not match"),
        ({"alpha": [0.0, np.nan, 0.0]}, DataError, "alpha must be finite"),
        ({"current": ["a", 0.0, 0.0]}, DataError, "current is not numeric"),
        ({"covariance": np.eye(2)}, DataError, "covariance must be symmetric"),
        ({"covariance": np.diag([1.0, 1.0, -1.0])}, DataError, "semidefinite"),
        ({"quadratic_cost": -np.eye(3)}, DataError, "cost is not positive semidef"),
        (
            {"stress": {"x": (np.full(3, -0.5), -0.1)}, "lower": 0.0, "budget": True,
             "current": np.full(3, 1 / 3)},
            InfeasibleError,
            "no path of trades",
        ),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(bad, error, words):
    options = {"steps": 2, "aversion": 1.0, "budget": False} | bad
    inputs = {k: options.pop(k, v) for k, v in GOOD.items()}
    with pytest.raises(error, match=words):
        plan(*inputs.values(), **options)


def test_forecasts_name_assets_of_the_scenarios():
    with pytest.raises(DataError, match="not among the scenarios; at asset ZZZ"):
        propose(
            book(W0),
            random_set(),
            Constraints(),
            Costs(),
            ahead=PlanAhead(alpha={"ZZZ": 0.01}),
        )
    with pytest.raises(DataError, match="not a number; at asset A1"):
        PlanAhead(alpha={"A1": float("nan")})
    with pytest.raises(UsageError, match="decay must lie"):
        PlanAhead(decay=1.5)
