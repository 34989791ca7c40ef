"""When limits cannot all hold: which of them conflict, and the cheapest way out."""

from __future__ import annotations

import math

from engine.errors import InfeasibleError, SolverError
from engine.optimize.problem import Setup, limits_of, optimise


def explain(setup: Setup) -> InfeasibleError:
    """Build the error: an irreducible conflict and the smallest relaxation.

    The deletion filter (Chinneck and Dravnieks 1991) drops each limit in turn and
    keeps it dropped when the rest stays infeasible; what remains conflicts, and any
    single one of it removed leaves a feasible problem. The relaxation minimises the
    sum of slacks over all limits at once.
    """
    names = limits_of(setup)
    conflict = list(names)
    for name in names:
        rest = set(conflict) - {name}
        try:
            still = not optimise(setup, only=rest).solved.feasible
        except SolverError:
            still = False
        if still:
            conflict.remove(name)
    sentences = []
    try:
        relaxed = optimise(setup, elastic=True)
        for name, slack in relaxed.slacks.items():
            if slack > 1e-6:
                sentences.append(_sentence(setup, name, slack))
    except SolverError:
        sentences.append("no relaxation was found numerically")
    return InfeasibleError(
        "no portfolio satisfies these limits together: "
        + "; ".join(_describe(setup, name) for name in conflict),
        fix="Cheapest relaxation: " + "; ".join(sentences) if sentences else None,
        conflict=tuple(conflict),
        relaxation=tuple(sentences),
    )


def _bound(setup: Setup, name: str) -> float | None:
    for m in setup.measures:
        if m.name == name:
            return m.bound
    if name == "turnover":
        return setup.turnover
    if name == "tracking error":
        return setup.tracking_error
    if name == "gross":
        return setup.gross
    return None


def _describe(setup: Setup, name: str) -> str:
    bound = _bound(setup, name)
    if bound is not None:
        return f"{name} at most {bound:.2%}"
    for row in setup.linear:
        if row.name == name:
            return f"{name} {_within(row.lower, row.upper)}"
    if name == "net" and setup.net is not None:
        return f"{name} {_within(*setup.net)}"
    if name == "liquidity":
        return "liquidity (each trade within its share of daily value)"
    if name in ("lower bounds", "upper bounds"):
        return f"{name} (cash band included)"
    return name


def _within(low: float, high: float) -> str:
    if low == -math.inf:
        return f"at most {high:.2%}"
    return (
        f"at least {low:.2%}" if high == math.inf else f"within {low:.2%} to {high:.2%}"
    )


def _sentence(setup: Setup, name: str, slack: float) -> str:
    bound = _bound(setup, name)
    if bound is not None:
        return f"raise {name} from {bound:.2%} to {_up(bound + slack):.2%}"
    return f"widen {name} by {_up(slack):.2%}"


def _up(x: float) -> float:
    """Rounded up to what the sentence shows, so that following it is enough."""
    return math.ceil(x * 1e4 + 0.1) / 1e4
