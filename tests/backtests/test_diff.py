"""Two results side by side: exact where they are the same, dated where they part."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import backtests
from backtests import _diff
from backtests.result import BacktestResult
from backtests.sweeps import run_sweep
from backtests.walkforward import backtest
from engine.costs import Costs
from engine.data.load import load_panel
from engine.errors import DataError, UsageError
from strategies.equal import EqualWeight
from strategies.hold import Hold


def prices(seed=3, T=120):
    rng = np.random.default_rng(seed)
    index = pd.bdate_range("2022-01-03", periods=T)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (T, 3)), axis=0))
    return pd.DataFrame(values, index=index, columns=list("ABC"))


def panel_of(frame):
    return load_panel(frame, price_basis="split_adjusted", currency="USD")


@pytest.fixture(scope="module")
def panel():
    return panel_of(prices())


def test_a_result_and_its_copy_on_disk_are_identical(panel, tmp_path):
    r = backtest(EqualWeight(), panel)
    found = backtests.diff(r, r.write(tmp_path))
    assert found.identical and found.provenance == ()
    assert found.ledger == found.decisions == found.fills == ()
    assert found.headline().startswith("identical: every")
    assert found.sharpe.p_value == 1.0
    again = backtests.diff(backtest(EqualWeight(), panel), r)
    assert again.identical and again.parted == ""


def test_a_changed_price_is_dated_to_its_session(panel):
    frame = prices()
    frame.iloc[60:, 1] *= 1.01
    a, b = backtest(EqualWeight(), panel), backtest(EqualWeight(), panel_of(frame))
    found = backtests.diff(a, b)
    day = str(frame.index[60].date())
    assert not found.identical
    assert found.parted == day
    assert day in found.headline()
    value = next(p for p in found.ledger if p.what == "value")
    assert (value.first, value.second) == (a.value[60], b.value[60])
    assert value.largest == np.abs(a.value - b.value).max()
    assert {c.what for c in found.provenance} == {"data"}
    # Decided before, nothing differs; the trades after it do.
    assert found.decisions and all(c.what >= day for c in found.decisions)
    assert found.fills and all(c.what[:10] >= day for c in found.fills)


def test_records_that_hardly_differ_are_not_tested(panel):
    frame = prices()
    frame.iloc[60, 1] *= 1.01
    a, b = (backtest(Hold({"B": 1.0}), p) for p in (panel, panel_of(frame)))
    found = backtests.diff(a, b)
    assert found.sharpe is None
    assert found.sharpe_note == "the returns differ on 2 of 119 sessions only"


@pytest.mark.parametrize("ulps", [1, 3])
def test_one_bit_is_not_identical(panel, ulps):
    r = backtest(EqualWeight(), panel)
    cash = r.cash.copy()
    for _ in range(ulps):
        cash[17] = np.nextafter(cash[17], np.inf)
    found = backtests.diff(r, replace(r, cash=cash))
    assert not found.identical
    assert [p.what for p in found.ledger] == ["cash"]
    assert found.parted == str(r.dates[17])


def test_settings_and_strategies_are_named(panel):
    a = backtest(EqualWeight(), panel)
    b = backtest(EqualWeight(("A", "B")), panel, costs=Costs(20.0), schedule="weekly")
    found = backtests.diff(a, b)
    assert {"strategy", "settings.costs", "settings.schedule"} <= {
        c.what for c in found.provenance
    }
    figures = {c.what: (c.first, c.second) for c in found.metrics}
    assert figures["costs"] == (a.metrics()["costs"], b.metrics()["costs"])
    document = found.to_dict()
    row = next(m for m in document["metrics"] if m["what"] == "costs")
    assert row["difference"] == pytest.approx(b.costs.sum() - a.costs.sum())
    missing = [c for c in found.decisions if c.first is None]
    dates = {str(d.date) for d in b.decisions} - {str(d.date) for d in a.decisions}
    assert {c.what for c in missing} == dates


def test_other_versions_with_the_same_numbers_are_identical_and_said(panel):
    r = backtest(EqualWeight(), panel)
    versions = {**r.provenance["versions"], "numpy": "1.0"}
    other = replace(r, provenance={**r.provenance, "versions": versions})
    found = backtests.diff(r, other)
    assert found.identical
    assert [c.what for c in found.provenance] == ["versions.numpy"]
    assert "versions.numpy" in found.headline()


def test_the_test_of_the_sharpe_ratios_uses_the_common_dates(panel):
    a = backtest(EqualWeight(), panel, end=panel.dates[100])
    b = backtest(Hold({"A": 1.0}), panel, start=panel.dates[20])
    found = backtests.diff(a, b)
    assert found.common == (str(panel.dates[20]), str(panel.dates[100]), 81)
    direct = backtests.sharpe_difference(
        a.excess_returns()[20:100],
        b.excess_returns()[:80],
        periods_per_year=a.periods_per_year,
    )
    np.testing.assert_allclose(found.sharpe[:4], direct[:4], rtol=1e-9)
    apart = backtests.diff(
        backtest(EqualWeight(), panel, end=panel.dates[40]),
        backtest(EqualWeight(), panel, start=panel.dates[60]),
    )
    assert apart.common == ("", "", 0)
    assert "no date in common" in apart.headline()
    assert apart.sharpe is None and apart.sharpe_note


def test_several_orders_of_a_day_keep_their_places(panel):
    r = backtest(EqualWeight(), panel)
    doubled = replace(r, fills=(r.fills[0], r.fills[0]))
    assert len(_diff._fills(doubled)) == 2


def test_what_is_no_result_is_refused(panel, tmp_path):
    r = backtest(EqualWeight(), panel)
    with pytest.raises(DataError, match="no backtest result"):
        backtests.diff(r, tmp_path)
    with pytest.raises(UsageError, match="results or their folders"):
        backtests.diff(r, 3)


def test_cells_of_a_sweep_can_be_compared(panel, tmp_path):
    s = run_sweep(EqualWeight, {"tickers": [("A",), ("A", "B")]}, panel, out=tmp_path)
    one, two = (tmp_path / f"cell-{c.key}" for c in s.cells)
    assert not backtests.diff(one, two).identical
    assert BacktestResult.read(one).name == "equal weight"
