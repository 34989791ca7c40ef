"""Linear shrinkage towards a structured target: Ledoit and Wolf 2003, 2004a, 2004b.

``S* = rho F + (1 - rho) S`` with the asymptotically optimal ``rho``. Conventions are
those of the papers: demeaned data and the divisor T, for S and for every moment. Sums
over pairs of fourth moments are sums over dates of products of sums over assets, so
that S is the only product of matrices.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix
from engine.covariance._check import column_name, labelled
from engine.covariance._sample import products
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
        Divisor n = T - ddof of S and of every moment in the intensity: 0 as in the
        papers and scikit-learn, 1 as in the authors' published programs. Without
        demeaning (``assume_centered``) n is T.
    return_shrinkage : bool, default False
        Also return the intensity.

    Returns
    -------
    (N, N) array or DataFrame, or (matrix, float)
        Symmetric positive semi-definite; per period.

    Raises
    ------
    ModelError
        Fewer than two observations; a column that never moves under
        ``constant_correlation`` (it is named); an average that never moves under
        ``single_index``.

    Notes
    -----
    With the identity target the result is positive definite where any column moves and
    the intensity is above zero; repeated columns stay singular under the others. One
    symmetric product of (T, N) is nearly all the work, for each target.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).standard_normal((60, 3)) * 0.01
    >>> S = ledoit_wolf(X)
    >>> S.shape, bool(np.linalg.eigvalsh(S)[0] > 0)
    ((3, 3), True)
    """
    if shrinkage is not None and not 0.0 <= shrinkage <= 1.0:
        raise UsageError("shrinkage must lie in [0, 1]", received=shrinkage)
    if ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=ddof)
    if target not in ("identity", "constant_correlation", "single_index"):
        raise UsageError(
            "unknown shrinkage target",
            received=repr(target),
            expected="identity, constant_correlation or single_index",
        )
    Y, S, unit, labels = products(X, minimum=2, about_zero=assume_centered)
    n = Y.shape[0] - (0 if assume_centered else ddof)
    S /= n
    if S.shape[0] == 1:
        result = labelled(S * unit * unit, labels)
        return (result, 0.0) if return_shrinkage else result
    apart: float | Matrix  # target less sample, or the scalar of the identity target
    if target == "identity":
        apart, rho = _identity(Y, S, n)
    elif target == "constant_correlation":
        apart, rho = _constant_correlation(Y, S, n, labels)
    else:
        apart, rho = _single_index(Y, S, n)
    if shrinkage is not None:
        rho = float(shrinkage)
    if isinstance(apart, float):
        S *= 1.0 - rho
        S.flat[:: S.shape[0] + 1] += rho * apart
    else:
        apart *= rho
        S += apart
    if unit != 1.0:
        S *= unit * unit
    result = labelled(S, labels)
    return (result, rho) if return_shrinkage else result


def _clip(value: float) -> float:
    return float(min(1.0, max(0.0, value)))


def _intensity(numerator: float, gamma: float, S: Matrix, n: int) -> float:
    """``kappa / n`` clipped; one where target and sample differ by rounding only.

    With two assets the constant-correlation target is the sample itself.
    """
    if gamma <= 1e-26 * float(np.vdot(S, S)):
        return 1.0
    return _clip(numerator / gamma / n)


def _pi(row: np.ndarray, S: Matrix, n: int) -> float:
    """``sum_ij Var(x_i x_j)``; row is ``sum_i x_ti^2`` by date."""
    return float(row @ row) / n - float(np.vdot(S, S))


def _identity(Y: Matrix, S: Matrix, n: int) -> tuple[float, float]:
    """Mu of the target mu I; b^2 and d^2 of Ledoit-Wolf 2004a, lemma 3.2-3.4."""
    N = S.shape[0]
    mu = float(np.trace(S)) / N
    d2 = float(np.vdot(S, S)) - N * mu * mu
    row = np.einsum("ti,ti->t", Y, Y)
    b2 = _pi(row, S, n) / n
    return mu, 1.0 if d2 <= 0 else _clip(min(b2, d2) / d2)


def _constant_correlation(
    Y: Matrix, S: Matrix, n: int, labels: Any
) -> tuple[Matrix, float]:
    """Target with the average correlation; appendix A and B of Ledoit-Wolf 2004b."""
    N = S.shape[0]
    variance = np.diagonal(S).copy()
    if (variance <= 0).any():
        raise ModelError(
            "a variance is zero: its correlation is undefined",
            asset=column_name(labels, int(np.argmax(variance <= 0))),
            fix="Leave the asset out, or use target='identity'.",
        )
    sigma = np.sqrt(variance)
    inverse = 1.0 / sigma
    mean_rho = (float(inverse @ S @ inverse) - N) / (N * (N - 1))
    Q = Y * Y
    row = Q.sum(axis=1)
    pi_diagonal = np.einsum("ti,ti->i", Q, Q) / n - variance**2
    # theta_ii,ij = E[x_i^3 x_j] - s_ii s_ij, summed over i != j with s_j / s_i: all
    # pairs, less i = j, where it is pi_ii.
    Q *= Y
    theta = float((Q @ inverse) @ (Y @ sigma)) / n - float(sigma @ S @ sigma)
    rho_hat = pi_diagonal.sum() + mean_rho * (theta - pi_diagonal.sum())
    apart = np.outer(sigma, sigma)
    apart *= mean_rho
    np.fill_diagonal(apart, variance)
    apart -= S
    gamma = float(np.vdot(apart, apart))
    return apart, _intensity(_pi(row, S, n) - float(rho_hat), gamma, S, n)


def _single_index(Y: Matrix, S: Matrix, n: int) -> tuple[Matrix, float]:
    """Target b b' s_m^2 + D; appendix of Ledoit-Wolf 2003 with the average as index."""
    variance = np.diagonal(S)
    market = Y.mean(axis=1)
    s_im = Y.T @ market / n
    s_mm = float(market @ market) / n
    if s_mm <= 0:
        raise ModelError("the average of the columns never moves: no single index")
    Q = Y * Y
    row = Q.sum(axis=1)
    pi_diagonal = np.einsum("ti,ti->i", Q, Q) / n - variance**2
    # Covariances of the entries of S with those of the target: over all pairs, less
    # i = j. With z_t = sum_j s_jm x_tj the sums over pairs are sums over dates.
    z = market * (Y @ s_im)
    total = float(s_im @ S @ s_im)
    second = float(z @ z) / n - s_mm * total
    second -= float((Q.T @ market**2 / n - s_mm * variance) @ s_im**2)
    first = float(row @ z) / n - total
    Q *= Y
    first -= float((Q.T @ market / n - s_im * variance) @ s_im)
    rho_hat = float(pi_diagonal.sum()) + 2.0 * first / s_mm - second / s_mm**2
    apart = np.outer(s_im, s_im)
    apart /= s_mm
    np.fill_diagonal(apart, variance)
    apart -= S
    gamma = float(np.vdot(apart, apart))
    return apart, _intensity(_pi(row, S, n) - rho_hat, gamma, S, n)
