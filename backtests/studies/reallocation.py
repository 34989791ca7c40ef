"""Should the concentrated US-AI investor have reallocated?

    python -m backtests.studies.reallocation --data DATA --out OUT

DATA holds prices_us_listed.parquet, metadata.csv, volume_us_sp500.parquet and
rates_vol_factors.csv.gz. Finished walks under OUT/runs are not walked again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from backtests.studies import _reallocation as study
from backtests.studies._reallocation_text import page


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the study and write its tables and page."""
    parser = argparse.ArgumentParser(description="the reallocation study")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=float, default=study.Plan.limit)
    parser.add_argument("--start", default=study.Plan.start)
    parser.add_argument("--end", default=study.Plan.end)
    given = parser.parse_args(tokens)
    plan = study.Plan(limit=given.limit, start=given.start, end=given.end)
    panel = study.load_market(given.data, plan)
    runs, tables = given.out / "runs", given.out / "tables"
    tables.mkdir(parents=True, exist_ok=True)

    def say(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    found = {}
    for name, (_, tickers) in study.books_of(panel).items():
        results, failed = study.run_book(name, panel, plan, folder=runs, progress=say)
        if not {"hold", "shock-aware"} <= set(results):
            raise SystemExit(f"{name}: {failed}")
        losses = study.shock_losses(results, panel, plan, tickers)
        found[name] = study.tables_of(results, losses, panel) | {"failed": failed}
        for kind in ("main", "windows", "break_even", "shock_losses"):
            slug = name.replace(" ", "-")
            found[name][kind].to_csv(tables / f"{slug}-{kind}.csv")
    say("sensitivity")
    changed = study.sensitivity("SMH", panel, plan, runs)
    changed.to_csv(tables / "sensitivity.csv")
    (given.out / "study.md").write_text(page(found, changed, plan), encoding="utf-8")
    print(given.out / "study.md")


if __name__ == "__main__":
    main()
