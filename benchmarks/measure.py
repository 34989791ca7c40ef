"""One case at one size: the same answer first, then times in turns, paired ratios."""

from __future__ import annotations

import contextlib
import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.case import Case, Thunk, installed
from benchmarks.process import (
    PeerError,
    PeerMissingError,
    PeerTimeoutError,
    Process,
    interpreter,
)
from benchmarks.timing import (
    Candidate,
    Local,
    Remote,
    as_candidate,
    interleaved,
    spread,
)
from engine.parallel import resolve_jobs, thread_limits

OURS, LIMIT = "ours", "limit"
SLOW = 20.0
"""Seconds of a first call beyond which a candidate runs once."""
CAP = 120.0
"""Seconds after which a candidate in a process of its own is stopped."""


def disagreement(
    answer: np.ndarray, other: np.ndarray, tolerance: float, *, partial: bool = False
) -> str:
    """Say how an answer differs from ours; empty where it agrees (see `Case`)."""
    if partial:
        answer = answer[: len(other)]
    if other.shape != answer.shape:
        return f"has shape {other.shape}, ours {answer.shape}"
    if np.isnan(tolerance):
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.abs(np.log(other.std(axis=0) / answer.std(axis=0))).max()
        return "" if gap <= np.log(1.25) else "has another spread"
    gap = np.abs(other - answer).max() / max(np.abs(answer).max(), 1e-300)
    return "" if gap <= tolerance else f"differs by {gap:.2e}"


def compare_answers(
    case: Case, candidates: Mapping[str, Candidate | Thunk], cap: float = CAP
) -> tuple[dict[str, float], dict[str, str], dict[str, str]]:
    """Assert that every candidate gives our answer, within the case's tolerance.

    Returns
    -------
    tuple
        Seconds of each first call; why a candidate was stopped; how one failed. What
        was stopped or failed has no answer to compare.

    Raises
    ------
    AssertionError
        An answer differs, or ours is not finite.
    """
    ours = as_candidate(candidates[OURS])
    answer, seconds = ours.answer(cap)
    if not np.isfinite(answer).all():
        raise AssertionError(f"{case.name}: our answer is not finite")
    first, stopped, failed = {OURS: seconds}, {}, {}
    for name, made in candidates.items():
        candidate = as_candidate(made)
        if name == OURS:
            continue
        if name == LIMIT:
            first[name] = candidate.run(1, cap)
            continue
        try:
            other, first[name] = candidate.answer(cap)
        except PeerTimeoutError:
            stopped[name] = f"stopped after {cap:g} s"
            continue
        except Exception as error:  # a peer may raise anything
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        partial = candidate.factor != 1.0
        told = disagreement(answer, other, case.tolerance, partial=partial)
        if told:
            raise AssertionError(f"{case.name}: {name} {told}")
    return first, stopped, failed


def timed(
    case: Case,
    candidates: Mapping[str, Candidate],
    *,
    slow: float = SLOW,
    cap: float = CAP,
    **rounds: Any,
) -> dict[str, Any]:
    """Compare the answers, then time in turns what takes less than ``slow`` seconds.

    ``rounds`` are options of `interleaved`.

    Returns
    -------
    dict
        ``seconds`` and ``ratio_to_ours`` by candidate (medians with quartiles and the
        interval of the median; ratios are paired within rounds), ``rounds``, and
        ``labels`` (one run, stopped, extrapolated) and ``failed`` by candidate.
    """
    first, labels, failed = compare_answers(case, candidates, cap)
    stopped = set(labels)
    once = {name for name, seconds in first.items() if seconds > slow}
    if OURS in once:  # then nothing can be paired with it round by round
        once = set(first)
    labels |= {name: "one run, the first" for name in first if name in once}
    turns = {name: candidates[name] for name in first if name not in once}
    times: dict[str, list[float]] = {}
    while turns:
        try:
            times = interleaved(turns, cap=cap, **rounds)
            break
        except PeerError as error:
            if error.candidate == OURS:
                raise
            failed[error.candidate] = f"{type(error).__name__}: {error}"
            turns.pop(error.candidate)
            first.pop(error.candidate)
    times |= {name: [first[name]] for name in once}
    readings = {
        name: np.array(times[name]) * candidates[name].factor for name in first
    } | {name: np.array([cap]) for name in stopped}
    for name, candidate in candidates.items():
        if candidate.factor != 1.0 and name in readings:
            more = f"extrapolated x{candidate.factor:g}"
            labels[name] = f"{labels[name]}, {more}" if name in labels else more
    ours = readings[OURS]
    return {
        "rounds": len(ours),
        "seconds": {name: spread(x) for name, x in readings.items()},
        "ratio_to_ours": {
            name: spread(x / (ours if len(x) == len(ours) else np.median(ours)))
            for name, x in readings.items()
            if name != OURS
        },
        "labels": labels,
        "failed": failed,
    }


def measure(
    case: Case,
    size: str,
    *,
    threads: Literal[1, "all"] = 1,
    slow: float = SLOW,
    cap: float = CAP,
) -> dict[str, Any]:
    """Check, then time, one case at one size, under one thread setting for all.

    Returns
    -------
    dict
        What `timed` gives, with ``case``, ``size``, ``threads`` and ``left_out``: why a
        peer could not take part.

    Raises
    ------
    AssertionError
        A candidate gives another answer, or ours is not finite.
    """
    count = resolve_jobs(-1) if threads == "all" else 1
    with contextlib.ExitStack() as stack:
        stack.enter_context(thread_limits(count))
        candidates, left_out, failed = _assemble(case, size, count, stack)
        # Libraries that the candidates loaded brought pools of their own.
        stack.enter_context(thread_limits(count))
        row = timed(case, candidates, slow=slow, cap=cap)
    return {
        "case": case.name,
        "size": size,
        "threads": count,
        **row,
        "failed": failed | row["failed"],
        "left_out": left_out,
    }


def _assemble(
    case: Case, size: str, threads: int, stack: contextlib.ExitStack
) -> tuple[dict[str, Candidate], dict[str, str], dict[str, str]]:
    """Build candidates here and in processes of their own; why some are missing."""
    arguments = dict(case.sizes[size])
    if "n_jobs" in inspect.signature(case.build).parameters:
        arguments["n_jobs"] = threads
    built = case.build(**arguments)
    candidates: dict[str, Candidate] = {
        name: Local(thunk) for name, thunk in built.items() if name not in case.apart
    }
    left_out = {
        name: f"{module} is not installed"
        for name, module in case.optional.items()
        if not installed(module)
    }
    failed: dict[str, str] = {}
    # A candidate apart may exist at some sizes only.
    apart = [name for name in case.apart if name in built]
    for name in (*apart, *case.peers):
        peer = case.peers.get(name)
        request: dict[str, Any]
        if peer is None:
            request = {"case": case.name, "size": size, "candidate": name}
        elif peer.inputs is None:
            request = {"target": peer.target, "arguments": dict(case.sizes[size])}
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = Path(folder) / "inputs.npz"
            np.savez(path, **peer.inputs(**case.sizes[size]))  # type: ignore[arg-type]
            request = {"target": peer.target, "inputs": str(path)}
        try:
            python = interpreter(peer.environment if peer else "")
            process = stack.enter_context(Process(python, threads=threads))
            candidates[name] = Remote(process, **request)
        except PeerMissingError as error:
            left_out[name] = str(error)
        except PeerError as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return candidates, left_out, failed
