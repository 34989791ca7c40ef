"""Trials of a sweep on disk: cells that survive a kill, and the ledger of all trials.

``cell-KEY/`` holds the result of a trial, written whole or not at all; ``cell.json``
comes last and says so. ``trials/KEY.json`` is the ledger: one small file for each trial
that was ever finished in the folder, whatever its grid, so that the count stays when
results are deleted. A file is named by the content of its trial and renamed into place:
a crash leaves the old one or the new one, and sweeps that run at the same time, on this
machine or on several, cannot spoil each other's.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from backtests._identity import describe, digest
from backtests._store import read_manifest, read_result
from backtests.metrics import moments
from backtests.result import BacktestResult
from backtests.walkforward import backtest
from engine._base import Value
from engine.data.files import write_atomic
from engine.data.panel import PricePanel
from engine.errors import BallastError, DataError

CELL_FILE = "cell.json"
LEDGER = "trials"


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


class Trial(NamedTuple):
    """What one cell runs.

    Attributes
    ----------
    parameters : mapping
        Shown and recorded.
    factory : callable
        ``factory(**arguments)`` makes the strategy.
    arguments, options : mapping
        Of the factory and of `backtest`.
    """

    parameters: Mapping[str, Any]
    factory: Callable[..., Any]
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]


class Earlier(NamedTuple):
    """A trial that was finished in the folder before, outside this grid."""

    key: str
    sharpe: float


def trial_keys(trials: Sequence[Trial], panel: PricePanel) -> list[str]:
    """Digest of each trial: factory, data, options and arguments."""
    common: dict[str, str] = {}
    keys = []
    for trial in trials:
        # Where estimates are kept changes no result.
        options = {k: v for k, v in trial.options.items() if k != "cache"}
        text = describe((trial.factory, options))
        if text not in common:
            common[text] = digest(trial.factory, panel, options)
        keys.append(digest(common[text], dict(trial.arguments))[:24])
    return keys


def sharpe_of(result: BacktestResult | None) -> float:
    """Sharpe ratio per period over cash; NaN where it is not defined."""
    if result is None or result.dates.size < 3:
        return math.nan
    try:
        return moments(result.returns(), risk_free=result.cash_return[1:]).sharpe
    except DataError:
        return math.nan


def _finished(folder: Path) -> BacktestResult | None:
    """Result of a finished cell, every byte as it was written; None to run it again."""
    if not (folder / CELL_FILE).exists():
        return None
    try:
        for name in read_manifest(folder)["parts"].values():
            content = (folder / name).read_bytes()
            mark = name.split(".")[-2]
            if hashlib.blake2b(content, digest_size=len(mark) // 2).hexdigest() != mark:
                return None
        return read_result(folder)
    except (BallastError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # damaged, in whatever way


def run_trial(task: tuple[str, Trial], *, panel: PricePanel, out: str | None) -> Cell:
    """Run, write and return one cell; importable, so that workers can."""
    key, trial = task
    folder = None if out is None else Path(out) / f"cell-{key}"
    if folder is not None:
        result = _finished(folder)
        if result is not None:
            cell = Cell(trial.parameters, key, result, resumed=True)
            if not (folder.parent / LEDGER / f"{key}.json").exists():
                _enter(folder.parent, cell)
            return cell
    try:
        result = backtest(trial.factory(**trial.arguments), panel, **trial.options)
    except Exception as error:  # one failing cell must not stop the others
        text = str(error) if isinstance(error, BallastError) else repr(error)
        cell = Cell(trial.parameters, key, None, f"{type(error).__name__}: {text}")
    else:
        cell = Cell(trial.parameters, key, result)
    if folder is not None:
        # Counted before it is kept: a result that can be seen is in the ledger.
        record = _enter(folder.parent, cell)
        if cell.result is not None:
            cell.result.write(folder)
        # Last, so that its presence says the cell is complete.
        write_atomic(folder / CELL_FILE, record)
    return cell


def _enter(out: Path, cell: Cell) -> str:
    """Write a trial into the ledger, and return what was written."""
    sharpe = sharpe_of(cell.result)
    record = {
        "parameters": {k: describe(v) for k, v in cell.parameters.items()},
        "error": cell.error,
        "sharpe": None if math.isnan(sharpe) else sharpe,
    }
    text = json.dumps(record, indent=1)
    write_atomic(out / LEDGER / f"{cell.key}.json", text)
    return text


def earlier_trials(out: str | None, keys: Iterable[str]) -> list[Earlier]:
    """Trials of the folder outside these keys, failures included, by key.

    A record that cannot be read still counts, without a Sharpe ratio.
    """
    if out is None:
        return []
    root, ours = Path(out), set(keys)
    found: dict[str, Path] = {}
    for path in root.glob(f"cell-*/{CELL_FILE}"):
        found[path.parent.name.removeprefix("cell-")] = path
    for path in root.glob(f"{LEDGER}/*.json"):
        found[path.stem] = path
    rows = []
    for key in sorted(set(found) - ours):
        try:
            sharpe = json.loads(found[key].read_text(encoding="utf-8"))["sharpe"]
            value = math.nan if sharpe is None else float(sharpe)
        except (OSError, ValueError, KeyError, TypeError):
            value = math.nan
        rows.append(Earlier(key, value))
    return rows
