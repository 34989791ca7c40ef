"""Contributions with errors, marginal and incremental risk, before and after."""

import itertools
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import engine.risk
from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError
from engine.risk import (
    contributions,
    difference,
    expected_shortfall,
    incremental,
    marginal,
    normal_expected_shortfall,
    value_at_risk,
)
from engine.scenarios import ScenarioSet

ASSETS = Universe(
    ("NVDA", "KO", "ASML", "CASH:USD"),
    country=("US", "US", "NL", ""),
    sector=("tech", "staples", "tech", ""),
    exposure_currency=("USD", "USD", "EUR", "USD"),
)
W = np.array([0.5, 0.2, 0.25, 0.05])
A = np.array([[1.0, 0.2, 0.4], [0.0, 0.8, 0.1], [0.5, 0.0, 1.2]]) * 0.02
SIGMA = A @ A.T
SP = math.sqrt(W[:3] @ SIGMA @ W[:3])
MEASURES = ["expected_shortfall", "value_at_risk", "volatility"]


def drawn(rng, S, weighted=False):
    returns = np.zeros((S, 4))
    z = rng.standard_normal((S, 3))
    p = np.full(S, 1 / S)
    if weighted:  # importance sampling along the loss of the book
        direction = -(A.T @ W[:3]) / SP
        z += direction
        p = np.exp(-(z @ direction))
        p /= p.sum()
    returns[:, :3] = np.maximum(z @ A.T, -0.99)
    return ScenarioSet(
        assets=ASSETS.tickers,
        returns=returns,
        p=p,
        horizon=1,
        universe=ASSETS,
        base_currency="USD",
        periods_per_year=252.0,
    )


def closed(measure, level):
    share = np.append(W[:3] * (SIGMA @ W[:3]) / SP**2, 0.0)
    scale = {
        "volatility": SP,
        "expected_shortfall": normal_expected_shortfall(SP, level=level),
        "value_at_risk": SP * stats.norm.ppf(level),
    }
    return share * scale[measure]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_the_spread_over_replications(measure, weighted):
    rng = np.random.default_rng(1)
    values, errors = [], []
    for _ in range(200):
        got = contributions(drawn(rng, 4000, weighted), W, measure=measure, level=0.95)
        values.append(got.values[:3])
        errors.append(got.errors[:3])
    spread = np.std(values, axis=0)
    claimed = np.sqrt(np.mean(np.square(errors), axis=0))
    # The spread of 200 values is known to 5%.
    np.testing.assert_allclose(claimed, spread, rtol=0.2)
    truth = closed(measure, 0.95)[:3]
    bias = np.mean(values, axis=0) - truth
    # The bias of a sample tail is of order 1 / (S (1 - level)), below these errors.
    assert (np.abs(bias) < 5 * spread / math.sqrt(200) + 0.01 * truth).all()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("grouping", ["country", "currency", "sector", "role"])
def test_groups_sum_and_have_errors_of_their_own(measure, grouping):
    s = drawn(np.random.default_rng(2), 5000, weighted=True)
    each = contributions(s, W, measure=measure)
    got = each.by(grouping)
    assert got.grouping == grouping
    assert got.values.sum() == pytest.approx(each.total, rel=1e-12)
    labels = [k or "not stated" for k in ASSETS.labels(grouping)]
    for name, value in zip(got.labels, got.values, strict=True):
        members = [i for i, k in enumerate(labels) if k == name]
        assert value == pytest.approx(each.values[members].sum(), abs=1e-15)
    if grouping == "role":  # one group: its error is that of the risk
        assert got.labels == ("unknown",)
        assert got.errors[0] > 0
    carried = pickle.loads(pickle.dumps(each))
    np.testing.assert_array_equal(carried.errors, each.errors)
    with pytest.raises(UsageError, match="did not travel"):
        carried.by(grouping)


@pytest.mark.parametrize("bandwidth", [None, 1e-9, 0.004, 1.0])
def test_smoothed_var_sums_to_var_whatever_the_window(bandwidth):
    rng = np.random.default_rng(3)
    for w in (W, np.array([0.9, -0.8, 0.3, 0.6])):
        s = drawn(rng, 2000, weighted=True)
        got = contributions(s, w, measure="value_at_risk", bandwidth=bandwidth)
        var = value_at_risk(s.losses(w), p=s.p)
        assert got.total == var
        assert got.values.sum() == pytest.approx(var, rel=1e-9)
    with pytest.raises(UsageError, match="bandwidth"):
        contributions(s, W, measure="value_at_risk", bandwidth=0.0)


@pytest.mark.parametrize("measure", MEASURES[:2])
def test_too_few_in_the_tail_to_say_how_sure(measure):
    few = contributions(drawn(np.random.default_rng(9), 150), W, measure=measure)
    assert np.isfinite(few.values).all() and np.isnan(few.errors[:3]).all()
    assert few.values.sum() == pytest.approx(few.total)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_group_has_the_error_of_the_risk(measure):
    s = drawn(np.random.default_rng(10), 4000, weighted=True)
    got = contributions(s, W, measure=measure, by="role")
    losses = s.losses(W)
    if measure == "volatility":
        sd = got.total
        psi = 0.5 * ((losses - s.p @ losses) ** 2 / sd - sd)
        expected = math.sqrt(((s.p * psi) ** 2).sum())
    else:
        name = measure + "_error"
        expected = getattr(engine.risk, name)(losses, p=s.p)
    assert got.errors[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_marginal_times_weights_is_the_contribution(measure):
    s = drawn(np.random.default_rng(4), 3000)
    w = np.array([0.6, 0.4, 0.0, 0.0])
    slope = marginal(s, w, measure=measure)
    assert list(slope.index) == list(s.assets)
    got = contributions(s, w, measure=measure)
    np.testing.assert_allclose(slope * w, got.values, atol=1e-15)
    assert slope["ASML"] > 0.0 == slope["CASH:USD"]  # not held, yet it would add risk


@pytest.mark.parametrize("measure", MEASURES)
def test_incremental_is_with_minus_without(measure):
    s = drawn(np.random.default_rng(5), 1000)
    risk = {
        "volatility": lambda x: float(np.std(x)),
        "expected_shortfall": expected_shortfall,
        "value_at_risk": value_at_risk,
    }[measure]
    cash = incremental(s, W, measure=measure)
    rata = incremental(s, W, measure=measure, proceeds="pro_rata")
    for i in range(4):
        left = W.copy()
        left[3] += left[i]
        left[i] = 0.0 if i < 3 else left[i] / 2
        expected = risk(s.losses(W)) - risk(s.losses(left))
        assert cash.iloc[i] == pytest.approx(expected, abs=1e-12)
        scaled = W.copy()
        scaled[i] = 0.0
        scaled /= scaled.sum()
        expected = risk(s.losses(W)) - risk(s.losses(scaled))
        assert rata.iloc[i] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(DataError, match=r"no other holding.*KO"):
        incremental(s, {"KO": 1.0}, proceeds="pro_rata")
    with pytest.raises(UsageError, match="proceeds"):
        incremental(s, W, proceeds="gold")


# ------------------------------------------------------------------- before and after

AFTER = np.array([0.4, 0.25, 0.25, 0.1])
RISKS = [*MEASURES, "entropic_value_at_risk"]


@pytest.mark.parametrize("measure", RISKS)
@pytest.mark.parametrize("weighted", [False, True])
def test_difference_error_is_the_spread_and_its_interval_covers(measure, weighted):
    rng = np.random.default_rng(6)
    # A sample's EVaR at high levels hangs on its largest losses and is biased low.
    level = 0.6 if measure == "entropic_value_at_risk" else 0.9
    sa = math.sqrt(AFTER[:3] @ SIGMA @ AFTER[:3])
    factor = {
        "volatility": 1.0,
        "expected_shortfall": normal_expected_shortfall(1.0, level=level),
        "value_at_risk": stats.norm.ppf(level),
        "entropic_value_at_risk": math.sqrt(-2 * math.log(1 - level)),
    }[measure]
    truth = (sa - SP) * factor
    got = [
        difference(measure, drawn(rng, 3000, weighted), W, AFTER, level=level)
        for _ in range(250)
    ]
    change = np.array([g.change for g in got])
    claimed = math.sqrt(np.mean([g.error**2 for g in got]))
    # The spread of 250 values is known to 4.5%; EVaR and a density add their own noise.
    assert claimed == pytest.approx(change.std(), rel=0.2)
    covered = np.mean([g.low <= truth <= g.high for g in got])
    assert covered > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 250) - 0.01


@pytest.mark.parametrize("measure", RISKS)
def test_common_draws_are_far_better_than_independent_ones(measure):
    rng = np.random.default_rng(7)
    sets = [drawn(rng, 3000) for _ in range(80)]
    got = [difference(measure, s, W, AFTER, level=0.9) for s in sets]
    apart = [b.after - a.before for a, b in itertools.pairwise(got)]
    common = np.std([g.change for g in got])
    assert common < 0.4 * np.std(apart)
    claimed = np.mean([g.independent_error for g in got])
    assert claimed == pytest.approx(np.std(apart), rel=0.3)  # 80 pairs: 8% and overlap


def test_no_change_has_no_error():
    s = drawn(np.random.default_rng(8), 500)
    got = difference("expected_shortfall", s, W, W)
    assert got.change == got.error == got.low == got.high == 0.0
    assert got.independent_error > 0.0
    with pytest.raises(ModelError, match="needs at least 1000 scenarios"):
        difference("expected_shortfall", s, W, AFTER, level=0.99)
    with pytest.raises(UsageError, match="unknown risk measure"):
        difference("skew", s, W, AFTER)
    with pytest.raises(ModelError, match="largest loss"):
        difference("entropic_value_at_risk", s, W, AFTER, level=0.999)
