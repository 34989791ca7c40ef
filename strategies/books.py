"""Books that a dated rule names, so that no hindsight picks the names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from engine.data.view import MarketView
from engine.errors import DataError, UsageError


@runtime_checkable
class DatedBook(Protocol):
    """A rule that names the weights of a book at the time of a view."""

    def at(self, view: MarketView) -> dict[str, float]:
        """Weights of risky assets; what they leave below one is cash."""
        ...


Book = Mapping[str, float] | DatedBook


@dataclass(frozen=True)
class LargestByDollarVolume:
    """Equal weights in the names that traded most money over the past year.

    Parameters
    ----------
    tickers : sequence of str
        Names the rule chooses from.
    n : int, default 15
    window : int, default 252
        Sessions, ending with the last close of the year before the view's: the names
        change once a year, with what was known then.

    Notes
    -----
    Dollar volume is close times volume, summed over the window; both must be adjusted
    for the same splits. Names without a full window are not ranked. A panel that holds
    only names that survived flatters every rule that chooses from it.
    """

    tickers: Sequence[str]
    n: int = 15
    window: int = 252

    def __post_init__(self) -> None:
        object.__setattr__(self, "tickers", tuple(self.tickers))
        if self.n < 1 or self.window < 1:
            raise UsageError(
                "n and window are one or more", received=f"{self.n}, {self.window}"
            )

    def at(self, view: MarketView) -> dict[str, float]:
        """Names and equal weights at the time of the view."""
        panel = view.panel
        if panel.volume is None:
            raise DataError(
                "a rule by dollar volume needs volumes",
                date=view.date,
                fix="Load prices with a volume column.",
            )
        new_year = np.datetime64(str(view.date)[:4] + "-01-01", "D")
        last = int(np.searchsorted(panel.dates, new_year))
        rows = slice(max(0, last - self.window), last)
        at = [panel.index(t) for t in self.tickers]
        money = panel.prices[rows][:, at] * panel.volume[rows][:, at]
        full = (np.isfinite(money).sum(axis=0) == self.window) & (
            money.shape[0] == self.window
        )
        if full.sum() < self.n:
            raise DataError(
                "too few names have a full window of volume",
                date=view.date,
                received=f"{int(full.sum())} names",
                expected=f"{self.n}",
                fix="Start later, shorten the window, or lower n.",
            )
        total = np.where(full, np.nansum(money, axis=0), -np.inf)
        best = np.argsort(-total, kind="stable")[: self.n]
        names: tuple[str, ...] = tuple(self.tickers)
        return {names[i]: 1.0 / self.n for i in sorted(best.tolist())}


def weights_at(book: Any, view: MarketView) -> Mapping[str, float]:
    """Weights of a fixed or dated book."""
    return book.at(view) if isinstance(book, DatedBook) else book
