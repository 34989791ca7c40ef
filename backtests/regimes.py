"""What protection cost and what it paid, window by window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from backtests.result import BacktestResult
from engine.errors import DataError, UsageError

CALM = "other days"
RALLY = ("rally 2023-2024", "2023-01-01", "2024-07-10")
"""From the first session of 2023 to the high before the July 2024 turn."""


class Window(NamedTuple):
    """A dated stretch; its kind is ``ai``, ``market``, ``rally`` or ``given``."""

    name: str
    kind: str
    start: np.datetime64
    end: np.datetime64


def default_windows() -> tuple[Window, ...]:
    """Dated AI and market episodes of `engine.shocks.library`, and the rally."""
    from engine.shocks import library

    windows = [
        Window(e.name, e.kind, e.start, e.end)
        for e in library().values()
        if e.kind in ("ai", "market")
    ]
    name, start, end = RALLY
    windows.append(
        Window(name, "rally", np.datetime64(start, "D"), np.datetime64(end, "D"))
    )
    return tuple(windows)


def regime_scores(
    result: BacktestResult,
    reference: BacktestResult | None = None,
    *,
    windows: Mapping[str, tuple[Any, Any]] | tuple[Window, ...] | None = None,
):
    """Returns of a backtest inside dated windows, beside a reference's.

    Parameters
    ----------
    result, reference : BacktestResult
        Of the same dates; the reference is what would have been held otherwise.
    windows : mapping name -> (first day, last day), optional
        `default_windows` otherwise. Windows may overlap; each is measured by itself
        from the close before its first day. Windows outside the dates are left out.

    Returns
    -------
    DataFrame
        One row per window, then one of all days that lie in none: kind, start, end,
        sessions, return, worst fall inside, turnover, costs; with a reference its
        return and the difference (positive: protection paid; negative: it cost).
    """
    import pandas as pd

    dates = result.dates
    if reference is not None and not np.array_equal(dates, reference.dates):
        raise DataError(
            "the reference is not of the same dates",
            received=f"{reference.dates[0]} to {reference.dates[-1]}",
            expected=f"{dates[0]} to {dates[-1]}",
        )
    chosen = _windows(windows)
    free = np.ones(dates.size, dtype=bool)
    free[0] = False  # no return ends on the first date
    rows = []
    for window in chosen:
        inside = (dates >= window.start) & (dates <= window.end)
        inside[0] = False
        if not inside.any():
            continue
        free &= ~inside
        rows.append(_row(window.name, window.kind, inside, result, reference))
    if free.any():
        rows.append(_row(CALM, "calm", free, result, reference))
    return pd.DataFrame(rows).set_index("window")


def _windows(given: Any) -> tuple[Window, ...]:
    if given is None:
        return default_windows()
    if not isinstance(given, Mapping):
        return tuple(given)
    out = []
    for name, (start, end) in given.items():
        first, last = (np.datetime64(str(d)[:10], "D") for d in (start, end))
        if first > last:
            raise UsageError(
                f"window {name!r} ends before it starts", received=f"{first}, {last}"
            )
        out.append(Window(name, "given", first, last))
    return tuple(out)


def _row(
    name: str,
    kind: str,
    inside: np.ndarray,
    result: BacktestResult,
    reference: BacktestResult | None,
) -> dict[str, Any]:
    at = np.flatnonzero(inside)
    row: dict[str, Any] = {
        "window": name,
        "kind": kind,
        "start": result.dates[at[0]],
        "end": result.dates[at[-1]],
        "sessions": at.size,
        "return": _compounded(result, at),
        "worst_fall": _worst_fall(result, at),
        "turnover": float(result.turnover[at].sum()),
        "costs": float(result.costs[at].sum() + result.taxes[at].sum()),
    }
    if reference is not None:
        row["reference_return"] = _compounded(reference, at)
        row["difference"] = row["return"] - row["reference_return"]
    return row


def _compounded(result: BacktestResult, at: np.ndarray) -> float:
    return float(np.prod(1.0 + result.returns()[at - 1]) - 1.0)


def _worst_fall(result: BacktestResult, at: np.ndarray) -> float:
    path = np.concatenate([[1.0], np.cumprod(1.0 + result.returns()[at - 1])])
    return float((1.0 - path / np.maximum.accumulate(path)).max())
