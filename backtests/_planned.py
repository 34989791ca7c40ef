"""Targets laid out before a run, checked as proposals are, and against peeking."""

from __future__ import annotations

from typing import Any

import numpy as np

from backtests._failures import named_error
from backtests.clock import Market
from engine._base import check_labels
from engine.data.panel import PricePanel
from engine.data.portfolio import cash_label
from engine.errors import DataError, LookAheadError
from strategies.targets import Targets


def plan(
    strategy: Any,
    panel: PricePanel,
    dates: np.ndarray,
    shown: Market,
    hindsight_parameters: bool,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Targets of every decision over the market's columns, and of base cash.

    None where the strategy has to be asked date by date.

    Raises
    ------
    LookAheadError
        A row changes when what comes after its date is hidden.
    """
    if not _has_targets(strategy):
        return None
    found = _targets(strategy, panel, dates)
    if found is None:
        return None
    base = cash_label(panel.base_currency)
    place = {label: i for i, label in enumerate(shown.labels)}
    if not all(label == base or label in place for label in found.labels):
        return None
    for j in sorted({0, dates.size // 2}):
        view = panel.as_of(dates[j], hindsight_parameters=hindsight_parameters)
        again = _targets(strategy, view.panel, dates[j : j + 1])
        if again is None or not _same(found, j, again):
            raise LookAheadError(
                f"strategy '{strategy.name}': its targets depend on what came later",
                date=dates[j],
                fix="Let row j of targets() follow from panel.as_of(dates[j]) alone.",
            )
    cash = np.zeros(dates.size)
    if base in found.labels:
        cash[:] = found.weights[:, found.labels.index(base)]
    mine = [i for i, label in enumerate(found.labels) if label != base]
    at = [place[found.labels[i]] for i in mine]
    if at == list(range(len(shown.labels))) and at == mine:
        return np.array(found.weights[:, : len(at)], order="C"), cash
    weights = np.zeros((dates.size, len(shown.labels)))
    weights[:, at] = found.weights[:, mine]
    return weights, cash


def _has_targets(strategy: Any) -> bool:
    """Whether ``targets`` speaks for the ``propose`` and ``estimate`` that it has."""
    owners = type(strategy).__mro__

    def owner(name: str) -> int:
        found = (i for i, c in enumerate(owners) if name in vars(c))
        return next(found, len(owners))

    mine = owner("targets")
    return mine < len(owners) and mine <= min(owner("propose"), owner("estimate"))


def _targets(strategy: Any, panel: PricePanel, dates: np.ndarray) -> Targets | None:
    """The strategy's targets, checked as a proposal's are."""
    try:
        found = strategy.targets(panel, dates)
    except Exception as error:
        raise named_error(error, strategy, dates[0]) from error
    if found is None:
        return None
    labels = check_labels(found.labels, name="targets")
    weights = np.asarray(found.weights, dtype=np.float64)
    if weights.shape != (dates.size, len(labels)):
        raise DataError(
            f"strategy '{strategy.name}': its targets have the wrong shape",
            received=weights.shape,
            expected=f"({dates.size}, {len(labels)})",
        )
    total = weights.sum(axis=1)
    wrong = ~(np.abs(total - 1.0) <= 1e-6)
    if wrong.any():
        j = int(np.argmax(wrong))
        raise DataError(
            f"strategy '{strategy.name}': target weights do not sum to one",
            date=dates[j],
            received=f"{total[j]:.8f}",
            expected="1, cash included",
        )
    return Targets(labels, weights)


def _same(found: Targets, j: int, again: Targets) -> bool:
    mine = dict(zip(found.labels, found.weights[j].tolist(), strict=True))
    other = dict(zip(again.labels, again.weights[0].tolist(), strict=True))
    return all(
        mine.get(k, 0.0) == other.get(k, 0.0) for k in mine.keys() | other.keys()
    )
