"""The dated exposures: what they hold, when they may be used, and bad tables."""

import numpy as np
import pandas as pd
import pytest

from engine import CheapModelShock, DataError, Universe, load_panel
from engine.data.exposures import read_exposures
from engine.data.roles import ROLES
from engine.shocks.roles import CALIBRATED

EVENT = "2025-01-24"


@pytest.fixture(scope="module")
def table():
    return read_exposures()


def test_every_row_is_checked_and_dated_before_the_event(table):
    assert set(table["role"]) <= set(ROLES)
    assert (table["known_from"] < EVENT).all()
    dated = table[table["basis"] != "band"]
    assert dated["document_date"].notna().all()
    assert (dated["document_date"] < EVENT).all()
    assert dated["document"].str.len().min() > 10
    assert len(table[table["role"].isin(set(CALIBRATED) - {"none"})]) >= 120


def test_figures_that_anyone_can_check(table):
    """Anchors of the method: 12.2 of 51.6bn at Broadcom, 30.8 of 35.1bn at NVIDIA."""
    share = table.set_index("ticker")["share"]
    assert share["NVDA"] == pytest.approx(30.771 / 35.082, abs=0.002)
    assert share["AVGO"] == pytest.approx(12.2 / 51.57, abs=0.002)
    assert share["TSM"] == pytest.approx(0.15, abs=0.02)


def test_an_exposure_is_unknown_before_it_was_published(table):
    universe = Universe(
        ("NVDA", "JPM"),
        asset_class=("equity", "equity"),
        theme=("semis", "none"),
        quote_currency=("USD", "USD"),
    ).with_exposures(table)
    assert universe.ai_share[0, 1] == pytest.approx(0.877, abs=0.002)
    assert np.isnan(universe.ai_share[1]).all() and universe.role[1] == "none"
    day = universe.role_known_from[0]
    before = universe.known_at(day - 1)
    assert before.role[0] == "unknown" and np.isnan(before.ai_share[0]).all()
    assert universe.known_at(day).role[0] == "accelerator"
    assert universe.known_at(day - 1, hindsight=True).role[0] == "accelerator"


def test_the_share_moves_the_stress_and_the_source_is_named(table):
    panel = load_panel("reference", ["NVDA", "AVGO"], exposures="builtin")
    moves = CheapModelShock().moves(panel.universe)
    bands = CheapModelShock().moves(load_panel("reference", ["NVDA", "AVGO"]).universe)
    assert moves.central[0] < bands.central[0] < 0  # 88% against a midpoint of 50%
    assert 0 > moves.central[1] > bands.central[1]  # 24%
    assert "NVIDIA third quarter fiscal 2025" in moves.basis[0]


GOOD = {
    "ticker": "A",
    "role": "network",
    "share_low": 0.1,
    "share": 0.2,
    "share_high": 0.3,
    "known_from": "2024-01-01",
    "basis": "derived",
    "document": "annual report 2023",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"role": "chips"}, "unknown AI role; at asset A; received chips"),
        ({"basis": "guess"}, "basis must be reported, derived or band"),
        ({"share": 0.4}, "shares must satisfy"),
        ({"share": "many"}, "shares must satisfy"),
        ({"share_high": 1.2}, "shares must satisfy"),
        ({"known_from": "soon"}, "known_from is not a date; at asset A"),
        ({"known_from": None}, "known_from is not a date"),
    ],
)
def test_a_bad_row_is_named(change, words):
    with pytest.raises(DataError) as caught:
        read_exposures(pd.DataFrame([GOOD | change]))
    assert words in str(caught.value)


def test_bad_tables():
    with pytest.raises(DataError, match="lack a column; received basis"):
        read_exposures(pd.DataFrame([GOOD]).drop(columns="basis"))
    with pytest.raises(DataError, match="duplicate ticker in the exposures"):
        read_exposures(pd.DataFrame([GOOD, GOOD]))
    with pytest.raises(DataError, match="no such file"):
        read_exposures("nowhere.csv")
