"""Value at risk and expected shortfall of weighted losses.

Losses are positive numbers. ``VaR_a`` is the smallest l with ``P(L <= l) >= a``;
``ES_a = [sum_{L > VaR} p L + VaR (1 - a - P(L > VaR))] / (1 - a)``, which splits the
atom at VaR (Acerbi and Tasche 2002, eq. 3.6 and 4.12).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.errors import DataError, UsageError
from engine.risk._selection import SMALLEST, Selected, select

_ROUNDING = 1e-12
_EPSILON = float(np.finfo(float).eps)


def check_level(level: float) -> float:
    """Return the confidence level if it lies in (0, 1)."""
    if not (isinstance(level, (int, float, np.floating)) and 0.0 < level < 1.0):
        raise UsageError(
            "level is a confidence in (0, 1)",
            received=level,
            expected="0.95 for the worst 5%",
        )
    return float(level)


def _floats(values: Any, what: str) -> Vector:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not numeric: {error}") from error


def _checked(losses: Any) -> Vector:
    values = _floats(losses, "losses")
    if values.ndim != 1 or not values.size:
        raise DataError(
            "losses must be a non-empty vector", received=f"shape {values.shape}"
        )
    if not np.isfinite(values).all():
        i = int(np.argmax(~np.isfinite(values)))
        raise DataError("a loss is not finite", received=f"{values[i]} at {i}")
    return values


def check_probabilities(p: Any, size: int) -> Vector:
    """(S,) probabilities, equal by default, or `DataError`."""
    if p is None:
        return np.full(size, 1.0 / size)
    weights = _floats(p, "probabilities")
    if weights.shape != (size,):
        raise DataError(
            "probabilities and losses differ in length",
            received=f"{weights.shape} and {(size,)}",
        )
    good = np.isfinite(weights) & (weights >= 0)
    if not good.all():
        i = int(np.argmin(good))
        raise DataError(
            "a probability is negative or not finite", received=f"{weights[i]} at {i}"
        )
    if abs(weights.sum() - 1.0) > 1e-9:
        raise DataError(
            "probabilities do not sum to one", received=f"{weights.sum():.12f}"
        )
    return weights


def _sorted(losses: Any, p: Any) -> tuple[Vector, Vector, np.ndarray]:
    values = _checked(losses)
    weights = check_probabilities(p, values.size)
    order = np.argsort(values, kind="stable")
    return values[order], weights[order], order


def _var_position(weights: Vector, level: float) -> int:
    """Index, in ascending order, of the value at risk."""
    # A running sum of S weights is off by at most S eps: without this slack VaR at a
    # level that falls between two scenarios (0.95 of 100,000) is one too far out.
    slack = max(_ROUNDING, weights.size * _EPSILON)
    reached = np.cumsum(weights) >= level - slack
    return int(np.argmax(reached)) if reached[-1] else weights.size - 1


class Tail(NamedTuple):
    """Value at risk and expected shortfall of one law, from one selection."""

    value_at_risk: float
    expected_shortfall: float


def tail(losses: Any, *, level: float = 0.95, p: Any = None) -> Tail:
    """Value at risk and expected shortfall together: one selection serves both.

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
    Tail
        Fields ``value_at_risk`` and ``expected_shortfall``, as the functions of
        these names give.

    Raises
    ------
    DataError
        Empty or non-finite losses; probabilities that are negative, do not sum to
        one, or differ in number.
    UsageError
        A level outside (0, 1).

    Examples
    --------
    >>> tail([1.0, 2.0, 3.0, 4.0], level=0.75)
    Tail(value_at_risk=3.0, expected_shortfall=4.0)
    """
    level = check_level(level)
    found = _selected(losses, level, p)
    atom = max(0.0, (1.0 - level) - found.beyond)
    shortfall = (found.total + atom * found.var) / (found.beyond + atom)
    return Tail(found.var, max(found.var, shortfall))


def _selected(losses: Any, level: float, p: Any) -> Selected:
    values = _floats(losses, "losses")
    weights = None if p is None else _floats(p, "probabilities")
    if (
        values.ndim == 1
        and values.size >= SMALLEST
        and (weights is None or weights.shape == values.shape)
    ):
        slack = max(_ROUNDING, values.size * _EPSILON)
        found = select(values, weights, level, slack)
        if found is not None:
            return found
    if weights is None:
        return _equal_tail(values, level)
    values, weights, _ = _sorted(values, weights)
    var = float(values[_var_position(weights, level)])
    above = int(np.searchsorted(values, var, side="right"))
    q = weights[above:]
    return Selected(var, float(q.sum()), float(q @ values[above:]))


def _equal_tail(losses: Any, level: float) -> Selected:
    """VaR and what lies beyond it: one selection finds the order statistic."""
    values = _checked(losses)
    S = values.size
    slack = max(_ROUNDING, S * _EPSILON)
    k = min(max(int(np.ceil((level - slack) * S)) - 1, 0), S - 1)
    part = np.partition(values, k)[k:]
    upper = part[part > part[0]]
    return Selected(float(part[0]), upper.size / S, float(upper.sum()) / S)


def value_at_risk(losses: Any, *, level: float = 0.95, p: Any = None) -> float:
    """Value at risk of a sample or of weighted scenarios.

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
        Smallest loss l with ``P(L <= l) >= level``.

    Examples
    --------
    >>> value_at_risk([1.0, 2.0, 3.0, 4.0], level=0.75)
    3.0
    """
    return _selected(losses, check_level(level), p).var


def expected_shortfall(losses: Any, *, level: float = 0.95, p: Any = None) -> float:
    """Expected shortfall: mean loss in the worst ``1 - level``, atoms split.

    Parameters
    ----------
    losses, level, p
        As for `value_at_risk`.

    Returns
    -------
    float
        At least the value at risk.

    Examples
    --------
    >>> expected_shortfall([1.0, 2.0, 3.0, 4.0], level=0.75)
    4.0
    """
    return tail(losses, level=level, p=p).expected_shortfall


def _tail(weights: Vector, level: float) -> Vector:
    k = _var_position(weights, level)
    tail = np.zeros_like(weights)
    tail[k + 1 :] = weights[k + 1 :]
    tail[k] = max(0.0, (1.0 - level) - float(tail.sum()))
    return tail / tail.sum()


def tail_weights(losses: Any, *, level: float = 0.95, p: Any = None) -> Vector:
    """(S,) weights q with ``ES = q @ losses``: the tail, the atom at VaR split.

    They are the subgradient of expected shortfall, hence its Euler contributions.

    Parameters
    ----------
    losses : (S,) array_like
        Losses positive; no NaN.
    level : float, default 0.95
    p : (S,) array_like, optional
        Probabilities, sum one; equal by default.

    Returns
    -------
    (S,) float64
        Not negative, sum one.
    """
    level = check_level(level)
    _, weights, order = _sorted(losses, p)
    result = np.zeros(order.size)
    result[order] = _tail(weights, level)
    return result


def normal_expected_shortfall(sigma: float, *, level: float = 0.95) -> float:
    """Closed form for a centred normal loss: ``sigma phi(z) / (1 - level)``.

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
    from scipy.stats import norm

    level = check_level(level)
    return float(sigma * norm.pdf(norm.ppf(level)) / (1.0 - level))


def student_t_expected_shortfall(
    sigma: float, dof: float, *, level: float = 0.95
) -> float:
    """Closed form for a centred Student-t loss with *standard deviation* ``sigma``.

    ``s t_nu(q) / (1 - a) (nu + q^2) / (nu - 1)`` with scale
    ``s = sigma sqrt((nu - 2) / nu)``; needs ``dof > 2``, infinite for a Gaussian.

    Parameters
    ----------
    sigma : float or array_like
        Standard deviation, not scale, of the loss, any unit.
    dof : float
        Degrees of freedom, above 2.
    level : float, default 0.95

    Returns
    -------
    float or array
        In the unit of ``sigma``.
    """
    from scipy.stats import t

    level = check_level(level)
    if not dof > 2:
        raise UsageError("degrees of freedom must exceed 2", received=dof)
    if np.isinf(dof):
        return normal_expected_shortfall(sigma, level=level)
    scale = sigma * np.sqrt((dof - 2.0) / dof)
    q = t.ppf(level, dof)
    return float(scale * t.pdf(q, dof) / (1.0 - level) * (dof + q * q) / (dof - 1.0))
