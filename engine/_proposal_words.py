"""A proposal in words: the price of each limit, and what the trades buy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.proposal import Proposal

IDLE = 1e-6
"""A price below this belongs to a limit that does not bind: solvers leave 1e-8 on each
of up to a hundred bounds."""
_POINT = 0.01
_BPS = 1e4


def priced_limits(proposal: Proposal) -> dict[str, float]:
    """Price of each limit that has one, dearest first."""
    known = dict(proposal.prices)
    for check in proposal.limits:
        if check.price is not None:
            known.setdefault(check.name, check.price)
    return dict(
        sorted(((k, v) for k, v in known.items() if v > IDLE), key=lambda kv: -kv[1])
    )


def saving(price: float) -> float:
    """Basis points of the objective saved by one point (0.01) more of a limit."""
    return price * _POINT * _BPS


def shown(x: float) -> str:
    """Two digits, or whole numbers from a hundred on; never an exponent.

    >>> shown(892.4), shown(17.42), shown(0.32)
    ('892', '17', '0.32')
    """
    if abs(x) >= 99.5:
        return f"{x:,.0f}"
    return f"{x:.0f}" if abs(x) >= 9.95 else f"{x:.2g}"


def unit(proposal: Proposal) -> str:
    """What the prices of the limits are measured in."""
    return " and ".join(proposal.objective_parts) or "the objective"


def prices_frame(proposal: Proposal):
    """Return one row per limit; see `Proposal.prices_frame`."""
    import pandas as pd

    prices = priced_limits(proposal)
    rows = []
    seen = set()
    for check in proposal.limits:
        price = prices.get(check.name, math.nan if check.price is None else 0.0)
        rows.append(
            (
                check.name,
                check.before,
                check.after,
                check.limit,
                check.satisfied,
                price,
                saving(price),
            )
        )
        seen.add(check.name)
    for name, price in prices.items():
        if name not in seen:
            blank = (math.nan,) * 3
            rows.append((name, *blank, True, price, saving(price)))
    columns = ["limit", "before", "after", "at", "holds", "price", "bp_per_point"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("price", ascending=False, ignore_index=True, kind="stable")


def _relaxed(name: str) -> str:
    """One point more of a limit, in words."""
    if name.startswith("stress:"):
        return f"One more point of permitted loss under {name.removeprefix('stress:')}"
    if name.endswith("(least)"):
        held = name.removesuffix(" (least)")
        return f"One point less of the weight required in {held}"
    if name.startswith("expected shortfall"):
        return f"One more point of permitted {name}"
    if name in ("turnover", "tracking error", "gross", "net", "liquidity"):
        return f"One more point of {name}"
    if name in ("lower bounds", "upper bounds"):
        return f"One point more room at all {name}"
    if ":" in name:
        return f"One more point of permitted weight in {name}"
    return f"One point more room in {name}"


def sentences(proposal: Proposal) -> tuple[str, ...]:
    """Return what a committee reads; see `Proposal.sentences`."""
    out = []
    for name, before in proposal.stress_before.items():
        after = proposal.stress_after[name]
        errors = [
            e.get(name)
            for e in (proposal.stress_error_before, proposal.stress_error_after)
        ]
        text = " to ".join(
            f"{loss:.2%}" + (f" (standard error {e:.2%})" if e else "")
            for loss, e in zip((before, after), errors, strict=True)
        )
        if proposal.turnover > 0:
            each = proposal.loss_per_turnover[name]
            verb = "avoids" if each >= 0 else "adds"
            text += (
                f"; each point of turnover {verb} {abs(each):.2f} points of that loss"
            )
        out.append(f"Loss under {name}: {text}.")
    prices = priced_limits(proposal)
    out += [
        f"{_relaxed(name)} saves {shown(saving(price))} bp of {unit(proposal)}."
        for name, price in prices.items()
    ]
    if proposal.prices and not prices:
        out.append("No limit has a price: none of them binds.")
    return tuple(out)
