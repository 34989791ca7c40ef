"""The contract of every estimator: a usable matrix, or a typed error that names."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import (
    denoised,
    ewma,
    gerber,
    ledoit_wolf,
    nonlinear_shrinkage,
    oas,
    pairwise,
    rie,
    sample,
)
from engine.errors import BallastError, DataError, ModelError

ESTIMATORS = {
    "sample": sample,
    "sample about zero": lambda X: sample(X, assume_centered=True),
    "ewma": ewma,
    "ewma about the mean": lambda X: ewma(X, assume_centered=False),
    "ewma t": lambda X: ewma(X, update="student_t"),
    "identity": ledoit_wolf,
    "constant_correlation": lambda X: ledoit_wolf(X, "constant_correlation"),
    "single_index": lambda X: ledoit_wolf(X, "single_index"),
    "oas": oas,
    "quadratic_inverse": nonlinear_shrinkage,
    "analytical": lambda X: nonlinear_shrinkage(X, method="analytical"),
    "rie": rie,
    "rie debiased": lambda X: rie(X, debias_small=True),
    "denoised": denoised,
    "targeted": lambda X: denoised(X, method="targeted", alpha=0.5),
    "gerber": gerber,
    "gerber original": lambda X: gerber(X, form="original", repair="nearest"),
    "gerber cosine": lambda X: gerber(X, form="cosine"),
    "pairwise": pairwise,
}
NEEDS_CORRELATION = (
    "constant_correlation",
    "rie",
    "rie debiased",
    "denoised",
    "targeted",
    "gerber",
    "gerber original",
    "gerber cosine",
)
NEEDS_RANK = ("quadratic_inverse", "analytical", "ewma t")


def returns(T=150, N=4, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(T, 1)) * 0.008
    return common + rng.standard_t(5, size=(T, N)) * 0.012


@st.composite
def tables(draw):
    """Anything that may come as returns: short, wide, still, twin, huge, with holes."""
    T, N = draw(st.integers(1, 80)), draw(st.integers(1, 25))
    X = returns(T, N, draw(st.integers(0, 10_000)))
    X *= 10.0 ** draw(st.integers(-3, 3))
    where = st.integers(0, N - 1)
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["still", "zero", "twin", "scale", "shift", "one"]))
        i = draw(where)
        if kind == "still":
            X[:, i] = draw(st.sampled_from([0.1, -0.3, 1e-7, 1e12]))
        elif kind == "zero":
            X[:, i] = 0.0
        elif kind == "twin":
            X[:, i] = X[:, draw(where)] * draw(st.sampled_from([1.0, -2.0]))
        elif kind == "scale":
            with np.errstate(over="ignore"):
                X[:, i] *= 10.0 ** draw(st.integers(-300, 290))
        elif kind == "shift":
            X[:, i] += draw(st.sampled_from([0.01, 1.0, 1e6]))
        else:
            X[draw(st.integers(0, T - 1)), i] = draw(
                st.sampled_from([np.nan, np.inf, -np.inf, 1e9, 1e140, 1e-300, 0.0])
            )
    return X


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@given(X=tables())
def test_a_semi_definite_matrix_or_a_typed_error(name, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            S = ESTIMATORS[name](X)
        except BallastError as error:
            assert isinstance(error, (DataError, ModelError))
            assert len(str(error)) > 20
            return
    N = X.shape[1]
    assert S.shape == (N, N) and S.dtype == np.float64
    assert np.isfinite(S).all()
    np.testing.assert_array_equal(S, S.T)
    variance = np.diagonal(S)
    assert (variance >= 0).all()
    # Semi-definite up to rounding, in units in which every variance is one.
    sigma = np.sqrt(np.where(variance > 0, variance, 1.0))
    R = S / sigma / sigma[:, None]
    assert np.linalg.eigvalsh(R)[0] >= -1e-13 * N
    assert np.abs(R).max() <= 1.0 + 1e-12


@pytest.mark.parametrize("value", [0.01, -0.3, 0.1, 1e7])
@pytest.mark.parametrize("name", NEEDS_CORRELATION + NEEDS_RANK[:2])
def test_a_constant_other_than_zero_is_named(name, value):
    """Its mean differs from it by rounding, which must not pass for movement."""
    X = pd.DataFrame(returns(149, 3), columns=["A", "STILL", "C"])
    X["STILL"] = value
    with pytest.raises(ModelError, match="STILL"):
        ESTIMATORS[name](X)


def test_a_constant_has_no_variance_at_all():
    X = returns(149, 3)
    X[:, 1] = 0.1
    for estimator in (sample, pairwise):
        S = estimator(X)
        assert not S[1].any() and not S[:, 1].any()
    S, rho = ledoit_wolf(X, return_shrinkage=True)
    assert S[0, 1] == 0.0 and S[1, 1] == pytest.approx(rho * np.trace(S) / 3)
    assert not ledoit_wolf(X, "single_index")[1].any()


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"pairwise"}))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e160])
@pytest.mark.parametrize("row", [0, 77, 149])
def test_one_bad_value_is_named_wherever_it_is(name, value, row):
    """Where checks are made on the result, nothing may pass through it."""
    X = pd.DataFrame(returns(), columns=["A", "B", "BAD", "D"])
    X.iloc[row, 2] = value
    with pytest.raises((DataError, ModelError), match="BAD") as caught:
        ESTIMATORS[name](X)
    if not np.isfinite(value):
        assert caught.type is DataError
        assert str(caught.value.date) == str(row)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_whole_numbers_and_truth_values(name):
    rng = np.random.default_rng(3)
    whole = rng.integers(-9, 10, size=(150, 3))
    estimator = ESTIMATORS[name]
    np.testing.assert_array_equal(estimator(whole), estimator(whole.astype(float)))
    np.testing.assert_allclose(
        estimator(whole.astype(np.int8)), estimator(whole), rtol=1e-13
    )


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("power", [-140, -60, 60, 140])
def test_the_unit_of_the_table_means_nothing(name, power):
    X = returns()
    want = ESTIMATORS[name](X)
    found = ESTIMATORS[name](X * 10.0**power)
    np.testing.assert_allclose(found / 10.0**power / 10.0**power, want, rtol=1e-7)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_date_or_none(name):
    """One date has no covariance but about zero; none has nothing."""
    X = returns(1, 3)
    estimator = ESTIMATORS[name]
    if name in ("sample about zero", "ewma"):
        np.testing.assert_allclose(estimator(X), X.T @ X, rtol=1e-13)
    else:
        with pytest.raises((ModelError, DataError), match="few"):
            estimator(X)
    with pytest.raises((ModelError, DataError), match="few"):
        estimator(np.empty((0, 3)))
    with pytest.raises(DataError, match="table of dates by assets"):
        estimator(np.empty((5, 0)))
