"""Euler contributions: how much of a risk each holding, role or country carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine.errors import DataError, UsageError
from engine.risk._measures import check_level, tail_weights, value_at_risk

MEASURES = ("expected_shortfall", "value_at_risk", "volatility")


@dataclass(frozen=True, slots=True, eq=False)
class Contributions(Value):
    """Contributions that sum to the risk.

    Attributes
    ----------
    labels : tuple of str
    values : (M,) float64
        In the unit of the risk; they sum to ``total``.
    total : float
    measure, by : str
    level : float
    """

    labels: tuple[str, ...]
    values: np.ndarray
    total: float
    measure: str
    by: str
    level: float

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "values",
            frozen_array(
                self.values, name="contributions", ndim=1, shape=(len(self.labels),)
            ),
        )

    def to_frame(self):
        """Return a table sorted by contribution, with shares of the total."""
        import pandas as pd

        frame = pd.DataFrame({self.by: self.labels, "contribution": self.values})
        frame["share"] = frame["contribution"] / self.total if self.total else np.nan
        return frame.sort_values("contribution", ascending=False, ignore_index=True)

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())


def contributions(
    scenarios: Any,
    weights: Any,
    *,
    measure: str = "expected_shortfall",
    level: float = 0.95,
    by: str = "asset",
    smoothing: float = 0.005,
) -> Contributions:
    """Euler contributions to a risk measure.

    Parameters
    ----------
    scenarios : ScenarioSet
    weights : (N,) float64 or Portfolio
        In the order of ``scenarios.assets``; a portfolio is laid out by label.
    measure : {"expected_shortfall", "value_at_risk", "volatility"}
        ES: ``w_i E[L_i | tail]``. VaR: the same over a window of order statistics
        around VaR, because one scenario's contributions are noise; they are rescaled
        to sum to VaR. Volatility: ``w_i cov(L_i, L) / sd(L)``.
    level : float, default 0.95
    by : str, default "asset"
        Or role, country, currency, sector, region, venue: summed over members.
    smoothing : float, default 0.005
        Half width of the VaR window, in probability.

    Returns
    -------
    Contributions
    """
    if measure not in MEASURES:
        raise UsageError(
            "unknown risk measure",
            received=repr(measure),
            expected=", ".join(MEASURES),
        )
    level = check_level(level)
    w = scenarios.align(weights)
    losses = scenarios.losses(w)
    p = scenarios.p
    if measure == "volatility":
        centred = losses - p @ losses
        sd = float(np.sqrt(p @ centred**2))
        if sd == 0:
            raise DataError("the portfolio has no volatility to attribute")
        values = -w * ((p * centred) @ scenarios.returns) / sd
        total = sd
    elif measure == "expected_shortfall":
        q = tail_weights(losses, level=level, p=p)
        values = -w * (q @ scenarios.returns)
        total = float(q @ losses)
    else:
        total = value_at_risk(losses, level=level, p=p)
        order = np.argsort(losses, kind="stable")
        reached = np.cumsum(p[order])
        near = order[np.abs(reached - level) <= smoothing]
        if not near.size:
            near = order[[int(np.argmin(np.abs(reached - level)))]]
        q = p[near] / p[near].sum()
        values = -w * (q @ scenarios.returns[near])
        raw = float(values.sum())
        if raw <= 0:
            raise DataError("value at risk is not positive: nothing to attribute")
        values = values * (total / raw)
    labels, grouped = group(scenarios, values, by)
    return Contributions(labels, grouped, total, measure, by, level)


def group(
    scenarios: Any, values: np.ndarray, by: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Sum per-asset values over the labels of a grouping."""
    if by == "asset":
        return scenarios.assets, values
    keys = [k or "not stated" for k in scenarios.universe.labels(by)]
    names = tuple(dict.fromkeys(keys))
    index = {k: i for i, k in enumerate(names)}
    out = np.zeros(len(names))
    np.add.at(out, [index[k] for k in keys], values)
    return names, out
