"""Put a report together: one HTML file that needs nothing else, and CSV tables."""

from __future__ import annotations

import base64
import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from backtests.intervals import Interval
from backtests.report import (
    _change,
    _committee,
    _figures,
    _losses,
    _runs,
    _tables,
    _through_time,
    _validation,
    _warnings,
    _worth,
    _worth_words,
)
from backtests.report._inputs import (
    EVENT_DATE,
    ReportInputs,
    Run,
    day,
    exposures_note,
    loss_money,
    loss_text,
    number,
    overseas_share,
    percent,
    read_run,
    short_name,
)
from backtests.report._style import Picture, css_variables, drawing
from backtests.report._summary import certainty, home_country, sentences
from engine.data.files import write_atomic, write_csv


class Tile(NamedTuple):
    """A key number: what it is, the number, and its band or comparison."""

    name: str
    value: str
    below: str


def write_report(path: str | os.PathLike, inputs: ReportInputs) -> Path:
    """Write the report as one HTML file, and its tables as CSV beside it.

    Parameters
    ----------
    path : path
        The HTML file. Tables go to the folder ``<stem>_tables`` next to it, formulas
        neutralised.
    inputs : ReportInputs

    Returns
    -------
    Path
        The HTML file; the same bytes for the same inputs.

    Raises
    ------
    StoreError
        The folder cannot be written; a report that was there before is untouched.
    """
    path = Path(path)
    runs = [read_run(r) for r in inputs.backtests]
    columns = _runs.seed_columns(inputs.seeds)
    checked = inputs.validation
    checked = None if checked is None else _validation.read_validation(checked)
    intervals = _through_time.intervals_of(inputs.backtests, inputs.judgement)
    exposures = _through_time.exposures(inputs)
    pictures, agreement = draw_all(inputs, runs, columns, intervals, exposures)
    tables = {
        t.key: t
        for t in (
            _tables.presets(inputs),
            _tables.exposures(inputs),
            _tables.limits(inputs),
            _tables.trades(inputs),
            _tables.runs_table(inputs, runs),
            _through_time.interval_table(runs, intervals),
            _tables.seeds_table(inputs, columns),
            None if checked is None else _validation.common_scores(checked),
            None if checked is None else _validation.roles_table(checked),
            _tables.provenance(inputs, runs),
            *_committee.tables(inputs),
            *_worth.tables(inputs),
        )
        if t is not None
    }
    if checked is not None:
        with drawing():
            pictures["validation"] = _validation.picture(checked)
    script = _script()
    page = (
        _environment()
        .get_template("template.html")
        .render(
            inputs=inputs,
            script=Markup(script),
            script_hash=_digest(script),
            light=Markup(css_variables(1)),
            dark=Markup(css_variables(2)),
            footer=Markup(_warnings.print_footer(inputs)),
            warnings=_warnings.warnings_of(inputs),
            sentences=sentences(inputs, runs, agreement),
            certainty=certainty(inputs, runs, intervals),
            tiles=tiles(inputs, runs),
            tables=tables,
            pictures={
                k: p._replace(svg=Markup(p.svg), flags=_warnings.flags(inputs, k))
                for k, p in pictures.items()
            },
            proposal=inputs.proposal,
            notes=notes(inputs),
            validation=checked,
            verdict=[] if checked is None else _validation.verdict(checked),
            event=day(EVENT_DATE if checked is None else np.datetime64(checked.event)),
            committee=_committee.sentences(inputs),
            worth=_worth_words.sentences(inputs),
            walk_flags=inputs.short_stamps(of="walk"),
            not_judged=_worth_words.missing(inputs),
        )
    )
    folder = path.parent / f"{path.stem}_tables"
    written = write_atomic(path, page)
    frames = _tables.frames(inputs, runs, list(tables.values()))
    frames |= _through_time.frames(runs, intervals, exposures)
    frames |= _worth.frames(inputs)
    for name, frame in frames.items():
        write_csv(folder / f"{name}.csv", frame)
    return written


def _script() -> str:
    """Return the one script of the page: sorting of tables."""
    return (
        resources.files("backtests.report")
        .joinpath("sort.js")
        .read_text(encoding="utf-8")
    )


def _digest(script: str) -> str:
    """Hash by which the page's policy lets this script run and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("backtests.report", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def draw_all(
    inputs: ReportInputs,
    runs: Sequence[Run],
    columns: Sequence[str],
    intervals: Sequence[Mapping[str, Interval]],
    exposures: Sequence[_through_time.Exposure],
) -> tuple[dict[str, Picture], dict[str, float]]:
    """Every picture the inputs allow, by key, and the agreement figures."""
    with drawing(), warnings.catch_warnings():
        # Text stays text in the SVG: the reader's fonts draw what ours cannot measure.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        found = _figures.agreement(inputs)
        made = [
            _figures.presets(inputs) if inputs.stress.results else None,
            _losses.waterfall(inputs),
            _losses.heat_map(inputs),
            _losses.plausibility(inputs),
            _change.trades(inputs),
            _change.prices(inputs),
            _through_time.exposure(inputs, exposures),
            _through_time.costs(inputs, runs),
            _through_time.intervals(inputs, runs, intervals),
            _figures.holdings(inputs),
            _figures.groups(inputs),
            None if found is None else found[1],
            _figures.allocation(inputs, ("role",), "roles_after"),
            _figures.allocation(inputs, ("country", "currency"), "places_after"),
            _runs.walk_forward(inputs, runs),
            _runs.around(inputs, runs),
            _runs.seeds(inputs, columns),
            _committee.picture(inputs),
            _worth.picture(inputs),
        ]
    pictures = {p.key: p for p in made if p is not None}
    return pictures, {} if found is None else found[0]


def tiles(inputs: ReportInputs, runs: Sequence[Run]) -> list[Tile]:
    """Key numbers, each with its band or what it is compared with."""
    stress = inputs.stress
    out = [
        Tile(
            f"{short_name(r.name)}, central"
            + (" loss" if not loss_text(r.loss).startswith("gain") else ""),
            loss_text(r.loss),
            f"{loss_text(r.band[0])} to {loss_text(r.band[1])}",
        )
        for r in stress.results[:3]
    ]
    if inputs.realised is not None:
        out.append(
            Tile(
                f"realised {day(inputs.event)}",
                loss_text(inputs.realised.book_loss),
                loss_money(inputs.realised.book_loss * stress.value, inputs.currency)
                + ", not a target",
            )
        )
    error = stress.expected_shortfall_error
    out.append(
        Tile(
            f"{stress.level:.0%} shortfall, {stress.scenarios.horizon} sessions",
            percent(stress.expected_shortfall),
            f"± {percent(error)} sampling" if np.isfinite(error) else "no shock",
        )
    )
    proposal = inputs.proposal
    if proposal is not None:
        caps = [c for c in proposal.limits if c.name.startswith("stress:")]
        if caps:
            out.append(
                Tile(
                    f"severe {short_name(caps[0].name)}, after",
                    loss_text(caps[0].after),
                    f"before {loss_text(caps[0].before)}, "
                    f"limit {percent(caps[0].limit)}",
                )
            )
        away = overseas_share(proposal, inputs, home_country(inputs))
        out += [
            Tile(
                "turnover proposed",
                percent(proposal.turnover, 1),
                f"cost {number(proposal.cost * 1e4, 1)} bp",
            ),
            Tile(
                f"outside {home_country(inputs) or 'home'}",
                percent(away[1], 1),
                f"before {percent(away[0], 1)}",
            ),
        ]
    return out


def notes(inputs: ReportInputs) -> list[str]:
    """What the report does not tell, in plain words."""
    scenarios = inputs.stress.scenarios
    carry = float(inputs.stress.weights @ scenarios.leg_mean("base"))
    out = [
        exposures_note(inputs.stress),
        "The multipliers by role are judgement made with knowledge of 27 January 2025, "
        "and one of them (fee erosion of neoclouds and lab backers) was fitted to that "
        "day. Agreement with the day is therefore not a validation.",
        "Ranks and distances are not probabilities. Nobody knows how likely any of "
        "these shocks is, and the bands cover severity within the model only.",
        f"A stress loss is a one-session move over {scenarios.horizon} sessions of "
        f"cash return ({percent(carry)} here); expected shortfall is over "
        f"{scenarios.horizon} sessions without a shock. The realised loss is of one "
        "session.",
    ]
    if inputs.proposal is not None:
        out.append(
            "The proposal is the cheapest way into the stated limits under this model; "
            "other limits give another answer. It is not advice."
        )
    if inputs.backtests or inputs.history is not None:
        out.append(
            "Survivorship: the names in the universe were chosen knowing which "
            "companies mattered later, which flatters every past figure shown, most of "
            "all the level of the value curves."
        )
    if any("HINDSIGHT" in s for s in inputs.short_stamps()):
        out.append(
            "Hindsight: roles and shock parameters were known only from 27 January "
            "2025 and are used at earlier dates, so the walk-forward is a consistency "
            "check of the rule and not evidence for it."
        )
    if inputs.backtests:
        out.append(
            "One path of history holds one event of this kind. Standard errors "
            "describe sampling on that path, not the chance of another regime."
        )
    if inputs.synthetic:
        out.append(
            "Prices are SYNTHETIC, drawn from a fitted generator: they share the "
            "moments of the market they imitate and none of its events but those "
            "planted."
        )
    return out
