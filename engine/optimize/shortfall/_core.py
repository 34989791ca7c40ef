"""What the interior point works on: the reduced problem, a point, central duals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine._typing import Matrix, Vector


@dataclass(slots=True)
class Core:
    """The problem above in scaled numbers, without fixed assets.

    Attributes
    ----------
    X : (S, N + 1) float64
        Returns with a last column of ones.
    base : (S,) float64
        Loss from fixed assets, l above.
    pi : (S,) float64
        Positive; kappa times probability over one minus the level.
    kappa : float
        Zero leaves the scenarios out.
    traded : (M,) int
        Assets whose trades cost something or count; ``current``, ``buy`` and ``sell``
        are theirs.
    """

    X: Matrix
    base: Vector
    pi: Vector
    kappa: float
    linear: Vector
    lower: Vector
    upper: Vector
    A: Matrix
    b: Vector
    E: Matrix
    e: Vector
    traded: np.ndarray
    current: Vector
    buy: Vector
    sell: Vector
    turnover: float | None
    root: Matrix | None
    offset: Vector
    gamma: float
    tracking: float | None
    gram: Matrix | None = None


@dataclass(slots=True)
class Point:
    """Where an interior point stopped; duals in the problem's scaled numbers."""

    w: Vector
    a: float
    q: Vector
    nu: Vector
    lam: Vector
    tau: float
    cone: float
    iterations: int
    mu: float
    gap: float
    primal: float
    dual: float
    converged: bool
    x: Vector
    y: Vector
    price: Vector
    trace: list[tuple] = field(default_factory=list)


def centred(excess: Vector, pi: Vector, x: float) -> tuple[Vector, Vector]:
    """Scenario duals q and pi - q on the central path, where ``mu = mean(pi) / 2x``.

    Solves ``mu_s / (pi - q) - mu_s / q = excess`` with ``mu_s`` proportional to pi.
    """
    x_s = x * excess
    size = np.abs(x_s)
    r = np.sqrt(1.0 + x_s * x_s)
    small = 0.5 * (1.0 + 1.0 / (r + size)) / (1.0 + r)
    large = 1.0 - small
    beyond = x_s > 0
    return (
        pi * np.where(beyond, large, small),
        pi * np.where(beyond, small, large),
    )


def central_value_at_risk(losses: Vector, pi: Vector, kappa: float, x: float) -> float:
    """The a at which the centred duals sum to kappa."""
    low, high = losses.min(), losses.max()
    width = (high - low) + 1.0 / x
    low, high = low - width, high + width
    for _ in range(200):
        a = 0.5 * (low + high)
        total = centred(losses - a, pi, x)[0].sum()
        if total > kappa:
            low = a
        else:
            high = a
        if abs(total - kappa) <= 0.02 * kappa or high - low < 1e-12 * width:
            break
    return 0.5 * (low + high)
