"""Views as linear restrictions on probabilities, one row over the scenarios each.

A mean or a probability is linear in the probabilities as it stands; a variance is once
the mean is held, a correlation once mean and variance are. Value at risk restrains the
mass beyond a scenario. An expected shortfall is ``min_t t + E[(L - t)+] / (1 - level)``
(Rockafellar and Uryasev 2000), linear for a given ``t``.
"""

from __future__ import annotations

import operator as compare
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine._typing import Vector
from engine.data.universe import _did_you_mean
from engine.errors import DataError, ModelError, UsageError
from engine.risk import expected_shortfall, value_at_risk
from engine.scenarios import ScenarioSet
from engine.shocks._entropy import EQUAL, LOWER, UPPER
from engine.shocks._view_text import Figure, View

_KIND = {">=": LOWER, "==": EQUAL, "<=": UPPER}
_TESTS = {"<=": compare.le, ">=": compare.ge, "<": compare.lt, ">": compare.gt}
_MASS_MARGIN = 1e-9
"""Kept from the exact mass of a tail, so that rounding cannot move a quantile."""


class Row(NamedTuple):
    """``E_q[a]`` against ``b``.

    Attributes
    ----------
    a : (S,) float64
    b : float
    kind : int
        `LOWER`, `EQUAL` or `UPPER`.
    view : int
        Position of the view it comes from; -1 for a moment held.
    text : str
    root : bool
        ``b`` is the square of the view's value.
    factor : float
        ``b`` (or its root) per unit of the view's value.
    """

    a: Vector
    b: float
    kind: int
    view: int
    text: str
    root: bool = False
    factor: float = 1.0

    def in_units(self, b: float) -> float:
        """Value of the view at which the row's right-hand side is ``b``."""
        return (float(np.sqrt(max(b, 0.0))) if self.root else b) * self.factor


@dataclass(slots=True)
class Held:
    """Means and variances that second moments are measured about."""

    mean: dict[str, float]
    variance: dict[str, float]


class Table:
    """Returns of a scenario set by asset name, and figures under any probabilities."""

    def __init__(self, scenarios: ScenarioSet) -> None:
        self.returns = scenarios.returns
        self.p = scenarios.p
        self.position = {a: i for i, a in enumerate(scenarios.assets)}
        self._orders: dict[str, np.ndarray] = {}

    def column(self, asset: str, text: str) -> Vector:
        """(S,) returns of an asset; `DataError` where there is none."""
        if asset not in self.position:
            raise DataError(
                f"view {text!r} names an asset that the scenarios lack",
                asset=asset,
                fix=_did_you_mean(asset, list(self.position)),
            )
        return self.returns[:, self.position[asset]]

    def losses(self, asset: str, text: str) -> Vector:
        """(S,) losses of an asset."""
        return -self.column(asset, text)

    def order(self, asset: str, text: str) -> np.ndarray:
        """(S,) scenarios by falling loss of an asset."""
        if asset not in self._orders:
            self._orders[asset] = np.argsort(self.column(asset, text), kind="stable")
        return self._orders[asset]

    def happens(self, figure: Figure, text: str) -> Vector:
        """(S,) one where an event holds, else zero."""
        inside = np.ones(self.p.size, dtype=bool)
        for asset, operator, bound in figure.event:
            inside &= _TESTS[operator](self.column(asset, text), bound)
        return inside.astype(np.float64)

    def figure(self, figure: Figure, q: Vector, text: str) -> float:
        """One figure under probabilities ``q``."""
        if figure.kind == "prob":
            return float(q @ self.happens(figure, text))
        x = self.column(figure.assets[0], text)
        if figure.kind == "mean":
            return float(q @ x)
        if figure.kind == "var":
            return value_at_risk(-x, level=figure.level, p=q)
        if figure.kind == "es":
            return expected_shortfall(-x, level=figure.level, p=q)
        x = x - q @ x
        variance = float(q @ x**2)
        if figure.kind == "variance":
            return variance
        if figure.kind == "vol":
            return float(np.sqrt(variance))
        y = x
        if figure.kind == "corr":
            y = self.column(figure.assets[1], text)
            y = y - q @ y
        other = float(q @ y**2)
        if variance <= 0 or other <= 0:
            raise ModelError(
                f"view {text!r}: an asset does not move in the scenarios",
                asset=figure.assets[0 if variance <= 0 else 1],
            )
        if figure.kind == "corr":
            return float(q @ (x * y)) / np.sqrt(variance * other)
        power = 3 if figure.kind == "skew" else 4
        return float(q @ x**power) / variance ** (power / 2)

    def target(self, view: View) -> float:
        """Right-hand side of a view, its prior figures evaluated."""
        return view.value + sum(
            c * self.figure(f, self.p, view.text) for c, f in view.prior_terms
        )

    def posterior(self, view: View, q: Vector) -> float:
        """Left-hand side of a view under probabilities ``q``."""
        return sum(c * self.figure(f, q, view.text) for c, f in view.terms)


def stage_of(view: View) -> int:
    """1: linear as it stands; 2: needs means held; 3: needs variances held."""
    if view.kinds & {"corr", "skew", "kurtosis"}:
        return 3
    return 2 if view.kinds & {"vol", "variance"} else 1


def assets_of(view: View, *, second: bool = False) -> set[str]:
    """Assets of a view; ``second``: of its figures beyond mean and probability."""
    plain = {"mean", "prob", "var", "es"} if second else set()
    return {a for _, f in view.terms if f.kind not in plain for a in f.assets}


def rows_of(view: View, index: int, table: Table, held: Held) -> list[Row]:
    """Rows of any view but one on expected shortfall."""
    target, operator = table.target(view), view.operator
    single = view.terms[0] if len(view.terms) == 1 else None
    factor = 1.0
    if single is not None and single[0] != 1.0:
        factor = single[0]
        target /= factor
        if factor < 0:
            operator = {"<=": ">=", ">=": "<=", "==": "=="}[operator]
        single = (1.0, single[1])
    kind = _KIND[operator]
    if single is not None and single[1].kind == "var":
        return _quantile_rows(view, index, single[1], table, target, kind, factor)
    if "vol" in view.kinds:
        terms = tuple(
            (np.sign(c) * c * c, f) for c, f in ((single,) if single else view.terms)
        )
        if target < 0:
            raise UsageError(
                f"view {view.text!r} asks for an impossible volatility", received=target
            )
        a = _combined(terms, view, table, held)
        root = single is not None
        b = target * target
        return [Row(a, b, kind, index, view.text, root, factor)]
    a = _combined((single,) if single else view.terms, view, table, held)
    return [Row(a, target, kind, index, view.text, False, factor)]


def _combined(terms, view: View, table: Table, held: Held) -> Vector:
    a = np.zeros(table.p.size)
    for coefficient, figure in terms:
        a += coefficient * _linear(figure, view, table, held)
    return a


def _linear(figure: Figure, view: View, table: Table, held: Held) -> Vector:
    """(S,) whose mean is the figure, at the moments held."""
    if figure.kind == "prob":
        return table.happens(figure, view.text)
    first = figure.assets[0]
    x = table.column(first, view.text)
    if figure.kind == "mean":
        return x
    if figure.kind in ("var", "es"):
        raise UsageError(f"view {view.text!r}: {figure.kind} cannot be combined")
    x = x - held.mean[first]
    if figure.kind in ("vol", "variance"):
        return x * x
    for asset in figure.assets:
        if held.variance[asset] <= 0:
            raise ModelError(
                f"view {view.text!r}: an asset does not move in the scenarios",
                asset=asset,
            )
    x = x / np.sqrt(held.variance[first])
    if figure.kind == "corr":
        second = figure.assets[1]
        y = table.column(second, view.text) - held.mean[second]
        return x * (y / np.sqrt(held.variance[second]))
    return x**3 if figure.kind == "skew" else x**4


def _quantile_rows(
    view: View,
    index: int,
    figure: Figure,
    table: Table,
    target: float,
    kind: int,
    factor: float,
) -> list[Row]:
    """``VaR <= x``: ``P(L > x) <= 1 - level``; ``VaR >= x``: ``P(L >= x)`` above it.

    At ``==`` the quantile lies on the scenario nearest to ``x``.
    """
    losses = table.losses(figure.assets[0], view.text)
    mass = 1.0 - figure.level
    if kind == EQUAL:
        alive = losses[table.p > 0]
        if alive.min() <= target <= alive.max():
            target = float(alive[np.argmin(np.abs(alive - target))])
    rows = []
    if kind != UPPER:
        a = (losses >= target).astype(np.float64)
        rows.append(Row(a, mass + _MASS_MARGIN, LOWER, index, view.text))
    if kind != LOWER:
        a = (losses > target).astype(np.float64)
        rows.append(Row(a, mass - _MASS_MARGIN, UPPER, index, view.text))
    return rows


@dataclass(slots=True)
class Shortfall:
    """A view on expected shortfall while its value at risk is being found.

    ``ES <= t + E[(L - t)+] / (1 - level)``, with equality where ``t`` is the value at
    risk: each posterior restrains the right-hand side at one ``t``, and ``t`` follows
    the posterior's value at risk, halving an interval where it overshoots.
    """

    view: View
    index: int
    losses: Vector
    order: np.ndarray
    level: float
    target: float
    kind: int
    factor: float
    side: int = EQUAL
    cuts: tuple[float, ...] = ()
    turns: int = 0
    low: float = -np.inf
    high: float = np.inf

    def rows(self) -> list[Row]:
        """One row per value of ``t`` in use."""
        out = []
        for t in self.cuts:
            a = t + np.maximum(self.losses - t, 0.0) / (1.0 - self.level)
            text = self.view.text
            row = Row(a, self.target, self.side, self.index, text, False, self.factor)
            out.append(row)
        return out

    def figures(self, q: Vector) -> tuple[float, float]:
        """Value at risk and expected shortfall under ``q``."""
        beyond = np.cumsum(q[self.order])
        k = int(np.searchsorted(beyond, 1.0 - self.level, side="right"))
        var = float(self.losses[self.order[min(k, q.size - 1)]])
        excess = float(q @ np.maximum(self.losses - var, 0.0))
        return var, var + excess / (1.0 - self.level)

    def update(self, q: Vector) -> bool:
        """Take a better ``t`` from the posterior ``q``; False where none is needed."""
        var, es = self.figures(q)
        near = 1e-9 * max(1.0, abs(self.target))
        if self.side == EQUAL:
            self.side = self.kind or (LOWER if es < self.target else UPPER)
        miss = es - self.target
        if abs(miss) <= near:
            return False
        if not self.cuts:
            if (miss > 0) == (self.side == LOWER):
                return self.kind == EQUAL and self._turn()
            low = self.side == LOWER
            self._place(var if low else min(var, self.target - 0.5 * (es - var)))
            return True
        t = self.cuts[0]
        row = t + float(q @ np.maximum(self.losses - t, 0.0)) / (1.0 - self.level)
        slack = abs(row - self.target) > near or abs(var - t) <= 1e-13
        if slack or (self.side == LOWER and miss > 0):
            return self.kind == EQUAL and self._turn()
        self._place(self._between(t, var))
        return True

    def _place(self, t: float) -> None:
        self.cuts = (t,)

    def _between(self, t: float, var: float) -> float:
        """Next ``t``: the value at risk, or half-way where that overshoots."""
        if var > t:
            self.low = t
            if self.high <= t:
                self.high = np.inf
        else:
            self.high = t
            if self.low >= t:
                self.low = -np.inf
        if self.high - self.low < 1e-9:  # other views moved what it enclosed
            self.low, self.high = -np.inf, np.inf
        if self.low < var < self.high:
            return var
        return 0.5 * (self.low + self.high)

    def _turn(self) -> bool:
        """Restrain from the other side: other views moved the figure past it."""
        self.turns += 1
        self.side, self.cuts = -self.side, ()
        self.low, self.high = -np.inf, np.inf
        return self.turns <= 4


def shortfall(view: View, index: int, table: Table) -> Shortfall:
    """State of a view on expected shortfall before any step."""
    factor, figure = view.terms[0]
    kind = _KIND[view.operator] * (1 if factor > 0 else -1)
    asset = figure.assets[0]
    return Shortfall(
        view,
        index,
        table.losses(asset, view.text),
        table.order(asset, view.text),
        figure.level,
        table.target(view) / factor,
        kind,
        factor,
    )
