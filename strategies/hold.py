"""Buy once, then let the weights drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.data.portfolio import CASH_PREFIX, Portfolio
from engine.data.view import MarketView
from engine.proposal import Outcome, Proposal


@dataclass(frozen=True)
class Hold:
    """Buy the given weights once, or keep the book as it is, and never trade again.

    A strategy has no memory, so whether it has bought is read off the book: it buys
    when the book holds none of ``weights``, or holds something else. A book that
    already holds only assets of ``weights`` is kept, whatever its proportions.

    Parameters
    ----------
    weights : mapping or sequence of (label, weight), optional
        Fractions of net asset value summing to one, cash (``CASH:USD``) included;
        None keeps the initial book.
    name : str
    """

    weights: Mapping[str, float] | tuple[tuple[str, float], ...] | None = None
    name: str = "hold"

    estimated_from = ()

    def __post_init__(self) -> None:
        if self.weights is not None:
            # Pairs in a tuple: nobody can change the mapping of a frozen strategy.
            pairs = tuple((str(k), float(v)) for k, v in dict(self.weights).items())
            object.__setattr__(self, "weights", pairs)

    def estimate(self, view: MarketView) -> None:
        """Nothing needs estimating."""

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: None = None
    ) -> Proposal:
        """Buy, or leave everything alone."""
        if self.weights is not None:
            target = dict(self.weights)
            wanted = {
                k for k, w in target.items() if w and not k.startswith(CASH_PREFIX)
            }
            held = {
                k for k, u in zip(portfolio.assets, portfolio.units, strict=True) if u
            }
            if (wanted and not held & wanted) or held - wanted:
                return Proposal.from_weights(portfolio, target)
        return Proposal(
            labels=portfolio.labels,
            current=portfolio.weights,
            target=portfolio.weights,
            value=portfolio.value,
            outcome=Outcome.NO_TRADE,
        )
