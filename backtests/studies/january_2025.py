"""Stress, proposal and walk-forward of the US-AI book on real prices.

    python -m backtests.studies.january_2025 --data FOLDER --out out/january_2025

FOLDER holds prices_us_listed.parquet (total return, USD), metadata.csv (the universe)
and rates_vol_factors.csv.gz (13-week bill yield in percent). Estimation stops on
24 January 2025; the loss of 27 January is shown beside the model. The book is selected
with hindsight, and the walk-forward says so on every picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backtests.cli import show
from backtests.cli.demo import AS_OF, CANDIDATES, demo_book
from backtests.cli.options import Meter
from backtests.job import Settings, run_job
from backtests.studies import _arguments as study
from engine.data.files import read_table
from engine.data.load import load_panel

TITLE = "A US-AI book before and after 27 January 2025"
SELECTED = "BOOK SELECTED WITH HINDSIGHT: today's names; its past return is not news."


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description="US-AI book on real prices")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/january_2025"))
    parser.add_argument("--limit", type=float, help="cap on the severe loss, a decimal")
    parser.add_argument("--start", default="2019-01-02")
    parser.add_argument("--exposures", help='"builtin" or a file; role bands otherwise')
    options = parser.parse_args(tokens)

    rates = read_table(options.data / "rates_vol_factors.csv.gz", what="rates")
    rates = rates[["date"]].assign(USD=rates["IRX_13W_TBILL_PCT"] / 100.0)
    panel = load_panel(
        options.data / "prices_us_listed.parquet",
        universe=options.data / "metadata.csv",
        price_basis="total_return",
        cash_rates=rates,
        exposures=options.exposures,
    )
    given = {"start": options.start, "limit": options.limit, "as_of": AS_OF}
    settings = Settings(**given, candidates=CANDIDATES, hindsight_parameters=True)
    with Meter(quiet=False) as meter:
        job = run_job(demo_book(), panel, settings, title=TITLE, progress=meter)
    report = replace(job.report, stamps=(SELECTED, *job.report.stamps))
    show.stamps([SELECTED])
    study.save_job(replace(job, report=report), options.out)


if __name__ == "__main__":
    main()
