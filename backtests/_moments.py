"""Moments of returns per period, which every figure of performance shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._base import frozen_array
from engine.errors import DataError, UsageError


class Moments(NamedTuple):
    """Per-period moments of returns: Sharpe ratio, skewness, raw kurtosis, count.

    Attributes
    ----------
    sharpe, skew, kurtosis : float
    n : int
    """

    sharpe: float
    skew: float
    kurtosis: float
    n: int


def _returns(returns: Any, *, least: int = 2) -> np.ndarray:
    values = frozen_array(returns, name="returns", ndim=1)
    if values.size < least:
        raise DataError(
            "too few returns", received=values.size, expected=f"{least} or more"
        )
    return values


def _periods(periods_per_year: float) -> float:
    if not (np.isfinite(periods_per_year) and periods_per_year > 0):
        raise UsageError(
            "periods_per_year must be positive",
            received=periods_per_year,
            fix="Use the one carried by the data (BacktestResult.periods_per_year).",
        )
    return float(periods_per_year)


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    spread = values.std()
    # Constant returns leave rounding noise, whose moments would look like data.
    if spread <= 1e-14 * max(1e-300, float(np.abs(values).max(initial=0.0))):
        return np.zeros(values.size)
    return centred / spread


def _skew(values: np.ndarray) -> float:
    return float((_standardised(values) ** 3).mean())


def _kurtosis(values: np.ndarray) -> float:
    z = _standardised(values)
    return float((z**4).mean()) if z.any() else 3.0


def moments(returns: Any, *, risk_free: Any = 0.0) -> Moments:
    """Per-period Sharpe ratio, skewness and raw kurtosis of excess returns.

    Parameters
    ----------
    returns : (T,) float64
        Simple returns, no NaN.
    risk_free : float or (T,) float64
        Simple return of cash *per period*.

    Returns
    -------
    Moments
    """
    values = _returns(returns)
    rate = np.asarray(risk_free, dtype=np.float64)
    if rate.shape not in ((), values.shape):
        raise DataError(
            "risk_free does not match the returns",
            received=rate.shape,
            expected=f"a number or {values.shape}",
        )
    excess = _returns(values - rate)
    sigma = excess.std(ddof=1)
    if not _standardised(excess).any():
        raise DataError(
            "a Sharpe ratio of constant returns is not defined",
            received=f"standard deviation {sigma:.3g}",
        )
    sharpe = float(excess.mean() / sigma)
    return Moments(sharpe, _skew(excess), _kurtosis(excess), excess.size)


def _sharpe_variance(sharpe: float, skew: float, kurtosis: float) -> float:
    """T times the variance of an estimated Sharpe ratio, Mertens (2002)."""
    variance = 1.0 - skew * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2
    if not variance > 0.0:
        raise DataError(
            "these moments belong to no distribution",
            received=f"skew {skew}, raw kurtosis {kurtosis}",
            expected="kurtosis >= 1 + skew^2 (3 for a normal law)",
        )
    return variance
