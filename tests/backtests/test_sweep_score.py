"""What is left of the best of many: figures against their definitions, and words."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests import metrics, overfitting
from backtests._score import average_correlation, effective_trials, words
from backtests.intervals import metric_intervals
from backtests.sweeps import run_sweep
from engine.data.load import load_panel
from strategies.equal import EqualWeight

GRID = {"tickers": [("A", "B"), ("A", "B", "C"), ("C", "D"), ("A", "B", "C", "D")]}


@pytest.fixture(scope="module")
def sweep():
    rng = np.random.default_rng(11)
    index = pd.bdate_range("2020-01-01", periods=500)
    values = 50 * np.exp(np.cumsum(rng.normal(0.0005, 0.01, (500, 4)), axis=0))
    frame = pd.DataFrame(values, index=index, columns=list("ABCD"))
    return run_sweep(
        EqualWeight, GRID, load_panel(frame, price_basis="raw", currency="USD")
    )


@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(0.0, 1.0))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_effective_trials_agree_with_the_matrix_of_correlations(seed, M, share):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(60, 1))
    x = share * common + rng.normal(size=(60, M)) * (1.0 - 0.9 * share)
    rho, used = average_correlation(x)
    assert used == M
    if M > 1:
        C = np.corrcoef(x.T)
        expected = C[~np.eye(M, dtype=bool)].mean()
        assert rho == pytest.approx(expected, abs=1e-10)
        clipped = min(max(expected, 0.0), 1.0)
        assert effective_trials(x) == pytest.approx(clipped + (1 - clipped) * M)
    assert 1.0 - 1e-9 <= effective_trials(x) <= M + 1e-9


def test_effective_trials_at_their_ends():
    x = np.random.default_rng(0).normal(size=(50, 1))
    assert effective_trials(np.repeat(x, 7, axis=1)) == pytest.approx(1.0)
    orthogonal = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert effective_trials(orthogonal) == pytest.approx(2.0)
    constant = np.column_stack([x, np.full(50, 0.01)])
    assert effective_trials(constant) == pytest.approx(2.0)
    assert effective_trials(np.full((50, 3), 0.0)) == 3.0


def test_the_summary_holds_every_figure_by_its_definition(sweep):
    s = sweep.summary()
    best = sweep.best().result
    root = math.sqrt(best.periods_per_year)
    excess = np.column_stack([c.result.excess_returns() for c in sweep.cells])
    sharpes = excess.mean(axis=0) / excess.std(axis=0, ddof=1)
    assert s["sharpe"] == pytest.approx(sharpes.max() * root)
    assert s["expected_best_sharpe"] == pytest.approx(
        root * metrics.expected_maximum_sharpe(sharpes.var(ddof=1), 4)
    )
    assert s["pbo"] == overfitting.pbo(excess).probability
    interval = metric_intervals(best)["sharpe"]
    assert (s["sharpe_low"], s["sharpe_high"]) == (interval.low, interval.high)
    assert s["effective_trials"] == pytest.approx(effective_trials(excess))
    assert 1.0 < s["effective_trials"] < 4.0
    x = best.excess_returns()
    assert s["deflated_sharpe_effective"] == pytest.approx(
        metrics.deflated_sharpe_ratio(
            x,
            n_trials=s["effective_trials"],
            variance_of_sharpes=sharpes.var(ddof=1),
        )
    )
    assert s["deflated_sharpe"] < s["deflated_sharpe_effective"]
    assert s["years"] == pytest.approx(499 / best.periods_per_year)
    track = metrics.minimum_track_record_length(x)
    assert s["minimum_track_years"] == pytest.approx(track / best.periods_per_year)


def test_repr_html_and_words_say_it_unasked(sweep):
    s, text = sweep.summary(), repr(sweep)
    for figure in ("sharpe", "expected_best_sharpe", "deflated_sharpe", "pbo"):
        assert f"{s[figure]:.2f}" in text, figure
    for line in sweep.words():
        assert line in text
    for phrase in ("by luck alone", "independent", "splits", "years"):
        assert phrase in text
        assert phrase in sweep._repr_html_()


def test_words_follow_the_figures():
    base = {
        "n_trials": 40, "finished": 40, "failed": 0, "best": {"limit": 0.08},
        "sharpe": 1.2, "sharpe_low": 0.2, "sharpe_high": 2.0,
        "expected_best_sharpe": 0.7, "deflated_sharpe": 0.97,
        "effective_trials": 40.0, "deflated_sharpe_effective": 0.97,
        "pbo": 0.1, "years": 5.0, "minimum_track_years": 2.0,
    }  # fmt: skip
    text = " ".join(words(base))
    assert "limit=0.08" in text and "passes the usual mark" in text
    assert "2.0 are enough" in text and "independent" not in text
    text = " ".join(words(base | {"deflated_sharpe": 0.4}))
    assert "luck explains it" in text
    text = " ".join(words(base | {"deflated_sharpe": 1.0 - 1e-9}))
    assert "over 99%" in text
    text = " ".join(words(base | {"effective_trials": 3.2}))
    assert "3.2 independent" in text
    text = " ".join(words(base | {"minimum_track_years": 9.0}))
    assert "9.0 would be needed" in text
    text = " ".join(words(base | {"minimum_track_years": None, "pbo": None}))
    assert "no length would tell" in text and "splits" not in text
    one = words(base | {"n_trials": 1, "pbo": None})
    assert "best of 1 trial is" in one[0] and "by luck alone" not in " ".join(one)
    failed = {"n_trials": 2, "finished": 0, "failed": 2}
    assert words(failed) == ("2 trials counted, and none with a result to judge.",)


def test_the_name_of_the_design_is_there():
    assert metrics.pbo is overfitting.pbo
