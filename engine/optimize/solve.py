"""Never a silent solver: a declared order, a checked status, a recorded residual."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from engine.errors import SolverError
from engine.parallel import thread_limits

CONIC_ORDER = ("CLARABEL", "SCS")
LINEAR_ORDER = ("HIGHS", "CLARABEL")
_RESIDUAL = 1e-6
_PRECISE = {"tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
_TIME_OPTION = {
    "CLARABEL": "time_limit",
    "SCS": "time_limit_secs",
    "HIGHS": "time_limit",
}


@dataclass(frozen=True, slots=True)
class Solved:
    """Outcome of one solve.

    ``feasible`` is False only when a solver proved infeasibility; every other failure
    raises `SolverError`.
    """

    feasible: bool
    value: float
    path: tuple[str, ...]


@cache
def silence_highs() -> None:
    """Make the first HiGHS object where its notice cannot reach the standard output.

    HiGHS 1.16 writes two lines there on first use, whatever its options say; the
    standard output belongs to results (``--json`` promises one document).
    """
    import highspy

    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        sys.stdout.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, null)
        saved = os.dup(1)
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, 1)
        os.dup2(null, 1)
        highspy.Highs()


def seconds_left(deadline: float) -> float:
    """Seconds to a deadline; a `SolverError` once it has passed."""
    left = deadline - time.perf_counter()
    if left <= 0.0:
        raise SolverError(
            "the time limit has passed before a solution was found",
            fix="Raise time_limit, or use fewer scenarios or limits.",
        )
    return left


def solve(
    problem: Any,
    *,
    linear: bool,
    time_limit: float | None = None,
    precise: bool = False,
    deadline: float = math.inf,
) -> Solved:
    """Solve a cvxpy problem by the declared order of solvers.

    Parameters
    ----------
    problem : cvxpy.Problem
        Minimisation.
    linear : bool
        Whether HiGHS may try first.
    time_limit : float, optional
        Seconds for all solvers together; none by default.
    precise : bool, default False
        Ask Clarabel for 1e-10 instead of 1e-8: its duals then prove the objective to
        six digits. Where it cannot get there it reports the looser status.
    deadline : float, optional
        `time.perf_counter` at which the solvers stop.

    Raises
    ------
    SolverError
        Every solver failed, ran out of time, or left a constraint violated by more
        than 1e-6; or the deadline passed.
    """
    import cvxpy as cp

    if linear:
        silence_highs()
    path = []
    end = None if time_limit is None else time.perf_counter() + time_limit
    for solver in LINEAR_ORDER if linear else CONIC_ORDER:
        options: dict[str, float] = (
            dict(_PRECISE) if precise and solver == "CLARABEL" else {}
        )
        if end is not None:
            left = end - time.perf_counter()
            if left <= 0:
                path.append(f"{solver}: no time left of {time_limit:g} s")
                continue
            options[_TIME_OPTION[solver]] = left
        if deadline < math.inf:
            left = seconds_left(deadline)
            options[_TIME_OPTION[solver]] = min(
                left, options.get(_TIME_OPTION[solver], left)
            )
        try:
            with warnings.catch_warnings(), thread_limits(1):
                # cvxpy warns of inaccurate solutions; the status is checked below.
                warnings.simplefilter("ignore")
                problem.solve(solver=solver, **options)
        except (cp.SolverError, ValueError, ArithmeticError) as error:
            path.append(f"{solver}: failed ({str(error).splitlines()[0][:80]})")
            continue
        status = problem.status
        if status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
            path.append(f"{solver}: {status}")
            return Solved(False, float("inf"), tuple(path))
        if status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
            path.append(f"{solver}: {status}")
            continue
        with np.errstate(divide="ignore", invalid="ignore"):  # a cone at its tip
            residual = float(
                np.max([np.max(c.violation()) for c in problem.constraints])
            )
        path.append(f"{solver}: {status}, largest violation {residual:.1e}")
        if residual <= _RESIDUAL:
            return Solved(True, float(problem.value), tuple(path))
    if deadline < math.inf:
        seconds_left(deadline)
    raise SolverError(
        "no solver found an acceptable solution",
        received="; ".join(path),
        fix="Relax a limit slightly, or check the scale of the inputs.",
    )
