"""`randomised_starts`: the same rule begun on many dates, to see what the start did."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backtests._estimates import EstimateCache, cache_of
from backtests._identity import digest
from backtests._store import MANIFEST
from backtests.clock import timeline
from backtests.result import BacktestResult
from backtests.walkforward import backtest
from engine._base import Value
from engine._progress import Progress, reporter
from engine.data.panel import PricePanel
from engine.errors import DataError, UsageError
from engine.parallel import BlockStream, Executor, map_ordered

STREAM = 6_400
"""Of the random blocks; the draws of a seed never change."""

FIGURES = ("annual_return", "volatility", "sharpe", "max_drawdown")


@dataclass(frozen=True, slots=True, eq=False)
class RandomisedStarts(Value):
    """Runs of one strategy from several dates to the same end.

    Attributes
    ----------
    starts : (n,) datetime64[D]
        In order of time.
    results : tuple of BacktestResult, length n
    resumed : int
        How many were read from an earlier run.
    """

    starts: np.ndarray
    results: tuple[BacktestResult, ...]
    resumed: int = 0

    def to_frame(self) -> Any:
        """Return one row of figures per start."""
        import pandas as pd

        rows = []
        for result in self.results:
            found = result.metrics()
            rows.append({k: found.get(k, np.nan) for k in FIGURES})
        index = pd.Index(self.starts.astype("datetime64[ns]"), name="start")
        return pd.DataFrame(rows, index=index)

    def summary(self) -> Any:
        """Return mean, deviation and quantiles of each figure over the starts."""
        frame = self.to_frame()
        return frame.describe(percentiles=[0.05, 0.25, 0.5, 0.75, 0.95])

    def __repr__(self) -> str:
        s = self.to_frame()["sharpe"]
        return (
            f"RandomisedStarts({len(self.results)} starts, {self.starts[0]} to "
            f"{self.starts[-1]}; Sharpe {s.median():.2f}, {s.min():.2f} to "
            f"{s.max():.2f})"
        )


def random_starts(
    panel: PricePanel,
    *,
    n: int,
    min_length: int,
    seed: int,
    start: Any = None,
    end: Any = None,
) -> np.ndarray:
    """(n,) distinct sessions, in order, each with ``min_length`` sessions to the end.

    Every session of the range that leaves enough is equally likely.
    """
    for name, value, least in (("n", n, 1), ("min_length", min_length, 2)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise UsageError(
                f"{name} is a whole number", received=value, expected=f">= {least}"
            )
    dates = timeline(panel, start, end, "monthly").dates
    possible = dates.size - min_length + 1
    if possible < n:
        raise DataError(
            "too few sessions for so many starts",
            received=f"{max(0, possible)} possible starts",
            expected=f"{n}, each with {min_length} sessions to {dates[-1]}",
            fix="Lower n or min_length, or take a longer range.",
        )
    draws = BlockStream(seed, STREAM).uniforms(0, possible)
    return dates[np.sort(np.argsort(draws, kind="stable")[:n])]


def randomised_starts(
    strategy: Any,
    panel: PricePanel,
    *,
    n: int = 20,
    min_length: int = 252,
    seed: int = 0,
    start: Any = None,
    end: Any = None,
    cache: Any = None,
    out: Any = None,
    executor: Executor = "serial",
    n_jobs: int = 1,
    progress: Progress | bool | None = None,
    **backtest_options: Any,
) -> RandomisedStarts:
    """Backtest a strategy from ``n`` random start dates to the same end.

    Parameters
    ----------
    strategy : Strategy
    panel : PricePanel
    n : int, default 20
    min_length : int, default 252
        Fewest sessions of a run.
    seed : int, default 0
        Of the dates, by the counter-based generator: the same on every machine.
    start, end : date, optional
        Range of the runs; that of the panel by default.
    cache : path or EstimateCache, optional
        Where estimates are shared; one of its own by default, for this call.
    out : path, optional
        Finished runs are written there, and read by a later call with the same
        strategy, data and options.
    executor, n_jobs
        How runs are divided; results are the same bit for bit.
    progress : callable or True, optional
        ``progress(done, total, message)`` after each run; True shows a bar.
    **backtest_options
        Passed to `backtest`.

    Returns
    -------
    RandomisedStarts

    Notes
    -----
    Runs overlap and end together: the spread says how much the start mattered, and is
    no confidence interval. Decision dates of a calendar schedule coincide, so that all
    but the first of each run are estimated once.
    """
    progress = reporter(progress, "starts")
    chosen = random_starts(
        panel, n=n, min_length=min_length, seed=seed, start=start, end=end
    )
    common = digest(strategy, panel, backtest_options, str(end))
    tasks = [(t, digest(common, str(t))[:24]) for t in chosen]
    with _shared(cache, executor) as estimates:
        work = partial(
            _one_start,
            strategy=strategy,
            panel=panel,
            end=end,
            cache=estimates,
            out=None if out is None else str(out),
            options=backtest_options,
        )
        done: list[tuple[BacktestResult, bool]] = []
        for item in map_ordered(work, tasks, executor=executor, n_jobs=n_jobs):
            done.append(item)
            if progress is not None:
                progress(len(done), len(tasks), str(chosen[len(done) - 1]))
    return RandomisedStarts(
        chosen, tuple(r for r, _ in done), sum(again for _, again in done)
    )


@contextlib.contextmanager
def _shared(cache: Any, executor: Executor) -> Iterator[EstimateCache | None]:
    if cache is None and executor == "processes":
        with tempfile.TemporaryDirectory() as folder:
            yield EstimateCache(folder)
    else:
        yield EstimateCache() if cache is None else cache_of(cache)


def _one_start(
    task: tuple[np.datetime64, str],
    *,
    strategy: Any,
    panel: PricePanel,
    end: Any,
    cache: EstimateCache | None,
    out: str | None,
    options: dict[str, Any],
) -> tuple[BacktestResult, bool]:
    start, key = task
    folder = None if out is None else Path(out) / f"start-{start}-{key}"
    if folder is not None and (folder / MANIFEST).exists():
        with contextlib.suppress(DataError):  # damaged: run it again
            return BacktestResult.read(folder), True
    result = backtest(strategy, panel, start=start, end=end, cache=cache, **options)
    if folder is not None:
        result.write(folder)
    return result, False
