"""How the model did on 27 January 2025: a validation's numbers as a report shows them.

The numbers come from `ballast shocks validate`, as a result or as the JSON it writes;
nothing is computed here but differences, so page and report cannot disagree with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from backtests.report._inputs import day, label, number, percent, signed
from backtests.report._style import (
    EDGE,
    EVENT,
    FAINT,
    INK,
    PAPER,
    Picture,
    colour,
    draw,
    drawing,
    finish,
    percent_axis,
)
from backtests.report._tables import Table
from engine.data.roles import ROLES
from engine.errors import DataError

FILE = "validation.json"
FLAT, CALIBRATED = "structural, flat", "structural, calibrated"
METRICS = {
    "spearman": ("Rank correlation", False),
    "r2": ("R² to the 45° line", False),
    "mae": ("Mean absolute error", True),
    "balanced_hits": ("Right sign", True),
}
"""Name of each metric for people, and whether it is a share of one."""
_KEYS = {
    "event": str,
    "exposures_frozen_at": str,
    "synthetic": bool,
    "names": int,
    "aims": dict,
    "table": list,
    "common_names": list,
    "winners": dict,
    "by_role": list,
    "by_name": list,
}


@dataclass(frozen=True)
class ValidationSummary:
    """A validation as read: plain numbers and text.

    Attributes
    ----------
    event : str
        ISO date.
    frozen_at : str
        Commit that froze names and exposures.
    synthetic : bool
    names : int
    aims : mapping of metric to float
    table, common : tuple of mappings
        One row per predictor, on all the names it speaks of and on those of which all
        speak: its metrics and what it has ``seen`` of the day.
    winners : mapping
        Best predictor by metric on the common names; ``<metric>, nothing seen`` among
        those that saw nothing of the day.
    by_role : tuple of mappings
        Medians, realised and modelled.
    by_name : tuple of mappings
        Asset, role, realised and modelled returns.
    """

    event: str
    frozen_at: str
    synthetic: bool
    names: int
    aims: Mapping[str, float]
    table: tuple[Mapping[str, Any], ...]
    common: tuple[Mapping[str, Any], ...]
    winners: Mapping[str, str]
    by_role: tuple[Mapping[str, Any], ...]
    by_name: tuple[Mapping[str, Any], ...]


def read_validation(source: Any) -> ValidationSummary:
    """Summary of a validation.

    Parameters
    ----------
    source : Validation, mapping or path
        A result of `backtests.validation.validate`, its ``to_dict()``, the JSON file
        of `ballast shocks validate`, or the folder that holds it.

    Raises
    ------
    DataError
        No such file, not the JSON of a validation, or a part of it missing.
    """
    if isinstance(source, ValidationSummary):
        return source
    found, where = source, "the validation"
    if hasattr(source, "to_dict"):
        found = source.to_dict()
    elif not isinstance(source, Mapping):
        path = Path(source)
        path = path / FILE if path.is_dir() else path
        where = str(path)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(
                "the validation cannot be read",
                received=f"{where}: {error.strerror}",
                expected=f"{FILE} of ballast shocks validate --out, or its folder",
            ) from None
        except ValueError:
            raise DataError(
                "the validation is not JSON",
                received=where,
                expected=f"{FILE} of ballast shocks validate --out",
            ) from None
    if not isinstance(found, Mapping):
        raise DataError("not the JSON of a validation", received=type(found).__name__)
    for key, kind in _KEYS.items():
        if not isinstance(found.get(key), kind):
            raise DataError(
                f"{where} lacks the part '{key}', or it is of another kind",
                received=type(found.get(key)).__name__,
                expected=kind.__name__,
                fix="Write it again with ballast shocks validate --out.",
            )
    summary = ValidationSummary(
        event=found["event"],
        frozen_at=found["exposures_frozen_at"],
        synthetic=found["synthetic"],
        names=found["names"],
        aims=found["aims"],
        table=tuple(found["table"]),
        common=tuple(found["common_names"]),
        winners=found["winners"],
        by_role=tuple(found["by_role"]),
        by_name=tuple(found["by_name"]),
    )
    _check(summary, where)
    return summary


def _check(summary: ValidationSummary, where: str) -> None:
    """Refuse rows without what is shown of them."""
    scores = ("predictor", "n", "bias", "seen", *METRICS)
    moves = ("role", "realised", FLAT, CALIBRATED)
    for part, rows, wanted in (
        ("table", summary.table, scores),
        ("common_names", summary.common, scores),
        ("by_role", summary.by_role, (*moves, "n")),
        ("by_name", summary.by_name, ("asset", *moves)),
    ):
        if not rows:
            raise DataError(f"'{part}' of {where} is empty")
        for row in rows:
            lacking = [
                key
                for key in wanted
                if key not in row or (row[key] is None and key not in METRICS)
            ]
            if lacking:
                raise DataError(
                    f"a row of '{part}' of {where} lacks a value",
                    asset=str(row.get("asset", row.get("predictor", ""))) or None,
                    received=", ".join(lacking),
                )
            if row.get("role", "none") not in ROLES:
                raise DataError("unknown AI role", received=repr(row["role"]))
    for metric in METRICS:
        if metric not in summary.aims:
            raise DataError(f"'aims' of {where} lacks a metric", received=metric)


def picture(summary: ValidationSummary) -> Picture:
    """Draw realised returns of every name by role, with the modelled medians."""
    roles = sorted(summary.by_role, key=lambda row: float(row["realised"]))
    stamps = ["SYNTHETIC prices"] if summary.synthetic else []
    with drawing():
        figure, axis = draw(0.36 * len(roles) + 1.5)
        for k, row in enumerate(roles):
            y, role = len(roles) - 1 - k, row["role"]
            mine = [n["realised"] for n in summary.by_name if n["role"] == role]
            values = np.array(sorted(mine), dtype=np.float64)
            jitter = np.zeros(values.size)
            jitter[1::2], jitter[2::2] = 0.16, -0.16
            axis.scatter(
                values,
                y + jitter,
                s=16,
                color=colour(str(role)),
                alpha=0.7,
                edgecolor=EDGE,
                linewidth=0.4,
            )
            axis.plot([row["realised"]] * 2, [y - 0.32, y + 0.32], color=INK, lw=2.4)
            axis.plot(row[FLAT], y, "D", color=EVENT, ms=6, mec=PAPER)
            axis.plot(row[CALIBRATED], y, "o", color="none", mec=EVENT, ms=8)
        axis.axvline(0, color=FAINT, lw=0.9)
        axis.set_ylim(-0.7, len(roles) - 0.3)
        axis.set_yticks(
            range(len(roles)),
            [f"{label(r['role'])} ({r['n']:.0f})" for r in roles[::-1]],
        )
        axis.set_xlabel(f"return across {day(np.datetime64(summary.event))}")
        percent_axis(axis.xaxis, 8)
        handles = [
            Line2D([], [], color=EDGE, marker="o", ls="", ms=4, label="one name"),
            Line2D([], [], color=INK, lw=2.4, label="realised, median"),
            Line2D([], [], color=EVENT, marker="D", ls="", label="model, flat"),
            Line2D(
                [], [], color="none", marker="o", mec=EVENT, ls="",
                label="model, calibrated",
            ),
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        return finish(
            figure,
            stamps,
            "validation",
            "What the model said and what happened, by role",
            "Realised returns of every name by role beside the modelled medians",
            "Distance from diamond to bar is the miss of the flat variant, which alone "
            "was made without the day. The calibrated circle knew it.",
            ["Medians by role are in the table below the picture."],
        )


def scores(
    rows: Sequence[Mapping[str, Any]], key: str, title: str, note: str = ""
) -> Table:
    """One row per predictor: what it has seen, and how near it came."""
    shown = []
    for row in rows:
        cells = [str(row["predictor"]), number(row["n"], 0)]
        for metric, (_, share) in METRICS.items():
            cells.append(percent(row[metric], 1) if share else number(row[metric], 2))
        cells += [signed(row["bias"], 1), str(row["seen"])]
        shown.append(cells)
    names = (name for name, _ in METRICS.values())
    columns = ("Predictor", "Names", *names, "Bias", "Has seen of the day")
    return Table(key, title, columns, shown, note, text=(0, 7))


def common_scores(summary: ValidationSummary) -> Table:
    """The predictors on the names of which all of them speak."""
    return scores(
        summary.common,
        "validation",
        "Model and baselines on the same names",
        "R² is against the 45° line, not a fitted one. Right sign: the mean of the "
        "share of fallers and the share of risers called right, zero being wrong. Bias "
        "above zero: too mild. Returns are local, each over the first close that could "
        "contain the news.",
    )


def roles_table(summary: ValidationSummary) -> Table:
    """Medians by role and the miss of the flat variant."""
    rows = [
        [
            label(str(r["role"])),
            number(r["n"], 0),
            signed(r["realised"], 1),
            signed(r[FLAT], 1),
            signed(r[CALIBRATED], 1),
            signed(r[FLAT] - r["realised"], 1, " points"),
        ]
        for r in sorted(summary.by_role, key=lambda row: float(row["realised"]))
    ]
    columns = ("Role", "Names", "Realised", "Flat", "Calibrated", "Flat less realised")
    return Table("validation_roles", "Medians by role", columns, rows)


def verdict(summary: ValidationSummary) -> list[str]:
    """Who wins, and by how much the model misses what it aims at; no more than that."""
    flat = next((r for r in summary.table if r["predictor"] == FLAT), None)
    out = [
        f"{summary.names} companies; names and exposures were frozen at commit "
        f"{summary.frozen_at}, before any code read the day. Only the flat variant is "
        "a validation: the calibrated multipliers were made knowing the day."
    ]
    if flat is not None:
        missed, met = [], []
        for metric, (name, share) in METRICS.items():
            value = np.nan if flat[metric] is None else float(flat[metric])
            aim = float(summary.aims[metric])
            low = metric == "mae"
            words = (
                f"{name.lower() if metric != 'r2' else name} "
                f"{percent(value, 1) if share else number(value)} "
                f"({'at most' if low else 'at least'} "
                f"{percent(aim, 1) if share else number(aim)})"
            )
            (met if (value <= aim if low else value >= aim) else missed).append(words)
        out.append(
            f"The flat variant meets {len(met)} of {len(met) + len(missed)} aims set "
            "beforehand. "
            + " ".join(
                f"{what}: {'; '.join(words)}."
                for what, words in (("Missed", missed), ("Met", met))
                if words
            )
        )
    for suffix, who in (
        ("", "Of all predictors"),
        (", nothing seen", "Of those that had seen nothing of the day"),
    ):
        best: dict[str, list[str]] = {}
        for metric, (name, _) in METRICS.items():
            winner = summary.winners.get(metric + suffix)
            if winner is not None:
                best.setdefault(winner, []).append(
                    name if metric == "r2" else name.lower()
                )
        seen = {str(r["predictor"]): str(r["seen"]) for r in summary.common}
        if best:
            words = [
                f"{name} is best by {', '.join(by)} (has seen: {seen.get(name, '?')})"
                for name, by in best.items()
            ]
            out.append(f"{who}, {'; '.join(words)}.")
    return out
