"""The parts of the design: the twist, the quadratic form, matched normals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_cases import a_model

from engine.sampling._book import book_of
from engine.sampling._draws import matched
from engine.sampling._twist import _psi, quadratic, solve


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    dof=st.sampled_from([np.inf, 3.0, 8.0]),
    log=st.booleans(),
)
def test_twist_meets_its_first_order_condition_and_weights_average_one(
    n, seed, dof, log
):
    rng = np.random.default_rng(seed)
    A = 0.05 * rng.standard_normal((n, n))
    model = a_model(
        A @ A.T + 1e-4 * np.eye(n), tail_dof=dof, return_kind="log" if log else "simple"
    )
    w = rng.standard_normal(n)
    book = book_of(model, w, 1)
    form = quadratic(book)
    x = form[0] + 2.0 * float(np.linalg.norm(form[1]))
    twist = solve(form, dof, x)
    z = rng.standard_normal((20_000, n))
    Y = None if np.isinf(dof) else rng.chisquare(dof, 20_000)
    # The mixture's weights are bounded, so that their sample mean has an error.
    _, V, weight = twist.apply(z, Y, defensive=True)
    error = weight.std() / np.sqrt(weight.size)
    assert twist.theta > 0
    step = 1e-5 * twist.theta
    up, down = (
        _psi(twist.a0, twist.b, twist.curvature, dof, x, twist.theta + h)[0]
        for h in (step, -step)
    )
    goal = x if np.isinf(dof) else 0.0
    assert (up - down) / (2 * step) == pytest.approx(goal, abs=1e-5 * abs(x - form[0]))
    assert abs(weight.mean() - 1.0) < max(6 * error, 1e-9)
    assert (weight > 0).all() and (weight <= 2).all() and (V > 0).all()


def test_quadratic_form_is_the_second_order_expansion_of_the_loss():
    model = a_model(return_kind="log", mean=np.full(3, 1e-3))
    book = book_of(model, np.array([1.0, -2.0, 0.5]), 1)
    a0, b, curvature, rotation = quadratic(book)
    z = 1e-2 * np.random.default_rng(0).standard_normal((5, 3))
    assert rotation is not None
    true = book.losses(book.moves(z @ rotation.T, np.ones(5)))
    # The remainder is cubic in moves of 1e-4.
    assert np.abs(true - (a0 + z @ b + z**2 @ curvature)).max() < 1e-11


def test_matched_normals_have_mean_zero_and_covariance_identity():
    z = matched(np.random.default_rng(1).standard_normal((500, 7)))
    assert np.abs(z.mean(axis=0)).max() < 1e-14
    assert np.abs(z.T @ z / 500 - np.eye(7)).max() < 1e-13
