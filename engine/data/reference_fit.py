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
Dynamics are chosen on a grid, so there is no optimiser to fail silently.

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

from engine.errors import DataError

AI_BASKET = "NVDA AVGO AMD MRVL MU TSM ARM SMCI DELL ANET VRT CEG VST GEV ORCL".split()
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

# Judgement, all of it: written to the parameter file under that word. The realised
# AI premium of 2016-2025 (about 40% a year) is one draw from a distribution whose mean
# nobody knew: planting it would make any backtest on this market a replay of the rally
# and every hedge look foolish. A market and a term premium are all that is expected.
PREMIA_PA = {"market": 0.05, "rates": 0.01}
PEGS = {
    "HKD": {"anchor": "USD", "centre": 1 / 7.8, "half_width": 0.0064},
    "DKK": {"anchor": "EUR", "centre": 1 / 7.46038, "half_width": 0.005},
}
PEG_PERSISTENCE = 0.98  # keeps the level well inside the band at the fitted volatility
DERIVED_CURRENCIES = {"TWD": {"like": "KRW", "scale": 0.55, "start": 1 / 32.9}}
# Policy or short money-market rates in percent at the turn of each year, 2016 to 2026,
# rounded, from general knowledge; linear in between.
POLICY_RATES = {
    "EUR": [-0.25, -0.35, -0.35, -0.35, -0.45, -0.5, -0.5, 1.9, 3.9, 2.9, 1.95],
    "JPY": [0.0, -0.05, -0.05, -0.05, -0.05, -0.05, -0.05, -0.05, -0.05, 0.25, 0.7],
    "GBP": [0.5, 0.25, 0.5, 0.75, 0.75, 0.1, 0.2, 3.4, 5.2, 4.7, 3.75],
    "CHF": [-0.75, -0.75, -0.75, -0.75, -0.75, -0.75, -0.75, 0.95, 1.7, 0.45, 0.0],
    "CNY": [2.3, 2.5, 2.8, 2.5, 2.3, 2.1, 2.2, 1.9, 1.8, 1.6, 1.4],
    "HKD": [0.1, 0.6, 1.0, 2.0, 2.2, 0.2, 0.2, 4.6, 5.2, 4.3, 3.0],
    "KRW": [1.5, 1.25, 1.5, 1.75, 1.25, 0.5, 1.0, 3.25, 3.5, 3.0, 2.5],
    "INR": [6.75, 6.25, 6.0, 6.5, 5.15, 4.0, 4.0, 6.25, 6.5, 6.5, 5.25],
    "AUD": [2.0, 1.5, 1.5, 1.5, 0.75, 0.1, 0.1, 3.1, 4.35, 4.35, 3.6],
    "CAD": [0.5, 0.5, 1.0, 1.75, 1.75, 0.25, 0.25, 4.25, 5.0, 3.25, 2.25],
    "BRL": [14.25, 13.75, 7.0, 6.5, 4.5, 2.0, 9.25, 13.75, 11.75, 12.25, 15.0],
    "MXN": [3.25, 5.75, 7.25, 8.25, 7.25, 4.25, 5.5, 10.5, 11.25, 10.0, 7.0],
    "DKK": [-0.6, -0.6, -0.6, -0.6, -0.7, -0.55, -0.55, 1.75, 3.6, 2.6, 1.6],
    "TWD": [1.625, 1.375, 1.375, 1.375, 1.375, 1.125, 1.125, 1.75, 1.875, 2.0, 2.0],
}
DEGREES = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 9.0, 12.0, 30.0)


class Panel(NamedTuple):
    """What the fit reads: prices (T, N) and FX (T, C), labelled; NaN where absent."""

    prices: pd.DataFrame
    fx: pd.DataFrame
    rates: pd.Series
    metadata: pd.DataFrame
    digests: dict[str, str]


def read_frame(path: Path) -> pd.DataFrame:
    """Read a wide CSV or Parquet file, dates first, into a float frame by date."""
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        frame = frame.set_index("date") if "date" in frame.columns else frame
    else:
        frame = pd.read_csv(path, index_col=0)
    frame.index = pd.DatetimeIndex(pd.to_datetime(frame.index), name="date")
    return frame.sort_index()


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


def log_returns(prices: pd.DataFrame) -> pd.DataFrame:
    """Log return of each column between its own consecutive observations."""
    out = {c: np.log(prices[c].dropna()).diff() for c in prices.columns}
    return pd.DataFrame(out).reindex(prices.index)


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
    home = meta.loc[market]
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
    sweeps: int = 80,
    ridge: float = 2e-3,
) -> np.ndarray:
    """Fit loadings (N, K) with a zero pattern to the off-diagonal correlations.

    Minimises sum over i != j of (corr_ij - b_i'b_j)^2 + ridge |b_i|^2, a row at a time.
    A NaN correlation (two series never open together) carries no weight. The first
    columns start from the portfolios ``anchors`` (each (N,)), the others from the
    leading eigenvector of what the columns before leave among their own assets.
    """
    known = np.isfinite(corr)
    np.fill_diagonal(known, False)
    target = np.where(known, corr, 0.0)
    B = np.zeros(mask.shape)
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
            gram = X.T @ X + ridge * np.eye(cols.size)
            b = np.linalg.solve(gram, X.T @ target[i, rows])
            # a Heywood case: a communality above one has no residual variance left
            B[i, cols] = b * min(1.0, math.sqrt(0.995 / max(b @ b, 1e-12)))
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


def garch_variance(
    Y: np.ndarray, alpha: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """Conditional variances (T, M) of unit-variance Y (T, M); NaN leaves h as is."""
    omega = 1.0 - alpha - 0.5 * gamma - beta
    h = np.ones_like(Y)
    for t in range(1, len(Y)):
        y2 = Y[t - 1] ** 2
        step = omega + (alpha + gamma * (Y[t - 1] < 0)) * y2 + beta * h[t - 1]
        h[t] = np.where(np.isfinite(y2), step, h[t - 1])
    return h


def t_log_likelihood(Y: np.ndarray, h: np.ndarray, nu: float) -> np.ndarray:
    """Mean log-likelihood (M,) of Student-t innovations scaled to unit variance."""
    norm = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
    norm -= 0.5 * math.log(math.pi * (nu - 2))
    terms = norm - 0.5 * np.log(h) - (nu + 1) / 2 * np.log1p(Y**2 / h / (nu - 2))
    return np.nanmean(terms, axis=0)


def regime_powers(X: np.ndarray, regime: np.ndarray) -> np.ndarray:
    """Power (M,) of the market variance (T,) in the variance of each column of X.

    Gaussian quasi-likelihood: a Student-t one would discount the few crisis days that
    say how far all volatilities rise together.
    """
    powers = np.arange(0.0, 1.51, 0.1)
    table = []
    for power in powers:
        scale = np.where(np.isfinite(X), (regime**power)[:, None], np.nan)
        level = np.nanmean(X**2 / scale, axis=0)
        table.append(-np.nanmean(np.log(scale), axis=0) - np.log(level))
    return powers[np.argmax(table, axis=0)]


def fit_dynamics(
    X: np.ndarray, regime: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Alpha, gamma, beta, nu and the regime power of each column, by grid search.

    Parameters
    ----------
    X : (T, M) float64
        Standardised series; NaN where absent.
    regime : (T,) float64, optional
        The market's conditional variance. None for the market itself: only there is
        gamma free, since volatility answers falls of the market, not of a residual.

    Returns
    -------
    parameters : (M, 5) float64
    variance : (T, M) float64
        Conditional variances at the chosen parameters, mean near one.
    """
    alphas = (0.01, 0.02, 0.04, 0.06, 0.08, 0.11, 0.15, 0.2)
    persistences = (0.6, 0.8, 0.9, 0.94, 0.96, 0.97, 0.98, 0.985, 0.99)
    gammas = (0.0,) if regime is not None else (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
    best = np.full(X.shape[1], -np.inf)
    chosen = np.zeros((X.shape[1], 5))
    base = np.ones(len(X)) if regime is None else regime
    if regime is not None:
        chosen[:, 4] = regime_powers(X, regime)
    scale = base[:, None] ** chosen[:, 4]
    Y = X / np.sqrt(scale)
    Y = Y / np.sqrt(np.nanmean(Y**2, axis=0))
    ones = np.ones(X.shape[1])
    for alpha, gamma, total in itertools.product(alphas, gammas, persistences):
        beta = total - alpha - gamma / 2
        if beta >= 0:
            h = garch_variance(Y, alpha * ones, gamma * ones, beta * ones)
            value = t_log_likelihood(Y, h, 5.0)
            better = value > best
            best = np.where(better, value, best)
            chosen[better, :3] = (alpha, gamma, beta)
    h = garch_variance(Y, *chosen[:, :3].T)
    table = np.array([t_log_likelihood(Y, h, nu) for nu in DEGREES])
    chosen[:, 3] = np.array(DEGREES)[table.argmax(axis=0)]
    return chosen, h * scale


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


def rounded(values: np.ndarray, digits: int = 5, floor: float = 0.0) -> list[Any]:
    """Nested lists rounded to ``digits`` decimals, values below ``floor`` set to 0."""
    array = np.round(np.where(np.abs(values) < floor, 0.0, values), digits)
    return (array + 0.0).tolist()


def significant(value: float, digits: int = 6) -> float:
    """Round one number to significant digits."""
    return float(f"{value:.{digits}g}")


def rate_table(rates: pd.Series, currencies: Sequence[str]) -> dict[str, Any]:
    """Cash-rate knots per currency: USD fitted (quarterly means), others judgement."""
    quarterly = rates.resample("QS").mean() + 0.0
    middle = [(d + pd.Timedelta(days=45)).date().isoformat() for d in quarterly.index]
    table: dict[str, Any] = {
        "USD": {"dates": middle, "values": rounded(quarterly.to_numpy())}
    }
    for currency in currencies:
        if currency in POLICY_RATES:
            values = [round(x / 100, 6) for x in POLICY_RATES[currency]]
            dates = [f"{2016 + k}-01-01" for k in range(len(values))]
            table[currency] = {"dates": dates, "values": values}
    return table


def fit_reference(
    panel: Panel, *, market: str, basket: Sequence[str], event: pd.Timestamp, text: str
) -> dict[str, Any]:
    """Fit everything the generator needs; returns what goes into the JSON file."""
    meta, prices = panel.metadata, panel.prices
    anchor = meta.loc[market, "calendar"]
    venues = {
        str(v): prices.loc[:, meta["calendar"] == v].dropna(how="all").index
        for v in meta["calendar"].unique()
    }
    dates = prices.dropna(how="all").index
    prices = prices.reindex(dates)
    wanted = set(meta["quote_currency"]) | set(meta["exposure_currency"])
    currencies = sorted(wanted & set(panel.fx.columns))
    fx = panel.fx[currencies].loc[dates[0] : dates[-1]]
    fx = fx[fx.index.isin(dates)].reindex(dates)
    us = (meta["calendar"] == anchor).to_numpy()

    plant = planted_dates({**venues, "FX": fx.dropna(how="all").index}, anchor, event)
    stock, money = log_returns(prices), log_returns(fx)
    moves = event_moves(stock, money, meta, plant)
    R = stock.copy()
    for venue, on in plant.items():
        columns = meta.index[meta["calendar"] == venue]
        R.loc[on, columns] = np.nan
        if venue == "FX":
            money.loc[on] = np.nan
    sd = R.std().to_numpy()
    Z = ((R - R.mean()) / R.std()).to_numpy()
    E = np.hstack([Z[:, ~us], ((money - money.mean()) / money.std()).to_numpy()])
    Zus = Z[:, us]

    names, anchors, mask = factor_mask(meta[us], basket, market)
    place = {t: k for k, t in enumerate(meta.index[us])}
    portfolios = [meta.index[us].isin(group) * sd[us] for group in anchors]
    B = minres_loadings(pairwise_correlation(Zus), mask, anchors=portfolios)
    B = rotate_to_anchors(B, portfolios, int(mask.all(axis=0).sum()))
    F = factor_scores(Zus, B)

    # Earlier closes: load on the same date and on what New York did since, then share
    # a factor per venue, one over all local listings, and three among the currencies.
    us_open = dates.isin(venues[anchor])
    early_names = [*meta.index[~us], *currencies]
    early_venue = [*meta["calendar"][~us], *(["FX"] * len(currencies))]
    pairs = []
    for j in range(E.shape[1]):
        lagged = lagged_positions(np.isfinite(E[:, j]), us_open)
        pairs.append(early_loadings(Zus, E[:, j], lagged, B))
    B0, B1 = np.array([b[0] for b in pairs]), np.array([b[1] for b in pairs])
    local = np.array([v != "FX" for v in early_venue])
    early_factors = ["local", *sorted({v for v in early_venue if v != "FX"})]
    columns = [local] + [
        np.array([v == venue for v in early_venue]) for venue in early_factors[1:]
    ]
    early_factors += ["fx:1", "fx:2", "fx:3"]
    columns += [~local] * 3
    left = pairwise_correlation(E) - B0 @ B0.T - B1 @ B1.T
    C = minres_loadings(left, np.column_stack(columns))
    spare = np.maximum(0.98 - (B0**2).sum(1) - (B1**2).sum(1), 0.0)
    C *= np.sqrt(np.minimum(1.0, spare / np.maximum((C**2).sum(1), 1e-12)))[:, None]

    F = F / np.sqrt((F[us_open] ** 2).mean(axis=0))
    F[~us_open] = np.nan
    market_dynamics, market_h = fit_dynamics(F[:, :1])
    regime = pd.Series(np.where(us_open, market_h[:, 0], np.nan)).ffill().to_numpy()
    regime = regime / regime.mean()
    idio = Zus - np.where(us_open[:, None], F, 0.0) @ B.T
    total = np.nancumsum(np.vstack([np.zeros(F.shape[1]), np.nan_to_num(F)]), axis=0)
    early = E.copy()
    for j in range(E.shape[1]):
        at = np.flatnonzero(np.isfinite(E[:, j]))
        since = np.zeros_like(at)
        since[1:] = at[:-1]
        early[at, j] -= np.nan_to_num(F[at]) @ B0[j]
        early[at, j] -= (total[at] - total[since]) @ B1[j]
    early_scale = np.sqrt(np.nanmean(early**2, axis=0))
    G = factor_scores(early / early_scale, C / early_scale[:, None])
    G[~np.isfinite(E).any(axis=1)] = np.nan
    idio_early = early - np.nan_to_num(G) @ C.T
    series = np.hstack([F[:, 1:], idio, G, idio_early])
    series = series / np.sqrt(np.nanmean(series**2, axis=0))
    dynamics, _ = fit_dynamics(series, regime)
    dynamics = np.vstack([market_dynamics, dynamics])
    n_f, n_us, n_g = F.shape[1], int(us.sum()), G.shape[1]
    split = np.split(dynamics, np.cumsum([n_f, n_us, n_g]))

    spy, tlt = place[market], anchors[2][0] if len(anchors) > 2 else None
    per_year = len(venues[anchor]) / ((dates[-1] - dates[0]).days / 365.25)
    premia = premia_pa(B, B0 + B1, sd, us, spy, place[tlt] if tlt else None)
    return {
        "source": {
            "text": text,
            "first_date": dates[0].date().isoformat(),
            "last_date": dates[-1].date().isoformat(),
            "sha256": panel.digests,
            "left_out_of_the_fit": {k: _iso(v) for k, v in plant.items()},
            "judgement": {
                "premia_pa": PREMIA_PA,
                "premia_why": "expected excess return is market beta and duration "
                "only; the realised AI premium is not planted",
                "derived_currencies": DERIVED_CURRENCIES,
                "pegs": "convertibility and ERM II bands",
                "policy_rates": "all cash rates but USD, from general knowledge",
            },
        },
        "sessions_per_year": round(per_year, 2),
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
            "premium_pa": rounded(premia, 4),
        },
        "factors": {"names": names, "dynamics": rounded(split[0], 4)},
        "anchor_block": {
            "tickers": meta.index[us].tolist(),
            "loadings": rounded(B, 4, 0.004),
            "dynamics": rounded(split[1], 4),
        },
        "early_block": {
            "names": early_names,
            "calendars": early_venue,
            "volatility": [significant(x, 5) for x in [*sd[~us], *money.std()]],
            "same_date": rounded(B0, 4, 0.004),
            "lagged": rounded(B1, 4, 0.004),
            "factors": early_factors,
            "factor_loadings": rounded(C, 4, 0.004),
            "factor_dynamics": rounded(split[2], 4),
            "dynamics": rounded(split[3], 4),
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


def _iso(dates: Any) -> list[str]:
    return [d.date().isoformat() for d in dates]


def event_moves(
    stock: pd.DataFrame,
    money: pd.DataFrame,
    meta: pd.DataFrame,
    plant: dict[str, list[pd.Timestamp]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Collect the simple returns to plant, by calendar, date and name; rounded to 1e-5."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for venue, on in plant.items():
        frame = money if venue == "FX" else stock.loc[:, meta["calendar"] == venue]
        simple = np.expm1(frame.loc[on])
        out[venue] = {
            date.date().isoformat(): {
                str(c): round(float(x), 5) for c, x in row.dropna().items()
            }
            for date, row in zip(on, (simple.loc[d] for d in on), strict=True)
        }
    return out


def premia_pa(
    B: np.ndarray,
    B_early: np.ndarray,
    sd: np.ndarray,
    us: np.ndarray,
    spy: int,
    bond: int | None,
) -> np.ndarray:
    """Price market beta and duration: expected excess return (N,) a year."""
    loadings = np.zeros((us.size, B.shape[1]))
    loadings[us], loadings[~us] = B, B_early[: int((~us).sum())]
    exposure = loadings * sd[:, None]
    anchored = exposure[us]
    out = PREMIA_PA["market"] * exposure[:, 0] / anchored[spy, 0]
    if bond is not None:
        out = out + PREMIA_PA["rates"] * exposure[:, 2] / anchored[bond, 2]
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
