"""`ballast sweep`: from flags or a grid file, resumable, with its score in words."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from backtests.cli import show
from backtests.cli.grid_file import MOST_CELLS, read_grid
from backtests.cli.options import Meter, Run
from backtests.sweeps import SweepResult, run_trials
from engine.errors import ModelError, UsageError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
_FROM_FLAGS = ("out", "json", "quiet", "verbose")


def run_file(
    path: Path, *, executor: str | None, n_jobs: int | None, run: Run, others: Any
) -> int:
    """Run the grid of a file; finished cells are not run again.

    Parameters
    ----------
    path : Path
    executor, n_jobs
        In place of those of the file.
    run : Run
        Only ``out``, ``json`` and ``quiet``: the rest stands in the file.
    others : mapping of flag to what was given
        Flags that a file leaves no room for.
    """
    usual = Run()
    changed = [
        f.name
        for f in fields(Run)
        if f.name not in _FROM_FLAGS and getattr(run, f.name) != getattr(usual, f.name)
    ]
    changed += [name for name, value in others.items() if value]
    if changed:
        raise UsageError(
            "a grid file states its own book, data, walk and strategies",
            received=f"--{changed[0].replace('_', '-')}",
            expected="--executor, --n-jobs, --out, --json or --quiet",
            fix="Write it into the file.",
        )
    grid = read_grid(path)
    if grid.n_cells > MOST_CELLS:
        raise UsageError(
            "too many cells", received=f"{grid.n_cells:,}", expected=f"{MOST_CELLS:,}"
        )
    out = run.out or grid.out
    book_run = Run(value=grid.value, quiet=run.quiet)

    def work(progress: Any) -> SweepResult:
        holdings = book_run.book(grid.book, grid.prices)
        panel = grid.prices.load(holdings)
        return run_trials(
            grid.trials(holdings, panel),
            panel,
            executor=executor or grid.run.get("executor", "serial"),  # type: ignore[arg-type]
            n_jobs=grid.run.get("n_jobs", 1) if n_jobs is None else n_jobs,
            out=out,
            progress=progress,
        )

    return finish(work, out=out, json=run.json, quiet=run.quiet)


def finish(
    work: Callable[[Any], SweepResult], *, out: Path | None, json: bool, quiet: bool
) -> int:
    """Run a sweep, show it, and return the exit status; say how to go on if stopped."""
    done = [0, 0]
    try:
        with Meter(quiet) as meter:

            def progress(k: int, total: int, message: str) -> None:
                done[:] = k, total
                meter(k, total, message)

            result = work(progress)
    except KeyboardInterrupt:
        print(f"\n{_stopped(out, *done)}", file=sys.stderr)
        return INTERRUPTED
    show_sweep(result, out=out, json=json)
    check_sweep(result)
    return 0


def _stopped(out: Path | None, k: int, total: int) -> str:
    if out is None:
        return "interrupted; nothing is kept without --out"
    ready = f"{k} of {total} cells are" if total else "finished cells are"
    return (
        f"interrupted; {ready} kept in {out}. Run the same command again to go on "
        "from there."
    )


def show_sweep(result: SweepResult, *, out: Path | None = None, json: bool) -> None:
    """Print every cell, then what the number of trials does to the best."""
    summary = result.summary()
    if json:
        cells = result.to_frame().replace({np.nan: None}).to_dict("records")
        show.emit_json(
            {"cells": cells, "summary": summary, "words": list(result.words())}, "sweep"
        )
        return
    show.stamps(summary.get("stamps", ()))
    names = list(dict.fromkeys(k for c in result.cells for k in c.parameters))
    # A parameter that some cells lack tells nothing there: an empty field.
    rows = [
        (*(_text(cell.parameters.get(k)) for k in names), *_figures(cell))
        for cell in result.cells
    ]
    heads = ("return a year", "volatility", "Sharpe (s.e.)", "drawdown", "costs")
    print()
    print(show.table([*(n.replace("_", " ") for n in names), *heads], rows))
    for cell in result.failed:
        inside = ", ".join(f"{k}={_text(v)}" for k, v in cell.parameters.items())
        print(f"\nfailed: {inside}: {cell.error}")
    print()
    for line in result.words():
        print(line)
    earlier = result.n_trials - len({c.key for c in result.cells})
    if earlier:
        print(f"{earlier} of the trials were made earlier in this folder.")
    if out is not None:
        resumed = sum(c.resumed for c in result.cells)
        print(
            f"\n{len(result.finished)} cells in {out}"
            + (f", {resumed} of them from an earlier run" if resumed else "")
        )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return ",".join(map(_text, value))
    if isinstance(value, dict):
        return ",".join(f"{k}={_text(v)}" for k, v in value.items())
    return str(value)


def _figures(cell: Any) -> tuple[str, ...]:
    if cell.result is None:
        return ("failed", "", "", "", "")
    m = cell.result.metrics()
    nan = math.nan
    return (
        show.percent(m.get("annual_return")),
        show.percent(m.get("volatility")),
        f"{m.get('sharpe', nan):.2f} ({m.get('sharpe_se', nan):.2f})",
        show.percent(m.get("max_drawdown")),
        show.money(m.get("costs", 0.0)),
    )


def check_sweep(result: SweepResult) -> None:
    """Fail when no cell finished: a table of errors is not a result."""
    if not result.finished:
        raise ModelError(
            "every cell of the sweep failed",
            received=str(result.failed[0].error),
        )
