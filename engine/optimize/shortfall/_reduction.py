"""From a problem to the numbers an interior point likes, and its duals back again.

Assets whose bounds meet are taken out, scenarios that repeat are merged (a bootstrap of
a few thousand days repeats them many times), those of probability zero are left out,
and rows, losses and active risk are scaled to the size of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import InfeasibleError, UsageError
from engine.optimize.shortfall._core import Core, Point
from engine.optimize.shortfall._problem import ShortfallProblem

_FIXED = 1e-11
_ROOM = 1e-9


@dataclass(frozen=True, slots=True)
class Duals:
    """Multipliers of the problem as given: ``q`` by row of `Reduced.returns`."""

    rows: np.ndarray
    q: Vector
    nu: Vector
    lam: Vector
    tau: float
    cone: float


@dataclass(slots=True)
class Reduced:
    """A problem without fixed assets and repeated scenarios, in its own units.

    Attributes
    ----------
    free : (n,) int
        Assets that can move; ``held`` holds the weights of the others.
    rows : (S',) int
        Scenarios kept, with ``mass`` their probabilities (those merged added).
    """

    problem: ShortfallProblem
    free: np.ndarray
    held: Vector
    rows: np.ndarray | None
    mass: Vector
    base: Vector | None
    A: Matrix = field(init=False)
    b: Vector = field(init=False)
    ub_at: np.ndarray = field(init=False)
    ub_size: Vector = field(init=False)
    E: Matrix = field(init=False)
    e: Vector = field(init=False)
    eq_at: np.ndarray = field(init=False)
    eq_size: Vector = field(init=False)
    turnover: float | None = field(init=False)
    offset: Vector | None = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        none = np.zeros((0, p.returns.shape[1]))
        A, b = (none, np.zeros(0)) if p.A_ub is None else (p.A_ub, p.b_ub)
        self.A, self.b, self.ub_at, self.ub_size = self._cut(A, b, p.row_names, False)
        self.E, self.e, self.eq_at, self.eq_size = self._cut(
            p.A_eq, p.b_eq, p.equality_names, True
        )
        self.turnover = p.turnover
        if p.turnover is not None:
            fixed = np.ones(self.held.size, dtype=bool)
            fixed[self.free] = False
            spent = 0.5 * float(np.abs(self.held - p.current)[fixed].sum())
            self.turnover = p.turnover - spent
            if self.turnover < -_ROOM:
                raise InfeasibleError(
                    "fixed weights alone need more turnover than there is",
                    received=f"{spent:.6g}",
                    expected=f"at most {p.turnover:.6g}",
                    conflict=("turnover", "bounds"),
                )
        self.offset = None
        if p.root is not None:
            benchmark = 0.0 if p.benchmark is None else p.benchmark
            self.offset = p.root.T @ (self.held - benchmark)

    def _cut(
        self, A: Matrix, b: Vector, names: tuple[str, ...], equal: bool
    ) -> tuple[Matrix, Vector, np.ndarray, Vector]:
        """Rows over the free assets, each of largest entry one; rows of zeros go."""
        b = b - A @ self.held
        A = A[:, self.free]
        size = np.abs(A).max(axis=1, initial=0.0)
        empty = size == 0.0
        lacking = np.abs(b) if equal else -b
        if (empty & (lacking > _ROOM)).any():
            i = int(np.argmax(empty & (lacking > _ROOM)))
            raise InfeasibleError(
                f"the fixed weights alone break {names[i]}",
                received=f"{lacking[i]:.3g} too much",
                conflict=(names[i], "bounds"),
            )
        at = np.flatnonzero(~empty)
        size = size[at]
        return A[at] / size[:, None], b[at] / size, at, size

    def full(self, w: Vector) -> Vector:
        """Weights of all assets from those of the free ones."""
        out = self.held.copy()
        out[self.free] = w
        return out

    def losses(self, w: Vector) -> Vector:
        """Loss in every kept scenario, from the weights of all assets."""
        R = self.problem.returns
        out = -(R @ w)
        return out if self.rows is None else out[self.rows]

    def core(self, kept: np.ndarray | None, unit: float) -> Core:
        """The problem on some of the scenarios, losses divided by ``unit``."""
        p, free = self.problem, self.free
        n, kappa = free.size, p.shortfall_weight
        whole = n == p.returns.shape[1]
        at = self.rows if kept is None else (
            kept if self.rows is None else self.rows[kept]
        )  # fmt: skip
        R = p.returns if at is None else p.returns[at]
        X = np.empty((R.shape[0], n + 1))
        np.divide(R if whole else R[:, free], unit, out=X[:, :n])
        X[:, n] = 1.0
        mass = self.mass if kept is None else self.mass[kept]
        base = np.zeros(R.shape[0])
        if self.base is not None:
            base = (self.base if kept is None else self.base[kept]) / unit
        price = 1.0 / (unit * (kappa if kappa > 0 else 1.0))
        zero = np.zeros(n)
        buy, sell = (
            zero if cost is None else cost[free] * price for cost in (p.buy, p.sell)
        )
        traded = (
            np.arange(n) if self.turnover is not None else np.flatnonzero(buy + sell)
        )
        root, gamma, tracking, offset = None, 0.0, None, np.zeros(0)
        if p.root is not None and (p.risk_aversion > 0 or p.tracking_error is not None):
            assert self.offset is not None
            size = p.tracking_error or 1.0
            root, offset = p.root[free] / size, self.offset / size
            gamma = p.risk_aversion * price * size * size
            tracking = None if p.tracking_error is None else 1.0
        return Core(
            X=X,
            base=base,
            pi=mass / (1.0 - p.level),
            kappa=1.0 if kappa > 0 else 0.0,
            linear=zero if p.linear is None else p.linear[free] * price,
            lower=p.lower[free],
            upper=p.upper[free],
            A=self.A,
            b=self.b,
            E=self.E,
            e=self.e,
            traded=traded,
            current=zero[:0] if p.current is None else p.current[free][traded],
            buy=buy[traded],
            sell=sell[traded],
            turnover=self.turnover,
            root=root,
            offset=offset,
            gamma=gamma,
            tracking=tracking,
        )

    def duals(self, point: Point, kept: np.ndarray | None, unit: float) -> Duals:
        """Multipliers of the problem as given, from those of the scaled one."""
        p = self.problem
        kappa = p.shortfall_weight
        price = unit * (kappa if kappa > 0 else 1.0)
        nu = np.zeros(0 if p.b_ub is None else p.b_ub.size)
        nu[self.ub_at] = point.nu * price / self.ub_size
        lam = np.zeros(p.b_eq.size)
        lam[self.eq_at] = point.lam * price / self.eq_size
        rows = np.arange(p.returns.shape[0]) if self.rows is None else self.rows
        cone = point.cone * price / p.tracking_error if p.tracking_error else 0.0
        return Duals(
            rows if kept is None else rows[kept],
            point.q * kappa,
            nu,
            lam,
            point.tau * price,
            cone,
        )


def reduce(problem: ShortfallProblem) -> Reduced:
    """Take out fixed assets, repeated scenarios and those of probability zero."""
    p = problem
    lower, upper = p.lower, p.upper
    if np.isposinf(lower).any() or np.isneginf(upper).any():
        raise UsageError("a lower bound of infinity, or an upper one of minus infinity")
    lower, upper = implied_bounds(p)
    fixed = upper - lower <= _FIXED
    if p.turnover is not None and p.turnover <= _FIXED:
        fixed = np.ones_like(fixed)
        held = p.current
        worst = float(np.max(np.maximum(lower - held, held - upper)))
        if worst > _ROOM:
            raise InfeasibleError(
                "no turnover is allowed, and the current weights break their bounds",
                received=f"{worst:.3g} outside",
                conflict=("turnover", "bounds"),
            )
        held = np.clip(held, lower, upper)
    else:
        if (lower - upper).max() > _ROOM:
            i = int(np.argmax(lower - upper))
            raise InfeasibleError(
                "the equalities and bounds leave a weight no value",
                received=f"position {i}: at least {lower[i]:.6g}, at most "
                f"{upper[i]:.6g}",
                conflict=("bounds", *p.equality_names),
            )
        held = np.where(fixed, lower, 0.0)
        held[fixed] += 0.5 * (upper - lower)[fixed]
        held = np.where(fixed, np.clip(held, p.lower, p.upper), 0.0)
    rows, mass = _distinct(p)
    base = None
    if fixed.any():
        base = -(p.returns @ held)
        base = base if rows is None else base[rows]
    return Reduced(p, np.flatnonzero(~fixed), held, rows, mass, base)


def implied_bounds(p: ShortfallProblem) -> tuple[Vector, Vector]:
    """Bounds of each weight that the equalities and the other bounds imply.

    A long-only budget without upper bounds implies one of its own. A bound that is
    given finite is replaced only where the implied one meets its opposite.
    """
    lower, upper = p.lower, p.upper
    low, high = lower.copy(), upper.copy()
    for row, e in zip(p.A_eq, p.b_eq, strict=True):
        for a, b in ((row, float(e)), (-row, -float(e))):
            at = np.flatnonzero(a)
            with np.errstate(invalid="ignore"):
                least = np.where(a > 0, a * lower, a * upper)[at]
            open_ended = ~np.isfinite(least)
            count = int(open_ended.sum())
            total = float(least[~open_ended].sum())
            free = (count - open_ended) == 0
            rest = b - (total - np.where(open_ended, 0.0, least))
            with np.errstate(over="ignore"):
                limit = rest / a[at]
            up, down = at[free & (a[at] > 0)], at[free & (a[at] < 0)]
            high[up] = np.minimum(high[up], limit[free & (a[at] > 0)])
            low[down] = np.maximum(low[down], limit[free & (a[at] < 0)])
    met = high - low <= _FIXED
    return (
        np.where(met | ~np.isfinite(lower), low, lower),
        np.where(met | ~np.isfinite(upper), high, upper),
    )


def _distinct(p: ShortfallProblem) -> tuple[np.ndarray | None, Vector]:
    """Rows that differ (None for all of them) and their probabilities."""
    R = p.returns
    s, n = R.shape
    mass = np.full(s, 1.0 / s) if p.p is None else p.p
    rows = np.flatnonzero(mass > 0)
    if s > 1:
        # Equal rows give the same bits in a product only if summed in the same order,
        # which a blocked product does not promise: two columns are compared instead.
        probe = R[:, 0] + 0.5 * R[:, n // 2] + 0.25 * R[:, n - 1]
        order = rows[np.argsort(probe[rows], kind="stable")]
        near = probe[order[1:]] == probe[order[:-1]]
        if near.mean() > 0.1 if near.size else False:
            same = near.copy()
            at = np.flatnonzero(near)
            for i in range(0, at.size, 4096):
                part = at[i : i + 4096]
                same[part] = (R[order[part + 1]] == R[order[part]]).all(axis=1)
            group = np.concatenate([[0], np.cumsum(~same)])
            first = order[np.concatenate([[True], ~same])]
            return first, np.bincount(group, weights=mass[order]).astype(np.float64)
    return (None, mass) if rows.size == s else (rows, mass[rows])
