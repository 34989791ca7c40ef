"""Targets laid out in advance are those of asking date by date, bit for bit."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests import backtest
from backtests.decisions import PlannedDecisions
from backtests.ledger import COLUMNS
from engine.costs import Costs
from engine.data.actions import CorporateActions
from engine.data.membership import Membership
from engine.data.panel import PricePanel
from engine.data.universe import Universe
from engine.errors import DataError, LookAheadError, ModelError, UsageError
from strategies import EqualWeight, FixedMix, Targets, TargetWeights
from strategies.targets import holdable

T, N = 90, 5
TICKERS = tuple(f"A{i}" for i in range(N))


def market(seed, *, members=False, actions=False):
    """Late listings, halts, a long-shut venue, an exit, comings and goings."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 80 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, N)), axis=0))
    prices[1:][rng.random((T - 1, N)) < 0.05] = np.nan
    prices[: int(rng.integers(0, 20)), 1] = np.nan
    prices[int(rng.integers(25, 60)) :, 3] = np.nan  # on a venue of its own
    prices[int(rng.integers(40, 80)) :, 4] = np.nan
    listed = None
    if members:
        ends = np.array(["2023-03-01", "NaT", "NaT", "NaT", "NaT", "NaT"], "M8[D]")
        starts = np.array(["2020-01-01"] * 4 + ["2023-02-01", "2023-04-03"], "M8[D]")
        listed = Membership(("A0", "A1", "A2", "A3", "A4", "A0"), starts, ends)
    events = None
    if actions:
        last = int(np.flatnonzero(np.isfinite(prices[:, 4]))[-1])
        frame = pd.DataFrame(
            [(dates[last], "A4", "delisting", 30.0)],
            columns=["date", "ticker", "kind", "value"],
        )
        events = CorporateActions.from_frame(frame, dividend_basis="split_adjusted")
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(
            TICKERS,
            venue=("NYSE", "NYSE", "NYSE", "KRX", "NYSE"),
            quote_currency=("USD", "USD", "EUR", "USD", "USD"),
        ),
        price_basis="split_adjusted",
        base_currency="USD",
        fx_currencies=("EUR",),
        fx=np.full((T, 1), 1.1),
        membership=listed,
        actions=events,
    )


class Asked:
    """The same strategy without `targets`: asked date by date."""

    def __init__(self, strategy):
        self.strategy, self.name = strategy, strategy.name

    def estimate(self, view):
        return self.strategy.estimate(view)

    def propose(self, view, portfolio, estimate=None):
        return self.strategy.propose(view, portfolio, estimate)


def check_same(strategy, panel, **options):
    options = {
        "costs": Costs(7.0, minimum_commission=1.0),
        "delisting_return": -0.2,
    } | options
    quick = backtest(strategy, panel, **options)
    slow = backtest(Asked(strategy), panel, **options)
    assert isinstance(quick.decisions, PlannedDecisions)
    assert isinstance(slow.decisions, tuple)
    assert quick.labels == slow.labels and quick.stamps == slow.stamps
    for name in (*COLUMNS, "units", "money", "dates"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(slow, name))
    assert quick.fills == slow.fills
    assert len(quick.decisions) == len(slow.decisions)
    for mine, other in zip(quick.decisions, slow.decisions, strict=True):
        assert mine[:3] == other[:3]
        assert mine.turnover == pytest.approx(other.turnover, abs=1e-13)
        assert mine.proposal is not None and other.proposal is not None
        assert mine.proposal.labels == other.proposal.labels
        assert mine.proposal.notes == other.proposal.notes
        np.testing.assert_array_equal(mine.proposal.current, other.proposal.current)
        np.testing.assert_array_equal(mine.proposal.target, other.proposal.target)
    frame = quick.decisions_frame()
    pd.testing.assert_frame_equal(frame, slow.decisions_frame(), rtol=1e-12)
    return quick


MIX = FixedMix({"A1": 0.3, "A4": 0.25, "CASH:EUR": 0.1, "A2": 0.2, "CASH:USD": 0.15})


@given(
    seed=st.integers(0, 9),
    members=st.booleans(),
    actions=st.booleans(),
    fill=st.sampled_from(["next_close", "same_close"]),
    schedule=st.sampled_from(["daily", "weekly"]),
    strategy=st.sampled_from([MIX, EqualWeight(), EqualWeight(("A0", "A2", "A4"))]),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_bit_for_bit_as_asked_date_by_date(
    seed, members, actions, fill, schedule, strategy
):
    panel = market(seed, members=members, actions=actions)
    check_same(strategy, panel, fill=fill, schedule=schedule)


@pytest.mark.parametrize("min_history", [0, 1, 12])
def test_holdable_is_what_each_view_says(min_history):
    for seed in range(4):
        panel = market(seed, members=seed % 2 == 0, actions=seed > 1)
        expected = []
        for day in panel.dates:
            view = panel.as_of(day)
            expected.append(view.tradable(min_history=min_history) & view.members())
        got = holdable(panel, panel.dates, min_history=min_history)
        np.testing.assert_array_equal(got, expected)
        assert got.any() and not got.all()


def table(panel, rows=None, seed=0, untradable=0.0):
    rows = np.arange(0, T, 5) if rows is None else rows
    can = holdable(panel, panel.dates[rows])
    w = np.random.default_rng(seed).dirichlet(np.ones(N + 1), rows.size)[:, :N]
    w = np.where(can, w, untradable)
    index = pd.DatetimeIndex(panel.dates[rows].astype("datetime64[ns]"))
    return pd.DataFrame(w, index=index, columns=list(TICKERS))


@pytest.mark.parametrize("fill", ["next_close", "same_close"])
def test_a_table_of_targets_is_traded_row_by_row(fill):
    panel = market(5, members=True)
    mine = TargetWeights(table(panel))
    r = check_same(mine, panel, schedule=mine.dates, fill=fill)
    assert len(r.decisions) == len(mine.dates)
    proposal = r.decisions[3].proposal
    assert proposal is not None
    target = proposal.weights
    assert target["A1"] == mine.table[3, 1]
    assert target["CASH:USD"] == pytest.approx(1 - mine.table[3].sum())
    if fill == "same_close":  # without costs, the book is the table
        options = {"costs": Costs(0.0), "delisting_return": 0.0, "fill": fill}
        r = backtest(mine, panel, schedule=mine.dates, **options)
        priced = np.isfinite(panel.prices[0])
        np.testing.assert_allclose(r.weights()[0, :N][priced], mine.table[0][priced])


def test_an_array_with_dates_and_labels_is_the_same_table():
    panel = market(1)
    frame = table(panel)
    one = TargetWeights(frame)
    other = TargetWeights(frame.to_numpy(), [str(d)[:10] for d in frame.index], TICKERS)
    a, b = (
        backtest(s, panel, schedule=one.dates, delisting_return=0.0)
        for s in (one, other)
    )
    np.testing.assert_array_equal(a.value, b.value)
    assert a.trial_id == b.trial_id
    changed = frame.copy()
    changed.iloc[2, 0] = 0.01
    c = backtest(
        TargetWeights(changed), panel, schedule=one.dates, delisting_return=0.0
    )
    assert c.trial_id != a.trial_id


def test_leverage_and_shorts_within_the_budget():
    panel = market(2)
    frame = table(panel)
    frame.loc[:, "A0"], frame.loc[:, "A2"] = 1.2, -0.3
    frame.loc[:, ["A1", "A3", "A4"]] = 0.0
    mine = TargetWeights(frame, budget=1.2)
    frame.loc[:, "A2"] = 0.0
    check_same(mine, panel, schedule=mine.dates, max_borrowing=0.25)
    borrowed = TargetWeights(frame, budget=1.2)
    with pytest.raises(ModelError, match=r"borrows more.*-20.0000%.*-10.0000%"):
        backtest(borrowed, panel, schedule=mine.dates, max_borrowing=0.1)


def test_what_cannot_be_traded_is_an_error_or_waits_in_cash():
    panel = market(3)
    frame = table(panel, untradable=0.125)
    mine = TargetWeights(frame * 0.5)
    can = holdable(panel, mine.dates)
    j, i = np.argwhere(~can)[0]
    with pytest.raises(DataError, match=rf"cannot be traded.*A{i}.*{mine.dates[j]}"):
        backtest(mine, panel, schedule=mine.dates, delisting_return=0.0)
    waits = TargetWeights(frame * 0.5, untradable="cash")
    r = check_same(waits, panel, schedule=mine.dates)
    assert (
        f"A{i} cannot be held: its 6.25% waits in cash" in r.decisions[j].proposal.notes
    )


def test_decisions_outside_the_table_are_refused():
    panel = market(4)
    frame = table(panel, np.arange(10, 60, 5))
    mine = TargetWeights(frame)
    with pytest.raises(LookAheadError, match=r"before the first row.*2023-01-02"):
        backtest(mine, panel)
    with pytest.raises(DataError, match=r"no row for a decision.*2023-01-17"):
        backtest(mine, panel, start=mine.dates[0], schedule="daily", delisting_return=0)
    late = panel.dates[-1]
    with pytest.raises(DataError, match=f"no row for a decision.*{late}"):
        backtest(mine, panel, start=late)
    unknown = TargetWeights(frame.rename(columns={"A0": "B0"}))
    with pytest.raises(DataError, match=r"no prices for this ticker.*B0"):
        backtest(unknown, panel, start=mine.dates[0], schedule=mine.dates)


def bad(change):
    frame = table(market(0))
    return lambda: TargetWeights(change(frame.copy()))


def with_cell(value):
    def change(frame):
        frame.iloc[2, 1] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (bad(with_cell(np.nan)), DataError, "not a number.*A1.*2023-01-16"),
        (bad(with_cell(np.inf)), DataError, "not a number.*A1.*2023-01-16"),
        (bad(with_cell(2.0)), DataError, "exceed the budget.*2023-01-16"),
        (bad(lambda f: f.iloc[::-1]), DataError, "not strictly increasing"),
        (bad(lambda f: f.iloc[[0, 0, 1]]), DataError, "not strictly increasing"),
        (bad(lambda f: f.rename(columns={"A1": "A0"})), DataError, "A0"),
        (bad(lambda f: f.astype(str)), DataError, "not numeric"),
        (bad(lambda f: f.shift(6, freq="h")), DataError, "time of day"),
        (bad(lambda f: f.iloc[:0]), DataError, "date for each row"),
        (bad(lambda f: f.to_numpy()), UsageError, "needs dates and labels"),
        (
            lambda: TargetWeights(np.ones((1, 1)), ["soon"], ["A0"]),
            DataError,
            "not dates",
        ),
        (
            lambda: TargetWeights(np.ones((1, 1)), ["2023-01-02"], ["A0"], budget=0),
            UsageError,
            "budget",
        ),
    ],
)
def test_tables_that_cannot_be_right_are_refused(make, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        make()


@dataclasses.dataclass(frozen=True)
class Peeking(EqualWeight):
    """Lays its targets out with what comes later."""

    def targets(self, panel, dates):
        n = np.isfinite(panel.prices[-1]).sum() + dates.size
        weights = np.full((dates.size, 1), 1.0 / n)
        return Targets(("A0", "CASH:USD"), np.column_stack([weights, 1 - weights]))


@dataclasses.dataclass(frozen=True)
class Half(EqualWeight):
    """Overrides `propose` alone: the inherited `targets` does not speak for it."""

    def propose(self, view, portfolio, estimate=None):
        from engine.proposal import Proposal

        return Proposal.from_weights(portfolio, {"A0": 0.5, "CASH:USD": 0.5})


@dataclasses.dataclass(frozen=True)
class Short(EqualWeight):
    """Lays out rows that do not sum to one."""

    def targets(self, panel, dates):
        return Targets(("A0",), np.full((dates.size, 1), 0.7))


def test_targets_that_peek_or_do_not_sum_to_one_are_refused():
    with pytest.raises(LookAheadError, match="depend on what came later"):
        backtest(Peeking(), market(0), schedule="weekly")
    with pytest.raises(DataError, match=r"equal weight.*sum to one.*2023-01-02"):
        backtest(Short(), market(0))


def test_inherited_targets_do_not_speak_for_another_propose():
    r = backtest(Half(), market(0), fill="same_close", costs=Costs(0.0))
    assert isinstance(r.decisions, tuple)
    assert r.weights()[0, 0] == pytest.approx(0.5)


def test_where_one_date_fails_it_is_named_as_before():
    panel = market(0)
    with pytest.raises(ModelError, match=r"no asset can be traded.*2023-01-02"):
        backtest(EqualWeight(min_history=5), panel, start=panel.dates[0])
    with pytest.raises(DataError, match=r"no prices for this ticker.*XX"):
        backtest(FixedMix({"XX": 1.0}), panel)


def test_results_travel_and_are_read_back(tmp_path):
    panel = market(6)
    r = backtest(EqualWeight(), panel, schedule="weekly", delisting_return=0.0)
    again = pickle.loads(pickle.dumps(r))
    assert again.fills == r.fills and len(again.decisions) == len(r.decisions)
    assert not again.fills.units.flags.writeable
    r.write(tmp_path)
    back = type(r).read(tmp_path)
    assert back.fills == r.fills
    assert back.fills[2:4] == r.fills[2:4] and back.fills[-1][:5] == r.fills[-1][:5]
    assert list(r.fills)[1] == r.fills[1]
    with pytest.raises(AttributeError, match="read-only"):
        setattr(r.fills, "units", np.zeros(3))  # noqa: B010
    with pytest.raises(IndexError):
        r.decisions[len(r.decisions)]
