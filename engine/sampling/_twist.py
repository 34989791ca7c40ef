"""Exponential twisting of the delta-gamma loss.

With Z rotated so that the quadratic part is diagonal, the loss is about
``Q = a0 + sqrt(V) b'Z + V sum(l_i Z_i^2)``.

Gaussian (V = 1 after scaling; Glasserman, Heidelberger, Shahabuddin 2000)::

    psi(t) = a0 t + sum[(t b_i)^2/(1 - 2 t l_i) - ln(1 - 2 t l_i)] / 2,  psi'(t) = x
    Z_i ~ N(t b_i/(1 - 2 t l_i), 1/(1 - 2 t l_i)),   weight exp(psi(t) - t Q)

Student-t (V = (nu - 2)/Y, Y chi-square; same authors 2002): twist
``Q_x = (Q - x)/V``, which is positive exactly when Q exceeds x and, unlike Q, has
exponential moments. With ``a(t) = (a0 - x) t + sum[(t b_i)^2/(1 - 2 t l_i)]/2``::

    psi(t) = -sum ln(1 - 2 t l_i)/2 - nu/2 ln(1 - 2 a(t)/(nu - 2)),   psi'(t) = 0
    Y ~ chi2_nu/(1 - 2 a(t)/(nu - 2)),  Z_i ~ N(t b_i/sqrt(V)/(1 - 2 t l_i), as above)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import ModelError
from engine.sampling._book import Book


@dataclass(frozen=True, slots=True, eq=False)
class Twist:
    """Sampling law of one target.

    Attributes
    ----------
    a0, target, theta, psi : float
    b, curvature : (width,) float64
        Linear and quadratic coefficients of Q, rotated.
    rotation : (width, width) float64 or None
        Columns are the rotated axes; None where the book is linear.
    dof : float
    mixing : float
        Factor of the chi-square: below one makes large moves likelier.
    """

    a0: float
    b: np.ndarray
    curvature: np.ndarray
    rotation: np.ndarray | None
    dof: float
    target: float
    theta: float
    psi: float
    mixing: float

    @property
    def direction(self) -> np.ndarray:
        """(width,) unit gradient of Q by the driving normals, at their centre."""
        v = self.b / (1.0 - 2.0 * self.theta * self.curvature) ** 1.5
        length = np.linalg.norm(v)
        return v / length if length > 0 else v

    def apply(
        self,
        noise: np.ndarray,
        Y: np.ndarray | None,
        *,
        defensive: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Turn standard draws into twisted ones.

        Parameters
        ----------
        noise : (n, width) float64
            Standard normals.
        Y : (n,) float64 or None
            Chi-squares with ``dof`` degrees; None for a Gaussian.
        defensive : bool, default False
            Leave every other row as it is and weigh all rows by the mixture of both
            laws (Hesterberg 1995): no weight exceeds two, and the body of the
            distribution stays covered.

        Returns
        -------
        z : (n, width)
            Normals, rotated back: to be multiplied by the root.
        V : (n,)
            Mixing variable, one where Gaussian.
        weight : (n,)
            Likelihood ratio.
        """
        s = 1.0 / (1.0 - 2.0 * self.theta * self.curvature)
        z = noise * np.sqrt(s)
        centre = self.theta * self.b * s
        if Y is None:
            V = np.ones(noise.shape[0])
            z += centre
        else:
            V = (self.dof - 2.0) / (Y * self.mixing)
            z += (1.0 / np.sqrt(V))[:, None] * centre
        if defensive:
            z[::2] = noise[::2]
            if Y is not None:
                V[::2] = (self.dof - 2.0) / Y[::2]
        Q = self.a0 + np.sqrt(V) * (z @ self.b) + V * (z**2 @ self.curvature)
        if Y is None:
            power = self.psi - self.theta * Q
        else:
            power = self.psi - self.theta * (Q - self.target) / V
        if defensive:
            weight = 2.0 / (1.0 + np.exp(np.minimum(-power, 700.0)))
        else:
            weight = np.exp(power)
        if self.rotation is not None:
            z = z @ self.rotation.T
        return z, V, weight


def quadratic(book: Book) -> tuple[float, np.ndarray, np.ndarray, np.ndarray | None]:
    """``(a0, b, curvature, rotation)`` of a book; horizon included for a Gaussian."""
    scale = float(book.periods) if np.isinf(book.dof) else 1.0
    b = book.slope * np.sqrt(scale)
    a0 = book.centre()
    if not book.log and book.gamma is None:
        return a0, b, np.zeros(b.size), None
    C = book.A if book.specific is None else np.hstack([book.A, np.diag(book.specific)])
    bend = C.T * book.delta if book.gamma is None else C.T @ book.gamma
    M = -0.5 * scale * bend @ C
    curvature, rotation = np.linalg.eigh((M + M.T) / 2.0)
    return a0, np.asarray(rotation.T @ b), np.asarray(curvature), np.asarray(rotation)


def solve(
    form: tuple[float, np.ndarray, np.ndarray, np.ndarray | None],
    dof: float,
    target: float,
) -> Twist:
    """Twist whose typical loss is ``target``.

    No twist where the target is below the centre. Where the quadratic form cannot
    reach the target (long log-return books have a bounded one) its curvature is
    dropped for the twist; the true loss is evaluated either way.
    """
    a0, b, curvature, rotation = form
    for lam in (curvature, np.zeros_like(curvature)):
        theta = _root(a0, b, lam, dof, target)
        if theta is not None:
            psi, mixing = _psi(a0, b, lam, dof, target, theta)
            return Twist(a0, b, lam, rotation, dof, target, theta, psi, mixing)
    raise ModelError(
        "the target loss is beyond the reach of the book",
        received=f"{target:.6g}",
        fix="Choose a smaller threshold, or check that the book carries risk.",
    )


def _psi(
    a0: float, b: np.ndarray, lam: np.ndarray, dof: float, x: float, theta: float
) -> tuple[float, float]:
    s = 1.0 - 2.0 * theta * lam
    half = 0.5 * theta**2 * np.sum(b**2 / s)
    logs = -0.5 * np.log(s).sum()
    if np.isinf(dof):
        return float(theta * a0 + half + logs), 1.0
    room = 1.0 - 2.0 * (theta * (a0 - x) + half) / (dof - 2.0)
    return float(logs - 0.5 * dof * np.log(room)), float(1.0 / room)


def _slope(
    a0: float, b: np.ndarray, lam: np.ndarray, dof: float, x: float, theta: float
) -> float:
    """psi'(theta) less its goal; infinite outside the domain."""
    s = 1.0 - 2.0 * theta * lam
    if (s <= 0).any():
        return np.inf
    linear = theta * np.sum(b**2 * (1.0 - theta * lam) / s**2)
    square = np.sum(lam / s)
    if np.isinf(dof):
        return float(a0 + linear + square - x)
    alpha = theta * (a0 - x) + 0.5 * theta**2 * np.sum(b**2 / s)
    room = 1.0 - 2.0 * alpha / (dof - 2.0)
    if room <= 0:
        return np.inf
    return float(square + dof / (dof - 2.0) * (a0 - x + linear) / room)


def _root(
    a0: float, b: np.ndarray, lam: np.ndarray, dof: float, x: float
) -> float | None:
    """Theta by bisection: psi is convex; None where psi' never meets its goal."""
    spread = float(np.sqrt(np.sum(b**2) + 2.0 * np.sum(lam**2)))
    if not spread > 0.0:
        return None
    if _slope(a0, b, lam, dof, x, 0.0) >= 0.0:
        return 0.0
    low, high = 0.0, 1e-3 / spread
    while _slope(a0, b, lam, dof, x, high) < 0.0:
        low, high = high, 2.0 * high
        if high * spread > 1e4:  # psi' has levelled off below its goal
            return None
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if _slope(a0, b, lam, dof, x, middle) < 0.0:
            low = middle
        else:
            high = middle
    return low
