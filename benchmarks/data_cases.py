"""Prices from Parquet to returns by information time."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Thunk, returns


def _load(T: int, N: int) -> dict[str, Thunk]:
    import pandas as pd

    from engine import Universe, align, load_panel

    folder = tempfile.mkdtemp(prefix="ballast-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "prices.parquet"
    tickers = tuple(f"A{i}" for i in range(N))
    index = pd.bdate_range("2016-01-04", periods=T, name="date")
    levels = 50 * np.exp(np.cumsum(returns(T, N), axis=0))
    pd.DataFrame(levels, index=index, columns=list(tickers)).to_parquet(path)
    universe = Universe(
        tickers,
        venue=tuple(("NYSE", "NYSE", "TSE", "HKEX")[i % 4] for i in range(N)),
        quote_currency=("USD",) * N,
    )

    def ours():
        panel = load_panel(path, universe=universe, price_basis="total_return")
        return np.nan_to_num(align(panel).values)

    return {"ours": ours, "limit": lambda: pd.read_parquet(path).to_numpy()}


CASES = (
    Case(
        "load and align",
        {"small": {"T": 60, "N": 6}, "T 2520, N 500": {"T": 2520, "N": 500}},
        _load,
    ),
)
