"""Covariance in factor form, ``B F B' + D``, without ever forming N x N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.covariance._factor_algebra import (
    FactorCholesky,
    FactorPrecision,
    cholesky,
    factor_root,
    precision,
)
from engine.errors import DataError, ModelError


@dataclass(frozen=True, slots=True, eq=False)
class FactorCovariance(Value):
    """``B F B' + D`` of N assets on K factors.

    Attributes
    ----------
    loadings : (N, K) float64
        B.
    factor_covariance : (K, K) float64
        F, symmetric positive semi-definite.
    specific_variance : (N,) float64
        Diagonal of D, non-negative.
    """

    loadings: np.ndarray
    factor_covariance: np.ndarray
    specific_variance: np.ndarray

    def __post_init__(self) -> None:
        put = object.__setattr__
        B = frozen_array(self.loadings, name="loadings", ndim=2)
        N, K = B.shape
        F = frozen_array(
            self.factor_covariance, name="factor_covariance", ndim=2, shape=(K, K)
        )
        d = frozen_array(
            self.specific_variance, name="specific_variance", ndim=1, shape=(N,)
        )
        if (d < 0).any():
            raise DataError(
                "specific variance must not be negative",
                asset=f"row {int(np.argmax(d < 0))}",
                received=d.min(),
            )
        scale = max(float(np.abs(F).max(initial=0.0)), np.finfo(float).tiny)
        if np.abs(F - F.T).max(initial=0.0) > 1e-10 * scale:
            raise DataError("factor covariance is not symmetric")
        if K and np.linalg.eigvalsh(F)[0] < -1e-10 * scale:
            raise DataError("factor covariance is not positive semi-definite")
        put(self, "loadings", B)
        put(self, "factor_covariance", F)
        put(self, "specific_variance", d)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, N): the matrix this stands for."""
        return (self.loadings.shape[0],) * 2

    def dense(self) -> np.ndarray:
        """(N, N) matrix."""
        B = self.loadings
        return B @ self.factor_covariance @ B.T + np.diag(self.specific_variance)

    def variances(self) -> np.ndarray:
        """(N,) diagonal."""
        B = self.loadings
        systematic = np.einsum("ik,kl,il->i", B, self.factor_covariance, B)
        return systematic + self.specific_variance

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """Product with a vector (N,) or matrix (N, M) in O(N K)."""
        B = self.loadings
        d = self.specific_variance
        scaled = d * x if np.ndim(x) == 1 else d[:, None] * x
        return B @ (self.factor_covariance @ (B.T @ x)) + scaled

    def sampling_factor(self) -> tuple[np.ndarray, np.ndarray]:
        """``(A, s)`` with covariance ``A A' + diag(s^2)``.

        A (N, R) is ``B F^(1/2)``, R the rank of F, and s (N,) the specific volatility:
        ``A @ f + s * e`` of standard normals f (R,) and e (N,) has this covariance.
        """
        return (
            self.loadings @ factor_root(self.factor_covariance),
            np.sqrt(self.specific_variance),
        )

    def quadratic(self, weights: Any) -> Any:
        """Variance ``w' (B F B' + D) w`` of a portfolio, in O(N K).

        Parameters
        ----------
        weights : (N,) or (M, N) array_like
            One portfolio, or one a row; finite.

        Returns
        -------
        float or (M,) array
            Never negative: a sum of squares.
        """
        w = np.asarray(weights, dtype=np.float64)
        N = self.loadings.shape[0]
        if w.ndim not in (1, 2) or w.shape[-1] != N or not np.isfinite(w).all():
            raise DataError(
                "weights must be finite and match the covariance",
                received=f"shape {w.shape}",
                expected=f"({N},) or (M, {N})",
            )
        A, s = self.sampling_factor()
        variance = ((w @ A) ** 2).sum(axis=-1) + ((w * s) ** 2).sum(axis=-1)
        return float(variance) if w.ndim == 1 else variance

    def solve(self, b: Any) -> np.ndarray:
        """Solve ``(B F B' + D) x = b`` for b (N,) or (N, M), in O(N K^2 + N K M).

        Through `cholesky`, so it stays accurate where specific variances differ by
        many orders of magnitude. Specific variances must be positive (`ModelError`).
        """
        return self.cholesky().solve(b)

    def inverse(self) -> FactorPrecision:
        """Inverse in factor form, ``P - H H'``, in O(N K^2).

        Specific variances must be positive (`ModelError`).
        """
        return precision(self.sampling_factor()[0], self.specific_variance)

    def log_determinant(self) -> float:
        """Logarithm of the determinant, in O(N K^2).

        Specific variances must be positive (`ModelError`).
        """
        return self.cholesky().log_determinant()

    def cholesky(self) -> FactorCholesky:
        """Cholesky factor in product form: applies and solves in O(N K).

        Specific variances must be positive (`ModelError`).
        """
        return cholesky(self.sampling_factor()[0], self.specific_variance)

    def correlation(self) -> FactorCovariance:
        """Correlation matrix, in factor form: rows of B and D over the volatilities."""
        variance = self.variances()
        if not (variance > 0).all():
            raise ModelError(
                "a variance is zero: the series never moves",
                asset=f"row {int(np.argmin(variance))}",
                fix="Leave the asset out, or hold it as cash.",
            )
        return FactorCovariance(
            self.loadings / np.sqrt(variance)[:, None],
            self.factor_covariance,
            self.specific_variance / variance,
        )

    def select(self, assets: Any) -> FactorCovariance:
        """Covariance of some of the assets, in the order asked for.

        Parameters
        ----------
        assets : slice, (M,) int or (N,) bool array_like
            Positions among the N, each once, or a mask.
        """
        index = assets if isinstance(assets, slice) else np.asarray(assets)
        N = self.loadings.shape[0]
        if isinstance(index, np.ndarray):
            if index.size == 0:
                index = index.astype(np.int64)
            if index.ndim != 1 or index.dtype.kind not in "iub":
                raise DataError(
                    "assets are positions or a mask",
                    received=f"{index.dtype} of shape {index.shape}",
                )
            if index.dtype.kind == "b" and index.size != N:
                raise DataError(
                    "the mask does not match the covariance",
                    received=f"{index.size} entries",
                    expected=N,
                )
            if index.dtype.kind != "b" and not ((index >= -N) & (index < N)).all():
                raise DataError(
                    "a position is not among the assets",
                    received=int(index[(index < -N) | (index >= N)][0]),
                    expected=f"-{N} to {N - 1}",
                )
            if index.dtype.kind != "b":
                index = index % N if N else index
                once, counts = np.unique(index, return_counts=True)
                if (counts > 1).any():
                    # Two copies share their specific risk, which D cannot say.
                    raise DataError(
                        "an asset is selected twice",
                        received=int(once[counts > 1][0]),
                        fix="Give each position once.",
                    )
        return FactorCovariance(
            self.loadings[index], self.factor_covariance, self.specific_variance[index]
        )

    def __repr__(self) -> str:
        N, K = self.loadings.shape
        return f"FactorCovariance({N} assets, {K} factors)"
