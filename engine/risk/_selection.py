"""Value at risk and the sum beyond it for large samples, in one pass, without a sort.

A strided sample brackets the quantile; one pass sums what lies above the bracket and
copies out the few per cent inside; the order statistic is selected among those. The
bracket is checked against the counts of the whole sample: where it missed (losses in
an order that fools a stride) the caller sorts. The answer is the same either way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._typing import Vector

SMALLEST = 20_000
"""Below this a partition takes tens of microseconds: nothing to gain."""
_SAMPLE = 4096
_SPREAD = 5.0  # standard deviations of a sample quantile, each side


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
    """Select VaR; None where the input is bad or the bracket missed."""
    if p is None:
        return _equal(losses, level, slack)
    return _weighted(losses, p, level, slack)


def _bracket(losses: Vector, p: Vector | None, level: float) -> tuple[float, float]:
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
            return -np.inf, np.inf
        values = sample[order]
        reached = np.cumsum(weight) / mass
        effective = float(mass**2 / (weight @ weight))
    width = _SPREAD * np.sqrt(level * (1.0 - level) / effective) + 2.0 / effective
    low = int(np.searchsorted(reached, level - width)) - 1
    high = int(np.searchsorted(reached, level + width))
    return (
        float(values[low]) if low >= 0 else -np.inf,
        float(values[high]) if high < values.size else np.inf,
    )


def _equal(losses: Vector, level: float, slack: float) -> Selected | None:
    from engine.kernels.tails import scan

    S = losses.size
    k = min(max(int(np.ceil((level - slack) * S)) - 1, 0), S - 1)
    low, high = _bracket(losses, None, level)
    inside, out = np.empty(S), np.empty(5)
    scan(losses, low, high, inside, out)
    kept, below, bad = int(out[0]), int(out[1]), out[4]
    rank = k - below
    if bad or not 0 <= rank < kept or (high == np.inf and not _finite(inside[:kept])):
        return None
    part = inside[:kept]
    part.partition(rank)
    var = float(part[rank])
    upper = part[rank + 1 :]
    upper = upper[upper > var]
    return Selected(
        var, (out[2] + upper.size) / S, (float(out[3]) + float(upper.sum())) / S
    )


def _weighted(losses: Vector, p: Vector, level: float, slack: float) -> Selected | None:
    from engine.kernels.tails import scan_weighted, select_weighted

    low, high = _bracket(losses, p, level)
    inside, weight, out = np.empty(losses.size), np.empty(losses.size), np.empty(6)
    scan_weighted(losses, p, low, high, inside, weight, out)
    kept, below, bad = int(out[0]), float(out[1]), out[4]
    target = level - slack
    reached = float(out[5]) - float(out[2])
    if bad or abs(out[5] - 1.0) > 1e-9 or not kept:
        return None
    if below >= target or reached < target:
        return None
    x, q = inside[:kept], weight[:kept]
    if high == np.inf and not _finite(x):
        return None
    var = float(select_weighted(x, q, below, target))
    upper = x > var
    return Selected(
        var,
        float(out[2]) + float(q[upper].sum()),
        float(out[3]) + float(q[upper] @ x[upper]),
    )


def _finite(values: Vector) -> bool:
    return bool(np.isfinite(values).all())
