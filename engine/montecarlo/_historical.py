"""Scenarios from past cross-sections: block bootstrap and filtered simulation.

Whole rows are drawn, so that whatever tied the assets together on a date stays. Rows
are those of `engine.returns.compute`: dates on which every asset traded, and never a
zero put where a venue was shut.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from engine.data.panel import PricePanel
from engine.data.view import MarketView
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel, fit
from engine.montecarlo._common import (
    cash_growth,
    check_counts,
    generate,
    periods_of,
)
from engine.parallel import BLOCK_SIZE, BlockStream, Executor
from engine.returns import closes_together, compute, panel_of
from engine.scenarios import ScenarioSet

FEWEST_ROWS = 60
"""Three months: below it a resample repeats a handful of days."""


class History(NamedTuple):
    """Log returns with the model that carries their labels and mean."""

    X: np.ndarray
    """(T, N), no NaN."""
    model: ReturnModel
    centred: bool


def history_of(
    market: PricePanel | MarketView,
    *,
    frequency: str | None,
    window: int | None,
    mean: str,
    tickers: Sequence[str] | None,
    fewest: int = FEWEST_ROWS,
) -> History:
    """Cross-sections of log returns, and a fitted model that labels them."""
    if not isinstance(market, (PricePanel, MarketView)):
        raise UsageError(
            "historical scenarios need prices",
            received=type(market).__name__,
            expected="a PricePanel or a MarketView",
        )
    if mean not in ("zero_excess", "sample"):
        raise UsageError(
            "unknown mean", received=repr(mean), expected="zero_excess or sample"
        )
    source = panel_of(market)
    panel = (source if tickers is None else source.select(tickers)).adjusted()
    if frequency is None:
        frequency = "daily" if closes_together(panel) else "weekly"
    if frequency not in ("daily", "weekly"):
        raise UsageError(
            "overlapping returns cannot be resampled",
            received=repr(frequency),
            expected="daily, or weekly where venues close at different hours",
        )
    model = fit(market, mean=mean, frequency=frequency, window=window, tickers=tickers)  # type: ignore[arg-type]
    periods = window
    if window is not None and frequency == "weekly":
        periods = max(2, window // 5)
    X = compute(panel, frequency=frequency, window=periods).values  # type: ignore[arg-type]
    if X.shape[0] < fewest:
        raise ModelError(
            "too few returns to resample",
            received=f"{X.shape[0]} {frequency} returns",
            expected=f"at least {fewest}",
            fix="Lengthen the window.",
        )
    return History(np.ascontiguousarray(X), model, mean == "zero_excess")


def bootstrap(
    market: PricePanel | MarketView,
    n_scenarios: int,
    *,
    horizon: int = 21,
    method: str = "stationary",
    block: float | None = None,
    frequency: str | None = None,
    window: int | None = 504,
    mean: str = "zero_excess",
    tickers: Sequence[str] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
    paths: bool = False,
) -> ScenarioSet:
    """Resample blocks of past cross-sections.

    Parameters
    ----------
    market : PricePanel or MarketView
    n_scenarios : int
    horizon : int, default 21
        Sessions; a multiple of 5 for weekly returns.
    method : {"stationary", "circular"}
        Politis and Romano (1994): geometric block lengths; (1992): fixed ones. Both
        wrap around the end, so that every date is drawn equally often.
    block : float, optional
        (Mean) length in returns. Default: Patton, Politis and White (2009) for the
        equal-weight book, the longer of that for its returns and for their squares,
        because volatility clusters longer than returns correlate.
    frequency : {"daily", "weekly"}, optional
        Default: ``daily`` where all venues close together, else ``weekly``: same-date
        returns of venues that close at different hours are not one cross-section.
    window : int or None, default 504
        Sessions used, as in `engine.fit`.
    mean : {"zero_excess", "sample"}
        Centre every asset at cash (exactly), or keep the sample's drift (stamped).
    tickers, seed, n_jobs, executor, paths
        As in `engine.fit` and `engine.simulate`.

    Returns
    -------
    ScenarioSet
        Equally likely; stamped where a sample mean was kept.

    Raises
    ------
    DataError
        Too short a history: the asset is named.
    ModelError
        Fewer than 60 returns, or it would not fit in memory.
    UsageError
        An unknown option, or a block outside [1, number of returns].
    """
    check_counts(n_scenarios, horizon)
    if method not in ("stationary", "circular"):
        raise UsageError(
            "unknown bootstrap",
            received=repr(method),
            expected="stationary or circular",
        )
    history = history_of(
        market, frequency=frequency, window=window, mean=mean, tickers=tickers
    )
    X = history.X
    length = _block_length(X, method) if block is None else _given_block(block, X)
    if method == "circular":
        length = float(max(1, round(length)))
    return draw_from(
        _resample,
        history,
        n_scenarios,
        horizon=horizon,
        seed=seed,
        n_jobs=n_jobs,
        executor=executor,
        paths=paths,
        X=X,
        block=length,
        stationary=method == "stationary",
        distribution=f"{method} bootstrap (block {length:.1f} of {len(X)} returns)",
    )


def filtered_historical(
    market: PricePanel | MarketView,
    n_scenarios: int,
    *,
    horizon: int = 21,
    volatility: str = "garch",
    decay: float = 0.94,
    frequency: str | None = None,
    window: int | None = 1260,
    mean: str = "zero_excess",
    tickers: Sequence[str] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
    paths: bool = False,
) -> ScenarioSet:
    """Filtered historical simulation (Barone-Adesi, Giannopoulos and Vosper 1999).

    Each asset's residuals are divided by their conditional volatility; whole
    cross-sections of the standardised residuals are drawn; from the volatility
    forecast for the next session, each path updates its own variance.

    Parameters
    ----------
    market : PricePanel or MarketView
    n_scenarios : int
    horizon
        As in `engine.bootstrap`.
    volatility : {"garch", "ewma"}
        GARCH(1,1) by quasi-maximum likelihood (arch), or exponentially weighted
        squares (RiskMetrics 1996), whose forecast never reverts.
    decay : float, default 0.94
        Of the EWMA: RiskMetrics' for daily returns.
    frequency
        As in `engine.bootstrap`.
    window : int or None, default 1260
        Five years: a GARCH fit on less than two is rarely stable.
    mean, tickers, seed, n_jobs, executor, paths
        As in `engine.bootstrap`.

    Returns
    -------
    ScenarioSet
        Equally likely; stamped where a sample mean was kept.

    Raises
    ------
    ModelError
        A GARCH fit that fails or is not stationary, naming the asset; fewer than 250
        returns for it.

    Notes
    -----
    Standardised residuals are rescaled to mean zero and variance one over the window,
    so that the variance recursion is neither inflated nor deflated by estimation.
    """
    check_counts(n_scenarios, horizon)
    if volatility not in ("garch", "ewma"):
        raise UsageError(
            "unknown volatility model",
            received=repr(volatility),
            expected="garch or ewma",
        )
    if not 0.0 < decay < 1.0:
        raise UsageError("decay lies in (0, 1)", received=decay)
    history = history_of(
        market,
        frequency=frequency,
        window=window,
        mean=mean,
        tickers=tickers,
        fewest=250 if volatility == "garch" else FEWEST_ROWS,
    )
    X = history.X
    mu = X.mean(axis=0)
    if volatility == "garch":
        state = _garch(X - mu, history.model.assets)
    else:
        state = _ewma(X - mu, decay)
    return draw_from(
        _filter,
        history,
        n_scenarios,
        horizon=horizon,
        seed=seed,
        n_jobs=n_jobs,
        executor=executor,
        paths=paths,
        state=state,
        mean=mu,
        distribution=f"filtered historical ({volatility}, {len(X)} returns)",
    )


class Filter(NamedTuple):
    """Standardised residuals (T, N) and the variance recursion of each asset (N,)."""

    Z: np.ndarray
    variance: np.ndarray
    omega: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray


def draw_from(
    fill: Any,
    history: History,
    n_scenarios: int,
    *,
    horizon: int,
    seed: int,
    n_jobs: int,
    executor: Executor | None,
    paths: bool,
    distribution: str,
    **state: Any,
) -> ScenarioSet:
    """Scenarios from a block function and what it has learnt from a history."""
    model = history.model
    periods = periods_of(model, horizon)
    cash = cash_growth(model, periods, paths=paths)
    return generate(
        partial(fill, periods=periods, cash=cash, seed=seed, **state),
        model,
        n_scenarios,
        sessions=horizon,
        centred=history.centred,
        seed=seed,
        n_jobs=n_jobs,
        executor=executor,
        paths=paths,
        distribution=distribution,
    )


def _resample(item, out, minus, *, X, block, stationary, periods, cash, seed):
    from engine.kernels.paths import block_rows, compound, take_rows

    number, start, stop = item
    n = stop - start
    count = BLOCK_SIZE * periods * 2
    u = BlockStream(seed, "bootstrap").uniforms(number, count)
    rows = np.empty((n, periods), np.int64)
    block_rows(u.reshape(BLOCK_SIZE, periods, 2)[:n], len(X), block, stationary, rows)
    logs = np.empty((n, periods, X.shape[1]))
    take_rows(X, rows, logs)
    sums = np.zeros(out.shape[1:])
    compound(logs, periods, cash, minus, out, sums)
    return sums


def _filter(item, out, minus, *, state, mean, periods, cash, seed):
    from engine.kernels.paths import compound, filtered

    number, start, stop = item
    n = stop - start
    u = BlockStream(seed, "bootstrap").uniforms(number, BLOCK_SIZE * periods)
    T = state.Z.shape[0]
    rows = np.minimum((u * T).astype(np.int64), T - 1).reshape(BLOCK_SIZE, periods)[:n]
    logs = np.empty((n, periods, mean.size))
    filtered(
        state.Z, rows, mean, state.variance, state.omega, state.alpha, state.beta, logs
    )
    sums = np.zeros(out.shape[1:])
    compound(logs, periods, cash, minus, out, sums)
    return sums


def _given_block(block: Any, X: np.ndarray) -> float:
    if isinstance(block, bool) or not isinstance(block, (int, float, np.number)):
        raise UsageError("block must be a number of returns", received=repr(block))
    if not 1.0 <= float(block) <= len(X):
        raise UsageError(
            "block is out of range", received=block, expected=f"1 to {len(X)} returns"
        )
    return float(block)


def _block_length(X: np.ndarray, method: str) -> float:
    from arch.bootstrap import optimal_block_length

    book = X.mean(axis=1)
    book = book - book.mean()
    both = optimal_block_length(np.column_stack([book, book**2]))
    longest = float(np.nanmax(both[method].to_numpy()))
    return min(max(longest, 1.0), float(len(X)))


def _ewma(E: np.ndarray, decay: float) -> Filter:
    """Variances v_t = decay v_(t-1) + (1 - decay) e_(t-1)**2 from the sample's."""
    T, N = E.shape
    v = np.empty((T + 1, N))
    v[0] = (E**2).mean(axis=0)
    for t in range(T):
        v[t + 1] = decay * v[t] + (1.0 - decay) * E[t] ** 2
    return Filter(
        _standard(E / np.sqrt(v[:-1])),
        v[-1],
        np.zeros(N),
        np.full(N, 1.0 - decay),
        np.full(N, decay),
    )


def _garch(E: np.ndarray, assets: Sequence[str]) -> Filter:
    from arch import arch_model

    T, N = E.shape
    Z = np.empty((T, N))
    variance, omega, alpha, beta = np.empty((4, N))
    for i in range(N):
        unit = E[:, i].std()  # the optimiser wants numbers near one
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # failure is read from the flag below
            fitted = arch_model(
                E[:, i] / unit, mean="Zero", vol="GARCH", p=1, q=1, rescale=False
            ).fit(disp="off", show_warning=False)
        w, a, b = (float(v) for v in fitted.params)
        if fitted.convergence_flag != 0 or not a + b < 1.0:
            raise ModelError(
                "no stationary GARCH(1,1) fits this asset",
                asset=assets[i],
                received=f"alpha + beta {a + b:.4f}, flag {fitted.convergence_flag}",
                fix="Lengthen the window, or use volatility='ewma'.",
            )
        v = np.asarray(fitted.conditional_volatility) ** 2
        e = E[:, i] / unit
        Z[:, i] = e / np.sqrt(v)
        variance[i] = (w + a * e[-1] ** 2 + b * v[-1]) * unit**2
        omega[i], alpha[i], beta[i] = w * unit**2, a, b
    return Filter(_standard(Z), variance, omega, alpha, beta)


def _standard(Z: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((Z - Z.mean(axis=0)) / Z.std(axis=0))
