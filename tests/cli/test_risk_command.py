"""`ballast risk`: the table, the files, one-line errors."""

import json

import numpy as np
import pandas as pd
import pytest

from backtests.cli import run


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("risk")
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2020-01-01", periods=560).strftime("%Y-%m-%d")
    levels = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (560, 2)), axis=0))
    frame = pd.DataFrame(levels, columns=["AAA", "BBB"]).assign(date=dates)
    frame[["date", "AAA", "BBB"]].to_csv(folder / "prices.csv", index=False)
    (folder / "book.csv").write_text("ticker,weight\nAAA,0.5\nBBB,0.4\nCASH:USD,0.1\n")
    return folder


@pytest.fixture
def risk(market, capfd):
    def call(*tokens):
        source = ["--prices", str(market / "prices.csv"), "--currency", "USD"]
        source += ["--price-basis", "total_return", "--quiet"]
        status = run(["risk", str(market / "book.csv"), *source, *map(str, tokens)])
        return (status, *capfd.readouterr())

    return call


def test_table_and_files(risk, tmp_path):
    models = ["--models", "historical,normal", "--window", 250]
    status, out, err = risk(*models, "--out", tmp_path / "t.csv")
    assert status == 0 and err == ""
    assert "historical" in out and "survivors:" in out and "Holm" in out
    table = pd.read_csv(tmp_path / "t.csv")
    assert set(table["model"]) == {"historical", "normal"}
    status, out, _ = risk(*models, "--json", "--out", tmp_path / "t.json")
    found = json.loads(out)
    assert status == 0 and found == json.loads((tmp_path / "t.json").read_text())
    assert found["sessions"] == 309 and len(found["table"]) == 2
    assert found["weights"] == pytest.approx({"AAA": 0.5, "BBB": 0.4})


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["--models", "garch"], "filtered_garch"),
        (["--window", "900"], "too short"),
        (["--level", "99"], "level"),
        (["--missing", "skip"], "raise or exclude"),
        (["--start", "someday"], "not a date"),
        (["--models", "normal", "--window", "250", "--out", "t.txt"], ".csv or .json"),
    ],
)
def test_errors_are_one_line(risk, tokens, words):
    status, _, err = risk(*tokens)
    assert status == 2
    assert words in err and err.count("\n") == 1
