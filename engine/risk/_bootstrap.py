"""Bootstrap intervals of any measure, for independent or serially dependent losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.errors import ModelError, UsageError
from engine.parallel import BlockStream, blocks, map_ordered
from engine.risk._differences import named_measure
from engine.risk._intervals import scenarios_needed
from engine.risk._measures import _checked, check_level

_STREAM = 2**63 + 1  # resampling for intervals: apart from every named use
_GROUP = 32  # replicates a work item; does not enter the numbers


class BootstrapInterval(NamedTuple):
    """Estimate with its bootstrap interval, standard error and block length.

    Attributes
    ----------
    estimate, low, high, error : float
        In the unit of the losses.
    block : float
        Mean length of a block.
    """

    estimate: float
    low: float
    high: float
    error: float
    block: float


def bootstrap_interval(
    losses: Any,
    measure: str | Callable[..., float] = "expected_shortfall",
    *,
    level: float = 0.95,
    confidence: float = 0.95,
    n: int = 2000,
    block: float | str | None = None,
    seed: int = 0,
    n_jobs: int = 1,
) -> BootstrapInterval:
    """Percentile bootstrap interval (Efron 1979) of a measure of losses.

    Parameters
    ----------
    losses : (T,) array_like
        Equally likely; in order of time where ``block`` is used. No NaN.
    measure : str or callable
        Name (expected_shortfall, value_at_risk, entropic_value_at_risk, volatility), or
        a function of losses; it is given ``level`` where it has such a parameter.
    level, confidence : float, default 0.95
        Of the measure, and of the interval.
    n : int, default 2000
        Resamples: the ends of a 95% interval then rest on fifty.
    block : float or "auto", optional
        Mean block length of the stationary bootstrap (Politis and Romano 1994); "auto"
        takes that of Patton, Politis and White 2009 from arch. Default: independent.
    seed : int, default 0
    n_jobs : int, default 1
        Threads; the numbers are the same for any.

    Returns
    -------
    BootstrapInterval

    Raises
    ------
    ModelError
        Fewer losses than ten beyond VaR, for measures of the tail.
    """
    level, confidence = check_level(level), check_level(confidence)
    values = _checked(losses)
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
        raise UsageError("n is a number of resamples, two or more", received=repr(n))
    evaluate = _evaluator(measure, level)
    needed = 2 if measure == "volatility" else scenarios_needed(level)
    if isinstance(measure, str) and values.size < needed:
        raise ModelError(
            f"a {level:.5g} {measure.replace('_', ' ')} needs at least {needed} losses "
            "to resample",
            received=values.size,
            expected=f"at least {needed}",
        )
    length = _length(values, block)
    work = partial(_replicates, values, evaluate, length, BlockStream(seed, _STREAM))
    parts = map_ordered(work, blocks(int(n), _GROUP), executor="threads", n_jobs=n_jobs)
    drawn = np.concatenate(list(parts))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    error = float(drawn.std(ddof=1))
    return BootstrapInterval(
        float(evaluate(values)), float(low), float(high), error, length or 1.0
    )


def _evaluator(measure: Any, level: float) -> Callable[[Vector], Any]:
    if isinstance(measure, str):
        return partial(named_measure(measure), level=level, p=None)
    if not callable(measure):
        raise UsageError("measure is a name or a function", received=repr(measure))
    try:
        takes_level = "level" in inspect.signature(measure).parameters
    except (TypeError, ValueError):  # some built-ins have no signature
        takes_level = False
    return partial(measure, level=level) if takes_level else measure


def _length(values: Vector, block: float | str | None) -> float | None:
    if block is None:
        return None
    if isinstance(block, str):
        if block != "auto":
            raise UsageError("block is a length or 'auto'", received=repr(block))
        from arch.bootstrap import optimal_block_length

        block = max(1.0, float(optimal_block_length(values)["stationary"].iloc[0]))
    if not 1.0 <= block <= values.size:
        raise UsageError(
            "a block is between one loss and all of them",
            received=block,
            expected=f"1 to {values.size}",
        )
    return float(block)


def _replicates(
    values: Vector,
    evaluate: Callable[[Vector], Any],
    length: float | None,
    stream: BlockStream,
    item: tuple[int, int, int],
) -> Vector:
    from engine.kernels.paths import block_rows

    T = values.size
    out = np.empty(item[2] - item[1])
    rows = np.empty((1, T), dtype=np.int64)
    for k in range(out.size):
        u = stream.uniforms(item[1] + k, 2 * T).reshape(1, T, 2)
        block_rows(u, T, length or 1.0, True, rows)
        out[k] = evaluate(values[rows[0]])
    return out
