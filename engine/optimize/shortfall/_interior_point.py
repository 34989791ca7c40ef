"""A primal-dual interior point whose scenarios are eliminated in closed form.

    minimise    c'w + kappa a + sum_s pi_s z_s + gamma |Q'w + y_0|^2 + buy'u + sell'v
    subject to  z_s >= l_s - r_s'w - a,  z_s >= 0,   lower <= w <= upper,
                A w <= b,   E w = e,   w - u + v = w_0,   u, v >= 0,
                (1/2) sum (u + v) <= turnover,   |Q'w + y_0|^2 <= t^2

Mehrotra's predictor and corrector (1992). Given the step in (w, a), the steps of each
scenario's excess, slack and dual are scalars; so are those of each asset's trades. What
remains is one Newton system of size N + 1, bordered by the equalities and the turnover,
whose matrix is one weighted sum of squares of scenarios. Scenarios far from the value
at risk have a weight that vanishes and are left out of that sum; what this leaves in
the residual is removed by refinement against all of them.

The barrier of a scenario is weighted by its probability, so that a scenario given twice
and one given once with twice the probability follow the same path.
"""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
from scipy.linalg import blas, lapack

from engine._typing import Vector
from engine.errors import SolverError
from engine.optimize.shortfall._core import (
    Core,
    Point,
    central_value_at_risk,
    centred,
)

_ROWS = 2048
_VANISHED = 1e-9
_REFINEMENTS = 3
_LEAST = 1e-100


class _Iterate:
    """One interior point solve: the pairs of slacks x and duals y, and the rest."""

    def __init__(
        self,
        core: Core,
        w: Vector,
        mu: float,
        before: Point | None = None,
        same: tuple = (),
    ) -> None:
        self.core = core
        self.n = core.linear.size
        s = core.X.shape[0] if core.kappa > 0 else 0
        self.low = np.flatnonzero(np.isfinite(core.lower))
        self.high = np.flatnonzero(np.isfinite(core.upper))
        m = core.traded.size
        sizes = (
            s,
            s,
            self.low.size,
            self.high.size,
            core.b.size,
            m,
            m,
            int(core.turnover is not None),
            int(core.tracking is not None),
        )
        edges = np.concatenate([[0], np.cumsum(sizes)])
        parts = [slice(int(i), int(j)) for i, j in pairwise(edges)]
        self.t, self.z, self.l, self.h, self.r = parts[:5]
        self.u, self.v, self.to, self.te = parts[5:]
        self.s = s
        self.omega = np.ones(edges[-1])
        if s:
            self.omega[: 2 * s] = np.tile(core.pi / core.pi.mean(), 2)
        self.total = float(self.omega.sum())
        self.coupled = core.root is not None and (
            core.gamma > 0 or core.tracking is not None
        )
        if self.coupled and core.gram is None:
            assert core.root is not None
            core.gram = core.root @ core.root.T
        if before is not None:
            w = before.w
        self._start(w, mu)
        if before is not None:
            self._resume(before, *same)

    def _start(self, w: Vector, mu: float) -> None:
        core, n = self.core, self.n
        self.x = np.ones(self.omega.size)
        self.y = np.empty(self.omega.size)
        self.v_ = np.zeros(n + 1)
        self.v_[:n] = w
        if self.s:
            self.Xv = core.X[:, :n] @ w
            losses = core.base - self.Xv
            half = core.pi.mean() / (2.0 * mu)
            a = central_value_at_risk(losses, core.pi, core.kappa, half)
            self.v_[n] = a
            self.Xv += a
            q, u = centred(losses - a, core.pi, half)
            tau = mu * self.omega[self.t]
            self.x[self.t], self.x[self.z] = tau / q, tau / u
        else:
            self.Xv = np.empty(0)
        near = max(mu, 1e-6)  # nearer a bound its dual would start above one
        self.x[self.l] = np.maximum(w[self.low] - core.lower[self.low], near)
        self.x[self.h] = np.maximum(core.upper[self.high] - w[self.high], near)
        # A row without room starts as if it had some; the step closes the difference.
        size = 0.05 * max(1.0, float(np.abs(w).max(initial=0.0)))
        if core.b.size:
            self.x[self.r] = np.maximum(core.b - core.A @ w, size)
        if core.traded.size:
            z = w[core.traded] - core.current
            room = 0.1 / self.n if core.turnover is None else core.turnover / self.n
            self.x[self.u] = np.maximum(z, 0.0) + max(1e-4, 0.5 * room)
            self.x[self.v] = np.maximum(-z, 0.0) + max(1e-4, 0.5 * room)
            if core.turnover is not None:
                used = 0.5 * (self.x[self.u].sum() + self.x[self.v].sum())
                self.x[self.to] = max(core.turnover - used, 0.1 * core.turnover)
        if core.tracking is not None:
            self.x[self.te] = max(self._room(w), 0.1 * core.tracking)
        self.y[:] = mu * self.omega / self.x
        self.lam = np.zeros(core.e.size)
        self.price = np.zeros(core.traded.size)
        self.Xq = core.X.T @ self.y[self.t] if self.s else np.zeros(n + 1)

    def _resume(self, before: Point, new: np.ndarray, old: np.ndarray) -> None:
        """Take over a point; its scenarios ``old`` are ``new`` here.

        Scenarios it did not have stay centred around it: far from the value at risk
        they change next to nothing.
        """
        s, m = self.s, before.q.size
        for mine, its in ((self.x, before.x), (self.y, before.y)):
            mine[2 * s :] = its[2 * m :]
            mine[new], mine[s + new] = its[old], its[m + old]
        self.lam, self.price = before.lam, before.price
        if s:
            self.Xv += before.a - self.v_[-1]
            self.v_[-1] = before.a
            fresh = np.ones(s, dtype=bool)
            fresh[new] = False
            excess = self.core.base[fresh] - self.Xv[fresh]
            pi = self.core.pi[fresh]
            mu = before.mu
            q, u = centred(excess, pi, self.core.pi.mean() / (2.0 * mu))
            tau = mu * self.omega[self.t][fresh]
            at = np.flatnonzero(fresh)
            self.y[at], self.y[s + at] = q, u
            self.x[at], self.x[s + at] = tau / q, tau / u
            self.Xq = self.core.X.T @ self.y[self.t]

    def _risk(self, w: Vector) -> Vector:
        assert self.core.root is not None
        return self.core.root.T @ w + self.core.offset

    def _room(self, w: Vector) -> float:
        t = self.core.tracking
        assert t is not None
        y = self._risk(w)
        return float(t * t - y @ y) / (2.0 * t)

    def residuals(self) -> None:
        """Refresh the residuals of every equation at the current point."""
        core, n, x, y = self.core, self.n, self.x, self.y
        w = self.v_[:n]
        g = np.zeros(n + 1)
        g[:n] = core.linear
        g[n] = core.kappa
        g -= self.Xq
        if not self.s:
            g[n] = 0.0
        g[self.low] -= y[self.l]
        g[self.high] += y[self.h]
        p = self.p = np.zeros(x.size)  # what each slack lacks
        if self.s:
            p[self.z] = x[self.z] - x[self.t] + self.Xv - core.base
        p[self.l] = w[self.low] - core.lower[self.low] - x[self.l]
        p[self.h] = core.upper[self.high] - w[self.high] - x[self.h]
        if core.b.size:
            g[:n] += core.A.T @ y[self.r]
            p[self.r] = core.b - core.A @ w - x[self.r]
        g[:n] += core.E.T @ self.lam
        self.eq = core.e - core.E @ w
        tau = float(y[self.to][0]) if core.turnover is not None else 0.0
        if core.traded.size:
            g[core.traded] += self.price
            self.split = core.current - w[core.traded] + x[self.u] - x[self.v]
            self.du = core.buy + 0.5 * tau - self.price - y[self.u]
            self.dv = core.sell + 0.5 * tau + self.price - y[self.v]
            if core.turnover is not None:
                used = 0.5 * (x[self.u].sum() + x[self.v].sum())
                p[self.to] = core.turnover - used - x[self.to]
        if self.coupled:
            assert core.root is not None
            Qy = core.root @ self._risk(w)
            cone = 0.0
            if core.tracking is not None:
                cone = float(y[self.te][0])
                self.slope = Qy / core.tracking
                p[self.te] = self._room(w) - x[self.te]
                g[:n] += cone * self.slope
            if core.gamma > 0:
                g[:n] += 2.0 * core.gamma * Qy
        self.g = g
        self.gap = float(x @ y)
        parts = [np.abs(p).max(initial=0.0), np.abs(self.eq).max(initial=0.0)]
        duals = [np.abs(g).max()]
        if core.traded.size:
            parts.append(np.abs(self.split).max())
            duals += [np.abs(self.du).max(), np.abs(self.dv).max()]
        self.primal, self.dual = float(max(parts)), float(max(duals))

    def factor(self) -> None:
        """Form and factor the Newton matrix at the current point."""
        core, n, x, y = self.core, self.n, self.x, self.y
        H = np.zeros((n + 1, n + 1), order="F")
        if self.s:
            d = self.d = 1.0 / (x[self.z] / y[self.z] + x[self.t] / y[self.t])
            # Below the strongest few lie the scenarios that hold the other directions.
            rank = max(0, d.size - 4 * (n + 1))
            keep = np.flatnonzero(d > np.partition(d, rank)[rank] * _VANISHED)
            some = keep.size < 0.8 * d.size
            rows = keep.size if some else d.size
            for i in range(0, rows, _ROWS):
                at = keep[i : i + _ROWS] if some else slice(i, min(i + _ROWS, rows))
                G = core.X[at] * np.sqrt(d[at])[:, None]
                H = blas.dsyrk(1.0, G.T, beta=1.0, c=H, lower=1, overwrite_c=1)
        else:
            H[n, n] = 1.0
        diagonal = np.zeros(n + 1)
        diagonal[self.low] += y[self.l] / x[self.l]
        diagonal[self.high] += y[self.h] / x[self.h]
        border = core.E
        rhs_scale = np.zeros(core.e.size)
        if core.traded.size:
            self.alpha, self.beta = x[self.u] / y[self.u], x[self.v] / y[self.v]
            both = self.both = self.alpha + self.beta
            diagonal[core.traded] += 1.0 / both
            if core.turnover is not None:
                self.k = 0.5 * (self.alpha - self.beta) / both
                row = np.zeros((1, n))
                row[0, core.traded] = self.k
                border = np.vstack([core.E, row])
                slack = x[self.to] / y[self.to]
                rhs_scale = np.append(
                    rhs_scale, (self.alpha * self.beta / both).sum() + slack
                )
        self.diagonal = diagonal
        if core.b.size:
            G = core.A * np.sqrt(y[self.r] / x[self.r])[:, None]
            H[:n, :n] += G.T @ G
        if self.coupled:
            assert core.gram is not None
            weight = 2.0 * core.gamma
            if core.tracking is not None:
                cone, slack = float(y[self.te][0]), float(x[self.te][0])
                weight += cone / core.tracking
                H[:n, :n] += (cone / slack) * np.outer(self.slope, self.slope)
            H[:n, :n] += weight * core.gram
            self.weight = weight
        at = np.arange(n + 1)
        H[at, at] += diagonal
        top = H[at, at] + 1e-300
        # A direction that nothing resists (no bound, no scenario) gets a little
        # resistance; refinement removes what it does to the step.
        shift = 1e-15 * top
        for _ in range(8):
            H[at, at] = top + shift
            chol, info = lapack.dpotrf(H, lower=1, clean=0)
            if info == 0:
                break
            shift *= 100.0
        else:
            raise SolverError("the Newton matrix cannot be factored")
        self.chol = chol
        B = self.border = np.zeros((border.shape[0], n + 1))
        B[:, :n] = border
        self.D = rhs_scale
        if B.shape[0]:
            half = blas.dtrsm(1.0, chol, B.T, lower=1)
            S = half.T @ half
            size = np.trace(S) / S.shape[0]
            S[np.diag_indices_from(S)] += rhs_scale + 1e-14 * size
            self.half = half
            schur, info = lapack.dpotrf(S, lower=1)
            if info:
                S[np.diag_indices_from(S)] += 1e-9 * size
                schur, info = lapack.dpotrf(S, lower=1)
                if info:
                    raise SolverError("the equalities cannot be separated")
            self.schur = schur

    def _solve(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Solve ``H v + B'l = f, B v - D l = g`` with the factors."""
        y = blas.dtrsv(self.chol, f, lower=1)
        if g.size:
            lam = lapack.dpotrs(self.schur, self.half.T @ y - g, lower=1)[0]
            y -= self.half @ lam
        else:
            lam = g
        return blas.dtrsv(self.chol, y, lower=1, trans=1), lam

    def _rest(self, v: Vector) -> Vector:
        """H v without the scenarios."""
        core, n, x, y = self.core, self.n, self.x, self.y
        out = self.diagonal * v
        if not self.s:
            out[n] = v[n]
        w = v[:n]
        if core.b.size:
            out[:n] += core.A.T @ ((y[self.r] / x[self.r]) * (core.A @ w))
        if self.coupled:
            assert core.root is not None
            out[:n] += self.weight * (core.root @ (core.root.T @ w))
            if core.tracking is not None:
                ratio = float(y[self.te][0] / x[self.te][0])
                out[:n] += ratio * float(self.slope @ w) * self.slope
        return out

    def step(self, c: Vector) -> None:
        """Newton step for ``x dy + y dx = c``; leaves dx, dy and the rest in self."""
        core, n, x, y, p = self.core, self.n, self.x, self.y, self.p
        f = -self.g
        none = c[:0]
        dh = dq = Xdh = Xdv = Xdq = hu = hv = m0 = none
        cp = (c - y * p) / x
        f[self.low] += cp[self.l]
        f[self.high] -= cp[self.h]
        if core.b.size:
            f[:n] -= core.A.T @ cp[self.r]
        if core.tracking is not None:
            f[:n] -= self.slope * float(cp[self.te][0])
        if self.s:
            h = c[self.t] / y[self.t] - c[self.z] / y[self.z] - p[self.z]
            dh = self.d * h
            Xdh = core.X.T @ dh
            f += Xdh
        right = self.eq
        if core.traded.size:
            hu, hv = c[self.u] / x[self.u] - self.du, c[self.v] / x[self.v] - self.dv
            au, bv = self.alpha * hu, self.beta * hv
            m0 = (bv - au - self.split) / self.both
            f[core.traded] -= m0
            if core.turnover is not None:
                used = 0.5 * (au + bv) + 0.5 * (self.alpha - self.beta) * m0
                room = p[self.to] - c[self.to] / y[self.to] - used.sum()
                right = np.append(self.eq, room)
        dv, lam = self._solve(f, right)
        size = float(np.abs(f).max()) + 1e-300
        before = np.inf
        for turn in range(_REFINEMENTS + 1):
            if self.s:
                Xdv = core.X @ dv
                dq = dh - self.d * Xdv
                Xdq = core.X.T @ dq
                f_left = f - Xdh + Xdq - self._rest(dv)
            else:
                f_left = f - self._rest(dv)
            g_left = right
            if right.size:
                f_left -= self.border.T @ lam
                g_left = right - self.border @ dv + self.D * lam
            left = float(np.abs(f_left).max())
            if turn == _REFINEMENTS or left <= 1e-13 * size or left > 0.5 * before:
                break
            before = left
            more, more_lam = self._solve(f_left, g_left)
            dv = dv + more
            lam = lam + more_lam
        dx, dy = np.empty_like(x), np.empty_like(y)
        w = dv[:n]
        if self.s:
            self.Xdv, self.Xdq = Xdv, Xdq
            dy[self.t], dy[self.z] = dq, -dq
            dx[self.t] = (c[self.t] - x[self.t] * dq) / y[self.t]
            dx[self.z] = (c[self.z] + x[self.z] * dq) / y[self.z]
        dx[self.l] = w[self.low] + p[self.l]
        dx[self.h] = p[self.h] - w[self.high]
        if core.b.size:
            dx[self.r] = p[self.r] - core.A @ w
        if core.tracking is not None:
            dx[self.te] = p[self.te] - float(self.slope @ w)
        for at in (self.l, self.h, self.r, self.te):
            dy[at] = (c[at] - y[at] * dx[at]) / x[at]
        dtau = 0.0
        if core.turnover is not None:
            dtau = float(lam[-1])
            lam = lam[:-1]
            dy[self.to] = dtau
            dx[self.to] = (c[self.to] - x[self.to] * dtau) / y[self.to]
        if core.traded.size:
            dp = w[core.traded] / self.both + m0
            if core.turnover is not None:
                dp = dp + self.k * dtau
            dx[self.u] = self.alpha * (hu - 0.5 * dtau + dp)
            dx[self.v] = self.beta * (hv - 0.5 * dtau - dp)
            for at in (self.u, self.v):
                dy[at] = (c[at] - y[at] * dx[at]) / x[at]
            self.dprice = dp
        self.dx, self.dy, self.dw, self.dlam = dx, dy, dv, lam

    def lengths(self) -> tuple[float, float]:
        """Longest primal and dual step; one length where a square couples them."""
        primal, dual = _longest(self.x, self.dx), _longest(self.y, self.dy)
        if self.coupled:
            primal = dual = min(primal, dual)
        return primal, dual

    def _direction(self) -> tuple:
        names = ("dx", "dy", "dw", "dlam", "dprice", "Xdv", "Xdq")
        return tuple((name, getattr(self, name, None)) for name in names)

    def centre(self, c: Vector, mu: float, correctors: int) -> None:
        """Lengthen the step by centrality correctors (Gondzio 1996, section 3)."""
        target = mu * self.omega
        for _ in range(correctors):
            ap, ad = self.lengths()
            if min(ap, ad) >= 1.0:
                return
            tp, td = (min(1.0, 1.08 * length + 0.08) for length in (ap, ad))
            trial = (self.x + tp * self.dx) * (self.y + td * self.dy)
            push = np.clip(trial, 0.1 * target, 10.0 * target) - trial
            c = c + np.maximum(push, -10.0 * target)
            kept = self._direction()
            self.step(c)
            new = self.lengths()
            gain = min(1.0, new[0]) + min(1.0, new[1]) - min(1.0, ap) - min(1.0, ad)
            if gain < 0.01 * 2 * (tp - min(1.0, ap)) or gain < 1e-3:
                if gain < 0.0:
                    for name, value in kept:
                        setattr(self, name, value)
                return

    def move(self, primal: float, dual: float) -> None:
        """Take the step by these lengths."""
        self.x = np.maximum(self.x + primal * self.dx, _LEAST)
        self.y = np.maximum(self.y + dual * self.dy, _LEAST)
        self.v_ += primal * self.dw
        self.lam = self.lam + dual * self.dlam
        if self.core.traded.size:
            self.price = self.price + dual * self.dprice
        if self.s:
            self.Xv += primal * self.Xdv
            self.Xq = self.Xq + dual * self.Xdq


def _longest(x: Vector, dx: Vector) -> float:
    """Longest step that keeps x from becoming negative."""
    worst = float(np.max(-dx / x, initial=0.0))
    return np.inf if worst <= 0 else 1.0 / worst


def solve_core(
    core: Core,
    w: Vector,
    *,
    mu: float,
    tolerance: float,
    before: Point | None = None,
    same: tuple[np.ndarray, np.ndarray] | tuple[()] = (),
    max_iterations: int = 100,
    correctors: int = 2,
    deadline: float = np.inf,
) -> Point:
    """Solve from ``w``, inside its bounds, with every pair centred at ``mu``.

    ``before``, where a solve on other scenarios stopped, replaces ``w``; ``same`` are
    the positions, here and there, of the scenarios both have.

    Returns the last point, ``converged`` or not; raises `SolverError` only where no
    step can be computed.
    """
    with np.errstate(all="ignore"):  # a point without end is seen by its residuals
        return _solve(
            _Iterate(core, w, mu, before, same),
            tolerance,
            max_iterations,
            correctors,
            deadline,
        )


def _solve(
    it: _Iterate,
    tolerance: float,
    max_iterations: int,
    correctors: int,
    deadline: float,
) -> Point:
    core = it.core
    n = it.n
    trace: list[tuple] = []
    open_ended = it.low.size < n or it.high.size < n
    converged, stuck, k = False, 0, 0
    for k in range(max_iterations + 1):
        it.residuals()
        w = it.v_[:n]
        objective = float(core.linear @ w) + core.kappa * it.v_[n]
        if it.s:
            objective += float(core.pi @ it.x[it.z])
        scale = max(1.0, abs(objective))
        trace.append((objective, it.gap, it.primal, it.dual))
        if not np.isfinite(it.gap + it.primal + it.dual):
            break
        # Without a bound on a weight the least slope left counts; but a gap that is
        # used up leaves no step to improve it.
        done = it.gap <= tolerance * scale and it.primal <= max(1e-11, 0.01 * tolerance)
        used = it.gap <= 1e-4 * tolerance * scale
        if done and (used or it.dual <= (1e-12 if open_ended else 0.1 * tolerance)):
            converged = True
            break
        if k == max_iterations or stuck >= 3 or time.monotonic() > deadline:
            break
        try:
            it.factor()
            it.step(-it.x * it.y)
        except SolverError:
            break
        mean = it.gap / it.total
        ap, ad = (min(1.0, length) for length in it.lengths())
        after = float((it.x + ap * it.dx) @ (it.y + ad * it.dy))
        sigma = min(1.0, max(after / it.gap, 1e-8)) ** 3
        centre = sigma * mean * it.omega - it.x * it.y
        c = centre - it.dx * it.dy
        it.step(c)
        it.centre(c, sigma * mean, correctors)
        ap, ad = it.lengths()
        back = min(0.9995, max(0.99, 1.0 - mean))
        ap, ad = min(1.0, back * ap), min(1.0, back * ad)
        it.move(ap, ad)
        stuck = stuck + 1 if max(ap, ad) < 1e-6 else 0
    return Point(
        w=it.v_[:n].copy(),
        a=float(it.v_[n]),
        q=it.y[it.t].copy(),
        nu=it.y[it.r].copy(),
        lam=it.lam.copy(),
        tau=float(it.y[it.to][0]) if core.turnover is not None else 0.0,
        cone=float(it.y[it.te][0]) if core.tracking is not None else 0.0,
        iterations=k,
        mu=it.gap / it.total,
        gap=it.gap,
        primal=it.primal,
        dual=it.dual,
        converged=converged,
        x=it.x,
        y=it.y,
        price=it.price,
        trace=trace,
    )
