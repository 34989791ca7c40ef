"""Stress, proposal and walk-forward of the US-AI book on real prices.

    python -m backtests.studies.january_2025 --data FOLDER --out out/january_2025

FOLDER holds prices_us_listed.parquet (total return, USD), metadata.csv (the universe)
and rates_vol_factors.csv.gz (13-week bill yield in percent). Estimation stops on
24 January 2025; the realised loss of 27 January is shown beside the model as
information. The book is a choice of today's names: it is selected with hindsight, and
the walk-forward says so on every picture.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from backtests.cli import show
from backtests.cli.demo import AS_OF, CANDIDATES, demo_book
from backtests.cli.options import Meter
from backtests.job import Settings, run_job
from backtests.report import write_report
from engine.data.files import read_table
from engine.data.load import load_panel

SELECTED = (
    "BOOK SELECTED WITH HINDSIGHT: today's names, so its past return is not news."
)


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description="US-AI book on real prices")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/january_2025"))
    parser.add_argument("--limit", type=float, help="cap on the severe loss, a decimal")
    parser.add_argument("--start", default="2019-01-02")
    parser.add_argument("--exposures", help='"builtin" or a file; role bands otherwise')
    options = parser.parse_args()

    rates = read_table(options.data / "rates_vol_factors.csv.gz", what="rates")
    rates = rates[["date", "IRX_13W_TBILL_PCT"]].rename(
        columns={"IRX_13W_TBILL_PCT": "USD"}
    )
    panel = load_panel(
        options.data / "prices_us_listed.parquet",
        universe=options.data / "metadata.csv",
        price_basis="total_return",
        cash_rates=rates.assign(USD=rates["USD"] / 100.0),
        exposures=options.exposures,
    )
    settings = Settings(
        as_of=AS_OF,
        candidates=CANDIDATES,
        start=options.start,
        limit=options.limit,
        hindsight_parameters=True,
    )
    title = "A US-AI book before and after 27 January 2025"
    with Meter(quiet=False) as meter:
        job = run_job(demo_book(), panel, settings, title=title, progress=meter)
    report = replace(job.report, stamps=(SELECTED, *job.report.stamps))
    written = write_report(options.out / "report.html", report)
    for result in job.backtests:
        result.write(options.out / result.name.replace(" ", "_"))
    show.stamps([SELECTED])
    show.stress_table(job.stress, report.realised)
    show.proposal_table(job.proposal, panel.base_currency)
    show.backtest_table(job.backtests)
    print(f"\nreport: {written}")


if __name__ == "__main__":
    main()
