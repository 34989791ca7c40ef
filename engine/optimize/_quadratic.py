"""A convex quadratic program by a primal-dual interior point, in factor form or dense.

    minimise   w'Pw / 2 + c'w   subject to  E w = e,  G w <= h,  lower <= w <= upper

Mehrotra's predictor-corrector (Nocedal and Wright 2006, algorithm 16.4). Bounds only
change the diagonal of the Newton matrix, so that with ``P = A A' + diag(d)`` one step
costs O(N K^2) by Woodbury's identity, and a dense P one Cholesky factorisation. The
active set read off the last iterate is then solved for exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from engine._typing import Matrix, Vector
from engine.optimize._inputs import Risk

FAR = 1e4
"""An infinite bound is read as this far for the lower bound on the optimum."""
_STEPS = 80
_NEAR_EDGE = 0.995
_PATIENCE = 15
_REPAIRS = 12
_SIGN = 1e-11
_CLOSE = 1e-11


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """The program above, as arrays; P is ``scale`` times the covariance of ``risk``."""

    risk: Risk
    scale: float
    c: Vector
    E: Matrix
    e: Vector
    G: Matrix
    h: Vector
    lower: Vector
    upper: Vector

    def times(self, w: np.ndarray) -> np.ndarray:
        """``P w``."""
        return self.scale * (self.risk @ w)

    def objective(self, w: Vector) -> float:
        """``w'Pw / 2 + c'w``."""
        return float(0.5 * (w @ self.times(w)) + self.c @ w)

    def violation(self, w: Vector) -> float:
        """Largest violation of any limit, in the unit of its row."""
        return float(
            max(
                np.max(self.lower - w, initial=0.0),
                np.max(w - self.upper, initial=0.0),
                np.max(np.abs(self.E @ w - self.e), initial=0.0),
                np.max(self.G @ w - self.h, initial=0.0),
            )
        )


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A primal and dual point with its proof.

    Attributes
    ----------
    w : (N,) float64
    y, z : (P,), (M,) float64
        Derivative of the optimum in e; price of h, not negative.
    reduced : (N,) float64
        ``P w + c - E'y + G'z``: positive is the price of a lower bound, negative minus
        the price of an upper one.
    objective, bound, violation : float
        The bound holds for every w within the limits, by weak duality.
    iterations : int
    """

    w: Vector
    y: Vector
    z: Vector
    reduced: Vector
    objective: float
    bound: float
    violation: float
    iterations: int

    @property
    def gap(self) -> float:
        """Objective less bound."""
        return self.objective - self.bound


def certify(q: Quadratic, w: Vector, y: Vector, z: Vector, iterations: int) -> Point:
    """Value the duals at ``w``: any y and any z >= 0 give a valid lower bound."""
    z = np.maximum(z, 0.0)
    Pw = q.times(w)
    reduced = Pw + q.c - q.E.T @ y + q.G.T @ z
    lower = np.maximum(q.lower, -FAR)
    upper = np.minimum(q.upper, FAR)
    # A residual below rounding at an infinite bound is no price.
    size = np.abs(Pw) + np.abs(q.c) + np.abs(q.E.T @ y) + np.abs(q.G.T @ z)
    noise = np.abs(reduced) <= 1e-14 * size
    free = noise & np.isinf(np.where(reduced > 0, q.lower, q.upper))
    r = np.where(free, 0.0, reduced)
    ends = np.where(r > 0, r * lower, r * upper)
    bound = -0.5 * float(w @ Pw) + float(y @ q.e) - float(z @ q.h) + float(ends.sum())
    return Point(
        w=w,
        y=y,
        z=z,
        reduced=reduced,
        objective=q.objective(w),
        bound=bound,
        violation=q.violation(w),
        iterations=iterations,
    )


class _Newton:
    """Solves with ``P + diag(theta)`` on some of the assets."""

    def __init__(self, risk: Risk, scale: float, theta: Vector, free: Any = None):
        if risk.dense is not None:
            Q = risk.dense if free is None else risk.dense[np.ix_(free, free)]
            H = Q * scale
            H.flat[:: H.shape[0] + 1] += theta
            self.factor, info = lapack.dpotrf(H.T, lower=1, clean=0, overwrite_a=1)
            self.ok = info == 0
            self.G = None
            return
        A, d = risk.parts()
        if free is not None:
            A, d = A[free], d[free]
        D = scale * d + theta
        self.ok = bool((D > 0).all())
        if not self.ok:
            return
        self.inverse = 1.0 / D
        root = np.sqrt(scale)
        self.A = A * root
        self.G = self.A * self.inverse[:, None]
        M = self.A.T @ self.G
        M.flat[:: M.shape[0] + 1] += 1.0
        self.factor, info = lapack.dpotrf(M, lower=1, clean=0)
        self.ok = info == 0

    def solve(self, b: np.ndarray) -> np.ndarray:
        if self.G is None:
            return lapack.dpotrs(self.factor, b, lower=1)[0]
        small = self.G.T @ b
        if not self.factor.size:
            return self.inverse * b if b.ndim == 1 else self.inverse[:, None] * b
        small = lapack.dpotrs(self.factor, small, lower=1)[0]
        scaled = self.inverse * b if b.ndim == 1 else self.inverse[:, None] * b
        return scaled - self.G @ small


def interior_point(q: Quadratic) -> Point | None:
    """Solve, polish on the active set, and certify; None where no step can be made.

    The caller judges the gap and the violation of what comes back.
    """
    unit = max(q.scale * float(q.risk.variances.mean()), 1e-300)
    level = float(np.median(q.c)) if q.E.shape[0] else 0.0
    unit = max(unit, float(np.abs(q.c - level).max(initial=0.0)))
    s = Quadratic(
        q.risk, q.scale / unit, q.c / unit, q.E, q.e, q.G, q.h, q.lower, q.upper
    )
    try:
        with np.errstate(all="ignore"):
            found = _path(s)
    except (np.linalg.LinAlgError, ValueError):
        return None
    if found is None:
        return None
    w, y, z, low, high, taut, iterations = found
    w = np.clip(w, q.lower, q.upper)
    best = certify(q, w, y * unit, z * unit, iterations)
    exact = _polish(s, low, high, taut)
    if exact is not None:
        w, y, z = exact
        other = certify(q, w, y * unit, z * unit, iterations)
        if _merit(other, unit) <= _merit(best, unit):
            return other
    return best


def _merit(point: Point, unit: float) -> float:
    return max(abs(point.gap) / unit, point.violation)


class _Limits:
    """All inequalities as ``T w - t >= 0``: lower bounds, upper bounds, rows of G."""

    def __init__(self, q: Quadratic) -> None:
        self.G = q.G
        self.low = np.flatnonzero(np.isfinite(q.lower))
        self.high = np.flatnonzero(np.isfinite(q.upper))
        self.t = np.concatenate([q.lower[self.low], -q.upper[self.high], -q.h])
        self.bounds = self.low.size + self.high.size

    def times(self, w: Vector) -> Vector:
        """``T w``."""
        return np.concatenate([w[self.low], -w[self.high], -(self.G @ w)])

    def add_bounds(self, v: Vector, out: Vector, sign: float = 1.0) -> None:
        """Add the part of ``T'v`` that belongs to bounds to ``out``."""
        out[self.low] += v[: self.low.size]
        out[self.high] -= sign * v[self.low.size : self.bounds]


class _Step:
    """One linearisation of the optimality conditions; None of it outlives the step.

    x and v are the slacks of the limits and their prices; ``rd``, ``re``, ``rt`` the
    residuals of stationarity, equalities and slacks.
    """

    def __init__(self, q: Quadratic, limits: _Limits, K: Matrix, at: Any) -> None:
        w, y, x, v = at
        self.limits, self.K, self.P = limits, K, q.e.size
        z = v[limits.bounds :]
        self.Pw = q.times(w)
        self.rd = K @ np.concatenate([y, -z]) - self.Pw - q.c
        limits.add_bounds(v, self.rd)
        self.re = q.e - q.E @ w
        self.rt = limits.times(w) - limits.t - x
        self.x, self.v = x, v
        self.mu = float(x @ v) / max(x.size, 1)

    def residual(self, w: Vector) -> float:
        """Largest residual; complementarity relative to the quadratic term."""
        return max(
            float(np.abs(self.rd).max(initial=0.0)),
            float(np.abs(self.re).max(initial=0.0)),
            float(np.abs(self.rt).max(initial=0.0)),
            self.mu * self.x.size / max(1.0, abs(float(w @ self.Pw))),
        )

    def factorise(self, q: Quadratic) -> bool:
        """Factorise the Newton matrix; False where it is singular."""
        B = self.limits.bounds
        theta = np.zeros(q.c.size)
        self.limits.add_bounds(self.v / self.x, theta, sign=-1.0)
        self.H = _Newton(q.risk, q.scale, theta)
        if not self.H.ok or not self.K.shape[1]:
            return self.H.ok
        self.HK = self.H.solve(self.K)
        S = self.K.T @ self.HK
        rows = np.arange(self.P, self.K.shape[1])
        S[rows, rows] += self.x[B:] / self.v[B:]
        *self.lu, info = lapack.dgetrf(S)
        return info == 0

    def direction(self, target: Vector) -> tuple[Vector, Vector, Vector, Vector]:
        """Step of w, y, x and v towards products ``x v`` that change by ``target``."""
        B, x, v, rt = self.limits.bounds, self.x, self.v, self.rt
        b = self.rd.copy()
        self.limits.add_bounds((target - v * rt) / x, b)
        dw, dy = self.H.solve(b), np.empty(0)
        if self.K.shape[1]:
            right = np.concatenate([self.re, rt[B:] - target[B:] / v[B:]])
            dual = lapack.dgetrs(*self.lu, right - self.K.T @ dw)[0]
            dw, dy = dw + self.HK @ dual, dual[: self.P]
        dx = self.limits.times(dw) + rt
        return dw, dy, dx, (target - v * dx) / x


def _path(q: Quadratic) -> Any:
    """Follow the central path; the last iterate and its guess of the active set."""
    n, P = q.c.size, q.e.size
    limits = _Limits(q)
    K = np.vstack([q.E, q.G]).T.copy(order="F")  # (N, P + M)
    w: Vector = np.zeros(n)
    if P:
        w = np.asarray(np.linalg.lstsq(q.E, q.e, rcond=None)[0], dtype=np.float64)
    typical = max(float(np.abs(w).mean()), 1e-3 / n)
    x = np.maximum(limits.times(w) - limits.t, typical)
    g = q.times(w) + q.c
    price = max(0.1 * typical, 0.1 * float(np.abs(g - np.median(g)).mean()))
    y, v = np.zeros(P), np.full(x.size, price)
    best, since, iterations = np.inf, 0, 0
    while iterations < _STEPS:
        step = _Step(q, limits, K, (w, y, x, v))
        residual = step.residual(w)
        if not np.isfinite(residual):
            return None
        since = 0 if residual < 0.5 * best else since + 1
        best = min(best, residual)
        if residual < _CLOSE or since > _PATIENCE:
            break
        iterations += 1
        if not step.factorise(q):
            return None
        _, _, dx, dv = step.direction(-x * v)
        after = (x + _longest(x, dx) * dx) @ (v + _longest(v, dv) * dv)
        mu = step.mu
        centre = (float(after) / x.size / mu) ** 3 * mu if mu > 0 else 0.0
        dw, dy, dx, dv = step.direction(centre - x * v - dx * dv)
        a = min(1.0, _NEAR_EDGE * min(_longest(x, dx), _longest(v, dv)))
        w, y, x, v = w + a * dw, y + a * dy, x + a * dx, v + a * dv
    low, high = np.zeros(n, bool), np.zeros(n, bool)
    tight = x < v
    low[limits.low] = tight[: limits.low.size]
    high[limits.high] = tight[limits.low.size : limits.bounds]
    return w, y, v[limits.bounds :], low, high, tight[limits.bounds :], iterations


def _longest(x: Vector, dx: Vector) -> float:
    """Longest step, at most one and a little, that keeps x positive."""
    down = dx < 0
    longest = float((-x[down] / dx[down]).min()) if down.any() else np.inf
    return min(longest, 1.0 / _NEAR_EDGE)


def solve_on(q: Quadratic, low: Any, high: Any, taut: Any, c: Vector) -> Any:
    """Optimum with the given bounds and rows held as equalities; None if singular.

    ``c`` may have several columns of right sides ``-c``: only the first sees the
    bounds, rows and equalities; the others give the direction of a parameter.

    Returns ``(w, y, z)`` with a trailing axis where c has one.
    """
    n = q.c.size
    many = c.ndim == 2
    c = c if many else c[:, None]
    free = np.flatnonzero(~(low | high))
    fixed = np.zeros((n, c.shape[1]))
    fixed[low, 0], fixed[high, 0] = q.lower[low], q.upper[high]
    rows = np.flatnonzero(taut)
    K = np.vstack([q.E, q.G[rows]])
    k = np.zeros((K.shape[0], c.shape[1]))
    k[:, 0] = np.concatenate([q.e, q.h[rows]]) - K @ fixed[:, 0]
    if free.size < K.shape[0]:
        return None
    KF = K[:, free].T
    right = -(c + q.times(fixed))[free]
    w = fixed
    dual = np.zeros_like(k)
    if free.size:
        H = _Newton(q.risk, q.scale, np.zeros(free.size), free)
        if not H.ok:
            return None
        HK = H.solve(KF) if K.shape[0] else KF
        S = KF.T @ HK
        factor = S
        if K.shape[0]:
            factor, info = lapack.dpotrf(S, lower=1, clean=0)
            if info != 0:
                return None

        def solve(right: Matrix, k: Matrix) -> tuple[Matrix, Matrix]:
            hb = H.solve(right)
            if not K.shape[0]:
                return hb, k
            dual = lapack.dpotrs(factor, k - KF.T @ hb, lower=1)[0]
            return hb + HK @ dual, dual

        w[free], dual = solve(right, k)
        # One refinement: the Schur complement squares the condition.
        more, extra = solve(-(c + q.times(w))[free] + KF @ dual, k - KF.T @ w[free])
        w[free] += more
        dual = dual + extra
    z = np.zeros((q.h.size, c.shape[1]))
    y, z[rows] = dual[: q.e.size], -dual[q.e.size :]
    if not (np.isfinite(w).all() and np.isfinite(dual).all()):
        return None
    return (w, y, z) if many else (w[:, 0], y[:, 0], z[:, 0])


def _polish(q: Quadratic, low: Any, high: Any, taut: Any) -> Any:
    """Exact solution on the active set, repaired while signs are wrong."""
    low, high, taut = low.copy(), high.copy(), taut.copy()
    same = q.lower == q.upper
    low |= same
    high &= ~low
    for _ in range(_REPAIRS):
        found = solve_on(q, low, high, taut, q.c)
        if found is None:
            return None
        w, y, z = found
        size = max(1.0, float(np.abs(w).max()))
        under, over = w < q.lower - _SIGN * size, w > q.upper + _SIGN * size
        broken = ~taut & (q.G @ w > q.h + _SIGN * size)
        reduced = q.times(w) + q.c - q.E.T @ y + q.G.T @ z
        loose = (low & (reduced < -_SIGN) & ~same) | (high & (reduced > _SIGN))
        slack = taut & (z < -_SIGN)
        if not (
            under.any() or over.any() or broken.any() or loose.any() or slack.any()
        ):
            return np.clip(w, q.lower, q.upper), y, z
        low, high = (low & ~loose) | under, (high & ~loose) | over
        taut = (taut & ~slack) | broken
    return None
