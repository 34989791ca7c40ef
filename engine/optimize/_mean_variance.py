"""Mean-variance portfolios (Markowitz 1952): fast, and with a proof on every answer.

minimise   gamma/2 w'Sigma w - mean'w
subject to A_eq w = b_eq (the budget by default), A_ub w <= b_ub,
           lower <= w <= upper
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Vector
from engine.errors import DataError, InfeasibleError, SolverError, UsageError
from engine.optimize._inputs import Risk, read_covariance, read_vector
from engine.optimize._quadratic import Point, Quadratic, certify, interior_point
from engine.optimize.solve import solve
from engine.parallel import thread_limits

GAP = 1e-9
"""Largest proven gap of an interior-point answer, relative to the objective's scale."""
_VIOLATION = 1e-9
_TEXTBOOK_GAP = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class MeanVarianceSolution(Value):
    """Weights, with the proof of how good they are.

    Attributes
    ----------
    weights : (N,) float64
    labels : tuple of str
        Of a DataFrame; empty otherwise.
    objective : float
        ``gamma/2 w'Sigma w - mean'w`` (or what the function says it minimises),
        recomputed from the weights.
    bound : float
        Lower bound on the optimum from a dual-feasible point. Where a bound on a
        weight is infinite it is proven for weights within 10,000 of zero.
    expected_return, volatility : float
        ``mean'w`` and ``sqrt(w'Sigma w)``, recomputed, per period of the inputs.
    prices : mapping of str to float
        Of each inequality row: what the objective would fall by per unit of more
        room. Of each equality: the derivative of the optimum in its right side.
    reduced_costs : (N,) float64
        Positive at a lower bound that binds, negative at an upper one; zero between.
    iterations : int
    violation : float
        Largest violation of any limit.
    path : tuple of str
        Each solver tried and what came of it.
    risk_aversion : float
        gamma of the objective; implied where a function searched for it.
    """

    weights: Vector
    labels: tuple[str, ...]
    objective: float
    bound: float
    expected_return: float
    volatility: float
    prices: dict[str, float] = field(default_factory=dict)
    reduced_costs: Any = None
    iterations: int = 0
    violation: float = 0.0
    path: tuple[str, ...] = ()
    risk_aversion: float = 1.0

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "weights", frozen_array(self.weights, name="weights", ndim=1))
        n = self.weights.size
        reduced = np.zeros(n) if self.reduced_costs is None else self.reduced_costs
        put(
            self,
            "reduced_costs",
            frozen_array(reduced, name="reduced costs", ndim=1, shape=(n,)),
        )

    @property
    def gap(self) -> float:
        """Objective less its lower bound: how far from optimal it can be at most."""
        return self.objective - self.bound

    def labelled(self) -> Any:
        """Weights as a Series where the covariance had labels, else the array."""
        if not self.labels:
            return self.weights
        import pandas as pd

        return pd.Series(self.weights, index=list(self.labels), name="weight")


def mean_variance(
    mean: Any,
    covariance: Any,
    *,
    risk_aversion: float = 1.0,
    lower: Any = 0.0,
    upper: Any = 1.0,
    A_ub: Any = None,
    b_ub: Any = None,
    A_eq: Any = None,
    b_eq: Any = None,
    row_names: tuple[str, ...] = (),
    equality_names: tuple[str, ...] = (),
) -> MeanVarianceSolution:
    """Weights that trade expected return against variance, with a proven gap.

    A primal-dual interior point that never forms N x N for a `FactorCovariance`, then
    the exact solution on its active set. Where it does not reach a gap of 1e-9 the
    textbook form in cvxpy is solved instead, and ``path`` says so.

    Parameters
    ----------
    mean : float or (N,) array_like, Series or mapping
        Expected return per period, decimals; no NaN. By name where labelled.
    covariance : (N, N) array_like, DataFrame or FactorCovariance
        Of the same period; positive semi-definite; no NaN.
    risk_aversion : float, default 1
        gamma, positive.
    lower, upper : float, (N,) array_like, Series or mapping, default 0 and 1
        May be infinite.
    A_ub, b_ub : (M, N), (M,) array_like, optional
        ``A_ub w <= b_ub``; columns in the order of the covariance.
    A_eq, b_eq : (P, N), (P,) array_like, optional
        In place of the budget, sum of weights one.
    row_names, equality_names : tuple of str, optional
        For prices and messages.

    Returns
    -------
    MeanVarianceSolution

    Raises
    ------
    DataError, UsageError
        Malformed input; bounds that cross.
    ModelError
        A covariance that is not positive semi-definite.
    InfeasibleError
        Limits that no portfolio satisfies.
    SolverError
        No path gave an answer that passes its checks, such as an objective without a
        minimum.

    Examples
    --------
    >>> import numpy as np
    >>> s = mean_variance(0.0, np.diag([0.04, 0.01]))
    >>> s.weights.round(6).tolist(), s.gap < 1e-12
    ([0.2, 0.8], True)
    """
    with thread_limits(1):
        problem = read_problem(
            mean,
            covariance,
            lower=lower,
            upper=upper,
            A_ub=A_ub,
            b_ub=b_ub,
            A_eq=A_eq,
            b_eq=b_eq,
            row_names=row_names,
            equality_names=equality_names,
        )
        return problem.solve(risk_aversion)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Checked inputs of a mean-variance problem, to be solved at any risk aversion."""

    mean: Vector
    risk: Risk
    lower: Vector
    upper: Vector
    E: Any
    e: Vector
    G: Any
    h: Vector
    row_names: tuple[str, ...]
    equality_names: tuple[str, ...]

    def quadratic(self, gamma: float, mean: Vector | None = None) -> Quadratic:
        """The program at one risk aversion; ``mean`` in place of the problem's."""
        return Quadratic(
            self.risk,
            gamma,
            -(self.mean if mean is None else mean),
            self.E,
            self.e,
            self.G,
            self.h,
            self.lower,
            self.upper,
        )

    def point(
        self, gamma: float, mean: Vector | None = None
    ) -> tuple[Point, tuple[str, ...]]:
        """Optimum at one risk aversion, by the fast path or the textbook."""
        if not (np.isfinite(gamma) and gamma > 0):
            raise UsageError("risk aversion must be positive", received=gamma)
        q = self.quadratic(gamma, mean)
        found = interior_point(q)
        if found is not None and acceptable(q, found, GAP):
            return found, ("interior point",)
        left = "no step" if found is None else f"gap {found.gap:.1e}"
        return _textbook(q, self, (f"interior point: {left}",))

    def solve(self, gamma: float) -> MeanVarianceSolution:
        """Solution at one risk aversion."""
        point, path = self.point(gamma)
        return self.solution(point, path, gamma=gamma)

    def solution(
        self, point: Point, path: tuple[str, ...], *, gamma: float, **changes: Any
    ) -> MeanVarianceSolution:
        """Report a point; ``changes`` replace what another objective reports."""
        w = point.w
        prices = dict(zip(self.equality_names, point.y.tolist(), strict=True))
        prices |= dict(zip(self.row_names, point.z.tolist(), strict=True))
        labels = self.risk.labels
        fields: dict[str, Any] = {
            "weights": w,
            "labels": () if labels is None else tuple(labels),
            "objective": point.objective,
            "bound": point.bound,
            "expected_return": float(self.mean @ w),
            "volatility": self.volatility(w),
            "prices": prices,
            "reduced_costs": point.reduced,
            "iterations": point.iterations,
            "violation": point.violation,
            "path": path,
            "risk_aversion": gamma,
        }
        return MeanVarianceSolution(**(fields | changes))

    def volatility(self, w: Vector) -> float:
        """``sqrt(w'Sigma w)``."""
        return float(np.sqrt(max(w @ (self.risk @ w), 0.0)))


def acceptable(q: Quadratic, point: Point, gap: float) -> bool:
    """Whether the proof is good enough: relative to the terms of the objective."""
    w = point.w
    largest = float(np.abs(w).max(initial=0.0))
    size = 0.5 * abs(float(w @ q.times(w))) + float(np.abs(q.c) @ np.abs(w))
    # An optimum without risk or mean is zero, to which nothing is relative.
    size += 0.01 * q.scale * float(q.risk.variances.mean()) * largest**2
    scale = max(1.0, largest)
    return (
        np.isfinite(point.gap)
        and abs(point.gap) <= gap * size + 1e-300
        and point.violation <= _VIOLATION * scale
    )


def _textbook(q: Quadratic, problem: Problem, path: tuple[str, ...]) -> Any:
    """The same program in cvxpy, for what the interior point did not finish."""
    import cvxpy as cp

    w = cp.Variable(q.c.size)
    unit = max(q.scale * float(q.risk.variances.mean()), float(np.abs(q.c).max()), 1e-9)
    if q.risk.dense is not None:
        risk: Any = cp.quad_form(w, cp.psd_wrap(q.risk.dense * (q.scale / unit)))
    else:
        A, d = q.risk.parts()
        risk = (q.scale / unit) * (
            cp.sum_squares(A.T @ w) + cp.sum_squares(cp.multiply(np.sqrt(d), w))
        )
    limits: list[Any] = []
    equal = q.E @ w == q.e if q.e.size else None
    rows = q.G @ w <= q.h if q.h.size else None
    limits += [c for c in (equal, rows) if c is not None]
    low, high = np.isfinite(q.lower), np.isfinite(q.upper)
    if low.any():
        limits.append(w[np.flatnonzero(low)] >= q.lower[low])
    if high.any():
        limits.append(w[np.flatnonzero(high)] <= q.upper[high])
    program = cp.Problem(cp.Minimize(0.5 * risk + (q.c / unit) @ w), limits)
    solved = solve(program, linear=False)
    path = (*path, *solved.path)
    if not solved.feasible:
        raise InfeasibleError(
            "no portfolio satisfies the limits",
            conflict=("bounds", *problem.equality_names, *problem.row_names),
            received="; ".join(path),
            fix="Widen a bound, or drop a row.",
        )
    # cvxpy: the gradient plus E'dual is zero.
    y, z = -unit * _dual(equal), unit * _dual(rows)
    x = np.clip(np.asarray(w.value, dtype=np.float64), q.lower, q.upper)
    point = certify(q, x, y, z, 0)
    if not acceptable(q, point, _TEXTBOOK_GAP) and point.violation > 1e-7:
        raise SolverError(
            "no solver found an acceptable solution",
            received="; ".join(path),
            expected=f"a violation below 1e-7, not {point.violation:.1e}",
        )
    return point, path


def _dual(limit: Any) -> Vector:
    return np.zeros(0) if limit is None else np.atleast_1d(limit.dual_value)


def read_problem(
    mean: Any,
    covariance: Any,
    *,
    lower: Any = 0.0,
    upper: Any = 1.0,
    A_ub: Any = None,
    b_ub: Any = None,
    A_eq: Any = None,
    b_eq: Any = None,
    row_names: tuple[str, ...] = (),
    equality_names: tuple[str, ...] = (),
) -> Problem:
    """Check the inputs of `mean_variance`, which documents them."""
    risk = covariance if isinstance(covariance, Risk) else read_covariance(covariance)
    lo = read_vector(lower, risk, "lower", finite=False, default=-np.inf)
    up = read_vector(upper, risk, "upper", finite=False, default=np.inf)
    if (lo > up).any() or (lo == np.inf).any() or (up == -np.inf).any():
        i = int(np.argmax((lo > up) | (lo == np.inf) | (up == -np.inf)))
        raise UsageError(
            "bounds are crossed", asset=risk.name(i), received=f"{lo[i]} and {up[i]}"
        )
    if A_eq is None and b_eq is None:
        A_eq, b_eq = np.ones((1, risk.n)), np.ones(1)
        equality_names = equality_names or ("budget",)
    E, e, equality_names = _rows(A_eq, b_eq, equality_names, "equality", risk.n)
    G, h, row_names = _rows(A_ub, b_ub, row_names, "row", risk.n)
    _check_reach(E, e, equality_names, lo, up, equal=True)
    _check_reach(G, h, row_names, lo, up, equal=False)
    return Problem(
        mean=read_vector(mean, risk, "mean"),
        risk=risk,
        lower=lo,
        upper=up,
        E=E,
        e=e,
        G=G,
        h=h,
        row_names=row_names,
        equality_names=equality_names,
    )


def _rows(A: Any, b: Any, names: tuple[str, ...], what: str, n: int) -> Any:
    if A is None and b is None:
        return np.zeros((0, n)), np.zeros(0), ()
    if A is None or b is None:
        raise UsageError(f"the matrix and the right side of each {what} go together")
    rows = frozen_array(np.atleast_2d(A), name=f"{what} matrix", ndim=2, shape=(-1, n))
    right = frozen_array(
        np.atleast_1d(b), name=f"{what} right side", ndim=1, shape=(rows.shape[0],)
    )
    names = tuple(names) or tuple(f"{what} {i}" for i in range(rows.shape[0]))
    if len(names) != rows.shape[0] or len(set(names)) != len(names):
        raise UsageError(
            f"names of the {what} rows must be distinct, one a row",
            received=names,
            expected=rows.shape[0],
        )
    return rows, right, names


def _check_reach(A, b, names, lo, up, *, equal: bool) -> None:
    """Refuse a row that no weights within the bounds can meet."""
    if not b.size:
        return
    with np.errstate(invalid="ignore"):
        down = np.where(A > 0, A * lo, np.where(A < 0, A * up, 0.0)).sum(axis=1)
        high = np.where(A > 0, A * up, np.where(A < 0, A * lo, 0.0)).sum(axis=1)
    room = 1e-9 * np.maximum(1.0, np.abs(b))
    out = down > b + room
    if equal:
        out |= high < b - room
    if out.any():
        i = int(np.argmax(out))
        raise InfeasibleError(
            f"the bounds leave no room for {names[i]}",
            conflict=("bounds", names[i]),
            received=f"between {down[i]:.6g} and {high[i]:.6g}",
            expected=f"{'' if equal else 'at most '}{b[i]:.6g}",
            fix="Widen the bounds.",
        )


def maximum_utility(
    mean: Any, covariance: Any, *, risk_aversion: float, **limits: Any
) -> MeanVarianceSolution:
    """Largest ``mean'w - gamma/2 w'Sigma w``: `mean_variance` with a stated gamma.

    Its objective is minus the utility.

    Parameters
    ----------
    mean, covariance
        As in `mean_variance`.
    risk_aversion : float
        Gamma, not negative.
    **limits
        Those of `mean_variance`: bounds, rows and their names.

    Returns
    -------
    MeanVarianceSolution
    """
    return mean_variance(mean, covariance, risk_aversion=risk_aversion, **limits)


def check_finite_choice(problem: Problem) -> None:
    """Refuse problems whose optimum over the limits may be infinitely far away."""
    if not (np.isfinite(problem.lower).all() and np.isfinite(problem.upper).all()):
        i = int(np.argmax(~(np.isfinite(problem.lower) & np.isfinite(problem.upper))))
        raise DataError(
            "this objective needs finite bounds",
            asset=problem.risk.name(i),
            received=f"{problem.lower[i]} and {problem.upper[i]}",
        )
