"""What a report is made of, how its numbers are worded, and where a run is read.

Numbers are worded here once, so that a table, a picture and a sentence cannot differ:
losses are positive, a negative loss is called a gain, and nothing prints as -0.00%.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from backtests.result import BacktestResult
from engine import (
    Alternatives,
    Proposal,
    ProposalFrontier,
    Robustness,
    StressReport,
)
from engine.errors import DataError

EVENT_DATE = np.datetime64("2025-01-27")
"""The session marked in every walk-forward picture."""

NOT_KNOWN = "n/a"
MINUS = "\N{MINUS SIGN}"
_GENERATED = "SYNTHETIC"
_SHOUTED = re.compile(r"^[A-Z][A-Z]+(?:[ -][A-Z]{2,})*")


@dataclass(frozen=True)
class Realised:
    """What really happened on a date: information beside the model, not a target.

    Attributes
    ----------
    date : datetime64[D]
    book_loss : float
        One-session loss of the current book, decimals, losses positive.
    by_asset : mapping
        Simple one-session return by ticker; may cover more than the book.
    note : str
        Shown with the number, such as its source.
    """

    date: np.datetime64
    book_loss: float
    by_asset: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report may show; only the title and the stress are needed.

    Attributes
    ----------
    title : str
    stress : StressReport
        Of the current book.
    proposal : Proposal, optional
    stress_after : StressReport, optional
        Of the target book, on the same scenarios and shocks.
    backtests : sequence of BacktestResult
        Over the same dates; the first is what the others are set against.
    realised : Realised, optional
    seeds : pandas.DataFrame, optional
        One row per (seed, event_day, strategy) of generated markets, and one column
        per figure.
    history : ((T,) datetime64[D], (T,) float64), optional
        Past sessions and the one-session loss that the current weights would have
        had in each; gives every shock its rank among them.
    validation : Validation, mapping or path, optional
        How the model did on the day itself (`backtests.validation`), on prices of its
        own: as a result, its dictionary, or the JSON of `ballast shocks validate`.
    stamps : tuple of str
        Added to those that stress, proposal and backtests bring.
    provenance : mapping
        Data hash, seed, versions, settings.
    frontier : ProposalFrontier, optional
    robustness : Robustness, optional
    alternatives : Alternatives, optional
        Of the proposal, for the page of the committee.
    judgement : mapping, optional
        Of the backtests: `judgement_section` of them, the first as the reference.
    """

    title: str
    stress: StressReport
    proposal: Proposal | None = None
    stress_after: StressReport | None = None
    backtests: Sequence[BacktestResult] = ()
    realised: Realised | None = None
    seeds: Any = None
    history: tuple[np.ndarray, np.ndarray] | None = None
    stamps: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    validation: Any = None
    frontier: ProposalFrontier | None = None
    robustness: Robustness | None = None
    alternatives: Alternatives | None = None
    judgement: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.stress_after is not None:
            mine = [r.name for r in self.stress.results]
            after = [r.name for r in self.stress_after.results]
            if mine != after:
                raise DataError(
                    "the two stress reports are not of the same shocks",
                    received=", ".join(after),
                    expected=", ".join(mine),
                )
        if self.history is not None:
            dates, losses = (np.asarray(part) for part in self.history)
            if dates.shape != losses.shape or losses.ndim != 1:
                raise DataError(
                    "history needs one loss per date",
                    received=f"{dates.shape} dates and {losses.shape} losses",
                )
        for run in self.backtests[1:]:
            if not np.array_equal(run.dates, self.backtests[0].dates):
                raise DataError(
                    "the backtests do not cover the same dates",
                    received=f"'{run.name}' {run.dates[0]} to {run.dates[-1]}",
                    expected=f"{self.backtests[0].dates[0]} to "
                    f"{self.backtests[0].dates[-1]}",
                )
        if self.judgement is not None:
            judged = tuple(self.judgement["strategies"])
            shown = tuple(run.name for run in self.backtests)
            if judged != shown:
                raise DataError(
                    "the judgement is not of the backtests shown",
                    received=", ".join(judged),
                    expected=", ".join(shown) or "none",
                    fix="Judge the backtests of the report, or leave judgement out.",
                )

    @property
    def currency(self) -> str:
        """Base currency of the book."""
        return self.stress.scenarios.base_currency

    @property
    def event(self) -> np.datetime64:
        """Date marked in the walk-forward."""
        if self.realised is None:
            return EVENT_DATE
        return np.datetime64(str(self.realised.date)[:10])

    @property
    def synthetic(self) -> bool:
        """Whether any number of the report was made from generated prices."""
        return any(_GENERATED in stamp.upper() for stamp in self.all_stamps())

    def all_stamps(self, *, of: str = "report") -> tuple[str, ...]:
        """Stamps of the report, of its ``"stress"`` or its ``"walk"``, each once."""
        stress = list(self.stress.stamps)
        if self.stress_after is not None:
            stress += self.stress_after.stamps
        if self.proposal is not None:
            stress += [w for w in self.proposal.warnings if _SHOUTED.match(w)]
        walk = [stamp for run in self.backtests for stamp in run.stamps]
        # Generated prices are said on every picture, whichever part brought them.
        everywhere = [s for s in (*stress, *walk) if s.upper().startswith(_GENERATED)]
        found = [*self.stamps, *everywhere]
        found += stress if of != "walk" else []
        found += walk if of != "stress" else []
        distinct = list(dict.fromkeys(found))
        # A bare "hindsight parameters" says less than the same with its dates.
        kept = [
            s
            for s in distinct
            if not any(o != s and o.upper().startswith(s.upper()) for o in distinct)
        ]
        return tuple(sorted(kept, key=lambda s: not s.upper().startswith(_GENERATED)))

    def short_stamps(self, *, of: str = "report") -> tuple[str, ...]:
        """What each stamp opens with, in capitals, for charts."""
        return tuple(dict.fromkeys(short_stamp(s) for s in self.all_stamps(of=of)))


class Run(NamedTuple):
    """What the report reads of one backtest."""

    name: str
    dates: np.ndarray
    value: np.ndarray
    returns: np.ndarray
    drawdown: np.ndarray
    turnover: np.ndarray
    costs: np.ndarray
    initial: float
    currency: str
    periods: float
    metrics: Mapping[str, Any]


def read_run(result: BacktestResult) -> Run:
    """Read a backtest; the only place that knows its attributes."""
    return Run(
        name=result.name,
        dates=result.dates,
        value=result.value,
        returns=result.returns(),
        drawdown=result.drawdown(),
        turnover=result.turnover,
        costs=result.costs,
        initial=result.initial_value,
        currency=result.base_currency,
        periods=result.periods_per_year,
        metrics=result.metrics(),
    )


def difference(run: Run, foil: Run) -> tuple[float, float]:
    """Mean return per year less the foil's, and its Newey-West standard error.

    Paired by date, Bartlett weights over floor(4 (T/100)^(2/9)) lags (Newey and West
    1987): what the two books share cancels, so the error is that of the difference.
    """
    d = run.returns - foil.returns
    n = d.size
    if n < 2:
        return float("nan"), float("nan")
    x = d - d.mean()
    lags = min(int(4.0 * (n / 100.0) ** (2.0 / 9.0)), n - 1)
    total = float(x @ x)
    for lag in range(1, lags + 1):
        total += 2.0 * (1.0 - lag / (lags + 1.0)) * float(x[lag:] @ x[:-lag])
    return float(d.mean() * run.periods), float(np.sqrt(total) / n * run.periods)


def realised_after(inputs: ReportInputs) -> float:
    """Loss of the target weights on the realised date; NaN where a return is missing.

    Cash is taken not to move.
    """
    if inputs.realised is None or inputs.proposal is None:
        return float("nan")
    loss = 0.0
    for name, weight in inputs.proposal.weights.items():
        if weight and not name.startswith("CASH:"):
            loss -= weight * inputs.realised.by_asset.get(name, float("nan"))
    return float(loss)


def rank_in(loss: float, losses: np.ndarray) -> int:
    """Place of a loss among past sessions: 1 is worse than all of them."""
    return 1 + int((losses >= loss).sum())


def rank_words(inputs: ReportInputs, loss: float) -> str:
    """Where a loss would stand among the past sessions given."""
    if inputs.history is None:
        return ""
    losses = np.asarray(inputs.history[1], dtype=np.float64)
    losses = losses[np.isfinite(losses)]
    if loss <= 0:
        return "not a loss"
    return f"{rank_in(loss, losses):,} of {losses.size + 1:,}"


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank; NaN below three points."""
    import pandas as pd

    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    ranks = [pd.Series(v).rank().to_numpy() for v in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def short_stamp(stamp: str) -> str:
    """Opening of a stamp in capitals: its shouted words, or up to the first stop."""
    match = _SHOUTED.match(stamp)
    return match.group(0) if match else re.split(r"[:.;]", stamp)[0].strip().upper()


def short_name(shock: str) -> str:
    """``cheap-model:market_view`` as ``market view``."""
    return shock.split(":")[-1].replace("_", " ")


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_LABELS = {
    "none": "no AI role",
    "unknown": "unknown exposure",
    "fund": "funds looked through",
}


def label(text: str) -> str:
    """A role or grouping for people: ``dc_power`` as ``dc power``."""
    return _LABELS.get(text, text.replace("_", " "))


def brief(text: str, most: int = 24) -> str:
    """A name short enough to stand beside an axis."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def percent(x: float, digits: int = 2) -> str:
    """``0.0870`` as ``8.70%``; never ``-0.00%``."""
    if x is None or not np.isfinite(x):
        return NOT_KNOWN
    text = f"{100 * x:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return f"{text.replace('-', MINUS)}%"


def signed(x: float, digits: int = 2, unit: str = "%") -> str:
    """Percentage points with their sign: ``+1.20%``."""
    text = percent(x, digits)
    plus = np.isfinite(x) and float(f"{100 * x:.{digits}f}") > 0
    return (f"+{text}" if plus else text).removesuffix("%") + (
        unit if text != NOT_KNOWN else ""
    )


def loss_text(x: float, digits: int = 2) -> str:
    """A loss as a percentage; a negative one is ``gain 9.47%``."""
    if not np.isfinite(x):
        return NOT_KNOWN
    gain = float(f"{100 * x:.{digits}f}") < 0
    return f"gain {percent(-x, digits)}" if gain else percent(x, digits)


def loss_words(x: float, digits: int = 2) -> str:
    """A loss inside a sentence: ``a loss of 8.70%`` or ``a gain of 9.47%``."""
    text = loss_text(x, digits)
    if text.startswith("gain "):
        return f"a gain of {text.removeprefix('gain ')}"
    return f"a loss of {text}"


def money(x: float, currency: str) -> str:
    """``86958`` as ``USD 86,958``; never a minus zero."""
    if not np.isfinite(x):
        return NOT_KNOWN
    text = f"{x:,.0f}"
    text = "0" if text == "-0" else text.replace("-", MINUS)
    return f"{currency} {text}"


def loss_money(x: float, currency: str) -> str:
    """Money lost; a negative amount is called a gain."""
    if np.isfinite(x) and round(x) < 0:
        return f"gain {money(-x, currency)}"
    return money(x, currency)


def number(x: Any, digits: int = 2) -> str:
    """A plain number with thousands separators; never a minus zero."""
    if x is None or not np.isfinite(x):
        return NOT_KNOWN
    text = f"{x:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def with_error(value: str, error: float, text: str) -> str:
    """``8.7% ± 1.2%``, or the value alone where there is no error."""
    space = "\N{NO-BREAK SPACE}"
    return f"{value}{space}±{space}{text}" if np.isfinite(error) else value


def day(date: np.datetime64) -> str:
    """``2025-01-27`` as ``27 Jan 2025``."""
    year, month, number_ = str(date)[:10].split("-")
    return f"{int(number_)} {_MONTHS[int(month) - 1]} {year}"


def overseas_share(proposal: Proposal, inputs: ReportInputs, home: str) -> list[float]:
    """Weight outside the home country, cash aside, before and after."""
    countries = labels_of(inputs, proposal.labels, "country")
    away = np.array(
        [
            bool(c) and c not in (home, "not stated") and not k.startswith("CASH:")
            for c, k in zip(countries, proposal.labels, strict=True)
        ],
        dtype=bool,
    )
    return [float(w[away].sum()) for w in (proposal.current, proposal.target)]


def labels_of(
    inputs: ReportInputs, labels: Sequence[str], attribute: str
) -> tuple[str, ...]:
    """Grouping label of each ticker; cash is its own role and country.

    A fund that is looked through has the role ``fund``: it has several.
    """
    universe = inputs.stress.scenarios.universe
    funds = inputs.stress.looked_through() if attribute == "role" else frozenset()
    known = dict(zip(universe.tickers, universe.labels(attribute), strict=True))
    out = []
    for name in labels:
        if name.startswith("CASH:"):
            text = name.removeprefix("CASH:") if attribute == "currency" else "cash"
        elif name in funds:
            text = "fund"
        else:
            text = known.get(name, "") or "not stated"
        out.append(text)
    return tuple(out)


def by_role(stress: StressReport, shock: str) -> dict[str, tuple[float, float]]:
    """Weight and loss of each role, funds looked through; cash is its own role."""
    out: dict[str, tuple[float, float]] = {}
    for part in stress.by_holding_and_role(shock):
        role = "cash" if part.asset.startswith("CASH:") else part.role
        weight, loss = out.get(role, (0.0, 0.0))
        out[role] = weight + part.weight, loss + part.loss
    return out


def funds_note(stress: StressReport) -> str:
    """Say how the funds held are looked through; empty without funds."""
    funds = getattr(stress.scenarios.model, "funds", None)
    if funds is None:
        return ""
    held = dict(zip(stress.scenarios.assets, np.abs(stress.weights), strict=True))
    parts = {"by document": 0.0, "estimated from returns": 0.0, "unknown": 0.0}
    for e in funds.exposures:
        kind = "by document" if e.method == "look-through" else "estimated from returns"
        parts[kind] += float(held.get(e.fund, 0.0))
    parts["unknown"] = float(sum(held.get(f, 0.0) for f, _ in funds.refused))
    words = [f"{percent(w, 0)} {k}" for k, w in parts.items() if w]
    return f" Funds are looked through: {', '.join(words)}." if words else ""


def exposures_note(stress: StressReport) -> str:
    """Say how much of the weight in AI roles has a documented AI share."""
    return _shares_note(stress) + funds_note(stress)


def _shares_note(stress: StressReport) -> str:
    universe = stress.scenarios.universe
    roles = [r not in ("none", "unknown") for r in universe.role]
    in_role = np.abs(stress.weights) * np.array(roles, dtype=bool)
    documented = np.array(
        [s.startswith(("reported", "derived")) for s in universe.share_source],
        dtype=bool,
    )
    total = float(in_role.sum())
    share = float((in_role * documented).sum()) / total if total else 0.0
    if share == 0.0:
        return (
            "Role midpoints are unsourced: the AI share of revenue is the middle of a "
            "band by role."
        )
    return (
        f"Of the weight in AI roles, {percent(share, 0)} has an AI share from a dated "
        "document; the rest is judgement bands."
    )
