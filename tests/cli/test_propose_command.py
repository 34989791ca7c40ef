"""What `ballast propose` shows beside the trades."""

import json

import pytest

from backtests.cli import run
from tests.cli.test_cli import MODEL, flags, make_market


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    make_market(folder)
    return folder


def test_prices_frontier_other_views_and_alternatives(market, capfd):
    asked = ["--max-weight", "0.3", "--frontier", "--robustness", "--alternatives"]
    line = ["propose", str(market / "book.csv"), *flags(market), *MODEL, *asked]
    assert run(line) == 0
    out = capfd.readouterr().out
    for words in (
        "what it costs and buys",
        "One more point of permitted loss under cheap-model:market_view saves",
        "frontier, cheap-model:market_view: loss today",
        "against the book as it is, seen otherwise",
        "cheap-model:jevons",
        "proposals within 5% of the best objective",
    ):
        assert words in out


def test_one_document_holds_what_was_asked_for(market, capfd):
    line = ["propose", str(market / "book.csv"), *flags(market), *MODEL]
    assert run([*line, "--max-weight", "0.3", "--robustness", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert sum(r["worst"] for r in found["robustness"]["rows"]) == 1
    assert not {"frontier", "alternatives"} & set(found)
    name = "stress:cheap-model:market_view"
    assert found["prices"][name] > 0
    assert any("saves" in s for s in found["sentences"])
