"""Why each trade: the term of the optimality condition that speaks loudest for it.

At the optimum of the continuous problem the gradient of the objective balances the
prices of the binding limits, asset by asset. For a sale, the binding limit whose price
times the asset's contribution is largest is the reason; for a purchase, the asset's
share in restoring the benchmark's risk, beside what it would lose.
"""

from __future__ import annotations

import numpy as np

from engine._typing import Vector
from engine.optimize.problem import Setup, Solution

_IDLE = 1e-7
"""A price below this belongs to a limit that does not bind."""


def trade_reasons(
    setup: Setup, solution: Solution, roles: tuple[str, ...], target: Vector
) -> list[str]:
    """(N,) sentences; empty where nothing trades."""
    change = target - setup.current
    gradients = {
        m.name: m.cut(target)
        for m in setup.measures
        if solution.duals.get(m.name, 0.0) > _IDLE
    }
    deviation = setup.marginal(target - setup.benchmark)
    pressure = -2.0 * setup.aversion * deviation
    if setup.objective == "minimum_variance":
        risk = setup.marginal(target)
        pressure = -2.0 * setup.aversion * risk
    # What the purchases contribute to each limit, per unit of value: a sale is worth
    # the difference.
    bought = np.maximum(change, 0.0)
    bought = bought / bought.sum() if bought.sum() > 0 else setup.current
    average = {k: float(g @ bought) for k, g in gradients.items()}
    reasons = []
    for i, z in enumerate(change):
        if abs(z) < 1e-9:
            reasons.append("")
            continue
        if setup.assets[i].startswith("CASH:"):
            reasons.append("pays for the trades" if z < 0 else "proceeds and rounding")
            continue
        role = roles[i]
        if setup.current[i] > setup.upper[i] + 1e-9 and z < 0:
            reasons.append(f"brought down to its bound of {setup.upper[i]:.1%}")
            continue
        if setup.current[i] < setup.lower[i] - 1e-9 and z > 0:
            reasons.append(f"brought up to its bound of {setup.lower[i]:.1%}")
            continue
        if z < 0:
            pull = {
                k: solution.duals[k] * (g[i] - average[k]) for k, g in gradients.items()
            }
            best = max(pull, key=lambda k: pull[k], default=None)
            if best is not None and pull[best] > 0:
                loss = gradients[best][i]
                reasons.append(
                    f"{role}: loses {loss:.1%} under {_plain(best)}; what is bought "
                    f"loses {average[best]:.1%}"
                )
                continue
            group = _binding_group(setup, solution, i, target)
            reasons.append(
                f"brings {group} within its limit"
                if group
                else "lowers risk against the benchmark"
            )
            continue
        if setup.objective == "minimum_variance":
            why = "lowers variance"
        elif pressure[i] > 0:
            why = "restores risk lost by the sales"
        else:
            why = "takes proceeds"
        words = [why, *(_cost_of(g[i], k) for k, g in gradients.items())]
        reasons.append(f"{role}: {', '.join(words)}")
    return reasons


def _cost_of(loss: float, name: str) -> str:
    if loss < 5e-4:
        return f"loses nothing under {_plain(name)}"
    return f"loses {loss:.1%} under {_plain(name)}"


def _plain(name: str) -> str:
    return name.removeprefix("stress:")


def _binding_group(setup: Setup, solution: Solution, i: int, target: Vector) -> str:
    for row in setup.linear:
        if row.coefficients[i] > 0 and np.isclose(
            row.coefficients @ target, row.upper, atol=1e-5
        ):
            return row.name
    return ""
