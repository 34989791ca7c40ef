"""Small charts and tables that objects show of themselves in a notebook.

Everything is inline SVG and escaped HTML in the colour of the surrounding text: nothing
is fetched, nothing runs, and a dark notebook stays dark.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_WIDTH = 620
_ROW = 18
_LABELS = 130
_LOSS, _GAIN = "#c8553d", "#3a7d7c"


def percent(value: float, digits: int = 2) -> str:
    """Format a decimal as a percentage; an empty cell for NaN."""
    return "" if np.isnan(value) else f"{value:.{digits}%}"


def paragraph(text: str, *, strong: bool = False) -> str:
    """Escaped text as a paragraph."""
    inside = html.escape(text)
    return f"<p><b>{inside}</b></p>" if strong else f"<p>{inside}</p>"


def warnings(texts: Sequence[str]) -> str:
    """What a reader must know before the numbers, one paragraph each."""
    return "".join(paragraph(t, strong=True) for t in texts)


def small(text: str) -> str:
    """Where the numbers come from, under them."""
    return f'<p style="opacity:.75;font-size:85%">{html.escape(text)}</p>'


def table(frame: Any, formats: Mapping[str, Any] | None = None, rows: int = 20) -> str:
    """Escaped HTML table; ``formats`` maps columns to functions value -> text."""
    return frame.to_html(
        index=False,
        escape=True,
        max_rows=rows,
        border=0,
        formatters=dict(formats or {}),
        float_format=lambda x: f"{x:.4g}",
    )


def bars(
    values: Mapping[str, float],
    title: str,
    *,
    rows: int = 12,
    gain_is_good: bool = True,
) -> str:
    """Horizontal bars, largest first, as SVG; the rest summed in the last row.

    Parameters
    ----------
    values : mapping
        Decimals, shown as percentages.
    title : str
        Heading, and the text for those who do not see it.
    rows : int, default 12
    gain_is_good : bool, default True
        Positive bars in the colour of gains; False for losses.
    """
    pairs = sorted(
        ((k, float(v)) for k, v in values.items() if v),
        key=lambda p: -round(abs(p[1]), 9),  # equal but for rounding: as given
    )
    if not pairs:
        return ""
    if len(pairs) > rows:
        rest = pairs[rows - 1 :]
        pairs = [
            *pairs[: rows - 1],
            (f"{len(rest)} others", sum(v for _, v in rest)),
        ]
    low = min(0.0, *(v for _, v in pairs))
    high = max(0.0, *(v for _, v in pairs))
    scale = (_WIDTH - _LABELS - 130) / max(high - low, 1e-300)
    zero = _LABELS + 60 - low * scale
    lines = []
    for i, (name, v) in enumerate(pairs):
        y = 24 + i * _ROW
        x, width = (zero, v * scale) if v > 0 else (zero + v * scale, -v * scale)
        colour = _GAIN if (v > 0) == gain_is_good else _LOSS
        at, anchor = (x + width + 4, "start") if v > 0 else (x - 4, "end")
        lines.append(
            f'<text x="{_LABELS - 6}" y="{y + 12}" text-anchor="end">'
            f"{html.escape(_short(name))}</text>"
            f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 5}" '
            f'fill="{colour}"/>'
            f'<text x="{at:.1f}" y="{y + 12}" text-anchor="{anchor}">{v:.2%}</text>'
        )
    height = 30 + len(pairs) * _ROW
    axis = (
        f'<line x1="{zero:.1f}" y1="22" x2="{zero:.1f}" y2="{height - 6}" '
        'stroke="currentColor" stroke-opacity=".5"/>'
    )
    return _svg(title, height, axis + "".join(lines))


def line(values: Any, title: str, *, first: str, last: str, height: int = 120) -> str:
    """A line through ``values`` (T,), its ends dated ``first`` and ``last``, as SVG."""
    y = np.asarray(values, dtype=np.float64)
    if y.size < 2 or not np.isfinite(y).all():
        return ""
    # A pixel shows one point: the lowest and highest of each stretch are kept.
    if y.size > 600:
        step = -(-y.size // 300)
        cut = y[: y.size // step * step].reshape(-1, step)
        y = np.column_stack([cut[:, 0], cut.min(axis=1), cut.max(axis=1)]).ravel()
    low, high = float(y.min()), float(y.max())
    span = max(high - low, 1e-300)
    xs = np.linspace(4, _WIDTH - 90, y.size)
    ys = 24 + (height - 44) * (high - y) / span
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(xs, ys, strict=True))
    inside = (
        f'<polyline points="{points}" fill="none" stroke="{_GAIN}" stroke-width="1.5"/>'
        f'<text x="{_WIDTH - 84}" y="30">{high:,.4g}</text>'
        f'<text x="{_WIDTH - 84}" y="{height - 20}">{low:,.4g}</text>'
        f'<text x="4" y="{height - 4}">{html.escape(first)}</text>'
        f'<text x="{_WIDTH - 90}" y="{height - 4}" text-anchor="end">'
        f"{html.escape(last)}</text>"
    )
    return _svg(title, height, inside)


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(title: str, height: float, inside: str) -> str:
    text = html.escape(title)
    return (
        f'<svg role="img" aria-label="{text}" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" style="max-width:100%;height:auto" '
        'font-family="sans-serif" font-size="12" fill="currentColor" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{text}</title>'
        f'<text x="4" y="14" font-weight="bold">{text}</text>{inside}</svg>'
    )
