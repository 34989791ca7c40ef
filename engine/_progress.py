"""Progress of long work: a callable of one's own, or a bar of tqdm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[int, int, str], Any]


def reporter(progress: Progress | bool | None, title: str) -> Progress | None:
    """Return a callable ``(done, total, message)``, or None where nothing is shown.

    Parameters
    ----------
    progress : callable, bool or None
        A callable is returned as it is; True makes a bar (in a notebook a widget, where
        its packages are installed) that closes with the last step.
    title : str
        What stands before the bar.
    """
    if callable(progress):
        return progress
    if not progress:
        return None
    from tqdm.auto import tqdm

    bar = tqdm(desc=title)

    def show(done: int, total: int, message: str) -> None:
        bar.total = total
        bar.set_postfix_str(message, refresh=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
