"""How a CSV file writes its numbers: separator, decimal mark, thousands, encoding.

Only what can be read one way is read: a semicolon or a comma, whichever the heading
uses; a decimal comma where some number of the file proves it. What was read otherwise
than as 1234.5 is said in an `InputNote`; what could be two numbers is refused.
"""

from __future__ import annotations

import codecs
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import DataError, InputNote

_FIGURE = re.compile(r"[+-]?\d[\d.,' \u00a0\u202f]*")
_SPACES = str.maketrans("", "", "' \u00a0\u202f")
_POINT = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d+)?")
_COMMA = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?")
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
"""One mark, three digits after it: a decimal mark or one of thousands."""


def encoding_of(path: Path) -> str:
    """UTF-8, or UTF-16 where the file opens with its mark (spreadsheets write it)."""
    if path.suffix.lower() not in (".csv", ".txt", ".tsv"):
        return "utf-8"
    with open(path, "rb") as file:
        start = file.read(4)
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if start.startswith(marks) else "utf-8"


def separator_of(heading: str, usual: str) -> str:
    """The separator of a heading: ``;`` or a tab where the usual one does not occur."""
    if usual in heading:
        return usual
    found = [s for s in (";", "\t", ",") if s in heading]
    return found[0] if len(found) == 1 else usual


def read_figures(table: Any, *, separator: str, source: str, skip: Any = ()) -> Any:
    """Turn columns of figures with commas, spaces or apostrophes into numbers.

    Parameters
    ----------
    table : DataFrame
        As read: text where pandas saw no number.
    separator : str
        Of the file: in one separated by commas a lone point is a decimal point.
    source : str
        Name of the file.
    skip : collection of str
        Columns that are never figures.

    Returns
    -------
    DataFrame
        The table itself where nothing was to be done. Columns with any other text
        stay as they are.

    Raises
    ------
    DataError
        Figures that can be read in two ways, or two ways of writing in one file.
    """
    import pandas as pd

    cells: dict[str, Any] = {}
    for name in table.columns:
        column = table[name]
        if name in skip or pd.api.types.is_numeric_dtype(column):
            continue
        text = column.dropna().astype(str).str.strip()
        if len(text) and text.map(lambda t: bool(_FIGURE.fullmatch(t))).all():
            cells[name] = text.str.translate(_SPACES)
    numeric = [c for c in table.columns if pd.api.types.is_float_dtype(table[c])]
    if not cells:
        return table
    written = pd.unique(pd.concat(list(cells.values())))
    comma = [t for t in written if not _POINT.fullmatch(t) and _COMMA.fullmatch(t)]
    point = [t for t in written if not _COMMA.fullmatch(t) and _POINT.fullmatch(t)]
    if comma and (point or (numeric and separator == ",")):
        raise DataError(
            f"{source}: two ways of writing decimals",
            received=f"{comma[0]} and {point[0] if point else 'a decimal point'}",
            fix="Write all numbers with a decimal point and without separators.",
        )
    either = [t for t in written if _EITHER.fullmatch(t)]
    if either and not comma and not point:
        value = either[0].lstrip("+-")
        whole, rest = re.split("[.,]", value)
        raise DataError(
            f"{source}: a number that can be read in two ways",
            received=repr(either[0]),
            expected=f"{whole}{rest} or {whole}.{rest}",
            fix="Write it without a mark of thousands, with a decimal point.",
        )
    out = table.copy()
    shape = _COMMA if comma else _POINT
    for name, text in cells.items():
        if not text.map(lambda t: bool(shape.fullmatch(t))).all():
            continue
        thousands, mark = (".", ",") if comma else (",", ".")
        plain = text.str.replace(thousands, "", regex=False)
        plain = plain.str.replace(mark, ".", regex=False)
        out[name] = pd.to_numeric(plain).reindex(out.index).astype(np.float64)
    marked = [t for t in written if shape.fullmatch(t) and ("," in t or comma)]
    if marked:
        example = next((t for t in marked if "," in t), marked[0])
        value = example.replace("." if comma else ",", "").replace(",", ".")
        warnings.warn(
            InputNote(f"{source}: {example} is read as {float(value):.12g}"),
            stacklevel=3,
        )
    return out


def read_dates(column: Any, source: str) -> Any:
    """Session dates as DD.MM.YYYY, DD/MM/YYYY or MM/DD/YYYY; None where not written so.

    With points the day leads. With slashes some date must prove which: a number above
    twelve.

    Raises
    ------
    DataError
        No date proves the order, or a date that does not exist.
    """
    import pandas as pd

    text = column.astype(str).str.strip()
    parts = text.str.extract(r"^(\d{1,2})([./])(\d{1,2})\2(\d{4})$")
    if parts.isna().to_numpy().any():
        return None
    first, second = parts[0].astype(int), parts[2].astype(int)
    day_first, month_first = (first > 12).any(), (second > 12).any()
    if (parts[1] == ".").all() and not month_first:
        day_first = True
    if day_first == month_first:
        raise DataError(
            f"{source}: dates whose day and month cannot be told apart",
            received=repr(text.iloc[0]),
            expected="YYYY-MM-DD",
            fix="Write the dates as YYYY-MM-DD.",
        )
    day, month = (first, second) if day_first else (second, first)
    written = parts[3] + "-" + month.astype(str) + "-" + day.astype(str)
    parsed = pd.to_datetime(written, format="%Y-%m-%d", errors="coerce")
    if parsed.isna().any():
        raise DataError(
            f"{source}: not a date", received=repr(text[parsed.isna()].iloc[0])
        )
    proof = text[(first > 12) | (second > 12)]
    shown = proof.index[0] if len(proof) else text.index[0]
    warnings.warn(
        InputNote(f"{source}: {text[shown]} is read as {parsed[shown].date()}"),
        stacklevel=3,
    )
    return parsed
