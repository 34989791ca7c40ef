"""Actions, memberships and calendars given at load: names joined, options refused."""

import numpy as np
import pandas as pd
import pytest

from engine import DataError, UsageError, load_panel
from engine.data.actions import CorporateActions
from engine.data.membership import Membership

DATES = pd.bdate_range("2024-01-01", periods=6).strftime("%Y-%m-%d")


def prices(**columns):
    return pd.DataFrame({"date": DATES, **columns})


def events(*rows):
    names = ["date", "ticker", "kind", "value", "other_ticker"]
    return pd.DataFrame(rows, columns=names)


RENAMED = prices(
    OLD=[10.0, 11, 12, np.nan, np.nan, np.nan],
    NEW=[np.nan, np.nan, np.nan, 13, 14, 15],
    B=[1.0, 2, 3, 4, 5, 6],
)
RENAME = events(
    ("2024-01-02", "OLD", "dividend", 1.0, ""),
    ("2024-01-04", "OLD", "rename", np.nan, "NEW"),
)


def load(frame, **options):
    return load_panel(frame, price_basis="raw", currency="USD", **options)


def test_a_renamed_company_is_one_column_with_its_old_dividends():
    panel = load(RENAMED, actions=RENAME, dividend_basis="as_paid")
    assert panel.tickers == ("NEW", "B")
    np.testing.assert_array_equal(panel.prices[:, 0], [10, 11, 12, 13, 14, 15])
    dividend = panel.actions.of_kind("dividend")
    assert dividend.ticker == ("NEW",)
    earned = panel.adjusted().prices[:, 0]
    np.testing.assert_allclose(earned[1] / earned[0], 11 / (10 - 1.0))
    # Without the fact they are two assets, each with half a history.
    assert set(load(RENAMED).tickers) == {"OLD", "NEW", "B"}


def test_tickers_are_asked_for_by_their_last_name():
    panel = load(RENAMED, tickers=["NEW"], actions=RENAME, dividend_basis="as_paid")
    assert panel.tickers == ("NEW",) and panel.dates.size == 6
    with pytest.raises(DataError, match="OLD"):
        load(RENAMED, tickers=["OLD"], actions=RENAME, dividend_basis="as_paid")


def test_two_names_with_different_prices_are_refused():
    both = RENAMED.assign(NEW=[9.0, 11, 12, 13, 14, 15])
    with pytest.raises(DataError, match=r"two names of one company.*NEW"):
        load(both, actions=RENAME, dividend_basis="as_paid")


def test_the_basis_of_dividends_is_never_guessed():
    with pytest.raises(DataError, match="dividend_basis must be stated"):
        load(RENAMED, actions=RENAME)


def test_an_object_needs_no_basis_and_facts_of_other_assets_are_left_out():
    facts = CorporateActions.from_frame(
        events(
            ("2024-01-02", "B", "split", 2.0, ""), ("2024-01-02", "Z", "split", 3.0, "")
        ),
        dividend_basis="as_paid",
    )
    panel = load(prices(B=[1.0, 2, 3, 4, 5, 6]), actions=facts)
    assert panel.actions.ticker == ("B",)


def test_what_a_loaded_panel_holds_cannot_be_stated_again():
    panel = load(prices(B=[1.0, 2, 3, 4, 5, 6]))
    assert load_panel(panel) is panel
    for option in ("exposures", "actions", "membership", "look_through", "fx"):
        with pytest.raises(UsageError, match=f"{option}= does not apply"):
            load_panel(panel, **{option: RENAME})


def test_membership_from_a_file(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text("ticker,start,end\nB,2024-01-03,\n")
    panel = load(prices(B=[1.0, 2, 3, 4, 5, 6]), membership=path)
    assert not panel.as_of("2024-01-02").members()[0]
    assert panel.as_of("2024-01-03").members()[0]
    assert isinstance(panel.membership, Membership)
    path.write_text("ticker,start,end\nB,2024-01-03,2024-01-01\n")
    with pytest.raises(DataError, match=r"start before its end.*B"):
        load(prices(B=[1.0, 2, 3, 4, 5, 6]), membership=path)
