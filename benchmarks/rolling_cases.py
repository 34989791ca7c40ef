"""Cases of rolling covariance, nearest correlation, factor algebra, thread pools."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.case import Case, Thunk, returns


def _rolling(T: int, N: int, window: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.covariance import rolling

    X = returns(T, N)
    frame = pd.DataFrame(X)
    stored = np.zeros((T - window + 1, N, N))
    return {
        "ours": lambda: rolling(X, window).matrices,
        "np.cov loop": lambda: np.array(_loop(X, window, lambda C: C)),
        "pandas": lambda: (
            frame.rolling(window).cov().to_numpy().reshape(T, N, N)[window - 1 :]
        ),
        "limit": lambda: stored.copy(),  # one pass of the output through memory
    }


def _rolling_callback(T: int, N: int, window: int) -> dict[str, Thunk]:
    """What it costs to have each matrix: the callback reads one entry of it."""
    from engine.covariance import rolling

    X = returns(T, N)

    def take(row: int, C: np.ndarray) -> float:
        return C[-1, 0]

    def lower() -> np.ndarray:
        return np.array(rolling(X, window, callback=take, triangle="lower").values)

    matrix = np.zeros((N, N))

    def limit() -> None:
        for _ in range(T - window + 1):
            matrix.fill(0.0)

    return {
        "ours": lambda: np.array(rolling(X, window, callback=take).values),
        "ours, lower half": lower,
        "np.cov loop": lambda: np.array(_loop(X, window, lambda C: take(0, C))),
        "limit": limit,
    }


def _rolling_missing(T: int, N: int, window: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.covariance import rolling

    X = returns(T, N)
    X[np.random.default_rng(4).random(X.shape) < 0.02] = np.nan
    frame = pd.DataFrame(X)
    least = window // 2

    def pandas_rolling() -> np.ndarray:
        C = frame.rolling(window, min_periods=least).cov().to_numpy()
        return C.reshape(T, N, N)[window - 1 :]

    return {
        "ours": lambda: rolling(X, window, min_periods=least).matrices,
        "pandas": pandas_rolling,
    }


def _rolling_quadratic(T: int, N: int, window: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.covariance import rolling, rolling_quadratic

    X = returns(T, N)
    rng = np.random.default_rng(6)
    W = rng.dirichlet(np.ones(N), size=T - window + 1)

    def matrices() -> np.ndarray:
        first = window - 1

        def variance(row: int, C: np.ndarray) -> float:
            w = W[row - first]
            return w @ C @ w

        return np.array(rolling(X, window, callback=variance).values)

    def pandas_series() -> np.ndarray:
        out = np.empty(T - window + 1)
        for k, w in enumerate(W):
            out[k] = pd.Series(X[k : k + window] @ w).var()
        return out

    return {
        "ours": lambda: rolling_quadratic(X, W, window),
        "matrix by matrix": matrices,
        "pandas, series by series": pandas_series,
    }


def _loop(X: np.ndarray, window: int, use: Callable[[np.ndarray], object]) -> list:
    return [
        use(np.cov(X[k : k + window], rowvar=False))
        for k in range(X.shape[0] - window + 1)
    ]


def _ewma_path(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.covariance import ewma_path

    X = returns(T, N)
    stored = np.zeros((T, N, N))

    def recursion() -> np.ndarray:
        out, S, total = np.empty((T, N, N)), np.zeros((N, N)), 0.0
        for t, r in enumerate(X):
            S = 0.94 * S + np.outer(r, r)
            total = 0.94 * total + 1.0
            out[t] = S / total
        return out

    candidates: dict[str, Thunk] = {
        "ours": lambda: ewma_path(X, decay=0.94).matrices,
        "NumPy recursion": recursion,
        "limit": lambda: stored.copy(),
    }
    if N <= 20:  # pandas takes seconds beyond
        frame = pd.DataFrame(X)

        def pandas_ewm() -> np.ndarray:
            # pandas centres: the moment is its covariance plus the mean's square.
            C = frame.ewm(alpha=0.06).cov(bias=True).to_numpy().reshape(T, N, N)
            m = frame.ewm(alpha=0.06).mean().to_numpy()
            return C + m[:, :, None] * m[:, None, :]

        candidates["pandas.ewm"] = pandas_ewm
    return candidates


def _nearest(N: int) -> dict[str, Thunk]:
    rng = np.random.default_rng(3)
    A = np.corrcoef(returns(4 * N, N).T)
    noise = rng.uniform(-0.35, 0.35, size=(N, N))
    A = np.clip(A + np.triu(noise, 1) + np.triu(noise, 1).T, -1.0, 1.0)
    np.fill_diagonal(A, 1.0)
    return _nearest_candidates(A)


def _nearest_pairwise(N: int) -> dict[str, Thunk]:
    """A correlation matrix estimated pair by pair, few dates and many gaps."""
    import pandas as pd

    X = returns(N // 4 + 40, N)
    X[np.random.default_rng(7).random(X.shape) < 0.15] = np.nan
    A = pd.DataFrame(X).corr(min_periods=10).to_numpy(copy=True)
    return _nearest_candidates(A)


def _nearest_candidates(A: np.ndarray) -> dict[str, Thunk]:
    from engine.covariance import nearest_correlation

    # No peer: skfolio's cov_nearest(higham=True) ends without an answer on these, and
    # statsmodels' iteration takes minutes at N 500.
    return {
        "ours": lambda: nearest_correlation(A, eigenvalue_floor=0.0),
        "Higham 2002": lambda: alternating_projections(A),
        "limit": lambda: np.linalg.eigh(A),
    }


def alternating_projections(A: np.ndarray, tolerance: float = 1e-11) -> np.ndarray:
    """Nearest correlation by Higham's projections with Dykstra's correction (2002)."""
    Y, correction = A.copy(), np.zeros_like(A)
    for _ in range(20_000):
        R = Y - correction
        values, vectors = np.linalg.eigh(R)
        X = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = X - R
        new = X.copy()
        np.fill_diagonal(new, 1.0)
        if np.linalg.norm(new - Y) <= tolerance * np.linalg.norm(new):
            return new
        Y = new
    raise RuntimeError("alternating projections did not converge")


def _factor_solve(N: int, K: int) -> dict[str, Thunk]:
    from scipy.linalg import cho_factor, cho_solve

    from engine.covariance import FactorCovariance

    rng = np.random.default_rng(8)
    B = rng.standard_normal((N, K)) * 0.01
    covariance = FactorCovariance(B, np.eye(K), rng.uniform(1e-5, 4e-4, N))
    b = rng.standard_normal(N)
    dense = covariance.dense()
    return {
        "ours": lambda: covariance.solve(b),
        "dense Cholesky": lambda: cho_solve(cho_factor(dense, lower=True), b),
    }


def _in_turns(N: int, times: int) -> dict[str, Thunk]:
    """Small BLAS products and compiled kernels in turns, against each alone.

    Two pools of threads that wait by spinning would make this many times slower; the
    kernels have no pool, and `engine.parallel` holds that of BLAS.
    """
    from engine.kernels.rolling import slide

    A = returns(N, N)
    B = A.T.copy()
    product, S = np.empty((N, N)), np.zeros((N, N))
    steps = returns(40, N).reshape(20, 2, N)

    def answer() -> np.ndarray:
        return np.stack([product, S])

    def in_turns() -> np.ndarray:
        S.fill(0.0)
        for _ in range(times):
            np.matmul(A, B, out=product)
            slide(S, steps, 0, 20)
        return answer()

    def apart() -> np.ndarray:
        S.fill(0.0)
        for _ in range(times):
            np.matmul(A, B, out=product)
        for _ in range(times):
            slide(S, steps, 0, 20)
        return answer()

    return {"ours": in_turns, "each alone": apart}


CASES = (
    Case(
        "rolling covariance, every date",
        {
            "small": {"T": 80, "N": 5, "window": 30},
            "T 2520, N 100, window 252": {"T": 2520, "N": 100, "window": 252},
        },
        _rolling,
    ),
    Case(
        "rolling covariance, callback",
        {
            "small": {"T": 80, "N": 5, "window": 30},
            "T 2520, N 100, window 252": {"T": 2520, "N": 100, "window": 252},
            "T 2520, N 500, window 252": {"T": 2520, "N": 500, "window": 252},
        },
        _rolling_callback,
    ),
    Case(
        "rolling covariance, 2% missing",
        {
            "small": {"T": 80, "N": 5, "window": 30},
            "T 2520, N 100, window 252": {"T": 2520, "N": 100, "window": 252},
        },
        _rolling_missing,
    ),
    Case(
        "rolling variance of changing weights",
        {
            "small": {"T": 80, "N": 5, "window": 30},
            "T 2520, N 100, window 252": {"T": 2520, "N": 100, "window": 252},
        },
        _rolling_quadratic,
    ),
    Case(
        "EWMA covariance, every date",
        {"small": {"T": 80, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _ewma_path,
    ),
    Case(
        "nearest correlation",
        {"small": {"N": 12}, "N 100": {"N": 100}, "N 500": {"N": 500}},
        _nearest,
        1e-6,
    ),
    Case(
        "nearest correlation, pair by pair",
        {"small": {"N": 20}, "N 500": {"N": 500}},
        _nearest_pairwise,
        1e-6,
    ),
    Case(
        "factor covariance, solve",
        {"small": {"N": 12, "K": 3}, "N 2000, K 20": {"N": 2000, "K": 20}},
        _factor_solve,
    ),
    Case(
        "BLAS and kernels in turns",
        {"small": {"N": 8, "times": 3}, "N 100": {"N": 100, "times": 100}},
        _in_turns,
    ),
)
