"""Scenarios that switch between a calm and a stressed covariance (Hamilton 1989)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.data.panel import PricePanel
from engine.data.view import MarketView
from engine.errors import ModelError, UsageError
from engine.montecarlo._common import check_counts
from engine.montecarlo._historical import draw_from, history_of
from engine.montecarlo._laws import root_of
from engine.parallel import BLOCK_SIZE, BlockStream, Executor
from engine.scenarios import ScenarioSet

FEWEST_IN_STATE = 20.0
"""Expected returns in each state: below it the state is a handful of outliers."""


def regime_switching(
    market: PricePanel | MarketView,
    n_scenarios: int,
    *,
    horizon: int = 21,
    index: str = "equal_weight",
    frequency: str | None = None,
    window: int | None = 1260,
    mean: str = "zero_excess",
    tickers: Sequence[str] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
    paths: bool = False,
) -> ScenarioSet:
    """Two-state Markov switching of the covariance, from today's filtered state.

    A two-state model of variance is fitted to one index return by maximum likelihood
    (statsmodels, Hamilton filter). The covariance of each state is that of the
    demeaned returns weighted by the smoothed probability of the state, about a mean
    of zero. Paths start from the filtered probabilities of the last session and move
    by the fitted transition matrix; given the states, sessions are normal, so the
    horizon's sum is drawn exactly.

    Parameters
    ----------
    market : PricePanel or MarketView
    n_scenarios : int
    horizon
        As in `engine.bootstrap`.
    index : {"equal_weight", "principal_component"}
        What the states are read from: the mean return, or the first principal
        component of the returns.
    frequency
        As in `engine.bootstrap`.
    window : int or None, default 1260
        Five years: states last months, and several spells of each are needed.
    mean, tickers, seed, n_jobs, executor, paths
        As in `engine.bootstrap`.

    Returns
    -------
    ScenarioSet
        Equally likely; stamped where a sample mean was kept.

    Raises
    ------
    ModelError
        The fit fails, or a state holds fewer than 20 expected returns.
    """
    check_counts(n_scenarios, horizon)
    if index not in ("equal_weight", "principal_component"):
        raise UsageError(
            "unknown index",
            received=repr(index),
            expected="equal_weight or principal_component",
        )
    history = history_of(
        market,
        frequency=frequency,
        window=window,
        mean=mean,
        tickers=tickers,
        fewest=250,
    )
    X = history.X
    mu = X.mean(axis=0)
    E = X - mu
    if index == "equal_weight":
        series = E.mean(axis=1)
    else:
        series = E @ np.linalg.eigh(E.T @ E)[1][:, -1]
    transition, now, smoothed = _fit_states(series)
    mass = smoothed.sum(axis=0)
    if mass.min() < FEWEST_IN_STATE:
        raise ModelError(
            "a state holds too few returns for its covariance",
            received=f"{mass.min():.1f} expected returns of {len(X)}",
            expected=f"at least {FEWEST_IN_STATE:g}",
            fix="Lengthen the window, or use engine.filtered_historical.",
        )
    roots = [root_of((E.T * smoothed[:, k]) @ E / mass[k]) for k in (0, 1)]
    return draw_from(
        _switch,
        history,
        n_scenarios,
        horizon=horizon,
        seed=seed,
        n_jobs=n_jobs,
        executor=executor,
        paths=paths,
        roots=np.stack(roots),
        transition=transition,
        first=now @ transition,
        mean=mu,
        distribution=(
            f"regime switching (stress {now[1]:.0%} today, stays with "
            f"{transition[1, 1]:.1%})"
        ),
    )


def _fit_states(series: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transition (2, 2) by rows, filtered (2,) today, smoothed (T, 2); 1 is stress."""
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    scaled = series / series.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # failure is read from the result below
        try:
            fitted: Any = MarkovRegression(
                scaled, k_regimes=2, trend="n", switching_variance=True
            ).fit(disp=False, maxiter=200)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ModelError(
                f"the two-state model cannot be fitted: {error}",
                fix="Lengthen the window.",
            ) from error
    variances = np.asarray(fitted.params)[-2:]
    order = np.argsort(variances)
    moves = fitted.regime_transition[:, :, 0].T[np.ix_(order, order)]
    now = np.asarray(fitted.filtered_marginal_probabilities)[-1, order]
    smoothed = np.asarray(fitted.smoothed_marginal_probabilities)[:, order]
    if not (np.isfinite(moves).all() and np.isfinite(smoothed).all()):
        raise ModelError(
            "the two-state model has no finite solution", fix="Lengthen the window."
        )
    return moves / moves.sum(axis=1, keepdims=True), now / now.sum(), smoothed


def _states(uniforms: np.ndarray, first: np.ndarray, transition: np.ndarray):
    """(n, H) bool, True in stress: the chain driven by uniforms (n, H)."""
    stressed = np.empty(uniforms.shape, dtype=bool)
    stressed[:, 0] = uniforms[:, 0] < first[1]
    for t in range(1, uniforms.shape[1]):
        chance = np.where(stressed[:, t - 1], transition[1, 1], transition[0, 1])
        stressed[:, t] = uniforms[:, t] < chance
    return stressed


def _switch(item, out, minus, *, roots, transition, first, mean, periods, cash, seed):
    from engine.kernels.paths import compound

    number, start, stop = item
    n = stop - start
    N = mean.size
    u = BlockStream(seed, "uniform").uniforms(number, BLOCK_SIZE * periods)
    bad = _states(u.reshape(BLOCK_SIZE, periods), first, transition)
    sums = np.zeros(out.shape[1:])
    source = BlockStream(seed, "normal")
    K = [roots[0].shape[1], roots[1].shape[1]]
    if out.shape[1] > 1 or periods == 1:
        rows = BLOCK_SIZE * periods
        z = source.normals(number, rows * N).reshape(rows, N)
        y = np.where(bad.reshape(-1, 1), z @ roots[1].T, z @ roots[0].T)
        logs = mean + y.reshape(BLOCK_SIZE, periods, N)
        compound(logs[:n], periods, cash, minus, out, sums)
        return sums
    z = source.normals(number, BLOCK_SIZE * sum(K)).reshape(BLOCK_SIZE, sum(K))
    many = bad.sum(axis=1, keepdims=True)
    y = np.sqrt(periods - many) * (z[:, : K[0]] @ roots[0].T)
    y += np.sqrt(many) * (z[:, K[0] :] @ roots[1].T)
    logs = (mean * periods + y)[:, None, :]
    compound(logs[:n], 1, cash, minus, out, sums)
    return sums
