"""The embedded reference market: seeded, calendars kept, planted day as documented."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.data import reference_fit
from engine.data._reference import (
    DEFAULT_SEED,
    SYNTHETIC_LABEL,
    reference_frames,
    reference_source,
)
from engine.data.reference_resemblance import log_returns, main, resemblance

# Close of 27 January 2025 over 24 January, percent, as published and as in Yahoo
# Finance adjusted closes.
DOCUMENTED = {
    "NVDA": -16.97,
    "AVGO": -17.40,
    "MRVL": -19.10,
    "AMD": -6.37,
    "MU": -11.71,
    "TSM": -13.33,
    "UMC": 0.18,
    "ASML": -5.75,
    "AMAT": -6.52,
    "ANET": -22.35,
    "CIEN": -21.04,
    "SMCI": -12.62,
    "DELL": -8.70,
    "VRT": -29.88,
    "GEV": -21.52,
    "ETN": -15.56,
    "VST": -28.27,
    "CEG": -20.85,
    "NRG": -13.24,
    "TLN": -21.59,
    "ORCL": -13.79,
    "MSFT": -2.14,
    "GOOGL": -4.20,
    "AMZN": 0.24,
    "META": 1.91,
    "AAPL": 3.18,
    "TSLA": -2.32,
    "CRM": 3.96,
    "NOW": 1.39,
    "PLTR": -4.48,
    "DUK": 2.51,
    "D": 4.21,
    "EQIX": -4.33,
    "BABA": 0.95,
    "SPY": -1.41,
    "EWT": -5.61,
    "EWY": -2.42,
}
# Local reactions by date (Taipei was shut until 3 February, Hong Kong traded on 27 and
# for half of 28 January), and the New York rebound.
LATER = {
    ("0700.HK", "2025-01-27"): 1.28,
    ("9988.HK", "2025-01-27"): 2.95,
    ("0700.HK", "2025-01-28"): 1.62,
    ("9988.HK", "2025-01-28"): 1.26,
    ("2330.TW", "2025-02-03"): -5.73,
    ("NVDA", "2025-01-28"): 8.93,
    ("VST", "2025-01-28"): 9.16,
    ("SMH", "2025-01-28"): 1.97,
}
REAL_DATA = Path(
    os.environ.get(
        "BALLAST_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"
    )
)
REAL_FILES = [
    REAL_DATA / "prices_us_listed.parquet",
    REAL_DATA / "prices_asia_local.parquet",
]
needs_real_data = pytest.mark.skipif(
    not all(path.exists() for path in REAL_FILES),
    reason=f"no real prices under {REAL_DATA}; set BALLAST_REAL_DATA to their folder",
)


@pytest.fixture(scope="module")
def frames():
    return reference_frames()


@pytest.fixture(scope="module")
def without_event():
    return reference_frames(event_day=False)


@pytest.fixture(scope="module")
def parameters():
    path = resources.files("engine.data") / "reference_parameters.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def seeds(frames):
    return [frames.prices, *(reference_frames(s).prices for s in range(1, 7))]


@pytest.fixture(scope="module")
def returns(seeds):
    return [log_returns(prices) for prices in seeds]


def percent_change(prices, ticker):
    return 100.0 * prices[ticker].dropna().pct_change()


def square_autocorrelation(r, lag):
    x = r.dropna().to_numpy() ** 2
    x = x - x.mean()
    return (x[lag:] * x[:-lag]).sum() / (x * x).sum()


def test_same_seed_same_bits(frames):
    again = reference_frames(DEFAULT_SEED)
    for one, other in zip(frames, again, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_caller_cannot_change_the_next_callers_market(frames):
    spoilt = reference_frames()
    spoilt.prices.iloc[:] = 0.0
    spoilt.metadata["name"] = "spoilt"
    again = reference_frames()
    pd.testing.assert_frame_equal(again.prices, frames.prices)
    pd.testing.assert_frame_equal(again.metadata, frames.metadata)


def test_seeds_move_paths_but_not_calendars_or_the_event(frames):
    other = reference_frames(DEFAULT_SEED + 1)
    assert (frames.prices.isna() == other.prices.isna()).all(axis=None)
    assert not np.allclose(frames.prices["SPY"].dropna(), other.prices["SPY"].dropna())
    nvda = percent_change(other.prices, "NVDA")
    assert nvda["2025-01-27"] == pytest.approx(DOCUMENTED["NVDA"], abs=0.006)
    pd.testing.assert_frame_equal(frames.rates, other.rates)


def test_levels_on_the_last_day(frames):
    # recorded when the parameters were last fitted; a change here means that the
    # stream or the parameters changed, and every demo figure with them
    golden = {
        "SPY": 146.379,
        "NVDA": 65.8589,
        "TLT": 85.8392,
        "2330.TW": 165.418,
        "9988.HK": 38.7341,
    }
    last = frames.prices.loc["2025-12-31"]
    for ticker, level in golden.items():
        assert last[ticker] == pytest.approx(level, rel=2e-6)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        reference_frames(-1)


@pytest.mark.parametrize("ticker", DOCUMENTED)
def test_event_day_moves_as_documented(frames, ticker):
    change = percent_change(frames.prices, ticker)["2025-01-27"]
    assert change == pytest.approx(DOCUMENTED[ticker], abs=0.0075)


@pytest.mark.parametrize(("ticker", "date"), LATER)
def test_reactions_fall_on_each_venues_own_date(frames, ticker, date):
    change = percent_change(frames.prices, ticker)[date]
    assert change == pytest.approx(LATER[ticker, date], abs=0.0075)


def test_venues_are_shut_when_they_were(frames):
    p = frames.prices
    assert (
        p.loc["2025-01-23":"2025-01-31", ["2330.TW", "0050.TW"]].isna().all(axis=None)
    )
    assert (
        p.loc["2025-01-29":"2025-01-31", ["0700.HK", "9988.HK"]].isna().all(axis=None)
    )
    assert p.loc["2025-01-27":"2025-01-28", ["0700.HK", "NVDA"]].notna().all(axis=None)
    assert p.loc["2025-01-20", ["SPY", "NVDA"]].isna().all()  # Martin Luther King
    assert p.loc["2025-01-20", ["2330.TW", "0700.HK"]].notna().all()


def test_a_venue_has_one_calendar_from_listing_on(frames):
    facts = frames.metadata.set_index("ticker")
    anchors = {"NYSE": "SPY", "TWSE": "2330.TW", "HKEX": "0700.HK"}
    for ticker in frames.prices:
        listed = facts.loc[ticker, "first_date"]
        venue = frames.prices[anchors[facts.loc[ticker, "calendar"]]].loc[listed:]
        own = frames.prices[ticker]
        assert (own.loc[listed:].notna() == venue.notna()).all(), ticker
        assert own[own.index < listed].isna().all(), ticker


def test_without_the_event_all_other_returns_are_the_same(
    frames, without_event, parameters
):
    planted = parameters["event"]["moves"]
    calendar = frames.metadata.set_index("ticker")["calendar"]
    changed = 0
    for ticker in frames.prices:
        a = log_returns(frames.prices[[ticker]])[ticker].dropna()
        b = log_returns(without_event.prices[[ticker]])[ticker].dropna()
        days = pd.DatetimeIndex(list(planted[calendar[ticker]]))
        gap = (a - b).abs()
        # two prices rounded to six digits move a return by at most 1e-5
        assert gap.drop(days).max() < 1.1e-5 * 2, ticker
        changed += int((gap[days] > 1e-4).all())
    assert changed > 100
    pd.testing.assert_frame_equal(frames.rates, without_event.rates)
    fx = np.log(frames.fx).diff() - np.log(without_event.fx).diff()
    days = pd.DatetimeIndex(list(planted["FX"]))
    assert fx.drop(days).abs().max(axis=None) < 2.2e-5
    assert (fx.loc[days, "JPY"].abs() > 1e-4).all()


def test_without_the_event_the_day_is_an_ordinary_draw(without_event, parameters):
    day = log_returns(without_event.prices).loc["2025-01-27"]
    sd = pd.Series(
        parameters["assets"]["volatility"], index=without_event.prices.columns
    )
    assert (day / sd).abs().median() < 2.5


def test_frames_are_complete_and_labelled(frames):
    prices, fx, rates, metadata = frames
    assert (prices.min() > 0).all()
    assert prices.index.name == "date" and prices.index.tz is None
    assert prices.index.equals(fx.index) and prices.index.equals(rates.index)
    assert prices.notna().any(axis=1).all()
    assert list(prices.columns) == list(metadata["ticker"])
    assert not fx.isna().any(axis=None) and (fx > 0).all(axis=None)
    assert not rates.isna().any(axis=None)
    assert {"USD", "EUR", "JPY", "HKD", "TWD"} <= set(rates.columns)
    assert set(metadata["quote_currency"]) - {"USD"} <= set(fx.columns)
    exposures = set(metadata["exposure_currency"]) - {"USD", "MULTI"}
    assert exposures <= set(fx.columns)
    assert all(frame.attrs["source"] == SYNTHETIC_LABEL for frame in frames)
    assert "SYNTHETIC" in SYNTHETIC_LABEL
    assert 90 <= len(metadata) <= 130


def test_six_significant_digits(frames):
    values = frames.prices["NVDA"].dropna().to_numpy()
    assert all(float(f"{v:.6g}") == v for v in values)


def test_source_names_origin_and_judgement_but_no_place():
    source = reference_source()
    assert (
        "Yahoo Finance" in source["text"] and "European Central Bank" in source["text"]
    )
    assert all(len(digest) == 64 for digest in source["sha256"].values())
    assert "TWD" in source["judgement"]["derived_currencies"]
    path = resources.files("engine.data") / "reference_parameters.json"
    text = path.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert "/home" not in text and "/work" not in text


def test_pegs_stay_in_their_bands():
    for seed in (1, 2, 3):
        fx = reference_frames(seed).fx
        assert (1 / fx["HKD"]).between(7.749, 7.851).all()
        assert (fx["EUR"] / fx["DKK"]).between(7.42, 7.50).all()


def test_volatility_is_the_fitted_one(returns, frames, parameters):
    fitted = pd.Series(parameters["assets"]["volatility"], index=frames.prices.columns)
    first = frames.metadata.set_index("ticker")["first_date"]
    whole = first == first.min()
    for R in returns:
        off = (R.std() / fitted - 1.0).abs()
        assert off.median() < 0.03
        assert off[whole].max() < 0.20
        # young listings live through one stretch of the common regime only
        assert off.max() < 0.75


def test_tails_are_fatter_than_their_innovations(returns, parameters):
    nu = parameters["factors"]["dynamics"][0][3]
    # a Student-t has 6 / (nu - 4); clustering must add to it
    assert np.median([R["SPY"].kurt() for R in returns]) > 2.0 * 6.0 / (nu - 4.0)
    assert 4.0 < np.median([R.kurt().median() for R in returns]) < 20.0


def test_volatility_clusters_and_fades(returns, parameters):
    alpha, gamma, beta, _, _ = parameters["factors"]["dynamics"][0]
    assert 0.9 < alpha + gamma / 2 + beta < 1.0
    noise = 1.0 / np.sqrt(len(returns[0]))
    by_lag = [
        np.median([square_autocorrelation(R["SPY"], lag) for R in returns])
        for lag in (1, 5, 20)
    ]
    assert by_lag[0] > 5 * noise
    assert by_lag[0] > by_lag[1] > by_lag[2] > 0.5 * noise


def test_asia_hears_new_york_a_day_late(returns):
    for ticker in ("2330.TW", "0050.TW"):
        same = [R[ticker].corr(R["SPY"]) for R in returns]
        lagged = [R[ticker].corr(R["SPY"].ffill().shift(1)) for R in returns]
        assert np.median(lagged) > np.median(same) + 0.1


def test_no_boom_is_planted(parameters):
    premium = dict(
        zip(
            [row[0] for row in parameters["metadata"]["rows"]],
            parameters["assets"]["premium_pa"],
            strict=True,
        )
    )
    assert premium["SPY"] == pytest.approx(0.05, abs=0.002)
    basket = np.mean([premium[t] for t in parameters["basket"]])
    assert 0.08 < basket < 0.13  # beta 1.45 times 5%, and 3% for the theme
    assert max(premium.values()) < 0.20
    assert abs(premium["BIL"]) < 0.001


def test_import_is_light():
    code = (
        "import sys, engine.data._reference as r; r.reference_frames();"
        "bad = {'scipy', 'numba', 'cvxpy'} & set(sys.modules); assert not bad, bad"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_resemblance_of_a_panel_with_itself(frames):
    few = frames.prices[["SPY", "NVDA", "MU", "TSM", "JPM", "TLT", "EWJ", "2330.TW"]]
    table = resemblance(few, few, frames.metadata)
    assert table["difference"].abs().max() == 0.0
    wanted = {"volatility", "excess kurtosis", "AI basket", "AI-basket beta"}
    assert wanted <= set(table["statistic"])
    with pytest.raises(ValueError, match="market"):
        resemblance(few.drop(columns="SPY"), few, frames.metadata)


@pytest.mark.parametrize("local", [["2330.TW", "0050.TW"], []])
def test_fit_recovers_a_panel_it_has_not_seen(frames, tmp_path, local):
    tickers = "SPY NVDA AVGO AMD JPM KO XLF TLT IEF UUP GLD EFA VGK EWG".split() + local
    frames.prices[tickers].to_csv(tmp_path / "prices.csv")
    frames.metadata.to_csv(tmp_path / "metadata.csv", index=False)
    frames.fx[["EUR", "JPY", "KRW"]].to_csv(tmp_path / "fx.csv")
    (100.0 * frames.rates[["USD"]]).to_csv(tmp_path / "rates.csv")
    files = {
        f"--{name}": str(tmp_path / f"{name}.csv")
        for name in ("prices", "metadata", "fx", "rates")
    }
    given = [x for pair in files.items() for x in pair]
    out = tmp_path / "out.json"
    status = reference_fit.main([*given, "--tickers", *tickers, "--out", str(out)])
    assert status == 0
    fitted = json.loads(out.read_text())
    block = fitted["anchor_block"]
    B = np.array(block["loadings"])
    at = {t: i for i, t in enumerate(block["tickers"])}
    R = log_returns(frames.prices[tickers].drop(pd.to_datetime(["2025-01-27"])))
    for a, b in (("SPY", "NVDA"), ("SPY", "JPM"), ("TLT", "IEF"), ("EFA", "VGK")):
        assert B[at[a]] @ B[at[b]] == pytest.approx(R[a].corr(R[b]), abs=0.06)
    assert reference_fit.main([*given, "--tickers", "NONE", "--out", str(out)]) == 2


@needs_real_data
def test_resembles_the_real_panel(frames, seeds, capsys):
    real = pd.concat([pd.read_parquet(path) for path in REAL_FILES], axis=1, sort=True)
    table = resemblance(real, frames.prices, frames.metadata, others=seeds[1:])
    table = table.set_index(["statistic", "group"])

    volatility = table.loc["volatility of"]
    assert ((volatility["ratio"] - 1.0).abs() < 0.10).mean() > 0.93
    for block in ("correlation, ai_theme", "correlation, region"):
        gap = table.loc[block, "difference"].abs()
        assert gap.mean() < 0.03 and gap.quantile(0.9) < 0.06
    basket = table.loc["AI basket"]
    assert basket["difference"].abs().max() < 0.1
    beta = table.loc["AI-basket beta", "difference"].abs()
    # left out: two names listed in 2022 and 2024, and a single name
    assert beta.drop(["neocloud_hpc", "ai_adjacent"]).max() < 0.15
    kurtosis = table.loc["excess kurtosis"]
    assert 0.4 < kurtosis.loc["all, median", "ratio"] < 2.0
    assert ((kurtosis["ratio"] > 0.2) & (kurtosis["ratio"] < 5.0)).all()
    for lag in (1, 5, 20):
        name = f"autocorrelation of squares, lag {lag}"
        assert abs(table.loc[(name, "all, median"), "difference"]) < 0.08

    files = [str(path) for path in REAL_FILES]
    assert main(["--prices", *files, "--seeds", "1"]) == 0
    assert SYNTHETIC_LABEL in capsys.readouterr().out


def test_written_out_prices_keep_saying_that_they_are_synthetic(tmp_path, capsys):
    from backtests.cli import run
    from engine import load_panel

    target = tmp_path / "prices.csv"
    status = run(["data", "--tickers", "NVDA,SPY", "--out", str(target)])
    assert status == 0 and "SYNTHETIC" in capsys.readouterr().out
    assert not target.exists()
    written = tmp_path / "synthetic_prices.csv"
    again = load_panel(written, price_basis="total_return", currency="USD")
    assert again.synthetic
    original = load_panel("reference", ["NVDA", "SPY"])
    assert np.array_equal(again.prices, original.prices)


def test_the_reference_market_says_that_it_is_synthetic_and_others_do_not():
    from engine import load_panel

    panel = load_panel("reference", ["NVDA", "SPY"], "2025-01-02", "2025-02-03")
    assert panel.synthetic
    assert "SYNTHETIC" in repr(panel) and "SYNTHETIC" in panel.source
    assert np.isfinite(panel.cash_rate()[-1])
    real = pd.DataFrame({"date": ["2025-01-02", "2025-01-03"], "AAA": [1.0, 2.0]})
    assert not load_panel(real, price_basis="raw", currency="USD").synthetic
