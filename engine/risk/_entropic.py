"""Entropic value at risk: the tightest Chernoff bound on VaR and ES.

``EVaR_a = inf_{t > 0} [ln E exp(t L) - ln(1 - a)] / t`` (Ahmadi-Javid 2012, def. 3.1),
which is also the worst mean over laws within relative entropy ``-ln(1 - a)`` of p
(theorem 3.3). At the minimum the tilted law ``q ~ p exp(t L)`` lies on the edge of that
ball, so one increasing function of t has to be solved.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Vector
from engine.errors import ModelError, UsageError
from engine.risk._measures import _checked, check_level, check_probabilities

_STEPS = 200


def entropic_value_at_risk(losses: Any, *, level: float = 0.95, p: Any = None) -> float:
    """Entropic value at risk of a sample or of weighted scenarios.

    Coherent, at least the expected shortfall, at most the largest loss; equal to the
    largest loss where that has probability ``1 - level`` or more.

    Parameters
    ----------
    losses : (S,) array_like
        Positive numbers are losses; any unit; no NaN.
    level : float, default 0.95
        Confidence in (0, 1).
    p : (S,) array_like, optional
        Probabilities, sum one; equal by default.

    Returns
    -------
    float

    Raises
    ------
    DataError
        Empty or non-finite losses; probabilities that are negative or do not sum to
        one.
    UsageError
        A level outside (0, 1).

    Notes
    -----
    Safeguarded Newton in ``ln t`` on losses mapped to [-1, 0] with the largest at 0:
    no exponential overflows whatever the unit. An error d in t moves the answer by
    order d squared, so it is good to rounding.
    """
    return _solved(losses, check_level(level), p)[0]


def tilted_influence(losses: Vector, p: Vector, level: float) -> Vector:
    """(S,) influence on EVaR: ``(exp(t L) / E exp(t L) - 1) / t`` at the minimum."""
    value, t, rise = _solved(losses, level, p)
    if not 0.0 < t < np.inf:
        raise ModelError(
            "the entropic value at risk is the largest loss: it has no standard error",
            received=f"{value:.6g} at level {level}",
            fix="Simulate more scenarios or lower the level.",
        )
    return np.expm1(t * losses - rise) / t


def _solved(losses: Any, level: float, p: Any) -> tuple[float, float, float]:
    """EVaR, the tilt t per unit of loss, and ``ln E exp(t L)``."""
    values = _checked(losses)
    weights = None if p is None else check_probabilities(p, values.size)
    if weights is not None and not weights.all():
        values, weights = values[weights > 0], weights[weights > 0]
    unit = float(np.abs(values).max())
    if unit == 0.0:
        return 0.0, np.inf, np.inf
    y = values / unit  # the range of the losses may overflow, that of y does not
    top = float(y.max())
    y -= top
    spread = -float(y.min())
    if spread == 0.0:
        return float(values[0]), np.inf, np.inf
    y /= spread
    scaled, t, K = _scaled(y, weights, level)
    value = unit * (top + spread * scaled)
    t = t / spread / unit
    return value, t, t * top * unit + K


def normal_entropic_value_at_risk(sigma: float, *, level: float = 0.95) -> float:
    """Closed form for a centred normal loss: ``sigma sqrt(-2 ln(1 - level))``.

    Ahmadi-Javid 2012, eq. 15.

    Parameters
    ----------
    sigma : float or array_like
        Standard deviation of the loss, any unit.
    level : float, default 0.95

    Returns
    -------
    float or array
        In the unit of ``sigma``.
    """
    if not sigma >= 0.0:
        raise UsageError("sigma is a standard deviation", received=sigma)
    return float(sigma * np.sqrt(-2.0 * np.log1p(-check_level(level))))


def _scaled(y: Vector, p: Vector | None, level: float) -> tuple[float, float, float]:
    """EVaR of values in [-1, 0] that reach both ends, its tilt and ``ln E e^ty``."""
    radius = -float(np.log1p(-level))
    heaviest = float(np.mean(y == 0.0) if p is None else p[y == 0.0].sum())
    if heaviest >= (1.0 - level) * (1.0 - 1e-12):
        return 0.0, np.inf, np.inf
    low, high, K = 0.0, np.inf, 0.0
    t = np.sqrt(2.0 * radius) / float(_spread(y, p))  # exact for a normal law
    for _ in range(_STEPS):
        K, mean, variance = _tilted(y, p, t)
        gap = (t * mean - K) - radius
        if gap > 0.0:
            high = t
        else:
            low = t
        narrow = high < np.inf and high - low <= 1e-12 * high
        if abs(gap) <= 1e-9 * radius or narrow:
            break
        rise = t * t * variance  # of the entropy, per unit of ln t
        step = -gap / rise if rise > 0.0 else np.inf
        if high < np.inf:
            new = t * np.exp(np.clip(step, -2.0, 2.0))
            inside = low < new < high
            t = new if inside else (np.sqrt(low * high) if low > 0 else high / 4.0)
        else:
            t *= np.exp(np.clip(step, -2.0, 2.0))
    return min(0.0, (K + radius) / t), float(t), K


def _spread(y: Vector, p: Vector | None) -> float:
    mean = y.mean() if p is None else p @ y
    square = (y - mean) ** 2
    return float(np.sqrt(square.mean() if p is None else p @ square))


def _tilted(y: Vector, p: Vector | None, t: float) -> tuple[float, float, float]:
    """``ln E exp(t y)``, and mean and variance of y under the tilted law."""
    z = t * y
    # A small tilt loses ln E exp(t y) to rounding unless one is taken off first.
    near = t < 1.0
    e = np.expm1(z, out=z) if near else np.exp(z, out=z)
    share = 1.0 / y.size
    total = float(e.sum()) * share if p is None else float(p @ e)
    K = float(np.log1p(total) if near else np.log(total))
    if near:
        e += 1.0
        total += 1.0
    if p is None:
        e *= share / total
    else:
        e *= p
        e /= total
    mean = float(e @ y)
    e *= y
    return K, mean, max(0.0, float(e @ y) - mean**2)
