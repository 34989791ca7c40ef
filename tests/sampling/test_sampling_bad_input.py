"""Input that cannot be right, and designs that cannot answer, are refused."""

import numpy as np
import pytest
from sampling_cases import S3, SIGMA, W3, a_model

from engine import sampling
from engine.covariance import FactorCovariance
from engine.errors import DataError, ModelError, UsageError


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 99.0, np.nan, True])
def test_a_level_outside_zero_and_one_is_refused(level):
    with pytest.raises(UsageError, match="level lies in"):
        sampling.value_at_risk(level)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(method="sobol", n=1000), "power of two.*1024"),
        (dict(method="antithetic", n=1001), "even"),
        (dict(method="moment_matched", n=1500), "multiple of its batch of 1024"),
        (dict(method="stratified", n=1000), "multiple of 64"),
        (dict(method="importanse"), "unknown method.*Did you mean 'importance'"),
        (dict(n=1), "above one"),
        (dict(n=2.5), "above one"),
        (dict(method="plain", target=0.1), "takes a target"),
        (dict(confidence=95), "confidence"),
        (dict(horizon=0), "positive multiple"),
        (dict(seed=-1), "seed"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        sampling.estimate(a_model(), W3, sampling.value_at_risk(0.95), **options)


@pytest.mark.parametrize("method", ["importance", "stratified", "control"])
def test_student_t_over_several_periods_is_refused_where_no_law_is_known(method):
    with pytest.raises(UsageError, match=r"one period|several periods"):
        sampling.estimate(
            a_model(tail_dof=5.0), W3, sampling.value_at_risk(0.95), method=method,
            horizon=5,
        )  # fmt: skip


def test_targets_beyond_reach_are_refused():
    model = a_model(return_kind="log")
    with pytest.raises(ModelError, match="beyond the reach"):
        sampling.estimate(
            model, W3, sampling.tail_probability(1.0), method="importance"
        )
    with pytest.raises(UsageError, match="needs a target"):
        sampling.estimate(model, W3, sampling.mean_loss(), method="importance")
    with pytest.raises(ModelError, match="too few scenarios"):
        sampling.estimate(
            model, W3, sampling.value_at_risk(0.999), method="plain", n=2048
        )
    with pytest.raises(ModelError, match="carries no risk"):
        sampling.estimate(model, np.zeros(3), sampling.value_at_risk(0.99))
    with pytest.raises(ModelError, match="too few scenarios in the tail"):
        sampling.estimate(
            model, W3, sampling.tail_probability(0.5), method="plain", n=2048
        )
    with pytest.raises(UsageError, match="not in the tail"):
        sampling.estimate(model, W3, sampling.tail_probability(-0.01))


def test_sobol_refuses_the_shortfall_of_a_heavy_tail():
    # Measured coverage of its 95% interval at 5 degrees of freedom is 91%.
    with pytest.raises(UsageError, match=r"heavy a tail.*stratified"):
        sampling.estimate(
            a_model(tail_dof=5.0), W3, sampling.expected_shortfall(0.95), method="sobol"
        )


def test_weights_that_cannot_be_right_are_refused():
    f = sampling.mean_loss()
    with pytest.raises(DataError, match="A1"):
        sampling.estimate(a_model(), [0.5, np.nan, 0.5], f)
    with pytest.raises(DataError, match="expected"):
        sampling.estimate(a_model(), [0.5, 0.5], f)
    with pytest.raises(DataError, match="XYZ"):
        sampling.estimate(a_model(), {"XYZ": 1.0}, f)
    with pytest.raises(UsageError, match="one finite number per loss"):
        sampling.estimate(a_model(), W3, sampling.expectation(lambda x: x[:1]))


def long_log_book(threshold, method, **options):
    model = a_model(return_kind="log")
    functional = sampling.tail_probability(threshold)
    return sampling.estimate(model, W3, functional, method=method, n=4096, **options)


@pytest.mark.parametrize("threshold", [-0.5, 0.0])
@pytest.mark.parametrize("method", ["importance", "importance_stratified"])
def test_twisted_scenarios_that_all_lie_beyond_the_threshold_are_refused(
    method, threshold
):
    # A target six standard deviations out: the draws miss the half of the probability
    # that lies near the centre, and what they state would be a few per cent.
    with pytest.raises(ModelError, match=r"every scenario is beyond.*smaller target"):
        long_log_book(threshold, method, target=6 * SIGMA)


@pytest.mark.parametrize(
    "method",
    ["plain", "antithetic", "moment_matched", "sobol", "stratified", "control"],
)
def test_scenarios_that_all_lie_beyond_the_threshold_are_refused(method):
    with pytest.raises(ModelError, match=r"every scenario is beyond.*raise the thresh"):
        sampling.estimate(
            a_model(return_kind="log"), W3, sampling.tail_probability(-0.5),
            method=method, n=8192,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("delta", "gamma", "message"),
    [
        ([1.0, np.nan], np.eye(2), "delta holds a non-finite number.*nan"),
        ([1.0, np.inf], np.eye(2), "delta holds a non-finite number.*inf"),
        ([1.0, 2.0], [[1.0, 0.0], [0.0, np.nan]], "gamma holds a non-finite number"),
        ([1.0, 2.0], np.eye(3), r"gamma has the wrong shape.*\(2, 2\)"),
        ([1.0, 2.0], [1.0, 2.0], "gamma has the wrong number of axes"),
        ([[1.0, 2.0]], np.eye(2), "delta has the wrong number of axes"),
        ([1.0, 2.0], [[1.0, 2.0], [3.0, 1.0]], r"not symmetric.*2 at \(0, 1\) and 3"),
        (["a", "b"], np.eye(2), "delta is not numeric"),
    ],
)
def test_greeks_that_cannot_be_right_are_refused(delta, gamma, message):
    with pytest.raises(DataError, match=message):
        sampling.DeltaGamma(delta, gamma)


def test_greeks_of_another_number_of_assets_are_refused():
    book = sampling.DeltaGamma(np.array([1.0, 2.0]), np.eye(2))
    with pytest.raises(DataError, match=r"received 2 assets; expected 3"):
        sampling.estimate(a_model(), book, sampling.mean_loss())


def test_an_asymmetry_of_rounding_is_no_error():
    skew = np.array([[1.0, 0.3], [0.3 * (1 + 1e-12), 1.0]])
    assert sampling.DeltaGamma(np.array([1.0, 2.0]), skew).gamma.shape == (2, 2)


@pytest.mark.parametrize("dof", [2.0, 1.0])
def test_models_without_a_covariance_are_refused(dof):
    with pytest.raises(ModelError, match="degrees of freedom"):
        a_model(tail_dof=dof)


def test_a_dense_covariance_that_is_not_psd_is_refused():
    bad = S3.copy()
    bad[0, 1] = bad[1, 0] = 2e-4
    with pytest.raises(ModelError, match=r"not positive semi-definite.*nearest_corr"):
        sampling.estimate(a_model(bad), W3, sampling.mean_loss())


def test_a_factor_covariance_that_is_not_psd_is_refused():
    bad = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(DataError, match="positive semi-definite"):
        cov = FactorCovariance(np.eye(3, 2), bad, np.full(3, 1e-4))
        sampling.estimate(a_model(cov), W3, sampling.mean_loss())
