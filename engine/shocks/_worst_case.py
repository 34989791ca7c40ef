"""The worst scenario within a radius of plausibility, and the nearest that loses L.

Over ``(x - mu)' S^-1 (x - mu) <= k^2`` a linear loss is worst at
``mu - k S w / s_p`` (Studer 1999; Breuer, Jandacka, Rheinberger, Summer 2009, IJCB 5);
a quadratic one at the solution of a trust-region problem (`engine.shocks._ball`). The
set is defined on the systematic factors: a coverage of N dimensions grows with assets
that do not matter (their "dimensional dependence").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Vector
from engine.data.portfolio import cash_label
from engine.errors import DataError, InfeasibleError, ModelError, UsageError
from engine.shocks._ball import Point, nearest_losing, worst_in_ball
from engine.shocks._book_law import BookLaw, book_law
from engine.shocks._exact import nearest_repriced
from engine.shocks.moves import ShockMoves

_COPIES = 64
"""Equal severity draws: one scenario has no distribution, and quantiles need rows."""
_TAILS = (3.0, 8.0)
"""Degrees of freedom between which daily equity returns are usually found."""


@dataclass(frozen=True, slots=True, eq=False)
class PlausibleShock(Value):
    """One scenario found by search: a shock that pushes returns.

    Attributes
    ----------
    name, citation : str
    known_from : datetime64
        The model's ``as_of``: what the search has seen.
    assets : tuple of str, length N
    deviation : (N,) float64
        From the mean over the horizon, in the model's return kind.
    factors : (R,) float64
        The scenario on factors of unit covariance (unit scale for a Student-t).
    loss : float
        By the approximation that was searched, decimals of net asset value; the
        repriced one where there was none.
    repriced : float
        The book's loss at the scenario without approximation.
    distance : float
        Mahalanobis distance from the mean; in scale-matrix units for a Student-t.
    multiplier : float
        Loss per unit of distance at the scenario.
    horizon : int
        Sessions.
    base_currency : str
    plausibility : str
        A sentence: dimensions, distance, a range of frequencies under heavy tails.
    return_kind : {"log", "simple"}
    """

    name: str
    citation: str
    known_from: np.datetime64
    assets: tuple[str, ...]
    deviation: np.ndarray
    factors: np.ndarray
    loss: float
    repriced: float
    distance: float
    multiplier: float
    horizon: int
    base_currency: str
    return_kind: str
    plausibility: str

    def __post_init__(self) -> None:
        put = object.__setattr__
        n = len(self.assets)
        put(
            self,
            "deviation",
            frozen_array(self.deviation, name="deviation", ndim=1, shape=(n,)),
        )
        put(self, "factors", frozen_array(self.factors, name="factors", ndim=1))

    @property
    def scenario(self) -> Vector:
        """(N,) simple move of each asset from its mean."""
        return np.expm1(self.deviation) if self.return_kind == "log" else self.deviation

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Move of each asset of a universe; base-currency cash does not move."""
        where = {a: i for i, a in enumerate(self.assets)}
        cash = cash_label(self.base_currency)
        x = self.scenario
        central = np.zeros(len(universe.tickers))
        for i, ticker in enumerate(universe.tickers):
            if ticker in where:
                central[i] = x[where[ticker]]
            elif ticker != cash:
                raise DataError(
                    f"shock {self.name} was found without this asset",
                    asset=ticker,
                    fix="Search on a model that has it.",
                )
        words = f"{self.name}: {self.distance:.2f} from the mean"
        return ShockMoves(
            assets=universe.tickers,
            central=central,
            draws=np.tile(central, (_COPIES, 1)),
            driver=np.full(_COPIES, -self.loss),
            basis=(words,) * central.size,
            parts={"scenario": np.log1p(central)},
        )

    def rank(self, losses: Any) -> tuple[int, int]:
        """How many of some losses are at least the repriced one, and of how many."""
        values = np.asarray(losses, dtype=np.float64)
        return int((values >= self.repriced).sum()), int(values.size)

    def to_frame(self):
        """Return one row per asset: its simple move from the mean."""
        import pandas as pd

        return pd.DataFrame({"asset": self.assets, "move": self.scenario})

    def __repr__(self) -> str:
        return (
            f"PlausibleShock({self.name!r}, loss {self.loss:.2%} over {self.horizon} "
            f"sessions, repriced {self.repriced:.2%}, distance {self.distance:.2f})"
        )


def worst_case(
    model: Any,
    weights: Any,
    *,
    radius: float | None = None,
    coverage: float | None = None,
    distribution: str = "normal",
    dof: float | None = None,
    loss: str = "linear",
    gamma: Any = None,
    systematic: bool = True,
    horizon: int = 1,
    name: str = "worst-case",
) -> PlausibleShock:
    """Scenario within a radius of plausibility at which a book loses most.

    Parameters
    ----------
    model : ReturnModel
    weights : Portfolio, mapping or (N + 1,) array_like
        Fractions of net assets, of the model's assets and then base-currency cash.
    radius : float
        k > 0: Mahalanobis distance, in units of the covariance; of the scale matrix
        for ``student_t``.
    coverage : float, optional
        In place of ``radius``: probability that the systematic factors lie within.
        ``k^2 = chi2_R(coverage)``, or ``R F_{R,nu}(coverage)`` for a Student-t. It
        depends on the number R of factors, relevant to the book or not; refused
        without ``systematic``, where R would be the number of assets.
    distribution : {"normal", "student_t"}
    dof : float, optional
        For ``student_t``; default the model's. Over several periods the ellipsoid is
        that of one period, scaled.
    loss : {"linear", "quadratic"}
        Linear: ``-w'x``. Quadratic: ``-w'x - x'Gamma x/2``; by default the
        second-order loss of log returns, ``Gamma = diag(w)`` (zero for simple returns).
    gamma : (N,) or (N, N) array_like, optional
        Gamma, or its diagonal; positive where convexity is owned.
    systematic : bool, default True
        Search the factors of a `FactorCovariance`; with a dense covariance the market
        and the AI basket. Specific returns stay at their conditional expectation.
        Otherwise every asset is free.
    horizon : int, default 1
        Sessions.
    name : str
        Label of the shock.

    Returns
    -------
    PlausibleShock

    Raises
    ------
    DataError
        A weight names an unknown asset.
    UsageError
        A radius that is not positive; options that do not belong together.
    ModelError
        Singular covariance; a simple-return scenario that loses all of an asset.
    """
    law = book_law(
        model,
        weights,
        loss=loss,
        gamma=gamma,
        distribution=distribution,
        dof=dof,
        systematic=systematic,
        horizon=horizon,
    )
    k = _radius(radius, coverage, law, systematic)
    point = worst_in_ball(law.c, law.g, law.H, k)
    return _result(model, law, point, name, f"worst {loss} loss within {k:.3g}")


def most_plausible(
    model: Any,
    weights: Any,
    loss: float,
    *,
    approximation: str = "exact",
    gamma: Any = None,
    distribution: str = "normal",
    dof: float | None = None,
    systematic: bool = True,
    horizon: int = 1,
    name: str = "reverse",
) -> PlausibleShock:
    """Scenario nearest to the mean at which a book loses at least ``loss``."""
    L = positive_loss(loss)
    exact = approximation == "exact"
    law = book_law(
        model,
        weights,
        loss="linear" if exact else approximation,
        gamma=gamma,
        distribution=distribution,
        dof=dof,
        systematic=systematic,
        horizon=horizon,
    )
    exact = exact and law.log  # simple returns are linear as they stand
    point = (
        nearest_repriced(law, L) if exact else nearest_losing(law.c, law.g, law.H, L)
    )
    if not isinstance(point, Point):
        raise InfeasibleError(
            "no scenario of the model loses that much of this book",
            received=f"{L:.4%}",
            expected=f"at most {point:.4%}, the largest {approximation} loss",
            fix="Ask for less, or search with systematic=False.",
        )
    what = f"nearest scenario losing {L:.2%}"
    return _result(model, law, point, name, what, exact=exact)


def positive_loss(loss: Any) -> float:
    """Return the loss if it is a positive number."""
    if (
        isinstance(loss, bool)
        or not isinstance(loss, (int, float, np.integer, np.floating))
        or not 0.0 < loss < np.inf
    ):
        raise UsageError(
            "the loss to reach is a positive number",
            received=repr(loss),
            expected="0.1 for a tenth of net assets",
        )
    return float(loss)


def _radius(
    radius: Any, coverage: float | None, law: BookLaw, systematic: bool
) -> float:
    if (radius is None) == (coverage is None):
        raise UsageError("give either radius or coverage")
    if coverage is None:
        if not isinstance(radius, (int, float, np.integer, np.floating)) or (
            isinstance(radius, bool) or not 0.0 < radius < np.inf
        ):
            raise UsageError("radius must be positive", received=repr(radius))
        return float(radius)
    if not systematic:
        raise UsageError(
            "a coverage of every asset grows with assets that do not matter",
            fix="Use systematic=True, or give a radius.",
        )
    if not 0.0 < coverage < 1.0:
        raise UsageError("coverage lies in (0, 1)", received=coverage)
    from scipy import stats

    R = law.dimensions
    if np.isinf(law.dof):
        return float(np.sqrt(stats.chi2.ppf(coverage, R)))
    return float(np.sqrt(R * stats.f.ppf(coverage, R, law.dof)))


def _result(
    model: Any,
    law: BookLaw,
    point: Point,
    name: str,
    what: str,
    *,
    exact: bool = False,
) -> PlausibleShock:
    deviation = law.A @ point.z
    if not law.log and (deviation <= -1.0).any():
        i = int(np.argmin(deviation))
        raise ModelError(
            "the scenario loses all or more of an asset",
            asset=model.assets[i],
            received=float(deviation[i]),
            fix="Use log returns, or a smaller radius or loss.",
        )
    distance = float(np.linalg.norm(point.z))
    units = "" if np.isinf(law.dof) else f" (scale matrix, t dof {law.dof:.3g})"
    return PlausibleShock(
        name=name,
        citation=f"{what}, {law.dimensions} dimensions, model as of {model.as_of}",
        known_from=model.as_of,
        assets=model.assets,
        deviation=deviation,
        factors=point.z,
        loss=point.loss,
        repriced=law.repriced(deviation),
        distance=distance,
        multiplier=point.slope,
        horizon=law.horizon,
        base_currency=model.base_currency,
        return_kind=model.return_kind,
        plausibility=f"{distance:.2f} from the mean in {law.dimensions} dimensions"
        f"{units}; {_frequency(law, point, exact)}",
    )


def _frequency(law: BookLaw, point: Point, exact: bool) -> str:
    """How often the book loses that much, under heavy tails: a range, never a point.

    A repriced loss is put back on the book's own scale by its distance: 20% lost is
    22.3% in logs, and as rare as that.
    """
    from scipy.stats import t

    if law.deviation <= 0.0:
        return "the book has no risk"
    size = (point.loss - law.c) / law.deviation
    if exact:
        size = float(np.linalg.norm(point.z) * np.linalg.norm(law.g)) / law.deviation
    if size <= 0.0:
        return "no worse than the mean scenario"
    odds = [1.0 / float(t.sf(size * np.sqrt(nu / (nu - 2.0)), nu)) for nu in _TAILS]
    rare, often = max(odds), min(odds)
    return (
        f"a loss of {size:.1f} deviations of the book, once in {often:,.0f} to "
        f"{rare:,.0f} such horizons under Student-t tails of {_TAILS[0]:g} to "
        f"{_TAILS[1]:g} degrees of freedom"
    )
