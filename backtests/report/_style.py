"""What the pictures of a report share: colours, the figure, and SVG fit for a page.

Colours are those of Okabe and Ito (2008), one per family of roles, and never the only
sign. Every colour of a figure is one of `PALETTE` and leaves as a CSS variable, so that
one SVG serves light, dark and paper. SVG is deterministic, without links outside, and
its text is escaped.
"""

from __future__ import annotations

import html
import io
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context, rcdefaults, rcParams
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
INK, FAINT, EVENT, BEFORE, AFTER, EDGE, GRID, PAPER = (
    "#222222",
    "#B4B4B4",
    "#B00020",
    "#9A9A9A",
    "#0072B2",
    "#777777",
    "#E3E3E3",
    "#FFFFFF",
)
LOSS, GAIN, BASE, BLOCKED = "#D55E01", "#0072B3", "#BFD7EA", "#F2F2F3"
PALETTE: dict[str, tuple[str, str, str]] = {
    INK: ("ink", "#222222", "#E6EAEE"),
    FAINT: ("faint", "#B4B4B4", "#66707A"),
    EVENT: ("event", "#B00020", "#FF8A94"),
    BEFORE: ("before", "#9A9A9A", "#87919B"),
    AFTER: ("after", "#0072B2", "#5BB1EA"),
    EDGE: ("edge", "#777777", "#8C96A0"),
    GRID: ("grid", "#E3E3E3", "#2E353C"),
    PAPER: ("paper", "#FFFFFF", "#14181C"),
    LOSS: ("loss", "#D55E00", "#F0803C"),
    GAIN: ("gain", "#0072B2", "#5BB1EA"),
    BASE: ("base", "#BFD7EA", "#34526B"),
    BLOCKED: ("blocked", "#F2F2F2", "#252C33"),
    "#D55E00": ("chips", "#D55E00", "#F0803C"),
    "#E69F00": ("network", "#E69F00", "#E9AE2B"),
    "#CC79A7": ("power", "#CC79A7", "#DB93BA"),
    "#882255": ("neocloud", "#882255", "#C65B8E"),
    "#56B4E9": ("software", "#56B4E9", "#8CCBF0"),
    "#009E73": ("overseas", "#009E73", "#2FBF96"),
    "#F0E442": ("fund", "#F0E442", "#E6DB5A"),
    "#8A8A8A": ("none", "#8A8A8A", "#7F8993"),
    "#D0D0D0": ("cash", "#D0D0D0", "#4A535C"),
    "#F2F2F2": ("unknown", "#F2F2F2", "#252C33"),
}
"""Drawn colour: its CSS variable, and its value on light and on dark ground."""
RUN_STYLES = ((EDGE, "--"), (AFTER, "-"), ("#D55E00", "-"), ("#009E73", "-."))
"""Line of each strategy, in order; the same in every picture."""
_WIDTH = 5.9
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ballast",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "path.simplify_threshold": 0.5,  # points: half a pixel on a phone
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw by these settings alone, whatever the reader's own matplotlib has."""
    with rc_context():
        rcdefaults()
        rcParams.update(RC)
        yield


class Picture(NamedTuple):
    """One picture: heading, inline SVG (already safe), and what to read off it.

    ``words`` says in text what the picture shows; ``flags`` are the warnings that
    concern it.
    """

    key: str
    title: str
    svg: str
    caption: str
    words: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def colour(role: str) -> str:
    """Colour of a role; the same in every picture."""
    return FAMILIES[family(role)][0]


def family(role: str) -> str:
    return _ROLE_FAMILY.get(role, _UNKNOWN)


def _hatch(role: str) -> str:
    return "////" if family(role) == _UNKNOWN else ""


def bars(axis: Any, y: Any, x: Any, roles: Sequence[str]) -> None:
    axis.barh(
        y,
        x,
        height=0.74,
        color=[colour(r) for r in roles],
        hatch=[_hatch(r) for r in roles],
        edgecolor=[EDGE if _hatch(r) else PAPER for r in roles],
        linewidth=0.5,
    )


def family_legend(figure: Figure, roles: Sequence[str]) -> None:
    used = {family(r) for r in roles}
    handles = [
        Patch(
            facecolor=paint,
            hatch="////" if name == _UNKNOWN else "",
            edgecolor=EDGE,
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
    words: Sequence[str] = (),
) -> Picture:
    """Stamp a figure and turn it into a picture.

    ``alt`` is what a listener hears; ``words`` is the long description, a line each.
    """
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
    return Picture(
        key, title, _inline(buffer.getvalue(), key, alt), caption, tuple(words)
    )


def themed(svg: str) -> str:
    """Colours of an SVG as CSS variables.

    Raises
    ------
    ValueError
        A colour is not in the palette: it would not follow the theme.
    """
    names = {k.lower(): v[0] for k, v in PALETTE.items()} | {"#000000": "ink"}

    def variable(match: re.Match[str]) -> str:
        name = names.get(match.group(2).lower())
        if name is None:
            raise ValueError(f"colour {match.group(2)} is not in the palette")
        return f"{match.group(1)}var(--f-{name})"

    return re.sub(r"((?:fill|stroke): ?)(#[0-9a-fA-F]{6})\b", variable, svg)


def _rounded(svg: str) -> str:
    """Coordinates to a hundredth of a point, paths on one line."""

    def shorter(match: re.Match[str]) -> str:
        text = re.sub(r"\s+", " ", match.group(2)).strip()
        text = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m.group()):.2f}", text)
        return f'{match.group(1)}"{text}"'

    return re.sub(r'(\s(?:d|x|y|transform)=)"([^"]*)"', shorter, svg)


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
    svg = themed(_rounded(svg))
    opening, body = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]+)"', opening)
    name = html.escape(alt, quote=True)
    return (
        f'<svg viewBox="{box.group(1) if box else ""}" role="img" '
        f'aria-label="{name}" aria-describedby="picture-{key}-words" '
        f'preserveAspectRatio="xMidYMid meet" stroke-linejoin="round">{body}'
    )


def css_variables(column: int) -> str:
    """Palette as CSS declarations: column 1 on light ground, 2 on dark."""
    return " ".join(f"--f-{v[0]}: {v[column]};" for v in PALETTE.values())


def thinned(values: np.ndarray, most: int = 700) -> np.ndarray:
    """Positions of a long series to draw: ends and extremes of equal spans."""
    n = values.size
    if n <= most:
        return np.arange(n)
    edges = np.linspace(0, n, most // 2 + 1).astype(np.int64)
    kept = {0, n - 1}
    for a, b in itertools.pairwise(edges.tolist()):
        part = values[a:b]
        kept |= {a + int(np.argmin(part)), a + int(np.argmax(part))}
    return np.array(sorted(kept))
