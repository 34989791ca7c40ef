"""Strategies that look ahead are caught; those that do not pass."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from backtests._lookahead import _futures, assert_no_lookahead
from engine.data.panel import PricePanel
from engine.data.universe import Universe
from engine.errors import DataError, LookAheadError, ModelError
from engine.proposal import Proposal
from strategies.equal import EqualWeight
from strategies.hold import Hold


def make_panel(seed=0, T=120, N=6):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    prices[:70, 5] = np.nan
    prices[40:, 4] = np.nan
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            tuple(f"A{i}" for i in range(N)),
            venue=("NYSE", "KRX", "NYSE", "KRX", "NYSE", "NYSE"),
            quote_currency=("USD", "KRW", "USD", "KRW", "USD", "USD"),
            listed_until=np.array(["NaT"] * 3 + ["2023-06-01"] * 3, "datetime64[D]"),
        ),
        price_basis="total_return",
        base_currency="USD",
        fx_currencies=("KRW",),
        fx=0.0008 * np.exp(rng.normal(0, 0.01, (T, 1)).cumsum(axis=0)),
        cash_currencies=("USD",),
        cash_rates=np.linspace(0.01, 0.05, T)[:, None],
        volume=rng.uniform(1e5, 1e6, (T, N)),
    )


PANEL = make_panel()


class Momentum:
    """Holds the asset that did best over twenty sessions of some table of prices."""

    name = "momentum"

    def __init__(self, prices_of=lambda view: view.panel.prices):
        self.prices_of = prices_of

    def estimate(self, view):
        prices = self.prices_of(view)[:, :4]
        return prices[-1] / prices[-20] - 1

    def propose(self, view, portfolio, estimate=None):
        best = view.tickers[int(np.argmax(estimate))]
        return Proposal.from_weights(portfolio, {best: 1.0})


@pytest.mark.parametrize(
    "strategy",
    [
        Hold(),
        Hold({"A0": 0.5, "A1": 0.25, "CASH:USD": 0.25}),
        EqualWeight(),
        EqualWeight(("A0", "A3"), min_history=10),
        Momentum(),
        lambda panel: EqualWeight(panel.tickers[:3]),
    ],
)
def test_honest_strategies_pass(strategy):
    assert_no_lookahead(strategy, PANEL)


def test_every_decision_of_a_long_list_is_checked():
    assert_no_lookahead(EqualWeight(), PANEL, dates=list(PANEL.dates[:-1:10]), seed=3)


def test_a_strategy_that_holds_the_panel_is_refused():
    for field in (PANEL, PANEL.prices, PANEL.prices.copy(), PANEL.volume[:, :2]):
        cheater = Momentum()
        cheater.table = field
        with pytest.raises(LookAheadError, match="holds a panel of its own"):
            assert_no_lookahead(cheater, PANEL)
    with pytest.raises(LookAheadError, match="holds a panel of its own"):
        assert_no_lookahead(Momentum(lambda view: PANEL.prices), PANEL)  # a global

    def make(panel):
        return Momentum(lambda view: panel.prices)

    with pytest.raises(LookAheadError, match="holds a panel of its own"):
        assert_no_lookahead(make(PANEL), PANEL)


@pytest.mark.parametrize(
    "table",
    [
        lambda panel: panel.prices,  # the last rows, whatever the date
        lambda panel: np.cumsum(panel.prices[::-1, :4], axis=0),
        lambda panel: panel.fx * np.ones(4) * panel.prices[:, :4],
    ],
)
def test_a_factory_that_captures_the_panel_is_caught(table):
    def make(panel):
        values = table(panel)
        return Momentum(lambda view: values)

    with pytest.raises(LookAheadError, match="strategy 'momentum'") as caught:
        assert_no_lookahead(make, PANEL)
    assert caught.value.asset.startswith("A")
    assert caught.value.date is not None
    assert "weights" in str(caught.value)


def test_peeking_one_row_ahead_is_caught():
    def make(panel):
        return Momentum(lambda view: panel.prices[: view.panel.dates.size + 1])

    with pytest.raises(LookAheadError, match="decides differently"):
        assert_no_lookahead(make, PANEL)


@dataclasses.dataclass
class Fixed:
    """Puts everything into one asset that its maker chose."""

    ticker: str
    name: str = "fixed"

    def estimate(self, view):
        return None

    def propose(self, view, portfolio, estimate=None):
        return Proposal.from_weights(portfolio, {self.ticker: 1.0})


@pytest.mark.parametrize(
    "score",
    [
        lambda p: p.prices[-1, :4] / p.prices[0, :4],
        lambda p: p.volume[:, :4].sum(axis=0),
        lambda p: (
            np.array([1.0, float(len(p.dates) == 120), 0.5, 0.0]) - [0, 0.5, 0, 0]
            if len(p.dates) == 120
            else np.array([0.0, 1.0, 0.0, 0.0])
        ),
        lambda p: np.array([p.cash_rates[-1, 0], 0.05 - 1e-9, 0.0, 0.0]),
        lambda p: (
            np.array([0.0, 0.5, 0.1, 1.0])
            if np.isnat(p.universe.listed_until[3])
            else np.array([0.0, 1.0, 0.0, 0.0])
        ),
    ],
    ids=["returns", "volume", "length", "cash rate", "listing end"],
)
def test_choices_made_with_the_whole_sample_are_caught(score):
    def make(panel):
        return Fixed(panel.tickers[int(np.argmax(score(panel)))])

    with pytest.raises(LookAheadError, match="strategy 'fixed'"):
        assert_no_lookahead(make, PANEL, seed=1)


def test_an_error_that_depends_on_the_future_is_caught():
    def make(panel):
        strategy = EqualWeight(min_history=int(panel.prices[-1, 0] * 1000))
        return strategy

    def lenient(panel):
        honest = EqualWeight()
        stop = panel.prices[-1, 0] != PANEL.prices[-1, 0]

        class Picky(Momentum):
            name = "picky"

            def propose(self, view, portfolio, estimate=None):
                if stop:
                    raise ModelError("it will end badly")
                return honest.propose(view, portfolio)

        return Picky()

    with pytest.raises(LookAheadError, match="a proposal and ModelError"):
        assert_no_lookahead(lenient, PANEL)
    with pytest.raises(LookAheadError):
        assert_no_lookahead(make, PANEL)


def test_a_strategy_that_never_decides_is_not_called_clean():
    with pytest.raises(ModelError, match="no asset can be traded"):
        assert_no_lookahead(EqualWeight(min_history=10_000), PANEL)


@pytest.mark.parametrize(
    "moment", ["2023-04-12", "2023-04-12T10:00", "2023-04-12T21:30"]
)
def test_the_corrupted_panel_shows_the_same_view(moment):
    view = PANEL.as_of(moment)
    kinds = _futures(PANEL, view, moment, (0, 0))
    assert len(kinds) == (3 if moment == "2023-04-12" else 2)
    for _, other in kinds:
        seen = other.as_of(moment).panel
        for name in ("dates", "prices", "fx", "cash_rates", "volume"):
            np.testing.assert_array_equal(
                getattr(seen, name), getattr(view.panel, name)
            )
        if other.dates.size == PANEL.dates.size:
            last = PANEL.dates.size - 1
            assert not np.array_equal(other.prices[last], PANEL.prices[last])


def test_moments_within_a_day_respect_each_venue():
    # At ten in the morning UTC Seoul has closed, New York has not.
    def make(panel):
        row = int(np.searchsorted(panel.dates, np.datetime64("2023-04-12")))
        return Fixed(
            "A0"
            if panel.prices[row, 0] > PANEL.prices[row, 0] - 1e-9
            and panel.prices[row, 0] < PANEL.prices[row, 0] + 1e-9
            else "A1"
        )

    assert_no_lookahead(make, PANEL, dates=["2023-04-12T21:30"])
    with pytest.raises(LookAheadError):
        assert_no_lookahead(make, PANEL, dates=["2023-04-12T10:00"])


def test_a_date_without_a_future_is_refused():
    with pytest.raises(DataError, match="no future"):
        assert_no_lookahead(EqualWeight(), PANEL, dates=[PANEL.dates[-1]])
    with pytest.raises(DataError, match="no future"):
        assert_no_lookahead(EqualWeight(), PANEL.between(end=PANEL.dates[0]))


def test_minimum_variance_passes():
    from strategies.min_variance import MinimumVariance

    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2022-01-03", periods=160).to_numpy()
    panel = PricePanel(
        dates=dates.astype("datetime64[D]"),
        prices=100 * np.exp(np.cumsum(rng.normal(0, 0.01, (160, 6)), axis=0)),
        universe=Universe(tuple("ABCDEF"), quote_currency=("USD",) * 6),
        price_basis="total_return",
        base_currency="USD",
    )
    strategy = MinimumVariance(upper=0.5, window=60)
    assert_no_lookahead(strategy, panel, dates=[dates[100], dates[130]])


panel = PANEL  # what a notebook calls it, beside the strategy it defines


class ReadsItsView:
    """Honest: ``view.panel`` is no reading of the module's ``panel``."""

    name = "honest"

    def estimate(self, view):
        return view.panel.prices[-1, :4]

    def propose(self, view, portfolio, estimate=None):
        return Proposal.from_weights(portfolio, {"A0": 1.0})


class ReadsTheModule(ReadsItsView):
    name = "peeking"

    def estimate(self, view):
        return panel.prices[-1, :4]


def test_only_a_global_that_is_read_gives_a_strategy_away():
    assert_no_lookahead(ReadsItsView(), PANEL)
    with pytest.raises(LookAheadError, match="holds a panel of its own"):
        assert_no_lookahead(ReadsTheModule(), PANEL)
