"""What to trade: the target, the trades with their reasons, and how the solve went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from engine._base import Value, check_labels, frozen_array
from engine.errors import DataError


class Outcome(Enum):
    """How a proposal came about; the value is a sentence for people."""

    OPTIMAL = "Solved to optimality; every limit holds after rounding."
    NO_TRADE = "The book is already within every limit; nothing needs to be traded."
    RULE = "Set by a rule, not by an optimiser."
    ROUNDING = (
        "Solved, but whole shares leave a limit short by the amount shown; "
        "allow fractions or relax that limit."
    )
    GAP = (
        "Every limit holds after rounding, but the search for names stopped before it "
        "proved its choice within the gap asked for; the notes state the gap reached."
    )
    RELAXED = "The limits could not all hold; they were relaxed in the declared order."
    HELD = "No trade: the limits could not hold and the declared fallback is to hold."


@dataclass(frozen=True, slots=True)
class Trade:
    """One order.

    Attributes
    ----------
    ticker : str
    units : float
        Signed; whole where the prices are as traded.
    value : float
        Signed, base currency.
    weight_before, weight_after : float
    reason : str
        Which limit or risk the trade serves.
    """

    ticker: str
    units: float
    value: float
    weight_before: float
    weight_after: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit, before and after, re-computed from the rounded target.

    ``value`` and ``limit`` are in the limit's own unit (decimals of net asset value).
    ``price`` is the dual: saved objective per unit of relaxation, of the continuous
    problem before rounding; None where the solver has none. ``note`` says what else one
    must know to read it, such as how funds were counted.

    Attributes
    ----------
    name, note : str
    before, after, limit : float
    satisfied : bool
    price : float or None
    """

    name: str
    before: float
    after: float
    limit: float
    satisfied: bool
    price: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Proposal(Value):
    """A target portfolio and everything needed to judge it.

    Attributes
    ----------
    labels : tuple of str, length N
        Assets and cash positions.
    current, target : (N,) float64
        Weights of net asset value: before trading, and after trading, rounding and
        costs.
    trades : tuple of Trade
    cost, turnover : float
        Cost as a fraction of net asset value; turnover is half the sum of absolute
        weight changes, cash included.
    value : float
        Net asset value before trading, base currency.
    outcome : Outcome
    limits : tuple of LimitCheck
    stress_before, stress_after : mapping shock name -> loss
        Decimals of net asset value, losses positive, without credit for gains where
        the limit gives none.
    objective : str
    prices : mapping limit name -> float
        Dual of every limit of the continuous problem, before rounding: objective saved
        per unit of relaxation (see `prices_frame`).
    objective_parts : mapping part -> float
        What the objective is made of, in fractions of net asset value, at the solution
        before rounding.
    stress_error_before, stress_error_after : mapping shock name -> float
        Standard errors of the stress losses over the severities drawn; zero for a
        central loss, no entry where too few were drawn.
    solve_path : tuple of str
        Solver, status and residuals of each step, in order.
    notes, warnings : tuple of str
    """

    labels: tuple[str, ...]
    current: np.ndarray
    target: np.ndarray
    trades: tuple[Trade, ...] = ()
    cost: float = 0.0
    turnover: float = 0.0
    value: float = 1.0
    outcome: Outcome = Outcome.RULE
    limits: tuple[LimitCheck, ...] = ()
    stress_before: Mapping[str, float] = field(default_factory=dict)
    stress_after: Mapping[str, float] = field(default_factory=dict)
    objective: str = ""
    solve_path: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    objective_parts: Mapping[str, float] = field(default_factory=dict)
    stress_error_before: Mapping[str, float] = field(default_factory=dict)
    stress_error_after: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "labels", check_labels(self.labels, name="proposal"))
        n = len(self.labels)
        for name in ("current", "target"):
            weights = frozen_array(
                getattr(self, name), name=f"{name} weights", ndim=1, shape=(n,)
            )
            if abs(weights.sum() - 1.0) > 1e-6:
                raise DataError(
                    f"{name} weights of a proposal do not sum to one",
                    received=f"{weights.sum():.8f}",
                    expected="1, cash included",
                )
            put(self, name, weights)

    @classmethod
    def from_weights(
        cls, portfolio: Any, target: Mapping[str, float], *, notes: tuple[str, ...] = ()
    ) -> Proposal:
        """Proposal of a rule that names target weights.

        Parameters
        ----------
        portfolio : Portfolio
            Priced; its labels and the target's are merged.
        target : mapping
            Weight per label; must sum to one, cash included.
        """
        held = dict(zip(portfolio.labels, portfolio.weights, strict=True))
        labels = tuple(dict.fromkeys([*held, *target]))
        current = np.array([held.get(k, 0.0) for k in labels])
        wanted = np.array([float(target.get(k, 0.0)) for k in labels])
        if not np.isfinite(wanted).all():
            bad = labels[int(np.argmax(~np.isfinite(wanted)))]
            raise DataError("a target weight is not a number", asset=bad)
        change, value = wanted - current, portfolio.value
        columns = (change.tolist(), current.tolist(), wanted.tolist())
        trades = tuple(
            Trade(k, np.nan, z * value, c, w, "rule")
            for k, z, c, w in zip(labels, *columns, strict=True)
            if abs(z) > 1e-12
        )
        return cls(
            labels=labels,
            current=current,
            target=wanted,
            trades=trades,
            turnover=0.5 * float(np.abs(change).sum()),
            value=value,
            outcome=Outcome.RULE,
            notes=notes,
        )

    @property
    def weights(self) -> dict[str, float]:
        """Target weight per label."""
        return dict(zip(self.labels, self.target.tolist(), strict=True))

    @property
    def loss_per_turnover(self) -> dict[str, float]:
        """Stress loss avoided per unit of turnover, by shock; empty without trades."""
        if not self.turnover > 0:
            return {}
        return {
            k: (before - self.stress_after[k]) / self.turnover
            for k, before in self.stress_before.items()
        }

    def prices_frame(self):
        """Return what each limit costs, dearest first.

        Returns
        -------
        pandas.DataFrame
            Columns ``limit``, ``before``, ``after``, ``at`` (the limit), ``holds``,
            ``price`` (objective saved per unit of relaxation; zero where the limit does
            not bind, NaN where the solver has none) and ``bp_per_point`` (basis points
            of the objective saved by one more point, 0.01). Prices are of the problem
            before rounding and hold for small changes.
        """
        from engine._proposal_words import prices_frame

        return prices_frame(self)

    def sentences(self) -> tuple[str, ...]:
        """Losses before and after, what turnover buys, and the price of each limit."""
        from engine._proposal_words import sentences

        return sentences(self)

    def to_frame(self):
        """Return the trades as a table, largest first."""
        import pandas as pd

        rows = sorted(self.trades, key=lambda t: -abs(t.value))
        return pd.DataFrame(
            [
                {
                    "ticker": t.ticker,
                    "side": "buy" if t.value > 0 else "sell",
                    "units": t.units,
                    "value": t.value,
                    "weight_before": t.weight_before,
                    "weight_after": t.weight_after,
                    "reason": t.reason,
                }
                for t in rows
            ],
            columns=[
                "ticker",
                "side",
                "units",
                "value",
                "weight_before",
                "weight_after",
                "reason",
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text for JSON."""
        return {
            "outcome": self.outcome.name,
            "sentence": self.outcome.value,
            "objective": self.objective,
            "objective_parts": dict(self.objective_parts),
            "value": self.value,
            "turnover": self.turnover,
            "cost": self.cost,
            "stress_before": dict(self.stress_before),
            "stress_after": dict(self.stress_after),
            "stress_error_before": dict(self.stress_error_before),
            "stress_error_after": dict(self.stress_error_after),
            "loss_per_turnover": self.loss_per_turnover,
            "prices": dict(self.prices),
            "sentences": list(self.sentences()),
            "limits": [
                {
                    "name": c.name,
                    "before": c.before,
                    "after": c.after,
                    "limit": c.limit,
                    "satisfied": c.satisfied,
                    "price": c.price,
                    "note": c.note,
                }
                for c in self.limits
            ],
            "trades": self.to_frame().to_dict("records"),
            "target": {k: w for k, w in self.weights.items() if w},
            "solve_path": list(self.solve_path),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def __repr__(self) -> str:
        return (
            f"Proposal({self.outcome.name}, {len(self.trades)} trades, turnover "
            f"{self.turnover:.2%}, cost {self.cost * 1e4:.1f} bp)"
        )

    def _repr_html_(self) -> str:
        import pandas as pd

        from engine import _display as show

        head = show.paragraph(f"{self.outcome.value} {self!r}")
        said = "".join(show.paragraph(s) for s in self.sentences())
        checks = pd.DataFrame(
            [(c.name, c.before, c.after, c.limit, c.satisfied) for c in self.limits],
            columns=["limit", "before", "after", "at", "holds"],
        )
        limits = show.table(checks) if self.limits else ""
        changes = dict(
            zip(self.labels, (self.target - self.current).tolist(), strict=True)
        )
        chart = show.bars(changes, "Change of weight")
        weights = dict.fromkeys(("weight_before", "weight_after"), show.percent)
        number = "{:,.4g}".format
        trades = show.table(
            self.to_frame(), weights | {"value": "{:,.0f}".format, "units": number}
        )
        path = show.small("; ".join((*self.solve_path, *self.notes)))
        return (
            show.warnings(self.warnings) + head + said + limits + chart + trades + path
        )
