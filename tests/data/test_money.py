"""Money: return parts, hedges from rate differentials, cash, a book to the cent."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, Portfolio, UsageError, load_panel
from engine.data.money import (
    cash_growth,
    decompose,
    forward_premium,
    hedge_cost,
    hedged_returns,
    reconcile,
)
from engine.returns import compute

DATES = ["2024-01-02", "2024-01-03", "2024-01-05", "2024-01-08"]
PRICES = pd.DataFrame(
    {
        "date": DATES,
        "US": [100.0, 110.0, 99.0, 99.0],
        "DE": [50.0, 55.0, np.nan, 44.0],
        "JP": [2000.0, 2100.0, 2205.0, 2205.0],
        "TW": [600.0, 606.0, 612.0, 618.0],
    }
)
CODES = {"US": "USD", "DE": "EUR", "JP": "JPY", "TW": "TWD"}
FX = pd.DataFrame(
    {
        "date": DATES,
        "EUR": [1.0, 1.1, 1.2, 1.21],
        "JPY": [0.0070, 0.0069, 0.0068, 0.0067],
        "TWD": [0.0323, 0.0322, 0.0321, 0.0319],
    }
)
RATES = pd.DataFrame(
    {
        "date": DATES,
        "USD": [0.0365, 0.0730, 0.0365, 0.0365],
        "EUR": [0.0146, 0.0146, 0.0146, 0.0146],
        "JPY": [-0.0010, -0.0010, 0.0, 0.0],
        "TWD": [0.0110, 0.0110, 0.0110, 0.0110],
    }
)
BOOK = pd.DataFrame(
    {
        "ticker": ["US", "DE", "JP", "TW", "CASH:USD", "CASH:EUR", "CASH:TWD"],
        "shares": [13.0, 7.0, 101.0, 1003.0, 250.55, -100.25, 31_234.0],
    }
)


def panel(names=("US", "DE", "JP", "TW"), *, base="USD", prices=PRICES, **options):
    options = {"fx": FX, "cash_rates": RATES} | options
    return load_panel(
        prices[["date", *names]],
        price_basis="raw",
        currency={k: CODES[k] for k in names},
        base_currency=base,
        **options,
    )


# return parts


def test_parts_by_hand_and_across_a_missing_close():
    parts = decompose(panel(["US", "DE"]))
    nan = np.nan
    # DE: 50 to 55 at 1.0 to 1.1, then 55 to 44 at 1.1 to 1.21 over two rows
    np.testing.assert_allclose(parts.local[:, 1], [nan, 0.1, nan, -0.2], rtol=1e-14)
    np.testing.assert_allclose(parts.currency[:, 1], [nan, 0.1, nan, 0.1], rtol=1e-14)
    np.testing.assert_allclose(parts.base[:, 1], [nan, 0.21, nan, -0.12], rtol=1e-14)
    np.testing.assert_allclose(parts.interaction[3, 1], -0.02, rtol=1e-14)
    np.testing.assert_array_equal(parts.currency[1:, 0], 0.0)
    assert str(parts.start_date[3, 1]) == "2024-01-03"
    assert str(parts.end_date[3, 1]) == "2024-01-08"
    assert np.isnat(parts.start_date[2, 1])
    assert parts.dates.size == 4 and parts.tickers == ("US", "DE")


def test_the_timing_of_the_exchange_rate_is_stated():
    parts = decompose(panel())
    assert "14:15 Frankfurt" in parts.fx_timing
    assert "New York" in parts.fx_timing and "next business day" in parts.fx_timing
    assert hedged_returns(panel()).fx_timing == parts.fx_timing
    assert "fixing" in str(decompose.__doc__)


def test_between_start_and_end_the_first_return_reaches_back():
    whole, part = (
        decompose(panel(), **k) for k in ({}, {"start": DATES[1], "end": DATES[2]})
    )
    np.testing.assert_array_equal(part.base, whole.base[1:3])
    assert [str(d) for d in part.dates] == DATES[1:3]
    with pytest.raises(DataError, match="no dates in the range"):
        decompose(panel(), start="2025-01-01")


def test_euro_base_with_american_assets():
    parts = decompose(panel(["US", "DE"], base="EUR"))
    np.testing.assert_array_equal(parts.currency[1, 1], 0.0)
    # 100 USD at 1.00 is 100 EUR; 110 USD at 1.10 is 100 EUR; 99 at 1.2 is 82.5
    np.testing.assert_allclose(parts.base[1:3, 0], [0.0, -0.175], atol=1e-15)
    np.testing.assert_allclose(parts.currency[1, 0], 1 / 1.1 - 1, rtol=1e-14)


@given(
    prices=st.lists(st.floats(0.5, 2e3), min_size=4, max_size=4),
    rates=st.lists(st.floats(1e-4, 10.0), min_size=4, max_size=4),
)
def test_the_parts_add_up(prices, rates):
    p = panel(
        ["US", "DE"],
        prices=PRICES.assign(DE=prices),
        fx=FX.assign(EUR=rates),
    )
    parts = decompose(p)
    again = parts.local + parts.currency + parts.local * parts.currency
    np.testing.assert_allclose(parts.base, again, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(parts.interaction, parts.local * parts.currency)
    value = np.array(prices) * np.array(rates)
    np.testing.assert_allclose(1 + parts.base[1:, 1], value[1:] / value[:-1], rtol=1e-9)


def test_a_price_repeated_while_the_venue_was_shut_is_no_close():
    days = pd.to_datetime(["2024-12-31", "2025-01-01", "2025-01-02"])
    p = load_panel(
        pd.DataFrame({"date": days, "A": [1.0, 1.0, 2.0], "B": [1.0, 2.0, 3.0]}),
        price_basis="raw",
        universe=pd.DataFrame(
            {"ticker": ["A", "B"], "venue": ["NYSE", ""], "quote_currency": "USD"}
        ),
    )
    local = decompose(p).local[:, 0]
    assert np.isnan(local[:2]).all() and local[2] == 1.0


# hedges


def test_the_premium_by_hand():
    p = panel()
    # one day at 0.0365 is 1e-4; at 0.0146, 4e-5; then two days at 0.073 and 0.0146
    want = [1.0001 / 1.00004 - 1, 1.0004 / 1.00008 - 1, 1.0003 / 1.00012 - 1]
    got = forward_premium(p, "EUR", sessions=1)
    np.testing.assert_allclose(got[1:], want, rtol=1e-10)
    assert np.isnan(got[0])
    np.testing.assert_allclose(
        forward_premium(p, "EUR", sessions=3)[3], 1.0006 / 1.00024 - 1, rtol=1e-10
    )
    assert np.isnan(forward_premium(p, "EUR", sessions=9)).all()
    np.testing.assert_allclose(
        forward_premium(p, "EUR", days=365)[:2],
        [1.0365 / 1.0146 - 1, 1.073 / 1.0146 - 1],
        rtol=1e-12,
    )
    np.testing.assert_array_equal(forward_premium(p, "USD", days=30), 0.0)


def test_the_cost_is_positive_where_the_foreign_rate_is_higher():
    dollar, euro = panel(), panel(base="EUR")
    assert (hedge_cost(dollar, "JPY") < 0).all()  # a gain
    assert (hedge_cost(euro, "USD") > 0).all()
    np.testing.assert_allclose(
        hedge_cost(euro, "USD", days=365)[0], 1 - 1.0146 / 1.0365, rtol=1e-12
    )
    # for a short tenor the cost is the difference of the rates
    np.testing.assert_allclose(
        hedge_cost(euro, "USD", days=1)[0], 0.0365 - 0.0146, rtol=2e-4
    )


@pytest.mark.parametrize("tenor", [{}, {"sessions": 1, "days": 1}, {"days": 0}])
def test_a_premium_needs_one_tenor(tenor):
    with pytest.raises(UsageError):
        forward_premium(panel(), "EUR", **tenor)


def test_hedged_by_hand():
    got = hedged_returns(panel(["US", "DE"]), ratio=0.5)
    premium = 1.0001 / 1.00004 - 1
    np.testing.assert_allclose(
        got.values[1], [0.1, 0.21 + 0.5 * (premium - 0.1)], rtol=1e-13
    )
    # 3 January to 8 January: five days at 0.073 and 0.0146
    premium = 1.001 / 1.0002 - 1
    np.testing.assert_allclose(got.carry[3], [0.0, 0.5 * premium], rtol=1e-10)
    np.testing.assert_allclose(
        got.cost_pa[3], [0.0, -0.5 * premium * 73], rtol=1e-10, atol=0
    )
    assert np.isnan(got.values[[0, 2], 1]).all() and got.ratio.tolist() == [0.0, 0.5]


def test_a_forward_valued_as_a_trade():
    """Sell h x P0 euros forward at F: money at the end, over money at the start."""
    h, S0, S1, P0, P1 = 0.8, 1.0, 1.1, 50.0, 55.0
    F = S0 * 1.0001 / 1.00004
    wealth = P1 * S1 + h * P0 * (F - S1)
    got = hedged_returns(panel(), ratio={"EUR": h}).values[1, 1]
    assert got == pytest.approx(wealth / (P0 * S0) - 1, abs=1e-15)


def test_ratio_zero_is_unhedged_and_needs_no_rate():
    bare = panel(cash_rates=None)
    got = hedged_returns(bare, ratio=0.0)
    np.testing.assert_array_equal(got.values, got.unhedged)
    np.testing.assert_allclose(got.values, decompose(bare).base, rtol=0, atol=5e-16)
    some = hedged_returns(panel(), ratio={"JPY": 1.0})
    np.testing.assert_array_equal(some.values[:, [0, 1, 3]], got.values[:, [0, 1, 3]])
    assert (some.values[1:, 2] != got.values[1:, 2]).all()


@given(h=st.floats(0, 2), g=st.floats(0, 2))
def test_the_hedge_is_linear_in_the_ratio(h, g):
    p = panel()
    none, one, other, both = (
        hedged_returns(p, ratio=r).values for r in (0.0, h, g, h + g)
    )
    np.testing.assert_allclose(both - none, one - none + other - none, atol=1e-14)


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_ratio_zero_is_the_change_of_the_value_in_base_currency(sessions):
    p = panel()
    got = hedged_returns(p, ratio=0.0, sessions=sessions).values
    money = pd.DataFrame(p.base_prices()).ffill().to_numpy()
    want = money[sessions:] / money[:-sessions] - 1
    there = np.isfinite(got[sessions:])
    np.testing.assert_allclose(got[sessions:][there], want[there], atol=1e-14)
    assert np.isnan(got[:sessions]).all()
    assert (~there).sum() == (sessions == 1)  # DE without a close on the third row


def test_overlapping_windows_as_the_synchronised_returns():
    rng = np.random.default_rng(5)
    days = pd.bdate_range("2024-01-01", periods=40)
    prices = pd.DataFrame(100 * np.exp(rng.normal(0, 0.02, (40, 2)).cumsum(0)))
    prices = prices.set_axis(["US", "DE"], axis=1).set_index(days).rename_axis("date")
    prices.iloc[[7, 8, 20], 1] = np.nan
    fx = pd.DataFrame({"EUR": 1.1 * np.exp(rng.normal(0, 0.01, 40).cumsum())}, days)
    p = load_panel(
        prices,
        price_basis="raw",
        currency=CODES,
        fx=fx.rename_axis("date"),
        cash_rates=RATES,
    )
    ours = hedged_returns(p, ratio=0.0, sessions=5)
    theirs = compute(p, frequency="synchronised", kind="simple")
    np.testing.assert_array_equal(ours.dates[5:], theirs.dates)
    np.testing.assert_allclose(ours.values[5:], theirs.values, atol=1e-13)


def test_a_window_without_a_close_is_missing_not_zero():
    got = decompose(panel(), sessions=1)
    assert np.isnan(got.base[2, 1]) and np.isnan(got.currency[2, 1])
    got = decompose(panel(), sessions=2)
    assert np.isfinite(got.base[2:, 1]).all()
    assert str(got.end_date[2, 1]) == "2024-01-03"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ratio": {"EURO": 1.0}}, "nothing to hedge in EURO; expected EUR, JPY, TWD"),
        ({"ratio": {"USD": 1.0}}, "nothing to hedge in USD"),
        ({"ratio": -0.5}, "not negative; received -0.5"),
        ({"ratio": {"EUR": np.nan}}, "ratio of EUR must be finite"),
        ({"roll": "monthly"}, "unknown roll; received 'monthly'"),
        ({"sessions": 0}, "at least 1; received 0"),
        ({"sessions": 1.5}, "at least 1; received 1.5"),
    ],
)
def test_options_that_cannot_be_right(options, match):
    with pytest.raises(UsageError, match=match):
        hedged_returns(panel(), **options)


@pytest.mark.parametrize("missing", ["EUR", "USD"])
def test_without_a_rate_hedging_is_refused(missing):
    p = panel(cash_rates=RATES.drop(columns=missing))
    for attempt in (
        lambda: hedged_returns(p, ratio={"EUR": 1.0}),
        lambda: forward_premium(p, "EUR", days=30),
        lambda: hedge_cost(p, "EUR"),
        lambda: cash_growth(p, "EUR", hedged=True),
    ):
        with pytest.raises(DataError, match=f"no cash rate for {missing}: .*") as info:
            attempt()
        assert "cash_rates=" in str(info.value)
    with pytest.raises(DataError, match="hedging EUR is refused; received none"):
        hedged_returns(panel(cash_rates=None), ratio={"EUR": 1.0})


def test_a_rate_that_is_not_there_on_a_date_is_refused():
    from dataclasses import replace

    p = panel()
    rates = p.cash_rates.copy()
    rates[1, p.cash_currencies.index("JPY")] = np.nan
    with pytest.raises(DataError, match=r"no cash rate for JPY.*2024-01-03"):
        hedged_returns(replace(p, cash_rates=rates))
    hedged_returns(replace(p, cash_rates=rates), ratio={"EUR": 1.0, "TWD": 1.0})


def test_a_missing_exchange_rate_at_a_close_is_refused():
    from dataclasses import replace

    p = panel()
    fx = p.fx.copy()
    fx[1, p.fx_currencies.index("TWD")] = np.nan
    with pytest.raises(DataError, match="TWD to USD; at asset TW, date 2024-01-03"):
        decompose(replace(p, fx=fx))


# cash


def test_cash_by_hand():
    p = panel()
    # 1 + 1e-4, 1 + 2 x 2e-4, 1 + 3 x 1e-4
    want = np.cumprod([1.0, 1.0001, 1.0004, 1.0003])
    np.testing.assert_allclose(cash_growth(p, "USD"), want, rtol=1e-15)
    want = np.cumprod([1.0, 1.00004, 1.00008, 1.00012]) * [1.0, 1.1, 1.2, 1.21]
    np.testing.assert_allclose(cash_growth(p, "EUR"), want, rtol=1e-14)


@pytest.mark.parametrize("code", ["EUR", "JPY", "TWD", "USD"])
@pytest.mark.parametrize("base", ["USD", "EUR"])
def test_covered_parity_a_hedged_deposit_earns_the_base_rate(code, base):
    p = panel(base=base)
    hedged = cash_growth(p, code, hedged=True)
    np.testing.assert_allclose(
        hedged / hedged[0], cash_growth(p, base), rtol=0, atol=4e-16
    )


def test_covered_parity_through_hedged_returns():
    """A deposit as an asset, its known value at maturity sold forward."""
    deposit = [1.0, 1.00004, 1.00004 * 1.00008, 1.00004 * 1.00008 * 1.00012]
    p = panel(["US", "DE"], prices=PRICES.assign(DE=deposit))
    base = cash_growth(p, "USD")
    for t, due in ((1, 1.00004), (2, 1.00008), (3, 1.00012)):
        got = hedged_returns(p, ratio=due).values[t, 1]
        assert got == pytest.approx(base[t] / base[t - 1] - 1, abs=5e-16)


def test_cash_without_a_rate_is_not_cash_at_zero():
    p = panel(cash_rates=RATES[["date", "USD"]])
    with pytest.raises(DataError, match="no cash rate for JPY: no interest can accrue"):
        cash_growth(p, "JPY")
    with pytest.raises(DataError, match=r"from CHF to USD; at asset CASH:CHF.*fx="):
        cash_growth(p, "CHF")


# a book


def test_a_book_in_four_currencies_to_the_cent():
    held = Portfolio.read(BOOK)
    table = reconcile(held, panel())
    # 13 x 99; 7 x 44 x 1.21; 101 x 2205 x 0.0067; 1003 x 618 x 0.0319;
    # 250.55; -100.25 x 1.21; 31234 x 0.0319
    want = [1287.00, 372.68, 1492.1235, 19773.3426, 250.55, -121.3025, 996.3646]
    np.testing.assert_allclose(table["value"], want, rtol=1e-12)
    assert round(table["value"].sum(), 2) == 24050.76
    priced = held.priced(panel())
    assert round(priced.value, 2) == 24050.76
    assert table["value"].sum() == pytest.approx(priced.value, rel=1e-12)
    assert table["position"].tolist() == list(priced.labels)
    np.testing.assert_allclose(
        table["units"] * table["price"] * table["fx"], table["value"], rtol=1e-15
    )
    assert table["currency"].tolist() == ["USD", "EUR", "JPY", "TWD"] + [
        c for c, _ in priced.cash
    ]
    assert set(table["base_currency"]) == {"USD"}


def test_the_same_book_in_euros():
    table = reconcile(Portfolio.read(BOOK, base_currency="EUR"), panel(base="EUR"))
    assert round(table["value"].sum(), 2) == round(24050.7582 / 1.21, 2) == 19876.66


def test_a_shut_market_is_valued_at_its_last_close_and_the_last_rate():
    table = reconcile(Portfolio.read(BOOK), panel().between(end=DATES[2]))
    row = table.set_index("position").loc["DE"]
    assert (row["price"], row["fx"]) == (55.0, 1.2)
    assert str(row["price_date"].date()) == "2024-01-03"
    assert str(table["price_date"].iloc[-1].date()) == DATES[2]


@pytest.mark.parametrize(
    "weights", [{"US": 0.4, "TW": 0.5, "CASH:JPY": 0.1}, {"CASH:EUR": 1.0}]
)
def test_a_book_of_weights(weights):
    held = Portfolio.from_weights(weights, 1_000_000.0, "USD")
    assert reconcile(held, panel())["value"].sum() == pytest.approx(1e6, abs=1e-9 * 1e6)


def test_a_book_stated_in_money_of_another_currency():
    table = pd.DataFrame(
        {"ticker": ["TW", "US"], "value": [1e6, 10.0], "currency": ["TWD", None]}
    )
    got = reconcile(Portfolio.read(table), panel())["value"]
    np.testing.assert_allclose(got, [31_900.0, 10.0], rtol=1e-12)


def test_taiwan_without_a_rate_is_refused_and_the_way_out_works():
    without = FX.drop(columns="TWD")
    with pytest.raises(DataError, match=r"from TWD to USD; at asset TW.*Pass fx="):
        panel(fx=without)
    p = panel(["US", "DE", "JP"], fx=without)
    cash = Portfolio.read(BOOK[BOOK["ticker"] != "TW"])
    with pytest.raises(DataError, match="from TWD to USD; at asset CASH:TWD") as info:
        reconcile(cash, p)
    assert "Pass fx=" in str(info.value) and "a TWD column" in str(info.value)
    assert "2024-01-08" in str(info.value) and "rates for USD, EUR, JPY" in str(
        info.value
    )
    # the ways out: the column, or the position left out
    assert len(reconcile(cash, panel(["US", "DE", "JP"], fx=FX))) == 6
    out = Portfolio.read(BOOK[~BOOK["ticker"].isin(["TW", "CASH:TWD"])])
    assert len(reconcile(out, p)) == 5


def test_a_stale_rate_of_cash_is_refused():
    old = FX.assign(TWD=[np.nan] * 4)
    p = panel(["US", "DE", "JP"], fx=old)
    held = Portfolio.read(BOOK[BOOK["ticker"] != "TW"])
    with pytest.raises(DataError, match="from TWD to USD; at asset CASH:TWD"):
        reconcile(held, p)


def test_a_book_in_another_base_or_that_does_not_add_up(monkeypatch):
    held = Portfolio.read(BOOK, base_currency="EUR")
    with pytest.raises(DataError, match="different base currencies"):
        reconcile(held, panel())
    with pytest.raises(DataError, match="no prices for this ticker"):
        reconcile(Portfolio.from_weights({"XX": 1.0}, 1.0, "USD"), panel())
    monkeypatch.setattr(Portfolio, "value", property(lambda self: 24050.77))
    with pytest.raises(DataError, match=r"do not add up.*received 24050\.7582"):
        reconcile(Portfolio.read(BOOK), panel())


# the future


def test_nothing_earlier_changes_when_the_future_is_corrupted():
    k = 3
    prices, fx, rates = PRICES.copy(), FX.copy(), RATES.copy()
    prices.iloc[k:, 1:] *= 7.0
    fx.iloc[k:, 1:] *= 3.0
    rates.iloc[k:, 1:] += 0.5
    good, bad = panel(), panel(prices=prices, fx=fx, cash_rates=rates)
    for compute_ in (
        lambda p: decompose(p).base,
        lambda p: decompose(p, sessions=2).base,
        lambda p: hedged_returns(p).values,
        lambda p: hedged_returns(p, sessions=2).cost_pa,
        lambda p: cash_growth(p, "EUR")[:, None],
        lambda p: cash_growth(p, "TWD", hedged=True)[:, None],
        lambda p: forward_premium(p, "JPY", sessions=1)[:, None],
        lambda p: forward_premium(p, "JPY", days=90)[:, None],
    ):
        a, b = compute_(good), compute_(bad)
        np.testing.assert_array_equal(a[:k], b[:k])
        early = compute_(good.between(end=DATES[k - 1]))
        np.testing.assert_array_equal(early, a[:k])
    view = good.as_of(DATES[k - 1])
    np.testing.assert_array_equal(
        hedged_returns(view).values, hedged_returns(good).values[:k]
    )
    np.testing.assert_array_equal(
        decompose(bad, end=DATES[k - 1]).base, decompose(good).base[:k]
    )
    # the rate of a row is used from that row on, not before
    late = RATES.assign(USD=[0.0365, 0.0730, 0.0365, 9.0])
    np.testing.assert_array_equal(
        hedged_returns(panel(cash_rates=late)).values, hedged_returns(good).values
    )


def test_a_horizon_longer_than_the_panel_has_no_returns():
    assert np.isnan(decompose(panel(), sessions=9).base).all()
    assert np.isnan(hedged_returns(panel(), sessions=4).values).all()
    one = panel(["US", "TW"]).between(end=DATES[0])
    assert decompose(one).base.shape == (1, 2)
    np.testing.assert_allclose(cash_growth(one, "TWD"), [0.0323])


@pytest.mark.parametrize("h", [0.0, 0.5, 1.0])
def test_three_currencies_by_hand(h):
    got = hedged_returns(panel(), ratio={"EUR": h, "JPY": h, "TWD": h}).values[1]
    # dollar 0.0365, euro 0.0146, yen -0.0010, Taiwan dollar 0.0110 for one day
    parts = [(0.1, 0.1, 4e-5), (0.05, 69 / 70 - 1, -1e-3 / 365)]
    parts.append((0.01, 322 / 323 - 1, 0.011 / 365))
    want = [(1 + x) * (1 + f) - 1 + h * (1.0001 / (1 + i) - 1 - f) for x, f, i in parts]
    np.testing.assert_allclose(got, [0.1, *want], rtol=0, atol=1e-15)


# Hedging what drives the price ------------------------------------------------


def adr_and_local():
    """A fund on Japan quoted in dollars, and its yen price."""
    yen = np.array([2000.0, 2100.0, 2205.0, 2150.0])
    rate = FX["JPY"].to_numpy()
    frame = pd.DataFrame({"date": DATES, "LOCAL": yen, "ADR": yen * rate})
    universe = pd.DataFrame(
        {
            "ticker": ["LOCAL", "ADR"],
            "quote_currency": ["JPY", "USD"],
            "exposure_currency": ["JPY", "JPY"],
        }
    )
    return load_panel(
        frame, price_basis="raw", universe=universe, fx=FX, cash_rates=RATES
    )


def test_hedging_the_exposure_makes_a_listing_abroad_equal_the_local_one():
    p = adr_and_local()
    hedged = hedged_returns(p, of="exposure")
    np.testing.assert_allclose(hedged.values[1:, 1], hedged.values[1:, 0], rtol=1e-12)
    by_quote = hedged_returns(p)
    np.testing.assert_allclose(by_quote.values[1:, 0], hedged.values[1:, 0])
    # Quoted in the base currency, nothing is sold.
    np.testing.assert_allclose(by_quote.values[1:, 1], by_quote.unhedged[1:, 1])
    assert hedged.ratio.tolist() == [1.0, 1.0] and by_quote.ratio.tolist() == [1.0, 0]


def test_a_basket_of_currencies_is_refused_by_name():
    p = adr_and_local()
    codes = ("JPY", "MULTI")
    mixed = replace(p, universe=replace(p.universe, exposure_currency=codes))
    with pytest.raises(DataError, match=r"no one forward.*ADR"):
        hedged_returns(mixed, of="exposure")
    only = hedged_returns(mixed, of="exposure", ratio={"JPY": 1.0})
    assert only.ratio.tolist() == [1.0, 0.0]
    with pytest.raises(UsageError, match="quote or exposure"):
        hedged_returns(p, of="both")
