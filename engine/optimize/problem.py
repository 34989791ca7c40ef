"""The proposal's optimisation problem, one named line per limit.

    minimise    rates'(b + s) + tax's + gamma (w - w_b)' Sigma (w - w_b)
    subject to  w - w_0 = b - s,  b, s >= 0,  1'w = v,  and the limits, each times v,
                v = 1 - rates'(b + s) - tax's                 (what is left after costs)

Expected shortfall and the severity quantile of a stress enter as supporting
hyperplanes, added until the measure itself, recomputed from the weights, is within its
limit: each is a valid inequality, so the last solve is optimal for the full problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Matrix, Vector
from engine.constraints import StressCap
from engine.errors import DataError
from engine.linear_limits import Row
from engine.optimize._cost_terms import (
    CostRates,
    ImpactTangent,
    borrow_terms,
    impact_terms,
    linear_terms,
    paid,
)
from engine.optimize._objectives import BUILDERS, Builder, Terms, parts_of
from engine.optimize._risk_terms import risk_vector
from engine.optimize.solve import Solved, solve
from engine.risk import tail_weights, value_at_risk
from engine.scenarios import ScenarioSet

PERMISSIONS = "no-buy, no-sell and locked"
TRACE = 1e-3
"""A position below a tenth of a per cent does not count as a name that must be held."""
_LEAST_LEFT = 0.5
"""No real trade costs more of the book than this."""
_CUT_TOLERANCE = 1e-7
_QUANTILE_TOLERANCE = 1e-5
_IDLE = 1e-7
_FOLLOWING = 8
_MOST_CUTS = 100
_PLACES = 16
_WINDOW = 0.025
_TANGENT_TOLERANCE = 1e-9
_MOST_TANGENTS = 20


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


class IntegerLimits(NamedTuple):
    """Limits that need whole numbers; None where open."""

    max_names: int | None = None
    min_names: int | None = None
    minimum_position: float | None = None
    max_trades: int | None = None

    def names(self) -> list[str]:
        """Names of those that are set, as messages show them."""
        words = {
            "names": (self.max_names, self.min_names),
            "minimum position": (self.minimum_position,),
            "trades": (self.max_trades,),
        }
        return [k for k, v in words.items() if any(x is not None for x in v)]


NO_INTEGERS = IntegerLimits()


class Support(NamedTuple):
    """A choice of names: what is held long or short, and what may trade."""

    long: np.ndarray
    short: np.ndarray
    traded: np.ndarray
    floor: float
    """Least absolute weight of what is held; 0 where there is none."""


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
    linear: list[Row]
    """Groups and linear limits."""
    measures: list[Measure]
    turnover: float | None
    tracking_error: float | None
    objective: str
    aversion: float
    risky: np.ndarray
    """(N,) bool; False for cash."""
    impact: Vector | None = None
    """(N,) k of ``k |z|^(3/2)``; none by default."""
    borrow: Vector | None = None
    """(N,) fee per unit of value short, over the stated horizon; none by default."""

    gross: float | None = None
    net: tuple[float, float] | None = None
    trade_caps: Vector | None = None
    """(N,) largest trades by liquidity, fractions of value; infinite where open."""
    integer: IntegerLimits = NO_INTEGERS
    support: Support | None = None
    """A choice of names that is taken as given, whatever other limits are kept."""
    specific: Vector | None = None
    """(N,) specific variance beside ``risk_root`` where the model is in factor form."""
    deadline: float = math.inf
    """`time.perf_counter` after which no solver may go on."""
    term: Builder | None = None
    """What is minimised; by default the builder of the objective's name."""

    @property
    def costs(self) -> CostRates:
        """Coefficients of everything that trading and shorting cost."""
        zero = np.zeros(len(self.assets))
        return CostRates(
            self.rates,
            self.tax,
            zero if self.impact is None else self.impact,
            zero if self.borrow is None else self.borrow,
        )

    def net_row(self) -> Row:
        """The band of net exposure as a linear limit."""
        low, high = self.net or (-math.inf, math.inf)
        return Row("net", self.risky.astype(float), low, high, "")

    def volatility(self, x: Vector) -> float:
        """Annual volatility of a vector of weights (N,), active or whole."""
        square = float(np.sum((self.risk_root.T @ x) ** 2))
        if self.specific is not None:
            square += float(self.specific @ x**2)
        return math.sqrt(square)

    def marginal(self, x: Vector) -> Vector:
        """(N,) covariance times weights."""
        out = self.risk_root @ (self.risk_root.T @ x)
        return out if self.specific is None else out + self.specific * x

    def objective_at(self, w: Vector, nav: float, z: Vector) -> float:
        """Objective of holdings w (N,) after trades z (N,), in money."""
        cost = paid(self.costs, z) + float(self.costs.borrow @ np.maximum(-w, 0.0))
        if self.objective == "minimum_cost":
            return cost
        whole = self.objective == "minimum_variance"
        active = w if whole else w - nav * self.benchmark
        return cost + self.aversion * self.volatility(active) ** 2


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
    gap: float | None = None
    """Distance from the bound, as a share of the objective, under integer limits."""
    support: Support | None = None
    note: str = ""


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


def es_measure(
    leg: str, cap: float, level: float, scenarios: ScenarioSet, *, name: str
) -> Measure:
    """Measure of the expected-shortfall cap on one leg."""
    rows = scenarios.rows(leg)
    p = scenarios.p[rows]
    if not p.sum() > 0:
        raise DataError("a leg has no probability left", received=repr(leg))
    everything = bool(rows.all())
    return Measure(
        name=name,
        bound=float(cap),
        returns=scenarios.returns if everything else scenarios.returns[rows],
        p=p if everything else p / p.sum(),
        level=level,
        is_es=True,
    )


def held_floor(setup: Setup) -> float:
    """Least weight that counts as held, where integer limits need one.

    A minimum number of names would mean nothing if a trace counted.
    """
    ints = setup.integer
    if ints.minimum_position is not None:
        return ints.minimum_position
    return TRACE if ints.min_names is not None else 0.0


def limits_of(setup: Setup) -> list[str]:
    """Names of all limits, in the order in which conflicts are reported."""
    names = [m.name for m in setup.measures]
    if setup.turnover is not None:
        names.append("turnover")
    if setup.tracking_error is not None:
        names.append("tracking error")
    if setup.gross is not None:
        names.append("gross")
    if setup.net is not None:
        names.append("net")
    if setup.trade_caps is not None:
        names.append("liquidity")
    names += [row.name for row in setup.linear]
    names += setup.integer.names()
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


def _slots(m: Measure) -> int:
    """Places for hyperplanes: doubled when full, so that few rounds need a rebuild."""
    if m.level is None:
        return 1
    places = _PLACES if m.is_es else 1
    while places < len(m.cuts):
        places *= 2
    return places


def _bound(m: Measure, tighten: dict[str, float] | None) -> float:
    return m.bound - (tighten or {}).get(m.name, 0.0)


def band(
    row: Row, w: Any, nav: Any, extra: Any, less: Callable[[str], float]
) -> dict[str, list]:
    """Both sides of a linear limit as named cvxpy constraints, shares of what is left.

    Each side has a name, and so a price, of its own.
    """
    used = np.flatnonzero(row.coefficients)
    total = row.coefficients[used] @ w[used]
    sides: dict[str, list] = {}
    if np.isfinite(row.upper):
        sides[row.name] = [total <= (row.upper - less(row.name)) * nav + extra]
    if np.isfinite(row.lower):
        name = f"{row.name} (least)"
        sides[name] = [(row.lower + less(name)) * nav - total <= extra]
    return sides


class _Program:
    """The cvxpy problem; hyperplanes are parameters, so moving one costs no rebuild."""

    def __init__(self, setup: Setup, measures, only, elastic: bool, tighten) -> None:
        import cvxpy as cp

        n = len(setup.assets)
        self.setup, self.measures = setup, measures
        self.slots = [_slots(m) for m in measures]
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

        cost = budget = linear_terms(setup.costs, b, s)
        self.tangent: ImpactTangent | None = None
        if setup.costs.impact.any():
            # The objective sees the exact impact, the budget its tangent at the last
            # solve, until both agree: an inequality would let money vanish.
            self.tangent = ImpactTangent(setup.costs)
            cost = cost + impact_terms(setup.costs, b, s)
            budget = budget + self.tangent.terms(b, s)
        constraints = [
            w - setup.current == b - s,
            cp.sum(w) == nav,
            nav == 1.0 - budget,
            nav >= (_least_left(setup) if keep("lower bounds") else _LEAST_LEFT),
        ]
        for m in measures:
            extra = room(m.name)
            planes = [cp.Parameter(n) for _ in range(_slots(m))]
            self.planes.append(planes)
            self.named[m.name] = [
                g @ w <= _bound(m, tighten) * nav + extra for g in planes
            ]
        if setup.turnover is not None and keep("turnover"):
            bound = float(setup.turnover) - less("turnover")
            self.named["turnover"] = [0.5 * cp.sum(b + s) <= bound + room("turnover")]
        active = risk_vector(setup, w - setup.benchmark * nav)
        conic = setup.tracking_error is not None and keep("tracking error")
        if setup.tracking_error is not None and conic:
            bound = setup.tracking_error - less("tracking error")
            self.named["tracking error"] = [
                cp.norm(active, 2) <= bound * nav + room("tracking error")
            ]
        if setup.gross is not None and keep("gross"):
            bound = setup.gross - less("gross")
            total = cp.norm1(w[np.flatnonzero(setup.risky)])
            self.named["gross"] = [total <= bound * nav + room("gross")]
        if setup.net is not None and keep("net"):
            row = Row("net", setup.risky.astype(float), *setup.net, "")
            self.named |= band(row, w, nav, room("net"), less)
        if setup.trade_caps is not None and keep("liquidity"):
            capped = np.flatnonzero(np.isfinite(setup.trade_caps))
            most = np.maximum(setup.trade_caps[capped] - less("liquidity"), 0.0)
            extra = room("liquidity")
            self.named["liquidity"] = [(b + s)[capped] <= most + extra]
        for row in setup.linear:
            if keep(row.name):
                self.named |= band(row, w, nav, room(row.name), less)
        if keep("lower bounds"):
            self.named["lower bounds"] = [setup.lower * nav - w <= room("lower bounds")]
        if keep("upper bounds"):
            shrunk = setup.upper - less("upper bounds") * setup.risky
            least = np.maximum(setup.lower, 0.0)  # no bound is tightened past these
            upper = np.where(shrunk > least, shrunk, setup.upper)
            self.named["upper bounds"] = [w <= upper * nav + room("upper bounds")]
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
        constraints += self._supported(w, b, s, nav, less)
        self.linear = not conic and self.tangent is None
        if setup.costs.borrow.any():
            cost = cost + borrow_terms(setup.costs, w)
        if elastic:
            objective = cp.sum(cp.hstack(list(self.slack.values()))) + 1e-4 * cost
        else:
            build = setup.term or BUILDERS[setup.objective]
            self.formed = build(Terms(setup, w, b, s, nav, cost, active))
            objective = self.formed.value
            constraints += self.formed.constraints
            self.linear = self.linear and self.formed.linear
        self.problem = cp.Problem(cp.Minimize(objective), constraints)

    def _supported(self, w, b, s, nav, less) -> list:
        """The choice of names, where one is given."""
        support = self.setup.support
        if support is None:
            return []
        rows = []
        out = np.flatnonzero(~(support.long | support.short) & self.setup.risky)
        idle = np.flatnonzero(~support.traded & self.setup.risky)
        long, short = np.flatnonzero(support.long), np.flatnonzero(support.short)
        floor = support.floor + less("minimum position")
        if out.size:
            rows.append(w[out] == 0.0)
        if idle.size:
            rows.append(b[idle] + s[idle] == 0.0)
        if long.size:
            rows.append(w[long] >= floor * nav)
        if short.size:
            rows.append(w[short] <= -floor * nav)
        return rows

    def fits(self) -> bool:
        """Whether there is still a place for every hyperplane."""
        return all(
            len(m.cuts) <= places
            for m, places in zip(self.measures, self.slots, strict=True)
        )

    def solve(self) -> Solution:
        setup = self.setup
        for m, planes in zip(self.measures, self.planes, strict=True):
            for k, plane in enumerate(planes):  # spare places repeat the last one
                plane.value = m.cuts[min(k, len(m.cuts) - 1)]
        solved = self._solve()
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
        return Solution(
            solved, after / after.sum(), after, duals, slacks, 0, parts=parts
        )

    def _solve(self) -> Solved:
        """Solve; with impact, again until the budget holds what the trade costs."""
        solved = solve(self.problem, linear=self.linear, deadline=self.setup.deadline)
        if self.tangent is None:
            return solved
        for _ in range(_MOST_TANGENTS):
            if not solved.feasible:
                return solved
            trade = np.asarray(self.w.value) - self.setup.current
            if self.tangent.move(trade) <= _TANGENT_TOLERANCE:
                return solved
            solved = solve(
                self.problem, linear=self.linear, deadline=self.setup.deadline
            )
        return solved


def _least_left(setup: Setup) -> float:
    """What the dearest trade without buying and selling the same asset leaves.

    Limits are shares of what is left after costs: without this bound the elastic
    problem would shrink its slacks by trading to and fro until little is left.
    """
    short = float(np.maximum(-setup.lower, 0.0)[setup.may_sell].sum())
    sold = float(np.maximum(setup.current, 0.0).sum()) + short
    bought = 1.0 + short + float(np.maximum(-setup.current, 0.0).sum())
    dearest = setup.rates.max() * (sold + bought) + setup.tax.max() * sold
    impact = setup.costs.impact.max()
    dearest += impact * max(sold, bought) ** 1.5 * 2.0
    return max(_LEAST_LEFT, 1.0 - float(dearest))


def _clean(w: Vector, setup: Setup) -> Vector:
    """Snap weights to the current weight and to zero within solver tolerance."""
    w = np.where(np.abs(w - setup.current) < 1e-8, setup.current, w)
    short = (w < 0.0) & (w > -1e-7) & (setup.lower >= 0.0)
    if setup.support is not None:
        held = setup.support.long | setup.support.short | ~setup.risky
        w = np.where(held, w, 0.0)
        w = np.where(setup.support.traded | ~setup.risky, w, setup.current)
    return np.where(short | (np.abs(w) < 1e-9), 0.0, w)
