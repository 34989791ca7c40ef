"""Which views contradict each other, and the nearest views that do not.

Phase one of a linear programme (HiGHS): the least weighted slack at which probabilities
exist. A deletion filter leaves an irreducible set of views that conflict.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from engine._typing import Vector
from engine.errors import InfeasibleError, SolverError
from engine.shocks._entropy import EQUAL, LOWER, UPPER
from engine.shocks._view_rows import Row

_SLACK = 1e-7
"""Slack, in standard deviations of a row, that counts as met: HiGHS's tolerance."""
_HELD = 1e-8
"""To which a moment is held: the tolerance of the stage that met it."""
_PRICE = 1e-9
"""Reduced cost that counts as none: the total is then within it of the least."""
_START, _MORE, _ROUNDS = 400, 200, 200
"""Scenarios at first, most added at a time, and times."""


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
    programme = Feasibility(rows, p)
    slack = programme.least_slack()
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
        left = programme.least_slack(without)
        if max(left.values(), default=0.0) > _SLACK:
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


class Feasibility:
    """The linear programme of the slacks, on the few scenarios that decide it.

    A solution rests on no more scenarios than there are rows, so the programme is
    solved on some of them and those are added whose reduced cost is negative (column
    generation; Dantzig and Wolfe 1960). Probabilities sum to one, so the least total is
    within the lowest reduced cost of the one found.

    Parameters
    ----------
    rows : sequence of Row
    p : (S,) float64
        Scenarios without probability stay without.
    """

    def __init__(self, rows: Sequence[Row], p: Vector) -> None:
        alive = p > 0
        self.rows = list(rows)
        self.lines = np.array([(r.a[alive] - r.b) / _scale(r, p) for r in rows])
        size = self.lines.shape[1]
        ends = [self.lines.argmin(axis=1), self.lines.argmax(axis=1)]
        spread = np.linspace(0, size - 1, min(size, _START)).astype(np.intp)
        self.used = np.unique(np.concatenate([*ends, spread]))

    def least_slack(self, views: Container[int] | None = None) -> dict[int, float]:
        """Slack of each view's row, in standard deviations, at the least total.

        Parameters
        ----------
        views : container of int, optional
            Only these views are asked for; by default all. Moments held always are.
        """
        mine = [
            k
            for k, r in enumerate(self.rows)
            if r.view < 0 or views is None or r.view in views
        ]
        if any(self.rows[k].view < 0 for k in mine):
            _, held = self._least([k for k in mine if self.rows[k].view < 0], soft=True)
            if held > _HELD:
                raise SolverError(
                    "the feasibility of the views could not be decided",
                    received=f"moments held are missed by {held:.3e} deviations",
                    fix="The moments held by an earlier stage are at the edge of the "
                    "scenarios: loosen the views of means and variances.",
                )
        return self._least(mine, soft=False)[0]

    def _least(self, mine: list[int], *, soft: bool) -> tuple[dict[int, float], float]:
        """Slack by row and in total; ``soft`` lets the moments held give as well."""
        giving = [k for k in mine if soft or self.rows[k].view >= 0]
        # Equal rows may give either way: two columns; the others one.
        columns: list[tuple[int, float]] = []
        for k in giving:
            if self.rows[k].kind != UPPER:
                columns.append((k, 1.0))
            if self.rows[k].kind != LOWER:
                columns.append((k, -1.0))
        equal = [
            k for k in mine if self.rows[k].kind == EQUAL and (soft or k in giving)
        ]
        held = [k for k in mine if self.rows[k].kind == EQUAL and k not in equal]
        lower = [k for k in mine if self.rows[k].kind == LOWER]
        upper = [k for k in mine if self.rows[k].kind == UPPER]
        # Rows that must not exceed zero, with the sign that makes them so.
        bounded = [(k, 1.0) for k in (*upper, *held)] + [
            (k, -1.0) for k in (*lower, *held)
        ]
        limit = [_HELD if k in held else 0.0 for k, _ in bounded]
        for _ in range(_ROUNDS):
            found = self._solve(columns, equal, bounded, limit)
            price = float(found.eqlin.marginals[0]) + (
                found.eqlin.marginals[1:] @ self.lines[equal]
                if equal
                else np.zeros(self.lines.shape[1])
            )
            if bounded:
                signs = np.array([sign for _, sign in bounded])
                by_row = signs * found.ineqlin.marginals
                price = price + by_row @ self.lines[[k for k, _ in bounded]]
            gain = price - _PRICE
            gain[self.used] = 0.0
            fresh = np.flatnonzero(gain > 0.0)
            if not fresh.size:
                total = dict.fromkeys(giving, 0.0)
                gives = found.x[found.x.size - len(columns) :]
                for (k, _), value in zip(columns, gives, strict=True):
                    total[k] += float(value)
                return total, float(found.fun)
            if fresh.size > _MORE:
                fresh = fresh[np.argpartition(-gain[fresh], _MORE)[:_MORE]]
            self.used = np.union1d(self.used, fresh)
        raise SolverError(
            "the feasibility of the views could not be decided",
            received=f"{_ROUNDS} rounds of scenarios",
            fix="Give fewer views, or looser ones.",
        )

    def _solve(
        self,
        columns: list[tuple[int, float]],
        equal: list[int],
        bounded: list[tuple[int, float]],
        limit: list[float],
    ) -> Any:
        """HiGHS's answer on the scenarios in use: they come first, then the slacks."""
        from scipy.optimize import linprog

        used, more = self.used, len(columns)

        def row(k: int, sign: float) -> Vector:
            give = np.array([s if j == k else 0.0 for j, s in columns])
            return sign * np.concatenate([self.lines[k, used], give])

        ones = np.concatenate([np.ones(used.size), np.zeros(more)])
        found: Any = linprog(
            np.concatenate([np.zeros(used.size), np.ones(more)]),
            A_ub=np.array([row(k, s) for k, s in bounded]) if bounded else None,
            b_ub=limit or None,
            A_eq=np.array([ones, *(row(k, 1.0) for k in equal)]),
            b_eq=np.array([1.0, *(0.0 for _ in equal)]),
            method="highs",
        )
        if found.status != 0 or found.x is None:
            raise SolverError(
                "the feasibility of the views could not be decided",
                received=str(found.message),
                fix="The moments held by an earlier stage are at the edge of the "
                "scenarios: loosen the views of means and variances.",
            )
        return found
