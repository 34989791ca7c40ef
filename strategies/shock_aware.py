"""Follow a book, but never hold more of a shock than the limit allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.constraints import Constraints, GroupLimit, StressCap
from engine.costs import Costs
from engine.data.portfolio import Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError
from engine.linear_limits import LinearLimit
from engine.model import ReturnModel
from engine.optimize._propose import propose
from engine.optimize.problem import stress_measure
from engine.proposal import Proposal
from engine.shocks import CheapModelShock
from strategies.estimation import (
    estimate_model,
    member_bounds,
    members_only,
    scenarios_for,
)


def book_at(book: Mapping[str, float], tickers: tuple[str, ...]) -> dict[str, float]:
    """Return the book over the assets that can be held now, in proportion.

    A name that is not listed yet cannot be held; its share goes to the others, and
    the day it becomes eligible it takes its place. What the book leaves to cash stays
    cash: the weights returned sum to the same total.
    """
    present = {k: v for k, v in book.items() if k in set(tickers)}
    total = sum(present.values())
    scale = sum(book.values()) / total if total > 0 else 0.0
    return {k: v * scale for k, v in present.items()}


def cash_of(book: Mapping[str, float]) -> float:
    """Return what a book of risky weights leaves to cash; an over-full one is wrong."""
    rest = 1.0 - float(sum(book.values()))
    if rest < -1e-6:
        raise DataError(
            "the book's weights exceed one",
            received=f"{1.0 - rest:.6f}",
            expected="at most 1; the rest is cash",
        )
    return max(0.0, rest)


@dataclass(frozen=True)
class ShockAware:
    """Least cost and active risk against a book, subject to a stress-loss cap.

    The stress is recomputed as of every date: moves by role, AI-basket betas and
    covariance are those of the view.

    Parameters
    ----------
    book : mapping
        Weights of the concentrated book that is followed, the benchmark; what they
        leave below one is cash.
    limit : float, default 0.08
        Cap on the 90th percentile of the loss under the shock, worst lens, gains not
        counted (`engine.constraints.StressCap`).
    shock : CheapModelShock
    tickers : tuple of str, optional
        Assets that may be held; all by default.
    upper : float or mapping, default 0.10
        Bound on one weight, so that the proceeds spread; a mapping has ``default`` and
        may name assets that are not in the panel yet.
    groups : tuple of GroupLimit
    limits : tuple of LinearLimit or str
        More limits, as `engine.Constraints` takes them.
    es_cap : float, optional
        Cap on the 95% expected shortfall over 21 sessions; needs ``n_scenarios``.
    n_scenarios, seed : int
        For the expected shortfall.
    covariance : str, default "ledoit_wolf"
        Estimator, as in `engine.fit`.
    funds : {"estimated", "bands"}, default "estimated"
        Treatment of funds without a document, as in `engine.fit`: estimated anew as of
        every date.
    """

    book: Mapping[str, float]
    limit: float = 0.08
    shock: CheapModelShock = field(default_factory=CheapModelShock)
    tickers: tuple[str, ...] | None = None
    upper: float | Mapping[str, float] = 0.10
    groups: tuple[GroupLimit, ...] = ()
    es_cap: float | None = None
    window: int = 504
    covariance: str = "ledoit_wolf"
    n_scenarios: int = 5000
    seed: int = 0
    costs: Costs = field(default_factory=Costs)
    funds: str = "estimated"
    name: str = "shock-aware"
    limits: tuple[LinearLimit | str, ...] = ()

    def estimate(self, view: MarketView) -> ReturnModel:
        """Fit on what was tradable; refuses undated roles without hindsight."""
        view.roles()
        return estimate_model(
            view,
            self.tickers,
            window=self.window,
            covariance=self.covariance,
            funds=self.funds,
        )

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Propose the book within the cap."""
        model = self.estimate(view) if estimate is None else estimate
        draws = self.n_scenarios if self.es_cap is not None else 64
        scenarios = scenarios_for(model, portfolio, n_scenarios=draws, seed=self.seed)
        upper = self.upper
        if isinstance(upper, Mapping):
            known = {"default", *model.assets}
            upper = {k: v for k, v in upper.items() if k in known}
        cash = cash_of(self.book)
        followed = book_at(self.book, members_only(view, model.assets))
        followed[cash_label(portfolio.base_currency)] = 1.0 - sum(followed.values())
        return propose(
            portfolio,
            scenarios,
            Constraints(
                upper=member_bounds(view, model.assets, upper),
                cash=(0.0, cash + 0.01),
                stress_caps=(StressCap(self.shock, self.limit),),
                groups=self.groups,
                limits=self.limits,
                es_cap=self.es_cap,
            ),
            self.costs,
            benchmark=followed,
            market=view,
        )


@dataclass(frozen=True)
class HoldWithCash:
    """The foil: the same book scaled down into cash until its shock loss is the same.

    Parameters
    ----------
    book, limit, shock, window, covariance, funds
        As for `ShockAware`; the loss is measured by the same function.
    """

    book: Mapping[str, float]
    limit: float = 0.08
    shock: CheapModelShock = field(default_factory=CheapModelShock)
    tickers: tuple[str, ...] | None = None
    window: int = 504
    covariance: str = "ledoit_wolf"
    funds: str = "estimated"
    name: str = "hold + cash"

    def estimate(self, view: MarketView) -> ReturnModel:
        """Fit on the same assets, so that betas and roles are the same."""
        view.roles()
        return estimate_model(
            view,
            self.tickers,
            window=self.window,
            covariance=self.covariance,
            funds=self.funds,
        )

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Keep the held proportions; move between them and cash to meet the limit."""
        model = self.estimate(view) if estimate is None else estimate
        scenarios = scenarios_for(model, portfolio)
        held: dict[str, Any] = {
            a: m
            for a, m in zip(portfolio.assets, portfolio.money, strict=True)
            if m > 0
        }
        start = held or book_at(self.book, members_only(view, model.assets))
        total = sum(start.values())
        if not total > 0:
            raise DataError("none of the book's assets can be held yet", date=view.date)
        risky = {a: m / total for a, m in start.items()}
        cap = StressCap(self.shock, self.limit)
        measure = stress_measure(cap, scenarios, cap.moves(scenarios))
        loss = measure.value(scenarios.align(risky))
        most = 1.0 - cash_of(self.book)
        share = min(most, max(0.0, self.limit / loss)) if loss > 0 else most
        target = {a: share * w for a, w in risky.items()}
        cash = cash_label(portfolio.base_currency)
        target[cash] = 1.0 - float(np.sum(list(target.values())))
        return Proposal.from_weights(
            portfolio,
            target,
            notes=(f"shock loss {loss:.2%} of the risky part, {share:.1%} held",),
        )
