"""Scenario files: a risk committee's own shocks in TOML, checked key by key.

One shock is a table ``[shock]``, several are ``[[shock]]``::

    [shock]
    kind = "cheap-model"
    preset = "substitution"
    horizon = "month"
    name = "committee 2025-Q3"
    citation = "minutes of 3 July 2025"

    [shock.parameters]
    severity = 1.5
    capex_cut = 0.2

    [shock.ai_capex]
    MSFT = 0.02

A kind is a name and a builder; `register_kind` adds one. Nothing in a file is run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import BallastError, DataError, StoreError, UsageError
from engine.shocks._structural import CheapModelShock
from engine.shocks.arguments import COSTS, LETTERS, near
from engine.shocks.chain import ALL_PRESETS, DEFAULTS

LIMIT_BYTES = 1_000_000
"""A larger file is no scenario."""
Builder = Callable[[dict[str, Any], str], Any]
"""Called with the table of one shock, its kind left out, and the words that name the
place in the file; returns a shock or raises `DataError`."""

_TEXT_KEYS = ("preset", "variant", "lens", "horizon", "name", "citation", "note")
_TABLE_KEYS = ("parameters", "ai_capex")
_KINDS: dict[str, Builder] = {}


def register_kind(name: str, builder: Builder) -> None:
    """Let scenario files hold shocks of another kind.

    Parameters
    ----------
    name : str
        Value of ``kind`` in the file.
    builder : callable
        ``builder(table, where)``: the keys of the shock and the place they stand in,
        for messages (`check_keys` and `checked_text` help).

    Raises
    ------
    UsageError
        The name is taken by another builder.
    """
    if not isinstance(name, str) or not name:
        raise UsageError("a kind of shock needs a name", received=repr(name))
    if _KINDS.get(name, builder) is not builder:
        raise UsageError("this kind of shock is registered already", received=name)
    _KINDS[name] = builder


def kinds() -> tuple[str, ...]:
    """Names of the kinds that a scenario file may hold."""
    return tuple(_KINDS)


def read_shocks(path: Any) -> tuple[Any, ...]:
    """Return the shocks of a scenario file, in its order.

    Parameters
    ----------
    path : path-like
        A TOML file of at most 1 MB, in UTF-8.

    Raises
    ------
    DataError
        The file cannot be read or is no TOML; a key is unknown, of the wrong type or
        out of its range; two shocks have one name. The message names file and key.
    """
    path = Path(path)
    document = _document(path)
    check_keys(document, ("shock",), str(path))
    tables = document.get("shock")
    many = isinstance(tables, list)
    rows: list[Any] = list(tables) if isinstance(tables, list) else [tables]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{path}: no shock in the scenario file",
            received=", ".join(document) or "an empty file",
            expected="a table [shock], or several [[shock]]",
        )
    shocks = tuple(
        _one(row, f"{path}: shock {i}" if many else f"{path}: shock")
        for i, row in enumerate(rows, start=1)
    )
    seen: set[str] = set()
    for shock in shocks:
        if shock.name in seen:
            raise DataError(
                f"{path}: two shocks have one name",
                received=repr(shock.name),
                fix="Give each a name of its own: name = '...'.",
            )
        seen.add(shock.name)
    return shocks


def read_shock(path: Any) -> Any:
    """Return the one shock of a scenario file; `DataError` where it holds several."""
    shocks = read_shocks(path)
    if len(shocks) != 1:
        raise DataError(
            f"{path}: the scenario file holds several shocks",
            received=len(shocks),
            expected="1",
            fix="Read them with read_shocks.",
        )
    return shocks[0]


def check_keys(table: Mapping[str, Any], known: Any, where: str) -> None:
    """Refuse a key that is not known, naming it, its place and the nearest one."""
    for key in table:
        if key not in known:
            raise DataError(
                f"{where}: unknown key {key!r}",
                expected=", ".join(known),
                fix=near(key, known),
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


def checked_numbers(
    table: Mapping[str, Any], key: str, where: str
) -> dict[str, int | float]:
    """Return a table of numbers, or raise `DataError`."""
    value = table[key]
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: {key} is not a table",
            received=repr(value),
            expected=f"[shock.{key}]",
        )
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise DataError(
                f"{where}: {key}.{name} is not a number", received=repr(number)
            )
    return dict(value)


def write_shock(shock: CheapModelShock, path: Any = None) -> str:
    """Return a cheap-model shock as TOML, and write it where a path is given.

    Only what differs from its preset is written; reading it gives the same shock.
    """
    lines = ["[shock]", 'kind = "cheap-model"']
    plain = CheapModelShock(shock.preset, horizon=shock.horizon)
    own = CheapModelShock(shock.preset).horizon
    for key in _TEXT_KEYS:
        field = "source" if key == "citation" else key
        value = getattr(shock, field)
        usual = own if key == "horizon" else getattr(plain, field)
        if key == "preset" or value != usual:
            lines.append(f"{key} = {_quoted(value)}")
    of_preset = dict(DEFAULTS) | dict(ALL_PRESETS[shock.preset])
    values: dict[str, float] = {
        k: v for k, v in shock.parameters.items() if v != of_preset[k]
    }
    if shock.training_costs is not None:
        values |= dict(zip(COSTS, shock.training_costs, strict=True))
    if values:
        lines += ["", "[shock.parameters]"]
        lines += [f"{k} = {_number(v)}" for k, v in values.items()]
    if shock.ai_capex:
        lines += ["", "[shock.ai_capex]"]
        lines += [f"{_quoted(k)} = {_number(v)}" for k, v in shock.ai_capex]
    text = "\n".join(lines) + "\n"
    if path is not None:
        from engine.data.files import write_atomic

        write_atomic(path, text)
    return text


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            raw = handle.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the scenario file",
            received=error.strerror or str(error),
        ) from error
    if len(raw) > LIMIT_BYTES:
        raise DataError(
            f"{path}: the scenario file is too large", expected=f"{LIMIT_BYTES} bytes"
        )
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the scenario file is not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise DataError(
            f"{path}: not a TOML file", received=str(error) or "too deeply nested"
        ) from error


def _one(table: dict[str, Any], where: str) -> Any:
    if "kind" not in table:
        raise DataError(
            f"{where}: no kind", expected=", ".join(f'kind = "{k}"' for k in _KINDS)
        )
    kind = checked_text(table, "kind", where)
    if kind not in _KINDS:
        raise DataError(
            f"{where}: unknown kind {kind!r}",
            expected=", ".join(_KINDS),
            fix=near(kind, _KINDS),
        )
    return _KINDS[kind]({k: v for k, v in table.items() if k != "kind"}, where)


def _cheap_model(table: dict[str, Any], where: str) -> CheapModelShock:
    check_keys(table, (*_TEXT_KEYS, *_TABLE_KEYS), where)
    words = {k: checked_text(table, k, where) for k in _TEXT_KEYS if k in table}
    numbers = {k: checked_numbers(table, k, where) for k in _TABLE_KEYS if k in table}
    known = (*DEFAULTS, *COSTS, *LETTERS)
    given = numbers.get("parameters", {})
    check_keys(given, known, f"{where}.parameters")
    try:
        return CheapModelShock(
            **words,  # type: ignore[arg-type]
            ai_capex=numbers.get("ai_capex"),
            **given,
        )
    except DataError:
        raise
    except BallastError as error:
        raise DataError(
            f"{where}: {error.problem}",
            asset=error.asset,
            received=error.received,
            expected=error.expected,
            fix=error.fix,
        ) from error


def _quoted(text: str) -> str:
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


def _number(value: float) -> str:
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


register_kind("cheap-model", _cheap_model)
