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
    listed = json.loads(capfd.readouterr().out)["snapshots"]
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


def test_repair_writes_prices_and_a_record(prices, tmp_path, capfd):
    steps = tmp_path / "steps.json"
    steps.write_text(
        json.dumps(
            [
                {
                    "step": "scale_before",
                    "asset": "AAA",
                    "date": "2024-02-01",
                    "ratio": 0.5,
                    "reason": "split not adjusted",
                },
                {"step": "drop_asset", "asset": "BBB", "reason": "not mine"},
            ]
        )
    )
    out = tmp_path / "repaired.csv"
    done = ["data", "repair", "--steps", str(steps), "--out", str(out)]
    assert run([*done, *stated(prices)]) == 0
    shown = capfd.readouterr().out
    assert "split not adjusted" in shown and "repaired.csv.repairs.json" in shown
    before, after = pd.read_csv(prices), pd.read_csv(out)
    early = before["date"] < "2024-02-01"
    assert list(after.columns) == ["date", "AAA"]
    np.testing.assert_allclose(after["AAA"][early], before["AAA"][early] / 2)
    np.testing.assert_allclose(after["AAA"][~early], before["AAA"][~early])
    record = json.loads((tmp_path / "repaired.csv.repairs.json").read_text())
    assert [s["cells"] for s in record["steps"]] == [int(early.sum()), 80]
    # A step that changes nothing is refused, and nothing is written.
    steps.write_text('[{"step": "drop_asset", "asset": "ZZZ", "reason": "x"}]')
    out.unlink()
    assert run([*done, *stated(prices)]) == 2
    assert "ZZZ" in capfd.readouterr().err and not out.exists()


def test_actions_membership_and_calendar_reach_the_prices(prices, tmp_path, capfd):
    actions, members, calendar = (tmp_path / f"{n}.csv" for n in "amc")
    actions.write_text(
        "date,ticker,kind,value\n2024-02-01,AAA,split,2\n2024-03-01,BBB,dividend,0.5\n"
    )
    members.write_text("ticker,start,end\nAAA,2020-01-01,\nBBB,2020-01-01,2024-02-01\n")
    calendar.write_text("date,venue,kind\n2024-02-02,NYSE,closed\n")
    files = ["--actions", str(actions), "--membership", str(members)]
    files += ["--calendar", str(calendar)]
    assert run(["data", *stated(prices), *files, "--json"]) == 2
    assert "dividend_basis must be stated" in capfd.readouterr().err
    files += ["--dividend-basis", "as_paid"]
    assert run(["data", *stated(prices), *files, "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["actions"] == {"split": 1, "dividend": 1}
    assert (facts["membership"], facts["calendar_overrides"]) == (2, 1)
    total = [*stated(prices), *files, "--as-basis", "total_return", "--json"]
    assert run(["data", *total]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["price_basis"] == "total_return" and "derived" in facts["source"]
    # They are kept in a snapshot, and come back from it.
    where = ["--store", str(tmp_path / "s"), "--name", "n"]
    assert run(["data", "import", *stated(prices), *files, *where]) == 0
    capfd.readouterr()
    assert run(["data", "--prices", f"{tmp_path / 's'}#n", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["actions"] == {"split": 1, "dividend": 1}
    assert (facts["membership"], facts["calendar_overrides"]) == (2, 1)
    bad = [*stated(prices), *where, "--as-basis", "raw"]
    assert run(["data", "import", *bad]) == 2
    assert "--as-basis" in capfd.readouterr().err
