"""`ballast backtest` and `ballast sweep`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backtests import rulebook
from backtests._judgement import Judgement, judge
from backtests.cli import show
from backtests.intervals import EVENT_RISK
from backtests.job import (
    Settings,
    named_rules,
    on_prices,
    prepare,
    shock_limits,
    shocks_of,
    walk,
    walk_options,
    weights_of,
)
from backtests.result import BacktestResult
from backtests.sweeps import SweepResult, run_sweep
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.errors import UsageError


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
) -> tuple[Sequence[Any], Portfolio]:
    """Return the strategies of some names, and the priced book they start from."""
    for name in chosen:  # a name nobody knows costs no fit
        rulebook.parameters(name)
    limits, book = _limits_and_book(portfolio, panel, settings)
    return named_rules(chosen, weights_of(book), settings, limits, panel), book


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
        walk(
            compared,
            panel,
            settings,
            initial_value=book.value,
            book=weights_of(book),
            progress=progress,
        )
    )


def judged(
    results: Sequence[BacktestResult], panel: PricePanel, trials: int | None
) -> Judgement | None:
    """Judge the compared runs; nothing where they are too short to be judged."""
    if results[0].dates.size < 21:
        return None
    return judge(results, panel, n_trials=trials)


def judgement_of(verdict: Judgement | None, name: str) -> dict[str, Any] | None:
    """Rows of the judgement that speak of one strategy, by table."""
    if verdict is None:
        return None
    found = verdict.to_dict()
    notes = found.pop("notes")
    return {"notes": notes} | {
        table: [{k: v for k, v in r.items() if k != "strategy"} for r in rows]
        for table, kept in found.items()
        if (rows := [r for r in kept if r["strategy"] == name])
    }


def show_judgement(verdict: Judgement | None, *, everything: bool) -> None:
    """Print what decides, or every table."""
    if verdict is None:
        print("\nfewer than twenty returns: not judged")
        return
    print()
    if everything:
        print(verdict)
        return
    sharpe = verdict.tables["intervals"].query("figure == 'sharpe'")
    gaps: Any = verdict.tables.get("differences")
    against = {} if gaps is None else gaps.set_index("strategy").to_dict("index")
    luck: Any = verdict.tables.get("deflation")
    deflated = {} if luck is None else luck.set_index("strategy").to_dict("index")
    factor: Any = verdict.tables.get("ai_factor")
    betas = {} if factor is None else factor.set_index("strategy").to_dict("index")
    rows = []
    for r in sharpe.to_dict("records"):
        gap, beta = against.get(r["strategy"]), betas.get(r["strategy"])
        chance = deflated.get(r["strategy"])
        rows.append(
            (
                r["strategy"],
                f"{r['low']:.2f} to {r['high']:.2f}",
                "-"
                if gap is None
                else f"{gap['difference']:.2f} (p {gap['p_value']:.2f})",
                "-" if chance is None else f"{chance['deflated_sharpe']:.2f}",
                "-" if beta is None else f"{beta['beta']:.2f}",
                "-" if beta is None else show.percent(beta["rest_return"]),
            )
        )
    heads = ["strategy", "Sharpe 95%", "against the first", "deflated"]
    print(show.table([*heads, "AI beta", "rest a year"], rows))
    regimes = verdict.tables["regimes"]
    if "difference" in regimes:
        kinds = regimes.dropna(subset=["difference"])
        rows = [
            (name, kind, len(part), show.percent(float(part["difference"].mean())))
            for (name, kind), part in kinds.groupby(["strategy", "kind"], sort=False)
        ]
        if rows:
            print("\nwhat protection paid (+) or cost (-) against the first")
            heads = ["strategy", "windows", "number", "mean difference"]
            print(show.table(heads, rows))
    print(f"\n{EVENT_RISK}; --judge shows every table")


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
    if settings.rebalance and "-" in settings.rebalance:
        raise UsageError(
            "a sweep follows the calendar",
            received=f"--rebalance {settings.rebalance}",
            fix="Use --schedule here, and ballast backtest for other rules.",
        )
    show.aside(rulebook.left_out(weights_of(book), panel, settings))
    rule = rulebook.build(
        strategy,
        book=weights_of(book),
        panel=panel,
        settings=settings,
        limits=limits,
    )
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
        initial_value=book.value,
        **walk_options(settings),
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
