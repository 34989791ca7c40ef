"""Factor models against scikit-learn, statsmodels, closed forms and known truths."""

import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA, FactorAnalysis
from statsmodels.multivariate import pca
from statsmodels.multivariate.factor import Factor

from engine.covariance import (
    FactorCovariance,
    factor,
    factor_model,
    number_of_factors,
    sample,
)
from engine.errors import DataError, ModelError, UsageError

METHODS = ["principal_components", "maximum_likelihood"]


def market(T=500, N=12, K=2, seed=0, noise=0.01):
    """Returns with K factors of known loadings; also the true covariance."""
    rng = np.random.default_rng(seed)
    B = 0.01 * (rng.normal(size=(N, K)) + np.eye(1, K))
    d = (noise * rng.uniform(0.5, 1.5, N)) ** 2
    f = rng.normal(size=(T, K))
    X = f @ B.T + rng.normal(size=(T, N)) * np.sqrt(d)
    return X, f, B, B @ B.T + np.diag(d)


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


# ------------------------------------------------------------------- statistical


@pytest.mark.parametrize("shape", [(200, 8), (30, 80), (60, 60)])
def test_principal_components_are_those_of_scikit_learn(shape):
    X = market(*shape)[0]
    model = factor_model(X, 3)
    peer = PCA(3, svd_solver="full").fit(X)
    B, F = model.covariance.loadings, model.covariance.factor_covariance
    np.testing.assert_allclose(np.diag(F), peer.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(B), np.abs(peer.components_.T), atol=1e-9)
    np.testing.assert_allclose(
        np.abs(model.factor_returns), np.abs(peer.transform(X)), atol=1e-10
    )
    assert (B.sum(axis=0) > 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ddof", [0, 1])
def test_variances_are_those_of_the_sample(method, ddof):
    X = market()[0]
    got = factor(X, 2, method=method, ddof=ddof).variances()
    # To the stopping rule of the likelihood; principal components are exact.
    np.testing.assert_allclose(got, X.var(axis=0, ddof=ddof), rtol=1e-6)


def test_standardised_components_are_those_of_the_correlation():
    X = market()[0] * np.geomspace(0.1, 10, 12)
    got = factor(X, 2, standardise=True)
    sigma = X.std(axis=0, ddof=1)
    on_correlation = factor(X / sigma, 2).dense() * np.outer(sigma, sigma)
    np.testing.assert_allclose(got.dense(), on_correlation, rtol=1e-9)


def test_weighted_components_are_those_of_the_weighted_covariance():
    X = market()[0]
    w = 0.5 ** (np.arange(499, -1, -1) / 60)
    S = np.cov(X, rowvar=False, aweights=w, ddof=0)
    values, vectors = np.linalg.eigh(S)
    top = (vectors[:, -2:] * values[-2:]) @ vectors[:, -2:].T
    expected = top + np.diag(np.diag(S - top))
    np.testing.assert_allclose(
        factor(X, 2, half_life=60).dense(), expected, rtol=1e-9, atol=1e-16
    )


@pytest.mark.parametrize(("T", "N", "K"), [(500, 12, 2), (40, 60, 3), (60, 30, 0)])
def test_maximum_likelihood_is_scikit_learn(T, N, K):
    X = market(T, N, max(K, 1))[0]
    got = factor(X, K, method="maximum_likelihood", ddof=0).dense()
    if K == 0:
        np.testing.assert_allclose(got, np.diag(X.var(axis=0)), rtol=1e-6)
        return
    peer = FactorAnalysis(K, tol=1e-10, max_iter=50_000, svd_method="lapack").fit(X)
    assert relative(got, peer.get_covariance()) < 1e-5
    assert likelihood(got, X) >= likelihood(peer.get_covariance(), X) - 1e-7


def likelihood(S, X):
    C = np.cov(X, rowvar=False, ddof=0)
    return -np.linalg.slogdet(S)[1] - np.trace(np.linalg.solve(S, C))


def test_maximum_likelihood_is_statsmodels():
    X = market()[0]
    peer = Factor(X, n_factor=2, method="ml").fit()
    R = peer.loadings @ peer.loadings.T + np.diag(peer.uniqueness)
    sigma = X.std(axis=0, ddof=1)
    got = factor(X, 2, method="maximum_likelihood").dense() / np.outer(sigma, sigma)
    np.testing.assert_allclose(got, R, atol=1e-4)  # its own stopping rule


def test_maximum_likelihood_does_not_depend_on_units():
    X = market()[0]
    units = np.geomspace(0.01, 100, 12)
    got = factor(X * units, 2, method="maximum_likelihood").dense()
    expected = factor(X, 2, method="maximum_likelihood").dense()
    np.testing.assert_allclose(got / np.outer(units, units), expected, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_truth_is_recovered_at_the_rate_of_the_sample_size(method):
    errors = []
    for T in (1_000, 16_000):
        X, _, _, truth = market(T, 40, 2, seed=3)
        errors.append(relative(factor(X, 2, method=method).dense(), truth))
    assert errors[1] < 0.03  # 2 / sqrt(16,000) within a factor of two
    assert 2.0 < errors[0] / errors[1] < 8.0  # sqrt(16) = 4


def test_a_factor_model_beats_the_sample_where_it_is_true():
    X, _, _, truth = market(80, 60, 2, seed=1)
    ours = factor(X, 2).dense()
    assert np.linalg.eigvalsh(ours)[0] > 0
    precision = np.linalg.inv(truth)
    error = relative(np.linalg.inv(ours), precision)
    assert error < 0.5 * relative(np.linalg.pinv(sample(X)), precision)


def test_factor_form_equals_the_dense_matrix():
    S = factor(market()[0], 3)
    v = np.linspace(-1, 1, 12)
    np.testing.assert_allclose(S @ v, S.dense() @ v, rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(S.variances(), np.diag(S.dense()), rtol=1e-12)


def test_an_asset_listed_twice_keeps_a_specific_variance():
    X = market(300, 6, 1)[0]
    X = np.column_stack([X, X[:, 0]])
    for method in METHODS:
        model = factor_model(X, 3, method=method)
        share = model.covariance.specific_variance / X.var(axis=0, ddof=1)
        assert share.min() >= 0.005 * (1 - 1e-9)
        assert np.linalg.eigvalsh(model.covariance.dense())[0] > 0
    full = factor_model(X, 7, specific_floor=0.0)
    np.testing.assert_allclose(full.covariance.dense(), sample(X), atol=1e-15)
    raised = factor_model(X, 7)
    assert raised.floored == raised.assets
    added = raised.covariance.dense() - full.covariance.dense()
    np.testing.assert_allclose(
        added, 0.005 * np.diag(X.var(axis=0, ddof=1)), atol=1e-15
    )


def test_specific_variances_shrink_to_their_mean():
    X = market()[0]
    plain = factor(X, 2).specific_variance
    half = factor(X, 2, shrink_specific=0.5).specific_variance
    np.testing.assert_allclose(half, 0.5 * plain + 0.5 * plain.mean(), rtol=1e-12)


# ---------------------------------------------------------------- number of factors


@pytest.mark.parametrize("criterion", ["bai_ng", "eigenvalue_ratio", "growth_ratio"])
@pytest.mark.parametrize(("T", "N", "K"), [(250, 100, 3), (60, 150, 2), (400, 60, 0)])
def test_strong_factors_are_counted(criterion, T, N, K):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(T, K)) @ rng.normal(size=(K, N)) + rng.normal(size=(T, N))
    assert number_of_factors(X, criterion) == K
    assert factor(X, criterion).loadings.shape == (N, K)


def test_bai_ng_is_that_of_statsmodels():
    for seed in range(5):
        X = market(150, 60, 3, seed=seed, noise=0.02)[0]
        ic = pca.PCA(X, ncomp=8, standardize=True, method="eig").ic[:, 1]
        assert number_of_factors(X, max_factors=8) == int(np.argmin(ic))


def test_ratios_by_hand():
    X = market(100, 50, 2)[0]
    mu = np.linalg.eigvalsh(np.corrcoef(X.T))[::-1] / 50
    V = [mu[j:].sum() for j in range(51)]
    mu0 = np.append(V[0] / np.log(50), mu)
    ratio = [mu0[k] / mu0[k + 1] for k in range(9)]
    assert number_of_factors(X, "eigenvalue_ratio") == int(np.argmax(ratio))
    g = [np.log(1 + mu0[k] / V[k]) for k in range(10)]
    growth = [g[k] / g[k + 1] for k in range(9)]
    assert number_of_factors(X, "growth_ratio") == int(np.argmax(growth))


def test_auto_says_which_criterion_it_took():
    assert factor_model(market(300, 60)[0]).chosen_by == "bai_ng"
    assert factor_model(market(300, 20)[0]).chosen_by == "growth_ratio"
    assert factor_model(market(300, 20)[0], 2).chosen_by == "given"


# ------------------------------------------------------------------ given factors


def test_time_series_regression_is_ordinary_least_squares():
    X, f, _, _ = market(120, 5, 2)
    model = factor_model(X, factors=f, specific_floor=0.0)
    for i in range(5):
        fit = sm.OLS(X[:, i], sm.add_constant(f)).fit()
        np.testing.assert_allclose(model.covariance.loadings[i], fit.params[1:])
        # mse_resid divides by T - K - 1.
        assert model.covariance.specific_variance[i] == pytest.approx(fit.mse_resid)
    np.testing.assert_allclose(
        model.covariance.factor_covariance, np.cov(f, rowvar=False)
    )
    assert model.method == "time_series"
    np.testing.assert_array_equal(model.factor_returns, f)


def test_weighted_regression_is_weighted_least_squares():
    X, f, _, _ = market(120, 4, 2)
    w = 0.5 ** (np.arange(119, -1, -1) / 30)
    w /= w.sum()
    got = factor(X, factors=f, half_life=30, specific_floor=0.0)
    for i in range(4):
        fit = sm.WLS(X[:, i], sm.add_constant(f), weights=w).fit()
        np.testing.assert_allclose(got.loadings[i], fit.params[1:])
        assert got.specific_variance[i] == pytest.approx(w @ fit.resid**2)


def test_betas_shrink_by_precision():
    """Vasicek 1973: prior the cross-section, error the regression's own."""
    X, f, _, _ = market(60, 8, 1, noise=0.05)
    got = factor(X, factors=f, shrink_loadings="vasicek").loadings[:, 0]
    fits = [sm.OLS(X[:, i], sm.add_constant(f)).fit() for i in range(8)]
    b = np.array([r.params[1] for r in fits])
    e2 = np.array([r.bse[1] ** 2 for r in fits])
    prior = b.var(ddof=1)
    expected = (b.mean() / prior + b / e2) / (1 / prior + 1 / e2)
    # The regression's error divides by T - 2 and the sum of squares, as ours does.
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_shrunken_betas_are_closer_to_the_truth():
    rng = np.random.default_rng(2)
    beta = 1.0 + 0.2 * rng.normal(size=200)
    f = 0.01 * rng.normal(size=(60, 1))
    X = f * beta + 0.02 * rng.normal(size=(60, 200))
    plain = factor(X, factors=f).loadings[:, 0] - beta
    shrunk = factor(X, factors=f, shrink_loadings="vasicek").loadings[:, 0] - beta
    assert (shrunk**2).mean() < 0.6 * (plain**2).mean()


# ----------------------------------------------------------------- given loadings


def test_cross_sections_are_regressed_date_by_date():
    X, _, B, _ = market(80, 12, 2)
    w = np.linspace(1, 3, 12)
    model = factor_model(X, loadings=B, weights=w, specific_floor=0.0)
    f = np.array([sm.WLS(x, B, weights=w).fit().params for x in X])
    np.testing.assert_allclose(model.factor_returns, f, rtol=1e-9)
    np.testing.assert_allclose(
        model.covariance.factor_covariance, np.cov(f, rowvar=False)
    )
    residual = X - f @ B.T
    np.testing.assert_allclose(
        model.covariance.specific_variance, residual.var(axis=0, ddof=1)
    )


def test_true_loadings_give_the_true_covariance():
    X, _, B, truth = market(20_000, 60, 2, seed=4)
    assert relative(factor(X, loadings=B).dense(), truth) < 0.05


# ------------------------------------------------------------- labels and properties


def test_labels_are_kept_and_matched_by_name():
    X, f, B, _ = market(60, 4, 2)
    dates = pd.date_range("2024-01-01", periods=60, freq="B")
    frame = pd.DataFrame(X, index=dates, columns=list("ABCD"))
    factors = pd.DataFrame(f, index=dates, columns=["market", "value"])
    model = factor_model(frame, factors=factors)
    assert model.assets == tuple("ABCD") and model.factors == ("market", "value")
    assert list(model.to_frame()["asset"]) == list("ABCD")
    assert "4 assets, 2 factors" in repr(model) and "<table" in model._repr_html_()
    exposures = pd.DataFrame(B, index=list("ABCD"), columns=["market", "value"])
    got = factor(frame, loadings=exposures.loc[list("DBCA")]).dense()
    np.testing.assert_allclose(got, factor(X, loadings=B).dense())
    again = pickle.loads(pickle.dumps(model))
    assert not again.factor_returns.flags.writeable
    assert isinstance(model.covariance, FactorCovariance)
    assert ((model.r_squared > 0) & (model.r_squared < 1)).all()


@given(
    seed=st.integers(0, 10_000),
    T=st.integers(6, 40),
    N=st.integers(4, 30),
    K=st.integers(0, 3),
    method=st.sampled_from(METHODS),
    scale=st.sampled_from([1e-4, 1.0, 1e3]),
)
def test_definite_scaled_and_permuted(seed, T, N, K, method, scale):
    rng = np.random.default_rng(seed)
    X = rng.standard_t(4, size=(T, N)) + rng.standard_t(4, size=(T, 1))
    if method == "maximum_likelihood" and (N - K) ** 2 < N + K:
        return
    S = factor(X, K, method=method)
    dense = S.dense()
    total = X.var(axis=0, ddof=1)
    assert (S.specific_variance >= 0.005 * total * (1 - 1e-9)).all()
    assert np.linalg.eigvalsh(dense)[0] > 0
    if method == "principal_components":  # the likelihood may have several maxima
        order = rng.permutation(N)
        np.testing.assert_allclose(
            factor(X[:, order], K).dense(), dense[np.ix_(order, order)], atol=1e-7
        )
        np.testing.assert_allclose(
            factor(X * scale, K).dense() / scale**2, dense, rtol=1e-6, atol=1e-9
        )


# ------------------------------------------------------------------------ bad input


def test_bad_input_is_named():
    X, f, B, _ = market(60, 4, 2)
    frame = pd.DataFrame(X, columns=list("ABCD"))
    frame.loc[7, "C"] = np.nan
    with pytest.raises(DataError, match="asset C, date 7"):
        factor(frame, 1)
    bad = f.copy()
    bad[3, 1] = np.nan
    with pytest.raises(DataError, match="column 1, date row 3"):
        factor(X, factors=bad)
    with pytest.raises(DataError, match="different numbers of dates"):
        factor(X, factors=f[:-1])
    with pytest.raises(DataError, match="different dates"):
        factor(
            pd.DataFrame(X, index=range(60)),
            factors=pd.DataFrame(f, index=range(1, 61)),
        )
    with pytest.raises(ModelError, match=r"repeats the others.*factor_3"):
        factor(X, factors=np.column_stack([f, f @ [1.0, 2.0]]))
    with pytest.raises(ModelError, match=r"never moves.*factor_1"):
        factor(X, factors=np.full((60, 1), 0.1))
    with pytest.raises(ModelError, match="too few dates"):
        factor(X[:3], factors=f[:3])
    with pytest.raises(ModelError, match="as many factors as assets"):
        factor(X, loadings=np.eye(4))
    with pytest.raises(ModelError, match=r"column of loadings repeats.*factor_2"):
        factor(X, loadings=np.ones((4, 2)))
    with pytest.raises(DataError, match=r"no loadings.*asset D"):
        factor(
            pd.DataFrame(X, columns=list("ABCD")),
            loadings=pd.DataFrame(B[:3], index=list("ABC")),
        )
    with pytest.raises(DataError, match="asset column 2"):
        factor(X, loadings=B, weights=[1, 1, -1, 1])
    with pytest.raises(ModelError, match="more factors than the data hold"):
        factor(X, 5)
    with pytest.raises(ModelError, match="more factors than maximum likelihood"):
        factor(X, 3, method="maximum_likelihood")
    still = X.copy()
    still[:, 2] = 0.001
    for call in (
        lambda: number_of_factors(still),
        lambda: factor(still, 1, method="maximum_likelihood"),
        lambda: factor(still, 1, standardise=True),
    ):
        with pytest.raises(ModelError, match=r"never moves.*column 2"):
            call()


@pytest.mark.parametrize(
    "options",
    [
        {"n_factors": "many"},
        {"n_factors": -1},
        {"n_factors": 1.5},
        {"n_factors": True},
        {"method": "magic"},
        {"n_factors": 1, "half_life": 0.0},
        {"n_factors": 1, "ddof": 2},
        {"n_factors": 1, "specific_floor": 1.0},
        {"n_factors": 1, "shrink_specific": -0.1},
        {"n_factors": 1, "shrink_loadings": "vasicek"},
        {"n_factors": 1, "weights": np.ones(12)},
        {"method": "maximum_likelihood", "standardise": True},
        {"n_factors": 1, "factors": np.ones((500, 1))},
        {"factors": np.ones((500, 1)), "loadings": np.ones((12, 1))},
        {"factors": np.ones((500, 1)), "shrink_loadings": "james_stein"},
    ],
)
def test_options_that_contradict_are_refused(options):
    with pytest.raises(UsageError):
        factor(market()[0], **options)


def test_number_of_factors_refuses_what_cannot_be():
    X = market()[0]
    with pytest.raises(UsageError, match="criterion"):
        number_of_factors(X, "scree")
    with pytest.raises(UsageError, match="max_factors"):
        number_of_factors(X, max_factors=11)
    with pytest.raises(ModelError, match="too few"):
        number_of_factors(X[:, :3])
