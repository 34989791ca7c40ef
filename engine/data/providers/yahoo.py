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

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.actions import CorporateActions
from engine.data.panel import parse_time
from engine.data.provider import Frames
from engine.data.providers.yahoo_parse import (
    Chart,
    cut_chart,
    later_splits,
    parse_chart,
)
from engine.data.universe import Universe
from engine.errors import BallastError, DataError

BASE_URL = "https://query1.finance.yahoo.com"
USER_AGENT = "Mozilla/5.0 (compatible; ballast-risk)"
BASES = ("raw", "split_adjusted", "total_return")
_FIRST, _LAST = -2_208_988_800, 9_999_999_999
_MAX_BYTES = 64 << 20
_BUSY = (429, 500, 502, 503, 504, 999)


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
        charts: dict[str, Chart] = {}
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
                chart = cut_chart(self._chart(ticker, start), ticker, start, end)
                charts[ticker] = chart
            except (DataError, SourceError) as error:
                missing[ticker] = str(error)
                failures.append(error)
                refused = error if isinstance(error, _RateLimitError) else None
        if not charts:
            raise next((e for e in failures if isinstance(e, SourceError)), failures[0])
        notes = tuple(n for c in charts.values() for n in c.notes)
        return Fetched(self._frames(charts), missing, notes)

    def _frames(self, charts: dict[str, Chart]) -> Frames:
        import pandas as pd

        columns: dict[str, dict[str, Any]] = {"close": {}, "open": {}, "volume": {}}
        rows: list[tuple[np.datetime64, str, str, float, str]] = []
        for ticker, chart in charts.items():
            index = pd.DatetimeIndex(chart.dates.astype("datetime64[ns]"))
            close, opened, volume = chart.close, chart.open, chart.volume
            if self.price_basis == "raw":
                shares = later_splits(chart)
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

    def _chart(self, ticker: str, start: Any) -> Chart:
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
            return parse_chart(answer, ticker, answered)
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
