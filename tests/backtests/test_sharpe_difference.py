"""Equality of two Sharpe ratios: published values, closed form, size of the test."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from backtests import backtest, sharpe_difference
from engine import load_panel
from engine.errors import DataError, UsageError
from strategies import EqualWeight, FixedMix


@pytest.fixture(scope="module")
def published(real_data):
    return pd.read_csv(
        real_data / "reference_inputs" / "lw2008_monthly_excess_returns_pct.csv",
        index_col=0,
    )


def test_standard_errors_of_the_published_hedge_funds(published):
    """Ledoit and Wolf (2008), table 4, to the digits their own programs print."""
    a, b = published["hedge_a"], published["hedge_b"]
    hac = sharpe_difference(a, b, periods_per_year=1, method="hac")
    white = sharpe_difference(a, b, periods_per_year=1, method="hac_prewhitened")
    assert hac.first == pytest.approx(1.014228, abs=5e-7)
    assert hac.second == pytest.approx(1.460547, abs=5e-7)
    assert hac.standard_error == pytest.approx(0.3176271, abs=5e-8)
    assert white.standard_error == pytest.approx(0.3872694, abs=5e-8)
    assert hac.p_value == pytest.approx(0.1599724, abs=5e-8)
    assert white.p_value == pytest.approx(0.2491259, abs=5e-8)


@pytest.mark.parametrize(
    ("pair", "p_value"), [("fund", 0.092), ("hedge", 0.294)], ids=["mutual", "hedge"]
)
def test_bootstrap_p_values_are_the_published_ones(published, pair, p_value):
    got = sharpe_difference(
        published[f"{pair}_a"], published[f"{pair}_b"], periods_per_year=1, block=5
    )
    error = math.sqrt(p_value * (1 - p_value) / 4999)
    # Two Monte Carlo errors, theirs and ours: 3.5 of them.
    assert abs(got.p_value - p_value) < 3.5 * math.sqrt(2) * error


def test_memmel_by_hand():
    rng = np.random.default_rng(3)
    x = rng.normal(0.05, 1.0, size=(500, 2))
    got = sharpe_difference(
        x[:, 0], x[:, 1], periods_per_year=1, method="jobson_korkie"
    )
    a, b = x.mean(axis=0) / x.std(axis=0, ddof=1)
    r = np.corrcoef(x.T)[0, 1]
    by_hand = math.sqrt((2 - 2 * r + 0.5 * (a * a + b * b - 2 * a * b * r * r)) / 500)
    assert got.standard_error == pytest.approx(by_hand, rel=1e-12)
    assert got.difference == pytest.approx(a - b, rel=1e-12)


def test_every_method_agrees_on_long_independent_normal_returns():
    rng = np.random.default_rng(5)
    x = rng.normal(0.03, 1.0, size=(20_000, 2))
    errors = [
        sharpe_difference(x[:, 0], x[:, 1], periods_per_year=1, method=m).standard_error
        for m in ("jobson_korkie", "hac", "hac_prewhitened")
    ]
    # The standard error is itself estimated to about 1 / sqrt(2 T) = 0.5%.
    assert max(errors) / min(errors) < 1.03


def test_the_bootstrap_rejects_a_true_hypothesis_as_often_as_it_says():
    rejected = 0
    for k in range(120):
        rng = np.random.default_rng(100 + k)
        x = rng.standard_t(5, size=(120, 2)) + 0.1
        got = sharpe_difference(
            x[:, 0], x[:, 1], periods_per_year=12, n=199, block=1, seed=k
        )
        rejected += got.p_value <= 0.10
    # Binomial(120, 0.1): mean 12, standard deviation 3.3; four of them.
    assert abs(rejected - 12) <= 13


def test_scale_seed_and_sign():
    rng = np.random.default_rng(9)
    x = rng.normal(0.04, 1.0, size=(300, 2))
    year = sharpe_difference(x[:, 0], x[:, 1], periods_per_year=12, n=499, seed=4)
    turned = sharpe_difference(x[:, 1], x[:, 0], periods_per_year=12, n=499, seed=4)
    again = sharpe_difference(x[:, 0], x[:, 1], periods_per_year=12, n=499, seed=4)
    one = sharpe_difference(x[:, 0], x[:, 1], periods_per_year=1, n=499, seed=4)
    assert again == year
    assert turned.difference == pytest.approx(-year.difference, rel=1e-12)
    assert turned.p_value == year.p_value
    assert year.difference == pytest.approx(one.difference * math.sqrt(12), rel=1e-12)
    assert year.low < year.difference < year.high


@pytest.mark.parametrize(
    ("a", "b", "options", "error", "says"),
    [
        (np.ones(20), np.arange(20.0), {}, DataError, "first series is constant"),
        (np.arange(20.0), np.arange(21.0), {}, DataError, "same dates"),
        (np.arange(5.0), np.arange(5.0), {}, DataError, "too few"),
        (np.arange(20.0), np.arange(20.0)[::-1], {"method": "x"}, UsageError, "method"),
        (np.arange(20.0), np.arange(20.0)[::-1], {"block": 11}, UsageError, "1 to 10"),
        (np.arange(20.0), np.arange(20.0)[::-1], {"n": 3}, UsageError, "99 or more"),
        (np.r_[np.nan, np.arange(19.0)], np.arange(20.0), {}, DataError, "non-finite"),
    ],
)
def test_bad_input(a, b, options, error, says):
    with pytest.raises(error, match=says):
        sharpe_difference(a, b, periods_per_year=1, **options)


@pytest.mark.parametrize("method", ["bootstrap", "hac", "jobson_korkie"])
@pytest.mark.parametrize("leverage", [2.0, 1.0 + 1e-13, 0.3])
def test_a_levered_series_has_the_same_ratio(method, leverage):
    x = np.random.default_rng(0).standard_normal(300) * 0.01 + 3e-4
    found = sharpe_difference(
        x, leverage * x, periods_per_year=252, method=method, n=199
    )
    assert found.difference == 0.0
    assert found.p_value == 1.0


def test_results_bring_their_own_periods_and_dates():
    panel = load_panel("reference", ["NVDA", "JPM"], start="2024-01-02")
    one = backtest(EqualWeight(), panel)
    two = backtest(FixedMix({"NVDA": 0.2, "JPM": 0.3, "CASH:USD": 0.5}), panel)
    found = sharpe_difference(one, two, n=199)
    plain = sharpe_difference(
        one.excess_returns(),
        two.excess_returns(),
        periods_per_year=one.periods_per_year,
        n=199,
    )
    assert found == plain
    later = backtest(EqualWeight(), panel, start="2024-02-01")
    with pytest.raises(DataError, match="same dates"):
        sharpe_difference(one, later, n=199)
    with pytest.raises(UsageError, match="periods_per_year"):
        sharpe_difference(one.returns(), two.returns(), n=199)


def test_two_records_that_differ_on_few_dates():
    """One date in three hundred: a third of the resamples do not hold it."""
    x = np.random.default_rng(0).standard_normal(300) * 0.01
    y = x.copy()
    y[10] += 0.02
    with pytest.raises(DataError, match="1 of 300 dates"):
        sharpe_difference(x, y, periods_per_year=252, n=499)
    y[10:200:4] += 0.001
    found = sharpe_difference(x, y, periods_per_year=252, n=499)
    assert 0.0 < found.p_value <= 1.0 and np.isfinite(found.low)
