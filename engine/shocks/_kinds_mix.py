"""A mixture of other shocks of a scenario file, by coherent state probabilities.

    [[shock]]
    kind = "mix"

    [shock.probabilities]
    cheap = 0.3
    "cut | cheap" = [0.4, 0.6]

    [shock.states]
    "cheap and cut" = "older chips"
    cheap = "none"

A state takes the first entry that holds in it; ``"none"`` leaves it unshocked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine.errors import DataError
from engine.scenarios import ScenarioSet
from engine.shocks._coherent import CoherentStress, mix
from engine.shocks._kinds_lazy import resolved
from engine.shocks._kinds_tables import (
    EVERY,
    check_keys,
    checked_date,
    checked_table,
    needed,
    placed,
    read_errors,
    words_of,
)
from engine.shocks._kinds_written import Written
from engine.shocks.arguments import near
from engine.shocks.moves import UNDATED

NO_SHOCK = "none"
"""Name that a state without a shock takes in a file."""

Chance = float | tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Mixture(Written, Value):
    """States of the world with probabilities, each with a shock of the same file.

    Attributes
    ----------
    probabilities : tuple of (statement, probability or (low, high))
    states : tuple of (events, shock or None)
        In order: a state takes the first entry that holds in it.
    name, source, note, where : str
    since : datetime64[D]
        Day on which the probabilities were first held; NaT without one.
    coherent : CoherentStress
        Joint probabilities at maximum entropy.
    """

    probabilities: tuple[tuple[str, Chance], ...]
    states: tuple[tuple[str, Any], ...]
    name: str = "mix"
    source: str = ""
    note: str = ""
    since: np.datetime64 = UNDATED
    where: str = ""
    coherent: CoherentStress = field(init=False)

    def __post_init__(self) -> None:
        made = mix(dict(self.probabilities), dict(self.states), name=self.name)
        object.__setattr__(self, "coherent", made)

    @property
    def shocks(self) -> tuple[Any, ...]:
        """Of the states that have one, in order."""
        return tuple(s for _, s in self.states if s is not None)

    @property
    def known_from(self) -> np.datetime64:
        """Day from which the probabilities were held; each shock has its own."""
        return self.since

    @property
    def citation(self) -> str:
        """Where the numbers come from."""
        own = f"{self.source}; " if self.source else ""
        return f"{own}{self.coherent.citation}"

    def resolve(
        self, *, market: Any = None, weights: Any = None, model: Any = None
    ) -> Mixture:
        """Return the mixture with the shocks of its states found."""
        found: dict[int, Any] = {}
        for shock in self.shocks:
            if id(shock) not in found:  # one shock of several states stays one
                found[id(shock)] = resolved(
                    shock, market=market, weights=weights, model=model
                )
        if all(found[id(s)] is s for s in self.shocks):
            return self
        states = tuple((k, s and found[id(s)]) for k, s in self.states)
        return replace(self, states=states)

    def mixed(
        self, scenarios: ScenarioSet, *, severity: str | float = "central"
    ) -> ScenarioSet:
        """Legs of the states, each with its probability, from the base scenarios."""
        with placed(self.where):
            return self.coherent.mixed(scenarios, severity=severity)

    def __repr__(self) -> str:
        return f"Mixture({self.coherent!r})"


def build_mix(table: dict[str, Any], where: str, shocks: Mapping[str, Any]) -> Mixture:
    """Read probabilities of events, and which shock of the file each state carries.

    Parameters
    ----------
    table : dict
    where : str
    shocks : mapping of name to shock
        The other shocks of the file, mixtures left out.
    """
    check_keys(table, ("probabilities", "states", "known_from", *EVERY), where)
    for key in ("probabilities", "states"):
        needed(table, key, where, f"a table [shock.{key}]")
    words = words_of(table, where)
    since = checked_date(table, "known_from", where)
    probabilities = tuple(
        (text, _chance(value, f"{where}: probabilities.{text}"))
        for text, value in checked_table(table, "probabilities", where).items()
    )
    states = []
    for events, name in checked_table(table, "states", where).items():
        if not isinstance(name, str):
            raise DataError(
                f"{where}: states.{events} is no name of a shock", received=repr(name)
            )
        if name != NO_SHOCK and name not in shocks:
            raise DataError(
                f"{where}: states.{events} names no other shock of the file",
                received=repr(name),
                expected=", ".join((*shocks, NO_SHOCK)),
                fix=near(name, (*shocks, NO_SHOCK)),
            )
        states.append((events, shocks.get(name)))
    with read_errors(where):
        return Mixture(
            probabilities,
            tuple(states),
            name=words.get("name", "mix"),
            source=words.get("citation", ""),
            note=words.get("note", ""),
            since=since,
            where=where,
        )


def _chance(value: Any, where: str) -> Chance:
    """A probability, or its two ends."""
    ends = value if isinstance(value, list) else [value]
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in ends)
    if not numbers or (isinstance(value, list) and len(ends) != 2):
        raise DataError(
            f"{where} is no probability",
            received=repr(value),
            expected="a number, or [low, high]",
        )
    return (float(ends[0]), float(ends[1])) if len(ends) == 2 else float(ends[0])
