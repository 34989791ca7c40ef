"""When to decide: the first session of each period, which only the past can tell.

That a date is the *last* session of a month is known for certain only when the next
month has begun, and a panel that ends in mid-month would call its last row the end of
the month. That a date is the *first* session of its period follows from the session
before it. All named schedules are therefore "first session of the period", and cutting
or corrupting the future never moves a decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from engine.data.panel import parse_time
from engine.errors import DataError, UsageError, did_you_mean

SCHEDULES = ("once", "daily", "weekly", "monthly", "quarterly", "yearly")
"""Named schedules; ``"once"`` decides on the first date of a backtest only."""

_MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday


def period_number(dates: np.ndarray, schedule: str) -> np.ndarray:
    """(T,) int64 number of the period each date lies in; weeks begin on Monday."""
    days = dates.astype("datetime64[D]").astype(np.int64)
    months = dates.astype("datetime64[M]").astype(np.int64)
    if schedule == "once":
        return np.zeros(days.size, dtype=np.int64)
    if schedule == "daily":
        return days
    if schedule == "weekly":
        return (days + _MONDAY_OFFSET) // 7
    if schedule == "monthly":
        return months
    if schedule == "quarterly":
        return months // 3
    if schedule == "yearly":
        return months // 12
    raise UsageError(
        "unknown schedule",
        received=repr(schedule),
        expected=f"{', '.join(SCHEDULES)}, or a list of dates",
        fix=did_you_mean(schedule, SCHEDULES),
    )


def is_decision(sessions: np.ndarray, schedule: str | Iterable[Any]) -> np.ndarray:
    """Which sessions a schedule decides on.

    Parameters
    ----------
    sessions : (T,) datetime64[D]
        Strictly increasing session dates.
    schedule : str or list of dates
        A name of `SCHEDULES`: the first session of each period. Whether the very
        first session opens its period cannot be known, so it never counts by itself;
        `backtests.backtest` decides on its first date in any case. A list names the
        sessions themselves.

    Returns
    -------
    (T,) bool
        Entry t depends on ``sessions[:t + 1]`` only.

    Raises
    ------
    DataError
        A listed date that is not a session.
    UsageError
        An unknown name.

    Examples
    --------
    >>> import numpy as np
    >>> days = np.array(["2024-01-30", "2024-02-01", "2024-02-02"], "datetime64[D]")
    >>> is_decision(days, "monthly").tolist()
    [False, True, False]
    """
    chosen = np.zeros(sessions.size, dtype=bool)
    if isinstance(schedule, str):
        chosen[1:] = np.diff(period_number(sessions, schedule)) != 0
        return chosen
    if not isinstance(schedule, Iterable):
        raise UsageError(
            "unknown schedule",
            received=repr(schedule),
            expected=f"{', '.join(SCHEDULES)}, or a list of dates",
        )
    for item in schedule:
        day = parse_time(item)[0].astype("datetime64[D]")
        at = int(np.searchsorted(sessions, day))
        if at == sessions.size or sessions[at] != day:
            near = sessions[max(0, at - 1) : at + 1]
            raise DataError(
                "a scheduled date is not a session",
                date=day,
                expected=f"a session, such as {' or '.join(map(str, near))}",
                fix="List session dates between start and end.",
            )
        chosen[at] = True
    return chosen
