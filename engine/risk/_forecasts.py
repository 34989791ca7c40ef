"""One-session forecasts of VaR and expected shortfall of a fixed-weight book.

A linear book rebalanced to fixed weights needs only the law of its own return, which
is exact for every model here but the copula and ``normal:<estimator>``. Each function
takes a `Block` and returns (K, 3): VaR at ``level``, VaR and ES at ``es_level``, as
positive losses, one row per session. Forecast j sees ``rows[: window + j]`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from engine.errors import ModelError
from engine.model import fit_dof
from engine.risk._measures import tail

DECAY = 0.94
"""RiskMetrics (1996), daily."""


class Block(NamedTuple):
    """The sessions between two refits, and what was known before the last of them."""

    rows: np.ndarray
    """(window + K - 1,) simple returns of the book, before the last forecast."""
    assets: np.ndarray
    """(window, N) simple returns of the assets before the first forecast."""
    weights: np.ndarray
    view: Any
    """`MarketView` after the session before the first forecast."""
    window: int
    levels: tuple[float, float]
    keep_mean: bool
    seed: int
    n_scenarios: int

    @property
    def windows(self) -> np.ndarray:
        """(K, window) the returns that each forecast sees."""
        return np.lib.stride_tricks.sliding_window_view(self.rows, self.window)

    @property
    def location(self) -> np.ndarray:
        """(K,) mean of each forecast: zero, or that of its window."""
        means = self.windows.mean(axis=1)
        return means if self.keep_mean else np.zeros(len(means))


class Forecast(NamedTuple):
    """Forecasts of one block, and what had to be replaced."""

    values: np.ndarray
    note: str = ""


def _scaled(block: Block, sigma: Any, unit: np.ndarray, note: str = "") -> Forecast:
    """``sigma_t`` times the VaR, VaR and ES of a unit law, less the mean."""
    sigma = np.broadcast_to(sigma, block.location.shape)
    return Forecast(np.outer(sigma, unit) - block.location[:, None], note)


def _deviation(block: Block) -> np.ndarray:
    return block.windows.std(axis=1, ddof=1)


def _of_samples(block: Block, losses: np.ndarray) -> np.ndarray:
    level, es_level = block.levels
    out = np.empty((len(losses), 3))
    for j, sample in enumerate(losses):
        out[j, 0] = tail(sample, level=level).value_at_risk
        out[j, 1:] = tail(sample, level=es_level)
    return out


def historical(block: Block) -> Forecast:
    """Order statistics of the window."""
    W = block.windows
    centred = W - W.mean(axis=1, keepdims=True)
    return Forecast(_of_samples(block, -centred) - block.location[:, None])


def _normal_unit(levels: tuple[float, float]) -> np.ndarray:
    from scipy.stats import norm

    a, b = (float(norm.ppf(q)) for q in levels)
    return np.array([a, b, float(norm.pdf(b)) / (1.0 - levels[1])])


def normal(block: Block) -> Forecast:
    """Closed form with the sample covariance of the window."""
    return _scaled(block, _deviation(block), _normal_unit(block.levels))


def normal_with(estimator: Any, block: Block) -> Forecast:
    """Closed form with a named covariance estimator, re-estimated at each refit."""
    from engine.covariance._named import checked

    X = block.assets - block.assets.mean(axis=0)
    S = checked(estimator(np.ascontiguousarray(X)), X.shape[1])
    sigma = float(np.sqrt(block.weights @ S @ block.weights))
    return _scaled(block, sigma, _normal_unit(block.levels))


def _variances(block: Block, omega: float, alpha: float, beta: float) -> np.ndarray:
    """(R + 1,) ``v_t = omega + alpha e_(t-1)^2 + beta v_(t-1)`` from the window's."""
    e2 = (block.rows - block.rows[: block.window].mean()) ** 2
    v = np.empty(e2.size + 1)
    v[0] = e2[: block.window].mean()
    for t in range(e2.size):
        v[t + 1] = omega + alpha * e2[t] + beta * v[t]
    return v


def normal_ewma(block: Block) -> Forecast:
    """Closed form with exponentially weighted variance, updated every session."""
    v = _variances(block, 0.0, 1.0 - DECAY, DECAY)[block.window :]
    return _scaled(block, np.sqrt(v), _normal_unit(block.levels))


def student_t(block: Block) -> Forecast:
    """Student-t: degrees at each refit, standard deviation every session."""
    from scipy.stats import t

    nu = fit_dof((block.rows[: block.window])[:, None])
    if np.isinf(nu):
        return _scaled(block, _deviation(block), _normal_unit(block.levels))
    a, b = (float(t.ppf(q, nu)) for q in block.levels)
    es = t.pdf(b, nu) / (1.0 - block.levels[1]) * (nu + b * b) / (nu - 1.0)
    unit = np.sqrt((nu - 2.0) / nu) * np.array([a, b, float(es)])
    return _scaled(block, _deviation(block), unit)


class SkewedT(NamedTuple):
    """The skewed t of `engine.simulate` for one asset of mean zero, variance one.

    ``kappa (U - E U) + sqrt(V (1 - kappa^2 Var U)) z``: a multiple of the skew-t of
    Azzalini and Capitanio (2003), shifted.
    """

    kappa: float
    dof: float

    def constants(self) -> tuple[float, float, float]:
        """Scale, shape and shift of the skew-t density."""
        from engine.montecarlo._laws import _expected_half_t

        m = _expected_half_t(self.dof)
        s = np.sqrt(1.0 - self.kappa**2 * (1.0 - m * m))
        scale = np.sqrt((self.dof - 2.0) / self.dof) * np.hypot(self.kappa, s)
        return float(scale), float(self.kappa / s), self.kappa * m

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """(T,) log-density."""
        from scipy.special import stdtr
        from scipy.stats import t

        scale, shape, shift = self.constants()
        nu = self.dof
        y = (x + shift) / scale
        half = stdtr(nu + 1.0, shape * y * np.sqrt((nu + 1.0) / (nu + y * y)))
        log = t.logpdf(y, nu) + np.log(np.maximum(half, 1e-300))
        return log + np.log(2.0 / scale)

    def unit(self, levels: tuple[float, float]) -> np.ndarray:
        """VaR, VaR and ES of the loss ``-x``, by quadrature in ``y = c tan(theta)``.

        The tangent makes the power tail of the density smooth and its range finite.
        """
        theta = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 20_003)[1:-1]
        x = 2.0 * np.tan(theta)
        f = np.exp(self.log_density(x)) * 2.0 / np.cos(theta) ** 2
        step = theta[1] - theta[0]
        mass = np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]))]) * step
        g = f * x
        moment = np.concatenate([[0.0], np.cumsum(0.5 * (g[1:] + g[:-1]))]) * step
        mass, moment = mass / mass[-1], moment / mass[-1]
        at = [float(np.interp(1.0 - q, mass, x)) for q in levels]
        es = -float(np.interp(at[1], x, moment)) / (1.0 - levels[1])
        return np.array([-at[0], -at[1], es])


def fit_skewed_t(z: np.ndarray) -> SkewedT:
    """Skew and degrees of freedom by maximum likelihood on standardised returns."""
    from scipy.optimize import minimize

    def negative(parameters: np.ndarray) -> float:
        law = SkewedT(float(np.tanh(parameters[0])), 2.5 + float(np.exp(parameters[1])))
        return -float(law.log_density(z).mean())

    found = minimize(
        negative,
        np.array([-0.1, np.log(3.0)]),
        method="L-BFGS-B",
        bounds=[(-2.6, 2.6), (np.log(0.01), np.log(60.0))],
    )
    return SkewedT(float(np.tanh(found.x[0])), 2.5 + float(np.exp(found.x[1])))


def skewed_t(block: Block) -> Forecast:
    """Skewed t: skew and degrees at each refit, standard deviation every session."""
    first = block.rows[: block.window]
    law = fit_skewed_t((first - first.mean()) / first.std())
    return _scaled(block, _deviation(block), law.unit(block.levels))


def _filtered(block: Block, variance: np.ndarray, note: str = "") -> Forecast:
    """Standardised residuals of the window times the next session's volatility."""
    e = block.rows - block.rows[: block.window].mean()
    Z = np.lib.stride_tricks.sliding_window_view(
        e / np.sqrt(variance[:-1]), block.window
    )
    Z = Z - Z.mean(axis=1, keepdims=True)
    Z = Z / Z.std(axis=1, keepdims=True)
    sigma = np.sqrt(variance[block.window :])[:, None]
    return Forecast(_of_samples(block, -sigma * Z) - block.location[:, None], note)


def filtered_ewma(block: Block) -> Forecast:
    """Filtered historical simulation with exponentially weighted volatility."""
    return _filtered(block, _variances(block, 0.0, 1.0 - DECAY, DECAY))


def filtered_garch(block: Block) -> Forecast:
    """Filtered historical simulation; GARCH fitted at each refit, filtered daily."""
    from engine.montecarlo._historical import _garch

    first = block.rows[: block.window]
    try:
        found = _garch((first - first.mean())[:, None], ("the book",))
    except ModelError:
        v = _variances(block, 0.0, 1.0 - DECAY, DECAY)
        return _filtered(block, v, "no stationary GARCH fit: EWMA in its place")
    parameters = (float(v[0]) for v in (found.omega, found.alpha, found.beta))
    return _filtered(block, _variances(block, *parameters))


def regime_switching(block: Block) -> Forecast:
    """Two normal states fitted at each refit; their probabilities filtered daily."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    from engine.montecarlo._regimes import FEWEST_IN_STATE, _fit_states

    first = block.rows[: block.window]
    e = block.rows - first.mean()
    note = "no two-state fit: one normal state in its place"
    try:
        transition, now, smoothed = _fit_states(e[: block.window])
    except ModelError:
        return normal(block)._replace(note=note)
    mass = smoothed.sum(axis=0)
    if mass.min() < FEWEST_IN_STATE:
        return normal(block)._replace(note=note)
    sigma = np.sqrt((smoothed * e[: block.window, None] ** 2).sum(axis=0) / mass)
    out = np.empty((block.rows.size - block.window + 1, 3))
    weight = now
    for j in range(len(out)):
        if j:
            x = e[block.window + j - 1] / sigma
            weight = weight * np.exp(-0.5 * (x * x - (x * x).min())) / sigma
            weight = weight / weight.sum()
        weight = weight @ transition  # of the session forecast

        def beyond(v: float, weight: np.ndarray = weight) -> float:
            return float(weight @ ndtr(-v / sigma))

        top = 40.0 * float(sigma.max())
        for k, q in enumerate(block.levels):
            out[j, k] = brentq(lambda v, q=q: beyond(v) - (1.0 - q), -top, top)
        v = out[j, 1] / sigma
        pdf = np.exp(-0.5 * v * v) / np.sqrt(2.0 * np.pi)
        out[j, 2] = float(weight @ (sigma * pdf)) / (1.0 - block.levels[1])
    return Forecast(out - block.location[:, None])


def copula(block: Block) -> Forecast:
    """Scenarios of `engine.copula`, drawn at each refit from the view of that date."""
    from engine.montecarlo import copula as draw

    try:
        found = draw(
            block.view,
            block.n_scenarios,
            horizon=1,
            window=block.window,
            frequency="daily",
            mean="sample" if block.keep_mean else "zero_excess",
            seed=block.seed,
        )
    except ModelError as error:
        note = f"{error.problem}: historical simulation in its place"
        return historical(block)._replace(note=note)
    losses = -(found.returns[:, :-1] @ block.weights)
    row = _of_samples(block, losses[None, :])
    return Forecast(np.repeat(row, block.location.size, axis=0))


MODELS: dict[str, Callable[[Block], Forecast]] = {
    "historical": historical,
    "normal": normal,
    "normal_ewma": normal_ewma,
    "student_t": student_t,
    "skewed_t": skewed_t,
    "filtered_ewma": filtered_ewma,
    "filtered_garch": filtered_garch,
    "copula": copula,
    "regime_switching": regime_switching,
}
"""Forecasts by name, in the order of tables; also ``normal:<covariance estimator>``."""
