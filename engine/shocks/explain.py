"""A shock's numbers in words: one paragraph per asset, and its price-earnings ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.errors import DataError, UsageError
from engine.shocks.chain import (
    capex_relief,
    demand_gap,
    erosion_factor,
    older_gap,
    present_value,
    surprise,
)
from engine.shocks.rebound import REBOUND
from engine.shocks.roles import (
    OLDER_WEIGHTS,
    OVERSEAS_ROLES,
    PLATFORM_ROLES,
    RoleRow,
)

_SMALL = 5e-5


class Chain(NamedTuple):
    """What the structural moves were made of, by asset where N is stated."""

    parameters: Mapping[str, float]
    horizon: str
    costs: tuple[float, float] | None
    roles: tuple[str, ...]
    rows: tuple[RoleRow, ...]
    shares: np.ndarray
    """(N,) central AI share of revenue."""
    by_table: np.ndarray
    """(N,) bool: the move is the table's own, not a replay, band, fund or lens."""
    ai_capex: np.ndarray
    """(N,) AI capital spending a year over market value."""


def explain(moves: Any, asset: str) -> str:
    """Return the move, its band and the links that caused it, in plain sentences.

    Parameters
    ----------
    moves : ShockMoves
    asset : str

    Raises
    ------
    DataError
        The shock has no move for this asset.
    """
    i = moves.index(asset)
    low, high = np.quantile(moves.draws[:, i], [0.05, 0.95])
    text = [
        f"{asset} {_signed(moves.central[i])} "
        f"(5-95% band {_signed(low)} to {_signed(high)}): {moves.basis[i]}."
    ]
    chain = moves.chain
    if chain is not None and chain.by_table[i]:
        text += _table_sentences(chain, i)
    elif asset in moves.through:
        text += _fund_sentence(moves.through[asset])
    parts = {
        name: float(np.expm1(values[i]))
        for name, values in moves.parts.items()
        if abs(values[i]) > _SMALL
    }
    if parts:
        pairs = sorted(parts.items(), key=lambda pair: -abs(pair[1]))
        text.append(
            "By link, compounding: "
            + ", ".join(f"{name} {_signed(x)}" for name, x in pairs)
            + "."
        )
    if chain is not None and moves.central[i] and chain.by_table[i]:
        text += _horizon_sentence(chain, i, float(moves.central[i]))
    return " ".join(text)


def _table_sentences(chain: Chain, i: int) -> list[str]:
    q, row, role = chain.parameters, chain.rows[i], chain.roles[i]
    s, gap = float(surprise(q)), float(demand_gap(q))
    a, phi, dol = float(chain.shares[i]), row.pass_through, row.operating_leverage
    text = []
    if phi > 0:
        why = _cost_words(chain, s)
        if q["capex_cut"] > 0:
            why = f"{q['capex_cut']:.0%} of announced capital plans is cut"
        verb = "falls" if gap < 0 else "rises"
        older = float(older_gap(q, OLDER_WEIGHTS.get(role, 0.0)))
        revenue = float(np.log1p(a * np.expm1(gap)))
        text.append(
            f"{a:.0%} of revenue follows AI capital spending; {why}, so compute demand "
            f"{verb} {abs(np.expm1(gap)):.1%} and revenue with it "
            f"{abs(np.expm1(revenue)):.1%}."
        )
        if older:
            text.append(
                f"{q['previous_generation_share']:.0%} of that demand moves to older "
                f"processors at {q['previous_generation_price_ratio']:.0%} of the "
                f"price, which takes another {-np.expm1(older):.1%} of AI revenue."
            )
        text.append(
            f"Pass-through {phi:g} and operating leverage {dol:g} turn a revenue gap "
            f"of {abs(np.expm1(revenue + _older_revenue(a, gap, older))):.1%} into an "
            "earnings gap of "
            f"{_signed(np.expm1(phi * dol * _revenue(a, gap + older)))}, which opens "
            f"over {q['gap_years']:g} years: present value ratio "
            f"{float(present_value(q)):.3f}."
        )
    fees = float(erosion_factor(q)) * row.erosion
    if fees:
        text.append(
            f"Recurring fees erode by {fees:.3f} per unit of log cost surprise "
            f"({s:.2f}), with {q['open_source_share']:.0%} of model demand on open "
            "weights."
        )
    gain = q["adoption_scale"] * row.adoption
    if gain:
        text.append(
            f"Cheaper models help adoption: {gain:.3f} per unit of log cost surprise "
            f"({s:.2f})."
        )
    for group, key in (
        (OVERSEAS_ROLES, "overseas_rerating"),
        (PLATFORM_ROLES, "platform_rerating"),
    ):
        late = key == "platform_rerating" and chain.horizon != "persistent"
        if role in group and q[key] and not late:
            text.append(f"The market re-rates it by {_signed(np.expm1(q[key]))}.")
    if chain.ai_capex[i] and q["relief_kept"] and gap < 0:
        text.append(
            f"It spends {chain.ai_capex[i]:.1%} of its market value a year on AI and "
            f"keeps {q['relief_kept']:.0%} of what it saves: "
            f"{_signed(np.expm1(chain.ai_capex[i] * float(capex_relief(q))))}."
        )
    if text and q["severity"] != 1.0:
        text.append(f"Severity {q['severity']:g} multiplies the log move.")
    return text


def _revenue(a: float, gap: float) -> float:
    return float(np.log1p(a * np.expm1(gap)))


def _older_revenue(a: float, gap: float, older: float) -> float:
    return _revenue(a, gap + older) - _revenue(a, gap)


def _cost_words(chain: Chain, s: float) -> str:
    q = chain.parameters
    cheaper = f"a model {q['cost_ratio']:.3g} times cheaper"
    if chain.costs is not None:
        before, after = chain.costs
        cheaper += f" (USD {before / 1e6:.3g}m to {after / 1e6:.3g}m of training)"
    return (
        f"{cheaper}, believed to {q['credibility']:.0%}, is a log surprise of {s:.2f}"
    )


def _fund_sentence(split: Mapping[str, tuple[float, float]]) -> list[str]:
    top = sorted(split.items(), key=lambda pair: pair[1][1])
    words = [f"{role} {w:.0%} of it: {_signed(x)}" for role, (w, x) in top[:4] if x]
    return [f"What it holds moves it, {', '.join(words)}."] if words else []


def _horizon_sentence(chain: Chain, i: int, move: float) -> list[str]:
    role = chain.roles[i]
    if chain.horizon == "persistent":
        times = chain.parameters["persistence"]
        if move > 0:
            return ["Persistent: a rise is kept as it is, with no rebound."]
        return [
            f"Persistent: the event's log fall times {times:g}, with no rebound; a new "
            "multiple is not deepened."
        ]
    if chain.horizon == "day" or role not in REBOUND:
        return []
    left = 1.0 - getattr(REBOUND[role], chain.horizon)
    when = "by the next close" if chain.horizon == "next_day" else "after a month"
    return [f"This is {when}: {left:.0%} of the event's log move is left."]


def price_earnings(
    moves: Any,
    pe: Mapping[str, float] | None,
    earnings: Mapping[str, float] | None,
    prices: Mapping[str, float] | None,
    basis: str,
):
    """Work behind `engine.shocks.ShockMoves.price_earnings`."""
    import pandas as pd

    if basis not in ("trailing", "forward"):
        raise UsageError(
            "unknown basis of earnings",
            received=repr(basis),
            expected="trailing, forward",
        )
    if (pe is None) == (earnings is None) or (earnings is None) != (prices is None):
        raise UsageError(
            "price-earnings ratios, or earnings and prices",
            expected="pe alone, or earnings with prices",
        )
    if pe is None:
        absent = [a for a in earnings or {} if a not in (prices or {})]
        if absent:
            raise DataError("earnings without a price", asset=absent[0])
        pe = {
            a: _positive(a, (prices or {})[a], "price") / _positive(a, e, "earnings")
            for a, e in (earnings or {}).items()
        }
    rows = []
    for asset, before in pe.items():
        i = moves.index(asset)
        before = _positive(asset, before, "price-earnings ratio")
        at_once = before * (1.0 + moves.central[i])
        gap = moves.earnings_gap[i]
        rows.append(
            {
                "asset": asset,
                "basis": basis,
                "before": before,
                "at_once": at_once,
                "after_gap": at_once * np.exp(-gap),
                "move": moves.central[i],
                "earnings_change": np.expm1(gap),
            }
        )
    columns = ["basis", "before", "at_once", "after_gap", "move", "earnings_change"]
    return pd.DataFrame(rows, columns=["asset", *columns]).set_index("asset")


def _positive(asset: str, value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (np.isfinite(number) and number > 0):
        raise DataError(
            f"{what} must be above zero for a price-earnings ratio",
            asset=asset,
            received=repr(value),
            fix="Leave out a company that earns nothing: it has no ratio.",
        )
    return number


def _signed(x: Any) -> str:
    text = f"{float(x) * 100:+.1f}%"
    return "0.0%" if float(text[:-1]) == 0 else text
