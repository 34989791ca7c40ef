"""Black-Litterman: equilibrium means, moved by views as far as they are believed.

    Pi     = delta Sigma w_m                                  (implied by the market)
    mu     = Pi + tau Sigma P' (P tau Sigma P' + Omega)^-1 (Q - P Pi)
    Sigma* = Sigma + tau Sigma - tau Sigma P' (P tau Sigma P' + Omega)^-1 P tau Sigma

(He and Litterman 1999, equations 8 to 10.) All are annual and in excess of cash. A view
with confidence c has ``omega = (1 - c) / c * tau p' Sigma p`` (Walters 2014): certain
at 1, He and Litterman's own at one half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.errors import UsageError
from engine.model import ReturnModel


def black_litterman(
    model: ReturnModel,
    views: Mapping[str, float] | Sequence[tuple[Mapping[str, float], float]] = (),
    confidences: float | Sequence[float] = 0.5,
    *,
    market_weights: Mapping[str, float],
    risk_aversion: float = 2.5,
    tau: float = 0.05,
    posterior_covariance: bool = True,
) -> ReturnModel:
    """Return the model with Black-Litterman means in place of its own.

    Parameters
    ----------
    model : ReturnModel
        Its covariance is the prior; its mean is not used.
    views : mapping, or sequence of (mapping, float)
        An asset and its excess return a year; or a portfolio (weights by asset, which
        sum to zero for a relative view) and its excess return a year.
    confidences : float or sequence, default 0.5
        In (0, 1], one for all or one for each view.
    market_weights : mapping
        By asset; those left out have weight zero.
    risk_aversion : float, default 2.5
        Delta, of the market (He and Litterman 1999).
    tau : float, default 0.05
        Uncertainty of the equilibrium means relative to the covariance (the same).
    posterior_covariance : bool, default True
        Add the uncertainty of the means to the covariance.

    Returns
    -------
    ReturnModel
        ``mean_kind "given"``: excess means plus the cash rate, as log or simple
        returns per period like the model's own.

    Raises
    ------
    UsageError
        A view on an unknown asset, numbers that are not finite, a confidence outside
        (0, 1].
    """
    for name, value in (("risk_aversion", risk_aversion), ("tau", tau)):
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} must be positive", received=value)
    w = _row(market_weights, model.assets, "market_weights")
    Sigma = model.dense_covariance() * model.periods_per_year
    P, Q = _rows(views, model.assets)
    c = _confidences(confidences, len(Q))
    mu = risk_aversion * Sigma @ w
    if len(Q):
        spread = tau * P @ Sigma @ P.T
        own = np.diagonal(spread)
        if not (own > 0).all():
            raise UsageError(
                "a view on a portfolio without risk",
                received=f"view {int(np.argmin(own))}",
            )
        Omega = np.diag((1.0 - c) / c * own)
        gain = np.linalg.lstsq(spread + Omega, tau * P @ Sigma, rcond=None)[0].T
        mu = mu + gain @ (Q - P @ mu)
        if posterior_covariance:
            Sigma = (1.0 + tau) * Sigma - gain @ (tau * P @ Sigma)
    elif posterior_covariance:
        Sigma = (1.0 + tau) * Sigma
    Sigma = 0.5 * (Sigma + Sigma.T)
    covariance = (
        Sigma / model.periods_per_year if posterior_covariance else model.covariance
    )
    total = model.cash_rate + mu
    if model.return_kind == "log":
        if (total <= -1.0).any():
            i = int(np.argmin(total))
            raise UsageError(
                "a posterior mean loses everything",
                received=f"{model.assets[i]}: {total[i]:.1%} a year",
                fix="Check the views: they are decimals a year.",
            )
        variance = np.diagonal(Sigma) / model.periods_per_year
        mean = np.log1p(total) / model.periods_per_year - 0.5 * variance
    else:
        mean = total / model.periods_per_year
    return replace(
        model,
        mean=mean,
        covariance=covariance,
        mean_kind="given",
        estimator=f"{model.estimator}, Black-Litterman".lstrip(", "),
        notes=(*model.notes, f"Black-Litterman: {len(Q)} views, tau {tau:g}"),
    )


def _row(weights: Any, assets: tuple[str, ...], name: str) -> np.ndarray:
    if not isinstance(weights, Mapping):
        raise UsageError(f"{name} is a mapping by asset", received=repr(weights))
    unknown = [k for k in weights if k not in assets]
    if unknown:
        raise UsageError(
            f"{name} names an asset that the model does not have", received=unknown[0]
        )
    row = np.array([float(weights.get(a, 0.0)) for a in assets])
    if not np.isfinite(row).all() or not row.any():
        raise UsageError(f"{name} holds no finite weight", received=repr(weights))
    return row


def _rows(views: Any, assets: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(views, Mapping):
        views = [({asset: 1.0}, value) for asset, value in views.items()]
    views = list(views)
    P = np.array([_row(p, assets, "a view") for p, _ in views]).reshape(-1, len(assets))
    Q = np.array([float(q) for _, q in views])
    if not np.isfinite(Q).all():
        raise UsageError("a view is not a number", received=Q[~np.isfinite(Q)][0])
    return P, Q


def _confidences(given: Any, n: int) -> np.ndarray:
    c = (
        np.broadcast_to(np.asarray(given, dtype=np.float64), (n,))
        if (np.ndim(given) == 0 or len(given) == n)
        else None
    )
    if c is None:
        raise UsageError(
            "one confidence for each view", received=len(given), expected=n
        )
    if not ((c > 0) & (c <= 1)).all():
        raise UsageError("a confidence lies in (0, 1]", received=float(c.min()))
    return c
