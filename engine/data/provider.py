"""Where prices come from: the `Provider` protocol and the registry behind names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from engine.data.universe import Universe
from engine.errors import DataError


class Frames(NamedTuple):
    """What a provider delivers: plain tables, checked later by the panel."""

    prices: Any
    """DataFrame (T, N): date index, one column per ticker, quote currency."""
    universe: Universe | None
    price_basis: str | None
    source: str
    fx: Any = None
    """DataFrame: date index, USD for one unit of each currency."""
    cash_rates: Any = None
    """DataFrame: date index, annual rate as a decimal per currency."""
    open: Any = None
    volume: Any = None
    currency: dict[str, str] | None = None
    """Quote currency by ticker, where the source states it."""
    synthetic: bool = False
    actions: Any = None
    """`engine.data.actions.CorporateActions`, where the source gives them."""
    membership: Any = None
    """`engine.data.membership.Membership`, where the source gives one."""
    overrides: Any = ()
    """Calendar overrides, as `engine.data.calendars.read_overrides`."""


@runtime_checkable
class Provider(Protocol):
    """Anything that can deliver price tables under a name."""

    name: str

    def load(
        self, tickers: Sequence[str] | None, start: Any = None, end: Any = None
    ) -> Frames:
        """Return the tables for the tickers (all it has, when None)."""
        ...


_REGISTRY: dict[str, Callable[[], Provider]] = {}


def register_provider(name: str, factory: Callable[[], Provider]) -> None:
    """Make ``load_panel(name)`` use the provider that ``factory`` returns.

    Parameters
    ----------
    name : str
        A later factory of the same name takes its place.
    factory : callable
        Called without arguments at each load; returns a `Provider`.
    """
    _REGISTRY[name] = factory


def provider(name: str) -> Provider:
    """Return the provider registered under a name."""
    if name not in _REGISTRY:
        raise DataError(
            "no such file, and no provider of this name",
            received=repr(name),
            expected="a path, or one of: " + ", ".join(sorted(_REGISTRY)),
        )
    return _REGISTRY[name]()


class ReferenceProvider:
    """The embedded reference market: synthetic, seeded, fitted to 2016-2025."""

    name = "reference"

    def __init__(self, *, seed: int | None = None, event_day: bool = True) -> None:
        self.seed = seed
        self.event_day = event_day

    def load(
        self, tickers: Sequence[str] | None, start: Any = None, end: Any = None
    ) -> Frames:
        """Generate the market; ``tickers``, ``start`` and ``end`` are cut later."""
        from engine.data import _reference

        options = {} if self.seed is None else {"seed": self.seed}
        made = _reference.reference_frames(event_day=self.event_day, **options)
        day = "" if self.event_day else ", 27 January 2025 as an ordinary day"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return Frames(
            prices=made.prices,
            universe=Universe.from_frame(made.metadata),
            price_basis="total_return",
            source=f"SYNTHETIC reference market{seed}{day}",
            fx=made.fx,
            cash_rates=made.rates,
            synthetic=True,
        )


def _yahoo() -> Provider:
    from engine.data.providers.yahoo import YahooProvider

    return YahooProvider()


register_provider("reference", ReferenceProvider)
register_provider("yahoo", _yahoo)
