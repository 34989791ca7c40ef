"""Windows for the rolling estimators: returns, dates, a loop in extended precision."""

import numpy as np
import pandas as pd

W = 30


def returns(T=150, N=5, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_t(4, (T, N)) + rng.standard_t(4, (T, 1)))


def frame(X):
    dates = pd.bdate_range("2024-01-01", periods=len(X), name="date")
    return pd.DataFrame(X, index=dates, columns=[f"A{i}" for i in range(X.shape[1])])


def loop(X, window=W, step=1, **options):
    """Every window by two passes in extended precision."""
    ddof = options.get("ddof", 1)
    out = []
    for k in range(0, len(X) - window + 1, step):
        Z = X[k : k + window].astype(np.longdouble)
        n = window
        if not options.get("assume_centered"):
            Z, n = Z - Z.mean(axis=0), window - ddof
        out.append(Z.T @ Z / n)
    return np.array(out)


def relative(got, exact):
    """Largest error in units of the volatilities; rows without variance must be 0."""
    sigma = np.sqrt(np.einsum("kii->ki", exact))
    sigma = np.where(sigma > 0, sigma, 1.0)
    return float((np.abs(got - exact) / sigma[:, :, None] / sigma[:, None, :]).max())


def copy(row, matrix):
    return matrix.copy()
