"""Scenario files of every kind through stress, propose, backtest, sweep and report."""

import numpy as np
import pytest

from engine.shocks import replay
from tests.cli.test_cli import WALK, ballast, document, market  # noqa: F401

FILE = """
[[shock]]
kind = "cheap-model"
preset = "substitution"
name = "cheap"
limit = 0.2

[[shock]]
kind = "replay"
episode = "deepseek-monday"
limit = 0.05
note = "asked for by the chair"

[[shock]]
kind = "replay"
window = [2024-12-02, 2024-12-06]
limit = 0.05

[[shock]]
kind = "conditional"
name = "drop"
moves = {ai_basket = -0.15, PG = 0.0}
known_from = 2024-12-01

[[shock]]
kind = "entropy"
name = "views"
views = ["mean(NVDA) <= -0.05", "vol(PG) >= 1.2 * prior(vol(PG))"]
known_from = 2024-12-01

[[shock]]
kind = "worst-case"
radius = 3.0
systematic = false

[[shock]]
kind = "reverse"
loss = 0.15
systematic = false

[[shock]]
kind = "mix"
name = "states"
known_from = 2024-12-01
probabilities = {a = 0.4, "b | a" = [0.2, 0.5]}
states = {"a and b" = "drop", a = "mild"}

[[shock]]
kind = "cheap-model"
name = "mild"
alone = false
parameters = {severity = 0.5}
"""
NAMES = (
    "cheap",
    "replay:deepseek-monday",
    "replay:2024-12-02..2024-12-06",
    "drop",
    "views",
    "worst-case",
    "reverse",
    "states",
)
OWN = {NAMES[0]: 0.2, NAMES[1]: 0.05, NAMES[2]: 0.05}


@pytest.fixture
def committee(tmp_path):
    path = tmp_path / "committee.toml"
    path.write_text(FILE)
    return path


def test_stress_shows_every_kind(ballast, committee):  # noqa: F811
    status, out, err = ballast("stress", ballast.book, "--shock", committee)
    assert (status, err) == (0, "")
    for words in (
        "note, replay:deepseek-monday: asked for by the chair",
        "source, replay:deepseek-monday: historical replay 2025-01-27",
        "source, worst-case: worst linear loss within 3, 7 dimensions",
        "source, reverse: nearest scenario losing",
        "states, states: a and b 20.0% (drop); a and not b 20.0% (mild); not a",
        "of the effective scenarios",
    ):
        assert words in out, words
    assert out.count("one severity") >= 4
    _, out, _ = ballast("stress", ballast.book, "--shock", committee, "--json")
    report = document(out)
    assert tuple(s["name"] for s in report["shocks"]) == NAMES
    found = {s["name"]: s for s in report["shocks"]}
    assert found["reverse"]["loss"] == pytest.approx(0.15, abs=3e-3)  # and cash return
    assert found["views"]["band_5_95"] is None and found["drop"]["band_5_95"]
    assert found["states"]["states"].startswith("a and b 20.0%")
    assert 0 < found["views"]["effective_share_of_scenarios"] < 1
    for shock in report["shocks"]:
        for part in ("by_asset", "by_role", "by_country", "by_currency"):
            assert sum(shock[part].values()) == pytest.approx(shock["loss"], abs=1e-10)


def test_a_replay_of_a_file_is_that_of_the_flag(ballast, tmp_path):  # noqa: F811
    path = tmp_path / "r.toml"
    path.write_text('shock = {kind = "replay", episode = "deepseek-monday"}')
    _, out, _ = ballast("stress", ballast.book, "--shock", path, "--json")
    (mine,) = document(out)["shocks"]
    flag = ("--replay", "deepseek-monday", "--json")
    _, out, _ = ballast("stress", ballast.book, *flag)
    assert document(out)["shocks"][-1]["by_asset"] == mine["by_asset"]
    # Own history of the prices, not the library's figure.
    figure = {f.ticker: f.value for f in replay("deepseek-monday").facts}["NVDA"]
    assert mine["by_asset"]["NVDA"] != pytest.approx(-0.4 * figure, abs=1e-3)
    assert mine["basis"]["NVDA"].startswith("own history")


def test_propose_limits_every_shock(ballast, committee, tmp_path):  # noqa: F811
    flags = ("--shock", committee, "--max-weight", "0.5", "--json")
    status, out, err = ballast("propose", ballast.book, *flags)
    assert (status, err) == (0, "")
    caps = {c["name"].removeprefix("stress:"): c for c in document(out)["limits"]}
    for name in NAMES:
        limit = OWN.get(name, caps[name]["before"] / 2)
        assert caps[name]["limit"] == pytest.approx(limit)
        assert caps[name]["after"] <= caps[name]["limit"] + 1e-6, name
    _, out, _ = ballast("propose", ballast.book, *flags, "--limit", "0.1")
    caps = {c["name"].removeprefix("stress:"): c for c in document(out)["limits"]}
    assert [caps[n]["limit"] for n in NAMES] == [OWN.get(n, 0.1) for n in NAMES]
    trades = tmp_path / "trades.csv"
    status, out, _ = ballast("propose", ballast.book, *flags[:-1], "--out", trades)
    assert status == 0 and "stress:states" in out and trades.exists()


def test_backtest_keeps_within_every_limit(ballast, committee):  # noqa: F811
    flags = ("--shock", committee, "--max-weight", "0.5", "--limit", "0.1")
    status, out, err = ballast("backtest", ballast.book, *WALK, *flags, "--json")
    assert (status, err) == (0, "")
    rows = document(out)["strategies"]
    assert [r["strategy"] for r in rows] == ["hold", "hold + cash", "shock-aware"]
    assert all("hindsight parameters" in r["stamps"] for r in rows)
    # A second limit that binds harder leaves less of the book and more cash.
    tight = committee.read_text().replace(
        'name = "drop"\n', 'name = "drop"\nlimit = 0.02\n'
    )
    committee.write_text(tight)
    _, out, _ = ballast("backtest", ballast.book, *WALK, *flags, "--json")
    again = document(out)["strategies"]
    assert again[1]["volatility"] < 0.6 * rows[1]["volatility"]
    for row in (again[0], rows[0]):  # its judgement names the other strategies
        del row["judgement"]
    assert again[0] == rows[0]


def test_a_sweep_of_the_common_limit(ballast, committee):  # noqa: F811
    flags = ("--shock", committee, "--strategy", "hold-cash", "--grid")
    status, out, _ = ballast(
        "sweep", ballast.book, *WALK, *flags, "limit=0.02,0.1", "--json"
    )
    assert status == 0
    low, high = document(out)["cells"]
    assert low["volatility"] < high["volatility"]
    own = committee.with_name("own.toml")
    own.write_text('shock = {kind = "worst-case", radius = 3.0, limit = 0.1}')
    flags = ("--shock", own, "--strategy", "hold-cash", "--grid", "limit=0.1")
    status, _, err = ballast("sweep", ballast.book, *WALK, *flags)
    assert status == 2 and "every shock states its own limit" in err


def test_report_of_every_kind(ballast, committee, tmp_path):  # noqa: F811
    target = tmp_path / "page.html"
    status, out, err = ballast(
        "report", ballast.book, *WALK, "--shock", committee, "--max-weight", "0.5",
        "--limit", "0.1", "--out", target,
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "one severity" in out and "nan" not in out
    assert "0.2000 (cheap); 0.0500 (replay:deepseek-monday)" in target.read_text()


UNDATED = 'shock = {kind = "entropy", views = ["mean(NVDA) <= 0.05"]}'


def test_an_undated_view_needs_hindsight_at_past_dates(ballast, tmp_path):  # noqa: F811
    path = tmp_path / "views.toml"
    path.write_text(UNDATED)
    flags = ("--shock", path)
    assert ballast("stress", ballast.book, *flags)[0] == 0  # at the last date
    past = (*flags, "--as-of", "2025-01-31")
    for command in ("stress", "propose"):
        status, _, err = ballast(command, ballast.book, *past)
        assert status == 2 and "shock views has no date" in err
        assert "known_from" in err and "--hindsight-parameters" in err
    status, out, _ = ballast("stress", ballast.book, *past, "--hindsight-parameters")
    assert status == 0
    assert "! HINDSIGHT PARAMETERS: views does not say when it was first held" in out
    path.write_text(UNDATED.replace("views =", "known_from = 2025-01-30, views ="))
    assert ballast("stress", ballast.book, *past)[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("mean(NVDA) <=", "mean(NVDX) <=", 2, "shock 5: views: "),
        ("mean(NVDA) <=", "mean(NVDX) <=", 2, "Did you mean NVDA?"),
        ("mean(NVDA) <= -0.05", "mean(NVDA) >= 9", 1, "shock 5: views: no probabil"),
        ("PG = 0.0", "PGG = 0.0", 2, "shock 4: moves: shock drop stresses a name"),
        ("PG = 0.0", "PGG = 0.0", 2, "Did you mean PG?"),
        ("deepseek-monday", "deepseek-munday", 2, "shock 2: episode: unknown episode"),
        ("2024-12-02", "2014-12-02", 2, "shock 3: window: the prices do not cover"),
        ("loss = 0.15", "loss = 1.5", 1, "shock 7: loss: no scenario of"),
        ('"mild"}', '"milt"}', 2, "shock 8: states.a names no other shock"),
        ('"mild"}', '"milt"}', 2, "Did you mean mild?"),
        ("limit = 0.2", "limt = 0.2", 2, "shock 1: unknown key 'limt'"),
    ],
)
def test_wrong_files_end_with_a_sentence(ballast, committee, old, new, code, words):  # noqa: F811
    assert old in FILE
    committee.write_text(FILE.replace(old, new, 1))
    status, out, err = ballast("stress", ballast.book, "--shock", committee)
    assert (status, out) == (code, "")
    assert words in err and "committee.toml: shock " in err
    assert "Traceback" not in err


def test_a_lone_name_is_told_without_a_traceback(ballast, tmp_path):  # noqa: F811
    path = tmp_path / "lone.toml"
    path.write_text('shock = {kind = "conditional", moves = {NVDA = -0.2}}')
    status, out, err = ballast("stress", ballast.book, "--shock", path)
    assert status == 0 and "conditional" in out
    assert err.startswith("ballast: ") and "conditioning on NVDA alone" in err
    assert err.count("\n") == 1
    losses = ballast("stress", ballast.book, "--shock", path, "--json")[1]
    assert np.isfinite(document(losses)["shocks"][0]["loss"])


def test_a_file_is_checked_without_prices(ballast, committee):  # noqa: F811
    bare = {"model": False, "source": False}
    status, out, err = ballast("shocks", "check", committee, **bare)
    assert (status, err) == (0, "")
    assert "in a mixture" in out and "2024-12-01" in out and "5.0%" in out
    _, out, _ = ballast("shocks", "check", committee, "--json", **bare)
    rows = document(out)["shocks"]
    assert [r["name"] for r in rows] == [*NAMES, "mild"]
    assert [r["limit"] for r in rows[:4]] == [0.2, 0.05, 0.05, None]
    assert [r["kind"] for r in rows] == (
        "cheap-model replay replay conditional entropy worst-case reverse mix "
        "cheap-model"
    ).split()
    assert [r["alone"] for r in rows] == [True] * 8 + [False]
    committee.write_text(FILE.replace("radius", "radus"))
    status, out, err = ballast("shocks", "check", committee, **bare)
    assert (status, out) == (2, "") and "Did you mean radius?" in err
