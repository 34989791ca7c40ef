"""What `ballast propose` shows beside the trades: prices, frontier, other views."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from backtests.cli import show


class More(NamedTuple):
    """What was asked for beside the proposal; None where it was not."""

    frontier: Any = None
    robustness: Any = None
    alternatives: Any = None


def document(proposal: Any, more: More) -> dict[str, Any]:
    """Return the proposal and what was asked for beside it, for JSON."""
    out = proposal.to_dict()
    for name, found in more._asdict().items():
        if found is not None:
            out[name] = {
                "rows": found.to_frame().to_dict("records"),
                "sentences": list(found.sentences()),
            }
    return out


def tables(proposal: Any, more: More) -> None:
    """Print the prices in words, then what was asked for."""
    print("\nwhat it costs and buys")
    lines(proposal.sentences())
    if more.frontier is not None:
        _frontier(more.frontier)
    if more.robustness is not None:
        _robustness(more.robustness)
    if more.alternatives is not None:
        _alternatives(more.alternatives)


def lines(sentences: Any) -> None:
    """Print sentences, one to a line."""
    for text in sentences:
        print(f"  {text}")


def _number(x: float, digits: int = 1) -> str:
    return "-" if not math.isfinite(x) else f"{x:.{digits}f}"


def _frontier(found: Any) -> None:
    print(f"\nfrontier, {found.shock}: loss today {show.percent(found.loss_before, 2)}")
    rows = [
        (
            show.percent(r["limit"], 2),
            show.percent(r["loss"], 2),
            _number(r["cost_bp"]),
            show.percent(r["turnover"]),
            show.percent(r["tracking_error"], 2),
            show.percent(r["expected_shortfall"], 2),
            _number(r["price_bp"], 2),
            _number(r["avoided"], 2),
            "" if math.isfinite(r["loss"]) else "infeasible",
        )
        for r in found.to_frame().to_dict("records")
    ]
    columns = ["limit", "loss", "cost bp", "turnover", "tracking error", "ES"]
    columns += ["bp for a point more", "loss avoided per turnover", ""]
    print(show.table(columns, rows))
    lines(found.sentences())


def _robustness(found: Any) -> None:
    print("\nagainst the book as it is, seen otherwise (the cost comes on top)")
    rows = [
        (
            r["name"],
            r["measure"],
            show.percent(r["before"], 2),
            show.percent(r["after"], 2),
            ("+" if r["difference"] > 0 else "") + show.percent(r["difference"], 2),
            show.percent(r["standard_error"], 2) if r["standard_error"] else "-",
            show.percent(r["better"], 0),
            "worst" if r["worst"] else "",
        )
        for r in found.to_frame().to_dict("records")
    ]
    columns = ["view", "measure", "before", "after", "change", "s.e.", "better in", ""]
    print(show.table(columns, rows))
    lines([*found.sentences()[-1:], *found.notes])


def _alternatives(found: Any) -> None:
    print(f"\nproposals within {found.tolerance:.0%} of the best objective")
    rows = [
        (
            r["kind"].replace("_", " "),
            r["trades"],
            show.percent(r["turnover"], 2),
            _number(r["cost_bp"], 2),
            _number(r["extra_bp"], 2),
            show.percent(r["distance"]),
        )
        for r in found.to_frame().to_dict("records")
    ]
    columns = ["proposal", "trades", "turnover", "cost bp", "objective bp", "elsewhere"]
    print(show.table(columns, rows))
    lines(found.sentences())
