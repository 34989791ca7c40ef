"""Growth of assets and books along simulated paths, filled straight into the result.

Each kernel takes the draws of one block and writes growth (one plus the simple return,
less ``minus``) where it will stay, with the column sums that centring needs: one pass
over the scenarios instead of five. The exponential is a polynomial because the library
call does not vectorise; its fused multiply-adds are written out (see `random`), so a
row has the same bits wherever it stands in a block.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import numpy as np
from numba import njit

from engine.kernels.random import _as_bits, _as_double, _fma

_U = np.uint64

DONE = 0
RUINED = 1


@njit(inline="always", error_model="numpy")
def _exp(x):
    """e**x by 2**k times a Taylor polynomial on |r| <= ln(2)/2, error under 2 ulp.

    Below -708 the answer stays at e**-708; above 709 it is infinite.
    """
    y = max(x, -708.0)
    # Adding 1.5 * 2**52 rounds to an integer and leaves it in the low bits.
    t = _fma(y, 1.4426950408889634, 6755399441055744.0)
    k = t - 6755399441055744.0
    r = _fma(-k, 6.93147180369123816490e-01, y)
    r = _fma(-k, 1.90821492927058770002e-10, r)
    p = _fma(r, 1.6059043836821613e-10, 2.08767569878681e-09)
    p = _fma(r, p, 2.505210838544172e-08)
    p = _fma(r, p, 2.755731922398589e-07)
    p = _fma(r, p, 2.7557319223985893e-06)
    p = _fma(r, p, 2.48015873015873e-05)
    p = _fma(r, p, 1.984126984126984e-04)
    p = _fma(r, p, 1.3888888888888889e-03)
    p = _fma(r, p, 8.333333333333333e-03)
    p = _fma(r, p, 4.1666666666666664e-02)
    p = _fma(r, p, 0.16666666666666666)
    p = _fma(r, p, 0.5)
    p = _fma(r * r, p, r) + 1.0
    value = _as_double(_as_bits(p) + (_as_bits(t) << _U(52)))
    return np.inf if x > 709.0 else value


@njit(nogil=True, cache=True, error_model="numpy")
def exponentials(x, out):
    """Fill out (n,) with e**x."""
    for i in range(x.size):
        out[i] = _exp(x[i])


@njit(nogil=True, cache=True, error_model="numpy")
def grow(y, z, specific, first, mean, scale, cash, simple, minus, out, sums):
    """Growth from normal draws: fill out (n, H, N + 1) and sums (H, N + 1).

    y (rows, N) common part, z (rows, first + N) whose columns from ``first`` times
    specific (N,) are added where specific is not empty; mean (N,) per step; scale
    (n, H) standard deviation of the step; cash (H,) growth of the last column. Sums
    are of growth itself. ``simple``: growth is one plus the draw, for one step.
    """
    n, H = out.shape[0], out.shape[1]
    N = mean.size
    total = np.empty(N)
    factor = specific.size > 0
    for s in range(n):
        for t in range(H):
            row = s * H + t
            c = scale[s, t]
            if factor:
                for i in range(N):
                    x = mean[i] + c * (y[row, i] + specific[i] * z[row, first + i])
                    total[i] = x if t == 0 else total[i] + x
            else:
                for i in range(N):
                    x = mean[i] + c * y[row, i]
                    total[i] = x if t == 0 else total[i] + x
            if simple:
                for i in range(N):
                    g = 1.0 + total[i]
                    sums[t, i] += g
                    out[s, t, i] = g - minus
            else:
                for i in range(N):
                    g = _exp(total[i])
                    sums[t, i] += g
                    out[s, t, i] = g - minus
            sums[t, N] += cash[t]
            out[s, t, N] = cash[t] - minus


@njit(nogil=True, cache=True, error_model="numpy")
def compound(logs, steps, cash, minus, out, sums):
    """Growth from log returns per session: fill out (n, H, N + 1) and sums.

    logs (n, periods, N); H is ``periods``, or 1 for the horizon alone; steps is the
    number of periods; cash (H,).
    """
    n, H = out.shape[0], out.shape[1]
    N = logs.shape[2]
    total = np.empty(N)
    for s in range(n):
        total[:] = 0.0
        for t in range(steps):
            for i in range(N):
                total[i] += logs[s, t, i]
            at = t if H > 1 else 0
            if H > 1 or t == steps - 1:
                for i in range(N):
                    g = _exp(total[i])
                    sums[at, i] += g
                    out[s, at, i] = g - minus
                sums[at, N] += cash[at]
                out[s, at, N] = cash[at] - minus


@njit(nogil=True, cache=True, error_model="numpy")
def centre(out, ratio):
    """Replace growth (n, H, M) by growth * ratio (H, M) - 1, in place."""
    n, H, M = out.shape
    for s in range(n):
        for t in range(H):
            for i in range(M):
                out[s, t, i] = out[s, t, i] * ratio[t, i] - 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def block_rows(uniforms, T, block, stationary, out):
    """Row numbers of a block bootstrap: fill out (n, H) with numbers below T.

    uniforms (n, H, 2): whether a block ends, and where the next one starts. Rows wrap
    from the last to the first. Stationary: blocks end with probability 1 / block;
    circular: after ``block`` rows.
    """
    n, H = out.shape
    for s in range(n):
        row = 0
        for t in range(H):
            if stationary:
                fresh = t == 0 or uniforms[s, t, 0] * block < 1.0
            else:
                fresh = t % int(block) == 0
            if fresh:
                row = min(int(uniforms[s, t, 1] * T), T - 1)
            else:
                row = row + 1 if row + 1 < T else 0
            out[s, t] = row


@njit(nogil=True, cache=True, error_model="numpy")
def take_rows(X, rows, out):
    """Whole cross-sections: out (n, H, N) from X (T, N) and rows (n, H)."""
    n, H = rows.shape
    for s in range(n):
        for t in range(H):
            for i in range(X.shape[1]):
                out[s, t, i] = X[rows[s, t], i]


@njit(nogil=True, cache=True, error_model="numpy")
def filtered(Z, rows, mean, variance, omega, alpha, beta, out):
    """Filtered returns: out (n, H, N), the variance updated along each path.

    Z (T, N) standardised residuals drawn by rows (n, H); variance (N,) of the first
    step; v' = omega + alpha e**2 + beta v with e = sqrt(v) z.
    """
    n, H = rows.shape
    N = mean.size
    v = np.empty(N)
    for s in range(n):
        v[:] = variance
        for t in range(H):
            row = rows[s, t]
            for i in range(N):
                e = np.sqrt(v[i]) * Z[row, i]
                out[s, t, i] = mean[i] + e
                v[i] = omega[i] + alpha[i] * e * e + beta[i] * v[i]


@njit(nogil=True, cache=True, error_model="numpy")
def book_values(paths, weights, costs, every, value):
    """Value of a book along each path, starting at one: fill value (S, H).

    Returns (status, scenario): 0 done; 1 the value before a rebalance is not positive.
    paths (S, H, N) cumulative simple returns; weights (N,), what they leave of one
    earns nothing; costs (N,) per unit traded; every: sessions between rebalances to
    the weights, 0 for never. No rebalance after the last session. The value V' after
    costs solves V' = V - sum_i c_i |w_i V' - h_i|, a contraction.
    """
    S, H, N = paths.shape
    units = np.empty(N)
    idle = 1.0
    for i in range(N):
        idle -= weights[i]
    for s in range(S):
        units[:] = weights
        cash = idle
        for t in range(H):
            total = cash
            for i in range(N):
                total += units[i] * (1.0 + paths[s, t, i])
            if every > 0 and (t + 1) % every == 0 and t + 1 < H:
                if not total > 0.0:
                    return RUINED, s
                after = total
                for _ in range(64):
                    paid = 0.0
                    for i in range(N):
                        held = units[i] * (1.0 + paths[s, t, i])
                        paid += costs[i] * abs(weights[i] * after - held)
                    moved = abs(total - paid - after)
                    after = total - paid
                    if moved <= 1e-15 * total:
                        break
                if not after > 0.0:
                    return RUINED, s
                for i in range(N):
                    units[i] = weights[i] * after / (1.0 + paths[s, t, i])
                cash = idle * after
                total = after
            value[s, t] = total
    return DONE, 0


@njit(nogil=True, cache=True, error_model="numpy")
def deepest(value, out):
    """Largest fall from a running peak that starts at one: out (S,) from (S, H)."""
    for s in range(value.shape[0]):
        peak = 1.0
        worst = 0.0
        for t in range(value.shape[1]):
            v = value[s, t]
            peak = max(peak, v)
            worst = max(worst, 1.0 - v / peak)
        out[s] = worst


@njit(nogil=True, cache=True, error_model="numpy")
def products(z, scale, mean, deviation, out):
    """1 - prod_t (1 + mean + deviation * scale * z): out (n,), z (H, n), scale (H, n).

    An empty scale stands for ones. Sessions are rows, so that the loop over scenarios
    vectorises.
    """
    H, n = z.shape
    mixed = scale.size > 0
    for s in range(n):
        out[s] = 1.0
    for t in range(H):
        if mixed:
            for s in range(n):
                out[s] *= 1.0 + mean + deviation * scale[t, s] * z[t, s]
        else:
            for s in range(n):
                out[s] *= 1.0 + mean + deviation * z[t, s]
    for s in range(n):
        out[s] = 1.0 - out[s]
