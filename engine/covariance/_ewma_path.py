"""Exponentially weighted covariance at every date, by its own recursion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from engine.covariance._ewma import decay_rate
from engine.covariance._rolling_input import (
    aligned_matrix,
    read_observations,
    refuse_excess,
    whole_number,
)
from engine.covariance._rolling_types import RollingCovariance, RollingResults
from engine.covariance._sample import cross_product
from engine.errors import DataError, ModelError, UsageError
from engine.parallel import thread_limits


@overload
def ewma_path(
    X: Any,
    *,
    decay: float | None = None,
    half_life: float | None = None,
    assume_centered: bool = True,
    initial: Any = None,
    min_periods: int | None = None,
    callback: None = None,
) -> RollingCovariance: ...


@overload
def ewma_path(
    X: Any,
    *,
    decay: float | None = None,
    half_life: float | None = None,
    assume_centered: bool = True,
    initial: Any = None,
    min_periods: int | None = None,
    callback: Callable[[int, np.ndarray], Any],
) -> RollingResults: ...


def ewma_path(
    X: Any,
    *,
    decay: float | None = None,
    half_life: float | None = None,
    assume_centered: bool = True,
    initial: Any = None,
    min_periods: int | None = None,
    callback: Callable[[int, np.ndarray], Any] | None = None,
) -> RollingCovariance | RollingResults:
    """Exponentially weighted covariance at every date (RiskMetrics 1996, eq. 5.3).

    ``S_t = (1 - g_t) S_{t-1} + g_t r_t r_t'``, ``g_t = (1 - l) / (1 - l^(t+1))``:
    the matrix at row t equals ``ewma(X[:t+1])``. Every weight is positive and old
    rounding decays with the data that made it, so the recursion does not drift.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first; no NaN.
    decay : float, default 0.94
        ``l`` in (0, 1), as in `ewma`.
    half_life : float, optional
        In periods; gives ``decay = 0.5 ** (1 / half_life)``. Not with ``decay``.
    assume_centered : bool, default True
        RiskMetrics takes the mean as zero; False removes the weighted mean (West 1979).
    initial : (N, N) array or DataFrame, optional
        Covariance known before the first row, for a stream that goes on:
        ``S_t = l S_{t-1} + (1 - l) r_t r_t'`` from it. Only with
        ``assume_centered=True``.
    min_periods : int, optional
        Rows seen before the first matrix is given: by default 1, or 2 with
        ``assume_centered=False``.
    callback : callable, optional
        ``callback(row, matrix)`` for every date, as in `rolling`: the matrix is a
        read-only view of a buffer that the next date overwrites.

    Returns
    -------
    RollingCovariance
        Matrices (T - min_periods + 1, N, N); its ``drift`` is None.
    RollingResults
        With ``callback``: what it returned, by date.

    Raises
    ------
    DataError
        Missing, infinite or not numeric, by column and date; an ``initial`` that is
        not symmetric or does not match.
    ModelError
        Fewer rows than ``min_periods``; squares that overflow or vanish.
    UsageError
        Options out of range; a full output of more than half the memory available.
    """
    from engine.kernels.rolling import decay as decay_kernel
    from engine.kernels.rolling import decay_path

    rate = decay_rate(decay, half_life)
    if initial is not None and not assume_centered:
        raise UsageError("an initial covariance goes with assume_centered=True")
    least = 1 if assume_centered else 2
    first = whole_number(
        least if min_periods is None else min_periods, "min_periods", least=least
    )
    table = read_observations(
        X,
        allow_missing=False,
        about_zero=assume_centered,
        fix="Drop the row or the asset, or use rolling with min_periods.",
    )
    T, N = table.values.shape
    if first > T:
        raise ModelError(
            "fewer observations than min_periods",
            received=f"{T} rows",
            expected=f"at least {first}",
        )
    start = None if initial is None else _start(initial, table.assets, N)
    keep, vectors = _recursion(table.values, rate, assume_centered, start is not None)
    S = aligned_matrix(N)
    if start is None:
        # The state at the first row given, in one product.
        later = np.concatenate([keep[1:first], [1.0]])[::-1].cumprod()[::-1]
        with thread_limits(1):
            S[...] = cross_product(vectors[:first] * np.sqrt(later)[:, None])
    else:
        S[...] = start
        decay_kernel(S, keep, vectors, 0, first)
    rows = np.arange(first - 1, T)
    complete = np.ones(rows.size, dtype=bool)
    dates = table.labels(rows)
    if callback is None:
        refuse_excess(rows.size, N)
        out = np.empty((rows.size, N, N))
        out[0] = S
        decay_path(out, keep[first:], vectors[first:])
        out.setflags(write=False)
        return RollingCovariance(rows, out, complete, dates=dates, assets=table.assets)
    view = S.view()
    view.setflags(write=False)
    with thread_limits(1):
        results = [callback(first - 1, view)]
        for t in range(first, T):
            decay_kernel(S, keep, vectors, t, t + 1)
            results.append(callback(t, view))
    return RollingResults(rows, tuple(results), complete, dates=dates)


def _recursion(
    X: np.ndarray, rate: float, centred: bool, steady: bool
) -> tuple[np.ndarray, np.ndarray]:
    """``keep`` (T,) and ``vectors`` (T, N) of ``S = keep S + v v'``."""
    T = X.shape[0]
    gain = np.full(T, 1.0 - rate)
    if not steady:
        gain /= -np.expm1(np.arange(1, T + 1) * np.log(rate))
        gain[0] = 1.0
    keep = 1.0 - gain
    if centred:
        return keep, X * np.sqrt(gain)[:, None]
    # d_t is measured from the mean before; (1 - g)(S + g d d') is about the mean after.
    vectors = np.empty_like(X)
    mean = np.zeros(X.shape[1])
    for t in range(T):
        d = X[t] - mean
        vectors[t] = np.sqrt(keep[t] * gain[t]) * d
        mean += gain[t] * d
    return keep, vectors


def _start(initial: Any, assets: Any, N: int) -> np.ndarray:
    labels = getattr(initial, "columns", None)
    if (
        labels is not None
        and assets is not None
        and not (list(labels) == list(assets) == list(initial.index))
    ):
        raise DataError(
            "the initial covariance carries other labels than the observations",
            fix="Reorder its rows and columns.",
        )
    try:
        S = np.array(initial, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the initial covariance is not numeric: {error}") from error
    if S.shape != (N, N) or not np.isfinite(S).all():
        raise DataError(
            "the initial covariance must be finite and match the observations",
            received=f"shape {S.shape}",
            expected=f"({N}, {N})",
        )
    if np.abs(S - S.T).max() > 1e-8 * np.abs(S).max():
        raise DataError("the initial covariance is not symmetric")
    return 0.5 * (S + S.T)
