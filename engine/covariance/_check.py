"""Input checks shared by the estimators, and labels out as they came in."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import DataError, ModelError

LARGEST = 1e150
SMALLEST = 1e-150


def observations(X: Any, *, minimum: int = 2) -> tuple[np.ndarray, Any]:
    """Return finite float observations (T, N) and the labels of a DataFrame or None.

    Raises
    ------
    DataError
        Not numeric, not two-dimensional, or holding NaN or infinities: the message
        names the column and the row.
    ModelError
        Fewer than ``minimum`` rows, or a column so large or so small that its square
        overflows or vanishes.
    """
    values, labels = table(X)
    enough(values, X, labels, minimum)
    # Extremes of each column: one pass each without temporaries, and NaN shows in both.
    high, low = values.max(axis=0), values.min(axis=0)
    largest = np.maximum(high, -low)
    if not (largest <= LARGEST).all():
        _check_finite(values, X, labels)
        i = int(np.argmax(largest))
        raise ModelError(
            "the square of an observation overflows",
            asset=column_name(labels, i),
            received=largest[i],
            fix="Rescale: returns are decimals.",
        )
    tiny = (largest < SMALLEST) & (largest > 0)
    if tiny.any():
        i = int(np.argmax(tiny))
        raise ModelError(
            "the square of an observation underflows to zero",
            asset=column_name(labels, i),
            received=largest[i],
            fix="Rescale: returns are decimals.",
        )
    return values, labels


def enough(values: np.ndarray, X: Any, labels: Any, minimum: int) -> None:
    """Refuse fewer than ``minimum`` rows; a hole in those there are is named first."""
    if values.shape[0] < minimum:
        _check_finite(values, X, labels)
        raise ModelError(
            "too few observations",
            received=values.shape[0],
            expected=f"at least {minimum}",
        )


def table(X: Any) -> tuple[np.ndarray, Any]:
    """Return float observations (T, N), NaN allowed, and the labels or None."""
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
    return values, labels


def _check_finite(values: np.ndarray, X: Any, labels: Any) -> None:
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


def centred(values: np.ndarray) -> np.ndarray:
    """Observations less the mean of their column; zero where a column never moves.

    The mean of a constant differs from it by rounding, and the variance left over would
    be divided by as if it meant something.
    """
    Y = values - values.mean(axis=0)
    ends = np.flatnonzero(values[0] == values[-1])
    if ends.size:
        Y[:, ends[(values[:, ends] == values[0, ends]).all(axis=0)]] = 0.0
    return Y


def scaled(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Observations in a unit in which fourth powers neither overflow nor vanish.

    The unit is a power of two, so that nothing is rounded; one, and no copy, for
    ordinary numbers.
    """
    largest = float(max(values.max(), -values.min()))
    if largest == 0 or 2.0**-60 < largest < 2.0**60:
        return values, 1.0
    unit = float(np.ldexp(1.0, int(np.frexp(largest)[1])))
    return values / unit, unit


def singular_column(S: np.ndarray) -> tuple[int, str]:
    """Column behind a zero eigenvalue of a covariance, and why, in words."""
    variance = np.diagonal(S)
    still = variance <= 1e-14 * variance.max(initial=0.0)
    if still.any():
        return int(np.argmax(still)), "a column that never moves"
    sigma = np.sqrt(variance)
    R = np.abs(S / np.outer(sigma, sigma))
    np.fill_diagonal(R, 0.0)
    i, j = (int(v) for v in np.unravel_index(R.argmax(), R.shape))
    if R[i, j] > 1.0 - 1e-10:
        return max(i, j), f"the same moves as column {min(i, j)}"
    vector = np.linalg.eigh(S)[1][:, 0]
    return int(np.abs(vector).argmax()), "a combination of the other columns"


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
