"""What pairs of assets share: labels in, indicators (K, N, N) out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.data.roles import INFRASTRUCTURE
from engine.errors import DataError, UsageError

NOBODY = frozenset({"none", "unknown"})
"""Labels that two assets never share: absence of a theme, and not knowing one."""

AI_PAIRS: Mapping[str, tuple[str, frozenset[str], frozenset[str]]] = {
    "ai": ("role", INFRASTRUCTURE, INFRASTRUCTURE),
    "ai_software": ("role", INFRASTRUCTURE, frozenset({"software"})),
}
"""The pairs of the key stress: intra-AI up, AI to software down."""


def indicators(
    labels: Any, columns: Any, N: int, pairs: Mapping[str, Any] | None
) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray]:
    """Return assets, features and indicators; the first feature is the constant."""
    if columns is not None:
        assets = tuple(str(c) for c in columns)
    else:
        assets = tuple(f"column {i}" for i in range(N))
    table = _table(labels, columns, assets)
    if pairs is None:
        pairs = AI_PAIRS if "role" in table else {}
        pairs = {
            name: rule
            for name, rule in pairs.items()
            if _members(table["role"], rule[1]).any()
            and _two(_members(table["role"], rule[1]), _members(table["role"], rule[2]))
        }
    features: list[str] = ["common"]
    planes = [np.ones((N, N))]
    for kind, column in table.items():
        codes = np.asarray(column, dtype=object)
        same = codes[:, None] == codes[None, :]
        shared = ~_members(column, NOBODY)
        planes.append((same & shared[:, None]).astype(np.float64))
        features.append(kind)
    for name, rule in pairs.items():
        if name in features:
            raise UsageError("two features of a pair share a name", received=name)
        planes.append(_plane(name, rule, table))
        features.append(name)
    Z = np.stack(planes)
    Z[:, np.arange(N), np.arange(N)] = 0.0
    return assets, tuple(features), Z


def _members(column: tuple[str, ...], labels: Any) -> np.ndarray:
    return np.array([label in labels for label in column])


def _two(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether any pair of different assets is in the one set and the other."""
    both = np.outer(first, second)
    np.fill_diagonal(both, False)
    return bool(both.any())


def _plane(name: str, rule: Any, table: Mapping[str, tuple[str, ...]]) -> np.ndarray:
    try:
        kind, first, second = rule
    except (TypeError, ValueError):
        raise UsageError(
            f"the pair feature {name} is not understood",
            received=repr(rule),
            expected="(column, first labels, second labels)",
        ) from None
    if kind not in table:
        raise UsageError(
            f"the pair feature {name} names a column that is not there",
            received=repr(kind),
            expected=", ".join(table),
        )
    one = _members(table[kind], {first} if isinstance(first, str) else set(first))
    two = _members(table[kind], {second} if isinstance(second, str) else set(second))
    plane = np.outer(one, two)
    return (plane | plane.T).astype(np.float64)


def _table(labels: Any, columns: Any, assets: tuple[str, ...]) -> dict[str, tuple]:
    """Labels by kind, in the order of the assets."""
    if hasattr(labels, "tickers"):  # a Universe
        missing = [a for a in assets if a not in labels.tickers]
        if missing:
            raise DataError("the universe lacks an asset", asset=missing[0])
        chosen = labels.select(assets)
        raw = {k: getattr(chosen, k) for k in ("role", "country", "sector")}
        raw = {k: column for k, column in raw.items() if len(set(column)) > 1}
    elif hasattr(labels, "columns"):
        if columns is not None:
            missing = [c for c in columns if c not in labels.index]
            if missing:
                raise DataError("no labels are given for an asset", asset=missing[0])
            if labels.index.has_duplicates:
                twice = labels.index[labels.index.duplicated()][0]
                raise DataError("labels list an asset twice", asset=str(twice))
            labels = labels.loc[list(columns)]
        raw = {str(k): labels[k].tolist() for k in labels.columns}
    elif isinstance(labels, Mapping):
        raw = {str(k): list(v) for k, v in labels.items()}
    else:
        raise UsageError(
            "labels must be a DataFrame, a Universe or a mapping",
            received=type(labels).__name__,
        )
    if not raw:
        raise UsageError("give at least one column of labels")
    table: dict[str, tuple] = {}
    for kind, column in raw.items():
        if len(column) != len(assets):
            raise DataError(
                f"the labels {kind} do not match the assets",
                received=len(column),
                expected=len(assets),
            )
        for asset, label in zip(assets, column, strict=True):
            if label is None or label != label or not str(label).strip():
                raise DataError(
                    f"the label {kind} is missing",
                    asset=asset,
                    fix="Give it, or 'unknown', which is shared with nobody.",
                )
        table[kind] = tuple(str(label).strip() for label in column)
    return table
