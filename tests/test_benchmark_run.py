"""Running the table: failures cost no rows, results resume, the exit status tells."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import cold_start, machine
from benchmarks import run as house
from benchmarks.case import Case
from benchmarks.process import ROOT

HEADER = {"processor": "toy", "commit": "a" * 40, "uncommitted_changes": False}


def toy(name, built, answer=1.0, **options):
    def build():
        built.append(name)
        return {"ours": lambda: np.ones(3), "peer": lambda: np.full(3, answer)}

    return Case(name, {"small": {}, "timed": {}}, build, **options)


@pytest.fixture
def clean(monkeypatch):
    """A machine whose tree is committed."""
    header = dict(HEADER)
    monkeypatch.setattr(house, "machine", lambda: header)
    return header


def test_a_failed_case_loses_no_other_row(tmp_path, capsys):
    out, built = tmp_path / "figures.json", []
    cases = [toy("first", built), toy("wrong", built, answer=2.0), toy("last", built)]
    rows = house.run("", out, cases)
    assert [r["case"] for r in rows] == ["first", "wrong", "last"]
    assert [house.failed(r) for r in rows] == [False, True, False]
    assert "peer differs by 1.00e+00" in rows[1]["error"]
    assert json.loads(out.read_text())["results"] == rows
    assert "wrong (timed): FAILED, AssertionError" in capsys.readouterr().out


def test_what_a_case_cannot_build_is_reported_without_the_folders_of_the_machine():
    def build():
        raise FileNotFoundError(f"no such file {ROOT}/benchmarks/nothing")

    row = house.run("", None, [Case("toy", {"timed": {}}, build)])[0]
    assert row["error"] == "FileNotFoundError: no such file ./benchmarks/nothing"


def test_rows_of_this_commit_are_kept_and_failures_tried_again(tmp_path, clean):
    out, built = tmp_path / "figures.json", []
    house.run("", out, [toy("one", built), toy("two", built, answer=2.0)])
    rows = house.run("", out, [toy("one", built), toy("two", built)])
    assert built == ["one", "two", "two"]
    assert not any(house.failed(r) for r in rows)
    house.run("three", out, [toy("one", built), toy("three", built)])
    assert [r["case"] for r in json.loads(out.read_text())["results"]] == [
        "one",
        "two",
        "three",
    ]


@pytest.mark.parametrize("change", [{"commit": "b"}, {"uncommitted_changes": True}])
def test_rows_of_another_tree_are_measured_again(tmp_path, clean, change):
    out, built = tmp_path / "figures.json", []
    house.run("", out, [toy("one", built)])
    clean.update(change)
    house.run("", out, [toy("one", built)])
    assert built == ["one", "one"]


def test_a_second_row_for_all_cores(monkeypatch, clean):
    monkeypatch.setattr(house, "resolve_jobs", lambda n: 2)
    rows = house.run("", None, [toy("one", [], threads="all")])
    assert [r["columns"] for r in rows] == ["1", "all"]
    monkeypatch.setattr(house, "resolve_jobs", lambda n: 1)
    assert len(house.run("", None, [toy("one", [], threads="all")])) == 1


def test_filter_and_exit_status(tmp_path, monkeypatch, capsys):
    built = []
    cases = (toy("good", built), toy("wrong", built, answer=2.0))
    monkeypatch.setattr(command, "CASES", cases)
    monkeypatch.setattr(command, "cold_start", lambda: pytest.fail("not asked for"))
    where = ["--json", str(tmp_path / "figures.json")]
    assert command.main(["--case", "GOOD", *where]) == 0
    assert built == ["good"]
    assert command.main(["--case", "g", *where]) == 1
    assert "failed: wrong (timed)" in capsys.readouterr().out
    for usage in (["--case", "nothing like it"], ["--readme", str(tmp_path / "no")]):
        with pytest.raises(SystemExit) as caught:
            command.main(usage)
        assert caught.value.code == 2


def test_cold_start_is_a_section_of_its_own(tmp_path, clean, capsys):
    out, measured = tmp_path / "figures.json", []

    def section():
        measured.append(1)
        return {"repeats": 1, "seconds": {"step": {"cold": 2.0, "cached": 1.0}}}

    house.run("cold", out, [toy("one", [])], cold_start=section)
    house.run("", out, [toy("one", [])], cold_start=section)
    content = json.loads(out.read_text())
    assert content["cold_start"]["seconds"]["step"]["cold"] == 2.0
    assert len(measured) == 1 and len(content["results"]) == 1
    assert "step: cold 2 s, cached 1 s" in capsys.readouterr().out


def test_cold_start_takes_medians_of_fresh_and_kept_caches(monkeypatch):
    caches = []

    def session(cache):
        caches.append(cache)
        n = len(caches)
        return {"step": {"first": float(10 * n), "again": float(n)}}

    monkeypatch.setattr(cold_start, "_session", session)
    measured = cold_start.cold_start(repeats=3)
    assert measured["seconds"] == {"step": {"cold": 30.0, "cached": 40.0, "again": 4.0}}
    assert [caches[i] == caches[i + 1] for i in (0, 2, 4)] == [True] * 3
    assert len(set(caches)) == 3


def test_first_calls_of_a_real_session(tmp_path_factory):
    cache = tmp_path_factory.getbasetemp() / "numba"
    steps = cold_start._session(str(cache))
    assert list(steps) == [
        "import engine",
        "load_panel and fit",
        "covariance.sample",
        "simulate",
        "stress",
        "propose",
        "simulate_weights",
    ]
    assert list(cache.rglob("*.nbc"))  # what was compiled went there


def test_the_machine_is_described_without_naming_anyone():
    text = json.dumps(machine.machine())
    assert str(ROOT) not in text and str(Path.home()) not in text
    assert {"numpy", "numba"} <= set(machine.machine()["versions"])
