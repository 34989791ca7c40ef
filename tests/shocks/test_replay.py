"""Replay: own history by information time, then figures, betas, roles and sectors."""

import pickle

import numpy as np
import pandas as pd
import pytest

from engine import (
    DataError,
    LookAheadError,
    ModelError,
    ReturnModel,
    Universe,
    UsageError,
    event_returns,
    load_panel,
    simulate,
    stress,
)
from engine.shocks import library, replay

DAYS = pd.to_datetime(
    ["2025-01-21", "2025-01-22", "2025-01-23", "2025-01-24", "2025-01-27",
     "2025-01-28", "2025-01-29", "2025-01-30", "2025-01-31", "2025-02-03", "2025-02-04"]
)  # fmt: skip
LABELS = pd.DataFrame(
    {
        "ticker": ["ONE", "TWO", "TRI", "SPY", "JP", "KR", "TW", "NEW"],
        "asset_class": ["equity"] * 3 + ["etf_equity"] + ["equity"] * 4,
        "venue": ["NYSE"] * 4 + ["TSE", "KRX", "TWSE", "NYSE"],
        "quote_currency": ["USD"] * 8,
        "sector": ["Information Technology"] * 8,
        "role": ["network", "network", "memory", "", "semicap", "memory", "foundry",
                 "network"],
    }
)  # fmt: skip


def a_panel():
    nan = np.nan
    table = pd.DataFrame(
        {
            "date": DAYS.strftime("%Y-%m-%d"),
            "ONE": [100, 100, 100, 100, 80, 88, 88, 88, 88, 88, 88.0],
            "TWO": [100, 100, 100, 100, 90, 90, 90, 90, 90, 90, 90.0],
            "TRI": [100, 100, 100, 100, 95, 95, 95, 95, 95, 95, 95.0],
            "SPY": [100, 100, 100, 100, 98, 98, 98, 98, 98, 98, 98.0],
            "JP": [100, 100, 100, 100, 97, 90, 91, 91, 91, 91, 91.0],
            "KR": [100, 100, 100, 100, nan, nan, nan, nan, 85, 86, 86.0],
            "TW": [100, 100, nan, nan, nan, nan, nan, nan, nan, 94, 95.0],
            "NEW": [nan] * 6 + [10, 10, 10, 10, 10.0],
        }
    )
    return load_panel(table, universe=LABELS, price_basis="total_return")


def a_model(panel, as_of="2025-02-04"):
    n = len(panel.tickers)
    B = np.column_stack([np.linspace(0.008, 0.015, n), np.linspace(0.02, 0.0, n)])
    return ReturnModel(
        assets=panel.tickers,
        mean=np.zeros(n),
        covariance=B @ B.T + np.diag(np.full(n, 1e-4)),
        tail_dof=5.0,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="zero_excess",
        universe=panel.universe,
        base_currency="USD",
        as_of=np.datetime64(as_of),
    )


def test_own_history_by_information_time():
    panel = a_panel()
    shock = replay(("2025-01-27", "2025-01-27"), panel=panel)
    moves = shock.moves(panel.universe)
    got = dict(zip(moves.assets, moves.central, strict=True))
    want = {
        "ONE": -0.2,
        "TWO": -0.1,
        "SPY": -0.02,
        "JP": -0.1,
        "KR": -0.15,
        "TW": -0.06,
    }
    for ticker, value in want.items():
        assert got[ticker] == pytest.approx(value, abs=1e-12)
    basis = dict(zip(moves.assets, moves.basis, strict=True))
    assert "2025-01-24 to 2025-01-28, 2 local closes" in basis["JP"]
    assert "to 2025-01-31" in basis["KR"]
    assert "shut on 2025-01-27" in basis["KR"]
    assert "2025-01-22 to 2025-02-03" in basis["TW"]
    assert shock.known_from == np.datetime64("2025-02-04")
    # Median of the two network names, and their range in the draws.
    assert got["NEW"] == pytest.approx(np.sqrt(0.8 * 0.9) - 1)
    assert basis["NEW"].startswith("role median: network, 2 assets")
    new = moves.draws[:, moves.assets.index("NEW")]
    assert -0.2 - 1e-12 <= new.min() < -0.15 < new.max() <= -0.1 + 1e-12
    np.testing.assert_allclose(
        np.sum(list(moves.parts.values()), axis=0), np.log1p(moves.central)
    )
    facts = np.delete(moves.draws, moves.assets.index("NEW"), axis=1)
    np.testing.assert_allclose(facts, facts[:1].repeat(len(facts), axis=0))


def test_confound_is_told():
    panel = a_panel()
    moves = replay("deepseek-monday", panel=panel).moves(panel.universe)
    assert "tariff news" in moves.basis[moves.assets.index("TW")]


def test_factor_fit_by_hand():
    panel = a_panel()
    model = a_model(panel)
    moves = replay(("2025-01-27", "2025-01-27"), panel=panel).moves(
        panel.universe, model
    )
    i = panel.tickers.index("NEW")
    assert moves.basis[i].startswith("factor fit")
    C = model.dense_covariance()
    roles = ["ONE", "TWO", "TRI", "JP", "KR", "TW", "NEW"]
    b = np.isin(panel.tickers, roles) / len(roles)
    m = np.array([t == "SPY" for t in panel.tickers], float)
    F = np.column_stack([m, b - m])
    beta = np.linalg.solve(F.T @ C @ F, F.T @ C[:, i])
    own = np.array([-0.2, -0.1, -0.05, -0.1, -0.15, -0.06])
    R_m, R_a = np.log(0.98), np.log1p(own.mean())
    want = np.expm1(beta @ [R_m, R_a - R_m])
    assert moves.central[i] == pytest.approx(want, abs=1e-12)
    assert moves.draws[:, i].std() > 0.005


def test_cited_figures_without_prices():
    shock = replay("dot-com-2000")
    universe = Universe(
        ("CSCO", "NETX", "CASH:USD"),
        asset_class=("equity", "equity", "cash"),
        role=("network", "network", "none"),
    )
    moves = shock.moves(universe)
    assert moves.central[0] == pytest.approx(-0.893)
    assert moves.basis[0].startswith("cited figure")
    median = np.expm1(np.median(np.log1p([-0.893, -0.990, -0.984, -0.989])))
    assert moves.central[1] == pytest.approx(median)
    assert moves.central[2] == 0.0


def test_nothing_known_is_refused_not_zero():
    with pytest.raises(ModelError, match="WHAT"):
        replay("dot-com-2000").moves(Universe(("WHAT",)))


def test_a_shock_is_refused_before_it_was_known():
    panel = a_panel()
    shock = replay(("2025-01-27", "2025-01-27"), panel=panel)
    early = simulate(a_model(panel, "2025-02-03"), 500, horizon=1, seed=0)
    with pytest.raises(LookAheadError, match="2025-02-04"):
        stress({"ONE": 1.0}, early, shock)
    late = simulate(a_model(panel), 500, horizon=1, seed=0)
    report = stress({"ONE": 0.5, "KR": 0.5}, late, shock)
    assert report.results[0].loss == pytest.approx(0.175, abs=2e-3)


def test_a_view_before_the_episode_shows_no_return_of_it():
    view = a_panel().as_of("2025-01-24")
    shock = replay("deepseek-monday", panel=view)
    assert not shock.tickers
    assert shock.known_from == np.datetime64("2025-02-04")


@pytest.mark.parametrize("episode", ["deepseek-munday", "2025"])
def test_unknown_episode(episode):
    with pytest.raises(UsageError, match="deepseek-monday"):
        replay(episode)


def test_bad_windows():
    with pytest.raises(UsageError, match="needs prices"):
        replay(("2025-01-27", "2025-01-27"))
    with pytest.raises(DataError, match="do not cover"):
        replay(("2025-01-27", "2025-06-27"), panel=a_panel())
    with pytest.raises(DataError, match="no session"):
        replay(("2025-01-25", "2025-01-27"), panel=a_panel())


def test_library_is_consistent():
    found = library()
    assert {"ai", "market", "placebo"} == {e.kind for e in found.values()}
    assert found["carry-unwind-2024"].kind == "placebo"
    assert "deepseek-monday" in repr(found)
    assert len(found.to_frame()) == len(found)
    for episode in found.values():
        assert episode.start <= episode.end < episode.known_from
        assert episode.facts
        for fact in episode.facts:
            assert fact.source and fact.end < episode.known_from
            assert -1.0 < fact.value < 1.0
    shock = replay("q4-2018")
    again = pickle.loads(pickle.dumps(shock))
    assert again.facts == shock.facts


def test_the_figures_agree_with_real_prices(real_data):
    names = ["NVDA", "MSFT", "ORCL", "VST", "SPY", "AAPL", "TSM", "ANET"]
    panel = load_panel(
        real_data / "prices_us_listed.parquet",
        names,
        universe=real_data / "metadata.csv",
        price_basis="total_return",
    )
    for episode in library().values():
        if episode.name == "dot-com-2000":
            continue
        event = event_returns(panel, episode.start, episode.end)
        got = dict(zip(event.tickers, event.values, strict=True))
        for fact in episode.facts:
            if fact.ticker in got:
                assert got[fact.ticker] == pytest.approx(fact.value, abs=6e-5)
