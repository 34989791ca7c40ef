"""Two half-lives, the volatility multiplier, blends and the combined forecast."""

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import (
    FactorCovariance,
    blend,
    blended,
    combination_weights,
    combined,
    evidence_weights,
    ewma,
    ewma_split,
    factor,
    ledoit_wolf,
    regime_adjusted,
    regime_multiplier,
    sample,
    split,
)
from engine.errors import DataError, ModelError, UsageError


def returns(T=300, N=5, seed=0, scale=0.01):
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, size=(T, 1))
    return scale * (market * rng.uniform(0.3, 1.5, N) + rng.standard_t(5, size=(T, N)))


def frame(X):
    names = [f"A{i}" for i in range(X.shape[1])]
    dates = pd.date_range("2023-01-02", periods=len(X), freq="B")
    return pd.DataFrame(X, index=dates, columns=names)


# -------------------------------------------------------------------- ewma_split


def test_each_part_has_its_half_life():
    X = returns()
    S = ewma_split(X, vol_half_life=20, corr_half_life=90)
    sigma, R = split(S)
    np.testing.assert_allclose(
        sigma, np.sqrt(np.diag(ewma(X, half_life=20))), rtol=1e-12
    )
    np.testing.assert_allclose(R, split(ewma(X, half_life=90))[1], rtol=1e-10)
    equal = ewma_split(X, vol_half_life=33, corr_half_life=33)
    np.testing.assert_allclose(equal, ewma(X, half_life=33), rtol=1e-10)


def iterated_by_hand(X, vol, corr):
    """Loops over dates, with the volatility known the day before."""
    T, N = X.shape
    a, b = 0.5 ** (1 / vol), 0.5 ** (1 / corr)
    R, weight = np.zeros((N, N)), 0.0
    for t in range(1, T):
        w = a ** np.arange(t - 1, -1, -1)
        before = np.sqrt(w @ X[:t] ** 2 / w.sum())
        z = np.clip(X[t] / before, -4.2, 4.2)
        R, weight = b * R + np.outer(z, z), b * weight + 1.0
    R /= weight
    w = a ** np.arange(T - 1, -1, -1)
    sigma = np.sqrt(w @ X**2 / w.sum())
    d = np.sqrt(np.diag(R))
    return R / np.outer(d, d) * np.outer(sigma, sigma)


def test_iterated_correlation_by_hand():
    X = returns(120, 4)
    X[60] *= 30  # beyond the bound
    got = ewma_split(X, vol_half_life=10, corr_half_life=40, iterated=True)
    np.testing.assert_allclose(got, iterated_by_hand(X, 10, 40), rtol=1e-10)


def test_one_wild_day_does_not_own_the_iterated_correlation():
    rng = np.random.default_rng(1)
    X = 0.01 * rng.normal(size=(400, 2))
    X[390] = [0.4, 0.4]
    options = {"vol_half_life": 20.0, "corr_half_life": 200.0}
    assert split(ewma_split(X, **options))[1][0, 1] > 0.8
    assert abs(split(ewma_split(X, iterated=True, **options))[1][0, 1]) < 0.25


# ------------------------------------------------------------- regime multiplier


def last_sample(X):
    return sample(X[-100:], assume_centered=True)


def test_multiplier_by_hand():
    X = returns(200, 4)
    n, step, half_life = 50, 7, 15
    total = weight = 0.0
    for j, t in enumerate(range(150, 200)):
        made = 150 + (j // step) * step
        variance = np.diag(last_sample(X[:made]))
        b2 = np.mean(X[t] ** 2 / variance)
        w = 0.5 ** ((199 - t) / half_life)
        total, weight = total + w * b2, weight + w
    got = regime_multiplier(X, last_sample, half_life=half_life, step=step, history=n)
    assert got == pytest.approx(np.sqrt(total / weight), rel=1e-12)


def test_multiplier_is_one_where_forecasts_are_right():
    rng = np.random.default_rng(3)
    X = 0.01 * rng.normal(size=(2_000, 50))
    truth = 1e-4 * np.eye(50)
    got = regime_multiplier(X, lambda _: truth, half_life=200, history=1_000)
    # Effective dates 2 * 200 / ln 2 = 577 times 50 assets: error sqrt(2/n)/2.
    assert got == pytest.approx(1.0, abs=4 * np.sqrt(2 / 28_850) / 2)


def test_multiplier_finds_a_regime_before_the_base_does():
    rng = np.random.default_rng(4)
    X = 0.01 * rng.normal(size=(600, 30))
    X[-60:] *= 2.0
    slow = regime_multiplier(X, "sample", half_life=10)
    assert 1.5 < slow < 2.0  # the base has caught up with part of it
    got = np.sqrt(np.diag(regime_adjusted(X, "sample", half_life=10)))
    plain = np.sqrt(np.diag(sample(X)))
    assert abs(got.mean() / 0.02 - 1) < 0.25 * abs(plain.mean() / 0.02 - 1) + 0.1


def test_adjusted_matrix_is_the_base_times_the_square():
    X = returns()
    for base in ("ewma_split", "ledoit_wolf", ewma):
        m = regime_multiplier(X, base)
        made = base(X) if callable(base) else None
        if base == "ledoit_wolf":
            made = ledoit_wolf(X, "constant_correlation")
        elif base == "ewma_split":
            made = ewma_split(X)
        np.testing.assert_allclose(regime_adjusted(X, base), m**2 * made, rtol=1e-12)


def test_kind_of_the_result_is_that_of_the_base():
    X = frame(returns())
    adjusted = regime_adjusted(X)
    assert list(adjusted.columns) == list(X.columns) == list(adjusted.index)
    form = regime_adjusted(X, lambda Y: factor(Y, 1))
    assert isinstance(form, FactorCovariance)
    m = regime_multiplier(X, lambda Y: factor(Y, 1))
    np.testing.assert_allclose(form.dense(), m**2 * factor(X, 1).dense(), rtol=1e-12)


def test_multiplier_of_a_date_sees_only_the_past():
    seen = []

    def spy(X):
        seen.append(X.copy())
        X[:] = np.nan  # and what it writes hurts nobody
        return np.eye(5) * 1e-4

    X = returns()
    regime_multiplier(X, spy, history=20, step=5)
    assert [len(s) for s in seen] == [280, 285, 290, 295]
    for s in seen:
        np.testing.assert_array_equal(s, X[: len(s)])


# -------------------------------------------------------------------------- blend


def test_blend_is_the_weighted_sum():
    A, B = sample(returns()), ewma(returns())
    np.testing.assert_allclose(blend([A, B], weights=[0.25, 0.75]), A / 4 + 3 * B / 4)
    np.testing.assert_allclose(blend([A, B]), (A + B) / 2)
    X = frame(returns())
    mixed = blend([sample(X), factor(X, 1)], weights=[0.5, 0.5])
    assert list(mixed.columns) == list(X.columns)
    np.testing.assert_allclose(
        mixed, 0.5 * sample(X.to_numpy()) + 0.5 * factor(X, 1).dense()
    )


def test_blended_estimates_first():
    X = frame(returns())
    got = blended(X, ["sample", ewma], weights=[0.3, 0.7])
    np.testing.assert_allclose(got, 0.3 * sample(X) + 0.7 * ewma(X))
    assert list(got.index) == list(X.columns)


# ------------------------------------------------------------ combined on evidence


def test_evidence_weights_solve_the_convex_problem():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        M, K = int(rng.integers(20, 200)), int(rng.integers(2, 7))
        C = np.exp(rng.normal(size=(M, K)) + rng.normal(size=K))
        A = rng.normal(size=(M, K)) * np.exp(rng.normal(size=K))
        w = evidence_weights(C, A)
        v = cp.Variable(K, nonneg=True)
        goal = cp.sum(cp.log(C @ v)) / M - cp.sum_squares(A @ v) / (2 * M)
        cp.Problem(cp.Maximize(goal), [cp.sum(v) == 1]).solve(solver="CLARABEL")

        def value(x, C=C, A=A, M=M):
            return np.log(C @ x).mean() - ((A @ x) ** 2).sum() / (2 * M)

        peer = np.maximum(np.asarray(v.value), 0.0)
        assert value(w) >= value(peer / peer.sum()) - 1e-8
        np.testing.assert_allclose(w, v.value, atol=1e-3)


@given(seed=st.integers(0, 10_000), K=st.integers(1, 6), M=st.integers(1, 40))
def test_evidence_weights_are_stationary_on_the_simplex(seed, K, M):
    rng = np.random.default_rng(seed)
    C = np.exp(3 * rng.normal(size=(M, K)) + 4 * rng.normal(size=K))
    A = rng.normal(size=(M, K)) * np.exp(3 * rng.normal(size=K))
    w = evidence_weights(C, A)
    assert (w >= 0).all() and w.sum() == pytest.approx(1.0)
    g = C.T @ (1 / (C @ w)) / M - A.T @ (A @ w) / M
    assert g.max() - g @ w <= 1e-8  # the gap that bounds the loss


def test_the_true_covariance_takes_the_weight():
    rng = np.random.default_rng(5)
    L = np.tril(rng.normal(size=(6, 6))) + 3 * np.eye(6)
    truth = 1e-4 * L @ L.T
    X = rng.multivariate_normal(np.zeros(6), truth, size=400)
    candidates = {
        "true": lambda _: truth,
        "too big": lambda _: 4 * truth,
        "identity": lambda _: np.eye(6) * 1e-4,
    }
    weights = combination_weights(X, candidates, lookback=200)
    assert weights["true"] > 0.9
    got = combined(X, candidates, lookback=200)
    assert np.linalg.norm(got - truth) < 0.1 * np.linalg.norm(truth)


def test_combination_of_one_is_that_one():
    X = returns()
    np.testing.assert_allclose(combined(X, ["sample"]), sample(X), rtol=1e-9)


def test_combined_by_hand():
    """Explicit inverses and Cholesky factors of the precision, as the paper writes."""
    X = returns(80, 4)
    estimators = {"a": lambda Y: ewma(Y, half_life=20), "b": sample}
    w = combination_weights(X, estimators, lookback=10)
    L = sum(
        w[n] * np.linalg.cholesky(np.linalg.inv(e(X))) for n, e in estimators.items()
    )
    got = combined(X, estimators, lookback=10)
    np.testing.assert_allclose(got, np.linalg.inv(L @ L.T), rtol=1e-8)
    C, A = [], []
    for t in range(70, 80):
        factors = [
            np.linalg.cholesky(np.linalg.inv(e(X[:t]))) for e in estimators.values()
        ]
        C.append(np.column_stack([np.diag(f) for f in factors]))
        A.append(np.column_stack([f.T @ X[t] for f in factors]))
    by_hand = evidence_weights(np.vstack(C), np.vstack(A))
    np.testing.assert_allclose(list(w.values()), by_hand, atol=1e-7)


def test_default_combination_is_five_iterated_averages():
    X = frame(returns(400, 6))
    weights = combination_weights(X)
    assert next(iter(weights)) == "ewma 10/21" and len(weights) == 5
    S = combined(X)
    assert list(S.columns) == list(X.columns)
    assert np.linalg.eigvalsh(S)[0] > 0


# -------------------------------------------------------------------- properties


@given(
    seed=st.integers(0, 10_000),
    N=st.integers(1, 8),
    T=st.integers(12, 60),
    scale=st.sampled_from([1e-4, 1.0, 100.0]),
    name=st.sampled_from(["split", "iterated", "regime", "blended", "combined"]),
)
def test_semidefinite_scaled_and_permuted(seed, N, T, scale, name):
    X = returns(T, N, seed)
    estimate = {
        "split": ewma_split,
        "iterated": lambda Y: ewma_split(Y, iterated=True),
        "regime": lambda Y: regime_adjusted(Y, half_life=5),
        "blended": lambda Y: blended(Y, ["sample", "ewma"]),
        "combined": lambda Y: combined(Y, ["ledoit_wolf_identity", "ewma_split"]),
    }[name]
    if name == "combined" and N >= T - 11:
        return
    S = estimate(X)
    tolerance = 1e-10 * np.abs(S).max()
    assert np.linalg.eigvalsh(S)[0] > -tolerance
    np.testing.assert_array_equal(S, S.T)
    np.testing.assert_allclose(estimate(scale * X), scale**2 * S, rtol=1e-6)
    if name != "combined":  # a Cholesky factor depends on the order of the assets
        p = np.random.default_rng(seed).permutation(N)
        np.testing.assert_allclose(
            estimate(X[:, p]), S[np.ix_(p, p)], rtol=1e-9, atol=tolerance
        )


# --------------------------------------------------------------------- bad input


def test_bad_input_is_named():
    X = returns(60, 3)
    still = X.copy()
    still[:, 1] = 0.0
    with pytest.raises(ModelError, match=r"never moves.*A1"):
        ewma_split(frame(still))
    old = X.copy()
    old[1:, 2] = 0.0
    with pytest.raises(ModelError, match=r"half-life of the correlations.*A2"):
        ewma_split(frame(old), iterated=True)
    bad = X.copy()
    bad[5, 2] = np.inf
    for call in (ewma_split, regime_multiplier, combined):
        with pytest.raises(DataError, match="column 2, date row 5"):
            call(bad)
    with pytest.raises(UsageError, match="vol_half_life"):
        ewma_split(X, vol_half_life=0)
    with pytest.raises(UsageError, match="half_life"):
        regime_multiplier(X, half_life=np.nan)
    with pytest.raises(UsageError, match="step"):
        regime_multiplier(X, step=0)
    with pytest.raises(ModelError, match="too few dates before"):
        regime_multiplier(X, history=59)
    with pytest.raises(UsageError, match=r"unknown covariance estimator.*oracle"):
        regime_multiplier(X, "oracle")
    with pytest.raises(ModelError, match=r"no variance.*column 0"):
        regime_multiplier(X, lambda Y: np.zeros((3, 3)))
    with pytest.raises(ModelError, match="wrong shape"):
        regime_multiplier(X, lambda Y: np.eye(2))
    with pytest.raises(ModelError, match="NaN"):
        blended(X, [sample, lambda Y: np.full((3, 3), np.nan)])


def test_blend_refuses_what_is_no_blend():
    A = np.eye(2)
    with pytest.raises(UsageError, match="at least one"):
        blend([])
    for weights in ([0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0]):
        with pytest.raises(UsageError, match="sum to one"):
            blend([A, A], weights=weights)
    with pytest.raises(UsageError, match="one weight per matrix"):
        blend([A, A], weights=[1.0])
    with pytest.raises(ModelError, match="number 1"):
        blend([A, np.array([[1.0, 2.0], [2.0, 1.0]])])
    one = pd.DataFrame(A, list("ab"), list("ab"))
    other = pd.DataFrame(A, list("ba"), list("ba"))
    with pytest.raises(DataError, match="different assets"):
        blend([one, other])
    with pytest.raises(DataError, match="rows and columns"):
        blend([pd.DataFrame(A, list("ab"), list("ba"))])


def test_combined_names_the_forecast_that_has_no_inverse():
    X = returns(40, 45)
    with pytest.raises(
        ModelError, match=r"forecast sample cannot be combined.*singular"
    ):
        combined(X, ["ledoit_wolf_identity", "sample"])
    with pytest.raises(UsageError, match="lookback"):
        combined(X, lookback=0)
    with pytest.raises(ModelError, match="too few dates"):
        combined(X, lookback=39)
    with pytest.raises(DataError, match="one shape"):
        evidence_weights(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(DataError, match="positive"):
        evidence_weights(np.zeros((3, 2)), np.ones((3, 2)))
