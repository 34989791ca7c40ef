"""The best ratio of return to risk, and the best return under a cap on risk.

Both lie on the efficient frontier, so that both are one search for the risk aversion
whose mean-variance portfolio is theirs; the last portfolio carries the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.errors import InfeasibleError, ModelError, UsageError
from engine.optimize._mean_variance import (
    MeanVarianceSolution,
    Problem,
    read_problem,
)
from engine.optimize._quadratic import Point
from engine.parallel import thread_limits

_DECADES = 14
_PRECISION = 1e-13
_RISKLESS = 1e-10
"""A variance this small beside the largest is that of cash."""

Found = tuple[Point, tuple[str, ...]]


def maximum_ratio(
    mean: Any, covariance: Any, *, risk_free: float = 0.0, **limits: Any
) -> MeanVarianceSolution:
    """Weights of the largest Sharpe ratio, ``(mean'w - risk_free) / volatility``.

    Parameters
    ----------
    mean, covariance
        As in `mean_variance`, per period.
    risk_free : float, default 0
        Return of cash over the same period, decimal.
    **limits
        ``lower``, ``upper``, ``A_ub``, ``b_ub``, ``A_eq``, ``b_eq`` and their names,
        as in `mean_variance`.

    Returns
    -------
    MeanVarianceSolution
        ``objective`` is minus the ratio and ``bound`` minus a proven upper bound on
        it; ``risk_aversion`` is the gamma at which mean-variance gives this portfolio
        (at the optimum, excess return over variance), to which prices belong.

    Raises
    ------
    ModelError
        No portfolio within the limits earns more than ``risk_free`` (the ratio would
        reward risk), or one without risk does (the ratio has no maximum).
    DataError, UsageError, InfeasibleError, SolverError
        As `mean_variance`.

    Notes
    -----
    At the optimum the gradient ``mean - gamma Sigma w`` supports the limits at w, and
    by Cauchy-Schwarz no other portfolio has a larger ratio: that is the bound.

    Examples
    --------
    >>> import numpy as np
    >>> s = maximum_ratio([0.04, 0.01], np.diag([0.04, 0.01]))
    >>> s.weights.round(6).tolist()
    [0.5, 0.5]
    """
    if not np.isfinite(risk_free):
        raise UsageError("risk_free must be a finite number", received=risk_free)
    with thread_limits(1):
        problem = read_problem(mean, covariance, **limits)
        best = _most_return(problem)
        if best <= risk_free:
            i = int(np.argmax(problem.mean))
            raise ModelError(
                "no portfolio within the limits earns more than the risk-free rate: "
                "the largest ratio would reward risk",
                asset=problem.risk.name(i),
                received=f"at best a mean of {best:.6g}, against {risk_free:.6g}",
                fix="Use minimum_variance, or review the means.",
            )
        least, _ = problem.point(1.0, np.zeros(problem.risk.n))
        floor = problem.volatility(least.w)

        def distance(point: Point, gamma: float) -> float:
            w = point.w
            excess = float(problem.mean @ w) - risk_free
            return excess - gamma * float(w @ (problem.risk @ w))

        riskless = floor**2 <= _RISKLESS * float(problem.risk.variances.max())
        idle = float(problem.mean @ least.w) - risk_free
        found = None if riskless and idle > 0 else _search(problem, distance)
        if found is None:
            raise ModelError(
                "the ratio has no maximum within the limits",
                received=f"a least volatility of {floor:.3g} with an excess return of "
                f"{idle:.3g}",
                fix="Bound the weights, and hold cash apart from the risky assets.",
            )
        gamma, (point, path) = found
        sigma = problem.volatility(point.w)
        excess = float(problem.mean @ point.w) - risk_free
        slack = max(point.gap + distance(point, gamma), 0.0)
        upper = gamma * sigma + (slack / floor if floor > 0 else np.inf)
        return problem.solution(
            point,
            (*path, "search for the risk aversion"),
            gamma=gamma,
            objective=-excess / sigma,
            bound=-max(upper, excess / sigma),
        )


def maximum_return(
    mean: Any, covariance: Any, *, volatility: float, **limits: Any
) -> MeanVarianceSolution:
    """Weights of the largest mean whose volatility is at most ``volatility``.

    Parameters
    ----------
    mean, covariance
        As in `mean_variance`, per period.
    volatility : float
        Cap on ``sqrt(w'Sigma w)``, per period, positive.
    **limits
        As in `mean_variance`.

    Returns
    -------
    MeanVarianceSolution
        ``objective`` is minus the mean and ``bound`` minus a proven upper bound on it;
        ``prices["volatility"]`` is what the mean would gain per unit of the cap.

    Raises
    ------
    InfeasibleError
        Even the least volatility within the limits exceeds the cap.
    DataError, UsageError, ModelError, SolverError
        As `mean_variance`.
    """
    if not (np.isfinite(volatility) and volatility > 0):
        raise UsageError("the volatility cap must be positive", received=volatility)
    with thread_limits(1):
        problem = read_problem(mean, covariance, **limits)
        least, _ = problem.point(1.0, np.zeros(problem.risk.n))
        floor = problem.volatility(least.w)
        if floor > volatility * (1.0 + 1e-9):
            raise InfeasibleError(
                "no portfolio within the limits has so little volatility",
                conflict=("volatility", "bounds", *problem.equality_names),
                relaxation=(f"volatility at least {floor:.6g}",),
                received=volatility,
                expected=f"at least {floor:.6g}",
            )

        def distance(point: Point, gamma: float) -> float:
            return float(point.w @ (problem.risk @ point.w)) / volatility**2 - 1.0

        found = _search(problem, distance)
        if found is None:  # the cap does not bind
            gamma = 10.0 ** (-_DECADES / 2) * _typical(problem)
            found = gamma, problem.point(gamma)
        gamma, (point, path) = found
        sigma = problem.volatility(point.w)
        earned = float(problem.mean @ point.w)
        upper = -point.bound + 0.5 * gamma * volatility**2
        s = problem.solution(
            point,
            (*path, "search for the risk aversion"),
            gamma=gamma,
            objective=-earned,
            bound=-max(upper, earned),
            violation=max(point.violation, sigma - volatility),
        )
        binds = sigma >= volatility * (1.0 - 1e-6)
        s.prices["volatility"] = gamma * sigma if binds else 0.0
        return s


def _most_return(problem: Problem) -> float:
    """Largest mean within the limits; infinite where nothing bounds it."""
    from scipy.optimize import linprog

    from engine.optimize.solve import silence_highs

    silence_highs()
    size = float(np.abs(problem.mean).max()) or 1.0
    done = linprog(
        -problem.mean / size,
        A_ub=problem.G if problem.h.size else None,
        b_ub=problem.h if problem.h.size else None,
        A_eq=problem.E if problem.e.size else None,
        b_eq=problem.e if problem.e.size else None,
        bounds=list(zip(problem.lower, problem.upper, strict=True)),
        method="highs",
        options={"dual_feasibility_tolerance": 1e-10},
    )
    if done.status == 2:
        raise InfeasibleError(
            "no portfolio satisfies the limits",
            conflict=("bounds", *problem.equality_names, *problem.row_names),
            fix="Widen a bound, or drop a row.",
        )
    return -size * float(np.asarray(done.fun)) if done.status == 0 else np.inf


def _typical(problem: Problem) -> float:
    """A risk aversion at which mean and variance weigh about the same."""
    variance = float(problem.risk.variances.mean())
    spread = float(np.abs(problem.mean).max())
    return max(spread, 1e-12) / variance if variance > 0 else 1.0


def _search(
    problem: Problem, distance: Callable[[Point, float], float]
) -> tuple[float, Found] | None:
    """Root of a function that falls with risk aversion; None where it has no root."""
    from scipy.optimize import brentq

    seen: dict[float, Found] = {}

    def at(x: float) -> float:
        gamma = float(np.exp(x))
        seen[x] = problem.point(gamma)
        return distance(seen[x][0], gamma)

    start = float(np.log(_typical(problem)))
    step = np.log(10.0)
    here, value = start, at(start)
    if value == 0.0:
        return float(np.exp(here)), seen[here]
    direction = 1.0 if value > 0 else -1.0
    for _ in range(_DECADES):
        there = here + direction * step
        other = at(there)
        if value * other <= 0:
            a, b = sorted((here, there))
            # brentq hands back a point at which it has evaluated.
            x = float(brentq(at, a, b, xtol=_PRECISION, rtol=4e-15, maxiter=100))
            if x not in seen:
                at(x)
            return float(np.exp(x)), seen[x]
        here, value = there, other
    return None
