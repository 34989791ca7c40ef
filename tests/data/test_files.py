"""Files: whole or not at all, never a formula, and one message when unreadable."""

import os
import stat

import pandas as pd
import pytest

from engine.data import files
from engine.data.files import (
    csv_header,
    is_table,
    neutral_cell,
    read_table,
    write_atomic,
    write_csv,
    write_parquet,
)
from engine.errors import DataError, StoreError


def test_what_counts_as_a_table(tmp_path):
    yes = ["a.csv", "a.CSV", "a.csv.gz", "a.tsv", "a.txt", "a.parquet", "a.pq"]
    no = ["a.xlsx", "a.md", "csv", "a.csv.bak", "a.json"]
    assert [is_table(tmp_path / n) for n in yes] == [True] * len(yes)
    assert [is_table(tmp_path / n) for n in no] == [False] * len(no)


def test_column_names_are_stripped_and_duplicates_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(" ticker , weight\nA,1\n")
    assert list(read_table(path, what="portfolio").columns) == ["ticker", "weight"]
    path.write_text("ticker,weight, weight\nA,1,2\n")
    with pytest.raises(DataError, match="portfolio: duplicate column; at asset weight"):
        read_table(path, what="portfolio")


def test_tickers_stay_text_and_numbers_stay_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("ticker,shares,currency\n005930,3,\nNA,4,KRW\nTRUE,NA,USD\n")
    table = read_table(path, what="portfolio")
    assert list(table["ticker"]) == ["005930", "NA", "TRUE"]
    assert table["shares"].isna().tolist() == [False, False, True]
    assert table["currency"].isna().tolist() == [True, False, False]


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DataError, match="universe: a folder where a file was expected"):
        read_table(tmp_path, what="universe")


def test_header_as_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("﻿date,A,A\n1,2,3\n", encoding="utf-8")
    assert csv_header(path) == ["date", "A", "A"]
    with pytest.raises(DataError, match="cannot read"):
        csv_header(tmp_path / "none.csv")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_that_a_spreadsheet_would_run_is_neutralised(text):
    assert neutral_cell(text) == "'" + text


def test_numbers_and_plain_text_are_left_alone():
    assert neutral_cell(-1.5) == -1.5
    assert neutral_cell("NVDA") == "NVDA"
    assert neutral_cell("") == ""


def test_written_csv_holds_no_formula(tmp_path):
    frame = pd.DataFrame(
        {"=ticker": ["=cmd|' /C calc'!A0", "NVDA"], "value": [-1.0, 2.0]}
    )
    text = write_csv(tmp_path / "out.csv", frame).read_text()
    assert text.splitlines()[0] == "'=ticker,value"
    assert text.splitlines()[1].startswith("'=cmd")
    assert "-1.0" in text


def test_write_creates_folders_and_leaves_no_temporary_file(tmp_path):
    path = write_atomic(tmp_path / "a" / "b" / "c.txt", "text")
    assert path.read_text() == "text"
    assert [p.name for p in path.parent.iterdir()] == ["c.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


def test_parquet_round_trip(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    path = write_parquet(tmp_path / "f.parquet", frame)
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_leaves_the_old_file(step, tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "f.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(
        StoreError,
        match=r"cannot write .*f\.txt; received No space left on device\. Nothing was",
    ) as caught:
        write_atomic(path, "new")
    monkeypatch.undo()
    assert isinstance(caught.value, OSError)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_a_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot write"):
        write_atomic(tmp_path / "file" / "out.csv", "x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_in_place_of_the_file_to_write(tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        write_atomic(tmp_path / "out.csv", "x")
    assert os.listdir(tmp_path) == ["out.csv"]
