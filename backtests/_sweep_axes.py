"""The axes of `simulate_sweep`: targets, costs, schedules, bands, and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from backtests._simulate import numbers
from engine.errors import DataError, UsageError


class Band(NamedTuple):
    """When drift is worth a trade, and how far back it is brought.

    Attributes
    ----------
    width : float
        Half-width around the target weight, a decimal; cash has a band too. The first
        purchase is made in any case.
    to : {"edge", "centre"}
        ``edge`` brings what has left its band to the edge and shares what that frees
        or needs over the others in proportion to their room, as
        `strategies.DriftBand`; ``centre`` trades to the target.
    relative : bool
        The width is a fraction of the absolute target weight.
    """

    width: float
    to: str = "edge"
    relative: bool = False


def axis(values: Any, name: str, one: Any = np.isscalar) -> dict[str, Any]:
    """Values of an axis by label."""
    if isinstance(values, Mapping):
        out = {str(label): value for label, value in values.items()}
        if len(out) < len(values):
            raise UsageError(f"two entries of {name} carry one label")
    elif one(values):
        out = {"targets" if name == "targets" else _label(values, name): values}
    else:
        try:
            items = list(values)
        except TypeError as error:
            raise UsageError(
                f"{name} is neither a value, a list nor a mapping",
                received=type(values).__name__,
            ) from error
        out = {}
        for i, item in enumerate(items):
            label = _label(item, name)
            # What has no name of its own is called by its place.
            out[f"{name} {i}" if label in out or not label else label] = item
    if not out:
        raise DataError(f"{name} is empty", expected="one value or more")
    return out


def _label(value: Any, name: str) -> str:
    if name == "bands" and value is not None:
        value = band_of(value)
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, Band):
        unit = " of the weight" if value.relative else ""
        return f"{value.width:g}{unit} to the {value.to}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return f"every {value}" if value else "0"
    if isinstance(value, (float, np.floating)):
        return f"{value:g}"
    return ""


def is_table(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return bool(values) and np.isscalar(values[0])
    return hasattr(values, "shape") and len(values.shape) < 3


def is_rows(values: Any) -> bool:
    return np.isscalar(values) or getattr(values, "dtype", None) == np.dtype(bool)


def is_band(values: Any) -> bool:
    return values is None or np.isscalar(values) or isinstance(values, Band)


def table_of(table: Any, label: str, T: int, N: int) -> np.ndarray:
    W = numbers(table, f"targets {label!r}")
    if W.shape not in ((N,), (T, N)):
        raise DataError(
            "targets do not match prices",
            received=f"shape {W.shape} of {label!r}",
            expected=f"({T}, {N}) or ({N},)",
            fix="Give several sets of targets as a mapping label -> table.",
        )
    return W.reshape(-1, N)


def due_rows(value: Any, T: int, dates: Any) -> np.ndarray:
    """(T,) bool rows of one schedule."""
    if isinstance(value, str):
        from strategies.schedules import is_decision

        if value in ("daily", "once"):
            return np.full(T, True) if value == "daily" else np.arange(T) == 0
        try:
            days = np.asarray(dates).astype("datetime64[D]")
        except (TypeError, ValueError) as error:
            raise DataError(
                "dates are not dates", received=type(dates).__name__
            ) from error
        if dates is None or days.shape != (T,) or not (np.diff(days) > 0).all():
            raise DataError(
                f"the schedule {value!r} needs the dates of the rows",
                received="none" if dates is None else f"{days.size} dates for {T} rows",
                expected="one date per row, increasing",
                fix="Give dates=, or prices as a DataFrame indexed by date.",
            )
        due = is_decision(days, value)
        due[0] = True
        return due
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if value < 1:
            raise UsageError("a schedule of every k rows needs k >= 1", received=value)
        return np.arange(T) % int(value) == 0
    rows = np.asarray(value)
    if rows.dtype != bool or rows.shape != (T,):
        raise DataError(
            "a schedule does not match prices",
            received=f"{rows.dtype} of shape {rows.shape}",
            expected=f"a name, a whole number, or bool of shape ({T},)",
        )
    return rows


def band_of(value: Any) -> Band | None:
    if value is None:
        return None
    band = value if isinstance(value, Band) else Band(value)
    try:
        good = bool(0.0 <= band.width < np.inf)
    except TypeError:
        good = False
    if not good or isinstance(band.width, bool):
        raise UsageError(
            "a band is a half-width that is not negative", received=repr(band.width)
        )
    if band.to not in ("edge", "centre"):
        raise UsageError(
            "a band is left to its edge or its centre", received=repr(band.to)
        )
    return band._replace(width=float(band.width))
