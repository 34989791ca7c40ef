"""Was it worth it, and is it luck? Everything about compared backtests in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backtests._attribution import attribution, factor_split
from backtests._capacity import capacity
from backtests._exposure import ai_factor, ai_weight, effective_names, rolling_beta
from backtests._sharpe_difference import sharpe_difference
from backtests.intervals import EVENT_RISK, metric_intervals
from backtests.metrics import deflated_sharpe_ratio, moments
from backtests.regimes import regime_scores
from backtests.result import BacktestResult
from engine.data.panel import PricePanel
from engine.data.universe import Universe
from engine.errors import BallastError, DataError, UsageError

_FIGURES = (
    "annual_return",
    "volatility",
    "sharpe",
    "sharpe_se",
    "sharpe_hac_se",
    "probabilistic_sharpe",
    "minimum_track_record",
    "max_drawdown",
    "drawdown_sessions",
    "recovery_sessions",
    "expected_shortfall_95",
    "turnover_per_year",
    "cost_per_year",
    "average_exposure",
    "worst_exposure",
)


@dataclass(frozen=True)
class Judgement:
    """Tables of a comparison, by name.

    Attributes
    ----------
    tables : dict of str to DataFrame
        ``metrics``, ``intervals``, ``differences``, ``regimes``, ``attribution_...``,
        ``ai_factor``, ``exposure``, ``capacity``, ``deflation``; only those that the
        data allow.
    notes : tuple of str
        What must be read with them: stamps, event risk, and why a table is missing.
    """

    tables: dict[str, Any]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain records by table, for JSON."""
        return {
            "notes": list(self.notes),
            **{k: t.to_dict("records") for k, t in self.tables.items()},
        }

    def write(self, folder: Any) -> Path:
        """Write one CSV per table, formulas neutralised, and ``judgement.json``."""
        from backtests.cli.show import json_text
        from engine.data.files import write_atomic, write_csv

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            write_csv(folder / f"{name}.csv", table)
        write_atomic(folder / "judgement.json", json_text(self.to_dict()) + "\n")
        return folder

    def __repr__(self) -> str:
        parts = [f"! {n}" for n in self.notes]
        for name, table in self.tables.items():
            text = table.to_string(index=False, float_format=_number)
            parts.append(f"\n{name.replace('_', ' ')}\n{text}")
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        import html

        parts = [f"<p>{html.escape(n)}</p>" for n in self.notes]
        for name, table in self.tables.items():
            parts.append(f"<h4>{html.escape(name.replace('_', ' '))}</h4>")
            parts.append(
                table.to_html(index=False, escape=True, float_format="{:.4g}".format)
            )
        return "\n".join(parts)


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1e4 else f"{x:.4f}"


def judge(
    results: Sequence[BacktestResult],
    source: PricePanel | Universe | None = None,
    *,
    benchmark: BacktestResult | None = None,
    by: Sequence[str] = ("role", "country", "currency"),
    windows: Any = None,
    n_trials: float | None = None,
    variance_of_sharpes: float | None = None,
    n: int = 1000,
    confidence: float = 0.95,
    window: int = 126,
    capacity_options: dict[str, Any] | None = None,
    seed: int = 0,
) -> Judgement:
    """Judge compared backtests: figures with errors, differences, and what made them.

    Parameters
    ----------
    results : sequence of BacktestResult
        Of the same dates.
    source : PricePanel or Universe, optional
        Labels for attribution and exposure; a panel also brings the AI factor
        (`ai_factor`) and the volumes of capacity.
    benchmark : BacktestResult, optional
        What the others are compared with; the first result by default.
    by : sequence of str
        Groupings of attribution.
    windows
        As for `regime_scores`.
    n_trials : float, optional
        Strategies tried before these were chosen; the number of results by default,
        which is the least it can be.
    variance_of_sharpes : float, optional
        Across trials, per period; that of the results by default.
    n, confidence
        Resamples and level of the stationary bootstrap.
    window : int, default 126
        Of the rolling AI beta.
    capacity_options : dict, optional
        Keyword arguments of `capacity`.
    seed : int, default 0
        Of the bootstrap.

    Returns
    -------
    Judgement

    Raises
    ------
    UsageError
        No results, or two of one name.
    DataError
        Results of different dates, or fewer than twenty returns.
    """
    import pandas as pd

    runs = list(results)
    _check(runs, benchmark)
    first = runs[0] if benchmark is None else benchmark
    notes = dict.fromkeys(s for r in runs for s in r.stamps)
    notes[EVENT_RISK] = None
    tables: dict[str, Any] = {}
    tables["metrics"] = pd.DataFrame(
        [
            {"strategy": r.name} | {k: r.metrics().get(k, math.nan) for k in _FIGURES}
            for r in runs
        ]
    )
    sampled = []
    for r in runs:
        if np.ptp(r.excess_returns()) < 1e-12:  # a book of cash
            notes[f"no intervals of {r.name}: its returns over cash are constant"] = (
                None
            )
            continue
        figures = metric_intervals(r, n=n, confidence=confidence, seed=seed)
        sampled += [
            {"strategy": r.name, "figure": name, **found._asdict()}
            for name, found in figures.items()
        ]
    if sampled:
        tables["intervals"] = pd.DataFrame(sampled)
    others = [r for r in runs if r is not first]
    rows = []
    for r in others:
        try:
            found = sharpe_difference(
                r.excess_returns(),
                first.excess_returns(),
                periods_per_year=r.periods_per_year,
                confidence=confidence,
                n=n,
                seed=seed,
            )
        except DataError as error:  # a book of cash has no Sharpe ratio
            notes[f"no difference for {r.name}: {error.problem}"] = None
            continue
        rows.append({"strategy": r.name, "against": first.name, **found._asdict()})
    if rows:
        tables["differences"] = pd.DataFrame(rows)
    scores = []
    for r in runs:
        table = regime_scores(r, None if r is first else first, windows=windows)
        scores.append(table.reset_index().assign(strategy=r.name))
    merged = pd.concat(scores, ignore_index=True)
    tables["regimes"] = merged[
        ["strategy", *(c for c in merged.columns if c != "strategy")]
    ]
    universe = source.universe if isinstance(source, PricePanel) else source
    if universe is not None:
        for attribute in by:
            parts = [
                attribution(r, universe, by=attribute)
                .reset_index()
                .assign(strategy=r.name)
                for r in runs
            ]
            rows = pd.concat(parts, ignore_index=True)
            # A label that was never held has nothing to tell.
            rows = rows[(rows["gain"] != 0.0) | (rows["average_weight"] != 0.0)]
            tables[f"attribution_{attribute}"] = rows.reset_index(drop=True)[
                ["strategy", attribute, "gain", "contribution", "average_weight"]
            ]
        tables["exposure"] = pd.DataFrame([_held(r, universe) for r in runs])
    if isinstance(source, PricePanel):
        try:
            factor, made_of = ai_factor(source, first.dates)
        except DataError as error:
            notes[f"no AI factor: {error}"] = None
        else:
            notes[f"AI factor: {made_of}"] = None
            split = []
            for r in runs:
                try:
                    split.append(_split(r, factor, window))
                except DataError as error:  # too short, or a factor that did not move
                    notes[f"no AI factor of {r.name}: {error.problem}"] = None
            if split:
                tables["ai_factor"] = pd.DataFrame(split)
        sized = []
        for r in runs:
            try:
                found = capacity(r, source, **(capacity_options or {}))
            except (DataError, UsageError) as error:
                notes[f"no capacity of {r.name}: {_short(error)}"] = None
                continue
            sized.append(
                {
                    "strategy": r.name,
                    "by_impact": found.by_impact,
                    "by_participation": found.by_participation,
                    "gross_return": found.gross_return,
                    "busiest": found.busiest,
                }
            )
        if sized:
            tables["capacity"] = pd.DataFrame(sized)
    deflated = _deflated(runs, n_trials, variance_of_sharpes)
    if deflated:
        tables["deflation"] = pd.DataFrame(deflated)
    return Judgement(tables, tuple(notes))


def _short(error: BallastError) -> str:
    where = f" ({error.asset})" if error.asset else ""
    return f"{error.problem}{where}"


def _check(runs: list[BacktestResult], benchmark: BacktestResult | None) -> None:
    if not runs:
        raise UsageError("there is nothing to judge")
    seen: set[str] = set()
    for r in runs:
        if r.name in seen:
            raise UsageError("two results of one name", received=repr(r.name))
        seen.add(r.name)
    first = runs[0]
    for r in [*runs, *([] if benchmark is None else [benchmark])]:
        if not np.array_equal(r.dates, first.dates):
            raise DataError(
                f"{r.name} and {first.name} are not of the same dates",
                received=f"{r.dates[0]} to {r.dates[-1]}",
                expected=f"{first.dates[0]} to {first.dates[-1]}",
            )
    if first.dates.size < 21:
        raise DataError(
            "too few returns to judge", received=first.dates.size - 1, expected="20"
        )


def _held(result: BacktestResult, universe: Universe) -> dict[str, Any]:
    theme, names = ai_weight(result, universe), effective_names(result)
    return {
        "strategy": result.name,
        "ai_weight": float(theme[1:].mean()),
        "largest_ai_weight": float(theme.max()),
        "last_ai_weight": float(theme[-1]),
        "cash": float((result.cash / result.value)[1:].mean()),
        "effective_names": float(names[1:].mean()),
        "fewest_names": float(names[1:].min()),
    }


def _split(result: BacktestResult, factor: np.ndarray, window: int) -> dict[str, Any]:
    found = factor_split(
        result.excess_returns(), factor, periods_per_year=result.periods_per_year
    )
    beta = rolling_beta(result.excess_returns(), factor, window=window)
    known = beta[np.isfinite(beta)]
    return {
        "strategy": result.name,
        **found._asdict(),
        "lowest_beta": float(known.min()) if known.size else math.nan,
        "highest_beta": float(known.max()) if known.size else math.nan,
        "last_beta": float(beta[-1]),
    }


def _deflated(
    runs: list[BacktestResult], n_trials: float | None, variance: float | None
) -> list[dict[str, Any]]:
    """Deflated Sharpe ratio of each; nothing where only one was tried."""
    ratios = {}
    for r in runs:
        try:
            ratios[r.name] = moments(r.excess_returns())
        except DataError:
            continue
    count = float(len(runs) if n_trials is None else n_trials)
    if variance is None:
        if len(ratios) < 2:
            return []
        variance = float(np.var([m.sharpe for m in ratios.values()], ddof=1))
    return [
        {
            "strategy": name,
            "sharpe_per_period": m.sharpe,
            "trials": count,
            "deflated_sharpe": deflated_sharpe_ratio(
                sharpe=m.sharpe,
                n=m.n,
                skew=m.skew,
                kurtosis=m.kurtosis,
                n_trials=count,
                variance_of_sharpes=variance,
            ),
        }
        for name, m in ratios.items()
    ]
