"""Comparing two revisions of a toy repository whose clock is advanced by its cases."""

import json
import shutil
import subprocess

import pytest

from benchmarks import __main__ as command
from benchmarks import compare as revisions
from benchmarks import process
from benchmarks.revision import checked_out, requirements
from engine.errors import UsageError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

PROJECT = """
[project]
name = "toy"
version = "0"
dependencies = ["numpy>=2.1"]
[dependency-groups]
dev = ["pytest>=8.3"]
"""

# The toy's clock stands still except where a case says how long it takes.
CLOCK = """
import os
import time
from dataclasses import dataclass


class Clock:
    now = 0.0


time.perf_counter = lambda: Clock.now


def takes(seconds, value=1.0):
    def ours():
        Clock.now += seconds
        return [value, value]

    return lambda n: {"ours": ours, "peer": ours}


def dies(n):
    return {"ours": lambda: os._exit(3)}
"""

CASE = """
@dataclass(frozen=True)
class Case:
    name: str
    sizes: dict
    build: object
    tolerance: float = 1e-9
"""

SMALL = '{"small": {"n": 1}, "big": {"n": 5}}'

# Older revisions define what a case is beside the cases themselves.
BASE = (
    CLOCK
    + CASE
    + f"""
CASES = (
    Case("steady", {SMALL}, takes(1e-3)),
    Case("slowed", {SMALL}, takes(1e-3)),
    Case("a little slower", {SMALL}, takes(1e-3)),
    Case("hastened", {SMALL}, takes(2e-3)),
    Case("other answer", {SMALL}, takes(1e-3, 1.0)),
    Case("other inputs", {SMALL}, takes(1e-3)),
    Case("dying", {SMALL}, takes(1e-3)),
    Case("gone", {SMALL}, takes(1e-3)),
    Case("long", {SMALL}, takes(21.0)),
)
"""
)

HEAD = (
    "from benchmarks.case import Case\n"
    + CLOCK
    + f"""
CASES = (
    Case("steady", {SMALL}, takes(1e-3)),
    Case("slowed", {SMALL}, takes(1.2e-3)),
    Case("a little slower", {SMALL}, takes(1.05e-3)),
    Case("hastened", {SMALL}, takes(1e-3)),
    Case("other answer", {SMALL}, takes(1e-3, 1.5)),
    Case("other inputs", {SMALL.replace("5", "6")}, takes(1e-3)),
    Case("dying", {SMALL}, dies),
    Case("arrived", {SMALL}, takes(1e-3)),
    Case("long", {SMALL}, takes(28.0)),
)
"""
)


def git(root, *arguments):
    identity = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
    subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True
    )


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A repository whose only commit is BASE and whose tree is HEAD."""
    root = tmp_path / "toy"
    (root / "benchmarks").mkdir(parents=True)
    (root / "benchmarks" / "__init__.py").write_text("")
    (root / "benchmarks" / "cases.py").write_text(BASE)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "constraints.txt").write_text("numpy==2.4.6\n")
    git(root, "init", "--quiet")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "base")
    (root / "benchmarks" / "case.py").write_text(
        "from dataclasses import dataclass\n" + CASE
    )
    (root / "benchmarks" / "cases.py").write_text(HEAD)
    monkeypatch.setattr(process, "ROOT", root)
    return root


def test_a_comparison_from_end_to_end(toy, tmp_path, capsys):
    out = tmp_path / "compare.json"
    report = revisions.compare("HEAD", shared=True, out=out)
    assert json.loads(out.read_text()) == report
    assert report["new"] == ["arrived (big)"]
    assert report["removed"] == ["gone (big)"]
    assert report["changed"] == ["other inputs (big)"]
    verdicts = {r["case"]: r["verdict"] for r in report["results"]}
    assert verdicts == {
        "steady": "same",
        "slowed": "slower",
        "a little slower": "same",
        "hastened": "faster",
        "other answer": "answer",
        "dying": "failed",
        "long": "same",  # one reading each: its noise is not known
    }
    by_name = {r["case"]: r for r in report["results"]}
    ratio = by_name["slowed"]["ratio_to_ours"]["base"]
    assert ratio["median"] == pytest.approx(1.0 / 1.2)
    assert ratio["low"] == pytest.approx(ratio["high"])
    assert by_name["slowed"]["rounds"] >= 7
    assert "differs by" in by_name["other answer"]["error"]
    assert "status 3" in by_name["dying"]["error"]
    assert [r["case"] for r in revisions.regressed(report)] == [
        "slowed",
        "other answer",
        "dying",
    ]
    printed = capsys.readouterr().out
    assert "slowed (big): ours 1.2 ms, base 0.833 x ours" in printed
    assert "SLOWER" in printed and "removed: gone (big)" in printed


def test_the_checkout_is_gone_afterwards(toy):
    with checked_out("HEAD", shared=True, repository=toy) as base:
        assert (base.root / "benchmarks" / "cases.py").read_text() == BASE
        assert not (base.root / "benchmarks" / "case.py").exists()
    assert not base.root.exists()
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=toy, capture_output=True, text=True
    )
    assert len(listed.stdout.splitlines()) == 1


def test_the_checkout_is_gone_after_an_error_too(toy):
    with pytest.raises(RuntimeError), checked_out("HEAD", shared=True, repository=toy):
        raise RuntimeError
    assert not list((toy / ".git").glob("worktrees/*"))


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_an_environment_is_shared_only_between_equal_requirements(toy, name):
    path = toy / name
    path.write_text(path.read_text().replace("numpy", "scipy"))
    with (
        pytest.raises(UsageError, match="different packages"),
        checked_out("HEAD", shared=True, repository=toy),
    ):
        pass


def test_requirements_of_a_revision_without_pins(toy):
    (toy / "constraints.txt").unlink()
    assert requirements(toy) == {
        "runtime": ["numpy>=2.1"],
        "dev": ["pytest>=8.3"],
        "pins": "",
    }


@pytest.mark.parametrize("name", ["no-such-branch", "--help", ""])
def test_an_unknown_revision_is_refused(toy, name):
    with (
        pytest.raises(UsageError, match="no such revision"),
        checked_out(name, shared=True, repository=toy),
    ):
        pass


def test_exit_status(toy, tmp_path):
    common = ["--compare", "HEAD", "--shared-environment"]
    common += ["--json", str(tmp_path / "c.json"), "--case"]
    assert command.main([*common, "slowed"]) == 1
    assert command.main([*common, "slowed", "--threshold", "0.3"]) == 0
    assert command.main([*common, "steady"]) == 0
    assert command.main([*common, "other answer"]) == 1
    with pytest.raises(SystemExit) as caught:
        command.main([*common, "steady", "--threshold", "-1"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("low", "high", "coverage", "expected"),
    [
        (0.80, 0.90, 0.96, "slower"),
        (0.80, 0.92, 0.96, "same"),  # the interval reaches into the threshold
        (0.95, 1.30, 0.96, "same"),
        (1.11, 1.30, 0.96, "faster"),
        (0.70, 0.70, 0.0, "same"),  # one reading
        (0.60, 0.60, 0.0, "slower"),
        (2.00, 2.00, 0.0, "faster"),
    ],
)
def test_verdict(low, high, coverage, expected):
    ratio = {"low": low, "high": high, "coverage": coverage}
    row = {"ratio_to_ours": {"base": ratio}}
    assert revisions.verdict(row, 0.10) == expected


def test_slower_must_be_seen_twice(monkeypatch, toy):
    ratios = iter([(0.5, 0.5), (0.99, 1.01)])

    def row(case, size, threads, *_):
        low, high = next(ratios)
        made = {"low": low, "high": high, "median": low, "coverage": 0.96}
        once = {"case": case.name, "size": size, "threads": threads, "labels": {}}
        once |= {"ratio_to_ours": {"base": made}}
        once |= {"seconds": {"ours": {"median": 1.0}}}
        return once | {"verdict": revisions.verdict(once, 0.10)}

    monkeypatch.setattr(revisions, "_row", row)
    report = revisions.compare("HEAD", pattern="steady", shared=True)
    assert [r["verdict"] for r in report["results"]] == ["same"]
    assert next(ratios, None) is None
