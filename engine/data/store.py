"""A store of immutable snapshots: write, find, verify, and fill from a source.

A snapshot is a folder ``<store>/<name>/``. It is written beside its place and renamed
into it, so it is whole or absent; it is never overwritten: a name means one content for
good. What such a folder holds, and how it is hashed, is in `engine.data.snapshot`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.data.actions import CorporateActions
from engine.data.calendars import read_overrides
from engine.data.files import write_atomic
from engine.data.load import load_panel
from engine.data.panel import PricePanel
from engine.data.provider import Frames, Provider, provider
from engine.data.snapshot import (
    FACTS,
    FORMAT,
    MANIFEST,
    Snapshot,
    altered,
    from_parquet,
    hash_tables,
    library_versions,
    membership_of,
    panel_frames,
    read_manifest,
    read_snapshot,
    session_days,
    to_parquet,
    to_tables,
    universe_of,
)
from engine.errors import DataError, StoreError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHORTEST_HASH = 8


class StoreProvider:
    """A snapshot as a source for `load_panel`.

    Parameters
    ----------
    folder : path
    ref : str
        Name of the snapshot, or its content hash (8 characters or more).
    """

    name = "store"

    def __init__(self, folder: str | os.PathLike, ref: str) -> None:
        self.folder = Path(folder)
        self.ref = ref

    def load(
        self, tickers: Sequence[str] | None = None, start: Any = None, end: Any = None
    ) -> Frames:
        """Return the snapshot's tables; ``tickers`` and dates are cut later."""
        return load_snapshot(self.folder, self.ref)


def save_snapshot(
    folder: str | os.PathLike,
    frames: Frames | PricePanel,
    *,
    name: str,
    actions: CorporateActions | None = None,
    missing: Mapping[str, str] | None = None,
    notes: Iterable[str] = (),
) -> Snapshot:
    """Write a snapshot, whole or not at all.

    Parameters
    ----------
    folder : path
        The store; made if absent.
    frames : Frames or PricePanel
        What to keep. Exchange rates of a panel are turned back into USD for one unit.
    name : str
        Letters, digits, dot, dash and underscore.
    actions : CorporateActions, optional
        Kept with the prices; those in ``frames`` by default.
    missing, notes : optional
        Kept in the manifest.

    Returns
    -------
    Snapshot
        The one that was there, if it holds the same content under this name.

    Raises
    ------
    StoreError
        The name is taken by another content, or the folder cannot be written.
    DataError
        The name is not allowed, or the tables cannot be kept.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            "not a name for a snapshot",
            received=repr(name),
            expected="letters, digits, dot, dash and underscore; 100 at most",
        )
    if isinstance(frames, PricePanel):
        frames = panel_frames(frames)
    actions = actions if actions is not None else frames.actions
    tables, facts = to_tables(frames, actions)
    digest = hash_tables(tables, facts)
    root, target = Path(folder), Path(folder) / name
    if target.exists():
        return _same_or_refuse(root, name, digest)
    prices = tables["prices"]
    codes = frames.universe.quote_currency if frames.universe is not None else ()
    manifest = {
        "format": FORMAT,
        "name": name,
        "content_hash": digest,
        **facts,
        "currencies": sorted({*codes, *(frames.currency or {}).values()} - {""}),
        "tickers": [str(c) for c in prices.columns],
        "first_date": session_days(prices)[0].astype(str),
        "last_date": session_days(prices)[-1].astype(str),
        "n_dates": len(prices),
        "n_actions": 0 if actions is None else len(actions),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "missing": dict(missing or {}),
        "notes": list(notes),
        "versions": library_versions(),
        "files": {},
    }
    temporary = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}.", suffix=".part"))
        for table, frame in tables.items():
            content = to_parquet(frame)
            write_atomic(temporary / f"{table}.parquet", content)
            manifest["files"][f"{table}.parquet"] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
        write_atomic(temporary / MANIFEST, text + "\n")
        for file in temporary.iterdir():
            file.chmod(0o444)
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, StoreError):
            raise
        if target.exists():  # another process was first
            return _same_or_refuse(root, name, digest)
        raise StoreError(
            f"cannot write the snapshot {name}",
            received=error.strerror or str(error),
            fix="Nothing was kept. Free space or choose another folder.",
        ) from error
    return read_snapshot(target)


def _same_or_refuse(root: Path, name: str, digest: str) -> Snapshot:
    there = read_snapshot(root / name)
    if there.content_hash != digest:
        raise StoreError(
            f"the name {name} is taken: snapshots are never overwritten",
            received=f"content {digest[:12]}",
            expected=f"content {there.content_hash[:12]}, or a new name",
            fix=there.problem or "Choose another name.",
        )
    load_snapshot(root, name)  # what is there must still be what it says
    return there


def list_snapshots(folder: str | os.PathLike) -> tuple[Snapshot, ...]:
    """Return the snapshots of a store by name; one that cannot be read says why.

    Only manifests are read; `load_snapshot` verifies the files.

    Raises
    ------
    StoreError
        The folder does not exist.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError("no such store", received=str(root), expected="a folder")
    found = []
    for path in sorted(root.iterdir()):
        if path.is_dir() and _NAME.fullmatch(path.name):
            try:
                found.append(read_snapshot(path))
            except StoreError as error:
                found.append(Snapshot(path.name, path=str(path), problem=str(error)))
    return tuple(found)


def find_snapshot(folder: str | os.PathLike, ref: str) -> Snapshot:
    """Return the snapshot of a name or content hash (8 characters or more)."""
    root = Path(folder)
    if _NAME.fullmatch(ref) and (root / ref).is_dir():
        return read_snapshot(root / ref)
    every = list_snapshots(root)
    if len(ref) >= _SHORTEST_HASH:
        found = [s for s in every if s.content_hash.startswith(ref)]
        if len({s.content_hash for s in found}) == 1:
            return found[0]
    raise DataError(
        "no such snapshot",
        received=repr(ref),
        expected="one of: " + (", ".join(s.name for s in every) or "none, it is empty"),
    )


def load_snapshot(folder: str | os.PathLike, name_or_hash: str) -> Frames:
    """Return the tables of a snapshot, after checking every digest.

    Raises
    ------
    StoreError
        It does not exist, a file is missing or was altered, or the manifest was.
    """
    snapshot = find_snapshot(folder, name_or_hash)
    path = Path(snapshot.path)
    manifest = read_manifest(path)
    tables = {}
    for file, facts in manifest["files"].items():
        if Path(file).name != file:
            raise altered(path, file, "a name that leaves the folder")
        try:
            content = (path / file).read_bytes()
        except OSError as error:
            raise altered(path, file, error.strerror or str(error)) from error
        if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
            raise altered(path, file, "another digest than the manifest")
        tables[file.removesuffix(".parquet")] = from_parquet(content, path, file)
    facts = {k: manifest.get(k) for k in FACTS}
    if hash_tables(tables, facts) != manifest["content_hash"]:
        raise altered(path, MANIFEST, "another content than its hash")
    return Frames(
        prices=tables["prices"],
        universe=universe_of(tables.get("universe")),
        price_basis=manifest["price_basis"],
        source=f"{manifest['source']} (snapshot {snapshot.name}, "
        f"{snapshot.content_hash[:12]})",
        fx=tables.get("fx"),
        cash_rates=tables.get("cash_rates"),
        open=tables.get("open"),
        volume=tables.get("volume"),
        currency=manifest["currency"],
        synthetic=bool(manifest["synthetic"]),
        actions=None
        if "actions" not in tables
        else CorporateActions.from_frame(
            tables["actions"],
            dividend_basis=manifest["dividend_basis"],
            source=manifest["source"],
        ),
        membership=membership_of(tables.get("membership")),
        overrides=read_overrides(tables.get("overrides")),
    )


def pull(
    source: str | Provider,
    tickers: Sequence[str] | None,
    start: Any,
    end: Any,
    folder: str | os.PathLike,
    name: str,
) -> Snapshot:
    """Fetch from a provider into a store; what does not come is named, not lost.

    Parameters
    ----------
    source : str or Provider
        ``"yahoo"``, ``"reference"``, or a provider. One with a method ``fetch`` may
        deliver part of the tickers; `Snapshot.missing` says which are not there.
    tickers : list of str or None
    start, end : date or None
        Inclusive.
    folder, name
        As for `save_snapshot`.

    Raises
    ------
    DataError, SourceError
        Nothing arrived, or what arrived would be refused by `load_panel`.
    """
    maker = provider(source) if isinstance(source, str) else source
    wanted = None if tickers is None else list(dict.fromkeys(tickers))
    missing: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    fetch = getattr(maker, "fetch", None)
    if fetch is not None:
        got = fetch(wanted, start, end)
        frames, missing, notes = got.frames, got.missing, got.notes
    else:
        frames = maker.load(wanted, start, end)
    arrived = [str(c) for c in frames.prices.columns]
    if wanted is not None:
        arrived = [t for t in wanted if t in arrived]
        absent = set(wanted) - set(arrived) - set(missing)
        missing = {**missing, **dict.fromkeys(sorted(absent), "not delivered")}
    if not arrived:
        raise DataError("none of the tickers arrived", received=", ".join(missing))
    frames = _checked(frames, arrived, start, end)
    return save_snapshot(folder, frames, name=name, missing=missing, notes=notes)


class _Given:
    """Frames already at hand, as a provider."""

    name = "given"

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def load(
        self, tickers: Sequence[str] | None, start: Any = None, end: Any = None
    ) -> Frames:
        return self.frames


def _checked(frames: Frames, tickers: list[str], start: Any, end: Any) -> Frames:
    """Cut the frames to tickers and dates, after `load_panel` accepts every asset.

    Each quote currency is checked on its own, so exchange rates may come later.
    """
    stated = dict(frames.currency or {})
    universe = frames.universe
    for i, ticker in enumerate(universe.tickers if universe is not None else ()):
        if universe is not None and universe.quote_currency[i]:
            stated.setdefault(ticker, universe.quote_currency[i])
    groups: dict[str, list[str]] = {}
    for ticker in tickers:
        groups.setdefault(stated.get(ticker, ""), []).append(ticker)
    if "" in groups:
        raise DataError(
            "the currency of a price is not stated",
            asset=groups[""][0],
            fix="State it in the file, the universe, or with currency=.",
        )
    bare = frames._replace(fx=None, cash_rates=None)
    panels = [
        load_panel(_Given(bare), names, start, end, base_currency=code)
        for code, names in groups.items()
    ]
    first = min(p.dates[0] for p in panels).astype(str)
    last = max(p.dates[-1] for p in panels).astype(str)

    def cut(frame):
        if frame is None:
            return None
        keep = [t for t in tickers if t in frame.columns]
        return frame.loc[first:last, keep]

    return frames._replace(
        prices=cut(frames.prices),
        open=cut(frames.open),
        volume=cut(frames.volume),
        universe=None if universe is None else universe.select(tickers),
        currency=frames.currency and {t: stated[t] for t in tickers},
        actions=frames.actions and frames.actions.select(tickers),
    )


def import_files(
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    folder: str | os.PathLike,
    name: str,
    *,
    tickers: Iterable[str] | None = None,
    start: Any = None,
    end: Any = None,
    price_basis: str | None = None,
    currency: str | Mapping[str, str] | None = None,
    universe: Any = None,
    fx: Any = None,
    cash_rates: Any = None,
    actions: Any = None,
    dividend_basis: str | None = None,
    membership: Any = None,
    calendar: Any = None,
    base_currency: str = "USD",
) -> Snapshot:
    """Bring files into a store, once `load_panel` accepts them.

    Parameters
    ----------
    paths : path or list of paths
        Files or a folder, in the layouts of `load_panel`, whose options the others are.
    actions : path or CorporateActions, optional
    dividend_basis : {"as_paid", "split_adjusted"}
        Required with a path of actions.
    membership, calendar : optional
        Kept with the prices.

    Raises
    ------
    DataError
        As `load_panel`; or the actions cannot be read.
    StoreError
        As `save_snapshot`.
    """
    many = isinstance(paths, Sequence) and not isinstance(paths, str)
    panel = load_panel(
        list(paths) if many else paths,  # type: ignore[arg-type]
        tickers,
        start,
        end,
        base_currency=base_currency,
        universe=universe,
        price_basis=price_basis,
        currency=currency,
        fx=fx,
        cash_rates=cash_rates,
        actions=actions,
        dividend_basis=dividend_basis,
        membership=membership,
        calendar=calendar,
    )
    return save_snapshot(folder, panel, name=name)
