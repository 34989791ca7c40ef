"""Sessions and closes are facts of each venue: checked against days we can name."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, PricePanel, Status, Universe, load_panel
from engine.data import calendars
from engine.data.calendars import (
    CALENDARS,
    CORRECTIONS,
    Override,
    closing_times,
    out_of_calendar,
    read_overrides,
    session_status,
    sessions,
)
from engine.data.venues import close_utc


def days(*texts):
    return np.array(texts, dtype="datetime64[D]")


def day_number(text):
    return np.datetime64(text, "D").astype(np.int64)


def texts(dates):
    return [str(d) for d in dates]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache folder of its own, and no table in memory."""
    monkeypatch.setenv("BALLAST_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    calendars._table.cache_clear()


# Sessions and closes ----------------------------------------------------------


@pytest.mark.parametrize(
    ("venue", "day", "close", "half"),
    [
        ("NYSE", "2025-01-27", "2025-01-27T21:00", False),
        ("NYSE", "2025-07-28", "2025-07-28T20:00", False),
        ("NYSE", "2024-11-29", "2024-11-29T18:00", True),  # day after Thanksgiving
        ("XNYS", "2025-03-10", "2025-03-10T20:00", False),  # New York on summer time
        ("LSE", "2025-03-10", "2025-03-10T16:35", False),  # London not yet
        ("LSE", "2024-12-24", "2024-12-24T12:35", True),  # 12:30 and the auction
        ("XETRA", "2025-07-28", "2025-07-28T15:35", False),
        ("Euronext", "2024-12-31", "2024-12-31T13:10", True),  # 14:05 and the auction
        ("HKEX", "2025-01-27", "2025-01-27T08:10", False),
        ("HKEX", "2025-01-28", "2025-01-28T04:10", True),  # eve of the lunar year
        ("TSE", "2024-11-01", "2024-11-01T06:00", False),  # 15:00 until that day
        ("TSE", "2024-11-05", "2024-11-05T06:30", False),  # 15:30 from this one
        ("TWSE", "2025-02-03", "2025-02-03T05:30", False),
        ("KRX", "2025-01-31", "2025-01-31T06:30", False),
        ("KRX", "2019-11-14", "2019-11-14T07:30", False),  # entrance examination
        ("KRX", "2024-11-14", "2024-11-14T07:30", False),
        ("SSE", "2025-01-27", "2025-01-27T07:00", False),
        ("NSE", "2025-01-27", "2025-01-27T10:00", False),
        ("TSX", "2025-01-27", "2025-01-27T21:00", False),
        ("BMV", "2025-01-27", "2025-01-27T21:00", False),
        ("ASX", "2025-01-28", "2025-01-28T05:10", False),
    ],
)
def test_the_close_of_a_day(venue, day, close, half):
    got = sessions(venue, day, day)
    assert texts(got.dates) == [day]
    assert texts(got.close) == [close]
    assert got.half_day.tolist() == [half]
    assert texts(closing_times(venue, days(day))) == [close]


@pytest.mark.parametrize(
    ("venue", "last", "next_"),
    [
        ("TWSE", "2025-01-22", "2025-02-03"),
        ("KRX", "2025-01-24", "2025-01-31"),
        ("SSE", "2025-01-27", "2025-02-05"),
        ("HKEX", "2025-01-28", "2025-02-03"),
        ("NYSE", "2025-01-27", "2025-01-28"),
        ("TSE", "2025-01-27", "2025-01-28"),
    ],
)
def test_who_was_shut_around_27_january_2025(venue, last, next_):
    """Methods section 1.1."""
    dates = sessions(venue, "2025-01-20", "2025-02-07").dates
    k = texts(dates).index(last)
    assert str(dates[k + 1]) == next_


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_each_correction_holds_and_has_its_evidence(correction):
    got = sessions(correction.venue, correction.date, correction.date)
    assert got.dates.size == (correction.kind != "closed")
    assert len(correction.source) > 40
    table = calendars._table(CALENDARS[correction.venue], calendars.cache_folder())
    at = table.days == day_number(correction.date)
    assert at.any()  # the package lists the day as a session: otherwise drop the row
    if correction.close:
        assert got.close[0] > table.minutes[at].astype("datetime64[m]")[0]


@pytest.mark.parametrize("venue", CALENDARS)
def test_every_venue_has_a_plausible_calendar(venue):
    got = sessions(venue, "2016-01-01", "2025-12-31")
    assert 2400 < got.dates.size < 2600
    assert (np.diff(got.dates) > np.timedelta64(0, "D")).all()
    assert (np.diff(got.close) > np.timedelta64(0, "m")).all()
    assert got.half_day.mean() < 0.02
    late = got.close - close_utc(venue, got.dates)
    assert (np.abs(late) <= np.timedelta64(5, "h")).all()
    assert not got.dates.flags.writeable
    # No half-day closes later than the regular close of the same month.
    assert (late[got.half_day] < np.timedelta64(0, "m")).all()


def test_what_is_not_on_a_calendar_waits_for_the_end_of_the_day():
    saturday = days("2025-01-25")
    assert texts(closing_times("NYSE", saturday)) == ["2025-01-26T00:00"]
    assert texts(closing_times("", saturday)) == ["2025-01-26T00:00"]
    assert texts(closing_times("NYSE", days("2060-01-05"))) == ["2060-01-05T21:00"]
    assert texts(closing_times("FX", days("2025-01-27"))) == ["2025-01-27T13:15"]
    assert closing_times("NYSE", days()).size == 0


def test_no_calendar_and_no_coverage_are_refused():
    with pytest.raises(DataError, match="no calendar for this venue; received 'FX'"):
        sessions("FX", "2025-01-01", "2025-01-31")
    with pytest.raises(DataError, match="no calendar for this venue"):
        sessions("", "2025-01-01", "2025-01-31")
    with pytest.raises(DataError, match="unknown trading venue"):
        sessions("MOON", "2025-01-01", "2025-01-31")
    with pytest.raises(DataError, match=r"NYSE does not cover .* within 1990-01-01"):
        sessions("NYSE", "1960-01-01", "2025-01-31")


# Overrides --------------------------------------------------------------------

LATE = (
    Override("2025-07-08", "XHKG", "closed", source="typhoon"),
    ("2025-07-09", "HKEX", "early_close", "12:00"),
    {"date": "2025-07-12", "venue": "HKEX", "kind": "open"},
)


def test_overrides_close_open_and_shorten_a_day():
    got = sessions("HKEX", "2025-07-07", "2025-07-13", LATE)
    assert texts(got.dates) == [
        "2025-07-07", "2025-07-09", "2025-07-10", "2025-07-11", "2025-07-12"
    ]  # fmt: skip
    assert got.half_day.tolist() == [False, True, False, False, False]
    assert str(got.close[1]) == "2025-07-09T04:00"
    assert str(got.close[-1]) == "2025-07-12T08:10"
    assert sessions("TSE", "2025-07-08", "2025-07-08", LATE).dates.size == 1


def test_a_user_has_the_last_word_over_a_shipped_correction():
    undo = [("2023-09-01", "HKEX", "open")]
    assert sessions("HKEX", "2023-09-01", "2023-09-01", undo).dates.size == 1
    assert sessions("HKEX", "2023-09-01", "2023-09-01").dates.size == 0


def test_overrides_come_from_tables_and_files(tmp_path):
    frame = pd.DataFrame(
        {
            "date": ["2025-07-08", "2025-07-09"],
            "venue": ["HKEX", "HKEX"],
            "kind": ["closed", "early_close"],
            "close": [None, "12:00"],
        }
    )
    frame.to_csv(tmp_path / "late.csv", index=False)
    want = read_overrides(LATE[:2])
    for source in (frame, tmp_path / "late.csv", str(tmp_path / "late.csv")):
        assert [o[:4] for o in read_overrides(source)] == [o[:4] for o in want]
    assert read_overrides(None) == ()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("2025-07-08", "HKEX"), "not a calendar override"),
        ({"date": "2025-07-08", "venue": "HKEX"}, "not a calendar override"),
        (("July", "HKEX", "closed"), "without a date; received 'July'"),
        (("2025-07-08", "", "closed"), "needs a venue and a kind"),
        (("2025-07-08", "HKEX", "shut"), "needs a venue and a kind; at date 2025-07-0"),
        (("2025-07-08", "MOON", "closed"), "unknown trading venue"),
        (("2025-07-08", "HKEX", "early_close"), "the closing time"),
        (("2025-07-08", "HKEX", "open", "noon"), "the closing time"),
    ],
)
def test_bad_overrides_are_refused(row, words):
    with pytest.raises(DataError, match=words):
        read_overrides([row])


def test_two_overrides_for_one_day_are_refused():
    with pytest.raises(DataError, match="two calendar overrides for HKEX on one day"):
        read_overrides([LATE[0], ("2025-07-08", "HKEX", "open")])


# The cache --------------------------------------------------------------------


def test_a_table_is_kept_under_the_version_that_made_it(empty_cache, monkeypatch):
    first = sessions("SSE", "2025-01-01", "2025-02-28")
    files = [f.name for f in empty_cache.iterdir()]
    assert len(files) == 1
    assert files[0].startswith("sessions-XSHG-") and files[0].endswith("-1.npz")

    def never(code):
        raise AssertionError("built again")

    monkeypatch.setattr(calendars, "_build", never)
    calendars._table.cache_clear()
    calendars._calendar.cache_clear()
    again = sessions("SSE", "2025-01-01", "2025-02-28")
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("damage", [b"", b"not a table", b"PK\x03\x04 cut short"])
def test_a_damaged_table_is_built_again(empty_cache, damage):
    sessions("SSE", "2025-01-01", "2025-02-28")
    (file,) = empty_cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage or whole[: len(whole) // 2])
    calendars._table.cache_clear()
    calendars._calendar.cache_clear()
    assert sessions("SSE", "2025-01-27", "2025-02-05").dates.size == 2
    assert [f.suffix for f in empty_cache.iterdir()] == [".npz"]
    assert calendars._read(file) is not None


def test_an_inconsistent_table_is_not_believed(empty_cache):
    empty_cache.mkdir()
    path = empty_cache / "x.npz"
    table = calendars._table("XSHG", empty_cache)
    for bad in (
        table._replace(days=table.days[::-1]),
        table._replace(minutes=table.minutes[1:]),
        table._replace(half=table.half.astype(int)),
        table._replace(facts=table.facts[:2]),
    ):
        calendars._write(path, bad)
        assert calendars._read(path) is None
    assert calendars._read(empty_cache / "absent.npz") is None


def test_without_a_writable_folder_there_is_no_cache_and_no_error(
    tmp_path, monkeypatch
):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("BALLAST_CACHE", str(blocked / "cache"))
    assert sessions("SSE", "2025-01-27", "2025-02-05").dates.size == 2
    calendars._table.cache_clear()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BALLAST_CACHE", str(tmp_path))
    assert calendars.cache_folder() == tmp_path
    monkeypatch.delenv("BALLAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert calendars.cache_folder().name == "ballast"


def test_a_panel_is_imported_without_the_calendar_package():
    code = (
        "import sys, engine.data.panel, engine.data.calendars\n"
        "print([m for m in ('exchange_calendars', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr


# Panels -----------------------------------------------------------------------


def hong_kong(prices, start="2025-01-24", end="2025-02-04", **labels):
    dates = pd.bdate_range(start, end).to_numpy().astype("datetime64[D]")
    n = prices.shape[1]
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            tuple("ABCDE"[:n]),
            venue=("HKEX",) * n,
            quote_currency=("HKD",) * n,
            **labels,
        ),
        price_basis="raw",
        base_currency="HKD",
    )


def test_status_tells_six_facts_apart():
    """24, 27, 28 (half) January; 29, 30, 31 shut; 3, 4 February."""
    prices = np.full((8, 3), 10.0)
    prices[3:6] = np.nan
    prices[1, 1] = np.nan  # halted on an open day
    prices[:3, 2] = np.nan  # first price on 3 February
    got = session_status(hong_kong(prices))
    names = {Status.OPEN: "o", Status.HOLIDAY: "-", Status.HALTED: "x"}
    names |= {Status.UNLISTED: ".", Status.HALF_DAY: "h"}
    lines = ["".join(names[Status(s)] for s in column) for column in got.T]
    assert lines == ["ooh---oo", "oxh---oo", "......oo"]
    assert got.dtype == np.int8


def test_an_open_venue_without_any_price_is_halted_not_on_holiday():
    """The panel alone cannot know this: it takes an empty row for a holiday."""
    prices = np.full((8, 2), 10.0)
    prices[[1, 3, 4, 5]] = np.nan
    panel = hong_kong(prices)
    assert (panel.status()[1] == Status.HOLIDAY).all()
    assert (session_status(panel)[1] == Status.HALTED).all()
    late = [("2025-01-27", "HKEX", "closed")]
    assert (session_status(panel, late)[1] == Status.HOLIDAY).all()


def test_a_price_on_a_shut_day_is_a_holiday_and_is_listed():
    prices = np.full((8, 2), 10.0)
    prices[3] = [10.0, 11.0]  # the second moved
    panel = hong_kong(prices)
    assert (session_status(panel)[3:6] == Status.HOLIDAY).all()
    table = out_of_calendar(panel)
    assert table["problem"].tolist() == ["price while shut"] * 2 + [
        "unchanged price while shut"
    ]
    assert table["assets"].tolist() == [2, 2, 2]
    opened = [("2025-01-29", "HKEX", "open")]
    assert (session_status(panel, opened)[3] == Status.OPEN).all()
    assert len(out_of_calendar(panel, opened)) == 2


def test_missing_rows_and_empty_sessions_are_listed():
    prices = np.full((8, 1), 10.0)
    prices[[1, 3, 4, 5]] = np.nan
    panel = hong_kong(prices)
    rows = [0, 1, 3, 6, 7]  # 28 January has no row at all
    cut = replace(
        panel, dates=panel.dates[rows], prices=panel.prices[rows], content_hash=""
    )
    table = out_of_calendar(cut)
    assert table["date"].dt.strftime("%m-%d").tolist() == ["01-27", "01-28"]
    assert table["problem"].tolist() == [
        "no price on a session",
        "session without a row",
    ]


def test_listing_dates_decide_where_stated():
    prices = np.full((8, 2), 10.0)
    prices[3:6] = np.nan
    prices[:2, 0] = np.nan
    prices[6:, 1] = np.nan
    nat = np.datetime64("NaT")
    panel = hong_kong(
        prices,
        listed_from=np.array(["2025-01-27", nat], "datetime64[D]"),
        listed_until=np.array([nat, "2025-01-31"], "datetime64[D]"),
    )
    got = session_status(panel)
    assert got[:2, 0].tolist() == [Status.UNLISTED, Status.HALTED]
    assert got[6:, 1].tolist() == [Status.DELISTED] * 2


def test_an_end_counts_sessions_of_the_venue_not_rows():
    """Ten sessions without a price are a halt, eleven a delisting."""
    dates = sessions("HKEX", "2025-01-02", "2025-03-31").dates
    for extra, expected in ((10, Status.HALTED), (11, Status.DELISTED)):
        shown = dates[: 20 + extra]
        prices = np.full((shown.size, 2), 10.0)
        prices[20:, 1] = np.nan
        panel = PricePanel(
            dates=shown,
            prices=prices,
            universe=Universe(
                ("A", "B"), venue=("HKEX",) * 2, quote_currency=("HKD",) * 2
            ),
            price_basis="raw",
            base_currency="HKD",
        )
        assert (session_status(panel)[20:, 1] == expected).all()


def test_venues_without_a_calendar_keep_what_the_panel_sees():
    prices = np.full((8, 1), 10.0)
    prices[3] = np.nan
    panel = hong_kong(prices)
    nowhere = replace(
        panel, universe=replace(panel.universe, venue=("COMEX",)), content_hash=""
    )
    np.testing.assert_array_equal(session_status(nowhere), nowhere.status())
    assert out_of_calendar(nowhere).empty


def test_past_the_end_of_a_calendar_a_row_with_a_price_is_a_session():
    """Shanghai publishes one year at a time; what is inside keeps its holidays."""
    last = calendars._corrected("SSE", None).last
    dates = np.arange(last - 20, last + 11)
    prices = np.full((dates.size, 1), 10.0)
    prices[-3] = np.nan
    panel = PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(("A",), venue=("SSE",), quote_currency=("CNY",)),
        price_basis="raw",
        base_currency="CNY",
    )
    got = session_status(panel)[:, 0]
    weekend = np.isin((dates.astype(int) + 3) % 7, (5, 6))
    inside = dates <= last
    assert (got[inside & weekend] == Status.HOLIDAY).all()
    assert got[-3] == Status.HOLIDAY
    assert (np.delete(got[~inside], -3) == Status.OPEN).all()
    late = closing_times("SSE", dates[-1:])
    assert str(late[0]) == f"{dates[-1]}T07:00"
    assert not (out_of_calendar(panel)["date"] > pd.Timestamp(str(last))).any()


# What a moment shows ----------------------------------------------------------


def test_a_half_day_is_visible_from_its_own_close():
    prices = np.full((8, 1), 10.0)
    prices[3:6] = np.nan
    panel = hong_kong(prices)

    def last(t):
        view = panel.as_of(t).panel
        return str(view.dates[np.flatnonzero(np.isfinite(view.prices[:, 0]))[-1]])

    assert last("2025-01-28T04:09") == "2025-01-27"
    assert last("2025-01-28T04:10") == "2025-01-28"
    assert last("2025-02-03T04:10") == "2025-01-28"
    assert last("2025-02-03T08:10") == "2025-02-03"


def test_a_price_on_a_shut_day_is_hidden_until_the_day_is_over():
    """An evening session, such as Diwali in Mumbai, is never seen at the usual hour."""
    prices = np.full((8, 1), 10.0)
    panel = hong_kong(prices)
    assert str(panel.as_of("2025-01-29T23:59").date) == "2025-01-28"
    assert str(panel.as_of("2025-01-30T00:00").date) == "2025-01-29"


@given(minute=st.integers(0, 12 * 1440), venue=st.sampled_from(sorted(CALENDARS)))
def test_no_close_later_than_the_moment_is_ever_seen(minute, venue):
    """Over two half-days, the change of the Tokyo close, and holidays."""
    start = "2024-10-29" if venue == "TSE" else "2024-12-20"
    dates = pd.bdate_range(start, periods=10).to_numpy().astype("datetime64[D]")
    panel = PricePanel(
        dates=dates,
        prices=np.arange(1.0, 11.0)[:, None],
        universe=Universe(("A",), venue=(venue,), quote_currency=("USD",)),
        price_basis="raw",
        base_currency="USD",
    )
    closes = closing_times(venue, dates)
    moment = dates[1].astype("datetime64[m]") + np.timedelta64(minute, "m")
    seen = panel.as_of(moment).panel
    known = seen.dates[np.isfinite(seen.prices[:, 0])]
    np.testing.assert_array_equal(known, dates[closes <= moment])


# Real data --------------------------------------------------------------------


def real(real_data, name, tickers):
    return load_panel(
        real_data / name,
        tickers,
        universe=real_data / "metadata.csv",
        price_basis="total_return",
        fx=real_data / "fx_usd_per_unit.csv.gz",
    )


def test_hong_kong_agrees_with_its_calendar_but_for_three_typhoon_days(real_data):
    """On those the file repeats the day before; the index has no price."""
    names = pd.read_parquet(real_data / "prices_asia_local.parquet").columns
    panel = real(
        real_data,
        "prices_asia_local.parquet",
        [n for n in names if n.endswith(".HK")],
    )
    table = out_of_calendar(panel)
    assert texts(table["date"].to_numpy().astype("datetime64[D]")) == [
        "2016-08-02", "2016-10-21", "2017-08-23"
    ]  # fmt: skip
    assert set(table["problem"]) == {"unchanged price while shut"}
    status = session_status(panel)
    row = int(np.searchsorted(panel.dates, np.datetime64("2025-01-28")))
    assert (status[row] == Status.HALF_DAY).all()


def test_new_york_frankfurt_paris_and_toronto_agree_on_every_day(real_data):
    for ticker in ("SPX", "DAX", "CAC40", "GSPTSE"):
        universe = pd.read_csv(real_data / "metadata.csv")
        universe["quote_currency"] = "USD"  # levels only; no rate needed
        panel = load_panel(
            real_data / "index_levels.csv.gz",
            [ticker],
            universe=universe,
            price_basis="split_adjusted",
        )
        assert out_of_calendar(panel).empty, ticker


def test_evening_sessions_in_mumbai_are_listed_not_taken_for_stale_prices(real_data):
    """Diwali: an hour of trading on a holiday, which the calendar does not carry."""
    universe = pd.read_csv(real_data / "metadata.csv")
    universe["quote_currency"] = "USD"
    panel = load_panel(
        real_data / "index_levels.csv.gz",
        ["NIFTY50"],
        universe=universe,
        price_basis="split_adjusted",
    )
    table = out_of_calendar(panel)
    evenings = table[table["problem"] == "price while shut"]
    assert evenings["date"].dt.strftime("%Y-%m-%d").tolist() == [
        "2017-10-19", "2018-11-07", "2021-11-04", "2022-10-24", "2024-11-01"
    ]  # fmt: skip
    usual = panel.as_of("2021-11-04T10:00")  # 15:30 in Mumbai
    assert str(usual.date) == "2021-11-03"


def test_closures_shipped_are_days_on_which_others_traded(real_data):
    """All series of the venue are empty and Hong Kong or Tokyo is not."""
    asia = pd.read_parquet(real_data / "prices_asia_local.parquet")
    levels = pd.read_csv(
        real_data / "index_levels.csv.gz", index_col="date", parse_dates=True
    )
    for c in (c for c in CORRECTIONS if c.kind == "closed"):
        day = pd.Timestamp(c.date)
        others = levels.loc[day, ["HSI", "N225"]]
        if c.venue == "TWSE":
            own = [*asia.loc[day, ["2330.TW", "0050.TW"]], levels.loc[day, "TWII"]]
        else:
            own = [levels.loc[day, "HSI"]]
            if day in asia.index:
                own += list(asia.loc[day].filter(like=".HK"))
        assert pd.isna(own).all() and others.notna().any(), c
