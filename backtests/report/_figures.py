"""Pictures of stress and proposal as inline SVG, one function each.

Every picture carries the stamps of the report, because pictures get copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from backtests.report._inputs import (
    ReportInputs,
    brief,
    by_role,
    day,
    label,
    labels_of,
    loss_text,
    loss_words,
    percent,
    short_name,
    signed,
    spearman,
)
from backtests.report._style import (
    AFTER,
    BASE,
    BEFORE,
    EDGE,
    EVENT,
    FAINT,
    GRID,
    INK,
    PAPER,
    Picture,
    bars,
    colour,
    draw,
    family_legend,
    finish,
    loss_axis,
    percent_axis,
)
from engine._stress import ShockResult

_MOST_BARS = 30
LOSS_AXIS = "← gain | loss of net asset value →"


def _grouped(inputs: ReportInputs, result: ShockResult, by: str) -> dict[str, float]:
    assets, values = inputs.stress.scenarios.assets, result.by_asset
    out: dict[str, float] = {}
    if by == "role":
        out = {k: loss for k, (_, loss) in by_role(inputs.stress, result.name).items()}
        return dict(sorted(out.items(), key=lambda pair: -pair[1]))
    for key, value, weight in zip(
        labels_of(inputs, assets, by), values, inputs.stress.weights, strict=True
    ):
        if weight:
            out[key] = out.get(key, 0.0) + float(value)
    return dict(sorted(out.items(), key=lambda pair: -pair[1]))


def presets(inputs: ReportInputs) -> Picture:
    """Each shock: centre, band, severe point; the realised loss; past sessions."""
    results = inputs.stress.results
    after = () if inputs.stress_after is None else inputs.stress_after.results
    with_past = inputs.history is not None
    row = 0.95 if after else 0.62
    height = 1.5 + row * len(results) + (1.3 if with_past else 0.0)
    figure, axes = draw(
        height,
        nrows=2 if with_past else 1,
        sharex=True,
        squeeze=False,
        height_ratios=[row * len(results), 1.15] if with_past else None,
    )
    axis = axes[0, 0]
    for k, now in enumerate(results):
        pairs = [(now, -0.12 if after else 0.0, INK, 6)]
        if after:
            pairs.append((after[k], 0.16, AFTER, -14))
        for result, shift, paint, above in pairs:
            y = k + shift
            axis.plot(result.band, [y, y], color=paint, lw=2.2, alpha=0.55, zorder=2)
            axis.plot(result.band, [y, y], "|", color=paint, ms=8, zorder=2)
            axis.plot(result.loss, y, "o", color=paint, ms=7, zorder=4)
            axis.plot(result.severe, y, "D", mfc=PAPER, mec=paint, ms=5.5, zorder=3)
            axis.annotate(
                loss_text(result.loss, 1),
                (result.loss, y),
                (0, above),
                textcoords="offset points",
                ha="center",
                fontsize=9.5,
                color=paint,
                bbox={
                    "facecolor": PAPER,
                    "edgecolor": "none",
                    "alpha": 0.8,
                    "pad": 0.6,
                },
                zorder=3,
            )
    axis.set_yticks(range(len(results)), [brief(short_name(r.name)) for r in results])
    axis.set_ylim(len(results) - 0.45, -0.62)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    axis.axvline(0, color=EDGE, lw=0.8)
    handles = [
        Line2D([], [], color=INK, marker="o", lw=2.2, label="centre, 5-95% band"),
        Line2D([], [], color=INK, marker="D", mfc=PAPER, lw=0, label="severe"),
    ]
    if after:
        handles.append(Line2D([], [], color=AFTER, marker="o", lw=2.2, label="target"))
    told = ""
    if inputs.realised is not None:
        for panel in axes[:, 0]:
            panel.axvline(inputs.realised.book_loss, color=EVENT, lw=1.4, ls="--")
        handles.append(
            Line2D(
                [],
                [],
                color=EVENT,
                ls="--",
                label=f"realised {day(inputs.event)}: "
                f"{loss_text(inputs.realised.book_loss, 1)}",
            )
        )
        told = (
            f" The dashed line is what happened on {inputs.event}, "
            f"{loss_words(inputs.realised.book_loss)}: information, not a target."
        )
    bottom = axes[-1, 0]
    if inputs.history is not None:
        dates, losses = (np.asarray(part) for part in inputs.history)
        losses = losses[np.isfinite(losses)]
        bottom.hist(losses, bins=60, color=BEFORE, log=True, histtype="stepfilled")
        bottom.set_ylabel("sessions")
        bottom.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        bottom.set_title(
            f"{losses.size:,} past sessions, {dates.min()} to {dates.max()}",
            fontsize=9.5,
        )
        bottom.grid(axis="x")
    loss_axis(bottom)
    bottom.set_xlabel(LOSS_AXIS)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    alt = "Loss under each shock with its band: " + "; ".join(
        f"{short_name(r.name)} {loss_words(r.loss)}" for r in results
    )
    caption = (
        "Dot: the shock at its own parameters. Bar: 5-95% of the severity draws. "
        "Diamond: 90th percentile through the worst lens, gains not counted." + told
    )
    if inputs.history is not None:
        caption += (
            " Below: one-session losses of the same weights in the past, log count."
        )
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "presets",
        "Loss under each preset",
        alt,
        caption,
        [
            f"{short_name(r.name)}: {loss_words(r.loss)}, severe "
            f"{loss_text(r.severe)}, 5-95% band {loss_text(r.band[0])} to "
            f"{loss_text(r.band[1])}."
            for r in results
        ],
    )


def holdings(inputs: ReportInputs) -> Picture | None:
    """Loss of every holding under the first two shocks, coloured by role."""
    stress, results = inputs.stress, inputs.stress.results[:2]
    held = np.flatnonzero(stress.weights != 0)
    if not held.size or not results:
        return None
    order = held[np.argsort(-results[0].by_asset[held], kind="stable")]
    cut = order.size > _MOST_BARS
    if cut:
        size = np.abs([r.by_asset for r in results]).max(axis=0)
        keep = set(held[np.argsort(-size[held], kind="stable")][:_MOST_BARS].tolist())
        order = np.array([i for i in order if int(i) in keep])
    assets = stress.scenarios.assets
    roles = labels_of(inputs, [assets[i] for i in order], "role")
    y = np.arange(order.size)
    figure, axes = draw(
        1.5 + 0.215 * order.size, ncols=len(results), sharey=True, squeeze=False
    )
    for axis, result in zip(axes[0], results, strict=True):
        bars(axis, y, result.by_asset[order], roles)
        axis.axvline(0, color=EDGE, lw=0.8)
        axis.grid(axis="x")
        axis.set_title(
            f"{brief(short_name(result.name), 16)}: {loss_text(result.loss)}"
        )
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(100 * v):g}%"))
        axis.set_xlabel("← gain | loss →")
        axis.tick_params(axis="y", length=0)
    first = axes[0, 0]
    first.set_yticks(y, [brief(assets[i], 16) for i in order])
    first.set_ylim(order.size - 0.4, -0.6)
    family_legend(figure, roles)
    worst = assets[order[0]]
    alt = f"Loss by holding; the largest under {short_name(results[0].name)} is {worst}"
    caption = "Share of net asset value lost through each holding; bars sum to the "
    caption += "figure above them."
    if cut:
        caption = (
            f"The {_MOST_BARS} largest of {held.size} holdings; the rest are in the "
            "table. Share of net asset value."
        )
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "holdings",
        "Loss by holding",
        alt,
        caption,
        [
            f"{assets[i]} ({label(role)}): "
            + ", ".join(loss_text(float(r.by_asset[i])) for r in results)
            + "."
            for i, role in zip(order, roles, strict=True)
        ],
    )


def groups(inputs: ReportInputs) -> Picture | None:
    """Loss by role and by country: bars for the first shock, ticks for the others."""
    results = inputs.stress.results
    if not results:
        return None
    sums = {
        by: [_grouped(inputs, r, by) for r in results] for by in ("role", "country")
    }
    sizes = [len(sums[by][0]) for by in sums]
    figure, axes = draw(
        1.9 + 0.24 * sum(sizes),
        nrows=2,
        squeeze=False,
        height_ratios=[s + 1.2 for s in sizes],
    )
    markers = ("o", "D", "s", "^", "v", "P")
    roles: list[str] = []
    for axis, (by, tables) in zip(axes[:, 0], sums.items(), strict=True):
        keys = list(tables[0])
        y = np.arange(len(keys))
        roles = keys if by == "role" else roles
        if by == "role":
            bars(axis, y, list(tables[0].values()), keys)
        else:
            axis.barh(y, list(tables[0].values()), height=0.74, color=BASE)
        for marker, table in zip(markers, tables[1:], strict=False):
            axis.plot([table[k] for k in keys], y, marker, mfc=PAPER, mec=INK, ms=5)
        axis.set_yticks(y, [brief(label(k)) for k in keys])
        axis.set_ylim(len(keys) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.axvline(0, color=EDGE, lw=0.8)
        axis.grid(axis="x")
        axis.set_title(f"by {by}")
        loss_axis(axis)
    axes[-1, 0].set_xlabel(LOSS_AXIS)
    handles: list[Any] = [
        Patch(facecolor=BASE, label=f"bar: {brief(short_name(results[0].name))}")
    ]
    handles += [
        Line2D(
            [],
            [],
            marker=m,
            mfc=PAPER,
            mec=INK,
            lw=0,
            label=brief(short_name(r.name)),
        )
        for m, r in zip(markers, results[1:], strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    top = next(iter(sums["role"][0]))
    alt = f"Loss by role and country; the largest role is {label(top)}"
    caption = "Each column of marks sums to the loss of its preset. Role colours are "
    caption += "those of the holdings picture."
    if inputs.stress.looked_through():
        caption += " By role, funds are looked through; by country they are not."
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "groups",
        "Loss by role and by country",
        alt,
        caption,
        [
            f"By {by}, {short_name(results[0].name)}: "
            + "; ".join(f"{label(k)} {loss_text(v)}" for k, v in tables[0].items())
            + "."
            for by, tables in sums.items()
        ],
    )


def agreement(inputs: ReportInputs) -> tuple[dict[str, float], Picture] | None:
    """Modelled against realised move of each asset, and how far they differ."""
    realised, results = inputs.realised, inputs.stress.results
    if realised is None or not results:
        return None
    moves, scenarios = results[0].moves, inputs.stress.scenarios
    position = {a: i for i, a in enumerate(moves.assets)}
    names = [
        a
        for a in scenarios.assets
        if a in position
        and not a.startswith("CASH:")
        and np.isfinite(realised.by_asset.get(a, np.nan))
    ]
    if not names:
        return None
    weight = dict(zip(scenarios.assets, inputs.stress.weights, strict=True))
    x = np.array([moves.central[position[a]] for a in names])
    y = np.array([float(realised.by_asset[a]) for a in names])
    held = np.array([weight[a] != 0 for a in names], dtype=bool)
    roles = labels_of(inputs, names, "role")
    stats = {
        "held": float(held.sum()),
        "all": float(len(names)),
        "mae_held": float(np.abs(x - y)[held].mean()) if held.any() else np.nan,
        "mae_all": float(np.abs(x - y).mean()),
        "rank_held": spearman(x[held], y[held]),
        "rank_all": spearman(x, y),
    }
    figure, axis = draw(5.6)
    low = min(x.min(), y.min(), 0.0) - 0.02
    high = max(x.max(), y.max(), 0.0) + 0.03
    axis.plot([low, high], [low, high], color=FAINT, lw=1, ls="--", zorder=1)
    axis.axhline(0, color=GRID, lw=0.8, zorder=0)
    axis.axvline(0, color=GRID, lw=0.8, zorder=0)
    for xi, yi, role, mine in zip(x, y, roles, held, strict=True):
        axis.plot(
            xi,
            yi,
            "o" if mine else "s",
            ms=6.5 if mine else 4,
            mfc=colour(role) if mine else PAPER,
            mec=INK if mine else BEFORE,
            mew=0.6,
            zorder=3 if mine else 2,
        )
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    for target in (axis.xaxis, axis.yaxis):
        percent_axis(target, 8)
    axis.set_xlabel(f"modelled move, {brief(short_name(results[0].name))}, centre")
    axis.set_ylabel(f"realised return, {day(inputs.event)}")
    axis.set_aspect("equal")
    handles: list[Any] = [
        Line2D([], [], marker="o", mfc=BEFORE, mec=INK, lw=0, label="held"),
        Line2D([], [], marker="s", mfc=PAPER, mec=BEFORE, lw=0, label="not held"),
        Line2D([], [], color=FAINT, ls="--", label="equal"),
    ]
    axis.legend(handles=handles, loc="upper left")
    far = np.argsort(-(np.abs(x) + np.abs(y) + np.abs(x - y)) - 9.0 * held)
    _place_labels(figure, axis, x, y, names, far)
    alt = f"Modelled against realised move of {len(names)} assets"
    caption = (
        f"Held names: mean absolute error {percent(stats['mae_held'], 1)}, rank "
        f"correlation {stats['rank_held']:.2f} ({held.sum()} names); all "
        f"{len(names)} names: {percent(stats['mae_all'], 1)} and "
        f"{stats['rank_all']:.2f}. Nothing in this run was tuned to the day; but the "
        "multipliers by role are judgement made after it, and one is a fit to it, so "
        "agreement here is no validation."
    )
    picture = finish(
        figure,
        inputs.short_stamps(of="stress"),
        "agreement",
        f"Modelled and realised moves, {day(inputs.event)}",
        alt,
        caption,
        [
            f"{a}: modelled {signed(xi, 1)}, realised {signed(yi, 1)}."
            for a, xi, yi, mine in zip(names, x, y, held, strict=True)
            if mine
        ],
    )
    return stats, picture


def _place_labels(
    figure: Figure, axis: Any, x: Any, y: Any, names: list[str], order: Any
) -> None:
    """Tickers beside their points where there is room; never one over another."""
    figure.draw_without_rendering()
    points = axis.transData.transform(np.column_stack([x, y]))
    frame = axis.get_window_extent()
    # Boxes in pixels at 100 dots an inch; 8 points high text.
    boxes = [(px - 4, py - 4, px + 4, py + 4) for px, py in points]
    for i in order:
        text = brief(names[i], 12)
        w, h = 7.2 * len(text) + 2, 12.0
        px, py = points[i]
        for dx, dy in ((6, -4), (-6 - w, -4), (-w / 2, 6), (-w / 2, -17), (5, 5)):
            box = (px + dx, py + dy, px + dx + w, py + dy + h)
            inside = frame.x0 < box[0] and box[2] < frame.x1
            inside &= frame.y0 < box[1] and box[3] < frame.y1
            clear = all(
                box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1]
                for k, b in enumerate(boxes)
                if k != i
            )
            if inside and clear:
                boxes.append(box)
                axis.annotate(
                    text,
                    (x[i], y[i]),
                    (dx * 0.72, dy * 0.72 + 2),
                    textcoords="offset points",
                    fontsize=8.5,
                    color=INK,
                )
                break


def allocation(inputs: ReportInputs, by: Sequence[str], key: str) -> Picture | None:
    """Weights before and after, as paired bars, for each grouping."""
    proposal = inputs.proposal
    if proposal is None:
        return None
    tables = []
    for grouping in by:
        sums: dict[str, np.ndarray] = {}
        for name, now, then in zip(
            labels_of(inputs, proposal.labels, grouping),
            proposal.current,
            proposal.target,
            strict=True,
        ):
            sums[name] = sums.get(name, 0.0) + np.array([now, then])
        sums = {k: v for k, v in sums.items() if np.abs(v).max() > 5e-5}
        tables.append(sorted(sums.items(), key=lambda pair: -max(pair[1])))
    sizes = [len(t) for t in tables]
    figure, axes = draw(
        1.1 + 0.33 * sum(sizes) + 0.25 * len(by),
        nrows=len(by),
        squeeze=False,
        height_ratios=[s + 0.6 for s in sizes],
    )
    for axis, grouping, table in zip(axes[:, 0], by, tables, strict=True):
        y = np.arange(len(table))
        now, then = (np.array([v[k] for _, v in table]) for k in (0, 1))
        axis.barh(y - 0.2, now, height=0.36, color=BEFORE, label="before")
        axis.barh(y + 0.2, then, height=0.36, color=AFTER, label="after")
        for yi, a, b in zip(y, now, then, strict=True):
            for value, shift in ((a, -0.2), (b, 0.2)):
                axis.annotate(
                    percent(value, 1),
                    (value, yi + shift),
                    (3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                    color=INK,
                )
        axis.set_yticks(y, [brief(label(k)) for k, _ in table])
        axis.set_ylim(len(table) - 0.4, -0.6)
        axis.set_xlim(
            min(0.0, now.min(), then.min()), 1.14 * max(now.max(), then.max())
        )
        axis.tick_params(axis="y", length=0)
        percent_axis(axis.xaxis)
        axis.grid(axis="x")
        axis.set_title(f"weight by {grouping}")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2
    )
    names = " and ".join(by)
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        key,
        f"Before and after, by {names}",
        f"Weights before and after the proposal by {names}",
        "Share of net asset value; currency is that of the exposure, not of the quote."
        if "currency" in by
        else "Share of net asset value.",
        [
            f"By {grouping}: "
            + "; ".join(
                f"{label(k)} {percent(v[0], 1)} before, {percent(v[1], 1)} after"
                for k, v in table
            )
            + "."
            for grouping, table in zip(by, tables, strict=True)
        ],
    )
