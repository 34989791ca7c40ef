"""The table of ratios in `docs/speed.md`, made from the figures and never typed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.measure import LIMIT, OURS
from benchmarks.process import ROOT
from benchmarks.run import failed

FIGURES = ROOT / "benchmarks" / "figures.json"
PAGE = ROOT / "docs" / "speed.md"
BEGIN = "<!-- benchmarks: begin (make bench-table writes this section) -->"
END = "<!-- benchmarks: end -->"


class FiguresError(ValueError):
    """Figures that must not be shown, or a page without its two markers."""


def section(figures: dict[str, Any]) -> str:
    """Markdown of the figures: machine, ratios, what is slower, cold start.

    Raises
    ------
    FiguresError
        There are no rows, or one of them failed.
    """
    rows = figures["results"]
    bad = [r["case"] for r in rows if failed(r)]
    if bad or not rows:
        raise FiguresError(
            f"figures of failed cases are not shown: {', '.join(bad)}"
            if bad
            else "no figures to show"
        )
    return "\n\n".join(
        [_machine(figures["machine"]), _ratios(rows), _losses(rows)]
        + ([_cold(figures["cold_start"])] if "cold_start" in figures else [])
    )


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    changed = " with uncommitted changes" if machine["uncommitted_changes"] else ""
    return (
        f"Measured at commit {machine['commit'][:10]}{changed} on "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']} ({versions}). Every candidate gave the same "
        "answer first; then all ran in turns under the same thread limit. A ratio is "
        "the median of the paired rounds with the 95% interval of that median (the "
        "range, where there were fewer than six): above 1 ours is faster. The limit is "
        "the least work that any implementation must do, such as one BLAS call or one "
        "pass over memory. Rows with a commit in brackets were measured there."
    )


def _ratios(rows: Iterable[dict[str, Any]]) -> str:
    lines = [
        "| Work | Size | Threads | Ours | Others, as multiples of ours | Limit |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = row["seconds"][OURS]["median"]
        others = [
            f"{name} {_ratio(ratio, row['labels'].get(name, ''))}"
            for name, ratio in row["ratio_to_ours"].items()
            if name != LIMIT
        ] + [f"{name} left out" for name in row["left_out"]]
        limit = row["ratio_to_ours"].get(LIMIT)
        cells = (
            row["case"] + (f" ({row['commit'][:10]})" if "commit" in row else ""),
            row["size"],
            str(row["threads"]),
            _time(ours) + (" (one run)" if OURS in row["labels"] else ""),
            "; ".join(others),
            _ratio(limit, row["labels"].get(LIMIT, "")) if limit else "",
        )
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def _losses(rows: Iterable[dict[str, Any]]) -> str:
    slower = []
    for row in rows:
        names = [
            name
            for name, ratio in row["ratio_to_ours"].items()
            if name != LIMIT and ratio["median"] < 1.0
        ]
        if names:
            threads = f", {row['threads']} threads" if row["threads"] > 1 else ""
            slower.append(f"{row['case']} ({row['size']}{threads}): {', '.join(names)}")
    return (
        f"Faster than ours: {'; '.join(slower)}."
        if slower
        else "No candidate other than the limit was faster than ours."
    )


def _cold(cold: dict[str, Any]) -> str:
    lines = [
        "First calls of a fresh process, in this order, each counting what the earlier "
        "ones had not yet imported or compiled (medians of "
        f"{cold['repeats']}): with an empty numba cache, with the cache kept, and the "
        "same call again.",
        "",
        "| Step | Cold | Cached | Again |",
        "|---|---|---|---|",
    ]
    for step, seconds in cold["seconds"].items():
        cells = (step, *(_time(seconds[k]) for k in ("cold", "cached", "again")))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(ratio: dict[str, float], label: str) -> str:
    if "stopped" in label:
        return f"over {_digits(ratio['median'])} ({label})"
    between = (
        f" [{_digits(ratio['low'])}, {_digits(ratio['high'])}]"
        if ratio["low"] < ratio["high"]
        else ""
    )
    return _digits(ratio["median"]) + between + (f" ({label})" if label else "")


def _digits(x: float) -> str:
    """Three significant digits, never an exponent."""
    if x >= 100.0:
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 10.0 else f"{x:.2f}"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= 0.9995 * scale or unit == "µs":
            return f"{_digits(seconds / scale)} {unit}"
    raise AssertionError("unreachable")


def rewrite(text: str, figures: dict[str, Any]) -> str:
    """Put the section of the figures between the markers of a page's text.

    Raises
    ------
    FiguresError
        The two markers are not both there, once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise FiguresError(f"the page needs the lines {BEGIN!r} and {END!r}, once each")
    before, rest = text.split(BEGIN)
    if END not in rest:
        raise FiguresError(f"the page has {END!r} before {BEGIN!r}")
    return f"{before}{BEGIN}\n{section(figures)}\n{END}{rest.split(END)[1]}"


def publish(source: Path, *, page: Path = PAGE, kept: Path = FIGURES) -> None:
    """Rewrite the page from a file of figures, and keep that file beside the cases.

    Raises
    ------
    FiguresError
        See `section` and `rewrite`; then nothing is written.
    """
    from engine.data.files import write_atomic

    content = source.read_text(encoding="utf-8")
    text = rewrite(page.read_text(encoding="utf-8"), json.loads(content))
    if source.resolve() != kept.resolve():
        write_atomic(kept, content)
    write_atomic(page, text)


def add(sources: Iterable[Path], *, page: Path = PAGE, kept: Path = FIGURES) -> None:
    """Put the rows of further files into the figures kept, each with its commit.

    A row of the same case, size and threads is replaced.

    Raises
    ------
    FiguresError
        See `section`, or another machine than that of the figures kept.
    """
    from engine.data.files import write_atomic

    figures = json.loads(kept.read_text(encoding="utf-8"))
    rows = {_key(r): r for r in figures["results"]}
    for source in sources:
        more = json.loads(source.read_text(encoding="utf-8"))
        for name in ("processor", "cores", "python", "versions"):
            if more["machine"][name] != figures["machine"][name]:
                raise FiguresError(f"{source}: measured with another {name}")
        commit = more["machine"]["commit"]
        rows |= {_key(r): {**r, "commit": commit} for r in more["results"]}
    figures["results"] = list(rows.values())
    text = rewrite(page.read_text(encoding="utf-8"), figures)
    write_atomic(kept, json.dumps(figures, indent=1) + "\n")
    write_atomic(page, text)


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["case"], row["size"], row["threads"]
