"""Ours against ours at another revision, in one interleaved run.

Both revisions run in processes of their own through `benchmarks.worker` of this tree,
so the other revision may be older than that file: it only needs a table of cases.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import process
from benchmarks.case import Case
from benchmarks.machine import machine, without_paths
from benchmarks.measure import CAP, OURS, timed
from benchmarks.process import PeerError, Process
from benchmarks.revision import Revision, checked_out
from benchmarks.timing import Candidate, Remote
from engine.parallel import resolve_jobs

BASE = "base"
THRESHOLD = 0.10
SINGLE = 0.50
"""Threshold where there is one reading, so that its noise is unknown."""

_WORDS = {
    "slower": "SLOWER",
    "faster": "faster",
    "same": "",
    "answer": "ANSWER CHANGED",
    "failed": "FAILED",
}


def verdict(row: dict[str, Any], threshold: float) -> str:
    """``slower``, ``faster`` or ``same``, beyond the threshold and beyond noise.

    The base's time as a multiple of ours must lie below ``1 / (1 + threshold)`` (above
    ``1 + threshold`` for faster) with its whole 95% interval. A single reading has no
    interval; it must go beyond 50%.
    """
    ratio = row["ratio_to_ours"][BASE]
    if ratio["coverage"] == 0.0:
        threshold = max(threshold, SINGLE)
    if ratio["high"] < 1.0 / (1.0 + threshold):
        return "slower"
    return "faster" if ratio["low"] > 1.0 + threshold else "same"


def compare(
    base: str,
    *,
    pattern: str = "",
    threshold: float = THRESHOLD,
    shared: bool = False,
    out: Path | None = None,
    cap: float = CAP,
    repository: Path | None = None,
) -> dict[str, Any]:
    """Time ours at ``base`` and here, in turns, for every case that both have.

    Parameters
    ----------
    base : str
        Revision.
    pattern : str
        Part of a case's name.
    threshold : float
        Relative slowdown that counts; a row beyond it is measured a second time and
        counts only where both say so.
    shared, repository
        See `benchmarks.revision.checked_out`.
    out : path, optional
        JSON, written after every row.
    cap : float
        Seconds that one call may take.

    Returns
    -------
    dict
        ``results`` (each with ``verdict``), ``new``, ``removed`` and ``changed`` (same
        name, other inputs: not comparable), the commit and environment of the base.
    """
    repository = process.ROOT if repository is None else repository
    with (
        checked_out(base, shared=shared, repository=repository) as other,
        tempfile.TemporaryDirectory() as caches,
    ):
        here = Revision(repository, sys.executable, "", "shared")
        sides = {OURS: here, BASE: other}
        tables = {name: _table(side, caches, name) for name, side in sides.items()}
        report: dict[str, Any] = {
            "machine": machine(),
            "base": {"revision": base, "commit": other.commit,
                     "environment": other.environment},
            "threshold": threshold,
            **_differences(tables, pattern),
            "results": [],
        }  # fmt: skip
        for what in ("new", "removed", "changed"):
            for label in report[what]:
                print(f"{what}: {label}")
        for name, size, threads in _common(tables, pattern):
            tolerance = tables[OURS][name]["tolerance"]
            case = Case(name, {}, dict, tolerance)
            row = _row(case, size, threads, sides, caches, cap, threshold)
            if row["verdict"] == "slower":
                again = _row(case, size, threads, sides, caches, cap, threshold)
                if again["verdict"] != "slower":
                    row = again
            report["results"].append(row)
            _show(row)
            _write(out, report)
        _write(out, report)
    return report


def regressed(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows that are slower, gave another answer, or failed."""
    return [r for r in report["results"] if r["verdict"] not in ("same", "faster")]


def _process(side: Revision, caches: str, name: str, threads: int = 1) -> Process:
    # One numba cache for each revision: cached kernels do not notice edits elsewhere.
    variables = {"NUMBA_CACHE_DIR": str(Path(caches) / name)}
    return Process(side.python, root=side.root, threads=threads, variables=variables)


def _table(side: Revision, caches: str, name: str) -> dict[str, dict[str, Any]]:
    with _process(side, caches, name) as child:
        return {case["name"]: case for case in child.ask("cases")["cases"]}


def _differences(tables: dict[str, Any], pattern: str) -> dict[str, list[str]]:
    def sizes(name: str) -> dict[tuple[str, str], Any]:
        return {
            (case, size): kw
            for case, entry in tables[name].items()
            for size, kw in entry["sizes"].items()
            if size != "small" and pattern.lower() in case.lower()
        }

    ours, base = sizes(OURS), sizes(BASE)
    return {
        "new": [f"{c} ({s})" for c, s in ours if (c, s) not in base],
        "removed": [f"{c} ({s})" for c, s in base if (c, s) not in ours],
        "changed": [
            f"{c} ({s})" for c, s in ours if (c, s) in base and ours[c, s] != base[c, s]
        ],
    }


def _common(tables: dict[str, Any], pattern: str) -> list[tuple[str, str, int]]:
    cores = resolve_jobs(-1)
    listed = []
    for name, ours in tables[OURS].items():
        base = tables[BASE].get(name)
        if base is None or pattern.lower() not in name.lower():
            continue
        both = ours["threads"] == base["threads"] == "all" and cores > 1
        for size, arguments in ours["sizes"].items():
            if size != "small" and base["sizes"].get(size) == arguments:
                listed += [(name, size, t) for t in ((1, cores) if both else (1,))]
    return listed


def _row(
    case: Case,
    size: str,
    threads: int,
    sides: dict[str, Revision],
    caches: str,
    cap: float,
    threshold: float,
) -> dict[str, Any]:
    row: dict[str, Any] = {"case": case.name, "size": size, "threads": threads}
    try:
        with contextlib.ExitStack() as stack:
            candidates: dict[str, Candidate] = {}
            for name, side in sides.items():
                child = stack.enter_context(_process(side, caches, name, threads))
                candidates[name] = Remote(child, case=case.name, size=size)
            row |= timed(case, candidates, cap=cap, seconds=4.0, least=7)
        row["failed"] = {k: without_paths(v) for k, v in row["failed"].items()}
        row["verdict"] = "failed" if row["failed"] else verdict(row, threshold)
    except AssertionError as error:
        row |= {"verdict": "answer", "error": without_paths(str(error))}
    except PeerError as error:
        told = f"{type(error).__name__}: {error}"
        row |= {"verdict": "failed", "error": without_paths(told)}
    return row


def _show(row: dict[str, Any]) -> None:
    threads = f", {row['threads']} threads" if row["threads"] > 1 else ""
    title = f"{row['case']} ({row['size']}{threads})"
    word = _WORDS[row["verdict"]]
    if "error" in row or row.get("failed"):
        print(f"{title}: {word}, {row.get('error') or row['failed']}")
        return
    ratio = row["ratio_to_ours"][BASE]
    label = row["labels"].get(BASE, "")
    print(
        f"{title}: ours {row['seconds'][OURS]['median'] * 1e3:.3g} ms, base "
        f"{ratio['median']:.3f} x ours [{ratio['low']:.3f} to {ratio['high']:.3f}] "
        + " ".join(w for w in (label and f"({label})", word) if w)
    )


def _write(out: Path | None, report: dict[str, Any]) -> None:
    from engine.data.files import write_atomic

    if out is not None:
        write_atomic(out, json.dumps(report, indent=1) + "\n")
