"""Returns by information time: what each market could know, not what date it bears.

A price dated 27 January in Tokyo was struck fifteen hours before the New York close
of that date. Joined by date, a New York shock reaches Tokyo "a day late" or, where
the venue was shut, not at all. Here every return belongs to a session of one *cut*
(by default New York) and says between which local closes it was measured. A venue
that was shut gives NaN and a flag, never a zero.

Returns are in local currency; exchange rates have a clock of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Dates, Matrix, Vector
from engine.data.calendars import (
    closing_times,
    known_sessions,
    session_status,
    sessions,
)
from engine.data.panel import PricePanel, Status
from engine.data.venues import canonical_venue
from engine.data.view import MarketView
from engine.errors import DataError, UsageError

Method = Literal["next_close", "last_known", "same_date"]
Kind = Literal["log", "simple"]
METHODS = ("next_close", "last_known", "same_date")
_BEYOND = np.timedelta64(30, "D")  # how far past the panel its next sessions lie
_ALWAYS, _NEVER = np.datetime64("1600-01-01T00:00"), np.datetime64("2400-01-01T00:00")
_NAT = np.datetime64("NaT", "D")


@dataclass(frozen=True, slots=True, eq=False)
class AlignedReturns(Value):
    """Returns of all assets on the sessions of one cut.

    Attributes
    ----------
    values : (T, N) float64
        Local-currency returns, decimals. NaN where no local close is new: see
        ``status``. Never a zero for a market that was shut.
    dates : (T,) datetime64[D]
        Session of the cut to which each return belongs.
    tickers : tuple of str, length N
    start_date, end_date : (T, N) datetime64[D]
        Local sessions of the two closes; NaT where there is no return.
    status : (T, N) int8 of `engine.data.panel.Status`
        Why there is a close of the row's own, or none: ``OPEN`` (half-days too),
        ``HOLIDAY`` (venue shut), ``HALTED``, ``UNLISTED``, ``DELISTED``,
        ``NOT_YET_CLOSED`` (its close comes after the panel's last row).
    cut, method, kind : str
    span : int
        Sessions of the cut in one return; 0 for calendar weeks.
    """

    values: Matrix
    dates: Dates
    tickers: tuple[str, ...]
    start_date: np.ndarray
    end_date: np.ndarray
    status: np.ndarray
    cut: str
    method: str
    kind: str
    span: int

    def __post_init__(self) -> None:
        shape = (self.dates.size, len(self.tickers))
        for name, dtype in (
            ("values", np.float64),
            ("start_date", "datetime64[D]"),
            ("end_date", "datetime64[D]"),
            ("status", np.int8),
        ):
            array = frozen_array(
                getattr(self, name),
                name=name,
                ndim=2,
                dtype=dtype,
                shape=shape,
                finite=False,
            )
            object.__setattr__(self, name, array)
        dates = frozen_array(self.dates, name="dates", ndim=1, dtype="datetime64[D]")
        object.__setattr__(self, "dates", dates)

    @property
    def shut(self) -> np.ndarray:
        """(T, N) bool: the venue had no session in this row's window."""
        return np.asarray(self.status == Status.HOLIDAY)

    def flags(self) -> tuple[tuple[str, str], ...]:
        """``(date of the cut, ticker)`` of every cell whose venue was shut."""
        return tuple(
            (str(self.dates[t]), self.tickers[i]) for t, i in np.argwhere(self.shut)
        )

    def complete(self) -> np.ndarray:
        """(T,) bool: rows on which every asset has a return."""
        return np.logical_and.reduce(np.isfinite(self.values), axis=1)

    def to_frame(self):
        """Return the values as a DataFrame: date index, one column per ticker."""
        import pandas as pd

        index = pd.DatetimeIndex(self.dates.astype("datetime64[ns]"), name="date")
        return pd.DataFrame(self.values, index=index, columns=list(self.tickers))

    def __repr__(self) -> str:
        span = f"{self.span}-session" if self.span else "weekly"
        return (
            f"AlignedReturns({len(self.tickers)} assets, {self.dates.size} dates, "
            f"{span} {self.kind}, cut {self.cut}, {self.method}, "
            f"{int(self.shut.sum())} cells shut)"
        )


class EventReturns(NamedTuple):
    """What each asset did across a shock window; made by `event_returns`."""

    tickers: tuple[str, ...]
    values: Vector
    """(N,) simple local-currency returns, decimals; NaN where no close followed."""
    start_date: np.ndarray
    """(N,) datetime64[D], last local close before the window."""
    end_date: np.ndarray
    """(N,) datetime64[D], first local close that could contain all of it."""
    closes: np.ndarray
    """(N,) int, local closes in the return: 1 in New York, 2 in Tokyo."""
    shut: np.ndarray
    """(N,) bool, the venue had no session on the last date of the window."""


def same_venue(
    market: PricePanel | MarketView, *, kind: Kind = "log", overrides: Any = None
) -> Matrix:
    """Close-to-close returns of each column on its own sessions.

    Parameters
    ----------
    market : PricePanel or MarketView
    kind : {"log", "simple"}
    overrides : optional
        Calendar overrides, as `engine.data.calendars.read_overrides`; those of the
        panel by default.

    Returns
    -------
    (T, N) float64
        Local currency; on the panel's rows. NaN before the second price and wherever
        the asset has no close of its own: a price that the file repeats on a day on
        which the venue was shut does not count. The first return after a gap spans it.
    """
    _check_kind(kind)
    panel = _panel(market)
    overrides = panel.overrides if overrides is None else overrides
    prices = _traded(panel, session_status(panel, overrides))
    rows = np.where(np.isfinite(prices), np.arange(prices.shape[0])[:, None], -1)
    carried = np.maximum.accumulate(rows, axis=0)
    before = np.vstack([np.full((1, prices.shape[1]), -1), carried[:-1]])
    return _between(prices, before, rows, kind)


def align(
    market: PricePanel | MarketView,
    *,
    cut: str = "NYSE",
    frequency: Literal["daily", "weekly"] | int = "daily",
    method: Method = "next_close",
    kind: Kind = "log",
    overrides: Any = None,
) -> AlignedReturns:
    """Returns of all assets on the sessions of one venue, by information time.

    With ``c_t`` the close of the cut's session t, the price of an asset on t is

    - ``next_close``: its first local close in ``[c_t, c_{t+1})``. New York's own
      close; for Tokyo, the close of the morning after. A shock on t is in it.
    - ``last_known``: its last local close in ``(c_{t-1}, c_t]``: what was known at
      the cut. A New York shock on t reaches Tokyo on t+1.
    - ``same_date``: its close dated t. Understates co-movement across time zones by a
      factor of two to three (methods section 5); has to be asked for.

    A return runs from the asset's previous such price to this one, so daily returns
    add up to the whole local return: after Taipei's holiday the row of 31 January 2025
    holds the move from 22 January to 3 February, and the seven sessions before it NaN.

    Parameters
    ----------
    market : PricePanel or MarketView
    cut : str, default "NYSE"
        A venue with a calendar; its sessions within the panel's dates are the rows.
        Later closes than New York's on a date hardly exist, so a shock there is dated
        by the news.
    frequency : {"daily", "weekly"} or int, default "daily"
        ``weekly``: from the last session of the cut in one calendar week (Monday to
        Sunday) to that of the next; the week in progress counts up to the last row.
        An integer k: overlapping returns over k sessions of the cut.
    method : {"next_close", "last_known", "same_date"}
    kind : {"log", "simple"}
    overrides : optional
        Calendar overrides, as `engine.data.calendars.read_overrides`; those of the
        panel by default.

    Returns
    -------
    AlignedReturns
        Over weekly and k-session windows a venue shut at one end contributes the last
        close it had (flagged in ``status``), NaN if it had none in between.

    Raises
    ------
    UsageError
        Unknown method, kind or frequency.
    DataError
        The cut has no calendar, or fewer than two sessions in the panel.
    """
    if method not in METHODS:
        raise UsageError(
            "unknown alignment method",
            received=repr(method),
            expected=", ".join(METHODS),
        )
    _check_kind(kind)
    step = _step(frequency)
    panel = _panel(market)
    overrides = panel.overrides if overrides is None else overrides
    dates, cuts = _cuts(panel, cut, overrides)
    listing = session_status(panel, overrides)
    prices = _traded(panel, listing)
    own, status = _own_rows(
        panel, prices, listing, dates, cuts, method, _known_until(market), overrides
    )
    carried = np.maximum.accumulate(own, axis=0)
    ends = np.arange(dates.size) if step else _week_ends(dates)
    starts = ends[:-1]
    ends = ends[1:]
    if step > 1:
        starts, ends = ends[: 1 - step] - 1, ends[step - 1 :]
    end = np.where(status[ends] == Status.NOT_YET_CLOSED, -1, carried[ends])
    if method == "same_date":
        end = np.where(own[ends] >= 0, end, -1)
    start = carried[starts]
    if method == "same_date" and step != 1:
        start = np.where(own[starts] >= 0, start, -1)
    values = _between(prices, start, end, kind)
    none = np.isnan(values)
    return AlignedReturns(
        values=values,
        dates=dates[ends],
        tickers=panel.tickers,
        start_date=np.where(none, _NAT, panel.dates[start]),
        end_date=np.where(none, _NAT, panel.dates[end]),
        status=status[ends],
        cut=canonical_venue(cut),
        method=method,
        kind=kind,
        span=step,
    )


def event_returns(
    market: PricePanel | MarketView,
    start: Any,
    end: Any = None,
    *,
    cut: str = "NYSE",
    overrides: Any = None,
) -> EventReturns:
    """Return of each asset across a shock, whenever its market could react.

    From the last local close at or before the cut's close on the session *before*
    ``start`` to the first local close at or after its close on ``end``. For 27 January
    2025: New York 24 to 27 January, Tokyo 24 to 28 January (two closes), Taipei 22
    January to 3 February (one).

    Parameters
    ----------
    market : PricePanel or MarketView
    start, end : date
        First and last session of the shock on the cut's calendar; ``end`` defaults to
        ``start``.
    cut : str, default "NYSE"
    overrides : optional
        Calendar overrides, as `engine.data.calendars.read_overrides`; those of the
        panel by default.

    Returns
    -------
    EventReturns

    Raises
    ------
    DataError
        A date on which the cut had no session, or none before it in the panel.
    """
    panel = _panel(market)
    overrides = panel.overrides if overrides is None else overrides
    dates, cuts = _cuts(panel, cut, overrides)
    first, last = (
        _position(dates, start if d is None else d, cut) for d in (start, end)
    )
    if not 0 < first <= last:
        raise DataError(
            "the window of an event needs a session before it, and an end after it",
            received=f"{start} to {end or start}",
            expected=f"after {dates[0]}",
        )
    prices = _traded(panel, session_status(panel, overrides))
    N = prices.shape[1]
    begin, close = np.full(N, -1), np.full(N, -1)
    shut = np.zeros(N, dtype=bool)
    for venue, columns in _venues(panel):
        times = closing_times(venue, panel.dates, overrides)
        valid = np.isfinite(prices[:, columns])
        rows = np.arange(panel.dates.size)[:, None]
        known = valid & (times <= cuts[first - 1])[:, None]
        after = valid & (times >= cuts[last])[:, None]
        begin[columns] = np.where(known, rows, -1).max(axis=0)
        close[columns] = np.where(after.any(axis=0), after.argmax(axis=0), -1)
        days, _ = _venue_sessions(panel, valid, venue, overrides)
        shut[columns] = not np.isin(dates[last], days)
    values = _between(prices, begin[None], close[None], "simple")[0]
    none = np.isnan(values)
    counts = np.cumsum(np.isfinite(prices), axis=0)
    columns = np.arange(N)
    return EventReturns(
        panel.tickers,
        values,
        np.where(none, _NAT, panel.dates[begin]),
        np.where(none, _NAT, panel.dates[close]),
        np.where(none, 0, counts[close, columns] - counts[begin, columns]),
        shut,
    )


def _panel(market: PricePanel | MarketView) -> PricePanel:
    """Panel of prices whose ratios are returns: splits and dividends put in."""
    panel = market.panel if isinstance(market, MarketView) else market
    return panel.adjusted()


def _known_until(market: PricePanel | MarketView) -> np.datetime64:
    """Time of a view; for a panel, the end of its last date."""
    if isinstance(market, MarketView):
        return market.time
    return (market.dates[-1] + np.timedelta64(1, "D")).astype("datetime64[m]")


def _check_kind(kind: str) -> None:
    if kind not in ("log", "simple"):
        raise UsageError(
            "unknown return kind", received=repr(kind), expected="log or simple"
        )


def _step(frequency: Any) -> int:
    if frequency == "daily":
        return 1
    if frequency == "weekly":
        return 0
    if isinstance(frequency, (int, np.integer)) and not isinstance(frequency, bool):
        if frequency >= 1:
            return int(frequency)
    raise UsageError(
        "unknown frequency",
        received=repr(frequency),
        expected="daily, weekly, or a number of sessions from 1",
    )


def _cuts(panel: PricePanel, cut: str, overrides: Any) -> tuple[Dates, np.ndarray]:
    """(T,) sessions of the cut within the panel, and (T + 1,) closes up to the next."""
    found = sessions(cut, panel.dates[0], panel.dates[-1], overrides)
    if found.dates.size < 2:
        raise DataError(
            f"fewer than two sessions of {canonical_venue(cut)} in the panel",
            received=f"{panel.dates[0]} to {panel.dates[-1]}",
            fix="Choose another cut, or a longer panel.",
        )
    _, closes = _venue_sessions(
        panel, np.zeros((panel.dates.size, 0), bool), cut, overrides
    )
    return found.dates, np.append(closes, _NEVER)[: found.dates.size + 1]


def _position(dates: Dates, day: Any, cut: str) -> int:
    wanted = np.datetime64(day, "D")
    k = int(np.searchsorted(dates, wanted))
    if k == dates.size or dates[k] != wanted:
        raise DataError(
            f"{canonical_venue(cut)} had no session in the panel on this date",
            date=wanted,
            expected=f"a session from {dates[0]} to {dates[-1]}",
        )
    return k


def _venues(panel: PricePanel):
    """Yield each venue with its columns."""
    names = np.array(panel.universe.venue)
    for venue in sorted(set(panel.universe.venue)):
        yield venue, np.flatnonzero(names == venue)


def _traded(panel: PricePanel, status: np.ndarray) -> Matrix:
    """(T, N) prices, NaN on days on which the venue was shut."""
    shut = status == Status.HOLIDAY
    if not (shut & np.isfinite(panel.prices)).any():
        return panel.prices
    return np.where(shut, np.nan, panel.prices)


def _between(prices: Matrix, start: np.ndarray, end: np.ndarray, kind: str) -> Matrix:
    """Returns between rows ``start`` and ``end`` of each column; NaN unless later."""
    columns = np.arange(prices.shape[1])
    ratio = prices[end, columns] / prices[start, columns]
    ratio[(start < 0) | (end <= start)] = np.nan
    return np.log(ratio) if kind == "log" else ratio - 1.0


def _week_ends(dates: Dates) -> np.ndarray:
    """Rows that are the last of their week, Monday to Sunday."""
    week = (dates.astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    return np.flatnonzero(np.append(np.diff(week) > 0, True))


def _venue_sessions(panel: PricePanel, valid: np.ndarray, venue: str, overrides: Any):
    """Sessions of a venue from the panel's start to past its end, and their closes.

    Outside its calendar the days on which the venue had a price stand in.
    """
    end = panel.dates[-1] + _BEYOND
    priced = np.logical_or.reduce(valid, axis=1)
    days = known_sessions(venue, panel.dates, priced, end, overrides)
    return days, closing_times(venue, days, overrides)


def _own_rows(
    panel: PricePanel,
    prices: Matrix,
    listing: np.ndarray,
    dates: Dates,
    cuts: np.ndarray,
    method: str,
    known_until: np.datetime64,
    overrides: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """(T, N) panel row of each cell's own close, -1 where none; and (T, N) status."""
    T, N = dates.size, prices.shape[1]
    R = panel.dates.size
    own = np.full((T, N), -1, dtype=np.int32)
    status = np.full((T, N), Status.OPEN, dtype=np.int8)
    rows = np.arange(R, dtype=np.int32)[:, None]
    after = cuts[:T] + np.timedelta64(1, "m")
    for venue, columns in _venues(panel):
        valid = np.isfinite(prices[:, columns])
        days, closes = _venue_sessions(panel, valid, venue, overrides)
        times = closing_times(venue, panel.dates, overrides)
        if method == "next_close":
            lower, upper = cuts[:-1], cuts[1:]
        elif method == "last_known":
            lower, upper = np.append(_ALWAYS, after[:-1]), after
        else:
            lower, upper = dates, dates + np.timedelta64(1, "D")
            times, closes = panel.dates, days
        lo, hi = np.searchsorted(times, lower), np.searchsorted(times, upper)
        if method == "last_known":  # the last price in the window, else the first
            at = np.maximum.accumulate(np.where(valid, rows, -1), axis=0)
            found = np.vstack([np.full((1, columns.size), -1), at])[hi]
            ok = found >= lo[:, None]
        else:
            at = np.minimum.accumulate(np.where(valid, rows, R)[::-1], axis=0)[::-1]
            found = np.vstack([at, np.full((1, columns.size), R)])[lo]
            ok = found < hi[:, None]
        own[:, columns] = np.where(ok, found, -1)
        # Why a cell is empty: shut, still to close, or one of the asset's own reasons.
        due = np.searchsorted(closes, lower)
        opened = due < np.searchsorted(closes, upper)
        coming = np.append(closes, _NEVER)[due].astype("datetime64[m]") > known_until
        if not valid[-1].any():  # a view hides the closes of its last row
            due_day = np.append(days, _NEVER.astype("datetime64[D]"))[due]
            coming |= due_day == panel.dates[-1]
        reason = listing[np.minimum(lo, R - 1)][:, columns]
        gone = (reason == Status.UNLISTED) | (reason == Status.DELISTED)
        reason = np.where(gone, reason, Status.HALTED)
        reason[~gone & coming[:, None]] = Status.NOT_YET_CLOSED
        reason[~gone & ~opened[:, None]] = Status.HOLIDAY
        status[:, columns] = np.where(ok, Status.OPEN, reason)
    return own, status
