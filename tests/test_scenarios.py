"""Scenario sets: composition, legs, probabilities, labels."""

import pickle
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from engine.data.portfolio import Portfolio
from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError
from engine.scenarios import ScenarioSet
from engine.shocks.moves import ShockMoves

ASSETS = ("NVDA", "KO", "CASH:USD")
X = np.array([-0.2, 0.03, 0.0])


def a_set(S=6, seed=0, **changes):
    rng = np.random.default_rng(seed)
    returns = 0.05 * rng.standard_normal((S, 3))
    returns[:, 2] = 0.001
    fields = dict(
        assets=ASSETS,
        returns=returns,
        p=rng.dirichlet(np.ones(S)),
        horizon=21,
        universe=Universe(ASSETS),
        base_currency="USD",
        periods_per_year=252.0,
        seed=seed,
    )
    return ScenarioSet(**(fields | changes))


@dataclass(frozen=True)
class FakeShock:
    """Central move X, four severities."""

    name: str = "shock"
    scale: float = 1.0

    def moves(self, universe, model=None):
        x = X * self.scale
        draws = np.outer([0.5, 0.75, 1.25, 1.5], x)
        return ShockMoves(ASSETS, x, draws, draws[:, 0], ("given",) * 3, {})


# ------------------------------------------------------------------------- shocks


def test_a_shock_compounds_with_the_return():
    s = a_set()
    shocked = s.apply(FakeShock())
    np.testing.assert_array_equal(shocked.returns, (1 + s.returns) * (1 + X) - 1)
    np.testing.assert_array_equal(shocked.p, s.p)
    assert shocked.legs == ("shock",)
    # One scenario by hand: +10% then -20% is -12%, not -10%.
    flat = a_set(1, returns=np.full((1, 3), 0.1), p=[1.0])
    assert flat.apply(FakeShock()).returns[0, 0] == pytest.approx(-0.12)


def test_no_shock_is_the_base_leg():
    s = a_set()
    none = s.apply(FakeShock(scale=0.0))
    np.testing.assert_allclose(none.returns, s.returns, rtol=1e-12, atol=1e-16)


def test_severities_are_spread_over_the_rows():
    s = a_set(10)
    shocked = s.apply(FakeShock(), severity="distribution")
    implied = (1 + shocked.returns) / (1 + s.returns) - 1
    scales = np.array([0.5, 0.75, 1.25, 1.5])[np.arange(10) % 4]
    np.testing.assert_allclose(implied, np.outer(scales, X), atol=1e-15)


def test_mixing_keeps_total_probability_and_both_legs():
    s = a_set()
    mixed = s.mix(FakeShock(), 0.3)
    assert len(mixed) == 12 and mixed.legs == ("base", "shock")
    assert mixed.p.sum() == pytest.approx(1.0, abs=1e-14)
    assert mixed.p[mixed.rows("shock")].sum() == pytest.approx(0.3)
    np.testing.assert_array_equal(mixed.returns[:6], s.returns)
    np.testing.assert_array_equal(mixed.returns[6:], s.apply(FakeShock()).returns)
    mean = 0.7 * s.leg_mean("base") + 0.3 * s.apply(FakeShock()).leg_mean("shock")
    np.testing.assert_allclose(mixed.p @ mixed.returns, mean, rtol=1e-12)
    np.testing.assert_allclose(mixed.leg_mean("base"), s.leg_mean("base"), rtol=1e-12)


def test_a_second_shock_falls_on_the_base_leg_only():
    s = a_set()
    twice = s.mix(FakeShock(), 0.2).mix(FakeShock("worse", 2.0), 0.25)
    mass = {leg: twice.p[twice.rows(leg)].sum() for leg in twice.legs}
    assert mass == pytest.approx({"base": 0.6, "shock": 0.15, "worse": 0.25})
    np.testing.assert_allclose(
        twice.returns[twice.rows("worse")], (1 + s.returns) * (1 + 2 * X) - 1
    )
    back = twice.base()
    np.testing.assert_array_equal(back.returns, s.returns)
    np.testing.assert_allclose(back.p, s.p, rtol=1e-13)
    assert back.legs == ("base",) and (back.leg == 0).all()


def test_mean_of_a_shocked_leg_over_a_centred_base():
    """Base mean m, constant shock x: the leg's mean is (1 + m)(1 + x) - 1."""
    s = a_set(50)
    m = s.leg_mean("base")
    np.testing.assert_allclose(m, s.p @ s.returns, rtol=1e-13)
    leg = s.mix(FakeShock(), 0.1).leg_mean("shock")
    np.testing.assert_allclose(leg, (1 + m) * (1 + X) - 1, rtol=1e-12)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_leg_has_a_probability_inside_zero_and_one(probability):
    with pytest.raises(UsageError, match="probability of a leg"):
        a_set().mix(FakeShock(), probability)


def test_a_leg_is_added_once():
    with pytest.raises(UsageError, match=r"exists.*shock"):
        a_set().mix(FakeShock(), 0.1).mix(FakeShock(), 0.1)
    with pytest.raises(UsageError, match=r"no such leg.*expected base"):
        a_set().leg_mean("shock")
    with pytest.raises(UsageError, match="no such leg"):
        a_set().apply(FakeShock()).base()


# ------------------------------------------------------------------------- weights


@pytest.mark.parametrize("form", ["array", "list", "mapping", "series", "shuffled"])
def test_weights_are_aligned_by_name(form):
    s = a_set()
    w = {"NVDA": 0.7, "KO": 0.2, "CASH:USD": 0.1}
    given = {
        "array": np.array([0.7, 0.2, 0.1]),
        "list": [0.7, 0.2, 0.1],
        "mapping": w,
        "series": pd.Series(w),
        "shuffled": pd.Series(w)[["CASH:USD", "NVDA", "KO"]],
    }[form]
    np.testing.assert_array_equal(s.align(given), [0.7, 0.2, 0.1])
    np.testing.assert_allclose(s.losses(given), -s.returns @ [0.7, 0.2, 0.1])


def test_a_label_left_out_is_zero_and_an_unknown_one_is_an_error():
    s = a_set()
    np.testing.assert_array_equal(s.align({"KO": 1.0}), [0, 1, 0])
    np.testing.assert_array_equal(s.align({}), [0, 0, 0])
    with pytest.raises(DataError, match="PEP"):
        s.align({"PEP": 0.1})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(bad):
    s = a_set()
    with pytest.raises(DataError, match="NaN"):
        s.losses([bad, 0.5, 0.5])
    for labelled in ({"KO": bad}, pd.Series({"KO": bad})):
        with pytest.raises(DataError, match=r"not finite.*KO"):
            s.losses(labelled)
    for shape in ([1.0], np.ones((3, 1)), 1.0):
        with pytest.raises(DataError, match="do not match"):
            s.losses(shape)


def test_a_repeated_label_does_not_overwrite_the_first():
    twice = pd.Series([0.5, 0.5], index=["KO", "KO"])
    with pytest.raises(DataError, match=r"one label.*KO"):
        a_set().align(twice)


def test_a_portfolio_is_laid_out_by_label():
    book = Portfolio.from_weights({"CASH:USD": 0.4, "NVDA": 0.6}, 1e6, "USD")
    s = a_set()
    np.testing.assert_allclose(s.align(book), [0.6, 0.0, 0.4])
    other = Portfolio.from_weights({"PEP": 1.0}, 1e6, "USD")
    with pytest.raises(DataError, match="PEP"):
        s.losses(other)


# ------------------------------------------------------------------- probabilities


def test_reweighting_and_its_effective_number():
    s = a_set(8)
    same = s.reweight(np.full(8, 1 / 8))
    assert same.effective_number == pytest.approx(8.0)
    np.testing.assert_array_equal(same.returns, s.returns)
    point = np.zeros(8)
    point[3] = 1.0
    one = s.reweight(point)
    assert one.effective_number == pytest.approx(1.0)
    np.testing.assert_array_equal(one.p @ one.returns, s.returns[3])
    half = s.reweight([0.5, 0.5, 0, 0, 0, 0, 0, 0])
    assert half.effective_number == pytest.approx(2.0)
    np.testing.assert_allclose(half.leg_mean("base"), s.returns[:2].mean(axis=0))


@pytest.mark.parametrize(
    "p",
    [
        [0.5, 0.6, 0, 0, 0, 0],
        [1.1, -0.1, 0, 0, 0, 0],
        [0.0] * 6,
        [np.nan] + [0.2] * 5,
        [np.inf] + [0.0] * 5,
        [0.5, 0.5],
        [["a"] * 6],
    ],
)
def test_bad_probabilities(p):
    with pytest.raises(DataError, match="probabilities"):
        a_set(p=p)
    with pytest.raises(DataError, match="probabilities"):
        a_set().reweight(p)


def test_a_leg_without_probability_has_no_mean():
    mixed = a_set().mix(FakeShock(), 0.5)
    only_shock = mixed.reweight(np.r_[np.zeros(6), np.full(6, 1 / 6)])
    with pytest.raises(DataError, match=r"no probability.*base"):
        only_shock.leg_mean("base")
    with pytest.raises(DataError, match="no probability"):
        only_shock.base()
    assert np.isfinite(only_shock.leg_mean("shock")).all()


def test_reduction_keeps_each_legs_probability_and_first_rows():
    mixed = a_set(40).mix(FakeShock(), 0.3)
    small = mixed.reduce(10)
    assert len(small) == 20
    for leg, mass in [("base", 0.7), ("shock", 0.3)]:
        assert small.p[small.rows(leg)].sum() == pytest.approx(mass)
        np.testing.assert_array_equal(
            small.returns[small.rows(leg)], mixed.returns[mixed.rows(leg)][:10]
        )
    kept = mixed.p[:10] / mixed.p[:10].sum()
    np.testing.assert_allclose(small.p[:10] / 0.7, kept)
    same = mixed.reduce(10_000)
    np.testing.assert_array_equal(same.returns, mixed.returns)
    np.testing.assert_allclose(same.p, mixed.p, rtol=1e-13)
    with pytest.raises(UsageError, match="at least one"):
        mixed.reduce(0)


def test_reduction_of_legs_without_probability():
    s = a_set(4)
    late = s.reweight([0.0, 0.0, 0.5, 0.5])
    with pytest.raises(DataError, match="Keep more"):
        late.reduce(2)
    empty = s.mix(FakeShock(), 0.5).reweight([0.25] * 4 + [0.0] * 4)
    assert empty.reduce(2).p.sum() == pytest.approx(1.0)


# ----------------------------------------------------------------------- the value


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"returns": np.full((6, 3), -1.0)}, ModelError, r"loses all.*NVDA"),
        ({"returns": np.full((6, 2), 0.0)}, DataError, "do not match the assets"),
        ({"returns": np.full((6, 3), np.nan)}, DataError, "non-finite"),
        ({"returns": np.empty((0, 3)), "p": []}, DataError, "do not match"),
        ({"assets": ("A", "A", "B")}, DataError, "duplicate"),
        ({"universe": Universe(("A", "B", "C"))}, DataError, "different assets"),
        ({"horizon": 0}, UsageError, "horizon"),
        ({"leg": np.ones(6, np.int16)}, DataError, "no leg"),
        ({"leg": -np.ones(6, np.int16)}, DataError, "no leg"),
        ({"legs": ("base", "base")}, DataError, "duplicate leg"),
        ({"paths": np.zeros((6, 4, 2))}, DataError, "paths has the wrong shape"),
    ],
)
def test_a_set_that_cannot_be(changes, error, match):
    with pytest.raises(error, match=match):
        a_set(**changes)


def test_read_only_through_copies_and_pickles():
    raw = np.zeros((2, 3))
    s = a_set(2, returns=raw)
    raw[:] = 9.0
    assert (s.returns == 0).all()
    for t in (s, pickle.loads(pickle.dumps(s)), s.mix(FakeShock(), 0.5)):
        for array in (t.returns, t.p, t.leg):
            assert not array.flags.writeable
            assert array.flags.c_contiguous


def test_no_method_changes_the_set():
    s = a_set()
    before = s.returns.copy(), s.p.copy()
    s.mix(FakeShock(), 0.5)
    s.apply(FakeShock())
    s.reweight(np.full(6, 1 / 6))
    s.reduce(2)
    s.base()
    np.testing.assert_array_equal(s.returns, before[0])
    np.testing.assert_array_equal(s.p, before[1])
    assert s.legs == ("base",)


def test_stamps_survive_every_step():
    s = a_set(synthetic=True, hindsight_parameters=True, notes=("n",))
    for t in (
        s.mix(FakeShock(), 0.5),
        s.apply(FakeShock()),
        s.reduce(2),
        s.reweight(s.p),
        s.mix(FakeShock(), 0.5).base(),
    ):
        assert t.synthetic and t.hindsight_parameters and t.notes == ("n",)
    assert "SYNTHETIC" in repr(s)
