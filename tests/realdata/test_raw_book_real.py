"""Real corporate actions in the ledger: raw prices against adjusted ones."""

import numpy as np
import pytest

from backtests import backtest
from engine import Costs, align, fit, load_panel
from engine.data.adjust import convert
from strategies import Hold

NAMES = ["NVDA", "AAPL", "AVGO", "XOM"]
PRINTED = 118.42  # NVDA's close of 27 January 2025, as printed that day


@pytest.fixture(scope="module")
def adjusted(real_data):
    return load_panel(
        real_data / "prices_us_listed.parquet",
        NAMES,
        start="2018-01-02",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
        actions=real_data / "corporate_actions.csv.gz",
        dividend_basis="split_adjusted",
    )


def test_closes_as_traded_come_back_within_the_dividends_paid_since(adjusted):
    raw = convert(adjusted, "raw")
    row = int(np.searchsorted(raw.dates, np.datetime64("2025-01-27")))
    close = raw.prices[row, raw.index("NVDA")]
    assert close == pytest.approx(PRINTED, rel=2e-3)
    # Before its two splits since, one NVDA share was forty of today's.
    early = raw.prices[0, raw.index("NVDA")] / adjusted.prices[0, raw.index("NVDA")]
    assert early == pytest.approx(40.0, rel=0.03)


def test_a_held_share_earns_its_total_return_when_dividends_are_added(adjusted):
    raw = convert(adjusted, "raw")
    for name in NAMES:
        r = backtest(
            Hold({name: 1.0}),
            raw,
            schedule="once",
            start="2018-01-02",
            costs=Costs(half_spread_bps=0),
            initial_value=1e6,
        )
        column = adjusted.prices[:, adjusted.index(name)]
        total = column[-1] / column[1]
        shares, price = r.units[:, r.labels.index(name)], raw.prices[:, raw.index(name)]
        by_hand = 1e6 - shares[1] * price[1]
        held = np.concatenate([[0.0], shares[:-1]])
        # Without reinvestment the value is shares times price plus what was paid.
        paid = r.dividends.sum()
        expected = by_hand + shares[-1] * price[-1] + paid
        in_lieu = sum(-f.value for f in r.fills if f.status == "cash in lieu")
        assert r.value[-1] == pytest.approx(expected + in_lieu, rel=1e-9)
        assert paid > 0 and held[1] == 0
        # Kept as cash, dividends of a rising share earn less than reinvested ones.
        split = raw.prices[-1, raw.index(name)] * shares[-1] / (shares[1] * price[1])
        assert split * 0.999 < r.value[-1] / 1e6 <= total * 1.001


def test_models_and_aligned_returns_are_the_same_from_either_basis(adjusted):
    raw = convert(adjusted, "raw")
    one, two = (fit(p, window=504) for p in (raw, adjusted))
    np.testing.assert_allclose(
        one.dense_covariance(), two.dense_covariance(), rtol=1e-7
    )
    a, b = align(raw).values, align(adjusted).values
    np.testing.assert_allclose(a, b, atol=1e-9)
