"""Mean-variance against closed forms, its own conditions, and cvxpy."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quadratic_cases import covariance, factor_form, means

from engine.errors import DataError, InfeasibleError, ModelError, UsageError
from engine.optimize import (
    _frontier,
    _mean_variance,
    efficient_frontier,
    maximum_ratio,
    maximum_return,
    maximum_utility,
    mean_variance,
)

TANGENCY = np.array([[0.04, 0.006], [0.006, 0.09]])


def limits(seed, N):
    """Three rows with room inside."""
    A = (np.random.default_rng([seed, 2]).random((3, N)) < 0.4).astype(float)
    return {"A_ub": A, "b_ub": A.mean(axis=1) * np.array([0.5, 0.9, 1.2]) + 0.05}


def test_interior_optimum_is_the_linear_system():
    """Without bounds that bind: (mean - y) / gamma through the inverse."""
    Q, mu, gamma = covariance(1, 6), means(1, 6), 4.0
    solved = np.linalg.solve(Q, np.column_stack([mu, np.ones(6)]))
    y = (solved[:, 0].sum() - gamma) / solved[:, 1].sum()
    w = (solved[:, 0] - y * solved[:, 1]) / gamma
    s = mean_variance(mu, Q, risk_aversion=gamma, lower=-np.inf, upper=np.inf)
    np.testing.assert_allclose(s.weights, w, rtol=1e-9, atol=1e-12)
    assert s.prices["budget"] == pytest.approx(-y, rel=1e-9)
    boxed = mean_variance(mu, Q, risk_aversion=gamma, lower=-9.0, upper=9.0)
    np.testing.assert_allclose(boxed.weights, w, rtol=1e-9, atol=1e-12)


@given(
    seed=st.integers(0, 10**6),
    N=st.integers(1, 40),
    gamma=st.sampled_from([0.01, 1.0, 30.0, 1e4]),
    form=st.sampled_from(["dense", "singular", "factor"]),
    box=st.sampled_from([(0.0, 1.0), (-0.3, 0.5), (0.0, None), (-np.inf, np.inf)]),
    rows=st.booleans(),
)
def test_first_order_conditions(seed, N, gamma, form, box, rows):
    """Feasible, stationary, complementary, and the proven gap says so."""
    Q = factor_form(seed, N, 3) if form == "factor" else covariance(seed, N)
    if form == "singular":
        Q = covariance(seed, N, 2 + N // 2)
        box = (0.0, 1.0)  # without bounds it has no minimum
    lower, upper = box
    upper = max(2.0 / N, 0.1) if upper is None else max(upper, 1.0 / N)
    mu = means(seed, N)
    more = limits(seed, N) if rows and N > 5 and upper >= 0.5 else {}
    s = mean_variance(mu, Q, risk_aversion=gamma, lower=lower, upper=upper, **more)
    w, dense = s.weights, Q.dense() if form == "factor" else Q
    assert w.sum() == pytest.approx(1.0, abs=1e-9)
    assert s.violation <= 1e-9
    assert w.min() >= lower and w.max() <= upper
    size = gamma * np.abs(dense @ w).max() + np.abs(mu).max()
    A = more.get("A_ub", np.zeros((0, N)))
    z = np.array([s.prices[f"row {i}"] for i in range(len(A))])
    slope = gamma * dense @ w - mu - s.prices["budget"] + A.T @ z
    np.testing.assert_allclose(slope, s.reduced_costs, atol=1e-12 * size + 1e-15)
    free = (w > lower + 1e-8) & (w < upper - 1e-8)
    assert np.abs(slope[free]).max(initial=0.0) <= 1e-7 * size
    assert (slope[w <= lower + 1e-8] >= -1e-7 * size).all()
    if upper > lower + 1e-7:
        assert (slope[w >= upper - 1e-8] <= 1e-7 * size).all()
    if more:
        assert (z >= 0).all() and np.abs(z * (A @ w - more["b_ub"])).max() < 1e-9
    unit = gamma * w @ dense @ w + np.abs(mu) @ np.abs(w)
    assert -1e-9 * unit <= s.gap <= 1e-9 * unit
    assert s.objective == pytest.approx(gamma / 2 * w @ dense @ w - mu @ w, rel=1e-9)


@given(seed=st.integers(0, 10**6), N=st.integers(2, 30))
def test_factor_form_is_the_dense_answer(seed, N):
    F, mu = factor_form(seed, N, 4), means(seed, N)
    a = mean_variance(mu, F, risk_aversion=3.0)
    b = mean_variance(mu, F.dense(), risk_aversion=3.0)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-8)


@given(seed=st.integers(0, 10**6))
def test_the_bound_holds_for_every_portfolio_of_the_limits(seed):
    N = 8
    Q, mu = covariance(seed, N), means(seed, N)
    s = mean_variance(mu, Q, risk_aversion=5.0)
    W = np.random.default_rng(seed).dirichlet(np.full(N, 0.3), 200)
    values = 2.5 * np.einsum("si,ij,sj->s", W, Q, W) - W @ mu
    assert s.bound <= s.objective + 1e-15 and s.bound <= values.min() + 1e-15
    assert s.objective <= values.min() + 1e-15


@pytest.mark.parametrize("form", ["dense", "factor"])
def test_cvxpy_finds_the_same_portfolio(form):
    import cvxpy as cp

    N, gamma = 30, 4.0
    F, mu, more = factor_form(9, N, 3), means(9, N), limits(9, N)
    w = cp.Variable(N)
    goal = cp.Minimize(gamma / 2 * cp.quad_form(w, cp.psd_wrap(F.dense())) - mu @ w)
    rows = more["A_ub"] @ w <= more["b_ub"]
    cp.Problem(goal, [cp.sum(w) == 1, w >= 0, w <= 0.2, rows]).solve("CLARABEL")
    Q = F if form == "factor" else F.dense()
    s = mean_variance(mu, Q, risk_aversion=gamma, upper=0.2, **more)
    np.testing.assert_allclose(s.weights, w.value, atol=1e-4)
    assert s.objective <= goal.value + 1e-10
    theirs = np.asarray(rows.dual_value)
    ours = [s.prices[f"row {i}"] for i in range(3)]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("form", ["dense", "factor"])
def test_textbook_takes_over_and_says_so(form, monkeypatch):
    F, mu, more = factor_form(3, 12, 3), means(3, 12), limits(3, 12)
    Q = F if form == "factor" else F.dense()
    ours = mean_variance(mu, Q, risk_aversion=2.0, upper=0.5, **more)
    monkeypatch.setattr(_mean_variance, "interior_point", lambda q: None)
    s = mean_variance(mu, Q, risk_aversion=2.0, upper=0.5, **more)
    assert s.path[0] == "interior point: no step" and "CLARABEL" in s.path[1]
    assert s.objective == pytest.approx(ours.objective, abs=1e-9)
    assert 0 <= s.gap + 1e-12 and s.gap < 1e-6
    for name in ours.prices:
        assert s.prices[name] == pytest.approx(ours.prices[name], abs=2e-6)


def test_a_price_is_the_slope_of_the_optimum():
    N, Q, mu = 10, covariance(8, 10), means(8, 10)
    A = np.zeros((1, N))
    A[0, :4] = 1.0

    def best(b, total=1.0):
        return mean_variance(
            mu,
            Q,
            risk_aversion=5.0,
            A_ub=A,
            b_ub=[b],
            A_eq=np.ones((1, N)),
            b_eq=[total],
            row_names=("group",),
            equality_names=("budget",),
        )

    s, h = best(0.1), 1e-5
    assert s.prices["group"] > 0
    assert s.prices["group"] == pytest.approx(
        (best(0.1 - h).objective - best(0.1 + h).objective) / (2 * h), rel=1e-5
    )
    assert s.prices["budget"] == pytest.approx(
        (best(0.1, 1 + h).objective - best(0.1, 1 - h).objective) / (2 * h), rel=1e-5
    )


def test_fixed_weights_and_cash_without_variance():
    Q = np.zeros((3, 3))
    Q[:2, :2] = TANGENCY
    lower, upper = [0.2, 0.0, 0.0], [0.2, 1.0, 1.0]
    s = mean_variance([0.0, 0.05, 0.01], Q, lower=lower, upper=upper)
    assert s.weights[0] == 0.2
    # The second: marginal return over cash equals marginal risk.
    w = (0.04 - 0.006 * 0.2) / 0.09
    np.testing.assert_allclose(s.weights[1:], [w, 0.8 - w], rtol=1e-9)


# The best ratio and the best return.


def test_tangency_portfolio_of_two_assets():
    mu, rf = np.array([0.08, 0.05]), 0.02
    x = np.linalg.solve(TANGENCY, mu - rf)
    s = maximum_ratio(mu, TANGENCY, risk_free=rf)
    np.testing.assert_allclose(s.weights, x / x.sum(), rtol=1e-9)
    assert -s.objective == pytest.approx(np.sqrt((mu - rf) @ x), rel=1e-12)
    assert 0 <= s.gap < 1e-9
    free = maximum_ratio(mu, TANGENCY, risk_free=rf, lower=-np.inf, upper=np.inf)
    np.testing.assert_allclose(free.weights, x / x.sum(), rtol=1e-9)


@given(seed=st.integers(0, 10**6), N=st.integers(2, 15), shorts=st.booleans())
def test_no_portfolio_has_a_larger_ratio(seed, N, shorts):
    Q, mu = covariance(seed, N), means(seed, N) + 1e-4
    if mu.max() <= 0:
        return
    lower = -0.2 if shorts else 0.0
    s = maximum_ratio(mu, Q, lower=lower)
    best = -s.objective
    assert best == pytest.approx(s.expected_return / s.volatility, rel=1e-12)
    assert 0 <= s.gap < 1e-7 * max(best, 1e-3)
    W = np.random.default_rng(seed).dirichlet(np.full(N, 0.4), 200)
    W = np.vstack([W, np.eye(N)])
    ratios = (W @ mu) / np.sqrt(np.einsum("si,ij,sj->s", W, Q, W))
    assert ratios.max() <= -s.bound + 1e-12


def test_means_below_the_risk_free_rate_are_refused():
    """Peers return fully invested weights of negative mean, without a word."""
    Q = covariance(0, 5)
    for mu, rf in ((-(means(0, 5) ** 2) - 1e-5, 0.0), (np.full(5, 1e-4), 1e-4)):
        with pytest.raises(ModelError, match="earns more than the risk-free rate"):
            maximum_ratio(mu, Q, risk_free=rf)
    # With shorts there is a portfolio: sell one, buy another.
    mu = np.array([-0.01, -0.02, -0.03, -0.04, -0.05])
    s = maximum_ratio(mu, Q, lower=-1.0, upper=2.0)
    assert s.expected_return > 0


def test_riskfolio_returns_a_negative_mean_where_we_refuse():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio

        rng = np.random.default_rng(0)
        X = pd.DataFrame(rng.normal(-0.002, 0.01, (200, 4)), columns=list("ABCD"))
        assert (X.mean() < 0).all()
        book = riskfolio.Portfolio(returns=X)
        book.assets_stats(method_mu="hist", method_cov="hist")
        w = book.optimization(model="Classic", rm="MV", obj="Sharpe", hist=True)
    if w is not None:
        assert float(X.mean() @ w["weights"]) < 0  # what the guard is for
    with pytest.raises(ModelError, match="reward risk"):
        maximum_ratio(X.mean(), X.cov())


def test_the_best_return_uses_the_cap_and_no_more():
    Q, mu = covariance(5, 12), means(5, 12)
    least = mean_variance(0.0, Q).volatility
    most = np.sqrt(Q[np.argmax(mu), np.argmax(mu)])
    last = -np.inf
    for cap in np.linspace(least * 1.001, most * 0.999, 7):
        s = maximum_return(mu, Q, volatility=cap)
        assert s.volatility == pytest.approx(cap, rel=1e-9)
        assert 0 <= s.gap < 1e-9 and s.expected_return > last
        last = s.expected_return
    h = 1e-6
    price = s.prices["volatility"]
    more = maximum_return(mu, Q, volatility=cap + h)
    less = maximum_return(mu, Q, volatility=cap - h)
    slope = (more.expected_return - less.expected_return) / (2 * h)
    assert price == pytest.approx(slope, rel=1e-3)
    loose = maximum_return(mu, Q, volatility=10.0)
    assert loose.expected_return == pytest.approx(mu.max(), rel=1e-6)
    assert loose.prices["volatility"] == 0.0
    with pytest.raises(InfeasibleError, match="so little volatility"):
        maximum_return(mu, Q, volatility=0.9 * least)


def test_utility_is_minus_the_objective():
    Q, mu = covariance(2, 5), means(2, 5)
    a = maximum_utility(mu, Q, risk_aversion=7.0)
    np.testing.assert_array_equal(
        a.weights, mean_variance(mu, Q, risk_aversion=7.0).weights
    )


# The frontier.


@given(
    seed=st.integers(0, 10**6),
    N=st.integers(1, 25),
    kind=st.sampled_from(["simplex", "capped", "shorts", "rows", "ties", "factor"]),
)
def test_frontier_is_that_of_single_solves(seed, N, kind):
    Q, mu = covariance(seed, N), means(seed, N)
    more = {}
    if kind == "capped":
        more = {"upper": max(2.0 / N, 0.2)}
    elif kind == "shorts":
        more = {"lower": -0.2, "upper": 0.8 if N > 1 else 1.0}
    elif kind == "rows" and N > 5:
        more = limits(seed, N)
    elif kind == "ties":
        mu = np.round(mu, 4)
        Q = np.diag(np.round(np.diagonal(Q), 4) + 1e-4)
    elif kind == "factor":
        Q = factor_form(seed, N, 2)
    f = efficient_frontier(mu, Q, n_points=7, **more)
    dense = Q.dense() if kind == "factor" else Q
    problem = _mean_variance.read_problem(mu, Q, **more)
    slow, _ = _frontier._one_by_one(problem, 7)
    earned = np.array([mu @ p.w for p in slow])
    np.testing.assert_allclose(f.expected_returns, earned, atol=1e-9)
    variance = np.array([p.w @ dense @ p.w for p in slow])
    np.testing.assert_allclose(f.volatilities**2, variance, rtol=1e-6)
    assert np.abs(f.weights.sum(axis=1) - 1).max() < 1e-9
    assert f.gaps.max() <= 1e-8 * (variance.max() + np.abs(mu).max())
    assert (np.diff(f.volatilities) >= -1e-12).all()


@pytest.mark.parametrize("seed", range(6))
def test_critical_line_walks_without_stalling(seed):
    f = efficient_frontier(means(seed, 60), covariance(seed, 60), upper=0.1)
    assert f.path == ("critical line",) and f.corners > 10
    assert f.weights.max() <= 0.1 + 1e-15


def test_frontier_of_two_assets_by_hand():
    mu = np.array([0.02, 0.08])
    f = efficient_frontier(mu, TANGENCY, n_points=11)
    t = (f.expected_returns - 0.02) / 0.06
    np.testing.assert_allclose(f.weights[:, 1], t, atol=1e-12)
    a = (0.09 - 0.006) / (0.04 + 0.09 - 0.012)
    assert f.weights[0, 0] == pytest.approx(a, rel=1e-10)
    np.testing.assert_allclose(f.weights[-1], [0, 1], atol=1e-12)


def test_labels_and_values():
    names = list("ABC")
    Q = pd.DataFrame(covariance(0, 3), index=names, columns=names)
    mu = pd.Series([1e-4, 3e-4, 2e-4], index=list("CAB"))
    s = mean_variance(mu, Q, upper={"A": 0.5, "B": 0.9, "C": 1.0})
    assert s.labels == ("A", "B", "C") and s.labelled().index.tolist() == names
    assert s.expected_return == pytest.approx(s.labelled() @ mu[names])
    assert not s.weights.flags.writeable
    again = pickle.loads(pickle.dumps(s))
    np.testing.assert_array_equal(again.weights, s.weights)
    frame = efficient_frontier(mu, Q, n_points=3).to_frame()
    assert list(frame.columns) == ["expected_return", "volatility", *names]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"mean": [0.1, np.nan, 0.1]}, DataError, "non-finite"),
        ({"mean": [0.1, 0.2]}, DataError, "wrong shape"),
        ({"risk_aversion": 0.0}, UsageError, "must be positive"),
        ({"risk_aversion": np.inf}, UsageError, "must be positive"),
        ({"lower": 0.6, "upper": 0.5}, UsageError, "crossed; at asset row 0"),
        ({"lower": np.nan}, DataError, "not a number; at asset row 0"),
        ({"upper": 0.2}, InfeasibleError, "no room for budget"),
        ({"lower": 0.4}, InfeasibleError, "no room for budget"),
        ({"A_ub": [[1, 0, 0]]}, UsageError, "go together"),
        ({"A_ub": [[1, 0]], "b_ub": [1]}, DataError, "wrong shape"),
        ({"A_ub": [[1, 1, 1]], "b_ub": [-1.0]}, InfeasibleError, "no room for row 0"),
        (
            {"A_ub": [[1, 0, 0], [-1, 0, 0]], "b_ub": [0.2, -0.5]},
            InfeasibleError,
            "no portfolio satisfies",
        ),
        (
            {"A_eq": np.eye(3)[:2], "b_eq": [1, 2], "equality_names": ("a", "a")},
            UsageError,
            "distinct",
        ),
        ({"covariance": -np.eye(3)}, ModelError, "negative"),
    ],
)
def test_bad_input_is_named(change, kind, message):
    arguments = {"mean": [0.1, 0.2, 0.3], "covariance": np.eye(3)} | change
    mean, Q = arguments.pop("mean"), arguments.pop("covariance")
    with pytest.raises(kind, match=message):
        mean_variance(mean, Q, **arguments)


def test_bad_input_of_the_searches():
    Q = np.eye(2)
    with pytest.raises(UsageError, match="volatility cap"):
        maximum_return([0.1, 0.2], Q, volatility=-1.0)
    with pytest.raises(UsageError, match="risk_free"):
        maximum_ratio([0.1, 0.2], Q, risk_free=np.nan)
    with pytest.raises(UsageError, match="n_points"):
        efficient_frontier([0.1, 0.2], Q, n_points=1)
    with pytest.raises(DataError, match="finite bounds; at asset row 0"):
        efficient_frontier([0.1, 0.2], Q, upper=np.inf)
    with pytest.raises(ModelError, match="no maximum"):
        maximum_ratio([0.01, 0.2], np.diag([0.0, 1.0]))
