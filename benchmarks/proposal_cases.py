"""Cases of full proposals: every continuous limit at once, and at most 30 names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.case import Case, Thunk


class Moves:
    """A shock with stated moves: M equally likely severities of one loss by asset."""

    name = "stated"
    known_from = np.datetime64("2020-01-01")

    def __init__(self, draws: np.ndarray) -> None:
        self.draws = draws

    def moves(self, universe: Any, model: Any = None) -> Any:
        """The moves as `engine.shocks` states them."""
        from engine.shocks import ShockMoves

        return ShockMoves(
            assets=universe.tickers,
            central=self.draws.mean(axis=0),
            draws=self.draws,
            driver=self.draws.mean(axis=1),
            basis=("given",) * len(universe),
            parts={},
        )


class Inputs(NamedTuple):
    """A book, its scenarios and what limits it."""

    scenarios: Any
    book: Any
    current: np.ndarray
    shock: Moves
    country: np.ndarray
    """(N + 1,) 1 for assets of the limited country."""


def _inputs(S: int, N: int) -> Inputs:
    """Ten factors, fat tails; the book leans towards what the shock hits hardest."""
    from engine.covariance import FactorCovariance
    from engine.data.portfolio import Portfolio
    from engine.data.universe import Universe
    from engine.model import ReturnModel
    from engine.montecarlo import simulate

    rng = np.random.default_rng(3)
    B = 0.004 * rng.standard_normal((N, min(10, N)))
    B[:, 0] = 0.008 + 0.004 * rng.random(N)
    assets = tuple(f"A{i}" for i in range(N))
    universe = Universe(
        assets,
        country=tuple(("US", "TW", "KR", "JP")[i % 4] for i in range(N)),
        quote_currency=("USD",) * N,
    )
    model = ReturnModel(
        assets=assets,
        mean=np.zeros(N),
        covariance=FactorCovariance(B, np.eye(B.shape[1]), rng.uniform(1e-4, 4e-4, N)),
        tail_dof=5.0,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="given",
        universe=universe,
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )
    scenarios = simulate(model, S, horizon=21, seed=1)
    lean = np.linspace(1.0, 3.0, N)
    w0 = np.append(0.99 * lean / lean.sum(), 0.01)
    loss = np.append(np.linspace(0.02, 0.3, N), 0.0)
    book = Portfolio.from_weights(
        dict(zip(scenarios.assets, w0, strict=True)), 1e8, "USD"
    )
    country = np.array([float(c == "TW") for c in scenarios.universe.country])
    severity = np.linspace(0.5, 1.5, 200)[:, None]
    return Inputs(scenarios, book, w0, Moves(-severity * loss), country)


class Limits(NamedTuple):
    """Bounds that bind at the size of the inputs, and can hold together."""

    es: float
    stress: float
    upper: float
    country: float
    turnover: float
    tracking_error: float


def _limits(inputs: Inputs) -> Limits:
    from engine.risk import expected_shortfall

    w0 = inputs.current
    return Limits(
        0.94 * expected_shortfall(-(inputs.scenarios.returns @ w0), level=0.95),
        # The 90th percentile of equally spaced severities.
        0.9 * float(np.quantile(-(inputs.shock.draws @ w0), 0.9)),
        max(0.05, 3.0 / (w0.size - 1)),
        0.95 * float(inputs.country @ w0),
        0.3,
        0.10,
    )


def _constraints(inputs: Inputs, limits: Limits, **more: Any) -> Any:
    from engine.constraints import Constraints, StressCap

    return Constraints(
        upper=limits.upper,
        es_cap=limits.es,
        stress_caps=(StressCap(inputs.shock, limits.stress),),
        limits=(f"country:TW <= {limits.country!r}",),
        turnover=limits.turnover,
        tracking_error=limits.tracking_error,
        **more,
    )


def _objective(inputs: Inputs, w: np.ndarray, cost: float) -> float:
    """Trading cost plus active variance a year, in basis points."""
    from engine.optimize._propose import _risk_root

    active = _risk_root(inputs.scenarios).T @ (w - inputs.current)
    return 1e4 * (cost + float(active @ active) * (1.0 - cost) ** 2)


def _full(S: int, N: int) -> dict[str, Thunk]:
    """The default proposal; the peer writes down the same problem whole."""
    import cvxpy as cp

    from engine.constraints import StressCap
    from engine.costs import Costs
    from engine.optimize._propose import _risk_root, propose
    from engine.optimize.problem import stress_measure

    inputs = _inputs(S, N)
    limits = _limits(inputs)
    scenarios, w0 = inputs.scenarios, inputs.current
    constraints = _constraints(inputs, limits, minimum_trade=0.0)
    costs = Costs(5.0)
    rates = costs.rates(scenarios.assets)
    R, root = scenarios.returns, _risk_root(scenarios)
    cap = StressCap(inputs.shock, limits.stress)
    measure = stress_measure(cap, scenarios, cap.moves(scenarios))
    # One loss scaled by severity: its quantile is linear in the weights.
    losses = -measure.returns
    severe = losses[np.argsort(losses @ w0)]
    position = 0.9 * len(severe) - 0.5
    low = int(np.floor(position))
    at_quantile = severe[low] + (position - low) * (severe[low + 1] - severe[low])
    at_quantile *= measure.value(w0) / float(at_quantile @ w0)

    def ours():
        made = propose(inputs.book, scenarios, constraints, costs)
        return _objective(inputs, made.target, made.cost)

    def textbook():
        n = w0.size
        w, b, s = (
            cp.Variable(n),
            cp.Variable(n, nonneg=True),
            cp.Variable(n, nonneg=True),
        )
        u, t, nav = cp.Variable(S, nonneg=True), cp.Variable(), cp.Variable()
        cost = rates @ (b + s)
        active = root.T @ (w - nav * w0)
        rows: list[Any] = [
            w - w0 == b - s,
            nav + cost == 1,
            cp.sum(w) == nav,
            w >= 0,
            w[:-1] <= limits.upper * nav,
            w[-1] <= 0.02 * nav,
            u >= -R @ w - t,
            t + cp.sum(u) / (0.05 * S) <= limits.es * nav,
            at_quantile @ w <= limits.stress * nav,
            inputs.country @ w <= limits.country * nav,
            0.5 * cp.sum(b + s) <= limits.turnover,
            cp.norm(active, 2) <= limits.tracking_error * nav,
        ]
        goal = cp.Minimize(cost + cp.sum_squares(active))
        cp.Problem(goal, rows).solve(solver="CLARABEL")
        after, left = np.asarray(w.value), float(np.asarray(nav.value))
        return _objective(inputs, after / left, 1.0 - left)

    return {"ours": ours, "textbook in cvxpy (Clarabel)": textbook}


def _names(S: int, N: int) -> dict[str, Thunk]:
    """At most 30 names, or a third of fewer assets; cost and active risk."""
    from engine.costs import Costs
    from engine.optimize._propose import propose

    inputs = _inputs(S, N)
    limits = _limits(inputs)
    limits = limits._replace(
        es=1.15 * limits.es, country=1.0, turnover=1.0, tracking_error=1.0, upper=0.4
    )
    most = min(30, max(6, N // 3))
    constraints = _constraints(inputs, limits, minimum_trade=0.0, max_names=most)
    costs = Costs(5.0)

    def ours():
        made = propose(inputs.book, inputs.scenarios, constraints, costs)
        held = int((made.target[:-1] > 1e-9).sum())
        if held > most or not all(c.satisfied for c in made.limits):
            raise AssertionError(f"{held} names, {made.outcome.name}")
        return _objective(inputs, made.target, made.cost)

    return {"ours": ours}


CASES = (
    Case(
        "full default proposal",
        {"small": {"S": 300, "N": 8}, "S 10000, N 100": {"S": 10_000, "N": 100}},
        _full,
        1e-3,
    ),
    Case(
        "proposal with at most 30 names",
        {"small": {"S": 300, "N": 9}, "S 10000, N 100": {"S": 10_000, "N": 100}},
        _names,
        1e-2,
    ),
)
