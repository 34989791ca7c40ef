"""The broker in plain Python, as the kernel's slow and obvious reference.

Orders are units at the prices of the decision; whoever fills them knows nothing the
decision did not know. On a session sells fill before buys (venues that close earlier
may thus spend what a later venue's sale brings in the same day: settlement comes days
after both). Buys are cut by one common factor if cash would go negative.

Volatility and volume, for impact and for the share of a day's volume that may be
traded, are those known when the trade was decided; impact is charged on the value of
each day's fill.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from reference_ledger import Ledger

from backtests.clock import market, timeline
from backtests.events import NOTHING, Split, session_events
from backtests.walkforward import withholding_rates
from engine.costs import Costs
from engine.data.portfolio import Portfolio, cash_label
from engine.errors import DataError, ModelError
from engine.proposal import Proposal

ORDER_LIFE = 5
"""Sessions an order waits for its venue before it is cancelled."""

_BORROWED = 1e-9
_DUST = 1e-12
_MOST_STEPS = 60
_ROOM = 1.0 - 1e-14  # keeps a scaled purchase from leaving cash at minus 1e-10


@dataclass(slots=True)
class Orders:
    """What is still to be filled of one decision.

    Attributes
    ----------
    remaining : (M,) float64
        Signed units.
    decided : datetime64[D]
    floor : float
        Cash may not be bought below this, base currency: zero, or the negative cash
        the target itself asked for.
    costs : Costs
        With volatility and volume as known at the decision, where they are needed.
    most : (M,) float64
        Largest value to trade in a session, base currency; infinite without a limit.
    waited : int
        Sessions since the decision.
    """

    remaining: np.ndarray
    decided: np.datetime64
    floor: float
    costs: Costs
    most: np.ndarray
    waited: int = 0


def make_orders(
    proposal: Proposal,
    ledger: Ledger,
    k: int,
    *,
    whole: bool,
    costs: Costs | None = None,
    max_participation: float | None = None,
    max_borrowing: float | None = None,
) -> Orders:
    """Turn a target into units at the prices of session k.

    The target is of net asset value *after* the proposal's own cost: an order is for
    the units that the proposal traded, so that its cost is what it said.

    Parameters
    ----------
    proposal : Proposal
    ledger : Ledger
    k : int
        Session of the decision.
    whole : bool
        Whole shares: positions are cut towards zero.
    costs : Costs, optional
        As known at session k; those of the ledger by default.
    max_participation : float, optional
        Largest share of a day's volume to trade in a session.
    max_borrowing : float, optional
        Largest debt in cash a target may ask for, as a fraction of value.

    Raises
    ------
    DataError
        An unknown label, a holding left out, or a target without a price; no volume
        for a trade that needs one.
    ModelError
        The target borrows more than ``max_borrowing``.
    """
    costs = ledger.costs if costs is None else costs
    market = ledger.market
    value = ledger.value(k)
    if proposal.cost:
        value *= 1.0 - proposal.cost
    date = ledger.clock.dates[k]
    base = f"CASH:{ledger.base_currency}"
    weight = np.zeros(len(market.labels))
    named = np.zeros(weight.size, dtype=bool)
    cash_weight = 0.0
    for label, w in zip(proposal.labels, proposal.target.tolist(), strict=True):
        if label == base:
            cash_weight = w
            continue
        i = ledger.column(label)
        if i < 0:
            raise DataError(
                "the proposal names an asset that the prices do not have",
                asset=label,
                date=date,
                fix="Propose tickers of the panel; cash as CASH:XXX with an "
                "exchange rate.",
            )
        weight[i], named[i] = w, True
    if max_borrowing is not None and -cash_weight > max_borrowing + _BORROWED:
        raise ModelError(
            "the target borrows more cash than is allowed",
            asset=base,
            date=date,
            received=f"a weight of {cash_weight:.4%}",
            expected=f"at least {-max_borrowing:.4%}",
            fix="Bound cash from below in the strategy, or raise max_borrowing.",
        )
    forgotten = (ledger.units != 0.0) & ~named
    if forgotten.any():
        raise DataError(
            "the proposal leaves out a holding",
            asset=market.labels[int(np.argmax(forgotten))],
            date=date,
            fix="Give it a target weight; zero sells it.",
        )
    price = market.mark[k] * market.fx[k]
    unpriced = (weight != 0.0) & ~np.isfinite(price)
    if unpriced.any():
        raise DataError(
            "the proposal wants an asset that has no price yet",
            asset=market.labels[int(np.argmax(unpriced))],
            date=date,
        )
    known = np.isfinite(price)
    unit_value = np.where(known, price, 1.0)
    wanted = weight * value / unit_value
    held = ledger.units
    if whole:
        n = market.n_assets
        # 99.9999999 shares are a hundred that went through a division.
        wanted[:n] = np.trunc(wanted[:n] * (1.0 + 1e-12))
    remaining = np.where(known, wanted - held, 0.0)
    remaining[np.abs(remaining) * unit_value <= _DUST * value] = 0.0
    remaining[weight == 0.0] = -held[weight == 0.0]
    most = np.full(remaining.size, np.inf)
    traded = np.flatnonzero(remaining)
    if traded.size and (max_participation is not None or costs.impact):
        labels = [market.labels[i] for i in traded]
        try:
            volume = costs.daily_volume(labels)
        except DataError as error:
            raise _dated(error, date) from error
        if max_participation is not None:
            most[traded] = max_participation * volume
    return Orders(remaining, date, min(0.0, cash_weight * value), costs, most)


def _dated(error: DataError, date: np.datetime64) -> DataError:
    """The same error, with the date of the decision."""
    return DataError(
        error.problem,
        asset=error.asset,
        date=date,
        received=error.received,
        expected=error.expected,
        fix=error.fix,
    )


def affordable(
    available: float,
    values: np.ndarray,
    costs_at: np.ndarray,
    minimum: np.ndarray,
    impact: float = 0.0,
) -> float:
    """Largest fraction f in [0, 1] of some purchases that ``available`` pays for.

    Solves f sum(v) + sum max(f r v, m) + f^(3/2) q = available: convex and increasing
    in f, so Newton's method from f = 1 falls onto the root: in finitely many steps
    without impact, quadratically with it.

    Parameters
    ----------
    available : float
        Money at hand.
    values, costs_at, minimum : (n,) float64
        Value v and proportional cost r v of each purchase, and its least cost m.
    impact : float, default 0
        Cost q of the impact of them all.
    """
    f = 1.0
    for _ in range(values.size + (2 if not impact else _MOST_STEPS)):
        by_rate = f * costs_at >= minimum
        slope = values.sum() + costs_at[by_rate].sum()
        fixed = minimum[~by_rate].sum()
        needed = f * slope + fixed
        if impact:
            pushed = impact * np.sqrt(f)
            needed += pushed * f
            # The tangent at f: its slope, and what it says at zero.
            slope += 1.5 * pushed
            fixed -= 0.5 * pushed * f
        if needed <= available:
            return f
        f = (available - fixed) / slope * _ROOM
        if f <= 0.0:
            return 0.0
    return f


def fill(
    orders: Orders, ledger: Ledger, k: int, price: np.ndarray, *, whole: bool
) -> None:
    """Execute what can be executed at session k at ``price`` (M,), NaN where shut.

    No more is traded than the orders' share of a day's volume; the rest waits. What is
    left of a scaled buy waits only while a sell of the same decision does; otherwise
    the scaling settles it.
    """
    live = (orders.remaining != 0.0) & np.isfinite(price)
    if not live.any():
        return
    blind = live & ~np.isfinite(ledger.market.fx[k])
    if blind.any():
        raise DataError(
            "no exchange rate to trade at",
            asset=ledger.market.labels[int(np.argmax(blind))],
            date=ledger.clock.dates[k],
        )
    sells = np.flatnonzero(live & (orders.remaining < 0))
    if sells.size:
        wanted = orders.remaining[sells]
        units = _within_volume(orders, ledger, k, sells, price[sells], whole=whole)
        done = units != 0.0
        if done.any():
            ledger.trade(
                k,
                sells[done],
                units[done],
                price[sells][done],
                ordered=wanted[done],
                decided=orders.decided,
                status=_words(wanted[done], units[done], "partial"),
                costs=orders.costs,
            )
        orders.remaining[sells] = wanted - units
    buys = np.flatnonzero(live & (orders.remaining > 0))
    if not buys.size:
        return
    wanted = orders.remaining[buys]
    allowed = _within_volume(orders, ledger, k, buys, price[buys], whole=whole)
    f = _affordable_share(orders, ledger, k, buys, allowed, price[buys])
    units = allowed if f == 1.0 else f * allowed
    if whole and f < 1.0:
        asset = buys < ledger.market.n_assets
        units = np.where(asset, np.floor(units), units)
    done = units > 0.0
    if done.any():
        status = _words(wanted[done], units[done], "partial" if f == 1.0 else "scaled")
        ledger.trade(
            k,
            buys[done],
            units[done],
            price[buys][done],
            ordered=wanted[done],
            decided=orders.decided,
            status=status,
            costs=orders.costs,
        )
    if (orders.remaining < 0.0).any() or f == 1.0:
        orders.remaining[buys] = wanted - units
        return
    if not done.all():
        missed = ~done
        ledger.lapse(k, buys[missed], wanted[missed], orders.decided, "unaffordable")
    orders.remaining[buys] = 0.0


def _words(wanted: np.ndarray, units: np.ndarray, less: str) -> list[str]:
    return ["filled" if u == w else less for u, w in zip(units, wanted, strict=True)]


def _within_volume(
    orders: Orders,
    ledger: Ledger,
    k: int,
    which: np.ndarray,
    price: np.ndarray,
    *,
    whole: bool,
) -> np.ndarray:
    """(n,) signed units of what remains that a day's volume has room for."""
    wanted = orders.remaining[which]
    most = orders.most[which]
    if np.isinf(most).all():
        return wanted
    room = most / (price * ledger.market.fx[k, which])
    if whole:
        room = np.where(which < ledger.market.n_assets, np.floor(room), room)
    return np.sign(wanted) * np.minimum(np.abs(wanted), room)


def _affordable_share(
    orders: Orders,
    ledger: Ledger,
    k: int,
    buys: np.ndarray,
    units: np.ndarray,
    price: np.ndarray,
) -> float:
    """Fraction of some purchases that the cash at hand pays for, costs included."""
    value, at_rate, _ = ledger.charges(k, buys, units, price, orders.costs)
    minimum, impact = np.zeros(buys.size), 0.0
    costs = orders.costs
    if costs.minimum_commission or costs.impact:
        labels = [ledger.market.labels[i] for i in buys]
        foreign = ledger.market.foreign[buys]
        at_rate = costs.rates(labels, foreign=foreign) * value
        asset = buys < ledger.market.n_assets
        minimum = np.where(asset, costs.minimum_commission, 0.0)
        pushed = costs.impact_coefficients(labels) * value * np.sqrt(value)
        impact = float(pushed.sum())
    return affordable(ledger.cash - orders.floor, value, at_rate, minimum, impact)


def split_orders(orders: Orders, splits: Iterable[Split]) -> None:
    """Put what is still to be filled into the shares that a split left."""
    for i, ratio in splits:
        orders.remaining[i] *= ratio


def cancel(orders: Orders, ledger: Ledger, k: int, status: str, mask=None) -> None:
    """End orders that are still waiting, and record that they were."""
    waiting = orders.remaining != 0.0
    which = np.flatnonzero(waiting if mask is None else waiting & mask)
    if which.size:
        ledger.lapse(k, which, orders.remaining[which], orders.decided, status)
        orders.remaining[which] = 0.0


def reference_backtest(
    strategy,
    panel,
    *,
    schedule="monthly",
    costs=None,
    portfolio=None,
    initial_value=1e6,
    fill_rule="next_close",
    delisting_return=None,
    max_participation=None,
    withholding=None,
):
    """Run a backtest session by session in plain Python; return its ledger.

    The same rules as `backtests.backtest`, written the slow and obvious way; strategies
    must propose at every decision.
    """
    costs = Costs() if costs is None else costs
    clock = timeline(panel, None, None, schedule)
    shown = market(panel, clock.rows)
    if portfolio is None:
        book = Portfolio.from_weights(
            {cash_label(panel.base_currency): 1.0}, initial_value, panel.base_currency
        )
    else:
        book = portfolio.priced(panel.as_of(clock.dates[0]))
    withheld = withholding_rates(withholding, panel.universe, len(shown.labels))
    ledger = Ledger(clock, shown, book, costs, withholding=withheld)
    by_volume = costs.impact > 0 or max_participation is not None
    events = session_events(panel, clock.rows, clock.dates)
    whole = panel.price_basis == "raw"
    paid = shown.close
    if fill_rule == "next_open" and shown.open is not None:
        paid = shown.open
    orders = None
    for k in range(clock.dates.size):
        today = events.get(k, NOTHING)
        ledger.open_session(k, today)
        for item in today.exits:
            ledger.leave(k, item, delisting_return)
        if whole and (today.splits or today.exits):
            touched = [s.i for s in today.splits]
            touched += [e.acquirer for e in today.exits if e.ratio]
            ledger.whole_shares(k, touched)
        ledger.delist(k, delisting_return)
        if orders is not None:
            split_orders(orders, today.splits)
            cancel(orders, ledger, k, "delisted", shown.delisted[k])
            fill(orders, ledger, k, paid[k], whole=whole)
            orders.waited += 1
            if orders.waited >= ORDER_LIFE:
                cancel(orders, ledger, k, "expired")
            if not orders.remaining.any():
                orders = None
        if clock.decides[k]:
            view = panel.as_of(clock.dates[k])
            proposal = strategy.propose(view, ledger.book(k), strategy.estimate(view))
            fresh = make_orders(
                proposal,
                ledger,
                k,
                whole=whole,
                costs=costs.at(view) if by_volume else costs,
                max_participation=max_participation,
            )
            if orders is not None:
                cancel(orders, ledger, k, "replaced")
            orders = fresh
            if fill_rule == "same_close":
                fill(orders, ledger, k, shown.close[k], whole=whole)
        ledger.close_session(k)
    if orders is not None:
        cancel(orders, ledger, clock.dates.size - 1, "open")
    return ledger
