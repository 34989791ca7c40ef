"""Equal weights: a benchmark hard to beat (DeMiguel, Garlappi, Uppal 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.errors import ModelError
from engine.proposal import Proposal
from strategies.targets import Targets, holdable


@dataclass(frozen=True)
class EqualWeight:
    """One over n in every asset that can be traded, nothing in cash.

    Parameters
    ----------
    tickers : tuple of str, optional
        Assets to hold; all of the panel by default.
    min_history : int, default 1
        Prices an asset must have shown before it is bought.
    name : str
    """

    tickers: tuple[str, ...] | None = None
    min_history: int = 1
    name: str = "equal weight"

    estimated_from = ("tickers",)

    def __post_init__(self) -> None:
        if self.tickers is not None:
            object.__setattr__(self, "tickers", tuple(self.tickers))

    def estimate(self, view: MarketView) -> None:
        """Nothing needs estimating."""

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: None = None
    ) -> Proposal:
        """Equal weights over `MarketView.tradable` members.

        Raises
        ------
        ModelError
            No asset can be traded.
        """
        chosen = view.tradable(min_history=self.min_history) & view.members()
        if self.tickers is not None:
            mine = np.zeros(chosen.size, dtype=bool)
            mine[[view.panel.index(t) for t in self.tickers]] = True
            chosen &= mine
        n = int(chosen.sum())
        if not n:
            raise ModelError(
                "no asset can be traded",
                date=view.date,
                expected=f"{self.min_history} prices of at least one asset",
                fix="Start later, or lower min_history.",
            )
        weights = {view.tickers[i]: 1.0 / n for i in np.flatnonzero(chosen)}
        return Proposal.from_weights(portfolio, weights)

    def targets(self, panel: PricePanel, dates: np.ndarray) -> Targets | None:
        """What `propose` wants on many dates; None where it would fail on one."""
        chosen = holdable(panel, dates, min_history=self.min_history)
        if self.tickers is not None:
            if not all(t in panel.universe for t in self.tickers):
                return None
            mine = np.zeros(chosen.shape[1], dtype=bool)
            mine[[panel.index(t) for t in self.tickers]] = True
            chosen &= mine
        n = chosen.sum(axis=1)
        if not n.all():
            return None
        return Targets(panel.tickers, np.where(chosen, (1.0 / n)[:, None], 0.0))
