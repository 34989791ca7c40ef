"""Every shipped strategy: truncated, shuffled and corrupted futures change nothing.

The list is taken from ``strategies.__all__``, so that a strategy that joins without a
case fails here. Each is also run with a planted peek, which must be caught: a check
that cannot fail would prove nothing.
"""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest

import strategies
from backtests import assert_no_lookahead
from engine import LookAheadError, load_panel
from strategies import EqualWeight, LargestByDollarVolume, ShockAware

TICKERS = ("NVDA", "AVGO", "VST", "MSFT", "JPM", "JNJ", "EFA", "RSP", "SMH", "TLT")
BOOK = {"NVDA": 0.4, "AVGO": 0.2, "VST": 0.2, "MSFT": 0.2}
DATES = ("2024-06-03", "2025-03-03")
COMMON = {"tickers": TICKERS, "window": 120}
LIMITED = {**COMMON, "limit": 0.10}

# Not strategies: what they are made of.
PARTS = {"Strategy", "is_decision", "LargestByDollarVolume"}

CASES = {
    "DriftBand": {"strategy": EqualWeight(TICKERS), "band": 0.01},
    "EqualWeight": {"tickers": TICKERS},
    "FixedMix": {"weights": {"NVDA": 0.5, "CASH:USD": 0.5}},
    "HierarchicalRiskParity": COMMON,
    "Hold": {"weights": {"NVDA": 0.5, "CASH:USD": 0.5}},
    "HoldWithCash": {**LIMITED, "book": BOOK},
    "HoldWithShort": {**LIMITED, "book": BOOK},
    "HoldWithSwap": {**LIMITED, "book": BOOK},
    "InverseVolatility": COMMON,
    "MaximumDiversification": COMMON,
    "MinimumShortfall": {**COMMON, "upper": 0.3},
    "MinimumVariance": {**COMMON, "upper": 0.3},
    "Momentum": {"tickers": TICKERS, "lookback": 60, "skip": 5},
    "NoTradeRegion": {"strategy": EqualWeight(TICKERS)},
    "RiskParity": COMMON,
    "ShockAware": {**LIMITED, "book": BOOK, "upper": 0.4},
    "ShockAwareMultiPeriod": {**LIMITED, "book": BOOK, "upper": 0.4, "steps": 2},
    "StressTriggered": {
        "strategy": ShockAware(BOOK, 0.10, upper=0.4, **COMMON),
        "limit": 0.10,
        "window": 120,
    },
}


def shipped() -> list[str]:
    return [n for n in strategies.__all__ if n not in PARTS and n[0].isupper()]


@pytest.fixture(scope="module")
def panel():
    return load_panel("reference", TICKERS, start="2023-06-01")


def make(name):
    options = dict(CASES[name])
    kind = getattr(strategies, name)
    names = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in options.items() if k in names})


@pytest.mark.parametrize("name", shipped())
def test_no_future_changes_a_decision(name, panel):
    assert name in CASES, f"give {name} a case here"
    assert set(CASES[name]) <= {f.name for f in fields(getattr(strategies, name))}
    assert_no_lookahead(make(name), panel, dates=DATES, hindsight_parameters=True)


def peeking(inner, table):
    """The strategy, shown a price that it could not know on one of its assets."""
    kind = type(inner)

    class Peeking(kind):  # type: ignore[misc, valid-type]
        def propose(self, view, portfolio, estimate=None):
            made = super().propose(view, portfolio, estimate)
            row = np.searchsorted(table.dates, view.date) + 1
            move = float(table.prices[row, 0] / table.prices[row - 1, 0] - 1.0)
            # A millionth of tomorrow's return: too small to see by eye.
            tilt = np.zeros(made.target.size)
            tilt[:2] = 1e-6 * move, -1e-6 * move
            return replace(made, target=made.target + tilt)

    made = object.__new__(Peeking)
    values = fields(inner) if is_dataclass(inner) else ()
    for f in values:
        object.__setattr__(made, f.name, getattr(inner, f.name))
    return made


@pytest.mark.parametrize("name", ["EqualWeight", "Hold", "Momentum", "RiskParity"])
def test_a_planted_peek_is_caught(name, panel):
    def factory(shown):
        return peeking(make(name), shown)

    with pytest.raises(LookAheadError):
        assert_no_lookahead(factory, panel, dates=DATES, hindsight_parameters=True)


def test_a_dated_book_reads_only_the_past(panel):
    rng = np.random.default_rng(0)
    shape = panel.prices.shape
    traded = replace(panel, volume=rng.uniform(1e5, 1e7, shape))
    book = LargestByDollarVolume(TICKERS[:6], n=3, window=60)
    rule = ShockAware(book, 0.10, upper=0.6, **COMMON)
    assert_no_lookahead(rule, traded, dates=DATES, hindsight_parameters=True)
