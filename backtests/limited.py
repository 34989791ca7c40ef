"""Which shocks a job limits, by how much, and the trades that stay within."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.constraints import Constraints, StressCap
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX, Portfolio
from engine.data.view import MarketView
from engine.errors import UsageError
from engine.optimize._propose import propose
from engine.optimize.problem import stress_measure
from engine.proposal import Proposal
from engine.scenarios import ScenarioSet
from engine.shocks import CheapModelShock
from engine.shocks._kinds_lazy import BookSearch, resolved
from strategies.estimation import members_only

if TYPE_CHECKING:
    from backtests.job import Settings

_WORST_CASES = 12
"""Scenarios limited for one worst case; a few are enough where books are long only."""
_WORST_ROOM = 1e-4
"""A basis point of net assets: what a worst case may exceed its limit by."""


def shock_of(settings: Settings) -> Any:
    """Return the one shock that is limited; `UsageError` where there are several."""
    first, *others = shocks_of(settings)
    if others:
        raise UsageError(
            "several shocks are limited, not one",
            received=", ".join(s.name for s in (first, *others)),
            fix="Use shocks_of.",
        )
    return first


def shocks_of(settings: Settings) -> tuple[Any, ...]:
    """Return the shocks that are limited."""
    preset = CheapModelShock(settings.preset, severity=settings.severity)
    return tuple(settings.shocks) if settings.shocks else (preset,)


def on_prices(settings: Settings, panel: PricePanel) -> Settings:
    """Return settings whose replays take the own history of these prices.

    The walk-forward does without, unless hindsight is admitted: there each replay sees
    the prices of its view.
    """
    found = tuple(resolved(s, market=panel) for s in settings.shocks)
    return replace(settings, shocks=found)


def found_shocks(
    book: Portfolio | Mapping[str, float], scenarios: ScenarioSet, settings: Settings
) -> tuple[Any, ...]:
    """Return the shocks that are limited, a worst case being that of this book."""
    weights = dict(zip(scenarios.assets, scenarios.align(book).tolist(), strict=True))
    return tuple(
        resolved(s, weights=weights, model=scenarios.model) for s in shocks_of(settings)
    )


def shock_limits(
    book: Portfolio | Mapping[str, float], scenarios: ScenarioSet, settings: Settings
) -> dict[str, float]:
    """Return the limit of each shock: its own, the common one, or half the severe loss.

    Raises
    ------
    UsageError
        A limit is stated for a shock that there is not.
    """
    out: dict[str, float] = {}
    for shock in found_shocks(book, scenarios, settings):
        own = settings.own_limits.get(shock.name, settings.limit)
        if own is None:
            cap = StressCap(shock, 1.0)
            measure = stress_measure(cap, scenarios, cap.moves(scenarios))
            own = 0.5 * max(0.0, measure.value(scenarios.align(book)))
        out[shock.name] = own
    unknown = [name for name in settings.own_limits if name not in out]
    if unknown:
        raise UsageError(
            "a limit names no shock", received=unknown[0], expected=", ".join(out)
        )
    return out


def shock_limit(
    book: Portfolio | Mapping[str, float], scenarios: ScenarioSet, settings: Settings
) -> float:
    """Return the limit of the first shock; see `shock_limits`."""
    return next(iter(shock_limits(book, scenarios, settings).values()))


def constraints_of(
    book: Portfolio,
    scenarios: ScenarioSet,
    settings: Settings,
    limit: float | Mapping[str, float],
    view: MarketView,
) -> Constraints:
    """Limits of the proposal: nothing above ``upper`` or its own current weight.

    ``limit`` is common to all shocks, or by the name of each. What has left the
    panel's membership may be kept or sold, not bought.
    """
    assets = [a for a in scenarios.assets if not is_cash(a)]
    inside = set(members_only(view, assets))
    caps = tuple(
        StressCap(s, limit[s.name] if isinstance(limit, Mapping) else limit)
        for s in found_shocks(book, scenarios, settings)
    )
    return Constraints(
        no_buy=tuple(a for a in assets if a not in inside),
        upper=bounds_of(weights_of(book), settings, len(scenarios.assets) - 1),
        stress_caps=caps,
        es_cap=settings.es_cap,
        es_level=settings.level,
        turnover=settings.turnover,
        groups=settings.groups,
        limits=settings.limits,
    )


def propose_within(
    book: Portfolio,
    scenarios: ScenarioSet,
    settings: Settings,
    limits: Mapping[str, float],
    view: MarketView,
) -> Proposal:
    """Propose trades, the worst case of the proposed book being within its limit too.

    A worst case is another scenario for another book, and the largest of linear losses,
    so convex: where the book proposed has a worse one, that scenario is limited as
    well, until there is none.
    """
    limited = constraints_of(book, scenarios, settings, limits, view)
    searched = [
        s
        for s in shocks_of(settings)
        if isinstance(s, BookSearch) and s.search == "worst-case"
    ]
    found = 1
    while True:
        proposal = propose(book, scenarios, limited, settings.costs, market=view)
        found += 1
        worse: list[tuple[StressCap, float]] = []
        for shock in searched:
            worst = resolved(shock, weights=proposal.weights, model=scenarios.model)
            cap = StressCap(
                replace(worst, name=f"{shock.name} {found}"), limits[shock.name]
            )
            measure = stress_measure(cap, scenarios, cap.moves(scenarios))
            excess = measure.value(scenarios.align(proposal.weights)) - cap.limit
            if excess > _WORST_ROOM:
                worse.append((cap, excess))
        if not worse or found > _WORST_CASES:
            break
        limited = replace(
            limited, stress_caps=(*limited.stress_caps, *(c for c, _ in worse))
        )
    warnings = tuple(
        f"The worst case of the proposed book exceeds the limit by {excess:.2%} under "
        f"{cap.shock.name}."
        for cap, excess in worse
    )
    return replace(proposal, warnings=(*proposal.warnings, *warnings))


def bounds_of(
    weights: Mapping[str, float], settings: Settings, n_assets: int
) -> dict[str, float]:
    """Bound on one weight; only what is already above it may stay where it is."""
    upper = settings.upper
    if upper is None:
        upper = min(1.0, max(0.10, 2.0 / max(1, n_assets)))
    above = {k: w for k, w in weights.items() if w > upper and not is_cash(k)}
    return {"default": upper} | above


def weights_of(book: Portfolio) -> dict[str, float]:
    """Weight per label of a priced book."""
    return dict(zip(book.labels, book.weights.tolist(), strict=True))


def is_cash(label: str) -> bool:
    """Whether a label is cash of a currency."""
    return label.startswith(CASH_PREFIX)
