"""What `stress_history` is asked: books by date, sessions, and no hindsight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from backtests.result import BacktestResult
from engine._stress import check_undated
from engine.data.panel import PricePanel, parse_time
from engine.data.portfolio import CASH_PREFIX, cash_label
from engine.errors import DataError, LookAheadError, UsageError
from engine.shocks._kinds_lazy import parts_of


def books(
    weights: Any, panel: PricePanel
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Labels, rows of weights and their dates (none for one book at every date)."""
    when = np.empty(0, dtype="datetime64[D]")
    if isinstance(weights, BacktestResult):
        labels = (*weights.labels, cash_label(weights.base_currency))
        rows, when = weights.weights(), weights.dates
    elif hasattr(weights, "columns"):
        labels = tuple(str(c) for c in weights.columns)
        try:
            rows = weights.to_numpy(np.float64)
            when = np.asarray(weights.index).astype("datetime64[D]")
        except (TypeError, ValueError) as error:
            raise DataError(
                "weights are no table of numbers by date", received=str(error)
            ) from error
        if not when.size or not (np.diff(when) > np.timedelta64(0, "D")).all():
            raise DataError(
                "dates of weights must increase", received=f"{when.size} rows"
            )
    elif isinstance(weights, Mapping):
        labels = tuple(str(k) for k in weights)
        try:
            rows = np.array([[float(v) for v in weights.values()]])
        except (TypeError, ValueError) as error:
            raise DataError("a weight is no number", received=str(error)) from error
    else:
        raise UsageError(
            "weights of a kind that is not known",
            received=type(weights).__name__,
            expected="a mapping, a DataFrame with a date index, or a BacktestResult",
        )
    for i, label in enumerate(labels):
        if labels.index(label) != i:
            raise DataError("two weights carry one label", asset=label)
        if not label.startswith(CASH_PREFIX) and label not in panel.universe:
            raise DataError("a weight names no asset of the panel", asset=label)
    for t, row in enumerate(rows):
        date = when[t] if when.size else None
        if not np.isfinite(row).all():
            bad = labels[int(np.argmin(np.isfinite(row)))]
            raise DataError("a weight is not finite", asset=bad, date=date)
        if abs(row.sum() - 1.0) > 1e-6:
            raise DataError(
                "weights do not sum to one",
                date=date,
                received=f"{row.sum():.6f}",
                expected="1, cash included",
            )
    return labels, rows, when


def sessions_of(
    panel: PricePanel, dates: Iterable[Any] | None, window: int, when: np.ndarray
) -> np.ndarray:
    """(D,) sessions asked for; by default those with a window and a book."""
    if isinstance(window, bool) or not isinstance(window, (int, np.integer)):
        raise UsageError("window is a whole number of sessions", received=repr(window))
    if dates is None:
        at = panel.dates[window:]
        at = at[at >= when[0]] if when.size else at
        if not at.size:
            raise DataError(
                "no session has a full estimation window",
                received=f"{panel.dates.size} sessions",
                expected=f"more than {window}",
            )
        return np.array(at)
    at = np.array([parse_time(t)[0] for t in dates]).astype("datetime64[D]")
    if not at.size or not (np.diff(at) > np.timedelta64(0, "D")).all():
        raise DataError("dates must increase", received=f"{at.size} dates")
    missing = ~np.isin(at, panel.dates)
    if missing.any():
        raise DataError("a date is not a session", date=at[int(np.argmax(missing))])
    if when.size and at[0] < when[0]:
        raise DataError(
            "no weights yet at a date", date=at[0], expected=f"{when[0]} or later"
        )
    return at


def refuse_hindsight(
    shocks: Sequence[Any], at: np.ndarray, panel: PricePanel, admitted: bool
) -> None:
    """Refuse before any work what the first date would refuse."""
    if admitted:
        return
    for shock in (part for whole in shocks for part in parts_of(whole)):
        if at[0] < shock.known_from:
            raise LookAheadError(
                f"shock {shock.name} was not known at the first date",
                date=at[0],
                received=f"known from {shock.known_from}",
                fix="Begin later, or admit it with hindsight_parameters=True; the "
                "result is stamped.",
            )
    if at[0] < panel.dates[-1]:
        check_undated(shocks, at[0], hindsight=False)
