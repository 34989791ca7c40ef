"""The cheap-efficient-model shock: from a cost surprise to a move of every asset.

    s      = max(0, c ln k - h ln k0)                           log cost surprise
    dlnH   = s [tau (eps_T - 1) + (1 - tau)(eps_I - 1)]         compute demand gap
    ln(1+r_i) = lambda [DOL_r phi_r L(T_g) ln(1 - a_i + a_i exp(dlnH)) - d_r s + v_r s]
                + q_i + b_i m

`engine.shocks.roles` holds the multipliers by role; ``L`` is the present value of an
earnings gap that opens over ``T_g`` years (methods 2.1 and 2.2). The links of the
chain are in `engine.shocks.table`, what is left at a horizon in
`engine.shocks.rebound`, and all of an asset's move comes together in
`engine.shocks.assembly`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from engine._base import Value
from engine._typing import Vector
from engine.errors import DataError, UsageError
from engine.shocks.arguments import checked_capex, near, resolved
from engine.shocks.assembly import Setting, central_moves, setting_of, structural_moves
from engine.shocks.chain import (
    ALL_PRESETS,
    DEFAULTS,
    PERSISTENT_PRESETS,
    checked_parameter,
    demand_gap,
    surprise,
)
from engine.shocks.moves import ShockMoves
from engine.shocks.rebound import HORIZONS, at_horizon, checked_horizon
from engine.shocks.roles import VARIANTS

EVENT_DATE = np.datetime64("2025-01-27")
"""The session that made the shock, and the judgement behind the table, known."""

LENSES = ("structural", "propagated", "worst")


@dataclass(frozen=True, slots=True, eq=False, init=False)
class CheapModelShock(Value):
    """A cheap, efficient, open model appears: what each asset loses or gains.

    Parameters
    ----------
    preset : {"market_view", "substitution", "jevons", or one with "_persistent"}
        Market view: the defaults, s = 0.92, dlnH = -0.184. Substitution: cheaper and
        more credible (k 30, c 0.7), inelastic demand (0.3 and 0.8). Jevons: elastic
        demand (0.9 and 1.5), compute demand rises. With ``_persistent`` the horizon is
        persistent; ``substitution_persistent`` is like 2000-02: it re-rates platforms
        (hyperscalers, software, devices) too.
    variant : {"calibrated", "flat"}, default "calibrated"
        The table of multipliers: made with knowledge of 27 January 2025, or common to
        all roles (the only one that may be called a validation).
    lens : {"structural", "propagated", "worst"}, default "structural"
        Structural: the table, by role. Propagated: the AI basket's structural move
        passed on to every asset by its AI-basket beta, so that a name the table thinks
        safe but the market trades as AI (TSM fell 13% on a foundry exposure of 0-30%)
        is not taken at its word. Worst: the lower of the two, asset by asset; limits
        use it.
    horizon : {"day", "next_day", "month", "persistent"}, optional
        What is left of the move: the event's close (default), after the rebound of the
        next session or of 21 sessions, or its falls deepened by ``persistence``
        (`engine.shocks.rebound`). `path` shows all four.
    ai_capex : mapping of ticker to float, optional
        AI capital spending a year over market value, for the capex relief of payers,
        in place of the universe's column ``ai_capex``; a payer of which neither knows
        has none, and its basis says so.
    name : str, optional
        Label of the scenario leg; default ``cheap-model:<preset>``, with the horizon
        where it is not the preset's own.
    citation, note : str, optional
        Whose version of the shock this is, and why; carried to the output.
    **parameters
        Any of the following (the letter of the methods is accepted too):
        ``cost_ratio`` (k, 20; 5-50), ``credibility`` (c, 0.5; 0.2-0.8),
        ``priced_in_trend`` per year (k0, 10; 3-50), ``trend_years`` (h, 0.25; 0-1),
        ``training_share`` (tau, 0.5; 0.3-0.6), ``elasticity_training`` (eps_T, 0.5;
        0.3-0.9), ``elasticity_inference`` (eps_I, 1.1; 0.8-1.5), ``gap_years`` (T_g,
        3; 2-5), ``growth_years``, ``growth_short``, ``growth_long``,
        ``discount_rate``, ``severity`` (lambda, 1), ``erosion_scale`` and
        ``adoption_scale`` (multiply d and v, 1; 0-3), ``market_move`` (m, 0: the move
        of the market proxy, passed on by beta). Dials, off by default:
        ``training_cost_before`` and ``training_cost_after`` in USD (their ratio is
        k; the one left out is USD 5.6m after, the preset's k times that before),
        ``previous_generation_share`` of compute demand moving to older processors
        at ``previous_generation_price_ratio`` (0.4) of the price,
        ``open_source_share`` of model demand (0.30: what the table's erosion implies),
        ``capex_cut`` (share of announced capital plans cut, in place of the
        elasticities), ``relief_kept`` (kappa, 0: share of saved capex kept),
        ``overseas_rerating`` and ``platform_rerating`` (logs, 0), ``persistence``
        (4). `engine.shocks.parameters` documents them all.

    Notes
    -----
    Ranges are 5-95% points. ``ln k`` and ``ln k0``, the elasticities, h and T_g follow
    a two-piece normal with the value as median and those points; c and tau a beta with
    the value as mean and the range's width. An AI share is drawn within its band.

    A company with role ``none`` does not move; bonds, commodities, currencies and cash
    have no earnings to lose. A fund is looked through: weights by role, documented or
    estimated (`engine.fit`), times the mean move of the role's companies, without
    capex relief; the error of estimated weights is in the draws. Unknown is never zero:
    a company or fund whose exposure is not known takes the worse of its AI-basket beta
    times the basket's modelled move and its sector's upper band times the same; so does
    the part of a fund that its document does not cover.

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
    horizon: str
    ai_capex: tuple[tuple[str, float], ...]
    training_costs: tuple[float, float] | None
    source: str
    note: str
    _values: tuple[tuple[str, float], ...]

    def __init__(
        self,
        preset: str = "market_view",
        *,
        variant: str = "calibrated",
        lens: str = "structural",
        horizon: str | None = None,
        ai_capex: Mapping[str, float] | None = None,
        name: str | None = None,
        citation: str = "",
        note: str = "",
        **parameters: float,
    ) -> None:
        put = object.__setattr__
        _one_of(lens, LENSES, "lens")
        preset = str(preset).replace("-", "_").replace(" ", "_").lower()
        _one_of(preset, ALL_PRESETS, "preset")
        _one_of(variant, VARIANTS, "variant")
        own = "persistent" if preset in PERSISTENT_PRESETS else "day"
        horizon = own if horizon is None else checked_horizon(horizon)
        values, costs = resolved(preset, parameters)
        put(self, "preset", preset)
        put(self, "variant", variant)
        put(self, "lens", lens)
        label = preset if horizon == own else f"{preset}_{horizon}"
        put(self, "name", name or f"cheap-model:{label}")
        put(self, "horizon", horizon)
        put(self, "ai_capex", checked_capex(ai_capex))
        put(self, "training_costs", costs)
        put(self, "source", citation)
        put(self, "note", note)
        put(self, "_values", tuple(values.items()))

    def _with(self, **changes: Any) -> CheapModelShock:
        """Return a copy with other fields, which the caller has checked."""
        new = object.__new__(CheapModelShock)
        for f in fields(self):
            value = changes.get(f.name, getattr(self, f.name))
            object.__setattr__(new, f.name, value)
        return new

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
        own = f"{self.source}; " if self.source else ""
        return (
            f"{own}structural model, {self.variant} multipliers by role (judgement "
            f"made with knowledge of {EVENT_DATE}), {self.lens} lens"
        )

    @property
    def cost_surprise(self) -> float:
        """S, the log cost surprise at the parameters."""
        return float(surprise(self.parameters))

    @property
    def demand_gap(self) -> float:
        """The dlnH of the methods: log gap of compute demand at the parameters."""
        return float(demand_gap(self.parameters))

    def with_parameters(self, **parameters: float) -> CheapModelShock:
        """Return the same shock with some parameters changed, under the same name."""
        values = self.parameters
        for key, value in parameters.items():
            if key not in values:
                raise UsageError(
                    "unknown shock parameter",
                    received=repr(key),
                    expected=", ".join(values),
                )
            values[key] = checked_parameter(key, value)
        return self._with(_values=tuple(values.items()))

    def with_severity(self, severity: float) -> CheapModelShock:
        """Return the same shock at another severity, under the same name."""
        return self.with_parameters(severity=severity)

    def with_lens(self, lens: str) -> CheapModelShock:
        """Return the same shock through another lens, under the same name."""
        _one_of(lens, LENSES, "lens")
        return self._with(lens=lens)

    def with_horizon(self, horizon: str) -> CheapModelShock:
        """Return the same shock at another horizon, under the same name."""
        return self._with(horizon=checked_horizon(horizon))

    def path(self, universe: Any, model: Any = None):
        """Central move of each asset at every horizon: the event and its rebound leg.

        Parameters
        ----------
        universe, model
            As `moves` takes them.

        Returns
        -------
        pandas.DataFrame
            Index: N assets. Columns ``day``, ``next_day``, ``month`` and
            ``persistent``: simple returns from before the event.
        """
        import pandas as pd

        legs = {h: self.with_horizon(h).central(universe, model) for h in HORIZONS}
        return pd.DataFrame(legs, index=pd.Index(universe.tickers, name="asset"))

    def to_toml(self, path: Any = None) -> str:
        """Return the shock as a scenario file, and write it where a path is given."""
        from engine.shocks.files import write_shock

        return write_shock(self, path)

    @classmethod
    def from_toml(cls, path: Any) -> CheapModelShock:
        """Read a scenario file that holds one cheap-model shock."""
        from engine.shocks.files import read_shock

        shock = read_shock(path)
        if not isinstance(shock, cls):
            raise DataError(
                "the file holds another kind of shock",
                received=type(shock).__name__,
                expected="kind = 'cheap-model'",
            )
        return shock

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
        return structural_moves(
            self.parameters,
            universe,
            model,
            table=at_horizon(VARIANTS[self.variant], self.horizon),
            lens=self.lens,
            horizon=self.horizon,
            ai_capex=dict(self.ai_capex),
            costs=self.training_costs,
        )

    def central(self, universe: Any, model: Any = None) -> Vector:
        """(N,) central move of each asset: that of `moves`, without the severities.

        Parameters
        ----------
        universe, model
            As `moves` takes them.
        """
        return central_moves(self.setting(universe, model), self.parameters, {})[0]

    def setting(self, universe: Any, model: Any = None) -> Setting:
        """What the moves depend on beside the parameters: for many central moves."""
        return setting_of(
            universe,
            model,
            table=at_horizon(VARIANTS[self.variant], self.horizon),
            lens=self.lens,
            ai_capex=dict(self.ai_capex),
        )

    def __repr__(self) -> str:
        changed = {
            k: v
            for k, v in self.parameters.items()
            if v != (dict(DEFAULTS) | dict(ALL_PRESETS[self.preset]))[k]
        }
        extra = "".join(f", {k}={v:g}" for k, v in changed.items())
        own = "persistent" if self.preset in PERSISTENT_PRESETS else "day"
        at = "" if self.horizon == own else f", horizon={self.horizon!r}"
        return f"CheapModelShock({self.preset!r}, {self.variant}{at}{extra})"


def _one_of(word: Any, known: Any, what: str) -> None:
    if word not in known:
        raise UsageError(
            f"unknown {what}",
            received=repr(word),
            expected=", ".join(known),
            fix=near(word, known) if isinstance(word, str) else None,
        )
