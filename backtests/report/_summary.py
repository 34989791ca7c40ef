"""Plain sentences written from the numbers: no advice, no claim, always a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backtests.intervals import Interval
from backtests.report._inputs import (
    ReportInputs,
    Run,
    by_role,
    difference,
    exposures_note,
    label,
    labels_of,
    loss_text,
    loss_words,
    money,
    number,
    overseas_share,
    percent,
    rank_words,
    short_name,
    signed,
)


def _band(low: float, high: float) -> str:
    """Both ends of a band; each says what it is where one is a gain."""
    ends = [loss_text(low), loss_text(high)]
    if any(end.startswith("gain") for end in ends):
        return f"from {loss_words(low)} to {loss_words(high)}"
    return " to ".join(ends)


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def home_country(inputs: ReportInputs) -> str:
    """Country with the largest weight in the current book, cash aside."""
    assets, weights = inputs.stress.scenarios.assets, inputs.stress.weights
    sums: dict[str, float] = {}
    for name, weight in zip(labels_of(inputs, assets, "country"), weights, strict=True):
        if name not in ("cash", "not stated"):
            sums[name] = sums.get(name, 0.0) + float(weight)
    return max(sums, key=lambda k: sums[k]) if sums else ""


def fund_share(inputs: ReportInputs) -> list[float]:
    """Weight in funds before and after the proposal."""
    proposal = inputs.proposal
    if proposal is None:
        return [0.0, 0.0]
    kinds = labels_of(inputs, proposal.labels, "asset_class")
    funds = np.array([k.lower().startswith(("etf", "fund")) for k in kinds], dtype=bool)
    return [float(w[funds].sum()) for w in (proposal.current, proposal.target)]


def sentences(
    inputs: ReportInputs, runs: Sequence[Run], agreement: Mapping[str, float]
) -> list[str]:
    """Five to eight sentences, most important first."""
    return [
        *_what(inputs),
        *_losses(inputs),
        *_where(inputs),
        *_happened(inputs, agreement),
        *_proposed(inputs),
        *_walked(inputs, runs),
        _unsure(inputs),
    ]


def certainty(
    inputs: ReportInputs,
    runs: Sequence[Run],
    intervals: Sequence[Mapping[str, Interval]],
) -> list[str]:
    """How far each kind of number can be trusted, from the numbers themselves."""
    stress = inputs.stress
    base = stress.scenarios.base()
    error = stress.expected_shortfall_error
    text = (
        f"{len(base):,} scenarios, worth {number(base.effective_number, 0)} equally "
        "likely ones"
    )
    if np.isfinite(error):
        text += (
            f": another draw of them would move the {stress.level:.0%} shortfall of "
            f"{percent(stress.expected_shortfall)} by about {percent(error)}, and by "
            "more if the model is wrong"
        )
    out = [text + "."]
    losses = {short_name(r.name): r.loss for r in stress.results}
    if len(losses) > 1:
        low, high = (f(losses, key=lambda k: losses[k]) for f in (min, max))
        out.append(
            f"The lenses are {percent(losses[high] - losses[low], 1)} of net asset "
            f"value apart, from {loss_words(losses[low], 1)} ({low}) to "
            f"{loss_words(losses[high], 1)} ({high}): what is not known about the "
            "shock matters more than any sampling error."
        )
    if stress.results and stress.results[0].has_band:
        first = stress.results[0]
        out.append(
            f"Under {short_name(first.name)} alone nine in ten severities give "
            f"{_band(*first.band)}; the severe reading through the worst lens is "
            f"{loss_text(first.severe)}."
        )
    if intervals:
        parts = [
            f"{r.name} {number(v['sharpe'].estimate)} "
            f"({number(v['sharpe'].low)} to {number(v['sharpe'].high)})"
            for r, v in zip(runs, intervals, strict=True)
        ]
        out.append(
            f"Sharpe ratios of the walk-forward with 95% intervals: {_listed(parts)}; "
            "the intervals hold no shock that is not in the record."
        )
    return out


def _what(inputs: ReportInputs) -> list[str]:
    stress = inputs.stress
    scenarios = stress.scenarios
    held = int((stress.weights != 0).sum())
    as_of = getattr(scenarios.model, "as_of", None)
    prices = "SYNTHETIC prices" if inputs.synthetic else "prices"
    date = f" known on {np.datetime64(as_of, 'D')}" if as_of is not None else ""
    error = stress.expected_shortfall_error
    sampling = f" (sampling error {percent(error)})" if np.isfinite(error) else ""
    return [
        f"The book holds {held} positions worth {money(stress.value, inputs.currency)} "
        f"and is stressed on {prices}{date}; without any shock, its "
        f"{stress.level:.0%} expected shortfall over {scenarios.horizon} sessions is "
        f"{percent(stress.expected_shortfall)}{sampling}."
    ]


def _losses(inputs: ReportInputs) -> list[str]:
    parts = [
        f"{short_name(r.name)} gives {loss_words(r.loss)} "
        f"({money(abs(r.loss) * inputs.stress.value, inputs.currency)}; 5-95% band "
        f"{_band(*r.band)})"
        for r in inputs.stress.results
    ]
    if not parts:
        return []
    text = f"Of the presets, {_listed(parts)}."
    if len({r.loss > 0 for r in inputs.stress.results}) > 1:
        text += (
            " The presets disagree on the sign, because they differ on how demand for "
            "compute answers a lower price, which nobody knows."
        )
    return [text]


def _where(inputs: ReportInputs) -> list[str]:
    results = inputs.stress.results
    if not results or results[0].loss <= 0:
        return []
    first, stress = results[0], inputs.stress
    assets = stress.scenarios.assets
    roles = by_role(stress, first.name)
    role = max(roles, key=lambda k: roles[k][1])
    weight, loss = roles[role]
    i = int(np.argmax(first.by_asset))
    return [
        f"Under {short_name(first.name)}, the role {label(role)} carries "
        f"{percent(loss / first.loss, 0)} of the loss with "
        f"{percent(weight, 0)} of the book, and the largest single position in "
        f"it is {assets[i]} with {percent(first.by_asset[i])} of net asset value."
    ]


def _happened(inputs: ReportInputs, agreement: Mapping[str, float]) -> list[str]:
    realised = inputs.realised
    if realised is None:
        return []
    text = (
        f"On {inputs.event} the same weights had {loss_words(realised.book_loss)}; "
        "this is information, not a target, though the role table was written knowing "
        "that day"
    )
    rank = rank_words(inputs, realised.book_loss)
    if rank and rank != "not a loss":
        text += f" (rank {rank} when set among past sessions)"
    results = inputs.stress.results
    if results and np.isfinite(agreement.get("mae_held", np.nan)):
        text += (
            f". Name by name the {short_name(results[0].name)} differed from that day "
            f"by {percent(agreement['mae_held'], 1)} on average (rank correlation "
            f"{agreement['rank_held']:.2f})"
        )
    return [text + "."]


def _proposed(inputs: ReportInputs) -> list[str]:
    proposal = inputs.proposal
    if proposal is None:
        return []
    if not proposal.trades:
        return [proposal.outcome.value]
    text = (
        f"The proposal makes {len(proposal.trades)} trades (turnover "
        f"{percent(proposal.turnover, 1)}) at an estimated cost of "
        f"{number(proposal.cost * 1e4, 1)} basis points, "
        f"{money(proposal.cost * proposal.value, inputs.currency)}"
    )
    checks = [c for c in proposal.limits if c.name.startswith("stress:")]
    if checks:
        c = checks[0]
        text += (
            f", and takes the severe {short_name(c.name)} loss (90th percentile, worst "
            f"lens, gains not counted) from {loss_text(c.before)} to "
            f"{loss_text(c.after)} against a limit of {percent(c.limit)}"
        )
    out = [text + "."]
    home = home_country(inputs)
    away, funds = overseas_share(proposal, inputs, home), fund_share(inputs)
    out.append(
        f"Weight outside {home or 'the home country'} goes from {percent(away[0], 1)} "
        f"to {percent(away[1], 1)} and weight in diversified funds from "
        f"{percent(funds[0], 1)} to {percent(funds[1], 1)}; the limit sees what each "
        "asset loses, not its passport."
    )
    return out


def _walked(inputs: ReportInputs, runs: Sequence[Run]) -> list[str]:
    if not runs:
        return []
    foil = runs[0]
    ends = [
        f"{r.name} ended at {number(r.value[-1] / r.initial)} times its start with a "
        f"worst drawdown of {percent(r.drawdown.max(), 1)}"
        for r in runs
    ]
    marks = [s for s in inputs.short_stamps() if "HINDSIGHT" in s]
    text = f"From {foil.dates[0]} to {foil.dates[-1]}"
    text += f" ({', '.join(marks)})" if marks else ""
    text += f", {_listed(ends)}"
    gaps = []
    near = []
    for run in runs[1:]:
        gap, error = difference(run, foil)
        if np.isfinite(gap) and np.isfinite(error):
            gaps.append(f"{run.name} {signed(gap, 1)} ± {percent(error, 1)}")
            if abs(gap) <= 2 * error:
                near.append(run.name)
    if gaps:
        text += (
            f". Mean return a year less that of {foil.name}, with one standard error: "
            f"{_listed(gaps)}"
        )
        if near:
            text += (
                f"; {_listed(near)} cannot be told apart from {foil.name} at two "
                "standard errors"
            )
        text += "; one path of history says nothing of the next"
    return [text + "."]


def _unsure(inputs: ReportInputs) -> str:
    text = (
        f"{exposures_note(inputs.stress)} The bands above cover severity and exposure "
        "within the model and not the model itself, and no probability is attached to "
        "any shock."
    )
    if inputs.synthetic:
        text += " Prices are SYNTHETIC: none of these returns happened."
    return text
