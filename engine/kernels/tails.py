"""Selection of the tail of a loss vector without sorting it.

One pass over the losses copies out those at or above a bound that lies under the
quantile, a few per cent of them; the caller selects among those. The caller picks the
bound from a small sample and checks afterwards that it held; the answer never depends
on the sample, only the time does. The copy writes every loss and moves on only past
the wanted ones: no branch to mispredict.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import numpy as np
from numba import njit

from engine.kernels.random import _as_bits

_U = np.uint64
_INFINITE = _U(0x7FF0000000000000)  # exponent bits of NaN and the infinities

BLOCK = 4096
"""Losses between looks at the room left, and per partial sum: both fit the cache."""

FULL = -1


@njit(nogil=True, cache=True, error_model="numpy")
def collect(losses, low, kept):
    """Copy losses (S,) at or above ``low`` to ``kept``; return (number, number bad).

    Bad is not finite. The number is `FULL` where fewer than `BLOCK` places of
    ``kept`` were left before a block.
    """
    n = 0
    bad = 0
    for start in range(0, losses.size, BLOCK):
        if n > kept.size - BLOCK:
            return FULL, bad
        part = losses[start : start + BLOCK]
        for i in range(part.size):
            bad += (_as_bits(part[i]) & _INFINITE) == _INFINITE
        for i in range(part.size):
            x = part[i]
            kept[n] = x
            n += x >= low
    return n, bad


@njit(nogil=True, cache=True, error_model="numpy")
def collect_weighted(losses, p, low, kept, weight):
    """`collect` with probabilities: return (number, number bad, sum of p).

    Bad is also a probability that is negative (minus zero too) or not finite.
    """
    n = 0
    bad = 0
    mass = 0.0
    for start in range(0, losses.size, BLOCK):
        if n > kept.size - BLOCK:
            return FULL, bad, mass
        part = losses[start : start + BLOCK]
        q = p[start : start + BLOCK]
        for i in range(part.size):
            bad += ((_as_bits(part[i]) & _INFINITE) == _INFINITE) | (
                _as_bits(q[i]) >= _INFINITE
            )
        for i in range(part.size):
            x = part[i]
            kept[n] = x
            weight[n] = q[i]
            n += x >= low
        # Four running sums, because one would wait for each addition.
        a = b = c = d = 0.0
        whole = part.size - part.size % 4
        for i in range(0, whole, 4):
            a += q[i]
            b += q[i + 1]
            c += q[i + 2]
            d += q[i + 3]
        for i in range(whole, part.size):
            a += q[i]
        mass += (a + b) + (c + d)
    return n, bad, mass


@njit(inline="always", error_model="numpy")
def _part(values, weight, low, high, pivot, strict):
    """Move entries under the pivot (at or under it unless ``strict``) to the front.

    Of ``low`` to ``high``, both included. Returns the first place after them, and
    their weight. Every entry is exchanged: no branch to mispredict.
    """
    place = low
    mass = 0.0
    for i in range(low, high + 1):
        x = values[i]
        q = weight[i]
        values[i] = values[place]
        weight[i] = weight[place]
        values[place] = x
        weight[place] = q
        front = x < pivot if strict else x <= pivot
        mass += q * front
        place += front
    return place, mass


@njit(nogil=True, cache=True, error_model="numpy")
def select_weighted(values, weight, below, target):
    """Smallest value whose weight at or under it, plus ``below``, reaches ``target``.

    Quickselect on the weights (median of three); reorders both arrays. Where rounding
    leaves the target unreached, the largest value.
    """
    low = 0
    high = values.size - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        less, smaller = _part(values, weight, low, high, pivot, True)
        if less > low and below + smaller >= target:
            high = less - 1
            continue
        more, equal = _part(values, weight, less, high, pivot, False)
        if below + smaller + equal >= target or more > high:
            return pivot
        below += smaller + equal
        low = more
    return values[low]


@njit(nogil=True, cache=True, error_model="numpy")
def beyond(values, weight, bound):
    """Weight, and weight times value, of the values above ``bound``."""
    mass = 0.0
    total = 0.0
    for i in range(values.size):
        q = weight[i] * (values[i] > bound)
        mass += q
        total += q * values[i]
    return mass, total
