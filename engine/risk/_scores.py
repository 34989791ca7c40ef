"""Which forecast of VaR and expected shortfall was better? Scores and differences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.covariance._scores import lags_for, standard_error
from engine.errors import DataError, UsageError
from engine.risk._measures import _checked, check_level
from engine.risk._shortfall import forecasts


class ScoreDifference(NamedTuple):
    """Mean score of one forecast less another's; negative: the first was better.

    Attributes
    ----------
    difference, standard_error, statistic, p_value : float
    """

    difference: float
    standard_error: float
    statistic: float
    p_value: float


def fissler_ziegel(losses: Any, var: Any, es: Any, *, level: float = 0.975) -> Any:
    """(T,) score of joint VaR and ES forecasts; a lower mean is a better model.

    The one whose differences do not depend on the unit: with losses positive,
    ``1{L > v} (L - v) / ((1 - level) e) + v / e + ln e - 1`` (FZ0 of Patton, Ziegel
    and Chen 2019, with v and e negated).

    Parameters
    ----------
    losses, var, es, level
        As in `acerbi_szekely`; forecasts of ES positive.

    Returns
    -------
    (T,) float64
    """
    a = check_level(level)
    L, v, e = forecasts(losses, var, es)
    return np.maximum(L - v, 0.0) / ((1.0 - a) * e) + v / e + np.log(e) - 1.0


def diebold_mariano(
    scores: Any, others: Any, *, horizon: int = 1, lags: int | None = None
) -> ScoreDifference:
    """Whether two series of scores differ in mean (Diebold and Mariano 1995).

    The mean difference over its Newey-West error, two-sided, asymptotically normal.

    Parameters
    ----------
    scores, others : (T,) array_like
        Scores of two forecasts of the same outcomes, lower is better; no NaN.
    horizon : int, default 1
        Sessions each forecast covers: neighbours share ``horizon - 1`` of them.
    lags : int, optional
        Of the Newey-West error; by default ``4 (T/100)^(2/9)`` rounded down, and at
        least ``horizon - 1``.

    Returns
    -------
    ScoreDifference

    Raises
    ------
    DataError
        Series of different length or fewer than three values.
    """
    from scipy.stats import norm

    a, b = _checked(scores), _checked(others)
    if a.shape != b.shape or a.size < 3:
        raise DataError(
            "two series of scores of one length, three or more values, are needed",
            received=f"{a.size} and {b.size}",
        )
    for name, value, least in (("horizon", horizon, 1), ("lags", lags, 0)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value >= least):
            raise UsageError(
                f"{name} must be a whole number from {least}", received=repr(value)
            )
    d = a - b
    error = standard_error(
        d, lags_for(d.size, int(horizon), 1) if lags is None else int(lags)
    )
    gap = float(d.mean())
    if error > 0.0:
        statistic = gap / error
    else:
        statistic = float(np.copysign(np.inf, gap)) if gap else 0.0
    return ScoreDifference(gap, error, statistic, float(2.0 * norm.sf(abs(statistic))))
