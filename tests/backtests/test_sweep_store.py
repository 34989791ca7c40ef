"""Sweeps on disk: kills, full disks, damage, shared folders, and all executors."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtests import _trials
from backtests.result import BacktestResult
from backtests.sweeps import run_sweep
from engine.data import files
from engine.data.load import load_panel
from engine.errors import StoreError
from strategies.equal import EqualWeight

ROOT = Path(__file__).parents[2]
GRID = {"tickers": [("A",), ("B",), ("A", "B"), ("B", "C"), ("A", "C"), ("C",)]}


def make_panel():
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2022-01-03", periods=60)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (60, 3)), axis=0))
    frame = pd.DataFrame(values, index=index, columns=list("ABC"))
    return load_panel(frame, price_basis="split_adjusted", currency="USD")


@pytest.fixture(scope="module")
def panel():
    return make_panel()


def same(a, b):
    """Values, fills and keys bit for bit."""
    assert [c.key for c in a.cells] == [c.key for c in b.cells]
    for x, y in zip(a.cells, b.cells, strict=True):
        np.testing.assert_array_equal(x.result.value, y.result.value)
        np.testing.assert_array_equal(x.result.units, y.result.units)
        assert repr(x.result.fills) == repr(y.result.fills)
        assert x.result.trial_id == y.result.trial_id
    assert a.summary() == b.summary()


VICTIM = """
import sys, time
sys.path[:0] = [{root!r}, {here!r}]
import backtests.sweeps as sweeps
from test_sweep_store import GRID, make_panel
from strategies.equal import EqualWeight

def slow(done, total, message):
    print(done, flush=True)
    time.sleep(60 if done == 3 else 0)

sweeps.run_sweep(EqualWeight, GRID, make_panel(), out=sys.argv[1], progress=slow)
"""


def test_a_killed_process_keeps_its_finished_cells(panel, tmp_path):
    code = VICTIM.format(root=str(ROOT), here=str(Path(__file__).parent))
    victim = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        for line in victim.stdout:
            if line.strip() == "3":
                break
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
    assert victim.returncode == -signal.SIGKILL
    cells = sorted(tmp_path.glob(f"cell-*/{_trials.CELL_FILE}"))
    assert len(cells) == 3
    # What a kill in the middle of a write leaves: no cell.json, a part, a temporary.
    (cells[0]).unlink()
    (cells[0].parent / ".fills.parquet.x.part").write_bytes(b"half")
    again = run_sweep(EqualWeight, GRID, panel, out=tmp_path)
    assert sum(c.resumed for c in again.cells) == 2
    assert again.n_trials == 6
    same(again, run_sweep(EqualWeight, GRID, panel))


@pytest.mark.parametrize("part", ["ledger", "units", "fills", "decisions"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
def test_damaged_parts_are_run_again(panel, tmp_path, part, how):
    grid = {"tickers": [("A", "B")]}
    first = run_sweep(EqualWeight, grid, panel, out=tmp_path)
    (path,) = tmp_path.glob(f"cell-*/{part}.*")
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
    elif how == "cut":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    path.write_bytes(bytes(content))
    if how == "gone":
        path.unlink()
    again = run_sweep(EqualWeight, grid, panel, out=tmp_path)
    assert not again.cells[0].resumed
    same(first, again)
    assert run_sweep(EqualWeight, grid, panel, out=tmp_path).cells[0].resumed


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 2}'])
def test_a_damaged_manifest_is_run_again(panel, tmp_path, text):
    grid = {"tickers": [("A", "B")]}
    first = run_sweep(EqualWeight, grid, panel, out=tmp_path)
    next(tmp_path.glob("cell-*/result.json")).write_text(text)
    again = run_sweep(EqualWeight, grid, panel, out=tmp_path)
    assert not again.cells[0].resumed
    same(first, again)


@pytest.mark.parametrize("after", [8, 9, 12])
def test_a_full_disk_is_a_typed_error_and_keeps_what_is_finished(
    panel, tmp_path, monkeypatch, after
):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        run_sweep(EqualWeight, GRID, panel, out=tmp_path)
    assert "run the same sweep again" in str(caught.value)
    assert isinstance(caught.value, OSError)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.part"))
    kept = len(list(tmp_path.glob(f"cell-*/{_trials.CELL_FILE}")))
    assert kept == 1
    again = run_sweep(EqualWeight, GRID, panel, out=tmp_path)
    assert sum(c.resumed for c in again.cells) == kept
    same(again, run_sweep(EqualWeight, GRID, panel))


def test_the_ledger_counts_what_was_deleted_and_other_grids(panel, tmp_path):
    run_sweep(EqualWeight, {"tickers": [("A",), ("B",)]}, panel, out=tmp_path)
    for folder in tmp_path.glob("cell-*"):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    other = {"tickers": [("C",)]}
    s = run_sweep(EqualWeight, other, panel, out=tmp_path, schedule="weekly")
    assert s.n_trials == 3 and len(s.earlier_sharpes) == 2
    assert len(list((tmp_path / _trials.LEDGER).iterdir())) == 3
    # The same grid again is no new trial.
    again = run_sweep(EqualWeight, other, panel, out=tmp_path, schedule="weekly")
    assert again.n_trials == 3
    # A record that cannot be read counts, without its ratio.
    next((tmp_path / _trials.LEDGER).glob("*.json")).write_text("{")
    s = run_sweep(EqualWeight, {"tickers": [("A", "C")]}, panel, out=tmp_path)
    assert s.n_trials == 4


def test_failures_are_in_the_ledger(panel, tmp_path):
    run_sweep(EqualWeight, {"min_history": [500]}, panel, out=tmp_path)
    (path,) = (tmp_path / _trials.LEDGER).iterdir()
    record = json.loads(path.read_text())
    assert record["sharpe"] is None and "equal weight" in record["error"]
    s = run_sweep(EqualWeight, {"min_history": [1]}, panel, out=tmp_path)
    assert s.n_trials == 2


def test_sweeps_at_the_same_time_share_a_folder(panel, tmp_path):
    grids = [{"tickers": [t, ("A", "B")]} for t in (("A",), ("B",), ("C",))]
    found, errors = [], []

    def work(grid):
        try:
            found.append(run_sweep(EqualWeight, grid, panel, out=tmp_path))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(g,)) for g in grids]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert max(s.n_trials for s in found) == 4
    last = run_sweep(EqualWeight, grids[0], panel, out=tmp_path)
    assert last.n_trials == 4 and all(c.resumed for c in last.cells)
    for folder in tmp_path.glob("cell-*"):
        BacktestResult.read(folder)


def test_the_key_of_a_cell_depends_on_contents_only(panel):
    trial = _trials.Trial({"n": 1}, EqualWeight, {"n": 1}, {"schedule": "weekly"})
    (key,) = _trials.trial_keys([trial], panel)
    shown = trial._replace(parameters={"label": "anything"})
    assert _trials.trial_keys([shown], panel) == [key]
    for change in ({"arguments": {"n": 2}}, {"options": {}}, {"factory": make_panel}):
        assert _trials.trial_keys([trial._replace(**change)], panel) != [key]


@pytest.mark.slow
def test_the_same_sweep_on_serial_processes_and_ray(panel, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    serial = run_sweep(EqualWeight, GRID, panel)
    for executor in ("processes", "ray"):
        out = tmp_path / executor
        found = run_sweep(
            EqualWeight, GRID, panel, executor=executor, n_jobs=2, out=out
        )
        same(serial, found)
        stored = [BacktestResult.read(out / f"cell-{c.key}") for c in found.cells]
        for a, b in zip(serial.cells, stored, strict=True):
            np.testing.assert_array_equal(a.result.value, b.value)
    again = run_sweep(
        EqualWeight, GRID, panel, executor="ray", n_jobs=2, out=tmp_path / "processes"
    )
    assert all(c.resumed for c in again.cells)
