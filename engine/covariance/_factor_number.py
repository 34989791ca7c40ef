"""How many factors: Bai and Ng (2002) and Ahn and Horenstein (2013)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.covariance._check import column_name, observations
from engine.covariance._sample import cross_product
from engine.errors import ModelError, UsageError

Criterion = Literal["bai_ng", "eigenvalue_ratio", "growth_ratio"]
CRITERIA = ("bai_ng", "eigenvalue_ratio", "growth_ratio")


def number_of_factors(
    X: Any, criterion: Criterion = "bai_ng", *, max_factors: int | None = None
) -> int:
    """Number of common factors of a panel of returns.

    With ``mu_1 >= mu_2 >= ...`` the eigenvalues of the sample correlation divided by
    N, ``V(k) = sum_{j>k} mu_j`` and ``m = min(N, T)``:

    ``bai_ng``
        Least ``ln V(k) + k (N + T)/(N T) ln m``: criterion IC_p2 of Bai and Ng (2002,
        Econometrica 70), the most parsimonious of their three.
    ``eigenvalue_ratio``
        Largest ``mu_k / mu_{k+1}`` (Ahn and Horenstein 2013, Econometrica 81), with
        the mock eigenvalue ``mu_0 = V(0) / ln m`` so that none can be found. Finds the
        strong factors only: one, where a market dwarfs the others.
    ``growth_ratio``
        Largest ``ln(1 + mu_k/V(k)) / ln(1 + mu_{k+1}/V(k+1))`` (same paper).

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN. Columns are standardised first, so that
        volatile names do not count more.
    criterion : str, default "bai_ng"
    max_factors : int, optional
        Largest number considered: by default ``max(8, 8 (m/100)^(1/4))`` as in Bai and
        Ng, and at most ``(m - 1) // 2``.

    Returns
    -------
    int
        Between 0 and ``max_factors``.

    Raises
    ------
    UsageError
        Unknown criterion, or ``max_factors`` outside 1 to m - 2.
    ModelError
        Fewer than 4 dates or assets, or a column that never moves.
    """
    values, labels = observations(X, minimum=4)
    Y = values - values.mean(axis=0)
    T = Y.shape[0]
    return choose(standardised(Y, labels), float(T), criterion, max_factors)


def standardised(Y: np.ndarray, labels: Any) -> np.ndarray:
    """Columns of centred (T, N) rows scaled to unit length."""
    norm = np.sqrt(np.einsum("ti,ti->i", Y, Y))
    # A constant column leaves rounding of its mean behind, not an exact zero.
    still = norm <= 1e-14 * np.sqrt(Y.shape[0]) * np.abs(Y).max(initial=0.0)
    still |= norm == 0
    if still.any():
        raise ModelError(
            "a series never moves: it has no correlation",
            asset=column_name(labels, int(np.argmax(still))),
            fix="Leave the asset out, or hold it as cash.",
        )
    return Y / norm


def choose(
    Z: np.ndarray, T: float, criterion: str, max_factors: int | None = None
) -> int:
    """Number of factors of standardised rows ``Z`` with ``Z'Z`` their correlation.

    ``T`` is the number of dates, or the effective number where rows are weighted.
    """
    if criterion not in CRITERIA:
        raise UsageError(
            "unknown criterion for the number of factors",
            received=repr(criterion),
            expected=", ".join(CRITERIA),
        )
    N = Z.shape[1]
    m = min(*Z.shape, int(T))
    if m < 4:
        raise ModelError(
            "too few dates or assets to choose the number of factors",
            received=f"{Z.shape[0]} dates, {N} assets",
            expected="at least 4 of each",
            fix="Give n_factors as a number.",
        )
    if max_factors is None:
        most = min(max(8, int(8 * (m / 100) ** 0.25)), (m - 1) // 2)
    elif (
        isinstance(max_factors, bool)
        or int(max_factors) != max_factors
        or not 1 <= max_factors <= m - 2
    ):
        raise UsageError(
            "max_factors out of range",
            received=max_factors,
            expected=f"a whole number from 1 to {m - 2}",
        )
    else:
        most = int(max_factors)
    G = cross_product(Z) if N <= Z.shape[0] else cross_product(Z.T)
    mu = np.maximum(np.linalg.eigvalsh(G)[::-1], 0.0) / N
    k = np.arange(most + 1)
    # V[j] = what j factors leave; summed from the small end so that it stays positive.
    V = np.append(np.cumsum(mu[::-1])[::-1], 0.0)
    tiny = np.finfo(float).tiny
    if criterion == "bai_ng":
        penalty = (N + T) / (N * T) * np.log(m)
        return int(np.argmin(np.log(np.maximum(V[k], tiny)) + k * penalty))
    mock = np.concatenate([[V[0] / np.log(m)], mu])
    if criterion == "eigenvalue_ratio":
        return int(np.argmax(mock[k] / np.maximum(mock[k + 1], tiny)))
    growth = np.log1p(mock[: most + 2] / np.maximum(V[: most + 2], tiny))
    return int(np.argmax(growth[k] / np.maximum(growth[k + 1], tiny)))
