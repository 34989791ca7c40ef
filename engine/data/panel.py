"""Prices of many assets over time, and what was visible at a moment.

A `PricePanel` knows what its prices are (raw, split-adjusted, total return), in which
currency each is quoted, and when each venue closes. `PricePanel.as_of` is the only way
from a panel to a decision: the view it returns holds nothing that closed later.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from engine._base import Value, check_labels, frozen_array
from engine._typing import Matrix
from engine.data.universe import Universe, _did_you_mean, check_currency
from engine.errors import DataError

if TYPE_CHECKING:
    from engine.data.actions import CorporateActions
    from engine.data.membership import Membership

PRICE_BASES = ("raw", "split_adjusted", "total_return")
_FX_MAX_AGE = np.timedelta64(7, "D")
_ENDED_AFTER = 10
_SHUT_AFTER = 30


class Status(IntEnum):
    """Why a cell of a panel holds a price, or none."""

    OPEN = 0
    HOLIDAY = 1
    HALTED = 2
    UNLISTED = 3
    DELISTED = 4
    NOT_YET_CLOSED = 5
    HALF_DAY = 6
    """Open, closed early; told apart by `engine.data.calendars.session_status`."""


def parse_time(t: Any) -> tuple[np.datetime64, bool]:
    """Return ``(time in UTC minutes, whether it was a bare date)``.

    Text of an ISO date, a `datetime.date`, a ``datetime64[D]`` and a pandas timestamp
    at midnight without zone are bare dates; anything else is a UTC moment.
    """
    if isinstance(t, (dt.datetime, np.datetime64)) and t != t:  # not-a-time sorts last
        raise DataError("not a date or time", received="NaT", expected="YYYY-MM-DD")
    if isinstance(t, dt.datetime):
        if t.tzinfo is not None:
            t = t.astimezone(dt.UTC).replace(tzinfo=None)
            return np.datetime64(t.isoformat(), "m"), False
        bare = t.time() == dt.time(0)
        return np.datetime64(t.isoformat(), "m"), bare
    if isinstance(t, dt.date):
        return np.datetime64(t, "m"), True
    if isinstance(t, np.datetime64):
        return t.astype("datetime64[m]"), t.dtype == np.dtype("datetime64[D]")
    if isinstance(t, str):
        try:
            return np.datetime64(dt.date.fromisoformat(t.strip()), "m"), True
        except ValueError:
            pass  # it may carry a time of day
        try:
            return parse_time(dt.datetime.fromisoformat(t.strip()))[0], False
        except ValueError as error:
            raise DataError(
                "not a date or time", received=repr(t), expected="YYYY-MM-DD"
            ) from error
    raise DataError("not a date or time", received=repr(t), expected="YYYY-MM-DD")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PricePanel(Value):
    """Closing prices with their labels, currencies and sources.

    Attributes
    ----------
    dates : (T,) datetime64[D]
        Session dates, strictly increasing, the union over venues.
    prices : (T, N) float64
        Price in the asset's quote currency; NaN where there was none (see `status`).
    universe : Universe
        Labels of the N assets, in the order of the columns.
    price_basis : {"raw", "split_adjusted", "total_return"}
    base_currency : str
    fx_currencies : tuple of str, length C
    fx : (T, C) float64
        Units of base currency for one unit, at the last fixing on or before the date.
    cash_rates : (T, R) float64
        Annual simple rates as decimals for ``cash_currencies``; (T, 0) when not given.
    open, volume : (T, N) float64 or None
    source, content_hash : str
        Where the prices came from and a digest of all numbers.
    synthetic : bool
        Made by a generator; everything computed from it says so.
    actions : CorporateActions or None
        Splits, distributions, mergers and delistings; distributions per share of their
        day beside raw prices, else divided by later splits as the prices are. A view
        shows those dated up to its time.
    membership : Membership or None
        Who belonged to the list that may be bought, and when; None: everyone.
    overrides : tuple of Override
        Days on which a venue did not follow its calendar, as
        `engine.data.calendars.read_overrides`; every question about sessions and
        closing times of this panel is answered with them.
    cash_currencies : tuple of str, length R
    """

    dates: np.ndarray
    prices: np.ndarray
    universe: Universe
    price_basis: str
    base_currency: str
    fx_currencies: tuple[str, ...] = ()
    fx: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    cash_currencies: tuple[str, ...] = ()
    cash_rates: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    open: np.ndarray | None = None
    volume: np.ndarray | None = None
    source: str = ""
    content_hash: str = ""
    synthetic: bool = False
    actions: CorporateActions | None = None
    membership: Membership | None = None
    overrides: Any = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        dates = frozen_array(self.dates, name="dates", ndim=1, dtype="datetime64[D]")
        if dates.size == 0:
            raise DataError("a panel needs at least one date")
        steps = np.diff(dates)
        if (steps <= np.timedelta64(0, "D")).any():
            i = int(np.argmax(steps <= np.timedelta64(0, "D")))
            kind = "duplicate date" if steps[i] == 0 else "dates are not in order"
            raise DataError(
                kind,
                date=dates[i + 1],
                received=f"{dates[i + 1]} after {dates[i]}",
                fix="Sort the rows by date and keep one row per date.",
            )
        put(self, "dates", dates)
        shape = (dates.size, len(self.universe))
        prices = frozen_array(
            self.prices, name="prices", ndim=2, shape=shape, finite=False
        )
        self._check_positive(prices, "price")
        put(self, "prices", prices)
        if self.price_basis not in PRICE_BASES:
            raise DataError(
                "price_basis must be stated",
                received=repr(self.price_basis),
                expected=", ".join(PRICE_BASES),
                fix="Say whether prices are as traded, adjusted for splits, or "
                "adjusted for splits and dividends.",
            )
        put(self, "base_currency", check_currency(self.base_currency))
        for name in ("fx", "cash_rates"):
            labels = self.fx_currencies if name == "fx" else self.cash_currencies
            values = getattr(self, name)
            if not labels:
                values = np.empty((dates.size, 0))
            table = frozen_array(
                values,
                name=name,
                ndim=2,
                shape=(dates.size, len(labels)),
                finite=False,
            )
            put(self, name, table)
        for ticker, code in zip(
            self.tickers, self.universe.quote_currency, strict=True
        ):
            if not code:
                raise DataError(
                    "the currency of a price is not stated",
                    asset=ticker,
                    fix="Pass currency='USD' (or a mapping by ticker), a currency "
                    "column, or a universe with quote_currency.",
                )
            if code != self.base_currency and code not in self.fx_currencies:
                raise DataError(
                    f"no exchange rate from {code} to {self.base_currency}",
                    asset=ticker,
                    fix="Pass fx= (CLI: --fx): a table with one column per currency, "
                    "in USD for one unit; or leave the asset out.",
                )
        for name in ("open", "volume"):
            values = getattr(self, name)
            if values is not None:
                put(
                    self,
                    name,
                    frozen_array(values, name=name, ndim=2, shape=shape, finite=False),
                )
        if self.overrides or self.overrides is None:
            from engine.data.calendars import read_overrides

            put(self, "overrides", read_overrides(self.overrides))
        if self.actions is not None:
            raw = self.price_basis == "raw"
            actions = self.actions.as_paid() if raw else self.actions.split_adjusted()
            put(self, "actions", actions)
            self._check_exits()
        if not self.content_hash:
            put(self, "content_hash", self._digest())

    def _check_positive(self, prices: np.ndarray, what: str) -> None:
        bad = ~np.isnan(prices) & ~((prices > 0) & np.isfinite(prices))
        if bad.any():
            t, i = (int(v) for v in np.argwhere(bad)[0])
            raise DataError(
                f"{what} must be positive and finite",
                asset=self.tickers[i],
                date=self.dates[t],
                received=prices[t, i],
                fix="Correct the cell, or leave it empty if there was no trade.",
            )

    def _check_exits(self) -> None:
        """Refuse prices of a share after the date on which it ended."""
        assert self.actions is not None
        for ticker, last in self.actions.last_dates().items():
            if ticker not in self.universe:
                continue
            later = ~np.isnan(self.prices[:, self.index(ticker)]) & (self.dates > last)
            if later.any():
                raise DataError(
                    "prices go on after the share merged or was delisted",
                    asset=ticker,
                    date=self.dates[int(np.argmax(later))],
                    received=f"an end on {last}",
                    fix="Correct the action's date, or blank the later prices: the "
                    "symbol may be another company's now.",
                )

    def _digest(self) -> str:
        import hashlib

        digest = hashlib.blake2b(digest_size=16)
        for part in (
            ",".join(self.tickers),
            self.price_basis,
            ",".join(self.universe.quote_currency),
            ",".join(self.fx_currencies),
        ):
            digest.update(part.encode() + b"\0")
        for array in (self.dates.astype(np.int64), self.prices, self.fx):
            digest.update(np.ascontiguousarray(array).tobytes())
        for facts in (self.actions, self.membership, self.overrides):
            if facts is not None and facts != ():
                digest.update(repr(_plain(facts)).encode())
        return digest.hexdigest()

    @property
    def tickers(self) -> tuple[str, ...]:
        """Tickers in the order of the columns."""
        return self.universe.tickers

    def index(self, ticker: str) -> int:
        """Column of a ticker; `DataError` with near matches when absent."""
        if ticker in self.universe:
            return self.universe.index(ticker)
        raise DataError(
            "no prices for this ticker",
            asset=ticker,
            fix=_did_you_mean(ticker, self.tickers),
        )

    def select(self, tickers: Iterable[str]) -> PricePanel:
        """Panel of some tickers, in the order given."""
        wanted = check_labels(tickers, name="tickers")
        columns = [self.index(t) for t in wanted]
        return replace(
            self,
            universe=self.universe.select(wanted),
            prices=self.prices[:, columns],
            open=None if self.open is None else self.open[:, columns],
            volume=None if self.volume is None else self.volume[:, columns],
            actions=None if self.actions is None else self.actions.select(wanted),
            content_hash="",
        )

    def fx_rate(self, currency: str) -> np.ndarray:
        """(T,) base-currency units for one unit; ones for the base currency."""
        if currency == self.base_currency:
            return np.ones(self.dates.size)
        if currency not in self.fx_currencies:
            raise DataError(
                f"no exchange rate from {currency} to {self.base_currency}",
                fix="Pass fx= (CLI: --fx) with that currency.",
            )
        return self.fx[:, self.fx_currencies.index(currency)]

    def base_prices(self) -> Matrix:
        """(T, N) prices in base currency; NaN where there was no price."""
        codes = self.universe.quote_currency
        if all(c == self.base_currency for c in codes):
            return self.prices
        rates = {c: self.fx_rate(c) for c in set(codes)}
        return self.prices * np.column_stack([rates[c] for c in codes])

    def last_prices(self) -> np.ndarray:
        """(N,) last price of each asset in quote currency; NaN if it never had one."""
        return _last_valid(self.prices)

    def cash_rate(self, currency: str | None = None) -> np.ndarray:
        """(T,) annual cash rate; cash earns nothing where no rate is known yet."""
        return np.nan_to_num(self.known_cash_rate(currency), nan=0.0)

    def known_cash_rate(self, currency: str | None = None) -> np.ndarray:
        """(T,) annual cash rate; NaN where none was known."""
        currency = currency or self.base_currency
        if currency in self.cash_currencies:
            return self.cash_rates[:, self.cash_currencies.index(currency)]
        return np.full(self.dates.size, np.nan)

    def status(self) -> np.ndarray:
        """(T, N) int8 of `Status`, from what this panel itself can see.

        Before an asset's first price it is unlisted. An empty cell on a date on which
        its whole venue is empty is a holiday, otherwise a halt. After more than ten
        empty venue sessions at the end, the asset counts as delisted; so do all assets
        of a venue that has been empty for more than thirty dates, and a share after
        the merger or delisting that the panel's corporate actions date.
        """
        valid = ~np.isnan(self.prices)
        status = np.full(valid.shape, Status.HALTED, dtype=np.int8)
        status[valid] = Status.OPEN
        started = np.maximum.accumulate(valid, axis=0)
        for venue in set(self.universe.venue):
            columns = np.array([v == venue for v in self.universe.venue], dtype=bool)
            shut = np.logical_not(valid[:, columns].any(axis=1))
            block = status[:, columns]
            block[shut] = Status.HOLIDAY
            later = np.maximum.accumulate(valid[::-1, columns], axis=0)[::-1]
            ended = np.logical_not(later)
            gap = (ended & ~shut[:, None]).sum(axis=0)
            gone = (gap > _ENDED_AFTER) | (ended.sum(axis=0) > _SHUT_AFTER)
            block[ended & gone] = Status.DELISTED
            status[:, columns] = block
        status[~started] = Status.UNLISTED
        if self.actions is not None:
            for ticker, last in self.actions.last_dates().items():
                if ticker in self.universe:
                    gone = (self.dates > last, self.index(ticker))
                    status[gone] = Status.DELISTED
        return status

    def adjusted(self) -> PricePanel:
        """Prices whose ratios are what a holder earned.

        With corporate actions, splits and distributions of raw or split-adjusted
        prices are put into a total-return series that starts at each asset's first
        price, so that no later event changes an earlier number. Without them, and for
        total-return prices, the panel itself.
        """
        if self.actions is None or self.price_basis == "total_return":
            return self
        from engine.data.adjust import reinvested, total_return

        if self.price_basis == "raw":
            return total_return(self, self.actions, anchor="first")
        return reinvested(self, self.actions)

    def between(self, start: Any = None, end: Any = None) -> PricePanel:
        """Panel of the dates from ``start`` to ``end``, both inclusive."""
        lo, hi = 0, self.dates.size
        if start is not None:
            lo = int(np.searchsorted(self.dates, parse_time(start)[0]))
        if end is not None:
            hi = int(np.searchsorted(self.dates, parse_time(end)[0], side="right"))
        if lo >= hi:
            raise DataError(
                "no dates in the range asked for",
                received=f"{start} to {end}",
                expected=f"within {self.dates[0]} to {self.dates[-1]}",
            )
        return self._rows(lo, hi, content_hash=f"{self.content_hash}[{lo}:{hi}]")

    def _rows(self, lo: int, hi: int, **changes: Any) -> PricePanel:
        # Bypasses the checks of construction, which the rows have already passed;
        # slices of read-only arrays share memory with the panel.
        new = object.__new__(PricePanel)
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name in ("dates", "prices", "fx", "cash_rates", "open", "volume"):
                value = None if value is None else value[lo:hi]
            object.__setattr__(new, name, changes.get(name, value))
        return new

    def as_of(self, t: Any, *, hindsight_parameters: bool = False):
        """What was known at ``t``: a `MarketView`.

        Parameters
        ----------
        t : date, datetime, datetime64 or str
            A UTC moment; a close at exactly ``t`` is visible. A bare date means after
            the last venue's close of that date.
        hindsight_parameters : bool, default False
            Allow undated roles and hypothetical shocks to be used at a past date;
            stamps everything made from the view.

        Raises
        ------
        DataError
            ``t`` lies before the first close.
        """
        from engine.data._as_of import visible
        from engine.data.view import MarketView

        moment, bare = parse_time(t)
        panel = visible(self, moment, bare=bare)
        if not panel.dates.size or not np.isfinite(panel.prices).any():
            raise DataError(
                "nothing is known at this time",
                date=moment,
                expected=f"after the close of {self.dates[0]}",
            )
        return MarketView(
            time=moment + (np.timedelta64(1439, "m") if bare else 0),
            panel=panel,
            hindsight_parameters=hindsight_parameters,
        )

    def to_frame(self):
        """Return prices as a DataFrame: date index, one column per ticker."""
        import pandas as pd

        index = pd.DatetimeIndex(self.dates.astype("datetime64[ns]"), name="date")
        return pd.DataFrame(self.prices, index=index, columns=list(self.tickers))

    def __repr__(self) -> str:
        mark = "SYNTHETIC, " if self.synthetic else ""
        return (
            f"PricePanel({mark}{len(self.tickers)} assets, {self.dates.size} dates "
            f"{self.dates[0]} to {self.dates[-1]}, {self.price_basis}, "
            f"base {self.base_currency}, source {self.source or 'unstated'})"
        )

    def _repr_html_(self) -> str:
        import html

        table = (
            self.to_frame()
            .tail(5)
            .iloc[:, :12]
            .to_html(float_format=lambda x: f"{x:.4g}")
        )
        return f"<p>{html.escape(repr(self))}</p>{table}"


def _plain(facts: Any) -> Any:
    """What facts say, wherever they came from: fields, with arrays as bytes."""
    if isinstance(facts, tuple):
        return facts
    names = (n for n in facts.__dataclass_fields__ if n not in ("name", "source"))
    fields = (getattr(facts, name) for name in names)
    return [v.tobytes() if isinstance(v, np.ndarray) else v for v in fields]


def _last_valid(values: np.ndarray) -> np.ndarray:
    """Last non-NaN of each column; NaN where there is none."""
    valid = ~np.isnan(values)
    last = values.shape[0] - 1 - np.argmax(valid[::-1], axis=0)
    result = values[last, np.arange(values.shape[1])]
    return np.where(valid.any(axis=0), result, np.nan)
