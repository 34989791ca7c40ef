"""Least squares on the simplex against nonnegative least squares and its conditions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from engine.kernels.simplex import SINGULAR, SOLVED, STUCK, _steepest, simplex_weights


def problem(seed, K, T, scale=0.0, twin=False):
    """Products of T returns of K baskets less a fund that mixes them."""
    rng = np.random.default_rng(seed)
    X = scale * rng.standard_normal((T, 1)) + rng.standard_normal((T, K))
    if twin and K > 1:
        X[:, 1] = X[:, 0]
    D = X - (X @ rng.dirichlet(np.full(K, 0.3)) + 0.2 * rng.standard_normal(T))[:, None]
    D -= D.mean(axis=0)
    G = D.T @ D
    return G * (K / np.trace(G)) + 1e-10 * np.eye(K)


def solve(G, kernel: Any = simplex_weights, start=()):
    w = np.full(G.shape[:2], np.nan)
    status = np.full(len(G), -1, np.int64)
    kernel(G, np.array(start, np.int64), w, status)
    return w, status


def test_one_and_two_baskets_by_hand():
    """Variances a, b and no covariance: weights b and a over their sum."""
    w, status = solve(np.array([np.diag([3.0, 1.0]), np.diag([0.5, 0.5])]))
    np.testing.assert_allclose(w, [[0.25, 0.75], [0.5, 0.5]], atol=1e-15)
    assert (status == SOLVED).all()
    w, _ = solve(np.array([[[1.0, 2.0], [2.0, 9.0]]]))  # the corner: 1 < 2
    assert w.tolist() == [[1.0, 0.0]]
    assert solve(np.array([[[4.0]]]))[0].tolist() == [[1.0]]


@pytest.mark.parametrize("seed", range(12))
def test_weights_are_those_of_nonnegative_least_squares(seed):
    G = np.stack([problem(100 * seed + i, 3 + seed, 60, i / 3) for i in range(8)])
    w, status = solve(G)
    assert (status == SOLVED).all()
    for matrix, found in zip(G, w, strict=True):
        A = np.vstack([np.linalg.cholesky(matrix).T, np.ones(len(matrix))])
        u, _ = nnls(A, np.append(np.zeros(len(matrix)), 1.0))
        np.testing.assert_allclose(found, u / u.sum(), atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_the_minimum_does_not_depend_on_where_the_search_begins(seed):
    rng = np.random.default_rng(seed)
    G = np.stack([problem(100 * seed + i, 9, 60, i / 3) for i in range(8)])
    cold, _ = solve(G)
    for size in (1, 4, 9):
        w, status = solve(G, start=rng.permutation(9)[:size])
        assert (status == SOLVED).all()
        np.testing.assert_allclose(w, cold, atol=1e-12)


@given(
    seed=st.integers(0, 10**6),
    K=st.integers(1, 30),
    T=st.integers(2, 200),
    scale=st.floats(0, 5),
    twin=st.booleans(),
)
def test_first_order_conditions(seed, K, T, scale, twin):
    """On the simplex, and no basket would lower the objective; or it says so."""
    G = problem(seed, K, T, scale, twin)
    w, status = solve(G[None])
    if T > K and not twin:
        assert status[0] == SOLVED
    if status[0] == SOLVED:
        slope = G @ w[0]
        assert w.min() >= 0 and w.sum() == pytest.approx(1.0, abs=1e-12)
        assert w[0] @ slope - slope.min() < 1e-9


def test_compiled_and_plain_agree():
    G = np.stack([problem(i, 7, 40) for i in range(4)])
    compiled, plain = solve(G), solve(G, simplex_weights.py_func)
    np.testing.assert_allclose(compiled[0], plain[0], atol=1e-13)
    assert (compiled[1] == plain[1]).all()


def test_the_order_of_the_baskets_only_permutes_the_weights():
    G, order = problem(3, 9, 80), np.random.default_rng(0).permutation(9)
    w, mixed = solve(G[None])[0], solve(G[np.ix_(order, order)][None])[0]
    np.testing.assert_allclose(mixed[0], w[0][order], atol=1e-12)


def test_what_cannot_be_solved_is_told():
    good = problem(1, 4, 40)
    bad = -np.eye(4)
    broken = np.full((4, 4), np.nan)
    _, status = solve(np.stack([bad, good, broken]))
    assert status[0] == SINGULAR and status[1] == SOLVED
    assert status[2] in (SINGULAR, STUCK)


def test_nothing_enters_at_the_minimum():
    G = problem(5, 6, 60)
    w = solve(G[None])[0][0]
    slope = G @ w
    u = w / (1 + w @ slope)  # the scaled solution of the normal equations
    free = np.flatnonzero(w > 0)
    assert _steepest(G, u, free, len(free), w > 0) == -1
    assert _steepest(G, np.zeros(6), free, 0, np.zeros(6, bool)) >= 0
