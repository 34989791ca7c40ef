"""The nearest scenario that loses L when the book is repriced, not to first order."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from engine import InfeasibleError, UsageError
from engine.covariance import FactorCovariance
from engine.shocks import _exact, reverse
from tests.model_cases import a_model


def factor_model(seed, n, k, **changes):
    rng = np.random.default_rng(seed)
    loadings = 0.02 * (1.0 + 0.5 * rng.standard_normal((n, k)))
    C = FactorCovariance(loadings, np.eye(k), np.full(n, 1e-4))
    return a_model(C, **({"cash_rate": 0.0} | changes))


def long_book(seed, n):
    w = np.random.default_rng(seed).dirichlet(np.ones(n)) * 0.95
    return np.append(w, 1.0 - w.sum())


def test_one_factor_is_a_closed_form():
    """All of a book in one asset: z = (m - ln(1 - L)) / s."""
    model = a_model(np.array([[4e-4]]), mean=np.array([0.001]), cash_rate=0.0)
    for L in (0.001, 0.2, 0.6, 0.99):
        got: Any = reverse(model, [1.0, 0.0], L, systematic=False)
        assert got.distance == pytest.approx((0.001 - np.log1p(-L)) / 0.02, rel=1e-12)
        assert got.repriced == pytest.approx(L, rel=1e-12)
        # The loss grows by exp(x) s per unit of distance.
        assert got.multiplier == pytest.approx(0.02 * (1.0 - L), rel=1e-9)


@pytest.mark.parametrize("loss", [0.01, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("options", [{}, {"systematic": False}, {"horizon": 21}])
def test_no_nearer_point_loses_as_much_by_another_solver(loss, options):
    model, w = factor_model(1, 6, 3), long_book(2, 6)
    got: Any = reverse(model, w, loss, **options)
    root = np.asarray(model.covariance.sampling_factor()[0])
    if not options.get("systematic", True):
        root = np.linalg.cholesky(model.dense_covariance())
    periods = options.get("horizon", 1)
    A, m = root * np.sqrt(periods), model.mean * periods

    def short(z):
        return -w[:-1] @ np.expm1(m + A @ z) - loss

    found = minimize(
        lambda z: 0.5 * z @ z,
        got.factors * 1.1 + 0.01,
        jac=lambda z: z,
        method="SLSQP",
        constraints={"type": "eq", "fun": short},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    assert got.distance == pytest.approx(np.linalg.norm(found.x), rel=1e-6)
    assert got.repriced == pytest.approx(loss, abs=1e-12)
    assert short(got.factors) == pytest.approx(0.0, abs=1e-10)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    st.integers(0, 10_000),
    st.integers(2, 30),
    st.floats(1e-4, 0.85),
    st.booleans(),
    st.sampled_from([1, 21]),
)
def test_the_repriced_loss_is_the_one_asked_for(seed, n, loss, systematic, horizon):
    model, w = factor_model(seed, n, 2), long_book(seed, n)
    got: Any = reverse(model, w, loss, systematic=systematic, horizon=horizon)
    if got.distance == 0.0:  # the mean loses it already
        assert got.repriced >= loss
        return
    assert abs(got.repriced - loss) < 1e-8 and got.loss == loss
    assert -w[:-1] @ np.expm1(horizon * model.mean + got.deviation) == pytest.approx(
        got.repriced, abs=1e-12
    )
    first: Any = reverse(
        model, w, loss, systematic=systematic, horizon=horizon, approximation="linear"
    )
    # A long book loses less than to first order: the same loss lies further out.
    assert got.distance >= first.distance * (1.0 - 1e-9)
    assert first.repriced <= loss + 1e-12


def test_twenty_per_cent_is_twenty_per_cent():
    model, w = factor_model(3, 40, 4), long_book(3, 40)
    first: Any = reverse(model, w, 0.2, approximation="linear")
    assert first.repriced == pytest.approx(0.18, abs=0.005)
    got: Any = reverse(model, w, 0.2)
    assert got.repriced == pytest.approx(0.2, abs=1e-12)
    assert f"{got.distance:.2f} from the mean in 4 dimensions" in got.plausibility


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.001, 0.3))
def test_a_book_with_shorts_reaches_the_loss_along_its_slope(seed, loss):
    rng = np.random.default_rng(seed)
    model, w = factor_model(seed, 12, 3), rng.normal(0.05, 0.3, 13)
    got: Any = reverse(model, w, loss)
    if got.distance == 0.0:
        assert got.repriced >= loss
        return
    assert abs(got.repriced - loss) < 1e-8
    A = model.covariance.sampling_factor()[0]
    g = -A.T @ (w[:-1] * np.exp(model.mean + got.deviation))
    across = got.factors - (got.factors @ g) / (g @ g) * g
    assert np.linalg.norm(across) < 1e-7 * got.distance
    for kind in ("linear", "quadratic"):
        near: Any = reverse(model, w, loss, approximation=kind)
        if near.repriced >= loss:  # it loses enough as well: no nearer than the answer
            assert got.distance <= near.distance * (1.0 + 1e-9)


def test_products_alone_find_what_the_matrix_finds(monkeypatch):
    model, w = factor_model(5, 60, 3), long_book(5, 60)
    one: Any = reverse(model, w, 0.4, systematic=False)
    monkeypatch.setattr(_exact, "_DIRECT", 5)
    two: Any = reverse(model, w, 0.4, systematic=False)
    np.testing.assert_allclose(two.factors, one.factors, atol=1e-8 * one.distance)
    assert two.repriced == pytest.approx(0.4, abs=1e-10)


def test_simple_returns_are_linear_as_they_stand():
    model = factor_model(7, 10, 2, return_kind="simple")
    w = long_book(7, 10)
    got: Any = reverse(model, w, 0.1)
    closed: Any = reverse(model, w, 0.1, approximation="linear")
    np.testing.assert_array_equal(got.deviation, closed.deviation)
    assert got.repriced == pytest.approx(0.1, rel=1e-12)


def test_heavy_tails_and_the_words_of_a_fully_systematic_book():
    model, w = factor_model(8, 10, 2, tail_dof=5.0), long_book(8, 10)
    normal: Any = reverse(model, w, 0.2)
    heavy: Any = reverse(model, w, 0.2, distribution="student_t")
    # Scale units are sqrt(3/5) of a deviation; the scenario is the same.
    assert heavy.distance == pytest.approx(normal.distance / np.sqrt(0.6), rel=1e-9)
    np.testing.assert_allclose(heavy.deviation, normal.deviation, atol=1e-10)
    one = a_model(np.array([[4e-4]]), mean=np.zeros(1), cash_rate=0.0)
    got: Any = reverse(one, [1.0, 0.0], 1.0 - np.exp(-0.1), systematic=False)
    assert "a loss of 5.0 deviations of the book" in got.plausibility


def test_more_than_there_is_cannot_be_lost():
    model, w = factor_model(9, 10, 2), long_book(9, 10)
    with pytest.raises(InfeasibleError, match=r"at most 95\.0000%"):
        reverse(model, w, 1.2)
    hedged = np.array([0.5, -0.5, 1.0])  # one asset twice: no scenario moves the book
    twice = a_model(
        FactorCovariance(np.ones((2, 1)) * 0.02, np.eye(1), np.full(2, 1e-6)),
        mean=np.zeros(2),
        cash_rate=0.0,
    )
    with pytest.raises(InfeasibleError, match="at most"):
        reverse(twice, hedged, 0.1)
    with pytest.raises(InfeasibleError, match=r"at most 0\.0000%"):
        reverse(model, np.append(np.zeros(10), 1.0), 0.1)
    with pytest.raises(UsageError, match="gamma"):
        reverse(model, w, 0.1, gamma=np.ones(10))
    with pytest.raises(UsageError, match="unknown loss"):
        reverse(model, w, 0.1, approximation="cubic")
