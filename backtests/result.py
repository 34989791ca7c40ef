"""`BacktestResult`: the ledger of a run, every decision, and where it came from.

Stored as Parquet and JSON, never as pickle: a result from elsewhere can be read
without running anything it brings along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backtests.decisions import Decision, PlannedDecisions
from backtests.fills import Fills
from backtests.ledger import COLUMNS
from engine._base import Value, check_labels, frozen_array
from engine.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class BacktestResult(Value):
    """One backtest.

    Attributes
    ----------
    name, trial_id : str
        The strategy's name, and a digest of strategy, data and settings.
    dates : (T,) datetime64[D]
    labels : tuple of str, length N
        Assets, then foreign cash (``CASH:EUR``) where any was held.
    base_currency : str
    initial_value : float
        Before the first trade, base currency.
    value, cash : (T,) float64
        Net asset value and base-currency cash at each close, after trading.
    units, money : (T, N) float64
        Held at each close, after trading; money in base currency at the last price.
    price_pnl, fx_pnl, interest, dividends, costs, taxes : (T,) float64
        Base currency; ``value[t] - value[t - 1]`` is the first four less the last two.
        Dividends are net of tax withheld at the source; costs include the fee on short
        positions, interest the margin on owed cash.
    turnover : (T,) float64
        Executed at each session: half the sum of absolute trades, cash included, over
        the value before trading.
    cash_return : (T,) float64
        Simple return of base-currency cash since the session before.
    fills : Fills
        Executions and cancelled orders, in order: a table of columns that is read like
        a tuple of `Fill`.
    decisions : sequence of Decision
    periods_per_year : float
        Sessions per calendar year of the prices.
    stamps : tuple of str
        What must be said beside every number of this result.
    provenance : mapping
    """

    name: str
    trial_id: str
    dates: np.ndarray
    labels: tuple[str, ...]
    base_currency: str
    initial_value: float
    value: np.ndarray
    cash: np.ndarray
    units: np.ndarray
    money: np.ndarray
    price_pnl: np.ndarray
    fx_pnl: np.ndarray
    interest: np.ndarray
    dividends: np.ndarray
    costs: np.ndarray
    taxes: np.ndarray
    turnover: np.ndarray
    cash_return: np.ndarray
    fills: Fills
    decisions: Sequence[Decision]
    periods_per_year: float
    stamps: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        dates = frozen_array(self.dates, name="dates", ndim=1, dtype="datetime64[D]")
        put(self, "dates", dates)
        put(self, "labels", check_labels(self.labels, name="result"))
        T, N = dates.size, len(self.labels)
        for name in COLUMNS:
            put(
                self,
                name,
                frozen_array(getattr(self, name), name=name, ndim=1, shape=(T,)),
            )
        for name in ("units", "money"):
            put(
                self,
                name,
                frozen_array(getattr(self, name), name=name, ndim=2, shape=(T, N)),
            )
        put(self, "fills", Fills.of(self.fills))
        if not (self.value > 0).all():
            raise DataError(
                "the value of a book must stay positive",
                date=dates[int(np.argmin(self.value > 0))],
            )

    def returns(self) -> np.ndarray:
        """(T - 1,) simple returns from close to close, after costs and taxes."""
        return self.value[1:] / self.value[:-1] - 1.0

    def excess_returns(self) -> np.ndarray:
        """(T - 1,) returns less that of base-currency cash."""
        return self.returns() - self.cash_return[1:]

    def weights(self) -> np.ndarray:
        """(T, N + 1) fractions of value in the order of `labels`, then base cash."""
        return np.column_stack([self.money, self.cash]) / self.value[:, None]

    def drawdown(self) -> np.ndarray:
        """(T,) fall below the highest value so far, as a positive decimal."""
        peak = np.maximum.accumulate(np.maximum(self.value, self.initial_value))
        return 1.0 - self.value / peak

    def metrics(self) -> dict[str, Any]:
        """Performance figures with standard errors: `backtests.metrics.summary`."""
        from backtests.metrics import summary

        return summary(self)

    def to_frame(self):
        """Return the ledger's columns as a table, one row per session."""
        import pandas as pd

        index = pd.DatetimeIndex(self.dates.astype("datetime64[ns]"), name="date")
        return pd.DataFrame({n: getattr(self, n) for n in COLUMNS}, index=index)

    def trades_frame(self):
        """Return executions and cancelled orders as a table."""
        import pandas as pd

        columns = Fills.of(self.fills).to_columns()
        for name in ("date", "decided"):
            columns[name] = columns[name].astype("datetime64[ns]")
        return pd.DataFrame(columns)

    def decisions_frame(self):
        """Return decisions as a table."""
        import pandas as pd

        if isinstance(self.decisions, PlannedDecisions):
            return self.decisions.to_frame()
        return pd.DataFrame(
            {
                "date": np.array([d.date for d in self.decisions], "datetime64[ns]"),
                "outcome": [d.outcome for d in self.decisions],
                "turnover": [d.turnover for d in self.decisions],
                "message": [d.message for d in self.decisions],
            }
        )

    def write(self, folder: Any):
        """Write the result as a folder: `backtests._store.write_result`."""
        from backtests._store import write_result

        return write_result(self, folder)

    @classmethod
    def read(cls, folder: Any) -> BacktestResult:
        """Read a folder written by `write`: `backtests._store.read_result`."""
        from backtests._store import read_result

        return read_result(folder)

    def __repr__(self) -> str:
        gain = self.value[-1] / self.initial_value - 1.0
        mark = f" [{'; '.join(self.stamps)}]" if self.stamps else ""
        return (
            f"BacktestResult({self.name}, {self.dates[0]} to {self.dates[-1]}, "
            f"{len(self.decisions)} decisions, {self.value[-1]:,.2f} "
            f"{self.base_currency}, total return {gain:.2%}, worst drawdown "
            f"{self.drawdown().max():.2%}, costs {self.costs.sum():,.2f}){mark}"
        )

    def _repr_html_(self) -> str:
        import pandas as pd

        from engine import _display as show

        rows = {
            k: f"{v:.4g}" if isinstance(v, float) else str(v)
            for k, v in self.metrics().items()
            if isinstance(v, (int, float, str))
        }
        table = pd.DataFrame({"figure": rows.keys(), "value": rows.values()})
        first, last = str(self.dates[0]), str(self.dates[-1])
        origin = self.provenance.get("data", "")
        return (
            show.warnings(self.stamps)
            + show.paragraph(repr(self))
            + show.line(
                self.value, f"Value, {self.base_currency}", first=first, last=last
            )
            + show.line(-self.drawdown(), "Drawdown", first=first, last=last, height=90)
            + show.table(table, rows=60)
            + show.small(f"trial {self.trial_id}; data {origin or 'unstated'}")
        )
