"""VaR, expected shortfall, their errors and contributions."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError
from engine.risk import (
    contributions,
    expected_shortfall,
    expected_shortfall_error,
    normal_expected_shortfall,
    student_t_expected_shortfall,
    tail_weights,
    value_at_risk,
    value_at_risk_interval,
)
from engine.scenarios import ScenarioSet

LEVELS = [0.5, 0.9, 0.95, 0.975, 0.99]


def exact(losses, level, p):
    """VaR and ES in rational arithmetic, straight from Acerbi and Tasche 2002."""
    level = Fraction(str(level))
    atoms = sorted((x, Fraction(q)) for x, q in zip(losses, p, strict=True))
    reached, var = Fraction(0), None
    for x, q in atoms:
        reached += q
        if reached >= level:
            var = x
            break
    beyond = sum((q for x, q in atoms if x > var), Fraction(0))
    total = sum((q * Fraction(x) for x, q in atoms if x > var), Fraction(0))
    es = (total + Fraction(var) * (1 - level - beyond)) / (1 - level)
    return float(var), float(es)


# ------------------------------------------------------------------------ by hand


@pytest.mark.parametrize(
    ("losses", "p", "level", "var", "es"),
    [
        # Ten equally likely losses; the worst 20% are 9 and 10.
        (range(1, 11), None, 0.8, 8, 9.5),
        # The level falls inside an atom: 10 for 0.1 and 9 for the other 0.05.
        (range(1, 11), None, 0.85, 9, (10 * 0.1 + 9 * 0.05) / 0.15),
        (range(1, 11), None, 0.95, 10, 10),
        (range(1, 11), None, 0.999, 10, 10),
        (range(1, 11), None, 0.05, 1, (sum(range(2, 11)) * 0.1 + 0.05) / 0.95),
        # Acerbi and Tasche: the mean beyond VaR would be 100, ES splits the atom at 0.
        ([100, 0], [0.04, 0.96], 0.95, 0, 80),
        ([100, 0], [0.06, 0.94], 0.95, 100, 100),
        ([100, 0], [0.05, 0.95], 0.95, 0, 100),
        # Ties do not matter, and a scenario of no probability is not there.
        ([5, 5, 5, 1], None, 0.5, 5, 5),
        ([9, 7, 8], [0.0, 0.5, 0.5], 0.9, 8, 8),
        ([-3], None, 0.95, -3, -3),
        # Gains throughout: the loss is negative and stays so.
        ([-1, -2, -3, -4], None, 0.5, -3, -1.5),
    ],
)
def test_hand_examples(losses, p, level, var, es):
    losses = list(losses)
    assert value_at_risk(losses, level=level, p=p) == var
    assert expected_shortfall(losses, level=level, p=p) == pytest.approx(es)


@pytest.mark.parametrize("level", ["0.5", "0.9", "0.95", "0.975", "0.99"])
@pytest.mark.parametrize("seed", range(6))
def test_rational_reference(level, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, size=40) + (np.arange(40) == 0)
    p = [Fraction(int(c), int(counts.sum())) for c in counts]
    losses = rng.integers(-20, 20, size=40)  # many ties
    var, es = exact(losses.tolist(), level, p)
    weights = np.array([float(q) for q in p])
    assert value_at_risk(losses, level=float(level), p=weights) == var
    got = expected_shortfall(losses, level=float(level), p=weights)
    assert got == pytest.approx(es, rel=1e-12)


@pytest.mark.parametrize("S", [20, 100, 1000, 100_000, 300_000])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.975, 0.99])
def test_the_order_statistic_is_exact_for_large_samples(S, level):
    """A running sum of 100,000 times 1e-5 once missed 0.95 and went one too far."""
    losses = np.arange(1.0, S + 1)
    k = math.ceil(Fraction(str(level)) * S)
    assert value_at_risk(losses, level=level) == k
    assert value_at_risk(losses, level=level, p=np.full(S, 1 / S)) == k
    tail = 1 - Fraction(str(level))
    es = (
        Fraction((S + k + 1) * (S - k), 2) / S + k * (tail - Fraction(S - k, S))
    ) / tail
    assert expected_shortfall(losses, level=level) == pytest.approx(float(es), rel=1e-9)


def test_es_is_the_average_of_var_over_levels():
    """Acerbi and Tasche 2002, prop. 3.2: ES_a = 1/(1-a) int_a^1 VaR_u du."""
    rng = np.random.default_rng(1)
    losses, p = rng.standard_normal(30), rng.dirichlet(np.ones(30))
    for level in (0.3, 0.77, 0.95):
        grid = level + (1 - level) * (np.arange(40_000) + 0.5) / 40_000
        average = np.mean([value_at_risk(losses, level=u, p=p) for u in grid[::20]])
        es = expected_shortfall(losses, level=level, p=p)
        assert average == pytest.approx(es, abs=5e-3)


@pytest.mark.parametrize("level", [0.6, 0.9, 0.95])
def test_es_is_the_minimum_of_rockafellar_and_uryasev(level):
    rng = np.random.default_rng(2)
    losses, p = rng.standard_t(3, 50), rng.dirichlet(np.ones(50))
    values = [c + p @ np.maximum(losses - c, 0) / (1 - level) for c in losses]
    es = expected_shortfall(losses, level=level, p=p)
    assert min(values) == pytest.approx(es, rel=1e-12)
    at_var = value_at_risk(losses, level=level, p=p)
    assert losses[np.argmin(values)] == pytest.approx(at_var)


def test_tail_weights_are_the_worst_measure():
    rng = np.random.default_rng(3)
    losses, p = rng.standard_normal(40), rng.dirichlet(np.ones(40))
    q = tail_weights(losses, level=0.9, p=p)
    assert q.sum() == pytest.approx(1.0)
    assert (q >= 0).all() and (q <= p / 0.1 + 1e-12).all()
    assert q @ losses == pytest.approx(expected_shortfall(losses, level=0.9, p=p))
    beyond = losses > value_at_risk(losses, level=0.9, p=p)
    np.testing.assert_allclose(q[beyond], p[beyond] / 0.1)


# ------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("level", LEVELS)
def test_normal_closed_form(level):
    by_quadrature = integrate.quad(
        lambda x: x * stats.norm.pdf(x), stats.norm.ppf(level), np.inf
    )[0] / (1 - level)
    assert normal_expected_shortfall(1.0, level=level) == pytest.approx(by_quadrature)
    assert normal_expected_shortfall(0.02, level=level) == pytest.approx(
        0.02 * by_quadrature
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dof", [2.5, 4.0, 10.0, 200.0])
def test_student_t_closed_form_takes_the_standard_deviation(level, dof):
    law = stats.t(dof, scale=0.02 / stats.t(dof).std())
    assert law.std() == pytest.approx(0.02)
    tail = integrate.quad(lambda u: law.ppf(u), level, 1.0, limit=400, epsabs=1e-12)[0]
    got = student_t_expected_shortfall(0.02, dof, level=level)
    assert got == pytest.approx(tail / (1 - level), rel=1e-5)


def test_infinite_degrees_are_the_normal():
    normal = normal_expected_shortfall(0.3, level=0.99)
    assert student_t_expected_shortfall(0.3, np.inf, level=0.99) == normal
    assert student_t_expected_shortfall(0.3, 1e7, level=0.99) == pytest.approx(normal)
    for dof in (2.0, 1.0, np.nan):
        with pytest.raises(UsageError, match="degrees of freedom"):
            student_t_expected_shortfall(1.0, dof)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_sample_converges_to_the_closed_form(level):
    n = 200_000
    losses = np.random.default_rng(4).standard_normal(n)
    error = expected_shortfall_error(losses, level=level)
    es = expected_shortfall(losses, level=level)
    assert abs(es - normal_expected_shortfall(1.0, level=level)) < 4 * error
    z = stats.norm.ppf(level)
    se = math.sqrt(level * (1 - level) / n) / stats.norm.pdf(z)
    assert abs(value_at_risk(losses, level=level) - z) < 4 * se


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("law", ["normal", "t5"])
def test_es_standard_error_is_the_spread_over_replications(law):
    rng = np.random.default_rng(5)
    shape = (600, 2000)
    X = rng.standard_normal(shape) if law == "normal" else rng.standard_t(5, shape)
    es = [expected_shortfall(x) for x in X]
    claimed = np.sqrt(np.mean([expected_shortfall_error(x) ** 2 for x in X]))
    # The spread of 600 values is known to 1/sqrt(1200) = 3%, heavier for the t.
    assert claimed == pytest.approx(np.std(es, ddof=1), rel=0.1)


def test_es_standard_error_falls_as_the_root_of_the_sample():
    x = np.random.default_rng(6).standard_normal(160_000)
    ratio = expected_shortfall_error(x[:10_000]) / expected_shortfall_error(x)
    assert ratio == pytest.approx(4.0, rel=0.1)
    with pytest.raises(ModelError, match=r"fewer than ten.*received 5"):
        expected_shortfall_error(x[:100])


@pytest.mark.parametrize(
    ("level", "n", "confidence"),
    [(0.9, 300, 0.95), (0.95, 1000, 0.9), (0.99, 2000, 0.95)],
)
def test_var_interval_covers_as_often_as_it_says(level, n, confidence):
    rng = np.random.default_rng(7)
    truth = stats.t(4).ppf(level)
    trials = 1500
    hits = 0
    for x in rng.standard_t(4, size=(trials, n)):
        low, high = value_at_risk_interval(x, level=level, confidence=confidence)
        assert low <= value_at_risk(x, level=level) <= high
        hits += low <= truth <= high
    # Exact coverage from the binomial: at least what is claimed, by at most two atoms.
    a, b = stats.binom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], n, level)
    coverage = stats.binom.cdf(b, n, level) - stats.binom.cdf(a - 1, n, level)
    assert coverage >= confidence
    error = math.sqrt(coverage * (1 - coverage) / trials)
    assert abs(hits / trials - coverage) < 4 * error


@pytest.mark.parametrize("level", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_too_few_losses_for_an_interval_says_how_many_are_enough(level, confidence):
    options = {"level": level, "confidence": confidence}
    with pytest.raises(ModelError, match="too few losses") as caught:
        value_at_risk_interval([1.0], **options)
    enough = int(caught.value.expected.removeprefix("at least "))
    value_at_risk_interval(np.arange(enough), **options)
    if enough > 1:
        with pytest.raises(ModelError):
            value_at_risk_interval(np.arange(enough - 1), **options)


# -------------------------------------------------------------------------- coherence


def test_es_is_subadditive_where_var_is_not():
    """Two independent bonds, each lost with 4%: the textbook failure of VaR."""
    p = np.array([0.96 * 0.96, 0.96 * 0.04, 0.04 * 0.96, 0.04 * 0.04])
    a = np.array([0.0, 0.0, 100.0, 100.0])
    b = np.array([0.0, 100.0, 0.0, 100.0])
    assert value_at_risk(a, p=p) == value_at_risk(b, p=p) == 0.0
    assert value_at_risk(a + b, p=p) == 100.0
    es = [expected_shortfall(x, p=p) for x in (a, b, a + b)]
    assert es[0] == pytest.approx(80.0)
    assert es[2] < es[0] + es[1]


# ----------------------------------------------------------------------- contributions

LABELS = Universe(
    ("NVDA", "KO", "ASML", "CASH:USD"),
    country=("US", "US", "NL", ""),
    sector=("tech", "staples", "tech", ""),
    exposure_currency=("USD", "USD", "EUR", "USD"),
    venue=("NYSE", "NYSE", "Euronext", ""),
    region=("America", "America", "Europe", ""),
)
W = np.array([0.5, 0.2, 0.25, 0.05])


def a_set(returns, p=None):
    S = len(returns)
    return ScenarioSet(
        assets=LABELS.tickers,
        returns=returns,
        p=np.full(S, 1 / S) if p is None else p,
        horizon=1,
        universe=LABELS,
        base_currency="USD",
        periods_per_year=252.0,
    )


def normal_set(S, seed=0):
    rng = np.random.default_rng(seed)
    Sigma = np.zeros((4, 4))
    A = rng.standard_normal((3, 3))
    Sigma[:3, :3] = 1e-4 * (A @ A.T + np.eye(3))
    L = np.linalg.cholesky(Sigma[:3, :3])
    returns = np.zeros((S, 4))
    returns[:, :3] = rng.standard_normal((S, 3)) @ L.T
    return a_set(returns), Sigma


GROUPS = ["asset", "role", "country", "currency", "sector", "region", "venue"]


@pytest.mark.parametrize(
    "measure", ["expected_shortfall", "value_at_risk", "volatility"]
)
@pytest.mark.parametrize("by", GROUPS)
def test_contributions_sum_to_the_risk(measure, by):
    rng = np.random.default_rng(8)
    s = a_set(0.03 * rng.standard_normal((400, 4)), rng.dirichlet(np.ones(400)))
    got = contributions(s, W, measure=measure, by=by, level=0.9)
    assert got.values.sum() == pytest.approx(got.total, rel=1e-12)
    losses = s.losses(W)
    total = {
        "expected_shortfall": lambda: expected_shortfall(losses, level=0.9, p=s.p),
        "value_at_risk": lambda: value_at_risk(losses, level=0.9, p=s.p),
        "volatility": lambda: np.sqrt(s.p @ (losses - s.p @ losses) ** 2),
    }[measure]()
    assert got.total == pytest.approx(total, rel=1e-12)
    frame = got.to_frame()
    assert frame["share"].sum() == pytest.approx(1.0)
    assert frame["contribution"].is_monotonic_decreasing


def test_groups_are_sums_of_their_members():
    s, _ = normal_set(500)
    each = dict(zip(s.assets, contributions(s, W).values, strict=True))
    by = contributions(s, W, by="country")
    table = dict(zip(by.labels, by.values, strict=True))
    assert table["US"] == pytest.approx(each["NVDA"] + each["KO"])
    assert table["NL"] == pytest.approx(each["ASML"])
    assert table["not stated"] == pytest.approx(each["CASH:USD"])
    with pytest.raises(DataError, match="unknown grouping"):
        contributions(s, W, by="shoe_size")


@pytest.mark.parametrize("level", [0.9, 0.975])
def test_normal_closed_form_of_contributions(level):
    """w_i (S w)_i / s_p times ES / s_p (methods section 4)."""
    n = 400_000
    s, Sigma = normal_set(n, 3)
    sp = math.sqrt(W @ Sigma @ W)
    share = W * (Sigma @ W) / sp**2
    scale = {
        "volatility": sp,
        "expected_shortfall": normal_expected_shortfall(sp, level=level),
        "value_at_risk": sp * stats.norm.ppf(level),
    }
    for measure, total in scale.items():
        got = contributions(s, W, measure=measure, level=level)
        used = n * (0.01 if measure == "value_at_risk" else 1 - level)
        error = 3 * np.sqrt(np.diag(Sigma)) * W / math.sqrt(used)
        assert (np.abs(got.values - share * total) <= 4 * error + 1e-15).all()
        assert got.total == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize("measure", ["expected_shortfall", "volatility"])
def test_contributions_are_the_derivative(measure):
    """Euler: w_i dR/dw_i, by a central difference small enough to keep the tail."""
    s, _ = normal_set(300, 4)
    got = contributions(s, W, measure=measure).values
    h = 1e-7
    for i in range(4):
        up, down = W.copy(), W.copy()
        up[i] += h
        down[i] -= h
        a, b = (contributions(s, v, measure=measure).total for v in (up, down))
        assert got[i] == pytest.approx(W[i] * (a - b) / (2 * h), rel=1e-5, abs=1e-9)


def test_a_short_position_may_lower_the_risk():
    s, _ = normal_set(2000, 5)
    w = np.array([0.9, -0.3, 0.3, 0.1])
    got = contributions(s, w)
    assert got.values.sum() == pytest.approx(got.total)
    assert got.values[3] == 0.0


def test_zero_weights_and_labels():
    s, _ = normal_set(200)
    got = contributions(s, pd.Series({"ASML": 1.0}))
    np.testing.assert_array_equal(got.values[[0, 1, 3]], 0.0)
    assert got.values[2] == pytest.approx(got.total)
    assert got.labels == s.assets
    assert not got.values.flags.writeable


def test_nothing_to_attribute():
    s, _ = normal_set(50)
    cash = {"CASH:USD": 1.0}
    with pytest.raises(DataError, match="no volatility"):
        contributions(s, cash, measure="volatility")
    for measure in ("expected_shortfall", "value_at_risk"):
        got = contributions(s, cash, measure=measure)
        assert got.total == 0.0 and not got.values.any()
    with pytest.raises(UsageError, match="unknown risk measure"):
        contributions(s, W, measure="drawdown")


# ------------------------------------------------------------------------- bad input

MEASURES = [
    value_at_risk,
    expected_shortfall,
    tail_weights,
    value_at_risk_interval,
    expected_shortfall_error,
]


@pytest.mark.parametrize(
    "level", [5, 95, 0, 1, 0.0, 1.0, -0.05, 1.5, np.nan, "0.95", None]
)
@pytest.mark.parametrize("measure", MEASURES)
def test_a_level_is_a_confidence(measure, level):
    with pytest.raises(UsageError, match=r"level is a confidence.*0\.95"):
        measure(np.arange(1000.0), level=level)


@pytest.mark.parametrize("level", [5, 95])
def test_a_level_is_a_confidence_everywhere(level):
    s, _ = normal_set(10)
    for call in (
        lambda: contributions(s, W, level=level),
        lambda: normal_expected_shortfall(1.0, level=level),
        lambda: student_t_expected_shortfall(1.0, 5.0, level=level),
    ):
        with pytest.raises(UsageError, match="confidence"):
            call()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "losses", [[], 1.0, [[1.0, 2.0]], [1.0, np.nan], [np.inf, 1.0], ["a", "b"]]
)
def test_bad_losses(measure, losses):
    with pytest.raises(DataError, match="loss"):
        measure(losses)


@pytest.mark.parametrize("measure", [value_at_risk, expected_shortfall, tail_weights])
@pytest.mark.parametrize(
    "p",
    [[0.5], [0.5, 0.6], [1.5, -0.5], [np.nan, 1.0], [np.inf, 0.0], [0, 0], ["a", "b"]],
)
def test_bad_probabilities(measure, p):
    with pytest.raises(DataError, match="probabilit"):
        measure([1.0, 2.0], p=p)


def test_any_array_like_is_read_and_left_alone():
    x = np.array([3.0, 1.0, 2.0])
    x.setflags(write=False)
    for given in (x, x.tolist(), pd.Series(x), x.astype(np.float32), (3, 1, 2)):
        assert value_at_risk(given, level=0.5) == 2.0
    np.testing.assert_array_equal(x, [3.0, 1.0, 2.0])


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e12, 1e300])
def test_any_unit(scale):
    x = np.random.default_rng(0).standard_normal(100)
    assert value_at_risk(x * scale) == pytest.approx(value_at_risk(x) * scale)
    assert expected_shortfall(x * scale) == pytest.approx(expected_shortfall(x) * scale)
