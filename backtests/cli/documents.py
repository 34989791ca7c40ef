"""What ``--json`` prints: one document per command, with a stable, stated schema.

Every document carries ``schema`` (``"ballast.<command>/1"``), ``versions`` and
``provenance``. A field may be added under the same number; one that is renamed,
removed or changes its meaning raises it. `schema` gives the JSON Schema (2020-12) of a
command, and docs/json.md is `markdown()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

VERSION = 1


class Field(NamedTuple):
    """One field of a document."""

    type: str
    """A type of JSON Schema, several with "|"; "list" is an array of objects."""
    text: str
    optional: bool = False


_NAME = "name of the shock"
_JOB = {
    "report": Field("string|null", "path of the report; null where none is written"),
    "limit": Field("number", "cap on the severe loss, a decimal"),
    "stress": Field("object", "as ballast.stress, of the book as it is"),
    "stress_after": Field("object", "the same of the proposed book"),
    "proposal": Field("object", "as ballast.propose"),
    "backtests": Field("list", "as strategies of ballast.backtest"),
    "realised": Field("object|null", "date, loss and note of 27 January 2025"),
}
FIELDS: Mapping[str, Mapping[str, Field]] = {
    "data": {
        "source": Field("string", "where the prices come from"),
        "synthetic": Field("boolean", "whether they are made up"),
        "assets": Field("integer", "number of assets"),
        "dates": Field("integer", "number of session dates"),
        "first_date": Field("string", "ISO date"),
        "last_date": Field("string", "ISO date"),
        "price_basis": Field("string", "raw, split_adjusted or total_return"),
        "base_currency": Field("string", "three letters"),
        "quote_currencies": Field("array", "three letters each"),
        "exchange_rates": Field("array", "currencies with a rate"),
        "cash_rates": Field("array", "currencies with a cash rate"),
        "venues": Field("array", "exchanges"),
        "cells": Field("object", "number of cells by status"),
        "actions": Field("object", "number of corporate actions by kind"),
        "membership": Field("integer", "dated rows of membership"),
        "calendar_overrides": Field("integer", "days off the calendar"),
        "roles": Field("object", "number of assets by AI role"),
        "late_starters": Field("array", "assets that start later"),
        "content_hash": Field("string", "digest of the prices"),
        "written": Field("string", "file written by --out", True),
    },
    "data-resembles": {
        "rows": Field("list", "statistics, reference beside real"),
    },
    "data-snapshots": {
        "store": Field("string", "folder"),
        "snapshots": Field("list", "manifest of each snapshot"),
    },
    "data-check": {
        "source": Field("string", "where the prices come from"),
        "counts": Field("object", "errors, warnings and notes by check"),
        "findings": Field("list", "severity, asset, date, what and detail"),
    },
    "data-repair": {
        "source": Field("string", "where the prices came from"),
        "content_hash": Field("string", "digest of the repaired prices"),
        "steps": Field("list", "every step with cells before and after"),
        "written": Field("array", "files written"),
    },
    "shocks": {
        "presets": Field("list", "name, citation, known_from, parameters, ..."),
    },
    "shocks-moves": {
        "name": Field("string", _NAME),
        "citation": Field("string", "source"),
        "moves": Field("list", "asset, move, low, high and basis; simple returns"),
    },
    "shocks-library": {
        "episodes": Field("list", "name, dates, known_from, citation, ..."),
    },
    "shocks-check": {
        "file": Field("string", "the scenario file"),
        "shocks": Field("list", "name, kind, limit, known_from, alone, citation, note"),
    },
    "shocks-replay": {
        "name": Field("string", _NAME),
        "known_from": Field("string", "ISO date"),
        "citation": Field("string", "source"),
        "synthetic": Field("boolean", "whether the prices are made up"),
        "no_way_to_replay": Field("array", "tickers"),
        "moves": Field("list", "asset, move, low, high and basis; simple returns"),
    },
    "shocks-validate": {
        "event": Field("string", "ISO date"),
        "synthetic": Field("boolean", "whether the prices are made up"),
        "table": Field("list", "every predictor on all names"),
        "common_names": Field("list", "every predictor on the common names"),
        "words": Field("array", "the findings in sentences"),
        "report": Field("string|null", "path of the page written"),
    },
    "covariance": {
        "estimators": Field("list", "one row per estimator, best first"),
        "rank_by": Field("string", "the score ranked by"),
        "forecasts": Field("integer", "number of forecasts scored"),
        "assets": Field("array", "tickers"),
        "note": Field("string", "what was left out"),
        "failures": Field("array", "estimator, origin and reason"),
        "data_hash": Field("string", "digest of the prices"),
        "synthetic": Field("boolean", "whether the prices are made up"),
    },
    "risk": {
        "table": Field("list", "tests and verdict of each model"),
        "survivors": Field("array", "models that no test rejects"),
        "rule": Field("string", "what counts as rejected"),
        "first": Field("string", "first session forecast, ISO date"),
        "last": Field("string", "last session forecast, ISO date"),
        "sessions": Field("integer", "number of forecasts"),
        "excluded": Field("array", "sessions left out, ISO dates"),
        "weights": Field("object", "weight by asset"),
        "level": Field("number", "confidence of value at risk"),
        "es_level": Field("number", "confidence of expected shortfall"),
        "notes": Field("array", "what a reader must know"),
        "data_hash": Field("string", "digest of the prices"),
        "synthetic": Field("boolean", "whether the prices are made up"),
    },
    "stress": {
        "base_currency": Field("string", "three letters"),
        "as_of": Field("string", "date of the estimate"),
        "level": Field("number", "confidence of the next two"),
        "value_at_risk": Field("number", "loss, a decimal"),
        "expected_shortfall": Field("number", "loss, a decimal"),
        "expected_shortfall_standard_error": Field("number", "of simulation"),
        "stamps": Field("array", "what must be read before the numbers"),
        "value": Field("number", "net asset value in base currency"),
        "seed": Field("integer|null", "of the scenarios"),
        "shocks": Field("list", "name, loss, severe_90, by_asset, by_role, ..."),
        "explanations": Field("object", "words by ticker (--explain)", True),
        "price_earnings": Field("list", "before and after (--ratios)", True),
    },
    "propose": {
        "outcome": Field("string", "OPTIMAL or another name of engine.Outcome"),
        "target": Field("object", "weight by asset, cash included; sums to one"),
        "trades": Field("list", "ticker, units, value, weights and reason"),
        "limits": Field("list", "name, before, after, limit, satisfied, price"),
        "cost": Field("number", "fraction of the value"),
        "turnover": Field("number", "half the sum of absolute weight changes"),
        "stress_before": Field("object", "severe loss by shock"),
        "stress_after": Field("object", "severe loss by shock"),
        "frontier": Field("object", "rows and sentences (--frontier)", True),
        "robustness": Field("object", "rows and sentences (--robustness)", True),
        "alternatives": Field("object", "rows and sentences (--alternatives)", True),
    },
    "backtest": {
        "strategies": Field("list", "strategy, stamps, its metrics and judgement"),
    },
    "backtest-diff": {
        "folders": Field("array", "the two folders compared"),
        "names": Field("array", "name of each result"),
        "headline": Field("string", "the finding in a sentence"),
        "identical": Field("boolean", "whether every number is the same"),
        "origin": Field("list", "name, first and second of what differs in provenance"),
        "metrics": Field("list", "name, first, second and difference"),
        "sharpe": Field("object|null", "Ledoit-Wolf test of the two Sharpe ratios"),
        "sharpe_note": Field("string", "why there is no test, or what it rests on"),
        "common": Field("object", "start, end and number of common sessions"),
        "parted": Field("string|null", "first date on which the ledgers differ"),
        "ledger": Field("list", "columns of the ledger that differ"),
        "decisions": Field("list", "decisions that differ"),
        "fills": Field("list", "fills that differ"),
    },
    "sweep": {
        "cells": Field("list", "parameters and metrics of each cell"),
        "summary": Field("object", "trials counted, deflated Sharpe, overfitting"),
        "words": Field("array", "the score in sentences"),
    },
    "report": _JOB,
    "demo": {**_JOB, "seeds": Field("list|null", "the rule on other draws")},
    "run": {
        **_JOB,
        "file": Field("object", "path, digest and settings of the run file"),
        "written": Field("array", "files and folders written"),
        "resumed": Field("array", "strategies read from an earlier run"),
    },
    "run-check": {
        "file": Field("object", "path, digest and settings of the run file"),
        "book": Field("object", "assets and cash"),
        "strategies": Field("array", "strategies that would be walked forward"),
    },
}
"""Fields of each document beside schema, versions and provenance."""


def enveloped(
    value: Mapping[str, Any],
    command: str,
    *,
    panel: Any = None,
    source: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a command's fields with schema, versions and provenance before them."""
    from backtests._identity import versions

    origin: dict[str, Any] = {}
    if panel is not None:
        origin = {
            "prices": str(panel.source),
            "price_basis": panel.price_basis,
            "data_hash": panel.content_hash,
            "synthetic": panel.synthetic,
        }
    fields = dict(value)
    origin |= fields.pop("provenance", {})
    origin |= source or {}
    return {
        "schema": f"ballast.{command}/{VERSION}",
        "versions": versions() | fields.pop("versions", {}),
        "provenance": origin,
        **fields,
    }


def schema(command: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of what a command prints.

    Raises
    ------
    UsageError
        No command has this document.
    """
    from engine.errors import UsageError, did_you_mean

    if command not in FIELDS:
        raise UsageError(
            "no such document",
            received=repr(command),
            expected=", ".join(FIELDS),
            fix=did_you_mean(command, FIELDS),
        )
    fields = FIELDS[command]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"ballast.{command}/{VERSION}",
        "type": "object",
        "properties": {
            "schema": {"const": f"ballast.{command}/{VERSION}"},
            "versions": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "required": ["ballast", "python", "numpy", "pandas"],
            },
            "provenance": {"type": "object"},
            **{k: _typed(f) for k, f in fields.items()},
        },
        "required": [
            "schema",
            "versions",
            "provenance",
            *(k for k, f in fields.items() if not f.optional),
        ],
    }


def _typed(field: Field) -> dict[str, Any]:
    kinds = field.type.split("|")
    out: dict[str, Any] = {"description": field.text}
    if "list" in kinds:
        out["items"] = {"type": "object"}
        kinds = ["array" if k == "list" else k for k in kinds]
    out["type"] = kinds if len(kinds) > 1 else kinds[0]
    return out


def markdown() -> str:
    """The page docs/json.md: every document, its fields and their meaning."""
    lines = [
        "# What `--json` prints",
        "",
        "One JSON document on standard output and nothing else; progress and warnings",
        "go to the error stream. NaN and infinity are `null`, dates ISO text, losses",
        "positive, returns and weights decimals. Every document has",
        "",
        "- `schema`: its name and version, such as `ballast.stress/1`. Fields may be",
        "  added under the same number; renaming or redefining one raises it.",
        "- `versions`: Ballast, Python, numpy and pandas.",
        "- `provenance`: where the figures come from; the prices' source, basis and",
        "  content hash where prices were read.",
        "",
        "`ballast schema stress` prints the JSON Schema of a document.",
    ]
    for command, fields in FIELDS.items():
        lines += ["", f"## ballast.{command}/{VERSION}", ""]
        if not fields:
            lines.append("Fields as documented on the command's own page.")
            continue
        lines += ["| Field | Type | Meaning |", "|---|---|---|"]
        for name, field in fields.items():
            kind = field.type.replace("list", "array of objects").replace("|", " or ")
            always = "" if not field.optional else "; only where asked for"
            lines.append(f"| `{name}` | {kind} | {field.text}{always} |")
    return "\n".join(lines) + "\n"
