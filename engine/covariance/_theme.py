"""Correlations explained by what two assets share, and stressed along it.

``rho_ij = tanh(theta' z_ij + u_ij)``: z holds a constant and indicators of a shared
theme, country or sector; theta is re-estimated through time, and its history says how
far it can move (Packham and Woebbeking 2023, "Correlation scenarios and correlation
stress testing", J. Economic Behavior & Organization 205). tanh keeps correlations in
(-1, 1), and its inverse is Fisher's transform, in which the fit is linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.covariance._check import labelled, observations
from engine.covariance._factor_number import standardised
from engine.covariance._nearest import nearest_correlation
from engine.covariance._sample import correlation_to_covariance, cross_product
from engine.covariance._theme_pairs import indicators
from engine.errors import DataError, ModelError, UsageError

LARGEST = 0.999999
"""Correlations are held below this before Fisher's transform, which has a pole at 1."""


@dataclass(frozen=True, slots=True, eq=False)
class ThemeCorrelation(Value):
    """Correlations of N assets as a function of K parameters theta.

    Attributes
    ----------
    assets : tuple of str, length N
    features : tuple of str, length K
        What each parameter stands for; the first is the constant.
    indicators : (K, N, N) float64
        z: 1 where the pair has the feature, else 0; symmetric.
    theta : (K,) float64
        Of the last window, in units of Fisher's transform.
    residual : (N, N) float64
        u: what theta does not explain of each pair in the last window; zero for
        ``keep_residuals=False``.
    volatility : (N,) float64
        Of the last window, per period.
    theta_path : (M, K) float64
        theta through time, oldest first; the last row is the last window's.
    dates : (M,) array
        Label of the last row of each window.
    theta_covariance : (K, K) float64
        Of theta through time: S, the measure of plausibility.
    window : int
    from_frame : bool
        Matrices come back as DataFrames.
    """

    assets: tuple[str, ...]
    features: tuple[str, ...]
    indicators: np.ndarray
    theta: np.ndarray
    residual: np.ndarray
    volatility: np.ndarray
    theta_path: np.ndarray
    dates: np.ndarray
    theta_covariance: np.ndarray
    window: int
    from_frame: bool = False

    def __post_init__(self) -> None:
        N, K = len(self.assets), len(self.features)
        for name, shape in (
            ("indicators", (K, N, N)),
            ("theta", (K,)),
            ("residual", (N, N)),
            ("volatility", (N,)),
            ("theta_path", (-1, K)),
            ("theta_covariance", (K, K)),
        ):
            array = frozen_array(
                getattr(self, name), name=name, ndim=len(shape), shape=shape
            )
            object.__setattr__(self, name, array)
        dates = np.array(self.dates)
        dates.setflags(write=False)
        object.__setattr__(self, "dates", dates)

    def correlation(self) -> Any:
        """(N, N) correlation at theta: positive semi-definite, unit diagonal.

        The nearest correlation matrix where tanh of theta gives none (Qi, Sun 2006).
        """
        return self._labelled(self._correlation(self.theta))

    def covariance(self) -> Any:
        """(N, N) covariance per period at theta and the volatilities of the window."""
        R = self._correlation(self.theta)
        return self._labelled(correlation_to_covariance(R, self.volatility))

    def with_theta(
        self, theta: Any = None, *, relative: bool = False, **moves: float
    ) -> ThemeCorrelation:
        """Return the same pairs at another theta.

        Parameters
        ----------
        theta : (K,) array_like or mapping of feature to value, optional
            Features not named stay.
        relative : bool, default False
            Add the values to theta instead of putting them in its place.
        **moves : float
            Values by feature, for names that are Python identifiers.
        """
        values = self.theta.copy()
        if theta is not None and not isinstance(theta, Mapping):
            given = np.asarray(theta, dtype=np.float64)
            if given.shape != values.shape:
                raise UsageError(
                    "theta must hold one value per feature",
                    received=given.shape,
                    expected=", ".join(self.features),
                )
            values = values + given if relative else given
            theta = {}
        for name, value in {**(theta or {}), **moves}.items():
            if name not in self.features:
                raise UsageError(
                    "unknown feature of a pair",
                    received=repr(name),
                    expected=", ".join(self.features),
                )
            k = self.features.index(name)
            values[k] = (values[k] if relative else 0.0) + float(value)
        if not np.isfinite(values).all():
            raise UsageError("theta must be finite", received=values.tolist())
        return self._at(values)

    def plausibility(self, theta: Any) -> float:
        """Mahalanobis distance of another theta from this one under S.

        Infinite where theta leaves the directions in which it has moved before.
        """
        move = np.asarray(theta, dtype=np.float64) - self.theta
        values, vectors = np.linalg.eigh(self.theta_covariance)
        seen = values > 1e-12 * max(float(values[-1]), np.finfo(float).tiny)
        along = vectors.T @ move
        if np.abs(along[~seen]).max(initial=0.0) > 1e-9 * np.linalg.norm(move):
            return float("inf")
        return float(np.sqrt((along[seen] ** 2 / values[seen]).sum()))

    def gradient(self, weights: Any) -> np.ndarray:
        """(K,) derivative of the portfolio's volatility by theta.

        ``(1/(2 s)) sum_{i != j} w_i s_i w_j s_j (1 - rho_ij^2) z_ij``; before any
        repair of the matrix.
        """
        return self._gradient(self._exposure(weights), self.theta)

    def stressed(
        self, weights: Any, *, plausibility: float = 2.0, features: Any = None
    ) -> ThemeStress:
        """Correlations that hurt a portfolio most, as far as theta has moved before.

        Maximises the portfolio's volatility over the ellipsoid
        ``(t - theta)' S^-1 (t - theta) <= k^2``. To first order the answer is
        ``theta + k S g / sqrt(g'S g)`` with g the `gradient` (its sign turned for a
        profit); the step is repeated with g at the new point until it stays, and of
        all steps, the base included, the one with the most risk is kept.

        Parameters
        ----------
        weights : (N,) array_like, mapping or Series
            Fractions of net asset value; may be short. By name where they carry
            names; assets not named have none.
        plausibility : float, default 2
            k: standard deviations of theta through time.
        features : sequence of str, optional
            Only these move, within the same ellipsoid; by default all.

        Returns
        -------
        ThemeStress
            Its risk is never below the base risk.
        """
        if not 0.0 <= plausibility < np.inf:
            raise UsageError("plausibility must not be negative", received=plausibility)
        h = self._exposure(weights)
        S = self._free(features)
        base = best = _risk(self._correlation(self.theta), h)
        where = here = self.theta
        for _ in range(50):
            g = self._gradient(h, here)
            length = float(np.sqrt(max(g @ S @ g, 0.0)))
            if length <= 0.0:  # no feature moves this portfolio's risk
                break
            there = self.theta + plausibility * (S @ g) / length
            moved = float(np.abs(there - here).max())
            here = there
            risk = _risk(self._correlation(here), h)
            if risk > best:
                best, where = risk, here
            if moved <= 1e-10 * (1.0 + float(np.abs(here).max())):
                break
        raw = np.tanh(np.tensordot(where, self.indicators, axes=1) + self.residual)
        np.fill_diagonal(raw, 1.0)
        after = self._at(where)
        return ThemeStress(
            base=self,
            after=after,
            risk_before=base,
            risk_after=best,
            plausibility=self.plausibility(where),
            repair=float(np.linalg.norm(self._correlation(where) - raw)),
        )

    def to_frame(self):
        """Return theta, its history's spread and the share of pairs by feature."""
        import pandas as pd

        N = len(self.assets)
        pairs = N * (N - 1)
        return pd.DataFrame(
            {
                "feature": self.features,
                "theta": self.theta,
                "lowest": self.theta_path.min(axis=0),
                "highest": self.theta_path.max(axis=0),
                "spread": np.sqrt(np.diagonal(self.theta_covariance)),
                "share_of_pairs": self.indicators.sum(axis=(1, 2)) / pairs,
            }
        )

    def __repr__(self) -> str:
        values = ", ".join(
            f"{f} {t:+.3f}" for f, t in zip(self.features, self.theta, strict=True)
        )
        return (
            f"ThemeCorrelation({len(self.assets)} assets, {values}; "
            f"{self.theta_path.shape[0]} windows of {self.window})"
        )

    def _at(self, theta: np.ndarray) -> ThemeCorrelation:
        from dataclasses import replace

        return replace(self, theta=theta)

    def _correlation(self, theta: np.ndarray) -> np.ndarray:
        R = np.tanh(np.tensordot(theta, self.indicators, axes=1) + self.residual)
        np.fill_diagonal(R, 1.0)
        # Rounding puts zero eigenvalues of a sample matrix (T <= N) at about -1e-15 N.
        if np.linalg.eigvalsh(R)[0] < -1e-10:
            return np.asarray(nearest_correlation(R))
        return R

    def _exposure(self, weights: Any) -> np.ndarray:
        """(N,) weights times volatilities."""
        if hasattr(weights, "keys"):
            unknown = [str(a) for a in weights.keys() if a not in self.assets]
            if unknown:
                raise DataError(
                    "a weight is given for an asset that is not modelled",
                    asset=unknown[0],
                )
            weights = [weights[a] if a in weights else 0.0 for a in self.assets]
        w = np.asarray(weights, dtype=np.float64)
        if w.shape != self.volatility.shape or not np.isfinite(w).all():
            raise DataError(
                "weights have the wrong shape or hold NaN",
                received=w.shape,
                expected=self.volatility.shape,
            )
        if not (w != 0).any():
            raise DataError("the portfolio holds none of the assets")
        return w * self.volatility

    def _gradient(self, h: np.ndarray, theta: np.ndarray) -> np.ndarray:
        rho = np.tanh(np.tensordot(theta, self.indicators, axes=1) + self.residual)
        np.fill_diagonal(rho, 1.0)
        variance = float(h @ rho @ h)
        if variance <= 0:
            raise ModelError("the portfolio has no risk at this theta")
        slope = np.outer(h, h) * (1.0 - rho**2)
        by_theta = np.tensordot(self.indicators, slope, axes=2)
        return by_theta / (2.0 * np.sqrt(variance))

    def _free(self, features: Any) -> np.ndarray:
        """(K, K) S, or the covariance of some features given that the rest stay."""
        S = self.theta_covariance
        if features is None:
            return S
        names = (features,) if isinstance(features, str) else tuple(features)
        unknown = [name for name in names if name not in self.features]
        if unknown or not names:
            raise UsageError(
                "unknown feature of a pair",
                received=repr(unknown[0]) if unknown else "none at all",
                expected=", ".join(self.features),
            )
        free = np.array([name in names for name in self.features])
        cross = S[np.ix_(free, ~free)]
        rest = np.linalg.pinv(S[np.ix_(~free, ~free)], rcond=1e-12, hermitian=True)
        given = np.zeros_like(S)
        given[np.ix_(free, free)] = S[np.ix_(free, free)] - cross @ rest @ cross.T
        return given

    def _labelled(self, matrix: np.ndarray) -> Any:
        return labelled(matrix, list(self.assets) if self.from_frame else None)


@dataclass(frozen=True, slots=True, eq=False)
class ThemeStress(Value):
    """A stress of correlations.

    Attributes
    ----------
    base, after : ThemeCorrelation
    risk_before, risk_after : float
        Volatility of the portfolio per period, decimals.
    plausibility : float
        Mahalanobis distance of theta moved.
    repair : float
        Frobenius distance from tanh of theta to the nearest correlation matrix.
    """

    base: ThemeCorrelation
    after: ThemeCorrelation
    risk_before: float
    risk_after: float
    plausibility: float
    repair: float

    @property
    def theta(self) -> np.ndarray:
        """(K,) stressed parameters."""
        return self.after.theta

    def correlation(self) -> Any:
        """(N, N) stressed correlation."""
        return self.after.correlation()

    def covariance(self) -> Any:
        """(N, N) stressed covariance per period; volatilities unchanged."""
        return self.after.covariance()

    def to_frame(self):
        """Return theta before and after by feature."""
        import pandas as pd

        before, after = self.base.theta, self.after.theta
        return pd.DataFrame(
            {
                "feature": self.base.features,
                "before": before,
                "after": after,
                "move": after - before,
            }
        )

    def __repr__(self) -> str:
        return (
            f"ThemeStress(volatility {self.risk_before:.4%} to {self.risk_after:.4%} "
            f"per period, {self.plausibility:.2f} standard deviations)"
        )


def _risk(R: np.ndarray, h: np.ndarray) -> float:
    return float(np.sqrt(max(h @ R @ h, 0.0)))


def theme_correlation(
    X: Any,
    labels: Any,
    *,
    pairs: Mapping[str, Any] | None = None,
    window: int = 252,
    step: int = 21,
    keep_residuals: bool = True,
) -> ThemeCorrelation:
    """Fit correlations to what pairs of assets share, through time.

    In each window Fisher's transform of the sample correlations, whose error does not
    depend on the correlation, is regressed on the indicators of all pairs.

    Parameters
    ----------
    X : (T, N) array_like or DataFrame
        Returns per period, decimals, oldest first; no NaN.
    labels : DataFrame, Universe or mapping
        One row per asset and one column per kind: a DataFrame indexed by asset, a
        mapping of kind to N labels in the order of X, or a `Universe` (of its role,
        country and sector those in which assets differ). Each column gives a feature:
        the pair has the same label. A missing label is an error. The labels "none" and
        "unknown" are shared with nobody: absence is no theme, and unknown is not the
        same as equal.
    pairs : mapping, optional
        More features: name to ``(column, first labels, second labels)``; a pair has
        it when one asset is in the first set and the other in the second. Where a
        column is called ``role``, two are added: ``ai`` (both sell into compute
        demand) and ``ai_software`` (one does, the other is application software).
        ``pairs={}`` adds none.
    window, step : int, default 252 and 21
        Rows of each fit, and rows between one fit and the next. Windows overlap: there
        are about ``T / window`` independent ones.
    keep_residuals : bool, default True
        Keep what theta does not explain of each pair, so that the base is the sample
        correlation itself. False gives the fitted structure alone.

    Returns
    -------
    ThemeCorrelation

    Raises
    ------
    DataError
        A missing label, with the asset and the column.
    ModelError
        Fewer than two windows, a feature that no pair or every pair has, or features
        that repeat one another.
    """
    for name, value, least in (("window", window, 4), ("step", step, 1)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise UsageError(
                f"{name} must be a whole number from {least}", received=value
            )
    values, columns = observations(X, minimum=4)
    T, N = values.shape
    if N < 3:
        raise ModelError("too few assets for pairs to differ", received=N, expected=3)
    if T < window + step:
        raise ModelError(
            "too few dates: theta needs at least two windows",
            received=T,
            expected=f"at least {window + step}",
            fix="Shorten the window or the step.",
        )
    assets, features, Z = indicators(labels, columns, N, pairs)
    upper = np.triu_indices(N, 1)
    design = Z[:, upper[0], upper[1]].T
    _check_design(design, features)
    solver = np.linalg.pinv(design)
    ends = np.arange(T, window - 1, -step)[::-1]
    path = np.empty((ends.size, len(features)))
    fisher = np.zeros((N, N))
    for row, end in enumerate(ends):
        rows = values[end - window : end]
        unit = standardised(rows - rows.mean(axis=0), columns)
        R = np.clip(cross_product(unit), -LARGEST, LARGEST)
        fisher = np.arctanh(R)
        path[row] = solver @ fisher[upper]
    theta = path[-1]
    residual = fisher - np.tensordot(theta, Z, axes=1)
    np.fill_diagonal(residual, 0.0)
    index = np.asarray(X.index) if columns is not None else np.arange(T)
    return ThemeCorrelation(
        assets=assets,
        features=features,
        indicators=Z,
        theta=theta,
        residual=residual if keep_residuals else np.zeros((N, N)),
        volatility=values[-window:].std(axis=0, ddof=1),
        theta_path=path,
        dates=index[ends - 1],
        theta_covariance=np.cov(path.T, ddof=1).reshape(theta.size, theta.size),
        window=int(window),
        from_frame=columns is not None,
    )


def _check_design(design: np.ndarray, features: tuple[str, ...]) -> None:
    """Refuse features that nobody has or that the ones before them explain."""
    for k, name in enumerate(features):
        if not (design[:, k] != 0).any():
            raise ModelError(
                f"no pair of assets has the feature {name}",
                fix="Leave its column out, or give more assets.",
            )
    if design.shape[0] <= design.shape[1]:
        raise ModelError(
            "too few pairs of assets for the features",
            received=f"{design.shape[0]} pairs, {design.shape[1]} features",
            fix="Leave a column out, or give more assets.",
        )
    norm = np.sqrt((design**2).sum(axis=0))
    pivot = np.abs(np.diagonal(np.linalg.qr(design / norm, mode="r")))
    if (pivot <= 1e-10).any():
        k = int(np.argmax(pivot <= 1e-10))
        raise ModelError(
            f"the feature {features[k]} repeats the ones before it",
            received=", ".join(features),
            fix="Leave its column out.",
        )
