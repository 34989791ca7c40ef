"""Nearest correlation with weights, fixed entries and a floor: projections, optimality.

Newton's answers are compared with alternating projections, which share no code beyond
the change of variables, and with a generic conic solver, which shares none.
"""

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad

from engine.covariance import _nearest_solvers as solvers
from engine.covariance import nearest_correlation
from engine.errors import DataError, InfeasibleError, UsageError


def noisy(N, seed, size=0.4):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((N, 3))
    C = B @ B.T + np.eye(N)
    s = 1 / np.sqrt(np.diag(C))
    E = rng.standard_normal((N, N)) * size
    A = C * np.outer(s, s) + (E + E.T) / 2
    np.fill_diagonal(A, 1.0)
    return A


def block(N, k):
    """Fix the correlations among the first k assets."""
    inside = np.arange(N) < k
    return np.outer(inside, inside)


def conic(A, floor=0.0, w=None, fixed=None):
    N = len(A)
    root = np.sqrt(np.ones(N) if w is None else w)
    scale = np.outer(root, root)
    X = cp.Variable((N, N), symmetric=True)
    limits = [cp.diag(X) == 1, X - floor * np.eye(N) >> 0]
    if fixed is not None:
        i, j = np.nonzero(np.tril(fixed, -1))
        limits += [X[a, b] == A[a, b] for a, b in zip(i, j, strict=True)]
    goal = cp.Minimize(cp.sum_squares(cp.multiply(scale, X - A)))
    cp.Problem(goal, limits).solve(solver="CLARABEL")
    return X.value


def variants(N):
    w = np.linspace(1.0, 20.0, N)
    A = noisy(N, 1)
    held = block(N, 3)
    A[:3, :3] = np.linalg.inv(np.diag([1.0, 1, 1]) * 1.0)  # uncorrelated: feasible
    A[0, 1] = A[1, 0] = 0.6
    scattered = np.zeros((N, N), dtype=bool)
    scattered[0, 4] = scattered[4, 0] = scattered[1, 5] = scattered[5, 1] = True
    A[0, 4] = A[4, 0] = 0.9
    A[1, 5] = A[5, 1] = -0.2
    return A, [
        {},
        {"weights": w},
        {"eigenvalue_floor": 0.2},
        {"fixed": held},
        {"fixed": scattered},
        {"fixed": held | scattered, "weights": w, "eigenvalue_floor": 0.05},
    ]


@pytest.mark.parametrize("which", range(6))
def test_newton_projections_and_a_conic_solver_agree(which):
    A, options = variants(7)
    options = {"eigenvalue_floor": 0.0, **options[which]}
    X = nearest_correlation(A, **options)
    slow = nearest_correlation(
        A, method="alternating_projections", tolerance=1e-13, **options
    )
    np.testing.assert_allclose(X, slow, atol=1e-8)
    quick = nearest_correlation(
        A,
        method="alternating_projections",
        tolerance=1e-13,
        acceleration=3,
        **options,
    )
    np.testing.assert_allclose(quick, slow, atol=1e-9)
    names = {"eigenvalue_floor": "floor", "weights": "w", "fixed": "fixed"}
    other = conic(A, **{names[k]: v for k, v in options.items()})
    np.testing.assert_allclose(X, other, atol=2e-4)  # the solver's own
    np.testing.assert_array_equal(np.diag(X), 1.0)
    np.testing.assert_array_equal(X, X.T)
    assert np.linalg.eigvalsh(X)[0] >= options["eigenvalue_floor"] - 1e-9
    if "fixed" in options:
        np.testing.assert_array_equal(X[options["fixed"]], A[options["fixed"]])
        free = nearest_correlation(A, eigenvalue_floor=0.0)
        assert np.abs(free - A)[options["fixed"]].max() > 1e-3  # it had to hold them


def test_acceleration_saves_projections(monkeypatch):
    counts = []
    eigh = np.linalg.eigh

    def counted(M):
        counts[-1] += 1
        return eigh(M)

    monkeypatch.setattr(solvers.np.linalg, "eigh", counted)
    A = noisy(20, 3, 0.8)
    for memory in (0, 4):
        counts.append(0)
        nearest_correlation(
            A, method="alternating_projections", acceleration=memory, tolerance=1e-12
        )
    assert counts[1] < 0.7 * counts[0]


@pytest.mark.parametrize("seed", range(4))
def test_newton_takes_few_eigendecompositions(seed, monkeypatch):
    """Each costs N^3 and nothing else does as much: seven at most on such noise."""
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(
        solvers.np.linalg, "eigh", lambda M: (calls.append(1), eigh(M))[1]
    )
    nearest_correlation(noisy(80, seed, 0.7))
    assert len(calls) <= 7


def count_steps(monkeypatch):
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(
        solvers.np.linalg, "eigh", lambda M: (calls.append(1), eigh(M))[1]
    )
    return calls


@pytest.mark.parametrize("seed", range(4))
def test_a_covariance_of_low_rank_does_not_mislead_the_start(seed, monkeypatch):
    """Its best multiple of the identity leaves two positive eigenvalues of many."""
    B = np.random.default_rng(seed).standard_normal((40, 2))
    A = B @ B.T + 1e-8 * noisy(40, seed)
    calls = count_steps(monkeypatch)
    nearest_correlation(A, eigenvalue_floor=0.0)
    assert len(calls) <= 14


@pytest.mark.parametrize("seed", range(4))
def test_most_entries_fixed(seed, monkeypatch):
    """A nearly singular Jacobian: without the ridge the steps go into hundreds."""
    rng = np.random.default_rng(seed)
    N = 30
    A = np.corrcoef(rng.standard_normal((N, 3 * N)))
    A = 0.5 * (A + A.T)  # NumPy's is symmetric to rounding only
    held = np.triu(rng.random((N, N)) < 0.8, 1)
    held = held | held.T
    E = np.triu(rng.standard_normal((N, N)), 1)
    A = np.where(held | np.eye(N, dtype=bool), A, A + E + E.T)
    calls = count_steps(monkeypatch)
    X = nearest_correlation(A, fixed=held)
    assert len(calls) <= 25
    np.testing.assert_array_equal(X[held], A[held])
    assert np.linalg.eigvalsh(X)[0] > 0


def test_both_methods_refuse_the_same_fixed_sets():
    verdicts = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        U = np.triu(rng.uniform(-0.95, 0.95, (8, 8)), 1)
        held = np.triu(rng.random((8, 8)) < 0.6, 1)
        both = []
        for method in ("newton", "alternating_projections"):
            try:
                nearest_correlation(
                    np.eye(8) + U + U.T, fixed=held | held.T, method=method
                )
                both.append("feasible")
            except InfeasibleError as error:
                assert error.conflict
                both.append("infeasible")
        assert both[0] == both[1]
        verdicts.append(both[0])
    assert set(verdicts) == {"feasible", "infeasible"}


def test_the_floor_is_a_constraint_not_a_repair():
    """No matrix above the floor is nearer, though raising eigenvalues gives another."""
    A = noisy(9, 4)
    floor = 0.1
    X = nearest_correlation(A, eigenvalue_floor=floor)
    assert np.linalg.eigvalsh(X)[0] == pytest.approx(floor, abs=1e-12)
    np.testing.assert_allclose(X, conic(A, floor), atol=2e-4)  # the solver's own
    rng = np.random.default_rng(5)
    for size in (1e-4, 1e-2, 1.0):
        other = nearest_correlation(
            noisy(9, int(rng.integers(99))), eigenvalue_floor=floor
        )
        mixed = (1 - size) * X + size * other
        assert np.linalg.norm(mixed - A) >= np.linalg.norm(X - A) - 1e-9


def test_a_heavy_weight_holds_what_is_trusted():
    A = noisy(8, 6, 0.8)
    plain = np.abs(nearest_correlation(A) - A)[0, 1]
    held = np.abs(nearest_correlation(A, weights=[1e3, 1e3] + [1] * 6) - A)[0, 1]
    assert held < 0.01 * plain
    same = nearest_correlation(A, weights=np.full(8, 7.0))
    np.testing.assert_allclose(same, nearest_correlation(A), atol=1e-8)


def test_everything_fixed_comes_back_if_it_can():
    R = nearest_correlation(noisy(6, 7), eigenvalue_floor=1e-3)
    everything = np.ones((6, 6), dtype=bool)
    np.testing.assert_array_equal(nearest_correlation(R, fixed=everything), R)
    none = np.eye(6, dtype=bool)
    A = noisy(6, 8)
    np.testing.assert_allclose(
        nearest_correlation(A, fixed=none), nearest_correlation(A), atol=1e-12
    )


def triangle(a, b, c):
    A = np.eye(5)
    held = np.zeros((5, 5), dtype=bool)
    for (i, j), value in {(0, 1): a, (0, 2): b, (1, 2): c}.items():
        A[i, j] = A[j, i] = value
        held[i, j] = held[j, i] = True
    return A, held


@pytest.mark.parametrize("method", ["newton", "alternating_projections"])
@pytest.mark.parametrize("floor", [0.0, 1e-8, 0.1])
def test_fixed_entries_that_contradict_each_other(method, floor):
    A, held = triangle(0.9, 0.9, -0.9)
    names = ["NVDA", "AMD", "TSM", "KO", "XOM"]
    A = pd.DataFrame(A, index=names, columns=names)
    with pytest.raises(InfeasibleError, match="no correlation matrix") as caught:
        nearest_correlation(A, fixed=held, method=method, eigenvalue_floor=floor)
    assert set(caught.value.conflict) == {
        "AMD and NVDA = 0.9",
        "TSM and NVDA = 0.9",
        "TSM and AMD = -0.9",
    }


def test_the_limit_of_feasibility_is_found_from_both_sides():
    """Given 0.8 twice, the third lies in [2 * 0.64 - 1, 1] = [0.28, 1]."""
    A, held = triangle(0.8, 0.8, 0.2801)
    X = nearest_correlation(A, fixed=held, eigenvalue_floor=0.0)
    np.testing.assert_array_equal(X[held], A[held])
    A, held = triangle(0.8, 0.8, 0.2799)
    with pytest.raises(InfeasibleError):
        nearest_correlation(A, fixed=held, eigenvalue_floor=0.0)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"eigenvalue_floor": 1.0}, UsageError, "eigenvalue_floor"),
        ({"eigenvalue_floor": -0.1}, UsageError, "eigenvalue_floor"),
        ({"tolerance": 0.0}, UsageError, "tolerance"),
        ({"method": "clip"}, UsageError, "unknown method"),
        ({"acceleration": 2}, UsageError, "alternating projections"),
        ({"acceleration": -1}, UsageError, "acceleration"),
        ({"weights": [1.0, 1.0]}, DataError, r"\(3,\)"),
        ({"weights": [1.0, 0.0, 1.0]}, DataError, r"positive.*B.*0\.0"),
        ({"weights": [1.0, np.nan, 1.0]}, DataError, "positive.*B"),
        ({"weights": [1.0, 1e-9, 1.0]}, DataError, "too far apart"),
        ({"weights": ["x"] * 3}, DataError, "not numeric"),
        ({"weights": pd.Series(1.0, index=list("CBA"))}, DataError, "labels"),
        ({"fixed": np.eye(3)}, DataError, "mask"),
        ({"fixed": np.eye(2, dtype=bool)}, DataError, "mask"),
        ({"fixed": np.triu(np.ones((3, 3), dtype=bool))}, DataError, "not symmetric"),
        ({"fixed": pd.DataFrame(np.eye(3, dtype=bool))}, DataError, "labels"),
        ({"fixed": np.ones((3, 3), dtype=bool)}, InfeasibleError, r"A and B.*1\.2"),
    ],
)
def test_refused(options, error, match):
    names = list("ABC")
    A = pd.DataFrame(
        [[1, 1.2, 0.1], [1.2, 1, 0.2], [0.1, 0.2, 1]], index=names, columns=names
    )
    with pytest.raises(error, match=match):
        nearest_correlation(A, **options)


def test_a_covariance_in_points_is_refused_by_name():
    names = ["A", "B"]
    A = pd.DataFrame([[1e12, 4e11], [4e11, 1e12]], index=names, columns=names)
    with pytest.raises(DataError, match=r"beyond any correlation.*B.*volatilities"):
        nearest_correlation(A)
    with pytest.raises(DataError, match=r"NaN or infinity.*A and B"):
        nearest_correlation(A.where(A != 4e11))


def problem(seed=0, N=6):
    A = noisy(N, seed)
    pairs = np.array([[3, 4], [1, 0]])
    return solvers.Target(C=A, diagonal=np.linspace(0.5, 1.5, N), pairs=pairs)


def test_the_dual_gradient_and_its_jacobian_are_derivatives():
    target = problem()
    b, N = target.values, 6
    rng = np.random.default_rng(2)
    y = rng.standard_normal(N + 2) * 0.5

    def parts(y):
        lam, P = np.linalg.eigh(target.C + target.place(y))
        Z = (P * np.maximum(lam, 0)) @ P.T
        return lam, P, Z

    def theta(y):
        return solvers._dual(parts(y)[0], b, y)

    def gradient(y):
        return target.entries(parts(y)[2]) - b

    assert check_grad(theta, gradient, y) < 1e-5
    lam, P, _ = parts(y)
    assert (lam > 0).any() and (lam < 0).any()
    for sign in (1, -1):  # the smaller block is the negative, then the positive one
        mirrored = solvers.Target(sign * target.C, target.diagonal, target.pairs)
        lam, P = np.linalg.eigh(mirrored.C + mirrored.place(sign * y))
        apply, diagonal = solvers._jacobian(mirrored, lam, P, np.float64)

        def plus(y, C=mirrored.C):
            lam, P = np.linalg.eigh(C + target.place(y))
            return target.entries((P * np.maximum(lam, 0)) @ P.T)

        h = rng.standard_normal(N + 2)
        step = 1e-6
        slope = (plus(sign * y + step * h) - plus(sign * y - step * h)) / (2 * step)
        np.testing.assert_allclose(apply(h), slope, rtol=1e-5, atol=1e-7)
        exact = [apply(e)[k] for k, e in enumerate(np.eye(N + 2))]
        np.testing.assert_allclose(diagonal[:N], exact[:N], rtol=1e-10)


def test_the_start_is_the_best_multiple_of_the_identity():
    lam = np.array([-2.0, -0.5, 0.1, 3.0])
    for total in (0.3, 2.0, 4.0, 50.0):
        c = solvers._best_shift(lam, total)
        assert np.maximum(lam + c, 0).sum() == pytest.approx(total)


@given(
    N=st.integers(2, 9),
    seed=st.integers(0, 10_000),
    size=st.floats(0.05, 3.0),
    floor=st.sampled_from([0.0, 1e-8, 0.05]),
    k=st.integers(0, 3),
)
def test_optimality(N, seed, size, floor, k):
    """Z = X - floor I is the projection of what it is minus a matrix on the diagonal
    and the fixed entries: Y = X - A - A*(y) is PSD and Y Z = 0."""
    rng = np.random.default_rng(seed)
    A = noisy(N, seed, size)
    A[:k, :k] = np.eye(min(k, N))
    held = block(N, k)
    w = rng.uniform(0.2, 5.0, N)
    X = nearest_correlation(
        A, eigenvalue_floor=floor, weights=w, fixed=held, tolerance=1e-11
    )
    np.testing.assert_array_equal(X[held], A[held])
    assert np.linalg.eigvalsh(X)[0] >= floor - 1e-8
    d = np.sqrt(w / w.mean())
    scale = np.outer(d, d)
    Z = (X - floor * np.eye(N)) * scale
    M = (X - A) * scale
    # Least squares for the multipliers of the diagonal and the fixed entries.
    places = [(i, j) for i in range(N) for j in range(i + 1) if i == j or held[i, j]]
    columns = []
    for i, j in places:
        E = np.zeros((N, N))
        E[i, j] = E[j, i] = 1.0
        columns.append((E @ Z).ravel())
    y = np.linalg.lstsq(np.array(columns).T, (M @ Z).ravel(), rcond=None)[0]
    for (i, j), value in zip(places, y, strict=True):
        M[i, j] -= value
        M[j, i] = M[i, j]
    largest = max(1.0, np.abs(M).max())
    assert np.linalg.norm(M @ Z) < 1e-6 * largest
    if np.linalg.matrix_rank(np.array(columns).T, tol=1e-7) == len(places):
        assert np.linalg.eigvalsh(M)[0] > -1e-6 * largest


def test_real_correlations_with_gaps(real_data):
    """200 listings, 120 dates, one in ten values gone: far from semi-definite."""
    us = pd.read_parquet(real_data / "prices_us_listed.parquet")
    R = np.log(us).diff().iloc[-120:]
    R = R.loc[:, (R.notna().sum() > 100) & (R.std() > 0)].iloc[:, :200]
    values = R.to_numpy(copy=True)
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    A = pd.DataFrame(values, columns=R.columns).corr(min_periods=10)
    assert not A.isna().any().any()
    assert np.linalg.eigvalsh(A)[0] < -0.05
    X = nearest_correlation(A, eigenvalue_floor=0.0)
    Y = nearest_correlation(A, eigenvalue_floor=0.0, method="alternating_projections")
    np.testing.assert_allclose(X, Y, atol=1e-7)
    np.linalg.cholesky(nearest_correlation(A))
