"""Conditional shocks: by regression, by brute force, in factor form; bad input."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_cases import a_model

from engine import DataError, ModelError, Universe, UsageError, simulate, stress
from engine.covariance import FactorCovariance
from engine.shocks import conditional, conditional_law
from engine.shocks._conditional import AI_BASKET

ROLES = ("accelerator", "network", "power_gen", "software", "none")


def factor_covariance(n=5, seed=0):
    rng = np.random.default_rng(seed)
    B = rng.normal(0.01, 0.005, (n, 2))
    F = np.array([[1.0, 0.3], [0.3, 0.5]])
    return FactorCovariance(B, F, rng.uniform(5e-5, 2e-4, n))


def ai_model(**changes):
    names = tuple(f"A{i}" for i in range(5))
    universe = Universe(names, role=ROLES, asset_class=("equity",) * 5)
    return a_model(factor_covariance(), **({"universe": universe} | changes))


@given(st.integers(0, 10**6), st.integers(1, 3))
def test_conditional_normal_is_a_regression(seed, k):
    """Mean and covariance of the free given the stressed, block by block (Kupiec)."""
    rng = np.random.default_rng(seed)
    G = rng.standard_normal((6, 6))
    S, mu = G @ G.T + 0.1 * np.eye(6), rng.standard_normal(6)
    x = rng.standard_normal(k)
    law = conditional_law(mu, S, np.eye(6)[:k], x)
    beta = np.linalg.solve(S[:k, :k], S[:k, k:]).T
    np.testing.assert_allclose(law.mean[:k], x, atol=1e-9)
    np.testing.assert_allclose(law.mean[k:], mu[k:] + beta @ (x - mu[:k]), rtol=1e-8)
    C = law.covariance()
    np.testing.assert_allclose(C[k:, k:], S[k:, k:] - beta @ S[:k, k:], atol=1e-8)
    np.testing.assert_allclose(C[:k], 0.0, atol=1e-9)
    d2 = (x - mu[:k]) @ np.linalg.solve(S[:k, :k], x - mu[:k])
    assert law.distance == pytest.approx(np.sqrt(d2))
    w = rng.standard_normal(6)
    assert law.spread(w) == pytest.approx(np.sqrt(w @ C @ w), abs=1e-7)
    var = -w @ law.mean + 1.6448536269514722 * law.spread(w)
    assert law.value_at_risk(w, level=0.95) == pytest.approx(var)


def test_conditional_student_t_by_brute_force():
    """Normal given the mixing variable, each weighted by how well it explains x1."""
    rng = np.random.default_rng(1)
    nu, C = 5.0, np.array([[1.0, 0.6, 0.3], [0.6, 1.5, 0.2], [0.3, 0.2, 0.8]])
    scale = C * (nu - 2) / nu
    n, at = 1_000_000, -3.0
    mixing = nu / rng.chisquare(nu, n)
    weight = np.exp(-0.5 * at**2 / (mixing * scale[0, 0])) / np.sqrt(mixing)
    weight /= weight.sum()
    beta = scale[1:, 0] / scale[0, 0]
    rest = scale[1:, 1:] - np.outer(beta, scale[0, 1:])
    x = rng.standard_normal((n, 2)) @ np.linalg.cholesky(rest).T
    x = x * np.sqrt(mixing)[:, None] + beta * at
    law = conditional_law(np.zeros(3), C, [[1.0, 0, 0]], [at], dof=nu)
    mean = weight @ x
    effective = 1.0 / (weight**2).sum()
    error = np.sqrt(weight @ (x - mean) ** 2 / effective)
    assert (np.abs(mean - law.mean[1:]) < 4 * error).all()
    got, want = ((x - mean) * weight[:, None]).T @ (x - mean), law.covariance()[1:, 1:]
    # Kurtosis six: the error of a variance is sqrt(5) of its size over the root of n.
    near = 4 * np.sqrt(5 / effective) * np.diag(want).max()
    np.testing.assert_allclose(got, want, atol=near)
    # The same by Ding's formula, and wider than the normal's residual.
    d1 = at**2 / scale[0, 0]
    factor = (nu + d1) / (nu + 1) * (nu + 1) / (nu - 1)
    np.testing.assert_allclose(want, factor * rest)
    normal = conditional_law(np.zeros(3), C, [[1.0, 0, 0]], [at])
    assert (np.diag(want) > np.diag(normal.covariance())[1:]).all()


def test_draws_have_the_conditional_law_and_meet_the_condition():
    cov = factor_covariance()
    for dof in (np.inf, 8.0):
        for S in (cov, cov.dense()):
            law = conditional_law(np.zeros(5), S, np.eye(5)[:2], [-0.05, -0.1], dof=dof)
            x = law.draws(200_000, seed=3)
            np.testing.assert_allclose(x[:, :2], np.tile([-0.05, -0.1], (len(x), 1)))
            C = law.covariance()[2:, 2:]
            error = 5 * np.sqrt(np.diag(C) / len(x))
            assert (np.abs(x.mean(axis=0) - law.mean)[2:] < error).all()
            np.testing.assert_allclose(np.cov(x.T)[2:, 2:], C, atol=0.05 * C.max())


def test_factor_form_and_dense_agree():
    cov, Q = factor_covariance(), np.array([[1.0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0]])
    a = conditional_law(np.zeros(5), cov, Q, [-0.1, -0.05], dof=6.0)
    b = conditional_law(np.zeros(5), cov.dense(), Q, [-0.1, -0.05], dof=6.0)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-10)
    np.testing.assert_allclose(a.covariance(), b.covariance(), atol=1e-16)
    assert a.distance == pytest.approx(b.distance)
    w = np.linspace(-1, 1, 5)
    assert a.spread(w) == pytest.approx(b.spread(w))


def test_a_stressed_name_takes_its_value_and_the_others_follow():
    model = ai_model()
    shock = conditional({"A0": -0.17, "A1": -0.22})
    moves = shock.moves(model.universe, model)
    assert moves.central[:2].tolist() == [-0.17, -0.22]
    S, x = model.dense_covariance(), np.log1p([-0.17, -0.22])
    rest = S[2:, :2] @ np.linalg.solve(S[:2, :2], x)
    np.testing.assert_allclose(moves.central[2:], np.expm1(rest))
    assert (moves.draws[:, :2] == [-0.17, -0.22]).all()
    np.testing.assert_allclose(
        np.sum(list(moves.parts.values()), axis=0), np.log1p(moves.central), atol=1e-15
    )
    d = np.sqrt(x @ np.linalg.solve(S[:2, :2], x))
    assert shock.distance(model.universe, model) == pytest.approx(d)
    longer = conditional({"A0": -0.17, "A1": -0.22}, horizon=4)
    four = longer.moves(model.universe, model)
    np.testing.assert_allclose(four.central, moves.central)
    assert longer.distance(model.universe, model) == pytest.approx(d / 2)


def test_the_basket_moves_as_a_whole():
    model = ai_model()
    shock = conditional({AI_BASKET: -0.12})
    law = shock.law(model.universe, model)
    assert law.mean[:3].mean() == pytest.approx(np.log1p(-0.12))
    S, b = model.dense_covariance(), np.array([1, 1, 1, 0, 0]) / 3
    np.testing.assert_allclose(law.mean, S @ b / (b @ S @ b) * np.log1p(-0.12))
    moves = shock.moves(model.universe, model)
    np.testing.assert_allclose(moves.driver, np.log1p(-0.12))
    few = a_model(factor_covariance())
    with pytest.raises(ModelError, match="at least three"):
        shock.moves(few.universe, few)


def test_stress_takes_the_law_through():
    model = ai_model(tail_dof=5.0)
    shock = conditional({"A0": -0.2, "A1": -0.2}, distribution="student_t", name="pair")
    scenarios = simulate(model, 2000, horizon=5, seed=1)
    weights = {"A0": 0.3, "A3": 0.4, "CASH:USD": 0.3}
    report = stress(weights, scenarios, shock)
    result = report["pair"]
    assert result.distance == pytest.approx(
        shock.distance(model.universe, model), rel=1e-6
    )
    assert result.moves.central[-1] == 0.0 and result.moves.basis[-1].startswith("cash")
    assert result.band[0] < result.loss < result.band[1]
    again = pickle.loads(pickle.dumps(shock))
    np.testing.assert_array_equal(
        again.moves(scenarios.universe, model).draws, result.moves.draws
    )


def test_a_student_t_is_wider_and_centred_alike():
    model = ai_model()
    normal = conditional({"A0": -0.3, "A1": -0.3}).moves(model.universe, model)
    wide = conditional({"A0": -0.3, "A1": -0.3}, distribution="student_t", dof=4.0)
    wide = wide.moves(model.universe, model)
    np.testing.assert_allclose(wide.central, normal.central)
    assert (wide.draws.std(axis=0)[2:] > 2 * normal.draws.std(axis=0)[2:]).all()


def test_a_single_name_warns_and_the_basket_does_not():
    with pytest.warns(UserWarning, match=r"NVDA alone.*3%"):
        conditional({"NVDA": -0.17})
    conditional({AI_BASKET: -0.17})


def test_bad_input_is_named():
    model = ai_model()
    pair = {"A0": -0.1, "A1": -0.1}
    with pytest.raises(DataError, match=r"XX"):
        conditional(pair | {"XX": -0.1}).moves(model.universe, model)
    with pytest.raises(DataError, match=r"NEW"):
        conditional(pair).moves(Universe((*model.assets, "NEW")), model)
    with pytest.raises(ModelError, match="no model"):
        conditional(pair).moves(model.universe)
    for moves in ({}, {"A0": -1.0, "A1": 0.1}, {"A0": np.nan, "A1": 0.1}):
        with pytest.raises(UsageError):
            conditional(moves)
    for wrong in (
        {"distribution": "cauchy"},
        {"dof": 4.0},
        {"dof": 1.5, "distribution": "student_t"},
        {"horizon": 0},
        {"n_draws": 0},
    ):
        with pytest.raises(UsageError):
            conditional(pair, **wrong)
    with pytest.raises(ModelError, match=r"repeat one another.*A0, A1"):
        twin = np.full((3, 3), 1e-4) + np.diag([0.0, 0.0, 1e-4])
        same = a_model(twin)
        conditional({"A0": -0.1, "A1": -0.2}).moves(same.universe, same)
    with pytest.raises(ModelError, match="no variance"):
        conditional_law(np.zeros(2), np.diag([0.0, 1.0]), np.eye(2)[:1], [0.1])
    with pytest.raises(DataError, match="NaN"):
        conditional_law(np.zeros(2), np.eye(2), [[1.0, np.nan]], [0.1])
    with pytest.raises(UsageError, match="exceed 2"):
        conditional_law(np.zeros(2), np.eye(2), np.eye(2)[:1], [0.1], dof=2.0)
