"""The validation as one HTML page: a picture first, then every number."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.lines import Line2D

from backtests.report._style import (
    EVENT,
    FAINT,
    INK,
    RC,
    Picture,
    colour,
    draw,
    finish,
    percent_axis,
)
from backtests.validation._validate import EVENT as DAY
from backtests.validation._validate import FROZEN_AT, Validation
from engine.data.files import write_atomic

_CSS = """body{font:16px/1.5 system-ui,sans-serif;max-width:1120px;margin:0 auto;
padding:1.5rem;color:#1d2329}table{border-collapse:collapse;font-size:.84rem;width:100%}
th,td{padding:.3rem .5rem;border-bottom:1px solid #d9dee3;text-align:right}
td:first-child,th:first-child{text-align:left}svg{width:100%;max-width:760px}
.scroll{overflow-x:auto}.stamp{color:#b00020;font-weight:600}"""


def role_picture(result: Validation) -> Picture:
    """Draw realised returns of every name by role, with the modelled medians."""
    roles = result.by_role()
    stamps = ["SYNTHETIC prices"] if result.synthetic else []
    with rc_context(RC):
        figure, axis = draw(0.42 * len(roles) + 1.6)
        for k, (role, row) in enumerate(roles.iterrows()):
            y = len(roles) - 1 - k
            mine = np.array([r == role for r in result.roles])
            values = result.realised[mine]
            jitter = np.linspace(-0.18, 0.18, values.size) if values.size > 1 else 0
            axis.scatter(
                values,
                y + jitter,
                s=16,
                color=colour(str(role)),
                alpha=0.7,
                edgecolor="#777777",
                linewidth=0.4,
            )
            axis.plot([row["realised"]] * 2, [y - 0.32, y + 0.32], color=INK, lw=2.4)
            axis.plot(row["structural, flat"], y, "D", color=EVENT, ms=6, mec="white")
            axis.plot(
                row["structural, calibrated"], y, "o", color="none", mec=EVENT, ms=7
            )
        axis.axvline(0, color=FAINT, lw=0.9)
        axis.set_ylim(-0.7, len(roles) - 0.3)
        axis.set_yticks(
            range(len(roles)),
            [f"{r} ({roles.loc[r, 'n']:.0f})" for r in roles.index[::-1]],
        )
        axis.set_xlabel(f"return across {DAY}")
        percent_axis(axis.xaxis, 8)
        handles = [
            Line2D([], [], color="#777777", marker="o", ls="", ms=4, label="one name"),
            Line2D([], [], color=INK, lw=2.4, label="realised, median"),
            Line2D([], [], color=EVENT, marker="D", ls="", label="model, flat"),
            Line2D(
                [], [], color="none", marker="o", mec=EVENT, ls="",
                label="model, calibrated",
            ),
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        return finish(
            figure, stamps, "validation-roles",
            "What the model said and what happened, by role",
            "Realised returns of every name by role beside the modelled medians",
            "Distance from diamond to bar is the miss of the flat variant. The "
            "calibrated circle knew the day.",
        )  # fmt: skip


def write_page(path: Path, result: Validation) -> Path:
    """Write the page; it needs no other file."""
    picture = role_picture(result)
    parts = [
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>",
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
        "style-src 'unsafe-inline'\">",
        f"<title>Validation</title><style>{_CSS}</style></head><body>",
        f"<h1>The shock against {DAY}</h1>",
    ]
    if result.synthetic:
        parts.append("<p class='stamp'>SYNTHETIC prices: nothing here happened.</p>")
    parts.append(
        f"<p>{len(result.names)} companies; names and exposures frozen at commit "
        f"{FROZEN_AT}, before the code that reads the day. Only the flat variant is a "
        "validation; nothing is tuned to the day.</p>"
    )
    parts += [f"<h2>{html.escape(picture.title)}</h2>", picture.svg, "</svg>"
              if not picture.svg.rstrip().endswith("</svg>") else "",
              f"<p>{html.escape(picture.caption)}</p>"]  # fmt: skip
    parts.append("<h2>In words</h2><ul>")
    parts += [f"<li>{html.escape(w)}</li>" for w in result.words()]
    parts.append("</ul>")
    for title, frame in (
        ("Every predictor, all names it speaks of", result.table.reset_index()),
        ("The same on names common to all", result.common.reset_index()),
        ("By role, medians", result.by_role().reset_index()),
        ("Flat variant by basis of exposure", result.by_basis()),
        ("Every riser", result.risers()),
        ("Days since 2023", result.days().reset_index()),
        ("Labelled and large days", result.labelled()),
    ):
        parts.append(f"<h2>{title}</h2><div class='scroll'>{_html(frame)}</div>")
    lines = [f"{k}: {v}" for k, v in result.dropped.items()]
    lines += [f"{k}: first close that could contain it {v}" for k, v in
              result.late.items()]  # fmt: skip
    parts.append("<h2>Left out, and late</h2><ul>")
    parts += [f"<li>{html.escape(x)}</li>" for x in lines] + ["</ul></body></html>"]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(parts).encode())
    return path


def _html(frame: Any) -> str:
    def cell(v: Any) -> str:
        if isinstance(v, tuple):
            return " to ".join(f"{x:.3f}" for x in v)
        if isinstance(v, (float, np.floating)):
            return f"{v:.3f}"
        return html.escape(str(v))

    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in frame.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{cell(v)}</td>" for v in row) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
