"""The runnable studies: short, with help, and tables that pandas opens."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtests.studies import (
    compare_strategies,
    january_2025,
    propose_trades,
    reallocation,
    shock_history,
    stress_book,
    sweep_limits,
)
from tests.cli.test_cli import flags, make_market

SCRIPTS = {
    "compare_strategies": compare_strategies,
    "january_2025": january_2025,
    "propose_trades": propose_trades,
    "reallocation": reallocation,
    "shock_history": shock_history,
    "stress_book": stress_book,
    "sweep_limits": sweep_limits,
}
SMALL = ["--window", "60", "--scenarios", "1000"]
WALK = ["--start", "2024-12-16", "--limit", "0.2"]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    make_market(folder)
    return folder


def test_every_script_is_known_and_short():
    folder = Path(stress_book.__file__).parent
    found = {p.stem: p for p in folder.glob("[a-z]*.py")}
    assert set(found) == set(SCRIPTS)
    for name, path in found.items():
        assert len(path.read_text(encoding="utf-8").splitlines()) < 60, name


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        SCRIPTS[name].main(["--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "--out" in out and max(map(len, out.splitlines())) <= 88


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_stress_book(market, tmp_path, capsys, suffix):
    out = tmp_path / f"losses.{suffix}"
    stress_book.main(
        [*flags(market), *SMALL, "--book", str(market / "book.csv"), "--out", str(out)]
    )
    table = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert {"NVDA", "ANET", "VST", "CRM"} <= set(table["asset"])
    assert str(out) in capsys.readouterr().out
    again = tmp_path / f"again.{suffix}"
    stress_book.main(
        [
            *flags(market),
            *SMALL,
            "--book",
            str(market / "book.csv"),
            "--out",
            str(again),
        ]
    )
    assert again.read_bytes() == out.read_bytes()


def test_propose_trades(market, tmp_path, capsys):
    out = tmp_path / "trades.csv"
    book = ["--book", str(market / "book.csv"), "--out", str(out)]
    propose_trades.main([*flags(market), *SMALL, *book, "--also", "Japan <= 0.05"])
    trades = pd.read_csv(out)
    assert len(trades) and trades["reason"].notna().all()
    assert "every limit holds" in capsys.readouterr().out


def test_compare_strategies(market, tmp_path, capsys):
    out = tmp_path / "metrics.csv"
    book = ["--book", str(market / "book.csv"), "--out", str(out)]
    compare_strategies.main(
        [*flags(market), *SMALL, *WALK, *book, "--strategies", "hold,equal"]
    )
    assert list(pd.read_csv(out)["strategy"]) == ["hold", "equal weight"]
    assert "! hindsight" in capsys.readouterr().out


def test_sweep_limits(market, tmp_path, capsys):
    out = tmp_path / "sweep.csv"
    book = ["--book", str(market / "book.csv"), "--out", str(out)]
    more = ["--limits", "0.15,0.3", "--cells", str(tmp_path / "cells")]
    sweep_limits.main([*flags(market), *SMALL, *WALK[:2], *book, *more])
    assert list(pd.read_csv(out)["limit"]) == [0.15, 0.3]
    assert "n_trials: 2" in capsys.readouterr().out


def test_shock_history(market, tmp_path):
    out = tmp_path / "moves.parquet"
    shock_history.main(
        [*flags(market), "--episodes", "deepseek-monday", "--out", str(out)]
    )
    table = pd.read_parquet(out)
    assert set(table["episode"]) == {"deepseek-monday"}
    assert np.isfinite(table.set_index("asset").loc["NVDA", "move"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stress_book", "propose_trades", "shock_history"])
def test_a_script_runs_as_it_stands_on_the_reference_market(
    name, tmp_path, monkeypatch
):
    out = tmp_path / "table.csv"
    monkeypatch.setattr(sys, "argv", [name, "--out", str(out)])
    runpy.run_path(SCRIPTS[name].__file__, run_name="__main__")
    assert len(pd.read_csv(out))
