"""What could be said of 27 January 2025: models and the baselines they must beat.

Each predictor is fitted on closes up to 24 January (a view); what it takes from the day
itself stands in its ``seen``: nothing, the move of a factor or of one name, regression
coefficients, or the returns of peers (methods 2.4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from engine.alignment import align
from engine.shocks import CheapModelShock

BASKET = (
    "NVDA", "AVGO", "TSM", "MU", "ANET", "VRT", "ETN", "CEG", "VST", "GEV", "SMCI",
    "DELL", "MRVL", "COHR",
)  # fmt: skip
FEWEST = 60
"""Sessions below which a baseline says nothing of a name."""
_YEAR = 252


class Predictor(NamedTuple):
    """One way to say what each name would do."""

    name: str
    values: np.ndarray
    """(N,) simple returns; NaN where it has nothing to say. Fitted: from all names."""
    seen: str
    """What of the day it has seen."""
    features: np.ndarray | None = None
    """(N, P) regressors of a fitted predictor."""


def structural(universe: Any) -> list[Predictor]:
    """Flat, calibrated, and the same with role midpoints in place of exposures."""
    bare = replace(universe, ai_share=np.full((len(universe), 3), np.nan))

    def moves(u, variant):
        return CheapModelShock("market_view", variant=variant).moves(u).central

    return [
        Predictor("structural, flat", moves(universe, "flat"), "nothing: validation"),
        Predictor(
            "structural, calibrated",
            moves(universe, "calibrated"),
            "multipliers made knowing the day",
        ),
        Predictor(
            "role midpoints, flat",
            moves(bare, "flat"),
            "nothing, but the role bands were written after the day",
        ),
        Predictor(
            "role midpoints, calibrated",
            moves(bare, "calibrated"),
            "multipliers made knowing the day",
        ),
    ]


def baselines(view: Any, names: tuple[str, ...], realised: dict) -> list[Predictor]:
    """Predictors of prices: betas up to the view, factor moves of the day.

    Parameters
    ----------
    view : MarketView
        As of the close before; nothing later enters a coefficient.
    names : tuple of str, length N
    realised : mapping of ticker to float
        Returns of the day, for SPY, NVDA, the basket and the fits.
    """
    aligned = align(view, kind="simple")
    column = {t: j for j, t in enumerate(aligned.tickers)}
    R = aligned.values[-_YEAR:]
    mine = R[:, [column[t] for t in names]]
    spy, nvda = R[:, column["SPY"]], R[:, column["NVDA"]]
    N = len(names)
    beta = np.full(N, np.nan)
    run_up, given, basket_beta, factor = (np.full(N, np.nan) for _ in range(4))
    y = np.array([realised[t] for t in names])
    market = realised["SPY"]
    for i, t in enumerate(names):
        beta[i] = _slopes(mine[:, i], spy)[0]
        own = mine[np.isfinite(mine[:, i]), i]
        if own.size >= FEWEST:
            run_up[i] = np.prod(1.0 + own) - 1.0
        if t != "NVDA":
            b, a = _line(mine[-250:, i], nvda[-250:])
            given[i] = a + b * realised["NVDA"]
        rest = [k for k in BASKET if k != t]
        basket = np.nanmean(R[:, [column[k] for k in rest]], axis=1) - spy
        b_m, b_a = _slopes(mine[-120:, i], spy[-120:], basket[-120:])
        basket_beta[i] = b_a
        day = np.mean([realised[k] for k in rest]) - market
        factor[i] = b_m * market + b_a * day

    def fitted(name, *features):
        X = np.column_stack(features)
        return Predictor(name, fit_line(X, y, X), "coefficients fitted to the day", X)

    return [
        fitted("SPY beta, 252 d (fitted)", beta),
        fitted("12-month return (fitted)", run_up),
        Predictor("Gaussian given NVDA, 250 d", given, "NVDA's move"),
        Predictor("AI-basket replay, 120 d", factor, "moves of SPY and 13-14 names"),
        fitted("basket beta and run-up (fitted)", basket_beta, run_up),
    ]


def same_day(roles: tuple[str, ...], y: np.ndarray) -> Predictor:
    """Mean of the other names of the role on the day itself."""
    role = np.array(roles)
    out = np.full(y.size, np.nan)
    for i in range(y.size):
        others = (role == role[i]) & (np.arange(y.size) != i)
        if others.any():
            out[i] = y[others].mean()
    return Predictor("same-day role mean", out, "the returns of its peers")


def fit_line(X: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Ordinary least squares with a constant, evaluated at rows; NaN stays NaN."""
    ok = np.isfinite(X).all(axis=1) & np.isfinite(y)
    A = np.column_stack([np.ones(ok.sum()), X[ok]])
    c = np.linalg.lstsq(A, y[ok], rcond=None)[0]
    return c[0] + at @ c[1:]


def _line(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Slope and constant; NaN below `FEWEST` common sessions."""
    ok = np.isfinite(y) & np.isfinite(x)
    if ok.sum() < FEWEST:
        return np.nan, np.nan
    slope = np.cov(y[ok], x[ok])[0, 1] / np.var(x[ok], ddof=1)
    return slope, y[ok].mean() - slope * x[ok].mean()


def _slopes(y: np.ndarray, *x: np.ndarray) -> np.ndarray:
    X = np.column_stack(x)
    ok = np.isfinite(y) & np.isfinite(X).all(axis=1)
    if ok.sum() < FEWEST:
        return np.full(len(x), np.nan)
    A = np.column_stack([np.ones(ok.sum()), X[ok]])
    return np.linalg.lstsq(A, y[ok], rcond=None)[0][1:]
