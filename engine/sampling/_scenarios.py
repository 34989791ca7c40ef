"""Weighted scenarios drawn with variance reduction, for everything that reads p."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from engine.data.portfolio import cash_label
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel
from engine.parallel import map_ordered
from engine.sampling._book import Book, book_of
from engine.sampling._design import basic_plan, check_method, twist_of
from engine.sampling._draws import Plan, draw
from engine.sampling._functional import Functional
from engine.scenarios import ScenarioSet

SETS = ("antithetic", "moment_matched", "sobol", "stratified", "importance")


def scenarios(
    model: ReturnModel,
    n: int,
    *,
    method: str = "moment_matched",
    weights: Any = None,
    functional: Functional | None = None,
    target: float | None = None,
    horizon: int = 1,
    seed: int = 0,
    n_jobs: int = 1,
) -> ScenarioSet:
    """Draw a scenario set by a method of variance reduction.

    Parameters
    ----------
    model
        As in `estimate`.
    n : int
    method : {"moment_matched", "antithetic", "sobol", "stratified", "importance"}
    weights : Portfolio, mapping, array_like or DeltaGamma, optional
        The book; needed by ``stratified`` and ``importance``, whose draws follow it.
    functional : Functional, optional
        Importance sampling aims at its threshold or quantile.
    target : float, optional
        Or at this loss.
    horizon, seed, n_jobs
        As in `estimate`.

    Returns
    -------
    ScenarioSet
        Equal probabilities (strata are proportional), save under ``importance``: there
        every other scenario is twisted, and ``p`` is proportional to the likelihood
        ratio against the mixture, two at most before scaling. A set's probabilities
        sum to one, so estimates from it are self-normalised; with twisted draws alone
        that would leave the body of the distribution, and hence the sum, to a few huge
        weights. `estimate` gives the unbiased estimates, with their errors.
    """
    check_method(method, SETS)
    if weights is None:
        if method in ("stratified", "importance"):
            raise UsageError(f"{method} scenarios need the book's weights")
        weights = np.zeros(len(model.assets))
    book = book_of(model, weights, horizon)
    plan = basic_plan(book, method, n, seed)
    if method == "importance":
        if functional is None and target is None:
            raise UsageError("importance scenarios need a functional or a target")
        aim = functional or Functional("tail", float(target or 0.0))
        twist = twist_of(book, aim, plan, target, n_jobs)
        plan = replace(plan, twist=twist, defensive=True)
    parts = map_ordered(
        partial(_returns, book=book, plan=plan),
        plan.items(),
        executor="serial" if n_jobs == 1 else "threads",
        n_jobs=n_jobs,
    )
    N = len(model.assets)
    returns = np.full((plan.n, N + 1), book.growth - 1.0)
    mass = plan.mass()
    for (_, start, stop), (rows, weight) in zip(plan.items(), parts, strict=True):
        returns[start:stop, :N] = rows
        if weight is not None:
            mass[start:stop] *= weight
    if (returns <= -1.0).any():
        raise ModelError(
            "a simple-return model loses all or more of an asset",
            received=float(returns.min()),
            fix="Fit log returns (the default), or shorten the horizon.",
        )
    assets = (*model.assets, cash_label(model.base_currency))
    tail = "Gaussian" if np.isinf(book.dof) else f"Student-t (dof {book.dof:.2f})"
    return ScenarioSet(
        assets=assets,
        returns=returns,
        p=mass / mass.sum(),
        horizon=int(horizon),
        universe=model.universe.select(assets),
        base_currency=model.base_currency,
        periods_per_year=model.periods_per_year * model.sessions,
        model=model,
        seed=int(seed),
        distribution=f"{tail}, {method}",
        notes=model.notes,
        synthetic=model.synthetic,
        hindsight_parameters=model.hindsight_parameters,
    )


def _returns(item: tuple[int, int, int], *, book: Book, plan: Plan):
    z, V, weight = draw(item, book, plan)
    n = item[2] - item[1]
    full = np.ones(z.shape[0])
    full[:n] = V
    x = book.moves(z, full)[:n]
    return (np.expm1(x) if book.log else x), weight
