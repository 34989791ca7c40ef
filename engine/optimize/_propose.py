"""`propose`: the smallest, cheapest trades that bring a book within its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine._stress import check_known, stamps_of
from engine._typing import Matrix, Vector
from engine.constraints import Constraints
from engine.costs import Costs
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError, UsageError
from engine.optimize._objectives import bound
from engine.optimize._told import told
from engine.optimize.infeasible import explain
from engine.optimize.problem import (
    Measure,
    Setup,
    es_measure,
    limits_of,
    optimise,
    stress_measure,
)
from engine.optimize.reasons import trade_reasons
from engine.optimize.rounding import Orders, to_orders
from engine.proposal import LimitCheck, Outcome, Proposal, Trade
from engine.scenarios import ScenarioSet

ACTIVE_RISK_AVERSION = 1.0
"""Cost worth paying per unit of active variance a year: at 1, a tracking error of 1%
a year costs as much as one basis point of trading."""
_SATISFIED = 1e-6
_REPAIRS = 6


def propose(
    portfolio: Portfolio,
    scenarios: ScenarioSet,
    constraints: Constraints,
    costs: Costs,
    *,
    benchmark: Portfolio | Mapping[str, float] | None = None,
    objective: Any = "cost_and_active_risk",
    active_risk_aversion: float = ACTIVE_RISK_AVERSION,
    market: PricePanel | MarketView | None = None,
    hindsight_parameters: bool = False,
) -> Proposal:
    """Propose trades that bring a book within its limits.

    Parameters
    ----------
    portfolio : Portfolio
        Priced. Every holding must be among the scenario assets.
    scenarios : ScenarioSet
        Assets that may be held, with their joint outcomes.
    constraints : Constraints
    costs : Costs
    benchmark : Portfolio or mapping, optional
        What active risk is measured against; the current holdings by default.
    objective : str or Objective
        A name, or `engine.objective` for one with options, which lists the names.
        Default: trading cost plus ``active_risk_aversion`` times active variance a
        year. Cash stays within its band: selling frees cash that no shock touches, so
        cost alone would answer every shock with cash. ``minimum_cost`` therefore warns
        where the proceeds rest.
    active_risk_aversion : float, default 1
    market : PricePanel or MarketView, optional
        Prices for units; whole shares when they are as traded (``raw``).
    hindsight_parameters : bool, default False
        Allow a shock before its parameters were known; stamps the proposal.

    Returns
    -------
    Proposal
        Every limit is re-checked on the rounded target.

    Raises
    ------
    InfeasibleError
        With an irreducible conflict and the cheapest relaxation.
    SolverError
        No solver gave an acceptable answer.
    """
    objective, term = bound(objective, scenarios)
    if not active_risk_aversion >= 0:
        raise UsageError(
            "active_risk_aversion must not be negative", received=active_risk_aversion
        )
    base_cash = cash_label(scenarios.base_currency)
    if base_cash not in scenarios.assets:
        raise DataError("the scenarios hold no base-currency cash", asset=base_cash)
    warnings = stamps_of(scenarios)
    warnings += check_known(
        [cap.shock for cap in constraints.stress_caps],
        scenarios,
        hindsight_parameters or scenarios.hindsight_parameters,
    )
    current = scenarios.align(portfolio)
    unit_price, units_held, whole = _units(portfolio, scenarios, market, current)
    foreign = np.array(
        [
            bool(c) and c != scenarios.base_currency
            for c in scenarios.universe.quote_currency
        ],
        dtype=bool,
    )
    tax = _tax(portfolio, scenarios, unit_price, foreign, market)
    lower, upper, may_buy, may_sell = constraints.bounds(
        scenarios.universe, current, base_cash
    )
    setup = Setup(
        assets=scenarios.assets,
        current=current,
        benchmark=current if benchmark is None else scenarios.align(benchmark),
        lower=lower,
        upper=upper,
        may_buy=may_buy,
        may_sell=may_sell,
        rates=costs.rates(scenarios.assets, foreign=foreign),
        tax=tax,
        risk_root=_risk_root(scenarios),
        groups=[
            (g.name, g.members(scenarios.universe), g.lower, g.upper)
            for g in constraints.groups
        ],
        measures=_measures(constraints, scenarios),
        turnover=constraints.turnover,
        tracking_error=constraints.tracking_error,
        objective=objective,
        aversion=active_risk_aversion,
        term=term,
    )
    cash_row = scenarios.assets.index(base_cash)

    def orders_for(target: Vector) -> Orders:
        return to_orders(
            target.copy(),
            current,
            value=portfolio.value,
            unit_price=unit_price,
            units_held=units_held,
            cash_row=cash_row,
            whole=whole,
            costs=costs,
            assets=scenarios.assets,
            foreign=foreign,
            tax=tax,
            minimum_trade=constraints.minimum_trade,
        )

    tighten: dict[str, float] = {}
    target = setup
    solution = optimise(setup)
    path = list(solution.solved.path)
    if not solution.solved.feasible:
        raise explain(setup)
    kept = solution, orders_for(solution.holdings)
    for _ in range(_REPAIRS):
        orders = kept[1]
        broken = {
            c.name: abs(c.after - c.limit)
            for c in _checks(setup, orders.weights, {})
            if not c.satisfied and "tightest" not in c.name
        }
        cash = float(orders.weights[cash_row])
        over, under = cash - setup.upper[cash_row], setup.lower[cash_row] - cash
        if max(over, under) > _SATISFIED:
            broken["cash"] = max(over, under)
            target = _shifted_cash(target, cash_row, under if under > 0 else -over)
        if not broken:
            break
        for name, excess in broken.items():
            # At least doubled, so that trades below the smallest one come to be made.
            so_far = tighten.get(name, 0.0)
            tighten[name] = max(2.0 * so_far, so_far + 1.2 * excess) + 1e-7
        path.append("tightened for rounding and costs: " + ", ".join(broken))
        again = optimise(target, tighten=tighten)
        path.extend(again.solved.path)
        if not again.solved.feasible:
            break  # tightening went too far: the last orders stand, and say so
        kept = again, orders_for(again.holdings)
    solution, orders = kept
    checks = _checks(setup, orders.weights, solution.duals)
    return _proposal(
        portfolio,
        scenarios,
        setup,
        solution,
        orders,
        checks,
        tuple(path),
        objective,
        tuple(dict.fromkeys(warnings)),
        unit_price,
        cash_row,
    )


def _shifted_cash(setup: Setup, row: int, by: float) -> Setup:
    """Aim at more cash (less, if negative) than the orders so far have left."""
    lower, upper = setup.lower.copy(), setup.upper.copy()
    if by > 0:
        lower[row] += 1.2 * by + 1e-7
        upper[row] = max(upper[row], lower[row])
    else:
        upper[row] += 1.2 * by - 1e-7
        lower[row] = max(0.0, min(lower[row], upper[row]))
        upper[row] = max(upper[row], lower[row])
    return replace(setup, lower=lower, upper=upper)


def _measures(constraints: Constraints, scenarios: ScenarioSet) -> list[Measure]:
    measures = [
        stress_measure(cap, scenarios, cap.moves(scenarios))
        for cap in constraints.stress_caps
    ]
    if constraints.es_cap is not None:
        measures.append(es_measure(constraints, scenarios))
    return measures


def _risk_root(scenarios: ScenarioSet) -> Matrix:
    """(N, K) root of the annual covariance of the scenario assets; cash rows zero."""
    model = scenarios.model
    n = len(scenarios.assets)
    if model is not None:
        C = np.zeros((n, n))
        rows = [scenarios.assets.index(a) for a in model.assets]
        C[np.ix_(rows, rows)] = model.dense_covariance() * model.periods_per_year
    else:
        centred = scenarios.returns - scenarios.p @ scenarios.returns
        C = (centred * scenarios.p[:, None]).T @ centred
        C *= scenarios.periods_per_year / scenarios.horizon
    values, vectors = np.linalg.eigh(C)
    keep = values > 1e-14 * max(values[-1], 1e-300)
    return vectors[:, keep] * np.sqrt(values[keep])


def _units(portfolio, scenarios, market, current):
    """Base-currency price per unit, units held, and whether to round to whole ones."""
    held = dict(zip(portfolio.assets, portfolio.units, strict=True))
    money = current * portfolio.value
    if market is None:
        price = np.ones(len(scenarios.assets))
        for i, asset in enumerate(scenarios.assets):
            units = held.get(asset, np.nan)
            if np.isfinite(units) and units != 0.0:
                price[i] = money[i] / units
        return price, money / price, False
    panel = market.panel if isinstance(market, MarketView) else market
    last, base = panel.last_prices(), {}
    for ticker, p, code in zip(
        panel.tickers, last, panel.universe.quote_currency, strict=True
    ):
        base[ticker] = p * panel.fx_rate(code)[-1]
    price = np.ones(len(scenarios.assets))
    for i, asset in enumerate(scenarios.assets):
        if not asset.startswith(CASH_PREFIX):
            if not np.isfinite(base.get(asset, np.nan)):
                raise DataError("no price to size an order with", asset=asset)
            price[i] = base[asset]
            units = held.get(asset, np.nan)
            if abs(money[i] / price[i] - units) > 1e-6 * abs(units):
                raise UsageError(
                    "the portfolio is priced at other prices than the market given",
                    received=f"{asset}: {money[i] / units:.6g} and {price[i]:.6g}",
                    fix="Pass portfolio.priced(market) for the same market.",
                )
    return price, money / price, panel.price_basis == "raw"


def _tax(portfolio, scenarios, unit_price, foreign, market) -> Vector:
    """(N,) tax per unit of value sold, from the book's cost basis."""
    out = np.zeros(len(scenarios.assets))
    taxed = np.flatnonzero(portfolio.tax_rate > 0)
    if not taxed.size:
        return out
    if market is None:
        raise UsageError(
            "taxes need prices",
            asset=portfolio.assets[int(taxed[0])],
            fix="Pass market= so that gains can be computed.",
        )
    panel = market.panel if isinstance(market, MarketView) else market
    last = panel.last_prices()
    for i in taxed:
        asset = portfolio.assets[i]
        out[scenarios.assets.index(asset)] = Costs.tax_rates(
            last[panel.index(asset)], portfolio.cost_basis[i], portfolio.tax_rate[i]
        )
    return out


def _checks(
    setup: Setup, w: Vector, duals: Mapping[str, float]
) -> tuple[LimitCheck, ...]:
    """Re-check every limit on the rounded weights."""
    w0 = setup.current
    rows = []

    def add(name, before, after, limit, lower=False):
        good = after >= limit - _SATISFIED if lower else after <= limit + _SATISFIED
        rows.append(LimitCheck(name, before, after, limit, bool(good), duals.get(name)))

    for m in setup.measures:
        add(m.name, m.value(w0), m.value(w), m.bound)
    if setup.turnover is not None:
        add("turnover", 0.0, 0.5 * float(np.abs(w - w0).sum()), setup.turnover)
    if setup.tracking_error is not None:
        before, after = (
            float(np.linalg.norm(setup.risk_root.T @ (x - setup.benchmark)))
            for x in (w0, w)
        )
        add("tracking error", before, after, setup.tracking_error)
    for name, mask, low, high in setup.groups:
        add(name, float(w0[mask].sum()), float(w[mask].sum()), high)
        if low > 0:
            add(
                f"{name} (least)",
                float(w0[mask].sum()),
                float(w[mask].sum()),
                low,
                True,
            )
    # Bounds are reported by their tightest asset.
    over, over0 = w - setup.upper, w0 - setup.upper
    i = int(np.argmax(over))
    add(
        f"upper bounds, tightest: {setup.assets[i]}",
        float(over0[i] + setup.upper[i]),
        float(w[i]),
        float(setup.upper[i]),
    )
    under = setup.lower - w
    i = int(np.argmax(under))
    add(
        f"lower bounds, tightest: {setup.assets[i]}",
        float(w0[i]),
        float(w[i]),
        float(setup.lower[i]),
        True,
    )
    return tuple(rows)


def _proposal(
    portfolio,
    scenarios,
    setup,
    solution,
    orders,
    checks,
    path,
    objective,
    warnings,
    unit_price,
    cash_row,
) -> Proposal:
    w0, w = setup.current, orders.weights
    table = getattr(scenarios.model, "funds", None)
    funds = {e.fund for e in table.exposures} if table is not None else set()
    roles = (
        "fund" if a in funds else r
        for a, r in zip(scenarios.assets, scenarios.universe.role, strict=True)
    )
    reasons = trade_reasons(setup, solution, tuple(roles), w)
    trades = tuple(
        Trade(
            asset,
            float(orders.units[i]),
            float(orders.units[i] * unit_price[i]),
            float(w0[i]),
            float(w[i]),
            reasons[i],
        )
        for i, asset in enumerate(scenarios.assets)
        if orders.units[i] != 0.0
    )
    outcome = Outcome.OPTIMAL
    if not trades:
        outcome = Outcome.NO_TRADE
    if not all(c.satisfied for c in checks):
        outcome = Outcome.ROUNDING
    notes = [
        f"severity quantile and expected shortfall held by {solution.rounds} solves",
        f"limits: {', '.join(limits_of(setup))}",
    ]
    extra = list(warnings)
    if objective == "minimum_cost" and trades:
        rests = sorted(
            ((w[i] - w0[i], a) for i, a in enumerate(scenarios.assets)), reverse=True
        )
        top = ", ".join(f"{a} {z:+.1%}" for z, a in rests[:3] if z > 0)
        extra.append(f"MINIMUM COST: the proceeds rest in {top or 'nothing'}.")
    stress = {m.name: m for m in setup.measures if m.name.startswith("stress:")}
    return Proposal(
        labels=scenarios.assets,
        current=w0,
        target=w,
        trades=trades,
        cost=orders.cost / portfolio.value,
        turnover=0.5 * float(np.abs(w - w0).sum()),
        value=portfolio.value,
        outcome=outcome,
        limits=checks,
        stress_before={
            k.removeprefix("stress:"): m.value(w0) for k, m in stress.items()
        },
        stress_after={k.removeprefix("stress:"): m.value(w) for k, m in stress.items()},
        objective=objective,
        solve_path=path,
        notes=tuple(notes),
        warnings=tuple(extra),
        **told(setup, solution, w),
    )
