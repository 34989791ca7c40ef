"""The one map on Ray: a stand-in for the fast tests, a cluster here for the slow."""

import itertools
import os
import signal
import sys
import types
from functools import partial

import numpy as np
import pytest
from model_cases import a_model

import engine
from engine import _ray
from engine.errors import DataError, InfeasibleError, UsageError, WorkerError
from engine.parallel import BlockStream, map_ordered

try:
    import ray  # noqa: F401

    HAS_RAY = True
except ImportError:
    HAS_RAY = False
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="the extra ray is not installed")


class Reference:
    numbers = itertools.count()

    def __init__(self, value=None, work=None):
        self.number, self.value, self.work = next(self.numbers), value, work

    def hex(self):
        return f"{self.number:040x}"


class FakeRay(types.ModuleType):
    """What the map uses of Ray; a task runs when it is waited for."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

    def __init__(self, cpus=2.0, last_first=False):
        super().__init__("ray")
        self.cpus, self.last_first = cpus, last_first
        self.started, self.stopped, self.puts, self.fetched = [], 0, 0, 0
        self.cancelled, self.most, self.submitted = [], 0, 0
        self.waiting = []

    def is_initialized(self):
        return False

    def init(self, **options):
        self.started.append(options)

    def shutdown(self):
        self.stopped += 1

    def cluster_resources(self):
        return {"CPU": self.cpus}

    def put(self, value):
        self.puts += 1
        return Reference(value)

    def get(self, reference):
        if reference.work is None:
            self.fetched += 1
            return reference.value
        return reference.work()

    def remote(self, **options):
        assert options["num_cpus"] == 1

        def wrap(function):
            def submit(*arguments):
                self.submitted += 1
                self.waiting.append(Reference(work=partial(function, *arguments)))
                self.most = max(self.most, len(self.waiting))
                return self.waiting[-1]

            return types.SimpleNamespace(remote=submit)

        return wrap

    def wait(self, references, *, num_returns, timeout=None):
        if timeout == 0:
            return [], references
        done = references[-1] if self.last_first else references[0]
        self.waiting.remove(done)
        return [done], [r for r in references if r is not done]

    def cancel(self, reference, *, force):
        assert not force
        self.cancelled.append(reference)


@pytest.fixture
def fake(monkeypatch):
    def use(**options):
        module = FakeRay(**options)
        monkeypatch.setitem(sys.modules, "ray", module)
        monkeypatch.setattr(_ray, "_unpacked", ("", None))
        return module

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return use


def double(item, constant=None):
    return item * 2


def refuse(item):
    if item == 3:
        raise InfeasibleError(
            "no portfolio satisfies the limits",
            conflict=("country US <= 0.2",),
            asset="NVDA",
            received=0.4,
        )
    return item


class UnsendableError(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def unsendable(item):
    raise UnsendableError(item, "and more")


def die(item):
    os._exit(3)


def heavy(seed):
    z = BlockStream(seed).normals(0, 120 * 120).reshape(120, 120)
    values, vectors = np.linalg.eigh(z @ z.T)
    return np.concatenate([values, (vectors * values) @ vectors[0]])


def test_without_ray_the_extra_is_named_at_the_call(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"ballast-risk\[ray\]"):
        map_ordered(double, [1], executor="ray")


@pytest.mark.parametrize("last_first", [False, True])
def test_order_laziness_and_one_copy_of_the_constant(fake, last_first):
    module = fake(last_first=last_first)
    taken = []

    def items():
        for k in range(40):
            taken.append(k)
            yield k

    work = partial(double, constant=np.zeros(10_000))
    results = map_ordered(work, items(), executor="ray", n_jobs=2)
    assert taken == [] and module.started == []  # nothing until it is asked for
    assert next(results) == 0
    assert len(taken) <= 2 * _ray._AHEAD + 1
    assert list(results) == [2 * k for k in range(1, 40)]
    assert module.most <= 2
    assert (module.puts, module.fetched) == (1, 1)
    assert module.submitted == 40
    (options,) = module.started
    assert options["address"] == "local" and options["num_cpus"] == 2
    assert options["include_dashboard"] is False
    assert module.stopped == 1


def test_an_empty_list_and_bad_jobs(fake):
    fake()
    assert list(map_ordered(double, [], executor="ray", n_jobs=2)) == []
    for bad in (0, -2, 1.5, True, None):
        with pytest.raises(UsageError, match="n_jobs"):
            map_ordered(double, [1], executor="ray", n_jobs=bad)


def test_a_cluster_that_runs_is_used_and_left_alone(fake, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    module = fake(cpus=7.0)
    assert list(map_ordered(double, range(20), executor="ray", n_jobs=-1))[-1] == 38
    assert module.started[0]["address"] == "10.0.0.1:6379"
    assert "num_cpus" not in module.started[0]
    assert module.most == 7  # all processors of the cluster, not of this machine
    module = fake()
    module.is_initialized = lambda: True
    assert list(map_ordered(double, range(3), executor="ray")) == [0, 2, 4]
    assert module.started == [] and module.stopped == 0


def test_a_cluster_that_cannot_be_reached_is_a_typed_error(fake, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    module = fake()

    def refuse_connection(**options):
        raise ConnectionError("nobody there")

    module.init = refuse_connection
    with pytest.raises(WorkerError, match=r"10\.0\.0\.1:6379.*nobody there"):
        list(map_ordered(double, [1], executor="ray"))


def test_closing_cancels_and_gives_everything_back(fake):
    module = fake()
    handler, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    results = map_ordered(double, range(40), executor="ray", n_jobs=3)
    next(results)
    results.close()
    assert module.cancelled and module.submitted < 40
    assert module.stopped == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    assert dict(os.environ) == environment


def test_errors_keep_their_type_and_details(fake):
    module = fake()
    with pytest.raises(InfeasibleError) as caught:
        list(map_ordered(refuse, range(5), executor="ray", n_jobs=2))
    assert caught.value.conflict == ("country US <= 0.2",)
    assert (caught.value.asset, caught.value.received) == ("NVDA", 0.4)
    assert "In a Ray worker" in caught.value.__notes__[0]
    with pytest.raises(WorkerError, match="UnsendableError"):
        list(map_ordered(unsendable, [1], executor="ray"))
    work = module.get

    def lost(reference):
        if reference.work is not None:
            raise module.exceptions.RayError("the node went away")
        return work(reference)

    module.get = lost
    with pytest.raises(WorkerError, match="the node went away"):
        list(map_ordered(double, [1], executor="ray"))


def test_a_process_that_dies_is_a_typed_error():
    with pytest.raises(WorkerError, match="died"):
        list(map_ordered(die, range(4), executor="processes", n_jobs=2))
    assert list(map_ordered(double, [1, 2], executor="processes", n_jobs=2)) == [2, 4]


@pytest.mark.slow
@needs_ray
def test_a_local_cluster_gives_the_same_bits_and_errors(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    import ray

    ray_map = partial(map_ordered, executor="ray", n_jobs=2)
    serial = list(map_ordered(heavy, range(6)))
    for a, b in zip(serial, ray_map(heavy, range(6)), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InfeasibleError) as caught:
        list(ray_map(refuse, range(5)))
    assert caught.value.conflict == ("country US <= 0.2",)
    with pytest.raises(WorkerError, match="died"):
        list(ray_map(die, [1]))
    with pytest.raises(DataError):
        list(ray_map(partial(raise_it, DataError("no price")), [1]))
    assert not ray.is_initialized()
    model = a_model(1e-4 * (np.eye(3) + 0.3))
    a = engine.simulate(model, 3000, horizon=2, seed=1)
    b = engine.simulate(model, 3000, horizon=2, seed=1, executor="ray", n_jobs=2)
    np.testing.assert_array_equal(a.returns, b.returns)


def raise_it(error, item):
    raise error
