"""Cross-validation of strategies against skfolio; random starts; what is never seen."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from backtests import EstimateCache, backtest, cross_validate, randomised_starts
from backtests._cross_validate import training_panel
from backtests._starts import random_starts
from backtests.overfitting import combinatorial_purged_splits
from engine import DataError, ModelError, UsageError
from engine.data.panel import PricePanel
from engine.data.universe import Universe
from engine.proposal import Proposal
from strategies import EqualWeight, MinimumVariance

T, N = 241, 4


def make_panel(gaps=False):
    rng = np.random.default_rng(5)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    scale = np.array([0.006, 0.01, 0.014, 0.02])
    prices = 100 * np.exp(np.cumsum(rng.normal(2e-4, scale, (T, N)), axis=0))
    if gaps:
        prices[rng.random((T, N)) < 0.05] = np.nan
        prices[0] = 100.0
    return PricePanel(
        dates=dates,
        prices=prices,
        universe=Universe(tuple("ABCD"), quote_currency=("USD",) * 2 + ("EUR",) * 2),
        price_basis="total_return",
        base_currency="USD",
        fx_currencies=("EUR",),
        fx=1.1 * np.exp(rng.normal(0, 0.004, (T, 1)).cumsum(axis=0)),
        cash_currencies=("USD",),
        cash_rates=np.full((T, 1), 0.03),
    )


PANEL = make_panel()
RETURNS = np.diff(PANEL.base_prices(), axis=0) / PANEL.base_prices()[:-1]
OPTIONS = {"n_groups": 6, "n_test": 2, "purge": 3, "embargo": 2}


@dataclass(frozen=True)
class Markowitz:
    """Least variance of simple returns, long only, by projected active sets."""

    window: int = 60
    name: str = "markowitz"

    def estimate(self, view):
        prices = view.panel.base_prices()
        R = np.diff(prices, axis=0) / prices[:-1]
        return np.cov(R[-self.window :], rowvar=False)

    def propose(self, view, portfolio, estimate=None):
        kept = np.ones(len(view.tickers), dtype=bool)
        while True:
            w = np.zeros(kept.size)
            S = np.asarray(estimate)[np.ix_(kept, kept)]
            x = np.linalg.solve(S, np.ones(kept.sum()))
            w[kept] = x / x.sum()
            if (w >= 0).all():
                names = zip(view.tickers, w.tolist(), strict=True)
                return Proposal.from_weights(portfolio, dict(names))
            kept &= w > 0


def skfolio_paths(model):
    from skfolio.model_selection import CombinatorialPurgedCV, cross_val_predict

    cv = CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=3, embargo_size=2)
    X = pd.DataFrame(
        RETURNS, index=pd.DatetimeIndex(PANEL.dates[1:]), columns=[*"ABCD"]
    )
    found = cross_val_predict(model, X, cv=cv)
    return np.array([np.asarray(p.returns) for p in found])


def test_equal_weight_has_the_paths_of_skfolio():
    from skfolio.optimization import EqualWeighted

    made = cross_validate(EqualWeight(), PANEL, **OPTIONS)
    np.testing.assert_allclose(made.paths, skfolio_paths(EqualWeighted()), atol=1e-14)
    np.testing.assert_allclose(made.paths, np.tile(RETURNS.mean(axis=1), (5, 1)))


def test_minimum_variance_has_the_paths_of_skfolio():
    """The same training rows reach the estimate: paths differ and are the peer's."""
    from skfolio.optimization import MeanRisk

    made = cross_validate(Markowitz(), PANEL, **OPTIONS)
    # Variances of 1e-5 lie near the default tolerances of the peer's solver.
    tight = {"tol_gap_abs": 1e-15, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
    peer = skfolio_paths(MeanRisk(solver_params=tight))
    np.testing.assert_allclose(made.paths, peer, atol=2e-6)
    assert np.ptp(made.paths, axis=0).max() > 1e-4
    assert made.paths.shape == (5, T - 1)
    assert len(made.weights) == len(made.groups) == 15


def test_tested_purged_and_embargoed_rows_never_reach_the_estimate():
    """Another history on them leaves every weight of the split as it was."""
    rows = np.arange(T)
    splits = list(combinatorial_purged_splits(T - 1, n_groups=6, n_test_groups=2,
                                              purge=3, embargo=2))  # fmt: skip
    growth = PANEL.prices[1:] / PANEL.prices[:-1]
    for split in splits[::4]:
        other = growth.copy()
        hidden = np.setdiff1d(np.arange(T - 1), split.train)
        other[hidden] *= np.random.default_rng(0).uniform(0.9, 1.1, (hidden.size, N))
        prices = np.vstack(
            [PANEL.prices[:1], PANEL.prices[0] * np.cumprod(other, axis=0)]
        )
        changed = replace(PANEL, prices=prices, content_hash="")
        seen = []
        for panel in (PANEL, changed):
            shown = training_panel(panel, rows, split.train)
            base = shown.base_prices()
            seen.append(base[1:] / base[:-1] - 1.0)
        np.testing.assert_allclose(seen[0], RETURNS[split.train], atol=1e-13)
        np.testing.assert_allclose(seen[1], seen[0], atol=1e-13)


def test_gaps_stay_gaps_and_returns_across_them_are_kept():
    panel = make_panel(gaps=True)
    train = np.concatenate([np.arange(0, 80), np.arange(120, T - 1)])
    shown = training_panel(panel, np.arange(T), train)
    kept = np.concatenate([[0], train + 1])
    np.testing.assert_array_equal(np.isnan(shown.prices), np.isnan(panel.prices[kept]))
    # Total growth of a column with a price at both ends of the first stretch.
    for i in range(N):
        at = np.flatnonzero(np.isfinite(panel.prices[:81, i]))[[0, -1]]
        expected = panel.prices[at[1], i] / panel.prices[at[0], i]
        assert shown.prices[at[1], i] / shown.prices[at[0], i] == pytest.approx(
            expected
        )


def test_a_shipped_rule_its_figures_and_workers():
    strategy = MinimumVariance(upper=0.6, window=60)
    made = cross_validate(strategy, PANEL, n_groups=4, n_test=2)
    again = cross_validate(
        strategy, PANEL, n_groups=4, n_test=2, executor="threads", n_jobs=2
    )
    np.testing.assert_array_equal(made.paths, again.paths)
    frame, summary = made.to_frame(), made.summary()
    assert len(frame) == 3 == summary["paths"]
    assert summary["sharpe_mean"] == pytest.approx(frame["sharpe"].mean())
    x = made.paths[0]
    excess = x - made.cash_return
    expected = excess.mean() / excess.std(ddof=1) * np.sqrt(made.periods_per_year)
    assert frame["sharpe"][0] == pytest.approx(expected, rel=5e-3)
    assert any("nobody could have earned" in s for s in made.stamps)
    assert "3 paths" in repr(made)


def test_errors_name_the_strategy_and_the_date():
    with pytest.raises(ModelError, match="strategy 'equal weight'") as caught:
        cross_validate(EqualWeight(min_history=10_000), PANEL, **OPTIONS)
    assert caught.value.date is not None
    prices = PANEL.prices.copy()
    prices[:100, 1] = np.nan
    late = replace(PANEL, prices=prices, content_hash="")
    with pytest.raises(DataError, match="before it was listed") as caught:
        cross_validate(EqualWeight(), late, **OPTIONS)
    assert caught.value.asset == "B"
    with pytest.raises(UsageError):
        cross_validate(EqualWeight(), PANEL, n_groups=2, n_test=2)
    with pytest.raises(UsageError, match="not a strategy"):
        cross_validate(None, PANEL)


# Random starts.

RULE = MinimumVariance(upper=0.6, window=60)
STARTS = {"n": 4, "min_length": 40, "seed": 1, "start": PANEL.dates[70]}


def test_starts_share_estimates_and_are_plain_runs(tmp_path):
    cache = EstimateCache()
    made = randomised_starts(RULE, PANEL, cache=cache, out=tmp_path, **STARTS)
    assert cache.counts.found > 0
    for start, result in zip(made.starts, made.results, strict=True):
        alone = backtest(RULE, PANEL, start=start)
        np.testing.assert_array_equal(alone.value, result.value)
        assert alone.trial_id == result.trial_id
    again = randomised_starts(RULE, PANEL, out=tmp_path, **STARTS)
    assert (made.resumed, again.resumed) == (0, 4)
    pd.testing.assert_frame_equal(made.to_frame(), again.to_frame())
    assert made.summary().loc["50%", "sharpe"] == made.to_frame()["sharpe"].median()
    assert "4 starts" in repr(made)


def test_starts_are_distinct_ordered_reproducible_and_long_enough():
    draws = [random_starts(PANEL, n=30, min_length=40, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert (np.diff(draws[0]) > np.timedelta64(0, "D")).all()
    assert draws[0][-1] <= PANEL.dates[T - 40]
    every = random_starts(PANEL, n=T - 39, min_length=40, seed=3)
    np.testing.assert_array_equal(every, PANEL.dates[: T - 39])


def test_bad_starts():
    with pytest.raises(DataError, match="too few sessions") as caught:
        random_starts(PANEL, n=300, min_length=40, seed=0)
    assert "202 possible" in str(caught.value)
    for options in ({"n": 0}, {"min_length": 1}, {"n": 2.5}):
        with pytest.raises(UsageError):
            random_starts(PANEL, **({"n": 2, "min_length": 40, "seed": 0} | options))
