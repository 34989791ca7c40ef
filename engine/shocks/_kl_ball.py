"""The worst probabilities within a ball of relative entropy.

``max sum q L`` over ``sum q ln(q/p) <= kappa`` has ``q ∝ p exp(theta L)``, theta the
root of ``KL(theta) = kappa`` (Breuer and Csiszar 2013, "Systematic stress tests with
entropic plausibility constraints", J. Banking & Finance 37). Where kappa reaches
``-ln p(L = max L)`` all mass goes to the largest loss and no theta is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine._base import Value
from engine._typing import Vector
from engine.errors import DataError, UsageError

_ALWAYS = np.datetime64("1970-01-01")


class Tilted(NamedTuple):
    """Worst probabilities and what they give."""

    p: Vector
    loss: float
    """Mean loss under ``p``."""
    theta: float
    """Tilt, per unit of loss; infinite where all mass is on the largest loss."""
    relative_entropy: float


def kl_worst_probabilities(losses: Any, kappa: float, *, p: Any = None) -> Tilted:
    """Probabilities of largest mean loss within relative entropy ``kappa`` of p.

    Parameters
    ----------
    losses : (S,) array_like
        Losses positive; no NaN.
    kappa : float
        Radius, positive, in nats. For a Gaussian loss of deviation s the worst mean
        is ``mean + s sqrt(2 kappa)``: kappa = k^2/2 compares with a radius k.
    p : (S,) array_like, optional
        Prior, sum one; equal by default.

    Returns
    -------
    Tilted

    Raises
    ------
    UsageError
        kappa is not positive.
    DataError
        Losses or probabilities that cannot be.
    """
    if isinstance(kappa, bool) or not (
        isinstance(kappa, (int, float, np.integer, np.floating))
        and 0.0 < kappa < np.inf
    ):
        raise UsageError("kappa must be positive", received=repr(kappa))
    L = np.asarray(losses, dtype=np.float64)
    if L.ndim != 1 or not L.size or not np.isfinite(L).all():
        raise DataError(
            "losses must be a non-empty finite vector", received=f"shape {L.shape}"
        )
    prior = np.full(L.size, 1.0 / L.size) if p is None else np.asarray(p, np.float64)
    if prior.shape != L.shape or not np.isfinite(prior).all() or (prior < 0).any():
        raise DataError(
            "probabilities do not match the losses, or are negative",
            received=f"shape {prior.shape}",
            expected=f"{L.shape}",
        )
    if abs(prior.sum() - 1.0) > 1e-9:
        raise DataError("probabilities must sum to one", received=f"{prior.sum():.9f}")
    live = prior > 0
    top = float(L[live].max())
    scale = top - float(L[live].min())
    at_top = live & (L == top)
    ceiling = -float(np.log(prior[at_top].sum()))
    if scale == 0.0:  # one loss only: nothing to tilt
        return Tilted(prior / prior.sum(), top, 0.0, 0.0)
    if kappa >= ceiling:
        q = np.where(at_top, prior, 0.0)
        return Tilted(q / q.sum(), top, float("inf"), ceiling)
    u = (L[live] - top) / scale  # in [-1, 0]: exponents cannot overflow
    r = prior[live]

    def tilt(a: float) -> tuple[Vector, float]:
        e = np.exp(a * u)
        mass = float(r @ e)
        q = r * e / mass
        return q, a * float(q @ u) - float(np.log(mass))

    from scipy.optimize import brentq

    high = 1.0
    while tilt(high)[1] < kappa and high < 1e300:
        high *= 2.0
    a = float(brentq(lambda a: tilt(a)[1] - kappa, 0.0, high, xtol=1e-14))
    q, entropy = tilt(a)
    out = np.zeros_like(prior)
    out[live] = q / q.sum()
    return Tilted(out, float(out @ L), a / scale, float(entropy))


@dataclass(frozen=True, slots=True, eq=False)
class KLWorstCase(Value):
    """Reweight scenarios against a book, within a ball of relative entropy.

    Attributes
    ----------
    weights : Portfolio, mapping or (N,) array_like
        The book.
    kappa : float
        Radius in nats, positive.
    name : str
    known_from : datetime64
        Nothing of its own to know: the day of the scenarios will do.
    """

    weights: Any
    kappa: float
    name: str = "kl-worst-case"
    known_from: np.datetime64 = _ALWAYS

    def __post_init__(self) -> None:
        kl_worst_probabilities(np.array([0.0, 1.0]), self.kappa)

    @property
    def citation(self) -> str:
        """Where the numbers come from."""
        return f"largest mean loss within {self.kappa:g} nats (Breuer, Csiszar 2013)"

    def reweight(self, scenarios: Any) -> Any:
        """Return the scenarios under their worst probabilities for the book."""
        found = kl_worst_probabilities(
            scenarios.losses(self.weights), self.kappa, p=scenarios.p
        )
        return scenarios.reweight(found.p)

    def __repr__(self) -> str:
        return f"KLWorstCase(kappa {self.kappa:g})"
