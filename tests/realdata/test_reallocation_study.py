"""The reallocation study on real prices: a short stretch, to its page."""

import subprocess
import sys

import pandas as pd
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def out(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    command = [
        sys.executable, "-m", "backtests.studies.reallocation",
        "--data", str(real_data), "--out", str(folder),
        "--start", "2024-06-03", "--end", "2025-03-31",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first = sorted(p.name for p in (folder / "runs").iterdir())
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    # Nothing was walked a second time, and nothing changed.
    assert sorted(p.name for p in (folder / "runs").iterdir()) == first
    return folder


def test_the_day_as_it_was_published(out):
    table = pd.read_csv(out / "tables" / "SMH-main.csv", index_col=0)
    # SMH fell 9.8% on 27 January 2025.
    assert table.loc["hold", "27_january"] == pytest.approx(-0.098, abs=5e-4)
    assert table.loc["shock-aware", "27_january"] > table.loc["hold", "27_january"]


def test_rule_and_foil_stand_at_the_same_shock_loss(out):
    losses = pd.read_csv(out / "tables" / "SMH-shock_losses.csv", index_col=0)
    # Measured a month after a decision at the limit of 10%: drift and new betas.
    assert (losses[["shock-aware", "hold + cash"]].iloc[1:] < 0.13).all().all()
    assert (losses["hold"] > 0.13).all()


def test_the_page_says_what_it_rests_on(out):
    page = (out / "study.md").read_text()
    for words in (
        "**In short.**",
        "hindsight parameters",
        "they hold no shock that is not in it",
        "selected with hindsight",
        "without 27 and 28 January 2025",
        "probability of backtest overfitting",
        "Shumway (1997)",
    ):
        assert words in page, words
    assert "nan" not in page
