"""Minimum expected shortfall: which way to solve it, and a check of what came back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from engine._base import frozen_array
from engine.errors import InfeasibleError, SolverError, UsageError
from engine.optimize.shortfall._certificate import (
    largest_violation,
    objective_scale,
)
from engine.optimize.shortfall._conflict import explain, feasible
from engine.optimize.shortfall._dual_linear import solve_dual_linear
from engine.optimize.shortfall._interior import solve_interior
from engine.optimize.shortfall._problem import ShortfallProblem, ShortfallSolution
from engine.optimize.shortfall._textbook import is_linear, solve_textbook

Method = Literal["auto", "interior_point", "dual_linear", "textbook"]
METHODS = ("auto", "interior_point", "dual_linear", "textbook")

_VIOLATION = 1e-7
"""Of a weight, or of a row's largest coefficient: below what any trade can move."""
_SIMPLEX = 100_000
"""Returns (S times N) up to which the simplex method on the dual takes less time than
the interior point: measured from N 10 to 200, where they cross between S 500 and
4,000."""
_GAP = 1e-6
"""Relative: the promise that all ways give the same shortfall to six digits."""


def minimum_shortfall(
    problem: ShortfallProblem,
    *,
    method: Method = "auto",
    tolerance: float = 1e-8,
    start: Any = None,
    time_limit: float | None = None,
) -> ShortfallSolution:
    """Weights of least expected shortfall, cost and active risk, within the limits.

    Parameters
    ----------
    problem : ShortfallProblem
    method : {"auto", "interior_point", "dual_linear", "textbook"}, default "auto"
        ``auto`` tries, in this order, the structured interior point, HiGHS on the dual
        linear program (only without quadratic terms) and the textbook program in
        cvxpy. Up to 100,000 returns (S times N), and where the objective has no
        expected shortfall, the dual program comes first. Any other value tries that
        one alone.
    tolerance : float, default 1e-8
        Relative duality gap at which the interior point stops.
    start : (N,) array_like, optional
        Weights near the solution; only the interior point can use them.
    time_limit : float, optional
        Seconds for all attempts together; none by default.

    Returns
    -------
    ShortfallSolution
        ``notes`` records each attempt with its status and residuals.

    Raises
    ------
    InfeasibleError
        No weights satisfy the limits; ``conflict`` is an irreducible set of them.
    UsageError
        An unknown method, a problem the method cannot express, or an objective that
        falls without end.
    SolverError
        No attempt gave weights within 1e-7 of every limit and proved them optimal to
        1e-6 (or ``tolerance``, if larger) of the objective, or of what its terms
        usually amount to where they cancel. Weights that fail these checks are never
        returned.

    Notes
    -----
    Rockafellar and Uryasev (2000), "Optimization of conditional value-at-risk".

    Examples
    --------
    >>> from engine.optimize import ShortfallProblem
    >>> problem = ShortfallProblem([[0.02, 0.0], [-0.04, 0.0], [0.01, 0.0]], level=0.5)
    >>> minimum_shortfall(problem).weights.round(6).tolist()
    [0.0, 1.0]
    """
    if method not in METHODS:
        raise UsageError("unknown method", received=repr(method), expected=METHODS)
    for name, value in (("tolerance", tolerance), ("time_limit", time_limit)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} must be positive", received=value)
    if np.isposinf(problem.lower).any() or np.isneginf(problem.upper).any():
        raise UsageError("a lower bound of infinity, or an upper one of minus infinity")
    if start is not None:
        n = problem.returns.shape[1]
        start = frozen_array(start, name="start", ndim=1, shape=(n,))
    end = None if time_limit is None else time.monotonic() + time_limit
    notes: list[str] = []
    last: Exception | None = None
    for way in _order(problem) if method == "auto" else (method,):
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            notes.append(f"{way}: no time left of {time_limit:g} s")
            continue
        try:
            # What comes back is checked: an overflow on the way there is no news.
            with np.errstate(all="ignore"):
                found = _solver(way)(problem, tolerance, start, left)
        except InfeasibleError:
            if not feasible(problem):
                raise explain(problem) from None
            notes.append(f"{way}: called the limits infeasible, and they are not")
            continue
        except (SolverError, UsageError, ArithmeticError, np.linalg.LinAlgError) as e:
            last = e
            notes.append(f"{way}: {e}")
            continue
        wrong = _check(problem, found, tolerance)
        if not wrong:
            return replace(found, notes=(*notes, *found.notes))
        notes.append(f"{way}: {wrong}")
    if isinstance(last, UsageError):
        raise last
    raise SolverError(
        "no acceptable solution of the expected-shortfall problem",
        received="; ".join(notes),
        fix="Allow more time, relax a limit, or check the scale of the inputs.",
    ) from last


def _order(problem: ShortfallProblem) -> tuple[str, ...]:
    """Ways to try, in order."""
    if not is_linear(problem):
        return ("interior_point", "textbook")
    no_tail = problem.shortfall_weight == 0  # a plain linear program of N columns
    if no_tail or problem.returns.size <= _SIMPLEX:
        return ("dual_linear", "interior_point", "textbook")
    return ("interior_point", "dual_linear", "textbook")


Attempt = Callable[[ShortfallProblem, float, Any, Any], ShortfallSolution]


def _solver(way: str) -> Attempt:
    if way == "dual_linear":
        return lambda problem, tolerance, start, left: solve_dual_linear(
            problem, time_limit=left
        )
    if way == "textbook":
        return lambda problem, tolerance, start, left: solve_textbook(
            problem, time_limit=left
        )
    return _interior


def _interior(
    problem: ShortfallProblem, tolerance: float, start: Any, left: float | None
) -> ShortfallSolution:
    return solve_interior(problem, tolerance=tolerance, start=start, time_limit=left)


def _check(
    problem: ShortfallProblem, found: ShortfallSolution, tolerance: float
) -> str:
    """Why a solution is not good enough; empty if it is."""
    violation = largest_violation(problem, found.weights)
    if not violation <= _VIOLATION:
        return f"a limit is violated by {violation:.1e}"
    size = max(
        abs(found.objective),
        problem.shortfall_weight * abs(found.expected_shortfall),
        objective_scale(problem),
    )
    gap = found.gap / size if size > 0 else found.gap
    allowed = max(_GAP, tolerance)
    if not -allowed <= gap <= allowed:
        return f"duality gap {gap:.1e} of the objective, {allowed:.0e} allowed"
    return ""
