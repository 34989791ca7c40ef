"""Was a forecast of VaR or expected shortfall right? Tests on realised losses.

Kupiec (1995) on the number of exceptions, Christoffersen (1998) on their clustering,
the zones of the Basel Committee (1996, 2019), Acerbi and Szekely (2014) on ES.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.errors import DataError, UsageError
from engine.risk._measures import _checked, check_level

_ADD_ONS = (0.40, 0.50, 0.65, 0.75, 0.85, 1.00)  # 5 to 9, then 10 and more
_DESK = {0.99: 12, 0.975: 30}


class TestResult(NamedTuple):
    """Statistic and p-value of a test; small p-values speak against the forecasts."""

    __test__ = False  # not a test class, whatever its name suggests to pytest

    statistic: float
    p_value: float


class Zone(NamedTuple):
    """Basel zone of a year of exceptions, and the 1996 addition to the multiplier."""

    color: str
    add_on: float


def _hits(exceptions: Any) -> np.ndarray:
    hits = np.asarray(exceptions)
    if hits.ndim != 1 or not hits.size or not np.isin(hits, (0, 1)).all():
        raise DataError(
            "exceptions must be a non-empty vector of true and false",
            received=f"{hits.dtype} of shape {hits.shape}",
        )
    return hits.astype(bool)


def _count(value: Any, name: str, *, least: int, most: float = np.inf) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise UsageError(
            f"{name} must be a whole number",
            received=repr(value),
            expected=f"{least} to {most}",
        )
    return int(value)


def kupiec(exceptions: int, days: int, *, level: float = 0.99) -> TestResult:
    """Proportion-of-failures test: chi-square with one degree of freedom.

    ``-2 ln[(1-p)^(T-x) p^x / ((1-x/T)^(T-x) (x/T)^x)]``, ``p = 1 - level`` and
    ``0 ln 0 = 0`` (Kupiec 1995).

    Parameters
    ----------
    exceptions, days : int
        Number of losses beyond VaR, and of forecasts.
    level : float, default 0.99
    """
    from scipy.special import xlogy
    from scipy.stats import chi2

    p = 1.0 - check_level(level)
    T = _count(days, "days", least=1)
    x = _count(exceptions, "exceptions", least=0, most=T)
    null = xlogy(T - x, 1.0 - p) + xlogy(x, p)
    free = xlogy(T - x, 1.0 - x / T) + xlogy(x, x / T)
    statistic = max(0.0, 2.0 * float(free - null))
    return TestResult(statistic, float(chi2.sf(statistic, 1)))


def christoffersen_independence(exceptions: Any) -> TestResult:
    """Whether an exception makes the next day's likelier: chi-square, one degree.

    First-order Markov against independence, from the T - 1 transitions
    (Christoffersen 1998).

    Parameters
    ----------
    exceptions : (T,) bool
        In order of time; at least two.
    """
    from scipy.special import xlogy
    from scipy.stats import chi2

    hits = _hits(exceptions)
    if hits.size < 2:
        raise DataError("independence needs two days", received=hits.size)
    before, after = hits[:-1], hits[1:]
    n01, n11 = int((~before & after).sum()), int((before & after).sum())
    n0, n1 = int((~before).sum()), int(before.sum())

    def likelihood(x: int, n: int) -> float:
        return float(xlogy(x, x / n) + xlogy(n - x, 1.0 - x / n)) if n else 0.0

    free = likelihood(n01, n0) + likelihood(n11, n1)
    statistic = max(0.0, 2.0 * (free - likelihood(n01 + n11, n0 + n1)))
    return TestResult(statistic, float(chi2.sf(statistic, 1)))


def christoffersen(exceptions: Any, *, level: float = 0.99) -> TestResult:
    """Conditional coverage: number and clustering together, chi-square, two degrees.

    Both parts use the same T - 1 days, the first being given, so that their sum is
    the likelihood ratio of the joint hypothesis (Christoffersen 1998).
    """
    from scipy.stats import chi2

    hits = _hits(exceptions)
    independence = christoffersen_independence(hits).statistic
    coverage = kupiec(int(hits[1:].sum()), hits.size - 1, level=level).statistic
    statistic = independence + coverage
    return TestResult(statistic, float(chi2.sf(statistic, 2)))


def traffic_light(exceptions: int) -> Zone:
    """Basel zone of the exceptions in 250 days at 99%, and its add-on.

    Green to 4, yellow 5 to 9, red from 10 (Basel Committee 1996).
    """
    x = _count(exceptions, "exceptions", least=0, most=250)
    if x < 5:
        return Zone("green", 0.0)
    return Zone("yellow" if x < 10 else "red", _ADD_ONS[min(x, 10) - 5])


def desk_test(exceptions: int, *, level: float = 0.99) -> bool:
    """Whether a desk keeps its model: at most 12 at 99%, 30 at 97.5%, in 12 months.

    Basel Committee 2019.
    """
    if level not in _DESK:
        raise UsageError(
            "the desk test is set at two levels",
            received=level,
            expected="0.99 or 0.975",
        )
    return _count(exceptions, "exceptions", least=0) <= _DESK[level]


def _forecasts(losses: Any, var: Any, es: Any) -> tuple[np.ndarray, ...]:
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


def acerbi_szekely(losses: Any, var: Any, es: Any, *, level: float = 0.975) -> float:
    """Second statistic of Acerbi and Szekely (2014): zero if right, negative if short.

    ``Z2 = 1 - sum_t L_t 1{L_t > VaR_t} / (T (1 - level) ES_t)`` for losses. At T 250
    and 97.5%, -0.70 is the 5% critical value, nearly whatever the law; elsewhere see
    `acerbi_szekely_null`.

    Parameters
    ----------
    losses : (T,) array_like
    var, es : (T,) array_like or float
        Forecasts for each day, made before it.
    level : float, default 0.975
    """
    a = check_level(level)
    L, v, e = _forecasts(losses, var, es)
    return float(1.0 - (L * (L > v) / e).sum() / (L.size * (1.0 - a)))


def acerbi_szekely_null(
    days: int,
    *,
    level: float = 0.975,
    dof: float = np.inf,
    draws: int = 20_000,
    seed: int = 0,
) -> np.ndarray:
    """(draws,) sorted values of `acerbi_szekely` when the forecasts are right.

    Losses are independent Student-t with ``dof`` degrees, Gaussian by default. The 5%
    critical value is ``np.quantile(null, 0.05)``.
    """
    from scipy.stats import norm, t

    from engine.risk._measures import student_t_expected_shortfall

    a = check_level(level)
    T, n = _count(days, "days", least=1), _count(draws, "draws", least=1)
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
    return np.sort(1.0 - total / (T * (1.0 - a) * es))


def fissler_ziegel(losses: Any, var: Any, es: Any, *, level: float = 0.975) -> Any:
    """(T,) score of joint VaR and ES forecasts; a lower mean is a better model.

    The one whose differences do not depend on the unit: with losses positive,
    ``1{L > v} (L - v) / ((1 - level) e) + v / e + ln e - 1`` (FZ0 of Patton, Ziegel
    and Chen 2019, with v and e negated).
    """
    a = check_level(level)
    L, v, e = _forecasts(losses, var, es)
    return np.maximum(L - v, 0.0) / ((1.0 - a) * e) + v / e + np.log(e) - 1.0
