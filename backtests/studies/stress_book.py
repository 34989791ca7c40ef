"""What would a shock cost a book, holding by holding?

python -m backtests.studies.stress_book --book book.csv --out losses.csv
python -m backtests.studies.stress_book --preset jevons --severity 1.5 --out x.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backtests.job import Settings, prepare
from backtests.studies import _arguments as study
from engine import CheapModelShock, stress
from engine.shocks import PRESETS


def main(tokens: Sequence[str] | None = None) -> None:
    """Stress the book under one preset, or all of them, and write the table."""
    parser = study.parser(__doc__ or "")
    parser.add_argument("--book", type=Path, help="the demonstration's by default")
    parser.add_argument("--preset", choices=list(PRESETS), help="all by default")
    parser.add_argument("--severity", type=float, default=1.0)
    given = parser.parse_args(tokens)

    panel, book = study.market(given), study.book(given)
    settings = Settings(
        window=given.window, n_scenarios=given.scenarios, seed=given.seed
    )
    _, priced, scenarios = prepare(book, panel, settings)
    presets = [given.preset] if given.preset else list(PRESETS)
    shocks = [CheapModelShock(p, severity=given.severity) for p in presets]
    report = stress(priced, scenarios, shocks)
    for stamp in report.stamps:
        print(f"! {stamp}")
    study.save(given.out, report.holdings_frame())


if __name__ == "__main__":
    main()
