"""Euler contributions: how much of a risk each holding, role or country carries.

For a risk homogeneous in the weights, ``R = sum_i w_i dR/dw_i`` (Euler). The derivative
of ES is the mean loss of an asset in the tail (Tasche 1999), of VaR its mean loss given
that the book loses VaR (Gourieroux, Laurent and Scaillet 2000), of volatility a
covariance. The middle one is a regression, done on the scenarios near VaR by a local
line (see `engine.risk._kernel`): because the assets' losses sum to the book's, and a
line through the book's losses at VaR is VaR, the sum is VaR with nothing rescaled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine._typing import Matrix, Vector
from engine.data.portfolio import cash_label
from engine.errors import DataError, ModelError, UsageError
from engine.risk import _kernel
from engine.risk._intervals import require_tail, value_at_risk_error
from engine.risk._measures import check_level, expected_shortfall, value_at_risk

MEASURES = ("expected_shortfall", "value_at_risk", "volatility")
_ROWS = 4096  # scenarios read at a time: 16 MB at 500 assets


@dataclass(frozen=True, slots=True, eq=False)
class Contributions(Value):
    """Contributions that sum to the risk.

    Attributes
    ----------
    labels : tuple of str
    values : (M,) float64
        In the unit of the risk; they sum to ``total``.
    total : float
    measure, grouping : str
    level : float
    errors : (M,) float64
        Standard errors of the values, scenarios being independent draws; NaN where
        fewer than ten (effective) scenarios lie beyond VaR.
    """

    labels: tuple[str, ...]
    values: np.ndarray
    total: float
    measure: str
    grouping: str
    level: float
    errors: np.ndarray
    _source: Any = None

    def __post_init__(self) -> None:
        for name in ("values", "errors"):
            array = frozen_array(
                getattr(self, name),
                name="contributions",
                ndim=1,
                shape=(len(self.labels),),
                finite=name == "values",
            )
            object.__setattr__(self, name, array)

    def __reduce__(self):
        # The scenarios behind the numbers may be gigabytes: they stay at home.
        kept = self if self._source is None else replace(self, _source=None)
        return Value.__reduce__(kept)

    def by(self, grouping: str) -> Contributions:
        """Contributions of roles, countries, currencies, sectors, ..., with errors.

        Read again from the scenarios, because errors do not add up; not after pickling.
        """
        if self._source is None:
            raise UsageError(
                "the scenarios did not travel with these contributions",
                fix="Call contributions(..., by=...) where the scenarios are.",
            )
        scenarios, weights, bandwidth = self._source
        return contributions(
            scenarios,
            weights,
            measure=self.measure,
            level=self.level,
            by=grouping,
            bandwidth=bandwidth,
        )

    def to_frame(self):
        """Return a table by size of contribution, with errors and shares."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                self.grouping: self.labels,
                "contribution": self.values,
                "error": self.errors,
            }
        )
        frame["share"] = frame["contribution"] / self.total if self.total else np.nan
        return frame.sort_values("contribution", ascending=False, ignore_index=True)

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())

    def __repr__(self) -> str:
        return (
            f"Contributions({self.measure} {self.total:.6g} by {self.grouping}, "
            f"{len(self.labels)} parts)"
        )


class _Estimate(NamedTuple):
    """Risk, and per column of exposures its part and the variance of the part."""

    total: float
    values: Vector
    variance: Vector


def contributions(
    scenarios: Any,
    weights: Any,
    *,
    measure: str = "expected_shortfall",
    level: float = 0.95,
    by: str = "asset",
    bandwidth: float | None = None,
) -> Contributions:
    """Euler contributions to a risk measure, with their standard errors.

    Parameters
    ----------
    scenarios : ScenarioSet
    weights : (N,) float64 or Portfolio
        In the order of ``scenarios.assets``; a portfolio is laid out by label.
    measure : {"expected_shortfall", "value_at_risk", "volatility"}
        ES: ``w_i E[L_i | tail]``, the atom at VaR split in proportion to probability.
        VaR: ``w_i E[L_i | L = VaR]`` by a local line with Epanechnikov's kernel,
        because one scenario's contributions are noise. Volatility:
        ``w_i cov(L_i, L) / sd(L)``.
    level : float, default 0.95
    by : str, default "asset"
        Or role, country, currency, sector, region, venue: summed over members.
    bandwidth : float, optional
        Half width of the window around VaR, in units of loss; by default Silverman's
        rule. Read for VaR, and for the errors of ES.

    Returns
    -------
    Contributions
        They sum to the risk as the function of its name gives it.

    Notes
    -----
    Errors are those of the influence functions: ``psi_i = (X_i - m_i) 1{tail} /
    (1 - level) - (C_i - m_i)`` for ES, ``m_i = E[X_i | L = VaR]`` and X_i the loss on
    holding i; residuals of the local line and the error of VaR itself for VaR. Only
    rows in the tail or in the window are read, beyond the one product with the weights.
    """
    level, w = _check(scenarios, weights, measure, level)
    if bandwidth is not None and not 0.0 < bandwidth < np.inf:
        raise UsageError("bandwidth is a positive loss", received=bandwidth)
    labels, columns = _columns(scenarios, w, by)
    done = _estimate(scenarios, w, columns, measure, level, bandwidth)
    return Contributions(
        labels=labels,
        values=done.values,
        total=done.total,
        measure=measure,
        grouping=by,
        level=level,
        errors=np.sqrt(np.maximum(done.variance, 0.0)),
        _source=(scenarios, w, bandwidth),
    )


def marginal(
    scenarios: Any,
    weights: Any,
    *,
    measure: str = "expected_shortfall",
    level: float = 0.95,
    bandwidth: float | None = None,
):
    """Marginal risk: the derivative of the risk by each weight.

    Parameters
    ----------
    scenarios, weights, measure, level, bandwidth
        As for `contributions`.

    Returns
    -------
    Series of length N, by asset
        Risk per unit of weight, for assets not held as well; the product with the
        weights is the contributions.
    """
    import pandas as pd

    level, w = _check(scenarios, weights, measure, level)
    one = np.ones(len(scenarios.assets))
    done = _estimate(
        scenarios,
        w,
        lambda rows: -scenarios.returns[rows] * one,
        measure,
        level,
        bandwidth,
        errors=False,
    )
    return pd.Series(done.values, index=list(scenarios.assets), name=measure)


def incremental(
    scenarios: Any,
    weights: Any,
    *,
    measure: str = "expected_shortfall",
    level: float = 0.95,
    proceeds: Literal["cash", "pro_rata"] = "cash",
):
    """Incremental risk: with each holding, minus without it.

    Parameters
    ----------
    scenarios, weights, measure, level
        As for `contributions`.
    proceeds : {"cash", "pro_rata"}
        Where the money of a holding goes: to the base currency's cash (earning nothing
        where the scenarios hold none), or to the other holdings in proportion.

    Returns
    -------
    Series of length N, by asset
        Positive where the holding adds to the risk; zero where nothing is held, and
        for the cash itself when proceeds go there.
    """
    import pandas as pd

    level, w = _check(scenarios, weights, measure, level)
    if proceeds not in ("cash", "pro_rata"):
        raise UsageError(
            "unknown use of proceeds",
            received=repr(proceeds),
            expected="cash or pro_rata",
        )
    risk = _risk(measure, level, scenarios.p)
    losses = scenarios.losses(w)
    label = cash_label(scenarios.base_currency)
    cash = np.zeros(losses.size)
    if label in scenarios.assets:
        cash = np.array(scenarios.returns[:, scenarios.assets.index(label)])
    whole, out = risk(losses), np.zeros(w.size)
    held = np.flatnonzero(w)
    for start in range(0, held.size, 8):  # a cache line of columns at a time
        block = held[start : start + 8]
        part = np.ascontiguousarray(scenarios.returns[:, block].T)
        for i, r in zip(block, part, strict=True):
            without = losses + w[i] * r
            if proceeds == "cash":
                without -= w[i] * cash
            else:
                left = w.sum() - w[i]
                if abs(left) < 1e-12:
                    raise DataError(
                        "no other holding can take the proceeds",
                        asset=scenarios.assets[i],
                        fix="Use proceeds='cash'.",
                    )
                without *= w.sum() / left
            out[i] = whole - risk(without)
    if proceeds == "cash" and label in scenarios.assets:
        out[scenarios.assets.index(label)] = 0.0
    return pd.Series(out, index=list(scenarios.assets), name=measure)


def _check(
    scenarios: Any, weights: Any, measure: str, level: float
) -> tuple[float, Vector]:
    if measure not in MEASURES:
        raise UsageError(
            "unknown risk measure",
            received=repr(measure),
            expected=", ".join(MEASURES),
        )
    return check_level(level), scenarios.align(weights)


def _risk(measure: str, level: float, p: Vector) -> Callable[[Vector], float]:
    def deviation(losses: Vector) -> float:
        return float(np.sqrt(p @ (losses - p @ losses) ** 2))

    return {
        "volatility": deviation,
        "expected_shortfall": lambda x: expected_shortfall(x, level=level, p=p),
        "value_at_risk": lambda x: value_at_risk(x, level=level, p=p),
    }[measure]


def _columns(
    scenarios: Any, w: Vector, by: str
) -> tuple[tuple[str, ...], Callable[[Any], Matrix]]:
    """Labels, and what reads the losses (R, M) of each part in some scenarios."""
    returns = scenarios.returns
    if by == "asset":
        return scenarios.assets, lambda rows: -returns[rows] * w
    keys = [k or "not stated" for k in scenarios.universe.labels(by)]
    names = tuple(dict.fromkeys(keys))
    members = np.zeros((w.size, len(names)))
    members[np.arange(w.size), [names.index(k) for k in keys]] = w
    return names, lambda rows: -(returns[rows] @ members)


def _estimate(
    scenarios: Any,
    w: Vector,
    columns: Callable[[Any], Matrix],
    measure: str,
    level: float,
    bandwidth: float | None,
    errors: bool = True,
) -> _Estimate:
    losses, p = scenarios.losses(w), scenarios.p
    if measure == "volatility":
        return _volatility(losses, p, columns, errors)
    var = value_at_risk(losses, level=level, p=p)
    if measure == "expected_shortfall" and not errors:
        return _shortfall(losses, p, columns, level, var, None)
    rows, q, tilt = _kernel.window(losses, p, var, bandwidth)
    if measure == "expected_shortfall":
        at = _sum([q[b] @ columns(rows[b]) for b in _pieces(rows.size)])
        return _shortfall(losses, p, columns, level, var, at)
    X = columns(rows)
    at = q @ X  # E[X_i | L = VaR]
    if not errors:
        return _Estimate(var, at, np.zeros_like(at))
    slope = tilt @ X
    residual = X - at - np.outer(losses[rows] - var, slope)
    own = 0.0
    if slope.any():
        try:
            own = value_at_risk_error(losses, level=level, p=p)
        except ModelError:
            own = np.nan
    return _Estimate(var, at, q**2 @ residual**2 + (slope * own) ** 2)


def _shortfall(
    losses: Vector,
    p: Vector,
    columns: Callable[[Any], Matrix],
    level: float,
    var: float,
    at: Vector | None,
) -> _Estimate:
    rows = np.flatnonzero((losses >= var) & (p > 0))
    q = p[rows].copy()
    atom = losses[rows] == var
    lacking = max(0.0, (1.0 - level) - float(q[~atom].sum()))
    if atom.any():  # takes what the tail still lacks, each scenario in proportion
        q[atom] *= lacking / q[atom].sum()
    q /= q.sum()
    total = max(var, float(q @ losses[rows]))
    squares = np.where(atom, 0.0, p[rows] ** 2)
    parts, first, second = [], [], []
    for b in _pieces(rows.size):
        X = columns(rows[b])
        parts.append(q[b] @ X)
        if at is not None:
            X -= at
            first.append(squares[b] @ X)
            X *= X
            second.append(squares[b] @ X)
    values = _sum(parts)
    if at is None:
        return _Estimate(total, values, np.zeros_like(values))
    try:
        require_tail(p, rows[~atom], level, "contribution error")
    except ModelError:
        return _Estimate(total, values, np.where(values == 0.0, 0.0, np.nan))
    # sum p^2 ((X - m) 1{tail} / (1 - level) - (C - m))^2, multiplied out.
    d = values - at
    variance = _sum(second) / (1.0 - level) ** 2
    variance -= 2.0 * d * _sum(first) / (1.0 - level)
    return _Estimate(total, values, variance + float(p @ p) * d**2)


def _sum(parts: list[Vector]) -> Vector:
    return np.add.reduce(parts)


def _pieces(rows: int) -> list[slice]:
    """Rows in pieces that stay in the cache between gathering and summing."""
    return [slice(a, a + 256) for a in range(0, rows, 256)]


def _volatility(
    losses: Vector, p: Vector, columns: Callable[[Any], Matrix], errors: bool
) -> _Estimate:
    centred = losses - p @ losses
    sd = float(np.sqrt(p @ centred**2))
    if sd <= 1e-15 * max(float(np.abs(losses).max()), 1e-300):
        raise DataError("the portfolio has no volatility to attribute")
    blocks = [slice(a, a + _ROWS) for a in range(0, losses.size, _ROWS)]
    a = centred / sd
    mean = np.add.reduce([p[b] @ columns(b) for b in blocks])
    values = np.add.reduce([(p[b] * a[b]) @ (columns(b) - mean) for b in blocks])
    if not errors:
        return _Estimate(sd, values, np.zeros_like(values))
    c = 0.5 * (1.0 + a**2)
    variance = np.add.reduce(
        [
            p[b] ** 2 @ (a[b, None] * (columns(b) - mean) - c[b, None] * values) ** 2
            for b in blocks
        ]
    )
    return _Estimate(sd, values, variance)


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
