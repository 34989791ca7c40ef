"""What a strategy decided: one record a decision, or a table that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from backtests.clock import Market
from backtests.ledger import book_of
from engine.data.panel import PricePanel
from engine.proposal import Outcome, Proposal


class Decision(NamedTuple):
    """What a strategy decided at one session.

    Attributes
    ----------
    date : datetime64[D]
    outcome : str
        Name of an `engine.proposal.Outcome`.
    message : str
        The outcome in a sentence, or why nothing was traded.
    turnover : float
        Proposed: half the sum of absolute weight changes, cash included.
    proposal : Proposal or None
        None where the strategy could not propose and the book was held.
    """

    date: np.datetime64
    outcome: str
    message: str
    turnover: float
    proposal: Proposal | None


class PlannedDecisions(Sequence[Decision]):
    """Decisions of a strategy whose targets were laid out in advance.

    Each `Decision` is made when it is asked for, by the strategy itself, for the book
    that it met and from the view of its date; it is then kept.

    Attributes
    ----------
    dates : (K,) datetime64[D]
    turnover : (K,) float64
        Proposed, as in `Decision`.
    """

    def __init__(
        self,
        strategy: Any,
        panel: PricePanel,
        market: Market,
        *,
        dates: np.ndarray,
        sessions: np.ndarray,
        units: np.ndarray,
        basis: np.ndarray,
        cash: np.ndarray,
        turnover: np.ndarray,
        tax_rate: np.ndarray,
        hindsight_parameters: bool,
    ) -> None:
        self.dates, self.turnover = dates, turnover
        self._strategy, self._panel, self._market = strategy, panel, market
        self._sessions, self._tax_rate = sessions, tax_rate
        self._units, self._basis, self._cash = units, basis, cash
        self._hindsight = hindsight_parameters
        self._made: dict[int, Decision] = {}

    def __len__(self) -> int:
        return self.dates.size

    @overload
    def __getitem__(self, at: int) -> Decision: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Decision, ...]: ...
    def __getitem__(self, at: Any) -> Any:
        """One decision, or a tuple of them."""
        if isinstance(at, slice):
            return tuple(self._at(j) for j in range(*at.indices(len(self))))
        j = range(len(self))[at]
        return self._at(j)

    def _at(self, j: int) -> Decision:
        if j not in self._made:
            view = self._panel.as_of(
                self.dates[j], hindsight_parameters=self._hindsight
            )
            book = book_of(
                self._market,
                int(self._sessions[j]),
                self._units[j],
                self._basis[j],
                self._tax_rate,
                float(self._cash[j]),
                self._panel.base_currency,
            )
            proposal = self._strategy.propose(view, book, self._strategy.estimate(view))
            self._made[j] = Decision(
                self.dates[j],
                Outcome.RULE.name,
                Outcome.RULE.value,
                float(self.turnover[j]),
                proposal,
            )
        return self._made[j]

    def to_frame(self):
        """Return decisions as a table, without their proposals."""
        import pandas as pd

        return pd.DataFrame(
            {
                "date": self.dates.astype("datetime64[ns]"),
                "outcome": Outcome.RULE.name,
                "turnover": self.turnover,
                "message": Outcome.RULE.value,
            }
        )

    def __repr__(self) -> str:
        return f"PlannedDecisions({len(self)})"
