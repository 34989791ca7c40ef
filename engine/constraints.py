"""Limits on a proposal: each has a name, which messages, duals and checks use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.portfolio import CASH_PREFIX
from engine.data.universe import Universe, _did_you_mean
from engine.errors import DataError, UsageError
from engine.risk._measures import check_level
from engine.shocks.moves import ShockMoves, moves_of

_FREE = 1e3
"""A bound that never binds, finite so that solvers scale well."""


@dataclass(frozen=True, slots=True)
class StressCap:
    """Limit on the loss under one shock.

    Attributes
    ----------
    shock : Shock
    limit : float
        Largest loss, decimals of net asset value.
    quantile : float or "central", default 0.9
        Of the book's loss over the severity distribution.
    winner_credit : float, default 0
        Fraction of modelled gains that may offset losses.
    lens : str, default "worst"
        Which lens of the shock binds, for shocks that have lenses.
    """

    shock: Any
    limit: float
    quantile: float | str = 0.9
    winner_credit: float = 0.0
    lens: str = "worst"

    def moves(self, scenarios: Any) -> ShockMoves:
        """Moves of the scenarios' assets through the lens of this cap."""
        shock = self.shock
        if hasattr(shock, "with_lens"):
            shock = shock.with_lens(self.lens)
        return moves_of(shock, scenarios)

    def draws(self, moves: ShockMoves) -> np.ndarray:
        """(M, N) moves that count: gains at their credit; (1, N) when central."""
        x = moves.central[None, :] if self.quantile == "central" else moves.draws
        return np.where(x > 0, self.winner_credit * x, x)

    def __post_init__(self) -> None:
        if not np.isfinite(self.limit):
            raise UsageError("a stress cap must be a number", received=self.limit)
        if self.quantile != "central" and not (
            isinstance(self.quantile, float) and 0 < self.quantile < 1
        ):
            raise UsageError(
                "quantile of a stress cap",
                received=self.quantile,
                expected="a number in (0, 1), or 'central'",
            )
        if not 0.0 <= self.winner_credit <= 1.0:
            raise UsageError(
                "winner_credit lies in [0, 1]", received=self.winner_credit
            )


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """Limit on the summed weight of the assets that share a label.

    Attributes
    ----------
    attribute : str
        country, region, currency, sector, role, venue, asset_class, or ticker.
    value : str
        The label.
    lower, upper : float
    """

    attribute: str
    value: str
    lower: float = 0.0
    upper: float = 1.0

    @property
    def name(self) -> str:
        """The label in messages: ``country:Taiwan``."""
        return f"{self.attribute}:{self.value}"

    def members(self, universe: Universe) -> np.ndarray:
        """(N,) bool; a label nobody carries is an error, not an empty limit."""
        attribute = "tickers" if self.attribute == "ticker" else self.attribute
        labels = universe.labels(attribute)
        mask = np.array([label == self.value for label in labels], dtype=bool)
        if not mask.any():
            known = sorted({k for k in labels if k})
            raise UsageError(
                f"no asset has {self.attribute} {self.value!r}",
                expected=", ".join(known[:20]),
                fix=_did_you_mean(self.value, known),
            )
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class Constraints(Value):
    """What a proposal must respect.

    Attributes
    ----------
    lower, upper : float or mapping by ticker, default 0 and 1
        Bounds on each risky weight; a mapping may hold ``default``. A held position
        outside its bound is brought inside.
    groups : tuple of GroupLimit
    stress_caps : tuple of StressCap
    es_cap : float, optional
        Largest expected shortfall of the base leg over the scenarios' horizon.
    es_level : float, default 0.95
    turnover : float, optional
        Largest half-sum of absolute weight changes, cash included.
    tracking_error : float, optional
        Largest active volatility per year against the benchmark.
    cash_band : float, default 0.01
        Base-currency cash may move this far from its current weight. Selling frees
        cash that no shock touches, so an open band would answer every shock with cash.
    cash : (float, float), optional
        Absolute bounds on base-currency cash, instead of the band.
    no_buy, no_sell, locked : tuple of str
    minimum_trade : float, default 1e-4
        Trades below this weight are dropped after solving (limits are re-checked).
    """

    lower: Any = 0.0
    upper: Any = 1.0
    groups: tuple[GroupLimit, ...] = ()
    stress_caps: tuple[StressCap, ...] = ()
    es_cap: float | None = None
    es_level: float = 0.95
    turnover: float | None = None
    tracking_error: float | None = None
    cash_band: float = 0.01
    cash: tuple[float, float] | None = None
    no_buy: tuple[str, ...] = ()
    no_sell: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    minimum_trade: float = 1e-4

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("groups", "stress_caps", "no_buy", "no_sell", "locked"):
            value = getattr(self, name)
            if isinstance(value, (str, GroupLimit, StressCap)):
                value = (value,)
            put(self, name, tuple(value))
        for name in ("es_cap", "turnover", "tracking_error"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise UsageError(f"{name} must not be negative", received=value)
        if not 0.0 <= self.cash_band <= 1.0:
            raise UsageError("cash_band lies in [0, 1]", received=self.cash_band)
        if self.cash is not None:
            low, high = self.cash
            if not -1.0 <= low <= high <= 1.0:
                raise UsageError(
                    "cash limits are crossed or not numbers",
                    received=f"{low} and {high}",
                    expected="fractions of net asset value, the lower first",
                )
        if not self.minimum_trade >= 0:
            raise UsageError(
                "minimum_trade must not be negative", received=self.minimum_trade
            )
        check_level(self.es_level)
        for group in self.groups:
            if not group.lower <= group.upper:
                raise UsageError(
                    f"limits of group {group.name} are crossed",
                    received=f"{group.lower} and {group.upper}",
                )
        names = [cap.shock.name for cap in self.stress_caps]
        if len(set(names)) != len(names):
            raise UsageError("two stress caps on one shock", received=names)

    def bounds(self, universe: Universe, current: np.ndarray, base_cash: str):
        """Bounds and trading permissions, cash rows included.

        Parameters
        ----------
        universe : Universe
            Of the scenario assets.
        current : (N,) float64
            Weights before trading.
        base_cash : str
            Label of base-currency cash.

        Returns
        -------
        lower, upper : (N,) float64
        may_buy, may_sell : (N,) bool
            False where the list forbids it; a locked asset has no bounds, because
            costs alone move its weight a little.
        """
        tickers = universe.tickers
        for name in (*self.no_buy, *self.no_sell, *self.locked):
            if name not in universe:
                raise UsageError(
                    "a limit names an unknown asset",
                    received=name,
                    fix=_did_you_mean(name, tickers),
                )
        low = _side(self.lower, tickers, 0.0, "lower")
        high = _side(self.upper, tickers, 1.0, "upper")
        crossed = low > high
        if crossed.any():
            i = int(np.argmax(crossed))
            raise UsageError(
                "bounds are crossed",
                received=f"{tickers[i]}: {low[i]} and {high[i]}",
            )
        may_buy = np.array([t not in self.no_buy for t in tickers], dtype=bool)
        may_sell = np.array([t not in self.no_sell for t in tickers], dtype=bool)
        for i, ticker in enumerate(tickers):
            if ticker == base_cash:
                low[i], high[i] = self.cash or (
                    max(0.0, current[i] - self.cash_band),
                    min(1.0, current[i] + self.cash_band),
                )
            # Foreign cash is neither built nor used without being asked for.
            elif ticker in self.locked or ticker.startswith(CASH_PREFIX):
                low[i], high[i] = -_FREE, _FREE
                may_buy[i] = may_sell[i] = False
        return low, high, may_buy, may_sell


def _side(given: Any, tickers, default: float, name: str) -> np.ndarray:
    if isinstance(given, Mapping):
        unknown = [k for k in given if k != "default" and k not in tickers]
        if unknown:
            raise UsageError(
                f"{name} names an unknown asset",
                received=unknown[0],
                fix=_did_you_mean(unknown[0], tickers),
            )
        fallback = given.get("default", default)
        values = np.array([float(given.get(t, fallback)) for t in tickers])
    else:
        values = np.full(len(tickers), float(given))
    if not np.isfinite(values).all():
        raise DataError(f"{name} bound is not a number")
    return values
