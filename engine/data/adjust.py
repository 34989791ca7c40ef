"""Price series that corporate actions imply, and back to the closes as traded.

From raw closes P, split ratios s and cash per share D, with j the session of the
ex-date:

* split-adjusted: ``P_t / prod(s_j, j > t)``;
* total return, as vendors adjust closes: ``A_t = P_t prod(1 - D_j / P_(j-1), j > t)``
  (CRSP calls the bracket the factor to adjust price), so that
  ``A_j / A_(j-1) = P_j / (P_(j-1) - D_j)``; or reinvested at the close of the ex-date,
  ``A_j / A_(j-1) = (P_j + D_j) / P_(j-1)``.

Both can be undone: with ``Q = P / A``, ``Q_(j-1) = Q_j + D_j / A_(j-1)`` (vendor) or
``Q_j + D_j / A_j`` (ex-date close), which fixes raw closes up to one printed price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from engine.data.actions import DISTRIBUTIONS, CorporateActions
from engine.data.panel import PRICE_BASES, PricePanel, parse_time
from engine.errors import DataError

CONVENTIONS = ("vendor", "ex_close")

Prices = TypeVar("Prices")
"""A `PricePanel` or a DataFrame (date index, a column per ticker); out as it came."""


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


def price_table(data: Any) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Tickers, (T,) dates and (T, N) closes of a panel or of a checked DataFrame."""
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
    tickers, dates, prices = price_table(data)
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
    values = np.array(price_table(raw)[2])
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
    values = np.array(price_table(raw)[2])
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
    tickers, dates, prices = price_table(raw)
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
    tickers, dates, prices = price_table(adjusted)
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


def reinvested(adjusted: Prices, actions: CorporateActions) -> Prices:
    """Split-adjusted closes with distributions reinvested, 1 at each first price.

    ``A_j / A_(j-1) = P_j / (P_(j-1) - D_j)``, with D divided by later splits as P is.

    Parameters
    ----------
    adjusted : PricePanel or DataFrame, (T, N)
        Closes adjusted for splits alone; NaN stays NaN.
    actions : CorporateActions
        In the split-adjusted basis, or convertible to it: its later splits count.

    Raises
    ------
    DataError
        The panel holds another basis, or cash exceeds the price before it.
    """
    _require(adjusted, "split_adjusted")
    paid = actions.split_adjusted()
    # The splits are in the prices: without them every share is one of the last date.
    cash = replace(paid.of_kind(*DISTRIBUTIONS), dividend_basis="as_paid")
    if not isinstance(adjusted, PricePanel):
        return total_return(adjusted, cash, anchor="first")
    whole = replace(adjusted, price_basis="raw", actions=None, content_hash="-")
    result = total_return(whole, cash, anchor="first")
    return replace(result, actions=actions, content_hash="")


def raw_from_split_adjusted(adjusted: Prices, actions: CorporateActions) -> Prices:
    """Closes as traded, ``P_t prod(s_j, j > t)``, from split-adjusted ones.

    Parameters
    ----------
    adjusted : PricePanel or DataFrame, (T, N)
        In shares of the last date; NaN stays NaN.
    actions : CorporateActions
        All splits from the first date to the last.
    """
    _require(adjusted, "split_adjusted")
    values = np.array(price_table(adjusted)[2])
    shares = np.ones_like(values)
    for column, event in _events(adjusted, actions, ()):
        factor = _later(event.split)
        values[event.rows, column] = event.price * factor
        shares[event.rows, column] = 1.0 / factor
    return _emit(adjusted, values, "raw", shares)


def convert(panel: PricePanel, basis: str) -> PricePanel:
    """Panel in another price basis, derived from its own corporate actions.

    Closes as traded from total-return ones take the last adjusted close for the printed
    one (`raw_from_total_return`), which the panel's source then says.

    Raises
    ------
    DataError
        The panel holds no corporate actions, or the basis is unknown.
    """
    _check_choice("price basis", basis, PRICE_BASES)
    if basis == panel.price_basis:
        return panel
    actions = panel.actions
    if actions is None:
        raise DataError(
            f"{basis} prices cannot be derived from {panel.price_basis} ones",
            received="no corporate actions",
            fix="Pass actions= and dividend_basis= (CLI: --actions, --dividend-basis).",
        )
    note = f"{panel.source} ({basis} derived from {panel.price_basis}"
    raw = panel
    if panel.price_basis == "split_adjusted":
        raw = raw_from_split_adjusted(panel, actions)
    elif panel.price_basis == "total_return":
        raw = raw_from_total_return(panel, actions)
        note += ", last adjusted close taken as printed"
    if basis == "split_adjusted":
        raw = split_adjusted(raw, actions.as_paid())
    elif basis == "total_return":
        raw = total_return(raw, actions.as_paid())
    return replace(raw, source=note + ")", content_hash="")


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise DataError(
            f"unknown {name}", received=repr(value), expected=", ".join(known)
        )
