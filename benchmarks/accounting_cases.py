"""Cases of accounting: one book, thousands of them, and a book stressed every day."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Partial, Peer, Thunk, returns


def _rebalance(T: int, N: int) -> dict[str, Thunk]:
    from backtests import simulate_weights

    prices = 100.0 * np.exp(np.cumsum(returns(T, N), axis=0))
    target = np.full(N, 1.0 / N)

    def numpy_loop():
        value, money = 1.0, np.zeros(N)
        path = np.empty(T)
        for t in range(T):
            if t:
                money = money * (prices[t] / prices[t - 1])
            value = money.sum() if t else 1.0
            after = value
            for _ in range(60):  # costs are paid from the book: fixed point
                after = value - 1e-3 * np.abs(target * after - money).sum()
            money, path[t] = target * after, after
        return path

    return {
        "ours": lambda: simulate_weights(prices, target, 1e-3).value,
        "NumPy loop": numpy_loop,
    }


def _sweep_inputs(T: int, N: int, cells: int) -> dict[str, Any]:
    prices = 100.0 * np.exp(np.cumsum(returns(T, N), axis=0))
    # Some calendars more than once: what is timed is the number of cells.
    every = 1 + np.arange(cells, dtype=np.int64) % min(T, 250)
    return {"prices": prices, "every": every, "costs": np.array(1e-3)}


def _sweep(T: int, N: int, cells: int, n_jobs: int = 1) -> dict[str, Thunk]:
    """Last value of books that differ in how often they rebalance, with costs."""
    from backtests import simulate_sweep, simulate_weights

    prices, every, _ = _sweep_inputs(T, N, cells).values()
    target, session = np.full(N, 1.0 / N), np.arange(T)

    def ours():
        calendars = {str(i): session % step == 0 for i, step in enumerate(every)}
        return simulate_sweep(
            prices, target, costs=1e-3, schedules=calendars, n_jobs=n_jobs
        ).final_value

    def one_by_one():
        return np.array(
            [
                simulate_weights(prices, target, 1e-3, when=session % step == 0).value[
                    -1
                ]
                for step in every.tolist()
            ]
        )

    growth = np.ones((T, N))
    growth[1:] = prices[1:] / prices[:-1]

    def numpy_loop():
        """All cells at once, a date at a time: the usual vectorised loop."""
        money, cash = np.zeros((cells, N)), np.ones(cells)
        for t in range(T):
            money *= growth[t]
            due = np.flatnonzero(t % every == 0)
            before = money[due].sum(axis=1) + cash[due]
            after = before
            for _ in range(12):  # each step gains three digits
                size = np.abs(after[:, None] * target - money[due])
                after = before - 1e-3 * size.sum(axis=1)
            money[due] = after[:, None] * target
            cash[due] = after * (1.0 - target.sum())
        return money.sum(axis=1) + cash

    return {
        "ours": ours,
        "ours, one call per cell": one_by_one,
        "NumPy loop over dates": numpy_loop,
    }


def _free_rebalance_inputs(T: int, N: int) -> dict[str, np.ndarray]:
    prices = 100.0 * np.exp(np.cumsum(returns(T, N), axis=0))
    return {"prices": prices, "target": np.full(N, 1.0 / N)}


def _free_rebalance(T: int, N: int) -> dict[str, Thunk]:
    from backtests import simulate_weights

    prices, target = _free_rebalance_inputs(T, N).values()

    def closed_form():
        growth = np.ones(T)
        growth[1:] = (prices[1:] / prices[:-1]) @ target
        return np.cumprod(growth)

    return {
        "ours": lambda: simulate_weights(prices, target, 0.0).value,
        "NumPy closed form": closed_form,
    }


def _beside_vectorbt(T: int, N: int) -> dict[str, Thunk]:
    from backtests import simulate_weights

    prices, target = _free_rebalance_inputs(T, N).values()
    return {"ours": lambda: simulate_weights(prices, target, 1e-3).value}


def _costs_inputs(T: int, N: int, cells: int) -> dict[str, np.ndarray]:
    return _free_rebalance_inputs(T, N) | {"costs": np.linspace(1e-4, 2e-3, cells)}


def _costs_sweep(T: int, N: int, cells: int, n_jobs: int = 1) -> dict[str, Thunk]:
    """Books rebalanced at every close that differ in what trading costs."""
    from backtests import simulate_sweep

    prices, target, costs = _costs_inputs(T, N, cells).values()
    return {
        "ours": lambda: (
            simulate_sweep(prices, target, costs=costs, n_jobs=n_jobs).final_value
        )
    }


def _mixed_sweep(
    T: int, N: int, sets: int, widths: int, n_jobs: int = 1
) -> dict[str, Thunk]:
    """Targets x costs x calendars x bands (to the centre, for the loop's sake)."""
    from backtests import Band, simulate_sweep

    prices = 100.0 * np.exp(np.cumsum(returns(T, N), axis=0))
    rng = np.random.default_rng(2)
    targets = {str(i): rng.dirichlet(np.full(N, 5.0)) for i in range(sets)}
    costs, calendars = [0.0, 5e-4, 1e-3, 2e-3, 5e-3], [1, 5, 21, 63]
    bands = [Band(w, "centre") for w in np.linspace(0.0, 0.01, widths)]
    growth = np.ones((T, N))
    growth[1:] = prices[1:] / prices[:-1]

    def numpy_loop():
        shape = (sets, len(costs), len(calendars), len(bands))
        s, q, k, b = (x.ravel() for x in np.indices(shape))
        W, c = np.array(list(targets.values()))[s], np.array(costs)[q]
        every, width = np.array(calendars)[k], np.array([x.width for x in bands])[b]
        money, cash = np.zeros(W.shape), np.ones(len(W))
        for t in range(T):
            money *= growth[t]
            before = money.sum(axis=1) + cash
            apart = np.abs(money - W * before[:, None])
            out = (apart > (width * before)[:, None] + 1e-12).any(axis=1)
            due = np.flatnonzero((t % every == 0) & (out | (t == 0)))
            after = before[due]
            for _ in range(12):
                size = np.abs(after[:, None] * W[due] - money[due])
                after = before[due] - c[due] * size.sum(axis=1)
            money[due] = after[:, None] * W[due]
            cash[due] = after * (1.0 - W[due].sum(axis=1))
        return money.sum(axis=1) + cash

    return {
        "ours": lambda: simulate_sweep(
            prices, targets, costs=costs, schedules=calendars, bands=bands,
            n_jobs=n_jobs,
        ).final_value,
        "NumPy loop over dates": numpy_loop,
    }  # fmt: skip


def _stress_history(
    dates: int, companies: int, funds: int, S: int, n_jobs: int = 1
) -> dict[str, Thunk]:
    """Loss under the shock and ES of a book at each date, by what was known then."""
    from backtests import stress_history
    from engine import CheapModelShock, fit, load_panel, simulate, stress
    from engine.data.roles import COMPANY_CLASSES
    from strategies.estimation import eligible

    panel = load_panel("reference")
    kinds = panel.universe.asset_class
    last = panel.dates[-1 - dates]
    ready = eligible(panel.as_of(last, hindsight_parameters=True), None, window=504)
    split: dict[bool, list[str]] = {True: [], False: []}
    for ticker, kind in zip(panel.tickers, kinds, strict=True):
        if ticker in ready:
            split[kind in COMPANY_CLASSES].append(ticker)
    names = split[True][:companies] + split[False][:funds]
    panel, days = panel.select(names), panel.dates[-dates:]
    book, shock = dict.fromkeys(names, 1.0 / len(names)), CheapModelShock()

    def ours():
        h = stress_history(
            book, panel, shock, dates=days, n_scenarios=S,
            hindsight_parameters=True, executor="processes", n_jobs=n_jobs,
        )  # fmt: skip
        return np.column_stack([h.loss, h.severe, h.low, h.high, h.expected_shortfall])

    part = days[: max(1, dates // 25)]

    def by_hand():
        rows = []
        for date in part:
            view = panel.as_of(date, hindsight_parameters=True)
            scenarios = simulate(fit(view, tickers=names), S)
            report = stress(book, scenarios, shock, hindsight_parameters=True)
            one = report.results[0]
            rows.append([one.loss, one.severe, *one.band, report.expected_shortfall])
        return np.array(rows)

    return {
        "ours": ours,
        "fit, simulate, stress at each date": Partial(by_hand, dates / part.size),
    }


CASES = (
    Case(
        "daily rebalance with costs",
        {"small": {"T": 40, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _rebalance,
        1e-9,
    ),
    Case(
        "daily rebalance with costs, beside vectorbt",
        {"small": {"T": 40, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _beside_vectorbt,
        1e-4,  # it sizes orders by the value before costs
        peers={
            "vectorbt": Peer(
                "benchmarks.peer_vectorbt:rebalance", _free_rebalance_inputs
            )
        },
    ),
    Case(
        "sweep of rebalancing calendars with costs",
        {
            "small": {"T": 40, "N": 5, "cells": 7},
            "T 2520, N 100, 1 cell": {"T": 2520, "N": 100, "cells": 1},
            "T 2520, N 100, 1,000 cells": {"T": 2520, "N": 100, "cells": 1000},
        },
        _sweep,
        1e-9,
        threads="all",
    ),
    Case(
        "sweep of costs, daily rebalance",
        {
            "small": {"T": 40, "N": 5, "cells": 60},
            "T 2520, N 100, 1,000 cells": {"T": 2520, "N": 100, "cells": 1000},
        },
        _costs_sweep,
        1e-3,  # 2,520 times the square of up to 20 basis points
        threads="all",
        peers={
            f"vectorbt, {n} books": Peer(
                f"benchmarks.peer_vectorbt:{word}_books", _costs_inputs
            )
            for n, word in ((10, "ten"), (50, "fifty"))
        },
    ),
    Case(
        "sweep of targets, costs, calendars and bands",
        {
            "small": {"T": 40, "N": 5, "sets": 2, "widths": 2},
            "T 2520, N 100, 1,000 cells": {
                "T": 2520, "N": 100, "sets": 10, "widths": 5,
            },
        },
        _mixed_sweep,
        1e-9,
        threads="all",
    ),
    Case(
        "stress of a book at every date",
        {
            "small": {"dates": 2, "companies": 12, "funds": 2, "S": 500},
            "100 dates, 68 companies and 32 funds, S 5,000": {
                "dates": 100, "companies": 68, "funds": 32, "S": 5000,
            },
        },
        _stress_history,
        1e-9,
        threads="all",
    ),
    Case(
        "daily rebalance without costs",
        {"small": {"T": 40, "N": 5}, "T 2520, N 100": {"T": 2520, "N": 100}},
        _free_rebalance,
        1e-9,
        peers={
            "bt": Peer("benchmarks.peer_bt:rebalance", _free_rebalance_inputs, "bt")
        },
    ),
)  # fmt: skip
