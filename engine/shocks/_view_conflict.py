"""Which views contradict each other, and the nearest views that do not.

Phase one of a linear programme (HiGHS): the least weighted slack at which probabilities
exist. A deletion filter leaves an irreducible set of views that conflict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine._typing import Vector
from engine.errors import InfeasibleError, SolverError
from engine.shocks._entropy import EQUAL, LOWER, UPPER
from engine.shocks._view_rows import Row

_SLACK = 1e-7
"""Slack, in standard deviations of a row, that counts as met: HiGHS's tolerance."""


def check_alone(row: Row, p: Vector) -> None:
    """Refuse a view outside what any scenario holds."""
    alive = row.a[p > 0]
    low, high = float(alive.min()), float(alive.max())
    room = 1e-12 * max(1.0, abs(low), abs(high))
    above = row.kind != UPPER and row.b > high + room
    below = row.kind != LOWER and row.b < low - room
    if above or below:
        nearest = row.in_units(high if above else low)
        ends = sorted((row.in_units(low), row.in_units(high)))
        raise InfeasibleError(
            f"no probabilities on these scenarios satisfy the view {row.text!r}",
            conflict=(row.text,),
            relaxation=(f"{row.text}: the nearest feasible value is {nearest:.6g}",),
            received=f"{row.in_units(row.b):.6g}",
            expected=f"between {ends[0]:.6g} and {ends[1]:.6g}",
            fix=f"The nearest feasible value is {nearest:.6g}; leave a margin, or draw "
            "more scenarios with fatter tails.",
        )


def explain(rows: Sequence[Row], p: Vector) -> InfeasibleError:
    """Error naming the conflict and the nearest feasible values.

    Parameters
    ----------
    rows : sequence of Row
        Moments held (``view`` -1) are kept; views may give.
    p : (S,) float64
    """
    views = list(dict.fromkeys(r.view for r in rows if r.view >= 0))
    slack = least_slack(rows, p)
    if max(slack.values(), default=0.0) <= _SLACK:
        texts = tuple(dict.fromkeys(r.text for r in rows if r.view >= 0))
        return InfeasibleError(
            "the views leave no room: they hold only where scenarios have no "
            "probability at all",
            conflict=texts,
            fix="Loosen one of them, or draw more scenarios.",
        )
    kept = list(views)
    for view in views:
        without = [v for v in kept if v != view]
        some = [r for r in rows if r.view < 0 or r.view in without]
        if max(least_slack(some, p).values(), default=0.0) > _SLACK:
            kept = without
    texts = {r.view: r.text for r in rows}
    nearest = tuple(
        f"{rows[k].text}: the nearest feasible value is "
        f"{rows[k].in_units(_moved(rows[k], value, p)):.6g}"
        for k, value in slack.items()
        if value > _SLACK
    )
    held = [r.text for r in rows if r.view < 0]
    conflict = tuple(texts[v] for v in kept)
    return InfeasibleError(
        "no probabilities on these scenarios satisfy the views together",
        conflict=conflict,
        relaxation=nearest,
        received="; ".join(conflict) + (f" (with {', '.join(held)})" if held else ""),
        fix="Nearest: " + "; ".join(nearest) + ". Leave a margin to the edge.",
    )


def _moved(row: Row, slack: float, p: Vector) -> float:
    """Right-hand side of a row after it gives by ``slack`` standard deviations."""
    low = float(p @ row.a) < row.b if row.kind == EQUAL else row.kind == LOWER
    return row.b - slack * _scale(row, p) * (1.0 if low else -1.0)


def _scale(row: Row, p: Vector) -> float:
    spread = float(np.sqrt(max(p @ row.a**2 - (p @ row.a) ** 2, 0.0)))
    return spread or max(float(np.abs(row.a).max()), 1e-300)


def least_slack(rows: Sequence[Row], p: Vector) -> dict[int, float]:
    """Slack of each view's row, in standard deviations, at the least total."""
    from scipy.optimize import linprog

    alive = p > 0
    S = int(alive.sum())
    soft = [k for k, r in enumerate(rows) if r.view >= 0]
    # Equal rows may give either way: two columns; the others one.
    columns: list[tuple[int, float]] = []
    for k in soft:
        if rows[k].kind != UPPER:
            columns.append((k, 1.0))
        if rows[k].kind != LOWER:
            columns.append((k, -1.0))
    cost = np.concatenate([np.zeros(S), np.ones(len(columns))])
    equal: list[Vector] = [np.concatenate([np.ones(S), np.zeros(len(columns))])]
    equal_b = [1.0]
    upper: list[Vector] = []
    upper_b: list[float] = []
    for k, row in enumerate(rows):
        scale = _scale(row, p)
        give = np.array([s if j == k else 0.0 for j, s in columns])
        line = np.concatenate([(row.a[alive] - row.b) / scale, give])
        if row.kind == EQUAL and row.view < 0:
            upper += [line, -line]  # held to the tolerance of the earlier stage
            upper_b += [1e-8, 1e-8]
        elif row.kind == EQUAL:
            equal.append(line)
            equal_b.append(0.0)
        else:
            upper.append(-line if row.kind == LOWER else line)
            upper_b.append(0.0)
    found = linprog(
        cost,
        A_ub=np.array(upper) if upper else None,
        b_ub=upper_b or None,
        A_eq=np.array(equal),
        b_eq=equal_b,
        method="highs",
    )
    if found.status != 0 or found.x is None:
        raise SolverError(
            "the feasibility of the views could not be decided",
            received=str(found.message),
            fix="The moments held by an earlier stage are at the edge of the "
            "scenarios: loosen the views of means and variances.",
        )
    total = dict.fromkeys(soft, 0.0)
    for (k, _), value in zip(columns, found.x[S:], strict=True):
        total[k] += float(value)
    return total
