"""What each asset is: roles, shares and dates, stated, never guessed."""

import numpy as np
import pandas as pd
import pytest

from engine import DataError, LookAheadError, PricePanel, Universe
from engine.data.roles import ROLES, THEME_TO_ROLE, role_of
from engine.data.universe import check_currency, universe_from
from engine.data.venues import VENUES, canonical_venue, close_utc

TABLE = pd.DataFrame(
    {
        "ticker": ["NVDA", "MSFT", "EWJ", "TLT", "ORCL", "XYZ"],
        "name": ["Nvidia", "Microsoft", "Japan", "Bonds", "Oracle", None],
        "asset_class": ["equity", "equity", "etf_equity", "etf_bond", "equity", "adr"],
        "calendar": ["NASDAQ", "XNAS", "NYSE", "NYSE", "NYSE", None],
        "ai_theme": ["semis", "hyperscaler", "none", "none", "ai_software", None],
        "quote_currency": ["USD"] * 6,
        "exposure_currency": ["USD", "USD", "JPY", "USD", "USD", "MULTI"],
        "n_obs": range(6),
    }
)


def test_from_a_table_with_the_columns_of_a_universe_file():
    universe = Universe.from_frame(TABLE)
    assert len(universe) == 6
    assert universe.role == (
        "accelerator",
        "hyperscaler",
        "unknown",  # an equity fund is not exempt because its label says none
        "none",
        "lab_backer",  # Oracle's role differs from its theme
        "unknown",
    )
    assert universe.venue == ("NYSE",) * 5 + ("",)
    assert universe.name[5] == ""
    assert universe.is_structural_zero().tolist() == [False] * 3 + [True] + [False] * 2
    assert universe.labels("currency")[2] == "JPY"
    assert universe.labels("class") == universe.asset_class
    assert "NVDA" in universe and "nvda" not in universe
    assert repr(universe) == "Universe(6 assets, 3 with an AI role)"


def test_same_from_a_path_a_mapping_and_itself(tmp_path):
    TABLE.to_csv(tmp_path / "u.csv", index=False)
    first = Universe.from_frame(TABLE)
    for source in (tmp_path / "u.csv", TABLE, TABLE.to_dict("list"), first):
        again = universe_from(source)
        assert again is not None
        pd.testing.assert_frame_equal(again.to_frame(), first.to_frame())
    assert universe_from(None) is None
    assert universe_from(first) is first


def test_written_table_reads_back_the_same():
    first = Universe.from_frame(TABLE)
    again = Universe.from_frame(first.to_frame())
    assert again.role == first.role
    assert again.venue == first.venue


def test_old_and_new_column_names_together_prefer_the_new():
    both = TABLE.assign(venue="HKEX", theme="semis")
    universe = Universe.from_frame(both)
    assert set(universe.venue) == {"HKEX"}
    assert universe.theme[1] == "semis"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ticker": ["A", "A"]}, "duplicate asset in universe; at asset A"),
        ({"ticker": ["A", None]}, "universe holds an empty or non-text label"),
        (
            {"role": ["accelerator", "chips"]},
            "unknown AI role; at asset B; received 'c",
        ),
        ({"venue": ["NYSE", "MOON"]}, "unknown trading venue; received 'MOON'"),
        (
            {"quote_currency": ["USD", "US"]},
            "not a currency code; at asset B; received",
        ),
        ({"quote_currency": ["USD", "MULTI"]}, "not a currency code; at asset B"),
        ({"exposure_currency": ["U5D", "USD"]}, "not a currency code; at asset A"),
        ({"ai_share": [0.5, 1.5]}, "AI share must satisfy 0 <= low <= central"),
        ({"ai_share": [-0.1, 0.5]}, "AI share must satisfy"),
        (
            {"ai_share": ["half", 0.5]},
            "ai_share holds something that is not a number; a",
        ),
        (
            {"ai_share_low": [0.1, 0.1]},
            "by one number or by its whole band; received a",
        ),
        (
            {"ai_share": [0.1, 0.1], "ai_share_high": [1, 1]},
            "one number or by its whole",
        ),
        (
            {
                "ai_share": [0.5, 0.5],
                "ai_share_low": [0.6, 0.1],
                "ai_share_high": [1, 1],
            },
            "AI share must satisfy 0 <= low <= central <= high <= 1; at asset A",
        ),
        (
            {
                "ai_share": [0.5, 0.5],
                "ai_share_low": [None, 0],
                "ai_share_high": [1, 1],
            },
            "AI share must satisfy 0 <= low <= central <= high <= 1; at asset A",
        ),
        (
            {"role_known_from": ["2025-01-01", "soon"]},
            "not a date; at asset B; received",
        ),
        (
            {"ai_capex": [0.02, 2.0]},
            "AI capital spending a year over market value; at asset B; received 2.0",
        ),
        ({"ai_capex": [-0.01, None]}, "at asset A; received -0.01"),
        ({"ai_capex": ["much", None]}, "ai_capex holds something that is not a number"),
    ],
)
def test_what_cannot_be_right_is_refused(changes, words):
    frame = pd.DataFrame({"ticker": ["A", "B"], "asset_class": "equity"} | changes)
    with pytest.raises(DataError) as caught:
        Universe.from_frame(frame)
    assert words in str(caught.value)


def test_a_table_without_tickers_or_with_columns_of_unequal_length():
    with pytest.raises(DataError, match="no column 'ticker'; received name"):
        Universe.from_frame(pd.DataFrame({"name": ["x"]}))
    with pytest.raises(DataError, match="column country has the wrong length"):
        Universe(("A", "B"), country=("US",))


def test_a_single_share_is_certain_and_an_empty_one_is_the_bands():
    frame = pd.DataFrame({"ticker": ["A", "B"], "ai_share": [0.4, None]})
    universe = Universe.from_frame(frame)
    np.testing.assert_array_equal(universe.ai_share[0], [0.4] * 3)
    assert np.isnan(universe.ai_share[1]).all()


def test_spending_that_is_not_stated_is_not_known():
    frame = pd.DataFrame(
        {
            "ticker": ["A", "B", "C"],
            "ai_capex": [0.02, None, 0.0],
            "role_known_from": ["2025-01-27", None, None],
        }
    )
    universe = Universe.from_frame(frame)
    np.testing.assert_array_equal(universe.ai_capex, [0.02, np.nan, 0.0])
    np.testing.assert_array_equal(
        universe.select(["C", "NEW", "A"]).ai_capex, [0.0, np.nan, 0.02]
    )
    before = universe.known_at(np.datetime64("2025-01-24"))
    np.testing.assert_array_equal(before.ai_capex, [np.nan, np.nan, 0.0])
    assert np.isnan(Universe(("A", "B")).ai_capex).all()


def test_an_unknown_ticker_gets_unknowns_and_a_suggestion():
    universe = Universe.from_frame(TABLE)
    more = universe.select(["TLT", "NEWX", "CASH:EUR"])
    assert more.role == ("none", "unknown", "none")
    assert more.quote_currency == ("USD", "", "EUR")
    assert more.is_structural_zero().tolist() == [True, False, True]
    with pytest.raises(DataError, match=r"at asset NVDIA. Did you mean NVDA"):
        universe.index("NVDIA")
    with pytest.raises(DataError, match="unknown grouping; received 'colour'"):
        universe.labels("colour")


def test_every_theme_leads_to_a_role_and_no_theme_to_none_by_default():
    assert set(THEME_TO_ROLE.values()) <= set(ROLES)
    assert role_of(None, "equity") == "unknown"
    assert role_of("", "equity") == "unknown"
    assert role_of("mixed_ai", "equity") == "unknown"
    assert role_of("none", "equity") == "none"
    assert role_of("none", "etf_equity") == "unknown"
    assert role_of("semis", "etf_equity") == "unknown"
    assert role_of("semis", "") == "unknown"
    for kind in ("etf_bond", "etf_commodity", "etf_currency", "cash"):
        assert role_of(None, kind) == "none"


# Dated knowledge --------------------------------------------------------------


def dated():
    return Universe(
        ("A", "B", "C"),
        asset_class=("equity",) * 3,
        role=("accelerator", "memory", "none"),
        quote_currency=("USD",) * 3,
        ai_share=np.full((3, 3), 0.5),
        role_known_from=np.array(["2025-02-01", "2024-01-01", "NaT"], "datetime64[D]"),
    )


def test_a_role_dated_later_reads_unknown_with_its_share():
    universe = dated()
    then = universe.known_at(np.datetime64("2025-01-31T23:59"))
    assert then.role == ("unknown", "memory", "none")
    assert np.isnan(then.ai_share[0]).all() and then.ai_share[1, 0] == 0.5
    assert universe.known_at(np.datetime64("2025-02-01")).role == universe.role
    assert universe.known_at(np.datetime64("2020-01-01"), hindsight=True) is universe


def view_of(universe, day, **options):
    panel = PricePanel(
        dates=np.array(["2025-01-30", "2025-02-03"], "datetime64[D]"),
        prices=np.ones((2, 3)),
        universe=universe,
        price_basis="raw",
        base_currency="USD",
    )
    return panel.as_of(day, **options)


def test_a_view_refuses_undated_roles_and_admits_them_with_hindsight():
    assert view_of(dated(), "2025-01-30").roles() == ("unknown", "memory", "none")
    undated = Universe(
        ("A", "B", "C"), role=("none", "memory", "none"), quote_currency=("USD",) * 3
    )
    with pytest.raises(LookAheadError, match=r"undated AI role.*asset B.*2025-01-30"):
        view_of(undated, "2025-01-30").roles()
    view = view_of(undated, "2025-01-30", hindsight_parameters=True)
    assert view.roles() == ("none", "memory", "none")
    assert "hindsight parameters" in repr(view)


# Venues -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("venue", "winter", "summer"),
    [
        ("NYSE", "21:00", "20:00"),
        ("NASDAQ", "21:00", "20:00"),
        ("TSE", "06:30", "06:30"),
        ("HKEX", "08:10", "08:10"),
        ("KRX", "06:30", "06:30"),
        ("TWSE", "05:30", "05:30"),
        ("XETRA", "16:35", "15:35"),
        ("LSE", "16:35", "15:35"),
        ("FX", "13:15", "12:15"),
        ("ASX", "05:10", "06:10"),  # southern summer is in January
    ],
)
def test_closes_in_utc_through_summer_time(venue, winter, summer):
    days = np.array(["2025-01-27", "2025-07-28"], "datetime64[D]")
    got = close_utc(venue, days)
    assert str(got[0]) == f"2025-01-27T{winter}"
    assert str(got[1]) == f"2025-07-28T{summer}"


def test_weeks_in_which_only_one_continent_has_changed_its_clocks():
    day = np.array(["2025-03-17"], "datetime64[D]")  # New York has, Europe has not
    assert str(close_utc("NYSE", day)[0]) == "2025-03-17T20:00"
    assert str(close_utc("XETRA", day)[0]) == "2025-03-17T16:35"


def test_every_venue_closes_before_the_day_is_over_in_utc():
    days = np.arange("2024-01-01", "2025-01-01", dtype="datetime64[D]")
    for venue in VENUES:
        closes = close_utc(venue, days)
        assert (closes > days).all() and (closes < days + 1).all(), venue
        assert (np.diff(closes) > np.timedelta64(0)).all(), venue


def test_names_of_venues_and_currencies():
    assert canonical_venue("XHKG") == "HKEX"
    assert canonical_venue("") == ""
    with pytest.raises(DataError, match="unknown trading venue"):
        canonical_venue("nyse")
    assert check_currency("usd") == "USD"
    for bad in ("", "US", "USDX", "U1D", None, 1):
        with pytest.raises(DataError, match="not a currency code"):
            check_currency(bad)


@pytest.mark.parametrize("code", ["GBp", "GBX", "ZAc", "ILA"])
def test_prices_in_pence_are_not_taken_for_pounds(code):
    with pytest.raises(DataError, match="Divide the prices by 100"):
        Universe(("VOD",), quote_currency=(code,))
