"""When limits cannot all hold: which of them conflict, and the cheapest way out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from engine.errors import InfeasibleError, SolverError
from engine.linear_limits import Row
from engine.optimize.integer import least_relief, optimise_limits
from engine.optimize.problem import (
    NO_INTEGERS,
    PERMISSIONS,
    Setup,
    limits_of,
    optimise,
)


def explain(setup: Setup) -> InfeasibleError:
    """Build the error: an irreducible conflict and the smallest relaxation.

    The deletion filter (Chinneck and Dravnieks 1991) drops each limit in turn and
    keeps it dropped when the rest stays infeasible; what remains conflicts, and any
    single one of it removed leaves a feasible problem. The relaxation minimises the
    sum of slacks over all limits at once.
    """
    names = limits_of(setup)
    smooth = replace(setup, integer=NO_INTEGERS)
    conflict = list(names)
    for name in names:
        rest = set(conflict) - {name}
        try:
            still = not optimise_limits(setup, only=rest).solved.feasible
        except SolverError:
            still = False
        if still:
            conflict.remove(name)
    sentences: list[str] = []
    relaxed: dict[str, tuple[float, float]] = {}
    try:
        for name, slack in optimise(smooth, elastic=True).slacks.items():
            if slack > 1e-6:
                sentences.append(_sentence(setup, name, slack))
                relaxed |= _numbers(setup, name, _up_to(setup, name, slack))
        if setup.integer.names():
            _relieve(_widened(setup, relaxed), sentences, relaxed)
    except SolverError:
        sentences.append("no relaxation was found numerically")
    return InfeasibleError(
        "no portfolio satisfies these limits together: "
        + "; ".join(_describe(setup, name) for name in conflict),
        fix="Cheapest relaxation: " + "; ".join(sentences) if sentences else None,
        conflict=tuple(conflict),
        relaxation=tuple(sentences),
        relaxed=relaxed,
    )


def _up_to(setup: Setup, name: str, slack: float) -> float:
    """Slack such that the bound it leads to is what its sentence shows."""
    bound = _bound(setup, name)
    return _up(slack) if bound is None else _up(bound + slack) - bound


def _numbers(setup: Setup, name: str, slack: float) -> dict[str, tuple[float, float]]:
    """Old and new bound of a limit, both sides of a band."""
    bound = _bound(setup, name)
    if bound is not None:
        return {name: (bound, bound + slack)}
    low, high = next(
        ((r.lower, r.upper) for r in _bands(setup) if r.name == name), (0.0, 0.0)
    )
    if low == high == 0.0 and name not in {r.name for r in _bands(setup)}:
        return {name: (0.0, slack)}
    out = {}
    if math.isfinite(high):
        out[name] = (high, high + slack)
    if math.isfinite(low):
        out[f"{name} (least)"] = (low, low - slack)
    return out


def _bands(setup: Setup) -> list[Row]:
    return [*setup.linear, *([] if setup.net is None else [setup.net_row()])]


def _widened(setup: Setup, relaxed: dict[str, tuple[float, float]]) -> Setup:
    """The setup with every relaxation taken over."""

    def new(name: str, old):
        return relaxed[name][1] if name in relaxed else old

    rows = [
        r._replace(upper=new(r.name, r.upper), lower=new(f"{r.name} (least)", r.lower))
        for r in setup.linear
    ]
    wide = {k: new(k, 0.0) for k in ("lower bounds", "upper bounds", "liquidity")}
    free = np.full(len(setup.assets), PERMISSIONS in relaxed)
    caps = setup.trade_caps
    net = setup.net
    if net is not None:
        net = (new("net (least)", net[0]), new("net", net[1]))
    return replace(
        setup,
        linear=rows,
        measures=[replace(m, bound=new(m.name, m.bound)) for m in setup.measures],
        turnover=new("turnover", setup.turnover),
        tracking_error=new("tracking error", setup.tracking_error),
        gross=new("gross", setup.gross),
        net=net,
        lower=setup.lower - wide["lower bounds"],
        upper=setup.upper + wide["upper bounds"],
        trade_caps=None if caps is None else caps + wide["liquidity"],
        may_buy=setup.may_buy | free,
        may_sell=setup.may_sell | free,
    )


def _relieve(setup: Setup, sentences: list[str], relaxed: dict) -> None:
    """What the integer limits must give up once the others have given way."""
    found = least_relief(setup)
    pairs = zip(_INTEGER_NAMES, setup.integer, found, strict=True)
    for (name, verb, form), old, new in pairs:
        if old is not None and new != old:
            sentences.append(f"{verb} from {form(old)} to {form(new)}")
            relaxed[name] = (old, new)


_INTEGER_NAMES = (
    ("names", "raise names", str),
    ("names (least)", "lower the least number of names", str),
    ("minimum position", "lower minimum position", "{:.2%}".format),
    ("trades", "raise trades", str),
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
    ints = setup.integer
    if name == "names":
        least = f"at least {ints.min_names}" if ints.min_names is not None else ""
        most = f"at most {ints.max_names}" if ints.max_names is not None else ""
        return f"names {' and '.join(x for x in (least, most) if x)}"
    if name == "minimum position":
        return f"positions of at least {ints.minimum_position:.2%} where held"
    if name == "trades":
        return f"trades at most {ints.max_trades}"
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
