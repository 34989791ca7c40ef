"""From target weights to orders: whole shares where prices are as traded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine._typing import Vector
from engine.costs import Costs


class Orders(NamedTuple):
    """Orders in units, what they cost, and the weights they lead to."""

    units: Vector
    """(N,) signed; zero for cash."""
    cost: float
    """Base currency."""
    weights: Vector
    """(N,) of net asset value after costs; sum one."""


def to_orders(
    target: Vector,
    current: Vector,
    *,
    value: float,
    unit_price: Vector,
    units_held: Vector,
    cash_row: int,
    whole: bool,
    costs: Costs,
    assets: tuple[str, ...],
    foreign: np.ndarray,
    tax: Vector,
    minimum_trade: float,
    may_short: np.ndarray | None = None,
) -> Orders:
    """Turn a target into orders and recompute the weights they give.

    Whole shares: sales round up and purchases down, so that rounding never adds to a
    loss; leftover cash then buys single shares back where the target is missed most.

    Parameters
    ----------
    target, current : (N,) float64
        Holdings as fractions of net asset value before trading, cash rows included;
        the target sums to one minus the continuous costs.
    value : float
        Net asset value, base currency.
    unit_price : (N,) float64
        Base-currency price of one unit (1 for cash rows).
    units_held : (N,) float64
    cash_row : int
        Position of base-currency cash, which pays for everything.
    may_short : (N,) bool, optional
        Assets of which more may be sold than is held.
    """
    change = target - current
    change[np.abs(change) < minimum_trade] = 0.0
    risky = np.array([not a.startswith("CASH:") for a in assets], dtype=bool)
    units = np.where(risky, change * value / unit_price, 0.0)
    if whole:
        rounded = np.floor(units + 1e-9)
        least = -np.maximum(units_held, 0.0)
        if may_short is not None:
            least = np.where(may_short, -np.inf, least)
        rounded = np.where(units < 0, np.maximum(rounded, least), rounded)
        # A position that is closed goes whole, odd fraction included.
        closing = (units != 0) & (np.abs(target) < 1e-12) & (units_held != 0)
        units = np.where(closing, -units_held, rounded)
        units[~risky] = 0.0
        units = _spend_leftover(
            units, change, value, unit_price, cash_row, costs, assets, foreign, tax
        )

    def charge(traded: Vector) -> float:
        return costs.charge(assets, traded, foreign=foreign, tax_rates=tax)

    units = _affordable(
        units, unit_price, min(0.0, current[cash_row]), current[cash_row], value,
        whole, charge,
    )  # fmt: skip
    traded = units * unit_price
    cost = charge(traded)
    money = current * value + traded
    money[cash_row] -= traded.sum() + cost
    money[np.abs(money) < 1e-9 * value] = 0.0
    return Orders(units, cost, money / money.sum())


def _affordable(units, unit_price, floor, cash, value, whole, charge):
    """Cut purchases until cash stays above its floor.

    Dropped small sales and commissions per order are unknown to the optimiser; what
    they would have paid for is not bought on credit.
    """
    units = units.copy()
    for _ in range(100):
        traded = units * unit_price
        missing = floor * value - (cash * value - traded.sum() - charge(traded))
        bought = np.maximum(traded, 0.0)
        if missing <= 1e-9 * value or not bought.any():
            break
        if whole:
            i = int(np.argmax(bought))
            units[i] -= min(units[i], np.ceil(missing / unit_price[i]))
        else:
            left = max(0.0, 1.0 - 1.0001 * missing / bought.sum())
            units[bought > 0] *= left
    return units


def _spend_leftover(
    units, change, value, unit_price, cash_row, costs, assets, foreign, tax
):
    """Buy single shares of what fell short of its target while cash exceeds its own."""
    wanted = change * value
    units = units.copy()
    buying = np.flatnonzero(wanted > 0)
    buying = buying[buying != cash_row]
    for _ in range(4 * buying.size):
        traded = units * unit_price
        cost = costs.charge(assets, traded, foreign=foreign, tax_rates=tax)
        spare = -(traded.sum() + cost) - wanted[cash_row]
        short = wanted[buying] - traded[buying]
        affordable = (unit_price[buying] <= spare) & (short > 0.5 * unit_price[buying])
        if not affordable.any():
            break
        best = buying[int(np.argmax(np.where(affordable, short, -np.inf)))]
        units[best] += 1.0
    return units
