"""What trading costs inside an optimisation: the cvxpy form of `engine.costs.Costs`.

    rates'(b + s) + tax's + sum_i k_i (b_i + s_i)^(3/2)  +  fee'(short after trading)

b bought and s sold, as fractions of the book's value. The 3/2 power is a pair of
second-order cones. Everything but the borrow fee is paid on trading and leaves the
book smaller; the fee falls due while a position is short, so it weighs in the
objective alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.costs import DAYS_PER_YEAR, Costs


class CostRates(NamedTuple):
    """Coefficients of a book's cost, in fractions of its value; (N,) each."""

    rates: Vector
    """Per unit of value traded."""
    tax: Vector
    """Per unit of value sold."""
    impact: Vector
    """k of ``k |z|^(3/2)``."""
    borrow: Vector
    """Fee per unit of value short, over the stated holding horizon."""


def cost_rates(
    costs: Costs,
    assets: tuple[str, ...],
    *,
    value: float,
    foreign: np.ndarray | None = None,
    tax: Vector | None = None,
) -> CostRates:
    """Coefficients for a book worth ``value`` in base currency.

    A trade of ``z`` of the book moves ``z * value``: impact in money, as a fraction of
    the book, is ``k sqrt(value) |z|^(3/2)``.
    """
    n = len(assets)
    return CostRates(
        costs.rates(assets, foreign=foreign),
        np.zeros(n) if tax is None else tax,
        costs.impact_coefficients(assets) * np.sqrt(value),
        costs.borrow_rates(assets) * (costs.borrow_days / DAYS_PER_YEAR),
    )


def paid(rates: CostRates, trade: Vector) -> float:
    """Cost of a trade (N,), as a fraction of the book; the number `cost_terms` gives.

    >>> import numpy as np
    >>> zero = np.zeros(1)
    >>> paid(CostRates(zero + 0.001, zero, zero + 0.01, zero), np.array([0.25]))
    0.0015
    """
    size = np.abs(trade)
    linear = rates.rates @ size + rates.tax @ np.maximum(-trade, 0.0)
    return float(linear + rates.impact @ (size * np.sqrt(size)))


def linear_terms(rates: CostRates, bought: Any, sold: Any) -> Any:
    """Cost in proportion to the trade, a cvxpy expression: affine."""
    return rates.rates @ (bought + sold) + rates.tax @ sold


def impact_terms(rates: CostRates, bought: Any, sold: Any) -> Any:
    """Market impact, a cvxpy expression: convex."""
    import cvxpy as cp

    rows = np.flatnonzero(rates.impact)
    return rates.impact[rows] @ cp.power(bought[rows] + sold[rows], 1.5)


def borrow_terms(rates: CostRates, after: Any) -> Any:
    """Fee on what is short after trading, a cvxpy expression: convex."""
    import cvxpy as cp

    rows = np.flatnonzero(rates.borrow)
    return rates.borrow[rows] @ cp.neg(after[rows])


def cost_terms(rates: CostRates, bought: Any, sold: Any) -> Any:
    """All that is paid on trading, a cvxpy expression: convex."""
    cost = linear_terms(rates, bought, sold)
    if rates.impact.any():
        cost = cost + impact_terms(rates, bought, sold)
    return cost


class ImpactTangent:
    """Market impact made affine at the last trade, for a budget that is an equality.

    Solving, moving the tangent to the solution and solving again is sequential convex
    programming: where it stands still, the conditions of the exact problem hold.
    """

    def __init__(self, rates: CostRates) -> None:
        import cvxpy as cp

        n = rates.impact.size
        self.impact = rates.impact
        self.slope = cp.Parameter(n, nonneg=True, value=np.zeros(n))
        self.constant = cp.Parameter(value=0.0)

    def terms(self, bought: Any, sold: Any) -> Any:
        """The tangent as a cvxpy expression: affine."""
        return self.slope @ (bought + sold) + self.constant

    def move(self, trade: Vector) -> float:
        """Move to ``trade`` (N,); how far the last tangent was from the impact there.

        Both in fractions of the book.
        """
        size = np.abs(trade)
        root = np.sqrt(size)
        exact = float(self.impact @ (size * root))
        before = float(self.slope.value @ size + self.constant.value)
        self.slope.value = 1.5 * self.impact * root
        self.constant.value = exact - float(self.slope.value @ size)
        return abs(exact - before)
