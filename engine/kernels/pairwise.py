"""Covariance of columns with gaps: what the missing cells take away, cell by cell.

With the table centred by column and zero where a value is missing, one symmetric
product gives the sum over all dates. What a pair lacks are the sums of each column
over the dates on which the other is missing, and the number of such dates: both are
sums over missing cells alone.
"""

from __future__ import annotations

from numba import njit

_WIDE = 256  # columns in work at a time: a slice of Z stays in cache
_TILE = 32  # a tile and its mirror image stay in cache


@njit(nogil=True, cache=True, error_model="numpy")
def both_missing(columns, starts, out):
    """Count in out[i, j], i <= j, the dates on which i and j are both missing.

    columns (M,) int64: missing columns, ascending within a date; starts (T + 1,) int64:
    where the columns of each date begin; out (N, N) int32, zero on entry.
    """
    for t in range(starts.shape[0] - 1):
        for a in range(starts[t], starts[t + 1]):
            row = out[columns[a]]
            for b in range(a, starts[t + 1]):
                row[columns[b]] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def sums_where_missing(Z, dates, starts, out):
    """Fill out[i, j] with the sum of Z[:, j] over the dates on which i is missing.

    Z (T, N); dates (M,) int64: missing dates, by column; starts (N + 1,) int64: where
    the dates of each column begin; out (N, N).
    """
    N = Z.shape[1]
    for lo in range(0, N, _WIDE):
        hi = min(lo + _WIDE, N)
        for i in range(N):
            row = out[i, lo:hi]
            row[:] = 0.0
            a, end = starts[i], starts[i + 1]
            while a + 3 < end:  # four dates a turn: a quarter of the traffic of `row`
                one, two = Z[dates[a], lo:hi], Z[dates[a + 1], lo:hi]
                three, four = Z[dates[a + 2], lo:hi], Z[dates[a + 3], lo:hi]
                for j in range(hi - lo):
                    row[j] += (one[j] + two[j]) + (three[j] + four[j])
                a += 4
            while a < end:
                one = Z[dates[a], lo:hi]
                for j in range(hi - lo):
                    row[j] += one[j]
                a += 1


@njit(nogil=True, cache=True, error_model="numpy")
def pairwise_covariance(C, lost, both, gone, total, T, fewest):
    """Turn C, the sums of products over all dates, into covariances, in place.

    ``n_ij = T - gone_i - gone_j + both_ij`` and, with the sums over common dates
    ``s_ij = total_i - lost_ji``, ``C_ij <- (C_ij - s_ij s_ji / n_ij) / (n_ij - 1)``.
    A pair of fewer than two dates is set to zero. fewest (3,) int64: the smallest
    n_ij and its i and j.

    C, lost (N, N) float64; both (N, N) int32, i <= j; gone (N,) int64; total (N,).
    """
    N = C.shape[0]
    fewest[0] = T + 1
    for top in range(0, N, _TILE):
        for left in range(top, N, _TILE):
            for i in range(top, min(top + _TILE, N)):
                for j in range(max(i, left), min(left + _TILE, N)):
                    n = T - gone[i] - gone[j] + both[i, j]
                    if n < fewest[0] or (n == fewest[0] and fewest[1] == fewest[2]):
                        fewest[0], fewest[1], fewest[2] = n, i, j
                    value = 0.0
                    if n > 1:
                        product = (total[i] - lost[j, i]) * (total[j] - lost[i, j])
                        value = (C[i, j] - product / n) / (n - 1)
                    C[i, j] = value
                    C[j, i] = value
