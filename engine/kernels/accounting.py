"""Value of a book rebalanced to given weights, with proportional costs.

At a rebalance the value V' after costs solves

    V' = V - sum_i c_i |t_i V' - h_i|,

h being the money held before and t the target weights: the costs are paid out of the
portfolio and the weights after trading equal the targets exactly. The right side is
piecewise linear and V' - right side is convex and increasing while
sum_i c_i |t_i| < 1, so Newton's method ends after finitely many steps, usually two.
With market impact the cost of a trade x is c |x| + k |x|^(3/2): still convex, and
Newton's method from above converges quadratically.
"""

from __future__ import annotations

import math

from numba import njit

CONVERGED = 0
NOT_CONVERGED = 1
RUINED = 2

_TOLERANCE = 1e-14
_MAX_STEPS = 64


@njit(nogil=True, cache=True, error_model="numpy")
def rebalance_path(
    prices, targets, rows, costs, value, turnover, cost, weights, failed_at
):
    """Fill value, turnover, cost (T,) and weights (T, N); return a status.

    Status 0: done. 1: the cost equation did not converge at row ``failed_at[0]``.
    2: the value fell to zero or below there.

    prices (T, N) positive; targets (R, N); rows (T,) int64: the row of targets to
    trade to at each date, or -1; costs (N,). Value before the first trade is one.
    """
    T, N = prices.shape
    current = 1.0
    cash = 1.0
    for t in range(T):
        out = weights[t]
        # The weights row holds money until it is divided by the value below.
        total = cash
        if t > 0:
            previous = weights[t - 1]
            before = value[t - 1]
            now, then = prices[t], prices[t - 1]
            # Apart from the sum, which has an order to keep, this vectorises.
            for i in range(N):
                out[i] = before * previous[i] * (now[i] / then[i])
            for i in range(N):
                total += out[i]
        else:
            for i in range(N):
                out[i] = 0.0
        if not total > 0.0:
            failed_at[0] = t
            return RUINED
        current = total
        r = rows[t]
        turnover[t] = 0.0
        cost[t] = 0.0
        if r >= 0:
            target = targets[r]
            after = total
            converged = False
            for _ in range(_MAX_STEPS):
                constant = total
                slope = 1.0
                for i in range(N):
                    # Chosen, not branched on: which side it is cannot be predicted.
                    c = costs[i] if target[i] * after >= out[i] else -costs[i]
                    constant += c * out[i]
                    slope += c * target[i]
                step = constant / slope
                converged = abs(step - after) <= _TOLERANCE * total
                after = step
                if converged:
                    break
            if not converged:
                failed_at[0] = t
                return NOT_CONVERGED
            if not after > 0.0:
                failed_at[0] = t
                return RUINED
            gross = 0.0
            net = 0.0
            invested = 0.0
            for i in range(N):
                z = target[i] * after - out[i]
                gross += abs(z)
                net += z
                out[i] = target[i]
                invested += target[i]
            turnover[t] = 0.5 * (gross + abs(net)) / total
            cost[t] = total - after
            current = after
            cash = after * (1.0 - invested)
        else:
            for i in range(N):
                out[i] /= current
        value[t] = current
    return CONVERGED


@njit(nogil=True, cache=True, error_model="numpy")
def rebalance_path_with_impact(
    prices, targets, rows, costs, impact, value, turnover, cost, weights, failed_at
):
    """As `rebalance_path`, with market impact; a kernel of its own to keep that fast.

    impact (R, N): the k of ``k |x|^(3/2)`` for a trade of x in units of the first
    value; row 0 for every date where R is one, else the row of the date.
    """
    T, N = prices.shape
    current = 1.0
    cash = 1.0
    for t in range(T):
        out = weights[t]
        total = cash
        if t > 0:
            previous = weights[t - 1]
            before = value[t - 1]
            now, then = prices[t], prices[t - 1]
            # Apart from the sum, which has an order to keep, this vectorises.
            for i in range(N):
                out[i] = before * previous[i] * (now[i] / then[i])
            for i in range(N):
                total += out[i]
        else:
            for i in range(N):
                out[i] = 0.0
        if not total > 0.0:
            failed_at[0] = t
            return RUINED
        current = total
        r = rows[t]
        turnover[t] = 0.0
        cost[t] = 0.0
        if r >= 0:
            k = impact[t if impact.shape[0] > 1 else 0]
            target = targets[r]
            after = total
            converged = False
            for _ in range(_MAX_STEPS):
                paid = 0.0
                slope = 1.0
                for i in range(N):
                    z = target[i] * after - out[i]
                    size = abs(z)
                    root = math.sqrt(size)
                    rate = costs[i] + 1.5 * k[i] * root
                    paid += size * (costs[i] + k[i] * root)
                    slope += (rate if z >= 0.0 else -rate) * target[i]
                if not slope > 0.0:
                    break
                step = after - (after + paid - total) / slope
                converged = abs(step - after) <= _TOLERANCE * total
                after = step
                if converged:
                    break
            if not converged:
                failed_at[0] = t
                return NOT_CONVERGED
            if not after > 0.0:
                failed_at[0] = t
                return RUINED
            gross = 0.0
            net = 0.0
            invested = 0.0
            for i in range(N):
                z = target[i] * after - out[i]
                gross += abs(z)
                net += z
                out[i] = target[i]
                invested += target[i]
            turnover[t] = 0.5 * (gross + abs(net)) / total
            cost[t] = total - after
            current = after
            cash = after * (1.0 - invested)
        else:
            for i in range(N):
                out[i] /= current
        value[t] = current
    return CONVERGED
