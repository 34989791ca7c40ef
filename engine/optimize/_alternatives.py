"""Other proposals almost as good: fewer trades, less turnover, another portfolio.

Every one keeps the objective within a tolerance of its best value and is checked on
the rounded target like any proposal. An objective is flat near its optimum, so that a
committee has a choice; what each choice costs stands beside it.

Fewest trades: deletion with re-solving, from the best proposal and from a sparse start
by re-weighted L1 (Candes, Wakin and Boyd 2008); where the subsets one smaller are few,
all are tried, which proves the number. Most different: the distance is maximised
along its own sign pattern until that stays (a convex function grows at every step).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value, html_table
from engine._typing import Vector
from engine.constraints import Constraints
from engine.costs import Costs
from engine.data.portfolio import CASH_PREFIX, Portfolio
from engine.errors import SolverError, UsageError
from engine.optimize._known import known_caps
from engine.optimize._near import (
    Among,
    Goal,
    Near,
    Recorded,
    towards,
    turnover,
    weighted_trades,
)
from engine.optimize._objectives import bound
from engine.optimize._propose import propose
from engine.optimize.problem import Setup, Solution, optimise
from engine.proposal import Outcome, Proposal
from engine.scenarios import ScenarioSet

KINDS = ("fewest_trades", "least_turnover", "most_different")
_SMALLEST = 1e-6
_TRADED = 1e-7
_SUBSETS = 60
_STARTS = 16
_STEPS = 6
_REWEIGHTED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """A proposal almost as good as the best.

    Attributes
    ----------
    kind : str
    proposal : Proposal
    extra : float
        Objective above its best value, before rounding; fraction of net asset value.
    distance : float
        Half the sum of absolute differences of target weights from the best.
    proved : bool
        Whether no proposal of the kind is better: fewer trades were excluded one by
        one, or the problem is convex.
    """

    kind: str
    proposal: Proposal
    extra: float
    distance: float
    proved: bool


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives(Value):
    """The best proposal and others within a tolerance of its objective.

    Attributes
    ----------
    best : Proposal
    tolerance : float
        Relative to the best objective.
    others : tuple of Alternative
        Empty where nothing needs to be traded.
    """

    best: Proposal
    tolerance: float
    others: tuple[Alternative, ...]

    def __getitem__(self, kind: str) -> Alternative:
        for other in self.others:
            if other.kind == kind:
                return other
        raise UsageError(
            "no such alternative",
            received=repr(kind),
            expected=", ".join(o.kind for o in self.others) or "none was found",
        )

    def to_frame(self):
        """Return one row per proposal, the best first.

        Returns
        -------
        pandas.DataFrame
            Columns ``kind``, ``trades``, ``turnover``, ``cost_bp``, ``extra_bp``
            (objective above its best value), ``distance``, ``proved`` and ``outcome``.
        """
        import pandas as pd

        best = Alternative("best", self.best, 0.0, 0.0, True)
        return pd.DataFrame(
            [
                {
                    "kind": a.kind,
                    "trades": len(a.proposal.trades),
                    "turnover": a.proposal.turnover,
                    "cost_bp": a.proposal.cost * 1e4,
                    "extra_bp": a.extra * 1e4,
                    "distance": a.distance,
                    "proved": a.proved,
                    "outcome": a.proposal.outcome.value,
                }
                for a in (best, *self.others)
            ]
        )

    def sentences(self) -> tuple[str, ...]:
        """What each alternative gives, and what it costs."""
        if not self.others:
            return ("Nothing needs to be traded: there is nothing to choose between.",)
        best, out = self.best, []
        for a in self.others:
            got = a.proposal
            if a.kind == "fewest_trades":
                proof = ", and fewer will not do" if a.proved else ""
                what = f"{len(got.trades)} trades instead of {len(best.trades)}{proof}"
            elif a.kind == "least_turnover":
                what = f"turnover {got.turnover:.2%} instead of {best.turnover:.2%}"
            else:
                what = f"{a.distance:.1%} of the book elsewhere"
            out.append(
                f"{a.kind.replace('_', ' ').capitalize()}: {what}, for "
                f"{a.extra * 1e4:.2f} bp more of {' and '.join(best.objective_parts)}."
                + ("" if _good(got) else f" {got.outcome.value}")
            )
        return tuple(out)

    def __repr__(self) -> str:
        return (
            f"Alternatives(within {self.tolerance:.1%}: "
            + ", ".join(
                f"{a.kind} {len(a.proposal.trades)} trades" for a in self.others
            )
            + ")"
        )

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())


def alternatives(
    portfolio: Portfolio,
    scenarios: ScenarioSet,
    constraints: Constraints,
    costs: Costs,
    *,
    tolerance: float = 0.05,
    kinds: tuple[str, ...] = KINDS,
    seed: int = 0,
    objective: Any = "cost_and_active_risk",
    **options: Any,
) -> Alternatives:
    """Find proposals whose objective is within a tolerance of the best.

    Parameters
    ----------
    portfolio, scenarios, constraints, costs
        As for `propose`.
    tolerance : float, default 0.05
        The objective may be worse by this fraction of its best value: estimates of
        risk are no better known than that.
    kinds : tuple of str
        Any of ``fewest_trades``, ``least_turnover`` and ``most_different``.
    seed : int
        Of the directions from which the most different proposal is sought.
    objective
        As for `propose`.
    **options
        Of `propose`: benchmark, active_risk_aversion, market, hindsight_parameters.

    Returns
    -------
    Alternatives

    Raises
    ------
    InfeasibleError
        From `propose`, where the limits cannot hold together.
    """
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise UsageError(
            "unknown kind of alternative",
            received=repr(unknown[0]),
            expected=", ".join(KINDS),
        )
    if not (math.isfinite(tolerance) and tolerance >= 0.0):
        raise UsageError("tolerance must not be negative", received=tolerance)
    constraints = known_caps(constraints, scenarios)
    name, build = bound(objective, scenarios)
    recorded = Recorded(name, build)

    def run(goal: Any) -> Proposal:
        return propose(
            portfolio, scenarios, constraints, costs, objective=goal, **options
        )

    best = run(recorded)
    setup = recorded.setup
    if setup is None or best.outcome is Outcome.NO_TRADE:
        return Alternatives(best, tolerance, ())
    search = _Search(setup, name, recorded.build, tolerance, constraints.minimum_trade)

    def within(goal: Goal) -> Proposal:
        """Leave less of the tolerance where rounding needs the rest."""
        shares = (1.0, 0.8, 0.5)
        tried = [run(search.near(goal))]
        while not _good(tried[-1]) and len(tried) < len(shares):
            tried.append(run(search.near(goal, shares[len(tried)])))
        return tried[-1] if _good(tried[-1]) else tried[0]

    found = []
    for kind in kinds:
        if kind == "fewest_trades":
            support, proved = search.fewest()
            got = run(Among(name, search.build, search.mask(support)))
        elif kind == "least_turnover":
            proved = all(m.is_es or m.level is None for m in setup.measures)
            got = within(turnover)
        else:
            proved = False
            got = within(towards(search.farthest(seed)))
        found.append(
            Alternative(
                kind,
                got,
                sum(got.objective_parts.values()) - search.value,
                0.5 * float(np.abs(got.target - best.target).sum()),
                proved,
            )
        )
    return Alternatives(best, tolerance, tuple(found))


def _good(proposal: Proposal) -> bool:
    return all(c.satisfied for c in proposal.limits)


class _Search:
    """The problem of a proposal, solved again with other goals."""

    def __init__(
        self, setup: Setup, name: str, build: Any, tolerance: float, smallest: float
    ) -> None:
        self.setup, self.name, self.build = setup, name, build
        self.smallest = max(smallest, _TRADED)
        self.risky = np.array(
            [not a.startswith(CASH_PREFIX) for a in setup.assets], dtype=bool
        )
        self.best = self._solve(build)
        self.value = sum(self.best.parts.values())
        self.ceiling = self.value + max(tolerance * abs(self.value), _SMALLEST * 1e-3)

    def near(self, goal: Goal, share: float = 1.0) -> Near:
        ceiling = self.value + share * (self.ceiling - self.value)
        return Near(self.name, self.build, ceiling, goal)

    def _solve(self, build: Any) -> Solution:
        # Cuts of expected shortfall stay valid; each solve adds to its own copy.
        measures = [replace(m, cuts=list(m.cuts)) for m in self.setup.measures]
        return optimise(replace(self.setup, term=build, measures=measures))

    def _traded(self, solution: Solution) -> Vector:
        return np.abs(solution.holdings - self.setup.current) * self.risky

    def mask(self, support: frozenset[int]) -> np.ndarray:
        allowed = ~self.risky
        allowed[list(support)] = True
        return allowed

    def _enough(self, support: frozenset[int]) -> Solution | None:
        """The solution that trades only the support, where it is good enough."""
        try:
            got = self._solve(Among(self.name, self.build, self.mask(support)))
        except SolverError:
            return None
        if not got.solved.feasible or sum(got.parts.values()) > self.ceiling:
            return None
        return got

    def _thinned(self, start: Solution) -> frozenset[int]:
        """Leave trades out, smallest first, while the rest is good enough."""
        z = self._traded(start)
        support = frozenset(np.flatnonzero(z > self.smallest).tolist())
        kept = self._enough(support)
        if kept is None:
            support = frozenset(np.flatnonzero(z > 0).tolist())
            kept = self._enough(support)
        if kept is None:
            return frozenset(np.flatnonzero(self.risky).tolist())
        needed: set[int] = set()
        while support - needed:
            z = self._traded(kept)
            least = min(support - needed, key=lambda i: (z[i], i))
            got = self._enough(support - {least})
            if got is None:
                needed.add(least)
            else:
                support, kept = support - {least}, got
        return support

    def fewest(self) -> tuple[frozenset[int], bool]:
        """Smallest support found, and whether every smaller one was excluded."""
        starts = [self.best]
        weights = np.where(self.risky, 1.0, 0.0)
        for _ in range(_REWEIGHTED):
            sparse = self._solve(self.near(weighted_trades(weights)))
            if not sparse.solved.feasible:
                break
            starts.append(sparse)
            weights = np.where(self.risky, 1.0 / (self._traded(sparse) + 1e-3), 0.0)
        support = min((self._thinned(s) for s in starts[:1] + starts[-1:]), key=len)
        names = np.flatnonzero(
            self.risky & (self.setup.may_buy | self.setup.may_sell)
        ).tolist()
        while support and math.comb(len(names), len(support) - 1) <= _SUBSETS:
            smaller = next(
                (
                    frozenset(c)
                    for c in itertools.combinations(names, len(support) - 1)
                    if self._enough(frozenset(c)) is not None
                ),
                None,
            )
            if smaller is None:
                return support, True
            support = smaller
        return support, False

    def farthest(self, seed: int) -> Vector:
        """Direction along which the farthest portfolio found lies."""
        rng = np.random.default_rng(seed)
        h = self.best.holdings
        starts = [np.sign(self.setup.current - h)]
        names = np.flatnonzero(self.risky)
        # More and less of single names, of all where they are few.
        for i in rng.permutation(names)[: _STARTS // 2]:
            starts += [np.eye(h.size)[i], -np.eye(h.size)[i]]
        longest, chosen = -1.0, starts[0]
        for direction in starts:
            length, where = self._climb(direction, h)
            if length > longest + 1e-9:
                longest, chosen = length, where
        return chosen

    def _climb(self, direction: Vector, h: Vector) -> tuple[float, Vector]:
        length, kept = -1.0, direction
        for _ in range(_STEPS):
            got = self._solve(self.near(towards(direction)))
            if not got.solved.feasible:
                break
            away = got.holdings - h
            if np.abs(away).sum() <= length + 1e-9:
                break
            length, kept = float(np.abs(away).sum()), direction
            direction = np.sign(away)
        return length, kept
