"""Selection of the tail of a loss vector without sorting it.

One pass over the losses, given a bracket ``[low, high]`` that holds the quantile:
what lies above is summed, what lies inside is copied out, what lies below is counted.
The caller picks the bracket from a small sample and checks afterwards that it held;
the answer never depends on the sample, only the time does.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 4096
"""Losses per partial sum: rounding grows with the block, not with the sample."""


@njit(nogil=True, cache=True, error_model="numpy")
def scan(losses, low, high, inside, out):
    """Split equally likely losses at a bracket.

    ``losses`` (S,), ``inside`` (S,) receives those in [low, high]. ``out`` (5,):
    number inside, number below, number above, sum above, number not finite.
    """
    n = losses.shape[0]
    kept = 0
    above = 0
    bad = 0
    total = 0.0
    for start in range(0, n, BLOCK):
        part = 0.0
        for i in range(start, min(n, start + BLOCK)):
            x = losses[i]
            if x >= low:
                if x > high:
                    above += 1
                    part += x
                    if x == np.inf:
                        bad += 1
                else:
                    inside[kept] = x
                    kept += 1
            elif not x > -np.inf:  # NaN, or minus infinity
                bad += 1
        total += part
    out[0] = kept
    out[1] = n - kept - above
    out[2] = above
    out[3] = total
    out[4] = bad


@njit(nogil=True, cache=True, error_model="numpy")
def scan_weighted(losses, p, low, high, inside, weight, out):
    """Split weighted losses at a bracket.

    ``inside`` and ``weight`` (S,) receive losses and probabilities in [low, high].
    ``out`` (6,): number inside, weight below, weight above, weighted sum above,
    number of losses or probabilities that cannot be, sum of probabilities.
    """
    n = losses.shape[0]
    kept = 0
    bad = 0
    mass_below = 0.0
    mass_above = 0.0
    mass_inside = 0.0
    total = 0.0
    for start in range(0, n, BLOCK):
        below = 0.0
        above = 0.0
        middle = 0.0
        part = 0.0
        for i in range(start, min(n, start + BLOCK)):
            x = losses[i]
            q = p[i]
            if not (q >= 0.0 and q < np.inf):
                bad += 1
            if x >= low:
                if x > high:
                    above += q
                    part += q * x
                    if x == np.inf:
                        bad += 1
                else:
                    inside[kept] = x
                    weight[kept] = q
                    middle += q
                    kept += 1
            else:
                below += q
                if not x > -np.inf:
                    bad += 1
        mass_below += below
        mass_above += above
        mass_inside += middle
        total += part
    out[0] = kept
    out[1] = mass_below
    out[2] = mass_above
    out[3] = total
    out[4] = bad
    out[5] = mass_below + mass_inside + mass_above


@njit(nogil=True, cache=True, error_model="numpy")
def select_weighted(values, weight, below, target):
    """Smallest value whose weight at or under it, plus ``below``, reaches ``target``.

    Quickselect on the weights (three-way, median of three); reorders both arrays.
    Where rounding leaves the target unreached, the largest value.
    """
    low = 0
    high = values.shape[0] - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        less = low
        i = low
        more = high
        smaller = 0.0
        equal = 0.0
        while i <= more:
            x = values[i]
            q = weight[i]
            if x < pivot:
                values[i], values[less] = values[less], x
                weight[i], weight[less] = weight[less], q
                smaller += q
                less += 1
                i += 1
            elif x > pivot:
                values[i], values[more] = values[more], x
                weight[i], weight[more] = weight[more], q
                more -= 1
            else:
                equal += q
                i += 1
        if less > low and below + smaller >= target:
            high = less - 1
        elif below + smaller + equal >= target or more == high:
            return pivot
        else:
            below += smaller + equal
            low = more + 1
    return values[low]
