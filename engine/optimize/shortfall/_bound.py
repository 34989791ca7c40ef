"""A lower bound on the optimum from multipliers, whoever found them.

For ``q`` in [0, kappa p / (1 - level)] with sum kappa, ``nu, tau, cone >= 0`` and any
``lam``, the Lagrangian is below the objective of every feasible portfolio. Its square
terms are replaced by their tangent at a given portfolio, which is below them; what is
left is a piecewise linear function of each weight, least at a bound or at the current
weight. Nothing here relies on the multipliers being optimal: they are made feasible
first.
"""

from __future__ import annotations

import numpy as np

from engine._typing import Vector
from engine.optimize.shortfall._problem import ShortfallProblem
from engine.optimize.shortfall._reduction import Duals, implied_bounds

_FAR = 10.0


def feasible_tail(q: Vector, top: Vector, total: float) -> Vector:
    """``q`` moved into [0, top] with sum ``total``, which ``top`` sums to at least."""
    q = np.clip(q, 0.0, top)
    for _ in range(3):
        have = float(q.sum())
        if have > total:
            q = q * (total / have)
        elif have < total:
            room = top - q
            left = float(room.sum())
            if left > 0:
                q = q + room * min(1.0, (total - have) / left)
    return q


def lower_bound(
    problem: ShortfallProblem, duals: Duals, mass: Vector, w: Vector
) -> float:
    """Value that no feasible portfolio goes below.

    Parameters
    ----------
    problem : ShortfallProblem
    duals : Duals
    mass : (M,) float64
        Probability of each scenario in ``duals.rows``, repeated ones added.
    w : (N,) float64
        Where the square terms are replaced by tangents; any weights are right, the
        optimal ones give the best bound.

    Returns
    -------
    float
        Where a weight has no bound, nor one that the equalities imply, weights more
        than 10 (times its own size, if larger) from ``w`` are not looked at: the slope
        there is a rounding error, which no finite number of digits tells from zero.
    """
    p, kappa = problem, problem.shortfall_weight
    g = np.zeros(w.size) if p.linear is None else p.linear.copy()
    value = 0.0
    if kappa > 0:
        top = kappa * mass / (1.0 - p.level)
        q = feasible_tail(duals.q, top, kappa)
        if q.sum() < kappa * (1.0 - 1e-9):
            return -np.inf
        g -= p.returns[duals.rows].T @ q
    if p.A_ub is not None:
        nu = np.maximum(duals.nu, 0.0)
        g += p.A_ub.T @ nu
        value -= float(p.b_ub @ nu)
    g += p.A_eq.T @ duals.lam
    value -= float(p.b_eq @ duals.lam)
    if p.root is not None and (p.risk_aversion > 0 or p.tracking_error is not None):
        benchmark = np.zeros(w.size) if p.benchmark is None else p.benchmark
        y = p.root.T @ (w - benchmark)
        weight = p.risk_aversion
        if p.tracking_error:
            cone = max(duals.cone, 0.0)
            weight += cone / (2.0 * p.tracking_error)
            value -= 0.5 * cone * p.tracking_error
        slope = 2.0 * weight * (p.root @ y)
        g += slope
        value -= weight * float(y @ y) + float(slope @ benchmark)
    far = _FAR * max(1.0, float(np.abs(w).max()))
    lower, upper = implied_bounds(p)
    lower = np.where(np.isfinite(lower), lower, np.minimum(w - far, p.upper))
    upper = np.where(np.isfinite(upper), upper, np.maximum(w + far, p.lower))
    if p.current is None:
        return value + float(np.minimum(g * lower, g * upper).sum())
    tau = 0.0
    if p.turnover is not None:
        tau = max(duals.tau, 0.0)
        value -= tau * p.turnover
    buy = 0.5 * tau + (0.0 if p.buy is None else p.buy)
    sell = 0.5 * tau + (0.0 if p.sell is None else p.sell)
    least = np.full(w.size, np.inf)
    for at in (lower, upper, np.clip(p.current, lower, upper)):
        z = at - p.current
        cost = buy * np.maximum(z, 0.0) + sell * np.maximum(-z, 0.0)
        least = np.minimum(least, g * at + cost)
    return value + float(least.sum())
