"""The windows of a rolling estimate, cut into runs, and the walk through a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.covariance._rolling_input import (
    Observations,
    aligned_matrix,
    read_observations,
    whole_number,
)
from engine.covariance._rolling_types import Drift
from engine.covariance._sample import cross_product
from engine.errors import ModelError, UsageError
from engine.parallel import thread_limits


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
            for end in range(row + step, after, step):
                slide_pairs(
                    counts, sums, products, Z, M, done, done + step, self.window
                )
                done += step
                yield end, self._finish(moments, buffer, view)
        else:
            span = self._span(start, stop - 1)
            reference, buffer[...] = self._moments(span[: self.window])
            steps = self._steps(span, reference)
            move = slide_lower if self.lower else slide
            done = 0
            yield row, view
            for end in range(row + step, after, step):
                move(buffer, steps, done, done + step)
                done += step
                yield end, view
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
        """Observations of the windows ``first`` to ``last``, both included."""
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

        counts, sums, products = moments
        pairs_covariance(
            counts, sums, products, self.minimum, self.ddof, self.centred, out
        )
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
