"""Value and drawdown of a book along paths: identities, a slow reference, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import ModelError, UsageError
from engine.montecarlo import simulate
from tests.montecarlo.test_laws import a_model, factor_form

W = np.array([0.5, 0.4, -0.2, 0.3])


@pytest.fixture(scope="module")
def walked():
    model = a_model(factor_form(3), tail_dof=5.0)
    return simulate(model, 300, horizon=8, seed=1, paths=True)


def slow(paths, w, every, cost):
    """One scenario, holding money; the cost equation by bisection."""
    value, money, idle = [], w.copy(), 1.0 - w.sum()
    previous = np.ones(w.size)
    for t, growth in enumerate(1 + paths):
        money = money * growth / previous
        previous = growth
        total = idle + money.sum()
        if every and (t + 1) % every == 0 and t + 1 < len(paths):
            low, high = 0.0, total
            for _ in range(200):
                mid = 0.5 * (low + high)
                if mid + (cost * np.abs(w * mid - money)).sum() < total:
                    low = mid
                else:
                    high = mid
            total = mid
            money, idle = w * total, (1 - w.sum()) * total
        value.append(total)
    return np.array(value)


def test_buy_and_hold_ends_in_the_loss(walked):
    value = walked.book_paths(W)
    assert value.shape == (300, 8)
    np.testing.assert_allclose(1 - value[:, -1], walked.losses(W), atol=1e-14)
    np.testing.assert_allclose(value, 1 + walked.paths @ W, atol=1e-14)


@pytest.mark.parametrize("every", [1, 3, 8])
@pytest.mark.parametrize("bps", [0.0, 5.0, 400.0])
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_rebalancing_against_bisection(walked, every, bps, scale):
    w = W * scale  # the rest earns nothing
    value = walked.book_paths(w, rebalance=every, half_spread_bps=bps)
    cost = np.array([bps * 1e-4] * 3 + [0.0])
    for s in range(0, 300, 37):
        np.testing.assert_allclose(
            value[s], slow(walked.paths[s], w, every, cost), rtol=1e-12
        )


def test_free_daily_rebalancing_compounds_the_weighted_return(walked):
    growth = 1 + walked.paths
    step = growth / np.concatenate([np.ones((300, 1, 4)), growth[:, :-1]], axis=1)
    expected = np.cumprod((step - 1) @ W + 1, axis=1)
    np.testing.assert_allclose(walked.book_paths(W, rebalance=1), expected, rtol=1e-13)


def test_costs_only_take(walked):
    free = walked.book_paths(W, rebalance=2)
    paid = walked.book_paths(W, rebalance=2, half_spread_bps=20)
    assert (paid[:, 1:] < free[:, 1:]).all()
    np.testing.assert_array_equal(paid[:, 0], free[:, 0])


def test_drawdown_against_a_running_maximum(walked):
    for options in ({}, {"rebalance": 2, "half_spread_bps": 10.0}):
        value = walked.book_paths(W, **options)
        full = np.column_stack([np.ones(300), value])
        peak = np.maximum.accumulate(full, axis=1)
        np.testing.assert_allclose(
            walked.drawdowns(W, **options), (1 - full / peak).max(axis=1), atol=1e-15
        )
    assert (walked.drawdowns(W) >= np.maximum(walked.losses(W), 0) - 1e-15).all()
    assert not walked.drawdowns([0, 0, 0, 1.0]).any()  # cash at 4% only rises


def test_refusals(walked):
    with pytest.raises(UsageError, match="hold no paths"):
        replace(walked, paths=None).drawdowns(W)
    for bad in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match="rebalance"):
            walked.book_paths(W, rebalance=bad)
    for bad in (-1.0, 1e4, float("nan")):
        with pytest.raises(UsageError, match="half_spread_bps"):
            walked.book_paths(W, half_spread_bps=bad)
    with pytest.raises(UsageError, match="whole book"):
        walked.book_paths(W * 30, rebalance=1, half_spread_bps=500)
    with pytest.raises(ModelError, match="nothing left"):
        walked.book_paths(np.array([400.0, 0, 0, -399.0]), rebalance=1)
