"""Value at risk and the sum beyond it for large samples, in one pass, without a sort.

A strided sample gives a bound under the quantile; one pass copies out the few per cent
above it; the order statistic is selected among those. The bound is checked against the
counts of the whole sample: where it missed (losses in an order that fools a stride) the
caller sorts. The answer is the same either way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._typing import Vector

SMALLEST = 20_000
"""Below this a partition takes tens of microseconds: nothing to gain."""
_SAMPLE = 4096
_SPREAD = 5.0  # standard deviations of a sample quantile under it


class Selected(NamedTuple):
    """What VaR and ES are made of."""

    var: float
    beyond: float
    """Probability strictly beyond VaR."""
    total: float
    """Probability times loss, summed strictly beyond VaR."""


def select(
    losses: Vector, p: Vector | None, level: float, slack: float
) -> Selected | None:
    """Select VaR; None where the input is bad or the bound missed."""
    if p is None:
        return _equal(losses, level, slack)
    return _weighted(losses, p, level, slack)


def _bound(losses: Vector, p: Vector | None, level: float) -> tuple[float, float]:
    """A loss under the quantile, and the share of the sample at or above it."""
    step = losses.size // _SAMPLE
    sample = losses[: step * _SAMPLE : step]
    if p is None:
        effective = float(sample.size)
        values = np.sort(sample)
        reached = np.arange(1.0, sample.size + 1.0) / sample.size
    else:
        order = np.argsort(sample)
        weight = p[: step * _SAMPLE : step][order]
        mass = float(weight.sum())
        if not 0.0 < mass < np.inf:
            return -np.inf, 1.0
        values = sample[order]
        reached = np.cumsum(weight) / mass
        effective = float(mass**2 / (weight @ weight))
    width = _SPREAD * np.sqrt(level * (1.0 - level) / effective) + 2.0 / effective
    low = int(np.searchsorted(reached, level - width)) - 1
    return (float(values[low]), 1.0 - low / sample.size) if low >= 0 else (-np.inf, 1.0)


def _room(S: int, share: float) -> int:
    """Places for the losses above a bound: half as many again, and a block."""
    from engine.kernels.tails import BLOCK

    return min(S, int(1.5 * share * S)) + 2 * BLOCK


def _equal(losses: Vector, level: float, slack: float) -> Selected | None:
    from engine.kernels.tails import collect

    S = losses.size
    k = min(max(int(np.ceil((level - slack) * S)) - 1, 0), S - 1)
    low, share = _bound(losses, None, level)
    buffer = np.empty(_room(S, share))
    n, bad = collect(losses, low, buffer)
    rank = k - (S - n)
    if bad or not 0 <= rank < n:
        return None
    kept = buffer[:n]
    kept.partition(rank)
    var = float(kept[rank])
    upper = kept[rank + 1 :]
    upper = upper[upper > var]
    return Selected(var, upper.size / S, float(upper.sum()) / S)


def _weighted(losses: Vector, p: Vector, level: float, slack: float) -> Selected | None:
    from engine.kernels.tails import beyond, collect_weighted, select_weighted

    low, share = _bound(losses, p, level)
    room = _room(losses.size, share)
    buffer, weights = np.empty(room), np.empty(room)
    n, bad, mass = collect_weighted(losses, p, low, buffer, weights)
    if bad or abs(mass - 1.0) > 1e-9 or n < 1:
        return None
    x, q = buffer[:n], weights[:n]
    held = float(q.sum())
    below, target = mass - held, level - slack
    if below >= target or mass < target:
        return None
    var = float(select_weighted(x, q, below, target))
    return Selected(var, *beyond(x, q, var))
