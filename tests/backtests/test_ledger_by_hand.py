"""Ledgers small enough to be worked out by hand."""

import numpy as np
import pytest
from ledger_cases import (
    FREE,
    TEN_BPS,
    WEEK,
    Targets,
    check_identity,
    days,
    make_panel,
)

from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data.portfolio import Portfolio
from engine.errors import DataError
from strategies.hold import Hold


def test_two_assets_with_costs_and_drift():
    panel = make_panel([[100, 50], [110, 50], [121, 40], [121, 50]])
    strategy = Targets(
        {
            "2024-01-01": {"A": 0.5, "B": 0.3, "CASH:USD": 0.2},
            "2024-01-03": {"A": 0.5, "B": 0.3, "CASH:USD": 0.2},
        }
    )
    r = backtest(
        strategy,
        panel,
        schedule=["2024-01-03"],
        costs=TEN_BPS,
        initial_value=10_000.0,
    )
    # Monday: decide 50 A and 60 B at 100 and 50. Tuesday: filled at 110 and 50.
    np.testing.assert_array_equal(r.units[0], [0, 0])
    np.testing.assert_allclose(r.units[1], [50, 60])
    spent = 50 * 110 + 60 * 50
    assert r.costs[1] == pytest.approx(spent * 0.001)
    assert r.cash[1] == pytest.approx(10_000 - spent * 1.001)
    assert r.value[1] == pytest.approx(10_000 - spent * 0.001)
    # Wednesday: weights have drifted; the new target is 50% and 30% of this value.
    wednesday = 10_000 - spent * 1.001 + 50 * 121 + 60 * 40
    assert r.value[2] == pytest.approx(wednesday)
    np.testing.assert_allclose(
        r.weights()[2], np.array([6050, 2400, r.cash[2]]) / wednesday
    )
    # Thursday: the units of Wednesday's prices, filled at 121 and 50.
    a, b = 0.5 * wednesday / 121, 0.3 * wednesday / 40
    np.testing.assert_allclose(r.units[3], [a, b])
    sold, bought = (50 - a) * 121, (b - 60) * 50
    assert r.costs[3] == pytest.approx((sold + bought) * 0.001)
    assert r.cash[3] == pytest.approx(r.cash[2] + sold - bought - r.costs[3])
    net = abs(bought - sold)
    before = r.cash[2] + 50 * 121 + 60 * 50
    assert r.turnover[3] == pytest.approx(0.5 * (sold + bought + net) / before)
    assert [f.status for f in r.fills] == ["filled"] * 4
    assert [f.ticker for f in r.fills] == ["A", "B", "A", "B"]
    assert r.fills[2].date == np.datetime64("2024-01-04")
    assert r.fills[2].decided == np.datetime64("2024-01-03")
    assert len(r.decisions) == 2
    check_identity(r)


def test_charges_are_those_of_the_cost_object():
    costs = Costs(half_spread_bps={"A": 3.0, "default": 7.0}, minimum_commission=2.0)
    panel = make_panel([[100, 50], [110, 50], [121, 40]])
    r = backtest(
        Hold({"A": 0.79, "B": 0.01, "CASH:USD": 0.2}),
        panel,
        schedule="once",
        costs=costs,
        initial_value=10_000.0,
    )
    values = [f.value for f in r.fills]
    assert r.costs[1] == pytest.approx(costs.charge(["A", "B"], values), rel=1e-14)
    assert r.fills[1].cost == 2.0
    check_identity(r)


def test_buys_are_cut_to_the_cash_at_hand():
    panel = make_panel([[100, 50], [110, 50], [110, 50]])
    r = backtest(
        Hold({"A": 0.6, "B": 0.4}),
        panel,
        schedule="once",
        costs=TEN_BPS,
        initial_value=10_000.0,
    )
    factor = 10_000 / (1.001 * (60 * 110 + 80 * 50))
    np.testing.assert_allclose(r.units[1], [60 * factor, 80 * factor])
    assert 0.0 <= r.cash[1] < 1e-8
    assert [f.status for f in r.fills] == ["scaled", "scaled"]
    assert r.fills[0].ordered == pytest.approx(60)
    check_identity(r)


def test_minimum_commission_enters_the_cut():
    panel = make_panel([[100, 50], [110, 50], [110, 50]])
    r = backtest(
        Hold({"A": 0.99, "B": 0.01}),
        panel,
        schedule="once",
        costs=Costs(half_spread_bps=10.0, minimum_commission=5.0),
        initial_value=10_000.0,
    )
    a, b = 99 * 110, 2 * 50
    factor = (10_000 - 5.0) / (a * 1.001 + b)  # B pays the minimum
    np.testing.assert_allclose(r.units[1], [99 * factor, 2 * factor])
    assert 0.0 <= r.cash[1] < 1e-8
    check_identity(r)


def test_purchases_that_cash_cannot_pay_at_all_are_recorded():
    panel = make_panel([[100, 50], [110, 50], [110, 50]])
    r = backtest(
        Hold({"A": 0.5, "B": 0.5}),
        panel,
        schedule="once",
        costs=Costs(minimum_commission=30.0),
        initial_value=50.0,
    )
    assert [f.status for f in r.fills] == ["unaffordable"] * 2
    np.testing.assert_array_equal(r.value, 50.0)


def test_currency_move_is_kept_apart_from_the_price_move():
    panel = make_panel(
        [[100.0], [110.0], [110.0]],
        tickers=("SAP",),
        currency=("EUR",),
        fx_currencies=("EUR",),
        fx=np.array([[1.10], [1.20], [1.00]]),
    )
    book = Portfolio(
        assets=("SAP",),
        units=np.array([10.0]),
        money=np.array([np.nan]),
        stated=("shares",),
        cash=(("USD", 50.0), ("EUR", 100.0)),
    )
    r = backtest(Hold(), panel, portfolio=book, costs=FREE)
    assert r.labels == ("SAP", "CASH:EUR")
    np.testing.assert_allclose(r.value, [1260.0, 1490.0, 1250.0])
    np.testing.assert_allclose(r.price_pnl, [0.0, 10 * 10 * 1.10, 0.0])
    # 10 shares at 110 and 100 euros of cash, times the change of the rate
    np.testing.assert_allclose(r.fx_pnl, [0.0, 1200 * 0.10, 1200 * -0.20])
    np.testing.assert_array_equal(r.cash, 50.0)
    check_identity(r)


def test_foreign_purchases_convert_at_the_fill_and_pay_for_it():
    panel = make_panel(
        [[100.0, 50.0], [100.0, 50.0], [100.0, 50.0]],
        currency=("EUR", "USD"),
        fx_currencies=("EUR",),
        fx=np.array([[1.10], [1.20], [1.20]]),
    )
    r = backtest(
        Hold({"A": 0.4, "B": 0.4, "CASH:USD": 0.2}),
        panel,
        schedule="once",
        costs=Costs(half_spread_bps=10, fx_bps=5),
        initial_value=11_000.0,
    )
    np.testing.assert_allclose(r.units[1], [40.0, 88.0])
    assert r.fills[0].value == pytest.approx(40 * 100 * 1.20)
    assert r.fills[0].cost == pytest.approx(40 * 120 * 0.0015)
    assert r.fills[1].cost == pytest.approx(88 * 50 * 0.0010)
    check_identity(r)


def test_foreign_cash_of_the_book_is_converted_when_the_target_leaves_it_out():
    panel = make_panel(
        [[100.0], [100.0], [100.0]],
        tickers=("A",),
        fx_currencies=("EUR",),
        fx=np.array([[1.10], [1.20], [1.20]]),
    )
    book = Portfolio(
        assets=(), units=np.empty(0), money=np.empty(0), cash=(("EUR", 100.0),)
    )
    r = backtest(
        Hold({"A": 1.0}),
        panel,
        portfolio=book,
        schedule="once",
        costs=Costs(half_spread_bps=0, fx_bps=10),
    )
    # 1.1 shares ordered at 1.10; 120 less 0.12 arrives, of which 110 is spent.
    np.testing.assert_allclose(r.units[-1], [1.1, 0.0])
    assert r.cash[-1] == pytest.approx(120 * 0.999 - 110)
    check_identity(r)


def test_an_order_waits_while_its_venue_is_shut():
    nan = np.nan
    panel = make_panel(
        [[100, 50, 20], [100, 50, 20], [100, nan, nan], [100, 55, 22], [100, 55, 22]],
        tickers=("A", "B", "C"),
        venue=("NYSE", "KRX", "KRX"),
    )
    r = backtest(
        Hold({"A": 0.4, "B": 0.4, "CASH:USD": 0.2}),
        panel,
        start="2024-01-02",
        schedule="daily",
        costs=FREE,
        initial_value=1_000.0,
    )
    np.testing.assert_array_equal(r.units[:, 0], [0, 4, 4, 4])
    np.testing.assert_array_equal(r.units[:, 1], [0, 0, 8, 8])
    assert r.fills[1].date == np.datetime64("2024-01-04")
    assert r.fills[1].price == 55
    check_identity(r)


def test_a_cut_purchase_waits_for_the_sale_that_pays_for_it():
    nan = np.nan
    panel = make_panel(
        [[100, 50], [100, nan], [100, 50], [100, 50]], venue=("NYSE", "KRX")
    )
    book = Portfolio(
        assets=("B",),
        units=np.array([20.0]),
        money=np.array([nan]),
        stated=("shares",),
        cash=(("USD", 100.0),),
    )
    strategy = Targets({"2024-01-01": {"A": 1.0}})
    r = backtest(strategy, panel, portfolio=book, schedule="once", costs=FREE)
    # Tuesday Seoul is shut: the cash buys one share. Wednesday B is sold, then the
    # other ten are bought.
    np.testing.assert_allclose(r.units[:, 0], [0, 1, 11, 11])
    np.testing.assert_allclose(r.units[:, 1], [20, 20, 0, 0])
    assert [f.status for f in r.fills] == ["scaled", "filled", "filled"]
    check_identity(r)


def test_an_order_is_cancelled_after_five_sessions():
    nan = np.nan
    dates = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-01-10"))
    prices = np.full((9, 2), 100.0)
    prices[1:8, 1] = nan
    panel = make_panel(prices, dates)
    r = backtest(Hold({"A": 0.5, "B": 0.5}), panel, schedule="once", costs=FREE)
    assert [f.status for f in r.fills] == ["filled", "expired"]
    assert r.fills[1].date == dates[5]
    assert r.fills[1].ordered == pytest.approx(5_000)
    assert r.fills[1].units == 0.0
    assert r.units[-1, 1] == 0.0


def test_a_later_decision_replaces_waiting_orders():
    nan = np.nan
    panel = make_panel([[100, 50], [100, nan], [100, nan], [100, 50], [100, 50]])
    target = {"A": 0.5, "B": 0.5}
    strategy = Targets(dict.fromkeys(map(str, WEEK), target))
    r = backtest(strategy, panel, schedule="daily", costs=FREE)
    assert [f.status for f in r.fills] == ["filled", "replaced", "replaced", "filled"]


def test_orders_left_at_the_end_are_recorded():
    panel = make_panel([[100, 50], [100, 50]])
    r = backtest(
        Targets({"2024-01-02": {"A": 1.0}}), panel, start="2024-01-02", costs=FREE
    )
    assert [f.status for f in r.fills] == ["open"]
    assert r.value.tolist() == [1e6]


def test_interest_counts_calendar_days_at_the_rate_known_before():
    dates = days("2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09")
    panel = make_panel(
        np.full((4, 2), 100.0),
        dates,
        cash_currencies=("USD",),
        cash_rates=np.array([[0.0365], [0.073], [0.99], [0.99]]),
    )
    book = Portfolio.from_weights({"CASH:USD": 1.0}, 1_000.0, "USD")
    r = backtest(Hold(), panel, portfolio=book)
    first = 1_000 * 0.0365 / 365
    second = (1_000 + first) * 0.073 * 3 / 365
    np.testing.assert_allclose(r.interest[:3], [0, first, second])
    np.testing.assert_allclose(r.cash_return[1:3], [0.0001, 0.0006])
    assert "cash earns nothing: no cash rate given" not in r.stamps
    check_identity(r)


def test_foreign_cash_earns_its_own_rate():
    panel = make_panel(
        [[100.0], [100.0]],
        tickers=("A",),
        fx_currencies=("EUR",),
        fx=np.array([[1.0], [2.0]]),
        cash_currencies=("EUR",),
        cash_rates=np.array([[0.0365], [0.0365]]),
    )
    book = Portfolio(
        assets=(), units=np.empty(0), money=np.empty(0), cash=(("EUR", 100.0),)
    )
    r = backtest(Hold(), panel, portfolio=book)
    assert r.interest[1] == pytest.approx(0.01 * 2.0)
    assert r.value[1] == pytest.approx(200.02)
    check_identity(r)


def test_raw_prices_trade_whole_shares():
    panel = make_panel([[103, 47], [101, 47], [99, 50]], price_basis="raw")
    r = backtest(
        Hold({"A": 0.5, "B": 0.5}),
        panel,
        schedule="once",
        costs=FREE,
        initial_value=1_000.0,
    )
    assert r.units[-1].tolist() == [4.0, 10.0]  # 4.85 and 10.6 cut towards zero
    assert "raw prices: no dividends or splits booked" in r.stamps
    check_identity(r)


def test_a_sale_is_taxed_on_its_gain_at_average_cost():
    panel = make_panel([[100, 50], [100, 50], [200, 50], [200, 50]])
    book = Portfolio(
        assets=("A",),
        units=np.array([10.0]),
        money=np.array([np.nan]),
        stated=("shares",),
        cash=(("USD", 1_000.0),),
        cost_basis=np.array([40.0]),
        tax_rate=np.array([0.25]),
    )
    strategy = Targets(
        {"2024-01-01": {"A": 1.0}, "2024-01-03": {"A": 0.5, "CASH:USD": 0.5}}
    )
    r = backtest(strategy, panel, portfolio=book, schedule=["2024-01-03"], costs=FREE)
    # Ten at 40 and ten at 100 make twenty at 70; ten are sold at 200.
    assert r.units[1, 0] == pytest.approx(20)
    assert r.taxes[3] == pytest.approx(0.25 * 10 * (200 - 70))
    assert r.cash[3] == pytest.approx(2_000 - r.taxes[3])
    check_identity(r)


def test_tax_without_a_basis_is_refused_by_name():
    panel = make_panel([[100, 50], [100, 50]])
    book = Portfolio(
        assets=("A",),
        units=np.array([10.0]),
        money=np.array([np.nan]),
        stated=("shares",),
        tax_rate=np.array([0.25]),
    )
    with pytest.raises(DataError, match="cost basis; at asset A"):
        backtest(Hold(), panel, portfolio=book)


def test_fills_at_the_open_and_the_move_to_the_close():
    panel = make_panel(
        [[100, 50], [120, 50], [120, 50]],
        open=np.array([[99.0, 50.0], [110.0, 50.0], [120.0, 50.0]]),
    )
    r = backtest(
        Hold({"A": 0.5, "CASH:USD": 0.5}),
        panel,
        schedule="once",
        fill="next_open",
        costs=FREE,
        initial_value=1_000.0,
    )
    assert r.fills[0].price == 110
    assert r.units[1, 0] == pytest.approx(5)
    assert r.price_pnl[1] == pytest.approx(5 * 10)
    check_identity(r)


def test_a_delisted_holding_is_an_error_unless_its_return_is_stated():
    T = 20
    dates = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-01-01") + T)
    prices = np.full((T, 2), 100.0)
    prices[5:, 1] = np.nan
    panel = make_panel(prices, dates, venue=("NYSE", "NYSE"))
    options = {"schedule": "once", "costs": FREE, "initial_value": 1_000.0}
    strategy = Hold({"A": 0.5, "B": 0.5})
    with pytest.raises(DataError, match="delisted; at asset B, date 2024-01-16"):
        backtest(strategy, panel, **options)
    # Up to the day before nobody could know.
    backtest(strategy, panel, end="2024-01-15", **options)
    r = backtest(strategy, panel, delisting_return=-0.3, **options)
    assert r.cash[-1] == pytest.approx(500 * 0.7)
    assert r.value[-1] == pytest.approx(850)
    assert r.fills[-1].status == "delisting"
    assert r.fills[-1].price == pytest.approx(70)
    assert "assumed delisting return -30%" in r.stamps
    check_identity(r)


def test_leverage_asked_for_is_given_and_no_more():
    panel = make_panel([[100, 50], [110, 50], [110, 50]])
    r = backtest(
        Hold({"A": 1.5, "CASH:USD": -0.5}),
        panel,
        schedule="once",
        costs=FREE,
        initial_value=1_000.0,
    )
    # 15 shares at 110 would need 1650; with the target's debt there are 1500.
    assert r.units[1, 0] == pytest.approx(1_500 / 110)
    assert r.cash[1] == pytest.approx(-500)
    check_identity(r)
