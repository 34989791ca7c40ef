"""A covariance, a mean and limits as users bring them, checked and in one order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import frozen_array
from engine._typing import Matrix, Vector
from engine.covariance import FactorCovariance
from engine.errors import DataError, ModelError

_ASYMMETRY = 1e-9
_NEGATIVE = 1e-8
"""Most negative eigenvalue of the correlation that is read as rounding."""
_MARGIN = 1e-4
"""Diagonal taken off before a single-precision factorisation: more than its error."""


@dataclass(frozen=True, slots=True, eq=False)
class Risk:
    """A checked covariance: dense Q, or ``A A' + diag(d)``.

    Attributes
    ----------
    n : int
    variances : (N,) float64
    dense : (N, N) float64, optional
        C-contiguous and symmetric.
    systematic, specific : (N, R) and (N,) float64, optional
        A and d of the factor form.
    labels : pandas Index, optional
        Of a DataFrame.
    """

    n: int
    variances: Vector
    dense: Matrix | None = None
    systematic: Matrix | None = None
    specific: Vector | None = None
    labels: Any = None

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        if self.dense is not None:
            return self.dense @ x
        A, d = self.parts()
        scaled = d * x if x.ndim == 1 else d[:, None] * x
        return A @ (A.T @ x) + scaled

    def parts(self) -> tuple[Matrix, Vector]:
        """A and d of the factor form."""
        assert self.systematic is not None and self.specific is not None
        return self.systematic, self.specific

    def matrix(self) -> Matrix:
        """(N, N) matrix, formed if need be."""
        if self.dense is not None:
            return self.dense
        A, d = self.parts()
        return A @ A.T + np.diag(d)

    def name(self, i: int) -> str:
        """Label of an asset, or its row."""
        return f"row {i}" if self.labels is None else str(self.labels[i])

    def labelled(self, weights: Vector) -> Any:
        """Weights as a Series where the covariance had labels."""
        if self.labels is None:
            return weights
        import pandas as pd

        return pd.Series(weights, index=self.labels, name="weight")


def read_covariance(covariance: Any, *, moving: bool = False) -> Risk:
    """Check a covariance: dense array, DataFrame or `FactorCovariance`.

    Parameters
    ----------
    covariance : (N, N) array_like, DataFrame or FactorCovariance
    moving : bool
        Refuse an asset of zero variance.

    Raises
    ------
    DataError
        Not numeric, square and finite, or rows and columns labelled differently.
    ModelError
        Not symmetric, not positive semi-definite, or (``moving``) a zero variance.
    """
    if isinstance(covariance, FactorCovariance):
        A, s = covariance.sampling_factor()
        variances = covariance.variances()
        risk = Risk(
            n=s.size,
            variances=variances,
            systematic=np.ascontiguousarray(A),
            specific=covariance.specific_variance,
        )
        _check_variances(risk, moving)
        return risk
    labels = _labels(covariance)
    Q = _matrix(covariance, labels)
    risk = Risk(Q.shape[0], np.diagonal(Q).copy(), dense=Q, labels=labels)
    _check_variances(risk, moving)
    _check_semidefinite(risk)
    return risk


def _labels(covariance: Any) -> Any:
    columns = getattr(covariance, "columns", None)
    if columns is None:
        return None
    index = covariance.index
    if not index.is_unique or not columns.is_unique:
        twice = [*index[index.duplicated()], *columns[columns.duplicated()]]
        raise DataError("an asset is in the covariance twice", asset=str(twice[0]))
    if len(index) != len(columns) or not (index == columns).all():
        raise DataError(
            "rows and columns of the covariance are labelled differently",
            received=f"{list(index[:3])} and {list(columns[:3])}",
            fix="Give both the same labels in the same order.",
        )
    return index


def _matrix(covariance: Any, labels: Any) -> Matrix:
    from engine.kernels.budgeting import symmetry

    values = covariance.to_numpy() if labels is not None else covariance
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"holds {array.dtype} values")
        Q = np.ascontiguousarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the covariance is not numeric: {error}") from error
    if Q.ndim != 2 or Q.shape[0] != Q.shape[1] or not Q.shape[0]:
        raise DataError(
            "the covariance is not square", received=f"shape {Q.shape}", expected="N, N"
        )
    largest, difference = symmetry(Q)
    if not np.isfinite(largest):
        i, j = (int(v) for v in np.argwhere(~np.isfinite(Q))[0])
        asset = str(labels[i]) if labels is not None else f"row {i}"
        raise DataError(
            "the covariance holds NaN or infinity",
            asset=asset,
            received=f"{Q[i, j]} in column {j}",
            fix="Estimate it on complete data, or with engine.covariance.pairwise.",
        )
    if difference > _ASYMMETRY * largest:
        raise ModelError(
            "the covariance is not symmetric",
            received=f"a difference of {difference:.3g}",
        )
    return 0.5 * (Q + Q.T) if difference > 0 else Q


def _check_variances(risk: Risk, moving: bool) -> None:
    v = risk.variances
    low = int(np.argmin(v))
    if v[low] < 0 or (moving and not v[low] > 0):
        kind = "negative" if v[low] < 0 else "zero: it never moves"
        raise ModelError(
            f"the variance of an asset is {kind}",
            asset=risk.name(low),
            received=v[low],
            fix="Leave it out, or hold it as cash." if moving else None,
        )


def _check_semidefinite(risk: Risk) -> None:
    """Refuse a correlation with an eigenvalue below -1e-8.

    A factorisation in single precision proves most matrices positive definite in half
    the time; the rest are factorised in double precision, then decomposed.
    """
    from scipy.linalg import lapack

    from engine.kernels.budgeting import correlation_single

    Q, v = risk.matrix(), risk.variances
    still = v <= 0
    if still.any() and np.abs(Q[still]).max() > 0:
        i = int(np.flatnonzero(still)[np.abs(Q[still]).max(axis=1).argmax()])
        raise ModelError(
            "the covariance is not positive semi-definite: an asset that never moves "
            "moves with another",
            asset=risk.name(i),
        )
    sigma = np.sqrt(np.where(still, 1.0, v))
    C32 = np.empty(Q.shape, dtype=np.float32)
    correlation_single(Q, 1.0 / sigma, _MARGIN, C32)
    # Read as Fortran does, the upper triangle is the lower one: the faster of the two.
    if lapack.spotrf(C32.T, lower=1, clean=0, overwrite_a=1)[1] == 0:
        return
    C = Q / np.outer(sigma, sigma)
    C[np.diag_indices_from(C)] += _NEGATIVE + np.where(still, 1.0, 0.0)
    if lapack.dpotrf(C, lower=1, clean=0)[1] == 0:
        return
    smallest = float(np.linalg.eigvalsh(Q / np.outer(sigma, sigma))[0])
    if smallest < -_NEGATIVE:
        raise ModelError(
            "the covariance is not positive semi-definite",
            received=f"smallest eigenvalue of the correlation {smallest:.3e}",
            fix="Repair it with engine.nearest_correlation.",
        )


def read_vector(
    values: Any, risk: Risk, name: str, *, finite: bool = True, default: Any = None
) -> Vector:
    """(N,) of one number or of one per asset; a Series or mapping by name."""
    if values is None:
        values = default
    if isinstance(values, dict) or (
        hasattr(values, "index") and hasattr(values, "loc")
    ):
        import pandas as pd

        series = pd.Series(values)
        if risk.labels is not None:
            lacking = [k for k in risk.labels if k not in series.index]
            unknown = [k for k in series.index if k not in risk.labels]
            if lacking or unknown or not series.index.is_unique:
                wrong = [*lacking, *unknown, "a label given twice"][0]
                raise DataError(
                    f"{name} and the covariance list different assets",
                    asset=str(wrong),
                )
            series = series.loc[list(risk.labels)]
        elif isinstance(values, dict):
            raise DataError(
                f"{name} is given by name, but the covariance has no labels",
                fix="Give the covariance as a DataFrame.",
            )
        values = series.to_numpy()
    array = np.asarray(values)
    if array.ndim == 0:
        array = np.full(risk.n, array)
    out = frozen_array(array, name=name, ndim=1, shape=(risk.n,), finite=finite)
    if not finite and np.isnan(out).any():
        raise DataError(
            f"{name} is not a number", asset=risk.name(int(np.argmax(np.isnan(out))))
        )
    return out
