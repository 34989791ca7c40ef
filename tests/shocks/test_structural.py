"""The cheap-model shock against its published numbers and a second implementation."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import (
    CheapModelShock,
    ModelError,
    ReturnModel,
    Universe,
    UsageError,
)
from engine.data.roles import INFRASTRUCTURE, ROLES
from engine.shocks import PRESETS, present_value_ratio
from engine.shocks.chain import DEFAULTS
from engine.shocks.roles import COMPANY_BAND
from engine.shocks.severity import draw_parameters

# Methods 2.3, typed again: role -> (phi, DOL, v, d, low share, high share).
TABLE = {
    "accelerator": (1.0, 1.3, 0, 0.02, 0.15, 0.85),
    "foundry": (1.0, 1.6, 0, 0, 0, 0.30),
    "memory": (1.0, 2.0, 0, 0, 0.10, 0.30),
    "semicap": (1.0, 1.6, 0, 0, 0.15, 0.45),
    "network": (1.1, 1.6, 0, 0, 0.10, 0.85),
    "servers": (1.0, 1.6, 0, 0, 0.10, 0.70),
    "dc_power": (1.2, 1.6, 0, 0, 0.10, 0.65),
    "power_gen": (1.1, 2.0, 0, 0, 0.15, 0.80),
    "utility": (1.0, 1.0, 0.01, 0, 0, 0.05),
    "neocloud": (1.0, 2.0, 0, 0.055, 0.5, 0.95),
    "dc_reit": (1.0, 1.3, 0, 0, 0.2, 0.3),
    "lab_backer": (1.0, 1.5, 0, 0.055, 0.35, 0.35),
    "hyperscaler": (0, 0, 0.01, 0.02, 0, 0),
    "software": (0, 0, 0.025, 0, 0, 0),
    "device": (0, 0, 0.015, 0, 0, 0),
    "overseas_efficient": (0, 0, 0.02, 0, 0, 0),
}
NAMED = tuple(r for r in ROLES if r not in ("none", "unknown"))


def companies(roles, **columns):
    n = len(roles)
    tickers = tuple(f"T{i}" for i in range(n))
    kinds = columns.pop("asset_class", ("equity",) * n)
    return Universe(tickers, role=tuple(roles), asset_class=kinds, **columns)


def surprise(k=20.0, c=0.5, k0=10.0, h=0.25, tau=0.5, eps_T=0.5, eps_I=1.1):
    s = max(0.0, c * math.log(k) - h * math.log(k0))
    return s, s * (tau * (eps_T - 1) + (1 - tau) * (eps_I - 1))


def by_formula(role, a=None, L=0.96917, severity=1.0, flat=False, **parameters):
    """Methods 2.2, line by line."""
    phi, dol, v, d, low, high = TABLE[role]
    if flat:
        phi, dol = (1.0, 1.5) if phi else (0.0, 0.0)
        v, d = (0.015 if v else 0.0), (0.015 if d else 0.0)
    a = (low + high) / 2 if a is None else a
    s, dlnH = surprise(**parameters)
    log = dol * phi * L * math.log(1 - a + a * math.exp(dlnH)) - d * s + v * s
    return math.exp(severity * log) - 1


# Published numbers ------------------------------------------------------------


@pytest.mark.parametrize(
    ("years", "ratio"), [(1, 1.0), (2, 0.98531), (3, 0.96917), (5, 0.93310)]
)
def test_present_value_ratio_as_published(years, ratio):
    assert present_value_ratio(years) == pytest.approx(ratio, abs=5e-6)


def test_present_value_ratio_by_a_long_sum():
    def slow(T, n=8, g_S=0.3, g_L=0.04, rho=0.1, years=4000):
        top = bottom = 0.0
        E = 1.0
        for t in range(1, years + 1):
            E *= 1 + (g_S + (g_L - g_S) * (t - 1) / (n - 1) if t <= n else g_L)
            pv = E / (1 + rho) ** t
            top += min(t / T, 1.0) * pv
            bottom += pv
        return top / bottom

    for T in (1, 1.5, 2.0, 3.7, 8.0, 12.0):
        assert present_value_ratio(T) == pytest.approx(slow(T, years=1500), rel=1e-12)
    vector = present_value_ratio(np.array([1.0, 3.0]))
    assert vector.tolist() == [present_value_ratio(1.0), present_value_ratio(3.0)]


@given(st.floats(1, 30), st.floats(1, 30))
def test_a_slower_gap_is_worth_less(a, b):
    low, high = sorted((a, b))
    assert 0 < present_value_ratio(high) <= present_value_ratio(low) <= 1


@pytest.mark.parametrize(
    ("preset", "s", "dlnH"),
    [
        ("market_view", 0.92, -0.184),
        ("substitution", 1.81, -0.81),
        ("jevons", 0.92, +0.18),
    ],
)
def test_presets_have_the_published_surprise_and_demand(preset, s, dlnH):
    shock = CheapModelShock(preset)
    assert shock.cost_surprise == pytest.approx(s, abs=0.005)
    assert shock.demand_gap == pytest.approx(dlnH, abs=0.005)


def test_surprise_is_never_negative():
    assert CheapModelShock(k=1.5, c=0.1, h=1.0).cost_surprise == 0.0
    moves = CheapModelShock(k=1.5, c=0.1, h=1.0).moves(companies(NAMED))
    assert (moves.central == 0).all()


# Every role -------------------------------------------------------------------

FIGURES = {
    "market_view": {},
    "substitution": {"k": 30.0, "c": 0.7, "eps_T": 0.3, "eps_I": 0.8},
    "jevons": {"eps_T": 0.9, "eps_I": 1.5},
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("variant", ["calibrated", "flat"])
def test_every_role_agrees_with_the_formula(preset, variant):
    moves = CheapModelShock(preset, variant=variant).moves(companies(NAMED))
    for role, move in zip(NAMED, moves.central, strict=True):
        expected = by_formula(role, flat=variant == "flat", **FIGURES[preset])
        assert move == pytest.approx(expected, abs=3e-6), role


def test_figures_worked_on_paper():
    """NVDA at the accelerator midpoint: s = 0.92222, dlnH = -0.184444.

    ln(1 - 0.5 + 0.5 e^-0.184444) = ln 0.915784 = -0.087975; times 1.3 x 0.96917 is
    -0.110842; less 0.02 x 0.92222 is -0.129286; e^-0.129286 - 1 = -12.13%.
    """
    moves = CheapModelShock().moves(companies(["accelerator", "software", "power_gen"]))
    assert moves.central[0] == pytest.approx(-0.1213, abs=5e-5)
    assert moves.central[1] == pytest.approx(math.expm1(0.025 * 0.92222), abs=1e-6)
    # power at 0.475: 2.2 x 0.96917 x ln(0.919994) = -0.177799
    assert moves.central[2] == pytest.approx(math.expm1(-0.177799), abs=1e-5)


def test_signs_are_those_of_the_table():
    moves = CheapModelShock().moves(companies(NAMED)).central
    central = dict(zip(NAMED, moves, strict=True))
    falls = INFRASTRUCTURE | {"hyperscaler"}  # d exceeds v for hyperscalers
    for role, move in central.items():
        if role in falls:
            assert move < 0, role
        elif role != "utility":
            assert move > 0, role
    assert abs(central["utility"]) < 0.01
    order = ["neocloud", "power_gen", "network", "accelerator", "semicap", "foundry"]
    values = [central[r] for r in order]
    assert values == sorted(values)


def test_jevons_gains_for_those_who_sell_compute():
    moves = CheapModelShock("jevons").moves(companies(NAMED))
    central = dict(zip(NAMED, moves.central, strict=True))
    for role in INFRASTRUCTURE:
        assert central[role] > 0, role


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.32, 2.0, 3.0])
def test_severity_multiplies_the_whole_log_move(severity):
    shock, universe = CheapModelShock(), companies(NAMED)
    once = np.log1p(shock.moves(universe).central)
    scaled = shock.with_severity(severity)
    np.testing.assert_allclose(
        np.log1p(scaled.moves(universe).central), severity * once, atol=1e-14
    )
    assert scaled.name == shock.name
    np.testing.assert_allclose(
        np.log1p(scaled.moves(universe).draws),
        severity * np.log1p(shock.moves(universe).draws),
        atol=1e-13,
    )


def test_links_of_the_chain_add_up():
    universe = companies([*NAMED, "none", "unknown"], sector=("Energy",) * 18)
    for preset in PRESETS:
        moves = CheapModelShock(preset).moves(universe)
        np.testing.assert_allclose(
            sum(moves.parts.values()), np.log1p(moves.central), atol=1e-15
        )


def test_scales_of_erosion_and_adoption():
    universe = companies(["hyperscaler", "software"])
    none = CheapModelShock(erosion_scale=0, adoption_scale=0).moves(universe)
    assert none.central.tolist() == [0.0, 0.0]
    s = CheapModelShock().cost_surprise
    twice = CheapModelShock(erosion_scale=2.0, adoption_scale=3.0).moves(universe)
    np.testing.assert_allclose(
        np.log1p(twice.central), [(3 * 0.01 - 2 * 0.02) * s, 3 * 0.025 * s]
    )


# Exposures --------------------------------------------------------------------


def test_a_users_share_replaces_the_band():
    share = np.array([[0.88, 0.88, 0.88], [np.nan] * 3])
    universe = companies(["accelerator"] * 2, ai_share=share)
    moves = CheapModelShock().moves(universe)
    assert moves.central[0] == pytest.approx(by_formula("accelerator", 0.88), abs=2e-6)
    assert moves.central[1] == pytest.approx(by_formula("accelerator"), abs=2e-6)
    assert moves.basis[0] == "accelerator: AI share 88%, as given by the user"
    assert moves.basis[1] == "accelerator: role midpoint, unsourced"


def test_a_certain_share_leaves_only_parameters_uncertain():
    certain = companies(["accelerator"], ai_share=np.full((1, 3), 0.5))
    banded = companies(["accelerator"])
    a = CheapModelShock().moves(certain).draws
    b = CheapModelShock().moves(banded).draws
    assert (
        0 < np.ptp(np.quantile(a, [0.05, 0.95])) < np.ptp(np.quantile(b, [0.05, 0.95]))
    )


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_exposure_never_falls_less(a, b):
    low, high = sorted((a, b))
    share = np.array([[low] * 3, [high] * 3])
    moves = CheapModelShock().moves(companies(["network"] * 2, ai_share=share))
    assert moves.central[1] <= moves.central[0] <= 0


def test_documented_zeros_are_zero_in_every_draw():
    kinds = ("etf_bond", "etf_commodity", "etf_currency", "cash", "future", "")
    universe = Universe(
        ("TLT", "GLD", "UUP", "BIL", "GC", "CASH:USD"),
        asset_class=kinds,
        role=("none",) * 6,
    )
    moves = CheapModelShock("substitution", severity=2.0).moves(universe)
    assert (moves.central == 0).all() and (moves.draws == 0).all()
    assert set(moves.basis) == {"no earnings to lose: documented zero"}


def test_a_documented_zero_outranks_a_role():
    universe = Universe(("GLD",), asset_class=("etf_commodity",), role=("network",))
    moves = CheapModelShock().moves(universe)
    assert (moves.central == 0).all() and (moves.draws == 0).all()


def test_role_none_of_a_company_does_not_move():
    moves = CheapModelShock().moves(companies(["none", "accelerator"]))
    assert moves.central[0] == 0 and (moves.draws[:, 0] == 0).all()
    assert moves.basis[0] == "role none: no AI exposure stated"


def test_unknown_is_never_zero():
    kinds = ("equity", "adr", "etf_equity", "etf_alternative", "index", "")
    sectors = ("Consumer Staples", "", "Broad Market", "Nonsense", "", "")
    universe = Universe(
        tuple("ABCDEF"), asset_class=kinds, sector=sectors, role=("unknown",) * 6
    )
    for preset in ("market_view", "substitution"):
        moves = CheapModelShock(preset).moves(universe)
        assert (moves.central < -0.001).all()
        assert all("exposure unknown" in b for b in moves.basis)
    # Not even the sector is known: the whole move of the basket.
    driver = CheapModelShock().moves(companies(["accelerator"])).central[0]
    both = companies(["accelerator", "unknown"])
    assert CheapModelShock().moves(both).central[1] == pytest.approx(driver)


def test_the_sector_band_is_a_share_of_the_baskets_move():
    universe = companies(
        ["accelerator", "network", "unknown"], sector=("", "", "Energy")
    )
    moves = CheapModelShock().moves(universe)
    basket = moves.central[:2].mean()
    assert moves.central[2] == pytest.approx(COMPANY_BAND["Energy"] * basket)
    np.testing.assert_allclose(np.expm1(moves.driver), moves.draws[:, :2].mean(axis=1))


def model_of(universe, covariance):
    n = len(universe)
    return ReturnModel(
        assets=universe.tickers,
        mean=np.zeros(n),
        covariance=covariance,
        tail_dof=np.inf,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="zero_excess",
        universe=universe,
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )


def factor_world(beta_unknown=1.8):
    """SPY, three AI names with market and theme betas, one unknown, one calm name."""
    universe = Universe(
        ("SPY", "X", "Y", "Z", "U", "Q"),
        asset_class=("etf_equity", *("equity",) * 5),
        role=("unknown", "accelerator", "network", "servers", "unknown", "software"),
        sector=("Broad Market", *("Information Technology",) * 3, "Energy", ""),
    )
    market = np.array([1.0, 1.5, 1.5, 1.5, 1.0, 1.0])
    theme = np.array([0.0, 1.0, 1.0, 1.0, beta_unknown, 0.4])
    C = 1e-4 * (np.outer(market, market) + 2 * np.outer(theme, theme))
    C += np.diag([0, 1e-12, 1e-12, 1e-12, 1e-5, 1e-5])
    return universe, model_of(universe, C)


def test_betas_to_the_basket_by_hand():
    """r = m_i M + t_i A, basket minus market = 0.5 M + A: beta is t_i exactly."""
    universe, model = factor_world()
    shock = CheapModelShock()
    moves = shock.moves(universe, model)
    basket = moves.central[1:4].mean()
    assert moves.central[4] == pytest.approx(1.8 * basket, rel=1e-6)
    assert "AI-basket beta (beta 1.80, band 0.50)" in moves.basis[4]
    universe, model = factor_world(0.1)
    moves = shock.moves(universe, model)
    assert moves.central[4] == pytest.approx(0.5 * basket, rel=1e-6)
    assert "sector band" in moves.basis[4]


def test_lenses():
    universe, model = factor_world()
    shock = CheapModelShock()
    table = shock.moves(universe, model)
    passed = shock.with_lens("propagated").moves(universe, model)
    worst = shock.with_lens("worst").moves(universe, model)
    basket = table.central[1:4].mean()
    np.testing.assert_allclose(passed.central[1:4], basket, rtol=1e-5)
    assert passed.central[5] == pytest.approx(0.4 * basket, rel=1e-5)
    assert passed.basis[5] == "software: propagated by AI-basket beta 0.40"
    np.testing.assert_allclose(
        worst.central, np.minimum(table.central, passed.central), atol=1e-15
    )
    np.testing.assert_allclose(
        worst.draws, np.minimum(table.draws, passed.draws), atol=1e-15
    )
    assert worst.central[5] < 0 < table.central[5]
    assert passed.central[4] == table.central[4]  # unknown: already the worse of two
    for moves in (passed, worst):
        np.testing.assert_allclose(
            sum(moves.parts.values()), np.log1p(moves.central), atol=1e-14
        )


def test_propagation_without_a_basket_is_refused_and_worst_falls_back():
    universe = companies(["accelerator", "software", "device"])
    model = model_of(universe, np.eye(3) * 1e-4)
    with pytest.raises(ModelError, match=r"at least three companies.*received 1"):
        CheapModelShock(lens="propagated").moves(universe, model)
    np.testing.assert_array_equal(
        CheapModelShock(lens="worst").moves(universe, model).central,
        CheapModelShock().moves(universe, model).central,
    )


def test_the_market_leg_goes_by_beta():
    universe, model = factor_world()
    quiet = np.log1p(CheapModelShock().moves(universe, model).central)
    with_leg = np.log1p(CheapModelShock(m=-0.02).moves(universe, model).central)
    beta = np.array([1.0, 1.5, 1.5, 1.5, 1.0, 1.0])
    np.testing.assert_allclose(with_leg - quiet, np.log1p(-0.02 * beta), rtol=1e-9)
    with pytest.raises(UsageError, match="market_move needs a model"):
        CheapModelShock(m=-0.02).moves(universe)


# Draws ------------------------------------------------------------------------

RANGES = {
    "cost_ratio": (5, 50),
    "priced_in_trend": (3, 50),
    "elasticity_training": (0.3, 0.9),
    "elasticity_inference": (0.8, 1.5),
    "gap_years": (2, 5),
    "trend_years": (0.0, 1.0),
    "credibility": (0.2, 0.8),
    "training_share": (0.3, 0.6),
}


def one_draw():
    return draw_parameters(dict(DEFAULTS))


@pytest.mark.parametrize(("name", "points"), RANGES.items())
def test_ranges_are_five_and_ninety_five_per_cent_points(name, points):
    """2,048 draws: the standard error of the 5% rank is 0.5 points of probability."""
    values = one_draw()[name]
    low, high = points
    assert abs((values < low).mean() - (0.0 if low == 0 else 0.05)) < 0.02
    assert abs((values > high).mean() - 0.05) < 0.02


@pytest.mark.parametrize("name", [n for n in RANGES if n != "training_share"])
def test_the_default_is_the_centre(name):
    assert np.median(one_draw()[name]) == pytest.approx(DEFAULTS[name], rel=0.06)


def test_a_beta_between_three_and_six_tenths_cannot_be_centred_on_a_half():
    assert np.median(one_draw()["training_share"]) == pytest.approx(0.45, abs=0.01)


def test_a_value_of_the_users_own_moves_the_law_of_a_share():
    moved = draw_parameters(CheapModelShock(c=0.7).parameters)["credibility"]
    usual = one_draw()["credibility"]
    assert moved.mean() - usual.mean() == pytest.approx(0.2, abs=0.01)


def test_copula_correlations():
    draws = one_draw()
    k_and_c = np.corrcoef(np.log(draws["cost_ratio"]), draws["credibility"])[0, 1]
    both = np.corrcoef(draws["elasticity_training"], draws["elasticity_inference"])[
        0, 1
    ]
    assert k_and_c == pytest.approx(-0.5, abs=0.05)
    assert both == pytest.approx(0.6, abs=0.05)
    free = np.corrcoef(draws["cost_ratio"], draws["elasticity_training"])[0, 1]
    assert abs(free) < 0.07


def test_draws_stay_in_the_domain():
    for changes in ({}, {"c": 1.0, "tau": 0.0}, {"k": 1.0, "h": 0.0, "T_g": 1.0}):
        shock = CheapModelShock(**changes)
        draws = draw_parameters(shock.parameters)
        assert (draws["cost_ratio"] >= 1).all() and (draws["gap_years"] >= 1).all()
        for share in ("credibility", "training_share"):
            assert ((draws[share] >= 0) & (draws[share] <= 1)).all()
        assert np.isfinite(shock.moves(companies(NAMED)).draws).all()


def test_same_draws_every_time_and_whatever_else_is_held():
    shock = CheapModelShock()
    alone = companies(["accelerator"])
    among = companies(["accelerator", "network", "software"])
    first = shock.moves(among).draws
    np.testing.assert_array_equal(first, CheapModelShock().moves(among).draws)
    np.testing.assert_array_equal(first[:, :1], shock.moves(alone).draws)
    swapped = among.select(["T2", "T0"])
    np.testing.assert_array_equal(shock.moves(swapped).draws, first[:, [2, 0]])


def test_two_companies_of_one_role_share_half_their_exposure_error():
    universe = companies(["accelerator"] * 2)
    rho = np.corrcoef(np.log1p(CheapModelShock().moves(universe).draws).T)[0, 1]
    assert 0.5 < rho < 0.99


def test_quantiles_of_severity_are_ordered():
    moves = CheapModelShock().moves(companies(["accelerator", "software"]))
    levels = [moves.at(q)[0] for q in (0.1, 0.5, 0.9, 0.97)]
    assert levels == sorted(levels, reverse=True)
    np.testing.assert_allclose(moves.at("mean"), moves.draws.mean(axis=0))
    assert moves.rows("distribution", 5000).shape == (5000, 2)
    np.testing.assert_array_equal(
        moves.rows("distribution", 2049)[2048], moves.draws[0]
    )
    for bad in ("severe", 0.0, 1.0, 2):
        with pytest.raises(UsageError, match="unknown severity"):
            moves.at(bad)


# Names and messages -----------------------------------------------------------


def test_letters_of_the_paper_and_words_are_the_same():
    letters = CheapModelShock(k=30, c=0.7, k0=5, h=0.5, tau=0.4, eps_T=0.3, eps_I=0.8)
    words = CheapModelShock(
        cost_ratio=30,
        credibility=0.7,
        priced_in_trend=5,
        trend_years=0.5,
        training_share=0.4,
        elasticity_training=0.3,
        elasticity_inference=0.8,
    )
    assert letters.parameters == words.parameters
    s, dlnH = surprise(30, 0.7, 5, 0.5, 0.4, 0.3, 0.8)
    assert letters.cost_surprise == pytest.approx(s)
    assert letters.demand_gap == pytest.approx(dlnH)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"preset": "crash"}, "unknown preset; received 'crash'; expected market_view"),
        ({"variant": "best"}, "unknown variant; received 'best'; expected calibrated"),
        ({"lens": "all"}, "unknown lens; received 'all'; expected structural"),
        ({"severty": 2}, "unknown shock parameter; received 'severty'"),
        ({"severty": 2}, "Did you mean severity?"),
        ({"cost_ration": 2}, "Did you mean cost_ratio?"),
        (
            {"c": 1.1},
            "shock parameter credibility is out of range; received 1.1; expect",
        ),
        ({"k": 0.5}, "shock parameter cost_ratio is out of range"),
        ({"severity": -1}, "shock parameter severity is out of range; received -1"),
        ({"severity": math.nan}, "shock parameter severity is out of range"),
        ({"eps_T": math.inf}, "elasticity_training is out of range"),
        ({"T_g": 0.5}, "gap_years is out of range"),
        (
            {"severity": 21.0},
            "severity is out of range; received 21.0; expected 0 to 20",
        ),
        (
            {"severity": "strong"},
            "shock parameter severity is not a number; received 's",
        ),
        ({"severity": None}, "shock parameter severity is not a number"),
        ({"k": 5, "cost_ratio": 6}, "cost_ratio is given twice"),
    ],
)
def test_wrong_arguments_say_what_was_meant(arguments, words):
    with pytest.raises(UsageError) as caught:
        CheapModelShock(**arguments)
    assert words in str(caught.value)


def test_discounting_must_beat_growth():
    with pytest.raises(UsageError, match="discount rate must exceed long-run growth"):
        CheapModelShock(discount_rate=0.03).moves(companies(["accelerator"]))


def test_a_total_loss_is_refused_with_the_asset():
    with pytest.raises(ModelError, match="lose all or more of an asset; at asset T0"):
        CheapModelShock("substitution", severity=20.0).moves(companies(["neocloud"]))


def test_parameters_cannot_be_changed_and_survive_pickling():
    shock = CheapModelShock("substitution", severity=1.5, lens="worst", name="mine")
    shock.parameters["severity"] = 2.0  # a copy: the shock does not change
    assert shock.parameters["severity"] == 1.5
    again = pickle.loads(pickle.dumps(shock))
    assert (again.name, again.lens, again.parameters) == (
        "mine",
        "worst",
        shock.parameters,
    )
    assert repr(shock) == "CheapModelShock('substitution', calibrated, severity=1.5)"


def test_labels_of_the_shock():
    shock = CheapModelShock("market-view")
    assert shock.preset == "market_view"
    assert shock.name == "cheap-model:market_view"
    assert shock.known_from == np.datetime64("2025-01-27")
    assert "calibrated multipliers" in shock.citation
    assert "flat multipliers" in CheapModelShock(variant="flat").citation
