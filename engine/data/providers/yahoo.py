"""Raw closes, splits and dividends from Yahoo Finance's chart endpoint.

One request per ticker, with a pause between them; answers of the version 8 chart
endpoint, read with the standard library. What the numbers are:

* ``close`` in the answer is already divided by every later split, up to today, but not
  adjusted for dividends. Raw closes are those, multiplied by the later splits again
  (so the request always runs to today, whatever ``end`` is); volumes are divided.
* Dividends are per share of today, too; `CorporateActions.dividend_basis` says so.
* Capital gains are their own kind, never dividends. Yahoo sometimes puts the same cash
  under both on one date: that is noted, not corrected.
* Pence, cents and agorot (GBp, ZAc, ILA) are scaled to the currency, and noted.
* A bar of a session that has not ended is not a close and is left out.

Yahoo's terms limit use to personal research; nothing here is redistributed.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from engine._base import Value
from engine.data.actions import CorporateActions
from engine.data.panel import parse_time
from engine.data.provider import Frames
from engine.data.universe import Universe
from engine.data.venues import canonical_venue
from engine.errors import BallastError, DataError

BASE_URL = "https://query1.finance.yahoo.com"
USER_AGENT = "Mozilla/5.0 (compatible; ballast-risk)"
BASES = ("raw", "split_adjusted", "total_return")
_FIRST, _LAST = -2_208_988_800, 9_999_999_999
_MAX_BYTES = 64 << 20
_QUOTE_DELAY = 1800
_BUSY = (429, 500, 502, 503, 504, 999)

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


class SourceError(BallastError, ConnectionError):
    """A source that did not answer: rate limit, timeout, no connection."""

    def __str__(self) -> str:
        return BallastError.__str__(self)


class _RateLimitError(SourceError):
    """Asking for further tickers would be refused as well."""


@dataclass(frozen=True, slots=True, eq=False)
class Fetched(Value):
    """What arrived, and what did not.

    Attributes
    ----------
    frames : Frames
        Tables of the tickers that arrived, in the order asked for.
    missing : mapping of str to str
        Why each other ticker is not there.
    notes : tuple of str
        What was scaled, left out or looks odd, naming the ticker.
    """

    frames: Frames
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Chart(NamedTuple):
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


class YahooProvider:
    """Yahoo Finance as a source of prices.

    Parameters
    ----------
    base_url : str
        Scheme and host; another one for tests or a proxy.
    price_basis : {"raw", "split_adjusted", "total_return"}
        As traded (the default), or as Yahoo adjusts; always stated on the panel.
    timeout : float
        Seconds for one answer.
    attempts : int, default 4
        Tries per ticker when the source is busy or does not answer.
    delay : float, default 0.5
        Seconds between tickers: two requests a second is what polite scripts do.
    max_wait : float, default 60
        Longest single wait; a Retry-After beyond it ends the pull at once.
    sleep : callable
        Receives seconds; replaced in tests.
    """

    name = "yahoo"

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        price_basis: str = "raw",
        timeout: float = 20.0,
        attempts: int = 4,
        delay: float = 0.5,
        max_wait: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if urllib.parse.urlsplit(base_url).scheme not in ("http", "https"):
            raise DataError(
                "not the address of a web server",
                received=base_url,
                expected="https://",
            )
        if price_basis not in BASES:
            raise DataError(
                "unknown price_basis", received=price_basis, expected=", ".join(BASES)
            )
        self.base_url = base_url.rstrip("/")
        self.price_basis = price_basis
        self.timeout = timeout
        self.attempts = max(1, attempts)
        self.delay = delay
        self.max_wait = max_wait
        self._sleep = sleep

    def load(
        self, tickers: Sequence[str] | None, start: Any = None, end: Any = None
    ) -> Frames:
        """Return the tables of all tickers, or say which did not come.

        Raises
        ------
        DataError
            A ticker is unknown, delisted without data, or its answer unreadable; all
            of them are named.
        SourceError
            The source did not answer.
        """
        got = self.fetch(tickers, start, end)
        if got.missing:
            first, reason = next(iter(got.missing.items()))
            others = len(got.missing) - 1
            more = f" (and {', '.join(list(got.missing)[1:])})" if others else ""
            raise DataError(
                f"Yahoo has no prices for {first}{more}",
                asset=first,
                received=reason,
                fix="Leave it out, or pull what there is into a store: "
                f"{len(got.frames.prices.columns)} tickers arrived.",
            )
        return got.frames

    def fetch(
        self, tickers: Sequence[str] | None, start: Any = None, end: Any = None
    ) -> Fetched:
        """Return what can be had, and why the rest cannot.

        Parameters
        ----------
        tickers : list of str
            Yahoo's symbols, such as NVDA, 2330.TW, SHEL.L, BRK-B.
        start, end : date, optional
            Inclusive; all there is by default.

        Raises
        ------
        DataError
            No ticker was given, or none arrived because none exists.
        SourceError
            None arrived because the source did not answer.
        """
        if not tickers:
            raise DataError("Yahoo needs a list of tickers", fix="Pass tickers=.")
        wanted = list(dict.fromkeys(tickers))
        charts: dict[str, _Chart] = {}
        missing: dict[str, str] = {}
        refused: _RateLimitError | None = None
        failures: list[BallastError] = []
        for i, ticker in enumerate(wanted):
            if refused is not None:
                missing[ticker] = "not asked for: the source had refused"
                continue
            if i and self.delay > 0:
                self._sleep(self.delay)
            try:
                chart = _cut(self._chart(ticker, start), ticker, start, end)
                charts[ticker] = chart
            except (DataError, SourceError) as error:
                missing[ticker] = str(error)
                failures.append(error)
                refused = error if isinstance(error, _RateLimitError) else None
        if not charts:
            raise next((e for e in failures if isinstance(e, SourceError)), failures[0])
        notes = tuple(n for c in charts.values() for n in c.notes)
        return Fetched(self._frames(charts), missing, notes)

    def _frames(self, charts: dict[str, _Chart]) -> Frames:
        import pandas as pd

        columns: dict[str, dict[str, Any]] = {"close": {}, "open": {}, "volume": {}}
        rows: list[tuple[np.datetime64, str, str, float, str]] = []
        for ticker, chart in charts.items():
            index = pd.DatetimeIndex(chart.dates.astype("datetime64[ns]"))
            close, opened, volume = chart.close, chart.open, chart.volume
            if self.price_basis == "raw":
                shares = _later_splits(chart)
                close, opened, volume = close * shares, opened * shares, volume / shares
            elif self.price_basis == "total_return":
                close, opened = chart.adjusted, opened * chart.adjusted / close
            for name, values in (
                ("close", close),
                ("open", opened),
                ("volume", volume),
            ):
                columns[name][ticker] = pd.Series(values, index=index)
            rows += [(d, ticker, k, v, chart.currency) for d, k, v in chart.events]
        wide = {
            name: pd.DataFrame(parts).sort_index().rename_axis("date")
            for name, parts in columns.items()
        }
        date, ticker, kind, value, currency = (
            zip(*rows, strict=True) if rows else [()] * 5
        )
        return Frames(
            prices=wide["close"],
            universe=Universe(
                tuple(charts),
                name=tuple(c.name for c in charts.values()),
                venue=tuple(c.venue for c in charts.values()),
                quote_currency=tuple(c.currency for c in charts.values()),
            ),
            price_basis=self.price_basis,
            source="Yahoo Finance",
            open=wide["open"],
            volume=wide["volume"],
            actions=CorporateActions(
                np.array(date, dtype="datetime64[D]"),
                ticker,
                kind,
                np.array(value, dtype=np.float64),
                currency=tuple(
                    "" if k == "split" else c
                    for k, c in zip(kind, currency, strict=True)
                ),
                dividend_basis="split_adjusted",
                source="Yahoo Finance",
            ),
        )

    def _chart(self, ticker: str, start: Any) -> _Chart:
        first = _FIRST
        if start is not None:  # a day earlier: sessions east of Greenwich open before
            first = int(parse_time(start)[0].astype("datetime64[s]").astype(np.int64))
            first -= 86_400
        query = urllib.parse.urlencode(
            {
                "period1": first,
                "period2": _LAST,
                "interval": "1d",
                "events": "div,splits,capitalGains",
                "includeAdjustedClose": "true",
            }
        )
        symbol = urllib.parse.quote(ticker, safe="")
        url = f"{self.base_url}/v8/finance/chart/{symbol}?{query}"
        body, answered = self._get(url, ticker)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DataError(
                "Yahoo's answer is not JSON",
                asset=ticker,
                received=repr(body[:60].decode("utf-8", "replace")),
                fix="A consent page or an outage; try again later.",
            ) from error
        try:
            return _parse(answer, ticker, answered)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            if isinstance(error, BallastError):
                raise
            raise DataError(
                "Yahoo's answer has an unknown shape",
                asset=ticker,
                received=f"{type(error).__name__}: {error}",
            ) from error

    def _get(self, url: str, ticker: str) -> tuple[bytes, float | None]:
        """Body and time of the answer, after bounded retries; JSON refusals count."""
        request = urllib.request.Request(
            url, headers={"User-Agent": USER_AGENT, "Accept": "application/json"}
        )
        reason, limited = "", False
        for attempt in range(self.attempts):
            wait = min(2.0**attempt, self.max_wait)
            limited = False
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    body = answer.read(_MAX_BYTES + 1)
                if len(body) > _MAX_BYTES:
                    raise DataError("Yahoo's answer is too large", asset=ticker)
                if answer.length:  # read(n) does not notice that bytes are missing
                    raise IncompleteRead(body, answer.length)
                return body, _answered(answer.headers)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _BUSY:
                        return _refusal(error, ticker), None
                    reason = f"HTTP status {error.code}"
                    limited = error.code in (429, 999)
                    asked = _retry_after(error.headers)
                if asked is not None and asked > self.max_wait:
                    reason += f", asking to wait {asked:.0f} s"
                    break
                wait = wait if asked is None else asked
            except (OSError, HTTPException) as error:  # timeouts, resets, cut-offs
                inner = getattr(error, "reason", error)
                timeout = isinstance(inner, TimeoutError)
                name = type(inner).__name__
                reason = "no answer in time" if timeout else f"{name}: {inner}"
            if attempt + 1 < self.attempts:
                self._sleep(wait)
        kind = _RateLimitError if limited else SourceError
        raise kind(
            "Yahoo refuses for now: too many requests" if limited else "no answer",
            asset=ticker,
            received=reason,
            fix="Try again later with fewer tickers or a longer delay."
            if limited
            else "Check the connection, then try again.",
        )


def _retry_after(headers: Any) -> float | None:
    """Seconds asked for: a number, or a date read against the answer's own date."""
    from email.utils import parsedate_to_datetime

    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
        return seconds if math.isfinite(seconds) and seconds >= 0 else None
    except ValueError:
        pass
    try:
        until, now = (parsedate_to_datetime(t) for t in (text, headers.get("Date")))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _answered(headers: Any) -> float | None:
    """Seconds since 1970 by the clock of the server that answered."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(headers.get("Date")).timestamp()
    except (TypeError, ValueError):
        return None


def _refusal(error: urllib.error.HTTPError, ticker: str) -> bytes:
    """Return the body of a refusal if it is Yahoo's JSON; else raise what it means."""
    body = error.read(1 << 16)
    if body.lstrip().startswith(b"{"):
        return body
    if error.code == 404:
        raise DataError(
            "Yahoo does not know this ticker", asset=ticker, received="HTTP status 404"
        )
    raise SourceError(
        "Yahoo refused the request", asset=ticker, received=f"HTTP status {error.code}"
    )


def _parse(answer: Any, ticker: str, answered: float | None) -> _Chart:
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
    return _Chart(
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


def _later_splits(chart: _Chart) -> np.ndarray:
    """(T,) product of the splits after each session."""
    shares = np.ones(chart.dates.size)
    for date, kind, value in chart.events:
        if kind == "split":
            shares[chart.dates < date] *= value
    return shares


def _cut(chart: _Chart, ticker: str, start: Any, end: Any) -> _Chart:
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
