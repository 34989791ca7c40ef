"""A return model of given covariance, everything else plain."""

import numpy as np

from engine.data.universe import Universe
from engine.model import ReturnModel


def a_model(covariance, **changes):
    n = covariance.shape[0]
    names = tuple(f"A{i}" for i in range(n))
    fields = dict(
        assets=names,
        mean=np.linspace(-1e-3, 1e-3, n),
        covariance=covariance,
        tail_dof=np.inf,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.04,
        mean_kind="given",
        universe=Universe(names),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )
    return ReturnModel(**(fields | changes))
