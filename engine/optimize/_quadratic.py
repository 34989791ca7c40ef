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


def _path(q: Quadratic) -> Any:
    """Follow the central path; the last iterate and its guess of the active set."""
    n, P, M = q.c.size, q.e.size, q.h.size
    iL, iU = np.flatnonzero(np.isfinite(q.lower)), np.flatnonzero(np.isfinite(q.upper))
    lo, up = q.lower[iL], q.upper[iU]
    K = np.vstack([q.E, q.G]).T.copy(order="F")  # (n, P + M)
    w = np.linalg.lstsq(q.E, q.e, rcond=None)[0] if P else np.zeros(n)
    typical = max(float(np.abs(w).mean()), 1e-3 / n)
    slack = lambda v: np.maximum(v, typical)  # noqa: E731
    xl, xu, s = slack(w[iL] - lo), slack(up - w[iU]), slack(q.h - q.G @ w)
    count = xl.size + xu.size + s.size
    g = q.times(w) + q.c
    price = max(0.1 * typical, 0.1 * float(np.abs(g - np.median(g)).mean()))
    l, u, z = np.full(xl.size, price), np.full(xu.size, price), np.full(M, price)
    y = np.zeros(P)
    best, since = np.inf, 0
    for iteration in range(1, _STEPS + 1):
        Pw = q.times(w)
        rd = -(Pw + q.c - K @ np.concatenate([y, -z]))
        rd[iL] += l
        rd[iU] -= u
        rp = q.e - q.E @ w
        rs = q.h - q.G @ w - s
        rl, ru = w[iL] - lo - xl, up - w[iU] - xu
        mu = float(xl @ l + xu @ u + s @ z) / max(count, 1)
        residual = max(
            np.abs(rd).max(initial=0.0),
            np.abs(rp).max(initial=0.0),
            np.abs(rs).max(initial=0.0),
            np.abs(rl).max(initial=0.0),
            np.abs(ru).max(initial=0.0),
            mu * count / max(1.0, abs(float(w @ Pw))),
        )
        if not np.isfinite(residual):
            return None
        if residual < _CLOSE:
            break
        if residual < 0.5 * best:
            best, since = residual, 0
        else:
            since += 1
            if since > 15:
                break
        theta = np.zeros(n)
        theta[iL] += l / xl
        theta[iU] += u / xu
        H = _Newton(q.risk, q.scale, theta)
        if not H.ok:
            return None
        HK = H.solve(K) if P + M else K
        S = K.T @ HK
        S[np.arange(P, P + M), np.arange(P, P + M)] += s / z
        if P + M:
            *lu, info = lapack.dgetrf(S)
            if info != 0:
                return None

        def step(cl: Vector, cu: Vector, cs: Vector) -> Any:
            """Newton step for the complementarity right sides."""
            b = rd.copy()
            b[iL] += (cl - l * rl) / xl
            b[iU] -= (cu - u * ru) / xu
            hb = H.solve(b)
            if P + M:
                # Rows of G: G dw + ds = rs and s dz + z ds = cs.
                right = np.concatenate([rp, rs - cs / z])
                dual = lapack.dgetrs(*lu, right - K.T @ hb)[0]
                dw = hb + HK @ dual
                dy, dz = dual[:P], -dual[P:]
            else:
                dw, dy, dz = hb, np.empty(0), np.empty(0)
            dxl, dxu = dw[iL] + rl, ru - dw[iU]
            ds = rs - q.G @ dw
            return (
                dw,
                dy,
                dz,
                (cl - l * dxl) / xl,
                (cu - u * dxu) / xu,
                dxl,
                dxu,
                ds,
            )

        dw, dy, dz, dl, du, dxl, dxu, ds = step(-xl * l, -xu * u, -s * z)
        a = _longest((xl, dxl), (xu, dxu), (s, ds))
        b = _longest((l, dl), (u, du), (z, dz))
        after = (
            float(
                (xl + a * dxl) @ (l + b * dl)
                + (xu + a * dxu) @ (u + b * du)
                + (s + a * ds) @ (z + b * dz)
            )
            / max(count, 1)
        )
        centre = (after / mu) ** 3 * mu if mu > 0 else 0.0
        dw, dy, dz, dl, du, dxl, dxu, ds = step(
            centre - xl * l - dxl * dl,
            centre - xu * u - dxu * du,
            centre - s * z - ds * dz,
        )
        a = min(
            1.0,
            _NEAR_EDGE
            * _longest((xl, dxl), (xu, dxu), (s, ds), (l, dl), (u, du), (z, dz)),
        )
        w, y, z = w + a * dw, y + a * dy, z + a * dz
        l, u = l + a * dl, u + a * du
        xl, xu, s = xl + a * dxl, xu + a * dxu, s + a * ds
    low, high = np.zeros(n, bool), np.zeros(n, bool)
    low[iL], high[iU] = xl < l, xu < u
    return w, y, z, low, high, s < z, iteration


def _longest(*pairs: tuple[Vector, Vector]) -> float:
    """Longest step that keeps every positive vector positive."""
    longest = 1e300
    for x, dx in pairs:
        down = dx < 0
        if down.any():
            longest = min(longest, float((-x[down] / dx[down]).min()))
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
        more, extra = solve(
            -(c + q.times(w))[free] + KF @ dual, k - KF.T @ w[free]
        )
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
