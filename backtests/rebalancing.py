"""When to trade beside the calendar: drift bands, no-trade regions, a stress trigger.

``--rebalance`` names one as text, which wraps every compared strategy but hold.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, NamedTuple

from engine.errors import UsageError
from strategies.bands import DriftBand, NoTradeRegion, StressTriggered
from strategies.hold import Hold
from strategies.schedules import SCHEDULES

_AVERSION = 3.0
_AIM = 0.9
EXPECTED = (
    "drift-band:0.02 or drift-band:0.02,centre (weights may drift by 0.02, then go "
    "back to the edge or the centre), no-trade or no-trade:3 (relative risk aversion), "
    "stress-triggered or stress-triggered:0.9 (when the shock loss passes its limit, "
    "to 0.9 of it), or daily, weekly, monthly, quarterly, yearly"
)


class Rebalance(NamedTuple):
    """When to trade: ``kind``, its number, and for a band where it leads."""

    kind: str
    number: float = 0.0
    to: str = "edge"


def parse_rebalance(text: str) -> Rebalance:
    """Read ``drift-band:0.02,centre``, ``no-trade:3``, ``stress-triggered:0.9``.

    A name of a calendar schedule is itself.

    Raises
    ------
    UsageError
        What cannot be read, or a number out of range.

    Examples
    --------
    >>> parse_rebalance("drift-band:0.02")
    Rebalance(kind='drift-band', number=0.02, to='edge')
    """
    kind, colon, rest = text.strip().partition(":")
    kind = kind.strip()
    if kind in SCHEDULES and not colon:
        return Rebalance(kind)
    parts = [p.strip() for p in rest.split(",")] if colon else []
    wrong = UsageError(
        "cannot read when to rebalance", received=repr(text), expected=EXPECTED
    )
    default = {"no-trade": _AVERSION, "stress-triggered": _AIM}.get(kind)
    if kind == "drift-band" and 1 <= len(parts) <= 2:
        to = {"center": "centre"}.get(parts[-1], parts[-1]) if parts[1:] else "edge"
        if to not in ("edge", "centre"):
            raise wrong
    elif default is not None and len(parts) <= 1:
        to = "edge"
    else:
        raise wrong
    try:
        number = float(parts[0]) if parts else float(default or 0.0)
    except ValueError:
        raise wrong from None
    most = 1.0 if kind != "no-trade" else float("inf")
    if not 0.0 < number <= most or number == float("inf"):
        raise wrong
    return Rebalance(kind, number, to)


def rebalanced(rule: Any, when: Rebalance, limit: float, shock: Any) -> Any:
    """Wrap a strategy so that it trades only when ``when`` says; hold stays as it is.

    Parameters
    ----------
    rule : Strategy
    when : Rebalance
    limit : float
        Loss under the shock above which a stress trigger lets the strategy trade.
    shock : Shock or tuple of them
        A trigger measures one.
    """
    if when.kind in SCHEDULES or isinstance(rule, Hold):
        return rule
    if when.kind == "drift-band":
        return DriftBand(rule, band=when.number, to=when.to)
    if when.kind == "no-trade":
        # Shock-aware strategies carry the costs they trade at; others the default.
        costs = getattr(rule, "costs", None)
        bps = 5.0 if costs is None else costs.half_spread_bps
        return NoTradeRegion(rule, half_spread_bps=bps, risk_aversion=when.number)
    if isinstance(shock, (tuple, list)):
        raise UsageError(
            "a stress trigger measures one shock",
            received=", ".join(s.name for s in shock),
            fix="Use a scenario file with one shock, or another rule of rebalancing.",
        )
    known = {f.name for f in fields(rule)}
    if "limit" in known:
        rule = replace(rule, limit=rule.limit * when.number)
    own = {
        name: getattr(rule, name)
        for name in ("window", "covariance", "funds")
        if name in known
    }
    return StressTriggered(rule, limit, shock=shock, **own)


def schedule_of(when: Rebalance, schedule: str | None) -> str:
    """Calendar on which a strategy is asked: daily where a condition decides."""
    if when.kind in SCHEDULES:
        if schedule not in (None, when.kind):
            raise UsageError(
                "two calendars for one walk",
                received=f"--schedule {schedule}, --rebalance {when.kind}",
                fix="Give one of them.",
            )
        return when.kind
    return schedule or "daily"
