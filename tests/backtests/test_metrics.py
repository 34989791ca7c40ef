"""Performance figures against published values and plain formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from backtests import metrics
from engine.errors import DataError, UsageError

R = np.random.default_rng(0).standard_t(5, 500) * 0.01 + 0.0004


@pytest.mark.parametrize(
    ("moments", "version", "expected"),
    [
        # The hedge fund of Bailey, Lopez de Prado (2012): 24 months, monthly Sharpe
        # ratio 0.458; 0.982 if its returns were normal, 0.913 with their moments.
        ({"sharpe": 0.458}, "2012", 0.982),
        ({"sharpe": 0.458, "skew": -2.448, "kurtosis": 10.164}, "2012", 0.913),
        # The same fund under both variants, Lopez de Prado et al. (2025).
        ({"sharpe": 0.456, "skew": -2.448, "kurtosis": 10.164}, "2012", 0.913),
        ({"sharpe": 0.456, "skew": -2.448, "kurtosis": 10.164}, "2025", 0.987),
    ],
)
def test_probabilistic_sharpe_of_the_published_fund(moments, version, expected):
    got = metrics.probabilistic_sharpe_ratio(n=24, version=version, **moments)
    assert got == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("n_trials", "expected"), [(100, 0.9004), (46, 0.9505)])
def test_deflated_sharpe_of_the_published_example(n_trials, expected):
    # Bailey, Lopez de Prado (2014): annual Sharpe ratio 2.5 over 1250 days of 250 a
    # year, variance of the trials' annual ratios 1/2, skew -3, kurtosis 10.
    got = metrics.deflated_sharpe_ratio(
        sharpe=2.5 / math.sqrt(250),
        n=1250,
        skew=-3.0,
        kurtosis=10.0,
        n_trials=n_trials,
        variance_of_sharpes=0.5 / 250,
    )
    assert got == pytest.approx(expected, abs=1e-4)
    if n_trials == 100:
        best = metrics.expected_maximum_sharpe(0.5 / 250, n_trials)
        assert best == pytest.approx(0.1132, abs=5e-5)


def test_expected_maximum_grows_with_trials_and_matches_simulation():
    assert metrics.expected_maximum_sharpe(1.0, 1) == 0.0
    draws = np.random.default_rng(1).standard_normal((20_000, 50)).max(axis=1)
    assert metrics.expected_maximum_sharpe(1.0, 50) == pytest.approx(
        draws.mean(), rel=0.02
    )


def test_psr_at_its_own_sharpe_is_one_half_and_deflation_lowers_it():
    m = metrics.moments(R)
    assert metrics.probabilistic_sharpe_ratio(R, benchmark=m.sharpe) == 0.5
    plain = metrics.probabilistic_sharpe_ratio(R)
    assert metrics.deflated_sharpe_ratio(
        R, n_trials=1, variance_of_sharpes=0.001
    ) == pytest.approx(plain)
    assert (
        metrics.deflated_sharpe_ratio(R, n_trials=20, variance_of_sharpes=0.001) < plain
    )


def test_minimum_track_record_is_where_psr_reaches_the_level():
    moments = {"sharpe": 0.1, "skew": -0.5, "kurtosis": 6.0}
    length = metrics.minimum_track_record_length(level=0.95, **moments)
    at = metrics.probabilistic_sharpe_ratio(n=math.ceil(length), **moments)
    before = metrics.probabilistic_sharpe_ratio(n=math.ceil(length) - 1, **moments)
    assert before < 0.95 <= at
    assert metrics.minimum_track_record_length(R, benchmark=9.0) == math.inf


def test_sharpe_ratio_and_errors_are_their_formulas():
    T, q = R.size, 250.0
    sr = R.mean() / R.std(ddof=1)
    assert metrics.sharpe_ratio(R, periods_per_year=q) == pytest.approx(
        sr * math.sqrt(q)
    )
    assert metrics.sharpe_ratio(
        R, periods_per_year=1, risk_free=0.001
    ) == pytest.approx((R.mean() - 0.001) / R.std(ddof=1))
    lo = metrics.sharpe_standard_error(R, periods_per_year=q, method="normal")
    assert lo == pytest.approx(math.sqrt(q * (1 + sr**2 / 2) / T))
    g3, g4 = stats.skew(R), stats.kurtosis(R, fisher=False)
    mertens = metrics.sharpe_standard_error(R, periods_per_year=q)
    root = 1 + sr**2 / 2 - g3 * sr + (g4 - 3) / 4 * sr**2
    assert mertens == pytest.approx(math.sqrt(q * root / T))
    # Without lags the delta method is Mertens' formula.
    hac = metrics.sharpe_standard_error(R, periods_per_year=q, method="hac", lags=0)
    assert hac == pytest.approx(mertens, rel=2e-3)


def test_hac_error_grows_with_autocorrelation():
    rng = np.random.default_rng(2)
    x = np.zeros(4_000)
    e = rng.normal(0.05, 1.0, x.size)
    for t in range(1, x.size):
        x[t] = 0.5 * x[t - 1] + e[t]
    x += 1.0
    plain = metrics.sharpe_standard_error(x, periods_per_year=1, method="normal")
    hac = metrics.sharpe_standard_error(x, periods_per_year=1, method="hac", lags=20)
    assert hac > 1.4 * plain


def test_standard_error_matches_simulation():
    rng = np.random.default_rng(3)
    draws = rng.normal(0.1, 1.0, (4_000, 200))
    ratios = draws.mean(axis=1) / draws.std(axis=1, ddof=1)
    claimed = metrics.sharpe_standard_error(draws[0], periods_per_year=1)
    assert claimed == pytest.approx(ratios.std(), rel=0.06)


def test_returns_and_volatility():
    r = [0.1, -0.5, 0.2]
    assert metrics.total_return(r) == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert metrics.annual_return(r, periods_per_year=12) == pytest.approx(
        (1.1 * 0.5 * 1.2) ** 4 - 1
    )
    assert metrics.volatility(r, periods_per_year=4) == pytest.approx(
        2 * np.std(r, ddof=1)
    )
    assert metrics.annual_return([-1.0], periods_per_year=12) == -1.0


def test_volatility_error_matches_simulation():
    draws = np.random.default_rng(3).normal(0, 0.02, (3_000, 250))
    claimed = metrics.volatility_standard_error(draws[0], periods_per_year=250)
    spread = (draws.std(axis=1, ddof=1) * math.sqrt(250)).std()
    assert claimed == pytest.approx(spread, rel=0.1)


def test_drawdown_has_its_dates():
    dates = np.arange("2024-01-01", "2024-01-08", dtype="datetime64[D]")
    value = [100, 120, 90, 60, 110, 120, 80]
    d = metrics.max_drawdown(value, dates)
    assert d == (0.5, dates[1], dates[3], dates[5])
    assert metrics.max_drawdown([1.0, 2.0, 1.0]) == (0.5, 1, 2, None)
    assert metrics.max_drawdown([1.0, 2.0]).depth == 0.0


def test_expected_shortfall_is_the_mean_of_the_worst():
    r = np.arange(-50, 50) / 1000
    assert metrics.expected_shortfall(r, level=0.95) == pytest.approx(0.048)


def test_summary_of_plain_returns_has_errors_beside_estimates():
    s = metrics.summary(R, periods_per_year=250.0)
    for name in ("sharpe", "volatility", "mean_excess_return", "expected_shortfall_95"):
        assert s[f"{name}_se"] > 0
    assert s["sharpe"] == pytest.approx(metrics.sharpe_ratio(R, periods_per_year=250))
    assert s["total_return"] == pytest.approx(metrics.total_return(R))
    flat = metrics.summary(np.zeros(30), periods_per_year=250.0)
    assert math.isnan(flat["sharpe"])
    assert flat["max_drawdown"] == 0.0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.sharpe_ratio([0.1], periods_per_year=250), DataError, "few"),
        (
            lambda: metrics.sharpe_ratio([0.1, 0.1, 0.1], periods_per_year=250),
            DataError,
            "constant",
        ),
        (
            lambda: metrics.sharpe_ratio([0.1, np.nan], periods_per_year=250),
            DataError,
            "non-finite",
        ),
        (lambda: metrics.sharpe_ratio(R, periods_per_year=0), UsageError, "positive"),
        (
            lambda: metrics.sharpe_ratio(R, periods_per_year=1, risk_free=[0.1, 0.2]),
            DataError,
            "risk_free",
        ),
        (lambda: metrics.probabilistic_sharpe_ratio(), UsageError, "needs returns"),
        (
            lambda: metrics.probabilistic_sharpe_ratio(R, sharpe=0.1),
            UsageError,
            "not both",
        ),
        (
            lambda: metrics.probabilistic_sharpe_ratio(sharpe=1, n=9, skew=9),
            DataError,
            "no distribution",
        ),
        (lambda: metrics.expected_maximum_sharpe(1.0, 0.5), UsageError, "1 or more"),
        (lambda: metrics.summary(R), UsageError, "periods_per_year"),
        (lambda: metrics.max_drawdown([1.0, 0.0]), DataError, "positive"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
