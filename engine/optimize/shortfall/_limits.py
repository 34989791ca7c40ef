"""Why an interior point failed: limits nobody meets, or an objective without end.

Asked only after a failure, because either costs a solve of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Matrix
from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize.shortfall._interior_point import solve_core
from engine.optimize.shortfall._problem import ShortfallProblem
from engine.optimize.shortfall._reduction import reduce
from engine.optimize.shortfall._screening import inside, screened

_MISSED = 1e-7


def explain_failure(problem: ShortfallProblem) -> None:
    """Raise `InfeasibleError` or `UsageError` where that is why; return otherwise."""
    _check_linear(problem)
    if problem.tracking_error is not None:
        _check_tracking(problem)
    if not (np.isfinite(problem.lower).all() and np.isfinite(problem.upper).all()):
        _check_ray(problem)


def _check_linear(p: ShortfallProblem) -> None:
    """Least total excess over rows, equalities and turnover, as a linear program."""
    from scipy.optimize import linprog
    from scipy.sparse import bmat, csr_array, eye_array

    n = p.returns.shape[1]
    limits: list[tuple[str, Any, float, bool]] = []
    if p.A_ub is not None:
        limits += [
            (name, row, float(b), False)
            for name, row, b in zip(p.row_names, p.A_ub, p.b_ub, strict=True)
        ]
    limits += [
        (name, row, float(b), True)
        for name, row, b in zip(p.equality_names, p.A_eq, p.b_eq, strict=True)
    ]
    trades = p.turnover is not None
    m = len(limits)
    columns = n * (3 if trades else 1) + 2 * m + int(trades)
    over: list[Matrix] = []
    right: list[float] = []
    for j, (_, row, b, equal) in enumerate(limits):
        size = max(float(np.abs(row).max()), 1e-300)
        for sign in (1.0, -1.0) if equal else (1.0,):
            line = np.zeros(columns)
            line[:n] = sign * row / size
            line[columns - 2 * m - int(trades) + 2 * j + (sign < 0)] = -1.0
            over.append(line)
            right.append(sign * b / size)
    A: Any = csr_array(np.array(over)) if over else None
    extra: dict[str, Any] = {}
    cost = np.zeros(columns)
    cost[columns - 2 * m - int(trades) :] = 1.0
    bounds = [*zip(p.lower, p.upper, strict=True)]
    if trades:
        assert p.turnover is not None
        one = eye_array(n, format="csr")
        rest = csr_array((n, columns - 3 * n))
        extra = {"A_eq": bmat([[one, -one, one, rest]]), "b_eq": p.current}
        line = np.zeros(columns)
        line[n : 3 * n] = 0.5
        line[-1] = -1.0
        A = csr_array(np.vstack([*over, line]))
        right.append(p.turnover)
    bounds += [(0.0, None)] * (columns - n)
    if A is None:
        return
    out = linprog(cost, A_ub=A, b_ub=np.array(right), bounds=bounds, **extra)
    if out.status == 2 or (out.status == 0 and out.fun > _MISSED):
        excess = [] if out.x is None else out.x[columns - 2 * m - int(trades) :]
        missed = [
            (limits[j][0], float(excess[2 * j] + excess[2 * j + 1]))
            for j in range(m)
            if len(excess) and excess[2 * j] + excess[2 * j + 1] > 0.1 * _MISSED
        ]
        if trades and len(excess) and excess[-1] > 0.1 * _MISSED:
            missed.append(("turnover", float(excess[-1])))
        raise InfeasibleError(
            "no weights meet the limits",
            received="; ".join(f"{name} missed by {by:.3g}" for name, by in missed),
            fix="Relax one of the limits named, or what stands against it.",
            relaxation=tuple(f"{name}: {by:.3g} more room" for name, by in missed),
        )


def _check_tracking(p: ShortfallProblem) -> None:
    """Least active risk under the other limits, by the same interior point."""
    t = p.tracking_error
    assert t is not None
    reduced = reduce(p)
    core = reduced.core(np.zeros(0, dtype=np.int64), 1.0)
    none = np.zeros(core.linear.size)
    core.kappa, core.gamma, core.tracking, core.linear = 0.0, 1.0, None, none
    if core.turnover is None:
        core.traded = np.zeros(0, dtype=np.int64)
        core.current = core.buy = core.sell = none[:0]
    else:
        core.buy, core.sell = np.zeros_like(core.buy), np.zeros_like(core.sell)
    try:
        point = solve_core(core, inside(core), mu=0.1 / none.size, tolerance=1e-9)
    except SolverError:
        return
    assert core.root is not None
    y = core.root.T @ point.w + core.offset
    least = float(y @ y) - point.gap
    if point.converged and least > 1.0 + 1e-6:
        raise InfeasibleError(
            "no weights within the other limits track this closely",
            received=f"tracking error {t:.6g}",
            expected=f"at least {t * np.sqrt(least):.6g}",
            fix="Allow more tracking error, or relax another limit.",
            conflict=("tracking error",),
        )


def _check_ray(p: ShortfallProblem) -> None:
    """Look for a direction the limits allow in which the objective always falls."""
    if p.turnover is not None:
        return
    n = p.returns.shape[1]
    equal = [p.A_eq]
    if p.root is not None and (p.risk_aversion > 0 or p.tracking_error is not None):
        equal.append(p.root.T)
    E = np.vstack(equal)
    ray = ShortfallProblem(
        returns=p.returns,
        p=p.p,
        level=p.level,
        shortfall_weight=p.shortfall_weight,
        linear=p.linear,
        lower=np.where(np.isfinite(p.lower), 0.0, -1.0),
        upper=np.where(np.isfinite(p.upper), 0.0, 1.0),
        A_ub=p.A_ub,
        b_ub=None if p.b_ub is None else np.zeros_like(p.b_ub),
        A_eq=E,
        b_eq=np.zeros(E.shape[0]),
        current=None if p.current is None else np.zeros(n),
        buy=p.buy,
        sell=p.sell,
    )
    reduced = reduce(ray)
    if not reduced.free.size:
        return
    try:
        found = screened(
            reduced, tolerance=1e-6, start=None, max_iterations=100, deadline=np.inf
        )
    except SolverError:
        return
    scale = float(np.abs(p.returns).mean()) * max(p.shortfall_weight, 1e-12)
    if found.objective < -1e-5 * scale:
        raise UsageError(
            "the objective falls without end: the limits let weights grow for ever",
            received=f"an objective of {found.objective:.3g} per unit of a direction",
            fix="Bound the weights, or the reward in `linear`.",
        )
