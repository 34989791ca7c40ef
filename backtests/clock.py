"""The sessions of a run, which of them decide, and what the market showed on each.

A session is a date on which at least one venue has a price. A decision at session t is
made after the last venue's close of that date and fills later, at each asset's own
next close: an asset whose venue is shut waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from engine._base import Value
from engine.data.panel import _ENDED_AFTER, PricePanel, parse_time
from engine.data.portfolio import CASH_PREFIX, cash_label
from engine.errors import DataError
from strategies.schedules import is_decision

DAYS_PER_YEAR = 365.0
"""Cash interest is simple, actual/365 fixed, at the rate known at the last session."""

_MEAN_YEAR = 365.2425


def _day(value: Any, default: np.datetime64) -> np.datetime64:
    if value is None:
        return default
    return parse_time(value)[0].astype("datetime64[D]")


def sessions_per_year(dates: np.ndarray) -> float:
    """Sessions per calendar year, counted on the dates themselves; NaN for one date."""
    if dates.size < 2:
        return float("nan")
    days = (dates[-1] - dates[0]) / np.timedelta64(1, "D")
    return float((dates.size - 1) * _MEAN_YEAR / days)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline(Value):
    """Sessions of a run.

    Attributes
    ----------
    rows : (T,) int64
        Row of the panel of each session.
    dates : (T,) datetime64[D]
    decides : (T,) bool
        The first session always decides, so that the book is invested.
    days : (T,) float64
        Calendar days since the session before; zero at the first.
    periods_per_year : float
        Counted from the panel's first session to the end of the run.
    """

    rows: np.ndarray
    dates: np.ndarray
    decides: np.ndarray
    days: np.ndarray
    periods_per_year: float


def timeline(
    panel: PricePanel, start: Any, end: Any, schedule: str | Iterable[Any]
) -> Timeline:
    """Lay out the sessions from ``start`` to ``end``, both inclusive.

    Raises
    ------
    DataError
        The range leaves the panel, holds no session, or a listed date is not in it.
    """
    first, last = panel.dates[0], panel.dates[-1]
    lo, hi = _day(start, first), _day(end, last)
    for name, day in (("start", lo), ("end", hi)):
        if not first <= day <= last:
            raise DataError(
                f"the backtest's {name} lies outside the prices",
                date=day,
                expected=f"{first} to {last}",
                fix=f"Choose a {name} in that range, or load more prices.",
            )
    if lo > hi:
        raise DataError("start is after end", received=f"{lo} to {hi}")
    alive = np.flatnonzero(np.isfinite(panel.prices).any(axis=1))
    known = alive[panel.dates[alive] <= hi]
    rows = known[panel.dates[known] >= lo]
    if not rows.size:
        raise DataError("no session in the range asked for", received=f"{lo} to {hi}")
    if isinstance(schedule, str):
        decides = is_decision(panel.dates[known], schedule)[known.size - rows.size :]
    else:
        decides = is_decision(panel.dates[rows], schedule)
    decides = decides.copy()
    decides[0] = True
    dates = panel.dates[rows]
    days = np.zeros(rows.size)
    days[1:] = np.diff(dates) / np.timedelta64(1, "D")
    return Timeline(
        rows=rows,
        dates=dates,
        decides=decides,
        days=days,
        periods_per_year=sessions_per_year(panel.dates[known]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Market(Value):
    """Prices and rates on the sessions of a run, foreign cash as further columns.

    Attributes
    ----------
    labels : tuple of str, length M
        Tickers of the panel, then ``CASH:XXX`` for each foreign currency.
    n_assets : int
        How many of them are assets.
    close, open : (T, M) float64
        Price in quote currency where the asset traded that session, else NaN; one for
        cash. ``open`` is None without opening prices.
    mark : (T, M) float64
        Last price at or before the session; NaN before the first.
    fx : (T, M) float64
        Base currency for one unit of quote currency.
    rates : (T, M) float64
        Annual cash rate of foreign cash columns; zero for assets.
    base_rate : (T,) float64
    foreign : (M,) bool
        Not quoted in the base currency.
    delisted : (T, M) bool
        As `Status.DELISTED` of the view at that session.
    """

    labels: tuple[str, ...]
    n_assets: int
    close: np.ndarray
    open: np.ndarray | None
    mark: np.ndarray
    fx: np.ndarray
    rates: np.ndarray
    base_rate: np.ndarray
    foreign: np.ndarray
    delisted: np.ndarray


# The last that was laid out for each panel: a sweep runs over the same sessions, and
# neither a panel nor a market ever changes.
_MARKETS: WeakKeyDictionary[PricePanel, tuple[np.ndarray, Market]] = WeakKeyDictionary()


def market(panel: PricePanel, rows: np.ndarray) -> Market:
    """What the panel showed on ``rows``; nothing here looks past a row.

    Raises
    ------
    DataError
        A ticker of the panel is named like cash.
    """
    known = _MARKETS.get(panel)
    if known is None or not np.array_equal(known[0], rows):
        known = _MARKETS[panel] = (rows.copy(), _market(panel, rows))
    return known[1]


def _market(panel: PricePanel, rows: np.ndarray) -> Market:
    for ticker in panel.tickers:
        if ticker.startswith(CASH_PREFIX):
            raise DataError(
                "a cash label is used as a ticker",
                asset=ticker,
                fix="Leave it out of the panel; cash is kept by the ledger.",
            )
    end = int(rows[-1]) + 1
    prices = panel.prices[:end]
    N, C, T = prices.shape[1], len(panel.fx_currencies), rows.size
    valid = np.isfinite(prices)
    ones = np.ones((T, C))
    close = np.hstack([prices[rows], ones])
    mark = close
    if not valid.all():
        at = np.where(valid, np.arange(end)[:, None], -1)
        np.maximum.accumulate(at, axis=0, out=at)
        last = at[rows]
        seen = np.where(last >= 0, prices[last, np.arange(N)], np.nan)
        mark = np.hstack([seen, ones])
    codes = panel.universe.quote_currency
    labels = (*panel.tickers, *(cash_label(c) for c in panel.fx_currencies))
    currency = (*codes, *panel.fx_currencies)
    fx = np.ones((T, N + C))
    rates = np.zeros((T, N + C))
    for code in panel.fx_currencies:
        fx[:, [i for i, c in enumerate(currency) if c == code]] = panel.fx_rate(code)[
            rows, None
        ]
        rates[:, N + panel.fx_currencies.index(code)] = panel.cash_rate(code)[rows]
    delisted = np.zeros((T, N + C), dtype=bool)
    if mark is not close or panel.actions is not None:
        delisted[:, :N] = _ended(panel, valid)[rows]
    opening = None
    if panel.open is not None:
        opening = np.hstack([panel.open[rows], ones])
    return Market(
        labels=labels,
        n_assets=N,
        close=close,
        open=opening,
        mark=mark,
        fx=fx,
        rates=rates,
        base_rate=panel.cash_rate()[rows],
        foreign=np.array([c != panel.base_currency for c in currency], dtype=bool),
        delisted=delisted,
    )


def _ended(panel: PricePanel, valid: np.ndarray) -> np.ndarray:
    """(T, N) bool: dated by the corporate actions, else by the absence of prices."""
    out = _delisted(valid, panel.universe.venue)
    if panel.actions is not None:
        for ticker, last in panel.actions.last_dates().items():
            if ticker in panel.universe:
                out[panel.dates[: len(out)] > last, panel.index(ticker)] = True
    return out


def _delisted(valid: np.ndarray, venues: tuple[str, ...]) -> np.ndarray:
    """(T, N) bool: what `PricePanel.status` says in the last row of each view.

    One pass over all dates instead of one status table per date: the empty sessions
    of an asset's venue since its last price are a difference of running counts.
    """
    out = np.zeros(valid.shape, dtype=bool)
    for venue in set(venues):
        columns = np.array([v == venue for v in venues])
        block = valid[:, columns]
        count = np.cumsum(block.any(axis=1))[:, None]
        last = np.maximum.accumulate(np.where(block, count, 0), axis=0)
        out[:, columns] = (last > 0) & (count - last > _ENDED_AFTER)
    return out
