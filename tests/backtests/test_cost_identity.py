"""The optimiser's cost, the cost object's and the broker's are one number."""

import numpy as np
import pytest

from backtests import backtest
from engine import Constraints, Costs, Portfolio, PricePanel, Universe, fit, propose
from engine.montecarlo import simulate
from engine.optimize._cost_terms import cost_rates, cost_terms, paid

NAMES = ("A", "B", "C", "D")
T = 90
DATES = np.datetime64("2024-01-01") + np.arange(T)
ONE_ULP_A_TERM = 1e-12


def still_market(seed=0, *, currency=("USD", "USD", "EUR", "USD")):
    """Random prices that stand still over the last two sessions."""
    rng = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, 4)), axis=0))
    prices[-2:] = prices[-3]
    return PricePanel(
        dates=DATES,
        prices=prices,
        volume=rng.uniform(1e5, 3e5, (T, 4)) * [1, 1, 2, 4],
        universe=Universe(NAMES, quote_currency=currency),
        price_basis="total_return",
        base_currency="USD",
        fx_currencies=("EUR",),
        fx=np.full((T, 1), 1.1),
    )


class MinimumVarianceOf:
    """Proposes by the optimiser, fractions of shares and no smallest trade."""

    name = "of the optimiser"

    def __init__(self, costs, objective="minimum_variance", aversion=20.0):
        self.costs, self.objective, self.aversion = costs, objective, aversion

    def estimate(self, view):
        return fit(view, tickers=NAMES, window=60)

    def propose(self, view, portfolio, estimate=None):
        model = self.estimate(view) if estimate is None else estimate
        return propose(
            portfolio,
            simulate(model, 64, horizon=5, seed=0),
            Constraints(upper=0.6, cash=(0.0, 0.02), minimum_trade=0.0),
            self.costs,
            objective=self.objective,
            active_risk_aversion=self.aversion,
            market=view,
        )


BOOK = Portfolio(
    assets=NAMES,
    units=np.array([30_000.0, 10_000.0, 100.0, 4_000.0]),
    money=np.full(4, np.nan),
    cash=(("USD", 40_000.0),),
    cost_basis=np.array([20.0, 200.0, 30.0, 40.0]),
)
TAXED = Portfolio(
    assets=NAMES,
    units=BOOK.units,
    money=BOOK.money,
    cash=BOOK.cash,
    cost_basis=BOOK.cost_basis,
    tax_rate=np.full(4, 0.238),
)


@pytest.mark.parametrize("book", [BOOK, TAXED], ids=["untaxed", "taxed"])
@pytest.mark.parametrize(
    "costs",
    [
        Costs(half_spread_bps=5.0),
        Costs(half_spread_bps={"default": 4.0, "B": 9.0}, fx_bps=3.0, impact=1.0),
        Costs(2.0, impact=0.5, adv={"A": 3e7}, impact_window=40),
        Costs(2.0, impact=1.0, adv={"A": 3e5, "B": 1e6, "C": 1e6, "D": 1e6}),
        Costs(0.0, impact=1.0, commission_bps=1.0, minimum_commission=25.0),
    ],
    ids=["linear", "impact", "stated volume", "thin", "minimum commission"],
)
def test_optimiser_cost_object_and_broker_agree(costs, book):
    panel = still_market()
    result = backtest(
        MinimumVarianceOf(costs),
        panel,
        start=DATES[-2],
        schedule="once",
        costs=costs,
        portfolio=book,
    )
    proposal = result.decisions[0].proposal
    view = panel.as_of(DATES[-2])
    known = costs.at(view)
    held = book.priced(view)
    labels = proposal.labels
    z = np.zeros(len(labels))
    for trade in proposal.trades:
        z[labels.index(trade.ticker)] = trade.value
    assert np.abs(z).sum() > 0.2 * held.value
    foreign = np.array([label == "C" for label in labels])
    tax = np.zeros(len(labels))
    for i, name in enumerate(NAMES):
        tax[labels.index(name)] = Costs.tax_rates(
            panel.last_prices()[i], held.cost_basis[i], held.tax_rate[i]
        )
    charged = known.charge(labels, z, foreign=foreign, tax_rates=tax)
    realised = result.costs[-1] + result.taxes[-1]
    assert realised == pytest.approx(charged, rel=ONE_ULP_A_TERM)
    assert proposal.cost * held.value == pytest.approx(charged, rel=ONE_ULP_A_TERM)
    if not costs.minimum_commission:  # not convex: the optimiser cannot see it
        rates = cost_rates(known, labels, value=held.value, foreign=foreign, tax=tax)
        share = z / held.value
        import cvxpy as cp

        bought, sold = cp.Variable(z.size), cp.Variable(z.size)
        bought.value, sold.value = np.maximum(share, 0.0), np.maximum(-share, 0.0)
        seen = float(cost_terms(rates, bought, sold).value)
        assert seen * held.value == pytest.approx(charged, rel=ONE_ULP_A_TERM)
        assert paid(rates, share) == pytest.approx(seen, rel=ONE_ULP_A_TERM)
    # And the book is where the proposal said it would be.
    weights = dict(zip(result.labels, result.money[-1] / result.value[-1], strict=True))
    for name in NAMES:
        assert weights[name] == pytest.approx(
            proposal.weights[name], rel=1e-12, abs=1e-13
        )


def test_impact_holds_large_trades_back():
    """Dearer trading, less of it; the default objective weighs impact exactly."""
    panel = still_market()
    traded = []
    for b in (0.0, 1.0, 10.0):
        costs = Costs(1.0, impact=b, adv=dict.fromkeys(NAMES, 1e5)) if b else Costs(1.0)
        made = MinimumVarianceOf(costs, aversion=5.0).propose(
            panel.as_of(DATES[-2]), BOOK.priced(panel.as_of(DATES[-2]))
        )
        traded.append(made.turnover)
    assert traded[0] > traded[1] > traded[2] > 0


def test_only_what_the_proposal_traded_is_traded():
    """Weights are of value after costs: untouched holdings must stay untouched."""
    panel = still_market()
    result = backtest(
        MinimumVarianceOf(Costs(50.0, minimum_commission=5.0), "cost_and_active_risk"),
        panel,
        start=DATES[-2],
        schedule="once",
        costs=Costs(50.0, minimum_commission=5.0),
        portfolio=BOOK,
    )
    proposal = result.decisions[0].proposal
    assert sorted(f.ticker for f in result.fills) == sorted(
        t.ticker for t in proposal.trades
    )


def test_facts_of_a_later_market_are_not_used():
    """Costs that were shown the whole panel know no more at an earlier date."""
    panel = still_market()
    costs = Costs(2.0, impact=1.0)
    shown = costs.at(panel)
    date = DATES[-20]
    view = panel.as_of(date)
    held = BOOK.priced(view)
    a, b = (MinimumVarianceOf(c).propose(view, held) for c in (costs, shown))
    assert (
        shown.impact_coefficients(NAMES)[0]
        != costs.at(view).impact_coefficients(NAMES)[0]
    )
    np.testing.assert_array_equal(a.target, b.target)
    runs = [
        backtest(MinimumVarianceOf(c), panel, start=date, costs=c, portfolio=BOOK)
        for c in (costs, shown)
    ]
    np.testing.assert_array_equal(runs[0].value, runs[1].value)
