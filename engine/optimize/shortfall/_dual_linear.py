"""HiGHS on the dual linear program: N + 1 rows, one boxed column a scenario.

With prices x of the scenarios in units of ``kappa / ((1 - level) S)``,

    maximise   l'lower - v'upper - y'b - e'e_ - g'w_0 - t turnover
    subject to R'x - A'y - E'e_ + l - v - g = c,   1'x = (1 - level) S,
               0 <= x_s <= S p_s,  y, l, v, t >= 0,  -sell - t/2 <= g <= buy + t/2.

The prices of the first N rows are the weights. The dual has as many rows as there are
assets where the textbook form has as many as there are scenarios, which is why the
simplex method is about ten times faster on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import SolverError, UsageError
from engine.optimize.shortfall._certificate import (
    Multipliers,
    certified,
    probabilities,
    scale_of,
    unit_rows,
)
from engine.optimize.shortfall._conflict import explain, feasible, no_least
from engine.optimize.shortfall._problem import ShortfallProblem, ShortfallSolution
from engine.optimize.shortfall._textbook import has_trades, is_linear
from engine.optimize.solve import silence_highs

_TOLERANCE = 1e-9
"""Of the dual's dual: limits on weights, and losses scaled to order one."""


def solve_dual_linear(
    problem: ShortfallProblem, *, time_limit: float | None = None
) -> ShortfallSolution:
    """Solve a problem without quadratic terms by the simplex method on its dual.

    Parameters
    ----------
    problem : ShortfallProblem
        No risk aversion, no tracking error.
    time_limit : float, optional
        Seconds.

    Raises
    ------
    UsageError
        A quadratic term, which a linear program cannot express; or an objective
        without a least value.
    InfeasibleError
        No weights satisfy the limits; names an irreducible set of them.
    SolverError
        HiGHS ended without an optimum.
    """
    if not is_linear(problem):
        raise UsageError(
            "the dual linear program cannot express active variance or tracking error",
            fix="Use method 'interior_point', 'textbook' or 'auto'.",
        )
    import highspy

    silence_highs()
    program = _Dual(problem)
    highs = highspy.Highs()
    options: dict[str, Any] = {
        "output_flag": False,
        # Presolve finds nothing to remove from a dense matrix and loses three times
        # what the dual simplex method takes from the slack basis.
        "presolve": "off",
        "dual_feasibility_tolerance": _TOLERANCE,
        "small_matrix_value": 1e-12,
    }
    if time_limit is not None:
        options["time_limit"] = float(time_limit)
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(*program.model())
    highs.run()
    status = highs.getModelStatus()
    kinds = highspy.HighsModelStatus
    if status != kinds.kOptimal:
        # The dual falls without end where the primal is infeasible, and has no point
        # where the primal falls without end.
        ambiguous = (kinds.kInfeasible, kinds.kUnbounded, kinds.kUnboundedOrInfeasible)
        if status in ambiguous:
            if not feasible(problem):
                raise explain(problem)
            if status != kinds.kUnbounded:
                raise no_least()
        raise SolverError(
            "HiGHS ended without an optimum of the dual linear program",
            received=highs.modelStatusToString(status),
            fix="Allow more time."
            if status == kinds.kTimeLimit
            else "Use another method.",
        )
    found = highs.getSolution()
    info = highs.getInfo()
    w, prices = program.read(np.array(found.col_value), np.array(found.row_dual))
    return certified(
        problem,
        w,
        prices,
        path="dual linear program",
        iterations=int(info.simplex_iteration_count),
        scenarios_used=program.used.size,
        notes=(
            "dual linear program: HIGHS: optimal, largest violation "
            f"{info.max_dual_infeasibility:.1e}",
        ),
    )


@dataclass(frozen=True)
class _Columns:
    """Columns of the program: cost, range, coefficients in the first rows."""

    cost: Vector
    lower: Vector
    upper: Vector
    matrix: Matrix


class _Dual:
    """The arrays of the program, without a loop over scenarios.

    ``used`` are the scenarios of positive probability; ``unit`` is what a price of one
    in the program is worth in the objective.
    """

    def __init__(self, problem: ShortfallProblem) -> None:
        self.problem = problem
        p, kappa = probabilities(problem), problem.shortfall_weight
        self.n = n = problem.returns.shape[1]
        self.scale = scale_of(problem)
        self.used = np.flatnonzero(p > 0) if kappa > 0 else np.empty(0, dtype=np.intp)
        self.cap = p[self.used] * p.size
        tail = (1.0 - problem.level) * p.size
        self.price = kappa / tail if kappa > 0 else 1.0
        self.unit = self.price / self.scale

        c = np.zeros(n) if problem.linear is None else problem.linear / self.unit
        self.row_lower = self.row_upper = np.append(c, tail) if kappa > 0 else c
        self.blocks = self._limits()
        if has_trades(problem):
            self._add_trades()

    def _limits(self) -> dict[str, _Columns]:
        """Columns of equalities, rows and bounds."""
        problem, eye = self.problem, np.eye(self.n)
        A, e, self.equality_unit = unit_rows(problem.A_eq, problem.b_eq)
        free = np.full(e.size, np.inf)
        at, above = (
            np.flatnonzero(np.isfinite(b)) for b in (problem.lower, problem.upper)
        )
        blocks = {
            "equalities": _Columns(e, -free, free, -A.T),
            "lower": _positive(-problem.lower[at], eye[:, at]),
            "upper": _positive(problem.upper[above], -eye[:, above]),
        }
        if problem.A_ub is not None:
            A, b, self.row_unit = unit_rows(problem.A_ub, problem.b_ub)
            blocks["rows"] = _positive(b, -A.T)
        return blocks

    def _add_trades(self) -> None:
        """Columns of g and, with a bound on turnover, of t and its 2N rows."""
        problem, n, eye = self.problem, self.n, np.eye(self.n)
        zero, far = np.zeros(n), np.full(n, np.inf)
        buy = zero if problem.buy is None else problem.buy / self.unit
        sell = zero if problem.sell is None else problem.sell / self.unit
        if problem.turnover is None:
            self.blocks["trades"] = _Columns(problem.current, -sell, buy, -eye)
            return
        # g - t/2 <= buy and -sell <= g + t/2.
        gap = np.zeros((self.row_lower.size - n, n))
        trades = np.vstack([-eye, gap, eye, eye])
        half = np.full((n, 1), 0.5)
        bound = np.vstack([np.zeros((self.row_lower.size, 1)), -half, half])
        self.row_lower = np.concatenate([self.row_lower, -far, -sell])
        self.row_upper = np.concatenate([self.row_upper, buy, far])
        self.blocks["trades"] = _Columns(problem.current, -far, far, trades)
        self.blocks["turnover"] = _positive(np.array([problem.turnover]), bound)

    def model(self) -> tuple[Any, ...]:
        """Arguments of ``Highs.passModel``: the matrix by columns."""
        import scipy.sparse as sp

        n, k, rows = self.n, self.used.size, self.row_lower.size
        blocks = list(self.blocks.values())
        rest = sp.csc_matrix(
            np.hstack(
                [
                    np.pad(b.matrix, ((0, rows - b.matrix.shape[0]), (0, 0)))
                    for b in blocks
                ]
            )
        )
        R = self.problem.returns
        dense = np.ones((k, n + 1))
        if k:
            used = R if k == R.shape[0] else R[self.used]
            np.multiply(used, self.scale, out=dense[:, :n])
        index = np.tile(np.arange(n + 1, dtype=np.int32), k)
        start = (n + 1) * np.arange(k, dtype=np.int32)
        columns = k + rest.shape[1]
        return (
            columns,
            rows,
            dense.size + rest.nnz,
            1,  # by columns
            1,  # minimise
            0.0,
            np.concatenate([np.zeros(k), *(b.cost for b in blocks)]),
            np.concatenate([np.zeros(k), *(b.lower for b in blocks)]),
            np.concatenate([self.cap, *(b.upper for b in blocks)]),
            self.row_lower,
            self.row_upper,
            np.concatenate([start, dense.size + rest.indptr]).astype(np.int32),
            np.concatenate([index, rest.indices]).astype(np.int32),
            np.concatenate([dense.ravel(), rest.data]),
            np.zeros(columns, dtype=np.int32),
        )

    def read(self, columns: Vector, row_prices: Vector) -> tuple[Vector, Multipliers]:
        """Weights, and multipliers in units of the objective."""
        problem, at = self.problem, self.used.size
        found: dict[str, Vector] = {}
        for name, block in self.blocks.items():
            found[name] = columns[at : at + block.cost.size] * self.unit
            at += block.cost.size
        q = np.zeros(problem.returns.shape[0])
        q[self.used] = columns[: self.used.size] * self.price
        rows = found.get("rows", np.empty(0))
        return -row_prices[: self.n], Multipliers(
            scenarios=q,
            rows=rows * self.row_unit if rows.size else rows,
            equalities=found["equalities"] * self.equality_unit,
            turnover=float(found["turnover"][0]) if "turnover" in found else 0.0,
        )


def _positive(cost: Vector, matrix: Matrix) -> _Columns:
    """Columns that may take any value from zero."""
    return _Columns(cost, np.zeros(cost.size), np.full(cost.size, np.inf), matrix)
