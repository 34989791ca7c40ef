"""Covariance of a rolling window at every date, by updates whose rounding is bounded.

Moving the window by a date changes the covariance by two outer products, N^2 work
instead of the W N^2 of a new product. Rounding adds up, and one bad tick leaves its
digits behind when it goes; so every run of updates starts from a matrix computed
afresh, and is cut where an a priori bound on the rounding of any column would exceed
``drift_bound`` of its variance (`engine.kernels.rolling.plan_restarts`). Runs depend on
the data alone, so they may be worked in any order, by any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, overload

import numpy as np

from engine.covariance._rolling_input import refuse_excess
from engine.covariance._rolling_types import RollingCovariance, RollingResults
from engine.covariance._rolling_windows import Windows, plan
from engine.errors import UsageError
from engine.parallel import map_ordered

Callback = Callable[[int, np.ndarray], Any]


@overload
def rolling(
    X: Any,
    window: int,
    *,
    min_periods: int | None = None,
    ddof: int = 1,
    assume_centered: bool = False,
    step: int = 1,
    callback: None = None,
    triangle: Literal["full", "lower"] = "full",
    recompute: int = 1000,
    drift_bound: float = 1e-10,
    n_jobs: int = 1,
) -> RollingCovariance: ...


@overload
def rolling(
    X: Any,
    window: int,
    *,
    min_periods: int | None = None,
    ddof: int = 1,
    assume_centered: bool = False,
    step: int = 1,
    callback: Callback,
    triangle: Literal["full", "lower"] = "full",
    recompute: int = 1000,
    drift_bound: float = 1e-10,
    n_jobs: int = 1,
) -> RollingResults: ...


def rolling(
    X: Any,
    window: int,
    *,
    min_periods: int | None = None,
    ddof: int = 1,
    assume_centered: bool = False,
    step: int = 1,
    callback: Callback | None = None,
    triangle: Literal["full", "lower"] = "full",
    recompute: int = 1000,
    drift_bound: float = 1e-10,
    n_jobs: int = 1,
) -> RollingCovariance | RollingResults:
    """Sample covariance of every window of ``window`` dates.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first. NaN only with ``min_periods``.
    window : int
        Dates in a window. Only full windows are given: the first ends at row
        ``window - 1``, so there are ``(T - window) // step + 1``.
    min_periods : int, optional
        Accept missing observations: each pair of assets is estimated from its joint
        dates in the window, about its own joint means, as pandas does, and is NaN
        where these are fewer than ``min_periods``. Without it NaN is an error. Such a
        matrix may be indefinite: ``complete`` of the result says which are safe.
    ddof : {1, 0}, default 1
        Divisor ``n - ddof``, as in `sample`.
    assume_centered : bool, default False
        Take the mean to be zero; the divisor is then ``n``.
    step : int, default 1
        Dates from one window to the next.
    callback : callable, optional
        ``callback(row, matrix)`` for every window, ``row`` the row of X at which it
        ends; the results are collected and no other matrix is kept. The matrix is a
        read-only view of a buffer that the next date overwrites: copy what must last.
        BLAS has one thread meanwhile; with ``n_jobs`` over one, several threads call.
    triangle : {"full", "lower"}, default "full"
        ``"lower"`` leaves what lies above the diagonal undefined, for a callback that
        does not read it (a Cholesky factor, LAPACK in general): half the work.
    recompute : int, default 1000
        Most dates from one matrix computed afresh to the next: rounding then stays
        near 1e-13, and the fresh ones are a small part of the time.
    drift_bound : float, default 1e-10
        Largest rounding of an entry, relative to the two volatilities; where the bound
        on it is passed, a matrix is computed afresh. Ten digits, far below the
        sampling error of any window.
    n_jobs : int, default 1
        Threads; -1 for one per core. The numbers do not depend on it.

    Returns
    -------
    RollingCovariance
        Matrices (D, N, N) with labels, and the drift measured.
    RollingResults
        With ``callback``: what it returned, by date.

    Raises
    ------
    DataError
        Missing (without ``min_periods``), infinite or not numeric, by column and date.
    ModelError
        Fewer rows than the window; values whose squares overflow or vanish.
    UsageError
        Options out of range; a full output of more than half the memory available.

    Notes
    -----
    The two outer products are those of Welford (1962) for a value that leaves and one
    that enters, see `engine.kernels.rolling`: no difference of raw moments is taken. A
    column that does not move within a window has variance and covariances exactly 0.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.covariance import rolling
    >>> X = np.array([[0.01, 0.02], [-0.01, 0.00], [0.02, 0.01], [0.00, -0.02]])
    >>> rolling(X, 3).matrices.shape
    (2, 2, 2)
    >>> factors = rolling(X, 3, callback=lambda row, C: np.trace(C))
    >>> len(factors)
    2
    """
    if triangle not in ("full", "lower"):
        raise UsageError(
            "unknown triangle", received=repr(triangle), expected="full or lower"
        )
    if triangle == "lower" and callback is None:
        raise UsageError(
            "the lower half alone is for a callback", fix="Leave triangle out."
        )
    table, windows = plan(
        X,
        window,
        min_periods=min_periods,
        ddof=ddof,
        assume_centered=assume_centered,
        step=step,
        recompute=recompute,
        drift_bound=drift_bound,
        lower=triangle == "lower",
    )
    rows, complete = windows.rows(), windows.complete()
    if callback is None:
        N = table.values.shape[1]
        refuse_excess(windows.dates, N)
        out = np.empty((windows.dates, N, N))
        drifts = list(_map(partial(_fill, windows, out), windows, n_jobs))
        out.setflags(write=False)
        return RollingCovariance(
            rows=rows,
            matrices=out,
            complete=complete,
            drift=windows.drift(drifts),
            dates=table.labels(rows),
            assets=table.assets,
        )
    parts = list(_map(partial(_consume, windows, callback), windows, n_jobs))
    return RollingResults(
        rows=rows,
        values=tuple(value for part, _ in parts for value in part),
        complete=complete,
        drift=windows.drift([drift for _, drift in parts]),
        dates=table.labels(rows),
    )


def iter_rolling(
    X: Any, window: int, **options: Any
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(row, matrix)`` for every window: `rolling`, one matrix at a time.

    Parameters
    ----------
    X, window
        As in `rolling`.
    **options
        Those of `rolling` except ``callback`` and ``n_jobs``.

    Yields
    ------
    row : int
        Row of X at which the window ends.
    matrix : (N, N) float64
        Read-only view of a buffer that the next step overwrites.

    Notes
    -----
    The input is checked at the call. Between two steps the caller's code keeps its own
    thread settings.
    """
    triangle = options.pop("triangle", "full")
    if triangle not in ("full", "lower"):
        raise UsageError(
            "unknown triangle", received=repr(triangle), expected="full or lower"
        )
    _, windows = plan(X, window, lower=triangle == "lower", **options)

    def walk() -> Iterator[tuple[int, np.ndarray]]:
        for run in windows.runs():
            yield from windows.walk(run)

    return walk()


def _fill(windows: Windows, out: np.ndarray, run: tuple[int, int]) -> float:
    return windows.fill(run, out)


def _consume(
    windows: Windows, callback: Callback, run: tuple[int, int]
) -> tuple[list[Any], float]:
    measured: list[float] = []
    results = [callback(row, matrix) for row, matrix in windows.walk(run, measured)]
    return results, measured[0]


def _map(work: Callable, windows: Windows, n_jobs: int) -> Iterator[Any]:
    return map_ordered(work, windows.runs(), executor="threads", n_jobs=n_jobs)
