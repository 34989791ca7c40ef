"""Books: shares, money or weights, several currencies, nothing rescaled in silence."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, Portfolio, load_panel
from engine.data.portfolio import cash_label

DATES = ["2024-01-02", "2024-01-03"]
PRICES = pd.DataFrame(
    {"date": DATES, "US": [90.0, 100.0], "DE": [49.0, 50.0], "JP": [1900.0, 2000.0]}
)
CODES = {"US": "USD", "DE": "EUR", "JP": "JPY"}
FX = pd.DataFrame({"date": DATES, "EUR": [1.0, 1.25], "JPY": [0.01, 0.005]})


def panel(base="USD", prices=PRICES):
    codes = {k: CODES.get(k, "USD") for k in prices.columns[1:]}
    return load_panel(
        prices, price_basis="raw", currency=codes, fx=FX, base_currency=base
    )


def book(text, **options):
    rows = [line.split(",") for line in text.split()]
    table = pd.DataFrame(rows[1:], columns=rows[0]).replace("", None)
    return Portfolio.read(table, **options)


def test_shares_by_hand():
    held = book("ticker,shares\nUS,10\nDE,8\nJP,100\nCASH:USD,500\nCASH:EUR,400")
    priced = held.priced(panel())
    # 10 x 100, 8 x 50 x 1.25, 100 x 2000 x 0.005, 500, 400 x 1.25
    assert priced.money.tolist() == [1000.0, 500.0, 1000.0]
    assert priced.cash_money.tolist() == [500.0, 500.0]
    assert priced.value == 3500.0
    assert priced.labels == ("US", "DE", "JP", "CASH:USD", "CASH:EUR")
    np.testing.assert_allclose(priced.weights, np.array([10, 5, 10, 5, 5]) / 35)
    assert repr(priced) == "Portfolio(3 assets, 2 cash, 3,500.00 USD)"
    assert "unpriced" in repr(held)


def test_the_same_book_in_euros():
    held = book(
        "ticker,shares\nUS,10\nDE,8\nJP,100\nCASH:USD,500\nCASH:EUR,400",
        base_currency="EUR",
    )
    priced = held.priced(panel("EUR"))
    np.testing.assert_allclose(priced.money, [800.0, 400.0, 800.0])
    np.testing.assert_allclose(priced.cash_money, [400.0, 400.0])
    assert priced.value == pytest.approx(2800.0)


def test_value_with_and_without_a_currency():
    held = book("ticker,value,currency\nUS,1000,EUR\nDE,400,\nJP,1000,USD\nCASH:EUR,4,")
    priced = held.priced(panel())
    # stated in EUR; unstated is the currency of the price; stated in USD; cash in EUR
    np.testing.assert_allclose(priced.money, [1250.0, 500.0, 1000.0])
    np.testing.assert_allclose(priced.units, [12.5, 8.0, 100.0])
    np.testing.assert_allclose(priced.cash_money, [5.0])


def test_weights_take_a_value_or_read_as_fractions():
    text = "ticker,weight\nUS,0.5\nDE,0.3\nCASH:EUR,0.2"
    priced = book(text, value=10_000.0).priced(panel())
    np.testing.assert_allclose(priced.money, [5000.0, 3000.0])
    np.testing.assert_allclose(priced.units, [50.0, 48.0])
    assert priced.cash == (("EUR", pytest.approx(1600.0)),)
    assert priced.value == pytest.approx(10_000.0)
    assert book(text).value == pytest.approx(1.0)


def test_pricing_again_moves_with_the_market():
    early, late = panel().between(end="2024-01-02"), panel()
    held = Portfolio.from_weights({"US": 0.9, "CASH:USD": 0.1}, 1000.0, "USD")
    first = held.priced(early)
    again = first.priced(late)
    assert again.money[0] == pytest.approx(900.0 / 90 * 100)
    assert again.cash_money[0] == pytest.approx(100.0)
    np.testing.assert_array_equal(first.priced(early).weights, first.weights)
    view = late.as_of("2024-01-02")
    np.testing.assert_array_equal(held.priced(view).money, first.money)


def test_a_short_position_and_a_debt_are_allowed_while_the_value_is_positive():
    priced = book("ticker,shares\nUS,20\nDE,-8\nCASH:USD,-300").priced(panel())
    assert priced.value == 2000.0 - 500.0 - 300.0
    with pytest.raises(DataError, match="value must be positive; received -"):
        book("ticker,shares\nUS,1\nCASH:USD,-300").priced(panel())
    with pytest.raises(DataError, match=r"value must be positive; received 0\.0"):
        book("ticker,shares\nUS,0").priced(panel())


def test_columns_in_any_case_and_a_name_column():
    priced = book("Ticker,Shares,Name\nUS,1,Acme").priced(panel())
    assert priced.value == 100.0


def test_reads_a_file(tmp_path):
    path = tmp_path / "book.csv"
    path.write_text("ticker,shares\nUS,1\n\nCASH:USD,5\n")
    assert Portfolio.read(path).priced(panel()).value == 105.0


def test_basis_and_tax():
    held = book("ticker,shares,cost_basis,tax_rate\nUS,1,40,0.25\nDE,1,,\nCASH:USD,5,,")
    assert held.cost_basis[0] == 40.0 and np.isnan(held.cost_basis[1])
    assert held.tax_rate.tolist() == [0.25, 0.0]
    priced = held.priced(panel())
    np.testing.assert_array_equal(priced.cost_basis, held.cost_basis)
    weighted = book("ticker,weight,cost_basis,tax_rate\nUS,0.9,40,0.2\nCASH:USD,0.1,,")
    assert weighted.tax_rate.tolist() == [0.2]


def test_weights_on_another_order():
    held = Portfolio.from_weights({"US": 0.6, "CASH:USD": 0.4}, 1.0, "USD")
    got = held.weights_on(("CASH:USD", "JP", "US"))
    np.testing.assert_allclose(got, [0.4, 0.0, 0.6])
    with pytest.raises(DataError, match=r"not covered.*at asset US"):
        held.weights_on(("CASH:USD",))


def test_the_order_of_rows_does_not_matter():
    rows = ["US,10", "DE,8", "CASH:EUR,400"]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        text = "\n".join(["ticker,shares", *(rows[i] for i in order)])
        got = dict(
            zip((p := book(text).priced(panel())).labels, p.weights, strict=True)
        )
        assert got == pytest.approx({"US": 0.5, "DE": 0.25, "CASH:EUR": 0.25})


@given(
    weights=st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3),
    value=st.floats(1.0, 1e12),
)
def test_round_trip_from_weights(weights, value):
    w = np.array(weights) / sum(weights)
    given_ = dict(zip(("US", "JP", "CASH:EUR"), w, strict=True))
    priced = Portfolio.from_weights(given_, value, "USD").priced(panel())
    np.testing.assert_allclose(priced.weights, w, rtol=1e-12)
    assert priced.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(
        priced.money[1], priced.units[1] * 2000.0 * 0.005, rtol=1e-12
    )


BAD = {
    "weights short of one": (
        "ticker,weight\nUS,0.5\nDE,0.4",
        "weights do not sum to one; received 0.900000; expected 1, cash included. "
        "Add CASH:USD with 0.100000, or correct them; nothing is rescaled.",
    ),
    "weights in per cent": ("ticker,weight\nUS,50\nDE,50", "received 100.000000"),
    "duplicate": (
        "ticker,shares\nUS,1\nUS,2",
        "duplicate ticker in the portfolio; at asset US",
    ),
    "duplicate weight": ("ticker,weight\nUS,0.5\nUS,0.5", "duplicate"),
    "duplicate cash": ("ticker,shares\nUS,1\nCASH:EUR,1\nCASH:eur,2", "duplicate curr"),
    "text": (
        "ticker,shares\nUS,ten",
        "column shares holds something that is not a number; at asset US; received "
        "'ten'",
    ),
    "gap": ("ticker,shares\nUS,1\nDE,", "not a number; at asset DE"),
    "infinite": ("ticker,shares\nUS,inf", "not a number; at asset US; received 'inf'"),
    "not a number": ("ticker,weight\nUS,nan", "not a number; at asset US"),
    "no ticker column": ("name,shares\nUS,1", "portfolio has no column 'ticker'; rec"),
    "no ticker": (
        "ticker,shares\n,1",
        "the portfolio holds an empty or non-text label",
    ),
    "no quantity": (
        "ticker,amount\nUS,1",
        "states exactly one of shares, value, weight; received none of them",
    ),
    "two quantities": ("ticker,shares,weight\nUS,1,1", "received shares, weight"),
    "unknown column": (
        "ticker,shares,costbasis\nUS,1,1",
        "unknown column in the portfolio; received costbasis; expected ticker, ",
    ),
    "cash currency": (
        "ticker,shares\nCASH:EURO,1",
        "not a currency code; received 'EU",
    ),
    "cash in two currencies": (
        "ticker,value,currency\nUS,1,\nCASH:EUR,1,USD",
        "a cash row names two currencies; at asset CASH:EUR; received USD",
    ),
    "not a currency": (
        "ticker,value,currency\nUS,1,dollar",
        "currency code; at asset U",
    ),
    "negative basis": (
        "ticker,shares,cost_basis\nUS,1,-1",
        "cost_basis must not be neg",
    ),
    "tax in per cent": (
        "ticker,shares,tax_rate\nUS,1,25",
        r"tax_rate must lie in [0, 1)",
    ),
    "tax text": (
        "ticker,shares,tax_rate\nUS,1,high",
        "column tax_rate holds something",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_book_is_refused_with_the_ticker_and_the_fix(case):
    text, words = BAD[case]
    with pytest.raises(DataError) as caught:
        book(text)
    assert words in str(caught.value)


def test_values_that_contradict():
    with pytest.raises(
        DataError, match="already states one; received shares and value"
    ):
        book("ticker,shares\nUS,1", value=100.0)
    for value in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="value must be positive"):
            Portfolio.from_weights({"US": 1.0}, value, "USD")
    with pytest.raises(DataError, match="the portfolio is empty"):
        Portfolio((), np.empty(0), np.empty(0))


def test_an_unpriced_book_says_so():
    with pytest.raises(DataError, match=r"not priced yet\. Call portfolio\.priced"):
        _ = book("ticker,shares\nUS,1").value


def test_a_holding_without_prices_is_named():
    with pytest.raises(
        DataError, match=r"no prices for this ticker; at asset USX. Did y"
    ):
        book("ticker,shares\nUSX,1").priced(panel())
    late = PRICES.assign(NEW=[None, 5.0])
    with pytest.raises(DataError, match=r"no price yet.*asset NEW, date 2024-01-02"):
        book("ticker,shares\nNEW,1").priced(panel(prices=late).as_of("2024-01-02"))


def test_currencies_without_a_rate_are_named():
    with pytest.raises(DataError, match="no exchange rate from CHF to USD"):
        book("ticker,shares\nUS,1\nCASH:CHF,5").priced(panel())
    with pytest.raises(DataError, match="no exchange rate from CHF to USD"):
        book("ticker,value,currency\nUS,1,CHF").priced(panel())
    with pytest.raises(
        DataError, match="different base currencies; received USD and EU"
    ):
        book("ticker,shares\nUS,1").priced(panel("EUR"))
    with pytest.raises(
        DataError, match="state different currencies; at asset US; rece"
    ):
        book("ticker,shares,currency\nUS,1,EUR").priced(panel())


def test_cash_labels():
    assert cash_label("EUR") == "CASH:EUR"
    only = book("ticker,shares\nCASH:USD,5\nCASH:EUR,4").priced(panel())
    assert only.value == 10.0 and only.assets == ()
    frame = only.to_frame()
    assert frame["weight"].tolist() == [0.5, 0.5]
