"""What a run does when limits cannot hold or a solver fails, in a declared order.

A relaxed limit is widened by one amount, the smallest of a bisection on [0, 1] for
which a proposal exists. A limit that does not help alone stays wide while the next one
is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

from backtests._time_limit import time_allowed
from backtests.result import Decision
from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.errors import (
    BallastError,
    InfeasibleError,
    ModelError,
    SolverError,
    UsageError,
)
from engine.proposal import Outcome, Proposal

_HALVINGS = 10
"""A limit is relaxed to within a tenth of a point of the least that helps."""

LAST = ("hold", "raise")


def named_error(error: Exception, strategy: Any, date: Any) -> BallastError:
    """The same error, naming the strategy and the date; a foreign one is wrapped."""
    name = getattr(strategy, "name", type(strategy).__name__)
    if not isinstance(error, BallastError):
        return ModelError(
            f"strategy '{name}' failed with {type(error).__name__}: {error}", date=date
        )
    extra: dict[str, Any] = {}
    if isinstance(error, InfeasibleError):
        extra = {"conflict": error.conflict, "relaxation": error.relaxation}
        extra["relaxed"] = error.relaxed
    return type(error)(
        f"strategy '{name}': {error.problem}",
        asset=error.asset,
        date=date if error.date is None else error.date,
        received=error.received,
        expected=error.expected,
        fix=error.fix,
        **extra,
    )


def _wider(value: Any, by: float) -> Any:
    if isinstance(value, Mapping):
        return {k: min(v + by, max(1.0, v)) for k, v in value.items()}
    return value + by


def _wider_groups(groups: Any, by: float) -> Any:
    return tuple(replace(g, lower=g.lower - by, upper=g.upper + by) for g in groups)


_LIMITS: dict[str, tuple[tuple[str, ...], Callable[[Any, float], Any]]] = {
    "turnover": (("turnover",), _wider),
    "groups": (("groups",), _wider_groups),
    "stress": (("limit", "own_limits"), _wider),
    "es": (("es_cap",), _wider),
    "upper": (("upper",), _wider),
}
"""Fields of a strategy that hold a limit, and how it is widened."""

STEPS = tuple(f"relax {name}" for name in _LIMITS)


def failure_order(given: Any, fallback: str) -> tuple[str, ...]:
    """Return the steps to take, ``(fallback,)`` where none are declared.

    Raises
    ------
    UsageError
        An unknown step, one twice, or an end that is neither hold nor raise.
    """
    if given is None:
        return (fallback,)
    if isinstance(given, str) or not all(isinstance(s, str) for s in given):
        raise UsageError(
            "on_failure is a tuple of steps",
            received=repr(given),
            fix='Write ("relax turnover", "hold").',
        )
    steps = tuple(given)
    if not steps or steps[-1] not in LAST:
        raise UsageError(
            "on_failure must end with what to do when nothing helps",
            received=repr(steps),
            expected="hold or raise as the last step",
        )
    for i, step in enumerate(steps[:-1]):
        if step not in STEPS or step in steps[:i]:
            raise UsageError(
                "unknown or repeated step of on_failure",
                received=repr(step),
                expected=", ".join(STEPS),
            )
    return steps


def relaxed(strategy: Any, name: str, by: float) -> Any:
    """The strategy with one limit wider; None where it has no such limit."""
    if not is_dataclass(strategy) or isinstance(strategy, type):
        return None
    inner = getattr(strategy, "strategy", None)
    if inner is not None:
        changed = relaxed(inner, name, by)
        return None if changed is None else replace(strategy, strategy=changed)
    fields, wider = _LIMITS[name]
    if name == "stress" and not hasattr(strategy, "shock"):
        return None
    changes = {}
    for field in fields:
        value = getattr(strategy, field, None)
        if value is not None and value != () and value != {}:
            changes[field] = wider(value, by)
    return replace(strategy, **changes) if changes else None


def after_failure(
    strategy: Any,
    view: MarketView,
    book: Portfolio,
    estimated: tuple[Any, Exception | None],
    error: BallastError,
    order: tuple[str, ...],
    time_limit: float | None,
) -> Decision | None:
    """The decision of the first step that helps; None: raise the error.

    Where the estimate itself failed nothing can be relaxed, and the last step holds.
    """
    steps, last = (order[:-1] if estimated[1] is None else ()), order[-1]
    tried: list[str] = []

    def attempt(candidate: Any) -> Proposal | None:
        try:
            with time_allowed(time_limit, "propose"):
                made = candidate.propose(view, book, estimated[0])
        except (InfeasibleError, SolverError):
            return None
        return made if isinstance(made, Proposal) else None

    current = strategy
    for step in steps:
        name = step.removeprefix("relax ")
        wide = relaxed(current, name, 1.0)
        if wide is None:
            tried.append(f"{name}: no such limit")
            continue
        found, low, high = attempt(wide), 0.0, 1.0
        if found is None:
            tried.append(f"{name} relaxed by 1, not enough alone")
            current = wide
            continue
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            made = attempt(relaxed(current, name, middle))
            low, high = (middle, high) if made is None else (low, middle)
            found = found if made is None else made
        said = "; ".join([*tried, f"{name} relaxed by {high:.4g}"])
        message = f"{Outcome.RELAXED.value} {said}. {error}"
        # A step that was not enough alone is still wide in what was found.
        proposal = replace(
            found,
            outcome=Outcome.RELAXED,
            notes=(*found.notes, f"after a failure: {said}"),
        )
        return Decision(
            view.date, Outcome.RELAXED.name, message, proposal.turnover, proposal
        )
    if last == "raise":
        return None
    said = f"; tried: {'; '.join(tried)}" if tried else ""
    return Decision(view.date, Outcome.HELD.name, f"{error}{said}", 0.0, None)
