"""The ledger in plain Python: the kernel's reference, every change of value in words.

At each session

    value = cash + sum(units x price x fx)
    value - value before = price P&L + currency P&L + interest + dividends
                           - costs - taxes

hold by construction, column by column. Price P&L is units x price change at the
exchange rate of the session before; currency P&L is units x new price x rate change.
Units are those after a split of the session, and the price before it is put in them.
Costs are those of trades, and the fee on what was short since the session before.
Dividends are net of tax withheld at the source; interest on owed cash is negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from backtests.clock import DAYS_PER_YEAR, Market, Timeline
from backtests.events import NOTHING, Exit, SessionEvents
from backtests.fills import Fill
from backtests.ledger import COLUMNS
from engine.costs import DAYS_PER_YEAR as FEE_DAYS
from engine.costs import Costs
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.errors import DataError, ModelError


class Ledger:
    """The state of a book through a run; the broker and the clock write to it.

    Parameters
    ----------
    clock : Timeline
    market : Market
    book : Portfolio
        Priced at the first session.
    costs : Costs
    withholding : (M,) float64, optional
        Share of a distribution withheld at the source; nothing by default.
    """

    def __init__(
        self,
        clock: Timeline,
        market: Market,
        book: Portfolio,
        costs: Costs,
        *,
        withholding: np.ndarray | None = None,
    ) -> None:
        T, M = market.close.shape
        self.clock, self.market, self.costs = clock, market, costs
        self.base_currency = book.base_currency
        self.units = np.zeros(M)
        self.basis = np.full(M, np.nan)
        # An asset bought later has no stated tax rate; the highest of the book is
        # taken, because zero would promise a sale free of tax.
        self.tax_rate = np.full(M, float(book.tax_rate.max(initial=0.0)))
        self.tax_rate[market.n_assets :] = 0.0
        self.cash = 0.0
        self._column = {label: i for i, label in enumerate(market.labels)}
        for asset, units, basis, rate in zip(
            book.assets, book.units, book.cost_basis, book.tax_rate, strict=True
        ):
            i = self._column[asset]
            self.units[i], self.basis[i], self.tax_rate[i] = units, basis, rate
            if rate > 0 and np.isnan(basis):
                raise DataError(
                    "a tax rate without a cost basis",
                    asset=asset,
                    fix="Give cost_basis (per share), or set tax_rate to zero.",
                )
        for currency, amount in book.cash:
            if currency == self.base_currency:
                self.cash = amount
            else:
                self.units[self._column[cash_label(currency)]] = amount
        self.fills: list[Fill] = []
        self.columns = {name: np.zeros(T) for name in COLUMNS}
        self.unit_rows = np.zeros((T, M))
        self.money_rows = np.zeros((T, M))
        # Never priced means never held, so zero stands in; `mark` checks it.
        rate = market.mark * market.fx
        self._known = np.isfinite(rate)
        self._rate = np.where(self._known, rate, 0.0)
        self._price = np.where(self._known, market.mark, 0.0)
        self._fx = np.where(self._known, market.fx, 0.0)
        self._gross = self._net = self._fees = 0.0
        self._withheld = np.zeros(M) if withholding is None else withholding
        self._borrow = costs.borrow_rates(market.labels) / FEE_DAYS
        self._lends = bool(self._borrow.any())

    def column(self, label: str) -> int:
        """Column of a label, -1 when absent."""
        return self._column.get(label, -1)

    def open_session(self, k: int, events: SessionEvents = NOTHING) -> None:
        """Carry the book from session k - 1 to k: splits, prices, currencies, cash."""
        self._gross = self._net = self._fees = 0.0
        if k == 0:
            return
        column, u = self.columns, self.units
        before = self._price[k - 1]
        for i, ratio in events.splits:
            before = before.copy()
            before[i] /= ratio
            u[i] *= ratio
            self.basis[i] /= ratio
        if self._lends:
            # On the value at the close before: what was short over the days since.
            short = np.maximum(-u, 0.0) * before * self._fx[k - 1]
            self._fees = float(short @ self._borrow) * float(self.clock.days[k])
        step = self._price[k] - before
        column["price_pnl"][k] = u @ (step * self._fx[k - 1])
        column["fx_pnl"][k] = u @ (self._price[k] * (self._fx[k] - self._fx[k - 1]))
        years = self.clock.days[k] / DAYS_PER_YEAR
        earned = self.market.base_rate[k - 1] * years
        column["cash_return"][k] = earned
        interest = self.cash * earned
        if self.costs.margin_bps and self.cash < 0.0:
            interest += self.cash * self.costs.margin_bps * 1e-4 * years
        self.cash += interest
        n = self.market.n_assets
        foreign = u[n:] * self.market.rates[k - 1, n:] * years
        u[n:] += foreign
        column["interest"][k] = interest + float(foreign @ self._fx[k, n:])
        for i, cash in events.distributions:
            paid = float(u[i] * cash * self._fx[k, i])
            if u[i] > 0:  # a short position owes the lender the whole of it
                paid *= 1.0 - float(self._withheld[i])
            column["dividends"][k] += paid
            self.cash += paid
        if self._fees:
            column["costs"][k] += self._fees
            self.cash -= self._fees

    def value(self, k: int) -> float:
        """Net asset value at session k, base currency; a held gap is an error."""
        gap = (self.units != 0.0) & ~self._known[k]
        if gap.any():
            raise DataError(
                "a holding cannot be valued: no price or no exchange rate",
                asset=self.market.labels[int(np.argmax(gap))],
                date=self.clock.dates[k],
                fix="Extend the exchange rates, or leave the asset out.",
            )
        return float(self.cash + (self.units * self._rate[k]).sum())

    def book(self, k: int) -> Portfolio:
        """The book at session k as a priced `Portfolio`, for a strategy."""
        n, labels = self.market.n_assets, self.market.labels
        self.value(k)
        held = np.flatnonzero(self.units[:n])
        extra = n + np.flatnonzero(self.units[n:])
        money = self.units * self._rate[k]
        cash = [(self.base_currency, self.cash)]
        cash += [(labels[j].removeprefix(CASH_PREFIX), self.units[j]) for j in extra]
        return Portfolio(
            assets=tuple(labels[i] for i in held),
            units=self.units[held],
            money=money[held],
            cash=tuple(cash),
            base_currency=self.base_currency,
            cost_basis=self.basis[held],
            tax_rate=self.tax_rate[held],
            cash_money=np.concatenate([[self.cash], money[extra]]),
        )

    def charges(
        self,
        k: int,
        which: np.ndarray,
        units: np.ndarray,
        price: np.ndarray,
        costs: Costs | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value, cost and tax of trading ``units`` of columns ``which``: (n,) each.

        `Costs` is asked, so that optimiser and broker charge the same; with impact,
        ``costs`` are those of the decision.
        """
        labels = [self.market.labels[i] for i in which]
        z = units * price * self.market.fx[k, which]
        cost = (self.costs if costs is None else costs).each(
            labels, z, foreign=self.market.foreign[which]
        )
        held = np.maximum(self.units[which], 0.0)
        sold = np.minimum(np.maximum(-units, 0.0), held)
        rate = np.where(sold > 0, self.tax_rate[which], 0.0)
        share = np.divide(sold, -units, out=np.zeros(units.size), where=sold > 0)
        tax = (
            Costs.tax_rates(price, self.basis[which], rate)
            * np.maximum(-z, 0.0)
            * share
        )
        return z, cost, tax

    def trade(
        self,
        k: int,
        which: np.ndarray,
        units: np.ndarray,
        price: np.ndarray,
        *,
        ordered: np.ndarray,
        decided: np.datetime64,
        status: Sequence[str],
        costs: Costs | None = None,
    ) -> None:
        """Book executions at session k: units, cash, costs, taxes, average cost.

        Selling a long position to or past zero realises its gain; gains on short
        positions are not taxed.
        """
        z, cost, tax = self.charges(k, which, units, price, costs)
        before = self.units[which]
        after = before + units
        # A position sold in full must be exactly empty, not 1e-17 of a share.
        after = np.where(np.abs(after) <= 1e-12 * np.abs(units), 0.0, after)
        bought = (units > 0) & (after > 0)
        long = np.maximum(before, 0.0)
        paid = np.where(long > 0, self.basis[which] * long, 0.0) + price * (
            after - long
        )
        basis = np.where(bought, paid / np.where(bought, after, 1.0), self.basis[which])
        self.basis[which] = np.where(after > 0, basis, np.nan)
        self.units[which] = after
        self.cash -= float(z.sum() + cost.sum() + tax.sum())
        column = self.columns
        column["costs"][k] += cost.sum()
        column["taxes"][k] += tax.sum()
        # Bought at the open, worth something else at the close.
        drift = (self._price[k, which] - price) * self._fx[k, which]
        column["price_pnl"][k] += float((after - before) @ drift)
        self._gross += float(np.abs(z).sum())
        self._net += float(z.sum())
        date, labels = self.clock.dates[k], self.market.labels
        columns = (which, ordered, units, price, z, cost, tax)
        self.fills.extend(
            Fill._make((date, decided, labels[i], *numbers, word))
            for i, *numbers, word in zip(
                *(c.tolist() for c in columns), status, strict=True
            )
        )

    def lapse(
        self, k: int, which: np.ndarray, ordered: np.ndarray, decided, status: str
    ) -> None:
        """Record orders that end without an execution."""
        nan = float("nan")
        self.fills.extend(
            Fill(
                self.clock.dates[k],
                decided,
                self.market.labels[i],
                float(q),
                0.0,
                nan,
                0.0,
                0.0,
                0.0,
                status,
            )
            for i, q in zip(which.tolist(), ordered, strict=True)
        )

    def delist(self, k: int, delisting_return: float | None) -> bool:
        """Turn delisted holdings into cash; `DataError` without an assumed return."""
        gone = np.flatnonzero(self.market.delisted[k] & (self.units != 0.0))
        if not gone.size:
            return False
        for i in gone.tolist():
            self._liquidate(
                k,
                i,
                self._assumed(
                    k,
                    i,
                    delisting_return,
                    "more than ten sessions of its venue without a price",
                ),
                "delisting",
            )
        return True

    def leave(self, k: int, item: Exit, delisting_return: float | None) -> bool:
        """Book the end of a share; whether the assumed return had to stand in.

        Cash is taxed on its share of the gain; the acquirer's shares take over the
        rest of the cost basis.
        """
        i, units = item.i, float(self.units[item.i])
        if units == 0.0:
            return False
        assumed = bool(np.isnan(item.cash))
        if not item.ratio:
            price = item.cash
            if assumed:
                price = self._assumed(
                    k, i, delisting_return, "a delisting without a terminal value"
                )
            self._liquidate(k, i, price, item.kind)
            return assumed
        j, date = item.acquirer, self.clock.dates[k]
        if j < 0 or not self._known[k, j]:
            raise DataError(
                "a merger pays shares of a company without a price",
                asset=self.market.labels[i],
                date=date,
                fix="Add the acquirer's prices, or state the merger in cash.",
            )
        received = units * item.ratio
        share = float(received * self._rate[k, j])
        money = float(units * item.cash * self._fx[k, i])
        part = money / (money + share)
        basis = float(self.basis[i])
        tax = self._exit_tax(i, units, item.cash, basis * part, k)
        self.columns["price_pnl"][k] += money + share - units * self._rate[k, i]
        self.columns["taxes"][k] += tax
        self.cash += money - tax
        held = float(self.units[j])
        after = held + received
        if received > 0:
            rolled = basis * (1.0 - part) * units + (
                self.basis[j] * held if held else 0
            )
            self.basis[j] = rolled / after if after > 0 else np.nan
        self.units[j], self.units[i], self.basis[i] = after, 0.0, np.nan
        self._record(k, i, -units, float(item.cash), -money, tax, "merger")
        self._record(k, j, received, float(self._price[k, j]), share, 0.0, "merger")
        return False

    def whole_shares(self, k: int, columns: Iterable[int]) -> None:
        """Pay out the fractions of a share that splits and mergers left."""
        for i in set(columns):
            units = float(self.units[i])
            rest = units - float(np.trunc(units * (1.0 + 1e-12)))
            if abs(rest) <= 1e-9 * max(1.0, abs(units)):
                self.units[i] = np.round(units)
                continue
            money = float(rest * self._rate[k, i])
            self.units[i] = units - rest
            self.cash += money
            price = float(self._price[k, i])
            self._record(k, i, -rest, price, -money, 0.0, "cash in lieu")

    def _assumed(self, k: int, i: int, given: float | None, why: str) -> float:
        """Terminal price under the assumed return; an error without one."""
        if given is None:
            raise DataError(
                "a holding was delisted",
                asset=self.market.labels[i],
                date=self.clock.dates[k],
                received=why,
                fix="State what was recovered: delisting_return=-0.3 (a decimal on "
                "the last price), and try several; or its value in the corporate "
                "actions.",
            )
        return float(self._price[k, i] * (1.0 + given))

    def _liquidate(self, k: int, i: int, price: float, status: str) -> None:
        """Turn a position into cash at a price that nobody chose: tax, no cost."""
        units = float(self.units[i])
        proceeds = float(units * price * self._fx[k, i])
        tax = self._exit_tax(i, units, price, float(self.basis[i]), k)
        self.columns["price_pnl"][k] += proceeds - units * self._rate[k, i]
        self.columns["taxes"][k] += tax
        self.cash += proceeds - tax
        self.units[i], self.basis[i] = 0.0, np.nan
        self._record(k, i, -units, price, -proceeds, tax, status)

    def _exit_tax(
        self, i: int, units: float, price: float, basis: float, k: int
    ) -> float:
        """Tax on the gain of a long position that ends; losses earn no credit."""
        if not self.tax_rate[i] or units <= 0:
            return 0.0
        gain = max(0.0, price - basis)
        return float(self.tax_rate[i] * gain * units * self._fx[k, i])

    def _record(
        self,
        k: int,
        i: int,
        units: float,
        price: float,
        value: float,
        tax: float,
        status: str,
    ) -> None:
        date, label = self.clock.dates[k], self.market.labels[i]
        self.fills.append(
            Fill(date, date, label, units, units, price, value, 0.0, tax, status)
        )

    def close_session(self, k: int) -> None:
        """Write the row of session k."""
        value = self.value(k)
        if not value > 0.0:
            raise ModelError(
                "the book lost everything",
                date=self.clock.dates[k],
                received=f"a value of {value:,.2f}",
                fix="Bound leverage and short positions.",
            )
        column = self.columns
        column["value"][k], column["cash"][k] = value, self.cash
        if self._gross:
            # The borrow fee was gone before anything was traded.
            paid = column["costs"][k] - self._fees + column["taxes"][k]
            before = value + paid
            column["turnover"][k] = 0.5 * (self._gross + abs(self._net)) / before
        self.unit_rows[k] = self.units
        self.money_rows[k] = self.units * self._rate[k]
