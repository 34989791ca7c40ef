"""Arguments of the cheap-model shock: words and letters to checked parameters."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from engine.errors import UsageError
from engine.shocks.chain import (
    ALL_PRESETS,
    DEFAULTS,
    TRAINING_COST_AFTER,
    checked_parameter,
)

LETTERS = MappingProxyType(
    {
        "k": "cost_ratio",
        "c": "credibility",
        "k0": "priced_in_trend",
        "h": "trend_years",
        "tau": "training_share",
        "eps_T": "elasticity_training",
        "eps_I": "elasticity_inference",
        "T_g": "gap_years",
        "m": "market_move",
        "kappa": "relief_kept",
    }
)
COSTS = ("training_cost_before", "training_cost_after")
_ROUNDING = 1e-9


def near(word: str, known: Any) -> str | None:
    """Return a sentence with the nearest known word, if one is near."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {found[0]}?" if found else None


def resolved(
    preset: str, given: Mapping[str, Any]
) -> tuple[dict[str, float], tuple[float, float] | None]:
    """Value of every parameter, and the training costs where they were stated.

    Parameters
    ----------
    preset : str
        A key of `engine.shocks.chain.ALL_PRESETS`.
    given : mapping
        Parameters by word or letter, and ``training_cost_before`` and ``_after`` in
        USD: their ratio is the cost ratio. Either may be left out: the cost after is
        USD 5.6m, as claimed, the cost before the preset's cost ratio times that.

    Raises
    ------
    UsageError
        An unknown word, one given twice, a value outside its domain, costs that
        contradict each other or the cost ratio.
    """
    values: dict[str, float] = dict(DEFAULTS) | dict(ALL_PRESETS[preset])
    preset_ratio = values["cost_ratio"]
    costs: dict[str, float] = {}
    seen: set[str] = set()
    for word, value in given.items():
        key = LETTERS.get(word, word)
        if key in COSTS:
            costs[key] = _cost(key, value)
            continue
        if key not in DEFAULTS:
            raise UsageError(
                "unknown shock parameter",
                received=repr(key),
                expected=", ".join((*DEFAULTS, *COSTS)),
                fix=near(key, (*DEFAULTS, *COSTS, *LETTERS)),
            )
        if key in seen:
            raise UsageError(f"shock parameter {key} is given twice")
        seen.add(key)
        values[key] = checked_parameter(key, value)
    if not costs:
        return values, None
    after = costs.get("training_cost_after", TRAINING_COST_AFTER)
    usual = preset_ratio * TRAINING_COST_AFTER
    before = costs.get("training_cost_before", usual)
    if before < after:
        raise UsageError(
            "training_cost_before is below training_cost_after",
            received=f"{before:,.0f} and {after:,.0f} USD",
            expected="a model that is cheaper than before",
        )
    ratio = before / after
    if "cost_ratio" in seen and abs(values["cost_ratio"] / ratio - 1.0) > _ROUNDING:
        raise UsageError(
            "cost_ratio contradicts the training costs",
            received=f"cost_ratio {values['cost_ratio']:g}; "
            f"{before:,.0f} / {after:,.0f} USD = {ratio:g}",
            fix="Give the ratio or the costs.",
        )
    if "cost_ratio" not in seen:
        values["cost_ratio"] = checked_parameter("cost_ratio", ratio)
    return values, (before, after)


def checked_capex(mapping: Mapping[str, Any] | None) -> tuple[tuple[str, float], ...]:
    """AI capital spending a year over market value, by ticker; finite, not negative."""
    pairs = []
    for ticker, value in dict(mapping or {}).items():
        number = value if isinstance(value, (int, float, np.number)) else np.nan
        if isinstance(value, bool) or not (np.isfinite(number) and 0 <= number <= 1):
            raise UsageError(
                "ai_capex is AI capital spending a year over market value",
                asset=str(ticker),
                received=repr(value),
                expected="a decimal from 0 to 1",
            )
        pairs.append((str(ticker), float(number)))
    return tuple(pairs)


def _cost(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"shock parameter {key} is not a number", received=repr(value)
        ) from None
    if not (np.isfinite(number) and number > 0):
        raise UsageError(
            f"shock parameter {key} is out of range",
            received=value,
            expected="USD, above zero",
        )
    return number
