"""The score of a search: what is left of the best of many trials, in numbers and words.

Nothing here is asked for: whoever tries many rules is told what that does to the best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backtests.metrics import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_track_record_length,
    moments,
)
from backtests.overfitting import pbo
from backtests.result import BacktestResult
from engine._typing import Matrix
from engine.errors import DataError

_FEW_BLOCKS = 200
"""Trials above which the splits are made of 10 blocks and not 16: 252, not 12,870."""


def average_correlation(returns: Matrix) -> tuple[float, int]:
    """Mean correlation between the columns that vary, and how many these are.

    Without the matrix of correlations: the variance of the sum of M standardised
    columns is M + M (M - 1) rho. One column or none has zero.

    Parameters
    ----------
    returns : (T, M) float64
        No NaN.
    """
    spread = returns.std(axis=0)
    varies = spread > 1e-14 * np.maximum(1.0, np.abs(returns).max(axis=0, initial=0.0))
    M = int(varies.sum())
    if M < 2:
        return 0.0, M
    z = (returns[:, varies] - returns[:, varies].mean(axis=0)) / spread[varies]
    total = float(np.mean(z.sum(axis=1) ** 2))
    return (total - M) / (M * (M - 1)), M


def effective_trials(returns: Matrix) -> float:
    """Independent trials that M correlated ones amount to: rho + (1 - rho) M.

    rho is the average correlation of the trials' returns, at least zero (Bailey and
    Lopez de Prado 2014, "The deflated Sharpe ratio", appendix A.3): M where they have
    nothing in common, one where all are the same. A constant column counts as one.

    Parameters
    ----------
    returns : (T, M) float64
        Returns of all trials on the same dates; no NaN.
    """
    rho, M = average_correlation(returns)
    rho = min(max(rho, 0.0), 1.0)
    still = returns.shape[1] - M
    return still + (rho + (1.0 - rho) * M if M else 0.0)


def score(
    results: Sequence[BacktestResult],
    sharpes: Sequence[float],
    best: BacktestResult,
    n_trials: int,
) -> dict[str, Any]:
    """Figures of the best of ``n_trials`` trials; None where one is not defined.

    Parameters
    ----------
    results : sequence of BacktestResult
        Of the trials that finished here.
    sharpes : sequence of float
        Per-period Sharpe ratios of all trials that have one, earlier ones included.
    best : BacktestResult
    n_trials : int
        All trials, failures included.
    """
    from backtests.intervals import metric_intervals

    known = np.asarray(sharpes, dtype=np.float64)
    variance = float(known.var(ddof=1)) if known.size > 1 else 0.0
    m = moments(best.returns(), risk_free=best.cash_return[1:])
    root = math.sqrt(best.periods_per_year)
    given = {"sharpe": m.sharpe, "n": m.n, "skew": m.skew, "kurtosis": m.kurtosis}
    same = all(np.array_equal(r.dates, best.dates) for r in results)
    excess = np.column_stack([r.excess_returns() for r in results]) if same else None
    effective = float(n_trials)
    if excess is not None:
        # What has no returns here (failed, or from an earlier grid) counts in full.
        effective = n_trials - len(results) + effective_trials(excess)
    track = minimum_track_record_length(**given)
    try:
        interval = metric_intervals(best)["sharpe"]
    except DataError:
        interval = None
    return {
        "sharpe": m.sharpe * root,
        "sharpe_low": None if interval is None else interval.low,
        "sharpe_high": None if interval is None else interval.high,
        "expected_best_sharpe": root * expected_maximum_sharpe(variance, n_trials),
        "deflated_sharpe": deflated_sharpe_ratio(
            **given, n_trials=n_trials, variance_of_sharpes=variance
        ),
        "effective_trials": effective,
        "deflated_sharpe_effective": deflated_sharpe_ratio(
            **given, n_trials=max(1.0, effective), variance_of_sharpes=variance
        ),
        "pbo": _overfitting(excess),
        "years": m.n / best.periods_per_year,
        "minimum_track_years": None
        if math.isinf(track)
        else track / best.periods_per_year,
    }


def _overfitting(excess: Matrix | None) -> float | None:
    """Probability of backtest overfitting, where trials and dates suffice."""
    if excess is None:
        return None
    try:
        blocks = 16 if excess.shape[1] <= _FEW_BLOCKS else 10
        return pbo(excess, n_blocks=blocks).probability
    except DataError:
        return None


def named(parameters: Mapping[str, Any]) -> str:
    """Parameters of a cell on one line."""
    return ", ".join(f"{k}={_short(v)}" for k, v in parameters.items())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def words(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what the figures of `SweepResult.summary` mean, a sentence for each.

    Returns
    -------
    tuple of str
        For a reader who has never met a deflated Sharpe ratio.
    """
    n = summary["n_trials"]
    if "best" not in summary:
        return (f"{_count(n, 'trial')} counted, and none with a result to judge.",)
    out = [_first(summary)]
    if n > 1:
        out.append(
            f"Of {n} rules worth nothing, the best would show about "
            f"{summary['expected_best_sharpe']:.2f} by luck alone."
        )
    chance = summary["deflated_sharpe"]
    text = (
        f"Allowing for {_count(n, 'trial')}, the probability that there is more than "
        f"luck to it is {_percent(chance)} (deflated Sharpe ratio): {_verdict(chance)}."
    )
    effective = summary["effective_trials"]
    if n - effective >= 0.5:
        chance = summary["deflated_sharpe_effective"]
        text += (
            f" The trials are alike and amount to about {effective:.1f} independent "
            f"ones; on that count it is {_percent(chance)}."
        )
    out.append(text)
    if summary["pbo"] is not None:
        out.append(
            "Chosen on one half of the dates, the winner did no better than the middle "
            f"of the field on the other half in {_percent(summary['pbo'])} of the "
            "splits (probability of backtest overfitting; a choice at random has 50%)."
        )
    years, needed = summary["years"], summary["minimum_track_years"]
    if needed is None:
        need = "no length would tell a ratio that is not above zero from luck"
    elif needed <= years:
        need = f"{needed:.1f} are enough to tell this ratio from zero"
    else:
        need = f"{needed:.1f} would be needed to tell this ratio from zero"
    out.append(
        f"The record has {years:.1f} years; {need} (at 95%, for one trial alone)."
    )
    return tuple(out)


def _first(summary: Mapping[str, Any]) -> str:
    text = (
        f"The best of {_count(summary['n_trials'], 'trial')} is "
        f"{named(summary['best'])}: Sharpe ratio {summary['sharpe']:.2f} a year"
    )
    if summary["sharpe_low"] is not None:
        text += (
            f", 95% interval {summary['sharpe_low']:.2f} to "
            f"{summary['sharpe_high']:.2f}, as if it had been the only one"
        )
    return text + "."


def _verdict(chance: float) -> str:
    if chance >= 0.95:
        return "it passes the usual mark of 95%"
    if chance >= 0.8:
        return "short of the usual mark of 95%"
    return "luck explains it well enough"


def _percent(x: float) -> str:
    text = f"{x:.0%}"
    if text == "100%" and x < 1.0:
        return "over 99%"
    return "under 1%" if text == "0%" and x > 0.0 else text


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
