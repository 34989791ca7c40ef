"""Exchange and cash rates on the dates of a panel: the last one known, and its age."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.data.files import read_table
from engine.data.panel import _FX_MAX_AGE
from engine.data.tables import from_table, numbers, wide_table
from engine.data.universe import Universe, check_currency
from engine.errors import DataError


def _indexed(source: Any, what: str):
    """Return a checked date-indexed numeric table from a frame or a path."""
    table = source if hasattr(source, "columns") else read_table(source, what=what)
    frames = from_table(table, what)
    frame = wide_table(frames.prices, what=what)
    return frame.index.to_numpy().astype("datetime64[D]"), frame, numbers(frame)


def fx_table(source: Any, dates, base: str, universe: Universe):
    """Base units for one unit of each currency, at the last fixing up to the date."""
    needed = {c for c in universe.quote_currency if c and c != base}
    if source is None:
        return (), np.empty((dates.size, 0))
    days, frame, values = _indexed(source, "exchange rates")
    table = {str(c).upper(): values[:, i] for i, c in enumerate(frame.columns)}
    table.setdefault("USD", np.ones(days.size))
    for code, column in table.items():
        bad = ~np.isnan(column) & ~((column > 0) & np.isfinite(column))
        if bad.any():
            raise DataError(
                "an exchange rate must be positive and finite",
                asset=code,
                date=days[bad][0],
                received=column[bad][0],
            )
    if base not in table:
        raise DataError(
            f"no exchange rate for the base currency {base}",
            received=", ".join(table),
            expected="a column in USD for one unit",
        )
    codes = tuple(c for c in table if c != base)
    out = np.empty((dates.size, len(codes)))
    base_usd, base_age = _last_known(days, table[base], dates)
    for j, code in enumerate(codes):
        rate, age = _last_known(days, table[code], dates)
        rate = rate / base_usd
        stale = ~((age <= _FX_MAX_AGE) & (base_age <= _FX_MAX_AGE))
        if code in needed and stale.any():
            holders = [
                t
                for t, c in zip(universe.tickers, universe.quote_currency, strict=True)
                if c == code
            ]
            raise DataError(
                f"no exchange rate from {code} to {base} within a week",
                asset=holders[0],
                date=dates[stale][0],
                fix="Extend the exchange-rate table, or leave the asset out.",
            )
        out[:, j] = np.where(stale, np.nan, rate)
    return codes, out


def _last_known(days, column, dates):
    """Last non-missing value at or before each date, and its age in days."""
    valid = ~np.isnan(column)
    known_days, known = days[valid], column[valid]
    at = np.searchsorted(known_days, dates, side="right") - 1
    if not known.size:
        return np.full(dates.size, np.nan), np.full(dates.size, np.timedelta64("NaT"))
    value = np.where(at >= 0, known[at], np.nan)
    age = np.where(at >= 0, dates - known_days[at], np.timedelta64("NaT", "D"))
    return value, age


def cash_table(source: Any, dates):
    """Annual rate of each currency, the last known; NaN before the first."""
    if source is None:
        return (), np.empty((dates.size, 0))
    days, frame, values = _indexed(source, "cash rates")
    codes = tuple(check_currency(c) for c in frame.columns)
    out = np.column_stack(
        [_last_known(days, values[:, i], dates)[0] for i in range(len(codes))]
    )
    return codes, out
