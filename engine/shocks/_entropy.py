"""Minimum relative entropy under linear views: the dual, by projected Newton.

    min_q sum q ln(q/p)   s.t.  E_q[a_k] = b_k,  E_q[a_k] >= b_k  or  E_q[a_k] <= b_k

The solution is ``q_s = p_s exp(l'(a_s - b)) / Z(l)`` with ``l`` the minimum of the
convex dual ``ln Z(l)``, ``l_k >= 0`` for a lower view and ``<= 0`` for an upper one
(Meucci 2008, appendix A; the normalisation is solved out). Its gradient is
``E_q[a] - b`` and its Hessian the covariance of the views under ``q``: with m views a
Newton step is one pass over an m x S array, and a dozen steps do (projected Newton:
Bertsekas 1982).

A posterior exists only if some ``q`` satisfies all views, and then its relative entropy
is at most ``ln(1/p)`` at the rarest scenario. Every dual value bounds it from below:
crossing that limit proves the views infeasible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import SolverError

LOWER, EQUAL, UPPER = 1, 0, -1
"""``E[a] >= b``, ``E[a] == b``, ``E[a] <= b``."""

TOLERANCE = 1e-11
"""Largest residual of a view, in prior standard deviations of what it restrains."""

_STEPS = 200
_ARMIJO = 1e-4
_ROUNDING = 1e-14


class Tilt(NamedTuple):
    """What the solver found.

    Attributes
    ----------
    p : (S,) float64
        Posterior probabilities, sum one.
    multipliers : (m,) float64
        Change of the minimal relative entropy per unit of each view's value.
    relative_entropy : float
    feasible : bool
        False where the dual proves that no probabilities satisfy all views.
    """

    p: Vector
    multipliers: Vector
    relative_entropy: float
    feasible: bool


@dataclass(slots=True)
class _Dual:
    """Value, gradient and Hessian of ``ln Z`` at ``l``."""

    A: Matrix  # (m, S), centred at b and scaled
    log_p: Vector

    def at(self, multipliers: Vector) -> tuple[float, Vector, Vector]:
        """``ln Z``, its gradient and the probabilities."""
        q = multipliers @ self.A
        q += self.log_p
        top = float(q.max())
        q -= top
        np.exp(q, out=q)
        total = float(q.sum())
        q /= total
        return top + float(np.log(total)), self.A @ q, q

    def hessian(self, q: Vector, gradient: Vector) -> Matrix:
        return (self.A * q) @ self.A.T - np.outer(gradient, gradient)


def tilt(
    A: Matrix, b: Vector, kind: Vector, p: Vector, start: Vector | None = None
) -> Tilt:
    """Probabilities nearest to ``p`` that satisfy the views.

    Parameters
    ----------
    A : (m, S) float64
        What each view restrains, in every scenario; finite.
    b : (m,) float64
    kind : (m,) int
        `LOWER`, `EQUAL` or `UPPER`.
    p : (S,) float64
        Prior, sum one; a scenario of probability zero keeps it.
    start : (m,) float64, optional
        Multipliers to start from.

    Raises
    ------
    SolverError
        Neither a solution within `TOLERANCE` nor a proof that there is none.
    """
    m = b.size
    if not m:
        return Tilt(p.copy(), np.zeros(0), 0.0, True)
    alive = p > 0
    every = bool(alive.all())
    centred = (A if every else A[:, alive]) - b[:, None]
    prior = p if every else p[alive]
    centre = centred @ prior
    scale = np.sqrt(np.maximum((centred**2) @ prior - centre**2, 0.0))
    size = np.abs(centred).max(axis=1)
    # A row that never moves: met or not whatever the probabilities.
    scale = np.where(scale > 1e-12 * size, scale, np.maximum(size, 1e-300))
    centred /= scale[:, None]
    dual = _Dual(centred, np.log(prior))
    found = _newton(dual, kind, None if start is None else start * scale)
    q = found.p
    if not every:
        q = np.zeros(p.size)
        q[alive] = found.p
    return Tilt(q, found.multipliers / scale, found.relative_entropy, found.feasible)


def _newton(dual: _Dual, kind: Vector, start: Vector | None) -> Tilt:
    low = np.where(kind == LOWER, 0.0, -np.inf)
    high = np.where(kind == UPPER, 0.0, np.inf)
    x = np.zeros(kind.size) if start is None else np.clip(start, low, high)
    limit = -float(dual.log_p.min()) + 1e-6
    value, gradient, q = dual.at(x)
    for _ in range(_STEPS):
        free = _free(x, gradient, low, high)
        # Complementary slackness has its own unit: multiplier times residual.
        worst = _residual(x, gradient, (low, high))
        if worst <= TOLERANCE:
            return Tilt(q, x, -value, True)
        if -value > limit:
            return Tilt(q, x, -value, False)
        H = dual.hessian(q, gradient)[np.ix_(free, free)]
        step = np.zeros(x.size)
        step[free] = -_solve(H, gradient[free])
        moved = _search(dual, x, step, value, gradient, (low, high))
        if moved is None:
            if worst <= 100.0 * TOLERANCE:  # rounding, not geometry, ends it here
                return Tilt(q, x, -value, True)
            break
        x, value, gradient, q = moved
    return _fallback(dual, x, low, high, limit)


def _free(x: Vector, gradient: Vector, low: Vector, high: Vector) -> np.ndarray:
    """(K,) bool; False where a multiplier is held at its bound."""
    return ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))


def _residual(x: Vector, gradient: Vector, bounds: tuple[Vector, Vector]) -> float:
    """Largest slope of a multiplier that may still move."""
    return float(np.abs(gradient[_free(x, gradient, *bounds)]).max(initial=0.0))


def _solve(H: Matrix, g: Vector) -> Vector:
    """``H^-1 g``; directions in which the views repeat each other are damped."""
    values, vectors = np.linalg.eigh(H)
    floor = max(float(values[-1]) * 1e-13, 1e-300)
    return vectors @ ((vectors.T @ g) / np.maximum(values, floor))


def _search(dual, x, step, value, gradient, bounds):
    """First point along the projected step that lowers the dual enough."""
    size = 1.0
    for _ in range(60):
        trial = np.clip(x + size * step, *bounds)
        moved = trial - x
        if not moved.any():
            return None
        new, slope, q = dual.at(trial)
        gain = float(gradient @ moved)
        if new <= value + _ARMIJO * gain:
            return trial, new, slope, q
        slack = 8.0 * _ROUNDING * (1.0 + abs(value))
        # A multiplier at its bound keeps its slope: only the free ones can fall.
        if new <= value + slack and _residual(trial, slope, bounds) < 0.5 * _residual(
            x, gradient, bounds
        ):
            return trial, new, slope, q  # too close for the value to tell
        size *= 0.5
    return None


def _fallback(dual: _Dual, x: Vector, low: Vector, high: Vector, limit: float) -> Tilt:
    """L-BFGS-B from where Newton stopped, then the same checks."""
    from scipy.optimize import minimize

    found = minimize(
        lambda t: dual.at(t)[:2],
        x,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"ftol": 1e-16, "gtol": TOLERANCE, "maxiter": 2000, "maxfun": 4000},
    )
    x = np.clip(found.x, low, high)
    value, gradient, q = dual.at(x)
    worst = _residual(x, gradient, (low, high))
    if worst <= 1e3 * TOLERANCE:
        return Tilt(q, x, -value, True)
    if -value > limit:
        return Tilt(q, x, -value, False)
    raise SolverError(
        "the dual of entropy pooling did not converge",
        received=f"residual {worst:.2e} prior standard deviations",
        expected=f"at most {TOLERANCE:.0e}",
        fix="Views at the edge of what the scenarios hold: leave a margin.",
    )
