"""Results on disk: Parquet for numbers, JSON for decisions, whole or not at all.

The parts carry a digest in their names and ``result.json`` lists them. It is written
last and replaced in one step, so that a crash leaves the old result or the new one.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from backtests.decisions import Decision
from backtests.fills import Fill, Fills
from backtests.ledger import COLUMNS
from backtests.result import BacktestResult
from engine.data.files import write_atomic
from engine.errors import DataError
from engine.proposal import LimitCheck, Outcome, Proposal, Trade

MANIFEST = "result.json"
_FORMAT = 2
_PARTS = {
    "ledger": "parquet",
    "units": "parquet",
    "money": "parquet",
    "fills": "parquet",
    "decisions": "json",
}


def _plain(value: Any) -> Any:
    """JSON cannot write NaN; None stands for it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _pack(proposal: Proposal | None) -> dict[str, Any] | None:
    if proposal is None:
        return None
    record = {
        name: getattr(proposal, name)
        for name in (
            "labels",
            "cost",
            "turnover",
            "value",
            "objective",
            "solve_path",
            "notes",
            "warnings",
        )
    }
    record |= {
        "current": proposal.current.tolist(),
        "target": proposal.target.tolist(),
        "outcome": proposal.outcome.name,
        "trades": [asdict(t) for t in proposal.trades],
        "limits": [asdict(c) for c in proposal.limits],
        "stress_before": dict(proposal.stress_before),
        "stress_after": dict(proposal.stress_after),
    }
    return record


def _unpack(record: dict[str, Any] | None) -> Proposal | None:
    if record is None:
        return None
    trades = tuple(
        Trade(
            ticker=t["ticker"],
            units=_nan(t["units"]),
            value=_nan(t["value"]),
            weight_before=_nan(t["weight_before"]),
            weight_after=_nan(t["weight_after"]),
            reason=t["reason"],
        )
        for t in record["trades"]
    )
    return Proposal(
        labels=tuple(record["labels"]),
        current=np.array(record["current"], dtype=np.float64),
        target=np.array(record["target"], dtype=np.float64),
        trades=trades,
        cost=_nan(record["cost"]),
        turnover=_nan(record["turnover"]),
        value=_nan(record["value"]),
        outcome=Outcome[record["outcome"]],
        limits=tuple(LimitCheck(**c) for c in record["limits"]),
        stress_before=record["stress_before"],
        stress_after=record["stress_after"],
        objective=record["objective"],
        solve_path=tuple(record["solve_path"]),
        notes=tuple(record["notes"]),
        warnings=tuple(record["warnings"]),
    )


def _parquet(frame: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def write_result(result: BacktestResult, folder: Any) -> Path:
    """Write ``result`` under ``folder``, replacing what was there in one step.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    StoreError
        Nothing could be written; an earlier result is untouched.
    """
    import pandas as pd

    folder = Path(folder)
    ledger = result.to_frame()

    def wide(values):
        return pd.DataFrame(values, index=ledger.index, columns=list(result.labels))

    decisions = [
        {
            "date": str(d.date),
            "outcome": d.outcome,
            "message": d.message,
            "turnover": d.turnover,
            "proposal": _pack(d.proposal),
        }
        for d in result.decisions
    ]
    contents = {
        "ledger": _parquet(ledger),
        "units": _parquet(wide(result.units)),
        "money": _parquet(wide(result.money)),
        "fills": _parquet(result.trades_frame()),
        "decisions": json.dumps(_plain(decisions), allow_nan=False).encode(),
    }
    names = {}
    for part, content in contents.items():
        mark = hashlib.blake2b(content, digest_size=6).hexdigest()
        names[part] = f"{part}.{mark}.{_PARTS[part]}"
        write_atomic(folder / names[part], content)
    manifest = {
        "format": _FORMAT,
        "parts": names,
        "name": result.name,
        "trial_id": result.trial_id,
        "labels": result.labels,
        "base_currency": result.base_currency,
        "initial_value": result.initial_value,
        "periods_per_year": result.periods_per_year,
        "stamps": result.stamps,
        "provenance": dict(result.provenance),
    }
    text = json.dumps(_plain(manifest), indent=1, allow_nan=False)
    write_atomic(folder / MANIFEST, text)
    for part, suffix in _PARTS.items():
        for old in folder.glob(f"{part}.*.{suffix}"):
            if old.name != names[part]:
                old.unlink(missing_ok=True)
    return folder


def read_manifest(folder: Any) -> dict[str, Any]:
    """Read ``result.json``; `DataError` when it is missing or not one of ours."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise DataError(
            "no backtest result in this folder",
            received=str(folder),
            expected=f"a file {MANIFEST}",
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"] == _FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "cannot read the backtest result", received=str(path)
        ) from error
    if not known:
        raise DataError(
            "a backtest result of another format",
            received=manifest["format"],
            expected=_FORMAT,
        )
    return manifest


def read_result(folder: Any) -> BacktestResult:
    """Read what `write_result` wrote; proposals keep what their fields hold.

    Raises
    ------
    DataError
        The folder holds no result, or a part is missing or unreadable.
    """
    import pandas as pd

    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        parts = {k: folder / manifest["parts"][k] for k in _PARTS}
        ledger, units, money, fills = (
            pd.read_parquet(parts[k]) for k in ("ledger", "units", "money", "fills")
        )
        records = json.loads(parts["decisions"].read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "a part of the backtest result is missing or damaged",
            received=str(error)[:200],
        ) from error
    columns: dict[str, Any] = {n: fills[n].to_numpy() for n in Fill._fields}
    for name in ("date", "decided"):
        columns[name] = columns[name].astype("datetime64[D]")
    return BacktestResult(
        name=manifest["name"],
        trial_id=manifest["trial_id"],
        dates=ledger.index.to_numpy().astype("datetime64[D]"),
        labels=tuple(manifest["labels"]),
        base_currency=manifest["base_currency"],
        initial_value=manifest["initial_value"],
        units=units.to_numpy(np.float64),
        money=money.to_numpy(np.float64),
        fills=Fills.from_columns(**columns),
        decisions=tuple(
            Decision(
                np.datetime64(r["date"], "D"),
                r["outcome"],
                r["message"],
                _nan(r["turnover"]),
                _unpack(r["proposal"]),
            )
            for r in records
        ),
        periods_per_year=_nan(manifest["periods_per_year"]),
        stamps=tuple(manifest["stamps"]),
        provenance=manifest["provenance"],
        **{name: ledger[name].to_numpy(np.float64) for name in COLUMNS},
    )
