"""Coherent stress (Rebonato 2010): events with probabilities, a shock for each state.

Marginal and conditional probabilities of n events are linear in the probabilities of
the 2^n joint states: ``P(A | B) = v`` is ``P(A and B) - v P(B) = 0``. A linear
programme says whether they can all hold; of the joint probabilities that satisfy them
the most even (maximum entropy) are taken. Each state carries a shock, or none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Vector
from engine.errors import DataError, InfeasibleError, UsageError
from engine.scenarios import BASE_LEG, ScenarioSet
from engine.shocks._entropy import EQUAL, LOWER, UPPER, tilt
from engine.shocks.moves import UNDATED

MAX_EVENTS = 12
"""Joint states double with each event: 4096 at twelve."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*")


@dataclass(frozen=True, slots=True)
class Statement:
    """``low <= P(of | given) <= high``; each side is a conjunction of events.

    Attributes
    ----------
    of, given : tuple of (event, bool)
        False: the event does not happen.
    low, high : float
    text : str
    """

    of: tuple[tuple[str, bool], ...]
    given: tuple[tuple[str, bool], ...]
    low: float
    high: float
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class CoherentStress(Value):
    """States of the world with probabilities and shocks; made by `mix`.

    Attributes
    ----------
    events : tuple of str
    states : tuple of tuple of bool
        Which events happen, by state.
    probabilities : (2^n,) float64
    shocks : tuple
        Of each state; None where nothing is shocked.
    statements : tuple of Statement
    name : str
    """

    events: tuple[str, ...]
    states: tuple[tuple[bool, ...], ...]
    probabilities: np.ndarray
    shocks: tuple[Any, ...]
    statements: tuple[Statement, ...]
    name: str = "coherent"

    def __post_init__(self) -> None:
        p = frozen_array(
            self.probabilities,
            name="state probabilities",
            ndim=1,
            shape=(len(self.states),),
        )
        if (p < 0).any() or abs(p.sum() - 1.0) > 1e-9:
            raise DataError(
                "probabilities of the states must be non-negative and sum to one",
                received=f"minimum {p.min():.3e}, sum {p.sum():.9f}",
            )
        object.__setattr__(self, "probabilities", p)

    @property
    def known_from(self) -> np.datetime64:
        """Latest of its shocks; NaT where none has a date."""
        dates = [s.known_from for s in self.shocks if s is not None]
        dates = [d for d in dates if not np.isnat(d)]
        return max(dates) if dates else UNDATED

    @property
    def citation(self) -> str:
        """Where the numbers come from."""
        return "coherent stress (Rebonato 2010), joint states at maximum entropy"

    def probability(self, event: str) -> float:
        """Joint probability of events: ``"A and not B"``."""
        parts = _conjunction(event, event)
        return float(self.probabilities @ _holds(parts, self.events, self.states))

    def legs(self) -> list[tuple[Any, float]]:
        """Shocks, None included, with the probability of all their states."""
        total: dict[int, tuple[Any, float]] = {}
        for shock, p in zip(self.shocks, self.probabilities.tolist(), strict=True):
            before = total.get(id(shock), (shock, 0.0))[1]
            total[id(shock)] = (shock, before + p)
        return [pair for pair in total.values() if pair[1] > 0.0]

    def mixed(
        self, scenarios: ScenarioSet, *, severity: str | float = "central"
    ) -> ScenarioSet:
        """Legs of the states, each with its probability, from the base scenarios."""
        base = scenarios.base()
        returns, p, leg, names = [], [], [], []
        for shock, probability in self.legs():
            if shock is None:
                part = base
            else:
                kind = "central" if hasattr(shock, "reweight") else severity
                part = base.apply(shock, severity=kind)
            leg.append(np.full(len(part), len(names), dtype=np.int16))
            names.append(BASE_LEG if shock is None else shock.name)
            returns.append(part.returns)
            p.append(part.p * probability)
        p = np.concatenate(p)
        return replace(
            base,
            returns=np.vstack(returns),
            p=p / p.sum(),
            leg=np.concatenate(leg),
            legs=tuple(names),
            paths=None,
        )

    def to_frame(self):
        """Return one row per joint state: events, probability, shock."""
        import pandas as pd

        frame = pd.DataFrame(self.states, columns=list(self.events))
        frame["probability"] = self.probabilities
        frame["shock"] = ["" if s is None else s.name for s in self.shocks]
        return frame

    def __repr__(self) -> str:
        legs = ", ".join(
            f"{'no shock' if s is None else s.name} {p:.1%}" for s, p in self.legs()
        )
        return f"CoherentStress({self.name!r}: {len(self.events)} events; {legs})"


def mix(
    probabilities: Mapping[str, float | tuple[float, float]],
    shocks: Mapping[str, Any],
    *,
    name: str = "coherent",
) -> CoherentStress:
    """Coherent stress: states of the world by probability, each with its shock.

    Parameters
    ----------
    probabilities : mapping of statement to probability, or to (low, high)
        ``"cheap"``, ``"capex_cut | cheap"``, ``"jevons | cheap and not capex_cut"``.
        Events are whatever the statements name, at most twelve.
    shocks : mapping of events to shock
        ``{"cheap and capex_cut": CheapModelShock("substitution"), "cheap": ...}``. A
        state takes the first entry that holds in it, and no shock where none does. A
        shock may push returns or reweight scenarios.
    name : str

    Returns
    -------
    CoherentStress
        ``scenarios.apply(it)`` gives the legs with their probabilities.

    Raises
    ------
    InfeasibleError
        The statements contradict one another: an irreducible set of them is named,
        with what the others leave to each.

    Examples
    --------
    >>> from engine import CheapModelShock
    >>> states = mix(
    ...     {"cheap": 0.3, "cut | cheap": 0.5, "cut | not cheap": 0.1},
    ...     {"cheap and cut": CheapModelShock("substitution"),
    ...      "cheap": CheapModelShock("jevons")},
    ... )
    >>> round(states.probability("cheap and cut"), 6)
    0.15
    """
    statements = tuple(_statement(k, v) for k, v in dict(probabilities).items())
    if not statements:
        raise UsageError("no statement is given", fix='Give one, {"cheap": 0.3}.')
    events = tuple(dict.fromkeys(e for s in statements for e, _ in (*s.given, *s.of)))
    if len(events) > MAX_EVENTS:
        raise UsageError(
            "too many events", received=len(events), expected=f"at most {MAX_EVENTS}"
        )
    states = tuple(itertools.product((True, False), repeat=len(events)))
    p = _joint(statements, events, states)
    rules = []
    for key, shock in dict(shocks).items():
        parts = _conjunction(key, key)
        unknown = [e for e, _ in parts if e not in events]
        if unknown:
            raise UsageError(
                f"shock for {key!r}: no statement gives the event a probability",
                received=unknown[0],
                expected=", ".join(events),
            )
        if shock is not None and not (
            hasattr(shock, "moves") or hasattr(shock, "reweight")
        ):
            raise UsageError(f"shock for {key!r} is none", received=repr(shock))
        rules.append((_holds(parts, events, states), shock))
    names: dict[str, Any] = {BASE_LEG: None}
    for _, shock in rules:
        if shock is not None and names.setdefault(shock.name, shock) is not shock:
            raise UsageError(
                "two shocks carry one name, or that of the base leg",
                received=shock.name,
                fix="Give each a name= of its own.",
            )
    chosen = tuple(
        next((shock for holds, shock in rules if holds[k]), None)
        for k in range(len(states))
    )
    return CoherentStress(events, states, p, chosen, statements, name)


def _conjunction(text: str, whole: str) -> tuple[tuple[str, bool], ...]:
    out: dict[str, bool] = {}
    for part in re.split(r"\s+and\s+", text.strip()):
        happens, event = True, part.strip()
        if event.startswith("not "):
            happens, event = False, event[4:].strip()
        if not _WORD.fullmatch(event) or event == "not":
            raise UsageError(
                f"cannot read {whole!r}",
                received=repr(part),
                expected='such as "cheap", "cut | cheap and not jevons"',
            )
        if out.setdefault(event, happens) != happens:
            raise UsageError(f"{whole!r} asks that {event} does and does not happen")
    return tuple(out.items())


def _statement(text: str, value: Any) -> Statement:
    sides = text.split("|")
    if len(sides) > 2:
        raise UsageError(f"cannot read {text!r}: more than one condition")
    of = _conjunction(sides[0], text)
    given = _conjunction(sides[1], text) if len(sides) == 2 else ()
    try:
        low, high = value if isinstance(value, (tuple, list)) else (value, value)
        low, high = float(low), float(high)
    except (TypeError, ValueError):
        raise UsageError(
            f"the probability of {text!r} is no number or (low, high)", received=value
        ) from None
    if not 0.0 <= low <= high <= 1.0:
        raise UsageError(
            f"an impossible probability of {text!r}",
            received=value,
            expected="between 0 and 1, low before high",
        )
    return Statement(of, given, low, high, text)


def _holds(parts, events, states) -> Vector:
    """(2^n,) one in the states in which all parts hold."""
    position = {e: i for i, e in enumerate(events)}
    unknown = [e for e, _ in parts if e not in position]
    if unknown:
        raise UsageError(
            "no such event", received=unknown[0], expected=", ".join(events)
        )
    return np.array(
        [all(s[position[e]] == happens for e, happens in parts) for s in states],
        dtype=np.float64,
    )


def _joint(statements, events, states) -> Vector:
    """Most even probabilities of the states that satisfy all statements."""
    from scipy.optimize import linprog

    pairs = []
    for s in statements:
        given = _holds(s.given, events, states)
        pairs.append((_holds(s.of, events, states) * given, given))

    def limits(keep):
        upper, equal = [], []
        for k in keep:
            both, given = pairs[k]
            s = statements[k]
            if s.low == s.high:
                equal.append(both - s.low * given)
            else:
                upper += [both - s.high * given, s.low * given - both]
        return upper, equal

    def possible(keep) -> bool:
        upper, equal = limits(keep)
        A = np.array([*equal, np.ones(len(states))])
        found = linprog(
            np.zeros(len(states)),
            A_ub=np.array(upper) if upper else None,
            b_ub=np.zeros(len(upper)) if upper else None,
            A_eq=A,
            b_eq=np.append(np.zeros(len(equal)), 1.0),
            method="highs",
        )
        return found.status == 0

    every = list(range(len(statements)))
    if not possible(every):
        kept = list(every)
        for k in every:
            without = [j for j in kept if j != k]
            if not possible(without):
                kept = without
        nearest = tuple(
            _nearest(statements[k], pairs[k], limits([j for j in kept if j != k]))
            for k in kept
        )
        texts = tuple(
            f"P({statements[k].text}) = {_value(statements[k])}" for k in kept
        )
        raise InfeasibleError(
            "the probabilities contradict one another",
            conflict=texts,
            relaxation=nearest,
            received="; ".join(texts),
            fix="Change one. " + "; ".join(nearest) + ".",
        )
    rows, kinds = [], []
    for k in every:
        both, given = pairs[k]
        s = statements[k]
        if s.low == s.high:
            rows.append(both - s.low * given)
            kinds.append(EQUAL)
        else:
            rows += [both - s.low * given, both - s.high * given]
            kinds += [LOWER, UPPER]
    even = np.full(len(states), 1.0 / len(states))
    # A probability of zero or one empties states: they leave before the dual is solved.
    for row, kind in zip(rows, kinds, strict=True):
        if (row >= 0).all() and kind != LOWER:
            even[row > 0] = 0.0
        elif (row <= 0).all() and kind != UPPER:
            even[row < 0] = 0.0
    even /= even.sum()
    live = [k for k, row in enumerate(rows) if np.abs(row[even > 0]).max() > 0]
    A = np.array([rows[k] for k in live]).reshape(len(live), even.size)
    found = tilt(A, np.zeros(len(live)), np.array([kinds[k] for k in live]), even)
    return found.p / found.p.sum()


def _value(s: Statement) -> str:
    return f"{s.low:g}" if s.low == s.high else f"{s.low:g} to {s.high:g}"


def _nearest(s: Statement, pair, limits) -> str:
    """What the other statements leave to one: a linear-fractional programme.

    With ``y`` the states over ``P(given)`` (Charnes and Cooper 1962) every other
    statement stays homogeneous, and ``P(of | given)`` is linear.
    """
    from scipy.optimize import linprog

    both, given = pair
    upper, equal = limits
    ends = []
    for sign in (1.0, -1.0):
        found = linprog(
            sign * both,
            A_ub=np.array(upper) if upper else None,
            b_ub=np.zeros(len(upper)) if upper else None,
            A_eq=np.array([*equal, given]),
            b_eq=np.append(np.zeros(len(equal)), 1.0),
            method="highs",
        )
        if found.status != 0 or found.fun is None:
            return f"P({s.text}): the others leave its condition no probability"
        ends.append(min(max(sign * float(found.fun), 0.0), 1.0))
    low, high = ends
    nearest = high if s.low > high else low
    return (
        f"P({s.text}): the others allow {low:.4g} to {high:.4g}, nearest {nearest:.4g}"
    )
