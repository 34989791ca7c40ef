"""Returns from a panel, in base currency, without inventing a price on any date.

``frequency="daily"`` uses consecutive dates on which every asset had a price.
``frequency="synchronised"`` is for markets that close at different hours: overlapping
five-session returns, each from the last price known at its two ends, so that a move
that reaches Tokyo one session late falls into the same window as in New York
(methods section 5, option 1).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from engine._typing import Matrix
from engine.data.panel import PricePanel
from engine.data.venues import VENUES
from engine.data.view import MarketView
from engine.errors import DataError, UsageError

Frequency = Literal["daily", "weekly", "synchronised"]
OVERLAP = 5
STALE_AFTER = 10
"""Sessions without a price after which an asset cannot be modelled as of today."""


class Returns(NamedTuple):
    """A table of returns with what it is."""

    values: Matrix
    """(T, N) decimals, base currency, no NaN."""
    dates: np.ndarray
    """(T,) end of each return."""
    kind: str
    """``log`` or ``simple``."""
    sessions: int
    """Sessions per return: 1 daily, 5 weekly and synchronised."""


def panel_of(market: PricePanel | MarketView) -> PricePanel:
    """Return the panel of a view, or the panel itself."""
    return market.panel if isinstance(market, MarketView) else market


def closes_together(panel: PricePanel) -> bool:
    """Whether all venues of the panel close at the same moment."""
    return len({VENUES[v] if v else None for v in panel.universe.venue}) <= 1


def sessions_per_year(dates: np.ndarray) -> float:
    """Sessions per year, counted from the dates themselves."""
    days = int((dates[-1] - dates[0]) / np.timedelta64(1, "D"))
    if days < 1 or dates.size < 2:
        raise DataError("too few dates to count sessions per year", received=dates.size)
    return (dates.size - 1) * 365.25 / days


def compute(
    market: PricePanel | MarketView,
    *,
    frequency: Frequency = "daily",
    kind: Literal["log", "simple"] = "log",
    window: int | None = None,
    extra_prices: Matrix | None = None,
) -> Returns:
    """Compute base-currency returns.

    Parameters
    ----------
    market : PricePanel or MarketView
    frequency : {"daily", "weekly", "synchronised"}
        ``weekly``: non-overlapping five-session returns counted back from the last
        date; ``synchronised``: overlapping five-session returns.
    kind : {"log", "simple"}
    window : int, optional
        Use only the last ``window`` returns (sessions for ``synchronised``).
    extra_prices : (T, M) float64, optional
        More price columns, such as exchange rates of foreign cash.

    Raises
    ------
    DataError
        Too short a history: names the asset, its first price and what was needed.
    """
    if frequency not in ("daily", "weekly", "synchronised"):
        raise UsageError(
            "unknown frequency",
            received=repr(frequency),
            expected="daily, weekly or synchronised",
        )
    if kind not in ("log", "simple"):
        raise UsageError("unknown return kind", received=repr(kind))
    if window is not None and (isinstance(window, bool) or window < 1):
        raise UsageError("window must be at least one return", received=window)
    panel = panel_of(market)
    prices = panel.base_prices()
    if extra_prices is not None:
        prices = np.column_stack([prices, extra_prices])
    _check_recent(panel, prices)
    step = 1 if frequency == "daily" else OVERLAP
    wanted = None if window is None else window * (step if frequency == "weekly" else 1)
    if frequency == "daily":
        complete = np.isfinite(prices).all(axis=1)
        dates, values = panel.dates[complete], prices[complete]
    else:
        started = _start_row(prices)
        if started == panel.dates.size:
            _too_short(panel, prices, (wanted or 2) + step, 0)
        begin = 0 if wanted is None else _all_known(prices, wanted + step)
        started = max(started, begin)
        known = _last_known(prices[begin:])
        dates, values = panel.dates[started:], known[started - begin :]
    need = (wanted or 2) + step
    if values.shape[0] < need:
        _too_short(panel, prices, need, values.shape[0])
    if wanted is not None:
        dates, values = dates[-need:], values[-need:]
    logs = np.log(values)
    if frequency == "weekly":
        first = (logs.shape[0] - 1) % step
        logs, dates = logs[first::step], dates[first::step]
        change = np.diff(logs, axis=0)
        ends = dates[1:]
    else:
        change = logs[step:] - logs[:-step]
        ends = dates[step:]
    return Returns(change if kind == "log" else np.expm1(change), ends, kind, step)


def _last_known(prices: Matrix) -> Matrix:
    """Last price at or before each row: what the position was worth, not a trade."""
    rows = np.where(np.isfinite(prices), np.arange(prices.shape[0])[:, None], 0)
    rows = np.maximum.accumulate(rows, axis=0)
    return prices[rows, np.arange(prices.shape[1])]


def _all_known(prices: Matrix, need: int) -> int:
    """Last row with every price that leaves ``need`` rows; 0 if there is none."""
    whole = np.isfinite(prices[: max(0, len(prices) - need + 1)]).all(axis=1)
    return int(np.flatnonzero(whole)[-1]) if whole.any() else 0


def _check_recent(panel: PricePanel, prices: Matrix) -> None:
    """Refuse an asset without a recent price: it would end the window for all."""
    last = len(prices) - 1 - np.argmax(np.isfinite(prices)[::-1], axis=0)
    ever = np.isfinite(prices).any(axis=0)
    stale = ever & (len(prices) - 1 - last > STALE_AFTER)
    if stale.any():
        i = int(np.argmax(stale))
        name = panel.tickers[i] if i < len(panel.tickers) else "an exchange rate"
        raise DataError(
            "no recent price: halted or delisted",
            asset=name,
            date=panel.dates[-1],
            received=f"last price on {panel.dates[last[i]]}",
            fix="Leave the asset out.",
        )


def _start_row(prices: Matrix) -> int:
    """First row on or before which every asset had a price; T if one never had."""
    valid = np.isfinite(prices)
    return int(np.where(valid.any(axis=0), valid.argmax(axis=0), len(valid)).max())


def _too_short(panel: PricePanel, prices: Matrix, need: int, have: int) -> Any:
    counts = np.isfinite(prices[:, : len(panel.tickers)]).sum(axis=0)
    i = int(np.argmin(counts))
    valid = np.flatnonzero(np.isfinite(prices[:, i]))
    first = panel.dates[valid[0]] if valid.size else "never"
    raise DataError(
        "too short a history for the estimation window",
        asset=panel.tickers[i],
        date=panel.dates[-1],
        received=f"{have} complete dates (its first price is on {first})",
        expected=f"at least {need}",
        fix="Leave the asset out, shorten the window, or start later.",
    )
