"""What rolling estimators return: matrices or results by date, and the drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Drift(Value):
    """How far updated matrices were from matrices computed afresh.

    Attributes
    ----------
    rows : (R,) int64
        Row of the observations at which each run of updates ended: there the updated
        matrix, the last one handed out, was compared with a fresh one.
    values : (R,) float64
        Largest ``|updated - fresh|_ij / sqrt(fresh_ii fresh_jj)`` at each.
    bound : float
        What the rounding of every entry, so measured, may reach.
    """

    rows: np.ndarray
    values: np.ndarray
    bound: float

    def __post_init__(self) -> None:
        put = object.__setattr__
        rows = frozen_array(self.rows, name="rows", ndim=1, dtype=np.int64)
        put(self, "rows", rows)
        put(
            self,
            "values",
            frozen_array(self.values, name="drift values", ndim=1, shape=rows.shape),
        )
        put(self, "bound", float(self.bound))

    @property
    def largest(self) -> float:
        """Largest drift measured; 0 where nothing was updated."""
        return float(self.values.max(initial=0.0))

    def __repr__(self) -> str:
        return (
            f"Drift(largest {self.largest:.1e} of {self.values.size} measured, "
            f"bound {self.bound:.0e})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class RollingCovariance(Value):
    """One covariance matrix a date.

    Attributes
    ----------
    rows : (D,) int64
        Row of the observations at which each window ends.
    matrices : (D, N, N) float64
        Symmetric. NaN only where observations are missing and a pair has fewer than
        ``min_periods`` joint ones.
    complete : (D,) bool
        Whether the window has every observation. Such a matrix is positive
        semi-definite up to rounding; one made pair by pair may be indefinite
        (`nearest_correlation` repairs it).
    drift : Drift or None
        None where the recursion cannot drift.
    dates : pandas.Index or None
        (D,) labels of ``rows`` when the observations were a DataFrame.
    assets : pandas.Index or None
        (N,) labels of the columns when the observations were a DataFrame.
    """

    rows: np.ndarray
    matrices: np.ndarray
    complete: np.ndarray
    drift: Drift | None = None
    dates: Any = None
    assets: Any = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        rows = frozen_array(self.rows, name="rows", ndim=1, dtype=np.int64)
        D = rows.size
        # NaN marks a pair without enough observations, as in pandas.
        matrices = frozen_array(
            self.matrices, name="matrices", ndim=3, shape=(D, -1, -1), finite=False
        )
        if matrices.shape[1] != matrices.shape[2]:
            raise DataError("the matrices are not square", received=matrices.shape)
        complete = frozen_array(
            self.complete, name="complete", ndim=1, dtype=np.bool_, shape=(D,)
        )
        for labels, size, what in (
            (self.dates, D, "dates"),
            (self.assets, matrices.shape[1], "assets"),
        ):
            if labels is not None and len(labels) != size:
                raise DataError(
                    f"{what} do not match the matrices",
                    received=len(labels),
                    expected=size,
                )
        put(self, "rows", rows)
        put(self, "matrices", matrices)
        put(self, "complete", complete)

    def __len__(self) -> int:
        return self.rows.size

    def __getitem__(self, position: int) -> np.ndarray:
        """Matrix (N, N) by position among the dates, read-only."""
        return self.matrices[position]

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.matrices)

    def at(self, date: Any) -> Any:
        """Covariance of the window that ends at ``date``.

        Parameters
        ----------
        date : label or int
            A label of ``dates``; the row number where the observations were an array.

        Returns
        -------
        (N, N) DataFrame, or array where the observations were an array
        """
        labels = self.rows if self.dates is None else self.dates
        try:
            found = np.flatnonzero(np.asarray(labels == _like(labels, date)))
        except (TypeError, ValueError):
            found = np.empty(0, dtype=np.int64)
        if found.size != 1:
            raise DataError(
                "no window ends at that date" if not found.size else "dates repeat",
                date=date,
                expected=f"one of {len(self)} from {labels[0]} to {labels[-1]}",
            )
        matrix = self.matrices[found[0]]
        if self.assets is None:
            return matrix
        import pandas as pd

        return pd.DataFrame(matrix, index=self.assets, columns=self.assets)

    def to_frame(self) -> Any:
        """All matrices as one DataFrame (D N, N), indexed by date and asset.

        The layout of ``DataFrame.rolling(window).cov()``, without copying the numbers.
        """
        import pandas as pd

        D, N = self.matrices.shape[:2]
        dates = self.rows if self.dates is None else self.dates
        assets = pd.RangeIndex(N) if self.assets is None else self.assets
        index = pd.MultiIndex.from_product([dates, assets])
        return pd.DataFrame(
            self.matrices.reshape(D * N, N), index=index, columns=assets, copy=False
        )

    def __repr__(self) -> str:
        D, N = self.matrices.shape[:2]
        labels = self.rows if self.dates is None else self.dates
        pairs = D - int(self.complete.sum())
        return (
            f"RollingCovariance({D} dates from {labels[0]} to {labels[-1]}, {N} assets"
            + (f", {pairs} with missing observations" if pairs else "")
            + (f", {self.drift!r})" if self.drift is not None else ")")
        )


@dataclass(frozen=True, slots=True, eq=False)
class RollingResults(Value):
    """What a callback made of each matrix: a sequence of (D,) results.

    Attributes
    ----------
    rows, complete, drift, dates
        As in `RollingCovariance`.
    values : tuple
        (D,) what the callback returned, in the order of the dates.
    """

    rows: np.ndarray
    values: tuple
    complete: np.ndarray
    drift: Drift | None = None
    dates: Any = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        rows = frozen_array(self.rows, name="rows", ndim=1, dtype=np.int64)
        put(self, "rows", rows)
        put(self, "values", tuple(self.values))
        put(
            self,
            "complete",
            frozen_array(
                self.complete, name="complete", ndim=1, dtype=np.bool_, shape=rows.shape
            ),
        )
        if len(self.values) != rows.size:
            raise DataError(
                "results do not match the dates",
                received=len(self.values),
                expected=rows.size,
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, position: int) -> Any:
        """Result by position among the dates."""
        return self.values[position]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __repr__(self) -> str:
        drift = "" if self.drift is None else f", {self.drift!r}"
        return f"RollingResults({len(self)} dates{drift})"


def _like(labels: Any, date: Any) -> Any:
    """Read text as a date where the labels are dates."""
    if getattr(getattr(labels, "dtype", None), "kind", "") == "M":
        import pandas as pd

        return pd.Timestamp(date)
    return date
