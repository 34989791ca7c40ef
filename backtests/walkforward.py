"""`backtest`: decide at a close with what was known, fill later, keep the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from backtests._estimates import cache_of, estimates
from backtests._failures import after_failure, failure_order, named_error
from backtests._identity import describe, digest, digest_of, provenance
from backtests._planned import plan
from backtests._time_limit import check_time_limit, time_allowed
from backtests._windows import windowed
from backtests.broker import Broker
from backtests.clock import Timeline, market, timeline
from backtests.decisions import Decision, PlannedDecisions
from backtests.events import NOTHING, SessionEvents, session_events
from backtests.ledger import Ledger
from backtests.result import BacktestResult
from engine._progress import Progress, reporter
from engine.costs import Costs
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio, cash_label
from engine.data.universe import Universe
from engine.data.view import MarketView
from engine.errors import (
    DataError,
    InfeasibleError,
    ModelError,
    SolverError,
    UsageError,
)
from engine.parallel import Executor, thread_limits
from engine.proposal import Outcome, Proposal

FillRule = Literal["next_close", "next_open", "same_close"]

_MOST_ROOM = 1_000_000
_STANDING = (Outcome.NO_TRADE, Outcome.HELD)


def trial_settings(
    *,
    start: Any,
    end: Any,
    schedule: str | Iterable[Any],
    costs: Costs,
    portfolio: Portfolio | None,
    initial_value: float,
    fill: FillRule,
    hindsight_parameters: bool,
    fallback: str,
    delisting_return: float | None,
    **frictions: Any,
) -> dict[str, Any]:
    """Everything but strategy and data that changes a result.

    ``frictions`` count only where they are not at their default: none.
    """
    given = {k: v for k, v in frictions.items() if v is not None}
    return given | {
        "start": str(start),
        "end": str(end),
        "schedule": schedule
        if isinstance(schedule, str)
        else tuple(str(s) for s in schedule),
        "costs": costs,
        "portfolio": portfolio,
        "initial_value": None if portfolio is not None else float(initial_value),
        "fill": fill,
        "hindsight_parameters": bool(hindsight_parameters),
        "fallback": fallback,
        "delisting_return": delisting_return,
    }


def trial_id(strategy: Any, panel: PricePanel, settings: dict[str, Any]) -> str:
    """Digest of strategy, prices and settings; equal exactly for equal trials."""
    return digest(strategy, panel, settings)


def backtest(
    strategy: Any,
    panel: PricePanel,
    *,
    start: Any = None,
    end: Any = None,
    schedule: str | Iterable[Any] = "monthly",
    costs: Costs | None = None,
    portfolio: Portfolio | None = None,
    initial_value: float = 1_000_000.0,
    fill: FillRule = "next_close",
    hindsight_parameters: bool = False,
    fallback: Literal["hold", "raise"] = "hold",
    delisting_return: float | None = None,
    max_participation: float | None = None,
    max_borrowing: float | None = None,
    withholding: float | Mapping[str, float] | None = None,
    on_failure: tuple[str, ...] | None = None,
    time_limit: float | None = None,
    window: int | Literal["expanding"] | None = None,
    purge: int = 0,
    embargo: int = 0,
    min_history: int | None = None,
    cache: Any = None,
    executor: Executor = "serial",
    n_jobs: int = 1,
    progress: Progress | bool | None = None,
) -> BacktestResult:
    """Walk a strategy forward through a panel.

    At the close of each scheduled session t the strategy sees ``panel.as_of(t)`` and
    the book. Its target becomes orders in units *at the prices of t*; each fills at
    the next close of its own venue, sells before buys. An order that has waited five
    sessions is cancelled and recorded. The first session of the range always decides.

    Parameters
    ----------
    strategy : Strategy
    panel : PricePanel
        Whole shares are traded exactly when its basis is ``raw``. With corporate
        actions, splits and distributions that its prices do not hold already are
        booked (cash in base currency on the ex-date, less ``withholding``), and
        mergers and delistings at their stated terms. Without them no dividend is
        booked: use total-return prices to include them.
    start, end : date, optional
        First and last day, inclusive; those of the panel by default.
    schedule : str or list of dates, default "monthly"
        See `strategies.schedules`.
    costs : Costs, default ``Costs()``
        The same object the optimiser is given. Market impact and participation take
        volatility and volume as known at the decision, whenever the order fills.
    portfolio : Portfolio, optional
        Initial book; cash of ``initial_value`` otherwise. Cost basis and tax rate
        lead to taxes on realised gains, at average cost.
    initial_value : float, default 1,000,000
        Base currency.
    fill : {"next_close", "next_open", "same_close"}
        ``next_open`` needs opening prices (converted at that date's exchange rate).
        ``same_close`` trades at the prices that made the decision, which nobody can
        do, and stamps the result.
    hindsight_parameters : bool, default False
        Passed to the views; stamps the result.
    fallback : {"hold", "raise"}
        What to do when limits cannot hold or a solver fails.
    delisting_return : float, optional
        Simple return on the last price when a holding is delisted and no action
        states its value; without it such a holding is an error.
    max_participation : float, optional
        Largest share of an asset's mean daily volume (`Costs.impact_window` sessions)
        that one session trades; the rest of an order waits, up to five sessions from
        the decision. No limit by default.
    max_borrowing : float, optional
        Largest debt in cash that a target may ask for, as a fraction of value; more is
        an error. By default any; it pays the cash rate plus ``Costs.margin_bps``.
    withholding : float or mapping by country, optional
        Share of distributions withheld at the source from long positions; a mapping
        goes by ``Universe.country`` and may have an entry ``default``. Nothing by
        default.
    on_failure : tuple of str, optional
        What is tried in turn, in place of ``fallback``, when limits cannot hold or a
        solver fails: ``"relax turnover"``, ``"relax groups"``, ``"relax stress"``,
        ``"relax es"``, ``"relax upper"``, and last ``"hold"`` or ``"raise"``. The
        decision records what was relaxed and by how much.
    time_limit : float, optional
        Seconds for each estimate and each proposal; more counts as a solver's failure.
        What code compiled to machine language does is interrupted when it returns.
    window : int or "expanding", optional
        Sessions that the strategy estimates on: so many, or all there are; its own
        ``window`` by default.
    purge, embargo : int, default 0
        The estimate does not see the last ``purge + embargo`` sessions before the
        decision: those whose outcomes still run, and as many more as are wanted.
    min_history : int, optional
        Fewest prices that each asset of the strategy must have to be estimated on; an
        asset with fewer is an error instead of being left out.
    cache : path or EstimateCache, optional
        Estimates are read from there and written to it, so that runs that differ only
        in what they propose estimate each date once. Results are the same bit for bit.
    executor, n_jobs
        How `Strategy.estimate` runs over the dates; accounting is serial, and results
        are the same bit for bit.
    progress : callable or True, optional
        ``progress(done, total, message)`` after each decision; True shows a bar.

    Returns
    -------
    BacktestResult

    Raises
    ------
    DataError
        A range outside the prices, a delisted holding, a price or rate that is
        missing, a proposal that cannot be traded.
    ModelError
        The strategy fails on its own; the message names it and the date.
    InfeasibleError, SolverError
        Only with ``fallback="raise"``.

    Notes
    -----
    Cash earns ``panel.cash_rate()`` of the session before, simple, actual/365. Foreign
    cash of the book earns its own currency's rate. One base-currency balance pays for
    everything; foreign purchases convert at the date's exchange rate.
    """
    progress = reporter(progress, "backtest")
    costs = Costs() if costs is None else costs
    if not isinstance(schedule, str) and isinstance(schedule, Iterable):
        schedule = tuple(schedule)  # read twice below
    _check_options(panel, fill, fallback, delisting_return, initial_value)
    _check_frictions(max_participation, max_borrowing)
    order = failure_order(on_failure, fallback)
    check_time_limit(time_limit, executor if n_jobs != 1 else "serial")
    strategy = windowed(strategy, window, purge, embargo, min_history)
    clock = timeline(panel, start, end, schedule)
    shown = market(panel, clock.rows)
    first_view = panel.as_of(clock.dates[0])
    if portfolio is None:
        book = Portfolio.from_weights(
            {cash_label(panel.base_currency): 1.0}, initial_value, panel.base_currency
        )
    else:
        book = portfolio.priced(first_view)
    settings = trial_settings(
        start=clock.dates[0],
        end=clock.dates[-1],
        schedule=schedule,
        costs=costs,
        portfolio=portfolio,
        initial_value=initial_value,
        fill=fill,
        hindsight_parameters=hindsight_parameters,
        fallback=fallback,
        delisting_return=delisting_return,
        max_participation=max_participation,
        max_borrowing=max_borrowing,
        withholding=withholding,
        on_failure=on_failure,
        time_limit=time_limit,
    )
    withheld = withholding_rates(withholding, panel.universe, len(shown.labels))
    paid = shown.open if fill == "next_open" and shown.open is not None else shown.close
    events = session_events(panel, clock.rows, clock.dates)
    whole = panel.price_basis == "raw"
    when = clock.dates[clock.decides]
    by_volume = costs.impact > 0 or max_participation is not None
    planned = None
    if not by_volume and progress is None:
        planned = plan(strategy, panel, when, shown, hindsight_parameters)
    weights, cash_weight = planned or (None, None)
    ledger = Ledger(
        clock,
        shown,
        book,
        costs,
        paid=paid,
        withholding=withheld,
        events=events,
        whole=whole,
        room=min((when.size + 2) * len(shown.labels), _MOST_ROOM),
    )
    broker = Broker(
        ledger,
        whole=whole,
        same_close=fill == "same_close",
        max_participation=max_participation,
        max_borrowing=max_borrowing,
        weights=weights,
        cash_weight=cash_weight,
    )
    decisions: list[Decision] = []
    used_delisting = False
    known = estimates(
        strategy,
        panel,
        when if planned is None else when[:0],
        hindsight_parameters=hindsight_parameters,
        executor=executor,
        n_jobs=n_jobs,
        cache=cache_of(cache),
        time_limit=time_limit,
    )
    with thread_limits(1), contextlib.closing(known):
        while (need := _run(broker, strategy)) != "done":
            k = broker.session
            if need == "act":
                today = events.get(k, NOTHING)
                used_delisting |= _exits(
                    ledger, k, today, delisting_return, whole=whole
                )
                continue
            date = clock.dates[k]
            view = panel.as_of(date, hindsight_parameters=hindsight_parameters)
            decision = _decide(
                strategy, view, ledger.book(k), next(known), order, time_limit
            )
            decisions.append(decision)
            _trade(decision, strategy, broker, costs.at(view) if by_volume else costs)
            if progress is not None:
                progress(len(decisions), when.size, f"{date} {decision.outcome}")
    broker.finish()
    taken: Sequence[Decision] = tuple(decisions)
    if planned is not None:
        taken = PlannedDecisions(
            strategy,
            panel,
            shown,
            dates=when,
            sessions=np.flatnonzero(clock.decides),
            units=broker.plan.held,
            basis=broker.plan.basis,
            cash=broker.plan.cash,
            turnover=broker.plan.turnover,
            tax_rate=ledger.tax_rate,
            hindsight_parameters=hindsight_parameters,
        )
    return _result(
        strategy,
        panel,
        clock,
        ledger,
        book.value,
        taken,
        settings,
        _stamps(
            panel,
            fill,
            hindsight_parameters,
            delisting_return,
            used_delisting,
            withholding is not None,
        ),
    )


def _run(broker: Broker, strategy: Any) -> str:
    """Go on; what is wrong with a planned target names the strategy."""
    try:
        return broker.run()
    except (DataError, ModelError) as error:
        if broker.placing:
            date = broker.ledger.clock.dates[broker.session]
            raise named_error(error, strategy, date) from error
        raise


def _check_options(
    panel: PricePanel,
    fill: str,
    fallback: str,
    delisting_return: float | None,
    initial_value: float,
) -> None:
    if fill not in ("next_close", "next_open", "same_close"):
        raise UsageError(
            "unknown fill rule",
            received=repr(fill),
            expected="next_close, next_open or same_close",
        )
    if fill == "next_open" and panel.open is None:
        raise DataError(
            "fills at the open need opening prices",
            received="a panel without them",
            fix="Load prices with an open column, or use fill='next_close'.",
        )
    if fallback not in ("hold", "raise"):
        raise UsageError(
            "unknown fallback", received=repr(fallback), expected="hold or raise"
        )
    if delisting_return is not None and not -1.0 <= delisting_return < np.inf:
        raise UsageError(
            "delisting_return must be a simple return of at least -1",
            received=delisting_return,
        )
    if not (np.isfinite(initial_value) and initial_value > 0):
        raise UsageError("initial_value must be positive", received=initial_value)


def _check_frictions(
    max_participation: float | None, max_borrowing: float | None
) -> None:
    if max_participation is not None and not 0.0 < max_participation < np.inf:
        raise UsageError(
            "max_participation must be positive",
            received=max_participation,
            expected="a share of a day's volume: 0.05 is five per cent",
        )
    if max_borrowing is not None and not 0.0 <= max_borrowing < np.inf:
        raise UsageError(
            "max_borrowing must not be negative",
            received=max_borrowing,
            expected="a fraction of value: zero allows no debt",
        )


def withholding_rates(
    given: float | Mapping[str, float] | None, universe: Universe, n_columns: int
) -> np.ndarray:
    """(M,) share of a distribution withheld, from a rate or rates by country."""
    rates = np.zeros(n_columns)
    if given is None:
        return rates
    for i, ticker in enumerate(universe.tickers):
        rate: Any = given
        if isinstance(given, Mapping):
            country = universe.country[i] if universe.country else ""
            rate = given.get(country, given.get("default"))
            if rate is None:
                raise DataError(
                    "no withholding rate for a country",
                    asset=ticker,
                    received=repr(country),
                    fix="Add it, or an entry 'default'.",
                )
        if not (isinstance(rate, (int, float)) and 0.0 <= rate < 1.0):
            raise DataError(
                "a withholding rate must lie in [0, 1)", asset=ticker, received=rate
            )
        rates[i] = rate
    return rates


def _exits(
    ledger: Ledger,
    k: int,
    today: SessionEvents,
    delisting_return: float | None,
    *,
    whole: bool,
) -> bool:
    """Corporate exits of a session, and shares made whole; whether one was assumed."""
    assumed = [ledger.leave(k, item, delisting_return) for item in today.exits]
    if whole and (today.splits or today.exits):
        touched = [s.i for s in today.splits]
        ledger.whole_shares(k, touched + [e.acquirer for e in today.exits if e.ratio])
    return ledger.delist(k, delisting_return) or any(assumed)


def _decide(
    strategy: Any,
    view: MarketView,
    book: Portfolio,
    estimated: tuple[Any, Exception | None],
    order: tuple[str, ...],
    time_limit: float | None = None,
) -> Decision:
    """Ask the strategy; what it may fail with is a decision to hold."""
    estimate, error = estimated
    proposal: Any = None
    date = view.date
    if error is None:
        try:
            with time_allowed(time_limit, "propose"):
                proposal = strategy.propose(view, book, estimate)
        except Exception as raised:
            error = raised
    if error is not None:
        if isinstance(error, (InfeasibleError, SolverError)):
            made = after_failure(
                strategy, view, book, estimated, error, order, time_limit
            )
            if made is not None:
                return made
        raise named_error(error, strategy, date) from error
    if not isinstance(proposal, Proposal):
        raise ModelError(
            f"strategy '{getattr(strategy, 'name', type(strategy).__name__)}' did not "
            "return a proposal",
            date=date,
            received=type(proposal).__name__,
            expected="Proposal (see Proposal.from_weights)",
        )
    outcome = proposal.outcome
    return Decision(date, outcome.name, outcome.value, proposal.turnover, proposal)


def _trade(decision: Decision, strategy: Any, broker: Broker, costs: Costs) -> None:
    """Place the orders of a decision; to hold leaves those of the one before."""
    proposal = decision.proposal
    if proposal is None or proposal.outcome in _STANDING:
        return
    try:
        broker.place(proposal, costs)
    except (DataError, ModelError) as error:
        raise named_error(error, strategy, decision.date) from error
    if broker.rules.same_close:
        broker.fill_now()


def _stamps(
    panel: PricePanel,
    fill: str,
    hindsight_parameters: bool,
    delisting_return: float | None,
    used_delisting: bool,
    withheld: bool,
) -> tuple[str, ...]:
    """What must be said beside the numbers."""
    stamps = []
    if panel.synthetic:
        stamps.append("SYNTHETIC prices")
    if hindsight_parameters:
        stamps.append("hindsight parameters")
    if fill == "same_close":
        stamps.append("same-bar fills")
    if panel.actions is not None and panel.price_basis != "total_return":
        net = "net of" if withheld else "before"
        stamps.append(f"dividends booked {net} withholding tax")
    elif panel.price_basis == "raw":
        stamps.append("raw prices: no dividends or splits booked")
    elif panel.price_basis == "split_adjusted":
        stamps.append("price returns: no dividends booked")
    if panel.actions is not None and panel.price_basis == "total_return":
        if np.isfinite(panel.actions.ratio).any():
            stamps.append("share mergers valued at adjusted prices")
    if panel.base_currency not in panel.cash_currencies:
        stamps.append("cash earns nothing: no cash rate given")
    if used_delisting:
        stamps.append(f"assumed delisting return {delisting_return:.0%}")
    return tuple(stamps)


def _result(
    strategy: Any,
    panel: PricePanel,
    clock: Timeline,
    ledger: Ledger,
    initial_value: float,
    decisions: Sequence[Decision],
    settings: dict[str, Any],
    stamps: tuple[str, ...],
) -> BacktestResult:
    n = ledger.market.n_assets
    used = np.ones(len(ledger.market.labels), dtype=bool)
    # Foreign cash is shown only where there was any.
    used[n:] = ledger.unit_rows[:, n:].any(axis=0)
    labels = tuple(
        label for label, u in zip(ledger.market.labels, used, strict=True) if u
    )
    told = describe(strategy)
    return BacktestResult(
        name=strategy.name,
        trial_id=digest_of(told, describe(panel), describe(settings)),
        dates=clock.dates,
        labels=labels,
        base_currency=panel.base_currency,
        initial_value=initial_value,
        units=_kept(ledger.unit_rows, used),
        money=_kept(ledger.money_rows, used),
        fills=ledger.fills,
        decisions=decisions,
        periods_per_year=clock.periods_per_year,
        stamps=stamps,
        provenance=provenance(strategy, panel, settings, described=told),
        **ledger.columns,
    )


def _kept(rows: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Columns that are shown, read-only so that the result need not copy them."""
    rows = rows if used.all() else rows[:, used]
    rows.setflags(write=False)
    return rows
