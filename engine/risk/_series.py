"""Tables of numbers through time as the measures read them: labels kept, gaps refused.

A vector or Series is one column; a matrix or DataFrame is one column an asset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._typing import Matrix
from engine.errors import DataError


@dataclass(frozen=True, slots=True)
class Table:
    """Values (T, M) with what is needed to give an answer the shape of the question."""

    values: Matrix
    source: Any

    def per_column(self, answer: np.ndarray) -> Any:
        """Return one number for a vector, a Series for a frame, else an array."""
        if np.ndim(self.source) == 1:
            return float(answer[0])
        if hasattr(self.source, "columns"):
            import pandas as pd

            return pd.Series(answer, index=self.source.columns)
        return answer

    def like(self, answer: Matrix) -> Any:
        """Return values laid out as the source was."""
        if np.ndim(self.source) == 1:
            answer = answer[:, 0]
            if hasattr(self.source, "index") and hasattr(self.source, "name"):
                import pandas as pd

                return pd.Series(answer, index=self.source.index, name=self.source.name)
            return answer
        if hasattr(self.source, "columns"):
            import pandas as pd

            return pd.DataFrame(
                answer, index=self.source.index, columns=self.source.columns
            )
        return answer

    def refuse(self, bad: np.ndarray, message: str, **details: Any) -> None:
        """Raise `DataError` at the first True of ``bad`` (T, M)."""
        if not bad.any():
            return
        t, i = (int(v) for v in np.argwhere(bad)[0])
        columns = getattr(self.source, "columns", None)
        name = getattr(self.source, "name", None) if columns is None else columns[i]
        index = getattr(self.source, "index", None)
        raise DataError(
            message,
            asset=None if name is None else str(name),
            date=f"row {t}" if index is None else index[t],
            received=self.values[t, i],
            **details,
        )


def read(source: Any, what: str = "returns") -> Table:
    """Read a (T,) or (T, M) source; `DataError` names the column and date of a gap."""
    if not hasattr(source, "iloc"):  # pandas keeps its labels
        source = np.asarray(source)
    try:
        values = np.asarray(source, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are not numeric: {error}") from error
    if values.ndim not in (1, 2) or not values.size:
        raise DataError(
            f"{what} must be a non-empty (T,) or (T, N) table",
            received=f"shape {values.shape}",
        )
    table = Table(values.reshape(values.shape[0], -1), source)
    table.refuse(
        ~np.isfinite(table.values),
        f"{what} hold a gap",
        fix="Drop or fill it first: a drawdown or deviation over a gap is a choice.",
    )
    return table
