"""The page's table is what the committed figures say, and names cases that exist."""

import json
import re

import pytest

from benchmarks.cases import CASES
from benchmarks.process import ROOT
from benchmarks.table import (
    BEGIN,
    END,
    FIGURES,
    PAGE,
    FiguresError,
    add,
    publish,
    rewrite,
    section,
)


def spread(median, low=None, high=None):
    return {
        "median": median,
        "low": median if low is None else low,
        "high": median if high is None else high,
    }


def figures(**changes):
    row = {
        "case": "toy work",
        "size": "N 5",
        "threads": 1,
        "rounds": 9,
        "seconds": {"ours": spread(1.5e-3)},
        "ratio_to_ours": {
            "plain": spread(2.0, 1.944, 2.106),
            "slow": spread(1234.5),
            "hung": spread(80000.0),
            "part": spread(31.25, 30.0, 32.5),
            "quick": spread(0.5, 0.49, 0.51),
            "limit": spread(0.333, 0.3, 0.4),
        },
        "labels": {
            "slow": "one run, the first",
            "hung": "stopped after 120 s",
            "part": "extrapolated x20",
        },
        "left_out": {"elsewhere": "environment elsewhere is not built"},
        "failed": {},
    }
    return {
        "machine": {
            "processor": "Toy CPU",
            "cores": 4,
            "system": "Linux",
            "python": "3.11.7",
            "versions": {"numpy": "2.4.6", "numba": "0.68.1"},
            "commit": "0123456789abcdef",
            "uncommitted_changes": False,
        },
        "results": [{**row, **changes}],
        "cold_start": {
            "repeats": 3,
            "seconds": {"simulate": {"cold": 2.5, "cached": 0.45, "again": 2.5e-5}},
        },
    }


ROW = (
    "| toy work | N 5 | 1 | 1.50 ms | plain 2.00 [1.94, 2.11]; "
    "slow 1,234 (one run, the first); hung over 80,000 (stopped after 120 s); "
    "part 31.2 [30.0, 32.5] (extrapolated x20); quick 0.50 [0.49, 0.51]; "
    "elsewhere left out | 0.33 [0.30, 0.40] |"
)


def test_section_of_known_figures():
    text = section(figures())
    assert ROW in text.splitlines()
    assert "commit 0123456789 on Toy CPU, 4 cores, Linux, Python 3.11.7" in text
    assert "(numpy 2.4.6, numba 0.68.1)" in text
    assert "Faster than ours: toy work (N 5): quick." in text
    assert "| simulate | 2.50 s | 450 ms | 25.0 µs |" in text.splitlines()


def test_changes_since_the_commit_are_told():
    told = figures()
    told["machine"]["uncommitted_changes"] = True
    assert "0123456789 with uncommitted changes on" in section(told)


def test_losses_are_grouped_by_row():
    told = section(
        figures(
            threads=2,
            ratio_to_ours={"a": spread(0.5), "b": spread(0.9), "c": spread(1.1)},
        )
    )
    assert "Faster than ours: toy work (N 5, 2 threads): a, b." in told


def test_no_loss_is_said_too():
    text = section(figures(ratio_to_ours={"limit": spread(0.5)}, left_out={}))
    assert "No candidate other than the limit was faster than ours." in text


@pytest.mark.parametrize(
    "bad", [{"failed": {"plain": "crashed"}}, {"error": "AssertionError: differs"}]
)
def test_failed_cases_are_not_shown(bad):
    with pytest.raises(FiguresError, match="toy work"):
        section(figures(**bad))


def test_no_figures_are_not_shown():
    with pytest.raises(FiguresError, match="no figures"):
        section({**figures(), "results": []})


def test_rewriting_replaces_the_section_alone_and_twice_is_once():
    before = f"# Title\n\n{BEGIN}\nstale\n{END}\n\nAfter.\n"
    text = rewrite(before, figures())
    assert text.startswith(f"# Title\n\n{BEGIN}\n") and text.endswith("\n\nAfter.\n")
    assert "stale" not in text and ROW in text
    assert rewrite(text, figures()) == text


@pytest.mark.parametrize(
    "text", ["no markers", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"]
)
def test_a_page_without_its_markers_is_refused(text):
    with pytest.raises(FiguresError, match="page"):
        rewrite(text, figures())


def test_publish_writes_both_files_or_neither(tmp_path):
    source, kept = tmp_path / "latest.json", tmp_path / "figures.json"
    page = tmp_path / "speed.md"
    source.write_text(json.dumps(figures()))
    page.write_text("no markers")
    with pytest.raises(FiguresError):
        publish(source, page=page, kept=kept)
    assert not kept.exists() and page.read_text() == "no markers"
    page.write_text(f"{BEGIN}\n{END}\n")
    publish(source, page=page, kept=kept)
    assert kept.read_text() == source.read_text()
    assert ROW in page.read_text()
    publish(kept, page=page, kept=kept)
    assert kept.read_text() == source.read_text()


def test_page_shows_the_committed_figures():
    text = PAGE.read_text(encoding="utf-8")
    assert rewrite(text, json.loads(FIGURES.read_text(encoding="utf-8"))) == text


def test_page_names_cases_and_sizes_that_exist():
    text = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (?:\d+) \|", text, re.M)
    assert rows
    known = {(case.name, size) for case in CASES for size in case.sizes}
    named = {(re.sub(r" \([0-9a-f]{10}\)$", "", name), size) for name, size in rows}
    assert named <= known


def test_committed_figures_name_no_folder_and_no_user():
    text = FIGURES.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert not re.search(r"(/home/|/root|/tmp|/Users/|[A-Z]:\\\\)", text)


def test_added_rows_replace_their_like_and_carry_their_commit(tmp_path):
    kept, page = tmp_path / "figures.json", tmp_path / "speed.md"
    page.write_text(f"a\n{BEGIN}\n{END}\nz\n")
    first = figures()
    other = {**first["results"][0], "size": "N 6"}
    first["results"].append(other)
    kept.write_text(json.dumps(first))
    fresh = figures()
    fresh["machine"]["commit"] = "fedcba9876543210"
    fresh["results"][0]["seconds"] = {"ours": spread(3.0)}
    source = tmp_path / "more.json"
    source.write_text(json.dumps(fresh))
    add([source], page=page, kept=kept)
    text = page.read_text()
    assert "| toy work (fedcba9876) | N 5 | 1 | 3.00 s |" in text
    assert "| toy work | N 6 | 1 | 1.50 ms |" in text
    assert len(json.loads(kept.read_text())["results"]) == 2
    fresh["machine"]["processor"] = "Another CPU"
    source.write_text(json.dumps(fresh))
    before = kept.read_text(), page.read_text()
    with pytest.raises(FiguresError, match="another processor"):
        add([source], page=page, kept=kept)
    assert (kept.read_text(), page.read_text()) == before
