"""Funds under the shock: what they hold, its error, and what nobody knows of them."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fund_market import TRUE, make
from hypothesis import given
from hypothesis import strategies as st

from engine import (
    CheapModelShock,
    ModelError,
    ReturnModel,
    Universe,
    UsageError,
    fit,
    simulate,
    stress,
)
from engine.data.look_through import FundExposure
from engine.fund_table import FundTable, fund_table
from engine.shocks import PRESETS
from engine.shocks.basket import basket_betas

COMPANIES = ("A1", "A2", "N1", "P1", "S1", "X1")
ROLES = ("accelerator", "accelerator", "network", "power_gen", "software", "none")
UNIVERSE = Universe(
    (*COMPANIES, "FUND", "SECOND", "BOND"),
    asset_class=("equity",) * 6 + ("etf_equity", "etf_equity", "etf_bond"),
    role=(*ROLES, "unknown", "unknown", "none"),
    sector=("Information Technology",) * 5
    + ("Consumer Staples", "Information Technology", "Energy", ""),
    ai_share=np.array([[0.8] * 3, [0.3, 0.4, 0.6], *[[np.nan] * 3] * 7]),
)
SHOCK = CheapModelShock()


def exposure(weights, *, fund="FUND", members=(), parts=(), draws=None, scale=1.0):
    estimated = draws is not None
    return FundExposure(
        fund=fund,
        labels=tuple(weights),
        weights=np.array(list(weights.values())),
        standard_errors=np.full(len(weights), np.nan),
        method="estimated" if estimated else "look-through",
        known_from=np.datetime64("2025-01-24"),
        document="sheet of December",
        r_squared=0.93 if estimated else math.nan,
        window=252 if estimated else 0,
        sessions=1 if estimated else 0,
        members=members,
        member_weights=parts,
        draws=np.array(draws) if estimated else np.empty((0, 0)),
        error_scale=scale,
    )


def model(*exposures, refused=(), betas=None):
    """Market and theme factors; ``betas`` of the funds to the theme."""
    theme = np.array([1.0, 1.0, 1.0, 1.0, 0.3, 0.0, *(betas or (0.5, 0.1)), 0.0])
    market = np.array([1.2, 1.2, 1.2, 1.2, 1.0, 0.8, 1.0, 1.0, 0.0])
    C = 1e-4 * (np.outer(market, market) + 2 * np.outer(theme, theme))
    C += np.diag(np.full(9, 1e-9))
    return ReturnModel(
        assets=UNIVERSE.tickers,
        mean=np.zeros(9),
        covariance=C,
        tail_dof=np.inf,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="zero_excess",
        universe=UNIVERSE,
        base_currency="USD",
        as_of=np.datetime64("2025-02-03"),
        funds=FundTable(tuple(exposures), tuple(refused), UNIVERSE.select(COMPANIES)),
    )


def members(labels):
    named = {"accelerator": ("A1", "A2"), "network": ("N1",), "power_gen": ("P1",)}
    return tuple(named.get(x, ()) for x in labels)


def moves_of(*exposures, shock=SHOCK, **options):
    fitted = model(*exposures, **options)
    moves = shock.moves(fitted.universe, fitted)
    return moves, dict(zip(moves.assets, moves.central, strict=True))


# The mix --------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_the_move_of_a_fund_is_the_mix_of_the_moves_of_its_roles(preset):
    weights = {"accelerator": 0.5, "network": 0.2, "none:Japan": 0.3}
    held = exposure(weights, members=members(weights))
    moves, x = moves_of(held, shock=CheapModelShock(preset))
    expected = 0.5 * (x["A1"] + x["A2"]) / 2 + 0.2 * x["N1"]
    assert x["FUND"] == pytest.approx(expected, abs=1e-14)
    d = dict(zip(moves.assets, moves.draws.T, strict=True))
    np.testing.assert_allclose(
        d["FUND"], 0.25 * (d["A1"] + d["A2"]) + 0.2 * d["N1"], atol=1e-14
    )
    assert moves.basis[6] == (
        "look-through: sheet of December, 2025-01-24; accelerator 50%, no AI role 30%, "
        "network 20%"
    )


@pytest.mark.parametrize(
    "shock",
    [
        CheapModelShock(horizon="month"),
        CheapModelShock("substitution_persistent"),
        CheapModelShock(previous_generation_share=0.4, open_source_share=0.6),
        CheapModelShock(capex_cut=0.3),
    ],
    ids=["month", "persistent", "older", "cut"],
)
def test_a_fund_follows_dials_and_horizons_of_its_roles(shock):
    weights = {"accelerator": 0.5, "network": 0.2, "none:Japan": 0.3}
    held = exposure(weights, members=members(weights))
    moves, x = moves_of(held, shock=shock)
    expected = 0.25 * (x["A1"] + x["A2"]) + 0.2 * x["N1"]
    assert x["FUND"] == pytest.approx(expected, abs=1e-14)
    assert x["FUND"] != pytest.approx(moves_of(held)[1]["FUND"], rel=0.01)
    words = moves.explain("FUND")
    assert "What it holds moves it, accelerator 50% of it: -" in words
    assert np.isnan(moves.price_earnings({"FUND": 25.0})["after_gap"]).all()


def test_named_holdings_count_by_their_own_weights():
    weights = {"accelerator": 0.4, "none": 0.6}
    held = exposure(weights, members=(("A1", "A2"), ()), parts=((0.3, 0.1), ()))
    _, x = moves_of(held)
    assert x["FUND"] == pytest.approx(0.3 * x["A1"] + 0.1 * x["A2"], abs=1e-14)


def test_a_holding_of_no_weight_moves_nothing():
    held = exposure(
        {"accelerator": 0.0, "none": 1.0}, members=(("A1",), ()), parts=((0.0,), ())
    )
    moves, x = moves_of(held)
    assert x["FUND"] == 0.0 and np.isfinite(moves.draws).all()


def test_a_role_without_a_company_takes_the_middle_of_its_band():
    _, x = moves_of(exposure({"memory": 0.5, "software": 0.5}))
    alone = Universe(("M", "S"), role=("memory", "software"))
    middle = SHOCK.moves(alone).central
    assert x["FUND"] == pytest.approx(middle.mean(), abs=1e-14)
    flat = CheapModelShock(variant="flat")
    _, x = moves_of(exposure({"memory": 1.0}), shock=flat)
    assert x["FUND"] == pytest.approx(flat.moves(alone).central[0], abs=1e-14)


def test_roles_none_do_not_move_and_say_so():
    _, x = moves_of(exposure({"none:Japan": 0.7, "none:other Europe": 0.3}))
    assert x["FUND"] == 0.0


def test_a_mix_known_by_construction_is_found_and_moves_as_its_baskets():
    """From prices to the shock: the fund is exactly that mix, without noise."""
    market = make(7, noise=0.0)
    fitted = fit(market, window=250)
    assert fitted.funds.get("F").r_squared > 0.9999
    moves = SHOCK.moves(fitted.universe, fitted)
    x = dict(zip(moves.assets, moves.central, strict=True))
    d = dict(zip(moves.assets, moves.draws.T, strict=True))
    role = fitted.universe.role
    mix, drawn = 0.0, 0.0
    for label, weight in TRUE.items():
        group = [a for a, r in zip(moves.assets, role, strict=True) if r == label]
        if group:
            mix += weight * np.mean([x[a] for a in group])
            drawn = drawn + weight * np.mean([d[a] for a in group], axis=0)
    assert x["F"] == pytest.approx(mix, abs=1e-4)
    np.testing.assert_allclose(d["F"], drawn, atol=1e-3)
    assert "move +-0.0%" in moves.basis[moves.assets.index("F")]


def test_the_move_does_not_depend_on_which_companies_are_held():
    market = make(7)
    wide = fit(market, window=250)
    narrow = fit(market, tickers=["F", "acc0", "BOND"], window=250)
    one, two = (SHOCK.moves(m.universe, m) for m in (wide, narrow))
    i, j = one.assets.index("F"), two.assets.index("F")
    assert one.central[i] == two.central[j]
    np.testing.assert_array_equal(one.draws[:, i], two.draws[:, j])


# What nobody knows ----------------------------------------------------------------


@pytest.mark.parametrize("covered", [0.0, 0.35, 0.8, 1.0])
def test_what_a_document_does_not_cover_follows_the_rule_for_unknown(covered):
    weights = {"network": 0.9 * covered, "unknown": 0.1 * covered}
    held = exposure(weights, members=members(weights))
    moves, x = moves_of(held)
    bare, rule = moves_of()
    rest = 1.0 - 0.9 * covered
    assert x["FUND"] == pytest.approx(
        0.9 * covered * x["N1"] + rest * rule["FUND"], abs=1e-14
    )
    assert x["FUND"] < 0 and rule["FUND"] < 0
    N, F = moves.draws[:, 2], bare.draws[:, 6]
    np.testing.assert_allclose(
        moves.draws[:, 6], 0.9 * covered * N + rest * F, atol=1e-14
    )
    assert f"unknown {rest:.0%}" in moves.basis[6]


def test_a_country_is_no_role():
    """Weights by country say nothing about AI: unknown, and never zero."""
    _, x = moves_of(exposure({"Taiwan": 1.0}))
    assert x["FUND"] == pytest.approx(moves_of()[1]["FUND"], abs=1e-14)


def test_without_an_exposure_nothing_changes_and_the_words_say_why():
    quiet, x = moves_of()
    told, y = moves_of(refused=[("FUND", "too short a history")])
    assert x == y
    assert "not looked through: too short a history" in told.basis[6]
    assert "exposure unknown" in quiet.basis[6] and "not looked" not in quiet.basis[6]
    bare = SHOCK.moves(UNIVERSE)  # without a model there is no date to know a fund at
    assert "exposure unknown: sector band" in bare.basis[6]


def test_a_documented_zero_stays_zero():
    held = exposure({"neocloud": 1.0}, fund="BOND")
    moves, x = moves_of(held)
    assert x["BOND"] == 0.0 and (moves.draws[:, 8] == 0).all()
    assert moves.basis[8] == "no earnings to lose: documented zero"


# Errors of the weights ------------------------------------------------------------


def test_errors_of_the_weights_are_in_the_draws():
    rng = np.random.default_rng(1)
    w = np.array([0.5, 0.2, 0.3])
    samples = rng.dirichlet(50 * w, size=40)
    labels = {"accelerator": 0.5, "network": 0.2, "none:Japan": 0.3}
    sure = exposure(labels, members=members(labels))
    rough = exposure(labels, members=members(labels), draws=samples, scale=1.7)
    (certain, x), (drawn, y) = moves_of(sure), moves_of(rough)
    assert x["FUND"] == y["FUND"]  # the centre is the estimate itself
    A, N = certain.draws[:, :2].mean(axis=1), certain.draws[:, 2]
    errors = 1.7 * (samples - samples.mean(axis=0))
    rows = np.arange(len(A)) % 40
    np.testing.assert_allclose(
        drawn.draws[:, 6] - certain.draws[:, 6],
        errors[rows, 0] * A + errors[rows, 1] * N,
        atol=1e-14,
    )
    # Errors neither raise nor lower the mean, they widen the band.
    gap = drawn.draws[:, 6] - certain.draws[:, 6]
    assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(len(gap))
    assert drawn.draws[:, 6].std() > certain.draws[:, 6].std()
    spread = float((errors[:, :2] @ [y["A1"] / 2 + y["A2"] / 2, y["N1"]]).std(ddof=1))
    assert drawn.basis[6] == (
        f"estimated: R2 0.93, 252 daily returns to 2025-01-24, move +-{spread:.1%}; "
        "accelerator 50%, no AI role 30%, network 20%"
    )


def test_errors_of_funds_are_drawn_together():
    """The same dates make both errors: two funds alike err alike."""
    labels = {"accelerator": 0.5, "none": 0.5}
    share = np.linspace(0.3, 0.7, 50)
    samples = np.column_stack([share, 1 - share])
    pair = [
        exposure(labels, fund=f, members=members(labels), draws=samples)
        for f in ("FUND", "SECOND")
    ]
    moves, x = moves_of(*pair)
    assert x["FUND"] == x["SECOND"]
    np.testing.assert_allclose(moves.draws[:, 6], moves.draws[:, 7], atol=1e-15)


def test_a_fund_never_loses_everything_by_an_error():
    labels = {"neocloud": 0.9, "none": 0.1}
    samples = [[0.0, 1.0], [1.0, 0.0]]
    held = exposure(labels, draws=samples, scale=3.0)
    moves, _ = moves_of(held, shock=CheapModelShock("substitution", severity=3.0))
    assert moves.draws[:, 6].min() == pytest.approx(-0.99)


# Lenses, market, splits -----------------------------------------------------------


@pytest.mark.parametrize(("theme", "replayed"), [(0.05, False), (0.9, True)])
def test_lenses_of_a_fund(theme, replayed):
    weights = {"accelerator": 0.3, "none": 0.7}
    held = exposure(weights, members=members(weights))
    betas = (theme, 0.1)
    structural, x = moves_of(held, betas=betas)
    passed, y = moves_of(held, betas=betas, shock=SHOCK.with_lens("propagated"))
    worst, z = moves_of(held, betas=betas, shock=SHOCK.with_lens("worst"))
    beta = float(basket_betas(UNIVERSE, model(held, betas=betas))[0][6])
    basket = np.mean([x[a] for a in ("A1", "A2", "N1", "P1")])
    assert y["FUND"] == pytest.approx(beta * basket, rel=1e-12)
    assert z["FUND"] == pytest.approx(min(x["FUND"], y["FUND"]), abs=1e-15)
    assert (y["FUND"] < x["FUND"]) == replayed
    np.testing.assert_allclose(
        worst.draws[:, 6],
        np.minimum(structural.draws[:, 6], passed.draws[:, 6]),
        atol=1e-15,
    )
    replay = f"propagated by AI-basket beta {beta:.2f}, in place of look-through: sheet"
    assert passed.basis[6].startswith(replay)
    assert ("propagated" in worst.basis[6]) == replayed
    assert ("FUND" in worst.through) != replayed
    assert "FUND" not in passed.through
    for moves in (structural, passed, worst):
        np.testing.assert_allclose(
            sum(moves.parts.values()), np.log1p(moves.central), atol=1e-14
        )


SHARES = st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5).filter(
    lambda w: sum(w) > 0.1
)


@given(raw=SHARES, full=st.floats(0.1, 1.0), preset=st.sampled_from(list(PRESETS)))
def test_a_fund_lies_between_what_it_holds(raw, full, preset):
    labels = ("accelerator", "network", "power_gen", "none:Japan", "unknown")
    w = full * np.array(raw) / sum(raw)
    held = exposure(dict(zip(labels, w, strict=True)), members=members(labels))
    shock = CheapModelShock(preset, market_move=-0.02)
    moves, x = moves_of(held, shock=shock)
    none = shock.with_severity(0.0)
    leg = dict(zip(moves.assets, moves_of(held, shock=none)[0].central, strict=True))
    bare = {k: (1 + v) / (1 + leg[k]) - 1 for k, v in x.items()}
    rule = moves_of(shock=CheapModelShock(preset))[1]["FUND"]
    known = [(bare["A1"] + bare["A2"]) / 2, bare["N1"], bare["P1"], 0.0, rule]
    assert min(known) - 1e-12 <= bare["FUND"] <= max(known) + 1e-12
    split = moves.through["FUND"]
    assert sum(v for v, _ in split.values()) == pytest.approx(1.0)
    assert sum(c for _, c in split.values()) == pytest.approx(x["FUND"], abs=1e-13)
    np.testing.assert_allclose(
        sum(moves.parts.values()), np.log1p(moves.central), atol=1e-14
    )


# The report -----------------------------------------------------------------------


def test_losses_by_role_look_through_the_funds_and_sum_to_the_loss():
    weights = {"accelerator": 0.5, "network": 0.2}
    held = exposure(weights, members=members(weights))
    fitted = replace(model(held), cash_rate=0.05)
    scenarios = simulate(fitted, 500, seed=1)
    book = {"FUND": 0.5, "A1": 0.2, "SECOND": 0.1, "BOND": 0.1, "CASH:USD": 0.1}
    report = stress(book, scenarios, [CheapModelShock(p) for p in PRESETS])
    x = dict(zip(report.scenarios.assets, report.results[0].moves.central, strict=True))
    base = 1.05 ** (21 / 252) - 1  # every asset earns cash before the shock
    for result in report.results:
        parts = report.by("role", result.name)
        assert sum(parts.values()) == pytest.approx(result.loss, abs=1e-14)
        split = report.by_holding_and_role(result.name)
        assert sum(p.weight for p in split) == pytest.approx(1.0)
        mine = sum(p.loss for p in split if p.asset == "FUND")
        assert mine == pytest.approx(result.by_asset[6], abs=1e-15)
    first = report.by("role", report.results[0].name)
    network = -0.5 * (0.2 * base + (1 + base) * 0.2 * x["N1"])
    assert first["network"] == pytest.approx(network, abs=1e-12)
    assert report.looked_through() == {"FUND"}
    frame = report.holdings_frame().set_index("asset")
    assert frame.loc["FUND", "role"] == "fund"
    assert frame.loc["FUND", "basis"].startswith("look-through: sheet of December")
    assert frame.loc["SECOND", "role"] == "unknown"
    told = report.to_dict()["shocks"][0]
    assert told["basis"]["FUND"] == frame.loc["FUND", "basis"]
    assert sum(told["by_role"].values()) == pytest.approx(told["loss"], abs=1e-12)


def test_a_document_about_the_fund_reaches_the_stress():
    """From table to loss: the estimate says 40% accelerators, the document 90%."""
    market = make(7)
    columns = ["fund", "kind", "label", "weight", "known_from", "document"]
    rows = pd.DataFrame(
        [
            ("F", "role", "accelerator", 0.9, "2024-07-24", "sheet"),
            ("F", "role", "none", 0.1, "2024-07-24", "sheet"),
        ],
        columns=columns,
    )
    day = np.datetime64("2024-07-24")
    found = {}
    for name, t in (("before", day - 1), ("on", day)):
        fitted = fit(market.as_of(t), window=250, look_through=rows)
        moves = SHOCK.moves(fitted.universe, fitted)
        x = dict(zip(moves.assets, moves.central, strict=True))
        found[name] = x["F"], moves.basis[moves.assets.index("F")]
        mean = np.mean([x[f"acc{i}"] for i in range(4)])
    assert found["on"][0] == pytest.approx(0.9 * mean, abs=1e-14)
    assert found["on"][1].startswith("look-through: sheet, 2024-07-24")
    assert found["before"][1].startswith("estimated: R2 0.9")
    assert fund_table(market, ["F"], look_through=rows).get("F").weight("none") == 0.1


@pytest.mark.parametrize("lens", ["structural", "propagated", "worst"])
@pytest.mark.parametrize("horizon", ["day", "next_day", "persistent"])
def test_central_moves_alone_are_those_beside_the_severities(lens, horizon):
    labels = ("accelerator", "software", "unknown", "none")
    held = exposure(
        dict(zip(labels, (0.4, 0.2, 0.1, 0.25), strict=True)),
        draws=np.random.default_rng(1).normal(0.2, 0.05, (50, 4)),
        members=members(labels),
    )
    fitted = model(held)
    shock = CheapModelShock(
        lens=lens,
        horizon=horizon,
        ai_capex={"S1": 0.03},
        relief_kept=0.5,
        market_move=-0.02,
        previous_generation_share=0.2,
        platform_rerating=-0.2,
    )
    for at in (fitted, model()):
        np.testing.assert_allclose(
            shock.central(UNIVERSE, at), shock.moves(UNIVERSE, at).central, rtol=1e-12
        )
    calm = shock.with_parameters(market_move=0.0).with_lens("structural")
    np.testing.assert_allclose(
        calm.central(UNIVERSE), calm.moves(UNIVERSE).central, rtol=1e-12
    )


def test_central_moves_refuse_what_moves_refuse():
    with pytest.raises(UsageError, match="market_move"):
        CheapModelShock(market_move=-0.1).central(UNIVERSE)
    with pytest.raises(ModelError, match="propagation"):
        CheapModelShock(lens="propagated").central(UNIVERSE)
