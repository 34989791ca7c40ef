"""Scenario files: a risk committee's own shocks in TOML, checked key by key.

One shock is a table ``[shock]``, several are ``[[shock]]``::

    [shock]
    kind = "cheap-model"
    preset = "substitution"
    horizon = "month"
    name = "committee 2025-Q3"
    citation = "minutes of 3 July 2025"
    limit = 0.08

    [shock.parameters]
    severity = 1.5
    capex_cut = 0.2

    [shock.ai_capex]
    MSFT = 0.02

Every shock may state ``limit``, the cap on its severe loss, and ``alone = false``
where it only serves a mixture. A kind is a name and a builder (`engine.shocks._kinds`
has the others); `register_kind` adds one. Nothing in a file is run.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import DataError, UsageError
from engine.shocks._kinds import (
    build_conditional,
    build_entropy,
    build_replay,
    build_reverse,
    build_worst_case,
    table_of,
)
from engine.shocks._kinds_mix import Mixture, build_mix
from engine.shocks._kinds_tables import (
    COMMON,
    check_keys,
    checked_flag,
    checked_number,
    checked_numbers,
    checked_text,
    read_errors,
    toml_of,
)
from engine.shocks._structural import CheapModelShock
from engine.shocks.arguments import COSTS, LETTERS, near
from engine.shocks.chain import ALL_PRESETS, DEFAULTS

__all__ = [
    "ScenarioFile",
    "check_keys",
    "checked_number",
    "checked_numbers",
    "checked_text",
    "from_toml",
    "kind_of",
    "kinds",
    "read_scenarios",
    "read_shock",
    "read_shocks",
    "register_kind",
    "to_toml",
    "write_shock",
]

LIMIT_BYTES = 1_000_000
"""A larger file is no scenario."""
Builder = Callable[..., Any]
"""Called with the table of one shock, its kind left out, and the words that name the
place in the file; returns a shock or raises `DataError`. One that refers to others is
also given them, by name."""

_TEXT_KEYS = ("preset", "variant", "lens", "horizon", "name", "citation", "note")
_TABLE_KEYS = ("parameters", "ai_capex")
_KINDS: dict[str, Builder] = {}
_REFERRING: set[str] = set()


@dataclass(frozen=True)
class ScenarioFile:
    """Shocks of a file, with what the committee says of their limits.

    Attributes
    ----------
    shocks : tuple of Shock
        In the order of the file; those that only serve a mixture left out.
    limits : mapping of name to float
        Largest severe loss, decimals of net assets, of the shocks that state one.
    parts : tuple of Shock
        Those that only serve a mixture.
    """

    shocks: tuple[Any, ...]
    limits: Mapping[str, float] = field(default_factory=dict)
    parts: tuple[Any, ...] = ()


def register_kind(name: str, builder: Builder, *, refers: bool = False) -> None:
    """Let scenario files hold shocks of another kind.

    Parameters
    ----------
    name : str
        Value of ``kind`` in the file.
    builder : callable
        ``builder(table, where)``: the keys of the shock and the place they stand in,
        for messages (`check_keys` and `checked_text` help).
    refers : bool, default False
        The shock is made of others of the file: ``builder(table, where, shocks)``.

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
    if refers:
        _REFERRING.add(name)


def kinds() -> tuple[str, ...]:
    """Names of the kinds that a scenario file may hold."""
    return tuple(_KINDS)


def read_scenarios(path: Any) -> ScenarioFile:
    """Return the shocks of a scenario file and their limits.

    Parameters
    ----------
    path : path-like
        A TOML file of at most 1 MB, in UTF-8.

    Returns
    -------
    ScenarioFile

    Raises
    ------
    DataError
        The file cannot be read or is no TOML; a key is unknown, of the wrong type or
        out of its range; two shocks have one name. The message names file, shock and
        key.
    """
    path = Path(path)
    return _scenarios(_document(path), str(path))


def kind_of(shock: Any) -> str:
    """Return the kind under which a file states a shock; its type where none does."""
    try:
        return str(_table(shock)["kind"])
    except UsageError:
        return type(shock).__name__


def read_shocks(path: Any) -> tuple[Any, ...]:
    """Return the shocks of a scenario file, in its order; as `read_scenarios`.

    Parameters
    ----------
    path : path-like
        As in `read_scenarios`.

    Returns
    -------
    tuple of Shock
    """
    return read_scenarios(path).shocks


def read_shock(path: Any) -> Any:
    """Return the one shock of a scenario file; `DataError` where it holds several.

    Parameters
    ----------
    path : path-like
        As in `read_scenarios`.

    Returns
    -------
    Shock
    """
    return _only(read_shocks(path), str(path))


def from_toml(text: str) -> tuple[Any, ...]:
    """Return the shocks of a text; the inverse of `to_toml`.

    Parameters
    ----------
    text : str
        A scenario file.

    Returns
    -------
    tuple of Shock
        In the order of the text.

    Examples
    --------
    >>> from_toml('shock = {kind = "worst-case", radius = 3.0}')
    (BookSearch('worst-case': worst-case, radius=3.0),)
    """
    return _scenarios(_parsed(text, "scenarios"), "scenarios").shocks


def to_toml(
    shocks: Any, path: Any = None, *, limits: Mapping[str, float] | None = None
) -> str:
    """Return shocks as the text of a scenario file, and write it to a path if given.

    Parameters
    ----------
    shocks : Shock, ScenarioFile, or sequence of Shock
        Shocks of a mixture that are not among them are written with ``alone = false``.
    path : path-like, optional
    limits : mapping of name to float, optional
        Cap on the severe loss of each; those of a `ScenarioFile` by default.

    Returns
    -------
    str

    Raises
    ------
    UsageError
        A shock that no file can state, such as a replay that already holds prices; two
        shocks of one name.
    """
    if isinstance(shocks, ScenarioFile):
        limits = shocks.limits if limits is None else limits
        shocks = shocks.shocks
    rows = list(shocks) if isinstance(shocks, Sequence) else [shocks]
    alone = {s.name: s for s in rows}
    parts: dict[str, Any] = {}
    for mixture in rows:
        for part in mixture.shocks if isinstance(mixture, Mixture) else ():
            if alone.get(part.name, part) is not part:
                raise UsageError("two shocks have one name", received=part.name)
            if part.name not in alone:
                parts[part.name] = part
    tables = []
    for shock in [*parts.values(), *rows]:
        table = _table(shock)
        for name, value in (limits or {}).items():
            if name == shock.name:
                table = {"kind": table["kind"], "limit": float(value)} | table
        if shock.name in parts:
            table = {"kind": table["kind"], "alone": False} | table
        tables.append(table)
    text = toml_of(tables)
    if path is not None:
        from engine.data.files import write_atomic

        write_atomic(path, text)
    return text


def write_shock(shock: Any, path: Any = None) -> str:
    """Return a shock as TOML, and write it where a path is given.

    Only what differs from what it would be anyway is written; reading it gives the
    same shock.
    """
    return to_toml(shock, path)


def _table(shock: Any) -> dict[str, Any]:
    """Keys and values of a shock, its tables last."""
    if not isinstance(shock, CheapModelShock):
        return table_of(shock)
    table: dict[str, Any] = {"kind": "cheap-model"}
    plain = CheapModelShock(shock.preset, horizon=shock.horizon)
    own = CheapModelShock(shock.preset).horizon
    for key in _TEXT_KEYS:
        attribute = "source" if key == "citation" else key
        value = getattr(shock, attribute)
        usual = own if key == "horizon" else getattr(plain, attribute)
        if key == "preset" or value != usual:
            table[key] = value
    of_preset = dict(DEFAULTS) | dict(ALL_PRESETS[shock.preset])
    values: dict[str, float] = {
        k: v for k, v in shock.parameters.items() if v != of_preset[k]
    }
    if shock.training_costs is not None:
        values |= dict(zip(COSTS, shock.training_costs, strict=True))
    return table | {"parameters": values, "ai_capex": dict(shock.ai_capex)}


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
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the scenario file is not UTF-8") from error
    return _parsed(text, str(path))


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise DataError(
            f"{path}: not a TOML file", received=str(error) or "too deeply nested"
        ) from error


def _only(shocks: tuple[Any, ...], path: str) -> Any:
    if len(shocks) != 1:
        raise DataError(
            f"{path}: the scenario file holds several shocks",
            received=len(shocks),
            expected="1",
            fix="Read them with read_shocks.",
        )
    return shocks[0]


def _scenarios(document: dict[str, Any], path: str) -> ScenarioFile:
    check_keys(document, ("shock",), path)
    tables = document.get("shock")
    many = isinstance(tables, list)
    rows: list[Any] = list(tables) if isinstance(tables, list) else [tables]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{path}: no shock in the scenario file",
            received=", ".join(document) or "an empty file",
            expected="a table [shock], or several [[shock]]",
        )
    places = [
        f"{path}: shock{f' {i}' if many else ''}" for i in range(1, len(rows) + 1)
    ]
    kinds_of = [_kind(row, where) for row, where in zip(rows, places, strict=True)]
    found: dict[int, Any] = {}
    limits: dict[str, float] = {}
    parts: set[str] = set()
    by_name: dict[str, Any] = {}
    # Those that refer to others come last, wherever they stand.
    order = sorted(range(len(rows)), key=lambda k: kinds_of[k] in _REFERRING)
    for k in order:
        where, table = places[k], {x: v for x, v in rows[k].items() if x != "kind"}
        own = {x: table.pop(x) for x in ("limit", "alone") if x in table}
        if kinds_of[k] in _REFERRING:
            simple = {n: s for n, s in by_name.items() if not hasattr(s, "mixed")}
            shock = _KINDS[kinds_of[k]](table, where, simple)
        else:
            shock = _KINDS[kinds_of[k]](table, where)
        if shock.name in by_name:
            raise DataError(
                f"{path}: two shocks have one name",
                received=repr(shock.name),
                fix="Give each a name of its own: name = '...'.",
            )
        if "limit" in own:
            limits[shock.name] = checked_number(own, "limit", where, least=0, most=1)
        if "alone" in own and not checked_flag(own, "alone", where):
            parts.add(shock.name)
        found[k] = by_name[shock.name] = shock
    used = {p.name for s in by_name.values() for p in getattr(s, "shocks", ())}
    for name in sorted(parts - used):
        raise DataError(
            f"{path}: a shock that is not alone serves no mixture", received=repr(name)
        )
    for name in sorted(parts & set(limits)):
        raise DataError(
            f"{path}: a shock that only serves a mixture has no limit of its own",
            received=repr(name),
            fix="Limit the mixture.",
        )
    shocks = [found[k] for k in range(len(rows))]
    return ScenarioFile(
        tuple(s for s in shocks if s.name not in parts),
        limits,
        tuple(s for s in shocks if s.name in parts),
    )


def _kind(table: dict[str, Any], where: str) -> str:
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
    return kind


def _cheap_model(table: dict[str, Any], where: str) -> CheapModelShock:
    known = (*DEFAULTS, *COSTS, *LETTERS)
    check_keys(
        table, (*_TEXT_KEYS, *_TABLE_KEYS, *COMMON), where, inside={"parameters": known}
    )
    words = {k: checked_text(table, k, where) for k in _TEXT_KEYS if k in table}
    numbers = {k: checked_numbers(table, k, where) for k in _TABLE_KEYS if k in table}
    given = numbers.get("parameters", {})
    check_keys(given, known, f"{where}.parameters")
    with read_errors(where):
        return CheapModelShock(
            **words,  # type: ignore[arg-type]
            ai_capex=numbers.get("ai_capex"),
            **given,
        )


register_kind("cheap-model", _cheap_model)
register_kind("replay", build_replay)
register_kind("conditional", build_conditional)
register_kind("entropy", build_entropy)
register_kind("worst-case", build_worst_case)
register_kind("reverse", build_reverse)
register_kind("mix", build_mix, refers=True)
