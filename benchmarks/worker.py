"""The child's side of a candidate in another process: build, answer, run.

One JSON object a line on standard input, one back for each; arrays travel as ``.npz``
files, nothing is pickled. The time is taken here, so the pipe costs nothing. The file
stands alone (standard library and NumPy; threadpoolctl where there is one): it also
runs in environments without Ballast, and inside revisions that are older than itself.

Requests
--------
cases
    ``{}`` -> ``cases``: name, sizes, tolerance, threads of the revision in ``root``.
build
    ``target`` ("module:function", called with ``arguments``), or ``case``, ``size`` and
    ``candidate`` of the table; ``inputs`` (optional ``.npz``, more arguments).
answer
    ``path`` -> calls once, writes the array ``answer`` there; ``seconds``.
run
    ``repeats`` -> ``seconds`` of one call, the mean over the repeats.

A failed request answers ``error`` (one line) and ``trace``. End of input ends the
process.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import time
import traceback


class Worker:
    """What one child holds: the candidate built last, and its thread limit."""

    def __init__(self, root: str, threads: int) -> None:
        self.root = os.path.realpath(root)
        self.threads = threads
        self.thunk = None

    def limit(self) -> int:
        """Hold every pool loaded by now to our number; return the largest found."""
        try:
            import threadpoolctl
        except ImportError:  # then the environment variables alone hold them
            return self.threads
        threadpoolctl.threadpool_limits(limits=self.threads)
        pools = threadpoolctl.threadpool_info()
        return max((p["num_threads"] for p in pools), default=1)

    def table(self) -> dict:
        """Cases of this revision by name, wherever it defines what a case is."""
        module = importlib.import_module("benchmarks.cases")
        for name in ("benchmarks.cases", "engine"):
            found = sys.modules.get(name)
            path = os.path.realpath(getattr(found, "__file__", None) or self.root)
            if os.path.commonpath([self.root, path]) != self.root:
                raise ImportError(
                    f"{name} was not imported from the revision asked for"
                )
        return {case.name: case for case in module.CASES}

    def cases(self) -> dict:
        """List the table."""
        described = [
            {
                "name": case.name,
                "sizes": {label: dict(kw) for label, kw in case.sizes.items()},
                "tolerance": case.tolerance,
                "threads": getattr(case, "threads", 1),
            }
            for case in self.table().values()
        ]
        return {"cases": described}

    def build(
        self,
        *,
        target: str = "",
        arguments: dict | None = None,
        inputs: str = "",
        case: str = "",
        size: str = "",
        candidate: str = "ours",
    ) -> dict:
        """Make a candidate; importing what it needs is not timed."""
        if target:
            module, function = target.split(":")
            arguments = dict(arguments or {})
            if inputs:
                import numpy as np

                with np.load(inputs, allow_pickle=False) as arrays:
                    arguments.update(arrays)
            made = getattr(importlib.import_module(module), function)(**arguments)
        else:
            found = self.table()[case]
            arguments = dict(found.sizes[size])
            if "n_jobs" in inspect.signature(found.build).parameters:
                arguments["n_jobs"] = self.threads
            made = found.build(**arguments)[candidate]
        self.thunk = made
        return {"factor": getattr(made, "factor", 1.0), "pools": self.limit()}

    def answer(self, *, path: str) -> dict:
        """Call once and write what comes."""
        import numpy as np

        start = time.perf_counter()
        value = self.thunk()  # type: ignore[misc]
        seconds = time.perf_counter() - start
        np.savez(path, answer=np.asarray(value, dtype=np.float64))
        return {"seconds": seconds, "pools": self.limit()}

    def run(self, *, repeats: int) -> dict:
        """Time some calls in a row."""
        thunk = self.thunk
        start = time.perf_counter()
        for _ in range(repeats):
            thunk()  # type: ignore[misc]
        return {"seconds": (time.perf_counter() - start) / repeats}


def serve(root: str, threads: int) -> None:
    """Answer requests until the input ends."""
    # What a library prints must not reach the pipe that carries the replies.
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    worker = Worker(root, threads)
    actions = {
        "cases": worker.cases,
        "build": worker.build,
        "answer": worker.answer,
        "run": worker.run,
    }
    for line in requests:
        request = json.loads(line)
        try:
            reply = actions[request.pop("do")](**request)
        except Exception as error:
            last = "".join(traceback.format_exception_only(error)).strip()
            reply = {"error": last.splitlines()[-1], "trace": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
