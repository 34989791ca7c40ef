"""Covariance of columns with gaps: the kernels, the products, and pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import _pairwise, pairwise, sample
from engine.errors import DataError, ModelError, UsageError
from engine.kernels import pairwise as kernels


def returns(T, N, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(T, 1)) * 0.008
    return common + rng.standard_t(5, size=(T, N)) * 0.012


def holes(X, share, seed=1):
    X = X.copy()
    X[np.random.default_rng(seed).random(X.shape) < share] = np.nan
    return X


@pytest.fixture(params=["cells", "products"])
def way(request, monkeypatch):
    """Both ways of doing it, whatever the size of the table."""
    cells = request.param == "cells"
    monkeypatch.setattr(_pairwise, "_MANY", 0 if cells else 10**9)
    monkeypatch.setattr(_pairwise, "_SPARSE", 1.0)
    return request.param


@pytest.mark.parametrize("shape", [(60, 1), (50, 7), (40, 33), (30, 70), (400, 300)])
@pytest.mark.parametrize("share", [0.001, 0.03, 0.3])
def test_it_is_pandas(way, shape, share):
    X = holes(returns(*shape) + 0.5, share)
    want = pd.DataFrame(X).cov().to_numpy()
    found = pairwise(X, repair=None)
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(found, found.T)


@given(
    st.integers(0, 10_000),
    st.integers(4, 30),
    st.integers(1, 12),
    st.sampled_from([0.05, 0.2, 0.5]),
)
def test_cell_by_cell_and_by_products_are_one(seed, T, N, share):
    X = holes(returns(T, N, seed), share, seed + 1)
    dates, columns = np.nonzero(np.isnan(X))
    Z = np.where(np.isnan(X), 0.0, X)
    a, n, pair = _pairwise._by_missing_cells(Z, dates, columns)
    b, m, other = _pairwise._by_products(Z, dates, columns)
    assert (n, pair) == (m, other)
    present = ~np.isnan(X)
    shared = present.T.astype(int) @ present.astype(int)
    assert shared.min() == n == shared[pair]
    assert pair[0] != pair[1] or N == 1
    if n > 1:
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-16)


def test_the_sums_over_missing_cells_are_the_obvious_ones():
    """Blocks of 256 columns and turns of four dates, with what is left over."""
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((50, 300))
    gone = rng.random(Z.shape) < 0.15
    gone[:, 7] = False
    dates, columns = np.nonzero(gone)
    out = np.full((300, 300), np.nan)
    by_column = dates[np.argsort(columns, kind="stable")]
    kernels.sums_where_missing(Z, by_column, _pairwise._starts(columns, 300), out)
    np.testing.assert_allclose(out, gone.T @ Z, atol=1e-12)
    both = np.zeros((300, 300), dtype=np.int32)
    kernels.both_missing(columns, _pairwise._starts(dates, 50), both)
    want = gone.T.astype(int) @ gone.astype(int)
    np.testing.assert_array_equal(both, np.triu(want))


def test_a_pair_that_hardly_meets_is_named_not_a_column(way):
    X = pd.DataFrame(returns(40, 5), columns=["A", "B", "OLD", "C", "NEW"])
    X.loc[:19, "NEW"] = np.nan
    X.loc[25:, "OLD"] = np.nan
    assert np.isfinite(pairwise(X, min_overlap=5).to_numpy()).all()
    with pytest.raises(ModelError, match=r"OLD and NEW; received 5; expected.* 6"):
        pairwise(X, min_overlap=6)
    X.loc[19:, "OLD"] = np.nan
    with pytest.raises(ModelError, match=r"OLD and NEW; received 0"):
        pairwise(X)
    one = X[["NEW"]]
    with pytest.raises(ModelError, match=r"a column has too few.*NEW; received 20"):
        pairwise(one, min_overlap=30)
    with pytest.raises(ModelError, match="too few dates"):
        pairwise(returns(10, 3), min_overlap=11)


def test_a_constant_with_gaps_is_exactly_still_and_left_out_of_the_repair(way):
    X = holes(returns(20, 6), 0.5, 4)
    X[:, 2] = np.where(np.isnan(X[:, 2]), np.nan, 0.1)  # its mean is not 0.1
    raw = pairwise(X, repair=None)
    assert not raw[2].any() and not raw[:, 2].any()
    keep = [0, 1, 3, 4, 5]
    block = np.ix_(keep, keep)
    assert np.linalg.eigvalsh(raw[block])[0] < 0
    repaired = pairwise(X)
    assert not repaired[2].any()
    assert np.linalg.eigvalsh(repaired)[0] > -1e-18
    np.testing.assert_array_equal(repaired[block], pairwise(X[:, keep]))
    np.testing.assert_allclose(np.diag(repaired), np.diag(raw), rtol=1e-12)
    still = np.full((5, 2), 0.1)
    still[0, 0] = np.nan
    np.testing.assert_array_equal(pairwise(still), np.zeros((2, 2)))


def test_never_silently_indefinite(way):
    """Correlations of a duplicate on other dates exceed one: repaired or refused."""
    x = returns(60, 1)[:, 0]
    X = np.column_stack([x, x, returns(60, 2, 5)])
    X[::3, 0] = np.nan
    X[1::3, 1] = np.nan
    raw = pairwise(X, repair=None)
    if np.linalg.eigvalsh(raw)[0] >= 0:
        raise AssertionError("the example is not indefinite")
    assert np.linalg.eigvalsh(pairwise(X))[0] > 0
    with pytest.raises(ModelError, match="not positive semi-definite"):
        pairwise(X, repair="raise")


def test_duplicates_with_the_same_gaps_are_semi_definite_and_untouched(way):
    X = holes(returns(60, 3), 0.05)
    X = np.column_stack([X, X[:, 0]])
    np.testing.assert_array_equal(pairwise(X), pairwise(X, repair=None))


def test_the_input_is_left_alone_and_any_layout_serves(way):
    X = holes(returns(50, 8), 0.1)
    before = X.copy()
    want = pairwise(X)
    np.testing.assert_array_equal(X, before)
    locked = np.asfortranarray(X)
    locked.setflags(write=False)
    np.testing.assert_array_equal(pairwise(locked), want)
    frame = pd.DataFrame(X).convert_dtypes()
    np.testing.assert_array_equal(pairwise(frame), want)
    np.testing.assert_allclose(
        pairwise(X.astype(np.float32)), want, rtol=1e-3, atol=1e-8
    )
    whole = np.arange(12).reshape(4, 3) ** 2
    np.testing.assert_allclose(pairwise(whole), sample(whole), rtol=1e-13)


def test_the_order_of_columns_follows(way):
    X = holes(returns(60, 10), 0.05)
    order = np.random.default_rng(2).permutation(10)
    np.testing.assert_allclose(
        pairwise(X[:, order]), pairwise(X)[np.ix_(order, order)], rtol=1e-6, atol=1e-12
    )


def test_the_range_of_doubles(way):
    X = holes(returns(60, 3), 0.05)
    for power in (-140, -100, 100, 148):
        size = 10.0**power
        np.testing.assert_allclose(
            pairwise(X * size) / size / size, pairwise(X), rtol=1e-9
        )
    frame = pd.DataFrame(X, columns=["A", "B", "C"])
    with pytest.raises(ModelError, match=r"overflows.*asset B"):
        pairwise(frame.assign(B=frame["B"] * 1e200))
    with pytest.raises(ModelError, match=r"underflows.*asset B"):
        pairwise(frame.assign(B=frame["B"] * 1e-200))
    with pytest.raises(DataError, match=r"infinite.*asset B"):
        pairwise(frame.assign(B=-np.inf))


@pytest.mark.parametrize("value", [1, 2.5, 3.0, "3", True, None, np.nan])
def test_min_overlap_is_a_whole_number(value):
    with pytest.raises(UsageError, match="min_overlap"):
        pairwise(returns(10, 2), min_overlap=value)


@pytest.mark.parametrize(
    ("smallest", "expected"), [(1e-3, True), (0.0, True), (-1e-9, False), (-0.1, False)]
)
def test_only_rounding_is_forgiven(smallest, expected):
    Q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((20, 20)))
    values = np.linspace(smallest, 2.0, 20)
    R = (Q * values) @ Q.T
    assert _pairwise._semi_definite((R + R.T) / 2) is expected
