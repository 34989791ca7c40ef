"""How much of a backtest is search: overfitting probability, and purged splits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from engine._base import frozen_array
from engine._typing import Matrix, Vector
from engine.errors import DataError, ModelError, UsageError

_MOST_SPLITS = 200_000


class Overfitting(NamedTuple):
    """Probability of backtest overfitting and what it rests on.

    Attributes
    ----------
    probability : float
        Share of splits in which the winner of one half ranks at or below the median
        of the other.
    logits : (C,) float64
        Logit of the relative rank out of sample of each split's winner.
    slope : float
        Of the winner's ratio out of sample on that in sample: below zero, the better
        it looked the worse it was.
    loss_probability : float
        Share of splits whose winner has a negative ratio out of sample.
    n_splits, n_trials : int
    """

    probability: float
    logits: Vector
    slope: float
    loss_probability: float
    n_splits: int
    n_trials: int


def pbo(returns: Any, *, n_blocks: int = 16) -> Overfitting:
    """Probability of backtest overfitting, combinatorially symmetric cross-validation.

    Parameters
    ----------
    returns : (T, N) float64
        Excess returns of all N trials on the same T dates, every trial that was made
        and not the best ones. No NaN.
    n_blocks : int, default 16
        Even; the rows are cut into this many blocks of equal length, the rest of T
        being left out at the beginning.

    Returns
    -------
    Overfitting

    Raises
    ------
    DataError
        Fewer than two trials, or blocks of fewer than two dates.

    References
    ----------
    Bailey, Borwein, Lopez de Prado, Zhu (2017), section 3: the Sharpe ratio ranks, and
    the probability is the share of logits at or below zero.
    """
    x = frozen_array(returns, name="returns of the trials", ndim=2)
    if isinstance(n_blocks, bool) or n_blocks < 2 or n_blocks % 2:
        raise UsageError(
            "n_blocks must be even", received=n_blocks, expected="2, 4, 6 and so on"
        )
    T, N = x.shape
    size = T // n_blocks
    if N < 2 or size < 2:
        raise DataError(
            "too few trials or dates for this many blocks",
            received=f"{N} trials, {T} dates, {n_blocks} blocks",
            expected="two trials and two dates a block, or more",
            fix="Lower n_blocks, or keep the returns of every trial.",
        )
    if math.comb(n_blocks, n_blocks // 2) > _MOST_SPLITS:
        raise UsageError("too many blocks to try every split", received=n_blocks)
    cut = x[T - size * n_blocks :].reshape(n_blocks, size, N)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    halves = np.array(
        list(itertools.combinations(range(n_blocks), n_blocks // 2)), dtype=np.int64
    )
    inside = np.zeros((halves.shape[0], n_blocks))
    np.put_along_axis(inside, halves, 1.0, axis=1)
    rows = size * n_blocks // 2
    seen = _ratios(inside @ sums, inside @ squares, rows)
    unseen = _ratios((1.0 - inside) @ sums, (1.0 - inside) @ squares, rows)
    best = seen.argmax(axis=1)
    at = np.arange(best.size)
    won = unseen[at, best]
    below = (unseen < won[:, None]).sum(axis=1)
    equal = (unseen == won[:, None]).sum(axis=1)
    rank = (below + 0.5 * (equal + 1)) / (N + 1)
    logits = np.log(rank / (1.0 - rank))
    chosen = seen[at, best]
    spread = chosen - chosen.mean()
    power = float(spread @ spread)
    slope = float(spread @ (won - won.mean()) / power) if power > 0 else math.nan
    return Overfitting(
        float(np.mean(logits <= 0.0)),
        logits,
        slope,
        float(np.mean(won < 0.0)),
        best.size,
        N,
    )


def _ratios(sums: Matrix, squares: Matrix, n: int) -> Matrix:
    mean = sums / n
    variance = squares / n - mean**2
    floor = 1e-18 * np.maximum(squares / n, 1e-300)
    return np.where(
        variance > floor, mean / np.sqrt(np.maximum(variance, floor)), -np.inf
    )


class PurgedSplit(NamedTuple):
    """One split: rows to fit on, rows to judge, and the groups judged."""

    train: np.ndarray
    test: np.ndarray
    groups: tuple[int, ...]


def combinatorial_purged_splits(
    n_rows: int,
    *,
    n_groups: int = 6,
    n_test_groups: int = 2,
    purge: int = 0,
    embargo: int = 0,
) -> Iterator[PurgedSplit]:
    """Splits of combinatorial purged cross-validation (Lopez de Prado 2018, ch. 12).

    Parameters
    ----------
    n_rows : int
        Dates, in order.
    n_groups, n_test_groups : int, default 6 and 2
        Consecutive groups, and how many of them are judged at a time.
    purge : int, default 0
        Training rows dropped on each side of a tested stretch: the length over which
        an outcome of a training row still runs. It never shortens what is tested.
    embargo : int, default 0
        Further training rows dropped after a tested stretch, for serial dependence.

    Yields
    ------
    PurgedSplit
        In the order of ``itertools.combinations``.
    """
    for name, value, least in (
        ("n_rows", n_rows, 2),
        ("n_groups", n_groups, 2),
        ("n_test_groups", n_test_groups, 1),
        ("purge", purge, 0),
        ("embargo", embargo, 0),
    ):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise UsageError(
                f"{name} is a whole number", received=value, expected=f">= {least}"
            )
    if not n_test_groups < n_groups <= n_rows:
        raise UsageError(
            "groups do not fit",
            received=f"{n_rows} rows, {n_groups} groups, {n_test_groups} tested",
            expected="tested < groups <= rows",
        )
    edges = _edges(n_rows, n_groups)
    for chosen in itertools.combinations(range(n_groups), n_test_groups):
        tested = np.zeros(n_rows, dtype=bool)
        barred = np.zeros(n_rows, dtype=bool)
        for g in chosen:
            low, high = edges[g], edges[g + 1]
            tested[low:high] = True
            barred[max(0, low - purge) : high + purge + embargo] = True
        train = np.flatnonzero(~barred)
        if not train.size:
            raise ModelError(
                "purge and embargo leave nothing to fit on",
                received=f"{purge} and {embargo} rows, test groups {chosen}",
            )
        yield PurgedSplit(train, np.flatnonzero(tested), chosen)


def _edges(n_rows: int, n_groups: int) -> np.ndarray:
    """Bounds of nearly equal groups; the first ones take the odd rows."""
    size, rest = divmod(n_rows, n_groups)
    return np.concatenate(
        [[0], np.cumsum([size + (i < rest) for i in range(n_groups)])]
    )


def number_of_paths(n_groups: int, n_test_groups: int) -> int:
    """Whole paths that the splits make: every group is judged in as many splits."""
    return math.comb(n_groups - 1, n_test_groups - 1)


def combinatorial_paths(
    evaluate: Callable[[np.ndarray, np.ndarray], Any],
    n_rows: int,
    *,
    n_groups: int = 6,
    n_test_groups: int = 2,
    purge: int = 0,
    embargo: int = 0,
) -> Matrix:
    """Out-of-sample paths of a rule under combinatorial purged cross-validation.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(train, test)`` fits on the rows ``train`` and returns the rule's
        returns on the rows ``test``, in their order.
    n_rows, n_groups, n_test_groups, purge, embargo
        As for `combinatorial_purged_splits`.

    Returns
    -------
    (P, n_rows) float64
        P = comb(n_groups - 1, n_test_groups - 1) paths, each covering every row once:
        the distribution of what a single walk shows one draw of.

    Notes
    -----
    Training rows may lie after the tested ones: this judges how sensitive a rule is to
    the sample it was fitted on, and is no record that anyone could have earned.
    """
    edges = _edges(n_rows, n_groups)
    paths = np.full((number_of_paths(n_groups, n_test_groups), n_rows), np.nan)
    filled = np.zeros(n_groups, dtype=np.int64)
    for split in combinatorial_purged_splits(
        n_rows,
        n_groups=n_groups,
        n_test_groups=n_test_groups,
        purge=purge,
        embargo=embargo,
    ):
        values = np.asarray(evaluate(split.train, split.test), dtype=np.float64)
        if values.shape != split.test.shape or not np.isfinite(values).all():
            raise ModelError(
                "the rule did not return one finite return for each row",
                received=f"shape {values.shape}, test groups {split.groups}",
                expected=f"shape {split.test.shape}",
            )
        for g in split.groups:
            low, high = int(edges[g]), int(edges[g + 1])
            inside = (split.test >= low) & (split.test < high)
            paths[filled[g], low:high] = values[inside]
            filled[g] += 1
    return paths
