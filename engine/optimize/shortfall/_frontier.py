"""The frontier of mean against expected shortfall, point by point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine._typing import Matrix, Vector
from engine.errors import UsageError
from engine.optimize.shortfall._choose import Method, minimum_shortfall
from engine.optimize.shortfall._conflict import Limits, explain
from engine.optimize.shortfall._problem import ShortfallProblem, ShortfallSolution

REQUIRED = "required mean"
_INSIDE = 1e-6
"""How far inside the largest mean the last point lies, as a share of the range: at the
end itself only one portfolio is left, and its price is not unique."""


@dataclass(frozen=True, slots=True, eq=False)
class ShortfallFrontier(Value):
    """Least objective at each required mean.

    Attributes
    ----------
    required : (K,) float64
        Required means, rising.
    solutions : tuple of ShortfallSolution, length K
        The price of ``required mean`` is the slope of the frontier there.
    mean : (N,) float64
    """

    required: Vector
    solutions: tuple[ShortfallSolution, ...]
    mean: Vector

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "required", frozen_array(self.required, name="required", ndim=1))
        put(self, "mean", frozen_array(self.mean, name="mean", ndim=1))
        put(self, "solutions", tuple(self.solutions))

    @property
    def weights(self) -> Matrix:
        """(K, N) weights."""
        return np.array([s.weights for s in self.solutions])

    @property
    def means(self) -> Vector:
        """(K,) means reached; at least ``required``."""
        return self.weights @ self.mean

    @property
    def expected_shortfall(self) -> Vector:
        """(K,) expected shortfall."""
        return np.array([s.expected_shortfall for s in self.solutions])

    def to_frame(self):
        """Return a table: required mean, mean, expected shortfall, VaR, slope, gap."""
        import pandas as pd

        return pd.DataFrame(
            {
                "required_mean": self.required,
                "mean": self.means,
                "expected_shortfall": self.expected_shortfall,
                "value_at_risk": [s.value_at_risk for s in self.solutions],
                "slope": [s.prices[REQUIRED] for s in self.solutions],
                "gap": [s.gap for s in self.solutions],
                "path": [s.path for s in self.solutions],
            }
        )

    def __repr__(self) -> str:
        es = self.expected_shortfall
        return (
            f"ShortfallFrontier({self.required.size} points, expected shortfall "
            f"{es.min():.4g} to {es.max():.4g})"
        )

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())


def shortfall_frontier(
    problem: ShortfallProblem,
    mean: Any,
    points: Any = 20,
    *,
    method: Method = "auto",
    tolerance: float = 1e-8,
    time_limit: float | None = None,
) -> ShortfallFrontier:
    """Solve over a grid of required means, each from the solution before it.

    Parameters
    ----------
    problem : ShortfallProblem
        Its limits and costs hold at every point.
    mean : (N,) array_like
        Expected returns, decimals per period.
    points : int or (K,) array_like, default 20
        A number: from the mean of the unconstrained solution to the largest within
        the limits. An array: the required means themselves.
    method, tolerance
        As in `minimum_shortfall`.
    time_limit : float, optional
        Seconds for each point.

    Returns
    -------
    ShortfallFrontier

    Raises
    ------
    InfeasibleError
        The limits conflict, or a required mean cannot be reached within them.
    UsageError
        Fewer than two points, or the mean can rise without end.
    """
    n = problem.returns.shape[1]
    mean = frozen_array(mean, name="mean", ndim=1, shape=(n,))
    options: dict[str, Any] = {
        "method": method,
        "tolerance": tolerance,
        "time_limit": time_limit,
    }
    start = None
    if np.ndim(points) == 0:
        if not (isinstance(points, (int, np.integer)) and points >= 2):
            raise UsageError("a frontier needs two points or more", received=points)
        least = minimum_shortfall(problem, **options)
        start, low = least.weights, float(mean @ least.weights)
        high = _largest(problem, mean)
        required = np.linspace(low, high - _INSIDE * (high - low), int(points))
    else:
        required = np.sort(frozen_array(points, name="required means", ndim=1))
    rows = np.zeros((0, n)) if problem.A_ub is None else problem.A_ub
    right = np.zeros(0) if problem.b_ub is None else problem.b_ub
    # The row with its largest coefficient one: means are near 1e-4.
    size = float(np.abs(mean).max())
    unit = 1.0 / size if size > 0 else 1.0
    solutions = []
    for level in required:
        at_least = replace(
            problem,
            A_ub=np.vstack([rows, -unit * mean]),
            b_ub=np.append(right, -unit * level),
            row_names=(*problem.row_names, REQUIRED),
        )
        found = minimum_shortfall(at_least, start=start, **options)
        prices = found.prices | {REQUIRED: found.prices[REQUIRED] * unit}
        solutions.append(replace(found, prices=prices))
        start = found.weights
    return ShortfallFrontier(required, tuple(solutions), mean)


def _largest(problem: ShortfallProblem, mean: Vector) -> float:
    """Largest mean within the limits."""
    limits = Limits(problem)
    size = float(np.abs(mean).max())
    if size == 0:
        return 0.0
    best = limits.least(-(mean / size) @ limits.w)
    if best is None:
        raise explain(problem)
    return float(mean @ best)
