"""Follow a book, but never hold more of a shock than the limit allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine._stress import check_undated
from engine.constraints import Constraints, GroupLimit, StressCap
from engine.costs import Costs
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError
from engine.linear_limits import LinearLimit
from engine.model import ReturnModel
from engine.optimize._multi_period import PlanAhead
from engine.optimize._propose import propose
from engine.proposal import Proposal
from engine.shocks import CheapModelShock
from engine.shocks._kinds_lazy import parts_of, resolved
from strategies.books import Book, weights_at
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


def turnover_budget(portfolio: Portfolio, turnover: float | None) -> float | None:
    """Return the budget, or None for a book that is not invested yet."""
    invested = any(
        money and not label.startswith(CASH_PREFIX)
        for label, money in zip(portfolio.assets, portfolio.money, strict=True)
    )
    return turnover if invested else None


def caps_of(
    shock: Any,
    limit: float,
    limits: Mapping[str, float],
    view: MarketView,
    model: ReturnModel,
    followed: Mapping[str, float],
) -> tuple[StressCap, ...]:
    """One cap per shock, found on the prices of the view and for the book followed.

    Raises
    ------
    LookAheadError
        A view without a date, and hindsight is not admitted.
    """
    shocks = shock if isinstance(shock, (tuple, list)) else (shock,)
    cash = cash_label(model.base_currency)
    weights = {**followed, cash: 1.0 - sum(v for k, v in followed.items() if k != cash)}
    found = [resolved(s, market=view, weights=weights, model=model) for s in shocks]
    check_undated(found, view.date, view.hindsight_parameters)
    return tuple(StressCap(s, limits.get(s.name, limit)) for s in found)


def reweights(shock: Any) -> bool:
    """Whether any of the shocks gives scenarios other probabilities: it needs draws."""
    shocks = shock if isinstance(shock, (tuple, list)) else (shock,)
    return any(hasattr(p, "reweight") for s in shocks for p in parts_of(s))


@dataclass(frozen=True)
class ShockAware:
    """Least cost and active risk against a book, subject to a stress-loss cap.

    The stress is recomputed as of every date: moves by role, AI-basket betas and
    covariance are those of the view.

    Parameters
    ----------
    book : mapping or DatedBook
        Weights of the concentrated book that is followed, the benchmark; what they
        leave below one is cash. A rule names them anew at every date.
    limit : float, default 0.08
        Cap on the 90th percentile of the loss under the shock, worst lens, gains not
        counted (`engine.constraints.StressCap`).
    shock : Shock, or sequence of them
        Each is limited. Replays take their own history from the view; a worst case is
        that of the book followed, as of every date. A view without a date is refused
        unless hindsight is admitted.
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
    turnover : float, optional
        Budget a decision; the first purchase from cash is free of it.
    n_scenarios, seed : int
        For the expected shortfall, and for shocks that reweight.
    covariance : str, default "ledoit_wolf"
        Estimator, as in `engine.fit`.
    funds : {"estimated", "bands"}, default "estimated"
        Treatment of funds without a document, as in `engine.fit`: estimated anew as of
        every date.
    own_limits : mapping of shock name to float
        In place of ``limit``, for shocks that have one of their own.
    window : int
        Sessions for estimation.
    costs : Costs
    name : str
    """

    book: Book
    limit: float = 0.08
    shock: Any = field(default_factory=CheapModelShock)
    tickers: tuple[str, ...] | None = None
    upper: float | Mapping[str, float] = 0.10
    groups: tuple[GroupLimit, ...] = ()
    es_cap: float | None = None
    turnover: float | None = None
    window: int = 504
    covariance: str = "ledoit_wolf"
    n_scenarios: int = 5000
    seed: int = 0
    costs: Costs = field(default_factory=Costs)
    funds: str = "estimated"
    own_limits: Mapping[str, float] = field(default_factory=dict)
    name: str = "shock-aware"
    limits: tuple[LinearLimit | str, ...] = ()

    estimated_from = ("tickers", "window", "covariance", "funds")

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
        needed = self.es_cap is not None or reweights(self.shock)
        draws = self.n_scenarios if needed else 64
        scenarios = scenarios_for(model, portfolio, n_scenarios=draws, seed=self.seed)
        upper = self.upper
        if isinstance(upper, Mapping):
            known = {"default", *model.assets}
            upper = {k: v for k, v in upper.items() if k in known}
        book = weights_at(self.book, view)
        cash = cash_of(book)
        followed = book_at(book, members_only(view, model.assets))
        followed[cash_label(portfolio.base_currency)] = 1.0 - sum(followed.values())
        caps = caps_of(self.shock, self.limit, self.own_limits, view, model, followed)
        return propose(
            portfolio,
            scenarios,
            Constraints(
                upper=member_bounds(view, model.assets, upper),
                cash=(0.0, cash + 0.01),
                stress_caps=caps,
                groups=self.groups,
                limits=self.limits,
                es_cap=self.es_cap,
                turnover=turnover_budget(portfolio, self.turnover),
            ),
            self.costs,
            benchmark=followed,
            market=view,
            ahead=self.ahead(view, model),
        )

    def ahead(self, view: MarketView, model: ReturnModel) -> PlanAhead | None:
        """How far to plan; one period here."""
        return None
