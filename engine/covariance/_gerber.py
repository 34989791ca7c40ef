"""Gerber statistic: co-movement counted only where both moves are large enough."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix
from engine.covariance._check import centred, column_name, labelled, observations
from engine.covariance._nearest import nearest_correlation
from engine.errors import ModelError, UsageError

_EXACT = 2**24
"""Counts below this are exact in single precision."""
FORMS = ("modified", "original", "cosine")


def gerber(
    X: Any,
    *,
    threshold: float = 0.5,
    form: Literal["modified", "original", "cosine"] = "modified",
    repair: Literal["nearest"] | None = None,
    ddof: int = 0,
) -> Any:
    """Gerber covariance (Gerber, Markowitz, Ernst, Miao, Javid, Sargen 2022).

    A return is *up* at or above ``c s_i``, *down* at or below ``-c s_i``, else neutral,
    on uncentred returns. Over the T dates, with UU, DD, UD, DU the numbers of joint
    moves of a pair and NN of dates on which both are neutral, the correlation is

    - ``modified``: ``(UU + DD - UD - DU) / (T - NN)``, positive semi-definite;
    - ``original``: ``(UU + DD - UD - DU) / (UU + DD + UD + DU)``, which is not;
    - ``cosine``: ``H_ij / sqrt(H_ii H_jj)``, H the numerator (the paper's second
      statistic), positive semi-definite.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN.
    threshold : float, default 0.5
        ``c`` in [0, 1], in standard deviations.
    form : {"modified", "original", "cosine"}
    repair : {"nearest"}, optional
        What to do where ``original`` is not positive semi-definite: the nearest
        correlation, or, by default, an error.
    ddof : {0, 1}, default 0
        Of the standard deviations, which also scale the result.

    Returns
    -------
    (N, N) array or DataFrame

    Raises
    ------
    ModelError
        A column never leaves its band (or never moves); the original form is not
        positive semi-definite; T of 2^24 or more.

    Notes
    -----
    With A the table of signs, two symmetric products in single precision, exact for
    counts below 2^24, give all: ``A'A`` and ``|A|'|A|``.
    """
    if form not in FORMS:
        raise UsageError(
            "unknown form of the Gerber statistic",
            received=repr(form),
            expected=", ".join(FORMS),
        )
    if not 0.0 <= threshold <= 1.0:
        raise UsageError("threshold must lie in [0, 1]", received=threshold)
    if ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=ddof)
    if repair not in (None, "nearest"):
        raise UsageError(
            "unknown repair", received=repr(repair), expected="nearest or None"
        )
    values, labels = observations(X, minimum=2)
    T = values.shape[0]
    if T >= _EXACT:
        raise ModelError("too many dates for exact counts", received=T, expected=_EXACT)
    Y = centred(values)
    sigma = np.sqrt(np.einsum("ti,ti->i", Y, Y) / (T - ddof))
    if (sigma <= 0).any():
        raise ModelError(
            "a column never moves: its correlation is undefined",
            asset=column_name(labels, int(np.argmax(sigma <= 0))),
            fix="Leave the asset out.",
        )
    R = _statistic(values, threshold * sigma, form, labels)
    if form == "original":
        smallest = float(np.linalg.eigvalsh(R)[0])
        # Entries are ratios of counts, right to one rounding: no more is forgiven.
        if smallest < -1e-14 * len(R):
            if repair is None:
                raise ModelError(
                    "the original Gerber statistic is not positive semi-definite here",
                    received=f"smallest eigenvalue {smallest:.2e}",
                    fix="Use form='modified', or repair='nearest'.",
                )
            R = nearest_correlation(R)
    R *= np.outer(sigma, sigma)
    return labelled(R, labels)


def _statistic(values: Matrix, band: np.ndarray, form: str, labels: Any) -> Matrix:
    up = (values >= band).view(np.int8)
    down = (values <= -band).view(np.int8)
    signs = np.subtract(up, down, dtype=np.int8).astype(np.float32)
    # With a band of zero, a return of exactly zero is up and down at once: neutral.
    H = (signs.T @ signs).astype(np.float64)
    moved = np.diagonal(H).copy()  # dates on which each asset left its band
    if (moved <= 0).any():
        raise ModelError(
            "a column never leaves its band",
            asset=column_name(labels, int(np.argmax(moved <= 0))),
            fix="Lower the threshold, or leave the asset out.",
        )
    if form == "cosine":
        H /= np.sqrt(np.outer(moved, moved))
    else:
        np.abs(signs, out=signs)
        both = signs.T @ signs
        if form == "modified":  # T - NN = dates on which at least one moved
            H /= moved[:, None] + moved[None, :] - both
        else:
            H /= np.maximum(both, 1.0)  # never together: no evidence, zero
    np.fill_diagonal(H, 1.0)
    return H
