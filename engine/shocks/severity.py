"""How uncertain the shock is: draws of its parameters and of the AI shares."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from engine.parallel import BlockStream
from engine.shocks.chain import DEFAULTS

RANGES = MappingProxyType(
    {
        "cost_ratio": (5.0, 50.0),
        "credibility": (0.2, 0.8),
        "priced_in_trend": (3.0, 50.0),
        "trend_years": (0.0, 1.0),
        "training_share": (0.3, 0.6),
        "elasticity_training": (0.3, 0.9),
        "elasticity_inference": (0.8, 1.5),
        "gap_years": (2.0, 5.0),
    }
)
"""5% and 95% points of the severity distribution around the defaults."""
DIAL_RANGES = MappingProxyType(
    {
        "previous_generation_share": (0.1, 0.5),
        "previous_generation_price_ratio": (0.2, 0.7),
        "open_source_share": (0.1, 0.6),
        "capex_cut": (0.05, 0.5),
        "relief_kept": (0.0, 0.6),
        "overseas_rerating": (-0.1, 0.3),
        "platform_rerating": (-1.85, -1.03),
        "persistence": (2.0, 6.0),
    }
)
"""Range a reader should consider for a dial, judgement; `_dials` has the law."""
_DIAL_SIZE = 12.0
"""Sum of a beta's two shapes for a share that is switched on: a 5-95% width of about
0.4 around a half. Judgement."""
_DIAL_BLOCK = 2**32 + 2  # after the blocks of tickers, 2 + crc32
_RERATING_WIDTH = 0.3
"""Half the 5-95% width of a re-rating, as a part of its size. Judgement."""
_LOG_SCALE = frozenset({"cost_ratio", "priced_in_trend"})
_SHARES = frozenset({"credibility", "training_share"})
_FLOORS = MappingProxyType(
    {
        "trend_years": 0.0,
        "elasticity_training": 0.05,
        "elasticity_inference": 0.05,
        "gap_years": 1.0,
    }
)
_Z95 = 1.6448536269514722
_COST_CREDIBILITY = -0.5
_ELASTICITIES = 0.6
_EXPOSURE_COMMON = 0.5
"""Copula correlations, all judgement: a bold claim is believed less; the elasticities
move together; errors of role midpoints are half common."""
_EDGE = 1e-6
DRAWS = 2048
_SEED = 20250127


def draw_parameters(centre: Mapping[str, float]) -> dict[str, np.ndarray]:
    """(M,) draws of each uncertain parameter; the others stay as they are.

    Scales follow a two-piece normal whose median is the value and whose 5% and 95%
    points are those of `RANGES`; shares a beta with those points. A value other than
    the default moves the law: by its distance from the default, in logs for ratios.
    The beta of tau has its median at 0.45, not at the default 0.5, which its range
    does not allow.

    A dial of `DIAL_RANGES` is certain while it is off (at its default). Switched on, a
    share is a beta of shapes summing to 12 with the value as mean, and a re-rating a
    normal with the value as median and 30% of it either side as 5-95% points; the
    dials are independent. Persistence is always drawn: in logs, two-piece normal with
    the value as median and 0.5 and 1.5 times it as 5% and 95% points, at most 8.
    """
    return dict(_drawn(tuple(centre.items())))


@lru_cache(maxsize=16)
def _drawn(items: tuple[tuple[str, float], ...]) -> dict[str, np.ndarray]:
    from scipy.stats import beta as beta_law
    from scipy.stats import norm

    centre = dict(items)
    names = list(RANGES)
    z = BlockStream(_SEED, "severity").normals(0, DRAWS * len(names))
    z = dict(zip(names, z.reshape(len(names), DRAWS), strict=True))
    z["credibility"] = (
        _COST_CREDIBILITY * z["cost_ratio"]
        + np.sqrt(1 - _COST_CREDIBILITY**2) * z["credibility"]
    )
    z["elasticity_inference"] = (
        _ELASTICITIES * z["elasticity_training"]
        + np.sqrt(1 - _ELASTICITIES**2) * z["elasticity_inference"]
    )
    out: dict[str, np.ndarray] = {k: np.asarray(v) for k, v in centre.items()}
    for name, (low, high) in RANGES.items():
        middle, default = centre[name], DEFAULTS[name]
        if name in _SHARES:
            a, b = _beta_shape(low, high)
            mean = a / (a + b) + middle - default
            if not 0.0 < mean < 1.0:  # moved to the edge: taken as certain
                out[name] = np.full(DRAWS, middle)
            else:
                size = a + b
                out[name] = beta_law.ppf(
                    norm.cdf(z[name]), mean * size, (1 - mean) * size
                )
            continue
        if name in _LOG_SCALE:
            low, high, middle, default = np.log([low, high, middle, default])
        side = np.where(z[name] < 0, default - low, high - default) / _Z95
        values = middle + side * z[name]
        if name in _LOG_SCALE:
            values = np.maximum(1.0, np.exp(values))
        out[name] = np.maximum(values, _FLOORS.get(name, -np.inf))
    out |= _dials(centre)
    for values in out.values():
        values.setflags(write=False)
    return out


def _dials(centre: Mapping[str, float]) -> dict[str, np.ndarray]:
    """(M,) draws of the dials that are on; a stream of their own, one row each."""
    from scipy.stats import beta as beta_law
    from scipy.stats import norm

    names = list(DIAL_RANGES)
    z = BlockStream(_SEED, "severity").normals(_DIAL_BLOCK, DRAWS * len(names))
    out: dict[str, np.ndarray] = {}
    for name, row in zip(names, z.reshape(len(names), DRAWS), strict=True):
        value = centre[name]
        if name == "persistence":
            side = np.where(row < 0, np.log(2.0), np.log(1.5)) / _Z95
            out[name] = np.minimum(value * np.exp(side * row), 8.0)
        elif value == DEFAULTS[name]:
            continue
        elif name.endswith("rerating"):
            out[name] = value + _RERATING_WIDTH * abs(value) / _Z95 * row
        elif _EDGE < value < 1.0 - _EDGE:  # at the edge: taken as certain
            shapes = value * _DIAL_SIZE, (1.0 - value) * _DIAL_SIZE
            out[name] = np.minimum(beta_law.ppf(norm.cdf(row), *shapes), 0.99)
    return out


@lru_cache(maxsize=8)
def _beta_shape(low: float, high: float) -> tuple[float, float]:
    """Shape of the beta law whose 5% and 95% points are ``low`` and ``high``."""
    from scipy.optimize import root
    from scipy.stats import beta as beta_law

    mean, sd = 0.5 * (low + high), (high - low) / (2 * _Z95)
    size = mean * (1 - mean) / sd**2 - 1
    found = root(
        lambda x: np.asarray(beta_law.cdf([low, high], *np.exp(x))) - (0.05, 0.95),
        np.log([mean * size, (1 - mean) * size]),
        tol=1e-12,
    )
    a, b = np.exp(found.x)
    return float(a), float(b)


@lru_cache(maxsize=8)
def exposure_uniforms(tickers: tuple[str, ...]) -> np.ndarray:
    """(M, N) uniforms with half common variation; an asset's draws follow its name."""
    from scipy.stats import norm

    common = BlockStream(_SEED, "severity").normals(1, DRAWS)
    own = np.column_stack(
        [
            BlockStream(_SEED, "severity").normals(2 + zlib.crc32(t.encode()), DRAWS)
            for t in tickers
        ]
    )
    rho = _EXPOSURE_COMMON
    out = norm.cdf(np.sqrt(rho) * common[:, None] + np.sqrt(1 - rho) * own)
    out.setflags(write=False)
    return out
