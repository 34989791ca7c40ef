"""Input checks shared by the estimators, and labels out as they came in."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import DataError, ModelError


def observations(X: Any, *, minimum: int = 2) -> tuple[np.ndarray, Any]:
    """Return finite float observations (T, N) and the labels of a DataFrame or None.

    Raises
    ------
    DataError
        Not numeric, not two-dimensional, or holding NaN or infinities: the message
        names the column and the row.
    ModelError
        Fewer than ``minimum`` rows, or a column so large that its square overflows.
    """
    labels = getattr(X, "columns", None)
    if labels is not None:
        _check_columns(X)
    try:
        if labels is not None:
            values = X.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = np.asarray(X)
        if values.dtype.kind not in "fiub":
            raise TypeError(f"holds {values.dtype} values")
        values = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"observations are not numeric: {error}") from error
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(
            "observations must be a table of dates by assets",
            received=f"shape {values.shape}",
            expected="(T, N)",
        )
    bad = ~np.isfinite(values)
    if bad.any():
        t, i = (int(v) for v in np.argwhere(bad)[0])
        raise DataError(
            "an observation is missing or infinite",
            asset=column_name(labels, i),
            date=str(X.index[t]) if labels is not None else f"row {t}",
            received=values[t, i],
            fix="Drop the row or the asset, or use a pairwise estimator.",
        )
    if values.shape[0] < minimum:
        raise ModelError(
            "too few observations",
            received=values.shape[0],
            expected=f"at least {minimum}",
        )
    largest = np.abs(values).max(axis=0)
    if (largest > 1e150).any():
        i = int(np.argmax(largest))
        raise ModelError(
            "the square of an observation overflows",
            asset=column_name(labels, i),
            received=largest[i],
            fix="Rescale: returns are decimals.",
        )
    return values, labels


def _check_columns(X: Any) -> None:
    """Refuse a column of a DataFrame that holds text, dates or objects, by name."""
    for i, dtype in enumerate(X.dtypes):
        if getattr(dtype, "kind", "O") not in "fiub":
            raise DataError(
                "observations are not numeric",
                asset=str(X.columns[i]),
                received=f"{dtype} values",
                fix="Convert the column to numbers, or drop it.",
            )


def column_name(labels: Any, i: int) -> str:
    """Name of a column in a message."""
    return str(labels[i]) if labels is not None else f"column {i}"


def labelled(matrix: np.ndarray, labels: Any) -> Any:
    """Return the matrix, or a DataFrame when the input was one."""
    if labels is None:
        return matrix
    import pandas as pd

    return pd.DataFrame(matrix, index=labels, columns=labels)
