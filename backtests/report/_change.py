"""Pictures of a proposal: every trade before and after, and what each limit costs."""

from __future__ import annotations

import numpy as np
from matplotlib.lines import Line2D

from backtests.report._inputs import (
    ReportInputs,
    brief,
    label,
    number,
    percent,
    short_name,
)
from backtests.report._style import (
    AFTER,
    BEFORE,
    EDGE,
    INK,
    PAPER,
    Picture,
    draw,
    finish,
    percent_axis,
)

_MOST_TRADES = 30


def trades(inputs: ReportInputs) -> Picture | None:
    """Weight of every traded position before and after, largest trade first."""
    proposal = inputs.proposal
    if proposal is None or not proposal.trades:
        return None
    made = sorted(proposal.trades, key=lambda t: -abs(t.value))
    shown = made[:_MOST_TRADES]
    y = np.arange(len(shown))
    before = np.array([t.weight_before for t in shown])
    after = np.array([t.weight_after for t in shown])
    figure, axis = draw(1.2 + 0.215 * len(shown))
    for k, (a, b) in enumerate(zip(before, after, strict=True)):
        axis.plot([a, b], [k, k], color=AFTER if b > a else BEFORE, lw=2.2, zorder=1)
    axis.plot(before, y, "o", ms=5.5, mfc=PAPER, mec=INK, lw=0, zorder=2)
    axis.plot(after, y, "o", ms=6, color=AFTER, lw=0, zorder=3)
    axis.set_yticks(y, [brief(t.ticker, 14) for t in shown])
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    percent_axis(axis.xaxis)
    axis.axvline(0, color=EDGE, lw=0.8, zorder=0)
    axis.grid(axis="x")
    axis.set_xlabel("weight, of net asset value")
    handles = [
        Line2D([], [], marker="o", mfc=PAPER, mec=INK, lw=0, label="before"),
        Line2D([], [], marker="o", color=AFTER, lw=0, label="after"),
        Line2D([], [], color=AFTER, lw=2.2, label="bought"),
        Line2D([], [], color=BEFORE, lw=2.2, label="sold"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    sold = sum(t.value < 0 for t in made)
    caption = f"{len(made)} trades: {sold} sales and {len(made) - sold} purchases"
    caption += f", turnover {percent(proposal.turnover, 1)}."
    if len(made) > _MOST_TRADES:
        caption += f" The {_MOST_TRADES} largest are drawn; all are in the table."
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "trades",
        "Trades, before and after",
        f"Weight before and after of the {len(shown)} largest trades, the first "
        f"{shown[0].ticker}",
        caption,
        [
            f"{t.ticker}: {percent(t.weight_before)} before, "
            f"{percent(t.weight_after)} after."
            for t in shown
        ],
    )


def prices(inputs: ReportInputs) -> Picture | None:
    """What one more point of each binding limit would save."""
    proposal = inputs.proposal
    if proposal is None or not proposal.prices:
        return None
    rows = [
        (str(r["limit"]), float(r["bp_per_point"]))
        for r in proposal.prices_frame().to_dict("records")
        if np.isfinite(r["price"]) and r["price"] > 0
    ]
    if not rows:
        return None
    y = np.arange(len(rows))
    saved = np.array([v for _, v in rows])
    figure, axis = draw(1.1 + 0.34 * len(rows))
    axis.barh(y, saved, height=0.62, color=AFTER)
    for k, v in enumerate(saved):
        axis.annotate(
            number(v, 2),
            (v, k),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axis.set_yticks(y, [_limit(name) for name, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, 1.18 * saved.max())
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
    unit = " and ".join(proposal.objective_parts) or "the objective"
    axis.set_xlabel(f"basis points of {unit} per point of the limit")
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "prices",
        "Price of each limit",
        f"What one more point of each of {len(rows)} binding limits would save; the "
        f"dearest is {_limit(rows[0][0])}",
        "The dual of each limit in the problem before rounding, for small changes. A "
        "limit that is not here costs nothing at the margin.",
        [f"{_limit(name)}: {number(v, 2)} basis points." for name, v in rows],
    )


def _limit(name: str) -> str:
    if name.startswith("stress:"):
        return brief(f"stress, {short_name(name)}")
    return brief(label(name))
