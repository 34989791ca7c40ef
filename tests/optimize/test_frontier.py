"""The frontier of stress loss against cost: shape, prices, and where it ends."""

import numpy as np
import pytest
from proposal_cases import CAP, W0, Fixed, book, random_set

from engine import (
    Constraints,
    Costs,
    StressCap,
    UsageError,
    proposal_frontier,
    propose,
)

COUNTED = {"n": 0}
COSTS = Costs(half_spread_bps=20.0)
LIMITS = Constraints(stress_caps=CAP, upper=0.4, minimum_trade=0.0)


class Counting(Fixed):
    """A shock that counts how often its moves are worked out."""

    def moves(self, universe, model=None):
        COUNTED["n"] += 1
        return super().moves(universe, model)


def frontier(objective="minimum_cost", constraints=LIMITS, **options):
    return proposal_frontier(
        book(W0), random_set(), constraints, COSTS, objective=objective, **options
    )


@pytest.mark.parametrize("objective", ["minimum_cost", "cost_and_active_risk"])
def test_a_tighter_limit_never_costs_less_and_its_price_never_falls(objective):
    found = frontier(objective, points=9)
    frame = found.to_frame()
    good = frame[frame["loss"].notna()]
    assert len(good) == 9 and len(frame) == 10
    assert (np.diff(good["limit"]) < 0).all()
    assert good["limit"].iloc[0] == pytest.approx(found.loss_before)
    objectives = [sum(p.proposal.objective_parts.values()) for p in found.feasible]
    assert (np.diff(objectives) >= -1e-8).all()
    # Convex: the last point, a thousandth from the edge, is a kink with many duals.
    assert (np.diff(good["price_bp"].iloc[1:-1]) >= -1e-3).all()
    assert (good["loss"] <= good["limit"] + 1e-6).all()


def test_the_price_is_the_slope_of_the_frontier():
    h = 1e-4
    found = frontier("cost_and_active_risk", limits=[0.12 + h, 0.12, 0.12 - h])
    values = [sum(p.proposal.objective_parts.values()) for p in found.points]
    slope = (values[2] - values[0]) / (2 * h)
    assert found.points[1].price == pytest.approx(slope, rel=2e-2)


def test_every_point_is_the_proposal_at_that_limit():
    found = frontier(limits=[0.13, 0.11])
    for point in found.points:
        alone = propose(
            book(W0),
            random_set(),
            Constraints(
                stress_caps=StressCap(CAP.shock, point.limit, "central"),
                upper=0.4,
                minimum_trade=0.0,
            ),
            COSTS,
            objective="minimum_cost",
        )
        np.testing.assert_allclose(point.proposal.target, alone.target, atol=1e-9)
    row = found.to_frame().iloc[1]
    X = random_set().returns
    active = found.points[1].proposal.target - W0
    # 12 horizons of 21 sessions in a year; X has mean zero.
    assert row["tracking_error"] == pytest.approx((X @ active).std() * np.sqrt(12))
    losses = np.sort(-(X @ found.points[1].proposal.target))[::-1]
    assert row["expected_shortfall"] == pytest.approx(losses[:10].mean())
    assert row["avoided"] == pytest.approx(
        (found.loss_before - row["loss"]) / row["turnover"]
    )


def test_what_cannot_be_met_keeps_its_reason_and_is_tried_once():
    found = frontier(limits=[0.12, 0.0, -0.01])
    outcomes = found.to_frame()["outcome"].tolist()
    assert found.points[0].proposal is not None
    assert "no portfolio satisfies these limits together" in outcomes[1]
    assert outcomes[2] == "tighter than 0.00%, which cannot be met"
    assert np.isnan(found.to_frame()["cost_bp"].iloc[1])
    assert found.sentences()[-1].startswith("Nothing below 12.00% can be reached: ")


def test_the_edge_is_the_lowest_loss_that_the_other_limits_leave():
    """All into A0, which loses nothing, but 30% at most in a name and cash at 4%."""
    limits = Constraints(
        stress_caps=CAP, upper=0.3, cash=(0.04, 0.04), minimum_trade=0.0
    )
    found = frontier(constraints=limits, points=4)
    lowest = 0.3 * 0.0 + 0.3 * 0.02 + 0.3 * 0.05 + 0.06 * 0.1
    assert lowest <= found.tightest <= lowest + 1.1e-3 * found.loss_before
    assert found.points[-1].proposal is None
    assert found.points[-1].limit < lowest


def test_the_moves_are_worked_out_once():
    COUNTED["n"] = 0
    shock = Counting(CAP.shock.draws, name="counted")
    cap = StressCap(shock, 0.12, quantile="central")
    frontier(constraints=Constraints(stress_caps=cap), limits=[0.14, 0.12, 0.1])
    assert COUNTED["n"] == 1


def test_one_of_two_capped_shocks():
    mild = StressCap(Fixed([0, 0, 0, -0.3, 0, 0, 0], name="mild"), 0.03, "central")
    both = Constraints(stress_caps=(CAP, mild))
    with pytest.raises(UsageError, match="which capped shock is meant"):
        frontier(constraints=both, limits=[0.1])
    found = frontier(constraints=both, limits=[0.13, 0.12], shock="fixed")
    for point in found.points:
        assert point.proposal.stress_after["mild"] <= 0.03 + 1e-6
    with pytest.raises(UsageError, match="no cap on this shock"):
        frontier(constraints=both, shock="other")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": []}, "losses as decimals; received none"),
        ({"limits": [0.1, float("nan")]}, "losses as decimals; received nan"),
        ({"limits": [8.0]}, "losses as decimals; received 8.0"),
        ({"points": 1}, "at least two points; received 1"),
        ({"constraints": Constraints()}, "which capped shock is meant"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(UsageError, match=words):
        frontier(**options)


def test_a_point_that_no_solver_reaches_does_not_take_the_others_with_it(monkeypatch):
    from engine.errors import SolverError
    from engine.optimize import _proposal_frontier as module

    real = module.propose

    def stubborn(portfolio, scenarios, constraints, costs, **options):
        [cap] = constraints.stress_caps
        if cap.limit in (0.0, 0.12):
            raise SolverError("no solver found an acceptable solution")
        return real(portfolio, scenarios, constraints, costs, **options)

    monkeypatch.setattr(module, "propose", stubborn)
    found = frontier(limits=[0.13, 0.12, 0.11])
    assert [p.unsolved for p in found.points] == [False, True, False]
    assert [p.proposal is None for p in found.points] == [False, True, False]
    assert "no solver" in found.points[1].outcome
    whole = frontier(points=5)
    assert whole.tightest > 0.0 and sum(p.unsolved for p in whole.points) <= 1
