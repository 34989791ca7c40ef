"""`stress`: what a book would lose under each shock, and which holdings cause it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine._base import Value
from engine._typing import Vector
from engine.data.portfolio import Portfolio
from engine.errors import DataError, LookAheadError, ModelError, UsageError
from engine.model import ReturnModel
from engine.montecarlo import simulate
from engine.risk import (
    expected_shortfall,
    expected_shortfall_error,
    value_at_risk,
)
from engine.risk._contributions import group
from engine.scenarios import ScenarioSet
from engine.shocks import Reweighting, Shock, ShockMoves, moves_of, stress_vector
from engine.shocks._kinds_lazy import BookSearch, parts_of, resolved
from engine.shocks.moves import moves_returns

CAP_QUANTILE = 0.9
"""Severity at which limits are set by default: worse than nine in ten draws."""


@dataclass(frozen=True, slots=True, eq=False)
class ShockResult(Value):
    """One book under one shock.

    Attributes
    ----------
    name, citation : str
    loss : float
        Central stress loss, decimals of net asset value, losses positive.
    band : (float, float)
        5% and 95% of the book's loss over the severity draws; NaN where the shock has
        one severity: a reweighting, a mixture, a scenario found by search, a replay of
        known returns alone.
    severe : float
        90th percentile of the book's loss over the severity draws through the worst
        lens, modelled gains not counted: the default measure of a limit. Of one
        severity, its loss with gains not counted.
    by_asset : (N,) float64
        Loss by asset at the centre; sums to ``loss``.
    moves : ShockMoves
    distance : float
        Mahalanobis distance of the central move from the model's one-session law, over
        the assets it moves (a distance, never a probability).
    base_share : float
        Share of the base scenarios that lose at least ``loss`` over their horizon.
    effective_share : float
        Effective scenarios under a shock that reweights, relative to the base leg's,
        ``exp(-relative entropy)``; one for a shock that moves returns.
    """

    name: str
    citation: str
    loss: float
    band: tuple[float, float]
    severe: float
    by_asset: np.ndarray
    moves: ShockMoves
    distance: float
    base_share: float
    effective_share: float = 1.0

    @property
    def has_band(self) -> bool:
        """Whether the shock has more than one severity."""
        return not np.isnan(self.band[0])


class RolePart(NamedTuple):
    """What one holding has in one role, and loses by it; decimals of net assets."""

    asset: str
    role: str
    weight: float
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class StressReport(Value):
    """A book under several shocks, beside its ordinary risk.

    Attributes
    ----------
    scenarios : ScenarioSet
        Base scenarios: horizon, law, seed, provenance.
    weights : (N,) float64
        Of ``scenarios.assets``.
    value : float
        Net asset value in base currency.
    level : float
    value_at_risk, expected_shortfall, expected_shortfall_error : float
        Of the base leg over the horizon, decimals.
    results : tuple of ShockResult
    stamps : tuple of str
        What a reader must know before the numbers.
    """

    scenarios: ScenarioSet
    weights: np.ndarray
    value: float
    level: float
    value_at_risk: float
    expected_shortfall: float
    expected_shortfall_error: float
    results: tuple[ShockResult, ...]
    stamps: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> ShockResult:
        found = [r for r in self.results if r.name == name]
        found = found or [r for r in self.results if r.name.split(":")[-1] == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                "two shocks of the report end in this name",
                received=repr(name),
                expected=", ".join(r.name for r in found),
            )
        raise UsageError(
            "no such shock in the report",
            received=repr(name),
            expected=", ".join(r.name for r in self.results),
        )

    def short_names(self) -> dict[str, str]:
        """Column label of each shock: what follows its last colon, where that is its.

        Two shocks that share the text after the colon keep their whole names.
        """
        names = [r.name for r in self.results]
        ends = [name.split(":")[-1] for name in names]
        return {
            name: end if ends.count(end) == 1 and end not in names else name
            for name, end in zip(names, ends, strict=True)
        }

    def by(self, grouping: str, name: str) -> dict[str, float]:
        """Loss by role, country, currency, ... under one shock; sums to its loss.

        By role, funds are looked through; by place and currency they count as labelled.
        """
        if grouping == "role":
            losses: dict[str, float] = {}
            for part in self.by_holding_and_role(name):
                losses[part.role] = losses.get(part.role, 0.0) + part.loss
            return dict(sorted(losses.items(), key=lambda pair: -pair[1]))
        labels, values = group(self.scenarios, self[name].by_asset, grouping)
        _, held = group(self.scenarios, np.abs(self.weights), grouping)
        pairs = [
            (label, value)
            for label, value, weight in zip(
                labels, values.tolist(), held.tolist(), strict=True
            )
            if weight
        ]
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def looked_through(self) -> frozenset[str]:
        """Funds whose move comes from the roles they hold."""
        return frozenset(self.results[0].moves.through if self.results else ())

    def by_holding_and_role(self, name: str) -> list[RolePart]:
        """Holdings under one shock, funds split by the roles they hold.

        A role of weight ``v`` in a fund that contributes ``c`` to its move loses
        ``-w [v b + (1 + b) c]``, with ``b`` the base return and ``w`` the holding: the
        parts sum to the loss of the fund.
        """
        result = self[name]
        base = self.scenarios.leg_mean("base")
        out: list[RolePart] = []
        for i in np.flatnonzero(self.weights):
            asset, w, b = self.scenarios.assets[i], float(self.weights[i]), base[i]
            split = result.moves.through.get(asset)
            if split is None:
                role, loss = self.scenarios.universe.role[i], result.by_asset[i]
                out.append(RolePart(asset, role, w, float(loss)))
                continue
            for role, (v, c) in split.items():
                loss = -w * (v * b + (1.0 + b) * c)
                out.append(RolePart(asset, role, w * v, float(loss)))
        return out

    def to_frame(self):
        """Return one row per shock."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "shock": r.name,
                    "loss": r.loss,
                    "low": r.band[0],
                    "high": r.band[1],
                    "severe": r.severe,
                    "money": r.loss * self.value,
                    "distance": r.distance,
                    "base_share": r.base_share,
                    "effective_share": r.effective_share,
                }
                for r in self.results
            ]
        )

    def holdings_frame(self):
        """Return one row per holding: weight, move and loss by shock, and basis.

        Columns ``move:<name>`` and ``loss:<name>`` carry the names of `short_names`.
        A fund that is looked through has the role ``fund``; its roles are in its basis
        and in `by_holding_and_role`.
        """
        import pandas as pd

        held = np.flatnonzero(self.weights != 0)
        universe = self.scenarios.universe
        through = self.looked_through()
        table: dict[str, Any] = {
            "asset": [self.scenarios.assets[i] for i in held],
            "role": [
                "fund" if self.scenarios.assets[i] in through else universe.role[i]
                for i in held
            ],
            "country": [universe.country[i] for i in held],
            "weight": self.weights[held],
        }
        names = self.short_names()
        for r in self.results:
            short = names[r.name]
            table[f"move:{short}"] = r.moves.central[held]
            table[f"loss:{short}"] = r.by_asset[held]
        if self.results:
            table["basis"] = [self.results[0].moves.basis[i] for i in held]
        return pd.DataFrame(table)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text for JSON."""
        return {
            "value": self.value,
            "base_currency": self.scenarios.base_currency,
            "as_of": str(getattr(self.scenarios.model, "as_of", "")),
            "horizon_sessions": self.scenarios.horizon,
            "distribution": self.scenarios.distribution,
            "seed": self.scenarios.seed,
            "level": self.level,
            "value_at_risk": self.value_at_risk,
            "expected_shortfall": self.expected_shortfall,
            "expected_shortfall_standard_error": self.expected_shortfall_error,
            "stamps": list(self.stamps),
            "shocks": [
                {
                    "name": r.name,
                    "citation": r.citation,
                    "loss": r.loss,
                    "band_5_95": list(r.band) if r.has_band else None,
                    "severe_90": r.severe,
                    "mahalanobis_distance": r.distance,
                    "share_of_base_scenarios_as_bad": r.base_share,
                    "effective_share_of_scenarios": r.effective_share,
                    "by_asset": {
                        a: float(v)
                        for a, v, w in zip(
                            self.scenarios.assets,
                            r.by_asset,
                            self.weights,
                            strict=True,
                        )
                        if w
                    },
                    "basis": {
                        a: text
                        for a, text, w in zip(
                            self.scenarios.assets,
                            r.moves.basis,
                            self.weights,
                            strict=True,
                        )
                        if w
                    },
                    "by_role": self.by("role", r.name),
                    "by_country": self.by("country", r.name),
                    "by_currency": self.by("currency", r.name),
                }
                for r in self.results
            ],
        }

    def __repr__(self) -> str:
        lines = [
            f"StressReport({self.value:,.0f} {self.scenarios.base_currency}, "
            f"{self.level:.0%} ES {self.expected_shortfall:.2%} over "
            f"{self.scenarios.horizon} sessions"
        ]
        lines += [
            f"  {r.name}: loss {r.loss:.2%} "
            + (
                f"(band {r.band[0]:.2%} to {r.band[1]:.2%})"
                if r.has_band
                else "(one severity, no band)"
            )
            for r in self.results
        ]
        return "\n".join(lines) + ")"

    def _ipython_key_completions_(self) -> list[str]:
        return [r.name for r in self.results]

    def _repr_html_(self) -> str:
        from engine import _display as show

        model = self.scenarios.model
        currency = self.scenarios.base_currency
        head = (
            f"StressReport: {self.value:,.0f} {currency}, expected shortfall "
            f"{self.expected_shortfall:.2%} (s.e. {self.expected_shortfall_error:.2%}) "
            f"at {self.level:.0%} over {self.scenarios.horizon} sessions"
        )
        table = show.table(
            self.to_frame(),
            dict.fromkeys(("loss", "low", "high", "severe"), show.percent)
            | {"money": "{:,.0f}".format, "distance": "{:.1f}".format}
            | dict.fromkeys(("base_share", "effective_share"), show.percent),
        )
        chart = ""
        if self.results:
            first = self.results[0]
            by = dict(zip(self.scenarios.assets, first.by_asset.tolist(), strict=True))
            chart = show.bars(
                by, f"Loss by holding under {first.name}", gain_is_good=False
            )
        source = show.small(f"{self.scenarios!r}; {model!r}")
        return (
            show.warnings(self.stamps) + show.paragraph(head) + table + chart + source
        )


def stress(
    portfolio: Portfolio | Mapping[str, float],
    model_or_scenarios: ReturnModel | ScenarioSet,
    shocks: Shock | Reweighting | Sequence[Shock | Reweighting],
    *,
    level: float = 0.95,
    n_scenarios: int = 20_000,
    horizon: int = 21,
    seed: int = 0,
    hindsight_parameters: bool = False,
) -> StressReport:
    """Loss of a book under shocks, by holding, role, country and currency.

    Parameters
    ----------
    portfolio : Portfolio or mapping of weights
        A portfolio must be priced; weights sum to one, cash included.
    model_or_scenarios : ReturnModel or ScenarioSet
        A model is simulated with ``n_scenarios, horizon, seed``.
    shocks : Shock, Reweighting, or sequence of them
        A worst case or reverse stress of a scenario file is found for this book.
    level : float, default 0.95
        For value at risk and expected shortfall.
    n_scenarios, horizon, seed : int
        Of the simulation of a model, in scenarios and sessions.
    hindsight_parameters : bool, default False
        Allow a shock at a date before its parameters were known; stamps the report.

    Returns
    -------
    StressReport

    Raises
    ------
    LookAheadError
        The model ends before a shock's ``known_from`` and hindsight is not admitted.

    Examples
    --------
    >>> from engine import CheapModelShock, fit, load_panel, simulate
    >>> model = fit(load_panel("reference"), tickers=["NVDA", "JPM"])
    >>> scenarios = simulate(model, 500, seed=1)
    >>> report = stress({"NVDA": 0.5, "JPM": 0.5}, scenarios, CheapModelShock())
    >>> report.results[0].name
    'cheap-model:market_view'
    """
    scenarios = (
        model_or_scenarios
        if isinstance(model_or_scenarios, ScenarioSet)
        else simulate(model_or_scenarios, n_scenarios, horizon=horizon, seed=seed)
    )
    shocks = list(shocks) if isinstance(shocks, Sequence) else [shocks]
    hindsight = hindsight_parameters or scenarios.hindsight_parameters
    weights = scenarios.align(portfolio)
    if abs(weights.sum() - 1.0) > 1e-6:
        raise DataError(
            "weights do not sum to one",
            received=f"{weights.sum():.6f}",
            expected="1, cash included",
        )
    held = dict(zip(scenarios.assets, weights.tolist(), strict=True))
    shocks = [resolved(s, weights=held, model=scenarios.model) for s in shocks]
    _check_names(shocks)
    stamps = stamps_of(scenarios)
    stamps += check_known(shocks, scenarios, hindsight)
    base = scenarios.base()
    losses = base.losses(weights)
    results = tuple(_one(shock, base, weights, losses) for shock in shocks)
    return StressReport(
        scenarios=scenarios,
        weights=weights,
        value=portfolio.value if isinstance(portfolio, Portfolio) else 1.0,
        level=level,
        value_at_risk=value_at_risk(losses, level=level, p=base.p),
        expected_shortfall=expected_shortfall(losses, level=level, p=base.p),
        expected_shortfall_error=_es_error(base, losses, level),
        results=results,
        stamps=tuple(dict.fromkeys(stamps)),
    )


def _es_error(base: ScenarioSet, losses: Vector, level: float) -> float:
    """Sampling error of ES; NaN where too few tail losses preclude one."""
    try:
        return expected_shortfall_error(losses, level=level, p=base.p)
    except ModelError:
        return float("nan")


def stamps_of(scenarios: ScenarioSet) -> list[str]:
    """What must be said of anything computed from these scenarios."""
    stamps = []
    if scenarios.synthetic:
        stamps.append("SYNTHETIC prices: nothing here happened.")
    if scenarios.model is not None and scenarios.model.mean_kind == "sample":
        stamps.append("SAMPLE MEAN: trailing returns are taken as expected.")
    return stamps


def check_known(
    shocks: Sequence[Any], scenarios: ScenarioSet, hindsight: bool
) -> list[str]:
    """Refuse a shock used before it was known, or stamp the admission.

    A shock without a date is a hypothesis: it may be asked about at any date, and
    where hindsight is admitted the stamp says that it has none. Whoever decides at
    past dates asks `check_undated` too.
    """
    as_of = getattr(scenarios.model, "as_of", None)
    stamps = []
    for shock in (part for whole in shocks for part in parts_of(whole)):
        if as_of is not None and as_of < shock.known_from:
            if not hindsight:
                raise LookAheadError(
                    f"shock {shock.name} was not known at the date of the model",
                    date=as_of,
                    received=f"known from {shock.known_from}",
                    fix="Admit it with hindsight_parameters=True (CLI: "
                    "--hindsight-parameters); the output is stamped.",
                )
            stamps.append(
                f"HINDSIGHT PARAMETERS: multipliers known from {shock.known_from} are "
                f"used as of {as_of}."
            )
        elif hindsight and as_of is not None and _is_undated(shock):
            stamps.append(
                f"HINDSIGHT PARAMETERS: {shock.name} does not say when it was first "
                f"held, and is used as of {as_of}."
            )
    return stamps


def check_undated(shocks: Sequence[Any], date: Any, hindsight: bool) -> None:
    """Refuse, at a past date, a view that does not say since when it is held.

    Parameters
    ----------
    shocks : sequence of Shock
        Of a mixture, its shocks too. What is found by a search has no outside fact in
        it and passes.
    date : date
        Of the decision; it is past, data follow it.
    hindsight : bool

    Raises
    ------
    LookAheadError
        A view without a date, and hindsight is not admitted.
    """
    if hindsight:
        return
    for shock in (part for whole in shocks for part in parts_of(whole)):
        if _is_undated(shock):
            raise LookAheadError(
                f"shock {shock.name} has no date: nothing says that it was held at "
                "this past date",
                date=date,
                fix="State known_from, the day on which it was first held, or admit "
                "it with hindsight_parameters=True (CLI: --hindsight-parameters); the "
                "output is stamped.",
            )


def _is_undated(shock: Any) -> bool:
    return bool(np.isnat(shock.known_from)) and not isinstance(shock, BookSearch)


def _check_names(shocks: Sequence[Any]) -> None:
    names = [shock.name for shock in shocks]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                "two shocks carry one name",
                received=repr(name),
                fix="Give each a name= of its own.",
            )


def book_losses(
    scenarios: ScenarioSet,
    moves: ShockMoves,
    weights: Vector,
    *,
    winner_credit: float = 1.0,
) -> Vector:
    """(M,) loss of a book in each severity draw, gains counted at ``winner_credit``."""
    x = np.where(moves.draws > 0, winner_credit * moves.draws, moves.draws)
    base = scenarios.leg_mean("base")
    return -(((1.0 + base) * (1.0 + x) - 1.0) @ weights)


def _one(
    shock: Any, scenarios: ScenarioSet, weights: Vector, base_losses: Vector
) -> ShockResult:
    shocked = None if moves_returns(shock) else scenarios.apply(shock)
    moves = moves_of(shock, scenarios, shocked)
    lens: Any = getattr(shock, "with_lens", None)
    worst = shock if lens is None else lens("worst")
    by_asset = -weights * stress_vector(scenarios, moves)
    loss = float(by_asset.sum())
    low, high = np.nan, np.nan
    if not (moves.draws == moves.draws[0]).all():
        drawn = book_losses(scenarios, moves, weights)
        low, high = np.quantile(drawn, [0.05, 0.95])
    return ShockResult(
        name=shock.name,
        citation=getattr(shock, "citation", ""),
        loss=loss,
        band=(float(low), float(high)),
        severe=value_at_risk(
            book_losses(
                scenarios,
                moves if worst is shock else moves_of(worst, scenarios),
                weights,
                winner_credit=0.0,
            ),
            level=CAP_QUANTILE,
        ),
        by_asset=by_asset,
        moves=moves,
        distance=_distance(scenarios, moves),
        base_share=float(scenarios.p[base_losses >= loss].sum()),
        effective_share=1.0
        if shocked is None
        else _effective_share(shocked, scenarios),
    )


def _effective_share(shocked: ScenarioSet, scenarios: ScenarioSet) -> float:
    """``exp(-relative entropy)`` of the same rows under other probabilities."""
    if len(shocked) != len(scenarios):  # a mixture has rows of its own
        return 1.0
    q, p = shocked.p, scenarios.p
    positive = q > 0
    return float(np.exp(-(q[positive] @ np.log(q[positive] / p[positive]))))


def _distance(scenarios: ScenarioSet, moves: ShockMoves) -> float:
    """Mahalanobis distance of the log move over the assets that move."""
    model = scenarios.model
    if model is None:
        return float("nan")
    position = {a: i for i, a in enumerate(moves.assets)}
    x = np.log1p([moves.central[position[a]] for a in model.assets])
    moved = np.abs(x) > 1e-12
    if not moved.any():
        return 0.0
    C = model.dense_covariance()[np.ix_(moved, moved)]
    return float(np.sqrt(x[moved] @ np.linalg.lstsq(C, x[moved], rcond=None)[0]))
