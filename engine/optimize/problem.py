"""The proposal's optimisation problem, one named line per limit.

    minimise    rates'(b + s) + tax's + gamma (w - w_b)' Sigma (w - w_b)
    subject to  w - w_0 = b - s,  b, s >= 0,  1'w = v,  and the limits, each times v,
                v = 1 - rates'(b + s) - tax's                 (what is left after costs)

Expected shortfall and the severity quantile of a stress enter as supporting
hyperplanes, added until the measure itself, recomputed from the weights, is within its
limit: each is a valid inequality, so the last solve is optimal for the full problem.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.constraints import Constraints, StressCap
from engine.optimize._objectives import BUILDERS, Builder, Terms, parts_of
from engine.optimize.solve import Solved, solve
from engine.risk import tail_weights, value_at_risk
from engine.scenarios import ScenarioSet

PERMISSIONS = "no-buy, no-sell and locked"
_LEAST_LEFT = 0.5
"""No real trade costs more of the book than this."""
_CUT_TOLERANCE = 1e-7
_QUANTILE_TOLERANCE = 1e-5
_IDLE = 1e-7
_FOLLOWING = 8
_MOST_CUTS = 100
_WINDOW = 0.025


@dataclass
class Measure:
    """A convex measure bounded by cuts: expected shortfall, or a stress loss."""

    name: str
    bound: float
    returns: Matrix
    """(S, N) outcomes: scenario returns, or severity draws."""
    p: Vector | None
    level: float | None
    """Confidence for ES; the quantile for a stress; None for one certain row."""
    is_es: bool
    cuts: list[Vector] = field(default_factory=list)

    def value(self, w: Vector) -> float:
        """The measure itself, recomputed from the weights."""
        losses = -(self.returns @ w)
        if self.level is None:
            return float(losses[0])
        if self.is_es:
            return float(tail_weights(losses, level=self.level, p=self.p) @ losses)
        return value_at_risk(losses, level=self.level)

    def cut(self, w: Vector) -> Vector:
        """(N,) gradient: loss is at least (ES) or about (quantile) ``g @ w``."""
        losses = -(self.returns @ w)
        if self.level is None:
            return -self.returns[0]
        if self.is_es:
            return -(tail_weights(losses, level=self.level, p=self.p) @ self.returns)
        order = np.argsort(losses, kind="stable")
        position = (np.arange(order.size) + 0.5) / order.size
        near = order[np.abs(position - self.level) <= _WINDOW]
        return -self.returns[near].mean(axis=0)


@dataclass
class Setup:
    """Everything the problem needs, as arrays in the order of the scenario assets."""

    assets: tuple[str, ...]
    current: Vector
    benchmark: Vector
    lower: Vector
    upper: Vector
    may_buy: np.ndarray
    may_sell: np.ndarray
    rates: Vector
    tax: Vector
    risk_root: Matrix
    """(N, K) with annual covariance ``R R'``."""
    groups: list[tuple[str, np.ndarray, float, float]]
    measures: list[Measure]
    turnover: float | None
    tracking_error: float | None
    objective: str
    aversion: float
    term: Builder | None = None
    """What is minimised; by default the builder of the objective's name."""


@dataclass
class Solution:
    """Weights with the duals of the named limits."""

    solved: Solved
    weights: Vector
    """(N,) of net asset value after costs."""
    holdings: Vector
    """(N,) of net asset value before trading; sums to one minus costs."""
    duals: dict[str, float]
    slacks: dict[str, float]
    rounds: int
    parts: dict[str, float] = field(default_factory=dict)
    """Value of each part of the objective."""


def stress_measure(cap: StressCap, scenarios: ScenarioSet, moves: Any) -> Measure:
    """Measure of one stress cap."""
    base = scenarios.leg_mean("base")
    x = cap.draws(moves)
    central = cap.quantile == "central"
    return Measure(
        name=f"stress:{cap.shock.name}",
        bound=cap.limit,
        returns=(1.0 + base) * (1.0 + x) - 1.0,
        p=None,
        level=None if central else float(cap.quantile),
        is_es=False,
    )


def es_measure(constraints: Constraints, scenarios: ScenarioSet) -> Measure:
    """Measure of the expected-shortfall cap on the base leg."""
    base = scenarios.base()
    return Measure(
        name="expected shortfall",
        bound=float(constraints.es_cap or 0.0),
        returns=base.returns,
        p=base.p,
        level=constraints.es_level,
        is_es=True,
    )


def limits_of(setup: Setup) -> list[str]:
    """Names of all limits, in the order in which conflicts are reported."""
    names = [m.name for m in setup.measures]
    if setup.turnover is not None:
        names.append("turnover")
    if setup.tracking_error is not None:
        names.append("tracking error")
    names += [name for name, *_ in setup.groups]
    if not (setup.may_buy.all() and setup.may_sell.all()):
        names.append(PERMISSIONS)
    return [*names, "lower bounds", "upper bounds"]


def optimise(
    setup: Setup,
    *,
    only: set[str] | None = None,
    elastic: bool = False,
    tighten: dict[str, float] | None = None,
) -> Solution:
    """Solve the problem, adding cuts until every measure is within its limit.

    Parameters
    ----------
    setup : Setup
    only : set of str, optional
        Keep only these limits (for finding conflicts).
    elastic : bool
        Give every limit a slack and minimise the slacks instead of the objective.
    tighten : mapping, optional
        Subtract from the bound of a measure, turnover, tracking error or group (to
        repair rounding).
    """
    measures = [m for m in setup.measures if only is None or m.name in only]
    for m in measures:
        if not m.cuts:
            m.cuts.append(m.cut(setup.current))
    rounds = 0
    path: list[str] = []
    program = None
    while True:
        rounds += 1
        if program is None or not program.fits():
            program = _Program(setup, measures, only, elastic, tighten)
        solution = program.solve()
        path.extend(solution.solved.path)
        if not solution.solved.feasible:
            break
        if rounds >= _MOST_CUTS or not _refine(measures, solution, tighten, rounds):
            break
    solution.rounds = rounds
    kept = path if len(path) <= 3 else [path[0], f"{rounds - 2} more cuts", path[-1]]
    solution.solved = Solved(
        solution.solved.feasible, solution.solved.value, tuple(kept)
    )
    return solution


def _refine(measures, solution, tighten, rounds: int) -> bool:
    """Improve the hyperplanes at the solution; False when every measure is settled."""
    again = False
    for m in measures:
        if m.level is None:
            continue
        w = solution.weights
        bound = _bound(m, tighten) + solution.slacks.get(m.name, 0.0)
        value = m.value(w)
        excess = value - bound
        if m.is_es:
            if excess > _CUT_TOLERANCE:
                m.cuts.append(m.cut(w))
                again = True
            continue
        # A quantile is not convex. While it moves, one hyperplane exact at the last
        # solution replaces the one before (sequential linear programming); after that
        # hyperplanes accumulate, which can only be conservative.
        settled = abs(excess) <= _QUANTILE_TOLERANCE or (
            excess < 0 and solution.duals.get(m.name, 0.0) <= _IDLE
        )
        following = rounds <= _FOLLOWING
        # A relaxation is told to a hundredth of a per cent: no need to be finer.
        close = _QUANTILE_TOLERANCE if solution.slacks else _CUT_TOLERANCE
        if (following and not settled) or excess > close:
            cut = m.cut(w)
            linear = float(cut @ w)
            if linear > 1e-9:
                cut = cut * (value / linear)
            m.cuts = [cut] if following else [*m.cuts, cut]
            again = True
    return again


def _bound(m: Measure, tighten: dict[str, float] | None) -> float:
    return m.bound - (tighten or {}).get(m.name, 0.0)


class _Program:
    """The cvxpy problem; hyperplanes are parameters, so moving one costs no rebuild."""

    def __init__(self, setup: Setup, measures, only, elastic: bool, tighten) -> None:
        import cvxpy as cp

        n = len(setup.assets)
        self.setup, self.measures = setup, measures
        self.counts = [len(m.cuts) for m in measures]
        self.w = w = cp.Variable(n)  # holdings after trading
        b = cp.Variable(n, nonneg=True)  # bought
        s = cp.Variable(n, nonneg=True)  # sold
        # Weights after trading are w / nav; its own variable keeps the bounds sparse.
        nav = cp.Variable()
        self.slack: dict[str, Any] = {}
        self.named: dict[str, list] = {}
        self.planes: list[list[Any]] = []
        self.formed = None

        def keep(name: str) -> bool:
            return only is None or name in only

        def less(name: str) -> float:
            return (tighten or {}).get(name, 0.0)

        def room(name: str) -> Any:
            if not elastic:
                return 0.0
            self.slack[name] = cp.Variable(nonneg=True)
            return self.slack[name]

        cost = setup.rates @ (b + s) + setup.tax @ s
        constraints = [
            w - setup.current == b - s,
            cp.sum(w) == nav,
            nav == 1.0 - cost,
            nav >= (_least_left(setup) if keep("lower bounds") else _LEAST_LEFT),
        ]
        for m in measures:
            extra = room(m.name)
            planes = [cp.Parameter(n) for _ in m.cuts]
            self.planes.append(planes)
            self.named[m.name] = [
                g @ w <= _bound(m, tighten) * nav + extra for g in planes
            ]
        if setup.turnover is not None and keep("turnover"):
            bound = float(setup.turnover) - less("turnover")
            self.named["turnover"] = [0.5 * cp.sum(b + s) <= bound + room("turnover")]
        active = setup.risk_root.T @ (w - setup.benchmark * nav)
        conic = setup.tracking_error is not None and keep("tracking error")
        if setup.tracking_error is not None and conic:
            bound = setup.tracking_error - less("tracking error")
            self.named["tracking error"] = [
                cp.norm(active, 2) <= bound * nav + room("tracking error")
            ]
        for name, mask, low, high in setup.groups:
            if keep(name):
                extra = room(name)
                total = cp.sum(w[np.flatnonzero(mask)])
                self.named[name] = [total <= (high - less(name)) * nav + extra]
                self.named[f"{name} (least)"] = [
                    (low + less(f"{name} (least)")) * nav - total <= extra
                ]
        if keep("lower bounds"):
            self.named["lower bounds"] = [setup.lower * nav - w <= room("lower bounds")]
        if keep("upper bounds"):
            self.named["upper bounds"] = [w <= setup.upper * nav + room("upper bounds")]
        barred_buys = np.flatnonzero(~setup.may_buy)
        barred_sales = np.flatnonzero(~setup.may_sell)
        if keep(PERMISSIONS) and (barred_buys.size or barred_sales.size):
            extra = room(PERMISSIONS)
            self.named[PERMISSIONS] = [
                cp.sum(side[rows]) <= extra
                for side, rows in ((b, barred_buys), (s, barred_sales))
                if rows.size
            ]
        constraints += [c for group in self.named.values() for c in group]
        self.linear = not conic
        if elastic:
            objective = cp.sum(cp.hstack(list(self.slack.values()))) + 1e-4 * cost
        else:
            build = setup.term or BUILDERS[setup.objective]
            self.formed = build(Terms(setup, w, b, s, nav, cost, active))
            objective = self.formed.value
            constraints += self.formed.constraints
            self.linear = self.linear and self.formed.linear
        self.problem = cp.Problem(cp.Minimize(objective), constraints)

    def fits(self) -> bool:
        """Whether the number of hyperplanes is still the one it was built for."""
        return self.counts == [len(m.cuts) for m in self.measures]

    def solve(self) -> Solution:
        setup = self.setup
        for m, planes in zip(self.measures, self.planes, strict=True):
            for plane, cut in zip(planes, m.cuts, strict=True):
                plane.value = cut
        solved = solve(self.problem, linear=self.linear)
        if not solved.feasible:
            return Solution(solved, setup.current, setup.current, {}, {}, 0)
        duals = {
            name: float(sum(np.sum(np.abs(c.dual_value)) for c in group))
            for name, group in self.named.items()
            if group and all(c.dual_value is not None for c in group)
        }
        after = _clean(np.asarray(self.w.value), setup)
        # Limits are shares of what is left, so their slacks are too.
        slacks = {
            k: max(0.0, float(v.value)) / after.sum() for k, v in self.slack.items()
        }
        parts = parts_of(self.formed)
        return Solution(solved, after / after.sum(), after, duals, slacks, 0, parts)


def _least_left(setup: Setup) -> float:
    """What the dearest trade without buying and selling the same asset leaves.

    Limits are shares of what is left after costs: without this bound the elastic
    problem would shrink its slacks by trading to and fro until little is left.
    """
    short = float(np.maximum(-setup.lower, 0.0)[setup.may_sell].sum())
    sold = float(np.maximum(setup.current, 0.0).sum()) + short
    bought = 1.0 + short + float(np.maximum(-setup.current, 0.0).sum())
    dearest = setup.rates.max() * (sold + bought) + setup.tax.max() * sold
    return max(_LEAST_LEFT, 1.0 - float(dearest))


def _clean(w: Vector, setup: Setup) -> Vector:
    """Snap weights to the current weight and to zero within solver tolerance."""
    w = np.where(np.abs(w - setup.current) < 1e-8, setup.current, w)
    short = (w < 0.0) & (w > -1e-7) & (setup.lower >= 0.0)
    return np.where(short | (np.abs(w) < 1e-9), 0.0, w)
