"""Estimators by name, and one estimate checked before anyone uses it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from engine.covariance._ewma import ewma
from engine.covariance._factor import FactorCovariance
from engine.covariance._shrinkage import ledoit_wolf
from engine.covariance._spectral import nonlinear_shrinkage
from engine.errors import ModelError, UsageError, did_you_mean

Estimator = Callable[[np.ndarray], Any]


def _constant_correlation(X: Any) -> Any:
    return ledoit_wolf(X, "constant_correlation")


def _identity(X: Any) -> Any:
    return ledoit_wolf(X, "identity")


def _single_index(X: Any) -> Any:
    return ledoit_wolf(X, "single_index")


def _ewma_student_t(X: Any) -> Any:
    return ewma(X, update="student_t")


def _analytical(X: Any) -> Any:
    return nonlinear_shrinkage(X, method="analytical")


ALIASES: Mapping[str, Estimator] = {
    "ledoit_wolf": _constant_correlation,
    "ledoit_wolf_identity": _identity,
    "ledoit_wolf_single_index": _single_index,
    "ewma_student_t": _ewma_student_t,
    "analytical_shrinkage": _analytical,
}
"""Names that mean a function with an option, the same as in `engine.fit`."""
NO_MATRIX = frozenset(
    {
        "combination_weights",
        "correlation",
        "ewma_path",
        "factor_model",
        "number_of_factors",
        "regime_multiplier",
    }
)
"""Public functions of observations alone that estimate something else."""


def named(name: str) -> Estimator:
    """Return the estimator of a name.

    A name is one of `ALIASES`, or any public function of `engine.covariance` that
    needs nothing but the observations ``X``.
    """
    if name in ALIASES:
        return ALIASES[name]
    known = _public()
    if name not in known:
        raise UsageError(
            "unknown covariance estimator",
            received=repr(name),
            expected=", ".join(names()),
            fix=did_you_mean(name, names()),
        )
    return known[name]


def names() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted({*_public(), *ALIASES}))


def _public() -> dict[str, Estimator]:
    import engine.covariance as public

    found = {}
    for name in public.__all__:
        function = getattr(public, name)
        if not inspect.isfunction(function):
            continue
        first, *rest = inspect.signature(function).parameters.values()
        alone = all(p.default is not p.empty for p in rest)
        if first.name == "X" and alone and name not in NO_MATRIX:
            found[name] = function
    return found


def resolve(estimators: Any) -> dict[str, Estimator]:
    """Estimators by label from a name, a callable, a list of either, or a mapping.

    A callable in a list is labelled by its ``__name__``; two that share one, such as
    lambdas, need a mapping.
    """
    if isinstance(estimators, str) or callable(estimators):
        estimators = [estimators]
    if isinstance(estimators, Mapping):
        pairs = list(estimators.items())
    elif isinstance(estimators, Iterable):
        pairs = [(_label(e), e) for e in estimators]
    else:
        raise UsageError("estimators must be names or functions", received=estimators)
    if not pairs:
        raise UsageError("give at least one estimator")
    found: dict[str, Estimator] = {}
    for label, estimator in pairs:
        if not isinstance(label, str) or not label:
            raise UsageError("an estimator needs a name", received=repr(label))
        if label in found:
            raise UsageError(
                "two estimators have the same name",
                received=label,
                fix="Give a mapping of distinct names to functions.",
            )
        if isinstance(estimator, str):
            estimator = named(estimator)
        if not callable(estimator):
            raise UsageError(
                "an estimator is a name or a function (T, N) -> (N, N)",
                received=repr(estimator),
            )
        found[label] = estimator
    return found


def one(estimator: Any) -> Estimator:
    """Return the single estimator of a name or callable."""
    found = list(resolve(estimator).values())
    if len(found) != 1:
        raise UsageError("one estimator is needed", received=len(found))
    return found[0]


def _label(estimator: Any) -> Any:
    if isinstance(estimator, str):
        return estimator
    return getattr(estimator, "__name__", type(estimator).__name__)


def checked(matrix: Any, N: int) -> np.ndarray:
    """Return a dense, finite, symmetric (N, N) estimate, or raise ModelError."""
    if isinstance(matrix, FactorCovariance):
        matrix = matrix.dense()
    try:
        S = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the estimate is not a matrix of numbers: {error}") from error
    if S.shape != (N, N):
        raise ModelError(
            "the estimate has the wrong shape", received=S.shape, expected=(N, N)
        )
    if not np.isfinite(S).all():
        raise ModelError(
            "the estimate holds NaN or infinity",
            received=f"at {tuple(int(v) for v in np.argwhere(~np.isfinite(S))[0])}",
        )
    if np.abs(S - S.T).max() > 1e-8 * np.abs(S).max():
        raise ModelError("the estimate is not symmetric")
    return 0.5 * (S + S.T)


def cholesky(S: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor; a ModelError where S is singular or indefinite.

    A pivot of the correlation at rounding level means singular: a factorisation of a
    rank-deficient matrix can succeed on rounding errors alone.
    """
    from scipy.linalg import lapack

    variance = np.diagonal(S)
    if not (variance > 0).all():
        raise ModelError(
            "a variance is not positive",
            asset=f"column {int(np.argmin(variance))}",
            received=variance.min(),
        )
    sigma = np.sqrt(variance)
    L, info = lapack.dpotrf(S / np.outer(sigma, sigma), lower=1, clean=1)
    pivot = float(np.diagonal(L).min()) ** 2 if info == 0 else 0.0
    if info != 0 or pivot <= S.shape[0] * np.finfo(float).eps:
        raise ModelError(
            "the matrix is singular or indefinite: it has no density and no inverse",
            fix="Use more dates than assets, or an estimator that shrinks.",
        )
    return L * sigma[:, None]
