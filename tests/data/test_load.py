"""Loading prices: every form of table, and every way in which one can be wrong."""

import gzip

import numpy as np
import pandas as pd
import pytest

from engine import DataError, PricePanel, Universe, load_panel
from engine.data.provider import Frames, register_provider

DATES = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
WIDE = pd.DataFrame(
    {"date": DATES, "AAA": [10.0, 11.0, 12.0, 13.0], "BBB": [5.0, None, 6.0, 7.0]}
)
STATED = {"price_basis": "total_return", "currency": "USD"}


def written(folder, text, name="prices.csv"):
    path = folder / name
    path.write_text(text)
    return path


def tidy_of(wide):
    table = wide.melt("date", var_name="ticker", value_name="close").dropna()
    return table.reset_index(drop=True)


def check_market(panel):
    assert panel.tickers == ("AAA", "BBB")
    assert [str(d) for d in panel.dates] == DATES
    np.testing.assert_array_equal(panel.prices[:, 0], [10, 11, 12, 13])
    np.testing.assert_array_equal(panel.prices[:, 1], [5, np.nan, 6, 7])
    assert panel.price_basis == "total_return"
    assert panel.universe.quote_currency == ("USD", "USD")
    assert panel.universe.exposure_currency == ("USD", "USD")


def as_csv(folder):
    WIDE.to_csv(folder / "p.csv", index=False)
    return folder / "p.csv"


def as_text_path(folder):
    return str(as_csv(folder))


def as_gz(folder):
    WIDE.to_csv(folder / "p.csv.gz", index=False)
    return folder / "p.csv.gz"


def as_xz(folder):
    WIDE.to_csv(folder / "p.csv.xz", index=False)
    return folder / "p.csv.xz"


def as_tsv(folder):
    WIDE.to_csv(folder / "p.tsv", index=False, sep="\t")
    return folder / "p.tsv"


def as_byte_order_mark(folder):
    WIDE.to_csv(folder / "p.csv", index=False, encoding="utf-8-sig")
    return folder / "p.csv"


def as_parquet(folder):
    WIDE.to_parquet(folder / "p.parquet")
    return folder / "p.parquet"


def as_indexed_parquet(folder):
    frame = WIDE.assign(date=pd.to_datetime(WIDE["date"])).set_index("date")
    frame.to_parquet(folder / "p.parquet")
    return folder / "p.parquet"


def as_unnamed_index_parquet(folder):
    frame = WIDE.assign(date=pd.to_datetime(WIDE["date"])).set_index("date")
    frame.rename_axis(None).to_parquet(folder / "p.parquet")
    return folder / "p.parquet"


def as_frame(_):
    return WIDE


def as_indexed_frame(_):
    return WIDE.assign(date=pd.to_datetime(WIDE["date"])).set_index("date")


def as_tidy_csv(folder):
    tidy_of(WIDE).to_csv(folder / "p.csv", index=False)
    return folder / "p.csv"


def as_tidy_frame(_):
    return tidy_of(WIDE)


def as_tidy_with_capitals(folder):
    tidy_of(WIDE).rename(columns=str.title).to_csv(folder / "p.csv", index=False)
    return folder / "p.csv"


def as_file_per_ticker(folder):
    for name in ("AAA", "BBB"):
        one = WIDE[["date", name]].dropna().rename(columns={name: "Close"})
        one.assign(Open=1.0, High=2.0, Low=0.5, Volume=100).to_csv(
            folder / f"{name}.csv", index=False
        )
    return folder


def as_list_of_files(folder):
    for name in ("AAA", "BBB"):
        WIDE[["date", name]].to_csv(folder / f"part_{name}.csv", index=False)
    return [folder / "part_AAA.csv", folder / "part_BBB.csv"]


def as_folder_with_other_things(folder):
    as_csv(folder)
    (folder / "README.md").write_text("not a table")
    (folder / "deeper").mkdir()
    return folder


FORMS = [v for k, v in list(globals().items()) if k.startswith("as_")]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_every_form_gives_the_same_panel(form, tmp_path):
    check_market(load_panel(form(tmp_path), **STATED))


def test_all_forms_have_the_same_content_hash(tmp_path):
    hashes = set()
    for i, form in enumerate(FORMS):
        folder = tmp_path / str(i)
        folder.mkdir()
        hashes.add(load_panel(form(folder), **STATED).content_hash)
    assert len(hashes) == 1


def test_a_panel_passes_through_and_is_cut():
    panel = load_panel(WIDE, **STATED)
    assert load_panel(panel) is panel
    cut = load_panel(panel, ["BBB"], "2024-01-03", "2024-01-04")
    assert cut.tickers == ("BBB",)
    assert cut.dates.size == 2


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("2024-01-03", "2024-01-04", "2024-01-03", "2024-01-04"),
        (None, "2024-01-02", "2024-01-02", "2024-01-02"),
        ("2024-01-05", None, "2024-01-05", "2024-01-05"),
        ("2023-12-30", "2024-06-01", "2024-01-02", "2024-01-05"),
        (np.datetime64("2024-01-03"), pd.Timestamp("2024-01-05"), *DATES[1::2]),
    ],
)
def test_start_and_end_are_inclusive(start, end, first, last):
    panel = load_panel(WIDE, ["AAA"], start, end, **STATED)
    assert str(panel.dates[0]) == first
    assert str(panel.dates[-1]) == last


def test_tickers_are_taken_in_the_order_asked_for_and_repeats_once():
    panel = load_panel(WIDE, ["BBB", "AAA", "BBB"], **STATED)
    assert panel.tickers == ("BBB", "AAA")


def test_dates_that_belong_to_other_venues_only_are_left_out():
    assert load_panel(WIDE, ["BBB"], **STATED).dates.size == 3
    assert load_panel(WIDE, **STATED).dates.size == 4


def test_open_and_volume_of_tidy_files_stay_beside_their_prices():
    tidy = tidy_of(WIDE).assign(open=lambda d: d["close"] - 0.5, volume=100.0)
    panel = load_panel(tidy, ["BBB", "AAA"], "2024-01-03", **STATED)
    assert panel.open is not None and panel.volume is not None
    np.testing.assert_array_equal(panel.open, panel.prices - 0.5)
    np.testing.assert_array_equal(
        np.isnan(panel.volume), np.isnan(panel.prices), strict=True
    )


def test_currency_column_of_a_tidy_file():
    tidy = tidy_of(WIDE).assign(currency="USD")
    assert load_panel(tidy, price_basis="raw").universe.quote_currency == ("USD",) * 2
    tidy.loc[0, "currency"] = "EUR"
    with pytest.raises(DataError, match="quoted in two currencies; at asset AAA"):
        load_panel(tidy, price_basis="raw")


def test_tickers_stay_as_written(tmp_path):
    rows = "".join(f"{d},005930,{p}\n{d},NA,{p}\n" for p, d in enumerate(DATES, 1))
    path = written(tmp_path, "date,ticker,close\n" + rows)
    assert load_panel(path, **STATED).tickers == ("005930", "NA")


def test_a_wide_column_called_price_is_a_ticker_and_hides_no_other(tmp_path):
    path = written(tmp_path, "date,AAA,PRICE\n2024-01-02,1,2\n2024-01-03,2,3\n")
    assert load_panel(path, **STATED).tickers == ("AAA", "PRICE")


# What must be stated ----------------------------------------------------------


def test_price_basis_must_be_stated_and_not_contradicted():
    with pytest.raises(DataError, match=r"price_basis must be stated.*--price-basis"):
        load_panel(WIDE, currency="USD")
    with pytest.raises(DataError, match=r"price_basis must be stated.*adjusted'"):
        load_panel(WIDE, currency="USD", price_basis="adjusted")
    with pytest.raises(DataError, match="contradicts what the source states"):
        load_panel("reference", price_basis="raw")


def test_currency_must_be_stated_and_not_contradicted():
    with pytest.raises(DataError, match=r"currency of a price is not stated.*AAA"):
        load_panel(WIDE, price_basis="raw")
    with pytest.raises(DataError, match=r"not stated; at asset BBB"):
        load_panel(WIDE, price_basis="raw", currency={"AAA": "USD"})
    with pytest.raises(DataError, match=r"not a currency code.*AAA.*'dollars'"):
        load_panel(WIDE, price_basis="raw", currency="dollars")
    universe = Universe(("AAA", "BBB"), quote_currency=("USD", "USD"))
    with pytest.raises(DataError, match=r"two currencies.*AAA.*EUR and USD"):
        load_panel(WIDE, price_basis="raw", universe=universe, currency="EUR")
    tidy = tidy_of(WIDE).assign(currency="EUR")
    with pytest.raises(DataError, match=r"two currencies.*AAA.*USD and EUR"):
        load_panel(tidy, price_basis="raw", currency="USD")


def test_currency_codes_may_be_written_small():
    universe = pd.DataFrame({"ticker": ["AAA", "BBB"], "quote_currency": ["usd"] * 2})
    panel = load_panel(WIDE, price_basis="raw", universe=universe)
    assert panel.universe.quote_currency == ("USD", "USD")


# Bad input --------------------------------------------------------------------

HEAD = "date,AAA,BBB\n"
BAD_FILES = {
    "empty": ("", "prices: the file is empty; received "),
    "header only": (HEAD, "prices: no rows in "),
    "no date column": ("day,AAA\n2024-01-02,1\n", "no column 'date'; received day, AA"),
    "no tickers": ("date\n2024-01-02\n", "prices.csv: no ticker columns"),
    "duplicate date": (
        HEAD + "2024-01-02,1,2\n2024-01-02,1,2\n",
        "prices.csv: duplicate date; at date 2024-01-02. Keep one row per date.",
    ),
    "unsorted": (
        HEAD + "2024-01-02,1,2\n2024-01-04,1,2\n2024-01-03,1,2\n",
        "prices.csv: dates are not in order; at date 2024-01-03; received 2024-01-03 "
        "after 2024-01-04. Sort the rows by date.",
    ),
    "descending": (
        HEAD + "2024-01-04,1,2\n2024-01-03,1,2\n",
        "dates are not in order; at date 2024-01-03",
    ),
    "duplicate ticker": (
        "date,AAA,BBB,AAA\n2024-01-02,1,2,3\n",
        "duplicate ticker in prices.csv; at asset AAA",
    ),
    "duplicate after stripping": (
        "date,AAA, AAA\n2024-01-02,1,2\n",
        "duplicate ticker in prices.csv; at asset AAA",
    ),
    "column without a name": (
        "date,AAA,\n2024-01-02,1,2\n",
        "a column without a ticker",
    ),
    "zero": (
        HEAD + "2024-01-02,1,2\n2024-01-03,0,2\n",
        "price must be positive and finite; at asset AAA, date 2024-01-03; "
        "received 0.0. Correct the cell, or leave it empty if there was no trade.",
    ),
    "negative": (
        HEAD + "2024-01-02,1,-2.5\n",
        "price must be positive and finite; at asset BBB, date 2024-01-02; "
        "received -2.5",
    ),
    "infinite": (
        HEAD + "2024-01-02,1,inf\n",
        "price must be positive and finite; at asset BBB, date 2024-01-02; received in",
    ),
    "minus infinite": (
        HEAD + "2024-01-02,1,-inf\n",
        "price must be positive and finite; at asset BBB",
    ),
    "text": (
        HEAD + "2024-01-02,1,2\n2024-01-03,1,n.a.\n",
        "a price is not a number; at asset BBB, date 2024-01-03; received 'n.a.'",
    ),
    "thousands separator": (
        'date,AAA\n2024-01-02,"1,234.5"\n',
        "a price is not a number; at asset AAA, date 2024-01-02; received '1,234.5'",
    ),
    "nothing but gaps": (
        HEAD + "2024-01-02,1,\n2024-01-03,1,\n",
        "no price at all in the range asked for; at asset BBB",
    ),
    "row without a date": (
        HEAD + "2024-01-02,1,2\n,1,2\n",
        "a row without a date; received row 2",
    ),
    "date that is none": (
        HEAD + "2024-01-02,1,2\n2024-13-01,1,2\n",
        "prices.csv: not a date; received '2024-13-01'; expected YYYY-MM-DD",
    ),
    "American dates": (
        HEAD + "01/02/2024,1,2\n",
        "day and month cannot be told apart; received '01/02/2024'",
    ),
    "numeric dates": (HEAD + "20240102,1,2\n", "dates are numbers; received 20240102"),
    "time of day": (
        HEAD + "2024-01-02 16:00:00,1,2\n",
        "dates carry a time of day; received 2024-01-02 16:00:00",
    ),
    "time zone": (HEAD + "2024-01-02T00:00:00Z,1,2\n", "dates carry a time zone"),
    "zone of New York": (
        HEAD + "2024-01-02T00:00:00-05:00,1,2\n2024-07-02T00:00:00-04:00,1,2\n",
        "prices.csv: dates carry a time zone; received '2024-01-02T00",
    ),
    "tidy without prices": (
        "date,ticker\n2024-01-02,AAA\n",
        "no column 'close'; received date, ticker",
    ),
    "tidy duplicate": (
        "date,ticker,close\n2024-01-02,AAA,1\n2024-01-03,AAA,1\n2024-01-03,AAA,2\n",
        "two prices for one asset on one date; at asset AAA, date 2024-01-03",
    ),
    "tidy unsorted": (
        "date,ticker,close\n2024-01-03,AAA,1\n2024-01-02,AAA,1\n",
        "dates are not in order; at asset AAA",
    ),
    "tidy without ticker": (
        "date,ticker,close\n2024-01-02,,1\n",
        "a row without a ticker; at date 2024-01-02",
    ),
    "tidy text": (
        "date,ticker,close\n2024-01-02,AAA,1\n2024-01-03,AAA,oops\n",
        "a price is not a number; at asset AAA, date 2024-01-03; received 'oops'",
    ),
    "ragged rows": (HEAD + "2024-01-02,1,2\n2024-01-03,1,2,3,4\n", "cannot read "),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_what_and_where(case, tmp_path):
    text, words = BAD_FILES[case]
    with pytest.raises(DataError) as caught:
        load_panel(written(tmp_path, text), **STATED)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.parquet", b"this is not parquet"),
        ("p.parquet", b"PAR1garbagePAR1"),
        ("p.csv", bytes(range(256)) * 10),
        ("p.csv", "date,Ä\n2024-01-02,1\n".encode("latin-1")),
        ("p.csv.gz", b"not gzip at all"),
        ("p.csv.gz", gzip.compress(b"date,AAA\n2024-01-02,1\n" * 50, mtime=0)[:40]),
        ("p.csv.xz", b"not xz"),
    ],
)
def test_an_unreadable_file_is_named(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_panel(path, **STATED)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_kinds(tmp_path):
    with pytest.raises(DataError, match=r"no such file; received .*nothing\.csv"):
        load_panel(tmp_path / "nothing.csv", **STATED)
    with pytest.raises(DataError, match="no such file, and no provider of this name"):
        load_panel("nothing", **STATED)
    with pytest.raises(DataError, match="no CSV or Parquet file in the folder"):
        load_panel(tmp_path, **STATED)
    with pytest.raises(DataError, match=r"unknown file type; received p\.xlsx"):
        load_panel(written(tmp_path, "x", "p.xlsx"), **STATED)
    with pytest.raises(DataError, match="cannot load prices from this; received int"):
        load_panel(3, **STATED)
    with pytest.raises(DataError, match="no rows"):
        load_panel(WIDE.iloc[:0], **STATED)


def test_an_unknown_ticker_comes_with_a_suggestion():
    with pytest.raises(
        DataError, match=r"no prices for this ticker; at asset AAB;.*AA"
    ):
        load_panel(WIDE, ["AAB"], **STATED)


def test_one_ticker_in_two_files_is_refused(tmp_path):
    for name in ("x", "y"):
        WIDE.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(DataError, match=r"one ticker in two files.*x\.csv and y\.csv"):
        load_panel(tmp_path, **STATED)


def test_files_of_venues_with_different_holidays_are_joined_in_order(tmp_path):
    written(tmp_path, "date,AAA\n2024-01-03,1\n2024-01-05,2\n", "a.csv")
    written(tmp_path, "date,BBB\n2024-01-02,3\n2024-01-03,4\n2024-01-04,5\n", "b.csv")
    panel = load_panel(tmp_path, **STATED)
    assert [str(d) for d in panel.dates] == DATES
    nan = np.nan
    np.testing.assert_array_equal(panel.prices, [[nan, 3], [1, 4], [nan, 5], [2, nan]])


def test_a_bad_file_among_several_is_named(tmp_path):
    as_csv(tmp_path)
    written(tmp_path, "date,CCC\n2024-01-03,1\n2024-01-02,1\n", "z.csv")
    with pytest.raises(DataError, match="dates are not in order; at date 2024-01-02"):
        load_panel(tmp_path, **STATED)


def test_a_range_without_dates_says_what_there_is():
    with pytest.raises(DataError, match="within 2024-01-02 to 2024-01-05"):
        load_panel(WIDE, start="2025-01-01", **STATED)
    with pytest.raises(DataError, match="no dates in the range"):
        load_panel(WIDE, start="2024-01-04", end="2024-01-03", **STATED)
    with pytest.raises(DataError, match="not a date or time; received 'yesterday'"):
        load_panel(WIDE, start="yesterday", **STATED)


def test_duplicate_and_shuffled_index_of_a_frame():
    """A peer accepts a shuffled index and serves the future (peers 4.6)."""
    frame = as_indexed_frame(None)
    with pytest.raises(DataError, match="not in order"):
        load_panel(frame.iloc[[2, 0, 1, 3]], **STATED)
    with pytest.raises(DataError, match="duplicate date; at date 2024-01-02"):
        load_panel(frame.iloc[[0, 0, 1]], **STATED)
    with pytest.raises(DataError, match="time zone"):
        load_panel(frame.tz_localize("UTC"), **STATED)
    with pytest.raises(DataError, match="both the index and a column are dates"):
        load_panel(frame.assign(date=1), **STATED)


def test_a_late_listing_cuts_no_rows():
    """A peer drops every date before the last listing by default (peers 4.8)."""
    rows = pd.bdate_range("2023-01-02", periods=50).strftime("%Y-%m-%d")
    wide = pd.DataFrame({"date": rows, "AAA": 1.0, "NEW": [np.nan] * 45 + [1.0] * 5})
    panel = load_panel(wide, **STATED)
    assert panel.dates.size == 50
    assert np.isnan(panel.prices[:45, 1]).all()


# Exchange rates ---------------------------------------------------------------

FX = pd.DataFrame({"date": DATES, "EUR": [1.10, 1.11, 1.12, 1.13], "JPY": [0.0070] * 4})
LOCAL = {"AAA": "JPY", "BBB": "USD"}


def local(fx=FX, base="USD", **options):
    return load_panel(
        WIDE, price_basis="raw", currency=LOCAL, fx=fx, base_currency=base, **options
    )


def test_rates_are_usd_for_one_unit():
    panel = local()
    np.testing.assert_allclose(panel.base_prices()[:, 0], panel.prices[:, 0] * 0.0070)
    np.testing.assert_array_equal(panel.base_prices()[:, 1], panel.prices[:, 1])


def test_cross_rates_into_another_base_currency():
    panel = local(base="EUR")
    eur = FX["EUR"].to_numpy()
    np.testing.assert_allclose(panel.fx_rate("USD"), 1 / eur, rtol=1e-15)
    np.testing.assert_allclose(panel.fx_rate("JPY"), 0.0070 / eur, rtol=1e-15)
    np.testing.assert_array_equal(panel.fx_rate("EUR"), np.ones(4))
    np.testing.assert_allclose(
        panel.base_prices()[:, 0], panel.prices[:, 0] * 0.0070 / eur
    )


@pytest.mark.parametrize("form", ["frame", "csv", "parquet"])
def test_rates_from_files(form, tmp_path):
    fx = FX
    if form == "csv":
        FX.to_csv(tmp_path / "fx.csv", index=False)
        fx = tmp_path / "fx.csv"
    if form == "parquet":
        FX.set_index("date").to_parquet(tmp_path / "fx.parquet")
        fx = tmp_path / "fx.parquet"
    assert local(fx).content_hash == local().content_hash


def test_a_currency_without_rates_is_refused():
    with pytest.raises(DataError, match=r"no exchange rate from JPY to USD.*AAA.*--fx"):
        local(fx=None)
    with pytest.raises(DataError, match="no exchange rate from JPY to USD; at asset A"):
        local(FX[["date", "EUR"]])
    with pytest.raises(DataError, match="no exchange rate for the base currency CHF"):
        local(base="CHF")


def test_the_last_fixing_stands_for_a_week_and_no_longer():
    one = FX.iloc[:1]
    assert local(one).fx_rate("JPY").tolist() == [0.0070] * 4
    days = pd.bdate_range("2024-01-02", periods=10).strftime("%Y-%m-%d")
    long = pd.DataFrame({"date": days, "AAA": 1.0, "BBB": 1.0})
    with pytest.raises(
        DataError,
        match="from JPY to USD within a week; at asset AAA, date 2024-01-10",
    ):
        load_panel(long, price_basis="raw", currency=LOCAL, fx=one)


def test_a_stale_base_currency_is_as_bad_as_a_stale_quote_currency():
    days = pd.bdate_range("2024-01-02", periods=10).strftime("%Y-%m-%d")
    long = pd.DataFrame({"date": days, "AAA": 1.0, "BBB": 1.0})
    fx = pd.DataFrame({"date": days, "JPY": 0.007, "EUR": [1.1] + [np.nan] * 9})
    with pytest.raises(DataError, match="from JPY to EUR within a week; at asset AAA"):
        load_panel(long, price_basis="raw", currency=LOCAL, fx=fx, base_currency="EUR")


def test_a_rate_is_never_taken_from_later():
    later = FX.assign(date=["2024-01-03", *DATES[2:], "2024-01-08"])
    with pytest.raises(DataError, match="within a week; at asset AAA, date 2024-01-02"):
        local(later)
    panel = local(later, start="2024-01-03")
    np.testing.assert_array_equal(panel.fx_rate("EUR"), [1.10, 1.11, 1.12])


def test_rates_of_currencies_not_needed_may_be_missing():
    gap = FX.assign(CHF=np.nan)
    assert np.isnan(local(gap).fx_rate("CHF")).all()


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_an_impossible_rate_is_refused(value):
    bad = FX.copy()
    bad.loc[2, "JPY"] = value
    with pytest.raises(
        DataError, match=r"exchange rate must be positive.*JPY, date 2024-01-04"
    ):
        local(bad)


def test_an_exchange_rate_that_is_text_is_refused():
    bad = FX.astype({"JPY": object})
    bad.loc[2, "JPY"] = "x"
    with pytest.raises(DataError, match="JPY, date 2024-01-04; received 'x'"):
        local(bad)


def test_unsorted_rates_are_refused():
    with pytest.raises(DataError, match="exchange rates: dates are not in order"):
        local(FX.iloc[::-1])


def test_cash_rates_are_carried_and_zero_before_they_are_known():
    rates = pd.DataFrame({"date": ["2024-01-03"], "USD": [0.05]})
    panel = load_panel(WIDE, cash_rates=rates, **STATED)
    assert panel.cash_rate().tolist() == [0.0, 0.05, 0.05, 0.05]
    assert panel.cash_rate("EUR").tolist() == [0.0] * 4


# Providers --------------------------------------------------------------------


def test_a_registered_provider_is_reached_by_name():
    class Mine:
        name = "mine"

        def load(self, tickers, start=None, end=None):
            frame = WIDE.assign(date=pd.to_datetime(WIDE["date"])).set_index("date")
            return Frames(
                prices=frame,
                universe=None,
                price_basis="total_return",
                source="mine",
                currency={"AAA": "USD", "BBB": "USD"},
            )

    register_provider("mine", Mine)
    check_market(load_panel("mine"))
    check_market(load_panel(Mine()))
    assert isinstance(load_panel("mine"), PricePanel)


def test_a_cash_rate_is_unknown_before_the_first_one():
    rates = pd.DataFrame({"date": [DATES[2]], "USD": [0.05]})
    panel = load_panel(WIDE, **STATED, cash_rates=rates)
    known = panel.known_cash_rate()
    assert np.isnan(known[:2]).all() and (known[2:] == 0.05).all()
    assert panel.cash_rate()[:2].tolist() == [0.0, 0.0]
