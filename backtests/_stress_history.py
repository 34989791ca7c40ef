"""`stress_history`: what the book would have lost in the shock, asked at every date.

Each date is `engine.fit`, `engine.simulate` and `engine.stress` on what was known at
it. Under a structural shock, what prices do not change is computed once for all dates
(`engine.shocks._book_severity`); funds are estimated where they are held.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backtests._identity import digest
from backtests._stress_input import books, refuse_hindsight, sessions_of
from engine._base import Value
from engine._progress import Progress, reporter
from engine._stress import (
    CAP_QUANTILE,
    _check_names,
    _es_error,
    _one,
    check_known,
    check_undated,
    stamps_of,
)
from engine.data.files import write_atomic
from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX, cash_label
from engine.data.roles import COMPANY_CLASSES, INFRASTRUCTURE
from engine.errors import BallastError, DataError, LookAheadError, UsageError
from engine.fund_table import FundTable, fund_table
from engine.model import ReturnModel, fit
from engine.montecarlo import simulate
from engine.parallel import Executor, map_ordered
from engine.risk import expected_shortfall, value_at_risk
from engine.scenarios import ScenarioSet
from engine.shocks import Reweighting, Shock
from engine.shocks._book_severity import BookSeverity, supported
from engine.shocks._kinds_lazy import resolved
from engine.shocks.basket import basket_betas
from strategies.estimation import eligible
from strategies.schedules import is_decision

_CHUNK = 25
"""Dates between two files of a resumable run, and in one task of a worker."""

PER_SHOCK = ("loss", "severe", "low", "high", "base_share")
PER_DATE = (
    "value_at_risk",
    "expected_shortfall",
    "expected_shortfall_error",
    "theme_weight",
    "unknown_weight",
    "theme_beta",
)


@dataclass(frozen=True, slots=True, eq=False)
class StressHistory(Value):
    """A book under shocks at each of D dates, each with what was known then.

    Attributes
    ----------
    dates : (D,) datetime64[D]
    names : tuple of str, length J
        Shocks.
    loss, severe, low, high, base_share : (D, J) float64
        As in `engine.stress`: central loss; 90th percentile of severity by the worst
        lens with no credit for gains; 5% and 95% of the loss over the severity draws,
        NaN for a shock of one severity; share of the base scenarios that lose as much.
    value_at_risk, expected_shortfall, expected_shortfall_error : (D,) float64
        Of the base scenarios over the horizon; the error NaN where the tail is too
        thin for one.
    theme_weight, unknown_weight : (D,) float64
        Weight in AI infrastructure roles, and in holdings of unknown role; funds
        looked through.
    theme_beta : (D,) float64
        Beta of the book to the AI basket less the market; NaN without a basket.
    outcome : tuple of str
        ``done``, or why a date has no numbers: they are NaN there.
    level : float
    stamps : tuple of str
        What must be said beside every number.
    """

    dates: np.ndarray
    names: tuple[str, ...]
    loss: np.ndarray
    severe: np.ndarray
    low: np.ndarray
    high: np.ndarray
    base_share: np.ndarray
    value_at_risk: np.ndarray
    expected_shortfall: np.ndarray
    expected_shortfall_error: np.ndarray
    theme_weight: np.ndarray
    unknown_weight: np.ndarray
    theme_beta: np.ndarray
    outcome: tuple[str, ...]
    level: float
    stamps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("dates", *PER_SHOCK, *PER_DATE):
            getattr(self, name).setflags(write=False)

    def __len__(self) -> int:
        return self.dates.size

    def to_frame(self):
        """Return one row per date; columns ``loss:<shock>`` and so on."""
        import pandas as pd

        index = pd.DatetimeIndex(self.dates.astype("datetime64[ns]"), name="date")
        table = {
            f"{column}:{name}": getattr(self, column)[:, j]
            for j, name in enumerate(self.names)
            for column in PER_SHOCK
        } | {name: getattr(self, name) for name in PER_DATE}
        return pd.DataFrame(table, index=index).assign(outcome=self.outcome)

    def __repr__(self) -> str:
        failed = sum(text != "done" for text in self.outcome)
        mark = f" [{'; '.join(self.stamps)}]" if self.stamps else ""
        return (
            f"StressHistory({len(self)} dates {self.dates[0]} to {self.dates[-1]}, "
            f"{', '.join(self.names)}"
            + (f", {failed} without numbers" if failed else "")
            + f"){mark}"
        )


class _Work(NamedTuple):
    """What every chunk of dates needs."""

    panel: PricePanel
    shocks: tuple[Any, ...]
    labels: tuple[str, ...]
    options: dict[str, Any]


def stress_history(
    weights: Any,
    panel: PricePanel,
    shocks: Shock | Reweighting | Sequence[Shock | Reweighting],
    *,
    dates: Iterable[Any] | None = None,
    n_scenarios: int = 5000,
    horizon: int = 21,
    level: float = 0.95,
    window: int = 504,
    covariance: str = "ledoit_wolf",
    funds: str = "estimated",
    refit_funds: str = "daily",
    tickers: Sequence[str] | None = None,
    seed: int = 0,
    hindsight_parameters: bool = False,
    executor: Executor = "serial",
    n_jobs: int = 1,
    out: Any = None,
    progress: Progress | bool | None = None,
) -> StressHistory:
    """Stress a book at each date with what was known at it.

    Parameters
    ----------
    weights : mapping, DataFrame or BacktestResult
        Of net asset value, summing to one with cash (``CASH:USD``). A mapping is the
        same book at every date; of a table with a date index, the last row at or
        before a date counts.
    panel : PricePanel
    shocks : Shock, Reweighting, or sequence of them
    dates : list of dates, optional
        Sessions; by default every session with ``window`` returns before it, or every
        one of those that the weights cover.
    n_scenarios, horizon, level
        Of the base scenarios, as `engine.simulate` and `engine.stress`.
    window, covariance, funds
        Of the model at each date, as `engine.fit`.
    refit_funds : str, default "daily"
        Schedule (`strategies.schedules.SCHEDULES`) on which what funds hold is
        estimated anew; between its sessions the last estimate stands, which was known
        then. Daily is `engine.fit` at every date; monthly saves most of the time of a
        book of many funds.
    tickers : sequence of str, optional
        Assets to model; assets without a full window at a date are left out of its
        model, and a book that holds one has no numbers there.
    seed : int, default 0
        Every date uses the same random numbers, so that differences are the market's.
    hindsight_parameters : bool, default False
        Admit shocks and roles at dates before they were known; stamps the result.
    executor, n_jobs
        Results are the same bit for bit.
    out : path, optional
        Folder for finished chunks of dates; a later run with the same inputs reads
        them instead of repeating them.
    progress : callable or True, optional
        ``progress(done, total, message)``, counted in dates; True shows a bar.

    Returns
    -------
    StressHistory
        Equal to `engine.fit`, `engine.simulate` and `engine.stress` on
        ``panel.as_of(date)`` to 1e-10.

    Raises
    ------
    LookAheadError
        A shock that was not known at the first date, or has no date at all, and
        hindsight is not admitted.
    DataError
        A date that is no session; weights that are not finite, do not sum to one, name
        an unknown asset or begin after a date; no date with numbers.
    """
    progress = reporter(progress, "stress")
    found = list(shocks) if isinstance(shocks, Sequence) else [shocks]
    if not found:
        raise UsageError("no shock to stress with")
    _check_names(found)
    is_decision(panel.dates[:1], refit_funds)  # refuses an unknown name
    labels, rows, when = books(weights, panel)
    at = sessions_of(panel, dates, window, when)
    W = rows[np.searchsorted(when, at, side="right") - 1] if when.size else rows
    W = np.broadcast_to(W, (at.size, len(labels)))
    refuse_hindsight(found, at, panel, hindsight_parameters)
    options = {
        "n_scenarios": n_scenarios,
        "horizon": horizon,
        "level": level,
        "window": window,
        "covariance": covariance,
        "funds": funds,
        "refit_funds": refit_funds,
        "tickers": None if tickers is None else tuple(tickers),
        "seed": seed,
        "hindsight_parameters": bool(hindsight_parameters),
    }
    work = _Work(panel, tuple(found), labels, options)
    pieces = [
        (at[i : i + _CHUNK], np.array(W[i : i + _CHUNK]))
        for i in range(0, at.size, _CHUNK)
    ]
    folder = None if out is None else Path(out)
    common = None if folder is None else digest(panel, found, labels, options)
    run = partial(_chunk, work, None if folder is None else str(folder), common)
    records: list[dict[str, Any]] = []
    for part in map_ordered(run, pieces, executor=executor, n_jobs=n_jobs):
        records += part
        if progress is not None:
            progress(len(records), at.size, str(at[len(records) - 1]))
    return _history(records, at, tuple(s.name for s in found), level)


def _history(
    records: list[dict[str, Any]], at: np.ndarray, names: tuple[str, ...], level: float
) -> StressHistory:
    if all("error" in r for r in records):
        raise DataError(
            "no date has numbers",
            date=at[0],
            received=records[0]["error"],
            fix="Choose later dates, a shorter window, or leave the asset out.",
        )
    J = len(names)
    none = [float("nan")] * J
    columns: dict[str, Any] = {
        name: np.array([r.get(name, none) for r in records], dtype=np.float64)
        for name in PER_SHOCK
    } | {
        name: np.array([r.get(name, np.nan) for r in records], dtype=np.float64)
        for name in PER_DATE
    }
    return StressHistory(
        dates=at,
        names=names,
        outcome=tuple(r.get("error", "done") for r in records),
        level=level,
        stamps=_first_of_each(s for r in records for s in r.get("stamps", ())),
        **columns,
    )


def _first_of_each(stamps: Iterable[str]) -> tuple[str, ...]:
    """Stamps that differ in the date they speak of count once, with the first."""
    return tuple(
        {s.partition(" as of ")[0]: s for s in reversed(list(stamps))}.values()
    )[::-1]


# --------------------------------------------------------------------------- one chunk


def _chunk(
    work: _Work,
    folder: str | None,
    common: str | None,
    piece: tuple[np.ndarray, np.ndarray],
) -> list[dict[str, Any]]:
    """Records of some dates: read where they are finished, else made and written."""
    path = None
    if folder is not None:
        path = Path(folder) / f"dates-{digest(common, piece[0], piece[1])[:24]}.json"
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
            if len(records) == piece[0].size:
                return records
        except (OSError, ValueError, TypeError):
            pass  # absent or damaged: made again
    fast = {
        shock.name: BookSeverity(shock) for shock in work.shocks if supported(shock)
    }
    made: dict[Any, FundTable] = {}
    records = [
        _record(work, fast, made, date, w)
        for date, w in zip(piece[0], piece[1], strict=True)
    ]
    if path is not None:
        write_atomic(path, json.dumps(records))
    return records


def _record(
    work: _Work,
    fast: Mapping[str, BookSeverity],
    made: dict[Any, FundTable],
    date: np.datetime64,
    w: np.ndarray,
) -> dict[str, Any]:
    """Plain numbers of one date, or why there are none."""
    book = {
        label: float(x) for label, x in zip(work.labels, w, strict=True) if x != 0.0
    }
    try:
        model = _model(work, made, date, book)
        o = work.options
        scenarios = simulate(
            model, o["n_scenarios"], horizon=o["horizon"], seed=o["seed"]
        )
        return _measured(work, fast, scenarios, book, date)
    except (LookAheadError, UsageError):
        raise  # of the question, not of the date
    except BallastError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _model(
    work: _Work,
    made: dict[Any, FundTable],
    date: np.datetime64,
    book: Mapping[str, float],
) -> ReturnModel:
    """The model that `engine.fit` makes, its fund table for the funds held."""
    o = work.options
    view = work.panel.as_of(date, hindsight_parameters=o["hindsight_parameters"])
    names = eligible(view, o["tickers"], window=o["window"])
    base = work.panel.base_currency
    foreign = [
        label.removeprefix(CASH_PREFIX)
        for label in book
        if label.startswith(CASH_PREFIX) and label != cash_label(base)
    ]
    held = [label for label in book if not label.startswith(CASH_PREFIX)]
    late = sorted(set(held) - set(names))
    if late:
        raise DataError(
            "a holding has no full estimation window at this date",
            asset=late[0],
            date=date,
            fix="Shorten the window, or leave the asset out of the book.",
        )
    model = fit(
        view,
        tickers=names,
        window=o["window"],
        covariance=o["covariance"],
        cash_currencies=foreign,
        funds="bands",
    )
    fitted = _fitted_on(work.panel.dates, date, o["refit_funds"])
    key = (fitted, tuple(held))
    if key not in made:
        then = (
            view
            if fitted == date
            else work.panel.as_of(
                fitted, hindsight_parameters=o["hindsight_parameters"]
            )
        )
        made.clear()
        made[key] = fund_table(then, held, method=o["funds"])
    return replace(model, funds=made[key])


def _fitted_on(
    sessions: np.ndarray, date: np.datetime64, schedule: str
) -> np.datetime64:
    """Session on which the funds of ``date`` are estimated; by the past alone."""
    if schedule == "daily":
        return date
    past = sessions[sessions <= date]
    opens = np.flatnonzero(is_decision(past, schedule))
    return np.datetime64(past[opens[-1] if opens.size else 0])


def _measured(
    work: _Work,
    fast: Mapping[str, BookSeverity],
    scenarios: ScenarioSet,
    book: Mapping[str, float],
    date: np.datetime64,
) -> dict[str, Any]:
    o, model = work.options, scenarios.model
    weights = scenarios.align(book)
    shocks = [resolved(s, weights=book, model=model) for s in work.shocks]
    admitted = o["hindsight_parameters"] or scenarios.hindsight_parameters
    stamps = stamps_of(scenarios) + check_known(shocks, scenarios, admitted)
    if date < work.panel.dates[-1]:
        check_undated(shocks, date, admitted)
    losses = scenarios.losses(weights)
    base = scenarios.leg_mean("base")
    record: dict[str, Any] = {name: [] for name in PER_SHOCK}
    for shock in shocks:
        if shock.name in fast:
            made = fast[shock.name].losses(scenarios.universe, model, weights, base)
            loss = float(made.by_asset.sum())
            one = (
                loss,
                value_at_risk(made.severe, level=CAP_QUANTILE),
                *np.quantile(made.draws, [0.05, 0.95]).tolist(),
                float(scenarios.p[losses >= loss].sum()),
            )
        else:
            r = _one(shock, scenarios, weights, losses)
            one = (r.loss, r.severe, *r.band, r.base_share)
        for name, number in zip(PER_SHOCK, one, strict=True):
            record[name].append(float(number))
    theme, unknown = _theme(scenarios, weights)
    beta = basket_betas(scenarios.universe, model)[0]
    level = o["level"]
    return record | {
        "value_at_risk": value_at_risk(losses, level=level, p=scenarios.p),
        "expected_shortfall": expected_shortfall(losses, level=level, p=scenarios.p),
        "expected_shortfall_error": _es_error(scenarios, losses, level),
        "theme_weight": theme,
        "unknown_weight": unknown,
        "theme_beta": float("nan") if beta is None else float(weights @ beta),
        "stamps": stamps,
    }


def _theme(scenarios: ScenarioSet, weights: np.ndarray) -> tuple[float, float]:
    """Weight in AI infrastructure, and in what is unknown; funds looked through."""
    universe, theme, unknown = scenarios.universe, 0.0, 0.0
    zero = universe.is_structural_zero()
    funds = None if scenarios.model is None else scenarios.model.funds
    for i in np.flatnonzero(weights):
        w = float(weights[i])
        exposure = None if funds is None else funds.get(universe.tickers[i])
        if zero[i]:
            continue
        if exposure is None:
            role, company = universe.role[i], universe.asset_class[i] in COMPANY_CLASSES
            theme += w * (role in INFRASTRUCTURE and company)
            unknown += w * (role == "unknown")
            continue
        known = 0.0
        for label, share in zip(exposure.labels, exposure.weights, strict=True):
            theme += w * float(share) * (label in INFRASTRUCTURE)
            known += float(share) * (label != "unknown")
        unknown += w * max(0.0, 1.0 - known)
    return theme, unknown
