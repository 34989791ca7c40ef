"""Turns, pairs and intervals of the benchmark house, with candidates that keep time.

No clock is read: a toy candidate says how long it took.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.case import Case, Partial
from benchmarks.measure import disagreement, measure, timed
from benchmarks.process import PeerCrashError, PeerTimeoutError
from benchmarks.timing import READING, Local, interleaved, median_interval, spread


class Toy:
    """Takes ``seconds`` times the drift of the moment; writes its name in a log."""

    factor = 1.0

    def __init__(self, name, seconds, log, *, answer=(1.0,), drift=None, fails=None):
        self.name, self.seconds, self.log = name, seconds, log
        self.value, self.drift, self.fails = np.array(answer), drift, fails

    def answer(self, cap):
        if isinstance(self.fails, PeerTimeoutError):
            raise self.fails
        return self.value, self.seconds

    def run(self, repeats, cap):
        self.log.append((self.name, repeats))
        if self.fails is not None:
            raise self.fails
        turn = sum(name == self.name for name, _ in self.log)
        return self.seconds * (1.0 if self.drift is None else self.drift(turn))


CASE = Case("toy", {"timed": {}}, dict, 1e-9)


def test_candidates_take_turns_in_opposite_orders():
    log = []
    toys = {name: Toy(name, 0.05, log) for name in "abc"}
    times = interleaved(toys, seconds=2.0)
    order = "".join(name for name, _ in log)
    assert order[:6] == "aabbcc"  # unrecorded
    rounds = len(times["a"])
    assert rounds == 13  # 2 s over rounds of 0.15 s
    assert order[6:] == ("abccba" * rounds)[: 3 * rounds]


def test_fast_candidates_are_repeated_until_a_reading_lasts():
    log = []
    interleaved({"quick": Toy("quick", 1e-5, log), "slow": Toy("slow", 0.01, log)})
    assert {r for name, r in log[4:] if name == "quick"} == {round(READING / 1e-5)}
    assert {r for name, r in log[4:] if name == "slow"} == {1}


@pytest.mark.parametrize(
    ("seconds", "options", "rounds"),
    [
        (1e-4, {}, 25),  # at most
        (1.9, {"seconds": 2.0}, 7),  # at least, where a round fits
        (5.0, {"seconds": 2.0}, 3),
        (5.0, {"seconds": 2.0, "least": 7}, 7),
    ],
)
def test_number_of_rounds(seconds, options, rounds):
    assert len(interleaved({"a": Toy("a", seconds, [])}, **options)["a"]) == rounds


def test_ratios_are_paired_so_that_drift_cancels():
    def drift(turn):
        return 1.0 + turn  # each round is slower than the one before

    log = []
    ours, peer = (
        Toy("ours", 0.01, log, drift=drift),
        Toy("peer", 0.03, log, drift=drift),
    )
    row = timed(CASE, {"ours": ours, "peer": peer})
    assert row["seconds"]["ours"]["q75"] > 1.5 * row["seconds"]["ours"]["q25"]
    for quantity in ("median", "q25", "q75", "low", "high"):
        assert row["ratio_to_ours"]["peer"][quantity] == pytest.approx(3.0, rel=1e-12)


def test_a_slow_peer_runs_once_and_says_so():
    log = []
    row = timed(CASE, {"ours": Toy("ours", 0.5, log), "peer": Toy("peer", 21.0, log)})
    assert "peer" not in {name for name, _ in log}
    assert row["labels"] == {"peer": "one run, the first"}
    assert row["ratio_to_ours"]["peer"]["median"] == pytest.approx(42.0)
    assert row["ratio_to_ours"]["peer"]["coverage"] == 0.0


def test_where_ours_is_slow_everything_runs_once():
    log = []
    row = timed(CASE, {"ours": Toy("ours", 30.0, log), "peer": Toy("peer", 3.0, log)})
    assert log == []
    assert row["rounds"] == 1
    assert set(row["labels"]) == {"ours", "peer"}
    assert row["ratio_to_ours"]["peer"]["median"] == pytest.approx(0.1)


def test_a_stopped_peer_is_a_lower_bound():
    peer = Toy("peer", 0.0, [], fails=PeerTimeoutError("no answer"))
    row = timed(CASE, {"ours": Toy("ours", 0.5, []), "peer": peer}, cap=60.0)
    assert row["labels"] == {"peer": "stopped after 60 s"}
    assert row["ratio_to_ours"]["peer"]["median"] == pytest.approx(120.0)
    assert row["failed"] == {}


def test_a_peer_that_crashes_between_rounds_costs_only_itself():
    peer = Toy("bad", 0.01, [], fails=PeerCrashError("run: the process ended"))
    candidates = {"ours": Toy("ours", 0.01, []), "bad": peer, "b": Toy("b", 0.02, [])}
    row = timed(CASE, candidates)
    assert set(row["failed"]) == {"bad"}
    assert "PeerCrashError" in row["failed"]["bad"]
    assert row["ratio_to_ours"].keys() == {"b"}


def test_a_peer_that_raises_is_reported_and_the_row_kept():
    def raises():
        raise ZeroDivisionError("no solution")

    row = timed(CASE, {"ours": Toy("ours", 0.01, []), "peer": Local(raises)})
    assert row["failed"] == {"peer": "ZeroDivisionError: no solution"}
    assert row["seconds"].keys() == {"ours"}


def test_a_part_is_compared_with_the_head_and_extrapolated():
    part = Toy("part", 0.01, [], answer=np.arange(10.0))
    part.factor = 5.0
    ours = Toy("ours", 0.01, [], answer=np.arange(50.0))
    row = timed(CASE, {"ours": ours, "part": part})
    assert row["labels"] == {"part": "extrapolated x5"}
    assert row["ratio_to_ours"]["part"]["median"] == pytest.approx(5.0)
    part.value = part.value + 1.0
    with pytest.raises(AssertionError, match="part differs"):
        timed(CASE, {"ours": ours, "part": part})


def test_a_partial_function_states_its_factor():
    assert Local(Partial(lambda: 1.0, 20.0)).factor == 20.0
    assert Partial(lambda: 3.0, 20.0)() == 3.0


@pytest.mark.parametrize(
    ("other", "tolerance", "said"),
    [
        (np.ones(4), 1e-9, "shape (4,)"),
        (np.array([1.0, 1.0, 1.1]), 1e-9, "differs by 1.00e-01"),
        (np.array([1.0, 1.0, np.nan]), 1e-9, "differs by nan"),
        (np.ones(3), 1e-9, ""),
        (np.array([1.0, 1.0, 1.1]), 0.2, ""),
    ],
)
def test_disagreement(other, tolerance, said):
    told = disagreement(np.ones(3), other, tolerance)
    assert said in told and bool(said) == bool(told)


def test_draws_need_the_same_spread_only():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 4000, 3))
    assert disagreement(a, b, float("nan")) == ""
    assert disagreement(a, 1.4 * b, float("nan")) == "has another spread"
    assert disagreement(a, 0.0 * b, float("nan")) == "has another spread"


def test_every_pool_keeps_to_the_threads_of_the_row():
    import threadpoolctl

    from engine.parallel import resolve_jobs

    seen = []

    def build(n_jobs=1):
        def ours():
            seen.append(max(p["num_threads"] for p in threadpoolctl.threadpool_info()))
            return float(n_jobs)

        return {"ours": ours}

    case = Case("toy", {"timed": {}}, build, threads="all")
    assert measure(case, "timed")["threads"] == 1
    assert set(seen) == {1}
    seen.clear()
    assert measure(case, "timed", threads="all")["threads"] == resolve_jobs(-1)
    assert set(seen) == {resolve_jobs(-1)}


def test_median_interval_has_the_coverage_it_states():
    for n in range(1, 60):
        x = np.arange(float(n))
        low, high, coverage = median_interval(x)
        k = int(low) + 1  # the order statistic used
        assert high == n - k
        assert coverage == pytest.approx(1.0 - 2.0 * stats.binom.cdf(k - 1, n, 0.5))
        if n >= 6:
            assert coverage >= 0.95
            narrower = 1.0 - 2.0 * stats.binom.cdf(k, n, 0.5)
            assert narrower < 0.95 or k == n // 2
        else:
            assert (low, high) == (0.0, n - 1.0)


def test_median_interval_agrees_with_scipy():
    x = np.random.default_rng(4).standard_normal(25)
    low, high, _ = median_interval(x)
    other: Any = stats.quantile_test(x, q=0.0, p=0.5).confidence_interval(0.95)
    assert (low, high) == (other.low, other.high)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40))
def test_spread_is_ordered_and_follows_a_change_of_unit(values):
    s, m = spread(values), spread(np.array(values) * 1024.0)
    assert s["low"] <= s["median"] <= s["high"]
    assert s["q25"] <= s["median"] <= s["q75"]
    assert m["low"] == 1024.0 * s["low"] and m["high"] == 1024.0 * s["high"]
    assert spread(values[::-1]) == s
