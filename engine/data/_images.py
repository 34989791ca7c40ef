"""Copy-on-write images of large read-only arrays.

`PricePanel.as_of` at a moment between two closes differs from its panel in the last
rows only. An image maps the panel's numbers privately: the operating system keeps one
copy of every page until it is written to, so a thousand such views cost a thousand
times a few pages. Where no file can be mapped, or the array is small, an image is an
ordinary copy with the same contents.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import threading
import weakref

import numpy as np

SMALLEST = 1 << 20
"""Bytes below which copying is cheaper than mapping."""

_files: dict[int, int] = {}
_lock = threading.Lock()


def image(values: np.ndarray, rows: int) -> np.ndarray:
    """Writable image of the first ``rows`` rows of a read-only array.

    Parameters
    ----------
    values : (T, N) array
        Nobody may write to it: its numbers are stored once, on first use.
    rows : int

    Returns
    -------
    (rows, N) array
        Writing to it changes neither ``values`` nor any other image.
    """
    root = _root(values)
    if root.nbytes < SMALLEST or not root.flags.c_contiguous or root.flags.writeable:
        return values[:rows].copy()
    try:
        memory = mmap.mmap(_file_of(root), root.nbytes, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):  # no space, no such file system, too many maps
        return values[:rows].copy()
    mapped = np.frombuffer(memory, dtype=root.dtype).reshape(root.shape)
    return mapped[:rows]


def _root(values: np.ndarray) -> np.ndarray:
    """The array whose first rows ``values`` is, so that views of views share a file."""
    while (
        isinstance(values.base, np.ndarray)
        and values.base.dtype == values.dtype
        and values.base.shape[1:] == values.shape[1:]
        and values.base.ctypes.data == values.ctypes.data
        and values.base.strides == values.strides
    ):
        values = values.base
    return values


def _file_of(root: np.ndarray) -> int:
    """Descriptor of the file that holds the array's bytes; closed with the array."""
    key = id(root)
    with _lock:
        if key in _files:
            return _files[key]
        handle = _write(root)
        _files[key] = handle
        weakref.finalize(root, _close, key)
        return handle


def _write(root: np.ndarray) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("ballast-image")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    try:
        view = root.data.cast("B")
        done = 0
        while done < len(view):
            done += os.write(handle, view[done:])
    except OSError:
        os.close(handle)
        raise
    return handle


def _close(key: int) -> None:
    handle = _files.pop(key, None)
    if handle is not None:
        with contextlib.suppress(OSError):
            os.close(handle)
