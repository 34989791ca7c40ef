"""Tables for people and JSON for machines."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def percent(x: float | None, digits: int = 1) -> str:
    """Decimal as a percentage; never a negative zero."""
    if x is None or not math.isfinite(x):
        return "-"
    text = f"{x * 100:.{digits}f}%"
    return text.replace("-", "", 1) if float(text[:-1]) == 0 else text


def money(x: float) -> str:
    """Whole base-currency units with separators."""
    return f"{x:,.0f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Plain text table: first column left, the others as their content suggests."""
    cells = [[str(c) for c in row] for row in rows]
    if not cells:
        return "(nothing)"
    widths = [
        max(len(str(columns[j])), *(len(r[j]) for r in cells))
        for j in range(len(columns))
    ]
    numeric = [
        all(r[j][:1] in "-+0123456789<" or not r[j] for r in cells)
        for j in range(len(columns))
    ]

    def line(values: Sequence[str]) -> str:
        parts = [
            v.rjust(w) if n else v.ljust(w)
            for v, w, n in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    head = line([str(c) for c in columns])
    return "\n".join([head, "-" * len(head), *(line(r) for r in cells)])


def json_text(value: Any) -> str:
    """One JSON document; NaN becomes null."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def emit_json(
    value: Any, command: str | None = None, *, panel: Any = None, source: Any = None
) -> None:
    """Print one JSON document; NaN and infinity become null, dates ISO text.

    Parameters
    ----------
    value : mapping
        The command's own fields (`backtests.cli.documents` states them).
    command : str
        Names the schema: ``"ballast.<command>/1"``.
    panel : PricePanel, optional
        Prices the figures came from, for the provenance.
    source : mapping, optional
        Further entries of the provenance.
    """
    if command is not None:
        from backtests.cli.documents import enveloped

        value = enveloped(value, command, panel=panel, source=source)
    print(json_text(value))


def plain(value: Any) -> Any:
    """Reduce to what JSON can hold."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if value != value:  # NaT
        return None
    return _iso(value)


def _iso(value: Any) -> str:
    """Dates as YYYY-MM-DD where they carry no time of day; anything else as text."""
    if isinstance(value, np.datetime64):
        value = np.datetime_as_string(value, unit="auto")
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text.removesuffix("T00:00:00").removesuffix("T00:00")


def coloured(stream: Any) -> bool:
    """Whether ``stream`` takes colours: NO_COLOR, FORCE_COLOR, then a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    force = os.environ.get("FORCE_COLOR", "")
    if force:
        return force != "0"
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, stream: Any) -> str:
    """Text in a colour, where the stream takes it."""
    return f"\x1b[{code}m{text}\x1b[0m" if coloured(stream) else text


def stamps(lines: Iterable[str]) -> None:
    """Print what must be read before the numbers."""
    for text in lines:
        print(f"{paint('!', '1;33', sys.stdout)} {text}")


def aside(lines: Iterable[str]) -> None:
    """Say on the error stream what must be known, where the output is a document."""
    for text in lines:
        print(f"ballast: {text}", file=sys.stderr)


def stress_table(report: Any, realised: Any = None) -> None:
    """Print the losses by shock, then by holding under the first one."""
    stamps(report.stamps)
    model = report.scenarios.model
    print(
        f"\n{money(report.value)} {report.scenarios.base_currency} as of "
        f"{model.as_of}; "
        f"{report.level:.0%} value at risk {percent(report.value_at_risk)}, expected "
        f"shortfall {percent(report.expected_shortfall)} "
        f"(standard error {percent(report.expected_shortfall_error, 2)}) over "
        f"{report.scenarios.horizon} sessions\n"
    )
    rows = [
        (
            r.name,
            percent(r.loss),
            f"{percent(r.band[0])} to {percent(r.band[1])}"
            if r.has_band
            else "one severity",
            percent(r.severe),
            money(r.loss * report.value),
        )
        for r in report.results
    ]
    print(table(["shock", "loss", "5-95% band", "severe", "money"], rows))
    if realised is not None:
        print(
            f"\nrealised on {realised.date}: {percent(realised.book_loss)} "
            f"({realised.note})"
        )
    first = report.results[0]
    frame = report.holdings_frame()
    short = report.short_names()[first.name]
    frame = frame.sort_values(f"loss:{short}", ascending=False)
    print(f"\nby holding, {first.name}")
    print(
        table(
            ["asset", "role", "weight", "move", "loss", "basis"],
            [
                (
                    row["asset"],
                    row["role"],
                    percent(row["weight"]),
                    percent(row[f"move:{short}"]),
                    percent(row[f"loss:{short}"], 2),
                    row["basis"],
                )
                for row in frame.to_dict("records")
            ],
        )
    )
    print(f"\nby role, {first.name}")
    print(
        table(
            ["role", "loss"],
            [(k, percent(v, 2)) for k, v in report.by("role", first.name).items()],
        )
    )


def proposal_table(proposal: Any, currency: str) -> None:
    """Print limits, trades and reasons."""
    stamps(proposal.warnings)
    print(f"\n{proposal.outcome.value}")
    print(
        f"turnover {percent(proposal.turnover)}, cost {proposal.cost * 1e4:.1f} bp "
        f"({money(proposal.cost * proposal.value)} {currency})\n"
    )
    print(
        table(
            ["limit", "before", "after", "at most/least", "holds", "price"],
            [
                (
                    c.name,
                    percent(c.before, 2),
                    percent(c.after, 2),
                    percent(c.limit, 2),
                    "yes" if c.satisfied else "NO",
                    "-" if not c.price or c.price < 1e-7 else f"{c.price:.4f}",
                )
                for c in proposal.limits
            ],
        )
    )
    print()
    print(
        table(
            ["trade", "units", f"value {currency}", "before", "after", "reason"],
            [
                (
                    ("buy " if t.value > 0 else "sell ") + t.ticker,
                    f"{t.units:,.2f}".rstrip("0").rstrip("."),
                    money(t.value),
                    percent(t.weight_before),
                    percent(t.weight_after),
                    t.reason,
                )
                for t in sorted(proposal.trades, key=lambda t: -abs(t.value))
            ],
        )
    )


def backtest_table(results: Sequence[Any]) -> None:
    """Print one row per strategy, estimates with their standard errors."""
    seen = dict.fromkeys(s for r in results for s in r.stamps)
    stamps(seen)
    rows, nan = [], math.nan
    for r in results:
        m = r.metrics()
        rows.append(
            (
                r.name,
                percent(m.get("annual_return")),
                f"{percent(m.get('volatility'))}",
                f"{m.get('sharpe', nan):.2f} ({m.get('sharpe_se', nan):.2f})",
                percent(m.get("max_drawdown")),
                percent(m.get("turnover_per_year")),
                money(m.get("costs", 0.0)),
            )
        )
    first = results[0]
    print(f"\n{first.dates[0]} to {first.dates[-1]}")
    print(
        table(
            [
                "strategy",
                "return a year",
                "volatility",
                "Sharpe (s.e.)",
                "drawdown",
                "turnover a year",
                "costs",
            ],
            rows,
        )
    )


def job_dict(job: Any, written: Any) -> dict[str, Any]:
    """Everything the main job found, as plain numbers and text."""
    return {
        "report": str(written),
        "limit": job.limit,
        "stress": job.stress.to_dict(),
        "stress_after": job.stress_after.to_dict(),
        "proposal": job.proposal.to_dict(),
        "backtests": [
            {"strategy": r.name, "stamps": list(r.stamps), **r.metrics()}
            for r in job.backtests
        ],
        "realised": None
        if job.report.realised is None
        else {
            "date": str(job.report.realised.date),
            "loss": job.report.realised.book_loss,
            "note": job.report.realised.note,
        },
    }
