"""Linear shrinkage towards a structured target: Ledoit and Wolf 2003, 2004a, 2004b.

``S* = rho F + (1 - rho) S`` with the asymptotically optimal ``rho``. Conventions are
those of the papers: demeaned data and the divisor T, for S and for every moment.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.covariance._check import column_name, labelled, observations, scaled
from engine.covariance._sample import cross_product
from engine.errors import ModelError, UsageError

Target = Literal["identity", "constant_correlation", "single_index"]


def ledoit_wolf(
    X: Any,
    target: Target = "identity",
    *,
    assume_centered: bool = False,
    shrinkage: float | None = None,
    ddof: int = 0,
    return_shrinkage: bool = False,
) -> Any:
    """Ledoit-Wolf shrinkage covariance.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN.
    target : {"identity", "constant_correlation", "single_index"}
        Scaled identity (2004a, J. Multivariate Analysis 88); constant correlation
        (2004b, "Honey, I shrunk the sample covariance matrix"); one-factor model on
        the equal-weighted mean of the columns (2003, J. Empirical Finance 10).
    assume_centered : bool, default False
        Take the mean to be zero instead of removing it.
    shrinkage : float in [0, 1], optional
        Use this intensity instead of the estimated one.
    ddof : {0, 1}, default 0
        Divisor of the returned matrix, ``T - ddof``: 0 as in the papers and
        scikit-learn; 1 rescales it to the unbiased sample's size. The intensity is
        that of the papers either way.
    return_shrinkage : bool, default False
        Also return the intensity.

    Returns
    -------
    (N, N) array or DataFrame, or (matrix, float)

    Notes
    -----
    Divisor T throughout, as in the papers and scikit-learn; the authors' later code
    divides by T - 1 and gives slightly different intensities. The sum over pairs of
    the fourth moments is ``sum_t (sum_i x_ti^2)^2``, so one symmetric update is all.
    """
    if shrinkage is not None and not 0.0 <= shrinkage <= 1.0:
        raise UsageError("shrinkage must lie in [0, 1]", received=shrinkage)
    if ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=ddof)
    values, labels = observations(X)
    if target not in ("identity", "constant_correlation", "single_index"):
        raise UsageError(
            "unknown shrinkage target",
            received=repr(target),
            expected="identity, constant_correlation or single_index",
        )
    # The intensity needs fourth and sixth powers: in this unit none overflows.
    values, unit = scaled(values)
    Y = values if assume_centered else values - values.mean(axis=0)
    T = Y.shape[0]
    S = cross_product(Y)
    S /= T
    if S.shape[0] == 1:
        result = labelled(S * (unit * unit * T / (T - ddof)), labels)
        return (result, 0.0) if return_shrinkage else result
    if target == "identity":
        F, rho = _identity(Y, S)
    elif target == "constant_correlation":
        F, rho = _constant_correlation(Y, S, labels)
    else:
        F, rho = _single_index(Y, S)
    if shrinkage is not None:
        rho = float(shrinkage)
    size = unit * unit * T / (T - ddof)
    S *= (1.0 - rho) * size
    if isinstance(F, float):
        S.flat[:: S.shape[0] + 1] += rho * F * size
    else:
        F *= rho * size
        S += F
    result = labelled(S, labels)
    return (result, rho) if return_shrinkage else result


def _clip(value: float) -> float:
    return float(min(1.0, max(0.0, value)))


def _intensity(numerator: float, gamma: float, S: np.ndarray, T: int) -> float:
    """``kappa / T`` clipped; one where target and sample differ by rounding only.

    With two assets the constant-correlation target is the sample itself.
    """
    if gamma <= 1e-26 * float(np.vdot(S, S)):
        return 1.0
    return _clip(numerator / gamma / T)


def _identity(Y: np.ndarray, S: np.ndarray) -> tuple[float, float]:
    """Mu of the target mu I; b^2 and d^2 of Ledoit-Wolf 2004a, lemma 3.2-3.4."""
    T, N = Y.shape
    mu = float(np.trace(S)) / N
    frobenius = float(np.vdot(S, S))
    d2 = frobenius - N * mu * mu
    row = np.einsum("ti,ti->t", Y, Y)
    b2 = (float(row @ row) / T - frobenius) / T
    return mu, 1.0 if d2 <= 0 else _clip(min(b2, d2) / d2)


def _constant_correlation(
    Y: np.ndarray, S: np.ndarray, labels: Any
) -> tuple[np.ndarray, float]:
    """Target with the average correlation; appendix A and B of Ledoit-Wolf 2004b."""
    T, N = Y.shape
    variance = np.diagonal(S).copy()
    if (variance <= 0).any():
        raise ModelError(
            "a variance is zero: its correlation is undefined",
            asset=column_name(labels, int(np.argmax(variance <= 0))),
            fix="Leave the asset out, or use target='identity'.",
        )
    sigma = np.sqrt(variance)
    mean_rho = float(((S / np.outer(sigma, sigma)).sum() - N) / (N * (N - 1)))
    F = mean_rho * np.outer(sigma, sigma)
    np.fill_diagonal(F, variance)
    Q = Y * Y
    row = np.einsum("ti,ti->t", Y, Y)
    pi = float(row @ row) / T - float(np.vdot(S, S))
    fourth = Q.T @ Q / T  # E[x_i^2 x_j^2]
    pi_diagonal = float(np.diagonal(fourth).sum() - (variance**2).sum())
    # theta_ii,ij = E[x_i^3 x_j] - s_ii s_ij
    theta = (Q * Y).T @ Y / T - variance[:, None] * S
    np.fill_diagonal(theta, 0.0)
    rho_hat = pi_diagonal + mean_rho * float(
        (theta * np.outer(1.0 / sigma, sigma)).sum()
    )
    gamma = float(((F - S) ** 2).sum())
    return F, _intensity(pi - rho_hat, gamma, S, T)


def _single_index(Y: np.ndarray, S: np.ndarray) -> tuple[np.ndarray, float]:
    """Target b b' s_m^2 + D; appendix of Ledoit-Wolf 2003 with the average as index."""
    T, _ = Y.shape
    market = Y.mean(axis=1)
    s_im = Y.T @ market / T
    s_mm = float(market @ market) / T
    if s_mm <= 0:
        raise ModelError("the average of the columns never moves: no single index")
    F = np.outer(s_im, s_im) / s_mm
    np.fill_diagonal(F, np.diagonal(S))
    Q = Y * Y
    row = np.einsum("ti,ti->t", Y, Y)
    pi = float(row @ row) / T - float(np.vdot(S, S))
    pi_diagonal = float(((Q * Q).sum(axis=0) / T - np.diagonal(S) ** 2).sum())
    Z = Y * market[:, None]
    # Covariances of the entries of S with those of the target, off the diagonal.
    v1 = (Q.T @ Z) / T - s_im[:, None] * S.T
    first = (v1 * s_im[None, :]).sum() - (np.diagonal(v1) * s_im).sum()
    v3 = Z.T @ Z / T - s_mm * S
    second = (v3 * np.outer(s_im, s_im)).sum() - (np.diagonal(v3) * s_im**2).sum()
    rho_hat = pi_diagonal + float(2.0 * first / s_mm - second / s_mm**2)
    gamma = float(((F - S) ** 2).sum())
    return F, _intensity(pi - rho_hat, gamma, S, T)
