"""What the generators share: checks, the run over blocks, exact centring, labels."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from engine.data.portfolio import cash_label
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel
from engine.parallel import REMOTE, BlockStream, Executor, blocks, map_ordered
from engine.scenarios import ScenarioSet

Fill = Callable[..., np.ndarray]
"""``fill(item, out, minus)``: write growth less ``minus`` of one block into ``out``
(n, H, N + 1), return the sums of growth (H, N + 1)."""


def check_counts(n_scenarios: Any, horizon: Any) -> None:
    """Refuse anything but a positive whole number of each."""
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


def periods_of(model: ReturnModel, horizon: int) -> int:
    """Periods of the model in ``horizon`` sessions."""
    if horizon % model.sessions:
        raise UsageError(
            f"the horizon is no whole number of the model's {model.sessions} sessions",
            received=horizon,
            fix=f"Give a multiple of {model.sessions}.",
        )
    return horizon // model.sessions


def check_memory(S: int, N: int, steps: int, *, paths: bool) -> None:
    """Refuse a result that would not fit, before anything is drawn."""
    # The result, its terminal copy beside paths, and one byte an entry for checks.
    need = 8 * S * (N + 1) * (steps + (1 if paths else 0)) * 1.25
    try:
        have = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return
    if need > have:
        raise ModelError(
            "the scenarios would not fit in memory",
            received=f"{need / 2**30:.1f} GiB needed, {have / 2**30:.1f} GiB free",
            fix="Draw fewer scenarios, leave out paths, or let engine.stream reduce "
            "them to the losses of a book while they are drawn.",
        )


def cash_growth(model: ReturnModel, periods: int, *, paths: bool) -> np.ndarray:
    """(H,) growth of base-currency cash after each period, or (1,) at the end."""
    when = np.arange(1, periods + 1) if paths else np.array([periods])
    return (1.0 + model.cash_rate) ** (when / model.periods_per_year)


def ratio_to_cash(sums: np.ndarray, n: int, cash: np.ndarray) -> np.ndarray:
    """(H, N + 1) factors that put the mean growth of every asset at cash."""
    ratio = cash[:, None] / (sums / n)
    ratio[:, -1] = 1.0
    return ratio


def add_in_order(parts: Any) -> np.ndarray:
    """Sum of block sums, block by block: the same for any number of workers."""
    total: Any = 0.0
    for part in parts:
        total = total + part
    return total


def choose(executor: Executor | None, n_jobs: int) -> Executor:
    """Threads where there are workers: the kernels release the interpreter lock."""
    return executor or ("serial" if n_jobs == 1 else "threads")


def generate(
    fill: Fill,
    model: ReturnModel,
    n_scenarios: int,
    *,
    sessions: int,
    centred: bool,
    seed: int,
    n_jobs: int,
    executor: Executor | None,
    paths: bool,
    distribution: str,
    check: Callable[[np.ndarray], None] | None = None,
) -> ScenarioSet:
    """Run ``fill`` over the blocks, centre at cash, label.

    ``check`` sees growth less one before the set is made, to raise its own error.
    """
    BlockStream(seed)  # refuses a bad seed before any work
    periods = periods_of(model, sessions)
    N = len(model.assets)
    steps = periods if paths else 1
    check_memory(n_scenarios, N, steps, paths=paths)
    cash = cash_growth(model, periods, paths=paths)
    items = blocks(n_scenarios)
    out = np.empty((n_scenarios, steps, N + 1))
    minus = 0.0 if centred else 1.0
    how = choose(executor, n_jobs)
    if how in REMOTE:
        work = partial(_detached, fill=fill, shape=(steps, N + 1), minus=minus)
        total: Any = 0.0
        done = map_ordered(work, items, executor=how, n_jobs=n_jobs)
        for (_, start, stop), (part, sums) in zip(items, done, strict=True):
            out[start:stop] = part
            total = total + sums
    else:
        work = partial(_attached, fill=fill, out=out, minus=minus)
        total = add_in_order(map_ordered(work, items, executor=how, n_jobs=n_jobs))
    if centred:
        ratio = ratio_to_cash(total, n_scenarios, cash)
        local: Executor = "threads" if how in REMOTE else how
        finish = partial(_centre, out=out, ratio=ratio)
        for _ in map_ordered(finish, items, executor=local, n_jobs=n_jobs):
            pass
    if check is not None:
        check(out)
    if paths:
        returns, walked = np.ascontiguousarray(out[:, -1]), out
    else:
        returns, walked = out.reshape(n_scenarios, N + 1), None
    out.setflags(write=False)  # nobody else holds it: no copy is made
    returns.setflags(write=False)
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
        paths=walked,
        seed=int(seed),
        distribution=distribution,
        notes=model.notes,
        synthetic=model.synthetic,
        hindsight_parameters=model.hindsight_parameters,
    )


def _attached(item, *, fill, out, minus):
    return fill(item, out[item[1] : item[2]], minus)


def _detached(item, *, fill, shape, minus):
    part = np.empty((item[2] - item[1], *shape))
    return part, fill(item, part, minus)


def _centre(item, *, out, ratio):
    from engine.kernels.paths import centre

    centre(out[item[1] : item[2]], ratio)
