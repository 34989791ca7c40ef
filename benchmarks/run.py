"""Correctness first, then interleaved timing; ratios, losses included."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.case import Case
from benchmarks.cases import CASES
from benchmarks.machine import machine, without_paths
from benchmarks.measure import CAP, OURS, SLOW, compare_answers, measure
from engine.parallel import resolve_jobs

__all__ = ["CAP", "SLOW", "compare_answers", "failed", "measure", "run", "show"]

COLD_START = "cold start"


def run(
    pattern: str = "",
    out: Path | None = None,
    cases: Sequence[Case] = CASES,
    *,
    cold_start: Callable[[], dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Measure all cases whose name contains ``pattern``; print ratios, write JSON.

    Parameters
    ----------
    pattern : str
        Upper and lower case are the same.
    out : path, optional
        Written after every row. Rows already there for this commit and machine are
        kept and not measured again, unless they failed or files have changed since
        the commit.
    cases : sequence of Case
    cold_start : callable, optional
        Gives the section ``cold_start``, measured where the pattern is part of "cold
        start".

    Returns
    -------
    list of dict
        All rows, earlier ones included. A case that failed has a row with ``error``;
        it stops nothing.
    """
    header = machine()
    content: dict[str, Any] = {"machine": header, "results": []}
    if out is not None and out.exists():
        earlier = json.loads(out.read_text())
        if earlier["machine"] == header and not header["uncommitted_changes"]:
            content = earlier
    rows = content["results"] = [r for r in content["results"] if not failed(r)]
    done = {(r["case"], r["size"], r["columns"]) for r in rows}
    for case, size, threads in _wanted(pattern, cases):
        if (case.name, size, str(threads)) in done:
            continue
        row: dict[str, Any] = {"case": case.name, "size": size}
        try:
            row = measure(case, size, threads=threads)
            row["failed"] = {k: without_paths(v) for k, v in row["failed"].items()}
        except Exception as error:  # the other rows must not be lost with it
            row["error"] = without_paths(f"{type(error).__name__}: {error}")
        row["columns"] = str(threads)
        rows.append(row)
        show(row)
        _write(out, content)
    if cold_start is not None and pattern.lower() in COLD_START:
        if "cold_start" not in content:
            content["cold_start"] = cold_start()
        for step, seconds in content["cold_start"]["seconds"].items():
            print(f"{step}: " + ", ".join(f"{k} {v:.3g} s" for k, v in seconds.items()))
        _write(out, content)
    return rows


def _wanted(
    pattern: str, cases: Sequence[Case]
) -> list[tuple[Case, str, Literal[1, "all"]]]:
    cores = resolve_jobs(-1)
    return [
        (case, size, threads)
        for case in cases
        if pattern.lower() in case.name.lower()
        for size in case.sizes
        if size != "small"
        for threads in ((1, "all") if case.threads == "all" and cores > 1 else (1,))
    ]


def _write(out: Path | None, content: dict[str, Any]) -> None:
    from engine.data.files import write_atomic

    if out is not None:
        write_atomic(out, json.dumps(content, indent=1) + "\n")


def failed(row: dict[str, Any]) -> bool:
    """Whether a case or one of its peers went wrong (one left out did not)."""
    return "error" in row or bool(row["failed"])


def show(row: dict[str, Any]) -> None:
    """Print one result: ours in milliseconds, the others as multiples of ours."""
    title = f"{row['case']} ({row['size']})"
    if "error" in row:
        print(f"{title}: FAILED, {row['error']}")
        return
    if row["threads"] > 1:
        title += f", {row['threads']} threads"
    ours = row["seconds"][OURS]
    print(
        f"{title}: ours {ours['median'] * 1e3:.3g} ms "
        f"[{ours['q25'] * 1e3:.3g} to {ours['q75'] * 1e3:.3g}]"
    )
    for name, ratio in row["ratio_to_ours"].items():
        label = row["labels"].get(name, "")
        print(
            f"    {name}: {'over ' if 'stopped' in label else ''}"
            f"{ratio['median']:.2f} x ours [{ratio['low']:.2f} to {ratio['high']:.2f}]"
            + (f" ({label})" if label else "")
        )
    for name, reason in row["left_out"].items():
        print(f"    {name}: left out, {reason}")
    for name, reason in row["failed"].items():
        print(f"    {name}: FAILED, {reason}")
