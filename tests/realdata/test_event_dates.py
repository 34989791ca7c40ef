"""Facts of the event carry their own dates: when each venue could first react.

SoftBank over two Tokyo closes, SK hynix on 31 January, TSMC in Taipei on 3 February:
the first sessions after the news that the calendars know are the dates of the facts.
"""

import numpy as np
import pandas as pd
import pytest

from engine.data.calendars import sessions

NEWS = np.datetime64("2025-01-25")  # the weekend of the news
FACTS = {
    "9984.T": ("TSE", ["2025-01-27", "2025-01-28"]),
    "000660.KS": ("KRX", ["2025-01-31"]),
    "2330.TW": ("TWSE", ["2025-02-03"]),
}


@pytest.mark.parametrize(
    ("ticker", "venue", "dates"), [(k, *v) for k, v in FACTS.items()]
)
def test_rows_are_dated_by_the_venues_own_sessions(real_data, ticker, venue, dates):
    facts = pd.read_csv(real_data / "event_facts.csv")
    near = facts["event_date"].between("2025-01-25", "2025-02-04")
    rows = facts[near & (facts["ticker"] == ticker)]
    assert rows["event_date"].tolist() == dates
    assert (rows["return_pct"] < 0).all()
    open_days = sessions(venue, NEWS, np.datetime64("2025-02-04")).dates
    assert open_days[: len(dates)].astype(str).tolist() == dates


def test_no_session_in_seoul_or_taipei_on_the_day():
    day = np.datetime64("2025-01-27")
    for venue in ("KRX", "TWSE"):
        assert day not in sessions(venue, day - 3, day + 3).dates
    for venue in ("TSE", "HKEX", "NYSE", "XETRA"):
        assert day in sessions(venue, day - 3, day + 3).dates


def test_the_local_tsmc_series_agrees_with_its_fact(real_data):
    from engine import event_returns, load_panel

    fx = pd.DataFrame({"date": ["2025-01-02", "2025-02-04"], "TWD": [0.0304, 0.0304]})
    panel = load_panel(
        real_data / "prices_asia_local.parquet",
        ["2330.TW"],
        start="2024-12-02",
        end="2025-02-04",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
        fx=_daily(fx),
    )
    event = event_returns(panel, "2025-01-27")
    facts = pd.read_csv(real_data / "event_facts.csv")
    fact = facts[(facts["ticker"] == "2330.TW") & (facts["event_date"] == "2025-02-03")]
    assert event.values[0] * 100 == pytest.approx(fact["return_pct"].iloc[0], abs=0.01)
    assert str(event.end_date[0]) == "2025-02-03"


def _daily(fx):
    days = pd.date_range("2024-11-25", "2025-02-04", freq="D")
    return pd.DataFrame({"date": days, "TWD": fx["TWD"].iloc[0]})


def test_the_realised_loss_of_a_book_waits_for_each_market(real_data):
    from backtests.job import Settings, prepare, realised_loss
    from engine import Portfolio, load_panel, stress
    from engine.shocks import CheapModelShock

    held = ["NVDA", "2330.TW", "0700.HK", "EWT"]
    rates = pd.read_csv(real_data / "fx_usd_per_unit.csv.gz")
    panel = load_panel(
        [real_data / f"prices_{n}.parquet" for n in ("us_listed", "asia_local")],
        held,
        start="2023-01-03",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
        fx=rates[["date", "HKD"]].assign(TWD=0.0304),
    )
    book = Portfolio.from_weights(dict.fromkeys(held, 0.25), 1e6, "USD")
    settings = Settings(
        as_of="2025-01-24", window=250, n_scenarios=200, hindsight_parameters=True
    )
    _, priced, scenarios = prepare(book, panel, settings)
    found = realised_loss(stress(priced, scenarios, [CheapModelShock()]), panel)
    assert found.by_asset["2330.TW"] == pytest.approx(-0.0573, abs=1e-4)
    assert found.by_asset["EWT"] == pytest.approx(-0.0561, abs=1e-4)
    assert "2330.TW on 2025-02-03" in found.note and "0700.HK on 2025-01-28" in (
        found.note
    )
    assert "NVDA on" not in found.note
    assert found.book_loss == pytest.approx(
        -sum(0.25 * found.by_asset[a] for a in held), abs=2e-3
    )
