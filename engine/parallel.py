"""The one map, thread limits in one place, and the counter-based random blocks.

Random numbers are addressed, not consumed: draw ``i`` of block ``b`` in stream ``s``
under seed ``k`` is a fixed function of ``(k, b, s, i)``, namely the Threefry-2x64
cipher (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3")
with key ``(k, s)`` and counter ``(i, b)``. Whoever computes a block, in whatever order
and in whatever process, computes the same bits. The definition is final: a later
version may compute it faster, never differently.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from engine.errors import UsageError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")
Executor = Literal["serial", "threads", "processes", "ray"]
EXECUTORS: tuple[Executor, ...] = ("serial", "threads", "processes", "ray")
REMOTE: tuple[Executor, ...] = ("processes", "ray")
"""Executors whose workers share no memory with the caller."""

BLOCK_SIZE = 1024
"""Scenarios in a block. Fixed: results must not depend on how work is divided."""

STREAMS = {"normal": 0, "chi2": 1, "uniform": 2, "severity": 3, "bootstrap": 4}
"""Stream numbers by use, so that no two uses ever share draws."""


def resolve_jobs(n_jobs: int) -> int:
    """Return the number of workers: -1 means one per available core."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)):
        raise UsageError("n_jobs must be a whole number", received=repr(n_jobs))
    if n_jobs == -1:
        return max(1, len(os.sched_getaffinity(0)))
    if n_jobs < 1:
        raise UsageError(
            "n_jobs must be positive, or -1 for all cores", received=n_jobs
        )
    return int(n_jobs)


@contextlib.contextmanager
def thread_limits(blas_threads: int = 1) -> Iterator[None]:
    """Hold every BLAS and OpenMP pool to ``blas_threads`` inside the context.

    BLAS results differ in the last bits between thread counts, so all work that
    feeds seeded output runs under a fixed count (one).
    """
    with _pools().limit(limits=blas_threads):
        yield


_found: tuple[int, Any] = (0, None)


def _pools() -> Any:
    """Return the thread pools of this process: looked for again after any import.

    Searching the loaded libraries takes milliseconds, setting a pool microseconds; a
    library brings its pool when a module that needs it is imported.
    """
    global _found
    modules = len(sys.modules)
    if _found[0] != modules:
        import threadpoolctl

        _found = (len(sys.modules), threadpoolctl.ThreadpoolController())
    return _found[1]


def _limited(function: Callable[[Item], Result], item: Item) -> Result:
    with thread_limits(1):
        return function(item)


def map_ordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    executor: Executor = "serial",
    n_jobs: int = 1,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in the order of the items.

    Parameters
    ----------
    function : callable
        Must be importable by name under ``"processes"`` and ``"ray"``.
    items : iterable
        Work items; sent to workers by pickle under ``"processes"`` and ``"ray"``.
    executor : {"serial", "threads", "processes", "ray"}
        Threads suit kernels that release the interpreter lock; processes suit
        everything else. Ray (an extra) takes the cluster of ``RAY_ADDRESS``, or
        starts one on this machine with ``n_jobs`` processors and stops it at the end;
        what ``function`` carries is put into its object store once, so that large
        constants belong there and not into the items. All four give the same results,
        bit for bit: BLAS runs with one thread in each.
    n_jobs : int
        Workers, and under ``"ray"`` tasks under way at a time; -1 for one per core,
        of the cluster where there is one.

    Returns
    -------
    iterator
        Results, as they become available in order.

    Notes
    -----
    An exception in a worker is raised here with its own type; a worker that dies
    raises `WorkerError`. Closing the iterator
    early (Ctrl-C included) cancels what has not started. Arguments are checked at the
    call, not at the first result. Serially, the caller's own code between two results
    keeps its threads; with threads, the limit lasts until the iterator ends, because
    workers run meanwhile.
    """
    if executor not in EXECUTORS:
        raise UsageError(
            "unknown executor",
            received=repr(executor),
            expected="serial, threads, processes or ray",
        )
    if executor == "ray":
        from engine._ray import load_ray, ray_map

        jobs = resolve_jobs(n_jobs)
        load_ray()
        return ray_map(function, items, int(n_jobs), jobs)
    return _map(function, items, executor, resolve_jobs(n_jobs))


def _map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Executor,
    jobs: int,
) -> Iterator[Result]:
    if executor == "serial" or jobs == 1:
        for item in items:
            with _pools().limit(limits=1):
                result = function(item)
            yield result
        return
    import joblib

    outcome: Any
    if executor == "threads":
        with thread_limits(1):
            outcome = joblib.Parallel(
                n_jobs=jobs, backend="threading", return_as="generator"
            )(joblib.delayed(function)(item) for item in items)
            yield from outcome
        return
    from joblib.externals.loky.process_executor import BrokenProcessPool

    try:
        outcome = joblib.Parallel(n_jobs=jobs, backend="loky", return_as="generator")(
            joblib.delayed(_limited)(function, item) for item in items
        )
        yield from outcome
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process died",
            received=str(error).strip()[:300],
            fix="Was it out of memory? Fewer n_jobs need less.",
        ) from error


@dataclass(frozen=True, slots=True)
class BlockStream:
    """Addressable random numbers for one seed and one use.

    Parameters
    ----------
    seed : int
        0 to 2**64 - 1.
    stream : str or int
        A name of `STREAMS`, or a number of the caller's own (64 and above).
    """

    seed: int
    stream: str | int = "normal"

    def __post_init__(self) -> None:
        if not isinstance(self.seed, (int, np.integer)) or isinstance(self.seed, bool):
            raise UsageError("seed must be an integer", received=repr(self.seed))
        if not 0 <= int(self.seed) < 2**64:
            raise UsageError("seed must lie in [0, 2**64)", received=self.seed)
        if isinstance(self.stream, str) and self.stream not in STREAMS:
            raise UsageError(
                "unknown random stream",
                received=repr(self.stream),
                expected=", ".join(STREAMS),
            )
        if not isinstance(self.stream, str) and (
            isinstance(self.stream, bool)
            or not isinstance(self.stream, (int, np.integer))
            or not 64 <= int(self.stream) < 2**64
        ):
            # Lower numbers are, or may become, named uses of our own.
            raise UsageError(
                "a stream number of the caller's own lies in [64, 2**64)",
                received=repr(self.stream),
            )

    @property
    def key(self) -> tuple[np.uint64, np.uint64]:
        """The cipher key ``(seed, stream)``."""
        number = STREAMS[self.stream] if isinstance(self.stream, str) else self.stream
        return np.uint64(int(self.seed)), np.uint64(int(number))

    def normals(self, block: int, size: int) -> np.ndarray:
        """Standard normals of one block: (size,), independent of other blocks."""
        from engine.kernels.random import fill_normals

        out = np.empty(size)
        fill_normals(*self.key, np.uint64(block), out)
        return out

    def uniforms(self, block: int, size: int) -> np.ndarray:
        """Uniforms in the open interval (0, 1) of one block: (size,)."""
        from engine.kernels.random import fill_uniforms

        out = np.empty(size)
        fill_uniforms(*self.key, np.uint64(block), out)
        return out

    def chi_squares(self, block: int, size: int, dof: float) -> np.ndarray:
        """Chi-square draws with ``dof`` > 2 degrees of one block: (size,)."""
        from engine.kernels.random import fill_chi_squares

        if not 2.0 < dof < np.inf:
            raise UsageError(
                "degrees of freedom must exceed 2 and be finite", received=dof
            )
        out = np.empty(size)
        fill_chi_squares(*self.key, np.uint64(block), float(dof), out)
        return out


def blocks(n: int, size: int = BLOCK_SIZE) -> list[tuple[int, int, int]]:
    """Divide ``n`` rows into fixed blocks: list of ``(block, start, stop)``."""
    return [(b, s, min(s + size, n)) for b, s in enumerate(range(0, n, size))]
