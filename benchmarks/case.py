"""What a benchmark case is, and the returns that cases share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Thunk = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes
    ----------
    name : str
    sizes : mapping label -> keyword arguments of ``build``
        ``small`` serves the parity tests; the others are timed.
    build : callable
        Returns candidates by name, each a function without arguments.
    tolerance : float
        Largest relative difference of an answer from ours; NaN where the candidates
        draw different random numbers: then the spread of each column must agree
        within a quarter.
    """

    name: str
    sizes: Mapping[str, Mapping[str, Any]]
    build: Callable[..., dict[str, Thunk]]
    tolerance: float = 1e-10


def returns(T: int, N: int, seed: int = 1) -> np.ndarray:
    """Correlated fat-tailed returns of daily size, (T, N)."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(T, 1)) * 0.008
    return common + rng.standard_t(5, size=(T, N)) * 0.012
