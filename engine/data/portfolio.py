"""Holdings: what a user owns, priced in one base currency, cash rows included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine._base import Value, check_labels, frozen_array
from engine.data.files import read_table
from engine.data.holdings import percentages, refuse_label, renaming, wrong_total
from engine.data.panel import PricePanel, _last_valid
from engine.data.universe import check_currency
from engine.data.view import MarketView
from engine.errors import DataError

_WEIGHT_TOLERANCE = 1e-6
_QUANTITIES = ("shares", "value", "weight")
CASH_PREFIX = "CASH:"


def cash_label(currency: str) -> str:
    """Label of a cash position: ``CASH:EUR``."""
    return CASH_PREFIX + currency


@dataclass(frozen=True, slots=True, eq=False)
class Portfolio(Value):
    """A book: units and money per asset, cash per currency.

    Attributes
    ----------
    assets : tuple of str, length N
    units : (N,) float64
        Shares held; NaN until priced when the file gave money or weights.
    money : (N,) float64
        Value in base currency; NaN until priced when the file gave shares or another
        currency.
    cash : tuple of (currency, amount)
        Amounts in their own currency.
    base_currency : str
    stated, stated_currency : tuple
        What the source gave for assets that still need a price: kind and currency.
    cost_basis, tax_rate : (N,) float64
        Cost per share in quote currency (NaN: unknown) and tax on realised gains.
    cash_money : (M,) float64
        Cash in base currency, NaN until priced.
    stated_amount : (N,) float64
        The figure that ``stated`` names, NaN where none.
    """

    assets: tuple[str, ...]
    units: np.ndarray
    money: np.ndarray
    cash: tuple[tuple[str, float], ...] = ()
    base_currency: str = "USD"
    stated: tuple[str, ...] = ()
    stated_currency: tuple[str, ...] = ()
    stated_amount: np.ndarray = field(default_factory=lambda: np.empty(0))
    cost_basis: np.ndarray = field(default_factory=lambda: np.empty(0))
    tax_rate: np.ndarray = field(default_factory=lambda: np.empty(0))
    cash_money: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "assets", check_labels(self.assets, name="portfolio"))
        n = len(self.assets)
        put(self, "base_currency", check_currency(self.base_currency))
        cash = tuple((check_currency(c), float(a)) for c, a in self.cash)
        check_labels([c for c, _ in cash], name="cash", what="currency")
        put(self, "cash", cash)
        if not n and not cash:
            raise DataError("the portfolio is empty")
        defaults = {"cost_basis": np.nan, "tax_rate": 0.0, "stated_amount": np.nan}
        for name in ("units", "money", *defaults):
            values = getattr(self, name)
            if name in defaults and not np.size(values):
                values = np.full(n, defaults[name])
            put(
                self,
                name,
                frozen_array(values, name=name, ndim=1, shape=(n,), finite=False),
            )
        for name in ("stated", "stated_currency"):
            put(self, name, tuple(getattr(self, name)) or ("",) * n)
        money = self.cash_money
        if not np.size(money):
            money = [a if c == self.base_currency else np.nan for c, a in cash]
        put(
            self,
            "cash_money",
            frozen_array(
                money, name="cash_money", ndim=1, shape=(len(cash),), finite=False
            ),
        )
        bad_tax = ~((self.tax_rate >= 0) & (self.tax_rate < 1))
        if bad_tax.any():
            i = int(np.argmax(bad_tax))
            raise DataError(
                "tax_rate must lie in [0, 1)",
                asset=self.assets[i],
                received=self.tax_rate[i],
            )
        bad_basis = ~np.isnan(self.cost_basis) & ~(self.cost_basis >= 0)
        if bad_basis.any():
            i = int(np.argmax(bad_basis))
            raise DataError(
                "cost_basis must not be negative",
                asset=self.assets[i],
                received=self.cost_basis[i],
            )

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, float] | Any, value: float, base_currency: str
    ) -> Portfolio:
        """Book with given fractions of net asset value.

        Parameters
        ----------
        weights : mapping or Series
            Fraction per ticker; cash as ``CASH:USD``. Must sum to one within 1e-6.
        value : float
            Net asset value in base currency, positive.
        base_currency : str
        """
        if not np.isfinite(value) or value <= 0:
            raise DataError("portfolio value must be positive", received=value)
        items = list(weights.items())
        names = check_labels([str(k) for k, _ in items], name="weights")
        fractions = frozen_array(
            [v for _, v in items], name="weights", ndim=1, shape=(len(names),)
        )
        total = float(fractions.sum())
        if abs(total - 1.0) > _WEIGHT_TOLERANCE:
            raise DataError(
                "weights do not sum to one",
                received=f"{total:.6f}",
                expected="1, cash included",
                fix=wrong_total(total, names, base_currency),
            )
        is_cash = [n.startswith(CASH_PREFIX) for n in names]
        assets = [n for n, c in zip(names, is_cash, strict=True) if not c]
        money = np.array(
            [f * value for f, c in zip(fractions, is_cash, strict=True) if not c]
        )
        base = check_currency(base_currency)
        cash, cash_money = [], []
        for name, fraction, flag in zip(names, fractions, is_cash, strict=True):
            if flag:
                code = check_currency(name.removeprefix(CASH_PREFIX))
                cash.append((code, fraction * value if code == base else np.nan))
                cash_money.append(fraction * value)
        return cls(
            assets=tuple(assets),
            units=np.full(len(assets), np.nan),
            money=money,
            cash=tuple(cash),
            base_currency=base,
            cash_money=np.array(cash_money),
        )

    @classmethod
    def read(
        cls,
        path: Any,
        *,
        base_currency: str = "USD",
        value: float | None = None,
    ) -> Portfolio:
        """Read a portfolio file.

        Parameters
        ----------
        path : path or DataFrame
            Columns ``ticker``, exactly one of ``shares``, ``value``, ``weight``, and
            optionally ``currency`` (of ``value``), ``cost_basis`` (per share, in the
            quote currency), ``tax_rate``. Cash rows are named ``CASH:EUR``; their
            number is an amount of that currency (a fraction in a weight file).
        base_currency : str, default "USD"
        value : float, optional
            Net asset value for a weight file; 1.0 when not given, so that money
            reads as a fraction.

        Raises
        ------
        DataError
            Naming the ticker and what was received.
        """
        table = path if hasattr(path, "columns") else read_table(path, what="portfolio")
        table = table.rename(columns=lambda c: str(c).strip().lower())
        if "ticker" not in table.columns:
            raise DataError(
                "portfolio has no column 'ticker'",
                received=", ".join(table.columns),
                fix=renaming(table.columns, "ticker"),
            )
        given = [c for c in _QUANTITIES if c in table.columns]
        if len(given) != 1:
            raise DataError(
                "a portfolio states exactly one of shares, value, weight",
                received=", ".join(given) or "none of them",
                fix=renaming(table.columns, "shares", "value", "weight")
                if not given
                else "Keep one of them.",
            )
        unknown = set(table.columns) - {
            "ticker",
            *_QUANTITIES,
            "currency",
            "cost_basis",
            "tax_rate",
            "name",
        }
        if unknown:
            raise DataError(
                "unknown column in the portfolio",
                received=", ".join(sorted(unknown)),
                expected="ticker, shares|value|weight, currency, cost_basis, tax_rate",
                fix="Leave it out; what assets are goes into the universe "
                "(CLI: --universe).",
            )
        kind = given[0]
        tickers = table["ticker"].fillna("").astype(str).str.strip()
        if (tickers == "").any():
            row = int(np.argmax((tickers == "").to_numpy())) + 1
            raise DataError(
                "the portfolio holds an empty or non-text label",
                received=f"row {row} after the heading",
                fix="Name the asset, or remove the row.",
            )
        check_labels(list(tickers), name="the portfolio", what="ticker")
        if kind == "weight":
            table = percentages(table, tickers)
        numbers = _column(table, kind, tickers)
        if value is not None and kind != "weight":
            raise DataError(
                "a value was given for a portfolio that already states one",
                received=f"{kind} and value={value}",
            )
        if kind == "weight":
            return cls.from_weights(
                dict(zip(tickers, numbers, strict=True)),
                1.0 if value is None else value,
                base_currency,
            )._with_tax(table, tickers)
        is_cash = np.array([t.startswith(CASH_PREFIX) for t in tickers], dtype=bool)
        base = check_currency(base_currency)
        codes = [""] * len(tickers)
        if "currency" in table.columns:
            codes = [
                check_currency(c, asset=t) if c else ""
                for c, t in zip(
                    table["currency"].fillna("").astype(str), tickers, strict=True
                )
            ]
        for ticker, code, flag in zip(tickers, codes, is_cash, strict=True):
            if flag and code and code != ticker.removeprefix(CASH_PREFIX):
                raise DataError(
                    "a cash row names two currencies",
                    asset=ticker,
                    received=code,
                )
        amounts = numbers[~is_cash]
        assets = tuple(tickers[~is_cash])
        return cls(
            assets=assets,
            units=amounts if kind == "shares" else np.full(len(assets), np.nan),
            money=np.full(len(assets), np.nan),
            cash=tuple(
                (t.removeprefix(CASH_PREFIX), float(a))
                for t, a in zip(tickers[is_cash], numbers[is_cash], strict=True)
            ),
            base_currency=base,
            stated=(kind,) * len(assets),
            stated_currency=tuple(
                c for c, flag in zip(codes, is_cash, strict=True) if not flag
            ),
            stated_amount=amounts,
        )._with_tax(table, tickers)

    def _with_tax(self, table, tickers) -> Portfolio:
        changes: dict[str, Any] = {}
        for name, default in (("cost_basis", np.nan), ("tax_rate", 0.0)):
            if name in table.columns:
                by_ticker = dict(
                    zip(
                        tickers,
                        _column(table, name, tickers, missing=default),
                        strict=True,
                    )
                )
                changes[name] = np.array([by_ticker[a] for a in self.assets])
        return replace(self, **changes) if changes else self

    def priced(self, market: PricePanel | MarketView) -> Portfolio:
        """The same book with units and base-currency money filled in.

        Uses the last price of each asset and the last exchange rates of the panel.

        Raises
        ------
        DataError
            A held ticker without prices, or a currency without an exchange rate.
        """
        panel = market.panel if isinstance(market, MarketView) else market
        if panel.base_currency != self.base_currency:
            raise DataError(
                "portfolio and prices have different base currencies",
                received=f"{self.base_currency} and {panel.base_currency}",
                fix="Load the panel with base_currency= of the portfolio.",
            )
        for asset in self.assets:
            if asset not in panel.universe:
                refuse_label(asset, panel.tickers)
        columns = [panel.index(a) for a in self.assets]
        prices = _last_valid(panel.prices[:, columns]) if columns else np.empty(0)
        if np.isnan(prices).any():
            raise DataError(
                "no price yet for a held asset",
                asset=self.assets[int(np.argmax(np.isnan(prices)))],
                date=panel.dates[-1],
            )
        codes = [panel.universe.quote_currency[i] for i in columns]
        fx = np.array([_rate(panel, c) for c in codes])
        units, money = self.units.copy(), self.money.copy()
        for i, asset in enumerate(self.assets):
            if self.stated[i] == "value" and np.isnan(money[i]):
                code = self.stated_currency[i] or codes[i]
                money[i] = self.stated_amount[i] * _rate(panel, code)
            elif self.stated[i] == "shares":
                code = self.stated_currency[i]
                if code and code != codes[i]:
                    raise DataError(
                        "the portfolio and the prices state different currencies",
                        asset=asset,
                        received=f"{code} and {codes[i]}",
                    )
        known = ~np.isnan(units)
        money[known] = units[known] * prices[known] * fx[known]
        units[~known] = money[~known] / (prices[~known] * fx[~known])
        cash, cash_money = [], []
        for (code, amount), in_base in zip(self.cash, self.cash_money, strict=True):
            rate = _rate(panel, code)
            amount = in_base / rate if np.isnan(amount) else amount
            cash.append((code, amount))
            cash_money.append(amount * rate)
        result = replace(
            self,
            units=units,
            money=money,
            cash=tuple(cash),
            cash_money=np.array(cash_money),
        )
        if not result.value > 0:
            raise DataError("portfolio value must be positive", received=result.value)
        return result

    @property
    def value(self) -> float:
        """Net asset value in base currency; `DataError` until priced."""
        total = float(self.money.sum() + self.cash_money.sum())
        if np.isnan(total):
            raise DataError(
                "the portfolio is not priced yet",
                fix="Call portfolio.priced(panel) first.",
            )
        return total

    @property
    def labels(self) -> tuple[str, ...]:
        """Assets, then cash labels: the order of `weights`."""
        return self.assets + tuple(cash_label(c) for c, _ in self.cash)

    @property
    def weights(self) -> np.ndarray:
        """(N + M,) fractions of net asset value, in the order of `labels`; sum 1."""
        return np.concatenate([self.money, self.cash_money]) / self.value

    def weights_on(self, labels: tuple[str, ...]) -> np.ndarray:
        """Weights laid out on another ordering; a label held but absent is an error."""
        held = dict(zip(self.labels, self.weights, strict=True))
        missing = [k for k in held if k not in set(labels) and held[k] != 0.0]
        if missing:
            raise DataError(
                "a holding is not covered by the model or scenarios",
                asset=missing[0],
                fix="Fit the model on a panel that has it (cash currencies through "
                "fit(..., cash_currencies=...)).",
            )
        return np.array([held.get(k, 0.0) for k in labels])

    def to_frame(self):
        """Return the holdings as a table."""
        import pandas as pd

        cash = np.array([a for _, a in self.cash])
        return pd.DataFrame(
            {
                "ticker": self.labels,
                "units": np.concatenate([self.units, cash]),
                "money": np.concatenate([self.money, self.cash_money]),
            }
        ).assign(weight=lambda d: d["money"] / d["money"].sum(skipna=False))

    def __repr__(self) -> str:
        total = self.money.sum() + self.cash_money.sum()
        amount = "unpriced" if np.isnan(total) else f"{total:,.2f}"
        return (
            f"Portfolio({len(self.assets)} assets, {len(self.cash)} cash, "
            f"{amount} {self.base_currency})"
        )

    def _repr_html_(self) -> str:
        from engine import _display as show

        total = self.money.sum() + self.cash_money.sum()
        if np.isnan(total):
            return show.paragraph(repr(self)) + show.table(self.to_frame())
        held = dict(zip(self.labels, self.weights.tolist(), strict=True))
        formats = {"weight": show.percent, "money": "{:,.2f}".format}
        return (
            show.paragraph(repr(self))
            + show.bars(held, "Weights")
            + show.table(self.to_frame(), {**formats, "units": "{:,.4f}".format})
        )


def _rate(panel: PricePanel, currency: str) -> float:
    rate = float(panel.fx_rate(currency)[-1])
    if np.isnan(rate):
        raise DataError(
            f"no exchange rate from {currency} to {panel.base_currency}",
            date=panel.dates[-1],
        )
    return rate


def _column(table, name: str, tickers, *, missing: float | None = None) -> np.ndarray:
    """(rows,) floats of one column; text, infinities and gaps are refused."""
    import pandas as pd

    column = table[name]
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    empty = column.isna().to_numpy()
    bad = (np.isnan(numbers) & ~empty) | np.isinf(numbers)
    if missing is None:
        bad |= empty
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            f"column {name} holds something that is not a number",
            asset=str(tickers.iloc[i]),
            received=repr(column.iloc[i]),
            expected="a number alone, such as 1234.5",
            fix="A currency goes into the column currency, a short position takes a "
            "minus.",
        )
    return np.where(empty, missing, numbers) if missing is not None else numbers
