"""Real prices in Hong Kong dollars and euros, seen from New York."""

import numpy as np
import pandas as pd
import pytest

from engine import DataError, Portfolio, load_panel
from engine.data.money import cash_growth, decompose, hedged_returns, reconcile


@pytest.fixture(scope="module")
def market(real_data):
    rates = pd.read_csv(real_data / "rates_vol_factors.csv.gz")
    return load_panel(
        [
            real_data / "prices_us_listed.parquet",
            real_data / "prices_asia_local.parquet",
            real_data / "index_levels.csv.gz",
        ],
        ["SPY", "0700.HK", "DAX", "N225"],
        "2023-01-03",
        "2025-02-28",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
        fx=real_data / "fx_usd_per_unit.csv.gz",
        cash_rates=pd.DataFrame(
            {"date": rates["date"], "USD": rates["IRX_13W_TBILL_PCT"] / 100}
        ),
    )


def test_tencent_in_dollars_is_local_times_the_hong_kong_dollar(market, real_data):
    parts = decompose(market)
    prices = pd.read_parquet(real_data / "prices_asia_local.parquet")["0700.HK"]
    prices.index = pd.to_datetime(prices.index)
    fx = pd.read_csv(
        real_data / "fx_usd_per_unit.csv.gz", index_col="date", parse_dates=True
    )["HKD"].dropna()
    prices = prices.dropna()["2023-01-03":"2025-02-28"]
    value = prices * fx.reindex(prices.index, method="ffill")
    got = pd.Series(parts.base[:, 1], parts.dates).dropna()
    want = value.pct_change().dropna()
    pd.testing.assert_index_equal(
        got.index.astype(want.index.dtype), want.index, check_names=False
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
    hkd = parts.currency[:, 1]
    assert np.nanstd(hkd) < 0.001 < np.nanstd(parts.local[:, 1])  # pegged


def test_growth_over_the_whole_range_telescopes(market):
    for name, code in (("DAX", "EUR"), ("N225", "JPY"), ("0700.HK", "HKD")):
        i = market.index(name)
        own = np.flatnonzero(np.isfinite(market.prices[:, i]))
        fx = market.fx_rate(code)[own]
        prices = market.prices[own, i]
        got = np.nanprod(1 + decompose(market).base[:, i])
        assert got == pytest.approx(
            prices[-1] * fx[-1] / (prices[0] * fx[0]), rel=1e-11
        )


def test_without_foreign_rates_the_hedge_is_refused_and_given_them_works(
    market, real_data
):
    with pytest.raises(DataError, match="no cash rate for EUR: hedging EUR is refused"):
        hedged_returns(market, ratio={"EUR": 1.0})
    assert cash_growth(market, "USD")[-1] == pytest.approx(1.11, abs=0.01)
    plain = hedged_returns(market, ratio=0.0, sessions=5)
    assert np.isfinite(plain.values[5:, 0]).all()


def test_a_real_book_reconciles(market):
    held = Portfolio.read(
        pd.DataFrame(
            {
                "ticker": ["SPY", "0700.HK", "CASH:EUR", "CASH:JPY"],
                "shares": [1234.0, 45_600.0, 98_765.43, -1_000_000.0],
            }
        )
    )
    table = reconcile(held, market)
    assert round(table["value"].sum(), 2) == round(held.priced(market).value, 2)
    bad = Portfolio.read(pd.DataFrame({"ticker": ["CASH:TWD"], "shares": [1e6]}))
    with pytest.raises(DataError, match=r"from TWD to USD; at asset CASH:TWD.*fx="):
        reconcile(bad, market)


def test_the_real_past_does_not_depend_on_what_follows(market):
    day = "2025-01-24"
    whole, early = decompose(market), decompose(market.between(end=day))
    n = early.dates.size
    np.testing.assert_array_equal(whole.base[:n], early.base)
    five = decompose(market, sessions=5, start="2025-01-20", end=day)
    np.testing.assert_array_equal(
        five.base, decompose(market, sessions=5).base[n - five.dates.size : n]
    )
    seen = decompose(market.as_of(day)).base
    np.testing.assert_array_equal(seen, early.base)
