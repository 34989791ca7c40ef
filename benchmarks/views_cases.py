"""Cases of views on scenarios: entropy pooling against its peers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Thunk, returns

ASSETS = 10
MEANS, VOLATILITIES = 6, 4


def _views(S: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, and targets of six means and of four volatilities."""
    X = returns(S, ASSETS, seed=8)
    spread = X.std(axis=0)
    shift = np.array([-0.20, -0.15, -0.10, 0.05, 0.10, -0.12])
    means = X.mean(axis=0)[:MEANS] + shift * spread[:MEANS]
    return X, means, spread[:VOLATILITIES] * np.array([1.10, 1.05, 1.02, 1.08])


def _pooling(S: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine.data.universe import Universe
    from engine.scenarios import ScenarioSet
    from engine.shocks import entropy_pool

    X, means, volatilities = _views(S)
    names = tuple(f"A{i}" for i in range(ASSETS))
    scenarios = ScenarioSet(
        names, X, np.full(S, 1.0 / S), 1, Universe(names), "USD", 252.0
    )
    frame = pd.DataFrame(X, columns=list(names))
    # The last two are inequalities that bind.
    words = ["=="] * (MEANS - 2) + [">=", "<="]
    mean_views = [f"{names[i]} {words[i]} {float(means[i])!r}" for i in range(MEANS)]
    variance_views = [
        f"{names[i]} == {float(volatilities[i] ** 2)!r}" for i in range(VOLATILITIES)
    ]
    ours = [f"mean({v.replace(' ', ') ', 1)}" for v in mean_views]
    ours += [f"variance({v.replace(' ', ') ', 1)}" for v in variance_views]
    shock = entropy_pool(ours)

    def posterior(p: np.ndarray) -> np.ndarray:
        mean = p @ X
        shift = (mean - X.mean(axis=0)) / X.std(axis=0)
        return np.concatenate([1.0 + shift, np.sqrt(p @ (X - mean) ** 2)])

    def skfolio():
        from skfolio.prior import EntropyPooling

        # Its default tolerances stop before the fifth digit of a volatility at this
        # size, and hardly sooner.
        tolerances = {"ftol": 1e-15, "xtol": 1e-10, "gtol": 1e-11}
        model: Any = EntropyPooling(
            mean_views=mean_views,
            variance_views=variance_views,
            solver_params={"maxfun": 20_000, "stepmx": 1} | tolerances,
        ).fit(frame)
        return posterior(model.return_distribution_.sample_weight)

    def riskfolio():
        import riskfolio as rp

        # It takes the rows of a problem: those of the last stage.
        held = (X[:, :VOLATILITIES] - means[:VOLATILITIES]) ** 2
        P_eq = np.vstack([X[:, : MEANS - 2].T, held.T])
        Q_eq = np.concatenate([means[: MEANS - 2], volatilities**2])[:, None]
        P_in = np.vstack([X[:, MEANS - 2], -X[:, MEANS - 1]])
        Q_in = np.array([[means[MEANS - 2]], [-means[MEANS - 1]]])
        p = rp.entropy_pooling(frame, P_eq, Q_eq, P_in, Q_in)[-1]
        return posterior(np.asarray(p).ravel())

    candidates: dict[str, Thunk] = {
        "ours": lambda: posterior(shock.pool(scenarios).scenarios.p),
        "skfolio": skfolio,
    }
    if S <= 10_000:  # beyond, its solver gives no answer
        candidates["riskfolio-lib (Clarabel)"] = riskfolio
    return candidates


CASES = (
    Case(
        "entropy pooling, 10 views",
        {
            "small": {"S": 2000},
            "S 10,000": {"S": 10_000},
            "S 100,000": {"S": 100_000},
        },
        _pooling,
        1e-6,
        apart=("riskfolio-lib (Clarabel)",),
    ),
)
