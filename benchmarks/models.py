"""The return models that cases are made of: a covariance, and nothing else of note."""

from __future__ import annotations

from typing import Any

import numpy as np


def model_of(covariance: Any, *, kind: str = "log", dof: float = float("inf")):
    """A daily model without drift; dense or factor covariance of N assets."""
    from engine.data.universe import Universe
    from engine.model import ReturnModel

    N = covariance.shape[0]
    assets = tuple(f"A{i}" for i in range(N))
    return ReturnModel(
        assets=assets,
        mean=np.zeros(N),
        covariance=covariance,
        tail_dof=dof,
        return_kind=kind,
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="given",
        universe=Universe(assets),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )


def factor_model(N: int, K: int, kind: str = "log"):
    """K factors, the first a market: loadings drawn from a fixed seed."""
    from engine.covariance import FactorCovariance

    rng = np.random.default_rng(3)
    loadings = 0.005 * rng.standard_normal((N, K)) + 0.004
    return model_of(FactorCovariance(loadings, np.eye(K), np.full(N, 1e-4)), kind=kind)
