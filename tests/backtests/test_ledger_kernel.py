"""The kernel against the plain-Python ledger, on markets with every friction."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_broker import reference_backtest

from backtests import backtest
from backtests.broker import Broker
from backtests.clock import market, timeline
from backtests.fills import WORDS
from backtests.ledger import COLUMNS, Ledger
from engine.costs import Costs
from engine.data.actions import CorporateActions
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.data.universe import Universe
from engine.errors import DataError, ModelError
from engine.kernels import ledger as kernel
from engine.proposal import Proposal
from strategies import TargetWeights

N = 5
TICKERS = tuple(f"A{i}" for i in range(N))


@functools.cache
def friction_market(seed, basis, T=45):
    """Two currencies, three venues, holidays, halts, splits, dividends, exits."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 80 * np.exp(np.cumsum(rng.normal(0, 0.03, (T, N)), axis=0))
    venues = ("NYSE", "LSE", "NYSE", "LSE", "KRX")
    for venue in sorted(set(venues)):
        shut = rng.random(T) < 0.1
        shut[0] = False
        prices[np.ix_(shut, np.array([v == venue for v in venues]))] = np.nan
    prices[1:][rng.random((T - 1, N)) < 0.04] = np.nan
    last = {}
    rows = []
    if rng.random() < 0.7:
        end = int(rng.integers(20, 35))
        prices[end:, 4] = np.nan
        last["A4"] = end
        kind = ("merger", "delisting", "")[int(rng.integers(3))]
        if kind == "merger":
            rows.append((dates[end - 1], "A4", kind, 11.0, "A2", "", 0.37))
        elif kind:
            rows.append((dates[end - 1], "A4", kind, 40.0, "", "", np.nan))
    if basis != "total_return":
        for i, t in ((0, 9), (1, 15), (2, 22), (0, 30)):
            rows.append((dates[t], TICKERS[i], "dividend", 0.9, "", "", np.nan))
    if basis == "raw":
        for i, t, ratio in ((0, 12, 3.0), (3, 25, 1.5)):
            rows.append((dates[t], TICKERS[i], "split", ratio, "", "", np.nan))
            prices[t:, i] /= ratio
    actions = None
    if rows:
        names = ("date", "ticker", "kind", "value", "other_ticker", "currency", "ratio")
        frame = pd.DataFrame(rows, columns=list(names))
        paid = "as_paid" if basis == "raw" else "split_adjusted"
        actions = CorporateActions.from_frame(frame, dividend_basis=paid)
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            TICKERS,
            venue=venues,
            quote_currency=("USD", "EUR", "USD", "EUR", "USD"),
            country=("US", "DE", "US", "DE", "KR"),
        ),
        price_basis=basis,
        base_currency="USD",
        fx_currencies=("EUR",),
        fx=np.exp(rng.normal(0, 0.01, (T, 1)).cumsum(axis=0)) * 1.1,
        cash_currencies=("USD", "EUR"),
        cash_rates=np.tile([0.04, 0.02], (T, 1)),
        open=prices * np.exp(rng.normal(0, 0.005, (T, N))),
        volume=np.full((T, N), 2000.0) * np.exp(rng.normal(0, 0.2, (T, N))),
        actions=actions,
    )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Weights drawn from the date alone, over what can still be traded."""

    seed: int = 0
    short: bool = False
    name: str = "drawn"

    def estimate(self, view):
        return None

    def propose(self, view, portfolio, estimate=None):
        rng = np.random.default_rng([self.seed, int(view.date.astype(int))])
        can = view.tradable()
        w = rng.dirichlet(np.ones(can.size + 1))
        if self.short:
            w = 1.4 * w - 0.4 / w.size
        target = dict(zip(view.tickers, np.where(can, w[:-1], 0.0), strict=True))
        target["CASH:USD"] = 1.0 - sum(target.values())
        return Proposal.from_weights(portfolio, target)


def opening_book(taxed):
    if not taxed:
        return None
    return Portfolio(
        assets=("A0", "A1"),
        units=np.array([1000.0, 500.0]),
        money=np.full(2, np.nan),
        stated=("shares",) * 2,
        cash=(("USD", 9_000.0), ("EUR", 3_000.0)),
        cost_basis=np.array([50.0, 60.0]),
        tax_rate=np.array([0.2, 0.1]),
    )


def check_against_reference(strategy, panel, *, fill, **options):
    """Same ledger, same fills; cash and positions make the value, and its changes."""
    r = backtest(strategy, panel, fill=fill, **options)
    slow = reference_backtest(strategy, panel, fill_rule=fill, **options)
    shown = [slow.column(label) for label in r.labels]
    scale = float(r.value.max())
    for name in COLUMNS:
        unit = 1.0 if name in ("turnover", "cash_return") else scale
        np.testing.assert_allclose(
            getattr(r, name), slow.columns[name], rtol=1e-10, atol=1e-12 * unit
        )
    np.testing.assert_allclose(
        r.units, slow.unit_rows[:, shown], rtol=1e-10, atol=1e-12 * scale
    )
    np.testing.assert_allclose(
        r.money, slow.money_rows[:, shown], rtol=1e-10, atol=1e-12 * scale
    )
    assert len(r.fills) == len(slow.fills)
    for mine, other in zip(r.fills, slow.fills, strict=True):
        assert mine[:3] == other[:3] and mine.status == other.status
        np.testing.assert_allclose(mine[3:9], other[3:9], rtol=1e-9, atol=1e-12 * scale)
    held = r.cash + r.money.sum(axis=1)
    np.testing.assert_allclose(r.value, held, rtol=1e-13)
    change = np.diff(np.concatenate([[r.initial_value], r.value]))
    parts = r.price_pnl + r.fx_pnl + r.interest + r.dividends - r.costs - r.taxes
    np.testing.assert_allclose(change, parts, atol=1e-9 * scale)
    # A session's rows of the log add up to its row of the ledger.
    by_fill = np.zeros(r.dates.size)
    np.add.at(by_fill, np.searchsorted(r.dates, r.fills.date), r.fills.tax)
    np.testing.assert_allclose(by_fill, r.taxes, rtol=1e-10, atol=1e-12 * scale)
    return r


FRICTIONS = {
    "basis": st.sampled_from(["raw", "split_adjusted", "total_return"]),
    "fill": st.sampled_from(["next_close", "next_open", "same_close"]),
    "schedule": st.sampled_from(["daily", "weekly"]),
    "taxed": st.booleans(),
    "short": st.booleans(),
    "minimum": st.sampled_from([0.0, 7.0]),
    "impact": st.sampled_from([0.0, 0.8]),
    "participation": st.sampled_from([None, 0.05]),
}


@given(seed=st.integers(0, 11), **FRICTIONS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_kernel_is_the_plain_ledger(
    seed, basis, fill, schedule, taxed, short, minimum, impact, participation
):
    check_against_reference(
        Drawn(seed, short),
        friction_market(seed, basis),
        fill=fill,
        schedule=schedule,
        portfolio=opening_book(taxed),
        costs=Costs(
            half_spread_bps={"A0": 3.0, "default": 8.0},
            fx_bps=3.0,
            minimum_commission=minimum,
            impact=impact,
            flat_impact_bps={"default": 4.0} if impact else None,
            impact_window=6,
            adv=dict.fromkeys(TICKERS, 2e5) if participation or impact else None,
            borrow_bps=120.0,
            margin_bps=75.0,
        ),
        delisting_return=-0.3,
        max_participation=participation,
        withholding={"DE": 0.26, "default": 0.15},
    )


def test_the_reference_can_fail():
    panel = friction_market(1, "total_return")
    options = {"fill": "next_close", "schedule": "weekly", "delisting_return": 0.0}
    check_against_reference(Drawn(1), panel, costs=Costs(5.0), **options)
    slow = reference_backtest(
        Drawn(1), panel, costs=Costs(5.001), schedule="weekly", delisting_return=0.0
    )
    quick = backtest(Drawn(1), panel, costs=Costs(5.0), **options)
    assert not np.allclose(quick.value, slow.columns["value"], rtol=1e-10, atol=0.0)


def test_words_of_the_log_are_those_of_the_kernel():
    names = ("FILLED", "PARTIAL", "SCALED", "UNAFFORDABLE", "EXPIRED", "REPLACED")
    for name in (*names, "DELISTED", "OPEN"):
        assert WORDS[getattr(kernel, name)] == name.lower()


def test_a_log_that_fills_up_grows(monkeypatch):
    monkeypatch.setattr("backtests.walkforward._MOST_ROOM", 3)
    panel = friction_market(2, "raw")
    check_against_reference(
        Drawn(2), panel, fill="same_close", schedule="daily", delisting_return=0.0
    )


class Doubled(Drawn):
    """Borrows as much again, so that a fall takes everything."""

    def propose(self, view, portfolio, estimate=None):
        target = {"A0": 20.0, "CASH:USD": -19.0}
        return Proposal.from_weights(portfolio, target)


def test_errors_name_the_asset_and_the_date():
    panel = friction_market(3, "total_return")
    with pytest.raises(DataError, match=r"half_spread_bps is not given.*asset A[1-4]"):
        backtest(Drawn(3), panel, costs=Costs(half_spread_bps={"A0": 5.0}))
    falling = dataclasses.replace(
        panel,
        prices=np.linspace(100.0, 50.0, panel.dates.size)[:, None] * np.ones(N),
        actions=None,
        content_hash="",
    )
    with pytest.raises(ModelError, match=r"lost everything.*2023-01-\d\d"):
        backtest(Doubled(), falling, fill="same_close", schedule="once")


def rough_market(seed, basis, T=60):
    """One currency: gaps, an asset not yet listed, one that ends, splits, dividends."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 80 * np.exp(np.cumsum(rng.normal(0, 0.03, (T, N)), axis=0))
    prices[rng.random((T, N)) < 0.03] = np.nan
    prices[0] = 80.0
    prices[:12, 3] = np.nan
    prices[40:, 4] = np.nan
    rows = [(dates[9], "A0", "dividend", 0.9), (dates[25], "A1", "dividend", 2.0)]
    frame = pd.DataFrame(rows, columns=["date", "ticker", "kind", "value"])
    adjusted = basis == "split_adjusted"
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(TICKERS, quote_currency=("USD",) * N),
        price_basis=basis,
        base_currency="USD",
        cash_currencies=("USD",),
        cash_rates=np.full((T, 1), 0.04),
        actions=CorporateActions.from_frame(frame, dividend_basis="split_adjusted")
        if adjusted
        else None,
    )


@pytest.mark.parametrize("fill", ["same_close", "next_close"])
@pytest.mark.parametrize("schedule", ["daily", "weekly"])
@pytest.mark.parametrize("basis", ["total_return", "split_adjusted"])
@pytest.mark.parametrize("invested", [1.0, 0.97, 1.2])
def test_the_short_way_is_the_long_way_bit_for_bit(
    monkeypatch, fill, schedule, basis, invested
):
    used = 0
    for seed in range(6):
        panel = rough_market(seed, basis)
        rng = np.random.default_rng(seed)
        table = rng.dirichlet(np.ones(N), panel.dates.size) * invested
        if seed == 5:
            table[20:30, 0] -= 0.5  # short for a while
        table[rng.random(table.shape) < 0.2] = 0.0
        table[np.isnan(panel.prices)] = 0.0
        strategy = TargetWeights(
            table, panel.dates, TICKERS, budget=1.3, untradable="cash"
        )

        def go(strategy=strategy, panel=panel):
            return backtest(
                strategy,
                panel,
                schedule=schedule,
                fill=fill,
                costs=Costs(8.0, margin_bps=75.0, borrow_bps=120.0),
                delisting_return=-0.3,
            )

        short = go()
        with monkeypatch.context() as patch:
            patch.setattr(Broker, "_plain", lambda self, whole: False)
            long = go()
        for name in (*COLUMNS, "units", "money"):
            assert np.array_equal(getattr(short, name), getattr(long, name)), name
        assert short.fills == long.fills
        assert short.trial_id == long.trial_id
        mine, other = short.decisions, long.decisions
        for name in ("turnover", "_units", "_basis", "_cash"):
            assert np.array_equal(
                getattr(mine, name), getattr(other, name), equal_nan=True
            )
        used += len(short.fills)
    assert used > 150


def test_the_short_way_goes_to_the_end():
    """Where nothing is out of the ordinary only the first session goes the long way."""
    T = 30
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    rng = np.random.default_rng(3)
    panel = PricePanel(
        dates=dates,
        prices=80 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0)),
        universe=Universe(TICKERS, quote_currency=("USD",) * N),
        price_basis="total_return",
        base_currency="USD",
    )
    clock = timeline(panel, None, None, "daily")
    shown = market(panel, clock.rows)
    book = Portfolio.from_weights({"CASH:USD": 1.0}, 1e6, "USD")
    ledger = Ledger(clock, shown, book, Costs(8.0), paid=shown.close, room=T * N)
    broker = Broker(
        ledger,
        whole=False,
        same_close=True,
        weights=np.full((T, N), 0.15),
        cash_weight=np.full(T, 0.25),
    )
    parts = (ledger.tables, ledger.state, broker.orders, ledger.log, ledger.rows)
    rest = (broker.plan, broker.rules, broker.progress)
    assert broker.rules.plain
    kernel._stretch(*parts, *rest)
    assert broker.session == 0
    ledger.tables.acts[1] = True
    assert broker.run() == "act" and broker.session == 1
    ledger.tables.acts[1] = False
    broker.progress[1] = kernel.AT_OPEN
    kernel._stretch(*parts, *rest)
    assert broker.session == T
    assert (market(panel, clock.rows)) is shown
