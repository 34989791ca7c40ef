"""A proposal under other views: each figure worked out again, and what is flagged."""

from dataclasses import replace

import numpy as np
import pytest
from proposal_cases import Fixed, book, draws_of, random_set

from engine import (
    CheapModelShock,
    Constraints,
    Costs,
    LookAheadError,
    Portfolio,
    Proposal,
    ReturnModel,
    StressCap,
    Universe,
    UsageError,
    propose,
    robustness,
    simulate,
)
from engine.risk import difference, expected_shortfall, value_at_risk_error

ROLES = ("accelerator", "network", "power_gen", "software", "none", "hyperscaler")
UNIVERSE = Universe(
    ("NVDX", "NETX", "PWRX", "SOFX", "FOOD", "HYPX"),
    asset_class=("equity",) * 6,
    role=ROLES,
    sector=("Information Technology",) * 4 + ("Consumer Staples", "Energy"),
    quote_currency=("USD",) * 6,
)
HELD = {
    "NVDX": 0.3,
    "NETX": 0.2,
    "PWRX": 0.1,
    "SOFX": 0.15,
    "FOOD": 0.1,
    "HYPX": 0.1,
    "CASH:USD": 0.05,
}


def drawn(as_of="2025-02-20", n=4000, dof=5.0):
    B = np.random.default_rng(0).normal(0.01, 0.005, (6, 2))
    model = ReturnModel(
        assets=UNIVERSE.tickers,
        mean=np.zeros(6),
        covariance=B @ B.T + np.diag(np.full(6, 1e-4)),
        tail_dof=dof,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="zero_excess",
        universe=UNIVERSE,
        base_currency="USD",
        as_of=np.datetime64(as_of),
    )
    return simulate(model, n, horizon=21, seed=0)


@pytest.fixture(scope="module")
def case():
    scenarios = drawn()
    held = Portfolio.from_weights(HELD, 1e6, "USD")
    cap = StressCap(CheapModelShock(), 0.06)
    got = propose(held, scenarios, Constraints(stress_caps=cap, upper=0.4), Costs())
    found = robustness(got, held, scenarios)
    return scenarios, held, got, found, found.to_frame().set_index("name")


def test_the_lens_of_the_limit_repeats_the_proposal(case):
    _, _, got, _, frame = case
    name = "cheap-model:market_view"
    row = frame.loc[f"{name}, worst lens"]
    assert row["before"] == pytest.approx(got.stress_before[name])
    assert row["after"] == pytest.approx(got.stress_after[name])
    assert {f"{name}, {x} lens" for x in ("structural", "propagated")} <= set(
        frame.index
    )
    assert row["difference"] < 0 and row["better"] > 0.99


def test_a_lens_that_does_not_apply_is_named():
    """Two AI names are too few to pass a shock on from: the other lenses remain."""
    scenarios = drawn()
    keep = [0, 1, 3, 4, 6]
    names = tuple(scenarios.assets[i] for i in keep)
    few = ("NVDX", "NETX", "SOFX", "FOOD")
    model = replace(
        scenarios.model,
        assets=few,
        mean=np.zeros(4),
        covariance=scenarios.model.covariance[np.ix_(keep[:4], keep[:4])],
        universe=UNIVERSE.select(few),
    )
    part = simulate(model, 500, horizon=21, seed=0)
    held = {"NVDX": 0.6, "FOOD": 0.4}
    start = Portfolio.from_weights(held, 1.0, "USD")
    got = Proposal.from_weights(start, {"NVDX": 0.3, "FOOD": 0.7})
    found = robustness(got, start, part, episodes=())
    assert names == part.assets
    assert [r.name for r in found.rows if r.kind == "lens"] == [
        "cheap-model:market_view, structural lens",
        "cheap-model:market_view, worst lens",
    ]
    assert [n for n in found.notes if "propagated lens does not apply" in n]


def test_central_rows_are_the_shocked_means(case):
    scenarios, held, got, _, frame = case
    for preset in ("market_view", "substitution", "jevons"):
        shock = CheapModelShock(preset)
        shocked = scenarios.apply(shock).returns.mean(axis=0)
        row = frame.loc[shock.name]
        for column, w in (("before", held), ("after", got.weights)):
            assert row[column] == pytest.approx(-scenarios.align(w) @ shocked)


def test_where_the_proposal_loses_is_flagged(case):
    """Under Jevons the AI names rise: a book with fewer of them gains less."""
    _, _, _, found, frame = case
    assert found.worst.name == "cheap-model:jevons"
    assert frame["worst"].sum() == 1 and frame.loc["cheap-model:jevons", "worst"]
    assert found.worst.difference == frame["difference"].max() > 0.01
    last = found.sentences()[-1]
    assert last.startswith("Worst case for the proposal: cheap-model:jevons")
    assert f"{found.worst.difference:.2%} worse" in last
    assert "gains" in last and len(found.sentences()) == len(found.rows) + 1


def test_only_episodes_known_at_the_date_are_replayed(case):
    _, held, got, found, _ = case
    assert {r.name for r in found.rows if r.kind == "replay"}
    with pytest.raises(LookAheadError):
        robustness(got, held, drawn("2024-08-01"))
    early = robustness(got, held, drawn("2024-08-01"), hindsight_parameters=True)
    late = {r.name for r in found.rows if r.kind == "replay"}
    then = {r.name for r in early.rows if r.kind == "replay"}
    assert late - then == {"replay:ai-crowding-2024", "replay:carry-unwind-2024"}
    assert then < late
    # What happened but cannot be replayed on these assets is named, not dropped.
    assert any(n.startswith("deepseek-monday was not replayed") for n in found.notes)
    assert any(n.startswith("HINDSIGHT PARAMETERS") for n in early.notes)


def test_the_error_of_a_scaled_book_is_that_of_its_quantile():
    """After = half of before, draw by draw: the paired error is half of the single."""
    severities = np.linspace(0.2, 1.8, 1501)[:, None] * np.array([[-0.3, 0.0]])
    scenarios = draws_of(np.zeros((50, 1)))
    shock = Fixed(severities)
    held = {"A0": 1.0}
    got = Proposal.from_weights(book([1.0, 0.0]), {"A0": 0.5, "CASH:USD": 0.5})
    found = robustness(
        got, held, scenarios, shocks=[shock], episodes=(), resamples=4000
    )
    row = found.rows[0]
    single = value_at_risk_error(-severities[:, 0], level=0.9)
    assert row.standard_error == pytest.approx(0.5 * single, rel=0.04)
    assert row.difference == pytest.approx(-0.5 * row.before)
    assert row.better == 1.0
    assert any("no fresh scenarios" in n for n in found.notes)


def test_resampled_shortfall_has_the_error_of_first_order(case):
    scenarios, held, got, found, _ = case
    row = next(r for r in found.rows if r.kind == "scenarios")
    d = difference("expected_shortfall", scenarios, held, got.weights)
    assert (row.before, row.after) == pytest.approx((d.before, d.after))
    # 500 resamples give a standard deviation to 3%.
    assert row.standard_error == pytest.approx(d.error, rel=0.12)
    assert row.standard_error < d.independent_error


def test_fresh_scenarios_are_those_of_another_seed(case):
    scenarios, held, got, found, _ = case
    row = next(r for r in found.rows if r.kind == "seed")
    fresh = simulate(scenarios.model, 4000, horizon=21, seed=1)
    assert row.before == pytest.approx(
        expected_shortfall(fresh.losses(scenarios.align(held)))
    )
    assert row.after == pytest.approx(expected_shortfall(fresh.losses(got.weights)))


def test_weights_of_scenarios_count():
    """All probability on half of the scenarios is that half alone."""
    scenarios = random_set(S=400)
    p = np.r_[np.full(200, 1 / 200), np.zeros(200)]
    got = Proposal.from_weights(
        book([0, 0, 0, 0, 0, 1.0, 0]), {"A0": 0.5, "CASH:USD": 0.5}
    )
    kwargs = dict(shocks=[Fixed([-0.1] * 6 + [0.0])], episodes=())
    found = robustness(got, {"A5": 1.0}, scenarios.reweight(p), **kwargs)
    half = replace(
        scenarios, returns=scenarios.returns[:200], p=p[:200], leg=np.empty(0)
    )
    alone = robustness(got, {"A5": 1.0}, half, **kwargs)
    a, b = (next(r for r in x.rows if r.kind == "scenarios") for x in (found, alone))
    assert (a.before, a.after) == pytest.approx((b.before, b.after))
    assert a.standard_error == pytest.approx(b.standard_error, rel=0.1)


def test_the_same_book_is_nowhere_different(case):
    scenarios, held, _, _, _ = case
    same = Proposal.from_weights(held, HELD)
    found = robustness(same, held, scenarios, episodes=())
    assert all(r.difference == 0.0 for r in found.rows)
    assert found.sentences()[-1].startswith("Under none of these views")
    assert "no different" in found.sentences()[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resamples": 5}, "at least 100 resamples; received 5"),
        ({"shocks": []}, "no shock to compare under"),
        ({"quantile": 90}, "level"),
        ({"episodes": ("nvidia_2099",)}, "unknown episode"),
    ],
)
def test_bad_input(case, options, words):
    scenarios, held, got, _, _ = case
    with pytest.raises(UsageError, match=words):
        robustness(got, held, scenarios, **options)
