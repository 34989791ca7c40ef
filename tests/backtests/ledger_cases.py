"""Small panels, a strategy of stated targets, and the identity of every ledger."""

import numpy as np

from engine.costs import Costs
from engine.data.panel import PricePanel
from engine.data.universe import Universe

FREE = Costs(half_spread_bps=0.0)
TEN_BPS = Costs(half_spread_bps=10.0)


def days(*texts):
    return np.array(texts, dtype="datetime64[D]")


WEEK = days("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05")


def make_panel(
    prices, dates=WEEK, *, tickers=("A", "B"), currency=None, venue=(), **options
):
    prices = np.array(prices, dtype=float)
    tickers = tickers[: prices.shape[1]]
    universe = Universe(
        tickers, quote_currency=currency or ("USD",) * len(tickers), venue=venue
    )
    options = {"price_basis": "total_return", "base_currency": "USD"} | options
    return PricePanel(
        dates=dates[: len(prices)], prices=prices, universe=universe, **options
    )


class Targets:
    """Proposes given weights by date, holds otherwise."""

    name = "targets"

    def __init__(self, by_date):
        self.by_date = {np.datetime64(k, "D"): v for k, v in by_date.items()}

    def estimate(self, view):
        return None

    def propose(self, view, portfolio, estimate=None):
        from engine.proposal import Proposal

        return Proposal.from_weights(portfolio, self.by_date[view.date])


def check_identity(result):
    held = result.cash + result.money.sum(axis=1)
    np.testing.assert_allclose(result.value, held, rtol=1e-13)
    change = np.diff(np.concatenate([[result.initial_value], result.value]))
    explained = (
        result.price_pnl
        + result.fx_pnl
        + result.interest
        + result.dividends
        - result.costs
        - result.taxes
    )
    np.testing.assert_allclose(
        change, explained, rtol=1e-9, atol=1e-9 * result.initial_value
    )
