"""Was it worth it: a walk-forward judged, in sentences, tables and one picture."""

from __future__ import annotations

import math
from typing import Any

from backtests.intervals import EVENT_RISK
from backtests.report._inputs import (
    NOT_KNOWN,
    ReportInputs,
    brief,
    label,
    money,
    number,
    percent,
    signed,
    with_error,
)
from backtests.report._style import (
    EDGE,
    GRID,
    RUN_STYLES,
    Picture,
    draw,
    finish,
    percent_axis,
)
from backtests.report._summary import _listed
from backtests.report._tables import NEVER, WITHOUT_BOUND, Table

KINDS = {
    "ai": "AI shock",
    "market": "market fall",
    "rally": "rally",
    "given": "given",
    "calm": "other days",
}
"""Kinds of windows, in the order of the table."""
REST = ("interest", "dividends", "costs", "taxes", "first session")
"""Rows of an attribution that belong to no label."""
_SIGNIFICANT = 0.05
_MARKERS = ("s", "o", "D", "^")


def _records(inputs: ReportInputs, name: str) -> dict[str, dict[str, Any]]:
    """Rows of a table with one row per strategy, by strategy."""
    table = _table(inputs, name)
    return {} if table is None else {r["strategy"]: r for r in table.to_dict("records")}


def _table(inputs: ReportInputs, name: str) -> Any:
    section = inputs.judgement
    return None if section is None else section["tables"].get(name)


def _pair(inputs: ReportInputs) -> tuple[str, list[str]]:
    """Name of the reference, and of the strategies set against it."""
    first, *others = (r.name for r in inputs.backtests)
    return first, others


def _windows(inputs: ReportInputs, name: str) -> dict[str, list[float]]:
    """Differences from the reference by kind of window."""
    table = _table(inputs, "regimes")
    if table is None:
        return {}
    mine = table[table["strategy"] == name]
    out: dict[str, list[float]] = {}
    for kind in KINDS:
        values = mine.loc[mine["kind"] == kind, "difference"] if len(mine) else []
        kept = [float(v) for v in values if math.isfinite(v)]
        if kept:
            out[kind] = kept
    return out


def _note(inputs: ReportInputs, opening: str) -> str:
    notes = () if inputs.judgement is None else inputs.judgement["notes"]
    return next((n.removeprefix(opening) for n in notes if n.startswith(opening)), "")


def tables(inputs: ReportInputs) -> list[Table]:
    """Every table of the section that the data allow."""
    if inputs.judgement is None or not inputs.backtests:
        return []
    made = [
        _sharpes(inputs),
        _regimes(inputs),
        *(_attribution(inputs, by) for by in inputs.judgement["attributions"]),
        _factors(inputs),
        _held(inputs),
        _capacities(inputs),
    ]
    return [t for t in made if t is not None]


def _sharpes(inputs: ReportInputs) -> Table | None:
    figures = _records(inputs, "metrics")
    if not figures:
        return None
    first, others = _pair(inputs)
    gaps, deflated = _records(inputs, "differences"), _records(inputs, "deflation")
    periods = inputs.backtests[0].periods_per_year
    columns = ["Strategy", "Sharpe ratio", "± iid", "± HAC"]
    columns += [f"Less {first}", f"{_level(inputs)} interval", "p"] if others else []
    columns += ["Deflated"] if deflated else []
    columns += ["Years needed"]
    rows = []
    for name, m in figures.items():
        row = [name, number(m["sharpe"]), number(m["sharpe_se"])]
        row += [number(m["sharpe_hac_se"])]
        if others and name in gaps:
            g = gaps[name]
            row += [_plus(g["difference"])]
            row += [f"{number(g['low'])} to {number(g['high'])}", _p(g["p_value"])]
        elif others:
            row += ["-" if name == first else NOT_KNOWN] * 3
        if deflated:
            d = deflated.get(name)
            row += [NOT_KNOWN if d is None else percent(d["deflated_sharpe"], 1)]
        needed = m["minimum_track_record"] / periods
        row += [NEVER if needed == math.inf else number(needed, 1)]
        rows.append(row)
    n = inputs.judgement["resamples"] if inputs.judgement else 0
    note = (
        "One standard error of the Sharpe ratio, for independent returns (Mertens "
        "2002) and for dependent ones (HAC, Newey and West 1987). "
    )
    if others:
        note += (
            "Difference, interval and p: studentised block bootstrap of Ledoit and "
            f"Wolf (2008), {n:,} resamples, paired by date. "
        )
    if deflated:
        trials = number(next(iter(deflated.values()))["trials"], 0)
        note += (
            f"Deflated: probability after {trials} trials (Bailey and Lopez de Prado "
            "2014). "
        )
    note += "Years needed: record after which such a ratio is above zero at 95%; "
    note += f"{NEVER} where it is not above zero. The {EVENT_RISK}."
    return Table("sharpe", "Sharpe ratios, and luck", tuple(columns), rows, note)


def _regimes(inputs: ReportInputs) -> Table | None:
    table = _table(inputs, "regimes")
    if table is None or not len(table):
        return None
    first, others = _pair(inputs)
    by_name = {
        name: part.set_index("window") for name, part in table.groupby("strategy")
    }
    base = by_name[first]
    base = base.loc[_ordered(base.reset_index())]
    rows = []
    for window, b in base.iterrows():
        calm = b["kind"] == "calm"
        row = [label(str(window)), KINDS[b["kind"]]]
        row += ["the rest" if calm else _span(b["start"], b["end"])]
        row += [f"{b['sessions']:,}"]
        row += [_bracketed(b["return"], b["worst_fall"])]
        for name in others:
            mine = by_name[name].loc[window]
            row += [_bracketed(mine["difference"], mine["worst_fall"])]
        rows.append(row)
    columns = ["Window", "Kind", "Dates", "Sessions", f"Return of {first}"]
    columns += [f"{name} less {first}" for name in others]
    note = "Each window from the close before its first day, after costs; in brackets "
    note += "the worst fall inside it. "
    if others:
        note += f"Less {first}: above zero protection paid, below zero it cost. "
    note += "Windows may overlap; other days lie in none of them."
    if inputs.synthetic:
        note += (
            " The windows are those of real history: SYNTHETIC prices hold none of it "
            "but the events planted in them."
        )
    return Table(
        "regimes",
        "What protection cost and what it paid",
        tuple(columns),
        rows,
        note,
        text=(0, 1, 2),
    )


def _attribution(inputs: ReportInputs, by: str) -> Table | None:
    table = inputs.judgement["attributions"][by] if inputs.judgement else None
    if table is None or not len(table):
        return None
    names = [r.name for r in inputs.backtests]
    gains: dict[str, dict[str, tuple[float, float]]] = {}
    for r in table.to_dict("records"):
        cell = float(r["contribution"]), float(r["average_weight"])
        gains.setdefault(str(r[by]), {})[r["strategy"]] = cell
    held = {
        k: v
        for k, v in gains.items()
        if any(abs(c) > 5e-5 or abs(w) > 5e-5 for c, w in v.values())
    }
    largest = {k: max(abs(c) for c, _ in v.values()) for k, v in held.items()}
    order = sorted(held, key=lambda k: (k in REST, -largest[k]))
    rows = []
    for key in order:
        row = [label(key)]
        for name in names:
            c, w = held[key].get(name, (0.0, math.nan))
            text = signed(c, 1)
            if math.isfinite(w):
                text = f"{text} [{percent(w, 0)}]" if c or w else "-"
            row.append(text)
        rows.append(row)
    totals = table.groupby("strategy", sort=False)["contribution"].sum()
    note = (
        "Contribution to the total return over the start, with the average weight in "
        f"brackets. Columns sum to the total return: "
        f"{_listed([f'{n} {signed(float(totals[n]), 1)}' for n in names])}. "
        "Interest, dividends, costs and taxes belong to none; what was never held is "
        "in the CSV alone."
    )
    title = f"Where the money came from, by {by}"
    return Table(f"attribution_{by}", title, (by.capitalize(), *names), rows, note)


def _factors(inputs: ReportInputs) -> Table | None:
    found = _records(inputs, "ai_factor")
    if not found:
        return None
    rows = [
        [
            name,
            with_error(
                number(f["beta"]),
                f["beta_standard_error"],
                number(f["beta_standard_error"]),
            ),
            f"{number(f['lowest_beta'])} to {number(f['highest_beta'])}",
            signed(f["factor_return"], 1),
            with_error(
                signed(f["rest_return"], 1),
                f["rest_standard_error"],
                percent(f["rest_standard_error"], 1),
            ),
            percent(f["r_squared"], 0),
        ]
        for name, f in found.items()
    ]
    made = _note(inputs, "AI factor: ") or "the AI theme less the rest"
    return Table(
        "ai_factor",
        "The AI factor and the rest",
        (
            "Strategy",
            "Beta",
            "Beta over half a year",
            "Through the factor",
            "The rest",
            "R squared",
        ),
        rows,
        f"Return over cash a year, split by regression on the AI factor ({made}). ± "
        "is one standard error, Newey and West (1987).",
    )


def _held(inputs: ReportInputs) -> Table | None:
    found = _records(inputs, "exposure")
    if not found:
        return None
    rows = [
        [
            name,
            *(
                percent(e[k], 1)
                for k in ("ai_weight", "largest_ai_weight", "last_ai_weight", "cash")
            ),
            number(e["effective_names"], 1),
            number(e["fewest_names"], 1),
        ]
        for name, e in found.items()
    ]
    return Table(
        "held",
        "What was held",
        (
            "Strategy",
            "In AI roles",
            "most",
            "at the end",
            "Cash",
            "Effective names",
            "fewest",
        ),
        rows,
        "Averages over the closes after the first. Effective names: inverse of the "
        "Herfindahl index of the weights, cash aside. A fund counts by its own role.",
    )


def _capacities(inputs: ReportInputs) -> Table | None:
    found = _records(inputs, "capacity")
    if not found:
        return None
    rows = [
        [
            name,
            _size(c["by_impact"], inputs),
            _size(c["by_participation"], inputs),
            signed(c["gross_return"], 1),
            str(c["busiest"]) or "-",
        ]
        for name, c in found.items()
    ]
    return Table(
        "capacity",
        "Capacity",
        ("Strategy", "By impact", "By participation", "Return before", "Busiest trade"),
        rows,
        "Starting value at which impact takes a tenth of the return a year, and at "
        "which the busiest trade is a twentieth of a day's volume (Boyd et al. 2017).",
        text=(0, 4),
    )


def _size(x: float, inputs: ReportInputs) -> str:
    return WITHOUT_BOUND if x == math.inf else money(x, inputs.currency)


def picture(inputs: ReportInputs) -> Picture | None:
    """Difference from the reference in every window, a mark per strategy."""
    table = _table(inputs, "regimes")
    if table is None or len(inputs.backtests) < 2:
        return None
    first, others = _pair(inputs)
    base = table[table["strategy"] == first]
    windows = _ordered(base)
    figure, axis = draw(1.5 + 0.42 * len(windows))
    words = []
    for k, name in enumerate(others, 1):
        paint = RUN_STYLES[k % len(RUN_STYLES)][0]
        mine = table[table["strategy"] == name].set_index("window")["difference"]
        x = [float(mine.loc[w]) for w in windows]
        shift = 0.22 * (k - (len(others) + 1) / 2)
        axis.plot(
            x,
            [i + shift for i in range(len(windows))],
            _MARKERS[k % len(_MARKERS)],
            color=paint,
            ms=6,
            label=brief(name),
        )
        parts = [f"{label(w)} {signed(v, 1)}" for w, v in zip(windows, x, strict=True)]
        words.append(f"{name} less {first}: {'; '.join(parts)}.")
    for i in range(1, len(windows)):
        axis.axhline(i - 0.5, color=GRID, lw=0.7, zorder=0)
    axis.axvline(0, color=EDGE, lw=0.9, zorder=0)
    axis.set_yticks(range(len(windows)), [brief(label(w)) for w in windows])
    axis.set_ylim(len(windows) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    percent_axis(axis.xaxis)
    axis.set_xlabel(f"return less that of {brief(first)}")
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside lower center", ncols=3
    )
    caption = "Right of zero protection paid, left of zero it cost."
    if inputs.synthetic:
        caption += " Dates of real history on SYNTHETIC prices, which do not repeat it."
    return finish(
        figure,
        inputs.short_stamps(of="walk"),
        "regimes",
        "Paid and cost, window by window",
        f"Return of {', '.join(others)} less that of {first} in {len(windows)} windows",
        caption,
        words,
    )


def frames(inputs: ReportInputs) -> dict[str, Any]:
    """Numbers of the section for the CSV files, under the names of its tables."""
    if inputs.judgement is None:
        return {}
    found = {k: t for k, t in inputs.judgement["tables"].items() if k != "metrics"}
    if "metrics" in inputs.judgement["tables"]:
        found["sharpe"] = inputs.judgement["tables"]["metrics"]
    if "exposure" in found:
        found["held"] = found.pop("exposure")
    grouped = inputs.judgement["attributions"].items()
    return found | {f"attribution_{by}": table for by, table in grouped}


def _plus(x: float) -> str:
    text = number(x)
    return f"+{text}" if x > 0 and float(text.replace(",", "")) else text


def _p(x: float) -> str:
    return "<0.001" if x < 0.001 else number(x, 3 if x < 0.1 else 2)


def _level(inputs: ReportInputs) -> str:
    return f"{inputs.judgement['confidence'] if inputs.judgement else 0.95:.0%}"


def _bracketed(x: float, fall: float) -> str:
    return f"{signed(x, 1)} [{percent(fall, 1)}]"


def _span(start: Any, end: Any) -> str:
    first, last = str(start)[:10], str(end)[:10]
    return first if first == last else f"{first} to {last}"


def _ordered(base: Any) -> list[str]:
    """Names of windows by kind, then by date."""
    order = list(KINDS)
    keys = [
        (order.index(r["kind"]), str(r["start"]), r["window"])
        for r in base.to_dict("records")
    ]
    return [name for _, _, name in sorted(keys)]
