"""The planned rule: one step is the plain rule; plans keep the cap and look back."""

import numpy as np
import pytest

from backtests import assert_no_lookahead, backtest
from engine import Costs, DataError, Portfolio, load_panel
from strategies import ShockAware, ShockAwareMultiPeriod

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "EFA", "EWJ", "TLT", "SPY")
BOOK = {"NVDA": 0.4, "AVGO": 0.2, "ANET": 0.2, "VST": 0.1}
LIMIT = 0.08
COMMON = {"upper": 0.5, "window": 252}
ADV = dict.fromkeys(NAMES, 4e6)


@pytest.fixture(scope="module")
def panel():
    return load_panel("reference", NAMES)


@pytest.fixture(scope="module")
def view(panel):
    return panel.as_of("2024-12-02", hindsight_parameters=True)


@pytest.fixture(scope="module")
def held(view):
    book = {**BOOK, "CASH:USD": 0.1}
    return Portfolio.from_weights(book, 1e6, "USD").priced(view)


def last_month(view):
    """What rose over the last 21 sessions, a tenth of it, as of the view."""
    prices = view.panel.prices
    return dict(zip(view.tickers, 0.1 * (prices[-1] / prices[-22] - 1), strict=True))


def unknown_name(view):
    return {"ZZZ": 0.1}


def test_one_step_is_the_plain_rule(view, held):
    plain = ShockAware(BOOK, LIMIT, **COMMON)
    once = ShockAwareMultiPeriod(BOOK, LIMIT, steps=1, **COMMON)
    model = plain.estimate(view)
    a, b = (s.propose(view, held, model) for s in (plain, once))
    assert a.turnover > 0.1
    np.testing.assert_allclose(b.target, a.target, atol=2e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_cap_holds_after_the_first_trade(view, held, steps):
    rule = ShockAwareMultiPeriod(
        BOOK, LIMIT, steps=steps, costs=Costs(5.0, impact=1.0, adv=ADV), **COMMON
    )
    made = rule.propose(view, held)
    loss = next(iter(made.stress_after.values()))
    assert loss <= LIMIT + 1e-6 < next(iter(made.stress_before.values()))
    assert all(c.satisfied for c in made.limits)


def test_a_forecast_tilts_the_book_and_fades(view, held):
    model = ShockAware(BOOK, 0.9, **COMMON).estimate(view)

    def weight(forecast, decay):
        rule = ShockAwareMultiPeriod(
            BOOK, 0.9, steps=4, forecast=forecast, decay=decay, **COMMON
        )
        return rule.propose(view, held, model).weights["JPM"]

    fast, slow = (weight(lambda view: {"JPM": 0.01}, d) for d in (0.0, 0.9))
    assert slow > fast + 1e-3 > weight(None, 0.5)


def test_a_forecast_for_nothing_known_is_named(view, held):
    rule = ShockAwareMultiPeriod(BOOK, LIMIT, forecast=unknown_name, **COMMON)
    with pytest.raises(DataError, match=r"forecast.*asset ZZZ.*2024-12-02"):
        rule.propose(view, held)


def test_it_does_not_look_ahead(panel):
    rule = ShockAwareMultiPeriod(
        BOOK,
        LIMIT,
        steps=2,
        forecast=last_month,
        costs=Costs(5.0, impact=1.0, adv=ADV),
        **COMMON,
    )
    # Later closes are made up by the check, whose corruption ends some assets.
    assert_no_lookahead(rule, panel, dates=["2024-06-03"], hindsight_parameters=True)


def test_a_backtest_calls_the_same_two_methods(panel):
    rule = ShockAwareMultiPeriod(
        BOOK, LIMIT, steps=2, costs=Costs(5.0, impact=1.0, adv=ADV), **COMMON
    )
    result = backtest(
        rule,
        panel,
        start="2024-11-01",
        end="2024-12-31",
        costs=rule.costs,
        hindsight_parameters=True,
    )
    assert len(result.decisions) >= 2
    assert not any(d.outcome == "HELD" for d in result.decisions)
    assert result.costs.sum() > 0
