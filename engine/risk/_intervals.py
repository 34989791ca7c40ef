"""Standard errors and confidence intervals of VaR and ES, weighted or not.

With probabilities, the empirical distribution at a point x is a weighted mean of
indicators; its variance ``sum p^2 (1{L <= x} - F)^2`` is that of self-normalised
importance sampling, and equals ``F (1 - F) / S`` where the weights are equal. The
effective number at the quantile is the ``m`` with ``F (1 - F) / m`` equal to it: where
heavy scenarios lie in the tail it is smaller than Kish's ``1 / sum p^2``, where light
ones do, larger. Intervals of F are turned into intervals of the quantile (Woodruff
1952), F's own being that of a binomial with m draws (Korn and Graubard 1998).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Vector
from engine.errors import ModelError, UsageError
from engine.risk._measures import (
    _checked,
    _sorted,
    _var_position,
    check_level,
    check_probabilities,
    tail,
    value_at_risk,
)

TAIL = 10
"""Losses beyond VaR that a standard error needs: fewer say nothing of their spread."""


def scenarios_needed(level: float, *, beyond: int = TAIL) -> int:
    """Smallest number of equally likely scenarios with ``beyond`` of them past VaR.

    Parameters
    ----------
    level : float
        Confidence in (0, 1).
    beyond : int, default 10
        What a standard error of expected shortfall asks for.

    Returns
    -------
    int
    """
    level = check_level(level)
    if isinstance(beyond, bool) or not isinstance(beyond, (int, np.integer)):
        raise UsageError("beyond is a whole number", received=repr(beyond))
    if beyond < 1:
        raise UsageError("beyond is at least one", received=beyond)
    n = int(beyond / (1.0 - level))
    while n - np.ceil((level - 1e-12) * n) < beyond:
        n += 1
    return n


def _equal(p: Vector) -> bool:
    return bool(np.ptp(p) <= 1e-12 * p.max())


def effective_at(losses: Vector, p: Vector, level: float, var: float) -> float:
    """Effective number of scenarios for the probability of a loss beyond ``var``."""
    miss = np.where(losses > var, level, level - 1.0)
    return level * (1.0 - level) / float(((p * miss) ** 2).sum())


def require_tail(p: Vector, beyond: np.ndarray, level: float, what: str) -> float:
    """Effective number of tail scenarios (Kish), or `ModelError` naming the need."""
    q = p[beyond]
    found = float(q.sum() ** 2 / (q @ q)) if q.sum() > 0 else 0.0
    if found < TAIL - 1e-6:
        raise ModelError(
            f"fewer than ten losses beyond the value at risk: a {level:.5g} {what} "
            f"needs at least {scenarios_needed(level)} scenarios",
            received=f"{found:.4g} beyond it, of {p.size}"
            + ("" if _equal(p) else " weighted (an effective number)"),
            expected=f"at least {scenarios_needed(level)}",
            fix="Simulate more scenarios or lower the level.",
        )
    return found


def value_at_risk_interval(
    losses: Any, *, level: float = 0.95, confidence: float = 0.95, p: Any = None
) -> tuple[float, float]:
    """Confidence interval of the value at risk from order statistics.

    The number of exceedances of the true VaR is Binomial(S, 1 - level), whatever the
    law of the losses; its quantiles give the ranks. With probabilities, S becomes the
    effective number at the quantile (see the module).

    Parameters
    ----------
    losses : (S,) array_like
        Independent draws; no NaN.
    level, confidence : float, default 0.95
        Of the measure, and of the interval.
    p : (S,) array_like, optional
        Probabilities, sum one: importance or view weights of the draws.

    Returns
    -------
    tuple of float
        Lower and upper end.

    Raises
    ------
    ModelError
        Too few scenarios, or too uneven, for any two of them to bracket VaR.
    """
    from scipy.stats import beta, binom

    level, confidence = check_level(level), check_level(confidence)
    values, weights, _ = _sorted(losses, p)
    n = values.size
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    if _equal(weights):
        low, high = (float(binom.ppf(q, n, level)) for q in tails)
        if high >= n or low < 1:
            raise _too_few(n, level, confidence)
        return float(values[int(low) - 1]), float(values[int(high)])
    var = float(values[_var_position(weights, level)])
    m = effective_at(values, weights, level, var)
    if m < _fewest(level, confidence):
        raise _too_few(f"an effective {m:.1f} of {n}", level, confidence)
    x = m * level
    low = float(beta.ppf(tails[0], x, m - x + 1.0))
    high = float(beta.ppf(tails[1], x + 1.0, m - x))
    return (
        float(values[_var_position(weights, low)]),
        float(values[_var_position(weights, high)]),
    )


def _too_few(received: object, level: float, confidence: float) -> ModelError:
    return ModelError(
        "too few losses for an interval at this level",
        received=received,
        expected=f"at least {_fewest(level, confidence)}",
    )


def _fewest(level: float, confidence: float) -> int:
    """Smallest sample whose extremes bracket the VaR with this confidence."""
    rarest = max(level, 1.0 - level)  # chance that one draw misses the rarer side
    return int(np.floor(np.log((1.0 - confidence) / 2.0) / np.log(rarest))) + 1


def value_at_risk_error(losses: Any, *, level: float = 0.95, p: Any = None) -> float:
    """Standard error of the value at risk.

    That of the bootstrap with infinitely many resamples: order statistics weighted by
    a Beta law (Maritz and Jarrett 1978), so that no density has to be estimated. With
    probabilities, the Beta law has the effective number at the quantile.

    Parameters
    ----------
    losses, level, p
        As for `value_at_risk_interval`.

    Returns
    -------
    float
        In the unit of the losses.

    Raises
    ------
    ModelError
        Fewer than ten (effective) losses beyond VaR.
    """
    from scipy.special import betainc

    level = check_level(level)
    values, weights, _ = _sorted(losses, p)
    k = _var_position(weights, level)
    require_tail(weights, np.arange(values.size) > k, level, "value-at-risk error")
    if _equal(weights):
        m, x = float(values.size), k + 1.0
        reached = np.arange(1, values.size + 1) / m
    else:
        m = effective_at(values, weights, level, float(values[k]))
        x = m * level
        reached = np.minimum(np.cumsum(weights), 1.0)
    # Beyond nine standard deviations the Beta law has nothing left.
    reach = 9.0 * np.sqrt(level * (1.0 - level) / m) + 9.0 / m
    near = slice(
        int(np.searchsorted(reached, level - reach)),
        int(np.searchsorted(reached, level + reach)) + 1,
    )
    at = np.asarray(betainc(x, m - x + 1.0, reached[near]))
    share = np.diff(at, prepend=0.0)
    around = values[near] - values[k]
    mean = share @ around
    return float(np.sqrt(max(0.0, float(share @ around**2 - mean**2))))


def expected_shortfall_error(
    losses: Any, *, level: float = 0.95, p: Any = None
) -> float:
    """Standard error of the expected shortfall of independent losses.

    Equal weights: ``sqrt{[Var(L | L > VaR) + level (ES - VaR)^2] / (S (1 - level))}``
    (methods section 4). Probabilities: ``sqrt(sum p^2 psi^2)`` with the influence
    ``psi = VaR + (L - VaR)^+ / (1 - level) - ES``, of which the first is the case of
    equal weights.

    Parameters
    ----------
    losses, level, p
        As for `value_at_risk_interval`.

    Returns
    -------
    float
        In the unit of the losses.

    Raises
    ------
    ModelError
        Fewer than ten (effective) losses beyond VaR.
    """
    level = check_level(level)
    values = _checked(losses)
    weights = check_probabilities(p, values.size)
    if not _equal(weights):
        psi = shortfall_influence(values, weights, level, "expected-shortfall error")
        return float(np.sqrt(((weights * psi) ** 2).sum()))
    values = np.sort(values)
    k = _var_position(np.full(values.size, 1 / values.size), level)
    beyond = values[k + 1 :]
    equal = np.full(values.size, 1 / values.size)
    require_tail(equal, np.arange(values.size) > k, level, "expected-shortfall error")
    var, es = tail(values, level=level)
    spread = beyond.var(ddof=1) + level * (es - var) ** 2
    return float(np.sqrt(spread / (values.size * (1.0 - level))))


def shortfall_influence(losses: Vector, p: Vector, level: float, what: str) -> Vector:
    """(S,) influence of each scenario on expected shortfall; mean zero under p."""
    var, es = tail(losses, level=level, p=p)
    require_tail(p, (losses > var) & (p > 0), level, what)
    return var + np.maximum(losses - var, 0.0) / (1.0 - level) - es


def quantile_influence(losses: Vector, p: Vector, level: float, what: str) -> Vector:
    """(S,) influence on the value at risk: ``(1{L > v} - (1 - level)) / f(v)``.

    The density is a kernel's, see `engine.risk._kernel`.
    """
    from engine.risk._kernel import density

    var = value_at_risk(losses, level=level, p=p)
    require_tail(p, (losses > var) & (p > 0), level, what)
    f = density(losses, p, var)
    if not f > 0:
        raise ModelError(
            "losses have no density at the value at risk: half of them are one value",
            received=f"VaR {var:.6g}",
        )
    return np.where(losses > var, level, level - 1.0) / f
