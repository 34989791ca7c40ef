"""Matrices consumed as they come: w'Cw of every window, and EWMA at every date."""

import numpy as np
import pandas as pd
import pytest
from rolling_cases import W, copy, frame, relative, returns

from engine.covariance import (
    ewma,
    ewma_path,
    iter_rolling,
    rolling,
    rolling_quadratic,
    sample,
)
from engine.errors import BallastError, DataError, ModelError, UsageError


@pytest.mark.parametrize("options", [{}, {"ddof": 0}, {"assume_centered": True}])
@pytest.mark.parametrize("step", [1, 3, 50])
def test_quadratic_equals_the_matrices(options, step):
    X = frame(returns(400, 5, 7))
    matrices = rolling(X, W, step=step, **options).matrices
    rng = np.random.default_rng(8)
    w = rng.standard_normal(5)
    many = rng.standard_normal((len(matrices), 5))
    one = rolling_quadratic(X, w, W, step=step, **options)
    table = pd.DataFrame(many, index=one.index, columns=X.columns)
    pd.testing.assert_series_equal(
        rolling_quadratic(X, table, W, step=step, **options),
        rolling_quadratic(X, many, W, step=step, **options),
    )
    assert isinstance(one, pd.Series)
    assert list(one.index) == list(X.index[W - 1 :: step])
    np.testing.assert_allclose(one, matrices @ w @ w, rtol=1e-10)
    np.testing.assert_allclose(
        rolling_quadratic(X.to_numpy(), many, W, step=step, **options),
        np.einsum("ki,kij,kj->k", many, matrices, many),
        rtol=1e-10,
    )


def test_quadratic_with_missing_observations():
    X = returns(200, 5, 9)
    X[::6, 1] = np.nan
    X[:100, 3] = np.nan
    matrices = rolling(X, W, min_periods=10).matrices
    w = np.array([0.3, 0.4, 0.3, 0.0, 0.0])  # what is not held may be unknown
    got = rolling_quadratic(X, w, W, min_periods=10)
    np.testing.assert_allclose(got, np.nan_to_num(matrices) @ w @ w, rtol=1e-10)
    held = rolling_quadratic(X, np.full(5, 0.2), W, min_periods=10)
    assert np.isnan(held[0]) and np.isfinite(held[-1])


def test_an_indefinite_pairwise_covariance_is_not_passed_off_as_a_variance():
    nan = np.nan
    X = np.array(
        [
            [1, 1, nan], [-1, -1, nan], [2, 2, nan],
            [nan, 1, 1], [nan, -1, -1], [nan, 2, 2],
            [1, nan, -1], [-1, nan, 1], [2, nan, -2],
        ]
    )  # fmt: skip
    dates = pd.date_range("2024-01-01", periods=9)
    X = pd.DataFrame(X, index=dates, columns=list("abc"))
    w = np.array([1.0, -1.0, 1.0])
    C = rolling(X, 9, min_periods=3)[0]
    assert w @ C @ w < 0
    with pytest.raises(ModelError, match=r"negative.*2024-01-09.*nearest_correlation"):
        rolling_quadratic(X, w, 9, min_periods=3)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.ones(4), r"shape \(4,\)"),
        (np.ones((3, 5)), r"\(121, 5\)"),
        ([1.0, np.nan, 1, 1, 1], "not finite"),
        (["a"] * 5, "not numeric"),
        (pd.Series(1.0, index=list("edcba")), "labels"),
        (
            pd.DataFrame(1.0, index=range(121), columns=frame(returns()).columns),
            "dates",
        ),
    ],
)
def test_refused_weights(weights, match):
    with pytest.raises(DataError, match=match):
        rolling_quadratic(frame(returns()), weights, W)


@pytest.mark.parametrize("centred", [True, False])
def test_ewma_at_every_date_is_the_last_matrix_of_its_past(centred):
    X = frame(returns(80, 4, 10))
    first = 1 if centred else 2
    path = ewma_path(X, half_life=9, assume_centered=centred)
    assert len(path) == 80 - first + 1 and path.drift is None
    for k in (0, 1, 30, len(path) - 1):
        expected = ewma(X[: k + first], half_life=9, assume_centered=centred)
        np.testing.assert_allclose(path[k], expected, rtol=1e-11, atol=1e-19)
    later = ewma_path(X, half_life=9, assume_centered=centred, min_periods=25)
    np.testing.assert_allclose(later.matrices, path.matrices[25 - first :], rtol=1e-11)
    taken = ewma_path(X, half_life=9, assume_centered=centred, callback=copy)
    np.testing.assert_array_equal(np.array(taken.values), path.matrices)
    assert list(taken.dates) == list(path.dates) == list(X.index[first - 1 :])


def test_ewma_of_pandas():
    X = frame(returns(60, 3, 11))
    expected = X.ewm(alpha=0.06).cov(bias=True).to_numpy().reshape(60, 3, 3)[1:]
    got = ewma_path(X, decay=0.94, assume_centered=False)
    np.testing.assert_allclose(got.matrices, expected, rtol=1e-8, atol=1e-15)


def test_a_stream_goes_on_where_it_stopped():
    X = frame(returns(80, 4, 12))
    start = sample(X)
    whole = ewma_path(X, initial=start)
    half = ewma_path(X[:50], initial=start)
    rest = ewma_path(X[50:], initial=half.at(half.dates[-1]))
    np.testing.assert_allclose(rest[-1], whole[-1], rtol=1e-13)
    r = X.to_numpy()[0]
    np.testing.assert_allclose(whole[0], 0.94 * start + 0.06 * np.outer(r, r))


def test_a_bad_tick_does_not_outlive_its_weight():
    X = returns(900, 3, 13)
    X[100, 1] = 1e6
    path = ewma_path(X, decay=0.94)
    for k in (150, 500, 899):
        past = X[: k + 1].astype(np.longdouble)
        weights = np.longdouble(0.94) ** np.arange(k, -1, -1)
        exact = (past * weights[:, None]).T @ past / weights.sum()
        assert relative(path.matrices[k][None], exact[None]) < 1e-12


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"decay": 1.0}, UsageError, "decay"),
        ({"decay": 0.9, "half_life": 3}, UsageError, "not both"),
        ({"half_life": 0}, UsageError, "half_life"),
        ({"min_periods": 151}, ModelError, "150 rows"),
        ({"min_periods": 1, "assume_centered": False}, UsageError, "at least 2"),
        ({"initial": np.eye(4)}, DataError, r"\(5, 5\)"),
        ({"initial": np.triu(np.ones((5, 5)))}, DataError, "not symmetric"),
        ({"initial": pd.DataFrame(np.eye(5))}, DataError, "labels"),
        ({"initial": [["a"] * 5] * 5}, DataError, "not numeric"),
        ({"initial": np.eye(5), "assume_centered": False}, UsageError, "centered"),
    ],
)
def test_refused_by_ewma(options, error, match):
    with pytest.raises(error, match=match):
        ewma_path(frame(returns()), **options)
    X = frame(returns())
    X.iloc[3, 1] = np.nan
    with pytest.raises(DataError, match=r"missing.*A1.*2024-01-04.*rolling"):
        ewma_path(X)


def test_every_refusal_is_ours():
    """No NaN where a number was promised, whatever comes in."""
    for bad in (np.nan, np.inf, 1e200):
        X = returns()
        X[11, 3] = bad
        for call in (
            lambda X=X: rolling(X, W),
            lambda X=X: ewma_path(X),
            lambda X=X: rolling_quadratic(X, np.ones(5), W),
            lambda X=X: iter_rolling(X, W),
        ):
            with pytest.raises(BallastError):
                call()
