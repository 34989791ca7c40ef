"""Never a silent solver: a declared order, a checked status, a recorded residual."""

from __future__ import annotations

import contextlib
import os
import sys
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
def _silence_highs() -> None:
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


def solve(problem: Any, *, linear: bool) -> Solved:
    """Solve a cvxpy problem by the declared order of solvers.

    Parameters
    ----------
    problem : cvxpy.Problem
        Minimisation.
    linear : bool
        Whether HiGHS may try first.

    Raises
    ------
    SolverError
        Every solver failed or left a constraint violated by more than 1e-6.
    """
    import cvxpy as cp

    if linear:
        _silence_highs()
    path = []
    for solver in LINEAR_ORDER if linear else CONIC_ORDER:
        try:
            with warnings.catch_warnings(), thread_limits(1):
                # cvxpy warns of inaccurate solutions; the status is checked below.
                warnings.simplefilter("ignore")
                problem.solve(solver=solver)
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
        residual = float(np.max([np.max(c.violation()) for c in problem.constraints]))
        path.append(f"{solver}: {status}, largest violation {residual:.1e}")
        if residual <= _RESIDUAL:
            return Solved(True, float(problem.value), tuple(path))
    raise SolverError(
        "no solver found an acceptable solution",
        received="; ".join(path),
        fix="Relax a limit slightly, or check the scale of the inputs.",
    )
