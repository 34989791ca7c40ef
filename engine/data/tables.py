"""Tables of prices as files hold them: wide, tidy, or one file for each ticker.

What cannot be read one way only is refused: dates that are numbers or carry a time,
rows out of order, a ticker or a date given twice, cells of text.
"""

from __future__ import annotations

import warnings

import numpy as np

from engine.data.dialect import read_dates
from engine.data.provider import Frames
from engine.errors import DataError, InputNote

_CLOSE_NAMES = ("close", "adj_close", "adj close", "price")
_ONE_TICKER_COLUMNS = frozenset(
    {*_CLOSE_NAMES, "date", "open", "high", "low", "volume", "currency"}
    | {"dividends", "stock splits", "capital gains"}
)
"""A file with any other column is a wide table, whose columns are all tickers."""


def from_table(
    table, source: str, stem: str | None = None, price_basis: str | None = None
) -> Frames:
    """Recognise wide, tidy, or the file of one ticker.

    ``price_basis`` chooses where a file holds both a close and an adjusted one.
    """
    import pandas as pd

    table = table.copy(deep=False)
    if isinstance(table.index, pd.DatetimeIndex) or table.index.name == "date":
        if "date" in table.columns:
            raise DataError("both the index and a column are dates", received=source)
        table = table.rename_axis("date").reset_index()
    lower = {str(c).lower(): c for c in table.columns}
    first = str(table.columns[0])
    if "date" not in lower and first.startswith("Unnamed: 0"):
        # An index without a name, as pandas writes it.
        lower["date"] = table.columns[0]
    if "date" not in lower:
        raise DataError(
            f"{source}: no column 'date'",
            received=", ".join(map(str, table.columns[:8])),
            expected="date and one column per ticker, or date, ticker, close",
            fix="Name the column of dates 'date'.",
        )
    for word in ("symbol", "isin", "instrument"):
        if word in lower and "ticker" not in lower:
            raise DataError(
                f"{source}: no column 'ticker'",
                received=", ".join(map(str, table.columns[:8])),
                fix=f"Name the column '{lower[word]}' 'ticker'.",
            )
    table = table.rename(columns={lower["date"]: "date"})
    if len(table) == 0:
        raise DataError(f"{source}: no rows")
    table["date"] = _dates(table["date"], source)
    if "ticker" in lower or (stem is not None and set(lower) <= _ONE_TICKER_COLUMNS):
        table = _one_close(table, lower, source, price_basis)
        lower = {str(c).lower(): c for c in table.columns}
    if "ticker" in lower:
        return _from_tidy(table.rename(columns=lambda c: str(c).lower()), source)
    close = next((lower[c] for c in _CLOSE_NAMES if c in lower), None)
    if close is not None and stem is not None and set(lower) <= _ONE_TICKER_COLUMNS:
        columns = {"date": "date", close: "close"}
        for name in ("open", "volume", "currency"):
            if name in lower:
                columns[lower[name]] = name
        tidy = table[list(columns)].rename(columns=columns).assign(ticker=stem)
        return _from_tidy(tidy, source)
    return Frames(
        prices=table.set_index("date"), universe=None, price_basis=None, source=source
    )


def _one_close(table, lower, source: str, price_basis: str | None):
    """Keep the close that the basis means where a file holds an adjusted one as well.

    Vendors adjust it for splits and dividends: it is the total return.
    """
    adjusted = [n for n in ("adj_close", "adj close") if n in lower]
    if "close" not in lower or not adjusted:
        return table
    if price_basis is None or price_basis == "raw":
        raise DataError(
            f"{source}: both a close and an adjusted close",
            received=f"price_basis {price_basis or 'not stated'}",
            expected="total_return (the adjusted close) or split_adjusted (the close)",
            fix="Vendors divide both by later splits: neither is raw. For other "
            "prices leave one of the columns out.",
        )
    left = "close" if price_basis == "total_return" else adjusted[0]
    kept = adjusted[0] if price_basis == "total_return" else "close"
    note = f"{source}: {lower[kept]} is read as {price_basis}; {lower[left]} is not"
    warnings.warn(InputNote(note), stacklevel=4)
    return table.drop(columns=[lower[n] for n in (*adjusted[1:], left)])


def _from_tidy(table, source: str) -> Frames:
    if "close" not in table.columns:
        for name in _CLOSE_NAMES:
            if name in table.columns:
                return _from_tidy(table.rename(columns={name: "close"}), source)
        raise DataError(
            f"{source}: no column 'close'", received=", ".join(table.columns)
        )
    if table["ticker"].isna().any():
        row = int(np.flatnonzero(table["ticker"].isna())[0])
        raise DataError(f"{source}: a row without a ticker", date=table["date"][row])
    table = table.assign(ticker=table["ticker"].astype(str).str.strip())
    repeated = table.duplicated(["date", "ticker"])
    if repeated.any():
        row = table[repeated].iloc[0]
        raise DataError(
            "two prices for one asset on one date",
            asset=row["ticker"],
            date=row["date"],
            fix="Keep one row per date and ticker.",
        )
    by_ticker = table.groupby("ticker", sort=False)["date"]
    unsorted = ~by_ticker.apply(lambda d: d.is_monotonic_increasing)
    if unsorted.any():
        raise DataError(
            "dates are not in order",
            asset=str(unsorted[unsorted].index[0]),
            fix="Sort the rows by date.",
        )
    currency = None
    if "currency" in table.columns:
        codes = table.dropna(subset=["currency"]).groupby("ticker")["currency"]
        mixed = codes.nunique() > 1
        if mixed.any():
            raise DataError(
                "one asset is quoted in two currencies",
                asset=str(mixed[mixed].index[0]),
            )
        currency = codes.first().astype(str).to_dict()

    def wide(name):
        if name not in table.columns:
            return None
        frame = table.pivot(index="date", columns="ticker", values=name)
        frame.columns.name = None
        return frame[list(dict.fromkeys(table["ticker"]))]

    return Frames(
        prices=wide("close"),
        universe=None,
        price_basis=None,
        source=source,
        open=wide("open"),
        volume=wide("volume"),
        currency=currency,
    )


def merge(parts: list[Frames], source: str) -> Frames:
    """Join files side by side; a ticker in two of them is refused."""
    import pandas as pd

    seen: dict[str, str] = {}
    for part in parts:
        for ticker in part.prices.columns:
            if ticker in seen:
                raise DataError(
                    "one ticker in two files",
                    asset=str(ticker),
                    received=f"{seen[ticker]} and {part.source}",
                )
            seen[ticker] = part.source

    def join(name):
        frames = [getattr(p, name) for p in parts if getattr(p, name) is not None]
        for frame in frames:
            _check_order(frame.index, source)
        return pd.concat(frames, axis=1, sort=True) if frames else None

    currency = {k: v for p in parts for k, v in (p.currency or {}).items()}
    return Frames(
        prices=join("prices"),
        universe=None,
        price_basis=None,
        source=source,
        open=join("open"),
        volume=join("volume"),
        currency=currency or None,
        synthetic=any(p.synthetic for p in parts),
    )


def _dates(column, source: str):
    """Session dates: no time of day, no zone, nothing unreadable."""
    import pandas as pd

    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise DataError(f"{source}: a row without a date", received=f"row {row + 1}")
    if pd.api.types.is_numeric_dtype(column):
        raise DataError(
            f"{source}: dates are numbers",
            received=column.iloc[0],
            expected="YYYY-MM-DD",
        )
    parsed = read_dates(column, source)
    if parsed is not None:
        return parsed
    try:
        parsed = pd.to_datetime(column, format="ISO8601", errors="raise")
    except (ValueError, TypeError) as error:
        guess = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
        bad = column[guess.isna()]
        raise DataError(  # offsets that change with summer time fail to parse together
            f"{source}: " + ("not a date" if len(bad) else "dates carry a time zone"),
            received=repr(bad.iloc[0] if len(bad) else column.iloc[0]),
            expected="YYYY-MM-DD",
        ) from error
    if getattr(parsed.dt, "tz", None) is not None:
        raise DataError(
            f"{source}: dates carry a time zone",
            received=str(parsed.iloc[0]),
            expected="session dates without zone",
        )
    if (parsed != parsed.dt.normalize()).any():
        raise DataError(
            f"{source}: dates carry a time of day",
            received=str(parsed[parsed != parsed.dt.normalize()].iloc[0]),
            expected="one row per session date",
        )
    return parsed


def _check_order(index, source: str) -> None:
    if index.has_duplicates:
        raise DataError(
            f"{source}: duplicate date",
            date=index[index.duplicated()][0].date(),
            fix="Keep one row per date.",
        )
    if not index.is_monotonic_increasing:
        values = index.to_numpy()
        i = int(np.argmax(np.diff(values) < np.timedelta64(0)))
        raise DataError(
            f"{source}: dates are not in order",
            date=index[i + 1].date(),
            received=f"{index[i + 1].date()} after {index[i].date()}",
            fix="Sort the rows by date.",
        )


def wide_table(frame, *, what: str):
    """Check a wide table's index and columns."""
    import pandas as pd

    frame = frame.copy(deep=False)
    if not isinstance(frame.index, pd.DatetimeIndex):
        frame.index = pd.DatetimeIndex(_dates(frame.index.to_series(), what))
    _check_order(frame.index, what)
    frame.columns = pd.Index([str(c).strip() for c in frame.columns])
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"{what}: duplicate ticker", asset=repeated[0])
    blank = [c for c in frame.columns if not c or c.lower().startswith("unnamed")]
    if blank:
        raise DataError(f"{what}: a column without a ticker", received=repr(blank[0]))
    if not len(frame.columns):
        raise DataError(f"{what}: no ticker columns")
    return frame


def numbers(frame) -> np.ndarray:
    """(T, N) floats; textual cells are refused with their place."""
    import pandas as pd

    if all(pd.api.types.is_numeric_dtype(t) for t in frame.dtypes):
        return frame.to_numpy(dtype=np.float64)
    columns = []
    for name in frame.columns:
        column = frame[name]
        if not pd.api.types.is_numeric_dtype(column):
            numbers = pd.to_numeric(column, errors="coerce")
            bad = numbers.isna() & column.notna()
            if bad.any():
                raise DataError(
                    "a price is not a number",
                    asset=str(name),
                    date=column.index[bad][0].date(),
                    received=repr(column[bad].iloc[0]),
                    fix="Leave the cell empty where there is no price.",
                )
            column = numbers
        columns.append(column.to_numpy(dtype=np.float64))
    return np.column_stack(columns)
