"""The judgement of a report: small tables, ready to be shown or written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtests._exposure import exposure
from backtests._judgement import judge
from backtests.result import BacktestResult
from engine.data.panel import PricePanel

SHOWN = ("metrics", "differences", "regimes", "ai_factor", "exposure", "capacity")


def judgement_section(
    results: Sequence[BacktestResult], panel: PricePanel, **options: Any
) -> dict[str, Any]:
    """What a report shows of the judgement.

    Parameters
    ----------
    results : sequence of BacktestResult
        Of the same dates, the reference first.
    panel : PricePanel
    **options
        Of `backtests.judge`.

    Returns
    -------
    dict
        ``tables`` (name to DataFrame, those of `SHOWN` that the data allow),
        ``attribution`` (by role), ``exposure_by_role`` (strategy to DataFrame of
        weights through time, rows summing to one, for a stacked figure), ``notes``.
    """
    verdict = judge(results, panel, **options)
    return {
        "tables": {k: verdict.tables[k] for k in SHOWN if k in verdict.tables},
        "attribution": verdict.tables.get("attribution_role"),
        "exposure_by_role": {r.name: exposure(r, panel, "role") for r in results},
        "notes": verdict.notes,
    }
