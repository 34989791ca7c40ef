"""What part of a view a strategy estimates on: rolling or expanding, purged.

In a walk-forward nothing after the decision is ever seen, so purge and embargo cut the
end of the estimation data: outcomes of the last sessions may still run at the decision
(a label over h sessions needs ``purge=h``), and an embargo leaves out as many more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from engine.data.portfolio import Portfolio
from engine.data.view import MarketView
from engine.errors import DataError, UsageError
from engine.proposal import Proposal


@dataclass(frozen=True)
class Windowed:
    """A strategy that estimates on a part of what it is shown; it proposes on all.

    Parameters
    ----------
    strategy : Strategy
    window : int or "expanding", optional
        Put in place of the strategy's own ``window``, of those it wraps too.
    purge, embargo : int, default 0
        Sessions before the decision that the estimate does not see, together.
    min_history : int, optional
        Fewest prices in that part for each asset of the strategy's ``tickers``, or for
        each asset that is listed.
    """

    strategy: Any
    window: int | str | None = None
    purge: int = 0
    embargo: int = 0
    min_history: int | None = None
    name: str = ""

    # Proposals need the strategy itself; estimates of the same part may be shared.
    estimated_from = ("strategy", "window", "purge", "embargo", "min_history")

    def __post_init__(self) -> None:
        for name in ("purge", "embargo", "min_history"):
            value = getattr(self, name)
            if value is not None and not _whole(value, 0):
                raise UsageError(
                    f"{name} is a whole number of sessions, not negative",
                    received=repr(value),
                )
        if self.window is not None:
            if self.window != "expanding" and not _whole(self.window, 2):
                raise UsageError(
                    "unknown window",
                    received=repr(self.window),
                    expected="'expanding', or at least 2 sessions",
                )
            if not _has_window(self.strategy):
                raise UsageError(
                    "the strategy has no window to set",
                    received=getattr(self.strategy, "name", type(self.strategy)),
                    expected="a dataclass with a field 'window'",
                )
        if not self.name:
            object.__setattr__(self, "name", self.strategy.name)

    def estimate(self, view: MarketView) -> Any:
        """Estimate on the part; too short a history is an error naming the asset."""
        part = self.part(view)
        return self.at(part).estimate(part)

    def part(self, view: MarketView) -> MarketView:
        """The view without its last sessions.

        Raises
        ------
        DataError
            Nothing is left, or an asset has fewer than ``min_history`` prices.
        """
        cut = self.purge + self.embargo
        panel = view.panel
        if cut:
            alive = np.flatnonzero(np.isfinite(panel.prices).any(axis=1))
            if alive.size <= cut:
                raise DataError(
                    "purge and embargo leave no session to estimate on",
                    date=view.date,
                    received=f"{alive.size} sessions",
                    expected=f"more than {cut}",
                    fix="Start later.",
                )
            stop = int(alive[-1 - cut]) + 1
            panel = panel._rows(0, stop, content_hash=f"{panel.content_hash}[:{stop}]")
            view = replace(view, panel=panel)
        if self.min_history is not None:
            self._check_history(view)
        return view

    def at(self, part: MarketView) -> Any:
        """The strategy with the window that holds for this part."""
        if self.window is None:
            return self.strategy
        if self.window != "expanding":
            return _with_window(self.strategy, int(self.window))
        return _with_window(self.strategy, expanding_window(self.strategy, part))

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: Any = None
    ) -> Proposal:
        """Propose with the estimate of the part."""
        if estimate is None:
            estimate = self.estimate(view)
        return self.strategy.propose(view, portfolio, estimate)

    def _check_history(self, view: MarketView) -> None:
        wanted = tickers_of(self.strategy)
        listed = view.tradable()
        counts = np.isfinite(view.panel.prices).sum(axis=0)
        for i, ticker in enumerate(view.tickers):
            asked = listed[i] if wanted is None else ticker in wanted
            if asked and counts[i] < (self.min_history or 0):
                raise DataError(
                    "an asset has too short a history to be estimated on",
                    asset=ticker,
                    date=view.date,
                    received=f"{counts[i]} prices",
                    expected=f"{self.min_history} or more",
                    fix="Start later, leave the asset out, or lower min_history.",
                )


def windowed(
    strategy: Any,
    window: int | str | None,
    purge: int,
    embargo: int,
    min_history: int | None,
) -> Any:
    """The strategy itself where nothing is asked for.

    Raises
    ------
    UsageError
        Not a strategy: no name, no `estimate` or no `propose`.
    """
    lacks = [
        part
        for part in ("name", "estimate", "propose")
        if isinstance(strategy, type) or not hasattr(strategy, part)
    ]
    if lacks:
        raise UsageError(
            f"not a strategy: it has no {lacks[0]}",
            received=repr(strategy),
            expected="an object with name, estimate(view) and "
            "propose(view, portfolio, estimate)",
        )
    if window is None and min_history is None and purge == 0 and embargo == 0:
        return strategy
    return Windowed(strategy, window, purge, embargo, min_history)


def expanding_window(strategy: Any, view: MarketView) -> int:
    """Returns that every asset of the strategy has: the longest common window.

    Without ``tickers``, of the asset listed longest: the others are left out until
    their histories are as long, as with any window.
    """
    counts = np.isfinite(view.panel.prices).sum(axis=0)
    wanted = tickers_of(strategy)
    if wanted is None:
        most = int(counts[view.tradable()].max(initial=0)) - 1
    else:
        at = [view.panel.index(t) for t in wanted]
        least = min(at, key=lambda i: counts[i])
        most = int(counts[least]) - 1
        if most < 2:
            raise DataError(
                "an asset has too short a history to be estimated on",
                asset=view.tickers[least],
                date=view.date,
                received=f"{counts[least]} prices",
                expected="3 or more",
                fix="Start later, or leave the asset out.",
            )
    return max(2, most)


def tickers_of(strategy: Any) -> tuple[str, ...] | None:
    """Assets a strategy names, or the one it wraps; None for all."""
    found = getattr(strategy, "tickers", None)
    inner = getattr(strategy, "strategy", None)
    if found is None and inner is not None:
        return tickers_of(inner)
    return None if found is None else tuple(found)


def _whole(value: Any, least: int) -> bool:
    return (
        isinstance(value, (int, np.integer))
        and not isinstance(value, bool)
        and int(value) >= least
    )


def _has_window(strategy: Any) -> bool:
    if not is_dataclass(strategy):
        return False
    names = {f.name for f in fields(strategy)}
    return "window" in names or (
        "strategy" in names and _has_window(getattr(strategy, "strategy", None))
    )


def _with_window(strategy: Any, window: int) -> Any:
    names = {f.name for f in fields(strategy)}
    changes: dict[str, Any] = {"window": window} if "window" in names else {}
    if "strategy" in names and _has_window(strategy.strategy):
        changes["strategy"] = _with_window(strategy.strategy, window)
    return replace(strategy, **changes)
