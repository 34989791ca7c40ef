"""Minimum expected shortfall of what is tradable, on rolling historical scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from engine._typing import Vector
from engine.costs import Costs
from engine.data.portfolio import CASH_PREFIX, Portfolio
from engine.data.view import MarketView
from engine.errors import DataError, UsageError
from engine.optimize import ShortfallProblem, minimum_shortfall
from engine.proposal import Outcome, Proposal
from engine.returns import closes_together, compute, sessions_per_year
from engine.scenarios import ScenarioSet
from strategies.estimation import eligible, member_bounds

_ROUNDING = 1e-12
_DUST = 1e-8
"""Weights that differ by less are the same: what a solver's tolerance leaves."""


@dataclass(frozen=True)
class MinimumShortfall:
    """Hold the long-only book of least expected shortfall, cost considered.

    Rockafellar and Uryasev (2000), on the last ``window`` returns as equally likely
    scenarios: daily ones where all venues close together, else overlapping ones of
    five sessions, so that a move that reaches Tokyo a session late is not taken for
    diversification.

    Parameters
    ----------
    tickers : tuple of str, optional
        Assets allowed; all that are tradable by default.
    upper : float, default 0.10
        Bound on one weight: an unbounded minimum is a bond fund.
    window : int, default 504
        Sessions of scenarios; assets with fewer are not bought. At a level of 95% two
        years leave 25 scenarios in the tail.
    level : float, default 0.95
    mean : {"zero_excess", "sample"}, default "zero_excess"
        Centre the scenarios of each asset at the cash rate, or leave their trailing
        mean in (methods 4b: it flatters names that rose; stamped on the proposal).
    costs : Costs
    aversion : float, default 5
        Expected shortfall of one scenario period against trading cost: about the root
        of the 21 sessions between monthly decisions, over which shortfall grows while
        a cost is paid once.
    name : str
    """

    tickers: tuple[str, ...] | None = None
    upper: float = 0.10
    window: int = 504
    level: float = 0.95
    mean: Literal["zero_excess", "sample"] = "zero_excess"
    costs: Costs = field(default_factory=Costs)
    aversion: float = 5.0
    name: str = "minimum expected shortfall"

    estimated_from = ("tickers", "window", "mean")

    def __post_init__(self) -> None:
        if self.tickers is not None:
            object.__setattr__(self, "tickers", tuple(self.tickers))
        if self.mean not in ("zero_excess", "sample"):
            raise UsageError(
                "unknown mean",
                received=repr(self.mean),
                expected="zero_excess or sample",
            )

    def estimate(self, view: MarketView) -> ScenarioSet:
        """Historical scenarios of what was tradable."""
        names = eligible(view, self.tickers, window=self.window)
        panel = view.panel.select(names).adjusted()
        frequency = "daily" if closes_together(panel) else "synchronised"
        made = compute(panel, frequency=frequency, kind="simple", window=self.window)
        R, notes = made.values, ("SAMPLE MEAN: trailing returns are taken as expected",)
        per_year = sessions_per_year(panel.dates) / made.sessions
        if self.mean == "zero_excess":
            cash = float(panel.cash_rate()[-1]) / per_year
            R, notes = R - R.mean(axis=0) + cash, ()
        universe = panel.universe.known_at(
            view.time, hindsight=view.hindsight_parameters
        )
        return ScenarioSet(
            assets=panel.tickers,
            returns=R,
            p=np.full(R.shape[0], 1.0 / R.shape[0]),
            horizon=made.sessions,
            universe=universe,
            base_currency=panel.base_currency,
            periods_per_year=per_year,
            notes=notes,
            synthetic=panel.synthetic,
        )

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ScenarioSet | None = None,
    ) -> Proposal:
        """Propose the book of least expected shortfall, nothing in cash.

        Raises
        ------
        DataError
            A holding without a full window of scenarios.
        InfeasibleError
            The upper bounds leave no fully invested book.
        SolverError
            No solver gave an acceptable answer.
        """
        scenarios = self.estimate(view) if estimate is None else estimate
        assets = scenarios.assets
        current = _held(portfolio, assets, view)
        upper = _upper(member_bounds(view, assets, self.upper), assets)
        quote = np.array(scenarios.universe.quote_currency, dtype=object)
        rates = self.costs.rates(assets, foreign=quote != scenarios.base_currency)
        problem = ShortfallProblem(
            scenarios.returns,
            level=self.level,
            shortfall_weight=self.aversion,
            upper=upper,
            current=current,
            buy=rates,
            sell=rates,
        )
        invested = float(current.sum())
        found = minimum_shortfall(
            problem, start=current / invested if invested > 0.5 else None
        )
        w = _without_dust(found.weights, current)
        made = Proposal.from_weights(
            portfolio,
            {k: float(x) for k, x in zip(assets, w, strict=True) if x},
            notes=(
                f"expected shortfall {found.expected_shortfall:.2%} at level "
                f"{self.level:g} over {scenarios.horizon} sessions",
                *scenarios.notes,
            ),
        )
        return replace(
            made,
            trades=tuple(
                replace(t, reason="lowers expected shortfall") for t in made.trades
            ),
            cost=problem.trade_cost(w),
            outcome=Outcome.OPTIMAL,
            objective=self.name,
            solve_path=found.notes,
        )


def _held(portfolio: Portfolio, assets: tuple[str, ...], view: MarketView) -> Vector:
    """(N,) current weights; a holding without scenarios is an error."""
    held = dict(zip(portfolio.labels, portfolio.weights, strict=True))
    for asset, weight in held.items():
        if weight and not asset.startswith(CASH_PREFIX) and asset not in set(assets):
            raise DataError(
                "a holding has too short a history for the scenario window",
                asset=asset,
                date=view.date,
                fix="Shorten the window, or leave the asset out of the book.",
            )
    return np.array([held.get(a, 0.0) for a in assets])


def _upper(bound: float | Mapping[str, float], assets: tuple[str, ...]) -> Vector:
    if isinstance(bound, Mapping):
        return np.array([bound.get(a, bound["default"]) for a in assets])
    return np.full(len(assets), float(bound))


def _without_dust(w: Vector, current: Vector) -> Vector:
    """Weights without trades too small to mean anything; the largest takes the rest."""
    kept = np.where(np.abs(w - current) < _DUST, current, w)
    kept = np.where(np.abs(kept) < _DUST, 0.0, kept)
    rest = w.sum() - kept.sum()
    if abs(rest) > _ROUNDING:
        kept[np.argmax(kept)] += rest
    return kept
