"""Exact p-values against enumeration and a published example; scores compared."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import DataError, UsageError
from engine.risk import (
    acerbi_szekely,
    acerbi_szekely_null,
    christoffersen,
    christoffersen_independence,
    diebold_mariano,
    kupiec,
    normal_expected_shortfall,
)


def published_hits():
    """The transitions of the MathWorks example: 932, 53, 53 and 4 of 1043 days."""
    hits = np.zeros(1043, dtype=bool)
    # 53 runs, 4 of them of length two: every run but the last is left again.
    at = 0
    for run in range(53):
        length = 2 if run < 4 else 1
        at += 3
        hits[at : at + length] = True
        at += length
    return hits


def test_a_published_example():
    # mathworks.com/help/risk/varbacktest.cc.html: Normal95 on VaRBacktestData.
    hits = published_hits()
    before, after = hits[:-1], hits[1:]
    table = [
        int((before == a).__and__(after == b).sum()) for a in (0, 1) for b in (0, 1)
    ]
    assert table == [932, 53, 53, 4] and hits.sum() == 57
    coverage = kupiec(57, 1043, level=0.95)
    assert coverage.statistic == pytest.approx(0.46147, abs=5e-6)
    assert coverage.p_value == pytest.approx(0.49694, abs=5e-6)
    clustering = christoffersen_independence(hits)
    assert clustering.statistic == pytest.approx(0.25866, abs=5e-6)
    assert clustering.p_value == pytest.approx(0.61104, abs=5e-6)
    # Their sum takes coverage over all 1043 days, ours over the same 1042 transitions.
    assert coverage.statistic + clustering.statistic == pytest.approx(0.72013, abs=1e-5)
    ours = christoffersen(hits, level=0.95).statistic
    assert ours == pytest.approx(0.72013, abs=0.01)


@given(st.integers(2, 9), st.integers(0, 2**9 - 1), st.sampled_from([0.6, 0.8, 0.95]))
def test_exact_p_values_are_those_of_all_sequences(days, bits, level):
    hits = np.array([bool(bits >> k & 1) for k in range(days)])
    p = 1.0 - level
    x = int(hits.sum())
    chance = dict.fromkeys(("kupiec", "independence", "joint"), 0.0)
    orders = 0
    own = {
        "kupiec": kupiec(x, days, level=level).statistic,
        "independence": christoffersen_independence(hits).statistic,
        "joint": christoffersen(hits, level=level).statistic,
    }
    for other in itertools.product([False, True], repeat=days):
        other = np.array(other)
        y = int(other.sum())
        weight = p**y * level ** (days - y)
        if kupiec(y, days, level=level).statistic >= own["kupiec"] - 1e-9:
            chance["kupiec"] += weight
        if christoffersen(other, level=level).statistic >= own["joint"] - 1e-9:
            chance["joint"] += weight
        if y == x:
            orders += 1
            alone = christoffersen_independence(other).statistic
            chance["independence"] += alone >= own["independence"] - 1e-9
    exact = {"p_value": "exact"}
    assert kupiec(x, days, level=level, **exact).p_value == pytest.approx(
        chance["kupiec"], rel=1e-9
    )
    assert christoffersen(hits, level=level, **exact).p_value == pytest.approx(
        chance["joint"], rel=1e-9
    )
    assert christoffersen_independence(hits, **exact).p_value == pytest.approx(
        chance["independence"] / orders, rel=1e-9
    )


def test_exact_tests_keep_their_size_where_the_asymptotic_ones_do_not():
    rng = np.random.default_rng(0)
    hits = rng.random((2000, 250)) < 0.01
    exact = np.array([christoffersen(h, p_value="exact").p_value for h in hits[:400]])
    # P(p <= 0.05) <= 0.05 whatever the steps of the law; four standard errors.
    assert (exact <= 0.05).mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)
    law = stats.binom(250, 0.01).pmf(np.arange(251))
    p = np.array([kupiec(x, 250, p_value="exact").p_value for x in range(251)])
    rough = np.array([kupiec(x, 250).p_value for x in range(251)])
    assert law[p <= 0.05].sum() <= 0.05 < law[rough <= 0.05].sum()


def test_exact_and_asymptotic_agree_in_long_samples():
    hits = np.random.default_rng(4).random(8000) < 0.05
    rough = christoffersen(hits, level=0.95)
    exact = christoffersen(hits, level=0.95, p_value="exact")
    assert rough.statistic == exact.statistic
    assert exact.p_value == pytest.approx(rough.p_value, abs=0.02)


def test_no_exception_at_all():
    none = np.zeros(250, dtype=bool)
    assert christoffersen_independence(none, p_value="exact") == (0.0, 1.0)
    assert 0.0 < christoffersen(none, p_value="exact").p_value < 1.0


def test_z1_judges_the_size_of_exceptions_alone():
    assert acerbi_szekely([0.0, 3.0, 5.0], 2.0, 2.5, statistic="Z1") == pytest.approx(
        1 - (3 + 5) / 2 / 2.5
    )
    assert acerbi_szekely([0.0], 2.0, 2.5, statistic="Z1") == 0.0
    rng = np.random.default_rng(2)
    v, e = stats.norm.ppf(0.975), normal_expected_shortfall(1.0, level=0.975)
    direct = [
        acerbi_szekely(rng.standard_normal(100), v, e, statistic="Z1")
        for _ in range(4000)
    ]
    null = acerbi_szekely_null(100, statistic="Z1")
    assert stats.ks_2samp(direct, null).pvalue > 0.001


def test_diebold_mariano_is_the_regression_on_a_constant():
    import statsmodels.api as sm

    rng = np.random.default_rng(5)
    a, b = np.cumsum(rng.standard_normal((2, 300)), axis=1) * 0.01
    b = b + rng.standard_normal(300)
    got = diebold_mariano(a, b, lags=5)
    fitted = sm.OLS(a - b, np.ones(300)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 5, "use_correction": True}
    )
    assert got.difference == pytest.approx(fitted.params[0])
    assert got.standard_error == pytest.approx(fitted.bse[0])
    assert got.p_value == pytest.approx(fitted.pvalues[0])
    other = diebold_mariano(b, a, lags=5)
    assert other.statistic == -got.statistic and other.p_value == got.p_value
    assert diebold_mariano(a, a) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: kupiec(1, 250, p_value="monte carlo"), UsageError),
        (lambda: christoffersen([0, 1], p_value=""), UsageError),
        (lambda: acerbi_szekely([1.0], 1, 2, statistic="Z3"), UsageError),
        (lambda: acerbi_szekely_null(250, statistic="z2"), UsageError),
        (lambda: diebold_mariano([1.0, 2, 3], [1.0, 2]), DataError),
        (lambda: diebold_mariano([1.0, 2], [1.0, 2]), DataError),
        (lambda: diebold_mariano([1.0, 2, np.nan], [1.0, 2, 3]), DataError),
        (lambda: diebold_mariano([1.0, 2, 3], [1.0, 2, 4], lags=-1), UsageError),
        (lambda: diebold_mariano([1.0, 2, 3], [1.0, 2, 4], horizon=0), UsageError),
    ],
)
def test_bad_input(call, error):
    with pytest.raises(error):
        call()
