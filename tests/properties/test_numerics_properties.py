"""Properties of the numerical layer on inputs nobody chose."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.covariance import (
    ewma,
    ledoit_wolf,
    nearest_correlation,
    oas,
    sample,
    split,
)
from engine.parallel import BlockStream
from engine.risk import (
    expected_shortfall,
    tail_weights,
    value_at_risk,
    value_at_risk_interval,
)

TARGETS = st.sampled_from(["identity", "constant_correlation", "single_index"])
ESTIMATORS = st.sampled_from(
    [
        sample,
        ewma,
        ledoit_wolf,
        lambda X: ledoit_wolf(X, "constant_correlation"),
        lambda X: ledoit_wolf(X, "single_index"),
        oas,
    ]
)
LEVELS = st.floats(0.01, 0.99)
NUMBERS = st.floats(-1e3, 1e3, allow_nan=False, width=32)


@st.composite
def tables(draw):
    """Returns with factors, fat tails, duplicates and few dates."""
    T, N = draw(st.integers(3, 40)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    X = rng.standard_t(3, size=(T, N)) * rng.uniform(1e-3, 1.0, N)
    if draw(st.booleans()):
        X += rng.standard_t(3, size=(T, 1))
    if N > 1 and draw(st.booleans()):
        X[:, -1] = X[:, 0]
    return X * 10.0 ** draw(st.integers(-6, 6))


@st.composite
def weighted(draw, columns=None):
    """Losses with many ties, and integer counts whose ratios are probabilities."""
    S = draw(st.integers(1, 25))
    shape = S if columns is None else (S, columns)
    losses = draw(arrays(np.float64, shape, elements=st.integers(-9, 9).map(float)))
    counts = draw(arrays(np.int64, S, elements=st.integers(0, 6)))
    assume(counts.sum() > 0)
    return losses, counts


# ------------------------------------------------------------------------- covariance


@given(tables(), ESTIMATORS)
def test_semidefinite_and_symmetric(X, estimator):
    S = estimator(X)
    np.testing.assert_array_equal(S, S.T)
    scale = np.abs(S).max()
    assert np.linalg.eigvalsh(S)[0] >= -1e-12 * scale
    assert (np.diag(S) >= 0).all()


@given(tables(), ESTIMATORS, st.floats(1e-6, 1e6))
def test_scale_equivariance(X, estimator, c):
    S = estimator(X)
    np.testing.assert_allclose(
        estimator(c * X), c * c * S, rtol=1e-7, atol=1e-9 * c * c * np.abs(S).max()
    )


@given(tables(), st.integers(0, 2**32))
def test_each_asset_has_its_own_unit(X, seed):
    """Diagonal scaling: the sample, and the constant-correlation target, follow it."""
    c = 10.0 ** np.random.default_rng(seed).uniform(-2, 2, X.shape[1])
    for estimator in (sample, lambda Y: ledoit_wolf(Y, "identity", shrinkage=0.0)):
        S = estimator(X)
        np.testing.assert_allclose(
            estimator(X * c),
            S * np.outer(c, c),
            rtol=1e-7,
            atol=1e-9 * (S.max() + 1e-30),
        )


@given(tables(), ESTIMATORS, st.randoms(use_true_random=False))
def test_permutation_equivariance(X, estimator, random):
    order = list(range(X.shape[1]))
    random.shuffle(order)
    S = estimator(X)
    np.testing.assert_allclose(
        estimator(X[:, order]),
        S[np.ix_(order, order)],
        rtol=1e-7,
        atol=1e-9 * np.abs(S).max(),
    )


@given(tables(), TARGETS, st.randoms(use_true_random=False))
def test_the_order_of_dates_means_nothing_to_unweighted_estimators(X, target, random):
    rows = list(range(len(X)))
    random.shuffle(rows)
    a, b = ledoit_wolf(X, target), ledoit_wolf(X[rows], target)
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(a).max())


@given(tables(), TARGETS)
def test_shrinkage_lies_in_zero_and_one_and_keeps_the_trace(X, target):
    S, rho = ledoit_wolf(X, target, return_shrinkage=True)
    assert 0.0 <= rho <= 1.0
    trace = np.trace(sample(X, ddof=0))
    np.testing.assert_allclose(np.trace(S), trace, rtol=1e-10)


@given(tables(), st.floats(0.01, 0.99))
def test_a_shift_of_every_return_leaves_centred_estimates(X, decay):
    shift = np.abs(X).max()
    for estimator in (
        sample,
        ledoit_wolf,
        lambda Y: ewma(Y, decay=decay, assume_centered=False),
    ):
        S = estimator(X)
        np.testing.assert_allclose(
            estimator(X + shift), S, rtol=1e-6, atol=1e-9 * (np.abs(S).max() + shift**2)
        )


@given(tables())
def test_correlations_lie_in_minus_one_and_one(X):
    assume((X.std(axis=0) > 1e-9 * np.abs(X).max()).all())
    sigma, R = split(sample(X))
    assert (sigma > 0).all()
    assert np.abs(R).max() <= 1.0 + 1e-12


@given(st.integers(2, 10), st.integers(0, 2**32), st.floats(0.0, 2.0))
def test_nearest_correlation_is_a_correlation_no_farther_than_any_other(N, seed, size):
    rng = np.random.default_rng(seed)
    A = rng.uniform(-size, size, (N, N))
    A = (A + A.T) / 2 + np.eye(N)
    X = nearest_correlation(A, eigenvalue_floor=0.0)
    np.testing.assert_array_equal(X, X.T)
    np.testing.assert_array_equal(np.diag(X), 1.0)
    assert np.linalg.eigvalsh(X)[0] > -1e-8
    distance = np.linalg.norm(X - A)
    assert distance <= np.linalg.norm(A - np.eye(N)) + 1e-7
    B = rng.standard_normal((N, N))
    C = split(B @ B.T)[1]
    assert distance <= np.linalg.norm(A - C) + 1e-7
    # The obtuse angle of a projection: (A - X, C - X) <= 0 for every C in the set.
    assert np.sum((A - X) * (C - X)) <= 1e-6 * max(1.0, distance)
    again = nearest_correlation(X, eigenvalue_floor=0.0)
    np.testing.assert_allclose(again, X, atol=1e-7)


# ------------------------------------------------------------------------------- risk


@given(weighted(), LEVELS)
def test_weights_are_repeated_losses(case, level):
    losses, counts = case
    p = counts / counts.sum()
    repeated = np.repeat(losses, counts)
    # On an atom's edge either neighbour is right to rounding: ES is continuous there.
    np.testing.assert_allclose(
        expected_shortfall(losses, level=level, p=p),
        expected_shortfall(repeated, level=level),
        atol=1e-9,
    )
    edges = np.cumsum(np.sort(np.ones(counts.sum()))) / counts.sum()
    if np.abs(edges - level).min() > 1e-9:
        assert value_at_risk(losses, level=level, p=p) == value_at_risk(
            repeated, level=level
        )


@given(weighted(), LEVELS)
def test_var_is_its_definition(case, level):
    losses, counts = case
    p = counts / counts.sum()
    var = value_at_risk(losses, level=level, p=p)
    assert p[losses <= var].sum() >= level - 1e-9
    assert p[losses < var].sum() < level + 1e-9
    assert var in losses
    assert expected_shortfall(losses, level=level, p=p) >= var - 1e-12


@given(weighted(2), LEVELS, st.floats(0.0, 50.0), NUMBERS)
def test_expected_shortfall_is_coherent(case, level, c, shift):
    X, counts = case
    p = counts / counts.sum()
    a, b = X.T

    def es(losses):
        return expected_shortfall(losses, level=level, p=p)

    assert es(a + b) <= es(a) + es(b) + 1e-9  # subadditive
    assert es(np.maximum(a, b)) >= max(es(a), es(b)) - 1e-9  # monotone
    np.testing.assert_allclose(es(c * a), c * es(a), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(es(a + shift), es(a) + shift, rtol=1e-9, atol=1e-9)
    assert p @ a - 1e-9 <= es(a) <= a[p > 0].max() + 1e-9


@given(weighted(), LEVELS, LEVELS)
def test_risk_rises_with_the_level(case, first, second):
    losses, counts = case
    p = counts / counts.sum()
    low, high = sorted((first, second))
    for measure in (value_at_risk, expected_shortfall):
        assert (
            measure(losses, level=low, p=p) <= measure(losses, level=high, p=p) + 1e-9
        )


@given(weighted(), LEVELS, st.randoms(use_true_random=False))
def test_the_order_of_scenarios_means_nothing(case, level, random):
    losses, counts = case
    p = counts / counts.sum()
    order = list(range(losses.size))
    random.shuffle(order)
    q = tail_weights(losses, level=level, p=p)
    assert abs(q.sum() - 1.0) < 1e-12 and (q >= 0).all()
    for measure in (value_at_risk, expected_shortfall):
        a = measure(losses, level=level, p=p)
        b = measure(losses[order], level=level, p=p[order])
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@given(weighted(), LEVELS)
def test_tail_weights_never_exceed_the_probability_over_the_tail(case, level):
    losses, counts = case
    p = counts / counts.sum()
    q = tail_weights(losses, level=level, p=p)
    assert (q <= p / (1 - level) + 1e-9).all()
    # No scenario milder than one that is only partly used has any weight.
    used = losses[q > 1e-12]
    partly = losses[q < p / (1 - level) - 1e-9]
    if used.size and partly.size:
        assert used.min() >= value_at_risk(losses, level=level, p=p) - 1e-12


@given(st.integers(150, 400), st.integers(0, 2**32), st.floats(0.1, 0.9))
def test_the_interval_contains_the_estimate(n, seed, level):
    x = np.random.default_rng(seed).standard_normal(n)
    low, high = value_at_risk_interval(x, level=level)
    assert low <= value_at_risk(x, level=level) <= high


# ----------------------------------------------------------------------------- random


@given(
    st.integers(0, 2**64 - 1),
    st.integers(64, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 200),
)
def test_any_address_gives_finite_repeatable_draws(seed, stream, block, n):
    source = BlockStream(seed, stream)
    z, u = source.normals(block, n), source.uniforms(block, n)
    assert np.isfinite(z).all() and (np.abs(z) < 8.6).all()
    assert ((u > 0) & (u < 1)).all()
    np.testing.assert_array_equal(z, BlockStream(seed, stream).normals(block, n))
    np.testing.assert_array_equal(u[: n // 2], source.uniforms(block, n // 2))
    x = source.chi_squares(block, min(n, 30), 2.5)
    assert (x > 0).all() and np.isfinite(x).all()
