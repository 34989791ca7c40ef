"""Trade only when it matters: drift bands, no-trade regions, a stress that is too high.

Each wraps a strategy and is asked at every session (``schedule="daily"``); it lets the
inner strategy speak when its condition holds and leaves the book alone otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._typing import Vector
from engine.constraints import StressCap
from engine.data.portfolio import CASH_PREFIX, Portfolio
from engine.data.view import MarketView
from engine.errors import UsageError
from engine.optimize.problem import stress_measure
from engine.proposal import Outcome, Proposal
from engine.shocks import CheapModelShock
from strategies.base import Strategy
from strategies.estimation import estimate_model, scenarios_for


def stand_still(portfolio: Portfolio, note: str) -> Proposal:
    """Proposal that trades nothing, and why."""
    return Proposal(
        labels=portfolio.labels,
        current=portfolio.weights,
        target=portfolio.weights,
        value=portfolio.value,
        outcome=Outcome.NO_TRADE,
        notes=(note,),
    )


def to_edge(current: Vector, target: Vector, width: Vector) -> Vector:
    """Nearest weights inside a band around a target, at the least turnover.

    Parameters
    ----------
    current, target : (N,) float64
        Each summing to the same total, cash included.
    width : (N,) float64
        Half-width of the band; infinite where a weight may drift freely.

    Returns
    -------
    (N,) float64
        What lies outside is brought to the edge and no further; what that frees or
        needs is shared over the others in proportion to their room.

    Notes
    -----
    Any weights in the band need at least ``max(over, under)`` of one-sided trading,
    over and under being the sums outside either edge; this trades exactly that.
    """
    low, high = target - width, target + width
    edge = np.clip(current, low, high)
    missing = float(target.sum() - edge.sum())
    if missing == 0.0:
        return edge
    room = high - edge if missing > 0 else edge - low
    free = ~np.isfinite(room)
    if free.any():
        edge[np.flatnonzero(free)[-1]] += missing
        return edge
    return edge + room * (missing / room.sum())


@dataclass(frozen=True)
class DriftBand:
    """Rebalance to another strategy's target once a weight leaves its band.

    Parameters
    ----------
    strategy : Strategy
        Names the target.
    band : float, default 0.05
        Half-width, in weight; a fraction of the target weight with ``relative``.
    relative : bool, default False
    to : {"edge", "centre"}, default "edge"
        ``edge`` trades the least that brings every weight back into its band, which is
        optimal under proportional costs (Davis and Norman 1990); ``centre`` trades to
        the target itself, for costs per order.
    name : str
    """

    strategy: Strategy
    band: float = 0.05
    relative: bool = False
    to: str = "edge"
    name: str = ""

    estimated_from = ("strategy",)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.band) and self.band > 0):
            raise UsageError("a band is a positive half-width", received=self.band)
        if self.to not in ("edge", "centre"):
            raise UsageError(
                "a band is left to its edge or its centre", received=repr(self.to)
            )
        if not self.name:
            unit = " of the weight" if self.relative else ""
            label = f"{self.strategy.name}, band {self.band:.3g}{unit} to the {self.to}"
            object.__setattr__(self, "name", label)

    def estimate(self, view: MarketView) -> Any:
        """Estimate of the inner strategy."""
        return self.strategy.estimate(view)

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: Any = None
    ) -> Proposal:
        """Trade when a weight is outside its band, or when nothing is invested."""
        wanted = self.strategy.propose(view, portfolio, estimate)
        width = self.band * (wanted.target if self.relative else 1.0)
        width = np.broadcast_to(width, wanted.target.shape).copy()
        cash = np.array([a.startswith(CASH_PREFIX) for a in wanted.labels], dtype=bool)
        # A target of nothing has no relative band: it is sold whatever is left.
        outside = np.abs(wanted.current - wanted.target) > width + 1e-12
        invested = bool((np.abs(wanted.current[~cash]) > 1e-12).any())
        if invested and not outside.any():
            return stand_still(portfolio, "every weight is within its band")
        if not invested or self.to == "centre":
            return wanted
        target = to_edge(wanted.current, wanted.target, width)
        return Proposal.from_weights(
            portfolio,
            dict(zip(wanted.labels, target.tolist(), strict=True)),
            notes=("to the edge of the band", *wanted.notes),
        )


def no_trade_half_width(
    weights: Any, half_spread: float, risk_aversion: float
) -> Vector:
    """Half-width of the no-trade region for small proportional costs.

    ``(3 c / (2 gamma) * (w (1 - w))^2)^(1/3)`` for one risky asset held at ``w`` with
    relative risk aversion gamma and one-way cost c: Shreve and Soner (1994), the
    expansion of Davis and Norman (1990).
    """
    w = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(w).all() and half_spread >= 0 and risk_aversion > 0):
        raise UsageError(
            "a no-trade region needs weights, a cost and a positive risk aversion",
            received=f"cost {half_spread}, risk aversion {risk_aversion}",
        )
    return np.cbrt(1.5 * half_spread / risk_aversion * (w * (1.0 - w)) ** 2)


@dataclass(frozen=True)
class NoTradeRegion:
    """Trade to the boundary of each asset's own no-trade region.

    Parameters
    ----------
    strategy : Strategy
    half_spread_bps : float or mapping by ticker (with ``default``), default 5
    risk_aversion : float, default 3
        Relative; the region is `no_trade_half_width`, asset by asset, which leaves out
        that correlated assets tilt each other's regions.
    name : str
    """

    strategy: Strategy
    half_spread_bps: float | Mapping[str, float] = 5.0
    risk_aversion: float = 3.0
    name: str = ""

    estimated_from = ("strategy",)

    def __post_init__(self) -> None:
        no_trade_half_width(0.5, 0.0, self.risk_aversion)
        if not self.name:
            object.__setattr__(self, "name", f"{self.strategy.name}, no-trade region")

    def estimate(self, view: MarketView) -> Any:
        """Estimate of the inner strategy."""
        return self.strategy.estimate(view)

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: Any = None
    ) -> Proposal:
        """Trade what lies outside its region to the boundary."""
        wanted = self.strategy.propose(view, portfolio, estimate)
        width = np.empty(len(wanted.labels))
        for i, label in enumerate(wanted.labels):
            spread = self.half_spread_bps
            if isinstance(spread, Mapping):
                spread = spread.get(label, spread.get("default", 0.0))
            width[i] = no_trade_half_width(
                np.clip(wanted.target[i], 0.0, 1.0), spread * 1e-4, self.risk_aversion
            )
            if label.startswith(CASH_PREFIX):
                width[i] = np.inf  # cash takes what the others leave
        outside = np.abs(wanted.current - wanted.target) > width + 1e-12
        if not outside.any():
            return stand_still(portfolio, "every weight is within its no-trade region")
        target = to_edge(wanted.current, wanted.target, width)
        return Proposal.from_weights(
            portfolio,
            dict(zip(wanted.labels, target.tolist(), strict=True)),
            notes=("to the boundary of the no-trade region", *wanted.notes),
        )


@dataclass(frozen=True)
class StressTriggered:
    """Let another strategy trade only while the shock loss is above a limit.

    The loss is recomputed as of every session it is asked, with the betas, roles and
    covariance of that day.

    Parameters
    ----------
    strategy : Strategy
        Brings the loss down, such as `ShockAware`.
    limit : float
        Loss, decimals of net asset value, above which it is asked. Give the inner
        strategy a lower one, or the first drift above it trades again.
    shock : CheapModelShock
    quantile : float, default 0.9
        Of severity, as in `engine.constraints.StressCap`.
    window, covariance, funds
        Of the estimate, as for `ShockAware`.
    name : str
    """

    strategy: Strategy
    limit: float
    shock: CheapModelShock = field(default_factory=CheapModelShock)
    quantile: float = 0.9
    window: int = 504
    covariance: str = "ledoit_wolf"
    funds: str = "estimated"
    name: str = ""

    # Whether the inner estimate is this one depends on the inner settings alone.
    estimated_from = ("strategy", "window", "covariance", "funds")

    def __post_init__(self) -> None:
        StressCap(self.shock, self.limit, quantile=self.quantile)
        if not self.name:
            label = (
                f"{self.strategy.name}, when the shock loss exceeds {self.limit:.1%}"
            )
            object.__setattr__(self, "name", label)

    def estimate(self, view: MarketView) -> tuple[Any, Any]:
        """Return the model that measures, and the inner strategy's own estimate."""
        view.roles()
        model = estimate_model(
            view,
            getattr(self.strategy, "tickers", None),
            window=self.window,
            covariance=self.covariance,
            funds=self.funds,
        )
        same = (
            getattr(self.strategy, "window", None) == self.window
            and getattr(self.strategy, "covariance", None) == self.covariance
            and getattr(self.strategy, "funds", None) == self.funds
        )
        return model, model if same else self.strategy.estimate(view)

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: Any = None
    ) -> Proposal:
        """Measure the book; stand still below the limit."""
        model, inner = self.estimate(view) if estimate is None else estimate
        invested = any(
            money and not label.startswith(CASH_PREFIX)
            for label, money in zip(portfolio.assets, portfolio.money, strict=True)
        )
        if invested:
            scenarios = scenarios_for(model, portfolio)
            cap = StressCap(self.shock, self.limit, quantile=self.quantile)
            measure = stress_measure(cap, scenarios, cap.moves(scenarios))
            loss = measure.value(scenarios.align(portfolio))
            if loss <= self.limit:
                return stand_still(
                    portfolio, f"shock loss {loss:.2%}, limit {self.limit:.2%}"
                )
        return self.strategy.propose(view, portfolio, inner)
