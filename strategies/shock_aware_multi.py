"""The shock-aware rule with a plan: several rebalances weighed, the first executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.data.view import MarketView
from engine.errors import DataError
from engine.model import ReturnModel
from engine.optimize._multi_period import PlanAhead
from strategies.shock_aware import ShockAware

Forecast = Callable[[MarketView], Mapping[str, float]]
"""Expected simple return over cash until the next rebalance, from what a view shows."""


@dataclass(frozen=True)
class ShockAwareMultiPeriod(ShockAware):
    """Shock-aware with a horizon of several rebalances (Boyd et al. 2017, chapter 5).

    The stress cap, bounds and groups hold at every planned step; only the first trade
    is executed, and the next date plans anew. Planning matters where something makes
    waiting worth its while: a forecast that fades, or market impact (``costs``), which
    one large trade pays more of than several small ones.

    Parameters
    ----------
    steps : int, default 5
        Rebalances planned.
    forecast : callable, optional
        From a view to expected simple returns over cash by asset; assets it leaves out,
        and all without it, are expected to earn cash (no trailing mean is taken for a
        forecast, methods 4b). A function of a module, so that it can travel to workers.
    decay : float, default 0.5
        What is left of the forecast at the next rebalance; a half, because signals
        slower than that hardly differ from a single period.
    discount : float, default 0
    book, limit, shock, tickers, upper, groups, limits, es_cap, turnover, window
        As for `ShockAware`.
    n_scenarios, seed, covariance, funds, costs, own_limits, name
        As for `ShockAware`.
    """

    steps: int = 5
    forecast: Forecast | None = None
    decay: float = 0.5
    discount: float = 0.0
    name: str = "shock-aware, planned"

    estimated_from = ("tickers", "window", "covariance", "funds")

    def ahead(self, view: MarketView, model: ReturnModel) -> PlanAhead:
        """Plan with the forecast of the assets of the model."""
        given = {} if self.forecast is None else dict(self.forecast(view))
        unknown = [a for a in given if a not in view.panel.universe]
        if unknown:
            raise DataError(
                "a forecast is for an asset that the prices do not have",
                asset=unknown[0],
                date=view.date,
            )
        held = set(model.assets)  # others have too short a history to be bought
        return PlanAhead(
            steps=self.steps,
            alpha={a: float(v) for a, v in given.items() if a in held},
            decay=self.decay,
            discount=self.discount,
        )
