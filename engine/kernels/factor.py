"""Product-form Cholesky factor of a diagonal plus low rank, in O(N K^2).

``D + p p' = L Delta L'`` has a unit lower L with ``L_ij = p_i beta_j`` below the
diagonal, from sums of positive terms only (Gill, Golub, Murray, Saunders 1974, method
C1; Goldfarb and Scheinberg 2004 for its stability beside a huge or tiny D):

    t_j = t_{j-1} + p_j^2 / d_j,  t_0 = 1
    delta_j = d_j t_j / t_{j-1},  beta_j = p_j / (d_j t_j)

A further column q is first carried through the factors found so far,
so that K columns give a product of K such L.
"""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def factorise(columns, betas, delta):
    """Turn K columns and a diagonal into the factors of their Cholesky form, in place.

    columns (K, N): the columns on entry, the p of each factor on return; betas (K, N)
    filled; delta (N,): D on entry, positive, Delta on return.
    """
    K, N = columns.shape
    for k in range(K):
        p = columns[k]
        solve_unit(columns[:k], betas[:k], p)
        t = 1.0
        for j in range(N):
            before = t
            t += p[j] * (p[j] / delta[j])
            betas[k, j] = p[j] / delta[j] / t
            delta[j] *= t / before


@njit(nogil=True, cache=True, error_model="numpy")
def solve_unit(columns, betas, x):
    """``x <- L_K^-1 ... L_1^-1 x`` for the unit factors."""
    for k in range(columns.shape[0]):
        total = 0.0
        for i in range(x.shape[0]):
            x[i] -= columns[k, i] * total
            total += betas[k, i] * x[i]


@njit(nogil=True, cache=True, error_model="numpy")
def solve_unit_transpose(columns, betas, x):
    """``x <- L_1'^-1 ... L_K'^-1 x``."""
    for k in range(columns.shape[0] - 1, -1, -1):
        total = 0.0
        for i in range(x.shape[0] - 1, -1, -1):
            x[i] -= betas[k, i] * total
            total += columns[k, i] * x[i]


@njit(nogil=True, cache=True, error_model="numpy")
def apply_unit(columns, betas, x):
    """``x <- L_1 ... L_K x``."""
    for k in range(columns.shape[0] - 1, -1, -1):
        total = 0.0
        for i in range(x.shape[0]):
            old = x[i]
            x[i] += columns[k, i] * total
            total += betas[k, i] * old


@njit(nogil=True, cache=True, error_model="numpy")
def apply_unit_transpose(columns, betas, x):
    """``x <- L_K' ... L_1' x``."""
    for k in range(columns.shape[0]):
        total = 0.0
        for i in range(x.shape[0] - 1, -1, -1):
            old = x[i]
            x[i] += betas[k, i] * total
            total += columns[k, i] * old


@njit(nogil=True, cache=True, error_model="numpy")
def each_row(operation, columns, betas, rows):
    """Run one of the four above (0: solve, 1: solve transpose, 2, 3: apply) by row."""
    for m in range(rows.shape[0]):
        if operation == 0:
            solve_unit(columns, betas, rows[m])
        elif operation == 1:
            solve_unit_transpose(columns, betas, rows[m])
        elif operation == 2:
            apply_unit(columns, betas, rows[m])
        else:
            apply_unit_transpose(columns, betas, rows[m])
