"""The model's correlations moved along what pairs share, against one book.

    rho_ij = tanh(arctanh rho_ij + dtheta'z_ij),    dtheta = k S g / sqrt(g'S g)

g is the derivative of the book's volatility by theta and S the covariance of theta
through time (Packham and Woebbeking 2023; with the derivative of its value the sign
turns). Volatilities and means stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine._typing import Matrix
from engine.covariance import (
    ThemeCorrelation,
    ThemeStress,
    correlation_to_covariance,
    split,
)
from engine.covariance._theme import LARGEST
from engine.data.portfolio import cash_label
from engine.errors import DataError, ModelError
from engine.scenarios import ScenarioSet, align_weights


@dataclass(frozen=True, slots=True, eq=False)
class ThemeModelStress(Value):
    """A model under correlations that have moved against a book.

    Attributes
    ----------
    model : ReturnModel
        With the stressed covariance; volatilities as they were.
    base : ReturnModel
        The model given.
    theta : ThemeStress
        Parameters before and after, plausibility, the book's volatility per session
        before and after, and the distance of the repair.
    """

    model: Any
    base: Any
    theta: ThemeStress

    def scenarios(self, scenarios: ScenarioSet) -> ScenarioSet:
        """Return the same scenarios, bent to the stressed correlations.

        ``y -> m + T (y - m)`` in the model's return kind, with the symmetric T that
        moves them least among those with ``T C T' = C*`` (the optimal map between
        normal laws; Olkin and Pukelsheim 1982). Tails, seeds, probabilities and means
        in that kind stay; a sample whose covariance is C has C* afterwards.

        Parameters
        ----------
        scenarios : ScenarioSet
            Of the model's assets, cash beside them; legs keep their probabilities and
            each is bent about its own mean. Paths are dropped.

        Raises
        ------
        DataError
            An asset that the model lacks.
        ModelError
            A singular covariance; a simple return of -100% or less.
        """
        position = {a: i for i, a in enumerate(self.base.assets)}
        cash = cash_label(scenarios.base_currency)
        columns = np.array(
            [k for k, a in enumerate(scenarios.assets) if a in position], dtype=np.intp
        )
        for asset in scenarios.assets:
            if asset not in position and asset != cash:
                raise DataError("the stressed model lacks this asset", asset=asset)
        rows = np.array([position[scenarios.assets[k]] for k in columns])
        T = _bend(
            self.base.dense_covariance()[np.ix_(rows, rows)],
            self.model.dense_covariance()[np.ix_(rows, rows)],
        )
        log = self.base.return_kind == "log"
        returns = np.array(scenarios.returns)
        for code in range(len(scenarios.legs)):
            mine = np.flatnonzero(scenarios.leg == code)
            p = scenarios.p[mine]
            if not p.sum() > 0.0:
                continue
            y = returns[np.ix_(mine, columns)]
            y = np.log1p(y) if log else y
            mean = p @ y / p.sum()
            y = mean + (y - mean) @ T.T
            returns[np.ix_(mine, columns)] = np.expm1(y) if log else y
        return replace(
            scenarios,
            returns=returns,
            model=self.model,
            paths=None,
            notes=(*scenarios.notes, self.model.notes[-1]),
        )

    def to_frame(self):
        """Return theta before and after by feature."""
        return self.theta.to_frame()

    def __repr__(self) -> str:
        t = self.theta
        return (
            f"ThemeModelStress(book volatility {t.risk_before:.3%} to "
            f"{t.risk_after:.3%} per session, {t.plausibility:.2f} deviations of "
            f"theta, repair {t.repair:.4f})"
        )


def theme_stress(
    model: Any,
    theme: ThemeCorrelation,
    weights: Any,
    *,
    plausibility: float = 2.0,
    features: Any = None,
) -> ThemeModelStress:
    """Correlations that hurt a book most, as far as theta has moved before.

    The model's own correlations are the starting point: what theta does not explain of
    a pair stays with it.

    Parameters
    ----------
    model : ReturnModel
    theme : ThemeCorrelation
        Of the model's assets (more are left out): their features, and how far theta
        has moved (`engine.covariance.theme_correlation`).
    weights : Portfolio, mapping or (N + 1,) array_like
        Fractions of net assets; base-currency cash last where an array.
    plausibility : float, default 2
        k: deviations of theta through time.
    features : sequence of str, optional
        Only these move, within the same ellipsoid.

    Returns
    -------
    ThemeModelStress
        The step along the gradient is repeated at the point reached until it stays,
        and the matrix repaired to the nearest correlation matrix where it is none.

    Raises
    ------
    DataError
        An asset without features; weights of unknown assets, or of none.
    ModelError
        A pair whose correlation is one: no finite theta has it.
    """
    lacking = [a for a in model.assets if a not in theme.assets]
    if lacking:
        raise DataError(
            "the theme correlations do not know this asset",
            asset=lacking[0],
            fix="Fit them on returns of all the model's assets.",
        )
    w = align_weights((*model.assets, cash_label(model.base_currency)), weights)[:-1]
    deviation, R = split(model.dense_covariance())
    off = np.abs(R - np.diag(np.diagonal(R)))
    if off.max(initial=0.0) > LARGEST:
        i, j = (int(v) for v in np.argwhere(off > LARGEST)[0])
        raise ModelError(
            "two assets are one: their correlation cannot be moved",
            asset=f"{model.assets[i]}, {model.assets[j]}",
            received=float(R[i, j]),
            fix="Leave one of them out.",
        )
    rows = [theme.assets.index(a) for a in model.assets]
    Z = theme.indicators[:, rows][:, :, rows]
    fisher = np.arctanh(R - np.diag(np.diagonal(R)))
    residual = fisher - np.tensordot(theme.theta, Z, axes=1)
    np.fill_diagonal(residual, 0.0)
    own = replace(
        theme,
        assets=tuple(model.assets),
        indicators=Z,
        residual=residual,
        volatility=deviation,
        from_frame=False,
    )
    found = own.stressed(w, plausibility=plausibility, features=features)
    note = f"STRESSED CORRELATIONS: theta moved {found.plausibility:.2f} deviations"
    stressed = replace(
        model,
        covariance=correlation_to_covariance(found.correlation(), deviation),
        notes=(*model.notes, note),
        estimator=f"{model.estimator}, stressed correlations",
    )
    return ThemeModelStress(stressed, model, found)


def _bend(C: Matrix, target: Matrix) -> Matrix:
    """Symmetric T with ``T C T = target``: ``C^-1/2 (C^1/2 C* C^1/2)^1/2 C^-1/2``."""
    scale = 1.0 / np.sqrt(np.diagonal(C))  # of like size: a bond beside a share
    values, Q = np.linalg.eigh(C * np.outer(scale, scale))
    if values[0] <= 1e-12 * values[-1]:
        raise ModelError(
            "the covariance is singular: scenarios cannot be bent to another",
            received=f"smallest eigenvalue of the correlations {values[0]:.3e}",
            fix="Simulate the stressed model instead.",
        )
    root = (Q * np.sqrt(values)) @ Q.T
    inverse = (Q / np.sqrt(values)) @ Q.T
    inner = root @ (target * np.outer(scale, scale)) @ root
    values, Q = np.linalg.eigh(0.5 * (inner + inner.T))
    middle = (Q * np.sqrt(np.maximum(values, 0.0))) @ Q.T
    return (inverse @ middle @ inverse) * np.outer(1.0 / scale, scale)
