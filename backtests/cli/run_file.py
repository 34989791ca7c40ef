"""A whole run in one TOML file: what `ballast run` reads.

The keys are the flags of the command line, with underscores; the tables only sort
them. Paths are relative to the file. Nothing unknown is overlooked: a table or key that
does not exist, or a value of another type, is refused with its line.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from backtests.cli.options import ChosenShock, Limits, Prices, Run, Walk, settings
from backtests.job import Settings
from engine.errors import DataError, UsageError, did_you_mean

STRATEGIES = ("hold", "hold-cash", "shock-aware", "equal")
"""Walked forward where the file names none: those of `ballast report`."""
_COSTS = ("half_spread_bps", "commission_bps")
_NOT_A_PATH = MappingProxyType({"prices": ("reference",), "exposures": ("builtin",)})
_FILES = ("prices", "exposures", "shock", "candidates")
"""Text that may name a file."""


@dataclass(frozen=True)
class BookTable:
    """``[book]``: the portfolio file, and the value of one given in weights."""

    path: Path = Path()
    value: float | None = None


@dataclass(frozen=True)
class ReportTable:
    """``[report]``: the HTML page."""

    write: bool = True
    title: str = "Cheap-model shock: stress, proposal, backtest"
    committee: bool = False
    validation: Path | None = None


@dataclass(frozen=True)
class Outputs:
    """``[outputs]``: where results go, and the kind of the tables."""

    folder: Path = Path("out")
    tables: str = "csv"


@dataclass(frozen=True)
class RunPlan:
    """A run file, read and checked.

    Attributes
    ----------
    path : Path
    digest : str
        SHA-256 of the file's bytes.
    stated : mapping
        Every table as it stands in the file.
    """

    path: Path
    digest: str
    stated: Mapping[str, Mapping[str, Any]]
    book: BookTable
    prices: Prices
    run: Run
    shock: ChosenShock
    limits: Limits
    walk: Walk | None
    strategies: tuple[str, ...] = STRATEGIES
    report: ReportTable = field(default_factory=ReportTable)
    outputs: Outputs = field(default_factory=Outputs)

    def settings(self) -> Settings:
        """What the flags would have made of it."""
        from dataclasses import replace

        made = settings(self.run, self.shock, self.limits, self.walk)
        return replace(made, committee=self.report.committee)

    def provenance(self) -> dict[str, Any]:
        """The file's name, its digest, and everything it states."""
        return {
            "path": self.path.name,
            "digest": self.digest,
            "settings": {k: dict(v) for k, v in self.stated.items()},
        }


class _Reader:
    """One file being read; knows the line of a key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.content = path.read_bytes()
        except OSError as error:
            raise DataError(
                "cannot read the run file",
                received=str(path),
                expected=error.strerror or "a file",
                fix="ballast run --template > run.toml writes one.",
            ) from error
        try:
            self.text = self.content.decode("utf-8-sig")
            self.tables: dict[str, Any] = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: not UTF-8", received=f"byte {error.start}"
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise DataError(
                f"{path}: not TOML",
                received=str(error),
                fix="Text stands in quotes, decimals take a point: limit = 0.08.",
            ) from None

    def place(self, table: str, key: str | None = None) -> str:
        """File and line of a table's heading, or of one of its keys."""
        inside = False
        for i, line in enumerate(self.text.splitlines(), start=1):
            heading = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
            if heading:
                inside = heading[1] == table
                if inside and key is None:
                    return f"{self.path.name}, line {i}"
            elif key is None and re.match(rf"\s*{re.escape(table)}\s*=", line):
                return f"{self.path.name}, line {i}"
            elif inside and key and re.match(rf'\s*"?{re.escape(key)}"?\s*=', line):
                return f"{self.path.name}, line {i}, [{table}] {key}"
        return f"{self.path.name}, [{table}] {key or ''}".rstrip()

    def table(self, name: str, known: Collection[str]) -> dict[str, Any]:
        """One table; every key must be known."""
        found = self.tables.get(name, {})
        if not isinstance(found, dict):
            raise UsageError(
                f"{self.place(name)}: {name} is a table",
                received=repr(found),
                fix=f"Write [{name}] on a line of its own, its keys below.",
            )
        for key in found:
            if key not in known:
                raise UsageError(
                    f"{self.place(name, key)}: unknown key",
                    received=repr(key),
                    expected=", ".join(known),
                    fix=did_you_mean(key, known),
                )
        return found

    def values(self, name: str, kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a table, each of the type its dataclass states."""
        hints = get_type_hints(kind)
        return {
            key: self._typed(name, key, value, hints[key])
            for key, value in given.items()
        }

    def _typed(self, table: str, key: str, value: Any, hint: Any) -> Any:
        kinds = set(get_args(hint) or (hint,))
        if isinstance(value, date) and not isinstance(value, datetime) and str in kinds:
            return value.isoformat()
        if isinstance(value, bool):
            if bool in kinds:
                return value
        elif isinstance(value, str):
            if Path in kinds:
                return self._path(value)
            if str in kinds and hint is not tuple and not _many(hint):
                return self._text(key, value)
            if _many(hint):
                return (value,)
        elif isinstance(value, (int, float)):
            if isinstance(value, int) and int in kinds:
                return value
            if float in kinds and math.isfinite(value):
                return float(value)
            if _many(hint) and math.isfinite(value):
                return (repr(value),)
        elif isinstance(value, list) and value:
            plain = all(isinstance(v, (str, int, float)) for v in value)
            if plain and _many(hint) and not any(isinstance(v, bool) for v in value):
                return tuple(v if isinstance(v, str) else repr(v) for v in value)
            if all(isinstance(v, str) for v in value) and key in (
                *("tickers", "candidates"),
                "prices",
            ):
                return ",".join(self._text(key, v) for v in value)
        raise UsageError(
            f"{self.place(table, key)}: not a value for this key",
            received=repr(value),
            expected=_expected(hint),
        )

    def _path(self, text: str) -> Path:
        path = Path(text).expanduser()
        return path if path.is_absolute() else self.path.parent / path

    def _text(self, key: str, value: str) -> str:
        """Text, or a path where the text names a file beside this one."""
        if key not in _FILES or value in _NOT_A_PATH.get(key, ()):
            return value
        if key == "prices":
            parts = [p.strip() for p in value.split(",")]
            return ",".join(str(self._path(p)) for p in parts)
        path = self._path(value)
        return str(path) if path.suffix and path.exists() else value


def _many(hint: Any) -> bool:
    return hint == tuple[str, ...]


def _expected(hint: Any) -> str:
    if _many(hint):
        return "text, a number, or a list of them"
    words = {str: "text", int: "a whole number", float: "a finite number"}
    words |= {bool: "true or false", Path: "a path in quotes"}
    found = [words[k] for k in (get_args(hint) or (hint,)) if k in words]
    return " or ".join(found) or "another type"


def _names(kind: type, without: Collection[str] = ()) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.name not in without)


_OUTPUT_FLAGS = ("out", "json", "quiet", "verbose", "value")


def book_table(reader: _Reader) -> BookTable:
    """Read ``[book]``."""
    given = reader.table("book", _names(BookTable))
    if "path" not in given:
        raise UsageError(
            f"{reader.place('book')}: no portfolio", fix='[book]\npath = "book.csv"'
        )
    return BookTable(**reader.values("book", BookTable, given))


def data_table(reader: _Reader) -> Prices:
    """Read ``[data]``: the flags that say where prices come from."""
    given = reader.table("data", _names(Prices))
    return Prices(**reader.values("data", Prices, given))


def read_run(path: Path) -> RunPlan:
    """Read a run file.

    Raises
    ------
    DataError
        No such file, or not TOML.
    UsageError
        A table, key or value that means nothing here; file, line and key are named.
    """
    reader = _Reader(Path(path))
    tables = (
        *("book", "data", "estimation", "shocks", "limits", "costs"),
        *("walk_forward", "report", "outputs"),
    )
    for name in reader.tables:
        if name not in tables:
            raise UsageError(
                f"{reader.place(name)}: unknown table",
                received=repr(name),
                expected=", ".join(tables),
                fix=did_you_mean(name, tables),
            )
    book = book_table(reader)
    own = {
        "estimation": (Run, _names(Run, _OUTPUT_FLAGS)),
        "shocks": (ChosenShock, _names(ChosenShock)),
        "limits": (Limits, _names(Limits, _COSTS)),
        "costs": (Limits, _COSTS),
        "report": (ReportTable, _names(ReportTable)),
        "outputs": (Outputs, _names(Outputs)),
    }
    read = {
        name: reader.values(name, kind, reader.table(name, known))
        for name, (kind, known) in own.items()
    }
    walk, strategies = _walk_table(reader)
    plan = RunPlan(
        path=reader.path,
        digest=hashlib.sha256(reader.content).hexdigest(),
        stated=_stated(reader.tables),
        book=book,
        prices=data_table(reader),
        run=Run(**read["estimation"], value=book.value),
        shock=ChosenShock(**read["shocks"]),
        limits=Limits(**read["limits"], **read["costs"]),
        walk=walk,
        strategies=strategies,
        report=ReportTable(**read["report"]),
        outputs=Outputs(**{"folder": reader.path.parent / "out", **read["outputs"]}),
    )
    if plan.outputs.tables not in ("csv", "parquet"):
        raise UsageError(
            f"{reader.place('outputs', 'tables')}: unknown kind of table",
            received=repr(plan.outputs.tables),
            expected="csv or parquet",
        )
    return plan


def _walk_table(reader: _Reader) -> tuple[Walk | None, tuple[str, ...]]:
    """Read ``[walk_forward]``; without the table nothing is walked forward."""
    from backtests import rulebook

    known = rulebook.names()

    if "walk_forward" not in reader.tables:
        return None, ()
    given = dict(reader.table("walk_forward", (*_names(Walk), "strategies")))
    wanted = given.pop("strategies", list(STRATEGIES))
    if not isinstance(wanted, list) or not wanted:
        raise UsageError(
            f"{reader.place('walk_forward', 'strategies')}: a list of names",
            received=repr(wanted),
            expected=", ".join(known),
        )
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"{reader.place('walk_forward', 'strategies')}: unknown strategy",
                received=repr(name),
                expected=", ".join(known),
                fix=did_you_mean(str(name), known),
            )
    walk = Walk(**reader.values("walk_forward", Walk, given))
    return walk, tuple(dict.fromkeys(wanted))


def _stated(tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables as plain values: dates as text."""
    return {
        name: {
            k: v.isoformat() if isinstance(v, (date, datetime)) else v
            for k, v in table.items()
        }
        for name, table in tables.items()
    }


def template() -> str:
    """Return a commented run file: it runs as it stands, once book.csv exists."""
    source = resources.files("backtests").joinpath("cli/run_template.toml")
    return source.read_text(encoding="utf-8")
