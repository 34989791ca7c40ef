"""The structural table applied to companies: log moves by link, central and drawn.

    F_r = exp(dlnH) [1 - w_r u (1 - p)]                         AI revenue left
    ln(1 + r_i) = lambda x_r [DOL_r phi_r L ln(1 - a_i + a_i F_r)
                              - d_r e s + v_r s] + lambda R_r

with ``u`` and ``p`` the share and price of older processors, ``e`` the erosion factor
and ``R_r`` the re-rating of overseas leaders, or at the persistent horizon of platforms
(`engine.shocks.chain`); ``x_r`` is what the horizon leaves of the move
(`engine.shocks.rebound`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Matrix, Vector
from engine.shocks.chain import (
    demand_gap,
    erosion_factor,
    older_gap,
    present_value,
    surprise,
)
from engine.shocks.roles import OLDER_WEIGHTS, OVERSEAS_ROLES, PLATFORM_ROLES, RoleRow
from engine.shocks.severity import exposure_uniforms


class Links(NamedTuple):
    """Links of the chain in logs, broadcasting to (M, N)."""

    demand: Matrix
    older: Matrix
    erosion: Matrix
    adoption: Matrix
    rerating: Matrix


LINK_NAMES = (
    "compute demand",
    "older processors",
    "fee erosion",
    "adoption",
    "re-rating",
)


def role_logs(
    roles: Sequence[str], rows: Sequence[RoleRow], shares: Any, q: Mapping[str, Any]
) -> Links:
    """Log moves of N companies by link, at parameters or (M,) draws ``q``.

    Parameters
    ----------
    roles, rows : length N
        Role of each company and its row of the table.
    shares : (N,) or (M, N)
        AI share of revenue.
    """
    column = {k: np.atleast_1d(v)[:, None] for k, v in q.items()}
    s, gap, L = (
        np.atleast_1d(f(q))[:, None] for f in (surprise, demand_gap, present_value)
    )
    pairs = list(zip(rows, roles, strict=True))
    phi_dol = np.array([r.operating_leverage * r.pass_through for r in rows])
    size = column["severity"] * np.array([r.remaining for r in rows])
    demand = size * phi_dol * L * np.log1p(shares * np.expm1(gap))
    weight = _weights(roles, OLDER_WEIGHTS)
    none = np.zeros((1, len(rows)))
    older = none
    if column["previous_generation_share"].any() and weight.any():
        both = gap + older_gap(column, weight)
        older = size * phi_dol * L * np.log1p(shares * np.expm1(both)) - demand
    # A new multiple is a level: neither re-rating is deepened by the persistence.
    remaining = np.array([r.remaining * (x in OVERSEAS_ROLES) for r, x in pairs])
    deep = np.array([r.deepening * (x in PLATFORM_ROLES) for r, x in pairs])
    rerated = none
    for key, felt in (("overseas_rerating", remaining), ("platform_rerating", deep)):
        if column[key].any():
            rerated = rerated + column["severity"] * column[key] * felt
    fees = -size * erosion_factor(column) * np.array([r.erosion for r in rows]) * s
    gained = size * column["adoption_scale"] * np.array([r.adoption for r in rows]) * s
    if not any(r.deepening for r in rows):
        return Links(demand, older, fees, gained, rerated)
    falls = demand + older + fees + gained < 0
    P = np.where(falls, _deepening(rows, column["persistence"]), 1.0)
    return Links(P * demand, P * older, P * fees, P * gained, rerated)


def earnings_logs(
    roles: Sequence[str], rows: Sequence[RoleRow], shares: Vector, q: Mapping[str, Any]
) -> Vector:
    """(N,) log earnings gap once it is fully open, T_g years on.

    The links of `role_logs` without the present-value ratio, without re-rating and
    without the rebound, which are prices; falls are deepened where the horizon is
    persistent.
    """
    s, gap = float(surprise(q)), float(demand_gap(q))
    phi_dol = np.array([r.operating_leverage * r.pass_through for r in rows])
    both = gap + older_gap(q, _weights(roles, OLDER_WEIGHTS))
    fees = q["adoption_scale"] * np.array([r.adoption for r in rows])
    fees = fees - erosion_factor(q) * np.array([r.erosion for r in rows])
    gaps = phi_dol * np.log1p(shares * np.expm1(both)) + fees * s
    deepened = np.where(gaps < 0, _deepening(rows, q["persistence"]), 1.0)
    return q["severity"] * deepened * gaps


def table_moves(
    universe: Any, table: Any, centre: Mapping[str, Any], draws: Mapping[str, Any]
) -> tuple[list[Vector], Matrix]:
    """Links of the chain, each (N,), and their sum in every draw, (M, N).

    Parameters
    ----------
    universe : Universe
        Roles and AI shares; a role that the table lacks reads as ``none``.
    table : mapping of role to RoleRow
    centre, draws : mapping
        Parameters of the shock by name: numbers, and (M,) draws.

    Returns
    -------
    links, spread
        `LINK_NAMES` at the central AI share; their sum at the drawn shares. In logs.
    """
    rows = rows_of(universe, table)
    share = shares_of(universe, rows)
    uniform = exposure_uniforms(universe.tickers)
    # The central share is the median, wherever it lies in its band.
    drawn = np.where(
        uniform < 0.5,
        share[:, 0] + (share[:, 1] - share[:, 0]) * 2 * uniform,
        share[:, 1] + (share[:, 2] - share[:, 1]) * (2 * uniform - 1),
    )
    links = role_logs(universe.role, rows, share[None, :, 1], centre)
    at_draws = role_logs(universe.role, rows, drawn, draws)
    return [link[0] for link in links], _summed(at_draws, drawn.shape)


def table_logs(universe: Any, table: Any, q: Mapping[str, Any]) -> Matrix:
    """(M, N) log moves at (M,) parameters ``q`` and the central AI shares."""
    rows = rows_of(universe, table)
    links = role_logs(universe.role, rows, shares_of(universe, rows)[None, :, 1], q)
    return _summed(links, (max(np.size(v) for v in q.values()), len(rows)))


def _summed(links: Links, shape: tuple[int, ...]) -> Matrix:
    out = np.array(np.broadcast_to(links.demand, shape))
    for link in links[1:]:
        if link.any():
            out += link
    return out


def rows_of(universe: Any, table: Any) -> list[RoleRow]:
    """Row of the table of each asset; ``none`` where the table lacks the role."""
    return [table.get(r, table["none"]) for r in universe.role]


def shares_of(universe: Any, rows: Sequence[RoleRow]) -> Matrix:
    """(N, 3) low, central, high: the user's share, else the role's band."""
    bands = np.array([[r.share[0], sum(r.share) / 2, r.share[1]] for r in rows])
    given = ~np.isnan(universe.ai_share).any(axis=1)
    return np.where(given[:, None], universe.ai_share, bands)


def _weights(roles: Sequence[str], table: Mapping[str, float]) -> Vector:
    return np.array([table.get(r, 0.0) for r in roles])


def _deepening(rows: Sequence[RoleRow], persistence: Any) -> Any:
    """Multiple of a fall that lasts; a rise lasts as it is."""
    return persistence ** np.array([r.deepening for r in rows])
