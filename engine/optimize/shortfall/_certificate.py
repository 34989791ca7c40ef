"""How good weights are: everything recomputed, and a bound that no solver has to vouch.

For multipliers in their ranges the Lagrangian is a lower bound on the optimum, whoever
found them. With scenario prices q (``0 <= q_s <= kappa p_s / (1 - level)``, sum kappa),
row prices y >= 0, equality prices l, turnover price t >= 0, prices h of the active
risk Q'(w - w_b), and the quadratic term replaced by its tangent at the weights found,

    bound = -y'b - l'e - t turnover - |h| tracking_error + constants
            + sum_i min over lower_i <= w_i <= upper_i of  r_i w_i + cost_i(w_i - w_0i),
    r     = c - R'q + A'y + E'l + Q h + slope of the tangent,

where ``cost_i`` charges ``buy_i + t/2`` and ``sell_i + t/2`` (Rockafellar and Uryasev
2000 for the primal; weak duality for the rest).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import SolverError
from engine.optimize.shortfall._problem import ShortfallProblem, ShortfallSolution
from engine.risk import tail

_REACH = 1e3
"""An unbounded weight is priced up to this many times the largest one found."""


@dataclass(frozen=True)
class Multipliers:
    """Prices of the limits, in units of the objective.

    Attributes
    ----------
    scenarios : (S,) float64
    rows : (M,) float64
    equalities : (P,) float64
    turnover : float
    tracking : (K,) float64, optional
        Of Q'(w - w_b); its norm is the price of the tracking error.
    """

    scenarios: Vector
    rows: Vector
    equalities: Vector
    turnover: float = 0.0
    tracking: Vector | None = None

    @property
    def tracking_error(self) -> float:
        """Price of the tracking error."""
        return 0.0 if self.tracking is None else float(np.linalg.norm(self.tracking))


def probabilities(problem: ShortfallProblem) -> Vector:
    """(S,) probabilities, equal where none are given."""
    if problem.p is not None:
        return problem.p
    s = problem.returns.shape[0]
    return np.full(s, 1.0 / s)


def lower_bound(problem: ShortfallProblem, w: Vector, prices: Multipliers) -> float:
    """Lower bound on the optimum; see the module for the formula.

    Parameters
    ----------
    problem : ShortfallProblem
    w : (N,) float64
        Where the quadratic term is replaced by its tangent.
    prices : Multipliers
        Moved into their ranges first.

    Notes
    -----
    Where a bound is infinite the minimum is taken over weights up to a thousand times
    the largest one found: rounding in r would make the bound infinite otherwise.
    """
    n = problem.returns.shape[1]
    r = np.zeros(n) if problem.linear is None else problem.linear.copy()
    bound = 0.0
    if problem.shortfall_weight > 0:
        r -= _into_range(problem, prices.scenarios) @ problem.returns
    if problem.A_ub is not None:
        y = np.maximum(prices.rows, 0.0)
        r += y @ problem.A_ub
        bound -= float(y @ problem.b_ub)
    r += prices.equalities @ problem.A_eq
    bound -= float(prices.equalities @ problem.b_eq)
    if problem.root is not None:
        slope, constant = _active(problem, w, prices)
        r += slope
        bound += constant
    theta = 0.0
    if problem.turnover is not None:
        theta = max(prices.turnover, 0.0)
        bound -= theta * problem.turnover
    return bound + _least(problem, w, r, theta)


def _into_range(problem: ShortfallProblem, q: Vector) -> Vector:
    kappa = problem.shortfall_weight
    cap = kappa * probabilities(problem) / (1.0 - problem.level)
    q = np.clip(q, 0.0, cap)
    total = float(q.sum())
    if total >= kappa:
        return q * (kappa / total)
    room = cap - q
    return q + room * ((kappa - total) / float(room.sum()))


def _active(
    problem: ShortfallProblem, w: Vector, prices: Multipliers
) -> tuple[Vector, float]:
    """Slope and constant below gamma |x|^2, plus h'x - |h| limit, x = Q'(w - w_b)."""
    Q = problem.root
    wb = np.zeros(Q.shape[0]) if problem.benchmark is None else problem.benchmark
    x = Q.T @ (w - wb)
    gamma = problem.risk_aversion
    slope = 2.0 * gamma * (Q @ x)
    constant = -gamma * float(x @ x)
    if problem.tracking_error is not None and prices.tracking is not None:
        slope = slope + Q @ prices.tracking
        constant -= prices.tracking_error * problem.tracking_error
    return slope, constant - float(slope @ wb)


def _least(problem: ShortfallProblem, w: Vector, r: Vector, theta: float) -> float:
    """Sum over assets of the least of ``r w + cost(w - w_0)`` between the bounds."""
    far = _REACH * max(1.0, float(np.abs(w).max()))
    lower, upper = np.maximum(problem.lower, -far), np.minimum(problem.upper, far)
    if problem.current is None:
        return float(np.minimum(r * lower, r * upper).sum())
    w0 = problem.current
    zero = np.zeros(w0.size)
    buy = (zero if problem.buy is None else problem.buy) + 0.5 * theta
    sell = (zero if problem.sell is None else problem.sell) + 0.5 * theta
    # Convex with one kink: the least is at an end, or at the kink if it lies between.
    at = np.stack([lower, upper, np.clip(w0, lower, upper)])
    z = at - w0
    value = r * at + buy * np.maximum(z, 0.0) + sell * np.maximum(-z, 0.0)
    return float(value.min(axis=0).sum())


def certified(
    problem: ShortfallProblem,
    w: Vector,
    prices: Multipliers,
    *,
    path: str,
    iterations: int,
    scenarios_used: int,
    notes: tuple[str, ...] = (),
) -> ShortfallSolution:
    """Solution with everything recomputed from weights and multipliers.

    Weights beyond a bound by a solver's rounding are moved onto it; the largest
    violation of any limit is measured afterwards.

    Raises
    ------
    SolverError
        Weights that are not finite.
    """
    if not np.isfinite(w).all():
        raise SolverError(
            "a solver returned weights that are not numbers", received=path
        )
    w = np.clip(w, problem.lower, problem.upper)
    risk = tail(-(problem.returns @ w), level=problem.level, p=problem.p)
    named: dict[str, float] = {}
    pairs = [*zip(problem.row_names, prices.rows, strict=True)]
    pairs += zip(problem.equality_names, prices.equalities, strict=True)
    if problem.turnover is not None:
        pairs.append(("turnover", prices.turnover))
    if problem.tracking_error is not None:
        pairs.append(("tracking error", prices.tracking_error))
    for name, price in pairs:  # a limit given as two rows has one name
        named[name] = named.get(name, 0.0) + float(price)
    return ShortfallSolution(
        weights=w,
        objective=problem.objective(w),
        bound=lower_bound(problem, w, prices),
        expected_shortfall=risk.expected_shortfall,
        value_at_risk=risk.value_at_risk,
        path=path,
        iterations=iterations,
        scenarios_used=scenarios_used,
        violation=problem.violation(w),
        prices=named,
        notes=notes,
    )


def scale_of(problem: ShortfallProblem) -> float:
    """Factor that brings the returns, and with them the objective, to order one.

    Solvers stop at absolute tolerances near 1e-8, which is coarse beside a daily loss
    of 0.01. A power of two: scaling then rounds nothing.
    """
    R = problem.returns
    size = float(np.abs(R[:: max(1, R.shape[0] // 2000)]).mean())
    return 1.0 if size == 0.0 else float(2.0 ** np.round(-np.log2(size)))


def objective_scale(problem: ShortfallProblem) -> float:
    """What a weight of one usually adds to the objective, all terms together.

    Terms may cancel, and a digit of nothing is no measure.
    """
    total = problem.shortfall_weight / scale_of(problem)
    for rate in (problem.linear, problem.buy, problem.sell):
        if rate is not None:
            total += float(np.abs(rate).max())
    if problem.root is not None and problem.risk_aversion > 0:
        variance = np.einsum("ik,ik->i", problem.root, problem.root)
        total += problem.risk_aversion * float(variance.max())
    return total


def largest_violation(problem: ShortfallProblem, w: Vector) -> float:
    """Largest violation of any limit, each row in units of its largest coefficient.

    `ShortfallProblem.violation` is in a row's own unit, and a row in money is never met
    to 1e-7 of that.
    """
    parts = [0.0, float(np.max(problem.lower - w)), float(np.max(w - problem.upper))]
    if problem.A_ub is not None:
        A, b, _ = unit_rows(problem.A_ub, problem.b_ub)
        parts.append(float(np.max(A @ w - b, initial=0.0)))
    E, e, _ = unit_rows(problem.A_eq, problem.b_eq)
    parts.append(float(np.max(np.abs(E @ w - e), initial=0.0)))
    if problem.turnover is not None:
        moved = 0.5 * float(np.abs(w - problem.current).sum())
        parts.append(moved - problem.turnover)
    if problem.tracking_error is not None:
        # Relative: a daily tracking error is itself near 1e-3.
        excess = problem.active_risk(w) - problem.tracking_error
        parts.append(excess / max(problem.tracking_error, 1e-3))
    return max(parts)


def unit_rows(A: Matrix, b: Vector) -> tuple[Matrix, Vector, Vector]:
    """Rows with their largest coefficient one, and the factor each was multiplied by.

    A row may be in money or in percentage points; solvers stop at absolute tolerances.
    """
    size = np.abs(A).max(axis=1)
    unit = np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 1.0)
    return A * unit[:, None], b * unit, unit
