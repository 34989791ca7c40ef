"""How much does the choice of limit matter, once every trial is counted?

    python -m backtests.studies.sweep_limits --limits 0.06,0.08,0.10 --out sweep.csv

Finished cells are kept in --cells and are not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backtests.cli.walking import sweep
from backtests.job import Settings
from backtests.studies import _arguments as study


def main(tokens: Sequence[str] | None = None) -> None:
    """Walk the rule forward for each limit; write the cells, print the summary."""
    parser = study.parser(__doc__ or "")
    parser.add_argument("--book", type=Path, help="the demonstration's by default")
    parser.add_argument("--limits", default="0.06,0.08,0.10")
    parser.add_argument("--start", default="2022-01-03")
    parser.add_argument("--end")
    parser.add_argument("--schedule", default="monthly")
    parser.add_argument("--cells", type=Path, help="folder of finished cells")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(tokens)

    panel, book = study.market(given), study.book(given)
    settings = Settings(
        start=given.start,
        end=given.end,
        schedule=given.schedule,
        limit=float(given.limits.split(",")[0]),
        window=given.window,
        n_scenarios=given.scenarios,
        seed=given.seed,
        hindsight_parameters=True,  # the shock before it was known; results say so
    )
    grid = [f"limit={given.limits}"]
    where: dict[str, Any] = {"n_jobs": given.workers, "out": given.cells}
    where["executor"] = "processes" if given.workers > 1 else "serial"
    result = sweep(book, panel, settings, "shock-aware", grid, **where)
    for name, value in result.summary().items():
        print(f"{name}: {value}")
    study.save(given.out, result.to_frame())


if __name__ == "__main__":
    main()
