"""The law of a book's loss in the coordinates that a worst case searches.

    x = m + A z (+ specific),   z of covariance one,   loss = c + g'z + z'Hz/2

z are the systematic factors, or with ``systematic=False`` as many coordinates as
assets. Specific returns stay at their conditional expectation, which is the most
plausible place for them (Breuer et al. 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._typing import Matrix, Vector
from engine.covariance import FactorCovariance
from engine.data.portfolio import cash_label
from engine.data.roles import COMPANY_CLASSES, INFRASTRUCTURE
from engine.errors import ModelError, UsageError
from engine.scenarios import align_weights

LOSSES = ("linear", "quadratic")
DISTRIBUTIONS = ("normal", "student_t")


@dataclass(frozen=True)
class BookLaw:
    """A book's loss on unit-covariance coordinates z (R,)."""

    w: Vector
    cash: float
    mean: Vector
    A: Matrix
    c: float
    g: Vector
    H: Matrix | None
    deviation: float
    dof: float
    horizon: int
    log: bool

    @property
    def dimensions(self) -> int:
        """R."""
        return self.A.shape[1]

    def repriced(self, deviation: Vector) -> float:
        """Loss without approximation where the assets move by ``deviation``."""
        x = self.mean + deviation
        return float(self.cash - self.w @ (np.expm1(x) if self.log else x))


def book_law(
    model: Any,
    weights: Any,
    *,
    loss: str,
    gamma: Any,
    distribution: str,
    dof: float | None,
    systematic: bool,
    horizon: int,
) -> BookLaw:
    """Check the arguments and put the book's loss on coordinates."""
    from engine.montecarlo._common import cash_growth, check_counts, periods_of

    if loss not in LOSSES:
        raise UsageError(
            "unknown loss", received=repr(loss), expected=", ".join(LOSSES)
        )
    if distribution not in DISTRIBUTIONS:
        raise UsageError(
            "unknown distribution",
            received=repr(distribution),
            expected=", ".join(DISTRIBUTIONS),
        )
    if gamma is not None and loss != "quadratic":
        raise UsageError("gamma belongs to loss='quadratic'")
    check_counts(1, horizon)
    periods = periods_of(model, horizon)
    everything = (*model.assets, cash_label(model.base_currency))
    held = align_weights(everything, weights)
    w, cash = held[:-1], float(held[-1])
    growth = float(cash_growth(model, periods, paths=False)[0])
    log = model.return_kind == "log"
    m = model.mean * periods
    root, deviation = (_factors if systematic else _all)(model, w)
    nu = _dof(model, distribution, dof)
    scale = np.sqrt(periods) * (1.0 if np.isinf(nu) else np.sqrt((nu - 2.0) / nu))
    A = root * scale
    if loss == "linear" or (gamma is None and not log):
        Gamma, H = np.zeros_like(w), None
    else:
        Gamma = w if gamma is None else _gamma(gamma, w.size)
        H = -(A.T @ (Gamma[:, None] * A if Gamma.ndim == 1 else Gamma @ A))
    curve = Gamma * m if Gamma.ndim == 1 else Gamma @ m
    base = -cash * (growth - 1.0)
    return BookLaw(
        w=w,
        cash=base,
        mean=m,
        A=A,
        c=float(base - w @ m - 0.5 * m @ curve),
        g=-(A.T @ (w + curve)),
        H=H,
        deviation=deviation * float(np.sqrt(periods)),
        dof=nu,
        horizon=int(horizon),
        log=log,
    )


def _dof(model: Any, distribution: str, dof: float | None) -> float:
    if distribution == "normal":
        if dof is not None:
            raise UsageError("dof belongs to distribution='student_t'", received=dof)
        return float("inf")
    nu = model.tail_dof if dof is None else dof
    if not 2.0 < nu < np.inf:
        raise UsageError(
            "a Student-t worst case needs degrees of freedom above 2",
            received=nu,
            fix="Give dof=, or fit the model with tail='student_t'.",
        )
    return float(nu)


def _gamma(gamma: Any, n: int) -> np.ndarray:
    values = np.asarray(gamma, dtype=np.float64)
    if values.shape not in ((n,), (n, n)) or not np.isfinite(values).all():
        raise UsageError(
            "gamma does not match the assets, or holds NaN",
            received=f"shape {values.shape}",
            expected=f"({n},) or ({n}, {n})",
        )
    if values.ndim == 2:
        size = max(float(np.abs(values).max()), 1e-300)
        if np.abs(values - values.T).max() > 1e-9 * size:
            raise UsageError("gamma is not symmetric")
    return values


def _factors(model: Any, w: Vector) -> tuple[Matrix, float]:
    """Root (N, R) of the systematic covariance, and the book's whole deviation."""
    if isinstance(model.covariance, FactorCovariance):
        A, s = model.covariance.sampling_factor()
        return A, float(np.sqrt(((w @ A) ** 2).sum() + ((w * s) ** 2).sum()))
    C = model.dense_covariance()
    P = _market_and_basket(model)
    inner = P.T @ C @ P
    try:
        L = np.linalg.cholesky(inner)
    except np.linalg.LinAlgError:
        raise ModelError(
            "the covariance of the market and the AI basket is singular",
            received=f"variances {np.diagonal(inner)}",
            fix="Fit the model with covariance='factor', or use systematic=False.",
        ) from None
    A = np.linalg.solve(L, P.T @ C).T  # regression on the factors, whitened
    return A, float(np.sqrt(max(w @ C @ w, 0.0)))


def _market_and_basket(model: Any) -> Matrix:
    """(N, 1 or 2) market, and the AI basket less the market where it has members."""
    universe = model.universe
    members = np.array(
        [
            r in INFRASTRUCTURE and c in COMPANY_CLASSES
            for r, c in zip(universe.role, universe.asset_class, strict=True)
        ],
        dtype=bool,
    )
    market = np.zeros(len(model.assets))
    if "SPY" in model.assets:
        market[model.assets.index("SPY")] = 1.0
    else:
        market[~members & ~universe.is_structural_zero()] = 1.0
    if not market.any():
        market[:] = 1.0
    market /= market.sum()
    if members.sum() < 3:  # too few names to call it a basket
        return market[:, None]
    return np.column_stack([market, members / members.sum() - market])


def _all(model: Any, w: Vector) -> tuple[Matrix, float]:
    """Root (N, N) of the whole covariance."""
    C = model.dense_covariance()
    try:
        L = np.linalg.cholesky(C)
    except np.linalg.LinAlgError:
        raise ModelError(
            "the covariance is singular: some combination of assets has no risk",
            received=f"smallest eigenvalue {np.linalg.eigvalsh(C)[0]:.3e}",
            fix="Use systematic=True, or a shrunk covariance.",
        ) from None
    return L, float(np.linalg.norm(L.T @ w))
