"""Covariance estimators beside pandas, scikit-learn, skfolio, riskfolio and BLAS."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, returns

_HALF_LIFE = float(np.log(0.5) / np.log(0.94))


def _sample(T: int, N: int) -> dict[str, Thunk]:
    from scipy.linalg import blas

    from engine.covariance import sample

    X = returns(T, N)

    def limit():
        centred = X - X.mean(axis=0)
        return blas.dsyrk(1.0 / (T - 1), centred.T, lower=0)

    return {
        "ours": lambda: sample(X),
        "numpy.cov": lambda: np.cov(X.T),
        "limit": limit,  # centre, then one triangle
    }


def _ewma(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd
    from skfolio.moments import EWCovariance

    from engine.covariance import ewma

    X = returns(T, N)
    weights = 0.94 ** np.arange(T - 1, -1, -1.0)
    weights /= weights.sum()
    root = np.sqrt(weights)[:, None]
    frame = pd.DataFrame(X)
    # pandas and riskfolio-lib remove the weighted mean.
    m = weights @ X
    shift = np.outer(m, m)

    def pandas_last():
        return frame.ewm(alpha=0.06).cov(bias=True).iloc[-N:].to_numpy() + shift

    def riskfolio():
        from riskfolio import covar_matrix

        found = covar_matrix(frame, method="ewma1", d=0.94)
        return np.asarray(found) * (1.0 - (weights**2).sum()) + shift

    return {
        "ours": lambda: ewma(X),
        "weighted product": lambda: (X * root).T @ (X * root),
        "skfolio": lambda: EWCovariance(half_life=_HALF_LIFE).fit(X).covariance_,
        "pandas.ewm": pandas_last,
    } | ({"riskfolio-lib": riskfolio} if N <= 100 else {})


def _ledoit_wolf(T: int, N: int, riskfolio: bool = False) -> dict[str, Thunk]:
    import pandas as pd
    from scipy.linalg import blas
    from skfolio.moments import LedoitWolf
    from sklearn.covariance import ledoit_wolf as peer

    from engine.covariance import ledoit_wolf

    X = returns(T, N)
    candidates: dict[str, Thunk] = {
        "ours": lambda: ledoit_wolf(X),
        "scikit-learn": lambda: peer(X)[0],
        "skfolio": lambda: LedoitWolf().fit(X).covariance_,
        "limit": lambda: blas.dsyrk(1.0, X.T, lower=0),
    }
    if riskfolio:
        from riskfolio import covar_matrix

        frame = pd.DataFrame(X)
        candidates["riskfolio-lib"] = lambda: np.asarray(
            covar_matrix(frame, method="ledoit")
        )
    return candidates


def _oas(T: int, N: int) -> dict[str, Thunk]:
    from sklearn.covariance import oas as peer

    from engine.covariance import oas

    X = returns(T, N)
    return {
        "ours": lambda: oas(X, convention="scikit-learn"),
        "scikit-learn": lambda: peer(X)[0],
    }


def _nonlinear(T: int, N: int) -> dict[str, Thunk]:
    from engine.covariance import nonlinear_shrinkage

    X = returns(T, N)

    def limit():  # what any eigenvalue estimator does: product, spectrum, product
        Y = X - X.mean(axis=0)
        values, vectors = np.linalg.eigh(Y.T @ Y / (T - 1))
        root = vectors * np.sqrt(values)
        return root @ root.T

    return {"ours": lambda: nonlinear_shrinkage(X), "limit": limit}


def _nonlinear_eigh(T: int, N: int) -> dict[str, Thunk]:
    candidates = _nonlinear(T, N)
    S = np.cov(returns(T, N).T)
    return candidates | {"limit": lambda: np.linalg.eigh(S)}


def _gerber(T: int, N: int) -> dict[str, Thunk]:
    from riskfolio.src.GerberStatistic import gerber_cov_stat2

    from engine.covariance import gerber

    X = returns(T, N)
    signs = np.sign(X).astype(np.float32)
    return {
        "ours": lambda: gerber(X, form="cosine"),
        "riskfolio-lib gerber2": lambda: gerber_cov_stat2(X, 0.5),
        "limit": lambda: (signs.T @ signs, signs.T @ signs),  # two products
    }


def _gerber_modified(T: int, N: int) -> dict[str, Thunk]:
    from skfolio.moments import GerberCovariance

    from engine.covariance import gerber

    X = returns(T, N)
    # skfolio scales the same statistic by other volatilities.
    sigma = X.std(axis=0)

    def correlation(S: Any) -> Any:
        s = np.sqrt(np.diagonal(S))
        return S / np.outer(s, s)

    return {
        "ours": lambda: correlation(gerber(X)) * np.outer(sigma, sigma),
        "skfolio": lambda: (
            correlation(
                GerberCovariance(psd_variant=True, nearest=False).fit(X).covariance_
            )
            * np.outer(sigma, sigma)
        ),
    }


def _pairwise(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.covariance import pairwise

    X = returns(T, N)
    X[np.random.default_rng(5).random(X.shape) < 0.02] = np.nan
    frame = pd.DataFrame(X)

    def three_products():
        M = np.isfinite(X)
        Z = np.where(M, X - np.nanmean(X, axis=0), 0.0)
        single = M.astype(np.float32)
        n = (single.T @ single).astype(np.float64)
        sums = Z.T @ M.astype(np.float64)
        return (Z.T @ Z - sums * sums.T / n) / (n - 1)

    return {
        "ours": lambda: pairwise(X, repair=None),
        "pandas": lambda: frame.cov().to_numpy(),
        "three BLAS products": three_products,
    }


CASES = (
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
        "EWMA covariance, last date",
        {"small": {"T": 60, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _ewma,
        1e-9,
    ),
    Case(
        "Ledoit-Wolf",
        {
            "small": {"T": 60, "N": 8},
            "T 2520, N 500": {"T": 2520, "N": 500, "riskfolio": True},
            "T 1260, N 2000": {"T": 1260, "N": 2000, "riskfolio": True},
        },
        _ledoit_wolf,
    ),
    Case("OAS", {"small": {"T": 60, "N": 8}, "T 2520, N 500": {"T": 2520, "N": 500}},
         _oas),
    Case(
        "nonlinear shrinkage, beside product, spectrum, product",
        {"small": {"T": 60, "N": 8}, "T 2520, N 500": {"T": 2520, "N": 500}},
        _nonlinear,
    ),
    Case(
        "nonlinear shrinkage, beside one eigh",
        {"small": {"T": 60, "N": 8}, "T 600, N 500": {"T": 600, "N": 500}},
        _nonlinear_eigh,
    ),
    Case(
        "Gerber covariance, cosine form",
        {
            "small": {"T": 60, "N": 5},
            "T 504, N 100": {"T": 504, "N": 100},
            "T 2520, N 500": {"T": 2520, "N": 500},
        },
        _gerber,
    ),
    Case(
        "Gerber covariance",
        {
            "small": {"T": 60, "N": 5},
            "T 504, N 100": {"T": 504, "N": 100},
            "T 2520, N 500": {"T": 2520, "N": 500},
        },
        _gerber_modified,
        1e-8,
    ),
    Case(
        "pairwise-complete covariance, 2% missing",
        {
            "small": {"T": 60, "N": 5},
            "T 2520, N 500": {"T": 2520, "N": 500},
            "T 2520, N 2000": {"T": 2520, "N": 2000},
        },
        _pairwise,
        1e-8,
    ),
)  # fmt: skip
