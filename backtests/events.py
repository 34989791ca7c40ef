"""Corporate actions on the sessions of a run: what happens to a position, and when.

A split or a distribution meets the holder at the asset's own first price on or after
its date; a merger or a delisting at the first session after the share's last date.
Total-return prices hold splits and distributions already, split-adjusted prices the
splits, so that each is booked exactly once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.data.actions import DISTRIBUTIONS
from engine.data.panel import PricePanel
from engine.errors import DataError


class Split(NamedTuple):
    """New shares for one old share of column ``i``."""

    i: int
    ratio: float


class Distribution(NamedTuple):
    """Cash per share of column ``i``, in its quote currency, after any split."""

    i: int
    cash: float


class Exit(NamedTuple):
    """The end of a share: cash and acquirer's shares for each.

    Attributes
    ----------
    i, acquirer : int
        Columns; ``acquirer`` is -1 where no shares are paid.
    kind : {"merger", "delisting"}
    cash : float
        Quote currency; NaN where the terminal value is not known.
    ratio : float
        Acquirer's shares for one; zero for cash alone.
    """

    i: int
    acquirer: int
    kind: str
    cash: float
    ratio: float


class SessionEvents(NamedTuple):
    """What happens at the start of one session, in the order it is booked."""

    splits: tuple[Split, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    exits: tuple[Exit, ...] = ()


NOTHING = SessionEvents()


def session_events(
    panel: PricePanel, rows: np.ndarray, dates: np.ndarray
) -> dict[int, SessionEvents]:
    """Events of each session that has any, by its number in the run.

    Parameters
    ----------
    panel : PricePanel
    rows : (T,) int64
        Row of the panel of each session; the first session books nothing: the book is
        what was held at its close.
    dates : (T,) datetime64[D]

    Raises
    ------
    DataError
        A distribution in another currency than its share.
    """
    actions = panel.actions
    if actions is None or panel.price_basis == "total_return":
        kinds: tuple[str, ...] = ()
    elif panel.price_basis == "raw":
        kinds = ("split", *DISTRIBUTIONS)
    else:
        kinds = DISTRIBUTIONS
    found: dict[int, tuple[list, list, list]] = {}
    if actions is None:
        return {}
    later = actions.later_splits(actions.other_ticker, ("merger",))
    for e, (ticker, kind) in enumerate(zip(actions.ticker, actions.kind, strict=True)):
        if ticker not in panel.universe:
            continue
        i, day = panel.index(ticker), actions.date[e]
        if kind in ("merger", "delisting"):
            k = int(np.searchsorted(dates, day, side="right"))
            if 0 < k < dates.size:
                item = _exit(panel, e, i, later[e])
                found.setdefault(k, ([], [], []))[2].append(item)
            continue
        if kind not in kinds:
            continue
        row = _next_price(panel, i, day)
        k = int(np.searchsorted(rows, row))
        if row < 0 or not 0 < k < rows.size or rows[k] != row:
            continue
        if kind == "split":
            found.setdefault(k, ([], [], []))[0].append(
                Split(i, float(actions.value[e]))
            )
            continue
        _check_currency(panel, e, i)
        found.setdefault(k, ([], [], []))[1].append(
            Distribution(i, float(actions.value[e]))
        )
    return {k: SessionEvents(*map(tuple, parts)) for k, parts in found.items()}


def _next_price(panel: PricePanel, i: int, day: np.datetime64) -> int:
    """Row of the asset's first price on or after ``day``; -1 without one before."""
    priced = np.flatnonzero(np.isfinite(panel.prices[:, i]))
    at = int(np.searchsorted(panel.dates[priced], day))
    return int(priced[at]) if 0 < at < priced.size else -1


def _exit(panel: PricePanel, e: int, i: int, later: float) -> Exit:
    actions = panel.actions
    assert actions is not None
    kind, other = actions.kind[e], actions.other_ticker[e]
    cash, ratio = float(actions.value[e]), float(actions.ratio[e])
    if kind == "delisting" or not np.isfinite(ratio):
        return Exit(i, -1, kind, cash, 0.0)
    acquirer = panel.index(other) if other in panel.universe else -1
    if panel.price_basis == "split_adjusted":
        ratio *= later  # in shares of the last date, as the prices are
    return Exit(i, acquirer, kind, float(np.nan_to_num(cash)), ratio)


def _check_currency(panel: PricePanel, e: int, i: int) -> None:
    actions = panel.actions
    assert actions is not None
    code, quote = actions.currency[e], panel.universe.quote_currency[i]
    if code and code != quote:
        raise DataError(
            "a distribution is in another currency than the price",
            asset=actions.ticker[e],
            date=actions.date[e],
            received=code,
            expected=quote,
        )
