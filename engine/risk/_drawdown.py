"""Drawdowns and what is said of them: the largest, and the mean of the worst.

A drawdown is the fall from the running peak, the start included, as a fraction of the
peak: ``d_t = 1 - V_t / max_{s <= t} V_s``. CDaR is the expected shortfall of the
drawdowns of a path over its dates (Chekhlov, Uryasev and Zabarankin 2005, eq. 3.6); of
weighted paths, over dates and paths together (section 4). Uncompounded returns, as in
that paper and by default in riskfolio-lib and skfolio, are summed, and the fall is then
in units of the starting wealth.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix
from engine.errors import UsageError
from engine.risk._measures import check_level, expected_shortfall
from engine.risk._series import Table, read

Kind = Literal["returns", "wealth"]


def drawdowns(values: Any, *, kind: Kind = "returns", compounded: bool = True) -> Any:
    """Fall from the running peak at each date.

    Parameters
    ----------
    values : (T,) or (T, N) array_like, Series or DataFrame
        Simple returns as decimals, or wealth; each column is a path of its own. No
        NaN.
    kind : {"returns", "wealth"}, default "returns"
        Returns start from wealth one, before the first date; a wealth path starts at
        its first value.
    compounded : bool, default True
        Whether wealth is the product of ``1 + r``; otherwise their sum, and falls are
        in units of starting wealth. Not used for wealth.

    Returns
    -------
    same kind and shape as ``values``
        Non-negative: zero at a peak, 0.2 when a fifth is lost.

    Raises
    ------
    DataError
        A gap, a return below -1, or a wealth path that starts at zero or below.
    """
    table, falls = _falls(values, kind, compounded)
    return table.like(falls)


def maximum_drawdown(
    values: Any, *, kind: Kind = "returns", compounded: bool = True
) -> Any:
    """Largest fall from a running peak, the start included.

    Parameters
    ----------
    values, kind, compounded
        As for `drawdowns`.

    Returns
    -------
    float, or one number a column: Series for a DataFrame, else (N,) array
    """
    table, falls = _falls(values, kind, compounded)
    return table.per_column(falls.max(axis=0))


def conditional_drawdown_at_risk(
    values: Any,
    *,
    level: float = 0.95,
    kind: Kind = "returns",
    compounded: bool = True,
) -> Any:
    """Mean of the worst ``1 - level`` of the drawdowns of a path (CDaR).

    Every date counts alike, the start before the first return not; part of a date is
    counted where ``T (1 - level)`` is not whole. Level 0 would be the average
    drawdown, level 1 the largest.

    Parameters
    ----------
    values
        As for `drawdowns`.
    level : float, default 0.95
    kind, compounded
        As for `drawdowns`.

    Returns
    -------
    float, or one number a column
    """
    level = check_level(level)
    table, falls = _falls(values, kind, compounded)
    each = [expected_shortfall(falls[:, i], level=level) for i in range(falls.shape[1])]
    return table.per_column(np.array(each))


def scenario_drawdown_at_risk(
    scenarios: Any,
    weights: Any,
    *,
    level: float = 0.95,
    over: Literal["sessions", "maxima"] = "sessions",
    rebalance: int | None = None,
    half_spread_bps: float = 0.0,
) -> float:
    """CDaR of a book over weighted scenario paths.

    Parameters
    ----------
    scenarios : ScenarioSet
        With ``paths``.
    weights : Portfolio, mapping or (N,) array_like
    level : float, default 0.95
    over : {"sessions", "maxima"}
        The worst sessions of all paths together, each of weight ``p / H`` (Chekhlov,
        Uryasev and Zabarankin 2005); or the worst paths by their largest fall.
    rebalance, half_spread_bps
        As for `ScenarioSet.book_paths`.

    Returns
    -------
    float
        A fraction of the peak.
    """
    level = check_level(level)
    if over not in ("sessions", "maxima"):
        raise UsageError(
            "unknown average of drawdowns",
            received=repr(over),
            expected="sessions or maxima",
        )
    options: dict[str, Any] = {
        "rebalance": rebalance,
        "half_spread_bps": half_spread_bps,
    }
    if over == "maxima":
        deepest = scenarios.drawdowns(weights, **options)
        return expected_shortfall(deepest, level=level, p=scenarios.p)
    value: Matrix = scenarios.book_paths(weights, **options)
    falls = _from_wealth(value.T, np.ones(value.shape[0])).T
    p = np.repeat(scenarios.p / value.shape[1], value.shape[1])
    return expected_shortfall(falls.ravel(), level=level, p=p)


def _falls(values: Any, kind: str, compounded: bool) -> tuple[Table, Matrix]:
    if kind not in ("returns", "wealth"):
        raise UsageError(
            "unknown kind of path", received=repr(kind), expected="returns or wealth"
        )
    if kind == "wealth":
        table = read(values, "wealth")
        start = table.values[:1] <= 0.0
        table.refuse(start, "a wealth path starts at zero or below")
        return table, _from_wealth(table.values, table.values[0])
    table = read(values)
    ones = np.ones(table.values.shape[1])
    if compounded:
        table.refuse(
            table.values < -1.0,
            "a return loses more than everything",
            fix="Give decimals (-0.05 for -5%), or compounded=False.",
        )
        return table, _from_wealth(
            np.cumprod(1.0 + table.values, axis=0, dtype=np.float64), ones
        )
    total = np.cumsum(table.values, axis=0)
    peak = np.maximum(np.maximum.accumulate(total, axis=0), 0.0)
    return table, peak - total


def _from_wealth(wealth: Matrix, start: np.ndarray) -> Matrix:
    """Falls (T, M) below the running peak of wealth (T, M), which begins at start."""
    peak = np.maximum(np.maximum.accumulate(wealth, axis=0), start)
    return 1.0 - wealth / peak
