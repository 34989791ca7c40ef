"""Costs: one object, the same numbers for the optimiser and for the broker."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Costs, DataError

NAMES = ("AAA", "BBB", "CASH:USD")


def test_rates_by_hand():
    costs = Costs(half_spread_bps=5.0, commission_bps=2.0, fx_bps=3.0)
    foreign = np.array([False, True, False])
    np.testing.assert_allclose(costs.rates(NAMES), [7e-4, 7e-4, 0.0])
    np.testing.assert_allclose(costs.rates(NAMES, foreign=foreign), [7e-4, 10e-4, 0])


def test_the_unit_is_one_way_on_traded_value():
    """10 bp of one trade cost 10 bp once; a peer charged them every day (peers 4.4)."""
    costs = Costs(half_spread_bps=10.0)
    assert costs.charge(["AAA"], [10_000.0]) == pytest.approx(10.0)
    assert costs.charge(["AAA"], [-10_000.0]) == pytest.approx(10.0)
    assert costs.charge(["AAA"], [0.0]) == 0.0


def test_rates_by_ticker_with_a_default():
    costs = Costs(half_spread_bps={"AAA": 1.0, "default": 8.0})
    np.testing.assert_allclose(costs.rates(NAMES), [1e-4, 8e-4, 0.0])
    with pytest.raises(DataError, match=r"not given for an asset; at asset BBB.*'defa"):
        Costs(half_spread_bps={"AAA": 1.0}).rates(NAMES)
    assert Costs(half_spread_bps={"AAA": 0.0, "default": 8.0}).rates(["AAA"])[0] == 0.0


def test_minimum_commission_is_per_order():
    costs = Costs(half_spread_bps=10.0, minimum_commission=3.0)
    assert costs.charge(NAMES, [1000.0, 10_000.0, -11_000.0]) == pytest.approx(3 + 10)
    assert costs.charge(NAMES, [0.0, 0.0, 0.0]) == 0.0


def test_tax_is_on_the_gain_of_what_is_sold():
    """An 80% gain at 23.8% costs 19% of the sale (methods 7)."""
    rates = Costs.tax_rates(
        np.array([100.0, 100.0, 100.0]),
        np.array([20.0, 150.0, np.nan]),
        np.array([0.238, 0.238, 0.0]),
    )
    np.testing.assert_allclose(rates, [0.238 * 0.8, 0.0, 0.0])
    free = Costs(half_spread_bps=0.0)
    names = ("A", "B", "C")
    assert free.charge(names, [-1000.0, -1000.0, -1000.0], tax_rates=rates) == (
        pytest.approx(190.4)
    )
    assert free.charge(names, [1000.0, 0.0, 0.0], tax_rates=rates) == 0.0
    with pytest.raises(DataError, match="tax rate without a cost basis"):
        Costs.tax_rates(100.0, np.nan, 0.2)


@given(
    trades=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
    bps=st.floats(0, 100),
    scale=st.floats(0.1, 10),
)
def test_proportional_costs_are_rates_times_traded_value(trades, bps, scale):
    costs = Costs(half_spread_bps=bps)
    z = np.array(trades)
    expected = costs.rates(NAMES) @ np.abs(z)
    assert costs.charge(NAMES, z) == pytest.approx(expected)
    assert costs.charge(NAMES, scale * z) == pytest.approx(scale * expected)
    assert costs.charge(NAMES, -z) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad",
    [
        {"half_spread_bps": -1.0},
        {"half_spread_bps": float("nan")},
        {"half_spread_bps": float("inf")},
        {"half_spread_bps": {"AAA": -1.0}},
        {"half_spread_bps": {"default": float("nan")}},
        {"half_spread_bps": "wide"},
        {"half_spread_bps": {"AAA": "wide"}},
        {"commission_bps": -0.1},
        {"fx_bps": -1.0},
        {"fx_bps": float("nan")},
        {"fx_bps": "x"},
        {"minimum_commission": -1.0},
        {"minimum_commission": float("inf")},
    ],
)
def test_a_cost_that_cannot_be_is_refused_when_stated(bad):
    name = next(iter(bad))
    with pytest.raises(DataError, match=f"{name} must (not be negative|be a number)"):
        Costs(**bad)


def test_the_ticker_of_a_negative_cost_is_named():
    with pytest.raises(DataError, match="at asset AAA; received -1"):
        Costs(half_spread_bps={"AAA": -1.0, "default": 1.0})


def test_costs_survive_pickling():
    costs = Costs(half_spread_bps={"default": 3.0}, fx_bps=1.0)
    again = pickle.loads(pickle.dumps(costs))
    np.testing.assert_array_equal(again.rates(NAMES), costs.rates(NAMES))


def test_the_callers_mapping_is_copied():
    mine = {"default": 3.0}
    costs = Costs(half_spread_bps=mine)
    mine["default"] = 99.0
    assert costs.rates(["AAA"])[0] == pytest.approx(3e-4)
