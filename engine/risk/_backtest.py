"""Rolling one-session forecasts of VaR and expected shortfall, and what happened."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine._progress import Progress, reporter
from engine.data.calendars import known_sessions
from engine.data.panel import PricePanel, parse_time
from engine.data.portfolio import cash_label
from engine.errors import BallastError, DataError, UsageError
from engine.risk._backtest_result import RiskBacktest
from engine.risk._forecasts import MODELS, Block, Forecast, normal_with
from engine.risk._measures import check_level

FEWEST = 250
"""A year: a GARCH, a two-state or a tail fit on less is noise."""


def backtest(
    panel: PricePanel,
    weights: Any,
    *,
    models: str | Sequence[str] = tuple(MODELS),
    level: float = 0.99,
    es_level: float = 0.975,
    window: int = 500,
    refit: int = 21,
    start: Any = None,
    end: Any = None,
    mean: str = "zero",
    missing: str = "raise",
    n_scenarios: int = 10_000,
    seed: int = 0,
    n_jobs: int = 1,
    store: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> RiskBacktest:
    """Forecast the next session's VaR and ES of a book, every session, by each model.

    Parameters
    ----------
    panel : PricePanel
        Prices; every asset of the book needs one on each session used.
    weights : mapping, Series, or (N,) array_like
        Fractions of net asset value, held fixed by daily rebalancing, no costs; sum
        one. ``CASH:<base currency>`` may be among them: it earns nothing here. An
        array is in the order of the panel's tickers.
    models : str or sequence of str
        Names of `engine.risk.MODELS`, or ``normal:<estimator>`` with a covariance
        estimator as in `engine.covariance.compare`.
    level : float, default 0.99
        Of VaR, where regulators test it.
    es_level : float, default 0.975
        Of expected shortfall (Basel Committee 2019).
    window : int, default 500
        Returns each forecast sees, from 250.
    refit : int, default 21
        Sessions between fits of parameters. Volatilities, quantiles of the window and
        state probabilities are updated every session; the copula and a named
        covariance only at refits.
    start, end : date, optional
        First and last session forecast; by default all that the window allows.
    mean : {"zero", "sample"}
        Centre of every law: zero (the copula: cash), or the mean of its window.
    missing : {"raise", "exclude"}
        What to do where a price is missing, or where the panel lacks a session of a
        venue's calendar. A return over more than one session is not what a one-session
        forecast is about: ``exclude`` takes it out of scores and windows alike and
        lists the dates in ``excluded``.
    n_scenarios : int, default 10,000
        Of the copula; the other laws have closed forms or are enumerated.
    seed : int
    n_jobs : int, default 1
        Worker processes, -1 for one per core. Results are the same bit for bit.
    store : path, optional
        Folder where each finished model is kept: a run that was stopped goes on from
        there. Files of other data, settings or versions are not read.
    progress : callable or True, optional
        ``progress(done, total, message)`` after each refit; True shows a bar.

    Returns
    -------
    RiskBacktest

    Raises
    ------
    DataError
        A missing price or session (asset and date are named), or too short a history.
    UsageError
        Unknown models or options out of range.

    Notes
    -----
    Losses are of simple base-currency returns: ``L_t = -sum_i w_i r_ti``. Where venues
    close at different hours they are those of the same session date, as booked.
    Where GARCH, the two states or the copula cannot be fitted, a simpler law stands in
    until the next refit, and ``notes`` counts how often.
    """
    chosen = _models(models)
    levels = (check_level(level), check_level(es_level))
    window = _whole("window", window, FEWEST)
    refit = _whole("refit", refit, 1)
    n_scenarios = _whole("n_scenarios", n_scenarios, 1000)
    for name, value, options in (
        ("mean", mean, ("zero", "sample")),
        ("missing", missing, ("raise", "exclude")),
    ):
        if value not in options:
            raise UsageError(
                f"unknown {name}", received=repr(value), expected=" or ".join(options)
            )
    from engine.parallel import BlockStream, map_ordered, resolve_jobs

    BlockStream(seed)  # refuses a bad seed before any work
    workers = resolve_jobs(n_jobs)
    tickers, w = _weights(panel, weights)
    book = panel.select(tickers)
    data = _data(book, window, start, end, missing)
    settings = (levels, window, refit, mean, missing, n_scenarios, int(seed))
    key = _key(book, w, data, settings)
    report = reporter(progress, "risk") or (lambda done, total, message: None)
    count = -(-len(data.targets) // refit)
    total = count * len(chosen)
    values, notes = [], []
    for m, (name, function) in enumerate(chosen.items()):
        path = None if store is None else Path(store) / f"{_safe(name)}-{key}.npz"
        kept = None if path is None else _load(path)
        if kept is None:
            parts: list[Forecast] = []
            blocks = _blocks(
                data, book, w, levels, window, refit, mean, n_scenarios, seed
            )
            for part in map_ordered(
                partial(_run, name, function),
                blocks,
                executor="serial" if workers == 1 else "processes",
                n_jobs=workers,
            ):
                parts.append(part)
                report(m * count + len(parts), total, f"risk: {name}")
            kept = _joined(name, parts)
            if path is not None:
                _save(path, kept)
        report((m + 1) * count, total, f"risk: {name}")
        values.append(kept.values)
        notes += [kept.note] if kept.note else []
    stacked = np.stack(values)
    if panel.synthetic:
        notes.append("SYNTHETIC prices")
    return RiskBacktest(
        models=tuple(chosen),
        dates=book.dates[data.targets],
        losses=-(data.returns[data.targets] @ w),
        var=stacked[:, :, 0],
        es_var=stacked[:, :, 1],
        es=stacked[:, :, 2],
        level=levels[0],
        es_level=levels[1],
        tickers=tickers,
        weights=w,
        window=window,
        refit=refit,
        mean=mean,
        n_scenarios=n_scenarios,
        seed=int(seed),
        excluded=book.dates[data.excluded],
        notes=tuple(notes),
        data_hash=book.content_hash,
        synthetic=panel.synthetic,
        versions=_versions(),
    )


class _Data(NamedTuple):
    returns: np.ndarray
    """(T, N) simple returns over one session; zero where there is none."""
    valid: np.ndarray
    """Rows that hold a return over one session, in order."""
    targets: np.ndarray
    """Rows forecast."""
    first: int
    """Position of the first target among the valid rows."""
    excluded: np.ndarray
    """Rows used by nobody."""


def _data(book: PricePanel, window: int, start: Any, end: Any, missing: str) -> _Data:
    dates, prices = book.dates, book.adjusted().base_prices()
    complete = np.asarray(np.isfinite(prices).all(axis=1))
    single = complete.copy()
    single[0] = False
    single[1:] &= complete[:-1]
    absent = _absent_sessions(book)
    after = np.searchsorted(dates, absent)
    single[after[after < dates.size]] = False
    valid = np.flatnonzero(single)
    low = 0 if start is None else int(np.searchsorted(dates, parse_time(start)[0]))
    high = dates.size
    if end is not None:
        high = int(np.searchsorted(dates, parse_time(end)[0], side="right"))
    first = int(np.searchsorted(valid, low))
    if start is None:
        first = max(first, window)
    targets = valid[first : np.searchsorted(valid, high)]
    if not targets.size or first < window:
        _too_short(book, window, first, start, end)
    began = valid[first - window]
    gone = np.setdiff1d(np.arange(began, targets[-1] + 1), valid)
    # Missing prices between the last target and the end are gaps of the test too.
    gone = np.union1d(gone, np.setdiff1d(np.arange(targets[-1] + 1, high), valid))
    if gone.size and missing == "raise":
        _refuse(book, prices, absent, int(gone[0]), gone.size)
    returns = np.zeros(prices.shape)
    returns[valid] = prices[valid] / prices[valid - 1] - 1.0
    return _Data(returns, valid, targets, first, gone.astype(np.int64))


def _absent_sessions(book: PricePanel) -> np.ndarray:
    """Sessions of the venues' calendars for which the panel has no row at all."""
    venues = np.array(book.universe.venue)
    days = [
        known_sessions(
            venue,
            book.dates,
            np.asarray(np.isfinite(book.prices[:, venues == venue]).any(axis=1)),
            overrides=book.overrides,
        )
        for venue in sorted(set(book.universe.venue) - {""})
    ]
    if not days:
        return np.empty(0, dtype="datetime64[D]")
    return np.setdiff1d(np.unique(np.concatenate(days)), book.dates)


def _refuse(
    book: PricePanel, prices: np.ndarray, absent: np.ndarray, row: int, size: int
) -> None:
    fix = (
        "Correct the prices, start later, leave the asset out, or pass "
        "missing='exclude' (CLI: --missing exclude): such returns are then left out "
        "and listed."
    )
    for t in (row, row - 1):
        empty = ~np.isfinite(prices[t])
        if empty.any():
            raise DataError(
                "a session without a price: its return would span several sessions",
                asset=book.tickers[int(np.argmax(empty))],
                date=book.dates[t],
                received=f"{size} such sessions",
                fix=fix,
            )
    day = absent[np.searchsorted(absent, book.dates[row]) - 1]
    raise DataError(
        "the prices have no row for a session of the venue's calendar",
        date=day,
        received=f"{size} such gaps",
        fix=fix,
    )


def _too_short(book: PricePanel, window: int, have: int, start: Any, end: Any) -> None:
    counts = np.isfinite(book.prices)
    i = int(np.argmax(counts.argmax(axis=0)))
    began = book.dates[int(counts[:, i].argmax())] if counts[:, i].any() else "never"
    raise DataError(
        "too short a history to forecast the sessions asked for",
        asset=book.tickers[i],
        date=start if start is not None else book.dates[-1],
        received=f"{have} one-session returns before (its first price is on {began}; "
        f"sessions {start or 'from the earliest'} to {end or book.dates[-1]})",
        expected=f"{window} before the first forecast",
        fix="Start later, shorten the window, or leave the asset out.",
    )


def _blocks(
    data: _Data,
    book: PricePanel,
    w: np.ndarray,
    levels: tuple[float, float],
    window: int,
    refit: int,
    mean: str,
    n_scenarios: int,
    seed: int,
) -> Iterator[Block]:
    """What each block may see: returns before its sessions, and the view before it."""
    for begin in range(0, len(data.targets), refit):
        stop = min(begin + refit, len(data.targets))
        used = data.valid[data.first + begin - window : data.first + stop - 1]
        # Copies: a slice would carry the rows around it into a worker.
        known = data.returns[used]
        yield Block(
            rows=known @ w,
            assets=known[:window].copy(),
            weights=w,
            view=book.as_of(book.dates[used[window - 1]]),
            window=window,
            levels=levels,
            keep_mean=mean == "sample",
            seed=int(seed),
            n_scenarios=n_scenarios,
        )


def _run(name: str, function: Callable[[Block], Forecast], block: Block) -> Forecast:
    try:
        found = function(block)
    except BallastError as error:
        raise type(error)(
            f"model {name}: {error.problem}",
            asset=error.asset,
            date=error.date or block.view.date,
            received=error.received,
            expected=error.expected,
            fix=error.fix,
        ) from error
    bad = ~np.isfinite(found.values).all(axis=1) | ~(found.values[:, 2] > 0.0)
    if bad.any():
        raise DataError(
            f"model {name}: the book has no risk to forecast",
            date=block.view.date,
            received=f"VaR and ES {found.values[int(np.argmax(bad))]}",
            fix="Check the prices for long constant stretches.",
        )
    return found


def _joined(name: str, parts: list[Forecast]) -> Forecast:
    replaced = Counter(p.note for p in parts if p.note)
    note = "; ".join(
        f"{name}: {text} at {n} of {len(parts)} refits" for text, n in replaced.items()
    )
    return Forecast(np.concatenate([p.values for p in parts]), note)


def _models(models: str | Sequence[str]) -> dict[str, Callable[[Block], Forecast]]:
    from engine.covariance._named import resolve

    names = (models,) if isinstance(models, str) else tuple(models)
    if not names:
        raise UsageError("no model to test", expected=", ".join(MODELS))
    found: dict[str, Callable[[Block], Forecast]] = {}
    for name in names:
        if name in found:
            raise UsageError("a model is named twice", received=repr(name))
        if name in MODELS:
            found[name] = MODELS[name]
        elif isinstance(name, str) and name.startswith("normal:"):
            estimator = resolve([name.removeprefix("normal:")])
            found[name] = partial(normal_with, next(iter(estimator.values())))
        else:
            raise UsageError(
                "unknown model of risk",
                received=repr(name),
                expected=", ".join(MODELS) + " or normal:<covariance estimator>",
            )
    return found


def _weights(panel: PricePanel, weights: Any) -> tuple[tuple[str, ...], np.ndarray]:
    if not isinstance(panel, PricePanel):
        raise UsageError(
            "a risk backtest needs prices",
            received=type(panel).__name__,
            expected="a PricePanel",
        )
    items = weights.items() if hasattr(weights, "items") else None
    if items is None:
        values = np.asarray(weights, dtype=np.float64)
        if values.shape != (len(panel.tickers),):
            raise DataError(
                "weights do not match the panel's tickers",
                received=values.shape,
                expected=(len(panel.tickers),),
                fix="Pass a mapping from ticker to weight.",
            )
        items = zip(panel.tickers, values, strict=True)
    given: Mapping[str, float] = {str(k): float(v) for k, v in items}
    for ticker, value in given.items():
        if not np.isfinite(value):
            raise DataError("a weight is not finite", asset=ticker, received=value)
    total = sum(given.values())
    if abs(total - 1.0) > 1e-6:
        raise DataError(
            "weights do not sum to one",
            received=f"{total:.8f}",
            fix=f"Add {cash_label(panel.base_currency)} for what is not invested.",
        )
    held = {
        k: v for k, v in given.items() if v and k != cash_label(panel.base_currency)
    }
    if not held:
        raise DataError("the book holds no asset with a price")
    return tuple(held), np.array(list(held.values()))


def _whole(name: str, value: Any, least: int) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise UsageError(
            f"{name} must be a whole number from {least}", received=repr(value)
        )
    return int(value)


def _versions() -> tuple[tuple[str, str], ...]:
    import sys
    from importlib.metadata import version

    import engine

    packages = ("numpy", "scipy", "arch", "statsmodels")
    return (
        ("ballast", engine.__version__),
        ("python", sys.version.split()[0]),
        *((p, version(p)) for p in packages),
    )


def _key(book: PricePanel, w: np.ndarray, data: _Data, settings: tuple) -> str:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((book.content_hash, settings, _versions())).encode())
    for array in (w, data.targets, data.valid):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _safe(name: str) -> str:
    return name.replace(":", "_")


def _save(path: Path, forecast: Forecast) -> None:
    from engine.data.files import write_atomic

    buffer = io.BytesIO()
    np.savez(buffer, values=forecast.values, note=np.array(forecast.note))
    write_atomic(path, buffer.getvalue())


def _load(path: Path) -> Forecast | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Forecast(kept["values"], str(kept["note"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
