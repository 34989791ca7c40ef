"""Shocks that are found where they are used: on prices, or on a book and its model.

Such a shock has a method ``resolve(market, weights, model)`` that returns the shock
found with what it is given, or itself where that is too little. Everything that takes
shocks calls `resolved` first; a shock without the method is returned as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine.errors import UsageError
from engine.shocks._kinds_tables import placed
from engine.shocks._kinds_written import Written
from engine.shocks._library import library
from engine.shocks._replay import Replay, replay
from engine.shocks._worst_case import PlausibleShock, most_plausible, worst_case
from engine.shocks.moves import UNDATED, ShockMoves


def resolved(
    shock: Any, *, market: Any = None, weights: Any = None, model: Any = None
) -> Any:
    """Return the shock itself, or what it is for these prices, this book and model.

    Parameters
    ----------
    shock : Shock or Reweighting
    market : PricePanel or MarketView, optional
        Own history of a replay.
    weights : Portfolio, mapping or (N + 1,) array_like, optional
        The book whose worst case or reverse stress is sought: fractions of net assets
        of the model's assets, then base-currency cash.
    model : ReturnModel, optional
        The law that is searched.

    Returns
    -------
    Shock or Reweighting
    """
    resolve = getattr(shock, "resolve", None)
    if resolve is None:
        return shock
    return resolve(market=market, weights=weights, model=model)


def parts_of(shock: Any) -> list[Any]:
    """A shock, and the shocks of its states where it is a mixture."""
    inner = getattr(shock, "shocks", None)
    parts = [] if inner is None else [s for s in inner if s is not None]
    return [shock, *{id(s): s for s in parts}.values()]


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeReplay(Written, Value):
    """A dated episode, or a window of dates, replayed on the prices it is given.

    Attributes
    ----------
    episode : str
        Name in `engine.shocks.library`; empty for a window.
    window : (start, end) of datetime64[D], or None
    name, source, note : str
    where : str
        Place in a file, for messages.
    """

    episode: str
    window: tuple[np.datetime64, np.datetime64] | None = None
    name: str = ""
    source: str = ""
    note: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        what = self.episode if self.window is None else "..".join(map(str, self.window))
        if self.window is None:
            library()[self.episode]  # a misspelt name is told now
        elif not self.window[0] <= self.window[1]:
            raise UsageError("the window ends before it starts", received=what)
        object.__setattr__(self, "name", self.name or f"replay:{what}")

    @property
    def known_from(self) -> np.datetime64:
        """The day after the episode; on prices, after the last close in it."""
        if self.window is not None:
            return self.window[1] + 1
        return library()[self.episode].known_from

    @property
    def citation(self) -> str:
        """Where the figures come from."""
        own = f"{self.source}; " if self.source else ""
        if self.window is not None:
            return f"{own}historical replay {' to '.join(map(str, self.window))}"
        return f"{own}{library()[self.episode].citation}"

    def resolve(
        self, *, market: Any = None, weights: Any = None, model: Any = None
    ) -> Replay | EpisodeReplay:
        """Return the replay on prices; itself without them."""
        return self if market is None else self._found(market)

    def _found(self, market: Any) -> Replay:
        what: Any = self.episode if self.window is None else self.window
        with placed(self.where, "episode" if self.window is None else "window"):
            found = replay(what, panel=market, name=self.name)
        own = f"{self.source}; " if self.source else ""
        return replace(found, citation=f"{own}{found.citation}")

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Move of each asset by the library's figures: there are no prices here."""
        found = self._found(None)
        with placed(self.where):
            return found.moves(universe, model)

    def __repr__(self) -> str:
        return f"EpisodeReplay({self.name!r})"


@dataclass(frozen=True, slots=True, eq=False)
class BookSearch(Written, Value):
    """The worst case of a book, or what would lose it an amount: found for each book.

    Attributes
    ----------
    search : {"worst-case", "reverse"}
    options : tuple of (str, value)
        Arguments of `engine.shocks.worst_case`, or of `engine.shocks.reverse` (``loss``
        among them).
    name, source, note, where : str

    Notes
    -----
    A reverse search without an ``approximation`` takes the nearest scenario in which
    the book, repriced, loses the amount.

    It says nothing of the world, only how far to search: it has no date of its own,
    and what it finds is known from the date of the model.
    """

    search: str
    options: tuple[tuple[str, Any], ...]
    name: str = ""
    source: str = ""
    note: str = ""
    where: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.search)

    @property
    def known_from(self) -> np.datetime64:
        """No date: see the notes."""
        return UNDATED

    @property
    def citation(self) -> str:
        """Whose it is, and what is sought."""
        own = f"{self.source}; " if self.source else ""
        words = ", ".join(f"{k} {v}" for k, v in self.options)
        return f"{own}{self.search} of the book: {words}"

    def resolve(
        self, *, market: Any = None, weights: Any = None, model: Any = None
    ) -> PlausibleShock | BookSearch:
        """Return the scenario found for a book; itself without book or model.

        Raises
        ------
        InfeasibleError
            Nothing within the model loses that much of this book.
        """
        if weights is None or model is None:
            return self
        options: dict[str, Any] = dict(self.options) | {"name": self.name}
        with placed(self.where, "loss" if self.search == "reverse" else ""):
            if self.search == "reverse":
                found = most_plausible(model, weights, options.pop("loss"), **options)
            else:
                found = worst_case(model, weights, **options)
        own = f"{self.source}; " if self.source else ""
        return replace(found, citation=f"{own}{found.citation}")

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Refuse: moves differ from book to book."""
        raise UsageError(
            f"shock {self.name} is found for a book by a model, and one is not given",
            fix="Use shock.resolve(weights=book, model=model), or engine.stress, which "
            "does so.",
        )

    def __repr__(self) -> str:
        words = ", ".join(f"{k}={v}" for k, v in self.options)
        return f"BookSearch({self.name!r}: {self.search}, {words})"
