"""A panel shows at a moment what had closed by then, and nothing else."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, PricePanel, Status, Universe
from engine.data.calendars import closing_times
from engine.data.panel import parse_time
from engine.data.venues import close_utc

VENUE = {"US": "NYSE", "JP": "TSE", "HK": "HKEX", "DE": "XETRA", "ANY": ""}
CURRENCY = ("USD", "JPY", "HKD", "EUR", "USD")


def world(T=12, start="2025-01-20", seed=0):
    """Five venues; Tokyo shut on the fourth date, the unnamed venue never."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range(start, periods=T).to_numpy().astype("datetime64[D]")
    prices = rng.uniform(50, 150, (T, 5))
    prices[3, 1] = np.nan
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            tuple(VENUE), venue=tuple(VENUE.values()), quote_currency=CURRENCY
        ),
        price_basis="raw",
        base_currency="USD",
        fx_currencies=("JPY", "HKD", "EUR"),
        fx=rng.uniform(0.5, 1.5, (T, 3)),
        cash_currencies=("USD",),
        cash_rates=rng.uniform(0.01, 0.05, (T, 1)),
        open=prices * 0.99,
        volume=np.where(np.isnan(prices), np.nan, 100.0),
    )


PANEL = world()


# Moments ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "moment", "bare"),
    [
        ("2025-01-27", "2025-01-27T00:00", True),
        (" 2025-01-27 ", "2025-01-27T00:00", True),
        ("20250127", "2025-01-27T00:00", True),
        (dt.date(2025, 1, 27), "2025-01-27T00:00", True),
        (np.datetime64("2025-01-27"), "2025-01-27T00:00", True),
        (pd.Timestamp("2025-01-27"), "2025-01-27T00:00", True),
        ("2025-01-27T21:00", "2025-01-27T21:00", False),
        ("2025-01-27 00:00", "2025-01-27T00:00", False),
        ("2025-01-27T16:00-05:00", "2025-01-27T21:00", False),
        ("2025-01-27T21:00Z", "2025-01-27T21:00", False),
        (dt.datetime(2025, 1, 27, 21), "2025-01-27T21:00", False),
        (
            pd.Timestamp("2025-01-27 16:00", tz="America/New_York"),
            "2025-01-27T21:00",
            0,
        ),
        (pd.Timestamp("2025-01-27", tz="UTC"), "2025-01-27T00:00", False),
        (np.datetime64("2025-01-27T21:00"), "2025-01-27T21:00", False),
    ],
)
def test_what_is_a_date_and_what_is_a_moment(given_, moment, bare):
    assert parse_time(given_) == (np.datetime64(moment), bool(bare))


@pytest.mark.parametrize(
    "bad",
    ["", "tomorrow", "2025-02-30", "27.01.2025", 20250127, None, pd.NaT,
     np.datetime64("NaT"), np.datetime64("NaT", "D")],
)  # fmt: skip
def test_what_is_neither_is_refused(bad):
    """Not-a-time sorts after every date: taken as a moment it would show everything."""
    with pytest.raises(DataError, match="not a date or time"):
        PANEL.as_of(bad)


def seen(view, ticker):
    """Date of the last price visible."""
    column = view.panel.prices[:, view.panel.index(ticker)]
    return str(view.panel.dates[np.flatnonzero(np.isfinite(column))[-1]])


@pytest.mark.parametrize(
    ("ticker", "winter", "summer"),
    [
        ("US", "21:00", "20:00"),
        ("JP", "06:30", "06:30"),
        ("HK", "08:10", "08:10"),
        ("DE", "16:35", "15:35"),
    ],
)
def test_a_close_is_visible_at_its_minute_and_not_before(ticker, winter, summer):
    for start, day, before, time in (
        ("2025-01-20", "2025-01-27", "2025-01-24", winter),
        ("2025-07-21", "2025-07-29", "2025-07-28", summer),
    ):
        panel = world(start=start)
        moment = np.datetime64(f"{day}T{time}")
        assert seen(panel.as_of(moment), ticker) == day
        assert seen(panel.as_of(moment - np.timedelta64(1, "m")), ticker) == before


def test_one_moment_in_three_time_zones():
    view = PANEL.as_of("2025-01-28T08:30")
    got = {k: seen(view, k) for k in VENUE}
    assert got == {
        "US": "2025-01-27",
        "JP": "2025-01-28",
        "HK": "2025-01-28",
        "DE": "2025-01-27",
        "ANY": "2025-01-27",  # a venue not stated waits for the end of the day
    }
    for table in (view.panel.open, view.panel.volume):
        np.testing.assert_array_equal(np.isnan(table), np.isnan(view.panel.prices))


def test_before_the_first_close_of_a_day_its_row_is_not_there():
    view = PANEL.as_of("2025-01-27T06:29")
    assert str(view.date) == "2025-01-24"
    assert view.panel.dates.size == view.panel.prices.shape[0]


def test_a_bare_date_means_after_its_last_close():
    view = PANEL.as_of("2025-01-28")
    assert {seen(view, k) for k in VENUE} == {"2025-01-28"}
    assert view.time == np.datetime64("2025-01-28T23:59")
    assert np.shares_memory(view.panel.prices, PANEL.prices)
    weekend = PANEL.as_of("2025-01-25")
    assert str(weekend.date) == "2025-01-24"


def test_a_view_shares_memory_unless_venues_differ_in_its_last_rows():
    end_of_day = PANEL.as_of("2025-01-29T00:00")
    assert np.shares_memory(end_of_day.panel.prices, PANEL.prices)
    between = PANEL.as_of("2025-01-28T12:00")
    assert not np.shares_memory(between.panel.prices, PANEL.prices)
    assert np.shares_memory(between.panel.dates, PANEL.dates)
    for view in (end_of_day, between):
        for array in (view.panel.prices, view.panel.fx, view.panel.cash_rates):
            assert not array.flags.writeable


def test_exchange_and_cash_rates_of_the_day_wait_too():
    before = PANEL.as_of("2025-01-28T13:14").panel
    after = PANEL.as_of("2025-01-28T13:15").panel
    np.testing.assert_array_equal(before.fx[-1], PANEL.fx[5])
    np.testing.assert_array_equal(after.fx[-1], PANEL.fx[6])
    assert after.cash_rates[-1] == PANEL.cash_rates[5]
    assert PANEL.as_of("2025-01-28").panel.cash_rates[-1] == PANEL.cash_rates[6]


def test_on_the_first_date_there_is_no_rate_before_the_fixing():
    view = PANEL.as_of("2025-01-20T09:00")
    assert view.panel.dates.size == 1
    assert np.isnan(view.panel.fx).all()
    with pytest.raises(DataError, match=r"nothing is known at this time.*2025-01-20"):
        PANEL.as_of("2025-01-20T05:00")
    with pytest.raises(DataError, match="nothing is known"):
        PANEL.as_of("2019-01-01")


moments = st.integers(0, 12 * 24 * 60).map(
    lambda m: np.datetime64("2025-01-20T06:40") + np.timedelta64(m, "m")
)


@given(moment=moments, seed=st.integers(0, 5))
def test_corrupting_everything_later_changes_nothing_seen(moment, seed):
    """Truncation: what closes after t is overwritten, the view stays bit-identical."""
    panel = PANEL
    rng = np.random.default_rng(seed)
    ends = closing_times("", panel.dates)
    later = np.column_stack(
        [closing_times(v, panel.dates) > moment for v in panel.universe.venue]
    )

    def noise(table, mask):
        out = table.copy()
        out[mask] = rng.uniform(1, 1000, int(mask.sum()))
        return out

    unfixed = np.repeat((close_utc("FX", panel.dates) > moment)[:, None], 3, axis=1)
    prices = noise(panel.prices, later)
    prices[later & (rng.random(later.shape) < 0.3)] = np.nan
    corrupt = replace(
        panel,
        prices=prices,
        open=noise(panel.open, later),
        volume=noise(panel.volume, later),
        fx=noise(panel.fx, unfixed),
        cash_rates=noise(panel.cash_rates, (ends > moment)[:, None]),
        content_hash="",
    )
    a, b = panel.as_of(moment).panel, corrupt.as_of(moment).panel
    for name in ("dates", "prices", "open", "volume", "fx", "cash_rates"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    assert a.status().tobytes() == b.status().tobytes()
    assert a.base_prices().tobytes() == b.base_prices().tobytes()


@given(first=moments, second=moments)
def test_knowledge_only_grows(first, second):
    first, second = min(first, second), max(first, second)
    a, b = PANEL.as_of(first).panel, PANEL.as_of(second).panel
    rows = a.dates.size
    assert rows <= b.dates.size
    known = np.isfinite(a.prices)
    np.testing.assert_array_equal(a.prices[known], b.prices[:rows][known])


# Status -----------------------------------------------------------------------


def states(prices, venues):
    dates = np.arange("2024-01-01", "2025-01-01", dtype="datetime64[D]")[: len(prices)]
    n = prices.shape[1]
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            tuple("ABCDEFG"[:n]), venue=venues, quote_currency=("USD",) * n
        ),
        price_basis="raw",
        base_currency="USD",
    )


def test_holiday_halt_unlisted_and_delisted_are_four_facts():
    prices = np.ones((30, 4))
    prices[5, :2] = np.nan  # both Tokyo names: a holiday
    prices[8, 0] = np.nan  # one of them: a halt
    prices[:4, 1] = np.nan  # not listed yet
    prices[15:, 3] = np.nan  # one New York name ends
    panel = states(prices, ("TSE", "TSE", "NYSE", "NYSE"))
    status = panel.status()
    assert status[5, :2].tolist() == [Status.HOLIDAY] * 2
    assert status[8].tolist() == [Status.HALTED] + [Status.OPEN] * 3
    assert (status[:4, 1] == Status.UNLISTED).all()
    assert (status[15:, 3] == Status.DELISTED).all()
    assert (status[:15, 3] == Status.OPEN).all()
    assert (status[np.isfinite(prices)] == Status.OPEN).all()


def test_an_end_is_a_halt_until_ten_sessions_have_passed():
    prices = np.ones((30, 2))
    prices[15:, 1] = np.nan
    panel = states(prices, ("NYSE", "NYSE"))
    for k in range(16, 31):
        status = panel.between(end=panel.dates[k - 1]).status()
        gap = k - 15
        expected = Status.DELISTED if gap > 10 else Status.HALTED
        assert (status[15:, 1] == expected).all(), gap
    view = panel.as_of(panel.dates[-1])
    assert view.tradable().tolist() == [True, False]
    assert panel.as_of(panel.dates[20]).tradable().tolist() == [True, True]


def test_status_never_knows_a_return_from_a_halt():
    prices = np.ones((40, 2))
    prices[10:30, 1] = np.nan
    panel = states(prices, ("NYSE", "NYSE"))
    assert (panel.status()[10:30, 1] == Status.HALTED).all()
    then = panel.as_of(panel.dates[29])
    assert (then.panel.status()[10:30, 1] == Status.DELISTED).all()


def test_a_venue_that_fell_silent_is_gone_and_a_long_holiday_is_not():
    prices = np.ones((60, 2))
    prices[20:, 1] = np.nan
    panel = states(prices, ("NYSE", "LSE"))
    assert panel.status()[-1, 1] == Status.DELISTED
    assert not panel.as_of(panel.dates[-1]).tradable()[1]
    golden_week = panel.between(end=panel.dates[31])
    assert (golden_week.status()[20:, 1] == Status.HOLIDAY).all()


def test_a_ticker_that_never_traded_is_unlisted():
    prices = np.ones((5, 2))
    prices[:, 1] = np.nan
    panel = states(prices, ("NYSE", "NYSE"))
    assert (panel.status()[:, 1] == Status.UNLISTED).all()
    assert np.isnan(panel.last_prices()[1])


def test_tradable_counts_prices_not_dates():
    prices = np.ones((20, 2))
    prices[:15, 1] = np.nan
    view = states(prices, ("NYSE", "NYSE")).as_of("2024-01-20")
    assert view.tradable(min_history=5).tolist() == [True, True]
    assert view.tradable(min_history=6).tolist() == [True, False]


# Cuts -------------------------------------------------------------------------


def test_between_is_inclusive_and_shares_memory():
    part = PANEL.between("2025-01-22", "2025-01-28")
    assert [str(d) for d in part.dates[[0, -1]]] == ["2025-01-22", "2025-01-28"]
    assert np.shares_memory(part.prices, PANEL.prices)
    assert part.fx.shape == (5, 3)
    assert PANEL.between().dates.size == PANEL.dates.size
    assert part.content_hash != PANEL.content_hash
    with pytest.raises(DataError, match="within 2025-01-20 to 2025-02-04"):
        PANEL.between("2026-01-01")


def test_select_keeps_order_labels_and_rates():
    part = PANEL.select(["DE", "US"])
    assert part.tickers == ("DE", "US")
    assert part.universe.venue == ("XETRA", "NYSE")
    np.testing.assert_array_equal(part.prices, PANEL.prices[:, [3, 0]])
    np.testing.assert_array_equal(part.open, PANEL.open[:, [3, 0]])
    assert part.content_hash != PANEL.content_hash
    with pytest.raises(DataError, match="no prices for this ticker; at asset DEU"):
        PANEL.select(["DEU"])
    with pytest.raises(DataError, match="duplicate asset"):
        PANEL.select(["US", "US"])


def test_base_prices_are_local_prices_times_the_rate():
    got = PANEL.base_prices()
    np.testing.assert_array_equal(got[:, 0], PANEL.prices[:, 0])
    np.testing.assert_array_equal(got[:, 3], PANEL.prices[:, 3] * PANEL.fx[:, 2])
    with pytest.raises(DataError, match="no exchange rate from CHF to USD"):
        PANEL.fx_rate("CHF")


def test_last_prices_look_back_over_holidays():
    cut = PANEL.between(end=PANEL.dates[3])
    assert cut.last_prices()[1] == PANEL.prices[2, 1]
    assert cut.last_prices()[0] == PANEL.prices[3, 0]


def test_to_frame_and_text():
    frame = PANEL.to_frame()
    assert frame.index.name == "date" and list(frame) == list(VENUE)
    assert "12 dates 2025-01-20 to 2025-02-04, raw, base USD" in repr(PANEL)
    assert "<script>" not in replace(PANEL, source="<script>")._repr_html_()


def test_the_digest_sees_every_number():
    assert world().content_hash == PANEL.content_hash
    changed = PANEL.prices.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], 0)
    assert replace(PANEL, prices=changed, content_hash="").content_hash != (
        PANEL.content_hash
    )
    rates = PANEL.fx * (1 + 1e-15)
    assert replace(PANEL, fx=rates, content_hash="").content_hash != PANEL.content_hash


# Construction -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dates": PANEL.dates[::-1]}, "dates are not in order; at date 2025-02-03"),
        (
            {"dates": np.repeat(PANEL.dates[:6], 2)},
            "duplicate date; at date 2025-01-20; received 2025-01-20 after 2025-01-20",
        ),
        ({"dates": PANEL.dates[:0]}, "at least one date"),
        ({"prices": PANEL.prices[:-1]}, "prices has the wrong shape"),
        ({"prices": PANEL.prices[:, :-1]}, "prices has the wrong shape"),
        (
            {"prices": -PANEL.prices},
            "price must be positive and finite; at asset US, d",
        ),
        ({"price_basis": "adjusted"}, "price_basis must be stated"),
        ({"base_currency": "dollar"}, "not a currency code"),
        ({"fx_currencies": ("JPY", "HKD")}, "fx has the wrong shape"),
        ({"fx_currencies": ()}, "no exchange rate from JPY to USD; at asset JP"),
        ({"cash_rates": np.ones((3, 1))}, "cash_rates has the wrong shape"),
        ({"volume": np.ones((3, 5))}, "volume has the wrong shape"),
    ],
)
def test_a_panel_checks_what_it_is_made_of(changes, words):
    with pytest.raises(DataError) as caught:
        replace(PANEL, **changes)
    assert words in str(caught.value)
