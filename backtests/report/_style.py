"""What the pictures of a report share: colours, the figure, and SVG fit for a page.

Colours are those of Okabe and Ito (2008), one per family of roles, and never the only
sign. SVG is deterministic, without links outside, and its text is escaped.
"""

from __future__ import annotations

import html
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from backtests.report._inputs import MINUS, brief

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "chips": ("#D55E00", ("accelerator", "foundry", "memory", "semicap")),
    "network, servers": ("#E69F00", ("network", "servers")),
    "power, sites": ("#CC79A7", ("dc_power", "power_gen", "dc_reit", "utility")),
    "neocloud, lab backer": ("#882255", ("neocloud", "lab_backer")),
    "hyperscaler": ("#0072B2", ("hyperscaler",)),
    "software, device": ("#56B4E9", ("software", "device")),
    "overseas efficient": ("#009E73", ("overseas_efficient",)),
    "funds looked through": ("#F0E442", ("fund",)),
    "no AI role": ("#8A8A8A", ("none",)),
    "cash": ("#D0D0D0", ("cash",)),
    "unknown (hatched)": ("#F2F2F2", ("unknown", "not stated")),
}
_UNKNOWN = "unknown (hatched)"
_ROLE_FAMILY = {role: name for name, (_, roles) in FAMILIES.items() for role in roles}
INK, FAINT, EVENT, BEFORE, AFTER = (
    "#222222",
    "#B4B4B4",
    "#B00020",
    "#9A9A9A",
    "#0072B2",
)
_WIDTH = 6.4
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ballast",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.edgecolor": "#777777",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}


class Picture(NamedTuple):
    """One picture: heading, inline SVG (already safe), and what to read off it."""

    key: str
    title: str
    svg: str
    caption: str


def colour(role: str) -> str:
    """Colour of a role; the same in every picture."""
    return FAMILIES[_family(role)][0]


def _family(role: str) -> str:
    return _ROLE_FAMILY.get(role, _UNKNOWN)


def _hatch(role: str) -> str:
    return "////" if _family(role) == _UNKNOWN else ""


def bars(axis: Any, y: Any, x: Any, roles: Sequence[str]) -> None:
    axis.barh(
        y,
        x,
        height=0.74,
        color=[colour(r) for r in roles],
        hatch=[_hatch(r) for r in roles],
        edgecolor=["#777777" if _hatch(r) else "white" for r in roles],
        linewidth=0.5,
    )


def family_legend(figure: Figure, roles: Sequence[str]) -> None:
    used = {_family(r) for r in roles}
    handles = [
        Patch(
            facecolor=paint,
            hatch="////" if name == _UNKNOWN else "",
            edgecolor="#777777",
            linewidth=0.4,
            label=name,
        )
        for name, (paint, _) in FAMILIES.items()
        if name in used
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def loss_axis(axis: Any, which: str = "x") -> None:
    """Ticks as unsigned percentages: the axis says which side is a gain."""
    target = axis.xaxis if which == "x" else axis.yaxis
    target.set_major_locator(MaxNLocator(6))
    target.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(100 * v):g}%"))


def percent_axis(target: Any, ticks: int = 6) -> None:
    """Ticks as signed percentages at round steps."""
    target.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    target.set_major_formatter(
        FuncFormatter(lambda v, _: f"{100 * v:.6g}%".replace("-", MINUS))
    )


def draw(height: float, **grid: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**grid)


def finish(
    figure: Figure,
    stamps: Sequence[str],
    key: str,
    title: str,
    alt: str,
    caption: str,
) -> Picture:
    """Stamp a figure and turn it into a picture; ``alt`` is what a listener hears."""
    if stamps:
        figure.suptitle(
            textwrap.fill(" · ".join(brief(s, 34) for s in stamps), 72),
            x=0.99,
            ha="right",
            fontsize=8.5,
            fontweight="bold",
            color=EVENT,
        )
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return Picture(key, title, _inline(buffer.getvalue(), key, alt), caption)


def _inline(svg: str, key: str, alt: str) -> str:
    """Body of an SVG file for use inside HTML: own ids, a name, no links outside."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'\sid="([^"]+)"', rf' id="{key}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{key}-\1"', svg)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, count=1, flags=re.S)
    svg = re.sub(r"\n\s*", "\n", svg)
    opening, body = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', opening)
    name = html.escape(alt, quote=True)
    return (
        f'<svg viewBox="{box.group(1) if box else ""}" role="img" '
        f'aria-label="{name}" preserveAspectRatio="xMidYMid meet" '
        f'stroke-linejoin="round">{body}'
    )
