"""The expected-shortfall problem, and what a solution of it must show.

    minimise    c'w + kappa ES(w) + gamma |Q'(w - w_b)|^2
                + buy'(w - w_0)+ + sell'(w_0 - w)+
    subject to  lower <= w <= upper,   A w <= b,   E w = e,
                (1/2) sum |w - w_0| <= turnover,   |Q'(w - w_b)| <= tracking_error

with ES(w) the expected shortfall of the losses ``-R w`` (Rockafellar and Uryasev 2000,
eq. 4). Group limits and the caps of single shocks are rows of A.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Matrix, Vector
from engine.errors import DataError, UsageError
from engine.risk._measures import check_level

_SUM = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class ShortfallProblem(Value):
    """Minimum expected shortfall, with what a portfolio usually asks beside it.

    Attributes
    ----------
    returns : (S, N) float64
        Simple returns by scenario.
    p : (S,) float64, optional
        Probabilities, positive or zero, sum one; equal by default.
    level : float, default 0.95
    shortfall_weight : float, default 1
        kappa above.
    linear : (N,) float64, optional
        c above; minus the mean gives a trade-off with expected return. Zero by default.
    lower, upper : float or (N,) float64, default 0 and 1
        May be infinite.
    A_ub, b_ub : (M, N), (M,) float64, optional
        ``A_ub w <= b_ub``.
    A_eq, b_eq : (P, N), (P,) float64, optional
        ``A_eq w = b_eq``; the budget, sum of weights one, by default.
    row_names, equality_names : tuple of str, optional
        Names of the rows, for messages and duals.
    current : (N,) float64, optional
        Weights before trading; needed by costs and turnover.
    buy, sell : (N,) float64, optional
        Cost per unit bought and sold; zero by default.
    turnover : float, optional
        Bound on half the sum of absolute changes.
    root : (N, K) float64, optional
        Q above, with ``Q Q'`` the covariance.
    benchmark : (N,) float64, optional
        Zero by default.
    risk_aversion : float, default 0
        gamma above.
    tracking_error : float, optional
    """

    returns: Matrix
    p: Any = None
    level: float = 0.95
    shortfall_weight: float = 1.0
    linear: Any = None
    lower: Any = 0.0
    upper: Any = 1.0
    A_ub: Any = None
    b_ub: Any = None
    A_eq: Any = None
    b_eq: Any = None
    row_names: tuple[str, ...] = ()
    equality_names: tuple[str, ...] = ()
    current: Any = None
    buy: Any = None
    sell: Any = None
    turnover: float | None = None
    root: Any = None
    benchmark: Any = None
    risk_aversion: float = 0.0
    tracking_error: float | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "returns", frozen_array(self.returns, name="returns", ndim=2))
        s, n = self.returns.shape
        if not s or not n:
            raise DataError("no scenario or no asset", received=f"shape {(s, n)}")
        check_level(self.level)
        if self.p is not None:
            p = frozen_array(self.p, name="probabilities", ndim=1, shape=(s,))
            if (p < 0).any() or abs(p.sum() - 1.0) > _SUM:
                raise DataError(
                    "probabilities must not be negative and must sum to one",
                    received=f"least {p.min():.3g}, sum {p.sum():.12g}",
                )
            put(self, "p", p)
        for name, default in (("lower", 0.0), ("upper", 1.0)):
            put(self, name, _bound(getattr(self, name), n, name, default))
        if (self.lower > self.upper).any():
            i = int(np.argmax(self.lower > self.upper))
            raise UsageError(
                "bounds are crossed",
                received=f"position {i}: {self.lower[i]} and {self.upper[i]}",
            )
        for name in ("linear", "current", "buy", "sell", "benchmark"):
            value = getattr(self, name)
            if value is not None:
                put(self, name, frozen_array(value, name=name, ndim=1, shape=(n,)))
        for name in ("buy", "sell"):
            value = getattr(self, name)
            if value is not None and (value < 0).any():
                raise DataError(f"{name} costs must not be negative")
        if self.A_eq is None and self.b_eq is None:
            put(self, "A_eq", np.ones((1, n)))
            put(self, "b_eq", np.ones(1))
            put(self, "equality_names", ("budget",))
        _rows(self, "A_ub", "b_ub", "row_names", "row", n)
        _rows(self, "A_eq", "b_eq", "equality_names", "equality", n)
        trades = self.buy is not None or self.sell is not None
        if (trades or self.turnover is not None) and self.current is None:
            raise UsageError("costs and turnover need the current weights")
        for name in ("shortfall_weight", "risk_aversion", "turnover", "tracking_error"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise UsageError(f"{name} must not be negative", received=value)
        if self.root is not None:
            put(
                self,
                "root",
                frozen_array(self.root, name="risk root", ndim=2, shape=(n, -1)),
            )
        elif self.risk_aversion > 0 or self.tracking_error is not None:
            raise UsageError("active risk needs the root of a covariance")

    def trade_cost(self, w: Vector) -> float:
        """Cost of moving from the current weights to ``w``."""
        if self.current is None:
            return 0.0
        z = w - self.current
        cost = 0.0
        if self.buy is not None:
            cost += float(self.buy @ np.maximum(z, 0.0))
        if self.sell is not None:
            cost += float(self.sell @ np.maximum(-z, 0.0))
        return cost

    def active_risk(self, w: Vector) -> float:
        """Norm of ``Q'(w - w_b)``; zero without a covariance."""
        if self.root is None:
            return 0.0
        active = w if self.benchmark is None else w - self.benchmark
        return float(np.linalg.norm(self.root.T @ active))

    def shortfall(self, w: Vector) -> float:
        """Expected shortfall, recomputed from the weights."""
        from engine.risk import expected_shortfall

        return float(
            expected_shortfall(-(self.returns @ w), level=self.level, p=self.p)
        )

    def objective(self, w: Vector) -> float:
        """The objective, recomputed from the weights."""
        total = self.shortfall_weight * self.shortfall(w) + self.trade_cost(w)
        if self.linear is not None:
            total += float(self.linear @ w)
        if self.risk_aversion > 0:
            total += self.risk_aversion * self.active_risk(w) ** 2
        return total

    def violation(self, w: Vector) -> float:
        """Largest violation of any limit, in weights (or the row's own unit)."""
        worst = [0.0, np.max(self.lower - w), np.max(w - self.upper)]
        if self.A_ub is not None:
            worst.append(np.max(self.A_ub @ w - self.b_ub, initial=0.0))
        worst.append(np.max(np.abs(self.A_eq @ w - self.b_eq), initial=0.0))
        if self.turnover is not None:
            worst.append(0.5 * np.abs(w - self.current).sum() - self.turnover)
        if self.tracking_error is not None:
            worst.append(self.active_risk(w) - self.tracking_error)
        return float(max(worst))


@dataclass(frozen=True, slots=True, eq=False)
class ShortfallSolution(Value):
    """Weights, with the proof of how good they are.

    Attributes
    ----------
    weights : (N,) float64
    objective : float
        Recomputed from the weights.
    bound : float
        Lower bound on the optimum from a dual-feasible point; minus infinity where
        the path gives none.
    expected_shortfall, value_at_risk : float
        Recomputed from the weights.
    path : str
        ``"interior point"``, ``"dual linear program"`` or ``"textbook"``.
    iterations : int
    scenarios_used : int
        Scenarios in the last solve, after screening.
    violation : float
        Largest violation of any limit.
    prices : mapping of str to float
        Dual of each named row, equality, ``turnover`` and ``tracking error``: what the
        objective would fall by per unit of more room.
    notes : tuple of str
        Each solver tried, its status, and why a path was left.
    """

    weights: Vector
    objective: float
    bound: float
    expected_shortfall: float
    value_at_risk: float
    path: str
    iterations: int
    scenarios_used: int
    violation: float
    prices: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """Objective less its lower bound: how far from optimal it can be at most."""
        return self.objective - self.bound


def _bound(value: Any, n: int, name: str, default: float) -> Vector:
    value = default if value is None else value
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n, float(array))
    out = frozen_array(array, name=name, ndim=1, shape=(n,), finite=False)
    if np.isnan(out).any():
        raise DataError(f"{name} bound is not a number", received=out)
    return out


def _rows(problem: Any, a: str, b: str, names: str, what: str, n: int) -> None:
    put = object.__setattr__
    A, right = getattr(problem, a), getattr(problem, b)
    if A is None and right is None:
        return
    if A is None or right is None:
        raise UsageError(f"{a} and {b} are given together")
    A = frozen_array(A, name=a, ndim=2, shape=(-1, n))
    put(problem, a, A)
    put(problem, b, frozen_array(right, name=b, ndim=1, shape=(A.shape[0],)))
    given = tuple(getattr(problem, names)) or tuple(
        f"{what} {i}" for i in range(A.shape[0])
    )
    if len(given) != A.shape[0]:
        raise UsageError(
            f"{names} has the wrong length",
            received=len(given),
            expected=A.shape[0],
        )
    put(problem, names, given)
