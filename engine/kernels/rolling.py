"""Rolling and decayed covariance, one date after another, in place.

With every observation present a window that drops y and takes in x moves the scatter
about its own mean by exactly two outer products (Welford 1962; Chan, Golub, LeVeque
1983):

    S' = S - W/(W-1) (y - m)(y - m)' + (W-1)/W (x - m_)(x - m_)',

m the mean before and m_ the mean without y. `window_steps` writes the two vectors,
already divided by the root of the divisor, and `slide` adds them. Where observations
are missing each pair keeps its own count and sums over its joint dates (`slide_pairs`).

Rounding adds up along a path. `plan_restarts` bounds it a priori for every column,
from O(N) numbers a date, and says at which dates the matrix must be computed afresh.
"""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def plan_restarts(X, window, step, centred, longest, tolerance, work, starts):
    """Fill ``starts`` with the output dates to compute afresh; return how many.

    X (T, N), NaN where missing. Output date k is the window that ends at row
    ``window - 1 + k * step``; date 0 is always fresh, and no run exceeds ``longest``
    dates. ``centred``: moments about zero. ``work`` (5, N) scratch, ``starts`` (dates,)
    int64.

    Per column, about a reference r: count n, sum s, sum of squares q of the window.
    A step that adds x and drops y rounds the scatter by at most a few units in the
    last place of q + x^2 + y^2, off the diagonal by the geometric mean of two such
    sums (Cauchy-Schwarz). Their total ``error`` may reach ``tolerance`` times the
    scatter q - s^2/n. Where the scatter vanishes (a column that stops moving), any
    error is too much, and the fresh start gives an exact zero.
    """
    T, N = X.shape
    reference, count, total, square, error = work[0], work[1], work[2], work[3], work[4]
    dates = (T - window) // step + 1
    # Two products, two sums, and the rounding of the two vectors themselves.
    unit = 8.0 * 1.1102230246251565e-16
    found = 0
    for k in range(dates):
        end = window - 1 + k * step
        restart = found == 0 or k - starts[found - 1] >= longest
        if not restart:
            for t in range(end - step + 1, end + 1):
                new = X[t]
                old = X[t - window]
                # Three loops: one over all these arrays would not be vectorised.
                for i in range(N):
                    has_x = 1.0 if new[i] == new[i] else 0.0
                    has_y = 1.0 if old[i] == old[i] else 0.0
                    count[i] += has_x - has_y
                for i in range(N):
                    x = new[i] - reference[i]
                    y = old[i] - reference[i]
                    x = x if x == x else 0.0
                    y = y if y == y else 0.0
                    total[i] += x - y
                    square[i] += (x - y) * (x + y)
                for i in range(N):
                    x = new[i] - reference[i]
                    y = old[i] - reference[i]
                    x = x if x == x else 0.0
                    y = y if y == y else 0.0
                    error[i] += unit * (x * x + y * y + abs(square[i]))
            broken = 0
            for i in range(N):
                n = max(count[i], 1.0)
                mean = 0.0 if centred else total[i] / n
                scatter = square[i] - mean * total[i]
                # Not (<=), so that an overflow or a NaN restarts as well.
                broken += not (error[i] <= tolerance * (scatter - error[i]))
            restart = broken > 0
        if restart:
            starts[found] = k
            found += 1
            fresh_moments(X[end - window + 1 : end + 1], centred, work)
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def column_ranges(X, low, high):
    """Fill low, high (N,) with what is not NaN; return whether all of X is finite.

    low and high start at plus and minus infinity. One pass over X (T, N).
    """
    T, N = X.shape
    doubt = 0
    for t in range(T):
        row = X[t]
        for i in range(N):
            low[i] = row[i] if row[i] < low[i] else low[i]
        for i in range(N):
            high[i] = row[i] if row[i] > high[i] else high[i]
        for i in range(N):
            doubt += row[i] - row[i] != 0.0
    return doubt == 0


@njit(nogil=True, cache=True, error_model="numpy")
def fresh_moments(X, centred, work):
    """Fill ``work``: reference, count, sum, sum of squares, and zero error.

    The reference is the mean of what is present in X, or the value itself of a column
    that does not move, so that its moments are exactly zero; zero where all is missing
    and where ``centred`` says that the mean is zero.
    """
    W, N = X.shape
    reference, count, total, square, error = work[0], work[1], work[2], work[3], work[4]
    nan = 0.0 / 0.0
    for i in range(N):
        reference[i] = 0.0 if centred else nan
        count[i] = 0.0
        total[i] = 0.0
        square[i] = 0.0
        error[i] = 0.0
    if not centred:
        for t in range(W):
            row = X[t]
            for i in range(N):
                x = row[i]
                # The first value present is a first reference; its NaN was the mark.
                reference[i] = x if reference[i] != reference[i] else reference[i]
                change = x - reference[i]
                count[i] += 1.0 if x == x else 0.0
                total[i] += change if x == x else 0.0
                square[i] += 1.0 if change < 0.0 or change > 0.0 else 0.0
        for i in range(N):
            first = reference[i] if count[i] > 0.0 else 0.0
            moved = square[i] > 0.0
            reference[i] = first + total[i] / count[i] if moved else first
            count[i] = 0.0
            total[i] = 0.0
            square[i] = 0.0
    for t in range(W):
        row = X[t]
        for i in range(N):
            x = row[i] - reference[i]
            count[i] += 1.0 if x == x else 0.0
            x = x if x == x else 0.0
            total[i] += x
            square[i] += x * x


@njit(nogil=True, cache=True, error_model="numpy")
def window_steps(X, reference, window, divisor, work, steps):
    """Fill the scaled vectors of the rank-two update at rows ``window`` to the end.

    X (R, N) finite, its first ``window`` rows the window of a fresh start; reference
    (N,); ``steps`` (R - window, 2, N): what enters and what leaves. ``work`` (2, N)
    scratch: the sum of the window about the reference, and what its additions rounded
    away (Neumaier 1974), so that the mean of a window does not depend on what has
    passed through it.
    """
    R, N = X.shape
    total, lost = work[0], work[1]
    W = float(window)
    grow = ((W - 1.0) / (W * divisor)) ** 0.5
    shrink = (W / ((W - 1.0) * divisor)) ** 0.5
    for i in range(N):
        total[i] = 0.0
        lost[i] = 0.0
    for t in range(window):
        row = X[t]
        for i in range(N):
            x = row[i] - reference[i]
            s = total[i] + x
            back = s - total[i]
            lost[i] += (total[i] - (s - back)) + (x - back)
            total[i] = s
    for k in range(R - window):
        new = X[window + k]
        old = X[k]
        a = steps[k, 0]
        b = steps[k, 1]
        # TwoSum (Knuth) of the sum with -y, then with x. Two loops, because a loop over
        # more arrays is not vectorised.
        for i in range(N):
            y = old[i] - reference[i]
            s = total[i]
            b[i] = shrink * (y - (s + lost[i]) / W)
            r = s - y
            back = r - s
            lost[i] += (s - (r - back)) + (-y - back)
            total[i] = r
        for i in range(N):
            x = new[i] - reference[i]
            r = total[i]
            a[i] = grow * (x - (r + lost[i]) / (W - 1.0))
            s = r + x
            back = s - r
            lost[i] += (r - (s - back)) + (x - back)
            total[i] = s


@njit(nogil=True, cache=True, error_model="numpy")
def slide(S, steps, start, stop):
    """Move S (N, N) in place by the steps ``start`` to ``stop``, both halves.

    ``steps`` (R, 2, N): outer products of the first are added, of the second taken off.
    Products commute, so S stays symmetric to the last bit.
    """
    N = S.shape[0]
    for k in range(start, stop):
        a = steps[k, 0]
        b = steps[k, 1]
        for i in range(N):
            p = a[i]
            q = b[i]
            row = S[i]
            for j in range(N):
                row[j] += p * a[j] - q * b[j]


@njit(nogil=True, cache=True, error_model="numpy")
def slide_lower(S, steps, start, stop):
    """Same as `slide` on the lower half, diagonal included; the rest is not touched."""
    N = S.shape[0]
    for k in range(start, stop):
        a = steps[k, 0]
        b = steps[k, 1]
        for i in range(N):
            p = a[i]
            q = b[i]
            row = S[i]
            for j in range(i + 1):
                row[j] += p * a[j] - q * b[j]


@njit(nogil=True, cache=True, error_model="numpy")
def slide_path(out, steps):
    """Fill out[1:] (D, N, N) from out[0], one step a date.

    The row is the inner unit and a few dates the middle one: a row read back for the
    next date is still in the first cache.
    """
    D, N = out.shape[0], out.shape[1]
    for first in range(1, D, 4):
        last = min(first + 4, D)
        for i in range(N):
            for k in range(first, last):
                a = steps[k - 1, 0]
                b = steps[k - 1, 1]
                p = a[i]
                q = b[i]
                before = out[k - 1, i]
                row = out[k, i]
                for j in range(N):
                    row[j] = before[j] + (p * a[j] - q * b[j])


@njit(nogil=True, cache=True, error_model="numpy")
def slide_pairs(counts, sums, products, Z, M, start, stop, window):
    """Move the moments of every pair by the rows ``start`` to ``stop`` entering.

    Z (R, N) observations about a reference, zero where missing; M (R, N) one where
    present, else zero. Over the joint dates of a pair (i, j): ``counts`` (N, N), the
    sum of i ``sums[0]`` and of j ``sums[1]``, and ``products``.
    """
    N = Z.shape[1]
    for t in range(start, stop):
        x = Z[t]
        y = Z[t - window]
        has_x = M[t]
        has_y = M[t - window]
        for i in range(N):
            p = x[i]
            q = y[i]
            e = has_x[i]
            f = has_y[i]
            row = counts[i]
            for j in range(N):
                row[j] += e * has_x[j] - f * has_y[j]
            row = sums[0, i]
            for j in range(N):
                row[j] += p * has_x[j] - q * has_y[j]
            row = sums[1, i]
            for j in range(N):
                row[j] += e * x[j] - f * y[j]
            row = products[i]
            for j in range(N):
                row[j] += p * x[j] - q * y[j]


@njit(nogil=True, cache=True, error_model="numpy")
def pairs_covariance(counts, sums, products, minimum, ddof, centred, out):
    """Fill out (N, N): each pair about its own joint mean, NaN below ``minimum``.

    Returns the number of pairs below. ``centred``: the mean is zero, divisor n.
    """
    N = out.shape[0]
    short = 0
    nan = 0.0 / 0.0
    for i in range(N):
        row = out[i]
        for j in range(N):
            n = counts[i, j]
            enough = n >= minimum
            short += not enough
            n = n if enough else 1.0
            m = 0.0 if centred else sums[0, i, j] * sums[1, i, j] / n
            d = n if centred else n - ddof
            row[j] = (products[i, j] - m) / d if enough else nan
    return short


@njit(nogil=True, cache=True, error_model="numpy")
def decay(S, keep, vectors, start, stop):
    """``S = keep[k] S + v_k v_k'`` in place for k from ``start`` to ``stop``."""
    N = S.shape[0]
    for k in range(start, stop):
        v = vectors[k]
        c = keep[k]
        for i in range(N):
            p = v[i]
            row = S[i]
            for j in range(N):
                row[j] = c * row[j] + p * v[j]


@njit(nogil=True, cache=True, error_model="numpy")
def decay_path(out, keep, vectors):
    """Fill out[1:] (D, N, N) from out[0]: one step of `decay` a date."""
    D, N = out.shape[0], out.shape[1]
    for first in range(1, D, 4):
        last = min(first + 4, D)
        for i in range(N):
            for k in range(first, last):
                v = vectors[k - 1]
                c = keep[k - 1]
                p = v[i]
                before = out[k - 1, i]
                row = out[k, i]
                for j in range(N):
                    row[j] = c * before[j] + p * v[j]
