"""Smoothing of losses around one of them: which scenarios count, and how much.

The kernel is Epanechnikov's, ``3/4 (1 - u^2)`` on [-1, 1], so that only scenarios near
the loss are ever read. Its bandwidth is Silverman's rule for this kernel,
``2.345 s m^(-1/5)`` with ``s = min(sd, IQR / 1.349)`` and m Kish's effective number,
widened where it would hold fewer than `FEWEST` scenarios.
"""

from __future__ import annotations

import numpy as np

from engine._typing import Vector

FEWEST = 30
"""Scenarios a window must hold for a line through it to mean anything."""


def bandwidth(losses: Vector, p: Vector, at: float) -> float:
    """Half width of the window around ``at``, in the unit of the losses."""
    from engine.risk._measures import value_at_risk

    mean = float(p @ losses)
    sd = float(np.sqrt(p @ (losses - mean) ** 2))
    low, high = (value_at_risk(losses, level=q, p=p) for q in (0.25, 0.75))
    spread = min(sd, (high - low) / 1.349) or sd
    h = 2.345 * spread * float(p @ p) ** 0.2
    distance = np.abs(losses[p > 0] - at)
    few = min(FEWEST, distance.size) - 1
    if np.count_nonzero(distance < h) <= few:
        # A point on the edge has no weight: step just past it.
        h = max(h, float(np.partition(distance, few)[few]) * (1.0 + 1e-9))
    return h


def window(
    losses: Vector, p: Vector, at: float, h: float | None = None
) -> tuple[np.ndarray, Vector, Vector]:
    """Rows near ``at`` and the weights of a local line through them.

    A weighted regression on ``L - at`` over the window, evaluated at ``at``, is
    ``q @ y`` with ``sum q = 1`` and ``sum q (L - at) = 0``: smoothing the losses
    themselves gives ``at`` exactly (Fan and Gijbels 1996, eq. 3.9).

    Parameters
    ----------
    losses, p : (S,) float64
    at : float
    h : float, optional
        Half width; by default `bandwidth`.

    Returns
    -------
    rows : (R,) int
    q : (R,) float64
        Weights of the value at ``at``.
    slope : (R,) float64
        Weights of the slope at ``at``; zero where the window holds one loss.
    """
    h = bandwidth(losses, p, at) if h is None else h
    d = losses - at
    rows = np.flatnonzero((np.abs(d) < h) & (p > 0)) if h > 0 else np.empty(0, int)
    if rows.size < 2 or np.ptp(losses[rows]) == 0.0:
        rows = np.flatnonzero((d == 0.0) & (p > 0))
        return rows, p[rows] / p[rows].sum(), np.zeros(rows.size)
    u = d[rows] / h
    k = p[rows] * (1.0 - u**2)
    k /= k.sum()
    first, second = float(k @ u), float(k @ u**2)
    spread = second - first**2
    q = k * (second - first * u) / spread
    return rows, q, k * (u - first) / (spread * h)


def density(losses: Vector, p: Vector, at: float) -> float:
    """Kernel density of the losses at a point, per unit of loss."""
    h = bandwidth(losses, p, at)
    if not h > 0:
        return 0.0
    u = (losses - at) / h
    inside = np.abs(u) < 1.0
    return float(0.75 * (p[inside] @ (1.0 - u[inside] ** 2)) / h)
