"""Limits on a proposal: each has a name, which messages, duals and checks use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.portfolio import CASH_PREFIX
from engine.data.universe import Universe, _did_you_mean
from engine.errors import DataError, UsageError
from engine.limit_text import LimitText, parse_limit
from engine.linear_limits import Labels, LinearLimit, Row, merged
from engine.risk._measures import check_level
from engine.scenarios import BASE_LEG
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

    def row(self, labels: Labels) -> Row:
        """Coefficients by asset; a label nobody carries is an error."""
        named = LinearLimit(self.name, {self.name: 1.0}, self.lower, self.upper)
        return labels.row(named)


@dataclass(frozen=True, slots=True, eq=False)
class Constraints(Value):
    """What a proposal must respect.

    Attributes
    ----------
    lower, upper : float or mapping by ticker, default 0 and 1
        Bounds on each risky weight; a mapping may hold ``default``. A held position
        outside its bound is brought inside.
    groups : tuple of GroupLimit
    limits : tuple of LinearLimit or str
        Linear limits, or limits as text (`parse`). Text that bounds a figure of the
        whole proposal (``"turnover <= 0.1"``) sets the attribute of that name.
    stress_caps : tuple of StressCap
    es_cap : float, optional
        Largest expected shortfall of the base leg over the scenarios' horizon.
    es_caps : mapping of leg -> float
        The same for any leg of the scenarios, by name.
    es_level : float, default 0.95
    turnover : float, optional
        Largest half-sum of absolute weight changes, cash included.
    tracking_error : float, optional
        Largest active volatility per year against the benchmark.
    gross : float, optional
        Largest sum of absolute weights, cash left out; bounds short positions that
        negative ``lower`` bounds allow.
    net : (float, float), optional
        Band for the sum of weights, cash left out.
    liquidity : float, optional
        Largest trade in an asset as a share of its average daily traded value
        (`engine.optimize.liquidity`). What has no volume is not bought.
    daily_value : mapping
        Average daily traded value in base currency where the market shows none, or in
        place of what it shows: by ticker, by ``attribute:label``, or ``default``.
    max_names, min_names : int, optional
        Number of positions other than cash.
    minimum_position : float, optional
        Smallest absolute weight of a position that is held at all.
    max_trades : int, optional
        Number of assets traded, cash left out.
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
    limits: tuple[Any, ...] = ()
    es_caps: Mapping[str, float] = field(default_factory=dict)
    gross: float | None = None
    net: tuple[float, float] | None = None
    liquidity: float | None = None
    daily_value: Mapping[str, float] = field(default_factory=dict)
    max_names: int | None = None
    min_names: int | None = None
    minimum_position: float | None = None
    max_trades: int | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("groups", "stress_caps", "no_buy", "no_sell", "locked", "limits"):
            value = getattr(self, name)
            if isinstance(value, (str, GroupLimit, StressCap, LinearLimit)):
                value = (value,)
            put(self, name, tuple(value))
        for name in ("es_caps", "daily_value"):
            put(self, name, dict(getattr(self, name)))
        put(self, "limits", tuple(self._read(entry) for entry in self.limits))
        put(self, "limits", tuple(x for x in self.limits if x is not None))
        for name in (
            "es_cap",
            "turnover",
            "tracking_error",
            "gross",
            "liquidity",
            "minimum_position",
        ):
            _not_negative(name, getattr(self, name))
        for leg, cap in self.es_caps.items():
            _not_negative(f"expected shortfall of leg {leg}", cap)
        if self.es_cap is not None and BASE_LEG in self.es_caps:
            raise UsageError(
                "expected shortfall of the base leg is limited twice",
                received=f"es_cap {self.es_cap} and es_caps {self.es_caps[BASE_LEG]}",
            )
        for label, value in self.daily_value.items():
            _not_negative(f"daily_value of {label}", value)
        for name in ("max_names", "min_names", "max_trades"):
            put(self, name, _count(name, getattr(self, name)))
        if self.max_names is not None and (self.min_names or 0) > self.max_names:
            raise UsageError(
                "limits on the number of names are crossed",
                received=f"at least {self.min_names}, at most {self.max_names}",
            )
        if self.net is not None:
            low, high = self.net
            if not low <= high:  # NaN fails too
                raise UsageError(
                    "limits on net exposure are crossed or not numbers",
                    received=f"{low} and {high}",
                )
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

    @classmethod
    def parse(
        cls, limits: str | Iterable[str], universe: Universe | None = None, **options
    ) -> Constraints:
        """Constraints from limits as people write them.

        Parameters
        ----------
        limits : str or sequence of str
            Such as ``"Taiwan + Korea <= 0.15"``, ``"0.1 <= country:Japan <= 0.3"``,
            ``"sector:Energy - role:power_gen <= 0.2"``, ``"NVDA <= 8%"``, or a figure
            of the whole: turnover, tracking error, expected shortfall (``es:leg`` for
            one leg), gross, net, cash, names, trades, minimum position, liquidity.
            A label alone is looked for among tickers, countries, regions, currencies,
            sectors, roles, venues and asset classes.
        universe : Universe, optional
            Look the labels up at once; otherwise a proposal does.
        **options
            Other attributes.

        Raises
        ------
        UsageError
            Text that cannot be read; a label that nothing carries, with near matches;
            a label with several meanings, all named.
        """
        given = (limits,) if isinstance(limits, str) else tuple(limits)
        made = cls(limits=given, **options)
        if universe is not None:
            made.rows(universe)
            labels = Labels(universe)
            for read in map(parse_limit, (x for x in given if isinstance(x, str))):
                if read.quantity is not None and labels.carries(read.quantity):
                    labels.find(read.quantity)  # says that it is ambiguous
        return made

    def rows(self, universe: Universe, funds: Any = None) -> list[Row]:
        """Groups and linear limits as coefficients by asset.

        Parameters
        ----------
        universe : Universe
        funds : FundTable, optional
            What funds hold by role; they then count by it, as each row's note says.
        """
        if not self.groups and not self.limits:
            return []
        labels = Labels(universe, funds)
        return merged(
            [g.row(labels) for g in self.groups] + [labels.row(x) for x in self.limits]
        )

    def _read(self, entry: Any) -> LinearLimit | None:
        """Limit of one entry; None for text that sets an attribute instead."""
        if isinstance(entry, LinearLimit):
            return entry
        read = parse_limit(entry)
        if read.quantity is None:
            return LinearLimit.from_text(read)
        self._set(read, read.quantity)
        return None

    def _set(self, read: LimitText, word: str) -> None:
        low, high = read.lower, read.upper
        given: dict[str, Any] = {}
        if word.startswith("es:"):
            leg = word.removeprefix("es:")
            if leg in self.es_caps:
                raise UsageError("one limit is given twice", received=read.text)
            self.es_caps[leg] = _only_upper(read)  # type: ignore[index]
            return
        if word == "net":
            given["net"] = (low, high)
        elif word == "cash":
            given["cash"] = (max(0.0, low), min(1.0, high))
        elif word == "names":
            given["min_names"] = low if np.isfinite(low) else None
            given["max_names"] = high if np.isfinite(high) else None
        elif word == "minimum position":
            if np.isfinite(high):
                raise UsageError(
                    "a minimum position is bounded from below",
                    received=repr(read.text),
                    fix=f"Write 'minimum position >= {high:g}'.",
                )
            given["minimum_position"] = low
        else:
            name = {"trades": "max_trades", "expected shortfall": "es_cap"}.get(word)
            given[name or word.replace(" ", "_")] = _only_upper(read)
        for name, value in given.items():
            if value is None:
                continue
            if getattr(self, name) is not None:
                raise UsageError("one limit is given twice", received=read.text)
            object.__setattr__(self, name, value)

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


def _not_negative(name: str, value: Any) -> None:
    if value is not None and not (np.isfinite(value) and value >= 0):
        raise UsageError(f"{name} must not be negative", received=value)


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not (np.isfinite(value) and value >= 0 and float(value).is_integer()):
        raise UsageError(f"{name} is a whole number", received=value)
    return int(value)


def _only_upper(read: LimitText) -> float:
    if np.isfinite(read.lower):
        raise UsageError(
            f"{read.name} is bounded from above only",
            received=repr(read.text),
            fix=f"Write '{read.name} <= number'.",
        )
    return read.upper


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
