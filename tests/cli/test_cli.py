"""The commands on a small market: tables for people, one JSON document for machines."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtests.cli import run

NAMES = ("NVDA", "ANET", "VST", "CRM", "PG", "EWJ", "TLT")
BOOK = "ticker,weight\nNVDA,0.4\nANET,0.2\nVST,0.2\nCRM,0.15\nCASH:USD,0.05\n"


def make_market(folder):
    """120 sessions across the event day, seven assets, a book of four."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2024-09-02", "2025-02-14").strftime("%Y-%m-%d")
    T = len(dates)
    market, theme = rng.normal(0, 0.008, T), rng.normal(0, 0.012, T)
    returns = np.outer(market, [1.5, 1.3, 1.1, 1.0, 0.4, 0.8, -0.1])
    returns += np.outer(theme, [1.2, 1.0, 1.0, 0.2, -0.1, 0.1, 0.0])
    returns += rng.normal(0, 0.006, (T, 7))
    levels = [140, 110, 170, 330, 165, 68, 88] * np.exp(np.cumsum(returns, axis=0))
    pd.DataFrame(levels.round(2), columns=NAMES).assign(date=dates)[
        ["date", *NAMES]
    ].to_csv(folder / "prices.csv", index=False)
    pd.DataFrame(
        {
            "ticker": NAMES,
            "asset_class": ["equity"] * 5 + ["etf_equity", "etf_bond"],
            "venue": "NYSE",
            "country": ["United States"] * 5 + ["Japan", "United States"],
            "sector": ["Information Technology"] * 2
            + ["Utilities", "Information Technology", "Consumer Staples"]
            + ["Broad Market", ""],
            "ai_theme": ["semis", "networking_optics", "power", "ai_software"]
            + ["none"] * 3,
            "quote_currency": "USD",
        }
    ).to_csv(folder / "universe.csv", index=False)
    (folder / "book.csv").write_text(BOOK)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    make_market(folder)
    return folder


def flags(folder, basis="total_return"):
    return [
        "--prices",
        str(folder / "prices.csv"),
        "--universe",
        str(folder / "universe.csv"),
        "--price-basis",
        basis,
    ]


MODEL = ["--window", "60", "--scenarios", "1000", "--quiet"]


@pytest.fixture
def ballast(market, capfd):
    """Run one command; exit status, output, error stream."""

    def call(*tokens, model=True, source=True):
        extra = [*(flags(market) if source else ()), *(MODEL if model else ())]
        status = run([*map(str, tokens), *extra])
        return (status, *capfd.readouterr())

    call.book = market / "book.csv"
    return call


def document(out):
    """One JSON document, nothing before or after, no NaN."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(out, parse_constant=refuse)


def test_no_arguments_show_help(capfd):
    assert run([]) == 0
    out = capfd.readouterr().out
    for command in ("demo", "data", "stress", "propose", "backtest", "sweep", "report"):
        assert command in out


def test_version_and_help_of_a_command(capfd):
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.strip() == "0.1.0"
    assert run(["stress", "--help"]) == 0
    out = capfd.readouterr().out
    assert "--hindsight-parameters" in out and "--json" in out


def test_data(ballast):
    status, out, err = ballast("data", model=False)
    assert (status, err) == (0, "")
    assert "assets: 7" in out and "dates: 120" in out
    assert "SYNTHETIC" not in out
    status, out, _ = ballast("data", "--json", model=False)
    facts = document(out)
    # The prices of public holidays of New York are there, and said to be.
    assert sum(facts["cells"].values()) == 7 * 120
    assert facts["cells"]["holiday"] > 0
    assert facts["roles"]["accelerator"] == 1


def test_funds_by_document_and_by_band(ballast, tmp_path):
    """120 sessions are too few to estimate a fund; a document needs none."""
    book = tmp_path / "book.csv"
    book.write_text("ticker,weight\nNVDA,0.5\nEWJ,0.5\n")
    sheet = tmp_path / "funds.csv"
    sheet.write_text(
        "fund,kind,label,weight,known_from,document\n"
        "EWJ,role,network,0.4,2025-01-31,sheet of January\n"
        "EWJ,role,none,0.6,2025-01-31,sheet of January\n"
    )
    told = {}
    for name, extra in (
        ("tried", []),
        ("bands", ["--funds", "bands"]),
        ("document", ["--look-through", sheet]),
        ("early", ["--look-through", sheet, "--as-of", "2025-01-30"]),
    ):
        status, out, err = ballast("stress", book, "--json", *extra)
        assert status == 0, err
        told[name] = document(out)["shocks"][0]
    assert "not looked through: too short a history" in told["tried"]["basis"]["EWJ"]
    assert told["bands"]["basis"]["EWJ"].startswith("exposure unknown")
    assert "looked through" not in told["bands"]["basis"]["EWJ"]
    assert told["tried"]["loss"] == told["bands"]["loss"]
    assert told["document"]["basis"]["EWJ"].startswith("look-through: sheet of January")
    roles = told["document"]["by_role"]
    assert set(roles) == {"accelerator", "network", "none"}
    assert sum(roles.values()) == pytest.approx(told["document"]["loss"])
    assert told["early"]["basis"]["EWJ"].startswith("exposure unknown")
    _, out, _ = ballast("stress", book, "--look-through", sheet)
    assert "look-through: sheet of January, 2025-01-31; no AI role 60%" in out


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_exported_prices_load_again(ballast, tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    status, out, _ = ballast("data", "--out", path, model=False)
    assert status == 0 and str(path) in out
    again = ["data", "--json", "--prices", str(path), "--price-basis", "total_return"]
    _, first, _ = ballast("data", "--json", model=False)
    _, second, _ = ballast(*again, "--currency", "USD", model=False, source=False)
    assert document(first)["content_hash"] == document(second)["content_hash"]


def test_shocks(ballast):
    status, out, _ = ballast("shocks", model=False, source=False)
    assert status == 0
    assert "market_view" in out and "-0.184" in out and "2025-01-27" in out
    _, out, _ = ballast(
        "shocks", "--json", "--severity", "2", source=False, model=False
    )
    rows = document(out)["presets"]
    assert [r["name"].split(":")[1] for r in rows] == [
        "market_view",
        "substitution",
        "jevons",
    ]
    assert rows[0]["parameters"]["severity"] == 2.0


def test_stress(ballast):
    status, out, err = ballast("stress", ballast.book)
    assert (status, err) == (0, "")
    assert "1,000,000 USD as of 2025-02-14" in out
    assert "cheap-model:market_view" in out and "by role" in out
    assert "realised on 2025-01-27" in out
    status, out, _ = ballast("stress", ballast.book, "--json")
    report = document(out)
    for shock in report["shocks"]:
        for part in ("by_asset", "by_role", "by_country", "by_currency"):
            assert sum(shock[part].values()) == pytest.approx(shock["loss"], abs=1e-10)
    assert report["seed"] == 0


def test_the_chosen_preset_comes_first_and_the_value_scales(ballast):
    _, out, _ = ballast(
        "stress", ballast.book, "--preset", "substitution", "--value", "5000", "--json"
    )
    report = document(out)
    assert report["value"] == pytest.approx(5000.0)
    assert report["shocks"][0]["name"] == "cheap-model:substitution"
    assert len(report["shocks"]) == 3


def test_the_past_needs_hindsight_and_says_so(ballast):
    status, out, err = ballast("stress", ballast.book, "--as-of", "2025-01-24")
    assert (status, out) == (2, "")
    assert "not known at the date of the model" in err and "--hindsight-param" in err
    status, out, _ = ballast(
        "stress", ballast.book, "--as-of", "2025-01-24", "--hindsight-parameters"
    )
    assert status == 0
    assert out.startswith("! HINDSIGHT PARAMETERS")


def test_same_seed_same_bytes(ballast):
    first = ballast("stress", ballast.book, "--json", "--seed", "7")
    second = ballast("stress", ballast.book, "--json", "--seed", "7")
    other = ballast("stress", ballast.book, "--json", "--seed", "8")
    assert first == second
    assert first != other


def test_propose(ballast, tmp_path):
    out_file = tmp_path / "trades.csv"
    status, out, err = ballast(
        "propose", ballast.book, "--json", "--out", out_file, "--max-weight", "0.3"
    )
    assert (status, err) == (0, "")
    proposal = document(out)
    assert proposal["outcome"] == "OPTIMAL"
    assert all(c["satisfied"] for c in proposal["limits"])
    assert sum(proposal["target"].values()) == pytest.approx(1.0)
    before = proposal["stress_before"]["cheap-model:market_view"]
    after = proposal["stress_after"]["cheap-model:market_view"]
    assert after <= 0.5 * before + 1e-6
    trades = pd.read_csv(out_file)
    assert len(trades) == len(proposal["trades"])
    assert trades["reason"].notna().all()
    status, out, _ = ballast("propose", ballast.book)
    assert "every limit holds" in out and "reason" in out


def test_whole_shares_with_prices_as_traded(market, tmp_path, capfd):
    book = tmp_path / "shares.csv"
    book.write_text("ticker,shares\nNVDA,500\nANET,300\nVST,200\nCASH:USD,9000\n")
    status = run(["propose", str(book), *flags(market, "raw"), *MODEL, "--json"])
    proposal = document(capfd.readouterr().out)
    assert status == 0
    assert proposal["trades"]
    for trade in proposal["trades"]:
        assert trade["units"] == int(trade["units"])
    assert min(proposal["target"].values()) > 0


def test_groups_and_candidates(ballast):
    status, out, _ = ballast(
        "propose",
        ballast.book,
        "--group",
        "country:Japan<=0.05",
        "--candidates",
        "PG,EWJ,TLT",
        "--json",
    )
    proposal = document(out)
    assert status == 0
    assert proposal["target"].get("EWJ", 0.0) <= 0.05 + 1e-6


WALK = ("--start", "2024-12-16", "--hindsight-parameters")


def test_backtest(ballast, tmp_path):
    status, out, err = ballast(
        "backtest", ballast.book, *WALK, "--strategy", "hold", "--strategy", "equal",
        "--json", "--out", tmp_path / "runs",
    )  # fmt: skip
    assert (status, err) == (0, "")
    rows = document(out)["strategies"]
    assert [r["strategy"] for r in rows] == ["hold", "equal weight"]
    assert all(any("hindsight" in s for s in r["stamps"]) for r in rows)
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_backtest_table(ballast):
    status, out, _ = ballast("backtest", ballast.book, *WALK, "--strategy", "hold")
    assert status == 0
    assert "Sharpe (s.e.)" in out and "2024-12-16 to 2025-02-14" in out
    assert "! hindsight parameters" in out


def test_backtest_refuses_a_shock_from_the_future(ballast):
    status, out, err = ballast(
        "backtest", ballast.book, "--start", "2024-12-16", "--strategy", "shock-aware"
    )
    assert (status, out) == (2, "")
    assert "hindsight" in err and "NVDA" in err


def test_sweep(ballast, tmp_path):
    grid = ("--grid", "limit=0.15,0.3", "--json", "--out", tmp_path)
    status, out, err = ballast("sweep", ballast.book, *WALK, *grid)
    assert (status, err) == (0, "")
    result = document(out)
    assert [c["limit"] for c in result["cells"]] == [0.15, 0.3]
    assert result["summary"]["n_trials"] == 2
    again = ballast("sweep", ballast.book, *WALK, *grid)
    assert document(again[1])["cells"] == result["cells"]


def test_a_cell_of_a_sweep_is_the_backtest_of_its_limit(ballast):
    limit = ("--limit", "0.15", "--json")
    _, out, _ = ballast(
        "backtest", ballast.book, *WALK, *limit, "--strategy", "shock-aware"
    )
    alone = document(out)["strategies"][0]
    _, out, _ = ballast("sweep", ballast.book, *WALK, *limit, "--grid", "limit=0.15")
    cell = document(out)["cells"][0]
    assert cell["volatility"] == alone["volatility"] > 0
    assert cell["total_return"] == alone["total_return"]


def test_a_sweep_of_failures_is_a_failure(ballast):
    status, _, err = ballast(
        "sweep", ballast.book, *WALK, "--grid", "window=100000", "--json"
    )
    assert status == 1
    assert "every cell of the sweep failed" in err


def test_listed_tickers_join_those_of_the_book(ballast):
    status, out, _ = ballast("stress", ballast.book, "--tickers", "TLT,PG", "--json")
    assert status == 0
    assert set(document(out)["shocks"][0]["by_asset"]) >= {"NVDA", "VST"}


def test_infeasible_is_exit_status_one(ballast, tmp_path):
    path = tmp_path / "trades.csv"
    status, out, err = ballast(
        "propose", ballast.book, "--limit", "0.01", "--turnover", "0.05", "--json",
        "--out", path,
    )  # fmt: skip
    assert (status, out) == (1, "")
    assert err.startswith("ballast: no portfolio satisfies these limits together: ")
    assert "Cheapest relaxation" in err and err.count("\n") == 1
    assert not path.exists()


# Through the process boundary ------------------------------------------------


def process(*tokens, command=None):
    command = command or [sys.executable, "-m", "backtests.cli"]
    return subprocess.run(
        [*command, *map(str, tokens)], capture_output=True, text=True, timeout=120
    )


def console():
    script = Path(sys.executable).with_name("ballast")
    if not script.exists():
        pytest.skip("the console command is not installed beside this interpreter")
    return [str(script)]


def test_the_console_command_prints_json_and_nothing_else(market):
    """The linear solver has a notice of its own: it must not reach the output."""
    done = process(
        "propose", market / "book.csv", *flags(market), *MODEL, "--json",
        "--max-weight", "0.4", "--es-cap", "0.5", command=console(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert document(done.stdout)["outcome"] == "OPTIMAL"
    done = process(
        "propose", market / "book.csv", *flags(market), *MODEL, "--limit", "0.001",
        command=console(),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")


def test_a_closed_pipe_is_no_error(market):
    script = console()[0]
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script} shocks --json | head -1"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def test_covariance_estimators_are_compared_and_used(ballast, tmp_path):
    out_file = tmp_path / "scores.csv"
    flags = ["--estimators", "sample,ewma,oas", "--window", "40", "--horizon", "10"]
    status, out, err = ballast(
        "covariance", *flags, "--out", str(out_file), "--quiet", model=False
    )
    assert (status, err) == (0, "")
    assert "oas" in out and "log_likelihood" in out
    assert set(pd.read_csv(out_file)["estimator"]) == {"sample", "ewma", "oas"}
    status, out, _ = ballast("covariance", *flags, "--json", "--quiet", model=False)
    assert {r["estimator"] for r in document(out)["estimators"]} == {
        "sample",
        "ewma",
        "oas",
    }
    status, _, err = ballast("covariance", "--estimators", "oaks", model=False)
    assert status == 2 and "oaks" in err and "ledoit_wolf" in err


def test_library_of_episodes(ballast):
    status, out, _ = ballast("shocks", "library", model=False, source=False)
    assert status == 0 and "deepseek-monday" in out and "placebo" in out
    _, out, _ = ballast("shocks", "library", "--json", model=False, source=False)
    assert {"name", "known_from", "citation"} <= set(document(out)["episodes"][0])


def test_replay_of_an_episode(ballast):
    command = ["shocks", "replay", "deepseek-monday"]
    status, out, err = ballast(*command, "--json", model=False)
    assert status == 0, err
    moves = {r["asset"]: r for r in document(out)["moves"]}
    assert set(moves) == set(NAMES)
    assert moves["NVDA"]["basis"].startswith("own history: 2025-01-24 to 2025-01-27")
    status, out, err = ballast(
        "shocks", "replay", "2025-01-27..2025-01-28", model=False
    )
    assert status == 0 and "2 local closes" in out
    status, _, err = ballast("shocks", "replay", "deepseek-munday", model=False)
    assert status == 2 and "deepseek-monday" in err


def test_stress_with_a_replayed_episode(ballast):
    status, out, err = ballast(
        "stress", ballast.book, "--replay", "deepseek-monday", "--json"
    )
    assert status == 0, err
    shocks = document(out)["shocks"]
    assert [s["name"] for s in shocks][-1] == "replay:deepseek-monday"
    assert len(shocks) == 4


def test_validation_refuses_the_reference_market(ballast):
    status, _, err = ballast("shocks", "validate", source=False, model=False)
    assert status == 2 and "real prices" in err
