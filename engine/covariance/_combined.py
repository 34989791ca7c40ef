"""Several forecasts combined with weights on evidence: what predicted best of late.

Johansson, Ogut, Pelger, Schmelzer and Boyd (2023), "A simple method for predicting
covariance matrices of financial returns", Foundations and Trends in Econometrics 12.
Write each forecast by the Cholesky factor of its inverse, ``S_k^-1 = L_k L_k'``. The
combination is ``L = sum_k w_k L_k``, and the Gaussian log-likelihood of past returns
under it is concave in w.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.covariance._check import labelled, observations
from engine.covariance._named import checked, cholesky, resolve
from engine.covariance._regimes import ewma_split
from engine.errors import DataError, ModelError, SolverError, UsageError

HALF_LIVES = ((10.0, 21.0), (21.0, 63.0), (63.0, 125.0), (125.0, 250.0), (250.0, 500.0))
"""Half-lives of volatility and of correlation of the five forecasts in the paper."""


class Iterated:
    """One iterated EWMA with its half-lives: a function that pickles and has a name."""

    def __init__(self, vol_half_life: float, corr_half_life: float) -> None:
        self.vol_half_life = vol_half_life
        self.corr_half_life = corr_half_life
        self.__name__ = f"ewma {vol_half_life:g}/{corr_half_life:g}"

    def __call__(self, X: Any) -> Any:
        """Covariance (N, N) of the observations (T, N)."""
        return ewma_split(
            X,
            vol_half_life=self.vol_half_life,
            corr_half_life=self.corr_half_life,
            iterated=True,
        )


def combined(X: Any, estimators: Any = None, *, lookback: int = 10) -> Any:
    """Forecasts combined by what they would have predicted of late.

    For each of the last ``lookback`` dates every estimator is fitted to the dates
    before it; `evidence_weights` then maximises the likelihood of those dates.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first, mean taken as zero; no NaN.
    estimators : sequence of names or callables, or mapping, optional
        As in `compare`; each must give a positive definite matrix. By default the five
        iterated EWMAs of the paper, half-lives 10/21 to 250/500, which need more dates
        than assets.
    lookback : int, default 10
        Dates on which the weights are judged; the paper's choice for daily data.

    Returns
    -------
    (N, N) array or DataFrame
        ``(L L')^-1``: symmetric positive definite, per period.

    Raises
    ------
    ModelError
        Too few dates, or a forecast without an inverse.
    """
    L, _, labels = _combine(X, estimators, lookback)
    from scipy.linalg import solve_triangular

    inverse = solve_triangular(L, np.eye(L.shape[0]), lower=True)
    return labelled(inverse.T @ inverse, labels)


def combination_weights(
    X: Any, estimators: Any = None, *, lookback: int = 10
) -> dict[str, float]:
    """Weights that `combined` gives each estimator, by name.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
    estimators, lookback
        As in `combined`.

    Returns
    -------
    dict of str to float
        Not negative, sum one.
    """
    _, weights, _ = _combine(X, estimators, lookback)
    return weights


def _combine(X: Any, estimators: Any, lookback: int) -> tuple[np.ndarray, dict, Any]:
    if isinstance(lookback, bool) or int(lookback) != lookback or lookback < 1:
        raise UsageError("lookback must be a whole number from 1", received=lookback)
    values, labels = observations(X, minimum=2)
    T, N = values.shape
    if T - lookback < 2:
        raise ModelError(
            "too few dates before those that judge the weights",
            received=f"{T} dates, lookback {lookback}",
            expected=f"at least {lookback + 2} dates",
        )
    if estimators is None:
        estimators = [Iterated(*h) for h in HALF_LIVES]
    found = resolve(estimators)
    K = len(found)
    diagonals = np.empty((lookback, N, K))
    whitened = np.empty((lookback, N, K))
    last = np.empty((K, N, N))
    for k, (name, estimator) in enumerate(found.items()):
        for j in range(lookback + 1):
            t = T - lookback + j
            try:
                root = _inverse_root(checked(estimator(values[:t].copy()), N))
            except ModelError as error:
                raise ModelError(
                    f"the forecast {name} cannot be combined: {error}",
                    received=f"{t} dates, {N} assets",
                    fix="Leave it out, or shrink it.",
                ) from error
            if j == lookback:
                last[k] = root
            else:
                diagonals[j, :, k] = np.diagonal(root)
                whitened[j, :, k] = root.T @ values[t]
    w = evidence_weights(diagonals.reshape(-1, K), whitened.reshape(-1, K))
    L = np.tensordot(w, last, axes=1)
    return L, dict(zip(found, (float(v) for v in w), strict=True)), labels


def _inverse_root(S: np.ndarray) -> np.ndarray:
    """Lower triangular L with ``L L' = S^-1``, without forming the inverse.

    Reversing rows and columns turns a lower Cholesky factor into an upper one: with
    ``S = U U'``, ``S^-1 = U^-T U^-1`` and ``L = U^-T``.
    """
    from scipy.linalg import solve_triangular

    U = cholesky(S[::-1, ::-1])[::-1, ::-1]
    return solve_triangular(U, np.eye(S.shape[0]), lower=False).T


def evidence_weights(
    diagonals: np.ndarray, whitened: np.ndarray, *, tolerance: float = 1e-9
) -> np.ndarray:
    """Weights w on the simplex that maximise the likelihood of past dates.

    ``max sum_m ln(C_m w) - 1/2 ||A w||^2``: column k of C holds the diagonals of the
    factors ``L_k`` of all dates, column k of A the products ``L_k' r``. Newton steps on
    a logarithmic barrier; the gap ``max_k g_k - g'w`` bounds how far the objective,
    which is concave, lies below its maximum.

    Parameters
    ----------
    diagonals, whitened : (M, K) float64
        C, positive, and A; M dates times assets.
    tolerance : float, default 1e-9
        Largest gap per row.

    Returns
    -------
    (K,) float64
        Not negative, sum one.
    """
    C = np.asarray(diagonals, dtype=np.float64)
    A = np.asarray(whitened, dtype=np.float64)
    if C.ndim != 2 or C.shape != A.shape or not C.size:
        raise DataError(
            "diagonals and whitened returns must be tables of one shape",
            received=f"{C.shape} and {A.shape}",
        )
    if not (np.isfinite(C).all() and np.isfinite(A).all() and (C > 0).all()):
        raise DataError("diagonals must be positive, and all values finite")
    M, K = C.shape
    P = A.T @ A / M

    def objective(w: np.ndarray, barrier: float) -> float:
        return float(np.log(C @ w).mean() - 0.5 * w @ P @ w + barrier * np.log(w).sum())

    def gradient(w: np.ndarray) -> np.ndarray:
        return C.T @ (1.0 / (C @ w)) / M - P @ w

    w = np.full(K, 1.0 / K)
    barrier = 0.1
    gap = np.inf
    for _ in range(400):
        g = gradient(w)
        gap = float(g.max() - g @ w)
        if gap <= tolerance:
            return w
        scaled = C / (C @ w)[:, None]
        # In units of w itself the barrier's curvature is one: well conditioned.
        H = (scaled.T @ scaled / M + P) * np.outer(w, w) + barrier * np.eye(K)
        slope = g * w + barrier
        solved = np.linalg.solve(H, np.column_stack([slope, w]))
        step = solved[:, 0] - solved[:, 1] * (w @ solved[:, 0]) / (w @ solved[:, 1])
        decrement = float(slope @ step)
        length = min(1.0, 0.95 / max(float(-step.min()), 0.95))
        now = objective(w, barrier)
        while length > 1e-10:
            trial = w * (1.0 + length * step)
            if objective(trial, barrier) >= now + 1e-4 * length * decrement - 1e-15:
                w = trial / trial.sum()
                break
            length *= 0.5
        if decrement <= barrier:
            barrier = max(barrier * 0.1, 1e-14)
    raise SolverError(
        "the weights of the combined forecast did not converge",
        received=f"gap {gap:.1e} per row",
    )
