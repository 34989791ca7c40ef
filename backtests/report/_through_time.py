"""A walk-forward through time: exposure by role, costs, and figures with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from backtests._exposure import effective_names
from backtests.intervals import EVENT_RISK, Interval, metric_intervals
from backtests.report._inputs import (
    ReportInputs,
    Run,
    brief,
    labels_of,
    number,
    percent,
)
from backtests.report._style import (
    FAMILIES,
    INK,
    PAPER,
    RUN_STYLES,
    Picture,
    draw,
    family,
    finish,
    percent_axis,
    thinned,
)
from backtests.report._tables import Table
from backtests.result import BacktestResult

_NOT_THEME = ("no AI role", "cash", "unknown (hatched)", "funds looked through")
_RESAMPLES = 1000
_LEAST = 60  # returns; fewer resample into nothing that deserves an interval
SHOWN = {
    "annual_return": ("Return a year", True),
    "volatility": ("Volatility a year", True),
    "sharpe": ("Sharpe ratio", False),
    "max_drawdown": ("Worst drawdown", True),
}
"""Figures with intervals: name for people, and whether it is a share of one."""
CONFIDENCE = 0.95


class Exposure(NamedTuple):
    """(T, F) weights of one run by family of roles, (T,) sum of AI roles and names."""

    name: str
    dates: np.ndarray
    families: tuple[str, ...]
    weights: np.ndarray
    theme: np.ndarray
    effective: np.ndarray


def exposures(inputs: ReportInputs) -> list[Exposure]:
    """Weights by family of roles at every close, of each backtest.

    A fund counts as a fund, whatever it holds: its role is not that of its holdings.
    """
    out = []
    for result in inputs.backtests:
        roles = labels_of(inputs, result.labels, "role")
        kinds = [*(family(role) for role in roles), "cash"]
        names = tuple(f for f in FAMILIES if f in kinds)
        weights = result.weights()
        summed = np.column_stack(
            [weights[:, [k == name for k in kinds]].sum(axis=1) for name in names]
        )
        held = np.abs(summed).max(axis=0) > 5e-4
        names = tuple(n for n, some in zip(names, held, strict=True) if some)
        summed = summed[:, held]
        theme = np.array([n not in _NOT_THEME for n in names], dtype=bool)
        invested = np.abs(result.money).sum(axis=1) > 0
        first = int(np.argmax(invested))  # before its first fill a book is cash
        summed = summed[first:]
        sums = summed[:, theme].sum(axis=1)
        effective = effective_names(result)[first:]
        dates = result.dates[first:]
        out.append(Exposure(result.name, dates, names, summed, sums, effective))
    return out


def exposure(inputs: ReportInputs, found: Sequence[Exposure]) -> Picture | None:
    """AI roles and effective names of every run, all families of the one that moves."""
    if not found:
        return None
    figure, axes = draw(7.2, nrows=3, sharex=True, height_ratios=[1, 0.8, 1.35])
    top, middle, bottom = axes
    for k, run in enumerate(found):
        paint, dash = RUN_STYLES[k % len(RUN_STYLES)]
        at = thinned(run.theme)
        top.plot(
            _days(run.dates)[at], run.theme[at], dash, color=paint, lw=1.4,
            label=brief(run.name),
        )  # fmt: skip
        at = thinned(run.effective)
        middle.plot(_days(run.dates)[at], run.effective[at], dash, color=paint, lw=1.4)
    top.set_ylabel("in AI roles")
    percent_axis(top.yaxis, 5)
    top.grid(axis="y")
    middle.set_ylabel("effective names")
    middle.set_ylim(bottom=0.0)
    middle.yaxis.set_major_locator(MaxNLocator(4))
    middle.grid(axis="y")
    handles, names = top.get_legend_handles_labels()
    moving = max(found, key=lambda run: float(run.theme.std()))
    at = thinned(moving.theme, 300)
    days, level = _days(moving.dates)[at], np.zeros(at.size)
    debt = np.zeros(at.size)
    for name, weight in zip(moving.families, moving.weights[at].T, strict=True):
        up, down = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
        paint = FAMILIES[name][0]
        bottom.fill_between(days, level, level + up, color=paint, lw=0)
        if (down < 0).any():
            bottom.fill_between(days, debt + down, debt, color=paint, lw=0)
        level, debt = level + up, debt + down
    bottom.set_ylim(min(0.0, float(debt.min())), float(level.max()))
    bottom.set_ylabel(brief(moving.name, 20))
    percent_axis(bottom.yaxis, 5)
    _date_axis(bottom)
    handles += [Patch(facecolor=FAMILIES[n][0], label=n) for n in moving.families]
    figure.legend(
        handles, [*names, *moving.families], loc="outside lower center", ncols=3
    )
    return finish(
        figure,
        inputs.short_stamps(of="walk"),
        "exposure",
        "Exposure through time",
        f"Weight in AI roles and effective number of names of "
        f"{', '.join(r.name for r in found)} through time, and all families of roles "
        f"of {moving.name}",
        "Above: weight in AI roles at each close; it drifts between decisions. Middle: "
        "effective number of names (inverse Herfindahl index), cash aside. Below: "
        f"all of {moving.name}, stacked. A fund counts as a fund, whatever it holds."
        + (" Roles are those known at the end." if not inputs.synthetic else ""),
        [
            f"{r.name}: {percent(float(r.theme[0]), 0)} in AI roles at the start, "
            f"{percent(float(r.theme[-1]), 0)} at the end, between "
            f"{percent(float(r.theme.min()), 0)} and "
            f"{percent(float(r.theme.max()), 0)}; effective names "
            f"{number(float(r.effective[0]), 1)} at the start, "
            f"{number(float(r.effective[-1]), 1)} at the end."
            for r in found
        ],
    )


def costs(inputs: ReportInputs, runs: Sequence[Run]) -> Picture | None:
    """Costs and taxes paid so far, and turnover so far."""
    if not runs:
        return None
    figure, axes = draw(4.4, nrows=2, sharex=True)
    top, bottom = axes
    paid, turned = [], []
    for k, (run, result) in enumerate(zip(runs, inputs.backtests, strict=True)):
        paint, dash = RUN_STYLES[k % len(RUN_STYLES)]
        money = np.cumsum(result.costs + result.taxes) / run.initial * 1e4
        turnover = np.cumsum(run.turnover)
        for axis, series in ((top, money), (bottom, turnover)):
            at = thinned(series)
            axis.plot(
                _days(run.dates)[at], series[at], dash, color=paint, lw=1.4,
                drawstyle="steps-post", label=brief(run.name),
            )  # fmt: skip
        paid.append(float(money[-1]))
        turned.append(float(turnover[-1]))
    top.set_ylabel("paid, bp of start")
    top.yaxis.set_major_locator(MaxNLocator(5))
    top.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.6g}"))
    bottom.set_ylabel("turnover so far")
    bottom.yaxis.set_major_locator(MaxNLocator(5))
    bottom.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{v:g}\N{MULTIPLICATION SIGN}")
    )
    for axis in axes:
        axis.grid(axis="y")
        axis.set_ylim(bottom=0.0)
    _date_axis(bottom)
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return finish(
        figure,
        inputs.short_stamps(of="walk"),
        "costs",
        "Cost through time",
        f"Costs and turnover so far of {', '.join(r.name for r in runs)}",
        "Costs and taxes in basis points of the value at the start; turnover in times "
        "the book, one way. The value curves are after both.",
        [
            f"{r.name}: {number(p, 1)} bp paid, turnover {number(t, 2)} times the book."
            for r, p, t in zip(runs, paid, turned, strict=True)
        ],
    )


def intervals_of(
    results: Sequence[BacktestResult], judged: Mapping[str, Any] | None = None
) -> list[Mapping[str, Interval]]:
    """Bootstrap intervals of each run, on the same resampled dates; empty if short.

    A judgement with as many resamples holds the same numbers and is read instead.
    """
    if not results or results[0].dates.size - 1 < _LEAST:
        return []
    if any(np.ptp(result.excess_returns()) < 1e-12 for result in results):
        return []  # a book of cash: no block length, no ratio
    table = None if judged is None else judged["intervals"]
    if (
        judged is not None
        and table is not None
        and (judged["resamples"], judged["confidence"]) == (_RESAMPLES, CONFIDENCE)
    ):
        rows = {
            (r["strategy"], r["figure"]): Interval(*(r[k] for k in Interval._fields))
            for r in table.to_dict("records")
        }
        if all((result.name, key) in rows for result in results for key in SHOWN):
            return [{k: rows[r.name, k] for k in SHOWN} for r in results]
    out = []
    for result in results:
        found = metric_intervals(result, n=_RESAMPLES, confidence=CONFIDENCE)
        out.append({k: found[k] for k in SHOWN})
    return out


def intervals(
    inputs: ReportInputs, runs: Sequence[Run], found: Sequence[Mapping[str, Interval]]
) -> Picture | None:
    """Every figure of every run as a point in its interval."""
    if not found:
        return None
    figure, axes = draw(
        1.3 + 2 * (0.55 + 0.3 * len(runs)), nrows=2, ncols=2, sharey=True
    )
    y = np.arange(len(runs))
    for axis, (key, (name, share)) in zip(axes.flat, SHOWN.items(), strict=True):
        for k, one in enumerate(found):
            v, paint = one[key], RUN_STYLES[k % len(RUN_STYLES)][0]
            axis.plot([v.low, v.high], [k, k], color=paint, lw=2.4, alpha=0.6)
            axis.plot([v.low, v.high], [k, k], "|", color=paint, ms=8)
            axis.plot(v.estimate, k, "o", color=paint, mec=PAPER, ms=7)
        axis.set_title(name)
        if share:
            percent_axis(axis.xaxis, 4)
        else:
            axis.xaxis.set_major_locator(MaxNLocator(4))
        if key != "max_drawdown" and key != "volatility":
            axis.axvline(0, color=INK, lw=0.7, zorder=0)
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(y, [brief(r.name, 16) for r in runs])
    axes[0, 0].set_ylim(len(runs) - 0.5, -0.5)
    words = [
        f"{r.name}: " + "; ".join(_said(k, one[k]) for k in SHOWN) + "."
        for r, one in zip(runs, found, strict=True)
    ]
    return finish(
        figure,
        inputs.short_stamps(of="walk"),
        "intervals",
        "Figures with their intervals",
        f"{CONFIDENCE:.0%} intervals of return, volatility, Sharpe ratio and worst "
        f"drawdown of {', '.join(r.name for r in runs)}",
        f"Dot: the record. Bar: {CONFIDENCE:.0%} interval over {_RESAMPLES:,} "
        "stationary-bootstrap resamples of its dates (Politis and Romano 1994). The "
        f"{EVENT_RISK}. Intervals that overlap are of the same dates: see the "
        "difference in the table.",
        words,
    )


def _said(key: str, v: Interval) -> str:
    name, share = SHOWN[key]
    show = (lambda x: percent(x, 1)) if share else number
    return f"{name.lower()} {show(v.estimate)}, {show(v.low)} to {show(v.high)}"


def interval_table(
    runs: Sequence[Run], found: Sequence[Mapping[str, Interval]]
) -> Table | None:
    """The same intervals as text."""
    if not found:
        return None
    rows = []
    for run, one in zip(runs, found, strict=True):
        cells = [run.name]
        for key, (_, share) in SHOWN.items():
            v = one[key]
            show = (lambda x: percent(x, 1)) if share else number
            cells.append(f"{show(v.estimate)} [{show(v.low)}, {show(v.high)}]")
        rows.append(cells)
    return Table(
        "intervals",
        f"Figures with {CONFIDENCE:.0%} intervals",
        ("Strategy", *(name for name, _ in SHOWN.values())),
        rows,
        "Stationary bootstrap of the dates of one record: no shock that is not in it.",
    )


def frames(
    runs: Sequence[Run],
    found: Sequence[Mapping[str, Interval]],
    weights: Sequence[Exposure],
) -> dict[str, Any]:
    """Numbers of these pictures for the CSV files."""
    import pandas as pd

    out: dict[str, Any] = {}
    if found:
        out["intervals"] = pd.DataFrame(
            [
                {"strategy": r.name, "figure": key} | one[key]._asdict()
                for r, one in zip(runs, found, strict=True)
                for key in SHOWN
            ]
        )
    if weights:
        out["exposure"] = pd.concat(
            [
                pd.DataFrame(
                    {
                        "date": w.dates.astype(str),
                        "strategy": w.name,
                        "ai_roles": w.theme.round(6),
                        "effective_names": w.effective.round(4),
                    }
                    | dict(zip(w.families, w.weights.round(6).T, strict=True))
                )
                for w in weights
            ],
            ignore_index=True,
        )
    return out


def _days(dates: np.ndarray) -> np.ndarray:
    return dates.astype("datetime64[D]").astype(object)


def _date_axis(axis: Any) -> None:
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
