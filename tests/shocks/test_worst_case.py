"""Worst case and reverse: closed forms, a second solver, frontiers, bad input."""

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize

from engine import (
    DataError,
    InfeasibleError,
    ModelError,
    Universe,
    UsageError,
    simulate,
    stress,
)
from engine.covariance import FactorCovariance
from engine.shocks import KLWorstCase, kl_worst_probabilities, reverse, worst_case
from engine.shocks._ball import Point, nearest_losing, worst_in_ball
from tests.model_cases import a_model

RNG = np.random.default_rng(5)
N, K = 8, 3
FACTORS = FactorCovariance(
    0.01 * RNG.standard_normal((N, K)), np.eye(K), np.full(N, 1e-4)
)
MODEL = a_model(FACTORS, cash_rate=0.0)
DENSE = a_model(FACTORS.dense(), cash_rate=0.0)
W = np.append(np.linspace(0.3, -0.1, N), 0.2)


def test_linear_worst_case_is_breuers_closed_form():
    k = 3.0
    C, w = FACTORS.dense(), W[:-1]
    s = np.sqrt(w @ C @ w)
    got = worst_case(DENSE, W, radius=k, systematic=False)
    assert got.loss == pytest.approx(-w @ DENSE.mean + k * s, rel=1e-12)
    np.testing.assert_allclose(got.deviation, -k * C @ w / s, rtol=1e-10)
    assert got.distance == pytest.approx(k)
    assert got.multiplier == pytest.approx(s)


def test_systematic_scenario_leaves_specific_returns_at_their_expectation():
    B, w = FACTORS.loadings, W[:-1]
    got = worst_case(MODEL, W, radius=2.0)
    s = np.linalg.norm(B.T @ w)
    np.testing.assert_allclose(got.deviation, -2.0 * B @ (B.T @ w) / s, rtol=1e-12)
    assert got.loss < worst_case(MODEL, W, radius=2.0, systematic=False).loss


def test_dense_systematic_factors_are_market_and_basket_with_the_rest_conditional():
    names = DENSE.assets
    universe = Universe(
        names,
        asset_class=("equity",) * N,
        role=("accelerator", "network", "power_gen") + ("none",) * 5,
    )
    model = a_model(FACTORS.dense(), universe=universe)
    C = FACTORS.dense()
    P = np.zeros((N, 2))
    P[3:, 0] = 0.2
    P[:3, 1] = 1 / 3
    P[:, 1] -= P[:, 0]
    got = worst_case(model, W, radius=2.0)
    assert got.factors.size == 2
    f = P.T @ got.deviation  # moves of the factors themselves
    conditional = C @ P @ np.linalg.solve(P.T @ C @ P, f)
    np.testing.assert_allclose(got.deviation, conditional, rtol=1e-9)
    assert f @ np.linalg.solve(P.T @ C @ P, f) == pytest.approx(4.0)


def test_student_t_radius_is_in_scale_units_and_coverage_is_f():
    nu = 5.0
    model = a_model(FACTORS, tail_dof=nu, cash_rate=0.0)
    normal = worst_case(model, W, radius=2.0)
    t = worst_case(model, W, radius=2.0, distribution="student_t")
    np.testing.assert_allclose(
        t.deviation, normal.deviation * np.sqrt((nu - 2) / nu), rtol=1e-12
    )
    wide = worst_case(model, W, coverage=0.99, distribution="student_t")
    assert wide.distance == pytest.approx(np.sqrt(K * stats.f.ppf(0.99, K, nu)))
    assert worst_case(model, W, coverage=0.99).distance == pytest.approx(
        np.sqrt(stats.chi2.ppf(0.99, K))
    )


def test_quadratic_default_is_second_order_in_log_returns():
    got = worst_case(MODEL, W, radius=2.0, loss="quadratic", horizon=5)
    x = 5 * MODEL.mean + got.deviation
    assert got.loss == pytest.approx(-W[:-1] @ (x + x**2 / 2), rel=1e-10)
    assert got.repriced == pytest.approx(-W[:-1] @ np.expm1(x), rel=1e-12)
    assert abs(got.loss - got.repriced) < 0.02 * got.loss


def slsqp(c, g, H, k, starts=40, seed=0):
    rng = np.random.default_rng(seed)
    best = -np.inf
    for _ in range(starts):
        z0 = rng.standard_normal(g.size)
        found = minimize(
            lambda z: -(c + g @ z + 0.5 * z @ H @ z),
            z0 * k / np.linalg.norm(z0),
            jac=lambda z: -(g + H @ z),
            method="SLSQP",
            constraints={
                "type": "ineq",
                "fun": lambda z: k * k - z @ z,
                "jac": lambda z: -2 * z,
            },
            options={"ftol": 1e-14, "maxiter": 300},
        )
        if found.x @ found.x <= k * k * (1 + 1e-8):
            best = max(best, -found.fun)
    return best


@pytest.mark.parametrize("shape", ["indefinite", "convex", "concave", "hard"])
def test_trust_region_against_another_solver(shape):
    rng = np.random.default_rng(3)
    Q = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    h = {
        "indefinite": [-2, -1, 0, 1, 3],
        "convex": [1, 1, 2, 3, 4],
        "concave": [-5, -4, -3, -2, -1],
        "hard": [-2, -1, 0, 3, 3],
    }[shape]
    g = rng.standard_normal(5)
    if shape == "hard":
        g[3:] = 0.0
    g, H = Q @ g, (Q * np.array(h, float)) @ Q.T
    for k in (0.2, 5.0):
        got = worst_in_ball(0.1, g, H, k)
        assert got.loss == pytest.approx(slsqp(0.1, g, H, k), rel=1e-6)
        assert np.linalg.norm(got.z) <= k * (1 + 1e-9)
        assert got.loss == pytest.approx(0.1 + g @ got.z + got.z @ H @ got.z / 2)
        step = 1e-5
        slope = (worst_in_ball(0.1, g, H, k + step).loss - got.loss) / step
        assert got.slope == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_trust_region_against_its_semidefinite_relaxation():
    import cvxpy

    cp: Any = cvxpy

    rng = np.random.default_rng(8)
    g, H = rng.standard_normal(4), rng.standard_normal((4, 4))
    H = H + H.T
    k = 1.5
    Z = cp.Variable((5, 5), PSD=True)
    top = np.block([[np.zeros((1, 1)), g[None] / 2], [g[:, None] / 2, H / 2]])
    problem: Any = cp.Problem(
        cp.Maximize(cp.trace(top @ Z)), [Z[0, 0] == 1, cp.trace(Z[1:, 1:]) <= k * k]
    )
    problem.solve(solver=cp.CLARABEL)  # exact: Boyd and Vandenberghe, appendix B
    assert worst_in_ball(0.0, g, H, k).loss == pytest.approx(problem.value, rel=1e-6)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.05, 8.0))
def test_no_point_of_the_ball_is_worse_and_reverse_inverts(seed, n, k):
    rng = np.random.default_rng(seed)
    g, H = rng.standard_normal(n), rng.standard_normal((n, n))
    H = H + H.T
    got = worst_in_ball(0.3, g, H, k)
    z = rng.standard_normal((500, n))
    z *= k * rng.uniform(0, 1, (500, 1)) / np.linalg.norm(z, axis=1, keepdims=True)
    losses = 0.3 + z @ g + 0.5 * np.einsum("ij,jk,ik->i", z, H, z)
    assert losses.max() <= got.loss + 1e-9 * abs(got.loss)
    back = nearest_losing(0.3, g, H, got.loss)
    if isinstance(back, Point):
        length = np.linalg.norm(back.z)
        assert length == pytest.approx(np.linalg.norm(got.z), rel=1e-5)
        assert back.loss == pytest.approx(got.loss, rel=1e-9)
    else:
        assert back == pytest.approx(got.loss, rel=1e-9)


def test_reverse_is_the_closed_form_and_the_inverse_of_the_worst_case():
    C, w, L = FACTORS.dense(), W[:-1], 0.05
    s2 = w @ C @ w
    got: Any = reverse(DENSE, W, L, systematic=False, approximation="linear")
    excess = L + w @ DENSE.mean
    np.testing.assert_allclose(got.deviation, -excess * C @ w / s2, rtol=1e-10)
    assert got.distance == pytest.approx(excess / np.sqrt(s2))
    for kind in ("linear", "quadratic"):
        # The book is long: factors alone lose it 2.03% at most to second order.
        there: Any = reverse(MODEL, W, 0.015, approximation=kind)
        assert there.loss == pytest.approx(0.015, rel=1e-9)
        back = worst_case(MODEL, W, radius=there.distance, loss=kind)
        np.testing.assert_allclose(back.deviation, there.deviation, rtol=1e-6)
    mild = reverse(a_model(FACTORS, mean=np.full(N, -1.0)), W, 0.01)
    assert mild.distance == 0.0


def test_engine_stress_reports_the_worst_case():
    model = a_model(
        FACTORS,
        mean=-FACTORS.variances() / 2,
        mean_kind="zero_excess",
        cash_rate=0.0,
    )
    shock = worst_case(model, W, radius=4.0, horizon=21)
    weights = dict(zip((*model.assets, "CASH:USD"), W / W.sum(), strict=True))
    report = stress(weights, simulate(model, 500, horizon=21), shock)
    expected = -(W[:-1] / W.sum()) @ np.expm1(shock.deviation)
    assert report["worst-case"].loss == pytest.approx(expected, rel=1e-9)
    assert pickle.loads(pickle.dumps(shock)).loss == shock.loss


def test_plausibility_is_a_range_under_heavy_tails():
    text = worst_case(MODEL, W, radius=12.0).plausibility
    assert "12.00 from the mean" in text and "Student-t" in text
    shock = worst_case(MODEL, W, radius=1.0)
    assert shock.rank([shock.repriced, 1.0, -1.0]) == (2, 3)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf, "3", True])
def test_radius_must_be_positive(radius):
    with pytest.raises(UsageError, match="radius"):
        worst_case(MODEL, W, radius=radius)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "radius or coverage"),
        ({"radius": 1.0, "coverage": 0.9}, "radius or coverage"),
        ({"coverage": 0.9, "systematic": False}, "do not matter"),
        ({"coverage": 1.5}, "coverage"),
        ({"radius": 1.0, "loss": "cubic"}, "unknown loss"),
        ({"radius": 1.0, "distribution": "cauchy"}, "unknown distribution"),
        ({"radius": 1.0, "distribution": "student_t"}, "degrees of freedom"),
        ({"radius": 1.0, "gamma": np.ones(N)}, "gamma"),
        ({"radius": 1.0, "loss": "quadratic", "gamma": np.ones(3)}, "gamma"),
        ({"radius": 1.0, "horizon": 0}, "session"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(UsageError, match=words):
        worst_case(MODEL, W, **options)


def test_unknown_name_singular_covariance_and_unreachable_loss():
    with pytest.raises(DataError, match="XXXX"):
        worst_case(MODEL, {"XXXX": 1.0}, radius=1.0)
    with pytest.raises(ModelError, match="singular"):
        worst_case(
            a_model(np.ones((3, 3)) * 1e-4), np.ones(4), radius=1.0, systematic=False
        )
    with pytest.raises(InfeasibleError, match="at most"):
        reverse(MODEL, np.append(np.zeros(N), 1.0), 0.1)
    concave = np.full(N, 400.0)
    with pytest.raises(InfeasibleError, match="at most"):
        reverse(MODEL, W, 5.0, approximation="quadratic", gamma=concave)
    with pytest.raises(UsageError, match="positive"):
        reverse(MODEL, W, -0.1)
    with pytest.raises(UsageError, match="unknown option"):
        reverse(MODEL, W, 0.1, radius=2)


def test_kl_ball_against_the_exponential_cone():
    import cvxpy

    cp: Any = cvxpy

    rng = np.random.default_rng(2)
    L, p = rng.standard_normal(30), rng.dirichlet(np.ones(30))
    q = cp.Variable(30, nonneg=True)
    problem: Any = cp.Problem(
        cp.Maximize(L @ q), [cp.sum(q) == 1, cp.sum(cp.rel_entr(q, p)) <= 0.4]
    )
    problem.solve(solver=cp.CLARABEL)
    got = kl_worst_probabilities(L, 0.4, p=p)
    assert got.loss == pytest.approx(problem.value, rel=1e-6)
    assert got.relative_entropy == pytest.approx(0.4, rel=1e-9)
    assert got.p.sum() == pytest.approx(1.0, abs=1e-12)


def test_kl_ball_gaussian_closed_form():
    losses = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000) * 0.02 + 0.001
    got = kl_worst_probabilities(losses, 0.5)
    assert got.loss == pytest.approx(0.001 + 0.02, rel=1e-3)  # s sqrt(2 kappa)
    assert got.theta == pytest.approx(1 / 0.02, rel=1e-3)


def test_kl_ball_beyond_the_mass_of_the_largest_loss():
    got = kl_worst_probabilities([1.0, 3.0, 3.0, 0.0], 2.0)
    np.testing.assert_allclose(got.p, [0, 0.5, 0.5, 0])
    assert got.theta == np.inf and got.relative_entropy == pytest.approx(np.log(2))
    near = kl_worst_probabilities([1.0, 3.0, 3.0, 0.0], np.log(2) - 1e-9)
    assert near.loss == pytest.approx(3.0, abs=1e-6)
    assert kl_worst_probabilities([2.0, 2.0], 1.0).loss == 2.0
    dead = kl_worst_probabilities([1.0, 2.0, 9.0], 50.0, p=[0.5, 0.5, 0.0])
    assert dead.loss == 2.0


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 10_000), st.floats(1e-6, 5.0), st.floats(1e-6, 1e6))
def test_kl_ball_scales_with_losses(seed, kappa, scale):
    L = np.random.default_rng(seed).standard_normal(50)
    one, many = (
        kl_worst_probabilities(L, kappa),
        kl_worst_probabilities(scale * L, kappa),
    )
    assert many.loss == pytest.approx(scale * one.loss, rel=1e-7)
    assert L.mean() < one.loss <= L.max()


def test_kl_shock_reweights_scenarios():
    scenarios = simulate(MODEL, 400, horizon=1)
    got = KLWorstCase(W, 0.2).reweight(scenarios)
    losses = scenarios.losses(W)
    assert got.p @ losses == pytest.approx(kl_worst_probabilities(losses, 0.2).loss)
    np.testing.assert_array_equal(got.returns, scenarios.returns)
    for kappa in (0.0, -1.0, np.nan):
        with pytest.raises(UsageError, match="kappa"):
            KLWorstCase(W, kappa)
    with pytest.raises(DataError):
        kl_worst_probabilities([np.nan], 1.0)
    with pytest.raises(DataError):
        kl_worst_probabilities([1.0, 2.0], 1.0, p=[0.5, 0.6])
