"""`ballast demo`: the whole job on the embedded reference market."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from backtests.cli import show
from backtests.job import Settings, run_job, weights_of
from backtests.report import read_validation, write_report
from backtests.seeds import seed_study
from engine.data.load import load_panel
from engine.data.portfolio import Portfolio

AS_OF = "2025-01-24"
CANDIDATES = (
    "AAPL", "CRM", "ADBE", "JPM", "JNJ", "PG", "WMT", "BRK-B", "XOM", "LLY",
    "TSM", "ASML", "SAP", "SONY", "TM", "NVO", "NVS", "AZN", "HSBC", "SHEL", "BABA",
    "RSP", "USMV", "SCHD", "XLV", "XLP", "XLF",
    "EFA", "VGK", "EWJ", "EWG", "EWU", "EWL", "EWC", "EWA", "EWY", "EWT", "INDA",
    "MCHI", "EEM", "TLT", "IEF", "AGG", "GLD",
)  # fmt: skip
"""Diversifiers and overseas names; TSM, ASML, EWT and EWY are overseas *and* AI."""


def demo_book(value: float = 1_000_000.0) -> Portfolio:
    """Return the US-AI book of the demonstration."""
    source = resources.files("backtests").joinpath("studies/us_ai_book.csv")
    with resources.as_file(source) as path:
        return Portfolio.read(path, value=value)


def run_demo(
    out: Path,
    *,
    seed: int,
    seeds: int,
    json: bool = False,
    progress: Any = None,
    validation: Path | None = None,
) -> None:
    """Stress, propose, backtest, repeat on other draws, and write the report."""
    checked = None if validation is None else read_validation(validation)
    panel = load_panel("reference")
    settings = Settings(
        as_of=AS_OF,
        candidates=CANDIDATES,
        start="2019-01-02",
        seed=seed,
        hindsight_parameters=True,
    )
    job = run_job(
        demo_book(),
        panel,
        settings,
        title="Demonstration: a US-AI book on the synthetic reference market",
        progress=progress,
    )
    inputs = replace(job.report, validation=checked)
    if seeds:
        study = seed_study(
            weights_of(job.portfolio),
            replace(settings, start="2024-01-02", schedule="quarterly"),
            job.limit,
            seeds=tuple(range(1, seeds + 1)),
            progress=progress,
        )
        inputs = replace(inputs, seeds=study)
    written = write_report(out / "report.html", inputs)
    if json:
        study = None if inputs.seeds is None else inputs.seeds.to_dict("records")
        show.emit_json(
            show.job_dict(job, written) | {"seeds": study}, "demo", panel=panel
        )
        return
    show.stress_table(job.stress)
    show.proposal_table(job.proposal, "USD")
    show.backtest_table(job.backtests)
    if inputs.seeds is not None:
        _show_seeds(inputs.seeds)
    print(
        "\nEvery price above is synthetic: the figures illustrate, they prove nothing."
    )
    print(f"report: {written}")


def _show_seeds(frame: Any) -> None:
    """Print medians over the draws, with the planted day and without it."""
    print(f"\n{frame['seed'].nunique()} other draws of the market, 2024-2025, medians")
    grouped = frame.groupby(["strategy", "event_day"], sort=False)
    median = grouped[["annual_return", "volatility", "max_drawdown"]].median()
    print(
        show.table(
            ["strategy", "planted day", "return a year", "volatility", "drawdown"],
            [
                (
                    name,
                    "kept" if kept else "removed",
                    *(show.percent(v) for v in row),
                )
                for (name, kept), row in zip(
                    median.index, median.to_numpy(), strict=True
                )
            ],
        )
    )
