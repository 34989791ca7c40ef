"""The AI basket: who is in it, how far it moves, and who follows it.

Beta is against the basket minus the market, beside the market, from a model's
covariance: a fund may fall with AI names without being one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine._typing import Vector
from engine.data.roles import COMPANY_CLASSES, INFRASTRUCTURE
from engine.shocks.roles import COMPANY_BAND, FUND_BAND, UNSTATED_BAND
from engine.shocks.table import role_logs


def basket_betas(universe: Any, model: Any) -> tuple[Vector | None, Vector | None, Any]:
    """AI-basket beta (basket minus market), market beta, and the basket's members.

    The market proxy is SPY where the model has it, else the equal-weighted companies
    and equity funds outside the basket.
    """
    members = np.array(
        [
            r in INFRASTRUCTURE and c in COMPANY_CLASSES
            for r, c in zip(universe.role, universe.asset_class, strict=True)
        ],
        dtype=bool,
    )
    if model is None:
        return None, None, members
    position = {a: i for i, a in enumerate(model.assets)}
    inside = np.array([position.get(t, -1) for t in universe.tickers])
    C = model.dense_covariance()
    n = C.shape[0]
    basket = np.zeros(n)
    columns = inside[members & (inside >= 0)]
    basket[columns] = 1.0
    market = np.zeros(n)
    if "SPY" in position:
        market[position["SPY"]] = 1.0
    else:
        zero = universe.is_structural_zero()
        market[inside[~members & ~zero & (inside >= 0)]] = 1.0
    if not market.any():
        market[:] = 1.0
    market /= market.sum()
    covers = np.column_stack([C, np.zeros(n)])  # column -1 stands for cash

    def beta(factors):
        F = np.column_stack(factors)
        return np.linalg.lstsq(F.T @ C @ F, F.T @ covers[:, inside], rcond=None)[0]

    market_beta = beta([market])[0]
    if columns.size < 3:  # too few names to call it a basket
        return None, market_beta, members
    basket /= basket.sum()
    return beta([market, basket - market])[1], market_beta, members


def basket_move(
    logs: np.ndarray, members: Any, q: Mapping[str, Any], table: Any
) -> Vector:
    """(M,) log of the AI basket's mean move, at parameters or draws ``q``.

    Without members present, the roles' midpoints stand in.
    """
    if members is not None:
        return np.log(np.exp(logs[:, members]).mean(axis=1))
    roles = sorted(INFRASTRUCTURE)
    rows = [table[r] for r in roles]
    share = np.array([sum(r.share) / 2 for r in rows])
    values = np.add.reduce(list(np.broadcast_arrays(*role_logs(roles, rows, share, q))))
    return np.log(np.exp(values).mean(axis=1))


def sector_bands(universe: Any) -> Vector:
    """(N,) share of the basket's move that an unknown of this sector takes."""
    rows = []
    for sector, kind in zip(universe.sector, universe.asset_class, strict=True):
        table = COMPANY_BAND if kind in COMPANY_CLASSES else FUND_BAND
        rows.append(table.get(sector, UNSTATED_BAND))
    return np.array(rows)
