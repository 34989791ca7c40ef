"""Cases of portfolios and of proposals."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, installed, returns
from benchmarks.models import model_of


def _full_backtest_inputs(T: int, N: int) -> dict[str, Any]:
    """Prices on business days, and weights that leave one per cent for the costs."""
    prices = 100.0 * np.exp(np.cumsum(returns(T, N), axis=0))
    dates = np.busday_offset("2010-01-04", np.arange(T), roll="forward")
    return {"prices": prices, "dates": dates, "weights": np.full((T, N), 0.99 / N)}


def _full_backtest(T: int, N: int) -> dict[str, Thunk]:
    """Value each day of a book brought to its weights at every close, 10 bp a trade.

    Both trade at the close that decides, to weights of the value before costs, and pay
    the costs from the cash that is left, which is never short. Ours also keeps every
    fill, the parts of each change of value, the decisions and the provenance.
    """
    from backtests import backtest
    from engine.costs import Costs
    from engine.data.panel import PricePanel
    from engine.data.universe import Universe
    from strategies import TargetWeights

    prices, dates, weights = _full_backtest_inputs(T, N).values()
    labels = tuple(f"A{i}" for i in range(N))
    panel = PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(labels, quote_currency=("USD",) * N),
        price_basis="total_return",
        base_currency="USD",
    )

    def ours():
        strategy = TargetWeights(weights, dates, labels)
        return backtest(
            strategy,
            panel,
            schedule="daily",
            costs=Costs(half_spread_bps=10.0),
            fill="same_close",
        ).value

    def one_by_one():
        units, cash, path = np.zeros(N), 1e6, np.empty(T)
        for t in range(T):
            value = cash + units @ prices[t]
            trade = weights[t] * value / prices[t] - units
            units = units + trade
            cash -= trade @ prices[t] + 1e-3 * np.abs(trade) @ prices[t]
            path[t] = cash + units @ prices[t]
        return path

    candidates: dict[str, Thunk] = {"ours": ours, "NumPy loop, value alone": one_by_one}
    if installed("vectorbt"):
        import pandas as pd

        frame = pd.DataFrame(
            prices, index=pd.DatetimeIndex(dates), columns=list(labels)
        )
        size = pd.DataFrame(weights, index=frame.index, columns=frame.columns)

        def from_vectorbt():
            import vectorbt as vbt  # pyright: ignore[reportMissingImports]

            run = vbt.Portfolio.from_orders(
                frame,
                size=size,
                size_type="targetpercent",
                group_by=True,
                cash_sharing=True,
                call_seq="auto",
                fees=1e-3,
                init_cash=1e6,
                freq="1D",
            )
            return run.value().to_numpy()

        candidates["vectorbt"] = from_vectorbt
    return candidates


def _minimum_variance(N: int) -> dict[str, Thunk]:
    """Long only, bounded weights. Ours also re-checks and prices each limit."""
    import cvxpy as cp
    import pandas as pd
    import skfolio.optimization as skfolio
    from skfolio import RiskMeasure

    from engine.constraints import Constraints
    from engine.costs import Costs
    from engine.data.portfolio import Portfolio
    from engine.montecarlo import simulate
    from engine.optimize._propose import propose

    X = returns(1000, N) * np.linspace(0.6, 1.6, N)
    C, upper = np.cov(X.T), max(0.10, 2.0 / N)
    L = np.linalg.cholesky(C)
    assets = tuple(f"A{i}" for i in range(N))
    frame = pd.DataFrame(X, columns=list(assets))
    model = model_of(C, kind="simple")
    scenarios = simulate(model, 1000, horizon=1, seed=1)
    book = Portfolio.from_weights(dict.fromkeys(assets, 1.0 / N), 1e6, "USD")
    limits = Constraints(upper=upper, cash=(0.0, 0.0), minimum_trade=0.0)
    free = Costs(0.0)

    def variance(w: Any) -> float:
        w = np.asarray(w, dtype=np.float64)
        return float(w @ C @ w)

    def ours():
        made = propose(book, scenarios, limits, free, objective="minimum_variance")
        return variance(made.target[:N])

    def textbook():
        w = cp.Variable(N)
        goal = cp.Minimize(1e4 * cp.sum_squares(L.T @ w))
        bounds: list[Any] = [cp.sum(w) == 1, w >= 0, w <= upper]
        cp.Problem(goal, bounds).solve(solver="CLARABEL")
        return variance(w.value)

    def from_skfolio():
        least = skfolio.MeanRisk(
            risk_measure=RiskMeasure.VARIANCE, min_weights=0.0, max_weights=upper
        )
        return variance(least.fit(X).weights_)

    def from_riskfolio():
        import riskfolio

        book: Any = riskfolio.Portfolio(returns=frame)
        book.upperlng = upper
        book.assets_stats(method_mu="hist", method_cov="hist")
        weights = book.optimization(model="Classic", rm="MV", obj="MinRisk", hist=True)
        if weights is None:
            raise RuntimeError("riskfolio-lib found no solution")
        return variance(weights.to_numpy()[:, 0])

    candidates: dict[str, Thunk] = {
        "ours": ours,
        "textbook in cvxpy (Clarabel)": textbook,
        "skfolio": from_skfolio,
        "riskfolio-lib": from_riskfolio,
    }
    if installed("pypfopt"):
        from pypfopt import (  # pyright: ignore[reportMissingImports]
            EfficientFrontier,
        )

        def from_pypfopt():
            # Its default, OSQP, stops 4e-4 above the least variance at N 200.
            least = EfficientFrontier(
                None, C, weight_bounds=(0.0, upper), solver="CLARABEL"
            )
            least.min_volatility()
            return variance(least.weights)

        candidates["PyPortfolioOpt (Clarabel)"] = from_pypfopt
    return candidates


def _proposal(S: int, N: int) -> dict[str, Thunk]:
    """Least cost and active risk under an ES cap: ours by cuts, textbook in cvxpy."""
    import cvxpy as cp

    from engine.constraints import Constraints
    from engine.costs import Costs
    from engine.data.portfolio import Portfolio
    from engine.data.universe import Universe
    from engine.optimize._propose import _risk_root, propose
    from engine.risk import expected_shortfall
    from engine.scenarios import ScenarioSet

    rng = np.random.default_rng(5)
    sigma = np.linspace(0.03, 0.12, N)
    R = (rng.standard_t(5, size=(S, 1)) * 0.6 + rng.standard_t(5, size=(S, N))) * sigma
    R = np.maximum(np.column_stack([R - R.mean(axis=0), np.zeros(S)]), -0.9)
    assets = (*(f"A{i}" for i in range(N)), "CASH:USD")
    scenarios = ScenarioSet(
        assets=assets,
        returns=R,
        p=np.full(S, 1.0 / S),
        horizon=21,
        universe=Universe(assets),
        base_currency="USD",
        periods_per_year=252.0,
    )
    w0 = np.append(sigma / sigma.sum() * 0.99, 0.01)
    book = Portfolio.from_weights(dict(zip(assets, w0, strict=True)), 1e6, "USD")
    cap = 0.7 * expected_shortfall(-(R @ w0), level=0.95)
    constraints = Constraints(es_cap=cap, minimum_trade=0.0)
    costs = Costs(5.0)
    root = _risk_root(scenarios)
    rates = costs.rates(assets)

    def objective(w: np.ndarray, cost: float) -> float:
        return cost + float(((root.T @ (w - w0)) ** 2).sum())

    def ours():
        made = propose(book, scenarios, constraints, costs)
        return objective(made.target, made.cost)

    def textbook():
        w, b, s = (
            cp.Variable(N + 1),
            cp.Variable(N + 1, nonneg=True),
            cp.Variable(N + 1, nonneg=True),
        )
        u, t, nav = cp.Variable(S, nonneg=True), cp.Variable(), cp.Variable()
        cost = rates @ (b + s)
        limits: list[Any] = [
            w - w0 == b - s,
            nav + cost == 1,
            cp.sum(w) == nav,
            w >= 0,
            w[-1] <= 0.02 * nav,
            u >= -R @ w - t,
            t + cp.sum(u) / (0.05 * S) <= cap * nav,
        ]
        goal = cp.Minimize(cost + cp.sum_squares(root.T @ (w - nav * w0)))
        cp.Problem(goal, limits).solve(solver="CLARABEL")
        after, left = np.asarray(w.value), float(np.asarray(nav.value))
        return objective(after / left, 1.0 - left)

    return {"ours": ours, "textbook in cvxpy (Clarabel)": textbook}


CASES = (
    Case(
        "daily rebalance, full backtest with ledger and provenance",
        {"small": {"T": 40, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _full_backtest,
        1e-10,  # the same arithmetic in another order; nothing is cut or rounded
        optional={"vectorbt": "vectorbt"},
    ),
    Case(
        "minimum variance, long only",
        {"small": {"N": 6}, "N 50": {"N": 50}, "N 200": {"N": 200}},
        _minimum_variance,
        1e-4,  # of the variance; the solvers stop at their own tolerances
        optional={"PyPortfolioOpt (Clarabel)": "pypfopt"},
        apart=("riskfolio-lib",),  # its import takes seconds and brings thread pools
    ),
    Case(
        "proposal under an ES cap",
        {"small": {"S": 300, "N": 6}, "S 5000, N 50": {"S": 5000, "N": 50}},
        _proposal,
        1e-5,
    ),
)
