"""Score-driven covariance: a rank-one update of a matrix and of its inverse a day."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def student_t_updates(X, decay, dof, scale, inverse, weights, product):
    """Run the rows of X through ``O <- l O + (1 - l) w r r'``, in place.

    ``w = (nu + N) / (nu + r' O^-1 r)`` with O before the row. The inverse follows by
    Sherman and Morrison (1950). No checks.

    X (T, N); scale, inverse (N, N) symmetric, updated in full; weights (T,) out;
    product (N,) scratch.
    """
    T, N = X.shape
    for t in range(T):
        d = 0.0
        for i in range(N):
            s = 0.0
            row = inverse[i]
            for j in range(N):
                s += row[j] * X[t, j]
            product[i] = s
            d += s * X[t, i]
        w = (dof + N) / (dof + d)
        weights[t] = w
        a = (1.0 - decay) * w
        b = a / decay
        c = b / (1.0 + b * d) / decay
        for i in range(N):
            ax = a * X[t, i]
            cp = c * product[i]
            up = scale[i]
            down = inverse[i]
            for j in range(N):
                up[j] = decay * up[j] + ax * X[t, j]
                down[j] = down[j] / decay - cp * product[j]
