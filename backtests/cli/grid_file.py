"""Grid files: a sweep over strategies and their parameters, in TOML, checked by key.

::

    book = "book.csv"
    value = 1_000_000

    [data]
    prices = "prices.csv"
    universe = "universe.csv"
    price_basis = "total_return"

    [walk]
    start = "2019-01-02"
    end = "2024-12-31"
    schedule = ["monthly", "quarterly"]

    [costs]
    half_spread_bps = [5, 10]

    [run]
    executor = "processes"
    n_jobs = 4
    out = "sweep"

    [[strategy]]
    name = "shock-aware"
    limit = [0.06, 0.08, 0.10]
    window = [252, 504]

    [[strategy]]
    name = "risk-parity"

A list holds the values to try; where a parameter is itself a list (``tickers``,
``limits``), a list of lists does. Schedules and costs multiply every strategy. Paths
are relative to the file. Everything is checked before anything runs, and nothing in a
file is run.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import strategies
from backtests.cli import show
from backtests.cli.grid_values import checked_value, checked_values
from backtests.cli.options import Prices, group_limit
from backtests.job import Settings, rules, weights_of
from backtests.rulebook import left_out
from backtests.sweeps import Trial
from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data.panel import PricePanel, parse_time
from engine.data.portfolio import Portfolio
from engine.errors import BallastError, DataError, UsageError
from engine.parallel import EXECUTORS
from engine.shocks import CheapModelShock
from engine.shocks.arguments import near
from strategies.schedules import SCHEDULES

LIMIT_BYTES = 1_000_000
"""A larger file is no grid."""
MOST_CELLS = 100_000

_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "hold": ("Hold", {}),
    "hold-cash": ("HoldWithCash", {}),
    "hold-short": ("HoldWithShort", {}),
    "hold-swap": ("HoldWithSwap", {}),
    "shock-aware": ("ShockAware", {}),
    "shock-aware-planned": ("ShockAwareMultiPeriod", {}),
    "equal": ("EqualWeight", {}),
    "fixed-mix": ("FixedMix", {}),
    "min-variance": ("MinimumVariance", {}),
    "min-shortfall": ("MinimumShortfall", {}),
    "inverse-volatility": ("InverseVolatility", {}),
    "risk-parity": ("RiskParity", {}),
    "max-diversification": ("MaximumDiversification", {}),
    "hrp": ("HierarchicalRiskParity", {"method": "HRP"}),
    "herc": (
        "HierarchicalRiskParity",
        {"method": "HERC", "name": "hierarchical equal risk contribution"},
    ),
    "momentum": ("Momentum", {}),
}
_GIVEN = ("name", "book", "shock", "costs", "own_limits", "forecast", "method")
"""Fields of strategies that are not parameters of a file: other keys state them."""
_SHOCKED = ("preset", "severity")
_TOP = ("book", "value", "data", "walk", "costs", "shock", "run", "strategy")
_NOT_IN_WALK = (
    "portfolio", "costs", "initial_value", "cache", "executor", "n_jobs", "progress",
)  # fmt: skip
_SHOCK: dict[str, Any] = {"preset": str, "severity": float, "file": str, "funds": str}
_RUN: dict[str, Any] = {"executor": Literal[EXECUTORS], "n_jobs": int, "out": str}
_PATHS = (
    "universe",
    "fx",
    "cash_rates",
    "actions",
    "membership",
    "calendar",
    "look_through",
)


@functools.cache
def _walk_keys() -> dict[str, Any]:
    """Options of `backtest` that a file may state, with their types."""
    hints = typing.get_type_hints(backtest)
    hints |= {"start": str, "end": str, "schedule": Literal[SCHEDULES]}
    return {
        name: hints[name]
        for name, p in inspect.signature(backtest).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name not in _NOT_IN_WALK
    }


@functools.cache
def _homes() -> dict[str, str]:
    """The table a key belongs to, for whoever put it elsewhere."""
    return {
        **dict.fromkeys(_walk_keys(), "walk"),
        **dict.fromkeys(_RUN, "run"),
        **{f.name: "costs" for f in fields(Costs) if f.name != "facts"},
        **{f.name: "data" for f in fields(Prices)},
    }


@dataclass(frozen=True)
class GridFile:
    """A grid as it was read; `trials` turns it into cells.

    Attributes
    ----------
    path : Path
    book : Path
    value : float or None
    prices : Prices
    walk : mapping
        Options of `backtest`; ``schedule`` is a tuple of those to try.
    costs : mapping of name to tuple of values
    shock : mapping
    run : mapping
        ``executor``, ``n_jobs``, ``out``.
    strategies : tuple of (name, mapping of parameter to tuple of values)
    """

    path: Path
    book: Path
    value: float | None
    prices: Prices
    walk: Mapping[str, Any]
    costs: Mapping[str, tuple[Any, ...]]
    shock: Mapping[str, Any]
    run: Mapping[str, Any]
    strategies: tuple[tuple[str, Mapping[str, tuple[Any, ...]]], ...]

    @property
    def out(self) -> Path:
        """Folder of the cells: that of the file, or one beside it with its name."""
        if "out" in self.run:
            return self.path.parent / self.run["out"]
        return self.path.with_name(f"{self.path.stem}-sweep")

    @property
    def n_cells(self) -> int:
        """Cells of the grid."""
        common = len(self.walk["schedule"]) * _size(self.costs)
        return common * sum(_size(grid) for _, grid in self.strategies)

    def trials(self, portfolio: Portfolio, panel: PricePanel) -> list[Trial]:
        """Return one trial per cell, its strategy already made and so checked.

        Raises
        ------
        DataError
            A value that a strategy or the costs refuse, naming the place in the file.
        """
        walk = {k: v for k, v in self.walk.items() if k != "schedule"}
        shocks, own = self._shocks()
        settings = Settings(
            shocks=shocks,
            own_limits=own,
            window=self._longest_window(),
            start=walk.get("start", panel.dates[0]),
            funds=self.shock.get("funds", "estimated"),
            hindsight_parameters=bool(walk.get("hindsight_parameters", False)),
        )
        book = portfolio.priced(panel.as_of(panel.dates[-1]))
        show.aside(left_out(weights_of(book), panel, settings))
        hold, cash, aware, equal = rules(
            weights_of(book), settings, dict(own) or 0.08, panel
        )
        ready = {
            "hold": hold, "hold-cash": cash, "shock-aware": aware, "equal": equal
        }  # fmt: skip
        out = []
        for number, (name, grid) in enumerate(self.strategies, start=1):
            where = f"{self.path}: strategy {number} ({name})"
            for cell, schedule, priced in itertools.product(
                _cells(grid), self.walk["schedule"], _cells(self.costs)
            ):
                try:
                    costs = Costs(**priced)
                    rule = _rule(name, cell, ready, costs, self.shock)
                except BallastError as error:
                    raise DataError(
                        f"{where}: {error.problem}",
                        received=error.received or _shown(cell | priced),
                        expected=error.expected,
                        fix=error.fix,
                    ) from error
                swept = {k: v for k, v in priced.items() if len(self.costs[k]) > 1}
                if len(self.walk["schedule"]) > 1:
                    swept["schedule"] = schedule
                options = {
                    **walk, "schedule": schedule, "costs": costs,
                    "initial_value": book.value,
                }  # fmt: skip
                out.append(
                    Trial(
                        {"strategy": name, **cell, **swept},
                        made,
                        {"strategy": rule},
                        options,
                    )
                )
        return out

    def _longest_window(self) -> int:
        """Sessions that the assets need at the start, the same for all strategies."""
        found = [1]
        for name, grid in self.strategies:
            if "window" in parameters_of(name):
                kind = getattr(strategies, _CLASSES[name][0])
                usual = next(f.default for f in fields(kind) if f.name == "window")
                found.extend(grid.get("window", (usual,)))
        return max(found)

    def _shocks(self) -> tuple[tuple[Any, ...], Mapping[str, float]]:
        """Shocks that are limited, and limits of their own."""
        if "file" in self.shock:
            from engine.shocks.files import read_scenarios

            found = read_scenarios(self.path.parent / self.shock["file"])
            return found.shocks, found.limits
        given = {k: self.shock[k] for k in _SHOCKED if k in self.shock}
        try:
            return (CheapModelShock(**given),), {}
        except BallastError as error:
            raise DataError(
                f"{self.path}: [shock]: {error.problem}",
                received=error.received,
                expected=error.expected,
                fix=error.fix,
            ) from error


def made(strategy: Any) -> Any:
    """Return the strategy of a trial, made beforehand."""
    return strategy


def strategy_names() -> tuple[str, ...]:
    """Names that ``[[strategy]]`` may have."""
    return tuple(_CLASSES)


def parameters_of(name: str) -> dict[str, Any]:
    """Parameters of a strategy in a file, with their types."""
    kind = getattr(strategies, _CLASSES[name][0])
    hints = typing.get_type_hints(kind)
    hints |= {"limits": tuple[str, ...], "groups": tuple[str, ...]}
    names = {f.name for f in fields(kind) if f.init}
    found = {k: hints[k] for k in hints if k in names and k not in _GIVEN}
    if name == "hold":
        found.pop("weights")  # the book is what is held
    if "shock" in names:
        found |= {k: _SHOCK[k] for k in _SHOCKED}
    return found | {"drift_band": float, "drift_to": Literal["edge", "centre"]}


def read_grid(path: Any) -> GridFile:
    """Read a grid file and check every key and value.

    Raises
    ------
    DataError
        The file cannot be read or is no TOML; a key is unknown, missing, of the wrong
        type or in the wrong table. The message names the place, and the key that may
        have been meant.
    """
    path = Path(path)
    document = _document(path)
    _check_keys(document, _TOP, str(path), top=True)
    if "book" not in document or "strategy" not in document:
        missing = "book" if "book" not in document else "strategy"
        raise DataError(
            f"{path}: {missing} is missing",
            expected='book = "book.csv"' if missing == "book" else "[[strategy]]",
        )
    tables = {
        name: _table(document, name, str(path))
        for name in ("data", "walk", "costs", "shock", "run")
    }
    value = document.get("value")
    return GridFile(
        path=path,
        book=path.parent / checked_value(document["book"], str, f"{path}: book"),
        value=None if value is None else checked_value(value, float, f"{path}: value"),
        prices=_prices(tables["data"], path),
        walk=_walk(tables["walk"], path),
        costs=_costs(tables["costs"], path),
        shock=_plain_table(tables["shock"], _SHOCK, f"{path}: [shock]"),
        run=_plain_table(tables["run"], _RUN, f"{path}: [run]"),
        strategies=_strategies(document["strategy"], path),
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise DataError(f"{path} is too large for a grid file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            "cannot read the grid file", received=f"{path}: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no TOML", received=str(error)[:200]) from error


def _check_keys(
    table: Mapping[str, Any], known: Sequence[str], where: str, *, top: bool = False
) -> None:
    for key in table:
        if key in known:
            continue
        home = _homes().get(key)
        fix = near(key, known)
        if home is not None and f"[{home}]" not in where:
            fix = f"It belongs in [{home}]."
        elif top and key in ("strategies", "strategys"):
            fix = "Did you mean [[strategy]]?"
        raise DataError(
            f"{where}: unknown key",
            received=key,
            expected=", ".join(known),
            fix=fix,
        )


def _table(document: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise DataError(
            f"{where}: {name} is not a table",
            received=repr(found)[:100],
            expected=f"[{name}]",
        )
    return found


def _plain_table(
    table: Mapping[str, Any], known: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Check a table whose keys have one value each."""
    _check_keys(table, tuple(known), where)
    return {k: checked_value(v, known[k], f"{where}: {k}") for k, v in table.items()}


def _prices(table: Mapping[str, Any], path: Path) -> Prices:
    known: dict[str, Any] = {f.name: str for f in fields(Prices)}
    known["tickers"] = str | tuple[str, ...]
    given = _plain_table(table, known, f"{path}: [data]")
    if isinstance(given.get("tickers"), tuple):
        given["tickers"] = ",".join(given["tickers"])
    for name in _PATHS:
        if name in given:
            given[name] = path.parent / given[name]
    if given.get("exposures", "builtin") != "builtin":
        given["exposures"] = str(path.parent / given["exposures"])
    if given.get("prices", "reference") not in ("reference", "yahoo"):
        pieces = [p.strip() for p in given["prices"].split(",") if p.strip()]
        given["prices"] = ",".join(str(path.parent / p) for p in pieces)
    return Prices(**given)


def _walk(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    where = f"{path}: [walk]"
    known = _walk_keys()
    _check_keys(table, tuple(known), where)
    found: dict[str, Any] = {"schedule": ("monthly",)}
    for key, value in table.items():
        place = f"{where}: {key}"
        if key == "schedule":
            found[key] = checked_values(value, known[key], place)
        elif key in ("start", "end"):
            text = value.isoformat() if hasattr(value, "isoformat") else value
            found[key] = checked_value(text, str, place)
            try:
                parse_time(found[key])
            except BallastError as error:
                raise DataError(
                    f"{place} is no date", received=repr(text), expected='"2024-12-31"'
                ) from error
        else:
            found[key] = checked_value(value, known[key], place)
    return found


def _costs(table: Mapping[str, Any], path: Path) -> dict[str, tuple[Any, ...]]:
    where = f"{path}: [costs]"
    hints = typing.get_type_hints(Costs)
    known = {
        k: float | Mapping[str, float] if hint is Any else hint
        for k, hint in hints.items()
        if k in {f.name for f in fields(Costs)} and k != "facts"
    }
    _check_keys(table, tuple(known), where)
    return {k: checked_values(v, known[k], f"{where}: {k}") for k, v in table.items()}


def _strategies(found: Any, path: Path) -> tuple:
    if not isinstance(found, list) or not all(isinstance(s, dict) for s in found):
        raise DataError(
            f"{path}: strategy is no list of tables",
            received=repr(found)[:100],
            expected="[[strategy]]",
        )
    if not found:
        raise DataError(f"{path}: there is no strategy", expected="[[strategy]]")
    out = []
    for number, table in enumerate(found, start=1):
        where = f"{path}: strategy {number}"
        if "name" not in table:
            raise DataError(f"{where} has no name", expected=", ".join(_CLASSES))
        name = table["name"]
        if name not in _CLASSES:
            raise DataError(
                f"{where}: unknown strategy",
                received=repr(name),
                expected=", ".join(_CLASSES),
                fix=near(str(name), _CLASSES),
            )
        where += f" ({name})"
        known = parameters_of(name)
        grid = {k: v for k, v in table.items() if k != "name"}
        _check_keys(grid, tuple(known), where)
        if "limit" in known and "limit" not in grid:
            raise DataError(
                f"{where}: limit is missing",
                expected="limit = [0.06, 0.08], the largest severe loss",
            )
        out.append((name, {
            k: checked_values(v, known[k], f"{where}: {k}") for k, v in grid.items()
        }))  # fmt: skip
    return tuple(out)


def _size(grid: Mapping[str, tuple[Any, ...]]) -> int:
    return math.prod(len(v) for v in grid.values())


def _cells(grid: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, v, strict=True)) for v in itertools.product(*grid.values())]


def _shown(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in cell.items())


def _rule(
    name: str,
    cell: Mapping[str, Any],
    ready: Mapping[str, Any],
    costs: Costs,
    shock: Mapping[str, Any],
) -> Any:
    """Make the strategy of one cell, over the same book and assets as the others."""
    given = dict(cell)
    band, to = given.pop("drift_band", None), given.pop("drift_to", None)
    if to is not None and band is None:
        raise UsageError("drift_to goes with drift_band")
    wanted = {k: given.pop(k) for k in _SHOCKED if k in given}
    if "groups" in given:
        given["groups"] = tuple(group_limit(g) for g in given["groups"])
    if wanted:
        if "file" in shock:
            raise UsageError(
                f"{next(iter(wanted))} goes with a preset; the scenario file states "
                "its own shocks"
            )
        base = {k: shock[k] for k in _SHOCKED if k in shock}
        given["shock"] = CheapModelShock(**(base | wanted))
    kind = getattr(strategies, _CLASSES[name][0])
    names = {f.name for f in fields(kind) if f.init}
    if "costs" in names:
        given["costs"] = costs
    if name in ready:
        rule = replace(ready[name], **given)
    else:
        like = ready["shock-aware"] if "groups" in names else ready["hold-cash"]
        common: dict[str, Any] = {}
        if "book" in names:
            shared = ("book", "shock", "own_limits", "funds", "upper", "tickers")
            common = {k: getattr(like, k) for k in shared if hasattr(like, k)}
        elif "tickers" in names:
            common = {"tickers": ready["equal"].tickers}
        elif "weights" in names:
            common = {"weights": ready["hold"].weights}
        common = {k: v for k, v in common.items() if k in names}
        rule = kind(**(common | _CLASSES[name][1] | given))
    if band is None:
        return rule
    return strategies.DriftBand(rule, band, to=to or "edge")
