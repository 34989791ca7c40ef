"""Value of a book rebalanced to given weights, with proportional costs.

At a rebalance the value V' after costs solves

    V' = V - sum_i c_i |t_i V' - h_i|,

h being the money held before and t the target weights: the costs are paid out of the
portfolio and the weights after trading equal the targets exactly. The right side is
piecewise linear and V' - right side is convex and increasing while
sum_i c_i |t_i| < 1, so Newton's method ends after finitely many steps, usually one:
the pass that measures the trades also checks the equation.
With market impact the cost of a trade x is c |x| + k |x|^(3/2): still convex, and
Newton's method from above converges quadratically.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

CONVERGED = 0
NOT_CONVERGED = 1
RUINED = 2

_TOLERANCE = 1e-14
_MAX_STEPS = 64
_SLACK = 1e-12

# Sums may be taken in any order and products fused, or they do not vectorise (four to
# eight times slower). Nothing else: a NaN and a sign stay what they are, and callers
# have checked that every price, weight and cost is finite.
_SUMS = {"reassoc", "contract"}


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMS)
def _after_costs(target, money, total, costs):
    """Value after costs, sum of absolute trades, sum of targets; NaN: no solution."""
    N = target.shape[0]
    after = total
    for _ in range(_MAX_STEPS):
        constant = total
        slope = 1.0
        for i in range(N):
            # Chosen, not branched on: which side it is cannot be predicted.
            c = costs[i] if target[i] * after >= money[i] else -costs[i]
            constant += c * money[i]
            slope += c * target[i]
        step = constant / slope
        moved = abs(step - after)
        after = step
        gross = 0.0
        paid = 0.0
        invested = 0.0
        for i in range(N):
            size = abs(target[i] * after - money[i])
            gross += size
            paid += costs[i] * size
            invested += target[i]
        if (
            moved <= _TOLERANCE * total
            or abs(after + paid - total) <= _TOLERANCE * total
        ):
            return after, gross, invested
    return np.nan, 0.0, 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMS)
def _after_impact(target, money, total, costs, k):
    """As `_after_costs`, with the impact ``k |x|^(3/2)`` of a trade of x."""
    N = target.shape[0]
    after = total
    for _ in range(_MAX_STEPS):
        paid = 0.0
        slope = 1.0
        gross = 0.0
        invested = 0.0
        for i in range(N):
            z = target[i] * after - money[i]
            size = abs(z)
            root = math.sqrt(size)
            rate = costs[i] + 1.5 * k[i] * root
            gross += size
            invested += target[i]
            paid += size * (costs[i] + k[i] * root)
            slope += (rate if z >= 0.0 else -rate) * target[i]
        if not slope > 0.0:
            break
        step = after - (after + paid - total) / slope
        moved = abs(step - after)
        after = step
        if moved <= _TOLERANCE * total:
            return after, gross, invested
    return np.nan, 0.0, 0.0


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMS)
def rebalance_path(
    prices, targets, rows, costs, impact, value, turnover, cost, weights, failed_at
):
    """Fill value, turnover, cost (T,) and weights (T, N); return a status.

    Status 0: done. 1: the cost equation did not converge at row ``failed_at[0]``.
    2: the value fell to zero or below there.

    prices (T, N) positive; targets (R, N); rows (T,) int64: the row of targets to
    trade to at each date, or -1; costs (N,); impact (R, N): the k of ``k |x|^(3/2)``
    for a trade of x in units of the first value, no row for none, row 0 for every
    date where there is one, else the row of the date. Value before the first trade is
    one.
    """
    T, N = prices.shape
    current = 1.0
    cash = 1.0
    money = np.zeros(N)
    for t in range(T):
        out = weights[t]
        total = cash
        if t > 0:
            previous = weights[t - 1]
            now, then = prices[t], prices[t - 1]
            for i in range(N):
                money[i] = current * previous[i] * (now[i] / then[i])
                total += money[i]
        if not total > 0.0:
            failed_at[0] = t
            return RUINED
        r = rows[t]
        if r >= 0:
            target = targets[r]
            if impact.shape[0] == 0:
                after, gross, invested = _after_costs(target, money, total, costs)
            else:
                k = impact[t if impact.shape[0] > 1 else 0]
                after, gross, invested = _after_impact(target, money, total, costs, k)
            if not after > 0.0:
                failed_at[0] = t
                return RUINED if after <= 0.0 else NOT_CONVERGED
            for i in range(N):
                out[i] = target[i]
            net = invested * after - (total - cash)
            turnover[t] = 0.5 * (gross + abs(net)) / total
            cost[t] = total - after
            current = after
            cash = after * (1.0 - invested)
        else:
            for i in range(N):
                out[i] = money[i] / total
            turnover[t] = 0.0
            cost[t] = 0.0
            current = total
        value[t] = current
    return CONVERGED


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMS)
def _outside(target, money, total, cash, width, relative):
    """Whether a weight, or that of cash, is further from its target than its band."""
    count = 0
    invested = 0.0
    for i in range(target.shape[0]):
        half = (width * abs(target[i]) if relative else width) + _SLACK
        count += abs(money[i] - target[i] * total) > half * total
        invested += target[i]
    aim = 1.0 - invested
    half = (width * abs(aim) if relative else width) + _SLACK
    return count > 0 or abs(cash - aim * total) > half * total


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMS)
def _to_edge(target, money, total, cash, width, relative, aim):
    """Fill ``aim`` with the nearest weights inside the band, cash taking its share."""
    N = target.shape[0]
    invested = 0.0
    inside = 0.0
    for i in range(N):
        half = width * abs(target[i]) if relative else width
        aim[i] = min(max(money[i] / total, target[i] - half), target[i] + half)
        inside += aim[i]
        invested += target[i]
    rest = 1.0 - invested
    half = width * abs(rest) if relative else width
    edge = min(max(cash / total, rest - half), rest + half)
    missing = 1.0 - inside - edge
    side = 1.0 if missing > 0.0 else -1.0
    room = side * (rest - edge) + half
    for i in range(N):
        half = width * abs(target[i]) if relative else width
        room += side * (target[i] - aim[i]) + half
    if room > 0.0:
        share = missing / room
        for i in range(N):
            half = width * abs(target[i]) if relative else width
            aim[i] += (side * (target[i] - aim[i]) + half) * share


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_SUMS)
def rebalance_cells(growth, targets, empty, costs, due, choice, bands, value, sums):
    """Fill value (C, T) and sums (C, 5) of C books over the same prices.

    growth (T, N): price over the last, any finite first row; targets (R, N) and
    ``empty`` (R,) bool, rows without a trade; costs (Q, N); due (D, T) bool.
    choice (C, 5) int64: first row of targets, 1 if they go on with the dates or 0,
    row of costs, row of due, and how a band is left: 0 to the edge, 1 to the centre.
    bands (C, 2): half-width, negative for none; positive second entry where it is a
    fraction of the target weight. sums: turnover, costs paid, dates with a trade,
    status (as `rebalance_path`), row of a failure; value is NaN from there on.
    Each book is computed alone: nothing depends on which others are there.
    """
    T, N = growth.shape
    C = value.shape[0]
    money = np.zeros((C, N))
    cash = np.ones(C)
    aim = np.empty(N)
    sums[:] = 0.0
    for t in range(T):
        ratio = growth[t]
        for c in range(C):
            if sums[c, 3] != 0.0:
                value[c, t] = np.nan
                continue
            held = money[c]
            total = cash[c]
            for i in range(N):
                held[i] *= ratio[i]
                total += held[i]
            value[c, t] = total
            if not total > 0.0:
                sums[c, 3], sums[c, 4] = RUINED, t
                value[c, t] = np.nan
                continue
            r = choice[c, 0] + choice[c, 1] * t
            if not due[choice[c, 3], t] or empty[r]:
                continue
            target = targets[r]
            width = bands[c, 0]
            # The first purchase is not a matter of bands.
            if width >= 0.0 and sums[c, 2] > 0.0:
                relative = bands[c, 1] > 0.0
                if not _outside(target, held, total, cash[c], width, relative):
                    continue
                if choice[c, 4] == 0:
                    _to_edge(target, held, total, cash[c], width, relative, aim)
                    target = aim
            after, gross, invested = _after_costs(
                target, held, total, costs[choice[c, 2]]
            )
            if not after > 0.0:
                sums[c, 3], sums[c, 4] = RUINED if after <= 0.0 else NOT_CONVERGED, t
                value[c, t] = np.nan
                continue
            for i in range(N):
                held[i] = target[i] * after
            net = invested * after - (total - cash[c])
            sums[c, 0] += 0.5 * (gross + abs(net)) / total
            sums[c, 1] += total - after
            sums[c, 2] += 1.0
            cash[c] = after * (1.0 - invested)
            value[c, t] = after
