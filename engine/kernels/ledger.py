"""The ledger of a backtest, session by session: prices, orders, fills, taxes, cash.

A run goes through the sessions until something needs more than arithmetic: a decision
whose weights are not laid out in advance, a corporate exit, a full log, an error. It
returns a code and where it stopped; the caller acts and calls again.

On each session, in this order: splits, price and currency gains, interest, dividends,
borrow fees; then waiting orders (sells before buys, buys cut by one factor to the cash
at hand); then a decision; then the close. Trades are booked at average cost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

# What a run returns.
DONE = 0
ACT = 1  # a corporate exit, or whole shares after a split
DECIDE = 2
FULL = 3  # the log may not hold another session
UNVALUED = 4  # a holding without a price or an exchange rate
RUINED = 5
NO_FX = 6
NO_RATE = 7  # no cost is known for what is traded
NO_BASIS = 8
FORGOTTEN = 9
UNPRICED = 10
BORROWED = 11

# Where in a session a run goes on.
AT_OPEN = 0
AT_WORK = 1
AT_CLOSE = 2

# Entries of `Progress`, of `Book.state` and of `Orders.numbers`.
SESSION, PHASE, DECISION, WHERE = 0, 1, 2, 3
CASH, GROSS, NET, FEES = 0, 1, 2, 3
DECIDED, WAITED, ACTIVE = 0, 1, 2

# How a fill ended; the words stand in `backtests.fills.WORDS`.
FILLED, PARTIAL, SCALED, UNAFFORDABLE, EXPIRED, REPLACED, DELISTED, OPEN = range(8)

FILLS_PER_SESSION = 4
"""Most entries of the log for one column on one session."""

_BORROWED = 1e-9
_DUST = 1e-12
_MOST_STEPS = 60
_ROOM = 1.0 - 1e-14  # keeps a scaled purchase from leaving cash at minus 1e-10
_YEAR = 365.0


class Tables(NamedTuple):
    """What the market showed: (T, M) over columns, (T,) over sessions.

    ``mark``, ``fx`` and ``paid`` (the price of a fill) are NaN where unknown. Splits
    and distributions of session k are entries ``from[k]`` to ``from[k + 1]``. ``acts``
    marks sessions on which the caller must act.
    """

    mark: np.ndarray
    fx: np.ndarray
    paid: np.ndarray
    rates: np.ndarray
    delisted: np.ndarray
    base_rate: np.ndarray
    days: np.ndarray
    decides: np.ndarray
    acts: np.ndarray
    split_from: np.ndarray
    split_column: np.ndarray
    split_ratio: np.ndarray
    paid_from: np.ndarray
    paid_column: np.ndarray
    paid_cash: np.ndarray


class Book(NamedTuple):
    """State of the book: (M,) by column; ``state`` is cash, gross, net, fees."""

    units: np.ndarray
    basis: np.ndarray
    tax_rate: np.ndarray
    withheld: np.ndarray
    borrow: np.ndarray
    state: np.ndarray


class Orders(NamedTuple):
    """Orders of one decision, (M,) by column, and room to work in.

    ``numbers`` is the session of the decision, the sessions waited, and whether
    anything waits; ``floor`` (1,) is the least cash; ``most`` the largest value of a
    session's trade; ``rates`` and ``impact`` the costs of the decision.
    """

    remaining: np.ndarray
    most: np.ndarray
    rates: np.ndarray
    impact: np.ndarray
    floor: np.ndarray
    numbers: np.ndarray
    sums: np.ndarray
    which: np.ndarray
    worth: np.ndarray
    fee: np.ndarray
    least: np.ndarray
    allowed: np.ndarray


class Log(NamedTuple):
    """Fills, (capacity,) each; ``count`` (1,) of them are written."""

    session: np.ndarray
    decided: np.ndarray
    column: np.ndarray
    status: np.ndarray
    ordered: np.ndarray
    units: np.ndarray
    price: np.ndarray
    value: np.ndarray
    cost: np.ndarray
    tax: np.ndarray
    count: np.ndarray


class Rows(NamedTuple):
    """What a run writes: the ledger's columns (T,), units and money (T, M)."""

    value: np.ndarray
    cash: np.ndarray
    price_pnl: np.ndarray
    fx_pnl: np.ndarray
    interest: np.ndarray
    dividends: np.ndarray
    costs: np.ndarray
    taxes: np.ndarray
    turnover: np.ndarray
    cash_return: np.ndarray
    units: np.ndarray
    money: np.ndarray


class Plan(NamedTuple):
    """Decisions laid out in advance, (K, M), and the book that each of them met.

    Without rows, every decision is the caller's. ``held`` and ``basis`` (K, M) and
    ``cash`` and ``turnover`` (K,) are written.
    """

    weights: np.ndarray
    cash_weight: np.ndarray
    held: np.ndarray
    basis: np.ndarray
    cash: np.ndarray
    turnover: np.ndarray


class Rules(NamedTuple):
    """Scalars of a run: ``minimum`` commission, ``margin`` rate a year, order life."""

    n_assets: int
    whole: bool
    same_close: bool
    minimum: float
    margin: float
    max_borrowing: float
    order_life: int


@njit(nogil=True, cache=True, error_model="numpy")
def affordable(available, values, costs_at, minimum, impact):
    """Largest fraction f in [0, 1] of purchases that ``available`` pays for.

    Solves f sum(v) + sum max(f r v, m) + f^(3/2) q = available: convex and increasing
    in f, so Newton's method from f = 1 falls onto the root: in finitely many steps
    without impact, quadratically with it. (n,) values v, costs_at r v and minimum m.
    """
    f = 1.0
    n = values.size
    for _ in range(_MOST_STEPS if impact != 0.0 else n + 2):
        slope = 0.0
        by_rate = 0.0
        fixed = 0.0
        for j in range(n):
            slope += values[j]
            if f * costs_at[j] >= minimum[j]:
                by_rate += costs_at[j]
            else:
                fixed += minimum[j]
        slope += by_rate
        needed = f * slope + fixed
        if impact != 0.0:
            pushed = impact * math.sqrt(f)
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


@njit(nogil=True, cache=True, error_model="numpy")
def _note(log, k, decided, i, ordered, units, price, value, cost, tax, status):
    at = log.count[0]
    log.session[at] = k
    log.decided[at] = decided
    log.column[at] = i
    log.status[at] = status
    log.ordered[at] = ordered
    log.units[at] = units
    log.price[at] = price
    log.value[at] = value
    log.cost[at] = cost
    log.tax[at] = tax
    log.count[0] = at + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _lapse(orders, log, k, i, status):
    decided = orders.numbers[DECIDED]
    ordered = orders.remaining[i]
    _note(log, k, decided, i, ordered, 0.0, np.nan, 0.0, 0.0, 0.0, status)
    orders.remaining[i] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def cancel(orders, log, k, status):
    """End every waiting order at session k, and record that it was."""
    for i in range(orders.remaining.size):
        if orders.remaining[i] != 0.0:
            _lapse(orders, log, k, i, status)
    orders.numbers[ACTIVE] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _trade(tables, book, orders, log, rows, rules, k, i, units, ordered, status):
    """Book one execution; its value, cost and tax go to ``orders.sums``."""
    price, fx = tables.paid[k, i], tables.fx[k, i]
    z = units * price * fx
    size = abs(z)
    rate = orders.rates[i]
    if math.isnan(rate):
        return NO_RATE
    cost = rate * size
    if rules.minimum > 0.0 and size > 0.0 and i < rules.n_assets:
        cost = max(cost, rules.minimum)
    if orders.impact[i] != 0.0:
        cost += orders.impact[i] * size * math.sqrt(size)
    before, basis = book.units[i], book.basis[i]
    long = max(before, 0.0)
    tax = 0.0
    sold = min(max(-units, 0.0), long)
    if sold > 0.0 and book.tax_rate[i] > 0.0:
        if math.isnan(basis):
            return NO_BASIS
        gain = book.tax_rate[i] * max(0.0, 1.0 - basis / price)
        tax = gain * max(-z, 0.0) * (sold / -units)
    after = before + units
    # A position sold in full must be exactly empty, not 1e-17 of a share.
    if abs(after) <= 1e-12 * abs(units):
        after = 0.0
    if not after > 0.0:
        book.basis[i] = np.nan
    elif units > 0.0:
        spent = basis * long if long > 0.0 else 0.0
        book.basis[i] = (spent + price * (after - long)) / after
    book.units[i] = after
    orders.sums[0] += z
    orders.sums[1] += cost
    orders.sums[2] += tax
    book.state[GROSS] += size
    book.state[NET] += z
    # Bought at the open, worth something else at the close.
    mark = tables.mark[k, i]
    if math.isfinite(mark * fx):
        rows.price_pnl[k] += (after - before) * ((mark - price) * fx)
    decided = orders.numbers[DECIDED]
    _note(log, k, decided, i, ordered, units, price, z, cost, tax, status)
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _settle(book, orders, rows, k):
    """Pay for the trades booked since the last time."""
    sums = orders.sums
    book.state[CASH] -= sums[0] + sums[1] + sums[2]
    rows.costs[k] += sums[1]
    rows.taxes[k] += sums[2]
    sums[:] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def _within_volume(tables, orders, rules, k, i):
    """Signed units of what remains that a session's volume has room for."""
    wanted, most = orders.remaining[i], orders.most[i]
    if not math.isfinite(most):
        return wanted
    room = most / (tables.paid[k, i] * tables.fx[k, i])
    if rules.whole and i < rules.n_assets:
        room = math.floor(room)
    room = min(abs(wanted), room)
    return room if wanted > 0.0 else -room


@njit(nogil=True, cache=True, error_model="numpy")
def fill(tables, book, orders, log, rows, rules, k, progress):
    """Execute what can be executed at session k; ``paid`` is NaN where shut.

    No more is traded than the orders' share of a day's volume; the rest waits. What is
    left of a scaled buy waits only while a sell of the same decision does; otherwise
    the scaling settles it.
    """
    remaining = orders.remaining
    M = remaining.size
    live = False
    for i in range(M):
        if remaining[i] != 0.0 and math.isfinite(tables.paid[k, i]):
            live = True
            if not math.isfinite(tables.fx[k, i]):
                progress[WHERE] = i
                return NO_FX
    if not live:
        return DONE
    for i in range(M):
        wanted = remaining[i]
        if not (wanted < 0.0 and math.isfinite(tables.paid[k, i])):
            continue
        units = _within_volume(tables, orders, rules, k, i)
        if units != 0.0:
            word = FILLED if units == wanted else PARTIAL
            code = _trade(
                tables, book, orders, log, rows, rules, k, i, units, wanted, word
            )
            if code != DONE:
                progress[WHERE] = i
                return code
        remaining[i] = wanted - units
    _settle(book, orders, rows, k)
    m = 0
    impact = 0.0
    for i in range(M):
        if not (remaining[i] > 0.0 and math.isfinite(tables.paid[k, i])):
            continue
        units = _within_volume(tables, orders, rules, k, i)
        value = units * tables.paid[k, i] * tables.fx[k, i]
        rate = orders.rates[i]
        if math.isnan(rate):
            progress[WHERE] = i
            return NO_RATE
        orders.which[m] = i
        orders.allowed[m] = units
        orders.worth[m] = value
        orders.fee[m] = rate * value
        orders.least[m] = rules.minimum if i < rules.n_assets else 0.0
        if orders.impact[i] != 0.0:
            impact += orders.impact[i] * value * math.sqrt(value)
        m += 1
    if m == 0:
        return DONE
    f = affordable(
        book.state[CASH] - orders.floor[0],
        orders.worth[:m],
        orders.fee[:m],
        orders.least[:m],
        impact,
    )
    less = PARTIAL if f == 1.0 else SCALED
    for j in range(m):
        i = orders.which[j]
        wanted, units = remaining[i], orders.allowed[j]
        if f != 1.0:
            units *= f
            if rules.whole and i < rules.n_assets:
                units = math.floor(units)
        orders.allowed[j] = units
        if units > 0.0:
            word = FILLED if units == wanted else less
            code = _trade(
                tables, book, orders, log, rows, rules, k, i, units, wanted, word
            )
            if code != DONE:
                progress[WHERE] = i
                return code
    _settle(book, orders, rows, k)
    waits = f == 1.0
    for i in range(M):
        waits |= remaining[i] < 0.0
    for j in range(m):
        i = orders.which[j]
        if waits:
            remaining[i] -= orders.allowed[j]
        elif orders.allowed[j] > 0.0:
            remaining[i] = 0.0
        else:
            _lapse(orders, log, k, i, UNAFFORDABLE)
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _work(tables, book, orders, log, rows, rules, k, progress):
    """One session of waiting orders: fill, or give up."""
    remaining = orders.remaining
    for i in range(remaining.size):
        if remaining[i] != 0.0 and tables.delisted[k, i]:
            _lapse(orders, log, k, i, DELISTED)
    code = fill(tables, book, orders, log, rows, rules, k, progress)
    if code != DONE:
        return code
    orders.numbers[WAITED] += 1
    if orders.numbers[WAITED] >= rules.order_life:
        cancel(orders, log, k, EXPIRED)
    orders.numbers[ACTIVE] = 0
    for i in range(remaining.size):
        if remaining[i] != 0.0:
            orders.numbers[ACTIVE] = 1
            break
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _value(tables, book, k, progress):
    """Net asset value; NaN where a holding has none, which ``progress`` names."""
    total = 0.0
    for i in range(book.units.size):
        u = book.units[i]
        if u != 0.0:
            rate = tables.mark[k, i] * tables.fx[k, i]
            if not math.isfinite(rate):
                progress[WHERE] = i
                return np.nan
            total += u * rate
    return book.state[CASH] + total


@njit(nogil=True, cache=True, error_model="numpy")
def place(
    tables, book, orders, log, rules, k, weights, named, cash_weight, share, progress
):
    """Turn a target into orders at the prices of session k.

    ``weights`` and ``named`` (M,): the target, and the columns that it speaks of;
    ``share`` of the value is invested, the rest pays the proposal's own cost. Orders
    of an earlier decision are replaced.
    """
    value = _value(tables, book, k, progress)
    if math.isnan(value):
        return UNVALUED
    value *= share
    if -cash_weight > rules.max_borrowing + _BORROWED:
        return BORROWED
    M = weights.size
    for i in range(M):
        if book.units[i] != 0.0 and not named[i]:
            progress[WHERE] = i
            return FORGOTTEN
    for i in range(M):
        price = tables.mark[k, i] * tables.fx[k, i]
        if weights[i] != 0.0 and not math.isfinite(price):
            progress[WHERE] = i
            return UNPRICED
    if orders.numbers[ACTIVE]:
        cancel(orders, log, k, REPLACED)
    for i in range(M):
        held = book.units[i]
        orders.most[i] = np.inf
        if weights[i] == 0.0:
            orders.remaining[i] = -held
            continue
        price = tables.mark[k, i] * tables.fx[k, i]
        wanted = weights[i] * value / price
        if rules.whole and i < rules.n_assets:
            # 99.9999999 shares are a hundred that went through a division.
            wanted = float(np.trunc(wanted * (1.0 + 1e-12)))
        rest = wanted - held
        if abs(rest) * price <= _DUST * value:
            rest = 0.0
        orders.remaining[i] = rest
    orders.floor[0] = min(0.0, cash_weight * value)
    orders.numbers[DECIDED] = k
    orders.numbers[WAITED] = 0
    orders.numbers[ACTIVE] = 1
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _open(tables, book, orders, rows, rules, k):
    """Carry the book from session k - 1 to k: splits, prices, currencies, cash."""
    state, units = book.state, book.units
    state[GROSS] = 0.0
    state[NET] = 0.0
    state[FEES] = 0.0
    if k == 0:
        return
    M = units.size
    before = orders.worth  # not in use between fills
    for i in range(M):
        rate = tables.mark[k - 1, i] * tables.fx[k - 1, i]
        before[i] = tables.mark[k - 1, i] if math.isfinite(rate) else 0.0
    for e in range(tables.split_from[k], tables.split_from[k + 1]):
        i, ratio = tables.split_column[e], tables.split_ratio[e]
        before[i] /= ratio
        units[i] *= ratio
        book.basis[i] /= ratio
        orders.remaining[i] *= ratio
    price_pnl = 0.0
    fx_pnl = 0.0
    fees = 0.0
    years = tables.days[k] / _YEAR
    for i in range(M):
        u = units[i]
        if u == 0.0:
            continue
        fx0 = tables.fx[k - 1, i]
        if not math.isfinite(tables.mark[k - 1, i] * fx0):
            fx0 = 0.0
        price, fx = tables.mark[k, i], tables.fx[k, i]
        if not math.isfinite(price * fx):
            price = 0.0
            fx = 0.0
        price_pnl += u * ((price - before[i]) * fx0)
        fx_pnl += u * (price * (fx - fx0))
        # On the value at the close before: what was short over the days since.
        if u < 0.0:
            fees -= u * before[i] * fx0 * book.borrow[i]
    fees *= tables.days[k]
    rows.price_pnl[k] = price_pnl
    rows.fx_pnl[k] = fx_pnl
    earned = tables.base_rate[k - 1] * years
    rows.cash_return[k] = earned
    cash = state[CASH]
    interest = cash * earned
    if cash < 0.0:
        interest += cash * rules.margin * years
    cash += interest
    for i in range(rules.n_assets, M):
        paid = units[i] * tables.rates[k - 1, i] * years
        if paid != 0.0:
            units[i] += paid
            rate = tables.mark[k, i] * tables.fx[k, i]
            interest += paid * tables.fx[k, i] if math.isfinite(rate) else 0.0
    rows.interest[k] = interest
    for e in range(tables.paid_from[k], tables.paid_from[k + 1]):
        i = tables.paid_column[e]
        rate = tables.mark[k, i] * tables.fx[k, i]
        fx = tables.fx[k, i] if math.isfinite(rate) else 0.0
        paid = units[i] * tables.paid_cash[e] * fx
        if units[i] > 0.0:  # a short position owes the lender the whole of it
            paid *= 1.0 - book.withheld[i]
        rows.dividends[k] += paid
        cash += paid
    if fees != 0.0:
        rows.costs[k] += fees
        cash -= fees
    state[FEES] = fees
    state[CASH] = cash


@njit(nogil=True, cache=True, error_model="numpy")
def _close(tables, book, rows, k, progress):
    """Write the row of session k."""
    value = _value(tables, book, k, progress)
    if math.isnan(value):
        return UNVALUED
    rows.value[k] = value
    if not value > 0.0:
        return RUINED
    state = book.state
    rows.cash[k] = state[CASH]
    if state[GROSS] != 0.0:
        # The borrow fee was gone before anything was traded.
        paid = rows.costs[k] - state[FEES] + rows.taxes[k]
        before = value + paid
        rows.turnover[k] = 0.5 * (state[GROSS] + abs(state[NET])) / before
    for i in range(book.units.size):
        u = book.units[i]
        rows.units[k, i] = u
        rows.money[k, i] = u * (tables.mark[k, i] * tables.fx[k, i]) if u != 0.0 else u
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _planned(tables, book, orders, log, rows, plan, rules, named, k, progress):
    """Take the next decision of the plan, and keep the book that it met."""
    j = progress[DECISION]
    weights, cash_weight = plan.weights[j], plan.cash_weight[j]
    value = _value(tables, book, k, progress)
    if math.isnan(value):
        return UNVALUED
    cash = book.state[CASH]
    change = abs(cash_weight - cash / value)
    for i in range(weights.size):
        u = book.units[i]
        plan.held[j, i] = u
        plan.basis[j, i] = book.basis[i]
        rate = tables.mark[k, i] * tables.fx[k, i]
        change += abs(weights[i] - u * rate / value) if u != 0.0 else abs(weights[i])
    plan.cash[j] = cash
    plan.turnover[j] = 0.5 * change
    code = place(
        tables, book, orders, log, rules, k, weights, named, cash_weight, 1.0, progress
    )
    if code == DONE and rules.same_close:
        code = fill(tables, book, orders, log, rows, rules, k, progress)
    return code


@njit(nogil=True, cache=True, error_model="numpy")
def run(tables, book, orders, log, rows, plan, rules, named, progress):
    """Go on from ``progress`` until the end or until the caller is needed.

    Returns DONE, or a code above; ``progress`` (4,) int64 then holds the session, the
    phase at which to go on, the number of the next decision, and the column at fault.
    """
    T, M = tables.mark.shape
    planned = plan.weights.shape[0] > 0
    while progress[SESSION] < T:
        k = progress[SESSION]
        if progress[PHASE] == AT_OPEN:
            if log.count[0] + FILLS_PER_SESSION * M > log.session.size:
                return FULL
            _open(tables, book, orders, rows, rules, k)
            progress[PHASE] = AT_WORK
            act = tables.acts[k]
            for i in range(M):
                if tables.delisted[k, i] and book.units[i] != 0.0:
                    act = True
            if act:
                return ACT
        if progress[PHASE] == AT_WORK:
            if orders.numbers[ACTIVE]:
                code = _work(tables, book, orders, log, rows, rules, k, progress)
                if code != DONE:
                    return code
            progress[PHASE] = AT_CLOSE
            if tables.decides[k]:
                if not planned:
                    return DECIDE
                code = _planned(
                    tables, book, orders, log, rows, plan, rules, named, k, progress
                )
                if code != DONE:
                    return code
                progress[DECISION] += 1
        code = _close(tables, book, rows, k, progress)
        if code != DONE:
            return code
        progress[SESSION] = k + 1
        progress[PHASE] = AT_OPEN
    return DONE
