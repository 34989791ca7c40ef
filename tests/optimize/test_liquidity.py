"""Trades within a share of what trades a day, known before the decision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proposal_cases import FREE, book, random_set

from engine import Constraints, InfeasibleError, PricePanel, Universe, propose
from engine.errors import DataError, UsageError
from engine.optimize.liquidity import average_daily_value

W0 = np.array([0.3, 0.3, 0.2, 0.2, 0.0, 0.0, 0.0])
VALUE = 1e6


def panel(volume=None, T=30, n=6, prices=None, **columns):
    start = np.datetime64("2024-12-02")
    dates = np.arange(start, start + 200)
    dates = dates[np.is_busday(dates)][:T]
    universe = Universe(
        tuple(f"A{i}" for i in range(n)),
        **({"quote_currency": ("USD",) * n} | columns),
    )
    return PricePanel(
        dates=dates,
        prices=np.full((T, n), 10.0) if prices is None else prices,
        universe=universe,
        price_basis="split_adjusted",
        base_currency="USD",
        volume=volume,
    )


def equal_weight(market, w0=W0, value=VALUE, **limits):
    options = {"cash": (0.0, 1.0), "minimum_trade": 0.0, "liquidity": 0.1} | limits
    held = book(w0, value)
    if market is not None:
        held = held.priced(market)
    return propose(
        held,
        random_set(asset_class=("equity",) * 5 + ("etf_bond", "cash")),
        Constraints(**options),
        FREE,
        benchmark={f"A{i}": 1 / 6 for i in range(6)},
        active_risk_aversion=1000.0,
        market=market,
    )


def traded(proposal):
    out = dict.fromkeys(proposal.labels, 0.0)
    return out | {t.ticker: abs(t.value) for t in proposal.trades}


def test_each_trade_stays_within_its_share_of_the_average_day():
    daily = np.array([4e5, 4e5, 1e6, 1e6, 5e5, 3e4])  # shares
    got = equal_weight(panel(np.tile(daily, (30, 1))))
    size = traded(got)
    for i, shares in enumerate(daily):
        assert size[f"A{i}"] <= 0.1 * shares * 10.0 * (1 + 1e-6)
    assert size["A5"] == pytest.approx(0.1 * 3e4 * 10.0, rel=1e-4)
    check = next(c for c in got.limits if c.name == "liquidity")
    assert check.satisfied and check.after == pytest.approx(check.limit, rel=1e-4)
    assert check.note == "tightest: A5" and check.price is not None
    free = equal_weight(panel(np.full((30, 6), 1e9)))
    np.testing.assert_allclose(free.target[:6], 1 / 6, atol=1e-3)


def test_the_average_is_of_the_last_sessions_and_their_prices():
    rng = np.random.default_rng(0)
    volume = rng.uniform(1e3, 1e5, (40, 6))
    prices = rng.uniform(5, 50, (40, 6))
    volume[-3:, 1] = np.nan
    volume[-5, 2] = 0.0
    got = average_daily_value(panel(volume, T=40, prices=prices))
    expected = np.nanmean((volume * prices)[-21:], axis=0)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_fewer_than_half_of_the_sessions_is_no_volume():
    volume = np.full((30, 6), 1e5)
    volume[:-10, 0] = np.nan  # ten of the last 21
    volume[:-11, 1] = np.nan  # eleven
    got = average_daily_value(panel(volume))
    assert np.isnan(got[0]) and got[1] == pytest.approx(1e6)
    assert np.isnan(average_daily_value(panel())).all()


def test_what_comes_after_the_decision_changes_nothing():
    rng = np.random.default_rng(1)
    volume = rng.uniform(1e3, 1e5, (40, 6))
    later = volume.copy()
    later[30:] *= 1e-6
    whole, changed = panel(volume, T=40), panel(later, T=40)
    t = whole.dates[29]
    first = average_daily_value(whole.as_of(t))
    np.testing.assert_array_equal(first, average_daily_value(changed.as_of(t)))
    np.testing.assert_allclose(first, 10.0 * volume[9:30].mean(axis=0))


def test_an_asset_without_volume_is_sold_but_not_bought_and_named():
    volume = np.full((30, 6), 1e6)
    volume[:, [0, 4]] = np.nan
    got = equal_weight(panel(volume))
    size = {t.ticker: t.value for t in got.trades}
    assert "A4" not in size and size["A0"] < 0
    assert any(
        w.startswith("NO VOLUME: A0, A4 may be sold but not bought")
        for w in got.warnings
    )


def test_a_stated_daily_value_allows_it():
    volume = np.full((30, 6), 1e6)
    volume[:, [4, 5]] = np.nan
    by_ticker = equal_weight(panel(volume), daily_value={"A4": 2e5})
    assert traded(by_ticker)["A4"] == pytest.approx(2e4, rel=1e-4)
    assert traded(by_ticker)["A5"] == 0.0
    by_class = equal_weight(
        panel(volume), daily_value={"asset_class:etf_bond": 3e5, "default": 1e5}
    )
    assert traded(by_class)["A5"] == pytest.approx(3e4, rel=1e-4)
    assert traded(by_class)["A4"] == pytest.approx(1e4, rel=1e-4)
    # What is stated goes before what is shown, a default does not.
    stated = equal_weight(panel(volume), daily_value={"A0": 1e5, "default": 1e5})
    assert traded(stated)["A0"] == pytest.approx(1e4, rel=1e-4)
    assert traded(stated)["A2"] < 1e5
    assert not [w for w in by_class.warnings if w.startswith("NO VOLUME")]


def test_no_volume_at_all_is_an_error_and_stated_values_do_without_a_market():
    with pytest.raises(DataError, match="liquidity limit without any volume"):
        equal_weight(panel())
    with pytest.raises(DataError, match="received no market"):
        equal_weight(None)
    got = equal_weight(None, daily_value={"default": 1e5})
    assert max(v for k, v in traded(got).items() if k[0] == "A") <= 1e4 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"liquidity": -0.1}, "liquidity must not be negative"),
        ({"liquidity": float("nan")}, "liquidity must not be negative"),
        ({"daily_value": {"A0": -1.0}}, "daily_value of A0 must not be negative"),
        ({"daily_value": {"A9": 1.0}}, "unknown label; received 'A9'"),
    ],
)
def test_bad_liquidity(limits, words):
    with pytest.raises(UsageError, match=words):
        equal_weight(panel(np.full((30, 6), 1e6)), **limits)


def test_too_little_liquidity_for_a_bound_is_a_conflict():
    volume = np.full((30, 6), 1e3)
    with pytest.raises(InfeasibleError) as caught:
        equal_weight(panel(volume), upper={"A0": 0.1})
    assert set(caught.value.conflict) == {"liquidity", "upper bounds"}


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    share=st.floats(0.01, 1.0),
    scale=st.floats(1e3, 1e6),
    seed=st.integers(0, 100),
)
def test_doubling_the_share_is_doubling_the_volume(share, scale, seed):
    volume = np.random.default_rng(seed).uniform(0.2, 1.0, (30, 6)) * scale
    one = equal_weight(panel(volume), liquidity=share)
    two = equal_weight(panel(2 * volume), liquidity=share / 2)
    np.testing.assert_allclose(one.target, two.target, atol=1e-5)
    limits = share * average_daily_value(panel(volume))
    for i in range(6):
        assert traded(one)[f"A{i}"] <= limits[i] + 1e-6 * VALUE
