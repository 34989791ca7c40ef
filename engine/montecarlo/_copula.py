"""Student-t copula with semi-parametric margins.

Margins: the empirical distribution between two thresholds, a generalised Pareto law
beyond each (McNeil and Frey 2000), by maximum likelihood. Dependence: the copula of a
multivariate t (McNeil, Frey and Embrechts 2005), its correlation from
Kendall's tau, its degrees of freedom by pseudo-likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.covariance import nearest_correlation
from engine.data.panel import PricePanel
from engine.data.view import MarketView
from engine.errors import ModelError, UsageError
from engine.montecarlo._common import check_counts
from engine.montecarlo._historical import draw_from, history_of
from engine.montecarlo._laws import root_of
from engine.parallel import BLOCK_SIZE, BlockStream, Executor
from engine.scenarios import ScenarioSet

FEWEST_IN_TAIL = 20
"""Exceedances per tail: below it the standard error of the shape exceeds 0.25."""


class Margin(NamedTuple):
    """One asset: sorted returns, and (count, threshold, shape, scale) of each tail."""

    ordered: np.ndarray
    lower: tuple[int, float, float, float]
    upper: tuple[int, float, float, float]


def copula(
    market: PricePanel | MarketView,
    n_scenarios: int,
    *,
    horizon: int = 21,
    tail: float = 0.1,
    dof: float | None = None,
    frequency: str | None = None,
    window: int | None = 1260,
    mean: str = "zero_excess",
    tickers: Sequence[str] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
    paths: bool = False,
) -> ScenarioSet:
    """Student-t copula with empirical margins and generalised Pareto tails.

    Parameters
    ----------
    market : PricePanel or MarketView
    n_scenarios : int
    horizon
        As in `engine.bootstrap`. Sessions are independent and drawn one by one.
    tail : float, default 0.1
        Share of returns in each tail (McNeil and Frey 2000 use 0.1).
    dof : float, optional
        Of the copula, above 2. Default: by maximum pseudo-likelihood, 2.1 to 60.
    frequency
        As in `engine.bootstrap`.
    window : int or None, default 1260
        Five years: 126 exceedances in each tail.
    mean, tickers, seed, n_jobs, executor, paths
        As in `engine.bootstrap`.

    Returns
    -------
    ScenarioSet
        Equally likely; stamped where a sample mean was kept.

    Raises
    ------
    ModelError
        Fewer than 20 returns in a tail; a tail without a finite mean (shape of one or
        more), naming the asset.
    """
    check_counts(n_scenarios, horizon)
    if not 0.0 < tail < 0.5:
        raise UsageError("the share of each tail lies in (0, 0.5)", received=tail)
    if dof is not None and not 2.0 < dof < np.inf:
        raise UsageError("degrees of freedom must exceed 2 and be finite", received=dof)
    history = history_of(
        market, frequency=frequency, window=window, mean=mean, tickers=tickers
    )
    X = history.X
    margins = [
        _margin(X[:, i], tail, history.model.assets[i]) for i in range(X.shape[1])
    ]
    R = _tau_correlation(X)
    nu = _copula_dof(X, R) if dof is None else float(dof)
    return draw_from(
        _draw_copula,
        history,
        n_scenarios,
        horizon=horizon,
        seed=seed,
        n_jobs=n_jobs,
        executor=executor,
        paths=paths,
        margins=margins,
        root=root_of(R),
        dof=nu,
        distribution=f"t copula (dof {nu:.2f}, Pareto tails beyond {tail:.0%})",
    )


def fit_pareto(excess: np.ndarray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto law by maximum likelihood.

    Grimshaw (1993): along ``theta = shape / scale`` the best shape is
    ``mean(log(1 + theta y))``, which leaves one dimension. Shapes below -0.5, where
    the likelihood loses its regularity, are not searched.

    Parameters
    ----------
    excess : (k,) float64
        Positive, no NaN.
    """
    from scipy.optimize import minimize_scalar

    y = excess / excess.mean()
    top = float(y.max())

    def at(theta: float) -> tuple[float, float, float]:
        if abs(theta) < 1e-9:
            return 1.0, 0.0, 1.0  # exponential, the mean is one
        shape = float(np.log1p(theta * y).mean())
        if shape < -0.5 or not shape / theta > 0.0:
            return np.inf, shape, 1.0
        return float(np.log(shape / theta)) + shape + 1.0, shape, shape / theta

    # theta > -1 / max(y); beyond 50 the shape is far above one for any sample.
    grid = np.concatenate(
        [-(1.0 / top) * (1.0 - np.geomspace(1e-6, 1.0, 40)), np.geomspace(1e-3, 50, 60)]
    )
    values = np.array([at(t)[0] for t in grid])
    i = int(np.argmin(values))
    best = grid[i]
    low, high = grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)]
    fine = minimize_scalar(
        lambda t: min(at(t)[0], 1e300),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-10},
    )
    if fine.fun <= values[i]:
        best = float(fine.x)
    _, shape, scale = at(float(best))
    return shape, scale * float(excess.mean())


def _margin(x: np.ndarray, tail: float, asset: str) -> Margin:
    ordered = np.sort(x)
    T = ordered.size
    k = int(tail * T)
    if k < FEWEST_IN_TAIL:
        raise ModelError(
            "too few returns in a tail for a generalised Pareto fit",
            asset=asset,
            received=f"{k} of {T} returns",
            expected=f"at least {FEWEST_IN_TAIL}",
            fix="Lengthen the window, or widen the tail.",
        )
    low = 0.5 * (ordered[k - 1] + ordered[k])
    high = 0.5 * (ordered[T - k - 1] + ordered[T - k])
    sides = []
    for name, threshold, excess in (
        ("lower", low, low - ordered[:k]),
        ("upper", high, ordered[T - k :] - high),
    ):
        excess = excess[excess > 0.0]
        if excess.size < FEWEST_IN_TAIL:
            raise ModelError(
                "too few distinct returns in a tail for a generalised Pareto fit",
                asset=asset,
                received=f"{excess.size} beyond the {name} threshold {threshold:.5f}",
                expected=f"at least {FEWEST_IN_TAIL}",
                fix="Lengthen the window, or leave the asset out.",
            )
        shape, scale = fit_pareto(excess)
        if shape >= 1.0:
            raise ModelError(
                "a tail has no finite mean",
                asset=asset,
                received=f"shape {shape:.2f} of the {name} tail",
                expected="below 1",
                fix="Check the prices for errors, or widen the tail.",
            )
        sides.append((k, float(threshold), shape, scale))
    return Margin(ordered, sides[0], sides[1])


def quantile(margin: Margin, u: np.ndarray) -> np.ndarray:
    """Return at probabilities u in (0, 1); continuous and increasing."""
    ordered, lower, upper = margin
    T = ordered.size
    k, low, xi, scale = lower
    _, high, xi_up, scale_up = upper
    share = k / T
    # The body runs through the middle of each order statistic, and through the
    # thresholds at the exact shares of the tails.
    inner = ordered[k : T - k]
    at = np.concatenate([[share], (np.arange(k, T - k) + 0.5) / T, [1.0 - share]])
    x = np.interp(u, at, np.concatenate([[low], inner, [high]]))
    left, right = u < share, u > 1.0 - share
    x[left] = low - _pareto_quantile(u[left] / share, xi, scale)
    x[right] = high + _pareto_quantile((1.0 - u[right]) / share, xi_up, scale_up)
    return x


def _pareto_quantile(survival: np.ndarray, shape: float, scale: float) -> np.ndarray:
    log = -np.log(survival)
    if abs(shape) < 1e-9:
        return scale * log
    return scale * np.expm1(shape * log) / shape


def _tau_correlation(X: np.ndarray) -> np.ndarray:
    """Correlation ``sin(pi tau / 2)`` of each pair, repaired to the nearest one.

    Exact for every elliptical copula (Lindskog, McNeil and Schmock 2003), whatever
    the margins.
    """
    from scipy.stats import kendalltau

    N = X.shape[1]
    R = np.eye(N)
    for i in range(N):
        for j in range(i):
            tau = float(kendalltau(X[:, i], X[:, j]).statistic)
            R[i, j] = R[j, i] = np.sin(0.5 * np.pi * tau)
    if N > 1 and np.linalg.eigvalsh(R)[0] < 1e-8:
        R = np.asarray(nearest_correlation(R))
    return R


def _copula_dof(X: np.ndarray, R: np.ndarray) -> float:
    """Degrees of freedom by pseudo-likelihood on ranks (Genest et al. 1995)."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln, stdtrit
    from scipy.stats import rankdata

    T, N = X.shape
    if N == 1:
        return 60.0
    U = rankdata(X, axis=0) / (T + 1)
    values, vectors = np.linalg.eigh(R)
    values = np.maximum(values, 1e-8)
    log_det = float(np.log(values).sum())

    def negative(log_nu: float) -> float:
        nu = float(np.exp(log_nu))
        Q = stdtrit(nu, U)
        d = (((Q @ vectors) ** 2) / values).sum(axis=1)
        joint = (
            gammaln((nu + N) / 2)
            + (N - 1) * gammaln(nu / 2)
            - N * gammaln((nu + 1) / 2)
            - 0.5 * log_det
        )
        body = -0.5 * (nu + N) * np.log1p(d / nu)
        own = 0.5 * (nu + 1) * np.log1p(Q**2 / nu).sum(axis=1)
        return -float(joint * T + body.sum() + own.sum())

    found = minimize_scalar(
        negative, bounds=(np.log(2.1), np.log(60.0)), method="bounded"
    )
    return float(np.exp(found.x))


def _draw_copula(item, out, minus, *, margins, root, dof, periods, cash, seed):
    from scipy.special import stdtr

    from engine.kernels.paths import compound

    number, start, stop = item
    n = stop - start
    N = root.shape[0]
    rows = BLOCK_SIZE * periods
    z = BlockStream(seed, "normal").normals(number, rows * N).reshape(rows, N)
    chi2 = BlockStream(seed, "chi2").chi_squares(number, rows, dof)
    t = (z @ root.T)[: n * periods] * np.sqrt(dof / chi2[: n * periods])[:, None]
    logs = np.empty((n * periods, N))
    for i, margin in enumerate(margins):
        u = np.clip(stdtr(dof, t[:, i]), 1e-300, 1.0 - 2.0**-53)
        logs[:, i] = quantile(margin, u)
    sums = np.zeros(out.shape[1:])
    compound(logs.reshape(n, periods, N), periods, cash, minus, out, sums)
    return sums
