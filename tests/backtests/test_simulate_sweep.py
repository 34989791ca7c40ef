"""The sweep kernel against a plain loop, `simulate_weights` and the metrics."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests import Band, metrics, simulate_sweep, simulate_weights
from engine.errors import DataError, ModelError, UsageError
from strategies.bands import to_edge

nan = np.nan


def reference(prices, targets, cost, due, band):
    """One book, a date at a time, the cost equation by bisection."""
    T, N = prices.shape
    c = np.broadcast_to(cost, (N,))
    targets = np.broadcast_to(targets, prices.shape)
    money, cash = np.zeros(N), 1.0
    value, turnover, paid, trades = [], 0.0, 0.0, 0
    for t in range(T):
        if t:
            money = money * prices[t] / prices[t - 1]
        before = money.sum() + cash
        value.append(before)
        aim = targets[t]
        if not due[t] or np.isnan(aim).any():
            continue
        if band is not None and trades:
            now = np.append(money, cash) / before
            wanted = np.append(aim, 1.0 - aim.sum())
            width = np.full(N + 1, float(band.width))
            if band.relative:
                width *= np.abs(wanted)
            if (np.abs(now - wanted) <= width + 1e-12).all():
                continue
            if band.to == "edge":
                aim = to_edge(now, wanted, width)[:-1]
        low, high, after = 0.0, before, before
        for _ in range(200):
            after = 0.5 * (low + high)
            size = np.abs(aim * after - money)
            low, high = (after, high) if after + c @ size < before else (low, after)
        size = np.abs(aim * after - money)
        rest = after * (1.0 - aim.sum())
        net = (aim * after - money).sum()
        turnover += 0.5 * (size.sum() + abs(net)) / before
        paid += before - after
        trades += 1
        money, cash, value[-1] = aim * after, rest, after
    return np.array(value), turnover, paid, trades


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    T, N = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    prices = np.exp(np.cumsum(rng.normal(0, 0.1, (T, N)), axis=0))
    table = rng.dirichlet(np.ones(N + 1), T)[:, :N]
    table[rng.random(T) < 0.3] = nan
    fixed = rng.dirichlet(np.ones(N))
    if draw(st.booleans()):
        fixed = fixed * 1.4 - 0.1  # some short, some leverage
    return {
        "prices": prices,
        "targets": {"table": table, "fixed": fixed},
        "costs": [0.0, 0.01, rng.uniform(0, 0.02, N)],
        "schedules": [1, 3, rng.random(T) < 0.5],
        "bands": [
            None,
            Band(draw(st.sampled_from([0.0, 0.01, 0.05]))),
            Band(0.02, "centre"),
            Band(draw(st.sampled_from([0.0, 0.2])), relative=True),
        ],
    }


@settings(deadline=None, derandomize=True, max_examples=15)
@given(problems())
def test_every_cell_matches_a_plain_loop(problem):
    got = simulate_sweep(**problem, paths=True)
    assert got.value is not None
    prices = problem["prices"]
    row = np.arange(len(prices))
    i = 0
    for targets in problem["targets"].values():
        for cost in problem["costs"]:
            for schedule in problem["schedules"]:
                due = row % schedule == 0 if isinstance(schedule, int) else schedule
                for band in problem["bands"]:
                    value, turnover, cost_paid, trades = reference(
                        prices, targets, cost, due, band
                    )
                    np.testing.assert_allclose(got.value[i], value, rtol=1e-11)
                    assert got.turnover[i] == pytest.approx(turnover, abs=1e-10)
                    assert got.cost[i] == pytest.approx(cost_paid, abs=1e-10)
                    assert got.trades[i] == trades
                    assert got.outcome[i] == "done"
                    i += 1
    assert i == len(got)


def _market(T=300, N=7, seed=3):
    rng = np.random.default_rng(seed)
    return np.exp(np.cumsum(rng.normal(3e-4, 0.02, (T, N)), axis=0)), rng


def _grid():
    prices, rng = _market()
    return {
        "prices": prices,
        "targets": {"equal": np.full(7, 1 / 7), "some": rng.dirichlet(np.ones(7))},
        "costs": [0.0, 0.001, 0.004],
        "schedules": [1, 5, 21],
        "bands": [None, 0.01, Band(0.02, "centre")],
    }


def test_figures_do_not_depend_on_workers_or_on_the_other_cells():
    grid = _grid()
    one, two = simulate_sweep(**grid), simulate_sweep(**grid, n_jobs=2)
    for name in ("final_value", "sharpe", "kurtosis", "turnover", "cost", "trades"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    i = one.labels.index(("some", "0.004", "every 5", "0.01 to the edge"))
    alone = simulate_sweep(
        grid["prices"], grid["targets"]["some"], costs=0.004, schedules=5, bands=0.01
    )
    assert alone.final_value[0] == one.final_value[i]
    assert alone.turnover[0] == one.turnover[i]


def test_a_cell_without_a_band_is_simulate_weights():
    grid = _grid()
    got = simulate_sweep(**{**grid, "bands": None}, paths=True)
    assert got.value is not None
    for i, (name, cost, schedule, _) in enumerate(got.labels):
        when = np.arange(300) % int(schedule.split()[1]) == 0
        one = simulate_weights(
            grid["prices"], grid["targets"][name], float(cost), when=when
        )
        # Growth is kept as a ratio there and multiplied on here.
        np.testing.assert_allclose(got.value[i], one.value, rtol=1e-12)
        assert got.turnover[i] == pytest.approx(one.turnover.sum(), rel=1e-10)
        assert got.cost[i] == pytest.approx(one.cost.sum(), abs=1e-13)


def test_figures_are_those_of_the_metrics():
    got = simulate_sweep(**_grid(), paths=True)
    assert got.value is not None
    for i in (0, 11, 30):
        path = np.append(1.0, got.value[i])
        x = path[1:] / path[:-1] - 1.0
        m = metrics.moments(x)
        assert got.sharpe[i] == pytest.approx(m.sharpe, rel=1e-12)
        assert got.skew[i] == pytest.approx(m.skew, rel=1e-10)
        assert got.kurtosis[i] == pytest.approx(m.kurtosis, rel=1e-10)
        assert got.max_drawdown[i] == pytest.approx(
            metrics.max_drawdown(path).depth, rel=1e-12
        )
        assert got.final_value[i] == pytest.approx(np.prod(1 + x), rel=1e-12)
    best = got.best()
    assert got.sharpe[best] == got.sharpe.max()
    fewer = got.deflated_sharpe(n_trials=1)
    assert got.deflated_sharpe() < fewer == pytest.approx(
        metrics.probabilistic_sharpe_ratio(
            sharpe=got.sharpe[best], n=300, skew=got.skew[best],
            kurtosis=got.kurtosis[best],
        )
    )  # fmt: skip
    frame = got.to_frame()
    assert list(frame.columns[:4]) == ["targets", "costs", "schedule", "band"]
    assert len(frame) == len(got) == 54


def test_a_wide_band_is_bought_once_and_held():
    prices, _ = _market()
    got = simulate_sweep(prices, np.full(7, 1 / 7), bands=[1.0], costs=0.001)
    # Bought at a cost of 10 bp: 1 / 1.001 in prices of the first day.
    expected = (prices[-1] / prices[0]).mean() / 1.001
    assert got.final_value[0] == pytest.approx(expected, rel=1e-12)
    assert got.trades[0] == 1


def test_the_kernel_agrees_with_its_python():
    from engine.kernels.accounting import rebalance_cells

    prices, rng = _market(T=30, N=3)
    growth = np.ones((30, 3))
    growth[1:] = prices[1:] / prices[:-1]
    targets = rng.dirichlet(np.ones(3), 2)
    due = np.array([np.full(30, True), np.arange(30) % 4 == 0])
    choice = np.array([[0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 0, 1]])
    bands = np.array([[-1.0, 0.0], [0.02, 0.0], [0.1, 1.0]])

    def run(function):
        value, sums = np.empty((3, 30)), np.empty((3, 5))
        costs = np.array([np.full(3, 0.001), np.full(3, 0.01)])
        function(
            growth, targets, np.zeros(2, bool), costs, due, choice, bands, value, sums
        )
        return value, sums

    for a, b in zip(run(rebalance_cells), run(rebalance_cells.py_func), strict=True):
        # Sums of three numbers in another order.
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_memory_does_not_grow_with_cells_times_dates():
    import tracemalloc

    prices, _ = _market(T=2000, N=2)
    simulate_sweep(prices[:9], [0.5, 0.5])
    tracemalloc.start()
    got = simulate_sweep(prices, [0.5, 0.5], costs=np.linspace(0.0, 0.01, 500))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(got) == 500
    assert peak < 500 * 2000 * 8 / 2  # half of what the paths alone would take


def test_a_named_schedule_takes_the_dates_of_the_frame():
    prices, _ = _market()
    days = pd.bdate_range("2020-01-01", periods=300)
    frame = pd.DataFrame(prices, index=days)
    got = simulate_sweep(frame, [1 / 7] * 7, schedules=["monthly", "once", "daily"])
    months = len(set(days.strftime("%Y-%m")))
    assert got.trades.tolist() == [months, 1, 300]
    same = simulate_sweep(prices, [1 / 7] * 7, schedules="monthly", dates=days)
    assert same.final_value[0] == got.final_value[0]


def test_a_book_that_loses_everything_is_recorded_and_the_others_go_on():
    prices = np.array([[1.0, 1.0], [1.1, 1.0], [0.4, 1.0], [0.4, 1.0]])
    got = simulate_sweep(
        prices, {"levered": [2.0, 0.0], "safe": [0.0, 0.5]}, paths=True
    )
    assert got.outcome == ("the book lost everything at row 2", "done")
    assert np.isnan([got.final_value[0], got.cost[0], got.sharpe[0]]).all()
    assert got.final_value[1] == 1.0 and got.max_drawdown[1] == 0.0
    assert got.value is not None
    assert np.isnan(got.value[0, 2:]).all() and got.value[0, 1] == pytest.approx(1.2)
    with pytest.raises(ModelError, match="no cell"):
        got.best()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"prices": [[1.0, nan]]}, DataError, "row 0, column 1"),
        ({"targets": {}}, DataError, "targets is empty"),
        ({"targets": {"a": [0.5]}}, DataError, "of 'a'"),
        ({"targets": {"a": [0.5, nan]}}, DataError, "partly"),
        ({"targets": 3.0}, UsageError, "targets is neither"),
        ({"costs": [0.1, -0.1]}, DataError, "costs must lie"),
        ({"costs": []}, DataError, "costs is empty"),
        ({"costs": None}, UsageError, "costs is neither"),
        ({"costs": {"high": 0.9}, "targets": [2.0, 0.0]}, ModelError, "more to trade"),
        ({"schedules": 0}, UsageError, "k >= 1"),
        ({"schedules": "hourly", "dates": ["2024-01-01"]}, UsageError, "unknown"),
        ({"schedules": "monthly"}, DataError, "needs the dates"),
        ({"schedules": "monthly", "dates": ["2024-01-01"] * 2}, DataError, "2 dates"),
        ({"schedules": "monthly", "dates": ["soon"]}, DataError, "not dates"),
        ({"schedules": np.ones(3, bool)}, DataError, "schedule does not match"),
        ({"schedules": [1.5]}, DataError, "schedule does not match"),
        ({"bands": -0.1}, UsageError, "half-width"),
        ({"bands": nan}, UsageError, "half-width"),
        ({"bands": "wide"}, UsageError, "half-width"),
        ({"bands": Band(0.1, "middle")}, UsageError, "edge or its centre"),
        ({"n_jobs": 0}, UsageError, "n_jobs"),
    ],
)
def test_bad_input_is_refused(change, error, words):
    given_input = {"prices": [[1.0, 1.0]], "targets": [0.5, 0.5], **change}
    with pytest.raises(error, match=words):
        simulate_sweep(**given_input)
