"""Stress at every date: the numbers of `engine.stress` then, and nothing of later."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests import _stress_history, backtest, stress_history
from engine import CheapModelShock, fit, load_panel, simulate, stress
from engine._stress import _one
from engine.errors import DataError, LookAheadError, UsageError
from engine.shocks import conditional, entropy_pool
from engine.shocks._book_severity import BookSeverity, supported
from strategies import EqualWeight
from strategies.estimation import eligible

NAMES = ("NVDA", "AVGO", "ANET", "VST", "JPM", "PG", "EFA", "TLT", "QQQ", "SPY")
BOOK = {"NVDA": 0.3, "VST": 0.1, "JPM": 0.1, "QQQ": 0.3, "TLT": 0.1, "CASH:USD": 0.1}
DATES = ("2024-06-03", "2025-01-24", "2025-01-28", "2025-03-03")
SHOCKS = [
    CheapModelShock(),
    *(CheapModelShock(lens=x, name=x) for x in ("worst", "propagated")),
    CheapModelShock("substitution", variant="flat", name="flat"),
    CheapModelShock(horizon="persistent", name="persistent"),
    CheapModelShock(market_move=-0.02, name="with the market"),
    conditional({"ai_basket": -0.15}),
    entropy_pool("mean(NVDA) <= -0.02"),
]
OPTIONS = {"window": 252, "n_scenarios": 600, "hindsight_parameters": True}


@pytest.fixture(scope="module")
def panel():
    """Companies and funds of the reference market, all roles known from the start."""
    panel = load_panel("reference").between("2023-03-01", "2025-06-30")
    companies = [
        t
        for t, kind in zip(panel.tickers, panel.universe.asset_class, strict=True)
        if kind == "equity"
    ][:40]
    panel = panel.select(dict.fromkeys([*NAMES, *companies]))
    known = np.full(len(panel.universe), np.datetime64("2015-01-01"))
    return replace(panel, universe=replace(panel.universe, role_known_from=known))


@pytest.fixture(scope="module")
def history(panel):
    return stress_history(BOOK, panel, SHOCKS, dates=DATES, **OPTIONS)


def test_numbers_are_those_of_fit_simulate_and_stress_at_the_date(panel, history):
    assert history.outcome == ("done",) * 4
    for d in (0, 2):
        view = panel.as_of(DATES[d], hindsight_parameters=True)
        model = fit(view, tickers=eligible(view, None, window=252), window=252)
        report = stress(BOOK, simulate(model, 600), SHOCKS, hindsight_parameters=True)
        expected = [[r.loss, r.severe, *r.band, r.base_share] for r in report.results]
        found = [getattr(history, n)[d] for n in _stress_history.PER_SHOCK]
        np.testing.assert_allclose(
            np.transpose(found), expected, rtol=1e-10, atol=1e-12
        )
        for name in _stress_history.PER_DATE[:3]:
            assert getattr(history, name)[d] == pytest.approx(
                getattr(report, name), rel=1e-12
            )


@settings(deadline=None, derandomize=True, max_examples=15)
@given(seed=st.integers(0, 10**6), held=st.integers(1, 12), which=st.integers(0, 4))
def test_any_book_loses_what_stress_says(panel, seed, held, which):
    rng = np.random.default_rng(seed)
    view = panel.as_of("2025-01-24", hindsight_parameters=True)
    model = fit(view, tickers=NAMES + panel.tickers[10:20], window=252)
    scenarios = simulate(model, 64)
    weights = np.zeros(len(scenarios.assets))
    chosen = rng.choice(weights.size, held, replace=False)
    weights[chosen] = rng.normal(0.1, 0.3, held)
    shock = SHOCKS[which]
    made = BookSeverity(shock).losses(
        scenarios.universe, model, weights, scenarios.leg_mean("base")
    )
    truth = _one(shock, scenarios, weights, scenarios.losses(weights))
    np.testing.assert_allclose(made.by_asset, truth.by_asset, rtol=0, atol=1e-14)
    assert np.quantile(made.severe, 0.9, method="inverted_cdf") == pytest.approx(
        truth.severe, abs=1e-13
    )
    assert np.quantile(made.draws, 0.95) == pytest.approx(truth.band[1], abs=1e-13)


def test_kinds_that_depend_on_more_than_the_table_take_the_general_way():
    assert [supported(s) for s in SHOCKS] == [True] * 5 + [False] * 3
    assert not supported(CheapModelShock(relief_kept=0.5))


def test_funds_may_be_estimated_once_a_month_from_what_was_known(panel, history):
    days = ["2025-01-27", "2025-01-28", "2025-02-03"]
    options = {**OPTIONS, "refit_funds": "monthly"}
    got = stress_history(BOOK, panel, SHOCKS[:2], dates=days, **options)
    daily = stress_history(BOOK, panel, SHOCKS[:2], dates=days, **OPTIONS)
    # 3 February opens its month: the estimate is its own.
    assert got.loss[2].tobytes() == daily.loss[2].tobytes()
    assert (got.loss[:2] != daily.loss[:2]).any(axis=1).all()
    np.testing.assert_allclose(got.loss, daily.loss, atol=0.01)
    # It is that of 2 January, whatever came after, and whichever dates are asked.
    later = panel.dates > np.datetime64("2025-01-27")
    prices = np.array(panel.prices)
    prices[later] *= 1.3
    other = replace(panel, prices=prices, content_hash="")
    same = stress_history(BOOK, other, SHOCKS[:2], dates=days[:1], **options)
    assert same.severe[0].tobytes() == got.severe[0].tobytes()


def test_the_theme_is_what_the_book_holds_of_it(history):
    """NVDA and VST are infrastructure, and QQQ holds some; TLT and cash do not."""
    assert (history.theme_weight > 0.4).all() and (history.theme_weight < 0.7).all()
    assert (history.unknown_weight >= 0).all()
    assert (history.theme_beta > 0).all()
    frame = history.to_frame()
    assert frame.loc["2025-01-24", "loss:worst"] == history.loss[1, 1]
    assert frame["outcome"].tolist() == ["done"] * 4


def test_another_future_changes_no_earlier_number(panel, history):
    rng = np.random.default_rng(3)
    later = panel.dates > np.datetime64("2025-01-28")
    prices = np.array(panel.prices)
    prices[later] *= np.exp(rng.normal(0, 0.3, prices[later].shape))
    changed = replace(panel, prices=prices, content_hash="")
    other = stress_history(BOOK, changed, SHOCKS, dates=DATES, **OPTIONS)
    for name in (*_stress_history.PER_SHOCK, *_stress_history.PER_DATE):
        a, b = getattr(history, name), getattr(other, name)
        assert a[:3].tobytes() == b[:3].tobytes(), name
    assert (history.expected_shortfall[3] != other.expected_shortfall[3]).all()
    cut = panel.between(None, "2025-01-28")
    short = stress_history(BOOK, cut, SHOCKS, dates=DATES[:3], **OPTIONS)
    assert short.severe.tobytes() == history.severe[:3].tobytes()


def test_a_date_does_not_depend_on_the_others_or_on_the_workers(
    panel, history, monkeypatch
):
    monkeypatch.setattr(_stress_history, "_CHUNK", 1)
    other = stress_history(
        BOOK, panel, SHOCKS, dates=DATES, executor="threads", n_jobs=2, **OPTIONS
    )
    assert other.to_frame().equals(history.to_frame())


@pytest.mark.slow
def test_processes_give_the_same_bits(panel, history, monkeypatch):
    monkeypatch.setattr(_stress_history, "_CHUNK", 2)
    other = stress_history(
        BOOK, panel, SHOCKS, dates=DATES, executor="processes", n_jobs=2, **OPTIONS
    )
    assert other.to_frame().equals(history.to_frame())


def test_finished_dates_are_read_and_damaged_ones_made_again(
    panel, monkeypatch, tmp_path
):
    monkeypatch.setattr(_stress_history, "_CHUNK", 2)
    settings = {**OPTIONS, "dates": DATES, "out": tmp_path}
    told = []
    first = stress_history(
        BOOK, panel, SHOCKS[0], progress=lambda *a: told.append(a), **settings
    )
    assert told == [(2, 4, DATES[1]), (4, 4, DATES[3])]
    files = sorted(tmp_path.glob("dates-*.json"))
    assert len(files) == 2

    made = []
    real = _stress_history._record
    monkeypatch.setattr(
        _stress_history,
        "_record",
        lambda *a: made.append(a[3]) or real(*a),
    )
    again = stress_history(BOOK, panel, SHOCKS[0], **settings)
    assert not made and again.to_frame().equals(first.to_frame())
    files[0].write_text(json.dumps([{}])[:-2])
    again = stress_history(BOOK, panel, SHOCKS[0], **settings)
    assert len(made) == 2 and again.to_frame().equals(first.to_frame())
    # Another book, another seed: nothing of the old one is read.
    stress_history(BOOK, panel, SHOCKS[0], seed=1, **settings)
    assert len(made) == 6


def test_a_table_of_weights_counts_from_its_dates(panel, history):
    rows = pd.DataFrame(
        [{**dict.fromkeys(BOOK, 0.0), "CASH:USD": 1.0}, BOOK],
        index=pd.to_datetime(["2024-06-01", "2025-01-25"]),
    )
    got = stress_history(rows, panel, SHOCKS[:2], dates=DATES, **OPTIONS)
    # All cash: it earns its rate whatever happens.
    earned = np.broadcast_to(-got.expected_shortfall[:2, None], (2, 2))
    np.testing.assert_allclose(got.loss[:2], -earned, rtol=1e-9)
    assert (got.loss[:2] < 0).all()
    np.testing.assert_array_equal(got.loss[2:], history.loss[2:, :2])
    with pytest.raises(DataError, match="no weights yet"):
        stress_history(rows.iloc[1:], panel, SHOCKS[0], dates=DATES, **OPTIONS)


def test_the_book_of_a_backtest_is_stressed_as_it_was_held(panel):
    result = backtest(EqualWeight(NAMES), panel, start="2025-01-02", end="2025-02-28")
    got = stress_history(result, panel, SHOCKS[0], dates=["2025-02-28"], **OPTIONS)
    held = dict(zip((*result.labels, "CASH:USD"), result.weights()[-1], strict=True))
    same = stress_history(held, panel, SHOCKS[0], dates=["2025-02-28"], **OPTIONS)
    assert got.loss[0, 0] == same.loss[0, 0] > 0


def test_a_date_without_numbers_says_why_and_the_others_have_theirs(panel):
    prices = np.array(panel.prices)
    prices[:200, panel.index("PG")] = np.nan
    young = replace(panel, prices=prices, content_hash="")
    book = {"PG": 0.5, "CASH:USD": 0.5}
    got = stress_history(book, young, SHOCKS[0], dates=DATES, **OPTIONS)
    assert "PG" in got.outcome[0] and got.outcome[3] == "done"
    assert np.isnan(got.loss[0, 0]) and np.isfinite(got.loss[3, 0])
    with pytest.raises(DataError, match=r"no date has numbers.*PG"):
        stress_history(book, young, SHOCKS[0], dates=DATES[:1], **OPTIONS)


def test_hindsight_is_refused_or_stamped(panel, history):
    honest = {**OPTIONS, "hindsight_parameters": False}
    with pytest.raises(LookAheadError, match="not known at the first date"):
        stress_history(BOOK, panel, SHOCKS[0], dates=DATES, **honest)
    with pytest.raises(LookAheadError, match="has no date"):
        stress_history(BOOK, panel, SHOCKS[6], dates=DATES[3:], **honest)
    later = stress_history(BOOK, panel, SHOCKS[0], dates=DATES[3:], **honest)
    assert not any("HINDSIGHT" in s for s in later.stamps)
    used = [s for s in history.stamps if "multipliers known" in s]
    assert len(used) == 1 and used[0].endswith("as of 2024-06-03.")
    assert any("SYNTHETIC" in s for s in history.stamps)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights": {"NVDA": 0.5}}, DataError, "do not sum to one"),
        ({"weights": {"NVDA": np.nan}}, DataError, "not finite.*NVDA"),
        ({"weights": {"NVDA": "much"}}, DataError, "no number"),
        ({"weights": {"OLD": 1.0}}, DataError, "no asset of the panel.*OLD"),
        ({"weights": [0.5, 0.5]}, UsageError, "of a kind"),
        ({"weights": pd.DataFrame({"NVDA": []})}, DataError, "dates of weights"),
        ({"shocks": []}, UsageError, "no shock"),
        ({"shocks": [SHOCKS[0], SHOCKS[0]]}, UsageError, "one name"),
        ({"dates": ["2025-01-25"]}, DataError, "not a session.*2025-01-25"),
        ({"dates": ["2025-01-24", "2025-01-23"]}, DataError, "increase"),
        ({"dates": []}, DataError, "increase"),
        ({"dates": None, "window": 5000}, DataError, "full estimation window"),
        ({"window": 2.5}, UsageError, "whole number"),
        ({"covariance": "best"}, UsageError, "best"),
        ({"funds": "guessed"}, UsageError, "guessed"),
        ({"n_scenarios": 0}, UsageError, "at least one scenario"),
        ({"refit_funds": "hourly"}, UsageError, "unknown schedule"),
        ({"n_jobs": 0}, UsageError, "n_jobs"),
    ],
)
def test_bad_input_is_refused(panel, change, error, words):
    asked = {"weights": BOOK, "shocks": SHOCKS[0], "dates": DATES, **OPTIONS, **change}
    weights, shocks = asked.pop("weights"), asked.pop("shocks")
    with pytest.raises(error, match=words):
        stress_history(weights, panel, shocks, **asked)
