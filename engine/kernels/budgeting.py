"""Risk budgeting by cyclical coordinate descent, dense and in factor form.

Minimise ``x'Qx / 2 - b' log x`` over x > 0, whose solution has ``x_i (Qx)_i = b_i``
(Spinu 2013): each coordinate in turn goes to the root of its own quadratic
(Griveau-Billion, Richard, Roncalli 2013, eq. 8).
"""

from __future__ import annotations

import numpy as np
from numba import njit

_TILE = 32


@njit(
    nogil=True,
    cache=True,
    error_model="numpy",
    # A dot product vectorises only if it may be reordered; its input is finite.
    fastmath={"reassoc", "contract"},
)
def _dot(a, b):
    total = 0.0
    for j in range(a.size):
        total += a[j] * b[j]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _root(q, g, b):
    """Positive root of ``q x^2 + g x - b``, without cancellation."""
    s = np.sqrt(g * g + 4.0 * q * b)
    return 2.0 * b / (s + g) if g > 0.0 else (s - g) / (2.0 * q)


@njit(nogil=True, cache=True, error_model="numpy")
def budget_dense(Q, b, x, tolerance, most):
    """Improve x in place; return the sweeps made, or -1 after ``most``. No checks.

    Q (N, N) symmetric, positive diagonal; b (N,) and x (N,) positive. Stops when every
    contribution, met in turn, was within ``tolerance`` of its budget, relatively.
    """
    for sweep in range(most):
        worst = 0.0
        for i in range(b.size):
            slope = _dot(Q[i], x)
            worst = max(worst, abs(x[i] * slope / b[i] - 1.0))
            x[i] = _root(Q[i, i], slope - Q[i, i] * x[i], b[i])
        if worst <= tolerance:
            return sweep + 1
    return -1


@njit(nogil=True, cache=True, error_model="numpy")
def budget_factor(A, d, b, x, tolerance, most):
    """Improve x for ``Q = A A' + diag(d)`` as `budget_dense` does, in O(N K) a sweep.

    A (N, K), d (N,) with every variance positive. ``A'x`` is summed anew each sweep.
    """
    f = np.empty(A.shape[1])
    for sweep in range(most):
        f[:] = 0.0
        for i in range(b.size):
            for k in range(f.size):
                f[k] += A[i, k] * x[i]
        worst = 0.0
        for i in range(b.size):
            q = _dot(A[i], A[i]) + d[i]
            slope = _dot(A[i], f) + d[i] * x[i]
            worst = max(worst, abs(x[i] * slope / b[i] - 1.0))
            new = _root(q, slope - q * x[i], b[i])
            for k in range(f.size):
                f[k] += A[i, k] * (new - x[i])
            x[i] = new
        if worst <= tolerance:
            return sweep + 1
    return -1


@njit(nogil=True, cache=True, error_model="numpy")
def symmetry(Q):
    """Largest entry and largest difference from the transpose, in absolute value.

    In tiles, so that the transpose is read from the cache. NaN if any entry is.
    """
    n = Q.shape[0]
    largest, difference = 0.0, 0.0
    total = 0.0
    for top in range(0, n, _TILE):
        for left in range(0, top + 1, _TILE):
            for i in range(top, min(top + _TILE, n)):
                for j in range(left, min(left + _TILE, i + 1)):
                    a, b = Q[i, j], Q[j, i]
                    total += a - a + b - b  # NaN where either is not finite
                    largest = max(largest, abs(a))
                    difference = max(difference, abs(a - b))
    return largest + total, difference


@njit(nogil=True, cache=True, error_model="numpy")
def correlation_single(Q, inverse, margin, out):
    """Write the upper triangle of the correlation to out, single precision. No checks.

    Q (N, N); inverse (N,) of the volatilities; margin is taken off the unit diagonal.
    """
    for i in range(Q.shape[0]):
        out[i, i] = 1.0 - margin
        for j in range(i + 1, Q.shape[0]):
            out[i, j] = Q[i, j] * inverse[i] * inverse[j]
