"""Small books and scenario sets that the tests of proposals share."""

import numpy as np

from engine import (
    Constraints,
    Costs,
    Portfolio,
    PricePanel,
    ScenarioSet,
    StressCap,
    Universe,
    propose,
)
from engine.shocks import ShockMoves

FREE = Costs(half_spread_bps=0.0)
ALL_IN = {"cash": (0.0, 0.0), "minimum_trade": 0.0}


class Fixed:
    """A shock with given moves: one row, or equally likely severities."""

    def __init__(self, moves, name="fixed", known_from="2020-01-01"):
        self.draws = np.atleast_2d(np.asarray(moves, dtype=float))
        self.name = name
        self.known_from = np.datetime64(known_from)

    def moves(self, universe, model=None):
        return ShockMoves(
            assets=universe.tickers,
            central=self.draws.mean(axis=0),
            draws=self.draws,
            driver=self.draws.mean(axis=1),
            basis=("given",) * len(universe),
            parts={},
        )


def labels(n, **columns):
    return Universe(
        (*(f"A{i}" for i in range(n)), "CASH:USD"),
        quote_currency=("USD",) * (n + 1),
        **columns,
    )


def draws_of(returns, **columns):
    """Scenarios of n assets and cash, no model behind them."""
    returns = np.asarray(returns, dtype=float)
    S, n = returns.shape
    universe = labels(n, **columns)
    return ScenarioSet(
        assets=universe.tickers,
        returns=np.column_stack([returns, np.zeros(S)]),
        p=np.full(S, 1 / S),
        horizon=21,
        universe=universe,
        base_currency="USD",
        periods_per_year=252.0,
    )


def random_set(seed=0, S=200, n=6, **columns):
    rng = np.random.default_rng(seed)
    factor = rng.standard_t(5, (S, 1)) * 0.04
    scale = np.linspace(0.3, 1.8, n)
    returns = np.maximum(factor * scale + rng.normal(0, 0.03, (S, n)), -0.8)
    return draws_of(returns - returns.mean(axis=0), **columns)


def book(weights, value=1_000_000.0):
    n = len(weights) - 1
    return Portfolio.from_weights(
        dict(zip((*(f"A{i}" for i in range(n)), "CASH:USD"), weights, strict=True)),
        value,
        "USD",
    )


def holdings_of(proposal):
    """Fractions of value before trading, from the weights after costs."""
    return proposal.target * (1.0 - proposal.cost)


W0 = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.30, 0.05])
SHOCK = Fixed([0.0, -0.02, -0.05, -0.1, -0.2, -0.3, 0.0])
CAP = StressCap(SHOCK, 0.12, quantile="central")


def solve_with(costs=None, objective="cost_and_active_risk", **limits):
    return propose(
        book(W0),
        random_set(country=("US",) * 4 + ("TW", "TW", "")),
        Constraints(**({"stress_caps": CAP} | limits)),
        costs or Costs(),
        objective=objective,
    )


def market_of(prices, basis="raw", n=6):
    return PricePanel(
        dates=np.array(["2025-01-24"], "datetime64[D]"),
        prices=np.atleast_2d(prices),
        universe=Universe(
            tuple(f"A{i}" for i in range(n)), quote_currency=("USD",) * n
        ),
        price_basis=basis,
        base_currency="USD",
    )
