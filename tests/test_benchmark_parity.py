"""Every candidate of the benchmark table gives our answer, at a small size."""

import json

import numpy as np
import pytest

from benchmarks import run as house
from benchmarks.case import Case
from benchmarks.cases import CASES
from benchmarks.process import PeerMissingError, interpreter


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_all_candidates_agree(case):
    house.compare_answers(case, case.build(**case.sizes["small"]))


@pytest.mark.parametrize(
    ("case", "name"),
    [
        # One in our own environment is always there, and compiles for half a minute.
        pytest.param(case, name, marks=[pytest.mark.slow] * (not peer.environment))
        for case in CASES
        for name, peer in case.peers.items()
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_peers_of_other_environments_agree(case, name):
    try:
        interpreter(case.peers[name].environment)
    except PeerMissingError as missing:
        pytest.skip(str(missing))
    row = house.measure(case, "small")
    assert name in row["ratio_to_ours"] and not row["failed"]


def test_names_of_cases_are_unique_and_candidates_apart_exist():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    for case in CASES:
        if case.apart:
            assert set(case.apart) <= set(case.build(**case.sizes["small"]))


def _case(answer):
    return Case(
        "toy",
        {"small": {}, "timed": {}},
        lambda: {"ours": lambda: np.ones(3), "peer": lambda: answer},
    )


def test_a_wrong_answer_is_caught_before_timing():
    with pytest.raises(AssertionError, match="peer differs"):
        house.measure(_case(np.array([1.0, 1.0, 1.1])), "timed")


def test_results_carry_machine_versions_and_commit(tmp_path, capsys):
    out = tmp_path / "figures.json"
    rows = house.run("", out, cases=[_case(np.ones(3))])
    assert "peer" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["results"] == rows
    assert {"processor", "python", "versions", "commit"} <= set(written["machine"])
    assert rows[0]["ratio_to_ours"].keys() == {"peer"}
