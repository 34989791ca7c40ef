"""Streaming: the losses of the stored scenarios, in bounded memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine.errors import DataError, ModelError, UsageError
from engine.montecarlo import rebalanced_book, simulate, stream, stream_risk
from engine.risk import expected_shortfall, value_at_risk
from tests.montecarlo.test_laws import MIXTURE, SKEWED, a_model, factor_form

ROOT = Path(__file__).parents[2]
W = np.array([0.5, 0.4, -0.2, 0.3])


@pytest.mark.parametrize("options", [{}, MIXTURE, SKEWED])
@pytest.mark.parametrize("mean", ["given", "zero_excess"])
@pytest.mark.parametrize("form", ["dense", "factor"])
def test_streamed_losses_are_those_of_the_stored_scenarios(options, mean, form):
    cov = factor_form(3)
    cov = cov if form == "factor" else cov.dense()
    model = a_model(cov, tail_dof=5.0, mean_kind=mean)
    stored = simulate(model, 2500, horizon=5, seed=4, **options).losses(W)
    got = stream(model, 2500, horizon=5, seed=4, weights=W, **options)
    np.testing.assert_allclose(got, stored, atol=1e-14)


@pytest.mark.parametrize("mean", ["given", "zero_excess"])
def test_streams_do_not_depend_on_workers_or_executor(mean):
    model = a_model(factor_form(3), tail_dof=5.0, mean_kind=mean)
    books = np.column_stack([W, W[::-1]])
    one = stream(model, 2100, weights=books, seed=1)
    assert one.shape == (2100, 2)
    for executor, jobs in (("threads", 3), ("processes", 2)):
        many = stream(
            model, 2100, weights=books, seed=1, executor=executor, n_jobs=jobs
        )
        np.testing.assert_array_equal(one, many)
    part = stream(a_model(factor_form(3)), 10, weights=books, seed=1)
    whole = stream(a_model(factor_form(3)), 2000, weights=books, seed=1)
    np.testing.assert_array_equal(part, whole[:10])


def test_books_by_label():
    model = a_model(factor_form(3))
    names = [*model.assets, "CASH:USD"]
    plain = stream(model, 50, weights=W)
    np.testing.assert_array_equal(
        stream(model, 50, weights=pd.Series(W, names)[::-1]), plain
    )
    table = pd.DataFrame({"a": W, "b": -W}, index=names)
    both = stream(model, 50, weights=table)
    np.testing.assert_allclose(both[:, 0], plain, atol=1e-15)
    np.testing.assert_allclose(both[:, 1], -plain, atol=1e-15)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("n", [1, 700, 5000])
def test_streamed_tail_is_exact(level, n):
    model = a_model(factor_form(3), tail_dof=3.0, mean_kind="zero_excess")
    losses = stream(model, n, weights=W, seed=2)
    got = stream_risk(model, n, weights=W, seed=2, level=level)
    assert got.value_at_risk == value_at_risk(losses, level=level)
    assert got.expected_shortfall == pytest.approx(
        expected_shortfall(losses, level=level), rel=1e-12
    )
    assert got.mean == pytest.approx(losses.mean(), abs=1e-15)
    assert got.worst == losses.max()


def test_streamed_tail_of_many_books_and_of_a_flat_one():
    model = a_model(factor_form(3), tail_dof=3.0)
    flat = np.array([0.0, 0.0, 0.0, 1.0])
    books = np.column_stack([W, flat])
    a, b = stream_risk(model, 3000, weights=books, seed=2, level=0.99)
    losses = stream(model, 3000, weights=books, seed=2)
    for got, x in ((a, losses[:, 0]), (b, losses[:, 1])):
        assert got.value_at_risk == value_at_risk(x, level=0.99)
        assert got.expected_shortfall == pytest.approx(
            expected_shortfall(x, level=0.99), rel=1e-12
        )


def test_peak_memory_is_far_below_the_matrix():
    """400,000 scenarios of 200 assets: 640 MB as a matrix, 3.2 MB of losses."""
    code = """
import resource, sys
sys.path[:0] = ['.', 'tests']
import numpy as np
from tests.montecarlo.test_laws import a_model, factor_form
from engine.montecarlo import stream, stream_risk
model = a_model(factor_form(200))
w = np.full(201, 1 / 201)
stream(model, 100, weights=w, horizon=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stream(model, 400_000, weights=w, horizon=1)
stream_risk(model, 100_000, weights=w, horizon=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024  # KiB: a tenth of the matrix


def test_refusals():
    model = a_model(factor_form(3))
    with pytest.raises(DataError, match="weights do not match"):
        stream(model, 10, weights=np.ones(3))
    with pytest.raises(DataError, match="weights do not match"):
        stream(model, 10, weights=np.ones((3, 2)))
    with pytest.raises(DataError, match="NaN"):
        stream(model, 10, weights=np.full((4, 2), np.nan))
    with pytest.raises(DataError, match="names no scenario asset"):
        stream(model, 10, weights={"ZZZ": 1.0})
    with pytest.raises(UsageError, match="confidence"):
        stream_risk(model, 10, weights=W, level=5.0)
    with pytest.raises(ModelError, match="stream_risk"):
        stream(model, 10**13, weights=W)
    broke = a_model(np.eye(3), return_kind="simple")
    with pytest.raises(ModelError, match="loses all or more"):
        stream(broke, 1000, weights=W)


# --------------------------------------------------------------- a rebalanced book


def simple_model(dof=np.inf, **changes):
    S = np.array([[4e-4, 1e-4], [1e-4, 1e-4]])
    return a_model(S, return_kind="simple", mean=[1e-3, 0.0], tail_dof=dof, **changes)


@pytest.mark.parametrize("dof", [np.inf, 5.0])
def test_the_rebalanced_book_has_the_law_of_its_assets(dof):
    """Drawn asset by asset and session by session in NumPy."""
    model, w, H, n = simple_model(dof), np.array([0.7, 0.2, 0.1]), 5, 40_000
    got = rebalanced_book(model, n, weights=w, horizon=H, seed=3)
    rng = np.random.default_rng(3)
    z = rng.standard_normal((n, H, 2)) @ np.linalg.cholesky(model.covariance).T
    if np.isfinite(dof):
        z *= np.sqrt((dof - 2) / rng.chisquare(dof, (n, H, 1)))
    r = (z + model.mean) @ w[:2] + 0.1 * (1.04 ** (1 / 252) - 1)
    assert stats.ks_2samp(got, 1 - np.prod(1 + r, axis=1)).pvalue > 1e-3


def test_the_rebalanced_book_by_hand_and_by_workers():
    model, w = simple_model(), np.array([0.7, 0.2, 0.1])
    one = rebalanced_book(model, 3000, weights=w, horizon=4, seed=3)
    for executor, jobs in (("threads", 2), ("processes", 2)):
        many = rebalanced_book(
            model, 3000, weights=w, horizon=4, seed=3, n_jobs=jobs, executor=executor
        )
        np.testing.assert_array_equal(one, many)
    still = a_model(np.zeros((1, 1)), return_kind="simple", mean=[0.01], cash_rate=0.0)
    got = rebalanced_book(still, 3, weights=[1.0, 0.0], horizon=3)
    np.testing.assert_allclose(got, 1 - 1.01**3, rtol=1e-14)


def test_a_log_model_has_no_rebalanced_law():
    with pytest.raises(ModelError, match="simple returns"):
        rebalanced_book(a_model(factor_form(3)), 10, weights=W)
    with pytest.raises(ModelError, match="loses everything"):
        rebalanced_book(
            a_model(np.eye(1), return_kind="simple", mean=[0.0]), 100, weights=[1, 0]
        )
