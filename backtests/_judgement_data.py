"""The judgement of a report: small tables, ready to be shown or written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtests._exposure import exposure
from backtests._judgement import judge
from backtests.result import BacktestResult
from engine.data.panel import PricePanel
from engine.errors import BallastError

SHOWN = (
    "metrics",
    "differences",
    "deflation",
    "regimes",
    "ai_factor",
    "exposure",
    "capacity",
)
GROUPED = ("role", "country", "currency")
RESAMPLES = 1000
CONFIDENCE = 0.95


def judgement_section(
    results: Sequence[BacktestResult],
    panel: PricePanel,
    *,
    n: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    **options: Any,
) -> dict[str, Any]:
    """What a report shows of the judgement.

    Parameters
    ----------
    results : sequence of BacktestResult
        Of the same dates, the reference first.
    panel : PricePanel
    n, confidence
        Resamples and level of every interval; the report states both.
    **options
        Of `backtests.judge`.

    Returns
    -------
    dict
        ``tables`` (name to DataFrame, those of `SHOWN` that the data allow),
        ``attribution`` (by role) and ``attributions`` (by each of `GROUPED`),
        ``intervals``, ``exposure_by_role`` (strategy to DataFrame of weights through
        time, rows summing to one, for a stacked figure), ``notes``, ``strategies``,
        ``resamples``, ``confidence``, and ``reason``: empty, or why there is none.
    """
    verdict = judge(results, panel, n=n, confidence=confidence, **options)
    found = verdict.tables
    return {
        "tables": {k: found[k] for k in SHOWN if k in found},
        "attribution": found.get("attribution_role"),
        "attributions": {
            by: found[f"attribution_{by}"]
            for by in GROUPED
            if f"attribution_{by}" in found
        },
        "intervals": found.get("intervals"),
        "exposure_by_role": {r.name: exposure(r, panel, "role") for r in results},
        "notes": verdict.notes,
        "strategies": tuple(r.name for r in results),
        "resamples": n,
        "confidence": confidence,
        "reason": "",
    }


def section_or_reason(
    results: Sequence[BacktestResult], panel: PricePanel, **options: Any
) -> dict[str, Any] | None:
    """`judgement_section`, or why there is none; None without results.

    What cannot be judged (a record too short, say) takes no report with it.
    """
    if not results:
        return None
    try:
        return judgement_section(results, panel, **options)
    except BallastError as error:
        return {
            "tables": {},
            "attribution": None,
            "attributions": {},
            "intervals": None,
            "exposure_by_role": {},
            "notes": (),
            "strategies": tuple(r.name for r in results),
            "resamples": 0,
            "confidence": CONFIDENCE,
            "reason": str(error),
        }
