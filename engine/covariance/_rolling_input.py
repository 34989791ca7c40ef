"""Checks and sizes shared by the estimators that give one result a date."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.covariance._check import _check_columns, column_name
from engine.errors import DataError, ModelError, UsageError

_SQUARABLE = 1e150
"""Beyond this, or below its inverse, the square of a number leaves the doubles."""


@dataclass(frozen=True, slots=True)
class Observations:
    """Checked observations.

    Attributes
    ----------
    values : (T, N) float64
        Contiguous; NaN where missing, never infinite.
    missing : bool
        Whether any is missing.
    dates, assets : pandas.Index or None
        Labels of a DataFrame.
    """

    values: np.ndarray
    missing: bool
    dates: Any
    assets: Any

    def date(self, t: int) -> str:
        """Name of row ``t`` in a message."""
        return f"row {t}" if self.dates is None else str(self.dates[t])

    def labels(self, rows: np.ndarray) -> Any:
        """Labels of rows, or None."""
        return None if self.dates is None else self.dates[rows]


def read_observations(
    X: Any, *, allow_missing: bool, about_zero: bool, fix: str = ""
) -> Observations:
    """Return checked observations, or raise an error that names the cell.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
    allow_missing : bool
        Accept NaN. Infinity is refused in any case.
    about_zero : bool
        Squares are taken about zero, not about the mean: what may underflow.
    fix : str
        Advice where a missing observation is refused.

    Raises
    ------
    DataError
        Not numeric, not two-dimensional, infinite, missing where that is refused, or
        dates that do not increase.
    ModelError
        Observations, or their variation, whose squares overflow or vanish.
    """
    from engine.kernels.rolling import column_ranges

    assets = getattr(X, "columns", None)
    dates = None
    try:
        if assets is not None:
            _check_columns(X)
            dates = X.index
            values = X.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = np.ma.filled(X, np.nan) if np.ma.isMaskedArray(X) else X
            values = np.asarray(values)
        if values.dtype.kind not in "fiub":
            raise TypeError(f"holds {values.dtype} values")
        values = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"observations are not numeric: {error}") from error
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(
            "observations must be a table of dates by assets",
            received=f"shape {values.shape}",
            expected="(T, N)",
        )
    if dates is not None and dates.dtype.kind == "M":
        falls = np.flatnonzero(~(dates[1:] > dates[:-1]))
        if falls.size:
            raise DataError(
                "dates do not increase",
                date=str(dates[falls[0] + 1]),
                received=f"after {dates[falls[0]]}",
                fix="Sort by date and keep one row a date.",
            )
    table = Observations(values, False, dates, assets)
    low = np.full(values.shape[1], np.inf)
    high = np.full(values.shape[1], -np.inf)
    missing = not column_ranges(values, low, high)
    if missing:
        _refuse_cells(table, allow_missing, fix)
    _refuse_scales(table, low, high, about_zero)
    return Observations(values, missing, dates, assets)


def _refuse_cells(table: Observations, allow_missing: bool, fix: str) -> None:
    values = table.values
    bad = np.isinf(values)
    if not allow_missing and not bad.any():
        bad = np.isnan(values)
        problem = "an observation is missing"
    else:
        problem, fix = "an observation is infinite", "Correct or remove the value."
    if bad.any():
        t, i = (int(v) for v in np.argwhere(bad)[0])
        raise DataError(
            problem,
            asset=column_name(table.assets, i),
            date=table.date(t),
            received=values[t, i],
            fix=fix,
        )


def _refuse_scales(
    table: Observations, low: np.ndarray, high: np.ndarray, about_zero: bool
) -> None:
    low = np.where(low > high, 0.0, low)  # nothing but NaN in the column
    high = np.maximum(high, low)
    largest = np.maximum(np.abs(high), np.abs(low))
    if (largest > _SQUARABLE).any():
        i = int(np.argmax(largest))
        raise ModelError(
            "the square of an observation overflows",
            asset=column_name(table.assets, i),
            received=largest[i],
            fix="Rescale: returns are decimals.",
        )
    spread = largest if about_zero else high - low
    small = (spread > 0) & (spread < 1.0 / _SQUARABLE)
    if small.any():
        i = int(np.argmax(small))
        raise ModelError(
            "the variance underflows: the series moves by too little",
            asset=column_name(table.assets, i),
            received=spread[i],
            fix="Rescale: returns are decimals.",
        )


def asset_labels(weights: Any) -> Any:
    """Asset labels of weights: columns of a DataFrame, index of a Series, or None."""
    labels = getattr(weights, "columns", None)
    if labels is None and hasattr(weights, "to_numpy"):  # a list has an index as well
        labels = weights.index
    return labels


def whole_number(value: Any, name: str, *, least: int, most: int | None = None) -> int:
    """Return ``value`` as an int within limits, or raise `UsageError`."""
    limits = f"at least {least}" if most is None else f"{least} to {most}"
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, np.integer))
        or value < least
        or (most is not None and value > most)
    ):
        raise UsageError(
            f"{name} must be a whole number", received=repr(value), expected=limits
        )
    return int(value)


def available_memory() -> int | None:
    """Bytes this process may still take, or None where the system does not say."""
    found = []
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    group = Path("/sys/fs/cgroup")  # the limit of a container, if there is one
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            used = int((group / "memory.current").read_text())
            found.append(max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    if not found:
        try:
            pages = os.sysconf("SC_AVPHYS_PAGES")
            found.append(pages * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, OSError, ValueError):
            return None
    return min(found)


def refuse_excess(dates: int, N: int) -> None:
    """Refuse a full output of more than half the memory that is available."""
    needed = 8 * dates * N * N
    free = available_memory()
    if free is not None and needed > free // 2:
        raise UsageError(
            "one matrix a date does not fit in memory",
            received=f"{dates} matrices of {N} x {N}, {needed / 1e9:.3g} GB",
            expected=f"at most half of the {free / 1e9:.3g} GB available",
            fix="Give callback= to use each matrix as it comes, or a larger step.",
        )


def aligned_matrix(N: int) -> np.ndarray:
    """Zeros (N, N) that start at a cache line, which vector loads prefer."""
    raw = np.zeros(N * N + 8)
    offset = (-raw.ctypes.data // 8) % 8
    return raw[offset : offset + N * N].reshape(N, N)
