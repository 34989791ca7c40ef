"""Why each trade: the term of the optimality condition that speaks loudest for it.

At the optimum of the continuous problem the gradient of the objective balances the
prices of the binding limits, asset by asset:

    trading cost_i = sum over limits of price * (average - marginal_i) + risk terms

for a sale, with ``marginal_i`` what a unit of the asset adds to the limit and
``average`` what a unit of the purchases adds; for a purchase the other way round. The
largest term is the reason. A limit is named only where its price is positive and the
trade moves it the right way; a limit on the trading itself (turnover, liquidity) is no
reason to trade, and is named as what held a trade back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._typing import Vector
from engine.optimize.problem import Setup, Solution

_IDLE = 1e-7
"""A price below this belongs to a limit that does not bind."""
_AT = 1e-6


class Force(NamedTuple):
    """What a limit, or the objective's own risk, does to each asset."""

    name: str
    price: float
    marginal: Vector
    """(N,) added to the limited quantity by a unit of weight in the asset."""
    kind: str
    """loss, group, least, tracking, or risk."""

    @property
    def key(self) -> str:
        """Distinguishes both sides of one limit."""
        return f"{self.kind} {self.name}"

    @property
    def plain(self) -> str:
        """The name without its prefix."""
        return self.name.removeprefix("stress:")


def forces(setup: Setup, solution: Solution, target: Vector) -> list[Force]:
    """Limits with a price, and the risk in the objective, at a target (N,)."""
    prices = solution.duals
    out = [
        Force(m.name, prices[m.name], m.cut(target), "loss")
        for m in setup.measures
        if prices.get(m.name, 0.0) > _IDLE
    ]
    for name, coefficients, low, high in _rows(setup):
        at = float(coefficients @ target)
        if prices.get(name, 0.0) > _IDLE and at >= high - 1e-5:
            out.append(Force(name, prices[name], coefficients, "group"))
        # Both sides of a limit may share one price: the side that is met names it.
        least = prices.get(f"{name} (least)", prices.get(name, 0.0))
        if least > _IDLE and at <= low + 1e-5:
            out.append(Force(name, least, -coefficients, "least"))
    deviation = setup.marginal(target - setup.benchmark)
    error = setup.volatility(target - setup.benchmark)
    price = prices.get("tracking error", 0.0)
    if price > _IDLE and error > 0:
        out.append(Force("tracking error", price, deviation / error, "tracking"))
    if setup.objective == "cost_and_active_risk":
        out.append(Force("active risk", 2.0 * setup.aversion, deviation, "risk"))
    elif setup.objective == "minimum_variance":
        variance = setup.marginal(target)
        out.append(Force("variance", 2.0 * setup.aversion, variance, "risk"))
    else:
        marginal = getattr(setup.term, "marginal", None)
        if marginal is not None:
            out += [Force(k, v, g, "risk") for k, v, g in marginal(target)]
    return out


def _rows(setup: Setup) -> list[tuple[str, Vector, float, float]]:
    """Groups and linear limits: name, coefficients (N,), lower, upper."""
    return [(r.name, r.coefficients, r.lower, r.upper) for r in setup.linear]


def trade_reasons(
    setup: Setup, solution: Solution, roles: tuple[str, ...], target: Vector
) -> list[str]:
    """Say why each asset trades.

    Parameters
    ----------
    setup : Setup
    solution : Solution
        With the prices of the limits.
    roles : tuple of str, length N
    target : (N,) float64
        Weights after rounding.

    Returns
    -------
    list of str
        One per asset, empty where nothing trades.
    """
    change = target - setup.current
    found = forces(setup, solution, target)
    average = {
        side: {f.key: float(f.marginal @ _shares(side * change, setup)) for f in found}
        for side in (1, -1)
    }
    reasons = []
    for i, z in enumerate(change):
        if abs(z) < 1e-9:
            reasons.append("")
        elif setup.assets[i].startswith("CASH:"):
            reasons.append("pays for the trades" if z < 0 else "proceeds and rounding")
        elif (text := _to_bound(setup, i, z)) is not None:
            reasons.append(text)
        else:
            say = _of_sale if z < 0 else _of_purchase
            text = say(i, found, average[1 if z < 0 else -1], roles[i])
            reasons.append(text + _held_back(setup, solution, i, z))
    return reasons


def _shares(change: Vector, setup: Setup) -> Vector:
    """(N,) shares of the purchases (of the sales, for the change negated)."""
    part = np.maximum(change, 0.0)
    return part / part.sum() if part.sum() > 0 else setup.current


def _to_bound(setup: Setup, i: int, z: float) -> str | None:
    """A position outside its bound trades first of all to come inside."""
    low, high = setup.lower[i], setup.upper[i]
    if z < 0 and setup.current[i] > high + 1e-9:
        return f"brought down to its bound of {high:.1%}"
    if z > 0 and setup.current[i] < low - 1e-9:
        return f"brought up to its bound of {low:.1%}"
    return None


def _strongest(pulls: list[tuple[float, Force]]) -> Force | None:
    strength, best = max(pulls, key=lambda p: p[0], default=(0.0, None))
    return best if strength > 0.0 else None


def _of_sale(i: int, found: list[Force], bought: dict[str, float], role: str) -> str:
    """Name what a sale relieves most; ``bought`` is what a unit of purchases adds."""
    best = _strongest([(f.price * (f.marginal[i] - bought[f.key]), f) for f in found])
    if best is None:
        return f"{role}: makes room for the purchases"
    if best.kind == "loss":
        return (
            f"{role}: {_loses(best.marginal[i])} under {best.plain}; what is bought "
            f"{_loses(bought[best.key])}"
        )
    if best.kind == "group":
        return f"brings {best.name} within its limit"
    if best.kind == "least":
        return f"makes room for {best.name}"
    if best.kind == "tracking":
        return "lowers the tracking error to its limit"
    if best.name == "active risk":
        return "lowers risk against the benchmark"
    return f"lowers {best.name}"


def _of_purchase(i: int, found: list[Force], sold: dict[str, float], role: str) -> str:
    """Name what a purchase is for, and what it loses where a loss is limited.

    Losing less than what is sold recommends every purchase: it is the reason only
    where there is no other.
    """
    pulls = [(f.price * (sold[f.key] - f.marginal[i]), f) for f in found]
    # Active risk is what cash would leave: an asset that moves with what was sold
    # takes some of it back, though less than what was sold would.
    active = [(-f.price * f.marginal[i], f) for f in found if f.name == "active risk"]
    apart = [(x, f) for x, f in pulls if f.kind != "loss" and f.name != "active risk"]
    best = _strongest(apart + active)
    if best is None:
        why = "takes proceeds"
    elif best.kind == "group":
        why = f"takes what leaves {best.name}"
    elif best.kind == "least":
        why = f"brings {best.name} up to its least"
    elif best.kind == "tracking":
        why = "keeps the tracking error within its limit"
    elif best.name == "active risk":
        why = "restores risk lost by the sales"
    else:
        why = f"lowers {best.name}"
    losses = [
        f"{_loses(f.marginal[i])} under {f.plain} where what is sold "
        f"{_loses(sold[f.key])}"
        for f in found
        if f.kind == "loss"
    ]
    return f"{role}: {', '.join([why, *losses])}"


def _loses(loss: float) -> str:
    if abs(loss) < 5e-4:
        return "loses nothing"
    return f"loses {loss:.1%}" if loss > 0 else f"gains {-loss:.1%}"


def _held_back(setup: Setup, solution: Solution, i: int, z: float) -> str:
    """What kept the trade from being larger."""
    if solution.duals.get("turnover", 0.0) > _IDLE:
        return ", as far as turnover allows"
    caps = setup.trade_caps
    if caps is not None and abs(z) >= caps[i] - _AT:
        return ", as far as liquidity allows"
    return ""
