"""Estimates of a strategy for the dates of a run, in parallel and from a cache.

An estimate is a function of three things: the settings that `Strategy.estimate` reads,
what the view showed, and the code. Their digest is its key. What came after the view's
date is no part of it, so that a panel longer by a day keeps every earlier estimate.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import inspect
import os
import sys
import tempfile
import warnings
from collections.abc import Generator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backtests._identity import describe, digest, versions
from backtests._time_limit import time_allowed
from backtests._written import DamagedError, NotWritableError, from_bytes, to_bytes
from engine.data.panel import PricePanel
from engine.data.view import MarketView
from engine.errors import StoreError, UsageError
from engine.parallel import Executor, map_ordered, resolve_jobs

Estimated = tuple[Any, Exception | None]

_TABLES = ("dates", "prices", "open", "volume", "fx", "cash_rates")
_PACKAGES = ("engine", "strategies")
_PLAIN = (bool, int, float, str, bytes, type(None), np.generic, np.ndarray, Enum)


class CacheCount(NamedTuple):
    """What a cache did: estimates found, made and written, repaired, kept in memory."""

    found: int
    made: int
    repaired: int
    in_memory: int


class EstimateCache:
    """Estimates by content: of a strategy's settings, the view, and the code.

    Parameters
    ----------
    folder : path, optional
        Each estimate is one file there, written whole or not at all; several runs may
        share it. In memory without one, for the life of this object.

    Notes
    -----
    Files hold arrays and JSON, never pickles. What has no such form (an object of
    another package) is kept in memory only, and a warning says so. An entry that
    cannot be read is computed again. Every reader gets an object of its own, so that
    none can change what another reads.
    """

    def __init__(self, folder: Any = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._held: dict[str, Any] = {}
        self._counts = [0, 0, 0, 0]
        self._said: set[str] = set()
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    "the folder for estimates cannot be made",
                    received=f"{self.folder}: {error.strerror}",
                ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])

    @property
    def counts(self) -> CacheCount:
        """Of this object, in this process."""
        return CacheCount(*self._counts)

    def get(self, key: str) -> tuple[bool, Any]:
        """Whether there is an entry that can be read, and its value."""
        found, value = self._read(key)
        self._counts[0] += found
        return found, value

    def _read(self, key: str) -> tuple[bool, Any]:
        if key in self._held:
            kept = self._held[key]
            value = from_bytes(kept, key) if isinstance(kept, bytes) else kept[0]
            return True, value if isinstance(kept, bytes) else copy.deepcopy(value)
        if self.folder is None:
            return False, None
        try:
            return True, from_bytes(self._path(key).read_bytes(), key)
        except FileNotFoundError:
            return False, None
        except (DamagedError, OSError):
            self._counts[2] += 1
            return False, None

    def put(self, key: str, value: Any, *, of: str = "a strategy") -> None:
        """Keep a value; a disk that is full or read-only costs only the saving."""
        self._counts[1] += 1
        try:
            content = to_bytes(value, key)
        except NotWritableError as reason:
            self._counts[3] += 1
            with contextlib.suppress(Exception):  # what cannot be copied is not kept
                self._held[key] = (copy.deepcopy(value),)
            if self.folder is not None:
                self.say(f"estimates of '{of}' are kept in memory only: {reason}")
            return
        if self.folder is None:
            self._held[key] = content
            return
        try:
            _write(self._path(key), content)
        except OSError as error:
            self.say(f"an estimate could not be written: {error.strerror}")

    def say(self, text: str) -> None:
        """Warn, once for each text."""
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, UserWarning, stacklevel=2)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.npz"

    def __repr__(self) -> str:
        where = "in memory" if self.folder is None else str(self.folder)
        found, made, repaired, in_memory = self._counts
        return (
            f"EstimateCache({where}: {found} found, {made} made, {repaired} damaged, "
            f"{in_memory} in memory only)"
        )


def cache_of(given: Any) -> EstimateCache | None:
    """The cache of an option: None, a folder, or a cache."""
    if given is None or isinstance(given, EstimateCache):
        return given
    if isinstance(given, (str, os.PathLike)):
        return EstimateCache(given)
    raise UsageError(
        "cache is a folder or an EstimateCache", received=type(given).__name__
    )


def _write(path: Path, content: bytes) -> None:
    # Renamed when whole, so that a reader beside this never sees half. Not flushed to
    # the disk as results are: an entry lost in a crash is computed again.
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def estimation_settings(strategy: Any) -> str | None:
    """Text of all that an estimate depends on besides the view; None if not knowable.

    A dataclass that names in ``estimated_from`` the fields its `estimate` reads is
    known by these; it must name them itself, since a subclass may read more. Any other
    dataclass is known by all its fields. What hides state (other classes, closures,
    code without a source file) is not known, and is not cached.
    """
    kind = type(strategy)
    if not is_dataclass(strategy) or getattr(strategy, "__dict__", {}).keys() - {
        f.name for f in fields(strategy)
    }:
        return None
    code = _code_of(kind)
    if code is None:
        return None
    names = kind.__dict__.get("estimated_from", [f.name for f in fields(strategy)])
    parts = [f"{kind.__module__}.{kind.__qualname__}", code]
    for name in names:
        value = getattr(strategy, name)
        if hasattr(value, "estimate") and not isinstance(value, type):
            text = estimation_settings(value)
        else:
            text = _known(value)
        if text is None:
            return None
        parts.append(f"{name}={text}")
    return "\0".join(parts)


def _known(value: Any) -> str | None:
    """Description of a value that its description tells apart; None of any other."""
    if isinstance(value, _PLAIN):
        return describe(value)
    if isinstance(value, Mapping):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        inside = list(value)
    elif is_dataclass(value) and not isinstance(value, type):
        inside = [type(value), *(getattr(value, f.name) for f in fields(value))]
    elif isinstance(value, type) or inspect.isfunction(value):
        bare = getattr(value, "__closure__", None) is None
        plain = "<" not in value.__qualname__ and bare
        code = _code_of(value) if plain else None
        return None if code is None else f"{describe(value)} {code}"
    else:
        return None
    known = [_known(v) for v in inside]
    if any(text is None for text in known):
        return None
    # What classes and functions are made of counts as well as what they are called.
    return f"{describe(value)} {digest(sorted(map(str, known)))}"


@functools.cache
def _source(path: str) -> str | None:
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None


def _code_of(thing: Any) -> str | None:
    """Digest of the files that define a class and its bases, or a function."""
    if thing.__module__ == "builtins" or thing.__module__.partition(".")[0] in (
        *_PACKAGES,
        "numpy",
    ):
        return engine_code()
    owners = thing.__mro__[:-1] if isinstance(thing, type) else (thing,)
    found = []
    for owner in owners:
        module = sys.modules.get(owner.__module__)
        path = getattr(module, "__file__", None)
        text = None if path is None else _source(path)
        if text is None:
            return None
        found.append(text)
    return ",".join(found)


@functools.cache
def engine_code() -> str:
    """Digest of the code that estimates, and of the libraries it calls."""
    import engine
    import strategies

    state = hashlib.blake2b(repr(sorted(versions().items())).encode(), digest_size=16)
    for package in (engine, strategies):
        root = Path(str(package.__file__)).parent
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.json")]):
            state.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return state.hexdigest()


class ShownDigest:
    """Digest of what views of one panel show, each row being read once."""

    def __init__(self) -> None:
        self._tables: tuple[Any, ...] = ()
        self._rows = 0
        self._state = hashlib.blake2b(digest_size=16)
        self._labels: dict[int, tuple[Any, str]] = {}

    def __call__(self, view: MarketView) -> str:
        """Digest of a view; equal exactly when nothing it shows differs."""
        panel = view.panel
        tables = tuple(getattr(panel, name) for name in _TABLES)
        rows = panel.dates.size
        if rows < self._rows or not self._continues(tables):
            self._rows = 0
            self._state = hashlib.blake2b(digest_size=16)
        if rows > self._rows:
            # One table after the other within a row: chunks must not matter.
            cut = [t[self._rows : rows] for t in tables if t is not None]
            width = [np.ascontiguousarray(c).view(np.uint8) for c in cut if c.size]
            flat = [w.reshape(rows - self._rows, -1) for w in width]
            self._state.update(np.hstack(flat).tobytes())
            self._rows = rows
        self._tables = tables
        return digest(
            self._state.hexdigest(),
            tuple(None if t is None else t.shape[1:] for t in tables),
            str(view.time),
            view.hindsight_parameters,
            self._described(panel.universe),
            panel.price_basis,
            panel.base_currency,
            panel.fx_currencies,
            panel.cash_currencies,
            panel.synthetic,
            panel.source,
            panel.actions,
            panel.membership,
            self._described(panel.overrides),
        )

    def _continues(self, tables: tuple[Any, ...]) -> bool:
        """Whether the rows read before are the same memory; it cannot be written to."""
        if len(self._tables) != len(tables):
            return False
        for old, new in zip(self._tables, tables, strict=True):
            if (old is None) != (new is None):
                return False
            if old is None or not old.size:
                continue
            a, b = old.__array_interface__, new.__array_interface__
            if a["data"][0] != b["data"][0] or old.strides != new.strides:
                return False
            if old.shape[1:] != new.shape[1:] or old.dtype != new.dtype:
                return False
        return True

    def _described(self, thing: Any) -> str:
        if id(thing) not in self._labels:
            self._labels[id(thing)] = (thing, describe(thing))  # kept: ids are reused
        return self._labels[id(thing)][1]


def _estimate_block(task: tuple) -> list[Estimated]:
    """Estimates of some dates, errors kept beside them. Importable by workers."""
    strategy, panel, dates, hindsight, seconds = task
    results: list[Estimated] = []
    for date in dates:
        view = panel.as_of(date, hindsight_parameters=hindsight)
        try:
            with time_allowed(seconds, "estimate"):
                results.append((strategy.estimate(view), None))
        except Exception as error:  # judged where the date is decided
            results.append((None, error))
    return results


def estimates(
    strategy: Any,
    panel: PricePanel,
    dates: np.ndarray,
    *,
    hindsight_parameters: bool,
    executor: Executor,
    n_jobs: int,
    cache: EstimateCache | None = None,
    time_limit: float | None = None,
) -> Generator[Estimated, None, None]:
    """``(estimate, error)`` for each date in order, by `engine.parallel`.

    With a cache, what it holds is read, and what it lacks is estimated and kept;
    errors are not kept.
    """
    settings = None if cache is None else estimation_settings(strategy)
    if cache is not None and settings is None:
        name = getattr(strategy, "name", type(strategy).__name__)
        cache.say(
            f"estimates of '{name}' are not cached: only a dataclass of plain values "
            "says by its fields what they depend on"
        )
    if cache is None or settings is None:
        yield from _computed(
            strategy, panel, dates, hindsight_parameters, executor, n_jobs, time_limit
        )
        return
    shown = ShownDigest()
    keys = [
        digest(
            settings,
            engine_code(),
            shown(panel.as_of(t, hindsight_parameters=hindsight_parameters)),
        )
        for t in dates
    ]
    missing = np.array([not _there(cache, k) for k in keys], dtype=bool)
    fresh = _computed(
        strategy,
        panel,
        dates[missing],
        hindsight_parameters,
        executor,
        n_jobs,
        time_limit,
    )
    with contextlib.closing(fresh):
        for k, date in enumerate(dates):
            found, value = (False, None) if missing[k] else cache.get(keys[k])
            if found:
                yield value, None
                continue
            if missing[k]:
                made = next(fresh)
            else:
                one = (strategy, panel, [date], hindsight_parameters, time_limit)
                made = _estimate_block(one)[0]
            if made[1] is None:
                cache.put(keys[k], made[0], of=strategy.name)
            yield made


def _there(cache: EstimateCache, key: str) -> bool:
    return key in cache._held or (
        cache.folder is not None and cache._path(key).exists()
    )


def _computed(
    strategy: Any,
    panel: PricePanel,
    dates: np.ndarray,
    hindsight: bool,
    executor: Executor,
    n_jobs: int,
    seconds: float | None,
) -> Generator[Estimated, None, None]:
    if not dates.size:
        return
    # A block travels with one copy of the panel; serial work stays lazy, date by date.
    size = 1 if executor == "serial" else -(-dates.size // (4 * resolve_jobs(n_jobs)))
    tasks = (
        (strategy, panel, dates[i : i + size], hindsight, seconds)
        for i in range(0, dates.size, size)
    )
    blocks = map_ordered(_estimate_block, tasks, executor=executor, n_jobs=n_jobs)
    try:
        for block in blocks:
            yield from block
    finally:
        # Left open, it would hold its thread limit beyond the run.
        if isinstance(blocks, Generator):
            blocks.close()
