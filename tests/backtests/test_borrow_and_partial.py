"""Borrow fees, debt in cash, shares of a day's volume and withheld dividends."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_cases import FREE, Targets, check_identity, make_panel

from backtests import backtest
from backtests.broker import affordable
from engine import Costs, DataError, ModelError, Portfolio, UsageError
from engine.data.actions import CorporateActions
from strategies import Hold

NAN = float("nan")


def short_book(units=-100.0, cash=20_000.0, name="A"):
    return Portfolio(
        assets=(name,),
        units=np.array([units]),
        money=np.array([NAN]),
        cash=(("USD", cash),),
    )


# ------------------------------------------------------------------------ borrow fees


def test_the_fee_is_on_the_value_short_over_calendar_days():
    dates = np.array(["2024-01-05", "2024-01-08", "2024-01-09"], "datetime64[D]")
    panel = make_panel([[100, 50], [110, 50], [105, 50]], dates)
    costs = Costs(0.0, borrow_bps={"A": 365.0, "default": 1000.0})
    r = backtest(Hold(), panel, portfolio=short_book(), schedule="once", costs=costs)
    # 3.65% a year is one basis point a day: three days on 10,000, one on 11,000.
    np.testing.assert_allclose(r.costs, [0.0, 3.0, 1.1], rtol=1e-14)
    np.testing.assert_allclose(r.cash, [20_000, 19_997, 19_995.9], rtol=1e-14)
    check_identity(r)
    assert not r.turnover.any()


def test_a_long_book_pays_no_borrow_fee():
    panel = make_panel([[100, 50], [110, 50]])
    costs = Costs(0.0, borrow_bps=500.0)
    r = backtest(Hold({"A": 0.5, "CASH:USD": 0.5}), panel, costs=costs)
    assert not r.costs.any()


def test_a_split_and_a_foreign_currency_leave_the_fee_what_it_was():
    frame = pd.DataFrame(
        [{"date": "2024-01-02", "ticker": "A", "kind": "split", "value": 10.0}]
    )
    options = {
        "price_basis": "raw",
        "fx_currencies": ("EUR",),
        "fx": np.array([[1.5], [2.0]]),
        "currency": ("EUR", "USD"),
    }
    panel = make_panel(
        [[100, 50], [10, 50]],
        actions=CorporateActions.from_frame(frame, dividend_basis="as_paid"),
        **options,
    )
    r = backtest(
        Hold(),
        panel,
        portfolio=short_book(cash=40_000.0),
        schedule="once",
        costs=Costs(0.0, borrow_bps=365.0),
    )
    assert r.costs[1] == pytest.approx(100 * 100 * 1.5 * 1e-4, rel=1e-14)
    check_identity(r)


def test_the_turnover_is_of_the_value_after_the_fee():
    panel = make_panel([[100, 50], [100, 50], [100, 50]])
    costs = Costs(10.0, borrow_bps=36_500.0)
    r = backtest(
        Targets({"2024-01-01": {"A": 0.0, "CASH:USD": 1.0}}),
        panel,
        portfolio=short_book(),
        schedule="once",
        costs=costs,
    )
    fee = 100 * 100 * 0.01
    assert r.costs[1] == pytest.approx(fee + 10.0, rel=1e-13)
    before = 10_000 - fee
    assert r.turnover[1] == pytest.approx(10_000 / before, rel=1e-13)


# ------------------------------------------------------------------------ debt in cash


LEVERED = Targets({"2024-01-01": {"A": 1.5, "CASH:USD": -0.5}})


def test_debt_beyond_what_is_allowed_is_refused_by_name_and_date():
    panel = make_panel([[100, 50], [100, 50]])
    words = r"'targets'.*CASH:USD.*2024-01-01.*-50.0000%.*at least -40.0000%"
    with pytest.raises(ModelError, match=words):
        backtest(LEVERED, panel, schedule="once", costs=FREE, max_borrowing=0.4)
    r = backtest(LEVERED, panel, schedule="once", costs=FREE, max_borrowing=0.5)
    assert r.cash[1] == pytest.approx(-500_000)
    with pytest.raises(UsageError, match="max_borrowing must not be negative"):
        backtest(LEVERED, panel, costs=FREE, max_borrowing=-0.1)


def test_debt_pays_the_margin_over_the_cash_rate():
    panel = make_panel(
        [[100, 50], [100, 50], [100, 50]],
        cash_currencies=("USD",),
        cash_rates=np.full((3, 1), 0.0365),
    )
    costs = Costs(0.0, margin_bps=365.0)
    r = backtest(LEVERED, panel, schedule="once", costs=costs)
    # Cash of a million earns a basis point; owed half a million pays two.
    np.testing.assert_allclose(r.interest[1:], [100.0, r.cash[1] * 2e-4], rtol=1e-13)
    check_identity(r)


# ------------------------------------------------------------------ a share of a day


def with_volume(prices, volume, **options):
    prices = np.array(prices, dtype=float)
    return make_panel(
        prices,
        volume=np.broadcast_to(np.asarray(volume, float), prices.shape),
        **options,
    )


FLAT = [[100.0, 50.0]] * 8
EIGHT = np.datetime64("2024-01-01") + np.arange(8)


def flat_run(target, *, volume=(1000.0, 1e9), **options):
    panel = with_volume(FLAT, volume, dates=EIGHT)
    costs = options.pop("costs", Costs(0.0, impact_window=3))
    return backtest(
        Hold(target) if target else Hold(),
        panel,
        start=EIGHT[2],
        schedule="once",
        costs=costs,
        initial_value=100_000.0,
        **options,
    )


def test_an_order_is_worked_over_days_and_expires_on_the_fifth():
    """1,000 shares a day at 100: a tenth of it is 100 shares, of 700 wanted."""
    r = flat_run({"A": 0.7, "CASH:USD": 0.3}, max_participation=0.1)
    np.testing.assert_allclose(r.units[:, 0], [0, 100, 200, 300, 400, 500])
    assert [f.status for f in r.fills] == ["partial"] * 5 + ["expired"]
    assert r.fills[-1].ordered == pytest.approx(200)
    r = flat_run({"A": 0.25, "CASH:USD": 0.75}, max_participation=0.1)
    np.testing.assert_allclose(r.units[:, 0], [0, 100, 200, 250, 250, 250])
    assert [f.status for f in r.fills] == ["partial", "partial", "filled"]


def test_sales_wait_their_turn_and_purchases_wait_for_the_money():
    panel = with_volume(FLAT, (1000.0, 1e9), dates=EIGHT)
    r = backtest(
        Targets({"2024-01-03": {"A": 0.0, "B": 1.0}}),
        panel,
        start=EIGHT[2],
        schedule="once",
        costs=Costs(0.0, impact_window=3),
        portfolio=short_book(300.0, 0.0),
        max_participation=0.1,
    )
    np.testing.assert_allclose(r.units[:, 0], [300, 200, 100, 0, 0, 0])
    np.testing.assert_allclose(r.units[:, 1], [0, 200, 400, 600, 600, 600], rtol=1e-12)
    check_identity(r)


def test_whole_shares_stay_whole_within_the_volume():
    panel = with_volume(FLAT, (1055.0, 1e9), dates=EIGHT, price_basis="raw")
    r = backtest(
        Hold({"A": 0.3, "CASH:USD": 0.7}),
        panel,
        start=EIGHT[2],
        schedule="once",
        costs=Costs(0.0, impact_window=3),
        initial_value=100_000.0,
        max_participation=0.1,
    )
    np.testing.assert_array_equal(r.units[:, 0], [0, 105, 210, 300, 300, 300])


def test_each_day_pays_the_impact_of_its_own_fill():

    costs = Costs(0.0, impact=1.0, impact_window=3, adv={"A": 1e6, "B": 1e9})
    rng = np.random.default_rng(1)
    prices = np.column_stack([100 * np.exp(rng.normal(0, 0.02, 8)), np.full(8, 50.0)])
    panel = make_panel(prices, EIGHT)
    r = backtest(
        Hold({"A": 0.5, "CASH:USD": 0.5}),
        panel,
        start=EIGHT[3],
        schedule="once",
        costs=costs,
        max_participation=0.2,
    )
    k = np.diff(np.log(prices[:4, 0])).std(ddof=1) / np.sqrt(1e6)
    bought = [f for f in r.fills if f.units]
    assert len(bought) >= 3
    for f in bought:
        assert abs(f.value) <= 200_000.0 * (1 + 1e-14)
        assert f.cost == pytest.approx(k * abs(f.value) ** 1.5, rel=1e-12)
    check_identity(r)


def test_no_volume_cannot_be_traded_unless_stated():
    with pytest.raises(DataError, match=r"no trading volume.*asset A.*2024-01-03.*adv"):
        flat_run({"A": 0.5, "B": 0.5}, volume=(NAN, 1e9), max_participation=0.1)
    r = flat_run(
        {"A": 0.5, "CASH:USD": 0.5},
        volume=(NAN, 1e9),
        costs=Costs(0.0, impact_window=3, adv={"A": 100_000.0}),
        max_participation=0.1,
    )
    assert r.units[1, 0] == pytest.approx(100)
    with pytest.raises(UsageError, match="max_participation must be positive"):
        flat_run({"A": 1.0}, max_participation=0.0)


# -------------------------------------------------------------------------- dividends


def paying(country=("US", "JP")):
    from dataclasses import replace

    frame = pd.DataFrame(
        [
            {"date": "2024-01-02", "ticker": "A", "kind": "dividend", "value": 2.0},
            {"date": "2024-01-02", "ticker": "B", "kind": "dividend", "value": 1.0},
        ]
    )
    panel = make_panel(
        [[100, 50], [100, 50]],
        price_basis="raw",
        actions=CorporateActions.from_frame(frame, dividend_basis="as_paid"),
    )
    return replace(panel, universe=replace(panel.universe, country=country))


def both(units_a=10.0, units_b=10.0):
    return Portfolio(
        assets=("A", "B"),
        units=np.array([units_a, units_b]),
        money=np.full(2, NAN),
        cash=(("USD", 5_000.0),),
    )


@pytest.mark.parametrize(
    ("withholding", "expected"),
    [
        (None, 30.0),
        (0.15, 25.5),
        ({"US": 0.15, "default": 0.10}, 26.0),
        ({"US": 0.0, "JP": 0.5}, 25.0),
    ],
)
def test_dividends_are_booked_net_of_what_is_withheld(withholding, expected):
    r = backtest(
        Hold(),
        paying(),
        portfolio=both(),
        schedule="once",
        costs=FREE,
        withholding=withholding,
    )
    assert r.dividends[1] == pytest.approx(expected, rel=1e-14)
    word = "before" if withholding is None else "net of"
    assert f"dividends booked {word} withholding tax" in r.stamps
    check_identity(r)


def test_a_short_position_owes_the_whole_dividend():
    r = backtest(
        Hold(),
        paying(),
        portfolio=both(units_a=-10.0),
        schedule="once",
        costs=FREE,
        withholding=0.15,
    )
    assert r.dividends[1] == pytest.approx(-20.0 + 8.5, rel=1e-14)


def test_a_withholding_that_cannot_be_is_refused():
    with pytest.raises(DataError, match=r"no withholding rate.*asset B.*'JP'"):
        backtest(Hold(), paying(), portfolio=both(), withholding={"US": 0.15})
    with pytest.raises(DataError, match=r"must lie in \[0, 1\).*received 15"):
        backtest(Hold(), paying(), portfolio=both(), withholding=15)


# ------------------------------------------------------------------------- properties


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    n=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    share=st.floats(0.0, 1.5),
    impact=st.floats(0.0, 2.0),
)
def test_a_scaled_purchase_spends_the_cash_and_no_more(n, seed, share, impact):
    rng = np.random.default_rng(seed)
    v = rng.uniform(1.0, 1e5, n)
    r = v * rng.uniform(0.0, 0.01, n)
    m = rng.choice([0.0, 20.0], n)
    q = float(impact * v.sum() * rng.uniform(0, 1))

    def needed(f):
        return f * v.sum() + np.maximum(f * r, m).sum() + f**1.5 * q

    available = share * needed(1.0)
    f = affordable(available, v, r, m, q)
    assert 0.0 <= f <= 1.0
    if f == 0.0:
        assert available <= m.sum() + 1e-9
        return
    assert needed(f) <= available * (1 + 1e-15)
    if f < 1.0:
        assert needed(f) >= available * (1 - 1e-11)


class RandomTargets:
    """Random long, short and levered targets from the seed, by date."""

    name = "random"

    def __init__(self, seed, levered):
        self.seed, self.levered = seed, levered

    def estimate(self, view):
        return None

    def propose(self, view, portfolio, estimate=None):
        from engine.proposal import Proposal

        day = int(view.date.astype(int))
        rng = np.random.default_rng([self.seed, day])
        w = rng.dirichlet(np.ones(len(view.tickers) + 1))[:-1]
        if self.levered:
            w = w * 1.6 - 0.25
        target = dict(zip(view.tickers, w.tolist(), strict=True))
        target["CASH:USD"] = 1.0 - float(w.sum())
        return Proposal.from_weights(portfolio, target)


@st.composite
def runs(draw):
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    T, N = draw(st.integers(12, 30)), draw(st.integers(1, 4))
    prices = 40 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    shut = rng.random((T, N)) < draw(st.sampled_from([0.0, 0.1]))
    shut[:6] = False
    shut[:, 0] = False
    prices[shut] = NAN
    volume = rng.uniform(1e2, 1e5, (T, N))
    dates = np.datetime64("2024-03-01") + np.arange(T)
    names = tuple("ABCD"[:N])
    basis = draw(st.sampled_from(["raw", "total_return"]))
    extra = {}
    if basis == "raw":
        rows = [
            {"date": str(dates[int(rng.integers(7, T))]), "ticker": n, "kind": kind,
             "value": value}
            for n in names
            for kind, value in (("dividend", 0.7), ("split", 2.0))
        ]  # fmt: skip
        extra["actions"] = CorporateActions.from_frame(
            pd.DataFrame(rows).drop_duplicates(["date", "ticker"]),
            dividend_basis="as_paid",
        )
    panel = make_panel(
        prices,
        dates,
        tickers=names,
        price_basis=basis,
        volume=volume,
        currency=("USD", "EUR", "USD", "EUR")[:N],
        fx_currencies=("EUR",),
        fx=(1.1 * np.exp(np.cumsum(rng.normal(0, 0.005, T))))[:, None],
        cash_currencies=("USD",),
        cash_rates=np.full((T, 1), 0.05),
        **extra,
    )
    costs = Costs(
        draw(st.sampled_from([0.0, 7.0])),
        fx_bps=2.0,
        minimum_commission=draw(st.sampled_from([0.0, 3.0])),
        impact=draw(st.sampled_from([0.0, 1.0])),
        impact_window=5,
        borrow_bps=draw(st.sampled_from([0.0, 300.0])),
        margin_bps=draw(st.sampled_from([0.0, 200.0])),
    )
    return panel, costs, {
        "strategy": RandomTargets(seed, draw(st.booleans())),
        "max_participation": draw(st.sampled_from([None, 0.05, 0.5])),
        "withholding": draw(st.sampled_from([None, 0.15])),
        "schedule": draw(st.sampled_from(["daily", "weekly", "once"])),
    }  # fmt: skip


@settings(deadline=None, derandomize=True, max_examples=60)
@given(runs())
def test_every_cent_is_accounted_for(run):
    panel, costs, options = run
    strategy = options.pop("strategy")
    r = backtest(
        strategy,
        panel,
        start=panel.dates[5],
        costs=costs,
        initial_value=200_000.0,
        **options,
    )
    check_identity(r)
    # Costs are those of the fills, plus the fee on what was short the day before.
    fees = np.zeros(r.dates.size)
    at = {d: i for i, d in enumerate(r.dates)}
    for f in r.fills:
        fees[at[f.date]] += f.cost
    if costs.borrow_bps:
        short = np.maximum(-r.money, 0.0).sum(axis=1)
        days = np.diff(r.dates) / np.timedelta64(1, "D")
        fees[1:] += short[:-1] * costs.borrow_bps * 1e-4 * days / 365.0
    np.testing.assert_allclose(r.costs, fees, rtol=1e-11, atol=1e-9)
    # No session trades more than its share of a day's volume at the decision.
    if options["max_participation"] is not None:
        for f in r.fills:
            if f.units and f.status in ("filled", "partial", "scaled"):
                volume = costs.at(panel.as_of(f.decided)).daily_volume([f.ticker])[0]
                room = options["max_participation"] * volume
                assert abs(f.value) <= room * (1 + 1e-12)
    # Bought and sold, splits aside, is what is held.
    if panel.price_basis == "total_return":
        held = np.zeros(len(r.labels))
        for f in r.fills:
            held[r.labels.index(f.ticker)] += f.units
        np.testing.assert_allclose(held, r.units[-1], rtol=1e-9, atol=1e-9)


def test_costs_of_trading_read_nothing_of_the_future():
    """Corrupting every later price and volume changes no earlier fill."""
    rng = np.random.default_rng(4)
    T = 30
    prices = 40 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, 2)), axis=0))
    volume = rng.uniform(1e3, 1e4, (T, 2))
    dates = np.datetime64("2024-03-01") + np.arange(T)

    def run(prices, volume):
        return backtest(
            RandomTargets(3, False),
            make_panel(prices, dates, volume=volume),
            start=dates[8],
            schedule="daily",
            costs=Costs(5.0, impact=1.0, impact_window=6),
            max_participation=0.3,
        )

    whole = run(prices, volume)
    other_prices, other_volume = prices.copy(), volume.copy()
    other_prices[20:] *= 3.0
    other_volume[20:] *= 0.01
    changed = run(other_prices, other_volume)
    before = np.flatnonzero(whole.dates < dates[20])
    for name in ("value", "costs", "cash"):
        np.testing.assert_array_equal(
            getattr(whole, name)[before], getattr(changed, name)[before]
        )
    assert whole.costs[before].sum() > 0
