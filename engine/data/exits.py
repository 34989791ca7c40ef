"""What became of a share: renamed, merged or delisted, and what that was worth.

A name that changed is one company under two columns; a merger pays cash, the acquirer's
shares or both; a delisting pays a terminal value that is often not known. Nothing here
guesses it: an unknown value needs a stated recovery, and `delisting_sensitivity` says
what every recovery between nothing and the last price would cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.data.actions import CorporateActions
from engine.data.adjust import price_table
from engine.errors import DataError

_SAME_PRICE = 1e-4


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
    tickers, dates, values = price_table(prices)
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
