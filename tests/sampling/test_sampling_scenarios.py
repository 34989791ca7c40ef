"""Scenario sets drawn with variance reduction carry the model's law."""

import numpy as np
import pytest
from sampling_cases import S3, W3, a_model, closed_form

from engine import sampling


@pytest.mark.parametrize("method", ["antithetic", "moment_matched", "sobol"])
def test_scenario_sets_carry_the_law(method):
    model = a_model(return_kind="log")
    got = sampling.scenarios(model, 8192, method=method)
    x = np.log1p(got.returns[:, :-1])
    assert len(got) == 8192 and got.assets[-1] == "CASH:USD"
    if method == "moment_matched":
        assert np.abs(x.mean(axis=0)).max() < 1e-15
        assert np.allclose(x.T @ x / 8192, S3, rtol=1e-10, atol=0)
    if method == "antithetic":
        assert np.abs(x[::2] + x[1::2]).max() < 1e-15
    assert np.allclose(np.cov(x.T), S3, atol=8e-6)


def test_importance_scenarios_give_the_tail_through_their_weights():
    from engine.risk import expected_shortfall, value_at_risk

    model = a_model(tail_dof=5.0)
    var, es = closed_form(5.0, 0.999)
    got = sampling.scenarios(
        model, 32_768, method="importance", weights=W3,
        functional=sampling.value_at_risk(0.999),
    )  # fmt: skip
    losses = got.losses(np.append(W3, 0.0))
    assert (got.p > 0).all() and np.ptp(got.p) > 0
    assert value_at_risk(losses, level=0.999, p=got.p) == pytest.approx(var, rel=0.03)
    assert expected_shortfall(losses, level=0.999, p=got.p) == pytest.approx(
        es, rel=0.03
    )
