"""The limits without the objective: do they hold together, and which ones conflict.

No scenario enters a limit, so these programs have N variables whatever S is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engine._typing import Vector
from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize.shortfall._certificate import unit_rows
from engine.optimize.shortfall._problem import ShortfallProblem
from engine.optimize.solve import solve

LOWER, UPPER = "lower bounds", "upper bounds"
TURNOVER, TRACKING = "turnover", "tracking error"
_IDLE = 1e-7
"""Slack that is a solver's rounding."""


def limit_names(problem: ShortfallProblem) -> list[str]:
    """Names of all limits, in the order in which conflicts are reported."""
    names = list(problem.row_names) if problem.A_ub is not None else []
    if problem.turnover is not None:
        names.append(TURNOVER)
    if problem.tracking_error is not None:
        names.append(TRACKING)
    names += problem.equality_names
    for name, bound in ((LOWER, problem.lower), (UPPER, problem.upper)):
        if np.isfinite(bound).any():
            names.append(name)
    return list(dict.fromkeys(names))


class Limits:
    """The limits as a cvxpy program; ``elastic`` gives each of them a slack."""

    def __init__(
        self,
        problem: ShortfallProblem,
        *,
        only: Iterable[str] | None = None,
        elastic: bool = False,
    ) -> None:
        import cvxpy as cp

        names = limit_names(problem)
        keep = set(names if only is None else only)
        at = {name: i for i, name in enumerate(names)}
        self.names = names
        self.w = w = cp.Variable(problem.returns.shape[1])
        self.slack: Any = cp.Variable(len(names), nonneg=True) if elastic else None
        self.constraints: list[Any] = []

        def room(name: str) -> Any:
            return self.slack[at[name]] if elastic else 0.0

        def rows(A: Any, b: Any, labels: tuple[str, ...]) -> tuple[Any, Any]:
            """Excess over the right-hand sides, and the room for it, of kept rows."""
            kept = np.array([i for i, k in enumerate(labels) if k in keep], dtype=int)
            A, b, unit = unit_rows(A[kept], b[kept])
            where = [at[labels[i]] for i in kept]
            return A @ w - b, cp.multiply(unit, self.slack[where]) if elastic else 0.0

        if keep.intersection(problem.row_names) and problem.A_ub is not None:
            excess, more = rows(problem.A_ub, problem.b_ub, problem.row_names)
            self.constraints.append(excess <= more)
        if keep.intersection(problem.equality_names):
            miss, more = rows(problem.A_eq, problem.b_eq, problem.equality_names)
            self.constraints += (
                [miss <= more, -miss <= more] if elastic else [miss == 0]
            )
        if TURNOVER in keep:
            moved = 0.5 * cp.norm1(w - problem.current)
            self.constraints.append(moved <= problem.turnover + room(TURNOVER))
        self.linear = TRACKING not in keep
        if TRACKING in keep:
            active = w if problem.benchmark is None else w - problem.benchmark
            size = cp.norm(problem.root.T @ active, 2)
            self.constraints.append(size <= problem.tracking_error + room(TRACKING))
        for name, bound, sign in (
            (LOWER, problem.lower, 1.0),
            (UPPER, problem.upper, -1.0),
        ):
            finite = np.flatnonzero(np.isfinite(bound))
            if name in keep and finite.size:
                inside = sign * (w[finite] - bound[finite])
                self.constraints.append(inside >= -room(name))

    def least(
        self, objective: Any, *, time_limit: float | None = None
    ) -> Vector | None:
        """(N,) weights of the least ``objective`` within the limits; None without."""
        import cvxpy as cp

        if not self.constraints:
            return np.zeros(self.w.size)
        program = cp.Problem(cp.Minimize(objective), self.constraints)
        if not solve(program, linear=self.linear, time_limit=time_limit).feasible:
            return None
        return np.asarray(self.w.value, dtype=np.float64)


def feasible(problem: ShortfallProblem, only: Iterable[str] | None = None) -> bool:
    """Whether some weights satisfy the limits named in ``only``; all by default."""
    return Limits(problem, only=only).least(0.0) is not None


def explain(problem: ShortfallProblem) -> InfeasibleError:
    """Build the error: an irreducible conflict and the smallest relaxation.

    The deletion filter (Chinneck and Dravnieks 1991) drops limits, halves of them
    first and then one by one, and keeps them dropped when the rest stays infeasible;
    what remains conflicts, and any single one of it removed leaves a feasible problem.
    The relaxation minimises the sum of slacks over all limits at once, each in its own
    unit.
    """
    conflict = limit_names(problem)
    size = len(conflict)
    while size > 1:
        size = (size + 1) // 2
        for i in range(0, len(conflict), size)[::-1]:
            rest = conflict[:i] + conflict[i + size :]
            try:
                still = not feasible(problem, rest)
            except SolverError:
                still = False
            if still:
                conflict = rest
    return InfeasibleError(
        "no weights satisfy these limits together: "
        + "; ".join(_describe(problem, name) for name in conflict),
        fix=f"Relax {' or '.join(conflict)}.",
        conflict=tuple(conflict),
        relaxation=_sentences(problem),
    )


def _sentences(problem: ShortfallProblem) -> tuple[str, ...]:
    import cvxpy as cp

    limits = Limits(problem, elastic=True)
    try:
        if limits.least(cp.sum(limits.slack)) is None:
            return ()
    except SolverError:
        return ()
    slack = np.asarray(limits.slack.value)
    return tuple(
        f"widen {name} by {more:.6g}"
        for name, more in zip(limits.names, slack, strict=True)
        if more > _IDLE
    )


def _describe(problem: ShortfallProblem, name: str) -> str:
    if name == TURNOVER:
        return f"turnover at most {problem.turnover:g}"
    if name == TRACKING:
        return f"tracking error at most {problem.tracking_error:g}"
    parts = []
    if problem.A_ub is not None:
        parts += [
            f"at most {b:g}"
            for other, b in zip(problem.row_names, problem.b_ub, strict=True)
            if other == name
        ]
    parts += [
        f"equal to {e:g}"
        for other, e in zip(problem.equality_names, problem.b_eq, strict=True)
        if other == name
    ]
    return f"{name} {' and '.join(parts)}" if parts else name


def no_least() -> UsageError:
    """Return the error for an objective that falls without end."""
    return UsageError(
        "the objective falls without end",
        fix="Give finite bounds, or weigh the expected shortfall more.",
    )
