"""Deviations of returns: volatility, semi-deviation, lower partial moments, tracking.

Convention: with ``ddof=0``, the default, the values are the law, as scenarios are.
``ddof=1`` estimates the variance behind a sample: the sum of squares is divided by
``1 - sum p^2``, which is ``T / (T - 1)`` times the mean for equal weights, as in
riskfolio-lib and skfolio. The unit is that of the returns, per period: nothing is
annualised.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine._typing import Vector
from engine.errors import DataError, ModelError, UsageError
from engine.risk._measures import check_probabilities
from engine.risk._series import Table, read


def volatility(returns: Any, *, p: Any = None, ddof: int = 0) -> Any:
    """Return the standard deviation.

    Parameters
    ----------
    returns : (T,) or (T, N) array_like, Series or DataFrame
        Returns or losses, decimals; each column on its own. No NaN.
    p : (T,) array_like, optional
        Probabilities, sum one; equal by default.
    ddof : {0, 1}, default 0
        See the module: 0 for scenarios, 1 to estimate from a sample.

    Returns
    -------
    float, or one number a column: Series for a DataFrame, else (N,) array

    Raises
    ------
    DataError
        A gap; probabilities that are negative or do not sum to one.
    ModelError
        ``ddof=1`` with all weight on one value.
    """
    table, weights = _read(returns, p)
    d = table.values - weights @ table.values
    return table.per_column(np.sqrt((weights @ d**2) * _scale(weights, ddof)))


def semi_deviation(
    returns: Any, *, threshold: float | None = None, p: Any = None, ddof: int = 0
) -> Any:
    """Root mean square of returns below a threshold: ``sqrt E[min(r - c, 0)^2]``.

    Divided by all dates, not by those below (Markowitz 1959, chapter 9).

    Parameters
    ----------
    returns
        As for `volatility`; returns, not losses: what counts is below.
    threshold : float, optional
        Default the mean of each column.
    p, ddof
        As for `volatility`; returns, not losses: what counts is below.

    Returns
    -------
    float, or one number a column
    """
    table, weights = _read(returns, p)
    c = weights @ table.values if threshold is None else _number(threshold)
    below = np.maximum(c - table.values, 0.0)
    return table.per_column(np.sqrt((weights @ below**2) * _scale(weights, ddof)))


def lower_partial_moment(
    returns: Any, *, order: float = 2, threshold: float = 0.0, p: Any = None
) -> Any:
    """Lower partial moment ``E[max(c - r, 0)^order]`` (Bawa 1975, Fishburn 1977).

    Not rooted (riskfolio-lib's is, with a divisor of T - 1 at order 2). Order 0 is the
    probability of a return below the threshold, order 1 the expected shortage.

    Parameters
    ----------
    returns
        As for `volatility`; returns, not losses.
    order : float, default 2
        Zero or more.
    threshold : float, default 0
    p
        As for `volatility`; returns, not losses.

    Returns
    -------
    float, or one number a column, in units of return to the power of ``order``
    """
    order, c = _number(order), _number(threshold)
    if order < 0:
        raise UsageError("the order of a moment is zero or more", received=order)
    table, weights = _read(returns, p)
    below = np.maximum(c - table.values, 0.0)
    return table.per_column(weights @ np.where(below > 0, below**order, 0.0))


def tracking_error(
    source: Any, weights: Any, benchmark: Any, *, p: Any = None, ddof: int = 0
) -> float:
    """Return the standard deviation of the return against a benchmark.

    Parameters
    ----------
    source : ScenarioSet or (T, N) DataFrame or array
        Simple returns of the assets over one period.
    weights : Portfolio, mapping, Series or (N,) array_like
        In the order of the assets, or by label.
    benchmark : as weights, or str
        Weights of the benchmark; a text names the one asset that is it.
    p : (T,) array_like, optional
        Probabilities; those of the scenarios by default.
    ddof : {0, 1}, default 0

    Returns
    -------
    float
        Per period of the returns; not annualised.
    """
    from engine.scenarios import ScenarioSet, align_weights

    if isinstance(source, ScenarioSet):
        assets, values = source.assets, source.returns
        p = source.p if p is None else p
    else:
        table = read(source)
        values = table.values
        columns = getattr(source, "columns", range(values.shape[1]))
        assets = tuple(str(c) for c in columns)
    if isinstance(benchmark, str):
        benchmark = {benchmark: 1.0}
    active = align_weights(assets, weights) - align_weights(assets, benchmark)
    return volatility(values @ active, p=p, ddof=ddof)


def _read(returns: Any, p: Any) -> tuple[Table, Vector]:
    table = read(returns)
    return table, check_probabilities(p, table.values.shape[0])


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UsageError("not a number", received=repr(value)) from error
    if not np.isfinite(number):
        raise DataError("a threshold or order is not finite", received=number)
    return number


def _scale(p: Vector, ddof: int) -> float:
    if ddof not in (0, 1):
        raise UsageError("ddof is 0 or 1", received=repr(ddof))
    left = 1.0 - ddof * float(p @ p)
    if left <= 1e-12:
        raise ModelError(
            "one value has no spread to estimate",
            received=f"{p.size} values",
            expected="at least 2",
        )
    return 1.0 / left
