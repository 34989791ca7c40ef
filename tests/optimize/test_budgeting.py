"""Risk budgets against closed forms, plain Newton steps and two peer libraries."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quadratic_cases import covariance, factor_form

from engine.covariance import FactorCovariance
from engine.errors import DataError, ModelError
from engine.kernels import budgeting as kernel
from engine.optimize import (
    inverse_volatility,
    maximum_diversification,
    minimum_variance,
    risk_budgeting,
)


def contributions(w, Q):
    c = w * (Q @ w)
    return c / c.sum()


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.5, 0.99])
def test_two_assets_are_held_in_proportion_to_the_other_ones_volatility(rho):
    s1, s2 = 0.1, 0.25
    Q = np.array([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
    w = risk_budgeting(Q)
    assert w[0] / w[1] == pytest.approx(s2 / s1, rel=1e-9)


@pytest.mark.parametrize("rho", [-0.1, 0.0, 0.6])
def test_with_one_correlation_equal_contribution_is_inverse_volatility(rho):
    """Maillard, Roncalli, Teiletche (2010), section 2.2."""
    sigma = np.linspace(0.05, 0.4, 8)
    Q = np.outer(sigma, sigma) * (rho + (1 - rho) * np.eye(8))
    np.testing.assert_allclose(risk_budgeting(Q), inverse_volatility(Q), rtol=1e-9)
    np.testing.assert_allclose(
        maximum_diversification(Q), inverse_volatility(Q), rtol=1e-9
    )


def test_uncorrelated_budgets_have_a_closed_form():
    sigma, b = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.3, 0.2])
    w = np.sqrt(b) / sigma
    np.testing.assert_allclose(
        risk_budgeting(np.diag(sigma**2), b), w / w.sum(), rtol=1e-12
    )


@given(
    seed=st.integers(0, 10**6),
    N=st.integers(1, 40),
    T=st.integers(3, 200),
    equal=st.booleans(),
    scale=st.sampled_from([1e-6, 0.01, 100.0]),
)
def test_contributions_are_the_budgets(seed, N, T, equal, scale):
    """Also of singular covariances, at any scale."""
    Q = covariance(seed, N, T, scale)
    rng = np.random.default_rng(seed)
    b = np.full(N, 1 / N) if equal else rng.dirichlet(np.full(N, 2.0)) + 1e-3
    b /= b.sum()
    try:
        w = risk_budgeting(Q, b)
    except ModelError as error:
        assert "no long-only book" in str(error)  # one without risk: T of very few
        assert minimum_variance(Q) @ Q @ minimum_variance(Q) < 1e-8 * Q.max()
        return
    assert w.min() > 0 and w.sum() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(contributions(w, Q), b, rtol=1e-9)


@given(seed=st.integers(0, 10**6), N=st.integers(2, 60), K=st.integers(0, 8))
def test_factor_form_is_the_dense_answer(seed, N, K):
    F = factor_form(seed, N, max(K, 1)) if K else None
    if F is None:
        F = FactorCovariance(np.zeros((N, 0)), np.zeros((0, 0)), np.linspace(1, 2, N))
    for rule in (
        risk_budgeting,
        inverse_volatility,
        maximum_diversification,
        minimum_variance,
    ):
        np.testing.assert_allclose(rule(F), rule(F.dense()), rtol=2e-8, atol=1e-10)


def test_order_of_the_assets_only_permutes_the_weights():
    Q, order = covariance(4, 12), np.random.default_rng(0).permutation(12)
    w, mixed = risk_budgeting(Q), risk_budgeting(Q[np.ix_(order, order)])
    np.testing.assert_allclose(mixed, w[order], rtol=1e-8)


def test_units_of_the_assets_only_rescale_the_weights():
    """With x in risk units, the answer is that of the correlation."""
    Q = covariance(5, 9)
    scale = np.geomspace(1e-3, 1e3, 9)
    w = risk_budgeting(Q * np.outer(scale, scale)) * scale
    np.testing.assert_allclose(w / w.sum(), risk_budgeting(Q), rtol=1e-8)


def test_slow_descent_goes_on_with_newton(monkeypatch):
    from engine.optimize import _budgeting

    monkeypatch.setattr(_budgeting, "_SWEEPS", 1)
    Q = covariance(6, 30, 40)
    np.testing.assert_allclose(
        contributions(risk_budgeting(Q), Q), np.full(30, 1 / 30), rtol=1e-9
    )


def test_compiled_and_plain_kernels_agree():
    Q, b = covariance(7, 6), np.full(6, 1 / 6)
    x, y = np.full(6, 10.0), np.full(6, 10.0)
    kernel.budget_dense(Q, b, x, 1e-10, 100)
    kernel.budget_dense.py_func(Q, b, y, 1e-10, 100)
    np.testing.assert_allclose(x, y, rtol=1e-9)
    F = factor_form(7, 6, 2)
    A, d = F.sampling_factor()[0], F.specific_variance
    x, y = np.full(6, 10.0), np.full(6, 10.0)
    kernel.budget_factor(A, d, b, x, 1e-10, 100)
    kernel.budget_factor.py_func(A, d, b, y, 1e-10, 100)
    np.testing.assert_allclose(x, y, rtol=1e-9)
    bent = Q.copy()
    bent[4, 1] += 1e-5
    for matrix in (Q, bent):
        largest, difference = kernel.symmetry(matrix)
        assert largest == np.abs(matrix).max()
        assert difference == np.abs(matrix - matrix.T).max()
    bent[0, 5] = np.inf
    assert np.isnan(kernel.symmetry(bent)[0])


def test_riskfolio_and_skfolio_find_the_same_book():
    """To their own accuracy: contributions of both are off by 1e-5 to 1e-4."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio
        from skfolio import RiskMeasure
        from skfolio.optimization import RiskBudgeting

        rng = np.random.default_rng(3)
        X = 0.01 * (rng.standard_normal((300, 1)) + rng.standard_normal((300, 8)))
        X *= np.linspace(0.5, 2.0, 8)
        b = np.linspace(1.0, 2.0, 8) / 12.0
        theirs = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE, risk_budget=b).fit(X)
        book = riskfolio.Portfolio(returns=pd.DataFrame(X))
        book.assets_stats(method_mu="hist", method_cov="hist")
        third = book.rp_optimization(model="Classic", rm="MV", b=b[:, None], hist=True)
    ours = risk_budgeting(np.cov(X.T), b)
    np.testing.assert_allclose(ours, theirs.weights_, atol=2e-5)
    np.testing.assert_allclose(ours, third.to_numpy()[:, 0], atol=2e-5)


def test_minimum_variance_of_two_assets():
    s1, s2, rho = 0.1, 0.2, 0.3
    Q = np.array([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
    w = (s2**2 - rho * s1 * s2) / (s1**2 + s2**2 - 2 * rho * s1 * s2)
    np.testing.assert_allclose(minimum_variance(Q), [w, 1 - w], rtol=1e-12)
    # Correlated beyond s1 / s2 the second would be sold.
    Q[0, 1] = Q[1, 0] = 0.8 * s1 * s2
    np.testing.assert_allclose(minimum_variance(Q), [1.0, 0.0], atol=1e-12)
    free = minimum_variance(Q, lower=-np.inf, upper=np.inf)
    plain = np.linalg.solve(Q, np.ones(2))
    np.testing.assert_allclose(free, plain / plain.sum(), rtol=1e-10)


@given(seed=st.integers(0, 10**6), N=st.integers(2, 25))
def test_no_book_is_more_diversified(seed, N):
    """Core property (Choueifaty, Coignard 2008): no asset outside correlates less."""
    Q = covariance(seed, N)
    sigma = np.sqrt(np.diagonal(Q))
    w = maximum_diversification(Q)
    own = (Q @ w) / sigma / np.sqrt(w @ Q @ w)  # correlation with the book
    assert own[w > 1e-9].max() - own.min() < 1e-8
    cap = max(1.5 / N, 0.3)
    bounded = maximum_diversification(Q, upper=cap)
    assert bounded.max() <= cap + 1e-12

    def ratio(w):
        return w @ sigma / np.sqrt(w @ Q @ w)

    assert ratio(bounded) <= ratio(w) + 1e-12
    for other in np.random.default_rng(seed).dirichlet(np.ones(N), 20):
        assert ratio(other) <= ratio(w) + 1e-12
        if other.max() <= cap:
            assert ratio(other) <= ratio(bounded) + 1e-9


def test_labels_come_back():
    names = list("WXYZ")
    Q = pd.DataFrame(covariance(1, 4), index=names, columns=names)
    budgets = {"Z": 0.4, "W": 0.1, "X": 0.2, "Y": 0.3}
    w = risk_budgeting(Q, budgets)
    assert list(w.index) == names
    np.testing.assert_allclose(
        contributions(w.to_numpy(), Q.to_numpy()), [0.1, 0.2, 0.3, 0.4], rtol=1e-9
    )
    for rule in (inverse_volatility, minimum_variance, maximum_diversification):
        assert list(rule(Q).index) == names


def bad(i, j, value):
    Q = covariance(2, 4)
    Q[i, j] = value
    return Q


@pytest.mark.parametrize(
    ("Q", "kind", "message"),
    [
        (np.ones((2, 3)), DataError, "not square"),
        (np.zeros((0, 0)), DataError, "not square"),
        ([["a", "b"], ["c", "d"]], DataError, "not numeric"),
        (bad(1, 2, np.nan), DataError, "NaN or infinity; at asset row 1"),
        (bad(1, 2, 0.5), ModelError, "not symmetric"),
        (np.diag([1.0, 0.0]), ModelError, "never moves; at asset row 1"),
        (np.diag([1.0, -1.0]), ModelError, "negative; at asset row 1"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), ModelError, "not positive semi-definite"),
        (np.eye(3) * 1.5 - 0.5 - 1e-4, ModelError, "not positive semi-definite"),
        (np.array([[1.0, -1.0], [-1.0, 1.0]]), ModelError, "no long-only book"),
    ],
)
def test_covariances_that_cannot_be(Q, kind, message):
    with pytest.raises(kind, match=message):
        risk_budgeting(Q)


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ([0.5, 0.4], "do not sum to one"),
        ([1.5, -0.5], "not positive; at asset row 1"),
        ([1.0, 0.0], "not positive; at asset row 1"),
        ([0.5, np.nan], "non-finite"),
        ([0.2, 0.3, 0.5], "wrong shape"),
        ({"A": 0.5, "B": 0.5}, "no labels"),
    ],
)
def test_budgets_that_cannot_be(b, message):
    with pytest.raises(DataError, match=message):
        risk_budgeting(np.eye(2), b)


def test_labels_that_do_not_match():
    Q = pd.DataFrame(np.eye(2), index=["A", "B"], columns=["A", "B"])
    with pytest.raises(DataError, match="different assets; at asset B"):
        risk_budgeting(Q, {"A": 1.0})
    with pytest.raises(DataError, match="labelled differently"):
        risk_budgeting(Q[["B", "A"]])
    with pytest.raises(DataError, match="twice; at asset A"):
        risk_budgeting(Q.set_axis(["A", "A"], axis=0).set_axis(["A", "A"], axis=1))
    with pytest.raises(ModelError, match="never moves; at asset B"):
        inverse_volatility(Q * [1.0, 0.0] * np.array([[1.0], [0.0]]))
