"""What all value types share: frozen fields, read-only arrays, safe pickling.

A value type is a ``@dataclass(frozen=True, slots=True, eq=False)`` that derives from
`Value` and freezes its arrays in ``__post_init__``. NumPy drops the read-only flag
when an array is pickled, and a frozen slots dataclass would restore fields without
running its checks; `Value.__reduce__` rebuilds the object and freezes again.
"""

from __future__ import annotations

import html
from dataclasses import fields
from typing import Any

import numpy as np

from engine.errors import DataError

_PIECE = 65_536


def frozen_array(
    values: Any,
    *,
    name: str,
    ndim: int,
    dtype: Any = np.float64,
    shape: tuple[int, ...] | None = None,
    finite: bool = True,
) -> np.ndarray:
    """Return a contiguous read-only array that no caller can change.

    Parameters
    ----------
    values : array_like
        Copied unless it is already immutable, contiguous and of the right type.
    name : str
        Used in the messages.
    ndim, dtype, shape : optional
        Checked; ``shape`` entries of -1 match anything.
    finite : bool, default True
        Refuse NaN and infinities in floating arrays.
    """
    try:
        if isinstance(values, np.ma.MaskedArray):  # what lies under a mask is a gap
            values = np.ma.filled(values.astype(np.float64), np.nan)
        array = np.asarray(values)
        if dtype is np.float64 and array.dtype.kind not in "fiub":
            raise TypeError(f"holds {array.dtype} values")
        array = np.ascontiguousarray(array, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not numeric: {error}") from error
    if array.ndim != ndim:
        raise DataError(
            f"{name} has the wrong number of axes",
            received=f"shape {array.shape}",
            expected=f"{ndim} axes",
        )
    if shape is not None and any(
        want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        raise DataError(
            f"{name} has the wrong shape", received=array.shape, expected=shape
        )
    if finite and array.dtype.kind == "f" and not _all_finite(array):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"{name} holds a non-finite number",
            received=f"{array[where]} at position {where}",
        )
    if _mutable(array):
        array = array.copy() if array is values or _shares(array, values) else array
        array.setflags(write=False)
    return array


def _all_finite(array: np.ndarray) -> bool:
    """Whether every entry is finite, looked at in pieces that stay in the cache."""
    flat = array.reshape(-1)
    return all(
        bool(np.isfinite(flat[i : i + _PIECE]).all())
        for i in range(0, flat.size, _PIECE)
    )


def _shares(array: np.ndarray, values: Any) -> bool:
    return not isinstance(values, np.ndarray) or np.shares_memory(array, values)


def _mutable(array: np.ndarray) -> bool:
    """Whether anyone can write to the memory behind ``array``."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return True
        base = base.base
    return base is not None and not isinstance(base, bytes)


def _refreeze(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value.setflags(write=False)
    return value


def _rebuild(cls: type, values: tuple) -> Any:
    self = object.__new__(cls)
    for field, value in zip(fields(cls), values, strict=True):
        object.__setattr__(self, field.name, _refreeze(value))
    return self


class Value:
    """Base of the frozen, labelled value types."""

    __slots__ = ()

    def __reduce__(self):
        values = tuple(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
        return _rebuild, (type(self), values)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def check_labels(labels: Any, *, name: str, what: str = "asset") -> tuple[str, ...]:
    """Return labels as a tuple of distinct non-empty strings, or raise `DataError`."""
    if isinstance(labels, str):
        raise DataError(
            f"{name} must be a list of labels", received=f"the text {labels!r}"
        )
    result = tuple(labels)
    seen: set[str] = set()
    for label in result:
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{name} holds an empty or non-text label", received=label)
        if label in seen:
            raise DataError(
                f"duplicate {what} in {name}",
                asset=label,
                fix="Give each one once; merge or rename the others.",
            )
        seen.add(label)
    return result


def html_table(frame: Any, *, digits: int = 4, max_rows: int = 20) -> str:
    """Return a table as escaped HTML with ``digits`` significant digits."""
    return frame.to_html(
        index=False,
        escape=True,
        max_rows=max_rows,
        float_format=lambda x: f"{x:.{digits}g}",
    )
