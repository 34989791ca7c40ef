"""`ballast run`: carry out a run file, and go on where an earlier run stopped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backtests._identity import digest, versions
from backtests._judgement_data import section_or_reason
from backtests.cli import show, walking
from backtests.cli.options import Meter
from backtests.cli.run_file import RunPlan
from backtests.job import JobResult, Settings, run_job, walk
from backtests.limited import weights_of
from backtests.report import read_validation, write_report
from backtests.result import BacktestResult
from engine.data.files import write_atomic, write_csv, write_parquet
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.errors import DataError

MANIFEST = "run.json"


@dataclass(frozen=True)
class Finished:
    """What a run left: its results and the files that hold them."""

    plan: RunPlan
    panel: PricePanel
    job: JobResult
    report: Path | None
    written: tuple[Path, ...]
    resumed: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Everything found, as plain numbers and text."""
        return show.job_dict(self.job, self.report) | {
            "report": None if self.report is None else str(self.report),
            "file": self.plan.provenance(),
            "written": [str(p) for p in self.written],
            "resumed": list(self.resumed),
        }


def load(plan: RunPlan) -> tuple[Portfolio, PricePanel, Settings]:
    """Read book, prices and settings, as the flags of the commands do."""
    chosen = plan.settings()
    holdings = plan.run.book(plan.book.path, plan.prices)
    return holdings, plan.prices.load(holdings), chosen


def execute(plan: RunPlan, meter: Meter) -> Finished:
    """Stress, propose, walk forward, and write everything under the folder.

    Finished walk-forwards are found again by the digest of rule, prices and settings,
    so that a stopped run goes on and a run file that changes elsewhere repeats none.
    """
    checked = plan.report.validation and read_validation(plan.report.validation)
    holdings, panel, chosen = load(plan)
    meter.stage("prices", panel)
    job = run_job(
        holdings,
        panel,
        replace(chosen, start=None),
        title=plan.report.title,
        progress=meter,
    )
    meter.stage("stress and proposal")
    results: tuple[BacktestResult, ...] = ()
    resumed: tuple[str, ...] = ()
    folder = plan.outputs.folder
    if plan.walk is not None:
        results, resumed = _walked(plan, holdings, panel, chosen, meter)
        meter.stage("walk-forward")
    stamps = [*job.report.stamps, *(s for r in results for s in r.stamps)]
    origin = plan.provenance()
    stated = {
        f"run file, {table}": "; ".join(f"{k} = {v}" for k, v in keys.items())
        for table, keys in origin["settings"].items()
        if keys
    }
    inputs = replace(
        job.report,
        backtests=results,
        judgement=section_or_reason(results, panel),
        stamps=tuple(dict.fromkeys(stamps)),
        validation=checked,
        provenance={
            **job.report.provenance,
            "run file": f"{origin['path']}, SHA-256 {origin['digest']}",
            **stated,
        },
    )
    job = replace(job, backtests=results, report=inputs)
    written = _tables(job, plan)
    report = None
    if plan.report.write:
        report = write_report(folder / "report.html", inputs)
        written.append(report)
        meter.stage("report")
    written.append(folder / MANIFEST)
    finished = Finished(plan, panel, job, report, tuple(written), resumed)
    from backtests.cli.documents import enveloped

    document = enveloped(finished.document(), "run", panel=panel)
    write_atomic(folder / MANIFEST, show.json_text(document) + "\n")
    return finished


def _walked(
    plan: RunPlan, holdings: Portfolio, panel: PricePanel, chosen: Settings, meter: Any
) -> tuple[tuple[BacktestResult, ...], tuple[str, ...]]:
    """Walk each strategy forward, or read it where it is finished already."""
    rules, book = walking.chosen_rules(holdings, panel, chosen, plan.strategies)
    results, resumed = [], []
    for rule in rules:
        key = digest(rule, panel, replace(chosen, committee=False), book.value)
        key = digest(key, versions())
        name = re.sub(r"[^\w.-]+", "_", rule.name)
        home = plan.outputs.folder / "walks" / f"{name}-{key[:12]}"
        result = _kept(home)
        if result is None:
            (result,) = walk(
                [rule],
                panel,
                chosen,
                initial_value=book.value,
                book=weights_of(book),
                progress=meter,
            )
        else:
            resumed.append(result.name)
        if result.provenance.get("run_file") != plan.digest:
            origin = {**result.provenance, "run_file": plan.digest}
            result = replace(result, provenance=origin)
            result.write(home)
        results.append(result)
    return tuple(results), tuple(resumed)


def _kept(home: Path) -> BacktestResult | None:
    """Return the result kept in a folder; None where none is, or a damaged one."""
    try:
        return BacktestResult.read(home)
    except DataError:
        return None


def _tables(job: JobResult, plan: RunPlan) -> list[Path]:
    """Write holdings, trades, limits and metrics as tables; the paths."""
    import pandas as pd

    limits = [
        {
            "limit": c.name,
            "before": c.before,
            "after": c.after,
            "at": c.limit,
            "satisfied": c.satisfied,
            "price": c.price,
        }
        for c in job.proposal.limits
    ]
    frames = {
        "holdings": job.stress.holdings_frame(),
        "trades": job.proposal.to_frame(),
        "limits": pd.DataFrame(limits),
    }
    if job.backtests:
        frames["strategies"] = pd.DataFrame(_metrics(job.backtests))
    suffix, written = plan.outputs.tables, []
    for name, frame in frames.items():
        path = plan.outputs.folder / f"{name}.{suffix}"
        if suffix == "csv":
            write_csv(path, frame)
        else:
            frame.attrs = {"run_file": plan.digest}  # pandas keeps it in the file
            write_parquet(path, frame)
        written.append(path)
    return written


def _metrics(results: Sequence[BacktestResult]) -> list[Mapping[str, Any]]:
    return [{"strategy": r.name, **r.metrics()} for r in results]


def show_plan(plan: RunPlan, *, json: bool) -> None:
    """Read book, prices and shocks of a run file, and say what it would do."""
    holdings, panel, chosen = load(plan)
    book = holdings.priced(panel.as_of(chosen.as_of or panel.dates[-1]))
    shocks = [s.name for s in chosen.shocks]
    if json:
        held = {"assets": list(book.assets), "cash": dict(book.cash)}
        show.emit_json(
            {
                "file": plan.provenance(),
                "book": held,
                "strategies": list(plan.strategies),
                "shocks": shocks,
                "value": book.value,
            },
            "run-check",
            panel=panel,
        )
        return
    print(f"{plan.path}: in order; nothing was run")
    print(f"book: {len(book.assets)} assets, {show.money(book.value)}")
    print(
        f"prices: {panel.source}, {len(panel.tickers)} assets, "
        f"{panel.dates[0]} to {panel.dates[-1]}"
    )
    print(f"shocks: {', '.join(shocks)}")
    print(f"walk-forward: {', '.join(plan.strategies) or 'none'}")
    print(f"outputs: {plan.outputs.folder}")
    print(f"digest: {plan.digest}")


def show_finished(finished: Finished, *, json: bool) -> None:
    """Print the tables of `ballast report`, and what was written."""
    job = finished.job
    if json:
        show.emit_json(finished.document(), "run", panel=finished.panel)
        return
    show.stress_table(job.stress, job.report.realised)
    show.proposal_table(job.proposal, finished.panel.base_currency)
    if job.backtests:
        show.backtest_table(job.backtests)
    if finished.resumed:
        print(f"\nkept from an earlier run: {', '.join(finished.resumed)}")
    print(f"\nrun file: {finished.plan.digest[:12]}")
    for path in finished.written:
        print(f"written: {path}")
