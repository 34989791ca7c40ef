"""Who belonged to a list, and when; asked as of a date, no later change shows."""

import numpy as np
import pandas as pd
import pytest

from engine import DataError, Universe
from engine.data.membership import Membership

MEMBERS = Membership.from_frame(
    pd.DataFrame(
        {
            "ticker": ["A", "B", "A", "C"],
            "start": ["2020-01-01", "2020-01-01", "2022-01-01", "2023-06-01"],
            "end": ["2021-01-01", None, None, None],
        }
    ),
    name="index",
)


def test_members_on_a_date():
    assert MEMBERS.members("2019-12-31") == ()
    assert MEMBERS.members("2020-12-31") == ("A", "B")
    assert MEMBERS.members("2021-01-01") == ("B",)  # the end is the first day out
    assert MEMBERS.members("2023-06-01") == ("B", "A", "C")


def test_the_mask_agrees_with_the_members():
    dates = np.arange("2020-01-01", "2024-01-01", 37, dtype="datetime64[D]")
    tickers = ("C", "A", "X", "B")
    mask = MEMBERS.mask(dates, tickers)
    for t, day in enumerate(dates):
        assert {n for n, m in zip(tickers, mask[t], strict=True) if m} == set(
            MEMBERS.members(day)
        )


def test_membership_as_of_a_date_knows_no_later_change():
    then = MEMBERS.as_of("2020-06-01")
    assert then.ticker == ("A", "B") and np.isnat(then.end).all()
    assert then.members("2020-06-01") == MEMBERS.members("2020-06-01")
    corrupted = Membership(
        ("A", "B", "Z"),
        np.array(["2020-01-01", "2020-01-01", "2020-06-02"], "datetime64[D]"),
        np.array(["2020-09-01", "2020-10-01", "NaT"], "datetime64[D]"),
    ).as_of("2020-06-01")
    assert corrupted.ticker == then.ticker
    assert corrupted.start.tobytes() == then.start.tobytes()
    assert corrupted.end.tobytes() == then.end.tobytes()


def test_listing_intervals_of_a_universe():
    universe = Universe(
        ("A", "B"),
        listed_from=np.array(["2020-01-01", "NaT"], "datetime64[D]"),
        listed_until=np.array(["2021-01-01", "NaT"], "datetime64[D]"),
    )
    listed = Membership.from_universe(universe)
    assert listed.members("2021-01-01") == ("A", "B")
    assert listed.members("2021-01-02") == ("B",)


def test_overlapping_or_backward_memberships_are_refused():
    def make(*rows):
        return Membership.from_frame(
            pd.DataFrame(rows, columns=["ticker", "start", "end"])
        )

    with pytest.raises(DataError, match="overlap"):
        make(("A", "2020-01-01", None), ("A", "2021-01-01", None))
    with pytest.raises(DataError, match="start before its end"):
        make(("A", "2020-01-01", "2020-01-01"))
    with pytest.raises(DataError, match="no column"):
        Membership.from_frame(pd.DataFrame({"ticker": []}))
    with pytest.raises(DataError, match="start"):
        make(("A", "once", None))


def test_membership_from_a_file(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text("ticker,start,end\n005930,2020-01-01,2021-01-01\nNA,2020-01-01,\n")
    found = Membership.read(path, name="mine")
    assert found.members("2020-06-01") == ("005930", "NA")
    assert len(found) == 2 and "mine" in repr(found)
