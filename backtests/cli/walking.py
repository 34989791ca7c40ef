"""`ballast backtest` and `ballast sweep`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backtests.cli import show
from backtests.job import (
    Settings,
    bounds_of,
    on_prices,
    prepare,
    rules,
    shock_limits,
    shocks_of,
    walk,
    weights_of,
)
from backtests.result import BacktestResult
from backtests.sweeps import SweepResult, run_sweep
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.errors import ModelError, UsageError, did_you_mean
from strategies.min_variance import MinimumVariance
from strategies.risk_based import (
    HierarchicalRiskParity,
    InverseVolatility,
    MaximumDiversification,
    RiskParity,
)
from strategies.rules import FixedMix, Momentum

_NAMES = {"hold": 0, "hold-cash": 1, "shock-aware": 2, "equal": 3}
_RULES = (
    "min-variance",
    "inverse-volatility",
    "risk-parity",
    "max-diversification",
    "hrp",
    "herc",
    "momentum",
    "fixed-mix",
)
NAMES = (*_NAMES, *_RULES)
"""Every strategy of the command line."""


def _rule(name: str, available: Sequence[Any], settings: Settings, N: int) -> Any:
    """Return a strategy that needs no shock, over the same assets as the others."""
    tickers = available[3].tickers
    upper = bounds_of({}, settings, N)["default"]
    if name == "min-variance":
        return MinimumVariance(
            tickers, upper=upper, window=settings.window, costs=settings.costs
        )
    if name == "fixed-mix":
        return FixedMix(available[0].weights)
    if name == "momentum":
        return Momentum(tickers)
    common: dict[str, Any] = {
        "tickers": tickers,
        "window": settings.window,
        "covariance": settings.covariance,
    }
    if name == "inverse-volatility":
        return InverseVolatility(**common)
    if name == "risk-parity":
        return RiskParity(**common)
    if name == "max-diversification":
        return MaximumDiversification(**common, upper=upper)
    if name == "herc":
        long_name = "hierarchical equal risk contribution"
        return HierarchicalRiskParity(**common, method="HERC", name=long_name)
    return HierarchicalRiskParity(**common)


def _limits_and_book(
    portfolio: Portfolio, panel: PricePanel, settings: Settings
) -> tuple[dict[str, float], Portfolio]:
    """Limits and priced book; the default limit is half the loss of the last date."""
    shocks = shocks_of(settings)
    own = settings.own_limits
    if settings.limit is not None or all(s.name in own for s in shocks):
        limits = {s.name: own.get(s.name, settings.limit) for s in shocks}
        book = portfolio.priced(panel.as_of(settings.as_of or panel.dates[-1]))
        return {k: float(v) for k, v in limits.items() if v is not None}, book
    _, book, scenarios = prepare(portfolio, panel, settings)
    return shock_limits(book, scenarios, on_prices(settings, panel)), book


def chosen_rules(
    portfolio: Portfolio, panel: PricePanel, settings: Settings, chosen: Sequence[str]
) -> tuple[list[Any], Portfolio]:
    """Return the strategies of some names, and the priced book they start from."""
    unknown = [n for n in chosen if n not in NAMES]
    if unknown:
        raise UsageError(
            "unknown strategy",
            received=repr(unknown[0]),
            expected=", ".join(NAMES),
            fix=did_you_mean(unknown[0], NAMES),
        )
    limits, book = _limits_and_book(portfolio, panel, settings)
    available = rules(weights_of(book), settings, limits, panel)
    compared: list[Any] = []
    for name in dict.fromkeys(chosen):
        if name in _RULES:
            compared.append(_rule(name, available, settings, len(panel.tickers)))
        else:
            compared.append(available[_NAMES[name]])
    return compared, book


def compare(
    portfolio: Portfolio,
    panel: PricePanel,
    settings: Settings,
    chosen: Sequence[str],
    *,
    progress: Any = None,
) -> list[BacktestResult]:
    """Walk the chosen strategies forward over the same dates and costs."""
    compared, book = chosen_rules(portfolio, panel, settings, chosen)
    return list(
        walk(compared, panel, settings, initial_value=book.value, progress=progress)
    )


def _variant(rule: Any, **cell: float) -> Any:
    """Return the rule with the parameters of one cell."""
    changes: dict[str, Any] = dict(cell)
    if "window" in changes:
        changes["window"] = int(changes["window"])
    return replace(rule, **changes)


_SWEPT = {
    "shock-aware": ("limit", "upper", "window", "es_cap"),
    "hold-cash": ("limit", "window"),
}


def sweep(
    portfolio: Portfolio,
    panel: PricePanel,
    settings: Settings,
    strategy: str,
    grid: Sequence[str],
    *,
    executor: str,
    n_jobs: int,
    out: Path | None,
    progress: Any = None,
) -> SweepResult:
    """Run the sweep; finished cells under ``out`` are not run again."""
    if strategy not in _SWEPT:
        raise UsageError(
            "this strategy has no parameters to sweep",
            received=repr(strategy),
            expected=", ".join(_SWEPT),
        )
    cells = parse_grid(grid, strategy)
    limits, book = _limits_and_book(portfolio, panel, settings)
    rule = rules(weights_of(book), settings, limits, panel)[_NAMES[strategy]]
    if "limit" in cells:
        own = settings.own_limits
        if all(s.name in own for s in shocks_of(settings)):
            raise UsageError(
                "every shock states its own limit: there is none to sweep",
                received=", ".join(own),
                fix="Leave limit out of the file where it is to be swept.",
            )
        rule = replace(rule, own_limits=dict(own))
    return run_sweep(
        partial(_variant, rule),
        cells,
        panel,
        executor=executor,  # type: ignore[arg-type]
        n_jobs=n_jobs,
        out=out,
        progress=progress,
        start=settings.start,
        end=settings.end,
        schedule=settings.schedule,
        costs=settings.costs,
        initial_value=book.value,
        hindsight_parameters=settings.hindsight_parameters,
    )


def parse_grid(grid: Sequence[str], strategy: str) -> dict[str, list[float]]:
    """Parse ``name=value,value`` items; only what the strategy has can be swept."""
    cells: dict[str, list[float]] = {}
    for item in grid:
        name, equals, values = item.partition("=")
        try:
            numbers = [float(v) for v in values.split(",") if v.strip()]
        except ValueError:
            numbers = []
        name = name.strip().replace("-", "_")
        if not equals or not numbers or name in cells:
            raise UsageError(
                "cannot read a grid item",
                received=repr(item),
                expected='"limit=0.06,0.08", each name once',
            )
        if name not in _SWEPT[strategy]:
            raise UsageError(
                f"this parameter of {strategy} cannot be swept",
                received=repr(name),
                expected=", ".join(_SWEPT[strategy]),
            )
        if not all(math.isfinite(x) and x > 0 for x in numbers):
            raise UsageError(
                "values of a grid are positive numbers", received=repr(item)
            )
        cells[name] = numbers
    return cells


def show_sweep(result: SweepResult, *, json: bool) -> None:
    """Print every cell, then what the number of trials does to the best."""
    frame = result.to_frame()
    if json:
        show.emit_json(
            {"cells": frame.to_dict("records"), "summary": result.summary()}, "sweep"
        )
        return
    print(frame.to_string(index=False, float_format=lambda x: f"{x:.4f}"))
    print()
    for name, value in result.summary().items():
        print(f"{name}: {value}")


def check_sweep(result: SweepResult) -> None:
    """Fail when no cell finished: a table of errors is not a result."""
    if not result.finished:
        raise ModelError(
            "every cell of the sweep failed",
            received=str(result.failed[0].error),
        )
