"""VaR with the cost of getting out: half the spread at its worst is a loss as well."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.errors import DataError, UsageError
from engine.risk._measures import check_level, value_at_risk

SPREAD_FACTOR = 3.0
"""Within the 2 to 4.5 of Bangia et al. 1999: spreads are far from normal."""


class LiquidityAdjusted(NamedTuple):
    """A value at risk in its two parts, all fractions of wealth.

    Attributes
    ----------
    market, liquidity, total : float
    """

    market: float
    """From prices."""
    liquidity: float
    """Half the spread, at its worst, on what is held."""
    total: float


def liquidity_adjusted_value_at_risk(
    losses: Any,
    weights: Any,
    spread: Any,
    spread_volatility: Any,
    *,
    level: float = 0.95,
    spread_factor: float = SPREAD_FACTOR,
    p: Any = None,
) -> LiquidityAdjusted:
    """Liquidity-adjusted VaR of scenario losses (Bangia et al. 1999).

    ``VaR + 1/2 sum_i |w_i| (mean_i + a sigma_i)``: prices and spreads are at their
    worst together, as in their paper, hence an upper bound.

    Parameters
    ----------
    losses : (S,) array_like
        Of the book, as fractions of wealth.
    weights : (N,) array_like
        What is held; cash has spread zero.
    spread, spread_volatility : (N,) array_like or float
        Mean and standard deviation of the relative bid-ask spread, full width, as a
        fraction of the price.
    level : float, default 0.95
    spread_factor : float, default 3
        The ``a`` of the formula: 2 to 4.5 in the paper.
    p : (S,) array_like, optional
        Probabilities of the losses.

    Returns
    -------
    LiquidityAdjusted
    """
    w = _finite(weights, "weights")
    if w.ndim != 1 or not w.size:
        raise DataError("weights must be a vector", received=f"shape {w.shape}")
    cost = np.abs(w) @ _half_spread(spread, spread_volatility, spread_factor, w.shape)
    market = value_at_risk(losses, level=level, p=p)
    return LiquidityAdjusted(market, float(cost), market + float(cost))


def normal_liquidity_adjusted_value_at_risk(
    sigma: float,
    spread: float,
    spread_volatility: float,
    *,
    level: float = 0.99,
    tail_factor: float = 1.0,
    spread_factor: float = SPREAD_FACTOR,
) -> LiquidityAdjusted:
    """Liquidity-adjusted VaR of a normal log return (Bangia et al. 1999, eq. 6).

    ``1 - exp(-z theta sigma) + (mean + a sigma_spread) / 2``.

    Parameters
    ----------
    sigma : float
        Standard deviation of the log return.
    spread, spread_volatility : float
        Mean and standard deviation of the relative spread.
    level : float, default 0.99
        Theirs: z is 2.33.
    tail_factor : float, default 1
        The ``theta`` for fat tails: ``1 + 0.4 ln(kurtosis / 3)`` in the paper.
    spread_factor : float, default 3

    Returns
    -------
    LiquidityAdjusted
    """
    from scipy.stats import norm

    level = check_level(level)
    if not (0.0 <= sigma < np.inf and 0.0 < tail_factor < np.inf):
        raise UsageError(
            "sigma and tail_factor are positive", received=(sigma, tail_factor)
        )
    cost = _half_spread(spread, spread_volatility, spread_factor, (1,))[0]
    market = float(-np.expm1(-norm.ppf(level) * tail_factor * sigma))
    return LiquidityAdjusted(market, float(cost), market + float(cost))


def _finite(values: Any, what: str) -> Vector:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not numeric: {error}") from error
    if not np.isfinite(array).all():
        raise DataError(f"{what} hold a gap", fix="Give every asset a spread.")
    return array


def _half_spread(
    spread: Any, deviation: Any, factor: float, shape: tuple[int, ...]
) -> Vector:
    parts = []
    for values, what in ((spread, "spreads"), (deviation, "spread volatilities")):
        array = _finite(values, what)
        if array.shape not in ((), shape):
            raise DataError(
                f"{what} do not match the weights",
                received=f"shape {array.shape}",
                expected=f"{shape}",
            )
        if (array < 0).any():
            raise DataError(f"{what} are negative", received=float(array.min()))
        parts.append(np.broadcast_to(array, shape))
    if not 0.0 <= factor < np.inf:
        raise UsageError("spread_factor is zero or more", received=factor)
    return 0.5 * (parts[0] + factor * parts[1])
