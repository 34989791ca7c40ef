"""How much of each asset can be traded: a share of its average daily traded value.

Average over the last sessions the market shows, so only days up to the decision count.
Volume times the price of the same day, in base currency; both must be on one basis (as
traded, or both adjusted for splits).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Vector
from engine.constraints import Constraints
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX
from engine.data.view import MarketView
from engine.errors import DataError
from engine.linear_limits import Labels
from engine.scenarios import ScenarioSet

WINDOW = 21
"""Sessions averaged: a month, short enough to follow a drying market."""


def average_daily_value(
    market: PricePanel | MarketView, *, window: int = WINDOW
) -> Vector:
    """Average value traded a day over the last sessions of a market.

    Parameters
    ----------
    market : PricePanel or MarketView
        With ``volume`` in units. A view shows nothing after its time.
    window : int, default 21
        Sessions of the panel.

    Returns
    -------
    (N,) float64
        Base currency per session on which the asset has a volume; a reported zero
        counts. NaN for an asset with a volume on fewer than half of the sessions.
    """
    panel = market.panel if isinstance(market, MarketView) else market
    if panel.volume is None:
        return np.full(len(panel.tickers), np.nan)
    volume = panel.volume[-window:]
    value = volume * panel.base_prices()[-window:]
    known = np.isfinite(value)
    days = known.sum(axis=0)
    total = np.where(known, value, 0.0).sum(axis=0)
    enough = 2 * days >= min(window, volume.shape[0])
    return np.where(enough & (days > 0), total / np.maximum(days, 1), np.nan)


def trade_caps(
    constraints: Constraints, scenarios: ScenarioSet, market: Any, value: float
) -> tuple[Vector, np.ndarray]:
    """Largest trade of each asset, and which have no volume.

    Parameters
    ----------
    constraints : Constraints
        With ``liquidity`` set.
    scenarios : ScenarioSet
    market : PricePanel or MarketView or None
    value : float
        Net asset value before trading, base currency.

    Returns
    -------
    caps : (N,) float64
        Fractions of net asset value; infinite for cash and where nothing is known.
    without : (N,) bool
        Nothing is known of how much trades: not to be bought.

    Raises
    ------
    DataError
        Neither the market nor ``daily_value`` says anything about any asset.
    """
    assets = scenarios.assets
    cash = np.array([a.startswith(CASH_PREFIX) for a in assets])
    daily = np.full(len(assets), np.nan)
    if market is not None:
        panel = market.panel if isinstance(market, MarketView) else market
        shown = dict(zip(panel.tickers, average_daily_value(market), strict=True))
        daily = np.array([shown.get(a, np.nan) for a in assets])
    daily = _stated(constraints, scenarios, daily)
    without = ~np.isfinite(daily) & ~cash
    if without.any() and (without | cash).all():
        raise DataError(
            "a liquidity limit without any volume",
            asset=assets[int(np.argmax(without))],
            received="no volume" if market is not None else "no market",
            fix="Pass market= with volumes, or state daily_value in the constraints.",
        )
    limit = float(constraints.liquidity or 0.0)
    caps = np.where(without | cash, np.inf, limit * np.nan_to_num(daily) / value)
    return caps, without


def _stated(constraints: Constraints, scenarios: ScenarioSet, daily: Vector) -> Vector:
    """Put in what the user states: a default, then labels, then tickers."""
    given = constraints.daily_value
    if not given:
        return daily
    out = daily.copy()
    if "default" in given:
        out = np.where(np.isfinite(out), out, given["default"])
    labels = Labels(scenarios.universe)
    found = {k: labels.find(k) for k in given if k != "default"}
    for of_ticker in (False, True):
        for key, (attribute, label) in found.items():
            if (attribute == "ticker") == of_ticker:
                out[labels.share(attribute, label)[0] > 0] = given[key]
    return out
