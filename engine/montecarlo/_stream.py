"""Losses of books while the scenarios are drawn: nothing of size (S, N) is held.

Draws are addressed by block, so that a second pass sees the same scenarios again: that
is how centring, and the exact tail of very many scenarios, need no storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from engine.data.portfolio import cash_label
from engine.errors import DataError, ModelError, UsageError
from engine.model import ReturnModel
from engine.montecarlo._common import (
    add_in_order,
    cash_growth,
    check_counts,
    choose,
    periods_of,
    ratio_to_cash,
)
from engine.montecarlo._laws import Law, draw, law_of
from engine.parallel import BLOCK_SIZE, BlockStream, Executor, blocks, map_ordered
from engine.scenarios import align_weights

BINS = 4096
_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class StreamedRisk:
    """Tail of one book over scenarios that were never stored.

    Attributes
    ----------
    value_at_risk, expected_shortfall : float
        Over the horizon, positive for a loss; exact for the scenarios drawn.
    level : float
    n_scenarios : int
    mean, worst : float
        Mean and largest loss.
    """

    value_at_risk: float
    expected_shortfall: float
    level: float
    n_scenarios: int
    mean: float
    worst: float


def stream(
    model: ReturnModel,
    n_scenarios: int,
    *,
    weights: Any,
    horizon: int = 21,
    distribution: str | None = None,
    skew: float | None = None,
    stress: tuple[float, float] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
) -> np.ndarray:
    """Losses of one or many books, without holding the scenarios.

    Parameters
    ----------
    model : ReturnModel
    n_scenarios : int
    weights : Portfolio, mapping, (M,) or (M, B) array_like, or DataFrame
        Books on the model's assets and base-currency cash, in that order (M = N + 1),
        buy-and-hold; a DataFrame is indexed by asset, one column per book.
    horizon, distribution, skew, stress, seed, n_jobs, executor
        As in `engine.simulate`.

    Returns
    -------
    (S,) or (S, B) float64
        Losses over the horizon: those of ``simulate(...).losses(weights)`` to the
        rounding of a sum. Under the zero-excess mean the scenarios are drawn twice,
        once to find their mean.

    Raises
    ------
    ModelError
        The losses alone would not fit in memory; or as in `engine.simulate`.
    """
    check_counts(n_scenarios, horizon)
    # Before the list of blocks exists: that alone may be too much.
    _check_losses(n_scenarios, _books(model, weights)[0].shape[1])
    run = _Run(
        model, n_scenarios, weights, horizon, distribution, skew, stress, seed, n_jobs,
        executor,
    )  # fmt: skip
    out = np.empty((n_scenarios, run.W.shape[1]))
    for (_, start, stop), part in run.losses():
        out[start:stop] = part
    return out[:, 0] if run.single else out


def stream_risk(
    model: ReturnModel,
    n_scenarios: int,
    *,
    weights: Any,
    level: float = 0.95,
    horizon: int = 21,
    distribution: str | None = None,
    skew: float | None = None,
    stress: tuple[float, float] | None = None,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
) -> StreamedRisk | list[StreamedRisk]:
    """VaR and expected shortfall of any number of scenarios, in bounded memory.

    Two passes over the same draws. The first counts losses in 4096 bins and finds the
    bin of the quantile; the second keeps the losses of that bin alone and adds up
    those above it. The answer is exact, not binned: it is that of
    ``engine.risk.expected_shortfall`` on the stored losses, to the rounding of a sum.

    Parameters
    ----------
    model, n_scenarios, weights
        As in `engine.stream`.
    level : float, default 0.95
    horizon, distribution, skew, stress, seed, n_jobs, executor
        As in `engine.stream`.

    Returns
    -------
    StreamedRisk, or a list of them, one per book
    """
    if not 0.0 < level < 1.0:
        raise UsageError(
            "level is a confidence between 0 and 1", received=level, expected="0.95"
        )
    run = _Run(
        model, n_scenarios, weights, horizon, distribution, skew, stress, seed, n_jobs,
        executor,
    )  # fmt: skip
    B = run.W.shape[1]
    counts = np.zeros((B, BINS + 2), np.int64)
    sums, worst = np.zeros(B), np.full(B, -np.inf)
    low = width = np.zeros(B)
    for (number, _, _), part in run.losses():
        if number == 0:  # the first block places the bins; what falls outside is kept
            low = part.min(axis=0)
            width = np.maximum(part.max(axis=0) - low, 1e-12) * 2.0 / BINS
        sums += part.sum(axis=0)
        worst = np.maximum(worst, part.max(axis=0))
        for b in range(B):
            counts[b] += np.bincount(_bins(part[:, b], low[b], width[b]),
                                     minlength=BINS + 2)  # fmt: skip
    # The smallest l with P(L <= l) >= level is the k-th smallest loss.
    k = max(1, int(np.ceil(level * n_scenarios - 1e-9 * max(1.0, level))))
    below = np.cumsum(counts, axis=1)
    home = (below >= k).argmax(axis=1)
    kept: list[list[np.ndarray]] = [[] for _ in range(B)]
    above, n_above = np.zeros(B), np.zeros(B, np.int64)
    for _, part in run.losses():
        for b in range(B):
            where = _bins(part[:, b], low[b], width[b])
            kept[b].append(part[where == home[b], b])
            over = part[where > home[b], b]
            above[b] += over.sum()
            n_above[b] += over.size
    results = []
    for b in range(B):
        inside = np.sort(np.concatenate(kept[b]))
        rank = k - (int(below[b, home[b]]) - inside.size)
        var = float(inside[rank - 1])
        tail = above[b] + inside[rank:].sum()
        count = int(n_above[b]) + inside.size - rank
        share = (1.0 - level) * n_scenarios
        es = (tail + var * (share - count)) / share
        results.append(
            StreamedRisk(
                value_at_risk=var,
                expected_shortfall=float(es),
                level=level,
                n_scenarios=n_scenarios,
                mean=float(sums[b] / n_scenarios),
                worst=float(worst[b]),
            )
        )
    return results[0] if run.single else results


def rebalanced_book(
    model: ReturnModel,
    n_scenarios: int,
    *,
    weights: Any,
    horizon: int = 21,
    seed: int = 0,
    n_jobs: int = 1,
    executor: Executor | None = None,
) -> np.ndarray:
    """(S,) losses of a book brought back to its weights after every period, free.

    The simple return of such a book in a period is ``w'r``: one number with mean
    ``w'mean`` and variance ``w'Sigma w``, so that nothing of dimension N is drawn.
    Exact for a model of simple returns, Gaussian or Student-t; a log-return model is
    refused, because a sum of lognormals has no such law.

    Parameters
    ----------
    model : ReturnModel
        With ``return_kind "simple"``.
    n_scenarios
        As in `engine.simulate`. Under the zero-excess mean, the mean of each asset is
        cash in the law, not exactly in the sample.
    weights : Portfolio, mapping or (M,) array_like
        On the model's assets and base-currency cash (M = N + 1).
    horizon, seed, n_jobs, executor
        As in `engine.simulate`.

    Returns
    -------
    (S,) float64
        Losses positive, decimals of net assets.
    """
    check_counts(n_scenarios, horizon)
    if model.return_kind != "simple":
        raise ModelError(
            "the law of a rebalanced book needs simple returns",
            received=f"a model of {model.return_kind} returns",
            fix="Use simulate(..., paths=True).book_paths(weights, rebalance=1).",
        )
    periods = periods_of(model, horizon)
    labels = (*model.assets, cash_label(model.base_currency))
    w = align_weights(labels, weights)
    cash = float(cash_growth(model, 1, paths=False)[0]) - 1.0
    risky = w[:-1]
    mean = model.mean if model.mean_kind != "zero_excess" else np.full(risky.size, cash)
    variance = float(risky @ (model.covariance @ risky))
    _check_losses(n_scenarios, 1)
    out = np.empty(n_scenarios)
    work = partial(
        _product,
        periods=periods,
        mean=float(risky @ mean + w[-1] * cash),
        deviation=float(np.sqrt(max(variance, 0.0))),
        dof=model.tail_dof,
        seed=int(BlockStream(seed).seed),
    )
    whole = blocks(n_scenarios)
    # A block takes tens of microseconds: several go to a worker at once.
    items = [whole[i : i + _TOGETHER] for i in range(0, len(whole), _TOGETHER)]
    how = choose(executor, n_jobs)
    done = map_ordered(work, items, executor=how, n_jobs=n_jobs)
    for item, part in zip(items, done, strict=True):
        out[item[0][1] : item[-1][2]] = part
    if out.max() >= 1.0:
        raise ModelError(
            "a rebalanced book loses everything",
            received=f"loss {out.max():.4f}",
            fix="Lower the leverage, or fit log returns.",
        )
    return out


def _product(item, *, periods, mean, deviation, dof, seed):
    from engine.kernels.paths import products

    count = BLOCK_SIZE * periods
    scale = np.empty((0, 0))
    out = np.empty((len(item), BLOCK_SIZE))
    for row, (block, _, _) in zip(out, item, strict=True):
        z = BlockStream(seed, "normal").normals(block, count)
        if np.isfinite(dof):
            chi2 = BlockStream(seed, "chi2").chi_squares(block, count, dof)
            scale = np.sqrt((dof - 2.0) / chi2).reshape(periods, BLOCK_SIZE)
        products(z.reshape(periods, BLOCK_SIZE), scale, mean, deviation, row)
    return out.ravel()[: item[-1][2] - item[0][1]]


class _Run:
    """The checked arguments of one stream, and its passes over the blocks."""

    def __init__(
        self, model, n_scenarios, weights, horizon, distribution, skew, stress, seed,
        n_jobs, executor,
    ):  # fmt: skip
        check_counts(n_scenarios, horizon)
        periods = periods_of(model, horizon)
        self.W, self.single = _books(model, weights)
        self.items = blocks(n_scenarios)
        self.cash = cash_growth(model, periods, paths=False)
        self.law = law_of(
            model, periods, distribution=distribution, skew=skew, stress=stress,
            seed=seed, paths=False, cash=self.cash,
        )  # fmt: skip
        self.how: Executor = choose(executor, n_jobs)
        self.n_jobs = n_jobs
        self.ratio = np.ones((1, self.W.shape[0]))
        if model.mean_kind == "zero_excess":
            work = partial(_block_sums, law=self.law)
            sums = add_in_order(self._map(work))
            self.ratio = ratio_to_cash(sums, n_scenarios, self.cash)

    def _map(self, work):
        return map_ordered(work, self.items, executor=self.how, n_jobs=self.n_jobs)

    def losses(self):
        """Yield ``(item, losses (n, B))`` in order."""
        work = partial(
            _block_losses,
            law=self.law,
            W=self.W * self.ratio.T,
            total=self.W.sum(axis=0),
        )
        return zip(self.items, self._map(work), strict=True)


def _block_growth(item, law: Law) -> tuple[np.ndarray, np.ndarray]:
    growth = np.empty((item[2] - item[1], 1, law.mean.size + 1))
    sums = draw(item, growth, 0.0, law=law)
    return growth[:, 0], sums


def _block_sums(item, *, law: Law) -> np.ndarray:
    return _block_growth(item, law)[1]


def _block_losses(item, *, law: Law, W, total) -> np.ndarray:
    block, start, stop = item
    # Whole blocks go through BLAS, so that a row's last bits stay (see `draw`).
    growth, _ = _block_growth((block, start, start + BLOCK_SIZE), law)
    if law.simple and growth.min() <= 0.0:
        raise ModelError(
            "a simple-return model loses all or more of an asset",
            received=float(growth.min() - 1.0),
            fix="Fit log returns (the default), or shorten the horizon.",
        )
    return (total - growth @ W)[: stop - start]


def _books(model: ReturnModel, weights: Any) -> tuple[np.ndarray, bool]:
    """(M, B) weights, and whether one book was given."""
    labels = (*model.assets, cash_label(model.base_currency))
    if getattr(weights, "ndim", 0) == 2 and hasattr(weights, "columns"):
        books = [align_weights(labels, weights[c]) for c in weights.columns]
        if not books:
            raise DataError("no book was given", received="a table without columns")
        return np.column_stack(books), False
    if getattr(weights, "ndim", 1) == 2 or (
        isinstance(weights, (list, tuple)) and np.ndim(weights) == 2
    ):
        W = np.ascontiguousarray(weights, dtype=np.float64)
        ok = W.shape[0] == len(labels) and W.shape[1] > 0
        if not ok or not np.isfinite(W).all():
            raise DataError(
                "weights do not match the assets, or hold NaN",
                received=f"shape {W.shape}",
                expected=f"({len(labels)}, books), {labels[-1]} last",
            )
        return W, False
    return align_weights(labels, weights)[:, None].copy(), True


def _bins(x: np.ndarray, low: float, width: float) -> np.ndarray:
    """Bin numbers 0 to BINS + 1; the first and last are open to the outside."""
    return np.clip((x - low) / width + 1.0, 0.0, BINS + 1.0).astype(np.int64)


def _check_losses(S: int, B: int) -> None:
    import os

    need = 8 * S * B
    try:
        have = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return
    if need > have:
        raise ModelError(
            "the losses would not fit in memory",
            received=f"{need / 2**30:.1f} GiB needed, {have / 2**30:.1f} GiB free",
            fix="Draw fewer scenarios, or engine.stream_risk, which stores no loss.",
        )
