"""What `ballast stress` shows beside the losses: places, plausibility, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from backtests.cli import show
from backtests.job import Settings
from engine._base import check_labels
from engine._stress import StressReport
from engine.data.files import read_table
from engine.data.panel import PricePanel
from engine.errors import DataError, did_you_mean

ALIGNMENT = (
    "each venue's first close that can contain the news, in local currency; losses in "
    "base currency at unchanged exchange rates"
)
_HORIZONS = {
    "day": "the event's close",
    "next_day": "the close after, rebound included",
    "month": "21 sessions after, rebound included",
    "persistent": "lasting, no rebound",
}


class More(NamedTuple):
    """What was asked for beside the losses."""

    words: dict[str, str]
    """Explanation by ticker."""
    ratios: Any
    """Table of price-earnings ratios, or None."""


def ratios(report: StressReport, path: Path) -> Any:
    """Return the ratios of a file before and after the first shock.

    Raises
    ------
    DataError
        A column that is missing, a ticker twice or without a move, a ratio, price or
        earnings not above zero.
    """
    table = read_table(path, what="price-earnings ratios")
    table.columns = [str(c).strip().lower() for c in table.columns]
    found = set(table.columns)
    if "ticker" not in found or not ("pe" in found or {"earnings", "price"} <= found):
        raise DataError(
            f"{path}: no price-earnings ratios",
            received=", ".join(table.columns),
            expected="ticker, and pe or both earnings and price",
        )
    labels = check_labels(table["ticker"].tolist(), name=str(path))
    columns = {c: dict(zip(labels, table[c].tolist(), strict=True)) for c in found}
    moves = report.results[0].moves
    if "pe" in found:
        return moves.price_earnings(columns["pe"])
    return moves.price_earnings(earnings=columns["earnings"], prices=columns["price"])


def explanations(report: StressReport, tickers: Sequence[str]) -> dict[str, str]:
    """Return the moves of held or buyable assets under the first shock, in words."""
    moves = report.results[0].moves
    for ticker in tickers:
        if ticker not in moves.assets:
            raise DataError(
                "--explain names an asset without a move",
                asset=ticker,
                expected=", ".join(moves.assets[:20]),
                fix=did_you_mean(ticker, moves.assets),
            )
    return {t: moves.explain(t) for t in tickers}


def horizon(result: Any) -> str:
    """Return the horizon of a shock's moves, in words."""
    chain = result.moves.chain
    return "as the shock states" if chain is None else _HORIZONS[chain.horizon]


def plausibility(result: Any, sessions: int) -> str:
    """Return how unusual a shock is by the model: a distance, never a probability."""
    rests = ""
    if result.effective_share < 1.0:
        rests = (
            f"; the views rest on {result.effective_share:.1%} of the effective "
            "scenarios"
        )
    return (
        f"Mahalanobis distance {result.distance:.1f} in one session's law; "
        f"{result.base_share:.1%} of the base scenarios lose as much over {sessions} "
        f"sessions{rests}"
    )


def provenance(
    report: StressReport, panel: PricePanel, settings: Settings
) -> dict[str, str]:
    """Return where prices, estimates and the shock come from."""
    model = report.scenarios.model
    return {
        "prices": str(panel.source),
        "data hash": panel.content_hash,
        "as of": str(model.as_of),
        "estimation": f"{model.estimator}, {model.window[2]} {model.frequency} "
        f"returns, {model.window[0]} to {model.window[1]}",
        "scenarios": f"{len(report.scenarios)}, {report.scenarios.distribution}, seed "
        f"{settings.seed}",
    }


def document(
    report: StressReport,
    panel: PricePanel,
    settings: Settings,
    more: More,
) -> dict[str, Any]:
    """Return the report as plain numbers and text, with horizon and provenance."""
    out = report.to_dict()
    notes, states = _notes(settings), _states(settings)
    for entry, result in zip(out["shocks"], report.results, strict=True):
        entry["horizon"] = horizon(result)
        entry["alignment"] = ALIGNMENT
        chain = result.moves.chain
        if chain is not None:
            entry["parameters"] = dict(chain.parameters)
        if result.name in notes:
            entry["note"] = notes[result.name]
        if result.name in states:
            entry["states"] = states[result.name]
    out["provenance"] = provenance(report, panel, settings)
    if more.words:
        out["explanations"] = more.words
    if more.ratios is not None:
        out["price_earnings"] = more.ratios.reset_index().to_dict("records")
    return out


def tables(
    report: StressReport,
    panel: PricePanel,
    settings: Settings,
    more: More,
) -> None:
    """Print losses by place, then what a reader must know to judge them."""
    first = report.results[0]
    for grouping in ("country", "currency"):
        print(f"\nby {grouping}, {first.name}")
        losses = report.by(grouping, first.name)
        print(
            show.table(
                [grouping, "loss"],
                [(k or "not stated", show.percent(v, 2)) for k, v in losses.items()],
            )
        )
    if more.ratios is not None:
        print(f"\nprice-earnings ratios, {first.name}")
        print(
            show.table(
                ["asset", "before", "at once", "gap open", "move", "earnings"],
                [
                    (
                        asset,
                        f"{row['before']:.1f}",
                        f"{row['at_once']:.1f}",
                        "-"
                        if row["after_gap"] != row["after_gap"]
                        else f"{row['after_gap']:.1f}",
                        show.percent(row["move"]),
                        show.percent(row["earnings_change"]),
                    )
                    for asset, row in more.ratios.iterrows()
                ],
            )
        )
    for ticker, text in more.words.items():
        print(f"\n{ticker}, {first.name}\n{text}")
    print()
    for result in report.results:
        print(f"plausibility, {result.name}: {_plausible(report, result)}")
    print(f"horizon, {first.name}: {horizon(first)}")
    print(f"alignment: {ALIGNMENT}")
    print(f"source: {first.citation}")
    for result in report.results[1:]:
        if result.citation != first.citation:
            print(f"source, {result.name}: {result.citation}")
    for name, text in _states(settings).items():
        print(f"states, {name}: {text}")
    for name, note in _notes(settings).items():
        print(f"note, {name}: {note}")
    for key, value in provenance(report, panel, settings).items():
        print(f"{key}: {value}")


def _plausible(report: StressReport, result: Any) -> str:
    return plausibility(result, report.scenarios.horizon)


def _states(settings: Settings) -> dict[str, str]:
    """Probability of each joint state of a mixture, with the shock that it carries."""
    out = {}
    for shock in settings.shocks:
        if not hasattr(shock, "mixed"):
            continue
        states = getattr(shock, "coherent", shock)
        out[shock.name] = "; ".join(
            f"{_happens(states.events, state)} {p:.1%} "
            f"({'no shock' if carried is None else carried.name})"
            for state, p, carried in zip(
                states.states, states.probabilities, states.shocks, strict=True
            )
            if p > 0
        )
    return out


def _happens(events: Sequence[str], state: Sequence[bool]) -> str:
    return " and ".join(
        e if happens else f"not {e}" for e, happens in zip(events, state, strict=True)
    )


def _notes(settings: Settings) -> dict[str, str]:
    pairs = ((s.name, getattr(s, "note", "")) for s in settings.shocks)
    return {name: note for name, note in pairs if note}
