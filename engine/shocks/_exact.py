"""The nearest scenario at which a book of log returns loses L, repriced in full.

    min |z|   with   f(z) = b - w'(exp(m + A z) - 1) = L

There ``z = lambda g`` with ``g = f'(z) = -A'd``, ``d = w exp(m + A z)``. Newton on both
equations, ``H = f''(z) = -A' diag(d) A``:

    (I - lambda H) dz - g dlambda = lambda g - z,      g'dz = L - f

The first step from zero is the answer to first order. For a long book f is concave, so
the scenarios that lose L are a convex set, of which one alone solves this.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._typing import Vector
from engine.shocks._ball import Point, nearest_losing
from engine.shocks._book_law import BookLaw

_SMALL = 1e-13
"""Of both equations, relative: rounding of a sum over the assets is below it."""
_ENOUGH = 1e-10
"""What is taken where rounding stops the search earlier."""
_DIRECT = 256
"""Dimensions up to which H is formed; above, only its products with a vector."""


class _Here(NamedTuple):
    """A point, its multiplier, the loss there, its slope, and money left by asset."""

    z: Vector
    multiplier: float
    loss: float
    g: Vector
    d: Vector

    def misfit(self, L: float) -> float:
        """How far both equations are from holding, relative."""
        along = np.linalg.norm(self.z - self.multiplier * self.g)
        return float(along / (1.0 + np.linalg.norm(self.z))) + abs(self.loss - L) / L


def nearest_repriced(law: BookLaw, loss: float) -> Point | float:
    """Shortest z that loses ``loss``, repriced; where none is found, the most reached.

    Parameters
    ----------
    law : BookLaw
        Of log returns.
    loss : float
        Positive, decimals.
    """
    start = _at(law, np.zeros(law.dimensions), 0.0)
    if start is None or start.loss >= loss:
        c = law.repriced(np.zeros_like(law.w))
        return Point(np.zeros(law.dimensions), c, 0.0)
    most = float(law.cash + law.w.sum()) + 0.0
    if (law.w >= 0).all() and loss >= most:  # no more than all of it
        return most
    found, reached = _along(law, start, loss)
    results = [] if found is None else [found]
    # A short position bends the loss upwards: several points may solve the equations.
    if (law.w < 0).any() and law.dimensions <= _DIRECT:
        H = -(law.A.T @ (start.d[:, None] * law.A))
        bent = nearest_losing(start.loss, start.g, H, loss)
        if isinstance(bent, Point):
            other = _from(law, bent.z, loss)
            results += [] if other is None else [other]
    if not results:
        return reached
    best = min(results, key=lambda r: float(r.z @ r.z))
    return Point(best.z, loss, float(np.linalg.norm(best.g)))


def _at(law: BookLaw, z: Vector, multiplier: float) -> _Here | None:
    """The book at z; None where returns are beyond numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        x = law.mean + law.A @ z
        loss = float(law.cash - law.w @ np.expm1(x))
        d = law.w * np.exp(x)
        g = -(law.A.T @ d)
    if not (np.isfinite(loss) and np.isfinite(g).all() and np.isfinite(multiplier)):
        return None
    return _Here(z, multiplier, loss, g, d)


def _from(law: BookLaw, z: Vector, L: float) -> _Here | None:
    here = _at(law, z, 0.0)
    if here is None or not here.g.any():
        return None
    size = float(np.linalg.norm(z) / np.linalg.norm(here.g))
    return _newton(law, here._replace(multiplier=size), L)


def _along(law: BookLaw, start: _Here, L: float) -> tuple[_Here | None, float]:
    """At once, else by a path of growing losses; the most reached where it ends."""
    here, step = start, L - start.loss
    smallest = 1e-4 * step
    while step > smallest:
        goal = min(here.loss + step, L)
        found = _newton(law, here, goal)
        if found is None:
            step *= 0.5
        elif goal == L:
            return found, L
        else:
            here, step = found, 2.0 * step
    return None, here.loss + 0.0  # no negative zero


def _newton(law: BookLaw, here: _Here, L: float) -> _Here | None:
    """Newton with a step halved until both equations come nearer; None without end."""
    misfit = here.misfit(L)
    for _ in range(60):
        if misfit <= _SMALL:
            break
        move = _step(law, here, L)
        if move is None:
            return None
        part, there = 1.0, None
        while part > 1e-3:
            there = _at(law, here.z + part * move[0], here.multiplier + part * move[1])
            if there is not None and there.misfit(L) < misfit:
                break
            part, there = 0.5 * part, None
        if there is None:
            break
        here, misfit = there, there.misfit(L)
    return here if misfit <= _ENOUGH and here.multiplier > 0.0 else None


def _step(law: BookLaw, here: _Here, L: float) -> tuple[Vector, float] | None:
    """Newton's move of z and of the multiplier; None where there is none."""
    rhs = np.column_stack([here.g, here.multiplier * here.g - here.z])
    solved = _solve(law, here, rhs)
    if solved is None:
        return None
    u, v = solved.T
    slope = float(here.g @ u)
    if slope == 0.0:
        return None
    grow = (L - here.loss - float(here.g @ v)) / slope
    return v + grow * u, grow


def _solve(law: BookLaw, here: _Here, rhs: np.ndarray) -> np.ndarray | None:
    """``(I - lambda H)^-1 rhs``."""
    A, d, size = law.A, here.multiplier * here.d, law.dimensions
    if size <= _DIRECT:
        matrix = np.eye(size) + A.T @ (d[:, None] * A)
        try:
            return np.linalg.solve(matrix, rhs)
        except np.linalg.LinAlgError:
            return None
    from scipy.sparse.linalg import LinearOperator, minres

    product = LinearOperator((size, size), lambda y: y + A.T @ (d * (A @ y)))
    # A loose solve costs Newton a step or two; both equations are checked as they are.
    return np.column_stack([minres(product, b, rtol=1e-10)[0] for b in rhs.T])
