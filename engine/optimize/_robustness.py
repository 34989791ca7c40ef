"""How a proposal fares against the book it would replace, seen otherwise.

Made for one shock through one lens, a proposal is judged here under the other lenses,
the other presets, past episodes known by then, and scenarios drawn again. Both books
meet the same draws (common random numbers), so that the error is that of the
difference: by a paired bootstrap for quantiles and resampled scenarios, by influence
functions for fresh ones. The cost of the trades comes on top and is stated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine._base import Value, html_table
from engine._stress import check_known
from engine._typing import Vector
from engine.data.portfolio import Portfolio
from engine.errors import DataError, ModelError, UsageError
from engine.montecarlo import simulate
from engine.proposal import Proposal
from engine.risk import difference, expected_shortfall, value_at_risk
from engine.risk._measures import check_level
from engine.scenarios import ScenarioSet
from engine.shocks import PRESETS, CheapModelShock, library, moves_of, replay

LENSES = ("structural", "propagated", "worst")
_SAME = 5e-5
"""Half a basis point of the book: what is printed as no change."""
_FEW = 1e-12


class Comparison(NamedTuple):
    """One view of the book and of the proposal."""

    kind: str
    """lens, preset, replay, severities, scenarios or seed."""
    name: str
    measure: str
    before: float
    after: float
    difference: float
    """After minus before: positive where the proposal is worse."""
    standard_error: float
    """Of the difference, under common random numbers; zero where nothing is drawn."""
    better: float
    """Share of draws or resamples in which the proposal loses less; NaN where none."""

    def sentence(self) -> str:
        """What the numbers say."""
        change = self.difference
        word = "better" if change < 0 else "worse"
        error = (
            f", standard error {self.standard_error:.2%}"
            if self.standard_error > _SAME
            else ""
        )
        if abs(change) < _SAME:
            verdict = "no different"
        else:
            verdict = f"{abs(change):.2%} {word}{error}"
        share = "" if math.isnan(self.better) else f"; better in {self.better:.0%}"
        return (
            f"{self.name}, {self.measure}: {_loss(self.after, self.before)}, "
            f"{verdict}{share}."
        )


def _loss(after: float, before: float) -> str:
    verb = "gains" if after < -_SAME else "loses"
    if (before < -_SAME) == (after < -_SAME):
        return f"{verb} {abs(after):.2%} instead of {abs(before):.2%}"
    other = "gaining" if before < -_SAME else "losing"
    return f"{verb} {abs(after):.2%} instead of {other} {abs(before):.2%}"


@dataclass(frozen=True, slots=True, eq=False)
class Robustness(Value):
    """A proposal against the current book under many views.

    Attributes
    ----------
    rows : tuple of Comparison
    cost, turnover : float
        What the proposal costs, on top of every figure of the rows.
    as_of : str
    notes : tuple of str
        What could not be looked at, and why.
    """

    rows: tuple[Comparison, ...]
    cost: float
    turnover: float
    as_of: str
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> Comparison:
        """Where the proposal fares worst against the book."""
        return max(self.rows, key=lambda r: r.difference)

    def to_frame(self):
        """Return one row per view.

        Returns
        -------
        pandas.DataFrame
            Columns ``kind``, ``name``, ``measure``, ``before``, ``after``,
            ``difference`` (positive: worse), ``standard_error``, ``better`` (share of
            draws) and ``worst`` (True in one row). Losses are decimals of net asset
            value.
        """
        import pandas as pd

        frame = pd.DataFrame(self.rows, columns=list(Comparison._fields))
        frame["worst"] = [r is self.worst for r in self.rows]
        return frame

    def sentences(self) -> tuple[str, ...]:
        """One sentence a view, and a last one on the worst."""
        last = self.worst
        if last.difference > _SAME:
            end = f"Worst case for the proposal: {last.sentence()}"
        else:
            end = "Under none of these views is the proposal worse than the book."
        return (*(r.sentence() for r in self.rows), end)

    def __repr__(self) -> str:
        worse = sum(r.difference > _SAME for r in self.rows)
        return (
            f"Robustness({len(self.rows)} views, worse under {worse}; worst case "
            f"{self.worst.name} {self.worst.difference:+.2%})"
        )

    def _repr_html_(self) -> str:
        return html_table(self.to_frame())


def robustness(
    proposal: Proposal,
    portfolio: Portfolio | Any,
    scenarios: ScenarioSet,
    *,
    shocks: Sequence[Any] | None = None,
    panel: Any = None,
    episodes: Sequence[Any] | None = None,
    quantile: float = 0.9,
    level: float = 0.95,
    resamples: int = 500,
    seeds: Sequence[int] = (1,),
    hindsight_parameters: bool = False,
) -> Robustness:
    """Compare a proposal with the current book under views it was not made for.

    Parameters
    ----------
    proposal : Proposal
        For the assets of the scenarios.
    portfolio : Portfolio, mapping or (N,) weights
        The book as it is.
    scenarios : ScenarioSet
        Its model passes shocks on to assets and draws fresh scenarios.
    shocks : sequence of Shock, optional
        The first is seen through every lens it has; each is seen at its central move,
        gains counted. Default: market view, substitution and Jevons, of which the last
        is a rise: a proposal that protects gives some of it up.
    panel : PricePanel or MarketView, optional
        Own history for replays; without it the library's figures serve.
    episodes : sequence, optional
        As `replay` takes them. By default those of the library known at the date of
        the model; what cannot be replayed is noted.
    quantile : float, default 0.9
        Of the severities, for lenses; gains count for nothing there, as in limits.
    level : float, default 0.95
        Of the expected shortfall of the base scenarios.
    resamples : int, default 500
        Bootstrap resamples; at least 100.
    seeds : sequence of int
        Of fresh scenarios from the model, as many as there are in ``scenarios``.
    hindsight_parameters : bool, default False
        Allow shocks before they were known.

    Returns
    -------
    Robustness

    Raises
    ------
    LookAheadError
        A shock that was not known, without hindsight.
    """
    quantile, level = check_level(quantile), check_level(level)
    if isinstance(resamples, bool) or not resamples >= 100:
        raise UsageError("at least 100 resamples", received=resamples)
    before = scenarios.align(portfolio)
    after = scenarios.align(proposal.weights)
    if shocks is None:
        shocks = [CheapModelShock(p) for p in PRESETS]
    if not shocks:
        raise UsageError("no shock to compare under", expected="at least one")
    hindsight = hindsight_parameters or scenarios.hindsight_parameters
    notes = check_known(list(shocks), scenarios, hindsight)
    views = _Views(scenarios.base(), before, after, resamples, quantile)
    rows = views.lenses(shocks[0], notes)
    rows += [views.central(shock, "preset", shock.name) for shock in shocks]
    chosen = episodes
    as_of = getattr(scenarios.model, "as_of", None)
    if chosen is None:
        chosen = [
            name
            for name, e in library().items()
            if as_of is None or e.known_from <= as_of
        ]
    for episode in chosen:
        try:
            shock = replay(episode, panel=panel)
            if as_of is not None and not shock.known_from <= as_of:
                notes.append(f"{shock.name}: known from {shock.known_from} only")
                continue
            rows.append(views.central(shock, "replay", shock.name))
        except (DataError, ModelError) as error:
            if episodes is not None:
                raise
            notes.append(f"{episode} was not replayed: {error}")
    rows.append(views.base_resampled(level))
    for seed in seeds:
        fresh = _fresh(scenarios, seed)
        if fresh is None:
            notes.append("no fresh scenarios: the set does not say how to draw them")
            break
        rows.append(_drawn_again(fresh, before, after, level, seed))
    return Robustness(
        tuple(rows),
        proposal.cost,
        proposal.turnover,
        "" if as_of is None else str(as_of),
        tuple(dict.fromkeys(notes)),
    )


class _Views:
    """Both books under one set of scenarios."""

    def __init__(self, base, before, after, resamples: int, quantile: float) -> None:
        self.base, self.before, self.after = base, before, after
        self.resamples, self.quantile = resamples, quantile
        self.rng = np.random.default_rng(0)
        self.mean = base.leg_mean("base")

    def _losses(self, moves: Any) -> tuple[Vector, Vector]:
        outcome = (1.0 + self.mean) * (1.0 + moves) - 1.0
        return -(outcome @ self.before), -(outcome @ self.after)

    def lenses(self, shock: Any, notes: list[str]) -> list[Comparison]:
        seen = (
            [(f"{shock.name}, {x} lens", shock.with_lens(x)) for x in LENSES]
            if hasattr(shock, "with_lens")
            else [(shock.name, shock)]
        )
        rows = []
        for name, view in seen:
            try:
                rows.append(self.severe(view, "lens", name))
            except ModelError as error:  # too few AI names to pass a shock on from
                if len(seen) == 1:
                    raise
                notes.append(f"{name} does not apply: {error}")
        return rows

    def severe(self, shock: Any, kind: str, name: str) -> Comparison:
        """The quantile of severities that limits use, gains left out."""
        draws = moves_of(shock, self.base).draws
        a, b = self._losses(np.minimum(draws, 0.0))
        old, new = (value_at_risk(x, level=self.quantile) for x in (a, b))
        error, share = self._bootstrap(a, b)
        better = float((b < a - _FEW).mean()) if len(draws) > 1 else math.nan
        return Comparison(
            kind,
            name,
            f"{self.quantile:.0%} severity",
            old,
            new,
            new - old,
            error,
            better if math.isnan(share) else share,
        )

    def _bootstrap(self, a: Vector, b: Vector) -> tuple[float, float]:
        """Error of the difference of quantiles, and how often it is negative."""
        n = a.size
        if n < 2:
            return 0.0, math.nan
        k = min(n - 1, math.ceil(self.quantile * n - 1e-9) - 1)
        changes = np.empty(self.resamples)
        for i in range(self.resamples):
            rows = self.rng.integers(0, n, n)
            changes[i] = np.partition(b[rows], k)[k] - np.partition(a[rows], k)[k]
        return float(changes.std(ddof=1)), float((changes < -_FEW).mean())

    def central(self, shock: Any, kind: str, name: str) -> Comparison:
        """The central move, gains counted; the share of severities beside it."""
        moves = moves_of(shock, self.base)
        a, b = (float(x[0]) for x in self._losses(moves.central[None, :]))
        better = math.nan
        if len(moves.draws) > 1:
            all_a, all_b = self._losses(moves.draws)
            better = float((all_b < all_a - _FEW).mean())
        return Comparison(kind, name, "central move", a, b, b - a, 0.0, better)

    def base_resampled(self, level: float) -> Comparison:
        """Expected shortfall of the base scenarios, drawn again with replacement."""
        base = self.base
        losses = [base.losses(w) for w in (self.before, self.after)]
        old, new = (expected_shortfall(x, level=level, p=base.p) for x in losses)
        orders = [np.argsort(-x, kind="stable") for x in losses]
        n = base.p.size
        equal = np.full(n, 1.0 / n)
        changes = np.empty(self.resamples)
        for i in range(self.resamples):
            # Rows are the draws; their probabilities come along as weights.
            q = self.rng.multinomial(n, equal) * base.p
            q /= q.sum()
            es = [
                _tail_mean(x, order, q, level)
                for x, order in zip(losses, orders, strict=True)
            ]
            changes[i] = es[1] - es[0]
        return Comparison(
            "scenarios",
            "base scenarios resampled",
            f"{level:.0%} expected shortfall",
            old,
            new,
            new - old,
            float(changes.std(ddof=1)),
            float((changes < -_FEW).mean()),
        )


def _tail_mean(losses: Vector, order: Any, p: Vector, level: float) -> float:
    """Mean of the worst ``1 - level`` under probabilities, losses ordered already."""
    mass = 1.0 - level
    used = np.cumsum(p[order])
    last = min(int(np.searchsorted(used, mass)), used.size - 1)
    rows = order[: last + 1]
    share = p[rows].copy()
    share[-1] -= used[last] - mass
    return float(share @ losses[rows] / mass)


def _fresh(scenarios: ScenarioSet, seed: int) -> ScenarioSet | None:
    """As many scenarios of the same law with another seed; None where it is unknown."""
    kind = scenarios.distribution.partition(" ")[0]
    if scenarios.model is None or kind not in ("gaussian", "student_t"):
        return None
    return simulate(
        scenarios.model,
        len(scenarios.base()),
        horizon=scenarios.horizon,
        distribution=kind,
        seed=seed,
    )


def _drawn_again(
    fresh: ScenarioSet, before: Vector, after: Vector, level: float, seed: int
) -> Comparison:
    name, measure = f"fresh scenarios, seed {seed}", f"{level:.0%} expected shortfall"
    try:
        d = difference("expected_shortfall", fresh, before, after, level=level)
    except ModelError:  # too few in the tail for an error
        a, b = (
            expected_shortfall(fresh.losses(w), level=level) for w in (before, after)
        )
        return Comparison("seed", name, measure, a, b, b - a, math.nan, math.nan)
    return Comparison(
        "seed", name, measure, d.before, d.after, d.change, d.error, math.nan
    )
