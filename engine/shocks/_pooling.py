"""Entropy pooling: the probabilities nearest to the prior that hold the user's views.

Sequential (Vorobets 2021): views on means, probabilities and tails first; then
variances about the means so found; then correlations, skewness and kurtosis about both.
Each stage starts again from the prior with the earlier views kept. In one step the
moments that second-order views need are held at their prior values instead, at a higher
cost in relative entropy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from engine._base import Value, html_table
from engine._typing import Vector
from engine.errors import SolverError, UsageError
from engine.parallel import thread_limits
from engine.scenarios import ScenarioSet
from engine.shocks._entropy import EQUAL, Tilt, tilt
from engine.shocks._kinds_written import Written
from engine.shocks._view_conflict import check_alone, explain
from engine.shocks._view_rows import (
    Held,
    Row,
    Table,
    assets_of,
    rows_of,
    shortfall,
    stage_of,
)
from engine.shocks._view_text import Figure, View, views_of
from engine.shocks.moves import UNDATED, dated

METHODS = ("sequential", "one_step")
FEW_EFFECTIVE = 0.05
"""Effective share of the scenarios below which a posterior warns (methods 3)."""

_SHORTFALL_STEPS = 300
_RESIDUAL = 1e-6


class ViewOutcome(NamedTuple):
    """One view after pooling.

    Attributes
    ----------
    text : str
    target, prior, posterior : float
        What was asked for, and the figure before and after.
    residual : float
        Posterior less target where the view is not met, else zero; a value at risk
        lands on a scenario, so its residual may be the gap to the next.
    multiplier : float
        Change of the relative entropy per unit of target in the last stage that
        restrains the view itself; zero where not binding.
    """

    text: str
    target: float
    prior: float
    posterior: float
    residual: float
    multiplier: float


@dataclass(frozen=True, slots=True, eq=False)
class Pooled(Value):
    """Posterior of entropy pooling, with what it cost.

    Attributes
    ----------
    scenarios : ScenarioSet
        The base scenarios under the posterior probabilities.
    views : tuple of ViewOutcome
    relative_entropy : float
        ``sum q ln(q/p)`` against the prior, nats.
    method : str
    """

    scenarios: ScenarioSet
    views: tuple[ViewOutcome, ...]
    relative_entropy: float
    method: str

    @property
    def effective_share(self) -> float:
        """Effective scenarios relative to the prior's, ``exp(-relative entropy)``."""
        return float(np.exp(-self.relative_entropy))

    @property
    def effective_number(self) -> float:
        """Effective number of scenarios, ``exp(-sum q ln q)`` (Meucci 2012)."""
        return self.scenarios.effective_number

    @property
    def largest_weight(self) -> float:
        """Largest posterior probability of one scenario."""
        return float(self.scenarios.p.max())

    def to_frame(self):
        """Return one row per view."""
        import pandas as pd

        return pd.DataFrame(self.views, columns=list(ViewOutcome._fields))

    def __repr__(self) -> str:
        return (
            f"Pooled({len(self.views)} views, relative entropy "
            f"{self.relative_entropy:.4f}, {self.effective_number:,.0f} effective of "
            f"{len(self.scenarios):,} scenarios ({self.effective_share:.1%} of the "
            f"prior's), largest weight {self.largest_weight:.2e})"
        )

    def _repr_html_(self) -> str:
        import html

        return f"<p>{html.escape(repr(self))}</p>" + html_table(self.to_frame())


@dataclass(frozen=True, slots=True, eq=False)
class EntropyPool(Written, Value):
    """A shock that reweights scenarios; made by `entropy_pool`.

    Attributes
    ----------
    views : tuple of View
    name, citation : str
    known_from : numpy.datetime64
        NaT for a hypothesis without a date.
    method : {"sequential", "one_step"}
    """

    views: tuple[View, ...]
    name: str = "views"
    known_from: np.datetime64 = UNDATED
    citation: str = ""
    method: str = "sequential"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(
                "unknown method of entropy pooling",
                received=repr(self.method),
                expected=", ".join(METHODS),
            )

    def pool(self, scenarios: ScenarioSet) -> Pooled:
        """Posterior of the base leg, with diagnostics.

        Raises
        ------
        DataError
            A view names an asset that the scenarios lack.
        InfeasibleError
            No probabilities satisfy the views; the conflicting ones are named, with
            the nearest feasible values.
        """
        base = scenarios.base()
        with thread_limits(1):
            return _Pooling(self, base).run()

    def reweight(self, scenarios: ScenarioSet) -> ScenarioSet:
        """Return the base scenarios under the posterior probabilities."""
        return self.pool(scenarios).scenarios

    def __repr__(self) -> str:
        return f"EntropyPool({self.name!r}, {len(self.views)} views, {self.method})"


def entropy_pool(
    views: str | View | Iterable[str | View],
    *,
    name: str = "views",
    method: str = "sequential",
    known_from: Any = None,
    citation: str = "entropy pooling (Meucci 2008; sequential: Vorobets 2021)",
) -> EntropyPool:
    """Shock that gives scenarios the probabilities nearest to theirs under views.

    Minimises ``sum q ln(q/p)`` subject to the views. Apply it as any shock
    (``scenarios.apply(shock)``, ``engine.stress``), or call ``shock.pool(scenarios)``
    for the diagnostics.

    Parameters
    ----------
    views : str, View, Views or iterable of them
        As ``"mean(NVDA) <= -0.10"``, ``"mean(NVDA) - mean(MSFT) == -0.05"``,
        ``"corr(NVDA, ANET) >= 0.8"``, ``"vol(SMH) == 1.5 * prior(vol(SMH))"``,
        ``"es(NVDA, 0.95) == 0.25"``, ``"prob(NVDA <= -0.1 and SMH <= -0.05) >= 0.2"``.
        Figures are of simple returns over the horizon of the scenarios.
    name : str
        Label of the scenario leg.
    method : {"sequential", "one_step"}, default "sequential"
        Sequential leaves nuisance moments free until they are needed and costs less
        relative entropy; one step holds them at their prior values.
    known_from : date, optional
        First date on which the views were held; without it they are a hypothesis that
        may be used at any date.
    citation : str

    Returns
    -------
    EntropyPool

    Notes
    -----
    Warns (`UserWarning`) where the posterior rests on fewer than 5% of the prior's
    effective scenarios.

    Examples
    --------
    >>> shock = entropy_pool(["mean(NVDA) <= -0.10", "corr(NVDA, ANET) >= 0.8"])
    >>> shock.name, len(shock.views)
    ('views', 2)
    """
    return EntropyPool(views_of(views), name, dated(known_from), citation, method)


class _Pooling:
    """One run: rows by stage, the solver, the outcome."""

    def __init__(self, shock: EntropyPool, base: ScenarioSet) -> None:
        self.shock, self.base = shock, base
        self.table = Table(base)
        self.multipliers = np.zeros(len(shock.views))
        self.shortfalls = [
            shortfall(v, k, self.table)
            for k, v in enumerate(shock.views)
            if v.kinds == {"es"}
        ]
        for view in shock.views:  # names first: no work before a misspelt asset
            self.table.target(view)
            for _, figure in view.terms:
                for asset in figure.assets or (e[0] for e in figure.event):
                    self.table.column(asset, view.text)

    def run(self) -> Pooled:
        staged = self.shock.method == "sequential"
        found = self._sequential() if staged else self._at_once()
        p, q = self.base.p, found.p
        positive = q > 0
        entropy = float(q[positive] @ np.log(q[positive] / p[positive]))
        pooled = Pooled(
            replace(
                self.base,
                p=q / q.sum(),
                legs=(self.shock.name,),
                notes=(*self.base.notes, f"reweighted by {self.shock.name}"),
            ),
            tuple(self._outcome(k, v, q) for k, v in enumerate(self.shock.views)),
            max(entropy, 0.0),
            self.shock.method,
        )
        if pooled.effective_share < FEW_EFFECTIVE:
            warnings.warn(
                f"{self.shock.name}: the posterior rests on "
                f"{pooled.effective_share:.1%} of the prior's effective scenarios "
                f"({pooled.effective_number:,.0f}); draw more or soften the views.",
                UserWarning,
                stacklevel=5,
            )
        return pooled

    def _sequential(self) -> Tilt:
        views = self.shock.views
        rows: list[Row] = []
        found = Tilt(self.base.p, np.zeros(0), 0.0, True)
        for stage in (1, 2, 3):
            mine = [(k, v) for k, v in enumerate(views) if stage_of(v) == stage]
            if not mine:
                continue
            need = set().union(*(assets_of(v, second=True) for _, v in mine))
            held = self._moments(need, found.p)
            if stage > 1:
                rows = [r for r in rows if not self._implied(r, need, stage)]
                rows += self._held_rows(need, held, stage, rows)
            for k, v in mine:
                if v.kinds != {"es"}:
                    rows += rows_of(v, k, self.table, held)
            found = self._solve(rows)
        return found

    def _at_once(self) -> Tilt:
        """Moments held at the prior, or at the value that a view of them asks for."""
        views = self.shock.views
        need = set().union(*(assets_of(v, second=True) for v in views))
        third = [assets_of(v, second=True) for v in views if stage_of(v) == 3]
        held = self._moments(need, self.base.p)
        # What is held, by kind: means where a variance is viewed, both for the rest.
        fixed = {"mean": need, "variance": set().union(*third)}
        for v in views:
            self._hold_at(v, held)
        rows: list[Row] = []
        for k, v in enumerate(views):
            if v.kinds == {"es"}:
                continue
            for row in rows_of(v, k, self.table, held):
                kind, asset = self._single(row) or ("", "")
                if asset in fixed.get(kind, set()):
                    value = getattr(held, kind)[asset]
                    row = row._replace(kind=EQUAL, b=value)
                rows.append(row)
        rows += self._held_rows(need, held, 2, rows)
        if third:
            rows += self._held_rows(fixed["variance"], held, 3, rows)
        return self._solve(rows)

    def _hold_at(self, v: View, held: Held) -> None:
        """Hold a moment at the value of a view of it that the prior does not meet."""
        coefficient, figure = v.terms[0]
        if len(v.terms) > 1 or figure.kind not in ("mean", "vol", "variance"):
            return
        moments = held.mean if figure.kind == "mean" else held.variance
        asset, value = figure.assets[0], self.table.target(v) / coefficient
        if asset not in moments:
            return
        miss = self.table.posterior(v, self.base.p) - self.table.target(v)
        if v.operator == "==" or (miss > 0) == (v.operator == "<="):
            moments[asset] = value**2 if figure.kind == "vol" else value

    def _moments(self, assets: set[str], q: Vector) -> Held:
        mean = {a: self.table.figure(Figure("mean", (a,)), q, a) for a in assets}
        variance = {
            a: self.table.figure(Figure("variance", (a,)), q, a) for a in assets
        }
        return Held(mean, variance)

    def _single(self, row: Row) -> tuple[str, str] | None:
        """Kind and asset of a row that restrains one moment of one asset."""
        if row.view < 0:
            kind, _, rest = row.text.partition("(")
            return kind, rest.partition(")")[0]
        terms = list(self.shock.views[row.view].terms)
        if len(terms) > 1 or terms[0][1].kind not in ("mean", "vol", "variance"):
            return None
        (asset,) = terms[0][1].assets
        return ("mean" if terms[0][1].kind == "mean" else "variance"), asset

    def _implied(self, row: Row, need: set[str], stage: int) -> bool:
        """Whether holding the moments of ``need`` already says what a row says."""
        if row.view < 0:
            single = self._single(row)
            return single is not None and single[1] in need
        view = self.shock.views[row.view]
        if view.kinds & {"prob", "var", "es"} or not assets_of(view) <= need:
            return False
        return stage > 2 or view.kinds == {"mean"}

    def _held_rows(
        self, need: set[str], held: Held, stage: int, rows: list[Row]
    ) -> list[Row]:
        taken = {self._single(r) for r in rows if r.kind == EQUAL}
        out = []
        for asset in sorted(need):
            x = self.table.column(asset, asset)
            mean, variance = held.mean[asset], held.variance[asset]
            if ("mean", asset) not in taken:
                text = f"mean({asset}) held at {mean:.4g}"
                out.append(Row(x, mean, EQUAL, -1, text))
            if stage > 2 and ("variance", asset) not in taken:
                text = f"variance({asset}) held at {variance:.4g}"
                out.append(Row((x - mean) ** 2, variance, EQUAL, -1, text))
        return out

    def _solve(self, rows: list[Row]) -> Tilt:
        for row in rows:
            if row.view >= 0:
                check_alone(row, self.base.p)
        fixed = np.array([r.a for r in rows]).reshape(len(rows), self.base.p.size)
        start: dict[Any, float] = {}
        for _ in range(_SHORTFALL_STEPS):
            extra = [r for s in self.shortfalls for r in s.rows()]
            found = self._tilt(rows + extra, fixed, start)
            # Every state is told of every posterior: no short-circuit.
            moved = [s.update(found.p) for s in self.shortfalls]
            if not any(moved):
                return found
        raise SolverError(
            "the values at risk of the views on expected shortfall did not settle",
            received=", ".join(s.view.text for s in self.shortfalls),
            fix="Give fewer of them, or as inequalities.",
        )

    def _tilt(self, rows: list[Row], fixed: np.ndarray, start: dict) -> Tilt:
        extra = rows[len(fixed) :]
        for row in extra:
            check_alone(row, self.base.p)
        A = np.vstack([fixed, *(r.a for r in extra)]) if extra else fixed
        b = np.array([r.b for r in rows])
        kind = np.array([r.kind for r in rows])
        keys = [(r.view, k if k < len(fixed) else -1) for k, r in enumerate(rows)]
        guess = np.array([start.get(key, 0.0) for key in keys])
        try:
            found = tilt(A, b, kind, self.base.p, guess)
        except SolverError as error:
            conflict = explain(rows, self.base.p)
            if not conflict.relaxation:
                raise error from None
            raise conflict from None
        if not found.feasible:
            raise explain(rows, self.base.p)
        self.multipliers[:] = np.where(
            np.isin(np.arange(self.multipliers.size), [r.view for r in rows]),
            0.0,
            self.multipliers,
        )
        start.clear()
        for row, key, value in zip(rows, keys, found.multipliers, strict=True):
            start[key] = float(value)
            if row.view >= 0:
                self.multipliers[row.view] += self._per_unit(row, float(value))
        return found

    @staticmethod
    def _per_unit(row: Row, multiplier: float) -> float:
        """Multiplier per unit of the view's own value."""
        slope = 2.0 * np.sqrt(max(row.b, 0.0)) if row.root else 1.0
        return multiplier * slope / row.factor

    def _outcome(self, k: int, view: View, q: Vector) -> ViewOutcome:
        table = self.table
        target = table.target(view)
        prior, value = table.posterior(view, table.p), table.posterior(view, q)
        miss = value - target
        met = {"<=": miss <= 0, ">=": miss >= 0, "==": False}[view.operator]
        residual = 0.0 if met else miss
        size = max(1.0, abs(target)) if "kurtosis" in view.kinds else 1.0
        if abs(residual) > _RESIDUAL * size and "var" not in view.kinds:
            raise SolverError(
                f"the posterior misses the view {view.text!r}",
                received=f"{value:.8g}",
                expected=f"{view.operator} {target:.8g}",
                fix="Give fewer views of expected shortfall, or as inequalities.",
            )
        multiplier = float(self.multipliers[k])
        return ViewOutcome(view.text, target, prior, value, residual, multiplier)
