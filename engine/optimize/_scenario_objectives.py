"""Objectives that read the scenarios: means, tails, drawdowns and the worst of shocks.

Each adds trading cost to what it minimises. Means are a year's arithmetic returns, risk
of a year where it is a deviation and of the horizon where it is a tail. Scenarios enter
with their probabilities, so that an entropy-pooled set needs nothing more.

| name | beside cost | options |
|---|---|---|
| minimum_shortfall | expected shortfall (Rockafellar and Uryasev 2000) | level |
| minimum_entropic | largest mean loss in a ball of relative entropy | level, radius |
| minimum_drawdown | mean of the worst largest falls of the paths | level |
| tracking_error | active volatility | |
| maximum_return | minus the mean return | uncertainty, years |
| maximum_utility | minus mean, plus half a risk_aversion times variance | and that |
| maximum_ratio | excess mean per volatility, by Dinkelbach (1967) | |
| worst_case | largest loss over shocks | shocks |

With ``uncertainty`` k the mean is the lowest in the ellipsoid ``(m - mu)' (Sigma /
years)^-1 (m - mu) <= k^2`` (Ben-Tal and Nemirovski 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.data.portfolio import CASH_PREFIX
from engine.errors import ModelError, UsageError
from engine.optimize._objectives import Formed, Terms
from engine.optimize._risk_terms import risk_vector
from engine.risk._measures import check_level, tail_weights
from engine.scenarios import ScenarioSet
from engine.shocks.moves import moves_of, stress_vector

_ROUNDS = 20
_STILL = 1e-9


class Means(NamedTuple):
    """Arithmetic returns a year."""

    assets: Vector
    """(N,) of every scenario asset."""
    cash: float


def annual_means(scenarios: ScenarioSet) -> Means:
    """Return the means: the model's where the scenarios are its plain draws.

    Reweighted scenarios, and those without a model, have the means of the scenarios.
    A thousand draws of a month leave an error of 3% a year in a mean, the model none.
    """
    base, model = scenarios.base(), scenarios.model
    cash_label = f"{CASH_PREFIX}{scenarios.base_currency}"
    row = scenarios.assets.index(cash_label)
    if model is None or np.ptp(base.p) > 1e-12:
        grown = base.p @ base.returns
        means = grown * scenarios.periods_per_year / scenarios.horizon
        return Means(means, float(means[row]))
    means = np.full(len(scenarios.assets), model.cash_rate)
    rows = [scenarios.assets.index(a) for a in model.assets]
    per_year = model.periods_per_year
    if model.mean_kind == "zero_excess":
        means[rows] = model.cash_rate
    elif model.return_kind == "log":
        variance = np.diagonal(model.dense_covariance())
        means[rows] = np.expm1(per_year * (model.mean + 0.5 * variance))
    else:
        means[rows] = per_year * model.mean
    return Means(means, model.cash_rate)


@dataclass
class Tail:
    """Expected shortfall of the base leg, all scenarios at once."""

    name: str
    returns: np.ndarray
    p: Vector
    level: float

    def __call__(self, terms: Terms) -> Formed:
        """Build the form of Rockafellar and Uryasev."""
        import cvxpy as cp

        zeta, u = cp.Variable(), cp.Variable(self.p.size, nonneg=True)
        rows = [u >= -(self.returns @ terms.holdings) - zeta]
        risk = zeta + (self.p @ u) / (1.0 - self.level)
        return Formed({"cost": terms.cost, "expected shortfall": risk}, rows)

    def marginal(self, w: Vector) -> list[tuple[str, float, Vector]]:
        """Expected shortfall added by each asset."""
        losses = -(self.returns @ w)
        q = tail_weights(losses, level=self.level, p=self.p)
        return [("expected shortfall", 1.0, -(q @ self.returns))]


@dataclass
class Entropic:
    """Largest mean loss over probabilities within a relative entropy of the given.

    ``inf over t > 0 of t ln E exp(loss / t) + t radius``: at radius ``-ln(1 - level)``
    the entropic value at risk (Ahmadi-Javid 2012).
    """

    name: str
    returns: np.ndarray
    p: Vector
    radius: float

    def __call__(self, terms: Terms) -> Formed:
        """Build with one exponential cone a scenario, by its relative entropy."""
        import cvxpy as cp

        if self.radius == 0.0:
            risk = -(self.p @ self.returns) @ terms.holdings
            return Formed({"cost": terms.cost, "worst mean loss": risk})
        used = np.flatnonzero(self.p > 0)
        z, t = cp.Variable(), cp.Variable(nonneg=True)
        u = cp.Variable(used.size)
        losses = -(self.returns[used] @ terms.holdings)
        rows = [
            losses - z + cp.rel_entr(t * np.ones(used.size), u) <= 0.0,
            self.p[used] @ u <= t,
        ]
        risk = z + self.radius * t
        return Formed({"cost": terms.cost, "worst mean loss": risk}, rows, linear=False)


@dataclass
class Drawdown:
    """Mean of the worst largest falls along buy-and-hold paths, of the value today."""

    name: str
    paths: np.ndarray
    p: Vector
    level: float

    def __call__(self, terms: Terms) -> Formed:
        """Build with a running peak on every path."""
        import cvxpy as cp

        S, H, N = self.paths.shape
        value = cp.reshape(
            self.paths.reshape(S * H, N) @ terms.holdings, (S, H), order="C"
        )
        peak, fall = cp.Variable((S, H), nonneg=True), cp.Variable(S, nonneg=True)
        zeta, u = cp.Variable(), cp.Variable(S, nonneg=True)
        rows = [
            peak >= value,
            peak[:, 1:] >= peak[:, :-1],
            cp.reshape(fall, (S, 1), order="C") @ np.ones((1, H)) >= peak - value,
            u >= fall - zeta,
        ]
        risk = zeta + (self.p @ u) / (1.0 - self.level)
        return Formed({"cost": terms.cost, "drawdown": risk}, rows)


@dataclass
class Worst:
    """Largest central loss over shocks."""

    name: str
    outcomes: np.ndarray
    """(K, N) returns, one row a shock."""

    def __call__(self, terms: Terms) -> Formed:
        """Build the epigraph of the maximum."""
        import cvxpy as cp

        most = cp.Variable()
        rows = [most >= -(self.outcomes @ terms.holdings)]
        return Formed({"cost": terms.cost, "worst loss": most}, rows)

    def marginal(self, w: Vector) -> list[tuple[str, float, Vector]]:
        """Loss under the worst shock added by each asset."""
        row = self.outcomes[int(np.argmin(self.outcomes @ w))]
        return [("the worst loss", 1.0, -row)]


@dataclass
class Return:
    """Mean return, less a penalty on variance and on what is not known of the mean."""

    name: str
    mean: Vector
    aversion: float = 0.0
    uncertainty: float = 0.0
    years: float = 1.0

    def __call__(self, terms: Terms) -> Formed:
        """Build; a plain mean stays linear."""
        import cvxpy as cp

        w = terms.holdings
        spread = risk_vector(terms.setup, w)
        parts = {"cost": terms.cost, "mean return, negated": -(self.mean @ w)}
        if self.aversion:
            parts["variance"] = 0.5 * self.aversion * cp.sum_squares(spread)
        if self.uncertainty:
            error = cp.norm(spread, 2) / math.sqrt(self.years)
            parts["uncertainty of the mean"] = self.uncertainty * error
        return Formed(parts, linear=len(parts) == 2)


@dataclass
class Active:
    """Active volatility a year."""

    name: str

    def __call__(self, terms: Terms) -> Formed:
        """Build a norm."""
        import cvxpy as cp

        risk = cp.norm(terms.active, 2)
        return Formed({"cost": terms.cost, "tracking error": risk}, linear=False)


@dataclass
class Ratio:
    """Excess mean, less cost, per unit of volatility (Dinkelbach 1967).

    The largest ``q`` for which ``excess - cost - q volatility`` can reach zero; each
    solve gives the next ``q``, and the sequence rises to the best.
    """

    name: str
    excess: Vector
    best: float | None = field(default=None)

    def __call__(self, terms: Terms) -> Formed:
        """Build at the best ratio, found by solving at the ones before."""
        import cvxpy as cp

        if self.best is None:
            self.best = self._search(terms.setup)
        risk = cp.norm(risk_vector(terms.setup, terms.holdings), 2)
        return Formed(
            {
                "cost": terms.cost,
                "excess return, negated": -(self.excess @ terms.holdings),
                "risk at the best ratio": self.best * risk,
            },
            linear=False,
        )

    def _search(self, setup: Any) -> float:
        from engine.optimize.problem import optimise

        q = 0.0
        for _ in range(_ROUNDS):
            trial = Ratio(self.name, self.excess, q)
            measures = [replace(m, cuts=list(m.cuts)) for m in setup.measures]
            found = optimise(replace(setup, term=trial, measures=measures))
            if not found.solved.feasible:
                return q
            risk = setup.volatility(found.holdings)
            gain = float(self.excess @ found.holdings) - found.parts["cost"]
            if gain <= 0.0 or risk <= 0.0:
                raise ModelError(
                    "no portfolio within the limits earns more than cash after costs: "
                    "a ratio has no best",
                    received=f"excess of {gain:.2%} a year at volatility {risk:.2%}",
                    fix="Minimise risk instead, or revise the means.",
                )
            if gain / risk <= q * (1.0 + _STILL):
                return q
            q = gain / risk
        return q


def _shortfall(scenarios: ScenarioSet, *, level: float = 0.95) -> Tail:
    base = scenarios.base()
    return Tail("minimum_shortfall", base.returns, base.p, check_level(level))


def _entropic(
    scenarios: ScenarioSet, *, level: float = 0.95, radius: float | None = None
) -> Entropic:
    base = scenarios.base()
    reach = -math.log1p(-check_level(level)) if radius is None else float(radius)
    if not (math.isfinite(reach) and reach >= 0.0):
        raise UsageError("a radius of relative entropy is positive", received=radius)
    return Entropic("minimum_entropic", base.returns, base.p, reach)


def _drawdown(scenarios: ScenarioSet, *, level: float = 0.95) -> Drawdown:
    base = scenarios.base()
    if base.paths is None:
        raise UsageError(
            "minimum_drawdown needs paths",
            received="returns at the horizon alone",
            fix="Draw the scenarios with paths=True.",
        )
    start = np.zeros((base.paths.shape[0], 1, base.paths.shape[2]))
    paths = np.concatenate([start, base.paths], axis=1)
    return Drawdown("minimum_drawdown", paths, base.p, check_level(level))


def _means_that_differ(scenarios: ScenarioSet, name: str) -> Means:
    means = annual_means(scenarios)
    if np.ptp(means.assets) < 1e-12:
        raise ModelError(
            f"{name} needs means, and every asset of the model earns what cash does",
            received="mean zero_excess",
            fix="Fit with given means, use black_litterman, or minimise risk.",
        )
    return means


def _checked(value: float, name: str) -> float:
    if not (math.isfinite(value) and value >= 0.0):
        raise UsageError(f"{name} must not be negative", received=value)
    return float(value)


def _return(
    scenarios: ScenarioSet, *, uncertainty: float = 0.0, years: float | None = None
) -> Return:
    means = _means_that_differ(scenarios, "maximum_return")
    return Return(
        "maximum_return",
        means.assets,
        uncertainty=_checked(uncertainty, "uncertainty"),
        years=_years(scenarios, years),
    )


def _utility(
    scenarios: ScenarioSet,
    *,
    risk_aversion: float = 2.5,
    uncertainty: float = 0.0,
    years: float | None = None,
) -> Return:
    means = _means_that_differ(scenarios, "maximum_utility")
    return Return(
        "maximum_utility",
        means.assets,
        aversion=_checked(risk_aversion, "risk_aversion"),
        uncertainty=_checked(uncertainty, "uncertainty"),
        years=_years(scenarios, years),
    )


def _years(scenarios: ScenarioSet, years: float | None) -> float:
    """Length of the sample behind the means, one year where it is not known."""
    length = years
    if length is None:
        window = getattr(scenarios.model, "window", (None, None, 0))
        periods = getattr(scenarios.model, "periods_per_year", 1.0)
        length = window[2] / periods or 1.0
    if not (math.isfinite(length) and length > 0.0):
        raise UsageError("years must be positive", received=years)
    return float(length)


def _ratio(scenarios: ScenarioSet) -> Ratio:
    means = annual_means(scenarios)
    risky = [not a.startswith(CASH_PREFIX) for a in scenarios.assets]
    best = float((means.assets - means.cash)[risky].max())
    if best <= 1e-12:
        raise ModelError(
            "maximum_ratio needs a mean above the risk-free rate",
            received=f"the highest is {best:.2%} a year above cash",
            fix="Fit with given means, use black_litterman, or minimise risk.",
        )
    return Ratio("maximum_ratio", means.assets - means.cash)


def _active(scenarios: ScenarioSet) -> Active:
    return Active("tracking_error")


def _worst(scenarios: ScenarioSet, *, shocks: Sequence[Any] = ()) -> Worst:
    shocks = list(shocks)
    if not shocks:
        raise UsageError(
            "worst_case needs shocks",
            fix='Use engine.objective("worst_case", shocks=[...]).',
        )
    rows = [stress_vector(scenarios, moves_of(s, scenarios)) for s in shocks]
    return Worst("worst_case", np.array(rows))


FACTORIES: dict[str, Callable[..., Any]] = {
    "minimum_shortfall": _shortfall,
    "minimum_entropic": _entropic,
    "minimum_drawdown": _drawdown,
    "tracking_error": _active,
    "maximum_return": _return,
    "maximum_utility": _utility,
    "maximum_ratio": _ratio,
    "worst_case": _worst,
}
"""Objectives that need the scenarios: each makes a builder of them."""
