"""Trading venues: closing time in local time, hence in UTC through summer time.

Regular closes only; half-days and ad-hoc closures come with exchange calendars. A
close before the regular one is then dated late, never early, so nothing is revealed
before it was known.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from engine.errors import DataError


class Venue(NamedTuple):
    """Where and when a market closes."""

    zone: str
    close: str
    """Local time of the regular close, HH:MM."""


VENUES = MappingProxyType(
    {
        "NYSE": Venue("America/New_York", "16:00"),
        "TSX": Venue("America/Toronto", "16:00"),
        "B3": Venue("America/Sao_Paulo", "17:00"),
        "BMV": Venue("America/Mexico_City", "15:00"),
        "LSE": Venue("Europe/London", "16:35"),
        "XETRA": Venue("Europe/Berlin", "17:35"),
        "Euronext": Venue("Europe/Paris", "17:35"),
        "BME": Venue("Europe/Madrid", "17:35"),
        "SIX": Venue("Europe/Zurich", "17:30"),
        "TSE": Venue("Asia/Tokyo", "15:30"),
        "KRX": Venue("Asia/Seoul", "15:30"),
        "TWSE": Venue("Asia/Taipei", "13:30"),
        "HKEX": Venue("Asia/Hong_Kong", "16:10"),
        "SSE": Venue("Asia/Shanghai", "15:00"),
        "NSE": Venue("Asia/Kolkata", "15:30"),
        "ASX": Venue("Australia/Sydney", "16:10"),
        "COMEX": Venue("America/New_York", "17:00"),
        "ICE": Venue("America/New_York", "17:00"),
        "FX": Venue("Europe/Berlin", "14:15"),
    }
)
"""Regular closes. FX is the euro reference fixing of the European Central Bank."""

_ALIASES = MappingProxyType(
    {
        "NASDAQ": "NYSE",
        "XNYS": "NYSE",
        "XNAS": "NYSE",
        "XTKS": "TSE",
        "XKRX": "KRX",
        "XTAI": "TWSE",
        "XHKG": "HKEX",
        "XSHG": "SSE",
        "XLON": "LSE",
        "XETR": "XETRA",
        "XPAR": "Euronext",
        "XMAD": "BME",
        "XSWX": "SIX",
        "XTSE": "TSX",
        "XBOM": "NSE",
        "XASX": "ASX",
        "BVMF": "B3",
        "XMEX": "BMV",
    }
)


def canonical_venue(name: str) -> str:
    """Return the key of `VENUES` for a venue or exchange code; empty stays empty."""
    if not name:
        return ""
    key = _ALIASES.get(name, name)
    if key not in VENUES:
        raise DataError(
            "unknown trading venue",
            received=repr(name),
            expected=", ".join(VENUES),
            fix="Name the venue whose closing time applies.",
        )
    return key


def close_utc(venue: str, dates: np.ndarray) -> np.ndarray:
    """Closing times in UTC.

    Parameters
    ----------
    venue : str
        Key of `VENUES`.
    dates : (T,) datetime64[D]
        Session dates of the venue.

    Returns
    -------
    (T,) datetime64[m]
        Minutes in UTC, summer time taken into account.
    """
    import datetime as dt

    zone_name, close = VENUES[canonical_venue(venue)]
    zone = ZoneInfo(zone_name)
    hour, minute = map(int, close.split(":"))
    dates = np.asarray(dates, dtype="datetime64[D]")
    local_minutes = np.timedelta64(60 * hour + minute, "m")
    offsets = np.array(
        [
            int(
                dt.datetime(d.year, d.month, d.day, hour, minute, tzinfo=zone)
                .utcoffset()
                .total_seconds()  # type: ignore[union-attr]
            )
            // 60
            for d in dates.astype(object)
        ],
        dtype="timedelta64[m]",
    )
    return dates.astype("datetime64[m]") + local_minutes - offsets
