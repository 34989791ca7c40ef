"""The embedded reference market: synthetic prices, FX and cash rates from a seed.

Nothing here is a price that traded. The parameters were fitted to 2016-2025 history by
``engine.data.reference_fit``, whose docstring states the model; the moves of 27 January
2025 are the documented ones, planted on top of what the generator drew. Random numbers
come from NumPy's Philox alone and sums run elementwise in a fixed order, without BLAS,
so that machines agree to 1e-10 before prices are rounded to six significant digits.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

SYNTHETIC_LABEL = (
    "SYNTHETIC reference market: generated from a seed with parameters fitted to "
    "2016-2025 history; not prices that traded"
)
DEFAULT_SEED = 20250127
START_PRICE = 100.0  # no price that traded: plainly an index level
# Chosen openly, so that the default seed shows a typical path and no lucky one: the
# smallest salt for which the 2016-2025 and 2020-2025 returns of the AI basket and the
# 2020-2025 return of the market lie within 2.5% a year of their medians over 100 seeds
# (4.9, 4.5, 5.9), the market's deepest fall is 28% to 50%, the basket's under 75%, and
# the market's excess kurtosis 8 to 24 (fitted history: 15). Other seeds are as drawn.
SALT = 56
LARGEST_INNOVATION = 12.0  # standard deviations; keeps t(3) draws out of absurdity
LARGEST_VARIANCE = 30.0  # times the mean; about the market's in March 2020
LARGEST_MOVE = 18.0  # standard deviations; for the market, October 1987


class ReferenceFrames(NamedTuple):
    """The synthetic market, one row per date on which any venue was open.

    Attributes
    ----------
    prices : (T, N) DataFrame
        Total-return levels in quote currency, 100 on the listing date; NaN where the
        venue was shut or the asset not yet listed.
    fx : (T, C) DataFrame
        USD per one unit of each currency, fixed in the European early afternoon; no
        NaN. USD itself is not a column.
    rates : (T, C + 1) DataFrame
        Cash rates per currency, decimals a year; no NaN.
    metadata : DataFrame
        One row per ticker, in the schema of a universe file.

    All four carry ``attrs["source"]``, the label that says they are synthetic.
    """

    prices: pd.DataFrame
    fx: pd.DataFrame
    rates: pd.DataFrame
    metadata: pd.DataFrame


def reference_frames(
    seed: int = DEFAULT_SEED, *, event_day: bool = True
) -> ReferenceFrames:
    """Generate the synthetic reference market.

    Parameters
    ----------
    seed : int
        Non-negative. Keys the generator; the seed moves paths, while calendars,
        volatilities and the planted moves stay.
    event_day : bool
        Plant the documented moves of 27 January 2025: New York on the day and the
        rebound on the next, Hong Kong on 27 and 28 January, Taipei on 3 February (its
        first close after the event), floating currencies on 27 and 28 January. With
        False those returns are what the generator drew; all other returns are the
        same, up to rounding.

    Returns
    -------
    ReferenceFrames

    Examples
    --------
    >>> frames = reference_frames()
    >>> change = frames.prices["NVDA"].pct_change(fill_method=None)
    >>> round(float(change["2025-01-27"]), 4)
    -0.1697
    """
    if seed < 0:
        raise ValueError(f"seed must be a non-negative integer, received {seed}")
    par = _parameters()
    dates, metadata, is_open = _skeleton(par)
    currencies = [*par["fx"]["start"], *par["fx"]["derived"]]
    rates = _rates(par, dates)
    returns = _standardised_returns(par, dates, metadata, is_open, seed)

    prices = {}
    facts = metadata.set_index("ticker")
    for i, ticker in enumerate(metadata["ticker"]):
        venue = str(facts.at[ticker, "calendar"])
        live = is_open[venue] & (
            dates >= pd.Timestamp(str(facts.at[ticker, "first_date"]))
        )
        sd = par["assets"]["volatility"][i]
        quote = str(facts.at[ticker, "quote_currency"])
        per_year = is_open[venue].sum() / (len(dates) / _WEEKDAYS_PER_YEAR)
        expected = rates[quote].to_numpy() + par["assets"]["premium_pa"][i]
        # the log mean is lower by half the variance: the simple return is as expected
        log_return = expected / per_year - 0.5 * sd**2 + sd * returns[ticker]
        if event_day:
            _plant(log_return, par, venue, ticker, dates)
        log_return[~live] = 0.0
        log_return[np.argmax(live)] = 0.0
        level = START_PRICE * np.exp(np.cumsum(log_return))
        prices[ticker] = np.where(live, _six_digits(level), np.nan)
    fx = _fx(par, dates, returns, currencies, event_day=event_day)

    out = ReferenceFrames(pd.DataFrame(prices, index=dates), fx, rates, metadata.copy())
    for frame in out:
        frame.attrs["source"] = SYNTHETIC_LABEL
    return out


def reference_source() -> dict[str, Any]:
    """Say what the parameters were fitted to, and what in them is judgement."""
    return json.loads(json.dumps(_parameters()["source"]))


def standardised_panel(par: dict[str, Any], seed: int) -> pd.DataFrame:
    """Draw log returns (T, N) of given parameters in units of each volatility.

    For the fit, which matches moments by simulation; NaN where shut or unlisted. No
    drift and no planted day.
    """
    dates, metadata, is_open = _skeleton(par)
    drawn = _standardised_returns(par, dates, metadata, is_open, seed)
    out = {}
    for row in metadata.itertuples():
        live = is_open[str(row.calendar)] & (dates > pd.Timestamp(str(row.first_date)))
        out[row.ticker] = np.where(live, drawn[str(row.ticker)], np.nan)
    return pd.DataFrame(out, index=dates)


_WEEKDAYS_PER_YEAR = 365.25 * 5 / 7


@lru_cache(maxsize=1)
def _parameters() -> dict[str, Any]:
    path = resources.files("engine.data") / "reference_parameters.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _skeleton(
    par: dict[str, Any],
) -> tuple[pd.DatetimeIndex, pd.DataFrame, dict[str, np.ndarray]]:
    """Dates (T,), metadata, and per calendar whether it is open, (T,) bool."""
    dates = _union_dates(par)
    metadata = pd.DataFrame(par["metadata"]["rows"], columns=par["metadata"]["columns"])
    is_open = {
        venue: ~dates.isin(pd.DatetimeIndex(closed))
        for venue, closed in par["calendars"]["closed_weekdays"].items()
    }
    # euro reference rates are fixed on nearly every weekday
    is_open["FX"] = np.ones(len(dates), dtype=bool)
    return dates, metadata, is_open


def _union_dates(par: dict[str, Any]) -> pd.DatetimeIndex:
    """Weekdays of the fitted span on which at least one venue was open."""
    source = par["source"]
    days = pd.bdate_range(source["first_date"], source["last_date"]).as_unit("us")
    closed = [pd.DatetimeIndex(c) for c in par["calendars"]["closed_weekdays"].values()]
    shut = np.logical_and.reduce([days.isin(c) for c in closed])
    return pd.DatetimeIndex(days[~shut].to_numpy(), name="date")


def _rates(par: dict[str, Any], dates: pd.DatetimeIndex) -> pd.DataFrame:
    """Cash rates (T, C), decimals a year: linear between the knots, flat outside."""
    day = dates.to_numpy().astype("datetime64[D]").astype(np.int64)
    out = {}
    for currency, knots in par["rates"].items():
        at = np.array(knots["dates"], dtype="datetime64[D]").astype(np.int64)
        out[currency] = np.round(np.interp(day, at, knots["values"]), 6)
    return pd.DataFrame(out, index=dates)


def _innovations(
    seed: int, stream: int, nu: np.ndarray, T: int, *, joint: bool
) -> np.ndarray:
    """Student-t draws (T, M) with unit variance and degrees of freedom nu (M,) > 2.

    ``joint`` gives all columns one mixing variable a day, so that their extremes fall
    on the same days (a multivariate t with the degrees of freedom of column 0).
    """
    key = np.array([seed & (2**64 - 1), 16 * SALT + stream], dtype=np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key))
    normal = rng.standard_normal((T, nu.size))
    nu = nu[:1] if joint else nu
    chi2 = 2.0 * rng.standard_gamma(nu / 2.0, (T, nu.size))
    draws = normal * np.sqrt((nu - 2.0) / chi2)
    return np.clip(draws, -LARGEST_INNOVATION, LARGEST_INNOVATION)


def _volatility_paths(z: np.ndarray, dynamics: np.ndarray) -> np.ndarray:
    """Give innovations z (T, M) GJR-GARCH(1,1) variances and the common regime.

    ``dynamics`` (M, 5): alpha, gamma, beta, nu, power. Column 0 is the market, whose
    variance h drives the others: x_j = (h / mean h)^(power_j / 2) sqrt(g_j) z_j.
    """
    alpha, gamma, beta, _, power = dynamics.T
    omega = 1.0 - alpha - 0.5 * gamma - beta
    g = np.ones_like(z)
    state = np.ones(z.shape[1])
    for t in range(1, len(z)):
        y = np.sqrt(state) * z[t - 1]
        state = omega + (alpha + gamma * (y < 0)) * y * y + beta * state
        np.minimum(state, LARGEST_VARIANCE, out=state)
        g[t] = state
    regime = g[:, :1] / g[:, 0].mean()
    moves = np.sqrt(g * regime**power) * z
    return np.clip(moves, -LARGEST_MOVE, LARGEST_MOVE)


def _standardise(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scale each column of x (T, M) to unit mean square over its rows (T, M) bool.

    The seed then moves the path and not the level of risk, which is what was fitted.
    """
    count = np.maximum(rows.sum(axis=0), 1)
    return x / np.sqrt(np.where(rows, x * x, 0.0).sum(axis=0) / count)


def _load(factors: np.ndarray, loadings: np.ndarray) -> np.ndarray:
    """Sum of factors (T, K) times loadings (N, K), in order of k and without BLAS."""
    out = np.zeros((len(factors), len(loadings)))
    for k in range(loadings.shape[1]):
        rows = np.flatnonzero(loadings[:, k])
        out[:, rows] += factors[:, k, None] * loadings[rows, k]
    return out


def _standardised_returns(
    par: dict[str, Any],
    dates: pd.DatetimeIndex,
    metadata: pd.DataFrame,
    is_open: dict[str, np.ndarray],
    seed: int,
) -> dict[str, np.ndarray]:
    """Draw returns in units of each fitted volatility, one (T,) array per name."""
    block, early = par["anchor_block"], _with_derived(par)
    B = np.array(block["loadings"])
    parts = [
        np.array(rows).reshape(-1, 5)
        for rows in (
            par["factors"]["dynamics"],
            block["dynamics"],
            early["factor_dynamics"],
            early["dynamics"],
        )
    ]
    sizes = [len(part) for part in parts]
    z = [
        _innovations(seed, k, part[:, 3], len(dates), joint=k == 0)
        for k, part in enumerate(parts)
    ]
    x = _volatility_paths(np.hstack(z), np.vstack(parts))
    f, e, g, e_early = np.split(x, np.cumsum(sizes)[:-1], axis=1)

    first = metadata.set_index("ticker")["first_date"].to_dict()
    us_open = is_open[par["calendars"]["anchor"]]
    # The named factors' luck over the whole span is taken out, so that no seed is a
    # lost decade or an AI boom by itself: either would decide a backtest before any
    # rule did. Groups, single names and every shorter span keep theirs.
    named = [k for k, n in enumerate(par["factors"]["names"]) if ":" not in n]
    f[:, named] -= f[us_open][:, named].mean(axis=0)
    f = _standardise(f, np.broadcast_to(us_open[:, None], f.shape))
    f = np.where(us_open[:, None], f, 0.0)
    live = np.column_stack(
        [us_open & (dates >= pd.Timestamp(first[t])) for t in block["tickers"]]
    )
    residual = np.sqrt(1.0 - (B**2).sum(axis=1))
    anchor = _load(f, B) + residual * _standardise(e, live)
    out = {t: anchor[:, i] for i, t in enumerate(block["tickers"])}

    B0, B1 = np.array(early["same_date"]), np.array(early["lagged"])
    C = np.array(early["factor_loadings"])
    g = _standardise(g, np.ones_like(g, dtype=bool))
    same, shared = _load(f, B0), _load(g, C)
    total = np.vstack([np.zeros(f.shape[1]), np.cumsum(f, axis=0)])
    left = np.sqrt(1.0 - (B0**2).sum(1) - (B1**2).sum(1) - (C**2).sum(1))
    rows = np.column_stack(
        [
            is_open[v] & (dates >= pd.Timestamp(first.get(name, dates[0])))
            for name, v in zip(early["names"], early["calendars"], strict=True)
        ]
    )
    own = left * _standardise(e_early, rows)
    for j, (name, venue) in enumerate(
        zip(early["names"], early["calendars"], strict=True)
    ):
        at = np.flatnonzero(is_open[venue])
        since = np.concatenate([at[:1], at[:-1]])
        # what New York did from the previous local session to the day before this one
        lagged = _load(total[at] - total[since], B1[j : j + 1])[:, 0]
        r = np.zeros(len(dates))
        r[at] = same[at, j] + shared[at, j] + lagged + own[at, j]
        out[name] = r
    return out


def _with_derived(par: dict[str, Any]) -> dict[str, Any]:
    """Early block with the currencies that borrow another's parameters appended."""
    early = dict(par["early_block"])
    for currency, rule in par["fx"]["derived"].items():
        like = early["names"].index(rule["like"])
        for key, value in (
            ("names", currency),
            ("calendars", "FX"),
            ("volatility", early["volatility"][like] * rule["scale"]),
            *(
                (key, early[key][like])
                for key in ("same_date", "lagged", "factor_loadings", "dynamics")
            ),
        ):
            early[key] = [*early[key], value]
    return early


def _plant(
    log_return: np.ndarray,
    par: dict[str, Any],
    venue: str,
    name: str,
    dates: pd.DatetimeIndex,
) -> None:
    """Overwrite the returns (T,) of one name with its documented event moves."""
    for day, moves in par["event"]["moves"].get(venue, {}).items():
        if name in moves:
            log_return[dates.get_loc(pd.Timestamp(day))] = np.log1p(moves[name])


def _fx(
    par: dict[str, Any],
    dates: pd.DatetimeIndex,
    returns: dict[str, np.ndarray],
    currencies: list[str],
    *,
    event_day: bool,
) -> pd.DataFrame:
    """USD per unit (T, C): driftless floats, and pegs that stay inside their band."""
    early, rules = _with_derived(par), par["fx"]
    log_levels: dict[str, np.ndarray] = {"USD": np.zeros(len(dates))}
    for currency in sorted(currencies, key=lambda c: c in rules["pegs"]):
        x = returns[currency]
        if currency in rules["pegs"]:
            peg, phi = rules["pegs"][currency], rules["peg_persistence"]
            width = peg["half_width"]
            # a third of the band is one standard deviation of the deviation
            step = width / 3.0 * np.sqrt(1.0 - phi**2) * x
            gap = np.zeros(len(dates))
            for t in range(1, len(dates)):
                gap[t] = min(max(phi * gap[t - 1] + step[t], -width), width)
            log_levels[currency] = (
                log_levels[peg["anchor"]] + np.log(peg["centre"]) + gap
            )
            continue
        sd = early["volatility"][early["names"].index(currency)]
        log_return = sd * x - 0.5 * sd**2
        if event_day:
            _plant(log_return, par, "FX", currency, dates)
        log_return[0] = 0.0
        start = rules["derived"].get(currency, {}).get("start")
        start = rules["start"][currency] if start is None else start
        log_levels[currency] = np.log(start) + np.cumsum(log_return)
    return pd.DataFrame(
        {c: _six_digits(np.exp(log_levels[c])) for c in currencies}, index=dates
    )


def _six_digits(values: np.ndarray) -> np.ndarray:
    """Round positive values to six significant digits."""
    decimals = 5 - np.floor(np.log10(values)).astype(int)
    out = values.copy()
    for d in np.unique(decimals):
        rows = decimals == d
        out[rows] = np.round(values[rows], int(d))
    return out
