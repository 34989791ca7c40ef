"""Blocks of draws by method: normals, mixing variables and weights.

Everything is addressed by (seed, block, stream), so the work may be divided among any
number of threads without changing a bit; a whole block is always drawn, so that a
scenario does not depend on how many follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.parallel import BLOCK_SIZE, BlockStream, blocks, map_ordered
from engine.sampling._book import Book
from engine.sampling._twist import Twist

NORMAL, MIXING, STRATUM, SOBOL = 64, 65, 66, 67
PILOT = 8
"""Added to a stream number for pilot runs: what tunes a design never feeds it."""

STRATA = 64
REPLICATES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How one estimate is drawn.

    Attributes
    ----------
    method : str
    n, seed, shift : int
        ``shift`` moves the streams: `PILOT` or 0.
    size : int
        Rows of a block (of a Sobol randomisation, of a matched batch).
    twist : Twist or None
    defensive : bool
        Twist every other row only.
    edges : (H + 1,) float64 or None
        Upper-tail probabilities bounding the strata, from 1 down to 0.
    stratum : (n,) int64 or None
    """

    method: str
    n: int
    seed: int
    shift: int = 0
    size: int = BLOCK_SIZE
    twist: Twist | None = None
    defensive: bool = False
    edges: np.ndarray | None = None
    stratum: np.ndarray | None = None

    def items(self) -> list[tuple[int, int, int]]:
        """Blocks of work."""
        return blocks(self.n, self.size)

    def mass(self) -> np.ndarray:
        """(n,) design weight of each row, before likelihood ratios; sums to one."""
        if self.stratum is None or self.edges is None:
            return np.full(self.n, 1.0 / self.n)
        p = -np.diff(self.edges)
        return (p / np.bincount(self.stratum, minlength=p.size))[self.stratum]


def draw(item: tuple[int, int, int], book: Book, plan: Plan):
    """``(z, V, weight)`` of one block: (n, width), (n,), (n,) or None."""
    block, start, stop = item
    n = stop - start
    size, width = plan.size, book.width
    if plan.method == "sobol":
        z, V = _sobol(block, n, book, plan)
        return z, V, None
    stream = BlockStream(plan.seed, NORMAL + plan.shift)
    if plan.method == "antithetic":
        z = stream.normals(block, size // 2 * width).reshape(size // 2, width)
        z = np.repeat(z, 2, axis=0)
        z[1::2] *= -1.0
    else:
        z = stream.normals(block, size * width).reshape(size, width)
    if plan.method == "moment_matched":
        z = matched(z)
    chi2 = None
    V = np.full(size, float(book.periods))
    if not np.isinf(book.dof):
        draws = size // 2 if plan.method == "antithetic" else size
        chi2 = _chi_squares(block, draws, book, plan)
        if draws != size:
            chi2 = np.repeat(chi2, 2, axis=0)
        V = (book.dof - 2.0) * (1.0 / chi2).sum(axis=1)
    if plan.edges is not None and plan.stratum is not None:
        rows = np.zeros(size, dtype=np.int64)
        rows[:n] = plan.stratum[start:stop]
        u = BlockStream(plan.seed, STRATUM + plan.shift).uniforms(block, size)
        tail = plan.edges[rows + 1] + u * (plan.edges[rows] - plan.edges[rows + 1])
        V = _stratify(z, V, chi2, tail, book, plan)
    weight = None
    if plan.twist is not None:
        Y = None if chi2 is None else chi2[:, 0]
        z, V, weight = plan.twist.apply(z, Y, defensive=plan.defensive)
        if chi2 is None:
            V = V * book.periods
        weight = weight[:n]
    return z, V[:n], weight


def evaluate(item: tuple[int, int, int], book: Book, plan: Plan):
    """``(losses, weight, delta loss)`` of one block, each (n,)."""
    z, V, weight = draw(item, book, plan)
    n = item[2] - item[1]
    # The product runs over the whole block: BLAS picks its kernel by the row count.
    full = np.ones(z.shape[0])
    full[:n] = V
    losses = book.losses(book.moves(z, full))[:n]
    linear = book.centre() + np.sqrt(V) * (z @ book.slope)[:n]
    return losses, weight, linear


def run(book: Book, plan: Plan, n_jobs: int):
    """``(losses, weight, delta loss)`` of all blocks; weight None without a twist."""
    parts = map_ordered(
        partial(evaluate, book=book, plan=plan),
        plan.items(),
        executor="serial" if n_jobs == 1 else "threads",
        n_jobs=n_jobs,
    )
    losses, linear = np.empty(plan.n), np.empty(plan.n)
    weight = None if plan.twist is None else np.empty(plan.n)
    for (_, start, stop), part in zip(plan.items(), parts, strict=True):
        losses[start:stop], linear[start:stop] = part[0], part[2]
        if weight is not None:
            weight[start:stop] = part[1]
    return losses, weight, linear


def matched(z: np.ndarray) -> np.ndarray:
    """Normals shifted and turned to sample mean zero and covariance identity."""
    from scipy.linalg import solve_triangular

    z = z - z.mean(axis=0)
    root = np.linalg.cholesky(z.T @ z / z.shape[0])
    return np.ascontiguousarray(solve_triangular(root, z.T, lower=True).T)


def _direction(book: Book, plan: Plan) -> np.ndarray:
    if plan.twist is not None:
        return plan.twist.direction
    length = np.linalg.norm(book.slope)
    return book.slope / length if length > 0 else book.slope


def joint_strata(book: Book, plan: Plan) -> bool:
    """Whether strata bound the delta loss of a Student-t, not its normal alone."""
    return (
        plan.edges is not None
        and plan.twist is None
        and np.isfinite(book.dof)
        and book.periods == 1
    )


def _chi_squares(block: int, draws: int, book: Book, plan: Plan) -> np.ndarray:
    """(draws, periods) chi-squares; one degree more where the strata fix T."""
    dof = book.dof + 1.0 if joint_strata(book, plan) else book.dof
    stream = BlockStream(plan.seed, MIXING + plan.shift)
    return stream.chi_squares(block, draws * book.periods, dof).reshape(draws, -1)


def _stratify(z, V, chi2, tail, book: Book, plan: Plan) -> np.ndarray:
    """Move the component of z along the loss to its stratum; return the mixing (n,).

    For a Student-t over one period the strata bound ``T = v'Z/sqrt(Y/nu)``, which is
    t with nu degrees; given T, ``Y (1 + T^2/nu)`` is chi-square with nu + 1. Strata of
    v'Z alone would leave the tail to Y: a rare large move would lie in any stratum.
    """
    from scipy.special import ndtri, stdtrit

    v = _direction(book, plan)
    if joint_strata(book, plan):
        T = -stdtrit(book.dof, tail)
        Y = chi2[:, 0] / (1.0 + T**2 / book.dof)
        along = T * np.sqrt(Y / book.dof)
        V = (book.dof - 2.0) / Y
    else:
        along = -ndtri(tail)
    z += (along - z @ v)[:, None] * v
    return V


def _sobol(replicate: int, n: int, book: Book, plan: Plan):
    """One scrambled Sobol set: mixing variables first, then components by variance."""
    from scipy.special import gammaincinv, ndtri
    from scipy.stats import qmc

    mixing = 0 if np.isinf(book.dof) else book.periods
    key = BlockStream(plan.seed, SOBOL + plan.shift).key
    root = np.random.SeedSequence([*map(int, key), replicate])
    rng = np.random.Generator(np.random.Philox(root))
    sampler = qmc.Sobol(mixing + book.width, scramble=True, bits=52, rng=rng)
    # Points are multiples of 2^-52 and may be zero: use the middle of the cell.
    u = sampler.random(n) + 2.0**-53
    z = ndtri(u[:, mixing:])
    if not mixing:
        return z, np.full(n, float(book.periods))
    chi2 = 2.0 * gammaincinv(0.5 * book.dof, u[:, :mixing])
    return z, (book.dof - 2.0) * (1.0 / chi2).sum(axis=1)
