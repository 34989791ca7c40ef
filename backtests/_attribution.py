"""Where a backtest's money came from: by label, and to the AI factor."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from backtests.fills import Fills
from backtests.result import BacktestResult
from engine.data.universe import Universe
from engine.errors import DataError, UsageError

_SETTLED = (
    "filled",
    "partial",
    "scaled",
    "delisting",
    "merger",
    "cash in lieu",
)


def asset_pnl(result: BacktestResult) -> np.ndarray:
    """(T, N) price and currency gain of each label at each session, base currency.

    Change of the money held, less what was bought, plus what was sold: summed over
    labels it is ``price_pnl + fx_pnl`` of the ledger.
    """
    bought = np.zeros(result.money.shape)
    fills = Fills.of(result.fills)
    place = {label: i for i, label in enumerate(result.labels)}
    columns = np.array([place.get(t, -1) for t in fills.labels], dtype=np.int64)
    settled = np.array([w in _SETTLED for w in fills.words], dtype=bool)
    column = columns[fills.column]
    done = settled[fills.status] & (column >= 0)
    rows = np.searchsorted(result.dates, fills.date)
    np.add.at(bought, (rows[done], column[done]), fills.value[done])
    before = np.zeros(result.money.shape)
    before[1:] = result.money[:-1]
    gain = result.money - before - bought
    gain[0] = 0.0  # the first session values the opening book
    return gain


def attribution(result: BacktestResult, universe: Universe, *, by: str = "role"):
    """Contribution to return by role, country, region, currency, sector or ticker.

    Parameters
    ----------
    result : BacktestResult
    universe : Universe
        Labels; a position it does not know (foreign cash) stands under its own name.
    by : str, default "role"
        Attribute of the universe.

    Returns
    -------
    DataFrame
        Per label: gain in base currency, contribution to the total return over the
        initial value, average weight; then interest, dividends, costs and taxes, which
        belong to no label. The contributions sum to the total return.
    """
    import pandas as pd

    known = dict(
        zip(
            universe.tickers,
            universe.labels("tickers" if by == "ticker" else by),
            strict=True,
        )
    )
    gain = asset_pnl(result).sum(axis=0)
    weight = (result.money / result.value[:, None]).mean(axis=0)
    rows: dict[str, list[float]] = {}
    for i, label in enumerate(result.labels):
        key = (known.get(label) or "unknown") if label in known else label
        row = rows.setdefault(key, [0.0, 0.0])
        row[0] += float(gain[i])
        row[1] += float(weight[i])
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["gain", "average_weight"]
    ).sort_values("gain", ascending=False)
    first = float(result.value[0] - result.initial_value)
    rest = {
        "interest": float(result.interest[1:].sum()),
        "dividends": float(result.dividends[1:].sum()),
        "costs": -float(result.costs[1:].sum()),
        "taxes": -float(result.taxes[1:].sum()),
        "first session": first,
    }
    for name, value in rest.items():
        if value:
            table.loc[name] = [value, math.nan]
    table["contribution"] = table["gain"] / result.initial_value
    table.index.name = by
    return table[["gain", "contribution", "average_weight"]]


class FactorSplit(NamedTuple):
    """Excess return split into a factor's part and the rest, per year.

    Attributes
    ----------
    beta, beta_standard_error : float
    factor_return, rest_return : float
        Mean excess return per year earned through the factor, and beside it (alpha).
    rest_standard_error : float
        Newey and West (1987).
    r_squared : float
    """

    beta: float
    beta_standard_error: float
    factor_return: float
    rest_return: float
    rest_standard_error: float
    r_squared: float


def factor_split(
    returns: Any, factor: Any, *, periods_per_year: float, lags: int | None = None
) -> FactorSplit:
    """Regress excess returns on a factor's: to the AI factor, and the rest.

    Parameters
    ----------
    returns, factor : (T,) float64
        Excess returns of the same dates, no NaN.
    periods_per_year : float
    lags : int, optional
        Bartlett lags, floor(4 (T/100)^(2/9)) by default.

    Returns
    -------
    FactorSplit
    """
    y, x = (np.asarray(v, dtype=np.float64) for v in (returns, factor))
    if y.ndim != 1 or y.shape != x.shape or y.size < 10:
        raise DataError(
            "returns and factor must be of the same ten dates or more",
            received=f"shapes {y.shape} and {x.shape}",
        )
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise DataError("returns or factor hold a non-finite number")
    if not periods_per_year > 0:
        raise UsageError("periods_per_year must be positive", received=periods_per_year)
    if x.std() == 0.0:
        raise DataError("the factor is constant")
    T = y.size
    lags = int(4.0 * (T / 100.0) ** (2.0 / 9.0)) if lags is None else lags
    X = np.column_stack([np.ones(T), x])
    inverse = np.linalg.inv(X.T @ X)
    coefficient = inverse @ X.T @ y
    residual = y - X @ coefficient
    score = X * residual[:, None]
    middle = score.T @ score
    for lag in range(1, min(lags, T - 1) + 1):
        gamma = score[lag:].T @ score[:-lag]
        middle += (1.0 - lag / (lags + 1.0)) * (gamma + gamma.T)
    variance = inverse @ middle @ inverse
    spread = float(((y - y.mean()) ** 2).sum())
    return FactorSplit(
        float(coefficient[1]),
        float(math.sqrt(variance[1, 1])),
        float(coefficient[1] * x.mean() * periods_per_year),
        float(coefficient[0] * periods_per_year),
        float(math.sqrt(variance[0, 0]) * periods_per_year),
        1.0 - float(residual @ residual) / spread if spread > 0 else math.nan,
    )
