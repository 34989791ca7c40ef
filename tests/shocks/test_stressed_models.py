"""Stressed correlations, volatilities and liquidity: exact entries, repair, costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Costs, DataError, Universe, UsageError
from engine.covariance import FactorCovariance, split
from engine.shocks import correlation_stress, liquidity_stress, volatility_stress
from tests.model_cases import a_model

NAMES = tuple(f"A{i}" for i in range(6))
UNIVERSE = Universe(
    NAMES,
    asset_class=("equity",) * 6,
    role=("accelerator", "network", "power_gen", "software", "software", "none"),
    country=("US", "US", "US", "US", "DE", "DE"),
    sector=("Tech",) * 5 + ("Food",),
)
R = np.full((6, 6), 0.3) + 0.7 * np.eye(6)
SIGMA = np.linspace(0.01, 0.03, 6)
MODEL = a_model(R * np.outer(SIGMA, SIGMA), universe=UNIVERSE)


def test_feasible_entries_are_exact_and_need_no_repair():
    got = correlation_stress(MODEL, {"AI": 0.6, ("AI", "role:software"): 0.2})
    after = got.model.correlation()
    np.testing.assert_allclose(after[:3, :3][~np.eye(3, dtype=bool)], 0.6, atol=1e-12)
    np.testing.assert_allclose(after[:3, 3:5], 0.2, atol=1e-12)
    np.testing.assert_allclose(after[5, :5], 0.3, atol=1e-12)
    np.testing.assert_allclose(got.model.volatility(), MODEL.volatility())
    assert got.held and got.repair == 0.0 and got.pairs == 3 + 6


def test_repair_moves_free_entries_and_holds_those_asked_for():
    asked = {("A0", "A1"): 0.95, ("A0", "A2"): -0.5, ("A1", "A2"): -0.5}
    got = correlation_stress(MODEL, asked | {("A0", "A3"): 0.9, ("A2", "A3"): -0.75})
    after = got.model.correlation()
    assert got.held and got.repair > 0.01
    assert after[0, 1] == pytest.approx(0.95, abs=1e-9)
    assert after[2, 3] == pytest.approx(-0.75, abs=1e-9)
    assert np.linalg.eigvalsh(after)[0] > 0


def test_entries_that_no_matrix_has_are_moved_and_the_repair_is_reported():
    got = correlation_stress(
        MODEL, {("A0", "A1"): 0.95, ("A1", "A2"): 0.95, ("A0", "A2"): -0.95}
    )
    after = got.model.correlation()
    assert not got.held and got.repair > 0.5 and got.largest_change > 0.3
    assert np.linalg.eigvalsh(after)[0] > 0
    assert "moved" in repr(got)


def test_shift_adds():
    got = correlation_stress(MODEL, {"country:US": 0.1}, shift=True)
    assert got.model.correlation()[0, 3] == pytest.approx(0.4)
    assert got.model.correlation()[0, 4] == pytest.approx(0.3)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_any_request_gives_a_correlation_matrix(a, b):
    got = correlation_stress(MODEL, {"AI": a, ("AI", "role:software"): b})
    sigma, after = split(got.model.dense_covariance())
    assert np.linalg.eigvalsh(after)[0] > -1e-9
    np.testing.assert_allclose(sigma, SIGMA)
    if got.held:
        np.testing.assert_allclose(after[:3, 3:5], b, atol=1e-7)


@pytest.mark.parametrize("value", [1.01, -1.5, np.nan])
def test_impossible_correlation(value):
    with pytest.raises(UsageError, match="impossible correlation"):
        correlation_stress(MODEL, {"AI": value})


def test_unknown_names_and_empty_requests():
    with pytest.raises(DataError, match="NOPE"):
        correlation_stress(MODEL, {("AI", "NOPE"): 0.1})
    with pytest.raises(UsageError, match="at least one"):
        correlation_stress(MODEL, {})
    with pytest.raises(UsageError, match="itself"):
        correlation_stress(MODEL, {"A0": 0.5})
    with pytest.raises(UsageError, match="two names"):
        correlation_stress(MODEL, {("A0", "A1", "A2"): 0.5})


@pytest.mark.parametrize("form", ["dense", "factor"])
def test_volatility_scales_and_correlations_stay(form):
    C = R * np.outer(SIGMA, SIGMA)
    if form == "factor":
        C = FactorCovariance(SIGMA[:, None], np.eye(1), SIGMA**2)
    model = a_model(C, universe=UNIVERSE, mean_kind="zero_excess", mean=np.zeros(6))
    got = volatility_stress(model, {"AI": 2.0, "A5": 0.5})
    factor = np.array([2, 2, 2, 1, 1, 0.5])
    np.testing.assert_allclose(got.volatility(), factor * model.volatility())
    np.testing.assert_allclose(got.correlation(), model.correlation())
    variance = np.diagonal(model.dense_covariance())
    stressed = np.diagonal(got.dense_covariance())
    # The mean simple return, exp(mean + variance / 2), is what it was.
    np.testing.assert_allclose(got.mean + stressed / 2, model.mean + variance / 2)
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(UsageError, match="positive"):
            volatility_stress(model, bad)
    with pytest.raises(DataError, match="NOPE"):
        volatility_stress(model, {"NOPE": 2.0})


def test_liquidity_widens_spreads_and_prices_a_liquidation():
    costs = Costs(half_spread_bps={"A0": 2.0, "default": 5.0}, commission_bps=1.0)
    got = liquidity_stress(costs, spread_factor=3.0, volume_factor=0.25)
    np.testing.assert_allclose(
        got.costs.rates(("A0", "A1", "CASH:USD")), [7e-4, 16e-4, 0.0]
    )
    cost = got.liquidation(
        ("A0", "CASH:USD"), [1e6, 5e5], [1e8, np.nan], [0.04, np.nan], days=2.0
    )
    impact = 0.04 * 1e6 * np.sqrt(1e6 / (0.25e8 * 2))
    np.testing.assert_allclose(cost, [700 + impact, 0.0])
    flat = liquidity_stress(Costs(), volume_factor=3.9)
    assert flat.costs.half_spread_bps == 15.0
    assert flat.volume_factor == 3.9


def test_liquidity_refuses_what_it_does_not_know():
    got = liquidity_stress(Costs())
    with pytest.raises(DataError, match="A1"):
        got.liquidation(("A0", "A1"), [1.0, 1.0], [1e6, np.nan], [0.01, 0.01])
    with pytest.raises(DataError, match="match"):
        got.liquidation(("A0",), [1.0, 1.0], [1e6], [0.01])
    with pytest.raises(UsageError, match="spread_factor"):
        liquidity_stress(Costs(), spread_factor=0.0)
