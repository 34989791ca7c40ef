"""Conventions of linear shrinkage: the authors' programs and the papers' formulas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import correlation, ledoit_wolf, oas, sample
from engine.errors import DataError, ModelError

TARGETS = ("identity", "constant_correlation", "single_index")


def returns(T=40, N=6, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(T, 1)) * 0.008
    return common + rng.standard_t(5, size=(T, N)) * rng.uniform(0.005, 0.02, N)


def by_matrices(X, target, n):
    """Ledoit and Wolf 2003, 2004a, 2004b with (N, N) matrices of every moment.

    The layout of the authors' programs: one divisor n for all of them.
    """
    Y = X - X.mean(axis=0)
    N = Y.shape[1]
    S = Y.T @ Y / n
    pi = (Y**2).T @ (Y**2) / n - S**2
    var, sd = np.diag(S), np.sqrt(np.diag(S))
    if target == "identity":
        F, rho = var.mean() * np.eye(N), 0.0
    elif target == "constant_correlation":
        R = S / np.outer(sd, sd)
        r = (R.sum() - N) / (N * (N - 1))
        F = r * np.outer(sd, sd)
        theta = (Y**3).T @ Y / n - var[:, None] * S
        np.fill_diagonal(theta, 0.0)
        rho = np.diag(pi).sum() + r * (np.outer(1 / sd, sd) * theta).sum()
    else:
        m = Y.mean(axis=1)
        b, s = Y.T @ m / n, m @ m / n
        F = np.outer(b, b) / s
        Z = Y * m[:, None]
        v1 = (Y**2).T @ Z / n - b[:, None] * S
        first = ((v1 * b).sum() - (np.diag(v1) * b).sum()) / s
        v3 = Z.T @ Z / n - s * S
        second = ((v3 * np.outer(b, b)).sum() - (np.diag(v3) * b**2).sum()) / s**2
        rho = np.diag(pi).sum() + 2 * first - second
    if target != "identity":
        np.fill_diagonal(F, var)
    intensity = np.clip((pi.sum() - rho) / ((F - S) ** 2).sum() / n, 0.0, 1.0)
    return intensity * F + (1 - intensity) * S, intensity


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("shape", [(40, 6), (250, 20), (30, 60), (3, 4)])
def test_one_divisor_for_every_moment(target, ddof, shape):
    X = returns(*shape)
    want, intensity = by_matrices(X, target, len(X) - ddof)
    found, mine = ledoit_wolf(X, target, ddof=ddof, return_shrinkage=True)
    assert mine == pytest.approx(intensity, rel=1e-9)
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-18)


def test_the_divisor_changes_the_intensity_too():
    """Methods section 5: on one sample 0.0857 against 0.0858 for the two."""
    X = returns()
    paper = ledoit_wolf(X, return_shrinkage=True)[1]
    programs = ledoit_wolf(X, ddof=1, return_shrinkage=True)[1]
    assert paper != programs
    assert paper == pytest.approx(programs, rel=0.1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_known_mean_leaves_the_divisor_at_T(target):
    X = returns()
    zero = ledoit_wolf(X, target, assume_centered=True, ddof=0)
    one = ledoit_wolf(X, target, assume_centered=True, ddof=1)
    np.testing.assert_array_equal(zero, one)
    whole = ledoit_wolf(X, target, assume_centered=True, shrinkage=0.0)
    np.testing.assert_allclose(whole, X.T @ X / 40, rtol=1e-12)


@given(
    st.integers(0, 10_000),
    st.sampled_from([(3, 2), (12, 5), (60, 8), (20, 40)]),
    st.sampled_from(["paper", "scikit-learn"]),
)
def test_oas_lies_between_sample_and_identity(seed, shape, convention):
    X = returns(*shape, seed)
    S = sample(X, ddof=0)
    found, rho = oas(X, convention=convention, return_shrinkage=True)
    assert 0.0 < rho <= 1.0
    assert np.trace(found) == pytest.approx(np.trace(S))
    want = rho * np.trace(S) / shape[1] * np.eye(shape[1]) + (1 - rho) * S
    np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-18)
    assert np.linalg.eigvalsh(found)[0] > 0


def test_oas_comes_close_to_the_oracle():
    """Chen et al. 2010: the oracle intensity needs the truth, OAS approaches it."""
    rng = np.random.default_rng(3)
    N, T = 40, 60
    truth = 0.4 ** np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    L = np.linalg.cholesky(truth)
    loss = {"oas": 0.0, "oracle": 0.0, "sample": 0.0}
    for _ in range(40):
        X = rng.standard_normal((T, N)) @ L.T
        S = X.T @ X / T
        F = np.trace(S) / N * np.eye(N)
        best = np.clip(np.vdot(truth - S, F - S) / np.vdot(F - S, F - S), 0, 1)
        loss["oracle"] += np.sum((best * F + (1 - best) * S - truth) ** 2)
        loss["oas"] += np.sum((oas(X, assume_centered=True) - truth) ** 2)
        loss["sample"] += np.sum((S - truth) ** 2)
    assert loss["oracle"] <= loss["oas"] <= 1.05 * loss["oracle"]
    assert loss["oas"] < 0.5 * loss["sample"]


# Correlation of a covariance -----------------------------------------------------


def test_correlation_keeps_labels_and_equals_numpy():
    X = pd.DataFrame(returns(), columns=list("ABCDEF"))
    found = correlation(sample(X))
    pd.testing.assert_frame_equal(found, X.corr(), rtol=1e-12)
    np.testing.assert_allclose(
        correlation(sample(X.to_numpy())), np.corrcoef(X.T), rtol=1e-12
    )
    assert (np.diag(found) == 1.0).all()


def test_correlation_refuses_what_has_none():
    S = sample(pd.DataFrame(returns(), columns=list("ABCDEF")))
    S.loc["C"] = 0.0
    S["C"] = 0.0
    with pytest.raises(ModelError, match=r"variance is zero.*asset C"):
        correlation(S)
    S.loc["C", "D"] = np.nan
    with pytest.raises(DataError, match="C and D"):
        correlation(S)
    with pytest.raises(DataError, match="square"):
        correlation(returns())
    with pytest.raises(DataError, match="not numeric"):
        correlation([["a"]])
