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
from engine.optimize._risk_terms import risk_vector

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

    spread = risk_vector(terms.setup, terms.holdings)
    risk = terms.setup.aversion * cp.sum_squares(spread)
    return Formed({"cost": terms.cost, "variance": risk}, linear=False)


BUILDERS: dict[str, Builder] = {
    "cost_and_active_risk": _cost_and_active_risk,
    "minimum_cost": _minimum_cost,
    "minimum_variance": _minimum_variance,
}
"""Objectives that need no more than the problem itself."""


@dataclass(frozen=True)
class Objective:
    """The name of an objective and its options; made by `objective`.

    Attributes
    ----------
    name : str
    options : mapping
        As `objective` takes them.
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    def build(self, scenarios: ScenarioSet) -> Builder:
        """Return the builder on these scenarios."""
        if self.name in BUILDERS:
            return BUILDERS[self.name]
        from engine.optimize._scenario_objectives import FACTORIES

        return FACTORIES[self.name](scenarios, **dict(self.options))


def objective(name: str, **options: Any) -> Objective:
    """Name what a proposal minimises, with options.

    Parameters
    ----------
    name : str
        ``cost_and_active_risk``, ``minimum_cost``, ``minimum_variance``,
        ``minimum_shortfall``, ``minimum_entropic``, ``minimum_drawdown``,
        ``tracking_error``, ``maximum_return``, ``maximum_utility``, ``maximum_ratio``
        or ``worst_case``; trading cost is part of each.
    **options
        level (0.95), of a tail; radius, of the ball of relative entropy, instead of
        it; risk_aversion (2.5); uncertainty (0) and years, of a robust mean; shocks.

    Returns
    -------
    Objective

    Raises
    ------
    UsageError
        An unknown name, or an option that the objective does not have.
    """
    import inspect

    from engine.optimize._scenario_objectives import FACTORIES

    known = (*BUILDERS, *FACTORIES)
    if name not in known:
        raise UsageError(
            "unknown objective", received=repr(name), expected=", ".join(known)
        )
    accepted = (
        list(inspect.signature(FACTORIES[name]).parameters)[1:]
        if name in FACTORIES
        else []
    )
    for key in options:
        if key not in accepted:
            raise UsageError(
                f"{name} has no such option",
                received=key,
                expected=", ".join(accepted) or "none",
            )
    return Objective(name, tuple(options.items()))


def bound(given: Any, scenarios: ScenarioSet) -> tuple[str, Builder]:
    """Return the name of an objective and its builder on these scenarios.

    Parameters
    ----------
    given : str, Objective or Builder
        A builder of one's own needs an attribute ``name``.
    scenarios : ScenarioSet

    Raises
    ------
    UsageError
        A name that is not known.
    ModelError
        Means that the objective needs are not there.
    """
    if callable(given):
        build: Any = given
        return str(getattr(given, "name", "own")), build
    chosen = given if isinstance(given, Objective) else objective(given)
    return chosen.name, chosen.build(scenarios)


def parts_of(formed: Formed | None) -> dict[str, float]:
    """Value of each part after a solve."""
    if formed is None:
        return {}
    told = formed.parts if formed.reported is None else formed.reported
    return {k: float(np.asarray(_value(v))) for k, v in told.items()}


def _value(expression: Any) -> Any:
    return getattr(expression, "value", expression)
