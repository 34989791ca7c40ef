"""The chain of the structural shock: cost surprise, demand gap, present value.

    s    = max(0, c ln k - h ln k0)                             log cost surprise
    dlnH = s [tau (eps_T - 1) + (1 - tau)(eps_I - 1)]           compute demand gap
    L    = sum min(t/T_g, 1) E_t (1+rho)^-t / sum E_t (1+rho)^-t

Parameters come by name, as numbers or as (M,) arrays of draws (methods 2.1 and 2.2).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from engine.errors import UsageError

DEFAULTS = MappingProxyType(
    {
        "cost_ratio": 20.0,
        "credibility": 0.5,
        "priced_in_trend": 10.0,
        "trend_years": 0.25,
        "training_share": 0.5,
        "elasticity_training": 0.5,
        "elasticity_inference": 1.1,
        "gap_years": 3.0,
        "growth_years": 8,
        "growth_short": 0.30,
        "growth_long": 0.04,
        "discount_rate": 0.10,
        "severity": 1.0,
        "erosion_scale": 1.0,
        "adoption_scale": 1.0,
        "market_move": 0.0,
    }
)
"""Methods 2.3; sources and ranges stand in the documentation of `CheapModelShock`."""

PRESETS = MappingProxyType(
    {
        "market_view": {},
        "substitution": {
            "cost_ratio": 30.0,
            "credibility": 0.7,
            "elasticity_training": 0.3,
            "elasticity_inference": 0.8,
        },
        "jevons": {"elasticity_training": 0.9, "elasticity_inference": 1.5},
    }
)


def present_value_ratio(
    gap_years: Any,
    *,
    growth_years: int = 8,
    growth_short: float = 0.30,
    growth_long: float = 0.04,
    discount_rate: float = 0.10,
) -> Any:
    """L(T_g): present value of a gap opening linearly, over that of an instant one.

    Earnings grow by ``g_t = g_S + (g_L - g_S)(t - 1)/(n - 1)`` for ``t <= n`` and by
    ``g_L`` after, discounted at ``rho`` (methods 2.2). L(1) = 1, L(3) = 0.96917.

    Parameters
    ----------
    gap_years : float or (M,) array
        At least 1.
    """
    T = np.atleast_1d(np.asarray(gap_years, dtype=np.float64))
    if (T < 1).any():
        raise UsageError("gap_years must be at least 1", received=float(T.min()))
    if not discount_rate > growth_long:
        raise UsageError(
            "the discount rate must exceed long-run growth",
            received=f"{discount_rate} and {growth_long}",
        )
    last = max(int(growth_years), int(np.ceil(T.max())))
    t = np.arange(1, last + 1)
    span = max(growth_years - 1, 1)
    g = np.where(
        t <= growth_years,
        growth_short + (growth_long - growth_short) * (t - 1) / span,
        growth_long,
    )
    value = np.cumprod((1.0 + g) / (1.0 + discount_rate))
    # After `last` both sums continue as the same geometric series.
    ratio = (1.0 + growth_long) / (1.0 + discount_rate)
    rest = value[-1] * ratio / (1.0 - ratio)
    ramp = np.minimum(t[None, :] / T[:, None], 1.0)
    result = ((ramp * value).sum(axis=1) + rest) / (value.sum() + rest)
    return result if np.ndim(gap_years) else float(result[0])


def surprise(q: Any) -> Any:
    """Log cost surprise ``s``: zero where the trend had already priced it in."""
    raw = q["credibility"] * np.log(q["cost_ratio"])
    return np.maximum(0.0, raw - q["trend_years"] * np.log(q["priced_in_trend"]))


def demand_gap(q: Any) -> Any:
    """Log gap of compute demand ``dlnH``; negative means substitution."""
    tau = q["training_share"]
    response = tau * (q["elasticity_training"] - 1.0) + (1.0 - tau) * (
        q["elasticity_inference"] - 1.0
    )
    return surprise(q) * response


def present_value(q: Any) -> Any:
    """``L(T_g)`` at the parameters."""
    return present_value_ratio(
        q["gap_years"],
        growth_years=q["growth_years"],
        growth_short=q["growth_short"],
        growth_long=q["growth_long"],
        discount_rate=q["discount_rate"],
    )


def checked_parameter(key: str, value: Any) -> float:
    """Return the parameter as a number in its domain, or raise `UsageError`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"shock parameter {key} is not a number", received=repr(value)
        ) from None
    limits = {
        "severity": (0.0, 20.0),
        "cost_ratio": (1.0, np.inf),
        "credibility": (0.0, 1.0),
        "priced_in_trend": (1.0, np.inf),
        "training_share": (0.0, 1.0),
        "market_move": (-0.9, 5.0),
        "gap_years": (1.0, 100.0),
        "growth_years": (1, 100),
        "growth_short": (-0.5, 2.0),
        "growth_long": (-0.5, 2.0),
    }
    low, high = limits.get(key, (0.0, np.inf))
    if not (np.isfinite(number) and low <= number <= high):
        raise UsageError(
            f"shock parameter {key} is out of range",
            received=value,
            expected=f"{low:g} to {high:g}",
        )
    return int(number) if key == "growth_years" else number
