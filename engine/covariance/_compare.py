"""Which covariance estimator forecasts best: a walk forward, scored with errors.

At each origin every estimator sees the same past returns; what follows scores it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.covariance._check import observations
from engine.covariance._comparison import Comparison
from engine.covariance._named import Estimator, checked, resolve
from engine.covariance._scores import SCORES, score
from engine.errors import DataError, ModelError, UsageError

Progress = Callable[[int, int, str], None]
DEFAULTS = (
    "sample",
    "ewma",
    "ledoit_wolf_identity",
    "ledoit_wolf",
    "ledoit_wolf_single_index",
    "factor",
    "ewma_split",
)


class Data(NamedTuple):
    """Returns and how their rows overlap."""

    values: np.ndarray
    """(T, N) per period."""
    labels: Any
    """(T,) date or row number of each."""
    assets: tuple[str, ...]
    span: int
    """Rows that a return shares sessions with, itself included: 5 if overlapping."""
    note: str


def compare(
    data: Any,
    estimators: Any = DEFAULTS,
    *,
    window: int | None = 504,
    step: int | None = None,
    horizon: int = 21,
    dof: float | None = None,
    baseline: str | None = None,
    rank_by: str = "log_likelihood",
    frequency: str | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Score covariance estimators on what happened after each forecast.

    Parameters
    ----------
    data : (T, N) array_like, DataFrame, PricePanel or MarketView
        Returns per period, decimals, oldest first, no NaN, mean taken as zero; rows
        follow one another and do not overlap. Of a panel, the base-currency log
        returns that `engine.fit` uses: daily on dates on which every asset had a
        price, or, where venues close at different hours, overlapping five-session
        returns; those are scored on windows that share no session with the past.
    estimators : name, callable, sequence of either, or mapping
        Names: ``ledoit_wolf`` (constant correlation), ``ledoit_wolf_identity``,
        ``ledoit_wolf_single_index``, and every function of `engine.covariance` that
        needs nothing but observations. Callables take an array (T, N) and return
        (N, N) or a FactorCovariance; a mapping names them.
    window : int or None, default 504
        Rows each estimate sees; None for all past rows, from half of the data on.
    step : int, optional
        Rows between forecasts; by default those the horizon covers, so that every
        return is scored once.
    horizon : int, default 21
        Returns scored after each forecast, each against the covariance per period.
    dof : float > 2, optional
        Adds a Student-t likelihood with these degrees of freedom, and judges
        ``beyond_95`` by the F instead of the chi-square law.
    baseline : str, optional
        Estimator that the others are compared with; by default the best.
    rank_by : str, default "log_likelihood"
        A proper score: see `Comparison`.
    frequency : {"daily", "weekly", "synchronised"}, optional
        Of a panel, as in `engine.fit`.
    n_jobs : int, default 1
        Worker processes, -1 for one per core. Results are the same bit for bit.
    progress : callable, optional
        ``progress(done, total, message)`` after each origin.

    Returns
    -------
    Comparison
        An estimator that raises, or whose matrix is not finite, symmetric and
        positive definite, has failed at that origin: recorded with the reason.

    Raises
    ------
    UsageError
        Unknown names or scores, or options out of range.
    DataError
        Returns with NaN: asset and date are named.
    ModelError
        Too few rows for one forecast, or every estimator failed at every origin.

    Notes
    -----
    Log-likelihood and QLIKE rank by all eigenvalues, small ones above all, because a
    portfolio that an optimiser finds lives there; ``variance_qlike`` ignores
    correlations, and ``min_variance`` ignores the scale of S. Standard errors are
    Newey-West over origins, differences are paired by origin (Diebold, Mariano 1995).
    """
    found = resolve(estimators)
    _check_scores(found, dof, baseline, rank_by)
    prepared = _data(data, frequency)
    T = prepared.values.shape[0]
    reach = prepared.span * _whole("horizon", horizon)
    stride = reach if step is None else _whole("step", step)
    first = max(2, T // 2) if window is None else _whole("window", window)
    origins = np.arange(first, T - reach + 1, stride)
    if not origins.size or first < 2:
        raise ModelError(
            "too few rows for one forecast",
            received=f"{T} rows",
            expected=f"at least {max(first, 2) + reach}: the window and the horizon",
            fix="Shorten window or horizon, or give a longer history.",
        )
    from engine.parallel import map_ordered, resolve_jobs

    workers = resolve_jobs(n_jobs)
    task = _Task(found, dof)
    items = _items(prepared, origins, window, horizon)
    outcomes = []
    for outcome in map_ordered(
        task, items, executor="serial" if workers == 1 else "processes", n_jobs=workers
    ):
        outcomes.append(outcome)
        if progress is not None:
            date = prepared.labels[origins[len(outcomes) - 1] - 1]
            progress(len(outcomes), origins.size, _text(date))
    names = tuple(found)
    made_at = np.array([prepared.labels[o - 1] for o in origins])
    failures = tuple(
        (names[e], _text(made_at[o]), reason)
        for o, (_, _, reasons) in enumerate(outcomes)
        for e, reason in enumerate(reasons)
        if reason
    )
    if len(failures) == len(names) * origins.size:
        raise ModelError(
            "every estimator failed at every origin",
            received="; ".join(f"{n}: {r}" for n, _, r in failures[: len(names)]),
        )
    return Comparison(
        estimators=names,
        assets=prepared.assets,
        origins=made_at,
        scores=tuple(s for s in SCORES if dof is not None or s != "t_log_likelihood"),
        values=_stack([v for v, _, _ in outcomes], dof),
        distances=np.stack([d for _, d, _ in outcomes]),
        failures=failures,
        window=window,
        step=int(stride),
        horizon=int(horizon),
        span=prepared.span,
        rank_by=rank_by,
        baseline=baseline,
        dof=dof,
        note=prepared.note,
    )


def _stack(values: list[np.ndarray], dof: float | None) -> np.ndarray:
    table = np.stack(values)
    if dof is None:
        table = np.delete(table, list(SCORES).index("t_log_likelihood"), axis=2)
    return table


def _items(
    data: Data, origins: np.ndarray, window: int | None, horizon: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Past rows of each origin, and the rows after it that share nothing with them."""
    for o in origins:
        start = 0 if window is None else o - window
        after = o - 1 + data.span * np.arange(1, horizon + 1)
        yield data.values[start:o].copy(), data.values[after]


class _Task:
    """Score every estimator at one origin; pickles, for worker processes."""

    def __init__(self, estimators: Mapping[str, Estimator], dof: float | None) -> None:
        self.estimators = dict(estimators)
        self.dof = dof

    def __call__(
        self, item: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        past, after = item
        E, N = len(self.estimators), past.shape[1]
        values = np.full((E, len(SCORES)), np.nan)
        distances = np.full((E, after.shape[0]), np.nan)
        reasons = []
        for e, estimator in enumerate(self.estimators.values()):
            reason = ""
            try:
                # Each has its own copy: one that writes to it must not hurt the next.
                S = checked(estimator(past.copy()), N)
                values[e], distances[e] = score(S, after, self.dof)
            except Exception as error:  # whatever a user's function raises is recorded
                reason = f"{type(error).__name__}: {error}"
            reasons.append(reason)
        return values, distances, tuple(reasons)


def _data(data: Any, frequency: str | None) -> Data:
    """Returns of an array, a table or a panel."""
    from engine.data.panel import PricePanel
    from engine.data.view import MarketView

    if isinstance(data, (PricePanel, MarketView)):
        return _panel_data(data, frequency)
    if frequency is not None:
        raise UsageError(
            "frequency belongs to a panel", fix="Give returns at the frequency wanted."
        )
    values, columns = observations(data, minimum=2)
    N = values.shape[1]
    if columns is None:
        return Data(
            values,
            np.arange(values.shape[0]),
            tuple(f"column {i}" for i in range(N)),
            1,
            "",
        )
    index = data.index
    if index.has_duplicates or not index.is_monotonic_increasing:
        t = int(np.argmin(np.asarray(index[1:] > index[:-1]))) + 1
        raise DataError(
            "rows must be in order of time, each date once",
            date=index[t],
            received=f"after {index[t - 1]}",
            fix="Sort the table by its index.",
        )
    return Data(values, np.asarray(index), tuple(str(c) for c in columns), 1, "")


def _panel_data(market: Any, frequency: Any) -> Data:
    from engine.returns import closes_together, compute, panel_of

    panel = panel_of(market).adjusted()
    if frequency is None:
        frequency = "daily" if closes_together(panel) else "synchronised"
    returns = compute(panel, frequency=frequency)
    span = returns.sessions if frequency == "synchronised" else 1
    note = f"{frequency} log returns in {panel.base_currency}"
    if frequency == "daily":
        left = panel.dates.size - 1 - returns.values.shape[0]
        if left:
            note += f"; {left} dates with a missing price left out"
    if panel.synthetic:
        note += "; SYNTHETIC"
    return Data(returns.values, returns.dates, tuple(panel.tickers), span, note)


def _check_scores(
    found: Mapping[str, Any], dof: Any, baseline: str | None, rank_by: str
) -> None:
    if dof is not None and not 2.0 < dof < np.inf:
        raise UsageError("degrees of freedom must exceed 2 and be finite", received=dof)
    proper = [
        name
        for name, s in SCORES.items()
        if s.better in ("high", "low") and (dof is not None or name[:2] != "t_")
    ]
    if rank_by not in proper:
        raise UsageError(
            "rank_by must be a proper score",
            received=repr(rank_by),
            expected=", ".join(proper),
        )
    if baseline is not None and baseline not in found:
        raise UsageError(
            "the baseline is not among the estimators",
            received=repr(baseline),
            expected=", ".join(found),
        )


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise UsageError(f"{name} must be a whole number from 1", received=value)
    return int(value)


def _text(label: Any) -> str:
    if isinstance(label, np.datetime64):
        return str(label.astype("datetime64[D]"))
    return str(label).removesuffix(" 00:00:00")
