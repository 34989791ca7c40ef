"""The cheap-efficient-model shock: from a cost surprise to a move of every asset.

    s      = max(0, c ln k - h ln k0)                           log cost surprise
    dlnH   = s [tau (eps_T - 1) + (1 - tau)(eps_I - 1)]         compute demand gap
    ln(1+r_i) = lambda [DOL_r phi_r L(T_g) ln(1 - a_i + a_i exp(dlnH)) - d_r s + v_r s]
                + b_i m

`engine.shocks.roles` holds the multipliers by role; ``L`` is the present value of an
earnings gap that opens over ``T_g`` years (methods 2.1 and 2.2).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from engine._base import Value
from engine.errors import ModelError, UsageError
from engine.fund_table import FundTable
from engine.shocks.basket import basket_betas, basket_move, sector_bands
from engine.shocks.chain import (
    DEFAULTS,
    PRESETS,
    checked_parameter,
    demand_gap,
    surprise,
)
from engine.shocks.looked_through import Split, looked_through
from engine.shocks.moves import ShockMoves
from engine.shocks.roles import VARIANTS
from engine.shocks.severity import draw_parameters
from engine.shocks.table import table_moves

EVENT_DATE = np.datetime64("2025-01-27")
"""The session that made the shock, and the judgement behind the table, known."""

LENSES = ("structural", "propagated", "worst")
_LETTERS = MappingProxyType(
    {
        "k": "cost_ratio",
        "c": "credibility",
        "k0": "priced_in_trend",
        "h": "trend_years",
        "tau": "training_share",
        "eps_T": "elasticity_training",
        "eps_I": "elasticity_inference",
        "T_g": "gap_years",
        "m": "market_move",
    }
)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class CheapModelShock(Value):
    """A cheap, efficient, open model appears: what each asset loses or gains.

    Parameters
    ----------
    preset : {"market_view", "substitution", "jevons"}
        Market view: the defaults, s = 0.92, dlnH = -0.184. Substitution: cheaper and
        more credible (k 30, c 0.7), inelastic demand (0.3 and 0.8). Jevons: elastic
        demand (0.9 and 1.5), compute demand rises.
    variant : {"calibrated", "flat"}, default "calibrated"
        The table of multipliers: made with knowledge of 27 January 2025, or common to
        all roles (the only one that may be called a validation).
    lens : {"structural", "propagated", "worst"}, default "structural"
        Structural: the table, by role. Propagated: the AI basket's structural move
        passed on to every asset by its AI-basket beta, so that a name the table thinks
        safe but the market trades as AI (TSM fell 13% on a foundry exposure of 0-30%)
        is not taken at its word. Worst: the lower of the two, asset by asset; limits
        use it.
    name : str, optional
        Label of the scenario leg; default ``cheap-model:<preset>``.
    **parameters
        Any of the following (the letter of the methods is accepted too):
        ``cost_ratio`` (k, 20; 5-50), ``credibility`` (c, 0.5; 0.2-0.8),
        ``priced_in_trend`` per year (k0, 10; 3-50), ``trend_years`` (h, 0.25; 0-1),
        ``training_share`` (tau, 0.5; 0.3-0.6), ``elasticity_training`` (eps_T, 0.5;
        0.3-0.9), ``elasticity_inference`` (eps_I, 1.1; 0.8-1.5), ``gap_years`` (T_g,
        3; 2-5), ``growth_years``, ``growth_short``, ``growth_long``,
        ``discount_rate``, ``severity`` (lambda, 1), ``erosion_scale`` and
        ``adoption_scale`` (multiply d and v, 1; 0-3), ``market_move`` (m, 0: the move
        of the market proxy, passed on by beta).

    Notes
    -----
    Ranges are 5-95% points. ``ln k`` and ``ln k0``, the elasticities, h and T_g follow
    a two-piece normal with the value as median and those points; c and tau a beta with
    the value as mean and the range's width. An AI share is drawn within its band.

    A company with role ``none`` does not move; bonds, commodities, currencies and cash
    have no earnings to lose. A fund is looked through: weights by role, documented or
    estimated (`engine.fit`), times the mean move of the role's companies; the error of
    estimated weights is in the draws. Unknown is never zero: a company or fund whose
    exposure is not known takes the worse of its AI-basket beta times the basket's
    modelled move and its sector's upper band times the same; so does the part of a fund
    that its document does not cover.

    Examples
    --------
    >>> shock = CheapModelShock("market_view", severity=1.5)
    >>> round(shock.cost_surprise, 2), round(shock.demand_gap, 3)
    (0.92, -0.184)
    """

    preset: str
    variant: str
    lens: str
    name: str
    _values: tuple[tuple[str, float], ...]

    def __init__(
        self,
        preset: str = "market_view",
        *,
        variant: str = "calibrated",
        lens: str = "structural",
        name: str | None = None,
        **parameters: float,
    ) -> None:
        put = object.__setattr__
        if lens not in LENSES:
            raise UsageError(
                "unknown lens", received=repr(lens), expected=", ".join(LENSES)
            )
        preset = preset.replace("-", "_").replace(" ", "_").lower()
        if preset not in PRESETS:
            raise UsageError(
                "unknown preset", received=repr(preset), expected=", ".join(PRESETS)
            )
        if variant not in VARIANTS:
            raise UsageError(
                "unknown variant", received=repr(variant), expected=", ".join(VARIANTS)
            )
        values = dict(DEFAULTS) | PRESETS[preset]
        given: set[str] = set()
        for word, value in parameters.items():
            key = _LETTERS.get(word, word)
            if key not in DEFAULTS:
                near = difflib.get_close_matches(key, DEFAULTS, n=1)
                raise UsageError(
                    "unknown shock parameter",
                    received=repr(key),
                    expected=", ".join(DEFAULTS),
                    fix=f"Did you mean {near[0]}?" if near else None,
                )
            if key in given:
                raise UsageError(f"shock parameter {key} is given twice")
            given.add(key)
            values[key] = checked_parameter(key, value)
        put(self, "preset", preset)
        put(self, "variant", variant)
        put(self, "lens", lens)
        put(self, "name", name or f"cheap-model:{preset}")
        put(self, "_values", tuple(values.items()))

    @property
    def parameters(self) -> dict[str, float]:
        """Value of every parameter, by name; a copy."""
        return dict(self._values)

    @property
    def known_from(self) -> np.datetime64:
        """The table was made with knowledge of this date."""
        return EVENT_DATE

    @property
    def citation(self) -> str:
        """Where the numbers come from."""
        return (
            f"structural model, {self.variant} multipliers by role (judgement made "
            f"with knowledge of {EVENT_DATE}), {self.lens} lens"
        )

    @property
    def cost_surprise(self) -> float:
        """S, the log cost surprise at the parameters."""
        return float(surprise(self.parameters))

    @property
    def demand_gap(self) -> float:
        """The dlnH of the methods: log gap of compute demand at the parameters."""
        return float(demand_gap(self.parameters))

    def with_severity(self, severity: float) -> CheapModelShock:
        """Return the same shock at another severity, under the same name."""
        return CheapModelShock(
            self.preset,
            variant=self.variant,
            lens=self.lens,
            name=self.name,
            **(self.parameters | {"severity": severity}),
        )

    def with_lens(self, lens: str) -> CheapModelShock:
        """Return the same shock through another lens, under the same name."""
        return CheapModelShock(
            self.preset,
            variant=self.variant,
            lens=lens,
            name=self.name,
            **self.parameters,
        )

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Move of each asset: central, in every severity draw, and by which link.

        Parameters
        ----------
        universe : Universe
            Roles, shares, classes and sectors of the N assets.
        model : ReturnModel, optional
            For what funds hold, the AI-basket betas of assets of unknown exposure and
            the market leg. Without it funds and other unknown assets take their
            sector's band, and ``market_move`` is refused.
        """
        table = VARIANTS[self.variant]
        roles = universe.role
        known = np.array([r in table for r in roles], dtype=bool)
        zero = universe.is_structural_zero()
        draws = draw_parameters(self.parameters)
        beta_basket, beta_market, basket = basket_betas(universe, model)
        market = self.parameters["market_move"]
        if market and beta_market is None:
            raise UsageError(
                "market_move needs a model to take betas from", received=market
            )
        centre, spread = table_moves(universe, table, self.parameters, draws)
        band = sector_bands(universe)
        members = basket if basket.any() else None
        driver0 = basket_move(
            np.sum(centre, axis=0)[None, :], members, self.parameters, table
        )
        driver = basket_move(spread, members, draws, table)

        def banded(b):
            """Unknown exposure: the worse of beta replay and sector band."""
            simple = np.expm1(b)[:, None]
            candidates = [band * simple]
            if beta_basket is not None:
                candidates.append(beta_basket * simple)
            return np.log1p(np.maximum(np.minimum.reduce(candidates), -0.99))

        def propagated(b):
            return np.log1p(np.maximum(beta_basket * np.expm1(b)[:, None], -0.99))

        by_rule, by_rule_drawn = banded(driver0)[0], banded(driver)
        funds = FundTable() if model is None else model.funds
        through = looked_through(
            funds,
            universe,
            table,
            self.parameters,
            draws,
            (np.expm1(by_rule), np.expm1(by_rule_drawn)),
        )
        seen = np.zeros(len(roles), dtype=bool)
        seen[through.columns] = True
        unknown = ~known & ~zero & ~seen
        parts = {
            "compute demand": np.where(seen, 0.0, centre[0]),
            "fee erosion": np.where(seen, 0.0, centre[1]),
            "adoption": np.where(seen, 0.0, centre[2]),
            "look-through": np.zeros(len(roles)),
            "replay or band": np.where(unknown, by_rule, 0.0),
            "propagation": np.zeros(len(roles)),
            "market": np.zeros(len(roles)),
        }
        parts["look-through"][through.columns] = np.log1p(through.central)
        spread = np.where(unknown, by_rule_drawn, spread)
        spread[:, through.columns] = np.log1p(through.draws)
        used_lens = np.zeros(len(roles), dtype=bool)
        if self.lens != "structural":
            if beta_basket is None:
                if self.lens == "propagated":
                    raise ModelError(
                        "propagation needs a model with at least three companies of "
                        "AI infrastructure roles",
                        received=int(basket.sum()),
                    )
            else:
                table_logs = np.sum(list(parts.values()), axis=0)
                by_beta = propagated(driver0)[0]
                used_lens = ~zero & ~unknown
                if self.lens == "worst":
                    used_lens &= by_beta < table_logs
                    spread = np.where(
                        unknown, spread, np.minimum(spread, propagated(driver))
                    )
                else:
                    spread = np.where(unknown, spread, propagated(driver))
                for part in parts.values():
                    part[used_lens] = 0.0
                parts["propagation"][used_lens] = by_beta[used_lens]
        leg = np.zeros(len(roles))
        if market and beta_market is not None:
            leg = np.log1p(np.maximum(beta_market * market, -0.99))
            leg = np.where(zero, 0.0, leg)
            parts["market"] = leg
            spread = spread + leg
        central = np.expm1(np.sum(list(parts.values()), axis=0))
        spread = np.where(zero, 0.0, np.expm1(spread))
        words = dict(zip(through.columns, through.basis, strict=True))
        return ShockMoves(
            assets=universe.tickers,
            central=np.where(zero, 0.0, central),
            draws=spread,
            driver=driver,
            basis=_basis(
                universe,
                zero,
                unknown,
                used_lens,
                beta_basket,
                band,
                float(driver0[0]),
                words,
                funds,
            ),
            parts=parts,
            through={
                universe.tickers[i]: _with_market(split, float(np.expm1(leg[i])))
                for i, split in zip(through.columns, through.splits, strict=True)
                if not used_lens[i]
            },
        )

    def __repr__(self) -> str:
        changed = {
            k: v
            for k, v in self.parameters.items()
            if v != (dict(DEFAULTS) | PRESETS[self.preset])[k]
        }
        extra = "".join(f", {k}={v:g}" for k, v in changed.items())
        return f"CheapModelShock({self.preset!r}, {self.variant}{extra})"


def _with_market(split: Split, move: float) -> Split:
    """Contributions by role when each part of a fund moves with the market as well."""
    return {r: (w, x * (1.0 + move) + w * move) for r, (w, x) in split.items()}


def _basis(
    universe, zero, unknown, by_lens, beta, band, driver, words, funds
) -> tuple[str, ...]:
    """How each move was obtained, in words."""
    given = ~np.isnan(universe.ai_share).any(axis=1)
    out = []
    for i, role in enumerate(universe.role):
        if zero[i]:
            out.append("no earnings to lose: documented zero")
        elif by_lens[i] and beta is not None:
            text = f"propagated by AI-basket beta {beta[i]:.2f}"
            out.append(
                f"{text}, in place of {words[i]}" if i in words else f"{role}: {text}"
            )
        elif i in words:
            out.append(words[i])
        elif not unknown[i]:
            if role == "none":
                out.append("role none: no AI exposure stated")
            elif given[i]:
                source = universe.share_source[i] or "as given by the user"
                share = universe.ai_share[i, 1]
                out.append(f"{role}: AI share {share:.0%}, {source}")
            else:
                out.append(f"{role}: role midpoint, unsourced")
        else:
            worse = "sector band"
            if beta is not None and beta[i] * np.expm1(driver) < band[i] * np.expm1(
                driver
            ):
                worse = "AI-basket beta"
            detail = (
                "" if beta is None else f" (beta {beta[i]:.2f}, band {band[i]:.2f})"
            )
            why = funds.reason(universe.tickers[i])
            why = f"; not looked through: {why}" if why else ""
            out.append(f"exposure unknown: {worse}{detail}{why}")
    return tuple(out)
