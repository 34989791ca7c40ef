"""Money in several currencies: return parts, hedges, foreign cash, and a valued book.

With ``l`` the local return, ``f`` the change of the exchange rate, ``h`` the hedge
ratio and ``p`` the forward premium ``F/S - 1`` over the same window::

    base   = l + f + l f
    hedged = (1 + l)(1 + f) - 1 + h (p - f)              Campbell et al. (2010)
    p      = (1 + i_base t) / (1 + i_foreign t) - 1      covered interest parity
    cost   = -p / t                           per year; positive: i_foreign is higher

``t`` is calendar days / 365 and rates are simple: a rate quoted on 360 days enters as
``rate * 365 / 360``. The cross-currency basis (Du et al. 2018: tens of basis points)
and the dealer's spread are not in ``p``. References: Campbell, Serfaty-de Medeiros and
Viceira (2010), *J. Finance* 65, 87; Du, Tepper, Verdelhan (2018), *J. Finance* 73, 915.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from engine._typing import Dates, Matrix, Vector
from engine.data.calendars import session_status
from engine.data.panel import PricePanel, Status
from engine.data.portfolio import Portfolio, cash_label
from engine.data.universe import check_currency
from engine.data.view import MarketView
from engine.errors import DataError, UsageError

Market: TypeAlias = PricePanel | MarketView
YEAR_DAYS = 365.0
"""Day count of every accrual here: actual days over 365, simple interest."""
FX_TIMING = (
    "last euro fixing (14:15 Frankfurt) at or before the date: after the Asian closes, "
    "before the European and New York closes; what currencies do in a New York session "
    "reaches the rate on the next business day"
)


class ReturnParts(NamedTuple):
    """Simple returns (T, N), decimals; NaN without an own close in the window.

    ``currency`` is the change of the exchange rate between the dates of the two
    closes, ``interaction = local * currency``, ``base`` the sum of the three; ``dates``
    (T,) the last row of each window; the two dates (T, N) its closes, NaT where none.
    """

    local: Matrix
    currency: Matrix
    interaction: Matrix
    base: Matrix
    dates: Dates
    start_date: np.ndarray
    end_date: np.ndarray
    tickers: tuple[str, ...]
    fx_timing: str = FX_TIMING


class HedgedReturns(NamedTuple):
    """Base-currency returns (T, N), decimals, currency sold forward; NaN as above.

    ``values = unhedged + carry - ratio * f``; ``carry = ratio * p`` is earned over the
    window if the exchange rate does not move; ``cost_pa`` is ``-carry`` per 365 days,
    positive when it costs; ``ratio`` (N,) of the start-of-window value is sold.
    """

    values: Matrix
    unhedged: Matrix
    carry: Matrix
    cost_pa: Matrix
    ratio: Vector
    dates: Dates
    tickers: tuple[str, ...]
    fx_timing: str = FX_TIMING


def decompose(
    market: Market, *, sessions: int = 1, start: Any = None, end: Any = None
) -> ReturnParts:
    """Split base-currency returns into local, currency and interaction.

    The price is the asset's own close, the exchange rate the last euro fixing at or
    before the date of that close (`FX_TIMING`). A move of currencies in a New York
    session is in ``currency`` one business day after the ``local`` move beside it.

    Parameters
    ----------
    market : PricePanel or MarketView
    sessions : int, default 1
        Rows of the panel in a window; above one, windows overlap. A window runs from
        the last own close at or before its first row to the last at or before its
        last: with 1 it joins consecutive own closes and spans a holiday whole. A price
        on a day on which the venue was shut is not a close.
    start, end : date, optional
        Rows to return, inclusive. The first return begins before ``start``; nothing
        after ``end`` is read. A close without an exchange rate is a `DataError`.

    Returns
    -------
    ReturnParts
    """
    panel, first, last, local, currency = _windows(market, sessions, start, end)
    none, nat, days = np.isnan(local), np.datetime64("NaT", "D"), panel.dates
    interaction = local * currency
    base = local + currency + interaction
    start_date, end_date = (np.where(none, nat, days[rows]) for rows in (first, last))
    parts = (local, currency, interaction, base)
    return ReturnParts(*parts, days[-len(local) :], start_date, end_date, panel.tickers)


def forward_premium(
    market: Market, currency: str, *, sessions: Any = None, days: float | None = None
) -> Vector:
    """Forward over spot less one, ``(1 + i_base t) / (1 + i_foreign t) - 1``.

    Parameters
    ----------
    currency : str
        Sold forward against the base currency.
    sessions, days : int or float, exactly one
        Row t holds the forward struck ``sessions`` rows earlier, which matures on t;
        or the one struck on t for ``days`` calendar days. Rates of the row of striking.

    Returns
    -------
    (T,) float64
        Decimal over the tenor, not per year. NaN only in the first ``sessions`` rows;
        a missing cash rate is a `DataError`: hedging is refused.
    """
    panel, code = _panel(market), check_currency(currency)
    T = panel.dates.size
    if (sessions is None) == (days is None) or not (days is None or 0 < days < np.inf):
        raise UsageError("a forward needs one tenor", expected="sessions= or days= > 0")
    if days is not None:
        return _premium(panel, code, np.arange(T), np.full(T, days / YEAR_DAYS))
    struck = np.arange(max(T - _step(sessions), 0))
    years = _years(panel.dates[struck], panel.dates[T - struck.size :])
    early = np.full(T - struck.size, np.nan)
    return np.concatenate([early, _premium(panel, code, struck, years)])


def hedge_cost(market: Market, currency: str, *, days: float = 30.0) -> Vector:
    """Annual cost (T,) of selling a currency forward, ``-premium * 365 / days``.

    Positive is a cost, negative a gain (the yen seen from the dollar). The default
    tenor is a month, the usual roll. No NaN; errors as `forward_premium`.
    """
    return -forward_premium(market, currency, days=days) * YEAR_DAYS / days


def hedged_returns(
    market: Market,
    *,
    ratio: float | Mapping[str, float] = 1.0,
    of: Literal["quote", "exposure"] = "quote",
    roll: Literal["each period"] = "each period",
    sessions: int = 1,
    start: Any = None,
    end: Any = None,
) -> HedgedReturns:
    """Base-currency returns with part of the value sold forward in every window.

    ``r = (1 + l)(1 + f) - 1 + h (p - f)``. The forward is struck at the fixing of the
    window's first close and settled at that of its last; what the asset gains in
    between stays unhedged (``l f``).

    Parameters
    ----------
    market : PricePanel or MarketView
    ratio : float or mapping of currency to float, default 1.0
        Not negative. In a mapping, currencies not named are unhedged, and one that no
        asset has is refused. A ratio of zero needs no cash rate.
    of : {"quote", "exposure"}, default "quote"
        Which currency is sold: the one the price is in, or the one that drives it: the
        yen for a fund on Japan quoted in dollars. A basket of currencies (``MULTI``)
        has no one forward and is refused.
    roll : {"each period"}, a new forward for every window
    sessions, start, end : as in `decompose`

    Returns
    -------
    HedgedReturns

    Raises
    ------
    DataError
        A cash rate is missing: hedging is refused. Names the currency.
    """
    if roll != "each period":
        raise UsageError("unknown roll", received=repr(roll), expected="'each period'")
    panel, first, last, local, currency = _windows(market, sessions, start, end)
    names = _hedged_currencies(panel, of)
    h, codes = _ratios(panel, names, ratio), np.array(names)
    there = ~np.isnan(local)
    years = np.where(there, _years(panel.dates[first], panel.dates[last]), np.nan)
    premium = np.where(there, 0.0, np.nan)
    for code in sorted(set(codes[h > 0].tolist())):
        cells = there & (codes == code) & (h > 0)
        premium[cells] = _premium(panel, code, first[cells], years[cells])
    sold = currency if of == "quote" else _changes(panel, names, first, last, there, h)
    unhedged, carry = (1.0 + local) * (1.0 + currency) - 1.0, h * premium
    values, cost_pa = unhedged + carry - h * sold, 0.0 - carry / years
    dates = panel.dates[-len(local) :]
    return HedgedReturns(values, unhedged, carry, cost_pa, h, dates, panel.tickers)


def cash_growth(market: Market, currency: str, *, hedged: bool = False) -> Vector:
    """Value in base currency of one unit of a currency left to earn its rate.

    From row s to the next, ``1 + i_s t``. Hedged, the amount due at the end of each
    session, interest included, is sold forward and the proceeds reinvested: by covered
    parity the value then earns the base rate exactly.

    Returns
    -------
    (T,) float64
        Base-currency money; the first row's exchange rate at the first row. No NaN: a
        missing exchange rate or cash rate (which is not zero) is a `DataError`.
    """
    panel, code = _panel(market), check_currency(currency)
    held = np.arange(panel.dates.size)
    fx = _fx(panel, code, cash_label(code), held[:1] if hedged else held)
    years = _years(panel.dates[:-1], panel.dates[1:])
    growth = _accrual(panel, code, held[:-1], years, "no interest can accrue")
    if hedged:
        growth = growth * (1.0 + _premium(panel, code, held[:-1], years))
    return np.concatenate([[1.0], np.cumprod(growth)]) * fx


def reconcile(portfolio: Portfolio, market: Market):
    """Value a book line by line and check the sum against `Portfolio.priced`.

    Parameters
    ----------
    portfolio : Portfolio
    market : PricePanel or MarketView

    Returns
    -------
    DataFrame
        ``position`` (tickers, then ``CASH:EUR``), ``units``, ``price`` (the
        last; 1 for cash), ``price_date``, ``currency``, ``fx`` (base units for one,
        on the panel's last date), ``value`` (base currency), ``base_currency``. No
        NaN: a position without price or exchange rate is a `DataError` that names it
        and the way out, and so is a sum off by half a cent or 1e-9 of the gross value.
    """
    import pandas as pd

    panel = _panel(market)
    quote = dict(zip(panel.tickers, panel.universe.quote_currency, strict=True))
    if panel.base_currency == portfolio.base_currency:  # else `priced` says so
        lines = [(a, quote.get(a, "")) for a in portfolio.assets]
        lines += zip(portfolio.assets, portfolio.stated_currency, strict=True)
        for label, code in lines + [(cash_label(c), c) for c, _ in portfolio.cash]:
            if code:
                _fx(panel, code, label, -1)
    priced = portfolio.priced(panel)
    prices = panel.prices[:, [panel.index(a) for a in priced.assets]]
    last = len(prices) - 1 - np.isfinite(prices)[::-1].argmax(axis=0)
    cash = len(priced.cash)
    codes = [quote[a] for a in priced.assets] + [c for c, _ in priced.cash]
    units = np.concatenate([priced.units, [a for _, a in priced.cash]])
    price = np.concatenate([prices[last, np.arange(last.size)], np.ones(cash)])
    fx = np.array([panel.fx_rate(c)[-1] for c in codes])
    value = units * price * fx
    days = np.concatenate([panel.dates[last], np.repeat(panel.dates[-1:], cash)])
    total, limit = value.sum(), min(0.005, 1e-9 * np.abs(value).sum())
    if not abs(total - priced.value) <= limit:
        problem, value = "the lines do not add up to the book", f"{priced.value:.4f}"
        raise DataError(problem, received=f"{total:.4f}", expected=value)
    return pd.DataFrame(
        {"position": priced.labels, "units": units, "price": price}
        | {"price_date": days.astype("datetime64[s]"), "currency": codes, "fx": fx}
        | {"value": value, "base_currency": panel.base_currency}
    )


def _windows(market: Market, sessions: int, start: Any, end: Any):
    """Panel, rows of the first and last own close of every window, and both changes."""
    step, panel = _step(sessions), _panel(market).adjusted()
    panel = panel if end is None else panel.between(end=end)
    lo = 0 if start is None else panel.dates.size - panel.between(start).dates.size
    closed = np.isfinite(panel.prices) & (session_status(panel) != Status.HOLIDAY)
    own = np.where(closed, np.arange(panel.dates.size)[:, None], -1)
    last, first = np.maximum.accumulate(own, axis=0), np.full_like(own, -1)
    first[step:] = last[:-step]
    first, last = first[lo:], last[lo:]
    columns = np.arange(own.shape[1])
    local = panel.prices[last, columns] / panel.prices[first, columns] - 1.0
    local[(first < 0) | (last <= first)] = np.nan
    codes, there = panel.universe.quote_currency, np.isfinite(local)
    all_of = np.ones(len(codes))
    currency = _changes(panel, codes, first, last, there, all_of)
    return panel, first, last, local, currency


def _changes(
    panel: PricePanel,
    codes: tuple[str, ...],
    first: np.ndarray,
    last: np.ndarray,
    there: np.ndarray,
    wanted: Vector,
) -> Matrix:
    """(T, N) change of each column's currency over its windows; NaN without one.

    Columns of which nothing is ``wanted`` read zero.
    """
    change = np.where(there, 0.0, np.nan)
    for i, code in enumerate(codes):
        t = np.flatnonzero(there[:, i]) if wanted[i] else np.empty(0, dtype=np.intp)
        ends = np.stack([first[t, i], last[t, i]])
        before, after = _fx(panel, code, panel.tickers[i], ends)
        change[t, i] = after / before - 1.0
    return change


def _hedged_currencies(panel: PricePanel, of: str) -> tuple[str, ...]:
    if of not in ("quote", "exposure"):
        raise UsageError(
            "unknown currency to hedge", received=repr(of), expected="quote or exposure"
        )
    u = panel.universe
    return u.quote_currency if of == "quote" else u.exposure_currency


def _ratios(
    panel: PricePanel, codes: tuple[str, ...], ratio: float | Mapping[str, float]
) -> Vector:
    """(N,) hedge ratio of each column; zero for the base currency."""
    foreign = sorted(set(codes) - {panel.base_currency})
    table = dict(ratio) if isinstance(ratio, Mapping) else dict.fromkeys(foreign, ratio)
    for code, h in table.items():
        if code not in foreign:
            expected = ", ".join(foreign) or "no ratio: all is in base currency"
            raise UsageError(f"nothing to hedge in {code}", expected=expected)
        if not (np.isfinite(h) and h >= 0):
            problem = f"the hedge ratio of {code} must be finite and not negative"
            raise UsageError(problem, received=h)
    result = np.array([float(table.get(c, 0.0)) for c in codes])
    unknown = np.array([c in ("", "MULTI") for c in codes]) & (result > 0)
    if unknown.any():
        i = int(np.argmax(unknown))
        raise DataError(
            "a basket of currencies has no one forward",
            asset=panel.tickers[i],
            received=codes[i] or "no exposure currency",
            fix="Name the currencies to hedge: ratio={'JPY': 1.0}.",
        )
    return result


def _premium(panel: PricePanel, code: str, rows: np.ndarray, years: Vector) -> Vector:
    """``(1 + i_base t) / (1 + i_foreign t) - 1`` with the rates of ``rows``."""
    if code == panel.base_currency:
        return np.zeros(rows.size)
    pair, verdict = (panel.base_currency, code), f"hedging {code} is refused"
    ours, theirs = (_accrual(panel, c, rows, years, verdict) for c in pair)
    return (ours - theirs) / theirs


def _accrual(panel: PricePanel, code: str, rows: Any, years: Vector, verdict: str):
    """``1 + i t`` with the rates of ``rows``; refuses a rate that is not there."""
    known = code in panel.cash_currencies
    rates = panel.known_cash_rate(code)[rows] if known else np.full(rows.size, np.nan)
    growth = 1.0 + rates * years
    bad = ~((growth > 0) & (growth < np.inf))
    if bad.any() or not known:
        raise DataError(
            f"no cash rate for {code}: {verdict}",
            date=panel.dates[rows[bad][0]] if known else None,
            received=rates[bad][0] if known else panel.cash_currencies or "none",
            fix=f"Pass cash_rates= with a {code} column, annual rates as decimals.",
        )
    return growth


def _fx(panel: PricePanel, code: str, label: str, rows: Any) -> np.ndarray:
    """Exchange rates of ``rows``; an error with the way out where there is none."""
    rows, known = np.asarray(rows), (panel.base_currency, *panel.fx_currencies)
    rates = panel.fx_rate(code)[rows] if code in known else np.full(rows.shape, np.nan)
    gaps = rows[np.isnan(rates)]
    if gaps.size:
        raise DataError(
            f"no exchange rate from {code} to {panel.base_currency}",
            asset=label,
            date=panel.dates[gaps.min()],
            received=f"rates for {', '.join(known)}",
            fix=f"Pass fx= (CLI: --fx) with a {code} column, in USD for one unit, "
            "that covers the date; or leave the position out.",
        )
    return rates


def _panel(market: Market) -> PricePanel:
    return market.panel if isinstance(market, MarketView) else market


def _step(sessions: int) -> int:
    if not isinstance(sessions, (int, np.integer)) or sessions < 1:
        raise UsageError("sessions must be an integer, at least 1", received=sessions)
    return int(sessions)


def _years(start: np.ndarray, end: np.ndarray) -> Vector:
    return (end - start) / np.timedelta64(1, "D") / YEAR_DAYS
