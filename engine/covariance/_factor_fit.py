"""The four fits behind `factor_model`: arrays in, loadings and variances out.

Rows ``Y`` are centred and scaled so that the sample covariance is ``S = Y'Y``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.covariance._sample import cross_product
from engine.errors import ModelError, SolverError


class Parts(NamedTuple):
    """``B F B' + D``, and the factor returns as ``f`` or as A: ``f = (x - m) A``."""

    B: np.ndarray
    F: np.ndarray
    specific: np.ndarray
    f: np.ndarray | None = None
    A: np.ndarray | None = None


def leading(Y: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """K largest eigenvalues of ``Y'Y`` and their vectors (N, K), largest first.

    From the smaller of ``Y'Y`` and ``YY'``. A vector whose eigenvalue is rounding of
    the largest is not determined: its eigenvalue is set to zero.
    """
    T, N = Y.shape
    if K == 0:
        return np.zeros(0), np.zeros((N, 0))
    if N <= T:
        values, V = _largest(cross_product(Y), K)
    else:
        values, U = _largest(cross_product(Y.T), K)
        V = (Y.T @ U) / np.sqrt(np.where(values > 0, values, 1.0))
        V[:, values == 0] = 0.0
    return values, V * np.where(V.sum(axis=0) < 0, -1.0, 1.0)


def _largest(G: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """K largest eigenpairs of a symmetric matrix, largest first; rounding is zero."""
    from scipy.linalg import eigh

    m = G.shape[0]
    values, U = eigh(G, subset_by_index=(m - K, m - 1), check_finite=False)
    values, U = values[::-1], U[:, ::-1]
    noise = m * np.finfo(float).eps * values[0] if K else 0.0
    return np.where(values <= noise, 0.0, values), U


def principal_components(Y: np.ndarray, unit: np.ndarray | None, K: int) -> Parts:
    """Leading eigenvectors of ``Y'Y``, or of the correlation ``unit'unit``."""
    total = np.einsum("ti,ti->i", Y, Y)
    values, V = leading(Y if unit is None else unit, K)
    scale = np.ones(total.size) if unit is None else np.sqrt(total)
    B = V * scale[:, None]
    specific = total - (B * B) @ values
    return Parts(B, np.diag(values), specific, A=V / scale[:, None])


def maximum_likelihood(
    Y: np.ndarray, unit: np.ndarray, K: int, floor: float, tolerance: float = 1e-8
) -> Parts:
    """Gaussian factor analysis in correlation units.

    For uniquenesses psi let theta_j, v_j be the eigenpairs of
    ``psi^-1/2 R psi^-1/2``. The best loadings are
    ``psi^1/2 V_K (theta_K - 1)_+^1/2``, and what is left to minimise is
    ``sum ln psi + sum_{j<=K} [ln t_j + theta_j / t_j] + sum_{j>K} theta_j`` with
    ``t_j = max(theta_j, 1)``; its derivative by ``ln psi_i`` is
    ``(Sigma_ii - R_ii) / psi_i``. R may be singular (T <= N).
    """
    from scipy.optimize import minimize

    N = unit.shape[1]
    if (N - K) ** 2 < N + K:
        raise ModelError(
            "more factors than maximum likelihood can tell apart",
            received=f"{K} factors of {N} assets",
            expected="(N - K)^2 >= N + K (Ledermann 1937)",
            fix="Ask for fewer factors, or use method='principal_components'.",
        )
    lowest = max(floor, 1e-6)
    R = cross_product(unit) if N <= unit.shape[0] else None

    def profile(log_psi: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        psi = np.exp(log_psi)
        root = 1.0 / np.sqrt(psi)
        if R is None or K == 0:
            theta, V = leading(unit * root, K)
        else:
            theta, V = _largest(R * np.outer(root, root), K)
        t = np.maximum(theta, 1.0)
        rest = float((1.0 / psi).sum() - theta.sum())
        value = float(log_psi.sum() + (np.log(t) + theta / t).sum()) + rest
        shares = (V * V) @ (t - 1.0)
        return value, 1.0 - 1.0 / psi + shares, V * np.sqrt(t - 1.0)

    values, V = leading(unit, K)
    start = np.log(np.clip(1.0 - (V * V) @ values, max(0.05, lowest), 1.0))
    done: Any = minimize(
        lambda x: profile(x)[:2],
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(np.log(lowest), 0.0)] * N,
        options={
            "maxiter": 5000, "maxfun": 10_000, "maxcor": 30,
            "ftol": 0.0, "gtol": tolerance,
        },
    )  # fmt: skip
    log_psi = np.asarray(done.x)
    _, slope, whitened = profile(log_psi)
    # Stationary: the slope vanishes, or points out of the box.
    step = np.clip(log_psi - slope, np.log(lowest), 0.0) - log_psi
    if np.abs(step).max() > 1e-5:
        raise SolverError(
            "factor analysis did not converge",
            received=f"slope {np.abs(step).max():.1e} after {done.nit} iterations",
            fix="Ask for fewer factors, or use method='principal_components'.",
        )
    psi = np.exp(log_psi)
    total = np.einsum("ti,ti->i", Y, Y)
    sigma = np.sqrt(total)
    B = whitened * (np.sqrt(psi) * sigma)[:, None]
    B *= np.where(B.sum(axis=0) < 0, -1.0, 1.0)
    D = psi * total
    # Bartlett's scores; a factor without loadings has none.
    gram = B.T @ (B / D[:, None])
    A = (B / D[:, None]) @ np.linalg.pinv(gram)
    return Parts(B, np.eye(K), D, A=A)


def time_series(
    rows: Any, f: np.ndarray, names: tuple[str, ...], *, vasicek: bool
) -> Parts:
    """Regress each asset on the factor returns and a constant."""
    T, K = f.shape
    taken = 0 if rows.ddof is None else K + rows.ddof
    if T < K + 2:
        raise ModelError(
            "too few dates to regress on the factors",
            received=f"{T} dates for {K} factors",
            expected=f"at least {K + 2}",
        )
    centre = rows.sum_to_one @ f
    # A constant leaves rounding of its mean behind, not an exact zero.
    G = np.where(np.abs(f - centre) > 1e-13 * np.abs(f).max(axis=0), f - centre, 0.0)
    G *= rows.root[:, None]
    _check_rank(G, names, "a factor never moves or repeats the others")
    B = np.linalg.lstsq(G, rows.Y)[0].T
    F = cross_product(G)
    # From a variance with divisor T - ddof to one with T - K - ddof.
    scale = 1.0 if rows.ddof is None else (T - rows.ddof) / (T - taken)
    specific = ((rows.Y - G @ B.T) ** 2).sum(axis=0) * scale
    if vasicek:
        B = _vasicek(B, F, specific, rows)
        specific = ((rows.Y - G @ B.T) ** 2).sum(axis=0) * scale
    return Parts(B, F, specific, f=f)


def _vasicek(
    B: np.ndarray, F: np.ndarray, specific: np.ndarray, rows: Any
) -> np.ndarray:
    """Posterior mean of each beta under the cross-section as prior (1973)."""
    if B.shape[0] < 2:
        raise ModelError("shrinkage of loadings needs at least two assets")
    n = rows.effective - (0 if rows.ddof is None else rows.ddof)
    error = specific[:, None] * np.diagonal(np.linalg.inv(F))[None, :] / n
    prior, spread = B.mean(axis=0), B.var(axis=0, ddof=1)
    total = spread + error
    trust = np.divide(spread, total, out=np.ones_like(error), where=total > 0)
    return prior + trust * (B - prior)


def cross_section(
    rows: Any, B: np.ndarray, w: np.ndarray, names: tuple[str, ...]
) -> Parts:
    """Regress the assets on their loadings, date by date."""
    N, K = B.shape
    if K >= N:
        raise ModelError(
            "as many factors as assets: nothing is left over",
            received=f"{K} factors of {N} assets",
        )
    root = np.sqrt(w)[:, None]
    _check_rank(root * B, names, "a column of loadings repeats the others")
    A = np.linalg.pinv(root * B).T * root  # f_t = A' x_t
    G = rows.Y @ A
    specific = ((rows.Y - G @ B.T) ** 2).sum(axis=0)
    return Parts(B, cross_product(G), specific, f=rows.values @ A)


def _check_rank(G: np.ndarray, names: tuple[str, ...], problem: str) -> None:
    """Refuse collinear columns, naming the first that the ones before it explain."""
    norm = np.sqrt((G * G).sum(axis=0))
    scaled = G / np.where(norm > 0, norm, 1.0)
    pivot = np.abs(np.diagonal(np.linalg.qr(scaled, mode="r")))
    bad = pivot <= 1e-10
    if bad.any():
        k = int(np.argmax(bad))
        raise ModelError(problem, asset=names[k], fix="Leave it out.")
