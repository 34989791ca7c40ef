"""What is estimated: mean loss, tail probability, VaR, ES, or any mean of a function.

Every functional is a mean of one value per scenario, once its threshold is known, so
that one error formula per sampling method serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine._base import Value
from engine.errors import ModelError, UsageError

Kind = Literal["mean", "tail", "var", "es", "callable"]


@dataclass(frozen=True, slots=True, eq=False)
class Functional(Value):
    """A functional of the loss. Make one with the functions of this module.

    Attributes
    ----------
    kind : {"mean", "tail", "var", "es", "callable"}
    parameter : float
        The threshold of a tail probability, the level of VaR and ES; else NaN.
    function : callable or None
    """

    kind: Kind
    parameter: float = float("nan")
    function: Callable[[np.ndarray], np.ndarray] | None = None

    def __repr__(self) -> str:
        name = {"mean": "mean loss", "tail": "P(loss >", "var": "VaR", "es": "ES"}
        if self.kind == "tail":
            return f"P(loss > {self.parameter:g})"
        if self.kind == "callable":
            return f"E[{getattr(self.function, '__name__', 'function')}(loss)]"
        return name[self.kind] + (
            "" if self.kind == "mean" else f" {100 * self.parameter:g}%"
        )

    def values(self, losses: np.ndarray, threshold: float) -> np.ndarray:
        """(n,) values whose mean is the functional.

        For ES its excess over the threshold; for VaR the tail indicators, from whose
        mean the quantile and its error follow.
        """
        if self.kind == "mean":
            return losses
        if self.kind == "es":
            return np.maximum(losses - threshold, 0.0) / (1.0 - self.parameter)
        if self.function is None:
            return (losses > threshold).astype(np.float64)
        result = np.asarray(self.function(losses), dtype=np.float64)
        if result.shape != losses.shape or not np.isfinite(result).all():
            raise UsageError(
                "the function must return one finite number per loss",
                received=f"shape {result.shape}",
                expected=losses.shape,
            )
        return result


def mean_loss() -> Functional:
    """E[L].

    Returns
    -------
    Functional
        For `estimate` and `scenarios`.
    """
    return Functional("mean")


def tail_probability(threshold: float) -> Functional:
    """P(L > threshold); the threshold is a loss as a decimal.

    Parameters
    ----------
    threshold : float
        Loss in decimals of net assets.

    Returns
    -------
    Functional
        For `estimate` and `scenarios`.
    """
    if not is_real(threshold):
        raise UsageError("the threshold must be finite", received=repr(threshold))
    return Functional("tail", float(threshold))


def value_at_risk(level: float = 0.95) -> Functional:
    """Smallest l with P(L <= l) >= level.

    Parameters
    ----------
    level : float
        Confidence in (0, 1).

    Returns
    -------
    Functional
        For `estimate` and `scenarios`.
    """
    return Functional("var", _level(level))


def expected_shortfall(level: float = 0.95) -> Functional:
    """``min_v v + E[(L - v)+]/(1 - level)`` (Rockafellar, Uryasev 2000).

    Parameters
    ----------
    level : float
        Confidence in (0, 1).

    Returns
    -------
    Functional
        For `estimate` and `scenarios`.
    """
    return Functional("es", _level(level))


def expectation(function: Callable[[np.ndarray], np.ndarray]) -> Functional:
    """E[function(L)]; the function maps losses (n,) to (n,).

    Parameters
    ----------
    function : callable
        From (n,) losses to (n,) finite values.

    Returns
    -------
    Functional
        For `estimate` and `scenarios`.
    """
    if not callable(function):
        raise UsageError("expectation takes a function", received=repr(function))
    return Functional("callable", function=function)


def _level(level: float) -> float:
    if not is_real(level) or not 0.0 < level < 1.0:
        raise UsageError(
            "level lies in (0, 1)", received=repr(level), fix="Use 0.95 for 95%."
        )
    return float(level)


def is_real(value: object) -> bool:
    """Whether a value is one finite number, and no truth value."""
    if isinstance(value, (bool, np.bool_)):
        return False
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def quantile(losses: np.ndarray, mass: np.ndarray, functional: Functional) -> float:
    """The VaR at the functional's level; ModelError where the sample is short of it."""
    value = upper_quantile(losses, mass, 1.0 - functional.parameter)
    if np.isnan(value):
        raise ModelError(
            f"the sample does not reach {functional!r}",
            fix="Draw more, or use an importance target nearer the quantile.",
        )
    return value


def upper_quantile(losses: np.ndarray, mass: np.ndarray, tail: float) -> float:
    """Smallest loss exceeded with mass at most ``tail``; NaN if all of it is less.

    Mass (n,) may add to something other than one: only the tail is used.
    """
    order = np.argsort(-losses, kind="stable")
    total = np.cumsum(mass[order])
    k = int(np.searchsorted(total, tail * (1.0 + 1e-12), side="right"))
    return float(losses[order[k]]) if k < losses.size else float("nan")
