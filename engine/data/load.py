"""Prices into a `PricePanel`: files, folders, DataFrames and providers.

Nothing is guessed: the price basis and every currency are stated by the caller, by
the universe, or by the file; otherwise the load is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.actions import CorporateActions
from engine.data.adjust import convert
from engine.data.calendars import read_overrides
from engine.data.exits import join_renamed
from engine.data.exposures import read_exposures
from engine.data.files import csv_header, is_table, read_table
from engine.data.look_through import read_look_through
from engine.data.membership import Membership
from engine.data.panel import PricePanel, parse_time
from engine.data.provider import Frames, Provider, provider
from engine.data.rates import cash_table, fx_table
from engine.data.tables import from_table, merge, numbers, wide_table
from engine.data.universe import (
    Universe,
    _did_you_mean,
    check_currency,
    universe_from,
)
from engine.errors import DataError, UsageError

SYNTHETIC_MARK = "synthetic"
"""A price file with this in its name is read as synthetic: a table carries no other
label, and prices written from a synthetic panel are named so."""


def load_panel(
    source: Any,
    tickers: Iterable[str] | None = None,
    start: Any = None,
    end: Any = None,
    *,
    base_currency: str = "USD",
    universe: Any = None,
    price_basis: str | None = None,
    currency: str | Mapping[str, str] | None = None,
    fx: Any = None,
    cash_rates: Any = None,
    exposures: Any = None,
    actions: Any = None,
    dividend_basis: str | None = None,
    as_basis: str | None = None,
    membership: Any = None,
    calendar: Any = None,
    look_through: Any = None,
) -> PricePanel:
    """Load prices from a file, a folder, a DataFrame or a named provider.

    Parameters
    ----------
    source : str, path, list of paths, DataFrame, Provider or PricePanel
        CSV or Parquet. *Wide*: first column ``date``, then one column per ticker.
        *Tidy*: columns ``date, ticker, close`` and optionally ``open, volume,
        currency``. A folder may hold wide files, tidy files, or one file per ticker
        (named ``TICKER.csv``, with columns ``date, close``). ``"reference"`` is the
        embedded synthetic market.
    tickers : list of str, optional
        Which assets, in which order; all by default.
    start, end : date, optional
        First and last session date, inclusive.
    base_currency : str, default "USD"
    universe : Universe, DataFrame, path or None
        Labels of the assets; columns as in `Universe.from_frame`.
    price_basis : {"raw", "split_adjusted", "total_return"}
        Required unless the source itself states it.
    currency : str or mapping, optional
        Quote currency of every asset, or by ticker; overrides nothing: a conflict
        with the universe is an error.
    fx : DataFrame or path, optional
        Date index (or column), one column per currency: USD for one unit.
    cash_rates : DataFrame or path, optional
        Date index (or column), one column per currency: annual rate as a decimal.
    exposures : "builtin", path or DataFrame, optional
        Dated AI roles and shares per company (`engine.data.exposures`); without it a
        company takes the unsourced band of its role.
    actions : CorporateActions, DataFrame or path, optional
        Splits, distributions, renames, mergers and delistings; those of the source by
        default. Columns of old names are joined under the last one.
    dividend_basis : {"as_paid", "split_adjusted"}
        Required with actions from a table: per share of their day, or divided by all
        later splits, as vendors give them.
    as_basis : {"raw", "split_adjusted", "total_return"}, optional
        Turn the prices into this basis by the corporate actions; ``price_basis`` says
        what the source holds.
    membership : Membership, DataFrame or path, optional
        Columns ticker, start, end: who may be bought, and when; everyone by default.
    calendar : path, DataFrame or list, optional
        Days on which a venue did not follow its calendar, as
        `engine.data.calendars.read_overrides`.
    look_through : path or DataFrame, optional
        What dated documents say funds hold (`engine.data.look_through`); without it
        `engine.fit` estimates that from returns.

    Returns
    -------
    PricePanel

    Raises
    ------
    DataError
        Anything missing, duplicated, unsorted, non-positive, non-finite, textual, or
        unstated; the message names the asset, the date and the value.

    Examples
    --------
    >>> panel = load_panel("reference", ["NVDA", "JPM"])
    >>> panel.tickers, panel.synthetic
    (('NVDA', 'JPM'), True)
    """
    if isinstance(source, PricePanel):
        _refuse_options(
            universe=universe,
            price_basis=price_basis,
            currency=currency,
            fx=fx,
            cash_rates=cash_rates,
            exposures=exposures,
            actions=actions,
            as_basis=as_basis,
            membership=membership,
            calendar=calendar,
            look_through=look_through,
        )
        panel = source
        if tickers is not None:
            panel = panel.select(tickers)
        return panel if start is end is None else panel.between(start, end)
    wanted = None if tickers is None else list(dict.fromkeys(tickers))
    frames = _frames(source, wanted, start, end, price_basis)
    prices = wide_table(frames.prices, what=frames.source)
    events = _actions(actions, dividend_basis, frames.actions)
    if events is not None:
        prices, events = _under_last_names(prices, events)
    labels = universe_from(universe) or frames.universe
    if wanted is not None:
        for ticker in wanted:
            if ticker not in prices.columns:
                raise DataError(
                    "no prices for this ticker",
                    asset=ticker,
                    received=f"{len(prices.columns)} tickers in {frames.source}",
                    fix=_did_you_mean(ticker, prices.columns),
                )
        prices = prices[wanted]
    values = numbers(prices)
    dates = prices.index.to_numpy().astype("datetime64[D]")
    rows = _range(dates, start, end)
    values, dates = values[rows], dates[rows]
    # Dates on which no asset kept here has a price belong to other venues.
    alive = np.isfinite(values).any(axis=1) | np.isinf(values).any(axis=1)
    values, dates = values[alive], dates[alive]
    names = list(prices.columns)
    for i, name in enumerate(names):
        if np.isnan(values[:, i]).all():
            raise DataError(
                "no price at all in the range asked for",
                asset=str(name),
                received=f"{start or 'start'} to {end or 'end'}",
                fix="Leave the ticker out, or widen the range.",
            )
    labels = (labels or Universe(())).select(names)
    labels = _with_currency(labels, currency, frames.currency)
    if exposures is not None:
        labels = labels.with_exposures(read_exposures(exposures))
    if look_through is not None:
        labels = labels.with_look_through(read_look_through(look_through))
    stated = price_basis or frames.price_basis
    if price_basis and frames.price_basis and price_basis != frames.price_basis:
        raise DataError(
            "price_basis contradicts what the source states",
            received=price_basis,
            expected=frames.price_basis,
        )
    if stated is None:
        raise DataError(
            "price_basis must be stated",
            received="nothing",
            expected="raw, split_adjusted or total_return",
            fix="Pass price_basis= (CLI: --price-basis).",
        )
    base = check_currency(base_currency)
    fx_codes, fx_values = fx_table(
        fx if fx is not None else frames.fx, dates, base, labels
    )
    cash_codes, cash_values = cash_table(
        cash_rates if cash_rates is not None else frames.cash_rates, dates
    )

    def extra(frame):
        if frame is None:
            return None
        if events is not None:
            frame, _ = _under_last_names(frame, events)
        return frame.reindex(index=prices.index, columns=names).to_numpy(np.float64)[
            rows
        ][alive]

    panel = PricePanel(
        dates=dates,
        prices=values,
        universe=labels,
        price_basis=stated,
        base_currency=base,
        fx_currencies=fx_codes,
        fx=fx_values,
        cash_currencies=cash_codes,
        cash_rates=cash_values,
        open=extra(frames.open),
        volume=extra(frames.volume),
        source=frames.source,
        synthetic=frames.synthetic,
        actions=None if events is None else events.select(names),
        membership=frames.membership if membership is None else _membership(membership),
        overrides=frames.overrides if calendar is None else read_overrides(calendar),
    )
    return panel if as_basis is None else convert(panel, as_basis)


def _refuse_options(**options: Any) -> None:
    """A panel is loaded already: what it holds cannot be stated again."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            f"{given[0]}= does not apply to a panel that is loaded already",
            fix="Load the source again with it.",
        )


def _actions(given: Any, basis: str | None, own: Any) -> CorporateActions | None:
    """Return the actions given, else those of the source."""
    if given is None or isinstance(given, CorporateActions):
        return own if given is None else given
    if basis is None:
        raise DataError(
            "dividend_basis must be stated",
            expected="as_paid or split_adjusted",
            fix="Vendors divide past dividends by later splits: split_adjusted.",
        )
    if hasattr(given, "columns"):
        return CorporateActions.from_frame(given, dividend_basis=basis)
    return CorporateActions.read(given, dividend_basis=basis)


def _under_last_names(frame, events: CorporateActions):
    """Join the columns of a company's names, and its events, under the last name."""
    if "rename" not in events.kind:
        return frame, events
    return join_renamed(frame, events), events.under_last_names()


def _membership(given: Any) -> Membership:
    if isinstance(given, Membership):
        return given
    if hasattr(given, "columns"):
        return Membership.from_frame(given)
    return Membership.read(given)


def _frames(source: Any, tickers, start, end, basis: str | None = None) -> Frames:
    if isinstance(source, Provider) and not isinstance(source, (str, Path)):
        return source.load(tickers, start, end)
    if hasattr(source, "columns") and hasattr(source, "index"):
        return from_table(source, "DataFrame", price_basis=basis)
    if isinstance(source, (list, tuple)):
        return merge([_read_one(Path(p), basis) for p in source], "several files")
    if isinstance(source, str) and not Path(source).exists() and _is_name(source):
        return provider(source).load(tickers, start, end)
    if not isinstance(source, (str, Path)):
        raise DataError(
            "cannot load prices from this",
            received=type(source).__name__,
            expected="a path, a DataFrame or the name of a provider",
        )
    path = Path(source)
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.is_file() and is_table(f))
        if not files:
            raise DataError("no CSV or Parquet file in the folder", received=str(path))
        return merge([_read_one(f, basis) for f in files], str(path.name))
    return _read_one(path, basis)


def _is_name(text: str) -> bool:
    return text.replace("-", "").replace("_", "").isalnum()


def _read_one(path: Path, basis: str | None = None) -> Frames:
    if path.exists() and path.is_file() and path.stat().st_size:
        header = csv_header(path) if is_table(path) else []
        repeated = sorted({c for c in header if header.count(c) > 1})
        if repeated:
            raise DataError(
                f"duplicate ticker in {path.name}",
                asset=repeated[0],
                fix="Keep one column per ticker.",
            )
    table = read_table(path, what="prices")
    stem = path.name.split(".")[0]
    frames = from_table(table, path.name, stem=stem, price_basis=basis)
    return frames._replace(synthetic=SYNTHETIC_MARK in path.name.lower())


def _range(dates: np.ndarray, start: Any, end: Any) -> slice:
    lo = 0 if start is None else int(np.searchsorted(dates, parse_time(start)[0]))
    hi = dates.size
    if end is not None:
        hi = int(np.searchsorted(dates, parse_time(end)[0], side="right"))
    if lo >= hi:
        raise DataError(
            "no dates in the range asked for",
            received=f"{start or 'start'} to {end or 'end'}",
            expected=f"within {dates[0]} to {dates[-1]}",
        )
    return slice(lo, hi)


def _with_currency(universe: Universe, given: Any, from_file: Any) -> Universe:
    from dataclasses import replace

    codes = list(universe.quote_currency)
    for i, ticker in enumerate(universe.tickers):
        for source in (from_file, given):
            if source is None:
                continue
            code = source if isinstance(source, str) else source.get(ticker)
            if code is None:
                continue
            code = check_currency(code, asset=ticker)
            if codes[i] and codes[i] != code:
                raise DataError(
                    "two currencies are stated for one asset",
                    asset=ticker,
                    received=f"{code} and {codes[i]}",
                )
            codes[i] = code
    exposure = tuple(
        e or q for e, q in zip(universe.exposure_currency, codes, strict=True)
    )
    return replace(universe, quote_currency=tuple(codes), exposure_currency=exposure)
