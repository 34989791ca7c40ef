"""Scenarios with probabilities: the currency of risk, stress and optimisation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine._base import Value, check_labels, frozen_array
from engine._typing import Vector
from engine.data.portfolio import Portfolio, cash_label
from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError

BASE_LEG = "base"


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioSet(Value):
    """Weighted joint outcomes of the assets over one horizon.

    Attributes
    ----------
    assets : tuple of str, length N
        Cash included, as ``CASH:USD``.
    returns : (S, N) float64
        Simple returns over the horizon in base currency, all above -1.
    p : (S,) float64
        Probabilities, sum one.
    leg : (S,) int16
        Index into ``legs``: 0 is the base leg, others name the shock applied.
    legs : tuple of str
    horizon : int
        Sessions.
    universe : Universe
        Labels of the assets, in order.
    model : ReturnModel or None
        What the scenarios were drawn from.
    paths : (S, H, N) float64 or None
        Cumulative simple returns after each session, where asked for.
    periods_per_year : float
        Sessions per year.
    seed, distribution, base_currency, notes
        Provenance.
    synthetic, hindsight_parameters : bool
        As the panel and the shocks had them; every output is stamped.
    """

    assets: tuple[str, ...]
    returns: np.ndarray
    p: np.ndarray
    horizon: int
    universe: Universe
    base_currency: str
    periods_per_year: float
    leg: np.ndarray = field(default_factory=lambda: np.empty(0, np.int16))
    legs: tuple[str, ...] = (BASE_LEG,)
    model: Any = None
    paths: np.ndarray | None = None
    seed: int | None = None
    distribution: str = "given"
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    hindsight_parameters: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "assets", check_labels(self.assets, name="scenarios"))
        n = len(self.assets)
        returns = frozen_array(self.returns, name="scenario returns", ndim=2)
        if returns.shape[1] != n or not returns.shape[0]:
            raise DataError(
                "scenario returns do not match the assets",
                received=f"shape {returns.shape}",
                expected=f"(S, {n})",
            )
        if returns.size and returns.min() <= -1.0:
            s, i = (int(v) for v in np.argwhere(returns <= -1.0)[0])
            raise ModelError(
                "a scenario loses all or more of an asset",
                asset=self.assets[i],
                received=f"{returns[s, i]:.4f} in scenario {s}",
                fix="Use log returns, or truncate the severity.",
            )
        put(self, "returns", returns)
        p = frozen_array(
            self.p, name="probabilities", ndim=1, shape=(returns.shape[0],)
        )
        if (p < 0).any() or abs(p.sum() - 1.0) > 1e-9:
            raise DataError(
                "probabilities must be non-negative and sum to one",
                received=f"minimum {p.min():.3e}, sum {p.sum():.9f}",
            )
        put(self, "p", p)
        leg = self.leg if self.leg.size else np.zeros(p.size, np.int16)
        leg = frozen_array(leg, name="leg", ndim=1, dtype=np.int16, shape=p.shape)
        if (leg < 0).any() or (leg >= len(self.legs)).any():
            raise DataError("a scenario belongs to no leg")
        put(self, "leg", leg)
        put(self, "legs", check_labels(self.legs, name="legs", what="leg"))
        if self.universe.tickers != self.assets:
            raise DataError("universe and scenarios list different assets")
        if self.horizon < 1:
            raise UsageError(
                "horizon must be at least one session", received=self.horizon
            )
        if self.paths is not None:
            put(
                self,
                "paths",
                frozen_array(self.paths, name="paths", ndim=3, shape=(p.size, -1, n)),
            )

    def __len__(self) -> int:
        return self.p.size

    def align(self, weights: Any) -> Vector:
        """(N,) weights in the order of ``assets``.

        Parameters
        ----------
        weights : Portfolio, mapping or (N,) array_like
        """
        return align_weights(self.assets, weights)

    def losses(self, weights: Any) -> Vector:
        """(S,) loss of a portfolio in each scenario: ``-returns @ weights``."""
        return -(self.returns @ self.align(weights))

    def book_paths(
        self,
        weights: Any,
        *,
        rebalance: int | None = None,
        half_spread_bps: float = 0.0,
    ) -> np.ndarray:
        """(S, H) value of a book after each session, starting at one.

        Parameters
        ----------
        weights : Portfolio, mapping or (N,) array_like
            Held at the start; what they leave of one earns nothing.
        rebalance : int, optional
            Sessions between returns to the weights (1: every session; none after the
            last); default buy-and-hold.
        half_spread_bps : float, default 0
            One-way cost on traded value; base-currency cash trades free. Paid out of
            the book, whose weights after trading are exactly those given.

        Raises
        ------
        UsageError
            The set holds no paths; an option is out of range.
        ModelError
            A leveraged book has nothing left at a rebalance.
        """
        from engine.kernels.paths import DONE, book_values

        if self.paths is None:
            raise UsageError(
                "the scenarios hold no paths",
                received="returns at the horizon alone",
                fix="Draw them with paths=True.",
            )
        every = 0 if rebalance is None else rebalance
        if isinstance(every, bool) or not isinstance(every, (int, np.integer)):
            raise UsageError("rebalance is a number of sessions", received=rebalance)
        if rebalance is not None and every < 1:
            raise UsageError("rebalance at least every session", received=rebalance)
        if not 0.0 <= half_spread_bps < 1e4:
            raise UsageError(
                "half_spread_bps lies in [0, 10000)", received=half_spread_bps
            )
        w = np.ascontiguousarray(self.align(weights), dtype=np.float64).copy()
        cost = half_spread_bps * 1e-4
        if every and cost * np.abs(w).sum() >= 1.0:
            raise UsageError(
                "trading the whole book would cost all of it",
                received=f"gross weight {np.abs(w).sum():.2f} at {half_spread_bps} bp",
            )
        costs = np.full(w.size, cost)
        costs[[a == cash_label(self.base_currency) for a in self.assets]] = 0.0
        value = np.empty(self.paths.shape[:2])
        status, scenario = book_values(self.paths, w, costs, int(every), value)
        if status != DONE:
            raise ModelError(
                "the book has nothing left to rebalance",
                received=f"scenario {scenario}",
                fix="Lower the leverage, or hold it without rebalancing.",
            )
        return value

    def drawdowns(
        self,
        weights: Any,
        *,
        rebalance: int | None = None,
        half_spread_bps: float = 0.0,
    ) -> Vector:
        """(S,) largest fall from a running peak along each path, the start included.

        Parameters
        ----------
        weights, rebalance, half_spread_bps
            As in `book_paths`.
        """
        from engine.kernels.paths import deepest

        value = self.book_paths(
            weights, rebalance=rebalance, half_spread_bps=half_spread_bps
        )
        out = np.empty(value.shape[0])
        deepest(value, out)
        return out

    def rows(self, leg: str) -> np.ndarray:
        """(S,) bool: scenarios of one leg."""
        if leg not in self.legs:
            raise UsageError(
                "no such leg", received=repr(leg), expected=", ".join(self.legs)
            )
        return self.leg == self.legs.index(leg)

    def leg_mean(self, leg: str) -> Vector:
        """(N,) mean return of each asset over one leg."""
        rows = self.rows(leg)
        return self.p[rows] @ self.returns[rows] / self._mass(rows, leg)

    def _mass(self, rows: np.ndarray, leg: str) -> float:
        total = float(self.p[rows].sum())
        if total <= 0.0:
            raise DataError("a leg has no probability left", received=repr(leg))
        return total

    def base(self) -> ScenarioSet:
        """The base leg alone, probabilities rescaled within it."""
        rows = self.rows(BASE_LEG)
        if rows.all():
            return self
        return replace(
            self,
            returns=self.returns[rows],
            p=self.p[rows] / self._mass(rows, BASE_LEG),
            leg=np.zeros(int(rows.sum()), np.int16),
            legs=(BASE_LEG,),
            paths=None if self.paths is None else self.paths[rows],
        )

    def reweight(self, p: Any) -> ScenarioSet:
        """Return the same outcomes under other probabilities (see `effective_number`).

        Parameters
        ----------
        p : (S,) array_like
            Non-negative, sum one.
        """
        return replace(self, p=p)

    @property
    def effective_number(self) -> float:
        """Effective number of scenarios, ``exp(-sum p ln p)`` (Meucci 2008)."""
        positive = self.p[self.p > 0]
        return float(np.exp(-(positive * np.log(positive)).sum()))

    def reduce(self, n: int) -> ScenarioSet:
        """Keep the first ``n`` scenarios of each leg: draws are exchangeable."""
        if n < 1:
            raise UsageError("keep at least one scenario", received=n)
        keep = np.zeros(len(self), dtype=bool)
        for code in range(len(self.legs)):
            keep[np.flatnonzero(self.leg == code)[:n]] = True
        p = self.p[keep].copy()
        leg = self.leg[keep]
        for code in range(len(self.legs)):
            mine = leg == code
            before = float(self.p[self.leg == code].sum())
            if before > 0.0:
                kept = float(p[mine].sum())
                if kept <= 0.0:
                    raise DataError(
                        "the scenarios kept of a leg have no probability",
                        received=repr(self.legs[code]),
                        fix="Keep more of them.",
                    )
                p[mine] *= before / kept
        return replace(
            self,
            returns=self.returns[keep],
            p=p,
            leg=leg,
            paths=None if self.paths is None else self.paths[keep],
        )

    def apply(self, shock: Any, *, severity: str | float = "central") -> ScenarioSet:
        """Every base scenario with the shock on top: ``(1 + r)(1 + x) - 1``.

        A shock that reweights leaves the returns and gives other probabilities; a
        mixture of states adds a leg for each (`engine.shocks.mix`).

        Parameters
        ----------
        shock : Shock, Reweighting or CoherentStress
            Anything with ``name`` and ``moves(universe, model)``, or with ``name`` and
            ``reweight(scenarios)``.
        severity : {"central", "distribution"} or float
            The central move, the whole severity distribution spread over the rows, or
            one quantile of it (0.9 is a shock worse than nine in ten). A reweighting
            has one severity, its posterior: a quantile of it is refused.
        """
        if hasattr(shock, "mixed"):
            return shock.mixed(self, severity=severity)
        if hasattr(shock, "reweight"):
            return self._reweighted(shock, severity)
        moves = shock.moves(self.universe, self.model)
        base = self.base()
        x = moves.rows(severity, len(base))
        returns = (1.0 + base.returns) * (1.0 + x) - 1.0
        return replace(base, returns=returns, legs=(shock.name,), paths=None)

    def _reweighted(self, shock: Any, severity: str | float) -> ScenarioSet:
        if not isinstance(severity, str):
            raise UsageError(
                f"shock {shock.name} reweights scenarios: it has one severity",
                received=severity,
                fix="Leave severity out; state the severity in the views.",
            )
        base = self.base()
        posterior = shock.reweight(base)
        if posterior.assets != base.assets or len(posterior) != len(base):
            raise ModelError(
                f"shock {shock.name} returned other scenarios than it was given",
                received=f"{len(posterior)} x {len(posterior.assets)}",
                expected=f"{len(base)} x {len(base.assets)}",
            )
        return replace(
            posterior, legs=(shock.name,), leg=np.zeros(len(base), dtype=np.int16)
        )

    def mix(
        self, shock: Any, probability: float, *, severity: str | float = "central"
    ) -> ScenarioSet:
        """Add the shock as a leg with a probability; other legs keep their ratio."""
        if hasattr(shock, "mixed"):
            raise UsageError(
                "a mixture of states brings its own probabilities",
                received=f"{shock.name} with {probability}",
                fix="Use scenarios.apply(mixture).",
            )
        if not 0.0 < probability < 1.0:
            raise UsageError(
                "the probability of a leg lies in (0, 1)", received=probability
            )
        if shock.name in self.legs:
            raise UsageError("a leg of this name exists", received=shock.name)
        shocked = self.apply(shock, severity=severity)
        return replace(
            self,
            returns=np.vstack([self.returns, shocked.returns]),
            p=np.concatenate([self.p * (1 - probability), shocked.p * probability]),
            leg=np.concatenate(
                [self.leg, np.full(len(shocked), len(self.legs), np.int16)]
            ),
            legs=(*self.legs, shock.name),
            paths=None,
        )

    def _repr_html_(self) -> str:
        import pandas as pd

        from engine import _display as show

        legs = [
            (name, int((self.leg == i).sum()), float(self.p[self.leg == i].sum()))
            for i, name in enumerate(self.legs)
        ]
        frame = pd.DataFrame(legs, columns=["leg", "scenarios", "probability"])
        model = "" if self.model is None else show.small(repr(self.model))
        return (
            show.paragraph(repr(self))
            + show.table(frame, {"probability": show.percent})
            + model
        )

    def __repr__(self) -> str:
        mark = "SYNTHETIC, " if self.synthetic else ""
        return (
            f"ScenarioSet({mark}{len(self)} scenarios x {len(self.assets)} assets, "
            f"horizon {self.horizon} sessions, {self.distribution}, legs "
            f"{', '.join(self.legs)}, seed {self.seed})"
        )


def align_weights(assets: tuple[str, ...], weights: Any) -> Vector:
    """(N,) weights in the order of ``assets``; see `ScenarioSet.align`."""
    if isinstance(weights, Portfolio):
        return weights.weights_on(assets)
    if hasattr(weights, "items"):
        given: dict[str, float] = {}
        for label, value in weights.items():
            if str(label) in given:  # a Series may repeat a label
                raise DataError("two weights carry one label", asset=str(label))
            if not np.isfinite(value):
                raise DataError(
                    "a weight is not finite", asset=str(label), received=value
                )
            given[str(label)] = float(value)
        unknown = [k for k in given if k not in set(assets)]
        if unknown:
            raise DataError("a weight names no scenario asset", asset=unknown[0])
        return np.array([given.get(a, 0.0) for a in assets])
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(assets),) or not np.isfinite(values).all():
        raise DataError(
            "weights do not match the scenarios, or hold NaN",
            received=f"shape {values.shape}",
            expected=f"({len(assets)},)",
        )
    return values
