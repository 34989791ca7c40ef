"""Should the concentrated US-AI investor have reallocated? The parts of the study.

Every rule is walked forward monthly with what was known at each date, on total-return
prices, in fractional units, filled at the next close, after spread and withholding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtests._attribution import factor_split
from backtests._sharpe_difference import sharpe_difference
from backtests.intervals import EVENT_RISK, metric_intervals
from backtests.overfitting import Overfitting, pbo
from backtests.regimes import regime_scores
from backtests.result import BacktestResult
from backtests.walkforward import backtest, trial_id, trial_settings
from engine.constraints import StressCap
from engine.costs import Costs
from engine.data.load import load_panel
from engine.data.panel import PricePanel
from engine.data.portfolio import Portfolio
from engine.errors import BallastError
from engine.optimize.problem import stress_measure
from engine.shocks import CheapModelShock, library
from strategies.books import LargestByDollarVolume
from strategies.equal import EqualWeight
from strategies.estimation import estimate_model, scenarios_for
from strategies.foils import HoldWithCash, HoldWithShort, HoldWithSwap
from strategies.shock_aware import ShockAware

OVERSEAS = ("EFA", "EWJ", "FEZ", "EWU", "EWC", "EWA", "INDA", "EEM")
DIVERSIFIERS = ("RSP", "XLP", "XLV", "TLT", "IEF", "GLD", "SHY")
MARKET = ("SMH", "QQQ", "SPY")
HINDSIGHT = (
    "NVDA", "AVGO", "AMD", "MRVL", "MU", "TSM", "SMCI", "DELL", "ANET", "VRT", "VST",
    "ORCL", "MSFT", "GOOGL",
)  # fmt: skip
_AFTER = 21
"""Sessions after a shock in which a loss that is regained counts as temporary."""
_UNCAPPED = 10.0


@dataclass(frozen=True)
class Plan:
    """What the study runs.

    Attributes
    ----------
    limit : float
        Cap on the severe shock loss of every rule and foil.
    start, end : str
        Of the walk-forward; the estimation window before it needs prices too.
    window : int
        Sessions of estimation.
    withholding, overseas_yield : float
        Tax on the dividends of overseas funds, and their yield: 2.8% is about the
        ten-year average dividend yield of the MSCI EAFE index.
    half_spread_bps : float
        One-way; overseas funds pay twice that, as volumes of funds are absent.
    """

    limit: float = 0.10
    start: str = "2018-02-01"
    end: str = "2025-12-31"
    window: int = 504
    withholding: float = 0.15
    overseas_yield: float = 0.028
    half_spread_bps: float = 3.0
    turnover: float = 0.25
    shock: CheapModelShock = field(default_factory=CheapModelShock)

    def costs(self) -> Costs:
        """Spread by asset."""
        wide = dict.fromkeys(OVERSEAS, 2.0 * self.half_spread_bps)
        return Costs(half_spread_bps={"default": self.half_spread_bps, **wide})


def load_market(data: Path, plan: Plan) -> PricePanel:
    """Prices, volumes and cash rates of the study, overseas funds after withholding."""
    prices = pd.read_parquet(data / "prices_us_listed.parquet")
    labels = pd.read_csv(data / "metadata.csv").set_index("ticker")
    volume = pd.read_parquet(data / "volume_us_sp500.parquet")
    technology = [
        t
        for t in volume.columns
        if t in prices and labels.loc[t, "sector"] == "Information Technology"
    ]
    wanted = dict.fromkeys([*MARKET, *OVERSEAS, *DIVERSIFIERS, *technology, *HINDSIGHT])
    names = [t for t in wanted if t in prices]
    prices = prices[names].copy()
    days = (prices.index - prices.index[0]).days.to_numpy(dtype=np.float64)
    drag = np.exp(-plan.withholding * plan.overseas_yield * days / 365.25)
    for ticker in OVERSEAS:
        prices[ticker] *= drag
    traded = _tidy(volume.reindex(columns=names), "volume")
    tidy = _tidy(prices, "close")
    tidy = tidy.merge(traded, on=["date", "ticker"], how="left")
    tidy["currency"] = "USD"
    rates = pd.read_csv(
        data / "rates_vol_factors.csv.gz", index_col=0, parse_dates=True
    )
    bills = (rates[["IRX_13W_TBILL_PCT"]] / 100.0).ffill().dropna()
    bills.columns = ["USD"]
    return load_panel(
        tidy,
        names,
        universe=labels.loc[names].reset_index(),
        price_basis="total_return",
        cash_rates=bills,
    )


def _tidy(wide: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of date, ticker and a number, gaps left out."""
    long = wide.rename_axis(index="date", columns="ticker").astype("float64")
    return long.melt(ignore_index=False, value_name=name).dropna().reset_index()


def books_of(panel: PricePanel) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Book and the assets its rules may hold, by name."""
    sleeves = (*OVERSEAS, *DIVERSIFIERS, "SMH", "SPY")
    ranked = tuple(
        t
        for t in panel.tickers
        if t not in (*MARKET, *OVERSEAS, *DIVERSIFIERS)
        and panel.volume is not None
        and np.isfinite(panel.volume[:, panel.index(t)]).any()
        and panel.universe.sector[panel.index(t)] == "Information Technology"
    )
    today = tuple(t for t in HINDSIGHT if t in panel.tickers)
    even = {t: 1.0 / len(today) for t in today}
    return {
        "SMH": ({"SMH": 1.0}, tuple(dict.fromkeys(["SMH", *sleeves]))),
        "QQQ": ({"QQQ": 1.0}, tuple(dict.fromkeys(["QQQ", *sleeves]))),
        "top 15 by dollar volume": (
            LargestByDollarVolume(ranked),
            (*ranked, *sleeves),
        ),
        "selected with hindsight": (even, (*today, *sleeves)),
    }


def rules_of(book: Any, tickers: tuple[str, ...], plan: Plan) -> dict[str, Any]:
    """Build the rule, its foils, and what holding would have been."""
    common: dict[str, Any] = {
        "shock": plan.shock, "tickers": tickers, "window": plan.window
    }  # fmt: skip
    sized = {**common, "turnover": plan.turnover}
    base = (*OVERSEAS, *DIVERSIFIERS)
    upper = {"default": 0.15, **dict.fromkeys(set(tickers) - set(base), 1.0)}
    return {
        "hold": HoldWithCash(book, _UNCAPPED, **common, name="hold"),
        "shock-aware": ShockAware(
            book, plan.limit, upper=upper, costs=plan.costs(), **sized
        ),
        "hold + cash": HoldWithCash(book, plan.limit, **sized),
        "hold + short SMH": HoldWithShort(
            book, plan.limit, short="SMH", most=1.0, **sized
        ),
        "hold + RSP": HoldWithSwap(book, plan.limit, into="RSP", **sized),
        "hold + EFA": HoldWithSwap(book, plan.limit, into="EFA", **sized),
        "1/N": EqualWeight(tickers, min_history=plan.window + 1, name="1/N"),
    }


def run_rule(
    rule: Any, panel: PricePanel, plan: Plan, folder: Path | None
) -> BacktestResult:
    """Walk a rule forward, or read it back where the same trial is finished."""
    options: dict[str, Any] = {
        "start": plan.start,
        "end": plan.end,
        "schedule": "monthly",
        "costs": plan.costs(),
        "hindsight_parameters": True,
    }
    if folder is None:
        return backtest(rule, panel, **options)
    settings = trial_settings(
        portfolio=None,
        initial_value=1_000_000.0,
        fill="next_close",
        fallback="hold",
        delisting_return=None,
        **options,
    )
    place = folder / trial_id(rule, panel, settings)
    if place.exists():
        return BacktestResult.read(place)
    result = backtest(rule, panel, **options)
    result.write(place)
    return result


def run_book(
    name: str,
    panel: PricePanel,
    plan: Plan,
    *,
    folder: Path | None = None,
    progress: Callable[[str], Any] = lambda message: None,
) -> tuple[dict[str, BacktestResult], dict[str, str]]:
    """All rules of one book, and why any of them could not run."""
    book, tickers = books_of(panel)[name]
    results, failed = {}, {}
    for label, rule in rules_of(book, tickers, plan).items():
        progress(f"{name}: {label}")
        try:
            results[label] = run_rule(rule, panel, plan, folder)
        except BallastError as error:
            failed[label] = str(error)
    return results, failed


def shock_losses(
    results: Mapping[str, BacktestResult], panel: PricePanel, plan: Plan, tickers: Any
) -> pd.DataFrame:
    """Severe shock loss of each rule's holdings, recomputed at each quarter's start."""
    any_run = next(iter(results.values()))
    months = any_run.dates.astype("datetime64[M]").astype(int)
    at = np.flatnonzero((months[1:] // 3) != (months[:-1] // 3)) + 1
    rows = []
    for k in at:
        view = panel.as_of(any_run.dates[k], hindsight_parameters=True)
        model = estimate_model(view, tickers, window=plan.window)
        row: dict[str, Any] = {"date": any_run.dates[k]}
        for label, run in results.items():
            money = dict(zip(run.labels, run.weights()[k, :-1].tolist(), strict=True))
            weights = {a: w for a, w in money.items() if w and a in model.assets}
            weights["CASH:USD"] = 1.0 - sum(weights.values())
            book = Portfolio.from_weights({"CASH:USD": 1.0}, 1.0, "USD").priced(view)
            scenarios = scenarios_for(model, book)
            cap = StressCap(plan.shock, plan.limit)
            measure = stress_measure(cap, scenarios, cap.moves(scenarios))
            row[label] = measure.value(scenarios.align(weights))
        rows.append(row)
    return pd.DataFrame(rows).set_index("date")


def tables_of(
    results: Mapping[str, BacktestResult], losses: pd.DataFrame, panel: PricePanel
) -> dict[str, Any]:
    """Every table of one book: the rules, the windows, what it takes to break even."""
    hold = results["hold"]
    rows = np.searchsorted(panel.dates, hold.dates)
    basket = panel.prices[rows][:, [panel.index("SMH"), panel.index("SPY")]]
    excess = np.diff(np.log(basket), axis=0) @ np.array([1.0, -1.0])
    even = break_even(results["shock-aware"], hold, excess, losses)
    return {
        "main": main_table(results, losses),
        "windows": windows_table(results),
        "break_even": pd.Series(even),
        "shock_losses": losses,
        "overfitting": overfitting(results),
    }


def main_table(
    results: Mapping[str, BacktestResult], losses: pd.DataFrame
) -> pd.DataFrame:
    """One row per rule, led by drawdown and shock loss."""
    rows = {}
    foil = results.get("hold + cash")
    for label, run in results.items():
        figures = run.metrics()
        interval = metric_intervals(run, n=1000)
        row = {
            "max_drawdown": figures["max_drawdown"],
            "shock_loss": float(losses[label].mean()),
            "worst_shock_loss": float(losses[label].max()),
            "27_january": _day(run, "2025-01-27"),
            "annual_return": figures["annual_return"],
            "annual_return_low": interval["annual_return"].low,
            "annual_return_high": interval["annual_return"].high,
            "volatility": figures["volatility"],
            "sharpe": figures["sharpe"],
            "sharpe_se": figures["sharpe_se"],
            "turnover_per_year": figures["turnover_per_year"],
            "cost_per_year": figures["costs"] / run.value.mean() / _years(run),
        }
        if foil is not None and run is not foil:
            test = sharpe_difference(
                run.excess_returns(),
                foil.excess_returns(),
                periods_per_year=run.periods_per_year,
                n=999,
            )
            row["sharpe_less_foil"] = test.difference
            row["p_value"] = test.p_value
        rows[label] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _day(run: BacktestResult, day: str) -> float:
    k = int(np.searchsorted(run.dates, np.datetime64(day)))
    if k >= run.dates.size or str(run.dates[k]) != day:
        return math.nan
    return float(run.value[k] / run.value[k - 1] - 1.0)


def _years(run: BacktestResult) -> float:
    return (run.dates.size - 1) / run.periods_per_year


def break_even(
    rule: BacktestResult,
    hold: BacktestResult,
    market: np.ndarray,
    losses: pd.DataFrame,
) -> dict[str, float]:
    """How often a shock must come for the rule to have been worth its cost.

    Parameters
    ----------
    rule, hold : BacktestResult
    market : (T - 1,) float64
        Return of the AI basket less that of the market, session by session.
    losses : DataFrame
        From `shock_losses`, with columns of both names.

    Returns
    -------
    dict
        ``annual_cost`` outside the dated AI shocks; ``avoided`` per shock, realised;
        ``permanent`` share of the held book's loss that was not regained in 21
        sessions; ``frequency`` of shocks a year at which cost equals what is avoided
        for good, and the ``probability`` of one or more in a year; the same with the
        modelled loss; ``ai_excess_return`` a year at which both end equal; and the
        difference in annual return with and without 27 and 28 January 2025.
    """
    dates = rule.dates[1:]
    mine, theirs = np.log1p(rule.returns()), np.log1p(hold.returns())
    inside = np.zeros(dates.size, dtype=bool)
    avoided, lost, regained = [], [], []
    for start, end in _shocks(dates):
        at = (dates >= start) & (dates <= end)
        inside |= at
        kept, fell = np.expm1(mine[at].sum()), np.expm1(theirs[at].sum())
        avoided.append(kept - fell)
        last = int(np.flatnonzero(at)[-1])
        after = np.expm1(theirs[last + 1 : last + 1 + _AFTER].sum())
        lost.append(max(0.0, -fell))
        regained.append(min(max(0.0, after), max(0.0, -fell)))
    years = dates.size / rule.periods_per_year
    calm_years = (~inside).sum() / rule.periods_per_year
    cost = float((theirs - mine)[~inside].sum() / calm_years)
    permanent = 1.0 - sum(regained) / sum(lost) if sum(lost) > 0 else 1.0
    once = float(np.mean(avoided)) if avoided else math.nan
    modelled = float((losses[hold.name] - losses[rule.name]).mean())
    split = factor_split(theirs - mine, market, periods_per_year=rule.periods_per_year)
    days = np.isin(dates, np.array(["2025-01-27", "2025-01-28"], "datetime64[D]"))
    gap = mine - theirs
    return {
        "annual_cost": cost,
        "shocks": len(avoided),
        "avoided": once,
        "permanent": permanent,
        "frequency": _frequency(cost, once * permanent),
        "probability": -math.expm1(-_frequency(cost, once * permanent)),
        "modelled_avoided": modelled,
        "modelled_frequency": _frequency(cost, modelled * permanent),
        "ai_excess_return": -split.rest_return / split.beta,
        "ai_excess_realised": float(market.mean() * rule.periods_per_year),
        "difference": float(gap.sum() / years),
        "difference_without_27_28_january": float(gap[~days].sum() / years),
    }


def _frequency(cost: float, avoided: float) -> float:
    """Shocks a year that pay for the cost; zero when there is none to pay for."""
    if cost <= 0:
        return 0.0
    return cost / avoided if avoided > 0 else math.inf


def _shocks(dates: np.ndarray) -> list[tuple[np.datetime64, np.datetime64]]:
    """Dated falls of AI names inside the record, the day after included."""
    found = []
    for episode in library().values():
        if episode.kind != "ai" or episode.name == "deepseek-tuesday":
            continue
        end = episode.end
        if episode.name == "deepseek-monday":
            end = np.datetime64("2025-01-28")
        if ((dates >= episode.start) & (dates <= end)).any():
            found.append((episode.start, end))
    return found


def sensitivity(
    name: str, panel: PricePanel, plan: Plan, folder: Path | None
) -> pd.DataFrame:
    """Rule less foil under other exposures, limits and terminal returns."""
    book, tickers = books_of(panel)[name]
    rows = {}
    variants = {
        "as planned": plan,
        "exposures at their lower band": replace(
            plan, shock=CheapModelShock(severity=0.75)
        ),
        "exposures at their upper band": replace(
            plan, shock=CheapModelShock(severity=1.25)
        ),
        "limit 7%": replace(plan, limit=0.07),
        "limit 14%": replace(plan, limit=0.14),
    }
    for label, variant in variants.items():
        rules = rules_of(book, tickers, variant)
        runs = {
            k: run_rule(rules[k], panel, variant, folder)
            for k in ("hold", "shock-aware", "hold + cash")
        }
        got = {k: r.metrics() for k, r in runs.items()}
        rows[label] = {
            "shock_aware_less_hold": got["shock-aware"]["annual_return"]
            - got["hold"]["annual_return"],
            "shock_aware_less_cash": got["shock-aware"]["annual_return"]
            - got["hold + cash"]["annual_return"],
            "max_drawdown": got["shock-aware"]["max_drawdown"],
            "max_drawdown_hold": got["hold"]["max_drawdown"],
            "max_drawdown_cash": got["hold + cash"]["max_drawdown"],
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def windows_table(results: Mapping[str, BacktestResult]) -> pd.DataFrame:
    """Return of every rule in each dated window and on other days."""
    columns = {}
    frame = pd.DataFrame()
    for label, run in results.items():
        frame = regime_scores(run)
        columns[label] = frame["return"]
    table = pd.DataFrame(columns)
    return frame[["kind", "start", "end", "sessions"]].join(table)


def overfitting(results: Mapping[str, BacktestResult]) -> Overfitting:
    """Probability that the best rule of one half is none in the other."""
    return pbo(np.column_stack([r.excess_returns() for r in results.values()]))


NOTE = EVENT_RISK
