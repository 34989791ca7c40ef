"""Values of a grid file against the types of what they are for."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from engine.errors import DataError
from engine.shocks.arguments import near


def checked_values(given: Any, kind: Any, where: str) -> tuple[Any, ...]:
    """Values to try: one, or a list of them; where each is a list, a list of lists."""
    listed = isinstance(given, list)
    if listed and _is_list(kind):
        listed = bool(given) and all(isinstance(v, list) for v in given)
    if not listed:
        return (checked_value(given, kind, where),)
    if not given:
        raise DataError(f"{where} is an empty list", expected="a value or more")
    out = tuple(checked_value(v, kind, where) for v in given)
    seen: list[Any] = []
    for v in out:
        if v in seen:
            raise DataError(f"{where} holds a value twice", received=repr(v))
        seen.append(v)
    return out


def _is_list(kind: Any) -> bool:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return any(_is_list(k) for k in typing.get_args(kind))
    return typing.get_origin(kind) is tuple


def checked_value(given: Any, kind: Any, where: str) -> Any:
    """One value of a type, or `DataError`."""
    choices = typing.get_args(kind)
    origin = typing.get_origin(kind)
    options = choices if origin in (types.UnionType, typing.Union) else (kind,)
    for option in options:
        fits, value = _fit(given, option)
        if fits:
            return value
    raise DataError(
        f"{where} is not {_described(options)}",
        received=repr(given)[:100],
        expected=", ".join(map(str, choices)) if origin is Literal else None,
        fix=near(given, choices)
        if origin is Literal and isinstance(given, str)
        else None,
    )


def _fit(given: Any, kind: Any) -> tuple[bool, Any]:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return given in typing.get_args(kind), given
    if kind is bool or isinstance(given, bool):
        return kind is bool and isinstance(given, bool), given
    if kind is int:
        return isinstance(given, int), given
    if kind is float:
        fits = isinstance(given, (int, float)) and math.isfinite(given)
        return fits, float(given) if fits else given
    if kind is str:
        return isinstance(given, str) and bool(given.strip()), given
    if origin is tuple and isinstance(given, list):
        fits = bool(given) and all(isinstance(v, str) and v.strip() for v in given)
        return fits, tuple(given)
    if isinstance(given, dict) and getattr(origin, "__name__", "") == "Mapping":
        pairs = {k: _fit(v, float) for k, v in given.items()}
        return all(f for f, _ in pairs.values()), {k: v for k, (_, v) in pairs.items()}
    return False, given


def _described(options: Sequence[Any]) -> str:
    words = {
        bool: "true or false", int: "a whole number", float: "a number", str: "text"
    }  # fmt: skip
    found = []
    for option in options:
        origin = typing.get_origin(option)
        if option in words:
            found.append(words[option])
        elif origin is tuple and all(
            a in (str, Ellipsis) for a in typing.get_args(option)
        ):
            found.append("a list of text")
        elif getattr(origin, "__name__", "") == "Mapping":
            found.append("a table of numbers")
        elif origin is Literal:
            found.append("one of the words known")
    return " or ".join(found)
