"""`ballast sweep grid.toml`: every strategy, strict keys, resumed, interrupted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtests import sweeps
from backtests._trials import CELL_FILE
from backtests.cli import run
from backtests.cli.grid_file import parameters_of, read_grid, strategy_names
from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data import files
from engine.data.load import load_panel
from engine.errors import DataError
from strategies import EqualWeight, Momentum

ROOT = Path(__file__).parents[2]
TICKERS = ("NVDA", "MSFT", "AVGO", "XLU", "GLD", "SMH", "RSP", "TSM")
HEAD = """
book = "book.csv"
[data]
prices = "prices.csv"
price_basis = "total_return"
currency = "USD"
universe = "universe.csv"
[walk]
start = 2022-05-02
hindsight_parameters = true
{walk}
[run]
out = "cells"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    rng = np.random.default_rng(2)
    index = pd.bdate_range("2022-01-03", periods=150, name="date")
    moves = rng.normal(0.0003, 0.012, (150, len(TICKERS)))
    moves[:, 1:] += 0.4 * moves[:, :1]
    prices = pd.DataFrame(100 * np.exp(moves.cumsum(axis=0)), index, list(TICKERS))
    prices.to_csv(folder / "prices.csv")
    rows = [
        f"{t},{'etf' if t in ('XLU', 'GLD', 'SMH', 'RSP') else 'equity'},XNYS,USD,US"
        for t in TICKERS
    ]
    (folder / "universe.csv").write_text(
        "ticker,asset_class,venue,quote_currency,country\n" + "\n".join(rows) + "\n"
    )
    (folder / "book.csv").write_text("ticker,weight\nNVDA,0.4\nMSFT,0.35\nAVGO,0.25\n")
    return folder


@pytest.fixture
def grid(place, tmp_path):
    """Write a grid into a folder of its own; the files beside it by full path."""

    def write(body, walk="", head=HEAD):
        text = head.replace("{walk}", walk) + body
        for name in ("book.csv", "prices.csv", "universe.csv"):
            text = text.replace(f'"{name}"', f'"{place / name}"')
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    return write


def call(capfd, *tokens):
    status = run([str(t) for t in tokens])
    return (status, *capfd.readouterr())


def test_a_grid_of_strategies_schedules_and_costs(grid, tmp_path, place, capfd):
    path = grid(
        "[costs]\nhalf_spread_bps = [5, 20]\n"
        '[[strategy]]\nname = "equal"\n'
        '[[strategy]]\nname = "momentum"\nlookback = [40, 60]\nskip = 5\n'
        'tickers = ["NVDA", "XLU"]\n',
        'schedule = ["monthly", "quarterly"]',
    )
    assert read_grid(path).n_cells == 12
    status, out, err = call(capfd, "sweep", path, "--json", "--quiet")
    assert status == 0, err
    found = json.loads(out)
    assert len(found["cells"]) == 12 and found["summary"]["n_trials"] == 12
    assert found["words"]
    # One cell by hand, to the last bit of its figures.
    prices = pd.read_csv(place / "prices.csv", index_col=0, parse_dates=True)
    panel = load_panel(prices, price_basis="total_return", currency="USD")
    direct = backtest(
        Momentum(("NVDA", "XLU"), lookback=60, skip=5),
        panel, start="2022-05-02", schedule="quarterly", costs=Costs(20.0),
    )  # fmt: skip
    (cell,) = [
        c
        for c in found["cells"]
        if (c["strategy"], c["lookback"], c["half_spread_bps"], c["schedule"])
        == ("momentum", 60, 20.0, "quarterly")
    ]
    assert cell["tickers"] == ["NVDA", "XLU"]
    assert cell["total_return"] == pytest.approx(
        direct.metrics()["total_return"], rel=1e-12
    )
    # Again: everything is there, and the table says so; executors as flags.
    status, out, _ = call(capfd, "sweep", path, "--executor", "threads", "--n-jobs", 2)
    assert status == 0 and "12 of them from an earlier run" in out
    assert "luck" in out and "half spread bps" in out
    assert len(list((tmp_path / "cells").glob(f"cell-*/{CELL_FILE}"))) == 12
    # Another grid in the same folder counts the trials of the first.
    path = grid('[[strategy]]\nname = "hold"\n')
    status, out, _ = call(capfd, "sweep", path, "--quiet")
    assert status == 0 and "12 of the trials were made earlier in this folder" in out


def test_every_strategy_can_be_named(grid, capfd):
    def table(name):
        text = f'[[strategy]]\nname = "{name}"\n'
        known = parameters_of(name)
        text += "limit = 0.2\n" if "limit" in known else ""
        text += "window = 60\n" if "window" in known else ""
        text += "n_scenarios = 200\n" if "n_scenarios" in known else ""
        text += "upper = 0.9\n" if "upper" in known else ""
        return text + ("lookback = 60\nskip = 5\n" if name == "momentum" else "")

    path = grid("".join(map(table, strategy_names())), 'end = "2022-05-31"')
    status, out, err = call(capfd, "sweep", path, "--json", "--quiet")
    assert status == 0, err
    found = json.loads(out)
    errors = {c["strategy"]: c["error"] for c in found["cells"] if c["error"]}
    assert [c["strategy"] for c in found["cells"]] == list(strategy_names())
    assert not errors, errors


def test_shocks_bands_and_parameters_reach_the_strategy(grid, place, capfd):
    path = grid(
        '[shock]\npreset = "substitution"\n'
        '[[strategy]]\nname = "shock-aware"\nlimit = [0.2, 0.3]\nwindow = 60\n'
        "severity = [1.0, 1.5]\nupper = 0.8\n"
        'groups = ["role:network<=0.5"]\n'
        '[[strategy]]\nname = "equal"\ndrift_band = 0.1\ndrift_to = "centre"\n'
    )
    read = read_grid(path)
    from engine.data.portfolio import Portfolio

    book = Portfolio.read(place / "book.csv", base_currency="USD", value=1e6)
    panel = read.prices.load(book)
    trials = read.trials(book, panel)
    aware = [t.arguments["strategy"] for t in trials[:4]]
    assert [(a.limit, a.shock.parameters["severity"]) for a in aware] == [
        (0.2, 1.0), (0.2, 1.5), (0.3, 1.0), (0.3, 1.5),
    ]  # fmt: skip
    assert {a.shock.preset for a in aware} == {"substitution"}
    assert aware[0].groups[0].upper == 0.5 and aware[0].upper == 0.8
    band = trials[4].arguments["strategy"]
    assert (band.band, band.to) == (0.1, "centre")
    assert isinstance(band.strategy, EqualWeight)
    assert len(set(map(repr, sweeps.trial_keys(trials, panel)))) == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('[[strategy]]\nname = "equal"\nmin_histroy = 3\n', "Did you mean min_history"),
        ('[[strategy]]\nname = "momentun"\n', "Did you mean momentum"),
        ("[[strategy]]\nwindow = 3\n", "has no name"),
        ('[[strategy]]\nname = "hrp"\nwindow = "long"\n', "window is not a whole"),
        ('[[strategy]]\nname = "hrp"\nwindow = [252, 2.5]\n', "window is not a whole"),
        ('[[strategy]]\nname = "hrp"\nwindow = []\n', "empty list"),
        ('[[strategy]]\nname = "hrp"\nwindow = [60, 60]\n', "a value twice"),
        ('[[strategy]]\nname = "hrp"\nwindow = true\n', "window is not a whole"),
        ('[[strategy]]\nname = "hrp"\ncash = nan\n', "cash is not a number"),
        ('[[strategy]]\nname = "hrp"\nschedule = "monthly"\n', r"belongs in \[walk\]"),
        ('[[strategy]]\nname = "hold-cash"\n', "limit is missing"),
        ('[[strategy]]\nname = "equal"\ndrift_to = "edge"\n', "goes with drift_band"),
        ('[[strategy]]\nname = "equal"\ndrift_to = "egde"\n', "Did you mean edge"),
        ('[[strategy]]\nname = "momentum"\nskip = 300\n', "momentum"),
        ('[walks]\n[[strategy]]\nname = "equal"\n', "Did you mean walk"),
        ('strategy = "equal"\n', None),
        ('[costs]\nhalf_spred_bps = 3\n[[strategy]]\nname = "hold"\n', "half_spread"),
        ('[costs]\nhalf_spread_bps = -3\n[[strategy]]\nname = "hold"\n', "strategy 1"),
        ('[shock]\npreset = "x"\n[[strategy]]\nname = "hold"\n', "preset"),
        ("", "strategy is missing"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_runs(
    grid, tmp_path, capfd, body, words
):
    status, out, err = call(capfd, "sweep", grid(body), "--quiet")
    assert (status, out) == (2, "")
    assert str(tmp_path / "grid.toml") in err
    if words is not None:
        import re

        assert re.search(words, err), err
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize(
    ("walk", "words"),
    [
        ('schedule = "montly"', "Did you mean monthly"),
        ('end = "soon"', "no date"),
        ("fill = 3", "fill is not"),
        ("delisting_return = 'all'", "delisting_return is not a number"),
        ("half_spread_bps = 3", r"belongs in [costs]"),
        ('strat = "2020-01-01"', "Did you mean start"),
    ],
)
def test_a_walk_that_cannot_be_right(grid, walk, words):
    with pytest.raises(DataError) as caught:
        read_grid(grid('[[strategy]]\nname = "hold"\n', walk))
    assert words in str(caught.value) and "[walk]" in str(caught.value)


def test_files_that_are_no_grids(grid, tmp_path, capfd):
    assert call(capfd, "sweep", tmp_path / "absent.toml")[0] == 2
    bad = tmp_path / "bad.toml"
    bad.write_text("book = ")
    status, _, err = call(capfd, "sweep", bad)
    assert status == 2 and "no TOML" in err
    bad.write_bytes(b"\xff\xfe")
    assert call(capfd, "sweep", bad)[0] == 2
    good = grid('[[strategy]]\nname = "hold"\n')
    for extra in (["--prices", "x.csv"], ["--seed", 3], ["--limit", 0.1]):
        status, _, err = call(capfd, "sweep", good, *extra)
        assert status == 2 and "Write it into the file" in err, extra


def test_ctrl_c_says_how_to_go_on(grid, tmp_path, capfd, monkeypatch):
    path = grid('[[strategy]]\nname = "equal"\nmin_history = [1, 2, 3]\n')
    real, calls = sweeps.run_trial, []

    def stop(task, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(task)
        return real(task, **options)

    monkeypatch.setattr(sweeps, "run_trial", stop)
    status, out, err = call(capfd, "sweep", path, "--quiet")
    assert (status, out) == (130, "")
    assert "2 of 3 cells are kept" in err and "same command again" in err
    monkeypatch.undo()
    status, out, _ = call(capfd, "sweep", path, "--quiet")
    assert status == 0 and "2 of them from an earlier run" in out


def test_a_full_disk_is_said_and_what_is_finished_stays(
    grid, tmp_path, capfd, monkeypatch
):
    import errno
    import os

    path = grid('[[strategy]]\nname = "equal"\nmin_history = [1, 2, 3]\n')
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    status, out, err = call(capfd, "sweep", path, "--quiet")
    assert (status, out) == (1, "")
    assert "No space left" in err and "Finished cells are kept" in err
    monkeypatch.undo()
    status, out, _ = call(capfd, "sweep", path, "--quiet")
    assert status == 0 and "1 of them from an earlier run" in out


def test_ctrl_c_without_a_folder_promises_nothing(place, capfd, monkeypatch):
    def stop(task, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "run_trial", stop)
    status, out, err = call(
        capfd, "sweep", place / "book.csv", "--prices", place / "prices.csv",
        "--universe", place / "universe.csv", "--price-basis", "total_return",
        "--window", 60, "--start", "2022-05-02", "--hindsight-parameters", "--quiet",
    )  # fmt: skip
    assert (status, out) == (130, "")
    assert "nothing is kept without --out" in err


@pytest.mark.slow
def test_a_signal_to_the_process_exits_with_130(grid, tmp_path):
    import signal
    import time

    values = ", ".join(map(str, range(1, 400)))
    path = grid(f'[[strategy]]\nname = "equal"\nmin_history = [{values}]\n')
    child = subprocess.Popen(
        [sys.executable, "-c", "from backtests.cli import main; main()", "sweep",
         str(path), "--quiet"],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while len(list((tmp_path / "cells").glob(f"cell-*/{CELL_FILE}"))) < 2:
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Run the same command again" in err and "Traceback" not in err
