"""What a data engineer would question in a panel.

`check` only looks: it runs every rule of `engine.data.quality_rules`, turns what was
looked at and found true into notes, and sorts the rest into a report, worst first. What
is to be changed is changed by `engine.data.repair`, and on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.actions import CorporateActions
from engine.data.panel import PricePanel, parse_time
from engine.data.quality_rules import CHECKS, Finding, Look, Sessions
from engine.errors import DataError

SEVERITIES = ("note", "warning", "error")


@dataclass(frozen=True, slots=True, eq=False)
class QualityReport(Value):
    """Findings about one panel, worst first.

    Attributes
    ----------
    findings : tuple of Finding
    source, content_hash : str
        Of the panel that was checked.
    n_assets, n_dates : int
    """

    findings: tuple[Finding, ...]
    source: str
    content_hash: str
    n_assets: int
    n_dates: int

    @property
    def worst(self) -> str:
        """Highest severity; empty when there is no finding."""
        found = {f.severity for f in self.findings}
        return next((s for s in reversed(SEVERITIES) if s in found), "")

    @property
    def exit_status(self) -> int:
        """1 when a finding is an error, else 0."""
        return int(self.worst == "error")

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of findings by check and severity."""
        result: dict[str, dict[str, int]] = {}
        for finding in self.findings:
            row = result.setdefault(finding.what, dict.fromkeys(SEVERITIES, 0))
            row[finding.severity] += 1
        return {name: result[name] for name in CHECKS if name in result}

    def of(self, what: str, asset: str | None = None) -> tuple[Finding, ...]:
        """Findings of one check, of one asset if given."""
        return tuple(
            f
            for f in self.findings
            if f.what == what and (asset is None or f.asset == asset)
        )

    def to_frame(self):
        """Return one row per finding."""
        import pandas as pd

        names = ("severity", "asset", "date", "what", "value", "detail")
        rows = [[getattr(f, n) for n in names] for f in self.findings]
        return pd.DataFrame(rows, columns=list(names))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {
            "source": self.source,
            "content_hash": self.content_hash,
            "assets": self.n_assets,
            "dates": self.n_dates,
            "worst": self.worst,
            "exit_status": self.exit_status,
            "counts": self.counts(),
            "findings": [
                {**row, "value": None if np.isnan(row["value"]) else row["value"]}
                for row in self.to_frame().to_dict("records")
            ],
        }

    def __repr__(self) -> str:
        tally = ", ".join(
            f"{sum(f.severity == s for f in self.findings)} {s}s" for s in SEVERITIES
        )
        return f"QualityReport({self.source}: {tally})"


def check(
    panel: PricePanel,
    *,
    actions: CorporateActions | None = None,
    sessions: Sessions | None = None,
    accepted: Iterable[tuple[str, Any, str]] = (),
    jump: float = 0.4,
    scales: float = 12.0,
    stale: int = 5,
    thin: float = 0.05,
    gap: int = 10,
) -> QualityReport:
    """Look for what cannot be right, and for what should be looked at.

    Parameters
    ----------
    panel : PricePanel, (T, N)
        Returns are simple, in quote currency, from one price of the asset to its next.
    actions : CorporateActions, optional
        Explains jumps; splits are checked against the panel's price basis.
    sessions : callable, optional
        ``(venue, dates) -> (T,) bool``. Without it weekends alone are off-calendar.
    accepted : iterable of (asset, date, what)
        Findings looked at and found true: they stay, as notes.
    jump, scales : float
        A jump is a return beyond ``jump``, or beyond ``scales`` robust scales and half
        of ``jump``. A day beyond 40% is rare enough to be read one by one.
    stale : int, default 5
        Equal closes in a row (a week) that make a stale run; four times that, an error.
    thin : float, default 0.05
        Share of zero returns (one day in twenty) that makes an asset thin.
    gap : int, default 10
        Missing sessions in a row that are an error.

    Returns
    -------
    QualityReport

    Notes
    -----
    Errors: a row outside the calendar, a long gap or stale run, a split the basis
    says is adjusted but is not (or the reverse), a move that is a whole split ratio
    and no action explains, a change of unit by 100, a currency in conflict with the
    actions. Everything else is a warning or a note. Cells without a price are never
    filled: a return across a holiday spans it.
    """
    look = Look(panel, actions, sessions)
    look.calendar()
    look.spans(gap)
    look.stale_runs(stale, thin)
    look.moves(jump, scales)
    look.splits()
    look.currencies()
    look.survivors()
    look.twins()
    look.volumes()
    known = {
        (a, str(parse_time(d)[0].astype("datetime64[D]")) if d else "", w)
        for a, d, w in accepted
    }
    found = [
        replace(f, severity="note", detail=f"accepted: {f.detail}")
        if (f.asset, f.date, f.what) in known
        else f
        for f in look.found
    ]
    found.sort(
        key=lambda f: (
            -SEVERITIES.index(f.severity),
            CHECKS.index(f.what),
            f.asset,
            f.date,
        )
    )
    return QualityReport(
        tuple(found),
        panel.source,
        panel.content_hash,
        len(panel.tickers),
        len(look.days),
    )


def read_accepted(path: Any) -> tuple[tuple[str, str, str], ...]:
    """Read findings looked at and found true: a CSV with asset, date, what."""
    import csv

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [{k: v or "" for k, v in r.items()} for r in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("cannot read the findings", received=str(error)) from error
    names = ("asset", "date", "what")
    if any(not set(names) <= set(row) for row in rows):
        raise DataError(
            "accepted findings need the columns asset, date, what",
            received=", ".join(map(str, rows[0])),
        )
    unknown = sorted({row["what"] for row in rows} - set(CHECKS))
    if unknown:
        raise DataError(
            "no such check", received=repr(unknown[0]), expected=", ".join(CHECKS)
        )
    return tuple((row["asset"], row["date"], row["what"]) for row in rows)
