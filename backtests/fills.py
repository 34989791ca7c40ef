"""Fills as columns: a table that is read like a tuple of `Fill`, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from engine._base import frozen_array
from engine.errors import DataError

WORDS = (
    "filled",
    "partial",
    "scaled",
    "unaffordable",
    "expired",
    "replaced",
    "delisted",
    "open",
    "delisting",
    "merger",
    "cash in lieu",
)
"""Status of a fill by its code; the first eight are those of the kernel, in order."""


class Fill(NamedTuple):
    """One execution, or the end of an order that was not executed.

    Attributes
    ----------
    date : datetime64[D]
        Session of the fill or of the cancellation.
    decided : datetime64[D]
        Session of the decision.
    ticker : str
    ordered, units : float
        Signed; what was still to be done, and what was done.
    price : float
        Quote currency; NaN where nothing was done.
    value, cost, tax : float
        Base currency; value is signed.
    status : str
        ``filled``; ``partial`` (cut to the share of a day's volume that may be
        traded; the rest waits); ``scaled`` (a buy cut to the cash at hand);
        ``unaffordable``,
        ``expired``, ``replaced``, ``delisted`` or ``open`` (nothing done: no cash,
        waited too long, a later decision took over, the asset ended, the run ended);
        ``delisting``, ``merger`` (a position turned into cash, or the acquirer's
        shares received, at the stated terms or the assumed return); ``cash in lieu``
        (the fraction of a whole-share position that a split or merger left).
    """

    date: np.datetime64
    decided: np.datetime64
    ticker: str
    ordered: float
    units: float
    price: float
    value: float
    cost: float
    tax: float
    status: str


_NUMBERS = ("ordered", "units", "price", "value", "cost", "tax")


class Fills(Sequence[Fill]):
    """Every fill of a run, in order: a read-only table of columns.

    Indexing and iteration give `Fill` tuples, made when they are asked for; a slice
    gives another table. What needs all of them should read the columns.

    Parameters
    ----------
    date, decided : (n,) datetime64[D]
    column : (n,) int32
        Place of the ticker in ``labels``.
    status : (n,) int8
        Place of the status in ``words``.
    ordered, units, price, value, cost, tax : (n,) float64
        As in `Fill`; price is NaN where nothing was done.
    labels, words : tuple of str

    Raises
    ------
    DataError
        Columns of different lengths, or codes without a label or a word.
    """

    __slots__ = ("column", "date", "decided", "labels", "status", "words", *_NUMBERS)

    date: np.ndarray
    decided: np.ndarray
    column: np.ndarray
    status: np.ndarray
    ordered: np.ndarray
    units: np.ndarray
    price: np.ndarray
    value: np.ndarray
    cost: np.ndarray
    tax: np.ndarray
    labels: tuple[str, ...]
    words: tuple[str, ...]

    def __init__(
        self,
        *,
        date: Any,
        decided: Any,
        column: Any,
        status: Any,
        ordered: Any,
        units: Any,
        price: Any,
        value: Any,
        cost: Any,
        tax: Any,
        labels: Iterable[str],
        words: Iterable[str] = WORDS,
    ) -> None:
        put = object.__setattr__
        n = np.size(date)
        given = {
            "date": (date, "datetime64[D]"),
            "decided": (decided, "datetime64[D]"),
            "column": (column, np.int32),
            "status": (status, np.int8),
        }
        numbers = (ordered, units, price, value, cost, tax)
        given |= {k: (v, np.float64) for k, v in zip(_NUMBERS, numbers, strict=True)}
        for name, (values, dtype) in given.items():
            array = frozen_array(
                values, name=name, ndim=1, dtype=dtype, shape=(n,), finite=False
            )
            put(self, name, array)
        put(self, "labels", tuple(labels))
        put(self, "words", tuple(words))
        for name, known in (("column", self.labels), ("status", self.words)):
            codes = getattr(self, name)
            if n and not (codes.min() >= 0 and codes.max() < len(known)):
                raise DataError(
                    f"the {name} of a fill is not known",
                    received=f"{codes.min()} to {codes.max()}",
                    expected=f"0 to {len(known) - 1}",
                )

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse: the table is read-only."""
        raise AttributeError(f"fills are read-only: {name}")

    @classmethod
    def of(cls, fills: Iterable[Fill]) -> Fills:
        """Table of some fills; a table is returned as it is."""
        if isinstance(fills, Fills):
            return fills
        rows = [Fill(*f) for f in fills]
        columns = zip(*rows, strict=True) if rows else [()] * len(Fill._fields)
        return cls.from_columns(
            **{k: list(v) for k, v in zip(Fill._fields, columns, strict=True)}
        )

    @classmethod
    def from_columns(cls, *, ticker: Any, status: Any, **columns: Any) -> Fills:
        """Table of columns that name tickers and statuses in words."""
        labels, column = _coded(ticker, ())
        words, code = _coded(status, WORDS)
        return cls(labels=labels, column=column, words=words, status=code, **columns)

    def tickers(self) -> np.ndarray:
        """(n,) object array of the ticker of each fill."""
        return np.array([*self.labels, ""], dtype=object)[self.column]

    def statuses(self) -> np.ndarray:
        """(n,) object array of the status of each fill, in words."""
        return np.array([*self.words, ""], dtype=object)[self.status]

    def to_columns(self) -> dict[str, np.ndarray]:
        """Each field of `Fill` as one array, in order."""
        found = {"ticker": self.tickers(), "status": self.statuses()}
        return {k: found[k] if k in found else getattr(self, k) for k in Fill._fields}

    def __len__(self) -> int:
        return self.date.size

    @overload
    def __getitem__(self, at: int) -> Fill: ...
    @overload
    def __getitem__(self, at: slice) -> Fills: ...
    def __getitem__(self, at: Any) -> Any:
        """One `Fill`, or the table of a slice."""
        if isinstance(at, slice):
            names = ("date", "decided", "column", "status", *_NUMBERS)
            part = {name: getattr(self, name)[at] for name in names}
            return Fills(**part, labels=self.labels, words=self.words)
        numbers = (float(getattr(self, name)[at]) for name in _NUMBERS)
        ticker, word = self.labels[self.column[at]], self.words[self.status[at]]
        return Fill._make((self.date[at], self.decided[at], ticker, *numbers, word))

    def __iter__(self) -> Iterator[Fill]:
        labels, words = self.labels, self.words
        numbers = (getattr(self, name).tolist() for name in _NUMBERS)
        return map(
            Fill,
            self.date,
            self.decided,
            (labels[i] for i in self.column.tolist()),
            *numbers,
            (words[i] for i in self.status.tolist()),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        mine, theirs = self.to_columns(), Fills.of(other).to_columns()
        return all(
            np.array_equal(mine[k], theirs[k], equal_nan=k in _NUMBERS) for k in mine
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self):
        return _rebuild, ({name: getattr(self, name) for name in self.__slots__},)

    def __repr__(self) -> str:
        return f"Fills({len(self)})"


def _rebuild(columns: dict[str, Any]) -> Fills:
    return Fills(**columns)


def _coded(values: Any, known: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Distinct texts, known ones first, and the place of each value among them."""
    place = {word: i for i, word in enumerate(known)}
    codes = [place.setdefault(str(v), len(place)) for v in values]
    return tuple(place), np.array(codes, dtype=np.int64)
