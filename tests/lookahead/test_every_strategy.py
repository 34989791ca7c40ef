"""Every shipped strategy decides the same with another future, or with none."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import strategies
from backtests import assert_no_lookahead, backtest
from engine import CheapModelShock, Costs, LookAheadError, ModelError, load_panel
from engine.proposal import Proposal
from engine.shocks import from_toml
from strategies import (
    DriftBand,
    EqualWeight,
    FixedMix,
    HierarchicalRiskParity,
    Hold,
    HoldWithCash,
    HoldWithShort,
    HoldWithSwap,
    InverseVolatility,
    LargestByDollarVolume,
    MaximumDiversification,
    MinimumShortfall,
    MinimumVariance,
    Momentum,
    NoTradeRegion,
    RiskParity,
    ShockAware,
    ShockAwareMultiPeriod,
    StressTriggered,
    TargetWeights,
)

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "TLT", "RSP", "SMH")
BOOK = {"NVDA": 0.4, "AVGO": 0.3, "ANET": 0.2}
MIX = {"NVDA": 0.5, "TLT": 0.5}
HELD = NAMES[:7]
W = 120


def trailing(view):
    """A forecast from what the view shows, for the plan."""
    prices = view.panel.select(HELD).base_prices()
    gain = np.nan_to_num(prices[-1] / prices[-22] - 1.0)
    return dict(zip(HELD, (0.1 * gain).tolist(), strict=True))


def rule(**options):
    return ShockAware(BOOK, 0.08, tickers=NAMES, upper=0.5, window=W, **options)


DATES = ("2024-11-29", "2025-01-24", "2025-01-27", "2025-02-14", "2025-03-14")
WORST = from_toml('[[shock]]\nkind = "worst-case"\nradius = 2.0\n')
ROOT = LargestByDollarVolume(HELD, n=3, window=60)
CASES = {
    "DriftBand": [
        DriftBand(FixedMix(MIX), 0.02),
        DriftBand(MinimumVariance(HELD, window=W, upper=0.5), 0.1, relative=True),
    ],
    "EqualWeight": [EqualWeight(), EqualWeight(HELD, min_history=30)],
    "FixedMix": [FixedMix(MIX)],
    "HierarchicalRiskParity": [
        HierarchicalRiskParity(HELD, window=W),
        HierarchicalRiskParity(HELD, window=W, method="HERC"),
    ],
    "Hold": [Hold(), Hold(MIX)],
    "HoldWithCash": [HoldWithCash(BOOK, 0.08, tickers=NAMES, window=W)],
    "HoldWithShort": [HoldWithShort(BOOK, 0.08, tickers=NAMES, window=W)],
    "HoldWithSwap": [HoldWithSwap(BOOK, 0.08, tickers=NAMES, window=W)],
    "InverseVolatility": [InverseVolatility(HELD, window=W)],
    "LargestByDollarVolume": [
        ShockAware(ROOT, 0.08, tickers=NAMES, upper=0.5, window=W)
    ],
    "MaximumDiversification": [MaximumDiversification(HELD, window=W)],
    "MinimumShortfall": [MinimumShortfall(HELD, window=W, upper=0.5)],
    "MinimumVariance": [MinimumVariance(HELD, window=W, upper=0.5)],
    "Momentum": [Momentum(HELD, lookback=W, skip=10)],
    "NoTradeRegion": [NoTradeRegion(FixedMix(MIX)), NoTradeRegion(rule())],
    "RiskParity": [RiskParity(HELD, window=W)],
    "ShockAware": [
        rule(),
        rule(turnover=0.2, costs=Costs(impact=1.0)),
        rule(shock=(CheapModelShock(), *WORST), funds="bands"),
    ],
    "ShockAwareMultiPeriod": [
        ShockAwareMultiPeriod(
            BOOK, 0.08, tickers=NAMES, upper=0.5, window=W, steps=2, forecast=trailing
        )
    ],
    "StressTriggered": [StressTriggered(rule(), 0.05, window=W)],
    "TargetWeights": [
        TargetWeights(np.tile([0.6, 0.3], (len(DATES), 1)), DATES, ("NVDA", "TLT"))
    ],
}
NOT_A_RULE = {"Strategy", "is_decision", "BookIndependent", "Targets"}
FLAT = [
    pytest.param(case, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, case in enumerate(cases)
]


@pytest.fixture(scope="module")
def panel():
    """The reference market, small, with volumes of a generator."""
    found = load_panel("reference", NAMES).between("2024-03-01", "2025-03-31")
    volume = np.random.default_rng(0).uniform(1e6, 5e7, found.prices.shape)
    return replace(found, volume=volume, content_hash="")


def test_every_shipped_strategy_has_a_case():
    """A new strategy without one fails here."""
    assert set(CASES) == set(strategies.__all__) - NOT_A_RULE
    for name, cases in CASES.items():
        kinds = {type(c).__name__ for c in cases}
        assert kinds == {name} or name == "LargestByDollarVolume"


@pytest.mark.parametrize("strategy", FLAT)
def test_no_decision_depends_on_the_future(panel, strategy):
    """One date before the planted day of January 2025 and its shock's date."""
    assert_no_lookahead(
        strategy, panel, dates=["2025-01-24"], hindsight_parameters=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("strategy", FLAT)
def test_no_decision_depends_on_the_future_at_more_dates(panel, strategy):
    dates = ["2024-11-29", "2025-01-27", "2025-02-14", "2025-03-14"]
    for seed in (1, 2):
        assert_no_lookahead(
            strategy, panel, dates=dates, hindsight_parameters=True, seed=seed
        )


@pytest.mark.parametrize(
    "strategy", [EqualWeight(), Momentum(HELD, lookback=W, skip=10), rule()]
)
def test_a_whole_run_is_the_same_when_the_panel_ends_earlier(panel, strategy):
    """Truncation: fills, wealth and decisions to the last common session."""
    options = {"start": "2024-12-02", "hindsight_parameters": True}
    whole = backtest(strategy, panel, **options)
    short = backtest(strategy, panel.between(None, "2025-02-28"), **options)
    n = short.dates.size
    np.testing.assert_array_equal(whole.value[:n], short.value)
    np.testing.assert_array_equal(whole.units[:n], short.units)
    last = short.dates[-1]
    early = [[f for f in r.fills if f.date < last] for r in (whole, short)]
    assert early[0] == early[1] != []


def peeking(kind, panel):
    """Honest minimum variance, but for one thing."""

    class Peek(MinimumVariance):
        def estimate(self, view):
            model = super().estimate(view)
            row = {"tomorrow": view.panel.dates.size, "last": -1}.get(kind)
            if kind == "mean":
                scale = np.nanmean(panel.prices, axis=0)
            else:
                scale = panel.prices[min(row, panel.dates.size - 1)]
            self.__dict__["best"] = view.tickers[int(np.nanargmax(scale))]
            self.__dict__["size"] = float(np.nanmax(scale)) % 1.0
            return model

        def propose(self, view, portfolio, estimate=None):
            made = super().propose(view, portfolio, estimate)
            weights = {k: 0.5 * w for k, w in made.weights.items()}
            tilt = 0.25 + 0.25 * self.__dict__["size"]
            weights[self.__dict__["best"]] = (
                weights.get(self.__dict__["best"], 0) + tilt
            )
            weights["CASH:USD"] = weights.get("CASH:USD", 0.0) + 0.5 - tilt
            return Proposal.from_weights(portfolio, weights)

    return Peek(HELD, window=W, upper=0.5)


@pytest.mark.parametrize("kind", ["tomorrow", "last", "mean"])
def test_planted_peeks_in_a_shipped_strategy_are_caught(panel, kind):
    with pytest.raises(LookAheadError, match="decides differently"):
        assert_no_lookahead(
            lambda market: peeking(kind, market), panel, dates=["2025-01-24"]
        )
    with pytest.raises(LookAheadError, match="holds a panel of its own"):
        assert_no_lookahead(peeking(kind, panel), panel, dates=["2025-01-24"])


def test_prices_kept_as_a_frame_are_found(panel):
    class Kept(EqualWeight):
        pass

    cheater = Kept(HELD)
    object.__setattr__(cheater, "table", pd.DataFrame(panel.prices, columns=NAMES))
    with pytest.raises(LookAheadError, match="holds a panel of its own"):
        assert_no_lookahead(cheater, panel)


def test_a_strategy_that_does_not_repeat_itself_is_named_for_that(panel):
    class Dice:
        name = "dice"

        def __init__(self):
            self.rng = np.random.default_rng(0)

        def estimate(self, view):
            return None

        def propose(self, view, portfolio, estimate=None):
            w = float(self.rng.uniform())
            return Proposal.from_weights(portfolio, {"TLT": w, "CASH:USD": 1.0 - w})

    with pytest.raises(ModelError, match="'dice' is not deterministic") as caught:
        assert_no_lookahead(Dice(), panel, dates=["2025-01-24"])
    assert caught.value.date == "2025-01-24"
