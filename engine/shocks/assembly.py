"""One move per asset: the table, funds looked through, unknowns, lens, market leg.

A company with a row in the table takes its links; a fund the mean move of what it
holds; an unknown exposure the worse of AI-basket beta and sector band; documented
zeros do not move. A lens may replace the table by the basket's move times beta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import ModelError, UsageError
from engine.fund_table import FundTable
from engine.shocks.basis import basis_words
from engine.shocks.basket import basket_betas, basket_move, sector_bands
from engine.shocks.chain import capex_relief
from engine.shocks.explain import Chain
from engine.shocks.looked_through import Split, looked_through
from engine.shocks.moves import ShockMoves
from engine.shocks.roles import RoleRow
from engine.shocks.severity import draw_parameters
from engine.shocks.table import (
    LINK_NAMES,
    earnings_logs,
    rows_of,
    shares_of,
    table_moves,
)

_FLOOR = -0.99
"""Nothing replayed by beta or band loses more; the table has no such line."""


def structural_moves(
    parameters: Mapping[str, float],
    universe: Any,
    model: Any,
    *,
    table: Mapping[str, RoleRow],
    lens: str,
    horizon: str,
    ai_capex: Mapping[str, float],
    costs: tuple[float, float] | None,
) -> ShockMoves:
    """Moves of N assets under the structural shock.

    Parameters
    ----------
    parameters : mapping
        Value of every parameter.
    universe, model
        As `engine.CheapModelShock.moves` takes them.
    table : mapping of role to RoleRow
        Multipliers at the horizon.
    lens, horizon, ai_capex, costs
        As `engine.CheapModelShock` documents them, checked.
    """
    roles, names = universe.role, universe.tickers
    known = np.array([r in table for r in roles], dtype=bool)
    zero = universe.is_structural_zero()
    draws = draw_parameters(parameters)
    beta, beta_market, basket = basket_betas(universe, model)
    market = parameters["market_move"]
    if market and beta_market is None:
        raise UsageError(
            "market_move needs a model to take betas from", received=market
        )
    centre, spread = table_moves(universe, table, parameters, draws)
    members = basket if basket.any() else None
    total = np.sum(centre, axis=0)[None, :]
    driver0 = basket_move(total, members, parameters, table)
    driver = basket_move(spread, members, draws, table)
    band = sector_bands(universe)
    by_rule, by_rule_drawn = (_by_rule(d, band, beta) for d in (driver0, driver))
    funds = FundTable() if model is None else model.funds
    through = looked_through(
        funds,
        universe,
        table,
        parameters,
        draws,
        (np.expm1(by_rule[0]), np.expm1(by_rule_drawn)),
    )
    seen = np.zeros(len(roles), dtype=bool)
    seen[through.columns] = True
    unknown = ~known & ~zero & ~seen
    payers = known & ~zero & ~seen
    relief = np.where(payers, [ai_capex.get(t, 0.0) for t in names], 0.0)

    def blank() -> Vector:
        return np.zeros(len(roles))

    parts = {
        name: np.where(seen | zero, 0.0, link)
        for name, link in zip(LINK_NAMES, centre, strict=True)
    } | {
        "capex relief": relief * capex_relief(parameters),
        "look-through": blank(),
        "replay or band": np.where(unknown, by_rule[0], 0.0),
        "propagation": blank(),
        "market": blank(),
    }
    parts["look-through"][through.columns] = np.log1p(through.central)
    spread = np.where(unknown, by_rule_drawn, spread)
    spread[:, through.columns] = np.log1p(through.draws)
    if relief.any():
        spread = spread + relief * np.atleast_1d(capex_relief(draws))[:, None]
    used_lens = np.zeros(len(roles), dtype=bool)
    if lens == "propagated" and beta is None:
        raise ModelError(
            "propagation needs a model with at least three companies of "
            "AI infrastructure roles",
            received=int(basket.sum()),
        )
    if lens != "structural" and beta is not None:
        free = ~zero & ~unknown
        used_lens, spread = _through_lens(
            lens,
            parts,
            spread,
            free,
            _by_beta(driver0, beta)[0],
            _by_beta(driver, beta),
        )
    leg = blank()
    if market and beta_market is not None:
        leg = np.log1p(np.maximum(beta_market * market, _FLOOR))
        leg = np.where(zero, 0.0, leg)
        parts["market"] = leg
        spread = spread + leg
    central = np.expm1(np.sum(list(parts.values()), axis=0))
    words = basis_words(
        universe,
        zero,
        unknown,
        used_lens,
        beta,
        band,
        float(driver0[0]),
        dict(zip(through.columns, through.basis, strict=True)),
        funds,
    )
    if parameters["relief_kept"]:
        paying = np.array([r == "hyperscaler" for r in roles]) & payers & ~used_lens
        words = _relief_words(words, names, paying, ai_capex)
    rows = rows_of(universe, table)
    share = shares_of(universe, rows)[:, 1]
    by_table = payers & ~used_lens
    earnings = earnings_logs(roles, rows, share, parameters)
    return ShockMoves(
        assets=names,
        central=central,
        draws=np.where(zero, 0.0, np.expm1(spread)),
        driver=driver,
        basis=words,
        parts=parts,
        through={
            names[i]: _with_market(split, float(np.expm1(leg[i])))
            for i, split in zip(through.columns, through.splits, strict=True)
            if not used_lens[i]
        },
        earnings_gap=np.where(by_table, earnings, np.where(zero, 0.0, np.nan)),
        chain=Chain(
            parameters=parameters,
            horizon=horizon,
            costs=costs,
            roles=roles,
            rows=tuple(rows),
            shares=share,
            by_table=by_table,
            ai_capex=relief,
        ),
    )


def _by_beta(driver: Vector, beta: Vector) -> Matrix:
    """(M, N) log moves: the basket's simple move times beta."""
    simple = beta * np.expm1(driver)[:, None]
    return np.log1p(np.maximum(simple, _FLOOR))


def _by_rule(driver: Vector, band: Vector, beta: Vector | None) -> Matrix:
    """(M, N) log moves of unknown exposure: the worse of beta replay and band."""
    simple = np.expm1(driver)[:, None]
    candidates = [band * simple]
    if beta is not None:
        candidates.append(beta * simple)
    return np.log1p(np.maximum(np.minimum.reduce(candidates), _FLOOR))


def _through_lens(
    lens: str,
    parts: dict[str, Vector],
    spread: Matrix,
    free: np.ndarray,
    by_beta: Vector,
    by_beta_drawn: Matrix,
) -> tuple[np.ndarray, Matrix]:
    """Which of the ``free`` assets the lens moves, and the draws; fills ``parts``."""
    used = free
    if lens == "worst":
        used = free & (by_beta < np.sum(list(parts.values()), axis=0))
        by_beta_drawn = np.minimum(spread, by_beta_drawn)
    for part in parts.values():
        part[used] = 0.0
    parts["propagation"][used] = by_beta[used]
    return used, np.where(free, by_beta_drawn, spread)


def _with_market(split: Split, move: float) -> Split:
    """Contributions by role when each part of a fund moves with the market as well."""
    return {r: (w, x * (1.0 + move) + w * move) for r, (w, x) in split.items()}


def _relief_words(
    words: Sequence[str],
    names: Sequence[str],
    payers: np.ndarray,
    ai_capex: Mapping[str, float],
) -> tuple[str, ...]:
    """Say where capex relief is on but a payer's spending is not known."""
    return tuple(
        f"{w}; AI capex unknown: no relief counted" if p and t not in ai_capex else w
        for w, t, p in zip(words, names, payers, strict=True)
    )
