"""Covariance in factor form, ``B F B' + D``, without ever forming N x N."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine._base import Value, frozen_array
from engine.errors import DataError


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

    def __repr__(self) -> str:
        N, K = self.loadings.shape
        return f"FactorCovariance({N} assets, {K} factors)"
