"""Tests of forecasts against regulatory tables and slow references."""

import itertools

import numpy as np
import pytest
from scipy import stats

from engine.errors import DataError, UsageError
from engine.risk import (
    acerbi_szekely,
    acerbi_szekely_null,
    christoffersen,
    christoffersen_independence,
    desk_test,
    fissler_ziegel,
    kupiec,
    normal_expected_shortfall,
    traffic_light,
)


@pytest.mark.parametrize(
    ("level", "days", "low", "high"),
    [  # non-rejection regions at 5%, beside the binomial likelihood itself below
        (0.99, 255, 1, 6),
        (0.99, 510, 2, 10),
        (0.99, 1000, 5, 16),
        (0.975, 255, 3, 11),
        (0.975, 510, 7, 20),
        (0.975, 1000, 16, 35),
        (0.95, 255, 7, 20),
        (0.95, 510, 17, 35),
        (0.95, 1000, 38, 64),
    ],
)
def test_kupiec_regions(level, days, low, high):
    p, bound = 1 - level, stats.chi2.ppf(0.95, 1)
    x = np.arange(1, days)
    ratio = stats.binom.logpmf(x, days, x / days) - stats.binom.logpmf(x, days, p)
    assert x[2 * ratio < bound].tolist() == list(range(low, high + 1))
    kept = [x for x in range(days) if kupiec(x, days, level=level).p_value > 0.05]
    assert kept == list(range(low, high + 1))


def test_no_exception_and_nothing_but():
    assert kupiec(0, 250).statistic == pytest.approx(-500 * np.log(0.99))
    assert kupiec(250, 250).statistic == pytest.approx(-500 * np.log(0.01))


def test_independence_is_the_likelihood_ratio_of_the_two_by_two_table():
    hits = np.random.default_rng(1).random(400) < 0.1
    table = np.zeros((2, 2))
    for a, b in itertools.pairwise(hits):
        table[int(a), int(b)] += 1
    g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    got = christoffersen_independence(hits)
    assert got.statistic == pytest.approx(g[0]) and got.p_value == pytest.approx(g[1])
    joint = christoffersen(hits, level=0.9).statistic
    part = kupiec(int(hits[1:].sum()), 399, level=0.9).statistic
    assert joint == pytest.approx(got.statistic + part)
    assert christoffersen_independence(np.sort(hits)).p_value < 1e-6


def test_basel_table_and_desk_limits():
    zones = [traffic_light(x) for x in range(12)]
    assert [z.color for z in zones] == ["green"] * 5 + ["yellow"] * 5 + ["red"] * 2
    assert [z.add_on for z in zones[5:]] == [0.4, 0.5, 0.65, 0.75, 0.85, 1.0, 1.0]
    assert desk_test(12) and not desk_test(13)
    assert desk_test(30, level=0.975) and not desk_test(31, level=0.975)
    with pytest.raises(UsageError, match="two levels"):
        desk_test(3, level=0.95)


@pytest.mark.parametrize(("dof", "critical"), [(np.inf, -0.70), (3.0, -0.82)])
def test_acerbi_szekely_critical_values(dof, critical):
    null = acerbi_szekely_null(250, dof=dof, draws=40_000)
    assert np.quantile(null, 0.05) == pytest.approx(critical, abs=0.02)
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(null.size)


def test_the_simulated_null_is_the_law_of_the_statistic():
    rng = np.random.default_rng(2)
    v, e = stats.norm.ppf(0.975), normal_expected_shortfall(1.0, level=0.975)
    direct = [acerbi_szekely(rng.standard_normal(100), v, e) for _ in range(4000)]
    assert stats.ks_2samp(direct, acerbi_szekely_null(100)).pvalue > 0.001
    assert acerbi_szekely([0.0, 3.0], 2.0, 2.5) == pytest.approx(1 - 3 / 2.5 / 0.05)


def test_the_score_is_least_at_the_truth():
    L = np.random.default_rng(3).standard_normal(400_000)
    v, e = stats.norm.ppf(0.975), normal_expected_shortfall(1.0, level=0.975)
    best = fissler_ziegel(L, v, e).mean()
    for dv, de in ((0.2, 0.2), (-0.2, 0), (0, 0.3), (0, -0.2), (0.2, 0)):
        assert fissler_ziegel(L, v + dv, e + de).mean() > best
    # Differences of scores do not depend on the unit.
    a = fissler_ziegel(L, v, e) - fissler_ziegel(L, v, 1.1 * e)
    b = fissler_ziegel(9 * L, 9 * v, 9 * e) - fissler_ziegel(9 * L, 9 * v, 9.9 * e)
    np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: kupiec(-1, 250),
        lambda: kupiec(251, 250),
        lambda: kupiec(1.5, 250),
        lambda: kupiec(1, 0),
        lambda: kupiec(1, 250, level=99),
        lambda: traffic_light(251),
        lambda: acerbi_szekely_null(0),
        lambda: acerbi_szekely_null(250, dof=2),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(UsageError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: christoffersen([]),
        lambda: christoffersen([True]),
        lambda: christoffersen([0, 2]),
        lambda: acerbi_szekely([], 1, 2),
        lambda: acerbi_szekely([np.nan], 1, 2),
        lambda: acerbi_szekely([1.0, 2.0], [1, 1, 1], 2),
        lambda: acerbi_szekely([1.0], 2, 1),
        lambda: fissler_ziegel([1.0], -2, -1),
    ],
)
def test_bad_data(call):
    with pytest.raises(DataError):
        call()
