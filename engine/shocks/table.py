"""The structural table applied to companies: log moves by link, central and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.shocks.chain import demand_gap, present_value, surprise
from engine.shocks.severity import exposure_uniforms


def table_moves(
    universe: Any, table: Any, centre: Mapping[str, Any], draws: Mapping[str, Any]
) -> tuple[list[Vector], Matrix]:
    """Three links of the chain, each (N,), and their sum in every draw, (M, N).

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
        Compute demand, fee erosion and adoption at the central AI share; their sum at
        the drawn shares. All in logs.
    """
    rows = [table.get(r, table["none"]) for r in universe.role]
    sensitivity = np.array([r.operating_leverage * r.pass_through for r in rows])
    adoption = np.array([r.adoption for r in rows])
    erosion = np.array([r.erosion for r in rows])
    share = _shares(universe, rows)
    uniform = exposure_uniforms(universe.tickers)
    # The central share is the median, wherever it lies in its band.
    drawn = np.where(
        uniform < 0.5,
        share[:, 0] + (share[:, 1] - share[:, 0]) * 2 * uniform,
        share[:, 1] + (share[:, 2] - share[:, 1]) * (2 * uniform - 1),
    )

    def logs(q, shares):
        s, gap, L = (
            np.atleast_1d(f(q))[:, None] for f in (surprise, demand_gap, present_value)
        )
        size = q["severity"]
        demand = size * sensitivity * L * np.log1p(shares * np.expm1(gap))
        lost = -size * q["erosion_scale"] * erosion * s
        gained = size * q["adoption_scale"] * adoption * s
        return demand, lost, gained

    links = [v[0] for v in logs(centre, share[None, :, 1])]
    return links, np.sum(logs(draws, drawn), axis=0)


def _shares(universe: Any, rows: list) -> Matrix:
    """(N, 3) low, central, high: the user's share, else the role's band."""
    bands = np.array([[r.share[0], sum(r.share) / 2, r.share[1]] for r in rows])
    given = ~np.isnan(universe.ai_share).any(axis=1)
    return np.where(given[:, None], universe.ai_share, bands)
