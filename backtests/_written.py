"""Estimates as bytes, without pickle: arrays in an npz, everything else as JSON.

Only what comes back equal to the last bit is written: plain values, tuples, lists,
dictionaries, contiguous arrays, enumerations, and frozen dataclasses of this product.
Reading makes nothing but these, whatever a file says.
"""

from __future__ import annotations

import importlib
import io
import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from engine._base import Value

_OURS = ("engine.", "strategies.", "backtests.")


class NotWritableError(TypeError):
    """Something that only pickle could write."""


class DamagedError(ValueError):
    """Bytes that are not what was written."""


def to_bytes(value: Any, key: str) -> bytes:
    """Write a value, and the key it belongs to.

    Raises
    ------
    NotWritableError
        Names the type that has no plain form.
    """
    arrays: list[np.ndarray] = []
    tree = json.dumps({"key": key, "value": _encode(value, arrays)})
    out = io.BytesIO()
    named: dict[str, Any] = {f"a{i}": array for i, array in enumerate(arrays)}
    np.savez(out, tree=np.frombuffer(tree.encode(), dtype=np.uint8), **named)
    return out.getvalue()


def from_bytes(content: bytes, key: str) -> Any:
    """Read what `to_bytes` wrote under the same key, or raise `DamagedError`."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as store:
            tree = json.loads(store["tree"].tobytes())
            if tree["key"] != key:
                raise DamagedError("an entry of another key")
            return _decode(tree["value"], store)
    except DamagedError:
        raise
    except Exception as error:  # a damaged zip, JSON or array fails in many ways
        raise DamagedError(f"{type(error).__name__}: {error}") from error


def _encode(thing: Any, arrays: list[np.ndarray]) -> list:
    value: Any = thing
    kind: type = type(thing)
    if value is None or kind in (bool, str):
        return ["v", value]
    if kind is int:
        return ["i", str(value)]
    if kind is float:
        return ["f", value.hex()]
    if kind is np.ndarray:
        if value.dtype.hasobject or not (
            value.flags.c_contiguous or value.flags.f_contiguous
        ):
            raise NotWritableError(f"an array of {value.dtype} in another memory order")
        arrays.append(value)
        return ["a", len(arrays) - 1, bool(value.flags.writeable)]
    if issubclass(kind, np.generic) and not value.dtype.hasobject:
        arrays.append(np.asarray(value))
        return ["g", len(arrays) - 1]
    if kind in (tuple, list):
        return ["t" if kind is tuple else "l", [_encode(v, arrays) for v in value]]
    if kind is dict:
        pairs = [[_encode(k, arrays), _encode(v, arrays)] for k, v in value.items()]
        return ["d", pairs]
    if issubclass(kind, Enum) and kind.__module__.startswith(_OURS):
        return ["e", _name(kind), value.name]
    if _ours(kind):
        inside = [_encode(getattr(value, f.name), arrays) for f in fields(value)]
        return ["o", _name(kind), inside]
    raise NotWritableError(_name(kind))


def _ours(kind: type) -> bool:
    """Whether the fields of an instance are all that it is."""
    if not (is_dataclass(kind) and kind.__module__.startswith(_OURS)):
        return False
    return issubclass(kind, Value) or bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _decode(tree: list, store: Any) -> Any:
    tag, *rest = tree
    if tag == "v":
        return rest[0]
    if tag == "i":
        return int(rest[0])
    if tag == "f":
        return float.fromhex(rest[0])
    if tag == "a":
        array = store[f"a{rest[0]}"]
        array.setflags(write=rest[1])
        return array
    if tag == "g":
        return store[f"a{rest[0]}"][()]
    if tag == "t":
        return tuple(_decode(v, store) for v in rest[0])
    if tag == "l":
        return [_decode(v, store) for v in rest[0]]
    if tag == "d":
        return {_decode(k, store): _decode(v, store) for k, v in rest[0]}
    kind = _class(rest[0])
    if tag == "e" and issubclass(kind, Enum):
        return kind[rest[1]]
    if tag == "o" and _ours(kind) and len(fields(kind)) == len(rest[1]):
        made = object.__new__(kind)
        for field, inside in zip(fields(kind), rest[1], strict=True):
            object.__setattr__(made, field.name, _decode(inside, store))
        return made
    raise DamagedError(f"an unknown entry {tag!r} of {rest[0]}")


def _class(name: str) -> type:
    module, _, path = name.partition(":")
    if not module.startswith(_OURS):
        raise DamagedError(f"a class of another package: {name}")
    thing: Any = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part)
    if not isinstance(thing, type):
        raise DamagedError(f"not a class: {name}")
    return thing
