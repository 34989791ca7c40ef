"""Trading costs: one object gives the optimiser its terms and the broker its charge.

Proportional costs only: ``(half_spread + commission) * |traded value|``, plus tax on
the realised gain of a sale. Both readers use `Costs.rates` and `Costs.tax_rates`, so
they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.portfolio import CASH_PREFIX
from engine.errors import DataError

_BPS = 1e-4


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a number", received=repr(value)) from None


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
    cash = np.array([t.startswith(CASH_PREFIX) for t in tickers], dtype=bool)
    result[cash] = 0.0
    return result


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
    """

    half_spread_bps: Any = 5.0
    commission_bps: Any = 0.0
    fx_bps: float = 0.0
    minimum_commission: float = 0.0

    def __post_init__(self) -> None:
        for name in ("half_spread_bps", "commission_bps"):
            values = getattr(self, name)
            if isinstance(values, Mapping):
                object.__setattr__(self, name, dict(values))
                for ticker in values:
                    _by_ticker(values, [ticker], name)
            else:
                _by_ticker(values, ["?"], name)
        for name in ("fx_bps", "minimum_commission"):
            value = _number(getattr(self, name), name)
            if not (np.isfinite(value) and value >= 0):
                raise DataError(f"{name} must not be negative", received=value)

    def rates(self, tickers, *, foreign: np.ndarray | None = None) -> np.ndarray:
        """(N,) proportional cost per unit of traded value; zero for cash.

        Parameters
        ----------
        tickers : sequence of str
        foreign : (N,) bool, optional
            Assets not quoted in the base currency, charged ``fx_bps`` as well.
        """
        total = _by_ticker(self.half_spread_bps, tickers, "half_spread_bps")
        total = total + _by_ticker(self.commission_bps, tickers, "commission_bps")
        if foreign is not None:
            total = total + np.where(foreign, self.fx_bps, 0.0)
        return total * _BPS

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
        size = np.abs(z)
        each = self.rates(tickers, foreign=foreign) * size
        if self.minimum_commission:
            cash = np.array([t.startswith(CASH_PREFIX) for t in tickers], dtype=bool)
            each = np.where(
                (size > 0) & ~cash, np.maximum(each, self.minimum_commission), each
            )
        total = float(each.sum())
        if tax_rates is not None:
            total += float((tax_rates * np.maximum(-z, 0.0)).sum())
        return total
