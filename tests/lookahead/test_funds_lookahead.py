"""Funds in a walk-forward: weights of each date are those that were known then."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from fund_market import make

from backtests import assert_no_lookahead, backtest
from backtests._identity import panel_hash
from engine import LookAheadError, MarketView, Portfolio
from engine.data.look_through import read_look_through
from engine.model import fit
from strategies import HoldWithCash, ShockAware

BOOK = {"acc0": 0.5, "pow0": 0.3, "F": 0.2}
NAMES = ("acc0", "acc1", "pow0", "nonJ0", "nonU0", "sof0", "F", "BOND")
ROWS = pd.DataFrame(
    [
        ("F", "role", "accelerator", 0.6, "2024-07-10", "sheet of July"),
        ("F", "role", "none", 0.3, "2024-07-10", "sheet of July"),
    ],
    columns=["fund", "kind", "label", "weight", "known_from", "document"],
)


@pytest.fixture(scope="module")
def panel():
    market = make(7)
    table = read_look_through(ROWS)
    return replace(market, universe=market.universe.with_look_through(table))


def rule(**options):
    return ShockAware(BOOK, 0.05, tickers=NAMES, upper=0.6, window=120, **options)


@pytest.mark.parametrize("hindsight", [False, True])
def test_the_future_of_prices_roles_and_documents_changes_no_decision(panel, hindsight):
    """Two dates before the document, one after."""
    dates = [panel.dates[i] for i in (255, 270, 295)]
    foil = HoldWithCash(BOOK, 0.05, tickers=NAMES, window=120)
    for strategy in (foil, rule()):
        if hindsight:
            assert_no_lookahead(strategy, panel, dates=dates, hindsight_parameters=True)
            continue
        early = panel.as_of(dates[0])  # a shock of 2025 at a date of 2024
        cash = Portfolio.from_weights({"CASH:USD": 1.0}, 1e6, "USD").priced(early)
        with pytest.raises(LookAheadError, match="not known at the date"):
            strategy.propose(early, cash)
    view = panel.as_of(dates[1], hindsight_parameters=True)
    assert rule().estimate(view).funds.get("F").method == "estimated"
    view = panel.as_of(dates[2], hindsight_parameters=True)
    assert rule().estimate(view).funds.get("F").method == "look-through"


def test_a_proposal_calls_a_fund_a_fund(panel):
    view = panel.as_of(panel.dates[270], hindsight_parameters=True)
    book = {"F": 0.6, "acc0": 0.4}
    held = Portfolio.from_weights(book, 1e6, "USD").priced(view)
    made = replace(rule(), book=book).propose(view, held)
    reasons = {t.ticker: t.reason for t in made.trades}
    assert reasons["F"].startswith("fund: loses ")
    assert reasons["acc0"].startswith("accelerator: loses ")


@dataclass(frozen=True)
class Clairvoyant(ShockAware):
    """Reads a document before its date."""

    documents: tuple = ()

    def estimate(self, view: MarketView):
        rows = pd.DataFrame(list(self.documents), columns=list(ROWS.columns))
        early = rows.assign(known_from="2024-01-02")
        return fit(view, tickers=NAMES, window=120, look_through=early)


def test_a_document_read_before_its_date_is_caught(panel):
    def careless(market):
        return Clairvoyant(
            BOOK,
            0.05,
            tickers=NAMES,
            upper=0.6,
            window=120,
            documents=market.universe.look_through,
        )

    with pytest.raises(LookAheadError, match="when the future is changed"):
        assert_no_lookahead(
            careless, panel, dates=[panel.dates[270]], hindsight_parameters=True
        )


def test_workers_estimate_the_same_funds(panel):
    """Models with fund tables travel between processes: the same bits."""
    options = {
        "start": panel.dates[256],
        "schedule": "monthly",
        "hindsight_parameters": True,
    }
    one = backtest(rule(), panel, **options)
    two = backtest(rule(), panel, executor="processes", n_jobs=2, **options)
    np.testing.assert_array_equal(one.value, two.value)
    assert len(one.decisions) >= 2


def test_funds_can_be_left_to_their_bands_and_that_changes_the_decision(panel):
    view = panel.as_of(panel.dates[270], hindsight_parameters=True)
    assert len(rule(funds="bands").estimate(view).funds) == 0
    seen, banded = (
        HoldWithCash(BOOK, 0.05, tickers=NAMES, window=120, funds=m)
        for m in ("estimated", "bands")
    )
    assert len(seen.estimate(view).funds) == 1
    assert len(banded.estimate(view).funds) == 0


def test_a_trial_is_another_one_with_other_documents_or_roles(panel):
    bare = replace(panel, universe=replace(panel.universe, look_through=()))
    role = ("network", *panel.universe.role[1:])
    other = replace(panel, universe=replace(panel.universe, role=role))
    share = panel.universe.ai_share.copy()
    share[0] = 0.5
    shares = replace(panel, universe=replace(panel.universe, ai_share=share))
    ids = {panel_hash(p) for p in (panel, bare, other, shares)}
    assert len(ids) == 4
    again = replace(panel, universe=replace(panel.universe))
    assert panel_hash(again) == panel_hash(panel)
