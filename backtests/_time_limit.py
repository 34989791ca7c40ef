"""A time limit on one call of a strategy, by the clock of the operating system.

The call runs in the caller's own thread and is interrupted there, so nothing goes on
beside the run afterwards. A call stuck inside compiled code is interrupted when that
code returns.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from engine.errors import SolverError, UsageError

_AGAIN = 0.25
"""Seconds to the next interruption, should the strategy swallow one."""


class _OutOfTime(BaseException):
    """Not an Exception, so that ``except Exception`` in a strategy lets it pass."""


def check_time_limit(seconds: float | None, executor: str = "serial") -> None:
    """Refuse a limit that could not be kept.

    Raises
    ------
    UsageError
        Not positive; or asked for where it cannot interrupt: in threads, or on a
        system without interval timers.
    """
    if seconds is None:
        return
    if isinstance(seconds, bool) or not (np.isfinite(seconds) and seconds > 0):
        raise UsageError("time_limit is in seconds, and positive", received=seconds)
    if not hasattr(signal, "setitimer"):
        raise UsageError("this system cannot interrupt a decision: leave time_limit")
    main = threading.current_thread() is threading.main_thread()
    if executor == "threads" or not main:
        raise UsageError(
            "a time limit needs the main thread of a process",
            received="threads",
            fix="Use executor='serial' or 'processes'.",
        )


@contextlib.contextmanager
def time_allowed(seconds: float | None, what: str) -> Iterator[None]:
    """Interrupt the block after some seconds.

    Raises
    ------
    SolverError
        The time is over; a declared fallback applies as it does to a failed solver.
    """
    if seconds is None:
        yield
        return
    check_time_limit(seconds)

    running = True

    def interrupt(number: int, frame: Any) -> None:
        if running:
            raise _OutOfTime

    before = signal.signal(signal.SIGALRM, interrupt)
    late = SolverError(
        f"{what} did not return within its time limit",
        received=f"more than {seconds:g} seconds",
        fix="Raise time_limit, or give the strategy's solver a limit of its own.",
    )
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            yield
        finally:
            running = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
    except _OutOfTime:
        raise late from None
