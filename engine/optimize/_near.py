"""Objectives of near-optimal proposals: another goal under a ceiling on the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine._typing import Vector
from engine.optimize._objectives import Builder, Formed, Terms

if TYPE_CHECKING:
    from engine.optimize.problem import Setup

Goal = Callable[[Terms], Any]


class Recorded:
    """A builder that keeps the problem it was first asked to build."""

    def __init__(self, name: str, build: Builder) -> None:
        self.name, self.build = name, build
        self.setup: Setup | None = None

    def __call__(self, terms: Terms) -> Formed:
        """Build as ever."""
        if self.setup is None:
            self.setup = terms.setup
        return self.build(terms)


@dataclass(frozen=True)
class Near:
    """Minimise a goal while the first objective stays below a ceiling."""

    name: str
    build: Builder
    ceiling: float
    goal: Goal

    def __call__(self, terms: Terms) -> Formed:
        """Build the goal, and the first objective as a limit."""
        first = self.build(terms)
        return Formed(
            parts={"goal": self.goal(terms)},
            constraints=[*first.constraints, first.value <= self.ceiling],
            linear=first.linear,
            reported=first.parts,
        )


@dataclass(frozen=True)
class Among:
    """The first objective, trading only some assets."""

    name: str
    build: Builder
    allowed: np.ndarray
    """(N,) bool; cash pays for the trades and is always allowed."""

    def __call__(self, terms: Terms) -> Formed:
        """Build the objective, with every other trade held at zero."""
        first = self.build(terms)
        barred = np.flatnonzero(~self.allowed)
        if barred.size:
            first.constraints.append(terms.bought[barred] + terms.sold[barred] <= 0.0)
        return first


def turnover(terms: Terms) -> Any:
    """Half the sum of trades, cash included."""
    import cvxpy as cp

    return 0.5 * cp.sum(terms.bought + terms.sold)


def weighted_trades(weights: Vector) -> Goal:
    """Sum of trades, each at a weight (N,)."""
    return lambda terms: weights @ (terms.bought + terms.sold)


def towards(direction: Vector) -> Goal:
    """As far as possible along a direction (N,)."""
    return lambda terms: -direction @ terms.holdings
