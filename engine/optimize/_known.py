"""Shocks whose moves have been worked out once, for solving many times.

The moves of a structural shock take longer than a solve. `known_caps` gives the same
limits with the moves at hand, so that a proposal at another limit costs a solve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.constraints import Constraints, StressCap
from engine.errors import UsageError
from engine.scenarios import ScenarioSet
from engine.shocks.moves import ShockMoves


@dataclass(frozen=True, slots=True)
class KnownMoves:
    """A shock that returns the moves it was given."""

    name: str
    known_from: np.datetime64
    known: ShockMoves
    citation: str = ""

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Return the moves, which are those of the universe's assets."""
        return self.known


def known_caps(constraints: Constraints, scenarios: ScenarioSet) -> Constraints:
    """Return the same limits, the moves of every capped shock worked out."""
    caps = tuple(
        replace(
            cap,
            shock=KnownMoves(
                cap.shock.name,
                cap.shock.known_from,
                cap.moves(scenarios),
                getattr(cap.shock, "citation", ""),
            ),
        )
        for cap in constraints.stress_caps
    )
    return replace(constraints, stress_caps=caps)


def capped(constraints: Constraints, shock: str | None) -> StressCap:
    """Return the cap on a shock; the only one by default.

    Raises
    ------
    UsageError
        No cap, several of which none is named, or an unknown name.
    """
    names = [cap.shock.name for cap in constraints.stress_caps]
    if shock is None and len(names) == 1:
        return constraints.stress_caps[0]
    if shock not in names:
        raise UsageError(
            "which capped shock is meant?" if shock is None else "no cap on this shock",
            received="none named" if shock is None else repr(shock),
            expected=", ".join(names) or "a stress cap among the constraints",
        )
    return constraints.stress_caps[names.index(shock)]


def at_limit(constraints: Constraints, cap: StressCap, limit: float) -> Constraints:
    """Return the same constraints with another limit on one shock."""
    caps = tuple(
        replace(c, limit=limit) if c.shock.name == cap.shock.name else c
        for c in constraints.stress_caps
    )
    return replace(constraints, stress_caps=caps)
