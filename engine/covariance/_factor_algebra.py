"""Inverse and Cholesky factor of ``B F B' + D`` in O(N K^2), without N x N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.errors import DataError, ModelError


@dataclass(frozen=True, slots=True, eq=False)
class FactorPrecision(Value):
    """Inverse covariance ``P - H H'`` with a diagonal P (Woodbury).

    With ``G = D^(-1/2) B F^(1/2)`` and the thin QR factors ``[G; I] = [Q; .] R``, the
    inverse of ``G G' + I`` is ``I - Q Q'``: no product squares the condition of G.

    Attributes
    ----------
    specific_precision : (N,) float64
        Diagonal of P = D^(-1), positive.
    root : (N, K) float64
        H = D^(-1/2) Q.

    Notes
    -----
    What is left of P - H H' where systematic risk outweighs specific risk by 1e8 and
    more has few digits, as any explicit inverse has; `FactorCovariance.solve` keeps
    them.
    """

    specific_precision: np.ndarray
    root: np.ndarray

    def __post_init__(self) -> None:
        put = object.__setattr__
        root = frozen_array(self.root, name="root", ndim=2)
        put(self, "root", root)
        put(
            self,
            "specific_precision",
            frozen_array(
                self.specific_precision,
                name="specific_precision",
                ndim=1,
                shape=root.shape[:1],
            ),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(N, N): the matrix this stands for."""
        return (self.root.shape[0],) * 2

    def dense(self) -> np.ndarray:
        """(N, N) matrix."""
        return np.diag(self.specific_precision) - self.root @ self.root.T

    def diagonal(self) -> np.ndarray:
        """(N,) diagonal: one over the variance left when all others are known."""
        return self.specific_precision - np.einsum("ik,ik->i", self.root, self.root)

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """Product with a vector (N,) or matrix (N, M) in O(N K)."""
        p = self.specific_precision
        scaled = p * x if np.ndim(x) == 1 else p[:, None] * x
        return scaled - self.root @ (self.root.T @ x)

    def __repr__(self) -> str:
        N, K = self.root.shape
        return f"FactorPrecision({N} assets, {K} factors)"


@dataclass(frozen=True, slots=True, eq=False)
class FactorCholesky(Value):
    """Lower Cholesky factor in product form, ``L_1 L_2 to L_K Delta^(1/2)``.

    See `engine.kernels.factor` for the recurrence and its sources. L is the Cholesky
    factor of the dense matrix, to the last but rounding; storing it takes 2 N K
    numbers, using it O(N K) a vector.

    Attributes
    ----------
    columns, betas : (K, N) float64
        ``(L_k)_ij = columns[k, i] betas[k, j]`` below the unit diagonal.
    delta : (N,) float64
        Squared diagonal of L, positive.
    """

    columns: np.ndarray
    betas: np.ndarray
    delta: np.ndarray

    def __post_init__(self) -> None:
        put = object.__setattr__
        columns = frozen_array(self.columns, name="columns", ndim=2)
        K, N = columns.shape
        put(self, "columns", columns)
        put(self, "betas", frozen_array(self.betas, name="betas", ndim=2, shape=(K, N)))
        delta = frozen_array(self.delta, name="delta", ndim=1, shape=(N,))
        if not (delta > 0).all():
            raise DataError("delta must be positive", received=delta.min())
        put(self, "delta", delta)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, N): the matrix this stands for."""
        return self.delta.size, self.delta.size

    def apply(self, x: Any) -> np.ndarray:
        """``L x`` for x (N,) or (N, M): standard normals in, the covariance out."""
        return self._each(2, self._rows(x) * np.sqrt(self.delta), x)

    def apply_transpose(self, x: Any) -> np.ndarray:
        """``L' x`` for x (N,) or (N, M)."""
        rows = self._rows(x)
        return self._each(3, rows, x, after=np.sqrt(self.delta))

    def solve_lower(self, b: Any) -> np.ndarray:
        """``L^(-1) b`` for b (N,) or (N, M): whitens."""
        return self._each(0, self._rows(b), b, after=1.0 / np.sqrt(self.delta))

    def solve_lower_transpose(self, b: Any) -> np.ndarray:
        """``L'^(-1) b`` for b (N,) or (N, M)."""
        return self._each(1, self._rows(b) / np.sqrt(self.delta), b)

    def solve(self, b: Any) -> np.ndarray:
        """Solve ``L L' x = b`` for b (N,) or (N, M)."""
        return self.solve_lower_transpose(self.solve_lower(b))

    def log_determinant(self) -> float:
        """Logarithm of the determinant of ``L L'``."""
        return float(np.log(self.delta).sum())

    def dense(self) -> np.ndarray:
        """(N, N) lower triangular matrix L."""
        return np.tril(self.apply(np.eye(self.delta.size)))

    def _rows(self, x: Any) -> np.ndarray:
        """Copy the columns of x to rows (M, N)."""
        x = np.asarray(x, dtype=np.float64)
        if x.ndim not in (1, 2) or x.shape[0] != self.delta.size:
            raise DataError(
                "the right side does not match the covariance",
                received=f"shape {x.shape}",
                expected=f"({self.delta.size},) or ({self.delta.size}, M)",
            )
        return np.array(np.atleast_2d(x.T), order="C")

    def _each(
        self, operation: int, rows: np.ndarray, like: Any, after: Any = 1.0
    ) -> np.ndarray:
        from engine.kernels.factor import each_row

        each_row(operation, self.columns, self.betas, rows)
        rows *= after
        return rows[0] if np.ndim(like) == 1 else np.ascontiguousarray(rows.T)

    def __repr__(self) -> str:
        K, N = self.columns.shape
        return f"FactorCholesky({N} assets, {K} factors)"


def factor_root(F: np.ndarray) -> np.ndarray:
    """A (K, R) with ``A A' = F``: Cholesky, or eigenvectors where F is singular.

    Cholesky keeps the digits of factors of any scale; without it the scales are taken
    out first.
    """
    try:
        return np.linalg.cholesky(F)
    except np.linalg.LinAlgError:
        scale = np.sqrt(np.maximum(np.diagonal(F), 0.0))
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        values, vectors = np.linalg.eigh(F * np.outer(inverse, inverse))
        kept = values > len(F) * np.finfo(float).eps * max(values[-1], 0.0)
        return scale[:, None] * (vectors[:, kept] * np.sqrt(values[kept]))


def precision(systematic: np.ndarray, d: np.ndarray) -> FactorPrecision:
    """Inverse of ``systematic systematic' + diag(d)``; see `FactorPrecision`."""
    _refuse_zeros(d)
    scale = 1.0 / np.sqrt(d)
    N, K = systematic.shape
    stacked = np.vstack([systematic * scale[:, None], np.eye(K)])
    Q = np.linalg.qr(stacked)[0][:N]
    return FactorPrecision(specific_precision=1.0 / d, root=Q * scale[:, None])


def cholesky(systematic: np.ndarray, d: np.ndarray) -> FactorCholesky:
    """Cholesky factor of ``systematic systematic' + diag(d)``, product form."""
    from engine.kernels.factor import factorise

    _refuse_zeros(d)
    columns = np.array(systematic.T, order="C")
    betas, delta = np.empty_like(columns), d.copy()
    factorise(columns, betas, delta)
    if not (np.isfinite(delta).all() and np.isfinite(betas).all()):
        raise ModelError(
            "systematic risk outweighs specific variance beyond double precision",
            asset=f"row {int(np.argmin(d))}",
            received=d.min(),
            fix="Raise it to a small share of the total variance.",
        )
    return FactorCholesky(columns=columns, betas=betas, delta=delta)


def _refuse_zeros(d: np.ndarray) -> None:
    if not (d > 0).all():
        raise ModelError(
            "a specific variance is zero: the factor form cannot be inverted",
            asset=f"row {int(np.argmin(d))}",
            received=d.min(),
            expected="positive",
            fix="Raise it to a small share of the total variance, or use dense().",
        )
