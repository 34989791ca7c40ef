"""Variance of a portfolio over rolling windows, without its covariance matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.covariance._rolling_input import Observations, asset_labels
from engine.covariance._rolling_windows import Windows, plan
from engine.errors import DataError, ModelError
from engine.parallel import thread_limits

_BLOCK = 64
"""Windows worked at once: the rows shared by a block outweigh those that are not."""


def rolling_quadratic(
    X: Any,
    weights: Any,
    window: int,
    *,
    min_periods: int | None = None,
    ddof: int = 1,
    assume_centered: bool = False,
    step: int = 1,
) -> Any:
    """``w' C w`` of every rolling window, C the covariance that `rolling` gives.

    With every observation present, w'Cw is the sample variance of the series Xw: no
    matrix is formed and nothing is updated, so nothing drifts. With missing
    observations C is made pair by pair and used where it stands.

    Parameters
    ----------
    X
        As in `rolling`.
    weights : (N,) or (D, N) array_like, Series or DataFrame
        One portfolio for all dates, or one for each of the D windows. Finite. Labels
        must be those of X in the same order.
    window, min_periods, ddof, assume_centered, step
        As in `rolling`.

    Returns
    -------
    (D,) array or Series
        Variances per period. NaN only where observations are missing and a pair held
        has fewer than ``min_periods`` joint ones.

    Raises
    ------
    DataError, ModelError, UsageError
        As in `rolling`; weights that do not match; a pairwise covariance that is
        negative along the weights.
    """
    table, windows = plan(
        X,
        window,
        min_periods=min_periods,
        ddof=ddof,
        assume_centered=assume_centered,
        step=step,
    )
    w = _weights(weights, table, windows)
    rows = windows.rows()
    if windows.missing:
        variance = _pairwise(windows, w, table)
    else:
        with thread_limits(1):
            variance = _of_series(windows, w)
    if table.dates is None:
        return variance
    import pandas as pd

    return pd.Series(variance, index=table.dates[rows])


def _weights(weights: Any, table: Observations, windows: Windows) -> np.ndarray:
    labels = asset_labels(weights)
    if (
        labels is not None
        and table.assets is not None
        and list(labels) != list(table.assets)
    ):
        raise DataError(
            "the weights carry other labels than the observations",
            fix="Reorder them to the columns of X.",
        )
    dates = table.labels(windows.rows())
    if hasattr(weights, "columns") and dates is not None:
        if list(weights.index) != list(dates):
            raise DataError(
                "the weights carry other dates than the windows",
                received=f"{len(weights)} dates from {weights.index[0]}",
                expected=f"{len(dates)} dates from {dates[0]}",
                fix="Give one row for each date at which a window ends.",
            )
    try:
        w = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"weights are not numeric: {error}") from error
    N = table.values.shape[1]
    if w.shape not in ((N,), (windows.dates, N)):
        raise DataError(
            "weights do not match the observations",
            received=f"shape {w.shape}",
            expected=f"({N},), or ({windows.dates}, {N}) for one row a window",
        )
    if not np.isfinite(w).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(w))[0])
        raise DataError(
            "a weight is not finite", received=f"{w[where]} at position {where}"
        )
    return w


def _of_series(windows: Windows, w: np.ndarray) -> np.ndarray:
    W, step, X = windows.window, windows.step, windows.values
    out = np.empty(windows.dates)
    divisor = W if windows.centred else W - windows.ddof
    fixed = X @ w if w.ndim == 1 else None
    for start in range(0, windows.dates, _BLOCK):
        stop = min(start + _BLOCK, windows.dates)
        first, last = start * step, (stop - 1) * step + W
        if fixed is not None:
            series = np.lib.stride_tricks.sliding_window_view(fixed[first:last], W)
            series = series[::step]
        else:
            # Series of every portfolio of the block over all its rows; portfolio d
            # needs W of them from row d * step on.
            product = w[start:stop] @ X[first:last].T
            row, item = product.strides
            series = np.lib.stride_tricks.as_strided(
                product, (stop - start, W), (row + step * item, item), writeable=False
            )
        if not windows.centred:
            series = series - series.mean(axis=1, keepdims=True)
        out[start:stop] = np.einsum("dt,dt->d", series, series) / divisor
    return out


def _pairwise(windows: Windows, w: np.ndarray, table: Observations) -> np.ndarray:
    out = np.empty(windows.dates)
    k = 0
    for run in windows.runs():
        for row, C in windows.walk(run):
            portfolio = w if w.ndim == 1 else w[k]
            held = np.flatnonzero(portfolio)
            inner = C if held.size == portfolio.size else C[np.ix_(held, held)]
            value = float(portfolio[held] @ inner @ portfolio[held])
            # Below what rounding of the diagonal explains, C is indefinite.
            size = float(np.abs(portfolio[held]) @ np.sqrt(np.diagonal(inner))) ** 2
            if value < -1e-12 * size:
                raise ModelError(
                    "the pairwise covariance is negative along the weights",
                    date=table.date(row),
                    received=value,
                    fix="Repair each matrix with nearest_correlation in a callback of "
                    "rolling, or raise min_periods.",
                )
            out[k] = max(value, 0.0) if value == value else value
            k += 1
    return out
