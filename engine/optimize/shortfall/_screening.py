"""Solve on the scenarios of the tail, check against all, enlarge until it holds.

Leaving scenarios out can only lower the optimum, so the multipliers of a solve on some
of them bound the whole problem from below; the objective on all of them bounds it from
above. When no scenario left out lies beyond the value at risk the two are equal.

The first tail is that of the portfolio that would be best if returns were normal, which
costs one covariance; for elliptical returns it is the answer itself.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from scipy.linalg import lapack

from engine._typing import Vector
from engine.errors import SolverError
from engine.optimize.shortfall._bound import lower_bound
from engine.optimize.shortfall._core import Core, Point
from engine.optimize.shortfall._interior_point import solve_core
from engine.optimize.shortfall._reduction import Duals, Reduced

_SMALL = 3000
_TAILS = (4.0, 3.0, 2.0)
_COARSE = 0.03
_MOVED = 0.02
_DEAD = 1e-4
_RESUMED = 30
_ROUNDS = 30
_SAMPLE = 40


@dataclass(slots=True)
class Found:
    """The best weights seen, the best bound, and what led there."""

    w: Vector
    objective: float
    bound: float = -np.inf
    duals: Duals | None = None
    scenarios: int = 0
    iterations: int = 0
    violation: float = np.inf
    notes: list[str] = field(default_factory=list)


def inside(core: Core, w: Vector | None = None) -> Vector:
    """A point strictly inside the bounds: near ``w``, or sharing out the budget."""
    low, high = core.lower, core.upper
    n = low.size
    width = high - low
    if w is not None:
        room = np.minimum(0.1 / n, 0.1 * np.where(np.isfinite(width), width, 1.0))
        return np.clip(w, low + room, high - room)
    finite = np.isfinite(low) & np.isfinite(high)
    start = np.full(n, 1.0 / n)
    step = np.where(finite, np.minimum(width, 1.0), 1.0)
    start = np.where(np.isfinite(low), low + 0.5 * np.minimum(step, 2.0 / n), start)
    start = np.where(
        np.isfinite(high) & ~np.isfinite(low), high - 0.5 * np.minimum(step, 2.0 / n),
        start,
    )  # fmt: skip
    room = 0.01 * np.minimum(step, 1.0 / n)
    if core.e.size and (core.E[0] > 0).all() and finite.all():
        # The first equality is a budget: the same part of every range meets it.
        have, whole = float(core.E[0] @ low), float(core.E[0] @ width)
        part = min(max((float(core.e[0]) - have) / whole, 0.01), 0.99)
        start = low + part * width
    return np.clip(start, low + room, high - room)


def normal_start(core: Core, rows: Vector, w: Vector, level: float) -> Vector:
    """Weights of least expected shortfall if returns were normal; ``w`` on failure."""
    n = core.linear.size
    R = rows[:, :n]
    mean = R.mean(axis=0)
    C = R - mean
    covariance = C.T @ C / R.shape[0]
    at = np.arange(n)
    covariance[at, at] += 1e-6 * covariance[at, at].mean()
    L, info = lapack.dpotrf(covariance, lower=1)
    if info:
        return w
    z = NormalDist().inv_cdf(level)
    tail = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / (1.0 - level)
    parts = [L]
    gamma = 0.5 * tail / max(float(np.linalg.norm(L.T @ w)), 1e-12)
    offset = np.zeros(n)
    if core.root is not None and core.gamma > 0:
        size = math.sqrt(core.gamma / gamma)
        parts.append(size * core.root)
        offset = np.append(offset, size * core.offset)
    quadratic = Core(
        X=np.empty((0, n + 1)), base=np.zeros(0), pi=np.zeros(0), kappa=0.0,
        linear=core.linear - mean, lower=core.lower, upper=core.upper,
        A=core.A, b=core.b, E=core.E, e=core.e, traded=core.traded,
        current=core.current, buy=core.buy, sell=core.sell, turnover=core.turnover,
        root=np.hstack(parts), offset=offset, gamma=gamma, tracking=None,
    )  # fmt: skip
    try:
        point = solve_core(quadratic, w, mu=0.1 / n, tolerance=1e-2, correctors=0)
    except SolverError:
        return w
    return point.w if point.primal < 1e-2 else w


def worst(losses: Vector, pi: Vector, mass: float, least: int) -> np.ndarray:
    """The worst scenarios, at least ``least`` of them and ``mass`` together."""
    s = losses.size
    some = min(s, max(least, math.ceil(mass * s / max(float(pi.sum()), 1e-300))))
    while some < s:
        at = np.argpartition(losses, s - some)[s - some :]
        if pi[at].sum() >= mass:
            return np.sort(at)
        some = min(s, 2 * some)
    return np.arange(s)


def screened(
    reduced: Reduced,
    *,
    tolerance: float,
    start: Vector | None,
    max_iterations: int,
    deadline: float,
) -> Found:
    """Solve to a proven relative gap, or raise `SolverError` with what is left."""
    p = reduced.problem
    s, n = reduced.mass.size, reduced.free.size
    pi = reduced.mass / (1.0 - p.level)
    scaled = reduced.core(np.zeros(0, dtype=np.int64), 1.0)
    w = inside(scaled, None if start is None else start[reduced.free])
    losses = reduced.losses(reduced.full(w))
    unit = _unit(reduced, losses, w)
    worth = unit * (p.shortfall_weight if p.shortfall_weight > 0 else 1.0)
    found = Found(w=reduced.full(w), objective=np.inf)
    small = s <= _SMALL or p.shortfall_weight == 0
    least = 2 * (n + 1)
    if small:
        kept = None
    else:
        if start is None and p.tracking_error is None:
            some = np.linspace(0, s - 1, min(s, _SAMPLE * n + 500)).astype(np.int64)
            core = reduced.core(some, unit)
            w = normal_start(core, core.X, w, p.level)
            w = inside(core, w)
            losses = reduced.losses(reduced.full(w))
            unit = _unit(reduced, losses, w)
            worth = unit * p.shortfall_weight
        kept = worst(losses, pi, _TAILS[0], least)
        kept = None if kept.size > 0.7 * s else kept
    aim = 0.3 * tolerance
    now = aim if kept is None else max(_COARSE, aim)
    before, same, mu, resume = None, (), 0.3, True
    for _ in range(_ROUNDS):
        core = reduced.core(kept, unit)
        if before is None:
            mu *= core.pi.mean() if core.pi.size and core.kappa else 1.0 / n
        left = max_iterations - found.iterations
        point = solve_core(
            core,
            w,
            mu=mu,
            tolerance=now,
            before=before,
            same=same,
            max_iterations=max(min(left, _RESUMED if before is not None else left), 0),
            deadline=deadline,
        )
        found.iterations += point.iterations
        losses = _record(reduced, found, point, kept, unit)
        size = max(abs(found.objective), worth)
        gap = found.objective - found.bound
        found.notes.append(
            f"{core.pi.size} scenarios, {point.iterations} iterations, "
            f"gap {gap / size:.1e}, violation {found.violation:.1e}"
        )
        if gap <= tolerance * size and found.violation <= 1e-8:
            return found
        if not point.converged:
            if time.monotonic() < deadline and found.iterations < max_iterations:
                # Resuming needs a point that is still central; and a few scenarios
                # alone may leave the objective without end.
                if before is not None:
                    before, same, mu, resume = None, (), 0.3, False
                    w = inside(core, found.w[reduced.free])
                    continue
                if kept is not None:
                    kept, mu, now = None, 0.3, aim
                    w = inside(core, found.w[reduced.free])
                    continue
            raise SolverError(
                "the interior point stopped before its aim",
                received=f"relative gap {point.gap:.2e}, primal residual "
                f"{point.primal:.2e}, dual residual {point.dual:.2e} after "
                f"{found.iterations} iterations",
                expected=f"relative gap {tolerance:.1e}",
            )
        if time.monotonic() > deadline:
            break
        far = 0.0
        if kept is not None:
            out = np.ones(s, dtype=bool)
            out[kept] = False
            far = float(pi[out & (losses > point.a * unit)].sum())
        last, before, same = kept, None, ()
        if far > _MOVED:
            # The tail moved: what was kept stays, or it would come back later.
            assert kept is not None
            kept = np.union1d(kept, worst(losses, pi, _TAILS[1], least))
            w, mu = inside(core, point.w), 0.1
        else:
            if now <= aim and far == 0.0:
                if kept is None or aim < 1e-12:
                    break
                aim *= 0.1
            now = aim
            if kept is not None:
                kept = np.union1d(
                    kept[point.q > _DEAD * core.pi],
                    worst(losses, pi, _TAILS[2], least),
                )
            if resume:
                before, same = point, _shared(kept, last, s)
            else:
                w, mu = inside(core, point.w), 0.1
        if kept is not None and kept.size > 0.7 * s:
            kept = None
            same = _shared(None, last, s) if before is not None else ()
    raise SolverError(
        "the gap of the interior point stays open",
        received=f"relative gap {(found.objective - found.bound) / worth:.2e}, "
        f"violation {found.violation:.2e}",
        expected=f"relative gap {tolerance:.1e}",
    )


def _shared(
    new: np.ndarray | None, old: np.ndarray | None, s: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in both of the scenarios that both have."""
    every = np.arange(s)
    _, i, j = np.intersect1d(
        every if new is None else new,
        every if old is None else old,
        assume_unique=True,
        return_indices=True,
    )
    return i, j


def _unit(reduced: Reduced, losses: Vector, w: Vector) -> float:
    """A typical loss of the portfolio, or of an asset where that vanishes."""
    typical = float(reduced.mass @ np.abs(losses))
    some = reduced.problem.returns[:: max(1, reduced.problem.returns.shape[0] // 500)]
    asset = float(np.abs(some).mean()) * max(1e-3, float(np.abs(w).sum()) * 1e-3)
    return max(typical, asset) or 1.0


def _record(
    reduced: Reduced, found: Found, point: Point, kept: np.ndarray | None, unit: float
) -> Vector:
    """Note weights and bound where they are better; losses in every scenario."""
    p = reduced.problem
    if not np.isfinite(point.w).all():
        return reduced.losses(found.w)
    w = reduced.full(np.clip(point.w, p.lower[reduced.free], p.upper[reduced.free]))
    losses = reduced.losses(w)
    violation = max(p.violation(w), 0.0)
    objective = p.objective(w)
    if violation <= 1e-8 < found.violation or (
        objective < found.objective and violation <= max(1e-8, found.violation)
    ):
        found.w, found.objective, found.violation = w, objective, violation
        found.scenarios = reduced.mass.size if kept is None else kept.size
    duals = reduced.duals(point, kept, unit)
    mass = reduced.mass if kept is None else reduced.mass[kept]
    bound = lower_bound(p, duals, mass, w)
    if bound > found.bound or found.duals is None:
        found.bound, found.duals = max(bound, found.bound), duals
    return losses
