"""`ballast run`: the same bits as the flags, strict reading, going on after a stop."""

import json
import re
import tomllib

import pandas as pd
import pytest

from backtests.cli import run
from backtests.cli.run_file import read_run, template
from backtests.job import Settings
from engine.errors import DataError, UsageError
from tests.cli.test_cli import MODEL, document, flags, make_market

FILE = """\
[book]
path = "book.csv"

[data]
prices = "prices.csv"
universe = "universe.csv"
price_basis = "total_return"

[estimation]
window = 60
scenarios = 1000
hindsight_parameters = true

[limits]
limit = [0.15, "Japan <= 0.2"]

[walk_forward]
start = 2024-12-16
strategies = ["hold", "hold-cash", "shock-aware", "equal"]

[report]
title = "T"

[outputs]
folder = "out"
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    make_market(folder)
    (folder / "run.toml").write_text(FILE)
    return folder


def test_a_run_file_equals_the_flags_and_goes_on(market, capfd):
    status = run(["run", str(market / "run.toml"), "--json", "--quiet"])
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    first = document(out)
    by_flags = [
        "report", str(market / "book.csv"), *flags(market), *MODEL, "--limit", "0.15",
        "--limit", "Japan <= 0.2", "--start", "2024-12-16", "--hindsight-parameters",
        "--json", "--out", str(market / "flags"),
    ]  # fmt: skip
    assert run(by_flags) == 0
    other = document(capfd.readouterr().out)
    for part in ("limit", "stress", "proposal", "stress_after", "backtests"):
        assert first[part] == other[part], part
    # Every output carries the digest of the file.
    digest = first["file"]["digest"]
    assert first["file"]["settings"]["walk_forward"]["start"] == "2024-12-16"
    assert json.loads((market / "out" / "run.json").read_text()) == first
    assert digest in (market / "out" / "report.html").read_text()
    walks = sorted((market / "out" / "walks").iterdir())
    assert len(walks) == 4
    for folder in walks:
        kept = json.loads((folder / "result.json").read_text())
        assert kept["provenance"]["run_file"] == digest
    assert len(pd.read_csv(market / "out" / "strategies.csv")) == 4
    # What is finished is not run again; what is missing or damaged is.
    (walks[0] / "result.json").write_text("{")
    (market / "run.toml").write_text(FILE.replace('"T"', '"U"') + 'tables = "parquet"')
    assert run(["run", str(market / "run.toml"), "--json", "--quiet"]) == 0
    again = document(capfd.readouterr().out)
    assert len(again["resumed"]) == 3
    assert again["backtests"] == first["backtests"]
    assert again["file"]["digest"] != digest
    table = pd.read_parquet(market / "out" / "holdings.parquet")
    assert table.attrs["run_file"] == again["file"]["digest"]
    kept = json.loads((walks[1] / "result.json").read_text())
    assert kept["provenance"]["run_file"] == again["file"]["digest"]


def test_check_runs_nothing(market, capfd):
    path = market / "check.toml"
    path.write_text(FILE.replace('"out"', '"nothing"'))
    assert run(["run", str(path), "--check"]) == 0
    out = capfd.readouterr().out
    assert "nothing was run" in out and "hold-cash" in out
    assert not (market / "nothing").exists()
    assert run(["run", str(path), "--check", "--json"]) == 0
    assert document(capfd.readouterr().out)["book"]["assets"][0] == "NVDA"
    path.write_text(FILE.replace("book.csv", "other.csv"))
    assert run(["run", str(path), "--check"]) == 2
    assert "no such file" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("window = 60", "windw = 60", ["line 10, [estimation] windw", "Did you mean"]),
        ("[limits]", "[limit]", ["line 14", "'limit'", "Did you mean limits?"]),
        ('"equal"', '"equl"', ["line 19", "Did you mean equal?"]),
        ("window = 60", 'window = "60"', ["line 10", "a whole number"]),
        ("window = 60", "window = 60.5", ["line 10", "60.5", "a whole number"]),
        ("window = 60", "window = true", ["line 10", "True"]),
        ("scenarios = 1000", "level = nan", ["line 11", "a finite number"]),
        ('path = "book.csv"', "", ["line 1", "no portfolio"]),
        ("= [0.15,", "= [true,", ["line 15", "a list of them"]),
        ('folder = "out"', 'folder = "out"\ntables = "xls"', ["line 26", "parquet"]),
        ("window = 60", "window = 6,5", ["not TOML", "line 10", "a point"]),
        ("start = 2024-12-16", "value = 1", ["line 18", "unknown key"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_line_and_key(tmp_path, old, new, said):
    assert old in FILE
    path = tmp_path / "run.toml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises((UsageError, DataError)) as caught:
        read_run(path)
    for text in said:
        assert text in str(caught.value)


def test_paths_are_relative_to_the_file_and_a_bom_is_no_text(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(FILE, encoding="utf-8-sig")
    plan = read_run(path)
    assert plan.book.path == tmp_path / "book.csv"
    assert plan.prices.prices == str(tmp_path / "prices.csv")
    assert plan.outputs.folder == tmp_path / "out"
    path.write_text('[book]\npath = "/a/b.csv"\n[data]\nprices = "reference"\n')
    plan = read_run(path)
    assert (str(plan.book.path), plan.prices.prices) == ("/a/b.csv", "reference")
    assert plan.settings().start is None


def test_without_settings_a_run_has_the_defaults_of_the_job(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[book]\npath = "book.csv"\n[costs]\n')
    made, usual = read_run(path).settings(), Settings()
    for name in ("window", "covariance", "horizon", "n_scenarios", "level", "costs"):
        assert repr(getattr(made, name)) == repr(getattr(usual, name)), name


def test_the_template_is_a_run_file_and_so_is_all_it_leaves_out(tmp_path, capfd):
    assert run(["run", "--template"]) == 0
    text = capfd.readouterr().out
    assert text == template()
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert read_run(path).walk is None
    # Every line behind a # holds a key that exists, with a value of its type.
    tables: dict[str, list[str]] = {}
    here = ""
    for line in text.splitlines():
        line = line.removeprefix("# ")
        if line.startswith("[") and line.endswith("]"):
            here = line
            tables.setdefault(here, [])
        elif re.match(r"[a-z_]+ = ", line) and "above." not in line:
            tables[here].append(line)
    assert sum(map(len, tables.values())) > 30
    full = "\n".join("\n".join([t, *lines]) for t, lines in tables.items())
    assert set(tomllib.loads(full)) == {t.strip("[]") for t in tables}
    path.write_text(full)
    assert read_run(path).strategies == ("hold", "hold-cash", "shock-aware", "equal")


def test_no_file_says_how_to_get_one(capfd):
    assert run(["run"]) == 2
    assert "--template" in capfd.readouterr().err
    assert run(["run", "absent.toml"]) == 2
    assert "--template" in capfd.readouterr().err
