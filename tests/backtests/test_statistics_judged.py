"""Capacity, exposure through time, and the judgement in one call."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ledger_cases import Targets
from test_rulebook import NAMES, run
from test_rulebook import panel as _panel  # noqa: F401

from backtests import (
    ai_factor,
    ai_weight,
    backtest,
    capacity,
    effective_names,
    exposure,
    judge,
    metrics,
    rolling_beta,
)
from backtests._attribution import asset_pnl
from backtests._judgement_data import judgement_section
from engine.costs import Costs
from engine.data.load import load_panel
from engine.errors import DataError, UsageError
from strategies import EqualWeight, FixedMix


@pytest.fixture(scope="module")
def market(_panel):  # noqa: F811
    rng = np.random.default_rng(9)
    volume = rng.uniform(0.5e5, 1.5e5, _panel.prices.shape)
    return replace(_panel, volume=volume)


@pytest.fixture(scope="module")
def runs(market):
    return run(market, "hold", "hold-cash", "equal")


def test_hac_error_and_track_record_stand_in_the_summary(runs):
    r = runs[2]
    m, x = r.metrics(), r.excess_returns()
    q = r.periods_per_year
    assert m["sharpe_hac_se"] == pytest.approx(
        metrics.sharpe_standard_error(x, periods_per_year=q, method="hac")
    )
    assert m["minimum_track_record"] == metrics.minimum_track_record_length(x)
    assert m["cost_per_year"] == pytest.approx(
        (r.costs / r.value).sum() / (len(x) / q), rel=1e-12
    )
    assert m["average_exposure"] == pytest.approx(1.0, abs=0.01)
    assert m["worst_exposure"] <= 1.0 + 1e-9


def test_minimum_track_record_of_the_published_examples():
    # Bailey, Lopez de Prado (2012), section 3.3: an annual Sharpe ratio of 2 beats 1 at
    # 95% after 2.73 years of daily IID normal returns; weekly and monthly 2.83, 3.24.
    for q, years in ((250, 2.73), (52, 2.83), (12, 3.24)):
        periods = metrics.minimum_track_record_length(
            sharpe=2 / math.sqrt(q), benchmark=1 / math.sqrt(q)
        )
        assert periods / q == pytest.approx(years, abs=0.005), q


def test_standard_errors_of_lo():
    # Lo (2002), table 1: sqrt((1 + SR^2 / 2) / T), at T = 12, 60, 500 and SR = 0.5,
    # 1, 3.
    table = {
        (0.5, 12): 0.306,
        (0.5, 60): 0.137,
        (0.5, 500): 0.047,
        (1.0, 12): 0.354,
        (1.0, 60): 0.158,
        (1.0, 500): 0.055,
        (3.0, 12): 0.677,
        (3.0, 60): 0.303,
        (3.0, 500): 0.105,
    }
    for (ratio, T), expected in table.items():
        x = np.linspace(-1, 1, T)
        x = (x - x.mean()) / x.std(ddof=1) + ratio
        got = metrics.sharpe_standard_error(x, periods_per_year=1, method="normal")
        assert got == pytest.approx(expected, abs=5e-4)


def test_drawdown_lengths_by_hand():
    r = np.array([0.1, -0.1, -0.1, 0.1, 0.2, -0.05])
    m = metrics.summary(r, periods_per_year=250)
    assert m["drawdown_sessions"] == 2 and m["recovery_sessions"] == 2
    assert m["max_drawdown"] == pytest.approx(0.19)
    below = metrics.summary(r[:3], periods_per_year=250)
    assert math.isnan(below["recovery_sessions"])


@pytest.mark.parametrize("by", ["role", "country", "currency", "theme", "ticker"])
def test_exposure_sums_to_one(runs, market, by):
    for r in runs:
        frame = exposure(r, market, by)
        np.testing.assert_allclose(frame.sum(axis=1), 1.0, atol=1e-12)
        assert len(frame) == r.dates.size
    by_ticker = exposure(runs[2], market.universe, "ticker")
    np.testing.assert_allclose(
        by_ticker["NVDA"], runs[2].weights()[:, runs[2].labels.index("NVDA")]
    )


def test_theme_weight_and_names_of_an_equal_book(runs, market):
    equal = runs[2]
    inside = [equal.labels.index(a) for a in ("NVDA", "ANET")]
    least = equal.weights()[:, inside].sum(axis=1)
    assert (ai_weight(equal, market) >= least - 1e-12).all()
    assert effective_names(equal)[0] == 0.0  # before the first fill
    w = equal.weights()[1, :-1]
    assert effective_names(equal)[1] == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert 6.5 < effective_names(equal)[1:].min() <= 7.0


def test_rolling_beta_is_the_regression_of_each_window():
    rng = np.random.default_rng(1)
    x, e = rng.normal(0, 0.02, (2, 200))
    y = 0.001 + 0.6 * x + e
    got = rolling_beta(y, x, window=50)
    assert np.isnan(got[:49]).all()
    for t in (49, 120, 199):
        slope = np.polyfit(x[t - 49 : t + 1], y[t - 49 : t + 1], 1)[0]
        assert got[t] == pytest.approx(slope, rel=1e-10)
    assert np.isnan(rolling_beta(y, np.ones(200), window=50)).all()
    with pytest.raises(DataError, match="same dates"):
        rolling_beta(y, x[1:])
    with pytest.raises(UsageError, match="three dates"):
        rolling_beta(y, x, window=1)


def test_ai_factor_by_hand(market):
    dates = market.dates[100:160]
    found, made_of = ai_factor(market, dates)
    R = market.prices[101:160] / market.prices[100:159] - 1
    ai = [NAMES.index(a) for a in ("NVDA", "ANET")]
    assert made_of.startswith("mean of")
    rest = [i for i in range(7) if i not in ai]  # SMH is a fund: no role of its own
    np.testing.assert_allclose(
        found, R[:, ai].mean(axis=1) - R[:, rest].mean(axis=1), atol=1e-14
    )
    with pytest.raises(DataError, match="dates"):
        ai_factor(market, np.array(["1990-01-01"], "datetime64[D]"))


def test_capacity_against_running_it_again(market):
    """A run k times as large that pays impact loses what the curve says."""
    costs = Costs(half_spread_bps=5.0)
    base = backtest(EqualWeight(), market, start="2024-10-01", costs=costs)
    found = capacity(base, market, impact=1.0, share=0.1, max_participation=0.05)
    for value in (1e5, 1e6):
        again = backtest(
            EqualWeight(),
            market,
            start="2024-10-01",
            costs=replace(costs, impact=1.0),
            initial_value=value,
        )
        free = backtest(
            EqualWeight(),
            market,
            start="2024-10-01",
            costs=costs,
            initial_value=value,
        )
        paid = (again.costs / again.value)[1:] - (free.costs / free.value)[1:]
        said = capacity(base, market, sizes=[value]).curve["impact"][0]
        mean = paid.mean() * base.periods_per_year
        # First order: impact on wealth changes later trades by its own size.
        assert mean == pytest.approx(said, rel=0.03)
    at = capacity(base, market, sizes=[found.by_impact, found.by_participation]).curve
    assert at["impact_share"][0] == pytest.approx(0.1, rel=1e-9)
    assert at["participation"][1] == pytest.approx(0.05, rel=1e-9)
    curve = found.curve
    assert (np.diff(curve["net_sharpe"]) < 0).all()
    assert found.value == min(found.by_impact, found.by_participation)
    bigger = backtest(
        EqualWeight(),
        market,
        start="2024-10-01",
        costs=costs,
        initial_value=2 * base.initial_value,
    )
    assert capacity(bigger, market).by_impact == pytest.approx(
        found.by_impact, rel=1e-9
    )


def test_participation_holds_at_capacity_and_binds_above(market):
    costs = Costs(half_spread_bps=5.0)
    options = {"start": "2024-10-01", "costs": costs}
    base = backtest(EqualWeight(), market, **options)
    most = capacity(base, market, max_participation=0.05).by_participation

    def cut(value):
        r = backtest(
            EqualWeight(),
            market,
            initial_value=value,
            max_participation=0.05,
            **options,
        )
        return any(f.status == "partial" for f in r.fills), r

    assert not cut(0.99 * most)[0]
    partial, r = cut(1.05 * most)
    assert partial
    # What was partly filled counts as bought: gains still explain the ledger.
    np.testing.assert_allclose(
        asset_pnl(r)[1:].sum(axis=1), (r.price_pnl + r.fx_pnl)[1:], atol=1e-4
    )


def test_capacity_refuses_or_takes_a_class(runs, market, _panel):  # noqa: F811
    with pytest.raises(DataError, match=r"no trading volume.*flat_impact_bps"):
        capacity(runs[2], _panel)
    flat = capacity(runs[2], _panel, flat_impact_bps={"default": 2.0})
    assert flat.by_participation == math.inf
    assert flat.by_impact in (0.0, math.inf)
    with pytest.raises(UsageError, match="share"):
        capacity(runs[2], market, share=0.0)
    with pytest.raises(UsageError, match="sizes"):
        capacity(runs[2], market, sizes=[-1.0])
    paid = backtest(EqualWeight(), market, start="2024-10-01", costs=Costs(impact=1.0))
    with pytest.raises(UsageError, match="impact already"):
        capacity(paid, market)
    idle = backtest(
        Targets({"2024-10-01": {"CASH:USD": 1.0}}),
        market,
        start="2024-10-01",
        schedule="once",
    )
    with pytest.raises(DataError, match="nothing was traded"):
        capacity(idle, market)


def test_the_judgement_has_every_table(runs, market, tmp_path):
    verdict = judge(runs, market, n=200, n_trials=30)
    wanted = {
        "metrics",
        "intervals",
        "differences",
        "regimes",
        "attribution_role",
        "attribution_country",
        "attribution_currency",
        "exposure",
        "ai_factor",
        "capacity",
        "deflation",
    }
    assert set(verdict.tables) == wanted
    assert any("no shock that is not in it" in n for n in verdict.notes)
    assert set(verdict.tables["differences"]["against"]) == {"hold"}
    assert list(verdict.tables["deflation"]["trials"]) == [30.0] * 3
    few = judge(runs, market, n=200).tables["deflation"]["deflated_sharpe"]
    assert (verdict.tables["deflation"]["deflated_sharpe"] <= few).all()
    total = verdict.tables["attribution_role"].groupby("strategy")["contribution"]
    for r in runs:
        gain = r.value[-1] / r.initial_value - 1
        assert total.sum()[r.name] == pytest.approx(gain, abs=1e-10)
    regimes = verdict.tables["regimes"].set_index("strategy")
    assert regimes.loc["hold-cash".replace("-", " + "), "difference"].notna().all()
    folder = verdict.write(tmp_path / "out")
    kept = json.loads((folder / "judgement.json").read_text())
    assert len(kept["metrics"]) == 3
    assert pd.read_csv(folder / "metrics.csv")["strategy"][0] == "hold"
    assert "differences" in repr(verdict) and "<table" in verdict._repr_html_()


def test_names_are_neutral_in_files_and_pages(runs, tmp_path):
    odd = replace(runs[0], name="=1+1<script>")
    verdict = judge([odd, runs[1]], n=100)
    assert "<script>" not in verdict._repr_html_()
    written = (verdict.write(tmp_path) / "metrics.csv").read_text()
    assert "\n=1+1" not in written


def test_a_judgement_without_prices_or_volume_says_what_is_missing(runs, market):
    bare = judge(runs, n=100)
    assert set(bare.tables) == {
        "metrics",
        "intervals",
        "differences",
        "regimes",
        "deflation",
    }
    dry = judge(runs, replace(market, volume=None), n=100)
    assert "capacity" not in dry.tables
    assert any(n.startswith("no capacity of equal") for n in dry.notes)
    assert "attribution_role" in judge(runs, market.universe, n=100).tables


def test_a_judgement_refuses(runs, market):
    with pytest.raises(UsageError, match="nothing to judge"):
        judge([])
    with pytest.raises(UsageError, match="one name"):
        judge([runs[0], runs[0]])
    other = backtest(EqualWeight(name="late"), market, start="2024-11-01")
    with pytest.raises(DataError, match="same dates"):
        judge([runs[0], other])


def test_the_report_gets_small_tables(runs, market):
    found = judgement_section(runs, market, n=100)
    assert {"metrics", "differences", "regimes", "exposure"} <= set(found["tables"])
    assert set(found["exposure_by_role"]) == {r.name for r in runs}
    assert found["notes"] and found["attribution"] is not None


def test_a_label_that_was_never_held_has_no_row_in_an_attribution():
    panel = load_panel("reference", ["NVDA", "JPM", "VST"], start="2024-06-03")
    mix = FixedMix({"NVDA": 0.5, "JPM": 0.4, "CASH:USD": 0.1})
    table = judge([backtest(mix, panel)], panel, n=100).tables["attribution_role"]
    assert "power_gen" not in set(table["role"])
    assert {"accelerator", "none"} <= set(table["role"])
