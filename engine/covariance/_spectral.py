"""Eigenvalue estimators: the sample's eigenvectors, cleaned eigenvalues.

All demean by default, which lowers the effective number of observations by one, and
divide by it: ``n = T - 1`` (``T`` with ``assume_centered``), as the authors' code
does. With N assets, ``c = N / n`` and sample eigenvalues ``l_1 <= ... <= l_N``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine._typing import Matrix, Vector
from engine.covariance._check import (
    centred,
    column_name,
    labelled,
    observations,
    scaled,
    singular_column,
    table,
)
from engine.covariance._sample import products, split
from engine.errors import ModelError, UsageError

_WIDE = 2
"""Assets per date from which the eigenvectors are found by way of the dates."""
_ROWS = 64
"""Rows of the table of pairs in work at a time: its slices stay in cache."""
_ROOT5 = float(np.sqrt(5.0))
_FAR = 300.0  # where both forms are good to 1e-11
_FEWEST = 12  # the authors' bound on n for the asymptotics to mean anything


def nonlinear_shrinkage(
    X: Any,
    *,
    method: Literal["quadratic_inverse", "analytical"] = "quadratic_inverse",
    assume_centered: bool = False,
) -> Any:
    """Nonlinear shrinkage of the eigenvalues.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN. N may exceed T.
    method : {"quadratic_inverse", "analytical"}
        Quadratic-inverse shrinkage (Ledoit, Wolf 2022, "Quadratic shrinkage for large
        covariance matrices", Bernoulli 28), optimal under the inverse
        Stein loss, and the default: no kernel support to choose. Analytical (2020,
        "Analytical nonlinear shrinkage of large-dimensional covariance matrices",
        Annals of Statistics 48): Epanechnikov kernel of bandwidth
        ``n^(-1/3)``, optimal under the Frobenius and minimum-variance losses.
    assume_centered : bool, default False
        Take the mean to be zero: ``n = T``. Otherwise ``n = T - 1``.

    Returns
    -------
    (N, N) array or DataFrame
        Positive definite; per period. Quadratic-inverse keeps the trace of the sample.

    Raises
    ------
    ModelError
        Fewer than 12 observations; or more zero eigenvalues than ``N > n`` explains: a
        constant or repeated column, which is named.
    """
    if method not in ("quadratic_inverse", "analytical"):
        raise UsageError(
            "unknown method of nonlinear shrinkage",
            received=repr(method),
            expected="quadratic_inverse or analytical",
        )
    values, vectors, n, unit, labels = _spectrum(X, assume_centered, _FEWEST)
    if values.size == 1:
        return labelled(np.array([[values[0] * unit**2]]), labels)
    rule = _quadratic_inverse if method == "quadratic_inverse" else _analytical
    shrunk = rule(values, n)
    if vectors.shape[1] == values.size:
        return labelled(_rebuild(vectors, shrunk) * unit**2, labels)
    # Only the vectors of the n positive eigenvalues are there: all the others share
    # one level, and so make a multiple of the identity.
    rest = shrunk[0]
    S = (vectors * (shrunk[-vectors.shape[1] :] - rest)) @ vectors.T
    S = 0.5 * (S + S.T)
    S.flat[:: values.size + 1] += rest
    return labelled(S * unit**2, labels)


def rie(X: Any, *, assume_centered: bool = False, debias_small: bool = False) -> Any:
    """Rotationally invariant estimator of Bun, Bouchaud and Potters.

    On the correlation matrix, with ``q = N / n`` and ``z_k = l_k - i N^(-1/2)``:
    ``xi_k = l_k / |1 - q + q z_k s(z_k)|^2``, ``s(z) = (1/N) sum_{j != k} 1/(z - l_j)``
    (2017, "Cleaning large correlation matrices", Physics Reports 666),
    rescaled so that the trace is kept; sample volatilities are put back.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN.
    assume_centered : bool, default False
        ``n = T`` and no demeaning; otherwise ``n = T - 1``.
    debias_small : bool, default False
        For N of a few hundred the imaginary part ``N^(-1/2)`` biases the smallest
        eigenvalues downwards. The correction given there (also Bun, Bouchaud,
        Potters 2016, "Cleaning correlation matrices", Risk) multiplies ``xi_k`` by
        ``max(1, G_k)``, right in the limit for a multiple of the identity:
        ``G_k = s2 |1 - q + q z_k g(z_k)|^2 / l_k``, ``s2 = l_1 / (1 - sqrt q)^2``,
        ``g(z) = [z + s2 (q - 1) - sqrt(z - l_1) sqrt(z - l_+)] / (2 q z s2)``,
        ``l_+ = s2 (1 + sqrt q)^2``. Needs ``N < n``. Off by default: it rests on the
        one smallest eigenvalue.

    Returns
    -------
    (N, N) array or DataFrame
        Positive semi-definite, with N - n zero eigenvalues where N > n. The diagonal of
        the cleaned correlation, N in sum, is not one entry by entry, so single
        variances move a little from the sample's.

    Raises
    ------
    ModelError
        A column never moves (it is named); ``debias_small`` with ``N >= n``.
    """
    S, n, unit, labels = _sample(X, assume_centered, 2)
    if S.shape[0] == 1:
        return labelled(S * unit**2, labels)
    sigma, R = split(S, labels)
    values, vectors = np.linalg.eigh(R)
    values = np.maximum(values, 0.0)
    N = values.size
    q, eta = N / n, N**-0.5
    cleaned = np.empty(N)
    for lo in range(0, N, _ROWS):
        rows = slice(lo, min(lo + _ROWS, N))
        z = values[rows] - 1j * eta
        # The term j = k is 1 / (-i eta), taken out of the full sum.
        s = ((1.0 / (z[:, None] - values)).sum(axis=1) + 1.0 / (1j * eta)) / N
        cleaned[rows] = values[rows] / np.abs(1.0 - q + q * z * s) ** 2
    if debias_small:
        cleaned *= np.maximum(1.0, _small_eigenvalue_factor(values, q, labels, R))
    cleaned *= N / cleaned.sum()
    return labelled(
        _rebuild(vectors, cleaned) * np.outer(sigma, sigma) * unit**2, labels
    )


def denoised(
    X: Any,
    *,
    method: Literal["constant", "targeted"] = "constant",
    alpha: float = 0.0,
    detone: int = 0,
    edge: float | None = None,
    assume_centered: bool = False,
) -> Any:
    """Correlation whose noise eigenvalues, by Marchenko and Pastur, are levelled.

    Eigenvalues of the correlation below ``s^2 (1 + sqrt(N/n))^2`` are noise (Laloux,
    Cizeau, Bouchaud, Potters 1999, Phys. Rev. Lett. 83); the noise variance ``s^2`` is
    the mean of those below the edge, found by repetition.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals; no NaN.
    method : {"constant", "targeted"}
        Noise eigenvalues become their mean (Lopez de Prado 2020, *Machine Learning for
        Asset Managers*); or their matrix is shrunk by ``alpha`` towards
        its diagonal (there too).
    alpha : float in [0, 1], default 0
        For ``targeted``: the part of the off-diagonal noise that is kept.
    detone : int, default 0
        Number of the largest components (market modes) that are taken out. The result
        is then singular: for clustering, not for optimisation.
    edge : float, optional
        Use this edge instead: eigenvalues at or below it are noise.
    assume_centered : bool, default False

    Returns
    -------
    (N, N) array or DataFrame
        With the sample's variances, divisor n.
    """
    if method not in ("constant", "targeted"):
        raise UsageError(
            "unknown method of denoising",
            received=repr(method),
            expected="constant or targeted",
        )
    if not 0.0 <= alpha <= 1.0:
        raise UsageError("alpha must lie in [0, 1]", received=alpha)
    if edge is not None and not 0.0 <= edge < np.inf:
        raise UsageError("edge is an eigenvalue, zero or more", received=edge)
    if isinstance(detone, bool) or not isinstance(detone, (int, np.integer)):
        raise UsageError("detone is a number of components", received=repr(detone))
    S, n, unit, labels = _sample(X, assume_centered, 2)
    N = S.shape[0]
    if not 0 <= detone < max(N, 1):
        raise UsageError(
            "detone takes out fewer components than there are assets",
            received=detone,
            expected=f"0 to {N - 1}",
        )
    if N == 1:
        return labelled(S * unit**2, labels)
    sigma, R = split(S, labels)
    values, vectors = np.linalg.eigh(R)
    limit = marchenko_pastur_edge(values, N / n) if edge is None else float(edge)
    noise = int(np.searchsorted(values, limit, side="right"))
    cleaned = np.maximum(values, 0.0)
    if method == "constant":
        cleaned[:noise] = cleaned[:noise].mean() if noise else 0.0
        C = _rebuild(vectors[:, : N - detone], cleaned[: N - detone])
    else:
        part = _rebuild(vectors[:, :noise], cleaned[:noise])
        signal = slice(noise, max(noise, N - detone))
        C = _rebuild(vectors[:, signal], cleaned[signal]) + alpha * part
        C[np.diag_indices(N)] += (1.0 - alpha) * np.diagonal(part)
    diagonal = np.diagonal(C).copy()
    if (diagonal <= 1e-12).any():
        raise ModelError(
            "nothing of an asset is left without the largest components",
            asset=column_name(labels, int(np.argmax(diagonal <= 1e-12))),
            received=f"detone={detone}",
        )
    C *= np.outer(diagonal**-0.5, diagonal**-0.5)
    C = 0.5 * (C + C.T)
    np.fill_diagonal(C, 1.0)
    return labelled(C * np.outer(sigma, sigma) * unit**2, labels)


def marchenko_pastur_edge(values: Vector, q: float) -> float:
    """Largest eigenvalue that noise of the bulk's own variance would give.

    Parameters
    ----------
    values : (N,) float64
        Eigenvalues of a correlation, ascending.
    q : float
        Assets over observations.

    Notes
    -----
    The variance is the mean of the eigenvalues below the edge; it and the edge fall
    together until no eigenvalue changes sides.
    """
    noise = values.size
    while True:
        edge = float(values[:noise].mean()) * (1.0 + np.sqrt(q)) ** 2
        fewer = int(np.searchsorted(values[:noise], edge, side="right"))
        if fewer in (noise, 0):
            return edge
        noise = fewer


def _sample(X: Any, about_zero: bool, fewest: int) -> tuple[Matrix, int, float, Any]:
    """Sample covariance in a safe unit, effective observations, unit and labels."""
    least = fewest + (not about_zero)
    Y, S, unit, labels = products(X, minimum=least, about_zero=about_zero)
    n = Y.shape[0] - (not about_zero)
    S /= n
    return S, n, unit, labels


def _spectrum(
    X: Any, about_zero: bool, fewest: int
) -> tuple[Vector, Matrix, int, float, Any]:
    """Eigenvalues, vectors, effective observations, unit, labels; rank checked.

    Of many more assets than dates only the vectors of positive eigenvalues, by way of
    the (T, T) products of dates, which have the same eigenvalues.
    """
    T, N = table(X)[0].shape
    if N >= _WIDE * T:
        observed, labels = observations(X, minimum=fewest + (not about_zero))
        observed, unit = scaled(observed)
        Y = observed if about_zero else centred(observed)
        n = T - (not about_zero)
        found = _from_dates(Y, n)
        if found is not None:
            return *found, n, unit, labels
    S, n, unit, labels = _sample(X, about_zero, fewest)
    values, vectors = np.linalg.eigh(S)
    first = max(0, N - n)
    floor = N * np.finfo(float).eps * max(values[-1], 0.0)
    if not values[first] > floor:
        i, why = singular_column(S)
        raise ModelError(
            "the sample has more zero eigenvalues than its length explains",
            asset=column_name(labels, i),
            received=why,
            fix="Leave the column out, or use linear shrinkage (ledoit_wolf, oas).",
        )
    values[:first] = 0.0
    return values, vectors, n, unit, labels


def _from_dates(Y: Matrix, n: int) -> tuple[Vector, Matrix] | None:
    """Eigenvalues (N,) and the vectors (N, n) of the n largest; None if near singular.

    Vectors of small eigenvalues come out as accurate as the eigenvalue is large against
    the largest: below the bound they would not be orthogonal to 1e-10.
    """
    T, N = Y.shape
    K = Y @ Y.T
    K /= n
    found, dates = np.linalg.eigh(K)
    found, dates = found[T - n :], dates[:, T - n :]
    if not found[0] > 1e-6 * found[-1]:
        return None
    values = np.zeros(N)
    values[N - n :] = found
    return values, (Y.T @ dates) / np.sqrt(n * found)


def _rebuild(vectors: Matrix, values: Vector) -> Matrix:
    """``V diag(values) V'`` by one symmetric product."""
    root = vectors * np.sqrt(values)
    return root @ root.T


def _small_eigenvalue_factor(
    values: Vector, q: float, labels: Any, R: Matrix
) -> Vector:
    """``G_k`` of `rie`: what Marchenko-Pastur noise of this lower edge asks for."""
    if q >= 1.0:
        raise ModelError(
            "debias_small needs fewer assets than observations",
            received=f"N / n = {q:.3g}",
            expected="below 1",
        )
    smallest = values[0]
    if not smallest > values.size * np.finfo(float).eps * values[-1]:
        i, why = singular_column(R)
        raise ModelError(
            "debias_small needs a smallest eigenvalue above zero",
            asset=column_name(labels, i),
            received=why,
            fix="Leave the column out.",
        )
    s2 = smallest / (1.0 - np.sqrt(q)) ** 2
    upper = s2 * (1.0 + np.sqrt(q)) ** 2
    z = values - 1j * values.size**-0.5
    # Two roots, not the root of the product: the branch that decays as 1 / z.
    g = z + s2 * (q - 1.0) - np.sqrt(z - smallest) * np.sqrt(z - upper)
    g /= 2.0 * q * s2 * z
    return s2 * np.abs(1.0 - q + q * z * g) ** 2 / values


def _quadratic_inverse(values: Vector, n: int) -> Vector:
    """Shrunk eigenvalues of Ledoit and Wolf 2022, scaled to the sample's trace."""
    N = values.size
    c = N / n
    h = min(c * c, 1.0 / (c * c)) ** 0.35 / N**0.35
    first = max(0, N - n)
    inverse = 1.0 / values[first:]
    M = inverse.size
    theta, conjugate = np.empty(M), np.empty(M)
    weight = inverse * inverse * (h * h)
    for lo in range(0, M, _ROWS):
        rows = slice(lo, min(lo + _ROWS, M))
        gap = inverse - inverse[rows, None]  # (rows, M): L_j - L_i
        kernel = inverse / (gap * gap + weight)
        conjugate[rows] = (kernel * inverse).sum(axis=1) * h
        kernel *= gap
        theta[rows] = kernel.sum(axis=1)
    theta /= M
    conjugate /= M
    amplitude = theta**2 + conjugate**2
    if N <= n:
        delta = 1.0 / (
            (1.0 - c) ** 2 * inverse
            + 2.0 * c * (1.0 - c) * inverse * theta
            + c * c * inverse * amplitude
        )
    else:
        null = 1.0 / ((c - 1.0) * inverse.mean())
        delta = np.append(np.full(first, null), 1.0 / (inverse * amplitude))
    return delta * (values.sum() / delta.sum())


def _analytical(values: Vector, n: int) -> Vector:
    """Shrunk eigenvalues of Ledoit and Wolf 2020."""
    N = values.size
    first = max(0, N - n)
    lam = values[first:]
    h = n ** (-1.0 / 3.0)
    M = lam.size
    density, hilbert = np.empty(M), np.empty(M)
    for lo in range(0, M, _ROWS):
        rows = slice(lo, min(lo + _ROWS, M))
        width = h * lam
        x = (lam[rows, None] - lam) / width
        square = 1.0 - x * x / 5.0
        density[rows] = (np.maximum(square, 0.0) / width).mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            term = square * np.log(np.abs((_ROOT5 - x) / (_ROOT5 + x)))
        term[np.abs(x) == _ROOT5] = 0.0  # the limit at the edge of the kernel
        term *= 3.0 / (4.0 * _ROOT5 * np.pi)
        term -= 3.0 / (10.0 * np.pi) * x
        # Far out the two terms cancel; the moments of the kernel give the rest.
        far = np.abs(x) > _FAR
        y = 1.0 / x[far]
        term[far] = -y / np.pi * (1.0 + y * y * (1.0 + y * y * (15.0 / 7.0)))
        hilbert[rows] = (term / width).mean(axis=1)
    density *= 3.0 / (4.0 * _ROOT5)
    if N <= n:
        c = N / n
        return lam / (
            (np.pi * c * lam * density) ** 2
            + (1.0 - c - np.pi * c * lam * hilbert) ** 2
        )
    null = (
        (1.0 / np.pi)
        * (
            3.0 / (10.0 * h * h)
            + 3.0
            / (4.0 * _ROOT5 * h)
            * (1.0 - 1.0 / (5.0 * h * h))
            * np.log((1.0 + _ROOT5 * h) / (1.0 - _ROOT5 * h))
        )
        * (1.0 / lam).mean()
    )
    alone = 1.0 / (np.pi * (N - n) / n * null)
    shrunk = lam / (np.pi**2 * lam**2 * (density**2 + hilbert**2))
    return np.append(np.full(first, alone), shrunk)
