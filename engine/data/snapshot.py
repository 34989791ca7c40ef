"""What a snapshot holds: its tables, its manifest and the digests that guard it.

One Parquet file per table, and ``manifest.json``. Two digests: SHA-256 of every file's
bytes, and a content hash of the labels, dates and numbers themselves, which does not
change with the Parquet writer and which a caller can pin.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine._base import Value
from engine.data.actions import CorporateActions
from engine.data.membership import Membership
from engine.data.panel import PricePanel
from engine.data.provider import Frames
from engine.data.universe import Universe
from engine.errors import DataError, StoreError

FORMAT = 1
MANIFEST = "manifest.json"
_TABLES = ("prices", "open", "volume", "fx", "cash_rates")
_UNIVERSE_TEXT = (
    "name asset_class venue country region sector quote_currency exposure_currency "
    "theme role"
).split()
_UNIVERSE_DATES = ("role_known_from", "listed_from", "listed_until")

FACTS = ("source", "price_basis", "currency", "synthetic", "dividend_basis")
"""Parts of the manifest that the content hash covers."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot(Value):
    """What a snapshot holds, as its manifest says.

    Attributes
    ----------
    name, content_hash : str
    path : str
        Its folder.
    source : str
        Where the prices came from.
    price_basis : str or None
    currencies : tuple of str
        Quote currencies, sorted; those not stated are left out.
    tickers : tuple of str
    first_date, last_date : str
        Session dates, ISO.
    n_dates, n_actions : int
    synthetic : bool
    created : str
        UTC, ISO; not part of the hash.
    missing : mapping of str to str
        Tickers asked for that the source did not deliver, with the reason.
    notes : tuple of str
        What the source scaled, left out or found odd.
    versions : mapping of str to str
    problem : str
        Why it cannot be used; empty when it can.
    """

    name: str
    content_hash: str = ""
    path: str = ""
    source: str = ""
    price_basis: str | None = None
    currencies: tuple[str, ...] = ()
    tickers: tuple[str, ...] = ()
    first_date: str = ""
    last_date: str = ""
    n_dates: int = 0
    n_actions: int = 0
    synthetic: bool = False
    created: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, value in plain.items():
            if isinstance(value, tuple):
                plain[name] = list(value)
            elif isinstance(value, Mapping):
                plain[name] = dict(value)
        return plain

    def __repr__(self) -> str:
        if self.problem:
            return f"Snapshot({self.name}: {self.problem})"
        mark = "SYNTHETIC, " if self.synthetic else ""
        return (
            f"Snapshot({self.name}, {mark}{len(self.tickers)} assets, {self.n_dates} "
            f"dates {self.first_date} to {self.last_date}, {self.price_basis}, "
            f"{self.content_hash[:12]})"
        )


def panel_frames(panel: PricePanel) -> Frames:
    """Tables of a panel, its exchange rates turned back into USD for one unit."""
    import pandas as pd

    prices = panel.to_frame()

    def frame(values, columns):
        return pd.DataFrame(values, index=prices.index, columns=list(columns))

    fx = None
    if panel.fx_currencies:
        dollars = np.ones(panel.dates.size)
        rates = panel.fx
        codes = list(panel.fx_currencies)
        if panel.base_currency != "USD":
            # Base units for one unit, divided by base units for one dollar.
            dollars = panel.fx_rate("USD")
            keep = [i for i, c in enumerate(codes) if c != "USD"]
            base = 1.0 / dollars[:, None]
            rates = np.column_stack([panel.fx[:, keep] / dollars[:, None], base])
            codes = [*(codes[i] for i in keep), panel.base_currency]
        fx = frame(rates, codes)
    cash = None
    if panel.cash_currencies:
        cash = frame(panel.cash_rates, panel.cash_currencies)
    return Frames(
        prices=prices,
        universe=panel.universe,
        price_basis=panel.price_basis,
        source=panel.source,
        fx=fx,
        cash_rates=cash,
        open=None if panel.open is None else frame(panel.open, panel.tickers),
        volume=None if panel.volume is None else frame(panel.volume, panel.tickers),
        synthetic=panel.synthetic,
        actions=panel.actions,
        membership=panel.membership,
        overrides=panel.overrides,
    )


def to_tables(frames: Frames, actions: CorporateActions | None):
    """Return tables by name, and the facts that go with them."""
    import pandas as pd

    tables = {}
    for name in _TABLES:
        frame = getattr(frames, name)
        if frame is None:
            continue
        if not isinstance(frame.index, pd.DatetimeIndex):
            raise DataError(f"{name}: a snapshot needs a table indexed by dates")
        frame = frame.astype(np.float64)
        frame.columns = pd.Index([str(c) for c in frame.columns])
        if len(set(frame.columns)) != len(frame.columns):
            raise DataError(f"{name}: a ticker is there twice")
        tables[name] = frame.rename_axis(index="date", columns=None)
    if not tables["prices"].size:
        raise DataError("a snapshot needs prices", received="an empty table")
    if frames.universe is not None:
        tables["universe"] = _universe_table(frames.universe)
    if actions is not None:
        tables["actions"] = actions.to_frame()
    if frames.membership is not None:
        tables["membership"] = frames.membership.to_frame()
    if frames.overrides:
        tables["overrides"] = pd.DataFrame(frames.overrides)
    return tables, {
        "source": frames.source,
        "price_basis": frames.price_basis,
        "currency": frames.currency,
        "synthetic": frames.synthetic,
        "dividend_basis": None if actions is None else actions.dividend_basis,
    }


def _universe_table(universe: Universe):
    import pandas as pd

    columns: dict[str, Any] = {"ticker": list(universe.tickers)}
    columns |= {n: list(getattr(universe, n)) for n in _UNIVERSE_TEXT}
    for i, name in enumerate(("ai_share_low", "ai_share", "ai_share_high")):
        columns[name] = universe.ai_share[:, i]
    if not np.isnan(universe.ai_capex).all():  # older snapshots have no such column
        columns["ai_capex"] = universe.ai_capex
    for name in _UNIVERSE_DATES:
        columns[name] = getattr(universe, name).astype("datetime64[ns]")
    return pd.DataFrame(columns)


def membership_of(table) -> Membership | None:
    """Return the membership that a snapshot's table holds, if there is one."""
    return None if table is None else Membership.from_frame(table)


def universe_of(table) -> Universe | None:
    """Return the universe that a snapshot's table holds, if there is one."""
    if table is None:
        return None
    shares = table[["ai_share_low", "ai_share", "ai_share_high"]].to_numpy(np.float64)
    dates = {n: table[n].to_numpy().astype("datetime64[D]") for n in _UNIVERSE_DATES}
    text = {n: tuple(table[n].astype(str)) for n in _UNIVERSE_TEXT}
    capex = table["ai_capex"].to_numpy(np.float64) if "ai_capex" in table else None
    return Universe(
        tuple(table["ticker"].astype(str)),
        ai_share=shares,
        ai_capex=np.empty(0) if capex is None else capex,
        **text,
        **dates,
    )


def session_days(frame) -> np.ndarray:
    """(T,) datetime64[D] of a table indexed by dates."""
    return frame.index.to_numpy().astype("datetime64[D]")


def hash_tables(tables: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Digest of labels, dates and numbers, whatever file they lie in."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tables):
        frame = tables[name]
        digest.update(f"\0{name}\0{list(map(str, frame.columns))!r}\0".encode())
        if name in _TABLES:
            digest.update(session_days(frame).astype(np.int64).tobytes())
            values = frame.to_numpy(np.float64)
            # One bit pattern for all kinds of NaN.
            clean = np.where(np.isnan(values), np.nan, values)
            digest.update(np.ascontiguousarray(clean).tobytes())
            continue
        for column in frame.columns:
            values = frame[column].to_numpy()
            if values.dtype.kind == "M":
                days = values.astype("datetime64[D]").astype(np.int64)
                digest.update(days.tobytes())
            elif values.dtype.kind == "f":
                digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
            else:
                digest.update(json.dumps([str(v) for v in values]).encode())
    return digest.hexdigest()


def to_parquet(frame) -> bytes:
    """Return the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(content: bytes, path: Path, file: str):
    """Read the bytes of one file of the snapshot in ``path``."""
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(content))
    except Exception as error:  # pyarrow raises many kinds
        raise altered(path, file, "not a Parquet file") from error


def altered(path: Path, file: str, found: str) -> StoreError:
    """Return the error for a file that is not as it was written."""
    return StoreError(
        f"the snapshot {path.name} was altered: {file}",
        received=found,
        expected="the file as it was written",
        fix="Restore the folder from a copy, or pull again under a new name.",
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read and check the manifest of the snapshot in ``path``."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the snapshot {path.name} has no readable manifest", received=str(error)
        ) from error
    needed = {"format", "content_hash", "files", *FACTS}
    if not isinstance(manifest, dict) or not needed <= set(manifest):
        raise StoreError(f"the manifest of the snapshot {path.name} lacks entries")
    if manifest["format"] != FORMAT:
        raise StoreError(
            f"the snapshot {path.name} has another format",
            received=manifest["format"],
            expected=FORMAT,
        )
    return manifest


def read_snapshot(path: Path) -> Snapshot:
    """Describe the snapshot in ``path`` by its manifest; its tables stay unread."""
    manifest = read_manifest(path)
    known = set(Snapshot.__dataclass_fields__) - {"name", "path", "problem"}
    values = {k: v for k, v in manifest.items() if k in known}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return Snapshot(path.name, path=str(path), **values)


def library_versions() -> dict[str, str]:
    """Versions of what wrote a snapshot."""
    import importlib.metadata as metadata
    import platform

    versions = {"python": platform.python_version()}
    for package in ("ballast-risk", "numpy", "pandas", "pyarrow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
