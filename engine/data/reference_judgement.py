"""What no price can tell the reference market: premia, pegs, policy rates.

All of it is judgement, and the parameter file stores it under that word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import DataError

# Judgement, all of it: written to the parameter file under that word. The realised
# AI premium of 2016-2025 (tens of percent a year) is one draw from a distribution whose
# mean nobody knew: planting it would make any backtest on this market a replay of the
# rally and every hedge look foolish. At zero, leaving AI would be free and every hedge
# would look clever. 3% a year for the basket beyond its market beta is half the
# market's reward per unit of risk, and a small part of what was realised.
PREMIA_PA = {"market": 0.05, "ai": 0.03, "rates": 0.01}
PEGS = {
    "HKD": {"anchor": "USD", "centre": 1 / 7.8, "half_width": 0.0064},
    "DKK": {"anchor": "EUR", "centre": 1 / 7.46038, "half_width": 0.005},
}
PEG_PERSISTENCE = 0.98  # keeps the level well inside the band at the fitted volatility
DERIVED_CURRENCIES = {"TWD": {"like": "KRW", "scale": 0.55, "start": 0.0304}}
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


def rounded(values: np.ndarray, digits: int = 5, floor: float = 0.0) -> list[Any]:
    """Nested lists rounded to ``digits`` decimals, values below ``floor`` set to 0."""
    array = np.round(np.where(np.abs(values) < floor, 0.0, values), digits)
    return (array + 0.0).tolist()


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


def choose_currencies(
    meta: pd.DataFrame, fx: pd.DataFrame
) -> tuple[set[str], list[str]]:
    """Name the currencies the assets need, and those of them to fit from ``fx``.

    The second list also holds what a peg or a derived currency leans on.
    """
    wanted = set(meta["quote_currency"]) | set(meta["exposure_currency"])
    leans = {v["like"] for k, v in DERIVED_CURRENCIES.items() if k in wanted}
    leans |= {str(v["anchor"]) for k, v in PEGS.items() if k in wanted}
    currencies = sorted((wanted | leans) & set(fx.columns)) or sorted(fx.columns)
    derived = {k for k, v in DERIVED_CURRENCIES.items() if v["like"] in currencies}
    for currency in sorted(set(meta["quote_currency"]) - {"USD"}):
        if currency not in {*currencies, *derived} or currency not in POLICY_RATES:
            raise DataError(
                f"prices quoted in {currency} cannot be valued: the FX file holds "
                f"{', '.join(fx.columns)} and cash rates exist for "
                f"{', '.join(POLICY_RATES)}; add the series or drop its tickers"
            )
    return wanted, currencies


def premia_pa(
    loadings: np.ndarray,
    sd: np.ndarray,
    names: list[str],
    earners: dict[str, list[int]],
) -> np.ndarray:
    """Price market beta, AI exposure and duration: expected excess return (N,) a year.

    ``earners`` names, per factor, the rows of loadings (N, K) whose equal-weight
    portfolio earns exactly that premium on that factor.
    """
    exposure = loadings * sd[:, None]
    out = np.zeros(sd.size)
    for name, premium in PREMIA_PA.items():
        if name in names and name in earners:
            on_factor = exposure[:, names.index(name)]
            out += premium * on_factor / on_factor[earners[name]].mean()
    return out
