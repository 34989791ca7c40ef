"""`diff`: two backtests side by side, from where they came to where they part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backtests._sharpe_difference import SharpeDifference, sharpe_difference
from backtests.ledger import COLUMNS
from backtests.result import BacktestResult, Decision
from engine._base import Value
from engine.errors import DataError, UsageError

_LEAST_APART = 10
"""Sessions on which two records must differ before their ratios are tested."""


class Parting(NamedTuple):
    """Where one series of two ledgers differs.

    Attributes
    ----------
    what : str
        A column of the ledger, or ``units of TICKER``.
    date : str
        First session on which it differs; the largest gap may come later.
    first, second : float
        The values there.
    largest, largest_date : float, str
        Largest absolute difference, and its session.
    """

    what: str
    date: str
    first: float
    second: float
    largest: float
    largest_date: str


class Changed(NamedTuple):
    """One fact of two results: None where a result has nothing of the kind."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True, eq=False)
class ResultDifference(Value):
    """What differs between two backtests.

    Attributes
    ----------
    names : (str, str)
    identical : bool
        Every number, fill and decision is the same bit for bit. Provenance may
        differ: `provenance` says so.
    provenance : tuple of Changed
        Strategy, data, settings, versions, dates: those that differ.
    metrics : tuple of Changed
        All key figures, side by side.
    sharpe : SharpeDifference or None
        Test that the two Sharpe ratios over cash are equal on the common dates, by the
        studentised block bootstrap of Ledoit and Wolf (2008).
    sharpe_note : str
        Why there is no test; empty where there is one.
    common : (str, str, int)
        First and last common session, and their number.
    ledger : tuple of Parting
        Series that differ on common dates, the earliest first.
    decisions, fills : tuple of Changed
        By date (and asset); what each result did, as a mapping.
    """

    names: tuple[str, str]
    identical: bool
    provenance: tuple[Changed, ...]
    metrics: tuple[Changed, ...]
    sharpe: SharpeDifference | None
    sharpe_note: str
    common: tuple[str, str, int]
    ledger: tuple[Parting, ...]
    decisions: tuple[Changed, ...]
    fills: tuple[Changed, ...]

    @property
    def parted(self) -> str:
        """First date on which the ledgers differ; empty where they do not."""
        return self.ledger[0].date if self.ledger else ""

    def headline(self) -> str:
        """The answer in a sentence."""
        if self.identical and not self.provenance:
            return "identical: every number, fill, decision and setting is the same"
        if self.identical:
            what = ", ".join(c.what for c in self.provenance)
            return (
                f"identical numbers, fills and decisions; the origin differs ({what})"
            )
        if self.parted:
            worst = next((p for p in self.ledger if p.what == "value"), self.ledger[0])
            return (
                f"different: the ledgers part on {self.parted}, first in "
                f"{self.ledger[0].what}; the largest gap of {worst.what} is "
                f"{worst.largest:,.6g} on {worst.largest_date}"
            )
        if self.common[2] == 0:
            return "different: the two have no date in common"
        return "different, but not in a ledger on the common dates"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "names": list(self.names),
            "headline": self.headline(),
            "identical": self.identical,
            "provenance": [c._asdict() for c in self.provenance],
            "metrics": [
                c._asdict() | {"difference": _gap(c.first, c.second)}
                for c in self.metrics
            ],
            "sharpe": None if self.sharpe is None else self.sharpe._asdict(),
            "sharpe_note": self.sharpe_note,
            "common": {
                "start": self.common[0], "end": self.common[1],
                "sessions": self.common[2],
            },
            "parted": self.parted or None,
            "ledger": [p._asdict() for p in self.ledger],
            "decisions": [c._asdict() for c in self.decisions],
            "fills": [c._asdict() for c in self.fills],
        }  # fmt: skip

    def __repr__(self) -> str:
        first, second = self.names
        return f"ResultDifference({first} | {second}: {self.headline()})"


def diff(a: Any, b: Any) -> ResultDifference:
    """Compare two backtests.

    Parameters
    ----------
    a, b : BacktestResult or path
        Results, or folders that `BacktestResult.write` wrote.

    Returns
    -------
    ResultDifference
        Its ``headline()`` says where they part; ``identical`` is exact.

    Raises
    ------
    DataError
        A folder holds no result, or a damaged one.

    Notes
    -----
    Differences of metrics are second less first. Ledgers are compared bit for bit on
    the sessions they share; NaN equals NaN.
    """
    first, second = _read(a), _read(b)
    rows = np.intersect1d(first.dates, second.dates, return_indices=True)
    common: tuple[str, str, int] = ("", "", 0)
    if rows[0].size:
        common = (str(rows[0][0]), str(rows[0][-1]), int(rows[0].size))
    test, note = _sharpe_test(first, second, rows[1], rows[2])
    return ResultDifference(
        names=(first.name, second.name),
        identical=_identical(first, second),
        provenance=tuple(_origins(first, second)),
        metrics=tuple(_figures(first, second)),
        sharpe=test,
        sharpe_note=note,
        common=common,
        ledger=tuple(_partings(first, second, *rows)),
        decisions=tuple(_by_key(_decisions(first), _decisions(second))),
        fills=tuple(_by_key(_fills(first), _fills(second))),
    )


def _read(source: Any) -> BacktestResult:
    if isinstance(source, BacktestResult):
        return source
    if not isinstance(source, (str, Path)):
        raise UsageError(
            "diff compares results or their folders", received=type(source).__name__
        )
    return BacktestResult.read(source)


def _same(x: Any, y: Any) -> bool:
    """Equal, NaN to NaN, arrays bit for bit but for the sign of zero."""
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        x, y = np.asarray(x), np.asarray(y)
        return x.shape == y.shape and np.array_equal(
            x, y, equal_nan=x.dtype.kind == "f"
        )
    if isinstance(x, float) and isinstance(y, float):
        return x == y or (math.isnan(x) and math.isnan(y))
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(map(_same, x, y))
    if isinstance(x, Mapping) and isinstance(y, Mapping):
        return x.keys() == y.keys() and all(_same(x[k], y[k]) for k in x)
    return bool(x == y)


def _identical(a: BacktestResult, b: BacktestResult) -> bool:
    plain = ("labels", "base_currency", "initial_value", "periods_per_year")
    arrays = ("dates", "units", "money", *COLUMNS)
    return (
        all(_same(getattr(a, n), getattr(b, n)) for n in (*plain, *arrays))
        and _same(tuple(map(tuple, a.fills)), tuple(map(tuple, b.fills)))
        and len(a.decisions) == len(b.decisions)
        and all(map(_same_decision, a.decisions, b.decisions))
    )


def _same_decision(x: Decision, y: Decision) -> bool:
    if not _same(tuple(x[:4]), tuple(y[:4])):
        return False
    if x.proposal is None or y.proposal is None:
        return x.proposal is y.proposal
    return x.proposal.labels == y.proposal.labels and _same(
        x.proposal.target, y.proposal.target
    )


def _flat(record: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{above}{key}.")
        else:
            out[f"{above}{key}"] = value
    return out


def _origins(a: BacktestResult, b: BacktestResult) -> list[Changed]:
    """Provenance entries that differ, and what else a result says of itself."""

    def said(r: BacktestResult) -> dict[str, Any]:
        return {
            "name": r.name,
            "start": str(r.dates[0]),
            "end": str(r.dates[-1]),
            "labels": ", ".join(r.labels),
            "base_currency": r.base_currency,
            "initial_value": r.initial_value,
            "stamps": "; ".join(r.stamps),
            **_flat(r.provenance),
        }

    x, y = said(a), said(b)
    keys = dict.fromkeys([*x, *y])
    return [
        Changed(k, x.get(k), y.get(k))
        for k in keys
        if not _same(x.get(k), y.get(k))
        and not (k == "settings.start" or k == "settings.end")
    ]


def _figures(a: BacktestResult, b: BacktestResult) -> list[Changed]:
    x, y = a.metrics(), b.metrics()
    return [
        Changed(k, _plain(x.get(k)), _plain(y.get(k))) for k in dict.fromkeys([*x, *y])
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    return value.item() if isinstance(value, np.generic) else value


def _gap(x: Any, y: Any) -> float | None:
    numbers = (int, float)
    if isinstance(x, numbers) and isinstance(y, numbers):
        return float(y - x)
    return None


def _sharpe_test(
    a: BacktestResult, b: BacktestResult, i: np.ndarray, j: np.ndarray
) -> tuple[SharpeDifference | None, str]:
    """Ledoit-Wolf test on the common dates, where both have returns between them."""
    x, y = _excess(a, i), _excess(b, j)
    apart = int(np.sum(x != y))
    if 0 < apart < _LEAST_APART:
        return None, f"the returns differ on {apart} of {x.size} sessions only"
    try:
        # A resample may miss every session on which the two differ: its error is zero
        # and its statistic infinite, which errs on the side of no difference.
        with np.errstate(divide="ignore"):
            found = sharpe_difference(x, y, periods_per_year=a.periods_per_year)
    except DataError as error:
        return None, error.problem
    if not np.isfinite(found[2:7]).all():
        return None, f"the returns differ on {apart} of {x.size} sessions only"
    return found, ""


def _excess(r: BacktestResult, rows: np.ndarray) -> np.ndarray:
    """Returns over cash between consecutive common sessions."""
    if rows.size < 2:
        return np.empty(0)
    value = r.value[rows]
    cash = np.concatenate([[1.0], np.cumprod(1.0 + r.cash_return[1:])])[rows]
    return value[1:] / value[:-1] - cash[1:] / cash[:-1]


def _partings(
    a: BacktestResult,
    b: BacktestResult,
    dates: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
) -> list[Parting]:
    """Series that differ on common dates, the earliest first."""
    if not dates.size:
        return []
    pairs = [(name, getattr(a, name)[i], getattr(b, name)[j]) for name in COLUMNS]
    nothing = np.zeros(dates.size)
    for label in dict.fromkeys([*a.labels, *b.labels]):
        x = a.units[i, a.labels.index(label)] if label in a.labels else nothing
        y = b.units[j, b.labels.index(label)] if label in b.labels else nothing
        pairs.append((f"units of {label}", x, y))
    out = []
    for name, x, y in pairs:
        differs = (x != y) & ~(np.isnan(x) & np.isnan(y))
        if not differs.any():
            continue
        k = int(np.argmax(differs))
        gap = np.where(differs, np.abs(x - y), 0.0)
        gap[np.isnan(gap)] = np.inf
        most = int(np.argmax(gap))
        out.append(
            Parting(
                name,
                str(dates[k]),
                float(x[k]),
                float(y[k]),
                float(gap[most]),
                str(dates[most]),
            )
        )
    return sorted(out, key=lambda p: p.date)


def _by_key(x: dict[str, Any], y: dict[str, Any]) -> list[Changed]:
    keys = sorted(set(x) | set(y))
    return [
        Changed(k, x.get(k), y.get(k)) for k in keys if not _same(x.get(k), y.get(k))
    ]


def _decisions(r: BacktestResult) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for d in r.decisions:
        record: dict[str, Any] = {"outcome": d.outcome, "turnover": d.turnover}
        if d.proposal is None:
            record["message"] = d.message
        else:
            held = zip(d.proposal.labels, d.proposal.target.tolist(), strict=True)
            record["target"] = {k: w for k, w in held if w}
        out[str(d.date)] = record
    return out


def _fills(r: BacktestResult) -> dict[str, Any]:
    """Executions and cancelled orders; several of a day and asset are numbered."""
    out: dict[str, Any] = {}
    for f in r.fills:
        record = f._asdict()
        record["decided"] = str(f.decided)
        key = f"{record.pop('date')} {record.pop('ticker')}"
        n, name = 2, key
        while name in out:
            name, n = f"{key} ({n})", n + 1
        out[name] = record
    return out
