"""What the model-based strategies share: which assets, and scenarios for a book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.data.portfolio import CASH_PREFIX, Portfolio
from engine.data.view import MarketView
from engine.errors import DataError
from engine.model import ReturnModel, fit
from engine.montecarlo import simulate
from engine.scenarios import ScenarioSet


def eligible(
    view: MarketView, tickers: Sequence[str] | None, *, window: int
) -> tuple[str, ...]:
    """Tradable assets with a full estimation window at the time of the view.

    Of a panel with a membership, also those that have left it: they may be held, and
    have to be valued until they are sold.
    """
    ok = view.tradable(min_history=window + 1) & view.ever_members()
    allowed = None if tickers is None else set(tickers)
    for ticker in tickers or ():
        view.panel.index(ticker)  # a misspelt ticker is an error, not a narrower set
    names = tuple(
        t
        for t, good in zip(view.tickers, ok, strict=True)
        if good and (allowed is None or t in allowed)
    )
    if not names:
        raise DataError(
            "no asset has a full estimation window yet",
            date=view.date,
            expected=f"{window + 1} prices",
            fix="Start later, or shorten the window.",
        )
    return names


def members_only(view: MarketView, assets: Sequence[str]) -> tuple[str, ...]:
    """Assets that belong to the panel's membership at the time of the view."""
    member = dict(zip(view.tickers, view.members(), strict=True))
    return tuple(a for a in assets if member.get(a, False))


def member_bounds(
    view: MarketView, assets: Sequence[str], upper: float | Mapping[str, float]
) -> Any:
    """Upper bounds that sell what has left the membership; ``upper`` without one."""
    inside = set(members_only(view, assets))
    gone = {a: 0.0 for a in assets if a not in inside and a in view.panel.universe}
    if not gone:
        return upper
    given = upper if isinstance(upper, Mapping) else {"default": float(upper)}
    return {**given, **gone}


def estimate_model(
    view: MarketView,
    tickers: Sequence[str] | None,
    *,
    window: int,
    covariance: str = "ledoit_wolf",
    funds: str = "estimated",
) -> ReturnModel:
    """Fit the return model on the eligible assets of a view."""
    return fit(
        view,
        tickers=eligible(view, tickers, window=window),
        window=window,
        covariance=covariance,
        funds=funds,
    )


def scenarios_for(
    model: ReturnModel,
    portfolio: Portfolio,
    *,
    n_scenarios: int = 64,
    horizon: int = 21,
    seed: int = 0,
) -> ScenarioSet:
    """Scenarios of the model's assets; a book it does not cover is an error.

    The default number only carries labels and the cash return: a proposal that limits
    nothing but stress and variance reads the model, not the draws.
    """
    covered = set(model.assets)
    for asset, money in zip(portfolio.assets, portfolio.money, strict=True):
        if money and not asset.startswith(CASH_PREFIX) and asset not in covered:
            raise DataError(
                "a holding has too short a history for the estimation window",
                asset=asset,
                date=model.as_of,
                fix="Shorten the window, or leave the asset out of the book.",
            )
    return simulate(model, n_scenarios, horizon=horizon, seed=seed)
