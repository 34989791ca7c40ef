"""What --json prints validates against the schema that is stated and shipped."""

import ast
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from backtests.cli import run, show
from backtests.cli.documents import FIELDS, markdown, schema
from tests.cli.test_cli import MODEL, document, flags, make_market

ROOT = Path(__file__).parents[2]
WALK = ["--start", "2024-12-16", "--hindsight-parameters"]


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    make_market(folder)
    (folder / "scenarios.toml").write_text(
        '[[shock]]\nname = "mine"\nkind = "cheap-model"\npreset = "jevons"\n'
    )
    (folder / "steps.json").write_text(
        '[{"step": "blank_cell", "asset": "PG", "date": "2024-09-03", '
        '"reason": "a bad tick"}]'
    )
    (folder / "run.toml").write_text(
        f'[book]\npath = "book.csv"\n[data]\nprices = "prices.csv"\n'
        f'universe = "universe.csv"\nprice_basis = "total_return"\n'
        f"[estimation]\nwindow = 60\nscenarios = 1000\n[report]\nwrite = false\n"
        f'[outputs]\nfolder = "{(folder / "run").as_posix()}"\n'
    )
    options = ["--strategy", "hold", *WALK, *MODEL, *flags(folder)]
    out = ["--out", str(folder / "runs")]
    assert run(["backtest", str(folder / "book.csv"), *options, *out]) == 0
    return folder


def cases(folder):
    """Command line of each document; None for those tested elsewhere (slow, real)."""
    book, where = str(folder / "book.csv"), flags(folder)
    return {
        "data": ["data", *where],
        "data-snapshots": [
            "data", "import", "--store", str(folder / "store"), "--name", "a", *where,
        ],
        "data-check": ["data", "check", *where],
        "data-repair": [
            "data", "repair", "--steps", str(folder / "steps.json"), "--out",
            str(folder / "clean.csv"), *where,
        ],
        "shocks": ["shocks"],
        "shocks-moves": ["shocks", "--moves", "--window", "60", *where],
        "shocks-library": ["shocks", "library"],
        "shocks-check": ["shocks", "check", str(folder / "scenarios.toml")],
        "shocks-replay": ["shocks", "replay", "deepseek-monday", *where],
        "covariance": [
            "covariance", "--estimators", "sample,oas", "--window", "40", "--horizon",
            "10", "--quiet", *where,
        ],
        "risk": [
            "risk", book, "--models", "historical", "--start", "2025-11-03", "--quiet",
            "--tickers", "PG",
        ],
        "stress": ["stress", book, "--explain", "NVDA", *MODEL, *where],
        "propose": ["propose", book, *MODEL, *where],
        "backtest": ["backtest", book, "--strategy", "hold", *WALK, *MODEL, *where],
        "sweep": ["sweep", book, "--grid", "limit=0.3", *WALK, *MODEL, *where],
        "backtest-diff": [
            "backtest", "diff", str(folder / "runs" / "hold"),
            str(folder / "runs" / "hold"),
        ],
        "run": ["run", str(folder / "run.toml"), "--quiet"],
        "run-check": ["run", str(folder / "run.toml"), "--check"],
    }  # fmt: skip


ELSEWHERE = {
    "demo",  # minutes; the same function as report, and tested slow
    "report",  # the same document as run, below
    "data-resembles",  # needs real prices
    "shocks-validate",  # needs real prices
}


def test_every_document_has_a_case(market):
    assert set(cases(market)) | ELSEWHERE == set(FIELDS)


@pytest.mark.parametrize("name", sorted(set(FIELDS) - ELSEWHERE))
def test_a_document_validates(market, capfd, name):
    status = run([*cases(market)[name], "--json"])
    out, err = capfd.readouterr()
    assert status in ((0, 1) if name == "data-check" else (0,)), err
    found = document(out)
    Draft202012Validator.check_schema(schema(name))
    Draft202012Validator(schema(name)).validate(found)
    assert found["schema"] == f"ballast.{name}/1"
    stated = {*FIELDS[name], "schema", "versions", "provenance"}
    if name in ("data", "stress", "propose", "covariance"):
        assert found["provenance"]["data_hash"]
    # A field that is stated but never printed would be a promise nobody keeps.
    assert {k for k in stated if k in found} == stated - {
        k for k, f in FIELDS[name].items() if f.optional and k not in found
    }


def test_a_document_without_a_promised_field_fails(market, capfd):
    assert run(["shocks", "--json"]) == 0
    found = document(capfd.readouterr().out)
    assert Draft202012Validator(schema("shocks")).is_valid(found)
    for wrong in (
        {k: v for k, v in found.items() if k != "presets"},
        found | {"presets": {}},
        found | {"schema": "ballast.shocks/2"},
        {k: v for k, v in found.items() if k != "versions"},
    ):
        assert not Draft202012Validator(schema("shocks")).is_valid(wrong)


def test_schemas_are_printed(capfd):
    assert run(["schema", "stress"]) == 0
    assert json.loads(capfd.readouterr().out) == schema("stress")
    assert run(["schema"]) == 0
    assert capfd.readouterr().out.split() == list(FIELDS)
    assert run(["schema", "stres"]) == 2
    assert "Did you mean stress?" in capfd.readouterr().err


def test_the_page_is_what_the_schemas_say():
    path = ROOT / "docs" / "json.md"
    if not path.exists():
        pytest.skip("an installed copy has no docs")
    assert path.read_text(encoding="utf-8") == markdown()


def test_nothing_but_json_numbers_and_iso_dates():
    value = {
        "a": [math.nan, np.float64(np.inf), np.float32(0.5), np.int8(3), np.True_],
        "b": np.datetime64("2025-01-27"),
        "c": pd.Timestamp("2025-01-27"),
        "d": pd.Timestamp("2025-01-27 15:30"),
        "e": np.datetime64("NaT"),
        "f": pd.NaT,
        "g": np.array([1.0, np.nan]),
        "h": (pd.Timestamp("2025-01-27").date(), None),
        "i": np.datetime64("2025-01-27T00:00:00.000000000"),
    }
    assert json.loads(show.json_text(value)) == {
        "a": [None, None, 0.5, 3, True],
        "b": "2025-01-27",
        "c": "2025-01-27",
        "d": "2025-01-27T15:30:00",
        "e": None,
        "f": None,
        "g": [1.0, None],
        "h": ["2025-01-27", None],
        "i": "2025-01-27",
    }


def test_every_document_is_printed_with_its_schema():
    """A call of emit_json without the name of a document would print none."""
    seen = set()
    for path in (ROOT / "backtests" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "emit_json"
            ):
                assert len(node.args) == 2, f"{path.name}, line {node.lineno}"
                seen.add(ast.literal_eval(node.args[1]))
    assert seen == set(FIELDS)
