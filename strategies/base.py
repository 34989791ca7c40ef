"""The `Strategy` contract: `estimate` sees the market, `propose` sees the book too.

`estimate` is pure and knows no portfolio, so that a backtester may run it for all dates
in parallel, and once for runs that differ only in what they propose: a dataclass may
name in ``estimated_from`` the fields that `estimate` reads (all count otherwise).
Notebook, "what should I trade today" and backtest call the same two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.proposal import Proposal

if TYPE_CHECKING:
    from engine.data.panel import PricePanel
    from strategies.targets import Targets


@runtime_checkable
class Strategy(Protocol):
    """What a backtester and a notebook both call."""

    name: str

    def estimate(self, view: MarketView) -> Any:
        """Estimate from what was known; must not depend on any portfolio."""
        ...

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: Any = None
    ) -> Proposal:
        """Propose a target for the book at the time of the view."""
        ...


@runtime_checkable
class BookIndependent(Strategy, Protocol):
    """A strategy whose targets follow from the market alone, whatever the book."""

    def targets(self, panel: PricePanel, dates: np.ndarray) -> Targets | None:
        """Weights at many dates at once; None: ask date by date.

        Row j must be what ``propose`` wants, for any book, of the view at ``dates[j]``.
        It may read of ``panel`` only what ``panel.as_of(dates[j])`` shows; a backtest
        compares some rows with what they are when the future is hidden, and refuses
        the strategy if they differ. A class that overrides ``propose`` or ``estimate``
        without ``targets`` is asked date by date.
        """
        ...
