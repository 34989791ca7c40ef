"""What a proposal minimises, one builder per objective.

A builder takes the variables of the problem (`Terms`) and returns a convex expression
with whatever constraints it needs (`Formed`). Every objective counts trading cost, in
fractions of net asset value, so that the price of a limit is always in that unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.optimize.problem import Setup
    from engine.scenarios import ScenarioSet


class Terms(NamedTuple):
    """What an objective may use, as cvxpy expressions."""

    setup: Setup
    holdings: Any
    """(N,) after trading, fractions of net asset value before it."""
    bought: Any
    """(N,) non-negative."""
    sold: Any
    """(N,) non-negative."""
    nav: Any
    """What is left after costs."""
    cost: Any
    active: Any
    """(K,) whose sum of squares is the active variance a year."""


@dataclass
class Formed:
    """A convex objective, to be minimised."""

    parts: dict[str, Any]
    """Expressions that sum to the objective, by what they are."""
    constraints: list[Any] = field(default_factory=list)
    linear: bool = True
    reported: dict[str, Any] | None = None
    """What is told of the solution, where it is not the parts."""

    @property
    def value(self) -> Any:
        """The sum of the parts."""
        return sum(self.parts.values())


Builder = Callable[[Terms], Formed]


def _cost_and_active_risk(terms: Terms) -> Formed:
    import cvxpy as cp

    risk = terms.setup.aversion * cp.sum_squares(terms.active)
    return Formed({"cost": terms.cost, "active risk": risk}, linear=False)


def _minimum_cost(terms: Terms) -> Formed:
    return Formed({"cost": terms.cost})


def _minimum_variance(terms: Terms) -> Formed:
    import cvxpy as cp

    root = terms.setup.risk_root
    risk = terms.setup.aversion * cp.sum_squares(root.T @ terms.holdings)
    return Formed({"cost": terms.cost, "variance": risk}, linear=False)


BUILDERS: dict[str, Builder] = {
    "cost_and_active_risk": _cost_and_active_risk,
    "minimum_cost": _minimum_cost,
    "minimum_variance": _minimum_variance,
}
"""Objectives that need no more than the problem itself."""

OBJECTIVES = tuple(BUILDERS)


def bound(objective: Any, scenarios: ScenarioSet) -> tuple[str, Builder]:
    """Return the name of an objective and its builder on these scenarios.

    Parameters
    ----------
    objective : str or Builder
        A name of `OBJECTIVES`; a builder of one's own needs an attribute ``name``.
    scenarios : ScenarioSet

    Raises
    ------
    UsageError
        A name that is not known.
    """
    if callable(objective):
        build: Any = objective
        return str(getattr(objective, "name", "own")), build
    if objective not in OBJECTIVES:
        raise UsageError(
            "unknown objective",
            received=repr(objective),
            expected=", ".join(OBJECTIVES),
        )
    return objective, BUILDERS[objective]


def parts_of(formed: Formed | None) -> dict[str, float]:
    """Value of each part after a solve."""
    if formed is None:
        return {}
    told = formed.parts if formed.reported is None else formed.reported
    return {k: float(np.asarray(_value(v))) for k, v in told.items()}


def _value(expression: Any) -> Any:
    return getattr(expression, "value", expression)
