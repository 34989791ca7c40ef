"""Who belonged to a list, and when.

An index, a portfolio's list or the listings of a universe, as half-open intervals
``start <= t < end`` per ticker. Asked as of a date, a membership shows what was known
then: later entries are gone, and exits still to come are open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.data.panel import parse_time
from engine.data.universe import Universe
from engine.errors import DataError

_NAT = np.datetime64("NaT", "D")


@dataclass(frozen=True, slots=True, eq=False)
class Membership(Value):
    """Who belonged to a list, and when: half-open intervals ``start <= t < end``.

    Attributes
    ----------
    ticker : tuple of str, length M
        A ticker may come and go: its intervals must not overlap.
    start, end : (M,) datetime64[D]
        First date in, first date out again; NaT end while still a member.
    name, source : str
    """

    ticker: tuple[str, ...]
    start: np.ndarray
    end: np.ndarray
    name: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.ticker)
        object.__setattr__(self, "ticker", tuple(str(t).strip() for t in self.ticker))
        for name in ("start", "end"):
            values = frozen_array(
                getattr(self, name),
                name=name,
                ndim=1,
                dtype="datetime64[D]",
                shape=(n,),
            )
            object.__setattr__(self, name, values)
        for i, ticker in enumerate(self.ticker):
            if not ticker or np.isnat(self.start[i]) or self.end[i] <= self.start[i]:
                raise DataError(
                    "a membership needs a ticker and a start before its end",
                    asset=ticker,
                    received=f"{self.start[i]} to {self.end[i]}",
                )
        order = np.lexsort((self.start, np.array(self.ticker, dtype=object)))
        for a, b in pairwise(order):
            if self.ticker[a] == self.ticker[b] and not self.end[a] <= self.start[b]:
                raise DataError(
                    "two memberships of one ticker overlap",
                    asset=self.ticker[a],
                    date=self.start[b],
                    received=f"{self.start[a]} to {self.end[a]}, then {self.start[b]}",
                )

    @classmethod
    def from_frame(cls, frame, *, name: str = "", source: str = "") -> Membership:
        """Build from columns ticker, start, end (empty: still a member)."""
        import pandas as pd

        missing = {"ticker", "start", "end"} - set(frame.columns)
        if missing:
            raise DataError(f"membership has no column {', '.join(sorted(missing))}")
        dates = {}
        for column in ("start", "end"):
            try:
                parsed = pd.to_datetime(frame[column], format="ISO8601")
            except (ValueError, TypeError) as error:
                raise DataError(f"membership: {column}: {error}") from error
            dates[column] = parsed.to_numpy().astype("datetime64[D]")
        return cls(
            tuple(frame["ticker"].astype(str)), **dates, name=name, source=source
        )

    @classmethod
    def read(cls, path: Any, *, name: str = "") -> Membership:
        """Read a CSV or Parquet file with columns ticker, start, end."""
        from engine.data.files import read_table

        table = read_table(path, what="membership")
        return cls.from_frame(table, name=name, source=str(path))

    def to_frame(self):
        """Return one row per interval: ticker, start, end."""
        import pandas as pd

        dates = {n: getattr(self, n).astype("datetime64[ns]") for n in ("start", "end")}
        return pd.DataFrame({"ticker": list(self.ticker), **dates})

    @classmethod
    def from_universe(cls, universe: Universe) -> Membership:
        """Listing intervals of a universe; an open start counts as always listed."""
        start = np.where(
            np.isnat(universe.listed_from),
            np.datetime64("1800-01-01"),
            universe.listed_from,
        )
        # listed_until is the last day of the listing, an end the first day without.
        end = universe.listed_until + np.timedelta64(1, "D")
        return cls(universe.tickers, start, end, name="listed", source="universe")

    def members(self, t: Any) -> tuple[str, ...]:
        """Members on a date, in the order of the intervals."""
        day = parse_time(t)[0].astype("datetime64[D]")
        inside = (self.start <= day) & (np.isnat(self.end) | (day < self.end))
        return tuple(self.ticker[i] for i in np.flatnonzero(inside))

    def mask(self, dates: np.ndarray, tickers: Sequence[str]) -> np.ndarray:
        """(T, N) bool: whether each ticker was a member on each date."""
        days = np.asarray(dates, dtype="datetime64[D]")
        result = np.zeros((days.size, len(tickers)), dtype=bool)
        column = {t: i for i, t in enumerate(tickers)}
        for i, ticker in enumerate(self.ticker):
            if ticker in column:
                open_end = np.isnat(self.end[i])
                inside = (days >= self.start[i]) & (open_end | (days < self.end[i]))
                result[:, column[ticker]] |= inside
        return result

    def as_of(self, t: Any) -> Membership:
        """What was known on ``t``: later entries are gone, later exits still open."""
        day = parse_time(t)[0].astype("datetime64[D]")
        rows = np.flatnonzero(self.start <= day)
        end = self.end[rows]
        return replace(
            self,
            ticker=tuple(self.ticker[i] for i in rows),
            start=self.start[rows],
            end=np.where(end > day, _NAT, end),
        )

    def __len__(self) -> int:
        return len(self.ticker)

    def __repr__(self) -> str:
        return f"Membership({self.name}, {len(set(self.ticker))} tickers)"
