"""What a benchmark case is, and the returns that cases share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Thunk = Callable[[], Any]


@dataclass(frozen=True)
class Peer:
    """A candidate in an environment of its own, spoken to over pipes.

    Attributes
    ----------
    target : str
        ``module:function``; the function takes ``inputs``, or the keyword arguments of
        the size, and returns a function without arguments. The module is imported by
        the peer's interpreter from the root of the repository, so it must not import
        what that environment lacks (``benchmarks.case`` needs NumPy alone).
    inputs : callable, optional
        Makes the arrays for the peer, by name, from the arguments of the size. They
        are made here: another NumPy may draw other numbers.
    environment : str
        Name of ``benchmarks/environments/NAME.txt``, the exact pins it needs; empty
        for the interpreter that runs the benchmarks. ``make bench-peers`` builds it.
        A peer whose environment is not there is left out, and the row says so.
    """

    target: str
    inputs: Callable[..., Mapping[str, np.ndarray]] | None = None
    environment: str = ""


@dataclass(frozen=True)
class Partial:
    """A candidate that does a known part of the work, and says so.

    Its answer is compared with the first rows of ours, and its time is multiplied by
    ``factor`` and labelled an extrapolation.
    """

    thunk: Thunk
    factor: float

    def __call__(self) -> Any:
        """Do the part."""
        return self.thunk()


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
    threads : {1, "all"}
        1: one row, every pool held to one thread. "all": a second row beside it with
        as many threads as cores; a ``build`` that has a parameter ``n_jobs`` is given
        that number.
    apart : tuple of str
        Candidates of ``build`` run in a process of their own, in this environment: one
        that is slow to import, spoils its neighbours' thread pools, or may have to be
        stopped after `benchmarks.run.CAP` seconds.
    peers : mapping name -> Peer
        Candidates that ``build`` does not make.
    optional : mapping name -> module
        Candidates that ``build`` makes only where the module is `installed`; elsewhere
        the row says that they are left out.
    """

    name: str
    sizes: Mapping[str, Mapping[str, Any]]
    build: Callable[..., dict[str, Thunk]]
    tolerance: float = 1e-10
    threads: Literal[1, "all"] = 1
    apart: tuple[str, ...] = ()
    peers: Mapping[str, Peer] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)


def installed(module: str) -> bool:
    """Whether an optional candidate can be imported here (torch, for one)."""
    return importlib.util.find_spec(module) is not None


def returns(T: int, N: int, seed: int = 1) -> np.ndarray:
    """Correlated fat-tailed returns of daily size, (T, N)."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, size=(T, 1)) * 0.008
    return common + rng.standard_t(5, size=(T, N)) * 0.012
