"""Corporate actions: series by hand, and back to printed closes on real data."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import DataError, PricePanel, Universe
from engine.data.actions import CorporateActions
from engine.data.adjust import (
    convert,
    price_return,
    raw_from_total_return,
    split_adjusted,
    total_return,
)
from engine.data.exits import delisting_sensitivity, exits, join_renamed
from engine.data.panel import PRICE_BASES

DAYS = pd.bdate_range("2024-01-01", periods=6)  # Monday to the next Monday


def table(**columns):
    return pd.DataFrame(columns, index=DAYS).astype(float).rename_axis("date")


def events(*rows, basis="as_paid"):
    names = ["date", "ticker", "kind", "value", "other_ticker", "currency", "ratio"]
    padded = [(*r, *("", "", np.nan)[len(r) - 4 :]) for r in rows]
    frame = pd.DataFrame(padded, columns=names)
    return CorporateActions.from_frame(frame, dividend_basis=basis)


# A split 2:1 on the fourth day, a dividend of 1 on the second and of 2 on the fifth.
RAW = table(A=[100, 110, 120, 62, 63, 64])
ACTIONS = events(
    ("2024-01-02", "A", "dividend", 1.0),
    ("2024-01-04", "A", "split", 2.0),
    ("2024-01-05", "A", "dividend", 2.0),
)


# Series by hand ---------------------------------------------------------------


def test_splits_alone():
    assert split_adjusted(RAW, ACTIONS)["A"].tolist() == [50, 55, 60, 62, 63, 64]
    index = price_return(RAW, ACTIONS)["A"]
    assert index.tolist() == [1.0, 1.1, 1.2, 1.24, 1.26, 1.28]


def test_total_return_as_vendors_adjust():
    # Before day 5: 1 - 2/62; before day 2: also 1 - 1/100.
    five, two = 1 - 2 / 62, 1 - 1 / 100
    expected = [50 * two * five, 55 * five, 60 * five, 62 * five, 63, 64]
    np.testing.assert_allclose(total_return(RAW, ACTIONS)["A"], expected, rtol=1e-15)


def test_total_return_of_a_holder_who_reinvests_at_the_close():
    found = total_return(RAW, ACTIONS, convention="ex_close")["A"].to_numpy()
    growth = found[1:] / found[:-1]
    by_hand = [(110 + 1) / 100, 120 / 110, 2 * 62 / 120, (63 + 2) / 62, 64 / 63]
    np.testing.assert_allclose(growth, by_hand, rtol=1e-14)
    assert found[-1] == 64


def test_a_holder_of_one_share_ends_with_the_total_return():
    shares = np.ones(1)
    for price, split, cash in zip(
        RAW["A"], [1, 1, 1, 2, 1, 1], [0, 1, 0, 0, 2, 0], strict=True
    ):
        shares = shares * split
        shares = shares + shares * cash / price
    index = total_return(RAW, ACTIONS, convention="ex_close", anchor="first")["A"]
    assert index.iloc[-1] * 100 == pytest.approx(float(shares[0]) * 64, rel=1e-14)


def test_the_first_anchor_only_rescales():
    last = total_return(RAW, ACTIONS)["A"]
    first = total_return(RAW, ACTIONS, anchor="first")["A"]
    np.testing.assert_allclose(last / last.iloc[0], first, rtol=1e-14)


def test_capital_gains_count_as_cash_unless_left_out():
    gain = events(("2024-01-03", "A", "capital_gain", 11.0))
    with_it = total_return(RAW, gain)["A"].iloc[0]
    assert with_it == pytest.approx(100 * (1 - 11 / 110))
    without = total_return(RAW, gain, distributions=("dividend",))
    pd.testing.assert_frame_equal(without, RAW)


def test_dividends_of_vendors_are_per_share_of_today():
    vendor = events(
        ("2024-01-02", "A", "dividend", 0.5),
        ("2024-01-04", "A", "split", 2.0),
        ("2024-01-05", "A", "dividend", 2.0),
        basis="split_adjusted",
    )
    assert vendor.as_paid().value.tolist() == [1.0, 2.0, 2.0]
    pd.testing.assert_frame_equal(
        total_return(RAW, vendor), total_return(RAW, ACTIONS), rtol=1e-15
    )
    assert vendor.as_paid().as_paid() is not None


def test_a_shut_day_keeps_its_hole_and_its_event_moves_on():
    raw = RAW.copy()
    raw.loc["2024-01-04", "A"] = np.nan  # the split and then the dividend meet
    found = split_adjusted(raw, ACTIONS)["A"]
    assert np.isnan(found.iloc[3]) and found.tolist()[:3] == [50, 55, 60]
    paid = total_return(raw, ACTIONS, convention="ex_close")["A"]
    # One old share became two, which were paid 2 each.
    assert paid.iloc[4] / paid.iloc[2] == pytest.approx((2 * 63 + 2 * 2) / 120)


def test_a_dividend_before_a_split_on_the_same_later_session():
    raw = RAW.copy()
    raw.loc["2024-01-03":"2024-01-04", "A"] = np.nan
    both = events(
        ("2024-01-03", "A", "dividend", 4.0), ("2024-01-05", "A", "split", 2.0)
    )
    paid = total_return(raw, both, convention="ex_close")["A"]
    # 4 per old share; 2 new shares of 63: cash is put to work at the new close.
    assert paid.iloc[4] / paid.iloc[1] == pytest.approx((2 * 63 + 4) / 110)


def test_a_dividend_on_the_day_of_a_split_is_per_new_share():
    both = [("2024-01-04", "A", "dividend", 1.0), ("2024-01-04", "A", "split", 2.0)]
    for order in (both, both[::-1]):
        for basis in ("as_paid", "split_adjusted"):
            actions = events(*order, basis=basis)
            assert 1.0 in actions.as_paid().value
            paid = total_return(RAW, actions, convention="ex_close")["A"]
            assert paid.iloc[3] / paid.iloc[2] == pytest.approx(2 * (62 + 1) / 120)


def test_events_outside_the_life_change_nothing():
    outside = events(
        ("2023-12-01", "A", "split", 3.0),
        ("2024-01-01", "A", "dividend", 5.0),
        ("2025-01-01", "A", "split", 7.0),
        ("2024-01-03", "B", "split", 7.0),
    )
    pd.testing.assert_frame_equal(total_return(RAW, outside), RAW)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["vendor", "ex_close"]))
def test_adjusting_and_undoing_gives_the_closes_back(seed, convention):
    rng = np.random.default_rng(seed)
    index = pd.bdate_range("2020-01-01", periods=40)
    raw = pd.DataFrame({"A": rng.uniform(50, 150, 40), "B": 80.0}, index=index)
    raw.iloc[rng.integers(1, 39, 5), 0] = np.nan
    rows = [
        (index[k], "A", *rng.choice([("dividend", 1.5), ("split", 2), ("split", 0.1)]))
        for k in rng.choice(np.arange(1, 40), 6, replace=False)
    ]
    actions = events(*((d, t, k, float(v)) for d, t, k, v in rows))
    adjusted = total_return(raw, actions, convention=convention)
    k = int(np.flatnonzero(raw["A"].notna())[7])
    anchors = {"A": (index[k], raw["A"].iloc[k])}
    for given_anchor in (None, anchors):
        back = raw_from_total_return(
            3.0 * adjusted if given_anchor else adjusted,
            actions,
            anchors=given_anchor,
            convention=convention,
        )
        np.testing.assert_allclose(back["A"], raw["A"], rtol=1e-9)


def test_truncation_what_comes_later_changes_no_earlier_index():
    cut = RAW.iloc[:4]
    for convention in ("vendor", "ex_close"):
        whole = total_return(RAW, ACTIONS, convention=convention, anchor="first")
        part = total_return(
            cut, ACTIONS.until("2024-01-04"), convention=convention, anchor="first"
        )
        assert np.array_equal(whole["A"].iloc[:4], part["A"])  # to the bit
    assert np.array_equal(
        price_return(RAW, ACTIONS)["A"].iloc[:4], price_return(cut, ACTIONS)["A"]
    )


# Panels -----------------------------------------------------------------------


def panel(basis="raw", **changes):
    settings = {
        "dates": DAYS.to_numpy().astype("datetime64[D]"),
        "prices": RAW.to_numpy(),
        "universe": Universe(("A",), quote_currency=("USD",)),
        "price_basis": basis,
        "base_currency": "USD",
        "open": RAW.to_numpy() * 0.5,
        "volume": np.full((6, 1), 100.0),
    }
    return PricePanel(**{**settings, **changes})


def test_a_panel_comes_back_as_a_panel_that_says_what_it_is():
    adjusted = split_adjusted(panel(), ACTIONS)
    assert adjusted.price_basis == "split_adjusted"
    assert adjusted.volume is not None and adjusted.open is not None
    assert adjusted.volume[:, 0].tolist() == [200, 200, 200, 100, 100, 100]
    np.testing.assert_allclose(adjusted.open, adjusted.prices / 2)
    assert adjusted.content_hash != panel().content_hash
    assert total_return(panel(), ACTIONS).price_basis == "total_return"
    back = raw_from_total_return(total_return(panel(), ACTIONS), ACTIONS)
    assert back.price_basis == "raw"
    np.testing.assert_allclose(back.prices, panel().prices, rtol=1e-14)
    assert back.volume is not None and back.volume[:, 0].tolist() == [100] * 6


def test_nothing_is_adjusted_twice():
    for function in (split_adjusted, price_return, total_return):
        with pytest.raises(DataError, match="counts a split or a dividend twice"):
            function(panel("split_adjusted"), ACTIONS)
    with pytest.raises(DataError, match="need total_return prices"):
        raw_from_total_return(panel(), ACTIONS)


def test_a_dividend_in_another_currency_is_refused():
    foreign = events(("2024-01-02", "A", "dividend", 1.0, "", "EUR"))
    with pytest.raises(DataError, match="another currency") as caught:
        total_return(panel(), foreign)
    assert caught.value.asset == "A" and caught.value.date == "2024-01-02"


def test_impossible_inputs_name_their_place():
    whole = events(("2024-01-02", "A", "dividend", 100.0))
    with pytest.raises(DataError, match="not smaller than the price") as caught:
        total_return(RAW, whole)
    assert caught.value.date == "2024-01-02"
    with pytest.raises(DataError, match="convention"):
        total_return(RAW, ACTIONS, convention="mine")
    with pytest.raises(DataError, match="anchor"):
        total_return(RAW, ACTIONS, anchor="middle")
    with pytest.raises(DataError, match="no price on the date of the anchor"):
        raw_from_total_return(RAW, ACTIONS, anchors={"A": ("2024-01-06", 1.0)})
    with pytest.raises(DataError, match="not positive"):
        raw_from_total_return(RAW, ACTIONS, anchors={"A": ("2024-01-01", 1e-6)})
    with pytest.raises(DataError, match="strictly increasing"):
        total_return(RAW.iloc[::-1], ACTIONS)
    with pytest.raises(DataError, match="positive and finite"):
        total_return(-RAW, ACTIONS)


# The type ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("2024-01-02", "A", "bonus", 1.0), "unknown kind"),
        (("2024-01-02", "A", "dividend", 0.0), "positive number"),
        (("2024-01-02", "A", "split", np.nan), "positive number"),
        (("2024-01-02", "A", "split", np.inf), "positive number"),
        (("2024-01-02", "A", "rename", np.nan), "new name"),
        (("2024-01-02", "A", "rename", np.nan, "A"), "new name"),
        (("2024-01-02", "A", "merger", np.nan), "cash"),
        (("2024-01-02", "A", "merger", np.nan, "", "", 2.0), "cash"),
        (("2024-01-02", "A", "delisting", -1.0), "terminal value"),
        (("2024-01-02", "", "split", 2.0), "without ticker"),
        ((None, "A", "split", 2.0), "without ticker or date"),
        (("2024-01-02", "A", "dividend", 1.0, "", "DOLLAR"), "currency"),
        (("soon", "A", "split", 2.0), "cannot be read"),
        (("2024-01-02", "A", "split", "two"), "cannot be read"),
    ],
)
def test_an_event_that_cannot_be_right_is_refused(row, message):
    with pytest.raises(DataError, match=message):
        events(row)


def test_the_same_event_twice_is_refused_but_two_dividends_are_not():
    split = ("2024-01-02", "A", "split", 2.0)
    with pytest.raises(DataError, match="given twice"):
        events(split, split)
    two = events(
        ("2024-01-02", "A", "dividend", 1.0), ("2024-01-02", "A", "dividend", 3.0)
    )
    paid = total_return(RAW, two)["A"].iloc[0]
    assert paid == pytest.approx(100 * (1 - 4 / 100))


def test_the_type_is_sorted_read_only_and_survives_pickling():
    actions = events(
        ("2024-01-05", "A", "split", 2.0), ("2024-01-02", "B", "dividend", 1.0)
    )
    assert actions.ticker == ("B", "A")
    again = pickle.loads(pickle.dumps(actions))
    assert not again.value.flags.writeable and copy.copy(actions) is actions
    assert again.to_frame().equals(actions.to_frame())
    assert len(actions.select(["A"])) == len(actions.of_kind("split")) == 1
    assert repr(actions) == "CorporateActions(1 dividend, 1 split; as_paid)"
    assert len(CorporateActions.empty()) == 0 and "none" in repr(
        CorporateActions.empty()
    )
    with pytest.raises(DataError, match="dividend_basis"):
        events(("2024-01-02", "B", "dividend", 1.0), basis="adjusted")
    with pytest.raises(DataError, match="no column"):
        CorporateActions.from_frame(RAW, dividend_basis="as_paid")


# Names ------------------------------------------------------------------------

# P belonged to another company until the second day.
RENAMES = events(
    ("2024-01-03", "PSTG", "rename", np.nan, "P"),
    ("2024-01-05", "P", "rename", np.nan, "PURE"),
)


def test_a_chain_of_names():
    chain = RENAMES.chain("PURE")
    assert [n for n, _ in chain] == ["PSTG", "P", "PURE"]
    assert str(chain[1][1]) == "2024-01-03" and np.isnat(chain[0][1])
    assert RENAMES.current_name("PSTG", "2024-01-01") == "PURE"
    assert RENAMES.current_name("P", "2024-01-04") == "PURE"
    assert RENAMES.current_name("PURE", "2024-01-08") == "PURE"
    assert RENAMES.chain("X") == (("X", RENAMES.chain("X")[0][1]),)


def test_columns_of_one_company_are_joined_and_the_other_company_is_not():
    nan = np.nan
    frame = table(
        PSTG=[10, 11, nan, nan, nan, nan],
        P=[1, 1, 12, 13, nan, nan],
        PURE=[nan, nan, nan, nan, 14, 15],
        MSFT=[1, 2, 3, 4, 5, 6],
    )
    joined = join_renamed(frame, RENAMES)
    assert joined["PURE"].tolist() == [10, 11, 12, 13, 14, 15]
    assert list(joined.columns) == ["PURE", "MSFT"]


def test_a_vendor_that_filled_the_past_of_the_new_name_must_agree():
    frame = table(PSTG=[10, 11, 12, np.nan, 14, 15], P=[10, 11, 12, 13, 14, 15])
    renames = events(("2024-01-04", "PSTG", "rename", np.nan, "P"))
    assert join_renamed(frame, renames)["P"].tolist() == [10, 11, 12, 13, 14, 15]
    frame.iloc[1, 1] = 99
    with pytest.raises(DataError, match="different prices") as caught:
        join_renamed(frame, renames)
    assert caught.value.date == "2024-01-02"


def test_the_earlier_company_of_a_symbol_is_never_mixed_in():
    nan = np.nan
    frame = table(PSTG=[nan, nan, 12, nan, nan, nan], P=[1, 1, nan, 13, 14, 15])
    renames = events(("2024-01-04", "PSTG", "rename", np.nan, "P"))
    with pytest.raises(DataError, match="another company") as caught:
        join_renamed(frame, renames)
    assert (caught.value.asset, caught.value.date) == ("P", "2024-01-01")
    frame.iloc[:2, 1] = nan
    assert join_renamed(frame, renames)["P"].iloc[2:].tolist() == [12, 13, 14, 15]
    untouched = join_renamed(frame[["P"]], renames)  # no old name to join
    pd.testing.assert_frame_equal(untouched, frame[["P"]])


def test_dividends_follow_the_company_to_its_last_name():
    actions = events(
        ("2024-01-02", "MMC", "dividend", 1.0),
        ("2024-01-04", "MMC", "rename", np.nan, "MRSH"),
        ("2024-01-04", "MMC", "dividend", 2.0),
        ("2024-01-05", "MRSH", "dividend", 3.0),
        ("2024-01-05", "MMC", "dividend", 9.0),  # whoever has the symbol now
    )
    moved = actions.under_last_names()
    assert moved.ticker == ("MRSH", "MMC", "MRSH", "MRSH", "MMC")
    frame = table(MMC=[100, 99, 99, np.nan, np.nan, np.nan], MRSH=[np.nan] * 6)
    frame.loc["2024-01-04":, "MRSH"] = [98, 97, 97]
    joined = join_renamed(frame, actions)
    paid = total_return(joined, moved)["MRSH"].iloc[0]
    assert paid == pytest.approx(100 * (1 - 1 / 100) * (1 - 2 / 99) * (1 - 3 / 98))


# Exits ------------------------------------------------------------------------

GONE = table(
    T=[10, 10, 10, np.nan, np.nan, np.nan],
    D=[4, 3, 2, np.nan, np.nan, np.nan],
    U=[8, 8, 8, 5, np.nan, np.nan],
    BUY=[50, 50, 52, 54, 54, 54],
)
EXITS = events(
    ("2024-01-03", "T", "merger", 3.0, "BUY", "USD", 0.25),
    ("2024-01-04", "D", "delisting", 0.5),
    ("2024-01-05", "U", "delisting", np.nan),
)


def test_what_a_share_became():
    out = exits(GONE, EXITS, recovery=0.5).set_index("ticker")
    assert out.loc["T", "terminal_value"] == 3 + 0.25 * 52
    assert out.loc["T", "terminal_return"] == pytest.approx(0.6)
    assert out.loc["D", "terminal_return"] == pytest.approx(-0.75)
    assert out.loc["U", "terminal_value"] == 2.5
    assert out["stated"].tolist() == [True, True, False]


def test_an_unknown_terminal_value_is_never_assumed():
    with pytest.raises(DataError, match="not known") as caught:
        exits(GONE, EXITS)
    assert caught.value.asset == "U"
    with pytest.raises(DataError, match="fraction of the last price"):
        exits(GONE, EXITS, recovery=1.5)
    with pytest.raises(DataError, match="price of the acquirer"):
        exits(GONE[["T"]], EXITS)


def test_the_cost_of_delistings_from_nothing_to_the_last_price():
    out = delisting_sensitivity(GONE, EXITS, {"D": 0.1, "U": 0.2})
    total = out[out.ticker == "total"].iloc[0]
    assert out["ticker"].tolist() == ["D", "U", "total"]
    # D is stated (-75%), U is not: 0.1 * 0.75 + 0.2 * (1 - recovery).
    for recovery in (0, 0.25, 0.5, 0.75, 1):
        cost = 0.075 + 0.2 * (1 - recovery)
        assert total[f"cost_at_{recovery:g}"] == pytest.approx(cost)
    alone = delisting_sensitivity(GONE, EXITS, fractions=(0.0,))
    assert alone["cost_at_0"].tolist() == [0.75, 1.0, 1.75]
    assert np.isnan(out["stated_return"].iloc[1])
    with pytest.raises(DataError, match="at least one"):
        delisting_sensitivity(GONE, EXITS, fractions=())


# Real data --------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_actions(real_data):
    return CorporateActions.read(
        real_data / "corporate_actions.csv.gz", dividend_basis="split_adjusted"
    )


@pytest.mark.parametrize(
    ("ticker", "anchor", "printed"),
    [
        # Closes as printed on the day, before any adjustment.
        (
            "NVDA",
            ("2025-01-27", 118.42),
            {"2025-01-24": 142.62, "2024-06-07": 1208.88, "2021-07-19": 751.19},
        ),
        (
            "AAPL",
            ("2025-01-27", 229.86),
            {"2025-01-24": 222.78, "2020-08-28": 499.23, "2018-08-02": 207.39},
        ),
        ("TSLA", ("2025-01-27", 397.15), {"2020-08-28": 2213.40, "2022-08-24": 891.29}),
        ("MSFT", ("2025-01-27", 434.56), {"2020-03-16": 135.42}),
    ],
)
def test_printed_closes_come_back_from_adjusted_ones(
    real_data, real_actions, ticker, anchor, printed
):
    adjusted = pd.read_parquet(real_data / "prices_us_listed.parquet", columns=[ticker])
    raw = raw_from_total_return(adjusted, real_actions, anchors={ticker: anchor})
    for date, close in printed.items():
        assert raw.loc[date, ticker] == pytest.approx(close, rel=2e-4), date
    again = total_return(raw, real_actions)
    ratio = (again / adjusted)[ticker]
    np.testing.assert_allclose(ratio / ratio.iloc[0], 1.0, rtol=1e-9)


def test_the_level_of_the_shock_day_is_not_the_printed_close(real_data, real_actions):
    adjusted = pd.read_parquet(real_data / "prices_us_listed.parquet", columns=["NVDA"])
    assert adjusted.loc["2025-01-27", "NVDA"] == 118.2434
    raw = raw_from_total_return(
        adjusted, real_actions, anchors={"NVDA": ("2025-01-27", 118.42)}
    )
    day = raw["NVDA"].pct_change()["2025-01-27"]
    assert day == pytest.approx(118.42 / 142.62 - 1, abs=2e-5)


def test_real_actions_are_all_read(real_actions):
    assert real_actions.kind.count("dividend") == 4943
    assert real_actions.kind.count("split") == 53
    paid = real_actions.select(["NVDA"]).as_paid()
    # 0.115 paid in February 2016; 0.002875 per share of today after 4:1 and 10:1.
    assert paid.value[0] == pytest.approx(0.115)


# Split-adjusted prices ---------------------------------------------------------


def test_every_basis_converts_into_every_other():
    rng = np.random.default_rng(11)
    dates = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    prices = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (dates.size, 1)), axis=0))
    prices[30:] /= 5.0
    facts = CorporateActions(
        dates[[10, 30, 45]],
        ("A",) * 3,
        ("dividend", "split", "dividend"),
        np.array([2.0, 5.0, 0.3]),
    )
    panel = PricePanel(
        dates,
        prices,
        Universe(("A",), quote_currency=("USD",)),
        "raw",
        "USD",
        actions=facts,
    )
    bases = {b: convert(panel, b) for b in PRICE_BASES}
    for origin in bases.values():
        for name, wanted in bases.items():
            got = convert(origin, name)
            np.testing.assert_allclose(got.prices, wanted.prices, rtol=1e-12)
            assert got.price_basis == name
    # What a holder earned is one series, whatever the basis it is read from.
    for one in bases.values():
        series = one.adjusted().prices[:, 0]
        np.testing.assert_allclose(
            series / series[0],
            bases["total_return"].prices[:, 0] / bases["total_return"].prices[0, 0],
            rtol=1e-12,
        )
    np.testing.assert_allclose(bases["split_adjusted"].actions.value, [0.4, 5, 0.3])
    with pytest.raises(DataError, match="no corporate actions"):
        convert(replace(panel, actions=None, content_hash=""), "total_return")


def test_paid_and_split_adjusted_undo_each_other():
    back = ACTIONS_BOTH.split_adjusted().as_paid()
    np.testing.assert_allclose(back.value, ACTIONS_BOTH.value, rtol=1e-15)


ACTIONS_BOTH = CorporateActions(
    np.array(["2024-01-02", "2024-02-02", "2024-02-02", "2024-03-01"], "M8[D]"),
    ("A", "A", "B", "A"),
    ("dividend", "split", "dividend", "dividend"),
    np.array([1.0, 7.0, 3.0, 0.2]),
)
