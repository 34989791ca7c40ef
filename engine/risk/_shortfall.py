"""Was a forecast of expected shortfall right? Acerbi and Szekely (2014)."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import DataError, UsageError
from engine.risk._coverage import count
from engine.risk._measures import _checked, check_level


def forecasts(losses: Any, var: Any, es: Any) -> tuple[np.ndarray, ...]:
    """Losses, VaR and ES of one length, checked."""
    L = _checked(losses)
    try:
        v, e = (np.broadcast_to(_checked(np.atleast_1d(x)), L.shape) for x in (var, es))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            "forecasts and losses differ in length",
            received=f"{np.shape(var)}, {np.shape(es)} and {L.shape}",
        ) from error
    wrong = (e < v) | (e <= 0)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise DataError(
            "expected shortfall must be positive and at least the value at risk",
            received=f"VaR {v[i]}, ES {e[i]} at {i}",
        )
    return L, v, e


def _is_first(statistic: str) -> bool:
    if statistic not in ("Z1", "Z2"):
        raise UsageError(
            "unknown statistic", received=repr(statistic), expected="Z1 or Z2"
        )
    return statistic == "Z1"


def acerbi_szekely(
    losses: Any, var: Any, es: Any, *, level: float = 0.975, statistic: str = "Z2"
) -> float:
    """Statistics of Acerbi and Szekely (2014): zero if right, negative if short.

    ``Z2 = 1 - sum_t L_t 1{L_t > VaR_t} / (T (1 - level) ES_t)`` for losses judges
    number and size of the exceptions; ``Z1 = 1 - mean of L_t / ES_t`` over the
    exceptions judges their size given VaR, and is zero where there were none. At T 250
    and 97.5%, -0.70 is the 5% critical value of Z2, nearly whatever the law; elsewhere
    see `acerbi_szekely_null`.

    Parameters
    ----------
    losses : (T,) array_like
    var, es : (T,) array_like or float
        Forecasts for each day, made before it.
    level : float, default 0.975
    statistic : {"Z2", "Z1"}

    Returns
    -------
    float
        Without unit; negative where risk was understated.
    """
    a = check_level(level)
    first = _is_first(statistic)
    L, v, e = forecasts(losses, var, es)
    if first:
        beyond = L > v
        return float(1.0 - (L[beyond] / e[beyond]).mean()) if beyond.any() else 0.0
    return float(1.0 - (L * (L > v) / e).sum() / (L.size * (1.0 - a)))


def acerbi_szekely_null(
    days: int,
    *,
    level: float = 0.975,
    dof: float = np.inf,
    draws: int = 20_000,
    seed: int = 0,
    statistic: str = "Z2",
) -> np.ndarray:
    """(draws,) sorted values of `acerbi_szekely` when the forecasts are right.

    Losses are independent Student-t with ``dof`` degrees, Gaussian by default. The 5%
    critical value is ``np.quantile(null, 0.05)``.

    Parameters
    ----------
    days : int
        Length T of each sample.
    level : float, default 0.975
    dof : float, default infinity
        Degrees of freedom, above 2.
    draws : int, default 20,000
    seed : int, default 0
    statistic : {"Z2", "Z1"}

    Returns
    -------
    (draws,) float64
        In ascending order.
    """
    from scipy.stats import norm, t

    from engine.risk._measures import student_t_expected_shortfall

    first = _is_first(statistic)
    a = check_level(level)
    T, n = count(days, "days", least=1), count(draws, "draws", least=1)
    if not dof > 2:
        raise UsageError("degrees of freedom must exceed 2", received=dof)
    sigma = np.sqrt(dof / (dof - 2.0)) if np.isfinite(dof) else 1.0
    es = student_t_expected_shortfall(sigma, dof, level=a)
    law = t(dof) if np.isfinite(dof) else norm()
    rng = np.random.default_rng(seed)
    # Only exceptions count: their number is binomial, their size uniform in the tail.
    x = rng.binomial(T, 1.0 - a, size=n)
    size = law.isf(rng.uniform(0.0, 1.0 - a, size=int(x.sum())))
    total = np.bincount(np.repeat(np.arange(n), x), weights=size, minlength=n)
    if first:
        return np.sort(np.where(x > 0, 1.0 - total / (np.maximum(x, 1) * es), 0.0))
    return np.sort(1.0 - total / (T * (1.0 - a) * es))
