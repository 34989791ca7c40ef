"""Minimum expected shortfall by an interior point on the scenarios that matter."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engine._base import frozen_array
from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize.shortfall._limits import explain_failure
from engine.optimize.shortfall._problem import ShortfallProblem, ShortfallSolution
from engine.optimize.shortfall._reduction import Duals, Reduced, reduce
from engine.optimize.shortfall._screening import Found, screened
from engine.parallel import thread_limits
from engine.risk import tail

PATH = "interior point"


def solve_interior(
    problem: ShortfallProblem,
    *,
    tolerance: float = 1e-7,
    start: Any = None,
    max_iterations: int = 200,
    time_limit: float | None = None,
) -> ShortfallSolution:
    """Solve by the structured interior point, to a proven gap.

    Parameters
    ----------
    problem : ShortfallProblem
    tolerance : float, default 1e-7
        Largest gap between the objective and its lower bound, relative to the
        objective or to shortfall_weight times a typical loss, whichever is larger:
        far below what any estimate of the tail is good for.
    start : (N,) array_like or ShortfallSolution, optional
        Weights to start from: the previous point of a frontier, the previous date of
        a walk-forward. They need not meet the limits.
    max_iterations : int, default 200
        Newton steps, over all rounds.
    time_limit : float, optional
        Seconds.

    Returns
    -------
    ShortfallSolution
        With the prices of rows, equalities, ``turnover`` and ``tracking error``.

    Raises
    ------
    InfeasibleError
        No weights meet the limits (proven by a linear program on them, or by the
        least active risk).
    UsageError
        The objective falls without end along a direction that the limits allow.
    SolverError
        Gap open at the limit of iterations or of time, or limits without inside (a
        tracking error of zero); another path may do it. Nothing is returned.
    """
    if not (0.0 < tolerance < 1.0):
        raise UsageError("tolerance must lie in (0, 1)", received=tolerance)
    n = problem.returns.shape[1]
    if isinstance(start, ShortfallSolution):
        start = start.weights
    if start is not None:
        start = frozen_array(start, name="start", ndim=1, shape=(n,))
    if problem.tracking_error == 0.0:
        raise SolverError("a tracking error of zero leaves an interior point no room")
    deadline = np.inf if time_limit is None else time.monotonic() + time_limit
    with thread_limits(1):
        reduced = reduce(problem)
        if not reduced.free.size:
            return _held(reduced)
        try:
            found = screened(
                reduced,
                tolerance=tolerance,
                start=start,
                max_iterations=max_iterations,
                deadline=deadline,
            )
        except SolverError:
            explain_failure(problem)
            raise
        return _solution(reduced, found)


def _held(reduced: Reduced) -> ShortfallSolution:
    """The only portfolio there is, or `InfeasibleError`."""
    p = reduced.problem
    violation = max(p.violation(reduced.held), 0.0)
    if violation > 1e-9:
        raise InfeasibleError(
            "the only weights the bounds allow break another limit",
            received=f"{violation:.3g} too much",
            conflict=("bounds",),
        )
    objective = p.objective(reduced.held)
    found = Found(reduced.held, objective, objective, violation=violation)
    found.notes.append("bounds leave one portfolio")
    return _solution(reduced, found)


def _solution(reduced: Reduced, found: Found) -> ShortfallSolution:
    p = reduced.problem
    law = tail(-(p.returns @ found.w), level=p.level, p=p.p)
    return ShortfallSolution(
        weights=frozen_array(found.w, name="weights", ndim=1),
        objective=found.objective,
        bound=min(found.bound, found.objective),
        expected_shortfall=law.expected_shortfall,
        value_at_risk=law.value_at_risk,
        path=PATH,
        iterations=found.iterations,
        scenarios_used=found.scenarios,
        violation=found.violation,
        prices=_prices(p, found.duals),
        notes=tuple(f"{PATH}: {note}" for note in found.notes),
    )


def _prices(p: ShortfallProblem, duals: Duals | None) -> dict[str, float]:
    if duals is None:
        return {}
    prices = dict(zip(p.row_names, map(float, duals.nu), strict=True))
    prices |= zip(p.equality_names, map(float, duals.lam), strict=True)
    if p.turnover is not None:
        prices["turnover"] = duals.tau
    if p.tracking_error is not None:
        prices["tracking error"] = duals.cone
    return prices
