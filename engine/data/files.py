"""Reading users' tables and writing results: nothing executed, nothing half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.data.dialect import encoding_of, read_figures, separator_of
from engine.errors import DataError, InputNote, StoreError

_PARQUET = (".parquet", ".pq")
_CSV = (".csv", ".csv.gz", ".csv.xz", ".csv.bz2", ".csv.zst", ".txt", ".tsv")
_MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def is_table(path: Path) -> bool:
    """Whether the name looks like a table Ballast reads."""
    name = path.name.lower()
    return name.endswith(_PARQUET) or name.endswith(_CSV)


def read_table(source: Any, *, what: str):
    """Read one CSV or Parquet file as a pandas table, dates still as text.

    Parameters
    ----------
    source : str or path
    what : str
        What the file is meant to hold; opens every message.

    Raises
    ------
    DataError
        The file is missing, empty, unreadable, or of an unknown kind.
    """
    import pandas as pd

    path = Path(source)
    if not path.exists():
        raise DataError(f"{what}: no such file", received=str(path))
    if path.is_dir():
        raise DataError(f"{what}: a folder where a file was expected", received=path)
    if path.stat().st_size == 0:
        raise DataError(f"{what}: the file is empty", received=str(path))
    try:
        if path.name.lower().endswith(_PARQUET):
            table = pd.read_parquet(path)
            if table.index.name is not None:
                table = table.reset_index()
        elif path.name.lower().endswith(_CSV):
            table = _read_csv(path, "\t" if path.suffix == ".tsv" else ",", what=what)
        else:
            raise DataError(
                f"{what}: unknown file type",
                received=path.name,
                expected=".csv, .csv.gz, .tsv or .parquet",
            )
    except (DataError, InputNote):
        raise
    except Exception as error:  # pandas, pyarrow and zlib raise many kinds
        reason = str(error).strip().splitlines()
        raise DataError(
            f"{what}: cannot read {path}",
            received=reason[0][:200] if reason else type(error).__name__,
            fix="Is it a valid CSV or Parquet file in UTF-8?",
        ) from error
    if table.empty:
        raise DataError(f"{what}: no rows in {path}")
    table.columns = [str(c).strip() for c in table.columns]
    repeated = [c for c in table.columns if list(table.columns).count(c) > 1]
    if repeated:
        raise DataError(f"{what}: duplicate column", asset=repeated[0])
    return table


def _read_csv(path: Path, separator: str, *, what: str):
    """Read a CSV with tickers as written: 005930 keeps its zeros, NA is a name."""
    import pandas as pd

    encoding = encoding_of(path)
    heading = pd.read_csv(path, sep="\0", nrows=0, encoding=encoding).columns
    separator = separator_of(" ".join(map(str, heading)), separator)
    columns = pd.read_csv(path, sep=separator, nrows=0, encoding=encoding).columns
    labels = [c for c in columns if str(c).strip().lower() == "ticker"]
    table = pd.read_csv(
        path,
        sep=separator,
        encoding=encoding,
        low_memory=False,
        dtype=str if separator == ";" else dict.fromkeys(labels, str),
        keep_default_na=False,
        na_values={c: [""] if c in labels else list(_MISSING) for c in columns},
    )
    if separator != ";" and what != "portfolio":
        return table  # figures with commas in quotes are refused where they are used
    return read_figures(
        table, separator=separator, source=path.name, skip={*labels, *_dated(columns)}
    )


def _dated(columns: Any) -> list[Any]:
    """Columns of dates, which points may separate."""
    return [c for c in columns if str(c).strip().lower() in ("date", "datum")]


def csv_header(path: Path) -> list[str]:
    """Column names as written: pandas renames duplicates before anyone can see them."""
    import csv
    import gzip

    name = path.name.lower()
    opener: Callable = gzip.open if name.endswith(".gz") else open
    if name.endswith(_PARQUET) or name.endswith((".xz", ".bz2", ".zst")):
        return []
    try:
        encoding = encoding_of(path).replace("utf-8", "utf-8-sig")
        with opener(path, "rt", encoding=encoding, newline="") as handle:
            usual = "\t" if name.endswith(".tsv") else ","
            line = handle.readline()
            rows = csv.reader([line], delimiter=separator_of(line, usual))
            return [c.strip() for c in next(rows, [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}", received=str(error)) from error


def write_atomic(path: str | os.PathLike, content: bytes | str) -> Path:
    """Write a file whole or not at all: a temporary file, flushed, then renamed.

    Raises
    ------
    StoreError
        The folder cannot be made or written, or the disk is full. A file that was
        there before is untouched.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part"
        )
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise StoreError(
            f"cannot write {path}",
            received=error.strerror or str(error),
            fix="Nothing was changed there. Free space or choose another --out.",
        ) from error
    return path


def neutral_cell(value: Any) -> Any:
    """Text a spreadsheet would run as a formula gets a leading apostrophe."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def write_csv(path: str | os.PathLike, frame) -> Path:
    """Write a table as CSV, whole or not at all, with formulas neutralised."""
    import pandas as pd

    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(neutral_cell)
    safe.columns = [neutral_cell(str(c)) for c in safe.columns]
    return write_atomic(path, safe.to_csv(index=False))


def write_parquet(path: str | os.PathLike, frame) -> Path:
    """Write a table as Parquet, whole or not at all."""
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return write_atomic(path, buffer.getvalue())
