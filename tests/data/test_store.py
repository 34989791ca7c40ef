"""Snapshots: what goes in comes out to the bit, or an error says what was altered."""

import json
import os
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from engine import DataError, PricePanel, StoreError, Universe, load_panel
from engine.data.actions import CorporateActions
from engine.data.provider import Frames
from engine.data.store import (
    StoreProvider,
    find_snapshot,
    import_files,
    list_snapshots,
    load_snapshot,
    pull,
    save_snapshot,
)

DAYS = pd.bdate_range("2024-01-01", periods=5, name="date")


def panel(**changes):
    prices = np.arange(10.0, 20.0).reshape(5, 2) / 3
    prices[2, 1] = np.nan
    settings = {
        "dates": DAYS.to_numpy().astype("datetime64[D]"),
        "prices": prices,
        "universe": Universe(
            ("NVDA", "7203.T"),
            name=("NVIDIA", ""),
            venue=("NYSE", "TSE"),
            quote_currency=("USD", "JPY"),
            theme=("semis", ""),
            asset_class=("equity", "equity"),
            ai_share=np.array([[0.1, 0.2, 0.3], [np.nan] * 3]),
            ai_capex=np.array([np.nan, 0.03]),
            role_known_from=np.array(["2024-01-02", "NaT"], "datetime64[D]"),
            listed_from=np.array(["1999-01-22", "NaT"], "datetime64[D]"),
        ),
        "price_basis": "raw",
        "base_currency": "USD",
        "fx_currencies": ("JPY", "EUR"),
        "fx": np.column_stack([np.full(5, 1 / 150), np.linspace(1.05, 1.1, 5)]),
        "cash_currencies": ("USD",),
        "cash_rates": np.full((5, 1), 0.05),
        "open": prices * 0.99,
        "volume": np.where(np.isnan(prices), np.nan, 100.0),
        "source": "by hand",
    }
    return PricePanel(**{**settings, **changes})


ACTIONS = CorporateActions(
    np.array(["2024-01-03", "2024-01-04"], "datetime64[D]"),
    ("NVDA", "7203.T"),
    ("dividend", "split"),
    np.array([0.01, 5.0]),
    currency=("USD", ""),
    dividend_basis="split_adjusted",
)


def test_what_goes_in_comes_out_to_the_bit(tmp_path):
    before = panel()
    snapshot = save_snapshot(tmp_path, before, name="first", actions=ACTIONS)
    provider = StoreProvider(tmp_path, "first")
    after = load_panel(provider)
    assert (
        after.content_hash
        == replace(before, actions=ACTIONS, content_hash="").content_hash
    )
    for name in ("prices", "fx", "cash_rates", "open", "volume", "dates"):
        assert np.array_equal(
            getattr(after, name), getattr(before, name), equal_nan=name != "dates"
        ), name
    for name in ("name", "venue", "role", "theme", "quote_currency", "listed_from"):
        a, b = getattr(after.universe, name), getattr(before.universe, name)
        assert np.array_equal(np.array(a), np.array(b), equal_nan=name == "listed_from")
    np.testing.assert_array_equal(after.universe.ai_share, before.universe.ai_share)
    np.testing.assert_array_equal(after.universe.ai_capex, before.universe.ai_capex)
    assert after.price_basis == "raw" and "first" in after.source
    actions = load_snapshot(tmp_path, snapshot.content_hash).actions
    assert actions.to_frame().equals(ACTIONS.to_frame())
    assert actions.dividend_basis == "split_adjusted"


def test_the_manifest_says_what_there_is(tmp_path):
    found = save_snapshot(
        tmp_path, panel(), name="a.b-c_1", missing={"XX": "delisted"}, notes=["n"]
    )
    assert (found.first_date, found.last_date) == ("2024-01-01", "2024-01-05")
    assert found.currencies == ("JPY", "USD") and found.tickers == ("NVDA", "7203.T")
    assert (found.n_dates, found.n_actions, found.synthetic) == (5, 0, False)
    assert found.missing == {"XX": "delisted"} and found.notes == ("n",)
    assert found.source == "by hand" and "pandas" in found.versions
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["price_basis"] == "raw" and plain["tickers"] == ["NVDA", "7203.T"]
    assert "2 assets, 5 dates" in repr(found)
    assert pickle.loads(pickle.dumps(found)).to_dict() == found.to_dict()
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".part", ".pkl")]


def test_snapshots_are_never_overwritten(tmp_path):
    first = save_snapshot(tmp_path, panel(), name="x")
    again = save_snapshot(tmp_path, panel(), name="x")
    assert again.created == first.created  # the same content is already there
    other = panel(price_basis="total_return")
    with pytest.raises(StoreError, match="never overwritten"):
        save_snapshot(tmp_path, other, name="x")
    second = save_snapshot(tmp_path, other, name="y")
    assert second.content_hash != first.content_hash
    assert [s.name for s in list_snapshots(tmp_path)] == ["x", "y"]
    assert load_snapshot(tmp_path, "x").price_basis == "raw"


def test_the_hash_is_of_the_content_not_of_the_place_or_time(tmp_path):
    a = save_snapshot(tmp_path / "one", panel(), name="a")
    b = save_snapshot(tmp_path / "two", panel(), name="b", notes=["later"])
    assert a.content_hash == b.content_hash
    quiet = panel().prices.copy()
    quiet[0, 0] = np.nextafter(quiet[0, 0], 99)
    assert (
        save_snapshot(tmp_path, panel(prices=quiet), name="c").content_hash
        != a.content_hash
    )


def test_find_by_hash(tmp_path):
    made = save_snapshot(tmp_path, panel(), name="x")
    save_snapshot(tmp_path, panel(price_basis="total_return"), name="y")
    assert find_snapshot(tmp_path, made.content_hash[:10]).name == "x"
    for wrong in (made.content_hash[:4], "nothing", "../x", ""):
        with pytest.raises(DataError, match="x, y"):
            find_snapshot(tmp_path, wrong)
    with pytest.raises(DataError, match="no such store"):
        load_snapshot(tmp_path / "absent", "x")


def rewrite(path, change):
    os.chmod(path, 0o644)
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("prices.parquet", lambda b: b[:-9] + b"x" + b[-8:], "altered: prices"),
        ("prices.parquet", lambda b: b[:100], "altered: prices"),
        ("actions.parquet", lambda b: b"", "altered: actions"),
        (
            "manifest.json",
            lambda b: b.replace(b'"raw"', b'"total_return"'),
            "altered: manifest",
        ),
        (
            "manifest.json",
            lambda b: b.replace(b'"synthetic": false', b'"synthetic": true'),
            "altered: manifest",
        ),
        ("manifest.json", lambda b: b[:50], "no readable manifest"),
        ("manifest.json", lambda b: b"[]", "lacks entries"),
        (
            "manifest.json",
            lambda b: b.replace(b'"format": 1', b'"format": 9'),
            "another format",
        ),
        (
            "manifest.json",
            lambda b: b.replace(b'"prices.parquet"', b'"../prices.parquet"'),
            "leaves the folder",
        ),
    ],
)
def test_an_altered_file_is_noticed(tmp_path, file, change, message):
    save_snapshot(tmp_path, panel(), name="x", actions=ACTIONS)
    rewrite(tmp_path / "x" / file, change)
    with pytest.raises(StoreError, match=message):
        load_snapshot(tmp_path, "x")


def test_a_file_rewritten_together_with_its_digest_is_noticed(tmp_path):
    import hashlib

    save_snapshot(tmp_path, panel(), name="x")
    path = tmp_path / "x" / "prices.parquet"
    frame = pd.read_parquet(path)
    frame.iloc[0, 0] *= 1.0001
    os.chmod(path, 0o644)
    frame.to_parquet(path)
    manifest = tmp_path / "x" / "manifest.json"
    facts = json.loads(manifest.read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts["files"]["prices.parquet"]["sha256"] = digest
    rewrite(manifest, lambda b: json.dumps(facts).encode())
    with pytest.raises(StoreError, match="another content than its hash"):
        load_snapshot(tmp_path, "x")


def test_a_file_written_anew_with_the_same_numbers_is_noticed(tmp_path):
    save_snapshot(tmp_path, panel(), name="x")
    path = tmp_path / "x" / "prices.parquet"
    frame = pd.read_parquet(path)
    os.chmod(path, 0o644)
    frame.to_parquet(path, compression="gzip")
    with pytest.raises(StoreError, match="another digest"):
        load_snapshot(tmp_path, "x")


def test_a_missing_file_is_noticed(tmp_path):
    save_snapshot(tmp_path, panel(), name="x")
    (tmp_path / "x" / "open.parquet").unlink()
    with pytest.raises(StoreError, match=r"open\.parquet"):
        load_snapshot(tmp_path, "x")


def test_listing_survives_a_damaged_snapshot(tmp_path):
    save_snapshot(tmp_path, panel(), name="good")
    (tmp_path / "bad").mkdir()
    (tmp_path / ".x.abc.part").mkdir()  # what a crash leaves
    (tmp_path / "note.txt").write_text("hello")
    found = {s.name: s for s in list_snapshots(tmp_path)}
    assert set(found) == {"good", "bad"}
    assert "manifest" in found["bad"].problem and "bad" in repr(found["bad"])
    assert not found["good"].problem
    with pytest.raises(StoreError):
        save_snapshot(tmp_path, panel(), name="bad")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 101])
def test_names_stay_in_the_folder(tmp_path, name):
    with pytest.raises(DataError, match="not a name"):
        save_snapshot(tmp_path, panel(), name=name)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        save_snapshot(tmp_path / "file", panel(), name="x")


def test_a_crash_leaves_nothing_that_counts(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.data.store.os.rename", fail)
    with pytest.raises(StoreError, match="No space left"):
        save_snapshot(tmp_path, panel(), name="x")
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_name_agree_or_one_is_told(tmp_path, monkeypatch):
    rename = os.rename

    def second(source, target):  # another process gets there between check and rename
        monkeypatch.setattr("engine.data.store.os.rename", rename)
        save_snapshot(tmp_path, panel(), name="x")
        rename(source, target)

    monkeypatch.setattr("engine.data.store.os.rename", second)
    found = save_snapshot(tmp_path, panel(), name="x")
    assert not found.problem and len(list(tmp_path.iterdir())) == 1
    other = panel(price_basis="total_return")
    with pytest.raises(StoreError, match="never overwritten"):
        save_snapshot(tmp_path, other, name="x")


def test_a_panel_in_another_base_currency_comes_back(tmp_path):
    # Units of EUR for one unit.
    euro = panel(
        base_currency="EUR",
        fx_currencies=("JPY", "USD"),
        fx=np.column_stack([np.full(5, 0.006), np.full(5, 0.9)]),
    )
    save_snapshot(tmp_path, euro, name="x")
    frames = load_snapshot(tmp_path, "x")
    assert frames.fx["EUR"].iloc[0] == pytest.approx(1 / 0.9)
    assert frames.fx["JPY"].iloc[0] == pytest.approx(0.006 / 0.9)
    after = load_panel(StoreProvider(tmp_path, "x"), base_currency="EUR")
    np.testing.assert_allclose(after.fx_rate("JPY"), 0.006, rtol=1e-15)
    np.testing.assert_allclose(after.base_prices(), euro.base_prices(), rtol=1e-14)


def test_tables_that_cannot_be_kept(tmp_path):
    frame = panel().to_frame()
    bare = Frames(frame.reset_index(drop=True), None, "raw", "x")
    with pytest.raises(DataError, match="indexed by dates"):
        save_snapshot(tmp_path, bare, name="x")
    twice = Frames(frame.set_axis(["A", "A"], axis=1), None, "raw", "x")
    with pytest.raises(DataError, match="there twice"):
        save_snapshot(tmp_path, twice, name="x")
    with pytest.raises(DataError, match="needs prices"):
        save_snapshot(tmp_path, Frames(frame.iloc[:0], None, "raw", "x"), name="x")


# Pull -------------------------------------------------------------------------


class Source:
    """Delivers two currencies without exchange rates, and one ticker less."""

    name = "source"

    def __init__(self, **changes):
        frame = panel().to_frame()
        self.frames = Frames(
            frame, None, "raw", "a source", currency={"NVDA": "USD", "7203.T": "JPY"}
        )._replace(**changes)

    def load(self, tickers, start=None, end=None):
        return self.frames


def test_pull_keeps_what_arrived_and_names_the_rest(tmp_path):
    found = pull(
        Source(), ["NVDA", "7203.T", "X"], "2024-01-02", "2024-01-04", tmp_path, "p"
    )
    assert found.missing == {"X": "not delivered"}
    assert (found.first_date, found.last_date) == ("2024-01-02", "2024-01-04")
    assert found.currencies == ("JPY", "USD")
    with pytest.raises(DataError, match="no exchange rate from JPY"):
        load_panel(StoreProvider(tmp_path, "p"))
    assert load_panel(StoreProvider(tmp_path, "p"), ["NVDA"]).dates.size == 3


def test_pull_uses_fetch_where_there_is_one(tmp_path):
    source = Source(actions=ACTIONS)
    source.fetch = lambda *a: SimpleNamespace(
        frames=source.frames, missing={"GONE": "delisted"}, notes=("scaled",)
    )
    found = pull(source, ["NVDA", "GONE"], None, None, tmp_path, "p")
    assert found.tickers == ("NVDA",) and found.missing == {"GONE": "delisted"}
    assert found.notes == ("scaled",) and found.n_actions == 1


def test_pull_refuses_what_the_panel_would_refuse(tmp_path):
    bad = panel().to_frame()
    bad.iloc[1, 0] = -1.0
    for source, message in (
        (Source(prices=bad), "positive"),
        (Source(currency=None), "currency of a price is not stated"),
        (Source(price_basis=None), "price_basis must be stated"),
        (Source(prices=panel().to_frame().iloc[::-1]), "not in order"),
    ):
        with pytest.raises(DataError, match=message):
            pull(source, ["NVDA"], None, None, tmp_path, "p")
    with pytest.raises(DataError, match="none of the tickers"):
        pull(Source(), ["X"], None, None, tmp_path, "p")
    assert list(tmp_path.iterdir()) == []


def test_the_reference_market_says_it_is_synthetic(tmp_path):
    found = pull("reference", None, "2024-06-01", "2024-12-31", tmp_path, "r")
    assert found.synthetic and "SYNTHETIC" in repr(found)
    assert load_panel(StoreProvider(tmp_path, "r")).synthetic
    assert load_snapshot(tmp_path, "r").cash_rates is not None


# Import -----------------------------------------------------------------------


def test_import_files(tmp_path):
    prices = tmp_path / "p.csv"
    panel().to_frame().to_csv(prices)
    events = tmp_path / "a.csv"
    ACTIONS.to_frame().drop(columns="ratio").to_csv(events, index=False)
    options = {
        "price_basis": "raw",
        "currency": {"NVDA": "USD", "7203.T": "USD"},
        "actions": events,
    }
    store = tmp_path / "store"
    with pytest.raises(DataError, match="dividend_basis"):
        import_files(prices, store, "x", **options)
    found = import_files(
        [prices], store, "x", dividend_basis="split_adjusted", **options
    )
    assert found.n_actions == 2 and found.source == "several files"
    np.testing.assert_array_equal(
        load_panel(StoreProvider(store, "x")).prices, panel().prices
    )
    with pytest.raises(DataError, match="price_basis must be stated"):
        import_files(prices, store, "y", currency="USD")


def test_real_prices_come_back_to_the_bit(real_data, tmp_path):
    real = load_panel(
        real_data / "prices_us_listed.parquet",
        price_basis="total_return",
        universe=real_data / "metadata.csv",
    )
    save_snapshot(tmp_path, real, name="real")
    again = load_panel(StoreProvider(tmp_path, "real"))
    assert again.content_hash == real.content_hash
    assert np.array_equal(again.prices, real.prices, equal_nan=True)
    assert again.universe.to_frame().equals(real.universe.to_frame())
