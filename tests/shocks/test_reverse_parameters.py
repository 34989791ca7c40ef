"""Implied parameters: the law's own coordinates, and a brute-force grid."""

from typing import Any

import numpy as np
import pytest

from engine import CheapModelShock, InfeasibleError, Universe, UsageError
from engine.parallel import BlockStream
from engine.shocks import reverse
from engine.shocks._reverse import (
    _BookLoss,
    _shock_at,
    copula_correlation,
    parameters_at,
)
from engine.shocks.severity import DRAWS, RANGES, draw_parameters
from tests.model_cases import a_model

NAMES = ("A0", "A1", "A2", "A3")
UNIVERSE = Universe(
    NAMES,
    asset_class=("equity",) * 4,
    role=("accelerator", "network", "power_gen", "software"),
)
MODEL = a_model(np.eye(4) * 1e-4, universe=UNIVERSE)
W = np.array([0.5, 0.2, 0.1, 0.2, 0.0])
SHOCK = CheapModelShock()


def test_coordinates_are_those_of_the_severity_law():
    names = list(RANGES)
    z = BlockStream(20250127, "severity").normals(0, DRAWS * len(names))
    z = z.reshape(len(names), DRAWS)
    root = np.linalg.cholesky(copula_correlation(names))
    got = parameters_at(SHOCK.parameters, dict(zip(names, root @ z, strict=True)))
    drawn = draw_parameters(SHOCK.parameters)
    for name in names:
        np.testing.assert_allclose(got[name], drawn[name], rtol=1e-10)


@pytest.mark.parametrize("loss", [0.2, 0.3])
def test_two_parameters_against_a_grid(loss):
    free = ["cost_ratio", "elasticity_inference"]
    got: Any = reverse(MODEL, W, loss, shock=SHOCK, parameters=free)
    grid = np.linspace(-4, 4, 401)
    z1, z2 = (v.ravel() for v in np.meshgrid(grid, grid))
    q = parameters_at(SHOCK.parameters, {free[0]: z1, free[1]: z2})
    # The table written out again, for four names at the midpoints of their roles.
    from engine.shocks.chain import demand_gap, present_value, surprise
    from engine.shocks.roles import VARIANTS

    s, gap, L = surprise(q), demand_gap(q), present_value(q)
    lost = np.zeros(z1.size)
    for w, role in zip(W, UNIVERSE.role, strict=False):
        row = VARIANTS["calibrated"][role]
        a = sum(row.share) / 2
        demand = row.operating_leverage * row.pass_through * L
        x = demand * np.log1p(a * np.expm1(gap)) + (row.adoption - row.erosion) * s
        lost -= w * np.expm1(x)
    reached = lost >= loss
    best = np.sqrt((z1**2 + z2**2)[reached].min())
    assert got.loss == pytest.approx(loss, rel=1e-5) and got.loss >= loss
    # The grid is 0.02 wide: its nearest point is at most a cell further out.
    assert got.distance <= best + 1e-6
    assert best - got.distance < 0.03
    assert got.implied["cost_ratio"] == got.shock.parameters["cost_ratio"]
    assert "cost ratio" in got.sentence.lower()


def test_more_freedom_is_never_less_plausible():
    two: Any = reverse(
        MODEL, W, 0.2, shock=SHOCK, parameters=["cost_ratio", "elasticity_inference"]
    )
    all_: Any = reverse(MODEL, W, 0.2, shock=SHOCK)
    assert all_.distance < two.distance
    assert all_.loss >= 0.2
    central = -float(W[:-1] @ all_.shock.moves(UNIVERSE, MODEL).central)
    assert central == pytest.approx(all_.loss, rel=1e-12)


def test_unreachable_loss_says_what_can_be_reached():
    with pytest.raises(InfeasibleError, match="at most"):
        reverse(MODEL, W, 0.99, shock=SHOCK, parameters=["cost_ratio"])


def test_a_loss_already_there_costs_no_plausibility():
    got: Any = reverse(MODEL, W, 0.001, shock=SHOCK, parameters=["cost_ratio"])
    assert got.distance == 0.0
    assert got.implied["cost_ratio"] == pytest.approx(20.0)


@pytest.mark.parametrize(
    "options",
    [
        {"parameters": ["no_such"]},
        {"parameters": []},
        {"parameters": ["cost_ratio", "cost_ratio"]},
        {"box": 0.0},
        {"systematic": True},
    ],
)
def test_bad_options(options):
    with pytest.raises(UsageError):
        reverse(MODEL, W, 0.1, shock=SHOCK, **options)


DIALS = {
    "previous_generation_share": 0.3,
    "open_source_share": 0.5,
    "relief_kept": 0.4,
    "overseas_rerating": 0.1,
    "platform_rerating": -0.3,
}


@pytest.mark.parametrize("horizon", ["day", "month", "persistent"])
@pytest.mark.parametrize("dials", [{}, DIALS])
def test_slope_of_every_parameter_is_that_of_the_shock_itself(horizon, dials):
    """Differences of `moves` one parameter at a time, however each of them acts."""
    shock = CheapModelShock(horizon=horizon, ai_capex={"A3": 0.02}, **dials)
    names = list(RANGES)
    lose = _BookLoss(shock, MODEL, W, names)
    z = np.random.default_rng(4).uniform(-1.0, 1.0, len(names))

    def loss(point):
        at = _shock_at(shock, names, point)
        return -float(W[:-1] @ at.moves(UNIVERSE, MODEL).central)

    assert lose(z) == pytest.approx(loss(z), rel=1e-12)
    step = 1e-4
    for i in range(len(names)):
        move = step * np.eye(len(names))[i]
        slope = (loss(z + move) - loss(z - move)) / (2 * step)
        # Truncation of the two steps, 1e-8 and 1e-10, on third derivatives below 1.
        assert lose.slope(z)[i] == pytest.approx(slope, abs=2e-8)


def test_a_share_moved_to_its_edge_is_certain_and_the_book_loses_all_the_same():
    edge = CheapModelShock(credibility=1.0)
    lose = _BookLoss(edge, MODEL, W, ["credibility"])
    assert parameters_at(edge.parameters, {"credibility": 1.5})["credibility"] == 1.0
    assert lose(np.ones(1)) == lose(np.zeros(1)) > 0.0
    assert lose.slope(np.ones(1)) == 0.0
