"""`ballast backtest diff`, and the command it lives under."""

import json

import numpy as np
import pandas as pd
import pytest

from backtests.cli import run
from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data.load import load_panel
from strategies.equal import EqualWeight


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(3)
    index = pd.bdate_range("2022-01-03", periods=120)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (120, 3)), axis=0))
    frame = pd.DataFrame(values, index=index, columns=list("ABC"))
    panel = load_panel(frame, price_basis="split_adjusted", currency="USD")
    frame.to_csv(root / "prices.csv", index_label="date")
    backtest(EqualWeight(), panel).write(root / "a")
    backtest(EqualWeight(), panel).write(root / "same")
    backtest(EqualWeight(), panel, costs=Costs(30.0)).write(root / "b")
    return root


def call(capfd, *tokens):
    status = run([str(t) for t in tokens])
    return (status, *capfd.readouterr())


def test_identical_results_are_said_to_be(folders, capfd):
    for extra in ((), ("--exit-code",)):
        a, b = folders / "a", folders / "same"
        status, out, err = call(capfd, "backtest", "diff", a, b, *extra)
        assert (status, err) == (0, "")
        assert "identical" in out and "key figures" not in out


def test_different_results_side_by_side(folders, capfd):
    a, b = folders / "a", folders / "b"
    status, out, _ = call(capfd, "backtest", "diff", a, b)
    assert status == 0
    for words in (
        "different: the ledgers part on 2022-01-04",
        "settings.costs",
        "half_spread_bps=30.0",
        "Ledoit and Wolf",
        "fills that differ",
        "--json has them all",
    ):
        assert words in out, words
    assert call(capfd, "backtest", "diff", a, b, "--exit-code")[0] == 1


def test_json_has_everything(folders, capfd):
    a, b = folders / "a", folders / "b"
    status, out, _ = call(capfd, "backtest", "diff", a, b, "--json", "--exit-code")
    assert status == 1
    found = json.loads(out)
    assert found["identical"] is False and found["parted"] == "2022-01-04"
    assert len(found["fills"]) > 10
    figures = {m["what"]: m for m in found["metrics"]}
    costs = figures["costs"]
    assert costs["difference"] == pytest.approx(costs["second"] - costs["first"])
    assert 0.0 <= found["sharpe"]["p_value"] <= 1.0


def test_a_folder_without_a_result_is_bad_input(folders, capfd):
    status, _, err = call(capfd, "backtest", "diff", folders / "a", folders)
    assert status == 2 and "no backtest result" in err
    assert call(capfd, "backtest", "diff", folders / "a")[0] == 2


def test_the_command_still_takes_a_book_even_one_called_diff(
    folders, capfd, monkeypatch
):
    monkeypatch.chdir(folders)
    (folders / "diff").mkdir(exist_ok=True)
    (folders / "diff.csv").write_text("ticker,weight\nA,0.5\nB,0.5\n")
    flags = ["--prices", "prices.csv", "--price-basis", "split_adjusted"]
    flags += ["--currency", "USD", "--strategy", "hold", "--window", "30"]
    flags += ["--start", "2022-03-01", "--limit", "0.5", "--quiet"]
    status, out, err = call(
        capfd, "backtest", "diff.csv", *flags, "--out", folders / "run",
        "--hindsight-parameters",
    )  # fmt: skip
    assert status == 0, err
    assert "hold" in out
    status, out, _ = call(
        capfd, "backtest", "diff", folders / "run" / "hold", folders / "run" / "hold"
    )
    assert status == 0 and "identical" in out
    # A path is not the subcommand: it is read as a book.
    status, _, err = call(capfd, "backtest", "./diff", *flags)
    assert status == 2 and "portfolio" in err
    status, out, _ = call(capfd, "backtest", "--help")
    assert status == 0 and "diff" in out and "--strategy" in out
