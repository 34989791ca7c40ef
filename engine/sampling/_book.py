"""A book under a return model: the law of its loss, and its delta-gamma form.

Over ``h`` periods the assets' returns are ``x = h mean + sqrt(V) C Z`` with Z standard
normal, ``C C'`` the covariance per period and V the sum of ``h`` mixing variables:
``V = h`` for a Gaussian, a sum of ``(nu - 2)/chi2_nu`` for a Student-t. The loss
is ``-w'(e^x - 1)`` for log returns and ``-w'x`` for simple ones, or the quadratic of a
`DeltaGamma`; cash earns its rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.covariance import FactorCovariance
from engine.data.portfolio import Portfolio, cash_label
from engine.errors import DataError, ModelError, UsageError
from engine.model import ReturnModel


@dataclass(frozen=True, slots=True, eq=False)
class DeltaGamma(Value):
    """A book whose loss is quadratic: ``-(delta'x + x' gamma x / 2)``.

    The second-order form of a book with options, from their greeks. Pass it to
    `engine.sampling.estimate` where weights go.

    Attributes
    ----------
    delta : (N,) float64
        First derivatives of the book's value, as a fraction of wealth, by the model's
        returns x over the horizon (log or simple, as the model has them); no NaN.
    gamma : (N, N) float64
        Second derivatives, symmetric; no NaN. Negative for written options.

    Raises
    ------
    DataError
        A shape that does not fit, NaN, or a gamma that is not symmetric.
    """

    delta: np.ndarray
    gamma: np.ndarray

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "delta", frozen_array(self.delta, name="delta", ndim=1))
        n = self.delta.size
        put(self, "gamma", frozen_array(self.gamma, name="gamma", ndim=2, shape=(n, n)))
        skew = np.abs(self.gamma - self.gamma.T)
        if skew.size and skew.max() > 1e-9 * np.abs(self.gamma).max():
            i, j = map(int, np.unravel_index(int(skew.argmax()), skew.shape))
            raise DataError(
                "gamma is not symmetric",
                received=f"{self.gamma[i, j]:g} at ({i}, {j}) and "
                f"{self.gamma[j, i]:g} at ({j}, {i})",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """A model, weights and a horizon, ready to draw.

    Attributes
    ----------
    A : (N, K) float64
        Factor root, principal components in descending order.
    specific : (N,) float64 or None
        Specific standard deviations per period; None for a dense covariance.
    drift : (N,) float64
        Mean of x over the horizon.
    weights : (N,) float64
        Of the risky assets; the delta of a quadratic book.
    gamma : (N, N) float64 or None
        Of a quadratic book, whose loss is in x itself.
    cash : float
        Loss of the cash holding over the horizon (negative: it earns).
    growth : float
        One plus the return of cash over the horizon.
    log : bool
    periods : int
    dof : float
    """

    A: np.ndarray
    specific: np.ndarray | None
    drift: np.ndarray
    weights: np.ndarray
    gamma: np.ndarray | None
    cash: float
    growth: float
    log: bool
    periods: int
    dof: float

    @property
    def width(self) -> int:
        """Standard normals in one scenario."""
        N, K = self.A.shape
        return K if self.specific is None else K + N

    @property
    def delta(self) -> np.ndarray:
        """(N,) minus the derivative of the loss by x at the drift."""
        if self.gamma is not None:
            return self.weights + self.gamma @ self.drift
        return self.weights * np.exp(self.drift) if self.log else self.weights

    @property
    def slope(self) -> np.ndarray:
        """(width,) derivative of the loss by Z at Z = 0 and V = 1."""
        g = self.delta
        b = -(g @ self.A)
        return b if self.specific is None else np.append(b, -g * self.specific)

    def moves(self, z: np.ndarray, V: np.ndarray) -> np.ndarray:
        """(n, N) returns x (log or simple) of normals (n, width) and mixing (n,)."""
        K = self.A.shape[1]
        y = z[:, :K] @ self.A.T
        if self.specific is not None:
            y += z[:, K:] * self.specific
        y *= np.sqrt(V)[:, None]
        y += self.drift
        return y

    def losses(self, x: np.ndarray) -> np.ndarray:
        """(n,) losses of returns (n, N)."""
        if self.gamma is not None:
            return self.cash - x @ self.weights - 0.5 * ((x @ self.gamma) * x).sum(1)
        return self.cash - (np.expm1(x) if self.log else x) @ self.weights

    def centre(self) -> float:
        """Loss where every asset moves by its drift."""
        return float(self.losses(self.drift[None])[0])

    def risky(self) -> bool:
        """Whether the loss varies at all."""
        C = (
            self.A
            if self.specific is None
            else np.column_stack([self.A, self.specific])
        )
        exposed = self.weights != 0.0
        if self.gamma is not None:
            exposed = exposed | self.gamma.any(axis=0)
        return bool(C[exposed].any())

    def reach(self) -> float:
        """Largest loss the book can make: finite for long log-return books."""
        if not self.log or self.gamma is not None:
            return np.inf
        return (
            np.inf
            if (self.weights < 0).any()
            else self.cash + float(self.weights.sum())
        )


def book_of(model: ReturnModel, weights: Any, horizon: int) -> Book:
    """Check and assemble. See `engine.sampling.estimate` for the parameters."""
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)):
        raise UsageError("horizon is a whole number", received=repr(horizon))
    if horizon < 1 or horizon % model.sessions:
        raise UsageError(
            f"the horizon is no positive multiple of the model's {model.sessions} "
            "sessions",
            received=horizon,
        )
    periods = int(horizon) // model.sessions
    gamma = None
    if isinstance(weights, DeltaGamma):
        gamma, weights = weights.gamma, weights.delta
        if weights.shape != (len(model.assets),):
            raise DataError(
                "the delta-gamma book does not match the model",
                received=f"{weights.size} assets",
                expected=len(model.assets),
            )
    aligned = _align(model, weights)
    growth = float((1.0 + model.cash_rate) ** (periods / model.periods_per_year))
    A, specific = _components(model)
    return Book(
        A=A,
        specific=specific,
        drift=model.mean * periods,
        weights=aligned[:-1],
        gamma=gamma,
        cash=-float(aligned[-1]) * (growth - 1.0),
        growth=growth,
        log=model.return_kind == "log",
        periods=periods,
        dof=float(model.tail_dof),
    )


def _align(model: ReturnModel, weights: Any) -> np.ndarray:
    """(N + 1,) weights: the assets, then base-currency cash."""
    labels = (*model.assets, cash_label(model.base_currency))
    if isinstance(weights, Portfolio):
        return np.asarray(weights.weights_on(labels), dtype=np.float64)
    if hasattr(weights, "items"):
        result = np.zeros(len(labels))
        place = {label: i for i, label in enumerate(labels)}
        seen = set()
        for label, value in weights.items():
            if str(label) not in place:
                raise DataError(
                    "a weight names no asset of the model", asset=str(label)
                )
            if str(label) in seen:
                raise DataError("two weights carry one label", asset=str(label))
            if not np.isfinite(value):
                raise DataError(
                    "a weight is not finite", asset=str(label), received=value
                )
            seen.add(str(label))
            result[place[str(label)]] = float(value)
        return result
    values = np.asarray(weights, dtype=np.float64)
    n = len(model.assets)
    if values.shape not in ((n,), (n + 1,)):
        raise DataError(
            "weights do not match the model",
            received=f"shape {values.shape}",
            expected=f"({n},), or ({n + 1},) with cash last",
        )
    if not np.isfinite(values).all():
        where = int(np.argmax(~np.isfinite(values)))
        raise DataError(
            "a weight is not finite", asset=labels[where], received=values[where]
        )
    return values if values.size == n + 1 else np.append(values, 0.0)


def _components(model: ReturnModel) -> tuple[np.ndarray, np.ndarray | None]:
    """Principal-component root of the (common) covariance, largest first."""
    covariance = model.covariance
    if isinstance(covariance, FactorCovariance):
        root = _root(covariance.factor_covariance)
        left, scale, _ = np.linalg.svd(covariance.loadings @ root, full_matrices=False)
        return left * scale, np.sqrt(covariance.specific_variance)
    return _root(covariance), None


def _root(matrix: np.ndarray) -> np.ndarray:
    """Eigenvectors times root eigenvalues, descending; refuses a negative one."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < -1e-8 * max(values[-1], np.finfo(float).tiny):
        raise ModelError(
            "covariance is not positive semi-definite",
            received=f"smallest eigenvalue {values[0]:.3e}",
            fix="Repair it with nearest_correlation.",
        )
    vectors = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.ascontiguousarray(vectors[:, ::-1])
