"""From a return model to weighted scenarios, block by block."""

from __future__ import annotations

from functools import partial

import numpy as np

from engine.errors import ModelError
from engine.model import ReturnModel
from engine.montecarlo._common import (
    cash_growth,
    check_counts,
    check_memory,
    generate,
    periods_of,
)
from engine.montecarlo._laws import DISTRIBUTIONS, draw, law_of
from engine.parallel import Executor
from engine.scenarios import ScenarioSet

__all__ = ["DISTRIBUTIONS", "simulate"]


def simulate(
    model: ReturnModel,
    n_scenarios: int,
    *,
    horizon: int = 21,
    distribution: str | None = None,
    skew: float | None = None,
    stress: tuple[float, float] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
    paths: bool = False,
) -> ScenarioSet:
    """Draw scenarios of simple returns over a horizon.

    Parameters
    ----------
    model : ReturnModel
    n_scenarios : int
    horizon : int, default 21
        Sessions; a whole number of the model's periods (5 sessions when weekly). Log
        returns of successive periods are independent; their sum is drawn at once
        (exactly) unless ``paths``.
    distribution : str, optional
        ``gaussian``, ``student_t``, ``skewed_t`` (Azzalini and Capitanio 2003) or
        ``gaussian_mixture`` (a calm and a stressed state, independent from session to
        session). Each has the model's mean and covariance per period exactly.
        Default: Student-t where the model's ``tail_dof`` is finite. One-period
        returns are then multivariate t with that covariance; over the horizon the sum
        of ``horizon`` of them, which is conditionally normal given the sum of the
        mixing variables, and is drawn that way.
    skew : float, optional
        Negative for the longer left tail. For ``skewed_t`` (which needs it): the
        parameter delta of the equal-weight book, in (-1, 1). For ``gaussian_mixture``:
        by how many of its standard deviations the mean of the equal-weight book is
        higher in stress than when calm. Assets share in it by their covariance with
        that book.
    stress : (float, float), optional
        For ``gaussian_mixture``, which needs it: probability that a session is
        stressed, and its volatility as a multiple of a calm session's.
    seed : int
        Same seed, same scenarios, bit for bit, for any ``n_jobs`` and ``executor``.
    n_jobs : int
        Workers; -1 for one per core.
    executor : {"serial", "threads", "processes", "ray"}, optional
        Default: threads where ``n_jobs`` is not one.
    paths : bool, default False
        Also return cumulative returns after each session, (S, H, N).

    Returns
    -------
    ScenarioSet
        With a column ``CASH:<base>`` earning the model's cash rate. Under the
        ``zero_excess`` mean, every asset's mean return equals cash exactly.

    Raises
    ------
    UsageError
        Options that do not exist or do not belong together; a horizon that is no
        whole number of periods.
    ModelError
        The covariance is not positive semi-definite, the scenarios would not fit in
        memory, or a simple-return model loses more than everything.

    Examples
    --------
    >>> from engine import fit, load_panel
    >>> model = fit(load_panel("reference"), tickers=["NVDA", "JPM"])
    >>> simulate(model, 100, horizon=21, seed=1).losses({"NVDA": 1.0}).shape
    (100,)
    """
    check_counts(n_scenarios, horizon)
    periods = periods_of(model, horizon)
    check_memory(n_scenarios, len(model.assets), periods if paths else 1, paths=paths)
    law = law_of(
        model,
        periods,
        distribution=distribution,
        skew=skew,
        stress=stress,
        seed=seed,
        paths=paths,
        cash=cash_growth(model, periods, paths=paths),
    )
    return generate(
        partial(draw, law=law),
        model,
        n_scenarios,
        sessions=horizon,
        centred=model.mean_kind == "zero_excess",
        seed=seed,
        n_jobs=n_jobs,
        executor=executor,
        paths=paths,
        distribution=law.label,
        check=_solvent if law.simple else None,
    )


def _solvent(returns: np.ndarray) -> None:
    lowest = float(returns.min())
    if lowest <= -1.0:
        raise ModelError(
            "a simple-return model loses all or more of an asset",
            received=lowest,
            fix="Fit log returns (the default), or shorten the horizon.",
        )
