"""Many books under many shocks: one matrix product, streamed.

A central push composes as ``(1 + r)(1 + x) - 1 = r (1 + x) + x``: affine in the base
return. The losses of a book under a shock are therefore
``-R (w (1 + x)) - w'x``: one product of the scenarios with a column per book and shock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value
from engine.errors import DataError, UsageError
from engine.parallel import map_ordered, resolve_jobs
from engine.risk import tail
from engine.scenarios import ScenarioSet

_BLOCK_BYTES = 48 * 2**20
"""Losses held at once by a worker; the scenarios themselves are never copied."""


@dataclass(frozen=True, slots=True, eq=False)
class BooksUnderStress(Value):
    """Losses of B books under K shocks over their shocked scenarios.

    Attributes
    ----------
    shocks : tuple of str, length K
    mean, value_at_risk, expected_shortfall : (B, K) float64
        Decimals of each book's net assets. ``mean`` is the stress loss.
    level : float
    """

    shocks: tuple[str, ...]
    mean: np.ndarray
    value_at_risk: np.ndarray
    expected_shortfall: np.ndarray
    level: float

    def to_frame(self):
        """Return one row per book and shock."""
        import pandas as pd

        B, K = self.mean.shape
        return pd.DataFrame(
            {
                "book": np.repeat(np.arange(B), K),
                "shock": list(self.shocks) * B,
                "loss": self.mean.ravel(),
                "value_at_risk": self.value_at_risk.ravel(),
                "expected_shortfall": self.expected_shortfall.ravel(),
            }
        )

    def __repr__(self) -> str:
        B, K = self.mean.shape
        return f"BooksUnderStress({B} books x {K} shocks, level {self.level:g})"


def stress_books(
    books: Any,
    scenarios: ScenarioSet,
    shocks: Sequence[Any],
    *,
    level: float = 0.95,
    n_jobs: int = 1,
) -> BooksUnderStress:
    """Stress loss, value at risk and expected shortfall of many books and shocks.

    Parameters
    ----------
    books : (B, N) array_like or DataFrame
        Weights of ``scenarios.assets``, cash included; a DataFrame is matched by
        column name, and an asset it lacks is not held. No NaN.
    scenarios : ScenarioSet
        Its base leg is shocked.
    shocks : sequence of Shock
        That push returns, at their central move; each as `ScenarioSet.apply` has it.
    level : float, default 0.95
    n_jobs : int, default 1
        Threads; -1 for one per core. Results do not depend on it.

    Returns
    -------
    BooksUnderStress

    Raises
    ------
    DataError
        Weights of the wrong shape, not finite, or of an unknown asset.
    UsageError
        A shock that reweights, or two of one name.
    """
    from engine.risk._measures import check_level

    level = check_level(level)
    W = _weights(books, scenarios.assets)
    shocks = list(shocks)
    if not shocks:
        raise UsageError("give at least one shock")
    names = tuple(shock.name for shock in shocks)
    if len(set(names)) < len(names):
        raise UsageError("two shocks carry one name", received=", ".join(names))
    for shock in shocks:
        if hasattr(shock, "reweight"):
            raise UsageError(
                "a shock that reweights has no move to lay on scenarios",
                received=shock.name,
                fix="Apply it first, and stress the books on its scenarios.",
            )
    base = scenarios.base()
    X = np.stack([s.moves(base.universe, base.model).at("central") for s in shocks])
    equal = bool(np.ptp(base.p) <= 1e-12 / len(base))
    B, K = W.shape[0], len(shocks)
    out = np.empty((3, B, K))
    columns = max(1, _BLOCK_BYTES // (8 * len(base)))
    pieces = [
        (k, start, min(start + columns, B))
        for k in range(K)
        for start in range(0, B, columns)
    ]

    def work(piece: tuple[int, int, int]) -> None:
        k, start, stop = piece
        w = W[start:stop]
        losses = -((w * (1.0 + X[k])) @ base.returns.T)
        losses -= (w @ X[k])[:, None]
        for i, row in enumerate(losses, start):
            both = tail(row, level=level, p=None if equal else base.p)
            mean = row.mean() if equal else row @ base.p
            out[:, i, k] = mean, both.value_at_risk, both.expected_shortfall

    jobs = resolve_jobs(n_jobs)
    for _ in map_ordered(
        work, pieces, executor="serial" if jobs == 1 else "threads", n_jobs=jobs
    ):
        pass
    return BooksUnderStress(
        shocks=names,
        mean=out[0],
        value_at_risk=out[1],
        expected_shortfall=out[2],
        level=level,
    )


def _weights(books: Any, assets: tuple[str, ...]) -> np.ndarray:
    if hasattr(books, "columns"):
        columns = [str(c) for c in books.columns]
        if len(set(columns)) < len(columns):
            raise DataError("books list an asset twice")
        unknown = [c for c in columns if c not in set(assets)]
        if unknown:
            raise DataError("a book holds no scenario asset", asset=unknown[0])
        values = np.zeros((len(books), len(assets)))
        values[:, [assets.index(c) for c in columns]] = np.asarray(books, np.float64)
    else:
        values = np.asarray(books, dtype=np.float64)
    if values.ndim != 2 or not values.size or values.shape[1] != len(assets):
        raise DataError(
            "books do not match the scenarios",
            received=f"shape {values.shape}",
            expected=f"(B, {len(assets)})",
        )
    if not np.isfinite(values).all():
        b, i = (int(v) for v in np.argwhere(~np.isfinite(values))[0])
        raise DataError("a weight is not finite", asset=assets[i], received=f"book {b}")
    return values
