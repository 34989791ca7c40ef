"""What a committee reads of a proposal: prices, frontier, other views, alternatives."""

from __future__ import annotations

import numpy as np

from backtests.report._inputs import (
    NOT_KNOWN,
    ReportInputs,
    loss_text,
    number,
    percent,
    short_name,
    signed,
)
from backtests.report._style import (
    AFTER,
    BEFORE,
    BLOCKED,
    EVENT,
    INK,
    Picture,
    draw,
    finish,
    loss_axis,
)
from backtests.report._tables import Table


def tables(inputs: ReportInputs) -> list[Table]:
    """Every table that the inputs allow."""
    made = (_prices(inputs), _frontier(inputs), _views(inputs), _alternatives(inputs))
    return [t for t in made if t is not None]


def sentences(inputs: ReportInputs) -> list[str]:
    """What the numbers say, most important first."""
    out: list[str] = []
    if inputs.proposal is not None:
        out += inputs.proposal.sentences()
    for part in (inputs.frontier, inputs.alternatives):
        if part is not None:
            out += part.sentences()
    if inputs.robustness is not None:
        out += inputs.robustness.sentences()[-1:]
    return out


def _prices(inputs: ReportInputs) -> Table | None:
    proposal = inputs.proposal
    if proposal is None or not proposal.prices:
        return None
    rows = [
        [str(r["limit"]), number(r["bp_per_point"], 2)]
        for r in proposal.prices_frame().to_dict("records")
        if r["price"] > 0
    ]
    if not rows:
        return None
    unit = " and ".join(proposal.objective_parts) or "the objective"
    return Table(
        "prices",
        "Price of each limit, in numbers",
        ("Limit that binds", "Basis points saved by one more point"),
        rows,
        f"Basis points of {unit} per percentage point of the limit, for small changes "
        "and before rounding. Limits that are not here cost nothing.",
    )


def _frontier(inputs: ReportInputs) -> Table | None:
    if inputs.frontier is None:
        return None
    rows = []
    for r in inputs.frontier.to_dict_rows():
        met = np.isfinite(r["loss"])
        rows.append(
            [
                percent(r["limit"]),
                loss_text(r["loss"]) if met else "not to be met",
                number(r["cost_bp"], 1),
                percent(r["turnover"], 1),
                percent(r["tracking_error"]),
                percent(r["expected_shortfall"]),
                number(r["price_bp"], 2),
            ]
        )
    return Table(
        "frontier",
        f"Proposals at every limit, {short_name(inputs.frontier.shock)}",
        (
            "Limit",
            "Loss",
            "Cost, bp",
            "Turnover",
            "Tracking error",
            "Shortfall",
            "Price, bp a point",
        ),
        rows,
        "All other limits hold in every row. Price: what one more point of permitted "
        "loss saves there.",
    )


def _views(inputs: ReportInputs) -> Table | None:
    found = inputs.robustness
    if found is None:
        return None
    rows = []
    for r in found.rows:
        error = r.standard_error
        rows.append(
            [
                r.name.replace("_", " "),
                r.measure,
                loss_text(r.before),
                loss_text(r.after),
                signed(r.difference) + (" (worst)" if r is found.worst else ""),
                percent(error) if error > 0 else "-",
                NOT_KNOWN if np.isnan(r.better) else percent(r.better, 0),
            ]
        )
    return Table(
        "views",
        "The proposal against the book, under views it was not made for",
        ("View", "Measure", "Book", "Proposal", "Difference", "Error", "Better in"),
        rows,
        "A positive difference is where the proposal is worse. Both books meet the "
        "same draws; the error is that of the difference. The cost of "
        f"{number(found.cost * 1e4, 1)} bp comes on top. " + "; ".join(found.notes),
        text=(0, 1),
    )


def _alternatives(inputs: ReportInputs) -> Table | None:
    found = inputs.alternatives
    if found is None or not found.others:
        return None
    rows = [
        [
            str(r["kind"]).replace("_", " "),
            str(r["trades"]),
            percent(r["turnover"], 1),
            number(r["cost_bp"], 1),
            number(r["extra_bp"], 2),
            percent(r["distance"], 1),
        ]
        for r in found.to_frame().to_dict("records")
    ]
    return Table(
        "alternatives",
        f"Proposals within {percent(found.tolerance, 0)} of the best objective",
        ("Proposal", "Trades", "Turnover", "Cost, bp", "Objective, bp", "Elsewhere"),
        rows,
        "Objective: what it is worse by. Elsewhere: share of the book placed otherwise "
        "than by the best.",
    )


def picture(inputs: ReportInputs) -> Picture | None:
    """Cost against the loss that remains, with the proposal marked."""
    found = inputs.frontier
    if found is None or len(found.feasible) < 2:
        return None
    rows = [r for r in found.to_dict_rows() if np.isfinite(r["loss"])]
    loss = np.array([r["loss"] for r in rows])
    cost = np.array([r["cost_bp"] for r in rows])
    figure, axis = draw(3.6)
    axis.plot(loss, cost, marker="o", color=AFTER, markersize=4.5, linewidth=1.4)
    axis.axvline(found.loss_before, color=BEFORE, linewidth=1.0, linestyle="--")
    axis.annotate(
        "book today",
        (found.loss_before, cost.max()),
        (-4, 0),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=INK,
    )
    refused = [p.limit for p in found.points if p.proposal is None and not p.unsolved]
    if refused:
        axis.axvspan(min(0.0, min(refused)), max(refused), color=BLOCKED)
    proposal = inputs.proposal
    if proposal is not None and found.shock in proposal.stress_after:
        x, y = proposal.stress_after[found.shock], proposal.cost * 1e4
        axis.plot([x], [y], marker="D", color=EVENT, markersize=7)
        axis.annotate(
            "proposal",
            (x, y),
            (7, 5),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    loss_axis(axis)
    axis.set_xlabel("severe loss that remains")
    axis.set_ylabel("cost of trading, bp")
    axis.grid()
    return finish(
        figure,
        inputs.short_stamps(of="stress"),
        "frontier",
        "What protection costs",
        f"Trading cost against the loss that remains under {found.shock}",
        "Every point is the best proposal at that limit, all other limits kept. "
        "Grey: no portfolio meets it.",
        [
            f"Limit {percent(r['limit'])}: loss {loss_text(r['loss'])} for "
            f"{number(r['cost_bp'], 1)} bp."
            for r in rows
        ],
    )
