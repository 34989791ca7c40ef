"""Value at risk and expected shortfall of weighted losses, with their errors.

Losses are positive numbers. ``VaR_a`` is the smallest l with ``P(L <= l) >= a``;
``ES_a = [sum_{L > VaR} p L + VaR (1 - a - P(L > VaR))] / (1 - a)``, which splits the
atom at VaR (Acerbi and Tasche 2002, eq. 3.6 and 4.12).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.errors import DataError, ModelError, UsageError
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


def _sorted(losses: Any, p: Any) -> tuple[Vector, Vector, np.ndarray]:
    values = _checked(losses)
    if p is None:
        weights = np.full(values.size, 1.0 / values.size)
    else:
        weights = _floats(p, "probabilities")
        if weights.shape != values.shape:
            raise DataError(
                "probabilities and losses differ in length",
                received=f"{weights.shape} and {values.shape}",
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise DataError(
                "a probability is negative or not finite",
                received=weights[~(np.isfinite(weights) & (weights >= 0))][0],
            )
        if abs(weights.sum() - 1.0) > 1e-9:
            raise DataError(
                "probabilities do not sum to one", received=f"{weights.sum():.12f}"
            )
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
    """
    level = check_level(level)
    _, weights, order = _sorted(losses, p)
    result = np.zeros(order.size)
    result[order] = _tail(weights, level)
    return result


def value_at_risk_interval(
    losses: Any, *, level: float = 0.95, confidence: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of the value at risk from order statistics.

    The number of exceedances of the true VaR is Binomial(S, 1 - level), whatever the
    law of the losses; its quantiles give the ranks. Independent draws, equal weights.
    """
    from scipy.stats import binom

    level, confidence = check_level(level), check_level(confidence)
    values = _sorted(losses, None)[0]
    n = values.size
    low, high = (
        float(binom.ppf(q, n, level))
        for q in ((1 - confidence) / 2, (1 + confidence) / 2)
    )
    if high >= n or low < 1:
        raise ModelError(
            "too few losses for an interval at this level",
            received=n,
            expected=f"at least {_fewest(level, confidence)}",
        )
    return float(values[int(low) - 1]), float(values[int(high)])


def _fewest(level: float, confidence: float) -> int:
    """Smallest sample whose extremes bracket the VaR with this confidence."""
    rarest = max(level, 1.0 - level)  # chance that one draw misses the rarer side
    return int(np.floor(np.log((1.0 - confidence) / 2.0) / np.log(rarest))) + 1


def expected_shortfall_error(losses: Any, *, level: float = 0.95) -> float:
    """Standard error of the expected shortfall of independent, equally likely losses.

    ``sqrt{[Var(L | L > VaR) + level (ES - VaR)^2] / (S (1 - level))}`` (methods
    section 4).
    """
    level = check_level(level)
    values = _sorted(losses, None)[0]
    tail = values[_var_position(np.full(values.size, 1 / values.size), level) + 1 :]
    if tail.size < 10:
        raise ModelError(
            "fewer than ten losses beyond the value at risk",
            received=tail.size,
            fix="Simulate more scenarios or lower the level.",
        )
    var = value_at_risk(values, level=level)
    es = expected_shortfall(values, level=level)
    spread = tail.var(ddof=1) + level * (es - var) ** 2
    return float(np.sqrt(spread / (values.size * (1.0 - level))))


def normal_expected_shortfall(sigma: float, *, level: float = 0.95) -> float:
    """Closed form for a centred normal loss: ``sigma phi(z) / (1 - level)``."""
    from scipy.stats import norm

    level = check_level(level)
    return float(sigma * norm.pdf(norm.ppf(level)) / (1.0 - level))


def student_t_expected_shortfall(
    sigma: float, dof: float, *, level: float = 0.95
) -> float:
    """Closed form for a centred Student-t loss with *standard deviation* ``sigma``.

    ``s t_nu(q) / (1 - a) (nu + q^2) / (nu - 1)`` with scale
    ``s = sigma sqrt((nu - 2) / nu)``; needs ``dof > 2``, infinite for a Gaussian.
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
