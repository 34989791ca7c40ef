"""Dated episodes: what happened, when each market could react, where it is written.

Figures of single assets stand in ``episodes.csv`` beside this file, each with its own
source; a replay takes them where the user's prices do not reach.
"""

from __future__ import annotations

import difflib
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from engine.errors import UsageError


class Fact(NamedTuple):
    """Published or measured return of one asset over an episode."""

    ticker: str
    role: str
    value: float
    """Simple return, local currency, decimal."""
    basis: str
    source: str
    end: np.datetime64
    """Last session of the figure."""


@dataclass(frozen=True)
class Episode:
    """One dated shock.

    Attributes
    ----------
    name, title : str
    start, end : datetime64[D]
        First and last session of the shock in New York: a return runs from the close
        before ``start`` to that of ``end``, elsewhere by information time.
    kind : {"ai", "market", "placebo"}
        About AI; a broad fall that took AI names along; or a placebo, a fall of AI
        names that had nothing to do with AI.
    known_from : datetime64[D]
        Day after the last market could close on it.
    note, citation : str
    windows : mapping venue -> text
        Where another market's window differs from New York's.
    confounds : mapping venue -> text
        Other news inside that market's window.
    recovery : mapping asset -> text
        What came after, where it is documented.
    """

    name: str
    title: str
    start: np.datetime64
    end: np.datetime64
    kind: str
    known_from: np.datetime64
    note: str
    citation: str
    windows: Mapping[str, str]
    confounds: Mapping[str, str]
    recovery: Mapping[str, str]

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Stored figures, each with its source."""
        return _facts().get(self.name, ())

    def __repr__(self) -> str:
        return f"Episode({self.name}: {self.title}, {self.start} to {self.end})"


class Library(Mapping[str, Episode]):
    """Episodes by name; prints as a table.

    Attributes
    ----------
    episodes : mapping of name to Episode
    """

    def __init__(self, episodes: tuple[Episode, ...]) -> None:
        self._episodes = {e.name: e for e in episodes}

    def __getitem__(self, name: str) -> Episode:
        try:
            return self._episodes[name]
        except KeyError:
            near = difflib.get_close_matches(str(name), self._episodes, n=1, cutoff=0.4)
            raise UsageError(
                "unknown episode",
                received=repr(name),
                expected=", ".join(self._episodes),
                fix=f"Did you mean {near[0]}?" if near else None,
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._episodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._episodes)

    def __len__(self) -> int:
        return len(self._episodes)

    def to_frame(self):
        """Return one row per episode."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "name": e.name,
                    "kind": e.kind,
                    "start": str(e.start),
                    "end": str(e.end),
                    "known_from": str(e.known_from),
                    "figures": len(e.facts),
                    "note": e.note,
                    "windows": "; ".join(f"{k}: {v}" for k, v in e.windows.items()),
                    "recovery": "; ".join(f"{k} {v}" for k, v in e.recovery.items()),
                    "citation": e.citation,
                }
                for e in self.values()
            ]
        )

    def __repr__(self) -> str:
        rows = [("name", "kind", "start", "end", "known from", "title")]
        rows += [
            (e.name, e.kind, str(e.start), str(e.end), str(e.known_from), e.title)
            for e in self.values()
        ]
        widths = [max(len(r[j]) for r in rows) for j in range(6)]
        return "\n".join(
            "  ".join(v.ljust(w) for v, w in zip(r, widths, strict=True)).rstrip()
            for r in rows
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def library() -> Library:
    """Return the dated episodes that can be replayed.

    Returns
    -------
    Library

    Examples
    --------
    >>> library()["deepseek-monday"].kind
    'ai'
    """
    return Library(_EPISODES)


def _episode(
    name, title, start, end, kind, known, note, citation, windows=(), confounds=(),
    recovery=(),
) -> Episode:  # fmt: skip
    days = (np.datetime64(d, "D") for d in (start, end, known))
    first, last, from_ = days
    return Episode(
        name, title, first, last, kind, from_, note, citation,
        dict(windows), dict(confounds), dict(recovery),
    )  # fmt: skip


_PRICES = "adjusted closes of public archives, per figure in episodes.csv"
_EPISODES = (
    _episode(
        "deepseek-monday", "Cheap efficient model", "2025-01-27", "2025-01-27", "ai",
        "2025-02-04", "Theme shock in a calm market: equal-weight S&P +0.07%.",
        f"Reuters, 27-28 Jan 2025; AP, 27 Jan 2025; {_PRICES}",
        {
            "TSE": "24 to 28 Jan, two closes", "HKEX": "24 to 28 Jan, then shut",
            "SSE": "24 Jan to 5 Feb", "KRX": "24 to 31 Jan", "TWSE": "22 Jan to 3 Feb",
        },
        {"TWSE": "tariff news the same weekend", "KRX": "company results the same day"},
        {
            "NVDA": "+8.93% on day 1, regained 9 Jun 2025",
            "VST": "+9.16% on day 1, regained 27 Jun 2025", "SMH": "+1.97% on day 1",
            "MSFT": "regained 28 Jan 2025", "SPY": "regained 13 Feb 2025",
            "ANET": "regained 6 Aug 2025", "VRT": "regained 22 Sep 2025",
        },
    ),
    _episode(
        "deepseek-tuesday", "The day after: rebound", "2025-01-28", "2025-01-28", "ai",
        "2025-02-06", "Partial rebound in New York.",
        f"Reuters, 28 Jan 2025; {_PRICES}",
    ),
    _episode(
        "ai-crowding-2024", "AI crowding unwind", "2024-07-11", "2024-08-07", "ai",
        "2024-08-09", "Contains the carry unwind of 5 August.", _PRICES,
    ),
    _episode(
        "carry-unwind-2024", "Yen carry unwind", "2024-08-05", "2024-08-05", "placebo",
        "2024-08-07", "Not an AI shock: Nikkei -12.40% then +10.23%, VIX 23.4 to 38.6.",
        f"Cboe; {_PRICES}",
    ),
    _episode(
        "tariffs-2025", "February to April 2025", "2025-02-20", "2025-04-08", "market",
        "2025-04-10", "Tariffs and AI demand doubts together.", _PRICES,
    ),
    _episode(
        "ai-financing-2025", "AI financing doubts", "2025-10-30", "2025-11-20", "ai",
        "2025-11-22", "Led by debt-funded builders: ORCL -23.5%.", _PRICES,
    ),
    _episode(
        "derating-2022", "Calendar 2022", "2022-01-03", "2022-12-30", "market",
        "2023-01-04", "Rates-driven derating of growth.", _PRICES,
    ),
    _episode(
        "q4-2018", "Fourth quarter 2018", "2018-10-01", "2018-12-24", "market",
        "2018-12-27", "Rates and growth scare.", _PRICES,
    ),
    _episode(
        "dot-com-2000", "2000 to 2002", "2000-01-03", "2002-10-09", "market",
        "2003-04-01", "Drawdowns from each asset's own peak to its own trough, not one "
        "common window.", _PRICES,
        recovery={"CSCO": "regained 24 Aug 2021", "MSFT": "regained 15 Jul 2014",
                  "NVDA": "regained 13 Nov 2006", "CIEN": "not regained"},
    ),
)  # fmt: skip


@lru_cache(maxsize=1)
def _facts() -> dict[str, tuple[Fact, ...]]:
    import csv

    ends = {e.name: e.end for e in _EPISODES}
    out: dict[str, list[Fact]] = {}
    text = resources.files("engine.shocks").joinpath("episodes.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        name = row["episode"]
        end = np.datetime64(row["end"], "D") if row["end"] else ends[name]
        out.setdefault(name, []).append(
            Fact(
                row["ticker"],
                row["role"],
                float(row["return_pct"]) / 100.0,
                row["close_basis"],
                row["source"],
                end,
            )
        )
    return {k: tuple(v) for k, v in out.items()}
