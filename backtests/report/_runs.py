"""Walk-forward and seeds: their pictures, and the table of figures with errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from backtests.report._inputs import (
    ReportInputs,
    Run,
    brief,
    day,
    label,
    percent,
    short_stamp,
    signed,
)
from backtests.report._style import (
    AFTER,
    EDGE,
    EVENT,
    GRID,
    INK,
    RUN_STYLES,
    Picture,
    draw,
    finish,
    percent_axis,
    thinned,
)
from engine.errors import DataError

_AROUND = 20
FALLS = (
    ("2007-10-09", "2009-03-09", "financial crisis"),
    ("2011-04-29", "2011-10-03", "euro crisis"),
    ("2018-09-20", "2018-12-24", "tightening of late 2018"),
    ("2020-02-19", "2020-03-23", "COVID-19"),
    ("2022-01-03", "2022-10-12", "rise of interest rates"),
    ("2025-02-19", "2025-04-08", "tariffs"),
)
"""Falls of the S&P 500 from high to low by its closes: first date, last date, name."""


def seed_columns(table: Any) -> list[str]:
    """Figures of the seeds table: numeric columns beside seed, event_day, strategy.

    Raises
    ------
    DataError
        One of the three is missing.
    """
    if table is None:
        return []
    keys = ("seed", "event_day", "strategy")
    missing = [k for k in keys if k not in table.columns]
    if missing:
        raise DataError(
            "the table of seeds lacks a column",
            received=", ".join(map(str, table.columns)),
            expected=", ".join(keys),
        )
    numeric = table.select_dtypes("number").columns
    return [str(c) for c in numeric if c not in keys]


def walk_forward(inputs: ReportInputs, runs: Sequence[Run]) -> Picture | None:
    """Value on a log scale and drawdown, the event marked."""
    if not runs:
        return None
    figure, axes = draw(5.2, nrows=2, sharex=True, height_ratios=[2.1, 1])
    top, bottom = axes
    for k, run in enumerate(runs):
        paint, dash = RUN_STYLES[k % len(RUN_STYLES)]
        days = run.dates.astype("datetime64[D]").astype(object)
        at = thinned(run.value)
        top.plot(days[at], run.value[at] / run.initial, dash, color=paint, lw=1.5)
        at = thinned(run.drawdown)
        bottom.plot(
            days[at], -run.drawdown[at], dash, color=paint, lw=1.1,
            label=brief(run.name),
        )  # fmt: skip
    top.set_yscale("log")
    grown = np.concatenate([r.value / r.initial for r in runs])
    wide = grown.max() / grown.min() > 4
    top.yaxis.set_major_locator(
        LogLocator(subs=(1, 2, 3, 5) if wide else (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7))
    )
    top.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    top.yaxis.set_minor_formatter(NullFormatter())
    top.set_ylim(0.94 * grown.min(), 1.1 * grown.max())
    top.set_ylabel("value, start = 1 (log)")
    bottom.set_ylabel("drawdown")
    bottom.yaxis.set_major_formatter(FuncFormatter(lambda v, _: percent(abs(v), 0)))
    locator = AutoDateLocator()
    bottom.xaxis.set_major_locator(locator)
    bottom.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    first, last = runs[0].dates[0], runs[0].dates[-1]
    inside = bool(first <= inputs.event <= last)
    if inside:
        when = inputs.event.astype("datetime64[D]").astype(object)
        for axis in axes:
            axis.axvline(when, ymax=0.97, color=EVENT, lw=1.1, zorder=1)
        late = (inputs.event - first) / (last - first) > 0.5
        top.annotate(
            day(inputs.event),
            (when, 0.03),
            (-5 if late else 5, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if late else "left",
            fontsize=9.5,
            color=EVENT,
        )
    marks = dated(inputs, runs)
    for k, (begin, end, _) in enumerate(marks, 1):
        ends = [d.astype("datetime64[D]").astype(object) for d in (begin, end)]
        for axis in axes:
            axis.axvspan(*ends, color=GRID, alpha=0.6, lw=0, zorder=0)
        top.annotate(
            str(k),
            (ends[0] + (ends[1] - ends[0]) / 2, 0.93),
            xycoords=("data", "axes fraction"),
            ha="center",
            fontsize=9,
            color=INK,
        )
    for axis in axes:
        axis.grid(axis="y")
    figure.legend(
        *bottom.get_legend_handles_labels(), loc="outside lower center", ncols=4
    )
    alt = f"Value and drawdown of {', '.join(r.name for r in runs)}, {first} to {last}"
    caption = "After costs. Each strategy decides on what was known at the close and "
    caption += "trades later, unless a stamp says otherwise."
    if inside:
        caption += f" The line marks {inputs.event}."
    if marks:
        caption += " Shaded: " + "; ".join(
            f"{k} {what}, {begin} to {end}"
            for k, (begin, end, what) in enumerate(marks, 1)
        )
        caption += "."
    return finish(
        figure,
        inputs.short_stamps(of="walk"),
        "walk",
        "Value and drawdown",
        alt,
        caption,
        [
            f"{r.name}: from 1 to {r.value[-1] / r.initial:.2f}, lowest "
            f"{r.value.min() / r.initial:.2f}; worst drawdown "
            f"{percent(r.drawdown.max(), 1)} at {r.dates[int(np.argmax(r.drawdown))]}."
            for r in runs
        ],
    )


def dated(
    inputs: ReportInputs, runs: Sequence[Run]
) -> list[tuple[np.datetime64, np.datetime64, str]]:
    """Spans to shade: known falls of the market, or the worst one of a drawn path."""
    first, last = runs[0].dates[0], runs[0].dates[-1]
    if inputs.synthetic:
        # A generated path has no history to date; its own worst fall is what it has.
        low = int(np.argmax(runs[0].drawdown))
        peak = int(np.argmax(runs[0].value[: low + 1]))
        if low == peak:
            return []
        what = f"worst fall of {brief(runs[0].name)}"
        return [(runs[0].dates[peak], runs[0].dates[low], what)]
    spans = [(np.datetime64(a), np.datetime64(b), what) for a, b, what in FALLS]
    return [s for s in spans if first <= s[0] and s[1] <= last]


def around(inputs: ReportInputs, runs: Sequence[Run]) -> Picture | None:
    """Value in the sessions around the event, rebased at the close before it."""
    if not runs:
        return None
    at = int(np.searchsorted(runs[0].dates, inputs.event))
    if not 0 < at < runs[0].dates.size or runs[0].dates[at] != inputs.event:
        return None
    low, high = max(0, at - 1 - _AROUND), min(runs[0].dates.size, at + _AROUND)
    steps = np.arange(low, high) - at
    figure, axis = draw(3.2)
    for k, run in enumerate(runs):
        paint, dash = RUN_STYLES[k % len(RUN_STYLES)]
        axis.plot(
            steps,
            run.value[low:high] / run.value[at - 1] - 1.0,
            dash,
            color=paint,
            lw=1.6,
            label=brief(run.name),
        )
    axis.axvline(0, ymax=0.97, color=EVENT, lw=1.1, zorder=1)
    axis.axhline(0, color=EDGE, lw=0.8, zorder=0)
    axis.annotate(
        day(inputs.event),
        (0, 0.9),
        (5, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=9.5,
        color=EVENT,
    )
    percent_axis(axis.yaxis)
    axis.set_xlabel("sessions from the event")
    axis.set_ylabel("since the close before")
    axis.grid(axis="y")
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside lower center", ncols=4
    )
    return finish(
        figure,
        inputs.short_stamps(of="walk"),
        "around",
        f"Around {day(inputs.event)}",
        f"Value of each strategy around {inputs.event}",
        "Rebased at the close before the event.",
        [
            f"{r.name}: {signed(r.value[at] / r.value[at - 1] - 1.0)} on the day, "
            f"{signed(r.value[high - 1] / r.value[at - 1] - 1.0)} by "
            f"{r.dates[high - 1]}."
            for r in runs
        ],
    )


def seeds(inputs: ReportInputs, columns: Sequence[str]) -> Picture | None:
    """Spread over generated markets: a dot per seed, a bar at the median."""
    table = inputs.seeds
    if table is None or not columns or not len(table):
        return None
    shown = list(columns)[:4]
    strategies = list(dict.fromkeys(table["strategy"].astype(str)))
    flags = sorted(set(table["event_day"].astype(bool)), reverse=True)
    rows = (len(shown) + 1) // 2
    figure, axes = draw(
        0.9 + rows * (0.7 + 0.42 * len(strategies)),
        nrows=rows,
        ncols=min(2, len(shown)),
        squeeze=False,
        sharey=True,
    )
    paints = {True: EVENT, False: AFTER}
    for axis, column in zip(axes.flat, shown, strict=False):
        for k, name in enumerate(strategies):
            for flag in flags:
                mine = (table["strategy"].astype(str) == name) & (
                    table["event_day"].astype(bool) == flag
                )
                values = table.loc[mine, column].to_numpy(np.float64)
                values = values[np.isfinite(values)]
                y = k + (0.0 if len(flags) == 1 else (-0.17 if flag else 0.17))
                axis.plot(
                    values,
                    np.full(values.size, y),
                    "o",
                    ms=4,
                    mfc=paints[flag],
                    mec="none",
                    alpha=0.45,
                )
                if values.size:
                    axis.plot(
                        np.median(values), y, "|", color=paints[flag], ms=13, mew=2.2
                    )
        axis.set_title(brief(label(column)))
        if is_ratio(column):
            axis.xaxis.set_major_locator(MaxNLocator(4))
        else:
            percent_axis(axis.xaxis, 4)
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    axes[0, 0].set_yticks(range(len(strategies)), [brief(s) for s in strategies])
    axes[0, 0].set_ylim(len(strategies) - 0.5, -0.5)
    handles = [
        Line2D(
            [],
            [],
            marker="o",
            lw=0,
            color=paints[flag],
            label="with the event day" if flag else "without it",
        )
        for flag in flags
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    n = table["seed"].nunique()
    return finish(
        figure,
        tuple(dict.fromkeys(("SYNTHETIC", *map(short_stamp, inputs.stamps)))),
        "seeds",
        f"The same rules on {n} generated markets",
        f"Spread of {', '.join(map(label, shown))} over {n} seeds",
        "SYNTHETIC prices: one dot per seed, the bar is the median. The spread between "
        "seeds is the part of any result that is luck.",
        ["Medians and ranges are in the table below the picture."],
    )


def is_ratio(column: str) -> bool:
    """Whether a column is a plain number rather than a fraction."""
    return any(k in column.lower() for k in ("sharpe", "ratio", "count", "decisions"))
