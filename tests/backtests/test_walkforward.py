"""The walk-forward loop: identities on random markets, timing, errors, agreement."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests._simulate import simulate_weights
from backtests.clock import market
from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data.load import load_panel
from engine.data.panel import PricePanel, Status
from engine.data.portfolio import Portfolio
from engine.data.universe import Universe
from engine.errors import (
    DataError,
    InfeasibleError,
    LookAheadError,
    ModelError,
    SolverError,
    UsageError,
)
from engine.proposal import Outcome, Proposal
from strategies.equal import EqualWeight
from strategies.hold import Hold

FREE = Costs(half_spread_bps=0.0)


def random_market(seed, T=60, N=5, *, gaps=True, basis="total_return"):
    """Three venues with their own holidays, two foreign currencies, cash rates."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 80 * np.exp(np.cumsum(rng.normal(0, 0.03, (T, N)), axis=0))
    venues = tuple(("NYSE", "KRX", "LSE")[i % 3] for i in range(N))
    if gaps:
        for venue in set(venues):
            shut = rng.random(T) < 0.1
            shut[0] = False
            prices[np.ix_(shut, [v == venue for v in venues])] = np.nan
        prices[1:][rng.random((T - 1, N)) < 0.03] = np.nan
    currency = tuple(("USD", "KRW", "GBP")[i % 3] for i in range(N))
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            tuple(f"A{i}" for i in range(N)), venue=venues, quote_currency=currency
        ),
        price_basis=basis,
        base_currency="USD",
        fx_currencies=("KRW", "GBP"),
        fx=np.exp(rng.normal(0, 0.01, (T, 2)).cumsum(axis=0)) * [0.0008, 1.3],
        cash_currencies=("USD",),
        cash_rates=np.full((T, 1), 0.04),
        open=prices * np.exp(rng.normal(0, 0.005, (T, N))),
    )


@dataclasses.dataclass(frozen=True)
class RandomWeights:
    """Weights drawn from the date alone."""

    seed: int = 0
    short: bool = False
    name: str = "random"

    def estimate(self, view):
        return np.random.default_rng([self.seed, int(view.date.astype(int))])

    def propose(self, view, portfolio, estimate=None):
        priced = np.isfinite(view.panel.prices).any(axis=0)
        w = estimate.dirichlet(np.ones(priced.sum() + 1))
        if self.short:
            w[:-1] = 1.3 * w[:-1] - 0.06
            w[-1] = 1 - w[:-1].sum()
        tickers = [t for t, p in zip(view.tickers, priced, strict=True) if p]
        return Proposal.from_weights(
            portfolio, dict(zip([*tickers, "CASH:USD"], map(float, w), strict=True))
        )


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    fill=st.sampled_from(["next_close", "next_open", "same_close"]),
    schedule=st.sampled_from(["daily", "weekly", "monthly"]),
    basis=st.sampled_from(["raw", "total_return"]),
    short=st.booleans(),
    taxed=st.booleans(),
)
def test_the_ledger_balances(seed, fill, schedule, basis, short, taxed):
    panel = random_market(seed, basis=basis)
    book = None
    if taxed:
        book = Portfolio(
            assets=("A0", "A1"),
            units=np.array([100.0, 50_000.0]),
            money=np.full(2, np.nan),
            stated=("shares",) * 2,
            cash=(("USD", 9_000.0), ("GBP", 3_000.0)),
            cost_basis=np.array([50.0, 60.0]),
            tax_rate=np.array([0.2, 0.1]),
        )
    r = backtest(
        RandomWeights(seed, short),
        panel,
        schedule=schedule,
        costs=Costs(half_spread_bps=8, fx_bps=3, minimum_commission=1.0),
        portfolio=book,
        fill=fill,
        delisting_return=0.0,
    )
    np.testing.assert_allclose(r.value, r.cash + r.money.sum(axis=1), rtol=1e-12)
    change = np.diff(np.concatenate([[r.initial_value], r.value]))
    parts = r.price_pnl + r.fx_pnl + r.interest - r.costs - r.taxes
    np.testing.assert_allclose(change, parts, rtol=1e-6, atol=1e-6 * r.value.max())
    np.testing.assert_allclose(r.weights().sum(axis=1), 1.0, rtol=1e-12)
    assert r.costs.sum() == pytest.approx(sum(f.cost for f in r.fills), rel=1e-12)
    assert r.taxes.sum() == pytest.approx(sum(f.tax for f in r.fills), rel=1e-12)
    for name in ("costs", "taxes", "turnover"):
        assert (getattr(r, name) >= 0).all()
    if not short:
        assert r.cash.min() >= 0.0
        assert r.units.min() >= 0.0
    if fill != "same_close":
        assert all(f.date > f.decided for f in r.fills if f.units)
    if basis == "raw" and book is None and not short:
        np.testing.assert_array_equal(r.units[:, :5], np.round(r.units[:, :5]))
    # Units are the running sum of what was filled.
    held = dict.fromkeys(r.labels, 0.0)
    if book is not None:
        held |= {"A0": 100.0, "A1": 50_000.0, "CASH:GBP": 3_000.0}
    for f in r.fills:
        held[f.ticker] = held.get(f.ticker, 0.0) + f.units
    np.testing.assert_allclose(
        [held[k] for k in r.labels], r.units[-1], rtol=1e-9, atol=1e-7
    )


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_free_buy_and_hold_is_the_price_ratio(seed):
    panel = random_market(seed, gaps=False)
    panel = dataclasses.replace(panel, cash_currencies=(), content_hash="")
    weights = {"A0": 0.3, "A1": 0.2, "A2": 0.1, "CASH:USD": 0.4}
    r = backtest(Hold(weights), panel, schedule="once", costs=FREE, fill="same_close")
    P = panel.base_prices()[:, :3]
    expected = 0.4 + (np.array([0.3, 0.2, 0.1]) * P / P[0]).sum(axis=1)
    np.testing.assert_allclose(r.value / 1e6, expected, rtol=1e-12)


@pytest.fixture(scope="module")
def plain():
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2022-01-03", periods=300)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (300, 6)), axis=0))
    frame = pd.DataFrame(values, index=index, columns=list("ABCDEF"))
    return load_panel(frame, price_basis="total_return", currency="USD")


@pytest.mark.parametrize("schedule", ["daily", "monthly"])
def test_agrees_with_simulate_weights(plain, schedule):
    options = {"schedule": schedule, "fill": "same_close"}
    free = backtest(EqualWeight(), plain, costs=FREE, **options)
    targets = np.full(plain.prices.shape, np.nan)
    rows = np.searchsorted(plain.dates, [d.date for d in free.decisions])
    targets[rows] = 1 / 6
    arrays = simulate_weights(plain.prices, targets)
    np.testing.assert_allclose(free.value / 1e6, arrays.value, rtol=1e-11)
    # With costs, the kernel lands on the targets exactly and the broker cuts
    # purchases; the difference is of second order in the cost.
    r = backtest(EqualWeight(), plain, costs=Costs(half_spread_bps=10), **options)
    arrays = simulate_weights(plain.prices, targets, 0.001)
    np.testing.assert_allclose(r.value / 1e6, arrays.value, rtol=3e-4)
    np.testing.assert_allclose(r.turnover[1:], arrays.turnover[1:], atol=2e-3)


@pytest.mark.parametrize("fill", ["next_close", "next_open", "same_close"])
def test_the_future_changes_nothing_earlier(fill):
    panel = random_market(11, T=80)
    cut = 50
    rng = np.random.default_rng(0)
    tables = {
        name: np.array(getattr(panel, name))
        for name in ("prices", "open", "fx", "cash_rates")
    }
    for table in tables.values():
        table[cut:] *= np.exp(rng.normal(0, 0.3, table[cut:].shape))
    other = dataclasses.replace(panel, content_hash="", **tables)
    options = {"schedule": "weekly", "fill": fill}
    a = backtest(EqualWeight(), panel, **options)
    b = backtest(EqualWeight(), other, **options)
    short = backtest(
        EqualWeight(), panel.between(None, panel.dates[cut - 1]), **options
    )
    for name in ("value", "cash", "units", "costs", "turnover", "interest"):
        first = getattr(a, name)[:cut]
        np.testing.assert_array_equal(first, getattr(b, name)[:cut])
        np.testing.assert_array_equal(first, getattr(short, name))
    assert not np.array_equal(a.value[cut:], b.value[cut:])
    last = panel.dates[cut - 1]
    assert [f for f in a.fills if f.date <= last and f.units] == [
        f for f in b.fills if f.date <= last and f.units
    ]


def test_delisting_is_seen_exactly_when_a_view_sees_it():
    panel = random_market(4, T=60)
    prices = np.array(panel.prices)
    prices[20:, 0] = np.nan
    prices[30:, 4] = np.nan
    panel = dataclasses.replace(panel, prices=prices, content_hash="")
    rows = np.arange(60)
    got = market(panel, rows).delisted[:, :5]
    expected = [
        panel.as_of(d).panel.status()[-1] == Status.DELISTED for d in panel.dates
    ]
    assert np.array(expected).any()
    np.testing.assert_array_equal(got, expected)


def test_first_session_of_the_range_decides_and_the_range_is_inclusive(plain):
    r = backtest(EqualWeight(), plain, start="2022-02-12", end="2022-05-13")
    assert str(r.dates[0]) == "2022-02-14"
    assert str(r.dates[-1]) == "2022-05-13"
    assert [str(d.date) for d in r.decisions] == [
        "2022-02-14",
        "2022-03-01",
        "2022-04-01",
        "2022-05-02",
    ]
    assert r.value[0] == r.initial_value == 1e6


def test_periods_per_year_come_from_the_dates(plain):
    r = backtest(EqualWeight(), plain)
    assert r.periods_per_year == pytest.approx(261, abs=1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"start": "2021-01-01"}, DataError, "start lies outside the prices"),
        ({"end": "2031-01-01"}, DataError, "end lies outside the prices"),
        ({"start": "2022-06-01", "end": "2022-05-01"}, DataError, "after end"),
        ({"start": "2022-02-12", "end": "2022-02-13"}, DataError, "no session"),
        ({"schedule": "hourly"}, UsageError, "unknown schedule"),
        ({"schedule": ["2022-02-12"]}, DataError, "not a session"),
        ({"fill": "yesterday"}, UsageError, "unknown fill"),
        ({"fill": "next_open"}, DataError, "opening prices"),
        ({"fallback": "pray"}, UsageError, "unknown fallback"),
        ({"delisting_return": -1.5}, UsageError, "at least -1"),
        ({"initial_value": 0.0}, UsageError, "must be positive"),
    ],
)
def test_bad_options_are_refused(plain, options, error, words):
    with pytest.raises(error, match=words):
        backtest(EqualWeight(), plain, **options)


class Odd:
    """Equal weights until its turn comes to misbehave."""

    name = "odd"

    def __init__(self, act, at="2022-03-01", where="propose"):
        self.act, self.at, self.where = act, np.datetime64(at), where

    def estimate(self, view):
        if self.where == "estimate" and view.date == self.at:
            self.act(view, None)

    def propose(self, view, portfolio, estimate=None):
        if self.where == "propose" and view.date == self.at:
            return self.act(view, portfolio)
        return EqualWeight().propose(view, portfolio)


def raising(error):
    def act(view, portfolio):
        raise error

    return act


def proposing(weights):
    def act(view, portfolio):
        return Proposal.from_weights(portfolio, weights)

    return act


def unheld(view, portfolio):
    return Proposal(labels=("A",), current=np.ones(1), target=np.ones(1))


@pytest.mark.parametrize("where", ["estimate", "propose"])
@pytest.mark.parametrize(
    "error", [InfeasibleError("caps conflict", conflict=("a",)), SolverError("died")]
)
def test_infeasible_limits_hold_the_book_and_say_so(plain, where, error):
    strategy = Odd(raising(error), where=where)
    r = backtest(strategy, plain)
    held = [d for d in r.decisions if d.proposal is None]
    assert [str(d.date) for d in held] == ["2022-03-01"]
    assert held[0].outcome == Outcome.HELD.name
    assert error.problem in held[0].message
    assert not [f for f in r.fills if f.decided == np.datetime64("2022-03-01")]
    assert r.metrics()["held_decisions"] == 1
    with pytest.raises(type(error), match=r"strategy 'odd'.*2022-03-01") as caught:
        backtest(strategy, plain, fallback="raise")
    if isinstance(error, InfeasibleError):
        assert caught.value.conflict == ("a",)


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (raising(ZeroDivisionError("oops")), ModelError, "ZeroDivisionError: oops"),
        (raising(LookAheadError("too early")), LookAheadError, "too early"),
        (proposing({"A": float("nan")}), DataError, "not a number; at asset A"),
        (proposing({"A": 0.7}), DataError, "do not sum to one"),
        (proposing({"ZZZ": 1.0}), DataError, "do not have; at asset ZZZ"),
        (proposing({"CASH:JPY": 1.0}), DataError, "CASH:JPY"),
        (unheld, DataError, "leaves out a holding; at asset B"),
        (lambda view, portfolio: {"A": 1.0}, ModelError, "did not return a proposal"),
    ],
)
def test_bad_proposals_name_strategy_and_date(plain, act, error, words):
    with pytest.raises(error, match=words) as caught:
        backtest(Odd(act), plain)
    assert "strategy 'odd'" in str(caught.value)
    assert "2022-03-01" in str(caught.value)


def test_an_asset_without_a_price_yet_cannot_be_bought(plain):
    prices = np.array(plain.prices)
    prices[:100, 2] = np.nan
    panel = dataclasses.replace(plain, prices=prices, content_hash="")
    with pytest.raises(DataError, match="no price yet; at asset C"):
        backtest(Hold({"C": 1.0}), panel)
    assert backtest(EqualWeight(), panel).units[:100, 2].max() == 0.0


def test_a_missing_exchange_rate_is_an_error_only_while_it_matters():
    panel = random_market(2, gaps=False)
    fx = np.array(panel.fx)
    fx[30:, 1] = np.nan
    panel = dataclasses.replace(panel, fx=fx, content_hash="")
    backtest(EqualWeight(("A0", "A1")), panel)
    with pytest.raises(DataError, match="no exchange rate; at asset A2, date 2023-02"):
        backtest(EqualWeight(("A0", "A2")), panel)


def test_stamps_say_what_was_assumed(plain):
    synthetic = dataclasses.replace(plain, synthetic=True)
    r = backtest(EqualWeight(), synthetic, fill="same_close", hindsight_parameters=True)
    assert r.stamps[:3] == (
        "SYNTHETIC prices",
        "hindsight parameters",
        "same-bar fills",
    )
    assert "SYNTHETIC" in repr(r)
    assert backtest(EqualWeight(), plain).stamps == (
        "cash earns nothing: no cash rate given",
    )


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_any_executor_gives_the_same_bits(plain, executor):
    a = backtest(RandomWeights(3), plain, schedule="weekly")
    if executor == "processes":  # a class of a test module is not importable there
        a = backtest(EqualWeight(), plain, schedule="weekly")
        b = backtest(
            EqualWeight(), plain, schedule="weekly", executor=executor, n_jobs=2
        )
    else:
        b = backtest(
            RandomWeights(3), plain, schedule="weekly", executor=executor, n_jobs=2
        )
    assert a.trial_id == b.trial_id
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.units, b.units)


def test_thread_limits_do_not_outlive_a_run(plain):
    import threadpoolctl

    def limits():
        return [p["num_threads"] for p in threadpoolctl.threadpool_info()]

    before = limits()
    with pytest.raises(ModelError):
        backtest(Odd(raising(KeyError("x"))), plain)
    backtest(EqualWeight(), plain)
    assert limits()[: len(before)] == before


def test_trial_id_tells_trials_apart(plain):
    base = backtest(EqualWeight(), plain, schedule="once").trial_id
    assert base == backtest(EqualWeight(), plain, schedule="once").trial_id
    others = [
        backtest(EqualWeight(name="other"), plain, schedule="once"),
        backtest(EqualWeight(), plain.select(list("ABCDE")), schedule="once"),
        backtest(EqualWeight(), plain, schedule="yearly"),
        backtest(EqualWeight(), plain, schedule="once", costs=FREE),
        backtest(EqualWeight(), plain, schedule="once", initial_value=2.0),
        backtest(EqualWeight(), plain, schedule="once", end=plain.dates[-2]),
    ]
    assert len({base, *(r.trial_id for r in others)}) == 7


def test_progress_is_told_of_every_decision(plain):
    calls = []
    r = backtest(EqualWeight(), plain, progress=lambda *call: calls.append(call))
    assert len(calls) == len(r.decisions)
    assert calls[-1] == (len(calls), len(calls), "2023-02-01 RULE")


def test_a_ticker_that_looks_like_cash_is_refused():
    panel = PricePanel(
        dates=np.array(["2024-01-01"], "datetime64[D]"),
        prices=np.ones((1, 1)),
        universe=Universe(("CASH:USD",), quote_currency=("USD",)),
        price_basis="raw",
        base_currency="USD",
    )
    with pytest.raises(DataError, match="cash label"):
        backtest(Hold(), panel)


def test_a_book_that_loses_everything_is_an_error():
    panel = PricePanel(
        dates=np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "datetime64[D]"),
        prices=np.array([[100.0], [100.0], [20.0]]),
        universe=Universe(("A",), quote_currency=("USD",)),
        price_basis="total_return",
        base_currency="USD",
    )
    with pytest.raises(ModelError, match="lost everything; at date 2024-01-03"):
        backtest(Hold({"A": 2.0, "CASH:USD": -1.0}), panel)
