"""Real prices around 27 January 2025: nothing here was tuned to the day."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import (
    CheapModelShock,
    Constraints,
    Costs,
    DataError,
    LookAheadError,
    Outcome,
    Portfolio,
    StressCap,
    fit,
    load_panel,
    propose,
    simulate,
    stress,
)

BOOK = Path(__file__).parents[2] / "backtests" / "studies" / "us_ai_book.csv"
CANDIDATES = (
    "AAPL", "CRM", "JPM", "JNJ", "PG", "WMT", "XOM", "TSM", "ASML", "SAP", "NVO",
    "EFA", "EWJ", "EWT", "XLV", "TLT", "GLD", "SPY",
)  # fmt: skip
FRIDAY, MONDAY = "2025-01-24", "2025-01-27"


@pytest.fixture(scope="module")
def book():
    return Portfolio.read(BOOK, value=1_000_000.0)


@pytest.fixture(scope="module")
def us(real_data, book):
    return load_panel(
        real_data / "prices_us_listed.parquet",
        [*book.assets, *CANDIDATES],
        "2022-06-01",
        "2025-02-28",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
    )


@pytest.fixture(scope="module")
def asia(real_data):
    return load_panel(
        [
            real_data / "prices_us_listed.parquet",
            real_data / "prices_asia_local.parquet",
        ],
        ["NVDA", "BABA", "9988.HK", "0700.HK"],
        "2024-12-02",
        "2025-02-14",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
        fx=real_data / "fx_usd_per_unit.csv.gz",
    )


def move(panel, ticker, first=FRIDAY, last=MONDAY):
    frame = panel.to_frame()[ticker]
    return 100 * (frame[last] / frame[first] - 1)


@pytest.mark.parametrize(
    ("ticker", "published"),
    [
        ("NVDA", -16.97),
        ("AVGO", -17.40),
        ("TSM", -13.33),
        ("ORCL", -13.79),
        ("MSFT", -2.14),
        ("GOOGL", -4.20),
        ("META", 1.91),
        ("AAPL", 3.18),
        ("VST", -28.27),
        ("ANET", -22.35),
        ("CIEN", -21.04),
        ("COHR", -18.95),
        ("ETN", -15.56),
        ("SPY", -1.42),
    ],
)
def test_the_day_as_published(us, ticker, published):
    assert move(us, ticker) == pytest.approx(published, abs=0.06)


def test_labels_come_from_the_metadata(us):
    roles = dict(zip(us.tickers, us.universe.role, strict=True))
    assert roles["NVDA"] == "accelerator" and roles["VST"] == "power_gen"
    assert roles["ORCL"] == "lab_backer" and roles["JNJ"] == "none"
    assert roles["EFA"] == roles["EWT"] == roles["SPY"] == "unknown"
    assert us.universe.is_structural_zero()[us.index("TLT")]
    assert set(us.universe.quote_currency) == {"USD"}
    assert set(us.universe.venue) == {"NYSE"}
    assert not us.synthetic


def test_the_whole_file_loads(real_data):
    panel = load_panel(
        real_data / "prices_us_listed.parquet",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
    )
    assert panel.prices.shape == (2514, 459)
    assert panel.universe.role.count("unknown") < 459 * 0.5
    late = panel.status()[:, panel.index("ARM")]
    assert (
        late[: np.searchsorted(panel.dates, np.datetime64("2023-09-14"))] == 3
    ).all()


def test_csv_and_parquet_of_the_same_prices_agree(real_data, us):
    names = ["NVDA", "MSFT", "SPY"]
    core = load_panel(
        real_data / "prices_core.csv.gz",
        names,
        us.dates[0],
        us.dates[-1],
        price_basis="total_return",
        currency="USD",
    )
    np.testing.assert_allclose(core.prices, us.select(names).prices, rtol=1e-6)


# Stress and proposal ----------------------------------------------------------


@pytest.fixture(scope="module")
def friday(us, book):
    view = us.as_of(FRIDAY, hindsight_parameters=True)
    priced = book.priced(view)
    model = fit(view, window=504)
    return view, priced, simulate(model, 4000, seed=0)


SHOCKS = [CheapModelShock(p) for p in ("market_view", "substitution", "jevons")]


def test_the_realised_loss_of_the_book(us, book):
    weights = dict(zip(book.labels, book.weights, strict=True))
    loss = -sum(w * move(us, t) for t, w in weights.items() if t != "CASH:USD")
    assert loss == pytest.approx(12.9, abs=0.1)


def test_stress_of_the_book_on_the_friday_before(friday):
    _, priced, scenarios = friday
    report = stress(priced, scenarios, SHOCKS)
    assert [r.name.split(":")[1] for r in report.results] == [
        "market_view",
        "substitution",
        "jevons",
    ]
    view = report["market_view"]
    assert view.band[0] < view.loss < view.band[1]
    assert 0 < view.loss < view.severe
    assert report["substitution"].loss > view.loss > 0 > report["jevons"].loss
    assert any("HINDSIGHT" in s for s in report.stamps)
    for r in report.results:
        assert r.by_asset.sum() == pytest.approx(r.loss, abs=1e-12)
    roles = report.by("role", "market_view")
    assert next(iter(roles)) in ("accelerator", "network", "power_gen")
    assert view.distance > 3


def test_without_hindsight_the_shock_is_refused(us, book):
    view = us.as_of(FRIDAY)
    scenarios = simulate(fit(view, window=504), 200)
    with pytest.raises(LookAheadError, match=r"2025-01-24.*known from 2025-01-27"):
        stress(book.priced(view), scenarios, SHOCKS)


def test_no_price_after_the_friday_matters(us, book, friday):
    cut = us.between(end=FRIDAY)
    view = cut.as_of(FRIDAY, hindsight_parameters=True)
    model = fit(view, window=504)
    np.testing.assert_array_equal(
        model.dense_covariance(), friday[2].model.dense_covariance()
    )
    np.testing.assert_array_equal(book.priced(view).money, friday[1].money)


def test_a_proposal_brings_the_severe_loss_to_the_limit(friday, us):
    view, priced, scenarios = friday
    before = stress(priced, scenarios, SHOCKS[0]).results[0].severe
    limit = 0.5 * before
    proposal = propose(
        priced,
        scenarios,
        Constraints(upper=0.14, stress_caps=StressCap(SHOCKS[0], limit)),
        Costs(),
        market=view,
    )
    assert proposal.outcome is Outcome.OPTIMAL
    after = stress(proposal.weights, scenarios, SHOCKS[0]).results[0].severe
    assert after == pytest.approx(limit, abs=5e-5)
    assert after <= limit + 1e-6
    assert proposal.target.max() <= 0.14 + 1e-6
    cash = proposal.weights["CASH:USD"]
    assert abs(cash - 0.03) <= 0.01 + 1e-6
    assert all(t.reason for t in proposal.trades)
    realised = -sum(
        w * move(us, t) / 100 for t, w in proposal.weights.items() if t != "CASH:USD"
    )
    assert realised < 0.129


# Several markets --------------------------------------------------------------


def test_taiwan_has_no_exchange_rate(real_data):
    options = {
        "universe": real_data / "metadata.csv",
        "price_basis": "total_return",
    }
    source = real_data / "prices_asia_local.parquet"
    with pytest.raises(
        DataError, match="no exchange rate from TWD to USD; at asset 23"
    ):
        load_panel(source, ["2330.TW"], **options)
    with pytest.raises(
        DataError, match="no exchange rate from TWD to USD; at asset 23"
    ):
        load_panel(
            source, ["2330.TW"], fx=real_data / "fx_usd_per_unit.csv.gz", **options
        )
    local = load_panel(source, ["2330.TW"], base_currency="TWD", **options)
    assert local.base_currency == "TWD"
    assert move(local, "2330.TW", "2025-01-22", "2025-02-03") == pytest.approx(
        -5.73, abs=0.01
    )


def test_hong_kong_is_converted_at_the_fixing(asia, real_data):
    rates = pd.read_csv(real_data / "fx_usd_per_unit.csv.gz", index_col="date")
    day = np.searchsorted(asia.dates, np.datetime64(FRIDAY))
    i = asia.index("0700.HK")
    expected = asia.prices[day, i] * rates.loc[FRIDAY, "HKD"]
    assert asia.base_prices()[day, i] == pytest.approx(expected, rel=1e-12)
    assert move(asia, "9988.HK") == pytest.approx(2.95, abs=0.05)
    assert move(asia, "0700.HK") == pytest.approx(1.28, abs=0.05)


def last_seen(view, ticker):
    column = view.panel.prices[:, view.panel.index(ticker)]
    return str(view.panel.dates[np.flatnonzero(np.isfinite(column))[-1]])


@pytest.mark.parametrize(
    ("time", "new_york", "hong_kong"),
    [
        ("2025-01-27T08:00", "2025-01-24", "2025-01-24"),
        ("2025-01-27T08:10", "2025-01-24", "2025-01-27"),
        ("2025-01-27T20:59", "2025-01-24", "2025-01-27"),
        ("2025-01-27T21:00", "2025-01-27", "2025-01-27"),
        ("2025-01-27", "2025-01-27", "2025-01-27"),
        ("2025-01-31", "2025-01-31", "2025-01-28"),
    ],
)
def test_who_has_closed_on_the_monday(asia, time, new_york, hong_kong):
    view = asia.as_of(time)
    assert last_seen(view, "NVDA") == new_york
    assert last_seen(view, "0700.HK") == hong_kong


def test_the_lunar_holiday_is_a_holiday(asia):
    status = asia.status()
    days = [np.searchsorted(asia.dates, np.datetime64(d)) for d in
            ("2025-01-29", "2025-01-30", "2025-01-31")]  # fmt: skip
    assert (status[days][:, [asia.index("9988.HK"), asia.index("0700.HK")]] == 1).all()
    assert (status[days][:, asia.index("NVDA")] == 0).all()
    assert asia.as_of("2025-01-31").tradable().all()
