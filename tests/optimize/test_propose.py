"""`propose` against closed forms, a second formulation, and every limit re-checked."""

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    CheapModelShock,
    Constraints,
    Costs,
    GroupLimit,
    InfeasibleError,
    LookAheadError,
    ModelError,
    Outcome,
    Portfolio,
    PricePanel,
    ReturnModel,
    ScenarioSet,
    StressCap,
    Universe,
    UsageError,
    propose,
    simulate,
    stress,
)
from engine.errors import DataError
from engine.optimize.rounding import to_orders
from engine.shocks import ShockMoves

FREE = Costs(half_spread_bps=0.0)
ALL_IN = {"cash": (0.0, 0.0), "minimum_trade": 0.0}


class Fixed:
    """A shock with given moves: one row, or equally likely severities."""

    def __init__(self, moves, name="fixed", known_from="2020-01-01"):
        self.draws = np.atleast_2d(np.asarray(moves, dtype=float))
        self.name = name
        self.known_from = np.datetime64(known_from)

    def moves(self, universe, model=None):
        return ShockMoves(
            assets=universe.tickers,
            central=self.draws.mean(axis=0),
            draws=self.draws,
            driver=self.draws.mean(axis=1),
            basis=("given",) * len(universe),
            parts={},
        )


def labels(n, **columns):
    return Universe(
        (*(f"A{i}" for i in range(n)), "CASH:USD"),
        quote_currency=("USD",) * (n + 1),
        **columns,
    )


def draws_of(returns, **columns):
    """Scenarios of n assets and cash, no model behind them."""
    returns = np.asarray(returns, dtype=float)
    S, n = returns.shape
    universe = labels(n, **columns)
    return ScenarioSet(
        assets=universe.tickers,
        returns=np.column_stack([returns, np.zeros(S)]),
        p=np.full(S, 1 / S),
        horizon=21,
        universe=universe,
        base_currency="USD",
        periods_per_year=252.0,
    )


def random_set(seed=0, S=200, n=6, **columns):
    rng = np.random.default_rng(seed)
    factor = rng.standard_t(5, (S, 1)) * 0.04
    scale = np.linspace(0.3, 1.8, n)
    returns = np.maximum(factor * scale + rng.normal(0, 0.03, (S, n)), -0.8)
    return draws_of(returns - returns.mean(axis=0), **columns)


def book(weights, value=1_000_000.0):
    n = len(weights) - 1
    return Portfolio.from_weights(
        dict(zip((*(f"A{i}" for i in range(n)), "CASH:USD"), weights, strict=True)),
        value,
        "USD",
    )


def holdings_of(proposal):
    """Fractions of value before trading, from the weights after costs."""
    return proposal.target * (1.0 - proposal.cost)


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

W0 = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.30, 0.05])
SHOCK = Fixed([0.0, -0.02, -0.05, -0.1, -0.2, -0.3, 0.0])
CAP = StressCap(SHOCK, 0.12, quantile="central")


def solve_with(costs=None, objective="cost_and_active_risk", **limits):
    return propose(
        book(W0),
        random_set(country=("US",) * 4 + ("TW", "TW", "")),
        Constraints(**({"stress_caps": CAP} | limits)),
        costs or Costs(),
        objective=objective,
    )


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


# Costs and taxes --------------------------------------------------------------


def test_cost_is_what_the_broker_would_charge():
    costs = Costs(half_spread_bps={"default": 7.0, "A5": 30.0}, commission_bps=2.0)
    got = solve_with(costs)
    z = np.zeros(7)
    for t in got.trades:
        z[int(t.ticker[1])] = t.value
    assert got.cost * got.value == pytest.approx(
        costs.charge([*(f"A{i}" for i in range(6)), "CASH:USD"], z), rel=1e-12
    )
    moved = got.current * got.value + z
    moved[-1] -= z.sum() + got.cost * got.value
    np.testing.assert_allclose(got.target, moved / moved.sum(), atol=1e-12)


def market_of(prices, basis="raw", n=6):
    return PricePanel(
        dates=np.array(["2025-01-24"], "datetime64[D]"),
        prices=np.atleast_2d(prices),
        universe=Universe(
            tuple(f"A{i}" for i in range(n)), quote_currency=("USD",) * n
        ),
        price_basis=basis,
        base_currency="USD",
    )


def test_a_taxed_gain_is_sold_less():
    prices = np.full(6, 100.0)
    rows = {
        "ticker": [*(f"A{i}" for i in range(6)), "CASH:USD"],
        "weight": W0,
        "cost_basis": [np.nan] * 4 + [100.0, 20.0, np.nan],
        "tax_rate": [0.0] * 4 + [0.238, 0.238, 0.0],
    }
    taxed = Portfolio.read(pd.DataFrame(rows), value=1e6)
    shock = Fixed([0, 0, 0, 0, -0.2, -0.2, 0])
    limits = Constraints(stress_caps=StressCap(shock, 0.08, quantile="central"))
    market = market_of(prices, "total_return")
    plain = propose(book(W0), random_set(), limits, Costs(), market=market)
    got = propose(taxed, random_set(), limits, Costs(), market=market)
    sold = {t.ticker: -t.value for t in got.trades if t.value < 0}
    before = {t.ticker: -t.value for t in plain.trades if t.value < 0}
    assert sold.get("A5", 0.0) < 0.2 * before["A5"]
    assert sold["A4"] > before["A4"]  # bought at today's price: no gain, no tax
    gain = sold.get("A5", 0.0) * 0.238 * (1 - 20 / 100)
    spread = sum(abs(t.value) for t in got.trades) * 5e-4
    assert got.cost * 1e6 == pytest.approx(gain + spread, rel=1e-6)
    with pytest.raises(
        UsageError, match=r"taxes need prices; at asset A4\. Pass market"
    ):
        propose(taxed, random_set(), limits, Costs())


# Whole shares -----------------------------------------------------------------

PRICES = np.array([37.5, 410.0, 92.0, 1180.0, 140.0, 655.0])


def whole_book(value=250_000.0):
    shares = np.floor(W0[:6] * value / PRICES)
    return Portfolio.read(
        pd.DataFrame(
            {
                "ticker": [*(f"A{i}" for i in range(6)), "CASH:USD"],
                "shares": [*shares, value - shares @ PRICES],
            }
        )
    ).priced(market_of(PRICES))


@pytest.mark.parametrize("value", [25_000.0, 250_000.0, 5_000_000.0])
@pytest.mark.parametrize("bps", [0.0, 5.0, 60.0])
def test_whole_shares_keep_every_limit(value, bps):
    held = whole_book(value)
    got = propose(
        held,
        random_set(),
        Constraints(stress_caps=CAP, turnover=0.6, cash_band=0.06),
        Costs(half_spread_bps=bps),
        market=market_of(PRICES),
    )
    for t in got.trades:
        assert t.units == round(t.units)
        assert t.value == pytest.approx(t.units * PRICES[int(t.ticker[1])])
        assert held.units[int(t.ticker[1])] + t.units >= 0
    assert got.target.min() >= 0.0
    assert got.stress_after["fixed"] <= 0.12 + 1e-6
    assert got.turnover <= 0.6
    assert got.outcome is Outcome.OPTIMAL
    assert got.target.sum() == pytest.approx(1.0, abs=1e-12)


def test_sales_round_up_and_purchases_down():
    """Rounding never adds to a loss: 10.4 sold is 11, 10.4 bought is 10."""
    orders = to_orders(
        np.array([0.4 - 0.104, 0.3 + 0.104, 0.3]),
        np.array([0.4, 0.3, 0.3]),
        value=1000.0,
        unit_price=np.array([10.0, 10.0, 1.0]),
        units_held=np.array([40.0, 30.0, 300.0]),
        cash_row=2,
        whole=True,
        costs=FREE,
        assets=("A0", "A1", "CASH:USD"),
        foreign=np.zeros(3, dtype=bool),
        tax=np.zeros(3),
        minimum_trade=0.0,
    )
    assert orders.units.tolist() == [-11.0, 10.0, 0.0]
    np.testing.assert_allclose(orders.weights, [0.29, 0.40, 0.31])


def test_fractions_are_kept_where_prices_are_adjusted():
    got = propose(
        whole_book(),
        random_set(),
        Constraints(stress_caps=CAP, cash_band=0.05),
        Costs(),
        market=market_of(PRICES, "total_return"),
    )
    assert any(t.units != round(t.units) for t in got.trades)


def test_rounding_that_breaks_a_limit_says_so():
    """One share is 90% of the book: whole shares cannot be spread over two names."""
    prices = np.array([900.0, 900.0])
    scenarios = draws_of(np.random.default_rng(0).normal(0, 0.02, (50, 2)))
    held = Portfolio.read(
        pd.DataFrame({"ticker": ["A0", "CASH:USD"], "shares": [1, 100]})
    ).priced(market_of(prices, n=2))
    got = propose(
        held,
        scenarios,
        Constraints(
            groups=(
                GroupLimit("ticker", "A0", lower=0.3),
                GroupLimit("ticker", "A1", lower=0.3),
            ),
            cash=(0.0, 1.0),
        ),
        FREE,
        market=market_of(prices, n=2),
    )
    assert got.outcome is Outcome.ROUNDING
    short = [c.name for c in got.limits if not c.satisfied]
    assert short and all(name.endswith("(least)") for name in short)


def test_a_fixed_commission_never_leaves_a_debt():
    """The optimiser does not see a minimum per order; the orders must still be paid."""
    got = propose(
        book([0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0], 10_000.0),
        random_set(),
        Constraints(
            stress_caps=StressCap(
                Fixed([-0.2, 0, 0, 0, 0, 0, 0]), 0.05, quantile="central"
            ),
            cash=(0.0, 0.0),
        ),
        Costs(half_spread_bps=1.0, minimum_commission=20.0),
    )
    assert got.target.min() >= 0.0
    assert got.stress_after["fixed"] <= 0.05 + 1e-6


def test_trades_too_small_to_make_leave_no_debt():
    """Forty sales of half a basis point are dropped: what they paid for is too."""
    n = 40
    w0 = np.full(n + 2, 0.0)
    w0[:n] = 1 / n
    shock = Fixed([*[-0.1] * n, 0.0, 0.0])
    limit = 0.1 * (1 - n * 0.5e-4)
    scenarios = draws_of(np.random.default_rng(0).normal(0, 1e-9, (50, n + 1)))
    got = propose(
        book(w0),
        scenarios,
        Constraints(
            stress_caps=StressCap(shock, limit, quantile="central"), cash=(0.0, 0.0)
        ),
        FREE,
    )
    assert got.target.min() >= 0.0
    assert got.target.sum() == pytest.approx(1.0)


# Stamps and refusals ----------------------------------------------------------


def test_a_shock_is_not_used_before_it_was_known():
    universe = Universe(
        ("A0", "A1"), asset_class=("equity",) * 2, role=("accelerator", "none"),
        quote_currency=("USD",) * 2,
    )  # fmt: skip
    model = ReturnModel(
        assets=universe.tickers,
        mean=np.zeros(2),
        covariance=np.eye(2) * 1e-4,
        tail_dof=np.inf,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="sample",
        universe=universe,
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )
    scenarios = simulate(model, 64)
    limits = Constraints(stress_caps=StressCap(CheapModelShock(), 0.05))
    held = book([0.5, 0.4, 0.1])
    with pytest.raises(LookAheadError, match="cheap-model:market_view was not known"):
        propose(held, scenarios, limits, Costs())
    got = propose(held, scenarios, limits, Costs(), hindsight_parameters=True)
    assert got.warnings[0].startswith("SAMPLE MEAN")
    assert got.warnings[1].startswith("HINDSIGHT PARAMETERS")
    report = stress(
        got.weights, scenarios, CheapModelShock(), hindsight_parameters=True
    )
    assert report.results[0].severe <= 0.05 + 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"objective": "min_cost"},
            "unknown objective; received 'min_cost'; expected c",
        ),
        ({"active_risk_aversion": -1.0}, "active_risk_aversion must not be negative"),
        ({"active_risk_aversion": float("nan")}, "active_risk_aversion must not be"),
    ],
)
def test_options_that_do_not_exist(options, words):
    with pytest.raises(UsageError) as caught:
        propose(book(W0), random_set(), Constraints(), Costs(), **options)
    assert words in str(caught.value)


def test_holdings_outside_the_scenarios_are_named():
    held = Portfolio.from_weights({"A0": 0.5, "ZZZ": 0.5}, 1.0, "USD")
    with pytest.raises(DataError, match=r"not covered.*at asset ZZZ"):
        propose(held, random_set(), Constraints(), Costs())
    with pytest.raises(DataError, match="no price to size an order with; at asset A0"):
        market = market_of([100.0] * 6).select(["A1", "A2", "A3", "A4", "A5"])
        propose(book(W0), random_set(), Constraints(), Costs(), market=market)


def test_a_book_priced_elsewhere_is_refused():
    """Units would be sized at one price and valued at another."""
    with pytest.raises(UsageError, match=r"priced at other prices.*A1: 410 and 420"):
        propose(
            whole_book(),
            random_set(),
            Constraints(stress_caps=CAP),
            Costs(),
            market=market_of(PRICES + np.eye(6)[1] * 10),
        )


def test_scenarios_without_cash_are_refused():
    full = random_set()
    universe = full.universe.select(full.assets[:6])
    bare = ScenarioSet(
        assets=universe.tickers,
        returns=full.returns[:, :6],
        p=full.p,
        horizon=21,
        universe=universe,
        base_currency="USD",
        periods_per_year=252.0,
    )
    with pytest.raises(
        DataError, match="hold no base-currency cash; at asset CASH:USD"
    ):
        propose(book(W0), bare, Constraints(), Costs())


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"turnover": -0.1}, "turnover must not be negative"),
        ({"turnover": float("nan")}, "turnover must not be negative"),
        ({"es_cap": float("inf")}, "es_cap must not be negative"),
        ({"tracking_error": -1.0}, "tracking_error must not be negative"),
        ({"cash_band": 1.5}, "cash_band lies in [0, 1]"),
        ({"cash_band": float("nan")}, "cash_band lies in [0, 1]"),
        ({"cash": (0.3, 0.1)}, "cash limits are crossed or not numbers"),
        ({"cash": (float("nan"), 0.1)}, "cash limits are crossed or not numbers"),
        ({"minimum_trade": float("nan")}, "minimum_trade must not be negative"),
        ({"minimum_trade": -1.0}, "minimum_trade must not be negative"),
        ({"es_level": 95}, "level is a confidence in (0, 1)"),
        (
            {"groups": GroupLimit("country", "TW", 0.5, 0.4)},
            "group country:TW are cross",
        ),
    ],
)
def test_limits_that_mean_nothing_are_refused_when_stated(limits, words):
    with pytest.raises(UsageError) as caught:
        Constraints(**limits)
    assert words in str(caught.value)


def test_stress_caps_that_mean_nothing():
    for bad in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="stress cap must be a number"):
            StressCap(SHOCK, bad)
    for bad in (0, 1.0, 1.5, "severe", True):
        with pytest.raises(UsageError, match="quantile of a stress cap"):
            StressCap(SHOCK, 0.1, quantile=bad)


# Properties -------------------------------------------------------------------


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    tightness=st.floats(0.3, 1.2),
    bps=st.floats(0.0, 60.0),
    n=st.integers(3, 7),
    whole=st.booleans(),
    quantile=st.sampled_from(["central", 0.5, 0.9]),
)
def test_whatever_is_asked_every_limit_holds(seed, tightness, bps, n, whole, quantile):
    rng = np.random.default_rng(seed)
    scenarios = random_set(seed, S=60, n=n)
    w0 = rng.dirichlet(np.ones(n + 1))
    size = rng.uniform(0.0, 0.4, n)
    size[0] = 0.0  # something safe exists
    noise = rng.uniform(0.5, 1.8, (300, 1)) * rng.uniform(0.7, 1.3, (300, n))
    moves = np.column_stack([-np.minimum(size * noise, 0.9), np.zeros(300)])
    prices = rng.uniform(5, 50, n)
    shock = Fixed(moves)

    def loss(w):
        if quantile == "central":
            return float(-moves.mean(axis=0) @ w)
        # Smallest loss with at least that share of draws at or below it.
        return float(np.quantile(-(moves @ w), quantile, method="inverted_cdf"))

    limit = tightness * loss(w0)
    cap = StressCap(shock, limit, quantile=quantile)
    held = book(w0, 1e6)
    got = propose(
        held,
        scenarios,
        Constraints(stress_caps=cap, cash_band=0.05),
        Costs(half_spread_bps=bps),
        market=market_of(prices, "raw" if whole else "split_adjusted", n),
    )
    assert got.target.sum() == pytest.approx(1.0, abs=1e-9)
    assert got.target.min() >= -1e-12
    assert got.outcome in (Outcome.OPTIMAL, Outcome.NO_TRADE)
    assert loss(got.target) <= limit + 2e-6
    low, high = max(0.0, w0[-1] - 0.05), w0[-1] + 0.05
    assert low - 2e-4 <= got.target[-1] <= high + 2e-4
    traded = sum(abs(t.value) for t in got.trades)
    assert got.cost * 1e6 == pytest.approx(traded * bps * 1e-4, abs=1e-6)
    if tightness >= 1.0:
        assert got.trades == ()


def test_a_model_error_is_not_a_trade():
    """All means negative: a peer returned fully invested weights in silence (4.1)."""
    with pytest.raises(ModelError, match="loses all or more"):
        draws_of(np.full((4, 2), -1.0))
