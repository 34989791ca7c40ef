"""`simulate_weights`: weights in, value out; the accounting kernel's public face."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.errors import DataError, ModelError


class SimulationArrays(NamedTuple):
    """What `simulate_weights` returns.

    Attributes
    ----------
    value : (T,) float64
        Value after costs at each close, starting from one before the first trade.
    turnover : (T,) float64
        Half the sum of absolute trades, cash included, over the value before trading.
    cost : (T,) float64
        Paid at that close, in units of the initial value.
    weights : (T, N) float64
        After trading; cash is one minus their sum.
    """

    value: np.ndarray
    turnover: np.ndarray
    cost: np.ndarray
    weights: np.ndarray


def numbers(values: Any, name: str) -> np.ndarray:
    """Return a contiguous array of numbers, or raise `DataError`."""
    try:
        return np.asarray(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not numeric", received=str(error)) from error


def _impact(values: Any, T: int, N: int) -> np.ndarray:
    k = numbers(values, "impact")
    if k.shape not in ((), (N,), (T, N)):
        raise DataError(
            "impact does not match prices",
            received=f"shape {k.shape}",
            expected=f"a number, ({N},) or ({T}, {N})",
        )
    bad = ~(np.isfinite(k) & (k >= 0))
    if bad.any():
        raise DataError(
            "impact must be finite and not negative",
            received=k[bad].flat[0],
            expected="b sigma sqrt(value / V)",
        )
    return np.ascontiguousarray(np.broadcast_to(k, (1, N)) if k.ndim < 2 else k)


def priced(values: Any) -> np.ndarray:
    """Return prices (T, N) as checked numbers.

    Raises
    ------
    DataError
        Not a table, or a price that is not positive and finite, with its place.
    """
    P = numbers(values, "prices")
    if P.ndim != 2 or not P.size:
        raise DataError(
            "prices must be a table", received=f"shape {P.shape}", expected="(T, N)"
        )
    # A NaN passes through both, and fails either comparison.
    if not (P.min() > 0.0 and P.max() < np.inf):
        t, i = (int(v) for v in np.argwhere(~(np.isfinite(P) & (P > 0)))[0])
        raise DataError(
            "prices must be positive and finite",
            received=f"{P[t, i]} at row {t}, column {i}",
            fix="Simulate assets that have a price at every row.",
        )
    return P


def rates(values: Any, N: int) -> np.ndarray:
    """Return proportional costs as (N,).

    Raises
    ------
    DataError
        Another shape, or a rate outside [0, 1).
    """
    c = numbers(values, "costs")
    if c.shape not in ((), (N,)):
        raise DataError(
            "costs do not match prices",
            received=f"shape {c.shape}",
            expected=f"a number or ({N},)",
        )
    bad = ~((c >= 0) & (c < 1))
    if bad.any():
        raise DataError(
            "costs must lie in [0, 1)",
            received=c[bad].flat[0],
            expected="a decimal: ten basis points are 0.001",
        )
    return np.ascontiguousarray(np.broadcast_to(c, (N,)))


def no_trade(W: np.ndarray) -> np.ndarray:
    """Return which rows of targets (R, N) are empty: nothing is traded there.

    Raises
    ------
    DataError
        A row with some weights only, or an infinite one.
    """
    finite = np.isfinite(W)
    if finite.all():
        return np.zeros(W.shape[0], dtype=bool)
    empty = np.asarray(np.isnan(W).all(axis=1))
    partial = ~finite.all(axis=1) & ~empty
    if partial.any():
        raise DataError(
            "a row of targets is only partly filled",
            received=f"row {int(np.argmax(partial))}",
            fix="Give every weight of a row, or NaN throughout for no trade.",
        )
    return empty


def check_payable(W: np.ndarray, empty: np.ndarray, c: np.ndarray) -> None:
    """Refuse targets (R, N) whose purchase costs as much as they are worth."""
    solvable = (np.abs(W) @ c < 1.0) | empty
    if not solvable.all():
        raise ModelError(
            "the weights cost more to trade than they are worth",
            received=f"row {int(np.argmin(solvable))}",
        )


def simulate_weights(
    prices: Any,
    targets: Any,
    costs: Any = 0.0,
    *,
    impact: Any = None,
    when: Any = None,
) -> SimulationArrays:
    """Value of a book rebalanced to target weights at the closes it is priced at.

    Weights drift between rebalances. Costs are paid from the book so that the weights
    after trading equal the targets exactly: ``V' = V - sum c |t V' - h|`` is solved to
    1e-14. What the weights leave over is cash that earns nothing. Trading at the close
    that made the decision is same-bar execution: shift ``targets`` by one row, or use
    `backtests.backtest`, when they were computed from the same row of prices.

    Parameters
    ----------
    prices : (T, N) array or DataFrame
        Positive and finite, in one currency.
    targets : (T, N) or (N,) array or DataFrame
        Weights to trade to at each close; a row of NaN means no trade. One row means
        the same weights at every close.
    costs : float or (N,) array, default 0
        Proportional one-way cost as a decimal (0.001 is ten basis points).
    impact : float, (N,) or (T, N) array, optional
        k of the market impact ``k |x|^(3/2)`` of a trade x in units of the initial
        value (Boyd et al. 2017: k = b sigma sqrt(value / V), sigma the daily
        volatility, V the value traded a day). Rows are those known when the target
        was made.
    when : (T,) bool array, optional
        Closes at which to trade; the others hold. All by default: a sweep over
        calendars needs no table of targets for each.

    Returns
    -------
    SimulationArrays

    Raises
    ------
    DataError
        Wrong shapes, prices that are not positive, a row with some NaN, costs outside
        [0, 1), an impact that is negative or not finite.
    ModelError
        The book loses everything, or leverage makes the cost equation unsolvable.

    Notes
    -----
    Costs are charged at the close of the trade and on what is traded there, V' being
    what is left. Simulators that size orders by the value before costs and take the
    fee from cash afterwards (vectorbt) trade amounts that differ by the cost of the
    cost, c^2 of the turnover; without costs the paths are one, and so they are when
    their weights after trading are given here as targets.

    Examples
    --------
    >>> simulate_weights([[1.0], [2.0]], [[1.0], [float("nan")]]).value.tolist()
    [1.0, 2.0]
    """
    from engine.kernels.accounting import (
        CONVERGED,
        NOT_CONVERGED,
        rebalance_path,
    )

    P = priced(prices)
    T, N = P.shape
    W = numbers(targets, "targets")
    if W.shape == (N,):
        W = W.reshape(1, N)
        rows = np.zeros(T, dtype=np.int64)
    elif W.shape == (T, N):
        rows = np.arange(T, dtype=np.int64)
    else:
        raise DataError(
            "targets do not match prices",
            received=f"shape {W.shape}",
            expected=f"({T}, {N}) or ({N},)",
        )
    empty = no_trade(W)
    rows = np.where(empty[rows], -1, rows)
    if when is not None:
        trades = np.asarray(when)
        if trades.shape != (T,) or trades.dtype != bool:
            raise DataError(
                "when does not match prices",
                received=f"{trades.dtype} of shape {trades.shape}",
                expected=f"bool of shape ({T},)",
            )
        rows = np.where(trades, rows, -1)
    c = rates(costs, N)
    check_payable(W, empty, c)
    value, turnover, cost = np.empty(T), np.empty(T), np.empty(T)
    weights = np.empty((T, N))
    failed_at = np.zeros(1, dtype=np.int64)
    outs = (value, turnover, cost, weights, failed_at)
    k = np.empty((0, N)) if impact is None else _impact(impact, T, N)
    status = rebalance_path(P, W, rows, c, k, *outs)
    if status != CONVERGED:
        what = (
            "the cost equation did not converge"
            if status == NOT_CONVERGED
            else "the book lost everything"
        )
        raise ModelError(what, received=f"row {int(failed_at[0])}")
    return SimulationArrays(value, turnover, cost, weights)
