"""Validation on real prices (methods 2.4); nothing is tuned to the day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backtests.validation._predictors import (
    Predictor,
    baselines,
    fit_line,
    same_day,
    structural,
)
from engine.alignment import align, event_returns
from engine.data.exposures import read_exposures
from engine.errors import DataError

FROZEN_AT = "e62e8b5"
"""Commit that froze names and exposures, before any code that looks at the day."""
EVENT, BEFORE = "2025-01-27", "2025-01-24"
AIMS = {"spearman": 0.75, "r2": 0.55, "mae": 0.055, "balanced_hits": 0.70}
_DRAWS, _SEED = 2000, 20250127
AI_DAYS = (
    "2023-05-25", "2024-04-19", "2024-07-17", "2024-07-24", "2024-09-03", "2025-01-22",
    "2025-01-27", "2025-01-28", "2025-02-27", "2025-03-26", "2025-04-16", "2025-08-19",
    "2025-11-04", "2025-11-13", "2025-11-20", "2025-12-12", "2025-12-17",
)  # fmt: skip
"""Days of AI news, from dated labels written before any correlation was computed; the
labels know that the day moved, so they are no random sample of news."""
OTHER_DAYS = (
    "2023-03-13", "2024-08-05", "2024-12-18", "2025-03-03", "2025-04-03", "2025-04-04",
    "2025-04-07", "2025-04-09", "2025-10-10",
)  # fmt: skip
"""Large days with another cause: rates, banks, carry, tariffs."""


@dataclass(frozen=True)
class Validation:
    """What each predictor said of 27 January 2025, and what happened.

    Attributes
    ----------
    names, roles : tuple of str, length N
    realised : (N,) simple returns, local currency, by information time
    predictors : tuple of Predictor
    table, common : DataFrame
        Metrics on every name that a predictor speaks of, and on the names of which all
        speak; losses and errors in decimals.
    dropped : mapping of ticker to reason
    daily : DataFrame
        Rank correlation by date, with the day's class and the move of SPY.
    late : mapping of ticker to date
        Where the first close that could contain the news came later.
    synthetic : bool
    basis : tuple of str, length N
        Of each exposure: reported, derived or band.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    realised: np.ndarray
    predictors: tuple[Predictor, ...]
    table: Any
    common: Any
    dropped: dict[str, str]
    daily: Any
    late: dict[str, str]
    synthetic: bool
    basis: tuple[str, ...]

    def by_basis(self):
        """Return metrics of the flat variant by what stands behind each exposure."""
        import pandas as pd

        basis, rows = np.array(self.basis), []
        for kind in sorted(set(self.basis)):
            use = basis == kind
            found = metrics(self.realised[use], self.predictors[0].values[use])
            rows.append({"exposure": kind, "n": int(use.sum())} | found)
        return pd.DataFrame(rows)

    def risers(self):
        """Return every name that rose, with what the structural models said."""
        import pandas as pd

        rows = np.flatnonzero(self.realised > 0)
        rows = rows[np.argsort(-self.realised[rows])]
        return pd.DataFrame(
            {
                "asset": [self.names[i] for i in rows],
                "role": [self.roles[i] for i in rows],
                "realised": self.realised[rows],
            }
            | {p.name: p.values[rows] for p in self.predictors[:2]}
        )

    def by_name(self):
        """Return the realised and modelled return of each name."""
        import pandas as pd

        frame = {"asset": self.names, "role": self.roles, "realised": self.realised}
        return pd.DataFrame(frame | {p.name: p.values for p in self.predictors[:2]})

    def by_role(self):
        """Return the median realised and modelled return of each role."""
        grouped = self.by_name().drop(columns="asset").groupby("role")
        return grouped.median().assign(n=grouped.size()).sort_values("realised")

    def percentile(self) -> float:
        """Share of days with a lower rank correlation than the event's."""
        rho = self.daily["rho"]
        return float((rho < rho[EVENT]).mean())

    def days(self):
        """Return the rank correlation by class of day."""
        grouped = self.daily.groupby("kind")["rho"]
        frame = grouped.agg(["size", "median", "mean", "std"])
        frame["mean_absolute"] = self.daily["rho"].abs().groupby(self.daily.kind).mean()
        return frame

    def labelled(self):
        """Return every labelled or large day, its class and its rank correlation."""
        return self.daily[self.daily["kind"] != "ordinary"].reset_index()

    def winners(self) -> dict[str, str]:
        """Best predictor by metric on the common names, and best that saw nothing."""
        out = {}
        for metric in AIMS:
            sign = -1.0 if metric == "mae" else 1.0
            score = sign * self.common[metric]
            out[metric] = str(score.idxmax())
            blind = score[self.common["seen"].str.startswith("nothing")]
            out[f"{metric}, nothing seen"] = str(blind.idxmax())
        return out

    def words(self) -> list[str]:
        """Sentences made from the numbers, shortfalls included."""
        row = self.table.iloc[0]
        out = []
        for metric, aim in AIMS.items():
            value = row[metric]
            met = value <= aim if metric == "mae" else value >= aim
            out.append(
                f"{metric}: {value:.3f} against an aim of {aim:.3f}: "
                f"{'met' if met else 'NOT met'} by the flat variant ({row['n']} names)."
            )
        out.append(
            f"The flat variant is too {'mild' if row['bias'] > 0 else 'severe'} by "
            f"{abs(row['bias']) * 100:.1f} points on average."
        )
        gaps = self.by_role()
        gap = (gaps["structural, flat"] - gaps["realised"]).abs()
        worst = gap.sort_values(ascending=False).index[:3]
        out.append(
            "Widest misses by role (median modelled, realised): "
            + "; ".join(
                f"{r} {gaps.loc[r, 'structural, flat']:+.1%}, "
                f"{gaps.loc[r, 'realised']:+.1%}"
                for r in worst
            )
            + "."
        )
        slope, constant = np.polyfit(self.predictors[0].values, self.realised, 1)
        out.append(
            "For information, never applied: the line through the day is realised = "
            f"{constant:+.3f} + {slope:.2f} flat; the day hit names whose stated AI "
            "share is small as well."
            if constant < 0 and slope > 0
            else f"The line through the day has slope {slope:.2f}."
        )
        out.append(
            "Flat variant by what stands behind the exposure: "
            + "; ".join(
                f"{r['exposure']} {r['n']} names, R2 {r['r2']:.2f}, MAE "
                f"{r['mae'] * 100:.1f} points"
                for r in self.by_basis().to_dict("records")
            )
            + "."
        )
        out.append(
            f"Among {len(self.daily)} days the rank correlation of {EVENT} "
            f"({self.daily['rho'][EVENT]:.2f}) is above {self.percentile():.1%}; "
            f"median {self.daily['rho'].median():.2f}, standard deviation "
            f"{self.daily['rho'].std():.2f}."
        )
        bands = self.basis.count("band")
        out.append(
            f"{len(self.basis) - bands} of {len(self.basis)} exposures rest on a "
            f"figure in a document; {bands} are judgement bands, where nothing better "
            "was found those of the role table, which was written after the day."
        )
        out += [f"Best by {k}: {v}." for k, v in self.winners().items()]
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text for JSON."""
        return {
            "event": EVENT,
            "exposures_frozen_at": FROZEN_AT,
            "synthetic": self.synthetic,
            "names": len(self.names),
            "aims": dict(AIMS),
            "dropped": self.dropped,
            "late": self.late,
            "table": self.table.reset_index().to_dict("records"),
            "common_names": self.common.reset_index().to_dict("records"),
            "winners": self.winners(),
            "risers": self.risers().to_dict("records"),
            "by_role": self.by_role().reset_index().to_dict("records"),
            "by_name": self.by_name().to_dict("records"),
            "by_exposure_basis": self.by_basis().to_dict("records"),
            "days": self.days().reset_index().to_dict("records"),
            "labelled_days": self.labelled().to_dict("records"),
            "percentile_of_event": self.percentile(),
            "words": self.words(),
        }


def validate(panel: Any) -> Validation:
    """Compare the model and every baseline with the returns of 27 January 2025.

    Parameters
    ----------
    panel : PricePanel
        Real prices from 2024 at least, with SPY and the AI basket. All companies of
        the exposure table that it holds are scored.

    Raises
    ------
    DataError
        Prices that do not reach the day, or lack SPY or NVDA.
    """
    panel = panel.between("2021-11-01", None)
    for ticker in ("SPY", "NVDA"):
        if ticker not in panel.universe:
            raise DataError("validation needs this asset", asset=ticker)
    exposures = read_exposures()
    event = event_returns(panel, EVENT)
    returns = dict(zip(event.tickers, event.values.tolist(), strict=True))
    dropped, names = {}, []
    for ticker in exposures["ticker"]:
        if ticker not in returns:
            dropped[ticker] = "no prices in the panel"
        elif np.isnan(returns[ticker]):
            dropped[ticker] = f"no return across {EVENT}: not listed, or no close"
        else:
            names.append(ticker)
    names = tuple(names)
    universe = panel.universe.select(names).with_exposures(exposures)
    universe = universe.known_at(np.datetime64(BEFORE, "D"))
    y = np.array([returns[t] for t in names])
    view = panel.as_of(BEFORE, hindsight_parameters=True)
    found = [
        *structural(universe),
        *baselines(view, names, returns),
        same_day(universe.role, y),
    ]
    speak = np.logical_and.reduce([np.isfinite(p.values) for p in found])
    return Validation(
        names=names,
        roles=universe.role,
        realised=y,
        predictors=tuple(found),
        table=_table(found, y, universe.role, np.ones(y.size, bool)),
        common=_table(found, y, universe.role, speak),
        dropped=dropped,
        daily=_daily(panel, names, found[0].values),
        late={
            t: str(d)
            for t, d in zip(event.tickers, event.end_date, strict=True)
            if t in set(names) and d > np.datetime64(EVENT, "D")
        },
        synthetic=panel.synthetic,
        basis=tuple(exposures.set_index("ticker")["basis"].loc[list(names)]),
    )


def load_prices(source: Any, *, universe: Any, currency: str | None = None) -> Any:
    """Panel of SPY and of the companies of the exposure table that a source has.

    Returns are local, so exchange rates do not enter: each currency is put at one
    dollar, and the panel is good for nothing else.

    Parameters
    ----------
    source : path or list of paths
        Wide files of total-return prices.
    universe : path
        Labels with venue and quote currency.
    currency : str, optional
        Quote currency where the labels state none.
    """
    import pandas as pd

    from engine.data.files import read_table
    from engine.data.load import load_panel

    have: list[str] = []
    for path in source if isinstance(source, (list, tuple)) else [source]:
        have += [str(c) for c in read_table(path, what="prices").columns]
    labels = read_table(universe, what="universe")
    wanted = ["SPY", *read_exposures()["ticker"]]
    tickers = [t for t in dict.fromkeys(wanted) if t in set(have)]
    codes = set(labels["quote_currency"].dropna()) - {"USD", "MULTI"}
    days = pd.bdate_range("2015-12-31", "2030-12-31").strftime("%Y-%m-%d")
    unit = pd.DataFrame({"date": days} | {c: 1.0 for c in sorted(codes)})
    return load_panel(
        source,
        tickers,
        universe=universe,
        price_basis="total_return",
        currency=currency,
        fx=unit,
    )


def metrics(y: np.ndarray, x: np.ndarray) -> dict[str, float]:
    """R2 against the 45-degree line, Spearman, MAE, bias and balanced hit rate.

    ``r2 = 1 - sum (y - x)^2 / sum (y - mean y)^2``; the hit rate is the mean over
    risers and over fallers of the share with the right sign, zero being wrong.

    Parameters
    ----------
    y, x : (N,) float64
        Realised and modelled returns; no NaN.
    """
    from scipy.stats import spearmanr

    e = x - y
    up, down = y > 0, y < 0
    rates = [float((np.sign(x[k]) == np.sign(y[k])).mean()) for k in (up, down)
             if k.any()]  # fmt: skip
    flat = np.ptp(x) == 0 or np.ptp(y) == 0
    return {
        "r2": 1.0 - float(e @ e) / float(((y - y.mean()) ** 2).sum()),
        "spearman": np.nan if flat else float(spearmanr(x, y).statistic),
        "mae": float(np.abs(e).mean()),
        "bias": float(e.mean()),
        "balanced_hits": float(np.mean(rates)),
    }


def _table(found, y, roles, use):
    """One row per predictor: metrics, bootstrap interval, leave-one-role-out range."""
    import pandas as pd

    role = np.array(roles)
    rows = []
    for p in found:
        ok = use & np.isfinite(p.values)
        x, t, r = p.values[ok], y[ok], role[ok]
        row: dict[str, Any] = {"predictor": p.name, "n": int(ok.sum())}
        row |= metrics(t, x)
        rng = np.random.default_rng(_SEED)
        picks = rng.integers(0, t.size, (_DRAWS, t.size))
        ranked = [metrics(t[k], x[k]) for k in picks[:400]]
        for m in ("r2", "spearman", "mae"):
            low, high = np.nanquantile([v[m] for v in ranked], [0.05, 0.95])
            row[f"{m}_5_95"] = (float(low), float(high))
        without = {}
        out_of_role = np.full(t.size, np.nan)
        for name in sorted(set(r)):
            keep = r != name
            z = x
            if p.features is not None:
                F = p.features[ok]
                z = fit_line(F[keep], t[keep], F)
                out_of_role[~keep] = z[~keep]
            without[name] = metrics(t[keep], z[keep])
        for m in ("r2", "spearman", "mae", "balanced_hits"):
            values = [v[m] for v in without.values()]
            row[f"{m}_lor"] = (min(values), max(values))
        worst = min(without, key=lambda k: without[k]["r2"])
        row["r2_lowest_without"] = worst
        row["r2_out_of_role"] = (
            row["r2"] if p.features is None else metrics(t, out_of_role)["r2"]
        )
        row["seen"] = p.seen
        rows.append(row)
    return pd.DataFrame(rows).set_index("predictor")


def _daily(panel, names, modelled):
    """Rank correlation of the modelled moves with each day's market-adjusted returns.

    Adjusted by the beta of the 252 sessions before; today's exposures on past days.
    """
    import pandas as pd
    from scipy.stats import spearmanr

    aligned = align(panel, kind="simple")
    column = {t: j for j, t in enumerate(aligned.tickers)}
    R = aligned.values[:, [column[t] for t in names]]
    spy = aligned.values[:, column["SPY"]]
    first = int(np.searchsorted(aligned.dates, np.datetime64("2023-01-01")))
    rows = []
    for t in range(max(first, 252), R.shape[0]):
        past, m = R[t - 252 : t], spy[t - 252 : t]
        ok = np.isfinite(past) & np.isfinite(m)[:, None]
        n = ok.sum(axis=0)
        p, q = np.where(ok, past, 0.0), np.where(ok, m[:, None], 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            top = (p * q).sum(axis=0) - p.sum(axis=0) * q.sum(axis=0) / n
            beta = top / ((q * q).sum(axis=0) - q.sum(axis=0) ** 2 / n)
        beta[n < 60] = np.nan
        x = R[t] - beta * spy[t]
        use = np.isfinite(x)
        if use.sum() < 30:
            continue
        day = str(aligned.dates[t])
        kind = "AI news" if day in AI_DAYS else "other news"
        if day not in AI_DAYS and day not in OTHER_DAYS:
            kind = "large, unlabelled" if abs(spy[t]) > 0.02 else "ordinary"
        rho = float(spearmanr(modelled[use], x[use]).statistic)
        rows.append((day, rho, kind, float(spy[t]), int(use.sum())))
    frame = pd.DataFrame(rows, columns=["date", "rho", "kind", "SPY", "n"])
    return frame.set_index("date")
