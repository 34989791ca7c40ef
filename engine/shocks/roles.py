"""The structural table: multipliers and exposure bands by AI role (methods 2.3).

Every number is judgement made with knowledge of 27 January 2025 and unsourced: role
bands stand in until dated per-company exposures exist. 0.055 for neocloud and lab
backer is a fit to that day. Outputs that use the table say "calibrated"; the flat
variant replaces the multipliers by common ones.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple


class RoleRow(NamedTuple):
    """One row of the structural table."""

    pass_through: float
    """phi: share of the revenue gap that reaches the role."""
    operating_leverage: float
    """DOL: earnings gap per unit of revenue gap."""
    adoption: float
    """v: adoption benefit per unit of log cost surprise."""
    erosion: float
    """d: fee or scarcity-rent erosion per unit of log cost surprise."""
    share: tuple[float, float]
    """Typical AI share of revenue, low and high; the midpoint is the central value."""
    remaining: float = 1.0
    """Multiple of the event's log move that is left at the horizon."""
    deepening: float = 0.0
    """Power of ``persistence`` in a fall: one at the persistent horizon."""


OLDER_WEIGHTS = MappingProxyType({"accelerator": 1.0, "foundry": 0.5, "memory": 0.5})
"""How much of a move to older processors a seller's AI revenue feels. Judgement: the
sellers of the newest feel all of it; a used or older part still needed a wafer and
memory once, on cheaper nodes; racks, networks and power do not care which generation
they serve."""
OVERSEAS_ROLES = frozenset({"overseas_efficient"})
PLATFORM_ROLES = frozenset({"hyperscaler", "software", "device"})
"""Roles whose multiple `overseas_rerating` and `platform_rerating` move."""

CALIBRATED = MappingProxyType(
    {
        "accelerator": RoleRow(1.0, 1.3, 0.0, 0.02, (0.15, 0.85)),
        "foundry": RoleRow(1.0, 1.6, 0.0, 0.0, (0.0, 0.30)),
        "memory": RoleRow(1.0, 2.0, 0.0, 0.0, (0.10, 0.30)),
        "semicap": RoleRow(1.0, 1.6, 0.0, 0.0, (0.15, 0.45)),
        "network": RoleRow(1.1, 1.6, 0.0, 0.0, (0.10, 0.85)),
        "servers": RoleRow(1.0, 1.6, 0.0, 0.0, (0.10, 0.70)),
        "dc_power": RoleRow(1.2, 1.6, 0.0, 0.0, (0.10, 0.65)),
        "power_gen": RoleRow(1.1, 2.0, 0.0, 0.0, (0.15, 0.80)),
        "utility": RoleRow(1.0, 1.0, 0.01, 0.0, (0.0, 0.05)),
        "neocloud": RoleRow(1.0, 2.0, 0.0, 0.055, (0.50, 0.95)),
        "dc_reit": RoleRow(1.0, 1.3, 0.0, 0.0, (0.20, 0.30)),
        "lab_backer": RoleRow(1.0, 1.5, 0.0, 0.055, (0.35, 0.35)),
        "hyperscaler": RoleRow(0.0, 0.0, 0.01, 0.02, (0.0, 0.0)),
        "software": RoleRow(0.0, 0.0, 0.025, 0.0, (0.0, 0.0)),
        "device": RoleRow(0.0, 0.0, 0.015, 0.0, (0.0, 0.0)),
        "overseas_efficient": RoleRow(0.0, 0.0, 0.02, 0.0, (0.0, 0.0)),
        "none": RoleRow(0.0, 0.0, 0.0, 0.0, (0.0, 0.0)),
    }
)

_FLAT_COMMON = 0.015


def _flat(row: RoleRow) -> RoleRow:
    """Multipliers common to all: phi 1, DOL 1.5, one v and one d (methods 2.3)."""
    exposed = row.pass_through > 0
    return RoleRow(
        1.0 if exposed else 0.0,
        1.5 if exposed else 0.0,
        _FLAT_COMMON if row.adoption > 0 else 0.0,
        _FLAT_COMMON if row.erosion > 0 else 0.0,
        row.share,
    )


FLAT = MappingProxyType({role: _flat(row) for role, row in CALIBRATED.items()})
VARIANTS = MappingProxyType({"calibrated": CALIBRATED, "flat": FLAT})

COMPANY_BAND = MappingProxyType(
    {
        "Information Technology": 1.0,
        "Utilities": 1.0,
        "Industrials": 0.7,
        "Real Estate": 0.4,
        "Communication Services": 0.5,
        "Consumer Discretionary": 0.4,
        "Energy": 0.5,
        "Materials": 0.4,
        "Financials": 0.2,
        "Health Care": 0.2,
        "Consumer Staples": 0.1,
    }
)
"""Upper band for a company of unknown role: share of the AI basket's move, by sector.

Judgement: 1.0 where a company of the sector can be wholly an AI supplier."""

FUND_BAND = MappingProxyType(
    {
        "Information Technology": 0.6,
        "Large Growth": 0.35,
        "Utilities": 0.3,
        "Industrials": 0.25,
        "Communication Services": 0.2,
        "Consumer Discretionary": 0.15,
        "Broad Market": 0.15,
        "Factor": 0.15,
        "Energy": 0.15,
        "Real Estate": 0.2,
        "Materials": 0.1,
        "Financials": 0.05,
        "Health Care": 0.05,
        "Consumer Staples": 0.05,
        "Managed Futures & Hedge": 0.15,
    }
)
"""Upper band for a fund that is not looked through: share of the AI basket's move.

Judgement, above the weight of AI suppliers in such funds at the end of 2024."""

UNSTATED_BAND = 1.0
"""Where not even the sector is stated: the whole move of the AI basket."""
