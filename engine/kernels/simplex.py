"""Least squares on the simplex from matrices of products, many problems at once.

Minimise ``w'Gw`` over ``w >= 0``, ``sum w = 1``. With ``u >= 0``, the minimum of
``u'Gu + (1'u - 1)^2`` lies at ``u = s w``, so that the active-set method of Lawson and
Hanson (1974, chapter 23) for nonnegative least squares applies; on a set P of free
variables its solution is ``z / (1 + 1'z)`` with ``G_PP z = 1``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SOLVED = 0
STUCK = 1
SINGULAR = 2

_TOLERANCE = 1e-12
_STEPS_PER_VARIABLE = 30


@njit(nogil=True, cache=True, error_model="numpy")
def _solve(A, free, n, L, z):
    """Fill z[:n] with the unconstrained solution on ``free``; False if singular."""
    for i in range(n):
        for j in range(i + 1):
            x = A[free[i], free[j]]
            for k in range(j):
                x -= L[i, k] * L[j, k]
            if j < i:
                L[i, j] = x / L[j, j]
            elif x > 0.0:
                L[i, i] = np.sqrt(x)
            else:
                return False
    for i in range(n):
        x = 1.0
        for k in range(i):
            x -= L[i, k] * z[k]
        z[i] = x / L[i, i]
    scale = 1.0
    for i in range(n - 1, -1, -1):
        x = z[i]
        for k in range(i + 1, n):
            x -= L[k, i] * z[k]
        z[i] = x / L[i, i]
        scale += z[i]
    for i in range(n):
        z[i] /= scale
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _steepest(A, u, free, n, closed):
    """Variable outside ``free`` that helps most, or -1 at the minimum."""
    total = 0.0
    for i in range(n):
        total += u[free[i]]
    enter, best = -1, _TOLERANCE
    for j in range(u.size):
        if not closed[j]:
            g = 1.0 - total
            for i in range(n):
                g -= A[j, free[i]] * u[free[i]]
            if g > best:
                enter, best = j, g
    return enter


@njit(nogil=True, cache=True, error_model="numpy")
def _minimise(A, start, u, z, L, free, closed):
    """Fill ``u`` with the minimum for one matrix; return a status.

    start (n,) int64: variables to begin with, less those that are not free together;
    the minimum does not depend on it.
    """
    K = u.size
    u[:] = 0.0
    closed[:] = False
    n, steps, kept = start.size, 0, 0
    for i in range(n):
        free[i] = start[i]
    while n:
        if not _solve(A, free, n, L, z):
            n = 0
            break
        kept = 0
        for i in range(n):
            if z[i] > 0.0:
                free[kept] = free[i]
                kept += 1
        if kept == n:
            break
        n = kept
    for i in range(n):
        u[free[i]] = z[i]
        closed[free[i]] = True
    while True:
        enter = _steepest(A, u, free, n, closed)
        if enter < 0:
            return SOLVED
        free[n] = enter
        closed[enter] = True
        n += 1
        entering = True
        while True:
            steps += 1
            if steps > _STEPS_PER_VARIABLE * K:
                return STUCK
            if not _solve(A, free, n, L, z):
                return SINGULAR
            if entering and z[n - 1] <= 0.0:
                n -= 1  # rounding let it in; it stays closed until a step is made
                break
            entering = False
            step, hit = 1.0, -1
            for i in range(n):
                if z[i] <= 0.0:
                    ratio = u[free[i]] / (u[free[i]] - z[i])
                    if hit < 0 or ratio < step:
                        step, hit = ratio, i
            kept = 0
            for i in range(n):
                j = free[i]
                u[j] += step * (z[i] - u[j])
                if i == hit or u[j] <= 0.0:
                    u[j] = 0.0
                else:
                    free[kept] = j
                    kept += 1
            n = kept
            if hit < 0:
                closed[:] = False
                for i in range(n):
                    closed[free[i]] = True
                break


@njit(nogil=True, cache=True, error_model="numpy")
def simplex_weights(G, start, out, status):
    """Write the minimum on the simplex of each matrix to ``out``. No checks.

    G (B, K, K) symmetric, of order one; start (n,) int64: variables thought to be
    free, none for none; out (B, K); status (B,) int64: 0 solved, 1 too many steps, 2
    not positive definite. Only rows of status 0 are a solution.
    """
    B, K = out.shape
    z, L = np.empty(K), np.empty((K, K))
    free = np.empty(K, np.int64)
    closed = np.empty(K, np.bool_)  # free already, or refused since the last step
    for b in range(B):
        u = out[b]
        status[b] = _minimise(G[b], start, u, z, L, free, closed)
        total = u.sum()
        if status[b] == SOLVED and total > 0.0:
            u /= total


@njit(nogil=True, cache=True, error_model="numpy")
def sample_weights(
    products, sums, with_fund, fund, fund_squared, T, ridge, start, out, status, gap
):
    """As `simplex_weights`, for bootstrap samples of baskets less a fund.

    products (B, K, K), sums (B, K): of the baskets in each sample of T returns;
    with_fund (B, K), fund, fund_squared (B,): sums of products with the fund, of the
    fund, and of its squares. The matrices are scaled to a mean diagonal of one, and
    ``ridge`` added to it. gap (B,): what the objective may exceed its minimum by.
    """
    B, K = out.shape
    z, L, A = np.empty(K), np.empty((K, K)), np.empty((K, K))
    free = np.empty(K, np.int64)
    closed = np.empty(K, np.bool_)
    at = np.empty(K)
    for b in range(B):
        trace = 0.0
        for i in range(K):
            at[i] = sums[b, i] - fund[b]
            x = products[b, i, i] - 2.0 * with_fund[b, i] + fund_squared[b]
            trace += x - at[i] * at[i] / T
        scale = K / trace
        for i in range(K):
            for j in range(i + 1):
                x = products[b, i, j] - with_fund[b, i] - with_fund[b, j]
                x = (x + fund_squared[b] - at[i] * at[j] / T) * scale
                A[i, j] = x
                A[j, i] = x
            A[i, i] += ridge
        u = out[b]
        status[b] = _minimise(A, start, u, z, L, free, closed)
        total = u.sum()
        if status[b] == SOLVED and total > 0.0:
            u /= total
        least, mean = np.inf, 0.0
        for i in range(K):
            slope = 0.0
            for j in range(K):
                slope += A[i, j] * u[j]
            mean += u[i] * slope
            least = min(least, slope)
        gap[b] = mean - least
