"""Schedules that need only the past, and the two strategies without a model."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.load import load_panel
from engine.data.portfolio import Portfolio
from engine.errors import DataError, ModelError, UsageError
from engine.proposal import Outcome
from strategies.base import Strategy
from strategies.equal import EqualWeight
from strategies.hold import Hold
from strategies.schedules import SCHEDULES, is_decision

SESSIONS = pd.bdate_range("2022-01-03", "2024-03-15").to_numpy().astype("datetime64[D]")


@pytest.fixture(scope="module")
def panel():
    index = pd.bdate_range("2024-01-01", periods=30)
    values = np.full((30, 4), 10.0)
    values[:20, 2] = np.nan
    values[10:, 3] = np.nan
    frame = pd.DataFrame(values, index=index, columns=list("ABCD"))
    return load_panel(frame, price_basis="total_return", currency="USD")


def cash_book(view):
    return Portfolio.from_weights({"CASH:USD": 1.0}, 100.0, "USD").priced(view)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    schedule=st.sampled_from(SCHEDULES),
    cut=st.integers(1, SESSIONS.size),
    seed=st.integers(0, 1000),
)
def test_cutting_the_future_moves_no_decision(schedule, cut, seed):
    kept = np.random.default_rng(seed).random(SESSIONS.size) < 0.9
    whole = is_decision(SESSIONS[kept], schedule)
    part = is_decision(SESSIONS[kept][:cut], schedule)
    np.testing.assert_array_equal(whole[:cut], part)


@pytest.mark.parametrize("code", ["W", "M", "Q", "Y"])
def test_named_schedules_are_the_first_session_of_each_period(code):
    name = {"W": "weekly", "M": "monthly", "Q": "quarterly", "Y": "yearly"}[code]
    index = pd.DatetimeIndex(SESSIONS)
    first = ~index.to_period(code).duplicated()
    first[0] = False
    np.testing.assert_array_equal(is_decision(SESSIONS, name), first)


def test_daily_once_and_lists():
    assert is_decision(SESSIONS, "daily")[1:].all()
    assert not is_decision(SESSIONS, "once").any()
    chosen = is_decision(SESSIONS, ["2022-01-05", SESSIONS[10]])
    np.testing.assert_array_equal(np.flatnonzero(chosen), [2, 10])
    with pytest.raises(DataError, match="not a session; at date 2022-01-08"):
        is_decision(SESSIONS, ["2022-01-08"])
    for bad in ("fortnightly", 5):
        with pytest.raises(UsageError, match="unknown schedule"):
            is_decision(SESSIONS, bad)


def test_strategies_are_values():
    for strategy in (Hold(), Hold({"A": 1.0}), EqualWeight(), EqualWeight(["A"])):
        assert isinstance(strategy, Strategy)
        assert pickle.loads(pickle.dumps(strategy)) == strategy
        assert type(strategy).__name__ in repr(strategy)
        with pytest.raises(AttributeError):
            strategy.name = "other"
    assert Hold({"A": 1.0}) == Hold((("A", 1.0),))


def test_equal_weight_takes_what_can_be_traded(panel):
    early = panel.as_of("2024-01-10")
    weights = EqualWeight().propose(early, cash_book(early)).weights
    assert weights == pytest.approx(
        {"CASH:USD": 0.0, "A": 1 / 3, "B": 1 / 3, "D": 1 / 3}
    )
    late = panel.as_of("2024-02-09")  # C is listed by now, D has gone
    weights = EqualWeight().propose(late, cash_book(late)).weights
    assert {k for k, w in weights.items() if w} == {"A", "B", "C"}
    strict = EqualWeight(min_history=15).propose(late, cash_book(late)).weights
    assert {k for k, w in strict.items() if w} == {"A", "B"}
    some = EqualWeight(("B",)).propose(late, cash_book(late)).weights
    assert some["B"] == 1.0
    with pytest.raises(ModelError, match="no asset can be traded"):
        EqualWeight(("D",)).propose(late, cash_book(late))
    with pytest.raises(DataError, match="ZZ"):
        EqualWeight(("ZZ",)).propose(late, cash_book(late))


def test_hold_buys_once_and_then_leaves_the_book_alone(panel):
    view = panel.as_of("2024-01-10")
    strategy = Hold({"A": 0.25, "B": 0.5, "CASH:USD": 0.25})
    first = strategy.propose(view, cash_book(view))
    assert first.weights == pytest.approx({"CASH:USD": 0.25, "A": 0.25, "B": 0.5})
    drifted = Portfolio.from_weights(
        {"A": 0.6, "B": 0.2, "CASH:USD": 0.2}, 100.0, "USD"
    ).priced(view)
    later = strategy.propose(view, drifted)
    assert later.outcome is Outcome.NO_TRADE
    assert not later.trades
    foreign = Portfolio.from_weights({"A": 0.5, "D": 0.5}, 100.0, "USD").priced(view)
    assert strategy.propose(view, foreign).weights["D"] == 0.0
    keeps = Hold().propose(view, foreign)
    assert keeps.outcome is Outcome.NO_TRADE
    np.testing.assert_array_equal(keeps.target, foreign.weights)
