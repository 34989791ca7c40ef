"""Estimates agree with closed forms, and with plain draws made here by hand."""

import numpy as np
import pytest
from sampling_cases import SIGMA, W3, a_model, closed_form

from engine import sampling
from engine.covariance import FactorCovariance


@pytest.mark.parametrize("dof", [np.inf, 5.0])
@pytest.mark.parametrize(
    "method", ["importance", "importance_stratified", "stratified"]
)
def test_far_tails_agree_with_the_closed_form(method, dof):
    var, es = closed_form(dof, 0.9999)
    model = a_model(tail_dof=dof)
    for functional, truth in (
        (sampling.value_at_risk(0.9999), var),
        (sampling.expected_shortfall(0.9999), es),
        (sampling.tail_probability(var), 1e-4),
    ):
        e = sampling.estimate(model, W3, functional, method=method, n=16_384)
        assert abs(e.value - truth) < 4.5 * e.standard_error
        assert e.standard_error < 0.03 * truth


def test_dense_and_factor_forms_tell_the_same_tail():
    rng = np.random.default_rng(4)
    cov = FactorCovariance(
        0.01 * rng.standard_normal((6, 2)), np.eye(2), np.full(6, 1e-4)
    )
    f = sampling.value_at_risk(0.999)
    got = [
        sampling.estimate(
            a_model(c, tail_dof=5.0, return_kind="log"), np.full(6, 1 / 6), f,
            method="importance",
        )
        for c in (cov, cov.dense())
    ]  # fmt: skip
    error = np.hypot(got[0].standard_error, got[1].standard_error)
    assert abs(got[0].value - got[1].value) < 4 * error


def test_a_function_of_the_loss_is_a_mean():
    e = sampling.estimate(
        a_model(), W3, sampling.expectation(np.square), method="stratified"
    )
    assert abs(e.value - SIGMA**2) < 4.5 * e.standard_error


def test_cash_earns_its_rate_and_horizon_scales():
    labels = {"A0": 0.5, "CASH:USD": 0.5}
    e = sampling.estimate(
        a_model(), labels, sampling.mean_loss(), method="antithetic", horizon=252
    )
    assert e.value == pytest.approx(-0.5 * 0.04, rel=1e-9)
