"""Rules by risk, momentum and a fixed mix: formulas, limits, and only the past."""

import pickle

import numpy as np
import pandas as pd
import pytest

from backtests import assert_no_lookahead, backtest
from engine.costs import Costs
from engine.data.load import load_panel
from engine.data.portfolio import Portfolio
from engine.errors import DataError, ModelError, UsageError
from engine.optimize import hierarchical, risk_budgeting
from strategies import (
    FixedMix,
    HierarchicalRiskParity,
    InverseVolatility,
    MaximumDiversification,
    Momentum,
    RiskParity,
)
from strategies.base import Strategy

T, NAMES = 90, list("ABCDEF")
WINDOW = 40


def make_panel(**options):
    rng = np.random.default_rng(5)
    index = pd.bdate_range("2024-01-01", periods=T)
    moves = 0.01 * (rng.standard_normal((T, 1)) + rng.standard_normal((T, 6)))
    prices = 50 * np.exp(np.cumsum(moves * np.linspace(0.5, 2, 6), axis=0))
    prices[:60, 5] = np.nan  # F is listed late
    frame = pd.DataFrame(prices, index=index, columns=NAMES)
    return load_panel(frame, price_basis="total_return", currency="USD", **options)


PANEL = make_panel()
LAST = PANEL.as_of(PANEL.dates[-1])
RISK = [
    InverseVolatility(window=WINDOW),
    RiskParity(window=WINDOW, cash=0.1),
    MaximumDiversification(window=WINDOW, upper=0.3),
    HierarchicalRiskParity(window=WINDOW, covariance="sample"),
    HierarchicalRiskParity(
        window=WINDOW, covariance="sample", method="HERC", cash=0.25
    ),
]
RULES = [
    *RISK,
    Momentum(lookback=40, skip=5, cash=0.05),
    FixedMix({"A": 0.5, "F": 0.3, "CASH:USD": 0.2}),
]


def book(view, weights=None):
    held = weights or {"CASH:USD": 1.0}
    return Portfolio.from_weights(held, 1e6, "USD").priced(view)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.name}")
def test_no_rule_looks_ahead(rule):
    assert_no_lookahead(rule, PANEL, dates=[PANEL.dates[i] for i in (50, 70, 88)])


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.name}")
def test_weights_lie_in_the_unit_interval_and_cash_is_honoured(rule):
    assert isinstance(rule, Strategy) and pickle.loads(pickle.dumps(rule)) == rule
    made = rule.propose(LAST, book(LAST, {"A": 0.2, "B": 0.8}))
    w = made.weights
    assert sum(w.values()) == pytest.approx(1.0, abs=1e-9)
    assert min(w.values()) >= 0 and max(w.values()) <= 1
    if not isinstance(rule, FixedMix):
        assert w["CASH:USD"] == pytest.approx(rule.cash, abs=1e-12)
        assert w.get("F", 0.0) == 0.0  # thirty prices are no full window
    estimated = rule.propose(LAST, book(LAST), rule.estimate(LAST))
    again = rule.propose(LAST, book(LAST))
    assert estimated.target.tobytes() == again.target.tobytes()


def test_each_rule_is_its_formula():
    model = RISK[0].estimate(LAST)
    assert model.assets == tuple("ABCDE")
    C = model.dense_covariance()
    sigma = np.sqrt(np.diagonal(C))

    def weights(rule):
        w = rule.propose(LAST, book(LAST)).weights
        return np.array([w[k] for k in "ABCDE"])

    np.testing.assert_allclose(
        weights(RISK[0]), (1 / sigma) / (1 / sigma).sum(), rtol=1e-12
    )
    parity = weights(RISK[1])
    np.testing.assert_allclose(parity, 0.9 * risk_budgeting(C), rtol=1e-12)
    c = parity * (C @ parity)
    np.testing.assert_allclose(c / c.sum(), np.full(5, 0.2), rtol=1e-9)
    diversified = weights(RISK[2])
    assert diversified.max() <= 0.3 + 1e-12

    def ratio(w):
        return w @ sigma / np.sqrt(w @ C @ w)

    free = ratio(weights(MaximumDiversification(window=WINDOW)))
    assert free >= max(ratio(weights(r)) for r in RISK) - 1e-12
    C = RISK[3].estimate(LAST).dense_covariance()
    for rule, method in ((RISK[3], "HRP"), (RISK[4], "HERC")):
        peer = hierarchical(covariance=C, method=method).weights
        np.testing.assert_allclose(weights(rule), (1 - rule.cash) * peer, rtol=1e-12)


def test_momentum_ranks_the_year_without_its_last_month():
    """By hand on straight lines: the skip decides who is in."""
    steps = np.arange(T)
    frame = pd.DataFrame(
        {
            "A": 100 + steps,  # 40 to 10 sessions ago: up
            "B": 300 - steps,  # down
            "C": np.where(steps < T - 10, 100 + 3 * steps, 1.0),  # fell last week
            "D": np.where(steps < T - 10, 300 - 2.0 * steps, 1e6),  # rose last week
            "E": np.full(T, 7.0),
        },
        index=pd.bdate_range("2024-01-01", periods=T),
    )
    panel = load_panel(frame, price_basis="total_return", currency="USD")
    view = panel.as_of(panel.dates[-1])
    rule = Momentum(lookback=40, skip=10)
    last = T - 1
    moves = rule.estimate(view)
    for k in "ABCDE":
        column = frame[k].to_numpy()
        assert moves[k] == pytest.approx(column[last - 10] / column[last - 40] - 1)
    w = rule.propose(view, book(view)).weights
    assert {k: v for k, v in w.items() if v} == pytest.approx(
        {"A": 1 / 3, "C": 1 / 3, "E": 1 / 3}
    )
    now = Momentum(lookback=40, skip=0).propose(view, book(view)).weights
    assert now["D"] == pytest.approx(1 / 3) and now.get("C", 0.0) == 0.0


def test_momentum_takes_the_last_price_where_there_was_none():
    frame = pd.DataFrame(
        {"A": np.linspace(1, 2, T), "B": np.linspace(2, 1, T)},
        index=pd.bdate_range("2024-01-01", periods=T),
    )
    frame.iloc[T - 1 - 10, 0] = np.nan
    panel = load_panel(frame, price_basis="total_return", currency="USD")
    moves = Momentum(lookback=40, skip=10).estimate(panel.as_of(panel.dates[-1]))
    a = frame["A"].to_numpy()
    assert moves["A"] == pytest.approx(a[T - 12] / a[T - 1 - 40] - 1)


def test_a_fixed_mix_returns_to_its_weights_and_says_what_waits():
    rule = FixedMix({"A": 0.5, "F": 0.3, "CASH:USD": 0.2})
    late = rule.propose(LAST, book(LAST, {"A": 0.9, "F": 0.1}))
    assert late.weights == pytest.approx({"A": 0.5, "F": 0.3, "CASH:USD": 0.2})
    assert not late.notes
    early = PANEL.as_of(PANEL.dates[30])
    made = rule.propose(early, book(early))
    assert made.weights == pytest.approx({"A": 0.5, "CASH:USD": 0.5})
    assert made.notes == ("F cannot be held: its 30.00% waits in cash",)
    with pytest.raises(DataError, match="ZZ"):
        FixedMix({"ZZ": 1.0}).propose(LAST, book(LAST))


def test_members_only():
    membership = pd.DataFrame(
        {
            "ticker": list("ABCD"),
            "start": ["2024-01-01"] * 4,
            "end": ["2024-03-01", None, None, None],
        }
    )
    panel = make_panel(membership=membership)
    view = panel.as_of(panel.dates[-1])
    assert view.members().tolist() == [False, True, True, True, False, False]
    for rule in RULES[:-1]:
        w = rule.propose(view, book(view, {"A": 1.0})).weights
        assert {k for k, v in w.items() if v and k != "CASH:USD"} <= set("BCD")
    mix = FixedMix({"A": 0.5, "B": 0.5}).propose(view, book(view))
    assert mix.weights == pytest.approx({"B": 0.5, "CASH:USD": 0.5})
    assert mix.notes


def test_a_backtest_runs_on_each():
    for rule in RULES:
        result = backtest(
            rule,
            PANEL,
            start=PANEL.dates[45],
            end=PANEL.dates[-1],
            schedule="monthly",
            costs=Costs(5.0),
        )
        assert np.isfinite(result.metrics()["total_return"])


def test_bad_arguments():
    for cash in (-0.1, 1.0, np.nan):
        with pytest.raises(UsageError, match="share of cash"):
            RiskParity(cash=cash)
        with pytest.raises(UsageError, match="share of cash"):
            Momentum(cash=cash)
    with pytest.raises(UsageError, match="unknown method"):
        HierarchicalRiskParity(method="NCO")
    with pytest.raises(UsageError, match="below lookback"):
        Momentum(lookback=21, skip=21)
    with pytest.raises(DataError, match="do not sum to one"):
        FixedMix({"A": 0.5})
    with pytest.raises(DataError, match=r"outside \[0, 1\]; at asset B"):
        FixedMix({"B": -0.5, "A": 1.5})
    early = PANEL.as_of(PANEL.dates[10])
    for rule in RULES[:-1]:
        with pytest.raises((DataError, ModelError), match=r"window|year"):
            rule.propose(early, book(early))
    with pytest.raises(DataError, match="ZZ"):
        RiskParity(("ZZ",)).estimate(LAST)
