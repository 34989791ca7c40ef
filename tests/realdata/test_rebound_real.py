"""The rebound after 27 January 2025, measured again from prices."""

import numpy as np
import pandas as pd
import pytest

from engine.data.exposures import read_exposures
from engine.data.roles import INFRASTRUCTURE
from engine.shocks.rebound import _POOLED, REBOUND

EVENT, LATER = "2025-01-27", "2025-09-22"


@pytest.fixture(scope="module")
def moved(real_data):
    """Log moves from 24 January to the event and later, of those that moved by 2%."""
    prices = pd.read_parquet(real_data / "prices_us_listed.parquet")
    prices.index = pd.to_datetime(prices.index)
    i = int(prices.index.get_loc(EVENT))
    rows = []
    for row in read_exposures().to_dict("records"):
        ticker = row["ticker"]
        if ticker not in prices.columns:
            continue
        path = np.log(prices[ticker] / prices[ticker].iloc[i - 1])
        values = path.iloc[[i, i + 1, i + 21]].tolist()
        rows.append((row["role"], *values, path[LATER]))
    frame = pd.DataFrame(rows, columns=["role", "event", "next_day", "month", "later"])
    assert str(prices.index[i + 21].date()) == "2025-02-26"
    return frame[frame["event"].abs() > 0.02].dropna()


def test_fractions_by_role_are_those_of_the_table(moved):
    for role, table in REBOUND.items():
        group = moved[moved["role"] == role]
        if table is _POOLED:
            continue
        assert len(group) == table.companies, role
        for name in ("next_day", "month"):
            recovered = (1 - group[name] / group["event"]).median()
            assert recovered == pytest.approx(getattr(table, name), abs=6e-4), role


def test_all_sellers_together(moved):
    sellers = moved[moved["role"].isin(INFRASTRUCTURE)]
    assert len(sellers) == 85
    for name in ("next_day", "month"):
        recovered = (1 - sellers[name] / sellers["event"]).median()
        assert recovered == pytest.approx(getattr(_POOLED, name), abs=6e-4)
    assert (sellers["later"] > 0).mean() == pytest.approx(0.85, abs=0.01)
