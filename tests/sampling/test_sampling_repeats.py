"""The same seed gives the same bits, whatever does the work."""

import numpy as np
import pytest
from sampling_cases import a_model

from engine import sampling
from engine.covariance import FactorCovariance


@pytest.mark.parametrize("form", ["dense", "factor"])
@pytest.mark.parametrize("method", sampling.METHODS)
def test_any_number_of_workers_gives_the_same_bits(method, form):
    rng = np.random.default_rng(3)
    cov = FactorCovariance(
        0.01 * rng.standard_normal((6, 2)), np.eye(2), np.full(6, 1e-4)
    )
    model = a_model(cov if form == "factor" else cov.dense(), tail_dof=12.0)
    run = lambda jobs: sampling.estimate(  # noqa: E731
        model, np.full(6, 1 / 6), sampling.expected_shortfall(0.95), method=method,
        n=8192, n_jobs=jobs,
    )  # fmt: skip
    one, three = run(1), run(3)
    assert (one.value, one.interval) == (three.value, three.interval)


@pytest.mark.parametrize("method", [m for m in sampling.METHODS if m != "control"])
def test_another_seed_gives_another_answer(method):
    got = [
        sampling.estimate(
            a_model(tail_dof=12.0), np.full(3, 1 / 3), sampling.value_at_risk(0.95),
            method=method, n=8192, seed=seed,
        ).value
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert got[0] == got[1] != got[2]
