"""`run_sweep`: one backtest per cell of a grid, resumable, with the score kept.

Every trial counts, also those of earlier sweeps written to the same folder: the best
of many worthless rules looks good, and the deflated Sharpe ratio says how good.
"""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backtests._identity import describe, digest
from backtests._store import MANIFEST
from backtests.metrics import deflated_sharpe_ratio, expected_maximum_sharpe, moments
from backtests.result import BacktestResult
from backtests.walkforward import Progress, backtest
from engine._base import Value
from engine.data.files import write_atomic
from engine.data.panel import PricePanel
from engine.errors import BallastError, DataError, UsageError
from engine.parallel import Executor, map_ordered

CELL_FILE = "cell.json"


@dataclass(frozen=True, slots=True, eq=False)
class Cell(Value):
    """One trial of a sweep.

    Attributes
    ----------
    parameters : mapping
        What the factory was called with.
    key : str
        Digest of parameters, factory, data and options; names its folder.
    result : BacktestResult or None
        None where the trial failed.
    error : str
        Type and message of what failed; empty otherwise.
    resumed : bool
        Read from an earlier run.
    """

    parameters: Mapping[str, Any]
    key: str
    result: BacktestResult | None
    error: str = ""
    resumed: bool = False

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self.parameters.items())
        state = self.error or repr(self.result)
        return f"Cell({inside}: {state})"


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
        return np.array([_sharpe(c.result) for c in self.cells])

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
        results = [c.result for c in self.finished if c.result is not None]
        if not results:
            raise DataError("no cell of the sweep finished")
        return np.column_stack([r.returns() for r in results])

    def summary(self) -> dict[str, Any]:
        """The best cell, and what is left of it after counting the trials.

        Returns
        -------
        dict
            ``deflated_sharpe`` is the probability that the best cell's true Sharpe
            ratio is positive given ``n_trials`` (Bailey, Lopez de Prado 2014). The
            trials are taken as independent, which errs on the strict side when they
            are alike. ``sharpe`` and ``expected_best_sharpe`` are per year.
        """
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
        known = np.concatenate([sharpes[~np.isnan(sharpes)], self.earlier_sharpes])
        variance = float(known.var(ddof=1)) if known.size > 1 else 0.0
        m = moments(result.returns(), risk_free=result.cash_return[1:])
        root = math.sqrt(result.periods_per_year)
        return counts | {
            "best": dict(cell.parameters),
            "sharpe": m.sharpe * root,
            "expected_best_sharpe": root
            * expected_maximum_sharpe(variance, self.n_trials),
            "deflated_sharpe": deflated_sharpe_ratio(
                sharpe=m.sharpe,
                n=m.n,
                skew=m.skew,
                kurtosis=m.kurtosis,
                n_trials=self.n_trials,
                variance_of_sharpes=variance,
            ),
            "stamps": result.stamps,
        }

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
        if "best" in s:
            text += (
                f"; best {s['best']}: Sharpe {s['sharpe']:.2f}, deflated probability "
                f"{s['deflated_sharpe']:.2f}"
            )
        return text + ")"

    def _repr_html_(self) -> str:
        import html

        table = self.to_frame().to_html(
            index=False, escape=True, float_format="{:.4g}".format
        )
        return f"<p>{html.escape(repr(self))}</p>{table}"


def _sharpe(result: BacktestResult | None) -> float:
    if result is None or result.dates.size < 3:
        return math.nan
    try:
        return moments(result.returns(), risk_free=result.cash_return[1:]).sharpe
    except DataError:
        return math.nan


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


def _run_cell(
    task: tuple[dict[str, Any], str],
    *,
    factory: Callable[..., Any],
    panel: PricePanel,
    out: str | None,
    options: dict[str, Any],
) -> Cell:
    """Run, write and return one cell; importable, so that workers can."""
    parameters, key = task
    folder = None if out is None else Path(out) / f"cell-{key}"
    if folder is not None and (folder / MANIFEST).exists():
        try:
            result = BacktestResult.read(folder)
            if (folder / CELL_FILE).exists():
                return Cell(parameters, key, result, resumed=True)
        except DataError:
            pass  # damaged: run it again
    try:
        result = backtest(factory(**parameters), panel, **options)
    except Exception as error:  # one failing cell must not stop the others
        text = str(error) if isinstance(error, BallastError) else repr(error)
        cell = Cell(parameters, key, None, f"{type(error).__name__}: {text}")
    else:
        cell = Cell(parameters, key, result)
        if folder is not None:
            result.write(folder)
    if folder is not None:
        # Last, so that its presence says the cell is complete.
        record = {
            "parameters": {k: describe(v) for k, v in parameters.items()},
            "error": cell.error,
            "sharpe": None if math.isnan(s := _sharpe(cell.result)) else s,
        }
        write_atomic(folder / CELL_FILE, json.dumps(record, indent=1))
    return cell


def _earlier(out: str | None, keys: set[str]) -> Iterator[float]:
    """Sharpe ratios (NaN for failures) of trials in ``out`` outside this grid."""
    if out is None:
        return
    for path in sorted(Path(out).glob(f"cell-*/{CELL_FILE}")):
        if path.parent.name.removeprefix("cell-") not in keys:
            try:
                sharpe = json.loads(path.read_text(encoding="utf-8"))["sharpe"]
            except (OSError, ValueError, KeyError, TypeError):
                sharpe = None
            yield math.nan if sharpe is None else float(sharpe)


def run_sweep(
    factory: Callable[..., Any],
    grid: Mapping[str, Sequence[Any]],
    panel: PricePanel,
    *,
    executor: Executor = "serial",
    n_jobs: int = 1,
    out: Any = None,
    progress: Progress | None = None,
    **backtest_options: Any,
) -> SweepResult:
    """Backtest one strategy per cell of a grid.

    Parameters
    ----------
    factory : callable
        ``factory(**cell)`` makes the strategy; a class will do. For
        ``executor="processes"`` it must be importable: a function or class at the top
        level of a module, not a lambda.
    grid : mapping name -> list of values
        All combinations are run.
    panel : PricePanel
    executor, n_jobs
        Results are the same bit for bit.
    out : path, optional
        Each finished cell is written there, whole or not at all, and a later run with
        the same factory, cell, data and options reads it instead of repeating it.
        Failed cells are recorded and tried again.
    progress : callable, optional
        ``progress(done, total, message)`` after each cell.
    **backtest_options
        Passed to `backtest`.

    Returns
    -------
    SweepResult
        Its ``summary()`` gives the deflated Sharpe ratio of the best cell.

    Raises
    ------
    UsageError
        A grid that is not one, or a factory that cannot be sent to processes.
    """
    cells = grid_cells(grid)
    for name in ("executor", "n_jobs", "progress"):
        if name in backtest_options:
            raise UsageError(f"{name} is an option of the sweep, not of a cell")
    if executor == "processes":
        try:
            pickle.dumps(factory)
        except Exception as error:
            raise UsageError(
                "the factory cannot be sent to worker processes",
                received=repr(factory),
                expected="a function or class at the top level of a module",
                fix="Move it into an importable module, or use executor='serial'.",
            ) from error
    counted = {k: v for k, v in backtest_options.items() if k != "cache"}
    common = digest(factory, panel, counted)
    tasks = [(cell, digest(common, cell)[:24]) for cell in cells]
    folder = None if out is None else str(Path(out))
    run = partial(
        _run_cell, factory=factory, panel=panel, out=folder, options=backtest_options
    )
    done: list[Cell] = []
    for cell in map_ordered(run, tasks, executor=executor, n_jobs=n_jobs):
        done.append(cell)
        if progress is not None:
            progress(len(done), len(tasks), repr(dict(cell.parameters)))
    keys = {key for _, key in tasks}
    earlier = list(_earlier(folder, keys))
    return SweepResult(
        cells=tuple(done),
        n_trials=len(keys) + len(earlier),
        earlier_sharpes=tuple(s for s in earlier if not math.isnan(s)),
    )
