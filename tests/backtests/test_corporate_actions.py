"""Splits, dividends, mergers and delistings in the ledger, worked out by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ledger_cases import FREE, WEEK, Targets, check_identity, make_panel

from backtests import assert_no_lookahead, backtest
from engine import fit
from engine.data.actions import CorporateActions
from engine.data.adjust import convert, total_return
from engine.data.portfolio import Portfolio
from engine.errors import DataError
from strategies import EqualWeight, Hold, MinimumVariance

NAN = float("nan")


def actions(*rows, basis="as_paid"):
    """Rows of date, ticker, kind, value[, other, currency, ratio]."""
    columns = ["date", "ticker", "kind", "value", "other_ticker", "currency", "ratio"]
    table = [dict(zip(columns, row, strict=False)) for row in rows]
    frame = pd.DataFrame(table, columns=columns)
    return CorporateActions.from_frame(frame, dividend_basis=basis)


def raw(prices, *rows, **options):
    return make_panel(prices, price_basis="raw", actions=actions(*rows), **options)


def book(cash=0.0, **units):
    frame = pd.DataFrame(
        [{"ticker": k, "shares": v} for k, v in units.items()]
        + ([{"ticker": "CASH:USD", "shares": cash}] if cash else [])
    )
    return Portfolio.read(frame, base_currency="USD")


def hold(panel, portfolio, **options):
    result = backtest(
        Hold(), panel, portfolio=portfolio, schedule="once", costs=FREE, **options
    )
    check_identity(result)
    return result


def test_a_split_changes_the_units_and_nothing_else():
    panel = raw([[100, 50], [10.2, 50], [10.4, 50]], ("2024-01-02", "A", "split", 10))
    r = hold(panel, book(A=7, B=1))
    np.testing.assert_array_equal(r.units[:, 0], [7, 70, 70])
    np.testing.assert_allclose(r.value, [750, 764, 778])
    np.testing.assert_allclose(r.price_pnl, [0, 14, 14])
    assert not r.fills and "splits" not in " ".join(r.stamps)


def test_a_dividend_is_cash_on_its_ex_date_for_who_held_before_it():
    panel = raw([[100, 50], [97, 50], [97, 50]], ("2024-01-02", "A", "dividend", 3.0))
    r = hold(panel, book(A=10))
    np.testing.assert_allclose(r.dividends, [0, 30, 0])
    np.testing.assert_allclose(r.cash, [0, 30, 30])
    np.testing.assert_allclose(r.value, 1000)
    buyer = Targets({"2024-01-01": {"A": 1.0}})  # filled at the close of the ex-date
    bought = backtest(buyer, panel, schedule="once", costs=FREE, initial_value=1000.0)
    check_identity(bought)
    assert not bought.dividends.any()


def test_a_short_position_pays_the_dividend():
    panel = raw([[100, 50], [97, 50]], ("2024-01-02", "A", "dividend", 3.0))
    r = hold(panel, book(cash=3000.0, A=-10))
    assert r.dividends[1] == -30 and r.value[1] == pytest.approx(2000)


def test_a_split_and_a_dividend_on_one_day_pay_per_new_share():
    panel = raw(
        [[100, 50], [49, 50]],
        ("2024-01-02", "A", "dividend", 1.0),
        ("2024-01-02", "A", "split", 2.0),
    )
    r = hold(panel, book(A=10))
    assert r.units[1, 0] == 20 and r.dividends[1] == 20 and r.value[1] == 1000


def test_a_foreign_dividend_converts_on_the_day():
    panel = raw(
        [[100, 50], [97, 50]],
        ("2024-01-02", "A", "dividend", 3.0),
        currency=("EUR", "USD"),
        fx_currencies=("EUR",),
        fx=[[1.10], [1.20]],
    )
    r = hold(panel, book(A=10))
    assert r.dividends[1] == pytest.approx(10 * 3 * 1.2)
    assert r.fx_pnl[1] == pytest.approx(10 * 97 * 0.1)
    wrong = replace(
        panel, actions=actions(("2024-01-02", "A", "dividend", 3.0, "", "USD"))
    )
    with pytest.raises(DataError, match=r"another currency.*A.*2024-01-02"):
        hold(wrong, book(A=10))


def test_an_ex_date_on_a_shut_day_meets_the_next_price():
    panel = raw([[100, 50], [NAN, 50], [97, 50]], ("2024-01-02", "A", "dividend", 3.0))
    np.testing.assert_allclose(hold(panel, book(A=10)).dividends, [0, 0, 30])


def test_events_up_to_the_first_session_are_in_the_book_already():
    panel = raw([[100, 50], [50, 50], [50, 50]], ("2024-01-02", "A", "split", 2.0))
    r = hold(panel, book(A=10), start="2024-01-02")
    np.testing.assert_array_equal(r.units[:, 0], [10, 10])


def test_the_three_bases_tell_one_story():
    rng = np.random.default_rng(5)
    dates = pd.bdate_range("2024-01-01", periods=40).to_numpy().astype("datetime64[D]")
    prices = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (40, 2)), axis=0))
    prices[20:, 0] /= 4.0
    events = (
        (str(dates[10]), "A", "dividend", 2.0),
        (str(dates[20]), "A", "split", 4.0),
        (str(dates[30]), "A", "dividend", 0.5),
    )
    as_traded = raw(prices, *events, dates=dates)
    adjusted = convert(as_traded, "split_adjusted")
    first = hold(as_traded, book(A=100, B=10))
    second = hold(adjusted, book(A=400, B=10))
    np.testing.assert_allclose(first.value, second.value, rtol=1e-12)
    np.testing.assert_allclose(first.dividends, second.dividends, rtol=1e-12)
    assert first.dividends.sum() == pytest.approx(100 * 2 + 400 * 0.5)
    # In total-return prices a dividend is reinvested: nothing is booked twice.
    third = hold(convert(as_traded, "total_return"), book(A=400))
    assert not third.dividends.any()
    want = total_return(as_traded, as_traded.actions).prices[:, 0] * 400
    np.testing.assert_allclose(third.value, want, rtol=1e-12)


def test_a_merger_pays_cash_and_shares_and_rolls_the_cost_basis():
    panel = raw(
        [[40, 100], [42, 104], [NAN, 110]],
        ("2024-01-02", "A", "merger", 12.0, "B", "", 0.3),
    )
    table = pd.DataFrame(
        [{"ticker": "A", "shares": 10, "cost_basis": 20.0, "tax_rate": 0.25}]
    )
    taxed = Portfolio.read(table, base_currency="USD")
    r = hold(panel, taxed)
    np.testing.assert_array_equal(r.units[2], [0, 3])
    # 120 in cash and 3 B at 110: the cash carries 120/450 of the basis of 200.
    tax = 0.25 * (120 - 200 * 120 / 450)
    assert r.taxes[2] == pytest.approx(tax)
    assert r.cash[2] == pytest.approx(120 - tax)
    assert r.price_pnl[2] == pytest.approx(120 + 330 - 420)
    assert [(f.ticker, f.units, f.status) for f in r.fills] == [
        ("A", -10, "merger"),
        ("B", 3, "merger"),
    ]


def test_the_fraction_a_merger_leaves_is_paid_out_in_whole_shares():
    panel = raw(
        [[40, 100], [42, 104], [NAN, 110]],
        ("2024-01-02", "A", "merger", NAN, "B", "", 0.25),
    )
    r = hold(panel, book(A=10))
    assert r.units[2, 1] == 2 and r.cash[2] == pytest.approx(0.5 * 110)
    assert r.fills[-1].status == "cash in lieu"
    reverse = raw([[1, 50], [10, 50]], ("2024-01-02", "A", "split", 0.1))
    r = hold(reverse, book(A=25))
    assert r.units[1, 0] == 2 and r.cash[1] == pytest.approx(5.0)


def test_a_share_merger_on_adjusted_prices_is_stamped():
    merger = ("2024-01-02", "A", "merger", NAN, "B", "", 0.25)
    panel = raw([[40, 100], [42, 104], [NAN, 110]], merger)
    adjusted = replace(panel, price_basis="total_return", content_hash="")
    stamp = "share mergers valued at adjusted prices"
    assert stamp in hold(adjusted, book(A=8)).stamps
    assert stamp not in hold(panel, book(A=8)).stamps


def test_a_merger_into_shares_nobody_prices_is_refused():
    panel = raw(
        [[40, 100], [42, 104], [NAN, 110]],
        ("2024-01-02", "A", "merger", 1.0, "ZZ", "", 0.3),
    )
    with pytest.raises(DataError, match="company without a price"):
        hold(panel, book(A=10))


@pytest.mark.parametrize(("value", "terminal"), [(0.0, 0.0), (13.5, 13.5)])
def test_a_delisting_at_a_stated_value(value, terminal):
    panel = raw(
        [[40, 100], [20, 104], [NAN, 110]], ("2024-01-02", "A", "delisting", value)
    )
    r = hold(panel, book(A=10, B=1))
    assert r.cash[2] == pytest.approx(10 * terminal)
    assert r.price_pnl[2] == pytest.approx(10 * (terminal - 20) + 6)
    assert "assumed" not in " ".join(r.stamps)


def test_an_unknown_terminal_value_needs_an_assumption_and_says_so():
    panel = raw(
        [[40, 100], [20, 104], [NAN, 110]], ("2024-01-02", "A", "delisting", NAN)
    )
    with pytest.raises(DataError, match=r"delisted.*A.*2024-01-03.*delisting_return"):
        hold(panel, book(A=10, B=1))
    r = hold(panel, book(A=10, B=1), delisting_return=-0.4)
    assert r.cash[2] == pytest.approx(10 * 20 * 0.6)
    assert "assumed delisting return -40%" in r.stamps


def test_an_order_waits_through_a_split_in_new_shares():
    panel = raw(
        [[100, 50], [NAN, 50], [25, 50], [25, 50]],
        ("2024-01-03", "A", "split", 4.0),
        venue=("KRX", "NYSE"),
    )
    r = backtest(
        Targets({"2024-01-01": {"A": 0.5, "CASH:USD": 0.5}}),
        panel,
        schedule="once",
        costs=FREE,
        initial_value=1000.0,
    )
    # Five shares at 100 wanted on Monday; the split meets them on Wednesday.
    assert r.units[2, 0] == 20 and r.cash[2] == pytest.approx(500)


def test_an_order_for_a_share_that_ended_is_cancelled():
    panel = raw(
        [[100, 50], [NAN, 50], [NAN, 50]], ("2024-01-01", "A", "delisting", 90.0)
    )
    r = backtest(
        Targets({"2024-01-01": {"A": 0.5, "CASH:USD": 0.5}}),
        panel,
        schedule="once",
        costs=FREE,
    )
    assert [f.status for f in r.fills] == ["delisted"] and not r.units.any()


def test_prices_after_the_end_of_a_share_are_refused():
    with pytest.raises(DataError, match=r"go on after.*A.*2024-01-03"):
        raw([[1, 1], [1, 1], [1, 1]], ("2024-01-02", "A", "merger", 1.0))


def long_panel(*events, T=140, N=4, basis="raw", seed=2):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, (T, N)), axis=0))
    tickers = tuple("ABCD"[:N])
    frame = actions(*((str(dates[t]), *rest) for t, *rest in events))
    for t, ticker, kind, value, *_ in events:
        if kind == "split":
            prices[t:, tickers.index(ticker)] /= value
    return make_panel(prices, dates, tickers=tickers, price_basis=basis, actions=frame)


def test_a_model_reads_total_returns_from_raw_prices():
    panel = long_panel((40, "A", "split", 10.0), (90, "B", "dividend", 1.0))
    model = fit(panel, window=100)
    same = fit(convert(panel, "total_return"), window=100)
    np.testing.assert_allclose(
        model.dense_covariance(), same.dense_covariance(), rtol=1e-10
    )
    assert model.volatility().max() < 0.4
    bare = fit(replace(panel, actions=None, content_hash=""), window=100)
    assert any("RAW PRICES" in note for note in bare.notes)
    assert not any("RAW PRICES" in note for note in model.notes)


def test_a_view_knows_the_actions_of_its_day_and_no_later_one():
    panel = long_panel(
        (40, "A", "split", 10.0), (90, "B", "dividend", 1.0), (100, "A", "split", 2.0)
    )
    before, after = panel.as_of(panel.dates[39]), panel.as_of(panel.dates[90])
    assert len(before.panel.actions) == 0 and len(after.panel.actions) == 2
    corrupted = replace(
        panel,
        actions=panel.actions.where(panel.actions.date <= panel.dates[90]),
        prices=np.where(
            (panel.dates > panel.dates[90])[:, None], panel.prices * 3, panel.prices
        ),
        content_hash="",
    )
    one, two = after.panel.adjusted(), corrupted.as_of(panel.dates[90]).panel.adjusted()
    np.testing.assert_array_equal(one.prices, two.prices)


@pytest.mark.parametrize(
    "strategy",
    [EqualWeight(), MinimumVariance(window=60, upper=0.6)],
    ids=lambda s: s.name,
)
@pytest.mark.parametrize("basis", ["raw", "split_adjusted"])
def test_strategies_on_prices_with_actions_do_not_look_ahead(strategy, basis):
    panel = convert(
        long_panel((70, "A", "split", 10.0), (120, "B", "split", 3.0)), basis
    )
    dates = [panel.dates[80], panel.dates[100]]
    assert_no_lookahead(strategy, panel, dates=dates)


def test_actions_are_part_of_the_identity_of_the_data():
    plain = make_panel([[1, 2], [1, 2]], price_basis="raw")
    one = replace(
        plain, actions=actions(("2024-01-02", "A", "dividend", 0.1)), content_hash=""
    )
    two = replace(
        plain, actions=actions(("2024-01-02", "A", "dividend", 0.2)), content_hash=""
    )
    assert len({plain.content_hash, one.content_hash, two.content_hash}) == 3
    assert WEEK[1] == one.actions.date[0]
