"""Corporate actions, the series they imply, and who was a member when.

A raw close is what was paid. Splits multiply the number of shares, distributions pay
cash on their ex-date, names change, companies merge and disappear. From raw closes P,
split ratios s and cash per share D, with j the session of the ex-date:

* split-adjusted: ``P_t / prod(s_j, j > t)``;
* total return, as vendors adjust closes: ``A_t = P_t prod(1 - D_j / P_(j-1), j > t)``
  (CRSP calls the bracket the factor to adjust price), so that
  ``A_j / A_(j-1) = P_j / (P_(j-1) - D_j)``; or reinvested at the close of the ex-date,
  ``A_j / A_(j-1) = (P_j + D_j) / P_(j-1)``.

Both can be undone: with ``Q = P / A``, ``Q_(j-1) = Q_j + D_j / A_(j-1)`` (vendor) or
``Q_j + D_j / A_j`` (ex-date close), which fixes raw closes up to one printed price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from engine._base import Value, frozen_array
from engine.data.panel import PricePanel, parse_time
from engine.data.universe import Universe, check_currency
from engine.errors import DataError

KINDS = (
    "dividend",
    "split",
    "rename",
    "merger",
    "delisting",
    "capital_gain",
)
DISTRIBUTIONS = ("dividend", "capital_gain")
DIVIDEND_BASES = ("as_paid", "split_adjusted")
CONVENTIONS = ("vendor", "ex_close")
_SAME_PRICE = 1e-4
_NAT = np.datetime64("NaT", "D")

Prices = TypeVar("Prices")
"""A `PricePanel` or a DataFrame (date index, a column per ticker); out as it came."""


@dataclass(frozen=True, slots=True, eq=False)
class CorporateActions(Value):
    """Dated facts about E events, sorted by date.

    Attributes
    ----------
    date : (E,) datetime64[D]
        Ex-date of a distribution, first session at the new share count of a split,
        first date under the new name, last date of a merged or delisted share.
    ticker, kind : tuple of str
        ``kind`` is one of `KINDS`.
    value : (E,) float64
        Cash per share of a distribution, a merger or a delisting (NaN: not known);
        new shares for one old share of a split; NaN for a rename.
    other_ticker : tuple of str
        The new name, or the acquirer; empty otherwise.
    currency : tuple of str
        Of ``value``; empty means the quote currency of the asset.
    ratio : (E,) float64
        Acquirer's shares for one share in a merger; NaN otherwise.
    dividend_basis : {"as_paid", "split_adjusted"}
        Whether distributions are per share of their day, or per share of today,
        divided by all later splits, as vendors give them.
    source : str
    """

    date: np.ndarray
    ticker: tuple[str, ...]
    kind: tuple[str, ...]
    value: np.ndarray
    other_ticker: tuple[str, ...] = ()
    currency: tuple[str, ...] = ()
    ratio: np.ndarray = field(default_factory=lambda: np.empty(0))
    dividend_basis: str = "as_paid"
    source: str = ""

    def __post_init__(self) -> None:
        put = object.__setattr__
        dates = np.asarray(self.date, dtype="datetime64[D]")
        n = dates.size
        order = np.argsort(dates, kind="stable")
        columns: dict[str, tuple[str, ...]] = {}
        for name in ("ticker", "kind", "other_ticker", "currency"):
            labels = tuple(getattr(self, name)) or ("",) * n
            if len(labels) != n:
                raise DataError(
                    f"corporate actions: column {name} has the wrong length",
                    received=len(labels),
                    expected=n,
                )
            columns[name] = tuple(str(labels[i]).strip() for i in order)
            put(self, name, columns[name])
        ratio = self.ratio if np.size(self.ratio) else np.full(n, np.nan)
        for name, values in (("value", self.value), ("ratio", ratio)):
            numbers = frozen_array(values, name=name, ndim=1, shape=(n,), finite=False)
            put(
                self,
                name,
                frozen_array(numbers[order], name=name, ndim=1, finite=False),
            )
        put(
            self,
            "date",
            frozen_array(dates[order], name="date", ndim=1, dtype="datetime64[D]"),
        )
        if self.dividend_basis not in DIVIDEND_BASES:
            raise DataError(
                "dividend_basis must be stated",
                received=repr(self.dividend_basis),
                expected=", ".join(DIVIDEND_BASES),
            )
        put(
            self,
            "currency",
            tuple(c and check_currency(c) for c in columns["currency"]),
        )
        seen: set[tuple] = set()
        for i in range(n):
            self._check(i, seen)

    def _check(self, i: int, seen: set[tuple]) -> None:
        kind, value, ratio = self.kind[i], self.value[i], self.ratio[i]
        where: dict[str, Any] = {"asset": self.ticker[i], "date": self.date[i]}
        if not self.ticker[i] or np.isnat(self.date[i]):
            raise DataError("a corporate action without ticker or date", **where)
        if kind not in KINDS:
            raise DataError(
                "unknown kind of corporate action",
                received=repr(kind),
                expected=", ".join(KINDS),
                **where,
            )
        positive = bool(np.isfinite(value) and value > 0)
        if kind in (*DISTRIBUTIONS, "split") and not positive:
            raise DataError(
                f"a {kind} must be a positive number", received=value, **where
            )
        if kind == "rename" and self.other_ticker[i] in ("", self.ticker[i]):
            raise DataError("a rename needs the new name in other_ticker", **where)
        if kind == "merger":
            shares = bool(np.isfinite(ratio) and ratio > 0)
            if not (positive or shares) or (shares and not self.other_ticker[i]):
                raise DataError(
                    "a merger pays cash (value), shares (ratio, other_ticker) or both",
                    received=f"value {value}, ratio {ratio}",
                    **where,
                )
        if kind == "delisting" and not (np.isnan(value) or 0 <= value < np.inf):
            raise DataError(
                "a terminal value is zero, positive, or unknown",
                received=value,
                **where,
            )
        distinct = (value,) if kind in DISTRIBUTIONS else ()
        key = (self.date[i], self.ticker[i], kind, *distinct)
        if key in seen:
            raise DataError(f"the same {kind} is given twice", **where)
        seen.add(key)

    def __len__(self) -> int:
        return len(self.ticker)

    @classmethod
    def empty(cls) -> CorporateActions:
        """No events."""
        return cls(np.empty(0, "datetime64[D]"), (), (), np.empty(0))

    @classmethod
    def from_frame(
        cls, frame, *, dividend_basis: str, source: str = "DataFrame"
    ) -> CorporateActions:
        """Build from date, ticker, kind, value[, other_ticker, currency, ratio].

        Raises
        ------
        DataError
            A column is missing, a date or number unreadable, or an event impossible.
        """
        import pandas as pd

        missing = {"date", "ticker", "kind", "value"} - set(frame.columns)
        if missing:
            raise DataError(
                f"{source}: no column {', '.join(sorted(missing))}",
                received=", ".join(map(str, frame.columns)),
            )
        dates = pd.to_datetime(frame["date"], errors="coerce", format="ISO8601")
        numbers = {
            name: pd.to_numeric(frame[name], errors="coerce")
            for name in ("value", "ratio")
            if name in frame.columns
        }
        for name, parsed in (("date", dates), *numbers.items()):
            bad = (parsed.isna() & frame[name].notna()).to_numpy()
            if bad.any():
                i = int(np.argmax(bad))
                raise DataError(
                    f"{source}: column {name} cannot be read",
                    asset=str(frame["ticker"].iloc[i]),
                    received=repr(frame[name].iloc[i]),
                )

        def text(name: str) -> tuple[str, ...]:
            if name not in frame.columns:
                return ()
            # A column without an entry is read as numbers that are all NaN.
            return tuple("" if v is None or v != v else str(v) for v in frame[name])

        return cls(
            dates.to_numpy().astype("datetime64[D]"),
            text("ticker"),
            text("kind"),
            numbers["value"].to_numpy(np.float64),
            other_ticker=text("other_ticker"),
            currency=text("currency"),
            ratio=numbers["ratio"].to_numpy(np.float64)
            if "ratio" in numbers
            else np.empty(0),
            dividend_basis=dividend_basis,
            source=source,
        )

    @classmethod
    def read(cls, path: Any, *, dividend_basis: str) -> CorporateActions:
        """Read a CSV or Parquet file; see `from_frame` for its columns."""
        from engine.data.files import read_table

        table = read_table(path, what="corporate actions")
        return cls.from_frame(table, dividend_basis=dividend_basis, source=str(path))

    def to_frame(self):
        """Return one row per event."""
        import pandas as pd

        names = ("ticker", "kind", "value", "other_ticker", "currency", "ratio")
        dates = self.date.astype("datetime64[ns]")
        columns = {n: getattr(self, n) for n in names}
        return pd.DataFrame({"date": dates, **columns})

    def where(self, keep: Sequence[bool] | np.ndarray) -> CorporateActions:
        """Events for which the (E,) mask is true."""
        rows = np.flatnonzero(np.asarray(keep, dtype=bool))

        def pick(labels):
            return tuple(labels[i] for i in rows)

        return replace(
            self,
            date=self.date[rows],
            ticker=pick(self.ticker),
            kind=pick(self.kind),
            value=self.value[rows],
            other_ticker=pick(self.other_ticker),
            currency=pick(self.currency),
            ratio=self.ratio[rows],
        )

    def select(self, tickers: Iterable[str]) -> CorporateActions:
        """Events of some tickers."""
        wanted = set(tickers)
        return self.where([t in wanted for t in self.ticker])

    def of_kind(self, *kinds: str) -> CorporateActions:
        """Events of some kinds."""
        return self.where([k in kinds for k in self.kind])

    def as_paid(self) -> CorporateActions:
        """Distributions per share of their own day, using every split held here.

        A split after the last event held here, if the vendor has divided by it, cannot
        be known and is not undone.
        """
        if self.dividend_basis == "as_paid":
            return self
        value = self.value.copy()
        splits: dict[str, list[int]] = {}
        for i, kind in enumerate(self.kind):
            if kind == "split":
                splits.setdefault(self.ticker[i], []).append(i)
        for i, kind in enumerate(self.kind):
            if kind in DISTRIBUTIONS:
                for j in splits.get(self.ticker[i], ()):
                    if self.date[j] > self.date[i]:
                        value[i] *= self.value[j]
        return replace(self, value=value, dividend_basis="as_paid")

    def until(self, t: Any) -> CorporateActions:
        """Events dated on or before ``t``, distributions as paid: nothing later shows.

        Announcement dates are not held, so an event counts as known on its own date.
        """
        day = parse_time(t)[0].astype("datetime64[D]")
        paid = self.as_paid()
        return paid.where(paid.date <= day)

    def chain(self, ticker: str) -> tuple[tuple[str, np.datetime64], ...]:
        """Names of the company now called ``ticker``, oldest first, with their starts.

        The first name starts at NaT. A symbol used by another company before the rename
        is not part of the chain.
        """
        names: list[tuple[str, np.datetime64]] = []
        current, before = ticker, np.datetime64("9999-12-31")
        while True:
            steps = [
                i
                for i, kind in enumerate(self.kind)
                if kind == "rename"
                and self.other_ticker[i] == current
                and self.date[i] < before
            ]
            if not steps:
                return ((current, _NAT), *names)
            i = steps[-1]
            names.insert(0, (current, self.date[i]))
            current, before = self.ticker[i], self.date[i]

    def current_name(self, ticker: str, at: Any) -> str:
        """Return the last name of the company that was called ``ticker`` on ``at``."""
        day = parse_time(at)[0].astype("datetime64[D]")
        for i, kind in enumerate(self.kind):
            if kind == "rename" and self.ticker[i] == ticker and self.date[i] > day:
                ticker, day = self.other_ticker[i], self.date[i]
        return ticker

    def under_last_names(self) -> CorporateActions:
        """Events recorded under an old name, moved to the company's last name.

        An event under an old name on the day of the rename still counts as the old
        company's. Renames themselves stay as they are.
        """
        before = self.date - np.timedelta64(1, "D")
        names = tuple(
            t if k == "rename" else self.current_name(t, d)
            for t, k, d in zip(self.ticker, self.kind, before, strict=True)
        )
        return replace(self, ticker=names)

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.kind.count(k)} {k}" for k in KINDS if k in self.kind)
        return f"CorporateActions({counts or 'none'}; {self.dividend_basis})"


class _Events(NamedTuple):
    """One asset's valid rows, and what happened on them."""

    rows: np.ndarray
    """(M,) rows with a price."""
    price: np.ndarray
    """(M,) those prices."""
    split: np.ndarray
    """(M,) shares after for one share before; 1 where nothing happened."""
    cash: np.ndarray
    """(M,) as-paid cash per share held *since the first row* (forward units)."""


def _table(data: Any) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    if isinstance(data, PricePanel):
        return data.tickers, data.dates, data.prices
    dates = data.index.to_numpy().astype("datetime64[D]")
    if (np.diff(dates) <= np.timedelta64(0, "D")).any():
        raise DataError("prices: dates are not strictly increasing")
    values = data.to_numpy(dtype=np.float64)
    if (values[~np.isnan(values)] <= 0).any() or np.isinf(values).any():
        raise DataError("prices must be positive and finite, or empty")
    return tuple(map(str, data.columns)), dates, values


def _events(data: Any, actions: CorporateActions, kinds: Sequence[str]):
    """Yield ``(column, _Events)``; an event on a shut day falls on the next price.

    Events up to the first price, or after the last, change no return and are skipped.
    """
    tickers, dates, prices = _table(data)
    currencies = ("",) * len(tickers)
    if isinstance(data, PricePanel):
        currencies = data.universe.quote_currency
    paid = actions.as_paid()
    by_ticker: dict[str, list[int]] = {}
    for i, ticker in enumerate(paid.ticker):
        by_ticker.setdefault(ticker, []).append(i)
    for column, ticker in enumerate(tickers):
        rows = np.flatnonzero(~np.isnan(prices[:, column]))
        price = prices[rows, column]
        split, cash = np.ones(rows.size), np.zeros(rows.size)
        shares = 1.0
        # Splits of a date precede its distributions, which are per new share.
        mine = by_ticker.get(ticker, [])
        for i in sorted(mine, key=lambda i: (paid.date[i], paid.kind[i] != "split")):
            k = int(np.searchsorted(dates[rows], paid.date[i]))
            if not 0 < k < rows.size:
                continue
            if paid.kind[i] == "split":
                split[k] *= paid.value[i]
                shares *= paid.value[i]
            elif paid.kind[i] in kinds:
                if paid.currency[i] and currencies[column] not in (
                    "",
                    paid.currency[i],
                ):
                    raise DataError(
                        "a distribution is in another currency than the price",
                        asset=ticker,
                        date=paid.date[i],
                        received=paid.currency[i],
                        expected=currencies[column],
                    )
                cash[k] += paid.value[i] * shares
        yield column, _Events(rows, price, split, cash)


def _emit(data: Any, values: np.ndarray, basis: str, shares: np.ndarray) -> Any:
    """Return ``values`` in the shape the data came in; volume times ``shares``."""
    if not isinstance(data, PricePanel):
        import pandas as pd

        return pd.DataFrame(values, index=data.index, columns=data.columns)
    return replace(
        data,
        prices=values,
        price_basis=basis,
        open=None if data.open is None else data.open * (values / data.prices),
        volume=None if data.volume is None else data.volume * shares,
        content_hash="",
    )


def _require(data: Any, basis: str) -> None:
    if isinstance(data, PricePanel) and data.price_basis != basis:
        raise DataError(
            f"corporate actions need {basis} prices",
            received=data.price_basis,
            fix="Adjusting twice counts a split or a dividend twice.",
        )


def _later(factors: np.ndarray) -> np.ndarray:
    """Product of the factors strictly after each position."""
    return np.append(np.cumprod(factors[:0:-1])[::-1], 1.0)


def split_adjusted(raw: Prices, actions: CorporateActions) -> Prices:
    """Raw closes in shares of the last date: ``P_t / prod(s_j, j > t)``.

    Parameters
    ----------
    raw : PricePanel or DataFrame, (T, N)
        Closes as traded; NaN where there was none, and NaN it stays.
    actions : CorporateActions
        Only splits are used. Volume, if held, is put in shares of the last date, here
        and by the functions below.

    Raises
    ------
    DataError
        The panel does not hold raw prices.
    """
    _require(raw, "raw")
    values = np.array(_table(raw)[2])
    shares = np.ones_like(values)
    for column, event in _events(raw, actions, ()):
        factor = _later(event.split)
        values[event.rows, column] = event.price / factor
        shares[event.rows, column] = factor
    return _emit(raw, values, "split_adjusted", shares)


def price_return(raw: Prices, actions: CorporateActions) -> Prices:
    """Price-return index: 1 at each asset's first price, splits undone, no dividends.

    Same returns as `split_adjusted`, but no later event changes an earlier value. A
    panel keeps the basis ``split_adjusted``. NaN stays NaN.
    """
    _require(raw, "raw")
    values = np.array(_table(raw)[2])
    shares = np.ones_like(values)
    for column, event in _events(raw, actions, ()):
        if event.rows.size:
            held = event.price * np.cumprod(event.split)
            values[event.rows, column] = held / held[0]
            shares[event.rows, column] = _later(event.split)
    return _emit(raw, values, "split_adjusted", shares)


def total_return(
    raw: Prices,
    actions: CorporateActions,
    *,
    convention: str = "vendor",
    anchor: str = "last",
    distributions: Sequence[str] = DISTRIBUTIONS,
) -> Prices:
    """Closes adjusted for splits and distributions.

    Parameters
    ----------
    raw : PricePanel or DataFrame, (T, N)
        Closes as traded; NaN stays NaN.
    actions : CorporateActions
    convention : {"vendor", "ex_close"}
        ``P_j / (P_(j-1) - D_j)``, the default because adjusted closes from vendors then
        compare to the digit; or ``(P_j + D_j) / P_(j-1)``, what a holder earns who
        reinvests at the close of the ex-date. They differ by D/P times the day's move.
    anchor : {"last", "first"}
        Level equals the last raw close (each later dividend rescales the past), or is
        1 at the first price (nothing later changes the past).
    distributions : sequence of str
        Kinds of cash that count; both by default: a capital gain paid out is cash.

    Raises
    ------
    DataError
        The panel is not raw, or cash exceeds the price before it.
    """
    _require(raw, "raw")
    _check_choice("convention", convention, CONVENTIONS)
    _check_choice("anchor", anchor, ("last", "first"))
    tickers, dates, prices = _table(raw)
    values = np.array(prices)
    shares = np.ones_like(values)
    for column, event in _events(raw, actions, distributions):
        if not event.rows.size:
            continue
        held = event.price * np.cumprod(event.split)
        factor = np.ones(held.size)
        if convention == "vendor":
            factor[1:] = 1.0 - event.cash[1:] / held[:-1]
        else:
            factor = held / (held + event.cash)
        if (factor <= 0).any():
            k = int(np.argmax(factor <= 0))
            raise DataError(
                "a distribution is not smaller than the price before it",
                asset=tickers[column],
                date=dates[event.rows[k]],
                received=f"{event.cash[k]:g} on {held[k - 1]:g}",
                fix="Is it in another currency or share count than the price?",
            )
        shares[event.rows, column] = _later(event.split)
        if anchor == "last":
            series = event.price / _later(event.split) * _later(factor)
        else:
            series = held / held[0] / np.cumprod(factor)
        values[event.rows, column] = series
    return _emit(raw, values, "total_return", shares)


def raw_from_total_return(
    adjusted: Prices,
    actions: CorporateActions,
    *,
    anchors: Mapping[str, tuple[Any, float]] | None = None,
    convention: str = "vendor",
) -> Prices:
    """Closes as traded, from closes adjusted for splits and dividends.

    Parameters
    ----------
    adjusted : PricePanel or DataFrame, (T, N)
        Total-return closes; NaN stays NaN.
    actions : CorporateActions
        All splits and distributions from the first date on. Splits after the last date
        count only if ``anchors`` is given; the level embeds them.
    anchors : mapping of ticker to (date, printed close), optional
        One close as traded per asset. Without it the last adjusted close is taken for
        the printed one, which is wrong by the dividends (and splits) paid since.
    convention : {"vendor", "ex_close"}
        How the dividends were put in.

    Raises
    ------
    DataError
        The panel is not total return, or an anchor has no price on its date.
    """
    _require(adjusted, "total_return")
    _check_choice("convention", convention, CONVENTIONS)
    tickers, dates, prices = _table(adjusted)
    values = np.array(prices)
    shares = np.ones_like(values)
    for column, event in _events(adjusted, actions, DISTRIBUTIONS):
        if not event.rows.size:
            continue
        growth = np.cumprod(event.split)
        level = event.price
        # Cash in shares of the last date, over the level at which it was reinvested.
        cash = event.cash / growth[-1]
        base = level if convention == "ex_close" else np.append(np.nan, level[:-1])
        steps = np.where(cash > 0, cash / base, 0.0)
        later = steps.sum() - np.cumsum(steps)
        anchor = (anchors or {}).get(tickers[column])
        start = 1.0
        if anchor is not None:
            day = parse_time(anchor[0])[0].astype("datetime64[D]")
            k = int(np.searchsorted(dates[event.rows], day))
            if k == event.rows.size or dates[event.rows[k]] != day:
                raise DataError(
                    "no price on the date of the anchor",
                    asset=tickers[column],
                    date=day,
                )
            printed = float(anchor[1]) * growth[k] / growth[-1]
            start = printed / level[k] - later[k]
        shares[event.rows, column] = growth / growth[-1]
        series = level * (start + later) * (growth[-1] / growth)
        if (series <= 0).any():
            k = int(np.argmax(series <= 0))
            raise DataError(
                "the actions imply a price that is not positive",
                asset=tickers[column],
                date=dates[event.rows[k]],
                received=series[k],
                fix="Check the anchor and the share count of the dividends.",
            )
        values[event.rows, column] = series
    return _emit(adjusted, values, "raw", shares)


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DataError(
            f"unknown {name}", received=repr(value), expected=", ".join(known)
        )


def join_renamed(frame, actions: CorporateActions):
    """Join the columns of a company's names under its last name.

    Parameters
    ----------
    frame : DataFrame
        Date index, one column per ticker.
    actions : CorporateActions
        Renames. Each old name counts only between its own start and its rename: the
        symbol may have been another company's before. See also
        `CorporateActions.under_last_names`.

    Raises
    ------
    DataError
        The last name has prices from before the rename that differ by over 1 bp from
        the old name's, or begin before them.
    """
    import pandas as pd

    dates = frame.index.to_numpy().astype("datetime64[D]")
    old = {
        t for t, k in zip(actions.ticker, actions.kind, strict=True) if k == "rename"
    }
    last = {actions.current_name(t, "1900-01-01") for t in old}
    columns = {c: frame[c].to_numpy(np.float64) for c in frame.columns}
    for final in sorted(last):
        chain = actions.chain(final)
        names = [n for n, _ in chain]
        if not any(n in columns for n in names[:-1]):
            continue
        joined = np.full(dates.size, np.nan)
        for i, (name, start) in enumerate(chain):
            if name not in columns:
                continue
            own = np.ones(dates.size, dtype=bool)
            if i + 1 < len(chain):
                own &= dates < chain[i + 1][1]
            if i + 1 < len(chain) and not np.isnat(start):
                own &= dates >= start
            here = np.where(own, columns[name], np.nan)
            # A vendor's last name may carry the past as well; it must agree with the
            # old names, and may fill their gaps, but not begin before them.
            past = ~np.isnan(here) & (dates < start)
            known = np.maximum.accumulate(~np.isnan(joined))
            wrong = past & (~known | (np.abs(here / joined - 1.0) > _SAME_PRICE))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise DataError(
                    "two names of one company have different prices",
                    asset=name,
                    date=dates[row],
                    received=f"{here[row]:g}",
                    expected="no price"
                    if np.isnan(joined[row])
                    else f"{joined[row]:g}",
                    fix="Is the earlier use of the symbol another company? Blank it.",
                )
            joined = np.where(np.isnan(joined), here, joined)
        for name in names[:-1]:
            columns.pop(name, None)
        columns[final] = joined
    return pd.DataFrame(columns, index=frame.index)


def exits(prices: Any, actions: CorporateActions, *, recovery: float | None = None):
    """What one share became when it merged or was delisted.

    Parameters
    ----------
    prices : PricePanel or DataFrame, (T, N)
        Closes as traded.
    actions : CorporateActions
        Mergers pay ``value + ratio * acquirer's last close up to that date``.
    recovery : float, optional
        Fraction of the last price for delistings whose terminal value is not known;
        there is no default, because zero and one are both wrong.

    Returns
    -------
    DataFrame
        ticker, kind, date, last_date, last_price, cash, other_ticker, ratio,
        terminal_value, terminal_return (decimal), stated (whether the value is a fact).

    Raises
    ------
    DataError
        A terminal value is unknown and no recovery was given; or the acquirer has no
        price.
    """
    import pandas as pd

    if recovery is not None and not 0.0 <= recovery <= 1.0:
        raise DataError("recovery is a fraction of the last price", received=recovery)
    tickers, dates, values = _table(prices)
    table = []

    def last(ticker: str, day: np.datetime64) -> tuple[Any, float]:
        if ticker in tickers:
            column = values[:, tickers.index(ticker)]
            rows = np.flatnonzero(~np.isnan(column) & (dates <= day))
            if rows.size:
                return dates[rows[-1]], float(column[rows[-1]])
        return None, np.nan

    for i, kind in enumerate(actions.kind):
        ticker, day = actions.ticker[i], actions.date[i]
        if kind not in ("merger", "delisting") or ticker not in tickers:
            continue
        last_date, price = last(ticker, day)
        if last_date is None:
            continue
        cash, ratio = float(actions.value[i]), float(actions.ratio[i])
        stated, value = True, cash
        if kind == "merger":
            value = np.nan_to_num(cash)
            if np.isfinite(ratio):
                value += ratio * last(actions.other_ticker[i], day)[1]
            if np.isnan(value):
                raise DataError(
                    "no price of the acquirer at the merger",
                    asset=actions.other_ticker[i],
                    date=day,
                )
        elif np.isnan(cash):
            if recovery is None:
                raise DataError(
                    "the terminal value of a delisted share is not known",
                    asset=ticker,
                    date=day,
                    fix="State it in the corporate actions, or give recovery= (see "
                    "delisting_sensitivity for what it costs).",
                )
            stated, value = False, recovery * price
        row = (ticker, kind, day.astype("datetime64[ns]"), last_date, price, cash)
        other = (actions.other_ticker[i], ratio, value, value / price - 1.0, stated)
        table.append(row + other)
    names = "ticker kind date last_date last_price cash other_ticker ratio "
    names += "terminal_value terminal_return stated"
    return pd.DataFrame(table, columns=names.split())


def delisting_sensitivity(
    prices: Any,
    actions: CorporateActions,
    weights: Mapping[str, float] | None = None,
    *,
    fractions: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
):
    """Cost of delistings from nothing recovered to the last price.

    Parameters
    ----------
    prices : PricePanel or DataFrame, (T, N)
    actions : CorporateActions
    weights : mapping of ticker to weight, optional
        Fractions of net asset value held at the delisting; 1 each by default, so that
        costs read as fractions of the position.
    fractions : sequence of float
        Recoveries, as fractions of the last price.

    Returns
    -------
    DataFrame
        ticker, date, last_price, stated_return (NaN: not known), and ``cost_at_X``:
        loss as a fraction of the asset's or book's value (positive is a loss) at
        recovery X; last row ``total``. A stated value does not vary.
    """
    import pandas as pd

    gone = actions.of_kind("delisting")
    columns: dict[float, Any] = {}
    frame = None
    for fraction in fractions:
        frame = exits(prices, gone, recovery=fraction)
        columns[fraction] = -frame["terminal_return"].to_numpy(np.float64)
    if frame is None:
        raise DataError("delisting_sensitivity needs at least one fraction")
    weight = np.array(
        [(weights or {}).get(t, float(not weights)) for t in frame.ticker]
    )
    stated = np.where(frame["stated"].astype(bool), frame["terminal_return"], np.nan)
    table = pd.DataFrame(
        {
            "ticker": frame["ticker"],
            "date": frame["date"],
            "last_price": frame["last_price"],
            "stated_return": stated.astype(np.float64),
            **{f"cost_at_{f:g}": weight * columns[f] for f in fractions},
        }
    )
    total = {f"cost_at_{f:g}": float((weight * columns[f]).sum()) for f in fractions}
    footer = pd.DataFrame([{"ticker": "total", **total}]).reindex(columns=table.columns)
    footer = footer.astype(table.dtypes.drop("ticker").to_dict())
    return pd.concat([table, footer], ignore_index=True)


@dataclass(frozen=True, slots=True, eq=False)
class Membership(Value):
    """Who belonged to a list, and when: half-open intervals ``start <= t < end``.

    Attributes
    ----------
    ticker : tuple of str, length M
        A ticker may come and go: its intervals must not overlap.
    start, end : (M,) datetime64[D]
        First date in, first date out again; NaT end while still a member.
    name, source : str
    """

    ticker: tuple[str, ...]
    start: np.ndarray
    end: np.ndarray
    name: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.ticker)
        object.__setattr__(self, "ticker", tuple(str(t).strip() for t in self.ticker))
        for name in ("start", "end"):
            values = frozen_array(
                getattr(self, name),
                name=name,
                ndim=1,
                dtype="datetime64[D]",
                shape=(n,),
            )
            object.__setattr__(self, name, values)
        for i, ticker in enumerate(self.ticker):
            if not ticker or np.isnat(self.start[i]) or self.end[i] <= self.start[i]:
                raise DataError(
                    "a membership needs a ticker and a start before its end",
                    asset=ticker,
                    received=f"{self.start[i]} to {self.end[i]}",
                )
        order = np.lexsort((self.start, np.array(self.ticker, dtype=object)))
        for a, b in pairwise(order):
            if self.ticker[a] == self.ticker[b] and not self.end[a] <= self.start[b]:
                raise DataError(
                    "two memberships of one ticker overlap",
                    asset=self.ticker[a],
                    date=self.start[b],
                    received=f"{self.start[a]} to {self.end[a]}, then {self.start[b]}",
                )

    @classmethod
    def from_frame(cls, frame, *, name: str = "", source: str = "") -> Membership:
        """Build from columns ticker, start, end (empty: still a member)."""
        import pandas as pd

        missing = {"ticker", "start", "end"} - set(frame.columns)
        if missing:
            raise DataError(f"membership has no column {', '.join(sorted(missing))}")
        dates = {}
        for column in ("start", "end"):
            try:
                parsed = pd.to_datetime(frame[column], format="ISO8601")
            except (ValueError, TypeError) as error:
                raise DataError(f"membership: {column}: {error}") from error
            dates[column] = parsed.to_numpy().astype("datetime64[D]")
        return cls(
            tuple(frame["ticker"].astype(str)), **dates, name=name, source=source
        )

    @classmethod
    def read(cls, path: Any, *, name: str = "") -> Membership:
        """Read a CSV or Parquet file with columns ticker, start, end."""
        from engine.data.files import read_table

        table = read_table(path, what="membership")
        return cls.from_frame(table, name=name, source=str(path))

    @classmethod
    def from_universe(cls, universe: Universe) -> Membership:
        """Listing intervals of a universe; an open start counts as always listed."""
        start = np.where(
            np.isnat(universe.listed_from),
            np.datetime64("1800-01-01"),
            universe.listed_from,
        )
        # listed_until is the last day of the listing, an end the first day without.
        end = universe.listed_until + np.timedelta64(1, "D")
        return cls(universe.tickers, start, end, name="listed", source="universe")

    def members(self, t: Any) -> tuple[str, ...]:
        """Members on a date, in the order of the intervals."""
        day = parse_time(t)[0].astype("datetime64[D]")
        inside = (self.start <= day) & (np.isnat(self.end) | (day < self.end))
        return tuple(self.ticker[i] for i in np.flatnonzero(inside))

    def mask(self, dates: np.ndarray, tickers: Sequence[str]) -> np.ndarray:
        """(T, N) bool: whether each ticker was a member on each date."""
        days = np.asarray(dates, dtype="datetime64[D]")
        result = np.zeros((days.size, len(tickers)), dtype=bool)
        column = {t: i for i, t in enumerate(tickers)}
        for i, ticker in enumerate(self.ticker):
            if ticker in column:
                open_end = np.isnat(self.end[i])
                inside = (days >= self.start[i]) & (open_end | (days < self.end[i]))
                result[:, column[ticker]] |= inside
        return result

    def as_of(self, t: Any) -> Membership:
        """What was known on ``t``: later entries are gone, later exits still open."""
        day = parse_time(t)[0].astype("datetime64[D]")
        rows = np.flatnonzero(self.start <= day)
        end = self.end[rows]
        return replace(
            self,
            ticker=tuple(self.ticker[i] for i in rows),
            start=self.start[rows],
            end=np.where(end > day, _NAT, end),
        )

    def __len__(self) -> int:
        return len(self.ticker)

    def __repr__(self) -> str:
        return f"Membership({self.name}, {len(set(self.ticker))} tickers)"
