"""Drawdowns and deviations against loops, peers and hand examples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError
from engine.risk import (
    conditional_drawdown_at_risk,
    drawdowns,
    expected_shortfall,
    lower_partial_moment,
    maximum_drawdown,
    scenario_drawdown_at_risk,
    semi_deviation,
    tracking_error,
    volatility,
)
from engine.scenarios import ScenarioSet

R = 0.02 * np.random.default_rng(1).standard_t(4, 500)


def loop(returns, compounded):
    wealth = peak = 1.0
    out = []
    for r in returns:
        wealth = wealth * (1 + r) if compounded else wealth + r
        peak = max(peak, wealth)
        out.append(1 - wealth / peak if compounded else peak - wealth)
    return np.array(out)


@pytest.mark.parametrize("compounded", [True, False])
def test_a_loop_agrees(compounded):
    got = drawdowns(R, compounded=compounded)
    slow = loop(R, compounded)
    np.testing.assert_allclose(got, slow, atol=1e-13)
    worst = maximum_drawdown(R, compounded=compounded)
    assert worst == pytest.approx(slow.max(), abs=1e-13)
    cdar = conditional_drawdown_at_risk(R, level=0.9, compounded=compounded)
    assert cdar == pytest.approx(np.sort(slow)[-50:].mean(), abs=1e-12)


def test_by_hand():
    np.testing.assert_allclose(drawdowns([-0.1, 0.2, -0.5]), [0.1, 0.0, 0.5])
    np.testing.assert_allclose(
        drawdowns([-0.1, 0.3, -0.5], compounded=False), [0.1, 0.0, 0.5]
    )
    np.testing.assert_allclose(
        drawdowns([2, 1, 4, 1], kind="wealth"), [0, 0.5, 0, 0.75]
    )
    assert maximum_drawdown([0.1, 0.1]) == 0.0
    assert maximum_drawdown([-1.0, 0.5]) == 1.0
    # Worst 30% of [0, .2, .4]: .4 wholly; 25% of three is part of the worst alone.
    falls = [5.0, 4.0, 3.0]
    got = conditional_drawdown_at_risk(falls, kind="wealth", level=0.5)
    assert got == pytest.approx((0.4 + 0.2 * 0.5) / 1.5)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_peers_agree(level):
    from riskfolio.src import RiskFunctions as Peer
    from skfolio.measures import cdar, get_drawdowns

    for compounded, theirs, largest in (
        (True, Peer.CDaR_Rel, Peer.MDD_Rel),
        (False, Peer.CDaR_Abs, Peer.MDD_Abs),
    ):
        got = conditional_drawdown_at_risk(R, level=level, compounded=compounded)
        assert got == pytest.approx(theirs(R, alpha=1 - level), rel=1e-9)
        assert maximum_drawdown(R, compounded=compounded) == pytest.approx(largest(R))
        falls = get_drawdowns(R, compounded=compounded)
        assert got == pytest.approx(cdar(falls, beta=level), rel=1e-9)


def test_labels_are_kept():
    dates = pd.date_range("2024-01-01", periods=4)
    frame = pd.DataFrame({"A": [0.1, -0.1, 0, 0], "B": [-0.2, 0, 0, 0.1]}, index=dates)
    falls = drawdowns(frame)
    assert isinstance(falls, pd.DataFrame) and falls.index.equals(dates)
    worst = maximum_drawdown(frame)
    pd.testing.assert_series_equal(worst, pd.Series({"A": 0.1, "B": 0.2}))
    assert drawdowns(frame["A"]).name == "A"
    assert maximum_drawdown(frame.to_numpy()).shape == (2,)
    frame.loc[dates[2], "B"] = np.nan
    with pytest.raises(DataError, match=r"gap.*asset B.*2024-01-03"):
        drawdowns(frame)
    frame.loc[dates[2], "B"] = -1.5
    with pytest.raises(DataError, match=r"more than everything.*asset B.*2024-01-03"):
        maximum_drawdown(frame)


@given(st.lists(st.floats(-0.9, 2.0), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_order_and_scale(returns, level):
    x = np.array(returns)
    falls = drawdowns(x)
    assert (falls >= 0).all() and (falls < 1).all()
    cdar = conditional_drawdown_at_risk(x, level=level)
    worst = maximum_drawdown(x)
    assert falls.mean() - 1e-12 <= cdar <= worst + 1e-12
    wealth = np.concatenate([[7.0], 7.0 * np.cumprod(1 + x)])
    assert maximum_drawdown(wealth, kind="wealth") == pytest.approx(worst, abs=1e-12)


def paths_set(S=40, H=12, seed=0):
    rng = np.random.default_rng(seed)
    daily = 0.03 * rng.standard_normal((S, H, 2))
    paths = np.cumprod(1 + daily, axis=1) - 1
    universe = Universe(("A", "B"))
    return ScenarioSet(
        assets=("A", "B"),
        returns=paths[:, -1],
        p=rng.dirichlet(np.ones(S)),
        horizon=H,
        universe=universe,
        base_currency="USD",
        periods_per_year=252.0,
        paths=paths,
    )


def test_scenario_paths_pool_sessions_by_probability():
    s = paths_set()
    w = np.array([0.6, 0.4])
    falls = []
    for s_ in range(len(s)):
        wealth = np.concatenate([[1.0], 1 + s.paths[s_] @ w])
        falls.append(drawdowns(wealth, kind="wealth")[1:])
    flat, p = np.concatenate(falls), np.repeat(s.p / 12, 12)
    got = scenario_drawdown_at_risk(s, w, level=0.9)
    assert got == pytest.approx(expected_shortfall(flat, level=0.9, p=p), rel=1e-12)
    deepest = np.array([f.max() for f in falls])
    got = scenario_drawdown_at_risk(s, w, level=0.9, over="maxima")
    assert got == pytest.approx(expected_shortfall(deepest, level=0.9, p=s.p))
    with pytest.raises(UsageError, match="sessions or maxima"):
        scenario_drawdown_at_risk(s, w, over="dates")


# -------------------------------------------------------------------------- deviations


def test_deviations_agree_with_peers():
    from riskfolio.src import RiskFunctions as Peer
    from skfolio.measures import semi_deviation as skfolio_semi

    assert semi_deviation(R, ddof=1) == pytest.approx(Peer.SemiDeviation(R))
    assert semi_deviation(R, ddof=1) == pytest.approx(skfolio_semi(R))
    assert volatility(R) == pytest.approx(R.std())
    assert volatility(R, ddof=1) == pytest.approx(R.std(ddof=1))
    got = lower_partial_moment(R, order=1, threshold=0.01)
    assert got == pytest.approx(Peer.LPM(R, MAR=0.01, p=1))
    second = np.sqrt(lower_partial_moment(R, order=2) * R.size / (R.size - 1))
    assert second == pytest.approx(Peer.LPM(R, MAR=0, p=2))
    assert lower_partial_moment(R, order=0) == pytest.approx(np.mean(R < 0))


def test_probabilities_are_repetitions():
    x, counts = np.array([0.1, -0.2, 0.05, -0.1]), np.array([3, 1, 4, 2])
    long = np.repeat(x, counts)
    p = counts / 10
    assert volatility(x, p=p) == pytest.approx(long.std())
    assert semi_deviation(x, p=p) == pytest.approx(semi_deviation(long))
    assert lower_partial_moment(x, p=p, order=3, threshold=0.07) == pytest.approx(
        lower_partial_moment(long, order=3, threshold=0.07)
    )


def test_semi_deviation_of_a_symmetric_law():
    x = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    assert semi_deviation(x) == pytest.approx(volatility(x) / np.sqrt(2))
    assert semi_deviation(x, threshold=-1.0) == pytest.approx(np.sqrt(4 / 5))


def test_tracking_error():
    s = paths_set()
    w = {"A": 0.7, "B": 0.3}
    active = s.returns @ np.array([0.2, -0.2])
    expected = np.sqrt(s.p @ (active - s.p @ active) ** 2)
    assert tracking_error(s, w, {"A": 0.5, "B": 0.5}) == pytest.approx(expected)
    assert tracking_error(s, w, w) == 0.0
    frame = pd.DataFrame(s.returns, columns=["A", "B"])
    by_name = tracking_error(frame, w, "B", ddof=1)
    assert by_name == pytest.approx((0.7 * (frame.A - frame.B)).std())
    with pytest.raises(DataError, match="SPY"):
        tracking_error(frame, w, "SPY")


def test_bad_input():
    with pytest.raises(UsageError, match="ddof"):
        volatility(R, ddof=2)
    with pytest.raises(ModelError, match="at least 2"):
        volatility([1.0], ddof=1)
    with pytest.raises(DataError, match="negative"):
        semi_deviation([1.0, 2.0], p=[1.5, -0.5])
    with pytest.raises(UsageError, match="order"):
        lower_partial_moment(R, order=-1)
    with pytest.raises(UsageError, match="kind"):
        drawdowns(R, kind="prices")
    with pytest.raises(DataError, match="starts at zero"):
        drawdowns([0.0, 1.0], kind="wealth")
    for call in (drawdowns, maximum_drawdown, volatility, semi_deviation):
        for bad in ([], [[[1.0]]], ["x"], [0.1, np.inf]):
            with pytest.raises(DataError):
                call(bad)
    with pytest.raises(UsageError, match="confidence"):
        conditional_drawdown_at_risk(R, level=95)
