"""Coherent stress: joint probabilities, feasibility, and legs of scenarios."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, InfeasibleError, Universe, UsageError, stress
from engine.scenarios import ScenarioSet
from engine.shocks import ShockMoves, entropy_pool, mix
from engine.shocks._coherent import CoherentStress
from engine.shocks.moves import UNDATED

NAMES = ("NVDA", "KO")


@dataclass(frozen=True)
class Push:
    name: str
    size: float
    known_from: np.datetime64 = UNDATED

    def moves(self, universe, model=None):
        x = np.array([self.size, 0.0])
        return ShockMoves(NAMES, x, x[None, :], x[:1], ("given",) * 2, {})


def a_set(S=400):
    r = 0.05 * np.random.default_rng(0).standard_normal((S, 2))
    return ScenarioSet(NAMES, r, np.full(S, 1 / S), 21, Universe(NAMES), "USD", 252.0)


NET = {"cheap": 0.3, "cut | cheap": 0.5, "cut | not cheap": 0.1}


def test_a_full_net_fixes_the_joint_probabilities():
    states = mix(NET, {})
    assert states.probability("cheap and cut") == pytest.approx(0.15, abs=1e-9)
    assert states.probability("cheap and not cut") == pytest.approx(0.15, abs=1e-9)
    assert states.probability("cut") == pytest.approx(0.15 + 0.07, abs=1e-9)
    assert list(states.to_frame().columns) == ["cheap", "cut", "probability", "shock"]


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_events_without_a_link_are_independent(a, b, c):
    """Maximum entropy given marginals alone is the product."""
    states = mix({"a": a, "b": b, "c": c}, {})
    assert states.probability("a and not b and c") == pytest.approx(
        a * (1 - b) * c, abs=1e-8
    )


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_any_chain_of_conditionals_holds(a, b, c):
    states = mix({"a": a, "b | a": b, "c | b and a": c}, {})
    assert states.probability("a and b and c") == pytest.approx(a * b * c, abs=1e-8)
    assert states.probabilities.sum() == pytest.approx(1.0)


def test_certain_and_impossible_events():
    states = mix({"a": 0.3, "b | a": 1.0, "b | not a": 0.0, "c": (0.2, 0.6)}, {})
    assert states.probability("b") == pytest.approx(0.3, abs=1e-12)
    assert states.probability("a and not b") == 0.0
    assert states.probability("c") == pytest.approx(0.5, abs=1e-9)  # most even
    bound = mix({"a": (0.7, 0.9)}, {})
    assert bound.probability("a") == pytest.approx(0.7, abs=1e-9)


def test_states_become_legs_with_their_probability():
    s = a_set()
    deep = Push("deep", -0.4)
    mild = entropy_pool("mean(NVDA) == -0.02", name="mild")
    states = mix(NET, {"cheap and cut": deep, "cheap": mild}, name="net")
    mixed = s.apply(states)
    assert set(mixed.legs) == {"deep", "mild", "base"}
    for leg, p in (("deep", 0.15), ("mild", 0.15), ("base", 0.7)):
        assert mixed.p[mixed.rows(leg)].sum() == pytest.approx(p, abs=1e-9)
    assert mixed.leg_mean("mild")[0] == pytest.approx(-0.02)
    base = s.leg_mean("base")[0]
    assert mixed.leg_mean("deep")[0] == pytest.approx((1 + base) * 0.6 - 1)
    loss = stress({"NVDA": 1.0}, s, states)["net"].loss
    assert loss == pytest.approx(-(mixed.p @ mixed.returns)[0])
    legs = 0.15 * mixed.leg_mean("deep")[0] + 0.15 * -0.02 + 0.7 * base
    assert loss == pytest.approx(-legs)
    again = pickle.loads(pickle.dumps(states))
    np.testing.assert_array_equal(again.probabilities, states.probabilities)
    with pytest.raises(UsageError, match="its own probabilities"):
        s.mix(states, 0.5)


def test_a_mixture_is_known_from_its_latest_shock():
    assert np.isnat(mix(NET, {"cheap": Push("a", -0.1)}).known_from)
    dated = Push("b", -0.1, np.datetime64("2025-01-27"))
    states = mix(NET, {"cheap and cut": dated, "cheap": Push("a", -0.1)})
    assert states.known_from == np.datetime64("2025-01-27")


def test_contradictions_are_named_with_what_the_others_allow():
    wrong = {"a": 0.3, "b | a": 0.9, "b": 0.1, "c": 0.5}
    with pytest.raises(InfeasibleError) as caught:
        mix(wrong, {})
    error = caught.value
    assert error.conflict == ("P(a) = 0.3", "P(b | a) = 0.9", "P(b) = 0.1")
    # P(b) >= P(a) P(b | a) = 0.27; P(b | a) <= 0.1 / 0.3; P(a) <= 0.1 / 0.9.
    for text, nearest in zip(error.relaxation, (0.1111, 0.3333, 0.27), strict=True):
        assert f"nearest {nearest:g}" in text


@pytest.mark.parametrize(
    ("statements", "shocks", "words"),
    [
        ({}, {}, "no statement"),
        ({"a": 1.2}, {}, "impossible probability"),
        ({"a": (0.6, 0.4)}, {}, "impossible probability"),
        ({"a": "x"}, {}, "no number"),
        ({"a | b | c": 0.5}, {}, "more than one"),
        ({"a & b": 0.5}, {}, "cannot read"),
        ({"a and not a": 0.5}, {}, "does and does not"),
        ({"a": 0.5}, {"b": Push("x", 0.1)}, "no statement gives"),
        ({"a": 0.5}, {"a": "x"}, "is none"),
        ({"a": 0.5}, {"a": Push("x", 0.1), "not a": Push("x", 0.2)}, "one name"),
        ({"a": 0.5}, {"a": Push("base", 0.1)}, "one name"),
        ({f"e{i}": 0.5 for i in range(13)}, {}, "too many"),
    ],
)
def test_bad_input_is_refused(statements, shocks, words):
    with pytest.raises(UsageError, match=words):
        mix(statements, shocks)


def test_probabilities_that_do_not_sum_to_one_are_refused():
    with pytest.raises(DataError, match="sum to one"):
        CoherentStress(
            ("a",), ((True,), (False,)), np.array([0.5, 0.6]), (None,) * 2, ()
        )
    with pytest.raises(UsageError, match="no such event"):
        mix(NET, {}).probability("war")
