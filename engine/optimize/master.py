"""The linear master problem of limits that need whole numbers, solved by HiGHS.

Binaries ``z_i`` (held) and ``q_i`` (traded) join the weights. Convex terms enter from
outside, by tangents that are added where the last solution lies:

    variance   C = L L' + D with D diagonal:  t_k >= 2 a y_k - a^2,  y = L'(w - v w_b),
               and e_i >= D_i (2 a w_i - a^2 z_i - 2 w_b,i w_i + w_b,i^2 (2 v - 1)),
               the perspective of the diagonal part (Frangioni and Gentile 2006): a name
               that is left out pays for its own risk at once, so bounds are close
    measures   the hyperplanes of `engine.optimize.problem`

Each is a valid inequality, so the bound of the master is a bound of the full problem.
(A severity quantile is not convex: for its caps the bound holds at their last
hyperplane.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.errors import SolverError
from engine.optimize.problem import PERMISSIONS, TRACE, Setup
from engine.optimize.solve import silence_highs

_SCALE = 100.0
"""Active returns in per cent: squares of the size that solver tolerances suit."""
_SQUARE = _SCALE**2
_LEADING = 0.003
_GROUPS = 6
_BARRIER = 1e-4
_NEWTON = 8
_GRID = (0.6, 0.72, 0.86, 1.0, 1.15, 1.32, 1.55)


@dataclass
class MasterPoint:
    """A solution of the master, or the proof that there is none."""

    feasible: bool
    bound: float
    """Lower bound of the objective."""
    value: float
    held: np.ndarray
    """(N,) bool."""
    traded: np.ndarray
    """(N,) bool."""
    x: Vector
    slacks: dict[str, float] = field(default_factory=dict)


def split_diagonal(setup: Setup) -> tuple[Matrix, Vector]:
    """``L (N, K), d (N,)`` with covariance ``L L' + diag(d)`` and d large.

    In factor form both are given; a dense matrix gives up the largest diagonal that
    leaves it positive semi-definite.
    """
    root, specific = setup.risk_root, setup.specific
    if specific is not None:
        return root, specific
    C = root @ root.T
    n = C.shape[0]
    live = np.flatnonzero(np.diagonal(C) > 0)
    d = np.zeros(n)
    if live.size and root.shape[1] >= live.size:
        size = np.sqrt(np.diagonal(C)[live])
        d[live] = size**2 * _largest_diagonal(
            C[np.ix_(live, live)] / np.outer(size, size)
        )
    values, vectors = np.linalg.eigh(C - np.diag(d))
    keep = values > 1e-12 * max(float(values[-1]), 1e-300)
    return vectors[:, keep] * np.sqrt(values[keep]), d


def _largest_diagonal(R: Matrix) -> np.ndarray:
    """(N,) diagonal of greatest sum that leaves a correlation matrix semi-definite.

    Maximises ``sum d + mu (log det(R - D) + sum log d)`` by Newton's method for a
    falling mu (minimum trace factor analysis, Bentler and Woodward 1980). Any d with
    ``R - D`` semi-definite is valid; a larger one only makes bounds closer.
    """
    n = R.shape[0]
    least = float(np.linalg.eigvalsh(R)[0])
    if least <= 1e-9:
        return np.zeros(n)
    d, mu = np.full(n, 0.5 * least), 1.0
    while mu > _BARRIER:
        for _ in range(_NEWTON):
            inverse = np.linalg.inv(R - np.diag(d))
            slope = 1.0 - mu * np.diagonal(inverse) + mu / d
            curve = mu * (inverse * inverse.T + np.diag(1.0 / d**2))
            step = np.linalg.solve(curve, slope)
            size = 1.0
            while size > 1e-6 and not _inside(R, d + size * step):
                size *= 0.5
            if size <= 1e-6:
                break
            d = d + 0.9 * size * step
            if float(slope @ step) < 0.1 * mu * n:
                break
        mu *= 0.2
    return d


def _inside(R: Matrix, d: np.ndarray) -> bool:
    if d.min() <= 0.0:
        return False
    try:
        np.linalg.cholesky(R - np.diag(d))
    except np.linalg.LinAlgError:
        return False
    return True


class Master:
    """Columns w, b, s, v, z, q, y, t, e and the rows that bind them.

    Parameters
    ----------
    setup : Setup
    only : set of str, optional
        Keep only these limits.
    soft : bool, default False
        Minimise what the integer limits would have to give way, nothing else.
    """

    def __init__(
        self, setup: Setup, *, only: set[str] | None = None, soft: bool = False
    ) -> None:
        import highspy

        silence_highs()
        self.setup, self.only, self.soft = setup, only, soft
        n = self.n = len(setup.assets)
        self.h: Any = highspy.Highs()
        self.h.setOptionValue("output_flag", False)
        # Not a number of threads: one scheduler serves every solve of the process, and
        # a number other than its own is refused.
        self.h.setOptionValue("parallel", "off")
        # The search has its own first guesses; HiGHS spends its time on the bound.
        self.h.setOptionValue("mip_heuristic_effort", 0.0)
        self.free = highspy.kHighsInf
        whole = setup.objective == "minimum_variance"
        self.target = np.zeros(n) if whole else setup.benchmark
        self.priced = 0.0 if setup.objective == "minimum_cost" else setup.aversion
        tracked = setup.tracking_error is not None and self.keep("tracking error")
        self.tracked = tracked and not soft
        self.curved = not soft and (self.priced > 0.0 or self.tracked)
        L, d = split_diagonal(setup) if self.curved else (np.zeros((n, 0)), None)
        energy = (L**2).sum(axis=0)
        order = np.argsort(-energy, kind="stable")
        self.L = np.ascontiguousarray(L[:, order]) * _SCALE
        # Directions that matter get a tangent each; the many small ones share one.
        self.leading = int((energy > _LEADING * energy.sum()).sum())
        self.d = np.zeros(n) if d is None else d * _SQUARE
        small = np.arange(self.leading, self.L.shape[1])
        self.groups = [g for g in np.array_split(small, _GROUPS) if g.size]
        self._columns()
        self._rows()
        self.fixed = self.h.getNumRow()

    def keep(self, name: str) -> bool:
        """Whether a limit is among those asked for."""
        return self.only is None or name in self.only

    # Columns ------------------------------------------------------------------

    def _columns(self) -> None:
        setup, n, free = self.setup, self.n, self.free
        ints = setup.integer
        most, least = self._reach()
        may_buy, may_sell = setup.may_buy, setup.may_sell
        if not self.keep(PERMISSIONS):
            may_buy = may_sell = np.ones(n, dtype=bool)
        cap = np.full(n, free)
        if setup.trade_caps is not None and self.keep("liquidity"):
            cap = np.minimum(cap, setup.trade_caps)
        self.cols: dict[str, np.ndarray] = {}
        self.costs: list[np.ndarray] = []
        self.at = 0
        price = 0.0 if self.soft else _SQUARE
        self._add("w", n, -free, free)
        self._add("b", n, 0.0, np.where(may_buy, cap, 0.0), price * setup.rates)
        costs = price * (setup.rates + setup.tax)
        self._add("s", n, 0.0, np.where(may_sell, cap, 0.0), costs)
        self._add("v", 1, 0.5, 1.0)
        fixed_in = (most < 0) | (least > 0)
        can_hold = (most > 0) | (least < 0)
        risky = setup.risky
        self._add(
            "z", n, np.where(risky, fixed_in * 1.0, 1.0),
            np.where(risky, can_hold * 1.0, 1.0),
        )  # fmt: skip
        self.short = bool((least[risky] < 0).any()) and self.floor() > 0
        if self.short:
            self._add("z-", n, 0.0, np.where(risky & (least < 0), 1.0, 0.0))
        if ints.max_trades is not None and self.keep("trades"):
            self._add("q", n, 0.0, 1.0)
        if setup.gross is not None and self.keep("gross"):
            self._add("a", n, 0.0, free)
        if self.curved:
            k = self.leading
            more = k + len(self.groups)
            self._add("y", k, -free, free)
            self._add("t", more, 0.0, free, np.full(more, self.priced))
            self._add("e", n, 0.0, free, np.full(n, self.priced))
        if self.soft:
            for name in ("more names", "fewer names", "more trades"):
                self._add(name, 1, 0.0, float(n), np.array([0.01]))
            self._add("smaller", 1, 0.0, 1.0, np.array([1.0]))
        binaries = [self.cols[k] for k in ("z", "z-", "q") if k in self.cols]
        if self.soft:
            binaries += [self.cols[k] for k in ("more names", "fewer names")]
            binaries += [self.cols["more trades"]]
        self.integers = np.concatenate(binaries).astype(np.int32)
        self.most, self.least = most, least

    def _reach(self) -> tuple[Vector, Vector]:
        """Tight bounds on each weight by bounds, permissions and liquidity."""
        setup, n = self.setup, self.n
        most = setup.upper.copy() if self.keep("upper bounds") else np.full(n, 2.0)
        least = setup.lower.copy() if self.keep("lower bounds") else np.full(n, -2.0)
        most, least = np.minimum(most, 3.0), np.maximum(least, -3.0)
        w0 = setup.current
        if self.keep(PERMISSIONS):
            most = np.where(setup.may_buy, most, np.minimum(most, w0))
            least = np.where(setup.may_sell, least, np.maximum(least, w0))
        if setup.trade_caps is not None and self.keep("liquidity"):
            most = np.minimum(most, w0 + setup.trade_caps)
        # Weights are shares of what is left: a bound from below is worth at least half
        # of itself in money, and zero stays zero.
        return most, np.where(least > 0, np.maximum(0.5 * least, 1e-12), least)

    def _add(self, name, count, lower, upper, cost=None) -> None:
        lower = np.broadcast_to(np.asarray(lower, float), (count,)).copy()
        upper = np.broadcast_to(np.asarray(upper, float), (count,)).copy()
        upper = np.maximum(lower, upper)
        cost = np.zeros(count) if cost is None else np.asarray(cost, float)
        empty = np.zeros(0, np.int32)
        self.h.addCols(
            count, cost, lower, upper, 0, np.zeros(count, np.int32), empty, np.zeros(0)
        )
        self.cols[name] = np.arange(self.at, self.at + count)
        self.costs.append(cost)
        self.at += count

    # Rows ---------------------------------------------------------------------

    def rows(self, parts: list[tuple[Any, Any]], lower, upper) -> None:
        """Add rows ``lower <= sum of coefficients * columns <= upper``.

        ``parts`` are (columns (M, k), coefficients (M, k)) for M rows.
        """
        index = np.hstack([np.atleast_2d(c) for c, _ in parts])
        value = np.hstack([np.atleast_2d(np.asarray(v, float)) for _, v in parts])
        count = index.shape[0]
        used = value != 0.0
        starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))[:-1]])
        bounds = [
            np.broadcast_to(np.asarray(x, float), (count,)).copy()
            for x in (lower, upper)
        ]
        self.h.addRows(
            count, *bounds, int(used.sum()), starts.astype(np.int32),
            index[used].astype(np.int32), value[used],
        )  # fmt: skip

    def _each(self, *parts: tuple[str, Any], rows=None):
        """Parts of one row per asset, from column names and coefficients."""
        rows = np.arange(self.n) if rows is None else rows
        out = []
        for name, factor in parts:
            columns = self.cols[name]
            index = np.full(rows.size, columns[0]) if name in _ONE else columns[rows]
            values = np.broadcast_to(np.asarray(factor, float), (self.n,))[rows]
            out.append((index[:, None], values[:, None]))
        return out

    def _sum(self, *parts: tuple[str, Any]):
        """Parts of a single row."""
        return [
            (
                self.cols[name][None, :],
                np.broadcast_to(np.asarray(f, float), (self.cols[name].size,))[None, :],
            )
            for name, f in parts
        ]

    def _rows(self) -> None:
        setup, n, free = self.setup, self.n, self.free
        ints, keep = setup.integer, self.keep
        self.rows(
            self._each(("w", 1.0), ("b", -1.0), ("s", 1.0)),
            setup.current,
            setup.current,
        )
        self.rows(self._sum(("w", 1.0), ("v", -1.0)), 0.0, 0.0)
        paid = self._sum(("v", 1.0), ("b", setup.rates), ("s", setup.rates + setup.tax))
        self.rows(paid, 1.0, 1.0)
        for m in setup.measures:
            if keep(m.name):
                for cut in m.cuts:
                    self.plane(cut, m.bound)
        if setup.turnover is not None and keep("turnover"):
            half = self._sum(("b", 0.5), ("s", 0.5))
            self.rows(half, -free, float(setup.turnover))
        bands = [r for r in setup.linear if keep(r.name)]
        if setup.net is not None and keep("net"):
            bands.append(setup.net_row())
        for r in bands:
            if np.isfinite(r.upper):
                self.plane(r.coefficients, r.upper)
            if np.isfinite(r.lower):
                self.plane(-r.coefficients, -r.lower)
        if "a" in self.cols:
            self.rows(self._each(("a", 1.0), ("w", -1.0)), 0.0, free)
            self.rows(self._each(("a", 1.0), ("w", 1.0)), 0.0, free)
            total = self._sum(("a", setup.risky * 1.0), ("v", -float(setup.gross or 0)))
            self.rows(total, -free, 0.0)
        if keep("upper bounds"):
            rows = np.flatnonzero(setup.upper < 2.0)
            parts = self._each(("w", 1.0), ("v", -setup.upper), rows=rows)
            self.rows(parts, -free, 0.0)
        if keep("lower bounds"):
            rows = np.flatnonzero(setup.lower > -2.0)
            parts = self._each(("w", 1.0), ("v", -setup.lower), rows=rows)
            self.rows(parts, 0.0, free)
        self._held()
        if "q" in self.cols:
            risky = np.flatnonzero(setup.risky)
            size = np.maximum(self.most, 0.0) + np.abs(setup.current)
            size = size + np.maximum(-self.least, 0.0)
            for side in ("b", "s"):
                parts = self._each((side, 1.0), ("q", -size), rows=risky)
                self.rows(parts, -free, 0.0)
            count: list[tuple[str, Any]] = [("q", setup.risky * 1.0)]
            if self.soft:
                count.append(("more trades", -1.0))
            self.rows(self._sum(*count), -free, float(ints.max_trades or 0))
        if self.curved:
            # y = L'(w - v w_b) for the leading directions
            k, L = self.leading, self.L[:, : self.leading]
            if k:
                index = np.broadcast_to(self.cols["w"], (k, n))
                v = np.full((k, 1), self.cols["v"][0])
                y = self.cols["y"][:, None]
                self.rows(
                    [(index, -L.T), (v, (L.T @ self.target)[:, None]),
                     (y, np.ones((k, 1)))], 0.0, 0.0,
                )  # fmt: skip
            if self.tracked and not np.array_equal(self.target, setup.benchmark):
                self.tracked = False  # by hyperplanes of the norm instead
            if self.tracked:
                most = (_SCALE * float(setup.tracking_error or 0.0)) ** 2
                self.rows(self._sum(("t", 1.0), ("e", 1.0)), -free, most)

    def _held(self) -> None:
        """What is held: ``least z <= w <= most z``, and no less than the smallest."""
        setup, free, ints = self.setup, self.free, self.setup.integer
        risky = np.flatnonzero(setup.risky)
        floor = self.floor()
        most, least = np.maximum(self.most, 0.0), np.minimum(self.least, 0.0)
        up: list[tuple[str, Any]] = [("w", 1.0), ("z", -most)]
        down: list[tuple[str, Any]] = [("w", 1.0), ("z", -least)]
        if floor > 0.0:
            # v z >= v + z - 1, so v may stand alone.
            down = [("w", 1.0), ("z", -floor), ("v", -floor)]
            if self.short:
                # z counts both sides; z- those that are short.
                down.append(("z-", floor - least))
                up = [("w", 1.0), ("z", -most), ("z-", most + floor), ("v", floor)]
                self.rows(self._each(("z-", 1.0), ("z", -1.0), rows=risky), -free, 0.0)
        room = floor if floor > 0.0 and self.short else 0.0
        self.rows(self._each(*up, rows=risky), -free, room)
        if floor > 0.0:
            if self.soft:
                down.append(("smaller", 1.0))
            self.rows(self._each(*down, rows=risky), -floor, free)
        elif (least < 0).any():
            self.rows(self._each(*down, rows=risky), 0.0, free)
        names = setup.risky * 1.0
        if ints.max_names is not None and self.keep("names"):
            count = [("z", names)] + ([("more names", -1.0)] if self.soft else [])
            self.rows(self._sum(*count), -free, float(ints.max_names))
        if ints.min_names is not None and self.keep("names"):
            count = [("z", names)] + ([("fewer names", 1.0)] if self.soft else [])
            self.rows(self._sum(*count), float(ints.min_names), free)

    def floor(self) -> float:
        """Smallest size of a position among the limits kept; 0 where there is none."""
        ints = self.setup.integer
        if self.keep("minimum position") and ints.minimum_position is not None:
            return ints.minimum_position
        return TRACE if self.keep("names") and ints.min_names is not None else 0.0

    def plane(self, g: Vector, bound: float) -> None:
        """Add ``g'w <= bound v``."""
        self.rows(self._sum(("w", g), ("v", -bound)), -self.free, 0.0)

    def forbid(self, held: np.ndarray, traded: np.ndarray) -> None:
        """Leave out one choice of names (and trades) whose weights do not exist."""
        parts, count = [], -1.0
        for name, chosen in (("z", held), ("q", traded)):
            if name in self.cols:
                risky = self.setup.risky
                parts.append((name, np.where(risky, np.where(chosen, 1.0, -1.0), 0.0)))
                count += float((chosen & risky).sum())
        self.rows(self._sum(*parts), -self.free, count)

    # Tangents -----------------------------------------------------------------

    def bend(self, w: Vector, v: float, held: Vector, *, spread: bool = False) -> None:
        """Add tangents of the variance at holdings w (N,), of which v is left.

        ``spread`` adds those of the diagonal part around the point too: the weight of
        a name moves with the choice of the others.
        """
        if not self.curved:
            return
        a = self.L.T @ (w - v * self.target)
        free, k = self.free, self.leading
        if k:
            ones = np.ones((k, 1))
            t, y = self.cols["t"][:k, None], self.cols["y"][:, None]
            self.rows([(t, ones), (y, -2.0 * a[:k, None])], -(a[:k] ** 2), free)
        for j, group in enumerate(self.groups):
            rest = a[group]
            g = 2.0 * self.L[:, group] @ rest
            tail = (self.cols["t"][k + j : k + j + 1][None, :], np.ones((1, 1)))
            turned = self._sum(("w", -g), ("v", float(g @ self.target)))
            self.rows([tail, *turned], -float(rest @ rest), free)
        live = np.flatnonzero(self.d > 0)
        if live.size:
            for factor in _GRID if spread else (1.0,):
                self._bend_diagonal(w * factor, v, held, live)

    def straighten(self) -> None:
        """Drop the tangents and hyperplanes that the last solution does not touch."""
        value = np.asarray(self.h.getSolution().row_value)
        lp = self.h.getLp()
        low, high = np.asarray(lp.row_lower_), np.asarray(lp.row_upper_)
        slack = np.minimum(value - low, high - value)
        idle = np.flatnonzero(slack > 1e-5)
        idle = idle[idle >= self.fixed].astype(np.int32)
        if idle.size:
            self.h.deleteRows(idle.size, idle)

    def _bend_diagonal(self, w, v, held, live) -> None:
        d, target, free = self.d, self.target, self.free
        # With a short position or benchmark the product of v and w_i has no sign, and
        # the plain tangent of (w_i - v w_b,i)^2 serves instead.
        signed = (target == 0) | ((target > 0) & (self.least >= 0))
        rows = live[signed[live] & self.setup.risky[live]]
        a = w / np.maximum(held, 1e-6)
        if rows.size:
            parts = self._each(
                ("e", 1.0),
                ("w", -2.0 * d * (a - target)),
                ("z", d * a**2),
                ("v", -2.0 * d * target**2),
                rows=rows,
            )
            self.rows(parts, -(d * target**2)[rows], free)
        rows = np.setdiff1d(live, rows)
        if rows.size:
            u = w - v * target
            parts = self._each(
                ("e", 1.0), ("w", -2.0 * d * u), ("v", 2.0 * d * u * target), rows=rows
            )
            self.rows(parts, -(d * u**2)[rows], free)

    # Solving ------------------------------------------------------------------

    def solve(
        self, *, whole: bool, gap: float, deadline: float, start: Vector | None = None
    ) -> MasterPoint:
        """Solve the master, or its relaxation.

        Raises
        ------
        SolverError
            HiGHS stopped without an answer.
        """
        import highspy

        h = self.h
        kind = highspy.HighsVarType
        types = np.full(
            self.integers.size, int(kind.kInteger if whole else kind.kContinuous)
        ).astype(np.uint8)
        h.changeColsIntegrality(self.integers.size, self.integers, types)
        h.setOptionValue("mip_rel_gap", gap)
        h.setOptionValue("time_limit", _left(deadline))
        if whole and start is not None:
            solution = highspy.HighsSolution()
            solution.col_value = start.tolist()
            h.setSolution(solution)
        h.run()
        status = h.getModelStatus()
        M = highspy.HighsModelStatus
        info = h.getInfo()
        none = np.zeros(self.n, dtype=bool)
        if status in (M.kInfeasible, M.kUnboundedOrInfeasible):
            return MasterPoint(False, np.inf, np.inf, none, none, np.zeros(0))
        x = np.asarray(h.getSolution().col_value, dtype=np.float64)
        found = info.primal_solution_status == 2 and x.size == self.at
        bound = info.mip_dual_bound if whole else info.objective_function_value
        if status not in (M.kOptimal, M.kTimeLimit, M.kInterrupt) or not found:
            raise SolverError(
                "HiGHS found no choice of names",
                received=h.modelStatusToString(status),
                fix="Raise time_limit, or relax an integer limit.",
            )
        held = x[self.cols["z"]] > 0.5
        traded = x[self.cols["q"]] > 0.5 if "q" in self.cols else ~none
        slacks = {k: float(x[c[0]]) for k, c in self.cols.items() if k in _SOFT}
        unit = 1.0 if self.soft else _SQUARE
        value = info.objective_function_value
        return MasterPoint(
            True, float(bound) / unit, float(value) / unit, held, traded, x, slacks
        )

    def parts(self, x: Vector) -> tuple[Vector, float, Vector]:
        """Weights, what is left, and how far each name is held, of a solution."""
        return x[self.cols["w"]], float(x[self.cols["v"][0]]), x[self.cols["z"]]


_SOFT = ("more names", "fewer names", "more trades", "smaller")
_ONE = ("v", *_SOFT)


def _left(deadline: float) -> float:
    return max(0.05, deadline - time.perf_counter())
