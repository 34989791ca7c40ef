"""`run_sweep`: one backtest per cell of a grid, resumable, with the score kept.

Every trial counts, also those of earlier sweeps written to the same folder: the best
of many worthless rules looks good, and the deflated Sharpe ratio says how good.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import pickle
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backtests._score import named, score, words
from backtests._trials import (
    Cell,
    Earlier,
    Trial,
    earlier_trials,
    run_trial,
    sharpe_of,
    trial_keys,
)
from backtests.result import BacktestResult
from engine._base import Value
from engine._progress import Progress, reporter
from engine.data.panel import PricePanel
from engine.errors import DataError, StoreError, UsageError
from engine.parallel import REMOTE, Executor, map_ordered

__all__ = ["Cell", "SweepResult", "Trial", "grid_cells", "run_sweep", "run_trials"]


@dataclass(frozen=True, slots=True, eq=False)
class SweepResult(Value):
    """All cells of a sweep, in the order of the grid.

    Attributes
    ----------
    cells : tuple of Cell
    n_trials : int
        Trials counted: this grid and earlier ones in the same folder, failed cells
        included.
    earlier_sharpes : tuple of float
        Per-period Sharpe ratios of earlier trials that are not in this grid.
    """

    cells: tuple[Cell, ...]
    n_trials: int
    earlier_sharpes: tuple[float, ...] = ()
    _known: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def finished(self) -> tuple[Cell, ...]:
        """Cells that have a result."""
        return tuple(c for c in self.cells if c.result is not None)

    @property
    def failed(self) -> tuple[Cell, ...]:
        """Cells that have an error."""
        return tuple(c for c in self.cells if c.result is None)

    def sharpes(self) -> np.ndarray:
        """(n_cells,) per-period Sharpe ratios over cash; NaN where not defined."""
        return np.array([sharpe_of(c.result) for c in self.cells])

    def best(self) -> Cell:
        """The finished cell with the highest Sharpe ratio; the first of equals."""
        sharpes = self.sharpes()
        if np.isnan(sharpes).all():
            raise DataError(
                "no cell of the sweep has a Sharpe ratio",
                received=self.failed[0].error if self.failed else "constant returns",
            )
        return self.cells[int(np.nanargmax(sharpes))]

    def returns(self) -> np.ndarray:
        """(T - 1, n_finished) returns of the finished cells, as `pbo` wants them."""
        results = self._results()
        if not results:
            raise DataError("no cell of the sweep finished")
        return np.column_stack([r.returns() for r in results])

    def summary(self) -> dict[str, Any]:
        """The best cell, and what is left of it after counting the trials.

        Returns
        -------
        dict
            ``n_trials``, ``finished``, ``failed``; and, where a cell has a Sharpe
            ratio, figures of the best one (None where one is not defined):

            ``best``
                Its parameters.
            ``sharpe``, ``sharpe_low``, ``sharpe_high``
                Per year, with the 95% interval of the stationary bootstrap, which
                knows nothing of the search.
            ``expected_best_sharpe``
                Per year, of the best of ``n_trials`` worthless trials.
            ``deflated_sharpe``
                Probability that the true Sharpe ratio is positive given ``n_trials``
                (Bailey, Lopez de Prado 2014). The trials are taken as independent,
                which errs on the strict side when they are alike.
            ``effective_trials``, ``deflated_sharpe_effective``
                Independent trials that they amount to, by their average correlation
                (same paper, appendix A.3); failed and earlier ones count in full. And
                the probability on that count.
            ``pbo``
                Probability of backtest overfitting (Bailey, Borwein, Lopez de Prado,
                Zhu 2017) of the finished cells, from 16 blocks of dates, 10 where
                there are more than 200 cells.
            ``years``, ``minimum_track_years``
                Of the record, and those needed before this ratio, of a single trial,
                beats zero at 95% (Bailey, Lopez de Prado 2012).
            ``stamps``
                What must be said beside the numbers.
        """
        if not self._known:
            self._known.update(self._summary())
        return dict(self._known)

    def _summary(self) -> dict[str, Any]:
        sharpes = self.sharpes()
        counts = {
            "n_trials": self.n_trials,
            "finished": len(self.finished),
            "failed": len(self.failed),
        }
        if np.isnan(sharpes).all():
            return counts
        cell = self.best()
        result = cell.result
        assert result is not None  # `best` only returns finished cells
        known = [*sharpes[~np.isnan(sharpes)], *self.earlier_sharpes]
        figures = score(self._results(), known, result, self.n_trials)
        return counts | {
            "best": dict(cell.parameters),
            **figures,
            "stamps": result.stamps,
        }

    def words(self) -> tuple[str, ...]:
        """What `summary` means, in sentences."""
        return words(self.summary())

    def _results(self) -> list[BacktestResult]:
        return [c.result for c in self.cells if c.result is not None]

    def to_frame(self):
        """Return one row per cell: parameters, key figures, error."""
        import pandas as pd

        rows = []
        for cell in self.cells:
            row = dict(cell.parameters)
            if cell.result is not None:
                m = cell.result.metrics()
                names = ("total_return", "volatility", "sharpe", "sharpe_se")
                row |= {k: m.get(k, math.nan) for k in (*names, "max_drawdown")}
                row["costs"] = m["costs"]
            rows.append(row | {"error": cell.error})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        s = self.summary()
        text = (
            f"SweepResult({len(self.cells)} cells, {len(self.failed)} failed, "
            f"{self.n_trials} trials counted"
        )
        if "best" not in s:
            return text + ")"
        text += (
            f"; best {named(s['best'])}: Sharpe {s['sharpe']:.2f}"
            f"{_interval(s['sharpe_low'], s['sharpe_high'])}, "
            f"{s['expected_best_sharpe']:.2f} expected by luck, deflated probability "
            f"{s['deflated_sharpe']:.2f} ({s['deflated_sharpe_effective']:.2f} for "
            f"{s['effective_trials']:.1f} independent trials)"
        )
        if s["pbo"] is not None:
            text += f", overfitting probability {s['pbo']:.2f}"
        needed = s["minimum_track_years"]
        text += f", {s['years']:.1f} years of record"
        text += "" if needed is None else f" ({needed:.1f} needed)"
        return "\n".join([text + ")", *self.words()])

    def _repr_html_(self) -> str:
        import html

        table = self.to_frame().to_html(
            index=False, escape=True, float_format="{:.4g}".format
        )
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self.words())
        return f"{said}{table}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None else f" [{low:.2f}, {high:.2f}]"


def grid_cells(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations, the last name varying fastest."""
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise UsageError(
                "a grid maps names to lists of values",
                received=f"{name}={values!r}",
                fix=f"Write {name}=[{values!r}].",
            )
        if not values:
            raise UsageError("a grid entry has no values", received=name)
    names = list(grid)
    return [dict(zip(names, v, strict=True)) for v in itertools.product(*grid.values())]


def run_sweep(
    factory: Callable[..., Any],
    grid: Mapping[str, Sequence[Any]],
    panel: PricePanel,
    *,
    executor: Executor = "serial",
    n_jobs: int = 1,
    out: Any = None,
    progress: Progress | bool | None = None,
    **backtest_options: Any,
) -> SweepResult:
    """Backtest one strategy per cell of a grid.

    Parameters
    ----------
    factory : callable
        ``factory(**cell)`` makes the strategy; a class will do. For
        ``executor="processes"`` or ``"ray"`` it must be importable: a function or class
        at the top level of a module, not a lambda.
    grid : mapping name -> list of values
        All combinations are run.
    panel : PricePanel
    executor : {"serial", "threads", "processes", "ray"}
        Results are the same bit for bit. Ray is an extra: see
        `engine.parallel.map_ordered`.
    n_jobs : int, default 1
        Workers; -1 for one per core.
    out : path, optional
        Each finished cell is written there, whole or not at all, and a later run with
        the same factory, cell, data and options reads it instead of repeating it.
        Failed cells are recorded and tried again, damaged ones run again. The ledger
        ``trials/`` there counts every trial ever finished in the folder; sweeps may
        share it at the same time. On a cluster: a folder that all its machines see.
    progress : callable or True, optional
        ``progress(done, total, message)`` after each cell; True shows a bar.
    **backtest_options
        Passed to `backtest`.

    Returns
    -------
    SweepResult
        Its ``summary()`` and ``words()`` say what is left of the best cell.

    Raises
    ------
    UsageError
        A grid that is not one, or a factory that cannot be sent to processes.
    StoreError
        A cell cannot be written, on a full disk for example; finished ones are kept.
    WorkerError
        A worker died.
    """
    progress = reporter(progress, "sweep")
    cells = grid_cells(grid)
    for name in ("executor", "n_jobs", "progress"):
        if name in backtest_options:
            raise UsageError(f"{name} is an option of the sweep, not of a cell")
    if executor in REMOTE:
        try:
            pickle.dumps(factory)
        except Exception as error:
            raise UsageError(
                "the factory cannot be sent to worker processes",
                received=repr(factory),
                expected="a function or class at the top level of a module",
                fix="Move it into an importable module, or use executor='serial'.",
            ) from error
    return run_trials(
        [Trial(cell, factory, cell, backtest_options) for cell in cells],
        panel,
        executor=executor,
        n_jobs=n_jobs,
        out=out,
        progress=progress,
    )


def run_trials(
    trials: Sequence[Trial],
    panel: PricePanel,
    *,
    executor: Executor = "serial",
    n_jobs: int = 1,
    out: Any = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Run trials that need not share strategy or options; as `run_sweep` otherwise."""
    keys = trial_keys(trials, panel)
    folder = None if out is None else str(Path(out))
    run = partial(run_trial, panel=panel, out=folder)
    done: list[Cell] = []
    cells = map_ordered(
        run, list(zip(keys, trials, strict=True)), executor=executor, n_jobs=n_jobs
    )
    with contextlib.ExitStack() as stack:
        if isinstance(cells, Generator):
            stack.enter_context(contextlib.closing(cells))
        try:
            for cell in cells:
                done.append(cell)
                if progress is not None:
                    progress(len(done), len(trials), f"sweep: {named(cell.parameters)}")
        except StoreError as error:
            raise StoreError(
                error.problem,
                received=error.received,
                fix="Finished cells are kept: free space and run the same sweep again.",
            ) from error
    earlier: list[Earlier] = earlier_trials(folder, keys)
    return SweepResult(
        cells=tuple(done),
        n_trials=len(set(keys)) + len(earlier),
        earlier_sharpes=tuple(e.sharpe for e in earlier if not math.isnan(e.sharpe)),
    )
