"""What a reader must know before the numbers, and beside which picture it belongs.

Stamps come with the parts of a report; the rest is read off the numbers themselves.
"""

from __future__ import annotations

import numpy as np

from backtests.report._inputs import ReportInputs, number, percent, short_stamp

FEW_SCENARIOS = 500.0
"""Effective scenarios below which a 95% shortfall rests on fewer than 25 of them."""
STALE_DAYS = 7
"""Days between the last price used and the date of the report: more than a weekend
and the longest usual holiday."""
_PAST = ("walk", "around", "exposure", "costs", "intervals", "regimes")
_OF_MODEL = ("presets", "plausibility", "waterfall", "heat_map", "holdings", "groups")


def warnings_of(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Opening in capitals and the rest of each warning, the gravest first."""
    out = []
    for stamp in inputs.all_stamps():
        short = short_stamp(stamp)
        rest = stamp[len(short) :] if stamp.upper().startswith(short) else stamp
        out.append((short, "" if stamp.upper() == short else rest.lstrip(":;. ")))
    return [*out, *_few(inputs), *_stale(inputs), *_survivors(inputs)]


def flags(inputs: ReportInputs, key: str) -> tuple[str, ...]:
    """Warnings that concern one picture, beyond the stamps drawn in it."""
    found = []
    if key in _OF_MODEL:
        found += _few(inputs) + _stale(inputs)
    out = [f"{short}: {rest}" for short, rest in found]
    if key in _PAST and inputs.backtests:
        out.append("SURVIVORSHIP: the names were chosen with hindsight.")
    return tuple(out)


def _few(inputs: ReportInputs) -> list[tuple[str, str]]:
    base = inputs.stress.scenarios.base()
    effective = base.effective_number
    if effective < FEW_SCENARIOS:
        return [
            (
                "FEW SCENARIOS",
                f"the {len(base):,} scenarios count as {number(effective, 0)}; tails "
                "and shortfall are rough.",
            )
        ]
    thin = [
        r
        for r in inputs.stress.results
        if r.effective_share * effective < FEW_SCENARIOS
    ]
    if not thin:
        return []
    worst = min(thin, key=lambda r: r.effective_share)
    return [
        (
            "FEW SCENARIOS",
            f"under {worst.name} the {len(base):,} scenarios count as "
            f"{number(worst.effective_share * effective, 0)} "
            f"({percent(worst.effective_share, 1)}); its figures are rough.",
        )
    ]


def _stale(inputs: ReportInputs) -> list[tuple[str, str]]:
    model = inputs.stress.scenarios.model
    if model is None or model.window[1] is None or model.as_of is None:
        return []
    last = np.datetime64(model.window[1], "D")
    days = int((np.datetime64(model.as_of, "D") - last).astype(int))
    if days <= STALE_DAYS:
        return []
    return [
        (
            "STALE PRICES",
            f"the last price used is of {last}, {days} days before {model.as_of}.",
        )
    ]


def _survivors(inputs: ReportInputs) -> list[tuple[str, str]]:
    if not inputs.backtests:
        return []
    return [
        (
            "SURVIVORSHIP",
            "the names were chosen knowing which companies mattered later; past "
            "figures flatter.",
        )
    ]


def print_footer(inputs: ReportInputs) -> str:
    """Openings of all warnings as a CSS string, for the foot of every printed page."""
    text = " · ".join(dict.fromkeys(short for short, _ in warnings_of(inputs)))
    return css_string(text)


def css_string(text: str) -> str:
    r"""Quote text for CSS, every character but ASCII letters and digits as ``\hex``."""
    safe = (
        c if c.isascii() and (c.isalnum() or c == " ") else f"\\{ord(c):x} "
        for c in text
    )
    return f'"{"".join(safe)}"'
