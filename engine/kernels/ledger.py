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
    which: np.ndarray
    worth: np.ndarray
    fee: np.ndarray
    least: np.ndarray
    allowed: np.ndarray


class Log(NamedTuple):
    """Fills, (capacity,) each; ``written`` (1,) says how many."""

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
    written: np.ndarray


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
    """Scalars of a run: ``minimum`` commission, ``margin`` rate a year, order life.

    ``plain`` says that there is one currency, no foreign cash, no tax, no least
    commission, no impact, no limit by volume, no whole shares, and a known rate for
    every column: sessions may then take the short way of `_stretch`.
    """

    n_assets: int
    whole: bool
    same_close: bool
    minimum: float
    margin: float
    max_borrowing: float
    order_life: int
    plain: bool


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
    at = log.written[0]
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
    log.written[0] = at + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _lapse(orders, log, k, i, status):
    decided = orders.numbers[DECIDED]
    ordered = orders.remaining[i]
    _note(log, k, decided, i, ordered, 0.0, np.nan, 0.0, 0.0, 0.0, status)
    orders.remaining[i] = 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def cancel(orders, log, k, status):
    """End every waiting order at session k, and record that it was."""
    remaining = orders.remaining
    for i in range(remaining.size):
        if remaining[i] != 0.0:
            _lapse(orders, log, k, i, status)
    orders.numbers[ACTIVE] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _charge(units, price, fx, rate, minimum, impact):
    """Value and cost of one trade; the minimum is that of the asset."""
    z = units * price * fx
    size = abs(z)
    cost = rate * size
    if size > 0.0:
        cost = max(cost, minimum)
    if impact != 0.0:
        cost += impact * size * math.sqrt(size)
    return z, cost


@njit(nogil=True, cache=True, error_model="numpy")
def _tax(units, before, price, z, basis, rate):
    """Tax on the gain of what is sold of a long position; NaN without a basis."""
    sold = min(max(-units, 0.0), before)
    if not (sold > 0.0 and rate > 0.0):
        return 0.0
    return rate * max(0.0, 1.0 - basis / price) * max(-z, 0.0) * (sold / -units)


@njit(nogil=True, cache=True, error_model="numpy")
def _average(units, before, after, price, basis):
    """Cost per share after a trade; NaN for what is not held long."""
    if not after > 0.0:
        return np.nan
    if not units > 0.0:
        return basis
    long = max(before, 0.0)
    spent = basis * long if long > 0.0 else 0.0
    return (spent + price * (after - long)) / after


@njit(nogil=True, cache=True, error_model="numpy")
def _within_volume(wanted, most, unit_value, whole):
    """Signed units of what remains that a session's volume has room for."""
    if not math.isfinite(most):
        return wanted
    room = most / unit_value
    if whole:
        room = math.floor(room)
    room = min(abs(wanted), room)
    return room if wanted > 0.0 else -room


@njit(nogil=True, cache=True, error_model="numpy")
def _book(tables, book, orders, log, rows, rules, k, m, less, progress):
    """Book ``allowed[:m]`` units of the columns ``which[:m]`` at session k.

    Positions, cash, average cost, costs, taxes and one fill each. The arrays are taken
    out of their tuples first: reading them there counts references, cell by cell.
    """
    which, allowed, remaining = orders.which, orders.allowed, orders.remaining
    rates, impacts = orders.rates, orders.impact
    paid, fx, mark = tables.paid[k], tables.fx[k], tables.mark[k]
    held, basis, tax_rate = book.units, book.basis, book.tax_rate
    session, decided, column = log.session, log.decided, log.column
    status, ordered, units_of = log.status, log.ordered, log.units
    price_of, value_of, cost_of = log.price, log.value, log.cost
    tax_of = log.tax
    at, day = log.written[0], orders.numbers[DECIDED]
    n_assets, least = rules.n_assets, rules.minimum
    gross = net = costs = taxes = drift = 0.0
    for j in range(m):
        units = allowed[j]
        if units == 0.0:
            continue
        i = which[j]
        price, rate, before = paid[i], fx[i], held[i]
        if math.isnan(rates[i]):
            progress[WHERE] = i
            return NO_RATE
        minimum = least if i < n_assets else 0.0
        z, cost = _charge(units, price, rate, rates[i], minimum, impacts[i])
        tax = _tax(units, before, price, z, basis[i], tax_rate[i])
        if math.isnan(tax):
            progress[WHERE] = i
            return NO_BASIS
        after = before + units
        # A position sold in full must be exactly empty, not 1e-17 of a share.
        if abs(after) <= 1e-12 * abs(units):
            after = 0.0
        basis[i] = _average(units, before, after, price, basis[i])
        held[i] = after
        gross += abs(z)
        net += z
        costs += cost
        taxes += tax
        # Bought at the open, worth something else at the close.
        if math.isfinite(mark[i] * rate):
            drift += (after - before) * ((mark[i] - price) * rate)
        wanted = remaining[i]
        session[at] = k
        decided[at] = day
        column[at] = i
        status[at] = FILLED if units == wanted else less
        ordered[at] = wanted
        units_of[at] = units
        price_of[at] = price
        value_of[at] = z
        cost_of[at] = cost
        tax_of[at] = tax
        at += 1
    log.written[0] = at
    state = book.state
    state[CASH] -= net + costs + taxes
    state[GROSS] += gross
    state[NET] += net
    rows.costs[k] += costs
    rows.taxes[k] += taxes
    rows.price_pnl[k] += drift
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def fill(tables, book, orders, log, rows, rules, k, progress):
    """Execute what can be executed at session k; ``paid`` is NaN where shut.

    No more is traded than the orders' share of a day's volume; the rest waits. What is
    left of a scaled buy waits only while a sell of the same decision does; otherwise
    the scaling settles it.
    """
    remaining, most = orders.remaining, orders.most
    which, allowed = orders.which, orders.allowed
    paid, fx = tables.paid[k], tables.fx[k]
    n_assets, whole = rules.n_assets, rules.whole
    M = remaining.size
    m = 0
    for i in range(M):
        wanted = remaining[i]
        if wanted != 0.0 and math.isfinite(paid[i]):
            if not math.isfinite(fx[i]):
                progress[WHERE] = i
                return NO_FX
            if wanted < 0.0:
                unit = paid[i] * fx[i]
                which[m] = i
                allowed[m] = _within_volume(
                    wanted, most[i], unit, whole and i < n_assets
                )
                m += 1
    if m > 0:
        code = _book(tables, book, orders, log, rows, rules, k, m, PARTIAL, progress)
        if code != DONE:
            return code
        for j in range(m):
            remaining[which[j]] -= allowed[j]
    worth, fee, least = orders.worth, orders.fee, orders.least
    rates, impacts = orders.rates, orders.impact
    m = 0
    impact = 0.0
    waits = False
    for i in range(M):
        wanted = remaining[i]
        waits |= wanted < 0.0
        if not (wanted > 0.0 and math.isfinite(paid[i])):
            continue
        if math.isnan(rates[i]):
            progress[WHERE] = i
            return NO_RATE
        unit = paid[i] * fx[i]
        units = _within_volume(wanted, most[i], unit, whole and i < n_assets)
        value = units * paid[i] * fx[i]
        which[m] = i
        allowed[m] = units
        worth[m] = value
        fee[m] = rates[i] * value
        least[m] = rules.minimum if i < n_assets else 0.0
        if impacts[i] != 0.0:
            impact += impacts[i] * value * math.sqrt(value)
        m += 1
    if m == 0:
        return DONE
    cash = book.state[CASH] - orders.floor[0]
    f = affordable(cash, worth[:m], fee[:m], least[:m], impact)
    if f != 1.0:
        for j in range(m):
            allowed[j] *= f
            if whole and which[j] < n_assets:
                allowed[j] = math.floor(allowed[j])
    less = PARTIAL if f == 1.0 else SCALED
    code = _book(tables, book, orders, log, rows, rules, k, m, less, progress)
    if code != DONE:
        return code
    waits |= f == 1.0
    for j in range(m):
        i = which[j]
        if waits:
            remaining[i] -= allowed[j]
        elif allowed[j] > 0.0:
            remaining[i] = 0.0
        else:
            _lapse(orders, log, k, i, UNAFFORDABLE)
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _work(tables, book, orders, log, rows, rules, k, progress):
    """One session of waiting orders: fill, or give up."""
    remaining, delisted = orders.remaining, tables.delisted[k]
    for i in range(remaining.size):
        if delisted[i] and remaining[i] != 0.0:
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
def _value(mark, fx, units, cash, progress):
    """Net asset value; NaN where a holding has none, which ``progress`` names."""
    total = 0.0
    for i in range(units.size):
        u = units[i]
        if u != 0.0:
            rate = mark[i] * fx[i]
            if not math.isfinite(rate):
                progress[WHERE] = i
                return np.nan
            total += u * rate
    return cash + total


@njit(nogil=True, cache=True, error_model="numpy")
def place(
    tables, book, orders, log, rules, k, weights, named, cash_weight, share, progress
):
    """Turn a target into orders at the prices of session k.

    ``weights`` and ``named`` (M,): the target, and the columns that it speaks of;
    ``share`` of the value is invested, the rest pays the proposal's own cost. Orders
    of an earlier decision are replaced.
    """
    mark, fx, held = tables.mark[k], tables.fx[k], book.units
    value = _value(mark, fx, held, book.state[CASH], progress)
    if math.isnan(value):
        return UNVALUED
    value *= share
    if -cash_weight > rules.max_borrowing + _BORROWED:
        return BORROWED
    M = weights.size
    for i in range(M):
        if held[i] != 0.0 and not named[i]:
            progress[WHERE] = i
            return FORGOTTEN
    for i in range(M):
        if weights[i] != 0.0 and not math.isfinite(mark[i] * fx[i]):
            progress[WHERE] = i
            return UNPRICED
    if orders.numbers[ACTIVE]:
        cancel(orders, log, k, REPLACED)
    remaining, most = orders.remaining, orders.most
    n_assets, whole = rules.n_assets, rules.whole
    for i in range(M):
        most[i] = np.inf
        if weights[i] == 0.0:
            remaining[i] = -held[i]
            continue
        price = mark[i] * fx[i]
        wanted = weights[i] * value / price
        if whole and i < n_assets:
            # 99.9999999 shares are a hundred that went through a division.
            wanted = float(np.trunc(wanted * (1.0 + 1e-12)))
        rest = wanted - held[i]
        if abs(rest) * price <= _DUST * value:
            rest = 0.0
        remaining[i] = rest
    orders.floor[0] = min(0.0, cash_weight * value)
    orders.numbers[DECIDED] = k
    orders.numbers[WAITED] = 0
    orders.numbers[ACTIVE] = 1
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _open(tables, book, orders, rows, rules, k):
    """Carry the book from session k - 1 to k: splits, prices, currencies, cash."""
    state, units, borrow = book.state, book.units, book.borrow
    state[GROSS] = 0.0
    state[NET] = 0.0
    state[FEES] = 0.0
    if k == 0:
        return
    M = units.size
    mark, fx = tables.mark[k], tables.fx[k]
    old_mark, old_fx = tables.mark[k - 1], tables.fx[k - 1]
    before = orders.worth  # not in use between fills
    for i in range(M):
        before[i] = old_mark[i] if math.isfinite(old_mark[i] * old_fx[i]) else 0.0
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
        rate0 = old_fx[i] if math.isfinite(old_mark[i] * old_fx[i]) else 0.0
        price, rate = mark[i], fx[i]
        if not math.isfinite(price * rate):
            price = 0.0
            rate = 0.0
        price_pnl += u * ((price - before[i]) * rate0)
        fx_pnl += u * (price * (rate - rate0))
        # On the value at the close before: what was short over the days since.
        if u < 0.0:
            fees -= u * before[i] * rate0 * borrow[i]
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
            interest += paid * fx[i] if math.isfinite(mark[i] * fx[i]) else 0.0
    rows.interest[k] = interest
    for e in range(tables.paid_from[k], tables.paid_from[k + 1]):
        i = tables.paid_column[e]
        rate = fx[i] if math.isfinite(mark[i] * fx[i]) else 0.0
        paid = units[i] * tables.paid_cash[e] * rate
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
    mark, fx, units, state = tables.mark[k], tables.fx[k], book.units, book.state
    value = _value(mark, fx, units, state[CASH], progress)
    if math.isnan(value):
        return UNVALUED
    rows.value[k] = value
    if not value > 0.0:
        return RUINED
    rows.cash[k] = state[CASH]
    if state[GROSS] != 0.0:
        # The borrow fee was gone before anything was traded.
        paid = rows.costs[k] - state[FEES] + rows.taxes[k]
        before = value + paid
        rows.turnover[k] = 0.5 * (state[GROSS] + abs(state[NET])) / before
    kept, money = rows.units[k], rows.money[k]
    for i in range(units.size):
        u = units[i]
        kept[i] = u
        money[i] = u * (mark[i] * fx[i]) if u != 0.0 else u
    return DONE


@njit(nogil=True, cache=True, error_model="numpy")
def _planned(tables, book, orders, log, rows, plan, rules, named, k, progress):
    """Take the next decision of the plan, and keep the book that it met."""
    j = progress[DECISION]
    weights, cash_weight = plan.weights[j], plan.cash_weight[j]
    mark, fx, units, basis = tables.mark[k], tables.fx[k], book.units, book.basis
    cash = book.state[CASH]
    value = _value(mark, fx, units, cash, progress)
    if math.isnan(value):
        return UNVALUED
    change = abs(cash_weight - cash / value)
    held, cost = plan.held[j], plan.basis[j]
    for i in range(weights.size):
        u = units[i]
        held[i] = u
        cost[i] = basis[i]
        now = u * (mark[i] * fx[i]) / value if u != 0.0 else 0.0
        change += abs(weights[i] - now)
    plan.cash[j] = cash
    plan.turnover[j] = 0.5 * change
    code = place(
        tables, book, orders, log, rules, k, weights, named, cash_weight, 1.0, progress
    )
    if code == DONE and rules.same_close:
        code = fill(tables, book, orders, log, rows, rules, k, progress)
    return code


@njit(nogil=True, cache=True, error_model="numpy")
def _settle(
    k,
    mark,
    paid,
    units,
    basis,
    rates,
    remaining,
    floor,
    decided,
    state,
    costs,
    price_pnl,
    session_of,
    decided_of,
    column_of,
    status_of,
    ordered_of,
    units_of,
    price_of,
    value_of,
    cost_of,
    tax_of,
    written,
):
    """Fill all that waits at session k; False, and nothing done, where `fill` must.

    The same sums in the same order as `fill` and `_book`: to the last bit.
    """
    M = units.size
    sold = sell_cost = bought = buy_cost = sell_net = 0.0
    n_sells = 0
    for i in range(M):
        wanted = remaining[i]
        if wanted == 0.0:
            continue
        z = wanted * paid[k, i]
        if not math.isfinite(z):
            return False
        if wanted < 0.0:
            sold += abs(z)
            sell_net += z
            sell_cost += rates[i] * abs(z)
            n_sells += 1
        else:
            bought += z
            buy_cost += rates[i] * z
    cash = state[CASH] - (sell_net + sell_cost)
    if bought > 0.0:
        if bought + buy_cost > cash - floor:
            return False
        cash -= bought + buy_cost
    sell = written[0]
    buy = sell + n_sells
    sell_drift = buy_drift = 0.0
    for i in range(M):
        wanted = remaining[i]
        if wanted == 0.0:
            continue
        price, before = paid[k, i], units[i]
        after = before + wanted
        if abs(after) <= 1e-12 * abs(wanted):
            after = 0.0
        basis[i] = _average(wanted, before, after, price, basis[i])
        units[i] = after
        remaining[i] = 0.0
        z = wanted * price
        drift = 0.0
        if math.isfinite(mark[k, i]):
            drift = (after - before) * (mark[k, i] - price)
        if wanted < 0.0:
            sell_drift += drift
            at = sell
            sell += 1
        else:
            buy_drift += drift
            at = buy
            buy += 1
        session_of[at] = k
        decided_of[at] = decided
        column_of[at] = i
        status_of[at] = FILLED
        ordered_of[at] = wanted
        units_of[at] = wanted
        price_of[at] = price
        value_of[at] = z
        cost_of[at] = rates[i] * abs(z)
        tax_of[at] = 0.0
    written[0] = buy
    state[CASH] = cash
    state[GROSS] += sold
    state[GROSS] += bought
    state[NET] += sell_net
    state[NET] += bought
    costs[k] += sell_cost
    costs[k] += buy_cost
    price_pnl[k] += sell_drift
    price_pnl[k] += buy_drift
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _stretch(tables, book, orders, log, rows, plan, rules, progress):
    """Go through plain sessions of a plan, and stop before what is not plain.

    The short way of `run`: arrays are taken out of their tuples once a stretch, since
    counting references to them costs more than a session of few assets. What it leaves
    is a state that `run` goes on from: at the open, at work or at the close. A session
    with an event, a short position, an asset that ended, a gap in a price that is
    needed, or too little cash is left to `run`, which also words what is wrong.
    """
    mark, paid, gone = tables.mark, tables.paid, tables.delisted
    base_rate, days, decides = tables.base_rate, tables.days, tables.decides
    acts, splits, payments = tables.acts, tables.split_from, tables.paid_from
    units, basis, state = book.units, book.basis, book.state
    remaining, floor, numbers = orders.remaining, orders.floor, orders.numbers
    rates = orders.rates
    session_of, decided_of, column_of = log.session, log.decided, log.column
    status_of, ordered_of, units_of = log.status, log.ordered, log.units
    price_of, value_of, cost_of = log.price, log.value, log.cost
    tax_of, written = log.tax, log.written
    values, cashes, price_pnl, fx_pnl = (
        rows.value,
        rows.cash,
        rows.price_pnl,
        rows.fx_pnl,
    )
    interests, costs, taxes = rows.interest, rows.costs, rows.taxes
    turnovers, cash_returns = rows.turnover, rows.cash_return
    kept, money = rows.units, rows.money
    weights, cash_weights = plan.weights, plan.cash_weight
    plan_held, plan_basis = plan.held, plan.basis
    plan_cash, plan_turnover = plan.cash, plan.turnover
    T, M = mark.shape
    capacity = session_of.size - FILLS_PER_SESSION * M
    for k in range(progress[SESSION], T):
        quiet = splits[k] == splits[k + 1] and payments[k] == payments[k + 1]
        if k == 0 or not quiet or acts[k] or written[0] > capacity:
            return
        pnl = total = 0.0
        good = True
        for i in range(M):
            u = units[i]
            good &= not (gone[k, i] and (u != 0.0 or remaining[i] != 0.0))
            if u != 0.0:
                good &= u > 0.0
                price = mark[k, i]
                pnl += u * (price - mark[k - 1, i])
                total += u * price
        if not (good and math.isfinite(pnl) and math.isfinite(total)):
            return
        years = days[k] / _YEAR
        earned = base_rate[k - 1] * years
        cash = state[CASH]
        interest = cash * earned
        if cash < 0.0:
            interest += cash * rules.margin * years
        state[CASH] = cash + interest
        state[GROSS] = 0.0
        state[NET] = 0.0
        state[FEES] = 0.0
        price_pnl[k] = pnl
        fx_pnl[k] = 0.0
        cash_returns[k] = earned
        interests[k] = interest
        progress[PHASE] = AT_WORK
        if numbers[ACTIVE]:
            if not _settle(
                k,
                mark,
                paid,
                units,
                basis,
                rates,
                remaining,
                floor[0],
                numbers[DECIDED],
                state,
                costs,
                price_pnl,
                session_of,
                decided_of,
                column_of,
                status_of,
                ordered_of,
                units_of,
                price_of,
                value_of,
                cost_of,
                tax_of,
                written,
            ):
                return
            numbers[ACTIVE] = 0
            total = 0.0
            for i in range(M):
                if units[i] != 0.0:
                    total += units[i] * mark[k, i]
        if decides[k]:
            j = progress[DECISION]
            cash, cash_weight = state[CASH], cash_weights[j]
            value = cash + total
            change = abs(cash_weight - cash / value)
            good = -cash_weight <= rules.max_borrowing + _BORROWED
            for i in range(M):
                u, w, price = units[i], weights[j, i], mark[k, i]
                plan_held[j, i] = u
                plan_basis[j, i] = basis[i]
                now = u * price / value if u != 0.0 else 0.0
                change += abs(w - now)
                rest = -u
                if w != 0.0:
                    good &= math.isfinite(price)
                    rest = w * value / price - u
                    if abs(rest) * price <= _DUST * value:
                        rest = 0.0
                remaining[i] = rest
            least = min(0.0, cash_weight * value)
            if good and math.isfinite(change) and rules.same_close:
                good = _settle(
                    k,
                    mark,
                    paid,
                    units,
                    basis,
                    rates,
                    remaining,
                    least,
                    k,
                    state,
                    costs,
                    price_pnl,
                    session_of,
                    decided_of,
                    column_of,
                    status_of,
                    ordered_of,
                    units_of,
                    price_of,
                    value_of,
                    cost_of,
                    tax_of,
                    written,
                )
            if not (good and math.isfinite(change)):
                remaining[:] = 0.0
                return
            plan_cash[j] = cash
            plan_turnover[j] = 0.5 * change
            floor[0] = least
            numbers[DECIDED] = k
            numbers[WAITED] = 0
            numbers[ACTIVE] = 0 if rules.same_close else 1
            progress[DECISION] = j + 1
        progress[PHASE] = AT_CLOSE
        total = 0.0
        for i in range(M):
            u = units[i]
            worth = u * mark[k, i] if u != 0.0 else u
            kept[k, i] = u
            money[k, i] = worth
            total += worth
        value = state[CASH] + total
        if not (math.isfinite(value) and value > 0.0):
            return
        values[k] = value
        cashes[k] = state[CASH]
        if state[GROSS] != 0.0:
            before = value + (costs[k] - state[FEES] + taxes[k])
            turnovers[k] = 0.5 * (state[GROSS] + abs(state[NET])) / before
        progress[SESSION] = k + 1
        progress[PHASE] = AT_OPEN


@njit(nogil=True, cache=True, error_model="numpy")
def run(tables, book, orders, log, rows, plan, rules, named, progress):
    """Go on from ``progress`` until the end or until the caller is needed.

    Returns DONE, or a code above; ``progress`` (4,) int64 then holds the session, the
    phase at which to go on, the number of the next decision, and the column at fault.
    """
    T, M = tables.mark.shape
    planned = plan.weights.shape[0] > 0
    units, ended = book.units, tables.delisted
    acts, decides = tables.acts, tables.decides
    while progress[SESSION] < T:
        if rules.plain and planned and progress[PHASE] == AT_OPEN:
            _stretch(tables, book, orders, log, rows, plan, rules, progress)
            if progress[SESSION] == T:
                break
        k = progress[SESSION]
        if progress[PHASE] == AT_OPEN:
            if log.written[0] + FILLS_PER_SESSION * M > log.session.size:
                return FULL
            _open(tables, book, orders, rows, rules, k)
            progress[PHASE] = AT_WORK
            act = acts[k]
            for i in range(M):
                act |= ended[k, i] and units[i] != 0.0
            if act:
                return ACT
        if progress[PHASE] == AT_WORK:
            if orders.numbers[ACTIVE]:
                code = _work(tables, book, orders, log, rows, rules, k, progress)
                if code != DONE:
                    return code
            progress[PHASE] = AT_CLOSE
            if decides[k]:
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
