"""The one map on Ray: tasks on this machine, or on the cluster of ``RAY_ADDRESS``.

Ray is an extra (``pip install 'ballast-risk[ray]'``) and is imported when it is used.
The function goes to the object store once, with whatever it carries (a panel, a
covariance), and is unpacked once in each worker; a task is its item alone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from engine.errors import UsageError, WorkerError

_AHEAD = 8
"""Results that may wait for an earlier one, per worker: bounds what is kept."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a local run tells nobody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_END = object()

_unpacked: tuple[str, Any] = ("", None)


def load_ray() -> Any:
    """Return the module ``ray``; `UsageError` naming the extra where it is absent."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            "executor='ray' needs Ray, which is not installed",
            expected="the extra ray",
            fix="pip install 'ballast-risk[ray]', or choose serial, threads or "
            "processes.",
        ) from error
    return ray


def _function(name: str, reference: Any, fetch: Callable[[Any], Any]) -> Any:
    """What a reference holds, unpacked once in this process."""
    global _unpacked
    if _unpacked[0] != name:
        _unpacked = (name, fetch(reference))
    return _unpacked[1]


def _run(name: str, shared: list[Any], item: Any) -> tuple[bool, Any, str]:
    """Result of one item, or its exception; runs in a worker.

    The exception travels as a value: raised there, Ray would wrap it in a class made
    on the fly, which loses the fields of ours.
    """
    from engine.parallel import thread_limits

    try:
        function = _function(name, shared[0], load_ray().get)
        with thread_limits(1):
            return True, function(item), ""
    except Exception as error:
        text = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = WorkerError(
                f"a task failed with {type(error).__name__}, which cannot be sent back",
                received=str(error)[:500],
            )
        return False, error, text


@contextlib.contextmanager
def _cluster(ray: Any, jobs: int) -> Iterator[None]:
    """A Ray that runs: the caller's, that of ``RAY_ADDRESS``, or one of our own."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "").strip()
    common: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address:
        options = {"address": address, **common}
    else:
        options = {
            "address": "local",
            "num_cpus": jobs,
            "include_dashboard": False,
            **common,
        }
    # Ray takes SIGTERM for itself and hands its workers the environment, but not the
    # module path: a worker here must find what the caller finds. All is given back.
    changes = {name: os.environ.get(name, value) for name, value in _QUIET.items()}
    if not address:
        changes["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    before = {name: os.environ.get(name) for name in changes}
    try:
        os.environ.update(changes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ray.init(**options)
            except Exception as error:
                place = address or "a cluster on this machine"
                raise WorkerError(
                    "cannot reach Ray" if address else "cannot start Ray",
                    received=f"{place}: {str(error).strip()[:300]}",
                    fix="Check RAY_ADDRESS, or unset it to start one on this machine."
                    if address
                    else "Use executor='processes'.",
                ) from error
        yield
    finally:
        with warnings.catch_warnings():
            # Ray leaves its own pipes to the garbage collector.
            warnings.simplefilter("ignore")
            ray.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _workers(ray: Any, n_jobs: int, jobs: int) -> int:
    """Tasks under way at a time: of a cluster, -1 means all of its processors."""
    if n_jobs != -1:
        return jobs
    return max(1, int(ray.cluster_resources().get("CPU", jobs)))


def ray_map(
    function: Callable[[Any], Any], items: Iterable[Any], n_jobs: int, jobs: int
) -> Iterator[Any]:
    """Yield ``function(item)`` in the order of the items; see `engine.parallel`.

    Parameters
    ----------
    function, items
        Sent by cloudpickle.
    n_jobs, jobs : int
        As asked for, and as resolved on this machine.
    """
    ray = load_ray()
    with _cluster(ray, jobs):
        yield from _tasks(ray, function, items, _workers(ray, n_jobs, jobs))


def _tasks(
    ray: Any, function: Callable[[Any], Any], items: Iterable[Any], workers: int
) -> Iterator[Any]:
    shared = ray.put(function)
    name = shared.hex()
    task = ray.remote(num_cpus=1, max_retries=1)(_run)
    todo = iter(items)
    ordered: deque[Any] = deque()
    running: list[Any] = []
    more = True
    try:
        while True:
            while more and len(running) < workers and len(ordered) < _AHEAD * workers:
                item = next(todo, _END)
                more = item is not _END
                if more:
                    # In a list, the reference is passed on and not unpacked per task.
                    ordered.append(task.remote(name, [shared], item))
                    running.append(ordered[-1])
            if not ordered:
                return
            if ordered[0] in running:
                _, running = ray.wait(running, num_returns=1)
                continue
            yield _result(ray, ordered.popleft())
            if running:
                _, running = ray.wait(running, num_returns=len(running), timeout=0)
    finally:
        for reference in running:
            # Not forced: that would kill a worker in the middle of a write.
            with contextlib.suppress(Exception):
                ray.cancel(reference, force=False)


def _result(ray: Any, reference: Any) -> Any:
    try:
        fine, value, text = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise WorkerError(
            "a Ray worker died or lost its task",
            received=f"{type(error).__name__}: {str(error).strip()[:300]}",
            fix="Was it out of memory? Fewer n_jobs need less.",
        ) from error
    if fine:
        return value
    value.add_note(f"In a Ray worker:\n{text}")
    raise value
