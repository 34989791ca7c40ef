"""`assert_no_lookahead`: change all that follows t, and the decision at t must stay.

A view cannot show the future, but a strategy can bring it along: a panel caught at
construction, a table computed over the whole sample, a date looked up by its distance
from the end. The check decides twice at each date, on the panel as given and on one
whose future is different, and asks for the same proposal to the last bit.
"""

from __future__ import annotations

import contextlib
import dis
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from engine.data.calendars import closing_times
from engine.data.panel import PricePanel, parse_time
from engine.data.portfolio import Portfolio, cash_label
from engine.data.venues import close_utc
from engine.data.view import MarketView
from engine.errors import BallastError, DataError, LookAheadError, ModelError
from engine.parallel import thread_limits
from engine.proposal import Proposal

_DEFAULT_DATES = 5
_ENDED_SHARE = 0.2


def assert_no_lookahead(
    strategy: Any,
    panel: PricePanel,
    *,
    dates: Iterable[Any] | None = None,
    hindsight_parameters: bool = False,
    seed: int = 0,
) -> None:
    """Check that a strategy's decisions do not depend on what comes later.

    At each date t the strategy decides on the view of ``panel`` and on the views of
    three others: later prices, volumes, exchange and cash rates shuffled over time and
    multiplied by random factors, some assets ended; the same with assets exchanged;
    and everything after t cut off. It decides for a book in cash and for an invested
    one. Labels, weights and outcome, or the error, must agree bit for bit.

    Parameters
    ----------
    strategy : Strategy, or callable panel -> Strategy
        A *factory* is called with each panel, and so catches what a strategy takes
        from the panel when it is made. A strategy that already holds a panel is
        refused with that advice.
    panel : PricePanel
    dates : list of dates or UTC moments, optional
        Five dates spread over the later part of the panel by default. At a moment,
        closes of the same date after it count as future.
    hindsight_parameters : bool, default False
        Passed to the views. When False, roles that become known later are changed too;
        documents about funds always are.
    seed : int, default 0
        Of the corruption.

    Raises
    ------
    LookAheadError
        Names the strategy, the date and the first asset whose weight differs.
    ModelError
        The strategy decides differently when asked twice, on the same panel: what
        draws random numbers without a seed, or reads a clock, cannot be checked.
    DataError
        A date has no future in the panel.
    BallastError
        The strategy fails at every date, so that nothing was checked; its own error.
    """
    if isinstance(strategy, type) or not hasattr(strategy, "propose"):
        make = cast("Callable[[PricePanel], Any]", strategy)
    else:
        if _holds_panel(strategy, panel):
            raise LookAheadError(
                f"strategy '{strategy.name}' holds a panel of its own",
                received="a PricePanel, or its prices, which show every date",
                fix="Use the view; or pass a factory panel -> strategy, so that the "
                "check can hand it a panel with another future.",
            )
        make = partial(_same, strategy)

    failure: BallastError | None = None
    checked = False
    with thread_limits(1):
        original = make(panel)
        for number, t in enumerate(_dates(panel, dates)):
            view = panel.as_of(t, hindsight_parameters=hindsight_parameters)
            books = _books(view)
            truth = [_decide(original, view, b) for b in books]
            for book, first in zip(books, truth, strict=True):
                _repeats(original, view, first, _decide(original, view, book))
            for kind, other in _futures(panel, view, t, (seed, number)):
                changed = make(other)
                seen = other.as_of(t, hindsight_parameters=hindsight_parameters)
                for book, first in zip(books, truth, strict=True):
                    _compare(original, view, first, _decide(changed, seen, book), kind)
            errors = [d for d in truth if isinstance(d, BallastError)]
            checked |= len(errors) < len(truth)
            failure = errors[0] if errors and failure is None else failure
    if not checked and failure is not None:
        raise failure


def _same(strategy: Any, panel: PricePanel) -> Any:
    return strategy


def _dates(panel: PricePanel, dates: Iterable[Any] | None) -> list[Any]:
    if dates is None:
        alive = np.flatnonzero(np.isfinite(panel.prices).any(axis=1))[:-1]
        if not alive.size:
            raise DataError(
                "a panel of one session has no future to change",
                date=panel.dates[-1],
            )
        spread = np.linspace(0.35, 1.0, _DEFAULT_DATES) * (alive.size - 1)
        return [panel.dates[alive[i]] for i in np.unique(spread.astype(int))]
    chosen = list(dates)
    for t in chosen:
        if parse_time(t)[0] >= panel.dates[-1].astype("datetime64[m]"):
            raise DataError(
                "this date has no future in the panel",
                date=t,
                expected=f"before {panel.dates[-1]}",
            )
    return chosen


def _books(view: MarketView) -> list[Portfolio]:
    """A book in cash, and one spread over what has a price now."""
    base = view.panel.base_currency
    cash = Portfolio.from_weights({cash_label(base): 1.0}, 1e6, base)
    chosen = np.flatnonzero(view.tradable())
    if not chosen.size:
        return [cash.priced(view)]
    share = 0.9 / chosen.size
    weights = {view.tickers[i]: share for i in chosen} | {cash_label(base): 0.1}
    return [
        cash.priced(view),
        Portfolio.from_weights(weights, 1e6, base).priced(view),
    ]


def _decide(strategy: Any, view: MarketView, book: Portfolio) -> Any:
    """The proposal or the error, both part of what a decision is."""
    try:
        return strategy.propose(view, book, strategy.estimate(view))
    except BallastError as error:
        return error
    except Exception as error:  # a strategy may fail in any way
        return DataError(f"{type(error).__name__}: {error}", date=view.date)


def _compare(strategy: Any, view: MarketView, a: Any, b: Any, kind: str) -> None:
    asset, details = None, None
    if isinstance(a, Proposal) and isinstance(b, Proposal):
        if a.labels == b.labels and a.target.tobytes() == b.target.tobytes():
            if a.outcome is b.outcome:
                return
            details = f"{a.outcome.name} and {b.outcome.name}"
        else:
            first, second = a.weights, b.weights
            labels = dict.fromkeys([*first, *second])
            differs = [k for k in labels if first.get(k) != second.get(k)]
            asset = differs[0] if differs else next(iter(labels))
            details = f"weights {first.get(asset)} and {second.get(asset)}"
    else:
        if type(a) is type(b) and str(a) == str(b):
            return
        details = " and ".join(
            "a proposal" if isinstance(d, Proposal) else f"{type(d).__name__}: {d}"
            for d in (a, b)
        )
    raise LookAheadError(
        f"strategy '{strategy.name}' decides differently when the future is {kind}",
        asset=asset,
        date=view.date,
        received=details,
        expected="the same decision, bit for bit",
        fix="Use only what the view shows; nothing computed over the whole panel.",
    )


def _repeats(strategy: Any, view: MarketView, first: Any, again: Any) -> None:
    """Refuse a strategy that does not repeat itself: nothing could be said of it."""
    try:
        _compare(strategy, view, first, again, "the same")
    except LookAheadError as error:
        raise ModelError(
            f"strategy '{strategy.name}' is not deterministic: it decides differently "
            "when asked twice",
            asset=error.asset,
            date=view.date,
            received=error.received,
            expected="the same decision, bit for bit",
            fix="Give it a seed; let it read no clock and keep no state.",
        ) from None


def _futures(
    panel: PricePanel, view: MarketView, t: Any, seed: tuple[int, int]
) -> list[tuple[str, PricePanel]]:
    """Panels that agree with ``panel`` on all that ``view`` shows."""
    moment, bare = parse_time(t)
    hidden, unfixed = _future_cells(panel, moment, bare)
    rng = np.random.default_rng(seed)
    futures = [
        ("changed", _corrupted(panel, hidden, unfixed, view, rng, swap=False)),
        (
            "changed and its assets exchanged",
            _corrupted(panel, hidden, unfixed, view, rng, swap=True),
        ),
    ]
    if bare:
        futures.append(("cut off", panel.between(None, moment)))
    return futures


def _future_cells(
    panel: PricePanel, moment: np.datetime64, bare: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(T, N) cells and (T,) exchange rates not known at ``moment``."""
    dates = panel.dates
    day = moment.astype("datetime64[D]")
    if bare:
        later = dates > day
        return np.repeat(later[:, None], len(panel.tickers), axis=1), later
    hidden = np.empty((dates.size, len(panel.tickers)), dtype=bool)
    near = np.flatnonzero(np.abs(dates - day) <= np.timedelta64(2, "D"))
    hidden[:] = (dates > day)[:, None]
    unfixed = dates > day
    for venue in set(panel.universe.venue):
        columns = np.array([v == venue for v in panel.universe.venue])
        # An asset without a venue is known when the day is over everywhere.
        closes = (
            closing_times(venue, dates[near], panel.overrides)
            if venue
            else dates[near] + np.timedelta64(1, "D")
        ).astype("datetime64[m]")
        hidden[np.ix_(near, columns)] = (closes > moment)[:, None]
    unfixed[near] = close_utc("FX", dates[near]) > moment
    return hidden, unfixed


def _corrupted(
    panel: PricePanel,
    hidden: np.ndarray,
    unfixed: np.ndarray,
    view: MarketView,
    rng: np.random.Generator,
    *,
    swap: bool,
) -> PricePanel:
    """The panel with another future."""
    N = hidden.shape[1]
    order = rng.permutation(N) if swap else np.arange(N)
    ends = np.flatnonzero(rng.random(N) < _ENDED_SHARE)

    def shuffle(table: np.ndarray, where: np.ndarray) -> np.ndarray:
        out = np.array(table)
        for i in range(table.shape[1]):
            rows = np.flatnonzero(where[:, i])
            source = table[:, order[i]] if table.shape[1] == N else table[:, i]
            noise = np.exp(rng.normal(0.0, 0.3, rows.size))
            out[rows, i] = source[rng.permutation(rows)] * noise
        return out

    prices = shuffle(panel.prices, hidden)
    for i in ends:
        rows = np.flatnonzero(hidden[:, i])
        if rows.size:
            prices[rows[rng.integers(rows.size) :], i] = np.nan
    changes: dict[str, Any] = {"prices": prices}
    for name in ("open", "volume"):
        table = getattr(panel, name)
        if table is not None:
            changes[name] = shuffle(table, hidden)
    if panel.fx.size:
        changes["fx"] = shuffle(
            panel.fx, np.repeat(unfixed[:, None], panel.fx.shape[1], axis=1)
        )
    if panel.cash_rates.size:
        later = panel.dates > view.date
        rates = np.array(panel.cash_rates)
        rates[later] = rng.normal(0.03, 0.02, rates[later].shape)
        changes["cash_rates"] = rates
    universe = panel.universe
    today = view.time.astype("datetime64[D]")
    ending = np.where(
        universe.listed_until > today, np.datetime64("NaT"), universe.listed_until
    )
    labels: dict[str, Any] = {"listed_until": ending}
    # A document of tomorrow may say anything, even with hindsight admitted.
    labels["look_through"] = tuple(
        (fund, kind, label, 0.5 * weight, date, f"{document}, corrected")
        if np.datetime64(date, "D") > today
        else (fund, kind, label, weight, date, document)
        for fund, kind, label, weight, date, document in universe.look_through
    )
    late = universe.role_known_from > today
    if late.any() and not view.hindsight_parameters:
        labels["role"] = tuple(
            "unknown" if hide else r
            for r, hide in zip(universe.role, late, strict=True)
        )
        labels["ai_share"] = np.where(late[:, None], np.nan, universe.ai_share)
        labels["ai_capex"] = np.where(late, np.nan, universe.ai_capex)
    # Another future has none of this one's actions and changes of membership.
    if panel.actions is not None:
        changes["actions"] = panel.actions.dated_until(today)
    if panel.membership is not None:
        changes["membership"] = panel.membership.as_of(today)
    return replace(
        panel, universe=replace(universe, **labels), content_hash="", **changes
    )


def _holds_panel(thing: Any, panel: PricePanel | None = None, depth: int = 4) -> bool:
    """Whether a panel, or a table of this one, can be reached.

    Through attributes, containers, closures, and the globals that a function reads.
    """
    if isinstance(thing, PricePanel):
        return True
    table = getattr(thing, "to_numpy", None)  # of a DataFrame or Series
    if table is not None and not isinstance(thing, type):
        thing = np.asarray(thing)
    if isinstance(thing, np.ndarray):
        return panel is not None and _is_table(thing, panel)
    if depth == 0 or isinstance(thing, (str, bytes, int, float, type)):
        return False
    inside: list[Any] = []
    if isinstance(thing, Mapping):
        inside += thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inside += thing
    function = getattr(thing, "__func__", thing)
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a cell may still be empty
            inside.append(cell.cell_contents)
    inside += getattr(function, "__defaults__", None) or ()
    code = getattr(function, "__code__", None)
    known = getattr(function, "__globals__", {})
    for name in () if code is None else _globals_read(code):
        # Other globals lead to whole modules; a panel or a table is what gives away.
        if isinstance(known.get(name), (PricePanel, np.ndarray)):
            inside.append(known[name])
    inside += getattr(thing, "__dict__", {}).values()
    for owner in type(thing).__mro__:
        slots = getattr(owner, "__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            inside.append(getattr(thing, name, None))
    # Methods of the class can capture a panel as well as its instances.
    if hasattr(thing, "propose"):
        inside += [getattr(type(thing), n, None) for n in ("propose", "estimate")]
    return any(_holds_panel(item, panel, depth - 1) for item in inside)


def _globals_read(code: Any) -> set[str]:
    """Names a function reads as globals; ``view.panel`` reads no global ``panel``."""
    return {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}


def _is_table(array: np.ndarray, panel: PricePanel) -> bool:
    """Whether an array is, or repeats, a table of the panel to its last row."""
    for name in ("prices", "open", "volume", "fx"):
        table = getattr(panel, name)
        if table is None or not table.size or array.dtype.kind != "f":
            continue
        if np.shares_memory(array, table):
            return True
        if array.shape == table.shape and np.array_equal(array, table, equal_nan=True):
            return True
    return False
