"""The parent's side of a candidate in another process: start, ask, stop in time."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "worker.py"
ENVIRONMENTS = ROOT / "benchmarks" / "results" / ".environments"

POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class PeerError(RuntimeError):
    """The candidate raised; the message is its own."""

    candidate: str = ""


class PeerCrashError(PeerError):
    """The process ended before it answered."""


class PeerTimeoutError(PeerError):
    """No answer in the time allowed; the process was stopped."""


class PeerMissingError(PeerError):
    """The environment of the peer has not been built here."""


def interpreter(environment: str) -> str:
    """Return the Python of a peer's environment; ours for the empty name.

    Raises
    ------
    PeerMissingError
        ``make bench-peers`` has not built it.
    """
    if not environment:
        return sys.executable
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        raise PeerMissingError(
            f"environment {environment} is not built; run make bench-peers"
        )
    return str(python)


class Process:
    """A persistent child that answers requests (see `benchmarks.worker`).

    Parameters
    ----------
    python : str
        Interpreter.
    root : path
        Folder whose ``benchmarks`` and packages the child imports; this repository by
        default.
    threads : int
        Of every pool in the child: set in its environment before it loads a library,
        and through threadpoolctl afterwards.
    variables : mapping of str to str
        More environment variables.
    """

    def __init__(
        self,
        python: str = sys.executable,
        *,
        root: Path | None = None,
        threads: int = 1,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        root = ROOT if root is None else Path(root).resolve()
        environment = {
            **os.environ,
            **dict.fromkeys(POOLS, str(threads)),
            "PYTHONPATH": str(root),
            "PYTHONUNBUFFERED": "1",
            **(variables or {}),
        }
        self._errors = tempfile.TemporaryFile()
        # -P: the script's own folder is not a place to import from.
        self._child = subprocess.Popen(
            [python, "-P", str(SCRIPT), str(root), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=root,
            env=environment,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        self._pending = b""

    def ask(
        self, do: str, *, timeout: float | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Send one request and return its reply.

        Raises
        ------
        PeerError, PeerCrashError, PeerTimeoutError
            The candidate raised; the process ended; ``timeout`` seconds passed. After
            the last two the process is gone.
        """
        line = json.dumps({"do": do, **fields}).encode() + b"\n"
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._crash(do) from error
        reply = json.loads(self._line(do, timeout))
        if "error" in reply:
            failure = PeerError(reply["error"])
            failure.add_note(reply["trace"])
            raise failure
        return reply

    def _line(self, do: str, timeout: float | None) -> bytes:
        assert self._child.stdout is not None
        end = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0.0) or not selector.select(left):
                    self.close(patience=0.0)
                    raise PeerTimeoutError(f"{do}: no answer within {timeout:g} s")
                data = os.read(self._child.stdout.fileno(), 1 << 16)
                if not data:
                    raise self._crash(do)
                self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return line

    def _crash(self, do: str) -> PeerCrashError:
        self.close(patience=1.0)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        status = self._child.returncode
        return PeerCrashError(
            f"{do}: the process ended with status {status}"
            + (f": {said[-1]}" if said else "")
        )

    def close(self, *, patience: float = 5.0) -> None:
        """End the child: by closing its input, then by force."""
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._errors.close()
