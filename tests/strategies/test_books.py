"""A dated rule names its book from the year before, and from nothing later."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtests import assert_no_lookahead, backtest
from engine import DataError, UsageError, load_panel
from strategies import HoldWithCash, LargestByDollarVolume

NAMES = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(3)
    dates = pd.bdate_range("2020-01-01", "2022-12-30")
    rows = []
    for i, name in enumerate(NAMES):
        price = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, dates.size)))
        # A and B lead in 2020; C takes over in 2021.
        base = np.where(
            dates.year == 2020, [9e6, 8e6, 1e6, 2e6][i], [9e6, 1e6, 8e6, 2e6][i]
        )
        for d, p, v in zip(dates, price, base / price, strict=True):
            rows.append((d, name, p, v, "USD"))
    frame = pd.DataFrame(
        rows, columns=["date", "ticker", "close", "volume", "currency"]
    )
    return load_panel(frame, price_basis="total_return")


def test_names_of_the_year_before(panel):
    rule = LargestByDollarVolume(NAMES, n=2, window=200)
    assert rule.at(panel.as_of("2021-06-01")) == {"A": 0.5, "B": 0.5}
    assert rule.at(panel.as_of("2022-01-03")) == {"A": 0.5, "C": 0.5}
    # The first day of 2021 knows no more than the last of 2020.
    assert rule.at(panel.as_of("2021-01-01")) == {"A": 0.5, "B": 0.5}


def test_refusals(panel):
    with pytest.raises(DataError, match="too few names have a full window"):
        LargestByDollarVolume(NAMES, n=2).at(panel.as_of("2020-06-01"))
    with pytest.raises(UsageError):
        LargestByDollarVolume(NAMES, n=0)
    bare = load_panel(
        pd.DataFrame(panel.prices, index=pd.DatetimeIndex(panel.dates), columns=NAMES),
        price_basis="total_return",
        currency="USD",
    )
    with pytest.raises(DataError, match="needs volumes"):
        LargestByDollarVolume(NAMES, n=2).at(bare.as_of("2022-06-01"))


class Followed:
    """Buys what the rule names."""

    name = "followed"
    rule = LargestByDollarVolume(NAMES, n=2, window=200)

    def estimate(self, view):
        return self.rule.at(view)

    def propose(self, view, portfolio, estimate=None):
        from engine.proposal import Proposal

        return Proposal.from_weights(portfolio, estimate or self.estimate(view))


def test_no_lookahead(panel):
    assert_no_lookahead(Followed(), panel, dates=["2021-03-01", "2022-02-01"])


def test_a_foil_follows_the_rule_when_names_change():
    names = ("NVDA", "AVGO", "MSFT", "PG", "JPM")
    panel = load_panel("reference", names, start="2021-06-01", end="2024-06-28")

    class Rule:
        def at(self, view):
            late = str(view.date) >= "2024-01-01"
            return {"AVGO": 1.0} if late else {"NVDA": 1.0}

    run = backtest(
        HoldWithCash(Rule(), 10.0, window=126),
        panel,
        start="2023-11-01",
        hindsight_parameters=True,
    )
    assert run.weights()[20, run.labels.index("NVDA")] > 0.99
    assert run.weights()[-1, run.labels.index("AVGO")] > 0.99
    assert run.weights()[-1, run.labels.index("NVDA")] < 1e-9
