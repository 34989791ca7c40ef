"""The worst point of a ball under a quadratic loss, and the nearest point that loses L.

    max  c + g'z + z'H z / 2   over |z| <= k        (trust-region problem)
    min  |z|   with  c + g'z + z'H z / 2 >= L

Both have ``(lambda I - H) z = g`` with ``lambda >= max(0, largest eigenvalue of H)``
(More and Sorensen 1983, SIAM J. Sci. Stat. Comput. 4): in the eigenbasis of H one
secular equation in lambda. In the hard case g has no part along the largest
eigenvalue; the missing length goes along it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._typing import Matrix, Vector

_HARD = 1e-13
"""Part of g along the largest eigenvalue, relative to g, that counts as rounding."""


class Point(NamedTuple):
    """A point of the ball, its loss, and the loss per unit of radius there."""

    z: Vector
    loss: float
    slope: float


class _Eigen:
    """The problem in the eigenbasis of H, measured from the largest eigenvalue."""

    def __init__(self, c: float, g: Vector, H: Matrix) -> None:
        self.c = c
        self.h, self.Q = np.linalg.eigh(0.5 * (H + H.T))
        scale = max(float(np.abs(self.h).max(initial=0.0)), np.finfo(float).tiny)
        self.h[np.abs(self.h) <= 1e-14 * scale] = 0.0
        self.g = self.Q.T @ g
        self.top = max(0.0, float(self.h[-1]))
        self.gap = self.top - self.h  # lambda - h at lambda = top
        self.at_top = self.gap <= 1e-12 * scale
        size = float(np.linalg.norm(self.g))
        part = float(np.linalg.norm(self.g[self.at_top]))
        self.hard = part <= _HARD * size
        if self.hard:
            self.g[self.at_top] = 0.0
        self.size = size

    def z(self, t: float) -> Vector:
        """(lambda - h)^-1 g at lambda = top + t, zero where g is."""
        below = self.gap + t
        return np.divide(self.g, below, out=np.zeros_like(self.g), where=self.g != 0)

    def loss(self, y: Vector) -> float:
        return float(self.c + self.g @ y + 0.5 * (self.h * y) @ y)

    def point(self, y: Vector, slope: float) -> Point:
        return Point(self.Q @ y, self.loss(y), slope)


def worst_in_ball(c: float, g: Vector, H: Matrix | None, k: float) -> Point:
    """Largest loss ``c + g'z + z'Hz/2`` over ``|z| <= k``, k > 0."""
    if H is None or not np.any(H):
        size = float(np.linalg.norm(g))
        z = k * g / size if size > 0 else np.zeros_like(g)
        return Point(z, c + k * size, size)
    e = _Eigen(c, g, H)
    if e.hard or not e.at_top.any():
        y = e.z(0.0)
        length = float(np.linalg.norm(y))
        if length <= k:
            if e.top == 0.0:  # a maximum inside: more room does not help
                return e.point(y, 0.0)
            y[-1] += np.sqrt(max(k * k - length**2, 0.0))
            return e.point(y, e.top * k)
    t = _root(lambda t: 1.0 / np.linalg.norm(e.z(t)) - 1.0 / k, *_bracket(e, k))
    y = e.z(t)
    y *= k / np.linalg.norm(y)
    return e.point(y, (e.top + t) * k)


def _bracket(e: _Eigen, k: float) -> tuple[float, float]:
    """Bounds of t: ``|g_top| / t <= |z| <= |g| / t``."""
    return float(np.linalg.norm(e.g[e.at_top])) / k * 0.999, e.size / k * 1.001


def nearest_losing(c: float, g: Vector, H: Matrix | None, loss: float) -> Point | float:
    """Shortest z that loses ``loss``; where none does, the largest loss there is."""
    zero = np.zeros_like(g)
    if loss <= c:
        return Point(zero, c, 0.0)
    size = float(np.linalg.norm(g))
    if H is None or not np.any(H):
        if size == 0.0:
            return c
        return Point((loss - c) / size**2 * g, loss, size)
    e = _Eigen(c, g, H)
    if e.hard or not e.at_top.any():
        y = e.z(0.0)
        reached = e.loss(y)
        if reached <= loss:
            if e.top == 0.0:
                return e.point(y, 0.0) if reached == loss else reached
            y[-1] += np.sqrt(2.0 * (loss - reached) / e.top)
            return e.point(y, e.top * float(np.linalg.norm(y)))
    # The loss falls from its supremum to c as t runs from zero to infinity.
    low = high = max(e.size, e.top, np.finfo(float).tiny)
    while e.loss(e.z(high)) > loss and high < 1e300:
        high *= 4.0
    while e.loss(e.z(low)) < loss and low > 1e-300:
        low /= 4.0
    t = _root(lambda t: loss - e.loss(e.z(t)), low, high)
    y = e.z(t)
    return e.point(y, (e.top + t) * float(np.linalg.norm(y)))


def _root(f, low: float, high: float) -> float:
    """Root of an increasing function of t in (0, inf): Brent's method in log t."""
    from scipy.optimize import brentq

    low, high = max(low, 1e-305), max(high, 1e-300)
    if f(low) >= 0.0:
        return low
    if f(high) <= 0.0:
        return high
    found = brentq(lambda u: f(np.exp(u)), np.log(low), np.log(high), xtol=1e-14)
    return float(np.exp(found))
