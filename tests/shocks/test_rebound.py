"""Horizons: what is left of the move by role, and the persistent version."""

import numpy as np
import pandas as pd
import pytest

from engine import CheapModelShock, UsageError
from engine.shocks import HORIZONS
from engine.shocks.rebound import REBOUND, at_horizon
from engine.shocks.roles import CALIBRATED
from engine.shocks.severity import draw_parameters
from tests.shocks.roles_world import NAMED, companies, move_of


def logs(shock):
    return np.log1p(shock.moves(companies()).central)


@pytest.mark.parametrize("horizon", ["next_day", "month"])
def test_the_rebound_leaves_its_fraction_by_role(horizon):
    left = [1 - getattr(REBOUND[r], horizon) for r in NAMED]
    np.testing.assert_allclose(
        logs(CheapModelShock(horizon=horizon)),
        logs(CheapModelShock()) * left,
        rtol=1e-12,
    )


def test_figures_of_the_rebound_as_measured():
    """Medians over companies: an accelerator kept 83.6% of its fall by the next day."""
    assert REBOUND["accelerator"][:2] == (0.164, 0.264)
    assert REBOUND["dc_power"].month < 0  # it fell further
    assert set(REBOUND) == set(CALIBRATED)
    event = move_of(CheapModelShock(), "accelerator", 0.5)
    after = move_of(CheapModelShock(horizon="next_day"), "accelerator", 0.5)
    assert after == pytest.approx(0.836 * event, rel=1e-12)


def test_draws_and_the_basket_follow_the_horizon():
    universe = companies(("network", "network"))
    event = CheapModelShock().moves(universe)
    month = CheapModelShock(horizon="month").moves(universe)
    np.testing.assert_allclose(
        np.log1p(month.draws), 0.826 * np.log1p(event.draws), rtol=1e-10
    )
    np.testing.assert_allclose(
        np.expm1(month.driver), month.draws.mean(axis=1), atol=1e-14
    )


def test_unknown_exposures_follow_the_basket_at_the_horizon():
    universe = companies(("dc_power", "unknown"))
    moves = CheapModelShock(horizon="month").moves(universe)
    assert moves.central[1] == pytest.approx(moves.central[0])


def test_persistent_multiplies_a_falls_log_move_and_keeps_a_rise():
    for preset in ("market_view", "jevons"):
        event = logs(CheapModelShock(preset))
        np.testing.assert_allclose(
            logs(CheapModelShock(f"{preset}_persistent")),
            np.where(event < 0, 4.0 * event, event),
            rtol=1e-12,
        )
        np.testing.assert_allclose(
            logs(CheapModelShock(preset, horizon="persistent", persistence=2.5)),
            np.where(event < 0, 2.5 * event, event),
            rtol=1e-12,
        )
    # Persistence does nothing to the event itself.
    np.testing.assert_array_equal(
        logs(CheapModelShock(persistence=7.0)), logs(CheapModelShock())
    )


def test_draws_of_the_persistent_horizon_deepen_only_falls():
    universe = companies(("network",), (0.5,))
    event = np.log1p(CheapModelShock().moves(universe).draws[:, 0])
    shock = CheapModelShock(horizon="persistent")
    deep = np.log1p(shock.moves(universe).draws[:, 0])
    times = draw_parameters(shock.parameters)["persistence"]
    np.testing.assert_allclose(deep, np.where(event < 0, times * event, event))


def test_the_persistent_substitution_is_like_2000_to_2002():
    """Carrier equipment lost 89-99%, platform software 64-84%, AMAT 82%, TSM 85%."""
    shock = CheapModelShock("substitution_persistent")
    assert np.expm1(move_of(shock, "network")) == pytest.approx(-0.88, abs=0.01)
    assert np.expm1(move_of(shock, "network", 0.85)) == pytest.approx(-0.987, abs=0.002)
    for role in ("hyperscaler", "software"):
        assert -0.84 < np.expm1(move_of(shock, role)) < -0.64
    assert move_of(shock, "overseas_efficient") > 0
    # The re-rating of platforms is a matter of years, not of the day.
    day = shock.with_horizon("day").moves(companies())
    np.testing.assert_array_equal(
        day.central, CheapModelShock("substitution").moves(companies()).central
    )


def test_a_new_multiple_is_not_deepened():
    shock = CheapModelShock(
        horizon="persistent", overseas_rerating=0.1, platform_rerating=-0.5
    )
    parts = shock.moves(companies(("overseas_efficient", "device"))).parts
    np.testing.assert_allclose(parts["re-rating"], [0.1, -0.5], rtol=1e-15)


def test_path_shows_the_rebound_leg():
    shock = CheapModelShock(severity=1.2)
    path = shock.path(companies())
    assert isinstance(path, pd.DataFrame) and tuple(path.columns) == HORIZONS
    for h in HORIZONS:
        np.testing.assert_array_equal(
            path[h], shock.with_horizon(h).moves(companies()).central
        )
    row = path.loc[f"accelerator{NAMED.index('accelerator')}"]
    assert row["persistent"] < row["day"] < row["next_day"] < row["month"] < 0


def test_horizon_names():
    assert CheapModelShock().horizon == "day"
    assert CheapModelShock("jevons_persistent").horizon == "persistent"
    month = CheapModelShock("jevons", horizon="month")
    assert month.name == "cheap-model:jevons_month"
    assert month.with_severity(2.0).horizon == "month"
    assert month.with_lens("worst").horizon == "month"
    assert repr(month) == "CheapModelShock('jevons', calibrated, horizon='month')"
    assert CheapModelShock("jevons-persistent").name == "cheap-model:jevons_persistent"
    with pytest.raises(UsageError, match="unknown shock horizon"):
        month.with_horizon("year")
    assert at_horizon(CALIBRATED, "day") is CALIBRATED
