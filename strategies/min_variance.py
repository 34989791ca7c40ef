"""Minimum variance of what is tradable, net of costs, within bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.constraints import Constraints
from engine.costs import Costs
from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.model import ReturnModel
from engine.optimize._propose import propose
from engine.proposal import Proposal
from strategies.estimation import estimate_model, member_bounds, scenarios_for


@dataclass(frozen=True)
class MinimumVariance:
    """Hold the long-only book of least variance (Markowitz 1952), cost considered.

    Parameters
    ----------
    tickers : tuple of str, optional
        Assets allowed; all that are tradable by default.
    upper : float, default 0.10
        Bound on one weight: an unbounded minimum-variance book is a bond fund.
    window : int, default 504
        Sessions for the covariance; assets with fewer are not bought.
    covariance : str, default "ledoit_wolf"
    costs : Costs
    aversion : float, default 50
        Variance a year against cost: at 50, lowering volatility from 12% to 11% is
        worth up to 11.5% of trading cost, so costs only break ties.
    name : str
    """

    tickers: tuple[str, ...] | None = None
    upper: float = 0.10
    window: int = 504
    covariance: str = "ledoit_wolf"
    costs: Costs = field(default_factory=Costs)
    aversion: float = 50.0
    name: str = "minimum variance"

    estimated_from = ("tickers", "window", "covariance")

    def estimate(self, view: MarketView) -> ReturnModel:
        """Fit the covariance on what was tradable; it has no shock to look through."""
        return estimate_model(
            view,
            self.tickers,
            window=self.window,
            covariance=self.covariance,
            funds="bands",
        )

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Propose the least-variance book; cash at most one per cent."""
        model = self.estimate(view) if estimate is None else estimate
        return propose(
            portfolio,
            scenarios_for(model, portfolio),
            Constraints(
                upper=member_bounds(view, model.assets, self.upper), cash=(0.0, 0.01)
            ),
            self.costs,
            objective="minimum_variance",
            active_risk_aversion=self.aversion,
            market=view,
        )
