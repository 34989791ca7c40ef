"""The textbook program in cvxpy: every term and limit as it is written, the reference.

    minimise    c'w + kappa [a + sum_s p_s u_s / (1 - level)] + ...
    subject to  u_s >= -r_s'w - a,  u_s >= 0,  and the limits

(Rockafellar and Uryasev 2000, eq. 17).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Vector
from engine.errors import SolverError
from engine.optimize.shortfall._certificate import (
    Multipliers,
    certified,
    probabilities,
    scale_of,
    unit_rows,
)
from engine.optimize.shortfall._conflict import explain, no_least
from engine.optimize.shortfall._problem import ShortfallProblem, ShortfallSolution
from engine.optimize.solve import solve


def is_linear(problem: ShortfallProblem) -> bool:
    """Whether the problem is a linear program."""
    return problem.risk_aversion == 0 and problem.tracking_error is None


def has_trades(problem: ShortfallProblem) -> bool:
    """Whether buying and selling enter the problem at all."""
    return not (
        problem.turnover is None and problem.buy is None and problem.sell is None
    )


def solve_textbook(
    problem: ShortfallProblem, *, time_limit: float | None = None
) -> ShortfallSolution:
    """Solve with cvxpy: HiGHS first where the problem is linear, else Clarabel.

    Parameters
    ----------
    problem : ShortfallProblem
        Any; this path expresses all of it.
    time_limit : float, optional
        Seconds for all solvers together.

    Raises
    ------
    InfeasibleError
        No weights satisfy the limits; names an irreducible set of them.
    UsageError
        The objective has no least value.
    SolverError
        Every solver failed, ran out of time, or left a limit violated.
    """
    import cvxpy as cp

    s, n = problem.returns.shape
    scale = scale_of(problem)
    linear, kappa = is_linear(problem), problem.shortfall_weight
    w = cp.Variable(n)
    terms: list[Any] = []
    named: dict[str, Any] = {}
    if problem.linear is not None:
        terms.append((scale * problem.linear) @ w)
    if kappa > 0:
        a, u = cp.Variable(), cp.Variable(s, nonneg=True)
        named["scenarios"] = u >= -(scale * problem.returns) @ w - a
        beyond = probabilities(problem) / (1.0 - problem.level)
        terms.append(kappa * (a + beyond @ u))
    extra: list[Any] = []
    if has_trades(problem):
        b, d = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        extra.append(w - problem.current == b - d)
        for rate, side in ((problem.buy, b), (problem.sell, d)):
            if rate is not None:
                terms.append((scale * rate) @ side)
        if problem.turnover is not None:
            named["turnover"] = 0.5 * cp.sum(b + d) <= problem.turnover
    for bound, sign in ((problem.lower, 1.0), (problem.upper, -1.0)):
        rows = np.flatnonzero(np.isfinite(bound))
        if rows.size:
            extra.append(sign * w[rows] >= sign * bound[rows])
    row_unit = np.empty(0)
    if problem.A_ub is not None and problem.A_ub.shape[0]:
        A, right, row_unit = unit_rows(problem.A_ub, problem.b_ub)
        named["rows"] = A @ w <= right
    E, equal, equality_unit = unit_rows(problem.A_eq, problem.b_eq)
    if equal.size:
        named["equalities"] = E @ w == equal
    if not linear:
        wb = np.zeros(n) if problem.benchmark is None else problem.benchmark
        active = problem.root.T @ (w - wb)
        if problem.risk_aversion > 0:
            terms.append((scale * problem.risk_aversion) * cp.sum_squares(active))
        if problem.tracking_error is not None:
            # Its own unit, so that the solver's tolerance is relative to the limit.
            unit = 1.0 / problem.tracking_error if problem.tracking_error > 0 else 1.0
            limit = unit * problem.tracking_error
            named["tracking error"] = cp.SOC(cp.Constant(limit), unit * active)
    if not terms:
        terms.append(cp.Constant(0.0))
    program = cp.Problem(cp.Minimize(sum(terms)), [*named.values(), *extra])
    try:
        solved = solve(program, linear=linear, time_limit=time_limit, precise=True)
    except SolverError as error:
        if "unbounded" in str(error.received):
            raise no_least() from error
        raise
    if not solved.feasible:
        raise explain(problem)

    def dual(name: str, size: int) -> Vector:
        if name not in named:
            return np.zeros(size)
        return np.asarray(named[name].dual_value, dtype=np.float64).reshape(size)

    unit = 1.0
    if problem.tracking_error:
        unit = 1.0 / problem.tracking_error
    tracking = None
    if "tracking error" in named:
        dual_values: Any = named["tracking error"].dual_value
        cone = np.asarray(dual_values[1], dtype=np.float64)
        tracking = -cone.reshape(-1) * unit / scale
    prices = Multipliers(
        scenarios=dual("scenarios", s),  # of scaled losses: the scale cancels
        rows=dual("rows", row_unit.size) * row_unit / scale,
        equalities=dual("equalities", equal.size) * equality_unit / scale,
        turnover=float(dual("turnover", 1)[0]) / scale,
        tracking=tracking,
    )
    return certified(
        problem,
        np.asarray(w.value, dtype=np.float64),
        prices,
        path="textbook",
        iterations=int(getattr(program.solver_stats, "num_iters", None) or 0),
        scenarios_used=s,
        notes=tuple(f"textbook: {step}" for step in solved.path),
    )
