"""Who ran what on which data: trial ids and provenance.

A trial id is a digest of the strategy's contents, the numbers of the panel and every
setting, so that a sweep can tell a finished trial from a new one.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from engine.data.panel import PricePanel

_HASHES: WeakKeyDictionary[PricePanel, str] = WeakKeyDictionary()  # never changes
_PLAIN = frozenset({str, int, float, bool, type(None)})
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe(thing: Any) -> str:
    """Text that is equal for equal contents, in every process.

    Arrays count with all their bytes (a repr abbreviates them), mappings by sorted
    key, dataclasses by field, functions by name, a lambda or local function also by its
    code and what it holds; other objects by their repr without memory addresses.
    """
    if type(thing) in _PLAIN:
        text = repr(thing)
        return _ADDRESS.sub("", text) if " at 0x" in text else text
    if isinstance(thing, np.ndarray):
        content = np.ascontiguousarray(thing)
        data: Any = content.tobytes() if content.dtype.hasobject else _bytes_of(content)
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        return f"array({content.dtype.str}, {content.shape}, {digest})"
    if isinstance(thing, PricePanel):
        return f"panel({panel_hash(thing)})"
    if is_dataclass(thing) and not isinstance(thing, type):
        parts = (f"{f.name}={describe(getattr(thing, f.name))}" for f in fields(thing))
        return f"{_qualified(type(thing))}({', '.join(parts)})"
    if isinstance(thing, Mapping):
        parts = sorted(f"{describe(k)}: {describe(v)}" for k, v in thing.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(thing, (set, frozenset)):
        return f"{{{', '.join(sorted(map(describe, thing)))}}}"
    if isinstance(thing, (list, tuple)):
        return f"({', '.join(map(describe, thing))})"
    if isinstance(thing, type) or hasattr(thing, "__qualname__"):
        name = _qualified(thing)
        return f"{name}{_written(thing)}" if "<" in name else name
    return _ADDRESS.sub("", repr(thing))


def _written(function: Any) -> str:
    """What a function without a name of its own does: its code and what it holds."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    cells = [c.cell_contents for c in getattr(function, "__closure__", None) or ()]
    held = (code.co_consts, code.co_names, getattr(function, "__defaults__", None))
    parts = (code.co_code.hex(), _ADDRESS.sub("", repr(held)), *map(describe, cells))
    text = "|".join(parts)
    return f"({hashlib.blake2b(text.encode(), digest_size=8).hexdigest()})"


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """The same memory as bytes: hashing needs no copy of it."""
    return array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)


def _qualified(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"


def digest(*parts: Any) -> str:
    """Hexadecimal digest (32 characters) of the description of some things."""
    return digest_of(*map(describe, parts))


def digest_of(*texts: str) -> str:
    """Digest of things that are described already."""
    text = "\0".join(texts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def panel_hash(panel: PricePanel) -> str:
    """The panel's own content hash, and what it leaves out: labels, roles, rates."""
    known = _HASHES.get(panel)
    if known is None:
        known = _HASHES[panel] = _panel_hash(panel)
    return known


def _panel_hash(panel: PricePanel) -> str:
    return digest(
        panel.content_hash,
        panel.base_currency,
        panel.cash_currencies,
        panel.cash_rates,
        *((panel.open,) if panel.open is not None else ()),
        *((panel.volume,) if panel.volume is not None else ()),
        panel.universe,
    )


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name, package in (
        ("ballast", "ballast-risk"),
        ("numpy", "numpy"),
        ("pandas", "pandas"),
    ):
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance(
    strategy: Any,
    panel: PricePanel,
    settings: Mapping[str, Any],
    *,
    described: str | None = None,
) -> dict[str, Any]:
    """What a reader needs to run the same again; plain values only.

    ``described`` is the description of the strategy, where it is known already.
    """
    record: dict[str, Any] = {
        "strategy": describe(strategy) if described is None else described,
        "data": panel_hash(panel),
        "source": panel.source,
        "synthetic": panel.synthetic,
        "price_basis": panel.price_basis,
        "settings": {k: describe(v) for k, v in settings.items()},
        "versions": versions(),
    }
    seed = getattr(strategy, "seed", None)
    if seed is not None:
        record["seed"] = int(seed)
    return record
