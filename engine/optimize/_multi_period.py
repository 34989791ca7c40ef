"""Plan several trades ahead, execute the first: multi-period optimisation.

    minimise  sum_h d^(h-1) [cost(z_h) + 1/2 z_h' Q z_h]
                  + d^h [gamma/2 (w_h - v_h b)' Sigma (w_h - v_h b) - alpha_h' w_h]
    with      w_h = w_(h-1) + z_h,   v_h = v_(h-1) - cost(z_h),   1' w_h = v_h

for h = 1..H, d = 1 - discount, b the benchmark, and every limit at every step (Boyd et
al. 2017, chapter 5). The horizon recedes: after the first trade one plans anew. A fast
forecast is then traded less than a lasting one, because the plan knows that it has to
trade back. With quadratic costs and nothing else the first trade goes a fixed fraction
of the way to an aim (Garleanu and Pedersen 2013, propositions 1 to 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine._typing import Matrix
from engine.errors import DataError, InfeasibleError, UsageError
from engine.optimize._cost_terms import (
    CostRates,
    ImpactTangent,
    borrow_terms,
    impact_terms,
    linear_terms,
    paid,
)
from engine.optimize._risk_terms import risk_vector
from engine.optimize.problem import (
    _MOST_CUTS,
    _MOST_TANGENTS,
    _TANGENT_TOLERANCE,
    Measure,
    Setup,
    Solution,
    _clean,
    _least_left,
    _refine,
    band,
)
from engine.optimize.solve import Solved, solve


@dataclass(frozen=True)
class PlanAhead:
    """How `propose` looks ahead.

    Attributes
    ----------
    steps : int, default 5
        Rebalances planned, the first of which is executed. Beyond a few half-lives of
        the forecast more change nothing.
    alpha : mapping by asset
        Expected simple return over cash of the first step, a decimal; zero for assets
        it leaves out.
    decay : float, default 1
        What is left of the forecast one step later, in [0, 1]: 1 lasts for ever.
    discount : float, default 0
        Of each step against the one before, in [0, 1).
    """

    steps: int = 5
    alpha: Mapping[str, float] = field(default_factory=dict)
    decay: float = 1.0
    discount: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise UsageError("steps must be a positive integer", received=self.steps)
        if not 0.0 <= self.decay <= 1.0:
            raise UsageError("decay must lie in [0, 1]", received=self.decay)
        if not 0.0 <= self.discount < 1.0:
            raise UsageError("discount must lie in [0, 1)", received=self.discount)
        for asset, value in self.alpha.items():
            if not np.isfinite(value):
                raise DataError("a forecast is not a number", asset=asset)

    def forecasts(self, assets: Sequence[str]) -> Matrix:
        """(H, N) expected returns of each step; an unknown name is an error."""
        unknown = [a for a in self.alpha if a not in set(assets)]
        if unknown:
            raise DataError(
                "a forecast is for an asset that is not among the scenarios",
                asset=unknown[0],
            )
        first = np.array([float(self.alpha.get(a, 0.0)) for a in assets])
        left = np.power(self.decay, np.arange(self.steps), dtype=np.float64)
        return np.outer(left, first)


@dataclass(frozen=True)
class Plan:
    """A path of weights; only the first trade is meant to be executed.

    Attributes
    ----------
    weights, trades : (H, N) float64
        After each step, and what is traded at it, in fractions of the value now.
    cost : float
        Of the first trade, a fraction of the value now; quadratic costs left out.
    objective : float
    duals : (H, K) float64
        Price of each stress cap at each step, in the order given.
    path : tuple of str
        Solver, status and residual of each solve.
    """

    weights: Matrix
    trades: Matrix
    cost: float
    objective: float
    duals: Matrix
    path: tuple[str, ...]


def plan(
    current: Any,
    alpha: Any,
    covariance: Any,
    *,
    steps: int,
    aversion: float,
    costs: CostRates | None = None,
    quadratic_cost: Any = None,
    discount: float = 0.0,
    benchmark: Any = None,
    budget: bool = True,
    lower: Any = -np.inf,
    upper: Any = np.inf,
    stress: Mapping[str, tuple[Any, Any]] | None = None,
) -> Plan:
    """Plan ``steps`` trades ahead (Boyd et al. 2017, chapter 5).

    Parameters
    ----------
    current : (N,) array_like
        Fractions of value held now.
    alpha : (N,) or (H, N) array_like
        Expected simple return of each step, a decimal; one row lasts for ever.
    covariance : (N, N) array_like
        Of the simple returns of one step; positive semidefinite.
    steps : int
        H.
    aversion : float
        gamma, on half the variance of a step.
    costs : CostRates, optional
        From `cost_rates`: linear, impact, tax; the borrow fee is that of one step.
    quadratic_cost : (N, N) array_like, optional
        Q of ``1/2 z' Q z``; positive semidefinite. Weighs in the objective alone.
    discount : float, default 0
    benchmark : (N,) array_like, optional
        Risk is that of the difference from it; nothing by default.
    budget : bool, default True
        Weights sum to what is left of the value; False leaves them free.
    lower, upper : float or (N,) array_like
        Bounds on weights, as shares of what is left.
    stress : mapping name -> (moves, limit), optional
        ``-moves @ w`` stays at or below the limit at each step; the limit is one number
        or (H,), so that a cap can be approached.

    Returns
    -------
    Plan

    Raises
    ------
    DataError
        Shapes that do not match, or numbers that are not finite.
    ModelError, UsageError
        A matrix that is not positive semidefinite, a horizon or aversion that cannot
        be.
    InfeasibleError
        No path keeps within the limits.

    Examples
    --------
    >>> import numpy as np
    >>> made = plan([0.0], [0.01], [[0.04]], steps=1, aversion=1.0, budget=False)
    >>> bool(abs(made.weights[0, 0] - 0.25) < 1e-6)
    True
    """
    ahead = PlanAhead(steps=steps, discount=discount)
    w0 = _finite(current, "current", 1)
    n = w0.size
    forecasts = _finite(alpha, "alpha", None)
    if forecasts.shape not in ((n,), (steps, n)):
        raise DataError(
            "alpha does not match the weights",
            received=f"shape {forecasts.shape}",
            expected=f"({n},) or ({steps}, {n})",
        )
    if not (np.isfinite(aversion) and aversion >= 0):
        raise UsageError("aversion must not be negative", received=aversion)
    bench = np.zeros(n) if benchmark is None else _finite(benchmark, "benchmark", 1)
    low, high = (np.broadcast_to(np.asarray(v, float), (n,)) for v in (lower, upper))
    zero = np.zeros(n)
    rates = CostRates(zero, zero, zero, zero) if costs is None else costs
    measures: list[list[Measure]] = []
    for h in range(steps):
        row = []
        for name, (moves, limit) in (stress or {}).items():
            x = _finite(moves, f"moves of {name}", 1)
            bounds = np.broadcast_to(_finite(limit, f"limit of {name}", None), (steps,))
            row.append(Measure(name, float(bounds[h]), x[None, :], None, None, False))
        measures.append(row)
    setup = Setup(
        assets=tuple(f"{i}" for i in range(n)),
        current=w0,
        benchmark=bench,
        lower=low,
        upper=high,
        may_buy=np.ones(n, dtype=bool),
        may_sell=np.ones(n, dtype=bool),
        rates=rates.rates,
        tax=rates.tax,
        risk_root=_root(covariance, n, "covariance"),
        linear=[],
        risky=np.ones(n, dtype=bool),
        measures=measures[0],
        turnover=None,
        tracking_error=None,
        objective="cost_and_active_risk",
        aversion=aversion,
        impact=rates.impact,
        borrow=rates.borrow,
    )
    program = _PlanProgram(
        setup,
        measures,
        alpha=np.broadcast_to(forecasts, (steps, n)),
        risk_weight=0.5 * aversion,
        discount=ahead.discount,
        quadratic=None if quadratic_cost is None else _root(quadratic_cost, n, "cost"),
        budget=budget,
    )
    solved = program.run()
    if not solved.feasible:
        raise InfeasibleError(
            "no path of trades keeps within the limits",
            received="; ".join(solved.path),
            fix="Give the stress cap a path of limits, or widen the bounds.",
        )
    weights = program.weights()
    trades = np.diff(np.vstack([w0, weights]), axis=0)
    duals = [[program.dual(h, m.name) for m in row] for h, row in enumerate(measures)]
    return Plan(
        weights,
        trades,
        paid(rates, trades[0]),
        solved.value,
        np.array(duals).reshape(steps, -1),
        solved.path,
    )


def optimise_plan(
    setup: Setup, ahead: PlanAhead, *, tighten: dict[str, float] | None = None
) -> Solution:
    """The first step of a plan, as `engine.optimize.problem.optimise` answers.

    The aversion is spread evenly over the steps: a plan that trades once and then
    stands still is judged as the single-period problem judges it, and one step is that
    problem.
    """
    H = ahead.steps
    less = tighten or {}
    measures = [
        [replace(m, bound=m.bound - less.get(m.name, 0.0), cuts=[]) for m in row]
        for row in [setup.measures] * H
    ]
    program = _PlanProgram(
        setup,
        measures,
        alpha=ahead.forecasts(setup.assets),
        risk_weight=setup.aversion / H,
        discount=ahead.discount,
        tighten=less,
    )
    solved = program.run()
    if not solved.feasible:
        return Solution(solved, setup.current, setup.current, {}, {}, 0)
    after = _clean(program.weights()[0], setup)
    duals = {name: program.dual(0, name) for name in program.named[0]}
    return Solution(solved, after / after.sum(), after, duals, {}, program.rounds)


class _PlanProgram:
    """The cvxpy problem over all steps; tangents and hyperplanes are parameters."""

    def __init__(
        self,
        setup: Setup,
        measures: list[list[Measure]],
        *,
        alpha: Matrix,
        risk_weight: float,
        discount: float,
        quadratic: Matrix | None = None,
        budget: bool = True,
        tighten: Mapping[str, float] | None = None,
    ) -> None:
        self.setup, self.measures = setup, measures
        self.alpha, self.risk_weight = alpha, risk_weight
        self.keep, self.quadratic = 1.0 - discount, quadratic
        self.budget, self.tighten = budget, tighten or {}
        self.rounds = 0
        for row in measures:
            for m in row:
                m.cuts.append(m.cut(setup.current))

    def _build(self) -> None:
        import cvxpy as cp

        setup, n = self.setup, len(self.setup.assets)
        rates = setup.costs
        self.tangents: list[ImpactTangent] = []
        self.named: list[dict[str, list]] = []
        self.planes: list[list[list[Any]]] = []
        self.w: list[Any] = []
        constraints, objective = [], 0.0
        before: Any = setup.current
        left: Any = 1.0
        for h in range(len(self.measures)):
            w = cp.Variable(n)
            b, s = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
            cost = spent = linear_terms(rates, b, s)
            if rates.impact.any():
                tangent = ImpactTangent(rates)
                self.tangents.append(tangent)
                cost = cost + impact_terms(rates, b, s)
                spent = spent + tangent.terms(b, s)
            constraints.append(w - before == b - s)
            nav: Any = 1.0
            if self.budget:
                nav = cp.Variable()
                # As in the single-period problem: no trading to and fro.
                constraints += [
                    nav == left - spent,
                    cp.sum(w) == nav,
                    nav >= _least_left(setup) * left,
                ]
            if rates.borrow.any():
                cost = cost + borrow_terms(rates, w)
            trading = cost
            if self.quadratic is not None:
                moved = self.quadratic.T @ (w - before)
                trading = trading + 0.5 * cp.sum_squares(moved)
            whole = setup.objective == "minimum_variance"
            active = w if whole else w - setup.benchmark * nav
            holding = -(self.alpha[h] @ w)
            if setup.objective != "minimum_cost":
                risk = cp.sum_squares(risk_vector(setup, active))
                holding = holding + self.risk_weight * risk
            # Trades are paid now, what is held earns by the end of the step.
            now = self.keep**h
            objective = objective + now * trading + now * self.keep * holding
            limits = self._limits(h, w, b, s, nav)
            self.named.append(limits)
            constraints += [c for group in limits.values() for c in group]
            self.w.append(w)
            before, left = w, nav
        self.problem = cp.Problem(cp.Minimize(objective), constraints)
        self.counts = self._counts()

    def _limits(self, h: int, w: Any, b: Any, s: Any, nav: Any) -> dict[str, list]:
        """Every limit of the book at one step, by name."""
        import cvxpy as cp

        setup, named = self.setup, {}

        def less(name: str) -> float:
            return self.tighten.get(name, 0.0)

        row = []
        for m in self.measures[h]:
            planes = [cp.Parameter(w.size) for _ in m.cuts]
            row.append(planes)
            named[m.name] = [g @ w <= m.bound * nav for g in planes]
        self.planes.append(row)
        if setup.turnover is not None:
            bound = setup.turnover - less("turnover")
            named["turnover"] = [0.5 * cp.sum(b + s) <= bound]
        if setup.tracking_error is not None:
            bound = setup.tracking_error - less("tracking error")
            active = risk_vector(setup, w - setup.benchmark * nav)
            named["tracking error"] = [cp.norm(active, 2) <= bound * nav]
        if setup.gross is not None:
            total = cp.norm1(w[np.flatnonzero(setup.risky)])
            named["gross"] = [total <= (setup.gross - less("gross")) * nav]
        if setup.net is not None:
            named |= band(setup.net_row(), w, nav, 0.0, less)
        if setup.trade_caps is not None:
            capped = np.flatnonzero(np.isfinite(setup.trade_caps))
            most = np.maximum(setup.trade_caps[capped] - less("liquidity"), 0.0)
            named["liquidity"] = [(b + s)[capped] <= most]
        for limit in setup.linear:
            named |= band(limit, w, nav, 0.0, less)
        for name, bound in (("lower", setup.lower), ("upper", setup.upper)):
            rows = np.flatnonzero(np.isfinite(bound))
            if rows.size:
                over = bound[rows] * nav - w[rows]
                named[f"{name} bounds"] = [over <= 0 if name == "lower" else over >= 0]
        barred = [
            side[np.flatnonzero(~may)]
            for side, may in ((b, setup.may_buy), (s, setup.may_sell))
            if not may.all()
        ]
        if barred:
            named["no-buy, no-sell and locked"] = [cp.sum(x) <= 0 for x in barred]
        return named

    def _counts(self) -> list[int]:
        return [len(m.cuts) for row in self.measures for m in row]

    def run(self) -> Solved:
        """Solve until budgets hold what trades cost and measures are within limits."""
        path: list[str] = []
        built = False
        while True:
            self.rounds += 1
            if not built or self.counts != self._counts():
                self._build()
                built = True
            for row, planes in zip(self.measures, self.planes, strict=True):
                for m, places in zip(row, planes, strict=True):
                    for plane, cut in zip(places, m.cuts, strict=True):
                        plane.value = cut
            solved = self._solve()
            path.extend(solved.path)
            if not solved.feasible or self.rounds >= _MOST_CUTS:
                break
            # A list, so that every step is refined before any says it is done.
            if not any([self._refined(h) for h in range(len(self.measures))]):
                break
        kept = path if len(path) <= 3 else [path[0], f"{len(path) - 2} more", path[-1]]
        return Solved(solved.feasible, solved.value, tuple(kept))

    def _refined(self, h: int) -> bool:
        w = np.asarray(self.w[h].value)
        answer: Any = SimpleNamespace(
            weights=w / w.sum() if self.budget else w,
            slacks={},
            duals={m.name: self.dual(h, m.name) for m in self.measures[h]},
        )
        return _refine(self.measures[h], answer, None, self.rounds)

    def _solve(self) -> Solved:
        solved = solve(self.problem, linear=False, deadline=self.setup.deadline)
        for _ in range(_MOST_TANGENTS if self.tangents else 0):
            if not solved.feasible:
                break
            trades = np.diff(np.vstack([self.setup.current, self.weights()]), axis=0)
            moved = [t.move(z) for t, z in zip(self.tangents, trades, strict=True)]
            if max(moved) <= _TANGENT_TOLERANCE:
                break
            solved = solve(self.problem, linear=False, deadline=self.setup.deadline)
        return solved

    def weights(self) -> Matrix:
        """(H, N) solution, in fractions of the value now."""
        return np.vstack([w.value for w in self.w])

    def dual(self, h: int, name: str) -> float:
        """Price of a limit at one step."""
        return float(sum(np.sum(np.abs(c.dual_value)) for c in self.named[h][name]))


def _finite(values: Any, name: str, ndim: int | None) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not numeric", received=str(error)) from error
    if not np.isfinite(array).all() or (ndim is not None and array.ndim != ndim):
        raise DataError(
            f"{name} must be finite numbers",
            received=f"shape {array.shape}",
            expected="no NaN" if ndim is None else f"{ndim} axis, no NaN",
        )
    return array


def _root(matrix: Any, n: int, name: str) -> Matrix:
    """(N, K) root R of a positive semidefinite matrix, R R' = matrix."""
    C = _finite(matrix, name, 2)
    if C.shape != (n, n) or not np.allclose(C, C.T, rtol=1e-10, atol=0.0):
        raise DataError(
            f"{name} must be symmetric and match the weights",
            received=f"shape {C.shape}",
            expected=f"({n}, {n})",
        )
    values, vectors = np.linalg.eigh(C)
    if values[0] < -1e-10 * max(values[-1], 1e-300):
        raise DataError(
            f"{name} is not positive semidefinite",
            received=f"an eigenvalue of {values[0]:.3e}",
            fix="Repair it with engine.nearest_correlation.",
        )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), dtype=np.float64)
