"""Sessions of each venue: which days it opened, and when it closed in UTC.

Session tables come from the exchange_calendars package, half-days and changes of the
regular close included, followed by documented corrections and then by the user's own
overrides, because ad-hoc closures arrive late. Building one table takes up to
seconds, so it is kept on disk under the version of the package that made it.

A close here is the *official* one: where the venue's regular close in
`engine.data.venues` lies after the package's end of continuous trading (Hong Kong by
ten minutes, Europe by five), the closing auction is added to half-days too.
"""

from __future__ import annotations

import datetime as dt
import os
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from engine.data.venues import VENUES, canonical_venue, close_utc
from engine.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from engine.data.panel import PricePanel

CALENDARS = MappingProxyType(
    {
        "NYSE": "XNYS",
        "TSX": "XTSE",
        "B3": "BVMF",
        "BMV": "XMEX",
        "LSE": "XLON",
        "XETRA": "XETR",
        "Euronext": "XPAR",
        "BME": "XMAD",
        "SIX": "XSWX",
        "TSE": "XTKS",
        "KRX": "XKRX",
        "TWSE": "XTAI",
        "HKEX": "XHKG",
        "SSE": "XSHG",
        "NSE": "XBOM",
        "ASX": "XASX",
    }
)
"""Code in exchange_calendars; COMEX, ICE and FX have no calendar that fits them."""

KINDS = ("closed", "open", "early_close")
_FIRST, _LAST = "1990-01-01", "2030-12-31"
_FORMAT = 1
_DAY = np.timedelta64(1, "D")


class Override(NamedTuple):
    """One day on which a venue did not follow its calendar."""

    date: str
    """ISO session date."""
    venue: str
    kind: str
    """``closed``, ``open`` (a full session; late closes too) or ``early_close``."""
    close: str = ""
    """Official close, local HH:MM; ``open`` may leave it to the regular close."""
    source: str = ""


class Sessions(NamedTuple):
    """Days on which a venue opened, in order."""

    dates: np.ndarray
    """(T,) datetime64[D], local session dates."""
    close: np.ndarray
    """(T,) datetime64[m], official close in UTC."""
    half_day: np.ndarray
    """(T,) bool, closed earlier than on a regular day."""


_TWSE_GAP = (
    "; TAIEX, 2330.TW and 0050.TW all lack a price on the day, Hong Kong has one"
)
_CSAT_DAYS = ("2021-11-18", "2022-11-17", "2023-11-16", "2024-11-14", "2025-11-13")
CORRECTIONS = (
    Override(
        "2022-02-04",
        "TWSE",
        "closed",
        source="Lunar New Year bridge day, worked on Saturday 22 January" + _TWSE_GAP,
    ),
    Override(
        "2023-01-18",
        "TWSE",
        "closed",
        source="Lunar New Year: 17 January was the last day of trading, 18 and 19 "
        "January were for settlement only" + _TWSE_GAP,
    ),
    Override(
        "2023-09-01",
        "HKEX",
        "closed",
        source="Typhoon Saola, signal 8 and above all day; exchange_calendars issue "
        "600; the Hang Seng index and all Hong Kong shares lack a price",
    ),
    Override(
        "2023-09-08",
        "HKEX",
        "closed",
        source="black rainstorm warning; exchange_calendars issue 600; the Hang Seng "
        "index and all Hong Kong shares lack a price",
    ),
    Override(
        "2024-10-31",
        "TWSE",
        "closed",
        source="Typhoon Kong-rey, work suspended in Taipei" + _TWSE_GAP,
    ),
    *(
        Override(
            day,
            "KRX",
            "open",
            "16:30",
            "national college entrance examination: trading moves to 10:00-16:30; "
            "exchange_calendars has the same for these days up to 2020",
        )
        for day in _CSAT_DAYS
    ),
)
"""Closures and late closes that exchange_calendars 4.13 lacks, with their evidence."""


def read_overrides(source: Any) -> tuple[Override, ...]:
    """Return checked overrides from a table, a CSV path, or a list.

    Parameters
    ----------
    source : None, path, DataFrame, or iterable of Override, tuple or mapping
        Columns ``date, venue, kind`` and optionally ``close, source``; see `Override`.

    Raises
    ------
    DataError
        A missing column, an unknown venue or kind, a date or time that is none, an
        early close without its time, or two rows for one day of one venue.
    """
    if source is None:
        return ()
    if isinstance(source, (str, Path)):
        from engine.data.files import read_table

        source = read_table(source, what="calendar overrides")
    if hasattr(source, "columns"):
        source = source.astype(object).where(source.notna(), "").to_dict("records")
    checked: dict[tuple[str, str], Override] = {}
    for row in source:
        item = _override(row)
        key = (item.date, item.venue)
        if key in checked:
            raise DataError(
                f"two calendar overrides for {item.venue} on one day", date=item.date
            )
        checked[key] = item
    return tuple(checked.values())


def _override(row: Any) -> Override:
    try:
        item = Override(**row) if isinstance(row, Mapping) else Override(*row)
    except TypeError as error:
        raise DataError(
            "not a calendar override",
            received=repr(row),
            expected="date, venue, kind[, close, source]",
        ) from error
    try:
        day = dt.date.fromisoformat(str(item.date).strip()[:10])
    except ValueError as error:
        raise DataError(
            "a calendar override without a date",
            received=repr(item.date),
            expected="YYYY-MM-DD",
        ) from error
    kind, close = str(item.kind).strip(), str(item.close or "").strip()[:5]
    venue = canonical_venue(str(item.venue).strip())
    if not venue or kind not in KINDS:
        raise DataError(
            "a calendar override needs a venue and a kind",
            date=day,
            received=f"{item.venue!r}, {item.kind!r}",
            expected=f"a venue and one of {', '.join(KINDS)}",
        )
    if close or kind == "early_close":
        try:
            close = dt.time.fromisoformat(close).strftime("%H:%M")
        except ValueError as error:
            raise DataError(
                "the closing time of a calendar override",
                date=day,
                received=repr(item.close),
                expected="local time HH:MM",
            ) from error
    return Override(day.isoformat(), venue, kind, close, str(item.source))


def cache_folder() -> Path:
    """Folder of session tables: ``BALLAST_CACHE``, else the user's cache folder."""
    stated = os.environ.get("BALLAST_CACHE")
    if stated:
        return Path(stated)
    if os.name == "nt":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData/Local") / "ballast"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "ballast"


class _Table(NamedTuple):
    """Calendar of one exchange as the package has it."""

    days: np.ndarray  # (T,) int64, days since 1970
    minutes: np.ndarray  # (T,) int64, end of trading, minutes since 1970 UTC
    half: np.ndarray  # (T,) bool
    facts: np.ndarray  # int64: first day, last day covered; latest regular close


@lru_cache(maxsize=64)
def _table(code: str, folder: Path) -> _Table:
    from importlib.metadata import version

    name = f"sessions-{code}-{version('exchange_calendars')}-{_FORMAT}.npz"
    path = folder / name
    table = _read(path)
    if table is None:
        table = _build(code)
        _write(path, table)
    return table


def _read(path: Path) -> _Table | None:
    """Cached table, or None where there is none or it is damaged."""
    from zipfile import BadZipFile

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            table = _Table(*(data[name] for name in _Table._fields))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    sound = (
        table.days.ndim == 1
        and table.days.size > 0
        and table.days.shape == table.minutes.shape == table.half.shape
        and table.half.dtype == np.bool_
        and table.facts.shape == (3,)
        and bool((np.diff(table.days) > 0).all())
    )
    return table if sound else None


def _write(path: Path, table: _Table) -> None:
    """Write to a temporary file and rename; without a writable folder, do without."""
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **table._asdict())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def _build(code: str) -> _Table:
    with warnings.catch_warnings():
        # The package trips deprecations of newer pandas releases; none is ours.
        warnings.simplefilter("ignore")
        import exchange_calendars as ec

        known = type(ec.get_calendar(code, start="2020-01-01", end="2020-12-31"))
        lowest, highest = known.bound_min(), known.bound_max()
        first = max(_FIRST, str(lowest.date()) if lowest else _FIRST)
        last = min(_LAST, str(highest.date()) if highest else _LAST)
        calendar = ec.get_calendar(code, start=first, end=last)
        days = calendar.sessions_nanos // 86_400_000_000_000
        half = np.isin(
            days, calendar.early_closes.to_numpy().astype("datetime64[D]").astype(int)
        )
        regular = max(60 * c.hour + c.minute for _, c in calendar.close_times)
        minutes = np.asarray(calendar.closes_nanos, dtype=np.int64) // 60_000_000_000
    span = np.array([first, last], dtype="datetime64[D]").astype(np.int64)
    return _Table(days, minutes, half, np.append(span, regular))


class _Calendar(NamedTuple):
    sessions: Sessions
    first: np.datetime64
    last: np.datetime64


@lru_cache(maxsize=256)
def _calendar(venue: str, overrides: tuple[Override, ...], folder: Path) -> _Calendar:
    """All sessions of a venue, corrected; `overrides` are those of this venue."""
    table = _table(CALENDARS[venue], folder)
    hour, minute = map(int, VENUES[venue].close.split(":"))
    auction = max(0, 60 * hour + minute - int(table.facts[2]))
    closes = dict(zip(table.days.tolist(), table.minutes.tolist(), strict=True))
    halves = set(table.days[table.half].tolist())
    closes = {day: close + auction for day, close in closes.items()}
    for item in (*(c for c in CORRECTIONS if c.venue == venue), *overrides):
        day = int(np.datetime64(item.date, "D").astype(np.int64))
        halves.discard(day)
        if item.kind == "closed":
            closes.pop(day, None)
            continue
        closes[day] = _utc_minutes(venue, item.date, item.close)
        if item.kind == "early_close":
            halves.add(day)
    days = np.array(sorted(closes), dtype=np.int64)
    result = Sessions(
        days.astype("datetime64[D]"),
        np.array([closes[d] for d in days.tolist()]).astype("datetime64[m]"),
        np.array([d in halves for d in days.tolist()], dtype=bool),
    )
    for array in result:
        array.setflags(write=False)
    first, last = table.facts[:2].astype("datetime64[D]")
    return _Calendar(result, first, last)


def _utc_minutes(venue: str, date: str, close: str) -> int:
    local = dt.datetime.fromisoformat(f"{date}T{close or VENUES[venue].close}")
    moment = local.replace(tzinfo=ZoneInfo(VENUES[venue].zone))
    return int(moment.timestamp()) // 60


def _corrected(venue: str, overrides: Any) -> _Calendar:
    own = tuple(o for o in read_overrides(overrides) if o.venue == venue)
    return _calendar(venue, own, cache_folder())


def sessions(venue: str, start: Any, end: Any, overrides: Any = None) -> Sessions:
    """Sessions of a venue from ``start`` to ``end``, both inclusive.

    Parameters
    ----------
    venue : str
        Key of `CALENDARS`, or an exchange code such as ``XHKG``.
    start, end : date, datetime64[D] or ISO text
    overrides : optional
        As `read_overrides`; applied after the `CORRECTIONS` that Ballast ships.

    Returns
    -------
    Sessions
        ``(dates, close in UTC minutes, half_day)``, each (T,), read-only.

    Raises
    ------
    DataError
        No calendar for the venue, or dates that its calendar does not cover.
    """
    key = canonical_venue(venue)
    if key not in CALENDARS:
        raise DataError(
            "no calendar for this venue",
            received=repr(venue),
            expected=", ".join(CALENDARS),
        )
    lo, hi = np.datetime64(start, "D"), np.datetime64(end, "D")
    known = _corrected(key, overrides)
    if lo < known.first or hi > known.last:
        raise DataError(
            f"the calendar of {key} does not cover these dates",
            received=f"{lo} to {hi}",
            expected=f"within {known.first} to {known.last}",
        )
    dates = known.sessions.dates
    rows = slice(np.searchsorted(dates, lo), np.searchsorted(dates, hi, side="right"))
    return Sessions(*(array[rows] for array in known.sessions))


def closing_times(venue: str, dates: np.ndarray, overrides: Any = None) -> np.ndarray:
    """When a price dated on each day was known, in UTC.

    On a session, its official close. On a day that the calendar does not list, the
    end of that day everywhere: when such a price was struck is not known. Outside the
    calendar, and for venues without one, the regular close of `engine.data.venues`.
    An empty venue waits for the end of the day.

    Parameters
    ----------
    venue : str
    dates : (T,) datetime64[D]
        In any order.
    overrides : optional
        As `read_overrides`.

    Returns
    -------
    (T,) datetime64[m]
    """
    dates = np.asarray(dates, dtype="datetime64[D]")
    key = canonical_venue(venue)
    day_over = (dates + _DAY).astype("datetime64[m]")
    if not key:
        return day_over
    if key not in CALENDARS:
        return close_utc(key, dates)
    known = _corrected(key, overrides)
    days, close, _ = known.sessions
    at = np.minimum(np.searchsorted(days, dates), days.size - 1)
    result = np.where(days[at] == dates, close[at], day_over)
    outside = (dates < known.first) | (dates > known.last)
    if outside.any():
        result[outside] = close_utc(key, dates[outside])
    return result


def known_sessions(
    venue: str,
    dates: np.ndarray,
    has_price: np.ndarray,
    end: np.datetime64 | None = None,
    overrides: Any = None,
) -> np.ndarray:
    """Session days of a venue over the dates of a panel, calendar or not.

    Parameters
    ----------
    venue : str
    dates : (T,) datetime64[D]
        Increasing.
    has_price : (T,) bool
        Whether any asset of the venue has a price: these are the sessions outside the
        calendar, and of a venue without one.
    end : datetime64[D], optional
        Look up the calendar to this day; by default the last date.
    overrides : optional
        As `read_overrides`.

    Returns
    -------
    (K,) datetime64[D]
    """
    key = canonical_venue(venue)
    if key not in CALENDARS:
        return dates[has_price]
    known = _corrected(key, overrides)
    end = dates[-1] if end is None else end
    days = known.sessions.dates
    inside = days[(days >= dates[0]) & (days <= end)]
    outside = has_price & ((dates < known.first) | (dates > known.last))
    return np.union1d(inside, dates[outside]) if outside.any() else inside


def session_status(panel: PricePanel, overrides: Any = None) -> np.ndarray:
    """Why each cell holds a price or none, by the calendar of its venue.

    The calendar decides what a holiday is, not the emptiness of a row: a cell on a
    day on which its venue was shut is ``HOLIDAY`` even where the file carries a price
    (`out_of_calendar` lists those). On a session a price is ``OPEN``, or ``HALF_DAY``;
    no price is ``HALTED``. Listing follows ``listed_from`` and ``listed_until`` of the
    universe where stated, then the merger or delisting that the panel's corporate
    actions date, else the first price and more than ten sessions of the venue without
    one at the end. Venues without a calendar keep `PricePanel.status`.

    Parameters
    ----------
    panel : PricePanel
    overrides : optional
        As `read_overrides`; those of the panel by default.

    Returns
    -------
    (T, N) int8 of `engine.data.panel.Status`
    """
    from engine.data.panel import _ENDED_AFTER, Status

    overrides = panel.overrides if overrides is None else overrides
    status = panel.status()
    dates, universe = panel.dates, panel.universe
    valid = ~np.isnan(panel.prices)
    for venue in sorted(set(universe.venue)):
        if venue not in CALENDARS:
            continue
        columns = np.flatnonzero([v == venue for v in universe.venue])
        priced = np.logical_or.reduce(valid[:, columns], axis=1)
        days = known_sessions(venue, dates, priced, None, overrides)
        own = _corrected(venue, overrides).sessions
        is_session = np.isin(dates, days)
        half = np.isin(dates, own.dates[own.half_day])
        block = np.where(valid[:, columns], Status.OPEN, Status.HALTED).astype(np.int8)
        block[half[:, None] & (block == Status.OPEN)] = Status.HALF_DAY
        block[~is_session] = Status.HOLIDAY
        today = np.searchsorted(days, dates[-1], side="right")
        for c, i in enumerate(columns.tolist()):
            rows = np.flatnonzero(valid[:, i])
            first = int(rows[0]) if rows.size else dates.size
            listed, until = universe.listed_from[i], universe.listed_until[i]
            if not np.isnat(listed):
                first = int(np.searchsorted(dates, listed))
            block[:first, c] = Status.UNLISTED
            if not np.isnat(until):
                block[dates > until, c] = Status.DELISTED
            elif rows.size:
                last = np.searchsorted(days, dates[rows[-1]], side="right")
                if today - last > _ENDED_AFTER:
                    block[rows[-1] + 1 :, c] = Status.DELISTED
        status[:, columns] = block
    if panel.actions is not None:
        for ticker, last in panel.actions.last_dates().items():
            if ticker in universe:
                status[dates > last, panel.index(ticker)] = Status.DELISTED
    return status


def out_of_calendar(panel: PricePanel, overrides: Any = None) -> pd.DataFrame:
    """Days on which the panel and the calendar of a venue disagree.

    Parameters
    ----------
    panel : PricePanel
    overrides : optional
        As `read_overrides`; those of the panel by default.

    Returns
    -------
    DataFrame
        Columns ``date, venue, problem, assets, example``; ordered by date. Problems:
        ``price while shut``; ``unchanged price while shut`` (every price of the venue
        repeats the one before: a stale row); ``no price on a session`` (no listed
        asset of the venue has one); ``session without a row``. ``assets`` counts the
        prices, or the listed assets that lack one. Venues without a calendar are not
        judged.
    """
    import pandas as pd

    overrides = panel.overrides if overrides is None else overrides
    rows: list[tuple[Any, ...]] = []
    valid = ~np.isnan(panel.prices)
    for venue in sorted(set(panel.universe.venue)):
        columns = np.flatnonzero([v == venue for v in panel.universe.venue])
        own = valid[:, columns]
        priced = np.logical_or.reduce(own, axis=1)
        if venue not in CALENDARS or not priced.any():
            continue
        days = known_sessions(venue, panel.dates, priced, None, overrides)
        is_session = np.isin(panel.dates, days)
        for t in np.flatnonzero(priced & ~is_session).tolist():
            has = columns[own[t]]
            before = [_previous(panel.prices[:t, i]) for i in has]
            same = bool((panel.prices[t, has] == np.array(before)).all())
            problem = ("unchanged " if same else "") + "price while shut"
            rows.append(
                (panel.dates[t], venue, problem, has.size, panel.tickers[has[0]])
            )
        listed = np.maximum.accumulate(own, axis=0)
        listed &= np.maximum.accumulate(own[::-1], axis=0)[::-1]
        for t in np.flatnonzero(is_session & ~priced).tolist():
            lacking = columns[listed[t]]
            if lacking.size:
                name = panel.tickers[lacking[0]]
                rows.append(
                    (panel.dates[t], venue, "no price on a session", lacking.size, name)
                )
        some = panel.dates[priced]
        due = days[(days >= some[0]) & (days <= some[-1])]
        absent = np.setdiff1d(due, panel.dates)
        rows += [(day, venue, "session without a row", 0, "") for day in absent]
    names = ["date", "venue", "problem", "assets", "example"]
    table = pd.DataFrame(rows, columns=names).astype({"assets": np.int64})
    table["date"] = table["date"].astype("datetime64[ns]")
    return table.sort_values(["date", "venue"], ignore_index=True)


def _previous(prices: np.ndarray) -> float:
    """Last price before, NaN where there is none."""
    rows = np.flatnonzero(~np.isnan(prices))
    return float(prices[rows[-1]]) if rows.size else np.nan
