"""What of a panel was visible at a moment: the rows, and the cells of the last ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data._images import image
from engine.data.calendars import closing_times
from engine.data.venues import close_utc

if TYPE_CHECKING:
    from engine.data.panel import PricePanel

_TABLES = ("prices", "open", "volume")


def visible(panel: PricePanel, moment: np.datetime64, *, bare: bool) -> PricePanel:
    """Panel of what was known at ``moment``; a bare date means after all its closes.

    Closing times are those of the venues' calendars, half-days and the panel's own
    calendar overrides included. Memory is shared with ``panel``; only the pages of
    rows on which some venue had closed and another had not are the view's own.
    Corporate actions and memberships are cut to what was known.
    """
    day = moment.astype("datetime64[D]")
    k = int(np.searchsorted(panel.dates, day, side="right"))
    changes: dict[str, Any] = {
        "content_hash": f"{panel.content_hash}@{moment}",
        "actions": None if panel.actions is None else panel.actions.dated_until(day),
        "membership": None if panel.membership is None else panel.membership.as_of(day),
    }
    if bare:
        return panel._rows(0, k, **changes)
    first = max(0, k - 2)
    hidden = _hidden(panel, first, k, moment)
    unseen = hidden.all(axis=1)
    if unseen.any():  # rows with nothing to show go first
        k = first + int(np.argmax(unseen))
        hidden = hidden[: k - first]
    if hidden.any():
        for name in _TABLES:
            values = getattr(panel, name)
            if values is not None:
                values = image(values, k)
                values[first:][hidden] = np.nan
                changes[name] = values
    # Rates of the day before stand in until the fixing, or, for cash, until the day is
    # over everywhere: when a rate was published is not known.
    tail = panel.dates[first:k]
    for name, known in (
        ("fx", close_utc("FX", tail)),
        ("cash_rates", (tail + np.timedelta64(1, "D")).astype("datetime64[m]")),
    ):
        values = getattr(panel, name)
        if values.size and (known > moment).any():
            values = image(values, k)
            for r in first + np.flatnonzero(known > moment):
                values[r] = values[r - 1] if r > 0 else np.nan
            changes[name] = values
    for array in changes.values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return panel._rows(0, k, **changes)


def _hidden(
    panel: PricePanel, first: int, stop: int, moment: np.datetime64
) -> np.ndarray:
    """(stop - first, N) bool: cells whose venue had not closed at ``moment``."""
    tail = panel.dates[first:stop]
    hidden = np.zeros((tail.size, len(panel.tickers)), dtype=bool)
    names = np.array(panel.universe.venue)
    for venue in set(panel.universe.venue):
        late = closing_times(venue, tail, panel.overrides) > moment
        hidden[np.ix_(late, names == venue)] = True
    return hidden
