"""Trading costs: one object gives the optimiser its terms and the broker its charge.

    (half_spread + commission + fx) |x| + b sigma |x|^(3/2) / sqrt(V) + tax on gains

for a trade of value x (Boyd et al. 2017, section 2.3), and while a position is short
its borrow fee. Optimiser, rounding and broker all read `Costs.rates`,
`Costs.impact_coefficients` and `Costs.tax_rates`, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX
from engine.data.view import MarketView
from engine.errors import DataError, UsageError

DAYS_PER_YEAR = 365.0
"""Borrow and margin fees are simple, actual/365 fixed, as cash interest is."""
_BPS = 1e-4
_LEAST_SHARE = 3
"""One in three sessions of the window must be there to speak of a volatility."""


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a number", received=repr(value)) from None


def _is_cash(tickers) -> np.ndarray:
    return np.array([t.startswith(CASH_PREFIX) for t in tickers], dtype=bool)


def _by_ticker(values: float | Mapping[str, float], tickers, name: str) -> np.ndarray:
    """(N,) of a scalar or a mapping with a ``default`` entry; cash costs nothing."""
    if isinstance(values, Mapping):
        default = values.get("default")
        rows = []
        for ticker in tickers:
            value = values.get(ticker, default)
            if value is None and not ticker.startswith(CASH_PREFIX):
                raise DataError(
                    f"{name} is not given for an asset",
                    asset=ticker,
                    fix="Add it, or an entry 'default'.",
                )
            rows.append(_number(value or 0.0, name))
        result = np.array(rows, dtype=np.float64)
    else:
        result = np.full(len(tickers), _number(values, name))
    bad = ~(np.isfinite(result) & (result >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            f"{name} must not be negative",
            asset=tickers[i] if isinstance(values, Mapping) else None,
            received=result[i],
        )
    result[_is_cash(tickers)] = 0.0
    return result


@dataclass(frozen=True, slots=True, eq=False)
class TradingFacts(Value):
    """What impact needs to know of a market at one moment.

    Attributes
    ----------
    tickers, asset_class : tuple of str, length N
    volatility : (N,) float64
        Standard deviation of daily log returns in quote currency, decimal; NaN where
        the history is too short.
    volume : (N,) float64
        Mean value traded a day, base currency; NaN where no volume is known.
    """

    tickers: tuple[str, ...]
    asset_class: tuple[str, ...]
    volatility: np.ndarray
    volume: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.tickers)
        for name in ("volatility", "volume"):
            values = frozen_array(
                getattr(self, name), name=name, ndim=1, shape=(n,), finite=False
            )
            if (values < 0).any():
                i = int(np.argmax(values < 0))
                raise DataError(
                    f"{name} must not be negative",
                    asset=self.tickers[i],
                    received=values[i],
                )
            object.__setattr__(self, name, values)

    @classmethod
    def of(cls, market: PricePanel | MarketView, window: int) -> TradingFacts:
        """Read volatility and volume of the last ``window`` sessions of a market.

        Returns are those between an asset's own closes, corporate actions taken out;
        volume is shares of a day times its close, as both stand in the panel (beside
        total-return prices that understates it by the dividends since). A third of
        the window must be there.
        """
        panel = market.panel if isinstance(market, MarketView) else market
        steps = np.log(panel.adjusted().prices[-(window + 1) :])
        least = max(2, -(-window // _LEAST_SHARE))
        N = len(panel.tickers)
        if not np.isnan(steps).any() and len(steps) > least:
            volatility = np.diff(steps, axis=0).std(axis=0, ddof=1)
        else:
            volatility = np.full(N, np.nan)
            for i in range(N):
                own = steps[np.isfinite(steps[:, i]), i]
                if own.size > least:
                    volatility[i] = np.diff(own).std(ddof=1)
        volume = np.full(N, np.nan)
        if panel.volume is not None:
            codes = panel.universe.quote_currency
            rate = {c: panel.fx_rate(c)[-window:] for c in set(codes)}
            base = panel.prices[-window:] * np.column_stack([rate[c] for c in codes])
            traded = panel.volume[-window:] * base
            there = np.isfinite(traded)
            count = there.sum(axis=0)
            total = np.where(there, traded, 0.0).sum(axis=0)
            known = (count >= least) & (total > 0)
            volume[known] = total[known] / count[known]
        return cls(panel.tickers, panel.universe.asset_class, volatility, volume)


@dataclass(frozen=True, slots=True, eq=False)
class Costs(Value):
    """What trading costs.

    Attributes
    ----------
    half_spread_bps : float or mapping by ticker, default 5
        One-way, on traded value. Five basis points is the upper end of the usual 1-5
        for large-cap shares (Boyd et al. 2017, section 2.3).
    commission_bps : float or mapping by ticker, default 0
        One-way, on traded value.
    fx_bps : float, default 0
        One-way, on traded value of assets not quoted in the base currency.
    minimum_commission : float, default 0
        Base currency per order; charged by the broker, and after rounding in a
        proposal. It is not convex, so the optimiser does not see it.
    impact : float, default 0
        Factor b of the market impact ``b sigma |x|^(3/2) / sqrt(V)`` of a day's trade
        of value x in an asset of daily volatility sigma that trades V a day; about one
        (Boyd et al. 2017). Off by default: it needs volumes. Sigma and V are those
        known when the trade is decided, for optimiser and broker alike.
    flat_impact_bps : mapping by asset class, optional
        One-way impact on traded value for assets of which no volume is known; may have
        an entry ``default``. Without it such an asset cannot be traded.
    adv : mapping by ticker, optional
        Value traded a day in base currency, instead of the panel's volume.
    impact_window : int, default 60
        Sessions for sigma and V: a quarter, long enough for a stable mean and short
        enough to follow a change of regime.
    borrow_bps : float or mapping by ticker, default 0
        Fee a year on the value of a short position, charged each session.
    borrow_days : float, default 30
        Calendar days a short position is taken to be held when the optimiser weighs
        its fee: a month, as the default schedule has it.
    margin_bps : float, default 0
        A year, over the cash rate, on cash that is owed.
    facts : TradingFacts, optional
        Set by `at`. A proposal that is given a market, and a backtest, always read
        their own, as of the decision.
    """

    half_spread_bps: Any = 5.0
    commission_bps: Any = 0.0
    fx_bps: float = 0.0
    minimum_commission: float = 0.0
    impact: float = 0.0
    flat_impact_bps: Mapping[str, float] | None = None
    adv: Mapping[str, float] | None = None
    impact_window: int = 60
    borrow_bps: Any = 0.0
    borrow_days: float = 30.0
    margin_bps: float = 0.0
    facts: TradingFacts | None = None

    def __post_init__(self) -> None:
        for name in ("half_spread_bps", "commission_bps", "borrow_bps"):
            values = getattr(self, name)
            if isinstance(values, Mapping):
                object.__setattr__(self, name, dict(values))
                for ticker in values:
                    _by_ticker(values, [ticker], name)
            else:
                _by_ticker(values, ["?"], name)
        for name in (
            "fx_bps",
            "minimum_commission",
            "impact",
            "borrow_days",
            "margin_bps",
        ):
            value = _number(getattr(self, name), name)
            if not (np.isfinite(value) and value >= 0):
                raise DataError(f"{name} must not be negative", received=value)
        for name in ("flat_impact_bps", "adv"):
            values = getattr(self, name)
            if values is None:
                continue
            if not isinstance(values, Mapping):
                raise DataError(
                    f"{name} must be a mapping", received=type(values).__name__
                )
            object.__setattr__(self, name, dict(values))
            for key, value in values.items():
                number = _number(value, name)
                good = number > 0 if name == "adv" else number >= 0
                if not (np.isfinite(number) and good):
                    raise DataError(
                        f"{name} must be {'' if name == 'adv' else 'zero or '}positive",
                        asset=str(key),
                        received=value,
                    )
        if self.flat_impact_bps is not None and not self.impact:
            raise DataError(
                "flat_impact_bps stands in for an impact that is switched off",
                fix="Set impact=1.0, or put a flat cost into half_spread_bps.",
            )
        if not (isinstance(self.impact_window, int) and self.impact_window >= 3):
            raise DataError(
                "impact_window must be at least three sessions",
                received=self.impact_window,
            )

    def at(self, market: PricePanel | MarketView) -> Costs:
        """Return these costs with volatility and volume as known in ``market``.

        Nothing after the last row of the panel or view is read. An asset without them
        is refused only when it is asked for.
        """
        return replace(self, facts=TradingFacts.of(market, self.impact_window))

    def rates(self, tickers, *, foreign: np.ndarray | None = None) -> np.ndarray:
        """(N,) proportional cost per unit of traded value; zero for cash.

        Parameters
        ----------
        tickers : sequence of str
        foreign : (N,) bool, optional
            Assets not quoted in the base currency, charged ``fx_bps`` as well.

        Notes
        -----
        With impact on, an asset without a known volume pays its class's
        ``flat_impact_bps`` here.
        """
        total = _by_ticker(self.half_spread_bps, tickers, "half_spread_bps")
        total = total + _by_ticker(self.commission_bps, tickers, "commission_bps")
        if foreign is not None:
            total = total + np.where(foreign, self.fx_bps, 0.0)
        if self.impact and self.flat_impact_bps is not None:
            total = total + self._liquidity(tickers)[2]
        return total * _BPS

    def impact_coefficients(self, tickers) -> np.ndarray:
        """(N,) k of the impact ``k |x|^(3/2)``, x in base currency; zero for cash.

        Raises
        ------
        UsageError
            Impact is on and no market was given (`at`).
        DataError
            No volume, adv or flat impact for an asset, or too short a history.
        """
        if not self.impact:
            return np.zeros(len(tickers))
        volatility, volume, _ = self._liquidity(tickers)
        return self.impact * volatility / np.sqrt(volume)

    def daily_volume(self, tickers) -> np.ndarray:
        """(N,) value traded a day, base currency; infinite for cash and flat impact.

        Raises
        ------
        UsageError, DataError
            As `impact_coefficients`.
        """
        return self._liquidity(tickers)[1]

    def _liquidity(self, tickers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Volatility, volume and flat impact (bps), (N,) each."""
        facts = self.facts
        if facts is None:
            raise UsageError(
                "market impact and participation need volumes",
                received="costs without a market",
                fix="Use costs.at(view), or pass market= to propose.",
            )
        row = {t: i for i, t in enumerate(facts.tickers)}
        given = self.adv or {}
        sigma, volume = np.zeros(len(tickers)), np.full(len(tickers), np.inf)
        flat = np.zeros(len(tickers))
        for j, ticker in enumerate(tickers):
            if ticker.startswith(CASH_PREFIX):
                continue
            i = row.get(ticker, -1)
            traded = given.get(ticker, facts.volume[i] if i >= 0 else np.nan)
            spread = facts.volatility[i] if i >= 0 else np.nan
            if np.isfinite(traded) and (np.isfinite(spread) or not self.impact):
                sigma[j], volume[j] = spread, traded
                continue
            kind = facts.asset_class[i] if i >= 0 else ""
            classes = self.flat_impact_bps or {}
            instead = classes.get(kind, classes.get("default"))
            if instead is None:
                known = np.isfinite(traded)
                raise DataError(
                    "too short a history for the volatility that impact needs"
                    if known
                    else "no trading volume is known",
                    asset=ticker,
                    expected=f"a third of {self.impact_window} sessions",
                    fix="Give flat_impact_bps for its asset class"
                    + (f" ({kind!r})" if kind else " or 'default'")
                    + (
                        "."
                        if known
                        else ", adv (base currency a day), or a panel with volume."
                    ),
                )
            flat[j] = instead
        return sigma, volume, flat

    def borrow_rates(self, tickers) -> np.ndarray:
        """(N,) fee a year per unit of value sold short, a decimal; zero for cash."""
        return _by_ticker(self.borrow_bps, tickers, "borrow_bps") * _BPS

    @staticmethod
    def tax_rates(prices, cost_basis, tax_rate) -> np.ndarray:
        """(N,) tax per unit of value sold: rate times the gain's share of the price.

        An unknown basis (NaN) is an error when the tax rate is positive; a loss earns
        no credit.
        """
        prices, basis, rate = (
            np.asarray(v, dtype=np.float64) for v in (prices, cost_basis, tax_rate)
        )
        if ((rate > 0) & np.isnan(basis)).any():
            raise DataError(
                "a tax rate without a cost basis",
                received=f"position {int(np.argmax((rate > 0) & np.isnan(basis)))}",
                fix="Give cost_basis (per share), or set tax_rate to zero.",
            )
        gain = np.where(rate > 0, np.maximum(0.0, 1.0 - basis / prices), 0.0)
        return rate * gain

    def each(
        self, tickers, trade_values: np.ndarray, *, foreign: np.ndarray | None = None
    ) -> np.ndarray:
        """(N,) money paid for each trade, before taxes; arguments as for `charge`."""
        size = np.abs(trade_values)
        cost = self.rates(tickers, foreign=foreign) * size
        if self.minimum_commission:
            cost = np.where(
                (size > 0) & ~_is_cash(tickers),
                np.maximum(cost, self.minimum_commission),
                cost,
            )
        if self.impact:
            cost = cost + self.impact_coefficients(tickers) * size * np.sqrt(size)
        return cost

    def charge(
        self,
        tickers,
        trade_values,
        *,
        foreign: np.ndarray | None = None,
        tax_rates: np.ndarray | None = None,
    ) -> float:
        """Money paid for a set of trades.

        Parameters
        ----------
        tickers : sequence of str, length N
        trade_values : (N,) float64
            Signed traded value in base currency; zero where nothing trades.
        foreign : (N,) bool, optional
        tax_rates : (N,) float64, optional
            From `tax_rates`; applied to sales.
        """
        z = np.asarray(trade_values, dtype=np.float64)
        total = float(self.each(tickers, z, foreign=foreign).sum())
        if tax_rates is not None:
            total += float((tax_rates * np.maximum(-z, 0.0)).sum())
        return total
