"""Corporate actions: dated facts about shares, as a table that can be read and cut.

A raw close is what was paid. Splits multiply the number of shares, distributions pay
cash on their ex-date, names change, companies merge and disappear. `CorporateActions`
holds those facts and answers for names and share counts; the price series they imply
are in `engine.data.adjust`, what became of a share in `engine.data.exits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.data.panel import parse_time
from engine.data.universe import check_currency
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
_NAT = np.datetime64("NaT", "D")


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

    def last_dates(self) -> dict[str, np.datetime64]:
        """Last date of each share that merged or was delisted, by ticker."""
        gone = zip(self.ticker, self.kind, self.date, strict=True)
        return {t: d for t, k, d in gone if k in ("merger", "delisting")}

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
        value = self.value * self.later_splits(self.ticker, DISTRIBUTIONS)
        return replace(self, value=value, dividend_basis="as_paid")

    def split_adjusted(self) -> CorporateActions:
        """Distributions divided by all later splits held here, as vendors give them."""
        if self.dividend_basis == "split_adjusted":
            return self
        value = self.value / self.later_splits(self.ticker, DISTRIBUTIONS)
        return replace(self, value=value, dividend_basis="split_adjusted")

    def later_splits(
        self, tickers: Sequence[str], kinds: Sequence[str] = KINDS
    ) -> np.ndarray:
        """(E,) product of the splits of ``tickers[i]`` dated after event i.

        Parameters
        ----------
        tickers : sequence of str, length E
            Whose splits: each event's own ticker, or the acquirer of a merger.
        kinds : sequence of str
            Events of other kinds read 1.
        """
        factor = np.ones(len(self))
        splits: dict[str, list[int]] = {}
        for i, kind in enumerate(self.kind):
            if kind == "split":
                splits.setdefault(self.ticker[i], []).append(i)
        for i, kind in enumerate(self.kind):
            if kind in kinds:
                for j in splits.get(tickers[i], ()):
                    if self.date[j] > self.date[i]:
                        factor[i] *= self.value[j]
        return factor

    def until(self, t: Any) -> CorporateActions:
        """Events dated on or before ``t``, distributions as paid: nothing later shows.

        Announcement dates are not held, so an event counts as known on its own date.
        """
        day = parse_time(t)[0].astype("datetime64[D]")
        return self.as_paid().dated_until(day)

    def dated_until(self, t: Any) -> CorporateActions:
        """Events dated on or before ``t``, in the basis they are in.

        In the split-adjusted basis a value carries later splits, as split-adjusted
        prices do; their ratio, which is the return, does not.
        """
        day = parse_time(t)[0].astype("datetime64[D]")
        k = int(np.searchsorted(self.date, day, side="right"))
        # Bypasses the checks of construction, which the events have already passed.
        new = object.__new__(CorporateActions)
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            cut = isinstance(value, (tuple, np.ndarray))
            object.__setattr__(new, name, value[:k] if cut else value)
        return new

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
