"""Nearest matrix with given entries on the positive semi-definite cone: two solvers.

The problem, after every change of variables: ``min ||Z - C||_F`` over Z positive
semi-definite with diagonal b and, for some pairs, given entries off the diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import InfeasibleError, SolverError

_ROOT2 = np.sqrt(2.0)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for.

    Attributes
    ----------
    C : (N, N) float64
        Symmetric, its diagonal and given entries already those required.
    diagonal : (N,) float64
        b, positive.
    pairs : (2, F) int64
        Positions i > j of the given entries; their values are those of C.
    facts : tuple of str
        Each given entry in words, for messages.
    """

    C: np.ndarray
    diagonal: np.ndarray
    pairs: np.ndarray
    facts: tuple[str, ...] = ()

    @property
    def values(self) -> np.ndarray:
        """Right side of the constraints: b, then the given entries times sqrt(2)."""
        return np.concatenate([self.diagonal, _ROOT2 * self.C[tuple(self.pairs)]])

    def entries(self, Z: np.ndarray) -> np.ndarray:
        """Constrained entries of Z, scaled so that ``place`` is the adjoint."""
        return np.concatenate([np.diagonal(Z), _ROOT2 * Z[tuple(self.pairs)]])

    def place(self, y: np.ndarray) -> np.ndarray:
        """Symmetric matrix with y at the constrained entries: the adjoint."""
        N = self.diagonal.size
        M = np.zeros((N, N), dtype=y.dtype)
        i, j = self.pairs
        M[i, j] = M[j, i] = y[N:] / _ROOT2
        M.flat[:: N + 1] = y[:N]
        return M


def newton(target: Target, tolerance: float) -> np.ndarray:
    """Semismooth Newton on the dual (Qi and Sun 2006; Borsdorf and Higham 2010).

    The dual function ``theta(y) = ||(C + A*(y))_+||^2 / 2 - b'y`` is convex with
    gradient ``A((C + A*(y))_+) - b``; a Newton system is solved by preconditioned
    conjugate gradients, in single precision as long as few digits are asked of it.
    The start is the best multiple of the identity, which the eigenvalues of C alone
    give and which usually saves an eigendecomposition; unless it leaves under a third
    of the positive eigenvalues, as where C is far larger than a correlation: they are
    what the first steps steer by.

    Returns Z with the diagonal exact; the rest of A(Z) = b to ``tolerance`` sqrt(N).
    """
    C, b, N = target.C, target.values, target.diagonal.size
    lam, P = np.linalg.eigh(C)
    y = np.zeros(b.size)
    shift = _best_shift(lam, float(target.diagonal.sum()))
    if 3 * np.count_nonzero(lam + shift > 0) >= np.count_nonzero(lam > 0):
        y[:N] = shift
        lam = lam + shift
    theta = _dual(lam, b, y)
    size = np.inf
    for step in range(200):
        root = P[:, lam > 0] * np.sqrt(lam[lam > 0])
        if target.pairs.size:
            Z = root @ root.T
            gradient = target.entries(Z) - b
        else:
            gradient = np.einsum("ik,ik->i", root, root) - b
        size = float(np.linalg.norm(gradient))
        # Rounding of the eigenvalues is all that is left of it for a large matrix C.
        rounding = 4.0 * np.finfo(float).eps * float(np.abs(lam).max())
        if size <= max(tolerance, rounding) * np.sqrt(N):
            return _with_diagonal(root @ root.T, target.diagonal)
        if target.pairs.size and step >= 4:
            _refuse_infeasible(target, y, b)
        # Superlinear convergence needs the tolerance to fall with the gradient, but
        # never below what the last step needs.
        share = min(0.1, max(1e-4, size / np.sqrt(N)))
        share = max(share, 0.3 * tolerance * np.sqrt(N) / size)
        d = _newton_step(target, lam, P, -gradient, share)
        slope = float(gradient @ d)
        if not slope < 0:
            d, slope = -gradient, -(size**2)
        length = 1.0
        while True:
            trial = y + length * d
            M = target.place(trial) + C if target.pairs.size else C.copy()
            if not target.pairs.size:
                M.flat[:: N + 1] += trial
            lam, P = np.linalg.eigh(M)
            value = _dual(lam, b, trial)
            # The slack is the rounding error of the function itself.
            slack = 1e-15 * max(1.0, abs(theta)) * N
            if value <= theta + 1e-4 * length * slope + slack:
                break
            length *= 0.5
            if length < 1e-12:
                raise SolverError(
                    "nearest correlation did not converge",
                    received=f"gradient norm {size:.2e}",
                )
        y, theta = trial, value
    raise SolverError(
        "nearest correlation did not converge in 200 steps",
        received=f"gradient norm {size:.2e}",
        fix="Fixed entries that leave no room for a positive definite matrix do that: "
        "fix fewer."
        if target.pairs.size
        else None,
    )


def _dual(lam: np.ndarray, b: np.ndarray, y: np.ndarray) -> float:
    positive = np.maximum(lam, 0.0)
    return 0.5 * float(positive @ positive) - float(b @ y)


def _best_shift(lam: np.ndarray, total: float) -> float:
    """Return c with ``sum (lam + c)_+ = total``: the dual optimum along I."""
    falling = np.sort(lam)[::-1]
    shifts = (total - np.cumsum(falling)) / np.arange(1, lam.size + 1)
    return float(shifts[np.flatnonzero(falling + shifts > 0)[-1]])


def _with_diagonal(Z: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Rescale Z, positive semi-definite as before, to the diagonal given."""
    scale = np.sqrt(diagonal / np.diagonal(Z))
    Z = Z * np.outer(scale, scale)
    Z = 0.5 * (Z + Z.T)
    np.fill_diagonal(Z, diagonal)
    return Z


def _refuse_infeasible(target: Target, y: np.ndarray, b: np.ndarray) -> None:
    """Raise when y proves that no such matrix exists (Farkas).

    Any Z asked for has ``b'y = <Z, A*(y)> <= trace(Z) max(eig(A*(y)), 0)``.
    """
    largest = float(np.linalg.eigvalsh(target.place(y))[-1])
    most = float(target.diagonal.sum()) * max(largest, 0.0)
    if float(b @ y) > most + 1e-9 * float(np.linalg.norm(b) * np.linalg.norm(y)):
        blame = np.abs(y[target.diagonal.size :])
        worst = np.argsort(-blame, kind="stable")[:6]
        conflict = tuple(
            target.facts[k] for k in worst if blame[k] > 1e-3 * blame.max()
        )
        raise InfeasibleError(
            "no correlation matrix has these fixed entries",
            conflict=conflict,
            received="; ".join(conflict),
            fix="Free one of them, or lower eigenvalue_floor.",
        )


def _newton_step(
    target: Target, lam: np.ndarray, P: np.ndarray, rhs: np.ndarray, share: float
) -> np.ndarray:
    """Direction that leaves at most ``share`` of the residual, single precision first.

    The bound on the residual is loose, so float32 products serve; where rounding
    spoils them the system is solved again in double.
    """
    # Many given entries leave the Jacobian nearly singular far from the answer; what is
    # added vanishes with the gradient, so convergence stays quadratic.
    ridge = min(0.1, 0.01 * float(np.linalg.norm(rhs))) if target.pairs.size else 0.0
    ridge = max(ridge, 1e-12)
    for dtype in (np.float32, np.float64):
        jacobian, diagonal = _jacobian(target, lam, P, dtype)
        d, solved = _conjugate_gradients(jacobian, diagonal + ridge, rhs, share, ridge)
        if solved:
            break
    return d


def _jacobian(
    target: Target, lam: np.ndarray, P: np.ndarray, dtype: type
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Return the generalised Jacobian of ``A((C + A*(y))_+)``, and about its diagonal.

    ``V h = A(P (Omega o (P' H P)) P')``, H = A*(h), Omega one on the positive block,
    ``l_i / (l_i - l_j)`` across, zero on the negative block; worked on the smaller of
    the two blocks, the larger by what it leaves of the whole.
    """
    positive = lam > 0
    P1 = np.ascontiguousarray(P[:, positive], dtype=dtype)
    P2 = np.ascontiguousarray(P[:, ~positive], dtype=dtype)
    few = P1.shape[1] <= P2.shape[1]
    l1, l2 = lam[positive], lam[~positive]
    omega = l1[:, None] / (l1[:, None] - l2)
    # Across: omega, or what it leaves of one; twice, for the two triangles.
    across = (2.0 * (omega if few else 1.0 - omega)).astype(dtype)
    block = P1 if few else P2
    # diag(B (B' Diag(h) B) B') = ((B B') o (B B')) h, once a step instead of each time.
    squares = block @ block.T
    squares *= squares
    part = np.einsum("ij,ij->i", (P1 * P1) @ across, P2 * P2) + np.diagonal(squares)
    diagonal = np.maximum(part if few else 1.0 - part, 1e-8).astype(np.float64)

    if not target.pairs.size:

        def jacobian(h: np.ndarray) -> np.ndarray:
            h32 = h.astype(dtype)
            K = P1.T @ (h32[:, None] * P2)
            K *= across
            cross = np.einsum("ij,ij->i", P1 @ K, P2)
            total = (squares @ h32 + cross).astype(np.float64)
            return total if few else h - total

        return jacobian, diagonal

    def jacobian(h: np.ndarray) -> np.ndarray:
        H = target.place(h.astype(dtype))
        K = P1.T @ (H @ P2)
        K *= 0.5 * across
        G = (P1 @ K) @ P2.T
        G += 0.5 * (block @ (block.T @ H @ block) @ block.T)
        total = target.entries(G + G.T).astype(np.float64)
        return total if few else h - total

    i, j = target.pairs
    return jacobian, np.concatenate([diagonal, np.sqrt(diagonal[i] * diagonal[j])])


def _conjugate_gradients(
    apply: Callable[[np.ndarray], np.ndarray],
    diagonal: np.ndarray,
    rhs: np.ndarray,
    share: float,
    ridge: float,
) -> tuple[np.ndarray, bool]:
    """Solve ``(V + ridge I) d = rhs``, V by its action; say whether it was solved."""
    d = np.zeros_like(rhs)
    r = rhs.copy()
    z = r / diagonal
    q = z.copy()
    rz = float(r @ z)
    stop = share * float(np.linalg.norm(rhs))
    for _ in range(200):
        Aq = apply(q) + ridge * q
        curvature = float(q @ Aq)
        if not curvature > 0:
            return d, False
        alpha = rz / curvature
        d += alpha * q
        r -= alpha * Aq
        if np.linalg.norm(r) <= stop:
            return d, True
        z = r / diagonal
        new = float(r @ z)
        q = z + (new / rz) * q
        rz = new
    return d, False


def alternating_projections(
    target: Target, tolerance: float, memory: int = 0
) -> np.ndarray:
    """Higham's projections in turn, with Dykstra's correction (2002, algorithm 3.3).

    Converges linearly. ``memory`` > 0 extrapolates from so many earlier steps
    (Anderson 1965; Higham and Strabic 2016), which usually saves most of them.
    """
    N = target.diagonal.size
    required, places = target.values, target.place(np.ones(target.values.size)) != 0
    fixed = target.place(required)
    Y, correction = target.C.copy(), np.zeros_like(target.C)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    gap = np.inf
    for step in range(20_000):
        lam, P = np.linalg.eigh(Y - correction)
        root = P[:, lam > 0] * np.sqrt(lam[lam > 0])
        X = root @ root.T
        new_correction = X - (Y - correction)
        new = np.where(places, fixed, X)
        change = float(np.linalg.norm(new - Y))
        gap = float(np.linalg.norm(new - X))
        size = max(float(np.linalg.norm(new)), 1.0)
        if change <= tolerance * size:
            if gap <= 1e2 * tolerance * size:
                return _with_diagonal(X, target.diagonal)
        if target.pairs.size and step % 50 == 49:
            # Where the two sets do not meet, their gap becomes a certificate.
            _refuse_infeasible(target, target.entries(new - X), required)
        state = np.concatenate([Y.ravel(), correction.ravel()])
        image = np.concatenate([new.ravel(), new_correction.ravel()])
        if memory:
            image = _anderson(history, state, image, memory)
        Y, correction = image[: N * N].reshape(N, N), image[N * N :].reshape(N, N)
    raise SolverError(
        "alternating projections did not converge in 20,000 steps",
        received=f"distance {gap:.2e} between the two sets",
        fix="Use method='newton', or loosen tolerance.",
    )


def _anderson(
    history: list[tuple[np.ndarray, np.ndarray]],
    state: np.ndarray,
    image: np.ndarray,
    memory: int,
) -> np.ndarray:
    """Return the combination of the last images whose residuals cancel best."""
    residual = image - state
    history.append((residual, image))
    del history[: -memory - 1]
    if len(history) == 1:
        return image
    F = np.stack([residual - r for r, _ in history[:-1]], axis=1)
    G = np.stack([image - g for _, g in history[:-1]], axis=1)
    gamma = np.linalg.lstsq(F, residual, rcond=1e-10)[0]
    return image - G @ gamma
