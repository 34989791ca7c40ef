"""Compare a synthetic market with a real one, side by side, statistic by statistic.

Daily log returns of each column between its own consecutive observations; both panels
are cut to the tickers and dates they share. One table in long form: ``statistic``,
``group``, ``real``, ``synthetic``, ``difference``, ``ratio`` and, where further
synthetic panels are given, the range over them (``low``, ``high``), without which a
difference in a fourth moment cannot be judged: ten years hold about three crashes.

    python -m engine.data.reference_resemblance --prices FILE [FILE...]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from engine.data._reference import DEFAULT_SEED, SYNTHETIC_LABEL, reference_frames

AI_BASKET = "NVDA AVGO AMD MRVL MU TSM ARM SMCI DELL ANET VRT CEG VST GEV ORCL".split()
SQUARES_LAGS = (1, 5, 20)


def read_frame(path: Path) -> pd.DataFrame:
    """Read a wide CSV or Parquet file, dates first, into a float frame by date."""
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        frame = frame.set_index("date") if "date" in frame.columns else frame
    else:
        frame = pd.read_csv(path, index_col=0)
    frame.index = pd.DatetimeIndex(pd.to_datetime(frame.index), name="date")
    return frame.sort_index()


def log_returns(prices: pd.DataFrame) -> pd.DataFrame:
    """Log return of each column between its own consecutive observations."""
    out = {}
    for column in prices.columns:
        seen = prices[column].dropna()
        out[column] = pd.Series(np.log(seen.to_numpy()), index=seen.index).diff()
    return pd.DataFrame(out).reindex(prices.index)


def square_moments(Y: np.ndarray) -> np.ndarray:
    """Log kurtosis and autocorrelation of squares, lags 1, 5, 20; (4, M) of (T, M)."""
    square = Y**2
    level = (square**2).mean(axis=0) / square.mean(axis=0) ** 2
    c = square - square.mean(axis=0)
    own = (c * c).mean(axis=0)
    lags = [(c[k:] * c[:-k]).sum(axis=0) / len(c) / own for k in SQUARES_LAGS]
    return np.array([np.log(level), *lags])


def resemblance(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    metadata: pd.DataFrame,
    *,
    others: Sequence[pd.DataFrame] = (),
    market: str = "SPY",
    basket: Sequence[str] = AI_BASKET,
) -> pd.DataFrame:
    """Tabulate the statistics of a real and a synthetic price panel side by side.

    Parameters
    ----------
    real, synthetic : (T, N) DataFrame
        Wide prices by date; NaN where shut or unlisted.
    metadata : DataFrame
        One row per ticker: ticker, asset_class, country, region, ai_theme, calendar.
    others : sequence of DataFrame
        Further synthetic panels (other seeds), for the columns ``low`` and ``high``:
        the range of each statistic over all synthetic panels.
    market : str
        Ticker that stands for the market.
    basket : sequence of str
        The AI infrastructure names; those present are averaged.

    Returns
    -------
    DataFrame
        Volatility is per year; the other statistics have no unit.
    """
    facts = metadata.set_index("ticker")
    panels = []
    for name, panel in (("real", real), ("synthetic", synthetic)):
        if market not in panel.columns:
            raise ValueError(f"the {name} panel has no column {market}, the market")
    shared = [t for t in synthetic.columns if t in real.columns and t in facts.index]
    start = max(real.index[0], synthetic.index[0])
    end = min(real.index[-1], synthetic.index[-1])
    for panel in (real, synthetic, *others):
        cut = panel.loc[start:end, shared].dropna(how="all")
        panels.append(_statistics(log_returns(cut), facts.loc[shared], market, basket))
    table = pd.concat(panels[:2], axis=1, keys=["real", "synthetic"])
    table["difference"] = table["synthetic"] - table["real"]
    table["ratio"] = table["synthetic"] / table["real"].where(table["real"] != 0.0)
    if others:
        spread = pd.concat(panels[1:], axis=1)
        table["low"], table["high"] = spread.min(axis=1), spread.max(axis=1)
    return table.reset_index()


def asset_groups(facts: pd.DataFrame) -> pd.Series:
    """Name the group of each asset: its AI role, else what kind of asset it is."""
    labels = {}
    for ticker, row in facts.iterrows():
        kind, home = row["asset_class"], row["country"] == "United States"
        if kind in ("equity", "adr"):
            plain = "no AI role, US" if home else "no AI role, abroad"
            labels[ticker] = plain if row["ai_theme"] == "none" else row["ai_theme"]
        elif kind == "etf_equity":
            labels[ticker] = "funds, US" if home else f"funds, {row['region']}"
        else:
            labels[ticker] = str(kind).removeprefix("etf_")
    return pd.Series(labels, dtype=object)


def _statistics(
    R: pd.DataFrame, facts: pd.DataFrame, market: str, basket: Sequence[str]
) -> pd.Series:
    """Every statistic of one panel of log returns (T, N), keyed (statistic, group)."""
    groups = asset_groups(facts)
    per_year = len(R[market].dropna()) / ((R.index[-1] - R.index[0]).days / 365.25)
    by_asset = {"volatility": R.std() * np.sqrt(per_year), "excess kurtosis": R.kurt()}
    for lag in SQUARES_LAGS:
        by_asset[f"autocorrelation of squares, lag {lag}"] = R.apply(
            _square_autocorrelation, lag=lag
        )
    rows: dict[tuple[str, str], float] = {}
    for name, values in by_asset.items():
        rows[name, market] = float(values[market])
        rows[name, "all, median"] = float(values.median())
        for group, median in values.groupby(groups).median().items():
            rows[name, str(group)] = float(median)
        if name == "volatility":
            rows |= {("volatility of", str(t)): float(v) for t, v in values.items()}
    corr = R.corr(min_periods=60)
    for field in ("ai_theme", "region"):
        rows |= _blocks(corr, facts[field], f"correlation, {field}")
    rows |= _basket_betas(R, groups, market, basket)
    rows |= _asynchrony(R, facts, market)
    out = pd.Series(rows, dtype=float)
    out.index = out.index.set_names(["statistic", "group"])
    return out


def _square_autocorrelation(r: pd.Series, lag: int) -> float:
    """Autocorrelation of squared returns (T,) over the column's own sessions."""
    x = r.dropna().to_numpy() ** 2
    x = x - x.mean()
    return float((x[lag:] * x[:-lag]).sum() / (x * x).sum())


def _blocks(
    corr: pd.DataFrame, labels: pd.Series, name: str
) -> dict[tuple[str, str], float]:
    """Average off-diagonal correlation within and between the groups of a label."""
    values = corr.to_numpy(copy=True)
    np.fill_diagonal(values, np.nan)
    where = {g: np.flatnonzero(labels == g) for g in sorted(labels.unique())}
    out = {}
    for a, b in itertools.combinations_with_replacement(where, 2):
        block = values[np.ix_(where[a], where[b])]
        if np.isfinite(block).any():
            out[name, a if a == b else f"{a} x {b}"] = float(np.nanmean(block))
    return out


def _basket_betas(
    R: pd.DataFrame, groups: pd.Series, market: str, basket: Sequence[str]
) -> dict[tuple[str, str], float]:
    """Betas to the AI basket minus the market, the market held fixed.

    r_g = a + b_m r_m + b_ai (r_basket - r_m) + e by least squares, r_g the equal-weight
    mean of the group; the coefficient b_ai is reported.
    """
    m = R[market]
    spread = R[[t for t in basket if t in R.columns]].mean(axis=1) - m
    kept = m.notna() & spread.notna()
    per_year = kept.sum() / ((R.index[-1] - R.index[0]).days / 365.25)
    out = {
        ("AI basket", "volatility over the market"): float(
            spread[kept].std() * np.sqrt(per_year)
        ),
        ("AI basket", "market beta"): float(1.0 + spread.cov(m) / m.var()),
    }
    for group in sorted(groups.unique()):
        y = R.loc[kept, groups.index[groups == group]].mean(axis=1).dropna()
        X = np.column_stack([np.ones(len(y)), m[y.index], spread[y.index]])
        b = np.linalg.lstsq(X, y.to_numpy(), rcond=None)[0]
        out["AI-basket beta", group] = float(b[2])
    return out


def _asynchrony(
    R: pd.DataFrame, facts: pd.DataFrame, market: str
) -> dict[tuple[str, str], float]:
    """Correlations with the market on the same date and with its last session before.

    Only for listings on other venues: a same-date join hides what is in the second.
    """
    out = {}
    before = R[market].ffill().shift(1)
    for ticker in facts.index[facts["calendar"] != facts.loc[market, "calendar"]]:
        out["correlation with the market, same date", str(ticker)] = float(
            R[ticker].corr(R[market])
        )
        out["correlation with the market, lagged", str(ticker)] = float(
            R[ticker].corr(before)
        )
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; prints the table and returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--prices", nargs="+", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--seeds", type=int, default=8, help="panels for the range")
    parser.add_argument("--all", action="store_true", help="every asset and block")
    given = parser.parse_args(arguments)
    try:
        real = pd.concat([read_frame(path) for path in given.prices], axis=1, sort=True)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    made = reference_frames(given.seed)
    others = [reference_frames(given.seed + k).prices for k in range(1, given.seeds)]
    table = resemblance(real, made.prices, made.metadata, others=others)
    if not given.all:
        detail = table["statistic"].eq("volatility of")
        detail |= table["group"].str.contains(" x ") & ~table["group"].str.contains(
            "semis x|x semis|none x|North America x"
        )
        table = table[~detail]
    print(SYNTHETIC_LABEL)
    for statistic, part in table.groupby("statistic", sort=False):
        print(f"\n{statistic}")
        text = part.drop(columns="statistic").to_string(
            index=False, float_format="%.3f"
        )
        print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
