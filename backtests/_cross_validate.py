"""`cross_validate`: combinatorial purged cross-validation of a whole strategy.

A strategy estimates from a view, so the training rows are made into one: the returns of
the sessions outside the tested groups, purge and embargo, joined into a price history
of their own. Its last session is the moment of the view. The target proposed for a book
in cash at that moment is held, at constant weights, through every tested session.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from backtests._failures import named_error
from backtests._windows import Windowed, windowed
from backtests.clock import DAYS_PER_YEAR, sessions_per_year
from backtests.metrics import moments
from backtests.overfitting import combinatorial_paths, combinatorial_purged_splits
from engine._base import Value, frozen_array
from engine._typing import Matrix, Vector
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio, cash_label
from engine.errors import DataError, ModelError
from engine.parallel import Executor, map_ordered
from engine.proposal import Proposal

STAMPS = (
    "trained on later dates too: a record that nobody could have earned",
    "constant weights within a split, before costs",
)


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation(Value):
    """Paths of a strategy out of sample.

    Attributes
    ----------
    name : str
    dates : (T,) datetime64[D]
        End of each return.
    paths : (P, T) float64
        Simple returns in base currency; each path covers every date once.
    cash_return : (T,) float64
        Simple return of base-currency cash.
    groups : tuple of tuple of int, length C
        Tested groups of each split.
    weights : tuple of mapping, length C
        What was held through the tested groups of each split.
    periods_per_year : float
    stamps : tuple of str
        What must be said beside the numbers.
    """

    name: str
    dates: np.ndarray
    paths: Matrix
    cash_return: Vector
    groups: tuple[tuple[int, ...], ...]
    weights: tuple[Mapping[str, float], ...]
    periods_per_year: float
    stamps: tuple[str, ...] = STAMPS

    def __post_init__(self) -> None:
        for name, ndim in (("paths", 2), ("cash_return", 1)):
            array = frozen_array(getattr(self, name), name=name, ndim=ndim)
            object.__setattr__(self, name, array)

    def sharpes(self) -> Vector:
        """(P,) yearly Sharpe ratios over cash; NaN for a path that does not move."""
        return np.array([m["sharpe"] for m in self.metrics()])

    def metrics(self) -> tuple[dict[str, float], ...]:
        """Figures of each path: yearly return, volatility, Sharpe ratio, drawdown."""
        return tuple(self._figures(path) for path in self.paths)

    def _figures(self, path: Vector) -> dict[str, float]:
        wealth = np.concatenate([[1.0], np.cumprod(1.0 + path)])
        peak = np.maximum.accumulate(wealth)
        per_year = self.periods_per_year
        try:
            found = moments(path, risk_free=self.cash_return)
            sharpe = found.sharpe * math.sqrt(per_year)
        except DataError:
            sharpe = math.nan
        return {
            "annual_return": float(wealth[-1] ** (per_year / path.size) - 1.0),
            "volatility": float(path.std(ddof=1) * math.sqrt(per_year)),
            "sharpe": sharpe,
            "max_drawdown": float((1.0 - wealth / peak).max()),
        }

    def summary(self) -> dict[str, float]:
        """The Sharpe ratio over the paths: mean, deviation, range, share below zero."""
        s = self.sharpes()
        s = s[~np.isnan(s)]
        if not s.size:
            return {"paths": float(len(self.paths))}
        return {
            "paths": float(len(self.paths)),
            "sharpe_mean": float(s.mean()),
            "sharpe_std": float(s.std(ddof=1)) if s.size > 1 else 0.0,
            "sharpe_least": float(s.min()),
            "sharpe_most": float(s.max()),
            "share_below_zero": float(np.mean(s < 0.0)),
        }

    def to_frame(self) -> Any:
        """Return one row of figures per path."""
        import pandas as pd

        return pd.DataFrame(list(self.metrics())).rename_axis("path")

    def __repr__(self) -> str:
        s = self.summary()
        text = f"CrossValidation({self.name}: {len(self.paths)} paths"
        if "sharpe_mean" in s:
            text += (
                f", Sharpe {s['sharpe_mean']:.2f} +- {s['sharpe_std']:.2f}, "
                f"{s['sharpe_least']:.2f} to {s['sharpe_most']:.2f}"
            )
        return text + ")"


def cross_validate(
    strategy: Any,
    panel: PricePanel,
    *,
    n_groups: int = 6,
    n_test: int = 2,
    purge: int = 0,
    embargo: int = 0,
    window: Literal["expanding"] | int | None = "expanding",
    start: Any = None,
    end: Any = None,
    hindsight_parameters: bool = False,
    executor: Executor = "serial",
    n_jobs: int = 1,
) -> CrossValidation:
    """Combinatorial purged cross-validation of a strategy.

    Parameters
    ----------
    strategy : Strategy
    panel : PricePanel
    n_groups, n_test, purge, embargo : int
        As ``n_groups, n_test_groups, purge, embargo`` of
        `combinatorial_purged_splits`, over the returns from session to session.
    window : "expanding", int or None, default "expanding"
        Estimate on all training sessions, on the last of them (which may lie after
        what is tested), or on the strategy's own window. Strategies without a window
        read what they read.
    start, end : date, optional
        Sessions used; all by default.
    hindsight_parameters : bool, default False
        Passed to the views.
    executor, n_jobs
        How splits are evaluated; results are the same bit for bit.

    Returns
    -------
    CrossValidation
        comb(n_groups - 1, n_test - 1) paths.

    Raises
    ------
    DataError
        An asset that is held was not yet listed in a tested session.
    BallastError
        The strategy fails on a split; the message names it and the date of the view.

    Notes
    -----
    Neither prices, exchange rates, cash rates nor volumes of tested, purged and
    embargoed sessions reach the strategy: prices of the training history are chained
    from the returns of training rows only, at a level of their own. Roles, documents
    and memberships are those known at the last training session, which lies after the
    tested groups in most splits. The paths say how much the rule's worth depends on
    the sample; a walk-forward says what it would have earned.

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 12.
    """
    strategy = windowed(strategy, None, 0, 0, None)
    panel = panel.between(start, end).adjusted()
    alive = np.flatnonzero(np.isfinite(panel.prices).any(axis=1))
    sessions = _Sessions.of(panel, alive)
    options = {
        "n_groups": n_groups,
        "n_test_groups": n_test,
        "purge": purge,
        "embargo": embargo,
    }
    n_rows = alive.size - 1
    splits = list(combinatorial_purged_splits(n_rows, **options))
    work = partial(
        _evaluate,
        strategy=strategy,
        panel=panel,
        sessions=sessions,
        window=window,
        hindsight=hindsight_parameters,
    )
    done = list(
        map_ordered(
            work,
            [(s.train, s.test) for s in splits],
            executor=executor,
            n_jobs=n_jobs,
        )
    )
    values = iter(returns for _, returns in done)
    paths = combinatorial_paths(lambda train, test: next(values), n_rows, **options)
    return CrossValidation(
        name=strategy.name,
        dates=panel.dates[alive[1:]],
        paths=paths,
        cash_return=sessions.cash,
        groups=tuple(s.groups for s in splits),
        weights=tuple(weights for weights, _ in done),
        periods_per_year=sessions_per_year(panel.dates[alive]),
        stamps=(*STAMPS, *(("SYNTHETIC prices",) if panel.synthetic else ())),
    )


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Rows of the sessions; returns in base currency and of cash between them."""

    rows: np.ndarray
    returns: Matrix
    cash: Vector

    @classmethod
    def of(cls, panel: PricePanel, rows: np.ndarray) -> _Sessions:
        if rows.size < 3:
            raise DataError(
                "too few sessions to cross-validate",
                received=rows.size,
                expected="3 or more",
            )
        held = _filled(panel.base_prices())[rows]
        days = np.diff(panel.dates[rows]) / np.timedelta64(1, "D")
        cash = panel.cash_rate()[rows][:-1] * days / DAYS_PER_YEAR
        return cls(rows, held[1:] / held[:-1] - 1.0, cash)


def _filled(table: Matrix) -> Matrix:
    """Each column with its last value in place of gaps; NaN before the first."""
    at = np.where(np.isfinite(table), np.arange(table.shape[0])[:, None], -1)
    np.maximum.accumulate(at, axis=0, out=at)
    values = np.take_along_axis(table, np.maximum(at, 0), axis=0)
    return np.where(at >= 0, values, np.nan)


def training_panel(
    panel: PricePanel, rows: np.ndarray, train: np.ndarray
) -> PricePanel:
    """A history whose returns are those of the training rows, one after the other.

    ``rows`` are the sessions of ``panel``; training row k is the return from session k
    to session k + 1. An asset keeps the gaps it had on training sessions.
    """
    kept = rows[np.concatenate([[train[0]], train + 1])]
    before = rows[train]
    universe = panel.universe

    def chained(table: Matrix) -> Matrix:
        filled = _filled(table)
        valid = np.isfinite(table[kept])
        growth = np.ones(valid.shape)
        step = table[kept[1:]] / filled[before]
        growth[1:] = np.where(np.isfinite(step), step, 1.0)
        level = np.cumprod(growth, axis=0)
        first = valid.argmax(axis=0)
        column = np.arange(table.shape[1])
        # The level of the first training price; what came between does not matter.
        scale = table[kept][first, column] / level[first, column]
        return np.where(valid, level * scale, np.nan)

    return replace(
        panel,
        dates=panel.dates[kept],
        prices=chained(panel.prices),
        universe=universe,
        price_basis="total_return",
        fx=chained(panel.fx) if panel.fx.size else panel.fx[kept],
        cash_rates=panel.cash_rates[kept],
        open=None,
        volume=None if panel.volume is None else panel.volume[kept],
        actions=None,
        content_hash="",
    )


def _evaluate(
    task: tuple[np.ndarray, np.ndarray],
    *,
    strategy: Any,
    panel: PricePanel,
    sessions: _Sessions,
    window: Any,
    hindsight: bool,
) -> tuple[dict[str, float], Vector]:
    """Weights of a split and their returns on its tested rows."""
    train, test = task
    shown = training_panel(panel, sessions.rows, train)
    view = shown.as_of(shown.dates[-1], hindsight_parameters=hindsight)
    base = cash_label(panel.base_currency)
    book = Portfolio.from_weights({base: 1.0}, 1e6, panel.base_currency).priced(view)
    try:
        rule = strategy
        if window is not None and hasattr(strategy, "window"):
            rule = Windowed(strategy, window).at(view)
        proposal = rule.propose(view, book, rule.estimate(view))
    except Exception as error:
        raise named_error(error, strategy, view.date) from error
    if not isinstance(proposal, Proposal):
        raise ModelError(
            f"strategy '{strategy.name}' did not return a proposal",
            date=view.date,
            received=type(proposal).__name__,
            expected="Proposal (see Proposal.from_weights)",
        )
    weights = {k: w for k, w in proposal.weights.items() if w}
    total = np.zeros(test.size)
    for label, weight in weights.items():
        if label == base:
            part = sessions.cash[test]
        else:
            part = sessions.returns[test, panel.index(label)]
        if not np.isfinite(part).all():
            bad = int(test[int(np.argmax(~np.isfinite(part)))])
            raise DataError(
                f"strategy '{strategy.name}' holds an asset before it was listed",
                asset=label,
                date=panel.dates[sessions.rows[bad + 1]],
                received="no price in a tested session",
                fix="Start later, or give the strategy tickers with full histories.",
            )
        total += weight * part
    return weights, total
