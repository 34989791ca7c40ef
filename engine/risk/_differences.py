"""Before and after under common random numbers, with the error of the difference.

Both risks are read from the same scenarios, so most of their sampling error is common
and cancels. To first order ``risk_hat - risk = sum_s p_s psi(L_s)`` with psi the
influence function of the measure; the difference has the variance of the paired
``psi_after - psi_before``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.errors import DataError, UsageError
from engine.risk._entropic import entropic_value_at_risk, tilted_influence
from engine.risk._intervals import quantile_influence, shortfall_influence
from engine.risk._measures import check_level, expected_shortfall, value_at_risk


class Difference(NamedTuple):
    """Risk before and after, and what is known of the change.

    Attributes
    ----------
    before, after, low : float
        In the unit of the losses; ``low`` begins the interval of the change.
    """

    before: float
    after: float
    change: float
    """After minus before."""
    error: float
    """Standard error of the change under common random numbers."""
    low: float
    high: float
    """Ends of the interval of the change."""
    independent_error: float
    """What the error would be if each risk had draws of its own."""


def difference(
    measure: str,
    scenarios: Any,
    before: Any,
    after: Any,
    *,
    level: float = 0.95,
    confidence: float = 0.95,
) -> Difference:
    """Change of a risk from one book to another, on the same scenarios.

    Parameters
    ----------
    measure : str
        expected_shortfall, value_at_risk, entropic_value_at_risk or volatility.
    scenarios : ScenarioSet
        Independent draws, weighted or not.
    before, after : Portfolio, mapping or (N,) array_like
        Weights.
    level, confidence : float, default 0.95
        Of the measure, and of the (normal) interval.

    Returns
    -------
    Difference

    Raises
    ------
    ModelError
        Fewer than ten scenarios beyond VaR; the message says how many are needed.

    Notes
    -----
    The errors are of first order. The plug-in EVaR of a sample hangs on its largest
    losses and is biased low at high levels; its interval does not correct for that.
    """
    from scipy.stats import norm

    level, confidence = check_level(level), check_level(confidence)
    risk = named_measure(measure)
    p = scenarios.p
    books = [scenarios.losses(w) for w in (before, after)]
    a, b = (risk(x, level=level, p=p) for x in books)
    psi_a, psi_b = (_influence(measure, x, p, level) for x in books)
    error = _error(psi_b - psi_a, p)
    half = float(norm.ppf((1.0 + confidence) / 2.0)) * error
    return Difference(
        before=a,
        after=b,
        change=b - a,
        error=error,
        low=b - a - half,
        high=b - a + half,
        independent_error=float(np.hypot(_error(psi_a, p), _error(psi_b, p))),
    )


def _deviation(losses: Vector, *, level: float, p: Vector | None) -> float:
    if p is None:
        return float(np.std(losses))
    return float(np.sqrt(p @ (losses - p @ losses) ** 2))


_RISKS: dict[str, Callable[..., float]] = {
    "expected_shortfall": expected_shortfall,
    "value_at_risk": value_at_risk,
    "entropic_value_at_risk": entropic_value_at_risk,
    "volatility": _deviation,
}


def named_measure(name: str) -> Callable[..., float]:
    """Return the function of losses behind a name; `UsageError` lists the names."""
    if name not in _RISKS:
        raise UsageError(
            "unknown risk measure", received=repr(name), expected=", ".join(_RISKS)
        )
    return _RISKS[name]


def _influence(measure: str, losses: Vector, p: Vector, level: float) -> Vector:
    if measure == "expected_shortfall":
        return shortfall_influence(losses, p, level, "expected-shortfall difference")
    if measure == "value_at_risk":
        return quantile_influence(losses, p, level, "value-at-risk difference")
    if measure == "entropic_value_at_risk":
        return tilted_influence(losses, p, level)
    square = (losses - p @ losses) ** 2
    sd = float(np.sqrt(p @ square))
    if sd == 0.0:
        raise DataError("a book has no volatility: its error is not defined")
    return 0.5 * (square / sd - sd)


def _error(psi: Vector, p: Vector) -> float:
    return float(np.sqrt(((p * psi) ** 2).sum()))
