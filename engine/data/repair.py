"""Repairs of a panel, asked for by name, that leave a record.

Nothing is repaired silently. Each step names its asset and gives a reason; the log
says how many cells it changed, a value before and after, and the content hash on either
side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.panel import PricePanel, parse_time
from engine.errors import DataError, UsageError

STEPS = ("drop_asset", "blank_cell", "scale_before")


@dataclass(frozen=True, slots=True, eq=False)
class RepairStep(Value):
    """One repair, asked for by name.

    Attributes
    ----------
    step : {"drop_asset", "blank_cell", "scale_before"}
        Leave an asset out; empty one cell; multiply an asset's prices before a date by
        ``ratio`` (0.1 for a split of 10:1 that was not adjusted).
    asset : str
    date : str
        ISO; not used by ``drop_asset``.
    ratio : float
        For ``scale_before`` only.
    reason : str
        Required: whoever reads the log was not there.
    """

    step: str
    asset: str
    date: str = ""
    ratio: float = float("nan")
    reason: str = ""

    def __post_init__(self) -> None:
        if self.step not in STEPS:
            raise UsageError(
                "unknown repair", received=repr(self.step), expected=", ".join(STEPS)
            )
        if not self.asset or not self.reason.strip():
            raise UsageError(
                f"the repair {self.step} needs an asset and a reason", asset=self.asset
            )
        if self.step != "drop_asset":
            parse_time(self.date)
        scale = self.step == "scale_before"
        if scale and not (np.isfinite(self.ratio) and self.ratio > 0):
            raise UsageError(
                "scale_before needs a positive ratio",
                asset=self.asset,
                received=self.ratio,
            )

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> RepairStep:
        """Build from a mapping with the names of the attributes."""
        unknown = set(entry) - set(cls.__dataclass_fields__)
        if unknown or not {"step", "asset"} <= set(entry):
            raise UsageError(
                "a repair has the entries step, asset, date, ratio, reason",
                received=", ".join(sorted(map(str, entry))),
            )
        return cls(**entry)


def read_repairs(path: Any) -> tuple[RepairStep, ...]:
    """Read a JSON list of repairs; see `RepairStep.from_dict`."""
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)
    except (OSError, ValueError) as error:
        raise DataError("cannot read the repairs", received=str(error)) from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise DataError(
            "repairs are a list of objects", received=type(entries).__name__
        )
    return tuple(RepairStep.from_dict(e) for e in entries)


def repair(
    panel: PricePanel, steps: Sequence[RepairStep | Mapping[str, Any]]
) -> tuple[PricePanel, tuple[dict[str, Any], ...]]:
    """Apply named repairs in order, and record each.

    Parameters
    ----------
    panel : PricePanel
    steps : sequence of RepairStep or mapping

    Returns
    -------
    panel : PricePanel
        A new one; its ``source`` says how many repairs were made.
    log : tuple of dict
        Per step: its entries, the number of cells changed, a value before and after,
        and the content hash before and after.

    Raises
    ------
    DataError
        A step names an asset or date that is not there, or would change nothing.
    """
    log = []
    source = panel.source
    for number, entry in enumerate(steps, 1):
        step = entry if isinstance(entry, RepairStep) else RepairStep.from_dict(entry)
        before = panel
        panel, changed = _apply(panel, step)
        panel = replace(
            panel, source=f"{source} (repairs made: {number})", content_hash=""
        )
        log.append(
            {
                "number": number,
                "step": step.step,
                "asset": step.asset,
                "date": step.date,
                "ratio": None if np.isnan(step.ratio) else step.ratio,
                "reason": step.reason,
                **changed,
                "hash_before": before.content_hash,
                "hash_after": panel.content_hash,
            }
        )
    return panel, tuple(log)


def _apply(panel: PricePanel, step: RepairStep) -> tuple[PricePanel, dict[str, Any]]:
    i = panel.index(step.asset)
    column = panel.prices[:, i]
    if step.step == "drop_asset":
        if len(panel.tickers) == 1:
            raise DataError("dropping the only asset leaves nothing", asset=step.asset)
        cells = int((~np.isnan(column)).sum())
        left = panel.select(t for t in panel.tickers if t != step.asset)
        return left, {"cells": cells, "before": None, "after": None}
    day = parse_time(step.date)[0].astype("datetime64[D]")
    t = int(np.searchsorted(panel.dates, day))
    exact = t < panel.dates.size and panel.dates[t] == day
    rows = (
        np.arange(t) if step.step == "scale_before" else np.array([t] if exact else [])
    )
    rows = rows[~np.isnan(column[rows.astype(np.intp)])].astype(np.intp)
    if not rows.size:
        raise DataError(
            f"the repair {step.step} changes nothing",
            asset=step.asset,
            date=day,
            fix="There is no price at that place.",
        )
    price, volume = (np.nan, np.nan)
    if step.step == "scale_before":
        price, volume = step.ratio, 1.0 / step.ratio
    arrays = {}
    for name, factor in (("prices", price), ("open", price), ("volume", volume)):
        values = getattr(panel, name)
        if values is not None:
            values = values.copy()
            values[rows, i] *= factor
            arrays[name] = values
    after = float(arrays["prices"][rows[-1], i])
    changed = {
        "cells": int(rows.size),
        "before": float(column[rows[-1]]),
        "after": None if np.isnan(after) else after,
    }
    return replace(panel, **arrays), changed
