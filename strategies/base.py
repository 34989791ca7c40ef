"""The `Strategy` contract: `estimate` sees the market, `propose` sees the book too.

`estimate` is pure and knows no portfolio, so that a backtester may run it for all dates
in parallel, and once for runs that differ only in what they propose: a dataclass may
name in ``estimated_from`` the fields that `estimate` reads (all count otherwise).
Notebook, "what should I trade today" and backtest call the same two.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.proposal import Proposal


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
