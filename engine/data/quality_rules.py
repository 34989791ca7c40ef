"""The rules of the quality check: each one looks at a panel and adds its findings.

Returns are compared with the asset's own robust scale, the median absolute log return
times 1.4826 (Hampel 1974), so that a quiet bond fund and a biotech share are judged
alike; a market-wide day is not an asset's error, so spikes that reverse are measured
against the median asset of the same date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine._base import Value
from engine.data.actions import CorporateActions
from engine.data.panel import PricePanel, Status

CHECKS = (
    "gap",
    "ended",
    "late_start",
    "stale",
    "thin",
    "jump",
    "reversal",
    "split_like",
    "split_not_adjusted",
    "split_without_jump",
    "repeated_split",
    "impossible_dividend",
    "off_calendar",
    "sparse_date",
    "currency",
    "unit_change",
    "survivorship",
    "duplicate",
    "zero_volume",
)
SPLIT_RATIOS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)
SMALL_RATIOS = (5 / 4, 4 / 3, 3 / 2)
_SPLIT_TOLERANCE = 0.015
_SCALE_FLOOR = 0.0025
_MINOR = 100.0
_ENOUGH_FOR_A_MARKET = 5

SUFFIX_CURRENCY: Mapping[str, str] = {
    **{".T": "JPY", ".TW": "TWD", ".TWO": "TWD", ".HK": "HKD", ".KS": "KRW"},
    **{".KQ": "KRW", ".SS": "CNY", ".SZ": "CNY", ".DE": "EUR", ".PA": "EUR"},
    **{".AS": "EUR", ".MC": "EUR", ".MI": "EUR", ".AX": "AUD", ".TO": "CAD"},
    **{".NS": "INR", ".BO": "INR", ".SW": "CHF", ".L": "GBP", ".SA": "BRL"},
}
"""Currency in which most shares with this ending are quoted."""

VENUE_CURRENCY: Mapping[str, str] = {
    **{"NYSE": "USD", "TSX": "CAD", "B3": "BRL", "BMV": "MXN", "LSE": "GBP"},
    **{"XETRA": "EUR", "Euronext": "EUR", "BME": "EUR", "SIX": "CHF", "TSE": "JPY"},
    **{"KRX": "KRW", "TWSE": "TWD", "HKEX": "HKD", "SSE": "CNY", "NSE": "INR"},
    **{"ASX": "AUD"},
}

Sessions = Callable[[str, np.ndarray], np.ndarray]
"""``(venue, (T,) datetime64[D]) -> (T,) bool``: whether each date is a session."""


@dataclass(frozen=True, slots=True, eq=False)
class Finding(Value):
    """One thing to look at.

    Attributes
    ----------
    severity : {"note", "warning", "error"}
    asset : str
        Empty when the finding is about the whole panel.
    date : str
        ISO date, the first where there are several; empty when it has none.
    what : str
        One of `CHECKS`.
    value : float
        Size: a simple return, a count of sessions, a share, a ratio (see ``detail``).
    detail : str
        One sentence.
    """

    severity: str
    asset: str
    date: str
    what: str
    value: float
    detail: str

    def __repr__(self) -> str:
        where = " ".join(p for p in (self.asset, self.date) if p) or "panel"
        return f"{self.severity}: {where}: {self.what} {self.value:.4g}: {self.detail}"


class Look:
    """One pass over a panel; every method appends to ``found``."""

    def __init__(
        self,
        panel: PricePanel,
        actions: CorporateActions | None,
        sessions: Sessions | None,
    ) -> None:
        self.panel = panel
        self.days = panel.dates
        self.valid = ~np.isnan(panel.prices)
        self.sessions = sessions
        self.found: list[Finding] = []
        self.events: dict[str, list[tuple[np.datetime64, str, float, str]]] = {}
        self.has_actions = actions is not None
        if actions is not None:
            columns = (actions.date, actions.kind, actions.value, actions.currency)
            for ticker, *event in zip(actions.ticker, *columns, strict=True):
                self.events.setdefault(ticker, []).append(tuple(event))  # type: ignore[arg-type]
        # Log returns between consecutive prices of each asset, at the later date.
        self.moved = np.full(panel.prices.shape, np.nan)
        for i in range(len(panel.tickers)):
            rows = np.flatnonzero(self.valid[:, i])
            self.moved[rows[1:], i] = np.diff(np.log(panel.prices[rows, i]))
        self.scale = np.full(len(panel.tickers), _SCALE_FLOOR)
        for i in range(len(panel.tickers)):
            own = self.moved[:, i]
            own = np.abs(own[~np.isnan(own)])
            if own.size:
                self.scale[i] = max(1.4826 * float(np.median(own)), _SCALE_FLOOR)
        self.explained: set[tuple[int, int]] = set()

    def add(self, severity, asset, date, what, value, detail) -> None:
        """Keep one finding; see `Finding` for its parts."""
        day = "" if date is None else str(date)
        self.found.append(Finding(severity, asset, day, what, float(value), detail))

    def calendar(self) -> None:
        """Rows on weekends, on dates the hook refuses, and rows nearly empty."""
        # Day 0 of numpy's calendar is a Thursday.
        weekend = (self.days.astype(np.int64) + 3) % 7 >= 5
        venues = self.panel.universe.venue
        for venue in sorted(set(venues)):
            columns = np.array([v == venue for v in venues], dtype=bool)
            rows = self.valid[:, columns]
            off = weekend
            if self.sessions is not None and venue:
                off = ~np.asarray(self.sessions(venue, self.days), dtype=bool)
            for t in np.flatnonzero(off & rows.any(axis=1)):
                n = int(rows[t].sum())
                self.add(
                    "error", "", self.days[t], "off_calendar", n,
                    f"{n} {venue or 'unnamed venue'} prices on a date that is no "
                    "session",
                )  # fmt: skip
            listed = np.maximum.accumulate(rows, axis=0)
            listed &= np.maximum.accumulate(rows[::-1], axis=0)[::-1]
            share = rows.sum(axis=1) / np.maximum(listed.sum(axis=1), 1)
            few = (share > 0) & (share < 0.5) & (listed.sum(axis=1) >= 5) & ~off
            for t in np.flatnonzero(few):
                self.add(
                    "warning", "", self.days[t], "sparse_date", share[t],
                    f"share of the {venue or 'unnamed venue'} assets that have a price",
                )  # fmt: skip

    def spans(self, limit: int) -> None:
        """Gaps inside a life, late starts, early ends."""
        status = self.panel.status()
        for i, ticker in enumerate(self.panel.tickers):
            rows = np.flatnonzero(self.valid[:, i])
            if not rows.size:
                self.add(
                    "error", ticker, None, "gap", self.days.size, "no price at all"
                )
                continue
            first, last = rows[0], rows[-1]
            halted = status[:, i] == Status.HALTED
            halted[:first] = halted[last + 1 :] = False
            for start, n in _runs(halted):
                self.add(
                    "error" if n >= limit else "warning",
                    ticker, self.days[start], "gap", n,
                    "sessions without a price while others at its venue had one",
                )  # fmt: skip
            if first > limit:
                self.add(
                    "note", ticker, self.days[first], "late_start", first,
                    "rows of the panel before its first price",
                )  # fmt: skip
            if status[-1, i] in (Status.DELISTED, Status.HALTED):
                kinds = {k for _, k, _, _ in self.events.get(ticker, [])}
                told = bool(kinds & {"delisting", "merger", "rename"})
                self.add(
                    "note" if told else "warning",
                    ticker, self.days[last], "ended", self.days.size - 1 - last,
                    "rows after its last price"
                    + ("" if told else "; no delisting, merger or rename explains it"),
                )  # fmt: skip

    def stale_runs(self, stale: int, thin: float) -> None:
        """Closes that do not move."""
        for i, ticker in enumerate(self.panel.tickers):
            rows = np.flatnonzero(~np.isnan(self.moved[:, i]))
            still = self.moved[rows, i] == 0.0
            for start, n in _runs(still):
                if n + 1 >= stale:
                    self.add(
                        "error" if n + 1 >= 4 * stale else "warning",
                        ticker, self.days[rows[start]], "stale", n + 1,
                        f"equal closes in a row, to {self.days[rows[start + n - 1]]}",
                    )  # fmt: skip
            share = float(still.mean()) if rows.size >= 20 else 0.0
            if share >= thin:
                self.add(
                    "warning" if share >= 2 * thin else "note",
                    ticker, None, "thin", share,
                    "share of zero returns: rounded, or rarely traded",
                )  # fmt: skip

    def moves(self, jump: float, scales: float) -> None:
        """Jumps, ratios of splits, changes of unit, and spikes that come back."""
        with np.errstate(invalid="ignore"):
            size = np.abs(np.expm1(self.moved))
            units = np.abs(self.moved) / self.scale
            large = (size > jump) | ((units > scales) & (size > jump / 2))
        for t, i in np.argwhere(large):
            self._jump(int(t), int(i))
        self._reversals({(int(t), int(i)) for t, i in np.argwhere(large)})

    def _jump(self, t: int, i: int) -> None:
        ticker, day = self.panel.tickers[i], self.days[t]
        move = float(self.moved[t, i])
        simple = float(np.expm1(move))
        units = abs(move) / self.scale[i]
        size = f"{simple:+.1%} in one step, {units:.0f} times its usual move"
        event = self._event(ticker, t, i)
        raw = self.panel.price_basis == "raw"
        if event is not None:
            _, kind, value, _ = event
            if kind == "split" and abs(move + np.log(value)) < 0.25:
                self.explained.add((t, i))
                if raw:
                    text = f"{size}; explained by a split of {value:g}"
                    self.add("note", ticker, day, "jump", simple, text)
                else:
                    text = (
                        f"moves by its split of {value:g}, though prices are stated "
                        f"as {self.panel.price_basis}"
                    )
                    self.add("error", ticker, day, "split_not_adjusted", value, text)
                return
            if kind != "split":
                self.add("note", ticker, day, "jump", simple, f"{size}; with a {kind}")
                return
        ratio = np.exp(-move)
        near = min(
            (r for n in (*SPLIT_RATIOS, *SMALL_RATIOS) for r in (n, 1 / n)),
            key=lambda r: abs(np.log(r / ratio)),
        )
        off = abs(float(np.log(near / ratio)))
        whole = max(near, 1 / near)
        unexplained = (
            "no action explains it" if self.has_actions else "no actions given"
        )
        if abs(whole - _MINOR) < 1 and off < 0.25:
            text = f"{size}: by about 100, a change of unit (pence, pounds)?"
            self.add("error", ticker, day, "unit_change", 1 / near, text)
            return
        if whole >= 2 and off < _SPLIT_TOLERANCE:
            text = f"{size}: the ratio of a split of {_ratio(near)}; {unexplained}"
            self.add("error", ticker, day, "split_like", near, text)
        elif whole < 2 and off < _SPLIT_TOLERANCE / 3:
            text = f"{size}: near the ratio of a split of {_ratio(near)}; {unexplained}"
            self.add("warning", ticker, day, "split_like", near, text)
        self.add("warning", ticker, day, "jump", simple, f"{size}; {unexplained}")

    def _event(self, ticker: str, t: int, i: int):
        """Action between the previous price and this one; splits first."""
        rows = np.flatnonzero(self.valid[:t, i])
        before = self.days[rows[-1]] if rows.size else self.days[0]
        here = [
            e
            for e in self.events.get(ticker, [])
            if before < e[0] <= self.days[t]
            # A dividend explains a fall of its own size, not any jump.
            and (
                e[1] not in ("dividend", "capital_gain")
                or e[2] > 0.5 * self.panel.prices[rows[-1], i] * -self.moved[t, i] > 0
            )
        ]
        return next(iter(sorted(here, key=lambda e: e[1] != "split")), None)

    def _reversals(self, jumps: set[tuple[int, int]]) -> None:
        """A move of its own that comes back at the next price: a spike in the level.

        Own moves are residuals on the median asset of the date, by least squares; a
        spike exceeds 4.5 times the mean absolute residual (times sqrt(pi / 2)) of the
        42 sessions on either side, and at least 70% of it is undone.
        """
        seen = ~np.isnan(self.moved)
        moved = np.where(seen, self.moved, 0.0)
        market = np.zeros(self.days.size)
        many = seen.sum(axis=1) >= _ENOUGH_FOR_A_MARKET
        if many.any():
            market[many] = np.nanmedian(self.moved[many], axis=1)
        weight = (seen * market[:, None] ** 2).sum(axis=0)
        beta = (moved * market[:, None]).sum(axis=0) / np.maximum(weight, 1e-300)
        own = np.where(seen, moved - beta * market[:, None], 0.0)
        usual = np.abs(own)
        total, count = _window(usual, 42), _window(seen.astype(np.float64), 42)
        total[:-1] -= usual[:-1] + usual[1:]  # the spike and its return do not count
        scale = np.sqrt(np.pi / 2) * total / np.maximum(count - 2, 1)
        scale = np.maximum(scale, _SCALE_FLOOR)
        for i, ticker in enumerate(self.panel.tickers):
            rows = np.flatnonzero(seen[:, i])
            first, second = own[rows[:-1], i], own[rows[1:], i]
            back = (np.abs(first) > 4.5 * scale[rows[:-1], i]) & (first * second < 0)
            back &= np.abs(second) > 0.7 * np.abs(first)
            back &= np.abs(second) < 1.3 * np.abs(first)
            for k in np.flatnonzero(back):
                t = int(rows[k])
                if (t, i) in jumps:
                    continue
                self.add(
                    "warning", ticker, self.days[t], "reversal", np.expm1(first[k]),
                    f"against its market, then {np.expm1(second[k]):+.1%} back: a bad "
                    "print, or an adjustment put on the wrong day?",
                )  # fmt: skip

    def splits(self) -> None:
        """Actions that contradict the prices, the basis or one another."""
        for i, ticker in enumerate(self.panel.tickers):
            rows = np.flatnonzero(self.valid[:, i])
            events = self.events.get(ticker, [])
            ratios = [(d, v) for d, k, v, _ in events if k == "split"]
            for (one, first), (two, second) in pairwise(ratios):
                if first == second and two - one <= np.timedelta64(30, "D"):
                    self.add(
                        "warning", ticker, two, "repeated_split", second,
                        f"the same ratio as on {one}: one split recorded twice?",
                    )  # fmt: skip
            for date, kind, value, _ in events:
                k = int(np.searchsorted(self.days[rows], date))
                if not 0 < k < rows.size:
                    continue
                if kind in ("dividend", "capital_gain"):
                    if value >= self.panel.prices[rows[k - 1], i]:
                        self.add(
                            "error", ticker, date, "impossible_dividend", value,
                            f"a {kind} not smaller than the price before it",
                        )  # fmt: skip
                    continue
                if kind != "split" or (int(rows[k]), i) in self.explained:
                    continue
                # Ratios near one are spin-offs, lost in an ordinary day.
                clear = abs(np.log(value)) > max(0.15, 4 * self.scale[i])
                off = abs(self.moved[rows[k], i] + np.log(value))
                if self.panel.price_basis == "raw" and clear and off >= 0.25:
                    self.add(
                        "error", ticker, date, "split_without_jump", value,
                        "a split is recorded, but raw prices do not move by it",
                    )  # fmt: skip
                if self.panel.price_basis != "raw" and clear and off < 0.1:
                    self.add(
                        "error", ticker, date, "split_not_adjusted", value,
                        "prices move by a split, though they are stated as "
                        f"{self.panel.price_basis}",
                    )  # fmt: skip

    def currencies(self) -> None:
        """Currencies that surprise: for the ending, the venue or the actions."""
        universe = self.panel.universe
        labels = zip(
            universe.tickers, universe.quote_currency, universe.venue, strict=True
        )
        for ticker, code, venue in labels:
            ending = "." + ticker.rsplit(".", 1)[-1] if "." in ticker else ""
            for usual, why in (
                (SUFFIX_CURRENCY.get(ending), f"the ending {ending}"),
                (VENUE_CURRENCY.get(venue), f"the venue {venue}"),
            ):
                if usual and usual != code:
                    self.add(
                        "warning", ticker, None, "currency", np.nan,
                        f"quoted in {code}, though {why} suggests {usual}",
                    )  # fmt: skip
            stated = {c for *_, c in self.events.get(ticker, []) if c} - {code}
            for other in sorted(stated):
                self.add(
                    "error", ticker, None, "currency", np.nan,
                    f"quoted in {code}, but its actions are in {other}",
                )  # fmt: skip

    def survivors(self) -> None:
        """A long panel in which nothing ever ended."""
        years = (self.days[-1] - self.days[0]) / np.timedelta64(365, "D")
        n = len(self.panel.tickers)
        ended = sum(f.what == "ended" for f in self.found)
        if years >= 2 and n >= 20 and ended == 0:
            self.add(
                "warning", "", None, "survivorship", years,
                f"years in which none of {n} assets stopped trading: names that failed "
                "are probably absent, and losses in distress understated",
            )  # fmt: skip

    def twins(self) -> None:
        """Columns that are the same asset twice, or nearly."""
        moved = np.nan_to_num(self.moved)
        length = np.sqrt((moved**2).sum(axis=0))
        unit = moved / np.where(length > 0, length, 1.0)
        alike = unit.T @ unit
        np.fill_diagonal(alike, 0.0)
        for i, j in np.argwhere(np.triu(alike > 0.999)):
            both = self.valid[:, i] & self.valid[:, j]
            if both.sum() < 20:
                continue
            a, b = self.panel.tickers[i], self.panel.tickers[j]
            same = np.abs(self.moved[both, i] - self.moved[both, j])
            equal = bool(np.nanmax(same) < 1e-9)
            self.add(
                "error" if equal else "note", a, None, "duplicate", alike[i, j],
                f"{'same returns as' if equal else 'correlation of returns with'} {b}",
            )  # fmt: skip

    def volumes(self) -> None:
        """Prices on sessions without a share traded."""
        if self.panel.volume is None:
            return
        none = (self.panel.volume == 0) & self.valid
        for i in np.flatnonzero(none.any(axis=0)):
            n, share = int(none[:, i].sum()), none[:, i].sum() / self.valid[:, i].sum()
            self.add(
                "warning" if share > 0.01 else "note",
                self.panel.tickers[i], self.days[np.argmax(none[:, i])], "zero_volume",
                n, f"sessions with a price and no volume, {share:.1%} of all",
            )  # fmt: skip


def _window(values: np.ndarray, half: int) -> np.ndarray:
    """(T, N) sums over ``half`` rows on either side of each row and the row after."""
    sums = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    rows = np.arange(values.shape[0])
    low = np.maximum(rows - half, 0)
    return sums[np.minimum(rows + half + 2, rows.size)] - sums[low]


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Starts and lengths of the runs of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _ratio(value: float) -> str:
    """Return 2 as 2:1, 0.1 as 1:10, 1.5 as 3:2."""
    from fractions import Fraction

    found = Fraction(value).limit_denominator(100)
    return f"{found.numerator}:{found.denominator}"
