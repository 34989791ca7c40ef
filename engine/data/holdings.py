"""What a file of holdings holds instead of what is meant, and what to change in it.

Brokers export ISINs, totals, percentages and cash under many names. Most of these words
are tickers as well (CASH, USD and SUM are listed companies or funds), so that nothing
is translated: the message says what to write.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from engine.errors import DataError, InputNote, did_you_mean

_WORDS = {
    "ticker": ("symbol", "isin", "instrument", "security", "name", "asset", "code"),
    "shares": ("quantity", "units", "qty", "position", "holding", "number"),
    "value": ("market value", "market_value", "amount", "marketvalue", "price"),
    "weight": ("weights", "percent", "%", "allocation", "weight %", "weight (%)"),
}
_TOTALS = ("total", "totals", "grand total", "sum", "gesamt", "summe")
_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}\d")
_PERCENT = re.compile(r"[+-]?\d+(\.\d+)?\s*%")


def renaming(columns: Iterable[str], *wanted: str) -> str:
    """Return a sentence that says which column to rename, or which to add."""
    known = [str(c) for c in columns]
    for name in wanted:
        for column in known:
            if column in _WORDS[name]:
                return f"Rename the column {column!r} to {name!r}."
    return f"Add a column {' or '.join(map(repr, wanted))}."


def is_isin(label: str) -> bool:
    """Whether a label is an ISIN: its form and its check digit."""
    if not _ISIN.fullmatch(label):
        return False
    digits = "".join(str(int(c, 36)) for c in label)
    total = 0
    for i, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + i % 2)
        total += doubled // 10 + doubled % 10
    return total % 10 == 0


def refuse_label(label: str, known: Sequence[str]) -> NoReturn:
    """Raise for a holding without prices, with what it may be meant to be."""
    upper = label.upper().removeprefix("CASH").strip(": -_")
    if label.casefold() in _TOTALS:
        fix = "A total is no holding: remove the row."
    elif re.fullmatch(r"(?i)cash[\s:_-]*([a-z]{3})?|usd|eur|gbp|jpy|chf", label):
        fix = f"Cash is written CASH:{upper or 'USD'}, with its currency."
    elif is_isin(label):
        fix = "This is an ISIN: write the ticker under which the prices have it."
    else:
        fix = did_you_mean(label, known)
    raise DataError(
        "no prices for this ticker",
        asset=label,
        fix=fix,
    )


def wrong_total(total: float, names: Sequence[str], base: str) -> str:
    """Return what to do about weights that do not sum to one."""
    whole = [n for n in names if n.casefold() in _TOTALS]
    if whole:
        return f"Remove the row {whole[0]}: a total is no holding."
    if abs(total - 100.0) < 0.5:
        return "They look like percentages: divide by 100, or write them as 12.5%."
    if total > 1.0:
        return f"They exceed 1 by {total - 1:.6f}: correct them; nothing is rescaled."
    return (
        f"Add CASH:{base} with {1 - total:.6f}, or correct them; nothing is rescaled."
    )


def percentages(table: Any, tickers: Any) -> Any:
    """Turn a column weight in which every cell ends in % into fractions, and say so."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(table["weight"]):
        return table
    text = table["weight"].fillna("").astype(str).str.strip()
    percent = text.str.endswith("%")
    if not percent.any():
        return table
    text = text.str.replace(",", ".", regex=False)
    bad = ~text.map(lambda t: bool(_PERCENT.fullmatch(t)))
    if bad.any():
        i = int(bad.to_numpy().argmax())
        raise DataError(
            "some weights are percentages, and this is none",
            asset=str(tickers.iloc[i]),
            received=repr(table["weight"].iloc[i]),
            expected="all of them with %, or none",
        )
    values = text.str.removesuffix("%").astype(float) / 100.0
    warnings.warn(
        InputNote(
            f"portfolio: {table['weight'].iloc[0]} is read as {values.iloc[0]:g}"
        ),
        stacklevel=3,
    )
    return table.assign(weight=values)
