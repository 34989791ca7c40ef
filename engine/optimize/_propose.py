"""`propose`: the smallest, cheapest trades that bring a book within its limits."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from engine._stress import check_known, stamps_of
from engine._typing import Matrix, Vector
from engine.constraints import Constraints
from engine.costs import Costs
from engine.covariance import FactorCovariance
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError, UsageError
from engine.limit_text import near_matches
from engine.optimize._cost_terms import cost_rates
from engine.optimize._multi_period import PlanAhead, optimise_plan
from engine.optimize._objectives import BUILDERS, bound
from engine.optimize._told import told
from engine.optimize.infeasible import explain
from engine.optimize.integer import GAP, optimise_limits
from engine.optimize.liquidity import trade_caps
from engine.optimize.problem import (
    NO_INTEGERS,
    IntegerLimits,
    Measure,
    Setup,
    Solution,
    es_measure,
    held_floor,
    limits_of,
    stress_measure,
)
from engine.optimize.reasons import trade_reasons
from engine.optimize.rounding import Orders, to_orders
from engine.proposal import LimitCheck, Outcome, Proposal, Trade
from engine.scenarios import BASE_LEG, ScenarioSet

ACTIVE_RISK_AVERSION = 1.0
"""Cost worth paying per unit of active variance a year: at 1, a tracking error of 1%
a year costs as much as one basis point of trading."""
_SATISFIED = 1e-6
_REPAIRS = 6
_HELD = 1e-9


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
    ahead: PlanAhead | None = None,
    time_limit: float | None = None,
    gap: float = GAP,
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
        With market impact, of the volatility and volume known in ``market``.
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
    ahead : PlanAhead, optional
        Plan several rebalances and propose the first; limits hold at every step.
    time_limit : float, optional
        Seconds for all solvers together. A search for names that has found weights by
        then returns them with its gap; anything else is a `SolverError`. Without one,
        a search for names takes 30 seconds at most.
    gap : float, default 0.01
        Under integer limits, stop within this share of the objective.

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
    if costs.impact and market is not None:
        costs = costs.at(market)  # whatever they knew before: it may be of later
    if time_limit is not None and not time_limit > 0:
        raise UsageError("time_limit must be positive", received=time_limit)
    if not 0.0 <= gap < 1.0:
        raise UsageError("gap lies in [0, 1)", received=gap)
    names = IntegerLimits(
        constraints.max_names,
        constraints.min_names,
        constraints.minimum_position,
        constraints.max_trades,
    )
    _check_searchable(objective, term, names, ahead)
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
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
    rates = cost_rates(
        costs, scenarios.assets, value=portfolio.value, foreign=foreign, tax=tax
    )
    caps = None
    if constraints.liquidity is not None:
        caps, without = trade_caps(constraints, scenarios, market, portfolio.value)
        may_buy &= ~without
        warnings += _without_volume(scenarios.assets, without)
    risk_root, specific = _factor_root(scenarios)
    setup = Setup(
        assets=scenarios.assets,
        current=current,
        benchmark=current if benchmark is None else scenarios.align(benchmark),
        lower=lower,
        upper=upper,
        may_buy=may_buy,
        may_sell=may_sell,
        rates=rates.rates,
        tax=rates.tax,
        impact=rates.impact,
        borrow=rates.borrow,
        risk_root=risk_root,
        linear=constraints.rows(
            scenarios.universe, getattr(scenarios.model, "funds", None)
        ),
        measures=_measures(constraints, scenarios),
        turnover=constraints.turnover,
        tracking_error=constraints.tracking_error,
        objective=objective,
        aversion=active_risk_aversion,
        risky=np.array([not a.startswith(CASH_PREFIX) for a in scenarios.assets]),
        gross=constraints.gross,
        net=constraints.net,
        trade_caps=caps,
        integer=names,
        specific=specific,
        deadline=deadline,
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
            may_short=lower < 0.0,
        )

    def traded_by(orders: Orders) -> Vector:
        return np.abs(orders.units * unit_price) / portfolio.value

    tighten: dict[str, float] = {}
    target = setup

    def solved(wanted: Setup, **options: Any) -> Solution:
        if ahead is None:
            return optimise_limits(wanted, gap=gap, **options)
        return optimise_plan(wanted, ahead, **options)

    solution = solved(setup)
    path = list(solution.solved.path)
    if not solution.solved.feasible:
        raise explain(setup)
    if solution.support is not None:  # rounding is repaired with the names as chosen
        target = replace(setup, integer=NO_INTEGERS, support=solution.support)
        found = solution.gap, solution.note
    else:
        found = None, ""
    kept = solution, orders_for(solution.holdings)
    # What stands above its bound unrounded (locked, say) cannot be repaired here.
    kept_above = (solution.weights - setup.upper)[setup.risky].max(initial=0.0) > 1e-5
    for _ in range(_REPAIRS):
        orders = kept[1]
        broken = {
            c.name: abs(c.after - c.limit)
            for c in _checks(setup, orders.weights, {}, traded_by(orders))
            if not c.satisfied and "tightest" not in c.name
        }
        above = (orders.weights - setup.upper)[setup.risky]
        if above.size and above.max() > _SATISFIED and not kept_above:
            broken["upper bounds"] = float(above.max())
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
        again = solved(target, tighten=tighten)
        path.extend(again.solved.path)
        if not again.solved.feasible:
            break  # tightening went too far: the last orders stand, and say so
        kept = again, orders_for(again.holdings)
    solution, orders = kept
    solution.gap, solution.note = found
    checks = _checks(setup, orders.weights, solution.duals, traded_by(orders))
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
        gap,
    )


def _check_searchable(
    name: str, term: Any, integer: IntegerLimits, ahead: PlanAhead | None
) -> None:
    """Refuse what neither a search over names nor a plan of several steps can do."""
    if ahead is not None and integer.names():
        raise UsageError(
            "a plan of several steps takes no limit on numbers of names or trades",
            received=", ".join(integer.names()),
            fix="Drop ahead, or the limits.",
        )
    if term in BUILDERS.values() or not (integer.names() or ahead is not None):
        return
    raise UsageError(
        "a plan of several steps has no such objective"
        if ahead is not None
        else "a search over names has no such objective",
        received=name,
        expected=", ".join(BUILDERS),
        fix="Drop ahead." if ahead is not None else "Drop the limits on numbers.",
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
    caps = [] if constraints.es_cap is None else [(BASE_LEG, constraints.es_cap, "")]
    caps += [(leg, cap, f":{leg}") for leg, cap in constraints.es_caps.items()]
    for leg, cap, suffix in caps:
        if leg not in scenarios.legs:
            raise UsageError(
                "a limit names a leg that the scenarios do not have",
                received=repr(leg),
                expected=", ".join(scenarios.legs),
                fix=near_matches(leg, list(scenarios.legs)),
            )
        name = f"expected shortfall{suffix}"
        measures.append(
            es_measure(leg, cap, constraints.es_level, scenarios, name=name)
        )
    return measures


def _without_volume(assets: tuple[str, ...], without: np.ndarray) -> tuple[str, ...]:
    names = [a for a, missing in zip(assets, without, strict=True) if missing]
    if not names:
        return ()
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (
        f"NO VOLUME: {', '.join(names[:8])}{more} may be sold but not bought; state "
        "daily_value to allow it.",
    )


def _risk_root(scenarios: ScenarioSet) -> Matrix:
    """(N, K) root of the annual covariance of the scenario assets; cash rows zero."""
    root, specific = _factor_root(scenarios)
    if specific is None:
        return root
    return np.hstack([root, np.diag(np.sqrt(specific))])


def _factor_root(scenarios: ScenarioSet) -> tuple[Matrix, Vector | None]:
    """Root (N, K) of the annual covariance, and specific variance (N,) beside it.

    The N x N matrix of a model in factor form is never made.
    """
    model = scenarios.model
    n = len(scenarios.assets)
    if model is not None and isinstance(model.covariance, FactorCovariance):
        rows = [scenarios.assets.index(a) for a in model.assets]
        loadings, own = model.covariance.sampling_factor()
        root, specific = np.zeros((n, loadings.shape[1])), np.zeros(n)
        root[rows] = loadings * np.sqrt(model.periods_per_year)
        specific[rows] = own**2 * model.periods_per_year
        return root, specific
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
    return vectors[:, keep] * np.sqrt(values[keep]), None


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
    setup: Setup, w: Vector, duals: Mapping[str, float], traded: Vector
) -> tuple[LimitCheck, ...]:
    """Re-check every limit on the rounded weights and the values traded (N,)."""
    w0 = setup.current
    rows = []

    def add(name, before, after, limit, lower=False, note=""):
        good = after >= limit - _SATISFIED if lower else after <= limit + _SATISFIED
        price = duals.get(name)
        rows.append(LimitCheck(name, before, after, limit, bool(good), price, note))

    for m in setup.measures:
        add(m.name, m.value(w0), m.value(w), m.bound)
    if setup.turnover is not None:
        add("turnover", 0.0, 0.5 * float(np.abs(w - w0).sum()), setup.turnover)
    if setup.tracking_error is not None:
        before, after = (setup.volatility(x - setup.benchmark) for x in (w0, w))
        add("tracking error", before, after, setup.tracking_error)
    if setup.gross is not None:
        before, after = (float(np.abs(x[setup.risky]).sum()) for x in (w0, w))
        add("gross", before, after, setup.gross)
    rows_of = list(setup.linear)
    if setup.net is not None:
        rows_of.append(setup.net_row())
    for row in rows_of:
        a = row.coefficients
        if np.isfinite(row.upper):
            add(row.name, float(a @ w0), float(a @ w), row.upper, note=row.note)
        trivial = row.lower == 0.0 and (a >= 0).all() and (setup.lower >= 0).all()
        if np.isfinite(row.lower) and not trivial:
            name = f"{row.name} (least)"
            add(name, float(a @ w0), float(a @ w), row.lower, True, row.note)
    if setup.trade_caps is not None:
        left = np.where(setup.risky, setup.trade_caps - traded, np.inf)
        i = int(np.argmin(left))
        add(
            "liquidity",
            0.0,
            float(traded[i]),
            float(setup.trade_caps[i]),
            note=f"tightest: {setup.assets[i]}",
        )
    _add_integers(setup, w, traded, add)
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


def _add_integers(setup: Setup, w: Vector, traded: Vector, add) -> None:
    ints, risky = setup.integer, setup.risky
    before, after = (np.abs(x[risky]) for x in (setup.current, w))
    names = [int((x > _HELD).sum()) for x in (before, after)]
    if ints.max_names is not None:
        add("names", *names, ints.max_names)
    if ints.min_names is not None:
        # A position counts from the size that the solver was held to.
        floor = held_floor(setup)
        counted = [int((x >= floor - _SATISFIED).sum()) for x in (before, after)]
        add("names (least)", *counted, ints.min_names, True)
    if ints.minimum_position is not None:
        sizes = [x[x > _HELD] for x in (before, after)]
        least = [float(x.min()) if x.size else math.inf for x in sizes]
        if np.isfinite(least[1]):
            add("minimum position", *least, ints.minimum_position, True)
    if ints.max_trades is not None:
        add("trades", 0, int((traded[risky] > 0).sum()), ints.max_trades)


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
    gap,
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
    if solution.gap is not None and solution.gap > gap:
        outcome = Outcome.GAP
    if not trades:
        outcome = Outcome.NO_TRADE
    if not all(c.satisfied for c in checks):
        outcome = Outcome.ROUNDING
    notes = [
        f"severity quantile and expected shortfall held by {solution.rounds} solves",
        f"limits: {', '.join(limits_of(setup))}",
    ]
    if solution.note:
        notes.append(solution.note)
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
