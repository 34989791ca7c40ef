"""Eigenvalue estimators where dates are few, against the oracle and against peers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import (
    _spectral,
    correlation,
    denoised,
    nonlinear_shrinkage,
    rie,
    sample,
)
from engine.errors import ModelError, UsageError

METHODS = ("quadratic_inverse", "analytical")


def truth_of(N, levels=(1.0, 3.0, 10.0), seed=1):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((N, N)))
    d = np.resize(np.sort(np.resize(levels, N)), N)
    return (Q * d) @ Q.T


def draws(truth, T, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((T, len(truth))) @ np.linalg.cholesky(truth).T


# Nonlinear shrinkage ---------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(20, 40), (15, 60), (30, 200)])
def test_many_assets_by_way_of_the_dates_is_the_same(
    method, centred, shape, monkeypatch
):
    X = draws(truth_of(shape[1]), shape[0], 5)
    short = nonlinear_shrinkage(X, method=method, assume_centered=centred)
    monkeypatch.setattr(_spectral, "_WIDE", np.inf)
    full = nonlinear_shrinkage(X, method=method, assume_centered=centred)
    np.testing.assert_allclose(short, full, rtol=1e-9, atol=1e-12 * full.max())
    np.testing.assert_array_equal(short, short.T)
    assert np.linalg.eigvalsh(short)[0] > 0


def test_vectors_that_would_not_be_orthogonal_are_found_the_long_way(monkeypatch):
    X = draws(truth_of(60), 20, 7)
    X[0] *= 1e-5  # one date nearly empty: a small eigenvalue among the positive ones
    used = []
    kept = _spectral._from_dates
    monkeypatch.setattr(
        _spectral, "_from_dates", lambda Y, n: used.append(kept(Y, n)) or used[-1]
    )
    found = nonlinear_shrinkage(X, assume_centered=True)
    assert used == [None]
    assert np.linalg.eigvalsh(found)[0] > 0


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.7, 1.5, 3.0])
def test_analytical_is_close_to_the_oracle(ratio):
    """The oracle knows the truth: ``u_k' Sigma u_k`` is the best for these vectors."""
    N = 120
    T = int(N / ratio)
    truth = truth_of(N)
    loss = {"oracle": 0.0, "analytical": 0.0, "quadratic_inverse": 0.0, "sample": 0.0}
    for seed in range(8):
        X = draws(truth, T, seed)
        S = X.T @ X / T
        V = np.linalg.eigh(S)[1]
        best = np.einsum("ik,ij,jk->k", V, truth, V)
        loss["oracle"] += np.sum(((V * best) @ V.T - truth) ** 2)
        loss["sample"] += np.sum((S - truth) ** 2)
        for method in METHODS:
            found = nonlinear_shrinkage(X, method=method, assume_centered=True)
            loss[method] += np.sum((found - truth) ** 2)
    gap = loss["sample"] - loss["oracle"]
    for method in METHODS:
        # Share of what knowing the truth would gain over the sample.
        gained = (loss["sample"] - loss[method]) / gap
        assert 0.85 < gained <= 1.0, (method, gained)


@pytest.mark.parametrize("method", METHODS)
def test_rotation_and_trace(method):
    X = draws(truth_of(25), 70, 2)
    Q, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((25, 25)))
    found = nonlinear_shrinkage(X, method=method)
    turned = nonlinear_shrinkage(X @ Q, method=method)
    np.testing.assert_allclose(turned, Q.T @ found @ Q, rtol=1e-7, atol=1e-9)
    if method == "quadratic_inverse":
        assert np.trace(found) == pytest.approx(np.trace(sample(X)), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_as_many_assets_as_dates_and_one_more(method):
    """The formulas change at N = n: no jump in what comes out of order N."""
    truth = truth_of(60)
    losses = []
    for T in (64, 62, 61, 60, 59, 58, 56):
        X = draws(truth, T, 11)
        S = nonlinear_shrinkage(X, method=method)
        assert np.linalg.eigvalsh(S)[0] > 0
        losses.append(np.linalg.norm(S - truth) / np.linalg.norm(truth))
    assert max(losses) < 0.8  # the sample itself is at about 1
    assert max(losses) < 1.6 * min(losses)


def test_much_data_returns_the_truth():
    truth = truth_of(4)
    X = draws(truth, 200_000, 4)
    for method in METHODS:
        np.testing.assert_allclose(
            nonlinear_shrinkage(X, method=method), truth, atol=0.1
        )


# Rotationally invariant ------------------------------------------------------------


def small_factor_by_hand(values, q):
    """Bun, Bouchaud, Potters 2016: equations for G_k, one eigenvalue at a time."""
    N, smallest = len(values), values[0]
    s2 = smallest / (1 - q**0.5) ** 2
    upper = smallest * ((1 + q**0.5) / (1 - q**0.5)) ** 2
    out = []
    for x in values:
        z = complex(x, -(N**-0.5))
        root = (z - smallest) ** 0.5 * (z - upper) ** 0.5
        g = (z + s2 * (q - 1) - root) / (2 * q * z * s2)
        out.append(s2 * abs(1 - q + q * z * g) ** 2 / x)
    return np.array(out)


def test_debiased_small_eigenvalues_by_hand():
    X = draws(truth_of(30), 90, 6)
    R, sd = correlation(sample(X)), np.sqrt(np.diag(sample(X)))
    values, V = np.linalg.eigh(R)
    q = 30 / 89
    z = values - 1j * 30**-0.5
    table = 1.0 / (z[:, None] - values)
    np.fill_diagonal(table, 0.0)
    xi = values / np.abs(1 - q + q * z * table.sum(axis=1) / 30) ** 2
    xi *= np.maximum(1.0, small_factor_by_hand(values, q))
    xi *= 30 / xi.sum()
    want = (V * xi) @ V.T * np.outer(sd, sd)
    found = rie(X, debias_small=True)
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-15)
    assert np.abs(found - rie(X)).max() > 1e-3 * np.abs(found).max()


def test_the_debiased_spectrum_of_noise_is_flatter():
    """Truth is the identity; the raw estimate is too low at the bottom."""
    raw, mended = [], []
    for seed in range(20):
        X = np.random.default_rng(seed).standard_normal((200, 80))
        raw.append(np.linalg.eigvalsh(rie(X))[0])
        mended.append(np.linalg.eigvalsh(rie(X, debias_small=True))[0])
    assert np.mean(raw) < 0.8
    assert np.mean(mended) > np.mean(raw) + 0.1


def test_debiasing_needs_more_dates_than_assets_and_full_rank():
    X = draws(truth_of(30), 30, 6)
    with pytest.raises(ModelError, match="fewer assets than observations"):
        rie(X, debias_small=True)
    twin = np.column_stack([X[:, :5], X[:, 4]])
    with pytest.raises(ModelError, match=r"column 5.*same moves as column 4"):
        rie(twin, debias_small=True)
    assert np.linalg.eigvalsh(rie(twin))[0] > -1e-14


@given(st.integers(0, 10_000), st.sampled_from([(90, 20), (40, 40), (20, 50)]))
def test_rie_keeps_the_trace_of_the_correlation(seed, shape):
    X = draws(truth_of(shape[1]), shape[0], seed)
    sd = np.sqrt(np.diag(sample(X)))
    R = rie(X) / np.outer(sd, sd)
    assert np.trace(R) == pytest.approx(shape[1])
    assert np.linalg.eigvalsh(R)[0] > -1e-12


# Denoising -------------------------------------------------------------------------


def one_factor(T=400, N=40, seed=2):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((T, 1)) + rng.standard_normal((T, N)))


def test_the_peers_fit_where_they_find_the_same_number_of_factors():
    """Both fit the noise variance otherwise, and agree once the factors do."""
    from riskfolio.src.AuxFunctions import denoiseCov
    from skfolio.moments import DenoiseCovariance

    X = one_factor()
    found = denoised(X)
    values, V = np.linalg.eigh(correlation(sample(X)))
    values[:-1] = values[:-1].mean()  # one factor, and the rest alike
    level = correlation((V * values) @ V.T)
    np.testing.assert_allclose(correlation(found), level, rtol=1e-9)
    peer = DenoiseCovariance(nearest=False).fit(X).covariance_
    np.testing.assert_allclose(found, peer, rtol=1e-9)
    other = denoiseCov(np.cov(X.T), 400 / 40, kind="fixed")
    np.testing.assert_allclose(found, other, rtol=1e-9)
    kept = denoiseCov(np.cov(X.T), 400 / 40, kind="shrink", alpha=0.3)
    np.testing.assert_allclose(
        denoised(X, method="targeted", alpha=0.3), kept, rtol=1e-9
    )


def test_an_edge_of_ones_own():
    X = one_factor()
    everything = denoised(X, edge=1e9)
    np.testing.assert_allclose(correlation(everything), np.eye(40), atol=1e-12)
    np.testing.assert_allclose(denoised(X, edge=0.0), sample(X), rtol=1e-9)
    for edge in (np.nan, np.inf, -1.0):
        with pytest.raises(UsageError, match="edge"):
            denoised(X, edge=edge)


def test_more_assets_than_dates_denoises_to_positive_definite():
    X = one_factor(T=30, N=50)
    S = denoised(X)
    assert np.linalg.eigvalsh(S)[0] > 0
    np.testing.assert_allclose(np.diag(S), X.var(axis=0, ddof=1), rtol=1e-12)
