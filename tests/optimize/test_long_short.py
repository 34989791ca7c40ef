"""Short positions: gross and net limits, closed forms, whole shares."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proposal_cases import FREE, Fixed, book, draws_of, market_of, random_set

from engine import Constraints, Costs, InfeasibleError, StressCap, propose
from engine.optimize._propose import _risk_root

W0 = np.array([0.3, 0.3, 0.2, 0.2, 0.0, 0.0, 0.0])
OPEN = {"lower": -1.0, "cash": (0.0, 1.0), "minimum_trade": 0.0}


def minimum_variance(scenarios, **limits):
    return propose(
        book(W0), scenarios, Constraints(**(OPEN | limits)), FREE,
        objective="minimum_variance",
    )  # fmt: skip


def gross_of(w):
    return float(np.abs(w[:-1]).sum())


def test_without_limits_the_minimum_variance_goes_short_by_the_closed_form():
    scenarios = random_set(3)
    root = _risk_root(scenarios)
    C = (root @ root.T)[:-1, :-1]
    expected = np.linalg.solve(C, np.ones(6))
    expected /= expected.sum()
    assert expected.min() < -0.01
    got = minimum_variance(scenarios, cash=(0.0, 0.0))
    np.testing.assert_allclose(got.target[:6], expected, atol=2e-5)


@pytest.mark.parametrize("gross", [1.0, 1.1, 1.3])
def test_gross_and_net_agree_with_the_textbook(gross):
    scenarios = random_set(3)
    root = _risk_root(scenarios)
    w = cp.Variable(7)
    rows = [
        cp.sum(w) == 1,
        w >= -1,
        w[-1] == 0,
        cp.norm1(w[:6]) <= gross,
    ]
    goal = cp.Minimize(cp.sum_squares(root.T @ w))
    cp.Problem(goal, rows).solve(solver="CLARABEL")
    got = minimum_variance(scenarios, gross=gross, cash=(0.0, 0.0))
    np.testing.assert_allclose(got.target, w.value, atol=2e-4)
    assert gross_of(got.target) <= gross + 1e-6
    check = next(c for c in got.limits if c.name == "gross")
    assert check.after == pytest.approx(gross_of(got.target))
    assert check.before == pytest.approx(1.0)


def test_a_net_band_is_what_is_not_cash():
    got = minimum_variance(random_set(3), net=(0.55, 0.6), gross=1.2)
    net = got.target[:-1].sum()
    assert 0.55 - 1e-6 <= net <= 0.6 + 1e-6
    assert got.target[-1] == pytest.approx(1 - net)
    checks = {c.name: c for c in got.limits}
    assert checks["net"].limit == 0.6 and checks["net (least)"].limit == 0.55
    assert checks["net"].satisfied and checks["net (least)"].satisfied
    text = minimum_variance(
        random_set(3), limits=["0.55 <= net <= 0.6", "gross <= 1.2"]
    )
    np.testing.assert_array_equal(text.target, got.target)


def test_a_short_position_hedges_a_stress():
    """A loses 20%, B 40%: short B offsets A where gains count."""
    cap = StressCap(
        Fixed([-0.2, -0.4, 0.0]), 0.10, quantile="central", winner_credit=1.0
    )
    got = propose(
        book([1.0, 0.0, 0.0]),
        draws_of(np.zeros((4, 2))),
        Constraints(
            stress_caps=cap, lower={"A1": -1.0}, cash=(0.0, 1.0), minimum_trade=0.0
        ),
        Costs(half_spread_bps={"A0": 500.0, "A1": 1.0}),
        objective="minimum_cost",
    )
    # One unit of B short saves 0.4; selling A is five hundred times dearer.
    assert got.target[0] == pytest.approx(1.0, abs=1e-3)
    assert got.target[1] == pytest.approx(-0.25, abs=1e-3)
    assert got.stress_after["fixed"] <= 0.10 + 1e-6


def test_long_only_never_sells_more_than_is_held():
    got = minimum_variance(random_set(3), lower=0.0)
    assert (got.target[:-1] >= 0).all()
    assert gross_of(got.target) <= 1.0 + 1e-9


def test_whole_shares_may_go_short():
    market = market_of([100.0, 50.0, 20.0, 10.0, 80.0, 30.0])
    held = book([0.3, 0.4, 0.2, 0.0, 0.0, 0.03, 0.07])
    limits = Constraints(lower=-1.0, cash=(0.0, 0.05), gross=1.3, minimum_trade=0.0)
    whole, smooth = (
        propose(held, random_set(3), limits, FREE, objective="minimum_variance",
                market=m)
        for m in (market, None)
    )  # fmt: skip
    assert all(float(t.units).is_integer() for t in whole.trades)
    assert min(whole.target) < -0.01  # more is sold than was held
    assert all(c.satisfied for c in whole.limits)
    np.testing.assert_allclose(whole.target, smooth.target, atol=1e-3)


def test_gross_below_net_is_infeasible_and_named():
    with pytest.raises(InfeasibleError) as caught:
        minimum_variance(random_set(3), gross=0.5, net=(0.8, 1.0))
    assert set(caught.value.conflict) >= {"gross", "net"}
    assert "gross at most 50.00%" in str(caught.value)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    gross=st.floats(0.6, 2.0),
    low=st.floats(0.0, 0.5),
    width=st.floats(0.0, 0.5),
    seed=st.integers(0, 5),
)
def test_limits_hold_whatever_they_are(gross, low, width, seed):
    got = minimum_variance(random_set(seed), gross=gross, net=(low, low + width),
                           cash=(-1.0, 1.0))  # fmt: skip
    assert gross_of(got.target) <= gross + 1e-6
    assert low - 1e-6 <= got.target[:-1].sum() <= low + width + 1e-6
    assert all(c.satisfied for c in got.limits)
