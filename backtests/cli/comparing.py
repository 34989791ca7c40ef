"""`ballast backtest diff`: two stored results side by side."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from backtests._diff import Changed, ResultDifference, diff
from backtests.cli import show

_SHOWN = 10
"""Rows of decisions and of fills; --json has all."""
_WIDTH = 44
_PERCENT = (
    "total_return",
    "annual_return",
    "mean_excess_return",
    "mean_excess_return_se",
    "volatility",
    "volatility_se",
    "max_drawdown",
    "turnover_per_year",
    "expected_shortfall_95",
    "expected_shortfall_95_se",
    "probabilistic_sharpe",
)


def compare(first: Path, second: Path, *, exit_code: bool, json: bool) -> int:
    """Show the difference of two folders; the exit status asked for."""
    found = diff(first, second)
    if json:
        document = found.to_dict() | {"folders": [str(first), str(second)]}
        document["origin"] = document.pop("provenance")
        show.emit_json(document, "backtest-diff")
    else:
        tables(found, first, second)
    return 1 if exit_code and not found.identical else 0


def tables(found: ResultDifference, first: Path, second: Path) -> None:
    """Print the answer, then what stands behind it."""
    print(f"first   {found.names[0]}  ({first})")
    print(f"second  {found.names[1]}  ({second})")
    print(f"\n{found.headline()}")
    if found.provenance:
        print("\nwhere they came from")
        rows = [(c.what.replace("_", " "), *_apart(c)) for c in found.provenance]
        print(show.table(["what", "first", "second"], rows))
    if found.identical:
        return
    print("\nkey figures (difference: second less first)")
    rows = [_figure(c) for c in found.metrics]
    print(show.table(["figure", "first", "second", "difference"], rows))
    print(f"\n{sharpe_words(found)}")
    if found.ledger:
        print("\nledgers")
        print(
            show.table(
                ["series", "differs from", "first", "second", "largest gap", "on"],
                [
                    (
                        p.what.replace("_", " "), p.date, _number(p.first),
                        _number(p.second), _number(p.largest), p.largest_date,
                    )
                    for p in found.ledger
                ],
            )
        )  # fmt: skip
    _several("decisions", found.decisions, _decision)
    _several("fills", found.fills, _fill)


def sharpe_words(found: ResultDifference) -> str:
    """The test of the two Sharpe ratios in a sentence."""
    test = found.sharpe
    if test is None:
        return f"no test of the Sharpe ratios: {found.sharpe_note}"
    start, end, n = found.common
    if test.standard_error == 0.0 and test.difference == 0.0:
        return f"the returns over cash are the same on {n} sessions, {start} to {end}"
    gap = -test.difference
    verdict = (
        "more than chance would explain"
        if test.p_value < 0.05
        else "no more than chance would explain"
    )
    return (
        f"Sharpe ratios on {n} common sessions, {start} to {end}: {test.first:.2f} and "
        f"{test.second:.2f}, difference {gap:.2f} (95% interval {-test.high:.2f} to "
        f"{-test.low:.2f}, p = {test.p_value:.2f}): {verdict} (Ledoit and Wolf 2008)."
    )


def _several(what: str, rows: tuple[Changed, ...], text: Any) -> None:
    if not rows:
        return
    print(f"\n{what} that differ: {len(rows)}")
    shown = [(c.what, text(c.first, c.second), text(c.second, c.first)) for c in rows]
    print(show.table(["at", "first", "second"], shown[:_SHOWN]))
    if len(rows) > _SHOWN:
        print(f"and {len(rows) - _SHOWN} more: --json has them all")


def _decision(record: Any, other: Any) -> str:
    if record is None:
        return "no decision"
    text = f"{record['outcome'].lower()}, turnover {show.percent(record['turnover'])}"
    target, theirs = record.get("target"), (other or {}).get("target") or {}
    if target is None:
        return text
    moved = [k for k in {**target, **theirs} if target.get(k) != theirs.get(k)]
    moved.sort(key=lambda k: -abs(target.get(k, 0.0) - theirs.get(k, 0.0)))
    words = [f"{k} {show.percent(target.get(k, 0.0), 2)}" for k in moved[:3]]
    return text + (f": {', '.join(words)}" if other is not None and words else "")


def _fill(record: Any, _: Any) -> str:
    if record is None:
        return "none"
    if not record["units"]:
        return f"{record['status']}, {record['ordered']:,.6g} left"
    return f"{record['units']:+,.6g} at {record['price']:,.6g} ({record['status']})"


def _figure(c: Changed) -> tuple[str, str, str, str]:
    x, y = c.first, c.second
    numbers = all(isinstance(v, (int, float)) for v in (x, y))
    if not numbers:
        return c.what.replace("_", " "), _text(x), _text(y), ""
    if c.what in _PERCENT:
        shown = [show.percent(v, 2) for v in (x, y, y - x)]
    else:
        shown = [_number(v) for v in (x, y, y - x)]
    return c.what.replace("_", " "), shown[0], shown[1], shown[2]


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _number(x: float) -> str:
    if not math.isfinite(x):
        return "-"
    return f"{x:,.2f}" if abs(x) >= 1000 else f"{x:,.6g}"


def _apart(c: Changed) -> tuple[str, str]:
    """Two values, long ones from just before the place where they part."""
    x, y = _text(c.first), _text(c.second)
    if max(len(x), len(y)) <= _WIDTH:
        return x, y
    k = next((i for i, (a, b) in enumerate(zip(x, y, strict=False)) if a != b), None)
    start = max(0, (min(len(x), len(y)) if k is None else k) - 16)
    return _cut(x, start), _cut(y, start)


def _cut(text: str, start: int) -> str:
    piece = text[start : start + _WIDTH]
    before = "..." if start else ""
    return f"{before}{piece}" + ("..." if len(text) > start + _WIDTH else "")
