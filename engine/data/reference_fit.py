r"""Fit the parameters of the synthetic reference market to any wide price panel.

Model, for the standardised log return z of asset i on session t::

    z_it = b_i' f_t + e_it                              anchor venue (New York)
    z_it = b0_i' f_t + b1_i' F_(p,t) + c_i' g_t + e_it  earlier closes, FX fixings

``f`` holds a few dense factors named after an anchor (market, AI basket, rates,
dollar, commodity) and one factor per region, country, sector and AI theme; ``F_(p,t)``
sums ``f`` over the anchor sessions since the previous local session ``p``: what New
York did after the local close is local news the next day. Loadings minimise the
squared error of the off-diagonal correlations (minres; Harman and Jones, 1966,
Psychometrika 31), one row at a time. Every factor and residual then follows
GJR-GARCH(1,1) (Glosten, Jagannathan and Runkle, 1993) with Student-t innovations,
times a power of the market's conditional variance: the common volatility regime.
Factors share the mixing variable of their t: extremes fall on the same days. Dynamics
are chosen on grids, so there is no optimiser to fail silently: by likelihood, and for
the market and the reach of the regime also by the moments of simulated paths, because
a likelihood alone leaves the size of crises almost undetermined.

    python -m engine.data.reference_fit --prices FILE [FILE...] --metadata FILE \
        --fx FILE --rates FILE --event-date 2025-01-27 --tickers ... --out FILE
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine.data.reference_dynamics import (
    fit_dynamics,
    garch_variance,
    match_market,
    match_regime,
)
from engine.data.reference_judgement import (
    DERIVED_CURRENCIES,
    PEG_PERSISTENCE,
    PEGS,
    PREMIA_PA,
    choose_currencies,
    premia_pa,
    rate_table,
    rounded,
)
from engine.data.reference_resemblance import (
    AI_BASKET,
    log_returns,
    read_frame,
)
from engine.errors import DataError

DEFAULT_TICKERS = """
NVDA AVGO AMD MRVL ARM INTC MU TSM UMC ASML AMAT LRCX KLAC ANET CIEN COHR SMCI DELL
ETN VRT GEV PWR CEG VST NRG TLN APLD CORZ EQIX DLR ORCL MSFT GOOGL AMZN META CRM NOW
PLTR ADBE AAPL TSLA DUK SO D
JPM JNJ PG KO WMT LLY UNH XOM BRK-B HD CAT V MCD PFE
BABA BIDU JD SAP SONY TM NVO NVS AZN HSBC SHEL BHP INFY
SPY QQQ RSP SMH XLK XLU XLP XLV XLF XLE XLI EFA VGK EWJ EWY EWT EWG EWU EWQ EWL EWC EWZ
EWW INDA MCHI KWEB FXI EEM EMXC EWA USMV SCHD VNQ
TLT IEF AGG LQD HYG BIL GLD DBC UUP FXE FXY
2330.TW 0050.TW 0700.HK 9988.HK
""".split()
META_COLUMNS = (
    "name asset_class country region sector ai_theme quote_currency "
    "exposure_currency calendar session_close_utc_winter first_date last_date"
).split()

SMALLEST_LOADING = 0.004  # smaller ones are stored as zero


class Panel(NamedTuple):
    """What the fit reads: prices (T, N) and FX (T, C), labelled; NaN where absent."""

    prices: pd.DataFrame
    fx: pd.DataFrame
    rates: pd.Series
    metadata: pd.DataFrame
    digests: dict[str, str]


def read_panel(
    prices: Sequence[Path],
    metadata: Path,
    fx: Path,
    rates: Path,
    tickers: Sequence[str],
) -> Panel:
    """Read and join the input files; a ticker missing anywhere is a DataError."""
    meta = pd.read_csv(metadata, dtype=str, keep_default_na=False).set_index("ticker")
    frames = [read_frame(path) for path in prices]
    joined = pd.concat(frames, axis=1, sort=True)
    joined = joined.loc[:, ~joined.columns.duplicated()]
    absent = [t for t in tickers if t not in joined.columns or t not in meta.index]
    if absent:
        raise DataError(
            f"no prices or no metadata for {', '.join(absent)}: leave them out of "
            "--tickers, or add the file that holds them to --prices"
        )
    meta = meta.loc[list(tickers)]
    rate = read_frame(rates).iloc[:, 0].dropna() / 100.0
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*prices, metadata, fx, rates)
    }
    return Panel(joined[list(tickers)], read_frame(fx), rate, meta, digests)


def lagged_positions(local: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """Row of the one anchor session in [previous local session, t), else -1.

    ``local`` (T,) and ``anchor`` (T,) are open flags on shared dates. Rows where zero
    or several anchor sessions fell between are -1: their variance differs.
    """
    count = np.cumsum(anchor)
    rows = np.flatnonzero(local)
    out = np.full(local.size, -1)
    anchor_rows = np.flatnonzero(anchor)
    for p, t in itertools.pairwise(rows):
        before, upto = (count[p - 1] if p else 0), count[t - 1]
        if upto - before == 1:
            out[t] = anchor_rows[upto - 1]
    return out


def factor_mask(
    meta: pd.DataFrame, basket: Sequence[str], market: str
) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Name the factors, their anchors, and say which asset may load on which.

    Returns
    -------
    names : list of K str
    anchors : one list of tickers per named dense factor
    mask : (N, K) bool
        Shares load on dense factors and on their own groups. Equity funds load on
        every group of a kind (home: sectors and themes; abroad: regions, countries
        and themes), so that their look-through is estimated instead of assumed.
    """
    anchors = [("market", [market]), ("ai", [t for t in basket if t in meta.index])]
    for label, asset_class in (
        ("rates", "etf_bond"),
        ("dollar", "etf_currency"),
        ("commodity", "etf_commodity"),
    ):
        members = meta.index[meta["asset_class"] == asset_class].tolist()
        if members:
            anchors.append((label, members[:1]))
    home = {str(k): str(v) for k, v in meta.loc[market].items()}
    fund = meta["asset_class"].str.startswith("etf_equity").to_numpy()
    at_home = (meta["country"] == home["country"]).to_numpy()
    names = [label for label, _ in anchors] + ["style:1", "style:2"]
    columns = [np.ones(len(meta), dtype=bool) for _ in names]
    for field in ("region", "country", "sector", "ai_theme"):
        look_through = fund if field == "ai_theme" else fund & ~at_home
        look_through = fund & at_home if field == "sector" else look_through
        for value in sorted(set(meta[field]) - {"none", "Global", home[field]}):
            member = (meta[field] == value).to_numpy()
            if member.sum() >= (3 if field == "sector" else 2):
                names.append(f"{field}:{value}")
                columns.append(member | look_through)
    return names, [tickers for _, tickers in anchors], np.column_stack(columns)


def minres_loadings(
    corr: np.ndarray,
    mask: np.ndarray,
    *,
    anchors: Sequence[np.ndarray] = (),
    most: np.ndarray | float = 0.995,
    ridge: np.ndarray | float = 2e-3,
    sweeps: int = 80,
) -> np.ndarray:
    """Fit loadings (N, K) with a zero pattern to the off-diagonal correlations.

    Minimises sum over i != j of (corr_ij - b_i'b_j)^2 + ridge_i |b_i|^2, a row at a
    time, with communality |b_i|^2 at most ``most``. A NaN correlation (two series never
    open together) carries no weight. The first columns start from the portfolios
    ``anchors`` (each (N,)), the others from the leading eigenvector of what the
    columns before leave among their own assets.
    """
    known = np.isfinite(corr)
    np.fill_diagonal(known, False)
    target = np.where(known, corr, 0.0)
    B = np.zeros(mask.shape)
    most, ridge = (np.broadcast_to(x, len(B)) for x in (most, ridge))
    for k in range(mask.shape[1]):
        rows = np.flatnonzero(mask[:, k])
        left = target - B @ B.T
        if k < len(anchors):
            np.fill_diagonal(left, 0.9 - (B**2).sum(axis=1).clip(max=0.8))
            a = anchors[k]
            B[:, k] = left @ a / math.sqrt(max(a @ left @ a, 1e-4))
            continue
        left = left[np.ix_(rows, rows)]
        np.fill_diagonal(left, 0.0)
        value, vector = np.linalg.eigh(left)
        B[rows, k] = vector[:, -1] * math.sqrt(max(value[-1], 1e-4) * 0.9)
    for _ in range(sweeps):
        for i in range(len(B)):
            cols, rows = np.flatnonzero(mask[i]), np.flatnonzero(known[i])
            X = B[np.ix_(rows, cols)]
            gram = X.T @ X + ridge[i] * np.eye(cols.size)
            b = np.linalg.solve(gram, X.T @ target[i, rows])
            # a Heywood case: a communality above one has no residual variance left
            B[i, cols] = b * min(1.0, math.sqrt(most[i] / max(b @ b, 1e-12)))
    return B


def rotate_to_anchors(
    B: np.ndarray, anchors: Sequence[np.ndarray], n_dense: int
) -> np.ndarray:
    """Rotate the dense columns so that anchor k loads on factors 0..k only, k positive.

    ``anchors`` are portfolios (N,) of standardised returns; B B' does not change.
    """
    rows = np.array([a @ B[:, :n_dense] for a in anchors])
    Q, R = np.linalg.qr(rows.T, mode="complete")
    sign = np.ones(n_dense)
    sign[: len(rows)] = np.where(np.diag(R) < 0, -1.0, 1.0)
    out = B.copy()
    out[:, :n_dense] = B[:, :n_dense] @ (Q * sign)
    return out


def factor_scores(Z: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Regression scores (T, K) of standardised returns Z (T, N), NaN where absent.

    f_t = (I + B'D^-1 B)^-1 B'D^-1 z_t over the assets seen on t (Thomson, 1951).
    """
    weight = B / np.maximum(1.0 - (B**2).sum(axis=1), 0.005)[:, None]
    scores = np.zeros((len(Z), B.shape[1]))
    seen = np.isfinite(Z)
    patterns, which = np.unique(seen, axis=0, return_inverse=True)
    for g, pattern in enumerate(patterns):
        rows = which.ravel() == g
        gram = np.eye(B.shape[1]) + B[pattern].T @ weight[pattern]
        scores[rows] = np.linalg.solve(
            gram, weight[pattern].T @ Z[rows][:, pattern].T
        ).T
    return scores


def planted_dates(
    open_dates: dict[str, pd.DatetimeIndex], anchor: str, event: pd.Timestamp
) -> dict[str, list[pd.Timestamp]]:
    """Sessions whose documented moves are planted, per calendar.

    The anchor venue: the event and the rebound one session later. A venue that closes
    earlier in the day: from the event to its first close after the event's, which for
    Taipei in 2025 is a single session one week later.
    """
    out = {}
    for venue, dates in open_dates.items():
        after = dates[dates > event][:1]
        on = dates[dates == event]
        out[venue] = on.append(after).to_list()
    if open_dates[anchor].get_indexer(pd.Index([event]))[0] < 0:
        raise DataError(f"the anchor venue {anchor} has no session on {event.date()}")
    return out


def early_loadings(
    Z: np.ndarray, z: np.ndarray, lagged: np.ndarray, B: np.ndarray, ridge: float = 0.03
) -> tuple[np.ndarray, np.ndarray]:
    """Same-date and lagged loadings (K,), (K,) of one earlier-closing series z (T,)."""
    b = []
    for partner in (Z, np.where(lagged[:, None] >= 0, Z[lagged], np.nan)):
        both = np.isfinite(partner) & np.isfinite(z)[:, None]
        n = both.sum(axis=0)
        product = np.where(both, partner * z[:, None], 0.0).sum(axis=0)
        corr = product / np.maximum(n, 1)
        keep = n > 250  # a correlation from less than a year moves nothing
        X = B[keep]
        b.append(
            np.linalg.solve(X.T @ X + ridge * np.eye(X.shape[1]), X.T @ corr[keep])
        )
    shrink = min(1.0, math.sqrt(0.9 / max(b[0] @ b[0] + b[1] @ b[1], 1e-12)))
    return b[0] * shrink, b[1] * shrink


def pairwise_correlation(Z: np.ndarray, least: int = 60) -> np.ndarray:
    """Correlations (N, N) over the dates each pair shares; NaN below ``least``."""
    return pd.DataFrame(Z).corr(min_periods=least).to_numpy()


def significant(value: float, digits: int = 6) -> float:
    """Round one number to significant digits."""
    return float(f"{value:.{digits}g}")


def fit_anchor(
    Z: np.ndarray,
    sd: np.ndarray,
    meta: pd.DataFrame,
    basket: Sequence[str],
    market: str,
) -> tuple[list[str], np.ndarray]:
    """Fit factor names and loadings (N, K) of the anchor venue's returns Z (T, N)."""
    names, anchors, mask = factor_mask(meta, basket, market)
    portfolios = [meta.index.isin(group) * sd for group in anchors]
    share = ~meta["asset_class"].str.startswith("etf").to_numpy()
    seen = np.isfinite(Z).sum(axis=0)
    B = minres_loadings(
        pairwise_correlation(Z),
        mask,
        anchors=portfolios,
        most=np.where(share, 0.85, 0.995),
        # a young listing says little: its loadings are pulled to zero the harder
        ridge=np.where(share, 0.01, 0.002) * seen.max() / seen,
    )
    B = rotate_to_anchors(B, portfolios, int(mask.all(axis=0).sum()))
    used = np.flatnonzero(np.abs(B).max(axis=0) > SMALLEST_LOADING)
    return [names[k] for k in used], B[:, used]


def fit_early(
    Z: np.ndarray,
    E: np.ndarray,
    venue: Sequence[str],
    us_open: np.ndarray,
    B: np.ndarray,
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Fit the series E (T, M) that close before New York, and currencies.

    They load on the anchor factors of the date and of what New York did since the last
    local session; then share one factor per venue, one over all local listings and
    three among the currencies. Returns the names of those, and the three loadings.
    """
    pairs = []
    for j in range(E.shape[1]):
        lagged = lagged_positions(np.isfinite(E[:, j]), us_open)
        pairs.append(early_loadings(Z, E[:, j], lagged, B))
    B0, B1 = np.array([b[0] for b in pairs]), np.array([b[1] for b in pairs])
    local = np.array([v != "FX" for v in venue])
    members = {"local": local}
    for name in sorted(set(venue) - {"FX"}):
        members[name] = np.array([v == name for v in venue])
    members |= {f"fx:{k}": ~local for k in (1, 2, 3)}
    members = {k: rows for k, rows in members.items() if rows.any()}
    left = pairwise_correlation(E) - B0 @ B0.T - B1 @ B1.T
    C = minres_loadings(left, np.column_stack(list(members.values())))
    spare = np.maximum(0.98 - (B0**2).sum(1) - (B1**2).sum(1), 0.0)
    C *= np.sqrt(np.minimum(1.0, spare / np.maximum((C**2).sum(1), 1e-12)))[:, None]
    used = np.flatnonzero(np.abs(C).max(axis=0) > SMALLEST_LOADING)
    return [list(members)[k] for k in used], B0, B1, C[:, used]


def early_residuals(
    E: np.ndarray, F: np.ndarray, B0: np.ndarray, B1: np.ndarray, C: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (T, G) of the early factors and residuals (T, M), given F (T, K)."""
    F = np.nan_to_num(F)
    total = np.cumsum(np.vstack([np.zeros(F.shape[1]), F]), axis=0)
    early = E.copy()
    for j in range(E.shape[1]):
        at = np.flatnonzero(np.isfinite(E[:, j]))
        since = np.concatenate([[0], at[:-1]])
        early[at, j] -= F[at] @ B0[j] + (total[at] - total[since]) @ B1[j]
    scale = np.sqrt(np.nanmean(early**2, axis=0))
    G = factor_scores(early / scale, C / scale[:, None])
    residual = early - G @ C.T
    G[~np.isfinite(E).any(axis=1)] = np.nan
    return G, residual


def fit_reference(
    panel: Panel, *, market: str, basket: Sequence[str], event: pd.Timestamp, text: str
) -> dict[str, Any]:
    """Fit everything the generator needs; returns what goes into the JSON file."""
    meta, prices = panel.metadata, panel.prices
    anchor = str(meta.loc[market, "calendar"])
    home = meta["calendar"] == anchor
    us = home.to_numpy()
    venues = {
        str(v): open_on(prices[meta.index[meta["calendar"] == v].tolist()])
        for v in meta["calendar"].unique()
    }
    dates = open_on(prices)
    wanted, currencies = choose_currencies(meta, panel.fx)
    fx = panel.fx.loc[panel.fx.index.isin(dates), currencies].reindex(dates)

    # The planted moves are kept apart: a shock that is put in again must not also
    # fatten the tails from which the other days are drawn.
    plant = planted_dates({**venues, "FX": open_on(fx)}, anchor, event)
    R, money = log_returns(prices.reindex(dates)), log_returns(fx)
    moves = event_moves(R, money, meta, plant)
    for venue, on in plant.items():
        R.loc[on, meta.index[meta["calendar"] == venue]] = np.nan
    money.loc[plant["FX"]] = np.nan
    sd = R.std().to_numpy()
    scaled = ((R - R.mean()) / R.std()).to_numpy()
    Z = scaled[:, us]
    E = np.hstack([scaled[:, ~us], ((money - money.mean()) / money.std()).to_numpy()])
    us_open = dates.isin(venues[anchor])
    early_venue = [*meta["calendar"][~home], *(["FX"] * len(currencies))]

    names, B = fit_anchor(Z, sd[us], meta[home], basket, market)
    members, B0, B1, C = fit_early(Z, E, early_venue, us_open, B)
    F = factor_scores(Z, B)
    F = np.where(us_open[:, None], F / np.sqrt((F[us_open] ** 2).mean(axis=0)), np.nan)
    G, residual = early_residuals(E, F, B0, B1, C)

    first = match_market(F[us_open, 0])
    regime = garch_variance(F[:, :1], *first[:3, None])[:, 0]
    series = np.hstack([F[:, 1:], Z - np.nan_to_num(F) @ B.T, G, residual])
    series = series / np.sqrt(np.nanmean(series**2, axis=0))
    dynamics = np.vstack([first, fit_dynamics(series, regime / regime.mean())])
    sizes = np.cumsum([F.shape[1], Z.shape[1], G.shape[1]])
    split = [rounded(part, 4) for part in np.split(dynamics, sizes)]

    loadings = np.zeros((us.size, len(names)))
    loadings[us], loadings[~us] = B, (B0 + B1)[: int((~us).sum())]
    place = {str(t): k for k, t in enumerate(meta.index)}
    bonds = meta.index[us & (meta["asset_class"] == "etf_bond").to_numpy()]
    earners = {
        "market": [place[market]],
        "ai": [place[t] for t in basket if t in place],
        "rates": [place[str(t)] for t in bonds[:1]],
    }
    earners = {k: rows for k, rows in earners.items() if rows}
    par: dict[str, Any] = {
        "source": {
            "text": text,
            "first_date": dates[0].date().isoformat(),
            "last_date": dates[-1].date().isoformat(),
            "sha256": panel.digests,
            "left_out_of_the_fit": {k: _iso(v) for k, v in plant.items()},
            "judgement": {
                "premia_pa": PREMIA_PA,
                "premia_why": "the realised AI premium is not planted; at zero a hedge "
                "would be free",
                "derived_currencies": DERIVED_CURRENCIES,
                "derived_why": "the FX source has no such series",
                "pegs": "convertibility and ERM II bands",
                "policy_rates": "all cash rates but USD, from general knowledge",
            },
        },
        "market": market,
        "basket": [t for t in basket if t in meta.index],
        "calendars": {
            "anchor": anchor,
            "closed_weekdays": {
                v: _iso(pd.bdate_range(dates[0], dates[-1]).difference(on))
                for v, on in venues.items()
            },
        },
        "metadata": {
            "columns": ["ticker", *META_COLUMNS],
            "rows": [[t, *meta.loc[t, META_COLUMNS]] for t in meta.index],
        },
        "assets": {
            "volatility": [significant(x, 5) for x in sd],
            "premium_pa": rounded(premia_pa(loadings, sd, names, earners), 4),
        },
        "factors": {"names": names, "dynamics": split[0]},
        "anchor_block": {
            "tickers": meta.index[us].tolist(),
            "loadings": rounded(B, 4, SMALLEST_LOADING),
            "dynamics": split[1],
        },
        "early_block": {
            "names": [*meta.index[~us], *currencies],
            "calendars": early_venue,
            "volatility": [significant(x, 5) for x in [*sd[~us], *money.std()]],
            "same_date": rounded(B0, 4, SMALLEST_LOADING),
            "lagged": rounded(B1, 4, SMALLEST_LOADING),
            "factors": members,
            "factor_loadings": rounded(C, 4, SMALLEST_LOADING),
            "factor_dynamics": split[2],
            "dynamics": split[3],
        },
        "fx": {
            "start": {c: significant(fx[c].dropna().iloc[0], 5) for c in currencies},
            "pegs": {k: v for k, v in PEGS.items() if k in currencies},
            "peg_persistence": PEG_PERSISTENCE,
            "derived": {
                k: v
                for k, v in DERIVED_CURRENCIES.items()
                if k in wanted and v["like"] in currencies and k not in currencies
            },
        },
        "rates": rate_table(panel.rates, sorted(wanted)),
        "event": {"date": event.date().isoformat(), "moves": moves},
    }
    par["source"]["regime_power_scale"] = match_regime(par, R.kurt().to_numpy())
    return par


def open_on(frame: pd.DataFrame) -> pd.DatetimeIndex:
    """Dates on which at least one column has a value."""
    return pd.DatetimeIndex(frame.dropna(how="all").index)


def _iso(dates: Any) -> list[str]:
    return [d.date().isoformat() for d in dates]


def event_moves(
    stock: pd.DataFrame,
    money: pd.DataFrame,
    meta: pd.DataFrame,
    plant: dict[str, list[pd.Timestamp]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Collect the simple returns to plant, by calendar, date and name."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for venue, on in plant.items():
        frame = money if venue == "FX" else stock.loc[:, meta["calendar"] == venue]
        out[venue] = {
            date.date().isoformat(): {
                str(c): round(math.expm1(x), 5)
                for c, x in zip(frame.columns, frame.loc[date].to_numpy(), strict=True)
                if math.isfinite(x)
            }
            for date in on
        }
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the fit; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--prices", nargs="+", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--fx", type=Path, required=True, help="USD per unit, wide")
    parser.add_argument(
        "--rates", type=Path, required=True, help="first column: USD cash rate, %%"
    )
    parser.add_argument("--event-date", default="2025-01-27")
    parser.add_argument("--market", default="SPY", help="anchors the market factor")
    parser.add_argument("--basket", nargs="+", default=AI_BASKET)
    parser.add_argument("--tickers", nargs="+", default=DEFAULT_TICKERS)
    parser.add_argument(
        "--source",
        default="Yahoo Finance adjusted closes of US and Asian listings, European "
        "Central Bank euro reference rates, 13-week Treasury bill yield; name, country "
        "and theme hand-assigned",
        help="the upstream sources in words",
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        panel = read_panel(
            given.prices, given.metadata, given.fx, given.rates, given.tickers
        )
        fitted = fit_reference(
            panel,
            market=given.market,
            basket=given.basket,
            event=pd.Timestamp(given.event_date),
            text=given.source,
        )
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # written aside and renamed: a crash leaves the old file or the new one
    temporary = given.out.with_name(given.out.name + ".partial")
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}"
        for key, value in fitted.items()
    )
    temporary.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    os.replace(temporary, given.out)
    size = given.out.stat().st_size / 1000
    print(f"{given.out}: {len(given.tickers)} instruments, {size:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
