"""Correctness first, then interleaved timing; ratios, losses included."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk
from benchmarks.cases import CASES
from engine.parallel import thread_limits

LIMIT = "limit"


def compare_answers(case: Case, candidates: dict[str, Thunk]) -> None:
    """Assert that every candidate gives our answer, within the case's tolerance."""
    answer = np.asarray(candidates["ours"](), dtype=np.float64).copy()
    if not np.isfinite(answer).all():
        raise AssertionError(f"{case.name}: our answer is not finite")
    for name, thunk in candidates.items():
        if name in ("ours", LIMIT):
            continue
        other = np.asarray(thunk(), dtype=np.float64)
        if other.shape != answer.shape:
            raise AssertionError(f"{case.name}: {name} has shape {other.shape}")
        if np.isnan(case.tolerance):
            gap = np.abs(np.log(other.std(axis=0) / answer.std(axis=0))).max()
            if not gap <= np.log(1.25):
                raise AssertionError(f"{case.name}: {name} has another spread")
            continue
        gap = np.abs(other - answer).max() / max(np.abs(answer).max(), 1e-300)
        if not gap <= case.tolerance:
            raise AssertionError(f"{case.name}: {name} differs by {gap:.2e}")


def interleaved(
    candidates: dict[str, Thunk], *, seconds: float = 1.5, most: int = 15
) -> dict[str, list[float]]:
    """Seconds of each candidate, in turns, after one unrecorded call each.

    Fast candidates are repeated within a turn so that a reading lasts a millisecond.
    """
    repeats, slowest = {}, 0.0
    for name, thunk in candidates.items():
        thunk()
        start = time.perf_counter()
        thunk()
        once = time.perf_counter() - start
        repeats[name] = max(1, int(1e-3 / max(once, 1e-9)))
        slowest += once
    rounds = int(np.clip(seconds / max(slowest, 1e-6), 3, most))
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, thunk in candidates.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                thunk()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def measure(case: Case, size: str) -> dict[str, Any]:
    """Check, then time, one case at one size, every pool held to one thread."""
    with thread_limits(1):
        candidates = case.build(**case.sizes[size])
        compare_answers(case, candidates)
        times = interleaved(candidates)
    ours = np.array(times["ours"])
    return {
        "case": case.name,
        "size": size,
        "seconds": {
            k: {"median": float(np.median(v)), "min": min(v), "max": max(v)}
            for k, v in times.items()
        },
        "ratio_to_ours": {
            k: float(np.median(np.array(v) / ours))
            for k, v in times.items()
            if k != "ours"
        },
        "rounds": len(ours),
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import os
    from importlib.metadata import version

    packages = ("numpy", "scipy", "pandas", "numba", "cvxpy", "clarabel",
                "scikit-learn")  # fmt: skip
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [k for k in info.read_text().splitlines() if k.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "threads": "every BLAS and OpenMP pool held to one",
        "versions": {p: version(p) for p in packages},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
    }


def _git(*arguments: str) -> str:
    root = Path(__file__).parent.parent
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def run(
    pattern: str = "", out: Path | None = None, cases: Sequence[Case] = CASES
) -> list[dict[str, Any]]:
    """Measure all cases whose name contains ``pattern``; print ratios, write JSON.

    Cases already in ``out`` for this commit and machine are not measured again.
    """
    from engine.data.files import write_atomic

    header = machine()
    rows: list[dict[str, Any]] = []
    if out is not None and out.exists():
        earlier = json.loads(out.read_text())
        if earlier["machine"] == header and not header["uncommitted_changes"]:
            rows = earlier["results"]
    done = {(r["case"], r["size"]) for r in rows}
    for case in cases:
        if pattern.lower() not in case.name.lower():
            continue
        for size in case.sizes:
            if size == "small" or (case.name, size) in done:
                continue
            row = measure(case, size)
            rows.append(row)
            show(row)
            if out is not None:
                content = {"machine": header, "results": rows}
                write_atomic(out, json.dumps(content, indent=2))
    return rows


def show(row: dict[str, Any]) -> None:
    """Print one result: ours in milliseconds, the others as multiples of ours."""
    ours = row["seconds"]["ours"]
    print(
        f"{row['case']} ({row['size']}): ours {ours['median'] * 1e3:.3g} ms "
        f"[{ours['min'] * 1e3:.3g} to {ours['max'] * 1e3:.3g}]"
    )
    for name, ratio in row["ratio_to_ours"].items():
        print(f"    {name}: {ratio:.2f} x ours")
