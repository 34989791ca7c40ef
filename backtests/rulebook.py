"""Every strategy that has a name on the command line, and how it is built for a book.

`ballast backtest`, sweeps and the main job all build through `build`, so that a name
means the same strategy everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from backtests.limited import bounds_of, is_cash, on_prices, shocks_of
from engine.data.panel import PricePanel
from engine.data.portfolio import cash_label
from engine.errors import DataError, UsageError, did_you_mean
from strategies.equal import EqualWeight
from strategies.estimation import eligible, members_only
from strategies.foils import HoldWithCash, HoldWithShort, HoldWithSwap
from strategies.hold import Hold
from strategies.min_shortfall import MinimumShortfall
from strategies.min_variance import MinimumVariance
from strategies.risk_based import (
    HierarchicalRiskParity,
    InverseVolatility,
    MaximumDiversification,
    RiskParity,
)
from strategies.rules import FixedMix, Momentum
from strategies.shock_aware import ShockAware, book_at
from strategies.shock_aware_multi import ShockAwareMultiPeriod

if TYPE_CHECKING:
    from backtests.job import Settings


class _Ground(NamedTuple):
    """What builders read: one book, one panel, one job."""

    held: Mapping[str, float]
    risky: Mapping[str, float]
    cash: str
    tickers: tuple[str, ...] | None
    upper: Mapping[str, float]
    universe_size: int
    shock: Any
    limit: float
    own_limits: Mapping[str, float]
    settings: Settings

    def plain(self) -> dict[str, Any]:
        """Assets and estimate of strategies without a shock."""
        s = self.settings
        return {
            "tickers": self.tickers,
            "window": s.window,
            "covariance": s.covariance,
        }

    def shocked(self) -> dict[str, Any]:
        """Limit, shock and estimate of strategies that measure the shock loss."""
        return {
            **self.plain(),
            "limit": self.limit,
            "shock": self.shock,
            "funds": self.settings.funds,
            "own_limits": self.own_limits,
            "turnover": self.settings.turnover,
        }

    def aware(self) -> dict[str, Any]:
        """Everything of the shock-aware rules."""
        s = self.settings
        return {
            **self.shocked(),
            "book": self.risky,
            "upper": self.upper,
            "groups": s.groups,
            "limits": s.limits,
            "es_cap": s.es_cap,
            "costs": s.costs,
        }

    def bound(self) -> float:
        """Bound on one weight, apart from the book's own."""
        return bounds_of({}, self.settings, self.universe_size)["default"]


class _Entry(NamedTuple):
    description: str
    make: Callable[[_Ground], Any]
    made: type


def _foil(kind: type, **fixed: Any) -> Callable[[_Ground], Any]:
    return lambda g: kind(book=g.held, **g.shocked(), **fixed)


_ENTRIES: dict[str, _Entry] = {
    "hold": _Entry(
        "the book as it was at the start, left alone",
        lambda g: Hold({**g.held, g.cash: 1.0 - sum(g.held.values())}),
        Hold,
    ),
    "hold-cash": _Entry(
        "the book sold to cash until its shock loss is within the limit",
        _foil(HoldWithCash),
        HoldWithCash,
    ),
    "hold-swap": _Entry(
        "the book swapped into one fund (RSP) until its shock loss is within the limit",
        _foil(HoldWithSwap),
        HoldWithSwap,
    ),
    "hold-overseas": _Entry(
        "the book swapped into EFA, whatever it holds, until the loss is within",
        _foil(HoldWithSwap, into="EFA"),
        HoldWithSwap,
    ),
    "hold-short": _Entry(
        "the book kept, a theme fund (SMH) sold short until the loss is within",
        _foil(HoldWithShort),
        HoldWithShort,
    ),
    "shock-aware": _Entry(
        "least cost and active risk, the shock loss within the limit",
        lambda g: ShockAware(**g.aware()),
        ShockAware,
    ),
    "shock-aware-multi-period": _Entry(
        "the same, several rebalances planned, the first executed",
        lambda g: ShockAwareMultiPeriod(**g.aware()),
        ShockAwareMultiPeriod,
    ),
    "equal": _Entry(
        "equal weights of all that may be held",
        lambda g: EqualWeight(g.tickers),
        EqualWeight,
    ),
    "fixed-mix": _Entry(
        "the weights at the start, restored at every decision",
        lambda g: FixedMix({**g.held, g.cash: 1.0 - sum(g.held.values())}),
        FixedMix,
    ),
    "inverse-volatility": _Entry(
        "weights in proportion to one over volatility",
        lambda g: InverseVolatility(**g.plain()),
        InverseVolatility,
    ),
    "min-variance": _Entry(
        "least variance",
        lambda g: MinimumVariance(
            g.tickers,
            upper=g.bound(),
            window=g.settings.window,
            costs=g.settings.costs,
        ),
        MinimumVariance,
    ),
    "min-shortfall": _Entry(
        "least expected shortfall over past returns",
        lambda g: MinimumShortfall(
            g.tickers,
            upper=g.bound(),
            window=g.settings.window,
            level=g.settings.level,
            costs=g.settings.costs,
        ),
        MinimumShortfall,
    ),
    "risk-parity": _Entry(
        "equal contributions to variance",
        lambda g: RiskParity(**g.plain()),
        RiskParity,
    ),
    "max-diversification": _Entry(
        "most diversified: weighted volatility over volatility",
        lambda g: MaximumDiversification(**g.plain(), upper=g.bound()),
        MaximumDiversification,
    ),
    "hrp": _Entry(
        "hierarchical risk parity",
        lambda g: HierarchicalRiskParity(**g.plain()),
        HierarchicalRiskParity,
    ),
    "herc": _Entry(
        "hierarchical equal risk contribution",
        lambda g: HierarchicalRiskParity(
            **g.plain(), method="HERC", name="hierarchical equal risk contribution"
        ),
        HierarchicalRiskParity,
    ),
    "momentum": _Entry(
        "the better half of the last year, the last month left out",
        lambda g: Momentum(g.tickers),
        Momentum,
    ),
}

_GIVEN = ("name", "book", "shock", "tickers", "own_limits")
"""Fields that follow from the job, not from a grid."""
_NAMED_AFTER = {"into", "short"}
"""Fields that the default name repeats: another value makes another name."""


def names() -> tuple[str, ...]:
    """Names that `build` knows, foils first."""
    return tuple(_ENTRIES)


def descriptions() -> dict[str, str]:
    """What each named strategy does, in a few words."""
    return {name: entry.description for name, entry in _ENTRIES.items()}


def parameters(name: str) -> tuple[str, ...]:
    """Parameters of a strategy that `build` takes and a sweep may vary."""
    made = _entry(name)[0].made
    return tuple(f.name for f in fields(made) if f.name not in _GIVEN)


def _entry(name: str) -> tuple[_Entry, dict[str, Any]]:
    """Entry of a name; ``hold-swap:XLP`` names the fund of a foil."""
    base, colon, fund = name.partition(":")
    entry = _ENTRIES.get(base)
    field = {"hold-swap": "into", "hold-short": "short"}.get(base)
    if entry is None or (colon and (field is None or not fund.strip())):
        raise UsageError(
            "unknown strategy",
            received=repr(name),
            expected=", ".join(_ENTRIES)
            + "; hold-swap:TICKER and hold-short:TICKER name the fund",
            fix=did_you_mean(base, _ENTRIES),
        )
    return entry, ({str(field): fund.strip()} if colon else {})


def build(
    name: str,
    *,
    book: Mapping[str, float],
    panel: PricePanel,
    settings: Settings,
    limits: float | Mapping[str, float] = 0.08,
    **parameters: Any,
) -> Any:
    """Build a strategy by name.

    Parameters
    ----------
    name : str
        One of `names`; ``hold-swap:XLP`` and ``hold-short:QQQ`` name another fund.
    book : mapping of label to weight
        Fractions of net asset value. Its part that was eligible at
        ``settings.start``, in proportion, is what the foils and the rules start from.
    panel : PricePanel
    settings : Settings
        Of the job: start, window, shocks, bounds, costs.
    limits : float or mapping of shock name to float
        On the severe loss.
    **parameters
        Fields of the strategy, `parameters`, in place of what the settings say.

    Raises
    ------
    UsageError
        An unknown name, or a parameter that the strategy does not have.
    DataError
        Nothing of the book could be held at the start.
    """
    entry, fund = _entry(name)
    return _made(entry, _ground(book, panel, settings, limits), {**fund, **parameters})


def build_all(
    chosen: tuple[str, ...],
    *,
    book: Mapping[str, float],
    panel: PricePanel,
    settings: Settings,
    limits: float | Mapping[str, float] = 0.08,
) -> tuple[Any, ...]:
    """Build several by name, all names checked before any work; see `build`."""
    entries = [_entry(name) for name in dict.fromkeys(chosen)]
    ground = _ground(book, panel, settings, limits)
    return tuple(_made(entry, ground, fund) for entry, fund in entries)


def _made(entry: _Entry, ground: _Ground, changes: dict[str, Any]) -> Any:
    rule = entry.make(ground)
    own = {f.name for f in fields(rule) if f.name not in _GIVEN}
    unknown = [k for k in changes if k not in own]
    if unknown:
        raise UsageError(
            f"this parameter of {rule.name} does not exist",
            received=repr(unknown[0]),
            expected=", ".join(sorted(own)) or "none",
        )
    if _NAMED_AFTER & changes.keys():
        changes = {**changes, "name": ""}
    return replace(rule, **changes) if changes else rule


def left_out(
    book: Mapping[str, float], panel: PricePanel, settings: Settings
) -> tuple[str, ...]:
    """What must be said where a walk-forward cannot start with the whole book.

    Parameters
    ----------
    book : mapping
        Weight per label.
    panel : PricePanel
    settings : Settings
        Its start and window.

    Returns
    -------
    tuple of str
        One stamp, or none where every holding has a full window at the start.
    """
    start = panel.dates[0] if settings.start is None else settings.start
    view = panel.as_of(start)
    risky = {k: v for k, v in book.items() if v and not is_cash(k)}
    try:
        able = members_only(view, eligible(view, None, window=settings.window))
    except DataError:  # nothing can be held: the walk-forward says so itself
        return ()
    missing = {k: v for k, v in risky.items() if k not in set(able)}
    if not missing:
        return ()
    named = ", ".join(f"{k} ({v:.1%})" for k, v in missing.items())
    return (
        f"BOOK CUT AT THE START: on {view.date} too short a price history, or no "
        f"member: {named}; their share went to the other holdings",
    )


def _ground(
    book: Mapping[str, float],
    panel: PricePanel,
    settings: Settings,
    limits: float | Mapping[str, float],
) -> _Ground:
    start = panel.as_of(panel.dates[0] if settings.start is None else settings.start)
    tickers = settings.candidates and tuple(
        dict.fromkeys([*(k for k in book if not is_cash(k)), *settings.candidates])
    )
    found = eligible(start, tickers, window=settings.window)
    risky = {k: v for k, v in book.items() if not is_cash(k)}
    held = book_at(risky, members_only(start, found))
    if not held:
        raise DataError(
            "none of the book's assets has a full history at the start",
            date=settings.start,
            fix="Start the walk-forward later.",
        )
    own = dict(limits) if isinstance(limits, Mapping) else {}
    common = next(iter(own.values())) if isinstance(limits, Mapping) else limits
    upper = bounds_of(risky, settings, len(found))
    if settings.hindsight_parameters:  # an episode may lie ahead of the view's prices
        settings = on_prices(settings, panel)
    first, *others = shocks_of(settings)
    return _Ground(
        held=held,
        risky=risky,
        cash=cash_label(panel.base_currency),
        tickers=tickers,
        upper=upper,
        universe_size=len(panel.tickers),
        shock=(first, *others) if others else first,
        limit=float(common),
        own_limits=own if others else {},  # the common one is its own
        settings=settings,
    )
