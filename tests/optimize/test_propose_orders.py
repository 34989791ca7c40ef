"""Orders of a proposal: costs, taxes, whole shares, refusals, properties."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from proposal_cases import (
    CAP,
    FREE,
    SHOCK,
    W0,
    Fixed,
    book,
    draws_of,
    market_of,
    random_set,
    solve_with,
)

from engine import (
    CheapModelShock,
    Constraints,
    Costs,
    GroupLimit,
    LookAheadError,
    ModelError,
    Outcome,
    Portfolio,
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
@example(seed=3, tightness=0.625, bps=1.0, n=3, whole=False, quantile=0.5)
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
