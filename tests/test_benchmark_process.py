"""Candidates in processes of their own: the protocol, a crash, a hang, a wrong pool."""

import sys

import numpy as np
import pytest

from benchmarks import process
from benchmarks.case import Case, Peer
from benchmarks.measure import measure
from benchmarks.process import (
    PeerCrashError,
    PeerError,
    PeerMissingError,
    PeerTimeoutError,
    Process,
)
from benchmarks.timing import Remote

TOY = """
import os
import sys
import time


def double(x, times=2.0):
    return lambda: times * x


def square(n):
    return lambda: [float(n * n)] * n


def noisy(n):
    print("built")
    os.write(1, b"not a reply\\n")
    return square(n)


def pools():
    return lambda: float(os.environ["OPENBLAS_NUM_THREADS"])


def refuses():
    def run():
        raise ValueError("singular\\nin the second line")

    return run


def dies():
    def run():
        print("last words", file=sys.stderr)
        os._exit(3)

    return run


def hangs():
    return lambda: time.sleep(600)
"""

CASES = """
from types import SimpleNamespace

def build(n):
    return {"ours": lambda: [float(n)], "apart": lambda: [float(n)]}

CASES = [SimpleNamespace(name="toy", sizes={"three": {"n": 3}}, build=build,
                         tolerance=1e-9)]
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A repository of its own: a toy module and a table of one case."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "cases.py").write_text(CASES)
    monkeypatch.setattr(process, "ROOT", tmp_path)
    return tmp_path


def test_build_answer_run(root):
    with Process() as child:
        peer = Remote(child, target="toy:square", arguments={"n": 3})
        answer, seconds = peer.answer(60.0)
        np.testing.assert_array_equal(answer, [9.0, 9.0, 9.0])
        assert seconds >= 0.0 and peer.run(5, 60.0) >= 0.0


def test_arrays_arrive_bit_for_bit(root):
    x = np.random.default_rng(1).standard_normal((4, 3))
    np.savez(root / "inputs.npz", x=x)
    with Process() as child:
        inputs = str(root / "inputs.npz")
        peer = Remote(child, target="toy:double", inputs=inputs)
        np.testing.assert_array_equal(peer.answer(60.0)[0], 2.0 * x)


def test_pickled_inputs_are_refused(root):
    np.savez(root / "inputs.npz", x=np.array([{"an": "object"}], dtype=object))
    with Process() as child, pytest.raises(PeerError, match="allow_pickle"):
        Remote(child, target="toy:double", inputs=str(root / "inputs.npz"))


def test_what_a_peer_prints_does_not_reach_the_replies(root):
    with Process() as child:
        peer = Remote(child, target="toy:noisy", arguments={"n": 2})
        np.testing.assert_array_equal(peer.answer(60.0)[0], [4.0, 4.0])


def test_threads_are_set_before_a_library_loads(root):
    with Process(threads=2) as child:
        peer = Remote(child, target="toy:pools", arguments={})
        assert peer.answer(60.0)[0] == 2.0


def test_an_error_of_the_peer_is_its_own_and_the_process_lives_on(root):
    with Process() as child:
        peer = Remote(child, target="toy:refuses", arguments={})
        with pytest.raises(PeerError, match="in the second line") as caught:
            peer.answer(60.0)
        assert "ValueError: singular" in caught.value.__notes__[0]
        after = Remote(child, target="toy:square", arguments={"n": 1})
        assert after.answer(60.0)[0] == 1.0


def test_an_unknown_request_is_an_error(root):
    with Process() as child, pytest.raises(PeerError, match="KeyError"):
        child.ask("dance")


def test_a_crash_says_the_status_and_the_last_words(root):
    with Process() as child:
        peer = Remote(child, target="toy:dies", arguments={})
        with pytest.raises(PeerCrashError, match="status 3: last words"):
            peer.answer(60.0)
        with pytest.raises(PeerCrashError):
            peer.run(1, 60.0)


def test_a_hang_is_stopped_and_the_process_is_gone(root):
    with Process() as child:
        peer = Remote(child, target="toy:hangs", arguments={})
        with pytest.raises(PeerTimeoutError, match=r"answer: no answer within 0\.2 s"):
            peer.answer(0.2)
        assert child._child.poll() is not None


def test_the_table_must_come_from_the_root(root):
    (root / "benchmarks" / "cases.py").unlink()
    (root / "benchmarks" / "__init__.py").unlink()
    (root / "benchmarks").rmdir()
    with Process(variables={"PYTHONPATH": str(process.SCRIPT.parents[1])}) as child:
        with pytest.raises(PeerError, match="was not imported from the revision"):
            child.ask("cases")


def test_candidates_apart_and_peers_join_a_row(root):
    def build(n):
        return {"ours": lambda: np.array([float(n)]), "apart": lambda: 1 / 0}

    case = Case(
        "toy",
        {"three": {"n": 3}},
        build,
        apart=("apart", "absent at this size"),
        peers={
            "sent": Peer("toy:double", lambda n: {"x": np.array([n / 2.0])}),
            "dies": Peer("toy:dies", lambda n: {}),
            "unbuilt": Peer("toy:double", environment="nowhere"),
            "broken": Peer("toy:missing"),
        },
        optional={"here": "numpy", "not here": "no_such_module"},
    )
    row = measure(case, "three")
    assert row["ratio_to_ours"].keys() == {"apart", "sent"}
    assert "make bench-peers" in row["left_out"].pop("unbuilt")
    assert row["left_out"] == {"not here": "no_such_module is not installed"}
    assert row["failed"].keys() == {"dies", "broken"}
    assert "status 3" in row["failed"]["dies"]


def test_a_wrong_answer_from_another_process_is_caught(root):
    case = Case(
        "toy",
        {"one": {}},
        lambda: {"ours": lambda: np.array([1.0])},
        peers={"peer": Peer("toy:double", lambda: {"x": np.array([0.6])})},
    )
    with pytest.raises(AssertionError, match=r"peer differs by 2\.00e-01"):
        measure(case, "one")


def test_a_peer_that_hangs_is_stopped_at_the_cap(root):
    peers = {"peer": Peer("toy:hangs", lambda: {})}
    case = Case("toy", {"one": {}}, lambda: {"ours": lambda: 1.0}, peers=peers)
    row = measure(case, "one", cap=0.5)
    assert row["labels"] == {"peer": "stopped after 0.5 s"}
    assert row["failed"] == {}


def test_interpreter_of_an_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "ENVIRONMENTS", tmp_path)
    assert process.interpreter("") == sys.executable
    with pytest.raises(PeerMissingError, match="make bench-peers"):
        process.interpreter("bt")
    python = tmp_path / "bt" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert process.interpreter("bt") == str(python)
