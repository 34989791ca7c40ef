"""Was it worth it, in sentences, and why a part is absent."""

from __future__ import annotations

import math

from backtests.intervals import EVENT_RISK
from backtests.report._inputs import (
    ReportInputs,
    number,
    percent,
    signed,
)
from backtests.report._summary import _listed
from backtests.report._worth import (
    _SIGNIFICANT,
    KINDS,
    _level,
    _note,
    _p,
    _pair,
    _plus,
    _records,
    _size,
    _windows,
)


def sentences(inputs: ReportInputs) -> list[str]:
    """Plain words from the numbers; empty where nothing was judged."""
    if inputs.judgement is None or inputs.judgement["reason"] or not inputs.backtests:
        return []
    return [
        *_against(inputs),
        *_comparisons(inputs),
        *_records_needed(inputs),
        *_paid(inputs),
        *_factor(inputs),
        *_concentration(inputs),
        *_capacity(inputs),
        f"The {EVENT_RISK}. What such a shock would take stands among the losses at "
        "the top of this page, and no error here covers it.",
    ]


def _against(inputs: ReportInputs) -> list[str]:
    first, others = _pair(inputs)
    figures, gaps = _records(inputs, "metrics"), _records(inputs, "differences")
    if not others:
        return [
            f"Only {first} was walked forward: there is nothing to set it against, so "
            "what it earned says little about the rule."
        ]
    out = []
    base = figures[first]
    for name in others:
        mine = figures[name]
        earned = mine["annual_return"] - base["annual_return"]
        fell = mine["max_drawdown"] - base["max_drawdown"]
        text = (
            f"{name} earned {_gap(earned, 'a year ', ('more than', 'less than'))} "
            f"{first} ({percent(mine['annual_return'], 1)} against "
            f"{percent(base['annual_return'], 1)}) and fell "
            f"{_gap(fell, '', ('more', 'less'))} at worst "
            f"({percent(mine['max_drawdown'], 1)} against "
            f"{percent(base['max_drawdown'], 1)}); "
        )
        if name not in gaps:
            out.append(f"{text}its Sharpe ratio cannot be set against {first}'s.")
            continue
        g = gaps[name]
        verdict = "is not distinguishable from luck"
        if g["p_value"] <= _SIGNIFICANT:
            verdict = f"is distinguishable from luck at {_SIGNIFICANT:.0%}, taken alone"
        out.append(
            f"{text}the difference of Sharpe ratios, {_plus(g['difference'])} "
            f"({_level(inputs)} interval {number(g['low'])} to {number(g['high'])}), "
            f"{verdict} (p {_p(g['p_value'])})."
        )
    return out


def _gap(x: float, unit: str, words: tuple[str, str]) -> str:
    """``1.2 points a year less than``, or ``about as much as`` where none is left."""
    if not math.isfinite(x):
        return f"an unknown amount {unit}{words[0]}"
    text = signed(abs(x), 1, "").lstrip("+")
    if float(text.replace(",", "")) == 0:
        return "about as much as" if "than" in words[0] else "about as much"
    return f"{text} points {unit}{words[0] if x > 0 else words[1]}"


def _comparisons(inputs: ReportInputs) -> list[str]:
    out = []
    gaps = _records(inputs, "differences")
    if len(gaps) > 1:
        out.append(
            f"{len(gaps)} comparisons were made at once: for one finding at "
            f"{_SIGNIFICANT:.0%} among them a p below "
            f"{number(_SIGNIFICANT / len(gaps), 3)} is needed (Bonferroni)."
        )
    deflated = _records(inputs, "deflation")
    if deflated:
        trials = next(iter(deflated.values()))["trials"]
        parts = [
            f"{percent(d['deflated_sharpe'], 0)} for {k}" for k, d in deflated.items()
        ]
        out.append(
            f"Counting {number(trials, 0)} trials, the probability that a Sharpe ratio "
            "is above the best that luck alone would show among so many is "
            f"{_listed(parts)}; whatever was tried before and is not counted lowers it."
        )
    return out


def _records_needed(inputs: ReportInputs) -> list[str]:
    periods = inputs.backtests[0].periods_per_year
    had = (inputs.backtests[0].dates.size - 1) / periods
    parts = []
    for name, m in _records(inputs, "metrics").items():
        needed = m["minimum_track_record"] / periods
        if math.isfinite(needed):
            parts.append(f"{number(needed, 1)} years for {name}")
        elif needed == math.inf:
            parts.append(f"no record however long for {name}")
    if not parts:
        return []
    return [
        "To be 95% sure that a Sharpe ratio like these is above zero takes "
        f"{_listed(parts)}; the record has {number(had, 1)}."
    ]


def _paid(inputs: ReportInputs) -> list[str]:
    first, others = _pair(inputs)
    out = []
    for name in others:
        parts = []
        for kind, values in _windows(inputs, name).items():
            mean = signed(sum(values) / len(values), 1)
            if len(values) > 1:
                won = sum(v > 0 for v in values)
                parts.append(
                    f"{KINDS[kind]}s {mean} on average of {len(values)}, ahead in {won}"
                )
            else:
                parts.append(f"{KINDS[kind]} {mean}")
        if parts:
            out.append(
                f"What {name} returned in dated windows less what {first} did: "
                f"{'; '.join(parts)}. Above zero protection paid, below zero it cost."
            )
    return out


def _factor(inputs: ReportInputs) -> list[str]:
    found = _records(inputs, "ai_factor")
    if not found:
        return []
    parts = [
        f"{name} {signed(f['factor_return'], 1)} and {signed(f['rest_return'], 1)} ± "
        f"{percent(f['rest_standard_error'], 1)}"
        for name, f in found.items()
    ]
    made = _note(inputs, "AI factor: ")
    return [
        f"Mean return over cash a year through the AI factor"
        f"{f' ({made})' if made else ''}, and beside it with one standard error: "
        f"{_listed(parts)}."
    ]


def _concentration(inputs: ReportInputs) -> list[str]:
    found = _records(inputs, "exposure")
    if not found:
        return []
    parts = [
        f"{name} {percent(e['ai_weight'], 0)} in AI roles over "
        f"{number(e['effective_names'], 1)} effective names"
        for name, e in found.items()
    ]
    return [f"On average {_listed(parts)}."]


def _capacity(inputs: ReportInputs) -> list[str]:
    found = _records(inputs, "capacity")
    out = []
    if found:
        parts = [
            f"{_size(min(c['by_impact'], c['by_participation']), inputs)} for {name}"
            for name, c in found.items()
        ]
        out.append(
            f"The largest start its own trades could have carried: {_listed(parts)}."
        )
    return out


def missing(inputs: ReportInputs) -> list[str]:
    """Why a part of the judgement is absent; the same reason is said once."""
    if inputs.judgement is None:
        return []
    if inputs.judgement["reason"]:
        return [f"The walk-forward could not be judged: {inputs.judgement['reason']}"]
    reasons: dict[tuple[str, str], list[str]] = {}
    out = []
    for note in inputs.judgement["notes"]:
        if note.startswith("no AI factor: "):
            out.append(f"{note[0].upper()}{note[1:].rstrip('.')}.")
        for what in ("capacity of", "intervals of", "AI factor of", "difference for"):
            for run in inputs.backtests:
                opening = f"no {what} {run.name}: "
                if note.startswith(opening):
                    why = note.removeprefix(opening)
                    reasons.setdefault((what, why), []).append(run.name)
    for (what, why), names in reasons.items():
        out.append(f"No {what} {_listed(names)}: {why.rstrip('.')}.")
    return out
