"""What protection costs: the proposal at every limit on the stress loss.

The frontier of loss against cost is convex for a central loss; its slope at a point is
the price of the limit there. Moves, scenarios and models are the same at every point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, html_table
from engine._proposal_words import IDLE, saving, shown
from engine._typing import Vector
from engine.constraints import Constraints
from engine.costs import Costs
from engine.data.portfolio import Portfolio
from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize._known import at_limit, capped, known_caps
from engine.optimize._propose import propose
from engine.proposal import Proposal
from engine.risk import expected_shortfall
from engine.scenarios import ScenarioSet

_EDGE = 1e-3
"""The tightest feasible limit is found to this fraction of the loss today."""


@dataclass(frozen=True, slots=True, eq=False)
class FrontierPoint:
    """The proposal at one limit, or why there is none.

    ``price`` is the dual of the limit, objective saved per unit; NaN where infeasible.
    ``unsolved`` says that no solver got there, which does not prove it infeasible.
    """

    limit: float
    proposal: Proposal | None
    outcome: str
    price: float
    tracking_error: float
    expected_shortfall: float
    unsolved: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ProposalFrontier(Value):
    """Proposals over a grid of limits on one stress loss, loosest first.

    Attributes
    ----------
    shock : str
    loss_before, shortfall_before : float
        Of the book as it is: stress loss, and expected shortfall of the base leg.
    points : tuple of FrontierPoint
    tightest : float
        Lowest feasible limit of the points; NaN where none is.
    """

    shock: str
    loss_before: float
    shortfall_before: float
    points: tuple[FrontierPoint, ...]

    @property
    def feasible(self) -> tuple[FrontierPoint, ...]:
        """Points that have a proposal."""
        return tuple(p for p in self.points if p.proposal is not None)

    @property
    def tightest(self) -> float:
        """Lowest limit that some portfolio meets."""
        return min((p.limit for p in self.feasible), default=math.nan)

    def to_frame(self):
        """Return one row per limit, loosest first.

        Returns
        -------
        pandas.DataFrame
            Columns ``limit``, ``loss`` (after), ``cost_bp``, ``tracking_error`` (a
            year, against the benchmark), ``turnover``, ``expected_shortfall``
            (base leg), ``trades``, ``price_bp`` (objective saved by one more point of
            loss, basis points), ``avoided`` (loss avoided per unit of turnover) and
            ``outcome``: in words, why where infeasible. NaN where there is no proposal.
        """
        import pandas as pd

        rows = []
        for p in self.points:
            got = p.proposal
            if got is None:
                rows.append((p.limit, *(math.nan,) * 8, p.outcome))
                continue
            after = got.stress_after[self.shock]
            rows.append(
                (
                    p.limit,
                    after,
                    got.cost * 1e4,
                    p.tracking_error,
                    got.turnover,
                    p.expected_shortfall,
                    len(got.trades),
                    saving(p.price),
                    (self.loss_before - after) / got.turnover
                    if got.turnover > 0
                    else math.nan,
                    p.outcome,
                )
            )
        columns = [
            "limit",
            "loss",
            "cost_bp",
            "tracking_error",
            "turnover",
            "expected_shortfall",
            "trades",
            "price_bp",
            "avoided",
            "outcome",
        ]
        return pd.DataFrame(rows, columns=columns)

    def to_dict_rows(self) -> list[dict[str, Any]]:
        """Rows of the frame as plain numbers and text."""
        return [
            {str(k): v for k, v in r.items()}
            for r in self.to_frame().to_dict("records")
        ]

    def sentences(self) -> tuple[str, ...]:
        """Where protection is cheap, where it becomes dear, and where it ends."""
        out = []
        # Where other limits alone cause the trades, this one has no price yet.
        traded = [p for p in self.feasible if p.price > IDLE]
        if traded:
            for p, word in ((traded[0], "first"), (traded[-1], "last")):
                assert p.proposal is not None
                avoided = self.loss_before - p.proposal.stress_after[self.shock]
                out.append(
                    f"The {word} step, to a loss of {p.limit:.2%}: "
                    f"{p.proposal.turnover:.1%} turnover and "
                    f"{p.proposal.cost * 1e4:.1f} bp avoid {avoided:.2%}; one more "
                    f"point there is worth {shown(saving(p.price))} bp of the "
                    "objective."
                )
        refused = [p for p in self.points if p.proposal is None]
        if refused:
            end = f"{self.tightest:.2%}" if self.feasible else "any limit tried"
            out.append(
                f"Nothing below {end} can be reached: {refused[0].outcome}"
                if self.feasible
                else f"No limit tried can be met: {refused[0].outcome}"
            )
        return tuple(out)

    def __repr__(self) -> str:
        return (
            f"ProposalFrontier({self.shock}: {len(self.feasible)} of "
            f"{len(self.points)} limits feasible, loss {self.loss_before:.2%} down to "
            f"{self.tightest:.2%})"
        )

    def _repr_html_(self) -> str:
        import html

        return f"<p>{html.escape(repr(self))}</p>" + html_table(self.to_frame())


def proposal_frontier(
    portfolio: Portfolio,
    scenarios: ScenarioSet,
    constraints: Constraints,
    costs: Costs,
    *,
    shock: str | None = None,
    limits: Sequence[float] | None = None,
    points: int = 12,
    benchmark: Any = None,
    **options: Any,
) -> ProposalFrontier:
    """Propose at every limit of a grid on one stress loss.

    Parameters
    ----------
    portfolio, scenarios, constraints, costs
        As for `propose`. All limits but the one on the shock hold at every point.
    shock : str, optional
        Name of the capped shock; the only one by default.
    limits : sequence of float, optional
        Losses as decimals. By default ``points`` of them, evenly from the loss today
        down to the tightest that can be met, and the first that cannot.
    points : int, default 12
        Where ``limits`` are not given; at least two.
    benchmark
        As for `propose`.
    **options
        Of `propose`: objective, active_risk_aversion, market, hindsight_parameters.

    Returns
    -------
    ProposalFrontier
        Infeasible points keep their reason, and so do points that no solver reached. A
        limit below an infeasible one is not tried: fewer portfolios meet it.

    Raises
    ------
    UsageError
        No capped shock of that name; limits that are no losses.
    """
    known = known_caps(constraints, scenarios)
    cap = capped(known, shock)
    given = None if limits is None else _checked(limits)
    if given is None and not (isinstance(points, int) and points >= 2):
        raise UsageError("a frontier has at least two points", received=points)
    base = scenarios.base()
    current = scenarios.align(portfolio)
    against = current if benchmark is None else scenarios.align(benchmark)
    level = constraints.es_level
    covariance = annual_covariance(scenarios)

    def shortfall(w: Vector) -> float:
        return expected_shortfall(base.losses(w), level=level, p=base.p)

    def at(limit: float) -> FrontierPoint:
        try:
            got = propose(
                portfolio,
                scenarios,
                at_limit(known, cap, limit),
                costs,
                benchmark=benchmark,
                **options,
            )
        except InfeasibleError as error:
            return _without(limit, str(error))
        except SolverError as error:  # one point must not take the others with it
            return _without(limit, str(error), unsolved=True)
        active = got.target - against
        return FrontierPoint(
            limit,
            got,
            got.outcome.value,
            got.prices.get(f"stress:{cap.shock.name}", math.nan),
            math.sqrt(max(0.0, float(active @ covariance @ active))),
            shortfall(got.target),
        )

    from engine.optimize.problem import stress_measure

    measure = stress_measure(cap, scenarios, cap.moves(scenarios))
    before = measure.value(current)
    found = _grid(at, before, points) if given is None else _descend(at, given)
    return ProposalFrontier(cap.shock.name, before, shortfall(current), tuple(found))


def _checked(limits: Sequence[float]) -> list[float]:
    values = [float(x) for x in limits]
    bad = [x for x in values if not (math.isfinite(x) and -1.0 < x <= 1.0)]
    if bad or not values:
        raise UsageError(
            "limits of a frontier are losses as decimals",
            received=bad[0] if bad else "none",
            expected="numbers such as 0.08",
        )
    return sorted(set(values), reverse=True)


def _without(limit: float, reason: str, *, unsolved: bool = False) -> FrontierPoint:
    nan = math.nan
    return FrontierPoint(limit, None, reason, nan, nan, nan, unsolved)


def _descend(at, limits: Sequence[float]) -> list[FrontierPoint]:
    """Points from the loosest limit; below an infeasible one nothing is tried."""
    out: list[FrontierPoint] = []
    for limit in limits:
        refused = [p for p in out if p.proposal is None and not p.unsolved]
        if refused:
            reason = f"tighter than {refused[0].limit:.2%}, which cannot be met"
            out.append(_without(limit, reason))
        else:
            out.append(at(limit))
    return out


def _grid(at, before: float, points: int) -> list[FrontierPoint]:
    """Even steps from the loss today to the tightest limit, found by bisection."""
    loosest = max(before, 0.0)

    def steps(end: float) -> list[float]:
        return np.linspace(loosest, end, points)[:-1].tolist()

    lowest = at(0.0)
    if lowest.proposal is not None or loosest <= 0.0:
        return [*_descend(at, steps(0.0)), lowest]
    good, refused = at(loosest), lowest
    if good.proposal is None:  # another limit cannot be met, whatever this one
        return [good]
    while good.limit - refused.limit > _EDGE * loosest:
        middle = at(0.5 * (good.limit + refused.limit))
        if middle.proposal is None:
            refused = middle
        else:
            good = middle
    return [*_descend(at, steps(good.limit)), good, refused]


def annual_covariance(scenarios: ScenarioSet) -> np.ndarray:
    """(N, N) covariance a year of the scenario assets; cash rows zero."""
    model, n = scenarios.model, len(scenarios.assets)
    if model is not None:
        C = np.zeros((n, n))
        rows = [scenarios.assets.index(a) for a in model.assets]
        C[np.ix_(rows, rows)] = model.dense_covariance() * model.periods_per_year
        return C
    centred = scenarios.returns - scenarios.p @ scenarios.returns
    C = (centred * scenarios.p[:, None]).T @ centred
    return C * scenarios.periods_per_year / scenarios.horizon
