"""The universe: what each asset is, where it trades, and its AI role.

Roles and exposures carry the date from which they were known. A universe file without
such dates gives *undated* roles: usable today, and in the past only by an explicit
admission of hindsight (`strategies` and `backtests` stamp it on what they write).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine._base import Value, check_labels, frozen_array, html_table
from engine.data.roles import DOCUMENTED_ZERO_CLASSES, ROLES, role_of
from engine.data.venues import canonical_venue
from engine.errors import DataError
from engine.errors import did_you_mean as _did_you_mean

_TEXT_COLUMNS = (
    "name",
    "asset_class",
    "venue",
    "country",
    "region",
    "sector",
    "quote_currency",
    "exposure_currency",
    "theme",
    "role",
    "share_source",
)


_MINOR_UNITS = {"GBp": "GBP", "GBX": "GBP", "ZAc": "ZAR", "ZAX": "ZAR", "ILA": "ILS"}
"""Pence, cents and agorot as data vendors write them: a hundred to the currency."""


def check_currency(code: Any, *, asset: str | None = None) -> str:
    """Return a three-letter currency code, or raise `DataError`."""
    if isinstance(code, str) and code.strip() in _MINOR_UNITS:
        raise DataError(
            "a price in hundredths of a currency",
            asset=asset,
            received=repr(code),
            expected=_MINOR_UNITS[code.strip()],
            fix="Divide the prices by 100 and name the currency.",
        )
    if not isinstance(code, str) or len(code) != 3 or not code.isalpha():
        raise DataError(
            "not a currency code",
            asset=asset,
            received=repr(code),
            expected="three letters, such as USD",
        )
    return code.upper()


@dataclass(frozen=True, slots=True, eq=False)
class Universe(Value):
    """Assets and their labels, one entry per ticker and in the same order.

    Attributes
    ----------
    tickers : tuple of str, length N
    name, asset_class, venue, country, region, sector : tuple of str
        Empty text where not stated. ``venue`` is a key of `engine.data.venues.VENUES`.
    quote_currency : tuple of str
        What a price is in; empty where not stated (a panel then refuses the asset).
    exposure_currency : tuple of str
        What drives the asset's value, ``MULTI`` for baskets.
    theme, role : tuple of str
        The user's label and the role it maps to (`engine.data.roles`).
    share_source : tuple of str
        Where an AI share comes from, for the reader; empty where the band stands in.
    ai_share : (N, 3) float64
        Low, central and high AI share of revenue; NaN where the role's band stands in.
    ai_capex : (N,) float64
        AI capital spending a year over market value; NaN where not known, which is not
        zero.
    role_known_from : (N,) datetime64[D]
        Date from which role, share and spending were known; NaT when undated.
    listed_from, listed_until : (N,) datetime64[D]
        Listing interval; NaT where open.
    look_through : tuple of (fund, kind, label, weight, known_from, document)
        What dated documents say these funds hold (`engine.data.look_through`).
    """

    tickers: tuple[str, ...]
    name: tuple[str, ...] = ()
    asset_class: tuple[str, ...] = ()
    venue: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    sector: tuple[str, ...] = ()
    quote_currency: tuple[str, ...] = ()
    exposure_currency: tuple[str, ...] = ()
    theme: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    share_source: tuple[str, ...] = ()
    ai_share: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    role_known_from: np.ndarray = field(
        default_factory=lambda: np.empty(0, "datetime64[D]")
    )
    listed_from: np.ndarray = field(
        default_factory=lambda: np.empty(0, "datetime64[D]")
    )
    listed_until: np.ndarray = field(
        default_factory=lambda: np.empty(0, "datetime64[D]")
    )
    look_through: tuple[tuple[str, str, str, float, str, str], ...] = ()
    ai_capex: np.ndarray = field(default_factory=lambda: np.empty(0))
    _index: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "tickers", check_labels(self.tickers, name="universe"))
        n = len(self.tickers)
        for name in _TEXT_COLUMNS:
            values = tuple(getattr(self, name)) or ("",) * n
            if len(values) != n:
                raise DataError(
                    f"universe column {name} has the wrong length",
                    received=len(values),
                    expected=n,
                )
            put(self, name, tuple(_text(v) for v in values))
        put(
            self,
            "role",
            tuple(
                r or role_of(t, c, k)
                for r, t, c, k in zip(
                    self.role, self.theme, self.asset_class, self.tickers, strict=True
                )
            ),
        )
        for ticker, role in zip(self.tickers, self.role, strict=True):
            if role not in ROLES:
                raise DataError(
                    "unknown AI role",
                    asset=ticker,
                    received=repr(role),
                    expected=", ".join(ROLES),
                )
        put(self, "venue", tuple(canonical_venue(v) for v in self.venue))
        for name in ("quote_currency", "exposure_currency"):
            codes = tuple(
                code
                if not code or (name == "exposure_currency" and code == "MULTI")
                else check_currency(code, asset=ticker)
                for ticker, code in zip(self.tickers, getattr(self, name), strict=True)
            )
            put(self, name, codes)
        share = self.ai_share if self.ai_share.size else np.full((n, 3), np.nan)
        share = frozen_array(share, name="ai_share", ndim=2, shape=(n, 3), finite=False)
        absent = np.isnan(share).all(axis=1)
        bad = ~absent & ~(
            (share >= 0).all(axis=1)
            & (share <= 1).all(axis=1)
            & (np.diff(share, axis=1) >= 0).all(axis=1)
        )
        if bad.any():
            i = int(np.argmax(bad))
            raise DataError(
                "AI share must satisfy 0 <= low <= central <= high <= 1",
                asset=self.tickers[i],
                received=share[i].tolist(),
            )
        put(self, "ai_share", share)
        put(self, "ai_capex", _checked_capex(self.ai_capex, self.tickers))
        for name in ("role_known_from", "listed_from", "listed_until"):
            values = getattr(self, name)
            if not values.size:
                values = np.full(n, "NaT", "datetime64[D]")
            put(
                self,
                name,
                frozen_array(
                    values, name=name, ndim=1, dtype="datetime64[D]", shape=(n,)
                ),
            )
        put(self, "_index", {t: i for i, t in enumerate(self.tickers)})

    def __len__(self) -> int:
        return len(self.tickers)

    def __contains__(self, ticker: object) -> bool:
        return ticker in self._index

    def index(self, ticker: str) -> int:
        """Position of a ticker; `DataError` naming near matches when absent."""
        try:
            return self._index[ticker]
        except KeyError:
            raise DataError(
                "ticker is not in the universe",
                asset=ticker,
                fix=_did_you_mean(ticker, self.tickers),
            ) from None

    def select(self, tickers: Iterable[str]) -> Universe:
        """Universe of the given tickers, in the given order.

        Tickers that the universe does not know get a row of unknowns: their role is
        ``unknown`` and their currency unstated, never a default.
        """
        wanted = check_labels(tickers, name="tickers")
        if wanted == self.tickers:
            return self
        rows = [self._index.get(t, -1) for t in wanted]
        if min(rows, default=-1) >= 0:
            return self._picked(wanted, rows)
        columns: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] if i >= 0 else "" for i in rows)
            for name in _TEXT_COLUMNS
        }
        columns["role"] = tuple(
            self.role[i] if i >= 0 else ("none" if t.startswith("CASH:") else "unknown")
            for i, t in zip(rows, wanted, strict=True)
        )
        for name in ("quote_currency", "exposure_currency"):  # cash names its own
            columns[name] = tuple(
                t.removeprefix("CASH:") if i < 0 and t.startswith("CASH:") else c
                for i, t, c in zip(rows, wanted, columns[name], strict=True)
            )
        columns["asset_class"] = tuple(
            "cash" if i < 0 and t.startswith("CASH:") else c
            for i, t, c in zip(rows, wanted, columns["asset_class"], strict=True)
        )
        padded = np.array(rows, dtype=np.intp)
        share = np.vstack([self.ai_share, np.full((1, 3), np.nan)])[padded]
        columns["ai_capex"] = np.append(self.ai_capex, np.nan)[padded]
        nat = np.array(["NaT"], "datetime64[D]")
        for name in ("role_known_from", "listed_from", "listed_until"):
            columns[name] = np.concatenate([getattr(self, name), nat])[padded]
        chosen = set(wanted)
        rows = tuple(r for r in self.look_through if r[0] in chosen)
        return Universe(wanted, ai_share=share, look_through=rows, **columns)

    def _picked(self, wanted: tuple[str, ...], rows: list[int]) -> Universe:
        # Bypasses the checks of construction, which the rows have already passed.
        new, put, chosen = object.__new__(Universe), object.__setattr__, set(wanted)
        for name in self.__dataclass_fields__:
            values = getattr(self, name)
            if isinstance(values, np.ndarray):
                values = values[rows]
                values.setflags(write=False)
            elif name in _TEXT_COLUMNS:
                values = tuple([values[i] for i in rows])
            put(new, name, values)
        put(new, "tickers", wanted)
        kept = tuple(r for r in self.look_through if r[0] in chosen)
        put(new, "look_through", kept)
        put(new, "_index", {t: i for i, t in enumerate(wanted)})
        return new

    def known_at(self, time: np.datetime64, *, hindsight: bool = False) -> Universe:
        """Universe as known at ``time``: a role dated later reads ``unknown``.

        Undated roles stay; a backtest asks `MarketView.roles`, which refuses them.
        Documents of a later date are left out, whatever hindsight is admitted: it is
        for parameters, not for facts.
        """
        day = np.asarray(time).astype("datetime64[D]")
        rows = tuple(r for r in self.look_through if np.datetime64(r[4], "D") <= day)
        if len(rows) < len(self.look_through):
            self = replace(self, look_through=rows)
        later = self.role_known_from > day
        if hindsight or not later.any():
            return self
        share, capex = self.ai_share.copy(), self.ai_capex.copy()
        share[later] = capex[later] = np.nan
        role = tuple(
            "unknown" if late else r for late, r in zip(later, self.role, strict=True)
        )
        return replace(self, role=role, ai_share=share, ai_capex=capex)

    def with_exposures(self, table) -> Universe:
        """Universe with the roles and AI shares of a dated table put in.

        Parameters
        ----------
        table : pandas.DataFrame
            As `engine.data.exposures.read_exposures` returns it. Tickers it does not
            name keep what they had; a role ``unknown`` in it leaves the asset alone.
        """
        rows = {r["ticker"]: r for r in table.to_dict("records")}
        role, source = list(self.role), list(self.share_source)
        share, known = self.ai_share.copy(), self.role_known_from.copy()
        for i, ticker in enumerate(self.tickers):
            row = rows.get(ticker)
            if row is None or row["role"] == "unknown":
                continue
            role[i], source[i] = row["role"], row["source"]
            share[i] = row["share_low"], row["share"], row["share_high"]
            known[i] = np.datetime64(row["known_from"], "D")
        return replace(
            self,
            role=tuple(role),
            share_source=tuple(source),
            ai_share=share,
            role_known_from=known,
        )

    def with_look_through(self, table) -> Universe:
        """Universe with a table of what its funds hold, in place of any it had.

        Parameters
        ----------
        table : pandas.DataFrame
            As `engine.data.look_through.read_look_through` returns it; rows of other
            funds are left out.
        """
        names = ("fund", "kind", "label", "weight", "known_from", "document")
        columns = (table[c].tolist() for c in names)
        rows = (r for r in zip(*columns, strict=True) if r[0] in self._index)
        return replace(self, look_through=tuple(rows))

    def labels(self, attribute: str) -> tuple[str, ...]:
        """Labels of one grouping: country, region, currency, sector, role, ..."""
        alias = {"currency": "exposure_currency", "class": "asset_class"}
        name = alias.get(attribute, attribute)
        if name not in (*_TEXT_COLUMNS, "tickers"):
            raise DataError(
                "unknown grouping",
                received=repr(attribute),
                expected="country, region, currency, sector, role, theme, venue, "
                "asset_class",
            )
        return getattr(self, name)

    def is_structural_zero(self) -> np.ndarray:
        """(N,) bool: no claim on company earnings, so no structural move."""
        return np.array(
            [
                c in DOCUMENTED_ZERO_CLASSES or t.startswith("CASH:")
                for c, t in zip(self.asset_class, self.tickers, strict=True)
            ],
            dtype=bool,
        )

    @classmethod
    def from_frame(cls, frame) -> Universe:
        """Build from a table with the columns of a universe file.

        Parameters
        ----------
        frame : pandas.DataFrame
            Column ``ticker`` and any of: name, asset_class, venue (or calendar),
            country, region, sector, quote_currency, exposure_currency, ai_theme (or
            theme), role, ai_share (alone, or with ai_share_low and ai_share_high),
            ai_capex, role_known_from. Other columns are ignored.
        """
        if "ticker" not in frame.columns:
            raise DataError(
                "universe has no column 'ticker'",
                received=", ".join(map(str, frame.columns)),
            )
        frame = frame.rename(
            columns={
                old: new
                for old, new in (("ai_theme", "theme"), ("calendar", "venue"))
                if new not in frame.columns
            }
        )
        tickers = frame["ticker"].fillna("").astype(str).str.strip()
        columns: dict[str, Any] = {
            name: tuple(
                "" if v != v or v is None else str(v).strip() for v in frame[name]
            )
            for name in _TEXT_COLUMNS
            if name in frame.columns
        }
        share_names = ("ai_share_low", "ai_share", "ai_share_high")
        present = [name for name in share_names if name in frame.columns]
        if present and len(present) != 3 and present != ["ai_share"]:
            raise DataError(
                "an AI share is given by one number or by its whole band",
                received=", ".join(present),
                expected="ai_share, or " + ", ".join(share_names),
            )
        if present:
            rows = [_parsed(frame, name, tickers, "number") for name in present]
            columns["ai_share"] = np.column_stack(rows if len(rows) == 3 else rows * 3)
        if "ai_capex" in frame.columns:
            columns["ai_capex"] = _parsed(frame, "ai_capex", tickers, "number")
        if "role_known_from" in frame.columns:
            columns["role_known_from"] = _parsed(
                frame, "role_known_from", tickers, "date"
            )
        return cls(tuple(tickers), **columns)

    def to_frame(self):
        """Return the universe as a table, one row per ticker."""
        import pandas as pd

        table = {"ticker": self.tickers}
        table |= {name: getattr(self, name) for name in _TEXT_COLUMNS}
        return pd.DataFrame(table)

    def __repr__(self) -> str:
        known = sum(r not in ("unknown", "none") for r in self.role)
        return f"Universe({len(self)} assets, {known} with an AI role)"

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())


def _checked_capex(values: Any, tickers: tuple[str, ...]) -> np.ndarray:
    """(N,) shares of market value; all NaN where none is given."""
    n = len(tickers)
    values = values if np.size(values) else np.full(n, np.nan)
    values = frozen_array(values, name="ai_capex", ndim=1, shape=(n,), finite=False)
    bad = ~np.isnan(values) & ~((values >= 0) & (values <= 1))
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            "ai_capex is AI capital spending a year over market value",
            asset=tickers[i],
            received=float(values[i]),
            expected="a decimal from 0 to 1, empty where not known",
        )
    return values


def _parsed(frame, name: str, tickers, kind: str) -> np.ndarray:
    """(N,) numbers or dates of one column; empty cells are NaN or NaT."""
    import pandas as pd

    column = frame[name]
    if kind == "number":
        values = pd.to_numeric(column, errors="coerce")
    else:
        values = pd.to_datetime(column, errors="coerce", format="ISO8601")
    bad = (values.isna() & column.notna()).to_numpy()
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            f"universe column {name} holds something that is not a {kind}",
            asset=str(tickers.iloc[i]),
            received=repr(column.iloc[i]),
        )
    return values.to_numpy("datetime64[D]" if kind == "date" else np.float64)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def universe_from(source: Any) -> Universe | None:
    """Return a `Universe` from None, a Universe, a table, or a CSV or Parquet path."""
    if source is None or isinstance(source, Universe):
        return source
    if hasattr(source, "columns"):
        return Universe.from_frame(source)
    if isinstance(source, Mapping):
        import pandas as pd

        return Universe.from_frame(pd.DataFrame(source))
    from engine.data.files import read_table

    return Universe.from_frame(read_table(source, what="universe"))
