"""What any de-risking must beat: the same shock loss, reached the simple way.

Each foil keeps the proportions of the book and moves one number, how much of it is
swapped, sold to cash or hedged, until the loss under the shock is within the limit, by
the same measure and the same turnover budget as `strategies.ShockAware`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._stress import check_known
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError, UsageError
from engine.model import ReturnModel
from engine.optimize.problem import stress_measure
from engine.proposal import Proposal
from engine.shocks import CheapModelShock
from strategies.books import Book, DatedBook, weights_at
from strategies.estimation import estimate_model, members_only, scenarios_for
from strategies.shock_aware import (
    book_at,
    caps_of,
    cash_of,
    reweights,
    turnover_budget,
)

_HALVINGS = 50
Weights = dict[str, float]


@dataclass(frozen=True)
class _Foil:
    """What the foils share: the book, the limit, and how the loss is measured."""

    book: Book
    limit: float = 0.08
    shock: Any = field(default_factory=CheapModelShock)
    tickers: tuple[str, ...] | None = None
    window: int = 504
    covariance: str = "ledoit_wolf"
    funds: str = "estimated"
    turnover: float | None = None
    n_scenarios: int = 5000
    seed: int = 0
    own_limits: Mapping[str, float] = field(default_factory=dict)

    def estimate(self, view: MarketView) -> ReturnModel:
        """Fit on the same assets as the rule, so that betas and roles are the same."""
        view.roles()
        return estimate_model(
            view,
            self.tickers,
            window=self.window,
            covariance=self.covariance,
            funds=self.funds,
        )

    def _held(
        self, view: MarketView, portfolio: Portfolio, model: ReturnModel, beside: str
    ) -> Weights:
        """Proportions of the book as held, or as a dated rule names it."""
        tickers = members_only(view, model.assets)
        book = weights_at(self.book, view)
        held = (
            {}
            if isinstance(self.book, DatedBook)
            else {
                a: float(m)
                for a, m in zip(portfolio.assets, portfolio.money, strict=True)
                if m > 0 and not a.startswith(CASH_PREFIX) and a != beside
            }
        )
        start = held or book_at({k: v for k, v in book.items() if k != beside}, tickers)
        total = sum(start.values())
        if not total > 0:
            raise DataError("none of the book's assets can be held yet", date=view.date)
        return {a: m / total for a, m in start.items()}

    def _size(
        self,
        view: MarketView,
        portfolio: Portfolio,
        model: ReturnModel,
        target: Callable[[float], Weights],
        most: float,
        what: str,
    ) -> Proposal:
        """Least amount whose target is within the limit, then the turnover budget."""
        draws = self.n_scenarios if reweights(self.shock) else 64
        scenarios = scenarios_for(model, portfolio, n_scenarios=draws, seed=self.seed)
        followed = book_at(
            weights_at(self.book, view), members_only(view, model.assets)
        )
        caps = caps_of(self.shock, self.limit, self.own_limits, view, model, followed)
        check_known([c.shock for c in caps], scenarios, view.hindsight_parameters)
        measures = [stress_measure(c, scenarios, c.moves(scenarios)) for c in caps]
        cash = cash_label(portfolio.base_currency)

        def whole(amount: float) -> Weights:
            weights = target(amount)
            return {**weights, cash: 1.0 - float(np.sum(list(weights.values())))}

        def losses(amount: float) -> list[float]:
            weights = {k: v for k, v in whole(amount).items() if v}
            aligned = scenarios.align(weights)
            return [m.value(aligned) for m in measures]

        def excess(amount: float) -> float:
            found = zip(losses(amount), caps, strict=True)
            return max(loss - cap.limit for loss, cap in found)

        amount, reached = _smallest(excess, most)
        wanted = whole(amount)
        notes = [
            f"{what} {amount:.1%}, shock loss {loss:.2%}"
            + (f" under {cap.shock.name}" if len(caps) > 1 else "")
            for loss, cap in zip(losses(amount), caps, strict=True)
        ]
        if not reached:
            notes.append(f"the limit of {self.limit:.2%} is out of reach of this foil")
        budget = turnover_budget(portfolio, self.turnover)
        if budget is not None:
            now = dict(zip(portfolio.labels, portfolio.weights.tolist(), strict=True))
            keys = list(dict.fromkeys([*now, *wanted]))
            move = {k: wanted.get(k, 0.0) - now.get(k, 0.0) for k in keys}
            asked = 0.5 * sum(abs(z) for z in move.values())
            if asked > budget:
                part = budget / asked
                wanted = {k: now.get(k, 0.0) + part * move[k] for k in keys}
                notes.append(f"{part:.0%} of the way: the turnover budget")
        return Proposal.from_weights(portfolio, wanted, notes=tuple(notes))


def _smallest(excess: Callable[[float], float], most: float) -> tuple[float, bool]:
    """Smallest amount in [0, most] with nothing above its limit, by bisection.

    Where not even the whole amount reaches it, the amount that exceeds least.
    """
    if excess(0.0) <= 0.0:
        return 0.0, True
    if excess(most) > 0.0:
        grid = np.linspace(0.0, most, 21)
        return float(grid[int(np.argmin([excess(float(a)) for a in grid]))]), False
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if excess(middle) <= 0.0:
            high = middle
        else:
            low = middle
    return high, True


@dataclass(frozen=True)
class HoldWithCash(_Foil):
    """The same book scaled down into cash until its shock loss is the same.

    Parameters
    ----------
    book, limit, shock, tickers, window, covariance, funds, turnover, own_limits
        As for `ShockAware`; the loss is measured by the same function. Of several
        shocks, the one that is furthest above its limit binds.
    n_scenarios, seed, name
        As for `ShockAware`.
    """

    name: str = "hold + cash"

    estimated_from = ("tickers", "window", "covariance", "funds")

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Keep the held proportions; move between them and cash to meet the limit."""
        model = self.estimate(view) if estimate is None else estimate
        risky = self._held(view, portfolio, model, "")
        most = 1.0 - cash_of(weights_at(self.book, view))

        def target(sold: float) -> Weights:
            return {a: (most - sold) * w for a, w in risky.items()}

        return self._size(view, portfolio, model, target, most, "sold to cash")


@dataclass(frozen=True)
class HoldWithSwap(_Foil):
    """Part of the book swapped into one fund, such as RSP or EFA.

    Parameters
    ----------
    book, limit, shock, tickers, window, covariance, funds, turnover
        As for `ShockAware`.
    into : str
        Ticker of the fund; it may lose too, so the limit can be out of reach, which
        the proposal's notes then say.
    n_scenarios, seed, own_limits, name
        As for `ShockAware`.
    """

    into: str = "RSP"
    name: str = ""

    estimated_from = ("tickers", "window", "covariance", "funds")

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"hold + {self.into}")

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Swap the least share of the book that meets the limit."""
        model = self.estimate(view) if estimate is None else estimate
        _known(self.into, model, view)
        risky = self._held(view, portfolio, model, self.into)
        most = 1.0 - cash_of(weights_at(self.book, view))

        def target(swapped: float) -> Weights:
            weights = {a: (most - swapped) * w for a, w in risky.items()}
            weights[self.into] = weights.get(self.into, 0.0) + swapped
            return weights

        return self._size(
            view, portfolio, model, target, most, f"swapped into {self.into}"
        )


@dataclass(frozen=True)
class HoldWithShort(_Foil):
    """The book kept whole, and a fund of the theme sold short against it.

    Parameters
    ----------
    book, limit, shock, tickers, window, covariance, funds, turnover
        As for `ShockAware`.
    short : str, default "SMH"
        Ticker of the fund; borrowing it costs what `engine.costs.Costs` says.
    most : float, default 1
        Largest short position, as a share of net asset value.
    n_scenarios, seed, own_limits, name
        As for `ShockAware`.

    Notes
    -----
    The worst lens of a shock is taken asset by asset, so a short position is credited
    with the worst fall of what it sells: the foil is measured kindly.
    """

    short: str = "SMH"
    most: float = 1.0
    name: str = ""

    estimated_from = ("tickers", "window", "covariance", "funds")

    def __post_init__(self) -> None:
        if not (np.isfinite(self.most) and self.most > 0):
            raise UsageError("most must be positive", received=self.most)
        if not self.name:
            object.__setattr__(self, "name", f"hold + short {self.short}")

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Sell short the least that meets the limit; the proceeds stay in cash."""
        model = self.estimate(view) if estimate is None else estimate
        _known(self.short, model, view)
        risky = self._held(view, portfolio, model, self.short)
        held = 1.0 - cash_of(weights_at(self.book, view))

        def target(sold: float) -> Weights:
            weights = {a: held * w for a, w in risky.items()}
            weights[self.short] = weights.get(self.short, 0.0) - sold
            return weights

        return self._size(
            view, portfolio, model, target, self.most, f"short {self.short}"
        )


def _known(ticker: str, model: ReturnModel, view: MarketView) -> Any:
    if ticker not in model.assets:
        raise DataError(
            "the foil's fund has no full estimation window",
            asset=ticker,
            date=view.date,
            fix="Add it to the prices and to tickers, start later, or shorten window.",
        )
