"""Named strategies, when they trade, and options that reach every backtest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backtests import Settings, rulebook
from backtests.job import named_rules, walk, walk_options
from backtests.rebalancing import (
    Rebalance,
    parse_rebalance,
    rebalanced,
    schedule_of,
)
from engine.costs import Costs
from engine.data.load import load_panel
from engine.data.universe import Universe
from engine.errors import DataError, UsageError
from engine.shocks import CheapModelShock
from strategies import DriftBand, NoTradeRegion, StressTriggered

NAMES = ("NVDA", "ANET", "JPM", "PG", "RSP", "EFA", "SMH")
BOOK = {"NVDA": 0.5, "ANET": 0.3, "JPM": 0.15, "CASH:USD": 0.05}


@pytest.fixture(scope="module")
def panel():
    """Three hundred sessions of seven assets, two of them of the theme."""
    rng = np.random.default_rng(3)
    T = 300
    theme, market = rng.normal(0, 0.015, T), rng.normal(0.0003, 0.008, T)
    loads = np.array([1.4, 1.0, 0.0, -0.1, 0.0, 0.1, 1.1])
    steps = np.outer(theme, loads) + market[:, None] + rng.normal(0, 0.006, (T, 7))
    frame = pd.DataFrame(
        100 * np.exp(np.cumsum(steps, axis=0)),
        index=pd.bdate_range("2024-01-02", periods=T),
        columns=list(NAMES),
    )
    universe = Universe(
        NAMES,
        asset_class=("equity",) * 4 + ("etf_equity",) * 3,
        country=("United States",) * 4 + ("United States", "EAFE", "United States"),
        sector=("Information Technology",) * 2
        + ("Financials", "Consumer Staples")
        + ("Broad Market",) * 3,
        theme=("semis", "networking_optics", "none", "none", "none", "none", "semis"),
        quote_currency=("USD",) * 7,
    )
    return load_panel(frame, price_basis="total_return", universe=universe)


def settings(**options):
    common = {
        "start": "2024-10-01",
        "window": 120,
        "upper": 0.5,
        "hindsight_parameters": True,
        "costs": Costs(half_spread_bps=5.0, borrow_bps=50.0),
    }
    return Settings(**(common | options))


def run(panel, *chosen, limit=0.06, **options):
    made = settings(**options)
    return walk(named_rules(chosen, BOOK, made, limit, panel), panel, made)


def test_every_name_is_built_and_says_what_it_does(panel):
    for name in rulebook.names():
        rule = rulebook.build(name, book=BOOK, panel=panel, settings=settings())
        assert rule.name and rulebook.descriptions()[name]
        assert "name" not in rulebook.parameters(name)


def test_foils_reach_the_limit_their_own_way(panel):
    cash, swap, overseas, short = run(
        panel, "hold-cash", "hold-swap", "hold-overseas", "hold-short", limit=0.06
    )
    first = 1  # filled at the close after the decision
    assert cash.cash[first] / cash.value[first] > 0.2
    assert swap.weights()[first, swap.labels.index("RSP")] > 0.1
    assert overseas.weights()[first, overseas.labels.index("EFA")] > 0.1
    assert short.weights()[first, short.labels.index("SMH")] < -0.05
    again = run(panel, "hold-swap:PG")[0]
    assert again.name == "hold + PG"
    assert again.weights()[first, again.labels.index("PG")] > 0.1


def test_borrowing_costs_only_who_is_short(panel):
    dear = Costs(half_spread_bps=5.0, borrow_bps=500.0)
    for name, more in (("hold-short", True), ("hold-cash", False)):
        (cheap,) = run(panel, name, costs=Costs(half_spread_bps=5.0))
        (paid,) = run(panel, name, costs=dear)
        assert bool(paid.costs.sum() > cheap.costs.sum() + 1e-9) is more


def test_limits_of_the_job_reach_the_rule(panel):
    rule = rulebook.build(
        "shock-aware",
        book=BOOK,
        panel=panel,
        settings=settings(turnover=0.1, es_cap=0.2),
        limits=0.06,
    )
    assert (rule.turnover, rule.es_cap, rule.limit) == (0.1, 0.2, 0.06)
    other = rulebook.build(
        "shock-aware", book=BOOK, panel=panel, settings=settings(), limit=0.04
    )
    assert other.limit == 0.04


def test_a_band_trades_less_and_to_its_edge_or_centre(panel):
    always = run(panel, "equal", schedule="daily")[0]
    edge, centre = (
        run(panel, "equal", rebalance=f"drift-band:0.02{to}")[0]
        for to in ("", ",centre")
    )
    moves = [(r.turnover > 0).sum() for r in (always, edge, centre)]
    assert moves[0] > moves[1] and moves[0] > moves[2]
    held = edge.weights()[:, : len(NAMES)]
    # One session passes between decision and fill: a day's drift may lie outside.
    assert np.abs(held[2:] - 1 / len(NAMES)).max() < 0.02 + 0.01
    traded = np.flatnonzero(centre.turnover[2:] > 0) + 2
    assert traded.size
    gap = np.abs(centre.weights()[traded, : len(NAMES)] - 1 / len(NAMES)).max()
    assert gap < 0.01  # back at the target but for that day


def test_a_trigger_waits_for_the_loss_and_aims_below(panel):
    made = settings(rebalance="stress-triggered:0.8")
    (rule,) = named_rules(("hold-cash",), BOOK, made, 0.06, panel)
    assert isinstance(rule, StressTriggered)
    assert rule.limit == 0.06 and rule.strategy.limit == pytest.approx(0.048)
    (result,) = walk((rule,), panel, made)
    said = " ".join(result.decisions_frame()["message"])
    outcomes = set(result.decisions_frame()["outcome"])
    assert "NO_TRADE" in outcomes, said
    assert len(result.decisions) == result.dates.size  # asked every session


def test_no_trade_regions_carry_the_costs(panel):
    made = settings(rebalance="no-trade:2")
    (rule,) = named_rules(("min-variance",), BOOK, made, 0.06, panel)
    assert isinstance(rule, NoTradeRegion)
    assert rule.risk_aversion == 2.0 and rule.half_spread_bps == 5.0
    (held,) = named_rules(("hold",), BOOK, made, 0.06, panel)
    assert held.name == "hold"  # nothing to wait for
    few = run(panel, "equal", rebalance="no-trade:2")[0]
    assert few.turnover.sum() < run(panel, "equal", schedule="daily")[0].turnover.sum()


def test_options_of_the_walk_reach_the_backtest(panel):
    same = run(panel, "equal", fill="same_close")[0]
    assert "same-bar fills" in same.stamps
    assert same.value[0] < 1e6  # costs are paid on the first date already
    said = walk_options(settings(rebalance="weekly", max_borrowing=0.5))
    assert said["schedule"] == "weekly" and said["max_borrowing"] == 0.5
    with pytest.raises(DataError, match="volume"):
        run(panel, "equal", max_participation=0.1)
    flat = Costs(impact=1.0, flat_impact_bps={"default": 20.0}, half_spread_bps=5.0)
    dear = run(panel, "equal", costs=flat)[0]
    assert dear.costs.sum() == pytest.approx(
        5.0 * run(panel, "equal")[0].costs.sum(), rel=0.01
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drift-band:0.02", Rebalance("drift-band", 0.02, "edge")),
        ("drift-band:0.02, center", Rebalance("drift-band", 0.02, "centre")),
        ("no-trade", Rebalance("no-trade", 3.0)),
        ("no-trade:5", Rebalance("no-trade", 5.0)),
        ("stress-triggered", Rebalance("stress-triggered", 0.9)),
        ("quarterly", Rebalance("quarterly")),
    ],
)
def test_rebalancing_as_text(text, expected):
    assert parse_rebalance(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "drift-band",
        "drift-band:",
        "drift-band:-0.1",
        "drift-band:nan",
        "drift-band:2",
        "drift-band:0.1,middle",
        "drift-band:0.1,edge,edge",
        "no-trade:0",
        "no-trade:inf",
        "stress-triggered:1.5",
        "stress-triggered:0.9,edge",
        "monthly:3",
        "sometimes",
    ],
)
def test_text_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match="when to rebalance"):
        parse_rebalance(text)


def test_two_calendars_are_refused_and_conditions_are_asked_daily():
    assert schedule_of(parse_rebalance("no-trade"), None) == "daily"
    assert schedule_of(parse_rebalance("no-trade"), "weekly") == "weekly"
    with pytest.raises(UsageError, match="two calendars"):
        schedule_of(parse_rebalance("weekly"), "monthly")


def test_bad_names_and_parameters_are_refused(panel):
    for name in ("holds", "equal:PG", "hold-swap:"):
        with pytest.raises(UsageError, match="unknown strategy"):
            rulebook.build(name, book=BOOK, panel=panel, settings=settings())
    with pytest.raises(UsageError, match="does not exist"):
        rulebook.build("equal", book=BOOK, panel=panel, settings=settings(), limit=0.1)
    with pytest.raises(DataError, match="Start the walk-forward later"):
        rulebook.build("hold", book={"XYZ": 1.0}, panel=panel, settings=settings())
    band = DriftBand(
        rulebook.build("equal", book=BOOK, panel=panel, settings=settings())
    )
    two = (CheapModelShock(), CheapModelShock("jevons"))
    with pytest.raises(UsageError, match="measures one shock"):
        rebalanced(band, parse_rebalance("stress-triggered"), 0.1, two)


def test_a_book_that_cannot_start_whole_says_so():
    """GEV is listed in March 2024: three of a hundred go to the other holdings."""
    panel = load_panel("reference", ["NVDA", "JPM", "GEV"], start="2022-01-03")
    book = {"NVDA": 0.5, "JPM": 0.47, "GEV": 0.03}
    early = Settings(start="2024-06-03", window=120, hindsight_parameters=True)
    [said] = rulebook.left_out(book, panel, early)
    assert "GEV (3.0%)" in said and "2024-06-03" in said and "NVDA" not in said
    late = replace(early, start="2025-01-02")
    assert rulebook.left_out(book, panel, late) == ()
    compared = named_rules(("hold",), book, early, 0.5, panel)
    [stamped] = walk(compared, panel, replace(early, end="2024-06-28"), book=book)
    assert said in stamped.stamps
    [plain] = walk(compared, panel, replace(early, end="2024-06-28"))
    assert plain.stamps == tuple(s for s in stamped.stamps if s != said)
