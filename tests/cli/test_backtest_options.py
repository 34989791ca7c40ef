"""`ballast backtest`: the judgement, when to trade, frictions; each with its effect."""

from __future__ import annotations

import json

import pytest
from test_cli import ballast, market  # noqa: F401

WALK = ["--start", "2024-12-16", "--hindsight-parameters", "--max-weight", "0.5"]


@pytest.fixture
def walked(ballast):  # noqa: F811
    def call(*tokens):
        status, out, err = ballast("backtest", ballast.book, *WALK, *tokens)
        assert status == 0, err
        return out

    return call


def records(walked, *tokens):
    found = json.loads(walked(*tokens, "--json"))["strategies"]
    return {r["strategy"]: r for r in found}


EQUAL = ("--strategy", "equal")


def test_the_judgement_is_printed_and_in_the_document(walked, tmp_path):
    two = ("--strategy", "hold", "--strategy", "hold-cash", "--limit", "0.1")
    compact = walked(*two)
    assert "against the first" in compact and "no shock that is not in it" in compact
    every = walked(*two, "--judge", "--out", tmp_path)
    assert "attribution country" in every
    assert (tmp_path / "judgement" / "differences.csv").exists()
    found = records(walked, *two, "--trials", "40")
    kept = found["hold + cash"]["judgement"]
    assert kept["differences"][0]["against"] == "hold"
    assert kept["deflation"][0]["trials"] == 40
    assert found["hold"]["sharpe_hac_se"] > 0


def test_each_option_has_its_effect(walked):
    plain = records(walked, *EQUAL, "--schedule", "daily")["equal weight"]
    band = records(walked, *EQUAL, "--rebalance", "drift-band:0.05")
    (name,) = band
    assert "band 0.05 to the edge" in name
    assert band[name]["turnover_per_year"] < plain["turnover_per_year"]
    same = records(walked, *EQUAL, "--fill", "same_close")["equal weight"]
    assert "same-bar fills" in same["stamps"]
    flat = ("--impact", "1", "--flat-impact-bps", "20")
    dear = records(walked, *EQUAL, "--schedule", "daily", *flat)["equal weight"]
    assert dear["costs"] == pytest.approx(5 * plain["costs"], rel=0.02)
    calm = records(
        walked, "--strategy", "hold-cash", "--limit", "0.1", "--rebalance",
        "stress-triggered",
    )  # fmt: skip
    assert "when the shock loss exceeds 10.0%" in next(iter(calm))


def test_the_short_foil_pays_to_borrow(walked):
    short = ("--strategy", "hold-short:ANET", "--limit", "0.1")
    free, dear = (
        records(walked, *short, "--borrow-bps", bps)["hold + short ANET"]["costs"]
        for bps in ("0", "900")
    )
    assert dear > free


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (("--rebalance", "whenever"), "when to rebalance"),
        (("--rebalance", "weekly", "--schedule", "daily"), "two calendars"),
        (("--flat-impact-bps", "20"), "--impact 1"),
        (("--withholding", "Japan"), "--withholding"),
        (("--withholding", "0.1", "--withholding", "0.2"), "--withholding"),
        (("--strategy", "clairvoyant"), "unknown strategy"),
        (("--max-participation", "0.1"), "volume"),
        (("--fill", "next_open"), "open"),
    ],
)
def test_what_cannot_be_is_said(ballast, tokens, words):  # noqa: F811
    given = tokens if "--strategy" in tokens else (*EQUAL, *tokens)
    status, out, err = ballast("backtest", ballast.book, *WALK, *given)
    assert status == 2
    assert words in out + err
