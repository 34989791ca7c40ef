"""Correlations moved along theta against a book: gradient, closed form, scenarios."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import DataError, ModelError, Universe, UsageError, simulate
from engine.covariance import split, theme_correlation
from engine.shocks import theme_stress
from tests.model_cases import a_model

N = 8
NAMES = tuple(f"A{i}" for i in range(N))
ROLES = ("accelerator", "network", "memory", "accelerator", *("software",) * 3, "none")
LABELS = {"role": ROLES, "country": ("US", "US", "KR", "TW", "US", "US", "TW", "KR")}
UNIVERSE = Universe(NAMES, role=ROLES, country=LABELS["country"])
RNG = np.random.default_rng(3)
AI = np.array([r in ("accelerator", "network", "memory") for r in ROLES])
DRIFT = np.linspace(0.3, 1.2, 400)[:, None]
X = 0.6 * RNG.normal(size=(400, 1)) + DRIFT * RNG.normal(size=(400, 1)) * AI
X = 0.01 * (X + RNG.normal(size=(400, N)))
THEME = replace(theme_correlation(X, LABELS, window=100, step=20), assets=NAMES)
SIGMA = np.linspace(0.01, 0.03, N)
R0 = 0.7 * np.corrcoef(X.T) + 0.3 * np.eye(N)  # not the theme's own: shrunk
MODEL = a_model(R0 * np.outer(SIGMA, SIGMA), universe=UNIVERSE, cash_rate=0.0)
W = np.append(np.array([0.3, 0.2, 0.1, 0.1, 0.1, -0.1, 0.1, 0.1]), 0.1)


def volatility(move):
    """Of the book with theta moved, written out again."""
    Z = np.asarray(THEME.indicators)
    R = np.tanh(np.arctanh(R0 - np.eye(N)) + np.tensordot(move, Z, axes=1))
    np.fill_diagonal(R, 1.0)
    h = W[:-1] * SIGMA
    return np.sqrt(h @ R @ h)


def test_a_small_step_is_the_closed_form_along_a_finite_difference_gradient():
    K, step = THEME.theta.size, 1e-5
    g = np.array(
        [(volatility(step * e) - volatility(-step * e)) / (2 * step) for e in np.eye(K)]
    )
    S, k = THEME.theta_covariance, 1e-4
    expected = k * S @ g / np.sqrt(g @ S @ g)
    got = theme_stress(MODEL, THEME, W, plausibility=k)
    # The gradient at the point reached differs by k times its own derivative.
    np.testing.assert_allclose(
        got.theta.theta - THEME.theta, expected, atol=1e-3 * np.abs(expected).max()
    )
    assert got.theta.plausibility == pytest.approx(k, rel=1e-6)
    rise = got.theta.risk_after - got.theta.risk_before
    assert rise == pytest.approx(k * np.sqrt(g @ S @ g), rel=1e-3)
    assert got.theta.risk_before == pytest.approx(volatility(np.zeros(K)), rel=1e-12)


def test_a_profit_would_turn_the_sign():
    """The methods' minus is for the derivative of value; ours of risk rises."""
    short = np.append(-W[:-1], 1.9)
    one, two = theme_stress(MODEL, THEME, W), theme_stress(MODEL, THEME, short)
    np.testing.assert_allclose(one.theta.theta, two.theta.theta, rtol=1e-9)
    pair = np.zeros(N + 1)
    pair[0], pair[4] = 0.5, -0.5  # long AI, short software: hurt by less of it
    hedged = theme_stress(MODEL, THEME, pair)
    before, after = MODEL.correlation()[0, 4], hedged.model.correlation()[0, 4]
    assert after < before


def test_one_feature_moves_as_far_as_it_is_free_to():
    got = theme_stress(MODEL, THEME, W, plausibility=2.0, features=["ai"])
    k = THEME.features.index("ai")
    S = THEME.theta_covariance
    free = 1.0 / np.linalg.inv(S)[k, k]  # given that the others stay
    move = 2.0 * np.sqrt(free)
    after, before = got.model.correlation(), MODEL.correlation()
    np.testing.assert_allclose(
        after[0, 1], np.tanh(np.arctanh(before[0, 1]) + move), rtol=1e-9
    )
    np.testing.assert_allclose(after[0, 4:], before[0, 4:], atol=1e-12)
    assert got.theta.repair == pytest.approx(0.0, abs=1e-8)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.0, 6.0))
def test_risk_never_falls_and_the_matrix_is_one(seed, k):
    w = np.random.default_rng(seed).normal(0.1, 0.3, N + 1)
    got = theme_stress(MODEL, THEME, w, plausibility=k)
    sigma, after = split(got.model.dense_covariance())
    assert np.linalg.eigvalsh(after)[0] > -1e-10
    np.testing.assert_allclose(sigma, SIGMA)
    h = w[:-1]
    risks = [np.sqrt(h @ m.dense_covariance() @ h) for m in (MODEL, got.model)]
    assert risks[1] >= risks[0] * (1 - 1e-12)
    assert got.theta.risk_after == pytest.approx(risks[1], rel=1e-9)
    assert got.theta.plausibility <= k * (1 + 1e-9) + 1e-12


def test_no_step_is_the_model_itself():
    got = theme_stress(MODEL, THEME, W, plausibility=0.0)
    np.testing.assert_allclose(
        got.model.dense_covariance(), MODEL.dense_covariance(), rtol=1e-12
    )
    assert got.model.notes[-1].startswith("STRESSED CORRELATIONS")
    assert list(got.to_frame()["feature"]) == list(THEME.features)


def test_scenarios_are_bent_to_the_stressed_covariance():
    drawn = simulate(MODEL, 3000, horizon=5, seed=2)
    columns = [drawn.assets.index(a) for a in NAMES]
    y = np.log1p(drawn.returns[:, columns])
    sample = np.cov(y.T, ddof=0)
    model = replace(MODEL, covariance=sample / 5.0)  # so that the sample is the law
    got = theme_stress(model, THEME, W, plausibility=3.0)
    after = got.scenarios(replace(drawn, model=model))
    bent = np.log1p(after.returns[:, columns])
    np.testing.assert_allclose(
        np.cov(bent.T, ddof=0), 5.0 * got.model.dense_covariance(), atol=1e-14
    )
    np.testing.assert_allclose(bent.mean(axis=0), y.mean(axis=0), atol=1e-15)
    cash = drawn.assets.index("CASH:USD")
    np.testing.assert_array_equal(after.returns[:, cash], drawn.returns[:, cash])
    np.testing.assert_array_equal(after.p, drawn.p)
    assert after.model is got.model and "STRESSED" in after.notes[-1]
    book = np.zeros(N + 1)
    book[columns] = W[:-1]
    assert after.losses(book).std() > drawn.losses(book).std()


def test_scenarios_of_simple_returns_and_of_two_legs():
    simple = replace(MODEL, return_kind="simple")
    drawn = simulate(simple, 500, horizon=1, seed=3)
    half = replace(
        drawn,
        leg=(np.arange(500) % 2).astype(np.int16),
        legs=("base", "other"),
    )
    got = theme_stress(simple, THEME, W)
    after = got.scenarios(half)
    for leg in half.legs:
        np.testing.assert_allclose(after.leg_mean(leg), half.leg_mean(leg), atol=1e-15)
    none = theme_stress(simple, THEME, W, plausibility=0.0).scenarios(half)
    np.testing.assert_allclose(none.returns, half.returns, atol=1e-12)


def test_what_cannot_be_stressed_is_refused():
    with pytest.raises(DataError, match="A8"):
        wider = a_model(np.eye(9) * 1e-4)
        theme_stress(wider, THEME, np.ones(10))
    with pytest.raises(DataError, match="NOPE"):
        theme_stress(MODEL, THEME, {"NOPE": 1.0})
    with pytest.raises(DataError, match="none of the assets"):
        theme_stress(MODEL, THEME, {"CASH:USD": 1.0})
    with pytest.raises(UsageError, match="unknown feature"):
        theme_stress(MODEL, THEME, W, features=["moon"])
    with pytest.raises(UsageError, match="negative"):
        theme_stress(MODEL, THEME, W, plausibility=-1.0)
    twins: Any = np.array(MODEL.dense_covariance())
    twins[1] = twins[0]
    twins[:, 1] = twins[:, 0]
    twins[1, 1] = twins[0, 0]
    model = replace(MODEL, covariance=twins)
    with pytest.raises(ModelError, match="A0, A1"):
        theme_stress(model, THEME, W)
    got = theme_stress(MODEL, THEME, W)
    other = a_model(np.eye(9) * 1e-4, cash_rate=0.0)
    with pytest.raises(DataError, match="A8"):
        got.scenarios(simulate(other, 100, horizon=1))
