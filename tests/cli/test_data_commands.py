"""`ballast data`: import, list, use, pull and check; a changed snapshot is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from backtests.cli import run


@pytest.fixture
def prices(tmp_path):
    dates = pd.bdate_range("2024-01-01", periods=80).strftime("%Y-%m-%d")
    rng = np.random.default_rng(1)
    levels = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, (80, 2)), axis=0))
    frame = pd.DataFrame(levels.round(4), columns=["AAA", "BBB"])
    frame.insert(0, "date", dates)
    path = tmp_path / "prices.csv"
    frame.to_csv(path, index=False)
    return path


def stated(path):
    return ["--prices", str(path), "--price-basis", "raw", "--currency", "USD"]


def test_import_list_and_use(prices, tmp_path, capfd):
    store = tmp_path / "store"
    where = ["--store", str(store)]
    assert run(["data", "import", *stated(prices), *where, "--name", "mine"]) == 0
    assert "mine" in capfd.readouterr().out
    assert run(["data", "list", *where, "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [s["name"] for s in listed] == ["mine"]
    assert listed[0]["price_basis"] == "raw"
    assert run(["data", "--prices", f"{store}#mine", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["assets"], facts["dates"]) == (2, 80)
    assert run(["data", "--prices", f"{store}#other"]) == 2
    assert "other" in capfd.readouterr().err


def test_a_changed_snapshot_is_refused(prices, tmp_path, capfd):
    store = tmp_path / "store"
    run(["data", "import", *stated(prices), "--store", str(store), "--name", "mine"])
    target = next(store.rglob("prices.parquet"))
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.chmod(0o644)
    target.write_bytes(bytes(content))
    capfd.readouterr()
    assert run(["data", "--prices", f"{store}#mine"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and "prices.parquet" in err


def test_pull_from_the_reference_market_keeps_its_label(tmp_path, capfd):
    where = ["--store", str(tmp_path), "--name", "demo", "--provider", "reference"]
    assert run(["data", "pull", *where, "--tickers", "NVDA,SPY"]) == 0
    capfd.readouterr()
    assert run(["data", "--prices", f"{tmp_path}#demo"]) == 0
    assert "SYNTHETIC" in capfd.readouterr().out


def test_check_fails_on_an_unexplained_split_and_can_be_told(prices, tmp_path, capfd):
    frame = pd.read_csv(prices)
    assert run(["data", "check", *stated(prices)]) == 0
    capfd.readouterr()
    frame.loc[40:, "AAA"] /= 2.0
    frame.loc[40, "AAA"] = frame.loc[39, "AAA"] / 2.0
    frame.to_csv(prices, index=False)
    assert run(["data", "check", *stated(prices), "--json"]) == 1
    report = json.loads(capfd.readouterr().out)
    error = next(f for f in report["findings"] if f["severity"] == "error")
    assert (error["asset"], error["what"]) == ("AAA", "split_like")
    reviewed = tmp_path / "reviewed.csv"
    reviewed.write_text(f"asset,date,what\nAAA,{error['date']},split_like\n")
    again = ["data", "check", *stated(prices), "--accepted", str(reviewed)]
    assert run(again) == 0


def test_import_needs_files_and_a_basis(prices, tmp_path, capfd):
    where = ["--store", str(tmp_path / "s"), "--name", "x"]
    assert run(["data", "import", *where]) == 2
    assert "--prices names the files" in capfd.readouterr().err
    assert run(["data", "import", "--prices", str(prices), *where]) == 2
    assert "must be stated" in capfd.readouterr().err
    assert not (tmp_path / "s").exists() or not any((tmp_path / "s").iterdir())
