"""`ballast data` and `ballast shocks`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from backtests.cli import show
from backtests.cli.documents import enveloped
from backtests.cli.options import Prices, Shock
from engine.covariance import Comparison
from engine.data.calendars import session_status
from engine.data.files import read_table, write_atomic, write_csv, write_parquet
from engine.data.load import SYNTHETIC_MARK, load_panel
from engine.data.panel import PricePanel, Status
from engine.errors import UsageError
from engine.risk import RiskBacktest
from engine.shocks import PRESETS, CheapModelShock


def describe(panel: PricePanel) -> dict:
    """Return what a panel holds, gaps included."""
    status = session_status(panel)
    universe, actions = panel.universe, panel.actions
    counts = {s.name.lower(): int((status == s).sum()) for s in Status}
    first = [
        str(panel.dates[int(np.argmax(np.isfinite(panel.prices[:, i])))])
        for i in range(len(panel.tickers))
    ]
    return {
        "source": panel.source,
        "synthetic": panel.synthetic,
        "assets": len(panel.tickers),
        "dates": int(panel.dates.size),
        "first_date": str(panel.dates[0]),
        "last_date": str(panel.dates[-1]),
        "price_basis": panel.price_basis,
        "base_currency": panel.base_currency,
        "quote_currencies": sorted(set(universe.quote_currency)),
        "exchange_rates": list(panel.fx_currencies),
        "cash_rates": list(panel.cash_currencies),
        "venues": sorted({v or "not stated" for v in universe.venue}),
        "cells": counts,
        "actions": {} if actions is None else dict(Counter(actions.kind)),
        "membership": 0 if panel.membership is None else len(panel.membership),
        "calendar_overrides": len(panel.overrides),
        "roles": {r: universe.role.count(r) for r in sorted(set(universe.role))},
        "late_starters": [
            f"{t} from {d}"
            for t, d in zip(panel.tickers, first, strict=True)
            if d != str(panel.dates[0])
        ],
        "content_hash": panel.content_hash,
    }


def write_prices(panel: PricePanel, path: Path) -> Path:
    """Write a wide table; the name of a synthetic one says so. The path written."""
    if panel.synthetic and SYNTHETIC_MARK not in path.name.lower():
        path = path.with_name(f"{SYNTHETIC_MARK}_{path.name}")
    frame = panel.to_frame().reset_index()
    if path.suffix == ".parquet":
        write_parquet(path, frame.set_index("date"))
    elif path.suffix == ".csv":
        frame["date"] = frame["date"].dt.strftime("%Y-%m-%d")
        write_csv(path, frame)
    else:
        raise UsageError(
            "unknown file type to export to",
            received=path.name,
            expected=".csv or .parquet",
        )
    return path


def data(
    source: Prices, *, export: Path | None, resembles: Path | None, json: bool
) -> None:
    """Describe, export, or compare."""
    panel = source.load()
    if resembles is not None:
        _resembles(panel, resembles, json=json)
        return
    if export is not None:
        export = write_prices(panel, export)
        if json:
            show.emit_json(
                describe(panel) | {"written": str(export)}, "data", panel=panel
            )
            return
        print(f"{'SYNTHETIC ' if panel.synthetic else ''}prices written to {export}")
        return
    facts = describe(panel)
    if json:
        show.emit_json(facts, "data", panel=panel)
        return
    if panel.synthetic:
        show.stamps(["SYNTHETIC prices: nothing here happened."])
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if v)
        elif isinstance(value, list):
            more = f", ... {len(value)} in all" if len(value) > 12 else ""
            value = (", ".join(value[:12]) or "none") + more
        print(f"{name.replace('_', ' ')}: {value}")


def _resembles(panel: PricePanel, path: Path, *, json: bool) -> None:
    from engine.data.reference_resemblance import resemblance

    if not panel.synthetic:
        raise UsageError(
            "only the reference market can be compared with real prices",
            received=panel.source,
        )
    table = read_table(path, what="prices")
    common = [t for t in panel.tickers if t in table.columns]
    if not common:
        raise UsageError("the real prices share no ticker with the reference market")
    real = load_panel(path, common, price_basis="total_return", currency="USD")
    mine = panel.select(common)
    metadata = panel.universe.to_frame().rename(
        columns={"theme": "ai_theme", "venue": "calendar"}
    )
    metadata = metadata[metadata["ticker"].isin(common)]
    frame = resemblance(real.to_frame(), mine.to_frame(), metadata)
    if json:
        show.emit_json(
            {"rows": frame.to_dict("records")}, "data-resembles", panel=panel
        )
        return
    show.stamps(["SYNTHETIC beside real prices."])
    print(frame.to_string(index=False, float_format=lambda x: f"{x:.3f}"))


def shocks(
    shock: Shock, source: Prices, *, moves: bool, window: int, json: bool
) -> None:
    """List presets, or the moves of every asset."""
    if not moves:
        rows = [CheapModelShock(p, severity=shock.severity) for p in PRESETS]
        if json:
            presets = [
                {
                    "name": s.name,
                    "citation": s.citation,
                    "known_from": s.known_from,
                    "cost_surprise": s.cost_surprise,
                    "demand_gap": s.demand_gap,
                    "parameters": s.parameters,
                }
                for s in rows
            ]
            show.emit_json({"presets": presets}, "shocks")
            return
        print(
            show.table(
                ["preset", "cost surprise", "compute demand gap", "known from"],
                [
                    (
                        s.preset,
                        f"{s.cost_surprise:.3f}",
                        f"{s.demand_gap:+.3f}",
                        str(s.known_from),
                    )
                    for s in rows
                ],
            )
        )
        print(f"\n{rows[0].citation}")
        return
    from engine.model import fit
    from strategies.estimation import eligible

    panel = source.load()
    view = panel.as_of(panel.dates[-1], hindsight_parameters=True)
    names = eligible(view, None, window=window)
    model = fit(view, window=window, tickers=names, funds=shock.funds)
    chosen = CheapModelShock(shock.preset, severity=shock.severity)
    frame = chosen.moves(model.universe, model).to_frame()
    if json:
        show.emit_json(
            {
                "name": chosen.name,
                "citation": chosen.citation,
                "moves": frame.to_dict("records"),
            },
            "shocks-moves",
            panel=panel,
        )
        return
    if panel.synthetic:
        show.stamps(["AI-basket betas are from SYNTHETIC prices."])
    print(f"{chosen.name}: {chosen.citation}\n")
    print(
        show.table(
            ["asset", "move", "5%", "95%", "basis"],
            [
                (
                    r["asset"],
                    show.percent(r["move"]),
                    show.percent(r["low"]),
                    show.percent(r["high"]),
                    r["basis"],
                )
                for r in frame.sort_values("move").to_dict("records")
            ],
        )
    )


def comparison(found: Comparison, panel: PricePanel, *, out: Path | None, json: bool):
    """Show a comparison of covariance estimators, best first."""
    frame = found.to_frame()
    if out is not None:
        write_csv(out, frame)
    if json:
        show.emit_json(
            {
                "estimators": frame.to_dict("records"),
                "rank_by": found.rank_by,
                "forecasts": len(found.origins),
                "assets": list(found.assets),
                "note": found.note,
                "failures": [list(f) for f in found.failures],
                "data_hash": panel.content_hash,
                "synthetic": panel.synthetic,
            },
            "covariance",
            panel=panel,
        )
        return
    if panel.synthetic:
        show.stamps(["SYNTHETIC prices: they say nothing about real estimators."])
    print(found)


def model_checks(
    found: RiskBacktest, panel: PricePanel, *, out: Path | None, json: bool
) -> None:
    """Show the tests of models of risk; write the table, or all of it, to a file."""
    document = enveloped(found.to_dict(), "risk", panel=panel)
    if out is not None:
        if out.suffix == ".json":
            write_atomic(out, show.json_text(document))
        elif out.suffix == ".csv":
            write_csv(out, found.table())
        else:
            raise UsageError(
                "unknown file type", received=out.name, expected=".csv or .json"
            )
    if json:
        show.emit_json(found.to_dict(), "risk", panel=panel)
        return
    if found.synthetic:
        show.stamps(["SYNTHETIC prices: they say nothing about real markets."])
    print(found)
