"""Was a forecast of value at risk right? Tests on its exceptions.

Kupiec (1995) on the number of exceptions, Christoffersen (1998) on their clustering,
the zones of the Basel Committee (1996, 2019).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.errors import DataError, UsageError
from engine.risk._measures import check_level

_ADD_ONS = (0.40, 0.50, 0.65, 0.75, 0.85, 1.00)  # 5 to 9, then 10 and more
_DESK = {0.99: 12, 0.975: 30}
_TIE = 1e-9  # equal statistics, reached in another order of sums


class CoverageTest(NamedTuple):
    """Statistic and p-value of a test; small p-values speak against the forecasts.

    Attributes
    ----------
    statistic, p_value : float
    """

    statistic: float
    p_value: float


class Zone(NamedTuple):
    """Basel zone of a year of exceptions, and the 1996 addition to the multiplier.

    Attributes
    ----------
    color : str
        green, yellow or red.
    add_on : float
    """

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


def count(value: Any, name: str, *, least: int, most: float = np.inf) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise UsageError(
            f"{name} must be a whole number",
            received=repr(value),
            expected=f"{least} to {most}",
        )
    return int(value)


def _kupiec_ratio(x: Any, T: Any, p: float) -> Any:
    from scipy.special import xlogy

    null = xlogy(T - x, 1.0 - p) + xlogy(x, p)
    free = xlogy(T - x, 1.0 - x / T) + xlogy(x, x / T)
    return np.maximum(0.0, 2.0 * (free - null))


def _independence_ratio(n00: Any, n01: Any, n10: Any, n11: Any) -> Any:
    """Likelihood ratio of a first-order chain against independence."""

    def likelihood(x: Any, n: Any) -> Any:
        from scipy.special import xlogy

        return xlogy(x, x / np.maximum(n, 1)) + xlogy(n - x, 1 - x / np.maximum(n, 1))

    n0, n1 = n00 + n01, n10 + n11
    free = likelihood(n01, n0) + likelihood(n11, n1)
    return np.maximum(0.0, 2.0 * (free - likelihood(n01 + n11, n0 + n1)))


def _reached(statistic: float) -> float:
    return statistic - _TIE * (1.0 + statistic)


def _exact(p_value: str) -> bool:
    if p_value not in ("asymptotic", "exact"):
        raise UsageError(
            "unknown kind of p-value",
            received=repr(p_value),
            expected="asymptotic or exact",
        )
    return p_value == "exact"


def kupiec(
    exceptions: int, days: int, *, level: float = 0.99, p_value: str = "asymptotic"
) -> CoverageTest:
    """Proportion-of-failures test: chi-square with one degree of freedom.

    ``-2 ln[(1-p)^(T-x) p^x / ((1-x/T)^(T-x) (x/T)^x)]``, ``p = 1 - level`` and
    ``0 ln 0 = 0`` (Kupiec 1995).

    Parameters
    ----------
    exceptions, days : int
        Number of losses beyond VaR, and of forecasts.
    level : float, default 0.99
    p_value : {"asymptotic", "exact"}
        Chi-square, or the probability under Binomial(T, p) of a statistic at least as
        large: at 99% and 250 days the two differ, because few counts are possible.

    Returns
    -------
    CoverageTest

    Examples
    --------
    >>> round(kupiec(7, 250, level=0.99).p_value, 3)
    0.019
    """
    from scipy.stats import binom, chi2

    p = 1.0 - check_level(level)
    T = count(days, "days", least=1)
    x = count(exceptions, "exceptions", least=0, most=T)
    statistic = float(_kupiec_ratio(x, T, p))
    if not _exact(p_value):
        return CoverageTest(statistic, float(chi2.sf(statistic, 1)))
    every = np.arange(T + 1)
    extreme = _kupiec_ratio(every, T, p) >= _reached(statistic)
    return CoverageTest(
        statistic, min(1.0, float(binom.pmf(every[extreme], T, p).sum()))
    )


def _transitions(hits: np.ndarray) -> tuple[int, int, int, int]:
    if hits.size < 2:
        raise DataError("independence needs two days", received=hits.size)
    before, after = hits[:-1], hits[1:]
    n01, n11 = int((~before & after).sum()), int((before & after).sum())
    return int((~before & ~after).sum()), n01, int((before & ~after).sum()), n11


def christoffersen_independence(
    exceptions: Any, *, p_value: str = "asymptotic"
) -> CoverageTest:
    """Whether an exception makes the next day's likelier: chi-square, one degree.

    First-order Markov against independence, from the T - 1 transitions
    (Christoffersen 1998).

    Parameters
    ----------
    exceptions : (T,) bool
        In order of time; at least two.
    p_value : {"asymptotic", "exact"}
        Chi-square, or the share of all orders of the same exceptions with a statistic
        at least as large: exact whatever the probability of an exception.

    Returns
    -------
    CoverageTest
    """
    from scipy.stats import chi2

    hits = _hits(exceptions)
    statistic = float(_independence_ratio(*_transitions(hits)))
    if not _exact(p_value):
        return CoverageTest(statistic, float(chi2.sf(statistic, 1)))
    T, x = hits.size, int(hits.sum())
    logs, states = _arrangements(T, x)
    extreme = _independence_ratio(*states.T) >= _reached(statistic)
    share = float(np.exp(logs[extreme] - _log_choose(T, x)).sum())
    return CoverageTest(statistic, min(1.0, share))


def christoffersen(
    exceptions: Any, *, level: float = 0.99, p_value: str = "asymptotic"
) -> CoverageTest:
    """Conditional coverage: number and clustering together, chi-square, two degrees.

    Both parts use the same T - 1 days, the first being given, so that their sum is
    the likelihood ratio of the joint hypothesis (Christoffersen 1998).

    Parameters
    ----------
    exceptions : (T,) bool
        In order of time; at least two.
    level : float, default 0.99
    p_value : {"asymptotic", "exact"}
        Chi-square, or the probability of a statistic at least as large when days are
        independent with the right probability, summed over all counts of transitions.

    Returns
    -------
    CoverageTest
    """
    from scipy.stats import binom, chi2

    hits = _hits(exceptions)
    p = 1.0 - check_level(level)
    statistic = float(_joint_ratio(np.array([_transitions(hits)]), p)[0])
    if not _exact(p_value):
        return CoverageTest(statistic, float(chi2.sf(statistic, 2)))
    T, x = hits.size, int(hits.sum())
    bound, chance = _reached(statistic), 0.0
    # Counts beyond these have less than 1e-14 between them; the observed one is in.
    low, high = binom.ppf(5e-15, T, p), binom.isf(5e-15, T, p)
    for k in range(int(min(low, x)), int(max(high, x)) + 1):
        logs, states = _arrangements(T, k)
        extreme = _joint_ratio(states, p) >= bound
        logs = logs[extreme] + k * np.log(p) + (T - k) * np.log1p(-p)
        chance += float(np.exp(logs).sum())
    return CoverageTest(statistic, min(1.0, chance))


def _joint_ratio(states: np.ndarray, p: float) -> np.ndarray:
    n00, n01, n10, n11 = states.T
    coverage = _kupiec_ratio(n01 + n11, n00 + n01 + n10 + n11, p)
    return _independence_ratio(n00, n01, n10, n11) + coverage


def _log_choose(n: Any, k: Any) -> Any:
    from scipy.special import gammaln

    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def _arrangements(T: int, x: int) -> tuple[np.ndarray, np.ndarray]:
    """All transition counts of x exceptions in T days, and how many orders have each.

    x ones in r runs and T - x zeros in q runs can be arranged in
    ``C(x-1, r-1) C(T-x-1, q-1)`` ways once the first and last states are fixed.

    Returns
    -------
    (M,) and (M, 4)
        Logarithm of the number of orders; counts (n00, n01, n10, n11).
    """
    if x in (0, T):
        n00, n11 = (T - 1, 0) if x == 0 else (0, T - 1)
        return np.zeros(1), np.array([[n00, 0, 0, n11]])
    logs, states = [], []
    for first, last in ((0, 0), (0, 1), (1, 0), (1, 1)):
        r = np.arange(1, x + 1)
        q = r + 1 - first - last
        r = r[(q >= 1) & (q <= T - x)]
        q = r + 1 - first - last
        ways = _log_choose(x - 1.0, r - 1.0) + _log_choose(T - x - 1.0, q - 1.0)
        n01, n10 = r - first, r - last
        logs.append(ways)
        states.append(np.column_stack([T - x - q, n01, n10, x - r]))
    return np.concatenate(logs), np.concatenate(states)


def traffic_light(exceptions: int) -> Zone:
    """Basel zone of the exceptions in 250 days at 99%, and its add-on.

    Green to 4, yellow 5 to 9, red from 10 (Basel Committee 1996).

    Parameters
    ----------
    exceptions : int
        Among 250 days at 99%.

    Returns
    -------
    Zone

    Examples
    --------
    >>> traffic_light(6).color
    'yellow'
    """
    x = count(exceptions, "exceptions", least=0, most=250)
    if x < 5:
        return Zone("green", 0.0)
    return Zone("yellow" if x < 10 else "red", _ADD_ONS[min(x, 10) - 5])


def desk_test(exceptions: int, *, level: float = 0.99) -> bool:
    """Whether a desk keeps its model: at most 12 at 99%, 30 at 97.5%, in 12 months.

    Basel Committee 2019.

    Parameters
    ----------
    exceptions : int
        In 12 months.
    level : {0.99, 0.975}

    Returns
    -------
    bool
    """
    if level not in _DESK:
        raise UsageError(
            "the desk test is set at two levels",
            received=level,
            expected="0.99 or 0.975",
        )
    return count(exceptions, "exceptions", least=0) <= _DESK[level]
