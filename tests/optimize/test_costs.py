"""Costs: one object, the same numbers for the optimiser and for the broker."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Costs, DataError, Portfolio, PricePanel, Universe, UsageError
from engine.optimize._cost_terms import CostRates, paid
from engine.optimize.problem import Setup, optimise

NAMES = ("AAA", "BBB", "CASH:USD")


def test_rates_by_hand():
    costs = Costs(half_spread_bps=5.0, commission_bps=2.0, fx_bps=3.0)
    foreign = np.array([False, True, False])
    np.testing.assert_allclose(costs.rates(NAMES), [7e-4, 7e-4, 0.0])
    np.testing.assert_allclose(costs.rates(NAMES, foreign=foreign), [7e-4, 10e-4, 0])


def test_the_unit_is_one_way_on_traded_value():
    """10 bp of one trade cost 10 bp once; a peer charged them every day (peers 4.4)."""
    costs = Costs(half_spread_bps=10.0)
    assert costs.charge(["AAA"], [10_000.0]) == pytest.approx(10.0)
    assert costs.charge(["AAA"], [-10_000.0]) == pytest.approx(10.0)
    assert costs.charge(["AAA"], [0.0]) == 0.0


def test_rates_by_ticker_with_a_default():
    costs = Costs(half_spread_bps={"AAA": 1.0, "default": 8.0})
    np.testing.assert_allclose(costs.rates(NAMES), [1e-4, 8e-4, 0.0])
    with pytest.raises(DataError, match=r"not given for an asset; at asset BBB.*'defa"):
        Costs(half_spread_bps={"AAA": 1.0}).rates(NAMES)
    assert Costs(half_spread_bps={"AAA": 0.0, "default": 8.0}).rates(["AAA"])[0] == 0.0


def test_minimum_commission_is_per_order():
    costs = Costs(half_spread_bps=10.0, minimum_commission=3.0)
    assert costs.charge(NAMES, [1000.0, 10_000.0, -11_000.0]) == pytest.approx(3 + 10)
    assert costs.charge(NAMES, [0.0, 0.0, 0.0]) == 0.0


def test_tax_is_on_the_gain_of_what_is_sold():
    """An 80% gain at 23.8% costs 19% of the sale (methods 7)."""
    rates = Costs.tax_rates(
        np.array([100.0, 100.0, 100.0]),
        np.array([20.0, 150.0, np.nan]),
        np.array([0.238, 0.238, 0.0]),
    )
    np.testing.assert_allclose(rates, [0.238 * 0.8, 0.0, 0.0])
    free = Costs(half_spread_bps=0.0)
    names = ("A", "B", "C")
    assert free.charge(names, [-1000.0, -1000.0, -1000.0], tax_rates=rates) == (
        pytest.approx(190.4)
    )
    assert free.charge(names, [1000.0, 0.0, 0.0], tax_rates=rates) == 0.0
    with pytest.raises(DataError, match="tax rate without a cost basis"):
        Costs.tax_rates(100.0, np.nan, 0.2)


@given(
    trades=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    bps=st.floats(0, 100),
    scale=st.floats(0.1, 10),
)
def test_proportional_costs_are_rates_times_traded_value(trades, bps, scale):
    costs = Costs(half_spread_bps=bps)
    z = np.array(trades)
    expected = costs.rates(NAMES) @ np.abs(z)
    assert costs.charge(NAMES, z) == pytest.approx(expected)
    assert costs.charge(NAMES, scale * z) == pytest.approx(scale * expected)
    assert costs.charge(NAMES, -z) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad",
    [
        {"half_spread_bps": -1.0},
        {"half_spread_bps": float("nan")},
        {"half_spread_bps": float("inf")},
        {"half_spread_bps": {"AAA": -1.0}},
        {"half_spread_bps": {"default": float("nan")}},
        {"half_spread_bps": "wide"},
        {"half_spread_bps": {"AAA": "wide"}},
        {"commission_bps": -0.1},
        {"fx_bps": -1.0},
        {"fx_bps": float("nan")},
        {"fx_bps": "x"},
        {"minimum_commission": -1.0},
        {"minimum_commission": float("inf")},
        {"impact": -1.0},
        {"impact": "much"},
        {"borrow_bps": -1.0},
        {"borrow_bps": {"AAA": float("nan")}},
        {"borrow_days": -1.0},
        {"margin_bps": float("inf")},
    ],
)
def test_a_cost_that_cannot_be_is_refused_when_stated(bad):
    name = next(iter(bad))
    with pytest.raises(DataError, match=f"{name} must (not be negative|be a number)"):
        Costs(**bad)


def test_the_ticker_of_a_negative_cost_is_named():
    with pytest.raises(DataError, match="at asset AAA; received -1"):
        Costs(half_spread_bps={"AAA": -1.0, "default": 1.0})


def test_costs_survive_pickling():
    costs = Costs(half_spread_bps={"default": 3.0}, fx_bps=1.0)
    again = pickle.loads(pickle.dumps(costs))
    np.testing.assert_array_equal(again.rates(NAMES), costs.rates(NAMES))


def test_the_callers_mapping_is_copied():
    mine = {"default": 3.0}
    costs = Costs(half_spread_bps=mine)
    mine["default"] = 99.0
    assert costs.rates(["AAA"])[0] == pytest.approx(3e-4)


# ----------------------------------------------------------------------------- impact

T = 100


def panel_of(volume=None, *, prices=None, base="USD", **options):
    rng = np.random.default_rng(7)
    if prices is None:
        prices = 20 * np.exp(np.cumsum(rng.normal(0, [0.01, 0.03], (T, 2)), axis=0))
    return PricePanel(
        dates=np.datetime64("2024-01-01") + np.arange(len(prices)),
        prices=prices,
        volume=volume,
        universe=Universe(
            ("AAA", "BBB"),
            quote_currency=("USD", "EUR"),
            asset_class=("equity", "fund"),
        ),
        price_basis="total_return",
        base_currency=base,
        fx_currencies=("EUR",),
        fx=np.full((len(prices), 1), 1.25),
        **options,
    )


VOLUME = np.random.default_rng(8).uniform(1e4, 1e5, (T, 2))
NAN = float("nan")


def test_impact_by_hand():
    """b sigma |x|^1.5 / sqrt(V), sigma and V of the last sessions (Boyd 2017)."""
    panel = panel_of(VOLUME)
    costs = Costs(0.0, impact=0.8, impact_window=40).at(panel)
    sigma = np.diff(np.log(panel.prices[-41:]), axis=0).std(axis=0, ddof=1)
    V = (VOLUME * panel.prices * [1.0, 1.25])[-40:].mean(axis=0)
    np.testing.assert_allclose(costs.daily_volume(NAMES)[:2], V, rtol=1e-14)
    k = costs.impact_coefficients(NAMES)
    np.testing.assert_allclose(k, [*(0.8 * sigma / np.sqrt(V)), 0.0], rtol=1e-12)
    x = np.array([1e5, -3e5, 7e5])
    assert costs.charge(NAMES, x) == pytest.approx(
        0.8 * (sigma * np.abs(x[:2]) ** 1.5 / np.sqrt(V)).sum(), rel=1e-12
    )
    # Four times the trade costs eight times as much.
    assert costs.charge(NAMES, 4 * x) == pytest.approx(8 * costs.charge(NAMES, x))


def test_impact_reads_nothing_after_the_view():
    costs = Costs(0.0, impact=1.0, impact_window=30)
    whole, later = panel_of(VOLUME), VOLUME.copy()
    later[70:] *= 50.0
    prices = whole.prices.copy()
    prices[70:] *= np.linspace(1, 9, T - 70)[:, None]
    changed = panel_of(later, prices=prices)
    date = whole.dates[69]
    np.testing.assert_array_equal(
        costs.at(whole.as_of(date)).impact_coefficients(NAMES),
        costs.at(changed.as_of(date)).impact_coefficients(NAMES),
    )


def test_missing_cells_are_left_out_and_a_third_must_be_there():
    panel, volume = panel_of(VOLUME), VOLUME.copy()
    prices = panel.prices.copy()
    prices[-10::3, 1] = NAN
    volume[-10::2, 1] = NAN
    costs = Costs(0.0, impact=1.0, impact_window=30)
    got = costs.at(panel_of(volume, prices=prices))
    own = prices[-31:, 1][np.isfinite(prices[-31:, 1])]
    traded = (volume * prices)[-30:, 1] * 1.25
    want = np.diff(np.log(own)).std(ddof=1) / np.sqrt(np.nanmean(traded))
    assert got.impact_coefficients(["BBB"])[0] == pytest.approx(want, rel=1e-12)
    volume[-30:-9, 1] = NAN  # nine cells left at most
    with pytest.raises(DataError, match=r"no trading volume is known; at asset BBB"):
        costs.at(panel_of(volume)).impact_coefficients(NAMES)
    prices[:-8, 1] = NAN
    with pytest.raises(DataError, match=r"too short a history.*asset BBB"):
        (
            Costs(0.0, impact=1.0, impact_window=30, adv={"BBB": 1e6})
            .at(panel_of(VOLUME, prices=prices))
            .impact_coefficients(NAMES)
        )


def test_what_has_no_volume_is_not_free():
    unknown = panel_of(None)
    with pytest.raises(
        DataError, match=r"no trading volume.*AAA.*flat_impact_bps.*adv"
    ):
        Costs(impact=1.0).at(unknown).charge(NAMES, [1.0, 0.0, 0.0])
    flat = Costs(5.0, impact=1.0, flat_impact_bps={"fund": 20.0, "default": 3.0})
    known = flat.at(unknown)
    np.testing.assert_allclose(known.rates(NAMES), [8e-4, 25e-4, 0.0])
    np.testing.assert_array_equal(known.impact_coefficients(NAMES), np.zeros(3))
    assert np.isinf(known.daily_volume(NAMES)).all()
    # Where a volume is known the flat class does not stand in for it.
    assert flat.at(panel_of(VOLUME)).rates(NAMES)[1] == pytest.approx(5e-4)
    given = Costs(5.0, impact=1.0, adv={"AAA": 4e6, "BBB": 1e6}).at(unknown)
    np.testing.assert_allclose(given.daily_volume(NAMES), [4e6, 1e6, np.inf])


def test_impact_without_a_market_says_what_to_do():
    with pytest.raises(UsageError, match=r"need volumes.*costs.at\(view\)"):
        Costs(impact=1.0).charge(NAMES, [1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"flat_impact_bps": {"default": 3.0}}, "switched off"),
        ({"impact": 1.0, "flat_impact_bps": 3.0}, "must be a mapping"),
        ({"impact": 1.0, "flat_impact_bps": {"fund": -1.0}}, "zero or positive.*fund"),
        ({"adv": {"AAA": 0.0}}, "adv must be positive; at asset AAA"),
        ({"impact_window": 2}, "at least three sessions"),
        ({"impact_window": 20.0}, "at least three sessions"),
    ],
)
def test_an_impact_that_cannot_be_is_refused_when_stated(bad, words):
    with pytest.raises(DataError, match=words):
        Costs(**bad)


def test_the_fee_of_a_short_position_by_ticker():
    costs = Costs(borrow_bps={"AAA": 30.0, "default": 400.0})
    np.testing.assert_allclose(costs.borrow_rates(NAMES), [0.003, 0.04, 0.0])


def test_tax_is_in_the_currency_of_the_price():
    """A loss in euro that is a gain in dollars earns no tax, and no credit."""
    from backtests import backtest
    from strategies import Hold

    prices = np.array([[10.0, 50.0], [10.0, 40.0], [10.0, 40.0]])
    panel = PricePanel(
        dates=np.datetime64("2024-01-01") + np.arange(3),
        prices=prices,
        universe=Universe(("AAA", "BBB"), quote_currency=("USD", "EUR")),
        price_basis="total_return",
        base_currency="USD",
        fx_currencies=("EUR",),
        fx=np.array([[1.0], [2.0], [2.0]]),
    )
    book = Portfolio(
        assets=("AAA", "BBB"),
        units=np.array([100.0, 100.0]),
        money=np.full(2, NAN),
        cost_basis=np.array([4.0, 45.0]),
        tax_rate=np.full(2, 0.25),
    )
    r = backtest(
        Hold({"CASH:USD": 1.0, "AAA": 0.0, "BBB": 0.0}),
        panel,
        portfolio=book,
        schedule="once",
        costs=Costs(0.0),
    )
    assert r.taxes.sum() == pytest.approx(0.25 * (10 - 4) * 100, rel=1e-14)


def setup_of(n=1, k=0.02, borrow=0.0, current=None, **changes):
    """n equal assets and cash; variance is the only thing against the benchmark."""
    current = np.append(np.zeros(n), 1.0) if current is None else current
    root = np.vstack([0.2 * np.eye(n), np.zeros(n)])
    values = {
        "assets": (*(f"A{i}" for i in range(n)), "CASH:USD"),
        "current": current,
        "benchmark": np.append(np.full(n, 0.9 / n), 0.1),
        "lower": np.zeros(n + 1),
        "upper": np.ones(n + 1),
        "may_buy": np.ones(n + 1, dtype=bool),
        "may_sell": np.ones(n + 1, dtype=bool),
        "rates": np.append(np.full(n, 5e-4), 0.0),
        "tax": np.zeros(n + 1),
        "risk_root": root,
        "linear": [],
        "risky": np.append(np.ones(n, dtype=bool), False),
        "measures": [],
        "turnover": None,
        "tracking_error": None,
        "objective": "cost_and_active_risk",
        "aversion": 1.0,
        "impact": np.append(np.full(n, k), 0.0),
        "borrow": np.append(np.full(n, borrow), 0.0),
    }
    return Setup(**(values | changes))


@pytest.mark.parametrize("k", [1e-4, 0.005, 0.02, 0.2])
def test_the_optimiser_weighs_impact_exactly(k):
    """Against a line search on the stated problem, one asset and cash."""
    from scipy.optimize import minimize_scalar

    setup = setup_of(k=k)

    def objective(z):
        cost = 5e-4 * z + k * z**1.5
        return cost + (0.2 * (z - 0.9 * (1.0 - cost))) ** 2

    best = minimize_scalar(objective, bounds=(0, 1), method="bounded",
                           options={"xatol": 1e-10})  # fmt: skip
    solution = optimise(setup)
    z = solution.holdings[0]
    # Flat at the bottom: a trade is known to the root of what its value is known to.
    assert z == pytest.approx(best.x, abs=2e-4)
    assert objective(z) == pytest.approx(best.fun, rel=1e-6)


def test_the_budget_holds_what_the_trade_costs():
    for k in (0.0, 0.01, 0.3):
        setup = setup_of(3, k=k, current=np.array([0.7, 0.1, 0.0, 0.2]))
        solution = optimise(setup)
        spent = paid(setup.costs, solution.holdings - setup.current)
        assert spent > 0
        assert 1.0 - solution.holdings.sum() == pytest.approx(spent, abs=1e-8)


def test_a_dear_borrow_closes_a_short_position():
    """Without a fee the benchmark's short is kept; with a high one it is not opened."""
    options = {
        "benchmark": np.array([-0.2, 1.2]),
        "lower": np.array([-1.0, 0.0]),
        "upper": np.array([1.0, 2.0]),
        "k": 0.0,
        "rates": np.zeros(2),
    }
    free = optimise(setup_of(**options)).weights[0]
    # Marginal variance is 2 x 0.04 x 0.2 = 0.016 at none, falling to zero at -0.2.
    half = optimise(setup_of(**options, borrow=0.008)).weights[0]
    dear = optimise(setup_of(**options, borrow=0.02)).weights[0]
    assert free == pytest.approx(-0.2, abs=1e-5)
    assert half == pytest.approx(-0.1, abs=1e-4)
    assert dear == pytest.approx(0.0, abs=1e-5)


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=2),
    st.floats(0.0, 0.1),
    st.floats(0.01, 100.0),
)
def test_paid_is_a_convex_cost_of_the_trade(z, k, scale):
    rates = CostRates(np.full(2, 1e-3), np.full(2, 0.02), np.full(2, k), np.zeros(2))
    z = np.array(z)
    half = paid(rates, 0.5 * z)
    assert 0.0 <= half <= 0.5 * paid(rates, z) + 1e-15
    assert paid(rates._replace(impact=np.zeros(2)), scale * z) == pytest.approx(
        scale * paid(rates._replace(impact=np.zeros(2)), z)
    )
