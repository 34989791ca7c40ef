"""Stress reports: the parts add up, and the loss is that of the shocked scenarios."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    CheapModelShock,
    DataError,
    LookAheadError,
    Portfolio,
    ReturnModel,
    Universe,
    UsageError,
    simulate,
    stress,
)
from engine.risk import value_at_risk

ROLES = ("accelerator", "network", "power_gen", "software", "none", "unknown")
UNIVERSE = Universe(
    ("NVDX", "NETX", "PWRX", "SOFX", "FOOD", "WHAT"),
    asset_class=("equity",) * 6,
    role=ROLES,
    sector=("Information Technology",) * 4 + ("Consumer Staples", "Energy"),
    country=("US", "US", "US", "DE", "US", ""),
    quote_currency=("USD", "USD", "USD", "EUR", "USD", "USD"),
    exposure_currency=("USD", "USD", "USD", "EUR", "USD", "USD"),
)


def model(as_of="2025-02-03", cash_rate=0.0, **changes):
    rng = np.random.default_rng(0)
    B = rng.normal(0.01, 0.005, (6, 2))
    fields = {
        "assets": UNIVERSE.tickers,
        "mean": np.zeros(6),
        "covariance": B @ B.T + np.diag(np.full(6, 1e-4)),
        "tail_dof": 5.0,
        "return_kind": "log",
        "periods_per_year": 252.0,
        "cash_rate": cash_rate,
        "mean_kind": "zero_excess",
        "universe": UNIVERSE,
        "base_currency": "USD",
        "as_of": np.datetime64(as_of),
    }
    return ReturnModel(**(fields | changes))


WEIGHTS = {
    "NVDX": 0.3,
    "NETX": 0.2,
    "PWRX": 0.1,
    "SOFX": 0.15,
    "FOOD": 0.1,
    "WHAT": 0.1,
    "CASH:USD": 0.05,
}
SCENARIOS = simulate(model(cash_rate=0.04), 2000, seed=1)
PRESETS = [CheapModelShock(p) for p in ("market_view", "substitution", "jevons")]
REPORT = stress(WEIGHTS, SCENARIOS, PRESETS)


@pytest.mark.parametrize("name", ["market_view", "substitution", "jevons"])
@pytest.mark.parametrize("grouping", ["role", "country", "currency", "sector", "venue"])
def test_every_grouping_sums_to_the_loss(name, grouping):
    result = REPORT[name]
    assert result.by_asset.sum() == pytest.approx(result.loss, abs=1e-15)
    parts = REPORT.by(grouping, name)
    assert sum(parts.values()) == pytest.approx(result.loss, abs=1e-14)
    values = list(parts.values())
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("shock", PRESETS, ids=lambda s: s.preset)
@pytest.mark.parametrize("lens", ["structural", "propagated", "worst"])
def test_the_loss_is_that_of_the_shocked_scenarios(shock, lens):
    """-w . mean of the leg that `apply` makes, the simulated one."""
    shock = shock.with_lens(lens)
    shocked = SCENARIOS.apply(shock)
    w = SCENARIOS.align(WEIGHTS)
    loss = stress(WEIGHTS, SCENARIOS, shock).results[0].loss
    assert loss == pytest.approx(-w @ shocked.leg_mean(shock.name), abs=1e-13)
    mixed = SCENARIOS.mix(shock, 0.1)
    assert loss == pytest.approx(-w @ mixed.leg_mean(shock.name), abs=1e-13)
    assert stress(WEIGHTS, mixed, shock).results[0].loss == pytest.approx(loss)


def test_by_hand_on_one_asset():
    """All in one name, cash at zero: the loss is the name's move."""
    flat = simulate(model(), 500, horizon=1)
    for i, ticker in enumerate(UNIVERSE.tickers):
        result = stress({ticker: 1.0}, flat, PRESETS[0]).results[0]
        assert result.loss == pytest.approx(-result.moves.central[i], abs=1e-12)
        low, high = np.quantile(-result.moves.draws[:, i], [0.05, 0.95])
        assert result.band == pytest.approx((low, high), abs=1e-12)


def test_severe_is_the_ninetieth_percentile_through_the_worst_lens():
    shock = PRESETS[0]
    worst = shock.with_lens("worst").moves(SCENARIOS.universe, SCENARIOS.model)
    x = np.minimum(worst.draws, 0.0)  # no credit for gains
    base = SCENARIOS.returns.mean(axis=0)
    losses = -((1 + base) * (1 + x) - 1) @ SCENARIOS.align(WEIGHTS)
    assert REPORT["market_view"].severe == pytest.approx(
        value_at_risk(losses, level=0.9), abs=1e-12
    )
    assert np.mean(losses <= REPORT["market_view"].severe + 1e-12) >= 0.9


def test_gains_do_not_offset_the_severe_loss():
    """Without a model every lens is the table, where software gains."""
    bare = replace(SCENARIOS, model=None)
    moves = PRESETS[0].moves(bare.universe)
    result = stress({"SOFX": 0.9, "NVDX": 0.1}, bare, PRESETS[0]).results[0]
    cash = 1.04 ** (21 / 252)
    drop = np.minimum(moves.draws[:, 0], 0.0)
    losses = -0.1 * (cash * (1 + drop) - 1) - 0.9 * (cash - 1)
    assert result.severe == pytest.approx(value_at_risk(losses, level=0.9), abs=1e-12)
    assert result.severe > result.loss


def test_jevons_is_a_gain_and_its_severe_loss_is_not():
    result = REPORT["jevons"]
    assert result.loss < 0
    assert result.severe > result.loss
    assert result.band[0] <= result.loss <= result.band[1]


def test_cash_earns_its_rate_and_loses_nothing():
    result = stress({"CASH:USD": 1.0}, SCENARIOS, PRESETS[0]).results[0]
    assert result.loss == pytest.approx(-(1.04 ** (21 / 252) - 1), abs=1e-12)
    assert result.moves.central[-1] == 0.0


@settings(max_examples=20)
@given(st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7).filter(lambda w: sum(w)))
def test_loss_is_linear_in_the_weights(raw):
    w = np.array(raw) / sum(raw)
    given_ = dict(zip(SCENARIOS.assets, w, strict=True))
    got = stress(given_, SCENARIOS, PRESETS[0]).results[0]
    single = np.divide(
        REPORT["market_view"].by_asset,
        REPORT.weights,
    )
    assert got.loss == pytest.approx(single @ w, abs=1e-12)


def test_more_severity_more_loss():
    losses = [
        stress(WEIGHTS, SCENARIOS, CheapModelShock(severity=s)).results[0].loss
        for s in (0.0, 0.5, 1.0, 1.5)
    ]
    assert losses == sorted(losses)


def test_a_portfolio_and_its_weights_give_the_same():
    held = Portfolio.from_weights(WEIGHTS, 2e6, "USD")
    got = stress(held, SCENARIOS, PRESETS)
    assert got.value == 2e6
    for a, b in zip(got.results, REPORT.results, strict=True):
        np.testing.assert_allclose(a.by_asset, b.by_asset, atol=1e-15)
    frame = got.to_frame()
    np.testing.assert_allclose(frame["money"], frame["loss"] * 2e6)


def test_a_model_is_simulated_with_the_seed_given():
    options = {"n_scenarios": 500, "horizon": 5}
    first = stress(WEIGHTS, model(), PRESETS[0], seed=3, **options)
    again = stress(WEIGHTS, model(), PRESETS[0], seed=3, **options)
    other = stress(WEIGHTS, model(), PRESETS[0], seed=4, **options)
    assert first.expected_shortfall == again.expected_shortfall
    assert first.expected_shortfall != other.expected_shortfall
    # the mean is centred, so the stress loss does not depend on the seed
    assert first.results[0].loss == pytest.approx(other.results[0].loss, abs=1e-12)


def test_expected_shortfall_is_not_below_value_at_risk_and_levels_are_checked():
    assert REPORT.expected_shortfall >= REPORT.value_at_risk > 0
    assert REPORT.expected_shortfall_error > 0
    with pytest.raises(UsageError, match="level is a confidence"):
        stress(WEIGHTS, SCENARIOS, PRESETS[0], level=95)


def test_base_share_and_distance():
    result = REPORT["substitution"]
    losses = SCENARIOS.losses(WEIGHTS)
    assert result.base_share == pytest.approx(np.mean(losses >= result.loss))
    x = np.log1p(result.moves.central[:6])
    moved = x != 0
    C = SCENARIOS.model.dense_covariance()[np.ix_(moved, moved)]
    assert result.distance == pytest.approx(
        np.sqrt(x[moved] @ np.linalg.inv(C) @ x[moved]), rel=1e-6
    )


# Time -------------------------------------------------------------------------


def test_a_shock_is_refused_before_it_was_known():
    early = simulate(model("2025-01-24"), 200)
    with pytest.raises(
        LookAheadError,
        match=r"not known at the date.*2025-01-24.*known from 2025-01-27.*hindsight",
    ):
        stress(WEIGHTS, early, PRESETS)
    report = stress(WEIGHTS, early, PRESETS, hindsight_parameters=True)
    assert report.stamps == (
        "HINDSIGHT PARAMETERS: multipliers known from 2025-01-27 are used as of "
        "2025-01-24.",
    )
    assert "HINDSIGHT" in report._repr_html_()
    on_the_day = simulate(model("2025-01-27"), 200)
    assert stress(WEIGHTS, on_the_day, PRESETS).stamps == ()


def test_stamps_travel():
    flags = {"synthetic": True, "mean_kind": "sample"}
    report = stress(WEIGHTS, simulate(model(**flags), 200), PRESETS[0])
    assert report.stamps[0].startswith("SYNTHETIC")
    assert report.stamps[1].startswith("SAMPLE MEAN")
    early = simulate(model("2025-01-24", hindsight_parameters=True), 200)
    assert any("HINDSIGHT" in s for s in stress(WEIGHTS, early, PRESETS).stamps)


# Refusals and forms -----------------------------------------------------------


def test_weights_must_sum_to_one_and_name_known_assets():
    with pytest.raises(DataError, match=r"do not sum to one; received 0\.950000"):
        stress(WEIGHTS | {"CASH:USD": 0.0}, SCENARIOS, PRESETS)
    with pytest.raises(DataError, match="names no scenario asset; at asset NVDA"):
        stress(WEIGHTS | {"NVDA": 0.0}, SCENARIOS, PRESETS)
    held = Portfolio.from_weights({"NVDX": 0.5, "ZZZ": 0.5}, 1.0, "USD")
    with pytest.raises(DataError, match=r"not covered.*ZZZ"):
        stress(held, SCENARIOS, PRESETS)
    with pytest.raises(DataError, match="a weight is not finite; at asset NVDX"):
        stress(WEIGHTS | {"NVDX": float("nan")}, SCENARIOS, PRESETS)


def test_results_are_found_by_either_name():
    assert REPORT["market_view"] is REPORT["cheap-model:market_view"]
    with pytest.raises(UsageError, match=r"no such shock.*'crash'.*jevons"):
        REPORT["crash"]


def test_json_and_tables():
    text = json.dumps(REPORT.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert back["as_of"] == "2025-02-03"
    assert [s["name"] for s in back["shocks"]] == [s.name for s in PRESETS]
    first = back["shocks"][0]
    for part in ("by_asset", "by_role", "by_country", "by_currency"):
        assert sum(first[part].values()) == pytest.approx(first["loss"], abs=1e-12)
    frame = REPORT.holdings_frame()
    assert frame["weight"].sum() == pytest.approx(1.0)
    assert frame["loss:jevons"].sum() == pytest.approx(REPORT["jevons"].loss)
    assert "market_view: loss" in repr(REPORT)


def test_a_report_survives_pickling():
    again = pickle.loads(pickle.dumps(REPORT))
    assert again["jevons"].loss == REPORT["jevons"].loss
    assert not again.weights.flags.writeable
    assert not again.results[0].moves.draws.flags.writeable


class Drop:
    """Every asset falls by one number, equally in all severities."""

    known_from = np.datetime64("2020-01-01")

    def __init__(self, name, move):
        self.name, self.move = name, move

    def moves(self, universe, model=None):
        from engine.shocks import ShockMoves

        move = np.array(
            [0.0 if t == "CASH:USD" else self.move for t in universe.tickers]
        )
        return ShockMoves(
            universe.tickers,
            move,
            np.tile(move, (8, 1)),
            np.zeros(8),
            ("by hand",) * move.size,
            {"hand": np.log1p(move)},
        )


def test_shocks_that_end_alike_keep_their_columns_apart():
    alike = [Drop("ours:crash", -0.1), Drop("theirs:crash", -0.2), Drop("x:jevons", 0)]
    report = stress(WEIGHTS, SCENARIOS, alike)
    frame = report.holdings_frame()
    for name, column in (
        ("ours:crash", "loss:ours:crash"),
        ("theirs:crash", "loss:theirs:crash"),
        ("x:jevons", "loss:jevons"),
    ):
        assert frame[column].sum() == pytest.approx(report[name].loss)
    assert report["theirs:crash"].loss > report["ours:crash"].loss
    with pytest.raises(UsageError, match="two shocks of the report end in this name"):
        report["crash"]
    # A whole name goes before one that ends in it.
    report = stress(WEIGHTS, SCENARIOS, [Drop("a:b", -0.1), Drop("b", -0.2)])
    assert report["b"].name == "b"
    frame = report.holdings_frame()
    assert {"loss:a:b", "loss:b"} <= set(frame.columns)
    assert frame["loss:b"].sum() == pytest.approx(report["b"].loss)
    with pytest.raises(UsageError, match="two shocks carry one name"):
        stress(WEIGHTS, SCENARIOS, [Drop("b", -0.1), Drop("b", -0.2)])


def test_one_severity_has_no_band():
    """A band as wide as its loss would look certain; there is none, and it says so."""
    from engine.shocks import conditional, entropy_pool, mix, worst_case

    several = CheapModelShock()
    states = mix({"a": 0.5}, {"a": several})
    views = entropy_pool("mean(NVDX) <= -0.05")
    worst = worst_case(model(), WEIGHTS, radius=3.0)
    moves = conditional({"ai_basket": -0.1}, name="moves")
    report = stress(WEIGHTS, SCENARIOS, [several, moves, states, views, worst])
    assert [r.has_band for r in report.results] == [True, True, False, False, False]
    for result in report.results[2:]:
        assert np.isnan(result.band).all()
        # What limits bind: its one loss, gains left out.
        gains = np.minimum(result.moves.central, 0.0)
        base = (1 + SCENARIOS.leg_mean("base")) * (1 + gains) - 1
        assert result.severe == pytest.approx(-report.weights @ base, abs=1e-12)
    assert "one severity, no band" in repr(report)
    rows = json.loads(json.dumps(report.to_dict(), allow_nan=False))["shocks"]
    assert [r["band_5_95"] is None for r in rows] == [False, False, True, True, True]
