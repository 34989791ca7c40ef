"""Dated AI exposures per company: share of revenue, document, date it was known.

The shipped table holds what documents published before 24 January 2025 say. A
``reported`` figure stands in the document, a ``derived`` one is computed from it, a
``band`` has no figure behind it and is judgement. Many derived rows scale a data-centre
share by one market-wide ratio (0.41, accelerated servers in server revenue), so their
errors are common. No return of any day entered a number.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from engine.data.files import read_table
from engine.data.roles import ROLES
from engine.errors import DataError

BUILTIN = "builtin"
BASES = ("reported", "derived", "band")
_COLUMNS = (
    "ticker",
    "role",
    "share_low",
    "share",
    "share_high",
    "known_from",
    "basis",
    "document",
)


def read_exposures(source: Any = BUILTIN) -> Any:
    """Read and check a table of dated exposures.

    Parameters
    ----------
    source : "builtin", path or DataFrame
        Columns ``ticker, role, share_low, share, share_high, known_from, basis,
        document``; others are kept.

    Returns
    -------
    DataFrame
        With a column ``source`` for the reader: basis, document and date.

    Raises
    ------
    DataError
        Naming the ticker and what was received.
    """
    import pandas as pd

    table: Any
    if isinstance(source, str) and source == BUILTIN:
        inside = resources.files("engine.data").joinpath("exposures.csv")
        with resources.as_file(inside) as path:
            table = read_table(path, what="exposures")
    elif hasattr(source, "columns"):
        table = source
    else:
        table = read_table(Path(source), what="exposures")
    missing = [c for c in _COLUMNS if c not in table.columns]
    if missing:
        raise DataError(
            "exposures lack a column",
            received=missing[0],
            expected=", ".join(_COLUMNS),
        )
    table = table.copy()
    table["ticker"] = table["ticker"].astype(str).str.strip()
    repeated = table["ticker"][table["ticker"].duplicated()]
    if len(repeated):
        raise DataError("duplicate ticker in the exposures", asset=repeated.iloc[0])
    for name in ("share_low", "share", "share_high"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    dates = pd.to_datetime(table["known_from"], errors="coerce", format="ISO8601")
    for i, row in enumerate(table.to_dict("records")):
        low, middle, high = (row[c] for c in ("share_low", "share", "share_high"))
        problem = None
        if row["role"] not in ROLES:
            problem = "unknown AI role", row["role"]
        elif row["basis"] not in BASES:
            problem = "basis must be reported, derived or band", row["basis"]
        elif not 0.0 <= low <= middle <= high <= 1.0:
            problem = "shares must satisfy 0 <= low <= share <= high <= 1", middle
        elif pd.isna(dates.iloc[i]):
            problem = "known_from is not a date", row["known_from"]
        if problem:
            raise DataError(
                f"exposures: {problem[0]}", asset=row["ticker"], received=problem[1]
            )
    table["known_from"] = dates.dt.strftime("%Y-%m-%d")
    table["source"] = [
        f"{r['basis']}, {r['document']}" if r["basis"] != "band" else "judgement band"
        for r in table.to_dict("records")
    ]
    return table
