"""Horizons of the shock: what of the event's move is left later, by role.

    ln(1 + r_i(h)) = (1 - f_r(h)) ln(1 + r_i)          h = next day, month
    ln(1 + r_i(persistent)) = P ln(1 + r_i) for a fall, ln(1 + r_i) for a rise

``f`` is the fraction of the log move of 27 January 2025 that was recovered by the
close of 28 January and 21 sessions after the event (26 February 2025), the median over
the companies of a role that had moved by more than 2%; total returns, not market
adjusted (the S&P 500 stood 0.8% lower after the month than on the day). Negative: it
fell further. All 85 such sellers of compute recovered 8% by the next day and 8% by the
month; 85% of them stood above their close of 24 January by 22 September 2025. One
episode: a fraction is orientation, not an estimate.

``P``, the persistence, is judgement from 2000-02, when carrier-equipment makers lost
89% (CSCO) to 99% (GLW, JDSU, CIEN 98.4%): with the substitution preset and P = 4
network companies lose 88% at the role's midpoint and 98.7% at its upper share. The
analogue is of falls, so a rise is not compounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from engine.errors import UsageError
from engine.shocks.roles import RoleRow

HORIZONS = ("day", "next_day", "month", "persistent")


class Recovered(NamedTuple):
    """Fraction of the event's log move recovered by two later closes."""

    next_day: float
    month: float
    companies: int
    """Companies behind the medians; zero where the pooled figure stands in."""


_POOLED = Recovered(0.080, 0.083, 0)
REBOUND = MappingProxyType(
    {
        "accelerator": Recovered(0.164, 0.264, 13),
        "foundry": Recovered(0.221, 0.533, 2),
        "memory": Recovered(-0.256, 0.562, 5),
        "semicap": Recovered(-0.139, -0.490, 9),
        "network": Recovered(0.196, 0.174, 8),
        "servers": Recovered(0.119, 0.741, 7),
        "dc_power": Recovered(-0.018, -0.265, 16),
        "power_gen": Recovered(0.119, 0.120, 14),
        "neocloud": Recovered(0.008, -0.340, 5),
        "dc_reit": Recovered(0.168, 0.371, 5),
        "lab_backer": Recovered(0.239, 0.579, 1),
        # Moved too little on the day for a fraction to mean anything: pooled.
        "utility": _POOLED,
        "hyperscaler": _POOLED,
        "software": _POOLED,
        "device": _POOLED,
        "overseas_efficient": _POOLED,
        "none": _POOLED,
    }
)
"""Measured on adjusted closes of the companies of the exposure table, to 3 decimals."""


def at_horizon(table: Mapping[str, RoleRow], horizon: str) -> Mapping[str, RoleRow]:
    """Return the table of multipliers with what is left at a horizon put in.

    Parameters
    ----------
    table : mapping of role to RoleRow
    horizon : {"day", "next_day", "month", "persistent"}
        Day is the event's own close, the table as it is.
    """
    if horizon == "day":
        return table
    if horizon == "persistent":
        return {role: row._replace(deepening=1.0) for role, row in table.items()}
    return {
        role: row._replace(remaining=1.0 - getattr(REBOUND[role], horizon))
        for role, row in table.items()
    }


def checked_horizon(horizon: object) -> str:
    """Return the horizon, or raise `UsageError` naming the known ones."""
    if horizon not in HORIZONS:
        raise UsageError(
            "unknown shock horizon",
            received=repr(horizon),
            expected=", ".join(HORIZONS),
        )
    return str(horizon)
