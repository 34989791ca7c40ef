"""Oracle approximating shrinkage towards a scaled identity."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.covariance._check import labelled
from engine.covariance._sample import products
from engine.errors import UsageError


def oas(
    X: Any,
    *,
    assume_centered: bool = False,
    convention: Literal["paper", "scikit-learn"] = "paper",
    return_shrinkage: bool = False,
) -> Any:
    """Oracle approximating shrinkage (Chen, Wiesel, Eldar, Hero 2010, eq. 23).

    ``(1 - rho) S + rho tr(S)/N I`` with, for T observations,
    ``rho = min{1, [(1 - 2/N) tr(S^2) + tr(S)^2] / [(T + 1 - 2/N)(tr(S^2) -
    tr(S)^2 / N)]}``.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN.
    assume_centered : bool, default False
        Take the mean to be zero instead of removing it; the divisor of S is T either
        way, as in the paper, which assumes a known mean.
    convention : {"paper", "scikit-learn"}
        scikit-learn leaves out the terms in 2/N, ``[tr(S^2) + tr(S)^2] / [(T + 1)
        (...)]``, which matters for few assets.
    return_shrinkage : bool, default False
        Also return the intensity.

    Returns
    -------
    (N, N) array or DataFrame, or (matrix, float)
        Positive definite where any column moves.
    """
    if convention not in ("paper", "scikit-learn"):
        raise UsageError(
            "unknown convention",
            received=repr(convention),
            expected="paper or scikit-learn",
        )
    least = 1 if assume_centered else 2
    Y, S, unit, labels = products(X, minimum=least, about_zero=assume_centered)
    T, N = Y.shape
    S /= T
    trace, square = float(np.trace(S)), float(np.vdot(S, S))
    dropped = 2.0 / N if convention == "paper" else 0.0
    apart = square - trace**2 / N
    rho = 1.0
    if apart > 1e-14 * square:
        upper = (1.0 - dropped) * square + trace**2
        rho = min(1.0, upper / ((T + 1.0 - dropped) * apart))
    S *= 1.0 - rho
    S.flat[:: N + 1] += rho * trace / N
    S *= unit * unit
    result = labelled(S, labels)
    return (result, rho) if return_shrinkage else result
