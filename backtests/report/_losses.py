"""Pictures of where a loss arises and how unusual it is: waterfall, map, plausibility.

All of the first shock of the report, by its central loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from backtests.report._inputs import (
    ReportInputs,
    brief,
    label,
    labels_of,
    loss_text,
    number,
    percent,
    short_name,
)
from backtests.report._style import (
    BASE,
    EDGE,
    EVENT,
    GAIN,
    INK,
    LOSS,
    PAPER,
    Picture,
    draw,
    finish,
    loss_axis,
)

_MOST_STEPS = 14
_MOST_PLACES = 9
_TEXT_FROM = 5e-5  # smaller prints as 0.0%


def waterfall(inputs: ReportInputs) -> Picture | None:
    """Loss of the book as steps: one holding after another, the rest, the total."""
    stress = inputs.stress
    held = np.flatnonzero(stress.weights != 0)
    if not held.size or not stress.results:
        return None
    result = stress.results[0]
    steps = [(stress.scenarios.assets[i], float(result.by_asset[i])) for i in held]
    steps.sort(key=lambda step: -abs(step[1]))
    rest = steps[_MOST_STEPS:]
    steps = sorted(steps[:_MOST_STEPS], key=lambda step: -step[1])
    if rest:
        steps.append((f"{len(rest)} others", sum(loss for _, loss in rest)))
    sizes = np.array([loss for _, loss in steps])
    ends = np.cumsum(sizes)
    starts = ends - sizes
    total = float(ends[-1])
    figure, axis = draw(1.2 + 0.27 * (len(steps) + 1))
    y = np.arange(len(steps) + 1)
    paint = [LOSS if v >= 0 else GAIN for v in sizes]
    hatch = ["" if v >= 0 else "///" for v in sizes]
    axis.barh(
        y[:-1],
        sizes,
        left=starts,
        height=0.7,
        color=paint,
        hatch=hatch,
        edgecolor=PAPER,
        linewidth=0.4,
    )
    axis.barh(y[-1], total, height=0.7, color=INK)
    for k in range(len(steps)):
        axis.plot([ends[k]] * 2, [k - 0.35, k + 1.35], color=EDGE, lw=0.7)
    reach = max(float(ends.max()), float(starts.max()), 0.0)
    low = min(float(ends.min()), float(starts.min()), 0.0)
    room = 0.17 * max(reach - low, 1e-9)
    for k, (a, b, v) in enumerate(
        zip([*starts, 0.0], [*ends, total], [*sizes, total], strict=True)
    ):
        axis.annotate(
            loss_text(v),
            (max(a, b), k),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    axis.set_xlim(low - 0.02 * (reach - low), reach + room)
    axis.set_yticks(y, [*(brief(name, 16) for name, _ in steps), "book"])
    axis.set_ylim(y[-1] + 0.6, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.axvline(0, color=EDGE, lw=0.8)
    axis.grid(axis="x")
    loss_axis(axis)
    axis.set_xlabel("loss so far, of net asset value")
    name = short_name(result.name)
    caption = "Each bar starts where the one above ends; hatched bars are gains and "
    caption += "step back. "
    caption += (
        f"The {_MOST_STEPS} largest of {held.size} holdings, the rest together."
        if rest
        else "Every holding is shown."
    )
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "waterfall",
        f"How the loss adds up, {brief(name)}",
        f"Waterfall of the loss under {name}: {len(steps)} steps to "
        f"{loss_text(total)}, the largest {steps[0][0]} with {loss_text(steps[0][1])}",
        caption,
        [
            f"{step}: {loss_text(size)}, {loss_text(end)} so far."
            for (step, size), end in zip(steps, ends, strict=True)
        ],
    )


def role_country(inputs: ReportInputs) -> tuple[list[str], list[str], np.ndarray]:
    """Loss of each role (rows) in each country (columns) under the first shock."""
    stress = inputs.stress
    assets = stress.scenarios.assets
    country = dict(zip(assets, labels_of(inputs, assets, "country"), strict=True))
    sums: dict[tuple[str, str], float] = {}
    for part in stress.by_holding_and_role(stress.results[0].name):
        role = "cash" if part.asset.startswith("CASH:") else part.role
        key = role, country[part.asset]
        sums[key] = sums.get(key, 0.0) + part.loss

    def ordered(at: int) -> list[str]:
        totals: dict[str, float] = {}
        for key, loss in sums.items():
            totals[key[at]] = totals.get(key[at], 0.0) + loss
        return sorted(totals, key=lambda k: (-totals[k], k))

    roles, places = ordered(0), ordered(1)
    table = np.full((len(roles), len(places)), np.nan)
    for (role, place), loss in sums.items():
        table[roles.index(role), places.index(place)] = loss
    return roles, places, table


def heat_map(inputs: ReportInputs) -> Picture | None:
    """Role by country, the loss in every cell as a number and as a shade."""
    if not inputs.stress.results or not (inputs.stress.weights != 0).any():
        return None
    roles, places, table = role_country(inputs)
    if len(places) > _MOST_PLACES:
        rest = table[:, _MOST_PLACES - 1 :]
        empty = np.isnan(rest).all(axis=1)
        folded = np.where(empty, np.nan, np.nansum(rest, axis=1))
        table = np.column_stack([table[:, : _MOST_PLACES - 1], folded])
        places = [*places[: _MOST_PLACES - 1], "elsewhere"]
    figure, axis = draw(1.6 + 0.3 * (len(roles) + 1))
    most = float(np.nanmax(np.abs(table))) or 1.0
    for i, j in np.argwhere(np.isfinite(table)):
        v = float(table[i, j])
        # At most 0.6 of full colour keeps the number legible on either ground.
        axis.fill(
            [j - 0.48, j + 0.48, j + 0.48, j - 0.48],
            [i - 0.46, i - 0.46, i + 0.46, i + 0.46],
            color=LOSS if v >= 0 else GAIN,
            alpha=round(0.06 + 0.54 * abs(v) / most, 2),
            linewidth=0,
        )
        _cell(axis, j, i, v, "normal")
    for i, v in enumerate(np.nansum(table, axis=1)):
        _cell(axis, len(places), i, float(v), "bold")
    for j, v in enumerate(np.nansum(table, axis=0)):
        _cell(axis, j, len(roles), float(v), "bold")
    _cell(axis, len(places), len(roles), float(np.nansum(table)), "bold")
    axis.axhline(len(roles) - 0.5, color=EDGE, lw=0.8)
    axis.axvline(len(places) - 0.5, color=EDGE, lw=0.8)
    short = 14 if len(places) < 6 else 9
    axis.set_xticks(
        range(len(places) + 1), [*(brief(label(p), short) for p in places), "all"]
    )
    axis.set_yticks(
        range(len(roles) + 1), [*(brief(label(r), 20) for r in roles), "all"]
    )
    axis.xaxis.tick_top()
    if len(places) > 3:
        axis.tick_params(axis="x", rotation=35)
    axis.tick_params(length=0)
    axis.set_xlim(-0.5, len(places) + 0.5)
    axis.set_ylim(len(roles) + 0.5, -0.5)
    for spine in axis.spines.values():
        spine.set_visible(False)
    name = short_name(inputs.stress.results[0].name)
    caption = "Per cent of net asset value lost; the darker, the more. A minus sign is "
    caption += "a gain. An empty cell holds nothing."
    if inputs.stress.looked_through():
        caption += " Funds are split by role and stand in the country they are "
        caption += "labelled with."
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "heat_map",
        f"Role by country, {brief(name)}",
        f"Heat map of the loss under {name} by role and country",
        caption,
        [
            f"{label(role)}: "
            + "; ".join(
                f"{label(place)} {loss_text(float(table[i, j]))}"
                for j, place in enumerate(places)
                if np.isfinite(table[i, j])
            )
            + "."
            for i, role in enumerate(roles)
        ],
    )


def _cell(axis: Any, x: float, y: float, loss: float, weight: str) -> None:
    text = number(100 * loss, 2) if abs(loss) >= _TEXT_FROM else "0"
    axis.text(
        x, y, text, ha="center", va="center", fontsize=8.5, fontweight=weight, color=INK
    )


def plausibility(inputs: ReportInputs) -> Picture | None:
    """Each shock among the base scenarios of the book, and its distance."""
    stress = inputs.stress
    if not stress.results:
        return None
    base = stress.scenarios.base()
    losses = -(base.returns @ stress.weights)
    figure, axes = draw(
        2.7 + 0.3 * len(stress.results),
        nrows=2,
        height_ratios=[1.5, 0.5 + 0.3 * len(stress.results)],
    )
    top, bottom = axes
    span = np.linspace(losses.min(), losses.max(), 61)
    top.hist(
        losses,
        bins=span.tolist(),
        weights=base.p,
        color=BASE,
        log=True,
        histtype="stepfilled",
    )
    top.set_ylabel("share of scenarios")
    top.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
    top.yaxis.set_minor_formatter(NullFormatter())
    top.set_xlabel(
        f"loss of the book over {stress.scenarios.horizon} sessions, no shock"
    )
    top.grid(axis="y")
    for k, r in enumerate(stress.results, 1):
        top.axvline(r.loss, color=EVENT, lw=1.2)
        top.annotate(
            str(k),
            (r.loss, 0.97),
            (3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=9.5,
            color=EVENT,
        )
    loss_axis(top)
    y = np.arange(len(stress.results))
    distance = [r.distance for r in stress.results]
    bottom.barh(y, distance, height=0.62, color=BASE)
    for k, r in enumerate(stress.results):
        share = percent(r.base_share) if r.loss > 0 else "no loss"
        said = f"{number(r.distance, 1)} · as bad in {share}"
        if r.loss <= 0:
            said = f"{number(r.distance, 1)} · not a loss"
        if r.effective_share < 1.0:
            said += f" · rests on {percent(r.effective_share, 1)} of them"
        bottom.annotate(
            said,
            (r.distance, k),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    bottom.set_yticks(
        y,
        [
            f"{k} {brief(short_name(r.name), 18)}"
            for k, r in enumerate(stress.results, 1)
        ],
    )
    bottom.set_ylim(len(y) - 0.4, -0.6)
    finite = [d for d in distance if np.isfinite(d)]
    bottom.set_xlim(0, 1.75 * max(finite, default=1.0))
    bottom.tick_params(axis="y", length=0)
    bottom.set_xlabel("Mahalanobis distance in one session's law")
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "plausibility",
        "How unusual each shock is",
        "Where the loss of each shock stands among the unshocked scenarios, and how "
        "far its moves are from the model's law",
        "Above: the book's losses without any shock, with the loss of each shock as a "
        "line. Below: the distance of its moves; and the share of scenarios that lose "
        "as much. Neither is a probability of the shock.",
        [
            f"{short_name(r.name)}: distance {number(r.distance, 1)}; "
            + (
                f"{loss_text(r.loss)} or worse in {percent(r.base_share)} of the "
                "scenarios."
                if r.loss > 0
                else "not a loss."
            )
            for r in stress.results
        ],
    )
