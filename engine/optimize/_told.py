"""What a solution says of itself: prices, parts of the objective, errors of losses."""

from __future__ import annotations

from typing import Any

from engine._typing import Vector
from engine.errors import ModelError
from engine.optimize.problem import Measure, Setup, Solution
from engine.risk import value_at_risk_error

STRESS = "stress:"
_NOTHING = 1e-10


def told(setup: Setup, solution: Solution, target: Vector) -> dict[str, Any]:
    """Fields of a `Proposal` that explain it.

    Parameters
    ----------
    setup : Setup
    solution : Solution
        Of the continuous problem.
    target : (N,) float64
        Weights after rounding.
    """
    prices = dict(solution.duals)
    if all(abs(v) <= _NOTHING for v in solution.parts.values()):
        # Where nothing trades the kink of the costs leaves the duals undetermined, but
        # no limit can save what is not paid.
        prices = dict.fromkeys(prices, 0.0)
    return {
        "prices": prices,
        "objective_parts": dict(solution.parts),
        "stress_error_before": stress_errors(setup.measures, setup.current),
        "stress_error_after": stress_errors(setup.measures, target),
    }


def stress_errors(measures: list[Measure], weights: Vector) -> dict[str, float]:
    """Standard error of each stress loss, by shock.

    That of the severity quantile by order statistics (Maritz and Jarrett 1978); a
    central loss is not sampled and has none. Shocks with fewer than ten severities
    beyond the quantile are left out: their draws say nothing of the error.
    """
    out = {}
    for m in measures:
        if not m.name.startswith(STRESS):
            continue
        name = m.name.removeprefix(STRESS)
        if m.level is None:
            out[name] = 0.0
            continue
        try:
            out[name] = value_at_risk_error(-(m.returns @ weights), level=m.level)
        except ModelError:
            continue
    return out
