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
