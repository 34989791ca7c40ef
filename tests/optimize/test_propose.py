"""`propose` against closed forms, a second formulation, and every limit re-checked."""

import cvxpy as cp
import numpy as np
import pytest
from proposal_cases import (
    ALL_IN,
    CAP,
    FREE,
    W0,
    Fixed,
    book,
    draws_of,
    holdings_of,
    labels,
    random_set,
    solve_with,
)

from engine import (
    Constraints,
    Costs,
    GroupLimit,
    InfeasibleError,
    Outcome,
    ReturnModel,
    ScenarioSet,
    StressCap,
    UsageError,
    propose,
    simulate,
)
from engine.errors import DataError

# Closed forms -----------------------------------------------------------------


def test_two_assets_without_costs():
    """A loses 20%, B nothing: a cap of 10% halves A."""
    cap = StressCap(Fixed([-0.2, 0.0, 0.0]), 0.10, quantile="central")
    got = propose(
        book([1.0, 0.0, 0.0]),
        draws_of(np.zeros((4, 2))),
        Constraints(stress_caps=cap, **ALL_IN),
        FREE,
        objective="minimum_cost",
    )
    np.testing.assert_allclose(got.target, [0.5, 0.5, 0.0], atol=1e-7)
    assert got.turnover == pytest.approx(0.5)
    assert got.cost == 0.0
    assert got.stress_before == {"fixed": pytest.approx(0.2)}
    assert got.stress_after == {"fixed": pytest.approx(0.1)}


@pytest.mark.parametrize("bps", [5.0, 100.0, 400.0])
def test_two_assets_with_costs(bps):
    """The purchase pays for both sides: b = s (1 - c)/(1 + c), and s = 1/(1 + that)."""
    c = bps * 1e-4
    ratio = (1 - c) / (1 + c)
    sold = 1 / (1 + ratio)
    cap = StressCap(Fixed([-0.2, 0.0, 0.0]), 0.10, quantile="central")
    got = propose(
        book([1.0, 0.0, 0.0]),
        draws_of(np.zeros((4, 2))),
        Constraints(stress_caps=cap, **ALL_IN),
        Costs(half_spread_bps=bps),
        objective="minimum_cost",
    )
    np.testing.assert_allclose(
        [t.value / 1e6 for t in got.trades], [-sold, sold * ratio], atol=2e-7
    )
    assert got.cost == pytest.approx(c * (sold + sold * ratio), abs=1e-8)
    np.testing.assert_allclose(got.target, [0.5, 0.5, 0.0], atol=2e-7)


def test_minimum_variance_is_the_closed_form_when_it_is_interior():
    C = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, 0.02], [0.0, 0.02, 0.0625]])
    universe = labels(3)
    model = ReturnModel(
        assets=universe.tickers[:3],
        mean=np.zeros(3),
        covariance=C / 252,
        tail_dof=np.inf,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="zero_excess",
        universe=universe.select(universe.tickers[:3]),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )
    scenarios = simulate(model, 32, horizon=1)
    got = propose(
        book([0.2, 0.5, 0.3, 0.0]),
        scenarios,
        Constraints(**ALL_IN),
        FREE,
        objective="minimum_variance",
    )
    expected = np.linalg.solve(C, np.ones(3))
    expected /= expected.sum()
    assert (expected > 0).all()
    np.testing.assert_allclose(got.target[:3], expected, atol=2e-5)


def test_active_risk_spreads_the_proceeds_by_the_kkt_conditions():
    """Sell x of A: buy the others so that their marginal active risk is equal."""
    C = np.diag([0.09, 0.04, 0.16])
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(400, 3))
    raw -= raw.mean(axis=0)
    raw = np.linalg.solve(np.linalg.cholesky(np.cov(raw.T, ddof=0)), raw.T).T
    returns = raw @ np.sqrt(C) * np.sqrt(21 / 252) * 0.5
    scenarios = draws_of(returns)
    cap = StressCap(Fixed([-0.2, 0, 0, 0]), 0.05, quantile="central")
    got = propose(
        book([0.5, 0.25, 0.25, 0.0]),
        scenarios,
        Constraints(stress_caps=cap, **ALL_IN),
        FREE,
    )
    # Uncorrelated: the 0.25 sold is shared in inverse proportion to variance.
    share = (1 / 0.04) / (1 / 0.04 + 1 / 0.16)
    np.testing.assert_allclose(
        got.target, [0.25, 0.25 + 0.25 * share, 0.5 - 0.25 * share, 0], atol=2e-5
    )


# A second formulation ---------------------------------------------------------


def textbook(scenarios, w0, rates, cap, level, *, aversion=None, cash=(0.0, 1.0)):
    """Rockafellar and Uryasev 2000, all scenarios at once, limits of what is left."""
    R, S = scenarios.returns, len(scenarios)
    n = R.shape[1]
    w, b, s = cp.Variable(n), cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
    zeta, u = cp.Variable(), cp.Variable(S, nonneg=True)
    cost = rates @ (b + s)
    nav = 1 - cost
    rows = [
        w == w0 + b - s,
        cp.sum(w) == nav,
        w >= 0,
        w <= nav,
        u >= -(R @ w) - zeta,
        zeta + cp.sum(u) / ((1 - level) * S) <= cap * nav,
        w[-1] >= cash[0] * nav,
        w[-1] <= cash[1] * nav,
    ]
    objective = cost
    if aversion is not None:
        X = (R - R.mean(axis=0)) * np.sqrt(
            scenarios.periods_per_year / scenarios.horizon / S
        )
        objective = cost + aversion * cp.sum_squares(X @ (w - w0 * nav))
    problem = cp.Problem(cp.Minimize(objective), rows)
    problem.solve(solver="CLARABEL")
    assert problem.status == "optimal"
    return problem.value, w.value


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("objective", ["minimum_cost", "cost_and_active_risk"])
def test_expected_shortfall_cap_agrees_with_the_textbook(seed, objective):
    scenarios = random_set(seed)
    w0 = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.33, 0.02])
    costs = Costs(half_spread_bps={"default": 10.0, "A0": 25.0, "A1": 3.0})
    losses = np.sort(scenarios.losses(w0))[::-1]
    cap = 0.7 * losses[:10].mean()  # 95% of 200: the ten worst
    limits = Constraints(es_cap=cap, es_level=0.95, cash=(0.0, 0.05), minimum_trade=0.0)
    got = propose(book(w0), scenarios, limits, costs, objective=objective)
    aversion = None if objective == "minimum_cost" else 1.0
    value, w = textbook(
        scenarios,
        w0,
        costs.rates(scenarios.assets),
        cap,
        0.95,
        aversion=aversion,
        cash=(0.0, 0.05),
    )
    mine = got.cost
    if aversion:
        X = scenarios.returns - scenarios.returns.mean(axis=0)
        active = holdings_of(got) - w0 * (1 - got.cost)
        mine += (X @ active).var() * 12
        np.testing.assert_allclose(holdings_of(got), w, atol=5e-4)
    assert mine == pytest.approx(value, abs=1e-6)
    after = np.sort(scenarios.losses(got.target))[::-1][:10].mean()
    assert after <= cap + 1e-6
    assert got.outcome is Outcome.OPTIMAL
    check = next(c for c in got.limits if c.name == "expected shortfall")
    assert check.after == pytest.approx(after)


def test_the_price_of_a_limit_is_the_saving_from_relaxing_it():
    scenarios = draws_of(np.zeros((4, 2)))
    shock = Fixed([-0.2, 0.0, 0.0])

    def cost_at(limit):
        cap = StressCap(shock, limit, quantile="central")
        return propose(
            book([1.0, 0.0, 0.0]),
            scenarios,
            Constraints(stress_caps=cap, **ALL_IN),
            Costs(half_spread_bps=50.0),
            objective="minimum_cost",
        )

    h = 1e-3
    slope = (cost_at(0.10 - h).cost - cost_at(0.10 + h).cost) / (2 * h)
    price = next(c for c in cost_at(0.10).limits if c.name == "stress:fixed").price
    assert price == pytest.approx(slope, rel=1e-2)


# Doing nothing ----------------------------------------------------------------


@pytest.mark.parametrize("objective", ["cost_and_active_risk", "minimum_cost"])
def test_a_book_within_its_limits_is_left_alone(objective):
    scenarios = random_set()
    w0 = np.array([0.1, 0.2, 0.2, 0.2, 0.1, 0.1, 0.1])
    got = propose(
        book(w0),
        scenarios,
        Constraints(
            es_cap=0.9,
            turnover=0.2,
            tracking_error=0.05,
            stress_caps=StressCap(Fixed([-0.1] * 6 + [0.0]), 0.5, quantile="central"),
        ),
        Costs(),
        objective=objective,
    )
    assert got.outcome is Outcome.NO_TRADE
    assert got.trades == () and got.cost == 0.0 and got.turnover == 0.0
    np.testing.assert_array_equal(got.target, got.current)
    assert all(c.satisfied for c in got.limits)


def test_permuting_the_assets_permutes_the_answer():
    base = random_set(1)
    w0 = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.33, 0.02])
    limits = Constraints(es_cap=0.075, minimum_trade=0.0)
    first = propose(book(w0), base, limits, Costs())
    order = [6, 3, 1, 5, 0, 2, 4]
    assets = tuple(base.assets[i] for i in order)
    moved = ScenarioSet(
        assets=assets,
        returns=base.returns[:, order],
        p=base.p,
        horizon=21,
        universe=base.universe.select(assets),
        base_currency="USD",
        periods_per_year=252.0,
    )
    second = propose(book(w0), moved, limits, Costs())
    for label, weight in first.weights.items():
        assert second.weights[label] == pytest.approx(weight, abs=2e-4)


# Each limit -------------------------------------------------------------------


def test_turnover_is_half_the_sum_with_cash():
    """A peer read 0.05 as an L1 change of 0.30, another as 0.113 (peers 4.3)."""
    free = solve_with()
    limit = free.turnover * 1.0000001
    got = solve_with(turnover=limit)
    assert got.turnover <= limit + 1e-6
    z = got.target - got.current
    assert got.turnover == pytest.approx(0.5 * np.abs(z).sum())
    with pytest.raises(InfeasibleError) as caught:
        solve_with(turnover=0.02)
    assert set(caught.value.conflict) == {"stress:fixed", "turnover"} | (
        set(caught.value.conflict) & {"lower bounds", "upper bounds"}
    )


def test_a_turnover_limit_that_binds_is_spent_and_no_more():
    target = {f"A{i}": 1 / 6 for i in range(6)}
    got = propose(
        book(W0),
        random_set(),
        Constraints(turnover=0.05, minimum_trade=0.0, cash=(0.0, 1.0)),
        FREE,
        benchmark=target,
        active_risk_aversion=100.0,
    )
    assert got.turnover == pytest.approx(0.05, abs=1e-6)
    sold = -sum(t.value for t in got.trades if t.value < 0) / 1e6
    bought = sum(t.value for t in got.trades if t.value > 0) / 1e6
    cash = got.target[-1] - got.current[-1]
    assert max(sold, bought) <= 0.05 + 1e-6
    assert sold - bought == pytest.approx(cash, abs=1e-6)


def test_cash_stays_in_its_band_whatever_the_shock_asks():
    for band in (0.0, 0.01, 0.03):
        got = solve_with(cash_band=band, minimum_trade=0.0)
        assert abs(got.target[-1] - 0.05) <= band + 2e-6
    open_ = solve_with(cash=(0.0, 1.0), objective="minimum_cost")
    assert open_.target[-1] > 0.06
    assert any(w.startswith("MINIMUM COST: the proceeds rest in CASH:USD +") for w in
               open_.warnings)  # fmt: skip


def test_lists_of_names():
    got = solve_with(no_sell=("A4",), no_buy=("A0", "A1"), locked=("A3",))
    traded = {t.ticker: t.value for t in got.trades}
    assert traded.get("A4", 0.0) >= 0
    assert max(traded.get("A0", 0.0), traded.get("A1", 0.0)) <= 0
    assert "A3" not in traded
    assert got.stress_after["fixed"] <= 0.12 + 1e-6
    for name in ("no_buy", "no_sell", "locked"):
        with pytest.raises(UsageError, match="unknown asset; received A9"):
            solve_with(**{name: "A9"})


def test_bounds_by_name_and_default():
    got = solve_with(upper={"default": 0.25, "A0": 0.02}, lower={"A2": 0.12})
    assert got.target[0] <= 0.02 + 1e-6
    assert (got.target[1:6] <= 0.25 + 1e-6).all()
    assert got.target[2] >= 0.12 - 1e-6
    reasons = {t.ticker: t.reason for t in got.trades}
    assert reasons["A4"] == "brought down to its bound of 25.0%"
    assert reasons["A2"] == "brought up to its bound of 12.0%"
    with pytest.raises(UsageError, match=r"upper names an unknown asset; received A7"):
        solve_with(upper={"A7": 0.1})
    with pytest.raises(
        UsageError, match=r"bounds are crossed; received A0: 0\.5 and 0"
    ):
        solve_with(lower={"A0": 0.5}, upper=0.2)
    with pytest.raises(DataError, match="upper bound is not a number"):
        solve_with(upper=float("nan"))


def test_group_limits():
    got = solve_with(
        stress_caps=(),
        groups=(
            GroupLimit("country", "TW", upper=0.40),
            GroupLimit("ticker", "A0", 0.1),
        ),
    )
    assert got.target[4:6].sum() == pytest.approx(0.40, abs=1e-5)
    assert got.target[0] == pytest.approx(0.10, abs=1e-5)
    named = {c.name: c for c in got.limits}
    assert named["country:TW"].before == pytest.approx(0.60)
    assert named["country:TW"].price > 0
    assert named["ticker:A0 (least)"].satisfied
    reasons = {t.ticker: t.reason for t in got.trades}
    assert "brings country:TW within its limit" in (reasons["A4"], reasons["A5"])


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (GroupLimit("country", "Twaiwan"), "no asset has country 'Twaiwan'"),
        (GroupLimit("country", "TWW"), "Did you mean TW?"),
        (GroupLimit("contry", "TW"), "unknown grouping; received 'contry'"),
    ],
)
def test_a_misspelt_group_is_not_an_empty_limit(group, words):
    with pytest.raises((UsageError, DataError)) as caught:
        solve_with(groups=group)
    assert words in str(caught.value)


def test_tracking_error_is_recomputed_from_the_weights():
    free = solve_with(objective="minimum_cost", cash=(0.0, 0.3))
    scenarios = random_set()
    X = scenarios.returns - scenarios.returns.mean(axis=0)

    def error_of(proposal):
        return (X @ (proposal.target - proposal.current)).std() * np.sqrt(12)

    limit = 0.9 * error_of(free)
    got = solve_with(objective="minimum_cost", cash=(0.0, 0.3), tracking_error=limit)
    assert error_of(got) <= limit + 1e-6
    assert got.cost >= free.cost - 1e-9
    check = next(c for c in got.limits if c.name == "tracking error")
    assert check.after == pytest.approx(error_of(got), rel=1e-6)


def test_a_given_benchmark_attracts_by_its_price():
    target = {f"A{i}": 1 / 6 for i in range(6)}
    near = propose(
        book(W0),
        random_set(),
        Constraints(cash=(0.0, 1.0)),
        FREE,
        benchmark=target,
        active_risk_aversion=1.0,
    )
    np.testing.assert_allclose(near.target, [1 / 6] * 6 + [0.0], atol=2e-3)
    far = propose(
        book(W0),
        random_set(),
        Constraints(cash=(0.0, 1.0)),
        Costs(half_spread_bps=500.0),
        benchmark=target,
    )
    assert far.turnover < near.turnover


def test_two_shocks_and_two_severities():
    mild = Fixed([0, 0, 0, -0.3, 0, 0, 0], name="mild")
    both = (CAP, StressCap(mild, 0.03, quantile="central"))
    got = solve_with(stress_caps=both)
    assert got.stress_after["fixed"] <= 0.12 + 1e-6
    assert got.stress_after["mild"] <= 0.03 + 1e-6
    with pytest.raises(UsageError, match="two stress caps on one shock"):
        solve_with(stress_caps=(CAP, CAP))


def test_gains_count_only_at_their_credit():
    """Winners cannot be levered against losers: without credit they are worth zero."""
    shock = Fixed([0.5, 0.0, 0.0, 0.0, -0.2, -0.3, 0.0])
    none = solve_with(stress_caps=StressCap(shock, 0.05, quantile="central"))
    half = solve_with(
        stress_caps=StressCap(shock, 0.05, quantile="central", winner_credit=0.5)
    )
    x = np.array([0.5, 0, 0, 0, -0.2, -0.3, 0])
    assert -np.minimum(x, 0) @ none.target <= 0.05 + 1e-6
    assert -np.where(x > 0, 0.5 * x, x) @ half.target <= 0.05 + 1e-6
    assert half.turnover < none.turnover
    for bad in (-0.1, 1.1):
        with pytest.raises(UsageError, match="winner_credit"):
            StressCap(shock, 0.05, winner_credit=bad)
