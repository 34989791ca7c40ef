"""Factor models of returns: statistical, or on factors or loadings the user gives.

``x_t = a + B f_t + e_t`` with uncorrelated ``e``; the covariance is ``B F B' + D``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine.covariance._check import column_name, observations
from engine.covariance._factor import FactorCovariance
from engine.covariance._factor_fit import (
    cross_section,
    maximum_likelihood,
    principal_components,
    time_series,
)
from engine.covariance._factor_number import CRITERIA, choose, standardised
from engine.errors import DataError, ModelError, UsageError

Method = Literal["principal_components", "maximum_likelihood"]
UNIQUENESS_FLOOR = 0.005
"""Least share of an asset's variance that is its own: the bound of R's ``factanal``.

Without one, likelihood runs to zero specific variance in small samples (a Heywood
case) and an optimiser reads an arbitrage between the asset and its factors."""
FEW = 40
"""Dates or assets below which the criterion of Bai and Ng is not trusted."""


@dataclass(frozen=True, slots=True, eq=False)
class FactorModel(Value):
    """A fitted factor model.

    Attributes
    ----------
    covariance : FactorCovariance
        ``B F B' + D`` per period.
    assets, factors : tuple of str
        Labels of rows and columns of B.
    factor_returns : (T, K) float64
        f, one row per row of the data. Centred for a statistical model.
    method : str
        ``principal_components``, ``maximum_likelihood``, ``time_series`` (factors
        given) or ``cross_section`` (loadings given).
    chosen_by : str
        Criterion that set the number of factors, or ``given``.
    floored : tuple of str
        Assets whose specific variance was raised to the floor.
    """

    covariance: FactorCovariance
    assets: tuple[str, ...]
    factors: tuple[str, ...]
    factor_returns: np.ndarray
    method: str
    chosen_by: str = "given"
    floored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.assets), len(self.factors))
        if self.covariance.loadings.shape != shape:
            raise DataError(
                "labels do not match the loadings",
                received=self.covariance.loadings.shape,
                expected=shape,
            )
        f = frozen_array(
            self.factor_returns, name="factor_returns", ndim=2, shape=(-1, shape[1])
        )
        object.__setattr__(self, "factor_returns", f)

    @property
    def r_squared(self) -> np.ndarray:
        """(N,) share of each asset's variance that the factors explain."""
        total = self.covariance.variances()
        safe = np.where(total > 0, total, 1.0)
        return np.where(
            total > 0, 1.0 - self.covariance.specific_variance / safe, np.nan
        )

    def to_frame(self):
        """Return loadings, specific volatility per period and R2 by asset."""
        import pandas as pd

        B = self.covariance.loadings
        frame = pd.DataFrame(B, columns=list(self.factors))
        frame.insert(0, "asset", list(self.assets))
        frame["specific_volatility"] = np.sqrt(self.covariance.specific_variance)
        frame["r_squared"] = self.r_squared
        return frame

    def __repr__(self) -> str:
        floored = f", {len(self.floored)} at the floor" if self.floored else ""
        return (
            f"FactorModel({len(self.assets)} assets, {len(self.factors)} factors, "
            f"{self.method}, number {self.chosen_by}{floored})"
        )

    def _repr_html_(self) -> str:
        import html

        return f"<p>{html.escape(repr(self))}</p>" + html_table(self.to_frame())


def factor(
    X: Any,
    n_factors: int | str | None = None,
    *,
    method: Method | None = None,
    factors: Any = None,
    loadings: Any = None,
    standardise: bool = False,
    half_life: float | None = None,
    ddof: int = 1,
    specific_floor: float = UNIQUENESS_FLOOR,
    shrink_specific: float = 0.0,
    shrink_loadings: Literal["vasicek"] | None = None,
    weights: Any = None,
) -> FactorCovariance:
    """Covariance of a factor model, ``B F B' + D``, never formed as N x N.

    The covariance of `factor_model`, which takes the same arguments and also returns
    labels, factor returns and fit.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first.
    n_factors, method, factors, loadings, standardise
        As in `factor_model`.
    half_life, ddof, specific_floor, shrink_specific, shrink_loadings, weights
        As in `factor_model`.

    Returns
    -------
    FactorCovariance
    """
    return factor_model(
        X,
        n_factors,
        method=method,
        factors=factors,
        loadings=loadings,
        standardise=standardise,
        half_life=half_life,
        ddof=ddof,
        specific_floor=specific_floor,
        shrink_specific=shrink_specific,
        shrink_loadings=shrink_loadings,
        weights=weights,
    ).covariance


def factor_model(
    X: Any,
    n_factors: int | str | None = None,
    *,
    method: Method | None = None,
    factors: Any = None,
    loadings: Any = None,
    standardise: bool = False,
    half_life: float | None = None,
    ddof: int = 1,
    specific_floor: float = UNIQUENESS_FLOOR,
    shrink_specific: float = 0.0,
    shrink_loadings: Literal["vasicek"] | None = None,
    weights: Any = None,
) -> FactorModel:
    """Fit a factor model: statistical, on given factors, or on given loadings.

    ``principal_components`` (default)
        K leading eigenvectors of the sample covariance S and ``D = diag(S - B F B')``:
        the variances of S are kept. With N > T the eigenvectors come from the T x T
        Gram matrix (Connor and Korajczyk 1986), so nothing of size N x N is formed.
    ``maximum_likelihood``
        Gaussian factor analysis (Joreskog 1967) by quasi-Newton steps on its profile
        likelihood, with ``F = I``. Also keeps the variances, except at the floor;
        unlike principal components it does not depend on the units of each column.
    ``factors=``
        Time-series regression of each asset on the factor returns, with a constant.
    ``loadings=``
        Cross-sectional regression each date (Fama and MacBeth 1973), without a
        constant: give a column of ones for one. The factor covariance is that of the
        estimated factor returns and holds their estimation noise, of order 1/N.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first; no NaN.
    n_factors : int, "auto", "bai_ng", "eigenvalue_ratio" or "growth_ratio"
        Of a statistical model; the criteria are those of `number_of_factors`. Default
        "auto": "bai_ng" from 40 dates and 40 assets on, below which it finds too many
        (Bai and Ng 2002, section 6), and "growth_ratio" below. May be 0: a diagonal
        covariance.
    method : {"principal_components", "maximum_likelihood"}, optional
    factors : (T, K) array_like or DataFrame, optional
        Factor returns on the dates of X; no NaN. A DataFrame must carry X's dates.
    loadings : (N, K) array_like or DataFrame, optional
        Exposures; no NaN. A DataFrame is aligned with the columns of X by name.
    standardise : bool, default False
        Principal components of the correlation instead of the covariance.
    half_life : float, optional
        Weight dates exponentially, in periods. Weights sum to one and no degrees of
        freedom are taken off, as in ``ewma(assume_centered=False)``.
    ddof : {1, 0}, default 1
        Divisor ``T - ddof`` of S and of F. The residual variance of the regression on
        given factors divides by ``T - K - ddof``: unbiased.
    specific_floor : float in [0, 1), default 0.005
        Least specific variance as a share of the asset's sample variance.
    shrink_specific : float in [0, 1], default 0
        Share of the cross-sectional mean in each specific variance.
    shrink_loadings : {"vasicek"}, optional
        For given factors: each beta is averaged with the mean of its column, weighted
        by precision (Vasicek 1973, J. Finance 28), factor by factor.
    weights : (N,) array_like, optional
        For given loadings: regression weights, positive; equal by default.

    Returns
    -------
    FactorModel
        Each statistical factor has the sign that makes its loadings sum to a positive
        number.

    Raises
    ------
    UsageError
        Unknown method, or options that contradict one another.
    DataError
        NaN, or labels that do not match: asset, factor and date are named.
    ModelError
        More factors than the data identify, collinear factors, or a series that never
        moves.
    """
    _check_options(
        n_factors, method, factors, loadings, shrink_loadings, weights, standardise
    )
    _check_numbers(half_life, ddof, specific_floor, shrink_specific)
    values, labels = observations(X, minimum=2)
    rows = _rows(values, half_life, ddof)
    chosen_by = "given"
    if factors is not None:
        f, names = _aligned_rows(factors, X, labels, values.shape[0])
        parts = time_series(rows, f, names, vasicek=shrink_loadings == "vasicek")
        kind = "time_series"
    elif loadings is not None:
        B, names = _aligned_loadings(loadings, labels, values.shape[1])
        w = _regression_weights(weights, labels, values.shape[1])
        parts = cross_section(rows, B, w, names)
        kind = "cross_section"
    else:
        K, chosen_by = _number(n_factors, rows, labels)
        if method == "maximum_likelihood":
            unit = standardised(rows.Y, labels)
            parts = maximum_likelihood(rows.Y, unit, K, specific_floor)
        else:
            parts = principal_components(
                rows.Y, standardised(rows.Y, labels) if standardise else None, K
            )
        kind = method or "principal_components"
        names = tuple(f"factor_{k + 1}" for k in range(K))
    total = np.einsum("ti,ti->i", rows.Y, rows.Y)
    d = np.maximum(parts.specific, 0.0)
    d = (1.0 - shrink_specific) * d + shrink_specific * d.mean()
    floor = specific_floor * total
    low = d < floor * (1.0 - 1e-12)
    assets = tuple(column_name(labels, i) for i in range(values.shape[1]))
    return FactorModel(
        covariance=FactorCovariance(parts.B, parts.F, np.maximum(d, floor)),
        assets=assets,
        factors=names,
        factor_returns=parts.f if parts.f is not None else (values - rows.m) @ parts.A,
        method=kind,
        chosen_by=chosen_by,
        floored=tuple(assets[i] for i in np.flatnonzero(low)),
    )


class Rows(NamedTuple):
    """Centred rows scaled so that the covariance is ``Y'Y``."""

    values: np.ndarray
    """(T, N) as given."""
    m: np.ndarray
    """(N,) weighted mean."""
    Y: np.ndarray
    """(T, N) ``sqrt(weight) (x - m)``."""
    root: np.ndarray
    """(T,) square root of the weights."""
    sum_to_one: np.ndarray
    """(T,) weights of a mean."""
    ddof: int | None
    """Degrees of freedom taken off; None where dates are weighted."""

    @property
    def effective(self) -> float:
        """Effective number of dates."""
        return 1.0 / float((self.sum_to_one**2).sum())


def _rows(values: np.ndarray, half_life: float | None, ddof: int) -> Rows:
    T = values.shape[0]
    if half_life is None:
        share = np.full(T, 1.0 / T)
        root = np.full(T, np.sqrt(1.0 / (T - ddof)))
        m = values.mean(axis=0)
        return Rows(values, m, (values - m) * root[0], root, share, ddof)
    share = 0.5 ** (np.arange(T - 1, -1, -1.0) / half_life)
    share /= share.sum()
    m = share @ values
    root = np.sqrt(share)
    return Rows(values, m, (values - m) * root[:, None], root, share, None)


def _number(n_factors: Any, rows: Rows, labels: Any) -> tuple[int, str]:
    """Return the number of factors and who chose it."""
    T, N = rows.Y.shape
    if isinstance(n_factors, str) or n_factors is None:
        few = min(N, rows.effective) < FEW
        criterion = "growth_ratio" if few else "bai_ng"
        if n_factors is not None and n_factors != "auto":
            criterion = n_factors
        unit = standardised(rows.Y, labels)
        return choose(unit, rows.effective, criterion), criterion
    K = int(n_factors)
    most = min(N, T - 1)
    if K > most:
        raise ModelError(
            "more factors than the data hold",
            received=K,
            expected=f"at most {most} for {T} dates and {N} assets",
        )
    return K, "given"


def _check_options(
    n_factors, method, factors, loadings, shrink_loadings, weights, standardise
) -> None:
    if factors is not None and loadings is not None:
        raise UsageError("give factors or loadings, not both")
    given = factors is not None or loadings is not None
    if given and (n_factors is not None or method is not None or standardise):
        raise UsageError(
            "n_factors, method and standardise belong to a statistical model",
            fix="Leave them out where factors or loadings are given.",
        )
    known = ("principal_components", "maximum_likelihood")
    if method is not None and method not in known:
        raise UsageError(
            "unknown factor method", received=repr(method), expected=" or ".join(known)
        )
    if standardise and method == "maximum_likelihood":
        raise UsageError("maximum likelihood does not depend on the units of a column")
    if shrink_loadings not in (None, "vasicek"):
        raise UsageError(
            "unknown shrinkage of loadings",
            received=repr(shrink_loadings),
            expected="vasicek",
        )
    if shrink_loadings is not None and factors is None:
        raise UsageError("shrink_loadings belongs to given factors")
    if weights is not None and loadings is None:
        raise UsageError("weights belong to given loadings")
    if isinstance(n_factors, str):
        if n_factors not in ("auto", *CRITERIA):
            raise UsageError(
                "unknown criterion for the number of factors",
                received=repr(n_factors),
                expected=", ".join(("auto", *CRITERIA)),
            )
    elif n_factors is not None and (
        isinstance(n_factors, bool) or int(n_factors) != n_factors or n_factors < 0
    ):
        raise UsageError(
            "n_factors must be a whole number, not negative", received=n_factors
        )


def _check_numbers(half_life, ddof, specific_floor, shrink_specific) -> None:
    if half_life is not None and not 0.0 < half_life < np.inf:
        raise UsageError("half_life must be positive", received=half_life)
    if ddof not in (0, 1):
        raise UsageError("ddof must be 0 or 1", received=ddof)
    if not 0.0 <= specific_floor < 1.0:
        raise UsageError("specific_floor must lie in [0, 1)", received=specific_floor)
    if not 0.0 <= shrink_specific <= 1.0:
        raise UsageError("shrink_specific must lie in [0, 1]", received=shrink_specific)


def _aligned_rows(factors: Any, X: Any, labels: Any, T: int):
    """Factor returns (T, K) with names; dates compared where both carry them."""
    values, names = observations(factors, minimum=1)
    if values.shape[0] != T:
        raise DataError(
            "factor returns and asset returns have different numbers of dates",
            received=values.shape[0],
            expected=T,
        )
    if names is not None and labels is not None:
        differ = np.asarray(factors.index != X.index)
        if differ.any():
            t = int(np.argmax(differ))
            raise DataError(
                "factor returns and asset returns are on different dates",
                date=X.index[t],
                received=factors.index[t],
                fix="Join them on their dates first.",
            )
    K = values.shape[1]
    return values, tuple(
        str(names[k]) if names is not None else f"factor_{k + 1}" for k in range(K)
    )


def _aligned_loadings(loadings: Any, labels: Any, N: int):
    """Loadings (N, K) in the order of the columns of X, with factor names."""
    if hasattr(loadings, "columns") and labels is not None:
        missing = [a for a in labels if a not in loadings.index]
        if missing:
            raise DataError("no loadings are given for an asset", asset=str(missing[0]))
        if loadings.index.has_duplicates:
            twice = loadings.index[loadings.index.duplicated()][0]
            raise DataError("loadings list an asset twice", asset=str(twice))
        loadings = loadings.loc[list(labels)]
    values, names = observations(loadings, minimum=1)
    if values.shape[0] != N:
        raise DataError(
            "loadings do not match the assets", received=values.shape[0], expected=N
        )
    K = values.shape[1]
    return values, tuple(
        str(names[k]) if names is not None else f"factor_{k + 1}" for k in range(K)
    )


def _regression_weights(weights: Any, labels: Any, N: int) -> np.ndarray:
    if weights is None:
        return np.ones(N)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (N,):
        raise DataError(
            "regression weights do not match the assets", received=w.shape, expected=N
        )
    bad = ~(np.isfinite(w) & (w > 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise DataError(
            "a regression weight is not positive",
            asset=column_name(labels, i),
            received=w[i],
        )
    return w
