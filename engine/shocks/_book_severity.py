"""Losses of many books under one structural shock, date after date.

The table's own moves, central and in every severity draw, depend on names, roles and
AI shares, not on prices: they are computed once for a set of assets and kept. What
changes with the date (betas, what funds hold) is laid over them as simple returns. The
losses are those of `engine.stress` to rounding: a logarithm there and back is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine._typing import Matrix, Vector
from engine.shocks._structural import VARIANTS, CheapModelShock
from engine.shocks.assembly import _FLOOR, Setting
from engine.shocks.basket import basket_move
from engine.shocks.looked_through import _ROUNDING, _errors, _RoleMoves
from engine.shocks.rebound import at_horizon
from engine.shocks.severity import draw_parameters
from engine.shocks.table import table_moves

_KEPT = 4
"""Sets of assets whose moves are kept: a hundred names take four megabytes."""


class BookLoss(NamedTuple):
    """What a book loses, as `engine.stress` says it; decimals, losses positive.

    Attributes
    ----------
    by_asset : (N,) float64
        At the centre.
    draws : (M,) float64
        In every severity draw.
    severe : (M,) float64
        In every draw by the worst lens, modelled gains not counted.
    """

    by_asset: Vector
    draws: Vector
    severe: Vector


class _Fixed(NamedTuple):
    """What does not change with prices."""

    central: Vector
    draws: Matrix
    driver: Vector
    """(1 + M,) simple move of the AI basket: central, then drawn."""


def supported(shock: Any) -> bool:
    """Whether the losses of a shock can be laid over kept moves."""
    return (
        isinstance(shock, CheapModelShock)
        and not shock.parameters["market_move"]
        and not shock.parameters["relief_kept"]
    )


class BookSeverity:
    """Losses of books under one `CheapModelShock`; keeps what prices do not change.

    Parameters
    ----------
    shock : CheapModelShock
        One that is `supported`.
    """

    def __init__(self, shock: CheapModelShock) -> None:
        self.shock = shock
        self.table = at_horizon(VARIANTS[shock.variant], shock.horizon)
        self.drawn = draw_parameters(shock.parameters)
        self._fixed: dict[Any, _Fixed] = {}
        self._roles: dict[Any, _RoleMoves] = {}

    def losses(
        self, universe: Any, model: Any, weights: Vector, base: Vector
    ) -> BookLoss:
        """Losses of one book.

        Parameters
        ----------
        universe : Universe
            N assets.
        model : ReturnModel
        weights : (N,) float64
        base : (N,) float64
            Mean return of each asset without the shock.
        """
        setting = self.shock.setting(universe, model)
        fixed = self._table(setting)
        at = np.flatnonzero(weights)
        a = weights[at] * (1.0 + base[at])
        x = np.vstack([fixed.central[None, at], fixed.draws[:, at]])
        self._fill(setting, fixed, at, x)
        lens, drift = self.shock.lens, float(weights @ base)
        own = self._by_lens(setting, fixed, at, x, lens)
        worst = own
        if lens != "worst":
            worst = self._by_lens(setting, fixed, at, x, "worst")
        by_asset = np.zeros(weights.size)
        by_asset[at] = -(weights[at] * base[at] + a * own[0])
        return BookLoss(
            by_asset,
            -drift - own[1:] @ a,
            -drift - np.minimum(worst[1:], 0.0) @ a,
        )

    def _table(self, setting: Setting) -> _Fixed:
        u = setting.universe
        key = (u.tickers, u.role, u.asset_class, u.ai_share.tobytes())
        if key not in self._fixed:
            q = self.shock.parameters
            links, spread = table_moves(u, self.table, q, self.drawn)
            total = np.sum(links, axis=0)[None, :]
            driver = np.concatenate(
                [
                    basket_move(total, setting.members, q, self.table),
                    basket_move(spread, setting.members, self.drawn, self.table),
                ]
            )
            central, draws = np.expm1(total[0]), np.expm1(spread)
            central[setting.zero], draws[:, setting.zero] = 0.0, 0.0
            _keep(self._fixed, key, _Fixed(central, draws, np.expm1(driver)))
        return self._fixed[key]

    def _fill(self, setting: Setting, fixed: _Fixed, at: np.ndarray, x: Matrix) -> None:
        """Put the moves of unknown assets and of funds into ``x`` (1 + M, n)."""
        names = setting.universe.tickers
        held = [e for e in setting.funds.exposures if e.fund in setting.universe]
        roles = self._role_moves(setting, held) if setting.seen[at].any() else None
        of = {e.fund: e for e in held}
        for j, i in enumerate(at):
            if setting.zero[i] or (setting.known[i] and not setting.seen[i]):
                continue
            unknown = _by_rule(setting, fixed.driver, int(i))
            if not setting.seen[i]:
                x[:, j] = unknown
                continue
            assert roles is not None
            exposure = of[names[i]]
            one, many, known = roles.of(exposure)
            w = np.where(known, exposure.weights, 0.0)
            rest = 1.0 - w.sum()
            rest = rest if rest > _ROUNDING else 0.0
            x[0, j] = one @ w + rest * unknown[0]
            total = many @ w + rest * unknown[1:]
            errors = np.where(known, _errors(exposure), 0.0)
            if len(errors):
                whole = np.resize(errors, (len(total), errors.shape[1]))
                total += np.einsum("mk,mk->m", many, whole)
            x[1:, j] = np.maximum(total, -0.99)

    def _role_moves(self, setting: Setting, held: list[Any]) -> _RoleMoves:
        companies = setting.funds.companies
        labels = tuple(sorted({(e.labels, e.members, e.member_weights) for e in held}))
        key = (companies.tickers, companies.role, companies.ai_share.tobytes(), labels)
        if key not in self._roles:
            made = _RoleMoves(
                held, companies, self.table, self.shock.parameters, self.drawn, False
            )
            _keep(self._roles, key, made)
        return self._roles[key]

    def _by_lens(
        self, setting: Setting, fixed: _Fixed, at: np.ndarray, x: Matrix, lens: str
    ) -> Matrix:
        """(1 + M, n) simple moves by one lens; row 0 is the centre."""
        if lens == "structural" or setting.beta is None:
            return x
        told = ~(setting.zero | setting.unknown)[at]
        replay = np.maximum(np.outer(fixed.driver, setting.beta[at]), _FLOOR)
        if lens == "worst":
            np.minimum(replay, x, out=replay)
        return np.where(told, replay, x)


def _by_rule(setting: Setting, driver: Vector, i: int) -> Vector:
    simple = setting.band[i] * driver
    if setting.beta is not None:
        simple = np.minimum(simple, setting.beta[i] * driver)
    return np.maximum(simple, _FLOOR)


def _keep(store: dict[Any, Any], key: Any, value: Any) -> None:
    while len(store) >= _KEPT:
        store.pop(next(iter(store)))
    store[key] = value
