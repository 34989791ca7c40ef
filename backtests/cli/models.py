"""`ballast covariance` and `ballast risk`: which model forecast best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtests.cli.options import Meter, Prices, Run, names

COMPARED = "sample,ewma,ledoit_wolf,ledoit_wolf_identity,oas,nonlinear_shrinkage,factor"


def covariance(
    *,
    source: Prices | None = None,
    estimators: str = COMPARED,
    window: int = 504,
    horizon: int = 21,
    step: int | None = None,
    dof: float | None = None,
    rank_by: str = "log_likelihood",
    baseline: str | None = None,
    start: str | None = None,
    end: str | None = None,
    n_jobs: int = 1,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Compare covariance estimators by how well they forecast, walking forward.

    Every estimate sees only the window before the returns it is scored on.

    Parameters
    ----------
    source
        Where prices come from.
    estimators
        Names separated by commas; a wrong one lists them all.
    window
        Returns that each estimate sees.
    horizon
        Returns scored after each forecast.
    step
        Returns between forecasts; the horizon by default.
    dof
        Add a Student-t likelihood with these degrees of freedom.
    rank_by
        log_likelihood, t_log_likelihood, variance_qlike or min_variance.
    baseline
        Estimator the others are compared with; the best by default.
    start
        First date used.
    end
        Last date used.
    n_jobs
        Worker processes; -1 for one per core.
    out
        Write the table to this CSV.
    json
        Print JSON for machines.
    quiet
        No progress on the error stream.
    """
    from backtests.cli import inspect
    from engine.covariance import compare

    with Meter(quiet) as meter:
        panel = (source or Prices()).load()
        if start is not None or end is not None:
            panel = panel.between(start, end)
        found = compare(
            panel,
            list(names(estimators) or ()),
            window=window,
            horizon=horizon,
            step=step,
            dof=dof,
            rank_by=rank_by,
            baseline=baseline,
            n_jobs=n_jobs,
            progress=meter,
        )
    inspect.comparison(found, panel, out=out, json=json)


def risk(
    book: Path,
    /,
    *,
    source: Prices | None = None,
    models: str | None = None,
    level: float = 0.99,
    es_level: float = 0.975,
    window: int = 500,
    refit: int = 21,
    start: str | None = None,
    end: str | None = None,
    mean: str = "zero",
    missing: str = "raise",
    scenarios: int = 10_000,
    seed: int = 0,
    n_jobs: int = 1,
    store: Path | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Test models of VaR and expected shortfall on a book, session by session.

    Every forecast sees only the returns before its session. The table says which
    models the tests do not reject.

    Parameters
    ----------
    book
        Portfolio file: ticker and one of shares, value, weight. Weights, those of the
        last session for shares, are held fixed by daily rebalancing.
    source
        Where prices come from.
    models
        Names separated by commas, all by default; a wrong one lists them.
    level
        Confidence of value at risk.
    es_level
        Confidence of expected shortfall.
    window
        Returns that each forecast sees.
    refit
        Sessions between fits of parameters; volatility is updated daily.
    start
        First session forecast.
    end
        Last session forecast.
    mean
        zero or sample: centre of every law.
    missing
        raise or exclude: what to do where a price is missing.
    scenarios
        Scenarios of the copula.
    seed
        Seed of the scenarios.
    n_jobs
        Worker processes; -1 for one per core.
    store
        Folder that keeps finished models, so that a stopped run goes on.
    out
        Write the table to this CSV, or everything to this JSON.
    json
        Print JSON for machines.
    quiet
        No progress on the error stream.
    """
    from backtests.cli import inspect
    from backtests.job import weights_of
    from engine.risk import MODELS, backtest

    source = source or Prices()
    with Meter(quiet) as meter:
        holdings = Run(quiet=quiet).book(book, source)
        panel = source.load(holdings)
        last = panel.dates[-1] if end is None else end
        found = backtest(
            panel,
            weights_of(holdings.priced(panel.as_of(last))),
            models=names(models) or tuple(MODELS),
            level=level,
            es_level=es_level,
            window=window,
            refit=refit,
            start=start,
            end=end,
            mean=mean,
            missing=missing,
            n_scenarios=scenarios,
            seed=seed,
            n_jobs=n_jobs,
            store=store,
            progress=meter,
        )
    inspect.model_checks(found, panel, out=out, json=json)
