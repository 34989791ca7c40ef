"""The validation as one HTML page: a picture first, then every number."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backtests.report._inputs import day, label, number, percent, signed
from backtests.report._tables import Table
from backtests.report._validation import (
    FILE,
    common_scores,
    picture,
    read_validation,
    roles_table,
    scores,
    verdict,
)
from backtests.validation._validate import Validation
from engine.data.files import write_atomic

_CSS = """*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;
max-width:1120px;margin:0 auto;padding:1.5rem 1.25rem 3rem;color:#1d2329}
h1{font-size:1.8rem;line-height:1.2}h2{font-size:1.25rem;margin:2.4rem 0 .8rem;
padding-top:.8rem;border-top:2px solid #1d2329}h3{font-size:1rem;margin:1.4rem 0 .4rem}
ul{max-width:78ch;padding-left:1.2rem}li{margin:.45rem 0;overflow-wrap:anywhere}
.note{font-size:.84rem;color:#59636e;max-width:78ch;margin:.4rem 0 0}
.stamp{color:#b00020;font-weight:600}
svg{display:block;width:100%;max-width:640px;height:auto}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.86rem;width:100%;
font-variant-numeric:tabular-nums}
th,td{padding:.34rem .5rem;border-bottom:1px solid #d9dee3;text-align:right;
vertical-align:top}
th{color:#59636e;border-bottom:2px solid #d9dee3;vertical-align:bottom;line-height:1.25}
.t{text-align:left}tbody tr:nth-child(even){background:#f5f7f9}
@media screen and (max-width:700px){body{padding:1rem .8rem 2rem}h1{font-size:1.4rem}
thead{display:none}table,tbody,tr{display:block}
tr{border-bottom:2px solid #d9dee3;padding:.3rem 0}
td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.12rem .5rem;
text-align:right}
td::before{content:attr(data-label);color:#59636e;text-align:left}
td:first-child{font-weight:600}}
@media print{body{max-width:none;padding:0;font-size:9.5pt}table{font-size:7.5pt}
.scroll{overflow:visible}tr{break-inside:avoid}}"""


def write_page(path: Path, result: Validation) -> Path:
    """Write the page, which needs no other file, and its numbers as JSON beside it.

    The JSON, ``validation.json``, is what a report takes (`ballast report
    --validation`).
    """
    from backtests.cli.show import json_text

    summary = read_validation(result)
    shown = picture(summary)
    date = day(np.datetime64(summary.event))
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">",
        f"<title>Validation, {date}</title><style>{_CSS}</style></head><body>",
        f"<h1>How well did the model do on {date}</h1>",
    ]
    if result.synthetic:
        parts.append("<p class='stamp'>SYNTHETIC prices: nothing here happened.</p>")
    parts.append(_list(verdict(summary)))
    parts += [f"<h2>{html.escape(shown.title)}</h2>", shown.svg]
    parts.append(f"<p class='note'>{html.escape(shown.caption)}</p>")
    parts += ["<h2>Who wins</h2>", _html(common_scores(summary))]
    parts.append(
        _html(scores(summary.table, "all", "Every predictor, all names it speaks of"))
    )
    parts += ["<h2>How sure that is</h2>", _html(_sampling(result))]
    parts += [_html(_without(result)), "<h2>In words</h2>", _list(result.words())]
    parts += ["<h2>Where it misses</h2>", _html(roles_table(summary))]
    parts += [_html(_by_basis(result)), _html(_risers(result))]
    parts += ["<h2>Other days</h2>", _html(_days(result)), _html(_labelled(result))]
    lines = [f"{k}: {v}" for k, v in result.dropped.items()]
    lines += [
        f"{k}: first close that could contain it {v}" for k, v in result.late.items()
    ]
    parts += ["<h2>Left out, and late</h2>", _list(lines), "</body></html>"]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.parent / FILE, json_text(result.to_dict()).encode())
    write_atomic(path, "\n".join(parts).encode())
    return path


def _sampling(result: Validation) -> Table:
    rows = [
        [
            str(name),
            *(_range(row[f"{m}_5_95"], share) for m, share in _RANGED[:3]),
        ]
        for name, row in result.table.iterrows()
    ]
    return Table(
        "sampling",
        "Sampling: 5-95% over names drawn again",
        ("Predictor", "Rank correlation", "R²", "Mean absolute error"),
        rows,
        "Names of one role moved together: the ranges are too narrow for that.",
    )


_RANGED = (("spearman", False), ("r2", False), ("mae", True), ("balanced_hits", True))


def _without(result: Validation) -> Table:
    rows = [
        [
            str(name),
            *(_range(row[f"{m}_lor"], share) for m, share in _RANGED),
            label(str(row["r2_lowest_without"])),
            number(row["r2_out_of_role"]),
        ]
        for name, row in result.table.iterrows()
    ]
    return Table(
        "without",
        "Leaving one role out at a time: lowest to highest",
        (
            "Predictor",
            "Rank correlation",
            "R²",
            "Mean absolute error",
            "Right sign",
            "R² lowest without",
            "R² out of role",
        ),
        rows,
        "R² out of role: each role predicted by coefficients fitted without it; the "
        "plain one where nothing is fitted.",
        text=(0, 5),
    )


def _by_basis(result: Validation) -> Table:
    rows = [
        [
            str(r["exposure"]),
            number(r["n"], 0),
            number(r["spearman"]),
            number(r["r2"]),
            percent(r["mae"], 1),
            percent(r["balanced_hits"], 1),
            signed(r["bias"], 1),
        ]
        for r in _records(result.by_basis())
    ]
    columns = ("Exposure", "Names", "Rank correlation", "R²", "Mean absolute error")
    columns = (*columns, "Right sign", "Bias")
    return Table("basis", "Flat variant by basis of exposure", columns, rows)


def _risers(result: Validation) -> Table:
    rows = [
        [
            str(r["asset"]),
            label(str(r["role"])),
            *(signed(r[k], 1) for k in list(r)[2:]),
        ]
        for r in _records(result.risers())
    ]
    columns = ("Riser", "Role", "Realised", "Flat", "Calibrated")
    return Table("risers", "Every riser", columns, rows, text=(0, 1))


def _days(result: Validation) -> Table:
    rows = [
        [
            str(r["kind"]),
            number(r["size"], 0),
            *(number(r[k]) for k in ("median", "mean", "std", "mean_absolute")),
        ]
        for r in _records(result.days().reset_index())
    ]
    return Table(
        "days",
        "Rank correlation of the flat variant with each day since 2023",
        ("Day", "Days", "Median", "Mean", "Deviation", "Mean absolute"),
        rows,
        "Of market-adjusted returns, with today's exposures on past days.",
    )


def _labelled(result: Validation) -> Table:
    rows = [
        [
            str(r["date"]),
            str(r["kind"]),
            number(r["rho"]),
            signed(r["SPY"], 1),
            number(r["n"], 0),
        ]
        for r in _records(result.labelled())
    ]
    columns = ("Day", "Kind", "Rank correlation", "SPY", "Names")
    return Table("labelled", "Labelled and large days", columns, rows, text=(0, 1))


def _records(frame: Any) -> list[Mapping[str, Any]]:
    return frame.to_dict("records")


def _range(pair: tuple[float, float], share: bool) -> str:
    show = percent if share else number
    digits = 1 if share else 2
    return " to ".join(show(x, digits) for x in pair)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(x)}</li>" for x in lines) + "</ul>"


def _html(table: Table) -> str:
    """One table; on a phone each row is a block and each cell says its column."""

    def cells(row: Sequence[str]) -> str:
        return "".join(
            f'<td{_side(table, k)} data-label="{html.escape(column)}">'
            f"<span>{html.escape(v)}</span></td>"
            for k, (v, column) in enumerate(zip(row, table.columns, strict=True))
        )

    head = "".join(
        f'<th scope="col"{_side(table, k)}>{html.escape(c)}</th>'
        for k, c in enumerate(table.columns)
    )
    body = "".join(f"<tr>{cells(row)}</tr>" for row in table.rows)
    note = f"<p class='note'>{html.escape(table.note)}</p>" if table.note else ""
    return (
        f"<h3>{html.escape(table.title)}</h3><div class='scroll'><table><thead><tr>"
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _side(table: Table, k: int) -> str:
    return ' class="t"' if k in table.text else ""
