"""What the runnable studies share: arguments, prices, book, and tables to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from backtests.cli import show
from backtests.cli.options import Prices, Run
from backtests.job import JobResult
from backtests.report import write_report
from engine.data.files import write_csv, write_parquet
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every study."""
    made = argparse.ArgumentParser(
        description=description.split("\n\n")[0],
        epilog=description.split("\n\n", 1)[-1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--prices", default="reference", help="file, folder, reference")
    made.add_argument("--universe", type=Path, help="labels of the assets")
    made.add_argument("--price-basis", help="raw, split_adjusted or total_return")
    made.add_argument("--currency", help="quote currency, where no file states it")
    made.add_argument("--out", type=Path, required=True, help="table: .csv or .parquet")
    made.add_argument("--window", type=int, default=504, help="sessions of estimation")
    made.add_argument("--scenarios", type=int, default=20_000)
    made.add_argument("--seed", type=int, default=0)
    return made


def market(given: argparse.Namespace) -> PricePanel:
    """Return the prices that the arguments name."""
    return _source(given).load()


def book(given: argparse.Namespace) -> Portfolio:
    """Return the book that ``--book`` names, the demonstration's by default."""
    if given.book is None:
        from backtests.cli.demo import demo_book

        return demo_book()
    return Run().book(given.book, _source(given))


def _source(given: argparse.Namespace) -> Prices:
    return Prices(
        prices=given.prices,
        universe=given.universe,
        price_basis=given.price_basis,
        currency=given.currency,
    )


def save(path: Path, frame: Any) -> None:
    """Write a table as its name says, and print where and what."""
    (write_parquet if path.suffix == ".parquet" else write_csv)(path, frame)
    print(frame.to_string(index=False, max_rows=20, float_format="{:.4f}".format))
    print(path)


def save_job(job: JobResult, folder: Path) -> None:
    """Write report, trades and walk-forwards of the main job; print its tables."""
    written = write_report(folder / "report.html", job.report)
    write_csv(folder / "trades.csv", job.proposal.to_frame())
    for result in job.backtests:
        result.write(folder / result.name.replace(" ", "_"))
    show.stress_table(job.stress, job.report.realised)
    show.proposal_table(job.proposal, job.portfolio.base_currency)
    show.backtest_table(job.backtests)
    print(f"\nreport: {written}")
