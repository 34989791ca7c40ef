"""The dials of the cheap-model shock: each by hand, off by default, and monotone."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import CheapModelShock, UsageError
from engine.shocks import PERSISTENT_PRESETS, PRESETS, parameters
from engine.shocks._structural import CheapModelShock as Structural
from engine.shocks.arguments import COSTS
from engine.shocks.chain import (
    ALL_PRESETS,
    DEFAULTS,
    LIMITS,
    demand_gap,
    present_value,
    surprise,
)
from engine.shocks.roles import VARIANTS
from engine.shocks.severity import (
    DIAL_RANGES,
    DRAWS,
    RANGES,
    draw_parameters,
    exposure_uniforms,
)
from tests.shocks.roles_world import NAMED, companies, move_of

PROPERTY = settings(deadline=None, derandomize=True, max_examples=25)
L3 = 0.9691699  # present value ratio of three years at the defaults
S = 0.5 * math.log(20) - 0.25 * math.log(10)
GAP = S * (0.5 * -0.5 + 0.5 * 0.1)


# The default is the table alone ----------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_default_dials_leave_the_table_alone(preset, variant):
    """The formula of methods 2.2 without any dial, central and in every draw."""
    universe, shock = companies(), CheapModelShock(preset, variant=variant)
    rows = [VARIANTS[variant][r] for r in NAMED]
    sens = np.array([r.operating_leverage * r.pass_through for r in rows])
    net = np.array([r.adoption - r.erosion for r in rows])
    low, high = np.array([r.share for r in rows]).T

    def logs(q, share):
        s, gap, L = (
            np.atleast_1d(f(q))[:, None] for f in (surprise, demand_gap, present_value)
        )
        return sens * L * np.log1p(share * np.expm1(gap)) + net * s

    moves = shock.moves(universe)
    np.testing.assert_allclose(
        np.log1p(moves.central),
        logs(shock.parameters, (low + high) / 2)[0],
        atol=1e-12,
    )
    drawn = low + (high - low) * exposure_uniforms(universe.tickers)
    np.testing.assert_allclose(
        moves.draws,
        np.expm1(logs(draw_parameters(shock.parameters), drawn)),
        atol=1e-12,
    )
    for part in ("older processors", "re-rating", "capex relief"):
        assert (moves.parts[part] == 0).all()


# Training cost ----------------------------------------------------------------


def test_training_costs_set_the_cost_ratio():
    shock = CheapModelShock(training_cost_before=100e6, training_cost_after=5e6)
    assert shock.parameters["cost_ratio"] == pytest.approx(20.0, rel=1e-15)
    assert shock.training_costs == (100e6, 5e6)
    assert shock.cost_surprise == pytest.approx(S, rel=1e-12)
    cheaper = CheapModelShock(training_cost_after=2.8e6)  # before: 20 x 5.6m
    assert cheaper.parameters["cost_ratio"] == pytest.approx(40.0)
    cheaper = CheapModelShock("substitution", training_cost_after=2.8e6)
    assert cheaper.parameters["cost_ratio"] == pytest.approx(60.0)
    dearer = CheapModelShock(training_cost_before=280e6)
    assert dearer.parameters["cost_ratio"] == pytest.approx(280 / 5.6)
    both = CheapModelShock(cost_ratio=20, training_cost_before=112e6)
    assert both.parameters["cost_ratio"] == 20
    severe = both.with_severity(2.0)
    assert severe.training_costs == both.training_costs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"k": 30, "training_cost_before": 100e6, "training_cost_after": 5e6},
            "cost_ratio contradicts the training costs; received cost_ratio 30",
        ),
        (
            {"training_cost_before": 1e6},
            "training_cost_before is below training_cost_after",
        ),
        ({"training_cost_after": 0}, "training_cost_after is out of range"),
        ({"training_cost_after": math.inf}, "training_cost_after is out of range"),
        ({"training_cost_after": "cheap"}, "training_cost_after is not a number"),
        ({"trainingcost_after": 1e6}, "Did you mean training_cost_after?"),
        ({"previous_generation_share": 1.0}, "expected 0 to 0.99"),
        ({"previous_generation_price_ratio": 1.1}, "expected 0 to 1"),
        ({"open_source_share": -0.1}, "open_source_share is out of range"),
        ({"capex_cut": 1.0}, "capex_cut is out of range"),
        ({"kappa": 2.0}, "relief_kept is out of range"),
        ({"overseas_rerating": 4.0}, "expected -3 to 3"),
        ({"persistence": 11.0}, "persistence is out of range"),
        ({"horizon": "week"}, "unknown shock horizon; received 'week'; expected day"),
        ({"preset": "jevon"}, "Did you mean jevons?"),
        ({"ai_capex": {"MSFT": 20.0}}, "AI capital spending a year over market value"),
        ({"ai_capex": {"MSFT": "much"}}, "at asset MSFT; received 'much'"),
        ({"ai_capex": {"MSFT": math.nan}}, "at asset MSFT"),
        ({"ai_capex": {"MSFT": True}}, "at asset MSFT"),
    ],
)
def test_wrong_dials_say_what_was_meant(arguments, words):
    with pytest.raises(UsageError) as caught:
        CheapModelShock(**arguments)
    assert words in str(caught.value)


# Older processors -------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "weight", "dol", "erosion"),
    [
        ("accelerator", 1.0, 1.3, 0.02),
        ("foundry", 0.5, 1.6, 0.0),
        ("memory", 0.5, 2.0, 0.0),
        ("network", 0.0, 1.76, 0.0),
        ("servers", 0.0, 1.6, 0.0),
    ],
)
def test_older_processors_hit_the_sellers_of_the_newest(role, weight, dol, erosion):
    """AI revenue left is e^dlnH (1 - w u (1 - p)), u = 0.3 at p = 0.25."""
    shock = CheapModelShock(
        previous_generation_share=0.3, previous_generation_price_ratio=0.25
    )
    left = math.exp(GAP) * (1 - weight * 0.3 * 0.75)
    expected = dol * L3 * math.log(1 - 0.4 + 0.4 * left) - erosion * S
    assert move_of(shock, role, 0.4) == pytest.approx(expected, abs=1e-6)
    part = shock.moves(companies((role,), (0.4,))).parts["older processors"][0]
    quiet = dol * L3 * math.log(1 - 0.4 + 0.4 * math.exp(GAP)) - erosion * S
    assert part == pytest.approx(expected - quiet, abs=1e-6)
    assert (part < 0) == (weight > 0)


def test_older_processors_at_the_same_price_change_nothing():
    same = CheapModelShock(
        previous_generation_share=0.5, previous_generation_price_ratio=1.0
    )
    np.testing.assert_allclose(
        same.moves(companies()).central,
        CheapModelShock().moves(companies()).central,
        atol=1e-15,
    )


# Open weights -----------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_open_weights_scale_the_fees_lost(share):
    shock = CheapModelShock(open_source_share=share)
    moves = shock.moves(companies(("neocloud", "hyperscaler", "software")))
    for i, d in enumerate((0.055, 0.02, 0.0)):
        assert moves.parts["fee erosion"][i] == pytest.approx(
            -d * share / 0.30 * S, abs=1e-15
        )


# Capital plans ----------------------------------------------------------------


def test_a_cut_of_capital_plans_goes_before_the_elasticities():
    shock = CheapModelShock(capex_cut=0.2, eps_I=3.0)
    assert shock.demand_gap == pytest.approx(math.log(0.8), rel=1e-15)
    expected = 1.76 * L3 * math.log(1 - 0.5 + 0.5 * 0.8)
    assert move_of(shock, "network", 0.5) == pytest.approx(expected, abs=1e-6)
    # Adoption and fees follow the cost surprise, which the cut leaves alone.
    assert move_of(shock, "software") == pytest.approx(0.025 * S, abs=1e-12)
    # Where the stated cut is certain only if it is the whole of one's knowledge:
    drawn = draw_parameters(shock.parameters)
    assert drawn["capex_cut"].mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(demand_gap(drawn), np.log1p(-drawn["capex_cut"]))


def test_payers_keep_part_of_what_they_save():
    """q = kappa (1 - e^dlnH) A x: A over three years at 10% is 2.48685."""
    universe = companies(("hyperscaler", "hyperscaler", "network"))
    spending = {"hyperscaler0": 0.02}
    shock = CheapModelShock(capex_cut=0.25, kappa=0.4, ai_capex=spending)
    moves = shock.moves(universe)
    expected = 0.4 * 0.25 * 2.4868520 * 0.02
    assert moves.parts["capex relief"][0] == pytest.approx(expected, abs=1e-9)
    assert (moves.parts["capex relief"][1:] == 0).all()
    assert "AI capex unknown: no relief counted" in moves.basis[1]
    assert "relief" not in moves.basis[0] and "relief" not in moves.basis[2]
    twice = shock.with_severity(2.0).moves(universe)
    assert twice.parts["capex relief"][0] == pytest.approx(expected, abs=1e-9)
    assert (
        moves.draws[:, 0].mean()
        > CheapModelShock(capex_cut=0.25).moves(universe).draws[:, 0].mean()
    )
    # Off by default, and never a cost where demand rises.
    assert CheapModelShock(capex_cut=0.25, ai_capex=spending).moves(universe).parts[
        "capex relief"
    ].tolist() == [0, 0, 0]
    rises = CheapModelShock("jevons", kappa=0.4, ai_capex=spending)
    assert rises.moves(universe).parts["capex relief"][0] == 0


def test_spending_comes_from_the_universe_where_the_shock_states_none():
    universe = replace(
        companies(("hyperscaler",) * 4), ai_capex=[0.02, 0.05, np.nan, 0.0]
    )
    shock = CheapModelShock(capex_cut=0.25, kappa=0.4, ai_capex={"hyperscaler1": 0.01})
    moves = shock.moves(universe)
    unit = 0.4 * 0.25 * 2.4868520
    np.testing.assert_allclose(
        moves.parts["capex relief"], [unit * 0.02, unit * 0.01, 0.0, 0.0], atol=1e-9
    )
    # Not known is not zero: only the one of which nobody knows says so.
    unknown = ["AI capex unknown" in words for words in moves.basis]
    assert unknown == [False, False, True, False]
    assert "spends 2.0% of its market value" in moves.explain("hyperscaler0")
    np.testing.assert_allclose(shock.central(universe), moves.central, rtol=1e-12)
    plain = CheapModelShock(capex_cut=0.25, kappa=0.4).moves(universe)
    assert plain.parts["capex relief"][1] == pytest.approx(unit * 0.05, abs=1e-9)


def test_annuity_without_discounting_is_the_years():
    shock = CheapModelShock(
        capex_cut=0.5, kappa=1.0, discount_rate=0.0, growth_long=-0.01, T_g=4
    )
    moves = shock._with(ai_capex=(("hyperscaler0", 0.01),)).moves(
        companies(("hyperscaler",))
    )
    assert moves.parts["capex relief"][0] == pytest.approx(0.5 * 4 * 0.01)


# Re-rating --------------------------------------------------------------------


def test_overseas_leaders_are_re_rated_and_severity_scales_it():
    shock = CheapModelShock(overseas_rerating=0.10, severity=1.5)
    assert move_of(shock, "overseas_efficient") == pytest.approx(
        1.5 * (0.02 * S + 0.10), abs=1e-12
    )
    assert move_of(shock, "software") == pytest.approx(1.5 * 0.025 * S, abs=1e-12)


# Severity ---------------------------------------------------------------------


def test_severity_scales_winners_and_erosion_in_every_link():
    dials = {
        "previous_generation_share": 0.2,
        "open_source_share": 0.5,
        "overseas_rerating": 0.05,
    }
    once = CheapModelShock(**dials).moves(companies())
    more = CheapModelShock(severity=1.7, **dials).moves(companies())
    for name, values in once.parts.items():
        np.testing.assert_allclose(more.parts[name], 1.7 * values, atol=1e-14)
    assert (more.central[once.central > 0] > once.central[once.central > 0]).all()


# Monotone ---------------------------------------------------------------------


@PROPERTY
@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 100))
def test_more_credible_is_no_smaller_a_surprise(a, b, k):
    low, high = sorted((a, b))
    assert (
        CheapModelShock(c=high, k=k).cost_surprise
        >= CheapModelShock(c=low, k=k).cost_surprise
    )


@PROPERTY
@given(st.floats(6e6, 1e9), st.floats(6e6, 1e9))
def test_a_dearer_past_is_no_smaller_a_surprise(a, b):
    low, high = sorted((a, b))
    surprises = [
        CheapModelShock(training_cost_before=x).cost_surprise for x in (low, high)
    ]
    assert surprises[0] <= surprises[1]


@PROPERTY
@given(
    st.sampled_from(
        ["capex_cut", "previous_generation_share", "open_source_share"],
    ),
    st.floats(0.001, 0.95),
    st.floats(0.001, 0.95),
    st.sampled_from([r for r in NAMED if r not in ("utility",)]),
)
def test_more_of_a_bad_dial_is_no_gain(dial, a, b, role):
    low, high = sorted((a, b))
    x, y = (move_of(CheapModelShock(**{dial: v}), role) for v in (low, high))
    assert y <= x + 1e-15


@PROPERTY
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_better_price_of_older_processors_is_no_loss(a, b):
    low, high = sorted((a, b))
    x, y = (
        move_of(
            CheapModelShock(
                previous_generation_share=0.4, previous_generation_price_ratio=p
            ),
            "accelerator",
        )
        for p in (low, high)
    )
    assert x <= y


@PROPERTY
@example(a=0.0, b=5e-324)
@given(st.floats(0, 1), st.floats(0, 1))
def test_keeping_more_of_the_savings_is_no_loss(a, b):
    low, high = sorted((a, b))
    x, y = (
        CheapModelShock(kappa=k, ai_capex={"hyperscaler0": 0.03})
        .moves(companies(("hyperscaler",)))
        .central[0]
        for k in (low, high)
    )
    assert x <= y


# Draws ------------------------------------------------------------------------


def test_dials_are_certain_while_off_and_drawn_when_on():
    off = draw_parameters(dict(DEFAULTS))
    for name in DIAL_RANGES:
        if name != "persistence":
            assert off[name].shape == () and off[name] == DEFAULTS[name]
    on = draw_parameters(
        CheapModelShock(
            previous_generation_share=0.3,
            open_source_share=0.5,
            overseas_rerating=0.2,
        ).parameters
    )
    for name, centre in (
        ("previous_generation_share", 0.3),
        ("open_source_share", 0.5),
        ("overseas_rerating", 0.2),
    ):
        assert on[name].shape == (DRAWS,)
        # Standard error of the mean of 2,048 draws of deviation below 0.14.
        assert on[name].mean() == pytest.approx(centre, abs=0.012)
    low, high = np.quantile(on["overseas_rerating"], [0.05, 0.95])
    assert (low, high) == pytest.approx((0.14, 0.26), abs=0.01)
    low, high = np.quantile(off["persistence"], [0.05, 0.95])
    assert (low, high) == pytest.approx((2.0, 6.0), rel=0.08)
    assert off["persistence"].max() <= 8.0
    # What is drawn already does not change when a dial is switched on.
    for name in RANGES:
        np.testing.assert_array_equal(off[name], on[name])


def test_draws_at_the_edge_stay_in_the_domain():
    for dials in (
        {"previous_generation_share": 0.99, "capex_cut": 0.99},
        {"open_source_share": 1.0, "relief_kept": 1.0},
        {"previous_generation_price_ratio": 0.0, "previous_generation_share": 0.01},
    ):
        shock = CheapModelShock(**dials)
        drawn = draw_parameters(shock.parameters)
        for name in dials:
            low, high = LIMITS[name]
            assert (drawn[name] >= low).all() and (drawn[name] <= high).all()
        assert np.isfinite(shock.moves(companies()).draws).all()


# Documentation ----------------------------------------------------------------


def test_every_parameter_is_documented():
    table = {p.name: p for p in parameters()}
    assert list(table) == list(DEFAULTS)
    for name, p in table.items():
        assert p.default == DEFAULTS[name]
        assert p.domain[0] <= p.default <= p.domain[1]
        assert p.meaning and p.law and p.source and p.unit
        if p.range is not None:
            assert p.domain[0] <= p.range[0] < p.range[1] <= p.domain[1]
        assert p.range == {**RANGES, **DIAL_RANGES}.get(name)
    for name in RANGES:
        assert "certain" not in table[name].law
    assert table["credibility"].correlation.startswith("-0.5 with cost_ratio")
    assert table["elasticity_training"].letter == "eps_T"
    assert "0.6" in table["elasticity_inference"].correlation
    doc = Structural.__doc__ or ""
    for name in (*table, *COSTS):
        assert f"``{name}``" in doc, name


def test_presets_are_three_and_their_persistent_versions():
    assert tuple(PRESETS) == ("market_view", "substitution", "jevons")
    assert tuple(PERSISTENT_PRESETS) == tuple(f"{p}_persistent" for p in PRESETS)
    assert set(ALL_PRESETS) == set(PRESETS) | set(PERSISTENT_PRESETS)
    for values in ALL_PRESETS.values():
        assert set(values) <= set(DEFAULTS)
