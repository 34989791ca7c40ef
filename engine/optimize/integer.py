"""Limits that need whole numbers: a search over names, then weights for the best.

The master (`engine.optimize.master`) chooses names by a linear problem with binaries;
the weights of each choice come from the full conic problem of `optimise` with that
support fixed, which also gives the tangents that make the next master closer. The
search stops when the best weights are within the gap of the master's bound.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from engine._typing import Vector
from engine.errors import SolverError
from engine.optimize.master import Master, MasterPoint
from engine.optimize.problem import (
    NO_INTEGERS,
    IntegerLimits,
    Setup,
    Solution,
    Support,
    optimise,
)
from engine.optimize.solve import Solved

GAP = 0.01
"""Share of the objective: far below what the estimates behind it are worth."""
SEARCH_SECONDS = 25.0
"""Of a search without a time limit of its own."""
_PROOF_SECONDS = 5.0
"""Of one question whether some limits can hold together."""
_HELD = 1e-7
_ROOT_ROUNDS = 25
_MOST_CHOICES = 40


def optimise_limits(
    setup: Setup,
    *,
    only: set[str] | None = None,
    tighten: dict[str, float] | None = None,
    gap: float = GAP,
) -> Solution:
    """`optimise`, with the integer limits where there are any.

    Parameters
    ----------
    setup, only, tighten
        As for `optimise`.
    gap : float
        Stop within this share of the objective.

    Returns
    -------
    Solution
        With ``gap`` and ``support``: the duals are of the continuous problem with the
        names fixed.
    """
    smooth = replace(setup, integer=NO_INTEGERS)
    kept = [k for k in setup.integer.names() if only is None or k in only]
    relaxed = optimise(smooth, only=only, tighten=tighten)
    if not kept or not relaxed.solved.feasible or setup.support is not None:
        return relaxed
    search = _Search(setup, smooth, only, tighten, gap)
    return search.run(relaxed)


class _Search:
    def __init__(self, setup, smooth, only, tighten, gap) -> None:
        self.setup, self.smooth = setup, smooth
        self.only, self.tighten, self.gap = only, tighten, gap
        # Asked for some limits only, any choice will do.
        self.any = only is not None
        if self.any:
            self.setup = replace(setup, objective="minimum_cost")
            self.smooth = replace(smooth, objective="minimum_cost")
        seconds = _PROOF_SECONDS if self.any else SEARCH_SECONDS
        self.deadline = min(setup.deadline, time.perf_counter() + seconds)
        self.best: Solution | None = None
        self.value = np.inf
        self.bound = -np.inf
        self.tried: set[bytes] = set()
        self.path: list[str] = []

    def run(self, relaxed: Solution) -> Solution:
        self.master = Master(self.setup, only=self.only)
        self.first = {m.name: len(m.cuts) for m in self.setup.measures}
        self.shared: dict[str, int] = {}
        floor = self._objective(relaxed)
        self._learn(relaxed.holdings, np.ones(self.master.n))
        natural = self._support_of(relaxed.holdings)
        if self._allowed(natural) and self._large_enough(relaxed.weights):
            relaxed.support = natural
            self.best, self.value = relaxed, floor
            self.bound = floor
            return self._result()
        point = self._root(floor)
        if not point.feasible:
            return self._none(relaxed, "HIGHS: infeasible with whole numbers")
        if self.best is None or not self.any:
            self._guess(point)
        while not self._done(point.bound):
            if time.perf_counter() >= self.deadline or len(self.tried) > _MOST_CHOICES:
                break
            try:
                point = self.master.solve(
                    whole=True,
                    # Early masters lack cuts: no need to solve them to the end.
                    gap=1.0 if self.any else max(0.5 * self.gap, 0.25 * self._gap()),
                    deadline=self.deadline,
                )
            except SolverError as error:
                self.path.append(f"HIGHS: {error.received}")
                break
            if not point.feasible:
                if self.best is None:
                    return self._none(relaxed, "HIGHS: infeasible with whole numbers")
                self.bound = self.value  # every other choice has been ruled out
                break
            self.bound = max(self.bound, point.bound)
            w, v, held = self.master.parts(point.x)
            support = self._support_at(point)
            fresh = self._key(support) not in self.tried
            self._learn(w, held, v)
            if not self._try(support) and not fresh:
                self.master.forbid(point.held, point.traded)
        if self.best is None:
            raise SolverError(
                "no choice of names was found in time",
                received="; ".join(self.path),
                fix="Raise time_limit, or relax an integer limit.",
            )
        return self._result()

    def _root(self, floor: float) -> MasterPoint:
        """Relaxation of the master, bent until its bound no longer rises."""
        last = -np.inf
        point = self.master.solve(whole=False, gap=0.0, deadline=self.deadline)
        for _ in range(_ROOT_ROUNDS):
            if not point.feasible:
                return point
            self.bound = max(self.bound, point.bound)
            close = point.bound - last <= 1e-3 * max(abs(floor), 1e-12)
            if close or not self.master.curved:
                break
            last = point.bound
            w, v, held = self.master.parts(point.x)
            self._learn(w, held, v)
            point = self.master.solve(whole=False, gap=0.0, deadline=self.deadline)
        self.master.straighten()
        w, v, held = self.master.parts(point.x)
        self.master.bend(w, v, held, spread=True)
        return point

    def _learn(self, w: Vector, held: Vector, v: float | None = None) -> None:
        self.master.bend(w, float(w.sum()) if v is None else v, held)
        nav = float(w.sum()) if v is None else v
        weights = w / nav
        s = self.setup
        for m in s.measures:
            if self.master.keep(m.name) and m.is_es and m.value(weights) > m.bound:
                self.master.plane(m.cut(weights), m.bound)
        if s.tracking_error is not None and self.master.keep("tracking error"):
            active = weights - s.benchmark
            size = s.volatility(active)
            if size > s.tracking_error * (1.0 + 1e-9):
                g = s.marginal(active) / size
                # |.| >= g'(w - v w_b), with equality here.
                shift = float(g @ s.benchmark)
                self.master.plane(g, s.tracking_error + shift)

    def _share_cuts(self) -> None:
        """Hand the hyperplanes that a choice needed to the master."""
        for m in self.setup.measures:
            if not (m.is_es and self.master.keep(m.name)):
                continue
            known = self.shared.get(m.name, self.first[m.name])
            for cut in m.cuts[known:]:
                self.master.plane(cut, m.bound)
            self.shared[m.name] = len(m.cuts)

    # Choices ------------------------------------------------------------------

    def _support_of(self, w: Vector) -> Support:
        risky = self.setup.risky
        moved = np.abs(w - self.setup.current) > _HELD
        if "q" not in self.master.cols:
            moved = risky  # rounding may trade what the solver left alone
        return Support(
            (w > _HELD) & risky, (w < -_HELD) & risky, moved & risky, self._floor()
        )

    def _large_enough(self, weights: Vector) -> bool:
        size = np.abs(weights[self.setup.risky])
        return bool((size[size > _HELD] >= self._floor() - _HELD).all())

    def _support_at(self, point: MasterPoint) -> Support:
        w, _, _ = self.master.parts(point.x)
        risky = self.setup.risky
        held = point.held & risky
        # What is held at zero may end on either side; long, where nothing says short.
        return Support(held & (w >= 0.0), held & (w < 0.0), point.traded & risky,
                       self._floor())  # fmt: skip

    def _floor(self) -> float:
        return self.master.floor()

    def _allowed(self, support: Support) -> bool:
        ints, keep = self.setup.integer, self.master.keep
        count = int((support.long | support.short).sum())
        if keep("names"):
            if ints.max_names is not None and count > ints.max_names:
                return False
            if ints.min_names is not None and count < ints.min_names:
                return False
        most = ints.max_trades
        if keep("trades") and most is not None and support.traded.sum() > most:
            return False
        return True

    def _guess(self, point: MasterPoint) -> None:
        """Hold fewer and fewer names, leaving out the least each time."""
        ints, setup = self.setup.integer, self.setup
        if ints.max_trades is not None and self.master.keep("trades"):
            return
        most = ints.max_names if self.master.keep("names") else None
        w, _, held = self.master.parts(point.x)
        must = ((self.master.least > 0) | (self.master.most < 0)) & setup.risky
        floor, everything = self._floor(), setup.risky.copy()
        rank = np.where(setup.risky, held, 0.0)
        count = int((rank > 1e-6).sum())
        goal = count if most is None else min(most, count)
        sizes = [goal]
        while sizes[-1] < 0.75 * count:
            sizes.append(min(count, max(sizes[-1] + 1, int(1.4 * sizes[-1]))))
        for size in reversed(sizes):
            order = np.lexsort((-rank, ~must))
            chosen = np.zeros(w.size, dtype=bool)
            chosen[order[:size]] = True
            chosen &= setup.risky & ((rank > 0.0) | must)
            least = floor if size == goal else 0.0
            support = Support(chosen & (w >= 0), chosen & (w < 0), everything, least)
            if size == goal:
                if self._allowed(support):
                    self._try(support)
                return
            trial = replace(self.smooth, support=support)
            try:
                smaller = optimise(trial, only=self.only, tighten=self.tighten)
            except SolverError:
                return
            if not smaller.solved.feasible:
                continue
            w = smaller.holdings
            rank = np.where(chosen, np.abs(w), 0.0)

    def _key(self, support: Support) -> bytes:
        return b"".join(x.tobytes() for x in support[:3])

    def _try(self, support: Support) -> bool:
        """Solve for the weights of a choice; whether there are any, newly found."""
        key = self._key(support)
        if key in self.tried:
            return False
        self.tried.add(key)
        fixed = replace(self.smooth, support=support)
        try:
            solution = optimise(fixed, only=self.only, tighten=self.tighten)
        except SolverError as error:
            if time.perf_counter() >= self.setup.deadline and self.best is None:
                raise
            self.path.append(f"choice {len(self.tried)}: {error.problem}")
            return False
        if not solution.solved.feasible:
            return False
        self._share_cuts()
        held = (support.long | support.short).astype(float)
        self._learn(solution.holdings, np.where(self.setup.risky, held, 1.0))
        value = self._objective(solution)
        if value < self.value:
            self.best, self.value = solution, value
            solution.support = support
        return True

    def _objective(self, solution: Solution) -> float:
        w = solution.holdings
        return self.setup.objective_at(w, float(w.sum()), w - self.setup.current)

    # Results ------------------------------------------------------------------

    def _done(self, bound: float) -> bool:
        self.bound = max(self.bound, bound)
        if self.best is None:
            return False
        return self.any or self._gap() <= self.gap

    def _gap(self) -> float:
        if not np.isfinite(self.value):
            return 0.0
        return max(0.0, self.value - self.bound) / max(abs(self.value), 1e-9)

    def _result(self) -> Solution:
        best = self.best
        assert best is not None
        gap = self._gap()
        count = int((best.support.long | best.support.short).sum())  # type: ignore[union-attr]
        lines = (
            f"HIGHS: {len(self.tried)} choices of names, {count} held, gap {gap:.2%}",
            *self.path,
        )
        best.gap = gap
        best.note = (
            f"names chosen by outer cuts, gap {gap:.2%} of the objective; prices of "
            "limits are of the continuous problem, fixed support"
        )
        best.solved = Solved(True, best.solved.value, (*lines, *best.solved.path))
        return best

    def _none(self, relaxed: Solution, why: str) -> Solution:
        path = (*relaxed.solved.path, why)
        w0 = self.setup.current
        return Solution(Solved(False, np.inf, path), w0, w0, {}, {}, relaxed.rounds)


def least_relief(setup: Setup) -> IntegerLimits:
    """Integer limits that give way just enough, all other limits kept.

    One name or trade weighs as much as a hundredth of net asset value in the smallest
    position. Convex limits enter by the hyperplanes known so far, so the answer can be
    too hopeful where they bind.

    Raises
    ------
    SolverError
        The other limits alone have no solution, or HiGHS stopped early.
    """
    deadline = min(setup.deadline, time.perf_counter() + SEARCH_SECONDS)
    point = Master(setup, soft=True).solve(whole=True, gap=0.0, deadline=deadline)
    if not point.feasible:
        raise SolverError("the other limits alone have no solution")
    ints, slack = setup.integer, point.slacks

    def more(limit: int | None, name: str, sign: int) -> int | None:
        return None if limit is None else limit + sign * round(slack[name])

    smallest = ints.minimum_position
    if smallest is not None:
        smallest = max(0.0, np.floor((smallest - slack["smaller"]) * 1e4 + 1e-6) * 1e-4)
    return IntegerLimits(
        more(ints.max_names, "more names", 1),
        more(ints.min_names, "fewer names", -1),
        smallest,
        more(ints.max_trades, "more trades", 1),
    )
