"""How much money a rule could have run before its own trades ate the return."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backtests.result import BacktestResult
from engine.costs import Costs
from engine.data.panel import PricePanel
from engine.errors import DataError, UsageError

_TRADED = ("filled", "partial", "scaled")


@dataclass(frozen=True)
class Capacity:
    """Largest starting values, base currency.

    Attributes
    ----------
    by_impact : float
        At which impact takes ``share`` of the gross return; zero where there is none
        to take from, infinite where no trade has an impact that grows.
    by_participation : float
        At which the busiest trade reaches ``max_participation`` of a day's volume.
    share, max_participation, impact : float
        As asked for.
    gross_return : float
        Mean return a year before impact, decimals.
    busiest : str
        Ticker and date of the trade that binds ``by_participation``.
    curve : DataFrame
        Per starting value: gross and impact a year, their ratio, net Sharpe ratio,
        largest participation.
    """

    by_impact: float
    by_participation: float
    share: float
    max_participation: float
    impact: float
    gross_return: float
    busiest: str
    curve: Any

    @property
    def value(self) -> float:
        """The smaller of the two."""
        return min(self.by_impact, self.by_participation)


def capacity(
    result: BacktestResult,
    panel: PricePanel,
    *,
    impact: float = 1.0,
    share: float = 0.10,
    max_participation: float = 0.05,
    adv: Mapping[str, float] | None = None,
    flat_impact_bps: Mapping[str, float] | None = None,
    impact_window: int = 60,
    sizes: Any = None,
) -> Capacity:
    """Largest starting value that a backtest's own trades could have carried.

    A trade of value x pays ``impact sigma |x|^(3/2) / sqrt(V)``, so a run k times as
    large pays k^(1/2) times as much of its value (Boyd et al. 2017, section 2.3). Sigma
    and V are those known when each order was decided. To first order: the path of
    weights is that of the run, which took no impact.

    Parameters
    ----------
    result : BacktestResult
        Run without impact and without a cap on participation.
    panel : PricePanel
        With volume, or with ``adv``.
    impact : float, default 1
        Factor of the impact, about one.
    share : float, default 0.10
        Largest part of the gross return that impact may take.
    max_participation : float, default 0.05
        Largest part of a day's volume that one trade may be; five per cent is what
        execution desks take without being seen.
    adv, flat_impact_bps, impact_window
        As for `engine.Costs`: where volume is absent, a flat class cost instead, which
        does not grow with size and takes no part in participation.
    sizes : (K,) float64, optional
        Starting values of the curve; a hundredth to a hundred times the run's, doubled
        each step, by default.

    Returns
    -------
    Capacity

    Raises
    ------
    DataError
        No volume of a traded asset and no flat class cost, or nothing was traded.
    UsageError
        A run that paid impact already, or numbers out of range.
    """
    import pandas as pd

    for name, x in (("share", share), ("max_participation", max_participation)):
        if not 0.0 < x < math.inf:
            raise UsageError(f"{name} must be positive", received=x)
    if not 0.0 < impact < math.inf:
        raise UsageError("impact must be positive", received=impact)
    said = result.provenance.get("settings", {})
    if ", impact=0.0" not in said.get("costs", ", impact=0.0"):
        raise UsageError(
            "the run paid market impact already",
            fix="Run it with costs without impact; capacity adds its own.",
        )
    costs = Costs(
        half_spread_bps=0.0,
        impact=impact,
        adv=adv,
        flat_impact_bps=flat_impact_bps,
        impact_window=impact_window,
    )
    T = result.dates.size
    growing, flat = np.zeros(T), np.zeros(T)
    most, busiest = 0.0, ""
    orders: dict[Any, list[Any]] = {}
    for fill in result.fills:
        if fill.status in _TRADED and fill.value:
            orders.setdefault(fill.decided, []).append(fill)
    if not orders:
        raise DataError("nothing was traded: there is no capacity to speak of")
    for decided, fills in orders.items():
        known = costs.at(panel.as_of(decided))
        tickers = [f.ticker for f in fills]
        size = np.abs([f.value for f in fills])
        k = known.impact_coefficients(tickers)
        taken = size / known.daily_volume(tickers)
        rates = known.rates(tickers)
        rows = np.searchsorted(result.dates, [f.date for f in fills])
        np.add.at(growing, rows, k * size**1.5)
        np.add.at(flat, rows, rates * size)
        top = int(np.argmax(taken))
        if taken[top] > most:
            most = float(taken[top])
            busiest = f"{tickers[top]} on {fills[top].date}"
    before = np.concatenate([[result.initial_value], result.value[:-1]])
    growing, flat = growing[1:] / before[1:], flat[1:] / before[1:]
    gross = result.returns()
    q = result.periods_per_year
    earned = float(gross.mean() * q)
    drag, fixed = float(growing.mean() * q), float(flat.mean() * q)
    room = share * earned - fixed
    if room <= 0.0:
        by_impact = 0.0
    else:
        by_impact = result.initial_value * (room / drag) ** 2 if drag else math.inf
    start = result.initial_value
    by_volume = start * max_participation / most if most else math.inf
    at = start * 2.0 ** np.arange(-7, 8) if sizes is None else np.asarray(sizes, float)
    if at.ndim != 1 or not at.size or not (np.isfinite(at) & (at > 0)).all():
        raise UsageError("sizes are positive starting values", received=sizes)
    rows_of = []
    for value in at:
        lost = growing * math.sqrt(value / start) + flat
        excess = gross - lost - result.cash_return[1:]
        spread = excess.std(ddof=1) if excess.size > 1 else 0.0
        rows_of.append(
            {
                "value": float(value),
                "gross_return": earned,
                "impact": float(lost.mean() * q),
                "impact_share": float(lost.mean() * q / earned)
                if earned > 0
                else math.nan,
                "net_sharpe": float(excess.mean() / spread * math.sqrt(q))
                if spread > 0
                else math.nan,
                "participation": most * float(value) / start,
            }
        )
    return Capacity(
        by_impact=by_impact,
        by_participation=by_volume,
        share=share,
        max_participation=max_participation,
        impact=impact,
        gross_return=earned,
        busiest=busiest,
        curve=pd.DataFrame(rows_of),
    )
