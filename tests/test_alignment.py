"""Returns by information time: a shut market is never a zero, a shock is never lost."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, PricePanel, Status, Universe, UsageError, load_panel
from engine.alignment import METHODS, align, event_returns, same_venue
from engine.data.calendars import closing_times, sessions

VENUE = {"US": "NYSE", "JP": "TSE", "TW": "TWSE", "HK": "HKEX", "DE": "XETRA"}


def day(text):
    return np.datetime64(text, "D")


def world(start="2025-01-02", end="2025-02-28", *, venue=VENUE, seed=0):
    """Prices on the true sessions of five venues; rows are their union."""
    rng = np.random.default_rng(seed)
    own = [sessions(v, start, end).dates for v in venue.values()]
    dates = np.unique(np.concatenate(own))
    prices = np.full((dates.size, len(venue)), np.nan)
    for i, days in enumerate(own):
        prices[np.isin(dates, days), i] = rng.uniform(50, 150, days.size)
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            tuple(venue),
            venue=tuple(venue.values()),
            quote_currency=("USD",) * len(venue),
        ),
        price_basis="raw",
        base_currency="USD",
    )


PANEL = world()


def price(ticker, date):
    k = int(np.searchsorted(PANEL.dates, day(date)))
    return PANEL.prices[k, PANEL.index(ticker)]


def cell(result, ticker, date):
    t = int(np.searchsorted(result.dates, day(date)))
    assert result.dates[t] == day(date)
    i = result.tickers.index(ticker)
    return (
        result.values[t, i],
        str(result.start_date[t, i]),
        str(result.end_date[t, i]),
        Status(result.status[t, i]),
    )


# Against a slow reference -----------------------------------------------------


def reference(panel, method, cut="NYSE"):
    """Daily simple returns by definition: one loop over rows and one over prices."""
    grid = sessions(cut, panel.dates[0], panel.dates[-1])
    T, N = grid.dates.size, len(panel.tickers)
    out = np.full((T, N), np.nan)
    for i, venue in enumerate(panel.universe.venue):
        known = [
            (closing_times(venue, panel.dates[r : r + 1])[0], panel.dates[r], p)
            for r, p in enumerate(panel.prices[:, i])
            if not np.isnan(p)
        ]
        before = None
        for t in range(T):
            lo, hi = grid.close[t - 1] if t else None, grid.close[t]
            if method == "same_date":
                mine = [k for k in known if k[1] == grid.dates[t]]
            elif method == "last_known":
                mine = [k for k in known if k[0] <= hi and (lo is None or k[0] > lo)]
                mine = mine[-1:]
            else:
                nxt = grid.close[t + 1] if t + 1 < T else np.datetime64("2100-01-01")
                mine = [k for k in known if hi <= k[0] < nxt][:1]
            if mine:
                if before is not None:
                    out[t, i] = mine[0][2] / before - 1
                before = mine[0][2]
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cut", ["NYSE", "TSE", "XETR"])
def test_daily_returns_follow_the_definition(method, cut):
    for seed, start, end in (
        (0, "2025-01-02", "2025-02-28"),
        (1, "2024-10-21", "2025-01-10"),  # Tokyo's new close, half-days, Christmas
        (2, "2025-03-03", "2025-04-11"),  # summer time starts on three dates
    ):
        panel = world(start, end, seed=seed)
        rng = np.random.default_rng(seed)
        halted = np.where(rng.random(panel.prices.shape) < 0.1, np.nan, panel.prices)
        halted[:, 0] = panel.prices[:, 0]
        for prices in (panel.prices, halted):
            one = PricePanel(
                dates=panel.dates,
                prices=prices,
                universe=panel.universe,
                price_basis="raw",
                base_currency="USD",
            )
            got = align(one, cut=cut, method=method, kind="simple")
            np.testing.assert_allclose(got.values, reference(one, method, cut)[1:])


# What each method means, around 27 January 2025 --------------------------------


def test_next_close_gives_the_close_that_contains_the_shock():
    got = align(PANEL, kind="simple")
    assert cell(got, "US", "2025-01-27") == (
        price("US", "2025-01-27") / price("US", "2025-01-24") - 1,
        "2025-01-24",
        "2025-01-27",
        Status.OPEN,
    )
    for ticker in ("JP", "HK", "DE"):
        value, start, end, status = cell(got, ticker, "2025-01-27")
        assert (start, end, status) == ("2025-01-27", "2025-01-28", Status.OPEN)
        assert value == price(ticker, end) / price(ticker, start) - 1


def test_a_shut_market_is_a_gap_with_a_flag_and_one_return_after_it():
    got = align(PANEL, kind="simple")
    column = got.tickers.index("TW")
    shut = [
        "2025-01-22", "2025-01-23", "2025-01-24",
        "2025-01-27", "2025-01-28", "2025-01-29", "2025-01-30",
    ]  # fmt: skip
    for date in shut:
        value, start, end, status = cell(got, "TW", date)
        assert np.isnan(value) and status == Status.HOLIDAY
        assert start == end == "NaT"
    assert [d for d, ticker in got.flags() if ticker == "TW"] == [*shut, "2025-02-27"]
    value, start, end, status = cell(got, "TW", "2025-01-31")
    assert (start, end, status) == ("2025-01-22", "2025-02-03", Status.OPEN)
    assert value == price("TW", "2025-02-03") / price("TW", "2025-01-22") - 1
    assert not (got.values[:, column] == 0).any()


def test_last_known_and_same_date_have_the_return_on_3_february():
    for method in ("last_known", "same_date"):
        got = align(PANEL, method=method, kind="simple")
        value, start, end, _ = cell(got, "TW", "2025-02-03")
        assert (start, end) == ("2025-01-22", "2025-02-03")
        assert value == price("TW", end) / price("TW", start) - 1
        assert np.isnan(cell(got, "TW", "2025-01-27")[0])
        assert ("2025-01-27", "TW") in got.flags()


def test_a_same_date_join_has_to_be_asked_for():
    default = align(PANEL)
    assert default.method == "next_close"
    assert cell(default, "JP", "2025-01-27")[2] == "2025-01-28"
    asked = align(PANEL, method="same_date")
    assert asked.method == "same_date"
    assert cell(asked, "JP", "2025-01-27")[2] == "2025-01-27"
    assert asked.shut.sum() == len(asked.flags()) > 5
    assert np.isnan(asked.values[asked.shut]).all()


def test_the_last_row_waits_for_closes_still_to_come():
    cut = PANEL.between(end="2025-02-14")
    got = align(cut)
    assert cell(got, "US", "2025-02-14")[3] == Status.OPEN
    assert cell(got, "JP", "2025-02-14")[3] == Status.NOT_YET_CLOSED
    before_holiday = align(PANEL.between(end="2025-01-28"))
    assert cell(before_holiday, "HK", "2025-01-28")[3] == Status.HOLIDAY


def test_reasons_other_than_a_holiday():
    prices = PANEL.prices.copy()
    jp = PANEL.index("JP")
    row = int(np.searchsorted(PANEL.dates, day("2025-01-28")))
    prices[row, jp] = np.nan
    prices[:10, PANEL.index("DE")] = np.nan
    prices[25:, PANEL.index("HK")] = np.nan
    panel = PricePanel(
        dates=PANEL.dates,
        prices=prices,
        universe=PANEL.universe,
        price_basis="raw",
        base_currency="USD",
    )
    got = align(panel)
    assert cell(got, "JP", "2025-01-27")[3] == Status.HALTED
    assert got.status[2, got.tickers.index("DE")] == Status.UNLISTED
    assert cell(got, "HK", "2025-02-20")[3] == Status.DELISTED
    assert "JP" not in {t for d, t in got.flags() if d == "2025-01-27"}


# Identities -------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_daily_log_returns_add_up_to_the_whole_move(method):
    got = align(PANEL, method=method)
    for i in range(len(got.tickers)):
        has = np.flatnonzero(np.isfinite(got.values[:, i]))
        first, last = got.start_date[has[0], i], got.end_date[has[-1], i]
        prices = PANEL.prices[np.isin(PANEL.dates, [first, last]), i]
        assert got.values[has, i].sum() == pytest.approx(np.log(prices[1] / prices[0]))
        np.testing.assert_array_equal(
            got.end_date[has[:-1], i], got.start_date[has[1:], i]
        )


@pytest.mark.parametrize("k", [1, 2, 5])
def test_overlapping_returns_are_sums_of_daily_ones(k):
    daily, long = align(PANEL), align(PANEL, frequency=k)
    assert long.span == k and long.dates.size == daily.dates.size - k + 1
    np.testing.assert_array_equal(long.dates, daily.dates[k - 1 :])
    window = np.lib.stride_tricks.sliding_window_view(daily.values, k, axis=0)
    total = np.nansum(window, axis=-1)
    has = np.isfinite(long.values)
    np.testing.assert_allclose(long.values[has], total[has])
    # Where the venue gave no new close at all there is no return, not a zero.
    started = np.isfinite(long.values).argmax(axis=0)
    for i in range(len(long.tickers)):
        empty = np.isnan(window[:, i]).all(axis=-1)[started[i] :]
        empty |= long.status[started[i] :, i] == Status.NOT_YET_CLOSED
        np.testing.assert_array_equal(~has[started[i] :, i], empty)


def test_weekly_returns_run_from_friday_to_friday():
    got = align(PANEL, frequency="weekly", kind="simple")
    assert [str(d) for d in got.dates[:4]] == [
        "2025-01-10", "2025-01-17", "2025-01-24", "2025-01-31"
    ]  # fmt: skip
    assert got.span == 0
    week = cell(got, "US", "2025-01-31")
    assert week[0] == price("US", "2025-01-31") / price("US", "2025-01-24") - 1
    assert cell(got, "JP", "2025-01-31")[1:3] == ("2025-01-27", "2025-02-03")
    assert cell(got, "TW", "2025-01-31")[1:3] == ("2025-01-22", "2025-02-03")
    assert (
        np.isnan(cell(got, "TW", "2025-01-24")[0])
        or cell(got, "TW", "2025-01-24")[2] == "2025-01-22"
    )


def test_same_venue_is_close_to_close_without_gaps():
    got = same_venue(PANEL, kind="simple")
    for i in range(got.shape[1]):
        own = PANEL.prices[np.isfinite(PANEL.prices[:, i]), i]
        has = np.isfinite(got[:, i])
        np.testing.assert_allclose(got[has, i], own[1:] / own[:-1] - 1)
        first = np.isfinite(PANEL.prices[:, i]).argmax()
        np.testing.assert_array_equal(
            has[first + 1 :], np.isfinite(PANEL.prices[first + 1 :, i])
        )


def test_a_price_repeated_on_a_holiday_is_not_a_return_of_zero():
    prices = PANEL.prices.copy()
    row = int(np.searchsorted(PANEL.dates, day("2025-01-27")))
    column = PANEL.index("TW")
    prices[row, column] = price("TW", "2025-01-22")
    stale = PricePanel(
        dates=PANEL.dates,
        prices=prices,
        universe=PANEL.universe,
        price_basis="raw",
        base_currency="USD",
    )
    np.testing.assert_array_equal(same_venue(stale), same_venue(PANEL))
    for method in METHODS:
        a, b = align(stale, method=method), align(PANEL, method=method)
        np.testing.assert_array_equal(a.values, b.values)
        assert a.flags() == b.flags()


@given(minute=st.integers(0, 40 * 1440), method=st.sampled_from(METHODS))
def test_what_a_view_shows_does_not_change_later(minute, method):
    """Truncation: each return known at t is the same in the whole panel."""
    moment = np.datetime64("2025-01-15T00:00") + np.timedelta64(minute, "m")
    for frequency in ("daily", 5):
        now = align(PANEL.as_of(moment), method=method, frequency=frequency)
        whole = align(PANEL, method=method, frequency=frequency)
        known = np.isfinite(now.values)
        T = now.dates.size
        np.testing.assert_array_equal(now.dates, whole.dates[:T])
        np.testing.assert_array_equal(now.values[known], whole.values[:T][known])
        ends = now.end_date[known]
        venues = np.broadcast_to(np.array(list(VENUE.values())), known.shape)[known]
        for venue in set(venues):
            assert (closing_times(venue, ends[venues == venue]) <= moment).all()


def test_a_venue_without_a_calendar_uses_the_days_it_has():
    panel = world(venue=VENUE)
    nowhere = PricePanel(
        dates=panel.dates,
        prices=panel.prices,
        universe=Universe(
            panel.tickers,
            venue=("NYSE", "TSE", "", "COMEX", "XETRA"),
            quote_currency=("USD",) * 5,
        ),
        price_basis="raw",
        base_currency="USD",
    )
    got = align(nowhere)
    assert np.isfinite(got.values[:, 2:4]).any(axis=0).all()
    assert not (got.values[:, 2:4] == 0).any()


def test_overrides_reach_the_alignment():
    late = [("2025-01-28", "TSE", "closed")]
    got = align(PANEL, overrides=late)
    value, _, _, status = cell(got, "JP", "2025-01-27")
    assert np.isnan(value) and status == Status.HOLIDAY
    assert cell(got, "JP", "2025-01-28")[1:3] == ("2025-01-27", "2025-01-29")


# Events -----------------------------------------------------------------------


def test_an_event_runs_from_before_it_to_the_first_close_after_it():
    got = event_returns(PANEL, "2025-01-27")
    table = dict(
        zip(
            got.tickers,
            zip(
                got.start_date.astype(str),
                got.end_date.astype(str),
                got.closes.tolist(),
                got.shut.tolist(),
                strict=True,
            ),
            strict=True,
        )
    )
    assert table == {
        "US": ("2025-01-24", "2025-01-27", 1, False),
        "JP": ("2025-01-24", "2025-01-28", 2, False),
        "TW": ("2025-01-22", "2025-02-03", 1, True),
        "HK": ("2025-01-24", "2025-01-28", 2, False),
        "DE": ("2025-01-24", "2025-01-28", 2, False),
    }
    for i, ticker in enumerate(got.tickers):
        start, end = table[ticker][:2]
        assert got.values[i] == price(ticker, end) / price(ticker, start) - 1


def test_a_window_of_days_and_one_not_yet_over():
    got = event_returns(PANEL, "2025-01-27", "2025-02-03")
    assert got.closes[got.tickers.index("US")] == 6
    assert str(got.end_date[got.tickers.index("TW")]) == "2025-02-04"
    known = event_returns(PANEL.as_of("2025-01-28T06:30"), "2025-01-27")
    by = dict(zip(known.tickers, known.values, strict=True))
    assert np.isnan(by["TW"]) and np.isnan(by["DE"])
    assert np.isfinite([by["US"], by["JP"], by["HK"]]).all()  # Hong Kong's half-day
    assert known.closes[known.tickers.index("TW")] == 0


# Refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "by_date"}, UsageError, "unknown alignment method"),
        ({"kind": "percent"}, UsageError, "unknown return kind"),
        ({"frequency": "monthly"}, UsageError, "unknown frequency"),
        ({"frequency": 0}, UsageError, "unknown frequency"),
        ({"frequency": True}, UsageError, "unknown frequency"),
        ({"cut": "FX"}, DataError, "no calendar for this venue"),
        ({"cut": "MOON"}, DataError, "unknown trading venue"),
    ],
)
def test_what_cannot_be_asked(options, error, words):
    with pytest.raises(error, match=words):
        align(PANEL, **options)


def test_events_on_days_without_a_session_are_refused():
    for start, end in (("2025-01-25", None), ("2025-01-27", "2025-02-01")):
        with pytest.raises(DataError, match="had no session in the panel"):
            event_returns(PANEL, start, end)
    with pytest.raises(DataError, match="needs a session before it"):
        event_returns(PANEL, "2025-01-02")
    with pytest.raises(DataError, match="needs a session before it"):
        event_returns(PANEL, "2025-01-29", "2025-01-27")
    with pytest.raises(DataError, match="fewer than two sessions of NYSE"):
        align(PANEL.between(end="2025-01-02"))


def test_longer_windows_than_the_panel_are_empty_not_wrong():
    got = align(PANEL, frequency=500)
    assert got.values.shape == (0, 5)


def test_results_are_read_only_and_labelled():
    got = align(PANEL)
    assert not got.values.flags.writeable and not got.status.flags.writeable
    frame = got.to_frame()
    assert list(frame) == list(VENUE) and len(frame) == got.dates.size
    assert "cut NYSE, next_close" in repr(got)
    np.testing.assert_array_equal(got.complete(), np.isfinite(got.values).all(axis=1))


# Real data --------------------------------------------------------------------


@pytest.fixture(scope="module")
def market(real_data):
    """Local listings, indices and US-listed funds in one panel, local currency."""
    frames = [
        pd.read_parquet(real_data / "prices_us_listed.parquet")[
            ["NVDA", "TSM", "EWT", "EWY"]
        ],
        pd.read_parquet(real_data / "prices_asia_local.parquet")[
            ["2330.TW", "0700.HK"]
        ],
        pd.read_csv(
            real_data / "index_levels.csv.gz", index_col="date", parse_dates=True
        )[["SPX", "N225", "TWII", "HSI"]],
    ]
    universe = pd.read_csv(real_data / "metadata.csv")
    universe["quote_currency"] = "USD"  # local returns only: no rate is used
    return load_panel(
        pd.concat(frames, axis=1, sort=True),
        universe=universe,
        price_basis="total_return",
    )


def test_27_january_2025_as_each_market_lived_it(market):
    """Methods section 1.1."""
    got = event_returns(market, "2025-01-27")
    table = {
        t: (round(100 * float(v), 2), str(e), int(n))
        for t, v, e, n in zip(
            got.tickers, got.values, got.end_date, got.closes, strict=True
        )
    }
    assert table["NVDA"] == (-16.97, "2025-01-27", 1)
    assert table["TSM"] == (-13.33, "2025-01-27", 1)
    assert table["EWT"] == (-5.61, "2025-01-27", 1)
    assert table["EWY"] == (-2.42, "2025-01-27", 1)
    assert table["2330.TW"] == (-5.73, "2025-02-03", 1)
    assert table["TWII"] == (-3.53, "2025-02-03", 1)
    assert table["N225"] == (-2.29, "2025-01-28", 2)  # -0.92% and -1.39%
    assert table["HSI"][1:] == ("2025-01-28", 2)
    shut = [t for t, s in zip(got.tickers, got.shut, strict=True) if s]
    assert shut == ["2330.TW", "TWII"]


def test_the_two_closes_of_tokyo(market):
    daily = same_venue(market, kind="simple")[:, market.index("N225")]
    rows = np.searchsorted(market.dates, [day("2025-01-27"), day("2025-01-28")])
    assert [round(100 * float(v), 2) for v in daily[rows]] == [-0.92, -1.39]
    aligned = align(market, kind="simple")
    value, _, end, _ = cell(aligned, "N225", "2025-01-27")
    assert (round(100 * float(value), 2), end) == (-1.39, "2025-01-28")


def test_no_method_has_a_zero_for_taipei_on_the_27th(market):
    for method in METHODS:
        got = align(market, method=method, kind="simple")
        for ticker in ("2330.TW", "TWII"):
            value, _, _, status = cell(got, ticker, "2025-01-27")
            assert np.isnan(value) and status == Status.HOLIDAY
            assert ("2025-01-27", ticker) in got.flags()
        row = "2025-01-31" if method == "next_close" else "2025-02-03"
        value, start, end, _ = cell(got, "2330.TW", row)
        assert round(100 * float(value), 2) == -5.73
        assert (start, end) == ("2025-01-22", "2025-02-03")


def test_typhoon_days_repeated_by_the_file_are_no_returns(market):
    """Hong Kong shut on 2 August 2016; the file repeats the price of the day before."""
    local = same_venue(market)
    row = int(np.searchsorted(market.dates, day("2016-08-02")))
    column = market.index("0700.HK")
    assert market.prices[row, column] == market.prices[row - 1, column]
    assert np.isnan(local[row, column])


def test_the_next_close_recovers_what_the_same_date_hides(market):
    """S&P 500 and Nikkei, daily: 0.19 by date, 0.41 with Tokyo's next close."""
    pair = market.select(["SPX", "N225"])

    def correlation(**options):
        x = align(pair, **options)
        return float(np.corrcoef(x.values[x.complete()], rowvar=False)[0, 1])

    assert correlation(method="same_date") == pytest.approx(0.19, abs=0.02)
    assert correlation() == pytest.approx(0.42, abs=0.03)
    assert correlation(frequency=5) == pytest.approx(0.63, abs=0.08)
    assert correlation(frequency="weekly") == pytest.approx(0.63, abs=0.08)
