"""Results on disk and back; sweeps that resume, keep score and survive failures."""

import json
import pickle
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from backtests import metrics
from backtests._identity import describe
from backtests.result import BacktestResult
from backtests.sweeps import run_sweep
from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data.load import load_panel
from engine.errors import DataError, ModelError, SolverError, UsageError
from strategies.equal import EqualWeight
from strategies.hold import Hold


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(7)
    index = pd.bdate_range("2022-01-03", periods=200)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (200, 5)), axis=0))
    values[:90, 4] = np.nan
    frame = pd.DataFrame(values, index=index, columns=list("ABCDE"))
    return load_panel(frame, price_basis="split_adjusted", currency="USD")


class SometimesStuck:
    name = "sometimes stuck"
    seed = 5

    def estimate(self, view):
        return None

    def propose(self, view, portfolio, estimate=None):
        if str(view.date)[:7] == "2022-04":
            raise SolverError("no luck")
        return EqualWeight().propose(view, portfolio)


def same(a, b):
    for field in fields(BacktestResult):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y)
            assert not y.flags.writeable
        elif field.name not in ("fills", "decisions"):
            assert x == y or (x != x and y != y), field.name
    for f, g in zip(a.fills, b.fills, strict=True):
        for x, y in zip(f, g, strict=True):
            assert x == y or (x != x and y != y)
    for d, e in zip(a.decisions, b.decisions, strict=True):
        assert d[:4] == e[:4]
        assert (d.proposal is None) == (e.proposal is None)
        if d.proposal is not None:
            np.testing.assert_array_equal(d.proposal.target, e.proposal.target)
            assert d.proposal.labels == e.proposal.labels
            assert d.proposal.outcome is e.proposal.outcome
            assert len(d.proposal.trades) == len(e.proposal.trades)


def test_a_result_reads_back_as_it_was_written(panel, tmp_path):
    r = backtest(SometimesStuck(), panel)
    assert r.write(tmp_path / "run") == tmp_path / "run"
    same(r, BacktestResult.read(tmp_path / "run"))
    same(r, pickle.loads(pickle.dumps(r)))
    assert r.provenance["seed"] == 5
    assert r.provenance["versions"]["numpy"] == np.__version__
    assert not list(tmp_path.glob("run/*.part"))


def test_a_result_without_fills_reads_back(panel, tmp_path):
    r = backtest(Hold(), panel, end=panel.dates[0])
    same(r, BacktestResult.read(r.write(tmp_path)))
    assert r.metrics()["periods"] == 0


def test_a_crash_while_writing_leaves_the_old_result(panel, tmp_path, monkeypatch):
    old = backtest(EqualWeight(), panel)
    old.write(tmp_path)
    new = backtest(EqualWeight(), panel, schedule="weekly")
    import backtests._store as store

    real, calls = store.write_atomic, []

    def fails_late(path, content):
        calls.append(path)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(path, content)

    monkeypatch.setattr(store, "write_atomic", fails_late)
    with pytest.raises(KeyboardInterrupt):
        new.write(tmp_path)
    monkeypatch.undo()
    same(old, BacktestResult.read(tmp_path))
    new.write(tmp_path)
    same(new, BacktestResult.read(tmp_path))
    assert len(list(tmp_path.iterdir())) == 6  # nothing of the old one is left


def test_damaged_folders_are_refused(panel, tmp_path):
    with pytest.raises(DataError, match="no backtest result"):
        BacktestResult.read(tmp_path)
    backtest(EqualWeight(), panel).write(tmp_path)
    next(tmp_path.glob("units.*")).unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        BacktestResult.read(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(DataError, match="cannot read"):
        BacktestResult.read(tmp_path)
    (tmp_path / "result.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="another format"):
        BacktestResult.read(tmp_path)


def test_tables_and_figures_of_a_result(panel):
    r = backtest(EqualWeight(), panel)
    frame = r.to_frame()
    assert len(frame) == 200
    np.testing.assert_array_equal(frame["value"], r.value)
    assert len(r.trades_frame()) == len(r.fills)
    assert len(r.decisions_frame()) == len(r.decisions) == 10
    np.testing.assert_allclose(
        np.prod(1 + r.returns()), r.value[-1] / r.value[0], rtol=1e-12
    )
    assert r.drawdown().max() == pytest.approx(r.metrics()["max_drawdown"])
    m = r.metrics()
    assert m["sharpe"] == pytest.approx(
        metrics.sharpe_ratio(r.returns(), periods_per_year=r.periods_per_year)
    )
    assert m["costs"] == pytest.approx(r.costs.sum())
    assert "price returns: no dividends booked" in repr(r)
    assert "<table" in r._repr_html_()


def test_descriptions_depend_on_contents_only():
    long = np.arange(2_000.0)
    other = long.copy()
    other[1_000] += 1e-9
    assert repr(long) == repr(other)
    assert describe(long) != describe(other)
    assert describe({"a": 1, "b": 2}) == describe({"b": 2, "a": 1})
    assert describe(SometimesStuck()) == describe(SometimesStuck())
    assert describe({"x", "y"}) == describe({"y", "x"})
    assert describe(Costs(3.0)) != describe(Costs(4.0))


def make(n, start=0):
    """Equal weights over some of the assets; some cells cannot run."""
    if n == 3:
        raise ValueError("three is not allowed")
    return EqualWeight(tuple("ABCD"[start : start + n]))


GRID = {"n": [1, 2, 3], "start": [0, 1]}


def test_a_sweep_runs_all_cells_and_records_failures(panel):
    s = run_sweep(make, GRID, panel, schedule="weekly")
    assert [dict(c.parameters) for c in s.cells] == [
        {"n": n, "start": k} for n in (1, 2, 3) for k in (0, 1)
    ]
    assert len(s.finished) == 4
    assert [c.error for c in s.failed] == [
        "ValueError: ValueError('three is not allowed')"
    ] * 2
    assert s.n_trials == 6
    direct = backtest(make(2, 1), panel, schedule="weekly")
    np.testing.assert_array_equal(s.cells[3].result.value, direct.value)
    assert s.returns().shape == (199, 4)
    assert len(s.to_frame()) == 6
    assert "<table" in s._repr_html_()


def test_the_summary_deflates_the_best_cell_by_all_trials(panel):
    s = run_sweep(make, GRID, panel)
    sharpes = s.sharpes()
    best = s.cells[int(np.nanargmax(sharpes))]
    summary = s.summary()
    assert summary["best"] == dict(best.parameters)
    expected = metrics.deflated_sharpe_ratio(
        best.result.returns(),
        n_trials=6,
        variance_of_sharpes=np.nanvar(sharpes, ddof=1),
    )
    assert summary["deflated_sharpe"] == pytest.approx(expected)
    undeflated = metrics.probabilistic_sharpe_ratio(best.result.returns())
    assert summary["deflated_sharpe"] < undeflated
    assert "deflated probability" in repr(s)


def test_a_killed_sweep_resumes_where_it_stopped(panel, tmp_path):
    whole = run_sweep(make, GRID, panel)

    def kill(done, total, message):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(make, GRID, panel, out=tmp_path, progress=kill)
    assert len(list(tmp_path.glob("cell-*/cell.json"))) == 2
    again = run_sweep(make, GRID, panel, out=tmp_path)
    assert [c.resumed for c in again.cells] == [True, True] + [False] * 4
    for a, b in zip(whole.cells, again.cells, strict=True):
        assert a.key == b.key
        assert a.error == b.error
        if a.result is not None:
            same(a.result, b.result)
    third = run_sweep(make, GRID, panel, out=tmp_path)
    assert sum(c.resumed for c in third.cells) == 4  # failed cells are tried again
    record = json.loads(
        (tmp_path / f"cell-{third.failed[0].key}" / "cell.json").read_text()
    )
    assert "three is not allowed" in record["error"]


def test_other_data_or_options_are_not_resumed_but_counted(panel, tmp_path):
    grid = {"n": [1, 2]}
    run_sweep(make, grid, panel, out=tmp_path)
    s = run_sweep(make, grid, panel, out=tmp_path, schedule="weekly")
    assert not any(c.resumed for c in s.cells)
    assert s.n_trials == 4
    assert len(s.earlier_sharpes) == 2


def test_damaged_cells_are_run_again(panel, tmp_path):
    s = run_sweep(make, {"n": [1]}, panel, out=tmp_path)
    folder = tmp_path / f"cell-{s.cells[0].key}"
    next(folder.glob("ledger.*")).unlink()
    again = run_sweep(make, {"n": [1]}, panel, out=tmp_path)
    assert not again.cells[0].resumed
    same(s.cells[0].result, again.cells[0].result)


def test_processes_give_the_same_bits(panel, tmp_path):
    grid = {"tickers": [("A", "B"), ("B", "C")], "min_history": [1]}
    a = run_sweep(EqualWeight, grid, panel)
    b = run_sweep(
        EqualWeight, grid, panel, executor="processes", n_jobs=2, out=tmp_path
    )
    for x, y in zip(a.cells, b.cells, strict=True):
        assert x.key == y.key
        same(x.result, y.result)
    assert a.summary() == b.summary()


def test_bad_sweeps_are_refused(panel):
    with pytest.raises(UsageError, match="lists of values"):
        run_sweep(make, {"n": 3}, panel)
    with pytest.raises(UsageError, match="no values"):
        run_sweep(make, {"n": []}, panel)
    with pytest.raises(UsageError, match="top level"):
        run_sweep(lambda n: make(n), {"n": [1]}, panel, executor="processes")
    with pytest.raises(UsageError, match="executor"):
        run_sweep(make, {"n": [1]}, panel, executor="slow")


def test_a_sweep_of_failures_says_so(panel):
    s = run_sweep(make, {"n": [3]}, panel)
    assert s.summary() == {"n_trials": 1, "finished": 0, "failed": 1}
    with pytest.raises(DataError, match="three is not allowed"):
        s.best()
    with pytest.raises(DataError, match="no cell"):
        s.returns()
    assert "1 failed" in repr(s)


def test_a_failing_strategy_is_recorded_by_name(panel):
    s = run_sweep(EqualWeight, {"min_history": [1, 500]}, panel)
    assert len(s.finished) == 1
    assert s.failed[0].error.startswith(ModelError.__name__)
    assert "equal weight" in s.failed[0].error


def test_two_lambdas_are_two_trials():
    from backtests._identity import describe

    def adding(n):
        return lambda x: x + n

    same = [describe(adding(1)), describe(adding(1))]
    assert same[0] == same[1]
    others = {describe(lambda x: x + 1), describe(lambda x: x - 1), describe(adding(2))}
    assert len({*others, same[0]}) == 4
