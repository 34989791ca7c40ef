"""The ledger: units, cash and tax lots at average cost, and every change of value.

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

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from backtests.clock import Market, Timeline
from backtests.events import Exit, SessionEvents
from backtests.fills import WORDS, Fills
from engine.costs import DAYS_PER_YEAR as FEE_DAYS
from engine.costs import Costs
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

COLUMNS = (
    "value",
    "cash",
    "price_pnl",
    "fx_pnl",
    "interest",
    "dividends",
    "costs",
    "taxes",
    "turnover",
    "cash_return",
)
"""Per-session columns of a ledger and of a `BacktestResult`."""


class Ledger:
    """The state of a book through a run, in arrays that the kernel steps forward.

    Ordinary sessions are `engine.kernels.ledger.run`; here are the opening book, what
    a strategy is shown, and the corporate exits, which are rare.

    Parameters
    ----------
    clock : Timeline
    market : Market
    book : Portfolio
        Priced at the first session.
    costs : Costs
    paid : (T, M) float64
        Price of a fill at each session; NaN where shut.
    withholding : (M,) float64, optional
        Share of a distribution withheld at the source; nothing by default.
    events : mapping session -> SessionEvents, optional
    whole : bool, default False
        Whole shares.
    room : int, default 0
        Fills expected; the log grows beyond them as it must.
    """

    def __init__(
        self,
        clock: Timeline,
        market: Market,
        book: Portfolio,
        costs: Costs,
        *,
        paid: np.ndarray,
        withholding: np.ndarray | None = None,
        events: Mapping[int, SessionEvents] | None = None,
        whole: bool = False,
        room: int = 0,
    ) -> None:
        from engine.kernels import ledger as kernel

        T, M = market.close.shape
        self.clock, self.market, self.costs = clock, market, costs
        self.base_currency = book.base_currency
        self.units = np.zeros(M)
        self.basis = np.full(M, np.nan)
        # An asset bought later has no stated tax rate; the highest of the book is
        # taken, because zero would promise a sale free of tax.
        self.tax_rate = np.full(M, float(book.tax_rate.max(initial=0.0)))
        self.tax_rate[market.n_assets :] = 0.0
        self._state = np.zeros(4)
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
        self.columns = {name: np.zeros(T) for name in COLUMNS}
        self.unit_rows = np.empty((T, M))
        self.money_rows = np.empty((T, M))
        self.rows = kernel.Rows._make(
            [*self.columns.values(), self.unit_rows, self.money_rows]
        )
        self.tables = _tables(clock, market, paid, events or {}, whole=whole)
        withheld = np.zeros(M) if withholding is None else withholding
        borrow = costs.borrow_rates(market.labels) / FEE_DAYS
        self.state = kernel.Book(
            self.units, self.basis, self.tax_rate, withheld, borrow, self._state
        )
        self._least = kernel.FILLS_PER_SESSION * M
        self.log = _empty_log(self._least + room)

    @property
    def cash(self) -> float:
        """Base-currency cash."""
        return float(self._state[0])

    @cash.setter
    def cash(self, amount: float) -> None:
        self._state[0] = amount

    @property
    def fills(self) -> Fills:
        """What was executed or cancelled so far."""
        n, log, dates = int(self.log.written[0]), self.log, self.clock.dates
        if log.session.size > 2 * n:  # a short run should not keep a long log alive
            log = type(log)(*(a[:n].copy() for a in log[:-1]), log.written)
        parts = {k: getattr(log, k)[:n] for k in _LOGGED}
        session, decided = parts.pop("session"), parts.pop("decided")
        date = dates.take(session)
        day = date if np.array_equal(session, decided) else dates.take(decided)
        for values in (*log[:-1], *parts.values(), date, day):
            values.setflags(write=False)
        return Fills(
            date=date,
            decided=day,
            labels=self.market.labels,
            **parts,
        )

    def make_room(self) -> None:
        """Let the log hold another session."""
        log = self.log
        bigger = _empty_log(2 * log.session.size + self._least)
        n = log.written[0]
        for old, new in zip(log[:-1], bigger[:-1], strict=True):
            new[:n] = old[:n]
        bigger.written[0] = n
        self.log = bigger

    def column(self, label: str) -> int:
        """Column of a label, -1 when absent."""
        return self._column.get(label, -1)

    def value(self, k: int) -> float:
        """Net asset value at session k, base currency; a held gap is an error."""
        rate = self.market.mark[k] * self.market.fx[k]
        held = self.units != 0.0
        gap = held & ~np.isfinite(rate)
        if gap.any():
            raise DataError(
                "a holding cannot be valued: no price or no exchange rate",
                asset=self.market.labels[int(np.argmax(gap))],
                date=self.clock.dates[k],
                fix="Extend the exchange rates, or leave the asset out.",
            )
        return float(self.cash + (self.units * np.where(held, rate, 0.0)).sum())

    def book(self, k: int) -> Portfolio:
        """The book at session k as a priced `Portfolio`, for a strategy."""
        self.value(k)
        return book_of(
            self.market,
            k,
            self.units,
            self.basis,
            self.tax_rate,
            self.cash,
            self.base_currency,
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
        if j < 0 or not self._rate(k, j):
            raise DataError(
                "a merger pays shares of a company without a price",
                asset=self.market.labels[i],
                date=date,
                fix="Add the acquirer's prices, or state the merger in cash.",
            )
        received = units * item.ratio
        share = float(received * self._rate(k, j))
        money = float(units * item.cash * self._seen(k, i)[1])
        part = money / (money + share)
        basis = float(self.basis[i])
        tax = self._exit_tax(i, units, item.cash, basis * part, k)
        self.columns["price_pnl"][k] += money + share - units * self._rate(k, i)
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
        self._record(k, j, received, float(self._seen(k, j)[0]), share, 0.0, "merger")
        return False

    def whole_shares(self, k: int, columns: Iterable[int]) -> None:
        """Pay out the fractions of a share that splits and mergers left."""
        for i in set(columns):
            units = float(self.units[i])
            rest = units - float(np.trunc(units * (1.0 + 1e-12)))
            if abs(rest) <= 1e-9 * max(1.0, abs(units)):
                self.units[i] = np.round(units)
                continue
            money = float(rest * self._rate(k, i))
            self.units[i] = units - rest
            self.cash += money
            price = float(self._seen(k, i)[0])
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
        return float(self._seen(k, i)[0] * (1.0 + given))

    def _liquidate(self, k: int, i: int, price: float, status: str) -> None:
        """Turn a position into cash at a price that nobody chose: tax, no cost."""
        units = float(self.units[i])
        proceeds = float(units * price * self._seen(k, i)[1])
        tax = self._exit_tax(i, units, price, float(self.basis[i]), k)
        self.columns["price_pnl"][k] += proceeds - units * self._rate(k, i)
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
        return float(self.tax_rate[i] * gain * units * self._seen(k, i)[1])

    def _seen(self, k: int, i: int) -> tuple[float, float]:
        """Last price and exchange rate; zeros unless both are known."""
        price, fx = float(self.market.mark[k, i]), float(self.market.fx[k, i])
        return (price, fx) if np.isfinite(price * fx) else (0.0, 0.0)

    def _rate(self, k: int, i: int) -> float:
        price, fx = self._seen(k, i)
        return price * fx

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
        if self.log.written[0] + self._least >= self.log.session.size:
            self.make_room()
        n, code = self.log.written[0], WORDS.index(status)
        row = (k, k, i, code, units, units, price, value, 0.0, tax)
        for column, entry in zip(self.log[:-1], row, strict=True):
            column[n] = entry
        self.log.written[0] = n + 1


_LOGGED = (
    "session",
    "decided",
    "column",
    "status",
    "ordered",
    "units",
    "price",
    "value",
    "cost",
    "tax",
)


def _empty_log(n: int) -> Any:
    from engine.kernels.ledger import Log

    whole = (np.empty(n, dtype=d) for d in (np.int32, np.int32, np.int32, np.int8))
    numbers = (np.empty(n) for _ in range(6))
    return Log._make([*whole, *numbers, np.zeros(1, dtype=np.int64)])


def book_of(
    market: Market,
    k: int,
    units: np.ndarray,
    basis: np.ndarray,
    tax_rate: np.ndarray,
    cash: float,
    base_currency: str,
) -> Portfolio:
    """A book at session k as a priced `Portfolio`; its holdings have a value."""
    n, labels = market.n_assets, market.labels
    held = np.flatnonzero(units[:n])
    extra = n + np.flatnonzero(units[n:])
    money = units * np.where(units != 0.0, market.mark[k] * market.fx[k], 0.0)
    amounts = [(base_currency, cash)]
    amounts += [(labels[j].removeprefix(CASH_PREFIX), units[j]) for j in extra]
    return Portfolio(
        assets=tuple(labels[i] for i in held),
        units=units[held],
        money=money[held],
        cash=tuple(amounts),
        base_currency=base_currency,
        cost_basis=basis[held],
        tax_rate=tax_rate[held],
        cash_money=np.concatenate([[cash], money[extra]]),
    )


def _tables(
    clock: Timeline,
    market: Market,
    paid: np.ndarray,
    events: Mapping[int, SessionEvents],
    *,
    whole: bool,
) -> Any:
    """The market and its events as the kernel reads them."""
    from engine.kernels.ledger import Tables

    T = clock.dates.size
    acts = np.zeros(T, dtype=bool)
    splits: list[tuple[int, int, float]] = []
    payments: list[tuple[int, int, float]] = []
    for k in sorted(events):
        today = events[k]
        acts[k] = bool(today.exits) or (whole and bool(today.splits))
        splits += [(k, s.i, s.ratio) for s in today.splits]
        payments += [(k, d.i, d.cash) for d in today.distributions]
    return Tables(
        market.mark,
        market.fx,
        paid,
        market.rates,
        market.delisted,
        market.base_rate,
        clock.days,
        clock.decides,
        acts,
        *_by_session(splits, T),
        *_by_session(payments, T),
    )


def _by_session(rows: list[tuple[int, int, float]], T: int) -> tuple:
    """Where each session's rows begin (T + 1,), their columns and their numbers."""
    sessions = np.array([r[0] for r in rows], dtype=np.int64)
    begins = np.searchsorted(sessions, np.arange(T + 1)).astype(np.int64)
    columns = np.array([r[1] for r in rows], dtype=np.int64)
    return begins, columns, np.array([r[2] for r in rows], dtype=np.float64)
