"""Stated errors cover what they state."""

import numpy as np
import pytest
from sampling_cases import LEVEL, W3, a_model, closed_form
from scipy import stats

from engine import sampling

SLOW, QUICK, CHEAP = 500, 200, 1000


def tolerance(repetitions, share=0.95):
    """Three binomial errors of a share counted over seeds."""
    return 3 * float(np.sqrt(share * (1 - share) / repetitions))


def size_of(method):
    return 8192 if method == "moment_matched" else 4096


def coverage(method, dof, kind, repetitions):
    model = a_model(tail_dof=dof)
    var, es = closed_form(dof)
    functional, truth = {
        "mean": (sampling.mean_loss(), 0.0),
        "tail": (sampling.tail_probability(var), 1 - LEVEL),
        "var": (sampling.value_at_risk(LEVEL), var),
        "es": (sampling.expected_shortfall(LEVEL), es),
    }[kind]
    hits = 0
    for seed in range(repetitions):
        low, high = sampling.estimate(
            model, W3, functional, method=method, n=size_of(method), seed=seed
        ).interval
        hits += low <= truth <= high
    return hits / repetitions


COVERED = [
    (method, dof, kind)
    for method in sampling.METHODS
    if method != "control"  # exact for this book; see the log book below
    for dof in (np.inf, 5.0)
    for kind in ("mean", "tail", "var", "es")
    if not (kind == "mean" and method not in ("plain", "sobol", "stratified"))
    # Refused: test_sobol_refuses_the_shortfall_of_a_heavy_tail.
    and not (kind == "es" and method == "sobol" and dof == 5.0)
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "dof", "kind"), COVERED)
def test_intervals_cover_what_they_state(method, dof, kind):
    # The VaR interval ends on draws and may only be wider than stated.
    share = coverage(method, dof, kind, SLOW)
    assert share >= 0.95 - tolerance(SLOW)
    assert share <= (0.99 if kind == "var" else 0.95 + tolerance(SLOW))


@pytest.mark.parametrize(
    ("method", "dof", "kind"),
    [
        ("antithetic", np.inf, "es"),
        ("stratified", 5.0, "es"),
        ("importance", 5.0, "tail"),
        ("importance_stratified", np.inf, "tail"),
    ],
)
def test_intervals_cover_in_a_quick_run(method, dof, kind):
    assert abs(coverage(method, dof, kind, QUICK) - 0.95) <= tolerance(QUICK)


@pytest.mark.parametrize("kind", ["mean", "tail"])
def test_control_intervals_cover_on_a_log_book(kind):
    # One long asset: the lognormal mean and tail in closed form.
    sigma = 0.3
    model = a_model(
        np.array([[sigma**2]]), return_kind="log", mean=np.array([-0.5 * sigma**2])
    )
    x = 0.35
    truth = 0.0
    functional = sampling.mean_loss()
    if kind == "tail":
        functional = sampling.tail_probability(x)
        truth = stats.norm.cdf((np.log1p(-x) + 0.5 * sigma**2) / sigma)
    hits = 0
    for seed in range(CHEAP):
        e = sampling.estimate(
            model, [1.0], functional, method="control", n=2048, seed=seed
        )
        hits += e.interval[0] <= truth <= e.interval[1]
        assert e.variance_ratio > 1.5
    assert abs(hits / CHEAP - 0.95) <= tolerance(CHEAP)


@pytest.mark.parametrize("kind", ["tail", "var"])
def test_stated_errors_of_a_stratified_tail_are_right(kind):
    var, _ = closed_form(np.inf, 0.99)
    functional, truth = {
        "tail": (sampling.tail_probability(var), 0.01),
        "var": (sampling.value_at_risk(0.99), var),
    }[kind]
    got = [
        sampling.estimate(
            a_model(), W3, functional, method="stratified", n=4096, seed=seed
        )
        for seed in range(QUICK)
    ]
    values = np.array([e.value for e in got])
    stated = np.array([e.standard_error for e in got])
    assert (np.abs(values - truth) <= 5 * stated).all()
    # The variance of the seeds has a relative error of sqrt(2/(QUICK - 1)).
    ratio = values.var(ddof=1) / np.mean(stated**2)
    assert abs(ratio - 1.0) <= 4 * np.sqrt(2 / (QUICK - 1))
