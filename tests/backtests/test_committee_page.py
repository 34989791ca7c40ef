"""The committee's section of a report: every table, the picture, and its words."""

import re

import numpy as np
import pytest

from backtests.report import ReportInputs, write_report
from engine import (
    CheapModelShock,
    Constraints,
    Costs,
    Portfolio,
    ReturnModel,
    StressCap,
    Universe,
    alternatives,
    proposal_frontier,
    propose,
    robustness,
    simulate,
    stress,
)

UNIVERSE = Universe(
    ("NVDX", "NETX", "SOFX", "FOOD", "PWRX"),
    asset_class=("equity",) * 5,
    role=("accelerator", "network", "software", "none", "power_gen"),
    sector=("Information Technology",) * 3 + ("Consumer Staples", "Utilities"),
    country=("US",) * 5,
    quote_currency=("USD",) * 5,
)
HELD = {"NVDX": 0.4, "NETX": 0.25, "SOFX": 0.2, "FOOD": 0.1, "CASH:USD": 0.05}


@pytest.fixture(scope="module")
def parts():
    B = np.random.default_rng(0).normal(0.01, 0.004, (5, 1))
    model = ReturnModel(
        assets=UNIVERSE.tickers,
        mean=np.zeros(5),
        covariance=B @ B.T + 1e-4 * np.eye(5),
        tail_dof=np.inf,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="zero_excess",
        universe=UNIVERSE,
        base_currency="USD",
        as_of=np.datetime64("2025-02-20"),
    )
    scenarios = simulate(model, 1000, horizon=21, seed=0)
    book = Portfolio.from_weights(HELD, 1e6, "USD")
    limits = Constraints(stress_caps=StressCap(CheapModelShock(), 0.1), upper=0.5)
    problem = book, scenarios, limits, Costs(half_spread_bps=20.0)
    proposal = propose(*problem)
    shocks = [CheapModelShock(p) for p in ("market_view", "jevons")]
    return {
        "stress": stress(book, scenarios, shocks),
        "proposal": proposal,
        "frontier": proposal_frontier(*problem, points=4),
        "robustness": robustness(proposal, book, scenarios, episodes=()),
        "alternatives": alternatives(*problem, tolerance=0.2),
    }


@pytest.fixture(scope="module")
def page(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("committee") / "page.html"
    return write_report(path, ReportInputs(title="A book", **parts)).read_text()


def section(page):
    return page.split('<section id="committee">')[1].split("</section>")[0]


def test_every_part_is_there(page):
    text = section(page)
    for key in ("prices", "frontier", "views", "alternatives"):
        assert f'<table id="table-{key}"' in text
    assert '<figure id="picture-frontier">' in text
    assert page.index('id="proposal"') < page.index('id="committee"')


def test_the_numbers_are_those_of_the_parts(page, parts):
    text = section(page)
    for sentence in parts["proposal"].sentences():
        assert sentence in text
    price = parts["proposal"].prices["stress:cheap-model:market_view"]
    assert f">{price * 100:.2f}<" in text
    worst = parts["robustness"].worst
    assert f"+{100 * worst.difference:.2f}% (worst)" in text
    rows = re.search(r'id="table-frontier".*?</table>', text, re.S).group()
    assert rows.count("<tr>") == 1 + len(parts["frontier"].points)
    assert rows.count("not to be met") == 1
    fewest = parts["alternatives"]["fewest_trades"]
    assert f"{len(fewest.proposal.trades)} trades instead of" in text


def test_a_proposal_alone_has_its_prices_and_no_more(parts, tmp_path):
    only = {k: parts[k] for k in ("stress", "proposal")}
    text = section(
        write_report(tmp_path / "a.html", ReportInputs(title="t", **only)).read_text()
    )
    assert 'id="table-prices"' in text
    assert "table-frontier" not in text and "picture-frontier" not in text


def test_without_a_proposal_there_is_no_section(parts, tmp_path):
    inputs = ReportInputs(title="t", stress=parts["stress"])
    assert 'id="committee"' not in write_report(tmp_path / "a.html", inputs).read_text()
