"""Covariances and means that the tests of the quadratic optimisers share."""

import numpy as np

from engine.covariance import FactorCovariance


def covariance(seed, N, T=None, scale=0.01):
    """Sample covariance of T returns on one common factor, singular where T <= N."""
    rng = np.random.default_rng(seed)
    T = T or 4 * N + 10
    X = rng.standard_normal((T, 1)) + rng.standard_normal((T, N))
    return np.atleast_2d(np.cov(X.T * scale * rng.uniform(0.5, 2.0, (N, 1))))


def factor_form(seed, N, K):
    """The same kind of market as ``B F B' + D``."""
    rng = np.random.default_rng(seed)
    B = 0.01 * (rng.standard_normal((N, K)) / np.sqrt(K) + (np.arange(K) == 0))
    root = np.eye(K) + 0.1 * rng.standard_normal((K, K))
    return FactorCovariance(B, root @ root.T, rng.uniform(1e-4, 4e-4, N))


def means(seed, N, scale=3e-4):
    return scale * np.random.default_rng([seed, 1]).standard_normal(N)
