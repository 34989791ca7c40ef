"""The efficient frontier by the critical line algorithm (Markowitz 1956, 1987).

Minimise ``w'Sigma w / 2 - lambda mean'w``: the solution is piecewise linear in lambda,
and changes direction where an asset or a row meets its limit or leaves it. Following
these corners from the least variance upwards gives the whole frontier; a portfolio
between two corners is their mixture, without another solve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine._typing import Matrix, Vector
from engine.errors import UsageError
from engine.optimize._mean_variance import (
    Problem,
    acceptable,
    check_finite_choice,
    read_problem,
)
from engine.optimize._quadratic import Point, certify, interior_point, solve_on
from engine.parallel import thread_limits

_CORNERS_PER_ASSET = 20
_STALLED = 50
_GAP = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Frontier(Value):
    """Portfolios of least variance for their mean, from least variance to most mean.

    Attributes
    ----------
    weights : (M, N) float64
        One portfolio a row.
    labels : tuple of str
        Of a DataFrame; empty otherwise.
    expected_returns, volatilities : (M,) float64
        Recomputed from the weights, per period.
    gaps : (M,) float64
        How far half the variance can be above the least for that mean, proven.
    corners : int
        Changes of direction found; 0 where points were solved one by one.
    path : tuple of str
        How the points were found.
    """

    weights: Matrix
    labels: tuple[str, ...]
    expected_returns: Vector
    volatilities: Vector
    gaps: Vector
    corners: int
    path: tuple[str, ...]

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "weights", frozen_array(self.weights, name="weights", ndim=2))
        m = self.weights.shape[0]
        for name in ("expected_returns", "volatilities", "gaps"):
            array = frozen_array(getattr(self, name), name=name, ndim=1, shape=(m,))
            put(self, name, array)

    def to_frame(self) -> Any:
        """Return mean, volatility and weights, one portfolio a row."""
        import pandas as pd

        names = self.labels or tuple(
            f"weight_{i}" for i in range(self.weights.shape[1])
        )
        frame = pd.DataFrame(self.weights, columns=list(names))
        frame.insert(0, "volatility", self.volatilities)
        frame.insert(0, "expected_return", self.expected_returns)
        return frame

    def __repr__(self) -> str:
        m, n = self.weights.shape
        return (
            f"Frontier({m} portfolios of {n} assets, volatility "
            f"{self.volatilities[0]:.4g} to {self.volatilities[-1]:.4g}, "
            f"{self.path[0]})"
        )

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())


def efficient_frontier(
    mean: Any, covariance: Any, *, n_points: int = 50, **limits: Any
) -> Frontier:
    """Portfolios of least variance at evenly spaced means.

    Parameters
    ----------
    mean, covariance
        As in `mean_variance`, per period.
    n_points : int, default 50
        From the mean of the least variance to the largest mean, at least 2.
    **limits
        ``lower``, ``upper`` (finite), ``A_ub``, ``b_ub``, ``A_eq``, ``b_eq`` and their
        names, as in `mean_variance`.

    Returns
    -------
    Frontier
        Every point with its proven gap. Where the critical line stalls on ties, points
        are solved one by one with the interior point, and ``path`` says so.

    Raises
    ------
    DataError, UsageError, ModelError, InfeasibleError, SolverError
        As `mean_variance`; also for bounds that are not finite.
    """
    if isinstance(n_points, bool) or int(n_points) != n_points or n_points < 2:
        raise UsageError(
            "n_points must be a whole number, 2 or more", received=n_points
        )
    with thread_limits(1):
        problem = read_problem(mean, covariance, **limits)
        check_finite_choice(problem)
        walked = _corners(problem)
        if walked is not None:
            points = _between(problem, walked, int(n_points))
            if points is not None:
                return _report(problem, points, walked[0].size, ("critical line",))
        points, path = _one_by_one(problem, int(n_points))
        return _report(problem, points, 0, path)


def _report(problem, points: list[Point], corners: int, path) -> Frontier:
    W = np.array([p.w for p in points])
    labels = problem.risk.labels
    return Frontier(
        weights=W,
        labels=() if labels is None else tuple(labels),
        expected_returns=W @ problem.mean,
        volatilities=np.array([problem.volatility(w) for w in W]),
        gaps=np.array([p.gap for p in points]),
        corners=corners,
        path=path,
    )


def _corners(problem: Problem) -> tuple[Vector, Matrix, Matrix, Matrix] | None:
    """Lambda (C,), weights (C, N), y (C, P) and z (C, M) of each corner, in order.

    None where the walk stalls.
    """
    n = problem.risk.n
    q = problem.quadratic(1.0, np.zeros(n))
    start, _ = problem.point(1.0, np.zeros(n))
    unit = float(problem.risk.variances.max())
    tiny = 1e-9
    same = q.lower == q.upper
    low = start.w - q.lower <= tiny * np.maximum(1.0, np.abs(q.lower))
    high = (q.upper - start.w <= tiny * np.maximum(1.0, np.abs(q.upper))) & ~low
    taut = (start.z > 1e-9 * unit) & (q.h - q.G @ start.w <= 1e-9)
    c = np.column_stack([np.zeros(n), -problem.mean])
    here, stalled = 0.0, 0
    kept: list[tuple[float, Vector, Vector, Vector]] = []
    for _ in range(_CORNERS_PER_ASSET * (n + q.h.size) + 20):
        line = solve_on(q, low, high, taut, c)
        if line is None:
            return None
        w, y, z = line
        if np.count_nonzero(~(low | high)) == q.e.size + np.count_nonzero(taut):
            w[:, 1] = 0.0  # a vertex: what is left of the direction is rounding
        reduced = q.times(w) + c - q.E.T @ y + q.G.T @ z
        kept.append((here, *(v[:, 0] + here * v[:, 1] for v in line)))
        if not kept[1:] and not _optimal(q, w[:, 0], z[:, 0], reduced[:, 0], low, high):
            return None
        room = q.h - q.G @ w[:, 0]
        slope = q.G @ w[:, 1]
        free = ~(low | high)
        small = 1e-13 * max(float(np.abs(w[:, 1]).max()), 1e-300)
        steady = 1e-13 * float(np.abs(c[:, 1]).max())
        meets = np.concatenate(
            [
                _meeting(q.lower - w[:, 0], w[:, 1], free & (w[:, 1] < -small)),
                _meeting(q.upper - w[:, 0], w[:, 1], free & (w[:, 1] > small)),
                _meeting(
                    -reduced[:, 0],
                    reduced[:, 1],
                    low & ~same & (reduced[:, 1] < -steady),
                ),
                _meeting(
                    -reduced[:, 0], reduced[:, 1], high & (reduced[:, 1] > steady)
                ),
                _meeting(room, slope, ~taut & (slope > small)),
                _meeting(-z[:, 0], z[:, 1], taut & (z[:, 1] < 0)),
            ]
        )
        event = int(np.argmin(meets))
        if not np.isfinite(meets[event]):
            return _stacked(kept)
        stalled = stalled + 1 if meets[event] <= here else 0
        if stalled > _STALLED:
            return None
        here = max(here, float(meets[event]))
        kept.append((here, *(v[:, 0] + here * v[:, 1] for v in line)))
        if event < 4 * n:
            kind, i = divmod(event, n)
            low[i], high[i] = kind == 0, kind == 1
        else:
            kind, i = divmod(event - 4 * n, q.h.size)
            taut[i] = kind == 0
    return None


def _meeting(distance: Vector, speed: Vector, moving: np.ndarray) -> Vector:
    """Lambda at which each moving quantity has gone its distance; else infinite."""
    out = np.full(distance.size, np.inf)
    out[moving] = distance[moving] / speed[moving]
    return out


def _optimal(q, w, z, reduced, low, high) -> bool:
    """Whether the first active set is that of the least variance."""
    unit = 1e-9 * float(q.risk.variances.max())
    return bool(
        q.violation(w) <= 1e-9
        and (reduced[low & (q.lower < q.upper)] >= -unit).all()
        and (reduced[high] <= unit).all()
        and (z >= -unit).all()
    )


def _stacked(kept) -> tuple[Vector, Matrix, Matrix, Matrix]:
    lam, w, y, z = zip(*kept, strict=True)
    return np.array(lam), np.array(w), np.array(y), np.array(z)


def _between(problem: Problem, walked: Any, n_points: int) -> list[Point] | None:
    """Mixtures of neighbouring corners at evenly spaced means, each certified."""
    lam, W, Y, Z = walked
    earned = np.maximum.accumulate(W @ problem.mean)
    points = []
    for target in np.linspace(earned[0], earned[-1], n_points):
        k = int(np.clip(np.searchsorted(earned, target), 1, max(earned.size - 1, 1)))
        k = min(k, earned.size - 1)
        j = max(k - 1, 0)
        width = earned[k] - earned[j]
        t = min(max((target - earned[j]) / width, 0.0), 1.0) if width > 0 else 0.0
        level, w, y, z = ((1 - t) * v[j] + t * v[k] for v in (lam, W, Y, Z))
        w = np.clip(w, problem.lower, problem.upper)
        q = problem.quadratic(1.0, level * problem.mean)
        point = certify(q, w, y, z, 0)
        if not acceptable(q, point, _GAP):
            return None
        points.append(point)
    return points


def _one_by_one(problem: Problem, n_points: int) -> Any:
    """Each point by the interior point, with its mean as one more equality."""
    from engine.optimize._ratio import _most_return

    zero = np.zeros(problem.risk.n)
    first, path = problem.point(1.0, zero)
    targets = np.linspace(
        float(problem.mean @ first.w), _most_return(problem), n_points
    )
    points, paths = [first], dict.fromkeys(path)
    size = float(np.abs(problem.mean).max()) or 1.0
    for target in targets[1:]:
        more = replace(
            problem,
            E=np.vstack([problem.E, problem.mean / size]),
            e=np.append(problem.e, target / size),
            equality_names=(*problem.equality_names, "mean"),
        )
        q = more.quadratic(1.0, zero)
        found = interior_point(q)
        if found is not None and acceptable(q, found, _GAP):
            points.append(found)
            paths["interior point"] = None
        else:
            point, path = more.point(1.0, zero)
            points.append(point)
            paths |= dict.fromkeys(path)
    return points, tuple(paths)
