"""Yahoo's chart answer as checked arrays: session dates, numbers, dated events.

Everything odd is refused with a reason or noted, nothing is passed on unread: a bar
belongs to the date at its exchange, minor units become the currency, and a session that
had not ended when Yahoo answered is left out. Numbers stay in shares of today here.
"""

from __future__ import annotations

import datetime as dt
import math
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from engine.data.panel import parse_time
from engine.data.venues import canonical_venue
from engine.errors import DataError

_QUOTE_DELAY = 1800

MINOR_UNITS = MappingProxyType(
    {
        "GBp": ("GBP", 0.01),
        "GBX": ("GBP", 0.01),
        "ZAc": ("ZAR", 0.01),
        "ZAX": ("ZAR", 0.01),
        "ILA": ("ILS", 0.01),
    }
)
"""Units in which some exchanges quote, and what one is in the currency itself."""

_VENUES = MappingProxyType(
    {
        **dict.fromkeys(("NMS", "NGM", "NCM", "NYQ", "ASE", "PCX", "BTS"), "NYSE"),
        **{"TOR": "TSX", "SAO": "B3", "MEX": "BMV", "LSE": "LSE", "GER": "XETRA"},
        **dict.fromkeys(("PAR", "AMS", "BRU", "LIS"), "Euronext"),
        **{"MCE": "BME", "EBS": "SIX", "JPX": "TSE", "KSC": "KRX", "KOE": "KRX"},
        **{"TAI": "TWSE", "TWO": "TWSE", "HKG": "HKEX", "SHH": "SSE", "SHZ": "SSE"},
        **{"NSI": "NSE", "BSE": "NSE", "ASX": "ASX"},
    }
)


class Chart(NamedTuple):
    """One ticker's answer, checked: session dates and split-adjusted numbers."""

    dates: np.ndarray
    open: np.ndarray
    close: np.ndarray
    adjusted: np.ndarray
    volume: np.ndarray
    events: list[tuple[np.datetime64, str, float]]
    currency: str
    venue: str
    name: str
    notes: list[str]


def parse_chart(answer: Any, ticker: str, answered: float | None) -> Chart:
    """Check one answer; ``answered`` is the server's clock, seconds since 1970."""
    chart = answer["chart"]
    if chart.get("error"):
        found = chart["error"]
        text = str(found.get("description") or found.get("code"))
        gone = "delisted" in text.lower() or found.get("code") == "Not Found"
        raise DataError(
            "Yahoo has no data for this ticker" if gone else "Yahoo reports an error",
            asset=ticker,
            received=text[:200],
            fix="Check the symbol (class shares take a dash: BRK-B; Tokyo .T, Taipei "
            ".TW, London .L). A delisted share needs another source.",
        )
    result = chart["result"][0]
    meta = result["meta"]
    notes: list[str] = []
    currency, scale = _currency(meta, ticker, notes)
    stamps = result.get("timestamp") or []
    if not stamps:
        raise DataError(
            "Yahoo knows this ticker but has no prices for it",
            asset=ticker,
            received="an empty series",
            fix="Delisted, renamed, or not listed in the range asked for.",
        )
    zone = _zone(meta, ticker)
    dates = np.array([_session(s, zone) for s in stamps], dtype="datetime64[D]")
    quote = result["indicators"]["quote"][0]
    numbers = {
        name: _numbers(quote.get(name), len(stamps), ticker, name)
        for name in ("open", "close", "volume")
    }
    adjusted = (result["indicators"].get("adjclose") or [{}])[0].get("adjclose")
    numbers["adjusted"] = (
        np.full(len(stamps), np.nan)
        if adjusted is None
        else _numbers(adjusted, len(stamps), ticker, "adjclose")
    )
    for name in ("open", "close", "adjusted"):
        numbers[name] = numbers[name] * scale
    keep = _finished(dates, meta, zone, answered, ticker, notes)
    keep &= ~np.isnan(numbers["close"])
    if not keep.any():
        raise DataError("Yahoo has no finished session for it", asset=ticker)
    dates = dates[keep]
    numbers = {name: values[keep] for name, values in numbers.items()}
    bad = ~((numbers["close"] > 0) & np.isfinite(numbers["close"]))
    if bad.any():
        raise DataError(
            "Yahoo gives a price that is not positive and finite",
            asset=ticker,
            date=dates[bad][0],
            received=numbers["close"][bad][0],
        )
    if (np.diff(dates) <= np.timedelta64(0, "D")).any():
        i = 1 + int(np.argmax(np.diff(dates) <= np.timedelta64(0, "D")))
        raise DataError(
            "Yahoo gives two prices for one session", asset=ticker, date=dates[i]
        )
    return Chart(
        dates=dates,
        events=_actions(result.get("events") or {}, zone, scale, ticker, notes),
        currency=currency,
        venue=canonical_venue(_VENUES.get(meta.get("exchangeName") or "", "")),
        name=str(meta.get("longName") or meta.get("shortName") or ""),
        notes=notes,
        **numbers,
    )


def _currency(meta: Any, ticker: str, notes: list[str]) -> tuple[str, float]:
    code = meta.get("currency")
    if code in MINOR_UNITS:
        currency, scale = MINOR_UNITS[code]
        notes.append(f"{ticker}: quoted in {code}, multiplied by {scale} to {currency}")
        return currency, scale
    if not (isinstance(code, str) and len(code) == 3 and code.isupper()):
        raise DataError(
            "Yahoo does not state a known currency", asset=ticker, received=repr(code)
        )
    return code, 1.0


def _zone(meta: Any, ticker: str) -> ZoneInfo:
    name = meta.get("exchangeTimezoneName")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, TypeError, ValueError) as error:
        raise DataError(
            "Yahoo does not state a known time zone", asset=ticker, received=repr(name)
        ) from error


def _session(stamp: float, zone: ZoneInfo) -> str:
    """Date at the exchange when the session opened."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=stamp)
    return moment.astimezone(zone).date().isoformat()


def _numbers(values: Any, n: int, ticker: str, name: str) -> np.ndarray:
    if values is None and name != "close":
        return np.full(n, np.nan)
    if not isinstance(values, list) or len(values) != n:
        raise DataError(
            f"Yahoo's {name} does not match its dates",
            asset=ticker,
            received=len(values) if isinstance(values, list) else type(values).__name__,
            expected=n,
        )
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _finished(
    dates: np.ndarray,
    meta: Any,
    zone: ZoneInfo,
    answered: float | None,
    ticker: str,
    notes: list[str],
) -> np.ndarray:
    """(T,) bool: whether the session of each bar had ended when Yahoo answered.

    By the last trade, or, for a share that did not trade at the close, by the clock of
    the answer once quotes delayed by half an hour have arrived.
    """
    keep = np.ones(dates.size, dtype=bool)
    if dates.size > 1 and dates[-1] == dates[-2]:
        keep[-2] = False
        notes.append(f"{ticker}: {dates[-1]} came twice, the later entry is kept")
    regular = (meta.get("currentTradingPeriod") or {}).get("regular") or {}
    traded, end = meta.get("regularMarketTime"), regular.get("end")
    if traded is None or end is None or traded >= end:
        return keep
    if answered is not None and answered >= end + _QUOTE_DELAY:
        return keep
    live = dates == np.datetime64(_session(regular["start"], zone), "D")
    if live.any():
        keep[live] = False
        notes.append(f"{ticker}: {dates[live][0]} left out, its session had not ended")
    return keep


def _actions(
    events: Any, zone: ZoneInfo, scale: float, ticker: str, notes: list[str]
) -> list[tuple[np.datetime64, str, float]]:
    found: list[tuple[np.datetime64, str, float]] = []
    for group, kind in (
        ("splits", "split"),
        ("dividends", "dividend"),
        ("capitalGains", "capital_gain"),
    ):
        for event in (events.get(group) or {}).values():
            date = np.datetime64(_session(event["date"], zone), "D")
            if kind == "split":
                new, old = float(event["numerator"]), float(event["denominator"])
                value = new / old if old else math.nan
                if value == 1.0:
                    continue
            else:
                value = float(event["amount"]) * scale
            if not (math.isfinite(value) and value > 0):
                notes.append(f"{ticker}: {kind} of {value:g} on {date} left out")
                continue
            found.append((date, kind, value))
    cash = {d: v for d, k, v in found if k == "dividend"}
    for date, kind, value in found:
        if kind == "capital_gain" and cash.get(date, 0.0) >= value:
            notes.append(
                f"{ticker}: dividend {cash[date]:g} and capital gain {value:g} on "
                f"{date}; Yahoo sometimes counts the second in the first"
            )
    return sorted(found)


def later_splits(chart: Chart) -> np.ndarray:
    """(T,) product of the splits after each session."""
    shares = np.ones(chart.dates.size)
    for date, kind, value in chart.events:
        if kind == "split":
            shares[chart.dates < date] *= value
    return shares


def cut_chart(chart: Chart, ticker: str, start: Any, end: Any) -> Chart:
    """Prices and events from ``start`` to ``end``; later splits are divided out."""
    keep = np.ones(chart.dates.size, dtype=bool)
    if start is not None:
        keep &= chart.dates >= parse_time(start)[0]
    if end is not None:
        keep &= chart.dates <= parse_time(end)[0]
    if not keep.any():
        raise DataError(
            "no price in the range asked for",
            asset=ticker,
            received=f"{start or 'start'} to {end or 'end'}",
            expected=f"within {chart.dates[0]} to {chart.dates[-1]}",
        )
    if start is not None:
        events = [e for e in chart.events if e[0] >= parse_time(start)[0]]
        chart = chart._replace(events=events)
    arrays = ("dates", "open", "close", "adjusted", "volume")
    return chart._replace(**{name: getattr(chart, name)[keep] for name in arrays})
