"""Cases of `engine.sampling`: the same standard error, by fewer paths.

Candidates give the tail probability of one linear Gaussian book to a few per cent; the
answer is compared with the closed form, which every candidate must meet.
"""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case, Thunk, returns
from benchmarks.models import model_of


def _tail(N: int, p: float, error: float) -> dict[str, Thunk]:
    """Tail probability ``p`` to a relative standard error of ``error``."""
    from scipy import stats

    from engine import sampling

    C = np.cov(returns(1000, N).T)
    model = model_of(C, kind="simple")
    w = np.full(N, 1.0 / N)
    x = float(np.sqrt(w @ C @ w) * stats.norm.isf(p))
    functional = sampling.tail_probability(x)
    theta = stats.norm.isf(p)
    plain = round((1 - p) / p / error**2)
    saved = p * (1 - p) / (np.exp(theta**2) * stats.norm.sf(2 * theta) - p * p)
    L = np.linalg.cholesky(C)

    def ours():
        n = max(2, int(plain / saved))
        got = sampling.estimate(model, w, functional, method="importance", n=n, seed=1)
        return np.array([got.value])

    def numpy_plain():
        rng = np.random.default_rng(1)
        hits, left = 0, plain
        while left:
            n = min(left, 65_536)
            hits += int((-(rng.standard_normal((n, N)) @ L.T) @ w > x).sum())
            left -= n
        return np.array([hits / plain])

    return {"ours": ours, "NumPy plain, same error": numpy_plain}


def _quadratic_tail(N: int, loss: float, p: float, error: float) -> dict[str, Thunk]:
    """The same for Student-t factors (5 degrees) and a quadratic loss.

    Independent factors of unit variance, delta one and gamma -0.1 each: the loss is
    ``-sum(x_i - x_i^2 / 20)``. It has no closed form; both candidates estimate it.
    """
    from engine import sampling

    model = model_of(np.eye(N), kind="simple", dof=5.0)
    book = sampling.DeltaGamma(np.ones(N), -0.1 * np.eye(N))
    functional = sampling.tail_probability(loss)
    plain = round((1 - p) / p / error**2)
    pilot = sampling.estimate(model, book, functional, n=65_536, seed=2)
    fewer = max(512, int(plain / pilot.variance_ratio))

    def ours():
        return np.array([sampling.estimate(model, book, functional, n=fewer).value])

    def numpy_plain():
        rng = np.random.default_rng(1)
        hits, left = 0, plain
        while left:
            n = min(left, 65_536)
            x = rng.standard_normal((n, N))
            x *= np.sqrt(3.0 / rng.chisquare(5.0, n))[:, None]
            hits += int((0.05 * (x**2).sum(axis=1) - x.sum(axis=1) > loss).sum())
            left -= n
        return np.array([hits / plain])

    return {"ours": ours, "NumPy plain, same error": numpy_plain}


CASES = (
    Case(
        "tail probability to 2%",
        {
            "small": {"N": 3, "p": 1e-2, "error": 0.02},
            "1e-4, N 20": {"N": 20, "p": 1e-4, "error": 0.02},
        },
        _tail,
        # Five errors of the difference of two answers of 2% each.
        5 * 0.02 * 2**0.5,
    ),
    Case(
        "tail probability to 2%, t5 factors and quadratic loss",
        {
            "small": {"N": 3, "loss": 5.13, "p": 1e-2, "error": 0.02},
            "1e-4, N 10": {"N": 10, "loss": 35.73, "p": 1e-4, "error": 0.02},
        },
        _quadratic_tail,
        5 * 0.02 * 2**0.5,
    ),
)
