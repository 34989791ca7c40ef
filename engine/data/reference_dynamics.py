"""Volatility dynamics of the reference market: GARCH, tails and the common regime.

Grids throughout, by likelihood and, where that leaves the size of crises almost
undetermined, by the moments of simulated paths (see `engine.data.reference_fit`).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from engine.data._reference import standardised_panel
from engine.data.reference_resemblance import square_moments

LARGEST_POWER = 1.0  # beyond it one crisis decides a decade's volatility
DEGREES = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 9.0, 12.0, 30.0)


def garch_variance(
    Y: np.ndarray, alpha: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """Conditional variances (T, M) of unit-variance Y (T, M); NaN leaves h as is."""
    omega = 1.0 - alpha - 0.5 * gamma - beta
    h = np.ones_like(Y)
    for t in range(1, len(Y)):
        y2 = Y[t - 1] ** 2
        step = omega + (alpha + gamma * (Y[t - 1] < 0)) * y2 + beta * h[t - 1]
        h[t] = np.where(np.isfinite(y2), step, h[t - 1])
    return h


def t_log_likelihood(Y: np.ndarray, h: np.ndarray, nu: float) -> np.ndarray:
    """Mean log-likelihood (M,) of Student-t innovations scaled to unit variance."""
    norm = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
    norm -= 0.5 * math.log(math.pi * (nu - 2))
    terms = norm - 0.5 * np.log(h) - (nu + 1) / 2 * np.log1p(Y**2 / h / (nu - 2))
    return np.nanmean(terms, axis=0)


def match_market(x: np.ndarray, *, nats: float = 6.0, paths: int = 48) -> np.ndarray:
    """Alpha, gamma, beta, nu and a zero power for the market factor x (T,).

    The likelihood is nearly flat along a ridge on which crises differ a great deal.
    Among the grid points within ``nats`` of the best, take the one whose simulated
    kurtosis and autocorrelations of squares (medians over paths) lie nearest to those
    observed, in units of roughly one sampling error each.
    """
    X, ones, found = x[:, None], np.ones(1), []
    alphas, gammas = (0.01, 0.04, 0.08, 0.12), (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    for alpha, gamma in itertools.product(alphas, gammas):
        for total in (0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99):
            beta = total - alpha - gamma / 2
            if beta < 0:
                continue
            h = garch_variance(X, alpha * ones, gamma * ones, beta * ones)
            for nu in DEGREES[4:-1]:
                value = float(t_log_likelihood(X, h, nu)[0]) * x.size
                found.append((value, alpha, gamma, beta, nu))
    table = np.array(found)
    table = table[table[:, 0] > table[:, 0].max() - nats]
    rng = np.random.Generator(np.random.Philox(key=0))
    normal = rng.standard_normal((x.size, 1, paths))
    nu = table[:, 4, None]
    draws = normal * np.sqrt(
        (nu - 2) / (2 * rng.standard_gamma(nu / 2, (x.size, len(table), paths)))
    )
    alpha, gamma, beta = (table[:, k, None] for k in (1, 2, 3))
    omega, h = 1.0 - alpha - gamma / 2 - beta, np.ones((len(table), paths))
    for t in range(x.size):
        draws[t] *= np.sqrt(h)
        h = omega + (alpha + gamma * (draws[t] < 0)) * draws[t] ** 2 + beta * h
    simulated = np.median(square_moments(draws), axis=2).T
    scale = np.array([0.25, 0.1, 0.1, 0.05])
    gap = (((simulated - square_moments(X)[:, 0]) / scale) ** 2).sum(axis=1)
    return np.append(table[gap.argmin(), 1:], 0.0)


def match_regime(par: dict[str, Any], real: np.ndarray, *, seeds: int = 6) -> float:
    """Scale every regime power in ``par`` so that the median kurtosis is matched.

    The power of one noisy series on an estimated variance is biased towards zero, and
    an asset adds many series up: without this step, crises hit the market alone.
    ``real`` (N,) are excess kurtoses outside the event. Returns the factor chosen.
    """
    powers = [
        (rows, [row[4] for row in rows])
        for rows in (
            par["factors"]["dynamics"][1:],
            par["anchor_block"]["dynamics"],
            par["early_block"]["factor_dynamics"],
            par["early_block"]["dynamics"],
        )
    ]

    def apply(scale: float) -> None:
        for rows, original in powers:
            for row, power in zip(rows, original, strict=True):
                row[4] = round(min(power * scale, LARGEST_POWER), 4)

    scales = np.arange(1.0, 2.26, 0.25)
    gaps = []
    for scale in scales:
        apply(float(scale))
        made = [
            np.median(standardised_panel(par, seed).kurt()) for seed in range(seeds)
        ]
        gaps.append(abs(np.log(np.median(made) / np.median(real))))
    best = float(scales[np.argmin(gaps)])
    apply(best)
    return best


def regime_powers(X: np.ndarray, regime: np.ndarray) -> np.ndarray:
    """Power (M,) of the market variance (T,) in the variance of each column of X.

    Gaussian quasi-likelihood: a Student-t one would discount the few crisis days that
    say how far all volatilities rise together.
    """
    powers = np.arange(0.0, 1.51, 0.1)
    table = []
    for power in powers:
        scale = np.where(np.isfinite(X), (regime**power)[:, None], np.nan)
        level = np.nanmean(X**2 / scale, axis=0)
        table.append(-np.nanmean(np.log(scale), axis=0) - np.log(level))
    return powers[np.argmax(table, axis=0)]


def fit_dynamics(X: np.ndarray, regime: np.ndarray) -> np.ndarray:
    """Alpha, gamma, beta, nu and the regime power of each column, by grid search.

    Parameters
    ----------
    X : (T, M) float64
        Standardised series; NaN where absent.
    regime : (T,) float64
        The market's conditional variance, mean one.

    Returns
    -------
    (M, 5) float64
        Gamma is zero: volatility answers falls of the market, not of a residual.
    """
    alphas = (0.01, 0.02, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2)
    persistences = (0.6, 0.8, 0.9, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99)
    best = np.full(X.shape[1], -np.inf)
    chosen = np.zeros((X.shape[1], 5))
    chosen[:, 4] = regime_powers(X, regime)
    Y = X / np.sqrt(regime[:, None] ** chosen[:, 4])
    Y = Y / np.sqrt(np.nanmean(Y**2, axis=0))
    ones = np.ones(X.shape[1])
    for alpha, total in itertools.product(alphas, persistences):
        h = garch_variance(Y, alpha * ones, 0.0 * ones, (total - alpha) * ones)
        value = t_log_likelihood(Y, h, 5.0)
        better = value > best
        best = np.where(better, value, best)
        chosen[better, :3] = (alpha, 0.0, total - alpha)
    h = garch_variance(Y, *chosen[:, :3].T)
    table = np.array([t_log_likelihood(Y, h, nu) for nu in DEGREES])
    chosen[:, 3] = np.array(DEGREES)[table.argmax(axis=0)]
    return chosen
