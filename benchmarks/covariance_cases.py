"""Cases of covariance estimators, against their peers and the least work there is."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, returns


def _sample(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd
    from scipy.linalg import blas

    from engine.covariance import sample

    X = returns(T, N)
    frame = pd.DataFrame(X)
    centred = np.ascontiguousarray(X - X.mean(axis=0))

    def centre_and_update():
        Y = X - X.mean(axis=0)
        S = blas.dsyrk(1.0 / (T - 1), Y.T, lower=0)
        return np.triu(S) + np.triu(S, 1).T

    return {
        "ours": lambda: sample(X),
        "numpy.cov": lambda: np.cov(X.T),
        "pandas": lambda: frame.cov(),
        "centre, dsyrk, mirror": centre_and_update,
        "limit": lambda: blas.dsyrk(1.0 / (T - 1), centred.T, lower=0),
    }


def _ewma(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd
    from riskfolio.src.ParamsEstimation import covar_matrix
    from scipy.linalg import blas
    from skfolio.moments import EWCovariance

    from engine.covariance import ewma

    X = returns(T, N)
    weights = 0.94 ** np.arange(T - 1, -1, -1.0)
    weights /= weights.sum()
    root = np.sqrt(weights)[:, None]
    frame = pd.DataFrame(X)
    peer = EWCovariance(half_life=float(np.log(0.5) / np.log(0.94)), nearest=False)

    def uncentred(last: Any, share: float) -> np.ndarray:
        # They centre; the uncentred moment is their covariance plus the mean's square.
        m = weights @ X
        return share * np.asarray(last) + np.outer(m, m)

    def pandas_last():
        return uncentred(frame.ewm(alpha=0.06).cov(bias=True).iloc[-N:], 1.0)

    def riskfolio():
        unbiased = 1.0 - float(weights @ weights)
        return uncentred(covar_matrix(frame, method="ewma1", d=0.94), unbiased)

    return {
        "ours": lambda: ewma(X),
        "weighted product": lambda: (X * weights[:, None]).T @ X,
        "skfolio": lambda: peer.fit(X).covariance_,
        "pandas": pandas_last,
        "riskfolio-lib": riskfolio,
        "limit": lambda: blas.dsyrk(1.0, (X * root).T, lower=0),
    }


def _score_driven(T: int, N: int) -> dict[str, Thunk]:
    from engine.covariance import ewma

    X = returns(T, N)
    start, decay, dof = max(2 * N, 60), 0.94, 5.0

    def solve_every_day():
        scale = X[:start].T @ X[:start] * ((dof - 2.0) / (dof * start))
        for r in X[start:]:
            w = (dof + N) / (dof + r @ np.linalg.solve(scale, r))
            scale = decay * scale + (1.0 - decay) * w * np.outer(r, r)
        return scale * (dof / (dof - 2.0))

    return {
        "ours": lambda: ewma(X, update="student_t"),
        "NumPy, a system a day": solve_every_day,
    }


def _ledoit_wolf(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd
    from riskfolio.src.ParamsEstimation import covar_matrix
    from scipy.linalg import blas
    from skfolio.moments import LedoitWolf
    from sklearn.covariance import ledoit_wolf as peer

    from engine.covariance import ledoit_wolf

    X = returns(T, N)
    frame = pd.DataFrame(X)
    return {
        "ours": lambda: ledoit_wolf(X),
        "scikit-learn": lambda: peer(X)[0],
        "skfolio": lambda: LedoitWolf().fit(X).covariance_,
        "riskfolio-lib": lambda: covar_matrix(frame, method="ledoit"),
        "limit": lambda: blas.dsyrk(1.0, X.T, lower=0),
    }


def _constant_correlation(T: int, N: int) -> dict[str, Thunk]:
    from scipy.linalg import blas

    from engine.covariance import ledoit_wolf

    X = returns(T, N)

    def by_matrices():
        """The layout of the authors' program: a matrix for every moment."""
        Y = X - X.mean(axis=0)
        S = Y.T @ Y / T
        variance = np.diag(S)
        sigma = np.sqrt(variance)
        outer = np.outer(sigma, sigma)
        r = ((S / outer).sum() - N) / (N * (N - 1))
        F = r * outer
        np.fill_diagonal(F, variance)
        Q = Y * Y
        pi = Q.T @ Q / T - S * S
        theta = (Q * Y).T @ Y / T - variance[:, None] * S
        np.fill_diagonal(theta, 0.0)
        rho = np.trace(pi) + r * (np.outer(1.0 / sigma, sigma) * theta).sum()
        kappa = (pi.sum() - rho) / ((F - S) ** 2).sum()
        share = np.clip(kappa / T, 0.0, 1.0)
        return share * F + (1.0 - share) * S

    return {
        "ours": lambda: ledoit_wolf(X, "constant_correlation"),
        "NumPy, a matrix a moment": by_matrices,
        "limit": lambda: blas.dsyrk(1.0, X.T, lower=0),
    }


def _oas(T: int, N: int) -> dict[str, Thunk]:
    from scipy.linalg import blas
    from skfolio.moments import OAS
    from sklearn.covariance import oas as peer

    from engine.covariance import oas

    X = returns(T, N)

    def scikit_learn():
        return peer(X - X.mean(axis=0), assume_centered=True)[0]

    return {
        "ours": lambda: oas(X, convention="scikit-learn"),
        "scikit-learn": scikit_learn,
        "skfolio": lambda: OAS().fit(X).covariance_,
        "limit": lambda: blas.dsyrk(1.0, X.T, lower=0),
    }


def _nonlinear(T: int, N: int) -> dict[str, Thunk]:
    from engine.covariance import nonlinear_shrinkage

    X = returns(T, N)
    n = T - 1
    c = N / n
    S = np.cov(X.T)

    def tables():
        """The formulas of 2022 with (N, N) tables of pairs."""
        values, V = np.linalg.eigh(np.cov(X.T))
        h = min(c * c, 1 / (c * c)) ** 0.35 / N**0.35
        first = max(0, N - n)
        values[:first] = 0.0
        inverse = 1.0 / values[first:]
        gap = inverse - inverse[:, None]
        bottom = gap * gap + (h * inverse) ** 2
        theta = (inverse * gap / bottom).mean(axis=1)
        square = theta**2 + (h * inverse * inverse / bottom).mean(axis=1) ** 2
        if first:
            null = 1.0 / ((c - 1.0) * inverse.mean())
            delta = np.append(np.full(first, null), 1.0 / (inverse * square))
        else:
            cross = 2 * c * (1 - c) * inverse * theta
            delta = 1.0 / ((1 - c) ** 2 * inverse + cross + c * c * inverse * square)
        delta *= values.sum() / delta.sum()
        return (V * delta) @ V.T

    return {
        "ours": lambda: nonlinear_shrinkage(X),
        "NumPy, tables of pairs": tables,
        "limit": lambda: np.linalg.eigh(S),
    }


def _denoised(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd
    from riskfolio.src.ParamsEstimation import covar_matrix
    from skfolio.moments import DenoiseCovariance

    from engine.covariance import denoised

    # One factor and even noise: the fits differ, the number of factors does not.
    rng = np.random.default_rng(2)
    X = 0.01 * (rng.standard_normal((T, 1)) + rng.standard_normal((T, N)))
    frame, S = pd.DataFrame(X), np.cov(X.T)
    return {
        "ours": lambda: denoised(X),
        "skfolio": lambda: DenoiseCovariance().fit(X).covariance_,
        "riskfolio-lib": lambda: covar_matrix(frame, method="fixed"),
        "limit": lambda: np.linalg.eigh(S),
    }


def _gerber(T: int, N: int) -> dict[str, Thunk]:
    from riskfolio.src.GerberStatistic import gerber_cov_stat1
    from scipy.linalg import blas
    from skfolio.moments import GerberCovariance

    from engine.covariance import gerber

    X = returns(T, N)
    single = X.astype(np.float32)

    def limit():
        blas.ssyrk(1.0, single.T)
        blas.ssyrk(1.0, single.T)

    candidates: dict[str, Thunk] = {
        "ours": lambda: gerber(X),
        "skfolio": lambda: GerberCovariance().fit(X).covariance_,
    }
    if T * N * N <= 10**6:  # 25 s at T 504, N 100
        candidates["riskfolio-lib, gerber1"] = lambda: gerber_cov_stat1(X)
    return candidates | {"limit": limit}


def _gerber_cosine(T: int, N: int) -> dict[str, Thunk]:
    from riskfolio.src.GerberStatistic import gerber_cov_stat2
    from skfolio.moments import GerberCovariance

    from engine.covariance import gerber

    X = returns(T, N)
    peer = GerberCovariance(psd_variant=False)
    candidates: dict[str, Thunk] = {
        "ours": lambda: gerber(X, form="cosine"),
        "riskfolio-lib, gerber2": lambda: gerber_cov_stat2(X),
    }
    if T * N * N <= 10**7:
        candidates["skfolio"] = lambda: peer.fit(X).covariance_
    return candidates


def _pairwise(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd
    from scipy.linalg import blas

    from engine.covariance import pairwise

    X = returns(T, N)
    X[np.random.default_rng(4).random(X.shape) < 0.02] = np.nan
    frame = pd.DataFrame(X)

    def products():
        there = ~np.isnan(X)
        Z = np.where(there, X, 0.0)
        Z = np.where(there, Z - Z.sum(axis=0) / there.sum(axis=0), 0.0)
        W = there.astype(np.float64)
        n, sums = W.T @ W, Z.T @ W
        return (Z.T @ Z - sums * sums.T / n) / (n - 1.0)

    return {
        "ours": lambda: pairwise(X, repair=None),
        "pandas": lambda: frame.cov(),
        "NumPy, three products": products,
        "limit": lambda: blas.dsyrk(1.0, X.T, lower=0),
    }


CASES: tuple[Case, ...] = (
    Case(
        "sample covariance",
        {
            "small": {"T": 60, "N": 8},
            "T 2520, N 100": {"T": 2520, "N": 100},
            "T 2520, N 500": {"T": 2520, "N": 500},
            "T 2520, N 2000": {"T": 2520, "N": 2000},
        },
        _sample,
    ),
    Case(
        "EWMA covariance, last matrix",
        {"small": {"T": 120, "N": 6}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _ewma,
        1e-9,
    ),
    Case(
        "score-driven EWMA covariance",
        {"small": {"T": 150, "N": 6}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _score_driven,
        1e-9,
    ),
    Case(
        "Ledoit-Wolf, identity target",
        {
            "small": {"T": 60, "N": 8},
            "T 2520, N 500": {"T": 2520, "N": 500},
            "T 1260, N 2000": {"T": 1260, "N": 2000},
        },
        _ledoit_wolf,
    ),
    Case(
        "Ledoit-Wolf, constant correlation",
        {"small": {"T": 60, "N": 8}, "T 2520, N 500": {"T": 2520, "N": 500}},
        _constant_correlation,
        1e-9,
    ),
    Case(
        "OAS covariance",
        {"small": {"T": 60, "N": 8}, "T 2520, N 500": {"T": 2520, "N": 500}},
        _oas,
    ),
    Case(
        "nonlinear shrinkage covariance",
        {
            "small": {"T": 60, "N": 8},
            "T 600, N 500": {"T": 600, "N": 500},
            "T 2520, N 500": {"T": 2520, "N": 500},
            "T 252, N 2000": {"T": 252, "N": 2000},
        },
        _nonlinear,
        1e-8,
    ),
    Case(
        "denoised covariance",
        {"small": {"T": 400, "N": 40}, "T 2520, N 500": {"T": 2520, "N": 500}},
        _denoised,
        1e-8,
    ),
    Case(
        "Gerber covariance",
        {
            "small": {"T": 60, "N": 6},
            "T 504, N 20": {"T": 504, "N": 20},
            "T 504, N 100": {"T": 504, "N": 100},
            "T 2520, N 500": {"T": 2520, "N": 500},
        },
        _gerber,
    ),
    Case(
        "Gerber covariance, cosine form",
        {
            "small": {"T": 60, "N": 6},
            "T 504, N 100": {"T": 504, "N": 100},
            "T 2520, N 500": {"T": 2520, "N": 500},
        },
        _gerber_cosine,
    ),
    Case(
        "pairwise-complete covariance, 2% missing",
        {
            "small": {"T": 60, "N": 8},
            "T 2520, N 500": {"T": 2520, "N": 500},
            "T 2520, N 2000": {"T": 2520, "N": 2000},
        },
        _pairwise,
        1e-9,
    ),
)
