"""Views share memory with their panel; calendar overrides and memberships hold."""

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import PricePanel, Universe, align, load_panel
from engine.data import _images
from engine.data._images import image
from engine.data.membership import Membership
from engine.errors import DataError, LookAheadError
from strategies import EqualWeight, MinimumVariance
from strategies.shock_aware import ShockAware

MOMENT = "2024-06-28T12:00"  # Tokyo has closed, New York has not


def two_venues(T=1500, N=120, seed=0, **options):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range(end="2024-07-05", periods=T).to_numpy()
    return PricePanel(
        dates=dates.astype("datetime64[D]"),
        prices=rng.uniform(50, 150, (T, N)),
        universe=Universe(
            tuple(f"A{i}" for i in range(N)),
            venue=("NYSE", "TSE") * (N // 2),
            quote_currency=("USD",) * N,
        ),
        price_basis="total_return",
        base_currency="USD",
        **options,
    )


def private_kilobytes():
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1])
    raise AssertionError("no such line")


def test_a_view_between_closes_hides_exactly_the_later_venue():
    panel = two_venues()
    view = panel.as_of(MOMENT)
    row = int(np.searchsorted(panel.dates, np.datetime64("2024-06-28")))
    assert view.panel.dates[-1] == panel.dates[row]
    np.testing.assert_array_equal(view.panel.prices[:row], panel.prices[:row])
    assert np.isnan(view.panel.prices[row, ::2]).all()
    np.testing.assert_array_equal(view.panel.prices[row, 1::2], panel.prices[row, 1::2])
    assert not view.panel.prices.flags.writeable
    assert np.isfinite(panel.prices).all()


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux memory counters"
)
def test_a_hundred_views_cost_a_few_pages_each():
    panel = two_venues()  # 1.4 MB of prices
    first = panel.as_of(MOMENT)
    gc.collect()
    before = private_kilobytes()
    views = [panel.as_of(MOMENT) for _ in range(100)]
    total = sum(float(v.panel.prices[:, 1].sum()) for v in views)
    grown = private_kilobytes() - before
    assert total == pytest.approx(100 * float(first.panel.prices[:, 1].sum()))
    copies = 100 * panel.prices.nbytes / 1024
    assert grown < 0.1 * copies


def test_an_image_is_private_and_survives_its_source():
    source = np.arange(400_000.0).reshape(1000, 400)
    source.setflags(write=False)
    one, two = image(source, 900), image(source[:950], 900)
    one[899] = -1.0
    np.testing.assert_array_equal(two, source[:900])
    assert one[899, 0] == -1.0 and len(_images._files) >= 1
    files = len(_images._files)
    kept = two.copy()
    del source
    gc.collect()
    assert len(_images._files) == files - 1
    np.testing.assert_array_equal(two, kept)


def test_where_nothing_can_be_mapped_an_image_is_a_copy(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no space")

    source = np.arange(400_000.0).reshape(1000, 400)
    source.setflags(write=False)
    monkeypatch.setattr(_images, "_write", refuse)
    copy = image(source, 10)
    assert not np.shares_memory(copy, source)
    np.testing.assert_array_equal(copy, source[:10])


def test_a_late_closure_hides_a_price_until_the_day_is_over():
    closed = [("2024-06-28", "NYSE", "early_close", "13:00", "test")]
    plain, told = two_venues(), two_venues(overrides=closed)
    moment = "2024-06-28T18:00"  # regular close at 20:00 UTC, early close at 17:00
    assert np.isnan(plain.as_of(moment).panel.prices[-1, 0])
    assert np.isfinite(told.as_of(moment).panel.prices[-1, 0])
    late = two_venues(overrides=[("2024-06-28", "TSE", "open", "17:00")])
    night = "2024-06-28T07:00"  # Tokyo's regular close was at 06:00 UTC
    assert plain.as_of(night).date == np.datetime64("2024-06-28")
    assert late.as_of(night).date == np.datetime64("2024-06-27")
    assert plain.content_hash != told.content_hash
    with pytest.raises(DataError, match="closing time"):
        two_venues(overrides=[("2024-06-28", "TSE", "early_close", "")])


def test_alignment_takes_the_closures_of_the_panel():
    told = two_venues(T=30, overrides=[("2024-06-28", "TSE", "closed")])
    by_panel, by_hand = (
        align(told),
        align(two_venues(T=30), overrides=[("2024-06-28", "TSE", "closed")]),
    )
    np.testing.assert_array_equal(by_panel.values, by_hand.values)
    assert by_panel.shut.sum() > align(two_venues(T=30)).shut.sum()


# Membership -------------------------------------------------------------------


def listed(T=140, seed=3):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2023-01-02", periods=T).to_numpy().astype("datetime64[D]")
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.015, (T, 4)), axis=0))
    frame = pd.DataFrame(prices, columns=list("ABCD"))
    frame.insert(0, "date", dates)
    members = pd.DataFrame(
        {
            "ticker": ["A", "B", "C", "D"],
            "start": ["2020-01-01", "2020-01-01", str(dates[100]), str(dates[5])],
            "end": [str(dates[90]), "", "", ""],
        }
    )
    return load_panel(
        frame, price_basis="total_return", currency="USD", membership=members
    )


def test_a_view_shows_the_members_of_its_day():
    panel = listed()
    early, late = panel.as_of(panel.dates[80]), panel.as_of(panel.dates[120])
    assert early.members().tolist() == [True, True, False, True]
    assert late.members().tolist() == [False, True, True, True]
    assert early.ever_members().tolist() == [True, True, False, True]
    assert late.ever_members().all()
    # The exit of A and the entry of C were not known yet.
    assert np.isnat(early.panel.membership.end).all()
    assert "C" not in early.panel.membership.ticker


@pytest.mark.parametrize(
    "rule",
    [
        EqualWeight(),
        MinimumVariance(window=60, upper=0.6),
        ShockAware({"A": 0.4, "B": 0.4, "D": 0.2}, limit=0.5, window=60, upper=0.6),
    ],
    ids=lambda r: r.name,
)
def test_strategies_buy_members_and_sell_what_has_left(rule):
    from backtests import assert_no_lookahead, backtest

    panel = listed()
    result = backtest(
        rule,
        panel,
        start=panel.dates[70],
        schedule="monthly",
        hindsight_parameters=True,
    )
    weights = dict(zip(result.labels, result.weights()[:, :-1].T, strict=True))
    on = {name: w > 1e-6 for name, w in weights.items()}
    assert on["A"][10] and not on["A"][-1]
    assert not on["C"][:30].any()
    assert_no_lookahead(
        rule, panel, dates=[panel.dates[85], panel.dates[95]], hindsight_parameters=True
    )


def test_a_strategy_that_keeps_the_whole_membership_is_caught():
    from backtests import assert_no_lookahead
    from engine.proposal import Proposal

    class Peeks:
        name = "peeks"

        def __init__(self, panel):
            self.leaves = set(panel.membership.ticker) - {
                t
                for t, end in zip(
                    panel.membership.ticker, panel.membership.end, strict=True
                )
                if np.isnat(end)
            }

        def estimate(self, view):
            return None

        def propose(self, view, portfolio, estimate=None):
            keep = [t for t in "ABD" if t not in self.leaves]
            return Proposal.from_weights(portfolio, {t: 1 / len(keep) for t in keep})

    panel = listed()
    with pytest.raises(LookAheadError):
        assert_no_lookahead(Peeks, panel, dates=[panel.dates[85]])


def test_an_empty_membership_is_nobody_not_everybody():
    panel = listed()
    nobody = Membership((), np.empty(0, "datetime64[D]"), np.empty(0, "datetime64[D]"))
    loaded = load_panel(
        panel.to_frame(), price_basis="total_return", currency="USD", membership=nobody
    )
    assert not loaded.as_of(loaded.dates[-1]).members().any()
