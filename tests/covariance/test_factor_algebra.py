"""Factor algebra equals dense algebra, and exact fractions where that fails."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import FactorCovariance
from engine.errors import DataError, ModelError
from engine.kernels import factor as kernels


def covariance(N=30, K=4, seed=0, low=0.1):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((K, K + 2))
    B = rng.standard_normal((N, K))
    return FactorCovariance(B, A @ A.T / K, rng.uniform(low, 1.0, N))


def relative(got, exact):
    return np.linalg.norm(got - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(("N", "K"), [(30, 4), (5, 5), (3, 8), (200, 10), (1, 1)])
def test_everything_equals_dense_algebra(N, K):
    C = covariance(N, K)
    S = C.dense()
    rng = np.random.default_rng(1)
    b, many = rng.standard_normal(N), rng.standard_normal((N, 3))
    for x in (b, many):
        assert relative(C.solve(x), np.linalg.solve(S, x)) < 1e-10
        assert relative(C.inverse() @ x, np.linalg.solve(S, x)) < 1e-10
        assert relative(C @ C.solve(x), x) < 1e-10
    inverse = np.linalg.inv(S)
    assert relative(C.inverse().dense(), inverse) < 1e-10
    assert relative(C.inverse().diagonal(), np.diag(inverse)) < 1e-10
    assert C.log_determinant() == pytest.approx(np.linalg.slogdet(S)[1], rel=1e-10)
    assert C.quadratic(b) == pytest.approx(b @ S @ b, rel=1e-10)
    np.testing.assert_allclose(
        C.quadratic(many.T), np.einsum("im,ij,jm->m", many, S, many), rtol=1e-10
    )
    A, s = C.sampling_factor()
    assert relative(A @ A.T + np.diag(s**2), S) < 1e-12
    sigma = np.sqrt(np.diag(S))
    assert relative(C.correlation().dense(), S / np.outer(sigma, sigma)) < 1e-12
    np.testing.assert_allclose(C.correlation().variances(), 1.0, rtol=1e-12)


@pytest.mark.parametrize(("N", "K"), [(30, 4), (5, 5), (3, 8), (1, 1)])
def test_the_product_form_is_the_cholesky_factor(N, K):
    C = covariance(N, K)
    L = np.linalg.cholesky(C.dense())
    ours = C.cholesky()
    assert relative(ours.dense(), L) < 1e-12
    assert ours.shape == C.inverse().shape == (N, N)
    rng = np.random.default_rng(2)
    for x in (rng.standard_normal(N), rng.standard_normal((N, 4))):
        before = x.copy()
        assert relative(ours.apply(x), L @ x) < 1e-12
        assert relative(ours.apply_transpose(x), L.T @ x) < 1e-12
        assert relative(ours.solve_lower(x), np.linalg.solve(L, x)) < 1e-10
        assert relative(ours.solve_lower_transpose(x), np.linalg.solve(L.T, x)) < 1e-10
        assert ours.apply(x).shape == x.shape
        np.testing.assert_array_equal(x, before)


def test_draws_have_the_covariance():
    C = covariance(6, 2)
    z = np.random.default_rng(3).standard_normal((6, 200_000))
    # The standard error of an entry is at most sqrt(2 / n) of the variances: 0.3%.
    sample = np.cov(C.cholesky().apply(z))
    sigma = np.sqrt(C.variances())
    assert np.abs((sample - C.dense()) / np.outer(sigma, sigma)).max() < 0.015


def exact_solve(B, F, d, b):
    """Solve with fractions: no rounding at all."""
    N, K = B.shape
    f = [[Fraction(v) for v in row] for row in F]
    rows = [[Fraction(v) for v in row] for row in B]
    S = [
        [
            sum(rows[i][k] * f[k][m] * rows[j][m] for k in range(K) for m in range(K))
            + (Fraction(d[i]) if i == j else 0)
            for j in range(N)
        ]
        + [Fraction(b[i])]
        for i in range(N)
    ]
    determinant = Fraction(1)
    for i in range(N):
        determinant *= S[i][i]
        S[i] = [v / S[i][i] for v in S[i]]
        for j in range(N):
            if j != i:
                S[j] = [v - S[j][i] * w for v, w in zip(S[j], S[i], strict=True)]
    return np.array([float(row[-1]) for row in S]), determinant


@pytest.mark.parametrize("tiny", [1e-6, 1e-12, 1e-20, 1e-60])
def test_specific_variances_of_any_size(tiny):
    """Dense algebra has no digits left at 1e-16; the product form keeps its own.

    The right side is in the range of what is well determined, as a portfolio problem
    is, so that the solution itself is well conditioned.
    """
    rng = np.random.default_rng(4)
    B = np.round(rng.standard_normal((6, 2)), 3)
    d = np.array([1.0, tiny, 0.5, 0.7, tiny, 0.2])
    F = np.array([[1.0, 0.25], [0.25, 2.0]])
    C = FactorCovariance(B, F, d)
    b = rng.standard_normal(6)
    x, determinant = exact_solve(B, F, d, b)
    got = C.solve(b)
    assert np.abs(got - x).max() < 1e-9 * np.abs(x).max()
    logarithm = float(np.log(float(determinant)))
    assert C.log_determinant() == pytest.approx(logarithm, rel=1e-12)


def test_ill_conditioned_everywhere():
    rng = np.random.default_rng(5)
    B = np.round(rng.standard_normal((6, 2)), 3)
    d = 10.0 ** np.array([-2.0, -14, -4, -9, 0, -11])
    C = FactorCovariance(B, np.eye(2), d)
    b = rng.standard_normal(6)
    x, determinant = exact_solve(B, np.eye(2), d, b)
    assert relative(C.solve(b), x) < 1e-9
    assert C.log_determinant() == pytest.approx(np.log(float(determinant)), rel=1e-12)


def test_singular_factors():
    """F of rank one, zero loadings, no factors, and factors of very different scale."""
    rng = np.random.default_rng(6)
    B = rng.standard_normal((8, 3))
    v = np.array([1.0, 2.0, 0.0])
    scales = np.array([1e-8, 1.0, 1e6])
    for loadings, F in (
        (B, np.outer(v, v)),
        (B * 0, np.eye(3)),
        (B / scales, np.outer(scales, scales) * (0.3 + 0.7 * np.eye(3))),
        (B / scales, np.outer(scales, scales)),
        (np.empty((8, 0)), np.empty((0, 0))),
    ):
        C = FactorCovariance(loadings, F, np.linspace(0.1, 1, 8))
        S = C.dense()
        b = rng.standard_normal(8)
        assert relative(C.solve(b), np.linalg.solve(S, b)) < 1e-10
        assert relative(C.inverse() @ b, np.linalg.solve(S, b)) < 1e-10
        assert relative(C.cholesky().dense(), np.linalg.cholesky(S)) < 1e-10
        assert C.quadratic(b) == pytest.approx(b @ S @ b, rel=1e-10)


def test_selection():
    C = covariance(10, 3)
    S = C.dense()
    mask = np.arange(10) % 3 == 0
    for index in ([4, 1, 7], np.array([4, -1]), mask, slice(2, 6), []):
        part = C.select(index)
        inside = np.arange(10)[index] if len_of(index) else np.empty(0, dtype=int)
        np.testing.assert_allclose(part.dense(), S[np.ix_(inside, inside)], rtol=1e-13)


def len_of(index):
    return 1 if isinstance(index, slice) else len(index)


def test_values_are_frozen_and_pickle():
    C = covariance()
    for value, field in ((C.inverse(), "root"), (C.cholesky(), "delta")):
        again = pickle.loads(pickle.dumps(value))
        np.testing.assert_array_equal(again.dense(), value.dense())
        for item in (value, again):
            with pytest.raises(AttributeError):
                setattr(item, field, None)
        assert "30 assets, 4 factors" in repr(value)
    assert not C.cholesky().columns.flags.writeable
    assert not C.inverse().root.flags.writeable


def test_a_zero_specific_variance_has_no_inverse():
    C = FactorCovariance(np.ones((3, 1)), [[1.0]], [0.1, 0.0, 0.2])
    for call in (C.inverse, C.cholesky, C.log_determinant, lambda: C.solve(np.ones(3))):
        with pytest.raises(ModelError, match=r"zero.*row 1.*expected positive.*dense"):
            call()
    # What needs no inverse works.
    assert C.quadratic(np.ones(3)) == pytest.approx(9.3)
    np.testing.assert_allclose(C.correlation().variances(), 1.0)
    still = FactorCovariance(np.zeros((3, 1)), [[1.0]], [0.1, 0.0, 0.2])
    with pytest.raises(ModelError, match=r"never moves.*row 1"):
        still.correlation()


def test_a_specific_variance_beyond_the_doubles_is_refused():
    C = FactorCovariance(np.full((3, 1), 1e10), [[1.0]], [1.0, 1e-305, 1.0])
    with pytest.raises(ModelError, match=r"outweighs.*row 1"):
        C.cholesky()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda C: C.solve(np.ones(29)), r"\(29,\).*\(30,\)"),
        (lambda C: C.solve(np.ones((2, 30))), r"\(2, 30\)"),
        (lambda C: C.quadratic(np.ones(29)), r"\(29,\)"),
        (lambda C: C.quadratic(np.full(30, np.nan)), "finite"),
        (lambda C: C.select([30]), r"30.*-30 to 29"),
        (lambda C: C.select([0.5]), "positions or a mask"),
        (lambda C: C.select([True, False]), r"mask.*2 entries.*30"),
        (lambda C: C.select(3), "positions or a mask"),
        (lambda C: C.select([3, 5, -27]), r"twice.*3"),
    ],
)
def test_refused(call, match):
    with pytest.raises(DataError, match=match):
        call(covariance())


def test_kernels_equal_their_python():
    C = covariance(7, 3)
    columns = np.array(C.sampling_factor()[0].T, order="C")
    for name in ("solve_unit", "solve_unit_transpose", "apply_unit",
                 "apply_unit_transpose"):  # fmt: skip
        kernel = getattr(kernels, name)
        betas = columns[::-1].copy()
        x = np.arange(7.0)
        y = x.copy()
        kernel(columns, betas, x)
        kernel.py_func(columns, betas, y)
        np.testing.assert_allclose(x, y, rtol=1e-13)


@given(
    N=st.integers(1, 12),
    K=st.integers(0, 5),
    seed=st.integers(0, 10_000),
    spread=st.floats(0.0, 4.0),
)
def test_solving_undoes_applying(N, K, seed, spread):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((K, K))
    d = 10.0 ** rng.uniform(-spread, spread, N)
    C = FactorCovariance(rng.standard_normal((N, K)), A @ A.T, d)
    L = C.cholesky()
    x = rng.standard_normal(N)
    np.testing.assert_allclose(L.solve_lower(L.apply(x)), x, atol=1e-9)
    assert relative(L.apply(L.apply_transpose(x)), C @ x) < 1e-10
    order = rng.permutation(N)
    assert C.select(order).log_determinant() == pytest.approx(
        C.log_determinant(), rel=1e-9, abs=1e-9
    )
    w = rng.standard_normal(N)
    assert C.quadratic(w) >= 0
    assert C.quadratic(w) * C.solve(w).dot(w) >= (w @ w) ** 2 * (1 - 1e-9)  # Cauchy
