"""Progress of long work: a callable of one's own, or a bar of tqdm."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

Progress = Callable[[int, int, str], Any]


@contextlib.contextmanager
def reporting(progress: Progress | bool | None, title: str) -> Iterator[Progress]:
    """Yield a callable ``(done, total, message)`` for ``progress``.

    Parameters
    ----------
    progress : callable, bool or None
        A callable is passed through; True shows a bar (in a notebook a widget, where
        its packages are installed); False and None show nothing.
    title : str
        What stands before the bar.
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda done, total, message: None
        return
    from tqdm.auto import tqdm

    with tqdm(desc=title) as bar:

        def show(done: int, total: int, message: str) -> None:
            bar.total = total
            bar.set_postfix_str(message, refresh=False)
            bar.update(done - bar.n)

        yield show
