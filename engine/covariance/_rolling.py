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
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, overload

import numpy as np

from engine.covariance._rolling_input import (
    Observations,
    aligned_matrix,
    read_observations,
    refuse_excess,
    whole_number,
)
from engine.covariance._rolling_types import Drift, RollingCovariance, RollingResults
from engine.covariance._sample import cross_product
from engine.errors import ModelError, UsageError
from engine.parallel import map_ordered, thread_limits

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


def plan(
    X: Any,
    window: int,
    *,
    min_periods: int | None = None,
    ddof: int = 1,
    assume_centered: bool = False,
    step: int = 1,
    recompute: int = 1000,
    drift_bound: float = 1e-10,
    lower: bool = False,
) -> tuple[Observations, Windows]:
    """Check everything and cut the dates into runs; see `rolling` for the options."""
    from engine.kernels.rolling import plan_restarts

    if isinstance(ddof, bool) or ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=repr(ddof))
    least = 1 if assume_centered else int(ddof) + 1
    window = whole_number(window, "window", least=least)
    step = whole_number(step, "step", least=1)
    recompute = whole_number(recompute, "recompute", least=1)
    if min_periods is not None:
        min_periods = whole_number(min_periods, "min_periods", least=least, most=window)
    if not 0.0 < drift_bound < 1.0:
        raise UsageError("drift_bound must lie in (0, 1)", received=drift_bound)
    table = read_observations(
        X,
        allow_missing=min_periods is not None,
        about_zero=assume_centered,
        fix="Give min_periods to estimate each pair from its joint observations.",
    )
    values = table.values
    T, N = values.shape
    if window > T:
        raise ModelError(
            "fewer observations than the window",
            received=f"{T} rows",
            expected=f"at least {window}",
            fix="Shorten the window or give more history.",
        )
    dates = (T - window) // step + 1
    # A product of W rows at once costs about as much as updates over W/4 dates.
    fresh = 4 * step >= window
    if fresh:
        starts = np.arange(0, dates, 64)
    else:
        starts = np.empty(dates, dtype=np.int64)
        found = plan_restarts(
            values, window, step, assume_centered, recompute, drift_bound,
            np.empty((5, N)), starts,
        )  # fmt: skip
        starts = starts[:found].copy()
    return table, Windows(
        values=values,
        missing=table.missing,
        window=window,
        step=step,
        minimum=min_periods or window,
        ddof=int(ddof),
        centred=bool(assume_centered),
        lower=lower,
        fresh=fresh,
        bound=float(drift_bound),
        dates=dates,
        starts=starts,
    )


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one call and how to walk through them."""

    values: np.ndarray
    missing: bool
    window: int
    step: int
    minimum: int
    ddof: int
    centred: bool
    lower: bool
    fresh: bool
    bound: float
    dates: int
    starts: np.ndarray

    def row(self, k: int) -> int:
        """Row of the observations at which window ``k`` ends."""
        return self.window - 1 + k * self.step

    def rows(self) -> np.ndarray:
        """(D,) the same for all windows."""
        return self.window - 1 + self.step * np.arange(self.dates)

    def complete(self) -> np.ndarray:
        """(D,) whether no observation of a window is missing."""
        if not self.missing:
            return np.ones(self.dates, dtype=bool)
        gaps = np.isnan(self.values).any(axis=1)
        before = np.concatenate([[0], np.cumsum(gaps)])
        ends = self.rows() + 1
        return before[ends] == before[ends - self.window]

    def runs(self) -> list[tuple[int, int]]:
        """Windows from one restart to the next: ``(start, stop)``."""
        stops = [*self.starts[1:].tolist(), self.dates]
        return list(zip(self.starts.tolist(), stops, strict=True))

    def drift(self, measured: list[float]) -> Drift:
        """Drift by run; runs of a single fresh matrix have none to measure."""
        kept = [
            (self.row(stop - 1), value)
            for (start, stop), value in zip(self.runs(), measured, strict=True)
            if not self.fresh and stop - start > 1
        ]
        return Drift(
            rows=np.array([row for row, _ in kept], dtype=np.int64),
            values=np.array([value for _, value in kept], dtype=np.float64),
            bound=self.bound,
        )

    def matrix(self, k: int) -> np.ndarray:
        """Window ``k`` computed afresh, (N, N)."""
        moments = self._moments(self._span(k, k))
        if self.missing:
            N = self.values.shape[1]
            return self._finish(moments[1:], np.empty((N, N)))
        return moments[1]

    def walk(
        self, run: tuple[int, int], measured: list[float] | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(row, matrix)`` over a run, the matrix a read-only reused buffer.

        The drift of the last matrix is appended to ``measured``.
        """
        from engine.kernels.rolling import slide, slide_lower, slide_pairs

        start, stop = run
        N = self.values.shape[1]
        buffer = aligned_matrix(N)
        view = buffer.view()
        view.setflags(write=False)
        step, row, after = self.step, self.row(start), self.row(stop)
        if self.fresh or stop - start == 1:
            for k in range(start, stop):
                buffer[...] = self.matrix(k)
                yield self.row(k), view
        elif self.missing:
            Z, counts, sums, products, M = self._pairs(self._span(start, stop - 1))
            moments = counts, sums, products
            yield row, self._finish(moments, buffer, view)
            done = self.window
            for row in range(row + step, after, step):
                slide_pairs(*moments, Z, M, done, done + step, self.window)
                done += step
                yield row, self._finish(moments, buffer, view)
        else:
            span = self._span(start, stop - 1)
            reference, buffer[...] = self._moments(span[: self.window])
            steps = self._steps(span, reference)
            move = slide_lower if self.lower else slide
            done = 0
            yield row, view
            for row in range(row + step, after, step):
                move(buffer, steps, done, done + step)
                done += step
                yield row, view
        if measured is not None:
            measured.append(self._gap(buffer, run))

    def fill(self, run: tuple[int, int], out: np.ndarray) -> float:
        """Write the matrices of a run to ``out`` (dates, N, N); return the drift."""
        from engine.kernels.rolling import slide_path

        start, stop = run
        if self.missing or self.fresh or self.step > 1 or stop - start == 1:
            measured: list[float] = []
            for k, (_, matrix) in enumerate(self.walk(run, measured), start):
                out[k] = matrix
            return measured[0]
        span = self._span(start, stop - 1)
        reference, out[start] = self._moments(span[: self.window])
        slide_path(out[start:stop], self._steps(span, reference))
        return self._gap(out[stop - 1], run)

    def _span(self, first: int, last: int) -> np.ndarray:
        """Observations from the first row of window ``first`` to the end of ``last``."""
        return self.values[self.row(first) - self.window + 1 : self.row(last) + 1]

    def _reference(self, rows: np.ndarray) -> np.ndarray:
        from engine.kernels.rolling import fresh_moments

        work = np.empty((5, rows.shape[1]))
        fresh_moments(rows, self.centred, work)
        return work[0]

    def _moments(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Reference and covariance of one window; with gaps, the moments of pairs."""
        if self.missing:
            return self._pairs(rows)[:4]
        reference = self._reference(rows)
        divisor = self.window if self.centred else self.window - self.ddof
        with thread_limits(1):
            return reference, cross_product(rows - reference) / divisor

    def _pairs(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Z, then counts, sums and products of the first window, then the mask."""
        first = self._reference(rows[: self.window])
        present = ~np.isnan(rows)
        Z = np.where(present, rows - first, 0.0)
        M = present.astype(np.float64)
        z, m = Z[: self.window], M[: self.window]
        with thread_limits(1):
            S = z.T @ m
            sums = np.stack([S, S.T])
            return Z, cross_product(m), sums, cross_product(z), M

    def _steps(self, span: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Scaled vectors that enter and leave, (dates after the first, 2, N)."""
        from engine.kernels.rolling import window_steps

        W = self.window
        if self.centred:
            return np.stack([span[W:], span[:-W]], axis=1) / np.sqrt(W)
        steps = np.empty((span.shape[0] - W, 2, span.shape[1]))
        work = np.empty((2, span.shape[1]))
        divisor = float(W - self.ddof)
        window_steps(span, reference, W, divisor, work, steps)
        return steps

    def _finish(
        self, moments: tuple, out: np.ndarray, view: np.ndarray | None = None
    ) -> np.ndarray:
        from engine.kernels.rolling import pairs_covariance

        pairs_covariance(*moments, self.minimum, self.ddof, self.centred, out)
        return out if view is None else view

    def _gap(self, updated: np.ndarray, run: tuple[int, int]) -> float:
        """Largest difference from a fresh matrix, in units of the volatilities."""
        if self.fresh or run[1] - run[0] == 1:
            return 0.0
        exact = self.matrix(run[1] - 1)
        gap = np.abs(updated - exact)
        if self.lower:
            gap = np.tril(gap)
        sigma = np.sqrt(np.diagonal(exact))
        # A series that does not move has exact zeros on both sides.
        sigma = np.where(sigma > 0, sigma, 1.0)
        gap /= sigma
        gap /= sigma[:, None]
        return float(np.fmax.reduce(gap, axis=None, initial=0.0))


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
