"""The same rules on other draws of the reference market: how much of it is luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from backtests.job import Progress, Settings, rules, walk
from engine.data.load import load_panel
from engine.data.provider import ReferenceProvider
from engine.errors import UsageError
from engine.parallel import map_ordered

SEEDS = tuple(range(1, 21))
_FIGURES = ("annual_return", "volatility", "sharpe", "max_drawdown")


def seed_study(
    book: Mapping[str, float],
    settings: Settings,
    limit: float,
    *,
    seeds: Sequence[int] = SEEDS,
    n_jobs: int = -1,
    progress: Progress | None = None,
) -> Any:
    """Repeat the walk-forward on other draws of the reference market.

    The planted day is the shock that the rule hedges, so every seed runs with it and
    with that day as an ordinary day.

    Returns
    -------
    DataFrame
        One row per seed, day kept or removed, and strategy.
    """
    import pandas as pd

    if settings.start is None:
        raise UsageError("a seed study needs a start date")
    work = partial(_one_seed, book=dict(book), settings=settings, limit=limit)
    rows: list[dict[str, Any]] = []
    done = map_ordered(work, seeds, executor="processes", n_jobs=n_jobs)
    for i, part in enumerate(done):
        rows.extend(part)
        if progress is not None:
            progress(i + 1, len(seeds), f"seed {seeds[i]}")
    return pd.DataFrame(rows)


def _one_seed(
    seed: int, *, book: dict[str, float], settings: Settings, limit: float
) -> list[dict[str, Any]]:
    rows = []
    for event_day in (True, False):
        panel = load_panel(ReferenceProvider(seed=seed, event_day=event_day))
        compared = rules(book, settings, limit, panel)[:3]
        for result in walk(compared, panel, settings):
            figures = result.metrics()
            rows.append(
                {"seed": seed, "event_day": event_day, "strategy": result.name}
                | {k: figures[k] for k in _FIGURES}
            )
    return rows
