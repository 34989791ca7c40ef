"""The one map: same bits, same order, same errors, whoever computes."""

import operator
import threading
import time
import warnings
from functools import partial

import numpy as np
import pytest
import threadpoolctl

from engine.errors import DataError, InfeasibleError, SolverError, UsageError
from engine.parallel import (
    BLOCK_SIZE,
    BlockStream,
    blocks,
    map_ordered,
    resolve_jobs,
    thread_limits,
)

EXECUTORS = [("serial", 1), ("threads", 2), ("processes", 2)]


def blas_heavy(seed):
    """Matrix products and an eigenvalue problem: differs between BLAS threads."""
    z = BlockStream(seed).normals(0, 160 * 160).reshape(160, 160)
    values, vectors = np.linalg.eigh(z @ z.T)
    return np.concatenate([values, (vectors * values) @ vectors[0]])


def shout(item):
    return item, item * 2


def slow_first(item):
    """Later items finish first."""
    if item == 0:
        time.sleep(0.05)
    return item


def refuse(item):
    if item == 3:
        raise InfeasibleError(
            "no portfolio satisfies the limits",
            conflict=("country US <= 0.2", "stress loss <= 0.05"),
            relaxation=("raise country US to 0.31",),
            asset="NVDA",
            received=0.4,
            fix="Drop one.",
        )
    return item


def refuse_with(kind, item):
    raise kind("bad input", asset=f"A{item}", date="2025-01-27", expected="a price")


def pool_sizes(_):
    """Threads of the pools of NumPy and SciPy; other libraries may be built for one."""
    return [
        pool["num_threads"]
        for pool in threadpoolctl.threadpool_info()
        if "numpy" in pool["filepath"] or "scipy" in pool["filepath"]
    ]


def test_all_executors_give_the_same_bits():
    results = [
        list(map_ordered(blas_heavy, range(6), executor=e, n_jobs=n))
        for e, n in EXECUTORS
    ]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("executor", "jobs"), EXECUTORS)
def test_results_come_in_the_order_of_the_items(executor, jobs):
    got = list(map_ordered(slow_first, range(12), executor=executor, n_jobs=jobs))
    assert got == list(range(12))


@pytest.mark.parametrize(("executor", "jobs"), EXECUTORS)
def test_any_iterable_even_an_empty_one(executor, jobs):
    run = partial(map_ordered, executor=executor, n_jobs=jobs)
    assert list(run(shout, iter("ab"))) == [("a", "aa"), ("b", "bb")]
    assert list(run(shout, [])) == []
    assert list(run(shout, (i for i in range(3)))) == [(0, 0), (1, 2), (2, 4)]


@pytest.mark.parametrize(("executor", "jobs"), EXECUTORS)
def test_an_error_keeps_its_type_its_conflict_and_its_details(executor, jobs):
    with pytest.raises(InfeasibleError) as caught:
        list(map_ordered(refuse, range(5), executor=executor, n_jobs=jobs))
    error = caught.value
    assert error.conflict == ("country US <= 0.2", "stress loss <= 0.05")
    assert error.relaxation == ("raise country US to 0.31",)
    assert (error.asset, error.received, error.fix) == ("NVDA", 0.4, "Drop one.")
    assert "no portfolio satisfies" in str(error) and "NVDA" in str(error)


@pytest.mark.parametrize("kind", [DataError, SolverError])
def test_other_errors_cross_a_process_boundary_unchanged(kind):
    with pytest.raises(kind) as caught:
        list(
            map_ordered(
                partial(refuse_with, kind), [1, 2], executor="processes", n_jobs=2
            )
        )
    assert caught.value.date == "2025-01-27"
    assert caught.value.expected == "a price"


@pytest.mark.parametrize(("executor", "jobs"), [("serial", 1), ("threads", 2)])
def test_a_plain_exception_is_not_wrapped(executor, jobs):
    with pytest.raises(ZeroDivisionError):
        list(
            map_ordered(
                partial(operator.truediv, 1), [1, 0], executor=executor, n_jobs=jobs
            )
        )


def test_serial_results_before_an_error_are_delivered():
    seen = []
    with pytest.raises(InfeasibleError):
        for value in map_ordered(refuse, range(5)):
            seen.append(value)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(("executor", "jobs"), EXECUTORS)
def test_blas_runs_with_one_thread_inside(executor, jobs):
    np.ones((2, 2)) @ np.ones((2, 2))
    for sizes in map_ordered(pool_sizes, range(3), executor=executor, n_jobs=jobs):
        assert sizes and set(sizes) == {1}


@pytest.mark.parametrize("threads", [1, 2])
def test_thread_limits_hold_inside_and_end_outside(threads):
    before = pool_sizes(None)
    with thread_limits(threads):
        assert set(pool_sizes(None)) == {threads}
    assert pool_sizes(None) == before
    with pytest.raises(RuntimeError), thread_limits(threads):
        raise RuntimeError
    assert pool_sizes(None) == before


def test_the_callers_own_threads_are_not_limited_between_serial_results():
    with thread_limits(2):
        for sizes in map_ordered(pool_sizes, range(2)):
            assert set(sizes) == {1}
            assert set(pool_sizes(None)) == {2}
        left = map_ordered(pool_sizes, range(2))
        next(left)
        assert set(pool_sizes(None)) == {2}  # abandoned half way: nothing leaks
        left.close()


@pytest.mark.parametrize(("executor", "jobs"), EXECUTORS)
def test_closing_early_restores_the_threads_and_is_silent(executor, jobs):
    before = pool_sizes(None)
    with warnings.catch_warnings():
        # joblib says that pending tasks were cancelled, which is what was asked.
        warnings.filterwarnings("ignore", module="joblib")
        results = map_ordered(slow_first, range(20), executor=executor, n_jobs=jobs)
        assert next(results) == 0
        results.close()
        results = map_ordered(slow_first, range(3), executor=executor, n_jobs=jobs)
        assert list(results) == [0, 1, 2]
    assert pool_sizes(None) == before


def test_threads_really_are_threads_and_serial_is_the_caller():
    def who(_):
        return threading.current_thread().name

    here = threading.current_thread().name
    assert set(map_ordered(who, range(4))) == {here}
    assert set(map_ordered(who, range(4), executor="threads")) == {here}  # one job
    assert here not in set(map_ordered(who, range(4), executor="threads", n_jobs=2))


@pytest.mark.parametrize("executor", ["Ray", "", "Serial", None])
def test_an_unknown_executor_is_refused_at_the_call(executor):
    with pytest.raises(UsageError, match="unknown executor") as caught:
        map_ordered(shout, [1], executor=executor)
    assert "serial, threads, processes or ray" in str(caught.value)


@pytest.mark.parametrize("n_jobs", [0, -2, -100, 1.5, "2", None, True])
def test_a_bad_number_of_jobs_is_refused_at_the_call(n_jobs):
    for executor, _ in EXECUTORS:
        with pytest.raises(UsageError, match="n_jobs"):
            map_ordered(shout, [1], executor=executor, n_jobs=n_jobs)


def test_jobs():
    assert resolve_jobs(3) == 3
    assert resolve_jobs(np.int64(2)) == 2
    assert resolve_jobs(-1) >= 1


def test_blocked_draws_do_not_depend_on_the_division_of_work():
    def draw(item):
        block, start, stop = item
        return BlockStream(3).uniforms(block, stop - start)

    whole = np.concatenate(list(map_ordered(draw, blocks(3000))))
    threaded = np.concatenate(
        list(map_ordered(draw, blocks(3000), executor="threads", n_jobs=2))
    )
    np.testing.assert_array_equal(whole, threaded)
    backwards = [draw(item) for item in reversed(blocks(3000))]
    np.testing.assert_array_equal(whole, np.concatenate(backwards[::-1]))
    shorter = np.concatenate(list(map_ordered(draw, blocks(BLOCK_SIZE + 1))))
    np.testing.assert_array_equal(whole[: BLOCK_SIZE + 1], shorter)
