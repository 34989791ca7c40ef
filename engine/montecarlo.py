"""Monte Carlo: from a return model to weighted scenarios, block by block.

Scenario s depends on the seed and on s alone: not on how many are drawn, nor on how
many workers draw them.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np

from engine.covariance import FactorCovariance
from engine.data.portfolio import cash_label
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel
from engine.parallel import BLOCK_SIZE, BlockStream, blocks, map_ordered
from engine.scenarios import ScenarioSet

DISTRIBUTIONS = ("gaussian", "student_t")


def simulate(
    model: ReturnModel,
    n_scenarios: int,
    *,
    horizon: int = 21,
    distribution: str | None = None,
    seed: int = 0,
    n_jobs: int = 1,
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
    distribution : {"gaussian", "student_t"}, optional
        Default: Student-t where the model's ``tail_dof`` is finite. One-period
        returns are then multivariate t with that covariance; over the horizon the sum
        of ``horizon`` of them, which is conditionally normal given the sum of the
        mixing variables, and is drawn that way.
    seed : int
        Same seed, same scenarios, bit for bit, for any ``n_jobs``.
    n_jobs : int
        Threads; -1 for one per core.
    paths : bool, default False
        Also return cumulative returns after each session, (S, H, N).

    Returns
    -------
    ScenarioSet
        With a column ``CASH:<base>`` earning the model's cash rate. Under the
        ``zero_excess`` mean, every asset's mean return equals cash exactly.

    Raises
    ------
    ModelError
        The covariance is not positive semi-definite, the scenarios would not fit in
        memory, or a simple-return model loses more than everything.
    """
    for number in (n_scenarios, horizon):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise UsageError(
                "n_scenarios and horizon are whole numbers", received=repr(number)
            )
    if n_scenarios < 1 or horizon < 1:
        raise UsageError(
            "at least one scenario over at least one session",
            received=f"{n_scenarios} x {horizon}",
        )
    sessions, left = horizon, horizon % model.sessions
    if left:
        raise UsageError(
            f"the horizon is no whole number of the model's {model.sessions} sessions",
            received=horizon,
        )
    horizon = sessions // model.sessions
    if distribution is None:
        distribution = "gaussian" if np.isinf(model.tail_dof) else "student_t"
    if distribution not in DISTRIBUTIONS:
        raise UsageError(
            "unknown distribution",
            received=repr(distribution),
            expected=", ".join(DISTRIBUTIONS),
        )
    dof = model.tail_dof if distribution == "student_t" else float("inf")
    if distribution == "student_t" and np.isinf(dof):
        raise ModelError(
            "Student-t scenarios of a model with a Gaussian tail",
            fix="Fit with tail='student_t' or tail=<degrees of freedom>.",
        )
    N = len(model.assets)
    _check_memory(n_scenarios, N, horizon if paths else 1)
    work = partial(
        _block,
        factor=_factor(model),
        mean=model.mean,
        horizon=horizon,
        dof=dof,
        seed=int(BlockStream(seed).seed),
        paths=paths,
    )
    parts = map_ordered(
        work,
        blocks(n_scenarios),
        executor="serial" if n_jobs == 1 else "threads",
        n_jobs=n_jobs,
    )
    shape = (n_scenarios, horizon, N) if paths else (n_scenarios, N)
    logs = np.empty(shape)
    for (_, start, stop), part in zip(blocks(n_scenarios), parts, strict=True):
        logs[start:stop] = part
    growth = _growth(logs, model, horizon, paths)
    final = growth[:, -1] if paths else growth
    cash = (1.0 + model.cash_rate) ** (horizon / model.periods_per_year)
    returns = np.column_stack([final - 1.0, np.full(n_scenarios, cash - 1.0)])
    all_paths = None
    if paths:
        steps = (1.0 + model.cash_rate) ** (
            np.arange(1, horizon + 1) / model.periods_per_year
        )
        cash_paths = np.broadcast_to(steps[None, :, None], (n_scenarios, horizon, 1))
        all_paths = np.concatenate([growth, cash_paths], axis=2) - 1.0
    assets = (*model.assets, cash_label(model.base_currency))
    return ScenarioSet(
        assets=assets,
        returns=returns,
        p=np.full(n_scenarios, 1.0 / n_scenarios),
        horizon=sessions,
        universe=model.universe.select(assets),
        base_currency=model.base_currency,
        periods_per_year=model.periods_per_year * model.sessions,
        model=model,
        paths=all_paths,
        seed=int(seed),
        distribution=distribution
        + ("" if np.isinf(dof) else f" (dof {dof:.2f} per period)"),
        notes=model.notes,
        synthetic=model.synthetic,
        hindsight_parameters=model.hindsight_parameters,
    )


def _factor(model: ReturnModel) -> tuple[np.ndarray, np.ndarray | None]:
    """``(A, d)`` with covariance ``A A' + diag(d^2)``; d is None for a dense model."""
    covariance = model.covariance
    if isinstance(covariance, FactorCovariance):
        A = covariance.loadings @ _root(covariance.factor_covariance)
        return A, np.sqrt(covariance.specific_variance)
    return _root(covariance), None


def _root(matrix: np.ndarray) -> np.ndarray:
    """A with ``A A' = matrix``: Cholesky, or eigenvectors where it is singular."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        if values[0] < -1e-8 * max(values[-1], np.finfo(float).tiny):
            raise ModelError(
                "covariance is not positive semi-definite",
                received=f"smallest eigenvalue {values[0]:.3e}",
                fix="Repair it with nearest_correlation.",
            ) from None
        return vectors * np.sqrt(np.maximum(values, 0.0))


def _block(
    item: tuple[int, int, int],
    *,
    factor: tuple[np.ndarray, np.ndarray | None],
    mean: np.ndarray,
    horizon: int,
    dof: float,
    seed: int,
    paths: bool,
) -> np.ndarray:
    """Log returns of one block: (n, N), or cumulative (n, H, N)."""
    block, start, stop = item
    n = stop - start
    A, specific = factor
    N, K = A.shape
    steps = horizon if paths else 1
    # The whole block is drawn and multiplied even when fewer rows are kept, so that a
    # scenario never depends on how many follow it: BLAS chooses its kernel, and hence
    # the last bits of a row, by the number of rows.
    width = K if specific is None else K + N
    z = BlockStream(seed, "normal").normals(block, BLOCK_SIZE * steps * width)
    z = z.reshape(BLOCK_SIZE * steps, width)
    y = (z[:, :K] @ A.T)[: n * steps]
    if specific is not None:
        y += z[: n * steps, K:] * specific
    y = y.reshape(n, steps, N)
    if np.isinf(dof):
        scale = np.ones((n, horizon))
    else:
        chi2 = BlockStream(seed, "chi2").chi_squares(block, BLOCK_SIZE * horizon, dof)
        scale = (dof - 2.0) / chi2.reshape(BLOCK_SIZE, horizon)[:n]
    if paths:
        return np.cumsum(mean + np.sqrt(scale)[:, :, None] * y, axis=1)
    return mean * horizon + np.sqrt(scale.sum(axis=1))[:, None] * y[:, 0]


def _growth(logs: np.ndarray, model: ReturnModel, horizon: int, paths: bool) -> Any:
    """One plus the simple return; centred at cash under the zero-excess mean."""
    if model.return_kind == "simple":
        if (logs <= -1.0).any():
            raise ModelError(
                "a simple-return model loses all or more of an asset",
                received=float(logs.min()),
                fix="Fit log returns (the default), or shorten the horizon.",
            )
        growth = 1.0 + logs
    else:
        growth = np.exp(logs)
    if model.mean_kind == "zero_excess":
        steps = np.arange(1, horizon + 1) if paths else horizon
        cash = (1.0 + model.cash_rate) ** (steps / model.periods_per_year)
        target = cash[:, None] if paths else cash
        growth *= target / growth.mean(axis=0)
    return growth


def _check_memory(S: int, N: int, steps: int) -> None:
    need = 3 * 8 * S * (N + 1) * steps
    try:
        have = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return
    if need > have:
        raise ModelError(
            "the scenarios would not fit in memory",
            received=f"{need / 2**30:.1f} GiB needed, {have / 2**30:.1f} GiB free",
            fix="Draw fewer scenarios, or leave out paths.",
        )
