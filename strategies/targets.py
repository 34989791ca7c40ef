"""Targets that do not depend on the book, laid out for many dates at once.

A strategy with ``targets`` beside ``estimate`` and ``propose`` says that its weights
follow from the market alone. A backtest then takes all its decisions in one pass; the
result is that of asking it date by date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from engine._base import Value, check_labels, frozen_array
from engine.data.panel import _ENDED_AFTER, _SHUT_AFTER, PricePanel
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError, LookAheadError, UsageError
from engine.proposal import Proposal

_SUM_TOLERANCE = 1e-9


class Targets(NamedTuple):
    """Target weights at some dates.

    Attributes
    ----------
    labels : tuple of str, length L
        Assets and cash (``CASH:USD``).
    weights : (K, L) float64
        Fractions of net asset value; each row sums to one.
    """

    labels: tuple[str, ...]
    weights: np.ndarray


def holdable(
    panel: PricePanel, dates: np.ndarray, *, min_history: int = 1
) -> np.ndarray:
    """Whether each asset can be traded and is a member, as seen on each date.

    Row j is ``view.tradable(min_history=...) & view.members()`` of the view at
    ``dates[j]``; nothing later is read.

    Parameters
    ----------
    panel : PricePanel
    dates : (K,) datetime64[D]
        Sessions of the panel.
    min_history : int, default 1
        Prices an asset must have shown.

    Returns
    -------
    (K, N) bool
    """
    rows = np.searchsorted(panel.dates, dates)
    end = int(rows.max(initial=-1)) + 1
    valid = np.isfinite(panel.prices[:end])
    if valid.all() and panel.actions is None:
        out = np.broadcast_to(
            (rows + 1 >= min_history)[:, None], (rows.size, valid.shape[1])
        )
        out = out.copy()
    else:
        session = np.arange(end)[:, None]
        count = np.cumsum(valid, axis=0)
        last = np.maximum.accumulate(np.where(valid, session, -1), axis=0)
        gone = (session - last > _SHUT_AFTER) & (last >= 0)
        names = np.array(panel.universe.venue)
        for venue in set(panel.universe.venue):
            block = names == venue
            open_days = np.cumsum(valid[:, block].any(axis=1))
            since = open_days[:, None] - open_days[last[:, block]]
            gone[:, block] |= since > _ENDED_AFTER
        if panel.actions is not None:
            for ticker, day in panel.actions.last_dates().items():
                if ticker in panel.universe:
                    gone[panel.dates[:end] > day, panel.index(ticker)] = True
        out = ((count >= min_history) & (count > 0) & ~gone)[rows]
    if panel.membership is not None:
        out &= panel.membership.mask(dates, panel.tickers)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class TargetWeights(Value):
    """Trade to the weights of a table: your own signals, one row a decision.

    A row is used at the close of its date and must follow from what was known then;
    whether it does is the table's maker's affair. `backtests.backtest` wants decisions
    on dates of the table: pass ``schedule=strategy.dates``.

    Parameters
    ----------
    table : DataFrame, or (K, L) array with ``dates`` and ``labels``
        Weights of net asset value by date and label; short positions are negative. A
        column ``CASH:EUR`` is foreign cash; what a row leaves below one is
        base-currency cash. NaN is refused: zero sells.
    dates : (K,) dates, optional
        Strictly increasing.
    labels : sequence of str, optional
    budget : float, default 1
        Largest sum of a row, cash included; more than one borrows cash.
    untradable : {"raise", "cash"}
        What to do with the weight of an asset that cannot be traded at the date, or
        has left the membership: an error, or base-currency cash and a note.
    name : str

    Raises
    ------
    DataError
        Not numbers, a row over the budget, dates out of order; a decision on a date
        without a row, an unknown label, an asset that cannot be traded.
    LookAheadError
        A decision before the first row.
    """

    table: Any
    dates: Any = None
    labels: Any = None
    budget: float = 1.0
    untradable: Literal["raise", "cash"] = "raise"
    name: str = "target weights"

    def __post_init__(self) -> None:
        put = object.__setattr__
        table, dates, labels = self.table, self.dates, self.labels
        if hasattr(table, "columns"):
            dates = table.index if dates is None else dates
            labels = table.columns if labels is None else labels
            table = table.to_numpy()
        if dates is None or labels is None:
            raise UsageError(
                "a table of weights needs dates and labels",
                received="an array without them",
                fix="Pass a DataFrame, or dates= and labels=.",
            )
        labels = check_labels([str(v) for v in labels], name="target weights")
        days = _days(dates)
        weights = frozen_array(
            table,
            name="target weights",
            ndim=2,
            shape=(days.size, len(labels)),
            finite=False,
        )
        bad = ~np.isfinite(weights)
        if bad.any():
            j, i = (int(v) for v in np.argwhere(bad)[0])
            raise DataError(
                "a target weight is not a number",
                asset=labels[i],
                date=days[j],
                received=weights[j, i],
                fix="Give every weight; zero sells the position.",
            )
        if not (np.isfinite(self.budget) and self.budget > 0.0):
            raise UsageError("budget must be positive", received=self.budget)
        if self.untradable not in ("raise", "cash"):
            raise UsageError(
                "unknown treatment of what cannot be traded",
                received=repr(self.untradable),
                expected="raise or cash",
            )
        total = weights.sum(axis=1)
        over = total > self.budget + _SUM_TOLERANCE
        if over.any():
            j = int(np.argmax(over))
            raise DataError(
                "the target weights of a date exceed the budget",
                date=days[j],
                received=f"a sum of {total[j]:.6f}",
                expected=f"at most {self.budget:g}",
                fix="Scale the row, or pass budget= to borrow.",
            )
        put(self, "table", weights)
        put(self, "dates", days)
        put(self, "labels", labels)

    def estimate(self, view: MarketView) -> None:
        """Nothing needs estimating."""

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: None = None
    ) -> Proposal:
        """Propose the row of the view's date."""
        self._row(view.date)  # a date without a row is refused
        found = self._laid_out(view.panel, np.array([view.date]))
        assert found is not None
        labels, weights = found
        kept = dict(zip(labels, weights[0].tolist(), strict=True))
        mine = dict(zip(self.labels, self.table[self._row(view.date)], strict=True))
        waiting = {
            k: w
            for k, w in mine.items()
            if w != kept[k] and not k.startswith(CASH_PREFIX)
        }
        notes = tuple(
            f"{k} cannot be held: its {w:.2%} waits in cash" for k, w in waiting.items()
        )
        return Proposal.from_weights(portfolio, kept, notes=notes)

    def targets(self, panel: PricePanel, dates: np.ndarray) -> Targets | None:
        """Rows of ``dates``; None where `propose` would refuse one of them."""
        at = np.minimum(np.searchsorted(self.dates, dates), self.dates.size - 1)
        if (self.dates[at] != dates).any():
            return None
        return self._laid_out(panel, dates, strict=False)

    def _row(self, day: np.datetime64) -> int:
        at = int(np.searchsorted(self.dates, day))
        if at < self.dates.size and self.dates[at] == day:
            return at
        first, last = self.dates[0], self.dates[-1]
        if day < first:
            raise LookAheadError(
                "a decision before the first row of the target weights",
                date=day,
                expected=f"{first} or later",
                fix="Start the backtest at the first row.",
            )
        raise DataError(
            "the target weights have no row for a decision",
            date=day,
            received=f"rows from {first} to {last}",
            fix="Decide on the table's dates: schedule=strategy.dates, and end with "
            "its last row or later.",
        )

    def _laid_out(
        self, panel: PricePanel, dates: np.ndarray, *, strict: bool = True
    ) -> Targets | None:
        """Weights with base-currency cash last; None for a fault unless ``strict``."""
        rows = np.searchsorted(self.dates, dates)
        # Every row in order is the table itself, which is read-only.
        whole = np.array_equal(rows, np.arange(self.dates.size))
        weights = self.table if whole else self.table[rows]
        assets = [i for i, k in enumerate(self.labels) if not k.startswith(CASH_PREFIX)]
        try:
            at = [panel.index(self.labels[i]) for i in assets]
        except DataError:
            if strict:
                raise
            return None
        can = holdable(panel, dates)[:, at]
        stuck = (weights[:, assets] != 0.0) & ~can
        rest = 1.0 - weights.sum(axis=1)
        if stuck.any():
            if self.untradable == "raise":
                if not strict:
                    return None
                j, i = (int(v) for v in np.argwhere(stuck)[0])
                raise DataError(
                    "a target weight for an asset that cannot be traded",
                    asset=self.labels[assets[i]],
                    date=dates[j],
                    received=f"a weight of {weights[j, assets[i]]:.4%}",
                    fix="Set it to zero from its last date (or until its first), or "
                    "pass untradable='cash'.",
                )
            moved = np.where(stuck, weights[:, assets], 0.0)
            rest = rest + moved.sum(axis=1)
            weights = weights.copy()
            weights[:, assets] -= moved
        base = cash_label(panel.base_currency)
        if base in self.labels:
            weights = weights.copy()
            weights[:, self.labels.index(base)] += rest
            return Targets(self.labels, weights)
        return Targets((*self.labels, base), np.column_stack([weights, rest]))


def _days(dates: Any) -> np.ndarray:
    """(K,) read-only datetime64[D], checked to be days in order."""
    try:
        given = np.asarray(dates)
        if given.dtype.kind not in "M":
            given = np.array([str(d)[:10] for d in given], dtype="datetime64[D]")
        days = given.astype("datetime64[D]")
    except (TypeError, ValueError) as error:
        raise DataError(
            "the rows of the target weights are not dates", received=str(error)[:80]
        ) from error
    if days.ndim != 1 or not days.size or np.isnat(days).any():
        raise DataError("the target weights need a date for each row")
    if (given != days).any():
        raise DataError(
            "a row of the target weights has a time of day",
            date=days[int(np.argmax(given != days))],
            fix="Give bare dates: a row is used at its date's close.",
        )
    late = np.diff(days) <= np.timedelta64(0, "D")
    if late.any():
        j = int(np.argmax(late)) + 1
        raise DataError(
            "the dates of the target weights are not strictly increasing",
            date=days[j],
            received=f"{days[j]} after {days[j - 1]}",
        )
    return frozen_array(days, name="dates", ndim=1, dtype="datetime64[D]")
