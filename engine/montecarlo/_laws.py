"""Laws of a return model's sessions as one family, and the draws of one block.

Every law here is, session by session,

    x = mean + kappa (U - E U) L u + sqrt(V) L (I - a u u') z,

with ``L L' = Sigma``, z standard normal and (U, V) a pair of scalars common to all
assets with ``E V = 1``. The direction ``u = L'1 / |L'1|`` is that of the equal-weight
book, and ``a = 1 - sqrt(1 - kappa^2 Var U)`` keeps the covariance at Sigma exactly.
Given the scalars, the sum of the sessions of a horizon is normal: one draw of z is
exact, whatever the horizon.

* gaussian: V = 1, kappa = 0.
* student_t: V = (dof - 2) / chi2, kappa = 0.
* skewed_t: V as above, U = sqrt(V) |z0|: Azzalini and Capitanio (2003), section 4, in
  the stochastic form of their equation (25), recentred and rescaled; kappa is the
  delta of the equal-weight book. Chosen over the generalised hyperbolic skew-t, whose
  covariance exists only above four degrees of freedom.
* gaussian_mixture: V = v1 in stress, v0 when calm, U the indicator of stress.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.covariance import FactorCovariance
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel
from engine.parallel import BLOCK_SIZE, BlockStream

DISTRIBUTIONS = ("gaussian", "student_t", "skewed_t", "gaussian_mixture")


@dataclass(frozen=True, slots=True)
class Law:
    """What a block needs to draw itself; arrays and scalars only."""

    kind: str
    root: np.ndarray
    """(N, K): of the covariance, or of its common part."""
    specific: np.ndarray
    """(N,) standard deviations, or empty for a dense model."""
    mean: np.ndarray
    periods: int
    paths: bool
    simple: bool
    cash: np.ndarray
    seed: int
    dof: float
    direction: np.ndarray
    """(K [+ N],) u, or empty without skew."""
    kappa: float
    expected: float
    """E U."""
    shrink: float
    """a."""
    stress: tuple[float, float, float]
    """Probability of stress, variances v0 and v1."""

    @property
    def label(self) -> str:
        """Text for the provenance of the scenarios."""
        parts = []
        if np.isfinite(self.dof):
            parts.append(f"dof {self.dof:.2f}")
        if self.kind == "gaussian_mixture":
            p, v0, v1 = self.stress
            parts.append(f"stress {p:g} at {np.sqrt(v1 / v0):g} times calm volatility")
        if self.kappa:
            parts.append(f"skew {self.kappa:g}")
        return self.kind + (f" ({', '.join(parts)} per period)" if parts else "")


def law_of(
    model: ReturnModel,
    periods: int,
    *,
    distribution: str | None,
    skew: float | None,
    stress: tuple[float, float] | None,
    seed: int,
    paths: bool,
    cash: np.ndarray,
) -> Law:
    """Check the choice of distribution and prepare its constants."""
    if distribution is None:
        distribution = "gaussian" if np.isinf(model.tail_dof) else "student_t"
    if distribution not in DISTRIBUTIONS:
        raise UsageError(
            "unknown distribution",
            received=repr(distribution),
            expected=", ".join(DISTRIBUTIONS),
        )
    heavy = distribution in ("student_t", "skewed_t")
    if heavy and np.isinf(model.tail_dof):
        name = "Student-t" if distribution == "student_t" else "skewed t"
        raise ModelError(
            f"{name} scenarios of a model with a Gaussian tail",
            fix="Fit with tail='student_t' or tail=<degrees of freedom>.",
        )
    skewed = distribution in ("skewed_t", "gaussian_mixture")
    kappa = _skew(distribution, skew)
    mixture = _stress(distribution, stress, kappa)
    root, specific = factor_of(model)
    direction = np.empty(0)
    expected, shrink = 0.0, 0.0
    if skewed and kappa:
        u = root.sum(axis=0)
        u = np.concatenate([u, specific]) if specific.size else u
        length = np.linalg.norm(u)
        if not length > 0.0:
            raise ModelError(
                "the equal-weight book has no variance to skew",
                fix="Use an unskewed distribution.",
            )
        direction = u / length
        if distribution == "skewed_t":
            expected = _expected_half_t(model.tail_dof)
            variance = 1.0 - expected**2
        else:
            expected = mixture[0]
            variance = expected * (1.0 - expected)
        shrink = 1.0 - np.sqrt(1.0 - kappa**2 * variance)
    return Law(
        kind=distribution,
        root=root,
        specific=specific,
        mean=np.asarray(model.mean) * (1 if paths else periods),
        periods=periods,
        paths=paths,
        simple=model.return_kind == "simple",
        cash=cash,
        seed=int(BlockStream(seed).seed),
        dof=model.tail_dof if heavy else float("inf"),
        direction=direction,
        kappa=kappa,
        expected=expected,
        shrink=shrink,
        stress=mixture,
    )


def _skew(distribution: str, skew: float | None) -> float:
    if skew is None:
        if distribution == "skewed_t":
            raise UsageError(
                "skewed-t scenarios need a skew",
                received=None,
                expected="skew between -1 and 1, negative for the longer left tail",
            )
        return 0.0
    if distribution not in ("skewed_t", "gaussian_mixture"):
        raise UsageError(
            "this distribution has no skew",
            received=f"{distribution} with skew {skew!r}",
            expected="skewed_t or gaussian_mixture",
        )
    value = float(skew)
    bound = 1.0 if distribution == "skewed_t" else np.inf
    if not abs(value) < bound:
        raise UsageError(
            "skew is out of range", received=skew, expected="between -1 and 1"
        )
    return value


def _stress(distribution, stress, kappa) -> tuple[float, float, float]:
    """(p, v0, v1) with p v1 + (1 - p) v0 = 1."""
    if distribution != "gaussian_mixture":
        if stress is not None:
            raise UsageError(
                "stress belongs to the Gaussian mixture",
                received=f"{distribution} with stress {stress!r}",
            )
        return (0.0, 1.0, 1.0)
    wanted = "stress=(probability of a session, ratio of its volatility to calm)"
    try:
        p, ratio = (float(v) for v in stress)
    except (TypeError, ValueError):
        raise UsageError(
            "a Gaussian mixture needs its stress state",
            received=repr(stress),
            expected=wanted,
        ) from None
    if not (0.0 < p < 1.0 and 1.0 <= ratio < np.inf):
        raise UsageError(
            "the stress state is out of range",
            received=repr(stress),
            expected=wanted + ", 0 < probability < 1, ratio at least 1",
        )
    if not kappa**2 * p * (1.0 - p) < 1.0:
        raise UsageError(
            "the shift between states exceeds the model's variance",
            received=f"skew {kappa:g}, probability {p:g}",
            expected=f"|skew| below {1.0 / np.sqrt(p * (1.0 - p)):.3f}",
        )
    calm = 1.0 / (1.0 - p + p * ratio**2)
    return (p, calm, calm * ratio**2)


def _expected_half_t(dof: float) -> float:
    """E of sqrt((dof - 2) / chi2) |z|: the mean of a unit-variance half-t."""
    from scipy.special import gammaln

    log = gammaln((dof - 1) / 2) - gammaln(dof / 2)
    return float(np.sqrt((dof - 2) / np.pi) * np.exp(log))


def factor_of(model: ReturnModel) -> tuple[np.ndarray, np.ndarray]:
    """``(A, d)`` with covariance ``A A' + diag(d^2)``; d is empty for a dense model."""
    covariance = model.covariance
    if isinstance(covariance, FactorCovariance):
        A = covariance.loadings @ root_of(covariance.factor_covariance)
        return np.ascontiguousarray(A), np.sqrt(covariance.specific_variance)
    return root_of(covariance), np.empty(0)


def root_of(matrix: np.ndarray) -> np.ndarray:
    """A with ``A A' = matrix``: Cholesky, or eigenvectors where it is singular."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        if values[0] < -1e-8 * max(values[-1], np.finfo(float).tiny):
            raise ModelError(
                "covariance is not positive semi-definite",
                received=f"smallest eigenvalue {values[0]:.3e}",
                fix="Repair it with nearest_correlation.",
            ) from None
        return np.ascontiguousarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def draw(
    item: tuple[int, int, int], out: np.ndarray, minus: float, *, law: Law
) -> np.ndarray:
    """Growth of one block into out (n, H, N + 1); return its sums (H, N + 1)."""
    from engine.kernels.paths import grow

    block, start, stop = item
    n = stop - start
    N, K = law.root.shape
    steps = law.periods if law.paths else 1
    # The whole block is drawn and multiplied even when fewer rows are kept, so that a
    # scenario never depends on how many follow it: BLAS chooses its kernel, and hence
    # the last bits of a row, by the number of rows.
    width = K + law.specific.size
    z = BlockStream(law.seed, "normal").normals(block, BLOCK_SIZE * steps * width)
    z = z.reshape(BLOCK_SIZE * steps, width)
    U, V = _scalars(law, block)
    if not law.paths:
        U, V = U.sum(axis=1, keepdims=True), V.sum(axis=1, keepdims=True)
    scale = np.sqrt(V)
    if law.direction.size:
        each = 1 if law.paths else law.periods
        push = law.kappa * (U - each * law.expected) / scale
        z += (push.ravel() - law.shrink * (z @ law.direction))[:, None] * law.direction
    y = z[:, :K] @ law.root.T
    sums = np.zeros((steps, N + 1))
    grow(
        y, z, law.specific, K, law.mean, scale[:n], law.cash, law.simple, minus, out,
        sums,
    )  # fmt: skip
    return sums


def _scalars(law: Law, block: int) -> tuple[np.ndarray, np.ndarray]:
    """U and V of each session: (BLOCK_SIZE, periods) each."""
    shape = (BLOCK_SIZE, law.periods)
    count = BLOCK_SIZE * law.periods
    none = np.zeros((1, 1))
    if law.kind == "gaussian":
        return none, np.ones(shape)
    if law.kind == "gaussian_mixture":
        p, v0, v1 = law.stress
        bad = BlockStream(law.seed, "uniform").uniforms(block, count).reshape(shape) < p
        return bad.astype(np.float64), np.where(bad, v1, v0)
    chi2 = BlockStream(law.seed, "chi2").chi_squares(block, count, law.dof)
    V = (law.dof - 2.0) / chi2.reshape(shape)
    if law.kind == "student_t" or not law.kappa:
        return none, V
    half = np.abs(BlockStream(law.seed, "uniform").normals(block, count))
    return np.sqrt(V) * half.reshape(shape), V
