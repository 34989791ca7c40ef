"""The study's page, every sentence made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from backtests.studies._reallocation import NOTE, Plan

_SHOWN = {
    "max_drawdown": "worst drawdown",
    "shock_loss": "shock loss",
    "27_january": "27 Jan 2025",
    "annual_return": "return a year",
    "annual_return_low": "low",
    "annual_return_high": "high",
    "volatility": "volatility",
    "sharpe": "Sharpe",
    "sharpe_se": "error",
    "sharpe_less_foil": "Sharpe less foil",
    "p_value": "p",
    "turnover_per_year": "turnover a year",
    "cost_per_year": "cost a year",
}
_RATIOS = {"Sharpe", "error", "Sharpe less foil", "p"}


def page(found: Mapping[str, Any], sensitivity: pd.DataFrame, plan: Plan) -> str:
    """Markdown page of the whole study."""
    parts = [
        "# Should the concentrated US-AI investor have reallocated?",
        f"Walked forward monthly from {plan.start} to {plan.end} on total-return "
        f"prices, next-close fills, one-way spread {plan.half_spread_bps:g} bp "
        f"(overseas funds twice that), overseas funds net of {plan.withholding:.0%} "
        f"withholding on a yield of {plan.overseas_yield:.1%}, severe shock loss "
        f"capped at {plan.limit:.0%} and turnover at {plan.turnover:.0%} a month. "
        "The shock's parameters were set with knowledge of January 2025 (hindsight "
        "parameters); the data hold only names that survived.",
        f"Intervals are 95% stationary-bootstrap; {NOTE}.",
    ]
    parts.insert(1, _answer(found))
    for name, tables in found.items():
        parts += _book(name, tables)
    parts += [
        "## Sensitivity, SMH book",
        _markdown(sensitivity.map(lambda v: f"{v:+.2%}")),
        "No name of these data was delisted. Had single names failed at 1% a year with "
        "the 30% loss of Shumway (1997), every book of single names would lose 0.3% a "
        "year per unit held in them: a rule that holds half as much of them is better "
        "off by 0.15% a year than shown.",
    ]
    return "\n\n".join(parts) + "\n"


def _book(name: str, tables: Mapping[str, Any]) -> list[str]:
    main: pd.DataFrame = tables["main"]
    even: pd.Series = tables["break_even"]
    parts = [f"## {name}", _verdict(main, even)]
    shown = main[[c for c in _SHOWN if c in main]].rename(columns=_SHOWN)
    text = pd.DataFrame(
        {c: [_cell(str(c), v) for v in shown[c]] for c in shown},
        index=shown.index,
    )
    parts.append(_markdown(text))
    windows = tables["windows"].copy()
    rules = [c for c in windows if c not in ("kind", "start", "end", "sessions")]
    for column in rules:
        windows[column] = [f"{v:+.1%}" for v in windows[column]]
    parts.append(_markdown(windows.drop(columns=["start", "end"])))
    over = tables["overfitting"]
    parts.append(
        f"The best of these {over.n_trials} rules in one half of the record ranked in "
        f"the lower half of the other in {over.probability:.0%} of {over.n_splits:,} "
        "splits (probability of backtest overfitting)."
    )
    for rule, why in tables["failed"].items():
        parts.append(f"*{rule} could not run: {why}*")
    return parts


def _cell(column: str, value: float) -> str:
    if pd.isna(value):
        return ""
    if column in _RATIOS:
        return f"{value:.2f}"
    return f"{value:.2%}" if column == "cost a year" else f"{value:.1%}"


def _answer(found: Mapping[str, Any]) -> str:
    """The headline, counted over the books without hindsight."""
    clean = {k: t["main"] for k, t in found.items() if "hindsight" not in k}
    bound = {
        k: m
        for k, m in clean.items()
        if m.loc["hold", "shock_loss"] - m.loc["shock-aware", "shock_loss"] > 0.005
    }
    if not bound:
        return "The limit never bound, so no book had anything to reallocate."
    rows = [m.to_dict("index") for m in bound.values()]
    cheaper = sum(
        r["shock-aware"]["annual_return"] < r["hold"]["annual_return"] for r in rows
    )
    beaten = sum(
        r["shock-aware"]["annual_return"] > r["hold + cash"]["annual_return"]
        for r in rows
    )
    clear = sum(r["shock-aware"]["p_value"] < 0.05 for r in rows)
    free = [k for k in clean if k not in bound]
    words = [
        f"**In short.** Of {len(clean)} books chosen without hindsight the limit bound "
        f"{len(bound)} ({', '.join(bound)}). There the rule lost less in shocks and "
        f"earned less than holding in {cheaper}; it earned more than hold + cash at "
        f"the same shock limit in {beaten}, and its Sharpe ratio differed from that of "
        f"hold + cash beyond chance (5%) in {clear}."
    ]
    if free:
        words.append(f"{', '.join(free)} stayed within the limit and was held.")
    return " ".join(words)


def _verdict(main: pd.DataFrame, even: pd.Series) -> str:
    rows = main.to_dict("index")
    rule, hold = rows["shock-aware"], rows["hold"]
    gap = rule["annual_return"] - hold["annual_return"]
    words = [
        f"Against holding, the rule cut the worst drawdown from "
        f"{hold['max_drawdown']:.1%} to {rule['max_drawdown']:.1%} and the average "
        f"shock loss from {hold['shock_loss']:.1%} to {rule['shock_loss']:.1%}, and "
        f"{'cost' if gap < 0 else 'earned'} {abs(gap):.1%} a year."
    ]
    if "hold + cash" in rows:
        foil = rows["hold + cash"]
        beat = rule["annual_return"] - foil["annual_return"]
        deep = rule["max_drawdown"] - foil["max_drawdown"]
        words.append(
            f"Against hold + cash at the same shock limit it returned {beat:+.1%} a "
            f"year with a worst drawdown {abs(deep):.1%} "
            f"{'deeper' if deep > 0 else 'shallower'} (Sharpe difference "
            f"{rule['sharpe_less_foil']:+.2f}, p = {rule['p_value']:.2f})."
        )
    if even["frequency"] == 0:
        words.append("Outside the dated AI shocks it cost nothing.")
    elif even["frequency"] == float("inf"):
        words.append(
            f"Outside the dated AI shocks it cost {even['annual_cost']:.1%} a year, "
            "and it avoided nothing in them that was not soon regained: no frequency "
            "of such shocks would have paid for it."
        )
    else:
        words.append(
            f"Outside the dated AI shocks it cost {even['annual_cost']:.1%} a year; in "
            f"the {even['shocks']:.0f} of them it kept {even['avoided']:.1%} each, of "
            f"which {even['permanent']:.0%} was not regained within a month: it breaks "
            f"even at {even['frequency']:.1f} shocks a year (a yearly probability of "
            f"{even['probability']:.0%}), by the modelled loss at "
            f"{even['modelled_frequency']:.1f}."
        )
    words.append(
        f"Holding wins once AI beats the market by more than "
        f"{even['ai_excess_return']:.1%} a year; it did so by "
        f"{even['ai_excess_realised']:.1%}. In log return the rule "
        "less hold is "
        f"{even['difference']:+.2%} a year, "
        f"{even['difference_without_27_28_january']:+.2%}"
        " without 27 and 28 January 2025."
    )
    return " ".join(words)


def _markdown(table: pd.DataFrame) -> str:
    head = ["", *map(str, table.columns)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, row in table.iterrows():
        cells = [str(label), *(str(v) for v in row)]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)
