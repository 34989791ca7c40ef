"""The chain of the structural shock: cost surprise, demand gap, present value.

    s    = max(0, c ln k - h ln k0)                             log cost surprise
    dlnH = s [tau (eps_T - 1) + (1 - tau)(eps_I - 1)]           compute demand gap
    dlnH = ln(1 - cut)                    where a cut of capital plans is stated instead
    L    = sum min(t/T_g, 1) E_t (1+rho)^-t / sum E_t (1+rho)^-t
    A    = (1 - (1+rho)^-T_g) / rho                             annuity of saved capex

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
        "previous_generation_share": 0.0,
        "previous_generation_price_ratio": 0.4,
        "open_source_share": 0.30,
        "capex_cut": 0.0,
        "relief_kept": 0.0,
        "overseas_rerating": 0.0,
        "platform_rerating": 0.0,
        "persistence": 4.0,
    }
)
"""Methods 2.3 and the dials; sources and ranges stand in `engine.shocks.parameters`.

The dials are off, or at what the table already implies, so that the default shock is
that of the table alone; ``persistence`` acts at the persistent horizon only."""

TRAINING_COST_AFTER = 5.6e6
"""USD of training compute claimed for the cheap model (methods 2.3)."""
OPEN_SHARE_OF_TABLE = 0.30
"""Share of tokens that open models hold where the table's erosion was set."""

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
PLATFORM_RERATING = -1.44
"""In logs, -76%: the middle of ln 0.356 and ln 0.158, what is left of MSFT and ORCL,
platform software, after 2000-02. Judgement."""
PERSISTENT_PRESETS = MappingProxyType(
    {
        f"{name}_persistent": dict(values)
        | ({"platform_rerating": PLATFORM_RERATING} if name == "substitution" else {})
        for name, values in PRESETS.items()
    }
)
"""The presets at the persistent horizon; substitution is the 2000-02-like one."""
ALL_PRESETS = MappingProxyType(dict(PRESETS) | dict(PERSISTENT_PRESETS))

LIMITS = MappingProxyType(
    {
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
        "previous_generation_share": (0.0, 0.99),
        "previous_generation_price_ratio": (0.0, 1.0),
        "open_source_share": (0.0, 1.0),
        "capex_cut": (0.0, 0.99),
        "relief_kept": (0.0, 1.0),
        "overseas_rerating": (-3.0, 3.0),
        "platform_rerating": (-3.0, 3.0),
        "persistence": (0.0, 10.0),
    }
)
"""Domain of each parameter; any number from zero where none is stated."""


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
    growth_years : int, default 8
        ``n`` of the growth path.
    growth_short, growth_long, discount_rate : float
        ``g_S``, ``g_L`` and ``rho``, decimals a year.

    Returns
    -------
    float or (M,) float64
        In (0, 1].
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
    """Log gap of compute demand ``dlnH``; negative means substitution.

    A stated cut of capital plans goes before the elasticities: ``ln(1 - cut)``. Zero
    means that none is stated.
    """
    tau = q["training_share"]
    response = tau * (q["elasticity_training"] - 1.0) + (1.0 - tau) * (
        q["elasticity_inference"] - 1.0
    )
    gap = surprise(q) * response
    cut = np.asarray(q["capex_cut"])
    return np.where(cut > 0.0, np.log1p(-cut), gap) if cut.any() else gap


def older_gap(q: Any, weight: Any) -> Any:
    """Log revenue gap when demand moves to the previous generation of processors.

    ``ln(1 - w u (1 - p))``: a share ``u`` of compute demand is met by older processors
    at ``p`` times the price per unit of compute; ``w`` is how much of that shift a role
    feels (`engine.shocks.roles.OLDER_WEIGHTS`). Unit demand is unchanged: it is in
    `demand_gap`.
    """
    moved = q["previous_generation_share"]
    return np.log1p(-weight * moved * (1.0 - q["previous_generation_price_ratio"]))


def erosion_factor(q: Any) -> Any:
    """Multiple of the table's fee erosion: ``erosion_scale`` times ``o / 0.30``.

    The table was set where open models held under 30% of tokens (methods 2.3), so a
    share ``o`` of model demand moving to open weights scales recurring fees lost.
    """
    return q["erosion_scale"] * (q["open_source_share"] / OPEN_SHARE_OF_TABLE)


def annuity(q: Any) -> Any:
    """``A``: years of capital spending saved over the planning horizon T_g, at rho."""
    rho = q["discount_rate"]
    return (
        (1.0 - (1.0 + rho) ** -q["gap_years"]) / rho if np.all(rho) else q["gap_years"]
    )


def capex_relief(q: Any) -> Any:
    """Log gain of a payer per unit of AI capex over market value, ``q_i`` of the paper.

    ``kappa max(0, 1 - exp(dlnH)) A``: severity does not multiply it (methods 2.2).
    """
    return q["relief_kept"] * np.maximum(0.0, -np.expm1(demand_gap(q))) * annuity(q)


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
    low, high = LIMITS.get(key, (0.0, np.inf))
    if not (np.isfinite(number) and low <= number <= high):
        raise UsageError(
            f"shock parameter {key} is out of range",
            received=value,
            expected=f"{low:g} to {high:g}",
        )
    return int(number) if key == "growth_years" else number
