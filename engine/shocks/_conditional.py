"""Conditional law of a book given a shock to some of its names or to the AI basket.

Conditions ``Q x = c`` on returns of covariance ``S`` (Kupiec 1998, J. Derivatives 6):

    x* = mu + S Q'(Q S Q')^-1 (c - Q mu),   S* = S - S Q'(Q S Q')^-1 Q S

and for a multivariate t of scale matrix ``S`` and ``nu`` degrees of freedom the same
location, ``nu + k`` degrees and scale ``(nu + d) / (nu + k) S*``, ``d`` the squared
Mahalanobis distance of the k conditions (Ding 2016): a large shock widens the residual.
Everything is a product with ``S``, so a factor covariance never becomes N x N.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Matrix, Vector
from engine.covariance import FactorCovariance
from engine.data.portfolio import CASH_PREFIX
from engine.data.roles import COMPANY_CLASSES, INFRASTRUCTURE
from engine.data.universe import _did_you_mean
from engine.errors import DataError, ModelError, UsageError
from engine.shocks._kinds_written import Written
from engine.shocks.moves import UNDATED, ShockMoves, dated

AI_BASKET = "ai_basket"
"""Key of a condition on the mean log return of the AI basket."""

DISTRIBUTIONS = ("normal", "student_t")
_DRAWS = 2000
_SINGULAR = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class ConditionalLaw(Value):
    """Returns given ``Q x = c``: normal (``dof`` infinite) or Student-t.

    Attributes
    ----------
    mean : (N,) float64
        Conditional location.
    gain : (N, k) float64
        ``S Q'(Q S Q')^-1``: move of each return per unit of each condition.
    conditions : (k, N) float64
        Q.
    dof : float
        ``nu + k`` degrees, or infinity.
    inflation : float
        ``(nu + d) / (nu + k)``; one for the normal.
    distance : float
        Mahalanobis distance of the conditions under the covariance.
    scale : (N, N) float64 or FactorCovariance
        S before conditioning.
    """

    mean: np.ndarray
    gain: np.ndarray
    conditions: np.ndarray
    dof: float
    inflation: float
    distance: float
    scale: Any

    def __post_init__(self) -> None:
        for name, ndim in (("mean", 1), ("gain", 2), ("conditions", 2)):
            values = frozen_array(getattr(self, name), name=name, ndim=ndim)
            object.__setattr__(self, name, values)

    def spread(self, weights: Vector) -> float:
        """Scale of ``w'x``: ``sqrt(w'S*w)`` times the root of the inflation."""
        w = np.asarray(weights, dtype=np.float64)
        Sw = self.scale @ w
        variance = float(w @ Sw) - float((w @ self.gain) @ (self.conditions @ Sw))
        return float(np.sqrt(max(variance, 0.0) * self.inflation))

    def value_at_risk(self, weights: Vector, *, level: float = 0.95) -> float:
        """Conditional value at risk of ``-w'x``: ``-w'm + z sqrt(w'S*w)``."""
        from scipy.stats import norm, t

        law = norm if np.isinf(self.dof) else t(self.dof)
        spread = self.spread(weights)
        return float(-(weights @ self.mean) + law.ppf(level) * spread)

    def covariance(self) -> Matrix:
        """(N, N) conditional covariance, dense."""
        dense = self.scale.dense() if hasattr(self.scale, "dense") else self.scale
        factor = 1.0 if np.isinf(self.dof) else self.dof / (self.dof - 2.0)
        residual = dense - self.gain @ (self.conditions @ dense)
        return residual * self.inflation * factor

    def draws(self, n: int, seed: int = 0) -> Matrix:
        """(n, N) draws; each meets the conditions exactly.

        An unconditional draw is corrected by what it misses the conditions by, which
        leaves a draw of the conditional law.
        """
        rng = np.random.Generator(np.random.Philox(seed))
        N = self.mean.size
        if isinstance(self.scale, FactorCovariance):
            A, s = self.scale.sampling_factor()
            z = rng.standard_normal((n, A.shape[1])) @ A.T
            z += rng.standard_normal((n, N)) * s
        else:
            values, vectors = np.linalg.eigh(self.scale)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            z = rng.standard_normal((n, N)) @ root.T
        z -= (z @ self.conditions.T) @ self.gain.T
        z *= np.sqrt(self.inflation)
        if not np.isinf(self.dof):
            z *= np.sqrt(self.dof / rng.chisquare(self.dof, size=n))[:, None]
        return z + self.mean


def conditional_law(
    mean: Any,
    covariance: Any,
    conditions: Any,
    values: Any,
    *,
    dof: float = np.inf,
    names: tuple[str, ...] = (),
) -> ConditionalLaw:
    """Law of returns given ``conditions @ x = values``.

    Parameters
    ----------
    mean : (N,) array_like
    covariance : (N, N) array_like or FactorCovariance
        Always the covariance; a Student-t's scale matrix follows from ``dof``.
    conditions : (k, N) array_like
        A row with a single one conditions on that asset.
    values : (k,) array_like
    dof : float, default infinity
        Degrees of freedom, above 2; infinity for the normal.
    names : tuple of str
        What the conditions are called in messages.

    Returns
    -------
    ConditionalLaw

    Raises
    ------
    ModelError
        A condition has no variance, or the conditions repeat one another.
    """
    mu = np.asarray(mean, dtype=np.float64)
    Q = np.atleast_2d(np.asarray(conditions, dtype=np.float64))
    c = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if Q.shape != (c.size, mu.size) or not (
        np.isfinite(Q).all() & np.isfinite(c).all()
    ):
        raise DataError(
            "conditions do not match the assets, or hold NaN",
            received=f"shape {Q.shape}, {c.size} values",
            expected=f"({c.size}, {mu.size})",
        )
    if not dof > 2:
        raise UsageError("degrees of freedom must exceed 2", received=dof)
    factor = isinstance(covariance, FactorCovariance)
    S = covariance if factor else np.asarray(covariance, dtype=np.float64)
    across = np.asarray(S @ Q.T)  # (N, k)
    inner = Q @ across
    _check_conditions(inner, names or tuple(f"condition {k}" for k in range(c.size)))
    gap = c - Q @ mu
    gain = np.linalg.solve(inner, across.T).T
    squared = float(gap @ np.linalg.solve(inner, gap))
    inflation, degrees, scale = 1.0, np.inf, S
    if not np.isinf(dof):
        shrink = (dof - 2.0) / dof  # covariance to scale matrix
        inflation = (dof + squared / shrink) / (dof + c.size)
        degrees = dof + c.size
        scale = _scaled(S, shrink)
    return ConditionalLaw(
        mu + gain @ gap, gain, Q, degrees, inflation, float(np.sqrt(squared)), scale
    )


def _scaled(S: Any, factor: float) -> Any:
    """Covariance times a number, in the form it has."""
    if isinstance(S, FactorCovariance):
        F, d = S.factor_covariance, S.specific_variance
        return FactorCovariance(S.loadings, F * factor, d * factor)
    return S * factor


def _check_conditions(inner: Matrix, names: tuple[str, ...]) -> None:
    spread = np.sqrt(np.maximum(np.diagonal(inner), 0.0))
    for name, value in zip(names, spread, strict=True):
        if value <= 0:
            raise ModelError("a stressed name has no variance in the model", asset=name)
    correlation = inner / np.outer(spread, spread)
    lowest, vectors = np.linalg.eigh(correlation)
    if lowest[0] < _SINGULAR:
        guilty = [n for n, v in zip(names, vectors[:, 0], strict=True) if abs(v) > 0.1]
        raise ModelError(
            "stressed names repeat one another: their moves cannot be set apart",
            received=", ".join(guilty),
            fix="Stress fewer of them.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class ConditionalShock(Written, Value):
    """Moves of a few names passed on to the rest; made by `conditional`.

    Attributes
    ----------
    given : tuple of (asset, simple return)
    distribution : {"normal", "student_t"}
    dof : float or None
        None: the model's own.
    horizon : int or None
        Sessions over which the move happens; None: one period of the model.
    name, citation : str
    known_from : numpy.datetime64
    n_draws, seed : int
    """

    given: tuple[tuple[str, float], ...]
    distribution: str
    dof: float | None
    horizon: int | None
    name: str
    citation: str
    known_from: np.datetime64 = UNDATED
    n_draws: int = _DRAWS
    seed: int = 0

    def law(self, universe: Any, model: Any) -> ConditionalLaw:
        """Conditional law of the model's returns (log where the model's are).

        Measured from the expected return: a shock comes on top of it.
        """
        if model is None:
            raise ModelError(
                f"shock {self.name} passes moves on by a covariance",
                received="no model",
                fix="Give scenarios drawn from a model, or the model.",
            )
        rows, values, names = [], [], []
        for asset, move in self.given:
            rows.append(self._row(asset, universe, model))
            values.append(np.log1p(move) if model.return_kind == "log" else move)
            names.append(asset)
        periods = 1.0
        if self.horizon is not None:
            periods = self.horizon / model.sessions
        S = model.covariance
        if periods != 1.0:
            S = _scaled(S, periods)
        dof = np.inf
        if self.distribution == "student_t":
            dof = model.tail_dof if self.dof is None else self.dof
        return conditional_law(
            np.zeros(len(model.assets)),
            S,
            np.array(rows),
            np.array(values),
            dof=dof,
            names=tuple(names),
        )

    def _row(self, asset: str, universe: Any, model: Any) -> Vector:
        row = np.zeros(len(model.assets))
        if asset != AI_BASKET:
            if asset not in model.assets:
                raise DataError(
                    f"shock {self.name} stresses a name that the model lacks",
                    asset=asset,
                    fix=_did_you_mean(asset, [*model.assets, AI_BASKET]),
                )
            row[model.assets.index(asset)] = 1.0
            return row
        members = _basket(universe, model)
        if members.size < 3:
            raise ModelError(
                "the AI basket needs at least three companies of AI infrastructure "
                "roles in the model",
                received=int(members.size),
                fix="Stress names instead.",
            )
        row[members] = 1.0 / members.size
        return row

    def distance(self, universe: Any, model: Any) -> float:
        """Mahalanobis distance of the stressed moves under the model's covariance."""
        return self.law(universe, model).distance

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Stressed names at their values, the others at the conditional mean."""
        law = self.law(universe, model)
        log = model.return_kind == "log"
        drawn = law.draws(self.n_draws, self.seed)
        back = np.expm1 if log else (lambda x: np.maximum(x, -0.99))
        position = {a: i for i, a in enumerate(model.assets)}
        central = np.zeros(len(universe.tickers))
        draws = np.zeros((self.n_draws, central.size))
        given = dict(self.given)
        stressed = np.zeros(central.size, dtype=bool)
        basis = []
        for j, asset in enumerate(universe.tickers):
            if asset not in position:
                if not asset.startswith(CASH_PREFIX):
                    raise DataError(
                        f"shock {self.name} cannot reach an asset that the model lacks",
                        asset=asset,
                        fix="Fit the model on all assets of the book.",
                    )
                basis.append("cash: does not move")
                continue
            i = position[asset]
            central[j] = back(law.mean[i])
            draws[:, j] = back(drawn[:, i])
            if asset in given:  # exactly, not to the rounding of a logarithm
                central[j] = draws[:, j] = given[asset]
                stressed[j] = True
                basis.append("stressed: as given")
                continue
            betas = ", ".join(
                f"{law.gain[i, k]:.2f} x {name}"
                for k, (name, _) in enumerate(self.given[:3])
            )
            more = ", ..." if len(self.given) > 3 else ""
            basis.append(f"conditional mean: {betas}{more}")
        members = _basket(universe, model)
        of = members if members.size >= 3 else np.arange(len(model.assets))
        logs = np.log1p(central)
        return ShockMoves(
            assets=universe.tickers,
            central=central,
            draws=draws,
            driver=drawn[:, of].mean(axis=1),
            basis=tuple(basis),
            parts={
                "stressed": np.where(stressed, logs, 0.0),
                "propagation": np.where(stressed, 0.0, logs),
            },
        )

    def __repr__(self) -> str:
        moves = ", ".join(f"{a} {m:+.1%}" for a, m in self.given)
        return f"ConditionalShock({self.name!r}: {moves}, {self.distribution})"


def _basket(universe: Any, model: Any) -> np.ndarray:
    """Positions in the model of the companies that sell into compute demand."""
    inside = {
        t
        for t, r, c in zip(
            universe.tickers, universe.role, universe.asset_class, strict=True
        )
        if r in INFRASTRUCTURE and c in COMPANY_CLASSES
    }
    return np.array([i for i, a in enumerate(model.assets) if a in inside], dtype=int)


def conditional(
    moves: Mapping[str, float],
    *,
    distribution: str = "normal",
    dof: float | None = None,
    horizon: int | None = None,
    name: str | None = None,
    known_from: Any = None,
    citation: str = "",
    n_draws: int = _DRAWS,
    seed: int = 0,
) -> ConditionalShock:
    """Shock to some names, or to the AI basket, passed on to the rest of the book.

    The others take their conditional mean under the model's law, in the space of its
    returns (log by default); draws of the conditional law are the severities.

    Parameters
    ----------
    moves : mapping of asset to simple return
        On top of the expected return. The key ``"ai_basket"`` stresses the mean log
        return of the companies with AI infrastructure roles; beside a market proxy
        (``{"ai_basket": -0.12, "SPY": -0.015}``) it is the basket against the market.
    distribution : {"normal", "student_t"}, default "normal"
        A Student-t has the same conditional mean and a residual that widens with the
        shock (Ding 2016); the normal's narrows.
    dof : float, optional
        Of the Student-t; default the model's own.
    horizon : int, optional
        Sessions over which the move happens: scales the residual, not the mean.
        Default one period of the model.
    name, known_from, citation : optional
        Without ``known_from`` the shock is a hypothesis without a date.
    n_draws, seed : int

    Returns
    -------
    ConditionalShock

    Raises
    ------
    UsageError
        No move, a move of -100% or less, an option that does not exist.

    Notes
    -----
    Warns (`UserWarning`) when conditioned on a single name: given NVDA alone the model
    explained about 3% of the cross-section of 27 January 2025 (R2 against the
    45-degree line, 92 names), given the AI basket 55%.

    Examples
    --------
    >>> conditional({"ai_basket": -0.12}, distribution="student_t", dof=4.0)
    ConditionalShock('conditional': ai_basket -12.0%, student_t)
    """
    given = []
    for asset, move in dict(moves).items():
        value = float(move)
        if not np.isfinite(value) or value <= -1.0:
            raise UsageError(
                f"the move of {asset} is no simple return",
                received=move,
                expected="a number above -1",
            )
        given.append((str(asset), value))
    if not given:
        raise UsageError("no move is given", fix='Give one, {"ai_basket": -0.12}.')
    if distribution not in DISTRIBUTIONS:
        raise UsageError(
            "unknown distribution",
            received=repr(distribution),
            expected=", ".join(DISTRIBUTIONS),
        )
    if dof is not None and (distribution == "normal" or not dof > 2):
        raise UsageError(
            "degrees of freedom belong to the Student-t and exceed 2", received=dof
        )
    if horizon is not None and horizon < 1:
        raise UsageError("horizon is at least one session", received=horizon)
    if n_draws < 1:
        raise UsageError("n_draws is at least one", received=n_draws)
    if len(given) == 1 and given[0][0] != AI_BASKET:
        warnings.warn(
            f"conditioning on {given[0][0]} alone: a single name carries little of a "
            "theme (NVDA alone explains about 3% of the cross-section of 27 January "
            f'2025, the AI basket 55%). Stress several names, or "{AI_BASKET}".',
            UserWarning,
            stacklevel=2,
        )
    law = "normal" if distribution == "normal" else "Student-t"
    return ConditionalShock(
        tuple(given),
        distribution,
        dof,
        horizon,
        name or "conditional",
        citation or f"conditional {law} (Kupiec 1998; Ding 2016)",
        dated(known_from),
        int(n_draws),
        int(seed),
    )
