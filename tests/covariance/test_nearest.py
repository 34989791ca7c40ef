"""Nearest correlation matrix: published examples, Dykstra, optimality conditions."""

import numpy as np
import pandas as pd
import pytest

from engine.covariance import floor_eigenvalues, nearest_correlation
from engine.errors import DataError


def dykstra(A, steps=4000):
    """Higham 2002, algorithm 3.3: alternating projections with correction."""
    Y, correction = A.copy(), np.zeros_like(A)
    for _ in range(steps):
        R = Y - correction
        values, vectors = np.linalg.eigh(R)
        X = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = X - R
        Y = X.copy()
        np.fill_diagonal(Y, 1.0)
    return Y


def noisy(N, seed, size=0.3):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((N, 3))
    C = B @ B.T + np.eye(N)
    s = 1 / np.sqrt(np.diag(C))
    E = rng.standard_normal((N, N)) * size
    A = C * np.outer(s, s) + (E + E.T) / 2
    np.fill_diagonal(A, 1.0)
    return A


def exact(A):
    return nearest_correlation(A, eigenvalue_floor=0.0)


def test_higham_2002_example_of_order_three():
    """Section 2: the answer to four figures is printed there, distance 0.5278."""
    A = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    X = exact(A)
    expected = [[1, 0.7607, 0.1573], [0.7607, 1, 0.7607], [0.1573, 0.7607, 1]]
    np.testing.assert_allclose(X, expected, atol=5e-5)
    assert np.linalg.norm(A - X) == pytest.approx(0.5278, abs=5e-5)


def test_higham_2002_tridiagonal_example():
    """Section 4: tridiag(-1, 2, -1) of order four; to four figures, distance 2.13."""
    A = 2 * np.eye(4) - np.eye(4, k=1) - np.eye(4, k=-1)
    X = exact(A)
    expected = [
        [1.0, -0.8084, 0.1916, 0.1068],
        [-0.8084, 1.0, -0.6562, 0.1916],
        [0.1916, -0.6562, 1.0, -0.8084],
        [0.1068, 0.1916, -0.8084, 1.0],
    ]
    np.testing.assert_allclose(X, expected, atol=5e-5)
    assert np.linalg.norm(A - X) == pytest.approx(2.13, abs=5e-3)


@pytest.mark.parametrize(("N", "seed"), [(2, 0), (3, 1), (5, 2), (8, 3), (15, 4)])
def test_equals_alternating_projections(N, seed):
    A = noisy(N, seed)
    np.testing.assert_allclose(exact(A), dykstra(A), atol=1e-7)


def test_a_diagonal_other_than_one_is_not_rescaled_first():
    A = noisy(6, 9)
    B = A.copy()
    np.fill_diagonal(B, [0.2, 5.0, 1.0, -3.0, 0.0, 2.0])
    np.testing.assert_allclose(exact(B), dykstra(B), atol=1e-7)
    # Off the diagonal the distance is the same: the diagonal plays no part.
    np.testing.assert_allclose(exact(B), exact(A), atol=1e-8)
    covariance = 4.0 * (0.9 + 0.1 * np.eye(3))
    X = exact(covariance)
    assert X[0, 1] == pytest.approx(1.0, abs=1e-7)  # nearest to 3.6, not to 0.9


@pytest.mark.parametrize("seed", range(3))
def test_sixty_by_sixty_meets_the_optimality_conditions(seed):
    """X is optimal iff X - A - diag(y) is PSD and orthogonal to X, for some y."""
    A = noisy(60, seed, 0.5)
    assert np.linalg.eigvalsh(A)[0] < -1
    X = exact(A)
    np.testing.assert_array_equal(np.diag(X), 1.0)
    np.testing.assert_array_equal(X, X.T)
    assert np.linalg.eigvalsh(X)[0] > -1e-9
    # Complementarity gives y: (X - A - diag(y)) X = 0 on the diagonal.
    M = X - A
    y = np.diag(M @ X)
    Z = M - np.diag(y)
    assert np.linalg.eigvalsh(Z)[0] > -1e-6
    assert np.linalg.norm(Z @ X) < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_nothing_nearer_is_found_at_random(seed):
    rng = np.random.default_rng(seed)
    A = noisy(7, seed)
    X = exact(A)
    best = np.linalg.norm(A - X)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            Y = noisy(7, int(rng.integers(1 << 30)), 0.0)
            other = (1 - size) * X + size * Y  # a mixture of correlation matrices
            assert np.linalg.norm(A - other) >= best - 1e-9


def test_a_correlation_matrix_comes_back():
    R = noisy(12, 5, 0.0)
    np.testing.assert_allclose(nearest_correlation(R), R, atol=1e-12)
    np.testing.assert_allclose(nearest_correlation(np.eye(4)), np.eye(4), atol=1e-15)


def test_applying_it_twice_changes_nothing():
    once = exact(noisy(20, 6))
    np.testing.assert_allclose(exact(once), once, atol=1e-8)
    floored = nearest_correlation(noisy(20, 6))
    np.testing.assert_allclose(nearest_correlation(floored), floored, atol=1e-9)


def test_the_floor_leaves_a_cholesky_factor_and_moves_little():
    A = noisy(30, 7, 0.5)
    X = nearest_correlation(A)
    assert np.linalg.eigvalsh(X)[0] > 0.5e-8
    np.linalg.cholesky(X)
    np.testing.assert_array_equal(np.diag(X), 1.0)
    assert np.abs(X - exact(A)).max() < 1e-6
    higher = nearest_correlation(A, eigenvalue_floor=1e-3)
    assert np.linalg.eigvalsh(higher)[0] > 0.5e-3


def test_clipping_is_farther_than_the_projection():
    """Methods section 3: eigenvalue clipping is not the nearest matrix."""
    A = noisy(10, 8, 0.6)
    assert (
        np.linalg.norm(A - floor_eigenvalues(A)) > np.linalg.norm(A - exact(A)) * 1.01
    )


def test_orders_one_and_two():
    for value in (1.0, 0.3, -5.0, 0.0):
        np.testing.assert_array_equal(nearest_correlation([[value]]), [[1.0]])
    for r, expected in [(0.4, 0.4), (-0.4, -0.4), (2.0, 1.0), (-9.0, -1.0), (0, 0)]:
        X = nearest_correlation([[1.0, r], [r, 1.0]])
        np.testing.assert_allclose(X, [[1, expected], [expected, 1]], atol=2e-8)


@pytest.mark.parametrize("size", [1e-12, 1e3, 1e6])
def test_badly_scaled_input(size):
    A = noisy(6, 10) * size
    X = exact(A)
    np.testing.assert_array_equal(np.diag(X), 1.0)
    assert np.linalg.eigvalsh(X)[0] > -1e-9
    assert np.abs(X).max() <= 1 + 1e-12


@pytest.mark.parametrize(
    "A", [np.zeros((4, 4)), -np.ones((4, 4)), np.ones((4, 4)), -np.eye(4) * 7]
)
def test_degenerate_input(A):
    np.testing.assert_allclose(exact(A), dykstra(A), atol=1e-7)


def test_labels_and_permutation():
    A = noisy(5, 11)
    names = ["NVDA", "KO", "ASML", "XOM", "TSM"]
    frame = pd.DataFrame(A, index=names, columns=names)
    X = nearest_correlation(frame)
    assert isinstance(X, pd.DataFrame)
    assert list(X.index) == list(X.columns) == names
    order = ["XOM", "NVDA", "TSM", "KO", "ASML"]
    again = nearest_correlation(frame.loc[order, order])
    np.testing.assert_allclose(again, X.loc[order, order], atol=1e-8)


@pytest.mark.parametrize(
    ("A", "match"),
    [
        ([[1.0, 0.5], [0.4, 1.0]], r"not symmetric.*0\.5 at \(0, 1\)"),
        ([[1.0, np.nan], [np.nan, 1.0]], "NaN or infinity"),
        ([[1.0, np.inf], [np.inf, 1.0]], "NaN or infinity"),
        ([[1.0, 0.5]], "square"),
        (np.empty((0, 0)), "square"),
        (1.0, "square"),
        ([["a", "b"], ["b", "a"]], "not numeric"),
        (pd.DataFrame(np.eye(2), index=["A", "B"], columns=["B", "A"]), "labels"),
    ],
)
def test_refused(A, match):
    with pytest.raises(DataError, match=match):
        nearest_correlation(A)


def test_rounding_of_symmetry_is_forgiven_and_the_input_is_left_alone():
    A = noisy(5, 12)
    B = A.copy()
    B[0, 1] += 1e-12
    before = B.copy()
    np.testing.assert_allclose(exact(B), exact(A), atol=1e-9)
    np.testing.assert_array_equal(B, before)
