"""`ballast data`: describe, pull, import, list and check prices."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Parameter

from backtests.cli.examples import epilogue
from backtests.cli.options import Prices, names
from engine.errors import UsageError

data_app = App(
    name="data",
    help="Describe a price source, keep snapshots, and check prices.",
    help_format="plaintext",
    help_epilogue=epilogue("data"),
)
Json = Annotated[bool, Parameter(negative=())]


@data_app.default
def describe(
    *,
    source: Prices | None = None,
    out: Path | None = None,
    resembles: Path | None = None,
    json: Json = False,
) -> None:
    """Describe a price source; write it out; or compare the reference market with it.

    Parameters
    ----------
    source
        Where prices come from.
    out
        Write the prices as a wide table to this .csv or .parquet file.
    resembles
        Real prices (wide file): print reference and real statistics side by side.
    json
        Print JSON.
    """
    from backtests.cli import inspect

    inspect.data(source or Prices(), export=out, resembles=resembles, json=json)


@data_app.command(help_epilogue=epilogue("data pull"))
def pull(
    *,
    store: Path,
    name: str,
    tickers: str,
    provider: str = "yahoo",
    start: str | None = None,
    end: str | None = None,
    json: Json = False,
) -> None:
    """Fetch prices from a provider into an immutable snapshot.

    Parameters
    ----------
    store
        Folder of snapshots.
    name
        Name of the new snapshot.
    tickers
        What to fetch, separated by commas.
    provider
        yahoo or reference.
    start
        First date.
    end
        Last date.
    json
        Print JSON.
    """
    from engine.data.store import pull as run_pull

    wanted = names(tickers)
    snapshot = run_pull(provider, wanted, start, end, store, name)
    _show_snapshots([snapshot], store, json=json)
    if snapshot.missing and not json:
        for ticker, reason in snapshot.missing.items():
            print(f"! missing {ticker}: {reason}")


@data_app.command(name="import", help_epilogue=epilogue("data import"))
def import_(
    *,
    store: Path,
    name: str,
    source: Prices | None = None,
    json: Json = False,
) -> None:
    """Bring files into an immutable snapshot, once they pass every check of a load.

    Parameters
    ----------
    store
        Folder of snapshots.
    name
        Name of the new snapshot.
    source
        The files and what they are.
    json
        Print JSON.
    """
    from engine.data.store import import_files

    given = source or Prices()
    if given.prices == "reference":
        raise UsageError("--prices names the files to import", received="nothing")
    for flag in ("as_basis", "exposures"):
        if getattr(given, flag) is not None:
            raise UsageError(
                f"--{flag.replace('_', '-')} does not belong to an import",
                fix="A snapshot keeps what the files hold; give it where it is used.",
            )
    paths = given.source()
    snapshot = import_files(
        paths,
        store,
        name,
        tickers=names(given.tickers),
        price_basis=given.price_basis,
        currency=given.currency,
        universe=given.universe,
        fx=given.fx,
        cash_rates=given.cash_rates,
        actions=given.actions,
        dividend_basis=given.dividend_basis,
        membership=given.membership,
        calendar=given.calendar,
        base_currency=given.base_currency,
    )
    _show_snapshots([snapshot], store, json=json)


@data_app.command(name="list", help_epilogue=epilogue("data list"))
def list_(*, store: Path, json: Json = False) -> None:
    """List the snapshots of a folder; a damaged one says so.

    Parameters
    ----------
    store
        Folder of snapshots.
    json
        Print JSON.
    """
    from engine.data.store import list_snapshots

    _show_snapshots(list_snapshots(store), store, json=json)


@data_app.command(help_epilogue=epilogue("data check"))
def check(
    *,
    source: Prices | None = None,
    accepted: Path | None = None,
    out: Path | None = None,
    notes: Json = False,
    json: Json = False,
) -> int:
    """Look for what cannot be right in prices; nothing is repaired.

    Exit status 1 when a finding is an error.

    Parameters
    ----------
    source
        Where prices come from.
    accepted
        Findings looked at and found true: a CSV with asset, date, what.
    out
        Write every finding to this CSV.
    notes
        Show notes as well as warnings and errors.
    json
        Print JSON.
    """
    from backtests.cli import show
    from engine.data.files import write_csv
    from engine.data.quality import check as run_check
    from engine.data.quality import read_accepted

    panel = (source or Prices()).load()
    report = run_check(
        panel,
        actions=panel.actions,
        sessions=partial(on_calendar, overrides=panel.overrides),
        accepted=() if accepted is None else read_accepted(accepted),
    )
    if out is not None:
        write_csv(out, report.to_frame())
    if json:
        show.emit_json(report.to_dict(), "data-check", panel=panel)
        return report.exit_status
    print(
        show.table(
            ["check", "errors", "warnings", "notes"],
            [
                (k, v["error"], v["warning"], v["note"])
                for k, v in report.counts().items()
            ],
        )
    )
    shown = [f for f in report.findings if notes or f.severity != "note"]
    print()
    print(
        show.table(
            ["severity", "asset", "date", "what", "detail"],
            [(f.severity, f.asset, f.date, f.what, f.detail) for f in shown[:60]],
        )
    )
    if len(shown) > 60:
        print(f"... {len(shown)} in all; --out FILE.csv holds every finding")
    return report.exit_status


@data_app.command(help_epilogue=epilogue("data repair"))
def repair(
    *,
    steps: Path,
    out: Path,
    source: Prices | None = None,
    json: Json = False,
) -> None:
    """Apply named repairs to prices, write them anew, and record each step.

    The record is written beside the prices, as OUT.repairs.json.

    Parameters
    ----------
    steps
        A JSON list of objects with step (drop_asset, blank_cell, scale_before), asset,
        date, ratio and reason.
    out
        The repaired prices: a wide table, .csv or .parquet.
    source
        Where prices come from.
    json
        Print JSON.
    """
    import json as json_module

    from backtests.cli import inspect, show
    from engine.data.files import write_atomic
    from engine.data.repair import read_repairs
    from engine.data.repair import repair as run_repair

    panel = (source or Prices()).load()
    repaired, log = run_repair(panel, read_repairs(steps))
    out = inspect.write_prices(repaired, out)
    record = out.with_name(out.name + ".repairs.json")
    content = {
        "source": panel.source,
        "content_hash": repaired.content_hash,
        "steps": list(log),
    }
    write_atomic(record, json_module.dumps(content, indent=1, allow_nan=False) + "\n")
    if json:
        show.emit_json(
            content | {"written": [str(out), str(record)]},
            "data-repair",
            panel=repaired,
        )
        return
    print(
        show.table(
            ["step", "asset", "date", "cells", "before", "after", "reason"],
            [
                (
                    entry["step"],
                    entry["asset"],
                    entry["date"],
                    entry["cells"],
                    "" if entry["before"] is None else f"{entry['before']:g}",
                    "" if entry["after"] is None else f"{entry['after']:g}",
                    entry["reason"],
                )
                for entry in log
            ],
        )
    )
    print(f"\n{out} and {record}")


def on_calendar(venue: str, dates: np.ndarray, *, overrides: Any = None) -> np.ndarray:
    """(T,) bool: whether the venue was open; weekdays where it has no calendar."""
    from engine.data.calendars import CALENDARS, sessions

    dates = np.asarray(dates, dtype="datetime64[D]")
    if venue not in CALENDARS or not dates.size:
        return np.is_busday(dates)
    return np.isin(dates, sessions(venue, dates[0], dates[-1], overrides).dates)


def _show_snapshots(snapshots: Any, store: Path, *, json: bool) -> None:
    from backtests.cli import show

    if json:
        show.emit_json(
            {"store": str(store), "snapshots": [s.to_dict() for s in snapshots]},
            "data-snapshots",
        )
        return
    print(
        show.table(
            ["snapshot", "assets", "from", "to", "basis", "hash", "problem"],
            [
                (
                    s.name,
                    len(s.tickers),
                    s.first_date,
                    s.last_date,
                    s.price_basis or "not stated",
                    s.content_hash[:12],
                    s.problem,
                )
                for s in snapshots
            ],
        )
    )
    if snapshots:
        print(f"\nuse it with --prices {store}#{snapshots[0].name}")
