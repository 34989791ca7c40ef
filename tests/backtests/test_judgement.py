"""Intervals of every figure, windows, and where the money came from."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from backtests import (
    attribution,
    backtest,
    factor_split,
    metric_intervals,
    metrics,
    regime_scores,
)
from engine.costs import Costs
from engine.data.load import load_panel
from engine.errors import DataError, UsageError
from strategies.equal import EqualWeight
from strategies.hold import Hold


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(7)
    index = pd.bdate_range("2024-06-03", periods=260)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (260, 4)), axis=0))
    frame = pd.DataFrame(values, index=index, columns=list("ABCD"))
    return load_panel(frame, price_basis="split_adjusted", currency="USD")


@pytest.fixture(scope="module")
def runs(panel):
    costs = Costs(half_spread_bps=20)
    return (
        backtest(EqualWeight(), panel, costs=costs),
        backtest(Hold({"A": 1.0}), panel, costs=costs),
    )


def test_estimates_are_those_of_the_summary(runs):
    figures, intervals = runs[0].metrics(), metric_intervals(runs[0], n=200)
    for name, interval in intervals.items():
        if name in figures:
            assert interval.estimate == pytest.approx(figures[name], rel=1e-10), name
        assert interval.low <= interval.high


def test_independent_returns_give_the_closed_form_errors():
    x = np.random.default_rng(1).normal(0.0005, 0.01, 2000)
    got = metric_intervals(x, periods_per_year=252, n=2000, block=1.0)
    # A standard deviation of n draws has an error of 1 / sqrt(2 n) of itself.
    tolerance = 4 / math.sqrt(2 * 2000)
    mean = x.std(ddof=1) / math.sqrt(2000) * 252
    assert got["mean_excess_return"].standard_error == pytest.approx(
        mean, rel=tolerance
    )
    sharpe = metrics.sharpe_standard_error(x, periods_per_year=252)
    assert got["sharpe"].standard_error == pytest.approx(sharpe, rel=tolerance)
    volatility = metrics.volatility_standard_error(x, periods_per_year=252)
    assert got["volatility"].standard_error == pytest.approx(volatility, rel=tolerance)


def test_dependence_widens_the_interval():
    rng = np.random.default_rng(2)
    x = rng.normal(0, 0.01, 3000)
    for t in range(1, x.size):
        x[t] += 0.4 * x[t - 1]
    plain = metric_intervals(x, periods_per_year=252, n=500, block=1.0)
    blocks = metric_intervals(x, periods_per_year=252, n=500)
    ratio = (
        blocks["mean_excess_return"].standard_error
        / plain["mean_excess_return"].standard_error
    )
    # Long-run over plain standard deviation of an AR(1): sqrt((1 + r) / (1 - r)).
    assert 1.25 < ratio < 1.15 * math.sqrt(1.4 / 0.6)


def test_a_reference_is_resampled_on_the_same_rows(runs):
    a, b = runs
    got = metric_intervals(a, reference=b, n=300)
    zero = metric_intervals(a, reference=a, n=100)
    assert zero["sharpe_difference"] == (0.0, 0.0, 0.0, 0.0)
    assert got["annual_return_difference"].estimate == pytest.approx(
        a.metrics()["annual_return"] - b.metrics()["annual_return"]
    )
    again = metric_intervals(a, reference=b, n=300)
    assert again == got


def test_intervals_refuse_what_they_cannot_use(runs):
    with pytest.raises(UsageError, match="periods_per_year is required"):
        metric_intervals(np.zeros(50))
    with pytest.raises(DataError, match="too few returns"):
        metric_intervals(np.zeros(5), periods_per_year=252)
    with pytest.raises(DataError, match="same dates"):
        metric_intervals(runs[0], reference=np.zeros(30))
    with pytest.raises(UsageError, match="100 or more"):
        metric_intervals(runs[0], n=3)


def test_windows_by_hand(runs):
    a, b = runs
    table = regime_scores(
        a,
        b,
        windows={
            "one": ("2024-08-01", "2024-08-15"),
            "before": ("2010-01-01", "2010-02-01"),
        },
    )
    assert list(table.index) == ["one", "other days"]
    dates = a.dates
    before = np.flatnonzero(dates < np.datetime64("2024-08-01"))[-1]
    last = np.flatnonzero(dates <= np.datetime64("2024-08-15"))[-1]
    assert table.loc["one", "return"] == pytest.approx(
        a.value[last] / a.value[before] - 1, rel=1e-12
    )
    assert table.loc["one", "difference"] == pytest.approx(
        a.value[last] / a.value[before] - b.value[last] / b.value[before], rel=1e-9
    )
    assert table["sessions"].sum() == dates.size - 1
    # Windows and the rest compound to the whole.
    assert np.prod(1 + table["return"]) == pytest.approx(a.value[-1] / a.value[0])


def test_default_windows_hold_the_event(runs):
    table = regime_scores(*runs)
    assert {"deepseek-monday", "other days"} <= set(table.index)
    assert set(table["kind"]) <= {"ai", "market", "rally", "calm"}
    assert "carry" not in " ".join(table.index)  # a placebo is no shock


def test_windows_refuse_other_dates(runs, panel):
    other = backtest(Hold({"A": 1.0}), panel, start="2024-07-01")
    with pytest.raises(DataError, match="same dates"):
        regime_scores(runs[0], other)
    with pytest.raises(UsageError, match="ends before it starts"):
        regime_scores(runs[0], windows={"x": ("2024-09-01", "2024-08-01")})


def test_contributions_sum_to_the_total_return(runs, panel):
    for run in runs:
        table = attribution(run, panel.universe, by="ticker")
        total = run.value[-1] / run.initial_value - 1
        assert table["contribution"].sum() == pytest.approx(total, abs=1e-12)
        assets = table.loc[[k for k in table.index if k in "ABCD"], "gain"].sum()
        assert assets == pytest.approx(
            run.price_pnl[1:].sum() + run.fx_pnl[1:].sum(), abs=1e-6
        )


def test_held_asset_by_hand(runs, panel):
    run = runs[1]
    table = attribution(run, panel.universe, by="ticker")
    units = run.units[-1, run.labels.index("A")]
    bought = next(f for f in run.fills if f.ticker == "A")
    price = panel.last_prices()[panel.index("A")]
    assert table.loc["A", "gain"] == pytest.approx(
        units * (price - bought.price), rel=1e-9
    )


def test_factor_split_recovers_what_made_the_returns():
    rng = np.random.default_rng(4)
    factor = rng.normal(0.001, 0.02, 4000)
    y = 0.0002 + 0.7 * factor + rng.normal(0, 0.005, 4000)
    got = factor_split(y, factor, periods_per_year=252)
    assert abs(got.beta - 0.7) < 4 * got.beta_standard_error
    assert abs(got.rest_return - 0.0002 * 252) < 4 * got.rest_standard_error
    assert got.factor_return + got.rest_return == pytest.approx(y.mean() * 252)
    statsmodels = pytest.importorskip("statsmodels.api")
    lags = int(4 * 40 ** (2 / 9))
    peer = statsmodels.OLS(y, statsmodels.add_constant(factor)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags}
    )
    assert got.beta_standard_error == pytest.approx(peer.bse[1], rel=1e-9)
    assert got.rest_standard_error == pytest.approx(peer.bse[0] * 252, rel=1e-9)


def test_factor_split_refuses():
    with pytest.raises(DataError, match="same ten dates"):
        factor_split(np.zeros(5), np.zeros(5), periods_per_year=252)
    with pytest.raises(DataError, match="constant"):
        factor_split(np.arange(20.0), np.ones(20), periods_per_year=252)
    with pytest.raises(DataError, match="non-finite"):
        factor_split(np.full(20, np.nan), np.arange(20.0), periods_per_year=252)
