"""The broker: target weights into orders, orders into fills.

Orders are units at the prices of the decision; whoever fills them knows nothing the
decision did not know. On a session sells fill before buys (venues that close earlier
may thus spend what a later venue's sale brings in the same day: settlement comes days
after both). Buys are cut by one common factor if cash would go negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from backtests.events import Split
from backtests.ledger import Ledger
from engine.errors import DataError
from engine.proposal import Proposal

ORDER_LIFE = 5
"""Sessions an order waits for its venue before it is cancelled."""

_DUST = 1e-12
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
    waited : int
        Sessions since the decision.
    """

    remaining: np.ndarray
    decided: np.datetime64
    floor: float
    waited: int = 0


def make_orders(proposal: Proposal, ledger: Ledger, k: int, *, whole: bool) -> Orders:
    """Turn a target into units at the prices of session k.

    Parameters
    ----------
    proposal : Proposal
    ledger : Ledger
    k : int
        Session of the decision.
    whole : bool
        Whole shares: positions are cut towards zero.

    Raises
    ------
    DataError
        An unknown label, a holding left out, or a target without a price.
    """
    market = ledger.market
    value = ledger.value(k)
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
    return Orders(remaining, date, min(0.0, cash_weight * value))


def affordable(
    available: float, values: np.ndarray, costs_at: np.ndarray, minimum: np.ndarray
) -> float:
    """Largest fraction f in [0, 1] of some purchases that ``available`` pays for.

    Solves f sum(v) + sum max(f r v, m) = available: convex and increasing in f, so
    Newton's method from f = 1 falls onto the root in finitely many steps.

    Parameters
    ----------
    available : float
        Money at hand.
    values, costs_at, minimum : (n,) float64
        Value v and proportional cost r v of each purchase, and its least cost m.
    """
    f = 1.0
    for _ in range(values.size + 2):
        by_rate = f * costs_at >= minimum
        slope = values.sum() + costs_at[by_rate].sum()
        fixed = minimum[~by_rate].sum()
        if f * slope + fixed <= available:
            return f
        f = (available - fixed) / slope * _ROOM
        if f <= 0.0:
            return 0.0
    return f


def fill(
    orders: Orders, ledger: Ledger, k: int, price: np.ndarray, *, whole: bool
) -> None:
    """Execute what can be executed at session k at ``price`` (M,), NaN where shut.

    What is left of a scaled buy waits only while a sell of the same decision does;
    otherwise the scaling settles it.
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
        units = orders.remaining[sells]
        ledger.trade(
            k,
            sells,
            units,
            price[sells],
            ordered=units,
            decided=orders.decided,
            scaled=np.zeros(sells.size, dtype=bool),
        )
        orders.remaining[sells] = 0.0
    buys = np.flatnonzero(live & (orders.remaining > 0))
    if not buys.size:
        return
    wanted = orders.remaining[buys]
    value, cost, _ = ledger.charges(k, buys, wanted, price[buys])
    at_rate, minimum = cost, np.zeros(buys.size)
    if ledger.costs.minimum_commission:
        labels = [ledger.market.labels[i] for i in buys]
        foreign = ledger.market.foreign[buys]
        at_rate = ledger.costs.rates(labels, foreign=foreign) * value
        asset = buys < ledger.market.n_assets
        minimum = np.where(asset, ledger.costs.minimum_commission, 0.0)
    f = affordable(ledger.cash - orders.floor, value, at_rate, minimum)
    units = wanted if f == 1.0 else f * wanted
    if whole and f < 1.0:
        asset = buys < ledger.market.n_assets
        units = np.where(asset, np.floor(units), units)
    scaled = units < wanted
    done = units > 0.0
    if done.any():
        ledger.trade(
            k,
            buys[done],
            units[done],
            price[buys][done],
            ordered=wanted[done],
            decided=orders.decided,
            scaled=scaled[done],
        )
    if (orders.remaining < 0.0).any():
        orders.remaining[buys] = wanted - units
        return
    if not done.all():
        missed = ~done
        ledger.lapse(k, buys[missed], wanted[missed], orders.decided, "unaffordable")
    orders.remaining[buys] = 0.0


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
