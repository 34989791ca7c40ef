"""Tables of a scenario file: keys and values checked, errors placed, values written.

Every complaint names the file, the shock and the key, and the nearest known word.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.errors import BallastError, DataError, StoreError
from engine.shocks.arguments import near
from engine.shocks.moves import UNDATED, dated

WORDS = ("name", "citation", "note")
"""Keys of text that every kind takes."""
COMMON = ("limit", "alone")
"""Keys of every shock that the file, not its kind, reads."""
EVERY = (*WORDS, *COMMON)


def check_keys(
    table: Mapping[str, Any],
    known: Any,
    where: str,
    *,
    inside: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a key that is not known, naming it, its place and the nearest one.

    Parameters
    ----------
    table : mapping
    known : collection of str
    where : str
    inside : mapping of table name to its keys, optional
        A key that belongs into one of these tables is told so.
    """
    for key in table:
        if key in known:
            continue
        fix = near(key, known)
        for name, keys in (inside or {}).items():
            if key in keys:
                fix = f"It belongs in [shock.{name}]."
            elif fix is None and (found := near(key, keys)):
                fix = f"{found[:-1]}, in [shock.{name}]?"
        raise DataError(
            f"{where}: unknown key {key!r}", expected=", ".join(known), fix=fix
        )


def checked_text(table: Mapping[str, Any], key: str, where: str) -> str:
    """Return a key that must be text, or raise `DataError`."""
    value = table[key]
    if not isinstance(value, str):
        raise DataError(
            f"{where}: {key} is not text",
            received=repr(value),
            expected=f'{key} = "..."',
        )
    return value


def checked_texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """Return a key that must be text or a list of text, not empty."""
    value = table[key]
    rows = [value] if isinstance(value, str) else value
    if not isinstance(rows, list) or not rows:
        raise DataError(
            f"{where}: {key} is no list of text",
            received=repr(value),
            expected=f'{key} = ["...", "..."]',
        )
    for k, row in enumerate(rows, start=1):
        if not isinstance(row, str):
            raise DataError(
                f"{where}: entry {k} of {key} is not text", received=repr(row)
            )
    return tuple(rows)


def checked_word(
    table: Mapping[str, Any], key: str, where: str, known: tuple[str, ...]
) -> str:
    """Return a key that must be one of some words."""
    value = checked_text(table, key, where)
    if value not in known:
        raise DataError(
            f"{where}: unknown {key}",
            received=repr(value),
            expected=", ".join(known),
            fix=near(value, known),
        )
    return value


def checked_number(
    table: Mapping[str, Any],
    key: str,
    where: str,
    *,
    above: float = -np.inf,
    below: float = np.inf,
    least: float = -np.inf,
    most: float = np.inf,
) -> float:
    """Return a key that must be a finite number, strictly inside or between bounds."""
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"{where}: {key} is not a number", received=repr(value))
    if not (np.isfinite(value) and above < value < below and least <= value <= most):
        words = [
            f"{text} {bound:g}"
            for text, bound in (
                ("above", above),
                ("at least", least),
                ("below", below),
                ("at most", most),
            )
            if np.isfinite(bound)
        ]
        raise DataError(
            f"{where}: {key} is out of range",
            received=repr(value),
            expected=" and ".join(words) or "a finite number",
        )
    return float(value)


def checked_whole(table: Mapping[str, Any], key: str, where: str) -> int:
    """Return a key that must be a whole number of at least one."""
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(
            f"{where}: {key} is not a whole number of at least one",
            received=repr(value),
        )
    return value


def checked_flag(table: Mapping[str, Any], key: str, where: str) -> bool:
    """Return a key that must be true or false."""
    value = table[key]
    if not isinstance(value, bool):
        raise DataError(
            f"{where}: {key} is neither true nor false", received=repr(value)
        )
    return value


def checked_table(table: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """Return a key that must be a table, or raise `DataError`."""
    value = table[key]
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: {key} is not a table",
            received=repr(value),
            expected=f"[shock.{key}]",
        )
    return dict(value)


def checked_numbers(
    table: Mapping[str, Any], key: str, where: str
) -> dict[str, int | float]:
    """Return a table of numbers, or raise `DataError`."""
    value = checked_table(table, key, where)
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise DataError(
                f"{where}: {key}.{name} is not a number", received=repr(number)
            )
    return value


def checked_date(table: Mapping[str, Any], key: str, where: str) -> np.datetime64:
    """Return a key that must be a date, as TOML writes it or as text; NaT if absent."""
    if key not in table:
        return UNDATED
    value = table[key]
    text = value.isoformat() if type(value) is datetime.date else value
    try:
        if not isinstance(text, str) or len(text) != 10:
            raise ValueError
        return dated(datetime.date.fromisoformat(text))
    except ValueError:
        raise DataError(
            f"{where}: {key} is not a date",
            received=repr(value),
            expected=f"{key} = 2025-07-03",
        ) from None


def needed(table: Mapping[str, Any], key: str, where: str, example: str) -> None:
    """Refuse a table that lacks a key."""
    if key not in table:
        raise DataError(f"{where}: no {key}", expected=f"{key} = {example}")


def words_of(table: Mapping[str, Any], where: str) -> dict[str, str]:
    """Name, citation and note, where given; an empty name is refused."""
    words = {k: checked_text(table, k, where) for k in WORDS if k in table}
    if words.get("name") == "":
        raise DataError(f"{where}: name is empty", fix="Leave it out, or name it.")
    return words


@contextmanager
def read_errors(where: str) -> Iterator[None]:
    """Turn what the library says of an argument into `DataError` with its place."""
    try:
        yield
    except DataError as error:
        if error.problem.startswith(where):
            raise
        raise _placed(error, where, DataError) from error
    except BallastError as error:
        raise _placed(error, where, DataError) from error


@contextmanager
def placed(where: str, key: str = "") -> Iterator[None]:
    """Put file, shock and key before an error that arises when a shock is used."""
    try:
        yield
    except BallastError as error:
        if not where or error.problem.startswith(where):
            raise
        place = f"{where}: {key}" if key else where
        raise _placed(error, place, type(error)) from error


def _placed(error: BallastError, where: str, kind: type) -> BallastError:
    details: dict[str, Any] = {
        k: getattr(error, k) for k in ("asset", "date", "received", "expected", "fix")
    }
    if hasattr(error, "conflict") and kind is type(error):
        details |= {k: getattr(error, k) for k in ("conflict", "relaxation")}
    return kind(f"{where}: {error.problem}", **details)


# Writing ----------------------------------------------------------------------


def toml_of(tables: list[dict[str, Any]]) -> str:
    """Shocks as TOML: one as ``[shock]``, several as ``[[shock]]``.

    Values are text, numbers, flags, dates, lists of them, and one level of tables.
    """
    head = "[shock]" if len(tables) == 1 else "[[shock]]"
    parts = []
    for table in tables:
        lines = [head]
        inner = {k: v for k, v in table.items() if isinstance(v, dict)}
        lines += [f"{k} = {_value(v)}" for k, v in table.items() if k not in inner]
        for name, rows in inner.items():
            if rows:
                lines += ["", f"[shock.{name}]"]
                lines += [f"{_key(k)} = {_value(v)}" for k, v in rows.items()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def _key(text: str) -> str:
    return text if text and text[0].islower() and set(text) <= _BARE else quoted(text)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


def quoted(text: str) -> str:
    """Return a TOML basic string: quotes, backslashes and control codes escaped."""
    out = []
    for character in text:
        code = ord(character)
        if character in '"\\':
            out.append("\\" + character)
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\u{code:04X}")
        elif 0xD800 <= code <= 0xDFFF:
            raise StoreError(
                "text that cannot be written as UTF-8", received=repr(text)
            )
        else:
            out.append(character)
    return '"' + "".join(out) + '"'
