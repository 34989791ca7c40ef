"""What a backtest held through time, and how much of it moved with the AI theme."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backtests.result import BacktestResult
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX
from engine.data.universe import Universe
from engine.errors import DataError, UsageError
from engine.funds import AI_ROLES

CASH = "cash"
_FUNDS = ("SMH", "SPY")


def exposure(result: BacktestResult, universe: Universe | PricePanel, by: str = "role"):
    """Weights through time by role, country, currency, theme, ...; cash included.

    Parameters
    ----------
    result : BacktestResult
    universe : Universe or PricePanel
    by : str, default "role"
        Attribute of the universe, or ``ticker``.

    Returns
    -------
    DataFrame
        (T, groups) fractions of net asset value at each close; every row sums to one.
        Cash of any currency is ``cash``, or its currency with ``by="currency"``. An
        asset without a label is ``unknown``, never left out.
    """
    import pandas as pd

    known = _labels(universe, by)
    names = []
    for label in result.labels:
        if label.startswith(CASH_PREFIX):
            code = label.removeprefix(CASH_PREFIX)
            names.append(code if by == "currency" else CASH)
        else:
            names.append(known.get(label) or "unknown")
    names.append(result.base_currency if by == "currency" else CASH)
    groups = tuple(dict.fromkeys(names))
    column = np.array([groups.index(n) for n in names])
    held = result.weights() @ (column[:, None] == np.arange(len(groups)))
    index = pd.DatetimeIndex(result.dates.astype("datetime64[ns]"), name="date")
    frame = pd.DataFrame(held, index=index, columns=list(groups))
    order = frame.abs().mean().sort_values(ascending=False, kind="stable").index
    frame = frame[order]
    frame.columns.name = by
    return frame


def ai_weight(result: BacktestResult, universe: Universe | PricePanel) -> np.ndarray:
    """(T,) net weight of assets whose role belongs to the AI theme.

    Parameters
    ----------
    result : BacktestResult
    universe : Universe or PricePanel
        Gives the roles.

    Returns
    -------
    (T,) float64
        Fractions of net asset value; short positions count against long ones.
    """
    roles = _labels(universe, "role")
    inside = np.array([roles.get(a) in AI_ROLES for a in result.labels] + [False])
    return result.weights() @ inside


def effective_names(result: BacktestResult) -> np.ndarray:
    """(T,) effective number of names, ``(sum |w|)^2 / sum w^2`` over assets, not cash.

    The inverse of the Herfindahl index; zero where nothing is held.

    Parameters
    ----------
    result : BacktestResult

    Returns
    -------
    (T,) float64
    """
    risky = [not a.startswith(CASH_PREFIX) for a in result.labels]
    w = np.abs(result.weights()[:, :-1][:, risky])
    square = (w**2).sum(axis=1)
    out = np.zeros(square.size)
    np.divide(w.sum(axis=1) ** 2, square, out=out, where=square > 1e-24)
    return out


def ai_factor(panel: PricePanel, dates: np.ndarray) -> tuple[np.ndarray, str]:
    """Return of the AI theme less that of the rest, and what it was made of.

    SMH less SPY where the panel has both on every date; otherwise the equal-weight
    mean of assets with an AI role less that of the others, over last prices.

    Parameters
    ----------
    panel : PricePanel
    dates : (T,) datetime64[D]
        Sessions of the panel.

    Returns
    -------
    factor : (T - 1,) float64
        Simple returns from date to date, base currency.
    description : str

    Raises
    ------
    DataError
        A date that the panel lacks, or no asset on one of the two sides.
    """
    rows = np.searchsorted(panel.dates, dates)
    if (rows >= panel.dates.size).any() or (panel.dates[rows] != dates).any():
        raise DataError("the panel does not have the dates of the result")
    prices = panel.adjusted().base_prices()[: int(rows[-1]) + 1]
    at = np.where(np.isfinite(prices), np.arange(len(prices))[:, None], -1)
    last = np.maximum.accumulate(at, axis=0)[rows]
    level = np.where(last >= 0, prices[last, np.arange(prices.shape[1])], np.nan)
    R = level[1:] / level[:-1] - 1.0
    if all(t in panel.universe for t in _FUNDS):
        pair = R[:, [panel.index(t) for t in _FUNDS]]
        if np.isfinite(pair).all():
            return pair[:, 0] - pair[:, 1], "SMH less SPY"
    theme = np.array([r in AI_ROLES for r in panel.universe.role])
    there = np.isfinite(R)
    means = []
    for side, name in ((theme, "an AI role"), (~theme, "no AI role")):
        count = (there & side).sum(axis=1)
        if not count.all():
            first = int(np.argmax(count == 0))
            raise DataError(f"no asset with {name} has prices", date=dates[first + 1])
        means.append(np.where(there & side, R, 0.0).sum(axis=1) / count)
    what = f"mean of {int(theme.sum())} assets with an AI role less the other "
    return means[0] - means[1], what + str(int((~theme).sum()))


def rolling_beta(returns: Any, factor: Any, *, window: int = 126) -> np.ndarray:
    """(T,) least-squares slope on a factor over the last ``window`` dates.

    NaN before the window is full, and where the factor did not move in it. Half a year
    by default: long enough for an error near a tenth of a beta at daily returns.

    Parameters
    ----------
    returns, factor : (T,) float64
        Simple returns of the same dates. No NaN.
    window : int, default 126

    Returns
    -------
    (T,) float64

    Raises
    ------
    DataError, UsageError
        Other dates, a non-finite number, or a window below three.
    """
    y, x = (np.asarray(v, dtype=np.float64) for v in (returns, factor))
    if y.ndim != 1 or y.shape != x.shape:
        raise DataError(
            "returns and factor are not of the same dates",
            received=f"shapes {y.shape} and {x.shape}",
        )
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise DataError("returns or factor hold a non-finite number")
    if isinstance(window, bool) or not 3 <= window:
        raise UsageError("a window is three dates or more", received=window)
    out = np.full(y.size, math.nan)
    if y.size < window:
        return out
    over = np.lib.stride_tricks.sliding_window_view
    X, Y = over(x, window), over(y, window)
    centred = X - X.mean(axis=1, keepdims=True)
    spread = (centred**2).sum(axis=1)
    slope = np.full(spread.size, math.nan)
    np.divide((centred * Y).sum(axis=1), spread, out=slope, where=spread > 0)
    out[window - 1 :] = slope
    return out


def _labels(universe: Universe | PricePanel, by: str) -> dict[str, str]:
    universe = universe.universe if isinstance(universe, PricePanel) else universe
    values = universe.labels("tickers" if by == "ticker" else by)
    return dict(zip(universe.tickers, values, strict=True))
