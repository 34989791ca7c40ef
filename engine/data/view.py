"""Everything known at one moment, as a strategy sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine._base import Value
from engine.data.panel import PricePanel, Status
from engine.data.universe import Universe
from engine.errors import LookAheadError


@dataclass(frozen=True, slots=True, eq=False)
class MarketView(Value):
    """What was known at ``time``; made by `PricePanel.as_of`.

    Attributes
    ----------
    time : datetime64[m]
        UTC.
    panel : PricePanel
        Closes at or before ``time`` only.
    hindsight_parameters : bool
        Whether undated roles and hypothetical shocks may be used at this date.
    """

    time: np.datetime64
    panel: PricePanel
    hindsight_parameters: bool = False

    @property
    def date(self) -> np.datetime64:
        """Last session date with a visible close."""
        return self.panel.dates[-1]

    @property
    def tickers(self) -> tuple[str, ...]:
        """All tickers of the panel, listed or not."""
        return self.panel.tickers

    @property
    def universe(self) -> Universe:
        """Labels of the assets, whatever date they became known."""
        return self.panel.universe

    def roles(self) -> tuple[str, ...]:
        """Role of each asset as known at this time.

        A role dated later than ``time`` reads ``unknown``. Undated roles need
        ``hindsight_parameters``, unless the view is of the panel's latest knowledge
        and the caller asked for it through `PricePanel.as_of` with that flag.

        Raises
        ------
        LookAheadError
            Roles are undated and hindsight was not admitted.
        """
        known_from = self.universe.role_known_from
        dated = ~np.isnat(known_from)
        has_role = np.array(
            [r not in ("unknown", "none") for r in self.universe.role], dtype=bool
        )
        undated = has_role & ~dated
        if undated.any() and not self.hindsight_parameters:
            i = int(np.argmax(undated))
            raise LookAheadError(
                "an undated AI role was used at a past date",
                asset=self.tickers[i],
                date=self.date,
                fix="Give role_known_from in the universe, or admit it with "
                "hindsight_parameters=True (the output is stamped).",
            )
        return self.universe.known_at(
            self.time, hindsight=self.hindsight_parameters
        ).role

    def members(self) -> np.ndarray:
        """(N,) bool: belongs to the panel's membership now; all without one."""
        if self.panel.membership is None:
            return np.ones(len(self.tickers), dtype=bool)
        return self.panel.membership.mask(self._day(), self.tickers)[0]

    def ever_members(self) -> np.ndarray:
        """(N,) bool: belongs or has belonged to the membership; all without one."""
        if self.panel.membership is None:
            return np.ones(len(self.tickers), dtype=bool)
        seen = set(self.panel.membership.ticker)
        return np.array([t in seen for t in self.tickers], dtype=bool)

    def _day(self) -> np.ndarray:
        return np.array([self.time], dtype="datetime64[D]")

    def tradable(self, *, min_history: int = 1) -> np.ndarray:
        """(N,) bool: listed now, with at least ``min_history`` prices so far."""
        counts = np.isfinite(self.panel.prices).sum(axis=0)
        last = self.panel.status()[-1]
        gone = (last == Status.DELISTED) | (last == Status.UNLISTED)
        return (counts >= min_history) & ~gone

    def __repr__(self) -> str:
        mark = ", hindsight parameters" if self.hindsight_parameters else ""
        return f"MarketView({self.time} UTC, {self.panel!r}{mark})"
