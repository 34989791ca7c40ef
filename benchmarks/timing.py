"""Candidates of one comparison, timed in turns; medians and their exact intervals."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from benchmarks.case import Thunk
from benchmarks.process import PeerError, Process

BUILD_CAP = 600.0
"""Seconds for imports, inputs and compilation of a candidate elsewhere."""
READING = 1e-3
"""Seconds a reading lasts at least: the clock's own cost is then below 1e-4 of it."""


@runtime_checkable
class Candidate(Protocol):
    """What can be asked once for its answer and timed many times."""

    factor: float

    def answer(self, cap: float) -> tuple[np.ndarray, float]:
        """Call once; the answer and the seconds it took."""
        ...

    def run(self, repeats: int, cap: float) -> float:
        """Seconds of one call, the mean over ``repeats`` in a row."""
        ...


class Local:
    """A candidate in this process. It cannot be stopped, so ``cap`` is not used."""

    def __init__(self, thunk: Thunk) -> None:
        self.thunk = thunk
        self.factor = float(getattr(thunk, "factor", 1.0))

    def answer(self, cap: float) -> tuple[np.ndarray, float]:
        """Call once."""
        start = time.perf_counter()
        value = self.thunk()
        seconds = time.perf_counter() - start
        # A copy: a candidate may write each answer into the same array.
        return np.array(value, dtype=np.float64), seconds

    def run(self, repeats: int, cap: float) -> float:
        """Time some calls in a row."""
        thunk = self.thunk
        start = time.perf_counter()
        for _ in range(repeats):
            thunk()
        return (time.perf_counter() - start) / repeats


class Remote:
    """A candidate in another process, timed there.

    ``build`` are the fields of that request (see `benchmarks.worker`).
    """

    def __init__(self, process: Process, **build: Any) -> None:
        self.process = process
        made = process.ask("build", timeout=BUILD_CAP, **build)
        self.factor = float(made["factor"])

    def answer(self, cap: float) -> tuple[np.ndarray, float]:
        """Call once."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "answer.npz"
            reply = self.process.ask("answer", timeout=cap, path=str(path))
            with np.load(path, allow_pickle=False) as stored:
                return stored["answer"], float(reply["seconds"])

    def run(self, repeats: int, cap: float) -> float:
        """Time some calls in a row."""
        timeout = cap * max(repeats, 1)
        return float(
            self.process.ask("run", timeout=timeout, repeats=repeats)["seconds"]
        )


def as_candidate(made: Candidate | Thunk) -> Candidate:
    """Plain functions are candidates of this process."""
    return made if isinstance(made, Candidate) else Local(made)


def interleaved(
    candidates: Mapping[str, Candidate | Thunk],
    *,
    seconds: float = 2.0,
    least: int = 3,
    most: int = 25,
    cap: float = 120.0,
) -> dict[str, list[float]]:
    """Seconds of each candidate in every round, after an unrecorded call or two each.

    A round calls every candidate, in the order given, then in the opposite order in the
    next: what drifts evenly (clock speed, a neighbour) then weighs on all alike. Fast
    candidates are repeated within a turn so that a reading lasts `READING`.

    Parameters
    ----------
    candidates : mapping name -> candidate or function
    seconds : float
        Time to spend, about.
    least, most : int
        Rounds; at least 7 where a round takes less than ``seconds``.
    cap : float
        Seconds that one call in another process may take.

    Raises
    ------
    PeerError
        A candidate failed; its name is in the attribute ``candidate``.
    """
    turns = {name: as_candidate(made) for name, made in candidates.items()}
    repeats, total = {}, 0.0
    for name, candidate in turns.items():
        once = _named(name, candidate, 1, cap)
        if once < 1.0:  # the first may have paid for more than itself
            once = _named(name, candidate, 1, cap)
        repeats[name] = max(1, math.ceil(READING / max(once, 1e-8)))
        total += max(once, READING)
    least = max(least, 7) if total <= seconds else least
    rounds = int(np.clip(seconds / total, least, most))
    times: dict[str, list[float]] = {name: [] for name in turns}
    order = list(turns)
    for _ in range(rounds):
        for name in order:
            times[name].append(_named(name, turns[name], repeats[name], cap))
        order.reverse()
    return times


def _named(name: str, candidate: Candidate, repeats: int, cap: float) -> float:
    try:
        return candidate.run(repeats, cap)
    except PeerError as error:
        error.candidate = name
        raise


def median_interval(
    values: Sequence[float] | np.ndarray, level: float = 0.95
) -> tuple[float, float, float]:
    """Interval for a median from order statistics: low, high, and its coverage.

    ``[x_(k), x_(n+1-k)]`` covers the median with probability ``1 - 2 P(B < k)``, B
    binomial (n, 1/2), whatever the law of independent readings (Thompson 1936, "On
    confidence ranges for the median"). The narrowest one that keeps ``level`` is
    returned; below six readings none does, and the whole range comes with the coverage
    it has.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = len(x)
    k, outside = 1, 2.0 * 0.5**n
    while k < n // 2:
        wider = outside + 2.0 * math.comb(n, k) * 0.5**n
        if wider > 1.0 - level:
            break
        k, outside = k + 1, wider
    return float(x[k - 1]), float(x[n - k]), 1.0 - min(outside, 1.0)


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median, quartiles and the exact interval of the median."""
    x = np.asarray(values, dtype=np.float64)
    low, high, coverage = median_interval(x)
    lower, middle, upper = np.quantile(x, [0.25, 0.5, 0.75])
    return {
        "median": float(middle),
        "q25": float(lower),
        "q75": float(upper),
        "low": low,
        "high": high,
        "coverage": coverage,
    }
