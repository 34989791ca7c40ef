"""AI roles: where a company stands in the supply chain of a cheap-model shock.

Roles are the rows of the structural table (methods 2.3 of the documentation); themes
are the labels users' universe files carry. A theme outside the mapping is unknown,
which is never the same as zero.
"""

from __future__ import annotations

from types import MappingProxyType

ROLES = (
    "accelerator",
    "foundry",
    "memory",
    "semicap",
    "network",
    "servers",
    "dc_power",
    "power_gen",
    "utility",
    "neocloud",
    "dc_reit",
    "lab_backer",
    "hyperscaler",
    "software",
    "device",
    "overseas_efficient",
    "none",
    "unknown",
)
"""``none`` is a documented absence of exposure; ``unknown`` is not."""

INFRASTRUCTURE = frozenset(
    {
        "accelerator",
        "foundry",
        "memory",
        "semicap",
        "network",
        "servers",
        "dc_power",
        "power_gen",
        "neocloud",
        "dc_reit",
        "lab_backer",
    }
)
"""Roles that sell into compute demand; their average is the AI basket."""

THEME_TO_ROLE = MappingProxyType(
    {
        "semis": "accelerator",
        "foundry": "foundry",
        "memory_storage": "memory",
        "semicap": "semicap",
        "networking_optics": "network",
        "servers": "servers",
        "electrical_equipment": "dc_power",
        "power": "power_gen",
        "nuclear_gas": "power_gen",
        "neocloud_hpc": "neocloud",
        "datacenter_reit": "dc_reit",
        "china_datacenter": "dc_reit",
        "hyperscaler": "hyperscaler",
        "ai_software": "software",
        "it_services": "software",
        "eda": "software",
        "device_platform": "device",
        "china_internet_ai": "overseas_efficient",
        "none": "none",
    }
    | {role: role for role in ROLES}
)
"""Themes of a universe file to roles; role names are accepted as they are.

Themes that mix several businesses (``mixed_ai``, ``semis_analog``, ``ai_adjacent``,
``china_semis``) have no row in the structural table and stay unknown.
"""

TICKER_ROLE = MappingProxyType(
    {"ORCL": "lab_backer", "TSLA": "device"}
    | dict.fromkeys(("DUK", "SO", "AEP", "D", "ETR", "ED", "XEL", "WEC"), "utility")
)
"""Where one company's role differs from its theme.

Oracle financed the Stargate venture announced on 21 January 2025; the utilities named
earn a regulated return and sell little power at market prices.
"""

COMPANY_CLASSES = frozenset({"equity", "adr"})
DOCUMENTED_ZERO_CLASSES = frozenset(
    {"etf_bond", "etf_commodity", "etf_currency", "cash", "future", "index_currency"}
)
"""Asset classes with no claim on company earnings: their structural move is zero."""


def role_of(theme: str | None, asset_class: str, ticker: str = "") -> str:
    """Return the role for a theme, or ``"unknown"``.

    Parameters
    ----------
    theme : str or None
        Label of the universe file; None or empty is unknown.
    asset_class : str
        ``none`` is believed for a company and for classes without earnings; an
        equity fund marked ``none`` still holds AI companies, so it is unknown until
        it is looked through.
    ticker : str
        For companies whose role differs from their theme.
    """
    if asset_class in DOCUMENTED_ZERO_CLASSES:
        return "none"
    if ticker in TICKER_ROLE and asset_class in COMPANY_CLASSES:
        return TICKER_ROLE[ticker]
    role = THEME_TO_ROLE.get((theme or "").strip(), "unknown")
    if asset_class not in COMPANY_CLASSES:
        return "unknown"
    return role
