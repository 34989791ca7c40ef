"""Would the rule have been worth following? Strategies over the same dates and costs.

python -m backtests.studies.compare_strategies --book book.csv --out metrics.csv
python -m backtests.studies.compare_strategies --strategies hold,hrp --out m.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from backtests.cli.walking import compare
from backtests.job import Settings
from backtests.studies import _arguments as study


def main(tokens: Sequence[str] | None = None) -> None:
    """Walk the strategies forward and write one row of metrics for each."""
    parser = study.parser(__doc__ or "")
    parser.add_argument("--book", type=Path, help="the demonstration's by default")
    parser.add_argument("--strategies", default="hold,hold-cash,shock-aware,equal")
    parser.add_argument("--start", default="2022-01-03")
    parser.add_argument("--end")
    parser.add_argument("--schedule", default="monthly")
    parser.add_argument("--limit", type=float, default=0.10)
    given = parser.parse_args(tokens)

    panel, book = study.market(given), study.book(given)
    settings = Settings(
        start=given.start,
        end=given.end,
        schedule=given.schedule,
        limit=given.limit,
        window=given.window,
        n_scenarios=given.scenarios,
        seed=given.seed,
        hindsight_parameters=True,  # the shock before it was known; results say so
    )
    results = compare(book, panel, settings, given.strategies.split(","))
    for stamp in dict.fromkeys(s for r in results for s in r.stamps):
        print(f"! {stamp}")
    rows = [{"strategy": r.name, **r.metrics()} for r in results]
    study.save(given.out, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
