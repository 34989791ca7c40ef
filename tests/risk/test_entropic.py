"""EVaR against its dual, its closed form, a peer, and the axioms."""

import warnings

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import DataError, UsageError
from engine.risk import (
    entropic_value_at_risk,
    expected_shortfall,
    normal_entropic_value_at_risk,
)


def worst_mean(losses, level, p):
    """Worst mean over laws with relative entropy at most -ln(1 - level)."""
    q = cp.Variable(losses.size, nonneg=True)
    limits = [cp.sum(q) == 1, cp.sum(cp.rel_entr(q, p)) <= -np.log(1 - level)]
    problem = cp.Problem(cp.Maximize(losses @ q), limits)
    problem.solve(solver="CLARABEL")
    return float(problem.value)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_worst_mean_in_an_entropy_ball(level, weighted):
    rng = np.random.default_rng(1)
    losses = rng.standard_t(3, 60)
    p = rng.dirichlet(np.ones(60)) if weighted else np.full(60, 1 / 60)
    got = entropic_value_at_risk(losses, level=level, p=p if weighted else None)
    assert got == pytest.approx(worst_mean(losses, level, p), abs=2e-6)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_riskfolio_agrees(level):
    from riskfolio.src.RiskFunctions import EVaR_Hist

    returns = 0.01 * np.random.default_rng(2).standard_t(5, 1000)
    with warnings.catch_warnings(), np.errstate(over="ignore"):  # its search overflows
        peer = EVaR_Hist(returns, alpha=1 - level)[0]
    got = entropic_value_at_risk(-returns, level=level)
    assert got <= peer * (1 + 1e-12)  # both are infima of one function
    assert got == pytest.approx(peer, rel=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_normal_closed_form(level):
    x = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    got = entropic_value_at_risk(0.02 * x, level=level)
    # The grid cuts the law at 4.6 standard deviations; at 99% the tilted law is centred
    # at 3.03, so that 6% of it, beyond the cut by 0.3 on average, counts at the cut.
    closed = normal_entropic_value_at_risk(0.02, level=level)
    assert got == pytest.approx(closed, rel=5e-3)
    assert got < closed


def test_beyond_the_heaviest_atom_it_is_the_largest_loss():
    losses, p = np.array([0.0, 1.0, 7.0]), np.array([0.5, 0.4, 0.1])
    assert entropic_value_at_risk(losses, level=0.9, p=p) == 7.0
    assert entropic_value_at_risk(losses, level=0.99, p=p) == 7.0
    near = entropic_value_at_risk(losses, level=0.8999, p=p)
    assert near < 7.0
    assert near == pytest.approx(worst_mean(losses, 0.8999, p), rel=1e-5)
    # A scenario of no probability is not there, however bad.
    more = np.append(losses, 1e9), np.append(p, 0.0)
    assert entropic_value_at_risk(more[0], level=0.5, p=more[1]) == pytest.approx(
        entropic_value_at_risk(losses, level=0.5, p=p)
    )


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e12, 1e307])
def test_any_unit(scale):
    x = np.random.default_rng(0).standard_normal(200)
    one = entropic_value_at_risk(x)
    assert entropic_value_at_risk(x * scale) == pytest.approx(one * scale, rel=1e-9)


def test_huge_losses_beside_small_ones():
    x = np.append(np.random.default_rng(3).standard_normal(999), 1e15)
    got = entropic_value_at_risk(x, level=0.95)
    assert np.isfinite(got) and expected_shortfall(x) < got < 1e15


LOSSES = st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=12)


@given(LOSSES, st.floats(0.001, 0.999), st.integers(0, 99))
def test_between_es_and_the_maximum(losses, level, seed):
    x = np.array(losses)
    p = np.random.default_rng(seed).dirichlet(np.ones(x.size))
    got = entropic_value_at_risk(x, level=level, p=p)
    assert got >= expected_shortfall(x, level=level, p=p) - 1e-9
    assert got <= x.max() + 1e-12


@given(LOSSES, st.floats(0.01, 0.99), st.integers(0, 99), st.floats(0.1, 10))
def test_coherence(losses, level, seed, scale):
    rng = np.random.default_rng(seed)
    x = np.array(losses)
    y = rng.integers(-9, 9, x.size).astype(float)

    def risk(v):
        return entropic_value_at_risk(v, level=level)

    assert risk(x + y) <= risk(x) + risk(y) + 1e-8
    assert risk(x + 3.0) == pytest.approx(risk(x) + 3.0, abs=1e-8)
    assert risk(scale * x) == pytest.approx(scale * risk(x), rel=1e-8, abs=1e-8)
    assert risk(np.maximum(x, y)) >= risk(x) - 1e-8
    assert risk(x) <= entropic_value_at_risk(x, level=min(0.999, level + 0.005)) + 1e-8


def test_bad_input():
    for level in (0, 1, 95, np.nan):
        with pytest.raises(UsageError, match="confidence"):
            entropic_value_at_risk([1.0, 2.0], level=level)
    for losses in ([], [np.nan], [[1.0]]):
        with pytest.raises(DataError, match="loss"):
            entropic_value_at_risk(losses)
    for p in ([1.5, -0.5], [0.5, 0.6], [1.0]):
        with pytest.raises(DataError, match="probabilit"):
            entropic_value_at_risk([1.0, 2.0], p=p)
    assert entropic_value_at_risk([3.0]) == 3.0
    assert entropic_value_at_risk([0.0, 0.0]) == 0.0
