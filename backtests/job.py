"""The main job: stress a book, propose trades, walk the rule forward, report.

`ballast report` and `ballast demo` run it; scripts and notebooks call `run_job`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from backtests._judgement_data import section_or_reason
from backtests.limited import (
    bounds_of,
    constraints_of,
    is_cash,
    on_prices,
    propose_within,
    shock_limit,
    shock_limits,
    shock_of,
    shocks_of,
    weights_of,
)
from backtests.rebalancing import parse_rebalance, rebalanced, schedule_of
from backtests.report import Realised, ReportInputs
from backtests.result import BacktestResult
from backtests.rulebook import build_all, left_out
from backtests.walkforward import FillRule, backtest
from engine._stress import StressReport, check_undated, stress
from engine.alignment import event_returns
from engine.constraints import GroupLimit
from engine.costs import Costs
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.errors import DataError
from engine.model import ReturnModel, fit
from engine.montecarlo import simulate
from engine.optimize._alternatives import alternatives
from engine.optimize._proposal_frontier import proposal_frontier
from engine.optimize._robustness import robustness
from engine.proposal import Proposal
from engine.scenarios import ScenarioSet
from engine.shocks import PERSISTENT_PRESETS, PRESETS, CheapModelShock
from engine.shocks._kinds_lazy import resolved
from engine.shocks._structural import EVENT_DATE
from strategies.estimation import eligible

__all__ = [
    "JobResult",
    "Progress",
    "Settings",
    "bounds_of",
    "compared_shocks",
    "constraints_of",
    "named_rules",
    "on_prices",
    "past_losses",
    "prepare",
    "propose_within",
    "realised_loss",
    "rules",
    "run_job",
    "shock_limit",
    "shock_limits",
    "shock_of",
    "shocks_of",
    "walk",
    "walk_options",
    "weights_of",
]

Progress = Callable[[int, int, str], Any]
COMPARED = ("hold", "hold-cash", "shock-aware", "equal")
"""Strategies of a report: the foils, the rule, and the simplest diversification."""


@dataclass(frozen=True)
class Settings:
    """What the job does, apart from the book and the prices.

    Attributes
    ----------
    as_of : date, optional
        Estimation and proposal see nothing later; the last date by default.
    preset, severity, limit
        The shock that is limited, and the cap on its severe loss; by default half of
        the current book's.
    shocks : tuple of Shock
        Goes before preset and severity: each is limited.
    own_limits : mapping of shock name to float
        In place of ``limit``, for shocks that have one of their own.
    candidates : tuple of str, optional
        Assets that may be bought; all of the panel by default.
    window : int
        Sessions for estimation.
    covariance : str
        Estimator, as in `engine.fit`.
    horizon, n_scenarios, level, seed
        Base scenarios.
    upper : float
        Bound on one weight; what is held above it may stay. By default a tenth, or
        twice the equal weight where there are fewer than twenty assets.
    limits : tuple of str
        More limits, as `engine.Constraints.parse` reads them.
    start, end, schedule
        Of the walk-forward; ``start=None`` leaves it out. Without a schedule it is
        monthly, or daily where ``rebalance`` states a condition.
    rebalance : str
        Condition beside the calendar, as `backtests.rebalancing.parse_rebalance`
        reads it; "" for none.
    fill, fallback, delisting_return, max_participation, max_borrowing, withholding
        As for `backtests.backtest`.
    hindsight_parameters : bool
        Needed wherever the shock is used before it was known.
    funds : {"estimated", "bands"}
        Treatment of funds without a document, as in `engine.fit`.
    committee : bool
        Also the frontier of the proposal, other views and alternatives in the report.
    es_cap, turnover, groups, costs
        As in `engine.Constraints` and `engine.Costs`.
    """

    as_of: Any = None
    preset: str = "market_view"
    severity: float = 1.0
    shocks: tuple[Any, ...] = ()
    own_limits: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    candidates: tuple[str, ...] | None = None
    window: int = 504
    covariance: str = "ledoit_wolf"
    horizon: int = 21
    n_scenarios: int = 20_000
    level: float = 0.95
    seed: int = 0
    upper: float | None = None
    es_cap: float | None = None
    turnover: float | None = None
    groups: tuple[GroupLimit, ...] = ()
    limits: tuple[str, ...] = ()
    costs: Costs = field(default_factory=Costs)
    start: Any = None
    end: Any = None
    schedule: str | None = None
    rebalance: str = ""
    fill: FillRule = "next_close"
    fallback: str = "hold"
    delisting_return: float | None = None
    max_participation: float | None = None
    max_borrowing: float | None = None
    withholding: float | Mapping[str, float] | None = None
    hindsight_parameters: bool = False
    funds: str = "estimated"
    committee: bool = False


@dataclass(frozen=True)
class JobResult:
    """What the job found; ``report`` is ready for `backtests.report.write_report`.

    Attributes
    ----------
    portfolio : Portfolio
        Priced.
    model : ReturnModel
    scenarios : ScenarioSet
    stress, stress_after : StressReport
        Of the book, and of the proposal.
    proposal : Proposal
    limit : float
        Cap on the severe loss.
    backtests : tuple of BacktestResult
    report : ReportInputs
    """

    portfolio: Portfolio
    model: ReturnModel
    scenarios: ScenarioSet
    stress: StressReport
    proposal: Proposal
    stress_after: StressReport
    limit: float
    backtests: tuple[BacktestResult, ...]
    report: ReportInputs


def compared_shocks(settings: Settings) -> list[Any]:
    """Return the shocks shown together: the chosen one and its sister presets.

    A shock of one's own making, from a scenario file, is shown alone.
    """
    chosen = list(shocks_of(settings))
    first = chosen[0]
    if len(chosen) > 1 or not isinstance(first, CheapModelShock):
        return chosen
    usual = CheapModelShock(
        first.preset, severity=first.parameters["severity"], horizon=first.horizon
    )
    if any(
        getattr(first, k) != getattr(usual, k)
        for k in ("name", "parameters", "variant", "lens", "ai_capex")
    ):
        return chosen
    sisters = PRESETS if first.preset in PRESETS else PERSISTENT_PRESETS
    others = [p for p in sisters if p != first.preset]
    return [
        first,
        *(
            CheapModelShock(
                p, severity=first.parameters["severity"], horizon=first.horizon
            )
            for p in others
        ),
    ]


def prepare(
    portfolio: Portfolio, panel: PricePanel, settings: Settings
) -> tuple[MarketView, Portfolio, ScenarioSet]:
    """Price the book as of the date, fit, and simulate what may be held.

    Raises
    ------
    DataError
        A holding without prices, or with too short a history for the window.
    LookAheadError
        A shock without a date at a past date, and hindsight is not admitted.
    """
    view = panel.as_of(
        panel.dates[-1] if settings.as_of is None else settings.as_of,
        hindsight_parameters=settings.hindsight_parameters,
    )
    if view.date < panel.dates[-1]:
        check_undated(settings.shocks, view.date, settings.hindsight_parameters)
    book = portfolio.priced(view)
    wanted = None
    if settings.candidates is not None:
        wanted = tuple(dict.fromkeys([*book.assets, *settings.candidates]))
    names = eligible(view, wanted, window=settings.window)
    short = [a for a in book.assets if a not in set(names)]
    if short:
        prices = int(
            np.isfinite(view.panel.prices[:, view.panel.index(short[0])]).sum()
        )
        raise DataError(
            "a holding has too short a history for the estimation window",
            asset=short[0],
            date=view.date,
            received=f"{prices} prices",
            expected=f"{settings.window + 1}",
            fix="Shorten the window (CLI: --window), or leave the asset out.",
        )
    model = fit(
        view,
        tickers=names,
        window=settings.window,
        covariance=settings.covariance,
        cash_currencies=[c for c, _ in book.cash],
        funds=settings.funds,
    )
    scenarios = simulate(
        model, settings.n_scenarios, horizon=settings.horizon, seed=settings.seed
    )
    return view, book, scenarios


def run_job(
    portfolio: Portfolio,
    panel: PricePanel,
    settings: Settings,
    *,
    title: str = "Cheap-model shock",
    progress: Progress | None = None,
) -> JobResult:
    """Stress, propose, backtest, and gather the report.

    Parameters
    ----------
    portfolio : Portfolio
        Priced or not.
    panel : PricePanel
    settings : Settings
    title : str
    progress : callable, optional
        ``progress(done, total, message)``.

    Returns
    -------
    JobResult
    """

    def say(done: int, message: str) -> None:
        if progress is not None:
            progress(done, 4, message)

    say(0, "fit and simulate")
    view, book, scenarios = prepare(portfolio, panel, settings)
    say(1, "stress")
    at_once = on_prices(settings, panel)
    shocks = compared_shocks(at_once)
    before = stress(book, scenarios, shocks, level=settings.level)
    limits = shock_limits(book, scenarios, at_once)
    say(2, "propose")
    proposal = propose_within(book, scenarios, at_once, limits, view)
    # A reverse scenario stays that of the book as it was: any other book has one too.
    held = dict(zip(scenarios.assets, scenarios.align(book).tolist(), strict=True))
    kept = [
        resolved(s, weights=held, model=scenarios.model)
        if getattr(s, "search", "") == "reverse"
        else s
        for s in shocks
    ]
    after = stress(proposal.weights, scenarios, kept, level=settings.level)
    committee: dict[str, Any] = {}
    if settings.committee:
        limited = constraints_of(book, scenarios, at_once, limits, view)
        problem = book, scenarios, limited, settings.costs
        committee = {
            "frontier": proposal_frontier(*problem, market=view),
            "robustness": robustness(
                proposal,
                book,
                scenarios,
                shocks=kept,
                panel=view,
                level=settings.level,
            ),
            "alternatives": alternatives(*problem, market=view),
        }
    results: tuple[BacktestResult, ...] = ()
    if settings.start is not None:
        results = walk(
            rules(weights_of(book), settings, limits, panel),
            panel,
            settings,
            initial_value=book.value,
            book=weights_of(book),
            progress=progress,
        )
    judgement = section_or_reason(results, panel)
    say(4, "done")
    stamps = [*before.stamps, *proposal.warnings]
    for result in results:
        stamps.extend(result.stamps)
    return JobResult(
        portfolio=book,
        model=scenarios.model,
        scenarios=scenarios,
        stress=before,
        proposal=proposal,
        stress_after=after,
        limit=next(iter(limits.values())),
        backtests=results,
        report=ReportInputs(
            title=title,
            stress=before,
            proposal=proposal,
            stress_after=after,
            backtests=results,
            realised=realised_loss(before, panel),
            history=past_losses(before, view),
            stamps=tuple(dict.fromkeys(stamps)),
            provenance=_provenance(panel, before, settings, limits),
            judgement=judgement,
            **committee,
        ),
    )


def rules(
    book: Mapping[str, float],
    settings: Settings,
    limit: float | Mapping[str, float],
    panel: PricePanel,
) -> tuple[Any, ...]:
    """Return the strategies compared: three foils and the rule.

    ``limit`` is common to all shocks, or by the name of each. They are those of
    `backtests.rulebook`, so that all start from the same names.
    """
    return named_rules(COMPARED, book, settings, limit, panel)


def named_rules(
    chosen: Sequence[str],
    book: Mapping[str, float],
    settings: Settings,
    limit: float | Mapping[str, float],
    panel: PricePanel,
) -> tuple[Any, ...]:
    """Build strategies of the rulebook, wrapped as ``settings.rebalance`` says."""
    when = parse_rebalance(settings.rebalance or "monthly")
    made = build_all(
        tuple(chosen), book=book, panel=panel, settings=settings, limits=limit
    )
    caps = list(limit.values()) if isinstance(limit, Mapping) else [limit]
    first, *others = shocks_of(settings)
    shock = (first, *others) if others else first
    return tuple(rebalanced(rule, when, float(caps[0]), shock) for rule in made)


def walk_options(settings: Settings) -> dict[str, Any]:
    """What the settings say to `backtests.backtest`, whoever calls it."""
    schedule = settings.schedule
    if settings.rebalance:
        schedule = schedule_of(parse_rebalance(settings.rebalance), schedule)
    return {
        "start": settings.start,
        "end": settings.end,
        "schedule": schedule or "monthly",
        "costs": settings.costs,
        "hindsight_parameters": settings.hindsight_parameters,
        "fill": settings.fill,
        "fallback": settings.fallback,
        "delisting_return": settings.delisting_return,
        "max_participation": settings.max_participation,
        "max_borrowing": settings.max_borrowing,
        "withholding": settings.withholding,
    }


def walk(
    compared: Sequence[Any],
    panel: PricePanel,
    settings: Settings,
    *,
    initial_value: float = 1_000_000.0,
    book: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> tuple[BacktestResult, ...]:
    """Walk strategies forward over the same dates, costs and prices.

    Parameters
    ----------
    compared : sequence of Strategy
    panel : PricePanel
    settings : Settings
    initial_value : float, default 1,000,000
    book : mapping, optional
        The book they follow: every result is stamped with the holdings that could not
        be held yet at the start.
    progress : callable, optional

    Returns
    -------
    tuple of BacktestResult
    """
    out = []
    cut = () if book is None else left_out(book, panel, settings)
    for rule in compared:

        def step(done: int, total: int, message: str, name: str = rule.name) -> None:
            if progress is not None:
                progress(done, total, f"backtest {name}: {message}")

        result = backtest(
            rule,
            panel,
            initial_value=initial_value,
            progress=step,
            **walk_options(settings),
        )
        out.append(replace(result, stamps=(*result.stamps, *cut)) if cut else result)
    return tuple(out)


def realised_loss(report: StressReport, panel: PricePanel) -> Realised | None:
    """What the book's weights lost to 27 January 2025, where the prices show it.

    Each asset's move runs from its last close before the New York close of the session
    before to its first close after that of the day (`engine.event_returns`): Tokyo over
    two closes, Taipei on 3 February. In base currency, at the exchange rates of the two
    dates; an asset without such a close has no entry and is named.
    """
    rows = np.flatnonzero(panel.dates == EVENT_DATE)
    if not rows.size or rows[0] == 0:
        return None
    try:
        event = event_returns(panel, EVENT_DATE)
    except DataError:  # no session of New York around it in these prices
        return None
    codes = dict(zip(panel.tickers, panel.universe.quote_currency, strict=True))
    held = {
        a: w
        for a, w in zip(report.scenarios.assets, report.weights, strict=True)
        if w and not is_cash(a)
    }
    moves: dict[str, float] = {}
    late, absent = [], []
    for asset in report.scenarios.assets:
        if is_cash(asset) or asset not in panel.universe:
            continue
        i = panel.index(asset)
        if np.isnan(event.values[i]):
            if asset in held:
                absent.append(asset)
            continue
        ends = np.searchsorted(panel.dates, [event.start_date[i], event.end_date[i]])
        before, after = panel.fx_rate(codes[asset])[ends]
        moves[asset] = float((1.0 + event.values[i]) * after / before - 1.0)
        if asset in held and event.end_date[i] > EVENT_DATE:
            late.append(f"{asset} on {event.end_date[i]}")
    loss = -sum(w * moves.get(a, 0.0) for a, w in held.items())
    note = "Information, not a target: nothing was tuned to it."
    if panel.synthetic:
        note = "SYNTHETIC market: the documented moves of that day are planted in it."
    if late:
        note += f" First closes that could contain it: {', '.join(late)}."
    if absent:
        note += f" No close after it, no move counted: {', '.join(absent)}."
    return Realised(date=EVENT_DATE, book_loss=float(loss), by_asset=moves, note=note)


def past_losses(
    report: StressReport, view: MarketView
) -> tuple[np.ndarray, np.ndarray] | None:
    """One-session losses of today's weights over the past the view shows."""
    held = [
        (a, w)
        for a, w in zip(report.scenarios.assets, report.weights, strict=True)
        if w and not is_cash(a)
    ]
    if not held:
        return None
    columns = [view.panel.index(a) for a, _ in held]
    prices = view.panel.adjusted().base_prices()[:, columns]
    complete = np.isfinite(prices).all(axis=1)
    prices = prices[complete]
    if prices.shape[0] < 2:
        return None
    moves = prices[1:] / prices[:-1] - 1.0
    weights = np.array([w for _, w in held])
    return view.panel.dates[complete][1:], -(moves @ weights)


def _provenance(
    panel: PricePanel,
    report: StressReport,
    settings: Settings,
    limits: Mapping[str, float],
) -> dict[str, Any]:
    from backtests._identity import versions

    model = report.scenarios.model
    return {
        "prices": panel.source,
        "price basis": panel.price_basis,
        "data hash": panel.content_hash,
        "as of": str(model.as_of),
        "estimation": f"{model.estimator}, {model.window[2]} {model.frequency} "
        f"returns, {model.window[0]} to {model.window[1]}",
        "mean": model.mean_kind,
        "tail": f"{model.tail_dof:.2f} degrees of freedom",
        "scenarios": f"{len(report.scenarios)} x {report.scenarios.horizon} sessions, "
        f"{report.scenarios.distribution}",
        "seed": settings.seed,
        "shock": "; ".join(repr(s) for s in shocks_of(settings)),
        "limit on the severe loss": "; ".join(
            f"{limit:.4f}" + (f" ({name})" if len(limits) > 1 else "")
            for name, limit in limits.items()
        ),
        "costs": repr(settings.costs),
        "funds": repr(model.funds),
        "notes": "; ".join(model.notes) or "none",
    } | {f"version of {k}": v for k, v in versions().items()}
