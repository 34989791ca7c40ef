"""Files as spreadsheets and brokers write them: read one way and said, or refused."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.dialect import read_dates, read_figures, separator_of
from engine.data.files import read_table
from engine.data.holdings import is_isin
from engine.data.load import load_panel
from engine.data.portfolio import Portfolio
from engine.errors import DataError, InputNote

STATED = {"price_basis": "total_return", "currency": "USD"}


def portfolio(folder, text, encoding="utf-8"):
    path = folder / "book.csv"
    path.write_text(text, encoding=encoding)
    return Portfolio.read(path)


@pytest.mark.parametrize(
    ("text", "weights", "note"),
    [
        ("ticker;weight\nA;0,625\nB;0,375\n", (0.625, 0.375), "0,625 is read as 0.625"),
        ("ticker;weight\nA;0.625\nB;0.375\n", (0.625, 0.375), None),
        ('ticker,weight\nA,"0,6"\nB,"0,4"\n', (0.6, 0.4), "0,6 is read as 0.6"),
        ("ticker,weight\nA,60%\nB,40 %\n", (0.6, 0.4), "60% is read as 0.6"),
        ("ticker;weight\nA;62,5%\nB;37,5%\n", (0.625, 0.375), "62,5% is read as 0.625"),
        ("Ticker , Weight\n A , 0.6 \n B,0.4\n", (0.6, 0.4), None),
        ("ticker\tweight\nA\t0.6\nB\t0.4\n", (0.6, 0.4), None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_weights_as_they_are_written(tmp_path, text, weights, note, encoding):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        book = portfolio(tmp_path, text, encoding)
    assert book.assets == ("A", "B")
    np.testing.assert_allclose(book.weights, weights, rtol=1e-15)
    assert [str(w.message).split(": ")[1] for w in said] == ([note] if note else [])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('ticker,value\nA,"1,234,567.50"\nB,"20,000"\n', (1234567.5, 20000.0)),
        ("ticker;value\nA;1.234.567,50\nB;20.000\n", (1234567.5, 20000.0)),
        ("ticker;value\nA;1 234 567,5\nB;20 000\n", (1234567.5, 20000.0)),
        ("ticker;value\nA;1'234'567.5\nB;20'000\n", (1234567.5, 20000.0)),
        # The comma of one column says what the point of the other means.
        ("ticker;value;cost_basis\nA;1234567,5;1.234\nB;20000;5\n", (1234567.5, 2e4)),
    ],
)
def test_thousands(tmp_path, text, values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        book = portfolio(tmp_path, text)
    np.testing.assert_array_equal(book.stated_amount, values)
    if "cost_basis" in text:
        np.testing.assert_array_equal(book.cost_basis, [1234.0, 5.0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'ticker,value\nA,"20,000"\nB,"30,000"\n',
            "'20,000'; expected 20000 or 20.000",
        ),
        ("ticker;value\nA;20.000\nB;30.000\n", "'20.000'; expected 20000 or 20.000"),
        ("ticker;value\nA;1.234,5\nB;1,234.5\n", "two ways of writing decimals"),
        ('ticker,value,cost_basis\nA,"0,6",1.5\nB,"0,4",2.5\n', "two ways of writing"),
        ("ticker,weight\nA,60%\nB,0.4\n", "asset B; received '0.4'; expected all of"),
        ("ticker,weight\nA,60\nB,40\n", "look like percentages: divide by 100"),
        ("ticker,weight\nA,0.6\nB,0.4\nTotal,1\n", "Remove the row Total"),
        ("ticker,weight\nA,0.6\nB,0.6\n", "They exceed 1 by 0.2"),
        ("ticker,weight\nA,0.6\nB,0.3\n", "Add CASH:USD with 0.100000"),
        ("isin,shares\nUS67066G1040,10\n", "Rename the column 'isin' to 'ticker'"),
        ("symbol,shares\nA,10\n", "Rename the column 'symbol' to 'ticker'"),
        ("ticker,quantity\nA,10\n", "Rename the column 'quantity' to 'shares'"),
        ("ticker,shares\nA,10\n,\n", "received row 2 after the heading"),
        ("ticker,value\nA,$1200\n", "A currency goes into the column currency"),
        ("ticker,shares,sector\nA,1,x\n", "--universe"),
    ],
)
def test_what_could_be_two_things_is_refused_with_what_to_change(tmp_path, text, words):
    with pytest.raises(DataError) as caught:
        portfolio(tmp_path, text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("nvda", "Did you mean NVDA?"),
        ("CASH", "Cash is written CASH:USD"),
        ("USD", "Cash is written CASH:USD"),
        ("cash eur", "Cash is written CASH:EUR"),
        ("cash:gbp", "Cash is written CASH:GBP"),
        ("Total", "A total is no holding: remove the row."),
        ("US67066G1040", "This is an ISIN"),
    ],
)
def test_a_holding_without_prices_says_what_it_may_be(label, words):
    prices = pd.DataFrame(
        {"date": ["2024-01-02", "2024-01-03"], "NVDA": [1.0, 2.0], "PG": [3.0, 4.0]}
    )
    panel = load_panel(prices, **STATED)
    book = Portfolio.read(pd.DataFrame({"ticker": [label, "PG"], "shares": [1, 1]}))
    with pytest.raises(DataError) as caught:
        book.priced(panel)
    assert f"asset {label}" in str(caught.value) and words in str(caught.value)


def test_words_that_are_tickers_too_are_tickers_where_they_have_prices():
    """CASH, USD and SUM are listed: what has prices is not translated."""
    prices = pd.DataFrame(
        {"date": ["2024-01-02", "2024-01-03"], "CASH": [1.0, 2.0], "USD": [3.0, 4.0]}
    )
    book = Portfolio.read(pd.DataFrame({"ticker": ["CASH", "USD"], "shares": [1, 1]}))
    assert book.priced(load_panel(prices, **STATED)).value == 6.0


def test_isin():
    assert is_isin("US67066G1040") and is_isin("DE0007164600")
    assert not is_isin("US67066G1041") and not is_isin("NVDA")


@pytest.mark.parametrize(
    ("text", "first", "note"),
    [
        ("Date,A\n02/01/2024,1\n31/01/2024,2\n", "2024-01-02", "31/01/2024"),
        ("Date,A\n01/02/2024,1\n01/31/2024,2\n", "2024-01-02", "01/31/2024"),
        ("Date;A\n02.01.2024;1\n03.01.2024;2\n", "2024-01-02", "02.01.2024"),
        (",A\n2024-01-02,1\n2024-01-03,2\n", "2024-01-02", None),
    ],
)
def test_dates_as_they_are_written(tmp_path, text, first, note):
    path = tmp_path / "prices.csv"
    path.write_text(text)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        panel = load_panel(path, **STATED)
    assert str(panel.dates[0]) == first
    assert [note in str(w.message) for w in said] == ([True] if note else [])


def test_a_day_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match=r"not a date; received '31/02/2024'"):
        read_dates(pd.Series(["01/02/2024", "31/02/2024"]), "prices.csv")
    with pytest.raises(DataError, match="cannot be told apart"):
        read_dates(pd.Series(["01/13/2024", "13/01/2024"]), "prices.csv")
    assert read_dates(pd.Series(["2024-01-02"]), "prices.csv") is None


YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,1,1,1,10,9,5\n"


@pytest.mark.parametrize(
    ("basis", "price"), [("total_return", 9.0), ("split_adjusted", 10.0)]
)
def test_the_basis_chooses_between_close_and_adjusted_close(tmp_path, basis, price):
    """Before, the close was taken for a total return without a word."""
    path = tmp_path / "NVDA.csv"
    path.write_text(YAHOO)
    with pytest.warns(InputNote, match=f"is read as {basis}"):
        panel = load_panel(path, price_basis=basis, currency="USD")
    assert panel.prices[0, 0] == price
    for wrong in ("raw", None):
        with pytest.raises(DataError, match="both a close and an adjusted close"):
            load_panel(path, price_basis=wrong, currency="USD")


def test_tidy_rows_with_an_adjusted_close_alone(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("Date,Ticker,Adj Close\n2024-01-02,A,9\n2024-01-03,A,10\n")
    assert load_panel(path, **STATED).prices[:, 0].tolist() == [9.0, 10.0]


def test_separators():
    assert separator_of("ticker;weight", ",") == ";"
    assert separator_of("ticker,a;b", ",") == ","
    assert separator_of("ticker", ",") == ","


@given(
    numbers=st.lists(
        st.integers(-(10**9), 10**9).map(lambda n: n / 100), min_size=1, max_size=6
    ),
    style=st.sampled_from(["1,234.50", "1.234,50", "1 234,50", "1'234.50"]),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_a_number_written_with_two_decimals_is_read_back(numbers, style):
    marks = {",": "\0", ".": style[-3]}
    text = [f"{x:,.2f}" for x in numbers]
    for old, new in (*marks.items(), ("\0", style[1])):
        text = [t.replace(old, new) for t in text]
    table = pd.DataFrame({"ticker": [f"T{i}" for i in range(len(text))], "value": text})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputNote)
        found = read_figures(table, separator=";", source="x.csv", skip={"ticker"})
    assert found["value"].astype(float).tolist() == numbers


def test_text_stays_text(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("ticker;name;venue\n005930;Samsung, Ltd;KRX\n")
    table = read_table(path, what="universe")
    assert table.iloc[0].tolist() == ["005930", "Samsung, Ltd", "KRX"]
