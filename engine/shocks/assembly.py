"""One move per asset: the table, funds looked through, unknowns, lens, market leg.

A company with a row in the table takes its links; a fund the mean move of what it
holds; an unknown exposure the worse of AI-basket beta and sector band; documented
zeros do not move. A lens may replace the table by the basket's move times beta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import ModelError, UsageError
from engine.fund_table import FundTable
from engine.shocks.basis import basis_words
from engine.shocks.basket import basket_betas, basket_move, sector_bands
from engine.shocks.chain import capex_relief
from engine.shocks.explain import Chain
from engine.shocks.looked_through import LookedThrough, Split, looked_through
from engine.shocks.moves import ShockMoves
from engine.shocks.roles import RoleRow
from engine.shocks.severity import draw_parameters
from engine.shocks.table import (
    LINK_NAMES,
    earnings_logs,
    rows_of,
    shares_of,
    table_logs,
    table_moves,
)

_FLOOR = -0.99
"""Nothing replayed by beta or band loses more; the table has no such line."""


@dataclass(frozen=True)
class Setting:
    """What the moves of N assets depend on beside the parameters of the shock.

    Attributes
    ----------
    universe : Universe
    table : mapping of role to RoleRow
        Multipliers at the horizon.
    funds : FundTable
    lens : str
    capex : (N,) float64
        AI capital spending a year over market value: the shock's own entry, else the
        universe's; NaN where not known.
    known, zero, seen : (N,) bool
        A row in the table; no earnings to lose; looked through.
    beta, beta_market : (N,) float64 or None
        AI-basket and market beta of the model.
    members : (N,) bool or None
        The AI basket; None where it is empty.
    band : (N,) float64
        Sector band of unknown exposure.
    """

    universe: Any
    table: Mapping[str, RoleRow]
    funds: FundTable
    lens: str
    capex: Vector
    known: np.ndarray
    zero: np.ndarray
    seen: np.ndarray
    beta: Vector | None
    beta_market: Vector | None
    members: np.ndarray | None
    band: Vector

    @property
    def unknown(self) -> np.ndarray:
        """(N,) bool: moves by the rule for unknown exposure."""
        return ~self.known & ~self.zero & ~self.seen

    @property
    def payers(self) -> np.ndarray:
        """(N,) bool: moves by the table's own row."""
        return self.known & ~self.zero & ~self.seen

    @property
    def relief(self) -> Vector:
        """(N,) AI capital spending whose saving counts; zero where not known."""
        return np.where(self.payers & np.isfinite(self.capex), self.capex, 0.0)


def setting_of(
    universe: Any,
    model: Any,
    *,
    table: Mapping[str, RoleRow],
    lens: str,
    ai_capex: Mapping[str, float],
) -> Setting:
    """Betas, bands and what is known of N assets; raises what no parameter can mend.

    Parameters
    ----------
    universe, model, lens, ai_capex
        As `engine.CheapModelShock` documents them, checked.
    table : mapping of role to RoleRow
    """
    beta, beta_market, basket = basket_betas(universe, model)
    if lens == "propagated" and beta is None:
        raise ModelError(
            "propagation needs a model with at least three companies of "
            "AI infrastructure roles",
            received=int(basket.sum()),
        )
    funds = FundTable() if model is None else model.funds
    zero = universe.is_structural_zero()
    held = {e.fund for e in funds.exposures}
    return Setting(
        universe=universe,
        table=table,
        funds=funds,
        lens=lens,
        capex=np.array(
            [
                ai_capex.get(t, own)
                for t, own in zip(universe.tickers, universe.ai_capex, strict=True)
            ]
        ),
        known=np.array([r in table for r in universe.role], dtype=bool),
        zero=zero,
        seen=~zero & np.array([t in held for t in universe.tickers], dtype=bool),
        beta=beta,
        beta_market=beta_market,
        members=basket if basket.any() else None,
        band=sector_bands(universe),
    )


def central_moves(
    setting: Setting, parameters: Mapping[str, float], points: Mapping[str, Any]
) -> Matrix:
    """(M, N) central simple moves at M points of the parameters, without severities.

    Row m is ``structural_moves(...).central`` at point m.

    Parameters
    ----------
    setting : Setting
    parameters : mapping
        Value of every parameter.
    points : mapping of name to (M,) array
        Parameters that differ between the points.
    """
    size = max(np.size(v) for v in points.values()) if points else 1
    q = dict(parameters) | {k: np.broadcast_to(v, size) for k, v in points.items()}
    if not points:  # one point: some parameter has to carry its axis
        q["cost_ratio"] = np.full(1, parameters["cost_ratio"])
    logs = table_logs(setting.universe, setting.table, q)
    driver = basket_move(logs, setting.members, q, setting.table)
    by_rule = _by_rule(driver, setting.band, setting.beta)
    through = looked_through(
        setting.funds,
        setting.universe,
        setting.table,
        parameters,
        q,
        (np.expm1(by_rule[0]), np.expm1(by_rule)),
        certain=True,
    )
    return np.expm1(_together(setting, logs, q, driver, by_rule, through))


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
    setting = setting_of(universe, model, table=table, lens=lens, ai_capex=ai_capex)
    roles, names = universe.role, universe.tickers
    zero, unknown, seen, payers = (
        setting.zero,
        setting.unknown,
        setting.seen,
        setting.payers,
    )
    beta, band, relief = setting.beta, setting.band, setting.relief
    draws = draw_parameters(parameters)
    centre, spread = table_moves(universe, table, parameters, draws)
    total = np.sum(centre, axis=0)[None, :]
    driver0 = basket_move(total, setting.members, parameters, table)
    driver = basket_move(spread, setting.members, draws, table)
    by_rule, by_rule_drawn = (_by_rule(d, band, beta) for d in (driver0, driver))
    through = looked_through(
        setting.funds,
        universe,
        table,
        parameters,
        draws,
        (np.expm1(by_rule[0]), np.expm1(by_rule_drawn)),
    )
    leg = _market_leg(setting, parameters["market_move"])
    spread = _together(setting, spread, draws, driver, by_rule_drawn, through)

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
        "market": leg,
    }
    parts["look-through"][through.columns] = np.log1p(through.central)
    used_lens = _by_lens(setting, parts, driver0)
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
        setting.funds,
    )
    if parameters["relief_kept"]:
        paying = np.array([r == "hyperscaler" for r in roles]) & payers & ~used_lens
        words = _relief_words(words, paying & np.isnan(setting.capex))
    rows = rows_of(universe, table)
    share = shares_of(universe, rows)[:, 1]
    by_table = payers & ~used_lens
    earnings = earnings_logs(roles, rows, share, parameters)
    return ShockMoves(
        assets=names,
        central=central,
        draws=np.expm1(spread),
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


def _together(
    setting: Setting,
    logs: Matrix,
    q: Mapping[str, Any],
    driver: Vector,
    by_rule: Matrix,
    through: LookedThrough,
) -> Matrix:
    """(M, N) log moves at (M,) parameters ``q``, from the table's own ``logs``.

    Parameters
    ----------
    driver : (M,)
        Log move of the AI basket.
    by_rule : (M, N)
        Log moves of unknown exposure.
    through : LookedThrough
    """
    out = np.where(setting.unknown, by_rule, logs)
    out[:, through.columns] = np.log1p(through.draws)
    relief = setting.relief
    if relief.any():
        out = out + relief * np.atleast_1d(capex_relief(q))[:, None]
    if setting.lens != "structural" and setting.beta is not None:
        propagated = _by_beta(driver, setting.beta)
        if setting.lens == "worst":
            propagated = np.minimum(out, propagated)
        out = np.where(setting.zero | setting.unknown, out, propagated)
    out = out + _market_leg(setting, q["market_move"])
    return np.where(setting.zero, 0.0, out)


def _market_leg(setting: Setting, move: Any) -> Vector:
    """(N,) log move with the market; refused without a model."""
    if move and setting.beta_market is None:
        raise UsageError("market_move needs a model to take betas from", received=move)
    if not move or setting.beta_market is None:
        return np.zeros(len(setting.zero))
    leg = np.log1p(np.maximum(setting.beta_market * move, _FLOOR))
    return np.where(setting.zero, 0.0, leg)


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


def _by_lens(setting: Setting, parts: dict[str, Vector], driver: Vector) -> np.ndarray:
    """(N,) bool: assets that the lens moves, whose ``parts`` it replaces."""
    used = np.zeros(len(setting.zero), dtype=bool)
    if setting.lens == "structural" or setting.beta is None:
        return used
    propagated = _by_beta(driver, setting.beta)[0]
    used = ~setting.zero & ~setting.unknown
    own = [name for name in parts if name != "market"]
    if setting.lens == "worst":
        used &= propagated < np.sum([parts[name] for name in own], axis=0)
    for name in own:
        parts[name][used] = 0.0
    parts["propagation"][used] = propagated[used]
    return used


def _with_market(split: Split, move: float) -> Split:
    """Contributions by role when each part of a fund moves with the market as well."""
    return {r: (w, x * (1.0 + move) + w * move) for r, (w, x) in split.items()}


def _relief_words(words: Sequence[str], silent: np.ndarray) -> tuple[str, ...]:
    """Say where capex relief is on but a payer's spending is not known."""
    return tuple(
        f"{w}; AI capex unknown: no relief counted" if none else w
        for w, none in zip(words, silent, strict=True)
    )
