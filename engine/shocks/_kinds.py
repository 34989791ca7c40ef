"""Kinds of shock that a scenario file may hold beside the cheap model.

    kind = "replay"       episode = "deepseek-monday", or window = [start, end]
    kind = "conditional"  [shock.moves] ai_basket = -0.12; distribution, dof, horizon
    kind = "entropy"      views = ["mean(NVDA) <= -0.10", ...]; method
    kind = "worst-case"   radius = 3, or coverage = 0.99; distribution, dof, ...
    kind = "reverse"      loss = 0.2; approximation, distribution, dof, ...
    kind = "mix"          [shock.probabilities], [shock.states] (`_kinds_mix`)

All take ``name``, ``citation`` and ``note``; views and moves also ``known_from``, the
day on which they were first held.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import DataError, UsageError
from engine.scenarios import ScenarioSet
from engine.shocks import _book_law
from engine.shocks._conditional import (
    AI_BASKET,
    DISTRIBUTIONS,
    ConditionalLaw,
    ConditionalShock,
    conditional,
)
from engine.shocks._kinds_lazy import BookSearch, EpisodeReplay
from engine.shocks._kinds_mix import NO_SHOCK, Mixture
from engine.shocks._kinds_tables import (
    EVERY,
    check_keys,
    checked_date,
    checked_flag,
    checked_number,
    checked_numbers,
    checked_text,
    checked_texts,
    checked_whole,
    checked_word,
    needed,
    placed,
    read_errors,
    words_of,
)
from engine.shocks._library import library
from engine.shocks._pooling import METHODS, EntropyPool, Pooled, entropy_pool
from engine.shocks.moves import ShockMoves

_SEARCH = ("distribution", "dof", "systematic", "horizon")


@dataclass(frozen=True, slots=True, eq=False)
class StatedMoves(ConditionalShock):
    """A conditional shock of a scenario file: its errors name their place in it."""

    note: str = ""
    where: str = ""

    def law(self, universe: Any, model: Any) -> ConditionalLaw:
        """Conditional law of the model's returns."""
        with placed(self.where, "moves"):
            return ConditionalShock.law(self, universe, model)

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Stressed names at their values, the others at the conditional mean."""
        with placed(self.where, "moves"):
            return ConditionalShock.moves(self, universe, model)


@dataclass(frozen=True, slots=True, eq=False)
class StatedViews(EntropyPool):
    """Views of a scenario file: their errors name their place in it."""

    note: str = ""
    where: str = ""

    def pool(self, scenarios: ScenarioSet) -> Pooled:
        """Posterior of the base leg, with diagnostics."""
        with placed(self.where, "views"):
            return EntropyPool.pool(self, scenarios)


def build_replay(table: dict[str, Any], where: str) -> EpisodeReplay:
    """Read ``episode`` or ``window``."""
    check_keys(table, ("episode", "window", *EVERY), where)
    words: dict[str, Any] = dict(words_of(table, where))
    words["source"] = words.pop("citation", "")
    if ("episode" in table) == ("window" in table):
        raise DataError(
            f"{where}: give either episode or window",
            expected=f"episode = one of {', '.join(library())}; or window = "
            "[2025-01-27, 2025-01-28]",
        )
    if "episode" in table:
        episode = checked_text(table, "episode", where).removeprefix("replay:")
        with read_errors(f"{where}: episode"):
            return EpisodeReplay(episode, where=where, **words)
    days = table["window"]
    if not isinstance(days, list) or len(days) != 2:
        raise DataError(
            f"{where}: window is no pair of dates",
            received=repr(days),
            expected="window = [2025-01-27, 2025-01-28]",
        )
    start, end = (checked_date({"window": d}, "window", where) for d in days)
    with read_errors(f"{where}: window"):
        return EpisodeReplay("", (start, end), where=where, **words)


def build_conditional(table: dict[str, Any], where: str) -> StatedMoves:
    """Read ``moves`` and the law that passes them on."""
    known = ("moves", "distribution", "dof", "horizon", "known_from", *EVERY)
    check_keys(table, known, where)
    needed(table, "moves", where, "a table [shock.moves] of simple returns")
    words = words_of(table, where)
    note = words.pop("note", "")
    options: dict[str, Any] = _law_options(table, where)
    moves = checked_numbers(table, "moves", where)
    with read_errors(f"{where}: moves"), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        shock = conditional(
            moves, known_from=checked_date(table, "known_from", where), **options
        )
    for warning in said:  # again, with its place
        warnings.warn(f"{where}: {warning.message}", UserWarning, stacklevel=6)
    return StatedMoves(
        given=shock.given,
        distribution=shock.distribution,
        dof=shock.dof,
        horizon=shock.horizon,
        name=words.get("name", shock.name),
        citation=words.get("citation", shock.citation),
        known_from=shock.known_from,
        note=note,
        where=where,
    )


def build_entropy(table: dict[str, Any], where: str) -> StatedViews:
    """Read ``views`` in the grammar of `engine.shocks.entropy_pool`."""
    check_keys(table, ("views", "method", "known_from", *EVERY), where)
    needed(table, "views", where, '["mean(NVDA) <= -0.10"]')
    words = words_of(table, where)
    method = METHODS[0]
    if "method" in table:
        method = checked_word(table, "method", where, METHODS)
    texts = checked_texts(table, "views", where)
    with read_errors(f"{where}: views"):
        pool = entropy_pool(texts)
    return StatedViews(
        views=pool.views,
        name=words.get("name", pool.name),
        known_from=checked_date(table, "known_from", where),
        citation=words.get("citation", pool.citation),
        method=method,
        note=words.get("note", ""),
        where=where,
    )


def build_worst_case(table: dict[str, Any], where: str) -> BookSearch:
    """Read ``radius`` or ``coverage``, and the law that is searched."""
    check_keys(table, ("radius", "coverage", "loss", *_SEARCH, *EVERY), where)
    options: dict[str, Any] = {}
    if ("radius" in table) == ("coverage" in table):
        raise DataError(
            f"{where}: give either radius or coverage",
            expected="radius = 3.0 (Mahalanobis), or coverage = 0.99",
        )
    if "radius" in table:
        options["radius"] = checked_number(table, "radius", where, above=0.0)
    else:
        options["coverage"] = checked_number(
            table, "coverage", where, above=0.0, below=1.0
        )
    if "loss" in table:
        options["loss"] = checked_word(table, "loss", where, _book_law.LOSSES)
    options |= _law_options(table, where)
    if "coverage" in options and options.get("systematic") is False:
        raise DataError(
            f"{where}: a coverage goes with systematic = true",
            fix="Give a radius: a coverage of every asset grows with assets that do "
            "not matter.",
        )
    return _search("worst-case", options, table, where)


def build_reverse(table: dict[str, Any], where: str) -> BookSearch:
    """Read the ``loss`` to reach, and the law that is searched."""
    check_keys(table, ("loss", "approximation", *_SEARCH, *EVERY), where)
    needed(table, "loss", where, "0.2")
    options: dict[str, Any] = {"loss": checked_number(table, "loss", where, above=0.0)}
    if "approximation" in table:
        options["approximation"] = checked_word(
            table, "approximation", where, _book_law.LOSSES
        )
    return _search("reverse", options | _law_options(table, where), table, where)


def _search(search, options, table, where) -> BookSearch:
    words = words_of(table, where)
    return BookSearch(
        search,
        tuple(options.items()),
        name=words.get("name", ""),
        source=words.get("citation", ""),
        note=words.get("note", ""),
        where=where,
    )


def _law_options(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Distribution, degrees of freedom, horizon and what is searched, where given."""
    options: dict[str, Any] = {}
    if "distribution" in table:
        options["distribution"] = checked_word(
            table, "distribution", where, DISTRIBUTIONS
        )
    if "dof" in table:
        if options.get("distribution") != "student_t":
            raise DataError(
                f"{where}: dof goes with a Student-t",
                fix='Give distribution = "student_t".',
            )
        options["dof"] = checked_number(table, "dof", where, above=2.0)
    if "systematic" in table:
        options["systematic"] = checked_flag(table, "systematic", where)
    if "horizon" in table:
        options["horizon"] = checked_whole(table, "horizon", where)
    return options


def table_of(shock: Any) -> dict[str, Any]:
    """Keys and values of a shock of one of these kinds, as a file states them.

    Raises
    ------
    UsageError
        A shock that no file can state.
    """
    if isinstance(shock, EpisodeReplay):
        if shock.window is None:
            usual = f"replay:{shock.episode}"
            table: dict[str, Any] = {"kind": "replay", "episode": shock.episode}
        else:
            usual = "replay:" + "..".join(map(str, shock.window))
            table = {"kind": "replay", "window": list(shock.window)}
        return table | _words(shock, usual, shock.source, "")
    if isinstance(shock, ConditionalShock):
        return _conditional_table(shock)
    if isinstance(shock, EntropyPool):
        plain = entropy_pool("mean(A) <= 0")
        table = {"kind": "entropy"} | _words(
            shock, plain.name, shock.citation, plain.citation
        )
        if shock.method != plain.method:
            table["method"] = shock.method
        return table | _since(shock) | {"views": [v.text for v in shock.views]}
    if isinstance(shock, BookSearch):
        table = {"kind": shock.search} | _words(shock, shock.search, shock.source, "")
        return table | dict(shock.options)
    if isinstance(shock, Mixture):
        table = {"kind": "mix"} | _words(shock, "mix", shock.source, "")
        return (
            table
            | ({} if np.isnat(shock.since) else {"known_from": shock.since})
            | {"probabilities": dict(shock.probabilities)}
            | {
                "states": {
                    k: NO_SHOCK if s is None else s.name for k, s in shock.states
                }
            }
        )
    raise UsageError(
        "no kind of scenario file states this shock",
        received=type(shock).__name__,
        expected="a shock read from a file, a CheapModelShock, or one made by "
        "conditional or entropy_pool",
    )


def _conditional_table(shock: ConditionalShock) -> dict[str, Any]:
    if (shock.n_draws, shock.seed) != (_PLAIN.n_draws, _PLAIN.seed):
        raise UsageError(
            "a scenario file states no n_draws and no seed",
            received=f"{shock.n_draws} and {shock.seed}",
        )
    law = conditional({AI_BASKET: 0.0}, distribution=shock.distribution)
    table = {"kind": "conditional"} | _words(
        shock, law.name, shock.citation, law.citation
    )
    if shock.distribution != _PLAIN.distribution:
        table["distribution"] = shock.distribution
    for key in ("dof", "horizon"):
        if getattr(shock, key) is not None:
            table[key] = getattr(shock, key)
    return table | _since(shock) | {"moves": dict(shock.given)}


_PLAIN = conditional({AI_BASKET: 0.0})


def _words(shock: Any, name: str, citation: str, usual: str) -> dict[str, Any]:
    """Name, citation and note where they are not what they would be anyway."""
    table = {} if shock.name == name else {"name": shock.name}
    if citation != usual:
        table["citation"] = citation
    note = getattr(shock, "note", "")
    return table | ({"note": note} if note else {})


def _since(shock: Any) -> dict[str, Any]:
    return {} if np.isnat(shock.known_from) else {"known_from": shock.known_from}
