"""Skewed t and Gaussian mixture: the stated law, its moments, executors, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_cases import a_model
from scipy import stats

from engine.covariance import FactorCovariance
from engine.errors import ModelError, UsageError
from engine.kernels.paths import exponentials
from engine.montecarlo import simulate


def factor_form(N, K=3, seed=0):
    rng = np.random.default_rng(seed)
    B = 0.01 * rng.standard_normal((N, K)) + 0.005
    return FactorCovariance(B, np.eye(K), 1e-4 * rng.uniform(0.5, 2, N))


def logs(scenarios):
    return np.log1p(scenarios.returns[:, :-1])


MIXTURE = dict(distribution="gaussian_mixture", stress=(0.1, 3.0), skew=-0.6)
SKEWED = dict(distribution="skewed_t", skew=-0.8)
LAWS = {"mixture": MIXTURE, "skewed_t": SKEWED}


@pytest.mark.parametrize("law", sorted(LAWS))
@pytest.mark.parametrize("form", ["dense", "factor"])
@pytest.mark.parametrize("horizon", [1, 10])
def test_mean_and_covariance_are_the_models(law, form, horizon):
    cov = factor_form(4)
    S = cov.dense() * horizon
    model = a_model(cov if form == "factor" else cov.dense(), tail_dof=12.0)
    n = 100_000
    x = logs(simulate(model, n, horizon=horizon, seed=5, **LAWS[law]))
    sd = np.sqrt(np.diag(S))
    assert (np.abs(x.mean(axis=0) - model.mean * horizon) < 4 * sd / n**0.5).all()
    # The error of each entry from 50 batches: no fourth moment is assumed.
    parts = np.array([np.cov(b, rowvar=False) for b in x.reshape(50, -1, 4)])
    error = parts.std(axis=0, ddof=1) / np.sqrt(50)
    assert (np.abs(parts.mean(axis=0) - S) < 4.5 * error).all()


@pytest.mark.parametrize("dof", [4.0, 8.0])
@pytest.mark.parametrize("skew", [-0.9, 0.5])
def test_skewed_t_of_one_asset_is_azzalinis(dof, skew):
    """Against the density 2 t(x) T(alpha x sqrt((nu+1)/(nu+x^2))) by quadrature."""
    model = a_model(np.array([[1.0]]), tail_dof=dof, mean=[0.0])
    x = logs(
        simulate(model, 40_000, horizon=1, seed=2, distribution="skewed_t", skew=skew)
    )[:, 0]
    grid = np.linspace(-60, 60, 400_001)
    c = np.sqrt((dof - 2) / dof)  # unit-variance t
    m = c * stats.t.expect(np.abs, args=(dof,))
    a = np.sqrt(1 - skew**2 * (1 - m**2))  # weight of the symmetric part
    omega = np.hypot(skew, a)
    alpha = skew / a
    y = grid / (c * omega)
    pdf = 2 * stats.t.pdf(y, dof) / (c * omega)
    pdf *= stats.t.cdf(alpha * y * np.sqrt((dof + 1) / (dof + y * y)), dof + 1)
    cdf = np.cumsum(pdf) * (grid[1] - grid[0])
    assert cdf[-1] == pytest.approx(1.0, abs=2e-3)
    shifted = x + skew * m
    assert stats.kstest(shifted, lambda v: np.interp(v, grid, cdf)).pvalue > 1e-3
    assert np.sign(np.mean(np.clip(x, -8, 8) ** 3)) == np.sign(skew)


def test_mixture_of_one_asset_is_the_mixture_of_two_normals():
    p, ratio, shift = 0.2, 2.5, -0.8
    model = a_model(np.array([[1e-4]]), mean=[0.0])
    x = logs(
        simulate(
            model, 60_000, horizon=1, seed=3, distribution="gaussian_mixture",
            stress=(p, ratio), skew=shift,
        )
    )[:, 0] / 0.01  # fmt: skip
    calm = 1 / (1 - p + p * ratio**2)
    within = 1 - shift**2 * p * (1 - p)
    s0, s1 = np.sqrt(calm * within), ratio * np.sqrt(calm * within)

    def cdf(v):
        return (1 - p) * stats.norm.cdf(v, -shift * p, s0) + p * stats.norm.cdf(
            v, shift * (1 - p), s1
        )

    assert stats.kstest(x, cdf).pvalue > 1e-3


@pytest.mark.parametrize("law", sorted(LAWS))
def test_the_horizon_is_the_sum_of_its_sessions(law):
    model = a_model(factor_form(3).dense(), tail_dof=6.0)
    jumped = simulate(model, 30_000, horizon=5, seed=1, **LAWS[law])
    walked = simulate(model, 30_000, horizon=5, seed=2, paths=True, **LAWS[law])
    w = [0.5, 0.3, 0.2, 0.0]
    assert stats.ks_2samp(jumped.losses(w), walked.losses(w)).pvalue > 1e-3
    np.testing.assert_array_equal(walked.paths[:, -1], walked.returns)


@pytest.mark.parametrize("options", [{}, MIXTURE, SKEWED, {"paths": True}])
@pytest.mark.parametrize("mean", ["given", "zero_excess"])
def test_executors_and_workers_give_the_same_bits(options, mean):
    model = a_model(factor_form(5), tail_dof=5.0, mean_kind=mean)
    base = simulate(model, 2100, horizon=3, seed=8, **options)
    for executor, jobs in (("serial", 1), ("threads", 3), ("processes", 2)):
        other = simulate(
            model, 2100, horizon=3, seed=8, executor=executor, n_jobs=jobs, **options
        )
        np.testing.assert_array_equal(base.returns, other.returns)
        if base.paths is not None:
            np.testing.assert_array_equal(base.paths, other.paths)


@given(st.floats(-700.0, 700.0))
def test_the_exponential_is_within_two_ulp(x):
    out = np.empty(5)
    exponentials(np.full(5, x), out)
    assert (out == out[0]).all()  # vector lanes and remainder agree
    assert abs(out[0] - np.exp(x)) <= 2 * np.spacing(np.exp(x))


def test_the_exponential_at_its_ends():
    out = np.empty(5)
    exponentials(np.array([-np.inf, np.inf, np.nan, 0.0, 710.0]), out)
    assert out[0] < 1e-300 and np.isinf(out[1]) and np.isnan(out[2])
    assert out[3] == 1.0 and np.isinf(out[4])


@pytest.mark.parametrize(
    "options",
    [
        {"distribution": "skewed_t"},
        {"distribution": "skewed_t", "skew": 1.0},
        {"distribution": "skewed_t", "skew": float("nan")},
        {"distribution": "gaussian", "skew": 0.1},
        {"distribution": "gaussian", "stress": (0.1, 2.0)},
        {"distribution": "gaussian_mixture"},
        {"distribution": "gaussian_mixture", "stress": (-0.1, 2.0)},
        {"distribution": "gaussian_mixture", "stress": (1.0, 2.0)},
        {"distribution": "gaussian_mixture", "stress": (0.1, 0.5)},
        {"distribution": "gaussian_mixture", "stress": (0.1,)},
        {"distribution": "gaussian_mixture", "stress": (0.5, 2.0), "skew": 2.1},
    ],
)
def test_bad_options_are_refused(options):
    model = a_model(np.eye(2) * 1e-4, tail_dof=5.0)
    with pytest.raises(UsageError):
        simulate(model, 10, **options)


def test_skewed_t_of_a_gaussian_model_is_refused():
    with pytest.raises(ModelError, match="skewed t"):
        simulate(a_model(np.eye(1) * 1e-4), 10, **SKEWED)


def test_memory_refusal_offers_streaming():
    with pytest.raises(ModelError, match=r"GiB needed.*engine\.stream"):
        simulate(a_model(np.eye(2) * 1e-4), 10**12)
