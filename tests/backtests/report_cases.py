"""A whole report made by hand: hostile names, every part, on either kind of prices."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from backtests import judge
from backtests.report import Realised, ReportInputs
from backtests.result import BacktestResult
from engine import (
    CheapModelShock,
    Constraints,
    Costs,
    Portfolio,
    StressCap,
    Universe,
    propose,
    simulate,
    stress,
)
from engine.model import ReturnModel

EVIL = "<script>alert(1)</script>"
FORMULA = "=HYPERLINK(1)"
DATES = np.arange("2024-11-01", "2025-03-01", dtype="datetime64[D]")
ROLES = {
    "CHIP": ("accelerator", "United States", "USD"),
    "POWER": ("power_gen", "United States", "USD"),
    EVIL: ("servers", "Taiwan", "TWD"),
    FORMULA: ("software", "Germany", "EUR"),
    "積體$電$": ("none", "Japan", "JPY"),
}
BOOK = {"CHIP": 0.5, "POWER": 0.2, EVIL: 0.1, FORMULA: 0.1, "CASH:USD": 0.1}


def model_of(*, synthetic):
    tickers = tuple(ROLES)
    loading = np.array([0.03, 0.025, 0.028, 0.015, 0.006])
    return ReturnModel(
        assets=tickers,
        mean=np.zeros(5),
        covariance=np.outer(loading, loading) + np.diag(loading**2),
        tail_dof=5.0,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.04,
        mean_kind="zero_excess",
        universe=Universe(
            tickers,
            asset_class=("equity",) * 5,
            role=tuple(r for r, _, _ in ROLES.values()),
            country=tuple(c for _, c, _ in ROLES.values()),
            quote_currency=("USD",) * 5,
            exposure_currency=tuple(k for _, _, k in ROLES.values()),
        ),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
        estimator="by hand",
        synthetic=synthetic,
    )


def run_of(name, seed, drift):
    rng = np.random.default_rng(seed)
    T = DATES.size
    value = 1e6 * np.cumprod(1.0 + drift + 0.01 * rng.standard_normal(T))
    zero = np.zeros(T)
    return BacktestResult(
        name=name,
        trial_id=f"trial-{seed}",
        dates=DATES,
        labels=("CHIP",),
        base_currency="USD",
        initial_value=1e6,
        value=value,
        cash=zero,
        units=np.ones((T, 1)),
        money=value[:, None],
        price_pnl=np.diff(value, prepend=1e6),
        fx_pnl=zero,
        interest=zero,
        dividends=np.zeros(value.size),
        costs=zero + 1.5,
        taxes=zero,
        turnover=zero + 0.001,
        cash_return=zero,
        fills=(),
        decisions=(),
        periods_per_year=252.0,
        stamps=(
            "hindsight parameters",
            "same-bar fills: trades at the prices that made the decision",
        ),
    )


def made_parts():
    """Stress, proposal and stress after it, on synthetic prices and on others."""
    made = {}
    for synthetic in (True, False):
        scenarios = simulate(model_of(synthetic=synthetic), 2000, horizon=5, seed=1)
        shocks = [CheapModelShock(p) for p in ("market_view", "substitution", "jevons")]
        book = Portfolio.from_weights(BOOK, 1e6, "USD")
        now = stress(book, scenarios, shocks, hindsight_parameters=True)
        proposal = propose(
            book,
            replace(scenarios, hindsight_parameters=True),
            Constraints(
                upper=0.5, cash_band=0.3, stress_caps=(StressCap(shocks[0], 0.15),)
            ),
            Costs(5.0),
        )
        after = stress(
            Portfolio.from_weights(proposal.weights, 1e6, "USD"),
            scenarios,
            shocks,
            hindsight_parameters=True,
        )
        made[synthetic] = (now, proposal, after)
    return made


NAMES = (("hold", 1, 0.001), ("hold + cash", 2, 0.0), (f"aware {EVIL}", 3, 0.0))


@cache
def section():
    """Judgement of the three runs: what needs prices is made by hand."""
    runs = [run_of(*n) for n in NAMES]
    verdict = judge(runs, model_of(synthetic=True).universe, n=100)
    found = dict(verdict.tables)
    names = [r.name for r in runs]
    found["ai_factor"] = pd.DataFrame(
        {
            "strategy": names,
            "beta": [0.9, 0.45, 0.6],
            "beta_standard_error": 0.04,
            "factor_return": [0.08, 0.04, 0.05],
            "rest_return": [0.01, 0.0, -0.02],
            "rest_standard_error": 0.07,
            "r_squared": 0.4,
            "lowest_beta": 0.3,
            "highest_beta": 1.1,
            "last_beta": 0.8,
        }
    )
    found["capacity"] = pd.DataFrame(
        {
            "strategy": names[:2],
            "by_impact": [2.5e7, np.inf],
            "by_participation": [4e7, np.inf],
            "gross_return": 0.1,
            "busiest": [f"{FORMULA} on 2025-01-02", ""],
        }
    )
    keys = ("metrics", "differences", "deflation", "regimes", "exposure")
    return {
        "tables": {k: found[k] for k in (*keys, "ai_factor", "capacity")},
        "attribution": found["attribution_role"],
        "attributions": {
            by: found[f"attribution_{by}"] for by in ("role", "country", "currency")
        },
        "intervals": found["intervals"],
        "exposure_by_role": {},
        "notes": (
            *verdict.notes,
            "AI factor: SMH less SPY",
            f"no capacity of {names[2]}: no trading volume is known (CHIP)",
        ),
        "strategies": tuple(names),
        "resamples": 100,
        "confidence": 0.95,
        "reason": "",
    }


def full(parts, *, synthetic=True, title="A book", **changes):
    now, proposal, after = parts[synthetic]
    rng = np.random.default_rng(7)
    seeds = pd.DataFrame(
        [
            {
                "seed": s,
                "event_day": flag,
                "strategy": name,
                "annual_return": rng.normal(),
                "sharpe": rng.normal(),
            }
            for s in range(3)
            for flag in (True, False)
            for name, _, _ in NAMES
        ]
    )
    inputs = ReportInputs(
        title=title,
        stress=now,
        proposal=proposal,
        stress_after=after,
        backtests=[run_of(*n) for n in NAMES],
        judgement=None if "backtests" in changes else section(),
        realised=Realised(
            np.datetime64("2025-01-27"),
            0.11,
            {
                "CHIP": -0.17,
                "POWER": -0.21,
                EVIL: -0.12,
                FORMULA: 0.02,
                "積體$電$": 0.0,
            },
            note="By hand.",
        ),
        seeds=seeds if synthetic else None,
        history=(DATES, 0.02 * rng.standard_normal(DATES.size)),
        provenance={"data hash": "abc", "note": EVIL},
    )
    return replace(inputs, **changes)
