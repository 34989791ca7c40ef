"""The first calls of a fresh process, timed one by one; printed as one JSON object.

Run by `benchmarks.cold_start` as ``python -m benchmarks.first_calls``. Each step counts
what the steps before it had not yet imported or compiled, as a user's first session
would. ``again`` repeats the step at once: what is left when nothing is first.
"""

import json
import time

seconds: dict[str, dict[str, float]] = {}


def first(name, function, *arguments, **options):
    """Time a call and the same call again; return what the first returned."""
    start = time.perf_counter()
    result = function(*arguments, **options)
    middle = time.perf_counter()
    function(*arguments, **options)
    end = time.perf_counter()
    seconds[name] = {"first": middle - start, "again": end - middle}
    return result


def imported():
    """Load the package; its parts load when used."""
    import engine

    return engine


engine = first("import engine", imported)


def fitted(tickers):
    """Read the reference market and fit a model to eight of its assets."""
    panel = engine.load_panel("reference")
    view = panel.as_of("2025-06-30")
    return panel, view, engine.fit(view, tickers=tickers)


tickers = ["NVDA", "VST", "AVGO", "ANET", "JPM", "EFA", "TLT", "SPY"]
panel, view, model = first("load_panel and fit", fitted, tickers)

import numpy as np  # noqa: E402  (loaded by the steps above, as a user would find it)

rng = np.random.default_rng(1)
X = rng.standard_normal((504, 50)) * 0.01
prices = 100.0 * np.exp(np.cumsum(X, axis=0))

first("covariance.sample", lambda: engine.covariance.sample(X))
scenarios = first("simulate", lambda: engine.simulate(model, 20_000, seed=7))
book = engine.Portfolio.from_weights(
    {"NVDA": 0.5, "VST": 0.3, "JPM": 0.2}, 1e6, "USD"
).priced(view)
shock = engine.CheapModelShock("substitution", severity=1.2)
first("stress", lambda: engine.stress(book, scenarios, [shock]))
limits = engine.Constraints(upper=0.5, stress_caps=(engine.StressCap(shock, 0.20),))
costs = engine.Costs(half_spread_bps=5)
first("propose", lambda: engine.propose(book, scenarios, limits, costs, market=view))


def rebalanced():
    """Rebalance fifty names to equal weights every session."""
    from backtests import simulate_weights

    return simulate_weights(prices, np.full(50, 0.02), 1e-3)


first("simulate_weights", rebalanced)
print(json.dumps(seconds))
