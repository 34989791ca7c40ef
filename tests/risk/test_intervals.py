"""Errors and intervals, weighted or bootstrapped: do they cover what they say?"""

import math

import numpy as np
import pytest
from scipy import stats

from engine.errors import DataError, ModelError, UsageError
from engine.risk import (
    bootstrap_interval,
    expected_shortfall,
    expected_shortfall_error,
    liquidity_adjusted_value_at_risk,
    normal_expected_shortfall,
    normal_liquidity_adjusted_value_at_risk,
    scenarios_needed,
    value_at_risk,
    value_at_risk_error,
    value_at_risk_interval,
)


def importance_sample(rng, n, shift=1.0):
    """Standard normal losses drawn from N(shift, 1), and their weights."""
    x = rng.standard_normal(n) + shift
    p = np.exp(-shift * x)
    return x, p / p.sum()


def noise_sample(rng, n):
    """Weights that know nothing of the losses: Kish's number is right."""
    p = rng.exponential(size=n)
    return rng.standard_normal(n), p / p.sum()


@pytest.mark.parametrize("draw", [importance_sample, noise_sample])
@pytest.mark.parametrize("level", [0.9, 0.99])
def test_weighted_var_interval_covers(draw, level):
    rng = np.random.default_rng(1)
    truth, trials, hits = stats.norm.ppf(level), 600, 0
    for _ in range(trials):
        x, p = draw(rng, 2000)
        low, high = value_at_risk_interval(x, level=level, confidence=0.9, p=p)
        assert low <= value_at_risk(x, level=level, p=p) <= high
        hits += low <= truth <= high
    # Exact binomial ends err on the wide side; four errors of a share of 600.
    assert 0.9 - 4 * math.sqrt(0.09 / trials) <= hits / trials <= 0.97


@pytest.mark.parametrize("draw", [importance_sample, noise_sample])
def test_weighted_errors_are_the_spread_over_replications(draw):
    rng = np.random.default_rng(2)
    var, es, claimed = [], [], []
    for _ in range(500):
        x, p = draw(rng, 2000)
        var.append(value_at_risk(x, p=p))
        es.append(expected_shortfall(x, p=p))
        claimed.append((value_at_risk_error(x, p=p), expected_shortfall_error(x, p=p)))
    mean = np.sqrt(np.mean(np.square(claimed), axis=0))
    # The spread of 500 values is known to 3%; Maritz-Jarrett adds a little itself.
    assert mean[0] == pytest.approx(np.std(var), rel=0.13)
    assert mean[1] == pytest.approx(np.std(es), rel=0.12)


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_var_error_of_a_sample_is_the_asymptotic_one(level):
    n = 20_000
    rng = np.random.default_rng(3)
    got = np.mean(
        [value_at_risk_error(rng.standard_normal(n), level=level) for _ in range(40)]
    )
    f = stats.norm.pdf(stats.norm.ppf(level))
    assert got == pytest.approx(math.sqrt(level * (1 - level) / n) / f, rel=0.06)


def test_equal_probabilities_change_nothing():
    x = np.random.default_rng(4).standard_normal(1000)
    p = np.full(1000, 1e-3)
    for f in (value_at_risk_interval, value_at_risk_error, expected_shortfall_error):
        assert f(x, p=p) == f(x)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.975, 0.99, 0.999])
def test_too_few_says_how_many_are_enough(level):
    need = scenarios_needed(level)
    assert need == pytest.approx(10 / (1 - level), abs=1)
    x = np.arange(float(need))
    for f in (expected_shortfall_error, value_at_risk_error):
        assert f(x, level=level) > 0
        with pytest.raises(ModelError, match=f"{level:.5g}.*needs at least {need} "):
            f(x[:-1], level=level)


def test_a_few_heavy_scenarios_are_few():
    x = np.arange(10_000.0)
    p = np.full(10_000, 0.94 / 9_998)
    p[-2:] = 0.03
    with pytest.raises(ModelError, match="effective number"):
        expected_shortfall_error(x, p=p)
    with pytest.raises(ModelError, match="too few losses"):
        value_at_risk_interval(x, level=0.95, p=p)
    with pytest.raises(DataError, match="negative"):
        value_at_risk_error(x[:2], p=[1.5, -0.5])
    with pytest.raises(UsageError, match="one"):
        scenarios_needed(0.95, beyond=0)


# --------------------------------------------------------------------------- bootstrap


def test_bootstrap_error_is_the_formula():
    x = np.random.default_rng(5).standard_normal(4000)
    got = bootstrap_interval(x, level=0.9, n=600, seed=1)
    assert got.estimate == expected_shortfall(x, level=0.9)
    assert got.low < got.estimate < got.high
    # A spread of 600 is known to 3%.
    formula = expected_shortfall_error(x, level=0.9)
    assert got.error == pytest.approx(formula, rel=0.12)
    width = 2 * 1.96 * formula
    assert got.high - got.low == pytest.approx(width, rel=0.15)


def test_bootstrap_covers():
    rng, truth, hits, trials = np.random.default_rng(6), None, 0, 200
    truth = normal_expected_shortfall(1.0, level=0.9)
    for k in range(trials):
        x = rng.standard_normal(500)
        got = bootstrap_interval(x, level=0.9, confidence=0.9, n=200, seed=k)
        hits += got.low <= truth <= got.high
    # Percentile intervals of ES are a little short at 50 tail losses.
    assert 0.9 - 0.04 - 4 * math.sqrt(0.09 / trials) <= hits / trials <= 0.98


def test_blocks_widen_the_interval_of_dependent_losses():
    rng = np.random.default_rng(7)
    e = rng.standard_normal(2000)
    x = np.empty(2000)
    x[0] = e[0]
    for t in range(1, 2000):
        x[t] = 0.8 * x[t - 1] + e[t]
    iid = bootstrap_interval(x, np.mean, n=300)
    blocked = bootstrap_interval(x, np.mean, n=300, block="auto")
    assert blocked.block > 5
    # The long-run variance of the AR(1) is (1 + 0.8) / (1 - 0.8) = 9 times its own.
    assert 2.0 < blocked.error / iid.error < 3.6


@pytest.mark.parametrize("block", [None, 7.5])
def test_any_number_of_workers_gives_the_same_bits(block):
    x = np.random.default_rng(8).standard_normal(300)
    one, two = (
        bootstrap_interval(x, n=100, seed=3, block=block, n_jobs=j) for j in (1, 2)
    )
    assert one == two
    assert one != bootstrap_interval(x, n=100, seed=4, block=block)


def test_bootstrap_bad_input():
    x = np.random.default_rng(9).standard_normal(300)
    with pytest.raises(ModelError, match="needs at least 1000 losses"):
        bootstrap_interval(x, level=0.99)
    with pytest.raises(UsageError, match="unknown risk measure"):
        bootstrap_interval(x, "skew")
    for options in ({"n": 1}, {"block": 0.5}, {"block": "long"}, {"confidence": 1.0}):
        with pytest.raises(UsageError):
            bootstrap_interval(x, **options)
    with pytest.raises(DataError, match="not finite"):
        bootstrap_interval([1.0, np.nan])
    got = bootstrap_interval(x, value_at_risk, level=0.8, n=50)
    assert got.estimate == value_at_risk(x, level=0.8)


# --------------------------------------------------------------------------- liquidity


def test_liquidity_by_hand():
    """Bangia et al. 1999: 1 - exp(-2.33 theta sigma) + (mean + a sd) / 2."""
    got = normal_liquidity_adjusted_value_at_risk(
        0.02, 0.01, 0.004, level=0.99, spread_factor=4.0, tail_factor=1.2
    )
    assert got.market == pytest.approx(1 - math.exp(-2.3263479 * 1.2 * 0.02))
    assert got.liquidity == pytest.approx(0.013)
    assert got.total == pytest.approx(got.market + got.liquidity)
    losses = np.arange(100.0) / 100
    book = liquidity_adjusted_value_at_risk(
        losses, [0.5, -0.2, 0.7], [0.01, 0.02, 0.0], [0.002, 0.01, 0.0], level=0.9
    )
    assert book.market == value_at_risk(losses, level=0.9)
    assert book.liquidity == pytest.approx(0.5 * (0.5 * 0.016 + 0.2 * 0.05))
    free = liquidity_adjusted_value_at_risk(losses, [1.0], 0.0, 0.0)
    assert free.total == value_at_risk(losses)


def test_liquidity_bad_input():
    losses = np.arange(10.0)
    for spread, deviation in (([0.1], 0.0), (-0.1, 0.0), (0.1, np.nan), ("x", 0.0)):
        with pytest.raises(DataError, match="spread"):
            liquidity_adjusted_value_at_risk(losses, [0.5, 0.5], spread, deviation)
    with pytest.raises(UsageError, match="spread_factor"):
        liquidity_adjusted_value_at_risk(losses, [1.0], 0.1, 0.1, spread_factor=-1)
    with pytest.raises(UsageError, match="confidence"):
        normal_liquidity_adjusted_value_at_risk(0.1, 0.0, 0.0, level=99)
